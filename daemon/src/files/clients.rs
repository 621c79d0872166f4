//! Bytes from clients and for them, where they have no disk in common with the daemon. A client that pauses keeps no thread
//! waiting: each piece is read or written by itself.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{AddOptions, FileSettings, MAX_PIECE_BYTES};
use kith_common::ids::PeerId;
use kith_common::size;
use kith_content::ContentError;
use kith_store::ShareRow;
use rand::Rng as _;
use tokio::sync::mpsc;

use super::adding::{Desk, beyond_quota, name};
use super::check::{failure, invalid, not_added};
use super::library::{Item, blocking};

/// Pieces that a client gets at once, and that wait for it.
const READ_BYTES: u64 = 256 * 1024;
const READ_AHEAD: usize = 2;
/// Pieces of a client's that wait for the disk.
const WRITE_BEHIND: usize = 2;

/// What a client sends, on its way into the store. Dropped before the end, nothing of it stays.
pub(super) struct Sink {
    desk: Arc<Desk>,
    /// Removed at the end, if it is there still.
    path: Sent,
    name: String,
    /// In the store when it began.
    stored: u64,
    sent: u64,
    settings: FileSettings,
    pieces: Option<mpsc::Sender<Bytes>>,
    writing: tokio::task::JoinHandle<Result<(), ContentError>>,
}

/// Moved away when all went well.
struct Sent(PathBuf);

impl Drop for Sent {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Sink {
    /// For what a client is about to send.
    pub async fn new(desk: &Arc<Desk>, name_given: &str, settings: FileSettings) -> Result<Self, Failure> {
        let name = name(name_given, Path::new("file"))?;
        let stored = desk.stored().await?;
        let mut number = [0; 8];
        rand::rng().fill_bytes(&mut number);
        let path = Sent(desk.places.incoming.join(format!("{:016x}.client", u64::from_be_bytes(number))));
        let to = path.0.clone();
        let opened = blocking(move || {
            let opened = OpenOptions::new().write(true).create_new(true).open(&to);
            opened.map_err(|error| unwritten(&to, error))
        });
        let file = opened.await.map_err(|error| not_added(&error))?;
        let (pieces, inbox) = mpsc::channel::<Bytes>(WRITE_BEHIND);
        let writing = tokio::spawn(write_down(file, path.0.clone(), inbox));
        let desk = Arc::clone(desk);
        Ok(Self { desk, path, name, stored, sent: 0, settings, pieces: Some(pieces), writing })
    }

    pub async fn write(&mut self, piece: Bytes) -> Result<(), Failure> {
        if piece.len() > MAX_PIECE_BYTES {
            return Err(invalid(format!("a piece has at most {MAX_PIECE_BYTES} bytes")));
        }
        self.sent = self.sent.saturating_add(piece.len() as u64);
        if self.stored.saturating_add(self.sent) > self.settings.store_bytes {
            let [most, stored, sent] = [self.settings.store_bytes, self.stored, self.sent].map(size::bytes);
            return Err(beyond_quota(format!(
                "own copies may have {most} in all: {stored} are there, and {sent} of this have come"
            )));
        }
        let taken = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        if taken { Ok(()) } else { Err(self.why().await) }
    }

    async fn why(&mut self) -> Failure {
        self.pieces = None;
        match (&mut self.writing).await {
            Ok(Err(error)) => not_added(&error),
            Ok(Ok(())) => invalid("nothing more can be written: this has ended"),
            Err(error) => Failure::new(FailureKind::Internal, format!("nothing more can be written: {error}")),
        }
    }

    pub async fn done(mut self, options: &AddOptions, peers: Vec<PeerId>) -> Result<ShareRow, Failure> {
        self.pieces = None;
        match (&mut self.writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(not_added(&error)),
            Err(error) => return Err(Failure::new(FailureKind::Internal, format!("it was not written: {error}"))),
        }
        self.desk.take_in(self.path.0.clone(), self.name.clone(), options, peers).await
    }
}

fn unwritten(path: &Path, error: std::io::Error) -> ContentError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ContentError::Full,
        _ => ContentError::Io { what: format!("cannot write {}", path.display()), error },
    }
}

/// All pieces, in order, until there are no more.
async fn write_down(mut file: File, path: PathBuf, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), ContentError> {
    let path: Arc<Path> = path.into();
    while let Some(piece) = pieces.recv().await {
        let path = Arc::clone(&path);
        file = blocking(move || match file.write_all(&piece) {
            Ok(()) => Ok(file),
            Err(error) => Err(unwritten(&path, error)),
        })
        .await?;
    }
    blocking(move || file.sync_all().map_err(|error| unwritten(&path, error))).await
}

/// Verified bytes, in order, a little ahead of whoever reads them.
pub(super) fn read(
    item: Arc<Item>,
    offset: u64,
    length: u64,
) -> Result<mpsc::Receiver<Result<Bytes, Failure>>, Failure> {
    let size = item.provide.size();
    if offset > size {
        return Err(invalid(format!("it has {size} bytes, and nothing at {offset}")));
    }
    let end = if length == 0 { size } else { offset.saturating_add(length).min(size) };
    let (pieces, reading) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        let mut at = offset;
        while at < end {
            let Ok(place) = pieces.reserve().await else { return };
            let next = end.min(at - at % READ_BYTES + READ_BYTES);
            let item = Arc::clone(&item);
            let read = blocking(move || {
                let mut piece = Vec::new();
                item.provide.read(at..next, &mut piece).map(|()| Bytes::from(piece))
            });
            let read = read.await;
            let failed = read.is_err();
            place.send(read.map_err(|error| failure(&error)));
            if failed {
                return;
            }
            at = next;
        }
    });
    Ok(reading)
}
