//! The listeners of a node: taken ports, stopping and moving while calls go on, and what a restart remembers.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, Lines, Options};
use serde_json::Value;

use crate::calls::{SOON, call, ended, stage, stat};

const TEST: [&str; 4] = ["--video", "test", "--audio", "test"];
/// What is promised for a port that becomes free.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// A port that another program holds, and the hold on it.
fn held() -> Result<(u16, UdpSocket)> {
    let holder = UdpSocket::bind("127.0.0.1:0")?;
    Ok((holder.local_addr()?.port(), holder))
}

/// A port that nobody holds.
fn free() -> Result<u16> {
    Ok(held()?.0)
}

/// The row of a service.
fn row(daemon: &Daemon, name: &str) -> Result<Value> {
    let (code, rows) = daemon.ctl(&["services"])?;
    ensure!(code == 0, "services ended with {code}");
    rows.into_iter().find(|row| row["name"] == name).with_context(|| format!("no row of {name}"))
}

/// The next line of `services --watch` in which this service is in this state.
fn watched(watch: &mut Lines, name: &str, state: &str, deadline: Duration) -> Result<Value> {
    watch.wait_for(&format!("{name} {state}"), deadline, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["name"] == name && row["state"] == state).then_some(row)
    })
}

#[test]
fn a_taken_port_is_named_with_its_program_and_taken_by_itself_once_it_is_free() -> Result<()> {
    let (port, holder) = held()?;
    let ada = Daemon::start("ada", &["--video-port", &port.to_string()])?;
    let mut watch = ada.spawn(&["services", "--watch"])?;
    let video = watched(&mut watch, "video", "failed", SOON)?;
    assert_eq!((&video["port"], &video["wanted_port"]), (&0.into(), &port.into()), "{video}");
    let says = |field: &str, word: &str| video[field].as_str().is_some_and(|text| text.contains(word));
    assert!(says("error", &port.to_string()), "{video}");
    assert!(says("error", &format!("process {}", std::process::id())), "names the program: {video}");
    assert!(says("suggestion", "is free: kithctl services port video"), "{video}");
    assert!(video["next_try_s"].as_u64().is_some_and(|seconds| (1..=8).contains(&seconds)), "{video}");
    assert!(video["since"].is_string(), "{video}");
    for (name, state) in [("node", "listening"), ("audio", "listening"), ("chat", "listening")] {
        assert_eq!(row(&ada, name)?["state"], state, "{name} is left alone");
    }
    let (freed, _) = (Instant::now(), drop(holder));
    let video = watched(&mut watch, "video", "listening", TAKEN_WITHIN)?;
    assert!(freed.elapsed() < TAKEN_WITHIN);
    assert_eq!(
        (&video["port"], &video["error"], &video["next_try_s"]),
        (&port.into(), &"".into(), &0.into()),
        "{video}"
    );
    Ok(())
}

#[test]
fn where_the_config_says_auto_the_next_free_port_is_taken() -> Result<()> {
    let (port, _holder) = held()?;
    let config = format!("node_port = 0\naudio_port = 0\nvideo_port = {port}\ntaken_port = \"auto\"\n");
    let ada = Daemon::with("ada", Options { config: Some(config), ..Options::default() })?;
    let video = row(&ada, "video")?;
    assert_eq!((&video["state"], &video["wanted_port"]), (&"listening".into(), &port.into()), "{video}");
    assert!(video["port"].as_u64().is_some_and(|taken| taken > u64::from(port)), "{video}");
    assert!(video["suggestion"].as_str().is_some_and(|text| text.contains("next free port")), "{video}");
    Ok(())
}

#[test]
fn a_stopped_audio_service_refuses_voice_calls_in_words_and_a_video_call_goes_on() -> Result<()> {
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    let (mut video, _answer) = call(&ada, &ben, &TEST, &TEST)?;
    stage(&mut video, "active")?;
    let stopped = ben.ask(&["services", "stop", "audio"])?;
    assert_eq!((&stopped["state"], &stopped["port"]), (&"stopped".into(), &0.into()), "{stopped}");
    assert_eq!(row(&ben, "video")?["state"], "listening");

    let mut voice = cem.spawn(&["call", &ben.ticket()?, "--voice", "--audio", "test"])?;
    let refused = ended(&mut voice)?;
    assert_eq!((&refused["reason"], &refused["failed_stage"]), (&"failed".into(), &"ring".into()), "{refused}");
    assert_eq!(voice.finish(SOON)?.0, 1);
    assert!(voice.errors().contains("its service audio is stopped"), "{}", voice.errors());

    let mut own = ben.spawn(&["call", &cem.ticket()?, "--voice", "--audio", "test"])?;
    let refused = ended(&mut own)?;
    let advice = refused["advice"].as_str().unwrap_or_default();
    assert!(advice.contains("kithctl services start audio"), "{refused}");
    assert_eq!(own.finish(SOON)?.0, 1);
    assert!(own.errors().contains("service audio of this node is stopped"), "{}", own.errors());

    // Peers hear what is offered, and the running call has not noticed.
    let mut peers = cem.spawn(&["peers", "--watch"])?;
    peers.wait_for("row of ben without audio", SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["peer_id"] == ben.peer.as_str() && row["services"] == serde_json::json!(["video", "chat", "files"]))
            .then_some(())
    })?;
    let before = stat(&serde_json::json!({ "stats": video.wait_json("event", "stats", SOON)? }), "video_received")?;
    video.wait_json("event", "stats", SOON)?;
    let after = stat(&serde_json::json!({ "stats": video.wait_json("event", "stats", SOON)? }), "video_received")?;
    assert!(after > before, "pictures go on: {before} then {after}");
    assert_eq!(ada.ctl(&["hangup"])?.0, 0);
    assert_eq!(ended(&mut video)?["reason"], "local");

    assert_eq!(ben.ask(&["services", "start", "audio"])?["state"], "listening");
    let (mut voice, _answer) = call(&cem, &ben, &["--voice", "--audio", "test", "--for", "1"], &["--audio", "test"])?;
    assert_eq!(ended(&mut voice)?["reason"], "local");
    Ok(())
}

