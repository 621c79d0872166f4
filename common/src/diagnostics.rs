//! How a node is reached and how the ways to its peers do, as clients see it. The names of fields are part of the promise
//! in the command line's JSON.

use serde::{Deserialize, Serialize};

use crate::call::Transport;
use crate::ids::PeerId;
use crate::node::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reachability {
    /// Too early to tell: no peer has answered yet.
    #[default]
    Unknown,
    /// No address but loopback.
    Offline,
    /// From the local network only, as far as is known.
    Local,
    /// Peers outside connect directly.
    Public,
    /// Behind a router; peers come through a relay, and from there directly where the routers allow it.
    Relayed,
    /// Behind a router and without a relay: this node can call, and cannot be called from outside.
    Outgoing,
}

/// What a router on the way does to addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    #[default]
    Unknown,
    None,
    /// One outside port for every destination: direct connections can be made.
    Cone,
    /// Another outside port for every destination.
    Symmetric,
    UdpBlocked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalAddress {
    pub interface: String,
    pub ip: String,
    /// `global`, `private`, `link` or `loopback`.
    pub scope: String,
}

/// An outside address, as peers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedAddress {
    /// `203.0.113.7:9999`
    pub address: String,
    /// Whose socket: `node`, `video` or `audio`.
    pub service: String,
    pub transport: Transport,
    /// How many connected peers see it so.
    pub peers: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayAddress {
    /// Its peer id.
    pub relay: String,
    /// The multiaddr that leads here through it.
    pub address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortMapping {
    pub external: String,
    pub internal: String,
    /// How the router was asked: `upnp`.
    pub protocol: String,
}

/// The answer to "what is my IP, and can I be called".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct NetworkState {
    pub local: Vec<LocalAddress>,
    pub observed: Vec<ObservedAddress>,
    pub relay: Vec<RelayAddress>,
    pub mappings: Vec<PortMapping>,
    pub reachability: Reachability,
    pub nat: Nat,
    /// One or two sentences for people.
    pub meaning: String,
    pub dht_server: bool,
}

/// The answer to one ping, or that there was none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PingReply {
    pub sequence: u32,
    /// What was measured: a connection's multiaddr, or `udp 203.0.113.7:9996` for the datagram path of media.
    pub way: String,
    pub path: Option<Path>,
    pub transport: Transport,
    /// `None`: no answer in time.
    pub rtt_ms: Option<f64>,
}

/// One router on the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    pub ttl: u8,
    /// `None`: this hop did not answer.
    pub address: Option<String>,
    pub rtt_ms: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BandwidthResult {
    pub sent_bps: u64,
    pub received_bps: u64,
    /// Both directions together.
    pub seconds: f64,
    pub path: Option<Path>,
    pub transport: Transport,
}

/// What a bandwidth measurement says on the way, in bytes and bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BandwidthProgress {
    pub done: u64,
    pub total: u64,
    pub bps: u64,
}

/// One second of what one peer, or all together, is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkSample {
    pub at_unix_ms: i64,
    /// `None`: all together.
    pub peer: Option<PeerId>,
    pub sent_bps: u64,
    pub received_bps: u64,
    pub rtt_ms: Option<f64>,
    /// A fraction.
    pub loss: Option<f64>,
}
