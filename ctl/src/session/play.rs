//! Sends pictures and sound at their own rate: a thread for each, on one absolute schedule, so that neither drifts and
//! both stay in step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::client::Gone;
use kith_common::clip::ClipError;
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, Picture, SAMPLE_RATE, Sound};

use super::source::{Pictures, Sounds};

/// When sending starts, and that it is over. Both media share one, and with it their first moment.
#[derive(Clone, Default)]
pub struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Open(MonoTime),
    Closed,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the sources, once.
    pub fn open(&self) {
        let mut state = self.lock();
        if *state == State::Waiting {
            *state = State::Open(MonoTime::now());
            self.0.changed.notify_all();
        }
    }

    /// Ends the sources, at once.
    pub fn close(&self) {
        *self.lock() = State::Closed;
        self.0.changed.notify_all();
    }

    /// Waits for the start; `None` when there is none any more.
    fn start(&self) -> Option<MonoTime> {
        let state = self.0.changed.wait_while(self.lock(), |state| *state == State::Waiting);
        match *state.unwrap_or_else(PoisonError::into_inner) {
            State::Open(start) => Some(start),
            State::Waiting | State::Closed => None,
        }
    }

    /// Waits until `due`, and says what time it is then; `None` when sending is over.
    fn until(&self, due: MonoTime) -> Option<MonoTime> {
        let mut state = self.lock();
        loop {
            if *state == State::Closed {
                return None;
            }
            let now = MonoTime::now();
            if now >= due {
                return Some(now);
            }
            let waited = self.0.changed.wait_timeout(state, due.since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// When each of the newest pictures was handed over, to find it again when an echo node sends it back.
#[derive(Default)]
pub struct SendTimes(Mutex<std::collections::VecDeque<(u32, MonoTime)>>);

/// 30 s at 30 pictures a second; what takes longer to come back is not measured.
const SEND_TIMES: usize = 900;

impl SendTimes {
    fn add(&self, number: u64, at: MonoTime) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == SEND_TIMES {
            times.pop_front();
        }
        times.push_back((u32::try_from(number & 0x00ff_ffff).unwrap_or(0), at));
    }

    /// When the picture of that number was handed over.
    pub fn of(&self, number: u32) -> Option<MonoTime> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().rev().find(|(sent, _)| *sent == number).map(|(_, at)| *at)
    }
}

/// The thread that plays pictures; ends with the gate, or when nobody takes them any more.
pub fn pictures(
    mut pictures: Pictures,
    put: impl Fn(Picture) -> Result<(), Gone>,
    gate: &Gate,
    times: Option<&SendTimes>,
) -> Result<(), ClipError> {
    let rate = pictures.rate();
    let Some(start) = gate.start() else { return Ok(()) };
    let due = |number| start + Duration::from_micros(rate.due_us(number));
    let mut number = 0;
    while let Some(now) = gate.until(due(number)) {
        // Whoever comes after the next one's time goes on with that: late pictures would only push on the delay.
        if now >= due(number + 1) {
            pictures.skip()?;
            number += 1;
            continue;
        }
        let picture = pictures.next(number, now)?;
        if let Some(times) = times {
            times.add(number, now);
        }
        if put(picture).is_err() {
            break;
        }
        number += 1;
    }
    Ok(())
}

/// Sound that is later than this is left out.
const MAX_SOUND_LATENESS: Duration = Duration::from_millis(200);

/// The thread that plays sound. A chunk leaves when its last sample would have been recorded, as from a microphone.
pub fn sounds(mut sounds: Sounds, put: impl Fn(Sound) -> Result<(), Gone>, gate: &Gate) -> Result<(), ClipError> {
    let Some(start) = gate.start() else { return Ok(()) };
    let begins =
        |number: u64| start + Duration::from_micros(number * FRAME_SAMPLES as u64 * 1_000_000 / u64::from(SAMPLE_RATE));
    let mut number = 0;
    while let Some(now) = gate.until(begins(number + 1)) {
        let sound = sounds.next(number, begins(number))?;
        let late = now.since(begins(number + 1)) > MAX_SOUND_LATENESS;
        number += 1;
        if !late && put(sound).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_closes_wakes_whoever_waits_and_never_opens_again() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.start());
            gate.close();
            assert_eq!(waiting.join().expect("no panic"), None);
        });
        gate.open();
        assert_eq!(gate.start(), None);
        assert_eq!(gate.until(MonoTime(u64::MAX)), None);
    }

    #[test]
    fn an_open_gate_has_one_start_for_all() {
        let gate = Gate::default();
        gate.open();
        let start = gate.start();
        gate.open();
        assert!(start.is_some());
        assert_eq!(gate.start(), start);
        assert!(gate.until(MonoTime(0)).is_some());
    }

    #[test]
    fn pictures_come_at_their_rate_and_end_when_nobody_takes_them() {
        let rate = kith_common::clip::FrameRate::new(200, 1).expect("usable");
        let source = Pictures::test("64x48".parse().expect("legal"), rate);
        let (gate, times) = (Gate::default(), SendTimes::default());
        gate.open();
        let start = gate.start().expect("open");
        let taken = Mutex::new(Vec::new());
        let put = |picture: Picture| {
            let mut taken = taken.lock().expect("no panic");
            taken.push(picture);
            if taken.len() < 10 { Ok(()) } else { Err(Gone::Taken) }
        };
        pictures(source, put, &gate, Some(&times)).expect("the test picture does not fail");
        for picture in taken.into_inner().expect("no panic") {
            // A busy machine leaves pictures out; none comes early, and none twice.
            assert!(
                picture.capture >= start + Duration::from_millis(5) * u32::try_from(picture.sequence).expect("few")
            );
            assert_eq!(times.of(u32::try_from(picture.sequence).expect("few")), Some(picture.capture));
        }
    }

    #[test]
    fn sound_is_stamped_on_an_even_schedule_and_leaves_when_it_is_whole() {
        let gate = Gate::default();
        gate.open();
        let start = gate.start().expect("open");
        let taken = Mutex::new(Vec::new());
        let put = |sound: Sound| {
            let mut taken = taken.lock().expect("no panic");
            taken.push((sound.capture, MonoTime::now()));
            if taken.len() < 3 { Ok(()) } else { Err(Gone::CallEnded) }
        };
        sounds(Sounds::test(), put, &gate).expect("the test sound does not fail");
        for (capture, left) in taken.into_inner().expect("no panic") {
            assert_eq!(capture.micros_since(start) % 20_000, 0);
            assert!(left >= capture + Duration::from_millis(20));
        }
    }

    #[test]
    fn send_times_are_found_by_number_and_bounded() {
        let times = SendTimes::default();
        for number in 0..2000 {
            times.add(number, MonoTime(number * 10));
        }
        assert_eq!(times.of(1999), Some(MonoTime(19_990)));
        assert_eq!(times.of(0), None);
    }
}
