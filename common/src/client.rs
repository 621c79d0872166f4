//! The typed client of a daemon: what the window and the command line are built on, in domain types.
//!
//! [`Client::connect`] starts a thread that speaks Cap'n Proto RPC (its objects are not `Send`); everything here is a
//! handle to it that is `Send`, cheap to clone and usable from any runtime or thread. When the daemon goes away every
//! handle fails with [`FailureKind::NoDaemon`], every feed and receiver ends, and a new `Client` reconnects. Dropping
//! the last handle of a thing ends that thing at the daemon, and nothing else: a call goes on without its clients.

mod call;
mod chat;
mod contacts;
mod diagnostics;
mod feed;
mod files;
mod link;
mod log;
mod media;
mod recent;
mod services;

use std::path::Path;
use std::rc::Rc;
use std::sync::Weak;

use tokio::sync::mpsc;

use crate::call::{CallInfo, CallOptions};
use crate::call_capnp::calls_observer;
use crate::convert::write_options;
use crate::convert::{read_call_info, read_failure, read_identity, read_outcome, read_peer, read_peers, read_status};
use crate::failure::{Failure, FailureKind};
use crate::ids::CallId;
use crate::kith_capnp::node;
use crate::node::{Identity, NodeStatus, PeerInfo};
use crate::peer_capnp::{connect_outcome, peers_observer};

pub use call::{CallEvent, ClientCall, Wanted};
pub use feed::Feed;
pub use files::ContentWriter;
pub use media::{AudioReceiver, AudioSender, Gone, VideoReceiver, VideoSender};

use call::outcome;
use feed::{feed, keep};
use link::{Remote, Session, no_daemon};

/// A connection to a daemon. Clones share it; it closes with the last handle that came from it.
#[derive(Clone)]
pub struct Client {
    node: Remote<node::Client>,
}

