//! The data directory: one daemon at a time, and nobody else looks in.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A process id has at most ten digits.
const MAX_LOCK_BYTES: u64 = 32;

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("could not {action} the data directory {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another kithd{} uses the data directory {path}: stop it, or give this one its own with --data-dir", holder(.process))]
    Taken { path: PathBuf, process: Option<u32> },
}

fn holder(process: &Option<u32>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}

/// A data directory that is ours until this is dropped, or the process ends however it does.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl DataDir {
    /// Makes the directory when it is missing (mode 0700) and takes it.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let io = |action| move |source| DataDirError::Io { action, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("make"))?;
        // Never truncated here: it may be another's.
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who it is, is a help only: that it is taken is sure.
                let _ = lock.take(MAX_LOCK_BYTES).read_to_string(&mut text);
                return Err(DataDirError::Taken { path: path.to_owned(), process: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(io("write to"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let first = DataDir::take(&path).expect("free");
        let error = DataDir::take(&path).expect_err("taken").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::take(&path).expect("free again");
    }

    #[test]
    fn the_directory_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::take(&folder.path().join("a/b")).expect("free");
        let mode = std::fs::metadata(data.path()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
