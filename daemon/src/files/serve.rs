//! One stream on which a peer asks: what is here, ranges of it, and what becomes of its offers and copies.
//!
//! Questions are answered one after the other, in their order, so that a peer that asks a thousand times a second waits for
//! itself: it has one thread at a time, and what it does not read is not made. Others take turns with it at the disk.

use std::cmp::Ordering as Cmp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{FileHash, Upload};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_core::listener::Begin;
use kith_core::transfer::{Allowance, RELAY_FILE_RATE};
use kith_store::PartRow;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::library::{Item, Library};
use super::pipe::{self, FRAME_TIMEOUT, PIECE, PipeError};
use super::wire::{self, Data, Frame, Get, Keep, Question, Status, Verdict};
use crate::net::FilesStream;

/// Questions of one stream that wait for their turn: as many as a transfer asks at a time, and some to take back. What is
/// behind them is not read.
const MAX_WAITING: usize = 2 * kith_core::transfer::MOST_ASKED;
/// Questions of one stream a second that go to the database, after a first row of [`LOOKUP_BURST`].
const LOOKUPS_PER_SECOND: u64 = 100;
const LOOKUP_BURST: u32 = 200;
/// Threads that read and encode at a time, for all peers together.
const READERS: usize = 2;
/// Memory for ranges that are made and not yet taken, of all peers and of one.
const SENDING_BYTES: usize = 48 * 1024 * 1024;
const SENDING_BYTES_PER_PEER: usize = 16 * 1024 * 1024;
const COUNTED: usize = 1024;
/// Who finds no room in this time is told to ask again.
const ROOM_WITHIN: Duration = Duration::from_secs(5);
const ROOM_RETRY_MS: u32 = 1000;
/// A stream on which nobody asks anything is closed.
const IDLE: Duration = Duration::from_secs(120);
/// An upload is shown for so long after its last byte.
const SHOWN: Duration = Duration::from_secs(4);
/// Uploads that are shown.
const MAX_SHOWN: usize = 256;

/// What a peer wants of this node's task.
#[derive(Debug)]
pub(super) enum Wish {
    Offer { ticket: String, files: u32, reply: oneshot::Sender<Verdict> },
    Keep { keep: KeepList, reply: oneshot::Sender<Verdict> },
    Drop { id: FileHash, reply: oneshot::Sender<()> },
}

/// A copy that is to be kept, with all its parts or with none.
#[derive(Debug)]
pub(super) struct KeepList {
    pub id: FileHash,
    pub total_bytes: u64,
    pub count: u32,
    pub parts: Vec<PartRow>,
}

/// What all streams share.
pub(super) struct Serving {
    pub library: Library,
    pub wishes: mpsc::Sender<(PeerId, Wish)>,
    pub service: watch::Receiver<Begin>,
    pub in_call: watch::Receiver<bool>,
    /// The upload limit.
    pub limit: Mutex<Allowance>,
    pub uploads: Mutex<Uploads>,
    readers: Semaphore,
    memory: Arc<Semaphore>,
    of_peers: Mutex<BTreeMap<PeerId, Arc<Semaphore>>>,
}

impl Serving {
    pub fn new(
        library: Library,
        wishes: mpsc::Sender<(PeerId, Wish)>,
        service: watch::Receiver<Begin>,
        in_call: watch::Receiver<bool>,
    ) -> Self {
        Self {
            library,
            wishes,
            service,
            in_call,
            limit: Mutex::new(Allowance::new(None)),
            uploads: Mutex::default(),
            readers: Semaphore::new(READERS),
            memory: Arc::new(Semaphore::new(SENDING_BYTES / COUNTED)),
            of_peers: Mutex::default(),
        }
    }

    /// Of one peer, all its streams together.
    fn of_peer(&self, peer: PeerId) -> Arc<Semaphore> {
        let mut all = lock(&self.of_peers);
        all.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let own = all.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(SENDING_BYTES_PER_PEER / COUNTED)));
        Arc::clone(own)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What peers are fetching now, for display.
#[derive(Default)]
pub(super) struct Uploads {
    rows: BTreeMap<(PeerId, Option<FileHash>, bool), Row>,
    /// By share, since they were last taken.
    sent: BTreeMap<FileHash, u64>,
}

struct Row {
    hash: FileHash,
    file_name: String,
    path: Path,
    sent: u64,
    last: Instant,
    /// When and how much, over the last seconds.
    recent: VecDeque<(Instant, u64)>,
}

/// The rate is that of so long.
const RATE_OVER: Duration = Duration::from_secs(3);

