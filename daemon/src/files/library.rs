//! What this node has and for whom: finds the bytes behind a hash, and decides who gets them.
//!
//! The scope of a share is looked at for every question and every range, in what the database says now. Files stay open for
//! a while, because ranges are asked for one after the other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::contact::People;
use kith_common::failure::Failure;
use kith_common::file::{FileHash, FileKind, ShareScope, ShareState};
use kith_common::ids::PeerId;
use kith_content::{ContentError, FileStat, Provide, SealedServed, Served, ServedBytes};
use kith_store::{Database, Holding, KeptRow, PieceRow};
use tokio::sync::{mpsc, watch};

use super::wire::{Answer, Get, MAX_LIST_BYTES, Question, Status};

/// Files that are kept open, for what is being fetched from here: each takes two descriptors.
const MAX_OPEN: usize = 48;
/// A folder that was not there is looked for once in so long, whoever asks for it: each of its files is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Where the daemon keeps what is not the user's.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub outboards: PathBuf,
    /// Own copies, and lists of folders.
    pub blobs: PathBuf,
    /// Sealed copies of others.
    pub kept: PathBuf,
    /// What clients are sending, and lists of folders that are being fetched.
    pub incoming: PathBuf,
}

impl Places {
    pub fn new(data_dir: &Path) -> Self {
        let files = data_dir.join("files");
        Self {
            outboards: data_dir.join("outboards"),
            blobs: files.join("blobs"),
            kept: files.join("kept"),
            incoming: files.join("incoming"),
        }
    }

    /// Of a copy that is kept here, the file of that part.
    pub fn kept_part(&self, kept: &KeptRow, number: u32) -> PathBuf {
        let place = self.kept.join(kept.id.to_string());
        if kept.parts > 1 { place.join(number.to_string()) } else { place }
    }
}

/// Bytes that a peer may have.
pub(super) struct Item {
    pub provide: Box<dyn Provide>,
    /// Of which share; `None`: a copy that is kept for somebody.
    pub share: Option<FileHash>,
    /// Of which copy.
    pub kept: Option<FileHash>,
    pub name: String,
    /// Ciphertext.
    pub sealed: bool,
}

/// What was found out when somebody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noticed {
    /// A share stands otherwise than it did.
    Share { share: FileHash, state: ShareState },
    /// Of a copy that is kept for a contact something is lost.
    Kept(FileHash),
}

/// By hash, and whether it is that of a sealed copy.
type Key = (FileHash, bool);

#[derive(Default)]
struct Shelf {
    open: HashMap<(i64, Key), (Arc<Item>, u64)>,
    clock: u64,
}

/// Cheap to share; see the module.
pub(super) struct Library {
    db: Database,
    people: watch::Receiver<Arc<People>>,
    pub places: Places,
    shelf: Mutex<Shelf>,
    /// When folders that were not there were looked for.
    looked: Mutex<HashMap<FileHash, Instant>>,
    noticed: mpsc::Sender<Noticed>,
}

impl Library {
    pub fn new(
        db: Database,
        people: watch::Receiver<Arc<People>>,
        places: Places,
        noticed: mpsc::Sender<Noticed>,
    ) -> Self {
        Self { db, people, places, shelf: Mutex::default(), looked: Mutex::default(), noticed }
    }

