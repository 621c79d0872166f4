//! A bounded queue between threads and tasks where the oldest gives way.
//!
//! For sound and for coded pictures inside one call. The producer never waits; whoever is too slow loses the oldest,
//! and the loss is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::slot::Closed;
use tokio::sync::Notify;

struct State<T> {
    items: VecDeque<T>,
    dropped: u64,
    closed: bool,
    woken: bool,
}

struct Shared<T> {
    limit: usize,
    state: Mutex<State<T>>,
    arrived: Condvar,
    bell: Notify,
}

/// Clones share the queue; it closes when told to. For one consumer at a time.
pub struct Queue<T>(Arc<Shared<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    pub fn new(limit: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(limit), dropped: 0, closed: false, woken: false };
        Self(Arc::new(Shared { limit, state: Mutex::new(state), arrived: Condvar::new(), bell: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic elsewhere leaves the items whole: they are only ever moved in and out.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one and returns the oldest when there was no room for both.
    pub fn push(&self, item: T) -> Option<T> {
        let out = {
            let mut state = self.lock();
            if state.closed {
                return Some(item);
            }
            let out = if state.items.len() >= self.0.limit { state.items.pop_front() } else { None };
            state.dropped += u64::from(out.is_some());
            state.items.push_back(item);
            out
        };
        self.0.arrived.notify_one();
        self.0.bell.notify_one();
        out
    }

    /// Waits for one. Nothing is left behind when the waiting task is dropped.
    pub async fn take(&self) -> Result<T, Closed> {
        loop {
            {
                let mut state = self.lock();
                if let Some(item) = state.items.pop_front() {
                    return Ok(item);
                }
                if state.closed {
                    return Err(Closed);
                }
            }
            self.0.bell.notified().await;
        }
    }

    /// Waits on a thread, at most for `timeout`; `Ok(None)` when nothing came or somebody called [`Queue::wake`].
    pub fn take_blocking(&self, timeout: Duration) -> Result<Option<T>, Closed> {
        let mut state = self.lock();
        let idle = |state: &mut State<T>| state.items.is_empty() && !state.closed && !state.woken;
        if idle(&mut state) {
            let waited = self.0.arrived.wait_timeout_while(state, timeout, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
        match state.items.pop_front() {
            Some(item) => Ok(Some(item)),
            None if state.closed => Err(Closed),
            None => Ok(None),
        }
    }

    /// Drops what waits up to the newest item that `keep` holds true for; without one, nothing. Returns how many.
    pub fn skip_to(&self, keep: impl Fn(&T) -> bool) -> usize {
        let mut state = self.lock();
        let skipped = state.items.iter().rposition(keep).unwrap_or(0);
        state.items.drain(..skipped);
        state.dropped += skipped as u64;
        skipped
    }

    /// Drops all that waits.
    pub fn clear(&self) {
        self.lock().items.clear();
    }

    /// Makes the thread in [`Queue::take_blocking`] look around.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.0.arrived.notify_all();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Ends it: what is in the queue can still be taken, nothing more can be added.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.arrived.notify_all();
        self.0.bell.notify_one();
    }

    /// How many gave way to newer ones.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let queue = Queue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (None, None, Some(1)));
        assert_eq!(queue.take_blocking(Duration::ZERO), Ok(Some(2)));
        assert_eq!(queue.dropped(), 1);
        queue.close();
        assert_eq!(queue.push(4), Some(4));
        assert_eq!(queue.take_blocking(Duration::ZERO), Ok(Some(3)));
        assert_eq!(queue.take_blocking(Duration::from_secs(9)), Err(Closed));
    }

    #[test]
    fn skipping_stops_at_the_newest_that_can_stand_alone() {
        let queue = Queue::new(9);
        for item in [1, 10, 2, 20, 3] {
            queue.push(item);
        }
        assert_eq!(queue.skip_to(|item| item % 10 == 0), 3);
        assert_eq!(queue.take_blocking(Duration::ZERO), Ok(Some(20)));
        assert_eq!(queue.skip_to(|item| item % 10 == 0), 0);
        assert_eq!(queue.take_blocking(Duration::ZERO), Ok(Some(3)));
    }

    #[test]
    fn waking_ends_a_wait_without_an_item() {
        let queue = Queue::<u8>::new(1);
        queue.wake();
        assert_eq!(queue.take_blocking(Duration::from_secs(9)), Ok(None));
    }
}
