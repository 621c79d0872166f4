//! The peers that are connected, with what is known of each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::ids::PeerId as KithId;
use kith_common::node::{Path, PeerInfo, PeerStatus};
use kith_common::target::NODE_PORT;
use kith_common::text::clean_line;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::book::MAX_ADDRESSES;
use super::hello::Hello;
use super::limits::{Bucket, Limits, STREAM_BURST};
use super::streams::Protocol;
use super::{PeerLink, address, files, providers};

/// How often what a peer says of itself by identify is taken in: at the start, and as its addresses change.
const IDENTIFY_BURST: u32 = 16;
const IDENTIFY_PAUSE: Duration = Duration::from_secs(2);
/// Address records that a peer may leave here: its own, and in a small network those of others that it passes on.
const RECORD_BURST: u32 = 64;
const RECORD_PAUSE: Duration = Duration::from_secs(1);
/// And records of what it has: twice what a node says of its own.
const PROVIDED_BURST: u32 = 2 * providers::TELL_BURST;
const PROVIDED_PER_SECOND: u32 = 2 * providers::TELL_PER_SECOND;
/// Unanswered pings until a connection counts as dead.
pub(super) const MAX_MISSED_PINGS: u32 = 2;

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub address: Multiaddr,
    /// This machine's end, where the connection cannot go on without it.
    pub local: Option<IpAddr>,
    missed_pings: u32,
}

/// The TCP connection beside one over UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Companion {
    #[default]
    NotTried,
    /// Being dialed; until then it is worth waiting for.
    Dialed(Instant),
    Failed,
}

impl Companion {
    pub fn is_awaited(self) -> bool {
        matches!(self, Self::Dialed(until) if Instant::now() < until)
    }
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
    pub companion: Companion,
    /// A person, or the configuration, asked for this peer.
    pub wanted: bool,
    pub since: Instant,
    /// When it closed a connection on purpose.
    pub took_leave: Option<Instant>,
    agent: String,
    listens_on: Vec<Multiaddr>,
    rtt: Option<Duration>,
    jitter: Duration,
    since_unix_ms: i64,
    streams: [Arc<Semaphore>; Protocol::COUNT],
    most_streams: [usize; Protocol::COUNT],
    opened: [Bucket; Protocol::COUNT],
    identified: Bucket,
    records: Bucket,
    provided: Bucket,
}

impl Peer {
    fn new(limits: &Limits, now: Instant) -> Self {
        let most_streams = Protocol::ALL.map(|protocol| most_streams(protocol, limits));
        Self {
            connections: Vec::new(),
            hello: None,
            is_kith: None,
            is_relay: false,
            companion: Companion::default(),
            wanted: false,
            since: now,
            took_leave: None,
            agent: String::new(),
            listens_on: Vec::new(),
            rtt: None,
            jitter: Duration::ZERO,
            since_unix_ms: unix_ms(),
            streams: most_streams.map(|most| Arc::new(Semaphore::new(most))),
            most_streams,
            opened: std::array::from_fn(|_| Bucket::new(STREAM_BURST, limits.signals_per_second, now)),
            identified: Bucket::every(IDENTIFY_BURST, IDENTIFY_PAUSE, now),
            records: Bucket::every(RECORD_BURST, RECORD_PAUSE, now),
            provided: Bucket::new(PROVIDED_BURST, PROVIDED_PER_SECOND, now),
        }
    }

    /// The connection that shows how the peer is reached: direct before relayed, older before newer.
    fn best(&self) -> Option<&Connection> {
        self.connections.iter().min_by_key(|connection| address::is_relayed(&connection.address))
    }

    /// The connection for a new stream: signalling and tunnels avoid UDP, which may be what fails in a call. Where all
    /// is UDP, a tunnel at least takes another way than the media. Of equals the newest: a peer that was killed and is
    /// back leaves a dead one behind.
    pub fn connection_for(&self, protocol: Protocol) -> Option<&Connection> {
        self.connections.iter().rev().min_by_key(|connection| {
            let (relayed, udp) = (address::is_relayed(&connection.address), address::is_udp(&connection.address));
            match protocol {
                Protocol::Hello | Protocol::Files => (false, relayed, udp),
                Protocol::Signal | Protocol::Contact | Protocol::Chat => (false, udp, relayed),
                Protocol::Tunnel => (udp && !relayed, udp, relayed),
                Protocol::Ping | Protocol::Bandwidth => (false, relayed, !udp),
            }
        })
    }

