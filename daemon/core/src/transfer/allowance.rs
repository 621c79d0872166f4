//! So many bytes a second: what may be asked of others, or sent to them.

use std::time::{Duration, Instant};

/// Unused allowance is kept for so long. Longer would mean a burst after every pause.
const KEPT: Duration = Duration::from_millis(250);

/// However little may pass, it is tried again after this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Bytes that may pass, by a rate. Whoever has something left may pass all that it has at hand, and owes the rest: units
/// are larger than what a slow line carries in a moment.
///
/// For what is sent: [`Self::take`] what is written, then wait until [`Self::ready_at`] before the next write.
#[derive(Debug, Clone)]
pub struct Allowance {
    rate: Option<u64>,
    /// When all that has passed is paid for.
    paid_at: Option<Instant>,
}

impl Allowance {
    /// In bytes a second; `None`: without limit.
    pub const fn new(rate: Option<u64>) -> Self {
        Self { rate, paid_at: None }
    }

    pub const fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// From now on. What was owed is forgotten with the rate that it was owed at.
    pub fn set_rate(&mut self, rate: Option<u64>) {
        if self.rate != rate {
            self.rate = rate;
            self.paid_at = None;
        }
    }

    /// Whether anything may pass.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.ready_at().is_none_or(|at| at <= now)
    }

    /// When something may pass; `None`: at once, whatever the time.
    pub fn ready_at(&self) -> Option<Instant> {
        self.rate.and(self.paid_at)
    }

    /// So many bytes pass, ready or not.
    pub fn take(&mut self, bytes: u64, now: Instant) {
        let Some(rate) = self.rate else { return };
        let earliest = now.checked_sub(KEPT).unwrap_or(now);
        let from = self.paid_at.map_or(now, |at| at.max(earliest));
        let costs = bytes as f64 / rate.max(1) as f64;
        self.paid_at = Some(from + Duration::from_secs_f64(costs.min(LONGEST.as_secs_f64())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_keeps_to_the_rate_whatever_the_size_of_its_pieces() {
        let start = Instant::now();
        for piece in [1_000, 16_384, 4_000_000] {
            let (mut allowance, mut now, mut passed) = (Allowance::new(Some(1_000_000)), start, 0);
            while passed < 40_000_000 {
                assert!(allowance.is_ready(now));
                allowance.take(piece, now);
                passed += piece;
                now = allowance.ready_at().expect("there is a limit").max(now);
            }
            let took = now - start;
            assert!((39..46).contains(&took.as_secs()), "{took:?} in pieces of {piece}");
        }
    }

    #[test]
    fn a_pause_saves_up_little_and_no_limit_is_none() {
        let start = Instant::now();
        let mut allowance = Allowance::new(Some(1_000_000));
        allowance.take(1, start);
        let later = start + Duration::from_secs(3600);
        allowance.take(250_000, later);
        assert!(allowance.is_ready(later), "a quarter of a second was saved");
        allowance.take(1_000, later);
        assert!(!allowance.is_ready(later));
        allowance.set_rate(None);
        allowance.take(u64::MAX, later);
        assert!(allowance.is_ready(later) && allowance.ready_at().is_none());
        allowance.set_rate(Some(0));
        allowance.take(u64::MAX, later);
        assert!(!allowance.is_ready(later), "and the longest wait is one");
    }
}
