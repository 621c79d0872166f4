//! Ctrl-C and SIGTERM: asks to end cleanly, never ends the process by itself.

use kith_common::client::Feed;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stop::Stop;

pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    pub fn new() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|error| Stop::failed(format!("cannot listen for signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next request to end.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The next report; `None`: there are no more, or somebody has asked to end.
    pub async fn or_next<T>(&mut self, feed: &mut Feed<T>) -> Result<Option<T>, Stop> {
        tokio::select! {
            report = feed.next() => Ok(report.transpose()?),
            () = self.asked() => Ok(None),
        }
    }
}
