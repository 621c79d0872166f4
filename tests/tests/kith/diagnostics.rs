//! A network that explains itself: what a node says of its addresses, its router and the ways to its peers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{Daemon, Options, skip};
use serde_json::Value;

use crate::calls::SOON;

/// Probes need a while to say something about loss.
const MEASURED: Duration = Duration::from_secs(90);

fn pair(flags_a: &[&str], flags_b: &[&str]) -> Result<(Daemon, Daemon)> {
    let (ada, ben) = (Daemon::start("ada", flags_a)?, Daemon::start("ben", flags_b)?);
    ada.ask(&["peers", "connect", &ben.ticket()?])?;
    Ok((ada, ben))
}

/// The next line of `ip --watch` that `accept` takes.
fn network(of: &Daemon, what: &str, accept: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut watch = of.spawn(&["ip", "--watch"])?;
    watch.wait_for(what, SOON, |line| serde_json::from_str::<Value>(line).ok().filter(&accept))
}

fn texts<'a>(rows: &'a Value, field: &str) -> Vec<&'a str> {
    rows.as_array().into_iter().flatten().filter_map(|row| row[field].as_str()).collect()
}

/// Two homes behind routers of two kinds, and a node outside that both are connected to.
struct Street {
    net: Net,
    relay: Daemon,
    ada: Daemon,
    ben: Daemon,
}

fn street() -> Result<Option<Street>> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(None);
    }
    let net = Net::new(Nat::Cone, Nat::Symmetric)?;
    let at = |host: &str, flags: &[String]| Options {
        namespace: Some(net.name(host)),
        flags: flags.to_vec(),
        ..Options::default()
    };
    let relay = Daemon::with("relay", at("relay", &["--relay".into()]))?;
    let bootstrap = ["--bootstrap".to_owned(), format!("/ip4/203.0.113.10/tcp/9999/p2p/{}", relay.peer)];
    let ada = Daemon::with("ada", at("hostA", &bootstrap))?;
    let ben = Daemon::with("ben", at("hostB", &bootstrap))?;
    Ok(Some(Street { net, relay, ada, ben }))
}

#[test]
fn behind_a_router_its_address_is_shown_as_observed_and_its_kind_is_named() -> Result<()> {
    let Some(street) = street()? else { return Ok(()) };
    for (node, kind, outside) in [(&street.ada, "cone", "203.0.113.11:"), (&street.ben, "symmetric", "203.0.113.12:")] {
        let state = network(node, kind, |state| state["nat"] == kind && state["reachability"] == "relayed")?;
        let observed = texts(&state["observed"], "address");
        ensure!(observed.iter().any(|address| address.starts_with(outside)), "{state}");
        ensure!(state["observed"].as_array().into_iter().flatten().any(|row| row["service"] == "video"), "{state}");
        let local = texts(&state["local"], "ip");
        ensure!(local.iter().any(|ip| ip.starts_with("10.")) && !local.contains(&"127.0.0.1"), "{state}");
        ensure!(texts(&state["relay"], "relay").contains(&street.relay.peer.as_str()), "{state}");
        ensure!(state["meaning"].as_str().is_some_and(|text| text.contains("relay")), "{state}");
    }
    let public = network(&street.relay, "public", |state| state["reachability"] == "public")?;
    ensure!(public["nat"] == "none" || public["nat"] == "unknown", "{public}");
    Ok(())
}

#[test]
fn a_trace_names_the_router_and_a_relayed_peer_is_behind_its_relay() -> Result<()> {
    let Some(street) = street()? else { return Ok(()) };
    network(&street.ben, "a relay", |state| state["reachability"] == "relayed")?;
    let (code, hops) = street.ada.ctl(&["diag", "trace", &street.relay.peer])?;
    ensure!(code == 0, "ended with {code}: {hops:?}");
    let addresses: Vec<&str> = hops.iter().filter_map(|hop| hop["address"].as_str()).collect();
    ensure!(addresses == ["10.1.0.1", "203.0.113.10"], "{addresses:?}");
    // Between these two routers no direct way can be made.
    street.ada.ask(&["peers", "connect", &street.ben.ticket()?])?;
    let (code, hops) = street.ada.ctl(&["diag", "trace", &street.ben.peer])?;
    ensure!(code == 0, "ended with {code}: {hops:?}");
    let first = hops.first().context("a hop")?["address"].as_str().unwrap_or_default().to_owned();
    ensure!(first.starts_with("relay ") && first.contains(&street.relay.peer), "{hops:?}");
    drop(street.net);
    Ok(())
}

