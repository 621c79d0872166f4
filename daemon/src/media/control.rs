//! What one session sends and asks for: the bitrate of the pictures, reports to the peer, requests for key frames.

use std::time::{Duration, Instant};

use kith_common::call::Medium;
use kith_common::clock::MonoTime;
use kith_common::ids::CallId;
use kith_core::rate::{RateConfig, RateController, SKIP_AGE};
use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaData, Pt};

use super::driver::mid;
use super::feedback::{DelayMeter, Report, Throughput};
use super::params::Role;
use super::setup::{Ssrcs, other};

/// The most that pictures get: enough for 720p at 30 pictures a second.
const MAX_VIDEO_BPS: u64 = 2_500_000;
const MIN_VIDEO_BPS: u64 = 50_000;
/// What the estimator looks for: with it the share for pictures reaches the maximum.
const DESIRED_BPS: u64 = 4_200_000;
/// A heartbeat when there is nothing to report ..
const HEARTBEAT: Duration = Duration::from_millis(100);
/// .. and a report as often as this while the delay is growing.
const URGENT: Duration = Duration::from_millis(25);
const GROWTH: Duration = Duration::from_millis(40);
/// While the peer sees a queue, what it receives is what the link carries. That is believed for this long.
const CONGESTED: Duration = Duration::from_millis(60);
const CAP_LIFE: Duration = Duration::from_millis(800);
/// Growth seen in what comes makes the sender careful for this long, until the peer says how things are in the other
/// direction: what links share (a radio, an emulation) falls in both, and then the peer's word comes through the queue.
const CAREFUL: Duration = Duration::from_millis(400);
/// When such an episode is over.
const CALM: Duration = Duration::from_secs(1);
/// Pictures that were expected and do not come out for this long (and some round trips) wait for packets that are lost.
const STUCK: Duration = Duration::from_millis(180);
/// After this long without a picture nobody sends any.
const ABANDONED: Duration = Duration::from_secs(3);
/// A request for a key frame is repeated when it can have been lost; the answer takes a round trip at least.
const PLI_INTERVAL: Duration = Duration::from_millis(300);
/// Of what the peer receives while there is a queue: this is the estimate, and pictures never get less than that.
const CARRIED: f64 = 0.9;
const FLOOR: f64 = 0.4;
/// What arrives is below this share of what leaves: the link is full.
const PACE: f64 = 0.85;
/// No link that a call is tried on carries less.
const LEAST_CAP_BPS: f64 = 150_000.0;
/// A second.
const CAP_GROWTH: f64 = 1.25;
/// By then the rate has found its own way up.
const FLOOR_LIFE: Duration = Duration::from_secs(10);
/// A report counts this long.
const REPORT_LIFE: Duration = Duration::from_millis(400);

/// A bound of the estimate.
struct Cap {
    bps: f64,
    /// When the link was last seen full.
    full: Instant,
    /// When it was last looked at.
    seen: Instant,
}

pub struct Control {
    rate: RateController,
    ours: Ssrcs,
    theirs: Ssrcs,
    delays: [DelayMeter; 2],
    least: [Option<i64>; 2],
    throughput: Throughput,
    reported: Option<Instant>,
    /// What the peer reported last.
    growth: Option<(Duration, Instant)>,
    /// The newest of str0m's estimates.
    estimate_bps: u64,
    /// What a full link was seen to carry; it grows again when there is calm.
    cap: Option<Cap>,
    sent: Throughput,
    /// Repeated cuts must not go below what plainly passes.
    floor: Option<(u64, Instant)>,
    queue_age: Option<Duration>,
    /// When growth was first seen in this episode, and last.
    worried: Option<(Instant, Instant)>,
    round_trip: Duration,
    /// The least lately: what a packet needs without a queue.
    least_round_trip: Option<Duration>,
    last_picture: Option<Instant>,
    /// The usual time between two pictures, smoothed.
    picture_interval: Duration,
    impatient: bool,
    key_wanted: bool,
    /// Pictures are undecodable until the next key frame.
    broken: bool,
    asked: Option<Instant>,
    /// RTP time and capture time (on the peer's clock, in microseconds) of the newest sound that had one.
    sound: Option<(u64, i64)>,
    pts: [Option<Pt>; 2],
}

