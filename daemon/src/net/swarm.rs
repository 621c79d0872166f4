//! Puts the libp2p swarm together: transports, protocols, limits.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{MemoryTransport, OptionalTransport, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::swarm::behaviour::toggle::Toggle as Maybe;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, Swarm, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Transport as _, autonat, connection_limits, dcutr, dns, identify, identity, kad,
    mdns, memory_connection_limits, noise, ping, quic, relay, tcp, upnp, yamux,
};

use super::gate::Gate;
use super::shelf::Shelf;
use super::{Carrier, DhtMode, Limits, NetConfig, NetError, Toggle, Traffic, address, record, streams};

/// Kith's nodes form their own DHT.
pub(super) const DHT_PROTOCOL: StreamProtocol = StreamProtocol::new("/kith/kad/1");
/// What `identify` calls the family of protocols.
const PROTOCOL_VERSION: &str = "/kith/1";
/// How often a connection is measured and found dead: two missed pings end it.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A QUIC connection that is silent for this long is gone; shorter than the 15 s in which a call to a vanished peer ends.
/// A call by relay that has only QUIC must have time left to be found another way.
const QUIC_IDLE_MS: u32 = 6_000;
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Resolving, connecting and both handshakes.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection that nothing uses or keeps is closed then.
const IDLE: Duration = Duration::from_secs(60);
const RELAY_RATE_INTERVAL: Duration = Duration::from_secs(10);
const RELAY_RATE_BURST: NonZeroU32 = NonZeroU32::new(256).expect("256 is not zero");

/// Dials that may be under way; their rate is limited by the gate.
const MAX_PENDING_OUTGOING: u32 = 64;

#[derive(NetworkBehaviour)]
pub(super) struct Node {
    pub gate: Gate,
    pub limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub identify: Discreet,
    pub ping: ping::Behaviour,
    pub kad: kad::Behaviour<Shelf>,
    pub mdns: Maybe<mdns::tokio::Behaviour>,
    pub autonat: autonat::v2::client::Behaviour,
    pub autonat_server: Maybe<autonat::v2::server::Behaviour>,
    pub dcutr: dcutr::Behaviour,
    pub relay_client: relay::client::Behaviour,
    pub relay: Maybe<relay::Behaviour>,
    pub upnp: Maybe<upnp::tokio::Behaviour>,
    pub streams: streams::Behaviour,
}

/// Is this node for this machine only?
pub(super) fn is_loopback_node(bind: Option<IpAddr>) -> bool {
    bind.is_some_and(|ip| ip.is_loopback())
}

pub(super) fn build(config: &NetConfig, traffic: &Traffic) -> Result<Swarm<Node>, NetError> {
    // A machine without a name server must still call by address.
    match assemble(config, Resolver::System, traffic) {
        Err(NetError::Names(error)) => {
            tracing::warn!(%error, "no name server: addresses with host names cannot be dialed");
            assemble(config, Resolver::None, traffic)
        }
        other => other,
    }
}

#[derive(Clone, Copy)]
enum Resolver {
    System,
    None,
}

fn assemble(config: &NetConfig, resolver: Resolver, traffic: &Traffic) -> Result<Swarm<Node>, NetError> {
    let setup = |error: &dyn std::fmt::Display| NetError::Setup(error.to_string());
    let max_streams = config.limits.streams_per_connection;
    let key = &config.key.0;
    let id = key.public().to_peer_id();
    let secure = noise::Config::new(key).map_err(|error| setup(&error))?;
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(max_streams as usize);

    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(secure.clone())
        .multiplex(muxer.clone())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut settings = quic::Config::new(key);
    settings.max_idle_timeout = QUIC_IDLE_MS;
    settings.keep_alive_interval = QUIC_KEEP_ALIVE;
    settings.max_concurrent_stream_limit = max_streams;
    let quic = quic::tokio::Transport::new(settings).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = tcp.or_transport(quic).map(|either, _| either.into_inner());
    let named = match resolver {
        Resolver::System => dns::tokio::Transport::system(direct).map_err(NetError::Names)?,
        Resolver::None => dns::tokio::Transport::custom(
            direct,
            dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new()),
            dns::ResolverOpts::default(),
        ),
    };
    let memory = match config.carrier {
        Carrier::Sockets => OptionalTransport::none(),
        Carrier::Memory => OptionalTransport::some(MemoryTransport::default()),
    };
    let memory = memory
        .upgrade(Version::V1Lazy)
        .authenticate(secure.clone())
        .multiplex(muxer.clone())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let (relayed, relay_client) = relay::client::new(id);
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(secure)
        .multiplex(muxer)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let traffic = traffic.clone();
    let counted = relayed
        .or_transport(memory)
        .map(|either, _| either.into_inner())
        .or_transport(named)
        .map(|either, _| either.into_inner())
        .map(move |(peer, muxer), endpoint| (peer, traffic.counted(&peer, muxer, &endpoint)));

    let mut tuned = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_max_negotiating_inbound_streams(max_streams as usize);
    // It lets QUIC and TCP go ahead of anything else.
    if config.carrier == Carrier::Sockets {
        tuned = tuned.with_smart_dial();
    }
    let behaviour = node(config, key, relay_client).map_err(|error| setup(&error))?;
    Ok(Swarm::new(TransportTimeout::new(counted, CONNECT_WITHIN).boxed(), behaviour, id, tuned))
}

