//! The block list: who may not connect to this node, and is not connected to. Kept over restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId as KithId;
use kith_common::target::Target;
use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::task::Task;
use super::{address, saved};

/// Far more than a person blocks.
const MAX_BLOCKED: usize = 4096;
/// The last word of a call that ends by this is still said, once the list is on a slow disk.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    peer: KithId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    since_unix_ms: i64,
}

pub(super) struct Blocks {
    peers: BTreeMap<PeerId, Line>,
    file: Option<(PathBuf, saved::Writer)>,
    /// Blocked just now; their connections close then.
    leaving: Vec<(PeerId, Instant)>,
}

impl Blocks {
    pub fn open(file: Option<(PathBuf, saved::Writer)>) -> Self {
        let lines: Vec<Line> = file.as_ref().map(|(path, _)| saved::read(path, MAX_BLOCKED)).unwrap_or_default();
        let peers = lines.into_iter().map(|line| (address::to_libp2p(line.peer), line)).collect();
        Self { peers, file, leaving: Vec::new() }
    }

    pub fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// The name that a blocked peer went by, perhaps empty; `None` when it is not blocked.
    pub fn name(&self, peer: &PeerId) -> Option<&str> {
        self.peers.get(peer).map(|line| line.name.as_str())
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.iter().map(|(_, at)| *at).min()
    }

    /// Answers when the list is on the disk, or is not.
    fn save(&self, peer: KithId, what: &'static str, reply: oneshot::Sender<Result<KithId, Failure>>) {
        let Some((path, writer)) = &self.file else {
            let _ = reply.send(Ok(peer));
            return;
        };
        let outcome = writer.write(path, saved::lines(self.peers.values()));
        let path = path.display().to_string();
        tokio::spawn(async move {
            let written = match outcome {
                Some(outcome) => outcome.await.unwrap_or_else(|error| Err(std::io::Error::other(error))),
                None => Err(std::io::Error::other("the disk does not keep up")),
            };
            let _ = reply.send(written.map(|()| peer).map_err(|error| {
                let short = peer.short();
                let message = format!("…{short} is {what} until kithd restarts: could not write {path}: {error}");
                Failure::new(FailureKind::Internal, message).advise("make room on the disk, then say it again")
            }));
        });
    }
}

/// For whoever wants to connect to a blocked peer.
pub(super) fn is_blocked(what: &str, id: &str) -> Failure {
    Failure::new(FailureKind::Blocked, format!("{what} is blocked on this node"))
        .advise(format!("to allow it again: kithctl peers unblock {id}"))
}

impl Task {
    pub(super) fn block(&mut self, target: &Target, reply: oneshot::Sender<Result<KithId, Failure>>) {
        let Some(peer) = self.meant(target) else {
            let _ = reply.send(Err(nobody()));
            return;
        };
        let Some(id) = address::from_libp2p(&peer).filter(|_| peer != *self.swarm.local_peer_id()) else {
            let failure = Failure::new(FailureKind::InvalidArgument, "a node cannot block itself");
            let _ = reply.send(Err(failure));
            return;
        };
        if self.blocks.peers.len() >= MAX_BLOCKED && !self.blocks.contains(&peer) {
            let failure = Failure::new(FailureKind::NotPermitted, format!("{MAX_BLOCKED} peers are blocked already"));
            let _ = reply.send(Err(failure.advise("unblock some: kithctl peers lists them")));
            return;
        }
        tracing::debug!(peer = %id, "blocked");
        let hello = self.table.get(&peer).and_then(|entry| entry.hello.as_ref()).map(|hello| hello.name.clone());
        let name = hello.or_else(|| self.book.get(&peer).map(|known| known.name)).unwrap_or_default();
        self.blocks.peers.entry(peer).or_insert(Line { peer: id, name, since_unix_ms: unix_ms() });
        let behaviour = self.swarm.behaviour_mut();
        behaviour.gate.block(peer);
        // Nor are others sent to it.
        behaviour.kad.remove_peer(&peer);
        self.blocks.leaving.push((peer, Instant::now() + LEAVE_WITHIN));
        self.rows_changed();
        self.blocks.save(id, "blocked", reply);
    }

    pub(super) fn unblock(&mut self, target: &Target, reply: oneshot::Sender<Result<KithId, Failure>>) {
        let Some(peer) = self.meant(target) else {
            let _ = reply.send(Err(nobody()));
            return;
        };
        let Some(line) = self.blocks.peers.remove(&peer) else {
            let failure = Failure::new(FailureKind::NotFound, "this peer is not blocked");
            let _ = reply.send(Err(failure.advise("kithctl peers shows who is")));
            return;
        };
        tracing::debug!(peer = %line.peer, "unblocked");
        self.swarm.behaviour_mut().gate.unblock(&peer);
        self.blocks.leaving.retain(|(leaving, _)| *leaving != peer);
        self.rows_changed();
        self.blocks.save(line.peer, "unblocked", reply);
    }

    /// At the start: the door learns who stays out.
    pub(super) fn close_door(&mut self) {
        let peers: Vec<PeerId> = self.blocks.peers().copied().collect();
        for peer in peers {
            self.swarm.behaviour_mut().gate.block(peer);
        }
    }

    pub(super) fn blocks_due(&mut self, now: Instant) {
        let (go, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.blocks.leaving).into_iter().partition(|(_, at)| now >= *at);
        self.blocks.leaving = wait;
        for (peer, _) in go {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}

fn nobody() -> Failure {
    Failure::new(FailureKind::NotFound, "nobody is connected from there").advise("give the peer id: kithctl peers")
}