    /// Is there a connection that goes on when UDP fails?
    pub fn outlives_udp(&self) -> bool {
        self.connections.iter().any(|connection| !address::is_udp(&connection.address))
    }

    /// The connection that libp2p takes for this peer's service as a relay: the oldest direct one.
    pub fn carrier(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| !address::is_relayed(&connection.address))
    }

    /// A new stream gains nothing by waiting for another connection.
    pub fn is_best_for(&self, protocol: Protocol) -> bool {
        match protocol {
            // Without one a firewall is in the way, or a router, which is the same the next time.
            Protocol::Files => self.has_direct_tcp() || self.companion == Companion::Failed,
            _ => self.outlives_udp(),
        }
    }

    /// The way of one of its connections; `None` when that is closed.
    pub fn path_of(&self, id: ConnectionId) -> Option<Path> {
        let connection = self.connections.iter().find(|connection| connection.id == id);
        connection.map(|connection| address::path(&connection.address))
    }

    pub fn has_direct_tcp(&self) -> bool {
        let direct = |address: &Multiaddr| !address::is_relayed(address) && !address::is_udp(address);
        self.connections.iter().any(|connection| direct(&connection.address))
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

    /// Whether this identify message is taken in.
    pub fn admit_identify(&mut self, now: Instant) -> bool {
        self.identified.take(now)
    }

    /// Whether this record is looked at.
    pub fn admit_record(&mut self, now: Instant) -> bool {
        self.records.take(now)
    }

    /// Whether this record of something that the peer has is looked at.
    pub fn admit_provided(&mut self, now: Instant) -> bool {
        self.provided.take(now)
    }

    pub fn has_open_streams(&self) -> bool {
        self.streams.iter().zip(self.most_streams).any(|(streams, most)| streams.available_permits() < most)
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
        self.agent = clean_line(agent, super::hello::MAX_AGENT_CHARS);
        self.is_kith = Some(is_kith);
        self.listens_on = listens_on;
        self.listens_on.truncate(MAX_ADDRESSES);
    }

    /// Where else this peer may be dialed.
    pub fn listens_on(&self) -> &[Multiaddr] {
        &self.listens_on
    }

    pub fn link(&self, peer: KithId) -> Option<PeerLink> {
        let best = self.best()?;
        let hello = self.hello.as_ref();
        Some(PeerLink {
            peer,
            name: hello.map(|hello| hello.name.clone()).unwrap_or_default(),
            path: address::path(&best.address),
            tunnel_path: address::path(&self.connection_for(Protocol::Tunnel)?.address),
            remote: address::socket(&best.address),
            media_ports: hello.map(|hello| hello.media_ports).unwrap_or_default(),
        })
    }

    pub fn row(&self, peer: KithId) -> Option<PeerInfo> {
        let link = self.link(peer)?;
        let agent = self.hello.as_ref().map_or(&self.agent, |hello| &hello.agent);
        let mut addresses: Vec<String> = Vec::new();
        for address in self.connections.iter().map(|connection| &connection.address).chain(&self.listens_on) {
            let text = address::without_peer(address.clone()).to_string();
            if !text.is_empty() && !addresses.contains(&text) && addresses.len() < MAX_ADDRESSES {
                addresses.push(text);
            }
        }
        let mut row = PeerInfo {
            name: link.name,
            path: Some(link.path),
            addresses,
            agent: agent.clone(),
            connected_since_unix_ms: self.since_unix_ms,
            services: self.hello.as_ref().map(|hello| hello.services.clone()).unwrap_or_default(),
            ..PeerInfo::new(peer, PeerStatus::Connected)
        };
        self.put_figures(&mut row);
        Some(row)
    }

    /// What changes all the time.
    pub fn put_figures(&self, row: &mut PeerInfo) {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        row.rtt_ms = self.rtt.map(milliseconds);
        row.jitter_ms = self.rtt.map(|_| milliseconds(self.jitter));
        row.loss = None;
        row.last_seen_unix_ms = unix_ms();
    }
}

