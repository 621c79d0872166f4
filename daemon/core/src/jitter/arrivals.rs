//! How late packets come: the fastest recent way through the network, how far behind it the others are, and the delay
//! that covers almost all of them.

use std::time::{Duration, Instant};

/// The share of packets that the delay is to cover. What is left costs 20 ms of made-up sound each, and 1 % is the limit.
const COVERED: f32 = 0.995;
/// Per packet: what was learnt fades with a time constant of 5 s, so heavy jitter is forgotten in about 25.
const FADE: f32 = 0.996;
/// Weight of the belief to start with: gone after about 4 s of better knowledge.
const BELIEF: f32 = 2.0;
/// Resolution of the histogram.
const BUCKET_MICROS: i64 = 5_000;
/// Up to 500 ms: the largest delay aimed for is below.
const BUCKETS: usize = 100;
/// The fastest packet is sought over this many seconds: shorter would follow a full queue, longer would lag behind a
/// changed route and drifting clocks.
const WINDOW_SECONDS: usize = 10;
/// The worst packet is remembered beyond the histogram, fading by 2 ms a second: a machine or a radio that stalled once
/// stalls again. A single great stall is not worth paying for that long, so no more than this.
const MAX_PEAK_MICROS: i64 = 80_000;
const PEAK_FADE_MICROS: i64 = 40;
/// Media time in microseconds. [`super::MAX_TIME`] keeps it from overflowing.
pub(super) fn media_micros(sequence_time: u64) -> i64 {
    (sequence_time.min(super::MAX_TIME) * 1_000 / 48).cast_signed()
}

/// Learns from every arrival, late ones too.
#[derive(Debug)]
pub(super) struct Arrivals {
    epoch: Instant,
    /// The least transit of each of the last seconds, and which second that was.
    fastest: [(u64, i64); WINDOW_SECONDS],
    histogram: [f32; BUCKETS],
    total: f32,
    peak_micros: i64,
}

impl Arrivals {
    pub(super) fn new(now: Instant, start: Duration) -> Self {
        let mut histogram = [0.0; BUCKETS];
        histogram[bucket(start.as_micros() as i64 - BUCKET_MICROS)] = BELIEF;
        Self { epoch: now, fastest: [(u64::MAX, i64::MAX); WINDOW_SECONDS], histogram, total: BELIEF, peak_micros: 0 }
    }

    /// The sender began anew: its time-stamps mean something else now, but the network is the same.
    pub(super) fn restart(&mut self) {
        self.fastest = [(u64::MAX, i64::MAX); WINDOW_SECONDS];
    }

    /// A packet of this media time came (or what could replace it came).
    pub(super) fn record(&mut self, sequence_time: u64, arrived: Instant) {
        let local = self.micros(arrived);
        let transit = local - media_micros(sequence_time);
        let second = (local / 1_000_000).unsigned_abs();
        let slot = &mut self.fastest[second as usize % WINDOW_SECONDS];
        if slot.0 == second {
            slot.1 = slot.1.min(transit);
        } else {
            *slot = (second, transit);
        }
        let behind = transit - self.base(local);
        self.peak_micros = (self.peak_micros - PEAK_FADE_MICROS).max(behind.min(MAX_PEAK_MICROS));
        for weight in &mut self.histogram {
            *weight *= FADE;
        }
        self.histogram[bucket(behind)] += 1.0;
        self.total = self.total * FADE + 1.0;
    }

    /// The delay that covers [`COVERED`] of the arrivals, and the worst of the last while.
    pub(super) fn needed(&self) -> Duration {
        self.covering().max(Duration::from_micros(self.peak_micros.max(0).unsigned_abs()))
    }

    fn covering(&self) -> Duration {
        let mut above = self.total * (1.0 - COVERED);
        for (index, weight) in self.histogram.iter().enumerate().rev() {
            above -= weight;
            if above < 0.0 {
                return Duration::from_micros((index as u64 + 1) * BUCKET_MICROS.unsigned_abs());
            }
        }
        Duration::ZERO
    }

    /// How long after the moment at which the fastest way would have brought it this media time is at `now`, in
    /// microseconds; zero before the first packet.
    pub(super) fn delay_micros(&self, sequence_time: u64, now: Instant) -> i64 {
        let local = self.micros(now);
        match self.base(local) {
            i64::MAX => 0,
            base => local - media_micros(sequence_time) - base,
        }
    }

    fn base(&self, local: i64) -> i64 {
        let second = (local / 1_000_000).unsigned_abs();
        let recent = self.fastest.iter().filter(|(at, _)| at.saturating_add(WINDOW_SECONDS as u64) > second);
        // After a long silence nothing is recent: the newest knowledge there is must do.
        recent.map(|(_, transit)| *transit).min().unwrap_or_else(|| {
            self.fastest.iter().filter(|(at, _)| *at != u64::MAX).max().map_or(i64::MAX, |(_, transit)| *transit)
        })
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX / 4)
    }
}

fn bucket(behind_micros: i64) -> usize {
    usize::try_from(behind_micros.max(0) / BUCKET_MICROS).unwrap_or(BUCKETS).min(BUCKETS - 1)
}
