//! Shares what a user names: hashes it, and remembers it where it stands or copies it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{AddOptions, AddProgress, CopyKey, FileHash, FileKind, FileSettings, ShareScope, ShareState};
use kith_common::ids::PeerId;
use kith_common::size;
use kith_content::{ContentError, Entry, FileStat, FolderProgress, Manifest};
use kith_store::{Database, PieceRow, ShareRow};
use rand::Rng as _;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit, watch};

use super::check::{invalid, not_added};
use super::library::{Places, blocking};
use super::tidy::{Making, Tidying};

/// Files that are hashed at a time: each keeps two threads busy.
const MAX_ADDING: usize = 2;
/// The same for what a user would have fetched, and may have: not behind what is added.
const MAX_CHECKING: usize = 2;
/// Shares that are sealed at a time: nobody waits for that at a screen.
const MAX_SEALING: usize = 2;

/// What adding needs, and what keeps it apart from removing.
pub(super) struct Desk {
    pub db: Database,
    pub places: Arc<Places>,
    pub tidying: Tidying,
    data_dir: PathBuf,
    adding: Semaphore,
    checking: Semaphore,
    sealing: Semaphore,
    /// The shares that are being sealed, each for one peer while others wait for what comes of it.
    sealed: Mutex<BTreeMap<FileHash, Arc<AsyncMutex<()>>>>,
}

/// Tells work on a thread to stop when this is dropped: whoever has asked for it has gone.
pub(super) struct GiveUp(Arc<AtomicBool>);

impl GiveUp {
    /// And what that work asks now and then.
    pub fn new() -> (Self, impl Fn() -> ControlFlow<()> + Send + 'static) {
        let given_up = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&given_up);
        let go_on = move || match asked.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        (Self(given_up), go_on)
    }
}

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
        Self {
            db,
            places,
            tidying: Tidying::default(),
            data_dir,
            adding: Semaphore::new(MAX_ADDING),
            checking: Semaphore::new(MAX_CHECKING),
            sealing: Semaphore::new(MAX_SEALING),
            sealed: Mutex::default(),
        }
    }

    /// For hashing what was fetched. It is never closed.
    pub async fn checking(&self) -> Option<SemaphorePermit<'_>> {
        self.checking.acquire().await.ok()
    }

    /// For sealing a share, when nobody else seals the same.
    pub async fn sealing<T>(&self, share: FileHash, work: impl Future<Output = T>) -> T {
        let same = {
            let mut all = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(all.entry(share).or_default())
        };
        let _alone = same.lock().await;
        // It is never closed.
        let _turn = self.sealing.acquire().await;
        work.await
    }

    pub async fn add(
        self: &Arc<Self>,
        path: PathBuf,
        options: &AddOptions,
        peers: Vec<PeerId>,
        settings: &FileSettings,
        progress: watch::Sender<AddProgress>,
    ) -> Result<ShareRow, Failure> {
        let name = name(&options.name, &path)?;
        // It is never closed.
        let _turn = self.adding.acquire().await;
        let making = self.making().await;
        self.not_ours(&path).await?;
        if options.copy {
            self.within_quota(&path, settings).await?;
        }
        let (_give_up, go_on) = GiveUp::new();
        let (places, copy, from) = (Arc::clone(&self.places), options.copy, path.clone());
        // The thread has it until it has seen that nobody waits any more.
        let made = Arc::clone(&making);
        let hashed = blocking(move || {
            let metadata = std::fs::metadata(&from).map_err(|error| unreadable(&from, error))?;
            let adding = Adding { path: &from, places: &places, made: &made, progress: &progress, go_on: &go_on };
            match (metadata.is_dir(), copy) {
                (true, false) => adding.folder(),
                (true, true) => adding.copied_folder(),
                (false, _) => adding.file(copy, metadata.len()),
            }
        });
        let hashed = hashed.await.map_err(|error| at(not_added(&error), &path))?;
        let row = self.put(hashed, name, path, options, peers).await?;
        making.is_kept();
        Ok(row)
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
            Err(error) => Err(at(not_added(&error), &named)),
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
        let new: u64 = new.await.map_err(|error| not_added(&error))?;
        let (blobs, needed) = (self.places.blobs.clone(), new);
        blocking(move || kith_content::room(&blobs, needed)).await.map_err(|error| not_added(&error))?;
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

    /// What a client has sent is taken from that path.
    pub async fn take_in(
        self: &Arc<Self>,
        path: PathBuf,
        name: String,
        options: &AddOptions,
        peers: Vec<PeerId>,
    ) -> Result<ShareRow, Failure> {
        // It is never closed.
        let _turn = self.adding.acquire().await;
        let making = self.making().await;
        let (_give_up, go_on) = GiveUp::new();
        let (places, made) = (Arc::clone(&self.places), Arc::clone(&making));
        let hashed = blocking(move || {
            let added = kith_content::add_file(&path, &places.outboards, &mut |_| go_on())?;
            made.note(added.hash);
            let place = kith_content::blob_path(&places.blobs, added.hash);
            let io = |error| ContentError::Io { what: format!("cannot keep {}", place.display()), error };
            std::fs::create_dir_all(place.parent().unwrap_or(&places.blobs)).map_err(io)?;
            std::fs::rename(&path, &place).map_err(io)?;
            Ok((piece(added.hash, place.clone(), FileStat::at(&place)?), place))
        });
        let (piece, place) = hashed.await.map_err(|error| not_added(&error))?;
        let hashed = Hashed {
            hash: piece.hash,
            kind: FileKind::File,
            size_bytes: piece.size_bytes,
            list_bytes: 0,
            files: 1,
            pieces: vec![piece],
        };
        let options = AddOptions { copy: true, ..options.clone() };
        let row = self.put(hashed, name, place, &options, peers).await?;
        making.is_kept();
        Ok(row)
    }
}

