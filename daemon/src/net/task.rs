//! The task that owns the swarm: takes commands, follows events, keeps the tables, publishes what it knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId as KithId;
use kith_common::node::{Identity, MediaPorts, Path};
use kith_common::target::Target;
use kith_core::listener::{Order, Status};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::blocks::Blocks;
use super::book::Book;
use super::dial::Attempt;
use super::hello::{self, Hello};
use super::limits::Bucket;
use super::listener::Listener;
use super::peers::{Companion, Peer, Table};
use super::providers::{Providers, Wanted};
use super::publish::Publisher;
use super::published::{Published, Stale};
use super::reach::Reach;
use super::standing::Tracker;
use super::streams::{OpenError, Protocol};
use super::suspects::Suspects;
use super::swarm::Node;
use super::ways::{DatagramFigures, Way};
use super::{BLOCKS_FILE, BOOK_FILE, DhtMode, FilesStream, NetConfig, SecretKey, Stream, address, files, saved, table};

/// How long an opening stream waits for a connection that does not depend on UDP: signalling hardly, it delays the call;
/// a tunnel is worth little without one.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(250);
const TUNNEL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a place at a relay waits for the relay's TCP connection.
const COMPANION_PATIENCE: Duration = Duration::from_secs(2);
/// Streams that may wait so at a time.
const MAX_PARKED: usize = 64;
/// Hellos being written and read at a time, all peers together.
pub(super) const MAX_HELLOS: usize = 128;
/// How long closing connections may take at the end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);

/// What probes have measured, by peer.
pub(super) type Datagrams = Arc<BTreeMap<KithId, DatagramFigures>>;
/// A stream that is being opened.
pub(super) struct Opening {
    /// The way of its connection.
    pub path: Path,
    /// The outcome, as soon as the other side has agreed.
    pub stream: oneshot::Receiver<Result<libp2p::Stream, OpenError>>,
}

