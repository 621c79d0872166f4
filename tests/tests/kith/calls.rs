//! One person calls another; both see and hear.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::{Daemon, Lines};
use serde_json::Value;

pub const SOON: Duration = Duration::from_secs(20);

/// `stage` line of a running call.
pub fn stage(lines: &mut Lines, stage: &str) -> Result<Value> {
    lines.wait_json("stage", stage, SOON)
}

/// The `ended` line.
pub fn ended(lines: &mut Lines) -> Result<Value> {
    lines.wait_json("event", "ended", Duration::from_secs(60))
}

/// A number of the final stats.
pub fn stat(ended: &Value, name: &str) -> Result<f64> {
    ended["stats"][name].as_f64().with_context(|| format!("no {name} in {ended}"))
}

/// Two daemons and a call between them: the caller's lines and the callee's.
pub fn call(from: &Daemon, to: &Daemon, caller: &[&str], callee: &[&str]) -> Result<(Lines, Lines)> {
    let mut answer = vec!["answer", "--wait", "20"];
    answer.extend(callee);
    let answer = to.spawn(&answer)?;
    let ticket = to.ticket()?;
    let mut call = vec!["call", ticket.as_str()];
    call.extend(caller);
    Ok((from.spawn(&call)?, answer))
}

#[test]
fn a_video_call_shows_and_sounds_both_ways_and_its_timeline_is_in_order() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let test = ["--video", "test", "--audio", "test"];
    let (mut caller, mut callee) = call(&ada, &ben, &[&test[..], &["--for", "5"]].concat(), &test)?;
    let mut last = 0.0;
    for name in ["resolve", "dial", "signal", "ring", "accept", "path", "first_packet", "first_frame", "active"] {
        let line = stage(&mut caller, name)?;
        let at = line["at_ms"].as_f64().context("a stage has a time")?;
        assert!(at >= last, "{name} at {at} after {last}");
        last = at;
    }
    let (caller, callee) = (ended(&mut caller)?, ended(&mut callee)?);
    assert_eq!(caller["reason"], "local");
    assert_eq!(callee["reason"], "remote");
    for side in [&caller, &callee] {
        assert!(stat(side, "video_received")? > 60.0, "{side}");
        assert!(stat(side, "audio_received")? > 150.0, "{side}");
        assert!(stat(side, "delay_ms_p95")? < 400.0, "{side}");
        assert!(["aom", "rav1e"].contains(&side["stats"]["encoder"].as_str().unwrap_or_default()), "{side}");
        assert!(["lan", "direct"].contains(&side["stats"]["path"].as_str().unwrap_or_default()), "{side}");
        assert_eq!(side["stats"]["transport"], "udp");
    }
    Ok(())
}

#[test]
fn a_voice_call_sounds_both_ways_without_pictures() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut caller, mut callee) =
        call(&ada, &ben, &["--voice", "--audio", "test", "--for", "3"], &["--audio", "test"])?;
    for side in [ended(&mut caller)?, ended(&mut callee)?] {
        assert!(stat(&side, "audio_received")? > 80.0, "{side}");
        assert_eq!(stat(&side, "video_received")?, 0.0, "{side}");
    }
    Ok(())
}

#[test]
fn an_echo_node_answers_by_itself_and_sends_back_what_arrives() -> Result<()> {
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let mut call = ada.spawn(&["call", &echo.ticket()?, "--video", "test", "--audio", "test", "--for", "4"])?;
    let end = ended(&mut call)?;
    assert_eq!(end["reason"], "local", "{end}");
    assert!(stat(&end, "video_received")? > 50.0, "{end}");
    assert!(stat(&end, "audio_received")? > 100.0, "{end}");
    Ok(())
}

#[test]
fn a_test_call_needs_nothing_and_reports_its_figures() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = std::process::Command::new(kith_tests::program("kithctl"));
    command.arg("--socket").arg(dir.path().join("none.sock")).args(["--json", "test-call", "--for", "5"]);
    let mut run = Lines::start(&mut command)?;
    let (code, lines) = run.finish(Duration::from_secs(60))?;
    let end = lines.last().context("a test call prints its end")?;
    assert_eq!((code, &end["reason"]), (0, &Value::from("local")), "{}", run.errors());
    assert!(stat(end, "video_received")? > 60.0, "{end}");
    assert!(stat(end, "loop_delay_ms_p95")? > 0.0, "{end}");
    Ok(())
}

#[test]
fn rav1e_carries_a_call_too() -> Result<()> {
    let (ada, echo) = (Daemon::start("ada", &["--encoder", "rav1e"])?, Daemon::start("echo", &["--echo"])?);
    let mut call = ada.spawn(&["call", &echo.ticket()?, "--video", "test", "--audio", "none", "--for", "6"])?;
    let end = ended(&mut call)?;
    assert_eq!(end["stats"]["encoder"], "rav1e", "{end}");
    // How many a second it manages is a matter of the machine: `scripts/bench call-rav1e`.
    assert!(stat(&end, "video_received")? > 10.0, "{end}");
    Ok(())
}

#[test]
fn muting_and_the_camera_are_seen_by_the_other_side() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut caller, _callee) =
        call(&ada, &ben, &["--video", "test", "--audio", "test"], &["--video", "test", "--audio", "test"])?;
    stage(&mut caller, "active")?;
    assert_eq!(ada.ctl(&["mute", "on"])?.0, 0);
    assert_eq!(ada.ctl(&["camera", "off"])?.0, 0);
    let end = std::time::Instant::now() + SOON;
    loop {
        let row = ben.ask(&["calls"])?;
        if row["peer_microphone"] == "off" && row["peer_camera"] == "off" {
            break;
        }
        anyhow::ensure!(std::time::Instant::now() < end, "{row}");
    }
    assert_eq!(ben.ctl(&["hangup"])?.0, 0);
    assert_eq!(ended(&mut caller)?["reason"], "remote");
    Ok(())
}
