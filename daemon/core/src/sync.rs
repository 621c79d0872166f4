//! Picture and sound in step, with the least delay added.
//!
//! Whichever comes out first waits for the other, but only down to a [`TOLERANCE`] nobody notices: a picture is held, sound
//! gets a minimum delay in its jitter buffer. All holds are bounded, so a broken clock or a dead medium costs little.

use std::time::Duration;

use kith_common::clock::MonoTime;

use crate::stats::Percentiles;

/// Skew that is left alone. People notice sound from 45 ms early and from 125 ms late on (ITU-R BT.1359).
pub const TOLERANCE: Duration = Duration::from_millis(40);
/// A picture is never held longer.
pub const MAX_HOLD: Duration = Duration::from_millis(150);
/// Sound is never held back longer for the pictures' sake.
pub const MAX_SOUND_DELAY: Duration = Duration::from_millis(300);
/// Sound that has not been heard of for this long (muted, DTX, dead) no longer holds pictures.
const STALE: Duration = Duration::from_millis(500);
/// Weight of a new value in the smoothed delays.
const SMOOTH: f64 = 0.1;

#[derive(Debug, Clone, Copy)]
struct Delay {
    micros: f64,
    at: MonoTime,
}

impl Delay {
    fn smooth(old: Option<Self>, micros: f64, at: MonoTime) -> Self {
        match old {
            Some(old) if at.since(old.at) < STALE => Self { micros: old.micros + (micros - old.micros) * SMOOTH, at },
            _ => Self { micros, at },
        }
    }
}

/// Compares the delays of both media.
#[derive(Debug)]
pub struct LipSync {
    sound: Option<Delay>,
    picture: Option<Delay>,
    sound_minimum_micros: f64,
    skew: Percentiles,
}

impl Default for LipSync {
    fn default() -> Self {
        Self::new()
    }
}

impl LipSync {
    pub fn new() -> Self {
        Self { sound: None, picture: None, sound_minimum_micros: 0.0, skew: Percentiles::new() }
    }

    /// Sound captured at `capture` (local clock) is played at `played`. Not for concealed sound.
    pub fn handle_sound(&mut self, capture: MonoTime, played: MonoTime) {
        self.sound = Some(Delay::smooth(self.sound, played.micros_since(capture) as f64, played));
    }

    /// A picture captured at `capture` is decoded at `ready`: how long to hold it before it is delivered.
    pub fn handle_picture(&mut self, capture: MonoTime, ready: MonoTime) -> Duration {
        let micros = ready.micros_since(capture) as f64;
        let picture = Delay::smooth(self.picture, micros, ready);
        self.picture = Some(picture);
        let Some(sound) = self.sound.filter(|sound| ready.since(sound.at) < STALE) else {
            return Duration::ZERO;
        };
        let tolerance = TOLERANCE.as_micros() as f64;
        // Sound ahead of the picture by more than the tolerance: its minimum moves towards what would be right.
        let ahead = picture.micros - tolerance - sound.micros;
        let limit = MAX_SOUND_DELAY.as_micros() as f64;
        self.sound_minimum_micros = (self.sound_minimum_micros + ahead * 0.05).clamp(0.0, limit);
        let hold = sound.micros - tolerance - micros;
        Duration::from_micros(hold.clamp(0.0, MAX_HOLD.as_micros() as f64) as u64)
    }

    /// The picture captured at `capture` was delivered at `shown`: for the skew.
    pub fn handle_shown(&mut self, capture: MonoTime, shown: MonoTime) {
        if let Some(sound) = self.sound.filter(|sound| shown.since(sound.at) < STALE) {
            let skew = shown.micros_since(capture) as f64 - sound.micros;
            self.skew.record_ms(skew.abs() / 1000.0);
        }
    }

    /// For the jitter buffer of the sound.
    pub fn sound_minimum_delay(&self) -> Duration {
        Duration::from_micros(self.sound_minimum_micros as u64)
    }

    /// Of the absolute skew of all pictures delivered.
    pub fn skew_ms_p95(&self) -> Option<f64> {
        self.skew.p95_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call in virtual time: sound each 20 ms, pictures each 33, with these delays in ms. The jitter buffer follows the
    /// minimum at once. Returns the delays of the last picture and sound.
    fn run(sync: &mut LipSync, seconds: u64, sound_ms: u64, picture_ms: u64) -> (u64, u64) {
        let (mut shown, mut heard) = (0, 0);
        for ms in 0..seconds * 1000 {
            let capture = MonoTime(10_000_000 + ms * 1000);
            if ms % 20 == 0 {
                // 20 ms of the sound's delay are the network's, the rest is buffer.
                heard = sound_ms.max(20 + sync.sound_minimum_delay().as_millis() as u64);
                sync.handle_sound(capture.offset(-(heard as i64) * 1000), capture);
            }
            if ms % 33 == 0 {
                let hold = sync.handle_picture(capture.offset(-(picture_ms as i64) * 1000), capture);
                shown = picture_ms + hold.as_millis() as u64;
                sync.handle_shown(capture.offset(-(picture_ms as i64) * 1000), capture + hold);
            }
        }
        (shown, heard)
    }

    #[test]
    fn what_nobody_would_notice_is_left_alone() {
        let mut sync = LipSync::new();
        assert_eq!(run(&mut sync, 5, 70, 35), (35, 70));
        assert_eq!(run(&mut sync, 5, 60, 95), (95, 60));
        assert!(sync.skew_ms_p95().is_some_and(|skew| skew < 50.0));
    }

    #[test]
    fn a_picture_waits_for_sound_that_is_far_behind_but_not_for_ever() {
        let mut sync = LipSync::new();
        assert_eq!(run(&mut sync, 3, 140, 30), (100, 140));
        assert_eq!(run(&mut sync, 3, 900, 30), (30 + MAX_HOLD.as_millis() as u64, 900));
    }

    #[test]
    fn sound_waits_for_pictures_that_are_far_behind_but_not_for_ever() {
        let mut sync = LipSync::new();
        let (shown, heard) = run(&mut sync, 10, 50, 200);
        assert_eq!(shown, 200);
        assert!((155..=165).contains(&heard), "{heard}");
        let (_, heard) = run(&mut sync, 20, 50, 2_000);
        assert_eq!(heard, 20 + MAX_SOUND_DELAY.as_millis() as u64);
        let (_, heard) = run(&mut sync, 20, 50, 50);
        assert_eq!(heard, 50, "and comes back when the pictures do");
    }

    #[test]
    fn silence_holds_no_picture_and_a_broken_clock_holds_it_bounded() {
        let mut sync = LipSync::new();
        let now = MonoTime(10_000_000);
        assert_eq!(sync.handle_picture(now.offset(-30_000), now), Duration::ZERO, "no sound yet");
        sync.handle_sound(now.offset(-300_000), now);
        assert!(sync.handle_picture(now.offset(-30_000), now) > Duration::from_millis(100));
        let later = now + Duration::from_secs(2);
        assert_eq!(sync.handle_picture(later.offset(-30_000), later), Duration::ZERO, "the sound has ended");
        for (capture, ready) in [(u64::MAX, 0), (0, u64::MAX), (0, 0)] {
            sync.handle_sound(MonoTime(capture), MonoTime(ready));
            assert!(sync.handle_picture(MonoTime(ready), MonoTime(capture)) <= MAX_HOLD);
            assert!(sync.sound_minimum_delay() <= MAX_SOUND_DELAY);
        }
    }
}
