//! The two media sockets as services: bound at start, retried while taken, and the sessions that are opened on them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use kith_common::call::{CallKind, EncoderChoice};
use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::{ServiceInfo, ServiceState};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::ask::{Answer, Probe, Questions};
use super::params::{Impairment, MediaConfig, MediaPorts, ReflectorSource, SessionSpec};
use super::pipeline::{self, MakeCodecs};
use super::session::Session;
use super::socket::{self, Port};

/// The wait before a taken port is tried again doubles from the first to the last of these.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How far above the wanted port a free one is looked for.
const SUGGEST_WITHIN: u16 = 50;
/// Reflectors asked for each session: two could disagree, four are enough to survive two that are silent.
const MAX_REFLECTORS: usize = 4;

const KINDS: [CallKind; 2] = [CallKind::Video, CallKind::Voice];

/// The handle; clones share the sockets. They close with the last clone and the last session.
#[derive(Clone)]
pub struct Media {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

struct Shared {
    config: MediaConfig,
    ports: watch::Sender<MediaPorts>,
    services: watch::Sender<Vec<ServiceInfo>>,
    open: Mutex<[Option<Arc<Port>>; 2]>,
    impairment: Mutex<Option<Impairment>>,
    reflectors: Arc<Mutex<ReflectorSource>>,
    questions: Arc<Questions>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is replaced whole, so a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index(kind: CallKind) -> usize {
    match kind {
        CallKind::Video => 0,
        CallKind::Voice => 1,
    }
}

fn name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Video => "video",
        CallKind::Voice => "audio",
    }
}

impl Media {
    /// Opens the sockets. Never fails: a taken port is a failed service with a suggestion, retried until it is free.
    pub async fn start(config: MediaConfig) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
        let rows = KINDS.map(|kind| row(kind, wanted(&config, kind), ServiceState::Starting));
        let shared = Arc::new(Shared {
            config,
            ports: watch::Sender::new(MediaPorts::default()),
            services: watch::Sender::new(rows.to_vec()),
            open: Mutex::default(),
            impairment: Mutex::new(config.impair),
            reflectors: Arc::new(Mutex::new(ReflectorSource::default())),
            questions: Arc::new(Questions::new()),
        });
        let mut services = shared.services.subscribe();
        let tasks = KINDS.map(|kind| tokio::spawn(serve(Arc::clone(&shared), kind)).abort_handle()).to_vec();
        let started = |rows: &Vec<ServiceInfo>| rows.iter().all(|row| row.state != ServiceState::Starting);
        // The sender lives in `shared`, so this cannot fail.
        let _ = services.wait_for(started).await;
        Self { owner: Arc::new(Owner { shared, tasks }) }
    }

    /// What is bound now.
    pub fn ports(&self) -> watch::Receiver<MediaPorts> {
        self.owner.shared.ports.subscribe()
    }

    /// The rows `video` and `audio`.
    pub fn services(&self) -> watch::Receiver<Vec<ServiceInfo>> {
        self.owner.shared.services.subscribe()
    }

    pub fn set_reflectors(&self, source: ReflectorSource) {
        *lock(&self.owner.shared.reflectors) = source;
    }

    /// Asks the media socket at `to` from this node's socket for that kind of call. False when the question could not
    /// leave. The answer, if one comes, goes to the one listener that [`Media::answers`] has made.
    pub fn ask(&self, kind: CallKind, to: SocketAddr, tag: u64, probe: Option<Probe>) -> bool {
        let shared = &self.owner.shared;
        let open = lock(&shared.open)[index(kind)].clone();
        let Some(port) = open.filter(|port| port.carries(to.ip())) else { return false };
        port.send(&shared.questions.request(tag, probe), to);
        true
    }

    /// Answers to [`Media::ask`] from now on.
    pub fn answers(&self) -> mpsc::Receiver<Answer> {
        self.owner.shared.questions.listen()
    }

    /// Makes the network at both sockets worse, or as it is again.
    pub fn set_impairment(&self, impairment: Option<Impairment>) {
        let shared = &self.owner.shared;
        *lock(&shared.impairment) = impairment;
        for port in lock(&shared.open).iter().flatten() {
            port.set_impairment(impairment);
        }
    }

    /// Datagrams that belonged to no session and were dropped.
    pub fn junk(&self) -> u64 {
        lock(&self.owner.shared.open).iter().flatten().map(|port| port.junk()).sum()
    }

    /// Makes a certificate and ICE credentials and gathers candidates; sends nothing to the peer yet.
    #[allow(clippy::unused_async, reason = "making the key may move to a thread")]
    pub async fn open(&self, spec: SessionSpec) -> Result<Session, Failure> {
        let encoder = match spec.encoder {
            EncoderChoice::Auto => self.owner.shared.config.encoder,
            chosen => chosen,
        };
        let codecs = pipeline::threads(spec.hub.clone(), encoder);
        self.open_with(spec, codecs)
    }

    /// The same with codecs of one's own.
    pub(super) fn open_with(&self, spec: SessionSpec, codecs: MakeCodecs) -> Result<Session, Failure> {
        let shared = &self.owner.shared;
        let kind = spec.kind;
        let Some(port) = lock(&shared.open)[index(kind)].clone() else {
            let rows = shared.services.borrow();
            let row = rows.iter().find(|row| row.name == name(kind));
            let (error, advice) = row.map_or_else(Default::default, |row| (row.error.clone(), row.suggestion.clone()));
            let message = format!("The {} port is not open: {error}.", name(kind));
            return Err(Failure::new(FailureKind::Internal, message).advise(advice));
        };
        let ask = Arc::clone(&lock(&shared.reflectors).ask);
        let reflectors: Vec<SocketAddr> = ask()
            .into_iter()
            .map(|reflector| SocketAddr::new(reflector.ip.to_canonical(), reflector.ports.of(kind)))
            .filter(|address| address.port() != 0 && port.carries(address.ip()))
            .take(MAX_REFLECTORS)
            .collect();
        Session::open(spec, &port, reflectors, codecs)
    }
}

