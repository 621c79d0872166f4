//! What the network is like from here: how this node is reached, how the ways to its peers do, and what to paste into a
//! question.
//!
//! One task asks the media sockets of connected peers all the time, lightly: numbered probes for latency, jitter and loss, and
//! now and then from both sockets what they are seen at. From the answers, and from what the swarm is told, it works out the
//! [`NetworkState`], the figures of the peer rows and the history of each second. Measurements that somebody asks for run in
//! the caller's own task and end when it drops them. What follows from observations is decided in `kith-core` (`reach`,
//! `probe`). Used by `rpc` and `main`; `net`, `media` and `calls` know nothing of it.

mod bandwidth;
mod history;
mod ping;
mod prober;
mod report;
mod state;
mod task;
mod trace;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kith_common::diagnostics::{BandwidthProgress, BandwidthResult, Hop, LinkSample, NetworkState, PingReply};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::NodeStatus;
use kith_common::target::Target;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::Instrument;

use crate::calls::Calls;
use crate::media::Media;
use crate::net::{Limits, Net, Stream};

pub use bandwidth::BandwidthTest;

use history::History;
use prober::Ask;

/// Datagram pings that wait for the task.
const ASKS: usize = 16;
/// Measurements of the bandwidth that this node asks for at a time: two would measure each other.
const MEASUREMENTS: usize = 1;

/// What the room is started with.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiagnosticsConfig {
    /// As the network is bound.
    pub bind: Option<IpAddr>,
    /// Whose bandwidth measurements are answered.
    pub bandwidth_test: BandwidthTest,
    /// What the network is held to, for the report.
    pub limits: Limits,
}

/// A cheap handle. The task ends with the last one.
#[derive(Clone)]
pub struct Diagnostics {
    net: Net,
    calls: Calls,
    limits: Limits,
    started: Instant,
    network: watch::Receiver<Arc<NetworkState>>,
    second: watch::Receiver<Arc<Vec<LinkSample>>>,
    history: Arc<Mutex<History>>,
    asks: mpsc::Sender<Ask>,
    measuring: Arc<Semaphore>,
}

impl Diagnostics {
    /// Starts probing, and answers the bandwidth measurements of others.
    pub fn start(
        config: DiagnosticsConfig,
        net: Net,
        media: Media,
        calls: Calls,
        measurements: Option<mpsc::Receiver<(PeerId, Stream)>>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(ASKS);
        let (network, second) = (watch::Sender::default(), watch::Sender::default());
        let history = Arc::new(Mutex::new(History::default()));
        let handle = Self {
            net: net.clone(),
            calls: calls.clone(),
            limits: config.limits,
            started: Instant::now(),
            network: network.subscribe(),
            second: second.subscribe(),
            history: Arc::clone(&history),
            asks,
            measuring: Arc::new(Semaphore::new(MEASUREMENTS)),
        };
        let published = task::Published { network, second, history };
        let task = task::Task::new(config.bind, net.clone(), media, calls, published);
        tokio::spawn(task.run(asked).instrument(tracing::info_span!("diagnostics")));
        if let Some(measurements) = measurements {
            tokio::spawn(bandwidth::serve(config.bandwidth_test, net, measurements));
        }
        handle
    }

    /// Addresses, NAT and what they mean; changes with them.
    pub fn network(&self) -> watch::Receiver<Arc<NetworkState>> {
        self.network.clone()
    }

    /// The rows of the last second.
    pub fn second(&self) -> watch::Receiver<Arc<Vec<LinkSample>>> {
        self.second.clone()
    }

    /// The last minutes, oldest first.
    pub fn history(&self) -> Vec<LinkSample> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).samples()
    }

    /// Pings a peer over each connection and over the datagram path, `count` times. Connects first where there is no
    /// connection.
    pub async fn ping(&self, target: &Target, count: u32, replies: mpsc::Sender<PingReply>) -> Result<(), Failure> {
        let peer = self.net.connect(target).await?;
        ping::run(&self.net, &self.asks, peer, count, replies).await
    }

    /// The routers on the way to a peer.
    pub async fn trace(&self, target: &Target, hops: mpsc::Sender<Hop>) -> Result<(), Failure> {
        let peer = self.net.connect(target).await?;
        let link = self.net.peer(peer).ok_or_else(gone)?;
        match link.remote {
            Some(remote) => {
                // Whose media sockets answer connected peers says when the end is reached.
                let ports = link.media_ports;
                let open = [ports.video, ports.audio].into_iter().find(|port| *port != 0);
                trace::run(remote.ip(), open.unwrap_or(remote.port()), hops).await
            }
            None => trace::relayed(&self.net, peer, hops).await,
        }
    }

    /// How much passes to a peer and back, `seconds` each way.
    pub async fn bandwidth(
        &self,
        target: &Target,
        seconds: u32,
        progress: mpsc::Sender<BandwidthProgress>,
    ) -> Result<BandwidthResult, Failure> {
        let busy = |_| {
            Failure::new(FailureKind::Busy, "another measurement of the bandwidth is going on")
                .advise("Wait for its end.")
        };
        let _only = self.measuring.try_acquire().map_err(busy)?;
        let peer = self.net.connect(target).await?;
        bandwidth::measure(&self.net, peer, seconds, progress).await
    }

    /// A text for a question to somebody who knows more, without addresses, names and ids. `status` is the node's own.
    pub fn report(&self, status: &NodeStatus) -> String {
        let identity = self.net.identity().borrow().clone();
        let network = self.network.borrow().clone();
        let peers = self.net.peers().borrow().clone();
        let facts = report::Facts {
            status,
            identity: &identity,
            network: &network,
            peers: &peers,
            calls: &self.calls.list(),
            limits: &self.limits,
            watched: self.started.elapsed(),
        };
        report::text(&facts)
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Unreachable, "the connection to this peer has just been closed").advise("Try again.")
}
