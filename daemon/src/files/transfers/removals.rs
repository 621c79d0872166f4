//! What is left of transfers that go on no more, and is removed. Nothing of the same content begins before it is gone, since
//! it is not its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kith_common::file::FileHash;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::files::fetch::{self, Live};
use crate::files::library::Places;

struct Doomed {
    hash: FileHash,
    folder: PathBuf,
    /// The task of the transfer, which still ends.
    ending: Option<watch::Receiver<Live>>,
}

/// By the numbers of the transfers.
#[derive(Default)]
pub(super) struct Removals {
    doomed: BTreeMap<u32, Doomed>,
    tasks: JoinSet<u32>,
}

impl Removals {
    /// Something of that content is there still.
    pub fn has_left(&self, hash: FileHash) -> bool {
        self.doomed.values().any(|doomed| doomed.hash == hash)
    }

    /// For tasks that still end.
    pub fn are_waiting(&self) -> bool {
        self.doomed.values().any(|doomed| doomed.ending.is_some())
    }

    /// The one whose task has gone without a word.
    pub fn gone(&self) -> Option<u32> {
        let is_gone = |doomed: &Doomed| doomed.ending.as_ref().is_some_and(|live| live.has_changed().is_err());
        self.doomed.iter().find(|(_, doomed)| is_gone(doomed)).map(|(id, _)| *id)
    }

    /// Removes all that is there of the content, once that task has ended: see [`Self::task_ended`].
    pub fn discard_after(&mut self, id: u32, hash: FileHash, folder: PathBuf, task: watch::Receiver<Live>) {
        self.doomed.insert(id, Doomed { hash, folder, ending: Some(task) });
    }

    /// `true`: the task was of one that goes on no more.
    pub fn task_ended(&mut self, id: u32, places: &Arc<Places>) -> bool {
        let Some(Doomed { hash, folder, .. }) = self.doomed.remove(&id) else { return false };
        self.discard(id, hash, folder, places);
        true
    }

    /// Removes all that is there of the content.
    pub fn discard(&mut self, id: u32, hash: FileHash, folder: PathBuf, places: &Arc<Places>) {
        self.doomed.insert(id, Doomed { hash, folder: folder.clone(), ending: None });
        let places = Arc::clone(places);
        self.tasks.spawn(async move {
            fetch::discard(&places, &folder, hash).await;
            id
        });
    }

    /// Removes what is left beside a content that is whole.
    pub fn forget(&mut self, id: u32, hash: FileHash, folder: PathBuf, partial: FileHash) {
        self.doomed.insert(id, Doomed { hash, folder: folder.clone(), ending: None });
        self.tasks.spawn(async move {
            fetch::forget(folder, partial).await;
            id
        });
    }

    /// One removal is over; `None`: there is none.
    pub async fn ended(&mut self) -> Option<()> {
        match self.tasks.join_next().await? {
            Ok(id) => _ = self.doomed.remove(&id),
            // Which, is not told: what a removal has left over is in nobody's way.
            Err(error) => {
                tracing::error!(%error, "removing what is left of a transfer has ended in a panic");
                self.doomed.retain(|_, doomed| doomed.ending.is_some());
            }
        }
        Some(())
    }
}
