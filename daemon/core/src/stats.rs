//! Figures of a running call in bounded memory: percentiles, frozen time, time at each size, rates.

use std::time::{Duration, Instant};

use kith_common::media::Size;

/// Neighbouring buckets differ by this factor, so a percentile is at most 1 % beside the truth.
const STEP: f64 = 1.02;
/// The smallest value that is told apart, in milliseconds.
const SMALLEST_MS: f64 = 0.05;
/// Up to 100 seconds.
const BUCKETS: usize = 734;

/// Percentiles of durations over all that was recorded, in about 6 kB whatever the number.
#[derive(Debug, Clone)]
pub struct Percentiles {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    max_ms: f64,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Percentiles {
    pub fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, max_ms: 0.0 }
    }

    pub fn record(&mut self, value: Duration) {
        self.record_ms(value.as_secs_f64() * 1000.0);
    }

    /// Negative values count as zero; what is not a number is ignored.
    pub fn record_ms(&mut self, value_ms: f64) {
        if !value_ms.is_finite() {
            return;
        }
        let bucket = if value_ms <= SMALLEST_MS { 0.0 } else { (value_ms / SMALLEST_MS).ln() / STEP.ln() };
        // Truncation is the point: the whole part is the index.
        let index = (bucket as usize).min(BUCKETS - 1);
        self.buckets[index] += 1;
        self.count += 1;
        self.max_ms = self.max_ms.max(value_ms);
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    pub const fn max_ms(&self) -> Option<f64> {
        if self.count == 0 { None } else { Some(self.max_ms) }
    }

    /// The value that this share (0 to 1) of all lies at or below; `None` before the first.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((share.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                let middle = SMALLEST_MS * STEP.powf(index as f64 + 0.5);
                return Some(if index == 0 { 0.0 } else { middle.min(self.max_ms) });
            }
        }
        Some(self.max_ms)
    }

    pub fn p50_ms(&self) -> Option<f64> {
        self.quantile_ms(0.50)
    }

    pub fn p95_ms(&self) -> Option<f64> {
        self.quantile_ms(0.95)
    }
}

/// A gap between pictures counts as frozen from here on.
pub const FROZEN_AFTER: Duration = Duration::from_millis(200);

/// Whether pictures are to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Yes,
    /// The camera is off, or nobody sends.
    No,
}

/// Time without a new picture beyond [`FROZEN_AFTER`], while pictures were due.
#[derive(Debug)]
pub struct FrozenMeter {
    last: Option<Instant>,
    due: Due,
    frozen: Duration,
}

impl FrozenMeter {
    /// Counts from the first picture on.
    pub const fn new() -> Self {
        Self { last: None, due: Due::Yes, frozen: Duration::ZERO }
    }

    pub fn handle_picture(&mut self, now: Instant) {
        self.frozen += self.running(now);
        self.last = Some(now);
    }

    pub fn set_due(&mut self, due: Due, now: Instant) {
        if due == self.due {
            return;
        }
        self.frozen += self.running(now);
        self.last = (self.last.is_some() || due == Due::No).then_some(now);
        self.due = due;
    }

    /// In all, up to `now`.
    pub fn frozen(&self, now: Instant) -> Duration {
        self.frozen + self.running(now)
    }

    fn running(&self, now: Instant) -> Duration {
        match (self.due, self.last) {
            (Due::Yes, Some(last)) => now.saturating_duration_since(last).saturating_sub(FROZEN_AFTER),
            _ => Duration::ZERO,
        }
    }
}

impl Default for FrozenMeter {
    fn default() -> Self {
        Self::new()
    }
}

/// The steps are five, sources may be changed: more sizes than this are a peer that plays games.
const MAX_SIZES: usize = 32;

/// Seconds spent at each picture size.
#[derive(Debug, Default)]
pub struct SizeMeter {
    sizes: Vec<(Size, Duration)>,
    current: Option<(usize, Instant)>,
}

impl SizeMeter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn handle_picture(&mut self, size: Size, now: Instant) {
        self.settle(now);
        let index = self.sizes.iter().position(|(known, _)| *known == size).or_else(|| {
            (self.sizes.len() < MAX_SIZES).then(|| {
                self.sizes.push((size, Duration::ZERO));
                self.sizes.len() - 1
            })
        });
        self.current = index.map(|index| (index, now));
    }

    /// The size of the newest picture.
    pub fn current(&self) -> Option<Size> {
        self.current.map(|(index, _)| self.sizes[index].0)
    }

    /// Sizes in the order of their first picture, up to `now`.
    pub fn seconds(&self, now: Instant) -> Vec<(Size, f64)> {
        self.sizes
            .iter()
            .enumerate()
            .map(|(index, (size, time))| {
                let running = self.current.filter(|(current, _)| *current == index);
                let more = running.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since));
                (*size, (*time + more).as_secs_f64())
            })
            .collect()
    }

    fn settle(&mut self, now: Instant) {
        if let Some((index, since)) = self.current {
            self.sizes[index].1 += now.saturating_duration_since(since);
        }
    }
}

const SLOTS: usize = 10;
const SLOT_MS: u64 = 100;

