//! Whole networks in one process, and newcomers that look for one of their nodes: for tests, and for measuring what
//! finding a peer costs.
//!
//! Every node is a whole [`Net`], with the handshakes, limits, tables, queries and signed records that a daemon has.
//! Over [`Carrier::Memory`] only the sockets are left out, and QUIC with them, so that hundreds of nodes fit. All
//! nodes serve the DHT. A newcomer does not, so that the network is the same for the next one.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use kith_common::target::Target;
use libp2p::Multiaddr;
use tokio::sync::watch;

use super::{Carrier, DhtMode, Incoming, Limits, Lookups, Net, NetConfig, SecretKey, table};

/// All nodes have met those that they join through by then, on a loaded machine.
const JOIN_WITHIN: Duration = Duration::from_secs(120);
/// Longer than an attempt to connect and the queries that it makes may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Of one lookup.
const QUERIES: u64 = 2;
/// How often it is looked whether tables and records have settled, and how long nothing may change for that: once all of
/// them are as they should be, and while some are not.
const LOOK: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(2);
const STUCK: Duration = Duration::from_secs(10);

/// A network.
pub struct Rehearsal {
    carrier: Carrier,
    nodes: Vec<(Net, Incoming)>,
}

/// How far a network has come.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    pub after: Duration,
    /// Nodes that know as many others as a bucket of the routing table holds, and whose record is with others.
    pub nodes: usize,
}

/// What a newcomer's lookup came to.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Nodes in its routing table when it asked.
    pub knew: usize,
    /// When the signed record was there and believed, and how many requests for it had gone out by then.
    pub found: Option<(Duration, u64)>,
    /// When the two had shaken hands, whichever way the newcomer had found.
    pub connected: Option<Duration>,
    /// All requests of the lookup, which goes on a while: there may be a newer record, and nearer nodes.
    pub requests: u64,
}

/// One of many nodes that share an address, which a limit for strangers' networks would take for a flood.
pub fn one_of_many(carrier: Carrier) -> NetConfig {
    NetConfig {
        carrier,
        dht: DhtMode::Server,
        limits: Limits { incoming_per_second: 10_000, ..Limits::default() },
        name: "rehearsal".to_owned(),
        ..NetConfig::local(SecretKey::generate())
    }
}

impl Rehearsal {
    /// So many nodes, each of which joins through two others at most. They have met those when this returns; records
    /// and tables take a moment longer to spread.
    pub async fn start(count: usize, carrier: Carrier) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(Net::start(one_of_many(carrier)).await?);
        }
        let network = Self { carrier, nodes };
        // All at once, so that records are put where they belong among all nodes, not among the first few.
        for index in 1..count {
            let mut via = vec![network.address(index / 2)?, network.address(index * 2 / 3)?];
            via.dedup();
            network.nodes[index].0.set_bootstrap(&via).await;
        }
        for (net, _) in &network.nodes[1..] {
            let mut peers = net.peers();
            let joined = peers.wait_for(|rows| rows.iter().any(|row| row.connected));
            tokio::time::timeout(JOIN_WITHIN, joined).await.context("a node did not join")??;
        }
        Ok(network)
    }

    /// Waits until every node knows others and has left its record with them, and nothing changes any more; or until it
    /// does not look as if that would come.
    pub async fn settle(&self, within: Duration) -> Settled {
        let begun = Instant::now();
        let wanted = table::K.min(self.nodes.len() - 1);
        let (mut before, mut changed): ((usize, u64), _) = ((0, 0), begun);
        loop {
            let states: Vec<Lookups> = self.nodes.iter().map(|(net, _)| *net.lookups().borrow()).collect();
            let nodes = states.iter().filter(|state| state.known >= wanted && state.published > 0).count();
            let now = (states.iter().map(|state| state.known).sum(), states.iter().map(|state| state.published).sum());
            if now != before {
                (before, changed) = (now, Instant::now());
            }
            let patience = if nodes == self.nodes.len() { QUIET } else { STUCK };
            if changed.elapsed() >= patience || begun.elapsed() >= within {
                return Settled { after: begun.elapsed(), nodes };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn address(&self, node: usize) -> anyhow::Result<Multiaddr> {
        let identity = self.nodes[node].0.identity();
        let address = identity.borrow().addresses.first().cloned().context("a node has no address")?;
        Ok(address.parse()?)
    }

    /// A newcomer that knows nobody but the node `via` connects to the node `wanted` by its peer id.
    pub async fn look_for(&self, wanted: usize, via: usize) -> anyhow::Result<Outcome> {
        let bootstrap = vec![self.address(via)?];
        let config = NetConfig { dht: DhtMode::Client, bootstrap, ..one_of_many(self.carrier) };
        let (newcomer, _incoming) = Net::start(config).await?;
        let mut lookups = newcomer.lookups();
        let knew = until(&mut lookups, |lookups| lookups.known > 0).await.context("it met nobody")?.known;
        let target = Target::Peer(self.nodes[wanted].0.peer_id());
        let begun = Instant::now();
        let connect = async { newcomer.connect(&target).await.ok().map(|_| begun.elapsed()) };
        let find = async {
            let seen = until(&mut lookups, |lookups| lookups.found > 0 || lookups.queries >= QUERIES).await?;
            anyhow::Ok((seen.found > 0).then(|| (begun.elapsed(), seen.requests_until_found)))
        };
        let (connected, found) = tokio::join!(connect, find);
        let found = found.context("the lookup did not end")?;
        let over = until(&mut lookups, |lookups| lookups.queries >= QUERIES).await.context("the lookup did not end")?;
        newcomer.shutdown().await;
        Ok(Outcome { knew, found, connected, requests: over.requests })
    }
}

async fn until(
    lookups: &mut watch::Receiver<Lookups>,
    wanted: impl FnMut(&Lookups) -> bool,
) -> anyhow::Result<Lookups> {
    Ok(*tokio::time::timeout(ANSWER_WITHIN, lookups.wait_for(wanted)).await??)
}
