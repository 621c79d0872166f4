//! One stream on which the units of a transfer are asked for, many at a time. What to ask is decided elsewhere
//! (`kith_core::transfer`); here the answers are read, verified and written to the disk, and what came of each is told.
//!
//! Answers come in the order of the questions, so that each is known for what it is before a byte of it is read. While one is
//! written, the next is read. A peer that sends what was not asked for, or says another length, is not read any further.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_content::{ContentError, Partial};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::pipe::{self, PipeError};
use super::wire::{Data, Frame, Get, Status};
use crate::net::Stream;

/// Orders that wait for the stream: all units that may be asked for, and as many taken back.
pub(super) const ORDERS: usize = 4 * kith_core::transfer::MOST_ASKED;
/// Answers of one source that are being written, beside the one that is being read.
const WRITING: usize = 2;
/// Bytes that are told of at once where no pace is kept. A fast source would have the transfer decide what to ask thousands of
/// times a second otherwise; a slow one is heard of in between.
const STEP: usize = 256 * 1024;
const TOLD_EVERY: Duration = Duration::from_millis(20);
/// In which memory is counted.
const COUNTED: usize = 1024;
/// Threads that verify and write at a time. It is the processor that limits it, and others have work to do as well.
const WRITERS: usize = 2;
/// Memory for what is being received, of all transfers: a few units of 4 MiB, many of 1 MiB. What comes beyond waits at the peer.
const RECEIVING_BYTES: usize = 24 * 1024 * 1024;

/// What all transfers share.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    memory: Arc<Semaphore>,
    writers: Arc<Semaphore>,
}

impl Default for Bench {
    fn default() -> Self {
        Self { memory: Arc::new(Semaphore::new(RECEIVING_BYTES / COUNTED)), writers: Arc::new(Semaphore::new(WRITERS)) }
    }
}

#[derive(Debug)]
pub(super) enum Order {
    Ask { unit: u32, get: Get },
    Cancel { unit: u32 },
    Pace(Option<u64>),
}

/// What has happened on the stream.
#[derive(Debug)]
pub(super) enum News {
    Bytes {
        unit: u32,
        bytes: u64,
    },
    Received {
        unit: u32,
    },
    Stored {
        unit: u32,
    },
    Wrong {
        why: String,
    },
    Refused {
        unit: u32,
        status: Status,
    },
    /// Whether the peer is in a call.
    Calling(bool),
    /// This machine could not write it down.
    Disk(ContentError),
    /// The last of it. Nonsense: the peer has broken the rules.
    Gone {
        why: String,
        nonsense: bool,
    },
}

#[derive(Debug)]
struct Pending {
    id: u32,
    unit: u32,
    encoded_bytes: u64,
    cancelled: bool,
}

type Queue = Arc<Mutex<VecDeque<Pending>>>;

fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Pending>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the stream ends or nobody gives orders any more. `first_id`: the first that has not been used on it.
pub(super) async fn run<S: Copy + Send + 'static>(
    source: S,
    stream: Stream,
    first_id: u32,
    partial: Arc<Partial>,
    bench: Bench,
    mut orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<(S, News)>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let queue = Queue::default();
    let step = Arc::new(AtomicUsize::new(STEP));
    let mut desk = Desk {
        source,
        partial,
        bench,
        news: news.clone(),
        queue: Arc::clone(&queue),
        step: Arc::clone(&step),
        writing: JoinSet::new(),
    };
    let end = tokio::select! {
        end = write(writer, first_id, &queue, &step, &mut orders) => end,
        end = desk.read(reader) => end,
    };
    // What has been read is written down still.
    while desk.writing.join_next().await.is_some() {}
    let Err(error) = end else { return };
    let nonsense = error.is_nonsense();
    let _ = news.send((source, News::Gone { why: error.to_string(), nonsense })).await;
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    first_id: u32,
    queue: &Queue,
    step: &AtomicUsize,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), PipeError> {
    let mut next = first_id;
    while let Some(order) = orders.recv().await {
        let frame = match order {
            Order::Ask { unit, get } => {
                let id = next;
                next = next.wrapping_add(1);
                let encoded_bytes = kith_content::encoded_bytes(get.size_bytes, get.range());
                // Before it is written: the answer may be faster than this task.
                lock(queue).push_back(Pending { id, unit, encoded_bytes, cancelled: false });
                Frame::Get(Get { id, ..get })
            }
            Order::Cancel { unit } => {
                let mut queue = lock(queue);
                let Some(pending) = queue.iter_mut().rfind(|pending| pending.unit == unit && !pending.cancelled) else {
                    continue;
                };
                pending.cancelled = true;
                Frame::Cancel(pending.id)
            }
            Order::Pace(rate) => {
                // Whoever sets a pace measures how it is kept, read by read.
                step.store(if rate.is_some() { 1 } else { STEP }, Ordering::Relaxed);
                Frame::Pace(rate)
            }
        };
        pipe::write(&mut writer, &frame).await?;
    }
    Ok(())
}

