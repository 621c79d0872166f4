//! YUV4MPEG2 (mjpegtools, yuv4mpeg(5)): a text header, then pictures one after another, with no lengths anywhere. A
//! recording is therefore complete after each picture.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::ClipError;
use crate::clock::MonoTime;
use crate::media::{Picture, Size, VideoFormat};

/// More than any program writes; bounds what a damaged file makes us read as one line.
const MAX_HEADER_BYTES: u64 = 1024;
const MAX_FRAME_LINE_BYTES: u64 = 256;
/// Faster than any camera or screen.
const MAX_FPS: u64 = 240;
const MAGIC: &str = "YUV4MPEG2";

/// Pictures a second as an exact ratio: 30000/1001 is NTSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

impl FrameRate {
    /// `None` unless the rate is above zero and at most 240 a second.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let usable = numerator > 0 && denominator > 0 && u64::from(numerator) <= MAX_FPS * u64::from(denominator);
        usable.then_some(Self { numerator, denominator })
    }

    /// From thousandths; 29970, 23976 and 59940 are taken as the NTSC rates that they stand for.
    pub fn from_milli(fps_milli: u32) -> Option<Self> {
        match fps_milli {
            23976 => Self::new(24000, 1001),
            29970 => Self::new(30000, 1001),
            59940 => Self::new(60000, 1001),
            whole if whole.is_multiple_of(1000) => Self::new(whole / 1000, 1),
            other => Self::new(other, 1000),
        }
    }

    pub fn milli(self) -> u32 {
        let milli = (u64::from(self.numerator) * 1000 + u64::from(self.denominator) / 2) / u64::from(self.denominator);
        u32::try_from(milli).unwrap_or(u32::MAX).max(1)
    }

    /// Microseconds from the start at which the picture of that number is due. Exact: nothing adds up.
    pub fn due_us(self, number: u64) -> u64 {
        let due = u128::from(number) * 1_000_000 * u128::from(self.denominator) / u128::from(self.numerator);
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Reads the pictures of a file one after another.
pub struct Y4mReader {
    path: PathBuf,
    file: BufReader<File>,
    size: Size,
    rate: FrameRate,
    /// Where the first picture begins.
    start: u64,
}

impl Y4mReader {
    /// Reads the header and checks that there is one whole picture.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let mut file = BufReader::new(File::open(path).map_err(ClipError::io("open", path))?);
        let header = read_line(&mut file, MAX_HEADER_BYTES).map_err(ClipError::io("read", path))?;
        let bad = |why: &str| ClipError::unusable(path, why);
        let header = header.ok_or_else(|| bad("it does not begin like a Y4M file"))?;
        let mut words = header.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(bad("it does not begin like a Y4M file"));
        }
        let (mut width, mut height, mut rate) = (0, 0, None);
        for word in words.filter(|word| !word.is_empty()) {
            let mut rest = word.chars();
            let (key, value) = (rest.next(), rest.as_str());
            match key {
                Some('W') => width = value.parse().map_err(|_| bad("its width is no number"))?,
                Some('H') => height = value.parse().map_err(|_| bad("its height is no number"))?,
                Some('F') => rate = Some(parse_rate(value).ok_or_else(|| bad("its picture rate is not usable"))?),
                // More than 8 bit is marked by a p and the depth: 420p10.
                Some('C') if !matches!(value, "420" | "420jpeg" | "420mpeg2" | "420paldv") => {
                    return Err(bad(&format!("its pixels are {value:.20}; only 4:2:0 with 8 bit is supported")));
                }
                _ => {}
            }
        }
        let size = Size::new(width, height).map_err(|error| bad(&error.to_string()))?;
        let rate = rate.ok_or_else(|| bad("its header has no picture rate"))?;
        let start = file.stream_position().map_err(ClipError::io("read", path))?;
        let mut reader = Self { path: path.to_owned(), file, size, rate, start };
        if reader.next_data()?.is_none() {
            return Err(ClipError::Empty { path: path.to_owned(), what: "whole picture" });
        }
        reader.rewind()?;
        Ok(reader)
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn rate(&self) -> FrameRate {
        self.rate
    }

    pub fn format(&self) -> VideoFormat {
        VideoFormat { size: self.size, fps_milli: self.rate.milli() }
    }

    /// The next picture; `None` after the last whole one.
    pub fn next(&mut self, sequence: u64, capture: MonoTime) -> Result<Option<Picture>, ClipError> {
        let Some(data) = self.next_data()? else { return Ok(None) };
        Ok(Some(Picture::new(self.size, capture, sequence, data).expect("the data was read by this size")))
    }

    /// The next picture, from the start again after the last.
    pub fn next_looped(&mut self, sequence: u64, capture: MonoTime) -> Result<Picture, ClipError> {
        if let Some(picture) = self.next(sequence, capture)? {
            return Ok(picture);
        }
        self.rewind()?;
        let path = self.path.clone();
        self.next(sequence, capture)?.ok_or(ClipError::Empty { path, what: "whole picture" })
    }

    pub fn rewind(&mut self) -> Result<(), ClipError> {
        self.file.seek(SeekFrom::Start(self.start)).map_err(ClipError::io("read", &self.path))?;
        Ok(())
    }

    fn next_data(&mut self) -> Result<Option<Bytes>, ClipError> {
        let line = read_line(&mut self.file, MAX_FRAME_LINE_BYTES).map_err(ClipError::io("read", &self.path))?;
        let Some(line) = line else { return Ok(None) };
        if line != "FRAME" && !line.starts_with("FRAME ") {
            return Err(ClipError::unusable(&self.path, "it is damaged: a picture does not begin where one should"));
        }
        let mut data = vec![0; self.size.i420_bytes()];
        match self.file.read_exact(&mut data) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(ClipError::io("read", &self.path)(error)),
        }
        Ok(Some(Bytes::from(data)))
    }
}

