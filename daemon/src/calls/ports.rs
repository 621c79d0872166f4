//! What calls need of the network and of media, as traits, so that tests can stand in for both.

use std::net::IpAddr;

use kith_common::call::{CallStats, Medium, Switch};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_common::target::Target;
use tokio::sync::{mpsc, watch};

use crate::media::{
    Candidate, ClockOffset, Media, MediaListeners, Session, SessionEvent, SessionSpec, TransportParams,
};
use crate::net::{Net, Stream};

/// How a connected peer is known.
#[derive(Debug, Default)]
pub(super) struct PeerFacts {
    pub name: String,
    /// Where its connection comes from.
    pub ip: Option<IpAddr>,
    /// How a tunnel to it goes; `None` when there is no connection.
    pub tunnel_path: Option<Path>,
    /// For the timeline.
    pub detail: String,
}

pub(super) trait Network: Clone + Send + Sync + 'static {
    fn peer_id(&self) -> PeerId;
    fn connect(&self, target: Target) -> impl Future<Output = Result<PeerId, Failure>> + Send;
    fn open_signal(&self, peer: PeerId) -> impl Future<Output = Result<Stream, Failure>> + Send;
    fn open_tunnel(&self, peer: PeerId) -> impl Future<Output = Result<Stream, Failure>> + Send;
    /// Nothing comes from this peer: what leads to it is asked for a sign of life.
    fn doubt(&self, peer: PeerId);
    fn facts(&self, peer: PeerId) -> PeerFacts;
}

pub(super) trait Engine: Clone + Send + Sync + 'static {
    type Session: MediaSession;
    /// How the sockets stand that sessions are opened on.
    fn listeners(&self) -> watch::Receiver<MediaListeners>;
    fn open(&self, spec: SessionSpec) -> impl Future<Output = Result<Self::Session, Failure>> + Send;
}

pub(super) trait MediaSession: Send + Sync + 'static {
    fn local(&self) -> TransportParams;
    fn connect(&self, remote: TransportParams);
    fn add_candidate(&self, candidate: Candidate);
    fn attach_tunnel(&self, stream: Stream);
    fn set_tunnel_path(&self, path: Path);
    fn set_clock_offset(&self, offset: ClockOffset);
    fn set_switch(&self, medium: Medium, state: Switch);
    fn set_peer_video_due(&self, pictures: u64);
    fn video_due(&self) -> u64;
    fn events(&mut self) -> mpsc::Receiver<SessionEvent>;
    fn stats(&self) -> watch::Receiver<CallStats>;
    fn close(&self) -> impl Future<Output = CallStats> + Send;
}

impl Network for Net {
    fn peer_id(&self) -> PeerId {
        Net::peer_id(self)
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        Net::connect(self, &target).await
    }

    async fn open_signal(&self, peer: PeerId) -> Result<Stream, Failure> {
        Net::open_signal(self, peer).await
    }

    async fn open_tunnel(&self, peer: PeerId) -> Result<Stream, Failure> {
        Net::open_tunnel(self, peer).await
    }

    fn doubt(&self, peer: PeerId) {
        Net::doubt(self, peer);
    }

    fn facts(&self, peer: PeerId) -> PeerFacts {
        let Some(link) = self.peer(peer) else { return PeerFacts::default() };
        let way = match link.path {
            Path::Lan => "connected on the local network",
            Path::Direct => "connected directly",
            Path::Relayed => "connected through a relay",
            Path::Tor => "connected through Tor",
        };
        PeerFacts {
            name: link.name,
            ip: link.remote.map(|remote| remote.ip()),
            tunnel_path: Some(link.tunnel_path),
            detail: way.to_owned(),
        }
    }
}

impl Engine for Media {
    type Session = Session;

    fn listeners(&self) -> watch::Receiver<MediaListeners> {
        Media::listeners(self)
    }

    async fn open(&self, spec: SessionSpec) -> Result<Session, Failure> {
        Media::open(self, spec).await
    }
}

impl MediaSession for Session {
    fn local(&self) -> TransportParams {
        Session::local(self)
    }

    fn connect(&self, remote: TransportParams) {
        Session::connect(self, remote);
    }

    fn add_candidate(&self, candidate: Candidate) {
        Session::add_candidate(self, candidate);
    }

    fn attach_tunnel(&self, stream: Stream) {
        Session::attach_tunnel(self, stream);
    }

    fn set_tunnel_path(&self, path: Path) {
        Session::set_tunnel_path(self, path);
    }

    fn set_clock_offset(&self, offset: ClockOffset) {
        Session::set_clock_offset(self, offset);
    }

    fn set_switch(&self, medium: Medium, state: Switch) {
        Session::set_switch(self, medium, state);
    }

    fn set_peer_video_due(&self, pictures: u64) {
        Session::set_peer_video_due(self, pictures);
    }

    fn video_due(&self) -> u64 {
        Session::video_due(self)
    }

    fn events(&mut self) -> mpsc::Receiver<SessionEvent> {
        Session::events(self)
    }

    fn stats(&self) -> watch::Receiver<CallStats> {
        Session::stats(self)
    }

    async fn close(&self) -> CallStats {
        Session::close(self).await
    }
}
