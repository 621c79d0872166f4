//! Connections that may be dead although nothing has said so.
//!
//! When an interface loses an address, what was connected from it is silent and fails only when TCP gives up, minutes
//! later; and the other side learns nothing at all. So this side closes those connections and connects anew; the other
//! side, to which a peer comes once more, asks the older connections for a sign of life and closes the silent ones. So
//! does either side when a call says that nothing comes from a peer, and when one of several connections to it has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::peers::Peer;
use super::streams::Protocol;
use super::task::Task;
use super::{address, ways};

/// Some programs that configure networks take an address away and set it again; TCP does not even notice.
const GRACE: Duration = Duration::from_millis(500);
/// A sign of life takes a round trip; this covers one that is lost and sent again, and a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A relayed connection is asked a little longer than the one that carries it: where that is dead, it goes first, and the
/// peer is dialed again once the relay is back.
const RELAYED_ANSWER_WITHIN: Duration = Duration::from_millis(2250);
/// Questions under way, all peers together.
const MAX_ASKED: usize = 64;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// This machine has another address than before.
    Moved,
    /// It gave no sign of life.
    Silent,
}

/// What came of a question.
pub(super) struct Verdict {
    peer: PeerId,
    id: ConnectionId,
    dead: bool,
}

#[derive(Default)]
pub(super) struct Suspects {
    /// Addresses that this machine has lost, and when that is final.
    lost: BTreeMap<IpAddr, Instant>,
    /// Connections that end for that, or because they are silent: their peers are dialed again.
    severed: BTreeMap<ConnectionId, Cause>,
    /// Relays among these peers, and who was reached through them: dialed again once the relay is back.
    relays: BTreeMap<PeerId, BTreeSet<PeerId>>,
    asked: JoinSet<Verdict>,
    /// Connections that a question is under way on.
    asking: BTreeSet<ConnectionId>,
}

impl Suspects {
    pub fn deadline(&self) -> Option<Instant> {
        self.lost.values().min().copied()
    }

    /// What comes of the next question that is over.
    pub async fn next(&mut self) -> Option<Verdict> {
        let verdict = self.asked.join_next().await?.ok()?;
        self.asking.remove(&verdict.id);
        Some(verdict)
    }
}

/// This machine's address of a connection. A dialer is not told: it is what the system would take now. Unknown for QUIC,
/// whose sockets have none.
pub(super) fn local_ip(endpoint: &ConnectedPoint) -> Option<IpAddr> {
    let ip = match endpoint {
        _ if endpoint.is_relayed() => None,
        ConnectedPoint::Listener { local_addr, .. } => address::socket(local_addr).map(|local| local.ip()),
        ConnectedPoint::Dialer { address, .. } if address::is_udp(address) => None,
        ConnectedPoint::Dialer { address, .. } => {
            let remote = address::socket(address)?;
            let any: IpAddr =
                if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            // Connecting a UDP socket sends nothing; it only chooses the way.
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.connect(remote).ok()?;
            socket.local_addr().ok().map(|local| local.ip().to_canonical())
        }
    };
    ip.filter(|ip| !ip.is_unspecified())
}

impl Task {
    /// An interface has lost this address, or is gone.
    pub(super) fn listen_address_lost(&mut self, address: &Multiaddr) {
        if let Some(local) = address::socket(address) {
            self.suspects.lost.insert(local.ip(), Instant::now() + GRACE);
        }
    }

