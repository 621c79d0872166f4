//! The thread that speaks RPC, and how the rest of the process asks it to do things.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use capnp_rpc::twoparty::VatId;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::convert::text;
use crate::failure::{Failure, FailureKind};
use crate::kith_capnp::{kith, node};
use crate::rpc;

/// What waits for the thread; whoever asks for more waits in turn.
const JOBS: usize = 64;
/// A daemon that listens answers within this, or is stuck.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

pub fn no_daemon() -> Failure {
    Failure::new(FailureKind::NoDaemon, "the connection to the daemon was lost")
        .advise("Start the daemon (kithd) again, or look at its log to see why it stopped.")
}

/// Why a call to the daemon has no result: the call itself failed, or it was refused in words.
pub enum Fault {
    Rpc(capnp::Error),
    Refused(Failure),
}

impl From<capnp::Error> for Fault {
    fn from(error: capnp::Error) -> Self {
        Self::Rpc(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let error = match fault {
            Fault::Refused(failure) => return failure,
            Fault::Rpc(error) => error,
        };
        let reason = error.extra.trim_start_matches("remote exception: ").to_owned();
        match error.kind {
            capnp::ErrorKind::Disconnected => no_daemon(),
            capnp::ErrorKind::Overloaded => {
                Failure::new(FailureKind::Busy, format!("the daemon is too busy: {reason}")).advise("Try again.")
            }
            capnp::ErrorKind::Unimplemented => {
                Failure::new(FailureKind::Unsupported, "the running daemon does not know this action")
                    .advise("It is older than this program: restart it.")
            }
            _ => Failure::new(FailureKind::Internal, reason),
        }
    }
}

/// Keeps the thread running; every handle holds one.
pub struct Session {
    pub lost: CancellationToken,
    _close: DropGuard,
}

/// A capability that lives on the RPC thread.
pub struct Remote<C> {
    jobs: mpsc::Sender<Job<C>>,
    pub session: Arc<Session>,
}

type Job<C> = Box<dyn FnOnce(C, Weak<Session>) + Send>;

impl<C> Clone for Remote<C> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), session: Arc::clone(&self.session) }
    }
}

impl<C: Clone + 'static> Remote<C> {
    /// On the RPC thread: keeps `capability` until the last clone is gone.
    pub fn host(capability: C, session: &Arc<Session>) -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job<C>>(JOBS);
        let weak = Arc::downgrade(session);
        spawn_local(async move {
            while let Some(job) = queue.recv().await {
                job(capability.clone(), weak.clone());
            }
        });
        Self { jobs, session: Arc::clone(session) }
    }

    /// Runs `action` with the capability on the RPC thread. Dropping the future cancels it.
    pub async fn ask<T, A, F>(&self, action: A) -> Result<T, Failure>
    where
        T: Send + 'static,
        A: FnOnce(C, Weak<Session>) -> F + Send + 'static,
        F: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mut reply, answer) = oneshot::channel();
        let job = Box::new(move |capability, session| {
            spawn_local(async move {
                let result = tokio::select! {
                    biased;
                    () = reply.closed() => return,
                    result = action(capability, session) => result,
                };
                // Who asked may have gone in this very moment.
                let _ = reply.send(result);
            });
        });
        self.jobs.send(job).await.map_err(|_| no_daemon())?;
        Ok(answer.await.map_err(|_| no_daemon())??)
    }
}

/// Connects and starts the thread.
pub async fn connect(socket: &Path) -> Result<Remote<node::Client>, Failure> {
    let (reply, answer) = oneshot::channel();
    let socket = socket.to_owned();
    let thread = std::thread::Builder::new().name("kith-rpc-client".into()).spawn(move || run(socket, reply));
    thread.map_err(|error| Failure::new(FailureKind::Internal, format!("could not start a thread: {error}")))?;
    answer.await.map_err(|_| no_daemon())?
}

type Reply = oneshot::Sender<Result<Remote<node::Client>, Failure>>;

fn run(socket: PathBuf, reply: Reply) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("could not start the client's event loop: {error}");
            let _ = reply.send(Err(Failure::new(FailureKind::Internal, message)));
            return;
        }
    };
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, serve(socket, reply));
}

async fn serve(socket: PathBuf, mut reply: Reply) {
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = reply.send(Err(not_connected(&socket, &error)));
            return;
        }
    };
    let pool = rpc::Pool::new();
    let (mut system, lost) = rpc::system(stream, VatId::Client, None, rpc::Limits::default(), &pool);
    let bootstrap: kith::Client = system.bootstrap(VatId::Server);
    let disconnector = system.get_disconnector();
    let ended = lost.clone();
    spawn_local(async move {
        if let Err(error) = system.await {
            tracing::debug!(%error, "the connection to the daemon ended");
        }
        ended.cancel();
    });
    let greeted = tokio::select! {
        () = reply.closed() => return,
        greeted = tokio::time::timeout(HELLO_DEADLINE, greet(bootstrap)) => greeted,
    };
    let node = match greeted {
        Ok(Ok(node)) => node,
        Ok(Err(error)) => {
            let message = format!("the daemon on {} does not speak to this program: {error}", socket.display());
            let _ = reply.send(Err(Failure::new(FailureKind::NoDaemon, message).advise("Restart the daemon.")));
            return;
        }
        Err(_) => {
            let message = format!("the daemon on {} does not answer", socket.display());
            let _ = reply.send(Err(Failure::new(FailureKind::NoDaemon, message).advise("Restart the daemon.")));
            return;
        }
    };
    let closing = CancellationToken::new();
    let session = Arc::new(Session { lost, _close: closing.clone().drop_guard() });
    let remote = Remote::host(node, &session);
    drop(session);
    drop(reply.send(Ok(remote)));
    // Until the last handle is gone; when the daemon goes first, what is asked of it is refused from here.
    closing.cancelled().await;
    if let Err(error) = disconnector.await {
        tracing::debug!(%error, "the daemon was gone before this client");
    }
}

async fn greet(bootstrap: kith::Client) -> capnp::Result<node::Client> {
    let mut hello = bootstrap.hello_request();
    let mut client = hello.get().init_client();
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    client.set_name(program.unwrap_or_default());
    client.set_version(env!("CARGO_PKG_VERSION"));
    // One round trip for both.
    let node = bootstrap.node_request().send().pipeline.get_node();
    let server = hello.send().promise.await?;
    tracing::debug!(version = %text(server.get()?.get_server()?.get_version()?)?, "connected to the daemon");
    Ok(node)
}

fn not_connected(socket: &Path, error: &std::io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            Failure::new(FailureKind::NoDaemon, format!("no daemon is running on {socket}"))
                .advise("Start it with: kithd")
        }
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(FailureKind::NotPermitted, format!("you may not use the daemon on {socket}: {error}"))
                .advise("It belongs to another user of this machine.")
        }
        _ => Failure::new(FailureKind::NoDaemon, format!("could not connect to the daemon on {socket}: {error}")),
    }
}