struct Desk<S> {
    source: S,
    partial: Arc<Partial>,
    bench: Bench,
    news: mpsc::Sender<(S, News)>,
    queue: Queue,
    /// Bytes that are told of at once, or what has come within [`TOLD_EVERY`].
    step: Arc<AtomicUsize>,
    writing: JoinSet<()>,
}

impl<S: Copy + Send + 'static> Desk<S> {
    async fn read(&mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), PipeError> {
        let mut calling = false;
        loop {
            let data = match pipe::read(&mut reader).await? {
                Frame::Data(data) => data,
                Frame::Unknown => continue,
                _ => return Err(PipeError::Nonsense("an answer to no question")),
            };
            let Some(pending) = lock(&self.queue).pop_front().filter(|pending| pending.id == data.id) else {
                return Err(PipeError::Nonsense("an answer to no question"));
            };
            if data.calling != calling {
                calling = data.calling;
                self.tell(News::Calling(calling)).await?;
            }
            match data.status {
                Status::Ok => self.take(&mut reader, &data, pending).await?,
                Status::Cancelled if pending.cancelled => {}
                status if pending.cancelled => tracing::trace!(?status, "no answer to what was taken back"),
                status => self.tell(News::Refused { unit: pending.unit, status }).await?,
            }
        }
    }

    async fn take(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        data: &Data,
        pending: Pending,
    ) -> Result<(), PipeError> {
        let Pending { unit, encoded_bytes, cancelled, .. } = pending;
        if u64::from(data.encoded_bytes) != encoded_bytes {
            let why = format!("it sent {} bytes where {encoded_bytes} are right", data.encoded_bytes);
            self.tell(News::Wrong { why }).await?;
            return Err(PipeError::Nonsense("an answer of another length than was asked for"));
        }
        // Asked for here, so at most one unit.
        let length = data.encoded_bytes as usize;
        let memory = self.memory(length).await;
        let mut bytes = vec![0; length];
        let (mut at, mut told, mut told_at) = (0, 0, Instant::now());
        while at < length {
            at += pipe::read_some(reader, &mut bytes[at..]).await?;
            // The first of it says how long the way is.
            let enough = told == 0 || at == length || at - told >= self.step.load(Ordering::Relaxed);
            if enough || told_at.elapsed() >= TOLD_EVERY {
                if !cancelled {
                    self.tell(News::Bytes { unit, bytes: (at - told) as u64 }).await?;
                }
                (told, told_at) = (at, Instant::now());
            }
        }
        if cancelled {
            return Ok(());
        }
        self.tell(News::Received { unit }).await?;
        while self.writing.len() >= WRITING {
            self.writing.join_next().await;
        }
        self.writing.spawn(store(
            self.source,
            unit,
            bytes,
            Arc::clone(&self.partial),
            Arc::clone(&self.bench.writers),
            self.news.clone(),
            memory,
        ));
        Ok(())
    }

    async fn memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(bytes.div_ceil(COUNTED).min(RECEIVING_BYTES / COUNTED)).unwrap_or(1);
        // It is never closed.
        Arc::clone(&self.bench.memory).acquire_many_owned(count).await.ok()
    }

    async fn tell(&self, news: News) -> Result<(), PipeError> {
        let nobody = || PipeError::Ended(std::io::ErrorKind::BrokenPipe.into());
        self.news.send((self.source, news)).await.map_err(|_| nobody())
    }
}

/// Verifies and writes one unit, on a thread where that may take its time.
async fn store<S>(
    source: S,
    unit: u32,
    bytes: Vec<u8>,
    partial: Arc<Partial>,
    writers: Arc<Semaphore>,
    news: mpsc::Sender<(S, News)>,
    memory: Option<OwnedSemaphorePermit>,
) {
    let writer = writers.acquire_owned().await;
    let stored = tokio::task::spawn_blocking(move || {
        let stored = partial.store(unit, &bytes);
        drop((bytes, memory, writer));
        stored
    });
    let what = match stored.await {
        Ok(Ok(())) => News::Stored { unit },
        Ok(Err(ContentError::Lie(why))) => News::Wrong { why: why.to_owned() },
        Ok(Err(error)) => News::Disk(error),
        Err(error) => News::Disk(ContentError::Io {
            what: "a part could not be verified".to_owned(),
            error: std::io::Error::other(error),
        }),
    };
    let _ = news.send((source, what)).await;
}

/// Pieces that are told at most while one answer is read; what waits for the transfer's task is bounded by this.
pub(super) const NEWS: usize = 8 * (super::wire::MAX_GET_BYTES as usize / STEP);
