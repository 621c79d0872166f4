//! Which call this window sends for, kept in a file beside the daemon's socket, so that a window that was killed in
//! mid-call takes its camera and microphone back to that call, and to no other.

use std::path::{Path, PathBuf};

use kith_common::ids::CallId;

#[derive(Debug, Clone)]
pub struct Memory(Option<PathBuf>);

impl Memory {
    pub fn beside(socket: &Path) -> Self {
        Self(Some(socket.with_extension("window-call")))
    }

    /// Remembers nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn remember(&self, call: CallId) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = std::fs::write(path, call.to_string()) {
            tracing::debug!(%error, "the call is not remembered");
        }
    }

    pub fn forget(&self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }

    pub fn recall(&self) -> Option<CallId> {
        std::fs::read_to_string(self.0.as_ref()?).ok()?.trim().parse().ok()
    }
}
