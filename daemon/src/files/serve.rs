//! One stream on which a peer asks: what is here, ranges of it, and what becomes of its offers and copies.
//!
//! Questions are answered one after the other, in their order, so that a peer that asks a thousand times a second waits for
//! itself: it has one thread at a time, and what it does not read is not made. Others take turns with it at the disk.

mod takers;

use std::cmp::Ordering as Cmp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{FileHash, ShareState};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_core::listener::Begin;
use kith_core::transfer::{Allowance, RELAY_FILE_RATE};
use kith_store::PartRow;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::buffers::{Buffer, Buffers};
use super::library::{Item, Library};
use super::pipe::{self, FRAME_TIMEOUT, PIECE, PipeError};
use super::uploads::Uploads;
use super::wire::{self, Data, Frame, Get, Keep, Question, Status, Verdict};
use crate::net::FilesStream;
use takers::{Takers, Taking};

/// Questions of one stream that wait for their turn: as many as a transfer asks at a time, and some to take back. What is
/// behind them is not read.
const MAX_WAITING: usize = 2 * kith_core::transfer::MOST_ASKED;
/// Of these, the ones that are no ranges: whoever asks to have a copy kept sends long lists before anybody has looked whether
/// it may.
const MAX_WAITING_WORDS: usize = 4;
/// A question of a peer that goes to the database costs it so long, whichever of its streams it is on; so much of that is
/// free after a pause. A folder's worth of questions takes seconds, and a thread is never one peer's alone.
const LOOKUP_COST: Duration = Duration::from_millis(2);
const LOOKUPS_FREE: Duration = Duration::from_secs(2);
/// What has this node write something down costs as much as so many questions.
const WISH_LOOKUPS: usize = 5;
/// Threads that read and encode at a time, for all peers together.
const READERS: usize = 2;
/// Memory for ranges that are made and not yet taken, of all peers and of one.
const SENDING_BYTES: usize = 48 * 1024 * 1024;
const SENDING_BYTES_PER_PEER: usize = 16 * 1024 * 1024;
const COUNTED: usize = 1024;
/// However low a limit is: less would be mostly the overhead of packets.
const MIN_STEP: usize = 1024;
/// Who finds no room in this time is told to ask again.
const ROOM_WITHIN: Duration = Duration::from_secs(5);
const ROOM_RETRY_MS: u32 = 1000;
/// A stream on which nobody asks anything is closed.
const IDLE: Duration = Duration::from_secs(120);

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
    buffers: Buffers,
    takers: Takers,
    of_peers: Mutex<BTreeMap<PeerId, Arc<OfPeer>>>,
}

/// What one peer has, on all its streams together.
struct OfPeer {
    memory: Arc<Semaphore>,
    turns: Mutex<Turns>,
}

/// When a peer's questions go to the database.
#[derive(Default)]
struct Turns {
    /// When all of them are paid for.
    paid_at: Option<Instant>,
}

impl Turns {
    /// So many more: at that time they may.
    fn take(&mut self, questions: u32, now: Instant) -> Instant {
        let earliest = now.checked_sub(LOOKUPS_FREE).unwrap_or(now);
        let at = self.paid_at.map_or(earliest, |at| at.max(earliest)) + LOOKUP_COST * questions;
        self.paid_at = Some(at);
        at
    }

