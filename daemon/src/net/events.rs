//! What the swarm reports.

use std::time::{Duration, Instant};

use kith_common::node::Path;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns, ping, relay};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::peers::{Companion, Peer};
use super::streams::{self, Inbound, Protocol};
use super::swarm::{DHT_PROTOCOL, NodeEvent};
use super::task::{MAX_HELLOS, Task};
use super::{FilesStream, address, counted, hello, suspects, ways};

/// Who closes one connection on purpose and loses the others at once means all of them.
const LEAVING: Duration = Duration::from_secs(5);

/// Events that are about this node's own addresses.
fn touches_standing(event: &SwarmEvent<NodeEvent>) -> bool {
    matches!(
        event,
        SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ListenerClosed { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. }
            | SwarmEvent::Behaviour(NodeEvent::Upnp(_))
    )
}

impl Task {
    /// Where the peer is. Who comes in through a relay shows no address but its id; the relay's is what tells the path.
    /// Who is dialed through one is reached by the connection to the relay that there is, whatever the dialed address says.
    fn remote_address(&self, endpoint: &ConnectedPoint, peer: PeerId) -> Multiaddr {
        match endpoint {
            ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => {
                address::without_peer(local_addr.clone()).with(libp2p::multiaddr::Protocol::P2p(peer))
            }
            other => {
                let dialed = other.get_remote_address();
                let relay = address::relay(dialed).and_then(|relay| self.table.get(&relay));
                let carrier = relay.and_then(Peer::carrier);
                carrier.map_or_else(|| dialed.clone(), |carrier| address::through(dialed, &carrier.address))
            }
        }
    }

