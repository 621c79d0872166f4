//! What bitrate the video encoder gets, and whether to encode at all.
//!
//! The bandwidth estimate overshoots the link by up to a quarter and follows a sudden drop after one or two seconds, when
//! the queue of the link has long been full. So the target is [`SHARE`] of what the estimate leaves beside sound, and
//! faster signals cut it at once: the age of the oldest packet that still waits here, the peer's reports of what it
//! receives and how late, and the silence of those reports while the way here is jammed.
//!
//! The session feeds it; the encoder thread asks [`SkipRule`] before each picture.

use std::time::{Duration, Instant};

/// Of the estimate, for video. Measured with str0m on a 1 Mb/s link: at 0.75 the pictures are 213 ms old at the 95th
/// percentile, at 0.65 it is 52.
pub const SHARE: f64 = 0.65;
/// Sound with its redundancy, headers and RTCP.
pub const SOUND_BPS: u64 = 60_000;
/// Nothing is encoded while the oldest unsent packet is older than this ..
pub const SKIP_AGE: Duration = Duration::from_millis(120);
/// .. but one picture each 200 ms: the transport completes a picture only when the next one has begun.
pub const LONGEST_SKIP: Duration = Duration::from_millis(200);

/// Waiting here that is cut for.
const AGE_CUT: Duration = Duration::from_millis(60);
/// Delay growth that is cut for, gently and hard.
const GROWTH_CUT: Duration = Duration::from_millis(60);
const GROWTH_COLLAPSE: Duration = Duration::from_millis(120);
/// A cut must show before the next one.
const CUT_INTERVAL: Duration = Duration::from_millis(150);
/// One report takes no more than this away: a radio that stalled for a moment shows as a queue that nothing came out of.
const DEEPEST_CUT: f64 = 0.4;
/// A queue that is still there this long after the last cut needs another one.
const STANDING: Duration = Duration::from_millis(600);
/// A cut heals by this factor a second ..
const RECOVERY: f64 = 1.5;
/// .. once this long nothing was wrong.
const CALM: Duration = Duration::from_millis(500);
/// A report of delay growth counts this long.
const REPORT_LIFE: Duration = Duration::from_millis(400);
/// Longer than the time between two reports and a little jitter.
const BLIND: Duration = Duration::from_millis(200);
/// A queue on the way here alone must not stop us for longer: by then a report has come through.
const LONGEST_BLIND: Duration = Duration::from_millis(600);

/// Bounds of the video target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// The estimate to begin with.
    pub start_bps: u64,
    /// Of the target.
    pub min_bps: u64,
    pub max_bps: u64,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self { start_bps: 600_000, min_bps: 50_000, max_bps: 2_000_000 }
    }
}

/// Whether to encode the next picture, by how long it would wait to be sent.
#[derive(Debug, Default)]
pub struct SkipRule {
    last: Option<Instant>,
}

impl SkipRule {
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// `age` is [`RateController::effective_age`]. The answer `true` counts as encoded.
    pub fn should_encode(&mut self, age: Option<Duration>, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= LONGEST_SKIP);
        let encode = due || age.is_none_or(|age| age <= SKIP_AGE);
        if encode {
            self.last = Some(now);
        }
        encode
    }
}

/// Turns estimate and queue signals into a video target.
#[derive(Debug)]
pub struct RateController {
    config: RateConfig,
    estimate_bps: u64,
    /// Below the share of the estimate while a cut heals.
    cap_bps: Option<f64>,
    last_cut: Option<Instant>,
    last_trouble: Option<Instant>,
    last_heal: Option<Instant>,
    queue_age: Option<Duration>,
    /// What the peer reported last, and when that came.
    growth: Option<(Duration, Instant)>,
    incoming: Duration,
    /// Since when there has been a queue on the way here.
    incoming_since: Option<Instant>,
    loss: f64,
    skip: SkipRule,
}

impl RateController {
    pub const fn new(config: RateConfig) -> Self {
        Self {
            config,
            estimate_bps: config.start_bps,
            cap_bps: None,
            last_cut: None,
            last_trouble: None,
            last_heal: None,
            queue_age: None,
            growth: None,
            incoming: Duration::ZERO,
            incoming_since: None,
            loss: 0.0,
            skip: SkipRule::new(),
        }
    }

    /// A new bandwidth estimate, of everything on the link.
    pub fn handle_estimate(&mut self, bps: u64, now: Instant) {
        self.estimate_bps = bps;
        self.heal(now);
    }

