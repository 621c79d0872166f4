//! How much others may ask of this node: connections, streams, dials, memory, and what a relay gives away.
//!
//! The defaults fit a person's own machine and, with `--relay`, a small public server. Every figure can be set in
//! `kithd.toml` under `[limits]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Networks whose connections are counted at a time; beyond this the one that has been quiet longest is forgotten.
const MAX_COUNTED: usize = 1024;

/// `[limits]` of `kithd.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections, all peers together. One takes some 100 KiB; `memory_percent` stands behind this.
    pub connections: u32,
    /// Of these, those that others have opened.
    pub incoming_connections: u32,
    /// QUIC, TCP and a relayed one, from both sides at once, and the one that is being replaced.
    pub connections_per_peer: u32,
    /// Handshakes of strangers that may go on at once: each costs a signature.
    pub handshakes: u32,
    /// Connections are refused when this process holds this share of the machine's memory.
    pub memory_percent: u32,
    /// Streams that one connection may hold open: signalling, a tunnel and libp2p's own need a dozen.
    pub streams_per_connection: u32,
    /// Streams of one kind that a peer may hold open here: one call, its replacement, and two that are being refused.
    pub streams_per_peer: u32,
    /// How fast a peer may open streams of a kind, and with them ring, once a first row of [`STREAM_BURST`] is used up.
    pub signals_per_second: u32,
    /// Connections that this node opens, whoever asked for them, after a first burst of [`DIAL_BURST`].
    pub dials_per_second: u32,
    /// Connections that one IPv4 address or one IPv6 network may open here, after a first burst of [`INCOMING_BURST`].
    pub incoming_per_second: u32,
    /// Address records of others that are kept for the DHT.
    pub dht_records: u32,
    /// What `relay` gives away: places held, connections carried, those of one peer.
    pub relay_reservations: u32,
    pub relay_circuits: u32,
    pub relay_circuits_per_peer: u32,
    /// A relayed connection ends after so many minutes; libp2p's own two would cut calls.
    pub relay_circuit_minutes: u32,
    /// A relayed connection ends after so many megabytes each way; 0: no limit.
    pub relay_circuit_mb: u32,
}

/// A row of short calls, or a peer that comes back after a bad network, is no flood.
pub(super) const STREAM_BURST: u32 = 32;
/// A lookup in the DHT and the addresses of a few tickets at once.
pub(super) const DIAL_BURST: u32 = 128;
/// Many people may share one address: an office, a carrier's NAT.
pub(super) const INCOMING_BURST: u32 = 128;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            incoming_connections: 256,
            connections_per_peer: 8,
            handshakes: 64,
            memory_percent: 80,
            streams_per_connection: 128,
            streams_per_peer: 4,
            signals_per_second: 2,
            dials_per_second: 32,
            incoming_per_second: 16,
            dht_records: 4096,
            relay_reservations: 1024,
            relay_circuits: 1024,
            relay_circuits_per_peer: 64,
            relay_circuit_minutes: 24 * 60,
            relay_circuit_mb: 0,
        }
    }
}

impl Limits {
    /// The keys of `[limits]`; a test holds them and the fields together.
    pub const KEYS: [&str; 16] = [
        "connections",
        "incoming_connections",
        "connections_per_peer",
        "handshakes",
        "memory_percent",
        "streams_per_connection",
        "streams_per_peer",
        "signals_per_second",
        "dials_per_second",
        "incoming_per_second",
        "dht_records",
        "relay_reservations",
        "relay_circuits",
        "relay_circuits_per_peer",
        "relay_circuit_minutes",
        "relay_circuit_mb",
    ];

    /// The key that makes no sense, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        // Below these a node is not one: it could hold no call beside the connection that carries it.
        let at_least = [
            ("connections", self.connections, 1),
            ("connections_per_peer", self.connections_per_peer, 2),
            ("handshakes", self.handshakes, 1),
            ("streams_per_connection", self.streams_per_connection, 16),
            ("streams_per_peer", self.streams_per_peer, 2),
            ("signals_per_second", self.signals_per_second, 1),
            ("dials_per_second", self.dials_per_second, 1),
            ("incoming_per_second", self.incoming_per_second, 1),
            ("relay_circuit_minutes", self.relay_circuit_minutes, 1),
        ];
        if let Some((key, _, least)) = at_least.into_iter().find(|(_, value, least)| value < least) {
            return Err((key, format!("it must be at least {least}")));
        }
        if !(1..=100).contains(&self.memory_percent) {
            return Err(("memory_percent", "it must be from 1 to 100".to_owned()));
        }
        Ok(())
    }
}

/// Lets a burst through and then a steady rate.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled: Instant,
    burst: f64,
    per_second: f64,
}

impl Bucket {
    pub fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { tokens: burst.into(), filled: now, burst: burst.into(), per_second: per_second.into() }
    }

    /// As [`Bucket::new`], with a rate below one a second.
    pub fn every(burst: u32, pause: Duration, now: Instant) -> Self {
        Self { per_second: 1.0 / pause.as_secs_f64(), ..Self::new(burst, 1, now) }
    }

    pub fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + refill).min(self.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// A bucket for every network that connects.
#[derive(Debug)]
pub(super) struct ByNetwork {
    buckets: BTreeMap<IpAddr, Bucket>,
    per_second: u32,
}

impl ByNetwork {
    pub fn new(per_second: u32) -> Self {
        Self { buckets: BTreeMap::new(), per_second }
    }

    pub fn take(&mut self, ip: IpAddr, now: Instant) -> bool {
        let network = network(ip);
        if !self.buckets.contains_key(&network) && self.buckets.len() >= MAX_COUNTED {
            let quietest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.filled).map(|(ip, _)| *ip);
            quietest.map(|ip| self.buckets.remove(&ip));
        }
        let per_second = self.per_second;
        self.buckets.entry(network).or_insert_with(|| Bucket::new(INCOMING_BURST, per_second, now)).take(now)
    }
}

/// Who has one IPv6 address has 2^64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_one_network_does_not_shut_out_others() {
        let now = Instant::now();
        let mut networks = ByNetwork::new(1);
        let flood = |n: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n));
        let passed = (0..1000).filter(|n| networks.take(flood(*n), now)).count();
        assert_eq!(passed, INCOMING_BURST as usize);
        assert!(networks.take([203, 0, 113, 7].into(), now));
        assert!(networks.take(flood(1), now + Duration::from_secs(1)), "it comes back with time");
    }

    #[test]
    fn counting_networks_takes_bounded_memory() {
        let now = Instant::now();
        let mut networks = ByNetwork::new(1);
        for n in 0..100_000_u32 {
            networks.take(std::net::Ipv4Addr::from_bits(n).into(), now);
        }
        assert_eq!(networks.buckets.len(), MAX_COUNTED);
    }

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Limits::default().check(), Ok(()));
    }
}