impl Control {
    pub fn new(start_bps: u64, call: CallId, role: Role) -> Self {
        let config = RateConfig { start_bps, min_bps: MIN_VIDEO_BPS, max_bps: MAX_VIDEO_BPS };
        Self {
            floor: None,
            rate: RateController::new(config),
            ours: Ssrcs::of(call, role),
            theirs: Ssrcs::of(call, other(role)),
            delays: [DelayMeter::default(), DelayMeter::default()],
            least: [None; 2],
            throughput: Throughput::default(),
            reported: None,
            growth: None,
            estimate_bps: start_bps,
            cap: None,
            sent: Throughput::default(),
            queue_age: None,
            worried: None,
            least_round_trip: None,
            last_picture: None,
            picture_interval: Duration::ZERO,
            impatient: false,
            round_trip: Duration::ZERO,
            key_wanted: false,
            broken: false,
            asked: None,
            sound: None,
            pts: [None; 2],
        }
    }

    pub fn desired_bps(&self) -> u64 {
        DESIRED_BPS
    }

    pub fn video_target_bps(&self) -> u64 {
        let floor = self.floor.filter(|(_, at)| at.elapsed() < FLOOR_LIFE).map_or(0, |(bps, _)| bps);
        self.rate.video_target_bps().max(floor)
    }

    pub fn estimate_bps(&self) -> u64 {
        self.rate.estimate_bps()
    }

    pub fn video_pt(&mut self, rtc: &Rtc) -> Option<Pt> {
        self.pt(rtc, Medium::Video, Codec::Av1)
    }

    pub fn audio_pt(&mut self, rtc: &Rtc) -> Option<Pt> {
        self.pt(rtc, Medium::Audio, Codec::Opus)
    }

    fn pt(&mut self, rtc: &Rtc, medium: Medium, codec: Codec) -> Option<Pt> {
        let slot = &mut self.pts[medium as usize];
        if slot.is_none() {
            *slot =
                rtc.codec_config().find(|params| params.spec().codec == codec).map(str0m::format::PayloadParams::pt);
        }
        *slot
    }

    pub fn handle_estimate(&mut self, bps: u64, now: Instant) {
        self.estimate_bps = bps;
        self.apply_estimate(now);
    }

    /// The estimate, below what the link was seen to carry. A bound that stayed would feed on itself: little is sent, so
    /// little arrives; so it grows as soon as nothing is wrong, and goes.
    fn apply_estimate(&mut self, now: Instant) {
        if let Some(cap) = &mut self.cap {
            let since = now.saturating_duration_since(cap.seen);
            cap.seen = now;
            if now.saturating_duration_since(cap.full) > CAP_LIFE {
                cap.bps *= CAP_GROWTH.powf(since.as_secs_f64());
            }
            if cap.bps >= self.estimate_bps as f64 {
                self.cap = None;
            }
        }
        let bps = self.cap.as_ref().map_or(self.estimate_bps, |cap| self.estimate_bps.min(cap.bps as u64));
        self.rate.handle_estimate(bps, now);
    }

    pub fn handle_loss(&mut self, loss: f64, now: Instant) {
        self.rate.handle_loss(loss, now);
    }

    pub fn handle_rtt(&mut self, round_trip: Option<Duration>) {
        if let Some(round_trip) = round_trip {
            self.round_trip = round_trip;
            self.least_round_trip = Some(self.least_round_trip.map_or(round_trip, |least| least.min(round_trip)));
        }
    }

    /// A packet of the peer, of any kind.
    pub fn handle_received(&mut self, bytes: usize, now: Instant) {
        self.throughput.record(bytes, now);
    }

    /// A packet of media that leaves.
    pub fn handle_sent(&mut self, bytes: usize, now: Instant) {
        self.sent.record(bytes, now);
    }

    /// A report of the peer; the answer is whether it hears our UDP packets.
    pub fn handle_report(&mut self, payload: &[u8], now: Instant) -> Option<bool> {
        let report = Report::parse(payload)?;
        self.growth = Some((report.growth, now));
        // Delay that grows while everything arrives is not the doing of what is sent here.
        let lost_pace = (report.received_bps as f64) < self.sent.bps(now) as f64 * PACE;
        if report.growth > CONGESTED && lost_pace {
            let bps = (report.received_bps as f64 * CARRIED).max(LEAST_CAP_BPS);
            self.cap = Some(Cap { bps, full: now, seen: now });
            self.floor = Some(((bps * FLOOR) as u64, now));
            self.apply_estimate(now);
        } else if report.growth > CONGESTED && self.floor.is_none_or(|(_, at)| at.elapsed() >= FLOOR_LIFE) {
            self.floor = Some(((LEAST_CAP_BPS * FLOOR) as u64, now));
        }
        self.rate.handle_delay_report(report.growth, now);
        Some(report.hears_udp)
    }

