//! The bootstrap object, the node and its peers.

use std::rc::Rc;

use kith_common::call::CallState;
use kith_common::convert::{text, write_failure, write_identity, write_outcome, write_peer, write_peers, write_status};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::kith_capnp::{kith, node};
use kith_common::node::{NodeStatus, PeerInfo, PeerStatus};
use kith_common::peer_capnp::peers;
use kith_common::rpc::MAX_MESSAGE_BYTES;
use kith_common::target::Target;

use super::call::CallsServer;
use super::chat::ChatServer;
use super::connection::Connection;
use super::contacts::ContactsServer;
use super::diagnostics::DiagnosticsServer;
use super::files::FilesServer;
use super::services::ServicesServer;
use super::watch;

/// Raised only when a meaning changes.
const PROTOCOL: u32 = 1;
/// What a client may ask for by name.
const FEATURES: [&str; 5] = ["calls", "services", "contacts", "chat", "files"];
/// What a client calls itself is shown in the log.
const MAX_NAME_CHARS: usize = 64;
/// Rows of the peer list that fit a message with room to spare; connected peers come first.
pub(super) const MAX_PEERS: usize = 2000;

/// What a client meets first.
pub struct KithServer(pub Rc<Connection>);

impl kith::Server for KithServer {
    async fn hello(self: Rc<Self>, params: kith::HelloParams, mut results: kith::HelloResults) -> capnp::Result<()> {
        let client = params.get()?.get_client()?;
        let short = |name: String| name.chars().take(MAX_NAME_CHARS).collect::<String>();
        let (name, version) = (short(text(client.get_name()?)?), short(text(client.get_version()?)?));
        tracing::debug!(%name, %version, "a client says hello");
        self.0.greet();
        let mut server = results.get().init_server();
        server.set_version(env!("CARGO_PKG_VERSION"));
        server.set_protocol(PROTOCOL);
        server.set_max_message_bytes(MAX_MESSAGE_BYTES as u64);
        let mut features = server.init_features(FEATURES.len() as u32);
        for (index, feature) in (0..).zip(FEATURES) {
            features.set(index, feature);
        }
        Ok(())
    }

    async fn node(self: Rc<Self>, _: kith::NodeParams, mut results: kith::NodeResults) -> capnp::Result<()> {
        self.0.greet();
        results.get().set_node(capnp_rpc::new_client(NodeServer(Rc::clone(&self.0))));
        Ok(())
    }
}

struct NodeServer(Rc<Connection>);

impl node::Server for NodeServer {
    async fn identity(
        self: Rc<Self>,
        _: node::IdentityParams,
        mut results: node::IdentityResults,
    ) -> capnp::Result<()> {
        let identity = self.0.daemon.net.identity().borrow().clone();
        write_identity(&identity, results.get().init_identity());
        Ok(())
    }

    async fn status(self: Rc<Self>, _: node::StatusParams, mut results: node::StatusResults) -> capnp::Result<()> {
        write_status(&status(&self.0), results.get().init_status());
        Ok(())
    }

