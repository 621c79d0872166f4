//! What bitrate the video encoder gets, and whether to encode at all.
//!
//! The bandwidth estimate overshoots the link by up to a quarter and follows a sudden drop in seconds (facts/media.md
//! 2b). So the target is [`SHARE`] of what the estimate leaves beside sound, and two faster signals cut it at once: the
//! age of the oldest packet that still waits to be sent, and the growth of the one-way delay that the peer reports.

use std::time::{Duration, Instant};

/// Of the estimate, for video: at 0.75 the pictures of a 1 Mb/s link are 213 ms old at the 95th percentile, at 0.65 it is 52.
pub const SHARE: f64 = 0.65;
/// Sound with RED, headers and RTCP.
pub const SOUND_BPS: u64 = 60_000;
/// Nothing is encoded while the oldest unsent packet is older than this ..
pub const SKIP_AGE: Duration = Duration::from_millis(120);
/// .. but one picture each 200 ms: the transport completes a picture only when the next one has begun.
pub const LONGEST_SKIP: Duration = Duration::from_millis(200);

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

/// A queue this old is cut for.
const AGE_CUT: Duration = Duration::from_millis(60);
/// Delay growth that is cut for, gently and hard.
const GROWTH_CUT: Duration = Duration::from_millis(60);
const GROWTH_COLLAPSE: Duration = Duration::from_millis(120);
/// A cut must show before the next one.
const CUT_INTERVAL: Duration = Duration::from_millis(150);
/// A cut heals by this factor a second ..
const RECOVERY: f64 = 1.3;
/// .. once this long nothing was wrong.
const CALM: Duration = Duration::from_millis(500);
/// A report of delay growth counts this long.
const REPORT_LIFE: Duration = Duration::from_millis(400);

/// Turns estimate and queue signals into a video target.
#[derive(Debug)]
pub struct RateController {
    config: RateConfig,
    estimate_bps: u64,
    /// Below the share of the estimate while a cut heals.
    cap_bps: Option<f64>,
    last_cut: Option<Instant>,
    last_trouble: Option<Instant>,
    last_step: Option<Instant>,
    queue_age: Duration,
    growth: Option<(Duration, Instant)>,
    loss: f64,
    last_encoded: Option<Instant>,
}

impl RateController {
    pub const fn new(config: RateConfig) -> Self {
        Self {
            config,
            estimate_bps: config.start_bps,
            cap_bps: None,
            last_cut: None,
            last_trouble: None,
            last_step: None,
            queue_age: Duration::ZERO,
            growth: None,
            loss: 0.0,
            last_encoded: None,
        }
    }

    /// A new bandwidth estimate, of everything on the link.
    pub fn handle_estimate(&mut self, bps: u64, now: Instant) {
        self.estimate_bps = bps;
        self.heal(now);
    }

    /// The age of the oldest packet that still waits in the sender; `None` when none waits.
    pub fn handle_queue_age(&mut self, age: Option<Duration>, now: Instant) {
        self.queue_age = age.unwrap_or_default();
        if self.queue_age > SKIP_AGE {
            self.cut(0.75, now);
        } else if self.queue_age > AGE_CUT {
            self.cut(0.9, now);
        }
        self.heal(now);
    }

    /// By how much the one-way delay that the peer sees has grown over its recent least.
    pub fn handle_delay_report(&mut self, one_way_growth: Duration, now: Instant) {
        self.growth = Some((one_way_growth, now));
        if one_way_growth > GROWTH_COLLAPSE {
            self.cut(0.6, now);
        } else if one_way_growth > GROWTH_CUT {
            self.cut(0.85, now);
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
        let share = self.share_bps();
        let target = self.cap_bps.map_or(share, |cap| share.min(cap));
        (target as u64).clamp(self.config.min_bps, self.config.max_bps)
    }

    /// Asked before each picture: whether to encode it. The answer `true` counts as encoded.
    pub fn should_encode(&mut self, now: Instant) -> bool {
        let waited = self.last_encoded.map(|last| now.saturating_duration_since(last));
        let full = self.queue_age > SKIP_AGE || self.fresh_growth(now) > GROWTH_COLLAPSE;
        let due = waited.is_none_or(|waited| waited >= LONGEST_SKIP);
        if full && !due {
            return false;
        }
        self.last_encoded = Some(now);
        true
    }

    fn share_bps(&self) -> f64 {
        self.estimate_bps.saturating_sub(SOUND_BPS) as f64 * SHARE
    }

    fn fresh_growth(&self, now: Instant) -> Duration {
        match self.growth {
            Some((growth, at)) if now.saturating_duration_since(at) < REPORT_LIFE => growth,
            _ => Duration::ZERO,
        }
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
        let since = self.last_step.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let Some(cap) = self.cap_bps else { return };
        if self.last_trouble.is_some_and(|last| now.saturating_duration_since(last) < CALM) {
            return;
        }
        let cap = cap * RECOVERY.powf(since.as_secs_f64().min(1.0));
        self.cap_bps = (cap < self.share_bps()).then_some(cap);
    }
}
