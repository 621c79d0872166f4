//! The units of a transfer, from everybody who has them, until all are on the disk: what happens is passed on to
//! `kith_core::transfer`, and what that decides is done.

mod finish;
mod sources;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use kith_common::file::{SourceState, TransferState};
use kith_content::{Bits as Stored, ContentError, Partial};
use kith_core::transfer::{Bits, Event, Mode, Refusal, Standing, Transfer, Units, Why};
use tokio::task::JoinSet;

use super::crowd::{Crowd, SourceId};
use super::finder::{Found, Hint, Lack};
use super::live::{Outcome, Synced};
use super::plan::Plan;
use super::{End, Fetch, at};
use crate::files::check::failure;
use crate::files::library::blocking;
use crate::files::ports::Network;
use crate::files::source::{News, Order};
use crate::files::wire::Status;
use crate::net::frames::FrameError;
use sources::Gone;

/// What is shown is renewed this often.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// What was written is made certain this often, or after so many bytes: it is what a power cut costs at the most.
const SYNC_EVERY: Duration = Duration::from_secs(2);
const SYNC_BYTES: u64 = 64 * 1024 * 1024;
/// News that are dealt with before it is decided again what to ask.
const AT_ONCE: usize = 64;

/// What one transfer is at.
struct Pull {
    plan: Plan,
    partial: Arc<Partial>,
    transfer: Transfer<SourceId>,
    crowd: Crowd,
    /// Making certain what was written.
    syncing: JoinSet<Result<Stored, ContentError>>,
    unsynced: u64,
    synced_at: Instant,
    shown_at: Instant,
    /// Those who have it in the other form: plain where copies are fetched, or the other way round. And keepers of other copies.
    others: Vec<Box<Found>>,
    /// Keepers of a folder's files that are asked whether they have the same copies.
    comparing: JoinSet<(Box<Found>, Result<bool, FrameError>)>,
}

impl<N: Network> Fetch<N> {
    pub(super) async fn pull(&mut self, plan: Plan, partial: Partial, first: Vec<Box<Found>>) -> End {
        let done = partial.bits();
        let sizes = plan.layout.blobs.iter().map(|blob| blob.size);
        let Some(units) = Units::new(plan.layout.unit_bytes, sizes) else {
            return End::Over(Outcome::Failed(failure(&ContentError::TooLarge)));
        };
        let bits = Bits::from_bytes(done.as_bytes(), units.count());
        // Everybody who has it has all of it: there is nothing to be gained by beginning elsewhere.
        let transfer = Transfer::new(units, &bits, 0);
        let now = Instant::now();
        let mut pull = Pull {
            plan,
            partial: Arc::new(partial),
            transfer,
            crowd: Crowd::new(),
            syncing: JoinSet::new(),
            unsynced: 0,
            synced_at: now,
            shown_at: now,
            others: Vec::new(),
            comparing: JoinSet::new(),
        };
        let mut first = first.into_iter();
        // By the word of the first of them the plan was made.
        if let Some(found) = first.next() {
            self.join(&mut pull, found);
        }
        for found in first {
            self.found(&mut pull, found);
        }
        self.show(&mut pull);
        let end = self.turn(&mut pull).await;
        self.show(&mut pull);
        let kept = if let Turned::Other(found) = &end { found } else { &pull.others };
        self.finder.lost_all_but(&kept.iter().map(|found| found.talk.peer).collect());
        let Pull { plan, partial, crowd, mut syncing, others, .. } = pull;
        crowd.close().await;
        while syncing.join_next().await.is_some() {}
        match end {
            Turned::Finished => self.finish(&plan, partial, others).await,
            Turned::Stopped => match self.sync(&partial).await {
                Ok(()) => End::Over(Outcome::Stopped),
                Err(error) => failure(&error).into(),
            },
            Turned::Here(error) => {
                // What can be made certain is; the reason for the end is the other one.
                let _ = self.sync(&partial).await;
                failure(&error).into()
            }
            Turned::Other(found) => {
                let _ = self.sync(&partial).await;
                (self.job.known, self.job.synced) = (None, Vec::new());
                End::Other(found)
            }
        }
    }

