//! All transfers: their order, which of them go on, and how each is shown and kept over restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{CopyKey, FileHash, FileKind, FileTicket, Source, SourceState, Transfer, TransferState};
use kith_common::ids::PeerId;
use kith_store::{Database, Phase, TransferRow};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::check::name_of;
use super::fetch::{self, Context, Job, Known, Live, Origin, Outcome, Supplier, What};
use super::ports::Network;

/// Transfers whose tasks run, those that wait for somebody to appear among them.
pub(super) const MAX_RUNNING: usize = 64;
/// One of those that wait stops when another is to begin and there are so many; it is not its turn again before this.
const REST: Duration = Duration::from_secs(60);
/// How far a transfer is, is written down this often.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Of all sources that a transfer has had.
const MAX_SOURCES_SHOWN: usize = 64;

/// Where to ask for the content, and how: kept as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// Of the sealed copies, in base 58.
    #[serde(default)]
    key: Option<String>,
    /// What the ticket says the size is.
    #[serde(default)]
    size_bytes: u64,
    /// What the ticket says that it is.
    #[serde(default)]
    kind: Option<FileKind>,
    #[serde(default)]
    origins: Vec<Origin>,
    #[serde(default)]
    only_origins: bool,
    /// Its first origin has offered it, and nobody here was asked.
    #[serde(default)]
    unasked: bool,
}

impl Wanted {
    pub fn new(ticket: Option<&FileTicket>, mut origins: Vec<Origin>, only_origins: bool) -> Self {
        if let Some(ticket) = ticket.filter(|_| !only_origins) {
            let known = origins.iter_mut().find(|origin| origin.peer == ticket.peer);
            match known {
                Some(origin) => origin.addresses.clone_from(&ticket.addresses),
                None => origins.push(Origin { peer: ticket.peer, addresses: ticket.addresses.clone() }),
            }
        }
        let key = ticket.map(|ticket| bs58::encode(ticket.key.0).into_string());
        let size_bytes = ticket.map_or(0, |ticket| ticket.size_bytes);
        Self { key, size_bytes, kind: ticket.map(|ticket| ticket.kind), origins, only_origins, unasked: false }
    }

    /// Of a contact's offer, which is taken without asking.
    pub fn unasked(ticket: &FileTicket) -> Self {
        Self { unasked: true, ..Self::new(Some(ticket), Vec::new(), false) }
    }

    fn key(&self) -> Option<CopyKey> {
        let bytes = bs58::decode(self.key.as_ref()?).into_vec().ok()?;
        bytes.try_into().ok().map(CopyKey)
    }

    /// `true`: there is more to it than there was.
    fn join(&mut self, other: Self) -> bool {
        let mut more = false;
        let promises = |wanted: &Self| (wanted.kind, wanted.size_bytes);
        // Another ticket may be right where the first was not.
        if other.key.is_some() && (self.key.is_none() || promises(self) != promises(&other)) {
            (self.kind, self.size_bytes) = promises(&other);
            (self.key, more) = (other.key, true);
        }
        // Whoever asks for it has been asked.
        self.unasked &= other.unasked;
        for origin in other.origins {
            match self.origins.iter_mut().find(|known| known.peer == origin.peer) {
                Some(known) if known.addresses == origin.addresses || origin.addresses.is_empty() => {}
                Some(known) => (known.addresses, more) = (origin.addresses, true),
                None => {
                    self.origins.push(origin);
                    more = true;
                }
            }
        }
        more |= self.only_origins != other.only_origins;
        self.only_origins = other.only_origins;
        more
    }
}

/// A source as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    peer: PeerId,
    received: u64,
    state: SourceState,
    reason: String,
    sealed: bool,
}

struct Running {
    live: watch::Receiver<Live>,
    stop: CancellationToken,
    since: Instant,
}

impl Running {
    fn waits(&self) -> bool {
        self.live.borrow().state == TransferState::Waiting
    }
}

struct Entry {
    row: TransferRow,
    wanted: Wanted,
    suppliers: BTreeMap<PeerId, Supplier>,
    running: Option<Running>,
    /// It has waited in vain, and made room for another one.
    rest_until: Option<Instant>,
    /// What was written down last: bytes and state.
    saved: (u64, Phase),
}

