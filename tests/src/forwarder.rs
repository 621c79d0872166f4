//! A stretch of network between two programs of one machine: TCP connections that are carried on with a delay, at a rate.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

/// Read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// What may be on the way in one direction, in pieces: 256 MiB, more than any delay and rate here.
const ON_THE_WAY: usize = 4096;
/// What a line with a rate keeps waiting before it takes no more, as a router does. A timer that is late by a part of it leaves no gap
/// on the line.
const QUEUE: Duration = Duration::from_millis(10);

/// What the stretch is like, in each direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretch {
    pub delay: Duration,
    /// 0: as fast as it goes.
    pub bytes_per_second: u64,
}

/// Carries connections on until it is dropped.
pub struct Forwarder {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Forwarder {
    pub fn start(to: SocketAddr, stretch: Stretch) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            // The line is shared by all connections.
            let (there, back) = (Line::new(stretch), Line::new(stretch));
            while let Ok((near, _)) = listener.accept().await {
                let (there, back) = (there.clone(), back.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(carry(near_in, far_out, there), carry(far_in, near_out, back));
                });
            }
        });
        Ok(Self { address, _runtime: runtime })
    }
}

/// One direction: when it is free again.
#[derive(Clone)]
struct Line {
    stretch: Stretch,
    free: Arc<Mutex<Instant>>,
}

impl Line {
    fn new(stretch: Stretch) -> Self {
        Self { stretch, free: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits until the bytes have a place in the queue, and says when they arrive.
    async fn send(&self, bytes: usize) -> Instant {
        if self.stretch.bytes_per_second == 0 {
            return Instant::now() + self.stretch.delay;
        }
        let mut free = self.free.lock().await;
        let from = (*free).max(Instant::now());
        *free = from + Duration::from_secs_f64(bytes as f64 / self.stretch.bytes_per_second as f64);
        let sent = *free;
        drop(free);
        sleep_until(sent.checked_sub(QUEUE).unwrap_or(sent)).await;
        sent + self.stretch.delay
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) {
    let (going, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let Ok(count @ 1..) = from.read(&mut piece).await else { return };
            piece.truncate(count);
            let arrives = line.send(count).await;
            if going.send((arrives, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((arrives, piece)) = arriving.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
