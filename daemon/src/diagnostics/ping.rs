//! Pings a peer over every way there is, one after the other, so that the ways do not disturb each other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kith_common::call::Transport;
use kith_common::diagnostics::PingReply;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_core::reach;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::prober::Ask;
use crate::net::{Net, PING_BYTES, Stream, Way};

/// As schema/diagnostics.capnp promises.
const MAX_COUNT: u32 = 100;
/// From one round to the next.
const EVERY: Duration = Duration::from_secs(1);
/// What takes longer is no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The task looks after its probes within this.
const SEND_WITHIN: Duration = Duration::from_secs(1);

/// A connection and the stream that is pinged on it; none before the first ping, and after one that failed.
struct Line {
    way: Way,
    stream: Option<Stream>,
}

/// Returns with the last reply; fails when nothing at all was answered.
pub async fn run(
    net: &Net,
    asks: &mpsc::Sender<Ask>,
    peer: PeerId,
    count: u32,
    replies: mpsc::Sender<PingReply>,
) -> Result<(), Failure> {
    let mut lines: Vec<Line> = net.ways(peer).await?.into_iter().map(|way| Line { way, stream: None }).collect();
    let mut answered = false;
    let mut round = tokio::time::interval(EVERY);
    for sequence in 0..count.clamp(1, MAX_COUNT) {
        round.tick().await;
        for line in &mut lines {
            let rtt = over_connection(net, line).await;
            answered |= rtt.is_some();
            let reply = PingReply {
                sequence,
                way: line.way.address.clone(),
                path: Some(line.way.path),
                transport: line.way.transport,
                rtt_ms: rtt.map(milliseconds),
            };
            replies.send(reply).await.map_err(|_| nobody())?;
        }
        if let Some((to, rtt)) = over_datagrams(asks, peer).await {
            answered |= rtt.is_some();
            let path = if reach::scope(to.ip()) == "global" { Path::Direct } else { Path::Lan };
            let reply = PingReply {
                sequence,
                way: format!("udp {to}"),
                path: Some(path),
                transport: Transport::Udp,
                rtt_ms: rtt.map(milliseconds),
            };
            replies.send(reply).await.map_err(|_| nobody())?;
        }
    }
    if answered {
        return Ok(());
    }
    Err(Failure::new(FailureKind::TimedOut, format!("the peer …{} answered no ping", peer.short()))
        .advise("It may have just gone, or run a version of Kith that answers none: look at `kithctl peers`."))
}

fn nobody() -> Failure {
    Failure::new(FailureKind::Internal, "nobody listens to the replies any more")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn over_connection(net: &Net, line: &mut Line) -> Option<Duration> {
    let mut stream = match line.stream.take() {
        Some(stream) => stream,
        None => tokio::time::timeout(ANSWER_WITHIN, net.open_ping(&line.way)).await.ok()?.ok()?,
    };
    let bytes: [u8; PING_BYTES] = rand::random();
    let mut back = [0; PING_BYTES];
    let started = Instant::now();
    let exchange = async {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok()?.ok()?;
    let took = started.elapsed();
    if back != bytes {
        return None;
    }
    line.stream = Some(stream);
    Some(took)
}

/// `None`: there is no datagram path to ask on.
async fn over_datagrams(asks: &mpsc::Sender<Ask>, peer: PeerId) -> Option<(SocketAddr, Option<Duration>)> {
    let (sent, to) = oneshot::channel();
    let (answered, answer) = oneshot::channel();
    asks.send(Ask { peer, sent, answered }).await.ok()?;
    let to = tokio::time::timeout(SEND_WITHIN, to).await.ok()?.ok()?;
    let rtt = tokio::time::timeout(ANSWER_WITHIN, answer).await.ok().and_then(Result::ok);
    Some((to, rtt))
}
