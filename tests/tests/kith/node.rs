//! A node by itself: its identity, its files, its end.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::{Daemon, Lines, Options, program};
use rustix::process::Signal;

#[test]
fn a_first_start_makes_an_identity_that_survives_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    let first = Daemon::with("ada", options.clone())?;
    let id = first.ask(&["id"])?;
    assert_eq!(id["name"], "ada");
    assert_eq!(id["peer_id"], first.peer.as_str());
    assert!(id["ticket"].as_str().is_some_and(|ticket| ticket.starts_with("kith:")), "{id}");
    assert!(id["addresses"].as_array().is_some_and(|all| !all.is_empty()), "{id}");
    let key = dir.path().join("data/identity.key");
    assert_eq!(std::fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    let (peer, code) = (first.peer.clone(), first.stop()?);
    assert_eq!(code, 0, "SIGTERM ends politely");
    let again = Daemon::with("ada", options)?;
    assert_eq!(again.peer, peer);
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused_and_names_the_first() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let first = Daemon::with("ada", Options { data_dir: Some(data.clone()), ..Options::default() })?;
    let mut second = Command::new(program("kithd"));
    second.args(["--bind", "127.0.0.1", "--node-port", "0", "--video-port", "0", "--audio-port", "0", "--no-mdns"]);
    second.arg("--data-dir").arg(&data).arg("--socket").arg(dir.path().join("other.sock"));
    let mut second = Lines::start(&mut second)?;
    let (code, _) = second.finish(Duration::from_secs(10))?;
    assert_eq!(code, 1);
    let errors = second.errors();
    assert!(errors.contains(&first.id().to_string()), "names the process: {errors}");
    Ok(())
}

#[test]
fn without_a_daemon_the_command_line_says_so_and_exits_3() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(program("kithctl"));
    command.arg("--socket").arg(dir.path().join("none.sock")).args(["--json", "status"]);
    let mut run = Lines::start(&mut command)?;
    let (code, lines) = run.finish(Duration::from_secs(10))?;
    assert_eq!((code, lines.len()), (3, 0));
    assert!(run.errors().contains("kithd"), "says what to start: {}", run.errors());
    Ok(())
}

#[test]
fn wrong_usage_exits_2() -> Result<()> {
    let mut run = Lines::start(Command::new(program("kithctl")).arg("no-such-noun"))?;
    assert_eq!(run.finish(Duration::from_secs(10))?.0, 2);
    Ok(())
}

#[test]
fn an_unknown_key_in_the_config_is_named_with_the_nearest_right_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("kithd.toml");
    std::fs::write(&config, "nmae = \"ada\"\n")?;
    let mut command = Command::new(program("kithd"));
    command.arg("--config").arg(&config).arg("--data-dir").arg(dir.path().join("data"));
    let mut run = Lines::start(command.arg("--socket").arg(dir.path().join("s")))?;
    assert_ne!(run.finish(Duration::from_secs(10))?.0, 0);
    let errors = run.errors();
    assert!(errors.contains("nmae") && errors.contains("name"), "{errors}");
    Ok(())
}

#[test]
fn two_nodes_connect_by_ticket_and_see_each_other() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let row = ada.ask(&["peers", "connect", &ben.ticket()?])?;
    assert_eq!(row["peer_id"], ben.peer.as_str());
    let mut watch = ben.spawn(&["peers", "--watch"])?;
    let seen = watch.wait_for("row of ada", Duration::from_secs(10), |line| {
        let row: serde_json::Value = serde_json::from_str(line).ok()?;
        (row["peer_id"] == ada.peer.as_str() && row["connected"] == true && row["name"] == "ada").then_some(row)
    })?;
    assert!(["lan", "direct"].contains(&seen["path"].as_str().context("a connected peer has a path")?), "{seen}");
    Ok(())
}

#[test]
fn status_lists_every_service_and_says_which_are_not_there_yet() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    let status = ada.ask(&["status"])?;
    let services = status["services"].as_array().context("status has services")?;
    let state = |name: &str| services.iter().find(|row| row["name"] == name).map(|row| row["state"].clone());
    for name in ["node", "video", "audio", "chat", "files"] {
        assert_eq!(state(name), Some("listening".into()), "{name}: {status}");
    }
    assert_eq!(state("broadcast"), Some("absent".into()), "{status}");
    Ok(())
}

#[test]
fn a_taken_media_port_is_a_failed_service_with_a_suggestion_and_recovers() -> Result<()> {
    let holder = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let port = holder.local_addr()?.port().to_string();
    let ada = Daemon::start("ada", &["--video-port", &port])?;
    let video = |status: &serde_json::Value| {
        status["services"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "video").cloned())
    };
    let row = video(&ada.ask(&["status"])?).context("status has the video service")?;
    assert_eq!(row["state"], "failed", "{row}");
    assert!(row["suggestion"].as_str().is_some_and(|text| !text.is_empty()), "{row}");
    drop(holder);
    let end = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        let row = video(&ada.ask(&["status"])?).context("status has the video service")?;
        if row["state"] == "listening" {
            break Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < end, "still {row}");
    }
}

#[test]
fn sigint_is_as_polite_as_sigterm() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    ada.signal(Signal::INT)?;
    assert_eq!(ada.stop().unwrap_or(0), 0);
    Ok(())
}
