//! Writes the answers of a stream, no faster than the relay, the user's limit and the peer's pace let them pass.

use std::sync::atomic::Ordering;
use std::time::Instant;

use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_core::transfer::{Allowance, RELAY_FILE_RATE};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::making::Ready;
use super::takers::Taking;
use super::{Serving, Told, lock};
use crate::files::pipe::{self, FRAME_TIMEOUT, PIECE};
use crate::net::frames::FrameError;

/// However low a limit is: less would be mostly the overhead of packets.
const MIN_STEP: usize = 1024;

pub(super) async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut ready: mpsc::Receiver<Ready>,
    serving: &Serving,
    peer: PeerId,
    path: Path,
    (told, taking): (&Told, &Taking<'_>),
) -> Result<(), FrameError> {
    let mut relay = Allowance::new((path == Path::Relayed).then_some(RELAY_FILE_RATE));
    while let Some(next) = ready.recv().await {
        taking.begin();
        taking.wait(Instant::now());
        pipe::write_bytes(&mut writer, &next.frame).await?;
        taking.took(0, Instant::now());
        let mut rest = next.body.as_ref().map_or(&[][..], |body| body.as_slice());
        while !rest.is_empty() {
            let ours = relay.ready_at().max(lock(&serving.limit).ready_at());
            if lock(&told.pace).ready_at() > ours {
                taking.wait(Instant::now());
            }
            wait(&mut relay, serving, told).await;
            taking.wait(Instant::now());
            let rates = [relay.rate(), lock(&serving.limit).rate(), lock(&told.pace).rate()];
            let (piece, behind) = rest.split_at(step(rates).min(rest.len()));
            rest = behind;
            pipe::write_bytes(&mut writer, piece).await?;
            let (bytes, now) = (piece.len() as u64, Instant::now());
            taking.took(bytes, now);
            relay.take(bytes, now);
            lock(&serving.limit).take(bytes, now);
            lock(&told.pace).take(bytes, now);
            if let Some((asked, item)) = &next.of {
                lock(&serving.uploads).note(peer, path, *asked, item, bytes, now);
            }
        }
        taking.wait(Instant::now());
        timeout(FRAME_TIMEOUT, writer.flush()).await??;
        taking.begin();
        told.open.fetch_sub(1, Ordering::Relaxed);
    }
    let _ = timeout(FRAME_TIMEOUT, writer.shutdown()).await;
    Ok(())
}

/// What goes at once under these limits: a hundredth of a second of the lowest. Whoever asks for a pace asks for it evenly,
/// and a piece that takes longer than a peer waits for the next one would never arrive.
fn step(rates: [Option<u64>; 3]) -> usize {
    let lowest = rates.into_iter().flatten().min();
    lowest.map_or(PIECE, |rate| usize::try_from(rate / 100).unwrap_or(PIECE).clamp(MIN_STEP, PIECE))
}

/// Until the relay, the user and the peer let something pass.
async fn wait(relay: &mut Allowance, serving: &Serving, told: &Told) {
    loop {
        // Before looking: a change in between is not missed.
        let changed = told.changed.notified();
        let ready = [relay.ready_at(), lock(&serving.limit).ready_at(), lock(&told.pace).ready_at()];
        let Some(at) = ready.into_iter().flatten().max().filter(|at| *at > Instant::now()) else { return };
        tokio::select! {
            () = sleep_until(at.into()) => {}
            () = changed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_says_how_much_goes_at_once() {
        let slow = Some(5 * 1024);
        for rates in [[slow, None, None], [None, slow, Some(1 << 30)], [Some(1 << 20), None, slow]] {
            assert_eq!(step(rates), MIN_STEP, "{rates:?}");
        }
        assert_eq!(step([None, Some(2_000_000), Some(3_000_000)]), 20_000);
        assert_eq!((step([None; 3]), step([Some(1 << 40); 3])), (PIECE, PIECE));
    }
}
