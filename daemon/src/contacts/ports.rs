//! What contacts need of the network, as a trait, so that tests can stand in for it.

use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::{Identity, PeerInfo};
use kith_common::target::Target;
use tokio::sync::watch;

use crate::net::{Net, Stream};

pub(super) trait Network: Clone + Send + Sync + 'static {
    fn peer_id(&self) -> PeerId;
    /// What this node calls itself, and its addresses: a new one means that the network is back, or another.
    fn identity(&self) -> watch::Receiver<Arc<Identity>>;
    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>>;
    fn connect(&self, target: Target) -> impl Future<Output = Result<PeerId, Failure>> + Send;
    fn open_contact(&self, peer: PeerId) -> impl Future<Output = Result<Stream, Failure>> + Send;
}

impl Network for Net {
    fn peer_id(&self) -> PeerId {
        Net::peer_id(self)
    }

    fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        Net::identity(self)
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        Net::peers(self)
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        Net::connect(self, &target).await
    }

    async fn open_contact(&self, peer: PeerId) -> Result<Stream, Failure> {
        Net::open_contact(self, peer).await
    }
}