/// Bytes and events of the last second, in steps of 100 ms.
#[derive(Debug)]
pub struct RateMeter {
    start: Instant,
    slots: [(u64, u64, u64); SLOTS],
}

impl RateMeter {
    pub const fn new(now: Instant) -> Self {
        Self { start: now, slots: [(u64::MAX, 0, 0); SLOTS] }
    }

    pub fn record(&mut self, bytes: usize, now: Instant) {
        let slot = self.slot(now);
        let entry = &mut self.slots[(slot % SLOTS as u64) as usize];
        if entry.0 != slot {
            *entry = (slot, 0, 0);
        }
        entry.1 += bytes as u64;
        entry.2 += 1;
    }

    /// Kilobits a second over the last second (less when the meter is younger).
    pub fn kbps(&self, now: Instant) -> f64 {
        let (bytes, _) = self.last_second(now);
        bytes as f64 * 8.0 / 1000.0 / self.span(now)
    }

    /// Events a second.
    pub fn per_second(&self, now: Instant) -> f64 {
        self.last_second(now).1 as f64 / self.span(now)
    }

    fn slot(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX - 1) / SLOT_MS
    }

    fn span(&self, now: Instant) -> f64 {
        // The newest slot is only begun.
        let age = now.saturating_duration_since(self.start).as_secs_f64();
        let begun = age % 0.1;
        age.min(0.9 + begun).max(0.1)
    }

    fn last_second(&self, now: Instant) -> (u64, u64) {
        let newest = self.slot(now);
        let recent = |slot: u64| slot <= newest && slot + (SLOTS as u64) > newest;
        self.slots
            .iter()
            .filter(|(slot, ..)| *slot != u64::MAX && recent(*slot))
            .fold((0, 0), |sum, entry| (sum.0 + entry.1, sum.1 + entry.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn percentiles_are_within_a_percent_of_the_truth() {
        let mut rng = crate::link::Rng::new(2);
        let mut values: Vec<f64> = (0..10_000).map(|_| 1.0 + rng.unit().powi(3) * 900.0).collect();
        let mut percentiles = Percentiles::new();
        for value in &values {
            percentiles.record_ms(*value);
        }
        values.sort_by(f64::total_cmp);
        for share in [0.0, 0.05, 0.5, 0.95, 0.99, 1.0] {
            let truth = values[((share * 10_000.0) as usize).saturating_sub(1)];
            let got = percentiles.quantile_ms(share).expect("there are values");
            assert!((got / truth - 1.0).abs() <= 0.012, "seed 2, {share}: {got} instead of {truth}");
        }
        assert_eq!(percentiles.count(), 10_000);
    }

    #[test]
    fn strange_values_harm_no_percentile() {
        let mut percentiles = Percentiles::new();
        assert_eq!((percentiles.p50_ms(), percentiles.max_ms()), (None, None));
        for value in [f64::NAN, f64::INFINITY, -5.0, 0.0, 1e300] {
            percentiles.record_ms(value);
        }
        assert_eq!((percentiles.count(), percentiles.p50_ms()), (3, Some(0.0)));
    }

    #[test]
    fn frozen_time_counts_beyond_200_ms_and_only_while_pictures_are_due() {
        let start = Instant::now();
        let mut meter = FrozenMeter::new();
        assert_eq!(meter.frozen(start + ms(9_000)), Duration::ZERO, "nothing has come yet");
        for picture in 0..30 {
            meter.handle_picture(start + ms(picture * 33));
        }
        assert_eq!(meter.frozen(start + ms(957 + 200)), Duration::ZERO);
        assert_eq!(meter.frozen(start + ms(957 + 500)), ms(300));
        meter.handle_picture(start + ms(957 + 500));
        meter.set_due(Due::No, start + ms(1_500));
        meter.set_due(Due::Yes, start + ms(9_000));
        meter.handle_picture(start + ms(9_250));
        assert_eq!(meter.frozen(start + ms(9_250)), ms(350));
    }

    #[test]
    fn time_is_counted_for_the_size_that_is_shown() {
        let (start, mut meter) = (Instant::now(), SizeMeter::new());
        let (small, large) = ("320x180".parse::<Size>().expect("a size"), "640x360".parse::<Size>().expect("a size"));
        meter.handle_picture(small, start);
        meter.handle_picture(small, start + ms(500));
        meter.handle_picture(large, start + ms(2_000));
        assert_eq!(meter.seconds(start + ms(5_000)), [(small, 2.0), (large, 3.0)]);
        assert_eq!(meter.current(), Some(large));
        for side in 8..200u32 {
            meter.handle_picture(Size::new(side * 2, 16).expect("a size"), start + ms(6_000));
        }
        assert_eq!(meter.seconds(start + ms(6_000)).len(), MAX_SIZES);
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        assert_eq!(meter.kbps(start), 0.0);
        for packet in 0..500u64 {
            meter.record(1250, start + ms(packet * 10));
        }
        let now = start + ms(4_990);
        assert!((meter.kbps(now) - 1000.0).abs() < 20.0, "{}", meter.kbps(now));
        assert!((meter.per_second(now) - 100.0).abs() < 2.0, "{}", meter.per_second(now));
        assert_eq!(meter.kbps(start + ms(6_100)), 0.0);
    }
}
