//! What is to be had from here, in this node's shares and in the copies it keeps: notes how that stands, tells the DHT, and
//! has those visited whom it concerns.

use kith_common::file::{FileHash, ShareScope, ShareState};
use kith_store::ShareRow;

use super::Task;
use crate::files::check::provider_key;
use crate::files::ports::Network;
use crate::net::MAX_PROVIDED;

impl<N: Network> Task<N> {
    /// What was shared before this start.
    pub(super) async fn load_shares(&mut self) {
        let most = u32::try_from(MAX_PROVIDED).unwrap_or(u32::MAX);
        match self.context.db.read(move |store| store.public_shares(most)).await {
            Ok(public) => {
                // The newest are told first, and so they come last.
                for hash in self.keeper.whole().chain(public.into_iter().rev()).collect::<Vec<_>>() {
                    self.provide(hash).await;
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up what is shared"),
        }
        self.visits.look(&self.context.db).await;
    }

    pub(super) async fn share_changed(&mut self, hash: FileHash) {
        self.dirty = true;
        self.revision += 1;
        let looking = self.context.db.read(move |store| {
            let unwanted = !store.unwanted_copies()?.is_empty();
            Ok((store.count_shares()?, store.share(hash)?, unwanted))
        });
        match looking.await {
            Ok((shares, share, unwanted)) => {
                self.shares = shares;
                // What is for nobody in particular is no reason to visit anybody.
                let concerns = |share: &ShareRow| !share.peers.is_empty() || !share.copies.is_empty();
                let visits = unwanted || share.as_ref().is_some_and(concerns);
                let public =
                    |share: &ShareRow| share.scope == ShareScope::Anyone && share.state == ShareState::Available;
                if share.is_some_and(|share| public(&share)) {
                    self.provide(hash).await;
                } else {
                    self.stop_providing(hash).await;
                }
                if visits {
                    self.visits.look(&self.context.db).await;
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up what is shared"),
        }
    }

    pub(super) async fn provide(&mut self, hash: FileHash) {
        if self.provided.insert(hash) {
            self.context.net.provide(provider_key(hash)).await;
        }
    }

    pub(super) async fn stop_providing(&mut self, hash: FileHash) {
        if self.provided.remove(&hash) {
            self.context.net.stop_providing(provider_key(hash)).await;
        }
    }

    pub(super) async fn stands(&mut self, share: FileHash, state: ShareState) {
        let noting = self.context.db.write(move |store| {
            let other = store.share(share)?.is_some_and(|share| share.state != state);
            if other {
                store.set_share_state(share, state)?;
            }
            Ok(other)
        });
        match noting.await {
            Ok(true) => {
                tracing::info!(%share, ?state, "a shared file is another than it was");
                self.serving.library.forget_open();
                self.share_changed(share).await;
            }
            Ok(false) => {}
            Err(failure) => tracing::warn!(%failure, "that a shared file has changed was not noted"),
        }
    }

    /// A copy that is kept here cannot be read.
    pub(super) async fn lost(&mut self, id: FileHash) {
        self.dirty = true;
        self.keeper.handle_lost(id).await;
        self.stop_providing(id).await;
        self.serving.library.forget_open();
    }
}
