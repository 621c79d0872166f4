//! What a multiaddr says: which machine, which transport, how far away, fit for a ticket or not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kith_common::call::Transport;
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_common::target::{MAX_TICKET_ADDRESSES, Ticket};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// An own key type of libp2p that Kith does not use has no Kith id.
pub(super) fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_bytes(&peer.to_bytes()).ok()
}

pub(super) fn to_libp2p(peer: PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&peer.to_bytes()).expect("an identity multihash of 36 bytes is a libp2p peer id")
}

pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// Whether the way to the next machine is UDP.
pub(super) fn is_udp(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Udp(_)))
}

/// What carries the packets to the next machine.
pub(super) fn transport(address: &Multiaddr) -> Transport {
    if is_udp(address) { Transport::Udp } else { Transport::Tcp }
}

/// The IP address and port of the machine at the other end; none for a relayed address.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    if is_relayed(address) {
        return None;
    }
    let (mut ip, mut port) = (None, None);
    for part in address {
        match part {
            Protocol::Ip4(v4) => ip = Some(IpAddr::V4(v4)),
            Protocol::Ip6(v6) => ip = Some(v6.to_canonical()),
            Protocol::Tcp(number) | Protocol::Udp(number) => port = Some(number),
            _ => {}
        }
    }
    Some(SocketAddr::new(ip?, port?))
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(v4) => Some(IpAddr::V4(v4)),
        Protocol::Ip6(v6) => Some(v6.to_canonical()),
        // Another node of this process is as near as one on loopback.
        Protocol::Memory(_) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => None,
    })
}

/// The relay that a relayed address goes through.
pub(super) fn relay(address: &Multiaddr) -> Option<libp2p::PeerId> {
    let first = |address: &Multiaddr| {
        address.iter().find_map(|part| match part {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        })
    };
    is_relayed(address).then(|| first(address)).flatten()
}

/// A relayed address with its relay at another address than it says.
pub(super) fn through(relayed: &Multiaddr, relay: &Multiaddr) -> Multiaddr {
    let rest = relayed.iter().skip_while(|part| !matches!(part, Protocol::P2p(_)));
    rest.fold(without_peer(relay.clone()), Multiaddr::with)
}

/// The peer that the address ends in, which for a relayed address is the one behind the relay.
pub(super) fn last_peer(address: &Multiaddr) -> Option<libp2p::PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Without the peer id at its end.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if last_peer(&address).is_some() {
        address.pop();
    }
    address
}

pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip(address).is_some_and(|ip| ip.is_loopback())
}

/// An address of a home, an office or a carrier's inside: not for others to reach.
pub(super) fn is_private_ip(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // RFC 6598
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

/// Reachable from everywhere, as far as an address can tell; names count.
pub(super) fn is_global(address: &Multiaddr) -> bool {
    ip(address).is_none_or(|ip| !is_private_ip(ip))
}

/// Fit to be handed to others: complete, dialable, and loopback only where the node is bound to it.
pub(super) fn is_shareable(address: &Multiaddr, loopback_node: bool) -> bool {
    let Some(ip) = ip(address) else { return address.iter().next().is_some_and(|part| is_name(&part)) };
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !ip.is_unspecified() && !ip.is_multicast() && !link_local && (loopback_node || !ip.is_loopback())
}

fn is_name(part: &Protocol<'_>) -> bool {
    matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
}

/// The path that a connection to this address is.
pub(super) fn path(address: &Multiaddr) -> Path {
    match ip(address) {
        _ if is_relayed(address) => Path::Relayed,
        Some(ip) if is_private_ip(ip) => Path::Lan,
        _ => Path::Direct,
    }
}

/// The two ways of reaching a node at an IP address.
pub(super) fn of_socket(remote: SocketAddr) -> [Multiaddr; 2] {
    let ip = Multiaddr::from(remote.ip());
    [ip.clone().with(Protocol::Udp(remote.port())).with(Protocol::QuicV1), ip.with(Protocol::Tcp(remote.port()))]
}

/// Nearest to a stranger's use first: outside addresses, then those of the local network, then relays; QUIC before TCP.
pub(super) fn order_for_ticket(addresses: &mut [Multiaddr]) {
    addresses.sort_by_key(|address| {
        let ip6 = matches!(address.iter().next(), Some(Protocol::Ip6(_)));
        (is_relayed(address), !is_global(address), ip6, !is_udp(address), address.to_string())
    });
}

/// The ticket that names the first few of these.
pub(super) fn ticket(peer: PeerId, addresses: &[Multiaddr]) -> String {
    Ticket { peer, addresses: addresses.iter().take(MAX_TICKET_ADDRESSES).cloned().collect() }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect("a valid multiaddr")
    }

    const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    #[test]
    fn an_address_tells_its_path() {
        assert_eq!(path(&parse("/ip4/10.1.0.2/tcp/9999")), Path::Lan);
        assert_eq!(path(&parse("/ip4/203.0.113.7/udp/9999/quic-v1")), Path::Direct);
        let relayed = parse(&format!("/ip4/203.0.113.7/tcp/9999/p2p/{RELAY}/p2p-circuit"));
        assert_eq!((path(&relayed), socket(&relayed)), (Path::Relayed, None));
    }

    #[test]
    fn a_relayed_address_is_named_after_the_connection_that_carries_it() {
        let quic = parse(&format!("/ip4/203.0.113.7/udp/9999/quic-v1/p2p/{RELAY}/p2p-circuit"));
        let tcp = parse(&format!("/ip4/203.0.113.7/tcp/9999/p2p/{RELAY}/p2p-circuit"));
        assert_eq!(through(&quic, &parse("/ip4/203.0.113.7/tcp/9999")), tcp);
        assert_eq!(relay(&quic).map(|peer| peer.to_string()).as_deref(), Some(RELAY));
        assert_eq!(relay(&parse(&format!("/ip4/203.0.113.7/tcp/9999/p2p/{RELAY}"))), None);
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        let address = parse("/ip6/::ffff:192.168.1.2/tcp/9999");
        assert_eq!(socket(&address), "192.168.1.2:9999".parse().ok());
    }

    #[test]
    fn loopback_and_unspecified_addresses_are_not_shared() {
        for text in ["/ip4/127.0.0.1/tcp/1", "/memory/7", "/ip4/0.0.0.0/tcp/1", "/ip6/fe80::1/tcp/1"] {
            assert!(!is_shareable(&parse(text), false), "{text}");
        }
        for text in ["/ip4/127.0.0.1/tcp/1", "/memory/7"] {
            assert!(is_shareable(&parse(text), true), "{text}");
        }
        assert!(is_shareable(&parse("/dns4/kith.example/tcp/1"), false));
    }

    #[test]
    fn tickets_name_outside_addresses_first() {
        let mut addresses = ["/ip4/10.0.0.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/ip4/203.0.113.1/tcp/1"].map(parse);
        order_for_ticket(&mut addresses);
        assert_eq!(addresses[0], parse("/ip4/203.0.113.1/tcp/1"));
        assert_eq!(addresses[2], parse("/ip4/10.0.0.1/tcp/1"));
    }
}
