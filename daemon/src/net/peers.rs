//! The peers that are connected, with what is known of each; and the addresses of those that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::ids::PeerId as KithId;
use kith_common::node::{PeerInfo, PeerStatus};
use kith_common::target::NODE_PORT;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::hello::Hello;
use super::streams::Protocol;
use super::{PeerLink, address};

/// Streams of one kind that a peer may hold open here: one call, its replacement, and two that are being refused.
const MAX_STREAMS_PER_PEER: usize = 4;
/// How fast a peer may open streams of a kind: a burst (a row of short calls), and so many a second after it.
const STREAM_BURST: f64 = 32.0;
const STREAMS_PER_SECOND: f64 = 2.0;
/// Addresses kept for one peer; a machine with more interfaces is reachable at one of these.
const MAX_ADDRESSES: usize = 16;
/// Peers whose addresses are remembered without being connected (the DHT's routing table comes on top).
const MAX_BOOK: usize = 256;
/// Unanswered pings until a connection counts as dead.
pub(super) const MAX_MISSED_PINGS: u32 = 2;

/// Lets a burst through and then a steady rate.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { tokens: STREAM_BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.filled).as_secs_f64() * STREAMS_PER_SECOND;
        self.tokens = (self.tokens + refill).min(STREAM_BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub address: Multiaddr,
    missed_pings: u32,
}

/// A connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub connections: Vec<Connection>,
    pub hello: Option<Hello>,
    /// Said by identify that it speaks Kith; `None` until identify has answered.
    pub is_kith: Option<bool>,
    /// Carries connections for others.
    pub is_relay: bool,
    /// A person, or the configuration, asked for this peer.
    pub wanted: bool,
    pub since: Instant,
    agent: String,
    listens_on: Vec<Multiaddr>,
    rtt: Option<Duration>,
    jitter: Duration,
    since_unix_ms: i64,
    streams: [Arc<Semaphore>; Protocol::COUNT],
    opened: [Bucket; Protocol::COUNT],
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            connections: Vec::new(),
            hello: None,
            is_kith: None,
            is_relay: false,
            wanted: false,
            since: now,
            agent: String::new(),
            listens_on: Vec::new(),
            rtt: None,
            jitter: Duration::ZERO,
            since_unix_ms: unix_ms(),
            streams: std::array::from_fn(|_| Arc::new(Semaphore::new(MAX_STREAMS_PER_PEER))),
            opened: std::array::from_fn(|_| Bucket::new(now)),
        }
    }

    /// The connection that shows how the peer is reached: direct before relayed, older before newer.
    fn best(&self) -> Option<&Connection> {
        self.connections.iter().min_by_key(|connection| address::is_relayed(&connection.address))
    }

    /// The connection for a new stream: signalling and tunnels avoid UDP, which may be what fails in a call. Where all
    /// is UDP, a tunnel at least takes another way than the media.
    pub fn connection_for(&self, protocol: Protocol) -> Option<&Connection> {
        self.connections.iter().min_by_key(|connection| {
            let (relayed, udp) = (address::is_relayed(&connection.address), address::is_udp(&connection.address));
            match protocol {
                Protocol::Hello => (false, relayed, udp),
                Protocol::Signal => (false, udp, relayed),
                Protocol::Tunnel => (udp && !relayed, udp, relayed),
                Protocol::Ping | Protocol::Bandwidth => (false, relayed, !udp),
            }
        })
    }

    /// Is there a connection that goes on when UDP fails?
    pub fn outlives_udp(&self) -> bool {
        self.connections.iter().any(|connection| !address::is_udp(&connection.address))
    }

    pub fn is_direct(&self) -> bool {
        self.connections.iter().any(|connection| !address::is_relayed(&connection.address))
    }

    /// A permit for one more stream from this peer; it counts as open until the permit is dropped.
    pub fn admit(&mut self, protocol: Protocol, now: Instant) -> Option<OwnedSemaphorePermit> {
        if !self.opened[protocol as usize].take(now) {
            return None;
        }
        Arc::clone(&self.streams[protocol as usize]).try_acquire_owned().ok()
    }

    pub fn has_open_streams(&self) -> bool {
        self.streams.iter().any(|streams| streams.available_permits() < MAX_STREAMS_PER_PEER)
    }

    /// Smoothed as in RFC 3550, 6.4.1: a sixteenth of each change.
    pub fn measured(&mut self, rtt: Duration) {
        if let Some(last) = self.rtt {
            let change = rtt.abs_diff(last);
            self.jitter = self.jitter * 15 / 16 + change / 16;
        }
        self.rtt = Some(rtt);
    }

    /// True when that connection is dead.
    pub fn missed_ping(&mut self, id: ConnectionId) -> bool {
        self.connections.iter_mut().find(|connection| connection.id == id).is_some_and(|connection| {
            connection.missed_pings += 1;
            connection.missed_pings >= MAX_MISSED_PINGS
        })
    }

    pub fn answered_ping(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.missed_pings = 0;
        }
    }

    pub fn identified(&mut self, agent: &str, is_kith: bool, listens_on: Vec<Multiaddr>) {
        self.agent = super::hello::tidy(agent, 64);
        self.is_kith = Some(is_kith);
        self.listens_on = listens_on;
        self.listens_on.truncate(MAX_ADDRESSES);
    }

    /// Where else this peer may be dialed.
    pub fn listens_on(&self) -> &[Multiaddr] {
        &self.listens_on
    }

    fn link(&self, peer: KithId) -> Option<PeerLink> {
        let best = self.best()?;
        let hello = self.hello.as_ref();
        Some(PeerLink {
            peer,
            name: hello.map(|hello| hello.name.clone()).unwrap_or_default(),
            path: address::path(&best.address),
            remote: address::socket(&best.address),
            media_ports: hello.map(|hello| hello.media_ports).unwrap_or_default(),
        })
    }

    fn row(&self, peer: KithId) -> Option<PeerInfo> {
        let link = self.link(peer)?;
        let agent = self.hello.as_ref().map_or(&self.agent, |hello| &hello.agent);
        let mut addresses: Vec<String> = Vec::new();
        for address in self.connections.iter().map(|connection| &connection.address).chain(&self.listens_on) {
            let text = address::without_peer(address.clone()).to_string();
            if !text.is_empty() && !addresses.contains(&text) && addresses.len() < MAX_ADDRESSES {
                addresses.push(text);
            }
        }
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Some(PeerInfo {
            peer_id: peer,
            name: link.name,
            connected: true,
            status: PeerStatus::Connected,
            path: Some(link.path),
            addresses,
            rtt_ms: self.rtt.map(milliseconds),
            jitter_ms: self.rtt.map(|_| milliseconds(self.jitter)),
            loss: None,
            agent: agent.clone(),
            connected_since_unix_ms: self.since_unix_ms,
            services: Vec::new(),
            last_seen_unix_ms: unix_ms(),
        })
    }
}

