//! One chat stream: frames in and out, each in bounded time and number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_store::Place;
use tokio::io::{AsyncReadExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::wire::{self, Frame, MAX_FRAME_BYTES};
use crate::net::Stream;
use crate::net::frames::{self, FrameError};

/// Frames that wait to be written: a window of entries, and as many answers. A peer that does not read them is gone.
const OUT_QUEUE: usize = 2 * kith_core::chat::WINDOW_ENTRIES + 64;
/// Frames that have been read and wait for the disk. What comes behind them waits at the peer.
const IN_QUEUE: usize = 64;
/// A frame that has begun must end, and what is written must be taken, within this.
const FRAME_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the peer may take to read the last frame and close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Frames that are ready go to the stream together, up to about so many bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Own entries that have been written to the stream: the last number of each place.
pub(super) type Written = BTreeMap<Place, u64>;

struct Out {
    bytes: Vec<u8>,
    entry: Option<(Place, u64)>,
}

/// The frame could not be taken: the peer does not read, or the stream has ended.
#[derive(Debug)]
pub(super) struct Stuck;

/// Both ends of a stream as its session holds them. Dropping it closes the stream once all is written.
pub(super) struct Link {
    pub frames: mpsc::Receiver<Frame>,
    /// Changes when entries have been written; [`Link::take_written`] says which.
    pub wrote: watch::Receiver<()>,
    written: Arc<Mutex<Written>>,
    out: mpsc::Sender<Out>,
}

impl Link {
    pub fn say(&self, frame: &Frame) -> Result<(), Stuck> {
        let entry = match frame {
            Frame::Entry(entry) => Some((entry.place, entry.sequence)),
            _ => None,
        };
        self.say_encoded(wire::encode(frame), entry)
    }

    /// What has been written since this was last asked.
    pub fn take_written(&self) -> Written {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn say_encoded(&self, bytes: Vec<u8>, entry: Option<(Place, u64)>) -> Result<(), Stuck> {
        self.out.try_send(Out { bytes, entry }).map_err(|_| Stuck)
    }
}

/// Serves a stream for as long as `session` takes, and a moment longer, so that the last frames arrive.
pub(super) async fn serve<T, F: Future<Output = T>>(stream: Stream, session: impl FnOnce(Link) -> F) -> T {
    let (reader, writer) = tokio::io::split(stream);
    let (out, outbox) = mpsc::channel(OUT_QUEUE);
    let (inbox, frames) = mpsc::channel(IN_QUEUE);
    let (tell, wrote) = watch::channel(());
    let written = Arc::new(Mutex::new(Written::new()));
    let notes = Arc::clone(&written);
    let carrying = async {
        let reading = async move {
            match read(reader, inbox).await {
                Ok(()) => tracing::debug!("chat stream: nobody listens any more"),
                Err(error) => tracing::debug!("chat stream: {error}"),
            }
        };
        tokio::join!(reading, write(writer, outbox, &notes, tell));
    };
    let session = session(Link { frames, wrote, written, out });
    let (mut carrying, mut session) = (std::pin::pin!(carrying), std::pin::pin!(session));
    tokio::select! {
        // What has been read is dealt with still.
        () = &mut carrying => session.await,
        end = &mut session => {
            // The peer closing its side shows that it has read all.
            let _ = timeout(CLOSE_TIMEOUT, carrying).await;
            end
        }
    }
}

async fn read(mut reader: ReadHalf<Stream>, inbox: mpsc::Sender<Frame>) -> Result<(), FrameError> {
    loop {
        // A stream may be silent for days; whether it should have begun is for the session to say.
        let bytes = frames::read(&mut reader, MAX_FRAME_BYTES, FRAME_TIMEOUT).await?;
        if inbox.send(wire::decode(&bytes)?).await.is_err() {
            // Reads on until the peer closes: what it has sent must not turn the last words to it into a reset.
            let mut rest = [0; 4096];
            while matches!(reader.read(&mut rest).await, Ok(1..)) {}
            return Ok(());
        }
    }
}

async fn write(
    mut writer: WriteHalf<Stream>,
    mut outbox: mpsc::Receiver<Out>,
    notes: &Mutex<Written>,
    tell: watch::Sender<()>,
) {
    while let Some(first) = outbox.recv().await {
        let (mut bytes, mut entries) = (first.bytes, Vec::from_iter(first.entry));
        while bytes.len() < WRITE_BYTES
            && let Ok(more) = outbox.try_recv()
        {
            bytes.extend(more.bytes);
            entries.extend(more.entry);
        }
        if frames::write(&mut writer, &bytes, FRAME_TIMEOUT).await.is_err() {
            return;
        }
        if !entries.is_empty() {
            notes.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
            tell.send_replace(());
        }
    }
    let _ = frames::finish(&mut writer, &[], CLOSE_TIMEOUT).await;
}
