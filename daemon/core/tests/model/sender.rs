//! The sending end: a source of 30 pictures a second, an encoder that hits its target on average with key frames four
//! times as large, str0m's pacer (1.1 times the estimate, repairs first, repairs at most 15 %), sound beside it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kith_common::media::Size;
use kith_core::keyframe::{KeyFrameBudget, KeyReason};
use kith_core::ladder::Ladder;
use kith_core::link::Rng;
use kith_core::rate::{RateConfig, RateController};

use super::estimator::Estimator;
use super::{OVERHEAD, VideoPacket, Wire};

const PAYLOAD: usize = 1100;
/// Opus at 32 kb/s, twice (RED), and the RED header.
const SOUND_BYTES: usize = 164;
/// What str0m keeps for repairs.
const HISTORY: u64 = 1024;

pub struct Sender {
    pub rate: RateController,
    pub due: u64,
    pub video_bytes: u64,
    pub keys: u64,
    ladder: Ladder,
    keyframes: KeyFrameBudget,
    estimator: Estimator,
    estimate: u64,
    rng: Rng,
    start: Instant,
    sounds: u64,
    encoded_size: Option<Size>,
    next_picture: f64,
    debt: f64,
    frame: u64,
    sequence: u64,
    /// Not before: encoding takes time.
    queue: VecDeque<(Instant, VideoPacket)>,
    repairs: VecDeque<VideoPacket>,
    history: BTreeMap<u64, VideoPacket>,
    credit: f64,
    recent: VecDeque<(Instant, usize, usize)>,
}

impl Sender {
    pub fn new(source: Size, seed: u64, now: Instant) -> Self {
        let config = RateConfig { start_bps: 600_000, min_bps: 50_000, max_bps: 1_500_000 };
        Self {
            rate: RateController::new(config),
            due: 0,
            video_bytes: 0,
            keys: 0,
            ladder: Ladder::new(source, 30.0),
            keyframes: KeyFrameBudget::new(now),
            estimator: Estimator::new(now),
            estimate: 600_000,
            rng: Rng::new(seed),
            start: now,
            sounds: 0,
            encoded_size: None,
            next_picture: 0.0,
            debt: 0.0,
            frame: 0,
            sequence: 0,
            queue: VecDeque::new(),
            repairs: VecDeque::new(),
            history: BTreeMap::new(),
            credit: 0.0,
            recent: VecDeque::new(),
        }
    }

    pub fn handle_nack(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            if let Some(packet) = self.history.get(sequence).copied()
                && !self.repairs.iter().any(|waiting| waiting.sequence == *sequence)
            {
                self.repairs.push_back(packet);
            }
        }
    }

    pub fn handle_key_please(&mut self, now: Instant) {
        self.keyframes.request(KeyReason::Requested, now);
    }

    pub fn handle_report(&mut self, growth: Duration, received_bps: u64, now: Instant) {
        self.rate.handle_report(growth, received_bps, now);
    }

    pub fn tick(&mut self, link: Option<u64>, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        let ms = (now - self.start).as_millis() as u64;
        if ms.is_multiple_of(50) {
            self.estimate = self.estimator.update(link, now);
            self.rate.handle_estimate(self.estimate, now);
        }
        if ms >= self.sounds * 20 {
            send(Wire::Sound { index: self.sounds }, SOUND_BYTES);
            self.sounds += 1;
        }
        if ms as f64 >= self.due as f64 * 1000.0 / 30.0 {
            self.due += 1;
            self.picture(now);
        }
        self.pace(now, send);
        if ms.is_multiple_of(10) {
            let oldest = self.queue.front().filter(|(ready, _)| *ready <= now).map(|(ready, _)| now - *ready);
            self.rate.handle_queue_age(oldest, now);
        }
    }

    fn picture(&mut self, now: Instant) {
        let target = self.rate.video_target_bps();
        self.ladder.handle_target(target, now);
        self.keyframes.set_target(target);
        let step = self.ladder.current();
        let ms = (now - self.start).as_secs_f64() * 1000.0;
        // A slower step takes every second or third picture.
        if ms + 5.0 < self.next_picture || !self.rate.should_encode(now) {
            return;
        }
        self.next_picture = ms + 1000.0 / step.fps;
        let resized = self.encoded_size.replace(step.size) != Some(step.size);
        if resized {
            self.keyframes.request(KeyReason::Size, now);
        }
        // An encoder of another size begins with a key frame whatever the budget says.
        let key = self.keyframes.take(now).is_some() || resized;
        let mean = target as f64 / 8.0 / step.fps;
        // At the coarsest quantizer there is still something to send.
        let least = step.size.pixels() as f64 / 1000.0;
        let bytes = if key {
            let bytes = (mean * 4.0).max(least * 8.0);
            self.debt += bytes - mean;
            bytes
        } else {
            let noise = 0.7 + 0.6 * self.rng.unit();
            let repay = (self.debt * 0.1).min(mean * 0.5);
            self.debt -= repay;
            (mean * noise - repay).max(least)
        };
        let bytes = bytes as usize;
        if key {
            self.keys += 1;
            self.keyframes.handle_made(bytes, now);
        }
        let encoding = Duration::from_micros(2_000 + step.size.pixels() as u64 / 100);
        self.ladder.handle_encode_time(encoding, now);
        let count = bytes.div_ceil(PAYLOAD) as u64;
        for index in 0..count {
            let size = if index + 1 == count { bytes - (count as usize - 1) * PAYLOAD } else { PAYLOAD };
            let packet = VideoPacket {
                sequence: self.sequence,
                frame: self.frame,
                count,
                key,
                capture: now,
                bytes: size,
                size: step.size,
            };
            self.sequence += 1;
            self.queue.push_back((now + encoding, packet));
        }
        self.frame += 1;
        self.video_bytes += bytes as u64;
    }

    fn pace(&mut self, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        let rate = self.estimate as f64 * 1.1 / 8.0;
        // A few milliseconds of credit, as the pacer wakes that often.
        self.credit = (self.credit + rate / 1000.0).min(rate / 1000.0 * 5.0);
        while self.recent.front().is_some_and(|(at, ..)| now - *at > Duration::from_secs(1)) {
            self.recent.pop_front();
        }
        while self.credit > 0.0 {
            let (sent, repaired) = self.recent.iter().fold((0, 0), |sum, x| (sum.0 + x.1, sum.1 + x.2));
            let repair_allowed = repaired as f64 <= 0.15 * (sent as f64).max(10_000.0);
            let (packet, repair) = if repair_allowed && let Some(packet) = self.repairs.pop_front() {
                (packet, true)
            } else if self.queue.front().is_some_and(|(ready, _)| *ready <= now) {
                let Some((_, packet)) = self.queue.pop_front() else { return };
                (packet, false)
            } else {
                return;
            };
            let bytes = packet.bytes + OVERHEAD;
            self.credit -= bytes as f64;
            self.recent.push_back((now, bytes, if repair { bytes } else { 0 }));
            self.history.insert(packet.sequence, packet);
            while self.history.len() as u64 > HISTORY {
                self.history.pop_first();
            }
            send(Wire::Video(packet), packet.bytes);
        }
    }
}