type Setup<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn node(config: &NetConfig, key: &identity::Keypair, relay_client: relay::client::Behaviour) -> Setup<Node> {
    let id = key.public().to_peer_id();
    let loopback = is_loopback_node(config.bind);
    let outward = !loopback;
    let limits = &config.limits;

    let mut dht = kad::Config::new(DHT_PROTOCOL);
    // What others want stored is looked at first: address records that their owners have signed (publish.rs), and what
    // they say they have (providers.rs). Owners renew them, so nobody else has to pass them on. Who gets into the routing
    // table is decided in table.rs.
    dht.set_query_timeout(Duration::from_secs(20))
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let store = kad::store::MemoryStoreConfig {
        // And this node's own.
        max_records: config.limits.dht_records as usize + 1,
        max_value_bytes: record::MAX_BYTES + 1,
        // Those have a shelf of their own.
        max_provided_keys: 0,
        max_providers_per_key: 0,
    };
    let mut kad = kad::Behaviour::with_config(id, Shelf::new(id, store), dht);
    kad.set_mode(Some(match config.dht {
        DhtMode::Client => kad::Mode::Client,
        DhtMode::Auto | DhtMode::Server => kad::Mode::Server,
    }));

    let multicast = if outward && config.mdns == Toggle::On {
        // A machine without a multicast interface still has its other ways.
        mdns::tokio::Behaviour::new(mdns::Config::default(), id)
            .inspect_err(|error| tracing::warn!(%error, "nodes on the local network cannot be discovered"))
            .ok()
    } else {
        None
    };
    let relay = (config.relay == Toggle::On).then(|| {
        let mut relay = relay::Behaviour::new(id, relay_limits(&config.limits));
        // Asked for by hand, so it does not wait for somebody to confirm the address.
        relay.set_status(Some(relay::Status::Enable));
        relay
    });

    Ok(Node {
        gate: Gate::new(limits),
        limits: connection_limits::Behaviour::new(
            connection_limits::ConnectionLimits::default()
                .with_max_pending_incoming(Some(limits.handshakes))
                .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
                .with_max_established_incoming(Some(limits.incoming_connections))
                .with_max_established(Some(limits.connections))
                .with_max_established_per_peer(Some(limits.connections_per_peer)),
        ),
        memory: memory_connection_limits::Behaviour::with_max_percentage(f64::from(limits.memory_percent) / 100.0),
        identify: Discreet::new(key.public(), loopback),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
        kad,
        mdns: multicast.into(),
        autonat: autonat::v2::client::Behaviour::new(
            rand::make_rng(),
            autonat::v2::client::Config::default().with_probe_interval(Duration::from_secs(10)),
        ),
        autonat_server: outward.then(autonat::v2::server::Behaviour::default).into(),
        dcutr: dcutr::Behaviour::new(id),
        relay_client,
        relay: relay.into(),
        upnp: (config.bind.is_none() && config.upnp == Toggle::On).then(upnp::tokio::Behaviour::default).into(),
        streams: streams::Behaviour::default(),
    })
}

/// A relay that was switched on by hand carries whole calls: libp2p's defaults (two minutes, 128 KiB, 16 circuits) cut them.
fn relay_limits(limits: &Limits) -> relay::Config {
    let mut limits = relay::Config {
        max_reservations: limits.relay_reservations as usize,
        max_circuits: limits.relay_circuits as usize,
        max_circuits_per_peer: limits.relay_circuits_per_peer as usize,
        max_circuit_duration: Duration::from_secs(60 * u64::from(limits.relay_circuit_minutes)),
        max_circuit_bytes: 1_000_000 * u64::from(limits.relay_circuit_mb),
        ..relay::Config::default()
    };
    limits.reservation_rate_limiters.clear();
    limits.circuit_src_rate_limiters.clear();
    limits
        .reservation_rate_per_peer(RELAY_RATE_BURST, RELAY_RATE_INTERVAL)
        .reservation_rate_per_ip(RELAY_RATE_BURST, RELAY_RATE_INTERVAL)
        .circuit_src_per_peer(RELAY_RATE_BURST, RELAY_RATE_INTERVAL)
        .circuit_src_per_ip(RELAY_RATE_BURST, RELAY_RATE_INTERVAL)
}

/// `identify`, which would tell everybody all listen addresses, without those that nobody can use.
pub(super) struct Discreet {
    inner: identify::Behaviour,
    loopback_node: bool,
}

impl Discreet {
    fn new(key: identity::PublicKey, loopback_node: bool) -> Self {
        let config = identify::Config::new(PROTOCOL_VERSION.to_owned(), key)
            .with_agent_version(super::AGENT.to_owned())
            .with_push_listen_addr_updates(true);
        Self { inner: identify::Behaviour::new(config), loopback_node }
    }
}

impl NetworkBehaviour for Discreet {
    type ConnectionHandler = <identify::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = identify::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::NewListenAddr(new) = &event
            && !address::is_shareable(new.addr, self.loopback_node)
        {
            return;
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<identify::Event, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}
