//! The sound decoder of one call.

use kith_common::clock::MonoTime;

use super::hub::Hub;
use super::video_rx::SharedLipSync;

/// One Opus packet from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundPacket {
    pub data: Vec<u8>,
    /// 48 kHz, without wrap-around.
    pub rtp_time: u64,
    /// On the local clock.
    pub capture: MonoTime,
    pub arrived: MonoTime,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioRxStats {
    pub received: u64,
    /// Sound made up: neither received, nor rebuilt from FEC or RED, nor silence by DTX.
    pub concealed_ms: u64,
    pub rebuilt_ms: u64,
    pub late: u64,
    /// How long sound waits in the jitter buffer.
    pub buffer_ms: f64,
}

/// The handle of the decoder thread. Dropping it ends the thread.
pub struct AudioRx;

impl AudioRx {
    pub fn spawn(_hub: Hub, _sync: SharedLipSync) -> Self {
        Self
    }

    pub fn push(&self, _packet: SoundPacket) {}

    pub fn stats(&self) -> AudioRxStats {
        AudioRxStats::default()
    }
}
