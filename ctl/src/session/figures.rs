//! What this process measures itself, from the pictures and the sound that it received: the figures after the ramp
//! (`steady`), how soon the first came, the way there and back through an echo node, and a drop of the rate.
//! Has no clock: times are handed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_common::call::CallStats;
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, Sound};
use kith_common::testsource::TestPicture;
use serde_json::{Map, Value, json};

use super::play::SendTimes;

/// The ramp at the start of a call that `steady` leaves out.
pub const RAMP: Duration = Duration::from_secs(10);
/// Less than this after the ramp says nothing.
const MIN_STEADY: Duration = Duration::from_secs(1);
/// Sound older than this does not belong to the picture that came now.
const MAX_SOUND_AGE: Duration = Duration::from_millis(200);
/// A picture later than this counts as late, as in `late_400ms`.
const LATE: Duration = Duration::from_millis(400);

/// Delays in steps of a quarter of a millisecond, up to 4 s: bounded memory, however long the call.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

const STEPS: usize = 16_384;
const STEP_US: u64 = 250;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS], total: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, delay: Duration) {
        let step = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX) / STEP_US;
        let step = usize::try_from(step).unwrap_or(STEPS).min(STEPS - 1);
        self.counts[step] = self.counts[step].saturating_add(1);
        self.total += 1;
    }

    /// In milliseconds, the middle of the step.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some((step as f64 + 0.5) * STEP_US as f64 / 1000.0)
    }
}

/// Counted from the end of the ramp.
#[derive(Default)]
struct Steady {
    pictures: u64,
    delay: Histogram,
    sound_delay: Histogram,
    skew: Histogram,
    there_and_back: Histogram,
    sizes: BTreeMap<Size, u64>,
}

/// A drop of the link's rate in the middle of the call.
struct Drop {
    at: MonoTime,
    worst: Duration,
    last_late: Option<MonoTime>,
}

#[derive(Default)]
pub struct Figures {
    accepted: Option<MonoTime>,
    active: Option<MonoTime>,
    /// When this side began to hang up, or the call ended.
    over: Option<MonoTime>,
    first_picture: Option<MonoTime>,
    first_sound: Option<MonoTime>,
    last_sound: Option<(MonoTime, Duration)>,
    pictures: u64,
    steady: Steady,
    /// The daemon's counters at the end of the ramp.
    ramp_stats: Option<CallStats>,
    there_and_back: Histogram,
    sent: Option<Arc<SendTimes>>,
    drop: Option<Drop>,
}

impl Figures {
    /// `sent`: when this side handed its own pictures over, if an echo node sends them back.
    pub fn new(sent: Option<Arc<SendTimes>>) -> Self {
        Self { sent, ..Self::default() }
    }

    pub fn accepted(&mut self, now: MonoTime) {
        self.accepted.get_or_insert(now);
    }

    pub fn active(&mut self, now: MonoTime) {
        self.active.get_or_insert(now);
    }

    pub fn over(&mut self, now: MonoTime) {
        self.over.get_or_insert(now);
    }

    pub fn dropped_rate(&mut self, now: MonoTime) {
        self.drop.get_or_insert(Drop { at: now, worst: Duration::ZERO, last_late: None });
    }

    fn is_steady(&self, now: MonoTime) -> bool {
        self.over.is_none() && self.active.is_some_and(|active| now >= active + RAMP)
    }

