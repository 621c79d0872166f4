//! Measures how long a network of so many nodes takes to say where a peer id is reached: nodes in one process, on
//! loopback, that all know one of them.
//!
//! `kith-dht-bench [NODES]` prints one JSON line. `kith-dht-bench --join ADDRESS NODES` connects so many nodes to another
//! program's, says so, and stays until it is killed.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kith_common::node::MediaPorts;
use kith_common::target::Target;
use kith_core::listener::{Begin, TakenPort};
use kithd::net::{DhtMode, Incoming, Limits, Net, NetConfig, SecretKey, Toggle};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All nodes have met the one that they know by then, on a loaded machine.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// Routing tables fill, and each node's record is with the others.
const SETTLE: Duration = Duration::from_secs(10);
const LOOKUPS: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().context("NODES is a number");
    match arguments.as_slice() {
        [] => measure(20).await,
        [nodes] => measure(number(nodes)?).await,
        [join, address, nodes] if join == "--join" => join_and_stay(address, number(nodes)?).await,
        _ => anyhow::bail!("kith-dht-bench [NODES] | kith-dht-bench --join ADDRESS NODES"),
    }
}

async fn start(bootstrap: Option<&Net>) -> Result<(Net, Incoming)> {
    let via = bootstrap.and_then(|net| net.identity().borrow().addresses.first().cloned());
    start_at(Some(Ipv4Addr::LOCALHOST.into()), via).await
}

async fn start_at(bind: Option<IpAddr>, via: Option<String>) -> Result<(Net, Incoming)> {
    // All come from one address here.
    let limits = Limits { incoming_per_second: 10_000, dials_per_second: 10_000, ..Limits::default() };
    let config = NetConfig {
        key: SecretKey::generate(),
        bind,
        port: 0,
        begin: Begin::Running,
        taken_port: TakenPort::Wait,
        bootstrap: via.map(|via| via.parse()).transpose()?.into_iter().collect(),
        mdns: Toggle::Off,
        upnp: Toggle::Off,
        dht: DhtMode::Server,
        relay: Toggle::Off,
        limits: Limits { connections: 4096, incoming_connections: 4096, ..limits },
        data_dir: None,
        name: "bench".to_owned(),
        media_ports: watch::channel(MediaPorts::default()).1,
        offered: watch::channel(Vec::new()).1,
    };
    Ok(Net::start(config).await?)
}

async fn join_and_stay(address: &str, count: usize) -> Result<()> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let node = start_at(None, Some(address.to_owned())).await?;
        let mut peers = node.0.peers();
        let joined =
            peers.wait_for(|rows| rows.iter().any(|row| row.connected && address.ends_with(&row.peer_id.to_string())));
        tokio::time::timeout(JOIN_WITHIN, joined).await.context("a node did not join")??;
        nodes.push(node);
    }
    println!("{}", serde_json::json!({ "joined": nodes.len() }));
    std::future::pending().await
}

async fn measure(count: usize) -> Result<()> {
    let first = start(None).await?;
    let mut nodes = vec![first];
    for _ in 1..count {
        let node = start(Some(&nodes[0].0)).await?;
        nodes.push(node);
    }
    for (net, _) in &nodes[1..] {
        let mut peers = net.peers();
        let joined = peers.wait_for(|rows| rows.iter().any(|row| row.connected));
        tokio::time::timeout(JOIN_WITHIN, joined).await.context("a node did not join")??;
    }
    tokio::time::sleep(SETTLE).await;
    let cost = |nodes: &[(Net, Incoming)]| {
        nodes.iter().map(|(net, _)| net.lookups()).fold((0, 0), |sum, own| (sum.0 + own.done, sum.1 + own.requests))
    };
    let before = cost(&nodes);
    let (mut took, mut failed, mut known) = (Vec::new(), 0, 0);
    for n in 0..LOOKUPS {
        let (from, to) = (n % count, (n * 7 + count / 2) % count);
        if from == to {
            continue;
        }
        let peer = nodes[to].0.peer_id();
        known += usize::from(nodes[from].0.peer(peer).is_some());
        let begun = Instant::now();
        match nodes[from].0.connect(&Target::Peer(peer)).await {
            Ok(_) => took.push(begun.elapsed().as_secs_f64() * 1000.0),
            Err(_) => failed += 1,
        }
    }
    let after = cost(&nodes);
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied();
    let done = after.0 - before.0;
    #[allow(clippy::cast_precision_loss)]
    let requests = (done > 0).then(|| (after.1 - before.1) as f64 / done as f64);
    println!(
        "{}",
        serde_json::json!({
            "nodes": count, "resolve_ms_p50": at(50), "resolve_ms_p95": at(95), "failed": failed,
            "connected_before": known, "lookups": done, "requests_per_lookup": requests,
        })
    );
    Ok(())
}
