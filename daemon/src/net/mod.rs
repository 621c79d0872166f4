//! The network: this node's identity, the libp2p swarm that other nodes reach it by, and the table of peers.
//!
//! One task owns the swarm; [`Net`] is a cheap handle to it. `calls` opens and takes signalling streams here, `media`
//! learns from here whom to ask for its outside address, `rpc` shows the peers. No libp2p type leaves this folder
//! (`Multiaddr`, a format, excepted), and nothing in it knows what a call is.

mod address;
mod blocks;
mod book;
mod counted;
mod dial;
mod ended;
mod events;
#[cfg(test)]
pub(crate) mod exchange;
mod files;
pub(crate) mod frames;
mod gate;
mod hello;
mod holder;
mod identity;
mod limits;
mod listener;
mod peers;
pub mod ports;
mod providers;
mod publish;
mod published;
mod reach;
mod record;
#[doc(hidden)]
pub mod rehearsal;
mod relays;
mod rows;
mod saved;
mod shelf;
mod standing;
mod streams;
mod suspects;
mod swarm;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod traffic;
mod ways;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
pub use kith_common::node::MediaPorts;
use kith_common::node::{Identity, Path, PeerInfo, ServiceState};
use kith_common::target::Target;
use kith_core::listener::{Begin, Order, Status, TakenPort};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tracing::Instrument;

use listener::Listener;
use published::{Links, Published};
use streams::{OpenError, Protocol};
use task::{Command, Datagrams, Opening, Task};

pub use files::FilesStream;
pub use holder::Transport;
pub use identity::{IdentityError, SecretKey};
pub use libp2p::Multiaddr;
pub use limits::Limits;
pub use providers::{FIND_WITHIN, MAX_FOUND, MAX_PROVIDED, ProviderKey};
pub use standing::{Seen, Standing};
pub use traffic::{Bytes, Traffic};
pub use ways::{DatagramFigures, PING_BYTES, Way};

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

/// What carries the bytes of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carrier {
    /// QUIC and TCP.
    #[default]
    Sockets,
    /// The memory of this process, in which all nodes are: see [`rehearsal`]. No port is opened.
    Memory,
}

/// What a network is started with.
#[derive(Debug, Clone)]
pub struct NetConfig {
    pub key: SecretKey,
    pub carrier: Carrier,
    /// `None`: all interfaces.
    pub bind: Option<IpAddr>,
    /// 0: any.
    pub port: u16,
    pub begin: Begin,
    pub taken_port: TakenPort,
    pub bootstrap: Vec<Multiaddr>,
    pub mdns: Toggle,
    pub upnp: Toggle,
    pub dht: DhtMode,
    /// Serve as relay and bootstrap node for others.
    pub relay: Toggle,
    pub limits: Limits,
    /// Where the address book and the block list are kept; `None`: only as long as this runs.
    pub data_dir: Option<PathBuf>,
    /// What this node calls itself.
    pub name: String,
    /// Told to peers, so that they can ask the media sockets what they see them at.
    pub media_ports: watch::Receiver<MediaPorts>,
    /// Told to peers as well: the services that listen.
    pub offered: watch::Receiver<Vec<String>>,
}

impl NetConfig {
    /// A node for this machine only, on any port, that looks for nobody and keeps nothing: what tests and measurements
    /// start from.
    pub fn local(key: SecretKey) -> Self {
        Self {
            key,
            carrier: Carrier::Sockets,
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port: 0,
            begin: Begin::Running,
            taken_port: TakenPort::Wait,
            bootstrap: Vec::new(),
            mdns: Toggle::Off,
            upnp: Toggle::Off,
            dht: DhtMode::default(),
            relay: Toggle::Off,
            limits: Limits::default(),
            data_dir: None,
            name: "local".to_owned(),
            media_ports: watch::channel(MediaPorts::default()).1,
            offered: watch::channel(Vec::new()).1,
        }
    }
}

