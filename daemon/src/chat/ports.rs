//! What messages need of the network, as a trait, so that tests can stand in for it.

use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_common::target::Target;
use tokio::sync::watch;

use crate::net::{Net, Stream};

pub(super) trait Network: Clone + Send + Sync + 'static {
    fn peer_id(&self) -> PeerId;
    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>>;
    fn connect(&self, peer: PeerId) -> impl Future<Output = Result<PeerId, Failure>> + Send;
    fn open_chat(&self, peer: PeerId) -> impl Future<Output = Result<Stream, Failure>> + Send;
}

impl Network for Net {
    fn peer_id(&self) -> PeerId {
        Net::peer_id(self)
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        Net::peers(self)
    }

    async fn connect(&self, peer: PeerId) -> Result<PeerId, Failure> {
        Net::connect(self, &Target::Peer(peer)).await
    }

    async fn open_chat(&self, peer: PeerId) -> Result<Stream, Failure> {
        Net::open_chat(self, peer).await
    }
}
