//! How fast bytes come.

use std::time::{Duration, Instant};

/// Shorter than this a first reading is not taken at its word: two pieces that lay in one buffer are no rate.
const SHORTEST: Duration = Duration::from_millis(10);

/// The mean rate of the recent past: what came counts less by a factor of e for each `over` that has gone by. From the
/// first byte on it is the mean of what there was so far.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    over: f64,
    weighed: f64,
    began: Option<Instant>,
    at: Option<Instant>,
}

impl Meter {
    pub fn new(over: Duration) -> Self {
        Self { over: over.as_secs_f64(), weighed: 0.0, began: None, at: None }
    }

    pub fn handle(&mut self, bytes: u64, now: Instant) {
        self.weighed = self.weighed_at(now) + bytes as f64;
        self.at = Some(now);
        self.began.get_or_insert(now);
    }

    /// Nothing was ever there to measure.
    pub const fn is_new(&self) -> bool {
        self.began.is_none()
    }

    /// In bytes a second.
    pub fn rate(&self, now: Instant) -> f64 {
        let Some(began) = self.began else { return 0.0 };
        let lasted = now.saturating_duration_since(began).max(SHORTEST).as_secs_f64();
        self.weighed_at(now) / (self.over * (1.0 - (-lasted / self.over).exp()))
    }

    fn weighed_at(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        self.weighed * (-now.saturating_duration_since(at).as_secs_f64() / self.over).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_read_right_from_the_beginning_and_forgotten_when_it_ends() {
        let start = Instant::now();
        let mut meter = Meter::new(Duration::from_millis(400));
        assert!(meter.rate(start) == 0.0);
        for ms in 0..5_000_u64 {
            let now = start + Duration::from_millis(ms);
            meter.handle(1_000, now);
            if ms > 50 {
                let rate = meter.rate(now);
                assert!((970_000.0..1_050_000.0).contains(&rate), "{rate} after {ms} ms");
            }
        }
        assert!(meter.rate(start + Duration::from_secs(7)) < 10_000.0);
    }
}
