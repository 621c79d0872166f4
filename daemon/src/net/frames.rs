//! Frames: Cap'n Proto messages on a stream, each with its length before it (32 bit, big endian).
//!
//! Which messages there are, how long they may be and how long they may take is for each protocol to say. The peer is
//! authenticated and may still be hostile: a length is looked at before anything is made ready for it, and a frame that
//! has begun must end in time.

use std::io;
use std::time::Duration;

use capnp::message::{Allocator, Builder, Reader, ReaderOptions};
use capnp::serialize::{self, OwnedSegments};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Before each message.
const LENGTH_BYTES: usize = 4;

/// Why a stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the stream has ended: {0}")]
    Ended(#[from] io::Error),
    #[error("the other side took too long")]
    Slow(#[from] Elapsed),
    #[error("a frame of {announced} bytes was announced, more than the {most} allowed")]
    TooLong { announced: u32, most: usize },
    #[error("a frame does not parse: {0}")]
    Format(#[from] capnp::Error),
    #[error("the other side broke the rules: {0}")]
    Nonsense(&'static str),
}

impl FrameError {
    /// No peer that keeps the rules causes it.
    pub const fn is_nonsense(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::Format(_) | Self::Nonsense(_))
    }
}

impl From<std::str::Utf8Error> for FrameError {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::Format(error.into())
    }
}

/// Of reading a message of so many bytes: each of its words may be visited twice, and no pointer loop gets further.
pub const fn limits(max_bytes: usize) -> ReaderOptions {
    ReaderOptions { traversal_limit_in_words: Some(2 * max_bytes / 8), nesting_limit: 16 }
}

/// A message with its length before it.
pub fn encode(message: &Builder<impl Allocator>) -> Vec<u8> {
    let bytes = 8 * serialize::compute_serialized_size_in_words(message);
    let length = u32::try_from(bytes).expect("messages of this node are short: every part is bounded");
    let mut frame = Vec::with_capacity(LENGTH_BYTES + bytes);
    frame.extend_from_slice(&length.to_be_bytes());
    serialize::write_message(&mut frame, message).expect("a vector takes everything");
    frame
}

/// The message in a frame without its length. A copy, because the bytes of a stream are not aligned; what announces more
/// than the limits allow is refused before.
pub fn open(bytes: &[u8], max_bytes: usize) -> capnp::Result<Reader<OwnedSegments>> {
    serialize::read_message(bytes, limits(max_bytes))
}

/// The next frame without its length, whenever it begins; once it has begun it must end in time.
pub async fn read(
    from: &mut (impl AsyncRead + Unpin),
    max_bytes: usize,
    within: Duration,
) -> Result<Vec<u8>, FrameError> {
    let first = from.read_u8().await?;
    read_rest(from, first, max_bytes, within).await
}

/// The same of a frame that must begin in that time as well.
pub async fn read_soon(
    from: &mut (impl AsyncRead + Unpin),
    max_bytes: usize,
    within: Duration,
) -> Result<Vec<u8>, FrameError> {
    timeout(within, read(from, max_bytes, within)).await?
}

/// What follows the first byte of a frame.
pub async fn read_rest(
    from: &mut (impl AsyncRead + Unpin),
    first: u8,
    max_bytes: usize,
    within: Duration,
) -> Result<Vec<u8>, FrameError> {
    let reading = async {
        let mut length = [first, 0, 0, 0];
        from.read_exact(&mut length[1..]).await?;
        let announced = u32::from_be_bytes(length);
        let length = usize::try_from(announced).ok().filter(|length| *length <= max_bytes);
        let length = length.ok_or(FrameError::TooLong { announced, most: max_bytes })?;
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    timeout(within, reading).await?
}

/// Written when this returns, as far as this machine goes.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frames: &[u8], within: Duration) -> Result<(), FrameError> {
    let writing = async {
        to.write_all(frames).await?;
        to.flush().await
    };
    Ok(timeout(within, writing).await??)
}

/// The last frame, or nothing; after it this side is closed.
pub async fn finish(to: &mut (impl AsyncWrite + Unpin), last: &[u8], within: Duration) -> Result<(), FrameError> {
    let finishing = async {
        to.write_all(last).await?;
        to.shutdown().await
    };
    Ok(timeout(within, finishing).await??)
}

/// What every protocol's reading must withstand.
#[cfg(test)]
pub(crate) mod harm {
    /// Of each frame so much is damaged: long lists repeat themselves.
    const DAMAGED_BYTES: usize = 2000;

    /// A frame without its length, which is looked at.
    pub fn message(frame: &[u8]) -> &[u8] {
        let (length, bytes) = frame.split_first_chunk().expect("a length");
        assert_eq!(u32::from_be_bytes(*length) as usize, bytes.len());
        bytes
    }

    /// A damaged message is an error or another message, and never a panic; one that announces more than there is costs
    /// nothing.
    pub fn is_withstood<T, E>(frames: impl IntoIterator<Item = Vec<u8>>, decode: impl Fn(&[u8]) -> Result<T, E>) {
        for frame in frames {
            let bytes = message(&frame);
            let damaged = bytes.len().min(DAMAGED_BYTES);
            for cut in 0..damaged {
                let _ = decode(&bytes[..cut]);
            }
            for at in 0..damaged {
                for bit in 0..8 {
                    let mut bytes = bytes.to_vec();
                    bytes[at] ^= 1 << bit;
                    let _ = decode(&bytes);
                }
            }
        }
        for table in [[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f], [0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0]] {
            assert!(decode(&table).is_err());
        }
    }
}

#[cfg(test)]
mod tests {
    use capnp::text;
    use tokio::io::duplex;

    use super::*;

    const MOST: usize = 256;
    const WITHIN: Duration = Duration::from_secs(10);

    /// A frame with a text in it.
    fn frame(said: &str) -> Vec<u8> {
        let mut message = Builder::new_default();
        message.set_root::<text::Owned>(said).expect("there is room");
        encode(&message)
    }

    fn said(bytes: &[u8]) -> Result<String, FrameError> {
        Ok(open(bytes, MOST)?.get_root::<text::Reader<'_>>()?.to_string()?)
    }

    #[tokio::test]
    async fn frames_follow_one_another_until_the_stream_ends() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[frame("one"), frame("two")].concat(), WITHIN).await.expect("a vector takes everything");
        finish(&mut bytes, &frame("three"), WITHIN).await.expect("a vector takes everything");
        let mut stream = bytes.as_slice();
        for expected in ["one", "two", "three"] {
            let bytes = read(&mut stream, MOST, WITHIN).await.expect("well formed");
            assert_eq!(said(&bytes).expect("a text"), expected);
        }
        assert!(matches!(read(&mut stream, MOST, WITHIN).await, Err(FrameError::Ended(_))));
    }

    #[tokio::test]
    async fn a_frame_of_too_great_a_length_is_refused_by_its_length_alone() {
        for announced in [MOST as u32 + 1, u32::MAX] {
            // Nothing follows, and nothing is waited for or made ready.
            let (mut far, mut near) = duplex(64);
            far.write_all(&announced.to_be_bytes()).await.expect("there is room");
            let refused = read(&mut near, MOST, WITHIN).await.expect_err("too long");
            assert!(matches!(refused, FrameError::TooLong { announced: named, most: MOST } if named == announced));
            assert!(refused.is_nonsense());
        }
        let longest = [&(MOST as u32).to_be_bytes()[..], &[0; MOST]].concat();
        assert_eq!(read(&mut longest.as_slice(), MOST, WITHIN).await.expect("as long as may be").len(), MOST);
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_off_anywhere_is_an_end_of_the_stream() {
        let whole = frame("cut off");
        for length in 0..whole.len() {
            let cut = read(&mut &whole[..length], MOST, WITHIN).await;
            assert!(matches!(cut, Err(FrameError::Ended(_))), "{length}");
        }
    }

    #[tokio::test]
    async fn a_damaged_frame_is_an_error_or_another_and_never_a_panic() {
        harm::is_withstood([frame("damaged")], said);
        let mut bytes = frame("no UTF-8");
        *bytes.iter_mut().find(|byte| **byte == b'U').expect("it is in there") = 0xff;
        assert!(said(harm::message(&bytes)).expect_err("no text").is_nonsense());
    }

    #[tokio::test]
    async fn a_stream_may_be_silent_and_a_frame_that_has_begun_may_not_stall() {
        const SOON: Duration = Duration::from_millis(10);
        let whole = frame("stalled");
        for length in 1..whole.len() {
            let (mut far, mut near) = duplex(MOST);
            far.write_all(&whole[..length]).await.expect("there is room");
            assert!(matches!(read(&mut near, MOST, SOON).await, Err(FrameError::Slow(_))), "{length}");
        }
        let (mut far, mut near) = duplex(MOST);
        assert!(matches!(read_soon(&mut near, MOST, SOON).await, Err(FrameError::Slow(_))));
        assert!(timeout(3 * SOON, read(&mut near, MOST, SOON)).await.is_err(), "it waits for the beginning");
        far.write_all(&whole).await.expect("there is room");
        assert!(read(&mut near, MOST, WITHIN).await.is_ok());
        // Whoever does not read keeps nobody waiting either.
        let (mut far, _near) = duplex(1);
        assert!(matches!(write(&mut far, &whole, SOON).await, Err(FrameError::Slow(_))));
        assert!(matches!(finish(&mut far, &whole, SOON).await, Err(FrameError::Slow(_))));
    }
}
