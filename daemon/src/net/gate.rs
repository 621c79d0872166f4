//! Stands at the door of the swarm: keeps blocked peers out, both ways, and slows down whoever dials too fast.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::limits::{Bucket, ByNetwork, DIAL_BURST, Limits};

/// Why a connection is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the peer is blocked")]
    Blocked,
    #[error("too many connections are being made")]
    TooFast,
}

/// The behaviour; see the module.
pub struct Gate {
    blocked: BTreeSet<PeerId>,
    dials: Bucket,
    incoming: ByNetwork,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            blocked: BTreeSet::new(),
            dials: Bucket::new(DIAL_BURST, limits.dials_per_second, Instant::now()),
            incoming: ByNetwork::new(limits.incoming_per_second),
        }
    }

    /// From now on no new connection; what stands, the caller closes.
    pub(super) fn block(&mut self, peer: PeerId) {
        self.blocked.insert(peer);
    }

    pub(super) fn unblock(&mut self, peer: &PeerId) {
        self.blocked.remove(peer);
    }

    fn admit(&self, peer: &PeerId) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        if self.blocked.contains(peer) {
            return Err(ConnectionDenied::new(Refusal::Blocked));
        }
        Ok(dummy::ConnectionHandler)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // What comes through a relay has no address of its own; the relay counts it.
        let from: Option<IpAddr> = address::socket(remote).map(|remote| remote.ip());
        if from.is_none_or(|ip| self.incoming.take(ip, Instant::now())) {
            return Ok(());
        }
        Err(ConnectionDenied::new(Refusal::TooFast))
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if let Some(peer) = peer {
            self.admit(&peer)?;
        }
        if !self.dials.take(Instant::now()) {
            return Err(ConnectionDenied::new(Refusal::TooFast));
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
