//! Calls' media: one UDP socket a kind of call, many sessions on each, codecs, rate control. The only place that names
//! str0m and the codecs. `calls` opens sessions and feeds them what signalling brings; nothing here speaks to the network
//! otherwise or knows who is calling whom.

pub mod audio_rx;
pub mod audio_tx;
mod delivery;
pub mod engine;
pub mod hub;
pub mod params;
mod queue;
pub mod session;
pub mod video_rx;
pub mod video_tx;

pub use delivery::Delivered;
pub use engine::Media;
pub use params::{
    AUDIO_PORT, Candidate, CandidateKind, ClockOffset, Impairment, MAX_CANDIDATES, MediaConfig, MediaPorts, Reflector,
    ReflectorSource, Role, SessionEvent, SessionSpec, TransportParams, VIDEO_PORT,
};
pub use session::Session;
