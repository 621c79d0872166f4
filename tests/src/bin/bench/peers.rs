//! What peers cost a node that does nothing else, and how fast they find it again.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{Daemon, Lines, Options, proc, program};
use serde_json::Value;

use crate::figure::{Figure, percentile};

const PEERS: usize = 50;
/// Fifty nodes that meet greet, look each other up and leave their records for half a minute; that is not idling.
const SETTLE: Duration = Duration::from_secs(45);
const MEASURED: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(60);

/// Bytes that have passed a network interface of the process, both ways.
fn passed(process: u32, interface: &str) -> Result<f64> {
    let table = std::fs::read_to_string(format!("/proc/{process}/net/dev"))?;
    let mut rows = table.lines().filter_map(|line| line.split_once(':'));
    let (_, row) = rows.find(|(name, _)| name.trim() == interface).with_context(|| format!("no {interface}"))?;
    let fields: Vec<&str> = row.split_whitespace().collect();
    // Received bytes are the first, sent bytes the ninth: proc_pid_net(5).
    Ok(fields[0].parse::<f64>()? + fields[8].parse::<f64>()?)
}

/// The node is alone in its network, so that what passes its interface is what its peers cost, headers included.
pub fn idle_50() -> Result<Vec<Figure>> {
    if let Some(reason) = Net::impossible() {
        bail!(reason);
    }
    let net = Net::new(Nat::Cone, Nat::Cone)?;
    let options = Options { namespace: Some(net.name("hostA")), flags: vec!["--no-upnp".into()], ..Options::default() };
    let ada = Daemon::with("ada", options)?;
    let address = format!("/ip4/10.1.0.2/udp/9999/quic-v1/p2p/{}", ada.peer);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.name("natA")]).arg(program("kith-dht-bench"));
    let mut peers = Lines::start(command.args(["--join", &address, &PEERS.to_string()]))?;
    peers.wait_for("joined", SOON, |line| line.contains("joined").then_some(()))?;
    std::thread::sleep(SETTLE);
    let connected = || -> Result<f64> { ada.ask(&["status"])?["peers_connected"].as_f64().context("a status counts") };
    let at_first = connected()?;
    let (cpu, bytes, begun) = (proc::cpu_seconds(ada.id())?, passed(ada.id(), "eth0")?, Instant::now());
    std::thread::sleep(MEASURED);
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, bytes) = (proc::cpu_seconds(ada.id())? - cpu, passed(ada.id(), "eth0")? - bytes);
    Ok(vec![
        Figure::new("connected peers", at_first.min(connected()?), "").at_least(PEERS as f64),
        Figure::new("CPU", cpu / seconds * 100.0, "% of a core").at_most(2.0),
        Figure::new("resident memory", proc::resident_mb(ada.id())?, "MB").at_most(100.0),
        Figure::new("on the wire, both ways", bytes / seconds / PEERS as f64 / 1000.0, "kB/s a peer").at_most(2.0),
    ])
}

/// Waits until `daemon` shows the peer as connected.
fn sees(daemon: &Daemon, peer: &str) -> Result<()> {
    let mut watch = daemon.spawn(&["peers", "--watch"])?;
    watch.wait_for("row of a connected peer", SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["peer_id"] == peer && row["connected"] == true).then_some(())
    })
}

fn node_port(daemon: &Daemon) -> Result<String> {
    let status = daemon.ask(&["status"])?;
    let node = status["services"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "node"));
    let port = node.and_then(|node| node["port"].as_u64()).with_context(|| format!("no port in {status}"))?;
    Ok(port.to_string())
}

/// The survivor may not have noticed the end yet, but the restarted node is connected only when the survivor is, too.
pub fn reconnect() -> Result<Vec<Figure>> {
    let ada = Daemon::start("ada", &[])?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut options = Options { data_dir: Some(data.clone()), ..Options::default() };
    let mut ben = Daemon::with("ben", options.clone())?;
    ben.ask(&["peers", "connect", &ada.ticket()?])?;
    options.flags = vec!["--node-port".into(), node_port(&ben)?];
    let end = Instant::now() + SOON;
    while !std::fs::read_to_string(data.join("peers.jsonl")).unwrap_or_default().contains(&ada.peer) {
        ensure!(Instant::now() < end, "the peer was not written down");
    }
    let mut times = Vec::new();
    for _ in 0..10 {
        ben.kill();
        let killed = Instant::now();
        ben = Daemon::with("ben", options.clone())?;
        sees(&ben, &ada.peer)?;
        sees(&ada, &ben.peer)?;
        times.push(killed.elapsed().as_secs_f64());
    }
    Ok(vec![
        Figure::new("killed to connected again p50", percentile(&mut times, 0.5), "s"),
        Figure::new("killed to connected again p95", percentile(&mut times, 0.95), "s").at_most(5.0),
    ])
}

pub fn lan() -> Result<Vec<Figure>> {
    if let Some(reason) = Net::impossible() {
        bail!(reason);
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let net = Net::new(Nat::Cone, Nat::Cone)?;
        // The later flag wins over that of the test daemons.
        let at = |host: &str| Options {
            namespace: Some(net.name(host)),
            flags: vec!["--no-mdns=false".into(), "--no-upnp".into()],
            ..Options::default()
        };
        let ada = Daemon::with("ada", at("natA"))?;
        let ben = Daemon::with("ben", at("hostA"))?;
        let ready = Instant::now();
        sees(&ben, &ada.peer)?;
        sees(&ada, &ben.peer)?;
        times.push(ready.elapsed().as_secs_f64());
    }
    Ok(vec![
        Figure::new("ready to seen by both, median", percentile(&mut times, 0.5), "s"),
        Figure::new("the slowest of five", percentile(&mut times, 1.0), "s").at_most(1.0),
    ])
}
