//! When more sources are looked for.

use std::time::{Duration, Instant};

/// Without any source: soon, then seldom.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// With some: more would be welcome.
const WITH_SOME: Duration = Duration::from_secs(60);
/// So many are enough.
const ENOUGH: usize = 4;

#[derive(Debug)]
pub(super) struct Searches {
    last: Option<Instant>,
    pause: Duration,
}

impl Default for Searches {
    fn default() -> Self {
        Self { last: None, pause: FIRST_PAUSE }
    }
}

impl Searches {
    /// A source has come: if it goes, others are looked for soon again.
    pub const fn handle_found(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Whether to look now, with so many sources.
    pub fn poll(&mut self, sources: usize, now: Instant) -> bool {
        if self.last.is_some() && self.next(sources).is_none_or(|at| at > now) {
            return false;
        }
        if self.last.is_some() {
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        self.last = Some(now);
        true
    }

    /// When to look next; `None`: it was never looked, or there are enough.
    pub fn next(&self, sources: usize) -> Option<Instant> {
        let pause = match sources {
            0 => self.pause,
            some if some < ENOUGH => self.pause.max(WITH_SOME),
            _ => return None,
        };
        Some(self.last? + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_is_frequent_at_first_and_seldom_later_and_stops_with_enough_sources() {
        let mut now = Instant::now();
        let mut searches = Searches::default();
        assert!(searches.poll(0, now) && !searches.poll(0, now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = searches.next(0).expect("nobody was found");
            pauses.push((next - now).as_secs());
            now = next;
            assert!(searches.poll(0, now));
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
        searches.handle_found();
        assert_eq!((searches.next(0), searches.next(1)), (Some(now + FIRST_PAUSE), Some(now + WITH_SOME)));
        assert!(searches.next(ENOUGH).is_none() && !searches.poll(ENOUGH, now + LAST_PAUSE));
    }
}
