//! Nodes find each other, come back to each other, and keep some out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{Daemon, Options, skip};
use serde_json::Value;

use crate::calls::{SOON, call, ended, stage};

const SOUND: [&str; 3] = ["--voice", "--audio", "test"];

fn bootstrap(node: &Daemon) -> Result<String> {
    let id = node.ask(&["id"])?;
    Ok(id["addresses"][0].as_str().context("a node has an address")?.to_owned())
}

/// The row of a peer, once it is as wanted.
fn row(daemon: &Daemon, peer: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + within;
    loop {
        let (_, rows) = daemon.ctl(&["peers"])?;
        if let Some(row) = rows.into_iter().find(|row| row["peer_id"] == peer && wanted(row)) {
            return Ok(row);
        }
        ensure!(Instant::now() < end, "no such row\n{}", daemon.log());
    }
}

fn connected(daemon: &Daemon, peer: &str) -> Result<Value> {
    row(daemon, peer, SOON, |row| row["connected"] == true)
}

#[test]
fn a_bare_peer_id_is_enough_to_call_somebody_whom_a_third_node_knows() -> Result<()> {
    let meeting = Daemon::start("meeting", &[])?;
    let via = bootstrap(&meeting)?;
    let ada = Daemon::start("ada", &["--bootstrap", &via])?;
    // A client of the DHT: only the record it has signed says where it is.
    let ben = Daemon::start("ben", &["--bootstrap", &via, "--dht", "client"])?;
    connected(&meeting, &ben.peer)?;
    connected(&ada, &meeting.peer)?;
    let end = Instant::now() + SOON;
    while ada.ctl(&["peers", "connect", &ben.peer])?.0 != 0 {
        ensure!(Instant::now() < end, "not found\n{}", ada.log());
    }
    let _callee = ben.spawn(&["answer", "--wait", "20", "--audio", "test"])?;
    let mut caller = ada.spawn(&[&["call", ben.peer.as_str()][..], &SOUND, &["--for", "1"]].concat())?;
    stage(&mut caller, "active")?;
    assert_eq!(ended(&mut caller)?["reason"], "local");
    Ok(())
}

#[test]
fn a_node_that_was_killed_comes_back_to_its_peers_without_bootstrap_nodes() -> Result<()> {
    let (ben, cem) = (Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let options = |flags: &[&str]| Options {
        data_dir: Some(data.clone()),
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        ..Options::default()
    };
    let mut ada = Daemon::with("ada", options(&["--bootstrap", &bootstrap(&ben)?]))?;
    connected(&ada, &ben.peer)?;
    ada.ask(&["peers", "connect", &cem.ticket()?])?;
    let end = Instant::now() + SOON;
    loop {
        let book = std::fs::read_to_string(data.join("peers.jsonl")).unwrap_or_default();
        if book.contains(&ben.peer) && book.contains(&cem.peer) {
            break;
        }
        ensure!(Instant::now() < end, "the book has {book:?}");
    }
    ada.kill();
    drop(ada);
    let begun = Instant::now();
    let ada = Daemon::with("ada", options(&[]))?;
    for peer in [&ben, &cem] {
        let row = connected(&ada, &peer.peer)?;
        assert!(row["last_seen_unix_ms"].as_i64() > Some(0), "{row}");
    }
    ensure!(begun.elapsed() < Duration::from_secs(5), "back after {:?}", begun.elapsed());
    // Both sides can use it at once, whatever is left of the old connection.
    let _callee = ada.spawn(&["answer", "--wait", "20", "--audio", "test"])?;
    let mut caller = ben.spawn(&[&["call", ada.peer.as_str()][..], &SOUND, &["--for", "1"]].concat())?;
    stage(&mut caller, "active")?;
    assert_eq!(ended(&mut caller)?["reason"], "local");
    Ok(())
}

#[test]
fn a_damaged_address_book_is_set_aside_and_the_node_starts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("peers.jsonl"), b"{\"peer\": 1}\n\xff\xfe nonsense")?;
    std::fs::write(data.join("blocked.jsonl"), b"nonsense\n")?;
    let ada = Daemon::with("ada", Options { data_dir: Some(data.clone()), ..Options::default() })?;
    assert!(data.join("peers.jsonl.damaged").exists() && data.join("blocked.jsonl.damaged").exists());
    assert!(ada.log().contains("make no sense"), "{}", ada.log());
    Ok(())
}

