//! Nodes, peers and services.

use std::time::Duration;

use capnp::{Error, struct_list};

use super::{Enumeration, enumeration, length, read_texts, text, write_texts};
use crate::ids::PeerId;
use crate::kith_capnp::{identity, status};
use crate::node::{Identity, NodeStatus, Path, PeerInfo, PeerStatus, ServiceInfo, ServiceState};
use crate::peer_capnp::{self, peer_info};
use crate::service_capnp::{self, service};

enumeration!(Path, peer_capnp::Path: Lan, Direct, Relayed, Tor);
enumeration!(PeerStatus, peer_capnp::PeerStatus: Connected, Known, Dialing, Blocked);
enumeration!(ServiceState, service_capnp::ServiceState: Starting, Listening, Failed, Stopped, Absent);

pub(super) fn peer_id(from: capnp::text::Reader<'_>) -> capnp::Result<PeerId> {
    from.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
}

pub fn write_identity(identity: &Identity, mut to: identity::Builder<'_>) {
    to.set_peer_id(identity.peer_id.to_string());
    to.set_name(identity.name.as_str());
    to.set_ticket(identity.ticket.as_str());
    write_texts(identity.addresses.iter(), to.init_addresses(length(&identity.addresses)));
}

pub fn read_identity(from: identity::Reader<'_>) -> capnp::Result<Identity> {
    Ok(Identity {
        peer_id: peer_id(from.get_peer_id()?)?,
        name: text(from.get_name()?)?,
        ticket: text(from.get_ticket()?)?,
        addresses: read_texts(from.get_addresses()?)?,
    })
}

pub fn write_status(status: &NodeStatus, mut to: status::Builder<'_>) {
    to.set_version(status.version.as_str());
    to.set_uptime_seconds(status.uptime_s);
    to.set_peers_connected(status.peers_connected);
    to.set_process_id(status.process_id);
    write_services(&status.services, to.init_services(length(&status.services)));
}

pub fn read_status(from: status::Reader<'_>) -> capnp::Result<NodeStatus> {
    Ok(NodeStatus {
        version: text(from.get_version()?)?,
        uptime_s: from.get_uptime_seconds(),
        process_id: from.get_process_id(),
        services: read_services(from.get_services()?)?,
        peers_connected: from.get_peers_connected(),
    })
}

pub fn write_service(info: &ServiceInfo, mut to: service::Builder<'_>) {
    to.set_name(info.name.as_str());
    to.set_state(info.state.to_wire());
    to.set_port(info.port);
    to.set_wanted_port(info.wanted_port);
    to.set_since_unix_ms(info.since_unix_ms);
    to.set_error(info.error.as_str());
    to.set_next_try_seconds(info.next_try_s);
    to.set_suggestion(info.suggestion.as_str());
}

pub fn read_service(from: service::Reader<'_>) -> capnp::Result<ServiceInfo> {
    Ok(ServiceInfo {
        name: text(from.get_name()?)?,
        state: ServiceState::required(from.get_state(), "the state of a service")?,
        port: from.get_port(),
        wanted_port: from.get_wanted_port(),
        since_unix_ms: from.get_since_unix_ms(),
        error: text(from.get_error()?)?,
        next_try_s: from.get_next_try_seconds(),
        suggestion: text(from.get_suggestion()?)?,
    })
}

pub fn write_services(services: &[ServiceInfo], mut to: struct_list::Builder<'_, service::Owned>) {
    for (index, service) in (0..).zip(services) {
        write_service(service, to.reborrow().get(index));
    }
}

pub fn read_services(from: struct_list::Reader<'_, service::Owned>) -> capnp::Result<Vec<ServiceInfo>> {
    from.iter().map(read_service).collect()
}

pub fn write_peers(peers: &[PeerInfo], mut to: struct_list::Builder<'_, peer_info::Owned>) {
    for (index, peer) in (0..).zip(peers) {
        write_peer(peer, to.reborrow().get(index));
    }
}

pub fn read_peers(from: struct_list::Reader<'_, peer_info::Owned>) -> capnp::Result<Vec<PeerInfo>> {
    from.iter().map(read_peer).collect()
}

pub fn write_peer(peer: &PeerInfo, mut to: peer_info::Builder<'_>) {
    to.set_peer_id(peer.peer_id.to_string());
    to.set_name(peer.name.as_str());
    to.set_connected(peer.connected);
    to.set_status(peer.status.to_wire());
    to.set_path(peer.path.map_or(peer_capnp::Path::Unspecified, Path::to_wire));
    to.set_rtt_micros(peer.rtt_ms.map_or(0, micros));
    to.set_jitter_micros(peer.jitter_ms.map_or(0, micros));
    to.set_loss_known(peer.loss.is_some());
    // A fraction as parts per million; `as` saturates.
    to.set_loss_parts_per_million((peer.loss.unwrap_or(0.0) * 1e6) as u32);
    to.set_agent(peer.agent.as_str());
    to.set_connected_since_unix_ms(peer.connected_since_unix_ms);
    to.set_last_seen_unix_ms(peer.last_seen_unix_ms);
    write_texts(peer.services.iter(), to.reborrow().init_services(length(&peer.services)));
    write_texts(peer.addresses.iter(), to.init_addresses(length(&peer.addresses)));
}

pub fn read_peer(from: peer_info::Reader<'_>) -> capnp::Result<PeerInfo> {
    let measured = |micros: u32| (micros > 0).then(|| Duration::from_micros(micros.into()).as_secs_f64() * 1e3);
    Ok(PeerInfo {
        peer_id: peer_id(from.get_peer_id()?)?,
        name: text(from.get_name()?)?,
        connected: from.get_connected(),
        status: PeerStatus::from_wire(from.get_status()).unwrap_or(PeerStatus::Known),
        path: Path::from_wire(from.get_path()),
        addresses: read_texts(from.get_addresses()?)?,
        rtt_ms: measured(from.get_rtt_micros()),
        jitter_ms: measured(from.get_jitter_micros()),
        loss: from.get_loss_known().then(|| f64::from(from.get_loss_parts_per_million()) / 1e6),
        agent: text(from.get_agent()?)?,
        connected_since_unix_ms: from.get_connected_since_unix_ms(),
        services: read_texts(from.get_services()?)?,
        last_seen_unix_ms: from.get_last_seen_unix_ms(),
    })
}

/// Milliseconds as microseconds, at least 1 (0 says "not measured"); `as` saturates.
pub(super) fn micros(ms: f64) -> u32 {
    ((ms * 1e3) as u32).max(1)
}
