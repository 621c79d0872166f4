//! What reached the clients of a call, and when: the figures behind `delay_ms`, `late_400ms`, `frozen_ms`, `skew_ms_p95`.
//!
//! The hub feeds it with the reports of whoever took a picture or a sound; of several clients the first report of a
//! picture counts. Times come in as arguments.

use std::time::{Duration, Instant};

use kith_common::call::SizeSeconds;
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, Sound};
use kith_core::stats::{Due, FrozenMeter, Percentiles, RateMeter, SizeMeter};

/// A picture that is delivered later than this after its capture is as good as lost in a conversation.
pub const LATE: Duration = Duration::from_millis(400);
/// Picture and sound that are delivered within this time of each other are played together.
const TOGETHER: Duration = Duration::from_millis(60);

/// The figures at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delivered {
    pub pictures: u64,
    /// Of them within [`LATE`] of their capture.
    pub on_time: u64,
    pub sounds: u64,
    pub delay_ms_p50: Option<f64>,
    pub delay_ms_p95: Option<f64>,
    pub audio_delay_ms_p50: Option<f64>,
    pub audio_delay_ms_p95: Option<f64>,
    /// Of |delay of the picture - delay of the sound delivered with it|.
    pub skew_ms_p95: Option<f64>,
    pub frozen_ms: u64,
    /// Pictures delivered in the last second.
    pub video_fps: f64,
    /// Of the newest picture.
    pub size: Option<Size>,
    pub sizes: Vec<SizeSeconds>,
}

impl Delivered {
    /// The share of the pictures due that were not delivered in time. What the peer signals as due may be behind what
    /// has come, never less than it.
    pub fn late_400ms(&self, due: u64) -> f64 {
        let due = due.max(self.pictures);
        if due == 0 { 0.0 } else { (due - self.on_time) as f64 / due as f64 }
    }
}

/// Which of the newest 64 sequence numbers have been seen.
#[derive(Debug, Default)]
struct Seen {
    newest: Option<u64>,
    bits: u64,
}

impl Seen {
    /// Whether this is the first time.
    fn first(&mut self, sequence: u64) -> bool {
        let Some(newest) = self.newest else {
            (self.newest, self.bits) = (Some(sequence), 1);
            return true;
        };
        if sequence > newest {
            let step = u32::try_from(sequence - newest).unwrap_or(u32::MAX);
            self.bits = self.bits.checked_shl(step).unwrap_or(0) | 1;
            self.newest = Some(sequence);
            return true;
        }
        let age = newest - sequence;
        if age >= 64 || self.bits >> age & 1 == 1 {
            return false;
        }
        self.bits |= 1 << age;
        true
    }
}

#[derive(Debug)]
pub struct Delivery {
    video_delay: Percentiles,
    audio_delay: Percentiles,
    skew: Percentiles,
    frozen: FrozenMeter,
    sizes: SizeMeter,
    rate: RateMeter,
    seen_pictures: Seen,
    seen_sounds: Seen,
    pictures: u64,
    on_time: u64,
    sounds: u64,
    /// Delay in microseconds and moment of the newest sound.
    sound: Option<(i64, MonoTime)>,
}

impl Delivery {
    pub fn new(now: Instant) -> Self {
        Self {
            video_delay: Percentiles::new(),
            audio_delay: Percentiles::new(),
            skew: Percentiles::new(),
            frozen: FrozenMeter::new(),
            sizes: SizeMeter::new(),
            rate: RateMeter::new(now),
            seen_pictures: Seen::default(),
            seen_sounds: Seen::default(),
            pictures: 0,
            on_time: 0,
            sounds: 0,
            sound: None,
        }
    }

    pub fn handle_picture(&mut self, picture: &Picture, at: MonoTime, now: Instant) {
        if !self.seen_pictures.first(picture.sequence) {
            return;
        }
        let delay = at.micros_since(picture.capture);
        self.pictures += 1;
        self.on_time += u64::from(at.since(picture.capture) <= LATE);
        self.video_delay.record_ms(delay as f64 / 1000.0);
        self.frozen.handle_picture(now);
        self.sizes.handle_picture(picture.size, now);
        self.rate.record(0, now);
        if let Some((sound, when)) = self.sound
            && at.micros_since(when).unsigned_abs() <= TOGETHER.as_micros() as u64
        {
            self.skew.record_ms((delay - sound).abs() as f64 / 1000.0);
        }
    }

    pub fn handle_sound(&mut self, sound: &Sound, at: MonoTime) {
        if !self.seen_sounds.first(sound.sequence) {
            return;
        }
        let delay = at.micros_since(sound.capture);
        self.sounds += 1;
        self.audio_delay.record_ms(delay as f64 / 1000.0);
        self.sound = Some((delay, at));
    }

    pub fn set_due(&mut self, due: Due, now: Instant) {
        self.frozen.set_due(due, now);
    }

    pub fn figures(&self, now: Instant) -> Delivered {
        let row = |(size, seconds): (Size, f64)| SizeSeconds {
            width: size.width() as u16,
            height: size.height() as u16,
            seconds,
        };
        Delivered {
            pictures: self.pictures,
            on_time: self.on_time,
            sounds: self.sounds,
            delay_ms_p50: self.video_delay.p50_ms(),
            delay_ms_p95: self.video_delay.p95_ms(),
            audio_delay_ms_p50: self.audio_delay.p50_ms(),
            audio_delay_ms_p95: self.audio_delay.p95_ms(),
            skew_ms_p95: self.skew.p95_ms(),
            frozen_ms: self.frozen.frozen(now).as_millis() as u64,
            video_fps: self.rate.per_second(now),
            size: self.sizes.current(),
            sizes: self.sizes.seconds(now).into_iter().map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn picture(sequence: u64, capture: MonoTime) -> Picture {
        let size = Size::new(16, 16).expect("the smallest size");
        Picture::new(size, capture, sequence, Bytes::from(vec![0; size.i420_bytes()])).expect("the right length")
    }

    #[test]
    fn the_first_of_several_clients_counts() {
        let now = Instant::now();
        let mut delivery = Delivery::new(now);
        let ms = |ms: u64| MonoTime(1_000_000 + ms * 1000);
        for (sequence, at) in [(1, 10), (2, 40), (1, 50), (2, 60), (4, 70), (3, 900)] {
            delivery.handle_picture(&picture(sequence, ms(0)), ms(at), now);
        }
        let figures = delivery.figures(now);
        assert_eq!((figures.pictures, figures.on_time), (4, 3));
        assert!((figures.late_400ms(10) - 0.7).abs() < 1e-9);
        assert!((figures.late_400ms(0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn skew_compares_what_is_delivered_together() {
        let now = Instant::now();
        let mut delivery = Delivery::new(now);
        let at = MonoTime(2_000_000);
        delivery.handle_sound(&Sound { capture: at.offset(-60_000), sequence: 0, samples: vec![0; 960] }, at);
        delivery.handle_picture(&picture(0, at.offset(-90_000)), at.offset(5_000), now);
        let skew = delivery.figures(now).skew_ms_p95.expect("one pair");
        assert!((skew - 35.0).abs() < 1.5, "{skew}");
        delivery.handle_picture(&picture(1, at), at.offset(500_000), now);
        assert!((delivery.figures(now).skew_ms_p95.expect("still one") - skew).abs() < 1e-9);
    }
}
