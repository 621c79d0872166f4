//! Counts the bytes of all streams by peer, below every protocol: at the multiplexer of each authenticated connection.
//! There too streams are made to end with their connection ([`super::ended`]).
//!
//! What travels through a relay counts for the peer it is for, and, packed once more, for the relay; only the latter counts
//! for all together, since it is what leaves the machine.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use kith_common::ids::PeerId as KithId;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};

use super::address;
use super::ended::{Awaited, End};

/// Closing a connection first sends what waits, and a dead one takes nothing.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes since the start of the daemon, or of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    pub sent: u64,
    pub received: u64,
}

#[derive(Debug, Default)]
struct Counter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counter {
    fn read(&self) -> Bytes {
        Bytes { sent: self.sent.load(Ordering::Relaxed), received: self.received.load(Ordering::Relaxed) }
    }
}

/// The counters; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    all: Arc<Counter>,
    /// A peer's counter lives as long as its connections.
    by_peer: Arc<Mutex<BTreeMap<KithId, Weak<Counter>>>>,
}

impl Traffic {
    /// Of all peers together, what has left and entered this machine.
    pub fn all(&self) -> Bytes {
        self.all.read()
    }

    /// Of each connected peer, since it is connected.
    pub fn by_peer(&self) -> BTreeMap<KithId, Bytes> {
        let mut by_peer = self.lock();
        by_peer.retain(|_, counter| counter.strong_count() > 0);
        by_peer.iter().filter_map(|(peer, counter)| Some((*peer, counter.upgrade()?.read()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KithId, Weak<Counter>>> {
        // A map of counters is whole whatever panicked.
        self.by_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, peer: &PeerId) -> Arc<Counter> {
        let Some(peer) = address::from_libp2p(peer) else { return Arc::default() };
        let mut by_peer = self.lock();
        if let Some(counter) = by_peer.get(&peer).and_then(Weak::upgrade) {
            return counter;
        }
        by_peer.retain(|_, counter| counter.strong_count() > 0);
        let counter = Arc::default();
        by_peer.insert(peer, Arc::downgrade(&counter));
        counter
    }

    /// A connection whose bytes are counted.
    pub(super) fn counted(&self, peer: &PeerId, muxer: StreamMuxerBox, endpoint: &ConnectedPoint) -> StreamMuxerBox {
        let all = (!endpoint.is_relayed()).then(|| Arc::clone(&self.all));
        let count = Count { peer: self.of(peer), all };
        StreamMuxerBox::new(Muxer { inner: muxer, count, end: End::default(), closing: None })
    }
}

#[derive(Clone)]
struct Count {
    peer: Arc<Counter>,
    all: Option<Arc<Counter>>,
}

impl Count {
    fn add(&self, bytes: usize, which: fn(&Counter) -> &AtomicU64) {
        for counter in [Some(&self.peer), self.all.as_ref()].into_iter().flatten() {
            which(counter).fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

struct Muxer {
    inner: StreamMuxerBox,
    count: Count,
    end: End,
    /// Once it is being closed.
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Muxer {
    fn counted(&self, inner: SubstreamBox) -> CountedStream {
        CountedStream { inner, count: self.count.clone(), reading: self.end.awaited(), writing: self.end.awaited() }
    }
}

impl StreamMuxer for Muxer {
    type Substream = CountedStream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CountedStream, io::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.counted(inner)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CountedStream, io::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.counted(inner)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.end.come();
        if let Poll::Ready(closed) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let closing = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_WITHIN)));
        closing.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

struct CountedStream {
    inner: SubstreamBox,
    count: Count,
    reading: Awaited,
    writing: Awaited,
}

impl AsyncRead for CountedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let bytes = ready!(self.reading.or_lost(polled, cx))?;
        self.count.add(bytes, |counter| &counter.received);
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        let bytes = ready!(self.writing.or_lost(polled, cx))?;
        self.count.add(bytes, |counter| &counter.sent);
        Poll::Ready(Ok(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, buffers);
        let bytes = ready!(self.writing.or_lost(polled, cx))?;
        self.count.add(bytes, |counter| &counter.sent);
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.writing.or_lost(polled, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_close(cx);
        self.writing.or_lost(polled, cx)
    }
}
