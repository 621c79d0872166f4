//! Reachability and measurements.

use capnp::struct_list;

use super::node::micros;
use super::{Enumeration, enumeration, length, text};
use crate::call::Transport;
use crate::diagnostics::{
    BandwidthResult, Hop, LinkSample, LocalAddress, Nat, NetworkState, ObservedAddress, PingReply, PortMapping,
    Reachability, RelayAddress,
};
use crate::diagnostics_capnp::{self as wire, bandwidth_result, hop, link_sample, network_state, ping_reply};
use crate::node::Path;
use crate::peer_capnp;

enumeration!(Reachability, wire::Reachability: Unknown, Offline, Local, Public, Relayed, Outgoing);
enumeration!(Nat, wire::Nat: Unknown, None, Cone, Symmetric, UdpBlocked);

/// Microseconds of the wire, where 0 says "not measured", as milliseconds.
fn measured(micros: u32) -> Option<f64> {
    (micros > 0).then(|| f64::from(micros) / 1e3)
}

fn path_to_wire(path: Option<Path>) -> peer_capnp::Path {
    path.map_or(peer_capnp::Path::Unspecified, Path::to_wire)
}

pub fn write_network(state: &NetworkState, mut to: network_state::Builder<'_>) {
    let mut local = to.reborrow().init_local(length(&state.local));
    for (index, row) in (0..).zip(&state.local) {
        let mut to = local.reborrow().get(index);
        to.set_interface(row.interface.as_str());
        to.set_ip(row.ip.as_str());
        to.set_scope(row.scope.as_str());
    }
    let mut observed = to.reborrow().init_observed(length(&state.observed));
    for (index, row) in (0..).zip(&state.observed) {
        let mut to = observed.reborrow().get(index);
        to.set_address(row.address.as_str());
        to.set_service(row.service.as_str());
        to.set_transport(row.transport.to_wire());
        to.set_peers(row.peers);
    }
    let mut relays = to.reborrow().init_relays(length(&state.relay));
    for (index, row) in (0..).zip(&state.relay) {
        let mut to = relays.reborrow().get(index);
        to.set_relay(row.relay.as_str());
        to.set_address(row.address.as_str());
    }
    let mut mappings = to.reborrow().init_mappings(length(&state.mappings));
    for (index, row) in (0..).zip(&state.mappings) {
        let mut to = mappings.reborrow().get(index);
        to.set_external(row.external.as_str());
        to.set_internal(row.internal.as_str());
        to.set_protocol(row.protocol.as_str());
    }
    to.set_reachability(state.reachability.to_wire());
    to.set_nat(state.nat.to_wire());
    to.set_meaning(state.meaning.as_str());
    to.set_dht_server(state.dht_server);
}

pub fn read_network(from: network_state::Reader<'_>) -> capnp::Result<NetworkState> {
    let local = from.get_local()?.iter().map(|row| {
        Ok(LocalAddress {
            interface: text(row.get_interface()?)?,
            ip: text(row.get_ip()?)?,
            scope: text(row.get_scope()?)?,
        })
    });
    let observed = from.get_observed()?.iter().map(|row| {
        Ok(ObservedAddress {
            address: text(row.get_address()?)?,
            service: text(row.get_service()?)?,
            transport: Transport::from_wire(row.get_transport()).unwrap_or_default(),
            peers: row.get_peers(),
        })
    });
    let relay = from
        .get_relays()?
        .iter()
        .map(|row| Ok(RelayAddress { relay: text(row.get_relay()?)?, address: text(row.get_address()?)? }));
    let mappings = from.get_mappings()?.iter().map(|row| {
        Ok(PortMapping {
            external: text(row.get_external()?)?,
            internal: text(row.get_internal()?)?,
            protocol: text(row.get_protocol()?)?,
        })
    });
    Ok(NetworkState {
        local: local.collect::<capnp::Result<_>>()?,
        observed: observed.collect::<capnp::Result<_>>()?,
        relay: relay.collect::<capnp::Result<_>>()?,
        mappings: mappings.collect::<capnp::Result<_>>()?,
        reachability: Reachability::from_wire(from.get_reachability()).unwrap_or_default(),
        nat: Nat::from_wire(from.get_nat()).unwrap_or_default(),
        meaning: text(from.get_meaning()?)?,
        dht_server: from.get_dht_server(),
    })
}

