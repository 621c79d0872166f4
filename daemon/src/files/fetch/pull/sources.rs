//! Those whom the units come from: who of the found joins, who waits beside because it has another form, and who goes.

use std::sync::Arc;
use std::time::Instant;

use kith_common::file::{FileKind, SourceState, TransferState};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_core::transfer::{Have, RELAY_FILE_RATE, Terms};

use super::Pull;
use crate::files::fetch::crowd::SourceId;
use crate::files::fetch::finder::{Found, Lack};
use crate::files::fetch::live::What;
use crate::files::fetch::{Fetch, plan};
use crate::files::ports::Network;
use crate::files::wire::Status;
use crate::net::frames::FrameError;

/// Peers that have it in the other form, and wait with an open stream.
const MAX_OTHERS: usize = 8;

/// How a source went.
pub(super) enum Gone {
    Lost,
    Nonsense,
}

impl<N: Network> Fetch<N> {
    pub(super) fn found(&mut self, pull: &mut Pull, found: Box<Found>) {
        let peer = found.talk.peer;
        if pull.crowd.has(peer) {
            return;
        }
        let answer = &found.answer;
        let fits = match (&self.job.what, &pull.plan.sealed) {
            (What::Copy { .. }, _) => true,
            (What::Content { .. }, None) if answer.status == Status::Ok => {
                let known = pull.plan.known;
                let same = match known.kind {
                    FileKind::File => answer.size_bytes == known.size_bytes,
                    FileKind::Folder => answer.list_bytes == known.list_bytes,
                };
                if answer.kind != known.kind || !same {
                    return self.lied(peer, "it claims another size");
                }
                true
            }
            (What::Content { .. }, Some(_)) if answer.copy.is_some() && answer.status != Status::Ok => {
                let copies = pull.plan.copies();
                if pull.plan.known.kind == FileKind::Folder {
                    // What it would send is measured by the word of whom the plan was made with, who may have lied.
                    pull.comparing.spawn(async move {
                        let mut found = found;
                        let same = plan::has_copies(&mut found.talk, &copies).await;
                        (found, same)
                    });
                    return;
                }
                let same = copies.first().is_some_and(|copy| answer.copy == Some(copy.bytes));
                return self.compared(pull, found, Ok(same));
            }
            _ => false,
        };
        if fits { self.join(pull, found) } else { self.put_aside(pull, found) }
    }

    fn put_aside(&mut self, pull: &mut Pull, found: Box<Found>) {
        if pull.others.len() < MAX_OTHERS {
            pull.others.push(found);
            // If there is nobody else, it is said once more.
            self.finder.search();
        } else {
            self.finder.lost(found.talk.peer, Some(Lack::NotFound));
        }
    }

    /// A keeper has said which copies it has.
    pub(super) fn compared(&mut self, pull: &mut Pull, found: Box<Found>, same: Result<bool, FrameError>) {
        let peer = found.talk.peer;
        match same {
            Ok(true) => self.join(pull, found),
            Ok(false) => {
                // One of the two is not what the owner has sealed; which, is found out when it is opened.
                self.part(peer, SourceState::Dropped, "It keeps another copy than the one that is being fetched.");
                self.put_aside(pull, found);
            }
            Err(error) if error.is_nonsense() => self.lied(peer, &error.to_string()),
            Err(error) => self.lost_for(peer, Lack::Unreachable(error.to_string())),
        }
    }

    pub(super) fn join(&mut self, pull: &mut Pull, found: Box<Found>) {
        let (peer, path) = (found.talk.peer, found.talk.path);
        self.name(&found);
        self.meet(peer, &found, SourceState::Active);
        if let Some(supplier) = self.now.suppliers.get_mut(&peer) {
            supplier.sealed = pull.plan.sealed.is_some();
        }
        if pull.plan.sealed.is_some() {
            self.vouching.insert(peer);
        }
        let terms = Terms { have: Have::All, bytes_per_second: (path == Path::Relayed).then_some(RELAY_FILE_RATE) };
        let source = pull.crowd.join(found.talk, Arc::clone(&pull.partial), self.context.bench.clone());
        if !pull.transfer.handle_source(source, terms, Instant::now()) {
            pull.crowd.leave(source);
            self.finder.lost(peer, Some(Lack::Unreachable("enough others have it".to_owned())));
        }
        if self.now.state != TransferState::Fetching {
            self.set_state(TransferState::Fetching);
        }
    }

    pub(super) fn lost_for(&mut self, peer: PeerId, lack: Lack) {
        self.lacks(peer, lack.clone());
        self.finder.lost(peer, Some(lack));
    }

    pub(super) fn gone(&mut self, pull: &mut Pull, source: SourceId, why: &str, how: Gone) {
        pull.transfer.handle_gone(source);
        pull.crowd.tidy();
        let Some(peer) = pull.crowd.leave(source) else { return };
        tracing::debug!(%peer, why, "a source is gone");
        match how {
            Gone::Lost => {
                self.part(peer, SourceState::Dropped, why);
                self.finder.lost(peer, None);
            }
            Gone::Nonsense => self.lied(peer, why),
        }
    }
}
