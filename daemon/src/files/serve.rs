//! One stream on which a peer asks: what is here, ranges of it, and what becomes of its offers and copies.
//!
//! Questions are answered one after the other, in their order, so that a peer that asks a thousand times a second waits for
//! itself: it has one thread at a time, and what it does not read is not made. Others take turns with it at the disk.

mod making;
mod takers;
mod turns;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::file::FileHash;
use kith_common::ids::PeerId;
use kith_core::listener::Begin;
use kith_core::transfer::Allowance;
use kith_store::PartRow;
use tokio::io::AsyncRead;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::buffers::Buffers;
use super::library::Library;
use super::pipe;
use super::uploads::Uploads;
use super::wire::{Frame, Get, Keep, Question, Verdict};
use crate::net::FilesStream;
use crate::net::frames::FrameError;
use making::Maker;
use takers::Takers;
use turns::Turns;
use writing::write;

/// Questions of one stream that wait for their turn: as many as a transfer asks at a time, and some to take back. What is
/// behind them is not read.
const MAX_WAITING: usize = 2 * kith_core::transfer::MOST_ASKED;
/// Of these, the ones that are no ranges: whoever asks to have a copy kept sends long lists before anybody has looked whether
/// it may.
const MAX_WAITING_WORDS: usize = 4;
/// Threads that read and encode at a time, for all peers together.
const READERS: usize = 2;
/// Memory for ranges that are made and not yet taken, of all peers and of one.
const SENDING_BYTES: usize = 48 * 1024 * 1024;
const SENDING_BYTES_PER_PEER: usize = 16 * 1024 * 1024;
const COUNTED: usize = 1024;
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
    let mut maker = Maker::new(&serving, peer, of_peer);
    let end = tokio::select! {
        end = read(reader, jobs, &told) => end,
        end = async {
            // The last answers are written after the last question has been read.
            let (made, written) = tokio::join!(maker.make(waiting, made, &told), write(writer, ready, &serving, peer, path, (&told, &taking)));
            written.and(made)
        } => end,
        _ = service.wait_for(|begin| *begin == Begin::Stopped) => Ok(()),
        () = taking.end.cancelled() => Err(FrameError::Nonsense("it takes hardly anything of what others wait for as well")),
    };
    if let Err(error) = end {
        tracing::debug!(%peer, "files stream: {error}");
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, jobs: mpsc::Sender<Job>, told: &Told) -> Result<(), FrameError> {
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
            _ => return Err(FrameError::Nonsense("an answer where questions are asked")),
        };
        told.open.fetch_add(1, Ordering::Relaxed);
        // What is behind one that finds no place is not read.
        let Ok(place) = Arc::clone(&words).acquire_owned().await else { return Ok(()) };
        if jobs.send(Job::Word(word, place)).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