    pub fn picture(&mut self, picture: &Picture, now: MonoTime) {
        self.first_picture.get_or_insert(now);
        self.pictures += 1;
        let delay = now.since(picture.capture);
        let back = self.sent.as_ref().and_then(|sent| sent.of(TestPicture::read_sequence(picture)?));
        let there_and_back = back.map(|sent| now.since(sent));
        if let Some(there_and_back) = there_and_back {
            self.there_and_back.add(there_and_back);
        }
        if let Some(drop) = &mut self.drop {
            drop.worst = drop.worst.max(delay);
            if delay > LATE {
                drop.last_late = Some(now);
            }
        }
        if !self.is_steady(now) {
            return;
        }
        self.steady.pictures += 1;
        self.steady.delay.add(delay);
        *self.steady.sizes.entry(picture.size).or_default() += 1;
        if let Some(there_and_back) = there_and_back {
            self.steady.there_and_back.add(there_and_back);
        }
        if let Some((_, sound)) = self.last_sound.filter(|(at, _)| now.since(*at) <= MAX_SOUND_AGE) {
            self.steady.skew.add(delay.abs_diff(sound));
        }
    }

    pub fn sound(&mut self, sound: &Sound, now: MonoTime) {
        self.first_sound.get_or_insert(now);
        let delay = now.since(sound.capture);
        self.last_sound = Some((now, delay));
        if self.is_steady(now) {
            self.steady.sound_delay.add(delay);
        }
    }

    pub fn stats(&mut self, stats: &CallStats) {
        if stats.duration_s >= RAMP.as_secs_f64() {
            self.ramp_stats.get_or_insert_with(|| stats.clone());
        }
    }

    pub fn active_for(&self, now: MonoTime) -> Duration {
        self.active.map_or(Duration::ZERO, |active| self.over.unwrap_or(now).since(active))
    }

    /// The fields that go beside the daemon's. `now` is the end unless `over` was.
    pub fn fields(&self, last: &CallStats, now: MonoTime) -> Map<String, Value> {
        let mut fields = Map::new();
        let first = |at: Option<MonoTime>| Some(at?.since(self.accepted?).as_secs_f64() * 1000.0);
        fields.insert("first_frame_ms".into(), json!(first(self.first_picture)));
        fields.insert("first_sound_ms".into(), json!(first(self.first_sound)));
        if self.sent.is_some() {
            fields.insert("loop_delay_ms_p50".into(), json!(self.there_and_back.percentile(50)));
            fields.insert("loop_delay_ms_p95".into(), json!(self.there_and_back.percentile(95)));
        }
        if let Some(drop) = &self.drop {
            let clear = drop.last_late.map_or(Duration::ZERO, |late| late.since(drop.at));
            let (worst_ms, clear_after_ms) = (drop.worst.as_secs_f64() * 1000.0, clear.as_secs_f64() * 1000.0);
            fields.insert("drop".into(), json!({ "worst_ms": worst_ms, "clear_after_ms": clear_after_ms }));
        }
        let steady_for = self.active_for(now).saturating_sub(RAMP);
        if steady_for >= MIN_STEADY {
            fields.insert("steady".into(), self.steady_fields(last, steady_for));
        }
        fields
    }

