//! Shares what a user names: hashes it, remembers it where it stands or copies it, and gives bytes back to clients that have
//! no disk in common with the daemon.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, AddProgress, CopyKey, FileHash, FileKind, FileSettings, MAX_PIECE_BYTES, ShareScope, ShareState,
};
use kith_common::ids::PeerId;
use kith_content::{ContentError, Entry, FileStat, FolderProgress, Manifest};
use kith_store::{Database, PieceRow, ShareRow};
use rand::Rng as _;
use tokio::sync::{RwLock, Semaphore, mpsc, watch};

use super::check::{failure, invalid};
use super::library::{Item, Places, blocking};

/// Files that are hashed at a time: each keeps two threads busy.
const MAX_ADDING: usize = 2;
/// Pieces that a client gets at once, and that wait for it.
const READ_BYTES: u64 = 256 * 1024;
const READ_AHEAD: usize = 2;
/// Pieces of a client's that wait for the disk.
const WRITE_BEHIND: usize = 2;

/// What adding needs, and what keeps it apart from removing.
pub(super) struct Desk {
    pub db: Database,
    pub places: Arc<Places>,
    data_dir: PathBuf,
    adding: Semaphore,
    /// Held while outboards and copies are made that no share has yet: nobody tidies them away meanwhile.
    tidy: RwLock<()>,
}

/// Gives up when it is dropped.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was hashed.
struct Hashed {
    hash: FileHash,
    kind: FileKind,
    size_bytes: u64,
    list_bytes: u64,
    files: u32,
    pieces: Vec<PieceRow>,
}

impl Desk {
    pub fn new(db: Database, places: Arc<Places>, data_dir: PathBuf) -> Self {
        Self { db, places, data_dir, adding: Semaphore::new(MAX_ADDING), tidy: RwLock::default() }
    }

