//! Reads messages into buffers that grow only as bytes arrive and are used again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::message::{Reader, ReaderOptions, ReaderSegments};
use capnp::{Error, Word};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

use super::{Limits, MAX_SEGMENTS};

/// Small messages come through this buffer, several to a system call; large ones pass it by.
pub const READ_AHEAD_BYTES: usize = 16 << 10;
/// A buffer grows by at least this much ahead of what has arrived (64 KiB), and at most doubles.
const STEP_WORDS: usize = 8 << 10;
/// Messages below this (64 KiB) are not worth a place in the pool.
const POOLED_WORDS: usize = 8 << 10;
/// All pooled buffers together (16 MiB): enough for several streams of pictures, little for an idle process.
const POOL_WORDS: usize = 2 << 20;
/// Reading a message twice over is fine, following pointers in circles is not.
const TRAVERSALS: usize = 4;

/// Large receive buffers between two messages, shared by the connections of a thread.
#[derive(Default)]
pub struct Pool {
    buffers: RefCell<Vec<Vec<Word>>>,
    words: Cell<usize>,
}

impl Pool {
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    fn take(&self, words: usize) -> Vec<Word> {
        let mut buffers = self.buffers.borrow_mut();
        let fits = |buffer: &Vec<Word>| buffer.len() >= words && buffer.len() <= words.saturating_mul(2);
        let Some(index) = buffers.iter().position(fits) else { return Vec::new() };
        let buffer = buffers.swap_remove(index);
        self.words.set(self.words.get() - buffer.len());
        buffer
    }

    fn give(&self, mut buffer: Vec<Word>) {
        if buffer.len() < POOLED_WORDS {
            return;
        }
        buffer.shrink_to_fit();
        let mut buffers = self.buffers.borrow_mut();
        // The oldest go first: after a change of picture size they fit nothing any more.
        while self.words.get() + buffer.len() > POOL_WORDS && !buffers.is_empty() {
            self.words.set(self.words.get() - buffers.remove(0).len());
        }
        if self.words.get() + buffer.len() <= POOL_WORDS {
            self.words.set(self.words.get() + buffer.len());
            buffers.push(buffer);
        }
    }
}

/// Counts the received messages that are still in use on a connection.
#[derive(Default)]
pub struct Unfinished {
    messages: Cell<usize>,
    bytes: Cell<usize>,
    pub released: Notify,
}

impl Unfinished {
    pub fn over(&self, limits: &Limits) -> bool {
        self.messages.get() >= limits.unfinished_messages || self.bytes.get() >= limits.unfinished_bytes
    }
}

/// The segments of a received message. Dropping it returns the buffer to the pool.
pub struct Segments {
    buffer: Vec<Word>,
    /// Word offsets of where each segment ends.
    ends: Vec<usize>,
    bytes: usize,
    pool: Rc<Pool>,
    unfinished: Rc<Unfinished>,
}

impl ReaderSegments for Segments {
    fn get_segment(&self, index: u32) -> Option<&[u8]> {
        let index = usize::try_from(index).ok()?;
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(Word::words_to_bytes(&self.buffer[start..end]))
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
        let count = &self.unfinished;
        count.messages.set(count.messages.get() - 1);
        count.bytes.set(count.bytes.get() - self.bytes);
        count.released.notify_one();
    }
}

fn cut_short(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::disconnected("the peer went away in the middle of a message".into())
        }
        _ => Error::disconnected(error.to_string()),
    }
}

/// The next message; `None` when the peer has closed between two messages. Errors end the connection.
pub async fn message<R: AsyncRead + Unpin>(
    input: &mut R,
    limits: &Limits,
    pool: &Rc<Pool>,
    unfinished: &Rc<Unfinished>,
) -> capnp::Result<Option<Reader<Segments>>> {
    let mut header = [0; 4];
    let first = input.read(&mut header).await.map_err(cut_short)?;
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[first..]).await.map_err(cut_short)?;
    let segments = u64::from(u32::from_le_bytes(header)) + 1;
    let segments = usize::try_from(segments).ok().filter(|&count| count <= MAX_SEGMENTS);
    let segments = segments.ok_or_else(|| Error::failed(format!("a message has at most {MAX_SEGMENTS} segments")))?;
    // The table: one length a segment, padded so that it ends on a word with the count before it.
    let mut table = [0; MAX_SEGMENTS * 4 + 4];
    let table = &mut table[..(segments + usize::from(segments.is_multiple_of(2))) * 4];
    input.read_exact(table).await.map_err(cut_short)?;
    let mut ends = Vec::with_capacity(segments);
    let mut total = 0_usize;
    for length in table.chunks_exact(4).take(segments) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        total = usize::try_from(length).ok().and_then(|length| total.checked_add(length)).unwrap_or(usize::MAX);
        if total > limits.message_bytes / 8 {
            return Err(Error::failed(format!("a message has at most {} bytes", limits.message_bytes)));
        }
        ends.push(total);
    }
    let mut buffer = if total >= POOLED_WORDS { pool.take(total) } else { Vec::new() };
    let mut arrived = 0;
    while arrived < total {
        if buffer.len() <= arrived {
            let to = (arrived + STEP_WORDS.max(arrived)).min(total);
            buffer.resize(to, capnp::word(0, 0, 0, 0, 0, 0, 0, 0));
        }
        let to = buffer.len().min(total);
        input.read_exact(Word::words_to_bytes_mut(&mut buffer[arrived..to])).await.map_err(cut_short)?;
        arrived = to;
    }
    unfinished.messages.set(unfinished.messages.get() + 1);
    unfinished.bytes.set(unfinished.bytes.get() + total * 8);
    let segments =
        Segments { buffer, ends, bytes: total * 8, pool: Rc::clone(pool), unfinished: Rc::clone(unfinished) };
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(limits.message_bytes / 8 * TRAVERSALS));
    Ok(Some(Reader::new(segments, options)))
}