#[test]
fn a_link_that_loses_5_percent_shows_5_percent() -> Result<()> {
    let (ada, ben) = pair(&[], &["--impair", "loss=5"])?;
    let clean = Daemon::start("cem", &[])?;
    ada.ask(&["peers", "connect", &clean.ticket()?])?;
    let mut watch = ada.spawn(&["peers", "--watch"])?;
    let lossy = watch.wait_for("a loss of about 5 %", MEASURED, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        let loss = row["loss"].as_f64().filter(|_| row["peer_id"] == ben.peer.as_str())?;
        (0.03..=0.08).contains(&loss).then_some(row)
    })?;
    ensure!(lossy["rtt_ms"].as_f64().is_some_and(|rtt| rtt < 50.0) && lossy["jitter_ms"].is_number(), "{lossy}");
    let row = ada.ask(&["peers", "show", &clean.peer])?;
    ensure!(row["loss"].as_f64().is_some_and(|loss| loss < 0.01), "{row}");
    Ok(())
}

#[test]
fn a_ping_goes_over_every_connection_and_over_the_datagram_path() -> Result<()> {
    let (ada, ben) = pair(&[], &[])?;
    // The datagram path is known once both have said hello.
    network(&ada, "what the peer sees", |state| texts(&state["observed"], "service").contains(&"video"))?;
    let (code, replies) = ada.ctl(&["diag", "ping", &ben.peer, "--count", "2"])?;
    ensure!(code == 0, "ended with {code}: {replies:?}");
    let ways = texts(&Value::from(replies.clone()), "way").iter().map(ToString::to_string).collect::<Vec<_>>();
    ensure!(ways.iter().any(|way| way.starts_with("udp 127.0.0.1:")), "{ways:?}");
    ensure!(ways.iter().any(|way| way.contains("/quic-v1") || way.contains("/tcp/")), "{ways:?}");
    for reply in &replies {
        ensure!(reply["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0) && reply["path"] == "lan", "{reply}");
    }
    ensure!(replies.iter().any(|reply| reply["sequence"] == 1), "{replies:?}");
    Ok(())
}

#[test]
fn the_bandwidth_is_measured_with_the_peers_consent_only() -> Result<()> {
    let (ada, ben) = pair(&["--bandwidth-test", "never"], &[])?;
    let (code, lines) = ada.ctl(&["diag", "bandwidth", &ben.peer, "--for", "1"])?;
    ensure!(code == 0, "ended with {code}: {lines:?}");
    let result = lines.last().context("a result")?;
    for field in ["sent_bps", "received_bps"] {
        ensure!(result[field].as_u64().is_some_and(|bps| bps > 1_000_000), "{result}");
    }
    ensure!(result["path"] == "lan", "{result}");
    for line in lines.iter().filter(|line| line["event"] == "progress") {
        ensure!(line["done"].as_u64() <= line["total"].as_u64() && line["rate"].is_u64(), "{line}");
    }
    // Once a minute.
    let (code, _) = ada.ctl(&["diag", "bandwidth", &ben.peer, "--for", "1"])?;
    ensure!(code == 5, "again: {code}");
    let mut refused = ben.spawn(&["diag", "bandwidth", &ada.peer, "--for", "1"])?;
    let (code, _) = refused.finish(SOON)?;
    ensure!(code == 7 && refused.errors().contains("bandwidth_test"), "{code}: {}", refused.errors());
    // What went there and back is in the history.
    let (_, samples) = ada.ctl(&["diag", "history"])?;
    let busiest = |peer: &Value| {
        let of = samples.iter().filter(|row| row["peer"] == *peer);
        of.filter_map(|row| row["sent_bps"].as_u64()).max().unwrap_or(0)
    };
    ensure!(busiest(&Value::Null) > 1_000_000 && busiest(&ben.peer.clone().into()) > 1_000_000);
    Ok(())
}

#[test]
fn a_ping_ends_with_ctrl_c() -> Result<()> {
    let (ada, ben) = pair(&[], &[])?;
    let mut ping = ada.spawn(&["diag", "ping", &ben.peer, "--count", "100"])?;
    ping.wait_for("a reply", SOON, |line| line.contains("rtt_ms").then_some(()))?;
    ping.signal(rustix::process::Signal::INT)?;
    ensure!(ping.finish(Duration::from_secs(5))?.0 == 0);
    Ok(())
}

#[test]
fn a_report_names_no_address_no_name_and_no_id() -> Result<()> {
    let Some(street) = street()? else { return Ok(()) };
    network(&street.ada, "the router", |state| state["nat"] == "cone")?;
    let report = street.ada.ask(&["diag", "report"])?;
    let text = report["report"].as_str().context("a text")?;
    for personal in ["203.0.113.", "10.1.0.2", &street.ada.peer, &street.relay.peer, " ada ", " relay "] {
        // "relay" is also the name of a kind of row, which stands at its beginning.
        let rest = text.replace("  relay     ", "");
        ensure!(!rest.contains(personal), "{personal} in\n{text}");
    }
    for part in ["kithd ", "Services", "listening", "NAT cone", "<global address", "<name ", "<peer 1>", "observed"] {
        ensure!(text.contains(part), "no {part} in\n{text}");
    }
    Ok(())
}
