//! Sealed copies that contacts have asked this node to keep: takes them up to what the user allows, fetches them from their
//! owners, and drops them. What is in them cannot be read here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kith_common::clock::unix_ms;
use kith_common::contact::{People, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FileHash, FileKind, FileSettings, Kept, TransferState};
use kith_common::ids::PeerId;
use kith_content::{ContentError, Partial};
use kith_store::KeptRow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::check::{failure, name_of};
use super::fetch::{self, Context, Job, Known, Live, Origin, Outcome, What};
use super::library::blocking;
use super::ports::Network;
use super::serve::KeepList;
use super::wire::Verdict;

/// Copies that are fetched at a time; the others wait for their turn.
const AT_ONCE: usize = 2;
/// A disk that says nothing for so long is not waited for: everybody waits for the task that asks.
pub(super) const DISK_WITHIN: Duration = Duration::from_secs(2);

/// What has ended of a copy.
pub(super) enum Ended {
    Fetched(Outcome),
    /// Its bytes are gone.
    Removed,
}

struct Stuck {
    why: String,
    /// Whoever has asked for the copy knows.
    told: bool,
}

struct Fetching {
    live: watch::Receiver<Live>,
    stop: CancellationToken,
}

pub(super) struct Keeper<N> {
    context: Context<N>,
    rows: Vec<KeptRow>,
    fetching: BTreeMap<FileHash, Fetching>,
    tasks: JoinSet<(FileHash, Ended)>,
    /// Their bytes are being removed.
    going: BTreeSet<FileHash>,
    /// Something on this machine was in the way: not tried again until the next start, or until it is asked for again by
    /// somebody who has heard of it.
    stuck: BTreeMap<FileHash, Stuck>,
    /// Dropped while they were fetched: the hashes of their parts.
    dropped: BTreeMap<FileHash, Vec<FileHash>>,
}

impl<N: Network> Keeper<N> {
    pub async fn load(context: Context<N>) -> Result<Self, Failure> {
        let (rows, ids) = context.db.read(|store| Ok((store.kept_copies()?, store.kept_ids()?))).await?;
        let kept = context.places.kept.clone();
        if let Err(error) = blocking(move || sweep(&kept, &ids)).await {
            tracing::warn!(%error, "what is left of copies that were dropped was not removed");
        }
        Ok(Self {
            context,
            rows,
            fetching: BTreeMap::new(),
            tasks: JoinSet::new(),
            going: BTreeSet::new(),
            stuck: BTreeMap::new(),
            dropped: BTreeMap::new(),
        })
    }