pub fn write_ping(reply: &PingReply, mut to: ping_reply::Builder<'_>) {
    to.set_sequence(reply.sequence);
    to.set_way(reply.way.as_str());
    to.set_path(path_to_wire(reply.path));
    to.set_transport(reply.transport.to_wire());
    to.set_rtt_micros(reply.rtt_ms.map_or(0, micros));
}

pub fn read_ping(from: ping_reply::Reader<'_>) -> capnp::Result<PingReply> {
    Ok(PingReply {
        sequence: from.get_sequence(),
        way: text(from.get_way()?)?,
        path: Path::from_wire(from.get_path()),
        transport: Transport::from_wire(from.get_transport()).unwrap_or_default(),
        rtt_ms: measured(from.get_rtt_micros()),
    })
}

pub fn write_hop(hop: &Hop, mut to: hop::Builder<'_>) {
    to.set_ttl(hop.ttl);
    to.set_address(hop.address.as_deref().unwrap_or_default());
    to.set_rtt_micros(hop.rtt_ms.map_or(0, micros));
}

pub fn read_hop(from: hop::Reader<'_>) -> capnp::Result<Hop> {
    Ok(Hop {
        ttl: from.get_ttl(),
        address: Some(text(from.get_address()?)?).filter(|address| !address.is_empty()),
        rtt_ms: measured(from.get_rtt_micros()),
    })
}

pub fn write_bandwidth(result: &BandwidthResult, mut to: bandwidth_result::Builder<'_>) {
    to.set_sent_bps(result.sent_bps);
    to.set_received_bps(result.received_bps);
    to.set_seconds(result.seconds);
    to.set_path(path_to_wire(result.path));
    to.set_transport(result.transport.to_wire());
}

pub fn read_bandwidth(from: bandwidth_result::Reader<'_>) -> capnp::Result<BandwidthResult> {
    Ok(BandwidthResult {
        sent_bps: from.get_sent_bps(),
        received_bps: from.get_received_bps(),
        seconds: from.get_seconds(),
        path: Path::from_wire(from.get_path()),
        transport: Transport::from_wire(from.get_transport()).unwrap_or_default(),
    })
}

pub fn write_samples(samples: &[LinkSample], mut to: struct_list::Builder<'_, link_sample::Owned>) {
    for (index, sample) in (0..).zip(samples) {
        let mut to = to.reborrow().get(index);
        to.set_at_unix_ms(sample.at_unix_ms);
        to.set_peer_id(sample.peer.map(|peer| peer.to_string()).unwrap_or_default());
        to.set_sent_bps(sample.sent_bps);
        to.set_received_bps(sample.received_bps);
        to.set_rtt_micros(sample.rtt_ms.map_or(0, micros));
        // A fraction as parts per million; `as` saturates.
        to.set_loss_parts_per_million((sample.loss.unwrap_or(0.0) * 1e6) as u32);
        to.set_loss_known(sample.loss.is_some());
    }
}

pub fn read_samples(from: struct_list::Reader<'_, link_sample::Owned>) -> capnp::Result<Vec<LinkSample>> {
    let sample = |from: link_sample::Reader<'_>| {
        let peer = text(from.get_peer_id()?)?;
        Ok(LinkSample {
            at_unix_ms: from.get_at_unix_ms(),
            peer: if peer.is_empty() { None } else { Some(super::node::peer_id(from.get_peer_id()?)?) },
            sent_bps: from.get_sent_bps(),
            received_bps: from.get_received_bps(),
            rtt_ms: measured(from.get_rtt_micros()),
            loss: from.get_loss_known().then(|| f64::from(from.get_loss_parts_per_million()) / 1e6),
        })
    };
    from.iter().map(sample).collect()
}