    pub(super) fn suspects_due(&mut self, now: Instant) {
        if self.suspects.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let (due, later): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.suspects.lost).into_iter().partition(|(_, at)| now >= *at);
        self.suspects.lost = later;
        let present: BTreeSet<IpAddr> =
            self.swarm.listeners().filter_map(address::socket).map(|local| local.ip()).collect();
        let gone: BTreeSet<IpAddr> = due.into_keys().filter(|ip| !present.contains(ip)).collect();
        // Without listeners nobody says which addresses there are.
        if !gone.is_empty() && !self.listener.is_stopped() {
            self.addresses_gone(&gone);
        }
    }

    fn addresses_gone(&mut self, gone: &BTreeSet<IpAddr>) {
        let (mut dead, mut doubtful) = (Vec::new(), Vec::new());
        for (peer, entry) in self.table.iter() {
            // What is relayed ends with the connection to its relay.
            for connection in entry.connections.iter().filter(|c| !address::is_relayed(&c.address)) {
                match connection.local {
                    Some(local) if gone.contains(&local) => dead.push((*peer, connection.id)),
                    Some(_) => {}
                    None => doubtful.push((*peer, connection.id)),
                }
            }
        }
        for (peer, id) in dead {
            tracing::debug!(%peer, "closed: this machine no longer has the address that it was connected from");
            self.sever(peer, id, Cause::Moved);
        }
        for (peer, id) in doubtful {
            self.ask_for_life(peer, id);
        }
    }

    fn sever(&mut self, peer: PeerId, id: ConnectionId, cause: Cause) {
        let entry = self.table.get(&peer);
        let relay = entry.and_then(|entry| entry.connections.iter().find(|connection| connection.id == id));
        if let Some(relay) = relay.and_then(|connection| address::relay(&connection.address)) {
            self.suspects.relays.entry(relay).or_default().insert(peer);
        }
        if entry.and_then(Peer::carrier).is_some_and(|carrier| carrier.id == id) {
            for (reached, entry) in self.table.iter() {
                for circuit in entry.connections.iter().filter(|c| address::relay(&c.address) == Some(peer)) {
                    self.suspects.relays.entry(peer).or_default().insert(*reached);
                    self.suspects.severed.insert(circuit.id, cause);
                }
            }
        }
        self.suspects.severed.insert(id, cause);
        self.give_up(peer, id);
    }

    pub(super) fn suspect_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        let cause = self.suspects.severed.remove(&id).filter(|_| self.table.get(peer).is_none());
        match cause {
            Some(Cause::Moved) => self.network_changed(),
            // Others may be as they were.
            Some(Cause::Silent) => self.dial_known(*peer),
            None => {}
        }
    }

    /// Dials again whoever was reached through a relay that is back. Sooner, libp2p would refuse: it is dialing the relay
    /// already. A hole that is being punched to such a peer, from an address that is gone, is not waited for.
    pub(super) fn look_for_returned_relays(&mut self) {
        let severed = &self.suspects.severed;
        let fresh = |relay: &PeerId| {
            let carrier = self.table.get(relay).and_then(Peer::carrier)?;
            (self.is_settled(relay) && !severed.contains_key(&carrier.id)).then(|| carrier.address.clone())
        };
        let back: Vec<(PeerId, Multiaddr)> =
            self.suspects.relays.keys().filter_map(|relay| Some((*relay, fresh(relay)?))).collect();
        for (relay, carrier) in back {
            let circuit = address::without_peer(carrier).with(Part::P2p(relay)).with(Part::P2pCircuit);
            let reached = self.suspects.relays.remove(&relay).unwrap_or_default();
            // The end of the old circuit may still be on its way.
            let (ending, ended): (BTreeSet<_>, BTreeSet<_>) =
                reached.into_iter().partition(|peer| self.table.get(peer).is_some());
            for peer in ended {
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected);
                if let Err(error) = self.swarm.dial(options.addresses(vec![circuit.clone()]).build()) {
                    tracing::debug!(%peer, %error, "not dialed again through the relay");
                }
            }
            let ending: BTreeSet<PeerId> = ending.into_iter().filter(|peer| self.has_severed(peer)).collect();
            if !ending.is_empty() {
                self.suspects.relays.insert(relay, ending);
            }
        }
    }

    fn has_severed(&self, peer: &PeerId) -> bool {
        let connections = self.table.get(peer).map(|entry| &entry.connections);
        connections.is_some_and(|all| all.iter().any(|connection| self.suspects.severed.contains_key(&connection.id)))
    }

    /// A peer has come once more: perhaps because what it had here is dead, from its side.
    pub(super) fn came_again(&mut self, peer: PeerId, newest: ConnectionId) {
        let Some(entry) = self.table.get(&peer) else { return };
        let older: Vec<ConnectionId> = entry.connections.iter().map(|c| c.id).filter(|id| *id != newest).collect();
        for id in older {
            self.ask_for_life(peer, id);
        }
    }

    /// Nothing comes from a peer. What carries a relayed connection is asked beside it.
    pub(super) fn doubt(&mut self, peer: PeerId) {
        let Some(entry) = self.table.get(&peer) else { return };
        let mut doubtful: BTreeSet<(PeerId, ConnectionId)> = entry.connections.iter().map(|c| (peer, c.id)).collect();
        for relay in entry.connections.iter().filter_map(|connection| address::relay(&connection.address)) {
            let carriers = self.table.get(&relay).map(|entry| &entry.connections).into_iter().flatten();
            doubtful.extend(carriers.filter(|c| !address::is_relayed(&c.address)).map(|c| (relay, c.id)));
        }
        for (peer, id) in doubtful {
            self.ask_for_life(peer, id);
        }
    }

    fn ask_for_life(&mut self, peer: PeerId, id: ConnectionId) {
        let entry = self.table.get(&peer);
        let Some(asked) = entry.and_then(|entry| entry.connections.iter().find(|c| c.id == id)) else { return };
        let within = if address::is_relayed(&asked.address) { RELAYED_ANSWER_WITHIN } else { ANSWER_WITHIN };
        if self.suspects.asked.len() >= MAX_ASKED || !self.suspects.asking.insert(id) {
            return;
        }
        let (sender, opening) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, id, Protocol::Ping, sender);
        self.suspects.asked.spawn(async move {
            // Whatever comes is a sign of life: that the peer refuses, too.
            let answer = async {
                let mut stream = opening.await.ok()?.ok()?.compat();
                let mut bytes = [0; ways::PING_BYTES];
                stream.write_all(&bytes).await.ok()?;
                stream.flush().await.ok()?;
                stream.read_exact(&mut bytes).await.ok()
            };
            Verdict { peer, id, dead: tokio::time::timeout(within, answer).await.is_err() }
        });
    }

    /// A question for a sign of life is over.
    pub(super) fn asked_for_life(&mut self, Verdict { peer, id, dead }: Verdict) {
        if dead && self.table.get(&peer).is_some_and(|entry| entry.connections.iter().any(|c| c.id == id)) {
            tracing::debug!(%peer, "closed: a connection gave no sign of life");
            self.sever(peer, id, Cause::Silent);
        }
    }
}
