//! WAV: sound at 48 kHz, one channel, whatever the file holds.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ClipError;
use crate::media::SAMPLE_RATE;

const HEADER_BYTES: usize = 44;
/// Chunks before the sound that are skipped at most; a damaged file must not keep us reading.
const MAX_CHUNKS: usize = 64;
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
const MAX_CHANNELS: u16 = 8;
/// What the length fields of a WAV file can say.
const MAX_DATA_BYTES: u32 = u32::MAX - 64;

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Pcm16,
    Pcm24,
    Float32,
}

impl Encoding {
    const fn bytes(self) -> usize {
        match self {
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
            Self::Float32 => 4,
        }
    }
}

/// Reads sound as 48 kHz mono; other rates are resampled, several channels averaged.
pub struct WavReader {
    path: PathBuf,
    file: BufReader<File>,
    encoding: Encoding,
    channels: usize,
    start: u64,
    length: u64,
    left: u64,
    resampler: Option<Resampler>,
}

impl WavReader {
    /// Reads the header and checks that there is some sound.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let mut file = BufReader::new(File::open(path).map_err(ClipError::io("open", path))?);
        let bad = |why: &str| ClipError::unusable(path, why);
        let cut = |_| bad("its header is cut short");
        let mut riff = [0; 12];
        file.read_exact(&mut riff).map_err(cut)?;
        if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
            return Err(bad("it does not begin like a WAV file"));
        }
        let mut format = None;
        for _ in 0..MAX_CHUNKS {
            let mut head = [0; 8];
            file.read_exact(&mut head).map_err(|_| bad("it holds no sound"))?;
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"fmt " => format = Some(read_format(&mut file, length).map_err(|why| bad(&why))?),
                b"data" => {
                    let (encoding, channels, rate) = format.ok_or_else(|| bad("its header has no format"))?;
                    let start = file.stream_position().map_err(ClipError::io("read", path))?;
                    // Programs that write to a pipe, or were killed, leave 0 or the largest number: to the end then.
                    let length = if length == 0 || length > MAX_DATA_BYTES { u64::MAX } else { u64::from(length) };
                    let resampler = (rate != SAMPLE_RATE).then(|| Resampler::new(rate));
                    let path = path.to_owned();
                    let mut reader = Self { path, file, encoding, channels, start, length, left: length, resampler };
                    if reader.frame()?.is_none() {
                        return Err(ClipError::Empty { path: reader.path, what: "sound" });
                    }
                    reader.rewind()?;
                    return Ok(reader);
                }
                _ => {
                    // Chunks are padded to even lengths.
                    let skip = i64::from(length) + i64::from(length % 2);
                    file.seek_relative(skip).map_err(ClipError::io("read", path))?;
                }
            }
        }
        Err(bad("it holds no sound"))
    }

    /// Fills `out`; the number of samples is less than its length only at the end of the file.
    pub fn read(&mut self, out: &mut [i16]) -> Result<usize, ClipError> {
        for (filled, place) in out.iter_mut().enumerate() {
            let Some(sample) = self.sample()? else { return Ok(filled) };
            *place = sample;
        }
        Ok(out.len())
    }

    /// Fills `out` whole, from the start again after the end.
    pub fn read_looped(&mut self, out: &mut [i16]) -> Result<(), ClipError> {
        let mut filled = self.read(out)?;
        while filled < out.len() {
            self.rewind()?;
            let more = self.read(&mut out[filled..])?;
            if more == 0 {
                return Err(ClipError::Empty { path: self.path.clone(), what: "sound" });
            }
            filled += more;
        }
        Ok(())
    }

    pub fn rewind(&mut self) -> Result<(), ClipError> {
        self.file.seek(SeekFrom::Start(self.start)).map_err(ClipError::io("read", &self.path))?;
        self.left = self.length;
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<Option<i16>, ClipError> {
        let Some(mut resampler) = self.resampler.take() else {
            return Ok(self.frame()?.map(to_i16));
        };
        let result = loop {
            if let Some(sample) = resampler.pull() {
                break Ok(Some(to_i16(sample)));
            }
            match self.frame() {
                Ok(Some(sample)) => resampler.push(sample),
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        self.resampler = Some(resampler);
        result
    }

    /// One sample of the file, its channels averaged, from -1 to 1.
    fn frame(&mut self) -> Result<Option<f32>, ClipError> {
        let mut bytes = [0; 4 * MAX_CHANNELS as usize];
        let width = self.encoding.bytes();
        let frame = &mut bytes[..width * self.channels];
        let Some(left) = self.left.checked_sub(frame.len() as u64) else { return Ok(None) };
        match self.file.read_exact(frame) {
            Ok(()) => self.left = left,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(ClipError::io("read", &self.path)(error)),
        }
        let sum: f32 = frame
            .chunks_exact(width)
            .map(|sample| match (self.encoding, sample) {
                (Encoding::Pcm16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32768.0,
                (Encoding::Pcm24, &[a, b, c]) => (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0,
                (Encoding::Float32, &[a, b, c, d]) => finite(f32::from_le_bytes([a, b, c, d])),
                _ => 0.0,
            })
            .sum();
        Ok(Some(sum / self.channels as f32))
    }
}

fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

fn to_i16(sample: f32) -> i16 {
    // `as` saturates.
    (sample * 32768.0).round() as i16
}

fn read_format(file: &mut impl Read, length: u32) -> Result<(Encoding, usize, u32), String> {
    // 16, 18 or 40 in what programs write.
    if !(16..=256).contains(&length) {
        return Err("the format in its header is damaged".to_owned());
    }
    let mut bytes = vec![0; (length + length % 2) as usize];
    file.read_exact(&mut bytes).map_err(|_| "its header is cut short".to_owned())?;
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let rate = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    // WAVE_FORMAT_EXTENSIBLE (0xfffe) has the real tag at the start of its sub-format.
    let tag = if word(0) == 0xfffe && bytes.len() >= 26 { word(24) } else { word(0) };
    let (channels, bits) = (word(2), word(14));
    let encoding = match (tag, bits) {
        (1, 16) => Encoding::Pcm16,
        (1, 24) => Encoding::Pcm24,
        (3, 32) => Encoding::Float32,
        _ => {
            return Err(format!(
                "its samples are {bits} bit of kind {tag}; 16 or 24 bit PCM or 32 bit float is needed"
            ));
        }
    };
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(format!("it has {channels} channels; 1 to {MAX_CHANNELS} are supported"));
    }
    if !RATES.contains(&rate) {
        return Err(format!("its sample rate is {rate} Hz; 8,000 to 192,000 Hz is supported"));
    }
    Ok((encoding, usize::from(channels), rate))
}

/// Windowed-sinc interpolation from any rate to 48 kHz (Julius O. Smith, Digital Audio Resampling).
struct Resampler {
    /// Input samples for each output sample.
    step: f64,
    /// Position of the next output sample, in input samples, counted from `history[0]`.
    position: f64,
    history: std::collections::VecDeque<f32>,
    /// The kernel's half width in input samples; wider when the rate goes down, because the cut-off is lower then.
    half: usize,
    cutoff: f64,
}

const ZERO_CROSSINGS: f64 = 12.0;

impl Resampler {
    fn new(rate: u32) -> Self {
        let step = f64::from(rate) / f64::from(SAMPLE_RATE);
        let cutoff = (1.0 / step).min(1.0) * 0.97;
        let half = (ZERO_CROSSINGS / cutoff).ceil() as usize;
        let mut new = Self { step, position: 0.0, history: std::collections::VecDeque::new(), half, cutoff };
        new.reset();
        new
    }

    fn reset(&mut self) {
        self.history.clear();
        self.history.resize(self.half, 0.0);
        self.position = self.half as f64;
    }

    fn push(&mut self, sample: f32) {
        self.history.push_back(sample);
    }

    /// The next output sample, when there is enough input for it.
    fn pull(&mut self) -> Option<f32> {
        let whole = self.position.floor() as usize;
        if whole + self.half >= self.history.len() {
            return None;
        }
        let first = whole + 1 - self.half;
        let sum: f64 = self
            .history
            .range(first..whole + self.half + 1)
            .enumerate()
            .map(|(index, sample)| f64::from(*sample) * self.kernel((first + index) as f64 - self.position))
            .sum();
        self.position += self.step;
        let spent = (self.position.floor() as usize).saturating_sub(self.half);
        self.history.drain(..spent);
        self.position -= spent as f64;
        Some(sum as f32)
    }

    fn kernel(&self, distance: f64) -> f64 {
        use std::f64::consts::PI;
        let edge = distance / self.half as f64;
        if edge.abs() >= 1.0 {
            return 0.0;
        }
        let x = PI * distance * self.cutoff;
        let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
        sinc * self.cutoff * (0.5 + 0.5 * (PI * edge).cos())
    }
}

/// Writes 48 kHz mono sound, with a header that is right after each write.
pub struct WavWriter {
    path: PathBuf,
    file: File,
    data_bytes: u32,
    buffer: Vec<u8>,
}

impl WavWriter {
    /// Makes the file, or empties it, and writes a header for no sound.
    pub fn create(path: &Path) -> Result<Self, ClipError> {
        let mut file = File::create(path).map_err(ClipError::io("create", path))?;
        file.write_all(&header(0)).map_err(ClipError::io("write", path))?;
        Ok(Self { path: path.to_owned(), file, data_bytes: 0, buffer: Vec::new() })
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        u64::from(self.data_bytes) / 2
    }

    /// Adds samples: the sound first, then the header that counts them, so that a file left at any moment plays.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), ClipError> {
        self.buffer.clear();
        self.buffer.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        let total = u32::try_from(self.buffer.len()).ok().and_then(|more| self.data_bytes.checked_add(more));
        let total = total.filter(|total| *total <= MAX_DATA_BYTES);
        let total = total.ok_or_else(|| ClipError::Full { path: self.path.clone() })?;
        let at = HEADER_BYTES as u64 + u64::from(self.data_bytes);
        self.file.write_all_at(&self.buffer, at).map_err(ClipError::io("write", &self.path))?;
        self.file.write_all_at(&header(total), 0).map_err(ClipError::io("write", &self.path))?;
        self.data_bytes = total;
        Ok(())
    }
}

fn header(data_bytes: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RIFF");
    put(4, &(data_bytes + 36).to_le_bytes());
    put(8, b"WAVEfmt ");
    put(16, &16_u32.to_le_bytes());
    put(20, &1_u16.to_le_bytes());
    put(22, &1_u16.to_le_bytes());
    put(24, &SAMPLE_RATE.to_le_bytes());
    put(28, &(SAMPLE_RATE * 2).to_le_bytes());
    put(32, &2_u16.to_le_bytes());
    put(34, &16_u16.to_le_bytes());
    put(36, b"data");
    put(40, &data_bytes.to_le_bytes());
    header
}