impl Uploads {
    fn note(&mut self, peer: PeerId, path: Path, asked: FileHash, item: &Item, bytes: u64, now: Instant) {
        if let Some(share) = item.share.filter(|_| !item.sealed) {
            *self.sent.entry(share).or_default() += bytes;
        }
        let key = (peer, item.share, item.sealed);
        if self.rows.len() >= MAX_SHOWN && !self.rows.contains_key(&key) {
            return;
        }
        let row = self.rows.entry(key).or_insert_with(|| Row {
            hash: item.share.unwrap_or(asked),
            file_name: item.name.clone(),
            path,
            sent: 0,
            last: now,
            recent: VecDeque::new(),
        });
        (row.path, row.last, row.sent) = (path, now, row.sent + bytes);
        row.recent.push_back((now, bytes));
        while row.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_OVER) {
            row.recent.pop_front();
        }
    }

    /// Names are the caller's to fill in.
    pub fn rows(&mut self, now: Instant) -> Vec<Upload> {
        self.rows.retain(|_, row| now.saturating_duration_since(row.last) < SHOWN);
        let rate = |row: &Row| {
            let since = row.recent.front().map_or(now, |(at, _)| *at);
            let recent = row.recent.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= RATE_OVER);
            let seconds = now.saturating_duration_since(since).as_secs_f64().clamp(0.25, RATE_OVER.as_secs_f64());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rate = (recent.map(|(_, bytes)| *bytes).sum::<u64>() as f64 / seconds) as u64;
            rate
        };
        let shown = self.rows.iter().map(|((peer, _, sealed), row)| Upload {
            peer: *peer,
            name: String::new(),
            hash: row.hash,
            file_name: row.file_name.clone(),
            sent_bytes: row.sent,
            bytes_per_second: rate(row),
            path: Some(row.path),
            sealed: *sealed,
        });
        shown.collect()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// By share, since this was last asked.
    pub fn take_sent(&mut self) -> BTreeMap<FileHash, u64> {
        std::mem::take(&mut self.sent)
    }
}

/// What one side of a stream has read and the other is to answer.
enum Job {
    Have(Vec<Question>),
    Get(Get),
    Offer { ticket: String, files: u32 },
    Keep(Keep),
    Drop(FileHash),
}

/// An answer that is ready to be written.
struct Ready {
    frame: Vec<u8>,
    body: Vec<u8>,
    of: Option<(FileHash, Arc<Item>)>,
    _memory: Option<Memory>,
}

type Memory = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What the reader tells the others at once.
struct Told {
    cancelled: Mutex<BTreeSet<u32>>,
    /// How fast the peer wants it.
    pace: Mutex<Allowance>,
    changed: Notify,
    /// Questions that are not answered yet.
    open: AtomicUsize,
}

/// Serves until the peer is done, breaks the rules, or the service stops.
pub(super) async fn run(serving: Arc<Serving>, from: FilesStream) {
    let FilesStream { peer, stream, path } = from;
    let (reader, writer) = tokio::io::split(stream);
    let (jobs, waiting) = mpsc::channel(MAX_WAITING);
    // One is made while one is written.
    let (made, ready) = mpsc::channel(1);
    let told = Told {
        cancelled: Mutex::default(),
        pace: Mutex::new(Allowance::new(None)),
        changed: Notify::new(),
        open: AtomicUsize::new(0),
    };
    let mut service = serving.service.clone();
    let of_peer = serving.of_peer(peer);
    let mut maker = Maker {
        serving: &serving,
        peer,
        of_peer,
        lookups: Allowance::new(Some(LOOKUPS_PER_SECOND)),
        burst: LOOKUP_BURST,
        keep: None,
    };
    let end = tokio::select! {
        end = read(reader, jobs, &told) => end,
        end = async {
            // The last answers are written after the last question has been read.
            let (made, written) = tokio::join!(maker.make(waiting, made, &told), write(writer, ready, &serving, peer, path, &told));
            written.and(made)
        } => end,
        _ = service.wait_for(|begin| *begin == Begin::Stopped) => Ok(()),
    };
    if let Err(error) = end {
        tracing::debug!(%peer, "files stream: {error}");
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, jobs: mpsc::Sender<Job>, told: &Told) -> Result<(), PipeError> {
    loop {
        let answering = || told.open.load(Ordering::Relaxed) > 0;
        let job = match pipe::read_unless_idle(&mut reader, IDLE, answering).await? {
            Frame::Have(questions) => Job::Have(questions),
            Frame::Get(get) => Job::Get(get),
            Frame::Offer { ticket, files } => Job::Offer { ticket, files },
            Frame::Keep(keep) => Job::Keep(keep),
            Frame::Drop(id) => Job::Drop(id),
            Frame::Cancel(id) => {
                let mut cancelled = lock(&told.cancelled);
                // More than can wait here are of questions that were answered.
                while cancelled.len() >= MAX_WAITING {
                    cancelled.pop_first();
                }
                cancelled.insert(id);
                continue;
            }
            Frame::Pace(rate) => {
                lock(&told.pace).set_rate(rate);
                told.changed.notify_waiters();
                continue;
            }
            Frame::Unknown => continue,
            _ => return Err(PipeError::Nonsense("an answer where questions are asked")),
        };
        told.open.fetch_add(1, Ordering::Relaxed);
        if jobs.send(job).await.is_err() {
            return Ok(());
        }
    }
}

struct Maker<'a> {
    serving: &'a Serving,
    peer: PeerId,
    of_peer: Arc<Semaphore>,
    lookups: Allowance,
    burst: u32,
    /// A list that comes in several frames.
    keep: Option<KeepList>,
}

