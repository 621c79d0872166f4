//! How others reach this node: bootstrap nodes, the DHT's mode, relays that hold a place for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, kad};

use super::book::Book;
use super::task::Task;
use super::{DhtMode, NetConfig, Toggle, address};

/// How often absent bootstrap nodes are dialed and lost reservations asked for again: soon, then seldom.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// Relays that hold a place for this node at a time.
const MAX_RESERVATIONS: usize = 2;
/// Peers found on the local network that are connected to without being asked for.
const MAX_NEIGHBOURS: usize = 32;
/// Peers known from before that a node dials when it comes back.
const MAX_ACQUAINTANCES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// All of them once, whoever is connected.
    Everybody,
    /// As long as nobody is connected.
    Anybody,
    Done,
}

pub(super) struct Reach {
    bootstrap: Vec<Multiaddr>,
    relay: Toggle,
    /// When the next look at bootstrap nodes and relays is due, and how long it waited.
    next: Option<(Instant, Duration)>,
    reservations: BTreeMap<PeerId, ListenerId>,
    /// After a relay has refused or gone: not before then.
    reserve_after: Instant,
    /// Times in a row that a reservation was refused or lost.
    lost: u32,
    /// Peers known from before are dialed: at the start, when the network has changed, and while nobody is connected.
    joining: Joining,
    /// Bootstrap nodes of which the log says that they do not answer, or are others.
    complained: BTreeSet<Multiaddr>,
    /// Outside addresses that AutoNAT, UPnP or the configuration vouch for.
    confirmed: BTreeSet<Multiaddr>,
}

