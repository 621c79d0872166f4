//! How much passes to a peer and back, measured on one stream (`/kith/bandwidth/1`) with the peer's consent.
//!
//! The side that asks sends its wish (12 bytes: version, seconds, 2 unused, most bytes), the other one a byte that permits or refuses.
//! Then bytes flow there, until the receiving side has measured for as long as agreed and says what it got (bytes and
//! microseconds, 64 bit each, big endian); then they flow back, until the asking side has seen enough and closes the stream.
//! Who receives decides when it is over, so what waits in queues on a slow way delays nothing.
//!
//! A measurement costs both sides their bandwidth, so a node answers one a minute, for ten seconds and a quarter of a gigabyte
//! each way at most, and without being told otherwise only on the local network.

use std::str::FromStr;
use std::time::{Duration, Instant};

use kith_common::diagnostics::{BandwidthProgress, BandwidthResult};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::net::{Net, Stream};

const VERSION: u8 = 1;
/// Each way.
const MAX_SECONDS: u32 = 10;
const MAX_BYTES: u64 = 256 << 20;
/// Through a relay, which is somebody else's.
const MAX_RELAYED_BYTES: u64 = 8 << 20;
/// Between the answers to two measurements, whoever asks.
const ANSWER_EVERY: Duration = Duration::from_secs(60);
/// For whatever is no measuring: agreeing, the first byte, the result.
const PATIENCE: Duration = Duration::from_secs(5);
const CHUNK: usize = 64 << 10;
/// How often whoever waits is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

const PERMITTED: u8 = 0;
const REFUSED: u8 = 1;
const TOO_SOON: u8 = 2;

/// Whose bandwidth measurements this node takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BandwidthTest {
    Never,
    /// Peers on the local network, which is one's own.
    #[default]
    Lan,
    /// Every connected peer.
    Connected,
}

impl FromStr for BandwidthTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "lan" => Ok(Self::Lan),
            "connected" => Ok(Self::Connected),
            other => Err(format!("unknown choice {other:?}: expected never, lan or connected")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    seconds: u32,
    bytes: u64,
}

impl Wish {
    fn encode(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[0] = VERSION;
        out[1] = u8::try_from(self.seconds).unwrap_or(u8::MAX);
        out[4..].copy_from_slice(&self.bytes.to_be_bytes());
        out
    }

    /// What a stranger wishes, within what is granted.
    fn decode(bytes: [u8; 12]) -> Option<Self> {
        let [VERSION, seconds, _, _, count @ ..] = bytes else { return None };
        let seconds = u32::from(seconds).clamp(1, MAX_SECONDS);
        Some(Self { seconds, bytes: u64::from_be_bytes(count).clamp(1, MAX_BYTES) })
    }

    fn length(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// What has been received.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    bytes: u64,
    took: Duration,
}

impl Taken {
    fn bps(self) -> u64 {
        let seconds = self.took.as_secs_f64();
        // Below 2^63 for anything that a machine can receive; `as` saturates.
        if seconds > 0.0 { (self.bytes as f64 * 8.0 / seconds) as u64 } else { 0 }
    }
}

/// What is moved at once of so many bytes that are left.
fn chunk(left: u64) -> usize {
    usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)
}

/// Receives until it has been long enough, from the first byte on.
async fn take(from: &mut (impl AsyncRead + Unpin), wish: Wish, mut told: impl FnMut(Taken)) -> std::io::Result<Taken> {
    let mut buffer = vec![0; CHUNK];
    let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing came");
    let mut taken = Taken::default();
    let mut started: Option<Instant> = None;
    while taken.bytes < wish.bytes {
        let room = chunk(wish.bytes - taken.bytes);
        let patience = started.map_or(PATIENCE, |started| wish.length().saturating_sub(started.elapsed()));
        match tokio::time::timeout(patience, from.read(&mut buffer[..room])).await {
            Ok(Ok(0)) => break,
            Ok(read) => {
                let start = *started.get_or_insert_with(Instant::now);
                taken.bytes += read? as u64;
                taken.took = start.elapsed();
                told(taken);
                if taken.took >= wish.length() {
                    break;
                }
            }
            Err(_) => match started {
                None => return Err(silent()),
                // A way that has stood still has been measured as well.
                Some(start) => {
                    taken.took = start.elapsed();
                    break;
                }
            },
        }
    }
    Ok(taken)
}

