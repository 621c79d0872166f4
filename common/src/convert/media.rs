//! Pictures and sound.

use capnp::Error;

use super::buffers;
use crate::clock::MonoTime;
use crate::media::{Picture, Size, Sound, VideoFormat};
use crate::media_capnp::{picture, sound, video_format};

pub fn write_format(format: &VideoFormat, mut to: video_format::Builder<'_>) {
    to.set_width(side(format.size.width()));
    to.set_height(side(format.size.height()));
    to.set_frames_per_second_milli(format.fps_milli);
}

/// `None` for zeros, which say that there is no source.
pub fn read_format(from: video_format::Reader<'_>) -> capnp::Result<Option<VideoFormat>> {
    let (width, height) = (from.get_width(), from.get_height());
    if width == 0 && height == 0 {
        return Ok(None);
    }
    let size = Size::new(width.into(), height.into()).map_err(refused)?;
    Ok(Some(VideoFormat { size, fps_milli: from.get_frames_per_second_milli() }))
}

/// Copies the picture's bytes once, straight into the message.
pub fn write_picture(picture: &Picture, mut to: picture::Builder<'_>) {
    to.set_width(side(picture.size.width()));
    to.set_height(side(picture.size.height()));
    to.set_capture_monotonic_micros(picture.capture.micros());
    to.set_sequence(picture.sequence);
    let bytes = picture.data();
    // A picture is at most 3.2 MB, see `MAX_WIDTH` and `MAX_HEIGHT`.
    to.init_i420(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).copy_from_slice(bytes);
}

/// Refuses a picture that does not fit its own description.
pub fn read_picture(from: picture::Reader<'_>) -> capnp::Result<Picture> {
    let size = Size::new(from.get_width().into(), from.get_height().into()).map_err(refused)?;
    let bytes = from.get_i420()?;
    if bytes.len() != size.i420_bytes() {
        // Before the copy.
        let (expected, got) = (size.i420_bytes(), bytes.len());
        return Err(refused(crate::media::MediaError::PictureBytes { size, expected, got }));
    }
    let capture = MonoTime(from.get_capture_monotonic_micros());
    Picture::new(size, capture, from.get_sequence(), buffers::copy(bytes)).map_err(refused)
}

pub fn write_sound(sound: &Sound, mut to: sound::Builder<'_>) {
    to.set_capture_monotonic_micros(sound.capture.micros());
    to.set_sequence(sound.sequence);
    // At most 60 ms.
    let pcm = to.init_pcm(u32::try_from(sound.samples.len() * 2).unwrap_or(u32::MAX));
    for (to, sample) in pcm.chunks_exact_mut(2).zip(&sound.samples) {
        to.copy_from_slice(&sample.to_le_bytes());
    }
}

/// Refuses a chunk of an odd or unusual length.
pub fn read_sound(from: sound::Reader<'_>) -> capnp::Result<Sound> {
    let capture = MonoTime(from.get_capture_monotonic_micros());
    Sound::from_bytes(capture, from.get_sequence(), from.get_pcm()?).map_err(refused)
}

/// Sides of a `Size` fit 16 bits.
fn side(pixels: usize) -> u16 {
    u16::try_from(pixels).unwrap_or(u16::MAX)
}

fn refused(error: crate::media::MediaError) -> Error {
    Error::failed(error.to_string())
}
