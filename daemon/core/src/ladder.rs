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

/// 360p30 in AV1 is comfortable from here (libaom real-time reaches SSIM 0.965 at twice this) ..
const COMFORT_360P30_BPS: f64 = 250_000.0;
const PIXELS_360P: f64 = 640.0 * 360.0;
/// .. and needs grow slower than pixels: with this exponent 720p30 is at home from 900 kb/s, 540p30 from 530, 180p30 from 70.
const PIXELS_EXPONENT: f64 = 0.924;
/// Half the pictures need more than half the bits: each differs more from the one before.
const FPS_EXPONENT: f64 = 0.7;
/// Four times the need is past the knee of the quality curve: libaom reaches 43 dB there, and only noise is left to code.
const ENOUGH: f64 = 4.0;
/// The same for an encoder that is slow.
const ENOUGH_SLOW: f64 = 2.0;
/// A step is left downwards below this share of its need ..
const LEAVE: f64 = 0.85;
/// .. and entered upwards above this, for [`CALM`].
const ENTER: f64 = 1.1;
/// How long the target must allow a larger step before it is taken.
const CALM: Duration = Duration::from_millis(1500);
/// Drops must last this long: one dip of the estimate is not worth a key frame, and while a full queue drains a key frame
/// would fill it again. Meanwhile the coarse quantizers keep to the target.
const DIP: Duration = Duration::from_millis(1000);
/// The target is so far below the need that no quantizer keeps to it ..
const COLLAPSE: f64 = 0.35;
/// .. for long.
const COLLAPSE_DIP: Duration = Duration::from_millis(600);

/// Share of the frame interval that the encoder may take (90th percentile) before the step goes down.
const CPU_LIMIT: f64 = 0.8;
/// What a larger step is expected to take (median) must stay below this share.
const CPU_ROOM: f64 = 0.6;
/// Encoding 4 times the pixels takes 3.3 times the time (libaom) or 3 (rav1e).
const CPU_EXPONENT: f64 = 0.87;
/// Encode times looked at: two seconds at 30 fps.
const TIMES: usize = 60;
/// Enough for a judgement after a change.
const MIN_TIMES: usize = 20;
/// After the CPU forced a step down, larger ones are not tried for this long, doubled each time.
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

    /// The bitrate beyond which more bits show no more, in bits a second. They would only cost the link, and an encoder
    /// whose time follows the bitrate, the CPU.
    pub fn enough_bps(&self, thrift: Thrift) -> f64 {
        self.need_bps()
            * match thrift {
                Thrift::Link => ENOUGH,
                Thrift::Cpu => ENOUGH_SLOW,
            }
    }
}

/// What an encoder is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thrift {
    Link,
    /// rav1e: at twice the bitrate it takes half as long again.
    Cpu,
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

