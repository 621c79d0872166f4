//! What is in the way between this node and others: decides from what peers see of its sockets which kind of router it is
//! behind, whether it can be called, and says so in words. No third party is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kith_common::diagnostics::{Nat, Reachability};

/// Peers outside are given so long to confirm an address or to hold a place before the answer is that none did.
pub const SETTLED_AFTER: Duration = Duration::from_secs(15);

/// Whose datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Socket {
    Node,
    Video,
    Audio,
}

impl Socket {
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// Datagrams of one of our sockets, as somebody has seen them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    pub socket: Socket,
    /// Where they were sent to.
    pub observer: SocketAddr,
    /// Where they came from there.
    pub seen: SocketAddr,
}

/// Do datagrams reach peers outside?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Udp {
    #[default]
    Untried,
    Works,
    /// Peers outside are connected by TCP, were asked by UDP, and none has answered.
    Silent,
}

/// What is known.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// This machine's addresses, loopback excepted.
    pub local: Vec<IpAddr>,
    pub observations: Vec<Observation>,
    pub udp: Udp,
    /// Connected peers.
    pub peers: usize,
    /// Those of them that are not on the local network.
    pub outside: usize,
    /// For how long at least one peer outside has been connected.
    pub outside_for: Duration,
    /// Outside addresses that were confirmed by dialing back, or by the router.
    pub confirmed: Vec<String>,
    /// Relays that hold a place.
    pub relays: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub nat: Nat,
    pub reachability: Reachability,
    /// One or two sentences for people.
    pub meaning: String,
}

/// `global`, `private`, `link` or `loopback`.
pub fn scope(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        ip if ip.is_loopback() => "loopback",
        IpAddr::V4(ip) if ip.is_link_local() => "link",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link",
        // 100.64.0.0/10: the inside of a carrier's network, RFC 6598.
        IpAddr::V4(ip) if ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) => "private",
        IpAddr::V6(ip) if ip.is_unique_local() => "private",
        _ => "global",
    }
}

/// The kind of router, from where datagrams were seen to come from.
pub fn nat(facts: &Facts) -> Nat {
    if facts.udp == Udp::Silent {
        return Nat::UdpBlocked;
    }
    let verdict = |sockets: &[Socket]| {
        // By socket and family: a router treats IPv6 otherwise than IPv4.
        let mut views: BTreeMap<(Socket, bool), (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>)> = BTreeMap::new();
        // What stays on this machine meets no router.
        let outside = |seen: &&Observation| sockets.contains(&seen.socket) && !seen.seen.ip().is_loopback();
        for observation in facts.observations.iter().filter(outside) {
            let translated = !facts.local.contains(&observation.seen.ip());
            // Who is on the same network sees the inside, and says nothing about what is outside.
            if translated || scope(observation.observer.ip()) == "global" {
                let view = views.entry((observation.socket, observation.seen.is_ipv4())).or_default();
                view.0.insert(observation.observer);
                view.1.insert(observation.seen);
            }
        }
        let kinds = views.into_values().map(|(observers, seen)| match (observers.len(), seen.len()) {
            (_, 1) if seen.iter().all(|seen| facts.local.contains(&seen.ip())) => Nat::None,
            (2.., 1) => Nat::Cone,
            (2.., _) => Nat::Symmetric,
            _ => Nat::Unknown,
        });
        // The worst one is what decides whether a call connects.
        let worst = [Nat::Symmetric, Nat::Cone, Nat::None];
        let kinds: Vec<Nat> = kinds.collect();
        worst.into_iter().find(|kind| kinds.contains(kind)).unwrap_or(Nat::Unknown)
    };
    // What was seen of connections may be hours old; the media sockets are asked all the time.
    match verdict(&[Socket::Video, Socket::Audio]) {
        Nat::Unknown => verdict(&[Socket::Node]),
        known => known,
    }
}

fn reachability(facts: &Facts) -> Reachability {
    if facts.local.is_empty() {
        Reachability::Offline
    } else if !facts.confirmed.is_empty() {
        Reachability::Public
    } else if facts.relays > 0 {
        Reachability::Relayed
    } else if facts.outside > 0 {
        if facts.outside_for < SETTLED_AFTER { Reachability::Unknown } else { Reachability::Outgoing }
    } else if facts.peers > 0 {
        Reachability::Local
    } else {
        Reachability::Unknown
    }
}

