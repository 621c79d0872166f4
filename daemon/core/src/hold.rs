//! What a peer was asked to keep, or was handed, and has not answered yet: few at once, each for a bounded time. An answer
//! that nobody waits for is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// At the longest entry half a megabyte on its way, which a slow line carries within [`ANSWER_WITHIN`].
pub const WINDOW: usize = 8;
/// A peer that keeps or stores something says so after one flush of its disk; who has not said so by then will not.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Asking<K> {
    open: BTreeMap<K, Instant>,
}

impl<K> Default for Asking<K> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Asking<K> {
    pub fn has_room(&self) -> bool {
        self.open.len() < WINDOW
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn handle_asked(&mut self, what: K, now: Instant) {
        self.open.insert(what, now + ANSWER_WITHIN);
    }

    /// `false`: this was not asked, or too long ago.
    pub fn handle_answer(&mut self, what: K) -> bool {
        self.open.remove(&what).is_some()
    }

    /// One that was not answered in time; it is no longer waited for.
    pub fn poll_late(&mut self, now: Instant) -> Option<K> {
        let late = self.open.iter().find(|(_, until)| **until <= now).map(|(what, _)| *what)?;
        self.open.remove(&late);
        Some(late)
    }

    /// When the next one is late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_open_at_once_and_each_is_answered_once_or_late() {
        let start = Instant::now();
        let mut asking = Asking::default();
        for n in 0..WINDOW {
            assert!(asking.has_room());
            asking.handle_asked(n, start);
        }
        assert!(!asking.has_room());
        assert!(asking.handle_answer(3));
        assert!(!asking.handle_answer(3), "answered before");
        assert!(!asking.handle_answer(99), "never asked");
        assert!(asking.has_room());
        let late = asking.poll_timeout().expect("something is open");
        assert_eq!(late, start + ANSWER_WITHIN);
        assert_eq!(asking.poll_late(late - Duration::from_millis(1)), None);
        let mut count = 0;
        while let Some(what) = asking.poll_late(late) {
            assert!(!asking.handle_answer(what), "too late");
            count += 1;
        }
        assert_eq!((count, asking.is_empty(), asking.poll_timeout()), (WINDOW - 1, true, None));
    }
}
