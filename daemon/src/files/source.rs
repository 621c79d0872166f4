//! One stream on which the units of a transfer are asked for, many at a time. What to ask is decided elsewhere
//! (`kith_core::transfer`); here the answers are read, verified and written to the disk, and what came of each is told.
//!
//! Answers come in the order of the questions, so that each is known for what it is before a byte of it is read. While one is
//! written, the next is read. A peer that sends what was not asked for, or says another length, is not read any further.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_content::{ContentError, Partial};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::buffers::{Buffer, Buffers};
use super::pipe;
use super::wire::{Data, Frame, Get, Status};
use crate::net::Stream;
use crate::net::frames::FrameError;

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
/// Memory for what is being received, of all transfers: three units of 4 MiB with their proofs, twelve of 1 MiB. What comes beyond
/// waits at the peer.
const RECEIVING_BYTES: usize = 13 * 1024 * 1024;

/// While others wait for memory, a source that has sent at one answer for so long and has come to less than this rate is ended: a
/// few of them would have all of it.
const PATIENCE: Duration = Duration::from_secs(10);
const LEAST_RATE: u64 = 64 * 1024;
/// Of what a source was told to send: it need not keep up with that to be left alone.
const LEAST_PART: u64 = 4;
/// It sends as fast as it can.
const NO_PACE: u64 = u64::MAX;

