//! Spaces the pictures that come out together after a loss.
//!
//! A lost packet holds back its picture and all that follow; when it has been sent again they are decoded within a few
//! milliseconds. Handed over at once, all but the newest would be thrown away by whoever shows the newest: a jump, where
//! there could be a short run at twice the speed. So each waits for half of the time that lay between it and the one before.

use std::time::Duration;

use kith_common::clock::MonoTime;

/// Pictures run at most this much faster than they were taken, until they have caught up.
const CATCH_UP: u32 = 2;
/// A source of a few pictures a second, or one that paused, is not waited for longer than this.
const LONGEST: Duration = Duration::from_millis(30);
/// A picture that is older than this is late already: no further wait.
const HURRY: Duration = Duration::from_millis(300);

/// Says how long to hold each picture. Adds nothing to pictures that come at their own pace.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Capture and delivery of the last picture.
    last: Option<(MonoTime, MonoTime)>,
}

impl Pacer {
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// How long to hold the picture captured at `capture` (local clock) that is decoded at `ready`.
    pub fn handle_picture(&self, capture: MonoTime, ready: MonoTime) -> Duration {
        let Some((before, shown)) = self.last else { return Duration::ZERO };
        if ready.since(capture) > HURRY {
            return Duration::ZERO;
        }
        let step = (capture.since(before) / CATCH_UP).min(LONGEST);
        (shown + step).since(ready)
    }

    /// It was delivered at `shown`.
    pub const fn handle_shown(&mut self, capture: MonoTime, shown: MonoTime) {
        self.last = Some((capture, shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 33_333;

    /// Delivers pictures that are decoded at these times, in ms after the capture of the first; returns when each is shown.
    fn shown_ms(ready_ms: &[u64]) -> Vec<u64> {
        let (mut pacer, mut free, mut shown) = (Pacer::new(), MonoTime(0), Vec::new());
        for (number, ready) in (0..).zip(ready_ms) {
            let capture = MonoTime(1_000_000 + number * STEP);
            // The thread that holds one picture takes the next when it is done.
            let ready = MonoTime(1_000_000 + ready * 1000).max(free);
            free = ready + pacer.handle_picture(capture, ready);
            pacer.handle_shown(capture, free);
            shown.push((free.micros() - 1_000_000) / 1000);
        }
        shown
    }

    #[test]
    fn pictures_at_their_own_pace_are_not_held() {
        let steady: Vec<u64> = (0..10).map(|n| 40 + n * 33).collect();
        assert_eq!(shown_ms(&steady), steady);
    }

    #[test]
    fn what_comes_at_once_is_shown_at_twice_the_speed_until_it_has_caught_up() {
        // The second picture was lost and came again 130 ms late, with three others.
        let shown = shown_ms(&[20, 180, 180, 180, 180, 186, 219]);
        assert_eq!(shown, [20, 180, 196, 213, 229, 246, 263]);
        let later = shown_ms(&[20, 180, 180, 180, 180, 186, 219, 253, 286, 320, 353]);
        assert_eq!(later[10], 353, "and then nothing is held any more");
    }

    #[test]
    fn late_pictures_are_not_made_later() {
        assert_eq!(shown_ms(&[20, 500, 500, 500]), [20, 500, 500, 500]);
    }
}