/// Streams that peers open, each already counted against that peer's limits.
pub struct Incoming {
    /// `/kith/call/1`
    pub signals: mpsc::Receiver<(PeerId, Stream)>,
    /// `/kith/tunnel/1`
    pub tunnels: mpsc::Receiver<(PeerId, Stream)>,
    /// `/kith/bandwidth/1`; whoever answers those takes it out.
    pub measurements: Option<mpsc::Receiver<(PeerId, Stream)>>,
    /// `/kith/contact/1` and `/kith/chat/1`, the same way.
    pub contacts: Option<mpsc::Receiver<(PeerId, Stream)>>,
    pub chats: Option<mpsc::Receiver<(PeerId, Stream)>>,
    /// `/kith/files/1`, with the way that each takes.
    pub files: Option<mpsc::Receiver<FilesStream>>,
}

/// How a connected peer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLink {
    pub peer: PeerId,
    /// Empty until the peer has said hello.
    pub name: String,
    pub path: Path,
    /// The path of the connection that a new tunnel takes.
    pub tunnel_path: Path,
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

/// What the DHT has been good for since the start, and what looking for peers in it has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Nodes in the routing table when the last one came in.
    pub known: usize,
    /// Queries that are over: a lookup makes two at a time, for who is near the peer and for its signed record.
    pub queries: u64,
    /// To other nodes, all of these queries together.
    pub requests: u64,
    /// Peers whose record was found and believed.
    pub found: u64,
    /// Of the requests for records, those that had gone out by then.
    pub requests_until_found: u64,
    /// How often this node's own record has been taken by others.
    pub published: u64,
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
    listener: watch::Receiver<Status>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    links: watch::Receiver<Links>,
    lookups: watch::Receiver<Lookups>,
    standing: watch::Receiver<Arc<Standing>>,
    datagrams: Arc<watch::Sender<Datagrams>>,
    traffic: Traffic,
}

impl Net {
    /// Starts the network. Returns once the port is bound and its addresses are known, or found taken.
    pub async fn start(config: NetConfig) -> Result<(Net, Incoming), NetError> {
        let peer = config.key.peer_id();
        let traffic = Traffic::default();
        let swarm = swarm::build(&config, &traffic)?;
        let listener = Listener::new(&config, Instant::now());
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
            lookups: watch::Sender::default(),
            standing: watch::Sender::default(),
        };
        let datagrams = Arc::new(watch::Sender::new(Datagrams::default()));
        let measured = datagrams.subscribe();
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let mut net = Net {
            peer,
            commands,
            identity: published.identity.subscribe(),
            listener: listener.subscribe(),
            peers: published.rows.subscribe(),
            links: published.links.subscribe(),
            lookups: published.lookups.subscribe(),
            standing: published.standing.subscribe(),
            datagrams,
            traffic,
        };
        let (signal, signals) = mpsc::channel(INCOMING);
        let (tunnel, tunnels) = mpsc::channel(INCOMING);
        let (measurement, measurements) = mpsc::channel(INCOMING);
        let (contact, contacts) = mpsc::channel(INCOMING);
        let (chat, chats) = mpsc::channel(INCOMING);
        let (file, files) = mpsc::channel(INCOMING);
        let streams = [signal, tunnel, measurement, contact, chat];
        let task = Task::new(config, swarm, listener, published, streams, file, measured);
        tokio::spawn(task.run(commanded).instrument(tracing::info_span!("net")));
        net.settle().await;
        Ok((
            net,
            Incoming {
                signals,
                tunnels,
                measurements: Some(measurements),
                contacts: Some(contacts),
                chats: Some(chats),
                files: Some(files),
            },
        ))
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

    /// How the node's own port stands.
    pub fn listener(&self) -> watch::Receiver<Status> {
        self.listener.clone()
    }

    /// Stops, starts or moves the node's own port; how it stands then. Stopping and moving close the connections over
    /// QUIC: they are packets of that very socket.
    pub async fn order_listener(&self, order: Order) -> Result<Status, Failure> {
        self.ask(|reply| Command::Listener { order, reply }).await
    }

