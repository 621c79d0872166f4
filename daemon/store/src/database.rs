//! The database for everybody: one thread that writes, one that reads, and a handle. Writes that wait together are one transaction
//! with one flush to the disk, each undone by itself when it fails; their answers go out after the commit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::erase::ERASE_AT_ONCE;
use crate::store::Access;
use crate::{Repair, Result, Store, StoreError, files};

/// Work that waits for a thread. Callers wait for a place, which slows them down to what the disk can do.
const MAX_WAITING: usize = 1024;
/// Writes in one transaction.
const MAX_BATCH: usize = 256;

/// Runs on the thread, and says how it ended once that is certain.
type Write = Box<dyn FnOnce(&mut Store) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Read = Box<dyn FnOnce(&Store) + Send>;

/// What a power cut may take back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// Nothing that was answered.
    Flushed,
    /// It comes again by itself, so nobody waits for the disk; after a kill it is there all the same.
    ComesAgain,
}

/// For the writer; the reader's are `Question`s.
enum Job {
    Write(Write, Safety),
    Close(oneshot::Sender<()>),
}

enum Question {
    Read(Read),
    Close(oneshot::Sender<()>),
}

/// Cheap to clone; the files are closed when the last one is gone, or by `close`.
#[derive(Clone)]
pub struct Database {
    writes: mpsc::Sender<Job>,
    /// `None`: the writer reads as well.
    reads: Option<mpsc::Sender<Question>>,
    newest: watch::Receiver<u64>,
    calls: watch::Receiver<u64>,
}

/// What is told after each commit.
struct Teller {
    newest: watch::Sender<u64>,
    calls: watch::Sender<u64>,
}

impl Database {
    /// Opens or makes `kith.db` in the data directory. One of a newer version is refused and stays as it is. A damaged one is moved
    /// aside, and what can be read of it copied to a new one: `Repair` says what.
    pub async fn open(data_dir: &Path, own: PeerId) -> Result<(Self, Option<Repair>), Failure> {
        let dir = data_dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || files::open(&dir, own)).await;
        let (writer, path, repair) = match opened {
            Ok(opened) => opened?,
            Err(error) => return Err(internal(&error)),
        };
        let reader = Store::open(&path, own, Access::Read)?;
        Ok((Self::start(writer, Some(reader))?, repair))
    }

    /// For tests.
    #[allow(clippy::unused_async, reason = "opened like the other")]
    pub async fn in_memory(own: PeerId) -> Self {
        let store = Store::in_memory(own).expect("memory is a place where a database can be made");
        Self::start(store, None).expect("a thread can be started")
    }

    fn start(writer: Store, reader: Option<Store>) -> Result<Self, Failure> {
        let (newest, changes) = watch::channel(writer.cursor()?);
        let (calls, call_changes) = watch::channel(writer.calls.get());
        let teller = Teller { newest, calls };
        let (writes, jobs) = mpsc::channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("db-write".into())
            .spawn(move || write_loop(writer, jobs, &teller))
            .map_err(|error| internal(&error))?;
        let reads = match reader {
            None => None,
            Some(reader) => {
                let (reads, questions) = mpsc::channel(MAX_WAITING);
                std::thread::Builder::new()
                    .name("db-read".into())
                    .spawn(move || read_loop(reader, questions))
                    .map_err(|error| internal(&error))?;
                Some(reads)
            }
        };
        Ok(Self { writes, reads, newest: changes, calls: call_changes })
    }

    /// Returns when what `f` has written is on the disk.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.change(f, Safety::Flushed).await
    }

    /// For what is learnt again by itself: returns when everybody sees it; the disk is not waited for, and only a power cut takes it back.
    pub async fn note<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.change(f, Safety::ComesAgain).await
    }

    async fn change<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
        safety: Safety,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: Write = Box::new(move |store| {
            let result = store.atomically(f);
            let result = store.note(result);
            Box::new(move |committed| {
                // Nobody may be waiting any more; the work is done all the same.
                answer.send(result.and_then(|value| committed.map(|()| value))).ok();
            })
        });
        self.writes.send(Job::Write(job, safety)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| lost())?.map_err(Failure::from)
    }

    /// Sees everything whose `write` has returned.
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(reads) = &self.reads else { return self.write(|store| f(store)).await };
        let (answer, answered) = oneshot::channel();
        let job: Read = Box::new(move |store| {
            answer.send(store.note(store.snapshot(f))).ok();
        });
        reads.send(Question::Read(job)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| lost())?.map_err(Failure::from)
    }

    /// The newest cursor of messages and conversations, told after the commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Changes after the commit of anything that may have changed the log of calls; the number says nothing else.
    pub fn call_changes(&self) -> watch::Receiver<u64> {
        self.calls.clone()
    }

    /// Waits until everything asked before is written and the files are closed: the next start need not check them. Further work is
    /// refused.
    pub async fn close(&self) {
        // The last one to close a file tidies up, and that is to be the writer.
        let (done, closed) = oneshot::channel();
        if let Some(reads) = &self.reads
            && reads.send(Question::Close(done)).await.is_ok()
        {
            closed.await.ok();
        }
        let (done, closed) = oneshot::channel();
        if self.writes.send(Job::Close(done)).await.is_ok() {
            closed.await.ok();
        }
    }
}