pub(super) enum Command {
    Connect { target: Target, reply: oneshot::Sender<Result<KithId, Failure>> },
    Disconnect { target: Target, reply: oneshot::Sender<Result<(), Failure>> },
    Block { target: Target, reply: oneshot::Sender<Result<KithId, Failure>> },
    Unblock { target: Target, reply: oneshot::Sender<Result<KithId, Failure>> },
    Open { peer: KithId, protocol: Protocol, reply: oneshot::Sender<Result<Opening, Failure>> },
    Listener { order: Order, reply: oneshot::Sender<Result<Status, Failure>> },
    Ways { peer: KithId, reply: oneshot::Sender<Result<Vec<Way>, Failure>> },
    OpenOn { way: Way, protocol: Protocol, reply: oneshot::Sender<Result<Opening, Failure>> },
    SetName { name: String, reply: oneshot::Sender<Result<(), Failure>> },
    SetBootstrap { nodes: Vec<Multiaddr>, reply: oneshot::Sender<Result<(), Failure>> },
    Provider(Wanted),
    Doubt { peer: KithId },
    Alive { reply: oneshot::Sender<Result<(), Failure>> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// A stream that waits for a better connection.
struct Parked {
    peer: PeerId,
    protocol: Protocol,
    until: Instant,
    reply: oneshot::Sender<Result<Opening, Failure>>,
}

pub(super) struct Task {
    pub swarm: Swarm<Node>,
    pub key: SecretKey,
    pub table: Table,
    pub book: Book,
    pub blocks: Blocks,
    pub publisher: Publisher,
    /// How many address records of others are kept.
    pub dht_records: usize,
    pub attempts: Vec<Attempt>,
    pub listener: Listener,
    pub reach: Reach,
    pub stale: Stale,
    pub loopback_node: bool,
    pub dht: DhtMode,
    pub displacements: Bucket,
    pub signals: mpsc::Sender<(KithId, Stream)>,
    pub tunnels: mpsc::Sender<(KithId, Stream)>,
    pub measurements: mpsc::Sender<(KithId, Stream)>,
    pub contacts: mpsc::Sender<(KithId, Stream)>,
    pub chats: mpsc::Sender<(KithId, Stream)>,
    pub files: mpsc::Sender<FilesStream>,
    pub providers: Providers,
    pub standing: Tracker,
    pub suspects: Suspects,
    /// Hellos under way; each ends with what it has read, if it was reading.
    pub hellos: JoinSet<Option<(PeerId, Hello)>>,
    hello_order: hello::Order,
    name: String,
    media_ports: watch::Receiver<MediaPorts>,
    offered: watch::Receiver<Vec<String>>,
    parked: Vec<Parked>,
    pub published: Published,
    pub datagrams: watch::Receiver<Datagrams>,
}

impl Task {
    pub fn new(
        config: NetConfig,
        swarm: Swarm<Node>,
        listener: Listener,
        published: Published,
        [signals, tunnels, measurements, contacts, chats]: [mpsc::Sender<(KithId, Stream)>; 5],
        files: mpsc::Sender<FilesStream>,
        datagrams: watch::Receiver<Datagrams>,
    ) -> Self {
        let writer = saved::Writer::start();
        let file = |name| config.data_dir.as_ref().map(|folder| (folder.join(name), writer.clone()));
        let book = Book::open(file(BOOK_FILE));
        Self {
            swarm,
            table: Table::new(config.limits),
            reach: Reach::new(&config, &book),
            book,
            blocks: Blocks::open(file(BLOCKS_FILE)),
            publisher: Publisher::new(),
            dht_records: config.limits.dht_records as usize,
            key: config.key,
            attempts: Vec::new(),
            listener,
            stale: Stale::new(),
            loopback_node: super::swarm::is_loopback_node(config.bind),
            dht: config.dht,
            displacements: table::displacements(),
            signals,
            tunnels,
            measurements,
            contacts,
            chats,
            files,
            providers: Providers::default(),
            standing: Tracker::default(),
            suspects: Suspects::default(),
            hellos: JoinSet::new(),
            hello_order: hello::Order { instance: rand::random(), sequence: 0 },
            name: config.name,
            media_ports: config.media_ports,
            offered: config.offered,
            parked: Vec::new(),
            published,
            datagrams,
        }
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.close_door();
        self.listener.poll(&mut self.swarm, Instant::now());
        let (mut media_gone, mut services_gone) = (false, false);
        let done = loop {
            let deadline = self.deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => break Some(reply),
                    Some(command) => {
                        self.command(command);
                        self.publish_now();
                    }
                    // All handles are gone: nobody can use or stop this network any more.
                    None => break None,
                },
                event = self.swarm.select_next_some() => self.event(event),
                Some(read) = self.hellos.join_next() => self.hello_done(read.ok().flatten()),
                Some(verdict) = self.suspects.next() => self.asked_for_life(verdict),
                () = self.book.saved() => {}
                changed = self.media_ports.changed(), if !media_gone => {
                    media_gone = changed.is_err();
                    self.greet_everybody();
                }
                changed = self.offered.changed(), if !services_gone => {
                    services_gone = changed.is_err();
                    self.greet_everybody();
                }
                Ok(()) = self.datagrams.changed() => self.figures_changed(),
                () = sleep_until(deadline) => {}
            }
            self.due();
            self.publish();
        };
        self.close().await;
        if let Some(reply) = done {
            let _ = reply.send(());
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { target, reply } => {
                self.connect(&target, reply);
                self.rows_changed();
            }
            Command::Disconnect { target, reply } => {
                let outcome = match self.connected(&target) {
                    Some(peer) => {
                        self.book.left(&peer);
                        let _ = self.swarm.disconnect_peer_id(peer);
                        Ok(())
                    }
                    None => Err(not_connected()),
                };
                let _ = reply.send(outcome);
            }
            Command::Block { target, reply } => self.block(&target, reply),
            Command::Unblock { target, reply } => self.unblock(&target, reply),
            Command::Open { peer, protocol, reply } => self.open(address::to_libp2p(peer), protocol, reply),
            Command::Listener { order, reply } => _ = reply.send(Ok(self.listener_ordered(order))),
            Command::Ways { peer, reply } => _ = reply.send(self.ways(peer)),
            Command::OpenOn { way, protocol, reply } => _ = reply.send(self.open_on(&way, protocol)),
            Command::SetName { name, reply } => {
                self.set_name(name);
                let _ = reply.send(Ok(()));
            }
            Command::SetBootstrap { nodes, reply } => {
                self.reach.set_bootstrap(nodes);
                let _ = reply.send(Ok(()));
            }
            Command::Provider(wanted) => self.provider_wanted(wanted),
            Command::Doubt { peer } => self.doubt(address::to_libp2p(peer)),
            Command::Alive { reply } => _ = reply.send(Ok(())),
            Command::Shutdown { .. } => {}
        }
    }

