//! A node and its peers as clients see them.

use serde::{Deserialize, Serialize};

use crate::call::CallKind;
use crate::ids::PeerId;

/// How packets reach the other machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    Lan,
    Direct,
    Relayed,
    Tor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerStatus {
    Connected,
    Known,
    Dialing,
    Blocked,
}

/// One row of the peer list; the names are part of the promise in the command line's JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerInfo {
    pub peer_id: PeerId,
    /// What the peer calls itself; not verified.
    pub name: String,
    pub connected: bool,
    pub status: PeerStatus,
    pub path: Option<Path>,
    pub addresses: Vec<String>,
    pub rtt_ms: Option<f64>,
    pub jitter_ms: Option<f64>,
    /// A fraction; known only where datagrams have been exchanged.
    pub loss: Option<f64>,
    pub agent: String,
    pub connected_since_unix_ms: i64,
    /// What the peer offers now, by the names of services; empty until it has said.
    pub services: Vec<String>,
    /// When a connection to it was last known to be alive; 0: never.
    pub last_seen_unix_ms: i64,
}

impl PeerInfo {
    /// One of which nothing else is known.
    pub fn new(peer_id: PeerId, status: PeerStatus) -> Self {
        Self {
            peer_id,
            name: String::new(),
            connected: status == PeerStatus::Connected,
            status,
            path: None,
            addresses: Vec::new(),
            rtt_ms: None,
            jitter_ms: None,
            loss: None,
            agent: String::new(),
            connected_since_unix_ms: 0,
            services: Vec::new(),
            last_seen_unix_ms: 0,
        }
    }
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub peer_id: PeerId,
    pub name: String,
    pub ticket: String,
    pub addresses: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Starting,
    Listening,
    Failed,
    Stopped,
    /// Not in this build yet.
    Absent,
}

/// One listener; the names are part of the promise in the command line's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceInfo {
    pub name: String,
    pub state: ServiceState,
    /// The port that is really bound; 0 when none is.
    pub port: u16,
    pub wanted_port: u16,
    pub since_unix_ms: i64,
    pub error: String,
    pub next_try_s: u32,
    pub suggestion: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    pub version: String,
    pub uptime_s: u64,
    pub process_id: u32,
    pub services: Vec<ServiceInfo>,
    pub peers_connected: u32,
}

/// The UDP ports of a node's media sockets as they are bound now; 0: closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaPorts {
    pub video: u16,
    pub audio: u16,
}

impl MediaPorts {
    pub fn of(self, kind: CallKind) -> u16 {
        match kind {
            CallKind::Video => self.video,
            CallKind::Voice => self.audio,
        }
    }
}
