//! One call's media: its str0m instance, its paths, its codecs.

use kith_common::call::{CallStats, Medium, Switch};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use super::params::{Candidate, ClockOffset, SessionEvent, SessionSpec, TransportParams};

/// The handle of a session. Dropping it ends the session and all its threads.
pub struct Session {
    local: TransportParams,
    events: Option<mpsc::Receiver<SessionEvent>>,
    stats: watch::Receiver<CallStats>,
}

impl Session {
    pub(super) fn open(_spec: SessionSpec) -> Self {
        Self {
            local: TransportParams::default(),
            events: Some(mpsc::channel(1).1),
            stats: watch::channel(CallStats::default()).1,
        }
    }

    /// What the peer must be told, with the candidates known so far; later ones come as events.
    pub fn local(&self) -> TransportParams {
        self.local.clone()
    }

    /// Starts ICE, DTLS and the codecs. Only the first call counts.
    pub fn connect(&self, _remote: TransportParams) {}

    /// A candidate of the peer that came after its parameters.
    pub fn add_candidate(&self, _candidate: Candidate) {}

    /// Gives the session a reliable stream to the peer to fall back on. A newer one replaces it.
    pub fn attach_tunnel(&self, _stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {}

    pub fn set_clock_offset(&self, _offset: ClockOffset) {}

    /// Off: nothing of it is sent.
    pub fn set_switch(&self, _medium: Medium, _state: Switch) {}

    /// Pictures that the peer's source has captured so far, as it signals.
    pub fn set_peer_video_due(&self, _pictures: u64) {}

    /// Pictures that the source here has captured so far, to be signalled.
    pub fn video_due(&self) -> u64 {
        0
    }

    /// What happens; only the first caller gets it.
    pub fn events(&mut self) -> mpsc::Receiver<SessionEvent> {
        self.events.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Figures, renewed every second.
    pub fn stats(&self) -> watch::Receiver<CallStats> {
        self.stats.clone()
    }

    /// Ends the session and returns its final figures.
    #[allow(clippy::unused_async)]
    pub async fn close(&self) -> CallStats {
        self.stats.borrow().clone()
    }
}