    fn listener_ordered(&mut self, order: Order) -> Status {
        let status = self.listener.handle_order(&mut self.swarm, order, Instant::now());
        // A place at a relay is a listener too.
        if self.listener.is_stopped() {
            self.leave_relays();
        } else {
            self.reach_changed();
        }
        self.publish_identity();
        status
    }

    fn open(&mut self, peer: PeerId, protocol: Protocol, reply: oneshot::Sender<Result<Opening, Failure>>) {
        let Some(entry) = self.table.get(&peer) else {
            let _ = reply.send(Err(not_connected()));
            return;
        };
        // Behind a relay there is no address to try that hole punching does not try already.
        let direct = entry.is_direct();
        let promising = protocol == Protocol::Tunnel || direct;
        let waits = !entry.is_best_for(protocol) && promising;
        if waits && self.parked.len() < MAX_PARKED && self.dial_companion(peer) {
            let patience = match protocol {
                // Behind a relay only hole punching can help, and where it works it is quick.
                Protocol::Tunnel if direct => TUNNEL_PATIENCE,
                Protocol::Files => files::PATIENCE,
                _ => SIGNAL_PATIENCE,
            };
            self.parked.push(Parked { peer, protocol, until: Instant::now() + patience, reply });
            return;
        }
        self.open_now(peer, protocol, reply);
    }

