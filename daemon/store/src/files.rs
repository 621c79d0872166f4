//! The files in the data directory: `kith.db` with its write-ahead log, a note that it needs checking, and damaged ones kept aside.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kith_common::ids::PeerId;

use crate::repair::Index;
use crate::store::Access;
use crate::{Repair, Result, Store, StoreError, repair, schema};

const NAME: &str = "kith.db";
/// For its owner only, as the key beside it; SQLite gives the log the same.
const MODE: u32 = 0o600;

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(crate) fn mark_suspect(path: &Path) -> std::io::Result<()> {
    std::fs::write(beside(path, ".suspect"), b"")
}

pub(crate) fn create(path: &Path) -> Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(StoreError::io(format!("cannot open {}", path.display())))?;
    Ok(())
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io(format!("cannot remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn open(dir: &Path, own: PeerId) -> Result<(Store, PathBuf, Option<Repair>)> {
    let path = dir.join(NAME);
    repair::finish(&path)?;
    create(&path)?;
    schema::check_file(&path)?;
    // A log that is left over: the last shutdown was not a clean one, and the machine may have gone down with it.
    let unclean = std::fs::metadata(beside(&path, "-wal")).is_ok_and(|log| log.len() > 0);
    let cut_short = beside(&path, "-wal").exists();
    let suspect = beside(&path, ".suspect").exists();
    let opened = Store::open(&path, own, Access::Write).and_then(|store| {
        if cut_short {
            store.skip_cursors()?;
        }
        if suspect || unclean {
            store.check(if suspect { Index::Checked } else { Index::Unchecked })?;
        }
        store.probe()?;
        Ok(store)
    });
    let opened = match opened {
        Err(StoreError::Damaged(reason)) => {
            tracing::error!(reason, path = %path.display(), "the database is damaged");
            let done = repair::repair(&path, own, reason)?;
            (Store::open(&path, own, Access::Write)?, path, Some(done))
        }
        Ok(store) => (store, path, None),
        Err(error) => return Err(error),
    };
    remove(&beside(&opened.1, ".suspect"))?;
    Ok(opened)
}
