//! The sound encoder of one call.

use kith_common::call::Switch;
use kith_common::clock::MonoTime;
use tokio::sync::mpsc;

use super::hub::Hub;

/// One Opus packet of 20 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSound {
    pub data: Vec<u8>,
    pub capture: MonoTime,
    /// RTP time of the first sample, 48 kHz, without wrap-around. Follows the capture time: silence that is not sent
    /// and pauses of the source leave gaps.
    pub samples_at: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioTxStats {
    pub sent: u64,
    /// Packets of silence that were not sent (DTX).
    pub silent: u64,
    /// Did not fit into the session's queue.
    pub dropped: u64,
}

/// The handle of the encoder thread. Dropping it ends the thread.
pub struct AudioTx;

impl AudioTx {
    pub fn spawn(_hub: Hub, _microphone: Switch, _out: mpsc::Sender<EncodedSound>) -> Self {
        Self
    }

    /// The share of packets that the peer loses, for Opus' forward error correction.
    pub fn set_loss(&self, _loss: f64) {}

    /// Off: nothing is sent.
    pub fn set_microphone(&self, _microphone: Switch) {}

    pub fn stats(&self) -> AudioTxStats {
        AudioTxStats::default()
    }
}
