//! The picture encoder of one call.

use std::time::Duration;

use kith_common::call::{EncoderChoice, Switch};
use kith_common::clock::MonoTime;
use kith_common::media::Size;
use kith_core::keyframe::KeyReason;
use tokio::sync::mpsc;

use super::hub::Hub;

/// How to begin.
#[derive(Debug, Clone, Copy)]
pub struct VideoTxConfig {
    pub encoder: EncoderChoice,
    /// `Off` until [`VideoTx::set_camera`] says otherwise.
    pub camera: Switch,
    /// Until [`VideoTx::set_target`] says otherwise.
    pub start_bps: u64,
}

/// One AV1 temporal unit, ready for the packetizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPicture {
    pub data: Vec<u8>,
    pub key: bool,
    pub capture: MonoTime,
    pub size: Size,
    pub encode_time: Duration,
}

/// Figures so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoTxStats {
    pub sent: u64,
    /// Captured and not sent: replaced by newer ones, beyond the frame rate, or held back because of the queue.
    pub dropped: u64,
    pub key_frames: u64,
    pub encode_ms_p50: Option<f64>,
    pub encode_ms_p95: Option<f64>,
    pub size: Option<Size>,
    /// Empty before the first picture.
    pub encoder: String,
}

/// The handle of the encoder thread. Dropping it ends the thread.
pub struct VideoTx;

impl VideoTx {
    /// Starts the thread. Coded pictures go to `out`, whose capacity is the bound of what waits there.
    pub fn spawn(_hub: Hub, _config: VideoTxConfig, _out: mpsc::Sender<EncodedPicture>) -> Self {
        Self
    }

    /// The bitrate for pictures.
    pub fn set_target(&self, _bps: u64) {}

    /// The age of the oldest packet of pictures that has not left yet.
    pub fn set_queue_age(&self, _age: Option<Duration>) {}

    /// Asks for a key frame; requests are merged and budgeted.
    pub fn request_key(&self, _reason: KeyReason) {}

    /// Off: nothing is encoded. On again starts with a key frame.
    pub fn set_camera(&self, _camera: Switch) {}

    pub fn stats(&self) -> VideoTxStats {
        VideoTxStats::default()
    }
}
