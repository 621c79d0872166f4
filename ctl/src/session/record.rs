//! `--record DIR`: `video.y4m` and `audio.wav` of what the other side sends, each delivered picture once, complete up
//! to the last moment whatever happens. A thread of its own writes, so that a slow disk delays no call.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use kith_common::clip::{ClipError, FrameRate, WavWriter, Y4mWriter};
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, SAMPLE_RATE, Size, Sound, VideoFormat};

use crate::stop::Stop;

/// What may wait for the disk: twelve seconds at 360p, three at 720p. What comes when a disk is further behind is lost,
/// and the recording says so.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// What waits for the signalled format: six seconds at 360p. It usually comes first, but by another way, and later where
/// the machine is busy; when it does not come, the pictures' own size counts and the rate is assumed.
const MAX_EARLY_BYTES: usize = 64 << 20;
const FALLBACK_FPS_MILLI: u32 = 30_000;
/// Sound is put where its capture time says, but smaller steps than this are the play-out adapting its speed.
const SOUND_TOLERANCE_SAMPLES: i64 = 1920;
/// A gap that would take longer than this to be over is a clock gone wrong, not silence: ten minutes.
const MAX_GAP_SAMPLES: i64 = 600 * SAMPLE_RATE as i64;

enum Item {
    Format(VideoFormat),
    Picture(Picture),
    Sound(Sound),
}

/// Hands what arrives to the writing thread. Clones share it; the files are closed with the last.
#[derive(Clone)]
pub struct Recorder {
    /// Bounded by `waiting`.
    queue: Sender<Item>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Format(_) => 0,
            Self::Picture(picture) => picture.data().len(),
            Self::Sound(sound) => 2 * sound.samples.len(),
        }
    }
}

/// What came of a recording.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub pictures: u64,
    pub samples: u64,
    /// Pictures and chunks of sound that the disk was too slow for.
    pub lost: u64,
}

pub type Writing = JoinHandle<Result<Recorded, ClipError>>;

