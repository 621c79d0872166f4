//! Sealed copies that contacts have asked this node to keep: takes them up to what the user allows, fetches them from their
//! owners, and drops them. What is in them cannot be read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_common::clock::unix_ms;
use kith_common::contact::{People, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FileHash, FileKind, FileSettings, Kept, TransferState};
use kith_common::ids::PeerId;
use kith_content::Partial;
use kith_store::KeptRow;
use tokio::sync::watch;
use tokio::task::JoinSet;
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

struct Fetching {
    live: watch::Receiver<Live>,
    stop: CancellationToken,
}

pub(super) struct Keeper<N> {
    context: Context<N>,
    rows: Vec<KeptRow>,
    fetching: BTreeMap<FileHash, Fetching>,
    tasks: JoinSet<(FileHash, Outcome)>,
    /// Something on this machine was in the way: not tried again until the next start, or until it is asked for again.
    stuck: BTreeMap<FileHash, String>,
    /// Dropped while they were fetched: the hashes of their parts.
    dropped: BTreeMap<FileHash, Vec<FileHash>>,
}

impl<N: Network> Keeper<N> {
    pub async fn load(context: Context<N>) -> Result<Self, Failure> {
        let rows = context.db.read(|store| store.kept_copies()).await?;
        let (fetching, tasks) = (BTreeMap::new(), JoinSet::new());
        Ok(Self { context, rows, fetching, tasks, stuck: BTreeMap::new(), dropped: BTreeMap::new() })
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
        let people = self.context.people.borrow();
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
                if let Some(why) = self.stuck.remove(&row.id) {
                    self.start_some();
                    return Verdict::Refused(why);
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
        blocking(move || kith_content::room(&kept, bytes)).await.map_err(|_| "Its disk is full.".to_owned())
    }

    /// Those that are not whole, as far as there is room.
    pub fn start_some(&mut self) {
        let waiting = |fetching: &Fetching| fetching.live.borrow().state == TransferState::Waiting;
        while self.fetching.values().filter(|fetching| !waiting(fetching)).count() < AT_ONCE {
            let next = self
                .rows
                .iter()
                .rfind(|row| !row.whole && !self.fetching.contains_key(&row.id) && !self.stuck.contains_key(&row.id));
            let Some(row) = next.cloned() else { return };
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
                Err(failure) => return (id, Outcome::Stuck(failure)),
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
            (id, fetch::run(context, job, BTreeMap::new(), live, token).await)
        };
        self.tasks.spawn(fetching.instrument(span));
        self.fetching.insert(id, Fetching { live: shown, stop });
    }

    /// The next fetch that has ended; nobody: waits.
    pub async fn ended(&mut self) -> (FileHash, Outcome) {
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
    pub async fn handle_ended(&mut self, id: FileHash, outcome: Outcome) -> Option<FileHash> {
        self.fetching.remove(&id);
        if !self.rows.iter().any(|row| row.id == id) {
            let parts = self.dropped.remove(&id).unwrap_or_default();
            self.remove_bytes(id, parts).await;
            return None;
        }
        let whole = match outcome {
            Outcome::Done { path, partial } => {
                let expected = self.context.places.kept.join(id.to_string());
                if path == expected {
                    let noted = self.note_whole(id).await;
                    if noted {
                        fetch::forget(self.context.places.kept.clone(), partial).await;
                    }
                    noted
                } else {
                    tracing::error!(path = %path.display(), "a copy was saved under another name");
                    false
                }
            }
            Outcome::Failed(failure) | Outcome::Stuck(failure) => {
                tracing::warn!(%failure, "a copy cannot be kept now");
                self.stuck.insert(id, failure.message);
                false
            }
            Outcome::Stopped => false,
        };
        self.start_some();
        whole.then_some(id)
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
                    None => self.remove_bytes(id, parts).await,
                }
            }
            Err(failure) => tracing::warn!(%failure, "a copy that is to be dropped was not"),
        }
    }

    async fn remove_bytes(&self, id: FileHash, parts: Vec<FileHash>) {
        let unused = match self.context.db.read(move |store| store.unused(&parts)).await {
            Ok(unused) => unused,
            Err(_) => Vec::new(),
        };
        let places = Arc::clone(&self.context.places);
        let removing = blocking(move || {
            Partial::discard_at(&places.kept, id)?;
            for hash in unused {
                kith_content::remove_outboard(&places.outboards, hash)?;
            }
            let place = places.kept.join(id.to_string());
            let removed = if place.is_dir() { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(kith_content::ContentError::Io { what: format!("cannot remove {}", place.display()), error })
                }
                _ => Ok(()),
            }
        });
        if let Err(error) = removing.await {
            tracing::warn!(failure = %failure(&error), "the bytes of a copy were not removed");
        }
    }

    pub async fn close(&mut self) {
        for fetching in self.fetching.values() {
            fetching.stop.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}
