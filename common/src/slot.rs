//! A place for one thing, where the newest wins: how pictures pass between threads and tasks.
//!
//! A queue of pictures only adds delay: whoever is late wants the newest one. The producer never waits, the consumer
//! gets what is newest when it is ready, and what was replaced is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

struct State<T> {
    value: Option<T>,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    bell: Notify,
    replaced: AtomicU64,
}

/// The slot. Clones share it; it closes when told to.
pub struct Latest<T>(Arc<Shared<T>>);

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The slot is closed and empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source has ended")]
pub struct Closed;

impl<T> Latest<T> {
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { value: None, closed: false }),
            arrived: Condvar::new(),
            bell: Notify::new(),
            replaced: AtomicU64::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic elsewhere leaves the value whole: it is only ever moved in and out.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the newest in and returns what it replaced, if that was never taken.
    pub fn put(&self, value: T) -> Option<T> {
        let old = {
            let mut state = self.lock();
            if state.closed {
                return Some(value);
            }
            state.value.replace(value)
        };
        if old.is_some() {
            self.0.replaced.fetch_add(1, Ordering::Relaxed);
        }
        self.0.arrived.notify_one();
        self.0.bell.notify_one();
        old
    }

    pub fn try_take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// Waits for a value. For one waiting task at a time.
    pub async fn take(&self) -> Result<T, Closed> {
        loop {
            {
                let mut state = self.lock();
                if let Some(value) = state.value.take() {
                    return Ok(value);
                }
                if state.closed {
                    return Err(Closed);
                }
            }
            self.0.bell.notified().await;
        }
    }

    /// Waits on a thread, at most for `timeout`; `Ok(None)` when nothing came.
    pub fn take_blocking(&self, timeout: Duration) -> Result<Option<T>, Closed> {
        let mut state = self.lock();
        if state.value.is_none() && !state.closed {
            state = self
                .0
                .arrived
                .wait_timeout_while(state, timeout, |state| state.value.is_none() && !state.closed)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match state.value.take() {
            Some(value) => Ok(Some(value)),
            None if state.closed => Err(Closed),
            None => Ok(None),
        }
    }

    /// Ends it: what is in the slot can still be taken, nothing more can be put.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.arrived.notify_all();
        self.0.bell.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many were replaced before anybody took them.
    pub fn replaced(&self) -> u64 {
        self.0.replaced.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_the_loss_is_counted() {
        let slot = Latest::new();
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(1));
        assert_eq!(slot.take_blocking(Duration::ZERO), Ok(Some(2)));
        assert_eq!(slot.take_blocking(Duration::ZERO), Ok(None));
        assert_eq!(slot.replaced(), 1);
        slot.close();
        assert_eq!(slot.put(3), Some(3));
        assert_eq!(slot.take_blocking(Duration::ZERO), Err(Closed));
    }

    #[tokio::test]
    async fn a_waiting_task_wakes() {
        let slot = Latest::new();
        let taker = tokio::spawn({
            let slot = slot.clone();
            async move { slot.take().await }
        });
        slot.put(7);
        assert_eq!(taker.await.expect("the task does not panic"), Ok(7));
    }
}