    fn steady_fields(&self, last: &CallStats, steady_for: Duration) -> Value {
        let steady = &self.steady;
        let seconds = steady_for.as_secs_f64();
        let usual = steady.sizes.iter().max_by_key(|(_, count)| **count);
        let share = usual.map(|(_, count)| *count as f64 / steady.pictures.max(1) as f64);
        let concealed = |stats: &CallStats| stats.audio_concealed_ms;
        let mut fields = json!({
            "from_s": RAMP.as_secs_f64(),
            "duration_s": seconds,
            "fps": steady.pictures as f64 / seconds,
            "width": usual.map(|(size, _)| size.width()),
            "height": usual.map(|(size, _)| size.height()),
            "share_at_size": share,
            "delay_ms_p50": steady.delay.percentile(50),
            "delay_ms_p95": steady.delay.percentile(95),
            "audio_delay_ms_p50": steady.sound_delay.percentile(50),
            "audio_delay_ms_p95": steady.sound_delay.percentile(95),
            "skew_ms_p95": steady.skew.percentile(95),
            "audio_concealed_ms":
                self.ramp_stats.as_ref().map(|ramp| concealed(last).saturating_sub(concealed(ramp))),
        });
        if self.sent.is_some() {
            fields["loop_delay_ms_p50"] = json!(steady.there_and_back.percentile(50));
            fields["loop_delay_ms_p95"] = json!(steady.there_and_back.percentile(95));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn picture(number: u64, capture: MonoTime) -> Picture {
        TestPicture::new("320x180".parse().expect("legal")).draw(number, capture)
    }

    fn sound(capture: MonoTime) -> Sound {
        Sound { capture, sequence: 0, samples: vec![0; 960] }
    }

    #[test]
    fn percentiles_are_within_a_step() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let close = |percent: u64, ms: f64| histogram.percentile(percent).is_some_and(|at| (at - ms).abs() < 0.3);
        assert!(close(50, 50.0) && close(95, 95.0) && close(100, 100.0));
        histogram.add(Duration::from_secs(1000));
        assert!(histogram.percentile(100).is_some_and(|ms| ms > 4000.0));
    }

    #[test]
    fn steady_leaves_out_the_ramp() {
        let start = MonoTime(1_000_000_000);
        let mut figures = Figures::new(None);
        figures.accepted(start);
        figures.active(start + SECOND / 10);
        for number in 0..600_u32 {
            let now = start + SECOND / 10 + SECOND / 30 * number;
            // Slow in the ramp, 50 ms after it, with sound 30 ms ahead of the pictures.
            let delay = if number < 300 { 300_000 } else { 50_000 };
            figures.sound(&sound(now.offset(-20_000)), now);
            figures.picture(&picture(number.into(), now.offset(-delay)), now);
        }
        let ramp = CallStats { duration_s: 10.2, audio_concealed_ms: 40, ..CallStats::default() };
        let last = CallStats { duration_s: 20.0, audio_concealed_ms: 60, ..CallStats::default() };
        figures.stats(&CallStats::default());
        figures.stats(&ramp);
        figures.stats(&last);
        let end = start + SECOND / 10 + 20 * SECOND;
        figures.over(end);
        figures.picture(&picture(0, start), end + SECOND);
        let fields = figures.fields(&last, end + 2 * SECOND);
        let near = |value: &Value, wanted: f64| value.as_f64().is_some_and(|value| (value - wanted).abs() < 0.5);
        let steady = &fields["steady"];
        assert!(near(&steady["fps"], 30.0), "{steady}");
        assert!(near(&steady["delay_ms_p95"], 50.0), "{steady}");
        assert!(near(&steady["skew_ms_p95"], 30.0), "{steady}");
        assert!(near(&steady["duration_s"], 10.0), "{steady}");
        assert_eq!(steady["audio_concealed_ms"], 20);
        assert_eq!((&steady["width"], &steady["height"]), (&json!(320), &json!(180)));
        assert!(near(&fields["first_frame_ms"], 100.0), "{fields:?}");
    }

    #[test]
    fn a_short_call_has_no_steady_figures_and_an_unaccepted_one_no_first_frame() {
        let figures = Figures::new(None);
        let fields = figures.fields(&CallStats::default(), MonoTime(99_000_000));
        assert_eq!(fields["first_frame_ms"], Value::Null);
        assert!(!fields.contains_key("steady") && !fields.contains_key("loop_delay_ms_p95"));
    }

    #[test]
    fn a_drop_shows_its_worst_picture_and_when_it_was_over() {
        let drop = MonoTime(50_000_000);
        let mut figures = Figures::new(None);
        figures.dropped_rate(drop);
        for (at_ms, delay_ms) in [(100, 80), (500, 450), (1200, 900), (1300, 390), (2000, 60)] {
            let now = drop + Duration::from_millis(at_ms);
            figures.picture(&picture(0, now.offset(-1000 * delay_ms)), now);
        }
        let fields = figures.fields(&CallStats::default(), drop + 9 * SECOND);
        assert_eq!(fields["drop"], json!({ "worst_ms": 900.0, "clear_after_ms": 1200.0 }));
    }
}
