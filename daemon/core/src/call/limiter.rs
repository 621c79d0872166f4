//! How often one peer may make this machine ring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;

/// Rings in a row before the rate counts: somebody who tries again and again in a hurry.
const BURST: u32 = 10;
/// Then one in this time.
const INTERVAL: Duration = Duration::from_secs(6);
/// Peers that are remembered. The one that may ring again soonest is forgotten first.
const MAX_PEERS: usize = 256;

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
