//! A short queue between threads, where the oldest gives way.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::slot::Closed;

pub struct Recent<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    arrived: Condvar,
    bell: Notify,
}

struct State<T> {
    items: VecDeque<T>,
    dropped: u64,
    closed: bool,
}

impl<T> Recent<T> {
    pub fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), dropped: 0, closed: false };
        Self { state: Mutex::new(state), capacity, arrived: Condvar::new(), bell: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Items are only moved in and out, so a panic elsewhere leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, item: T) {
        {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            if state.items.len() == self.capacity {
                state.items.pop_front();
                state.dropped += 1;
            }
            state.items.push_back(item);
        }
        self.arrived.notify_one();
        self.bell.notify_one();
    }

    /// How many gave way before anybody took them.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub fn try_take(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// For one waiting task at a time.
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
            self.bell.notified().await;
        }
    }

    pub fn take_blocking(&self, timeout: Duration) -> Result<Option<T>, Closed> {
        let empty = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let waited = self.arrived.wait_timeout_while(self.lock(), timeout, empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.items.pop_front() {
            Some(item) => Ok(Some(item)),
            None if state.closed => Err(Closed),
            None => Ok(None),
        }
    }

    /// What is in it can still be taken, nothing more can be put.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let recent = Recent::new(3);
        (1..=5).for_each(|item| recent.push(item));
        recent.close();
        recent.push(6);
        assert_eq!([recent.try_take(), recent.try_take(), recent.try_take()], [Some(3), Some(4), Some(5)]);
        assert_eq!(recent.take_blocking(Duration::ZERO), Err(Closed));
    }
}
