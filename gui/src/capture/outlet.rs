//! Where a device's thread finds the call that it delivers to, if there is one.

use std::sync::{Arc, Mutex, PoisonError};

use kith_common::call::{Medium, Switch};
use kith_common::client::Gone;
use tokio::sync::mpsc;

use super::{Notice, report};

/// Clones share it. The lock is held for the length of a hand-over, and no driver's callback takes it.
pub struct Outlet<Sender> {
    medium: Medium,
    notices: mpsc::Sender<Notice>,
    state: Arc<Mutex<State<Sender>>>,
}

struct State<Sender> {
    sender: Option<Sender>,
    switch: Switch,
}

impl<Sender> Clone for Outlet<Sender> {
    fn clone(&self) -> Self {
        Self { medium: self.medium, notices: self.notices.clone(), state: Arc::clone(&self.state) }
    }
}

impl<Sender> Outlet<Sender> {
    pub fn new(medium: Medium, notices: mpsc::Sender<Notice>) -> Self {
        let state = Arc::new(Mutex::new(State { sender: None, switch: Switch::On }));
        Self { medium, notices, state }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<Sender>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn attach(&self, sender: Sender) {
        self.lock().sender = Some(sender);
    }

    pub fn detach(&self) {
        self.lock().sender = None;
    }

    pub fn is_attached(&self) -> bool {
        self.lock().sender.is_some()
    }

    pub fn set(&self, switch: Switch) {
        self.lock().switch = switch;
    }

    /// Hands something over, if a call takes it and it is switched on.
    pub fn with(&self, put: impl FnOnce(&Sender) -> Result<(), Gone>) {
        let mut state = self.lock();
        if state.switch == Switch::Off {
            return;
        }
        if let Some(sender) = &state.sender
            && let Err(gone) = put(sender)
        {
            state.sender = None;
            report(&self.notices, Notice::SourceGone(self.medium, gone));
        }
    }
}
