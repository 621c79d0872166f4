//! A stream that tells when its user lets go of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::net::Stream;

struct Watched {
    inner: Stream,
    _held: oneshot::Sender<()>,
}

/// The stream, and a future that is ready once it has been dropped.
pub(super) fn watched(inner: Stream) -> (Stream, impl Future<Output = ()> + Send) {
    let (held, gone) = oneshot::channel::<()>();
    let gone = async move {
        let _ = gone.await;
    };
    (Box::new(Watched { inner, _held: held }), gone)
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn letting_go_is_noticed() {
        let (stream, gone) = watched(Box::new(tokio::io::empty()));
        drop(stream);
        gone.await;
    }
}
