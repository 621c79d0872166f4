//! One client's connection: what it has open, and its end.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use capnp::Error;
use futures::FutureExt;
use kith_common::call::Medium;
use kith_common::ids::CallId;
use kith_common::rpc::{self, Pool, Side};
use kith_common::{kith_capnp::kith, types_capnp::handle};
use tokio::net::UnixStream;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, spawn_local};
use tokio_util::sync::CancellationToken;

use super::Daemon;
use super::node::KithServer;

/// Subscriptions and sinks of one client. A window with a call needs five.
const MAX_SUBSCRIPTIONS: usize = 128;
/// Contents that a client reads or writes at once; each holds a buffer or two and a file.
const MAX_STREAMS: usize = 8;
/// A connection that has not said anything sensible by then gives its place to others.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// Takeovers that a client's observers have not been told yet.
const TAKEN_QUEUE: usize = 16;

/// What the objects of one connection share.
pub struct Connection {
    pub daemon: Daemon,
    /// Sources of this client that another client has taken over.
    pub taken: broadcast::Sender<(CallId, Medium)>,
    greeted: CancellationToken,
    open: Rc<Cell<usize>>,
    streams: Rc<Cell<usize>>,
}

impl Connection {
    fn new(daemon: Daemon) -> Rc<Self> {
        let (taken, _) = broadcast::channel(TAKEN_QUEUE);
        Rc::new(Self { daemon, taken, greeted: CancellationToken::new(), open: Rc::default(), streams: Rc::default() })
    }

    /// The client speaks our language.
    pub fn greet(&self) {
        self.greeted.cancel();
    }

    /// For content that is read or written, as long as it is held.
    pub fn stream(&self) -> capnp::Result<Place> {
        if self.streams.get() >= MAX_STREAMS {
            return Err(Error::overloaded(format!("a client may read and write {MAX_STREAMS} contents at once")));
        }
        self.streams.set(self.streams.get() + 1);
        Ok(Place(Rc::clone(&self.streams)))
    }

    /// Runs `task` for the client until it ends or the client drops the handle.
    pub fn subscribe(
        &self,
        what: &'static str,
        task: impl Future<Output = capnp::Result<()>> + 'static,
    ) -> capnp::Result<handle::Client> {
        Ok(capnp_rpc::new_client(self.run(what, task)?))
    }

    /// The same, as something that the caller keeps.
    pub fn run(
        &self,
        what: &'static str,
        task: impl Future<Output = capnp::Result<()>> + 'static,
    ) -> capnp::Result<Subscription> {
        if self.open.get() >= MAX_SUBSCRIPTIONS {
            return Err(Error::overloaded(format!(
                "a client may have {MAX_SUBSCRIPTIONS} subscriptions and sinks open"
            )));
        }
        self.open.set(self.open.get() + 1);
        let task = spawn_local(async move {
            match task.await {
                Err(error) if error.kind == capnp::ErrorKind::Overloaded => tracing::warn!(what, %error, "gave up"),
                Err(error) => tracing::debug!(what, %error, "ended"),
                Ok(()) => {}
            }
        });
        Ok(Subscription { task: task.abort_handle(), open: Rc::clone(&self.open) })
    }
}

/// Something that goes on for a client. Dropping it ends that.
pub struct Subscription {
    task: AbortHandle,
    open: Rc<Cell<usize>>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
        self.open.set(self.open.get() - 1);
    }
}

impl handle::Server for Subscription {}

/// One of a number that is limited.
pub struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves a client until it goes away.
pub async fn serve(stream: UnixStream, daemon: Daemon, pool: &Rc<Pool>) {
    let connection = Connection::new(daemon);
    let greeted = connection.greeted.clone();
    let bootstrap: kith::Client = capnp_rpc::new_client(KithServer(connection));
    run(stream, bootstrap.client, greeted, pool).await;
}

/// Runs a connection to its end, which is also the end of everything that the client held.
pub(super) async fn run(
    stream: UnixStream,
    bootstrap: capnp::capability::Client,
    greeted: CancellationToken,
    pool: &Rc<Pool>,
) {
    let (system, lost) = rpc::system(stream, Side::Server, Some(bootstrap), rpc::Limits::default(), pool);
    let disconnect = system.get_disconnector();
    // A panic in a method ends this connection and no other.
    let system = AssertUnwindSafe(system).catch_unwind();
    let too_late = async {
        if tokio::time::timeout(GREETING_DEADLINE, greeted.cancelled()).await.is_err() {
            return;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = system => match ended {
            Ok(Ok(())) => tracing::debug!("a client has gone"),
            Ok(Err(error)) => tracing::info!(%error, "a client's connection was ended"),
            Err(_) => tracing::error!("a method failed badly; its client was disconnected"),
        },
        () = too_late => tracing::info!("a client that said nothing was disconnected"),
    }
    lost.cancel();
    // Without this the objects that the client held would keep each other alive.
    if let Err(error) = disconnect.await {
        tracing::debug!(%error, "while disconnecting a client");
    }
}
