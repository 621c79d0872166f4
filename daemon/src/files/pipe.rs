//! Frames on a stream, each in bounded time, and the bytes that follow some of them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::wire::{self, Frame, MAX_FRAME_BYTES, WireError};

/// A frame that has begun must end, and a piece of what is written must be taken, within this.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes are read and written in such pieces: what a reader hears of, and what a limit is kept by.
pub(super) const PIECE: usize = 64 * 1024;

/// Why a stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    #[error("the stream has ended: {0}")]
    Ended(#[from] io::Error),
    #[error("the other side took too long")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a frame of {0} bytes was announced, more than the {MAX_FRAME_BYTES} allowed")]
    TooLong(usize),
    #[error("the other side broke the rules: {0}")]
    Nonsense(&'static str),
}

impl PipeError {
    /// No peer that keeps the rules causes it.
    pub const fn is_nonsense(&self) -> bool {
        matches!(self, Self::Wire(_) | Self::TooLong(_) | Self::Nonsense(_))
    }
}

/// The next frame, whenever it begins.
pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Frame, PipeError> {
    let first = reader.read_u8().await?;
    rest(reader, first).await
}

/// The next frame. An error when none has begun for so long and nothing else is going on.
pub(super) async fn read_unless_idle(
    reader: &mut (impl AsyncRead + Unpin),
    idle: Duration,
    busy: impl Fn() -> bool,
) -> Result<Frame, PipeError> {
    loop {
        // One byte is there or is not: nothing is lost when the time is up.
        match timeout(idle, reader.read_u8()).await {
            Ok(first) => return rest(reader, first?).await,
            Err(_) if busy() => {}
            Err(elapsed) => return Err(elapsed.into()),
        }
    }
}

async fn rest(reader: &mut (impl AsyncRead + Unpin), first: u8) -> Result<Frame, PipeError> {
    let mut length = [first, 0, 0, 0];
    timeout(FRAME_TIMEOUT, reader.read_exact(&mut length[1..])).await??;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(PipeError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    timeout(FRAME_TIMEOUT, reader.read_exact(&mut bytes)).await??;
    Ok(wire::decode(&bytes)?)
}

/// Written when this returns, as far as this machine goes.
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), PipeError> {
    write_bytes(writer, &wire::encode(frame)).await?;
    timeout(FRAME_TIMEOUT, writer.flush()).await??;
    Ok(())
}

/// A few bytes at least must be taken within the time.
pub(super) async fn write_bytes(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), PipeError> {
    for piece in bytes.chunks(PIECE) {
        timeout(FRAME_TIMEOUT, writer.write_all(piece)).await??;
    }
    Ok(())
}

/// What comes next of so many bytes; more than none.
pub(super) async fn read_some(reader: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<usize, PipeError> {
    match timeout(FRAME_TIMEOUT, reader.read(into)).await?? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        read => Ok(read),
    }
}