impl Maker<'_> {
    async fn make(
        &mut self,
        mut jobs: mpsc::Receiver<Job>,
        made: mpsc::Sender<Ready>,
        told: &Told,
    ) -> Result<(), PipeError> {
        while let Some(job) = jobs.recv().await {
            let ready = match job {
                Job::Get(get) => self.get(get, told).await,
                job => {
                    self.wait_for_turn().await;
                    match self.frame(job).await? {
                        Some(frame) => plain(&frame),
                        None => continue,
                    }
                }
            };
            if made.send(ready).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Keeps a peer from having the database to itself.
    async fn wait_for_turn(&mut self) {
        if self.burst > 0 {
            self.burst -= 1;
            return;
        }
        if let Some(at) = self.lookups.ready_at() {
            sleep_until(at.into()).await;
        }
        self.lookups.take(1, Instant::now());
    }

    async fn frame(&mut self, job: Job) -> Result<Option<Frame>, PipeError> {
        let stopping = || PipeError::Ended(std::io::ErrorKind::BrokenPipe.into());
        Ok(Some(match job {
            Job::Have(questions) => {
                let mut answers = Vec::with_capacity(questions.len());
                for question in &questions {
                    let answer = self.serving.library.answer(self.peer, question).await;
                    answers.push(answer.unwrap_or_else(|failure: Failure| {
                        tracing::warn!(%failure, "could not look up what a peer asks for");
                        wire::Answer::none(Status::NotFound)
                    }));
                }
                Frame::HaveReply(answers)
            }
            Job::Offer { ticket, files } => {
                Frame::OfferReply(self.wish(|reply| Wish::Offer { ticket, files, reply }).await.ok_or_else(stopping)?)
            }
            Job::Keep(keep) => match self.listed(keep)? {
                Some(keep) => {
                    Frame::KeepReply(self.wish(|reply| Wish::Keep { keep, reply }).await.ok_or_else(stopping)?)
                }
                // More of the list is to come.
                None => Frame::KeepReply(Verdict::Noted { held_bytes: 0 }),
            },
            Job::Drop(id) => {
                self.wish(|reply| Wish::Drop { id, reply }).await.ok_or_else(stopping)?;
                Frame::Dropped
            }
            Job::Get(_) => return Ok(None),
        }))
    }

    async fn wish<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.serving.wishes.send((self.peer, wish(reply))).await.ok()?;
        answer.await.ok()
    }

    /// The list once it is whole, or the question without one.
    fn listed(&mut self, keep: Keep) -> Result<Option<KeepList>, PipeError> {
        let Keep { id, total_bytes, count, first, parts } = keep;
        if parts.is_empty() {
            self.keep = None;
            return Ok(Some(KeepList { id, total_bytes, count, parts }));
        }
        if first == 0 {
            self.keep = Some(KeepList { id, total_bytes, count, parts: Vec::new() });
        }
        let fits = |list: &KeepList| {
            list.id == id && list.count == count && list.parts.len() == first as usize && count <= super::MAX_COPY_PARTS
        };
        let Some(mut list) = self.keep.take().filter(fits) else {
            return Err(PipeError::Nonsense("a list of parts out of order"));
        };
        list.parts.extend(parts);
        match list.parts.len().cmp(&(count as usize)) {
            Cmp::Less => {
                self.keep = Some(list);
                Ok(None)
            }
            Cmp::Equal => Ok(Some(list)),
            Cmp::Greater => Err(PipeError::Nonsense("a list of more parts than it says")),
        }
    }

    async fn get(&mut self, get: Get, told: &Told) -> Ready {
        if lock(&told.cancelled).remove(&get.id) {
            return self.not(get.id, Status::Cancelled);
        }
        let item = match self.serving.library.open(self.peer, &get).await {
            Ok(item) => item,
            Err(status) => {
                // Who guesses hashes is slowed down.
                self.wait_for_turn().await;
                return self.not(get.id, status);
            }
        };
        let length = kith_content::encoded_bytes(get.size_bytes, get.range());
        let (Ok(encoded_bytes), Ok(capacity)) = (u32::try_from(length), usize::try_from(length)) else {
            return self.not(get.id, Status::Missing);
        };
        let Some(memory) = self.memory(capacity).await else {
            return self.not(get.id, Status::Busy { retry_ms: ROOM_RETRY_MS });
        };
        // It is never closed.
        let _reader = self.serving.readers.acquire().await;
        let (reading, range) = (Arc::clone(&item), get.range());
        let encoded = super::library::blocking(move || {
            let mut body = Vec::with_capacity(capacity);
            reading.provide.encode(range, &mut body)?;
            Ok(body)
        });
        match encoded.await {
            Ok(body) if body.len() == capacity => {
                let calling = *self.serving.in_call.borrow();
                let data = Data { id: get.id, status: Status::Ok, encoded_bytes, calling };
                let of = Some((get.hash, item));
                Ready { frame: wire::encode(&Frame::Data(data)), body, of, _memory: Some(memory) }
            }
            Ok(_) => self.not(get.id, Status::Missing),
            Err(error) => {
                let status = match item.share {
                    Some(share) => self.serving.library.note(share, &error),
                    None => {
                        tracing::warn!(%error, "a copy that is kept for a contact cannot be read");
                        Status::Missing
                    }
                };
                self.not(get.id, status)
            }
        }
    }

    fn not(&self, id: u32, status: Status) -> Ready {
        let calling = *self.serving.in_call.borrow();
        plain(&Frame::Data(Data { id, status, encoded_bytes: 0, calling }))
    }

    async fn memory(&self, bytes: usize) -> Option<Memory> {
        let count = u32::try_from(bytes.div_ceil(COUNTED)).ok()?;
        let of_peer = Arc::clone(&self.of_peer).acquire_many_owned(count).await.ok()?;
        let of_all = timeout(ROOM_WITHIN, Arc::clone(&self.serving.memory).acquire_many_owned(count));
        Some((of_peer, of_all.await.ok()?.ok()?))
    }
}

