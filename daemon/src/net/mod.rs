//! The network: this node's identity, the libp2p swarm that other nodes reach it by, and the table of peers.
//!
//! One task owns the swarm; [`Net`] is a cheap handle to it. `calls` opens and takes signalling streams here, `media`
//! learns from here whom to ask for its outside address, `rpc` shows the peers. No libp2p type leaves this folder
//! (`Multiaddr`, a format, excepted), and nothing in it knows what a call is.

mod identity;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
pub use kith_common::node::MediaPorts;
use kith_common::node::{Identity, Path, PeerInfo, ServiceInfo, ServiceState};
use kith_common::target::Target;
use tokio::sync::{mpsc, watch};

pub use identity::{IdentityError, SecretKey};
pub use libp2p::Multiaddr;

/// Both directions of a byte stream.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream to one peer, authenticated and encrypted below.
pub type Stream = Box<dyn Duplex>;

/// Whether this node stores DHT records for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DhtMode {
    /// Server once an outside address is confirmed, and on networks with private addresses only.
    #[default]
    Auto,
    Server,
    Client,
}

/// A feature that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toggle {
    On,
    Off,
}

/// What a network is started with.
#[derive(Debug, Clone)]
pub struct NetConfig {
    pub key: SecretKey,
    /// `None`: all interfaces.
    pub bind: Option<IpAddr>,
    /// 0: any.
    pub port: u16,
    pub bootstrap: Vec<Multiaddr>,
    pub mdns: Toggle,
    pub upnp: Toggle,
    pub dht: DhtMode,
    /// Serve as relay and bootstrap node for others.
    pub relay: Toggle,
    /// What this node calls itself.
    pub name: String,
    /// Told to peers, so that they can ask the media sockets what they see them at.
    pub media_ports: watch::Receiver<MediaPorts>,
}

/// Streams that peers open, each already counted against that peer's limits.
pub struct Incoming {
    /// `/kith/call/1`
    pub signals: mpsc::Receiver<(PeerId, Stream)>,
    /// `/kith/tunnel/1`
    pub tunnels: mpsc::Receiver<(PeerId, Stream)>,
}

/// How a connected peer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLink {
    pub peer: PeerId,
    /// Empty until the peer has said hello.
    pub name: String,
    pub path: Path,
    /// The other end of the best connection; `None` when it is relayed.
    pub remote: Option<SocketAddr>,
    /// Zeros until the peer has said hello.
    pub media_ports: MediaPorts,
}

/// A connected peer whose media sockets answer STUN Binding requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reflector {
    pub peer: PeerId,
    pub ip: IpAddr,
    pub ports: MediaPorts,
}

/// Why the network could not start at all. A taken port is not among the reasons: see [`Net::listener`].
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("could not set up the network: {0}")]
    Setup(String),
}

/// A cheap handle to the network. It ends with [`Net::shutdown`].
#[derive(Clone)]
pub struct Net {
    peer: PeerId,
    identity: watch::Receiver<Arc<Identity>>,
    listener: watch::Receiver<ServiceInfo>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
}

impl Net {
    #[allow(clippy::unused_async)]
    pub async fn start(config: NetConfig) -> Result<(Net, Incoming), NetError> {
        let peer = config.key.peer_id();
        let identity = Identity { peer_id: peer, name: config.name, ticket: String::new(), addresses: Vec::new() };
        let listener = ServiceInfo {
            name: "node".to_owned(),
            state: ServiceState::Starting,
            port: 0,
            wanted_port: config.port,
            since_unix_ms: kith_common::clock::unix_ms(),
            error: String::new(),
            next_try_s: 0,
            suggestion: String::new(),
        };
        let net = Net {
            peer,
            identity: watch::channel(Arc::new(identity)).1,
            listener: watch::channel(listener).1,
            peers: watch::channel(Arc::default()).1,
        };
        Ok((net, Incoming { signals: mpsc::channel(1).1, tunnels: mpsc::channel(1).1 }))
    }

    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Name, ticket and addresses; changes as addresses come and go.
    pub fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.clone()
    }

    /// The row "node" of the services.
    pub fn listener(&self) -> watch::Receiver<ServiceInfo> {
        self.listener.clone()
    }

    /// Connects, whatever it takes: known addresses, the DHT, a relay. Ends within 30 s. Connected already is fine.
    #[allow(clippy::unused_async)]
    pub async fn connect(&self, _target: &Target) -> Result<PeerId, Failure> {
        Err(not_yet())
    }

    #[allow(clippy::unused_async)]
    pub async fn disconnect(&self, _target: &Target) -> Result<(), Failure> {
        Err(not_yet())
    }

    /// A new signalling stream to a connected peer.
    #[allow(clippy::unused_async)]
    pub async fn open_signal(&self, _peer: PeerId) -> Result<Stream, Failure> {
        Err(not_yet())
    }

    /// A new tunnel stream, over a connection that does not depend on UDP where one exists or can be made.
    #[allow(clippy::unused_async)]
    pub async fn open_tunnel(&self, _peer: PeerId) -> Result<Stream, Failure> {
        Err(not_yet())
    }

    /// All rows, connected peers first.
    pub fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        self.peers.clone()
    }

    /// `None` when not connected.
    pub fn peer(&self, _id: PeerId) -> Option<PeerLink> {
        None
    }

    /// Connected peers that can tell a media socket its outside address.
    pub fn reflectors(&self) -> Vec<Reflector> {
        Vec::new()
    }

    /// Is this the address of a connected peer? Only those get STUN answers.
    pub fn is_reflected_peer(&self, _ip: IpAddr) -> bool {
        false
    }

    /// Closes all connections politely.
    #[allow(clippy::unused_async)]
    pub async fn shutdown(&self) {}
}

fn not_yet() -> Failure {
    Failure::new(FailureKind::Unsupported, "the network is not built yet")
}

/// Where a data directory keeps the identity.
pub fn key_file(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("identity.key")
}
