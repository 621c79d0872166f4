//! The network: this node's identity, the libp2p swarm that other nodes reach it by, and the table of peers.
//!
//! One task owns the swarm; [`Net`] is a cheap handle to it. `calls` opens and takes signalling streams here, `media`
//! learns from here whom to ask for its outside address, `rpc` shows the peers. No libp2p type leaves this folder
//! (`Multiaddr`, a format, excepted), and nothing in it knows what a call is.

mod address;
mod counted;
mod dial;
mod events;
mod hello;
mod identity;
mod listener;
mod peers;
mod ports;
mod reach;
mod streams;
mod swarm;
mod task;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
pub use kith_common::node::MediaPorts;
use kith_common::node::{Identity, Path, PeerInfo, ServiceInfo, ServiceState};
use kith_common::target::Target;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tracing::Instrument;

use listener::Listener;
use peers::Links;
use streams::{OpenError, Protocol};
use task::{Command, Published, Task};

pub use identity::{IdentityError, SecretKey};
pub use libp2p::Multiaddr;

/// The program, as peers see it.
const AGENT: &str = concat!("kith/", env!("CARGO_PKG_VERSION"));
/// Commands that wait for the task; callers wait for a place.
const COMMANDS: usize = 64;
/// Incoming streams that wait for `calls`; more are refused, since whoever rings waits for an answer anyway.
const INCOMING: usize = 32;
/// Addresses appear within milliseconds of binding.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);
/// Opening a stream on a living connection takes a round trip.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// Both directions of a byte stream.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream to one peer, authenticated and encrypted below.
pub type Stream = Box<dyn Duplex>;

/// Whether this node stores DHT records for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DhtMode {
    /// Server once an outside address is confirmed, and on networks with private addresses only.
    #[default]
    Auto,
    Server,
    Client,
}

impl std::str::FromStr for DhtMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            other => Err(format!("unknown mode {other:?}: expected auto, server or client")),
        }
    }
}

/// A feature that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    #[error("could not read the name server's settings: {0}")]
    Names(std::io::Error),
}

/// A cheap handle to the network. It ends with [`Net::shutdown`], or with the last handle.
#[derive(Clone)]
pub struct Net {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    identity: watch::Receiver<Arc<Identity>>,
    listener: watch::Receiver<ServiceInfo>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    links: watch::Receiver<Arc<Links>>,
}

impl Net {
    /// Starts the network. Returns once the port is bound and its addresses are known, or found taken.
    pub async fn start(config: NetConfig) -> Result<(Net, Incoming), NetError> {
        let peer = config.key.peer_id();
        let swarm = swarm::build(&config)?;
        let listener = Listener::new(config.bind, config.port);
        let own = Identity {
            peer_id: peer,
            name: config.name.clone(),
            ticket: address::ticket(peer, &[]),
            addresses: Vec::new(),
        };
        let published = Published {
            identity: watch::Sender::new(Arc::new(own)),
            rows: watch::Sender::default(),
            links: watch::Sender::default(),
        };
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let mut net = Net {
            peer,
            commands,
            identity: published.identity.subscribe(),
            listener: listener.subscribe(),
            peers: published.rows.subscribe(),
            links: published.links.subscribe(),
        };
        let (signal, signals) = mpsc::channel(INCOMING);
        let (tunnel, tunnels) = mpsc::channel(INCOMING);
        let task = Task::new(config, swarm, listener, published, signal, tunnel);
        tokio::spawn(task.run(commanded).instrument(tracing::info_span!("net")));
        net.settle().await;
        Ok((net, Incoming { signals, tunnels }))
    }