    async fn turn(&mut self, pull: &mut Pull) -> Turned {
        let mut in_call = self.context.in_call.clone();
        loop {
            let now = Instant::now();
            let calling = *in_call.borrow_and_update() || pull.crowd.is_calling();
            pull.transfer.set_mode(if calling { Mode::Gentle } else { Mode::Full }, now);
            let limit = Arc::clone(&self.context.limit);
            loop {
                let event = {
                    let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
                    pull.transfer.poll_event(&mut limit, now)
                };
                match event {
                    Some(Event::Finished) => return Turned::Finished,
                    Some(event) => self.act(pull, event),
                    None => break,
                }
            }
            self.sync_when_due(pull);
            if now.duration_since(pull.shown_at) >= SHOW_EVERY {
                self.show(pull);
            }
            let wake = {
                let limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
                pull.transfer.poll_timeout(&limit, now)
            };
            let tick = (!pull.crowd.is_empty()).then_some(pull.shown_at + SHOW_EVERY);
            let wake = wake.into_iter().chain(tick).min();
            tokio::select! {
                () = self.stop.cancelled() => return Turned::Stopped,
                Some((source, news)) = pull.crowd.news.recv() => {
                    let mut next = Some((source, news));
                    for _ in 0..AT_ONCE {
                        let Some((source, news)) = next else { break };
                        if let Err(error) = self.hear(pull, source, news) {
                            return Turned::Here(error);
                        }
                        next = pull.crowd.news.try_recv().ok();
                    }
                    if let Some((source, news)) = next
                        && let Err(error) = self.hear(pull, source, news)
                    {
                        return Turned::Here(error);
                    }
                }
                Some(synced) = pull.syncing.join_next() => match synced {
                    Ok(Ok(bits)) => self.synced(&bits),
                    Ok(Err(error)) => return Turned::Here(error),
                    Err(error) => tracing::error!(%error, "making sure of what was written has failed"),
                },
                Some(compared) = pull.comparing.join_next() => {
                    if let Ok((found, same)) = compared {
                        self.compared(pull, found, same);
                    }
                }
                hint = self.finder.next() => match hint {
                    Hint::Found(found) => self.found(pull, found),
                    Hint::Lacks(peer, lack) => self.lacks(peer, lack),
                    Hint::Nobody if pull.crowd.is_empty() && pull.comparing.is_empty() => {
                        // While there is nobody else, the other form is better than none.
                        if !pull.others.is_empty() {
                            return Turned::Other(std::mem::take(&mut pull.others));
                        }
                        self.wait();
                    }
                    Hint::Nobody => {}
                },
                Ok(()) = in_call.changed() => {}
                () = at(wake) => {}
            }
        }
    }

    fn act(&mut self, pull: &mut Pull, event: Event<SourceId>) {
        match event {
            Event::Ask { source, unit } => {
                let asked = pull.plan.get(unit).is_some_and(|get| pull.crowd.order(source, Order::Ask { unit, get }));
                if !asked {
                    self.gone(pull, source, "it takes no more questions", Gone::Lost);
                }
            }
            Event::Cancel { source, unit } => {
                pull.crowd.order(source, Order::Cancel { unit });
            }
            Event::Pace { source, bytes_per_second } => {
                pull.crowd.order(source, Order::Pace(bytes_per_second));
            }
            Event::Drop { source, why } => {
                let Some(peer) = pull.crowd.leave(source) else { return };
                match why {
                    // Said where it was found out.
                    Why::Lied => {}
                    Why::Stalled => {
                        let why = "It was silent again and again.".to_owned();
                        self.part(peer, SourceState::Dropped, &why);
                        self.finder.lost(peer, Some(Lack::Unreachable(why)));
                    }
                    Why::Changed => self.lost_for(peer, Lack::Changed),
                    Why::NotAllowed => self.lost_for(peer, Lack::NotAllowed),
                    Why::NotFound | Why::Missing => self.lost_for(peer, Lack::NotFound),
                }
            }
            Event::Search => self.finder.search(),
            // The caller's.
            Event::Finished => {}
        }
    }

