//! Messages between this node and others: keeps what is said here, carries it to those it is for, and takes what they say.
//!
//! Everything is on the disk (`kith-store`) before anybody is told that it is. What to send next, to whom a stream is
//! opened and which entries are taken is decided by [`kith_core::chat`]; one task here owns the streams, one for each
//! peer that is a contact or in a group with us, and each goes on from what both ends have. Used by `rpc` and `node`.
//! It never decides who is a contact (that is `contacts`), and never touches libp2p (that is `net`).

mod check;
mod handle;
mod ledger;
mod link;
mod ports;
mod seal;
mod session;
mod task;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use kith_common::contact::People;
use kith_common::ids::PeerId;
use kith_core::listener::Begin;
use kith_store::Database;
use tokio::sync::{mpsc, watch};

use crate::net::Stream;

pub use handle::Chat;
pub use seal::Seal;
pub use wire::SealFrame;

/// What chat is started with, beside the network.
pub struct ChatParts {
    pub db: Database,
    /// Who is a contact, and by which name.
    pub people: watch::Receiver<Arc<People>>,
    /// Streams that peers open; `None`: no peer does.
    pub incoming: Option<mpsc::Receiver<(PeerId, Stream)>>,
    /// Whether the service runs. While it does not, peers hear so, and what is said here waits.
    pub service: watch::Receiver<Begin>,
    /// Who deals with messages that others hold; `None`: nobody, and peers hear of no keys.
    pub sealer: Option<Arc<dyn Sealer>>,
}

/// Deals with sealed messages. Chat carries its frames and does not look into them. All calls return at once.
pub trait Sealer: Send + Sync + 'static {
    /// For our hello; empty: none.
    fn identity_key(&self) -> Vec<u8>;
    /// A contact has a stream with us and has said this key. What is put into `outlet` is said to it, until the stream
    /// ends or another takes its place.
    fn linked(&self, peer: PeerId, identity_key: &[u8], outlet: mpsc::Sender<SealFrame>);
    /// A contact has said this.
    fn arrived(&self, peer: PeerId, frame: SealFrame);
}