/// Decides everything.
pub fn verdict(facts: &Facts) -> Verdict {
    let (nat, reachability) = (nat(facts), reachability(facts));
    Verdict { nat, reachability, meaning: meaning(facts, reachability, nat) }
}

fn meaning(facts: &Facts, reachability: Reachability, nat: Nat) -> String {
    let first = match reachability {
        Reachability::Offline => {
            return "This node can be reached from this machine only: it has no other address, or is bound to loopback."
                .to_owned();
        }
        Reachability::Public => {
            let at = facts.confirmed.first().map(|address| format!(" at {address}")).unwrap_or_default();
            format!("Anyone can call this node directly{at}.")
        }
        Reachability::Relayed => {
            let relays = if facts.relays == 1 { "a relay" } else { "relays" };
            format!("This node is behind a router; calls from outside come in through {relays}.")
        }
        Reachability::Outgoing => "This node can call, and cannot be called from outside: no peer could dial back, the \
                                   router has not opened a port, and no relay holds a place for it. Forward the node's port \
                                   in the router, or add a relay with --bootstrap."
            .to_owned(),
        Reachability::Local => {
            "Nodes on the local network reach this node. Whether others do is not known: none of them is connected."
                .to_owned()
        }
        Reachability::Unknown if facts.outside > 0 => {
            "Peers outside are connected; whether they can dial this node is being found out.".to_owned()
        }
        Reachability::Unknown => {
            "Too early to tell: no peer is connected that could say what it sees. `kithctl peers connect PEER` connects \
             to one."
                .to_owned()
        }
    };
    let second = match nat {
        Nat::Symmetric => Some(
            "The router uses another outside port for each peer, so calls go directly only to nodes without such a \
             router, and through a relay to the others.",
        ),
        Nat::Cone if reachability != Reachability::Public => Some(
            "The router keeps one outside port for all peers, so calls go directly once both sides know each other.",
        ),
        Nat::UdpBlocked => Some("UDP does not pass here: sound and pictures go over TCP, with more delay."),
        Nat::Cone | Nat::None | Nat::Unknown => None,
    };
    second.map_or(first.clone(), |second| format!("{first} {second}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("a valid address")
    }

    fn seen(socket: Socket, observer: &str, seen: &str) -> Observation {
        Observation { socket, observer: at(observer), seen: at(seen) }
    }

    fn home(observations: Vec<Observation>) -> Facts {
        let local = vec![at("10.1.0.2:1").ip()];
        let udp = if observations.is_empty() { Udp::Untried } else { Udp::Works };
        Facts { local, observations, udp, peers: 2, outside: 2, outside_for: SETTLED_AFTER, ..Facts::default() }
    }

    #[test]
    fn the_same_outside_port_for_two_peers_is_a_cone() {
        let facts = home(vec![
            seen(Socket::Video, "203.0.113.10:9996", "203.0.113.11:9996"),
            seen(Socket::Video, "203.0.113.20:9996", "203.0.113.11:9996"),
        ]);
        assert_eq!(nat(&facts), Nat::Cone);
    }

    #[test]
    fn another_outside_port_for_each_is_symmetric_whatever_other_sockets_look_like() {
        let facts = home(vec![
            seen(Socket::Video, "203.0.113.10:9996", "203.0.113.11:9996"),
            seen(Socket::Video, "203.0.113.20:9996", "203.0.113.11:9996"),
            seen(Socket::Audio, "203.0.113.10:9998", "203.0.113.11:40001"),
            seen(Socket::Audio, "203.0.113.10:9996", "203.0.113.11:40002"),
        ]);
        assert_eq!(nat(&facts), Nat::Symmetric);
        let verdict = verdict(&Facts { relays: 1, ..facts });
        assert_eq!(verdict.reachability, Reachability::Relayed);
        assert!(verdict.meaning.contains("another outside port"), "{}", verdict.meaning);
    }

    #[test]
    fn one_observer_behind_a_router_is_too_few() {
        let facts = home(vec![seen(Socket::Video, "203.0.113.10:9996", "203.0.113.11:9996")]);
        assert_eq!(nat(&facts), Nat::Unknown);
    }

    #[test]
    fn seen_at_a_local_address_is_no_router() {
        let mut facts = home(vec![seen(Socket::Video, "203.0.113.10:9996", "198.51.100.4:9996")]);
        facts.local = vec![at("198.51.100.4:1").ip()];
        assert_eq!(nat(&facts), Nat::None);
    }

    #[test]
    fn a_neighbour_says_nothing_about_the_router() {
        let facts = home(vec![
            seen(Socket::Video, "10.1.0.3:9996", "10.1.0.2:9996"),
            seen(Socket::Video, "10.1.0.4:9996", "10.1.0.2:9996"),
        ]);
        assert_eq!(nat(&facts), Nat::Unknown);
    }

    #[test]
    fn loopback_has_no_router() {
        let facts = home(vec![
            seen(Socket::Video, "127.0.0.1:4000", "127.0.0.1:9996"),
            seen(Socket::Video, "127.0.0.1:4001", "127.0.0.1:9996"),
        ]);
        assert_eq!(nat(&facts), Nat::Unknown);
    }

    #[test]
    fn the_families_are_judged_apart() {
        let mut facts = home(vec![
            seen(Socket::Video, "[2001:db8::1]:9996", "[2001:db8::7]:9996"),
            seen(Socket::Video, "203.0.113.10:9996", "203.0.113.11:9996"),
            seen(Socket::Video, "203.0.113.20:9996", "203.0.113.11:9996"),
        ]);
        facts.local.push(at("[2001:db8::7]:1").ip());
        assert_eq!(nat(&facts), Nat::Cone);
    }

    #[test]
    fn connections_are_asked_when_the_media_sockets_know_nothing() {
        let facts = home(vec![
            seen(Socket::Node, "203.0.113.10:9999", "203.0.113.11:4000"),
            seen(Socket::Node, "203.0.113.20:9999", "203.0.113.11:4000"),
        ]);
        assert_eq!(nat(&facts), Nat::Cone);
    }

    #[test]
    fn tcp_that_works_where_udp_is_silent_is_a_blocked_udp() {
        let verdict = verdict(&Facts { udp: Udp::Silent, ..home(Vec::new()) });
        assert_eq!(verdict.nat, Nat::UdpBlocked);
        assert!(verdict.meaning.contains("UDP does not pass"), "{}", verdict.meaning);
    }

    #[test]
    fn every_reachability_has_its_reason_and_its_sentence() {
        let base = home(Vec::new());
        let cases = [
            (Facts { local: Vec::new(), ..base.clone() }, Reachability::Offline),
            (Facts { confirmed: vec!["203.0.113.7:9999".into()], relays: 1, ..base.clone() }, Reachability::Public),
            (Facts { relays: 2, ..base.clone() }, Reachability::Relayed),
            (base.clone(), Reachability::Outgoing),
            (Facts { outside_for: Duration::ZERO, ..base.clone() }, Reachability::Unknown),
            (Facts { outside: 0, ..base.clone() }, Reachability::Local),
            (Facts { outside: 0, peers: 0, ..base }, Reachability::Unknown),
        ];
        let mut sentences = BTreeSet::new();
        for (facts, expected) in cases {
            let verdict = verdict(&facts);
            assert_eq!(verdict.reachability, expected, "{facts:?}");
            assert!(verdict.meaning.ends_with('.') || verdict.meaning.ends_with("one."), "{}", verdict.meaning);
            assert!(sentences.insert(verdict.meaning));
        }
    }

    #[test]
    fn scopes_are_told_apart() {
        for (ip, expected) in [
            ("127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("100.64.3.1", "private"),
            ("100.128.3.1", "global"),
            ("169.254.1.1", "link"),
            ("fe80::1", "link"),
            ("fd00::1", "private"),
            ("2001:db8::1", "global"),
        ] {
            assert_eq!(scope(ip.parse().expect("a valid address")), expected, "{ip}");
        }
    }
}