    pub(super) fn event(&mut self, event: SwarmEvent<NodeEvent>) {
        if touches_standing(&event) {
            self.details_changed();
        }
        match event {
            SwarmEvent::Behaviour(event) => self.protocol_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let remote = self.remote_address(&endpoint, peer_id);
                if address::from_libp2p(&peer_id).is_none() {
                    tracing::debug!(peer = %peer_id, "a key type that Kith does not use");
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                    return;
                }
                tracing::debug!(peer = %peer_id, %remote, "connected");
                let first = self.table.opened(peer_id, connection_id, remote, Instant::now());
                self.table.opened_from(&peer_id, connection_id, suspects::local_ip(&endpoint));
                self.link_changed(&peer_id);
                if endpoint.is_dialer() {
                    self.book.worked(peer_id, endpoint.get_remote_address().clone());
                } else {
                    self.book.met(peer_id);
                }
                // A peer that was killed and is back comes while its old connection still seems to stand.
                if first || endpoint.is_listener() {
                    self.greet(peer_id);
                }
                if !first && endpoint.is_listener() {
                    self.came_again(peer_id, connection_id);
                }
                if first
                    && self.reach.is_bootstrap(&peer_id)
                    && let Some(peer) = self.table.get_mut(&peer_id)
                {
                    peer.wanted = true;
                }
                self.attempt_connected(connection_id, peer_id);
                let alone = |peer: &Peer| peer.wanted && !peer.outlives_udp() && endpoint.is_dialer();
                if self.table.get(&peer_id).is_some_and(alone) {
                    self.dial_companion(peer_id);
                }
                self.unpark(&peer_id, false);
                self.reach_changed();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.standing.closed(connection_id);
                // QUIC tells whether the other side closed it; libp2p shows that in Debug only.
                let failed = cause.is_some();
                if cause.is_some_and(|cause| format!("{cause:?}").contains("ApplicationClosed"))
                    && let Some(peer) = self.table.get_mut(&peer_id)
                {
                    peer.took_leave = Some(Instant::now());
                }
                let gone = self.table.closed(&peer_id, connection_id);
                self.link_changed(&peer_id);
                if let Some(gone) = gone {
                    self.gone(peer_id, &gone);
                }
                if failed {
                    // A peer that was killed: TCP says so at once, QUIC falls silent.
                    self.doubt(peer_id);
                }
                self.suspect_closed(&peer_id, connection_id);
                self.reach_changed();
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                tracing::debug!(peer = ?peer_id, %error, "could not connect");
                self.attempt_failed(connection_id, &error);
                self.bootstrap_failed(peer_id, &error);
                if let DialError::LocalPeerId { address } = &error {
                    self.own_identity_at(address);
                }
                if let Some(peer) = peer_id {
                    self.companion_failed(&peer);
                    self.unpark(&peer, true);
                }
                self.details_changed();
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "listening");
                self.listen_address_added(&address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listen_address_lost(&address);
                self.publish_identity();
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if self.listener.owns(listener_id) {
                    let reason = reason.err().map_or_else(|| "no reason given".to_owned(), |error| error.to_string());
                    self.listener.lost(&mut self.swarm, &reason, Instant::now());
                } else {
                    self.reservation_lost(listener_id);
                }
                self.publish_identity();
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.address_confirmed(&address),
            SwarmEvent::ExternalAddrExpired { address } => self.address_expired(&address),
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(?error, "a connection was refused");
                if let ListenError::LocalPeerId { address } = &error {
                    self.own_identity_from(address);
                }
            }
            _ => {}
        }
    }

    fn protocol_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Streams(inbound) => self.inbound(inbound),
            NodeEvent::Ping(ping) => self.ping(ping),
            NodeEvent::Identify(identify::Event::Received { peer_id, info, connection_id }) => {
                self.standing.observed(connection_id, info.observed_addr.clone());
                self.identified(peer_id, info);
            }
            NodeEvent::Mdns(mdns::Event::Discovered(found)) => self.neighbours_found(found),
            NodeEvent::Kad(event) => self.dht_event(event),
            NodeEvent::RelayClient(relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. }) => {
                tracing::info!(relay = %relay_peer_id, renewal, "the relay holds a place for this node");
                self.reserved();
            }
            NodeEvent::Dcutr(event) => tracing::debug!(?event, "hole punching"),
            NodeEvent::Autonat(event) => tracing::debug!(?event, "asked a peer to dial back"),
            NodeEvent::Upnp(event) => {
                tracing::debug!(?event, "asked the router for a port");
                self.standing.router(event);
            }
            _ => {}
        }
    }

    fn dht_event(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, stats } => {
                let asks = match result {
                    kad::QueryResult::GetClosestPeers(_) => true,
                    kad::QueryResult::GetRecord(_) => !self.is_own_check(id),
                    _ => false,
                };
                if step.last && asks {
                    self.query_over(stats.num_requests());
                }
                match result {
                    kad::QueryResult::GetClosestPeers(Ok(found)) => self.attempt_found(id, &found.peers),
                    kad::QueryResult::GetClosestPeers(Err(kad::GetClosestPeersError::Timeout { peers, .. })) => {
                        self.attempt_found(id, &peers);
                    }
                    kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => {
                        let first_after = (step.count.get() == 1).then(|| stats.num_requests());
                        self.record_found(id, &found.record, first_after);
                    }
                    kad::QueryResult::PutRecord(outcome) => self.record_put(id, outcome.is_ok()),
                    kad::QueryResult::StartProviding(_) => self.provided_told(id, stats.num_successes() > 0),
                    kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                        self.providers_found(id, &providers);
                    }
                    _ => {}
                }
                if step.last {
                    self.attempt_query_done(id);
                    self.search_over(id);
                }
            }
            kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { source, record: Some(record), .. },
            } => self.keep_record(source, record),
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                self.keep_provided(&record);
            }
            kad::Event::RoutablePeer { peer, address } => self.routable(peer, [address]),
            kad::Event::RoutingUpdated { is_new_peer, .. } => {
                if is_new_peer {
                    self.newcomer();
                }
                self.details_changed();
            }
            _ => {}
        }
    }

    /// The last connection to a peer is closed.
    fn gone(&mut self, peer: PeerId, was: &Peer) {
        self.book.met(peer);
        self.book.remember(peer, was.listens_on().iter().cloned());
        if was.took_leave.is_some_and(|at| at.elapsed() < LEAVING) {
            self.book.left(&peer);
        }
        self.attempt_news(&peer);
        self.unpark(&peer, false);
    }

    fn ping(&mut self, ping: ping::Event) {
        let Some(peer) = self.table.get_mut(&ping.peer) else { return };
        match ping.result {
            Ok(rtt) => {
                peer.answered_ping(ping.connection);
                peer.measured(rtt);
                self.figures_changed();
            }
            Err(ping::Failure::Unsupported) => {}
            Err(_) => {
                if peer.missed_ping(ping.connection) {
                    self.swarm.close_connection(ping.connection);
                }
            }
        }
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(entry) = self.table.get_mut(&peer).filter(|_| !self.blocks.contains(&peer)) else { return };
        if !entry.admit_identify(Instant::now()) {
            tracing::debug!(%peer, "identifies itself too often: not taken in");
            return;
        }
        // A peer elsewhere cannot know a way to us through its own loopback.
        let here = entry.connections.iter().any(|connection| address::is_loopback(&connection.address));
        let usable =
            |a: &Multiaddr| address::is_shareable(a, here) && address::last_peer(a).is_none_or(|id| id == peer);
        let listens_on: Vec<Multiaddr> =
            info.listen_addrs.into_iter().filter(usable).map(address::without_peer).collect();
        self.book.remember(peer, listens_on.iter().cloned());
        if entry.companion == Companion::Failed && entry.listens_on() != listens_on {
            entry.companion = Companion::NotTried;
        }
        entry.identified(&info.agent_version, streams::is_kith(&info.protocols), listens_on);
        entry.is_relay = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        if info.protocols.contains(&DHT_PROTOCOL) {
            // Another network's private addresses are of no use here, and not to be spread.
            let near = entry.connections.iter().any(|connection| address::path(&connection.address) == Path::Lan);
            let addresses = entry.listens_on().iter().filter(|a| near || address::is_global(a));
            let addresses: Vec<Multiaddr> = addresses.cloned().collect();
            self.routable(peer, addresses);
        }
        self.reach_changed();
        self.details_changed();
    }

    fn inbound(&mut self, Inbound { peer, connection, protocol, stream }: Inbound) {
        if self.blocks.contains(&peer) {
            return;
        }
        let (Some(id), Some(entry)) = (address::from_libp2p(&peer), self.table.get_mut(&peer)) else { return };
        let Some(permit) = entry.admit(protocol, Instant::now()) else {
            tracing::debug!(%peer, ?protocol, "too many streams: refused");
            return;
        };
        let stream = counted::Counted::new(stream.compat(), permit);
        let queue = match protocol {
            Protocol::Hello => {
                if self.hellos.len() < MAX_HELLOS {
                    self.hellos.spawn(async move {
                        let read = hello::receive(stream).await;
                        read.inspect_err(|error| tracing::debug!(%peer, %error, "a hello was no hello"))
                            .ok()
                            .map(|hello| (peer, hello))
                    });
                }
                return;
            }
            Protocol::Signal => &self.signals,
            Protocol::Tunnel => &self.tunnels,
            Protocol::Bandwidth => &self.measurements,
            Protocol::Contact => &self.contacts,
            Protocol::Chat => &self.chats,
            Protocol::Files => {
                if let Some(path) = entry.path_of(connection)
                    && self.files.try_send(FilesStream { peer: id, stream: Box::new(stream), path }).is_err()
                {
                    tracing::debug!(%peer, "nobody takes streams of files: refused");
                }
                return;
            }
            Protocol::Ping => {
                tokio::spawn(ways::answer_pings(stream));
                return;
            }
        };
        if queue.try_send((id, Box::new(stream))).is_err() {
            tracing::debug!(%peer, ?protocol, "nobody takes streams: refused");
        }
    }
}
