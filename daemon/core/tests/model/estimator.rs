//! A stand-in for str0m's bandwidth estimate, after what was measured of it: it doubles in a second until it meets the
//! link or twice what is wanted, swings between 0.88 and 1.25 of the link's rate growing by 8 % a second, keeps its value
//! for most of a second after a sudden drop, has followed after one and a half and then undershoots, to 0.6.

use std::time::{Duration, Instant};

const START: f64 = 600_000.0;
const MOST: f64 = 3_200_000.0;

pub struct Estimator {
    bps: f64,
    settled: bool,
    link: Option<u64>,
    falling: Option<(Instant, f64)>,
    last: Instant,
}

impl Estimator {
    pub fn new(now: Instant) -> Self {
        Self { bps: START, settled: false, link: None, falling: None, last: now }
    }

    pub fn update(&mut self, link: Option<u64>, now: Instant) -> u64 {
        let dt = (now - self.last).as_secs_f64();
        self.last = now;
        let capacity = link.map_or(f64::MAX, |rate| rate as f64);
        if self.link != link {
            if self.link.is_some() && capacity < self.bps {
                self.falling = Some((now, self.bps));
            }
            self.link = link;
        }
        if let Some((since, from)) = self.falling {
            let passed = now - since;
            let way = (passed.as_secs_f64() - 0.8).max(0.0) / 0.7;
            self.bps = from + (capacity * 0.6 - from) * way.min(1.0);
            if passed >= Duration::from_millis(1500) {
                self.falling = None;
            }
            return self.bps as u64;
        }
        self.bps *= if self.settled { 1.08f64.powf(dt) } else { 2f64.powf(dt) };
        if self.bps >= capacity * 1.25 {
            self.bps = capacity * 0.88;
            self.settled = true;
        }
        self.bps = self.bps.min(MOST);
        self.bps as u64
    }
}