    /// The age of the oldest packet that still waits in the sender; `None` when none waits.
    pub fn handle_queue_age(&mut self, age: Option<Duration>, now: Instant) {
        self.queue_age = age;
        match age.unwrap_or_default() {
            age if age > SKIP_AGE => self.cut(0.75, now),
            age if age > AGE_CUT => self.cut(0.9, now),
            _ => {}
        }
        self.heal(now);
    }

    /// By how much the one-way delay that the peer sees has grown over its recent least; for peers that say no more.
    pub fn handle_delay_report(&mut self, one_way_growth: Duration, now: Instant) {
        self.growth = Some((one_way_growth, now));
        if one_way_growth > GROWTH_COLLAPSE {
            self.cut(0.6, now);
        } else if one_way_growth > GROWTH_CUT {
            self.cut(0.85, now);
        }
        self.heal(now);
    }

    /// A peer's report: delay growth as above, and what arrived there in the last quarter of a second, all media together.
    /// While a queue stands, what arrives is what the link carries, and that is known long before the estimate follows.
    pub fn handle_report(&mut self, one_way_growth: Duration, received_bps: u64, now: Instant) {
        self.growth = Some((one_way_growth, now));
        if one_way_growth > GROWTH_CUT && received_bps > 0 {
            self.last_trouble = Some(now);
            let carried = share_of(received_bps).max(self.config.min_bps as f64);
            let target = self.video_target_bps() as f64;
            if carried < target {
                self.last_cut = Some(now);
                self.cap_bps = Some(carried.max(target * DEEPEST_CUT));
            }
            // The rate is right and the queue still stands.
            if self.last_cut.is_none_or(|last| now.saturating_duration_since(last) > STANDING) {
                self.cut(0.8, now);
            }
        }
        self.heal(now);
    }

    /// By how much the delay of what the peer sends us has grown, as seen here. Two directions often share one radio or
    /// line, and then the reports that would tell are stuck in the same queue. So when a queue begins on the way here and
    /// the newest report was sent before, a queue on the way there is assumed until one comes that knows.
    pub fn handle_incoming_growth(&mut self, growth: Duration, now: Instant) {
        self.incoming = growth;
        if growth <= GROWTH_COLLAPSE {
            self.incoming_since = None;
        } else {
            self.incoming_since.get_or_insert(now);
        }
        if self.is_blind(now) {
            self.cut(0.7, now);
        }
        self.heal(now);
    }

    /// The share of our packets that the peer misses. Loss without delay is not congestion, so this alone cuts nothing.
    pub const fn handle_loss(&mut self, loss: f64, _now: Instant) {
        self.loss = loss;
    }

    pub const fn loss(&self) -> f64 {
        self.loss
    }

    pub const fn estimate_bps(&self) -> u64 {
        self.estimate_bps
    }

    /// For the encoder, in bits a second.
    pub fn video_target_bps(&self) -> u64 {
        let share = share_of(self.estimate_bps);
        let target = self.cap_bps.map_or(share, |cap| share.min(cap));
        (target as u64).clamp(self.config.min_bps, self.config.max_bps.max(self.config.min_bps))
    }

    /// How long a picture made now would wait: here, or in the queue of the link as far as it is known. For
    /// [`SkipRule::should_encode`].
    pub fn effective_age(&self, now: Instant) -> Option<Duration> {
        let reported = self
            .growth
            .filter(|(growth, at)| *growth > GROWTH_COLLAPSE && now.saturating_duration_since(*at) < REPORT_LIFE);
        let blind = self.is_blind(now).then_some(self.incoming);
        self.queue_age.max(reported.map(|(growth, _)| growth)).max(blind)
    }

    /// Asked before each picture: whether to encode it. The answer `true` counts as encoded.
    pub fn should_encode(&mut self, now: Instant) -> bool {
        let age = self.effective_age(now);
        self.skip.should_encode(age, now)
    }

    fn is_blind(&self, now: Instant) -> bool {
        let (Some(since), Some((_, at))) = (self.incoming_since, self.growth) else { return false };
        // What a report says is as old as the queue that it came through.
        let age = now.saturating_duration_since(at) + self.incoming;
        age > BLIND && now.saturating_duration_since(since) < LONGEST_BLIND
    }

