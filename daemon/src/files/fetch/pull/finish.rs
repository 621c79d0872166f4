//! The end of a transfer: all units are on the disk, and what they make is put in its place, or found to be false.

use std::ops::ControlFlow;
use std::sync::Arc;

use kith_common::file::TransferState;
use kith_content::{ContentError, Partial};

use crate::files::check::failure;
use crate::files::fetch::finder::Found;
use crate::files::fetch::live::{Outcome, What};
use crate::files::fetch::plan::{self, Plan};
use crate::files::fetch::{End, Fetch, forget};
use crate::files::library::blocking;
use crate::files::ports::Network;

impl<N: Network> Fetch<N> {
    /// All is on the disk.
    pub(super) async fn finish(&mut self, plan: &Plan, partial: Arc<Partial>, others: Vec<Box<Found>>) -> End {
        self.set_state(TransferState::Finishing);
        let Some(partial) = Arc::into_inner(partial) else {
            let error = ContentError::Io {
                what: "the file is still being written".to_owned(),
                error: std::io::Error::other("a part of it is in use"),
            };
            return failure(&error).into();
        };
        let name = match (&self.job.what, self.job.name.is_empty(), self.now.name.is_empty()) {
            // Found again by its id.
            (What::Copy { id, .. }, ..) => id.to_string(),
            (_, false, _) => self.job.name.clone(),
            (_, true, false) => self.now.name.clone(),
            (_, true, true) => self.job.hash().to_string(),
        };
        let plain = plan.sealed.as_ref().and_then(|seals| seals.plain.clone());
        let (outboards, folder) = (self.context.places.outboards.clone(), self.job.folder.clone());
        // It may have been begun in other forms as well.
        let mut names = plan::names(self.job.hash(), &self.notes).await;
        names.retain(|name| *name != plan.hash);
        let stop = self.stop.clone();
        let copy = matches!(self.job.what, What::Copy { .. });
        let finished = blocking(move || match plain {
            Some(plain) => {
                let mut go_on = |_| match stop.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                };
                partial.finish_sealed(&name, &plain, &mut go_on)
            }
            None => {
                // Without them it could be neither read here nor given to others; a folder's files are only for their user.
                if copy || partial.layout().blobs.len() == 1 {
                    partial.keep_outboards(&outboards)?;
                }
                partial.finish(&name)
            }
        });
        match finished.await {
            Ok(path) => {
                for name in names {
                    forget(folder.clone(), name).await;
                }
                self.notes.forget();
                End::Over(Outcome::Done { path, partial: plan.hash })
            }
            Err(ContentError::Cancelled) => End::Over(Outcome::Stopped),
            Err(ContentError::Lie(why)) if plan.sealed.is_some() => self.false_copy(plan, why, others).await,
            Err(error) => failure(&error).into(),
        }
    }

    /// Every part was what its keepers had said, and the whole is not the content: they lied from the beginning. Those who keep
    /// another copy come next.
    async fn false_copy(&mut self, plan: &Plan, why: &str, others: Vec<Box<Found>>) -> End {
        for peer in std::mem::take(&mut self.vouching) {
            self.lied(peer, why);
        }
        let (folder, hash) = (self.job.folder.clone(), plan.hash);
        if let Err(error) = blocking(move || Partial::discard_at(&folder, hash)).await {
            return failure(&error).into();
        }
        self.notes.forget();
        (self.job.known, self.job.sealed, self.job.synced) = (None, false, Vec::new());
        (self.now.known, self.now.sealed, self.now.done_bytes) = (None, false, 0);
        End::Other(others)
    }
}
