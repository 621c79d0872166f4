//! When a contact that is away is dialed: soon, then seldom, few at once; all of them when the network comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;

/// After a connection is lost: most are back within seconds.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// Contacts that stay away: each try may cost a lookup in the DHT.
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Contacts dialed at a time. An attempt that finds nobody takes up to half a minute.
pub(super) const MAX_DIALS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Away {
    due: Instant,
    pause: Duration,
}

/// The contacts that are away.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    away: BTreeMap<PeerId, Away>,
    running: BTreeSet<PeerId>,
}

impl Dialer {
    /// Who is away now. Those that were not before are dialed after `delay`.
    pub fn set_away(&mut self, peers: &BTreeSet<PeerId>, now: Instant, delay: Duration) {
        self.away.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.away.entry(*peer).or_insert(Away { due: now + delay, pause: FIRST_PAUSE });
        }
    }

    /// Whoever did not answer before may answer now.
    pub fn network_is_back(&mut self, now: Instant) {
        for away in self.away.values_mut() {
            *away = Away { due: now, pause: FIRST_PAUSE };
        }
    }

    /// Whom to dial now; asked until there is nobody.
    pub fn next(&mut self, now: Instant) -> Option<PeerId> {
        if self.running.len() >= MAX_DIALS {
            return None;
        }
        let idle = self.away.iter().filter(|(peer, away)| away.due <= now && !self.running.contains(peer));
        let peer = *idle.min_by_key(|(_, away)| away.due)?.0;
        self.running.insert(peer);
        Some(peer)
    }

    /// An attempt has ended, whichever way: who is connected is no longer away.
    pub fn tried(&mut self, peer: &PeerId, now: Instant) {
        self.running.remove(peer);
        if let Some(away) = self.away.get_mut(peer) {
            *away = Away { due: now + away.pause, pause: (away.pause * 2).min(LAST_PAUSE) };
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        if self.running.len() >= MAX_DIALS {
            return None;
        }
        self.away.iter().filter(|(peer, _)| !self.running.contains(peer)).map(|(_, away)| away.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(numbers: std::ops::Range<u8>) -> BTreeSet<PeerId> {
        numbers.map(|n| PeerId::from_public_key([n; 32])).collect()
    }

    fn all(dialer: &mut Dialer, now: Instant) -> Vec<PeerId> {
        std::iter::from_fn(|| dialer.next(now)).collect()
    }

    #[test]
    fn few_are_dialed_at_once_and_all_in_turn() {
        let now = Instant::now();
        let mut dialer = Dialer::default();
        dialer.set_away(&peers(0..10), now, Duration::ZERO);
        let first = all(&mut dialer, now);
        assert_eq!(first.len(), MAX_DIALS);
        assert_eq!(dialer.deadline(), None, "there is no room for more");
        for peer in &first {
            dialer.tried(peer, now);
        }
        let second = all(&mut dialer, now);
        assert!(second.len() == MAX_DIALS && second.iter().all(|peer| !first.contains(peer)));
    }

    #[test]
    fn pauses_grow_to_the_last_and_begin_anew_when_the_network_is_back() {
        let mut now = Instant::now();
        let mut dialer = Dialer::default();
        dialer.set_away(&peers(1..2), now, FIRST_PAUSE);
        assert_eq!(dialer.next(now), None, "a moment for the connection to come back by itself");
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let due = dialer.deadline().expect("somebody is away");
            pauses.push(due - now);
            now = due;
            let peer = dialer.next(now).expect("it is due");
            dialer.tried(&peer, now);
        }
        assert_eq!(pauses[..4], [FIRST_PAUSE, FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses.last(), Some(&LAST_PAUSE));
        dialer.network_is_back(now);
        assert!(dialer.next(now).is_some());
    }

    #[test]
    fn who_is_connected_is_left_alone() {
        let now = Instant::now();
        let mut dialer = Dialer::default();
        dialer.set_away(&peers(1..3), now, Duration::ZERO);
        dialer.set_away(&peers(2..3), now, Duration::ZERO);
        assert_eq!(all(&mut dialer, now), peers(2..3).into_iter().collect::<Vec<_>>());
    }
}
