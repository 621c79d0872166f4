//! Which picture size and frame rate the encoder gets: steps that follow the bitrate and the CPU.
//!
//! The steps are 180p, 270p, 360p, 540p and 720p of the source's aspect, never larger than the source, and below the
//! smallest one slower frame rates. Down at once, up only when there is room to stay: a change of size costs a key frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kith_common::media::Size;

/// The steps by their shorter side.
const SIDES: [u32; 5] = [180, 270, 360, 540, 720];
/// The last resorts, at the smallest size only.
const SLOW_FPS: [f64; 3] = [20.0, 15.0, 10.0];

/// 360p30 in AV1 looks right from here (SSIM 0.95 and more; facts/codecs.md 4) ..
const COMFORT_360P30_BPS: f64 = 250_000.0;
const PIXELS_360P: f64 = 640.0 * 360.0;
/// .. and needs grow slower than pixels: with this exponent 720p30 is at home from 900 kb/s, 540p30 from 530, 180p30 from 70.
const PIXELS_EXPONENT: f64 = 0.924;
/// Half the pictures need more than half the bits: each differs more from the one before.
const FPS_EXPONENT: f64 = 0.7;
/// A step is left downwards below this share of its need ..
const LEAVE: f64 = 0.85;
/// .. and entered upwards above this, for [`CALM`].
const ENTER: f64 = 1.1;
/// How long the target must allow a larger step before it is taken.
const CALM: Duration = Duration::from_millis(1500);
/// Drops must last this long: one dip of the estimate is not worth a key frame. Far below the need there is no waiting.
const DIP: Duration = Duration::from_millis(500);
/// The target is so far below the need that waiting only fills queues.
const COLLAPSE: f64 = 0.5;

/// Share of the frame interval that the encoder may take (90th percentile) before the step goes down.
const CPU_LIMIT: f64 = 0.8;
/// What a larger step is expected to take must stay below this share.
const CPU_ROOM: f64 = 0.6;
/// Encode times looked at: two seconds at 30 fps.
const TIMES: usize = 60;
/// Enough for a judgement after a change.
const MIN_TIMES: usize = 20;
/// After the CPU forced a step down, that step and larger ones are not tried for this long, doubled each time.
const CPU_PENALTY: Duration = Duration::from_secs(15);
const MAX_CPU_PENALTY: Duration = Duration::from_secs(240);

/// What the encoder is to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub size: Size,
    pub fps: f64,
}

impl Step {
    /// The bitrate from which this step is comfortable, in bits a second.
    pub fn need_bps(&self) -> f64 {
        COMFORT_360P30_BPS
            * (self.size.pixels() as f64 / PIXELS_360P).powf(PIXELS_EXPONENT)
            * (self.fps / 30.0).powf(FPS_EXPONENT)
    }
}

