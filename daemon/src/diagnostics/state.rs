//! Puts together what is known of this node's addresses; what it means is decided in `kith-core::reach`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kith_common::call::Transport;
use kith_common::diagnostics::{LocalAddress, NetworkState, ObservedAddress};
use kith_common::ids::PeerId;
use kith_common::node::{Path, PeerInfo};
use kith_core::reach::{self, Facts, Observation, Socket, Udp};

use crate::net::Standing;

/// Rows that one screen can show; a machine with more addresses has virtual ones.
const MAX_ROWS: usize = 32;

/// What peers say of the media sockets.
pub struct Asked {
    pub observations: Vec<(PeerId, Observation)>,
    /// Peers that do not answer.
    pub silent: Vec<PeerId>,
}

/// Remembers since when peers outside have been connected.
pub struct State {
    bind: Option<IpAddr>,
    outside_since: Option<Instant>,
}

impl State {
    pub fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, outside_since: None }
    }

    pub fn assemble(&mut self, standing: &Standing, peers: &[PeerInfo], asked: &Asked, now: Instant) -> NetworkState {
        let local = self.local();
        let connected: Vec<&PeerInfo> = peers.iter().filter(|peer| peer.connected).collect();
        let outside = connected.iter().filter(|peer| peer.path != Some(Path::Lan)).count();
        match outside {
            0 => self.outside_since = None,
            _ => _ = self.outside_since.get_or_insert(now),
        }
        let loopback = |ip: IpAddr| ip.is_loopback();
        let facts = Facts {
            local: local.iter().map(|(_, ip)| *ip).filter(|ip| !loopback(*ip)).collect(),
            observations: observations(standing, asked),
            udp: udp(standing, asked, &connected),
            peers: connected.len(),
            outside,
            outside_for: self.outside_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            confirmed: standing.confirmed.iter().map(ToString::to_string).collect(),
            relays: standing.relays.iter().map(|place| &place.relay).collect::<BTreeSet<_>>().len(),
        };
        let verdict = reach::verdict(&facts);
        let address = |(interface, ip): (String, IpAddr)| LocalAddress {
            interface,
            ip: ip.to_string(),
            scope: reach::scope(ip).to_owned(),
        };
        NetworkState {
            local: local.into_iter().map(address).collect(),
            observed: observed(standing, asked, self.is_loopback_node()),
            relay: standing.relays.clone(),
            mappings: standing.mappings.clone(),
            reachability: verdict.reachability,
            nat: verdict.nat,
            meaning: verdict.meaning,
            dht_server: standing.dht_server,
        }
    }

    fn is_loopback_node(&self) -> bool {
        self.bind.is_some_and(|ip| ip.is_loopback())
    }

    /// This machine's addresses that the node listens at; those of loopback only when it is bound to one.
    fn local(&self) -> Vec<(String, IpAddr)> {
        let found = if_addrs::get_if_addrs().unwrap_or_default();
        let mut local: Vec<(String, IpAddr)> = found.into_iter().map(|one| (one.name.clone(), one.ip())).collect();
        local.retain(|(_, ip)| match self.bind {
            Some(bind) if !bind.is_unspecified() => *ip == bind,
            _ => !ip.is_loopback(),
        });
        local.sort();
        local.truncate(MAX_ROWS);
        local
    }
}

/// Of datagrams, for the decision.
fn observations(standing: &Standing, asked: &Asked) -> Vec<Observation> {
    let connections =
        standing.seen.iter().filter(|seen| seen.transport == Transport::Udp).filter_map(|seen| {
            Some(Observation { socket: Socket::Node, observer: seen.observer, seen: seen.address? })
        });
    connections.chain(asked.observations.iter().map(|(_, observation)| *observation)).collect()
}

fn udp(standing: &Standing, asked: &Asked, connected: &[&PeerInfo]) -> Udp {
    let outside = |peer: &PeerId| connected.iter().any(|row| row.peer_id == *peer && row.path == Some(Path::Direct));
    let quic = standing.seen.iter().any(|seen| seen.transport == Transport::Udp && seen.path == Path::Direct);
    if quic || asked.observations.iter().any(|(peer, _)| outside(peer)) {
        Udp::Works
    } else if asked.silent.iter().any(outside) {
        Udp::Silent
    } else {
        Udp::Untried
    }
}

/// For people: each outside address once, with how many peers see it.
fn observed(standing: &Standing, asked: &Asked, loopback_node: bool) -> Vec<ObservedAddress> {
    let mut by_address: BTreeMap<(Socket, bool, SocketAddr), BTreeSet<PeerId>> = BTreeMap::new();
    for seen in &standing.seen {
        if let Some(address) = seen.address {
            let tcp = seen.transport == Transport::Tcp;
            by_address.entry((Socket::Node, tcp, address)).or_default().insert(seen.peer);
        }
    }
    for (peer, observation) in &asked.observations {
        by_address.entry((observation.socket, false, observation.seen)).or_default().insert(*peer);
    }
    let shown = by_address.into_iter().filter(|((_, _, address), _)| loopback_node || !address.ip().is_loopback());
    let row = |((socket, tcp, address), peers): ((Socket, bool, SocketAddr), BTreeSet<PeerId>)| ObservedAddress {
        address: address.to_string(),
        service: socket.name().to_owned(),
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        peers: u32::try_from(peers.len()).unwrap_or(u32::MAX),
    };
    let mut rows: Vec<ObservedAddress> = shown.map(row).collect();
    // What most agree on first, within each service.
    rows.sort_by_key(|row| (row.service != "node", row.service != "video", std::cmp::Reverse(row.peers)));
    rows.truncate(MAX_ROWS);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_public_key([number; 32])
    }

    #[test]
    fn peers_that_agree_are_counted_once_each() {
        let see = |number: u8, port: u16, seen: &str| {
            let observer = SocketAddr::new([203, 0, 113, number].into(), port);
            let seen = seen.parse().expect("a valid address");
            (peer(number), Observation { socket: Socket::Video, observer, seen })
        };
        let observations = vec![
            see(1, 9996, "198.51.100.1:9996"),
            see(1, 9998, "198.51.100.1:9996"),
            see(2, 9996, "198.51.100.1:9996"),
            see(3, 9996, "198.51.100.1:4000"),
            see(4, 9996, "127.0.0.1:9996"),
        ];
        let asked = Asked { observations, silent: Vec::new() };
        let rows = observed(&Standing::default(), &asked, false);
        let rows: Vec<(&str, u32)> = rows.iter().map(|row| (row.address.as_str(), row.peers)).collect();
        assert_eq!(rows, [("198.51.100.1:9996", 2), ("198.51.100.1:4000", 1)]);
        assert_eq!(observed(&Standing::default(), &asked, true).len(), 3);
    }
}