/// Sends until it has been long enough, the other side has seen enough, or all is sent.
async fn give(to: &mut (impl AsyncWrite + Unpin), wish: Wish, mut told: impl FnMut(u64)) -> std::io::Result<()> {
    let buffer = vec![0x5a; CHUNK];
    let all = async {
        let mut sent = 0;
        while sent < wish.bytes {
            let wrote = to.write(&buffer[..chunk(wish.bytes - sent)]).await?;
            if wrote == 0 {
                break;
            }
            sent += wrote as u64;
            told(sent);
        }
        to.flush().await
    };
    tokio::time::timeout(wish.length() + PATIENCE, all).await.unwrap_or(Ok(()))
}

/// Tells whoever waits, now and then.
struct Progress {
    to: mpsc::Sender<BandwidthProgress>,
    wish: Wish,
    started: Instant,
    before: u64,
    told: Instant,
}

impl Progress {
    fn tell(&mut self, done: u64) {
        if self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = Instant::now();
        let done = self.before + done;
        let elapsed = self.started.elapsed().as_secs_f64();
        let rate = done as f64 / elapsed.max(0.001);
        let all = (rate * f64::from(2 * self.wish.seconds)).min(2.0 * self.wish.bytes as f64);
        let total = (all as u64).max(done);
        // Whoever is slow misses one.
        let _ = self.to.try_send(BandwidthProgress { done, total, bps: (rate * 8.0) as u64 });
    }
}

/// Measures with a connected peer, over the best connection to it.
pub async fn measure(
    net: &Net,
    peer: PeerId,
    seconds: u32,
    progress: mpsc::Sender<BandwidthProgress>,
) -> Result<BandwidthResult, Failure> {
    let broken = |what: &'static str| {
        move |error: std::io::Error| {
            let kind = match error.kind() {
                std::io::ErrorKind::TimedOut => FailureKind::TimedOut,
                _ => FailureKind::Unreachable,
            };
            Failure::new(kind, format!("could not measure the bandwidth: {what}: {error}")).advise("Try again.")
        }
    };
    let ways = net.ways(peer).await?;
    let way = ways.first().ok_or_else(super::gone)?;
    let bytes = if way.path == Path::Relayed { MAX_RELAYED_BYTES } else { MAX_BYTES };
    let wish = Wish { seconds: seconds.clamp(1, MAX_SECONDS), bytes };
    let stream = net.open_bandwidth(way).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let agree = async {
        to.write_all(&wish.encode()).await?;
        to.flush().await?;
        from.read_u8().await
    };
    let verdict =
        tokio::time::timeout(PATIENCE, agree).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    permitted(verdict.map_err(broken("the peer did not answer"))?)?;

    let started = Instant::now();
    let mut progress = Progress { to: progress, wish, started, before: 0, told: started };
    let mut result = [0; 16];
    let sent_bytes = std::cell::Cell::new(0);
    {
        let giving = async {
            let outcome = give(&mut to, wish, |sent| {
                sent_bytes.set(sent);
                progress.tell(sent);
            });
            // The result ends the sending; an error is told by what reads it.
            let _ = outcome.await;
            std::future::pending::<()>().await;
        };
        let reading = tokio::time::timeout(wish.length() + 3 * PATIENCE, from.read_exact(&mut result));
        tokio::select! {
            read = reading => {
                read.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(broken("no result came"))?;
            }
            () = giving => {}
        }
    }
    let (bytes, micros) = result.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let sent = Taken { bytes: number(bytes), took: Duration::from_micros(number(micros)) };
    progress.before = sent_bytes.get();
    let received =
        take(&mut from, wish, |taken| progress.tell(taken.bytes)).await.map_err(broken("nothing came back"))?;
    Ok(BandwidthResult {
        sent_bps: sent.bps(),
        received_bps: received.bps(),
        seconds: started.elapsed().as_secs_f64(),
        path: Some(way.path),
        transport: way.transport,
    })
}

