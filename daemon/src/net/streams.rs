//! Opens streams on a named connection and hands over the streams that peers open.
//!
//! The crate libp2p-stream picks any connection to a peer; a tunnel is only worth having on one that does not depend on
//! UDP, and an address that a peer observes belongs to one connection, so here the owner of the swarm says which.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

/// Opening streams that may wait on one connection; beyond this it is stuck, and new ones fail at once.
const MAX_OPENING: usize = 32;

/// What two Kith nodes say to each other besides libp2p's own protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Hello,
    Signal,
    Tunnel,
    /// Sends back what it gets.
    Ping,
    Bandwidth,
    Contact,
    Chat,
    Files,
}

impl Protocol {
    pub(super) const COUNT: usize = Self::ALL.len();
    pub(super) const ALL: [Self; 8] =
        [Self::Hello, Self::Signal, Self::Tunnel, Self::Ping, Self::Bandwidth, Self::Contact, Self::Chat, Self::Files];

    const fn name(self) -> &'static str {
        match self {
            Self::Hello => "/kith/hello/1",
            Self::Signal => "/kith/call/1",
            Self::Tunnel => "/kith/tunnel/1",
            Self::Ping => "/kith/ping/1",
            Self::Bandwidth => "/kith/bandwidth/1",
            Self::Contact => "/kith/contact/1",
            Self::Chat => "/kith/chat/1",
            Self::Files => "/kith/files/1",
        }
    }
}

/// Multistream-select wants names; the rest of this folder wants the enum.
#[derive(Debug, Clone, Copy)]
pub struct Name(Protocol);

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.0.name()
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the other node does not speak this protocol")]
    Unsupported,
    #[error("the other node did not answer in time")]
    TimedOut,
    #[error("the connection was lost")]
    Lost,
}

/// Where the outcome of opening a stream goes.
pub type Reply = oneshot::Sender<Result<Stream, OpenError>>;

#[derive(Debug)]
pub struct Open {
    protocol: Protocol,
    reply: Reply,
}

/// A stream that a peer has opened.
#[derive(Debug)]
pub struct Inbound {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) protocol: Protocol,
    pub(super) stream: Stream,
}

/// The behaviour; see the module.
#[derive(Default)]
pub struct Behaviour {
    events: VecDeque<ToSwarm<Inbound, Open>>,
}

impl Behaviour {
    /// Opens a stream on that very connection. A connection that has just been closed drops `reply`.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId, protocol: Protocol, reply: Reply) {
        let event = Open { protocol, reply };
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(connection), event });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (protocol, stream): THandlerOutEvent<Self>,
    ) {
        self.events.push_back(ToSwarm::GenerateEvent(Inbound { peer, connection, protocol, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Inbound, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's part.
#[derive(Default)]
pub struct Handler {
    opening: VecDeque<Open>,
    arrived: VecDeque<(Protocol, Stream)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Protocol, Stream);
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade(Protocol::ALL.to_vec()), ())
    }

    /// Peers stay connected until somebody closes the connection: a call may come at any time.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, Reply, Self::ToBehaviour>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        if let Some(Open { protocol, reply }) = self.opening.pop_front() {
            let protocol = SubstreamProtocol::new(Upgrade(vec![protocol]), reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        if self.opening.len() < MAX_OPENING {
            self.opening.push_back(open);
        } else {
            let _ = open.reply.send(Err(OpenError::TimedOut));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), Reply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                // Bounded: the swarm polls this handler before it negotiates more.
                self.arrived.push_back(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (_, stream), info }) => {
                let _ = info.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(_) => OpenError::Lost,
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}

/// Agrees on a protocol and leaves the stream as it is.
pub struct Upgrade(Vec<Protocol>);

impl UpgradeInfo for Upgrade {
    type Info = Name;
    type InfoIter = std::vec::IntoIter<Name>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().copied().map(Name).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((name.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((name.0, stream)))
    }
}

/// The names, for looking at what a peer supports.
pub(super) fn is_kith(protocols: &[StreamProtocol]) -> bool {
    protocols.iter().any(|protocol| protocol.as_ref() == Protocol::Signal.name())
}