/// Whether encode times are reported at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cpu {
    Unknown,
    Measured,
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
    cpu: Cpu,
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
            cpu: Cpu::Unknown,
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
            self.room_since = None;
            let since = *self.short_since.get_or_insert(now);
            let patience = if bps < need * COLLAPSE { COLLAPSE_DIP } else { DIP };
            if now.saturating_duration_since(since) >= patience {
                self.go(self.best(bps).min(self.current - 1));
            }
            return;
        }
        self.short_since = None;
        let Some(next) = self.next_up(bps, now) else {
            self.room_since = None;
            return;
        };
        let since = *self.room_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.go(next);
        }
    }

    /// The largest step above the current one that bitrate and CPU have room for.
    fn next_up(&self, bps: f64, now: Instant) -> Option<usize> {
        let above = self.current + 1..self.steps.len();
        above.take_while(|step| bps >= self.steps[*step].need_bps() * ENTER && self.cpu_allows(*step, now)).last()
    }

    /// How long the encoder took for a picture that was no key frame.
    pub fn handle_encode_time(&mut self, took: Duration, now: Instant) {
        self.cpu = Cpu::Measured;
        if self.times.len() == TIMES {
            self.times.pop_front();
        }
        self.times.push_back(took);
        if self.times.len() < MIN_TIMES || self.current == 0 {
            return;
        }
        let p90 = self.quantile(0.9);
        if p90 <= CPU_LIMIT / self.current().fps {
            return;
        }
        let fits = |step: &usize| self.expected(p90, *step) <= CPU_LIMIT / self.steps[*step].fps;
        let step = (0..self.current).rev().find(fits).unwrap_or(0);
        self.cpu_ceiling = Some((step, now + self.penalty));
        self.penalty = (self.penalty * 2).min(MAX_CPU_PENALTY);
        self.go(step);
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted: Vec<Duration> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at).map_or(0.0, Duration::as_secs_f64)
    }

    /// What takes `seconds` now, at another step.
    fn expected(&self, seconds: f64, step: usize) -> f64 {
        let pixels = |step: Step| step.size.pixels() as f64;
        seconds * (pixels(self.steps[step]) / pixels(self.current())).powf(CPU_EXPONENT)
    }

    fn cpu_allows(&self, step: usize, now: Instant) -> bool {
        if self.cpu_ceiling.is_some_and(|(ceiling, until)| step > ceiling && now < until) {
            return false;
        }
        match self.cpu {
            Cpu::Unknown => true,
            Cpu::Measured if self.times.len() < MIN_TIMES => false,
            Cpu::Measured => self.expected(self.quantile(0.5), step) < CPU_ROOM / self.steps[step].fps,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        text.parse().expect("a size")
    }

    /// Feeds target and encode time 30 times a second for `seconds`.
    fn run(ladder: &mut Ladder, now: &mut Instant, seconds: f64, bps: u64, encode_ms_at_360p: f64) {
        let end = *now + Duration::from_secs_f64(seconds);
        while *now < end {
            *now += Duration::from_secs_f64(1.0 / ladder.current().fps);
            ladder.handle_target(bps, *now);
            if encode_ms_at_360p > 0.0 {
                let factor = (ladder.current().size.pixels() as f64 / PIXELS_360P).powf(0.86);
                ladder.handle_encode_time(Duration::from_secs_f64(encode_ms_at_360p * factor / 1000.0), *now);
            }
        }
    }

    #[test]
    fn steps_keep_the_aspect_are_even_and_never_scale_up() {
        let sizes = |source: &str| -> Vec<String> {
            let steps = steps(size(source), 30.0);
            steps.iter().filter(|step| step.fps == 30.0).map(|step| step.size.to_string()).collect()
        };
        assert_eq!(sizes("1280x720"), ["320x180", "480x270", "640x360", "960x540", "1280x720"]);
        assert_eq!(sizes("1920x1080"), ["320x180", "480x270", "640x360", "960x540", "1280x720"]);
        assert_eq!(sizes("640x360"), ["320x180", "480x270", "640x360"]);
        assert_eq!(sizes("360x640"), ["180x320", "270x480", "360x640"]);
        assert_eq!(sizes("640x480"), ["240x180", "360x270", "480x360", "640x480"]);
        assert_eq!(sizes("160x120"), ["160x120"]);
        assert_eq!(sizes("16x16"), ["16x16"]);
        for source in ["1920x16", "16x1088", "1366x768", "1918x802", "354x288"] {
            for step in steps(size(source), 25.0) {
                assert!(step.size.pixels() <= size(source).pixels(), "{source} {step:?}");
            }
        }
    }

    #[test]
    fn a_360p_source_is_sent_as_it_is_from_the_first_picture_on() {
        let (mut ladder, mut now) = (Ladder::new(size("640x360"), 30.0), Instant::now());
        // 0.65 x (600 - 60) kb/s: what a call starts with.
        run(&mut ladder, &mut now, 0.1, 351_000, 2.0);
        assert_eq!(ladder.current().size, size("640x360"));
        run(&mut ladder, &mut now, 20.0, 900_000, 2.0);
        assert_eq!(ladder.current().size, size("640x360"));
    }

    #[test]
    fn a_720p_source_is_at_720p_soon_after_the_rate_allows_it() {
        let (mut ladder, mut now) = (Ladder::new(size("1280x720"), 30.0), Instant::now());
        run(&mut ladder, &mut now, 1.0, 351_000, 2.0);
        assert_eq!(ladder.current().size, size("640x360"));
        run(&mut ladder, &mut now, 2.0, 1_200_000, 2.0);
        assert_eq!(ladder.current().size, size("1280x720"), "in one step");
    }

    #[test]
    fn a_target_that_swings_around_a_threshold_changes_nothing() {
        let (mut ladder, mut now) = (Ladder::new(size("1280x720"), 30.0), Instant::now());
        run(&mut ladder, &mut now, 5.0, 640_000, 0.0);
        assert_eq!(ladder.current().size, size("960x540"));
        for _ in 0..20 {
            run(&mut ladder, &mut now, 0.7, 420_000, 0.0);
            run(&mut ladder, &mut now, 0.7, 1_300_000, 0.0);
            assert_eq!(ladder.current().size, size("960x540"));
        }
    }

    #[test]
    fn a_poor_link_ends_at_slow_small_pictures_and_comes_back() {
        let (mut ladder, mut now) = (Ladder::new(size("1280x720"), 30.0), Instant::now());
        run(&mut ladder, &mut now, 5.0, 40_000, 0.0);
        assert_eq!(ladder.current().size, size("320x180"));
        assert!(ladder.current().fps < 20.0, "{:?}", ladder.current());
        run(&mut ladder, &mut now, 5.0, 1_500_000, 0.0);
        assert_eq!(ladder.current(), Step { size: size("1280x720"), fps: 30.0 });
    }

    #[test]
    fn a_slow_encoder_ends_at_the_largest_size_it_can_do_and_stays_there() {
        // rav1e on one core: 20 ms at 360p.
        let (mut ladder, mut now) = (Ladder::new(size("1280x720"), 30.0), Instant::now());
        ladder.handle_target(2_000_000, now);
        assert_eq!(ladder.current().size, size("1280x720"), "nobody knows yet");
        run(&mut ladder, &mut now, 2.0, 2_000_000, 20.0);
        assert_eq!(ladder.current().size, size("640x360"));
        for _ in 0..60 {
            run(&mut ladder, &mut now, 1.0, 2_000_000, 20.0);
            assert_eq!(ladder.current(), Step { size: size("640x360"), fps: 30.0 });
        }
    }

    #[test]
    fn a_busy_minute_costs_size_only_as_long_as_it_lasts() {
        let (mut ladder, mut now) = (Ladder::new(size("1280x720"), 30.0), Instant::now());
        run(&mut ladder, &mut now, 3.0, 2_000_000, 2.0);
        run(&mut ladder, &mut now, 3.0, 2_000_000, 14.0);
        assert!(ladder.current().size.pixels() < size("1280x720").pixels());
        run(&mut ladder, &mut now, 20.0, 2_000_000, 2.0);
        assert_eq!(ladder.current().size, size("1280x720"));
    }
}
