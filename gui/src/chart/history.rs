//! What the links to the peers were like, second by second, for as long as a chart reaches back.

use std::collections::{BTreeMap, VecDeque};

use kith_common::diagnostics::LinkSample;
use kith_common::ids::PeerId;

use super::{Point, SPAN_MS};

/// Peers that are remembered: more lines than this nobody tells apart, and a node in a large network meets many.
const PEERS: usize = 256;
/// A little more than the chart shows, so that lines leave it at its edge and not before.
const KEPT_MS: i64 = SPAN_MS + 5_000;

/// Bounded by its span in time and by the number of peers.
#[derive(Debug, Default)]
pub struct History {
    links: BTreeMap<Option<PeerId>, VecDeque<LinkSample>>,
    newest_ms: i64,
}

impl History {
    /// Takes in what was measured. What is known already, or older than what is known of the same link, is left out.
    pub fn add(&mut self, samples: Vec<LinkSample>) {
        for sample in samples {
            if !self.links.contains_key(&sample.peer) && self.links.len() > PEERS {
                continue;
            }
            let link = self.links.entry(sample.peer).or_default();
            if link.back().is_none_or(|last| last.at_unix_ms < sample.at_unix_ms) {
                self.newest_ms = self.newest_ms.max(sample.at_unix_ms);
                link.push_back(sample);
            }
        }
        let oldest = self.newest_ms - KEPT_MS;
        self.links.retain(|_, link| {
            while link.front().is_some_and(|sample| sample.at_unix_ms < oldest) {
                link.pop_front();
            }
            !link.is_empty()
        });
    }

    /// When the newest was measured; 0 when nothing has been.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Who was measured, without the row of all together.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.links.keys().filter_map(|peer| *peer)
    }

    /// One figure of one link over time.
    pub fn points(&self, peer: Option<PeerId>, figure: impl Fn(&LinkSample) -> Option<f64>) -> Vec<Point> {
        let link = self.links.get(&peer);
        let points = link.into_iter().flatten().map(|sample| Point { at_ms: sample.at_unix_ms, value: figure(sample) });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: i64, peer: Option<u8>) -> LinkSample {
        LinkSample {
            at_unix_ms: at_s * 1000,
            peer: peer.map(|key| PeerId::from_public_key([key; 32])),
            sent_bps: 1,
            received_bps: 2,
            rtt_ms: Some(3.0),
            loss: None,
        }
    }

    fn rtt(sample: &LinkSample) -> Option<f64> {
        sample.rtt_ms
    }

    #[test]
    fn a_second_that_is_told_twice_is_kept_once() {
        let mut history = History::default();
        history.add(vec![sample(1, None), sample(2, None)]);
        history.add(vec![sample(2, None), sample(3, None)]);
        assert_eq!(history.points(None, rtt).len(), 3);
    }

    #[test]
    fn what_is_too_old_is_forgotten_with_its_peer() {
        let mut history = History::default();
        history.add(vec![sample(1, Some(7)), sample(1, None)]);
        history.add((2..2_000).map(|second| sample(second, None)).collect());
        assert_eq!(history.peers().count(), 0);
        assert!(history.points(None, rtt).len() <= 606);
    }
}
