//! When the encoder may make a key frame.
//!
//! A key frame is several times the size of other pictures. One for every request of a peer on a full link makes more
//! loss and more requests until nothing passes (measured: pictures 2.8 s late). So requests are merged, key
//! frames are at least [`MIN_INTERVAL`] apart, and they may use no more than a quarter of the bitrate.

use std::time::{Duration, Instant};

/// The least time between two key frames.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// However large the last one was, the next is not held back longer: a peer without a picture must get one.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3);
/// The share of the target that key frames may use.
const SHARE: f64 = 0.25;

/// Why a key frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyReason {
    /// The first picture, or the first after the camera was switched on.
    Start,
    /// A receiver asked (PLI or FIR).
    Requested,
    /// The sender knows of a loss that cannot be repaired.
    Loss,
    /// Another receiver came.
    Join,
    /// The picture has another size; the encoder starts anew.
    Size,
}

/// Merges requests and spaces what they cause.
#[derive(Debug)]
pub struct KeyFrameBudget {
    wanted: Option<KeyReason>,
    next_allowed: Instant,
    last: Option<Instant>,
    target_bps: Option<u64>,
    requests: u64,
}

impl KeyFrameBudget {
    /// The first key frame is wanted at once.
    pub const fn new(now: Instant) -> Self {
        Self { wanted: Some(KeyReason::Start), next_allowed: now, last: None, target_bps: None, requests: 0 }
    }

    /// Somebody wants a key frame. A request that is merged with a waiting one keeps the older reason.
    pub fn request(&mut self, reason: KeyReason, _now: Instant) {
        self.requests += 1;
        self.wanted.get_or_insert(reason);
    }

    /// The video bitrate that the budget is a share of.
    pub const fn set_target(&mut self, bps: u64) {
        self.target_bps = Some(bps);
    }

    /// Asked before each picture: `Some` says to make it a key frame now.
    pub fn take(&mut self, now: Instant) -> Option<KeyReason> {
        if now < self.next_allowed {
            return None;
        }
        let reason = self.wanted.take()?;
        self.last = Some(now);
        self.next_allowed = now + MIN_INTERVAL;
        Some(reason)
    }

    /// A key frame of this size was made, asked for or not (an encoder that changes size makes one by itself).
    pub fn handle_made(&mut self, bytes: usize, now: Instant) {
        let paid = match self.target_bps {
            Some(bps) => Duration::from_secs_f64((bytes as f64 * 8.0 / (SHARE * bps.max(1) as f64)).min(3600.0)),
            None => MIN_INTERVAL,
        };
        self.last = Some(now);
        self.next_allowed = now + paid.clamp(MIN_INTERVAL, MAX_INTERVAL);
        // Whatever was asked for before this one is answered by it.
        self.wanted = None;
    }

    /// Requests that came in all.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// When a waiting request may be served.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wanted.map(|_| self.next_allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_key_frame_comes_at_once_and_then_none_unasked() {
        let start = Instant::now();
        let mut budget = KeyFrameBudget::new(start);
        assert_eq!(budget.take(start), Some(KeyReason::Start));
        assert_eq!(budget.take(start + ms(10_000)), None);
        assert_eq!(budget.poll_timeout(), None);
    }

    #[test]
    fn a_storm_of_requests_is_answered_twice_a_second_at_most() {
        let start = Instant::now();
        let mut budget = KeyFrameBudget::new(start);
        let mut made = 0;
        for step in 0..10_000 {
            let now = start + ms(step);
            budget.request(KeyReason::Requested, now);
            made += u64::from(budget.take(now).is_some());
        }
        assert_eq!((made, budget.requests()), (20, 10_000));
    }

    #[test]
    fn large_key_frames_on_a_slow_link_are_further_apart_but_always_come() {
        let start = Instant::now();
        let mut budget = KeyFrameBudget::new(start);
        budget.set_target(300_000);
        budget.take(start);
        // 10 kB are 80 kbit: 1.07 s of a quarter of 300 kb/s.
        budget.handle_made(10_000, start);
        budget.request(KeyReason::Loss, start + ms(10));
        assert_eq!(budget.take(start + ms(1_000)), None);
        assert_eq!(budget.take(start + ms(1_100)), Some(KeyReason::Loss));
        budget.handle_made(1_000_000, start + ms(1_100));
        budget.request(KeyReason::Requested, start + ms(1_200));
        assert_eq!(budget.poll_timeout(), Some(start + ms(4_100)));
        assert_eq!(budget.take(start + ms(4_100)), Some(KeyReason::Requested));
    }

    #[test]
    fn a_key_frame_answers_what_was_asked_before_it_and_not_what_comes_after() {
        let start = Instant::now();
        let mut budget = KeyFrameBudget::new(start);
        budget.take(start);
        budget.request(KeyReason::Requested, start + ms(100));
        // The encoder made one by itself, for a new size.
        budget.handle_made(4_000, start + ms(200));
        assert_eq!(budget.take(start + ms(5_000)), None);
        budget.request(KeyReason::Requested, start + ms(5_000));
        assert_eq!(budget.take(start + ms(5_000)), Some(KeyReason::Requested));
    }
}
