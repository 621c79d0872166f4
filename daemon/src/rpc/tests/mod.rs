//! Clients of every kind against a daemon with one rehearsed call.

mod driving;
mod filing;
mod hostile;
mod log;
mod streaming;
mod talking;

use std::path::PathBuf;
use std::time::Duration;

use kith_common::client::{Client, ClientCall};
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, Sound};
use kith_store::Database;

use super::RpcThread;
use super::rehearsal::serve_with_memory;
use crate::calls::rehearsal::Rehearsal;

/// Long enough for a loaded machine, short enough to fail.
const SOON: Duration = Duration::from_secs(20);

struct Stage {
    _home: tempfile::TempDir,
    socket: PathBuf,
    thread: Option<RpcThread>,
    call: Rehearsal,
    database: Database,
}

impl Stage {
    async fn set() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let socket = home.path().join("kithd.sock");
        let (thread, call, database) = serve_with_memory(&socket).await.expect("the daemon starts");
        Self { _home: home, socket, thread: Some(thread), call, database }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket).await.expect("the daemon listens")
    }

    async fn client_call(&self) -> ClientCall {
        self.client().await.call(self.call.handle().id()).await.expect("the call is there")
    }

    async fn stop(&mut self) {
        self.thread.take().expect("stopped once").shutdown().await;
    }
}

/// Fails instead of waiting for ever.
async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(SOON, what).await.expect("it happens soon")
}

fn picture(sequence: u64, width: u32, height: u32) -> Picture {
    let size = Size::new(width, height).expect("a usual size");
    let data = vec![sequence as u8; size.i420_bytes()];
    Picture::new(size, MonoTime::now(), sequence, data.into()).expect("it fits")
}

fn sound(sequence: u64) -> Sound {
    Sound { capture: MonoTime::now(), sequence, samples: vec![sequence as i16; 960] }
}

/// Megabytes that this process holds.
fn resident_mb() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    (pages * 4096) >> 20
}
