//! Calls between two homes: each behind its own router, with one public node between them that relays and tells what
//! it sees.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{Daemon, Lines, Options, skip};
use serde_json::Value;

use crate::calls::{SOON, ended, stage};

struct Homes {
    net: Net,
    _relay: Daemon,
    ada: Daemon,
    ben: Daemon,
}

fn homes(nat_a: Nat, nat_b: Nat) -> Result<Option<Homes>> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(None);
    }
    let net = Net::new(nat_a, nat_b)?;
    let at = |host: &str, flags: &[String]| Options {
        namespace: Some(net.name(host)),
        flags: flags.to_vec(),
        ..Options::default()
    };
    let relay = Daemon::with("relay", at("relay", &["--relay".into()]))?;
    let bootstrap = ["--bootstrap".to_owned(), format!("/ip4/203.0.113.10/tcp/9999/p2p/{}", relay.peer)];
    let ada = Daemon::with("ada", at("hostA", &bootstrap))?;
    let ben = Daemon::with("ben", at("hostB", &bootstrap))?;
    // Ben can be called once the relay has reserved a place for him, which his ticket then names.
    let end = Instant::now() + SOON;
    while !ben.ask(&["id"])?["addresses"].to_string().contains("p2p-circuit") {
        ensure!(Instant::now() < end, "no relay address: {}\n{}", ben.ask(&["id"])?, ben.log());
    }
    Ok(Some(Homes { net, _relay: relay, ada, ben }))
}

fn call(homes: &Homes) -> Result<(Lines, Lines)> {
    let answer = homes.ben.spawn(&["answer", "--wait", "30", "--video", "test", "--audio", "test"])?;
    let ticket = homes.ben.ticket()?;
    let caller = homes.ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test"])?;
    Ok((caller, answer))
}

fn stats_until(lines: &mut Lines, what: &str, deadline: Duration, accept: impl Fn(&Value) -> bool) -> Result<Value> {
    lines.wait_for(what, deadline, |line| {
        serde_json::from_str::<Value>(line).ok().filter(|json| json["event"] == "stats" && accept(json))
    })
}

#[test]
fn two_homes_behind_cone_routers_talk_directly() -> Result<()> {
    let Some(homes) = homes(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let stats = stats_until(&mut caller, "direct path", SOON, |json| json["path"] == "direct")?;
    ensure!(stats["transport"] == "udp", "{stats}");
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn when_udp_dies_the_call_goes_on_through_the_tunnel_and_comes_back() -> Result<()> {
    let Some(homes) = homes(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    stats_until(&mut caller, "udp", SOON, |json| json["transport"] == "udp" && json["path"] == "direct")?;
    homes.net.cut_udp("natA")?;
    homes.net.cut_udp("natB")?;
    let cut = Instant::now();
    let before = stats_until(&mut caller, "tunnel", Duration::from_secs(12), |json| json["transport"] == "tcp")?;
    let through = before["audio_received"].as_u64().context("counts sound")?;
    stats_until(&mut caller, "sound through the tunnel", Duration::from_secs(6), |json| {
        json["audio_received"].as_u64().is_some_and(|now| now > through + 25)
    })?;
    let back = cut.elapsed();
    ensure!(back < Duration::from_secs(8), "sound was back after {back:?}");
    homes.net.restore_udp("natA")?;
    homes.net.restore_udp("natB")?;
    stats_until(&mut caller, "udp again", Duration::from_secs(20), |json| json["transport"] == "udp")?;
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn two_homes_behind_symmetric_routers_talk_through_the_relay() -> Result<()> {
    let Some(homes) = homes(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let stats = stats_until(&mut caller, "any stats", SOON, |json| json["audio_received"].as_u64() > Some(50))?;
    ensure!(stats["path"] == "relayed" && stats["transport"] == "tcp", "{stats}");
    Ok(())
}
