//! One speaker: sound goes into a small ring, the driver's callback takes it out. The ring bounds the delay that
//! playback may add: when it holds more than that, because the peer's clock is faster or the machine paused, the
//! callback drops what is oldest.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cpal::traits::DeviceTrait;
use kith_common::media::{SAMPLE_RATE, Sound};
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::audio::{self, Health, RETRY_AFTER, SILENT_FOR};
use crate::devices::{Side, SoundDeviceId, find, name_of};
use crate::echo::EchoReference;
use crate::error::{CaptureError, clause};

/// What the speaker's thread reports, on that thread.
#[derive(Debug, Clone)]
pub enum SpeakerEvent {
    /// Also after a failure, when the device works again.
    Opened { name: String },
    /// The device did not open or stopped. It is tried again until the handle is dropped.
    Failed(CaptureError),
}

/// 300 ms: never reached, because the callback drops above [`HIGH_SAMPLES`].
const RING_SAMPLES: usize = 14_400;
/// 100 ms: above this the callback drops down to [`START_SAMPLES`].
const HIGH_SAMPLES: usize = 4800;
/// 40 ms: after silence, playing starts with this much in hand, so that the next late packet does not break it.
const START_SAMPLES: usize = 1920;

/// An open (or opening) speaker; dropping it closes the device.
pub struct Speaker {
    stop: Arc<AtomicBool>,
    input: SpeakerInput,
}

/// Where sound to be played goes. Clones share it; two at once would mix their chunks, so use one at a time.
#[derive(Clone)]
pub struct SpeakerInput {
    ring: Arc<Mutex<Option<HeapProd<f32>>>>,
    held: Arc<AtomicU32>,
}

impl SpeakerInput {
    /// Plays it as soon as what is before it has been played. Never waits; without an open device it is dropped.
    pub fn play(&self, sound: &Sound) {
        // Only the device's thread shares this lock, when it opens the device; the callback never takes it.
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = ring.as_mut() {
            ring.push_iter(sound.samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
        }
    }

    /// How long sound that is handed over now waits before the driver takes it.
    pub fn waiting(&self) -> Duration {
        Duration::from_secs(1) * self.held.load(Ordering::Relaxed) / SAMPLE_RATE
    }
}

impl Speaker {
    /// Opens a speaker, the system's default unless another is named. Returns at once. What it plays goes to
    /// `reference` too, for the microphone's echo canceller.
    pub fn open(
        device: Option<SoundDeviceId>,
        reference: EchoReference,
        mut sink: impl FnMut(SpeakerEvent) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let input = SpeakerInput { ring: Arc::default(), held: Arc::default() };
        let (stopped, fed) = (Arc::clone(&stop), input.clone());
        let spawned = std::thread::Builder::new().name("kith-speaker".into()).spawn(move || {
            let mut last = None;
            while !stopped.load(Ordering::Relaxed) {
                let ended = run(device.as_ref(), &reference, &fed, &stopped, &mut sink);
                *fed.ring.lock().unwrap_or_else(PoisonError::into_inner) = None;
                if let Err(error) = ended {
                    if last.as_ref() != Some(&error) {
                        sink(SpeakerEvent::Failed(error.clone()));
                        last = Some(error);
                    }
                    std::thread::park_timeout(RETRY_AFTER);
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the speaker");
        }
        Self { stop, input }
    }

    pub fn input(&self) -> SpeakerInput {
        self.input.clone()
    }

    pub fn play(&self, sound: &Sound) {
        self.input.play(sound);
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(
    id: Option<&SoundDeviceId>,
    reference: &EchoReference,
    input: &SpeakerInput,
    stop: &AtomicBool,
    sink: &mut impl FnMut(SpeakerEvent),
) -> Result<(), CaptureError> {
    let device = find(Side::Playback, id).ok_or(CaptureError::NoSpeaker)?;
    let name = name_of(&device);
    let ranges = device.supported_output_configs().map_err(audio::refused(&name))?;
    let chosen = audio::choose(ranges).ok_or_else(|| audio::no_format(&name))?;

    let (producer, consumer) = HeapRb::<f32>::new(RING_SAMPLES).split();
    let health = Arc::new(Health::default());
    let player = Drain { consumer, playing: false, held: Arc::clone(&input.held), reference: reference.clone() };
    let stream = audio::play(&device, chosen, Arc::clone(&health), player).map_err(audio::refused(&name))?;
    *input.ring.lock().unwrap_or_else(PoisonError::into_inner) = Some(producer);
    tracing::info!(%name, channels = chosen.channels, format = ?chosen.format, "speaker open");
    sink(SpeakerEvent::Opened { name: name.clone() });

    let mut seen = health.callbacks();
    let mut seen_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(200));
        if health.must_rebuild() {
            drop(stream);
            return Err(CaptureError::SoundStopped { name, why: clause("its driver reports errors") });
        }
        if health.callbacks() == seen {
            if seen_at.elapsed() > SILENT_FOR {
                return Err(CaptureError::SoundStopped { name, why: "it takes no sound".into() });
            }
        } else if seen_at.elapsed() > Duration::from_secs(1) {
            health.forgive();
            (seen, seen_at) = (health.callbacks(), Instant::now());
        }
    }
    Ok(())
}

/// The taking side of the ring.
struct Drain {
    consumer: HeapCons<f32>,
    playing: bool,
    held: Arc<AtomicU32>,
    reference: EchoReference,
}

impl audio::Player for Drain {
    /// Decides whether to play, and drops what has waited too long.
    fn begin(&mut self, samples: usize) {
        let held = self.consumer.occupied_len();
        if !self.playing && held >= START_SAMPLES.max(samples) {
            self.playing = true;
        }
        if held > HIGH_SAMPLES + samples {
            self.consumer.skip(held - START_SAMPLES - samples);
        }
        self.held.store(u32::try_from(held).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn next(&mut self) -> f32 {
        let sample = if self.playing { self.consumer.try_pop() } else { None };
        self.playing &= sample.is_some();
        let sample = sample.unwrap_or(0.0);
        self.reference.push(sample);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Player;

    fn drain(held: usize) -> (HeapProd<f32>, Drain) {
        let (mut producer, consumer) = HeapRb::<f32>::new(RING_SAMPLES).split();
        producer.push_iter((0..held).map(|_| 0.5));
        (producer, Drain { consumer, playing: false, held: Arc::default(), reference: EchoReference::default() })
    }

    #[test]
    fn playing_waits_for_a_small_reserve() {
        let (mut producer, mut drain) = drain(960);
        drain.begin(960);
        assert_eq!(drain.next(), 0.0);
        producer.push_iter((0..960).map(|_| 0.5));
        drain.begin(960);
        assert_eq!(drain.next(), 0.5);
    }

    #[test]
    fn what_waited_too_long_is_dropped() {
        let (_producer, mut drain) = drain(RING_SAMPLES);
        drain.begin(960);
        assert_eq!(drain.consumer.occupied_len(), START_SAMPLES + 960);
    }
}
