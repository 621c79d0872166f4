//! Whether the peer still sends anything.

use std::time::{Duration, Instant};

use super::params::SessionEvent;

/// Ten heartbeats.
const STALLED: Duration = Duration::from_secs(1);
const LOST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pulse {
    #[default]
    Beating,
    Stalled,
    Lost,
}

impl Pulse {
    /// `heard`: the last packet, of any kind and by any path. Returns what has changed.
    pub fn handle(&mut self, heard: Instant, now: Instant) -> Option<SessionEvent> {
        let (pulse, event) = match now.saturating_duration_since(heard) {
            quiet if quiet >= LOST => (Self::Lost, SessionEvent::Lost),
            quiet if quiet >= STALLED => (Self::Stalled, SessionEvent::Stalled),
            _ => (Self::Beating, SessionEvent::Resumed),
        };
        (std::mem::replace(self, pulse) != pulse).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let start = Instant::now();
        let mut pulse = Pulse::default();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(pulse.handle(start, at(500)), None);
        assert_eq!(pulse.handle(start, at(1000)), Some(SessionEvent::Stalled));
        assert_eq!(pulse.handle(start, at(2000)), None);
        assert_eq!(pulse.handle(at(2000), at(2100)), Some(SessionEvent::Resumed));
        assert_eq!(pulse.handle(at(2000), at(12_000)), Some(SessionEvent::Lost));
    }
}
