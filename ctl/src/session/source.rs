//! SRC: where the pictures and the sound that this side sends come from.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use kith_common::clip::{ClipError, FrameRate, WavReader, Y4mReader};
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, Picture, Size, Sound, VideoFormat};
use kith_common::testsource::{TestPicture, TestSound};

/// As typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoSource {
    Camera(Option<u32>),
    Test,
    None,
    File(PathBuf),
}

/// As typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioSource {
    Microphone(Option<String>),
    Test,
    None,
    File(PathBuf),
}

fn is_file(text: &str, extension: &str) -> bool {
    Path::new(text).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

impl FromStr for VideoSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "camera" => Ok(Self::Camera(None)),
            "test" => Ok(Self::Test),
            "none" => Ok(Self::None),
            _ if is_file(text, "y4m") => Ok(Self::File(text.into())),
            _ => match text.strip_prefix("camera:").map(str::parse) {
                Some(Ok(number)) => Ok(Self::Camera(Some(number))),
                _ => Err("pictures come from camera, camera:N, test, none or a .y4m file".to_owned()),
            },
        }
    }
}

impl FromStr for AudioSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mic" => Ok(Self::Microphone(None)),
            "test" => Ok(Self::Test),
            "none" => Ok(Self::None),
            _ if is_file(text, "wav") => Ok(Self::File(text.into())),
            _ => match text.strip_prefix("mic:") {
                Some(name) if !name.is_empty() => Ok(Self::Microphone(Some(name.to_owned()))),
                _ => Err("sound comes from mic, mic:NAME, test, none or a .wav file".to_owned()),
            },
        }
    }
}

/// Pictures that this process makes at their own rate.
pub enum Pictures {
    Test { picture: TestPicture, rate: FrameRate },
    File(Y4mReader),
}

impl Pictures {
    pub fn test(size: Size, rate: FrameRate) -> Self {
        Self::Test { picture: TestPicture::new(size), rate }
    }

    pub fn file(path: &Path) -> Result<Self, ClipError> {
        Y4mReader::open(path).map(Self::File)
    }

    pub fn format(&self) -> VideoFormat {
        match self {
            Self::Test { picture, rate } => VideoFormat { size: picture.size(), fps_milli: rate.milli() },
            Self::File(reader) => reader.format(),
        }
    }

    pub fn rate(&self) -> FrameRate {
        match self {
            Self::Test { rate, .. } => *rate,
            Self::File(reader) => reader.rate(),
        }
    }

    pub fn next(&mut self, number: u64, capture: MonoTime) -> Result<Picture, ClipError> {
        match self {
            Self::Test { picture, .. } => Ok(picture.draw(number, capture)),
            Self::File(reader) => reader.next_looped(number, capture),
        }
    }

    /// Leaves one out, because its time has passed.
    pub fn skip(&mut self) -> Result<(), ClipError> {
        match self {
            Self::Test { .. } => Ok(()),
            Self::File(reader) => reader.next_looped(0, MonoTime(0)).map(drop),
        }
    }
}

/// Sound that this process makes, 20 ms at a time.
pub enum Sounds {
    Test(TestSound),
    File(WavReader),
}

impl Sounds {
    pub fn test() -> Self {
        Self::Test(TestSound::new())
    }

    pub fn file(path: &Path) -> Result<Self, ClipError> {
        WavReader::open(path).map(Self::File)
    }

    pub fn next(&mut self, number: u64, capture: MonoTime) -> Result<Sound, ClipError> {
        match self {
            Self::Test(sound) => Ok(sound.next(capture)),
            Self::File(reader) => {
                let mut samples = vec![0; FRAME_SAMPLES];
                reader.read_looped(&mut samples)?;
                Ok(Sound { capture, sequence: number, samples })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_of_the_interface_is_understood() {
        assert_eq!("camera".parse(), Ok(VideoSource::Camera(None)));
        assert_eq!("camera:2".parse(), Ok(VideoSource::Camera(Some(2))));
        assert_eq!("test".parse(), Ok(VideoSource::Test));
        assert_eq!("none".parse(), Ok(VideoSource::None));
        assert_eq!("/a/b.Y4M".parse(), Ok(VideoSource::File("/a/b.Y4M".into())));
        assert_eq!("mic".parse(), Ok(AudioSource::Microphone(None)));
        assert_eq!("mic:USB Audio".parse(), Ok(AudioSource::Microphone(Some("USB Audio".into()))));
        assert_eq!("a.wav".parse(), Ok(AudioSource::File("a.wav".into())));
    }

    #[test]
    fn anything_else_is_refused_with_what_there_is() {
        for text in ["", "camera:", "camera:x", "a.mp4", "mic", "a.wav"] {
            assert!(text.parse::<VideoSource>().is_err_and(|error| error.contains(".y4m")), "{text}");
        }
        for text in ["", "mic:", "a.mp3", "camera", "a.y4m"] {
            assert!(text.parse::<AudioSource>().is_err_and(|error| error.contains(".wav")), "{text}");
        }
    }
}