/// Streams of this kind that a peer may hold open here.
fn most_streams(protocol: Protocol, limits: &Limits) -> usize {
    let most = limits.streams_per_peer as usize;
    if protocol == Protocol::Files { most * files::STREAMS_FACTOR } else { most }
}

/// All of them.
pub(super) struct Table {
    connected: BTreeMap<PeerId, Peer>,
    limits: Limits,
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self { connected: BTreeMap::new(), limits }
    }

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
        let entry = self.connected.entry(peer).or_insert_with(|| Peer::new(&self.limits, now));
        entry.connections.push(Connection { id, address, local: None, missed_pings: 0 });
        entry.connections.len() == 1
    }

    /// Which address of this machine the connection cannot go on without.
    pub fn opened_from(&mut self, peer: &PeerId, id: ConnectionId, local: Option<IpAddr>) {
        let connections = self.connected.get_mut(peer).map(|entry| &mut entry.connections);
        if let Some(connection) = connections.and_then(|all| all.iter_mut().find(|connection| connection.id == id)) {
            connection.local = local;
        }
    }

    /// The peer as it was, when that was the last connection to it.
    pub fn closed(&mut self, peer: &PeerId, id: ConnectionId) -> Option<Peer> {
        let entry = self.connected.get_mut(peer)?;
        entry.connections.retain(|connection| connection.id != id);
        if entry.connections.is_empty() { self.connected.remove(peer) } else { None }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_rings_a_thousand_times_gets_a_few_streams() {
        let now = Instant::now();
        let limits = Limits::default();
        let mut peer = Peer::new(&limits, now);
        let held: Vec<_> = (0..1000).filter_map(|_| peer.admit(Protocol::Signal, now)).collect();
        assert_eq!(held.len(), limits.streams_per_peer as usize);
        drop(held);
        // The burst is used up, and comes back with time.
        assert!(peer.admit(Protocol::Signal, now).is_none());
        assert!(peer.admit(Protocol::Signal, now + Duration::from_secs(1)).is_some());
    }

    /// Looks at a peer as soon as each of its connections is there.
    fn after_each<T>(addresses: &[String], look: impl Fn(&Peer) -> T) -> Vec<T> {
        let mut table = Table::new(Limits::default());
        let id = PeerId::random();
        let opening = addresses.iter().enumerate().map(|(number, address)| {
            let address = address.parse().expect("a valid address");
            table.opened(id, ConnectionId::new_unchecked(number), address, Instant::now());
            look(table.get(&id).expect("just connected"))
        });
        opening.collect()
    }

    #[test]
    fn files_go_by_tcp_and_by_no_relay_where_there_is_another_way() {
        let relay = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let addresses = [
            format!("/ip4/203.0.113.2/tcp/9999/p2p/{relay}/p2p-circuit"),
            "/ip4/203.0.113.1/udp/9999/quic-v1".to_owned(),
            "/ip4/203.0.113.1/tcp/9999".to_owned(),
        ];
        let chosen = after_each(&addresses, |peer| {
            let best = peer.connection_for(Protocol::Files).expect("connected").id;
            (best, peer.path_of(best), peer.is_best_for(Protocol::Files))
        });
        let id = ConnectionId::new_unchecked;
        let (relayed, direct) = (Some(Path::Relayed), Some(Path::Direct));
        assert_eq!(chosen, [(id(0), relayed, false), (id(1), direct, false), (id(2), direct, true)]);
    }

    #[test]
    fn jitter_follows_changes_of_the_round_trip() {
        let mut peer = Peer::new(&Limits::default(), Instant::now());
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
        let chosen = after_each(&addresses, |peer| {
            let pick = |protocol| peer.connection_for(protocol).expect("connected").id;
            (pick(Protocol::Signal), pick(Protocol::Tunnel))
        });
        let id = ConnectionId::new_unchecked;
        assert_eq!(chosen, [(id(0), id(0)), (id(0), id(1)), (id(2), id(2))]);
    }
}
