//! What clients see of files, and how often: a picture of all that moves, made here and nowhere else.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{FilesState, MAX_TRANSFERS};

use super::{Reply, Task, answer};
use crate::files::check::name_of;
use crate::files::ports::Network;

/// What clients see is renewed this often while something moves, and this often while transfers wait or peers may ask.
const SHOW_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<N: Network> Task<N> {
    /// When there is something new to see, perhaps.
    pub(super) fn show_at(&self) -> Option<Instant> {
        let uploading = || !self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if self.dirty || self.transfers.is_moving() || self.keeper.is_moving() || uploading() {
            return Some(self.shown_at + SHOW_EVERY);
        }
        let waiting = self.transfers.is_waiting() || self.keeper.is_waiting() || !self.served.is_empty();
        waiting.then_some(self.shown_at + LOOK_EVERY)
    }

    /// After a command. Nobody who has asked for something waits to see it.
    pub(super) async fn show_soon(&mut self) {
        if self.shown_at.elapsed() >= SHOW_EVERY {
            self.show().await;
        }
    }

    pub(super) async fn show(&mut self) {
        self.shown_at = Instant::now();
        self.transfers.start_some();
        self.keeper.start_some();
        self.transfers.save_some().await;
        self.save_sent().await;
        self.publish();
        self.dirty = false;
    }

    fn publish(&self) {
        let state = self.snapshot();
        self.state.send_if_modified(|before| {
            let changed = **before != state;
            *before = Arc::new(state);
            changed
        });
    }

    /// Whoever looks once it has the answer sees what it says: an older state would say that nothing had come of it.
    pub(super) fn answer_shown<T>(&self, reply: Reply<T>, outcome: Result<T, Failure>) {
        if outcome.is_ok() {
            self.publish();
        }
        answer(reply, outcome);
    }

    pub(super) async fn save_sent(&mut self) {
        let sent = self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).take_sent();
        if sent.is_empty() {
            return;
        }
        let written = self
            .context
            .db
            .write(move |store| sent.into_iter().try_for_each(|(share, bytes)| store.add_sent(share, bytes)));
        if let Err(failure) = written.await {
            tracing::warn!(%failure, "what was sent was not noted");
        }
    }

    fn snapshot(&self) -> FilesState {
        let people = Arc::clone(&self.context.people.borrow());
        let mut uploads = self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).rows(Instant::now());
        for upload in &mut uploads {
            upload.name = name_of(&people, upload.peer);
        }
        FilesState {
            transfers: self.transfers.all(MAX_TRANSFERS),
            offers: self.offers.list(&people),
            uploads,
            shares_revision: self.revision,
            shares: self.shares,
            kept_bytes: self.keeper.bytes(),
        }
    }
}
