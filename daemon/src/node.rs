//! A whole daemon: starts network, media, calls and RPC, joins them, and ends them in the right order.

mod reload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kith_common::call::CallState;
use kith_store::Database;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::calls::{CallPolicy, Calls, Echo};
use crate::chat::{Chat, ChatParts, Seal};
use crate::config::Config;
use crate::contacts::{Contacts, KNOCKS};
use crate::data_dir::DataDir;
use crate::diagnostics::{Diagnostics, DiagnosticsConfig};
use crate::files::{Files, FilesParts};
use crate::log::Log;
use crate::media::{Media, MediaConfig, Reflector, ReflectorSource};
use crate::net::{self, Carrier, Net, NetConfig, SecretKey, Toggle};
use crate::rpc;
use crate::services::{Carried, Services, Settings};
use crate::socket::Socket;
use crate::supervisor::{self, Pulse};

/// Saying goodbye to peers in calls, then to all peers, then to clients, and closing the database. Together below the 5 s
/// in which a daemon must be gone.
const HANG_UP_WITHIN: Duration = Duration::from_secs(2);
const CLOSE_WITHIN: Duration = Duration::from_millis(1500);
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
const STORE_WITHIN: Duration = Duration::from_millis(300);

/// Runs a daemon until it is told to end. `ready` is called once, when everything listens.
pub async fn run(
    mut config: Config,
    log: &Log,
    data_dir: &DataDir,
    socket: &Socket,
    ready: impl FnOnce(&Net) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Before anything that takes time: a signal now ends a daemon as politely as one later.
    let mut signals = Signals::new()?;
    let node = Node::start(&config, data_dir, socket).await?;
    ready(&node.net)?;
    supervisor::ready();
    let reports = supervisor::report(node.pulse(), &node.services);
    tracing::info!(peer = %node.net.peer_id(), socket = %socket.path().display(), "ready");
    change_network_on_signal(&config, &node.media)?;
    while let Order::Reload = signals.next().await {
        reload::reload(&mut config, log, &node).await;
    }
    drop(reports);
    supervisor::stopping();
    node.stop().await;
    Ok(())
}

/// What runs.
struct Node {
    net: Net,
    media: Media,
    calls: Calls,
    contacts: Contacts,
    chat: Chat,
    files: Files,
    database: Database,
    services: Services,
    rpc: rpc::RpcThread,
}

impl Node {
    async fn start(config: &Config, data_dir: &DataDir, socket: &Socket) -> anyhow::Result<Self> {
        let started = Instant::now();
        let key = SecretKey::load_or_create(&net::key_file(data_dir.path()))?;
        let database = open_database(data_dir, &key).await?;
        let identity = Zeroizing::new(key.to_bytes());
        let mut settings = Settings::load(data_dir.path());
        let mut wanted = |name, port| settings.wanted(name, port, &config.fixed_ports);
        let own = wanted("node", config.node_port);
        let (video, audio) = (wanted("video", config.video_port), wanted("audio", config.audio_port));
        let (chat_service, chat_begin) = watch::channel(wanted("chat", 0).begin);
        let (files_service, files_begin) = watch::channel(wanted("files", 0).begin);
        let media = Media::start(MediaConfig {
            bind: config.bind,
            video_port: video.port,
            audio_port: audio.port,
            video: video.begin,
            audio: audio.begin,
            taken_port: config.taken_port,
            impair: config.impair,
            encoder: config.encoder,
        })
        .await;
        let (offers, offered) = watch::channel(Vec::new());
        let (net, mut incoming) = Net::start(NetConfig {
            key,
            carrier: Carrier::Sockets,
            bind: config.bind,
            port: own.port,
            begin: own.begin,
            taken_port: config.taken_port,
            bootstrap: config.bootstrap.clone(),
            mdns: config.mdns,
            upnp: config.upnp,
            dht: config.dht,
            relay: config.relay,
            limits: config.limits,
            data_dir: Some(data_dir.path().to_owned()),
            name: config.name.clone(),
            media_ports: media.ports(),
            offered,
        })
        .await?;
        media.set_reflectors(reflectors(&net));
        let measurements = incoming.measurements.take();
        let (calling, in_call) = watch::channel(false);
        let (knocks, knocked) = mpsc::channel(KNOCKS);
        let streams = incoming.contacts.take();
        let contacts = Contacts::start(net.clone(), streams, database.clone(), in_call.clone(), Some(knocked)).await?;
        let seal = Seal::start(net.peer_id(), &identity, database.clone(), contacts.people()).await?;
        drop(identity);
        let chat = Chat::start(
            net.clone(),
            ChatParts {
                db: database.clone(),
                people: contacts.people(),
                incoming: incoming.chats.take(),
                service: chat_begin,
                sealer: Some(seal),
            },
        );
        let files = Files::start(
            net.clone(),
            FilesParts {
                db: database.clone(),
                people: contacts.people(),
                incoming: incoming.files.take(),
                service: files_begin,
                in_call,
                data_dir: data_dir.path().to_owned(),
                downloads: config.downloads.clone(),
                downloads_fixed: config.fixed_downloads,
            },
        )
        .await?;
        let people = contacts.people();
        let calls =
            Calls::start(net.clone(), incoming, media.clone(), policy(config), people, knocks, database.clone());
        tokio::spawn(tell_of_calls(calls.clone(), calling));
        let carried = Carried { chat: chat_service, files: files_service };
        let services = Services::start(net.clone(), media.clone(), settings, offers, carried);
        let looking =
            DiagnosticsConfig { bind: config.bind, bandwidth_test: config.bandwidth_test, limits: config.limits };
        let diagnostics = Diagnostics::start(looking, net.clone(), media.clone(), calls.clone(), measurements);
        let listener = socket.listener().context("could not share the socket with the thread that serves it")?;
        let served = rpc::Daemon {
            net: net.clone(),
            calls: calls.clone(),
            contacts: contacts.clone(),
            chat: chat.clone(),
            files: files.clone(),
            services: services.clone(),
            diagnostics,
            started,
        };
        let rpc = rpc::spawn(listener, served).context("could not serve the socket")?;
        Ok(Self { net, media, calls, contacts, chat, files, database, services, rpc })
    }

