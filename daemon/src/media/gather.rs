//! Packets of 20 ms from chunks of any length, each with its capture time and its RTP time.
//!
//! Used by the sound encoder's thread. RTP time counts samples without gaps while the source runs, and follows the
//! capture time over pauses in whole packets, as the jitter buffer of the peer expects it.

use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, SAMPLE_RATE, Sound};

/// A chunk that begins this much later than the one before ended comes after a pause, in microseconds: three times the
/// usual packet. Less is the jitter of the source's own clock.
const PAUSE_MICROS: i64 = 60_000;
/// How fast the capture times of the packets follow those of the chunks: a client stamps its chunks when it comes to it.
const SMOOTH: i64 = 16;
const FRAME_MICROS: i64 = 20_000;

/// 20 ms of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundFrame {
    pub samples: [i16; FRAME_SAMPLES],
    pub capture: MonoTime,
    pub samples_at: u64,
}

/// Holds less than 20 ms between chunks.
#[derive(Debug, Default)]
pub struct Gather {
    pending: Vec<i16>,
    /// When and where in RTP time the next packet begins; `None` before the first chunk.
    at: Option<(MonoTime, u64)>,
}

fn micros(samples: usize) -> i64 {
    samples as i64 * 1_000_000 / i64::from(SAMPLE_RATE)
}

impl Gather {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a chunk and gives out the packets that are full with it.
    pub fn push(&mut self, sound: &Sound) -> Vec<SoundFrame> {
        self.meet(sound.capture);
        self.pending.extend_from_slice(&sound.samples);
        let mut frames = Vec::with_capacity(self.pending.len() / FRAME_SAMPLES);
        let (whole, _) = self.pending.as_chunks::<FRAME_SAMPLES>();
        for samples in whole {
            let Some((capture, samples_at)) = &mut self.at else { break };
            frames.push(SoundFrame { samples: *samples, capture: *capture, samples_at: *samples_at });
            *capture = capture.offset(FRAME_MICROS);
            *samples_at += FRAME_SAMPLES as u64;
        }
        self.pending.drain(..frames.len() * FRAME_SAMPLES);
        frames
    }

    /// The times of the packet that would come next, which a packet without sound now takes.
    pub fn skip(&mut self) -> Option<(MonoTime, u64)> {
        self.pending.clear();
        let (capture, samples_at) = self.at.as_mut()?;
        let here = (*capture, *samples_at);
        *capture = capture.offset(FRAME_MICROS);
        *samples_at += FRAME_SAMPLES as u64;
        Some(here)
    }

    /// Brings the clock of the packets together with that of a chunk.
    fn meet(&mut self, capture: MonoTime) {
        let Some((begin, samples_at)) = &mut self.at else {
            self.at = Some((capture, capture.micros() / 1000 * u64::from(SAMPLE_RATE) / 1000));
            return;
        };
        let expected = begin.offset(micros(self.pending.len()));
        let off = capture.micros_since(expected);
        if off.abs() <= PAUSE_MICROS {
            *begin = begin.offset(off / SMOOTH);
            return;
        }
        // What is left of before the pause is less than a packet, and nobody hears it end early.
        self.pending.clear();
        let packets = (capture.micros_since(*begin) + FRAME_MICROS / 2).div_euclid(FRAME_MICROS);
        *samples_at += u64::try_from(packets).unwrap_or(0) * FRAME_SAMPLES as u64;
        *begin = capture;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(capture: u64, samples: usize, first: usize) -> Sound {
        let samples = (first..first + samples).map(|index| (index % 30_000) as i16).collect();
        Sound { capture: MonoTime(capture), sequence: 0, samples }
    }

    #[test]
    fn odd_chunks_become_packets_without_a_seam() {
        let mut gather = Gather::new();
        let (mut frames, mut first, mut capture) = (Vec::new(), 0, 5_000_000);
        for samples in [480, 2880, 481, 1000, 700, 2879, 960, 1900] {
            frames.extend(gather.push(&chunk(capture, samples, first)));
            first += samples;
            capture += micros(samples) as u64;
        }
        assert_eq!(frames.len(), first / FRAME_SAMPLES);
        let sound: Vec<i16> = frames.iter().flat_map(|frame| frame.samples).collect();
        assert!(sound.iter().enumerate().all(|(index, sample)| *sample == (index % 30_000) as i16));
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(frame.samples_at - frames[0].samples_at, (index * FRAME_SAMPLES) as u64);
            let capture = 5_000_000 + index as i64 * FRAME_MICROS;
            assert!((frame.capture.micros() as i64 - capture).abs() < 20, "{index}");
        }
    }

    #[test]
    fn a_pause_of_the_source_is_a_gap_in_rtp_time() {
        let mut gather = Gather::new();
        let before = gather.push(&chunk(1_000_000, 1440, 0));
        let after = gather.push(&chunk(4_003_000, 960, 0));
        assert_eq!((before.len(), after.len()), (1, 1));
        assert_eq!(after[0].capture, MonoTime(4_003_000));
        let gap = after[0].samples_at - before[0].samples_at;
        assert_eq!(gap, 150 * FRAME_SAMPLES as u64);
    }

    #[test]
    fn a_source_that_goes_back_in_time_never_takes_rtp_time_back() {
        let mut gather = Gather::new();
        let before = gather.push(&chunk(9_000_000, 960, 0));
        let after = gather.push(&chunk(1_000_000, 960, 0));
        assert_eq!(after[0].samples_at, before[0].samples_at + FRAME_SAMPLES as u64);
    }

    #[test]
    fn jitter_of_the_stamps_is_smoothed() {
        let mut gather = Gather::new();
        let mut worst = 0;
        for index in 0..200u64 {
            let late = [0, 15_000, 3_000, 22_000][index as usize % 4];
            for frame in gather.push(&chunk(1_000_000 + index * 20_000 + late, 960, 0)) {
                let off = frame.capture.micros() as i64 - (1_000_000 + index as i64 * 20_000);
                worst = worst.max((off - 10_000).abs());
            }
        }
        assert!(worst <= 10_001, "{worst}");
    }
}
