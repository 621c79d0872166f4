//! Streams end with their connection, whoever closes it.
//!
//! When yamux closes a connection from this side it forgets those who wait on its streams: a reader waits for ever, and so
//! does a writer that waits for room. A circuit through a relay is such a stream, so that whole connections linger and
//! seem to stand. So each connection holds an [`End`], and each of its streams asks it once the multiplexer makes it wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Of a connection. It comes when this is dropped, or before.
#[derive(Default)]
pub(super) struct End(CancellationToken);

impl End {
    /// The connection is being closed: nothing waits on it any longer.
    pub fn come(&self) {
        self.0.cancel();
    }

    /// For one who may have to wait. Reader and writer of a stream may be two, so each has its own.
    pub fn awaited(&self) -> Awaited {
        Awaited { end: self.0.clone(), waiting: None }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.come();
    }
}

pub(super) struct Awaited {
    end: CancellationToken,
    waiting: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Awaited {
    /// What the multiplexer has said; that the stream is lost, when it would wait for a connection that has ended.
    pub fn or_lost<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        let end = &self.end;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(end.clone().cancelled_owned()));
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_of_the_end_and_what_is_there_is_still_had() {
        let end = End::default();
        let (mut reader, mut writer) = (end.awaited(), end.awaited());
        let wait = |mut awaited: Awaited| async move { poll_fn(|cx| awaited.or_lost::<()>(Poll::Pending, cx)).await };
        let (reading, writing) = (tokio::spawn(wait(end.awaited())), tokio::spawn(wait(end.awaited())));
        tokio::task::yield_now().await;
        drop(end);
        for waiting in [reading, writing] {
            let lost = waiting.await.expect("no panic").expect_err("it has ended");
            assert_eq!(lost.kind(), io::ErrorKind::ConnectionAborted);
        }
        for awaited in [&mut reader, &mut writer] {
            assert!(poll_fn(|cx| awaited.or_lost(Poll::Ready(Ok(1)), cx)).await.is_ok());
            assert!(poll_fn(|cx| awaited.or_lost::<()>(Poll::Pending, cx)).await.is_err());
        }
    }
}