    pub async fn add(
        &self,
        path: PathBuf,
        options: &AddOptions,
        peers: Vec<PeerId>,
        settings: &FileSettings,
        progress: watch::Sender<AddProgress>,
    ) -> Result<ShareRow, Failure> {
        let name = name(&options.name, &path)?;
        let _tidy = self.tidy.read().await;
        // It is never closed.
        let _turn = self.adding.acquire().await;
        self.not_ours(&path).await?;
        if options.copy {
            self.within_quota(&path, settings).await?;
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let _give_up = GiveUp(Arc::clone(&given_up));
        let (places, copy, from) = (Arc::clone(&self.places), options.copy, path.clone());
        let hashed = blocking(move || {
            let go_on = || match given_up.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let metadata = std::fs::metadata(&from).map_err(|error| unreadable(&from, error))?;
            match (metadata.is_dir(), copy) {
                (true, false) => add_folder(&from, &places, &progress, &go_on),
                (true, true) => copy_folder(&from, &places, &progress, &go_on),
                (false, _) => add_file(&from, copy, metadata.len(), &places, &progress, &go_on),
            }
        });
        let hashed = hashed.await.map_err(|error| at(failure(&error), &path))?;
        self.put(hashed, name, path, options, peers).await
    }

    /// A path of nothing is no path, and the daemon's own folder has the key of this node in it.
    async fn not_ours(&self, path: &Path) -> Result<(), Failure> {
        let (path, data_dir) = (path.to_owned(), self.data_dir.clone());
        let named = path.clone();
        let inside = blocking(move || {
            let real = std::fs::canonicalize(&path).map_err(|error| unreadable(&path, error))?;
            let own = std::fs::canonicalize(&data_dir).unwrap_or(data_dir);
            Ok((own.starts_with(&real) || real.starts_with(&own), path))
        });
        match inside.await {
            Ok((false, _)) => Ok(()),
            Ok((true, path)) => {
                let message = format!("{} is not shared: it has this node's own key and messages", path.display());
                Err(Failure::new(FailureKind::NotPermitted, message).advise("Choose another folder."))
            }
            Err(error) => Err(at(failure(&error), &named)),
        }
    }

    async fn within_quota(&self, path: &Path, settings: &FileSettings) -> Result<(), Failure> {
        let stored = self.stored().await?;
        let path = path.to_owned();
        let new = blocking(move || {
            let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
            if !metadata.is_dir() {
                return Ok(metadata.len());
            }
            let walk = kith_content::walk(&path, &mut |_| ControlFlow::Continue(()))?;
            Ok(walk.files.iter().map(|file| file.size).sum())
        });
        let new: u64 = new.await.map_err(|error| failure(&error))?;
        let (blobs, needed) = (self.places.blobs.clone(), new);
        blocking(move || kith_content::room(&blobs, needed)).await.map_err(|error| failure(&error))?;
        over_quota(stored.saturating_add(new), settings)
    }

    /// Bytes that count for the quota.
    pub async fn stored(&self) -> Result<u64, Failure> {
        self.db.read(|store| Ok(store.own_bytes()?.saturating_add(store.all_kept_bytes()?))).await
    }

    async fn put(
        &self,
        hashed: Hashed,
        name: String,
        path: PathBuf,
        options: &AddOptions,
        peers: Vec<PeerId>,
    ) -> Result<ShareRow, Failure> {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        let row = ShareRow {
            position: 0,
            hash: hashed.hash,
            name,
            kind: hashed.kind,
            size_bytes: hashed.size_bytes,
            list_bytes: hashed.list_bytes,
            files: hashed.files,
            scope: options.scope,
            peers,
            state: ShareState::Available,
            path,
            own_copy: options.copy,
            key: CopyKey(key),
            added_unix_ms: unix_ms(),
            sent_bytes: 0,
            copies: Vec::new(),
        };
        if row.scope == ShareScope::Peers && row.peers.is_empty() {
            return Err(invalid("shared with certain peers, and none is named").advise("Name them with --to."));
        }
        self.db.write(move |store| store.put_share(&row, &hashed.pieces)).await
    }

    /// What a client is about to send.
    pub async fn receive(self: &Arc<Self>, name_given: &str, settings: FileSettings) -> Result<Sink, Failure> {
        let name = name(name_given, Path::new("file"))?;
        let room = settings.store_bytes.saturating_sub(self.stored().await?);
        let mut number = [0; 8];
        rand::rng().fill_bytes(&mut number);
        let path = self.places.incoming.join(format!("{:016x}.client", u64::from_be_bytes(number)));
        let (pieces, inbox) = mpsc::channel::<Bytes>(WRITE_BEHIND);
        let to = path.clone();
        let writing = tokio::task::spawn_blocking(move || write_down(&to, inbox));
        Ok(Sink { desk: Arc::clone(self), path: Some(path), name, room, settings, pieces: Some(pieces), writing })
    }

    async fn take_in(
        &self,
        path: PathBuf,
        name: String,
        options: &AddOptions,
        peers: Vec<PeerId>,
    ) -> Result<ShareRow, Failure> {
        let _tidy = self.tidy.read().await;
        let places = Arc::clone(&self.places);
        let hashed = blocking(move || {
            let added = kith_content::add_file(&path, &places.outboards, &mut |_| ControlFlow::Continue(()))?;
            let place = kith_content::blob_path(&places.blobs, added.hash);
            let io = |error| ContentError::Io { what: format!("cannot keep {}", place.display()), error };
            std::fs::create_dir_all(place.parent().unwrap_or(&places.blobs)).map_err(io)?;
            std::fs::rename(&path, &place).map_err(io)?;
            Ok((piece(added.hash, place.clone(), FileStat::at(&place)?), place))
        });
        let (piece, place) = hashed.await.map_err(|error| failure(&error))?;
        let hashed = Hashed {
            hash: piece.hash,
            kind: FileKind::File,
            size_bytes: piece.size_bytes,
            list_bytes: 0,
            files: 1,
            pieces: vec![piece],
        };
        let options = AddOptions { copy: true, ..options.clone() };
        self.put(hashed, name, place, &options, peers).await
    }

    /// Removes outboards and own copies that nothing needs any more.
    pub async fn tidy_away(&self, hashes: Vec<FileHash>) {
        let _tidy = self.tidy.write().await;
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

pub(super) fn over_quota(bytes: u64, settings: &FileSettings) -> Result<(), Failure> {
    if bytes <= settings.store_bytes {
        return Ok(());
    }
    let message =
        format!("own copies may have {} bytes in all, and with this they would have {bytes}", settings.store_bytes);
    Err(Failure::new(FailureKind::NotPermitted, message)
        .advise("Raise the limit (kithctl files settings --store BYTES), or share it where it is."))
}

/// The name that others see.
fn name(wanted: &str, path: &Path) -> Result<String, Failure> {
    let own = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let wanted = if wanted.trim().is_empty() { own.as_deref().unwrap_or("file") } else { wanted };
    Ok(kith_content::safe_name(wanted))
}

/// Says which one.
fn at(mut failure: Failure, path: &Path) -> Failure {
    let path = path.display().to_string();
    if !failure.message.contains(&path) {
        failure.message = format!("{path} was not shared: {}", failure.message);
    }
    failure
}

fn unreadable(path: &Path, error: std::io::Error) -> ContentError {
    match error.kind() {
        std::io::ErrorKind::NotFound => ContentError::Missing,
        std::io::ErrorKind::PermissionDenied => ContentError::NotPermitted(path.to_owned()),
        _ => ContentError::Io { what: format!("cannot look at {}", path.display()), error },
    }
}

fn piece(hash: FileHash, path: PathBuf, stat: FileStat) -> PieceRow {
    PieceRow { hash, path, size_bytes: stat.size, dev: stat.dev, ino: stat.ino, mtime_ns: stat.mtime_ns }
}

fn add_file(
    path: &Path,
    copy: bool,
    size: u64,
    places: &Places,
    progress: &watch::Sender<AddProgress>,
    go_on: &dyn Fn() -> ControlFlow<()>,
) -> Result<Hashed, ContentError> {
    let mut told = |done_bytes| {
        progress.send_replace(AddProgress { done_bytes, total_bytes: size, files: 1 });
        go_on()
    };
    let (added, path) = if copy {
        let added = kith_content::add_copy(path, &places.blobs, &places.outboards, &mut told)?;
        (added, kith_content::blob_path(&places.blobs, added.hash))
    } else {
        (kith_content::add_file(path, &places.outboards, &mut told)?, PathBuf::new())
    };
    Ok(Hashed {
        hash: added.hash,
        kind: FileKind::File,
        size_bytes: added.stat.size,
        list_bytes: 0,
        files: 1,
        pieces: vec![piece(added.hash, path, added.stat)],
    })
}

fn add_folder(
    path: &Path,
    places: &Places,
    progress: &watch::Sender<AddProgress>,
    go_on: &dyn Fn() -> ControlFlow<()>,
) -> Result<Hashed, ContentError> {
    let mut told = |now: FolderProgress| {
        progress.send_replace(AddProgress {
            done_bytes: now.done_bytes,
            total_bytes: now.total_bytes,
            files: now.files,
        });
        go_on()
    };
    let added = kith_content::add_folder(path, &places.outboards, &mut told)?;
    let paths = added.manifest.entries.iter().map(|entry| PathBuf::from(&entry.path));
    let pieces = added.manifest.entries.iter().zip(paths).zip(&added.stats);
    let pieces = pieces.map(|((entry, path), stat)| piece(entry.hash, path, *stat)).collect();
    folder(&added.manifest, pieces, places)
}

/// Every file into the daemon's own store.
fn copy_folder(
    path: &Path,
    places: &Places,
    progress: &watch::Sender<AddProgress>,
    go_on: &dyn Fn() -> ControlFlow<()>,
) -> Result<Hashed, ContentError> {
    let walk = kith_content::walk(path, &mut |files| {
        progress.send_replace(AddProgress { files, ..AddProgress::default() });
        go_on()
    })?;
    let total_bytes = walk.files.iter().map(|file| file.size).sum();
    let files = u32::try_from(walk.files.len()).unwrap_or(u32::MAX);
    let (mut before, mut entries, mut copies) = (0, Vec::new(), Vec::new());
    for file in &walk.files {
        let mut told = |done| {
            progress.send_replace(AddProgress { done_bytes: before + done, total_bytes, files });
            go_on()
        };
        let added = kith_content::add_copy(&path.join(&file.relative), &places.blobs, &places.outboards, &mut told)?;
        before += added.stat.size;
        copies.push((added, file.relative.clone()));
        let (path, executable) = (file.relative.clone(), file.executable);
        entries.push(Entry { path, hash: added.hash, size: added.stat.size, executable });
    }
    let manifest = Manifest::new(entries, walk.empty_folders)?;
    let pieces = copies
        .into_iter()
        .map(|(added, _)| piece(added.hash, kith_content::blob_path(&places.blobs, added.hash), added.stat))
        .collect();
    folder(&manifest, pieces, places)
}

/// Its list is a file of the daemon's.
fn folder(manifest: &Manifest, files: Vec<PieceRow>, places: &Places) -> Result<Hashed, ContentError> {
    let list = manifest.encode();
    let hash = kith_content::hash_bytes(&list);
    let place = kith_content::blob_path(&places.blobs, hash);
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ContentError::Full,
        _ => ContentError::Io { what: format!("cannot write {}", place.display()), error },
    };
    std::fs::create_dir_all(place.parent().unwrap_or(&places.blobs)).map_err(io)?;
    let beside = places.incoming.join(format!("{hash}.{:?}.new", std::thread::current().id()));
    std::fs::write(&beside, &list).and_then(|()| std::fs::rename(&beside, &place)).map_err(io)?;
    let added = kith_content::add_file(&place, &places.outboards, &mut |_| ControlFlow::Continue(()))?;
    let mut pieces = vec![piece(hash, place, added.stat)];
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    pieces.extend(files);
    Ok(Hashed {
        hash,
        kind: FileKind::Folder,
        size_bytes: manifest.total_bytes(),
        list_bytes: list.len() as u64,
        files: count,
        pieces,
    })
}

fn write_down(path: &Path, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), ContentError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ContentError::Full,
        _ => ContentError::Io { what: format!("cannot write {}", path.display()), error },
    };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(io)?;
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece).map_err(io)?;
    }
    file.sync_all().map_err(io)
}