    /// What can be fetched from here, for the DHT.
    pub fn whole(&self) -> impl Iterator<Item = FileHash> {
        self.rows.iter().filter(|row| row.whole).map(|row| row.id)
    }

    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| self.held(row)).sum()
    }

    /// Whether something changes all the time.
    pub fn is_moving(&self) -> bool {
        self.fetching.values().any(|fetching| fetching.live.borrow().state != TransferState::Waiting)
    }

    /// Whether something may change by itself.
    pub fn is_waiting(&self) -> bool {
        !self.fetching.is_empty()
    }

    pub fn list(&self) -> Vec<Kept> {
        let people = Arc::clone(&self.context.people.borrow());
        let shown = |row: &KeptRow| Kept {
            peer: row.peer,
            name: name_of(&people, row.peer),
            hash: row.hash,
            size_bytes: row.size_bytes,
            held_bytes: self.held(row),
            since_unix_ms: row.since_unix_ms,
        };
        self.rows.iter().map(shown).collect()
    }

    fn held(&self, row: &KeptRow) -> u64 {
        if row.whole {
            return row.size_bytes;
        }
        self.fetching.get(&row.id).map_or(0, |fetching| fetching.live.borrow().done_bytes)
    }

    /// What a contact asks for.
    pub async fn handle_wish(&mut self, peer: PeerId, keep: KeepList, settings: &FileSettings) -> Verdict {
        let known = self.rows.iter().find(|row| row.id == keep.id).cloned();
        match known {
            Some(row) if row.peer == peer => {
                match self.stuck.get_mut(&row.id) {
                    Some(stuck) if !stuck.told => {
                        stuck.told = true;
                        return Verdict::Refused(stuck.why.clone());
                    }
                    // To be refused is the end of it: who asks after that wants it to be tried again.
                    Some(_) => {
                        self.stuck.remove(&row.id);
                        self.start_some();
                    }
                    None => {}
                }
                return Verdict::Agreed { held_bytes: self.held(&row) };
            }
            // Whoever knows the id has the owner's ticket, and is not the owner.
            Some(_) => return Verdict::Refused("This copy is kept for somebody else.".to_owned()),
            None => {}
        }
        if let Err(why) = self.may_ask(peer, keep.total_bytes, settings).await {
            return Verdict::Refused(why);
        }
        if keep.parts.is_empty() {
            return Verdict::SendList;
        }
        let sum = keep.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.size_bytes));
        let first = keep.parts.first().filter(|part| part.id == keep.id);
        let Some(first) = first.filter(|_| sum == keep.total_bytes && keep.parts.len() == keep.count as usize) else {
            return Verdict::Refused("The list of its parts makes no sense.".to_owned());
        };
        let row = KeptRow {
            id: keep.id,
            peer,
            hash: first.hash,
            size_bytes: keep.total_bytes,
            parts: keep.count,
            whole: false,
            since_unix_ms: unix_ms(),
        };
        let (stored, parts) = (row.clone(), keep.parts);
        match self.context.db.write(move |store| store.put_kept(&stored, &parts)).await {
            Ok(_) => {
                self.rows.insert(0, row);
                self.start_some();
                Verdict::Agreed { held_bytes: 0 }
            }
            Err(failure) => {
                tracing::warn!(%failure, "a copy that a contact wants to be kept was not noted");
                Verdict::Refused("It could not be noted.".to_owned())
            }
        }
    }

    async fn may_ask(&self, peer: PeerId, bytes: u64, settings: &FileSettings) -> Result<(), String> {
        let contact = {
            let people: Arc<People> = Arc::clone(&self.context.people.borrow());
            people.contacts.iter().find(|contact| contact.peer_id == peer && !contact.blocked).cloned()
        };
        let Some(contact) = contact else { return Err("This node keeps copies for its contacts only.".to_owned()) };
        // There is no asking about it: disk space is given to those who are named for it.
        if contact.relay != Trust::Always || settings.copy_bytes_per_contact == 0 {
            return Err("It keeps no copies for this node: its user has to allow it.".to_owned());
        }
        let stored = self.context.db.read(move |store| {
            let own = store.own_bytes()?;
            Ok((store.kept_bytes(peer)?, own.saturating_add(store.all_kept_bytes()?)))
        });
        let (of_peer, all) = stored.await.map_err(|failure| failure.message)?;
        if of_peer.saturating_add(bytes) > settings.copy_bytes_per_contact {
            let most = settings.copy_bytes_per_contact;
            return Err(format!("It keeps at most {most} bytes for one contact, and has {of_peer} already."));
        }
        if all.saturating_add(bytes) > settings.store_bytes {
            return Err("Its store is full.".to_owned());
        }
        let kept = self.context.places.kept.clone();
        match timeout(DISK_WITHIN, blocking(move || kith_content::room(&kept, bytes))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("Its disk is full.".to_owned()),
            Err(_) => Err("Its disk does not answer.".to_owned()),
        }
    }

    /// Those that are not whole, as far as there is room.
    pub fn start_some(&mut self) {
        let waiting = |fetching: &Fetching| fetching.live.borrow().state == TransferState::Waiting;
        while self.fetching.values().filter(|fetching| !waiting(fetching)).count() < AT_ONCE {
            let busy = |id: &FileHash| {
                self.fetching.contains_key(id) || self.stuck.contains_key(id) || self.going.contains(id)
            };
            let Some(row) = self.rows.iter().rfind(|row| !row.whole && !busy(&row.id)).cloned() else { return };
            self.start(row);
        }
    }

    fn start(&mut self, row: KeptRow) {
        let known = Known { kind: FileKind::File, size_bytes: row.size_bytes, list_bytes: 0, files: row.parts };
        let live = Live {
            state: TransferState::Searching,
            name: String::new(),
            known: Some(known),
            sealed: true,
            done_bytes: 0,
            files_done: 0,
            twice_bytes: 0,
            spent: Duration::ZERO,
            bytes_per_second: 0,
            remaining: None,
            suppliers: BTreeMap::new(),
            trouble: None,
            next_try: None,
            synced: Arc::default(),
        };
        let (live, shown) = watch::channel(live);
        let stop = CancellationToken::new();
        let (context, token) = (self.context.clone(), stop.clone());
        let id = row.id;
        let span = tracing::debug_span!("copy", peer = %row.peer);
        let fetching = async move {
            let parts = match context.db.read(move |store| store.kept_parts(id)).await {
                Ok(parts) => parts,
                Err(failure) => return (id, Ended::Fetched(Outcome::Stuck(failure))),
            };
            let job = Job {
                what: What::Copy { id, parts },
                folder: context.places.kept.clone(),
                name: String::new(),
                origins: vec![Origin { peer: row.peer, addresses: Vec::new() }],
                only_origins: true,
                known: None,
                sealed: true,
                // What is on record is looked at after each start: nobody waits for it.
                boot: "unknown".to_owned(),
                synced: Vec::new(),
            };
            (id, Ended::Fetched(fetch::run(context, job, BTreeMap::new(), live, token).await))
        };
        self.tasks.spawn(fetching.instrument(span));
        self.fetching.insert(id, Fetching { live: shown, stop });
    }

    /// What has ended next; nothing: waits.
    pub async fn ended(&mut self) -> (FileHash, Ended) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                Some(Err(error)) => {
                    tracing::error!(%error, "fetching a copy has ended in a panic");
                    self.fetching.retain(|_, fetching| fetching.live.has_changed().is_ok());
                }
                None => std::future::pending().await,
            }
        }
    }

    /// `Some`: the copy is whole.
    pub async fn handle_ended(&mut self, id: FileHash, ended: Ended) -> Option<FileHash> {
        let whole = match ended {
            Ended::Removed => {
                self.going.remove(&id);
                false
            }
            Ended::Fetched(outcome) => self.fetched(id, outcome).await,
        };
        self.start_some();
        whole.then_some(id)
    }

    async fn fetched(&mut self, id: FileHash, outcome: Outcome) -> bool {
        self.fetching.remove(&id);
        if !self.rows.iter().any(|row| row.id == id) {
            let parts = self.dropped.remove(&id).unwrap_or_default();
            self.remove_bytes(id, parts, None);
            return false;
        }
        match outcome {
            Outcome::Done { path, partial } => {
                if path == self.context.places.kept.join(id.to_string()) {
                    let noted = self.note_whole(id).await;
                    if noted {
                        fetch::forget(self.context.places.kept.clone(), partial).await;
                    }
                    return noted;
                }
                // What stood there was of nobody.
                tracing::error!("a copy was saved under another name: it is removed");
                self.stick(id, "Its place was taken.".to_owned());
                self.remove_bytes(id, Vec::new(), Some(path));
                false
            }
            Outcome::Failed(failure) | Outcome::Stuck(failure) => {
                tracing::warn!(%failure, "a copy cannot be kept now");
                self.stick(id, failure.message);
                false
            }
            Outcome::Stopped => false,
        }
    }

    fn stick(&mut self, id: FileHash, why: String) {
        self.stuck.insert(id, Stuck { why, told: false });
    }

    /// Something of it cannot be read any more: it is fetched again.
    pub async fn handle_lost(&mut self, id: FileHash) {
        let Some(row) = self.rows.iter_mut().find(|row| row.id == id && row.whole) else { return };
        if let Err(failure) = self.context.db.write(move |store| store.set_kept_lost(id)).await {
            return tracing::warn!(%failure, "that a copy is lost was not noted");
        }
        row.whole = false;
        tracing::warn!("a copy that is kept for a contact is damaged: it is fetched again");
        self.remove_bytes(id, Vec::new(), None);
    }

    async fn note_whole(&mut self, id: FileHash) -> bool {
        if let Err(failure) = self.context.db.write(move |store| store.set_kept_whole(id)).await {
            tracing::warn!(%failure, "that a copy is whole was not noted");
            return false;
        }
        for row in self.rows.iter_mut().filter(|row| row.id == id) {
            row.whole = true;
        }
        true
    }

    /// By whoever asked for it.
    pub async fn handle_drop(&mut self, peer: PeerId, id: FileHash) -> Option<FileHash> {
        if self.rows.iter().any(|row| row.id == id && row.peer == peer) {
            self.remove(id).await;
            return Some(id);
        }
        None
    }

    /// By the user: of the copy with this hash. Its id.
    pub async fn drop_kept(&mut self, hash: FileHash) -> Result<FileHash, Failure> {
        let id = self.rows.iter().find(|row| row.hash == hash).map(|row| row.id);
        let id = id.ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("no copy with the hash {hash} is kept here"))
                .advise("kithctl files kept shows them.")
        })?;
        self.remove(id).await;
        Ok(id)
    }

    async fn remove(&mut self, id: FileHash) {
        let dropped = self.context.db.write(move |store| {
            let parts = store.kept_parts(id)?;
            store.drop_kept(id)?;
            Ok(parts)
        });
        match dropped.await {
            Ok(parts) => {
                self.rows.retain(|row| row.id != id);
                self.stuck.remove(&id);
                let parts = parts.into_iter().map(|part| part.hash).collect();
                match self.fetching.get(&id) {
                    Some(fetching) => {
                        // Its bytes go when nobody writes any more.
                        fetching.stop.cancel();
                        self.dropped.insert(id, parts);
                    }
                    None => self.remove_bytes(id, parts, None),
                }
            }
            Err(failure) => tracing::warn!(%failure, "a copy that is to be dropped was not"),
        }
    }

    /// Nothing is fetched into the place meanwhile. `beside`: what goes as well.
    fn remove_bytes(&mut self, id: FileHash, parts: Vec<FileHash>, beside: Option<PathBuf>) {
        let (db, places) = (self.context.db.clone(), Arc::clone(&self.context.places));
        self.going.insert(id);
        self.tasks.spawn(async move {
            let unused = db.read(move |store| store.unused(&parts)).await.unwrap_or_default();
            let removing = blocking(move || {
                Partial::discard_at(&places.kept, id)?;
                for hash in unused {
                    kith_content::remove_outboard(&places.outboards, hash)?;
                }
                remove(&places.kept.join(id.to_string()))?;
                beside.as_deref().map_or(Ok(()), remove)
            });
            if let Err(error) = removing.await {
                tracing::warn!(failure = %failure(&error), "the bytes of a copy were not removed");
            }
            (id, Ended::Removed)
        });
    }

    pub async fn close(&mut self) {
        for fetching in self.fetching.values() {
            fetching.stop.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A file or a folder. That there is none is no error.
fn remove(place: &Path) -> Result<(), ContentError> {
    let removed = if place.is_dir() { std::fs::remove_dir_all(place) } else { std::fs::remove_file(place) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ContentError::Io { what: format!("cannot remove {}", place.display()), error })
        }
        _ => Ok(()),
    }
}

/// Removes what a daemon that was killed has left of copies that are kept no longer.
fn sweep(kept: &Path, ids: &[FileHash]) -> Result<(), ContentError> {
    let ids: BTreeSet<String> = ids.iter().map(FileHash::to_string).collect();
    let unreadable = |error| ContentError::Io { what: format!("cannot read {}", kept.display()), error };
    for entry in std::fs::read_dir(kept).map_err(unreadable)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Or what was put beside something that was in its place.
        let id = name.split(' ').next().unwrap_or_default();
        if id.parse::<FileHash>().is_ok() && !ids.contains(name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
