//! The plain values that describe one side of a media path. `calls` carries them over signalling; nothing here does I/O.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kith_common::call::{CallKind, EncoderChoice, Transport};
use kith_common::failure::Failure;
use kith_common::ids::CallId;
pub use kith_common::node::MediaPorts;
use kith_common::node::Path;
use kith_core::listener::{Begin, Status, TakenPort};

use super::hub::Hub;

pub use kith_core::clock_offset::ClockOffset;

/// The wanted ports when nothing else is configured.
pub const VIDEO_PORT: u16 = 9996;
pub const AUDIO_PORT: u16 = 9998;
/// A peer that offers more candidates than this is not describing one machine; the rest is ignored.
pub const MAX_CANDIDATES: usize = 24;

#[derive(Debug, Clone, Copy)]
pub struct MediaConfig {
    /// `None`: all addresses of the machine, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// 0: any free port.
    pub video_port: u16,
    pub audio_port: u16,
    pub video: Begin,
    pub audio: Begin,
    pub taken_port: TakenPort,
    pub impair: Option<Impairment>,
    /// What sessions use that ask for `Auto`.
    pub encoder: EncoderChoice,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            bind: None,
            video_port: VIDEO_PORT,
            audio_port: AUDIO_PORT,
            video: Begin::Running,
            audio: Begin::Running,
            taken_port: TakenPort::Wait,
            impair: None,
            encoder: EncoderChoice::Auto,
        }
    }
}

/// How the two media sockets stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaListeners {
    pub video: Status,
    pub audio: Status,
}

impl MediaListeners {
    pub fn of(&self, kind: CallKind) -> &Status {
        match kind {
            CallKind::Video => &self.video,
            CallKind::Voice => &self.audio,
        }
    }

    pub(super) fn of_mut(&mut self, kind: CallKind) -> &mut Status {
        match kind {
            CallKind::Video => &mut self.video,
            CallKind::Voice => &mut self.audio,
        }
    }
}

/// The service that carries calls of a kind.
pub const fn service_name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Video => "video",
        CallKind::Voice => "audio",
    }
}

/// A worse network, emulated in each direction at this node's media sockets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// One way.
    pub delay: Duration,
    /// `None`: unlimited. With a rate, a queue of 300 ms stands before it.
    pub rate_bps: Option<u64>,
}

/// Who began the call: decides the ICE and DTLS roles and the SSRCs, so the two sides must differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// ICE controlling, DTLS active.
    Caller,
    Callee,
}

/// What a session is opened with.
pub struct SessionSpec {
    pub call: CallId,
    pub kind: CallKind,
    pub role: Role,
    pub hub: Hub,
    pub encoder: EncoderChoice,
    /// The address that the signalling connection sees the peer at, if that is one; a loopback address here makes the
    /// loopback candidates known.
    pub lan_peer: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// An address of this machine.
    Host,
    /// What a connected peer sees the media socket at (a STUN answer).
    Observed,
    Relayed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub kind: CandidateKind,
    pub address: SocketAddr,
}

/// One side's end of the media path, as signalling carries it (wire.capnp, `TransportParams`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportParams {
    pub ice_ufrag: String,
    pub ice_pwd: String,
    /// `sha-256`.
    pub fingerprint_algorithm: String,
    pub fingerprint: Vec<u8>,
    pub candidates: Vec<Candidate>,
    /// Ready to carry media over a tunnel stream.
    pub tunnel: bool,
}

/// What a session reports, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The media path in use is this now: the first one, and each change.
    Path { path: Path, transport: Transport },
    /// The first packet of media from the peer.
    FirstPacket,
    /// The first picture (or, in a call without pictures, sound) of the peer that is ready for clients.
    FirstFrame,
    /// Nothing has arrived for a second, by any path.
    Stalled,
    /// After `Stalled`: packets again.
    Resumed,
    /// Nothing has arrived for ten seconds: the peer is gone. The session goes on listening until it is closed.
    Lost,
    /// The session is over.
    Failed(Failure),
    /// A candidate found after `open`; the peer is to be told.
    LocalCandidate(Candidate),
}

/// A connected peer that answers STUN on its media sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reflector {
    pub ip: IpAddr,
    pub ports: MediaPorts,
}

/// Whom to ask for this node's outside address, and who may ask this node: the wiring gives closures over the network.
#[derive(Clone)]
pub struct ReflectorSource {
    pub ask: Arc<dyn Fn() -> Vec<Reflector> + Send + Sync>,
    /// Is this the address of a connected peer?
    pub answer: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl Default for ReflectorSource {
    /// Asks nobody, answers nobody.
    fn default() -> Self {
        Self { ask: Arc::new(Vec::new), answer: Arc::new(|_| false) }
    }
}
