//! One signalling stream: frames in and out, each in bounded time and number.

use std::convert::Infallible;
use std::time::Duration;

use kith_common::clock::MonoTime;
use kith_common::ids::PeerId;
use kith_core::call::LinkId;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::task::Event;
use super::wire::{self, MAX_MESSAGE_BYTES, Message};
use crate::net::Stream;
use crate::net::frames::{self, FrameError};

/// Messages that wait to be written. A call makes a few a second; a peer that does not read them is gone.
const OUT_QUEUE: usize = 64;
/// A message that has begun must end, and one that is written must be taken, within this. So must the first one come: a
/// stream on which nothing is said at first was opened for nothing.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to read the last message and close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// More than any call has need of; a peer that sends more is read at this pace.
const MESSAGES_A_SECOND: u32 = 200;

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
            Err(error) = &mut reading => tracing::debug!(link = id.0, "signalling stream: {error}"),
            () = write(writer, outbox) => {
                // The peer closing its side shows that it has read all.
                let _ = timeout(CLOSE_TIMEOUT, reading).await;
            }
        }
        let _ = events.send(Event::LinkLost { link: id }).await;
    };
    (Link { out }, serving)
}

async fn read<S>(
    id: LinkId,
    peer: PeerId,
    mut reader: ReadHalf<Stream>,
    events: &mpsc::Sender<Event<S>>,
) -> Result<Infallible, FrameError> {
    let (mut window, mut messages) = (Instant::now(), 0);
    let mut bytes = frames::read_soon(&mut reader, MAX_MESSAGE_BYTES, MESSAGE_TIMEOUT).await?;
    loop {
        let received = MonoTime::now();
        let message = wire::decode(&bytes)?;
        if events.send(Event::Message { link: id, peer, message, received }).await.is_err() {
            return Err(FrameError::Ended(std::io::ErrorKind::BrokenPipe.into()));
        }
        messages += 1;
        if messages == MESSAGES_A_SECOND {
            sleep_until(window + Duration::from_secs(1)).await;
            (window, messages) = (Instant::now(), 0);
        }
        // A stream may be silent as long as its call lasts.
        bytes = frames::read(&mut reader, MAX_MESSAGE_BYTES, MESSAGE_TIMEOUT).await?;
    }
}

async fn write(mut writer: WriteHalf<Stream>, mut outbox: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = outbox.recv().await {
        if frames::write(&mut writer, &bytes, MESSAGE_TIMEOUT).await.is_err() {
            return;
        }
    }
    let _ = frames::finish(&mut writer, &[], CLOSE_TIMEOUT).await;
}
