//! Frames on a stream, each in bounded time, and the bytes that follow some of them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::wire::{self, Frame, MAX_FRAME_BYTES};
use crate::net::frames::{self, FrameError};

/// A frame that has begun must end, and a piece of what is written must be taken, within this.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes are read and written in such pieces: what a reader hears of, and what a limit is kept by.
pub(super) const PIECE: usize = 64 * 1024;

/// The next frame, whenever it begins.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Frame, FrameError> {
    wire::decode(&frames::read(reader, MAX_FRAME_BYTES, FRAME_TIMEOUT).await?)
}

/// The next frame. An error when none has begun for so long and nothing else is going on.
pub(super) async fn read_unless_idle(
    reader: &mut (impl AsyncRead + Unpin),
    idle: Duration,
    busy: impl Fn() -> bool,
) -> Result<Frame, FrameError> {
    loop {
        // One byte is there or is not: nothing is lost when the time is up.
        match timeout(idle, reader.read_u8()).await {
            Ok(first) => {
                let rest = frames::read_rest(reader, first?, MAX_FRAME_BYTES, FRAME_TIMEOUT);
                return wire::decode(&rest.await?);
            }
            Err(_) if busy() => {}
            Err(elapsed) => return Err(elapsed.into()),
        }
    }
}

/// Written when this returns, as far as this machine goes.
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), FrameError> {
    frames::write(writer, &wire::encode(frame), FRAME_TIMEOUT).await
}

/// A few bytes at least must be taken within the time.
pub(super) async fn write_bytes(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), FrameError> {
    for piece in bytes.chunks(PIECE) {
        timeout(FRAME_TIMEOUT, writer.write_all(piece)).await??;
    }
    Ok(())
}

/// What comes next of so many bytes; more than none.
pub(super) async fn read_some(reader: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<usize, FrameError> {
    match timeout(FRAME_TIMEOUT, reader.read(into)).await?? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        read => Ok(read),
    }
}