impl Entry {
    fn new(row: TransferRow) -> Self {
        let wanted = serde_json::from_str(&row.wanted).unwrap_or_default();
        let sources: Vec<Kept> = serde_json::from_str(&row.sources).unwrap_or_default();
        let supplier = |kept: Kept| {
            let supplier = Supplier {
                // Whoever was active then is not known to be so now.
                state: if kept.state == SourceState::Lied { SourceState::Lied } else { SourceState::Dropped },
                path: None,
                received_bytes: kept.received,
                bytes_per_second: 0,
                reason: kept.reason,
                sealed: kept.sealed,
            };
            (kept.peer, supplier)
        };
        let saved = (row.done_bytes, row.standing);
        let suppliers = sources.into_iter().map(supplier).collect();
        Self { wanted, suppliers, running: None, rest_until: None, saved, row }
    }

    fn state(&self) -> TransferState {
        match &self.running {
            // One that is paused may have a task that still ends.
            Some(running) if self.row.standing == Phase::Going => running.live.borrow().state,
            _ => match self.row.standing {
                Phase::Going => TransferState::Queued,
                Phase::Paused => TransferState::Paused,
                Phase::Done => TransferState::Done,
                Phase::Failed => TransferState::Failed,
            },
        }
    }

    /// Takes a place among those that go on at the same time.
    fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.waits())
    }

    /// With what its task has come to, as it is kept.
    fn kept(&self) -> TransferRow {
        let (mut row, suppliers) = self.current();
        let kept = suppliers.iter().take(MAX_SOURCES_SHOWN).map(|(peer, supplier)| Kept {
            peer: *peer,
            received: supplier.received_bytes,
            state: supplier.state,
            reason: supplier.reason.clone(),
            sealed: supplier.sealed,
        });
        row.sources = serde_json::to_string(&kept.collect::<Vec<_>>()).unwrap_or_default();
        row.wanted = serde_json::to_string(&self.wanted).unwrap_or_default();
        row
    }

    fn current(&self) -> (TransferRow, BTreeMap<PeerId, Supplier>) {
        let mut row = self.row.clone();
        let mut suppliers = self.suppliers.clone();
        if let Some(running) = &self.running {
            let live = running.live.borrow();
            if row.name.is_empty() {
                row.name.clone_from(&live.name);
            }
            if let Some(known) = live.known {
                (row.kind, row.size_bytes) = (known.kind, known.size_bytes);
                (row.list_bytes, row.files) = (known.list_bytes, known.files);
            }
            (row.sealed, row.done_bytes) = (live.sealed, live.done_bytes);
            row.twice_bytes += live.twice_bytes;
            row.spent_ms += u64::try_from(live.spent.as_millis()).unwrap_or(0);
            // Until what is on record was looked at, what an earlier run has noted is all that is certain.
            if !live.synced.boot.is_empty() {
                row.boot.clone_from(&live.synced.boot);
                row.synced.clone_from(&live.synced.bits);
            }
            suppliers.clone_from(&live.suppliers);
        }
        (row, suppliers)
    }

    fn show(&self, people: &People, now: Instant) -> Transfer {
        let (row, suppliers) = self.current();
        let live = self.running.as_ref().map(|running| running.live.borrow().clone());
        let state = self.state();
        let trouble = live.as_ref().map_or(row.trouble.as_ref(), |live| live.trouble.as_ref());
        let seconds_left = |at: Instant| u32::try_from(at.saturating_duration_since(now).as_secs()).unwrap_or(0) + 1;
        let source = |(peer, supplier): (&PeerId, &Supplier)| Source {
            peer: *peer,
            name: name_of(people, *peer),
            state: supplier.state,
            path: supplier.path,
            received_bytes: supplier.received_bytes,
            bytes_per_second: supplier.bytes_per_second,
            reason: supplier.reason.clone(),
            sealed: supplier.sealed,
        };
        // Those who have sent something, or lied, before those who had nothing.
        let mut sources: Vec<Source> = suppliers.iter().map(source).collect();
        sources.sort_by_key(|source| {
            (source.state == SourceState::Dropped, std::cmp::Reverse(source.received_bytes), source.peer)
        });
        sources.truncate(MAX_SOURCES_SHOWN);
        let done = row.standing == Phase::Done;
        Transfer {
            id: row.id,
            hash: row.hash,
            name: row.name.clone(),
            kind: row.kind,
            size_bytes: if row.size_bytes == 0 { self.wanted.size_bytes } else { row.size_bytes },
            done_bytes: row.done_bytes,
            state,
            bytes_per_second: live.as_ref().map_or(0, |live| live.bytes_per_second),
            remaining_seconds: live
                .as_ref()
                .and_then(|live| live.remaining)
                .map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1)),
            sources,
            folder: row.folder.display().to_string(),
            saved_path: row.saved.display().to_string(),
            error: trouble.map(|trouble| trouble.message.clone()).unwrap_or_default(),
            advice: trouble.map(|trouble| trouble.advice.clone()).unwrap_or_default(),
            started_unix_ms: row.started_unix_ms,
            finished_unix_ms: row.finished_unix_ms,
            seconds: Duration::from_millis(row.spent_ms).as_secs_f64(),
            fetched_twice_bytes: row.twice_bytes,
            next_try_seconds: live.as_ref().and_then(|live| live.next_try).map_or(0, seconds_left),
            files: row.files,
            files_done: if done { row.files } else { live.as_ref().map_or(0, |live| live.files_done) },
            error_kind: trouble.map(|trouble| trouble.kind),
        }
    }

    fn job(&self) -> Job {
        let row = &self.row;
        let key = self.wanted.key().map(|key| {
            let kind = self.wanted.kind.unwrap_or(row.kind);
            (key, Known { kind, size_bytes: self.wanted.size_bytes, list_bytes: 0, files: 1 })
        });
        let known = Known { kind: row.kind, size_bytes: row.size_bytes, list_bytes: row.list_bytes, files: row.files };
        Job {
            what: What::Content { hash: row.hash, key },
            folder: row.folder.clone(),
            name: row.name.clone(),
            origins: self.wanted.origins.clone(),
            only_origins: self.wanted.only_origins,
            known: (row.files > 0).then_some(known),
            sealed: row.sealed,
            boot: row.boot.clone(),
            synced: row.synced.clone(),
        }
    }
}