    fn open_now(&mut self, peer: PeerId, protocol: Protocol, reply: oneshot::Sender<Result<Opening, Failure>>) {
        let chosen = self.table.get(&peer).and_then(|entry| entry.connection_for(protocol));
        let Some((connection, path)) = chosen.map(|chosen| (chosen.id, address::path(&chosen.address))) else {
            let _ = reply.send(Err(not_connected()));
            return;
        };
        let (sender, stream) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, connection, protocol, sender);
        let _ = reply.send(Ok(Opening { path, stream }));
    }

    /// Dials TCP where a UDP connection leads, so that a call has something to fall back on. False when there is
    /// nothing to dial.
    pub fn dial_companion(&mut self, peer: PeerId) -> bool {
        let dialed = self.try_companion(peer);
        if let Some(entry) = self.table.get_mut(&peer) {
            let until = Instant::now() + COMPANION_PATIENCE;
            entry.companion = if dialed { Companion::Dialed(until) } else { Companion::Failed };
        }
        dialed
    }

    pub fn companion_failed(&mut self, peer: &PeerId) {
        let entry = self.table.get_mut(peer).filter(|entry| matches!(entry.companion, Companion::Dialed(_)));
        if let Some(entry) = entry {
            entry.companion = Companion::Failed;
            self.reach_changed();
        }
    }

    fn try_companion(&mut self, peer: PeerId) -> bool {
        let Some(entry) = self.table.get(&peer) else { return false };
        let remotes = entry.connections.iter().filter_map(|connection| address::socket(&connection.address));
        let mut addresses: Vec<Multiaddr> = remotes.map(|remote| address::of_socket(remote)[1].clone()).collect();
        let others = entry.listens_on().iter().filter(|a| !address::is_udp(a) && !address::is_relayed(a));
        addresses.extend(others.cloned());
        addresses.dedup();
        if addresses.is_empty() {
            return false;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(addresses).build();
        match self.swarm.dial(options) {
            Ok(()) => true,
            Err(error) => matches!(error, libp2p::swarm::DialError::DialPeerConditionFalse(_)),
        }
    }

    /// Opens what waited for a connection to this peer; all of it when dialing has failed.
    pub fn unpark(&mut self, peer: &PeerId, dial_failed: bool) {
        let ready = |task: &Self, parked: &Parked| {
            let best = |entry: &Peer| entry.is_best_for(parked.protocol);
            parked.peer == *peer && (dial_failed || task.table.get(peer).is_none_or(best))
        };
        let (go, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(|parked| ready(self, parked));
        self.parked = wait;
        for parked in go {
            self.open_now(parked.peer, parked.protocol, parked.reply);
        }
    }

    /// Tells a peer who we are, over the best connection, of equals the newest.
    pub fn greet(&mut self, peer: PeerId) {
        let Some(connection) = self.table.get(&peer).and_then(|entry| entry.connection_for(Protocol::Hello)) else {
            return;
        };
        if self.hellos.len() >= MAX_HELLOS {
            return;
        }
        let hello = Hello {
            name: self.name.clone(),
            agent: super::AGENT.to_owned(),
            media_ports: *self.media_ports.borrow_and_update(),
            services: self.offered.borrow_and_update().clone(),
            observed: address::socket(&connection.address),
            order: self.hello_order,
        };
        self.hello_order.sequence += 1;
        let (sender, opening) = oneshot::channel();
        let connection = connection.id;
        self.swarm.behaviour_mut().streams.open(peer, connection, Protocol::Hello, sender);
        self.hellos.spawn(async move {
            if let Ok(Ok(stream)) = opening.await
                && let Err(error) = hello::send(stream.compat(), &hello).await
            {
                tracing::debug!(%peer, %error, "could not say hello");
            }
            None
        });
    }

    fn set_name(&mut self, name: String) {
        self.published.identity.send_modify(|identity| Arc::make_mut(identity).name.clone_from(&name));
        self.name = name;
        self.greet_everybody();
    }

    fn greet_everybody(&mut self) {
        let peers: Vec<PeerId> = self.table.iter().map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.greet(peer);
        }
    }

    fn hello_done(&mut self, read: Option<(PeerId, Hello)>) {
        let Some((peer, hello)) = read else { return };
        let Some(entry) = self.table.get_mut(&peer) else { return };
        if entry.hello.as_ref().is_some_and(|known| hello.order.is_older_than(known.order)) {
            return;
        }
        tracing::debug!(%peer, observed = ?hello.observed, "said hello");
        self.book.named(&peer, &hello.name);
        entry.hello = Some(hello);
        self.link_changed(&peer);
        self.attempt_news(&peer);
    }

    /// What is due now, by the clock.
    fn due(&mut self) {
        let now = Instant::now();
        self.listener.poll(&mut self.swarm, now);
        self.attempts_due(now);
        self.suspects_due(now);
        self.reach_due(now);
        self.publish_due(now);
        self.providers_due(now);
        self.blocks_due(now);
        self.book.save_due(now);
        let (late, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(|parked| now >= parked.until);
        self.parked = wait;
        for parked in late {
            self.open_now(parked.peer, parked.protocol, parked.reply);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let parked = self.parked.iter().map(|parked| parked.until).min();
        let kept = [self.publisher.deadline(), self.blocks.deadline(), self.book.deadline(), self.suspects.deadline()];
        let others = [self.listener.retry_at(), self.attempts_deadline(), self.reach.deadline(), self.stale.deadline()];
        others.into_iter().chain(kept).flatten().chain(parked).chain(self.providers.deadline()).min()
    }

    /// Where this node is reached, as far as it knows.
    pub fn own_addresses(&self) -> Vec<Multiaddr> {
        let listens = self.swarm.listeners().filter(|a| address::is_shareable(a, self.loopback_node));
        let external = self.swarm.external_addresses().filter(|a| address::is_shareable(a, self.loopback_node));
        let mut addresses: Vec<Multiaddr> = external.chain(listens).cloned().map(address::without_peer).collect();
        address::order_for_ticket(&mut addresses);
        addresses.dedup();
        addresses
    }

    /// The addresses have changed.
    pub fn publish_identity(&mut self) {
        self.addresses_changed();
        let addresses = self.own_addresses();
        let own = *self.swarm.local_peer_id();
        self.published.identity.send_if_modified(|identity| {
            let new = Identity {
                peer_id: identity.peer_id,
                name: identity.name.clone(),
                ticket: address::ticket(identity.peer_id, &addresses),
                addresses: addresses
                    .iter()
                    .map(|a| a.clone().with(libp2p::multiaddr::Protocol::P2p(own)).to_string())
                    .collect(),
            };
            let changed = **identity != new;
            *identity = Arc::new(new);
            changed
        });
    }

    async fn close(&mut self) {
        self.listener.close(&mut self.swarm);
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let drain = async {
            while self.swarm.network_info().connection_counters().num_established() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_WITHIN, drain).await;
        let _ = tokio::time::timeout(SHUTDOWN_WITHIN, self.book.close()).await;
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) fn not_connected() -> Failure {
    Failure::new(FailureKind::NotFound, "this peer is not connected")
        .advise("connect first: kithctl peers connect PEER")
}
