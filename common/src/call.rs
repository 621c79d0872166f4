//! Calls as clients see them. The state machine that drives them is in `kith-core`.

use serde::{Deserialize, Serialize};

use crate::chat::Before;
use crate::ids::{CallId, PeerId};
use crate::media::VideoFormat;
use crate::node::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// Sound only, on the voice socket (9998). A camera may join later, on the same socket.
    Voice,
    /// Sound and pictures, on the video socket (9996).
    Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outgoing,
    Incoming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    Dialing,
    Ringing,
    Connecting,
    Active,
    Ended,
}

/// The steps of a call's timeline, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Resolve,
    Dial,
    Signal,
    Ring,
    Accept,
    Path,
    FirstPacket,
    FirstFrame,
    Active,
}

impl Stage {
    /// In order.
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Dial,
        Self::Signal,
        Self::Ring,
        Self::Accept,
        Self::Path,
        Self::FirstPacket,
        Self::FirstFrame,
        Self::Active,
    ];
}

/// Why a call ended. The names are part of the promise in the command line's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// This side hung up, declined or cancelled.
    Local,
    /// The other side hung up or cancelled.
    Remote,
    Declined,
    Busy,
    Blocked,
    /// Never connected.
    Unreachable,
    /// Nobody answered, or a connected peer vanished.
    Timeout,
    Failed,
}

impl EndReason {
    pub const ALL: [Self; 8] = [
        Self::Local,
        Self::Remote,
        Self::Declined,
        Self::Busy,
        Self::Blocked,
        Self::Unreachable,
        Self::Timeout,
        Self::Failed,
    ];
}

/// How and why a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub reason: EndReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_stage: Option<Stage>,
    /// What happened, in a sentence; empty when a person ended it.
    pub detail: String,
    /// What to try; empty when there is nothing.
    pub advice: String,
}

impl Ending {
    pub fn by(reason: EndReason) -> Self {
        Self { reason, failed_stage: None, detail: String::new(), advice: String::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    Audio,
    Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    #[default]
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Udp,
    /// The tunnel: media over the reliable connection.
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderChoice {
    /// By measured speed: libaom where it is built in.
    #[default]
    Auto,
    Aom,
    Rav1e,
}

impl std::str::FromStr for EncoderChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "aom" => Ok(Self::Aom),
            "rav1e" => Ok(Self::Rav1e),
            other => Err(format!("unknown encoder {other:?}: expected auto, aom or rav1e")),
        }
    }
}

/// How to place or take a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOptions {
    /// `None` (answering): what was offered.
    pub kind: Option<CallKind>,
    pub encoder: EncoderChoice,
    pub microphone: Switch,
    pub camera: Switch,
    /// Placing: whether the call is written into the log. A trial is not.
    pub log: Switch,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { kind: None, encoder: EncoderChoice::Auto, microphone: Switch::On, camera: Switch::On, log: Switch::On }
    }
}

/// A call at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallInfo {
    pub id: CallId,
    /// `None` while the target of an outgoing call is being resolved.
    pub peer: Option<PeerId>,
    pub peer_name: String,
    pub direction: Direction,
    pub kind: CallKind,
    pub state: CallState,
    pub since_unix_ms: i64,
    pub path: Option<Path>,
    pub transport: Transport,
    pub microphone: Switch,
    pub camera: Switch,
    pub peer_microphone: Switch,
    pub peer_camera: Switch,
    /// What the peer's camera delivers, as it signalled.
    pub peer_format: Option<VideoFormat>,
    /// Set when the state is `Ended`.
    pub ending: Option<Ending>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageReport {
    pub stage: Stage,
    /// Microseconds since the call was placed or first rang here.
    pub at_us: u64,
    pub detail: String,
}

/// Seconds spent at a picture size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeSeconds {
    pub width: u16,
    pub height: u16,
    pub seconds: f64,
}

/// Figures of a call since it became active; the names are part of the promise in the command line's JSON.
/// Shares are fractions from 0 to 1, delays are one way in milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CallStats {
    pub duration_s: f64,
    pub path: Option<Path>,
    pub transport: Transport,
    pub rtt_ms: f64,
    pub loss: f64,
    /// Pictures that the peer's source captured.
    pub video_due: u64,
    pub video_sent: u64,
    pub video_received: u64,
    /// Captured here and not sent.
    pub video_dropped: u64,
    pub late_400ms: f64,
    pub audio_sent: u64,
    pub audio_received: u64,
    /// Sound made up: neither received, nor rebuilt from FEC or RED, nor silence by DTX.
    pub audio_concealed_ms: u64,
    /// Time without a new picture beyond 200 ms while pictures were due.
    pub frozen_ms: u64,
    pub skew_ms_p95: Option<f64>,
    pub delay_ms_p50: Option<f64>,
    pub delay_ms_p95: Option<f64>,
    pub delay_uncertainty_ms: Option<f64>,
    pub audio_delay_ms_p50: Option<f64>,
    pub audio_delay_ms_p95: Option<f64>,
    pub jitter_buffer_ms: f64,
    pub video_kbps_out: f64,
    pub video_kbps_in: f64,
    pub audio_kbps_out: f64,
    pub audio_kbps_in: f64,
    pub estimate_kbps: f64,
    /// Of the newest picture received.
    pub width: u16,
    pub height: u16,
    pub width_out: u16,
    pub height_out: u16,
    /// Pictures delivered in the last second.
    pub video_fps: f64,
    pub encoder: String,
    pub encode_ms_p95: f64,
    pub sizes: Vec<SizeSeconds>,
}

/// Calls in one answer of the log.
pub const MAX_LOG_PAGE: u32 = 500;
/// Calls in one report to whoever watches the log.
pub const MAX_LOG_NEWEST: u32 = 100;

/// A call that is over, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// Rises with each call that ends; pages of the log are cut by it.
    pub position: u64,
    pub id: CallId,
    /// `None`: nobody was found at `target`.
    pub peer: Option<PeerId>,
    /// The contact's name as it is now, or else what the peer called itself; empty: not known.
    pub peer_name: String,
    /// The address that was dialed, where there is no peer.
    pub target: String,
    pub direction: Direction,
    pub kind: CallKind,
    /// When it was placed or first rang.
    pub started_unix_ms: i64,
    pub ended_unix_ms: i64,
    /// By a person or by the policy.
    pub answered: bool,
    /// Of being active; 0: it never was.
    pub duration_s: f64,
    pub reason: EndReason,
    pub failed_stage: Option<Stage>,
    /// What happened, in a sentence; empty when a person ended it.
    pub detail: String,
    /// The last figures; `None`: media was never connected.
    pub stats: Option<CallStats>,
}

impl CallRecord {
    /// Somebody called, and nobody here answered or declined.
    pub fn is_missed(&self) -> bool {
        self.direction == Direction::Incoming && !self.answered && self.reason != EndReason::Local
    }

    /// What to dial to call the same one again.
    pub fn again(&self) -> Option<String> {
        let address = (!self.target.is_empty()).then(|| self.target.clone());
        self.peer.map(|peer| peer.to_string()).or(address)
    }
}

/// Which calls of the log are wanted. By default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only those with this peer, as a user names it; empty: with anybody.
    pub target: String,
    /// Only those in whose peer's name, id or address all these words are.
    pub text: String,
    pub before: Before,
    /// 0: as many as fit an answer.
    pub limit: u32,
}
