//! What a daemon reports as it happens, as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::{mpsc, oneshot};

use super::link::{Session, no_daemon};
use crate::failure::Failure;

/// Reports that wait for whoever follows. Few: the daemon keeps what is newest for those who are slow.
const QUEUE: usize = 4;

/// Reports in order. Dropping it ends the subscription. Ends with `None` after the last report; when the daemon is lost
/// first, with one `Err`.
pub struct Feed<T> {
    reports: mpsc::Receiver<T>,
    is_last: fn(&T) -> bool,
    ended: bool,
    _session: Arc<Session>,
    /// Dropping it lets go of the daemon's handle.
    _hold: oneshot::Sender<()>,
}

impl<T> Feed<T> {
    /// The next report. Waiting for it can be given up at any time without losing one.
    pub async fn next(&mut self) -> Option<Result<T, Failure>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, Failure>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.reports.poll_recv(context).map(|report| {
            self.ended = report.as_ref().is_none_or(self.is_last);
            Some(report.ok_or_else(no_daemon))
        })
    }
}

impl<T> Stream for Feed<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

/// The two ends of a feed that is being made on the RPC thread: where its observer puts reports, the feed, and what to
/// wait for before dropping the daemon's handle.
pub fn feed<T>(session: Arc<Session>, is_last: fn(&T) -> bool) -> (mpsc::Sender<T>, Feed<T>, oneshot::Receiver<()>) {
    let (reporter, reports) = mpsc::channel(QUEUE);
    let (hold, released) = oneshot::channel();
    (reporter, Feed { reports, is_last, ended: false, _session: session, _hold: hold }, released)
}

/// Keeps a handle of the daemon until its holder has let go.
pub fn keep<H: 'static>(handle: H, released: oneshot::Receiver<()>) {
    tokio::task::spawn_local(async move {
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = released.await;
        drop(handle);
    });
}
