//! The last minutes by the second: what went to and came from each peer, and how its path was.

use std::collections::{BTreeMap, VecDeque};

use kith_common::diagnostics::LinkSample;
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;

use crate::net::Bytes;

/// Ten minutes.
const SECONDS: usize = 600;
/// Peers with rows of their own, longest connected first; the row of all together counts everybody.
const MAX_PEERS: usize = 50;
/// All rows have to fit one message to a client (4 MiB): ten minutes of 19 peers, less of more.
const MAX_SAMPLES: usize = 12_000;

/// What is known of one second.
pub struct Second<'a> {
    pub at_unix_ms: i64,
    /// Streams, since the start.
    pub all: Bytes,
    pub by_peer: BTreeMap<PeerId, Bytes>,
    /// Media, in bytes of this second.
    pub media: BTreeMap<PeerId, Bytes>,
    pub peers: &'a [PeerInfo],
}

#[derive(Default)]
pub struct History {
    seconds: VecDeque<Vec<LinkSample>>,
    samples: usize,
    all: Bytes,
    by_peer: BTreeMap<PeerId, Bytes>,
}

/// What has been added; a counter that went back has begun anew.
fn since(now: u64, before: u64) -> u64 {
    if now >= before { now - before } else { now }
}

impl History {
    /// Takes a second and gives its rows.
    pub fn handle_second(&mut self, second: Second<'_>) -> Vec<LinkSample> {
        let mut rows = Vec::new();
        for peer in second.peers.iter().filter(|peer| peer.connected).take(MAX_PEERS) {
            let now = second.by_peer.get(&peer.peer_id).copied().unwrap_or_default();
            let before = self.by_peer.get(&peer.peer_id).copied().unwrap_or_default();
            let media = second.media.get(&peer.peer_id).copied().unwrap_or_default();
            rows.push(LinkSample {
                at_unix_ms: second.at_unix_ms,
                peer: Some(peer.peer_id),
                sent_bps: (since(now.sent, before.sent) + media.sent) * 8,
                received_bps: (since(now.received, before.received) + media.received) * 8,
                rtt_ms: peer.rtt_ms,
                loss: peer.loss,
            });
        }
        let media = second.media.values().fold(Bytes::default(), |sum, one| Bytes {
            sent: sum.sent + one.sent,
            received: sum.received + one.received,
        });
        rows.push(LinkSample {
            at_unix_ms: second.at_unix_ms,
            peer: None,
            sent_bps: (since(second.all.sent, self.all.sent) + media.sent) * 8,
            received_bps: (since(second.all.received, self.all.received) + media.received) * 8,
            rtt_ms: None,
            loss: None,
        });
        (self.all, self.by_peer) = (second.all, second.by_peer);
        self.samples += rows.len();
        self.seconds.push_back(rows.clone());
        while (self.seconds.len() > SECONDS || self.samples > MAX_SAMPLES)
            && let Some(oldest) = self.seconds.pop_front()
        {
            self.samples -= oldest.len();
        }
        rows
    }

    /// Oldest first.
    pub fn samples(&self) -> Vec<LinkSample> {
        self.seconds.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use kith_common::node::{Path, PeerStatus};

    use super::*;

    fn peer(number: u8) -> PeerInfo {
        let connected = PeerInfo::new(PeerId::from_public_key([number; 32]), PeerStatus::Connected);
        PeerInfo { path: Some(Path::Lan), rtt_ms: Some(2.0), loss: Some(0.5), ..connected }
    }

    fn second(at: i64, total: u64, peers: &[PeerInfo]) -> Second<'_> {
        let bytes = Bytes { sent: total, received: 2 * total };
        let by_peer = peers.iter().map(|peer| (peer.peer_id, bytes)).collect();
        Second { at_unix_ms: at, all: bytes, by_peer, media: BTreeMap::new(), peers }
    }

    #[test]
    fn a_row_is_what_was_added_in_its_second() {
        let peers = [peer(1)];
        let mut history = History::default();
        history.handle_second(second(0, 1000, &peers));
        let mut next = second(1000, 1500, &peers);
        next.media.insert(peers[0].peer_id, Bytes { sent: 100, received: 0 });
        let rows = history.handle_second(next);
        assert_eq!(rows.iter().map(|row| (row.sent_bps, row.received_bps)).collect::<Vec<_>>(), [(4800, 8000); 2]);
        assert_eq!((rows[0].loss, rows[1].peer), (Some(0.5), None));
        // The peer has connected anew: its counter began again.
        assert_eq!(history.handle_second(second(2000, 10, &peers))[0].sent_bps, 80);
    }

    #[test]
    fn it_holds_ten_minutes_and_never_more_than_fits_a_message() {
        let mut history = History::default();
        for at in 0..1000 {
            history.handle_second(second(at, 0, &[peer(1)]));
        }
        assert_eq!(history.samples().len(), 2 * SECONDS);
        assert_eq!(history.samples()[0].at_unix_ms, 400);
        let many: Vec<PeerInfo> = (0..200).map(peer).collect();
        for at in 0..1000 {
            history.handle_second(second(at, 0, &many));
        }
        let samples = history.samples();
        assert!(samples.len() <= MAX_SAMPLES && samples.len().is_multiple_of(MAX_PEERS + 1), "{}", samples.len());
    }
}