/// What [`super::Net`] answers from without asking the task.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub by_peer: BTreeMap<KithId, PeerLink>,
    /// All addresses that connected peers are connected from.
    pub ips: BTreeSet<IpAddr>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Table {
    connected: BTreeMap<PeerId, Peer>,
    book: BTreeMap<PeerId, Vec<Multiaddr>>,
}

impl Table {
    pub fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.connected.get(peer)
    }

    pub fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(peer)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected.iter()
    }

    pub fn len(&self) -> usize {
        self.connected.len()
    }

    /// True when it is the first connection to that peer.
    pub fn opened(&mut self, peer: PeerId, id: ConnectionId, address: Multiaddr, now: Instant) -> bool {
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(now));
        entry.connections.push(Connection { id, address, missed_pings: 0 });
        entry.connections.len() == 1
    }

    /// True when it was the last connection to that peer.
    pub fn closed(&mut self, peer: &PeerId, id: ConnectionId) -> bool {
        let Some(entry) = self.connected.get_mut(peer) else { return false };
        entry.connections.retain(|connection| connection.id != id);
        if !entry.connections.is_empty() {
            return false;
        }
        if let Some(gone) = self.connected.remove(peer)
            && !gone.listens_on.is_empty()
        {
            self.remember(*peer, gone.listens_on);
        }
        true
    }

    /// Notes where a peer may be found.
    pub fn remember(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) {
        if !self.book.contains_key(&peer) && self.book.len() >= MAX_BOOK {
            self.book.pop_first();
        }
        let known = self.book.entry(peer).or_default();
        for address in addresses {
            let address = address::without_peer(address);
            if !known.contains(&address) {
                known.insert(0, address);
            }
        }
        known.truncate(MAX_ADDRESSES);
    }

    pub fn remembered(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.book.get(peer).cloned().unwrap_or_default()
    }

    /// The peer at that address: connected from there, or listening there. An IP with the usual port also means the only
    /// peer at that IP, since a peer that dialed shows some other port.
    pub fn at(&self, ip: IpAddr, port: u16) -> Option<PeerId> {
        let sockets = |peer: &Peer| -> Vec<SocketAddr> {
            let connections = peer.connections.iter().map(|connection| &connection.address);
            connections.chain(&peer.listens_on).filter_map(address::socket).collect()
        };
        let here = |socket: &SocketAddr| socket.ip() == ip;
        let mut exact = self.connected.iter().filter(|(_, peer)| sockets(peer).contains(&SocketAddr::new(ip, port)));
        if let Some((id, _)) = exact.next() {
            return Some(*id);
        }
        let mut at_ip = self.connected.iter().filter(|(_, peer)| sockets(peer).iter().any(here));
        match (port, at_ip.next(), at_ip.next()) {
            (NODE_PORT, Some((id, _)), None) => Some(*id),
            _ => None,
        }
    }

    pub fn links(&self) -> Links {
        let mut links = Links::default();
        for (id, peer) in &self.connected {
            let remotes = peer.connections.iter().filter_map(|connection| address::socket(&connection.address));
            links.ips.extend(remotes.map(|remote| remote.ip()));
            if let Some(link) = address::from_libp2p(id).and_then(|id| peer.link(id)) {
                links.by_peer.insert(link.peer, link);
            }
        }
        links
    }

    /// Connected peers, longest connected first; then the others, as `known` (the routing table) and the book have them.
    pub fn rows(&self, known: BTreeMap<PeerId, Vec<Multiaddr>>, is_dialing: impl Fn(&PeerId) -> bool) -> Vec<PeerInfo> {
        let mut rows: Vec<PeerInfo> =
            self.connected.iter().filter_map(|(id, peer)| peer.row(address::from_libp2p(id)?)).collect();
        rows.sort_by_key(|row| (row.connected_since_unix_ms, row.peer_id));
        let mut others = known;
        for (peer, addresses) in &self.book {
            others.entry(*peer).or_insert_with(|| addresses.clone());
        }
        rows.extend(others.into_iter().filter(|(id, _)| !self.connected.contains_key(id)).filter_map(
            |(id, addresses)| {
                let status = if is_dialing(&id) { PeerStatus::Dialing } else { PeerStatus::Known };
                Some(PeerInfo {
                    peer_id: address::from_libp2p(&id)?,
                    name: String::new(),
                    connected: false,
                    status,
                    path: None,
                    addresses: addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect(),
                    rtt_ms: None,
                    jitter_ms: None,
                    loss: None,
                    agent: String::new(),
                    connected_since_unix_ms: 0,
                    services: Vec::new(),
                    last_seen_unix_ms: 0,
                })
            },
        ));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_rings_a_thousand_times_gets_a_few_streams() {
        let now = Instant::now();
        let mut peer = Peer::new(now);
        let held: Vec<_> = (0..1000).filter_map(|_| peer.admit(Protocol::Signal, now)).collect();
        assert_eq!(held.len(), MAX_STREAMS_PER_PEER);
        drop(held);
        // The burst is used up, and comes back with time.
        assert!(peer.admit(Protocol::Signal, now).is_none());
        assert!(peer.admit(Protocol::Signal, now + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn jitter_follows_changes_of_the_round_trip() {
        let mut peer = Peer::new(Instant::now());
        for rtt in [10, 10, 26] {
            peer.measured(Duration::from_millis(rtt));
        }
        assert_eq!(peer.jitter, Duration::from_millis(1));
    }

    #[test]
    fn tunnels_prefer_tcp_and_then_a_relay() {
        let relay = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let addresses = [
            "/ip4/203.0.113.1/udp/9999/quic-v1".to_owned(),
            format!("/ip4/203.0.113.2/udp/9999/quic-v1/p2p/{relay}/p2p-circuit"),
            "/ip4/203.0.113.1/tcp/9999".to_owned(),
        ];
        let mut table = Table::default();
        let id = PeerId::random();
        let mut chosen = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let address = address.parse().expect("a valid address");
            table.opened(id, ConnectionId::new_unchecked(number), address, Instant::now());
            let peer = table.get(&id).expect("just connected");
            let pick = |protocol| peer.connection_for(protocol).expect("connected").id;
            chosen.push((pick(Protocol::Signal), pick(Protocol::Tunnel)));
        }
        let id = ConnectionId::new_unchecked;
        assert_eq!(chosen, [(id(0), id(0)), (id(0), id(1)), (id(2), id(2))]);
    }
}