fn plain(frame: &Frame) -> Ready {
    Ready { frame: wire::encode(frame), body: Vec::new(), of: None, _memory: None }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut ready: mpsc::Receiver<Ready>,
    serving: &Serving,
    peer: PeerId,
    path: Path,
    told: &Told,
) -> Result<(), PipeError> {
    let mut relay = Allowance::new((path == Path::Relayed).then_some(RELAY_FILE_RATE));
    while let Some(next) = ready.recv().await {
        pipe::write_bytes(&mut writer, &next.frame).await?;
        let mut rest = next.body.as_slice();
        while !rest.is_empty() {
            wait(&mut relay, serving, told).await;
            let (piece, behind) = rest.split_at(step(told).min(rest.len()));
            rest = behind;
            pipe::write_bytes(&mut writer, piece).await?;
            let (bytes, now) = (piece.len() as u64, Instant::now());
            relay.take(bytes, now);
            lock(&serving.limit).take(bytes, now);
            lock(&told.pace).take(bytes, now);
            if let Some((asked, item)) = &next.of {
                lock(&serving.uploads).note(peer, path, *asked, item, bytes, now);
            }
        }
        timeout(FRAME_TIMEOUT, writer.flush()).await??;
        told.open.fetch_sub(1, Ordering::Relaxed);
    }
    let _ = timeout(FRAME_TIMEOUT, writer.shutdown()).await;
    Ok(())
}

/// Whoever asks for a pace asks for it evenly: a hundredth of a second at a time.
fn step(told: &Told) -> usize {
    let rate = lock(&told.pace).rate().unwrap_or(u64::MAX);
    usize::try_from(rate / 100).unwrap_or(PIECE).clamp(1024, PIECE)
}

/// Until the relay, the user and the peer let something pass.
async fn wait(relay: &mut Allowance, serving: &Serving, told: &Told) {
    loop {
        // Before looking: a change in between is not missed.
        let changed = told.changed.notified();
        let ready = [relay.ready_at(), lock(&serving.limit).ready_at(), lock(&told.pace).ready_at()];
        let Some(at) = ready.into_iter().flatten().max().filter(|at| *at > Instant::now()) else { return };
        tokio::select! {
            () = sleep_until(at.into()) => {}
            () = changed => {}
        }
    }
}