    /// A picture or a packet of sound. Returns its transit (arrival minus capture, in microseconds on the two clocks):
    /// as given, or found by the time-stamps of sound, since what RED has rebuilt has no extension of its own.
    pub fn handle_media(
        &mut self,
        medium: Medium,
        transit: Option<i64>,
        arrived: MonoTime,
        data: &MediaData,
        key: bool,
    ) -> Option<i64> {
        let now = data.network_time;
        let transit = match medium {
            Medium::Audio => self.sound_transit(transit, arrived, data.time.numer()),
            Medium::Video => {
                self.handle_picture_at(Instant::now());
                if key {
                    self.broken = false;
                    self.key_wanted = false;
                } else if !data.contiguous {
                    self.broken = true;
                }
                transit
            }
        };
        if let Some(transit) = transit {
            self.delays[medium as usize].record(transit, now);
            let least = &mut self.least[medium as usize];
            *least = Some(least.map_or(transit, |least| least.min(transit)));
        }
        transit
    }

    fn handle_picture_at(&mut self, now: Instant) {
        if let Some(last) = self.last_picture.replace(now) {
            let step = now.saturating_duration_since(last).min(ABANDONED);
            self.picture_interval = (self.picture_interval * 7 + step) / 8;
        }
    }

    fn sound_transit(&mut self, transit: Option<i64>, arrived: MonoTime, time: u64) -> Option<i64> {
        let arrived = arrived.micros().cast_signed();
        if let Some(transit) = transit {
            self.sound = Some((time, arrived.saturating_sub(transit)));
            return Some(transit);
        }
        // Rebuilt from a packet that came later, and told before it: its own capture time follows from the RTP clock, and it
        // has arrived only now. Taking it for quicker than any other would show a queue for as long as that is remembered.
        let (known_time, captured) = self.sound?;
        let samples = i64::try_from(time).ok()?.checked_sub(i64::try_from(known_time).ok()?)?;
        Some(arrived.saturating_sub(captured.saturating_add(samples.saturating_mul(1000) / 48)))
    }

    /// Of all that came; 0 before the first.
    pub fn least_transit(&self, medium: Medium) -> i64 {
        let both = self.least.iter().flatten().min().copied();
        self.least[medium as usize].or(both).unwrap_or(0)
    }

    /// The decoder wants a key frame.
    pub fn want_key(&mut self) {
        self.key_wanted = true;
    }

    /// How long a picture made now would wait: in the own queue, or in that of the link as the peer sees it.
    pub fn effective_age(&self, now: Instant) -> Option<Duration> {
        let told =
            self.growth.filter(|(growth, at)| *growth > SKIP_AGE && now.saturating_duration_since(*at) < REPORT_LIFE);
        let fresh_word =
            self.growth.is_some_and(|(_, at)| self.worried.is_some_and(|(since, _)| at > since + CAREFUL / 2));
        let careful = self.worried.is_some_and(|(since, _)| now.saturating_duration_since(since) < CAREFUL);
        let full = told.is_some() || (careful && !fresh_word);
        self.queue_age.max(full.then_some(SKIP_AGE + Duration::from_millis(1)))
    }

    fn worry(&mut self, growth: Duration, now: Instant) {
        self.worried = match self.worried {
            Some((_, last)) if now.saturating_duration_since(last) > CALM => None,
            other => other,
        };
        if growth > CONGESTED {
            self.worried = Some(self.worried.map_or((now, now), |(since, _)| (since, now)));
        }
    }

    /// Whether pictures wait for what will not come: then the receiver stops asking for it, so that the transport goes
    /// on, and asks for a key frame. Otherwise it would wait for five requests and three round trips of a full link.
    fn is_stuck(&self, now: Instant) -> bool {
        let patience = STUCK.max(self.picture_interval * 4) + self.least_round_trip.unwrap_or(STUCK) * 3;
        let waited = self.last_picture.map(|at| now.saturating_duration_since(at));
        waited.is_some_and(|waited| waited > patience && waited < ABANDONED)
    }

