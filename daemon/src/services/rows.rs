//! From how a listener stands to the row that people and scripts read.

use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::node::{ServiceInfo, ServiceState};
use kith_core::listener::Status;

use super::Name;

/// A row and when its state began, so that the time shown does not wander with the clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Since {
    known: Option<(Instant, i64)>,
}

impl Since {
    fn unix_ms(&mut self, since: Instant, now: Instant) -> i64 {
        match self.known {
            Some((known, unix)) if known == since => unix,
            _ => {
                let ago = i64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(0);
                let unix = unix_ms() - ago;
                self.known = Some((since, unix));
                unix
            }
        }
    }
}

pub fn row(name: Name, status: &Status, since: &mut Since, now: Instant) -> ServiceInfo {
    ServiceInfo {
        name: name.text().to_owned(),
        state: status.state,
        port: status.port,
        wanted_port: status.wanted_port,
        since_unix_ms: since.unix_ms(status.since, now),
        error: status.error.clone(),
        next_try_s: status.next_try.map_or(0, |at| seconds(at.saturating_duration_since(now))),
        suggestion: status.suggestion.clone(),
    }
}

/// What this version does not have.
pub fn absent(name: Name) -> ServiceInfo {
    ServiceInfo {
        name: name.text().to_owned(),
        state: ServiceState::Absent,
        port: 0,
        wanted_port: 0,
        since_unix_ms: 0,
        error: String::new(),
        next_try_s: 0,
        suggestion: String::new(),
    }
}

/// Counted down to 1: 0 says that no try is to come.
fn seconds(left: Duration) -> u32 {
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}