#[test]
fn stopping_a_service_ends_its_calls_politely() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut voice, mut answer) = call(&ada, &ben, &["--voice", "--audio", "test"], &["--audio", "test"])?;
    stage(&mut voice, "active")?;
    ben.ask(&["services", "stop", "audio"])?;
    assert_eq!(ended(&mut answer)?["reason"], "local");
    assert_eq!(ended(&mut voice)?["reason"], "remote");
    Ok(())
}

#[test]
fn moving_the_video_port_leaves_a_running_call_alone_and_the_next_call_uses_it() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let old = row(&ben, "video")?["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("a port")?;
    let (mut caller, _answer) = call(&ada, &ben, &TEST, &TEST)?;
    stage(&mut caller, "active")?;
    let new = free()?;
    let moved = ben.ask(&["services", "port", "video", &new.to_string()])?;
    assert_eq!(
        (&moved["state"], &moved["port"], &moved["wanted_port"]),
        (&"listening".into(), &new.into(), &new.into())
    );
    let pictures = |lines: &mut Lines| -> Result<f64> {
        stat(&serde_json::json!({ "stats": lines.wait_json("event", "stats", SOON)? }), "video_received")
    };
    let before = pictures(&mut caller)?;
    pictures(&mut caller)?;
    let after = pictures(&mut caller)?;
    assert!(after > before + 10.0, "pictures go on: {before} then {after}");
    assert!(UdpSocket::bind(("127.0.0.1", old)).is_err(), "the call still has its socket");
    assert_eq!(ada.ctl(&["hangup"])?.0, 0);
    assert_eq!(ended(&mut caller)?["reason"], "local");
    let end = Instant::now() + SOON;
    while UdpSocket::bind(("127.0.0.1", old)).is_err() {
        ensure!(Instant::now() < end, "the old port is still held after its last call");
        std::thread::yield_now();
    }
    // Nothing listens on the old port any more, so a call that is active runs on the new one.
    let (mut next, _answer) = call(&ada, &ben, &[&TEST[..], &["--for", "1"]].concat(), &TEST)?;
    assert_eq!(ended(&mut next)?["reason"], "local");
    Ok(())
}

#[test]
fn what_was_chosen_survives_a_restart_and_a_flag_wins_over_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let start = |flags: &[&str]| {
        let config = Some("node_port = 0\nvideo_port = 0\naudio_port = 0\n".to_owned());
        let (data_dir, flags) = (Some(dir.path().join("data")), flags.iter().map(|&flag| flag.to_owned()).collect());
        Daemon::with("ada", Options { config, data_dir, flags, ..Options::default() })
    };
    let port = free()?;
    let first = start(&[])?;
    first.ask(&["services", "port", "video", &port.to_string()])?;
    first.ask(&["services", "stop", "audio"])?;
    first.ask(&["services", "stop", "node"])?;
    first.ask(&["services", "start", "node"])?;
    assert_eq!(first.stop()?, 0);
    let again = start(&[])?;
    assert_eq!(row(&again, "video")?["port"], port);
    assert_eq!(row(&again, "audio")?["state"], "stopped");
    assert_eq!(row(&again, "node")?["state"], "listening");
    assert_eq!(again.stop()?, 0);
    let with_flag = start(&["--video-port", "0"])?;
    let video = row(&with_flag, "video")?;
    assert!(video["state"] == "listening" && video["wanted_port"] == 0 && video["port"] != port, "{video}");
    assert_eq!(with_flag.stop()?, 0);
    std::fs::write(dir.path().join("data/services.toml"), "nonsense")?;
    let damaged = start(&[])?;
    assert_eq!(row(&damaged, "audio")?["state"], "listening");
    assert!(damaged.log().contains("services.toml.damaged"), "{}", damaged.log());
    Ok(())
}

#[test]
fn what_cannot_be_done_to_a_service_is_said_with_its_exit_code() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    for (arguments, code, word) in [
        (&["services", "start", "broadcast"][..], 1, "no service broadcast yet"),
        (&["services", "port", "files", "7000"], 2, "no port of its own"),
        (&["services", "stop", "telegraph"], 2, "telegraph"),
    ] {
        let mut run = ada.spawn(arguments)?;
        assert_eq!(run.finish(SOON)?.0, code, "{arguments:?}");
        assert!(run.errors().contains(word), "{arguments:?}: {}", run.errors());
    }
    let (port, _holder) = held()?;
    let row = ada.ask(&["services", "port", "audio", &port.to_string()])?;
    assert_eq!((&row["state"], &row["wanted_port"]), (&"failed".into(), &port.into()), "a taken port is a row: {row}");
    Ok(())
}