fn wanted(config: &MediaConfig, kind: CallKind) -> u16 {
    match kind {
        CallKind::Video => config.video_port,
        CallKind::Voice => config.audio_port,
    }
}

fn row(kind: CallKind, wanted_port: u16, state: ServiceState) -> ServiceInfo {
    ServiceInfo {
        name: name(kind).to_owned(),
        state,
        port: 0,
        wanted_port,
        since_unix_ms: unix_ms(),
        error: String::new(),
        next_try_s: 0,
        suggestion: String::new(),
    }
}

impl Shared {
    fn publish(&self, kind: CallKind, port: Option<Arc<Port>>, row: ServiceInfo) {
        let number = row.port;
        lock(&self.open)[index(kind)] = port;
        self.ports.send_modify(|ports| match kind {
            CallKind::Video => ports.video = number,
            CallKind::Voice => ports.audio = number,
        });
        self.services.send_modify(|rows| rows[index(kind)] = row);
    }

    fn bind(&self, kind: CallKind) -> io::Result<Arc<Port>> {
        let socket = socket::open(self.config.bind, wanted(&self.config, kind))?;
        let port =
            Port::new(socket, *lock(&self.impairment), Arc::clone(&self.reflectors), Arc::clone(&self.questions))?;
        Ok(Arc::new(port))
    }
}

/// Keeps one socket open for as long as the engine lives.
async fn serve(shared: Arc<Shared>, kind: CallKind) {
    let wanted = wanted(&shared.config, kind);
    let mut retry = FIRST_RETRY;
    loop {
        let error = match shared.bind(kind) {
            Ok(port) => {
                let number = port.local().port();
                tracing::info!(service = name(kind), port = number, "listening");
                let listening = ServiceInfo { port: number, ..row(kind, wanted, ServiceState::Listening) };
                shared.publish(kind, Some(Arc::clone(&port)), listening);
                retry = FIRST_RETRY;
                port.receive().await
            }
            Err(error) => error,
        };
        let failed = ServiceInfo {
            error: describe(&error, wanted),
            next_try_s: u32::try_from(retry.as_secs()).unwrap_or(u32::MAX),
            suggestion: suggest(&error, shared.config.bind, kind, wanted),
            ..row(kind, wanted, ServiceState::Failed)
        };
        tracing::warn!(service = name(kind), error = failed.error, suggestion = failed.suggestion, "not listening");
        shared.publish(kind, None, failed);
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

fn describe(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("UDP port {port} is used by another program"),
        io::ErrorKind::PermissionDenied => format!("opening UDP port {port} is not permitted"),
        io::ErrorKind::AddrNotAvailable => "the address to bind to is not one of this machine".to_owned(),
        _ => format!("UDP port {port} could not be opened: {error}"),
    }
}

fn suggest(error: &io::Error, bind: Option<IpAddr>, kind: CallKind, wanted: u16) -> String {
    let option = match kind {
        CallKind::Video => "--video-port",
        CallKind::Voice => "--audio-port",
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return String::new();
    }
    let others = (1..=SUGGEST_WITHIN).filter_map(|step| wanted.checked_add(step));
    // The other media socket wants its port too.
    let mut free =
        others.filter(|port| ![9996, 9998, 9999].contains(port)).filter(|port| socket::open(bind, *port).is_ok());
    free.next().map_or_else(String::new, |port| format!("port {port} is free: start kithd with {option} {port}"))
}