    async fn peers(self: Rc<Self>, _: node::PeersParams, mut results: node::PeersResults) -> capnp::Result<()> {
        results.get().set_peers(capnp_rpc::new_client(PeersServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn calls(self: Rc<Self>, _: node::CallsParams, mut results: node::CallsResults) -> capnp::Result<()> {
        results.get().set_calls(capnp_rpc::new_client(CallsServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn services(
        self: Rc<Self>,
        _: node::ServicesParams,
        mut results: node::ServicesResults,
    ) -> capnp::Result<()> {
        results.get().set_services(capnp_rpc::new_client(ServicesServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn diagnostics(
        self: Rc<Self>,
        _: node::DiagnosticsParams,
        mut results: node::DiagnosticsResults,
    ) -> capnp::Result<()> {
        results.get().set_diagnostics(capnp_rpc::new_client(DiagnosticsServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn contacts(
        self: Rc<Self>,
        _: node::ContactsParams,
        mut results: node::ContactsResults,
    ) -> capnp::Result<()> {
        results.get().set_contacts(capnp_rpc::new_client(ContactsServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn chat(self: Rc<Self>, _: node::ChatParams, mut results: node::ChatResults) -> capnp::Result<()> {
        results.get().set_chat(capnp_rpc::new_client(ChatServer(Rc::clone(&self.0))));
        Ok(())
    }

    async fn files(self: Rc<Self>, _: node::FilesParams, mut results: node::FilesResults) -> capnp::Result<()> {
        results.get().set_files(capnp_rpc::new_client(FilesServer(Rc::clone(&self.0))));
        Ok(())
    }
}

pub(super) fn status(connection: &Connection) -> NodeStatus {
    let daemon = &connection.daemon;
    NodeStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: daemon.started.elapsed().as_secs(),
        process_id: std::process::id(),
        services: daemon.services.rows().borrow().to_vec(),
        peers_connected: daemon.net.peers().borrow().iter().map(|peer| u32::from(peer.connected)).sum(),
    }
}

struct PeersServer(Rc<Connection>);

impl peers::Server for PeersServer {
    async fn list(self: Rc<Self>, _: peers::ListParams, mut results: peers::ListResults) -> capnp::Result<()> {
        let peers = self.0.daemon.net.peers().borrow().clone();
        let peers = &peers[..peers.len().min(MAX_PEERS)];
        write_peers(peers, results.get().init_peers(peers.len() as u32));
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: peers::WatchParams, mut results: peers::WatchResults) -> capnp::Result<()> {
        let watching = watch::peers(self.0.daemon.net.peers(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("peers", watching)?);
        Ok(())
    }

    async fn connect(
        self: Rc<Self>,
        params: peers::ConnectParams,
        mut results: peers::ConnectResults,
    ) -> capnp::Result<()> {
        let connected = match target(&self.0, params.get()?.get_target()?) {
            Ok(target) => self.0.daemon.net.connect(&target).await,
            Err(failure) => Err(failure),
        };
        let outcome = results.get().init_outcome();
        match connected {
            Ok(peer) => write_peer(&row(&self.0, peer), outcome.init_connected()),
            Err(failure) => write_failure(&failure, outcome.init_failed()),
        }
        Ok(())
    }

    async fn disconnect(
        self: Rc<Self>,
        params: peers::DisconnectParams,
        mut results: peers::DisconnectResults,
    ) -> capnp::Result<()> {
        let disconnected = match target(&self.0, params.get()?.get_target()?) {
            Ok(target) => self.0.daemon.net.disconnect(&target).await,
            Err(failure) => Err(failure),
        };
        write_outcome(disconnected, results.get().init_outcome());
        Ok(())
    }

    async fn block(self: Rc<Self>, params: peers::BlockParams, mut results: peers::BlockResults) -> capnp::Result<()> {
        let blocked = match target(&self.0, params.get()?.get_target()?) {
            Ok(target) => block(&self.0, &target).await,
            Err(failure) => Err(failure),
        };
        write_outcome(blocked, results.get().init_outcome());
        Ok(())
    }

    async fn unblock(
        self: Rc<Self>,
        params: peers::UnblockParams,
        mut results: peers::UnblockResults,
    ) -> capnp::Result<()> {
        let unblocked = match target(&self.0, params.get()?.get_target()?) {
            Ok(target) => self.0.daemon.net.unblock(&target).await.map(drop),
            Err(failure) => Err(failure),
        };
        write_outcome(unblocked, results.get().init_outcome());
        Ok(())
    }
}

/// Calls with a blocked peer end; the network leaves a moment for saying so.
async fn block(connection: &Connection, target: &Target) -> Result<(), Failure> {
    let daemon = &connection.daemon;
    let blocked = daemon.net.block(target).await?;
    for call in daemon.calls.list() {
        if call.peer == Some(blocked)
            && call.state != CallState::Ended
            && let Some(call) = daemon.calls.get(call.id)
        {
            call.hang_up().await;
        }
    }
    Ok(())
}

/// Whom a user means: a contact by its name, or whatever else names a node.
pub(super) fn target(connection: &Connection, text: capnp::text::Reader<'_>) -> Result<Target, Failure> {
    let text = text.to_str().map_err(|error| Failure::new(FailureKind::InvalidArgument, error.to_string()))?;
    connection.daemon.contacts.resolve(text)
}

/// The peer's row; the list may not have it yet.
fn row(connection: &Connection, peer: PeerId) -> PeerInfo {
    let found = connection.daemon.net.peers().borrow().iter().find(|row| row.peer_id == peer).cloned();
    found.unwrap_or_else(|| PeerInfo {
        connected_since_unix_ms: kith_common::clock::unix_ms(),
        last_seen_unix_ms: kith_common::clock::unix_ms(),
        ..PeerInfo::new(peer, PeerStatus::Connected)
    })
}
