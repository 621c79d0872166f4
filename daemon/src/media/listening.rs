//! The two media sockets as services: one task each does what [`kith_core::listener`] decides.
//!
//! A socket that is stopped or moved takes no new sessions and is closed when its last session has ended, so a call is
//! not cut by what becomes of the listener it was opened on. Who stops a service may end its calls; that is `calls`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use kith_common::call::CallKind;
use kith_core::listener::{Action, Listener, Order, Refusal, Status, Why};
use tokio::sync::{mpsc, oneshot, watch};

use super::ask::Questions;
use super::params::{Impairment, MediaConfig, MediaListeners, MediaPorts, ReflectorSource, service_name};
use super::socket::{self, Lease, Port};
use crate::net::Transport;
use crate::net::ports::{self, PortError};

/// Orders that wait for the task of a socket; they come one at a time from whoever keeps the services.
pub const ORDERS: usize = 8;
/// Sockets that have failed and are not dealt with yet: the one in use, and those that were replaced.
const LOSSES: usize = 8;

/// What a person asks of a socket, and where to say how it stands then.
pub type Ordered = (Order, oneshot::Sender<Status>);

/// The sockets of one kind of call.
#[derive(Default)]
pub struct Sockets {
    /// The one that new sessions are opened on.
    open: Option<Lease>,
    /// Those that were stopped or moved; some still have sessions.
    retired: Vec<Weak<Port>>,
}

impl Sockets {
    pub fn open(&self) -> Option<Lease> {
        self.open.clone()
    }

    pub fn all(&self) -> impl Iterator<Item = Arc<Port>> {
        let open = self.open.iter().map(|lease| Arc::clone(lease.port()));
        open.chain(self.retired.iter().filter_map(Weak::upgrade))
    }

    fn retire(&mut self) {
        self.retired.retain(|port| port.strong_count() > 0);
        if let Some(lease) = self.open.take() {
            self.retired.push(Arc::downgrade(lease.port()));
        }
    }

    /// A retired socket of that port, if sessions have kept it open.
    fn take_back(&self, port: u16) -> Option<Lease> {
        let mut kept = self.retired.iter().filter_map(Weak::upgrade);
        kept.find(|kept| kept.local().port() == port).and_then(|kept| Lease::of(&kept))
    }
}

/// What the tasks and the handles share.
pub struct Shared {
    pub config: MediaConfig,
    pub ports: watch::Sender<MediaPorts>,
    pub listeners: watch::Sender<MediaListeners>,
    pub sockets: Mutex<[Sockets; 2]>,
    pub impairment: Mutex<Option<Impairment>>,
    pub reflectors: Arc<Mutex<ReflectorSource>>,
    pub questions: Arc<Questions>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is replaced whole, so a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn index(kind: CallKind) -> usize {
    match kind {
        CallKind::Video => 0,
        CallKind::Voice => 1,
    }
}

pub fn listener(config: &MediaConfig, kind: CallKind, now: Instant) -> Listener {
    let (port, begin) = match kind {
        CallKind::Video => (config.video_port, config.video),
        CallKind::Voice => (config.audio_port, config.audio),
    };
    Listener::new(port, begin, config.taken_port, now)
}

/// Keeps one socket as it is wanted, for as long as the engine lives.
pub async fn serve(shared: Arc<Shared>, kind: CallKind, mut orders: mpsc::Receiver<Ordered>) {
    let (lost, mut losses) = mpsc::channel(LOSSES);
    let mut server = Server { listener: listener(&shared.config, kind, Instant::now()), shared, kind, lost };
    server.act().await;
    loop {
        let retry = server.listener.poll_timeout();
        tokio::select! {
            Some((order, reply)) = orders.recv() => {
                server.listener.handle_order(order, Instant::now());
                server.act().await;
                // Whoever asked may have gone.
                let _ = reply.send(server.listener.status().clone());
            }
            Some((port, error)) = losses.recv() => server.lost(&port, &error).await,
            () = sleep_until(retry) => {
                server.listener.handle_timeout(Instant::now());
                server.act().await;
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

struct Server {
    listener: Listener,
    shared: Arc<Shared>,
    kind: CallKind,
    lost: mpsc::Sender<(Arc<Port>, io::Error)>,
}

impl Server {
    async fn act(&mut self) {
        while let Some(action) = self.listener.poll_action() {
            match action {
                Action::Close => lock(&self.shared.sockets)[index(self.kind)].retire(),
                Action::Bind { port } => match self.bind(port).await {
                    Ok(lease) => {
                        let port = lease.port().local().port();
                        tracing::info!(service = service_name(self.kind), port, "listening");
                        lock(&self.shared.sockets)[index(self.kind)].open = Some(lease);
                        self.listener.handle_bound(port, Instant::now());
                    }
                    Err(refusal) => self.listener.handle_refused(refusal, Instant::now()),
                },
            }
        }
        self.publish();
    }

    async fn bind(&self, wanted: u16) -> Result<Lease, Refusal> {
        let back = lock(&self.shared.sockets)[index(self.kind)].take_back(wanted);
        if let Some(lease) = back {
            return Ok(lease);
        }
        let shared = &self.shared;
        let bind = shared.config.bind;
        let opened = socket::open(bind, wanted).and_then(|socket| {
            let (reflectors, questions) = (Arc::clone(&shared.reflectors), Arc::clone(&shared.questions));
            Port::new(socket, *lock(&shared.impairment), reflectors, questions)
        });
        match opened {
            Ok(port) => {
                let lease = Lease::first(port);
                let (port, lost) = (Arc::clone(lease.port()), self.lost.clone());
                tokio::spawn(async move {
                    if let Some(error) = port.serve().await {
                        let _ = lost.send((port, error)).await;
                    }
                });
                Ok(lease)
            }
            Err(error) => Err(explain(bind, wanted, self.kind, error).await),
        }
    }

    async fn lost(&mut self, port: &Arc<Port>, error: &io::Error) {
        let current = lock(&self.shared.sockets)[index(self.kind)].open();
        if current.is_some_and(|lease| Arc::ptr_eq(lease.port(), port)) {
            self.listener.handle_lost(&error.to_string(), Instant::now());
            self.act().await;
        }
    }

    fn publish(&self) {
        let new = self.listener.status();
        self.shared.ports.send_if_modified(|ports| {
            let port = match self.kind {
                CallKind::Video => &mut ports.video,
                CallKind::Voice => &mut ports.audio,
            };
            std::mem::replace(port, new.port) != new.port
        });
        self.shared.listeners.send_if_modified(|listeners| {
            let row = listeners.of_mut(self.kind);
            if !new.error.is_empty() && new.error != row.error {
                let (service, error, suggestion) = (service_name(self.kind), &new.error, &new.suggestion);
                tracing::warn!(service, error, suggestion, "not listening");
            }
            let changed = row != new;
            row.clone_from(new);
            changed
        });
    }
}

/// Who has the port, and what else is free: a look at many files, so not on a thread that carries calls.
async fn explain(bind: Option<IpAddr>, port: u16, kind: CallKind, error: io::Error) -> Refusal {
    let unexplained =
        Refusal { why: Why::Other, error: format!("could not open port {port}: {error}"), suggestion: String::new() };
    let look = move || {
        let address = SocketAddr::new(bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
        let error = PortError::explain(address, Transport::Udp, error);
        error.refusal(service_name(kind), &ports::binds(bind), &[Transport::Udp])
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(unexplained)
}
