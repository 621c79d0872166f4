//! Whom this node has something to say to, and when: they are visited while they are there, each once at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;
use kith_store::{Database, ShareRow};
use tokio::task::JoinSet;

use crate::files::adding::Desk;
use crate::files::errands::{self, About, Visit};
use crate::files::handle::ticket;
use crate::files::ports::Network;

/// A peer is visited again: when copies are on their way to it, when it could not be reached, when all was said.
const SOON: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(60);
/// Peers that are visited at a time.
const MAX_VISITS: usize = 8;

#[derive(Default)]
pub(super) struct Visits {
    running: JoinSet<(PeerId, Visit)>,
    /// Since when.
    visiting: BTreeMap<PeerId, Instant>,
    /// Whom there is something to say to, and when they are to be visited.
    to_visit: BTreeMap<PeerId, Instant>,
    /// Of those who keep copies, who was away: to be asked whether they have them still.
    to_check: BTreeSet<PeerId>,
    /// Connected peers that exchange files.
    offering: BTreeSet<PeerId>,
}

impl Visits {
    /// When the next one is due.
    pub fn due(&self) -> Option<Instant> {
        let free = self.running.len() < MAX_VISITS;
        let due = self.to_visit.iter().filter(|(peer, _)| free && self.may_visit(peer)).map(|(_, due)| *due);
        due.min()
    }

    fn may_visit(&self, peer: &PeerId) -> bool {
        self.offering.contains(peer) && !self.visiting.contains_key(peer)
    }

    /// Something has come up: whom it concerns is visited now.
    pub async fn look(&mut self, db: &Database) {
        match errands::to_visit(db).await {
            Ok(peers) => {
                let now = Instant::now();
                self.to_visit =
                    peers.into_iter().chain(self.to_check.iter().copied()).map(|peer| (peer, now)).collect();
            }
            Err(failure) => tracing::warn!(%failure, "could not look up whom to tell of files"),
        }
    }

    /// These are connected now, and exchange files.
    pub async fn set_offering(&mut self, offering: BTreeSet<PeerId>, db: &Database) {
        let new: BTreeSet<PeerId> = offering.difference(&self.offering).copied().collect();
        self.offering = offering;
        if !new.is_empty() {
            self.appeared(new, db).await;
        }
    }

    /// Peers are there that were not, or not for files.
    async fn appeared(&mut self, new: BTreeSet<PeerId>, db: &Database) {
        match db.read(|store| store.keepers()).await {
            Ok(keepers) => {
                for keeper in keepers.into_iter().filter(|keeper| new.contains(keeper)) {
                    self.to_check.insert(keeper);
                    self.to_visit.insert(keeper, Instant::now());
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up who keeps copies"),
        }
        for peer in new {
            if let Some(due) = self.to_visit.get_mut(&peer) {
                *due = Instant::now();
            }
        }
    }

    /// Those that are due, as far as there is room.
    pub fn start_some<N: Network>(&mut self, net: &N, desk: &Arc<Desk>) {
        let now = Instant::now();
        let due: Vec<PeerId> = self
            .to_visit
            .iter()
            .filter(|(peer, due)| **due <= now && self.may_visit(peer))
            .map(|(peer, _)| *peer)
            .take(MAX_VISITS.saturating_sub(self.running.len()))
            .collect();
        for peer in due {
            self.visiting.insert(peer, Instant::now());
            let (net, desk) = (net.clone(), Arc::clone(desk));
            let about = if self.to_check.contains(&peer) { About::Everything } else { About::News };
            let identity = net.identity();
            let ticket = move |share: &ShareRow| ticket(share, &identity.borrow());
            self.running.spawn(async move { (peer, errands::visit(net, desk, peer, about, ticket).await) });
        }
    }

    /// Decides when that peer is visited again.
    pub async fn handle_ended(&mut self, peer: PeerId, how: Visit, db: &Database) {
        let began = self.visiting.remove(&peer);
        if how != Visit::Failed {
            self.to_check.remove(&peer);
        }
        let left = errands::to_visit(db).await.unwrap_or_default();
        if !left.contains(&peer) && !self.to_check.contains(&peer) {
            self.to_visit.remove(&peer);
            return;
        }
        // What has come up during the visit was not said in it.
        let more = how == Visit::Over && self.to_visit.get(&peer) > began.as_ref();
        let pause = match how {
            Visit::Over if more => Duration::ZERO,
            Visit::Again => SOON,
            Visit::Over | Visit::Failed => LATER,
        };
        self.to_visit.insert(peer, Instant::now() + pause);
    }

    /// The next one that is over; `None`: it has ended in a panic. Nobody is visited: waits.
    pub async fn ended(&mut self) -> Option<(PeerId, Visit)> {
        match self.running.join_next().await {
            Some(Ok(ended)) => Some(ended),
            Some(Err(error)) => {
                tracing::error!(%error, "a visit to a peer has ended in a panic");
                self.visiting.clear();
                None
            }
            None => pending().await,
        }
    }

    pub fn close(&mut self) {
        self.running.abort_all();
    }
}