    fn pulse(&self) -> Pulse {
        let (net, calls) = (self.net.clone(), self.calls.clone());
        Pulse { net, calls, chat: self.chat.clone(), files: self.files.clone(), rpc: self.rpc.pulse() }
    }

    /// Hangs up first, while there is a way to say so; the network goes before the media, so that nobody rings a node
    /// that cannot answer.
    async fn stop(self) {
        let leaving = async {
            let (calls, chat) = (self.calls.shutdown(), self.chat.shutdown());
            tokio::join!(calls, chat, self.files.shutdown(), self.contacts.shutdown())
        };
        if tokio::time::timeout(HANG_UP_WITHIN, leaving).await.is_err() {
            tracing::warn!("calls did not end, or messages, transfers and contacts were not written down, in time");
        }
        if tokio::time::timeout(CLOSE_WITHIN, self.net.shutdown()).await.is_err() {
            tracing::warn!("connections did not close in time");
        }
        if tokio::time::timeout(RELEASE_WITHIN, self.rpc.shutdown()).await.is_err() {
            tracing::warn!("clients were not released in time");
        }
        if tokio::time::timeout(STORE_WITHIN, self.database.close()).await.is_err() {
            tracing::warn!(
                "the database was not closed in time: it is repaired at the next start, and nothing is lost"
            );
        }
        drop(self.media);
    }
}

/// What this node remembers. A damaged database costs what could not be read, and never without a word.
async fn open_database(data_dir: &DataDir, key: &SecretKey) -> anyhow::Result<Database> {
    let opened = Database::open(data_dir.path(), key.peer_id()).await;
    let (database, repair) = opened.map_err(|failure| anyhow::anyhow!("{failure}; {}", failure.advice))?;
    if let Some(repair) = repair {
        tracing::error!("{}", repair.sentence());
    }
    Ok(database)
}

/// Contacts are told that this node is in a call, and transfers keep out of its way; neither names the calls. Ends with the calls.
async fn tell_of_calls(calls: Calls, calling: watch::Sender<bool>) {
    let mut feed = calls.subscribe();
    while feed.next().await.is_some() {
        let in_call = calls.list().iter().any(|call| call.state == CallState::Active);
        calling.send_if_modified(|before| std::mem::replace(before, in_call) != in_call);
    }
}

/// Media sockets learn their outside address from peers, and answer peers: the network says who those are.
fn reflectors(net: &Net) -> ReflectorSource {
    let (asked, answered) = (net.clone(), net.clone());
    ReflectorSource {
        ask: Arc::new(move || {
            let all = asked.reflectors().into_iter();
            all.map(|reflector| Reflector { ip: reflector.ip, ports: reflector.ports }).collect()
        }),
        answer: Arc::new(move |ip| answered.is_reflected_peer(ip)),
    }
}

fn policy(config: &Config) -> CallPolicy {
    let base = match config.echo {
        Toggle::On => CallPolicy::echo(),
        Toggle::Off => CallPolicy { auto_answer: config.auto_answer, echo: Echo::Off, ..CallPolicy::default() },
    };
    CallPolicy { encoder: config.encoder, strangers: config.calls_from_strangers, ..base }
}

/// What a signal asks for.
enum Order {
    Reload,
    End,
}

struct Signals {
    term: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let handler = |kind| signal(kind).context("could not set up signal handling");
        Ok(Self {
            term: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hang_up: handler(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.term.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
            _ = self.hang_up.recv() => Order::Reload,
        }
    }
}

/// For tests: the emulated network changes in the middle of a call when SIGUSR1 comes.
fn change_network_on_signal(config: &Config, media: &Media) -> anyhow::Result<()> {
    let Some(next) = config.impair_next else { return Ok(()) };
    let mut changes = signal(SignalKind::user_defined1()).context("could not set up signal handling")?;
    let media = media.clone();
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            tracing::info!(?next, "the emulated network changes");
            media.set_impairment(Some(next));
        }
    });
    Ok(())
}