/// A transfer that is to begin.
pub(super) struct NewTransfer {
    pub hash: FileHash,
    pub kind: FileKind,
    pub name: String,
    pub folder: PathBuf,
    /// Its user has said into which folder, and under which name; otherwise what is there already does as well.
    pub folder_chosen: bool,
    pub name_chosen: bool,
    pub wanted: Wanted,
}

/// A transfer whose bytes are removed: nothing of the same content begins before they are gone, since they are not its own.
struct Doomed {
    hash: FileHash,
    folder: PathBuf,
    /// Its task, which still ends.
    ending: Option<watch::Receiver<Live>>,
}

pub(super) struct Transfers<N> {
    context: Context<N>,
    entries: BTreeMap<u32, Entry>,
    tasks: JoinSet<(u32, Outcome)>,
    /// Cancelled or done, while something of them is left.
    doomed: BTreeMap<u32, Doomed>,
    /// What is left of them is removed by these.
    cleaning: JoinSet<u32>,
    at_once: usize,
    saved_at: Instant,
    /// No number means two transfers while this runs.
    next_id: u32,
}

impl<N: Network> Transfers<N> {
    pub async fn load(context: Context<N>, at_once: u32) -> Result<Self, Failure> {
        let rows = context.db.read(|store| store.transfers()).await?;
        Ok(Self {
            context,
            entries: rows.into_iter().map(|row| (row.id, Entry::new(row))).collect(),
            tasks: JoinSet::new(),
            doomed: BTreeMap::new(),
            cleaning: JoinSet::new(),
            at_once: at_once as usize,
            saved_at: Instant::now(),
            next_id: 1,
        })
    }

