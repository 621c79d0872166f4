//! When the questions of a peer go to the database: they cost it time, as many as they are, so that it is not one peer's alone.

use std::time::{Duration, Instant};

/// A question of a peer that goes to the database costs it so long, whichever of its streams it is on; so much of that is
/// free after a pause. A folder's worth of questions takes seconds, and a thread is never one peer's alone.
const LOOKUP_COST: Duration = Duration::from_millis(2);
const LOOKUPS_FREE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Turns {
    /// When all of them are paid for.
    paid_at: Option<Instant>,
}

impl Turns {
    /// So many more: at that time they may.
    pub fn take(&mut self, questions: u32, now: Instant) -> Instant {
        let earliest = now.checked_sub(LOOKUPS_FREE).unwrap_or(now);
        let at = self.paid_at.map_or(earliest, |at| at.max(earliest)) + LOOKUP_COST * questions;
        self.paid_at = Some(at);
        at
    }

    /// There is nothing to remember.
    pub fn is_rested(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOKUPS_FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_cost_a_peer_time_as_many_as_they_are() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let free = u32::try_from(LOOKUPS_FREE.as_millis() / LOOKUP_COST.as_millis()).expect("a few");
        assert!(turns.take(free, start) <= start, "after a pause they are free");
        assert_eq!(turns.take(32, start), start + 32 * LOOKUP_COST);
        assert_eq!(turns.take(1, start), start + 33 * LOOKUP_COST);
        assert!(!turns.is_rested(start + LOOKUPS_FREE));
        let later = start + 2 * LOOKUPS_FREE;
        assert!(turns.is_rested(later) && turns.take(free, later) <= later, "no more is saved up than that");
        assert!(turns.take(1, later) > later);
    }
}
