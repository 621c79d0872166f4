//! Relays are held by TCP where that is possible.
//!
//! A place at a relay and every circuit through it live on one connection to it, and libp2p's relay client takes the
//! oldest. Over QUIC they would fail together with UDP, which is just when a call needs its relay. So TCP is dialed beside
//! QUIC, and once it stands, QUIC goes: what asks for a relay then finds TCP. Where there is no TCP, QUIC serves.

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use super::address;
use super::peers::Companion;
use super::task::Task;

impl Task {
    /// Dials TCP to the relays that matter, and gives up QUIC where TCP has been reached.
    pub(super) fn hold_relays_by_tcp(&mut self) {
        let wants = self.wants_place();
        let matters = |id: &PeerId, wanted: bool| wanted || wants || self.reach.has_place(id);
        let relays: Vec<PeerId> = self
            .table
            .iter()
            .filter(|(id, peer)| peer.is_relay && matters(id, peer.wanted))
            .map(|(id, _)| *id)
            .collect();
        for relay in relays {
            let Some(peer) = self.table.get(&relay) else { continue };
            if peer.carrier().is_none_or(|carrier| !address::is_udp(&carrier.address)) {
                continue;
            }
            if !peer.has_direct_tcp() {
                if peer.companion == Companion::NotTried {
                    self.dial_companion(relay);
                }
                continue;
            }
            if self.carries_by_udp(&relay) {
                continue;
            }
            tracing::debug!(%relay, "held by TCP from now on");
            let older = peer.connections.iter().filter(|connection| !address::is_relayed(&connection.address));
            let older = older.take_while(|connection| address::is_udp(&connection.address));
            for id in older.map(|connection| connection.id).collect::<Vec<_>>() {
                self.give_up(relay, id);
            }
        }
    }

    /// Whether a place may be asked for on the connection that libp2p would take now: no better one is about to be there.
    pub(super) fn is_settled(&self, relay: &PeerId) -> bool {
        let Some(peer) = self.table.get(relay) else { return false };
        let by_tcp = peer.carrier().is_some_and(|carrier| !address::is_udp(&carrier.address));
        by_tcp || if peer.has_direct_tcp() { self.carries_by_udp(relay) } else { !peer.companion.is_awaited() }
    }

    /// Do circuits run on a QUIC connection to this relay? They would end with it.
    fn carries_by_udp(&self, relay: &PeerId) -> bool {
        let mut connections = self.table.iter().flat_map(|(_, peer)| &peer.connections);
        connections.any(|c| address::relay(&c.address) == Some(*relay) && address::is_udp(&c.address))
    }

    /// Closes a connection. A place that was held on it is not lost to the relay's ill will, so another may be asked for
    /// at once.
    pub(super) fn give_up(&mut self, peer: PeerId, connection: ConnectionId) {
        let carrier = self.table.get(&peer).and_then(|entry| entry.carrier());
        if carrier.is_some_and(|carrier| carrier.id == connection) {
            self.reach.forget_place(&peer);
        }
        self.swarm.close_connection(connection);
    }
}
