//! Serves the daemon to its clients: the schema's interfaces over a Unix socket, on a thread of its own.
//!
//! capnp-rpc's objects are not `Send`, so one thread with a `LocalSet` runs all connections; `main` starts it. Methods
//! convert, call the handle of an area, and map the error. Nothing here decides anything, blocks, or holds state
//! beyond what a connection's own subscriptions need: a client that goes away leaves nothing behind, and one that is
//! stuck is waited for by its own tasks alone.

mod call;
mod chat;
mod connection;
mod contacts;
mod diagnostics;
mod files;
mod media;
mod node;
#[doc(hidden)]
pub mod rehearsal;
mod room;
mod services;
#[cfg(test)]
mod tests;
mod watch;

use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kith_common::rpc;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::chat::Chat;
use crate::contacts::Contacts;
use crate::diagnostics::Diagnostics;
use crate::files::Files;
use crate::net::Net;
use crate::services::Services;

/// Windows, command lines and scripts of one user; a client needs one connection.
pub const MAX_CONNECTIONS: usize = 64;
/// How long to leave the listener alone when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long the thread may take to end when the daemon does.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

/// What is served.
#[derive(Clone)]
pub struct Daemon {
    pub net: Net,
    pub calls: Calls,
    pub contacts: Contacts,
    pub chat: Chat,
    pub files: Files,
    pub services: Services,
    pub diagnostics: Diagnostics,
    pub started: Instant,
}

/// One question at a time, by the watchdog.
const PULSES: usize = 1;

/// The thread. It runs until `shutdown`, or until this is dropped.
pub struct RpcThread {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
    pulse: Pulse,
}

/// Asks the thread whether it still turns.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

impl Pulse {
    /// Does not return while the thread is stuck.
    pub async fn is_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.is_ok() && answer.await.is_ok()
    }
}

impl RpcThread {
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Closes all connections. The calls go on.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // The sender is dropped with the thread; a thread that hangs must not keep the daemon from ending.
        let _ = tokio::time::timeout(SHUTDOWN_DEADLINE, self.ended).await;
    }
}

/// Starts serving on a listener that only its owner may reach.
pub fn spawn(listener: UnixListener, daemon: Daemon) -> std::io::Result<RpcThread> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::UnixListener::from_std(listener)?
    };
    let stop = CancellationToken::new();
    let (alive, ended) = oneshot::channel();
    let guard = stop.clone().drop_guard();
    let stopped = stop.clone();
    let (pulse, asked) = mpsc::channel(PULSES);
    std::thread::Builder::new().name("kith-rpc".into()).spawn(move || {
        let _alive: (oneshot::Sender<()>, _) = (alive, guard);
        let served = async { tokio::join!(accept(listener, daemon), answer(asked)) };
        LocalSet::new().block_on(&runtime, stopped.run_until_cancelled(served));
    })?;
    Ok(RpcThread { stop, ended, pulse: Pulse(pulse) })
}

async fn answer(mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
    while let Some(reply) = asked.recv().await {
        let _ = reply.send(());
    }
}

async fn accept(listener: tokio::net::UnixListener, daemon: Daemon) {
    let pool = rpc::Pool::new();
    let places = Rc::new(());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if Rc::strong_count(&places) > MAX_CONNECTIONS => {
                tracing::warn!("more than {MAX_CONNECTIONS} clients are connected: the newest is refused");
                drop(stream);
            }
            Ok((stream, _)) if may_use(&stream) => {
                let (place, pool, daemon) = (Rc::clone(&places), Rc::clone(&pool), daemon.clone());
                spawn_local(async move {
                    connection::serve(stream, daemon, &pool).await;
                    drop(place);
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "could not take a client's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The daemon serves its own user, and root, who could become that user anyway.
fn may_use(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == rustix::process::getuid().as_raw() => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused a client of another user");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a client that cannot be identified");
            false
        }
    }
}