/// All steps of a source, smallest first.
fn steps(source: Size, fps: f64) -> Vec<Step> {
    let fps = if fps.is_finite() { fps.clamp(1.0, 60.0) } else { 30.0 };
    let mut sizes: Vec<Size> = Vec::new();
    for side in SIDES {
        let size = fit(source, side);
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    let smallest = sizes[0];
    let slow = SLOW_FPS.iter().rev().filter(|slow| **slow < fps).map(|slow| Step { size: smallest, fps: *slow });
    slow.chain(sizes.iter().map(|size| Step { size: *size, fps })).collect()
}

/// The source at the step of this short side: as it is when it has no more pixels, else scaled within the step's short
/// side and 16:9 pixel count.
fn fit(source: Size, side: u32) -> Size {
    let budget = f64::from(side * side) * 16.0 / 9.0;
    let pixels = source.pixels() as f64;
    if pixels <= budget {
        return source;
    }
    let short = source.width().min(source.height()) as f64;
    let scale = (f64::from(side) / short).min((budget / pixels).sqrt()).min(1.0);
    let even = |length: usize| ((length as f64 * scale / 2.0).round() as u32 * 2).max(16);
    Size::new(even(source.width()), even(source.height())).unwrap_or(source)
}

/// Follows target and encode times.
#[derive(Debug)]
pub struct Ladder {
    steps: Vec<Step>,
    current: usize,
    target_bps: Option<u64>,
    /// Since when the target allows more.
    room_since: Option<Instant>,
    /// Since when the target is below the step.
    short_since: Option<Instant>,
    times: VecDeque<Duration>,
    /// The largest step the CPU is trusted with, and until when.
    cpu_ceiling: Option<(usize, Instant)>,
    penalty: Duration,
}

impl Ladder {
    /// Starts at 360p, or at the source when that is smaller; the first target puts it where it belongs.
    pub fn new(source: Size, fps: f64) -> Self {
        let steps = steps(source, fps);
        let start = steps.iter().rposition(|step| step.size.pixels() as f64 <= PIXELS_360P).unwrap_or(0);
        Self {
            steps,
            current: start,
            target_bps: None,
            room_since: None,
            short_since: None,
            times: VecDeque::with_capacity(TIMES),
            cpu_ceiling: None,
            penalty: CPU_PENALTY,
        }
    }

    pub fn current(&self) -> Step {
        self.steps[self.current]
    }

    /// The bitrate that the encoder is given, whenever it changes and at least each second.
    pub fn handle_target(&mut self, bps: u64, now: Instant) {
        let first = self.target_bps.replace(bps).is_none();
        let bps = bps as f64;
        if first {
            self.current = self.best(bps);
            return;
        }
        let need = self.current().need_bps();
        if bps < need * LEAVE && self.current > 0 {
            let since = *self.short_since.get_or_insert(now);
            if bps < need * COLLAPSE || now.saturating_duration_since(since) >= DIP {
                self.go(self.best(bps).min(self.current - 1));
            }
            return;
        }
        self.short_since = None;
        let next = self.current + 1;
        let fits = self.steps.get(next).is_some_and(|step| bps >= step.need_bps() * ENTER);
        if !fits || !self.cpu_allows(next, now) {
            self.room_since = None;
            return;
        }
        let since = *self.room_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.go(next);
        }
    }

    /// How long the encoder took for a picture that was no key frame.
    pub fn handle_encode_time(&mut self, took: Duration, now: Instant) {
        if self.times.len() == TIMES {
            self.times.pop_front();
        }
        self.times.push_back(took);
        if self.times.len() < MIN_TIMES {
            return;
        }
        let interval = 1.0 / self.current().fps;
        if self.p90() > CPU_LIMIT * interval && self.current > 0 {
            self.cpu_ceiling = Some((self.current - 1, now + self.penalty));
            self.penalty = (self.penalty * 2).min(MAX_CPU_PENALTY);
            self.go(self.current - 1);
        }
    }

    fn p90(&self) -> f64 {
        let mut sorted: Vec<Duration> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 9 / 10).map_or(0.0, Duration::as_secs_f64)
    }

    fn cpu_allows(&self, step: usize, now: Instant) -> bool {
        if self.cpu_ceiling.is_some_and(|(ceiling, until)| step > ceiling && now < until) {
            return false;
        }
        if self.times.len() < MIN_TIMES {
            return self.times.is_empty();
        }
        let (from, to) = (self.current(), self.steps[step]);
        let expected = self.p90() * to.size.pixels() as f64 / from.size.pixels() as f64;
        expected < CPU_ROOM / to.fps
    }

    /// The largest step that is comfortable at this bitrate; the smallest when none is.
    fn best(&self, bps: f64) -> usize {
        let best = self.steps.iter().rposition(|step| step.need_bps() <= bps).unwrap_or(0);
        self.cpu_ceiling.map_or(best, |(ceiling, _)| best.min(ceiling))
    }

    fn go(&mut self, step: usize) {
        self.current = step;
        self.room_since = None;
        self.short_since = None;
        self.times.clear();
    }
}
