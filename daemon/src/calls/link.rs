//! One signalling stream: frames in and out, each in bounded time and number.

use std::time::Duration;

use kith_common::clock::MonoTime;
use kith_common::ids::PeerId;
use kith_core::call::LinkId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::task::Event;
use super::wire::{self, MAX_MESSAGE_BYTES, Message, WireError};
use crate::net::Stream;

/// Messages that wait to be written. A call makes a few a second; a peer that does not read them is gone.
const OUT_QUEUE: usize = 64;
/// A message that has begun must end, and one that is written must be taken, within this.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream on which nothing is said at first was opened for nothing.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to read the last message and close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// More than any call has need of; a peer that sends more is read at this pace.
const MESSAGES_A_SECOND: u32 = 200;

/// Why a stream is not read any further.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the stream has ended: {0}")]
    Stream(#[from] std::io::Error),
    #[error(transparent)]
    Message(#[from] WireError),
    #[error("a message of {0} bytes was announced, more than the {MAX_MESSAGE_BYTES} allowed")]
    TooLong(usize),
    #[error("the peer took too long over a message")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("the calls have ended")]
    Over,
}

/// The writing end that the owner of the calls holds. Dropping it closes the stream once all is written.
#[derive(Debug)]
pub(super) struct Link {
    out: mpsc::Sender<Vec<u8>>,
}

/// The message could not be taken: the peer does not read.
#[derive(Debug)]
pub(super) struct Stuck;

impl Link {
    pub fn send(&self, message: &Message) -> Result<(), Stuck> {
        self.out.try_send(wire::encode(message)).map_err(|_| Stuck)
    }
}

/// Serves a stream; what comes is reported as [`Event`]s. The future ends with the stream.
pub(super) fn serve<S: Send + 'static>(
    id: LinkId,
    peer: PeerId,
    stream: Stream,
    events: mpsc::Sender<Event<S>>,
) -> (Link, impl Future<Output = ()> + Send) {
    let (out, outbox) = mpsc::channel(OUT_QUEUE);
    let serving = async move {
        let (reader, writer) = tokio::io::split(stream);
        let mut reading = Box::pin(read(id, peer, reader, &events));
        tokio::select! {
            error = &mut reading => tracing::debug!(link = id.0, "signalling stream: {error}"),
            () = write(writer, outbox) => {
                // The peer closing its side shows that it has read all.
                let _ = timeout(CLOSE_TIMEOUT, reading).await;
            }
        }
        let _ = events.send(Event::LinkLost { link: id }).await;
    };
    (Link { out }, serving)
}

async fn read<S>(id: LinkId, peer: PeerId, mut reader: ReadHalf<Stream>, events: &mpsc::Sender<Event<S>>) -> LinkError {
    let mut first = true;
    let (mut window, mut messages) = (Instant::now(), 0);
    loop {
        let message = match next(&mut reader, first).await {
            Ok(message) => message,
            Err(error) => return error,
        };
        let received = MonoTime::now();
        first = false;
        if events.send(Event::Message { link: id, peer, message, received }).await.is_err() {
            return LinkError::Over;
        }
        messages += 1;
        if messages == MESSAGES_A_SECOND {
            sleep_until(window + Duration::from_secs(1)).await;
            (window, messages) = (Instant::now(), 0);
        }
    }
}

async fn next(reader: &mut ReadHalf<Stream>, first: bool) -> Result<Message, LinkError> {
    let mut length = [0; 4];
    if first {
        timeout(FIRST_MESSAGE_TIMEOUT, reader.read_exact(&mut length)).await??;
    } else {
        // A stream may be silent as long as its call lasts.
        reader.read_exact(&mut length[..1]).await?;
        timeout(MESSAGE_TIMEOUT, reader.read_exact(&mut length[1..])).await??;
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE_BYTES {
        return Err(LinkError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    timeout(MESSAGE_TIMEOUT, reader.read_exact(&mut bytes)).await??;
    Ok(wire::decode(&bytes)?)
}

async fn write(mut writer: WriteHalf<Stream>, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = outbox.recv().await {
        let writing = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if !matches!(timeout(MESSAGE_TIMEOUT, writing).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(CLOSE_TIMEOUT, writer.shutdown()).await;
}