/// What all transfers share.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    memory: Arc<Semaphore>,
    /// Sources that are not read because there is no memory.
    waiting: Arc<AtomicUsize>,
    writers: Arc<Semaphore>,
    buffers: Buffers,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            memory: Arc::new(Semaphore::new(RECEIVING_BYTES / COUNTED)),
            waiting: Arc::default(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            buffers: Buffers::default(),
        }
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether so little of an answer has come in that time that it keeps others from theirs.
fn trickles(received: usize, since: Duration, pace: u64) -> bool {
    let least = LEAST_RATE.min(pace / LEAST_PART);
    since >= PATIENCE && (received as u64) < least.saturating_mul(since.as_secs())
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
    /// Whether it is not read, because others have all the memory.
    Held(bool),
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
    /// It has sent next to nothing, and others wait.
    Trickles,
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
    let pace = Arc::new(AtomicU64::new(NO_PACE));
    let mut desk = Desk {
        source,
        partial,
        bench,
        news: news.clone(),
        queue: Arc::clone(&queue),
        pace: Arc::clone(&pace),
        writing: JoinSet::new(),
    };
    let end = tokio::select! {
        end = write(writer, first_id, &queue, &pace, &mut orders) => end,
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
    pace: &AtomicU64,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), FrameError> {
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
                pace.store(rate.unwrap_or(NO_PACE), Ordering::Relaxed);
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
    /// Bytes a second that it was told to send at the most.
    pace: Arc<AtomicU64>,
    writing: JoinSet<()>,
}

impl<S: Copy + Send + 'static> Desk<S> {
    async fn read(&mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), FrameError> {
        let mut calling = false;
        loop {
            let data = match pipe::read(&mut reader).await? {
                Frame::Data(data) => data,
                Frame::Unknown => continue,
                _ => return Err(FrameError::Nonsense("an answer to no question")),
            };
            let Some(pending) = lock(&self.queue).pop_front().filter(|pending| pending.id == data.id) else {
                return Err(FrameError::Nonsense("an answer to no question"));
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
    ) -> Result<(), FrameError> {
        let Pending { unit, encoded_bytes, cancelled, .. } = pending;
        if u64::from(data.encoded_bytes) != encoded_bytes {
            let why = format!("it sent {} bytes where {encoded_bytes} are right", data.encoded_bytes);
            self.tell(News::Wrong { why }).await?;
            return Err(FrameError::Nonsense("an answer of another length than was asked for"));
        }
        // Asked for here, so at most one unit.
        let length = data.encoded_bytes as usize;
        let memory = self.memory(length).await?;
        let mut bytes = self.bench.buffers.take(length);
        bytes.resize(length, 0);
        let began = Instant::now();
        let (mut at, mut told, mut told_at) = (0, 0, began);
        while at < length {
            at += pipe::read_some(reader, &mut bytes[at..]).await?;
            // The first of it says how long the way is.
            let pace = self.pace.load(Ordering::Relaxed);
            // Whoever sets a pace measures how it is kept, read by read.
            let step = if pace == NO_PACE { STEP } else { 1 };
            let enough = told == 0 || at == length || at - told >= step;
            if enough || told_at.elapsed() >= TOLD_EVERY {
                if !cancelled {
                    self.tell(News::Bytes { unit, bytes: (at - told) as u64 }).await?;
                }
                (told, told_at) = (at, Instant::now());
            }
            if self.bench.waiting.load(Ordering::Relaxed) > 0 && trickles(at, began.elapsed(), pace) {
                self.tell(News::Trickles).await?;
                return Err(FrameError::Ended(std::io::ErrorKind::TimedOut.into()));
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

    async fn memory(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, FrameError> {
        let count = u32::try_from(bytes.div_ceil(COUNTED).min(RECEIVING_BYTES / COUNTED)).unwrap_or(1);
        let all = Arc::clone(&self.bench.memory);
        if let Ok(memory) = Arc::clone(&all).try_acquire_many_owned(count) {
            return Ok(Some(memory));
        }
        self.tell(News::Held(true)).await?;
        let waiting = Waiting::new(&self.bench.waiting);
        // It is never closed.
        let memory = all.acquire_many_owned(count).await.ok();
        drop(waiting);
        self.tell(News::Held(false)).await?;
        Ok(memory)
    }

    async fn tell(&self, news: News) -> Result<(), FrameError> {
        let nobody = || FrameError::Ended(std::io::ErrorKind::BrokenPipe.into());
        self.news.send((self.source, news)).await.map_err(|_| nobody())
    }
}

/// Verifies and writes one unit, on a thread where that may take its time.
async fn store<S>(
    source: S,
    unit: u32,
    bytes: Buffer,
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

#[cfg(test)]
mod tests {
    use kith_content::{Layout, Provide as _, ServedBytes};
    use tokio::io::AsyncWriteExt as _;

    use super::super::wire;
    use super::*;

    #[tokio::test]
    async fn a_source_that_waits_for_memory_says_so_and_goes_on() {
        let served = ServedBytes::new(vec![7; 100_000]);
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::file(served.hash(), served.size()).expect("it is short");
        let (partial, _) = Partial::create_or_open(folder.path(), served.hash(), layout).expect("it can be made");
        let bench = Bench::default();
        let all = u32::try_from(RECEIVING_BYTES / COUNTED).expect("few");
        let others = Arc::clone(&bench.memory).acquire_many_owned(all).await.expect("it is free");
        let (near, mut far) = tokio::io::duplex(1024 * 1024);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (news, mut told) = mpsc::channel(NEWS);
        tokio::spawn(run(1_u32, Box::new(near), 0, Arc::new(partial), bench.clone(), inbox, news));
        let get = Get { id: 0, hash: served.hash(), copy: false, size_bytes: served.size(), start: 0, length: 100_000 };
        orders.send(Order::Ask { unit: 0, get }).await.expect("it runs");
        let Frame::Get(get) = pipe::read(&mut far).await.expect("a question") else { panic!("not a question") };
        let mut body = Vec::new();
        served.encode(get.range(), &mut body).expect("all of it");
        let encoded_bytes = u32::try_from(body.len()).expect("short");
        let data = Frame::Data(Data { id: get.id, status: Status::Ok, encoded_bytes, calling: false });
        far.write_all(&[wire::encode(&data), body].concat()).await.expect("it is read");
        assert!(matches!(told.recv().await, Some((1, News::Held(true)))));
        assert!(told.try_recv().is_err() && bench.waiting.load(Ordering::Relaxed) == 1);
        drop(others);
        assert!(matches!(told.recv().await, Some((1, News::Held(false)))));
        assert_eq!(bench.waiting.load(Ordering::Relaxed), 0);
        while !matches!(told.recv().await.expect("it goes on"), (1, News::Stored { unit: 0 })) {}
        drop(orders);
    }

    #[test]
    fn only_next_to_nothing_is_a_trickle() {
        let minute = Duration::from_secs(60);
        assert!(trickles(1000, minute, NO_PACE) && !trickles(0, PATIENCE / 2, NO_PACE));
        // A slow line, and one that was told to be slow.
        assert!(!trickles(60 * 80_000, minute, NO_PACE) && trickles(60 * 10_000, minute, NO_PACE));
        assert!(!trickles(60 * 10_000, minute, 20_000));
    }
}