fn over_quota(bytes: u64, settings: &FileSettings) -> Result<(), Failure> {
    if bytes <= settings.store_bytes {
        return Ok(());
    }
    let (most, bytes) = (size::bytes(settings.store_bytes), size::bytes(bytes));
    Err(beyond_quota(format!("own copies may have {most} in all, and with this they would have {bytes}")))
}

pub(super) fn beyond_quota(message: String) -> Failure {
    Failure::new(FailureKind::NotPermitted, message)
        .advise("Raise the limit (kithctl files settings --store BYTES), or share it where it is.")
}

/// The name that others see.
pub(super) fn name(wanted: &str, path: &Path) -> Result<String, Failure> {
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

/// What a thread does with what a user has named.
struct Adding<'a> {
    path: &'a Path,
    places: &'a Places,
    made: &'a Making,
    progress: &'a watch::Sender<AddProgress>,
    go_on: &'a dyn Fn() -> ControlFlow<()>,
}

impl Adding<'_> {
    fn tell(&self, progress: AddProgress) -> ControlFlow<()> {
        self.progress.send_replace(progress);
        (self.go_on)()
    }

    fn file(&self, copy: bool, size: u64) -> Result<Hashed, ContentError> {
        let (path, places) = (self.path, self.places);
        let mut told = |done_bytes| self.tell(AddProgress { done_bytes, total_bytes: size, files: 1 });
        let (added, path) = if copy {
            let added = kith_content::add_copy(path, &places.blobs, &places.outboards, &mut told)?;
            (added, kith_content::blob_path(&places.blobs, added.hash))
        } else {
            (kith_content::add_file(path, &places.outboards, &mut told)?, PathBuf::new())
        };
        self.made.note(added.hash);
        Ok(Hashed {
            hash: added.hash,
            kind: FileKind::File,
            size_bytes: added.stat.size,
            list_bytes: 0,
            files: 1,
            pieces: vec![piece(added.hash, path, added.stat)],
        })
    }

    fn folder(&self) -> Result<Hashed, ContentError> {
        let mut told = |now: FolderProgress| {
            let FolderProgress { done_bytes, total_bytes, files, hashed } = now;
            // It may come to nothing at any of the others.
            if let Some(hash) = hashed {
                self.made.note(hash);
            }
            self.tell(AddProgress { done_bytes, total_bytes, files })
        };
        let added = kith_content::add_folder(self.path, &self.places.outboards, &mut told)?;
        let pieces = added.manifest.entries.iter().zip(&added.stats);
        let pieces = pieces.map(|(entry, stat)| piece(entry.hash, PathBuf::from(&entry.path), *stat));
        self.listed(&added.manifest, pieces.collect())
    }

    /// Every file into the daemon's own store.
    fn copied_folder(&self) -> Result<Hashed, ContentError> {
        let places = self.places;
        let mut found = |files| self.tell(AddProgress { files, ..AddProgress::default() });
        let walk = kith_content::walk(self.path, &mut found)?;
        let total_bytes = walk.files.iter().map(|file| file.size).sum();
        let files = u32::try_from(walk.files.len()).unwrap_or(u32::MAX);
        let (mut before, mut entries, mut pieces) = (0, Vec::new(), Vec::new());
        for file in walk.files {
            let mut told = |done| self.tell(AddProgress { done_bytes: before + done, total_bytes, files });
            let from = self.path.join(&file.relative);
            let added = kith_content::add_copy(&from, &places.blobs, &places.outboards, &mut told)?;
            self.made.note(added.hash);
            before += added.stat.size;
            pieces.push(piece(added.hash, kith_content::blob_path(&places.blobs, added.hash), added.stat));
            let (path, executable) = (file.relative, file.executable);
            entries.push(Entry { path, hash: added.hash, size: added.stat.size, executable });
        }
        self.listed(&Manifest::new(entries, walk.empty_folders)?, pieces)
    }

    /// The list of a folder is a file of the daemon's.
    fn listed(&self, manifest: &Manifest, files: Vec<PieceRow>) -> Result<Hashed, ContentError> {
        let list = manifest.encode();
        let hash = kith_content::hash_bytes(&list);
        let places = self.places;
        let place = kith_content::blob_path(&places.blobs, hash);
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ContentError::Full,
            _ => ContentError::Io { what: format!("cannot write {}", place.display()), error },
        };
        std::fs::create_dir_all(place.parent().unwrap_or(&places.blobs)).map_err(io)?;
        let beside = places.incoming.join(format!("{hash}.{:?}.new", std::thread::current().id()));
        std::fs::write(&beside, &list).and_then(|()| std::fs::rename(&beside, &place)).map_err(io)?;
        self.made.note(hash);
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
}