    /// Looks at the queue, reports to the peer and asks for a key frame where one is due.
    pub fn tick(&mut self, rtc: &mut Rtc, hears_udp: bool, now: Instant) {
        let video = mid(Medium::Video);
        let oldest = rtc.direct_api().stream_tx_by_mid(video, None).and_then(|tx| tx.queue_info()?.first_unsent());
        self.queue_age = oldest.map(|at| now.saturating_duration_since(at));
        self.rate.handle_queue_age(self.queue_age, now);
        if self.cap.is_some() {
            self.apply_estimate(now);
        }
        let [audio, video_delay] = &mut self.delays;
        let growth = audio.growth(now).or_else(|| video_delay.growth(now)).unwrap_or_default();
        tracing::trace!(
            target_bps = self.video_target_bps(),
            estimate_bps = self.rate.estimate_bps(),
            queue = ?self.queue_age,
            ?growth,
            told = ?self.growth.map(|(growth, _)| growth),
            "control"
        );
        self.worry(growth, now);
        let stuck = self.is_stuck(now);
        if stuck != self.impatient {
            self.impatient = stuck;
            self.key_wanted |= stuck;
            if let Some(stream) = rtc.direct_api().stream_rx_by_mid(video, None) {
                stream.suppress_nack(stuck);
            }
        }
        let interval = if growth >= GROWTH { URGENT } else { HEARTBEAT };
        if self.reported.is_none_or(|at| now.saturating_duration_since(at) >= interval) {
            self.reported = Some(now);
            let report = Report { growth, received_bps: self.throughput.bps(now), hears_udp };
            rtc.direct_api().send_app_specific_feedback(self.ours.audio, self.theirs.audio, report.to_bytes());
        }
        let waited = self.asked.is_none_or(|at| now.saturating_duration_since(at) >= PLI_INTERVAL.max(self.round_trip));
        if (self.broken || self.key_wanted) && waited {
            self.asked = Some(now);
            self.key_wanted = false;
            if let Some(mut writer) = rtc.writer(video)
                && let Err(error) = writer.request_keyframe(None, KeyframeRequestKind::Pli)
            {
                tracing::debug!(%error, "no key frame could be asked for");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(growth_ms: u64, received_bps: u64) -> Vec<u8> {
        Report { growth: Duration::from_millis(growth_ms), received_bps, hears_udp: true }.to_bytes()
    }

    fn control() -> Control {
        Control::new(2_000_000, CallId::from_bytes([1; 16]), Role::Caller)
    }

    fn send(control: &mut Control, bps: u64, from: Instant) -> Instant {
        for step in 0..10 {
            control.handle_sent(bps as usize / 8 / 40, from + Duration::from_millis(step * 25));
        }
        from + Duration::from_millis(250)
    }

    #[test]
    fn a_full_link_bounds_the_estimate_and_the_bound_goes_again() {
        let mut control = control();
        let now = send(&mut control, 1_300_000, Instant::now());
        assert_eq!(control.handle_report(&report(90, 500_000), now), Some(true));
        assert!((400_000..=500_000).contains(&control.estimate_bps()), "{}", control.estimate_bps());
        assert!(control.video_target_bps() >= 150_000, "{}", control.video_target_bps());
        for second in 1..=10 {
            control.apply_estimate(now + Duration::from_secs(second));
        }
        assert_eq!(control.estimate_bps(), 2_000_000);
    }

    #[test]
    fn sound_that_was_rebuilt_is_never_quicker_than_what_it_came_with() {
        let mut control = control();
        let at = |ms: u64| MonoTime(5_000_000 + ms * 1000);
        assert_eq!(control.sound_transit(Some(25_000), at(25), 0), Some(25_000));
        // The packets of 20 and 40 ms are lost, and rebuilt from that of 60 ms, which takes 25 ms as well.
        let rebuilt = [960, 1920].map(|time| control.sound_transit(None, at(85), time));
        assert_eq!(rebuilt, [Some(65_000), Some(45_000)]);
        assert_eq!(control.sound_transit(Some(25_000), at(85), 2880), Some(25_000));
        // And one that is told after it.
        assert_eq!(control.sound_transit(None, at(86), 1920), Some(46_000));
    }

    #[test]
    fn delay_that_is_not_our_doing_does_not_starve_the_pictures() {
        let mut control = control();
        let mut now = Instant::now();
        // A machine that stalls: the delay grows and shrinks, everything arrives.
        for _ in 0..40 {
            now = send(&mut control, 90_000, now);
            control.handle_report(&report(200, 85_000), now);
        }
        assert_eq!(control.estimate_bps(), 2_000_000);
    }
}
