//! One call, as a client drives it.

use crate::call::{CallInfo, CallOptions, CallStats, Medium, StageReport, Switch};
use crate::failure::Failure;
use crate::ids::CallId;
use crate::media::{Size, VideoFormat};

use super::media::{AudioReceiver, AudioSender, VideoReceiver, VideoSender};
use super::{Feed, no_daemon};

/// What happens in a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEvent {
    /// The state or a property changed. The last event of a call is one whose state is `Ended`.
    Changed(CallInfo),
    /// A line of the timeline; those of the past come first.
    Stage(StageReport),
    /// Every second while the call is active, and once more before it ends.
    Stats(CallStats),
    /// Another client sends this medium now.
    SourceTaken(Medium),
}

/// What the encoder can use now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    pub size: Size,
    pub fps: f64,
}

/// A call at the daemon. Dropping every clone leaves the call going on.
#[derive(Clone)]
pub struct ClientCall {
    id: CallId,
}

impl ClientCall {
    pub fn id(&self) -> CallId {
        self.id
    }

    pub async fn info(&self) -> Result<CallInfo, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Every stage so far, then the present state, then what follows.
    pub async fn watch(&self) -> Result<Feed<CallEvent>, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn answer(&self, options: CallOptions) -> Result<(), Failure> {
        let _ = options;
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn decline(&self) -> Result<(), Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Ends the call for both sides, whatever its state.
    pub async fn hang_up(&self) -> Result<(), Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn set_microphone(&self, state: Switch) -> Result<(), Failure> {
        let _ = state;
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn set_camera(&self, state: Switch) -> Result<(), Failure> {
        let _ = state;
        std::future::ready(Err(no_daemon())).await
    }

    /// Becomes the call's picture source; the client that was it is told.
    pub async fn send_video(&self, format: VideoFormat) -> Result<VideoSender, Failure> {
        let _ = format;
        std::future::ready(Err(no_daemon())).await
    }

    /// Becomes the call's sound source; the client that was it is told.
    pub async fn send_audio(&self) -> Result<AudioSender, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn receive_video(&self) -> Result<VideoReceiver, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    pub async fn receive_audio(&self) -> Result<AudioReceiver, Failure> {
        std::future::ready(Err(no_daemon())).await
    }
}