impl Client {
    /// Connects to the daemon that listens on `socket`. Fails with `NoDaemon` when none does.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        Ok(Self { node: link::connect(socket).await? })
    }

    /// Waits until the daemon has gone.
    pub async fn closed(&self) {
        self.node.session.lost.cancelled().await;
    }

    pub fn is_closed(&self) -> bool {
        self.node.session.lost.is_cancelled()
    }

    pub async fn identity(&self) -> Result<Identity, Failure> {
        let identity = self.node.ask(|node, _| async move {
            let response = node.identity_request().send().promise.await?;
            Ok(read_identity(response.get()?.get_identity()?)?)
        });
        identity.await
    }

    pub async fn status(&self) -> Result<NodeStatus, Failure> {
        let status = self.node.ask(|node, _| async move {
            let response = node.status_request().send().promise.await?;
            Ok(read_status(response.get()?.get_status()?)?)
        });
        status.await
    }

    /// Connected peers first, then the others that are known.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Failure> {
        let peers = self.node.ask(|node, _| async move {
            let peers = node.peers_request().send().pipeline.get_peers();
            let response = peers.list_request().send().promise.await?;
            Ok(read_peers(response.get()?.get_peers()?)?)
        });
        peers.await
    }

    /// The peer list now and after each change; whoever is slow misses lists in between, never the newest.
    pub async fn watch_peers(&self) -> Result<Feed<Vec<PeerInfo>>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.peers_request().send().pipeline.get_peers().watch_request();
            request.get().set_observer(capnp_rpc::new_client(PeersObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// `target` as a user types it: a contact's name, a ticket, a peer id, a multiaddr or an IP address. Dropping the future
    /// cancels.
    pub async fn connect_peer(&self, target: &str) -> Result<PeerInfo, Failure> {
        let target = target.to_owned();
        let connect = self.node.ask(|node, _| async move {
            let mut request = node.peers_request().send().pipeline.get_peers().connect_request();
            request.get().set_target(target);
            let response = request.send().promise.await?;
            match response.get()?.get_outcome()?.which() {
                Ok(connect_outcome::Connected(peer)) => Ok(read_peer(peer?)?),
                Ok(connect_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
                Ok(connect_outcome::Unspecified(())) | Err(_) => {
                    Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
                }
            }
        });
        connect.await
    }

    pub async fn disconnect_peer(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let disconnect = self.node.ask(|node, _| async move {
            let mut request = node.peers_request().send().pipeline.get_peers().disconnect_request();
            request.get().set_target(target);
            outcome!(request)
        });
        disconnect.await
    }

    /// Ends its connections and calls and refuses new ones, also after a restart, until it is unblocked.
    pub async fn block_peer(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let block = self.node.ask(|node, _| async move {
            let mut request = node.peers_request().send().pipeline.get_peers().block_request();
            request.get().set_target(target);
            outcome!(request)
        });
        block.await
    }

    pub async fn unblock_peer(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let unblock = self.node.ask(|node, _| async move {
            let mut request = node.peers_request().send().pipeline.get_peers().unblock_request();
            request.get().set_target(target);
            outcome!(request)
        });
        unblock.await
    }

    /// Calls that are going on and the last few that ended, newest first.
    pub async fn calls(&self) -> Result<Vec<CallInfo>, Failure> {
        let calls = self.node.ask(|node, _| async move {
            let calls = node.calls_request().send().pipeline.get_calls();
            let response = calls.list_request().send().promise.await?;
            Ok(response.get()?.get_calls()?.iter().map(read_call_info).collect::<Result<_, _>>()?)
        });
        calls.await
    }

    /// Each call that is going on, then each new one and each change.
    pub async fn watch_calls(&self) -> Result<Feed<(CallInfo, ClientCall)>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.calls_request().send().pipeline.get_calls().watch_request();
            request.get().set_observer(capnp_rpc::new_client(CallsObserver { reporter, session }));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// Places a call. Returns as soon as the daemon has it; what becomes of it comes through [`ClientCall::watch`].
    pub async fn dial(&self, target: &str, options: CallOptions) -> Result<ClientCall, Failure> {
        let target = target.to_owned();
        let dial = self.node.ask(move |node, session| async move {
            let mut request = node.calls_request().send().pipeline.get_calls().dial_request();
            request.get().set_target(target);
            write_options(&options, request.get().init_options());
            let call = request.send().promise.await?.get()?.get_call()?;
            let info = call::info(&call).await?;
            Ok(ClientCall::host(info.id, call, &session.upgrade().ok_or_else(no_daemon)?))
        });
        dial.await.map_err(|failure| thrown(failure, FailureKind::InvalidArgument))
    }

    /// Fails with `NotFound` when there is no such call.
    pub async fn call(&self, id: CallId) -> Result<ClientCall, Failure> {
        let call = self.node.ask(move |node, session| async move {
            let mut request = node.calls_request().send().pipeline.get_calls().get_request();
            request.get().set_id(id.to_string());
            let call = request.send().promise.await?.get()?.get_call()?;
            Ok(ClientCall::host(id, call, &session.upgrade().ok_or_else(no_daemon)?))
        });
        call.await.map_err(|failure| match failure.kind {
            FailureKind::Internal => Failure { kind: FailureKind::NotFound, ..failure },
            _ => failure,
        })
    }
}

/// Methods that have no outcome throw `failed` for what was refused. A second line says what to try, and a third which kind
/// of failure it is; without one it is `kind`.
fn thrown(failure: Failure, kind: FailureKind) -> Failure {
    if failure.kind != FailureKind::Internal {
        return failure;
    }
    let mut lines = failure.message.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (message, advice, named) = (line(), line(), line());
    Failure::new(FailureKind::from_name(named).unwrap_or(kind), message).advise(advice)
}

struct PeersObserver(mpsc::Sender<Vec<PeerInfo>>);

impl peers_observer::Server for PeersObserver {
    async fn changed(
        self: Rc<Self>,
        params: peers_observer::ChangedParams,
        _: peers_observer::ChangedResults,
    ) -> capnp::Result<()> {
        let peers = read_peers(params.get()?.get_peers()?)?;
        self.0.send(peers).await.map_err(|_| capnp::Error::disconnected("nobody follows the peers any more".into()))
    }
}

struct CallsObserver {
    reporter: mpsc::Sender<(CallInfo, ClientCall)>,
    session: Weak<Session>,
}

impl calls_observer::Server for CallsObserver {
    async fn call(
        self: Rc<Self>,
        params: calls_observer::CallParams,
        _: calls_observer::CallResults,
    ) -> capnp::Result<()> {
        let gone = || capnp::Error::disconnected("nobody follows the calls any more".into());
        let params = params.get()?;
        let info = read_call_info(params.get_info()?)?;
        let call = ClientCall::host(info.id, params.get_call()?, &self.session.upgrade().ok_or_else(gone)?);
        self.reporter.send((info, call)).await.map_err(|_| gone())
    }
}
