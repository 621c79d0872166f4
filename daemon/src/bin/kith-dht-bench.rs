//! Measures what it takes a newcomer to find a peer id in a network of so many nodes, all in this process.
//!
//! Each lookup is made by a new node that knows and is connected to one other, which is not the one that it looks for;
//! so it asks the network, and what it asks is counted. The nodes are whole ones, over loopback or, with `--memory`,
//! without sockets and QUIC ([`kithd::net::rehearsal`]).
//!
//! `kith-dht-bench [--memory] [NODES]` prints one JSON line. `kith-dht-bench --join ADDRESS NODES` connects so many nodes
//! to another program's, says so, and stays until it is killed.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kithd::net::rehearsal::{Outcome, Rehearsal, one_of_many};
use kithd::net::{Carrier, Net, NetConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All nodes have met the one that they know by then, on a loaded machine.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// Routing tables fill, and each node's record is with the others; what a node more adds to it on two cores.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
const SETTLE_A_NODE: Duration = Duration::from_millis(250);
/// How long it is looked what a network costs that nobody asks anything.
const REST: Duration = Duration::from_secs(10);
const LOOKUPS: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().context("NODES is a number");
    match arguments.as_slice() {
        ["--join", address, nodes] => join_and_stay(address, number(nodes)?).await,
        ["--memory"] => measure(20, Carrier::Memory).await,
        ["--memory", nodes] => measure(number(nodes)?, Carrier::Memory).await,
        [] => measure(20, Carrier::Sockets).await,
        [nodes] => measure(number(nodes)?, Carrier::Sockets).await,
        _ => anyhow::bail!("kith-dht-bench [--memory] [NODES] | kith-dht-bench --join ADDRESS NODES"),
    }
}

async fn join_and_stay(address: &str, count: usize) -> Result<()> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let bootstrap = vec![address.parse()?];
        let node = Net::start(NetConfig { bind: None, bootstrap, ..one_of_many(Carrier::Sockets) }).await?;
        let mut peers = node.0.peers();
        let joined =
            peers.wait_for(|rows| rows.iter().any(|row| row.connected && address.ends_with(&row.peer_id.to_string())));
        tokio::time::timeout(JOIN_WITHIN, joined).await.context("a node did not join")??;
        nodes.push(node);
    }
    println!("{}", serde_json::json!({ "joined": nodes.len() }));
    std::future::pending().await
}

async fn measure(count: usize, carrier: Carrier) -> Result<()> {
    anyhow::ensure!(count >= 3, "one to ask, one to find and one more: NODES is at least 3");
    let before = resident_kib();
    let network = Rehearsal::start(count, carrier).await?;
    let settled = network.settle(SETTLE_WITHIN + SETTLE_A_NODE * u32::try_from(count)?).await;
    let grown = resident_kib().zip(before).map(|(now, before)| now.saturating_sub(before));
    let (worked, resting) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(REST).await;
    let at_rest = cpu_seconds().zip(worked).map(|(now, before)| (now - before) / resting.elapsed().as_secs_f64());
    let mut outcomes = Vec::new();
    for n in 0..LOOKUPS {
        // All over the network, and never the node that is known already.
        let via = n * 7 % count;
        let wanted = (via + 1 + n * 13 % (count - 1)) % count;
        outcomes.push(network.look_for(wanted, via).await?);
    }
    let mut line = summary(count, &outcomes);
    line["settled_after_s"] = settled.after.as_secs_f64().into();
    line["settled_nodes"] = settled.nodes.into();
    line["kib_a_node"] = grown.map(|grown| grown as f64 / count as f64).into();
    line["cpu_at_rest_percent"] = at_rest.map(|cores| cores * 100.0).into();
    println!("{line}");
    Ok(())
}

/// What this process holds of the machine's memory, as Linux tells: proc_pid_status(5).
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    row.split_whitespace().next()?.parse().ok()
}

/// What this process has had of all cores: proc_pid_stat(5), in hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the program's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn summary(count: usize, outcomes: &[Outcome]) -> serde_json::Value {
    let how_many = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    let found: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.found.map(|(took, _)| ms(took))).collect();
    let connected: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.connected.map(ms)).collect();
    let first = outcomes.iter().filter_map(|outcome| outcome.found.map(|(_, requests)| requests as f64));
    let all = outcomes.iter().map(|outcome| outcome.requests as f64);
    let (first, all): (Vec<f64>, Vec<f64>) = (first.collect(), all.collect());
    serde_json::json!({
        "nodes": count,
        "lookups": outcomes.len(),
        "knew_before_most": outcomes.iter().map(|outcome| outcome.knew).max(),
        "asked_nobody": how_many(|outcome| outcome.requests == 0 || outcome.found.is_some_and(|(_, asked)| asked == 0)),
        "no_record": how_many(|outcome| outcome.found.is_none()),
        "not_connected": how_many(|outcome| outcome.connected.is_none()),
        "record_ms_p50": percentile(&found, 50), "record_ms_p95": percentile(&found, 95),
        "connected_ms_p50": percentile(&connected, 50), "connected_ms_p95": percentile(&connected, 95),
        "requests_until_record": mean(&first), "requests_until_record_p95": percentile(&first, 95),
        "requests": mean(&all), "requests_p95": percentile(&all, 95),
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The value that so many of a hundred do not exceed.
fn percentile(values: &[f64], share: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() * share).div_ceil(100).saturating_sub(1)).copied()
}