    fn cut(&mut self, factor: f64, now: Instant) {
        self.last_trouble = Some(now);
        if self.last_cut.is_some_and(|last| now.saturating_duration_since(last) < CUT_INTERVAL) {
            return;
        }
        self.last_cut = Some(now);
        self.cap_bps = Some((self.video_target_bps() as f64 * factor).max(self.config.min_bps as f64));
    }

    fn heal(&mut self, now: Instant) {
        let since = self.last_heal.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let Some(cap) = self.cap_bps else { return };
        if self.last_trouble.is_some_and(|last| now.saturating_duration_since(last) < CALM) {
            return;
        }
        let cap = cap * RECOVERY.powf(since.as_secs_f64().min(1.0));
        self.cap_bps = (cap < share_of(self.estimate_bps)).then_some(cap);
    }
}

fn share_of(all_bps: u64) -> f64 {
    all_bps.saturating_sub(SOUND_BPS) as f64 * SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// On a settled link of 1.06 Mb/s: 650 kb/s of video.
    fn settled() -> (RateController, Instant) {
        let start = Instant::now();
        let mut rate = RateController::new(RateConfig::default());
        rate.handle_report(Duration::ZERO, 700_000, start);
        rate.handle_estimate(1_060_000, start);
        assert_eq!(rate.video_target_bps(), 650_000);
        (rate, start)
    }

    #[test]
    fn the_target_stays_within_its_bounds() {
        let (mut rate, start) = settled();
        for (estimate, target) in [(0, 50_000), (60_000, 50_000), (600_000, 351_000), (u64::MAX, 2_000_000)] {
            rate.handle_estimate(estimate, start);
            assert_eq!(rate.video_target_bps(), target);
        }
    }

    #[test]
    fn a_reported_queue_brings_the_target_to_what_arrives_before_the_estimate_knows() {
        let (mut rate, start) = settled();
        for step in 0..4 {
            rate.handle_report(ms(250), 400_000, start + ms(step * 50));
        }
        assert_eq!(rate.video_target_bps(), 221_000);
        assert!(rate.effective_age(start + ms(200)) > Some(SKIP_AGE));
        assert_eq!(rate.effective_age(start + ms(700)), None, "an old report says nothing");
    }

    #[test]
    fn a_cut_heals_within_seconds_of_calm_and_not_before() {
        let (mut rate, start) = settled();
        rate.handle_queue_age(Some(ms(200)), start);
        let cut = rate.video_target_bps();
        assert_eq!(cut, 487_500);
        rate.handle_queue_age(None, start + ms(400));
        assert_eq!(rate.video_target_bps(), cut);
        for step in 0..30 {
            rate.handle_queue_age(None, start + ms(500 + step * 100));
        }
        assert_eq!(rate.video_target_bps(), 650_000);
    }

    #[test]
    fn one_stall_of_a_radio_does_not_take_everything() {
        let (mut rate, start) = settled();
        rate.handle_report(ms(180), 20_000, start);
        assert_eq!(rate.video_target_bps(), 260_000);
    }

    #[test]
    fn loss_without_delay_cuts_nothing() {
        let (mut rate, start) = settled();
        rate.handle_loss(0.1, start);
        rate.handle_report(ms(5), 600_000, start + ms(100));
        assert_eq!(rate.video_target_bps(), 650_000);
    }

    #[test]
    fn a_jam_on_the_way_here_stops_us_only_until_a_report_comes_through() {
        let (mut rate, start) = settled();
        rate.handle_incoming_growth(ms(250), start + ms(20));
        assert!(rate.video_target_bps() < 650_000);
        assert!(rate.effective_age(start + ms(20)) > Some(SKIP_AGE));
        // The way there is free: a report says so, or the time is over.
        rate.handle_incoming_growth(ms(250), start + ms(700));
        assert_eq!(rate.effective_age(start + ms(700)), None);
    }

    #[test]
    fn pictures_are_skipped_while_packets_wait_but_one_goes_out_each_200_ms() {
        let (mut rate, start) = settled();
        assert!(rate.should_encode(start));
        rate.handle_queue_age(Some(ms(121)), start);
        let encoded = (1..=30).filter(|picture| rate.should_encode(start + ms(picture * 33))).count();
        assert_eq!(encoded, 4, "of a second, one each 231 ms");
        rate.handle_queue_age(Some(ms(50)), start + ms(1000));
        assert!(rate.should_encode(start + ms(1001)));
    }
}