    pub fn set_at_once(&mut self, at_once: u32) {
        self.at_once = at_once as usize;
        // Those that are too many go on later.
        let mut busy: Vec<u32> = self.in_order().filter(|entry| entry.is_busy()).map(|entry| entry.row.id).collect();
        for id in busy.drain(self.at_once.min(busy.len())..) {
            self.halt(id);
        }
        self.start_some();
    }

    fn in_order(&self) -> impl Iterator<Item = &Entry> {
        let mut all: Vec<&Entry> = self.entries.values().collect();
        all.sort_by_key(|entry| (entry.row.place, entry.row.id));
        all.into_iter()
    }

    /// Those that are next, as far as there is room.
    pub fn start_some(&mut self) {
        loop {
            let busy = self.entries.values().filter(|entry| entry.is_busy()).count();
            if busy >= self.at_once {
                return;
            }
            let (full, now) = (self.tasks.len() >= MAX_RUNNING, Instant::now());
            let cleaned = |row: &TransferRow| self.doomed.values().all(|doomed| doomed.hash != row.hash);
            let could =
                |entry: &&Entry| entry.running.is_none() && entry.row.standing == Phase::Going && cleaned(&entry.row);
            let rests = |entry: &&Entry| entry.rest_until.is_some_and(|until| until > now);
            // Whoever rests makes room for others, not for nobody.
            let next = self.in_order().filter(could).find(|entry| !rests(entry));
            let next = next.or_else(|| self.in_order().find(could).filter(|_| !full));
            let Some(id) = next.map(|entry| entry.row.id) else { return };
            if full {
                return self.make_room(now);
            }
            self.start(id);
        }
    }

    /// Halts the one that has waited longest, for another one that may have somebody to ask.
    fn make_room(&mut self, now: Instant) {
        let ends = |entry: &Entry| entry.running.as_ref().is_some_and(|running| running.stop.is_cancelled());
        if self.entries.values().any(ends) || self.doomed.values().any(|doomed| doomed.ending.is_some()) {
            // Its place is free soon.
            return;
        }
        let waiting = self.entries.values_mut().filter_map(|entry| {
            let running = entry.running.as_ref().filter(|running| running.waits())?;
            Some((running.since, entry))
        });
        let Some((_, entry)) = waiting.min_by_key(|(since, _)| *since) else { return };
        let Some(running) = &entry.running else { return };
        let next_try = running.live.borrow().next_try;
        entry.rest_until = Some(next_try.map_or(now + REST, |at| at.max(now + REST)));
        running.stop.cancel();
    }

    fn start(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let live = Live {
            state: TransferState::Searching,
            name: entry.row.name.clone(),
            known: None,
            sealed: entry.row.sealed,
            done_bytes: entry.row.done_bytes,
            files_done: 0,
            twice_bytes: 0,
            spent: Duration::ZERO,
            bytes_per_second: 0,
            remaining: None,
            suppliers: entry.suppliers.clone(),
            trouble: None,
            next_try: None,
            synced: Arc::default(),
        };
        let (live, shown) = watch::channel(live);
        let stop = CancellationToken::new();
        let fetching = fetch::run(self.context.clone(), entry.job(), entry.suppliers.clone(), live, stop.clone());
        let span = tracing::info_span!("transfer", id);
        self.tasks.spawn(async move { (id, fetching.await) }.instrument(span));
        (entry.running, entry.rest_until) = (Some(Running { live: shown, stop, since: Instant::now() }), None);
    }

    /// Its task ends soon; whether it goes on later is in its row.
    fn halt(&mut self, id: u32) {
        if let Some(running) = self.entries.get(&id).and_then(|entry| entry.running.as_ref()) {
            running.stop.cancel();
        }
    }

