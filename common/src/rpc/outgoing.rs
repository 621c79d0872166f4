//! What waits to be written on a connection, counted in bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::{Rc, Weak};
use std::time::Duration;

use capnp::Error;
use capnp::message::{Builder, HeapAllocator};
use futures::channel::oneshot;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// A connection that ends may still say why, for this long.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Message = Builder<HeapAllocator>;

struct Waiting {
    message: Rc<Message>,
    bytes: usize,
    written: oneshot::Sender<()>,
}

/// The write queue of one connection. One writer task drains it.
pub struct Outgoing {
    limits: Limits,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Of everything that waits, with what is being written.
    bytes: Cell<usize>,
    arrived: Notify,
    pub drained: Notify,
    /// Set when the connection is over, by either side or by a limit.
    pub over: CancellationToken,
    /// No more messages will come; the writer ends when the queue is empty.
    finishing: Cell<bool>,
    failure: RefCell<Option<Error>>,
    /// Messages that were sent, to see how many the peer leaves unconfirmed.
    sent: RefCell<Vec<Weak<Message>>>,
    look_again_at: Cell<usize>,
}

impl Outgoing {
    pub fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            waiting: RefCell::default(),
            bytes: Cell::new(0),
            arrived: Notify::new(),
            drained: Notify::new(),
            over: CancellationToken::new(),
            finishing: Cell::new(false),
            failure: RefCell::new(None),
            sent: RefCell::default(),
            look_again_at: Cell::new(limits.unconfirmed / 8),
        })
    }

    pub fn is_high(&self) -> bool {
        self.bytes.get() > self.limits.high_water_bytes
    }

    /// Ends the connection and forgets what waits.
    pub fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        let forgotten = self.waiting.take();
        self.over.cancel();
        drop(forgotten);
    }

    pub fn failure(&self) -> Error {
        let failure = self.failure.borrow().clone();
        failure.unwrap_or_else(|| Error::disconnected("the connection has ended".into()))
    }

    pub fn push(&self, message: Rc<Message>) -> capnp::Result<oneshot::Receiver<()>> {
        if self.over.is_cancelled() || self.finishing.get() {
            return Err(self.failure());
        }
        let bytes = message.size_in_words() * 8;
        if self.bytes.get() + bytes > self.limits.hard_cap_bytes {
            self.fail(Error::overloaded("the peer does not read what it is sent".into()));
            return Err(self.failure());
        }
        if self.unconfirmed(&message) > self.limits.unconfirmed {
            self.fail(Error::overloaded("the peer does not confirm what it is sent".into()));
            return Err(self.failure());
        }
        let (written, receipt) = oneshot::channel();
        self.bytes.set(self.bytes.get() + bytes);
        self.waiting.borrow_mut().push_back(Waiting { message, bytes, written });
        self.arrived.notify_one();
        Ok(receipt)
    }

    /// Adds a message to those that may be kept for the peer's sake; an upper bound of how many are.
    fn unconfirmed(&self, message: &Rc<Message>) -> usize {
        let mut sent = self.sent.borrow_mut();
        sent.push(Rc::downgrade(message));
        if sent.len() >= self.look_again_at.get() {
            sent.retain(|message| message.strong_count() > 0);
            // Looking again only after doubling keeps the cost a message constant.
            self.look_again_at.set((sent.len() * 2).max(self.limits.unconfirmed / 8));
        }
        if sent.len() > self.limits.unconfirmed {
            sent.retain(|message| message.strong_count() > 0);
        }
        sent.len()
    }

    /// Lets the writer end when it has written what waits, but not for longer than a short while.
    pub async fn finish(&self) {
        self.finishing.set(true);
        self.arrived.notify_one();
        if tokio::time::timeout(LAST_WORDS, self.over.cancelled()).await.is_err() {
            self.fail(Error::disconnected("the peer does not read".into()));
        }
    }

    /// Writes until the connection is over. An error is the connection's.
    pub async fn write<W: AsyncWrite + Unpin>(self: Rc<Self>, mut output: W) -> capnp::Result<()> {
        let written = tokio::select! {
            biased;
            () = self.over.cancelled() => Err(self.failure()),
            result = self.write_all(&mut output) => result.map_err(|error| Error::disconnected(error.to_string())),
        };
        if let Err(error) = &written {
            self.fail(error.clone());
        }
        self.over.cancel();
        written
    }

    async fn write_all<W: AsyncWrite + Unpin>(&self, output: &mut W) -> std::io::Result<()> {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some(Waiting { message, bytes, written }) => {
                    write_message(output, &message).await?;
                    drop(message);
                    self.bytes.set(self.bytes.get() - bytes);
                    // Nobody may be waiting for the receipt.
                    let _ = written.send(());
                    self.drained.notify_one();
                }
                None if self.finishing.get() => return output.shutdown().await,
                None => self.arrived.notified().await,
            }
        }
    }
}

async fn write_message<W: AsyncWrite + Unpin>(output: &mut W, message: &Message) -> std::io::Result<()> {
    let segments = message.get_segments_for_output();
    let words = |bytes: usize| u32::try_from(bytes / 8).unwrap_or(u32::MAX).to_le_bytes();
    let mut header = Vec::with_capacity(8 + segments.len() * 4);
    header.extend_from_slice(&u32::try_from(segments.len() - 1).unwrap_or(u32::MAX).to_le_bytes());
    segments.iter().for_each(|segment| header.extend_from_slice(&words(segment.len())));
    header.resize(header.len().next_multiple_of(8), 0);
    let mut slices = Vec::with_capacity(segments.len() + 1);
    slices.push(IoSlice::new(&header));
    slices.extend(segments.iter().filter(|segment| !segment.is_empty()).map(|segment| IoSlice::new(segment)));
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = output.write_vectored(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