    /// Connects, whatever it takes: known addresses, the DHT, a relay. Ends within 30 s. Connected already is fine.
    /// Kind `NotFound`: nobody knows an address; `Unreachable` and `TimedOut`: none of them answered.
    pub async fn connect(&self, target: &Target) -> Result<PeerId, Failure> {
        self.ask(|reply| Command::Connect { target: target.clone(), reply }).await
    }

    pub async fn disconnect(&self, target: &Target) -> Result<(), Failure> {
        self.ask(|reply| Command::Disconnect { target: target.clone(), reply }).await
    }

    /// Closes its connections, refuses new ones both ways, and remembers it over restarts. Kind `NotFound`: the target
    /// names no peer id and nobody is connected from there.
    pub async fn block(&self, target: &Target) -> Result<PeerId, Failure> {
        self.ask(|reply| Command::Block { target: target.clone(), reply }).await
    }

    pub async fn unblock(&self, target: &Target) -> Result<PeerId, Failure> {
        self.ask(|reply| Command::Unblock { target: target.clone(), reply }).await
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

    /// A new stream about contacts to a connected peer.
    pub async fn open_contact(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer, Protocol::Contact).await
    }

    /// A new stream of messages to a connected peer.
    pub async fn open_chat(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer, Protocol::Chat).await
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
        let known = |ports: MediaPorts| ports != MediaPorts::default();
        self.links
            .borrow()
            .by_peer
            .values()
            .filter(|link| known(link.media_ports))
            .filter_map(|link| Some(Reflector { peer: link.peer, ip: link.remote?.ip(), ports: link.media_ports }))
            .collect()
    }

    /// Is this the address of a connected peer? Only those get STUN answers.
    pub fn is_reflected_peer(&self, ip: IpAddr) -> bool {
        self.links.borrow().come_from(&ip.to_canonical())
    }

    /// What looking for peers has cost so far.
    pub fn lookups(&self) -> watch::Receiver<Lookups> {
        self.lookups.clone()
    }

    /// What peers and routers say about how this node is reached; changes with it.
    pub fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// Bytes by peer.
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// What has been measured on the datagram paths, for the rows; replaces what was said before.
    pub fn set_datagram_figures(&self, figures: std::collections::BTreeMap<PeerId, DatagramFigures>) {
        self.datagrams.send_if_modified(|published| {
            let changed = **published != figures;
            if changed {
                *published = Arc::new(figures);
            }
            changed
        });
    }

    /// Nothing comes from this peer although something should: the connections to it are asked for a sign of life at once,
    /// and those that give none are closed, so that it is reached another way.
    pub fn doubt(&self, peer: PeerId) {
        // Whoever doubts asks again.
        let _ = self.commands.try_send(Command::Doubt { peer });
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
        let what = match protocol {
            Protocol::Tunnel => "carry media to",
            Protocol::Contact | Protocol::Chat => "write to",
            _ => "signal to",
        };
        opened(opening, peer, what).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Failure::new(FailureKind::Internal, "the network has been shut down");
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Waits until the other side has agreed.
async fn opened(opening: Opening, peer: PeerId, what: &str) -> Result<Stream, Failure> {
    let opened = tokio::time::timeout(OPEN_WITHIN, opening.stream).await.unwrap_or(Ok(Err(OpenError::TimedOut)));
    let failure = |error: OpenError| {
        let kind = match error {
            OpenError::Unsupported => FailureKind::Unsupported,
            OpenError::TimedOut => FailureKind::TimedOut,
            OpenError::Lost => FailureKind::Unreachable,
        };
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

/// Where a data directory keeps the identity.
pub fn key_file(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("identity.key")
}

/// Where it keeps the address book and the block list: a JSON object a line.
const BOOK_FILE: &str = "peers.jsonl";
const BLOCKS_FILE: &str = "blocked.jsonl";