    fn hear(&mut self, pull: &mut Pull, source: SourceId, news: News) -> Result<(), ContentError> {
        let now = Instant::now();
        match news {
            News::Bytes { unit, bytes } => pull.transfer.handle_bytes(source, unit, bytes, now),
            News::Held(held) => pull.transfer.handle_held(source, held, now),
            News::Trickles => {
                pull.transfer.handle_gone(source);
                if let Some(peer) = pull.crowd.leave(source) {
                    let why = "It sends next to nothing, and others wait.".to_owned();
                    self.lost_for(peer, Lack::Unreachable(why));
                }
            }
            News::Received { unit } => pull.transfer.handle_received(source, unit, now),
            News::Stored { unit } => {
                let bytes = pull.plan.get(unit).map_or(0, |get| get.length);
                pull.unsynced += bytes;
                if let Some(supplier) = pull.crowd.peer(source).and_then(|peer| self.now.suppliers.get_mut(&peer)) {
                    supplier.received_bytes += bytes;
                }
                pull.transfer.handle_stored(source, unit, now);
            }
            News::Wrong { why } => {
                if let Some(peer) = pull.crowd.leave(source) {
                    self.lied(peer, &why);
                }
                pull.transfer.handle_wrong(source);
            }
            News::Refused { unit, status } => {
                let refusal = match status {
                    Status::NotFound => Refusal::NotFound,
                    Status::NotAllowed => Refusal::NotAllowed,
                    Status::Changed => Refusal::Changed,
                    Status::Busy { retry_ms } => Refusal::Busy(Duration::from_millis(retry_ms.into())),
                    // Nobody took it back here: it is as good as not there.
                    Status::Missing | Status::Cancelled | Status::Ok => Refusal::Missing,
                };
                pull.transfer.handle_refused(source, unit, refusal, now);
            }
            News::Calling(calling) => pull.crowd.set_calling(source, calling),
            News::Disk(error) => return Err(error),
            News::Gone { why, nonsense } => {
                self.gone(pull, source, &why, if nonsense { Gone::Nonsense } else { Gone::Lost });
            }
        }
        Ok(())
    }

    fn sync_when_due(&mut self, pull: &mut Pull) {
        let now = Instant::now();
        let due = pull.unsynced >= SYNC_BYTES || now.duration_since(pull.synced_at) >= SYNC_EVERY;
        if pull.unsynced > 0 && due && pull.syncing.is_empty() {
            (pull.unsynced, pull.synced_at) = (0, now);
            let partial = Arc::clone(&pull.partial);
            pull.syncing.spawn(blocking(move || partial.sync()));
        }
    }

    async fn sync(&mut self, partial: &Arc<Partial>) -> Result<(), ContentError> {
        let partial = Arc::clone(partial);
        let bits = blocking(move || partial.sync()).await?;
        self.synced(&bits);
        Ok(())
    }

    fn synced(&mut self, bits: &Stored) {
        self.job.synced = bits.as_bytes().to_vec();
        self.now.synced = Arc::new(Synced { boot: self.job.boot.clone(), bits: self.job.synced.clone() });
    }

    fn show(&mut self, pull: &mut Pull) {
        let now = Instant::now();
        pull.shown_at = now;
        let progress = pull.transfer.progress(now);
        let known = pull.plan.known;
        // Ciphertext is a little longer than the content.
        let whole = progress.done_bytes >= progress.total_bytes;
        self.now.done_bytes = if whole { known.size_bytes } else { progress.done_bytes.min(known.size_bytes) };
        self.now.files_done = pull.partial.files_done();
        self.now.twice_bytes = progress.twice_bytes;
        self.now.bytes_per_second = progress.bytes_per_second;
        self.now.remaining = progress.remaining;
        if self.now.state == TransferState::Waiting {
            self.now.next_try = self.finder.next_try();
        }
        for (source, figures) in pull.transfer.sources(now) {
            let Some(supplier) = pull.crowd.peer(source).and_then(|peer| self.now.suppliers.get_mut(&peer)) else {
                continue;
            };
            supplier.bytes_per_second = figures.bytes_per_second;
            let (state, reason) = match figures.standing {
                Standing::Active | Standing::Spare => (SourceState::Active, ""),
                Standing::Stalled => (SourceState::Stalled, "Nothing has come from it for a while."),
                Standing::Busy => (SourceState::Busy, "It is busy."),
            };
            supplier.state = state;
            reason.clone_into(&mut supplier.reason);
        }
        if pull.crowd.is_empty() && self.now.state == TransferState::Fetching {
            self.set_state(TransferState::Searching);
        }
        self.publish();
    }
}

/// Why a turn of pulling is over.
enum Turned {
    Finished,
    Stopped,
    /// This machine is in the way.
    Here(ContentError),
    /// The content is to be had in the other form only.
    Other(Vec<Box<Found>>),
}
