//! The single connections to a peer, for those who want to measure each: named, pinged, and with a stream of one's own.

use std::collections::BTreeMap;
use std::time::Duration;

use kith_common::call::Transport;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId as KithId;
use kith_common::node::{Path, PeerInfo};
use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

use super::streams::Protocol;
use super::task::{Command, Opening, Task, not_connected};
use super::{Net, Stream, address};

/// What is sent and sent back, as in libp2p's own ping.
pub const PING_BYTES: usize = 32;
/// Pings answered on one stream: the most that one measurement asks for.
const MAX_PINGS: usize = 100;
/// Between two pings of a measurement there is a second.
const PING_PATIENCE: Duration = Duration::from_secs(15);

/// One connection to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub peer: KithId,
    /// The other end, as a multiaddr.
    pub address: String,
    pub path: Path,
    pub transport: Transport,
    pub(super) connection: ConnectionId,
}

/// What probes on the datagram path have measured of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DatagramFigures {
    pub rtt_ms: Option<f64>,
    pub jitter_ms: Option<f64>,
    /// A fraction.
    pub loss: Option<f64>,
}

/// Puts what probes have measured into the rows: they ask more often than the connections are pinged, and know the loss.
pub(super) fn merge(rows: &mut [PeerInfo], figures: &BTreeMap<KithId, DatagramFigures>) {
    for row in rows.iter_mut().filter(|row| row.connected) {
        if let Some(measured) = figures.get(&row.peer_id) {
            row.rtt_ms = measured.rtt_ms.or(row.rtt_ms);
            row.jitter_ms = measured.jitter_ms.or(row.jitter_ms);
            row.loss = measured.loss;
        }
    }
}

impl Net {
    /// The connections to a peer, the one that is best for much data first: direct before relayed, QUIC before TCP.
    pub async fn ways(&self, peer: KithId) -> Result<Vec<Way>, Failure> {
        self.ask(|reply| Command::Ways { peer, reply }).await
    }

    /// A stream on that very connection, on which the peer sends back each [`PING_BYTES`].
    pub async fn open_ping(&self, way: &Way) -> Result<Stream, Failure> {
        self.open_on(way, Protocol::Ping).await
    }

    /// A stream for measuring the bandwidth of that very connection.
    pub async fn open_bandwidth(&self, way: &Way) -> Result<Stream, Failure> {
        self.open_on(way, Protocol::Bandwidth).await
    }

    async fn open_on(&self, way: &Way, protocol: Protocol) -> Result<Stream, Failure> {
        let way = way.clone();
        let peer = way.peer;
        let opening = self.ask(|reply| Command::OpenOn { way, protocol, reply }).await?;
        super::opened(opening, peer, "measure the way to").await
    }
}

impl Task {
    pub(super) fn ways(&self, peer: KithId) -> Result<Vec<Way>, Failure> {
        let entry = self.table.get(&address::to_libp2p(peer)).ok_or_else(not_connected)?;
        let mut connections: Vec<_> = entry.connections.iter().collect();
        connections.sort_by_key(|c| (address::is_relayed(&c.address), !address::is_udp(&c.address)));
        let way = |connection: &super::peers::Connection| Way {
            peer,
            address: connection.address.to_string(),
            path: address::path(&connection.address),
            transport: address::transport(&connection.address),
            connection: connection.id,
        };
        Ok(connections.into_iter().map(way).collect())
    }

    pub(super) fn open_on(&mut self, way: &Way, protocol: Protocol) -> Result<Opening, Failure> {
        let peer: PeerId = address::to_libp2p(way.peer);
        let exists =
            |entry: &super::peers::Peer| entry.connections.iter().any(|connection| connection.id == way.connection);
        if !self.table.get(&peer).is_some_and(exists) {
            return Err(Failure::new(FailureKind::Unreachable, "this connection has been closed"));
        }
        let (sender, stream) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, way.connection, protocol, sender);
        Ok(Opening { path: way.path, stream })
    }
}

/// Sends back what comes, until the peer has enough.
pub(super) async fn answer_pings(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = [0; PING_BYTES];
    for _ in 0..MAX_PINGS {
        let answer = async {
            stream.read_exact(&mut bytes).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        if !matches!(tokio::time::timeout(PING_PATIENCE, answer).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pings_come_back_until_there_are_too_many() {
        let (mut ours, theirs) = tokio::io::duplex(PING_BYTES);
        let answering = tokio::spawn(answer_pings(theirs));
        for number in 0..MAX_PINGS {
            let sent = [number as u8; PING_BYTES];
            ours.write_all(&sent).await.expect("open");
            let mut back = [0; PING_BYTES];
            ours.read_exact(&mut back).await.expect("answered");
            assert_eq!(back, sent);
        }
        answering.await.expect("ends by itself");
        assert_eq!(ours.read(&mut [0; 1]).await.expect("ended"), 0);
    }
}