    async fn settle(&mut self) {
        let settled = async {
            let started = self.listener.wait_for(|row| row.state != ServiceState::Starting).await;
            if started.is_ok_and(|row| row.state == ServiceState::Listening) {
                let _ = self.identity.wait_for(|identity| !identity.addresses.is_empty()).await;
            }
        };
        // A machine with no network at all has no addresses to wait for.
        let _ = tokio::time::timeout(SETTLE_WITHIN, settled).await;
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
    /// Kind `NotFound`: nobody knows an address; `Unreachable` and `TimedOut`: none of them answered.
    pub async fn connect(&self, target: &Target) -> Result<PeerId, Failure> {
        self.ask(|reply| Command::Connect { target: target.clone(), reply }).await
    }

    pub async fn disconnect(&self, target: &Target) -> Result<(), Failure> {
        self.ask(|reply| Command::Disconnect { target: target.clone(), reply }).await
    }

    /// A new signalling stream to a connected peer.
    pub async fn open_signal(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer, Protocol::Signal).await
    }

    /// A new tunnel stream to a connected peer, over a connection that does not depend on UDP where one exists or can
    /// be made within a few seconds.
    pub async fn open_tunnel(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer, Protocol::Tunnel).await
    }

    /// All rows, connected peers first.
    pub fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        self.peers.clone()
    }

    /// `None` when not connected.
    pub fn peer(&self, id: PeerId) -> Option<PeerLink> {
        self.links.borrow().by_peer.get(&id).cloned()
    }

    /// Connected peers that can tell a media socket its outside address.
    pub fn reflectors(&self) -> Vec<Reflector> {
        let links = self.links.borrow();
        let known = |ports: MediaPorts| ports != MediaPorts::default();
        links
            .by_peer
            .values()
            .filter(|link| known(link.media_ports))
            .filter_map(|link| Some(Reflector { peer: link.peer, ip: link.remote?.ip(), ports: link.media_ports }))
            .collect()
    }

    /// Is this the address of a connected peer? Only those get STUN answers.
    pub fn is_reflected_peer(&self, ip: IpAddr) -> bool {
        self.links.borrow().ips.contains(&ip.to_canonical())
    }

    /// Does the task still answer? For the service manager's watchdog.
    pub async fn is_alive(&self) -> bool {
        self.ask(|reply| Command::Alive { reply }).await.is_ok()
    }

    /// What this node calls itself from now on; connected peers are told.
    pub async fn set_name(&self, name: &str) {
        let name = name.to_owned();
        // A network that is shut down needs no name.
        let _ = self.ask(|reply| Command::SetName { name, reply }).await;
    }

    /// The nodes to join through from now on. Connections that are up stay up.
    pub async fn set_bootstrap(&self, nodes: &[Multiaddr]) {
        let nodes = nodes.to_vec();
        let _ = self.ask(|reply| Command::SetBootstrap { nodes, reply }).await;
    }

    /// Closes all connections politely.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    async fn open(&self, peer: PeerId, protocol: Protocol) -> Result<Stream, Failure> {
        let opening = self.ask(|reply| Command::Open { peer, protocol, reply }).await?;
        let opened = tokio::time::timeout(OPEN_WITHIN, opening).await.unwrap_or(Ok(Err(OpenError::TimedOut)));
        let failure = |error: OpenError| {
            let kind = match error {
                OpenError::Unsupported => FailureKind::Unsupported,
                OpenError::TimedOut => FailureKind::TimedOut,
                OpenError::Lost => FailureKind::Unreachable,
            };
            let what = if protocol == Protocol::Tunnel { "carry media to" } else { "signal to" };
            Failure::new(kind, format!("could not {what} the peer …{}: {error}", peer.short())).advise(match error {
                OpenError::Unsupported => "the other node runs another version of Kith, or is no Kith node",
                OpenError::TimedOut | OpenError::Lost => "try again",
            })
        };
        match opened.unwrap_or(Err(OpenError::Lost)) {
            Ok(stream) => Ok(Box::new(stream.compat())),
            Err(error) => Err(failure(error)),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Failure::new(FailureKind::Internal, "the network has been shut down");
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Where a data directory keeps the identity.
pub fn key_file(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("identity.key")
}
