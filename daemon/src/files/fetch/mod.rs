//! One transfer, from looking for somebody who has the content to the file in its place.
//!
//! What is asked of whom is decided by `kith_core::transfer`, what is right by `kith_content`; here the two meet the
//! streams ([`super::source`]). A transfer's task ends when it is done or stuck, and when it is told to stop; it can be
//! started again at any time, after any end, and goes on from what is on the disk.

#![allow(clippy::vec_box, reason = "whoever was found is large, and is handed on from one list to the next")]

mod crowd;
mod finder;
mod live;
mod plan;
mod pull;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FileHash, SourceState, TransferState};
use kith_common::ids::PeerId;
use kith_content::Partial;
use kith_core::transfer::Allowance;
use kith_store::Database;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::check::{failure, name_of, provider_key};
use super::library::{Places, blocking};
use super::ports::Network;
use super::source::Bench;
use super::wire::{Question, Status};
use finder::{Ask, Finder, Found, Hint, Lack};
pub(super) use live::{Job, Known, Live, Origin, Outcome, Supplier, Synced, What};
use plan::{NoPlan, Notes, Plan};

/// When only sealed copies were found: somebody with the content itself may answer a little later.
const PLAIN_WITHIN: Duration = Duration::from_secs(2);
/// No run of the machine has this id: what is on record is looked at.
const NO_BOOT: &str = "unknown";
/// Whoever lied about a content is not asked for it for so long.
const BANNED_MS: i64 = 24 * 60 * 60 * 1000;

/// What all transfers have.
#[derive(Clone)]
pub(super) struct Context<N> {
    pub net: N,
    pub db: Database,
    pub people: watch::Receiver<Arc<People>>,
    pub in_call: watch::Receiver<bool>,
    pub places: Arc<Places>,
    pub bench: Bench,
    /// The download limit.
    pub limit: Arc<Mutex<Allowance>>,
}

/// Why a phase is over.
enum End {
    Over(Outcome),
    /// Start over with these, which have it in another form than those before, or with nobody.
    Other(Vec<Box<Found>>),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Over(Outcome::Stuck(failure))
    }
}

/// Fetches until the end, or until it is told to stop. How it stands is in `live`.
pub(super) async fn run<N: Network>(
    context: Context<N>,
    job: Job,
    suppliers: BTreeMap<PeerId, Supplier>,
    live: watch::Sender<Live>,
    stop: CancellationToken,
) -> Outcome {
    let hash = job.hash();
    let banned = match context.db.write(move |store| store.banned(hash, unix_ms())).await {
        Ok(banned) => banned,
        Err(failure) => return Outcome::Stuck(failure),
    };
    let mut fetch = Fetch::new(context, job, suppliers, live, stop);
    fetch.finder.ban(banned);
    let mut first = Vec::new();
    loop {
        match fetch.once(std::mem::take(&mut first)).await {
            End::Over(outcome) => {
                fetch.publish();
                return outcome;
            }
            End::Other(found) => first = found,
        }
    }
}

/// Removes what is left of something that is whole: where it was saved has been noted, or the partial is not that which knows it.
pub(super) async fn forget(folder: PathBuf, partial: FileHash) {
    if let Err(error) = blocking(move || Partial::discard_at(&folder, partial)).await {
        tracing::warn!(%error, "what is left of a transfer that is done was not removed");
    }
}

/// Removes what was fetched of something that is wanted no longer.
pub(super) async fn discard(places: &Places, folder: &Path, hash: FileHash) {
    let notes = Notes::new(&places.incoming, hash);
    let folder = folder.to_owned();
    let names = plan::names(hash, &notes).await;
    let discarded = blocking(move || {
        for name in names {
            Partial::discard_at(&folder, name)?;
        }
        notes.forget();
        Ok(())
    });
    if let Err(error) = discarded.await {
        tracing::warn!(%error, "what was fetched of a cancelled transfer was not removed");
    }
}

impl Job {
    /// What liars are banned for.
    pub fn hash(&self) -> FileHash {
        match &self.what {
            What::Content { hash, .. } => *hash,
            What::Copy { id, .. } => *id,
        }
    }
}

struct Fetch<N> {
    context: Context<N>,
    job: Job,
    stop: CancellationToken,
    notes: Notes,
    finder: Finder<N>,
    live: watch::Sender<Live>,
    now: Live,
    /// Keepers who have said that their sealed copies are those that are fetched.
    vouching: BTreeSet<PeerId>,
    /// Since when the state is one that is counted as spent.
    counting: Option<Instant>,
}

