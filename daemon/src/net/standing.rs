//! How this node stands in the network, as the swarm knows it: what peers see it at, relays that hold a place, ports that
//! the router has opened, addresses that were confirmed. What follows from it is decided elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kith_common::call::Transport;
use kith_common::diagnostics::{PortMapping, RelayAddress};
use kith_common::ids::PeerId as KithId;
use kith_common::node::Path;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, kad, upnp};

use super::address;
use super::task::Task;

/// One connection, seen from the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub peer: KithId,
    /// The other end.
    pub observer: SocketAddr,
    /// What it sees this node at; `None` until it has said so.
    pub address: Option<SocketAddr>,
    pub transport: Transport,
    pub path: Path,
}

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Connections that are not relayed.
    pub seen: Vec<Seen>,
    pub relays: Vec<RelayAddress>,
    pub mappings: Vec<PortMapping>,
    /// Outside addresses that were confirmed by dialing back, by the router, or by the configuration.
    pub confirmed: Vec<SocketAddr>,
    pub dht_server: bool,
}

/// What events told.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    observed: BTreeMap<ConnectionId, Multiaddr>,
    /// By inside address.
    mappings: BTreeMap<Multiaddr, Multiaddr>,
}

impl Tracker {
    pub fn observed(&mut self, connection: ConnectionId, address: Multiaddr) {
        self.observed.insert(connection, address);
    }

    pub fn closed(&mut self, connection: ConnectionId) {
        self.observed.remove(&connection);
    }

    pub fn router(&mut self, event: upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { local_addr, external_addr } => {
                self.mappings.insert(local_addr, external_addr);
            }
            upnp::Event::ExpiredExternalAddr { local_addr, .. } => _ = self.mappings.remove(&local_addr),
            upnp::Event::GatewayNotFound | upnp::Event::NonRoutableGateway => {}
        }
    }
}

impl Task {
    pub(super) fn publish_standing(&mut self) {
        let connections = self.table.iter().flat_map(|(peer, entry)| entry.connections.iter().map(move |c| (peer, c)));
        let seen = connections.filter_map(|(peer, connection)| {
            Some(Seen {
                peer: address::from_libp2p(peer)?,
                observer: address::socket(&connection.address)?,
                address: self.standing.observed.get(&connection.id).and_then(address::socket),
                transport: address::transport(&connection.address),
                path: address::path(&connection.address),
            })
        });
        let relayed = self.swarm.listeners().filter(|address| address::is_relayed(address));
        let relays = relayed.filter_map(|listens| {
            let relay = listens.iter().find_map(|part| match part {
                libp2p::multiaddr::Protocol::P2p(peer) => Some(peer),
                _ => None,
            })?;
            Some(RelayAddress { relay: relay.to_string(), address: listens.to_string() })
        });
        let mappings = self.standing.mappings.iter().map(|(internal, external)| PortMapping {
            external: external.to_string(),
            internal: internal.to_string(),
            protocol: "upnp".to_owned(),
        });
        // Those of a relay are its own word: it was switched on by hand. A relayed address has no socket.
        let external = self.swarm.external_addresses().filter(|a| address::is_shareable(a, self.loopback_node));
        let mut confirmed: Vec<SocketAddr> = external.filter_map(address::socket).collect();
        confirmed.sort_unstable();
        confirmed.dedup();
        let standing = Standing {
            seen: seen.collect(),
            relays: relays.collect(),
            mappings: mappings.collect(),
            confirmed,
            dht_server: self.swarm.behaviour().kad.mode() == kad::Mode::Server,
        };
        self.published.standing.send_if_modified(|published| {
            let changed = **published != standing;
            if changed {
                *published = std::sync::Arc::new(standing);
            }
            changed
        });
    }
}