impl Reach {
    pub fn new(config: &NetConfig, book: &Book) -> Self {
        let somebody = !config.bootstrap.is_empty() || !book.acquaintances(1).is_empty();
        let next = somebody.then(|| (Instant::now(), FIRST_RETRY));
        Self {
            bootstrap: config.bootstrap.clone(),
            relay: config.relay,
            next,
            reservations: BTreeMap::new(),
            reserve_after: Instant::now(),
            lost: 0,
            joining: Joining::Everybody,
            complained: BTreeSet::new(),
            confirmed: BTreeSet::new(),
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }

    pub fn is_bootstrap(&self, peer: &PeerId) -> bool {
        self.bootstrap.iter().any(|node| address::last_peer(node).as_ref() == Some(peer))
    }

    pub fn has_bootstrap(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    /// The next look is due at once.
    pub fn set_bootstrap(&mut self, nodes: Vec<Multiaddr>) {
        self.bootstrap = nodes;
        self.next = Some((Instant::now(), FIRST_RETRY));
    }

    pub fn has_place(&self, relay: &PeerId) -> bool {
        self.reservations.contains_key(relay)
    }

    /// That this place ends is no reason to wait before the next.
    pub fn forget_place(&mut self, relay: &PeerId) {
        self.reservations.remove(relay);
    }

    fn soon(&mut self, now: Instant) {
        self.next = Some((now + FIRST_RETRY, FIRST_RETRY));
    }
}

impl Task {
    pub(super) fn reach_due(&mut self, now: Instant) {
        let Some((at, wait)) = self.reach.next else { return };
        if now < at {
            return;
        }
        let waits =
            self.dial_bootstrap() | self.dial_acquaintances() | (now < self.reach.reserve_after || self.reserve());
        let wait = (wait * 2).min(LAST_RETRY);
        self.reach.next = waits.then(|| (now + wait, wait));
    }

    /// True while a bootstrap node is not connected.
    fn dial_bootstrap(&mut self) -> bool {
        let mut missing = false;
        for node in self.reach.bootstrap.clone() {
            let peer = address::last_peer(&node);
            let connected = match peer {
                Some(peer) => self.swarm.is_connected(&peer),
                None => address::socket(&node).is_some_and(|at| self.table.at(at.ip(), at.port()).is_some()),
            };
            if connected || peer.as_ref() == Some(self.swarm.local_peer_id()) {
                continue;
            }
            missing = true;
            let options = match peer {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(vec![node.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(node.clone()).build(),
            };
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%node, %error, "the bootstrap node was not dialed");
            }
        }
        missing
    }

    /// True while nobody of them has answered.
    fn dial_acquaintances(&mut self) -> bool {
        match self.reach.joining {
            Joining::Everybody => self.reach.joining = Joining::Anybody,
            Joining::Anybody if self.table.len() == 0 => {}
            Joining::Anybody | Joining::Done => {
                self.reach.joining = Joining::Done;
                return false;
            }
        }
        let absent = |peer: &PeerId| self.table.get(peer).is_none() && !self.blocks.contains(peer);
        let peers: Vec<PeerId> =
            self.book.acquaintances(MAX_ACQUAINTANCES).into_iter().filter(|peer| absent(peer)).collect();
        for peer in &peers {
            self.dial_known(*peer);
        }
        !peers.is_empty()
    }

    /// Dials a peer where it was found before.
    pub(super) fn dial_known(&mut self, peer: PeerId) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(self.book.addresses(&peer))
            .build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "a peer known from before was not dialed");
        }
    }

    /// This machine has another address than before: whoever did not answer then may answer now.
    pub(super) fn network_changed(&mut self) {
        self.reach.joining = Joining::Everybody;
        self.reach.next = Some((Instant::now(), FIRST_RETRY));
    }

    /// Says once of a bootstrap node that it is not there, or that another answers in its place.
    pub(super) fn bootstrap_failed(&mut self, peer: Option<PeerId>, error: &DialError) {
        let Some(peer) = peer else { return };
        let named = |node: &&Multiaddr| address::last_peer(node) == Some(peer);
        let Some(node) = self.reach.bootstrap.iter().find(named).cloned() else { return };
        let answers = match error {
            DialError::WrongPeerId { obtained, .. } => Some(*obtained),
            DialError::Transport(_) => None,
            _ => return,
        };
        if self.swarm.is_connected(&peer) || !self.reach.complained.insert(node.clone()) {
            return;
        }
        match answers {
            Some(other) => tracing::warn!(%node, %other, "another node answers in place of this bootstrap node"),
            None => tracing::warn!(%node, "this bootstrap node does not answer; it is tried again from time to time"),
        }
    }

    /// Somebody with this node's identity answers there. Far away it may be this node itself, seen through its own
    /// router; on the same machine and in the same house it is another.
    pub(super) fn own_identity_at(&mut self, address: &Multiaddr) {
        let Some(at) = address::socket(address).filter(|at| address::is_private_ip(at.ip())) else { return };
        if !self.swarm.listeners().filter_map(address::socket).any(|own| own == at) {
            self.twin_seen(Some(at.to_string()));
        }
    }

    /// Somebody with this node's identity came from there. Who dials itself comes from a port that nobody listens on.
    pub(super) fn own_identity_from(&mut self, address: &Multiaddr) {
        let Some(from) = address::socket(address).filter(|from| address::is_private_ip(from.ip())) else { return };
        if !self.swarm.listeners().filter_map(address::socket).any(|own| own.ip() == from.ip()) {
            self.twin_seen(Some(from.ip().to_string()));
        }
    }

    fn may_hold_places(&self) -> bool {
        let relay = self.reach.relay == Toggle::On;
        !self.listener.is_stopped() && !self.loopback_node && !relay && self.reach.confirmed.is_empty()
    }

    /// Is there a use for one more relay?
    pub(super) fn wants_place(&self) -> bool {
        self.may_hold_places() && self.reach.reservations.len() < MAX_RESERVATIONS
    }

    /// Asks relays to hold a place while this node has no outside address of its own. True while one is missing.
    fn reserve(&mut self) -> bool {
        if !self.may_hold_places() {
            return false;
        }
        let candidates: Vec<(PeerId, Multiaddr)> = self
            .table
            .iter()
            .filter(|(id, peer)| peer.is_relay && !self.reach.reservations.contains_key(id))
            .filter_map(|(id, peer)| {
                let carrier = peer.carrier()?;
                Some((*id, carrier.address.clone()))
            })
            .collect();
        let mut missing = false;
        for (relay, via) in candidates {
            if self.reach.reservations.len() >= MAX_RESERVATIONS {
                break;
            }
            if !self.is_settled(&relay) {
                missing = true;
                continue;
            }
            let circuit = address::without_peer(via).with(Protocol::P2p(relay)).with(Protocol::P2pCircuit);
            match self.swarm.listen_on(circuit) {
                Ok(id) => _ = self.reach.reservations.insert(relay, id),
                Err(error) => {
                    missing = true;
                    tracing::debug!(%relay, ?error, "no place at the relay");
                }
            }
        }
        missing
    }

    /// A listener is gone; perhaps a relay no longer holds a place.
    pub(super) fn reservation_lost(&mut self, id: ListenerId) {
        let before = self.reach.reservations.len();
        self.reach.reservations.retain(|_, listener| *listener != id);
        let was = self.reach.reservations.len() < before;
        if was {
            let now = Instant::now();
            let wait = (FIRST_RETRY * (1 << self.reach.lost.min(8))).min(LAST_RETRY);
            self.reach.lost += 1;
            self.reach.reserve_after = now + wait;
            self.reach.next = Some((now + wait, wait));
        }
    }

    /// This node is not to be reached any more.
    pub(super) fn leave_relays(&mut self) {
        for (_, listener) in std::mem::take(&mut self.reach.reservations) {
            self.swarm.remove_listener(listener);
        }
    }

    pub(super) fn reserved(&mut self) {
        self.reach.lost = 0;
    }

    /// A connection to a peer came or went, or it was identified.
    pub(super) fn reach_changed(&mut self) {
        let now = Instant::now();
        if self.dht == DhtMode::Auto {
            let mode = if self.serves_dht() { kad::Mode::Server } else { kad::Mode::Client };
            if self.swarm.behaviour().kad.mode() != mode {
                self.swarm.behaviour_mut().kad.set_mode(Some(mode));
            }
        }
        self.hold_relays_by_tcp();
        self.look_for_returned_relays();
        let relays = self.table.iter().any(|(id, peer)| peer.is_relay && !self.reach.reservations.contains_key(id));
        let room = self.reach.confirmed.is_empty() && self.reach.reservations.len() < MAX_RESERVATIONS;
        if relays && room && now >= self.reach.reserve_after && self.reserve() {
            self.reach.soon(now);
        }
        if self.table.len() == 0 && self.reach.joining == Joining::Done && !self.book.acquaintances(1).is_empty() {
            self.reach.joining = Joining::Anybody;
            self.reach.soon(now);
        }
        if self.dial_is_missing() && self.reach.next.is_none() {
            self.reach.soon(now);
        }
        self.addresses_changed();
        self.trim();
    }

    fn dial_is_missing(&self) -> bool {
        let peers = self.reach.bootstrap.iter().filter_map(address::last_peer);
        peers.into_iter().any(|peer| self.table.get(&peer).is_none() && peer != *self.swarm.local_peer_id())
    }

    /// With an outside address of its own, or where nobody has one: a network of private addresses has no other servers.
    fn serves_dht(&self) -> bool {
        // A place at a relay is an outside address too, but nothing to serve at: all of it would go through the relay.
        let outside = |address: &Multiaddr| address::is_global(address) && !address::is_relayed(address);
        self.reach.relay == Toggle::On
            || !self.reach.confirmed.is_empty()
            || self.swarm.listeners().any(outside)
            || self.is_private_network()
    }

    /// Nobody here has an address that the world can reach.
    pub(super) fn is_private_network(&self) -> bool {
        let mut connections = self.table.iter().flat_map(|(_, peer)| &peer.connections);
        let someone = connections.any(|connection| address::is_global(&connection.address));
        !someone && !self.reach.bootstrap.iter().any(address::is_global)
    }

    pub(super) fn address_confirmed(&mut self, address: &Multiaddr) {
        if !address::is_relayed(address) && address::is_shareable(address, self.loopback_node) {
            tracing::debug!(%address, "reachable from outside");
            self.reach.confirmed.insert(address.clone());
        }
        self.publish_identity();
        self.reach_changed();
    }

    pub(super) fn address_expired(&mut self, address: &Multiaddr) {
        self.reach.confirmed.remove(address);
        self.publish_identity();
        self.reach_changed();
    }

    pub(super) fn listen_address_added(&mut self, address: &Multiaddr) {
        // A relay's places name its outside addresses; it was switched on by hand, so its own are believed to be that.
        if self.reach.relay == Toggle::On
            && !address::is_relayed(address)
            && address::is_shareable(address, self.loopback_node)
        {
            self.swarm.add_external_address(address.clone());
        }
        if !address::is_relayed(address) && address::is_shareable(address, self.loopback_node) {
            self.network_changed();
        }
        self.publish_identity();
    }

    /// Nodes on the local network, found by multicast.
    pub(super) fn neighbours_found(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut by_peer: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            by_peer.entry(peer).or_default().push(address);
        }
        for (peer, addresses) in by_peer {
            self.book.remember(peer, addresses.clone());
            if self.swarm.is_connected(&peer) || self.table.len() >= MAX_NEIGHBOURS {
                continue;
            }
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%peer, %error, "the neighbour was not dialed");
            }
        }
        self.rows_changed();
    }
}
