//! What microphone and speaker share: choosing a stream configuration, opening it, and watching over it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{BufferSize, ErrorKind, SampleFormat, StreamConfig, SupportedStreamConfigRange};
use kith_common::media::SAMPLE_RATE;

use crate::error::{CaptureError, clause};

/// 20 ms. The default of the sound server is seconds; below this, blocks get lost on a busy machine.
pub(crate) const BUFFER_FRAMES: u32 = 960;
/// How long opening a stream may take before the driver is given up.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream that calls back this long not once is dead, whether it says so or not.
pub(crate) const SILENT_FOR: Duration = Duration::from_secs(3);
/// Between two attempts to open a device again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Errors of one stream before it is built anew. Single underruns heal by themselves.
const ERRORS_BEFORE_REBUILD: u32 = 5;

/// How a stream does, written by its callbacks, read by the device's thread.
#[derive(Default)]
pub(crate) struct Health {
    errors: AtomicU32,
    dead: AtomicBool,
    callbacks: AtomicU32,
}

impl Health {
    pub(crate) fn called_back(&self) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn callbacks(&self) -> u32 {
        self.callbacks.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self, error: &cpal::Error) {
        match error.kind() {
            ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => {}
            ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated | ErrorKind::HostUnavailable => {
                self.dead.store(true, Ordering::Relaxed);
            }
            _ => {
                self.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn must_rebuild(&self) -> bool {
        self.dead.load(Ordering::Relaxed) || self.errors.load(Ordering::Relaxed) >= ERRORS_BEFORE_REBUILD
    }

    /// Called once a second: only errors that come together count.
    pub(crate) fn forgive(&self) {
        self.errors.store(0, Ordering::Relaxed);
    }
}

/// A format that Kith handles and the device can do at 48 kHz.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen {
    pub config: StreamConfig,
    pub format: SampleFormat,
    pub channels: usize,
}

/// Prefers floats to integers and few channels to many.
pub(crate) fn choose(ranges: impl Iterator<Item = SupportedStreamConfigRange>) -> Option<Chosen> {
    let rank = |range: &SupportedStreamConfigRange| {
        let format = match range.sample_format() {
            SampleFormat::F32 => 0,
            SampleFormat::I16 => 1,
            SampleFormat::I32 => 2,
            _ => return None,
        };
        let channels = range.channels();
        (1..=8).contains(&channels).then_some((u16::from(channels > 2), format, channels))
    };
    let best = ranges.filter(|range| range.contains_rate(SAMPLE_RATE)).filter_map(|range| Some((rank(&range)?, range)));
    let (_, range) = best.min_by_key(|(rank, _)| *rank)?;
    let config = StreamConfig {
        channels: range.channels(),
        sample_rate: SAMPLE_RATE,
        buffer_size: BufferSize::Fixed(BUFFER_FRAMES),
    };
    Some(Chosen { config, format: range.sample_format(), channels: usize::from(range.channels()) })
}

pub(crate) fn no_format(name: &str) -> CaptureError {
    CaptureError::SoundOpen { name: name.to_owned(), why: "it does not do 48 kHz".to_owned() }
}

pub(crate) fn refused(name: &str) -> impl Fn(cpal::Error) -> CaptureError {
    let name = name.to_owned();
    move |error| CaptureError::SoundOpen { name: name.clone(), why: clause(error) }
}

/// Opens a stream for recording that hands every block to `block` as mono floats, sample by sample.
pub(crate) fn record(
    device: &cpal::Device,
    chosen: Chosen,
    health: std::sync::Arc<Health>,
    mut block: impl FnMut(&mut dyn Iterator<Item = f32>) + Send + 'static,
) -> Result<cpal::Stream, cpal::Error> {
    let channels = chosen.channels;
    let on_error = {
        let health = std::sync::Arc::clone(&health);
        move |error| health.failed(&error)
    };
    let mix = move |values: &mut dyn Iterator<Item = f32>| {
        let mut sum = 0.0;
        for _ in 0..channels {
            sum += values.next()?;
        }
        Some(sum / channels as f32)
    };
    let stream = device.build_input_stream_raw(
        chosen.config,
        chosen.format,
        move |data, _| {
            health.called_back();
            if let Some(samples) = data.as_slice::<f32>() {
                let mut values = samples.iter().copied();
                block(&mut std::iter::from_fn(|| mix(&mut values)));
            } else if let Some(samples) = data.as_slice::<i16>() {
                let mut values = samples.iter().map(|sample| f32::from(*sample) / 32_768.0);
                block(&mut std::iter::from_fn(|| mix(&mut values)));
            } else if let Some(samples) = data.as_slice::<i32>() {
                let mut values = samples.iter().map(|sample| *sample as f32 / 2_147_483_648.0);
                block(&mut std::iter::from_fn(|| mix(&mut values)));
            }
        },
        on_error,
        Some(OPEN_TIMEOUT),
    )?;
    stream.play()?;
    Ok(stream)
}

/// Where a speaker's samples come from. Called in the driver's time: no lock, no allocation, no logging.
pub(crate) trait Player: Send + 'static {
    /// A block of this many samples begins.
    fn begin(&mut self, samples: usize);
    fn next(&mut self) -> f32;
}

/// Opens a stream for playing.
pub(crate) fn play(
    device: &cpal::Device,
    chosen: Chosen,
    health: std::sync::Arc<Health>,
    mut player: impl Player,
) -> Result<cpal::Stream, cpal::Error> {
    let channels = chosen.channels;
    let on_error = {
        let health = std::sync::Arc::clone(&health);
        move |error| health.failed(&error)
    };
    let stream = device.build_output_stream_raw(
        chosen.config,
        chosen.format,
        move |data, _| {
            health.called_back();
            player.begin(data.len() / channels);
            if let Some(samples) = data.as_slice_mut::<f32>() {
                samples.chunks_mut(channels).for_each(|frame| frame.fill(player.next()));
            } else if let Some(samples) = data.as_slice_mut::<i16>() {
                samples.chunks_mut(channels).for_each(|frame| frame.fill(to_i16(player.next())));
            } else if let Some(samples) = data.as_slice_mut::<i32>() {
                samples.chunks_mut(channels).for_each(|frame| frame.fill((player.next() * 2_147_483_520.0) as i32));
            }
        },
        on_error,
        Some(OPEN_TIMEOUT),
    )?;
    stream.play()?;
    Ok(stream)
}

/// Saturating, as the cast does.
pub(crate) fn to_i16(sample: f32) -> i16 {
    (sample * 32_767.0) as i16
}