fn internal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, format!("the database cannot be used: {error}"))
}

/// The thread has dropped the question: it panicked over it, or has ended.
fn lost() -> Failure {
    Failure::new(FailureKind::Internal, "the database did not answer").advise("look into the log")
}

fn read_loop(store: Store, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.blocking_recv() {
        match question {
            Question::Read(read) => {
                if catch_unwind(AssertUnwindSafe(|| read(&store))).is_err() {
                    tracing::error!("a question to the database has panicked");
                }
            }
            Question::Close(done) => {
                questions.close();
                drop(store);
                done.send(()).ok();
                return;
            }
        }
    }
}

fn write_loop(mut store: Store, mut jobs: mpsc::Receiver<Job>, teller: &Teller) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = jobs.blocking_recv() else { break };
        let mut batch = Vec::new();
        let mut next = Some(first);
        let mut safety = Safety::ComesAgain;
        while let Some(job) = next {
            match job {
                Job::Write(write, needs) => {
                    batch.push(write);
                    if needs == Safety::Flushed {
                        safety = needs;
                    }
                }
                Job::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            next = if batch.len() < MAX_BATCH { jobs.try_recv().ok() } else { None };
        }
        match safety {
            Safety::Flushed => write_batch(&mut store, batch),
            Safety::ComesAgain => unflushed(&mut store, |store| write_batch(store, batch)),
        }
        tell(&store, teller);
        idle(&mut store, &jobs, teller);
    }
    if let Err(error) = store.checkpoint() {
        tracing::warn!(%error, "the database was closed without a checkpoint");
    }
    jobs.close();
    drop(store);
    drop(jobs);
    if let Some(done) = closing {
        done.send(()).ok();
    }
}

/// Runs `f` without waiting for the disk. What it commits is flushed with the next transaction that is.
fn unflushed(store: &mut Store, f: impl FnOnce(&mut Store)) {
    let set = |store: &Store, flushes: bool| {
        if let Err(error) = store.set_flushes(flushes) {
            tracing::error!(%error, "cannot say how the database is written");
        }
    };
    set(store, false);
    f(store);
    set(store, true);
}

/// What has become certain, to those who wait.
fn write_batch(store: &mut Store, batch: Vec<Write>) {
    if batch.is_empty() {
        return;
    }
    let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
    let mut left = batch.into_iter();
    let committed = store.atomically(|store| {
        for write in left.by_ref() {
            match catch_unwind(AssertUnwindSafe(|| write(store))) {
                Ok(answer) => answers.push(answer),
                Err(panic) => return Err(panicked(panic.as_ref())),
            }
            if store.conn.is_autocommit() {
                // A grave error, such as a full disk, has undone what others have written as well.
                return Err(store.undone.take().unwrap_or(StoreError::Full));
            }
        }
        Ok(())
    });
    let committed = store.note(committed);
    for answer in answers {
        answer(committed.as_ref().map(|_| ()).map_err(StoreError::again));
    }
    // Those behind the one that failed have not been tried.
    let rest: Vec<Write> = left.collect();
    write_batch(store, rest);
}

fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a change of the database has panicked");
    StoreError::refused(FailureKind::Internal, "the database has failed over another question")
}

fn tell(store: &Store, teller: &Teller) {
    let raise =
        |to: &watch::Sender<u64>, value| to.send_if_modified(|before| std::mem::replace(before, value) != value);
    raise(&teller.calls, store.calls.get());
    match store.cursor() {
        Ok(cursor) => _ = raise(&teller.newest, cursor),
        Err(error) => tracing::error!(%error, "cannot read the database's counter"),
    }
}

/// While nothing else is to be done: what is deleted goes, pieces of the index are merged, and deleted text leaves the
/// write-ahead log.
fn idle(store: &mut Store, jobs: &mpsc::Receiver<Job>, teller: &Teller) {
    let erase = |store: &mut Store| -> Result<bool> {
        match store.expiring.take() {
            Some(now) => Ok(store.expire(now)? > 0),
            None => Ok(store.has_erased()? && store.atomically(|store| store.erase_some(ERASE_AT_ONCE)).is_ok()),
        }
    };
    while jobs.is_empty() {
        match erase(store) {
            Ok(true) => tell(store, teller),
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "cannot erase deleted messages now");
                break;
            }
        }
    }
    while jobs.is_empty() {
        match store.merge_some() {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "cannot merge the index of words now");
                break;
            }
        }
    }
    if jobs.is_empty()
        && store.scrub.get()
        && let Err(error) = store.checkpoint()
    {
        tracing::warn!(%error, "cannot empty the write-ahead log now");
    }
}