fn permitted(verdict: u8) -> Result<(), Failure> {
    match verdict {
        PERMITTED => Ok(()),
        TOO_SOON => Err(Failure::new(FailureKind::Busy, "the peer has measured with somebody just now")
            .advise("Try again in a minute.")),
        _ => Err(Failure::new(FailureKind::NotPermitted, "the peer does not take part in measuring the bandwidth")
            .advise("Its owner permits it with bandwidth_test = \"connected\" in kithd.toml.")),
    }
}

/// Answers the measurements of others, one at a time.
pub async fn serve(policy: BandwidthTest, net: Net, mut measurements: mpsc::Receiver<(PeerId, Stream)>) {
    let mut last: Option<Instant> = None;
    while let Some((peer, mut stream)) = measurements.recv().await {
        let permits = match policy {
            BandwidthTest::Never => false,
            BandwidthTest::Lan => net.peer(peer).is_some_and(|link| link.path == Path::Lan),
            BandwidthTest::Connected => true,
        };
        let verdict = match last {
            _ if !permits => REFUSED,
            Some(last) if last.elapsed() < ANSWER_EVERY => TOO_SOON,
            _ => PERMITTED,
        };
        if verdict == PERMITTED {
            tracing::info!(peer = %peer.short(), "a peer measures the bandwidth");
            last = Some(Instant::now());
        }
        match tokio::time::timeout(PATIENCE, answer(&mut stream, verdict)).await {
            Ok(Ok(Some(wish))) => {
                if let Err(error) = carry_out(stream, wish).await {
                    tracing::debug!(%error, "the measurement was broken off");
                }
            }
            Ok(Ok(None)) => {}
            _ => tracing::debug!("a wish to measure was no wish"),
        }
    }
}

/// `None`: refused.
async fn answer(stream: &mut Stream, verdict: u8) -> std::io::Result<Option<Wish>> {
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).await?;
    let wish = Wish::decode(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
    stream.write_all(&[verdict]).await?;
    stream.flush().await?;
    if verdict == PERMITTED {
        return Ok(Some(wish));
    }
    stream.shutdown().await?;
    Ok(None)
}

async fn carry_out(mut stream: impl AsyncRead + AsyncWrite + Unpin, wish: Wish) -> std::io::Result<()> {
    let taken = take(&mut stream, wish, |_| {}).await?;
    let micros = u64::try_from(taken.took.as_micros()).unwrap_or(u64::MAX);
    let result = [taken.bytes.to_be_bytes(), micros.to_be_bytes()].concat();
    let tell = async {
        stream.write_all(&result).await?;
        stream.flush().await
    };
    tokio::time::timeout(PATIENCE, tell).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    give(&mut stream, wish, |_| {}).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_within_bounds() {
        let wish = Wish { seconds: 3, bytes: 5 };
        assert_eq!(Wish::decode(wish.encode()), Some(wish));
        let greedy = Wish { seconds: 255, bytes: u64::MAX };
        assert_eq!(Wish::decode(greedy.encode()), Some(Wish { seconds: MAX_SECONDS, bytes: MAX_BYTES }));
        assert_eq!(Wish::decode([9; 12]), None);
    }

    #[tokio::test]
    async fn who_receives_says_how_much_and_ends_it() {
        let (mut ours, theirs) = tokio::io::duplex(CHUNK);
        let wish = Wish { seconds: 10, bytes: 4 * CHUNK as u64 };
        let other = tokio::spawn(carry_out(theirs, wish));
        give(&mut ours, wish, |_| {}).await.expect("open");
        let mut result = [0; 16];
        ours.read_exact(&mut result).await.expect("told");
        assert_eq!(result[..8], wish.bytes.to_be_bytes());
        let taken = take(&mut ours, wish, |_| {}).await.expect("it comes back");
        assert_eq!(taken.bytes, wish.bytes);
        drop(ours);
        let _ = other.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_side_that_goes_away_has_sent_nothing() {
        let (mut ours, theirs) = tokio::io::duplex(16);
        drop(theirs);
        let taken = take(&mut ours, Wish { seconds: 1, bytes: 1 }, |_| {}).await.expect("an end is no error");
        assert_eq!((taken.bytes, taken.bps()), (0, 0));
    }
}
