//! Whose turn it is: which of the transfers go on at the same time, and which make room for others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::file::TransferState;
use kith_store::{Phase, TransferRow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Transfers;
use super::entry::{Entry, Running};
use crate::files::fetch::{self, Live};
use crate::files::ports::Network;

/// Transfers whose tasks run, those that wait for somebody to appear among them.
pub(in crate::files) const MAX_RUNNING: usize = 64;
/// One of those that wait stops when another is to begin and there are so many; it is not its turn again before this.
const REST: Duration = Duration::from_secs(60);

impl<N: Network> Transfers<N> {
    pub fn set_at_once(&mut self, at_once: u32) {
        self.at_once = at_once as usize;
        // Those that are too many go on later.
        let mut busy: Vec<u32> = self.in_order().filter(|entry| entry.is_busy()).map(|entry| entry.row.id).collect();
        for id in busy.drain(self.at_once.min(busy.len())..) {
            self.halt(id);
        }
        self.start_some();
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = &Entry> {
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
            let cleaned = |row: &TransferRow| !self.removals.has_left(row.hash);
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
        if self.entries.values().any(ends) || self.removals.are_waiting() {
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
    pub(super) fn halt(&mut self, id: u32) {
        if let Some(running) = self.entries.get(&id).and_then(|entry| entry.running.as_ref()) {
            running.stop.cancel();
        }
    }
}
