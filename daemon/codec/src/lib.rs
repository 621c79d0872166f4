//! The codecs behind small safe types: AV1 encoders (`aom`, `rav1e`) behind one trait, the AV1 decoder `dav1d`, `opus`.
//!
//! An instance belongs to the thread that made it. Nothing here knows of calls, threads or the network. What comes from
//! a peer is hostile: decoders answer with errors, never with panics, and refuse sizes beyond `kith_common::media`.

#[cfg(feature = "aom")]
pub mod aom;
pub mod dav1d;
pub mod opus;
pub mod rav1e;

use kith_common::call::EncoderChoice;
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size};

/// A temporal unit larger than this is no picture of a call: 1080p noise at the best quality stays below.
pub const MAX_UNIT_BYTES: usize = 4 << 20;
/// What every AV1 temporal unit begins with. The packetizer drops it, as RTP does without; decoders want it back.
pub const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0x00];

/// Why a codec did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the {codec} {part} could not be started: {why}")]
    Start { codec: &'static str, part: &'static str, why: String },
    #[error("{codec} could not encode: {why}")]
    Encode { codec: &'static str, why: String },
    #[error("{codec} could not decode what the peer sent: {why}")]
    Decode { codec: &'static str, why: String },
    #[error("a picture of {got} was given to an encoder of {want}")]
    Size { want: Size, got: Size },
    #[error("the peer's picture is not usable: {0}")]
    Unusable(String),
    #[cfg(not(feature = "aom"))]
    #[error("this build has no {0} encoder")]
    Missing(&'static str),
}

/// Whether a picture must stand alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    Key,
    /// May refer to those before.
    Inter,
}

/// One coded picture, with the capture time of the picture that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub data: Vec<u8>,
    pub frame: Frame,
    pub capture: MonoTime,
}

/// What an encoder makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    pub bps: u64,
    pub fps: f64,
}

/// An AV1 encoder of one picture size. Another size takes another encoder; its first picture is a key frame, and the
/// decoder follows.
pub trait VideoEncoder {
    /// Takes a picture and returns what is finished: the same picture, an older one for encoders that hold some back,
    /// or none yet.
    fn encode(&mut self, picture: &Picture, frame: Frame) -> Result<Vec<Unit>, CodecError>;

    /// Returns what is still held back; the encoder is of no use afterwards.
    fn finish(&mut self) -> Vec<Unit>;

    /// Follows the target as well as the encoder can.
    fn set_target(&mut self, target: Target) -> Result<(), CodecError>;

    fn size(&self) -> Size;

    /// As it appears in the statistics.
    fn name(&self) -> &'static str;

    /// Pictures that are taken in before the first comes out.
    fn delay_pictures(&self) -> usize;

    /// Whether the work is done on the calling thread, so that its CPU time tells the cost.
    fn works_on_this_thread(&self) -> bool;
}

/// Makes an encoder. `Auto` takes libaom where it is built in: it needs a tenth of rav1e's time at equal quality and
/// holds nothing back (measured). Whether it is fast enough for a size is measured in the running call.
pub fn video_encoder(choice: EncoderChoice, size: Size, target: Target) -> Result<Box<dyn VideoEncoder>, CodecError> {
    match choice {
        #[cfg(feature = "aom")]
        EncoderChoice::Auto | EncoderChoice::Aom => Ok(Box::new(aom::Encoder::new(size, target)?)),
        #[cfg(not(feature = "aom"))]
        EncoderChoice::Aom => Err(CodecError::Missing("libaom")),
        #[cfg(not(feature = "aom"))]
        EncoderChoice::Auto => Ok(Box::new(rav1e::Encoder::new(size, target)?)),
        EncoderChoice::Rav1e => Ok(Box::new(rav1e::Encoder::new(size, target)?)),
    }
}

/// Cores that an encoder may use for one picture. With four and more, two halve the time of a large picture; with fewer
/// they only take each other's and the peer's time.
fn threads_for(size: Size, from_pixels: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores >= 4 && size.pixels() >= from_pixels { 2 } else { 1 }
}

/// Whether a temporal unit has a sequence header, as every key frame of a call does: decoding can begin here.
pub fn starts_sequence(unit: &[u8]) -> bool {
    const SEQUENCE_HEADER: u8 = 1;
    let mut rest = unit;
    while let Some((&header, tail)) = rest.split_first() {
        if header >> 3 & 0xf == SEQUENCE_HEADER {
            return true;
        }
        let (has_extension, has_size) = (header & 4 != 0, header & 2 != 0);
        let Some(tail) = tail.get(usize::from(has_extension)..) else { return false };
        if !has_size {
            return false;
        }
        // leb128; sizes of more than four bytes do not fit a unit.
        let mut size = 0usize;
        let mut used = 0;
        for (index, byte) in tail.iter().take(4).enumerate() {
            size |= usize::from(byte & 0x7f) << (7 * index);
            used = index + 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(next) = tail.get(used..).and_then(|tail| tail.get(size..)) else { return false };
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests;
