//! The media engine: the handle to the two sockets (kept by the tasks in `listening`), and the sessions that are opened on
//! them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Instant;

use kith_common::call::{CallKind, EncoderChoice};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::ServiceState;
use kith_core::listener::{Order, Status};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::ask::{Answer, Probe, Questions};
use super::listening::{self, ORDERS, Ordered, Shared, index, lock};
use super::params::{Impairment, MediaConfig, MediaListeners, MediaPorts, ReflectorSource, SessionSpec, service_name};
use super::pipeline::{self, MakeCodecs};
use super::session::Session;

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
    orders: Vec<mpsc::Sender<Ordered>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Media {
    /// Opens the sockets. Never fails: a taken port is a failed service with a suggestion, retried until it is free.
    pub async fn start(config: MediaConfig) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
        let row = |kind| listening::listener(&config, kind, Instant::now()).status().clone();
        let rows = MediaListeners { video: row(CallKind::Video), audio: row(CallKind::Voice) };
        let shared = Arc::new(Shared {
            config,
            ports: watch::Sender::new(MediaPorts::default()),
            listeners: watch::Sender::new(rows),
            sockets: Mutex::default(),
            impairment: Mutex::new(config.impair),
            reflectors: Arc::new(Mutex::new(ReflectorSource::default())),
            questions: Arc::new(Questions::new()),
        });
        let mut listeners = shared.listeners.subscribe();
        let (mut orders, mut tasks) = (Vec::new(), Vec::new());
        for kind in KINDS {
            let (order, ordered) = mpsc::channel(ORDERS);
            orders.push(order);
            tasks.push(tokio::spawn(listening::serve(Arc::clone(&shared), kind, ordered)).abort_handle());
        }
        let started = |rows: &MediaListeners| KINDS.iter().all(|kind| rows.of(*kind).state != ServiceState::Starting);
        // The sender lives in `shared`, so this cannot fail.
        let _ = listeners.wait_for(started).await;
        Self { owner: Arc::new(Owner { shared, orders, tasks }) }
    }

    /// What is bound now.
    pub fn ports(&self) -> watch::Receiver<MediaPorts> {
        self.owner.shared.ports.subscribe()
    }

    /// How the two sockets stand.
    pub fn listeners(&self) -> watch::Receiver<MediaListeners> {
        self.owner.shared.listeners.subscribe()
    }

    /// Stops, starts or moves a socket; how it stands then. Sessions that are open keep theirs.
    pub async fn order(&self, kind: CallKind, order: Order) -> Result<Status, Failure> {
        let gone = || Failure::new(FailureKind::Internal, "the media sockets have been shut down");
        let (reply, answer) = oneshot::channel();
        self.owner.orders[index(kind)].send((order, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    pub fn set_reflectors(&self, source: ReflectorSource) {
        *lock(&self.owner.shared.reflectors) = source;
    }

    /// Asks the media socket at `to` from this node's socket for that kind of call. False when the question could not
    /// leave. The answer, if one comes, goes to the one listener that [`Media::answers`] has made.
    pub fn ask(&self, kind: CallKind, to: SocketAddr, tag: u64, probe: Option<Probe>) -> bool {
        let shared = &self.owner.shared;
        let open = lock(&shared.sockets)[index(kind)].open();
        let Some(lease) = open.filter(|lease| lease.port().carries(to.ip())) else { return false };
        lease.port().send(&shared.questions.request(tag, probe), to);
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
        for port in lock(&shared.sockets).iter().flat_map(|sockets| sockets.all()) {
            port.set_impairment(impairment);
        }
    }

    /// Datagrams that belonged to no session and were dropped.
    pub fn junk(&self) -> u64 {
        lock(&self.owner.shared.sockets).iter().flat_map(|sockets| sockets.all()).map(|port| port.junk()).sum()
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
        let Some(lease) = lock(&shared.sockets)[index(kind)].open() else {
            // The message goes to the other side too, which need not know what runs on this machine.
            let message = format!("The service {} is not listening.", service_name(kind));
            let advice = shared.listeners.borrow().of(kind).suggestion.clone();
            return Err(Failure::new(FailureKind::Internal, message).advise(advice));
        };
        let ask = Arc::clone(&lock(&shared.reflectors).ask);
        let reflectors: Vec<SocketAddr> = ask()
            .into_iter()
            .map(|reflector| SocketAddr::new(reflector.ip.to_canonical(), reflector.ports.of(kind)))
            .filter(|address| address.port() != 0 && lease.port().carries(address.ip()))
            .take(MAX_REFLECTORS)
            .collect();
        Session::open(spec, lease, reflectors, codecs)
    }
}
