//! Who takes what it has asked for, and how fast: when there is no memory left for what others ask for, the one that has kept
//! it longest without need gives it up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Whoever takes less, with nothing in its way but itself, is slow: a modem takes as much.
const SLOW_BYTES_PER_SECOND: u64 = 16 * 1024;
/// And has to be so for this long, so that a hiccup of the network is none.
const SLOW_FOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Takers(Mutex<All>);

#[derive(Default)]
struct All {
    next: u64,
    takers: BTreeMap<u64, Taker>,
}

/// Of the answer that is on its way.
#[derive(Default)]
struct Taker {
    bytes: u64,
    /// Waited for the peer, and since when that goes on.
    waited: Duration,
    since: Option<Instant>,
    end: CancellationToken,
}

/// One stream.
pub(super) struct Taking<'a> {
    takers: &'a Takers,
    number: u64,
    /// Others need the memory that it has.
    pub end: CancellationToken,
}

impl Takers {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn join(&self) -> Taking<'_> {
        let mut all = self.lock();
        let (number, end) = (all.next, CancellationToken::new());
        all.next += 1;
        all.takers.insert(number, Taker { end: end.clone(), ..Taker::default() });
        Taking { takers: self, number, end }
    }

    /// Ends the stream that has been slow for longest. False: none is.
    pub fn end_slowest(&self, now: Instant) -> bool {
        let all = self.lock();
        let waited = |taker: &Taker| {
            taker.waited + taker.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
        };
        let is_slow = |taker: &&Taker| {
            let waited = waited(taker);
            waited >= SLOW_FOR && taker.bytes < waited.as_secs() * SLOW_BYTES_PER_SECOND
        };
        let slow = all.takers.values().filter(|taker| !taker.end.is_cancelled()).filter(is_slow);
        let slowest = slow.max_by_key(|taker| waited(taker));
        slowest.map(|taker| taker.end.cancel()).is_some()
    }
}

impl Taking<'_> {
    fn change(&self, change: impl FnOnce(&mut Taker)) {
        if let Some(taker) = self.takers.lock().takers.get_mut(&self.number) {
            change(taker);
        }
    }

    /// An answer begins: what was before is forgotten.
    pub fn begin(&self) {
        self.change(|taker| (taker.bytes, taker.waited, taker.since) = (0, Duration::ZERO, None));
    }

    /// From now on, if not before, the peer is waited for.
    pub fn wait(&self, now: Instant) {
        self.change(|taker| _ = taker.since.get_or_insert(now));
    }

    /// The peer has taken so much.
    pub fn took(&self, bytes: u64, now: Instant) {
        self.change(|taker| {
            taker.bytes += bytes;
            taker.waited += taker.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        });
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.takers.lock().takers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_been_slow_for_longest_gives_way_and_nobody_else() {
        let (takers, start) = (Takers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let [quick, idle, slow, slower, new] = [0; 5].map(|_| takers.join());
        for taking in [&quick, &slow, &slower] {
            taking.begin();
            taking.wait(start);
        }
        assert!(!takers.end_slowest(at(4)), "it may be a hiccup");
        quick.took(1 << 20, at(10));
        quick.wait(at(10));
        // Two pieces, of which the second is on its way.
        slow.took(64 * 1024, at(6));
        slow.wait(at(12));
        new.wait(at(18));
        assert!(takers.end_slowest(at(20)));
        let ended = || [&quick, &idle, &slow, &slower, &new].map(|taking| taking.end.is_cancelled());
        assert_eq!(ended(), [false, false, false, true, false]);
        assert!(takers.end_slowest(at(20)));
        assert_eq!(ended(), [false, false, true, true, false]);
        assert!(!takers.end_slowest(at(20)));
        // Whoever has gone is asked for nothing.
        drop(new);
        assert!(!takers.end_slowest(at(25)));
    }

    #[test]
    fn what_waits_for_our_own_limit_is_not_slow() {
        let (takers, start) = (Takers::default(), Instant::now());
        let taking = takers.join();
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            taking.wait(now);
            taking.took(1024, now);
            assert!(!takers.end_slowest(now));
        }
    }
}
