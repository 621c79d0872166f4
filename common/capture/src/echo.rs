//! Taking the speaker's sound and steady noise out of what the microphone hears (sonora: AEC3 and noise suppression).
//!
//! The speaker's callback writes what it plays into an [`EchoReference`]; the microphone's thread reads it and feeds
//! both to the canceller in frames of 10 ms. The two run on clocks of the same machine; the canceller finds the delay
//! between them by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sonora::config::{EchoCanceller, HighPassFilter, NoiseSuppression};
use sonora::{AudioProcessing, Config, StreamConfig};

/// Samples in 10 ms.
pub const FRAME: usize = 480;
/// What is kept of the speaker's sound: a third of a second outlasts any pause of the microphone's thread that the
/// canceller could make up for.
const REFERENCE_SAMPLES: usize = 1 << 14;

/// What the speaker plays, for the canceller. Clones share it. Writing and reading take no lock and no memory, so the
/// audio callback may write; a reader that falls far behind skips ahead.
#[derive(Clone)]
pub struct EchoReference(Arc<Shared>);

struct Shared {
    /// The bits of `f32` samples.
    samples: Box<[AtomicU32]>,
    written: AtomicU64,
}

impl Default for EchoReference {
    fn default() -> Self {
        let samples = (0..REFERENCE_SAMPLES).map(|_| AtomicU32::new(0)).collect();
        Self(Arc::new(Shared { samples, written: AtomicU64::new(0) }))
    }
}

fn slot(position: u64) -> usize {
    // The remainder is below the length, which fits.
    usize::try_from(position % REFERENCE_SAMPLES as u64).unwrap_or(0)
}

impl EchoReference {
    pub(crate) fn push(&self, sample: f32) {
        let position = self.0.written.load(Ordering::Relaxed);
        self.0.samples[slot(position)].store(sample.to_bits(), Ordering::Relaxed);
        self.0.written.store(position + 1, Ordering::Release);
    }

    fn written(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    fn read(&self, from: u64, into: &mut [f32]) {
        for (position, sample) in (from..).zip(into) {
            *sample = f32::from_bits(self.0.samples[slot(position)].load(Ordering::Relaxed));
        }
    }
}

/// Whether the microphone's sound is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Processing {
    /// Echo cancellation, noise suppression and a high-pass filter.
    #[default]
    On,
    /// As the device delivers it.
    Off,
}

/// The canceller and suppressor for one microphone.
pub struct AudioProcessor {
    engine: Option<AudioProcessing>,
    reference: EchoReference,
    read: u64,
}

impl AudioProcessor {
    pub fn new(processing: Processing, reference: EchoReference) -> Self {
        let engine = (processing == Processing::On).then(|| {
            let config = Config {
                echo_canceller: Some(EchoCanceller::default()),
                noise_suppression: Some(NoiseSuppression::default()),
                high_pass_filter: Some(HighPassFilter::default()),
                ..Config::default()
            };
            AudioProcessing::builder()
                .config(config)
                .capture_config(StreamConfig::new(kith_common::media::SAMPLE_RATE, 1))
                .render_config(StreamConfig::new(kith_common::media::SAMPLE_RATE, 1))
                .build()
        });
        let read = reference.written();
        Self { engine, reference, read }
    }

    /// Cleans 10 ms of the microphone's sound in place, against what the speaker has played since the last call.
    pub fn process(&mut self, frame: &mut [f32; FRAME]) {
        let Some(engine) = &mut self.engine else { return };
        let written = self.reference.written();
        if written.saturating_sub(self.read) > REFERENCE_SAMPLES as u64 / 2 {
            self.read = written - FRAME as u64;
        }
        let mut heard = [0.0_f32; FRAME];
        let mut scratch = [0.0_f32; FRAME];
        while written.saturating_sub(self.read) >= FRAME as u64 {
            self.reference.read(self.read, &mut heard);
            self.read += FRAME as u64;
            if let Err(error) = engine.process_render_f32(&[&heard], &mut [&mut scratch]) {
                tracing::debug!(?error, "the echo canceller refused the speaker's sound");
            }
        }
        match engine.process_capture_f32(&[&frame[..]], &mut [&mut scratch[..]]) {
            Ok(()) => frame.copy_from_slice(&scratch),
            Err(error) => tracing::debug!(?error, "the echo canceller refused the microphone's sound"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repeatable noise with a speech-like loudness.
    fn noise(state: &mut u32) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        f32::from_bits((*state >> 9) | 0x3f80_0000).mul_add(0.4, -0.6)
    }

    fn power(samples: &[f32]) -> f32 {
        samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32
    }

    #[test]
    fn the_echo_of_the_speaker_is_taken_out_of_the_microphone() {
        let reference = EchoReference::default();
        let mut processor = AudioProcessor::new(Processing::On, reference.clone());
        let mut state = 7;
        let mut played = vec![0.0_f32; 48_000 * 4];
        played.iter_mut().for_each(|sample| *sample = noise(&mut state));
        let delay = 48 * 40;
        let (mut before, mut after) = (0.0, 0.0);
        for (at, chunk) in played.chunks_exact(FRAME).enumerate() {
            chunk.iter().for_each(|sample| reference.push(*sample));
            let mut frame = [0.0; FRAME];
            for (offset, sample) in frame.iter_mut().enumerate() {
                *sample = (at * FRAME + offset).checked_sub(delay).map_or(0.0, |position| played[position] * 0.3);
            }
            if at > 300 {
                before += power(&frame);
            }
            processor.process(&mut frame);
            if at > 300 {
                after += power(&frame);
            }
        }
        let erle = 10.0 * (before / after.max(f32::MIN_POSITIVE)).log10();
        assert!(erle > 20.0, "the echo is only {erle:.1} dB down");
    }

    #[test]
    fn without_processing_the_sound_passes_unchanged() {
        let mut processor = AudioProcessor::new(Processing::Off, EchoReference::default());
        let mut frame = [0.25; FRAME];
        processor.process(&mut frame);
        assert_eq!(frame, [0.25; FRAME]);
    }
}
