//! What files need of the network, as a trait, so that tests can stand in for it.

use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::{Identity, PeerInfo};
use kith_common::target::Target;
use tokio::sync::watch;

use crate::net::{FilesStream, Net, ProviderKey};

pub(super) trait Network: Clone + Send + Sync + 'static {
    fn peer_id(&self) -> PeerId;
    /// This node's addresses, for tickets.
    fn identity(&self) -> watch::Receiver<Arc<Identity>>;
    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>>;
    fn connect(&self, target: Target) -> impl Future<Output = Result<PeerId, Failure>> + Send;
    fn open_files(&self, peer: PeerId) -> impl Future<Output = Result<FilesStream, Failure>> + Send;
    fn provide(&self, key: ProviderKey) -> impl Future<Output = ()> + Send;
    fn stop_providing(&self, key: ProviderKey) -> impl Future<Output = ()> + Send;
    fn find_providers(&self, key: ProviderKey) -> impl Future<Output = Vec<PeerId>> + Send;
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

    async fn open_files(&self, peer: PeerId) -> Result<FilesStream, Failure> {
        Net::open_files(self, peer).await
    }

    async fn provide(&self, key: ProviderKey) {
        Net::provide(self, key).await;
    }

    async fn stop_providing(&self, key: ProviderKey) {
        Net::stop_providing(self, key).await;
    }

    async fn find_providers(&self, key: ProviderKey) -> Vec<PeerId> {
        Net::find_providers(self, key).await
    }
}