impl Recorder {
    /// Makes the folder and the sound file at once, so that a place that cannot be written is known before the call.
    pub fn start(folder: &Path) -> Result<(Self, Writing), Stop> {
        let cannot = |error: std::io::Error| Stop::failed(format!("cannot record into {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let sound = WavWriter::create(&folder.join("audio.wav"))?;
        let (queue, items) = channel();
        let waiting = Arc::new(Waiting::default());
        let mut files = Files::new(folder, sound, Arc::clone(&waiting));
        let thread = std::thread::Builder::new().name("kithctl-record".into());
        let writing = thread.spawn(move || files.write_all(&items)).map_err(cannot)?;
        Ok((Self { queue, waiting }, writing))
    }

    /// What the sender signalled; only the first counts.
    pub fn format(&self, format: VideoFormat) {
        self.put(Item::Format(format));
    }

    pub fn picture(&self, picture: Picture) {
        self.put(Item::Picture(picture));
    }

    pub fn sound(&self, sound: Sound) {
        self.put(Item::Sound(sound));
    }

    fn put(&self, item: Item) {
        let bytes = item.bytes();
        if self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_WAITING_BYTES {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A thread that has ended has told why; its result is what `Writing` gives.
        let _ended = self.queue.send(item);
    }
}

struct Files {
    video_path: PathBuf,
    video: Option<Y4mWriter>,
    format: Option<VideoFormat>,
    early: Vec<Picture>,
    scaler: Scaler,
    sound: WavWriter,
    sound_start: Option<MonoTime>,
    waiting: Arc<Waiting>,
}

impl Files {
    fn new(folder: &Path, sound: WavWriter, waiting: Arc<Waiting>) -> Self {
        let video_path = folder.join("video.y4m");
        let scaler = Scaler::default();
        Self { video_path, video: None, format: None, early: Vec::new(), scaler, sound, sound_start: None, waiting }
    }

    fn write_all(&mut self, items: &Receiver<Item>) -> Result<Recorded, ClipError> {
        while let Ok(item) = items.recv() {
            self.waiting.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
            match item {
                Item::Format(format) => {
                    self.format.get_or_insert(format);
                }
                Item::Picture(picture) => self.picture(picture)?,
                Item::Sound(sound) => self.sound(&sound)?,
            }
        }
        self.settle_format();
        self.flush_early()?;
        let pictures = self.video.as_ref().map_or(0, Y4mWriter::written);
        Ok(Recorded { pictures, samples: self.sound.samples(), lost: self.waiting.lost.load(Ordering::Relaxed) })
    }

    fn picture(&mut self, picture: Picture) -> Result<(), ClipError> {
        self.early.push(picture);
        if self.early.iter().map(|picture| picture.data().len()).sum::<usize>() > MAX_EARLY_BYTES {
            self.settle_format();
        }
        self.flush_early()
    }

    /// Without a signalled format the first picture's size is taken.
    fn settle_format(&mut self) {
        if let (None, Some(first)) = (self.format, self.early.first()) {
            self.format = Some(VideoFormat { size: first.size, fps_milli: FALLBACK_FPS_MILLI });
        }
    }

    fn flush_early(&mut self) -> Result<(), ClipError> {
        let Some(format) = self.format else { return Ok(()) };
        for picture in std::mem::take(&mut self.early) {
            let writer = match &mut self.video {
                Some(writer) => writer,
                none => {
                    let rate = FrameRate::from_milli(format.fps_milli)
                        .or_else(|| FrameRate::from_milli(FALLBACK_FPS_MILLI))
                        .expect("30 pictures a second is a rate");
                    none.insert(Y4mWriter::create(&self.video_path, format.size, rate)?)
                }
            };
            writer.write(&self.scaler.fit(picture, format.size))?;
        }
        Ok(())
    }

    /// Puts sound where its capture time says: silence where none came, and nothing twice.
    fn sound(&mut self, sound: &Sound) -> Result<(), ClipError> {
        let start = *self.sound_start.get_or_insert(sound.capture);
        let place = sound.capture.micros_since(start).saturating_mul(i64::from(SAMPLE_RATE)) / 1_000_000;
        let gap = place.saturating_sub_unsigned(self.sound.samples());
        let mut skip = 0;
        if !(-MAX_GAP_SAMPLES..=MAX_GAP_SAMPLES).contains(&gap) {
            // Goes on from here by the new clock.
            let written_us = self.sound.samples() * 1_000_000 / u64::from(SAMPLE_RATE);
            self.sound_start = Some(sound.capture.offset(-i64::try_from(written_us).unwrap_or(0)));
        } else if gap > SOUND_TOLERANCE_SAMPLES {
            self.silence(usize::try_from(gap).unwrap_or(0))?;
        } else if gap < -SOUND_TOLERANCE_SAMPLES {
            skip = usize::try_from(gap.unsigned_abs()).unwrap_or(usize::MAX).min(sound.samples.len());
        }
        self.sound.write(&sound.samples[skip..])
    }

    fn silence(&mut self, mut samples: usize) -> Result<(), ClipError> {
        let second = [0; SAMPLE_RATE as usize];
        while samples > 0 {
            let now = samples.min(second.len());
            self.sound.write(&second[..now])?;
            samples -= now;
        }
        Ok(())
    }
}

/// Scales pictures to the size of the recording.
#[derive(Default)]
pub struct Scaler {
    resizer: Resizer,
}

impl Scaler {
    pub fn fit(&mut self, picture: Picture, size: Size) -> Picture {
        if picture.size == size {
            return picture;
        }
        let mut data = Vec::with_capacity(size.i420_bytes());
        let (from, to) = (picture.size, size);
        self.plane(picture.y(), (from.width(), from.height()), (to.width(), to.height()), &mut data);
        for chroma in [picture.u(), picture.v()] {
            let from = (from.width() / 2, from.height() / 2);
            self.plane(chroma, from, (to.width() / 2, to.height() / 2), &mut data);
        }
        Picture::new(size, picture.capture, picture.sequence, data.into()).expect("three planes of this size")
    }

    fn plane(&mut self, plane: &[u8], from: (usize, usize), to: (usize, usize), out: &mut Vec<u8>) {
        let side = |pixels: usize| u32::try_from(pixels).expect("sides are 16 bit");
        let source = ImageRef::new(side(from.0), side(from.1), plane, PixelType::U8);
        let mut scaled = Image::new(side(to.0), side(to.1), PixelType::U8);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let done = source.map(|source| self.resizer.resize(&source, &mut scaled, &options));
        debug_assert!(matches!(done, Ok(Ok(()))), "both planes have the size they say");
        out.extend_from_slice(scaled.buffer());
    }
}

#[cfg(test)]
mod tests {
    use kith_common::clip::{WavReader, Y4mReader};
    use kith_common::testsource::TestPicture;

    use super::*;

    fn format(size: &str, fps_milli: u32) -> VideoFormat {
        VideoFormat { size: size.parse().expect("legal"), fps_milli }
    }

    fn drawn(size: &str, number: u64) -> Picture {
        TestPicture::new(size.parse().expect("legal")).draw(number, MonoTime(number * 40_000))
    }

    fn sound(at_ms: u64, value: i16) -> Sound {
        Sound { capture: MonoTime(5_000_000 + at_ms * 1000), sequence: 0, samples: vec![value; 960] }
    }

    fn numbers(path: &Path) -> Vec<Option<u32>> {
        let mut reader = Y4mReader::open(path).expect("playable");
        std::iter::from_fn(|| reader.next(0, MonoTime(0)).expect("sound"))
            .map(|picture| TestPicture::read_sequence(&picture))
            .collect()
    }

    #[test]
    fn every_picture_is_recorded_once_at_the_signalled_size_and_rate() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (recorder, writing) = Recorder::start(&folder.path().join("new")).expect("started");
        // The first come before the format is known, and steps down in size happen.
        recorder.picture(drawn("320x180", 1));
        recorder.format(format("640x360", 25_000));
        recorder.picture(drawn("640x360", 2));
        recorder.format(format("1280x720", 30_000));
        recorder.picture(drawn("480x270", 3));
        drop(recorder);
        let recorded = writing.join().expect("no panic").expect("written");
        assert_eq!(recorded.pictures, 3);
        let path = folder.path().join("new/video.y4m");
        assert_eq!(Y4mReader::open(&path).expect("playable").format(), format("640x360", 25_000));
        assert_eq!(numbers(&path), [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn without_a_signalled_format_the_first_picture_decides() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (recorder, writing) = Recorder::start(folder.path()).expect("started");
        recorder.picture(drawn("320x180", 7));
        drop(recorder);
        writing.join().expect("no panic").expect("written");
        assert_eq!(numbers(&folder.path().join("video.y4m")), [Some(7)]);
    }

    #[test]
    fn sound_is_continuous_by_capture_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (recorder, writing) = Recorder::start(folder.path()).expect("started");
        for (at_ms, value) in [(0, 1), (20, 2), (1500, 3), (1521, 4), (1480, 5), (1544, 6)] {
            recorder.sound(sound(at_ms, value));
        }
        drop(recorder);
        let recorded = writing.join().expect("no panic").expect("written");
        let mut samples = vec![0; 100_000];
        let mut reader = WavReader::open(&folder.path().join("audio.wav")).expect("playable");
        let count = reader.read(&mut samples).expect("readable");
        assert_eq!(count as u64, recorded.samples);
        let at = |ms: usize| samples[ms * 48];
        assert_eq!([at(0), at(20), at(41), at(1499), at(1501), at(1521)], [1, 2, 0, 0, 3, 4]);
        // What was sent again is not there twice.
        assert!(samples[..count].iter().all(|sample| *sample != 5));
        assert_eq!(samples[count - 1], 6);
        assert!((1540..1580).contains(&(count / 48)), "{} ms", count / 48);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_known_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(Recorder::start(&file.join("below")).is_err());
    }
}
