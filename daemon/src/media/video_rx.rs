//! The picture decoder of one call.

use std::sync::{Arc, Mutex};

use kith_common::clock::MonoTime;
use kith_common::media::Size;
use kith_core::sync::LipSync;
use tokio::sync::Notify;

use super::hub::Hub;

/// Shared by the picture and the sound receiver of a call.
pub type SharedLipSync = Arc<Mutex<LipSync>>;

/// One temporal unit from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedIn {
    pub data: Vec<u8>,
    /// On the local clock.
    pub capture: MonoTime,
    /// Nothing is missing between this and the one before.
    pub contiguous: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoRxStats {
    /// Temporal units that came.
    pub received: u64,
    pub decoded: u64,
    /// Not shown: undecodable, without their reference, or too many waiting.
    pub dropped: u64,
    pub errors: u64,
    pub key_requests: u64,
    pub decode_ms_p95: Option<f64>,
    /// Of the newest picture.
    pub size: Option<Size>,
}

/// The handle of the decoder thread. Dropping it ends the thread.
pub struct VideoRx {
    key_wanted: Arc<Notify>,
}

impl VideoRx {
    pub fn spawn(_hub: Hub, _sync: SharedLipSync) -> Self {
        Self { key_wanted: Arc::new(Notify::new()) }
    }

    pub fn push(&self, _unit: EncodedIn) {}

    /// Rings when only a key frame helps; the session then sends a PLI.
    pub fn key_wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.key_wanted)
    }

    pub fn stats(&self) -> VideoRxStats {
        VideoRxStats::default()
    }
}
