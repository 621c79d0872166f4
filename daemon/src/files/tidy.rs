//! Keeps removing apart from making: what is being hashed or copied is of no share yet, and looks as if nobody needed it.
//!
//! Removing stands in nobody's way. What is to go while something is made goes when the last of that is over, and what was
//! made for a share that never came goes with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_common::file::FileHash;
use tokio::runtime::Handle;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::adding::Desk;
use super::library::blocking;

#[derive(Default)]
pub(super) struct Tidying {
    /// Shared while something is made; had alone, and never waited for, while something is removed.
    apart: Arc<RwLock<()>>,
    /// What nobody needs any more, perhaps.
    to_go: Mutex<Vec<FileHash>>,
}

/// Outboards and copies are being made. Until this is dropped nobody tidies them away; afterwards all that is in no share.
pub(super) struct Making {
    desk: Arc<Desk>,
    made: Mutex<Vec<FileHash>>,
    apart: Option<OwnedRwLockReadGuard<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Making {
    /// There is something on the disk for this content now.
    pub fn note(&self, hash: FileHash) {
        lock(&self.made).push(hash);
    }

    /// All of it is in a share.
    pub fn is_kept(&self) {
        lock(&self.made).clear();
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let made = std::mem::take(&mut *lock(&self.made));
        lock(&self.desk.tidying.to_go).extend(made);
        drop(self.apart.take());
        if lock(&self.desk.tidying.to_go).is_empty() {
            return;
        }
        // Without a runtime the daemon has ended.
        if let Ok(runtime) = Handle::try_current() {
            let desk = Arc::clone(&self.desk);
            runtime.spawn(async move { desk.tidy().await });
        }
    }
}

impl Desk {
    /// Waits for what is being removed at this moment, and for nothing else.
    pub async fn making(self: &Arc<Self>) -> Arc<Making> {
        let apart = Arc::clone(&self.tidying.apart).read_owned().await;
        Arc::new(Making { desk: Arc::clone(self), made: Mutex::default(), apart: Some(apart) })
    }

    /// Removes outboards and own copies that nothing needs any more; while something is made, after that.
    pub async fn tidy_away(&self, hashes: Vec<FileHash>) {
        lock(&self.tidying.to_go).extend(hashes);
        self.tidy().await;
    }

    async fn tidy(&self) {
        loop {
            if lock(&self.tidying.to_go).is_empty() {
                return;
            }
            // Whoever has it looks again at its end.
            let Ok(_alone) = self.tidying.apart.try_write() else { return };
            let hashes = std::mem::take(&mut *lock(&self.tidying.to_go));
            self.remove_unused(hashes).await;
        }
    }

    async fn remove_unused(&self, hashes: Vec<FileHash>) {
        let unused = match self.db.read(move |store| store.unused(&hashes)).await {
            Ok(unused) => unused,
            Err(failure) => return tracing::warn!(%failure, "could not look up what is still needed of files"),
        };
        let places = Arc::clone(&self.places);
        let removing = blocking(move || {
            for hash in unused {
                kith_content::remove_outboard(&places.outboards, hash)?;
                match std::fs::remove_file(kith_content::blob_path(&places.blobs, hash)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        tracing::warn!(%error, "an own copy of a file was not removed");
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        if let Err(error) = removing.await {
            tracing::warn!(%error, "what was kept for a file was not removed");
        }
    }
}
