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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(bytes: &[u8]) -> Result<WavReader, ClipError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("clip.wav");
        std::fs::write(&path, bytes).expect("written");
        WavReader::open(&path)
    }

    fn made(spec: hound::WavSpec, frames: impl Iterator<Item = f32>) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a legal format");
        for sample in frames {
            for _ in 0..spec.channels {
                let written = match (spec.sample_format, spec.bits_per_sample) {
                    (hound::SampleFormat::Float, _) => writer.write_sample(sample),
                    (_, 24) => writer.write_sample((sample * 8_388_607.0) as i32),
                    _ => writer.write_sample((sample * 32767.0) as i16),
                };
                written.expect("written");
            }
        }
        writer.finalize().expect("written");
        bytes.into_inner()
    }

    fn tone(rate: u32, hz: f32, count: u32) -> impl Iterator<Item = f32> {
        (0..count).map(move |at| 0.5 * (std::f32::consts::TAU * hz * at as f32 / rate as f32).sin())
    }

    fn spec(rate: u32, channels: u16, bits: u16) -> hound::WavSpec {
        let sample_format = if bits == 32 { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
        hound::WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format }
    }

    fn all(reader: &mut WavReader) -> Vec<i16> {
        let mut samples = vec![0; 500_000];
        let count = reader.read(&mut samples).expect("readable");
        samples.truncate(count);
        samples
    }

    #[test]
    fn every_supported_format_gives_the_same_sound() {
        for (channels, bits) in [(1, 16), (2, 16), (2, 24), (1, 32), (6, 32)] {
            let mut reader = open(&made(spec(48_000, channels, bits), tone(48_000, 440.0, 4800))).expect("playable");
            let samples = all(&mut reader);
            assert_eq!(samples.len(), 4800, "{channels} channels, {bits} bit");
            for (sample, wanted) in samples.iter().zip(tone(48_000, 440.0, 4800)) {
                assert!((f32::from(*sample) / 32768.0 - wanted).abs() < 0.0002, "{channels} channels, {bits} bit");
            }
        }
    }

    #[test]
    fn other_rates_are_resampled_to_the_same_tone() {
        for rate in [8_000, 16_000, 44_100, 96_000] {
            let mut reader = open(&made(spec(rate, 1, 16), tone(rate, 440.0, rate / 2))).expect("playable");
            let samples = all(&mut reader);
            assert!((23_000..=24_000).contains(&samples.len()), "{rate}: {}", samples.len());
            let error = samples
                .iter()
                .zip(tone(48_000, 440.0, 24_000))
                .skip(1000)
                .take(20_000)
                .map(|(sample, wanted)| (f32::from(*sample) / 32768.0 - wanted).abs())
                .fold(0.0, f32::max);
            assert!(error < 0.01, "{rate} Hz: {error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_ends_cleanly_and_loops() {
        let whole = made(spec(48_000, 2, 16), tone(48_000, 440.0, 100));
        for length in 0..whole.len() {
            match open(&whole[..length]) {
                Ok(mut reader) => {
                    assert_eq!(all(&mut reader).len(), (length - HEADER_BYTES) / 4, "{length}");
                    reader.read_looped(&mut [0; 960]).expect("it loops");
                }
                Err(_) => assert!(length < HEADER_BYTES + 4, "{length}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_a_reason() {
        let change = |at: usize, bytes: &[u8]| {
            let mut wav = made(spec(48_000, 1, 16), tone(48_000, 440.0, 100));
            wav[at..at + bytes.len()].copy_from_slice(bytes);
            open(&wav).err().expect("it must be refused").to_string()
        };
        assert!(change(0, b"FORM").contains("begin"));
        assert!(change(22, &[0, 0]).contains("channels"));
        assert!(change(22, &[99, 0]).contains("channels"));
        assert!(change(24, &1_u32.to_le_bytes()).contains("sample rate"));
        assert!(change(34, &[8, 0]).contains("8 bit"));
        assert!(change(16, &0xffff_fff0_u32.to_le_bytes()).contains("damaged"));
        assert!(change(12, b"data").contains("no format"));
    }

    #[test]
    fn a_recording_plays_after_each_write() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("audio.wav");
        let mut writer = WavWriter::create(&path).expect("created");
        let mut wanted = Vec::new();
        for round in 0..5_i16 {
            let samples: Vec<i16> = (0..960).map(|at| at * 7 + round).collect();
            wanted.extend_from_slice(&samples);
            writer.write(&samples).expect("written");
            // Read while the writer is still open, as after a kill.
            assert_eq!(all(&mut WavReader::open(&path).expect("playable")), wanted);
            assert_eq!(hound::WavReader::open(&path).expect("playable").len() as usize, wanted.len());
        }
        assert_eq!(writer.samples(), 4800);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_damage_makes_the_reader_panic_or_hang(at in 0_usize..60, byte: u8, cut in 0_usize..300) {
            let mut bytes = made(spec(44_100, 2, 16), tone(44_100, 440.0, 50));
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Ok(mut reader) = open(&bytes) {
                for _ in 0..4 {
                    if reader.read_looped(&mut [0; 960]).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