    /// The next task that has ended; nobody: waits. May be dropped and called again.
    pub async fn ended(&mut self) -> (u32, Outcome) {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.tasks.join_next() => ended,
                Some(cleaned) = self.cleaning.join_next() => {
                    self.cleaned(cleaned);
                    continue;
                }
                else => std::future::pending().await,
            };
            match ended {
                Ok(ended) => return ended,
                Err(error) if error.is_panic() => {
                    tracing::error!(%error, "a transfer has ended in a panic");
                    // Which, is told by who is gone.
                    let gone = self.entries.values().find(|entry| {
                        entry.running.as_ref().is_some_and(|running| running.live.has_changed().is_err())
                    });
                    if let Some(entry) = gone {
                        let failure =
                            Failure::new(FailureKind::Internal, "the transfer has failed in a way that it should not");
                        return (entry.row.id, Outcome::Stuck(failure.advise("The log says more.")));
                    }
                    let is_gone =
                        |doomed: &Doomed| doomed.ending.as_ref().is_some_and(|live| live.has_changed().is_err());
                    if let Some((id, _)) = self.doomed.iter().find(|(_, doomed)| is_gone(doomed)) {
                        return (*id, Outcome::Stopped);
                    }
                }
                Err(_) => {}
            }
        }
    }

    pub async fn handle_ended(&mut self, id: u32, outcome: Outcome) {
        if let Some(doomed) = self.doomed.remove(&id) {
            self.clean(id, doomed);
            return self.start_some();
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (row, suppliers) = entry.current();
        (entry.row, entry.suppliers, entry.running) = (row, suppliers, None);
        let row = &mut entry.row;
        let mut over = None;
        match outcome {
            Outcome::Done { path, partial } => {
                over = Some((row.folder.clone(), partial));
                (row.standing, row.saved, row.trouble) = (Phase::Done, path, None);
                (row.done_bytes, row.finished_unix_ms) = (row.size_bytes, unix_ms());
                row.synced.clear();
                tracing::info!(id, bytes = row.size_bytes, "fetched");
            }
            Outcome::Failed(failure) => {
                tracing::warn!(id, %failure, "a transfer has failed");
                (row.standing, row.trouble) = (Phase::Failed, Some(failure));
                row.finished_unix_ms = unix_ms();
            }
            Outcome::Stuck(failure) => {
                tracing::warn!(id, %failure, "a transfer is paused");
                (row.standing, row.trouble) = (Phase::Paused, Some(failure));
            }
            Outcome::Stopped => {}
        }
        let hash = row.hash;
        if self.save(id).await
            && let Some((folder, partial)) = over
        {
            self.doomed.insert(id, Doomed { hash, folder: folder.clone(), ending: None });
            self.cleaning.spawn(async move {
                fetch::forget(folder, partial).await;
                id
            });
        }
        self.start_some();
    }

    /// What is left of a transfer that goes on no more, there at least.
    fn clean(&mut self, id: u32, doomed: Doomed) {
        let (places, folder, hash) = (Arc::clone(&self.context.places), doomed.folder.clone(), doomed.hash);
        self.doomed.insert(id, Doomed { ending: None, ..doomed });
        self.cleaning.spawn(async move {
            fetch::discard(&places, &folder, hash).await;
            id
        });
    }

    fn cleaned(&mut self, cleaned: Result<u32, JoinError>) {
        match cleaned {
            Ok(id) => _ = self.doomed.remove(&id),
            // Which, is not told: what a removal has left over is in nobody's way.
            Err(error) => {
                tracing::error!(%error, "removing what is left of a transfer has ended in a panic");
                self.doomed.retain(|_, doomed| doomed.ending.is_some());
            }
        }
        self.start_some();
    }

    fn shown(&self, id: u32) -> Option<Transfer> {
        let people = self.context.people.borrow();
        self.entries.get(&id).map(|entry| entry.show(&people, Instant::now()))
    }

    /// Those that are not done in their order, then the others, the newest first.
    pub fn all(&self, most: usize) -> Vec<Transfer> {
        let (people, now) = (self.context.people.borrow(), Instant::now());
        let is_over = |entry: &&Entry| matches!(entry.row.standing, Phase::Done | Phase::Failed);
        let (over, going): (Vec<&Entry>, Vec<&Entry>) = self.in_order().partition(is_over);
        let mut over = over;
        over.sort_by_key(|entry| std::cmp::Reverse((entry.row.finished_unix_ms, entry.row.id)));
        going.into_iter().chain(over).take(most).map(|entry| entry.show(&people, now)).collect()
    }

    /// Whether something changes all the time.
    pub fn is_moving(&self) -> bool {
        self.entries.values().any(Entry::is_busy)
    }

    /// Whether something may change by itself.
    pub fn is_waiting(&self) -> bool {
        !self.tasks.is_empty()
    }

    pub fn has(&self, hash: FileHash) -> Option<u32> {
        self.entries.values().find(|entry| entry.row.hash == hash).map(|entry| entry.row.id)
    }

    /// How many of those that this peer has offered, and that began without asking, are not done.
    pub fn unasked_of(&self, peer: PeerId) -> usize {
        let is_one = |entry: &&Entry| {
            let wanted = &entry.wanted;
            entry.row.standing != Phase::Done
                && wanted.unasked
                && wanted.origins.first().is_some_and(|origin| origin.peer == peer)
        };
        self.entries.values().filter(is_one).count()
    }

    /// One of the same content that is done makes room for the new one.
    pub async fn begin(&mut self, new: NewTransfer) -> Result<Transfer, Failure> {
        if let Some(id) = self.has(new.hash) {
            self.place_anew(id, &new)?;
            let entry = self.entries.get_mut(&id).ok_or_else(super::check::stopped)?;
            if entry.row.standing != Phase::Done {
                let more = entry.wanted.join(new.wanted);
                let stands = entry.row.standing != Phase::Going;
                (entry.row.standing, entry.row.trouble, entry.rest_until) = (Phase::Going, None, None);
                if entry.running.is_some() && more && entry.state() != TransferState::Fetching {
                    // It starts again, and asks those as well.
                    self.halt(id);
                }
                if stands {
                    tracing::info!(id, "a transfer goes on");
                }
                self.save(id).await;
                self.start_some();
                return self.shown(id).ok_or_else(super::check::stopped);
            }
            self.entries.remove(&id);
            self.context.db.write(move |store| store.remove_transfer(id)).await?;
        }
        let row = TransferRow {
            id: self.next_id,
            hash: new.hash,
            place: 0,
            name: new.name,
            kind: new.kind,
            size_bytes: 0,
            list_bytes: 0,
            files: 0,
            folder: new.folder,
            wanted: serde_json::to_string(&new.wanted).unwrap_or_default(),
            standing: Phase::Going,
            sealed: false,
            done_bytes: 0,
            twice_bytes: 0,
            spent_ms: 0,
            trouble: None,
            saved: PathBuf::new(),
            started_unix_ms: unix_ms(),
            finished_unix_ms: 0,
            boot: String::new(),
            synced: Vec::new(),
            sources: String::new(),
        };
        let row = self.context.db.write(move |store| store.new_transfer(&row)).await?;
        let id = row.id;
        self.next_id = id + 1;
        tracing::info!(id, hash = %row.hash, "a transfer begins");
        self.entries.insert(id, Entry::new(row));
        self.start_some();
        self.shown(id).ok_or_else(super::check::stopped)
    }

    /// One that is not done is saved where and as its user wants it now: as long as nothing of it is anywhere.
    fn place_anew(&mut self, id: u32, new: &NewTransfer) -> Result<(), Failure> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let row = &mut entry.row;
        let same_folder = !new.folder_chosen || new.folder == row.folder;
        let same_name = !new.name_chosen || new.name == row.name;
        if row.standing == Phase::Done || (same_folder && same_name) {
            return Ok(());
        }
        if entry.running.is_some() || row.done_bytes > 0 {
            let (shown, folder) =
                (if row.name.is_empty() { row.hash.to_string() } else { row.name.clone() }, &row.folder);
            let message = format!("{shown} is being saved into {} already", folder.display());
            return Err(
                Failure::new(FailureKind::Busy, message).advise(format!("Cancel it first: kithctl files cancel {id}"))
            );
        }
        if new.name_chosen {
            row.name.clone_from(&new.name);
        }
        if !same_folder {
            (row.boot, row.synced) = (String::new(), Vec::new());
            // Room may have been set aside there already.
            let folder = std::mem::replace(&mut row.folder, new.folder.clone());
            let doomed = Doomed { hash: row.hash, folder, ending: None };
            self.clean(id, doomed);
        }
        Ok(())
    }

    pub fn shown_of(&self, id: u32) -> Result<Transfer, Failure> {
        self.shown(id).ok_or_else(|| super::check::no_transfer(id))
    }

    pub async fn pause(&mut self, id: u32) -> Result<Transfer, Failure> {
        let entry = self.entries.get_mut(&id).ok_or_else(|| super::check::no_transfer(id))?;
        if entry.row.standing == Phase::Going {
            (entry.row.standing, entry.row.trouble) = (Phase::Paused, None);
            self.halt(id);
            self.save(id).await;
        }
        self.shown_of(id)
    }

    pub async fn resume(&mut self, id: u32) -> Result<Transfer, Failure> {
        let entry = self.entries.get_mut(&id).ok_or_else(|| super::check::no_transfer(id))?;
        if matches!(entry.row.standing, Phase::Paused | Phase::Failed) {
            (entry.row.standing, entry.row.trouble, entry.rest_until) = (Phase::Going, None, None);
            entry.row.finished_unix_ms = 0;
            self.save(id).await;
            self.start_some();
        }
        self.shown_of(id)
    }

    /// Before all others, and at once.
    pub async fn first(&mut self, id: u32) -> Result<Transfer, Failure> {
        let place = self.entries.values().map(|entry| entry.row.place).min().unwrap_or(0) - 1;
        let entry = self.entries.get_mut(&id).ok_or_else(|| super::check::no_transfer(id))?;
        if matches!(entry.row.standing, Phase::Done) {
            return self.shown_of(id);
        }
        entry.row.place = place;
        (entry.row.standing, entry.row.trouble, entry.rest_until) = (Phase::Going, None, None);
        let waits = entry.running.is_none();
        self.save(id).await;
        let busy: Vec<u32> = self.in_order().filter(|entry| entry.is_busy()).map(|entry| entry.row.id).collect();
        if waits
            && busy.len() >= self.at_once
            && let Some(last) = busy.last()
        {
            // It goes on when there is a place again.
            self.halt(*last);
        }
        self.start_some();
        self.shown_of(id)
    }

    /// Leaves the list; what is not whole is deleted. `Some`: it was done, and this is the content.
    pub async fn cancel(&mut self, id: u32) -> Result<Option<FileHash>, Failure> {
        let entry = self.entries.remove(&id).ok_or_else(|| super::check::no_transfer(id))?;
        self.context.db.write(move |store| store.remove_transfer(id)).await?;
        let Entry { row, running, .. } = entry;
        if row.standing == Phase::Done {
            return Ok(Some(row.hash));
        }
        let doomed = Doomed { hash: row.hash, folder: row.folder, ending: None };
        match running {
            Some(running) => {
                running.stop.cancel();
                self.doomed.insert(id, Doomed { ending: Some(running.live), ..doomed });
            }
            None => self.clean(id, doomed),
        }
        Ok(None)
    }

    /// How far those are that go on.
    pub async fn save_some(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.saved_at) < SAVE_EVERY {
            return;
        }
        self.saved_at = now;
        let running = self.entries.values().filter(|entry| entry.running.is_some());
        let changed = |entry: &&Entry| {
            let done = entry.running.as_ref().map_or(0, |running| running.live.borrow().done_bytes);
            entry.saved != (done, entry.row.standing)
        };
        let changed: Vec<u32> = running.filter(changed).map(|entry| entry.row.id).collect();
        for id in changed {
            self.save(id).await;
        }
    }

    /// Whether it is written down.
    async fn save(&mut self, id: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let row = entry.kept();
        entry.saved = (row.done_bytes, row.standing);
        let db: &Database = &self.context.db;
        let written = db.write(move |store| store.put_transfer(&row)).await;
        if let Err(failure) = &written {
            tracing::warn!(%failure, id, "how far a transfer is could not be written down");
        }
        written.is_ok()
    }

    /// Stops all of them, and writes down how far they are.
    pub async fn close(&mut self) {
        let ids: Vec<u32> = self.entries.keys().copied().collect();
        for id in ids {
            self.halt(id);
        }
        self.at_once = 0;
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((id, outcome)) = ended {
                self.handle_ended(id, outcome).await;
            }
        }
        while self.cleaning.join_next().await.is_some() {}
    }
}
