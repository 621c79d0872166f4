//! Media packets over a reliable stream to the peer, for when UDP cannot pass. A stream that stalls must not hold back
//! what is fresh, so the queue before it is short and what does not fit is lost, as on any full link.
//!
//! A frame is its length (16 bit, big endian, of what follows), one byte of flags and one packet; a frame without a packet
//! only carries the flags.

use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The sender of the frame receives our UDP packets.
pub const HEARS_UDP: u8 = 1;
/// No media packet is longer (str0m's target is 1150).
const MAX_PACKET: usize = 2000;
/// 100 packets are about a tenth of a second of a full call: more would be stale when the stream moves on.
const QUEUE: usize = 100;
/// Packets received and not yet handled by the session.
const INBOX: usize = 256;
/// Frames that are ready are written together, up to this size.
const MAX_WRITE: usize = 16 * 1024;

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub flags: u8,
    /// May be empty.
    pub packet: Vec<u8>,
    pub at: Instant,
}

/// The session's end of a tunnel. Dropping it closes the stream.
pub struct Tunnel {
    queue: mpsc::Sender<Vec<u8>>,
    frames: mpsc::Receiver<Frame>,
    tasks: [AbortHandle; 2],
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Tunnel {
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (queue, outbox) = mpsc::channel(QUEUE);
        let (inbox, frames) = mpsc::channel(INBOX);
        let tasks = [
            tokio::spawn(async move {
                let _ = write_frames(writer, outbox).await;
            })
            .abort_handle(),
            tokio::spawn(async move {
                let _ = read_frames(reader, inbox).await;
            })
            .abort_handle(),
        ];
        Self { queue, frames, tasks }
    }

    /// Sends a packet, or loses it when the stream is behind.
    pub fn send(&self, flags: u8, packet: &[u8]) {
        let length = packet.len() + 1;
        let Ok(head) = u16::try_from(length) else { return };
        if packet.len() > MAX_PACKET {
            return;
        }
        let mut frame = Vec::with_capacity(length + 2);
        frame.extend_from_slice(&head.to_be_bytes());
        frame.push(flags);
        frame.extend_from_slice(packet);
        let _ = self.queue.try_send(frame);
    }

    /// The next frame; `None` when the stream has ended, in whichever direction: half a tunnel is none.
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::select! {
            biased;
            frame = self.frames.recv() => frame,
            () = self.queue.closed() => None,
        }
    }
}

async fn write_frames(mut writer: impl AsyncWrite + Unpin, mut outbox: mpsc::Receiver<Vec<u8>>) -> std::io::Result<()> {
    while let Some(mut bytes) = outbox.recv().await {
        while bytes.len() < MAX_WRITE
            && let Ok(more) = outbox.try_recv()
        {
            bytes.extend_from_slice(&more);
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

async fn read_frames(mut reader: impl AsyncRead + Unpin, inbox: mpsc::Sender<Frame>) -> std::io::Result<()> {
    loop {
        let length = usize::from(reader.read_u16().await?);
        // Not a frame of this protocol: the rest of the stream cannot be trusted either.
        if length == 0 || length > MAX_PACKET + 1 {
            return Ok(());
        }
        let flags = reader.read_u8().await?;
        let mut packet = vec![0; length - 1];
        reader.read_exact(&mut packet).await?;
        let frame = Frame { flags, packet, at: Instant::now() };
        if let Err(mpsc::error::TrySendError::Closed(_)) = inbox.try_send(frame) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_pass_whole_and_in_order() {
        let (left, right) = tokio::io::duplex(4096);
        let (left, mut right) = (Tunnel::new(left), Tunnel::new(right));
        for length in [0_usize, 1, 1200, MAX_PACKET] {
            left.send(HEARS_UDP, &vec![7; length]);
            let frame = right.next().await.expect("the stream is open");
            assert_eq!((frame.flags, frame.packet.len()), (HEARS_UDP, length));
        }
        left.send(0, &vec![7; MAX_PACKET + 1]);
        drop(left);
        assert!(right.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_loses_packets_and_blocks_nobody() {
        let (left, _right) = tokio::io::duplex(64);
        let tunnel = Tunnel::new(left);
        for _ in 0..10 * QUEUE {
            tunnel.send(0, &[0; 1200]);
        }
    }

    #[tokio::test]
    async fn a_stream_that_takes_no_more_is_over_though_its_reader_waits() {
        let (ours, theirs) = tokio::io::duplex(64);
        let (_quiet, never) = tokio::io::duplex(64);
        let mut tunnel = Tunnel::new(tokio::io::join(never, ours));
        drop(theirs);
        tunnel.send(0, &[7]);
        assert!(tunnel.next().await.is_none());
    }

    #[tokio::test]
    async fn nonsense_ends_the_stream() {
        let (mut left, right) = tokio::io::duplex(4096);
        let mut tunnel = Tunnel::new(right);
        left.write_all(&[0xff; 64]).await.expect("the other end is open");
        assert!(tunnel.next().await.is_none());
    }
}