#[test]
fn blocking_ends_the_call_and_keeps_the_peer_out_until_it_is_unblocked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    let (ada, ben) = (Daemon::with("ada", options.clone())?, Daemon::start("ben", &[])?);
    let (mut caller, mut callee) = call(&ben, &ada, &SOUND, &["--audio", "test"])?;
    stage(&mut caller, "active")?;
    let blocked = ada.ask(&["peers", "block", "ben"])?;
    assert_eq!((&blocked["peer_id"], &blocked["status"]), (&ben.peer.as_str().into(), &"blocked".into()));
    assert_eq!(ended(&mut callee)?["reason"], "local");
    assert_eq!(ended(&mut caller)?["reason"], "remote");
    row(&ada, &ben.peer, SOON, |row| row["connected"] == false && row["status"] == "blocked")?;
    assert_eq!(ada.ctl(&["peers", "connect", &ben.ticket()?])?.0, 5);
    assert_eq!(ada.ctl(&["call", &ben.peer, "--voice", "--audio", "test"])?.0, 5);
    assert_eq!(ada.stop()?, 0);

    let ada = Daemon::with("ada", options)?;
    assert_eq!(row(&ada, &ben.peer, SOON, |_| true)?["status"], "blocked");
    let ticket = ada.ticket()?;
    assert_eq!(ben.ctl(&["peers", "connect", &ticket])?.0, 4);
    assert_eq!(ada.ask(&["peers", "unblock", &ben.peer])?["peer_id"], ben.peer.as_str());
    assert_ne!(ada.ctl(&["peers", "unblock", &ben.peer])?.0, 0);
    assert_eq!(ben.ctl(&["peers", "connect", &ticket])?.0, 0);
    Ok(())
}

#[test]
fn a_copied_identity_is_named_in_the_log_and_among_the_services() -> Result<()> {
    let meeting = Daemon::start("meeting", &[])?;
    let via = bootstrap(&meeting)?;
    let dir = tempfile::tempdir()?;
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let with = |data: &std::path::Path| Options {
        data_dir: Some(data.to_owned()),
        flags: vec!["--bootstrap".into(), via.clone()],
        ..Options::default()
    };
    let ada = Daemon::with("ada", with(&first))?;
    connected(&ada, &meeting.peer)?;
    std::fs::create_dir(&second)?;
    std::fs::copy(first.join("identity.key"), second.join("identity.key"))?;
    let copy = Daemon::with("copy", with(&second))?;
    assert_eq!(copy.peer, ada.peer);
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let status = ada.ask(&["status"])?;
        let node = status["services"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "node"));
        if node.is_some_and(|node| node["error"].to_string().contains("another node uses this identity")) {
            break;
        }
        ensure!(Instant::now() < end, "nothing noticed: {status}");
    }
    assert!(ada.log().contains("another node uses this identity"), "{}", ada.log());
    Ok(())
}

#[test]
fn two_nodes_in_one_house_see_each_other_within_a_second() -> Result<()> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(());
    }
    let net = Net::new(Nat::Cone, Nat::Cone)?;
    let at = |host: &str| Options {
        namespace: Some(net.name(host)),
        flags: vec!["--no-mdns=false".into(), "--no-upnp".into()],
        ..Options::default()
    };
    let ada = Daemon::with("ada", at("natA"))?;
    let ben = Daemon::with("ben", at("hostA"))?;
    let ready = kith_common::clock::unix_ms();
    let mut watch = ben.spawn(&["peers", "--watch"])?;
    let row = watch.wait_for("row of ada", SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["peer_id"] == ada.peer.as_str() && row["connected"] == true).then_some(row)
    })?;
    let since = row["connected_since_unix_ms"].as_i64().context("a connected peer is so since some time")?;
    ensure!(since - ready < 1000, "{} ms after both were ready", since - ready);
    Ok(())
}

#[test]
fn a_node_that_starts_without_a_network_joins_when_there_is_one() -> Result<()> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(());
    }
    let net = Net::new(Nat::Cone, Nat::Cone)?;
    let at = |host: &str, flags: &[String]| Options {
        namespace: Some(net.name(host)),
        flags: [&["--no-upnp".to_owned()][..], flags].concat(),
        ..Options::default()
    };
    let relay = Daemon::with("relay", at("relay", &["--relay".into()]))?;
    net.exec("hostA", &["ip", "link", "set", "eth0", "down"])?;
    let via = ["--bootstrap".to_owned(), format!("/ip4/203.0.113.10/udp/9999/quic-v1/p2p/{}", relay.peer)];
    let ada = Daemon::with("ada", at("hostA", &via))?;
    assert_eq!(ada.ask(&["status"])?["peers_connected"], 0);
    net.exec("hostA", &["ip", "link", "set", "eth0", "up"])?;
    net.exec("hostA", &["ip", "route", "add", "default", "via", "10.1.0.1"])?;
    connected(&ada, &relay.peer)?;
    // And has another address some time later.
    net.exec("hostA", &["ip", "addr", "del", "10.1.0.2/24", "dev", "eth0"])?;
    net.exec("hostA", &["ip", "addr", "add", "10.1.0.7/24", "dev", "eth0"])?;
    net.exec("hostA", &["ip", "route", "replace", "default", "via", "10.1.0.1"])?;
    let end = Instant::now() + SOON;
    loop {
        let addresses = ada.ask(&["id"])?["addresses"].to_string();
        if addresses.contains("10.1.0.7") && !addresses.contains("10.1.0.2/") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{addresses}");
    }
}
