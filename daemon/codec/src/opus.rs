//! Opus as calls use it: 48 kHz, one channel, 20 ms, speech with in-band error correction and silence suppression.

use ::opus as o;
use kith_common::media::{FRAME_SAMPLES, SAMPLE_RATE};

use super::CodecError;

const NAME: &str = "Opus";
/// Full band speech; with FEC and RED it stays far below what the smallest picture takes.
const BITRATE_BPS: i32 = 32_000;
/// FEC is worth its bits from the first lost packet on.
const MIN_LOSS_PERCENT: i32 = 5;
/// Beyond this the encoder spends so much on FEC that the sound itself suffers.
const MAX_LOSS_PERCENT: i32 = 30;
/// An Opus frame is at most 1275 bytes; larger packets hold several and are no packet of a call.
pub const MAX_PACKET_BYTES: usize = 1275 * 3;
/// A packet of one or two bytes says that there is only silence.
pub const SILENT_BYTES: usize = 2;
/// The mean square of -45 dBFS: nobody speaks below it. Louder sound is never suppressed, whatever Opus thinks it is.
const QUIET: f64 = 32_768.0 * 32_768.0 * 3.2e-5;

fn start_error(part: &'static str) -> impl Fn(o::Error) -> CodecError {
    move |error| CodecError::Start { codec: NAME, part, why: error.description().into() }
}

pub struct Encoder {
    encoder: o::Encoder,
    loss_percent: i32,
    dtx: bool,
}

impl Encoder {
    pub fn new() -> Result<Self, CodecError> {
        let error = start_error("encoder");
        let mut encoder = o::Encoder::new(SAMPLE_RATE, o::Channels::Mono, o::Application::Voip).map_err(&error)?;
        encoder.set_bitrate(o::Bitrate::Bits(BITRATE_BPS)).map_err(&error)?;
        encoder.set_inband_fec(true).map_err(&error)?;
        encoder.set_packet_loss_perc(MIN_LOSS_PERCENT).map_err(&error)?;
        encoder.set_dtx(true).map_err(&error)?;
        Ok(Self { encoder, loss_percent: MIN_LOSS_PERCENT, dtx: true })
    }

    /// The share of packets that get lost.
    pub fn set_loss(&mut self, loss: f64) -> Result<(), CodecError> {
        let percent = ((loss * 100.0).round() as i32).clamp(MIN_LOSS_PERCENT, MAX_LOSS_PERCENT);
        if percent != self.loss_percent {
            self.encoder.set_packet_loss_perc(percent).map_err(encode_error)?;
            self.loss_percent = percent;
        }
        Ok(())
    }

    /// Encodes 20 ms. A packet of [`SILENT_BYTES`] or less need not be sent.
    pub fn encode(&mut self, samples: &[i16; FRAME_SAMPLES]) -> Result<Vec<u8>, CodecError> {
        let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let quiet = energy / (FRAME_SAMPLES as f64) < QUIET;
        if quiet != self.dtx {
            self.encoder.set_dtx(quiet).map_err(encode_error)?;
            self.dtx = quiet;
        }
        self.encoder.encode_vec(samples, MAX_PACKET_BYTES).map_err(encode_error)
    }
}

fn encode_error(error: o::Error) -> CodecError {
    CodecError::Encode { codec: NAME, why: error.description().into() }
}

pub struct Decoder(o::Decoder);

impl Decoder {
    pub fn new() -> Result<Self, CodecError> {
        o::Decoder::new(SAMPLE_RATE, o::Channels::Mono).map(Self).map_err(start_error("decoder"))
    }

    /// How long a packet is, in samples; `None` when it is no Opus packet, or longer than 60 ms.
    pub fn duration(packet: &[u8]) -> Option<usize> {
        if packet.is_empty() || packet.len() > MAX_PACKET_BYTES {
            return None;
        }
        let samples = o::packet::get_nb_samples(packet, SAMPLE_RATE).ok()?;
        (1..=MAX_SAMPLES).contains(&samples).then_some(samples)
    }

    /// Decodes a packet, of any length up to 60 ms.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, CodecError> {
        let samples = Self::duration(packet).ok_or_else(|| decode_error("it is no packet of a call"))?;
        self.run(packet, samples, false)
    }

    /// Rebuilds the 20 ms before `next` from what `next` carries of them.
    pub fn rebuild(&mut self, next: &[u8]) -> Result<Vec<i16>, CodecError> {
        if Self::duration(next).is_none() {
            return Err(decode_error("it is no packet of a call"));
        }
        self.run(next, FRAME_SAMPLES, true)
    }

    /// Makes 20 ms up from what came before; after silence, comfort noise.
    pub fn conceal(&mut self) -> Result<Vec<i16>, CodecError> {
        self.run(&[], FRAME_SAMPLES, false)
    }

    fn run(&mut self, packet: &[u8], samples: usize, fec: bool) -> Result<Vec<i16>, CodecError> {
        let mut out = vec![0; samples];
        let decoded = self.0.decode(packet, &mut out, fec).map_err(|error| decode_error(error.description()))?;
        out.truncate(decoded);
        Ok(out)
    }
}

/// The longest packet that a call uses: 60 ms.
const MAX_SAMPLES: usize = 3 * FRAME_SAMPLES;

fn decode_error(why: &str) -> CodecError {
    CodecError::Decode { codec: NAME, why: why.into() }
}
