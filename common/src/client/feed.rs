//! What a daemon reports as it happens, as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Reports in order. Dropping it ends the subscription. Ends with `None` after the last report; a lost daemon is an
/// `Err` before that.
pub struct Feed<T> {
    reports: mpsc::Receiver<Result<T, Failure>>,
}

impl<T> Feed<T> {
    pub async fn next(&mut self) -> Option<Result<T, Failure>> {
        self.reports.recv().await
    }
}

impl<T> Stream for Feed<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reports.poll_recv(context)
    }
}