    /// There is nothing to remember.
    fn is_rested(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOKUPS_FREE)
    }
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
            buffers: Buffers::default(),
            takers: Takers::default(),
            of_peers: Mutex::default(),
        }
    }

    fn of_peer(&self, peer: PeerId) -> Arc<OfPeer> {
        let (mut all, now) = (lock(&self.of_peers), Instant::now());
        // Who opens another stream is no other peer.
        all.retain(|_, of_peer| Arc::strong_count(of_peer) > 1 || !lock(&of_peer.turns).is_rested(now));
        let new = || {
            let memory = Arc::new(Semaphore::new(SENDING_BYTES_PER_PEER / COUNTED));
            Arc::new(OfPeer { memory, turns: Mutex::default() })
        };
        Arc::clone(all.entry(peer).or_insert_with(new))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one side of a stream has read and the other is to answer.
enum Job {
    Get(Get),
    /// With its place among those that wait.
    Word(Word, OwnedSemaphorePermit),
}

enum Word {
    Have(Vec<Question>),
    Offer { ticket: String, files: u32 },
    Keep(Keep),
    Drop(FileHash),
}

/// An answer that is ready to be written.
struct Ready {
    frame: Vec<u8>,
    body: Option<Buffer>,
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

impl Told {
    fn new() -> Self {
        let pace = Mutex::new(Allowance::new(None));
        Self { cancelled: Mutex::default(), pace, changed: Notify::new(), open: AtomicUsize::new(0) }
    }
}

/// Serves until the peer is done, breaks the rules, or the service stops.
pub(super) async fn run(serving: Arc<Serving>, from: FilesStream) {
    let FilesStream { peer, stream, path } = from;
    let (reader, writer) = tokio::io::split(stream);
    let (jobs, waiting) = mpsc::channel(MAX_WAITING);
    // One is made while one is written.
    let (made, ready) = mpsc::channel(1);
    let told = Told::new();
    let mut service = serving.service.clone();
    let of_peer = serving.of_peer(peer);
    let taking = serving.takers.join();
    let mut maker = Maker { serving: &serving, peer, of_peer, keep: None };
    let end = tokio::select! {
        end = read(reader, jobs, &told) => end,
        end = async {
            // The last answers are written after the last question has been read.
            let (made, written) = tokio::join!(maker.make(waiting, made, &told), write(writer, ready, &serving, peer, path, (&told, &taking)));
            written.and(made)
        } => end,
        _ = service.wait_for(|begin| *begin == Begin::Stopped) => Ok(()),
        () = taking.end.cancelled() => Err(PipeError::Nonsense("it takes hardly anything of what others wait for as well")),
    };
    if let Err(error) = end {
        tracing::debug!(%peer, "files stream: {error}");
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, jobs: mpsc::Sender<Job>, told: &Told) -> Result<(), PipeError> {
    let words = Arc::new(Semaphore::new(MAX_WAITING_WORDS));
    loop {
        let answering = || told.open.load(Ordering::Relaxed) > 0;
        let word = match pipe::read_unless_idle(&mut reader, IDLE, answering).await? {
            Frame::Get(get) => {
                told.open.fetch_add(1, Ordering::Relaxed);
                if jobs.send(Job::Get(get)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Frame::Have(questions) => Word::Have(questions),
            Frame::Offer { ticket, files } => Word::Offer { ticket, files },
            Frame::Keep(keep) => Word::Keep(keep),
            Frame::Drop(id) => Word::Drop(id),
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
        // What is behind one that finds no place is not read.
        let Ok(place) = Arc::clone(&words).acquire_owned().await else { return Ok(()) };
        if jobs.send(Job::Word(word, place)).await.is_err() {
            return Ok(());
        }
    }
}

struct Maker<'a> {
    serving: &'a Serving,
    peer: PeerId,
    of_peer: Arc<OfPeer>,
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
                Job::Word(word, _place) => plain(&self.frame(word).await?),
            };
            if made.send(ready).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Keeps a peer from having the database to itself.
    async fn wait_for_turn(&self, questions: usize) {
        let now = Instant::now();
        let questions = u32::try_from(questions).unwrap_or(u32::MAX);
        let at = lock(&self.of_peer.turns).take(questions, now);
        if at > now {
            sleep_until(at.into()).await;
        }
    }

    async fn frame(&mut self, word: Word) -> Result<Frame, PipeError> {
        let stopping = || PipeError::Ended(std::io::ErrorKind::BrokenPipe.into());
        self.wait_for_turn(match &word {
            Word::Have(questions) => questions.len(),
            Word::Offer { .. } | Word::Keep(_) | Word::Drop(_) => WISH_LOOKUPS,
        })
        .await;
        Ok(match word {
            Word::Have(questions) => {
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
            Word::Offer { ticket, files } => {
                Frame::OfferReply(self.wish(|reply| Wish::Offer { ticket, files, reply }).await.ok_or_else(stopping)?)
            }
            Word::Keep(keep) => match self.listed(keep)? {
                Some(keep) => {
                    Frame::KeepReply(self.wish(|reply| Wish::Keep { keep, reply }).await.ok_or_else(stopping)?)
                }
                // More of the list is to come.
                None => Frame::KeepReply(Verdict::Noted { held_bytes: 0 }),
            },
            Word::Drop(id) => {
                self.wish(|reply| Wish::Drop { id, reply }).await.ok_or_else(stopping)?;
                Frame::Dropped
            }
        })
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
                self.wait_for_turn(1).await;
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
        let (reading, range, mut body) = (Arc::clone(&item), get.range(), self.serving.buffers.take(capacity));
        let encoded = super::library::blocking(move || {
            body.clear();
            reading.provide.encode(range, &mut body)?;
            Ok(body)
        });
        match encoded.await {
            Ok(body) if body.len() == capacity => {
                let calling = *self.serving.in_call.borrow();
                let data = Data { id: get.id, status: Status::Ok, encoded_bytes, calling };
                let of = Some((get.hash, item));
                Ready { frame: wire::encode(&Frame::Data(data)), body: Some(body), of, _memory: Some(memory) }
            }
            Ok(_) => self.not(get.id, Status::Missing),
            Err(error) => {
                let status = match item.share {
                    Some(share) => self.serving.library.note(share, ShareState::Available, &error),
                    None => self.serving.library.note_kept(item.kept, &error),
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
        let of_peer = Arc::clone(&self.of_peer.memory).acquire_many_owned(count).await.ok()?;
        let of_all = || timeout(ROOM_WITHIN, Arc::clone(&self.serving.memory).acquire_many_owned(count));
        let of_all = match of_all().await {
            // Somebody may have it to no use.
            Err(_) if self.serving.takers.end_slowest(Instant::now()) => of_all().await,
            waited => waited,
        };
        Some((of_peer, of_all.ok()?.ok()?))
    }
}

fn plain(frame: &Frame) -> Ready {
    Ready { frame: wire::encode(frame), body: None, of: None, _memory: None }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut ready: mpsc::Receiver<Ready>,
    serving: &Serving,
    peer: PeerId,
    path: Path,
    (told, taking): (&Told, &Taking<'_>),
) -> Result<(), PipeError> {
    let mut relay = Allowance::new((path == Path::Relayed).then_some(RELAY_FILE_RATE));
    while let Some(next) = ready.recv().await {
        taking.begin();
        taking.wait(Instant::now());
        pipe::write_bytes(&mut writer, &next.frame).await?;
        taking.took(0, Instant::now());
        let mut rest = next.body.as_ref().map_or(&[][..], |body| body.as_slice());
        while !rest.is_empty() {
            let ours = relay.ready_at().max(lock(&serving.limit).ready_at());
            if lock(&told.pace).ready_at() > ours {
                taking.wait(Instant::now());
            }
            wait(&mut relay, serving, told).await;
            taking.wait(Instant::now());
            let rates = [relay.rate(), lock(&serving.limit).rate(), lock(&told.pace).rate()];
            let (piece, behind) = rest.split_at(step(rates).min(rest.len()));
            rest = behind;
            pipe::write_bytes(&mut writer, piece).await?;
            let (bytes, now) = (piece.len() as u64, Instant::now());
            taking.took(bytes, now);
            relay.take(bytes, now);
            lock(&serving.limit).take(bytes, now);
            lock(&told.pace).take(bytes, now);
            if let Some((asked, item)) = &next.of {
                lock(&serving.uploads).note(peer, path, *asked, item, bytes, now);
            }
        }
        taking.wait(Instant::now());
        timeout(FRAME_TIMEOUT, writer.flush()).await??;
        taking.begin();
        told.open.fetch_sub(1, Ordering::Relaxed);
    }
    let _ = timeout(FRAME_TIMEOUT, writer.shutdown()).await;
    Ok(())
}

/// What goes at once under these limits: a hundredth of a second of the lowest. Whoever asks for a pace asks for it evenly,
/// and a piece that takes longer than a peer waits for the next one would never arrive.
fn step(rates: [Option<u64>; 3]) -> usize {
    let lowest = rates.into_iter().flatten().min();
    lowest.map_or(PIECE, |rate| usize::try_from(rate / 100).unwrap_or(PIECE).clamp(MIN_STEP, PIECE))
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

#[cfg(test)]
mod tests;
