//! Small files of the data directory that the network keeps: one JSON object a line.
//!
//! A damaged line costs that line, not the file; the damaged file is kept beside the new one. Writing replaces the
//! whole file or nothing, on a thread where waiting for the disk holds up nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

/// A full address book has some 400 KiB; what is much longer is something else.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Files waiting to be written: the book and the block list, each perhaps twice.
const QUEUE: usize = 8;

/// The lines that make sense, `most` at most; none when there is no file. What does not is said in the log, and the
/// file is kept as it was under another name.
pub(super) fn read<T: DeserializeOwned>(path: &Path, most: usize) -> Vec<T> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of this node could not be read");
            return Vec::new();
        }
    };
    let mut damaged = 0_usize;
    let mut entries = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) if entries.len() < most => entries.push(entry),
            _ => damaged += 1,
        }
    }
    if damaged > 0 {
        let aside = beside(path, "damaged");
        let kept = std::fs::copy(path, &aside).is_ok();
        tracing::warn!(
            path = %path.display(), damaged, read = entries.len(),
            "a file of this node has lines that make no sense{}",
            if kept { format!("; it is kept as {}", aside.display()) } else { String::new() }
        );
    }
    entries
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file.
pub(super) fn lines<T: Serialize>(entries: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        // Plain data of this node's own types always serializes.
        if serde_json::to_writer(&mut bytes, &entry).is_ok() {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// There whole or not at all: written under another name, then renamed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = beside(path, "new");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    })();
    if written.is_err() {
        // A full disk should not be held full by half a file.
        let _ = std::fs::remove_file(&draft);
    }
    written
}

struct Job {
    path: PathBuf,
    bytes: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

/// Writes files one after another. Ends with its last handle.
#[derive(Clone)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    pub fn start() -> Self {
        let (writer, mut jobs) = mpsc::channel::<Job>(QUEUE);
        tokio::spawn(async move {
            while let Some(Job { path, bytes, done }) = jobs.recv().await {
                let written = tokio::task::spawn_blocking(move || replace(&path, &bytes)).await;
                let _ = done.send(written.unwrap_or_else(|error| Err(io::Error::other(error))));
            }
        });
        Self(writer)
    }

    /// `None` when too many files wait: the disk is stuck.
    pub fn write(&self, path: &Path, bytes: Vec<u8>) -> Option<oneshot::Receiver<io::Result<()>>> {
        let (done, outcome) = oneshot::channel();
        self.0.try_send(Job { path: path.to_owned(), bytes, done }).ok()?;
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_line_costs_that_line_and_the_file_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        assert_eq!(read::<u32>(&path, 9), Vec::<u32>::new());
        std::fs::write(&path, b"1\n{\xff\n\n3\n4").expect("own folder");
        assert_eq!(read::<u32>(&path, 9), [1, 3, 4]);
        assert!(folder.path().join("numbers.damaged").exists());
        assert_eq!(read::<u32>(&path, 2), [1, 3]);
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_a_place_that_cannot_be_written_is_an_error() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        let writer = Writer::start();
        let write = async |path: &Path| {
            let outcome = writer.write(path, lines([1_u32, 2])).expect("nothing waits");
            outcome.await.expect("it is written or not")
        };
        write(&path).await.expect("an own folder");
        assert_eq!(read::<u32>(&path, 9), [1, 2]);
        assert_eq!(std::fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
        write(&path.join("below a file")).await.expect_err("no folder");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no draft is left");
    }
}
