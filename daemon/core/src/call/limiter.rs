//! How often one peer may make this machine ring, and how often strangers may.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;

/// Rings in a row before the rate counts: somebody who tries again and again in a hurry.
const BURST: u32 = 10;
/// Then one in this time.
const INTERVAL: Duration = Duration::from_secs(6);
/// Peers that are remembered. The one that may ring again soonest is forgotten first.
const MAX_PEERS: usize = 256;

/// Rings of one stranger within the time below that nobody takes: somebody who was given a ticket and tries a few times.
const RINGS_OF_A_STRANGER: usize = 6;
/// And of all strangers together: a node can have a new identity for each ring.
const RINGS_OF_STRANGERS: usize = 20;
const STRANGERS_WITHIN: Duration = Duration::from_secs(3600);

/// A generic cell rate algorithm (ITU-T I.371) for each peer: one time-stamp says it all.
#[derive(Debug, Default)]
pub(super) struct RingLimiter {
    /// When all rings so far would have been used up at the slow rate.
    spent_until: BTreeMap<PeerId, Instant>,
}

impl RingLimiter {
    /// Whether this ring may be heard; counts it if so.
    pub fn admit(&mut self, peer: PeerId, now: Instant) -> bool {
        let spent = self.spent_until.get(&peer).copied().unwrap_or(now).max(now);
        if spent + INTERVAL > now + INTERVAL * BURST {
            return false;
        }
        self.spent_until.insert(peer, spent + INTERVAL);
        if self.spent_until.len() > MAX_PEERS
            && let Some(oldest) = self.spent_until.iter().min_by_key(|(_, spent)| **spent).map(|(peer, _)| *peer)
        {
            self.spent_until.remove(&oldest);
        }
        true
    }

    /// The ring was answered: it was welcome and does not count.
    pub fn refund(&mut self, peer: PeerId) {
        if let Some(spent) = self.spent_until.get_mut(&peer)
            && let Some(earlier) = spent.checked_sub(INTERVAL)
        {
            *spent = earlier;
        }
    }
}

/// The rings of strangers of late.
#[derive(Debug, Default)]
pub(super) struct StrangerLimiter {
    /// Oldest first.
    rung: VecDeque<(PeerId, Instant)>,
}

impl StrangerLimiter {
    /// Whether this ring may be heard; counts it if so.
    pub fn admit(&mut self, peer: PeerId, now: Instant) -> bool {
        self.rung.retain(|(_, at)| now.saturating_duration_since(*at) < STRANGERS_WITHIN);
        let own = self.rung.iter().filter(|(by, _)| *by == peer).count();
        let admitted = own < RINGS_OF_A_STRANGER && self.rung.len() < RINGS_OF_STRANGERS;
        if admitted {
            self.rung.push_back((peer, now));
        }
        admitted
    }

    /// The ring was answered: it was welcome and does not count.
    pub fn refund(&mut self, peer: PeerId) {
        if let Some(last) = self.rung.iter().rposition(|(by, _)| *by == peer) {
            self.rung.remove(last);
        }
    }
}
