//! How much strangers may ask: each once, few at a time, and those that were refused not for a while.

use std::time::{Duration, Instant};

use kith_common::call::CallKind;
use kith_common::ids::PeerId;

/// Requests that wait for a person. More would be a flood, and nobody would read them.
pub(super) const MAX_REQUESTS: usize = 64;
/// Requests in quick succession, and then one each while: identities cost nothing, the disk and the user's patience do.
const BURST: u32 = 16;
const PAUSE: Duration = Duration::from_secs(15);
/// How long somebody who was refused is not heard again.
pub(super) const REFUSED_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Knocks that wait to be looked at: no more than may become requests in quick succession.
pub const KNOCKS: usize = BURST as usize;

/// A stranger that has called and was not let ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knock {
    pub peer: PeerId,
    pub kind: CallKind,
}

/// What stands in a request that a call has become, in place of what a stranger has to say.
const CALLED: [(CallKind, &str); 2] =
    [(CallKind::Video, "tried to call you, with a picture"), (CallKind::Voice, "tried to call you")];

impl Knock {
    pub fn text(self) -> &'static str {
        CALLED.into_iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, text)| text)
    }
}

/// Whether it has only called, and has not asked to be a contact. (One that says the same of itself is asked in turn when it
/// is accepted, and agrees.)
pub(super) fn has_only_called(text: &str) -> bool {
    CALLED.iter().any(|(_, called)| *called == text)
}

/// Lets a burst through and then a steady rate.
#[derive(Debug)]
pub(super) struct Door {
    /// When the whole burst is there again.
    full: Instant,
}

impl Door {
    pub fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Whether one more may come in.
    pub fn admit(&mut self, now: Instant) -> bool {
        let full = self.full.max(now) + PAUSE;
        let admitted = full.saturating_duration_since(now) <= PAUSE * BURST;
        if admitted {
            self.full = full;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_let_in_one_by_one() {
        let now = Instant::now();
        let mut door = Door::new(now);
        assert_eq!((0..1000).filter(|_| door.admit(now)).count(), BURST as usize);
        assert!(!door.admit(now + PAUSE / 2));
        assert!(door.admit(now + PAUSE), "it comes back with time");
        assert_eq!((0..1000).filter(|_| door.admit(now + PAUSE * 1000)).count(), BURST as usize);
    }
}
