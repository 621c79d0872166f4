//! All transfers: what is done with them, and how they are kept over restarts.

mod entry;
mod removals;
pub(super) mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FileHash, Transfer, TransferState};
use kith_common::ids::PeerId;
use kith_store::{Database, Phase, TransferRow};
use tokio::task::JoinSet;

use super::check::{no_transfer, stopped};
use super::fetch::{Context, Outcome};
use super::ports::Network;
use super::wanted::NewTransfer;
use entry::Entry;
use removals::Removals;

/// How far a transfer is, is written down this often.
const SAVE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Transfers<N> {
    context: Context<N>,
    entries: BTreeMap<u32, Entry>,
    tasks: JoinSet<(u32, Outcome)>,
    /// Of those that were cancelled or are done.
    removals: Removals,
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
            removals: Removals::default(),
            at_once: at_once as usize,
            saved_at: Instant::now(),
            next_id: 1,
        })
    }

    /// The next task that has ended; nobody: waits. May be dropped and called again.
    pub async fn ended(&mut self) -> (u32, Outcome) {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.tasks.join_next() => ended,
                Some(()) = self.removals.ended() => {
                    self.start_some();
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
                    if let Some(id) = self.removals.gone() {
                        return (id, Outcome::Stopped);
                    }
                }
                Err(_) => {}
            }
        }
    }

    pub async fn handle_ended(&mut self, id: u32, outcome: Outcome) {
        if self.removals.task_ended(id, &self.context.places) {
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
            self.removals.forget(id, hash, folder, partial);
        }
        self.start_some();
    }

    fn shown(&self, id: u32) -> Option<Transfer> {
        let people = Arc::clone(&self.context.people.borrow());
        self.entries.get(&id).map(|entry| entry.show(&people, Instant::now()))
    }

    /// Those that are not done in their order, then the others, the newest first.
    pub fn all(&self, most: usize) -> Vec<Transfer> {
        let (people, now) = (Arc::clone(&self.context.people.borrow()), Instant::now());
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
        let is_one = |entry: &&Entry| entry.row.standing != Phase::Done && entry.wanted.is_unasked_of(peer);
        self.entries.values().filter(is_one).count()
    }

    /// One of the same content that is done makes room for the new one.
    pub async fn begin(&mut self, new: NewTransfer) -> Result<Transfer, Failure> {
        if let Some(id) = self.has(new.hash) {
            self.place_anew(id, &new)?;
            let entry = self.entries.get_mut(&id).ok_or_else(stopped)?;
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
                return self.shown(id).ok_or_else(stopped);
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
        self.shown(id).ok_or_else(stopped)
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
            self.removals.discard(id, row.hash, folder, &self.context.places);
        }
        Ok(())
    }

    pub fn shown_of(&self, id: u32) -> Result<Transfer, Failure> {
        self.shown(id).ok_or_else(|| no_transfer(id))
    }

    pub async fn pause(&mut self, id: u32) -> Result<Transfer, Failure> {
        let entry = self.entries.get_mut(&id).ok_or_else(|| no_transfer(id))?;
        if entry.row.standing == Phase::Going {
            (entry.row.standing, entry.row.trouble) = (Phase::Paused, None);
            self.halt(id);
            self.save(id).await;
        }
        self.shown_of(id)
    }

    pub async fn resume(&mut self, id: u32) -> Result<Transfer, Failure> {
        let entry = self.entries.get_mut(&id).ok_or_else(|| no_transfer(id))?;
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
        let entry = self.entries.get_mut(&id).ok_or_else(|| no_transfer(id))?;
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
        let entry = self.entries.remove(&id).ok_or_else(|| no_transfer(id))?;
        self.context.db.write(move |store| store.remove_transfer(id)).await?;
        let Entry { row, running, .. } = entry;
        if row.standing == Phase::Done {
            return Ok(Some(row.hash));
        }
        match running {
            Some(running) => {
                running.stop.cancel();
                self.removals.discard_after(id, row.hash, row.folder, running.live);
            }
            None => self.removals.discard(id, row.hash, row.folder, &self.context.places),
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
        while self.removals.ended().await.is_some() {}
    }
}
