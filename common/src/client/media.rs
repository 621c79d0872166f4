//! The ends of picture and sound that a client holds.

use std::time::Duration;

use crate::failure::Failure;
use crate::media::{Picture, Sound};
use crate::slot::Latest;

use super::call::Wanted;
use super::no_daemon;

/// Why a source or a receiver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    #[error("the call has ended")]
    CallEnded,
    #[error("another client sends this now")]
    Taken,
    #[error("the connection to the daemon was lost")]
    DaemonLost,
}

/// Sends pictures into a call. Dropping every clone stops sending.
#[derive(Clone)]
pub struct VideoSender {
    slot: Latest<Picture>,
}

impl VideoSender {
    /// Hands over the newest picture; one that still waits is replaced. Never waits.
    pub fn put(&self, picture: Picture) -> Result<(), Gone> {
        self.slot.put(picture);
        Err(Gone::DaemonLost)
    }

    /// Waits until sending is over.
    pub async fn ended(&self) -> Gone {
        std::future::ready(Gone::DaemonLost).await
    }

    /// The size and rate that the call can use now.
    pub async fn wanted(&self) -> Result<Wanted, Failure> {
        std::future::ready(Err(no_daemon())).await
    }

    /// Pictures that were replaced before they could be handed to the daemon.
    pub fn replaced(&self) -> u64 {
        self.slot.replaced()
    }
}

/// Sends sound into a call. Dropping every clone stops sending.
#[derive(Clone)]
pub struct AudioSender {}

impl AudioSender {
    /// Hands over a chunk; when the daemon is behind, the oldest that wait are dropped. Never waits.
    pub fn put(&self, sound: Sound) -> Result<(), Gone> {
        let _ = sound;
        Err(Gone::DaemonLost)
    }

    pub async fn ended(&self) -> Gone {
        std::future::ready(Gone::DaemonLost).await
    }
}

/// Receives the peer's pictures. Dropping every clone ends it.
#[derive(Clone)]
pub struct VideoReceiver {
    slot: Latest<Picture>,
}

impl VideoReceiver {
    /// The newest picture that has not been taken yet; waits for one. For one waiting task at a time.
    pub async fn next(&self) -> Result<Picture, Gone> {
        self.slot.take().await.map_err(|_| Gone::DaemonLost)
    }

    /// The same, waiting on a thread; `Ok(None)` when nothing came within `timeout`.
    pub fn next_blocking(&self, timeout: Duration) -> Result<Option<Picture>, Gone> {
        self.slot.take_blocking(timeout).map_err(|_| Gone::DaemonLost)
    }

    /// The newest picture, if one has come since the last was taken.
    pub fn try_next(&self) -> Option<Picture> {
        self.slot.try_take()
    }
}

/// Receives the peer's sound, 20 ms at a time. Dropping every clone ends it.
#[derive(Clone)]
pub struct AudioReceiver {}

impl AudioReceiver {
    /// The oldest chunk that waits; whoever does not take them loses the oldest.
    pub async fn next(&self) -> Result<Sound, Gone> {
        std::future::ready(Err(Gone::DaemonLost)).await
    }

    /// The same, waiting on a thread; `Ok(None)` when nothing came within `timeout`.
    pub fn next_blocking(&self, timeout: Duration) -> Result<Option<Sound>, Gone> {
        let _ = timeout;
        Err(Gone::DaemonLost)
    }

    pub fn try_next(&self) -> Option<Sound> {
        None
    }
}
