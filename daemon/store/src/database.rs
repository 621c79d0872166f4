use std::path::Path;

use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use tokio::sync::watch;

use crate::{Repair, Result, Store};

/// The database: one thread writes, one reads. Cheap to clone.
#[derive(Clone)]
pub struct Database;

#[allow(clippy::unused_async)]
impl Database {
    /// Opens or makes `kith.db` in the data directory; `Repair` says what was done about a damaged one.
    pub async fn open(data_dir: &Path, own: PeerId) -> Result<(Self, Option<Repair>), Failure> {
        todo!()
    }

    /// For tests.
    pub async fn in_memory(own: PeerId) -> Self {
        todo!()
    }

    pub async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        todo!()
    }

    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        todo!()
    }

    /// The newest cursor of messages and conversations, told after the commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Waits until everything asked before is done and closes the files. Further work is refused.
    pub async fn close(&self) {
        todo!()
    }
}
