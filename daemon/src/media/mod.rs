//! Calls' media: one UDP socket a kind of call, many sessions on each, codecs, rate control. The only place that names
//! str0m and the codecs. `calls` opens sessions and feeds them what signalling brings; nothing here speaks to the network
//! otherwise or knows who is calling whom.

mod addresses;
mod ask;
pub mod audio_rx;
pub mod audio_tx;
mod candidates;
mod control;
mod delivery;
mod driver;
pub mod engine;
#[cfg(test)]
mod fake;
mod feedback;
mod figures;
mod gather;
pub mod hub;
mod impair;
mod listening;
pub mod params;
mod paths;
mod pipeline;
mod pulse;
mod queue;
mod scale;
pub mod session;
mod setup;
mod socket;
mod stun;
#[cfg(test)]
mod tests;
mod tunnel;
pub mod video_rx;
pub mod video_tx;

pub use ask::{Answer, Probe};
pub use delivery::Delivered;
pub use engine::Media;
pub use params::{
    AUDIO_PORT, Candidate, CandidateKind, ClockOffset, Impairment, MAX_CANDIDATES, MediaConfig, MediaListeners,
    MediaPorts, Reflector, ReflectorSource, Role, SessionEvent, SessionSpec, TransportParams, VIDEO_PORT, service_name,
};
pub use session::Session;
pub use stun::binding_request as stun_question;