impl<N: Network> Fetch<N> {
    fn new(
        context: Context<N>,
        job: Job,
        suppliers: BTreeMap<PeerId, Supplier>,
        live: watch::Sender<Live>,
        stop: CancellationToken,
    ) -> Self {
        let (ask, keys) = match &job.what {
            What::Content { hash, key } => {
                let copy = key.as_ref().map(|(key, _)| kith_content::lookup_id(key, *hash));
                let keys = std::iter::once(*hash).chain(copy).map(provider_key).collect();
                (Ask::Have(Question { hash: Some(*hash), copy }), keys)
            }
            What::Copy { .. } => (Ask::Nothing, Vec::new()),
        };
        let people = context.people.clone();
        let finder = Finder::new(context.net.clone(), ask, keys, job.origins.clone(), job.only_origins, people);
        let notes = Notes::new(&context.places.incoming, job.hash());
        let now = live.borrow().clone();
        let (now, vouching) = (Live { suppliers, ..now }, BTreeSet::new());
        Self { context, job, stop, notes, finder, live, now, vouching, counting: None }
    }

    async fn once(&mut self, first: Vec<Box<Found>>) -> End {
        self.set_state(TransferState::Searching);
        let stop = self.stop.clone();
        let planned = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Over(Outcome::Stopped),
            planned = self.plan(first) => planned,
        };
        let (plan, first) = match planned {
            Ok(planned) => planned,
            Err(end) => return end,
        };
        match self.open(&plan).await {
            Ok(partial) => self.pull(plan, partial, first).await,
            Err(end) => end,
        }
    }

    // ---- what to fetch

    /// And whoever was found on the way.
    async fn plan(&mut self, first: Vec<Box<Found>>) -> Result<(Plan, Vec<Box<Found>>), End> {
        let (hash, key) = match self.job.what.clone() {
            What::Content { hash, key } => (hash, key),
            What::Copy { id, parts } => {
                let plan = plan::of_copy(id, &parts).map_err(|error| End::Over(Outcome::Failed(failure(&error))))?;
                self.now.known = Some(plan.known);
                return Ok((plan, first));
            }
        };
        if first.is_empty()
            && let Some(known) = self.job.known
        {
            let key = key.as_ref().map(|(key, _)| key).filter(|_| self.job.sealed);
            if key.is_some() == self.job.sealed
                && let Some(plan) = plan::remembered(hash, known, key, &self.notes).await
            {
                self.adopt(&plan);
                return Ok((plan, first));
            }
        }
        self.forget_synced();
        self.vouching.clear();
        let mut copies: Vec<Box<Found>> = Vec::new();
        let mut decide_at: Option<Instant> = None;
        let mut next = first.into_iter();
        loop {
            let hint = match next.next() {
                Some(found) => Some(Hint::Found(found)),
                None => tokio::select! {
                    hint = self.finder.next() => Some(hint),
                    () = at(decide_at) => None,
                },
            };
            match hint {
                Some(Hint::Found(mut found)) if found.answer.status == Status::Ok => {
                    self.name(&found);
                    let peer = found.talk.peer;
                    self.meet(peer, &found, SourceState::Active);
                    let promised = key.as_ref().map(|(_, known)| known);
                    match plan::plain(hash, promised, &mut found, &self.notes).await {
                        Ok(plan) => {
                            self.adopt(&plan);
                            return Ok((plan, std::iter::once(found).chain(next).chain(copies).collect()));
                        }
                        Err(why) => self.no_plan(peer, why)?,
                    }
                }
                Some(Hint::Found(found)) => {
                    copies.push(found);
                    decide_at.get_or_insert(Instant::now() + PLAIN_WITHIN);
                }
                Some(Hint::Lacks(peer, lack)) => self.lacks(peer, lack),
                Some(Hint::Nobody) if copies.is_empty() => self.wait(),
                Some(Hint::Nobody) | None => {
                    decide_at = None;
                    let Some((key, known)) = &key else { continue };
                    let mut all = std::mem::take(&mut copies).into_iter();
                    while let Some(mut found) = all.next() {
                        let peer = found.talk.peer;
                        self.meet(peer, &found, SourceState::Active);
                        match plan::sealed(hash, *known, key, &mut found, &self.notes).await {
                            Ok(plan) => {
                                self.adopt(&plan);
                                return Ok((plan, std::iter::once(found).chain(all).collect()));
                            }
                            Err(why) => self.no_plan(peer, why)?,
                        }
                    }
                    self.finder.search();
                }
            }
        }
    }

    fn adopt(&mut self, plan: &Plan) {
        self.now.known = Some(plan.known);
        self.now.sealed = plan.sealed.is_some();
        self.job.known = Some(plan.known);
        self.job.sealed = self.now.sealed;
        self.publish();
    }

    /// What is fetched from here on may stand in another partial, of which nothing was noted.
    fn forget_synced(&mut self) {
        if !self.job.boot.is_empty() {
            NO_BOOT.clone_into(&mut self.job.boot);
            self.job.synced.clear();
            self.now.synced = Arc::new(Synced { boot: self.job.boot.clone(), bits: Vec::new() });
        }
    }

    fn name(&mut self, found: &Found) {
        if self.now.name.is_empty() && !found.answer.name.is_empty() {
            self.now.name = kith_content::safe_name(&found.answer.name);
        }
    }

    fn no_plan(&mut self, peer: PeerId, why: NoPlan) -> Result<(), End> {
        match why {
            NoPlan::Gone(why) => {
                self.part(peer, SourceState::Dropped, &why);
                self.finder.lost(peer, Some(Lack::Unreachable(why)));
            }
            NoPlan::Not(status) => {
                let lack = match status {
                    Status::NotAllowed => Lack::NotAllowed,
                    Status::Changed => Lack::Changed,
                    _ => Lack::NotFound,
                };
                self.lacks(peer, lack.clone());
                self.finder.lost(peer, Some(lack));
            }
            NoPlan::Lied(why) => self.lied(peer, &why),
            NoPlan::Never(failure) => return Err(End::Over(Outcome::Failed(failure))),
            NoPlan::Here(error) => return Err(failure(&error).into()),
        }
        Ok(())
    }

    // ---- the partial file

    async fn open(&mut self, plan: &Plan) -> Result<Partial, End> {
        let (folder, hash, layout) = (self.job.folder.clone(), plan.hash, plan.layout.clone());
        let placed = blocking(move || Ok(Partial::placed(&folder, hash))).await;
        if let Ok(Some(path)) = placed {
            // It was put into its place, and the note on that was lost.
            return Err(End::Over(Outcome::Done { path, partial: plan.hash }));
        }
        let folder = self.job.folder.clone();
        let boot = kith_content::boot_id().unwrap_or_default();
        let unsure = self.job.boot != boot;
        let units = plan.layout.units();
        let synced = kith_content::Bits::from_bytes(&self.job.synced, units);
        let synced = synced.unwrap_or_else(|| kith_content::Bits::new(units));
        let stop = self.stop.clone();
        let opened = blocking(move || {
            let (partial, bits) = Partial::create_or_open(&folder, hash, layout)?;
            partial.allocate()?;
            if unsure && bits.count() > 0 {
                // The machine went down: what was noted may be ahead of what was written.
                let mut go_on = |_| match stop.is_cancelled() {
                    true => std::ops::ControlFlow::Break(()),
                    false => std::ops::ControlFlow::Continue(()),
                };
                partial.recheck(Some(&synced), &mut go_on)?;
            }
            Ok(partial)
        });
        match opened.await {
            Ok(partial) => {
                // Not earlier: whoever is stopped before has looked at a part of it only.
                self.job.boot.clone_from(&boot);
                self.now.synced = Arc::new(Synced { boot, bits: self.job.synced.clone() });
                self.publish();
                Ok(partial)
            }
            Err(kith_content::ContentError::Cancelled) => Err(End::Over(Outcome::Stopped)),
            Err(error) => Err(failure(&error).into()),
        }
    }

    // ---- what is shown

    fn set_state(&mut self, state: TransferState) {
        let counted = matches!(state, TransferState::Fetching | TransferState::Finishing);
        let now = Instant::now();
        if let Some(since) = self.counting.take() {
            self.now.spent += now.saturating_duration_since(since);
        }
        self.counting = counted.then_some(now);
        self.now.state = state;
        if state != TransferState::Waiting {
            (self.now.trouble, self.now.next_try) = (None, None);
        }
        self.publish();
    }

    /// Nobody is there.
    fn wait(&mut self) {
        self.now.trouble = Some(self.nobody());
        self.now.next_try = self.finder.next_try();
        (self.now.bytes_per_second, self.now.remaining) = (0, None);
        self.set_state(TransferState::Waiting);
    }

    fn publish(&mut self) {
        if let Some(since) = self.counting {
            let now = Instant::now();
            self.now.spent += now.saturating_duration_since(since);
            self.counting = Some(now);
        }
        self.live.send_replace(self.now.clone());
    }

    /// Why there is nobody, as far as it is known.
    fn nobody(&self) -> Failure {
        let people = Arc::clone(&self.context.people.borrow());
        let of = |wanted: fn(&Lack) -> bool| {
            self.finder.lacks().filter(move |(_, lack)| wanted(lack)).map(|(peer, _)| peer).collect::<Vec<_>>()
        };
        let named = |peers: &[PeerId]| {
            let names: Vec<String> = peers.iter().take(3).map(|peer| name_of(&people, *peer)).collect();
            names.join(" and ")
        };
        let again = "It is tried again by itself.";
        let refusing = of(|lack| *lack == Lack::NotAllowed);
        if !refusing.is_empty() {
            let message = format!("{} has it, and does not share it with this node", named(&refusing));
            return Failure::new(FailureKind::NotPermitted, message)
                .advise("Ask for it to be shared with you: kithctl files add PATH --to PEER");
        }
        let liars = of(|lack| *lack == Lack::Lied);
        if !liars.is_empty() {
            let message =
                format!("{} sent what is not the content, and nobody else who has it is there", named(&liars));
            return Failure::new(FailureKind::VerificationFailed, message).advise(again);
        }
        let changed = of(|lack| *lack == Lack::Changed);
        if !changed.is_empty() {
            let message = format!("the file has changed at {} since it was shared", named(&changed));
            return Failure::new(FailureKind::Unreachable, message)
                .advise("Ask for the new ticket: the file has to be added again.");
        }
        let away = self.job.origins.iter().find_map(|origin| {
            self.finder.lacks().find_map(|(peer, lack)| match lack {
                Lack::Unreachable(why) if peer == origin.peer => Some((peer, why.clone())),
                _ => None,
            })
        });
        let message = match away {
            Some((peer, why)) => format!("{} is not there, and nobody else has it: {why}", name_of(&people, peer)),
            None => "nobody who has it is there".to_owned(),
        };
        Failure::new(FailureKind::Unreachable, message).advise(again)
    }

    fn meet(&mut self, peer: PeerId, found: &Found, state: SourceState) {
        let sealed = found.answer.status != Status::Ok;
        let path = Some(found.talk.path);
        let new = Supplier { state, path, received_bytes: 0, bytes_per_second: 0, reason: String::new(), sealed };
        let known = self.now.suppliers.entry(peer).or_insert_with(|| new.clone());
        *known = Supplier { received_bytes: known.received_bytes, ..new };
    }

    fn part(&mut self, peer: PeerId, state: SourceState, why: &str) {
        let new = Supplier {
            state,
            path: None,
            received_bytes: 0,
            bytes_per_second: 0,
            reason: String::new(),
            sealed: false,
        };
        let known = self.now.suppliers.entry(peer).or_insert(new);
        (known.state, known.bytes_per_second) = (state, 0);
        why.clone_into(&mut known.reason);
    }

    fn lacks(&mut self, peer: PeerId, lack: Lack) {
        let why = match lack {
            Lack::NotFound => "It does not have it.".to_owned(),
            Lack::NotAllowed => "It does not share it with this node.".to_owned(),
            Lack::Changed => "The file has changed there since it was shared.".to_owned(),
            Lack::Unreachable(why) => why,
            Lack::Lied => return,
        };
        self.part(peer, SourceState::Dropped, &why);
    }

    /// It sent what is not the content. Nothing of that was kept.
    fn lied(&mut self, peer: PeerId, why: &str) {
        tracing::warn!(why, "a peer has sent what is not the content that it was asked for");
        tracing::debug!(%peer, "it was this one");
        self.part(peer, SourceState::Lied, &format!("It sent what is not the content: {why}."));
        self.finder.lost(peer, Some(Lack::Lied));
        let (db, hash) = (self.context.db.clone(), self.job.hash());
        tokio::spawn(async move {
            if let Err(failure) = db.write(move |store| store.ban(peer, hash, unix_ms() + BANNED_MS)).await {
                tracing::warn!(%failure, "could not note who has lied");
            }
        });
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
