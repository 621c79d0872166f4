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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testsource::TestPicture;

    const HEADER: &str = "YUV4MPEG2 W32 H16 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG\n";

    fn open(bytes: &[u8]) -> Result<Y4mReader, ClipError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("clip.y4m");
        std::fs::write(&path, bytes).expect("written");
        // The open file outlives its name.
        Y4mReader::open(&path)
    }

    fn clip(pictures: u8) -> Vec<u8> {
        let mut bytes = HEADER.as_bytes().to_vec();
        for number in 0..pictures {
            bytes.extend_from_slice(b"FRAME\n");
            bytes.extend(std::iter::repeat_n(number, 32 * 16 * 3 / 2));
        }
        bytes
    }

    fn count(reader: &mut Y4mReader) -> Result<u64, ClipError> {
        let mut number = 0;
        while reader.next(number, MonoTime(0))?.is_some() {
            number += 1;
        }
        Ok(number)
    }

    #[test]
    fn a_clip_is_read_whole_and_loops() {
        let mut reader = open(&clip(3)).expect("a sound clip");
        assert_eq!(reader.format(), VideoFormat { size: Size::new(32, 16).expect("legal"), fps_milli: 29_970 });
        assert_eq!(count(&mut reader).expect("readable"), 3);
        let lumas: Vec<u8> =
            (0..7).map(|number| reader.next_looped(number, MonoTime(0)).expect("it loops").y()[0]).collect();
        assert_eq!(lumas, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_clip_that_is_cut_short_ends_after_its_last_whole_picture() {
        let whole = clip(2);
        let one = (whole.len() - HEADER.len()) / 2;
        for length in 0..whole.len() {
            let opened = open(&whole[..length]);
            if length < HEADER.len() + one {
                assert!(opened.is_err(), "{length}");
            } else {
                assert_eq!(count(&mut opened.expect("one picture is whole")).expect("no error"), 1, "{length}");
            }
        }
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_a_reason() {
        let cases = [
            ("YUV4MPEG2 W33 H16 F30:1\n", "even"),
            ("YUV4MPEG2 W8192 H4096 F30:1\n", "at most"),
            ("YUV4MPEG2 W99999999999 H16 F30:1\n", "width"),
            ("YUV4MPEG2 H16 F30:1\n", "even"),
            ("YUV4MPEG2 W32 H16 F0:0\n", "rate"),
            ("YUV4MPEG2 W32 H16 F1000:1\n", "rate"),
            ("YUV4MPEG2 W32 H16\n", "rate"),
            ("YUV4MPEG2 W32 H16 F30:1 C444\n", "4:2:0"),
            ("YUV4MPEG2 W32 H16 F30:1 C420p10\n", "8 bit"),
            ("RIFF\n", "begin"),
            ("", "begin"),
        ];
        for (header, expected) in cases {
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend_from_slice(&clip(1)[HEADER.len()..]);
            let error = open(&bytes).err().expect("it must be refused").to_string();
            assert!(error.contains(expected), "{header:?}: {error}");
        }
        assert!(open(&vec![b'x'; 100_000]).is_err());
    }

    #[test]
    fn a_damaged_picture_marker_is_a_typed_error() {
        let mut bytes = clip(2);
        let second = HEADER.len() + 6 + 32 * 16 * 3 / 2;
        bytes[second] = b'X';
        let mut reader = open(&bytes).expect("the first picture is whole");
        assert!(matches!(count(&mut reader), Err(ClipError::Unusable { .. })));
    }

    #[test]
    fn pictures_are_due_by_the_exact_ratio() {
        let rate = FrameRate::new(30_000, 1001).expect("usable");
        assert_eq!(rate.due_us(0), 0);
        assert_eq!(rate.due_us(30_000), 1_001_000_000);
        assert_eq!(FrameRate::from_milli(29_970), Some(rate));
        assert_eq!(FrameRate::from_milli(0), None);
        assert_eq!(FrameRate::from_milli(12_500).map(FrameRate::milli), Some(12_500));
        assert_eq!(rate.due_us(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_recording_is_whole_after_each_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("video.y4m");
        let size = Size::new(64, 48).expect("legal");
        let source = TestPicture::new(size);
        let mut writer = Y4mWriter::create(&path, size, FrameRate::new(25, 1).expect("usable")).expect("created");
        for number in 0..4 {
            let picture = source.draw(number, MonoTime(number));
            writer.write(&picture).expect("written");
            // Read while the writer is still open, as after a kill.
            let mut reader = Y4mReader::open(&path).expect("playable");
            let mut last = None;
            while let Some(read) = reader.next(number, MonoTime(number)).expect("sound") {
                last = Some(read);
            }
            assert_eq!(last, Some(picture));
        }
        assert_eq!(writer.written(), 4);
        let other = TestPicture::new(Size::new(32, 32).expect("legal")).draw(0, MonoTime(0));
        assert!(matches!(writer.write(&other), Err(ClipError::Size { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_damage_makes_the_reader_panic_or_hang(at in 0_usize..2000, byte: u8, cut in 0_usize..2400) {
            let mut bytes = clip(3);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.min(bytes.len()));
            if let Ok(mut reader) = open(&bytes) {
                for number in 0..8 {
                    if reader.next_looped(number, MonoTime(0)).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