/// A line without its end; `None` when the file ends before the line does, empty when the line is longer than `limit`.
fn read_line(file: &mut impl BufRead, limit: u64) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    file.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        let cut = (line.len() as u64) + 1 < limit;
        return Ok((!cut).then(String::new));
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn parse_rate(text: &str) -> Option<FrameRate> {
    let (numerator, denominator) = text.split_once(':')?;
    FrameRate::new(numerator.parse().ok()?, denominator.parse().ok()?)
}

/// Writes a recording of one size and rate.
pub struct Y4mWriter {
    path: PathBuf,
    file: File,
    size: Size,
    /// The marker and one picture, so that each is written by one call.
    buffer: Vec<u8>,
    written: u64,
}

impl Y4mWriter {
    /// Makes the file, or empties it, and writes its header.
    pub fn create(path: &Path, size: Size, rate: FrameRate) -> Result<Self, ClipError> {
        let mut file = File::create(path).map_err(ClipError::io("create", path))?;
        let FrameRate { numerator, denominator } = rate;
        let (width, height) = (size.width(), size.height());
        let header = format!("{MAGIC} W{width} H{height} F{numerator}:{denominator} Ip A1:1 C420jpeg\n");
        file.write_all(header.as_bytes()).map_err(ClipError::io("write", path))?;
        Ok(Self { path: path.to_owned(), file, size, buffer: Vec::new(), written: 0 })
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Pictures so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds a picture; one of another size is refused, scaling is the caller's.
    pub fn write(&mut self, picture: &Picture) -> Result<(), ClipError> {
        if picture.size != self.size {
            return Err(ClipError::Size { expected: self.size, got: picture.size });
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(b"FRAME\n");
        self.buffer.extend_from_slice(picture.data());
        self.file.write_all(&self.buffer).map_err(ClipError::io("write", &self.path))?;
        self.written += 1;
        Ok(())
    }
}