/// What a client sends, on its way into the store. Dropped before the end, nothing of it stays.
pub(super) struct Sink {
    desk: Arc<Desk>,
    path: Option<PathBuf>,
    name: String,
    /// Bytes that may still come.
    room: u64,
    settings: FileSettings,
    pieces: Option<mpsc::Sender<Bytes>>,
    writing: tokio::task::JoinHandle<Result<(), ContentError>>,
}

impl Sink {
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Failure> {
        if piece.len() > MAX_PIECE_BYTES {
            return Err(invalid(format!("a piece has at most {MAX_PIECE_BYTES} bytes")));
        }
        let bytes = piece.len() as u64;
        if bytes > self.room {
            return over_quota(u64::MAX, &self.settings);
        }
        self.room -= bytes;
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(self.why().await) }
    }

    async fn why(&mut self) -> Failure {
        self.pieces = None;
        match (&mut self.writing).await {
            Ok(Err(error)) => failure(&error),
            Ok(Ok(())) => invalid("nothing more can be written: this has ended"),
            Err(error) => Failure::new(FailureKind::Internal, format!("nothing more can be written: {error}")),
        }
    }

    pub async fn done(mut self, options: &AddOptions, peers: Vec<PeerId>) -> Result<ShareRow, Failure> {
        self.pieces = None;
        match (&mut self.writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failure(&error)),
            Err(error) => return Err(Failure::new(FailureKind::Internal, format!("it was not written: {error}"))),
        }
        // From here on it is the desk's.
        let Some(path) = self.path.clone() else { return Err(invalid("this has ended")) };
        self.desk.take_in(path, self.name.clone(), options, peers).await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(path) = self.path.take() {
            // Moved away when all went well.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Verified bytes, in order, from a thread that stays a little ahead.
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
    tokio::task::spawn_blocking(move || {
        let mut at = offset;
        while at < end {
            let next = end.min(at - at % READ_BYTES + READ_BYTES);
            let mut piece = Vec::new();
            let read = item.provide.read(at..next, &mut piece).map(|()| Bytes::from(piece));
            let failed = read.is_err();
            if pieces.blocking_send(read.map_err(|error| failure(&error))).is_err() || failed {
                return;
            }
            at = next;
        }
    });
    Ok(reading)
}
