//! What the streams have brought and the task has not dealt with. Each contact has room for a few frames, and they take
//! turns: one that floods loses what is its own.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kith_common::ids::PeerId;
use kith_core::hold::WINDOW;
use tokio::sync::mpsc;

use crate::chat::SealFrame;

/// A window of each kind of frame that is answered, their answers, and the keys.
const FRAMES_OF_ONE: usize = 4 * WINDOW;

pub(super) enum News {
    Linked { peer: PeerId, identity_key: Vec<u8>, outlet: mpsc::Sender<SealFrame> },
    Frame { peer: PeerId, frame: SealFrame },
}

#[derive(Default)]
pub(super) struct Desk(Mutex<Piles>);

#[derive(Default)]
struct Piles {
    /// The newest stream of each.
    links: BTreeMap<PeerId, (Vec<u8>, mpsc::Sender<SealFrame>)>,
    frames: BTreeMap<PeerId, VecDeque<SealFrame>>,
    /// Whose turn was the last.
    last: Option<PeerId>,
}

impl Desk {
    fn piles(&self) -> MutexGuard<'_, Piles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put_link(&self, peer: PeerId, identity_key: Vec<u8>, outlet: mpsc::Sender<SealFrame>) {
        self.piles().links.insert(peer, (identity_key, outlet));
    }

    pub fn put_frame(&self, peer: PeerId, frame: SealFrame) {
        let mut piles = self.piles();
        let pile = piles.frames.entry(peer).or_default();
        if pile.len() < FRAMES_OF_ONE {
            pile.push_back(frame);
        } else {
            tracing::debug!(%peer, "a contact says more about sealed messages than is dealt with");
        }
    }

    /// Streams first, because frames come on them.
    pub fn next(&self) -> Option<News> {
        let mut piles = self.piles();
        if let Some((peer, (identity_key, outlet))) = piles.links.pop_first() {
            return Some(News::Linked { peer, identity_key, outlet });
        }
        let after = piles.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = piles.frames.range((after, Bound::Unbounded)).next().or_else(|| piles.frames.iter().next());
        let peer = *next?.0;
        let pile = piles.frames.get_mut(&peer)?;
        let frame = pile.pop_front();
        if pile.is_empty() {
            piles.frames.remove(&peer);
        }
        piles.last = Some(peer);
        Some(News::Frame { peer, frame: frame? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_take_turns_and_one_that_floods_loses_its_own() {
        let desk = Desk::default();
        let (a, b) = (PeerId::from_public_key([1; 32]), PeerId::from_public_key([2; 32]));
        for n in 0..200 {
            desk.put_frame(a, SealFrame::Held([n; 16]));
        }
        desk.put_frame(b, SealFrame::Held([1; 16]));
        let mut turns = Vec::new();
        while let Some(News::Frame { peer, .. }) = desk.next() {
            turns.push(peer);
        }
        assert_eq!(turns[..3], [a, b, a]);
        assert_eq!(turns.len(), FRAMES_OF_ONE + 1);
    }
}