    /// Something was shared or withdrawn: files that are open may be of no share any more.
    pub fn forget_open(&self) {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).open.clear();
    }

    fn may_have(&self, peer: PeerId, holding: &Holding) -> bool {
        let people = Arc::clone(&self.people.borrow());
        let contact = people.contacts.iter().find(|contact| contact.peer_id == peer);
        if contact.is_some_and(|contact| contact.blocked) {
            return false;
        }
        match holding.scope {
            ShareScope::Anyone => true,
            ShareScope::Contacts => contact.is_some() || holding.peers.contains(&peer),
            ShareScope::Peers => holding.peers.contains(&peer),
        }
    }

    pub fn is_blocked(&self, peer: PeerId) -> bool {
        self.people.borrow().contacts.iter().any(|contact| contact.peer_id == peer && contact.blocked)
    }

    /// What is here, for that peer.
    pub async fn answer(&self, peer: PeerId, question: &Question) -> Result<Answer, Failure> {
        let mut answer = Answer::none(Status::NotFound);
        if self.is_blocked(peer) {
            return Ok(answer);
        }
        if let Some(hash) = question.hash {
            let found = self.db.read(move |store| store.holdings(hash)).await?;
            // By its hash a share is asked for, or a file in a folder.
            let ticketed = |holding: &Holding| {
                question.copy.is_some_and(|copy| copy == kith_content::lookup_id(&holding.key, hash))
            };
            let allowed = found.iter().filter(|holding| self.may_have(peer, holding));
            if let Some(holding) = best(allowed, hash) {
                match holding.state {
                    ShareState::Available => answer = offered(holding, hash),
                    ShareState::Missing if self.is_back(holding, hash).await? => answer = offered(holding, hash),
                    ShareState::Changed if ticketed(holding) => answer.status = Status::Changed,
                    ShareState::Changed | ShareState::Missing => {}
                }
            } else if found.iter().any(ticketed) {
                // Who has the ticket knows already that it is here.
                answer.status = Status::NotAllowed;
            }
        }
        if let Some(id) = question.copy
            && let Some((kept, _, part)) = self.db.read(move |store| store.kept_part(id)).await?
            && kept.whole
        {
            answer.copy = Some((part.hash, part.size_bytes));
        }
        Ok(answer)
    }

    /// The bytes for a range that a peer asks for; an error says why there are none for it.
    pub async fn open(&self, peer: PeerId, get: &Get) -> Result<Arc<Item>, Status> {
        if self.is_blocked(peer) {
            return Err(Status::NotFound);
        }
        let failed = |failure: Failure| {
            tracing::warn!(%failure, "could not look up a file that was asked for");
            Status::Busy { retry_ms: 1000 }
        };
        let hash = get.hash;
        if get.copy {
            return self.open_copy(peer, hash).await.map_err(failed)?;
        }
        let found = self.db.read(move |store| store.holdings(hash)).await.map_err(failed)?;
        let mut refusal = Status::NotFound;
        for holding in found.iter().filter(|holding| self.may_have(peer, holding)) {
            if holding.state == ShareState::Changed {
                refusal = Status::Changed;
                continue;
            }
            match self.open_holding(holding, hash).await {
                Ok(item) if item.provide.size() == get.size_bytes => return Ok(item),
                Ok(_) => return Err(Status::Missing),
                Err(status) => refusal = status,
            }
        }
        Err(refusal)
    }

    /// For this node's own users, whoever the share is for.
    pub async fn open_own(&self, hash: FileHash) -> Result<Option<Arc<Item>>, Status> {
        let failed = |_: Failure| Status::Busy { retry_ms: 1000 };
        let found = self.db.read(move |store| store.holdings(hash)).await.map_err(failed)?;
        let mut refusal = None;
        for holding in &found {
            match self.open_holding(holding, hash).await {
                Ok(item) => return Ok(Some(item)),
                Err(status) => refusal = Some(status),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    /// What was fetched here and is where it was saved.
    pub async fn open_fetched(&self, hash: FileHash) -> Result<Option<Arc<Item>>, Failure> {
        let Some(row) = self.db.read(move |store| store.fetched(hash)).await? else { return Ok(None) };
        let outboards = self.places.outboards.clone();
        let opened = blocking(move || {
            let outboard = kith_content::outboard_path(&outboards, hash);
            let stat = FileStat::at(&row.saved)?;
            let served = Served::open(&row.saved, Some(outboard.as_path()), hash, Some(stat))?;
            Ok::<_, ContentError>((served, row.name))
        });
        match opened.await {
            Ok((served, name)) => {
                Ok(Some(Arc::new(Item { provide: Box::new(served), share: None, kept: None, name, sealed: false })))
            }
            Err(error) => {
                tracing::debug!(%error, "a file that was fetched cannot be read");
                Ok(None)
            }
        }
    }

    async fn open_holding(&self, holding: &Holding, hash: FileHash) -> Result<Arc<Item>, Status> {
        let key = (holding.piece, (hash, false));
        if let Some(item) = self.is_open(key) {
            return Ok(item);
        }
        let outboard = kith_content::outboard_path(&self.places.outboards, hash);
        let (of, own) = (holding.of.clone(), self.is_own(&holding.of.path));
        let opened = blocking(move || Served::open(&of.path, Some(outboard.as_path()), hash, as_shared(&of, own)?));
        match opened.await {
            Ok(served) => {
                // One file of a folder says nothing of the others.
                if holding.state == ShareState::Missing && holding.kind == FileKind::File {
                    self.tell(Noticed::Share { share: holding.share, state: ShareState::Available });
                }
                Ok(self.keep_open(key, holding, Box::new(served), false))
            }
            Err(error) => Err(self.note(holding.share, holding.state, &error)),
        }
    }

    /// Whether something that was missing is there again, as a disk is that was unplugged: that is noted.
    async fn is_back(&self, holding: &Holding, hash: FileHash) -> Result<bool, Failure> {
        if holding.kind == FileKind::File || holding.share != hash {
            return Ok(self.open_holding(holding, hash).await.is_ok());
        }
        {
            let (mut looked, now) = (self.looked.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
            looked.retain(|_, at| now.saturating_duration_since(*at) < LOOK_AGAIN);
            if looked.contains_key(&hash) {
                return Ok(false);
            }
            looked.insert(hash, now);
        }
        let pieces = self.db.read(move |store| match store.share(hash)? {
            Some(share) => store.pieces(share.position),
            None => Ok(Vec::new()),
        });
        let (pieces, blobs) = (pieces.await?, self.places.blobs.clone());
        let state = blocking(move || Ok(stand(&pieces, &blobs))).await.unwrap_or(ShareState::Missing);
        if state != ShareState::Missing {
            self.tell(Noticed::Share { share: hash, state });
        }
        Ok(state == ShareState::Available)
    }

    async fn open_copy(&self, peer: PeerId, id: FileHash) -> Result<Result<Arc<Item>, Status>, Failure> {
        let found = self.db.read(move |store| store.holdings_by_copy(id)).await?;
        for holding in found {
            let share = holding.share;
            let keeper = self.db.read(move |store| store.is_keeper(share, peer)).await?;
            if let (true, Some(sealed)) = (keeper, holding.copy_hash) {
                return Ok(self.open_sealed(&holding, id, sealed).await);
            }
        }
        let Some((kept, number, part)) = self.db.read(move |store| store.kept_part(id)).await? else {
            return Ok(Err(Status::NotFound));
        };
        if !kept.whole {
            return Ok(Err(Status::Missing));
        }
        let key = (-1, (id, true));
        if let Some(item) = self.is_open(key) {
            return Ok(Ok(item));
        }
        let (path, outboard) =
            (self.places.kept_part(&kept, number), kith_content::outboard_path(&self.places.outboards, part.hash));
        let opened = blocking(move || {
            let served = Served::open(&path, Some(outboard.as_path()), part.hash, None)?;
            if served.size() == part.size_bytes { Ok(served) } else { Err(ContentError::Damaged("the copy")) }
        });
        Ok(match opened.await {
            Ok(served) => {
                let (kept, name) = (Some(kept.id), String::new());
                let item = Item { provide: Box::new(served), share: None, kept, name, sealed: true };
                Ok(self.shelve(key, Arc::new(item)))
            }
            Err(error) => Err(self.note_kept(Some(kept.id), &error)),
        })
    }

    /// The ciphertext of an own file, made as it is read.
    async fn open_sealed(&self, holding: &Holding, id: FileHash, sealed: FileHash) -> Result<Arc<Item>, Status> {
        let key = (holding.piece, (id, true));
        if let Some(item) = self.is_open(key) {
            return Ok(item);
        }
        let of = holding.of.clone();
        let secret = kith_content::copy_key(&holding.key, of.hash);
        let is_list = holding.kind == FileKind::Folder && of.hash == holding.share;
        let outboard = kith_content::outboard_path(&self.places.outboards, sealed);
        let own = self.is_own(&of.path);
        let opened = blocking(move || -> Result<Box<dyn Provide>, ContentError> {
            if is_list {
                let list = read_list(&of.path)?;
                return Ok(Box::new(ServedBytes::new(kith_content::seal_bytes(&secret, &list))));
            }
            let stat = as_shared(&of, own)?;
            Ok(Box::new(SealedServed::open(&of.path, Some(outboard.as_path()), secret, sealed, stat)?))
        });
        match opened.await {
            Ok(provide) => Ok(self.keep_open(key, holding, provide, true)),
            Err(error) => Err(self.note(holding.share, holding.state, &error)),
        }
    }

    /// What is to be said about a range that could not be read, and done about its share, which was in that state.
    pub fn note(&self, share: FileHash, was: ShareState, error: &ContentError) -> Status {
        let (state, status) = match error {
            ContentError::Missing => (ShareState::Missing, Status::NotFound),
            ContentError::Changed | ContentError::Damaged(_) | ContentError::NotAFile(_) => {
                (ShareState::Changed, Status::Changed)
            }
            ContentError::NotHere | ContentError::BadRange => return Status::Missing,
            error => {
                tracing::warn!(%error, "a file that is shared cannot be read");
                return Status::Busy { retry_ms: 5000 };
            }
        };
        if state != was {
            self.forget_open();
            self.tell(Noticed::Share { share, state });
        }
        status
    }

    /// The same of a copy that is kept for a contact.
    pub fn note_kept(&self, id: Option<FileHash>, error: &ContentError) -> Status {
        let lost = match error {
            ContentError::Missing | ContentError::NotAFile(_) | ContentError::Damaged(_) => true,
            // The disk has lost it.
            ContentError::Io { error, .. } => error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()),
            ContentError::NotHere | ContentError::BadRange => return Status::Missing,
            _ => false,
        };
        tracing::warn!(%error, "a copy that is kept for a contact cannot be read");
        if let Some(id) = id.filter(|_| lost) {
            self.forget_open();
            self.tell(Noticed::Kept(id));
        }
        Status::Missing
    }

    fn tell(&self, noticed: Noticed) {
        // When much is found at once, the rest is found again.
        let _ = self.noticed.try_send(noticed);
    }

    pub fn is_own(&self, path: &Path) -> bool {
        path.starts_with(&self.places.blobs)
    }

    fn is_open(&self, key: (i64, Key)) -> Option<Arc<Item>> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let clock = shelf.clock;
        shelf.open.get_mut(&key).map(|(item, used)| {
            *used = clock;
            Arc::clone(item)
        })
    }

    fn keep_open(&self, key: (i64, Key), holding: &Holding, provide: Box<dyn Provide>, sealed: bool) -> Arc<Item> {
        let item = Item { provide, share: Some(holding.share), kept: None, name: holding.name.clone(), sealed };
        self.shelve(key, Arc::new(item))
    }

    fn shelve(&self, key: (i64, Key), item: Arc<Item>) -> Arc<Item> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.open.len() >= MAX_OPEN
            && let Some(oldest) = shelf.open.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            shelf.open.remove(&oldest);
        }
        let clock = shelf.clock;
        shelf.open.insert(key, (Arc::clone(&item), clock));
        item
    }
}

