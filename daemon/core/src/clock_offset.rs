//! The offset between the peer's clock and ours, from pings over the signalling stream.
//!
//! The exchange with the smallest round trip is the most certain (NTP's clock filter, RFC 5905 section 10): whatever
//! delay was not symmetric hides within its round trip, so half of that is the uncertainty. Samples age, because clocks
//! drift apart.

use std::collections::VecDeque;

use kith_common::clock::MonoTime;

/// Enough to look back a minute at one ping a second.
const MAX_SAMPLES: usize = 64;
/// Crystals differ by up to 100 parts in a million, NTP slews by up to 500: the uncertainty of an old sample grows by
/// 100 microseconds a second.
const DRIFT_PPM: u64 = 100;
/// A ping that took longer says nothing.
const MAX_ROUND_TRIP_MICROS: u64 = 10_000_000;

/// How far the peer's clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// The peer's clock minus the local clock.
    pub micros: i64,
    pub uncertainty_micros: u64,
}

impl ClockOffset {
    /// A time on the peer's clock, on ours.
    pub fn to_local(self, peer: MonoTime) -> MonoTime {
        peer.offset(self.micros.saturating_neg())
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    offset: i64,
    round_trip: u64,
    at: MonoTime,
}

impl Sample {
    fn uncertainty(&self, now: MonoTime) -> u64 {
        let age = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        (self.round_trip / 2).saturating_add(age / 1_000_000 * DRIFT_PPM)
    }
}

/// Keeps the best of the recent exchanges.
#[derive(Debug, Default)]
pub struct OffsetEstimator {
    samples: VecDeque<Sample>,
    latest: MonoTime,
    last_round_trip: Option<u64>,
}

impl OffsetEstimator {
    pub fn new() -> Self {
        Self::default()
    }

    /// A ping sent at `ping_sent` (our clock) was received and answered by the peer at `received` and `sent` (its
    /// clock), and the answer came `now`. Times that cannot be are ignored: they come from the peer.
    pub fn handle_pong(&mut self, ping_sent: MonoTime, received: MonoTime, sent: MonoTime, now: MonoTime) {
        let outside = now.micros_since(ping_sent);
        let inside = sent.micros_since(received);
        if outside < 0 || inside < 0 || inside > outside {
            return;
        }
        let round_trip = (outside - inside).unsigned_abs();
        if round_trip > MAX_ROUND_TRIP_MICROS {
            return;
        }
        let there = received.micros_since(ping_sent);
        let back = sent.micros_since(now);
        // The mean of the two, without overflow whatever the peer claims.
        let offset = i64::try_from((i128::from(there) + i128::from(back)) / 2).unwrap_or(0);
        self.latest = self.latest.max(now);
        self.last_round_trip = Some(round_trip);
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { offset, round_trip, at: now });
    }

    /// The most certain offset of the recent exchanges; `None` before the first.
    pub fn offset(&self) -> Option<ClockOffset> {
        self.samples
            .iter()
            .map(|sample| (sample.uncertainty(self.latest), sample.offset))
            .min_by_key(|(uncertainty, _)| *uncertainty)
            .map(|(uncertainty_micros, micros)| ClockOffset { micros, uncertainty_micros })
    }

    /// Of the newest exchange, in microseconds.
    pub const fn round_trip_micros(&self) -> Option<u64> {
        self.last_round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peer's clock is 5 s ahead; `there` and `back` are what the packets take.
    fn exchange(estimator: &mut OffsetEstimator, at_ms: u64, there_ms: u64, back_ms: u64) {
        let sent = MonoTime(1_000_000 + at_ms * 1000);
        let received = sent.offset(5_000_000 + there_ms as i64 * 1000);
        let answered = received.offset(300);
        let now = MonoTime(answered.micros() - 5_000_000 + back_ms * 1000);
        estimator.handle_pong(sent, received, answered, now);
    }

    #[test]
    fn the_exchange_with_the_smallest_round_trip_counts() {
        let mut estimator = OffsetEstimator::new();
        assert_eq!(estimator.offset(), None);
        exchange(&mut estimator, 0, 180, 20);
        assert_eq!(estimator.offset(), Some(ClockOffset { micros: 5_080_000, uncertainty_micros: 100_000 }));
        exchange(&mut estimator, 1000, 21, 20);
        exchange(&mut estimator, 2000, 300, 20);
        let best = estimator.offset().expect("three exchanges");
        assert_eq!(best.micros, 5_000_500);
        assert!((20_500..=20_700).contains(&best.uncertainty_micros), "{best:?}");
        assert_eq!(estimator.round_trip_micros(), Some(320_000));
        assert_eq!(best.to_local(MonoTime(6_000_500)), MonoTime(1_000_000));
    }

    #[test]
    fn the_truth_lies_within_the_uncertainty_however_unequal_the_ways_are() {
        let mut rng = crate::link::Rng::new(11);
        for _ in 0..1000 {
            let mut estimator = OffsetEstimator::new();
            exchange(&mut estimator, 0, rng.next_u64() % 500, rng.next_u64() % 500);
            let offset = estimator.offset().expect("one exchange");
            assert!((offset.micros - 5_000_000).unsigned_abs() <= offset.uncertainty_micros + 1, "seed 11: {offset:?}");
        }
    }

    #[test]
    fn an_old_exchange_loses_its_worth_as_clocks_drift() {
        let mut estimator = OffsetEstimator::new();
        exchange(&mut estimator, 0, 5, 5);
        exchange(&mut estimator, 59_000, 9, 9);
        assert_eq!(estimator.offset().map(|o| o.uncertainty_micros), Some(9_000), "100 ppm of a minute is 6 ms");
        for second in 60..200 {
            exchange(&mut estimator, second * 1000, 40, 40);
        }
        let late = estimator.offset().expect("many exchanges").uncertainty_micros;
        assert!(late >= 40_000, "what is older than the list is gone: {late}");
    }

    #[test]
    fn times_that_cannot_be_are_ignored() {
        let mut estimator = OffsetEstimator::new();
        let (t, max) = (MonoTime(10_000_000), MonoTime(u64::MAX));
        estimator.handle_pong(t, t, t, MonoTime(9_000_000));
        estimator.handle_pong(t, MonoTime(500), MonoTime(400), MonoTime(10_010_000));
        estimator.handle_pong(t, MonoTime(0), MonoTime(1_000_000), MonoTime(10_010_000));
        estimator.handle_pong(MonoTime(0), t, t, MonoTime(20_000_000));
        assert_eq!(estimator.offset(), None);
        estimator.handle_pong(t, max, max, MonoTime(10_010_000));
        estimator.handle_pong(MonoTime(0), MonoTime(0), max, max);
        if let Some(offset) = estimator.offset() {
            offset.to_local(MonoTime(0));
        }
    }
}
