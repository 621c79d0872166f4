//! Pictures and sound as they pass between camera, daemon and screen.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::MonoTime;

/// Samples a second, everywhere in Kith.
pub const SAMPLE_RATE: u32 = 48_000;
/// The length of one packet of sound: 20 ms.
pub const FRAME_SAMPLES: usize = 960;
/// The longest chunk of sound that a client may hand over: 60 ms.
pub const MAX_CHUNK_SAMPLES: usize = 2880;
/// The shortest: 10 ms.
pub const MIN_CHUNK_SAMPLES: usize = 480;
/// Pictures beyond this are refused: 1080p fits, and a message that holds one stays under the RPC limit of 4 MiB.
pub const MAX_WIDTH: u16 = 1920;
pub const MAX_HEIGHT: u16 = 1088;
/// Anything smaller is no picture a camera makes, and some codecs refuse it.
pub const MIN_SIDE: u16 = 16;

/// Width and height in pixels, both even and within the limits above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Size {
    width: u16,
    height: u16,
}

/// Why a picture or a chunk of sound is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error(
        "picture size {width}x{height} is not usable: both sides must be even, at least {MIN_SIDE}, \
         and at most {MAX_WIDTH}x{MAX_HEIGHT}"
    )]
    Size { width: u32, height: u32 },
    #[error("an I420 picture of {size} takes {expected} bytes, got {got}")]
    PictureBytes { size: Size, expected: usize, got: usize },
    #[error(
        "a chunk of sound holds {MIN_CHUNK_SAMPLES} to {MAX_CHUNK_SAMPLES} samples of 16 bit (10 to 60 ms at 48 kHz), \
         got {bytes} bytes"
    )]
    ChunkBytes { bytes: usize },
}

impl Size {
    pub fn new(width: u32, height: u32) -> Result<Self, MediaError> {
        let bad = || MediaError::Size { width, height };
        let (w, h) = (u16::try_from(width).map_err(|_| bad())?, u16::try_from(height).map_err(|_| bad())?);
        let fits = w >= MIN_SIDE && h >= MIN_SIDE && w <= MAX_WIDTH && h <= MAX_HEIGHT;
        if !fits || !w.is_multiple_of(2) || !h.is_multiple_of(2) {
            return Err(bad());
        }
        Ok(Self { width: w, height: h })
    }

    pub const fn width(self) -> usize {
        self.width as usize
    }

    pub const fn height(self) -> usize {
        self.height as usize
    }

    pub const fn pixels(self) -> usize {
        self.width() * self.height()
    }

    /// Bytes of one I420 picture.
    pub const fn i420_bytes(self) -> usize {
        self.pixels() * 3 / 2
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Size {
    type Err = MediaError;

    /// `640x360`.
    fn from_str(text: &str) -> Result<Self, MediaError> {
        let bad = MediaError::Size { width: 0, height: 0 };
        let (width, height) = text.split_once('x').ok_or(bad.clone())?;
        Self::new(width.parse().map_err(|_| bad.clone())?, height.parse().map_err(|_| bad)?)
    }
}

/// What a picture source delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFormat {
    pub size: Size,
    /// 30000 is 30 pictures a second.
    pub fps_milli: u32,
}

impl VideoFormat {
    pub fn fps(&self) -> f64 {
        f64::from(self.fps_milli) / 1000.0
    }
}

/// One uncompressed picture: I420, BT.601 limited range, planes Y, U, V without padding. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub size: Size,
    /// When the camera took it, on this machine's clock.
    pub capture: MonoTime,
    /// Counts the source's pictures, those that were dropped too.
    pub sequence: u64,
    data: Bytes,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} #{} at {} us)", self.size, self.sequence, self.capture.0)
    }
}

impl Picture {
    pub fn new(size: Size, capture: MonoTime, sequence: u64, data: Bytes) -> Result<Self, MediaError> {
        if data.len() != size.i420_bytes() {
            return Err(MediaError::PictureBytes { size, expected: size.i420_bytes(), got: data.len() });
        }
        Ok(Self { size, capture, sequence, data })
    }

    /// All three planes, one after another.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    pub fn y(&self) -> &[u8] {
        &self.data[..self.size.pixels()]
    }

    pub fn u(&self) -> &[u8] {
        let y = self.size.pixels();
        &self.data[y..y + y / 4]
    }

    pub fn v(&self) -> &[u8] {
        let y = self.size.pixels();
        &self.data[y + y / 4..]
    }
}

/// A chunk of sound: 48 kHz, one channel, 16 bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// When the first sample was taken, on this machine's clock.
    pub capture: MonoTime,
    pub sequence: u64,
    pub samples: Vec<i16>,
}

impl Sound {
    /// From little-endian bytes, as they come over RPC.
    pub fn from_bytes(capture: MonoTime, sequence: u64, bytes: &[u8]) -> Result<Self, MediaError> {
        let samples = bytes.len() / 2;
        if !bytes.len().is_multiple_of(2) || !(MIN_CHUNK_SAMPLES..=MAX_CHUNK_SAMPLES).contains(&samples) {
            return Err(MediaError::ChunkBytes { bytes: bytes.len() });
        }
        let samples = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        Ok(Self { capture, sequence, samples })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_tiny_and_huge_pictures_are_refused() {
        for (width, height) in [(0, 0), (641, 360), (640, 361), (8, 8), (4096, 2160), (65_536, 65_536)] {
            assert!(Size::new(width, height).is_err(), "{width}x{height}");
        }
        assert!(Size::new(1280, 720).is_ok());
    }

    #[test]
    fn a_picture_that_does_not_fit_its_size_is_refused() {
        let size = "640x360".parse::<Size>().expect("a usual size");
        assert!(Picture::new(size, MonoTime(0), 0, Bytes::from(vec![0; size.i420_bytes() - 1])).is_err());
        assert!(Picture::new(size, MonoTime(0), 0, Bytes::from(vec![0; size.i420_bytes()])).is_ok());
    }

    #[test]
    fn sound_of_an_odd_length_is_refused() {
        for bytes in [0, 1, 959, 961, 6000] {
            assert!(Sound::from_bytes(MonoTime(0), 0, &vec![0; bytes]).is_err(), "{bytes}");
        }
    }
}