/// What a user's file must be still; `None`: an own copy, which nobody else changes. The number of the device is not looked
/// at: it can be another after each start of the machine.
pub(super) fn as_shared(of: &PieceRow, own: bool) -> Result<Option<FileStat>, ContentError> {
    if own {
        return Ok(None);
    }
    let dev = FileStat::at(&of.path)?.dev;
    Ok(Some(FileStat { dev, ino: of.ino, size: of.size_bytes, mtime_ns: of.mtime_ns }))
}

/// How files stand on the disk, beside what was shared: the first that does not decides. Those of the daemon are there or not.
pub(super) fn stand(pieces: &[PieceRow], blobs: &Path) -> ShareState {
    for piece in pieces {
        let Ok(stat) = FileStat::at(&piece.path) else { return ShareState::Missing };
        let same = (stat.ino, stat.size, stat.mtime_ns) == (piece.ino, piece.size_bytes, piece.mtime_ns);
        if !same && !piece.path.starts_with(blobs) {
            return ShareState::Changed;
        }
    }
    ShareState::Available
}

/// A whole share rather than a file of one.
fn best<'a>(mut holdings: impl Iterator<Item = &'a Holding> + Clone, hash: FileHash) -> Option<&'a Holding> {
    let usable = |holding: &&Holding| holding.state == ShareState::Available;
    let whole = |holding: &&Holding| holding.share == hash;
    holdings
        .clone()
        .find(|holding| usable(holding) && whole(holding))
        .or_else(|| holdings.clone().find(usable))
        .or_else(|| holdings.next())
}

fn offered(holding: &Holding, hash: FileHash) -> Answer {
    if holding.share == hash {
        return Answer {
            status: Status::Ok,
            kind: holding.kind,
            size_bytes: holding.size_bytes,
            list_bytes: holding.list_bytes,
            files: holding.files,
            name: holding.name.clone(),
            copy: None,
        };
    }
    let name = holding.of.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let size_bytes = holding.of.size_bytes;
    Answer { status: Status::Ok, kind: FileKind::File, size_bytes, list_bytes: 0, files: 1, name, copy: None }
}

/// A folder's list of files, from the disk.
pub(super) fn read_list(path: &Path) -> Result<Vec<u8>, ContentError> {
    use std::io::Read as _;
    let io = |error| ContentError::Io { what: format!("cannot read {}", path.display()), error };
    let mut list = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_LIST_BYTES + 1).read_to_end(&mut list).map_err(io)?;
    if list.len() as u64 > MAX_LIST_BYTES { Err(ContentError::TooManyFiles) } else { Ok(list) }
}

/// Runs work that may take its time on a thread for such.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(ContentError::Io { what: "work on a file has failed".to_owned(), error: std::io::Error::other(error) })
        }
    }
}
