//! One microphone: a driver's callback fills a ring, a thread of ours takes 10 ms frames out of it, cleans them and
//! hands them on in chunks of 20 ms. The thread opens the device and opens it again when it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cpal::traits::DeviceTrait;
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, SAMPLE_RATE, Sound};
use ringbuf::HeapRb;
use ringbuf::traits::{Consumer, Observer, Producer, Split};

use crate::audio::{self, Health, RETRY_AFTER, SILENT_FOR, to_i16};
use crate::devices::{Side, SoundDeviceId, find, name_of};
use crate::echo::{AudioProcessor, EchoReference, FRAME, Processing};
use crate::error::{CaptureError, clause};

/// What the microphone's thread reports, on that thread: take it and return.
#[derive(Debug, Clone)]
pub enum MicrophoneEvent {
    /// Also after a failure, when the device works again.
    Opened { name: String },
    /// 20 ms.
    Sound(Sound),
    /// The device did not open or stopped. It is tried again until the handle is dropped.
    Failed(CaptureError),
}

/// An open (or opening) microphone; dropping it closes the device.
#[derive(Debug)]
pub struct Microphone {
    stop: Arc<AtomicBool>,
}

/// 200 ms: outlasts a pause of our thread; what does not fit is lost, as nobody wants to hear it that late.
const RING_SAMPLES: usize = 9600;

impl Microphone {
    /// Opens a microphone, the system's default unless another is named. Returns at once.
    pub fn open(
        device: Option<SoundDeviceId>,
        processing: Processing,
        reference: EchoReference,
        mut sink: impl FnMut(MicrophoneEvent) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spawned = std::thread::Builder::new().name("kith-mic".into()).spawn(move || {
            let mut sequence = 0;
            let mut last = None;
            while !stopped.load(Ordering::Relaxed) {
                let processor = AudioProcessor::new(processing, reference.clone());
                if let Err(error) = run(device.as_ref(), processor, &stopped, &mut sequence, &mut sink) {
                    // The same trouble is told once.
                    if last.as_ref() != Some(&error) {
                        sink(MicrophoneEvent::Failed(error.clone()));
                        last = Some(error);
                    }
                    std::thread::park_timeout(RETRY_AFTER);
                } else {
                    last = None;
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the microphone");
        }
        Self { stop }
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Where the stream is: how much has been recorded, and when the newest of it arrived.
#[derive(Default)]
struct Position {
    written: AtomicU64,
    at: AtomicU64,
}

fn run(
    id: Option<&SoundDeviceId>,
    mut processor: AudioProcessor,
    stop: &AtomicBool,
    sequence: &mut u64,
    sink: &mut impl FnMut(MicrophoneEvent),
) -> Result<(), CaptureError> {
    let device = find(Side::Capture, id).ok_or(CaptureError::NoMicrophone)?;
    let name = name_of(&device);
    let ranges = device.supported_input_configs().map_err(audio::refused(&name))?;
    let chosen = audio::choose(ranges).ok_or_else(|| audio::no_format(&name))?;

    let (mut producer, mut consumer) = HeapRb::<f32>::new(RING_SAMPLES).split();
    let health = Arc::new(Health::default());
    let position = Arc::new(Position::default());
    let thread = std::thread::current();
    let stream = {
        let position = Arc::clone(&position);
        // No lock, no allocation, no logging in here: it runs in the driver's time.
        audio::record(&device, chosen, Arc::clone(&health), move |samples| {
            let pushed = producer.push_iter(samples);
            position.at.store(MonoTime::now().micros(), Ordering::Relaxed);
            position.written.fetch_add(pushed as u64, Ordering::Release);
            if producer.occupied_len() >= FRAME {
                thread.unpark();
            }
        })
        .map_err(audio::refused(&name))?
    };
    tracing::info!(%name, channels = chosen.channels, format = ?chosen.format, "microphone open");
    sink(MicrophoneEvent::Opened { name: name.clone() });

    let mut clock = CaptureClock::default();
    let mut taken = 0_u64;
    let mut chunk: Vec<i16> = Vec::with_capacity(FRAME_SAMPLES);
    let mut started = MonoTime::default();
    let mut frame = [0.0_f32; FRAME];
    let (mut seen, mut seen_at) = (health.callbacks(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(50));
        while consumer.occupied_len() >= FRAME {
            let written = position.written.load(Ordering::Acquire);
            let newest = MonoTime(position.at.load(Ordering::Relaxed));
            consumer.pop_slice(&mut frame);
            let at = clock.stamp(newest, written.saturating_sub(taken));
            taken += FRAME as u64;
            processor.process(&mut frame);
            if chunk.is_empty() {
                started = at;
            }
            chunk.extend(frame.iter().map(|sample| to_i16(*sample)));
            if chunk.len() >= FRAME_SAMPLES {
                let samples = std::mem::replace(&mut chunk, Vec::with_capacity(FRAME_SAMPLES));
                sink(MicrophoneEvent::Sound(Sound { capture: started, sequence: *sequence, samples }));
                *sequence += 1;
            }
        }
        if health.callbacks() != seen {
            if seen_at.elapsed() > Duration::from_secs(1) {
                health.forgive();
                (seen, seen_at) = (health.callbacks(), Instant::now());
            }
        } else if seen_at.elapsed() > SILENT_FOR {
            return Err(CaptureError::SoundStopped { name, why: "it delivers no sound".into() });
        }
        if health.must_rebuild() {
            drop(stream);
            return Err(CaptureError::SoundStopped { name, why: clause("its driver reports errors") });
        }
    }
    Ok(())
}

/// Times of capture that advance evenly although blocks arrive in bursts.
#[derive(Default)]
struct CaptureClock {
    next: Option<MonoTime>,
}

/// Beyond this the clock jumps to the measured time in place of drifting there: the device paused.
const JUMP: i64 = 60_000;

impl CaptureClock {
    /// When the frame began that starts `behind` samples before the newest one, which arrived at `newest`.
    fn stamp(&mut self, newest: MonoTime, behind: u64) -> MonoTime {
        let behind_us = behind * 1_000_000 / u64::from(SAMPLE_RATE);
        let measured = newest.offset(-i64::try_from(behind_us).unwrap_or(0));
        let at = match self.next {
            Some(expected) => {
                let error = measured.micros_since(expected);
                if error.abs() > JUMP { measured } else { expected.offset(error / 32) }
            }
            None => measured,
        };
        self.next = Some(at + Duration::from_millis(10));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_times_advance_evenly_through_bursts() {
        let mut clock = CaptureClock::default();
        let mut last = None;
        for burst in 1..200_u64 {
            let newest = MonoTime(1_000_000 + burst * 20_000 + (burst % 3) * 4_000);
            for behind in [960, 480] {
                let at = clock.stamp(newest, behind);
                if let Some(last) = last {
                    let step = at.micros_since(last);
                    assert!((9_000..11_000).contains(&step), "a step of {step} us");
                }
                last = Some(at);
            }
        }
    }

    #[test]
    fn a_pause_of_the_device_moves_the_clock_at_once() {
        let mut clock = CaptureClock::default();
        clock.stamp(MonoTime(1_000_000), 480);
        assert_eq!(clock.stamp(MonoTime(3_000_000), 480), MonoTime(2_990_000));
    }
}
