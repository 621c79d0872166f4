//! Calls that are over, as both sides remember them: how they ended and what they were like, also after a restart.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kith_tests::people::{befriend, two_friends};
use kith_tests::{Daemon, Options};
use serde_json::Value;

use crate::calls::{SOON, call, ended, stage};

const TEST: [&str; 4] = ["--video", "test", "--audio", "test"];
const SOUND: [&str; 3] = ["--voice", "--audio", "test"];

/// The log, once it has so many calls: a row is written when its call is over.
fn log(daemon: &Daemon, count: usize, arguments: &[&str]) -> Result<Vec<Value>> {
    let end = Instant::now() + SOON;
    loop {
        let (code, rows) = daemon.ctl(&[&["calls", "log"][..], arguments].concat())?;
        ensure!(code == 0, "calls log {arguments:?} ended with {code}");
        if rows.len() >= count {
            return Ok(rows);
        }
        ensure!(Instant::now() < end, "{} of {count} calls: {rows:?}\n{}", rows.len(), daemon.log());
    }
}

fn number(row: &Value, name: &str) -> Result<f64> {
    row[name].as_f64().with_context(|| format!("no number {name} in {row}"))
}

#[test]
fn a_call_is_remembered_on_both_sides_with_its_reason_and_its_quality() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let (mut caller, mut callee) = call(&ada, &ben, &[&TEST[..], &["--for", "3"]].concat(), &TEST)?;
    ended(&mut caller)?;
    ended(&mut callee)?;
    let (here, there) = (log(&ada, 1, &[])?.remove(0), log(&ben, 1, &[])?.remove(0));
    assert_eq!(here["call"], there["call"]);
    assert_eq!((&here["peer"], &here["peer_id"]), (&"Ben".into(), &ben.peer.as_str().into()), "{here}");
    assert_eq!((&there["peer"], &there["peer_id"]), (&"Ada".into(), &ada.peer.as_str().into()), "{there}");
    assert_eq!((&here["direction"], &there["direction"]), (&"outgoing".into(), &"incoming".into()));
    assert_eq!((&here["reason"], &there["reason"]), (&"local".into(), &"remote".into()));
    for row in [&here, &there] {
        assert_eq!(
            (&row["media"], &row["failed_stage"], &row["missed"]),
            (&"video".into(), &Value::Null, &false.into())
        );
        assert!((2.0..30.0).contains(&number(row, "duration_s")?), "{row}");
        assert!(["lan", "direct"].contains(&row["path"].as_str().unwrap_or_default()), "{row}");
        assert_eq!(row["transport"], "udp", "{row}");
        let delay = number(row, "delay_ms_p95")?;
        assert!(delay > 0.0 && delay < 1000.0 && number(row, "delay_ms_p50")? <= delay, "{row}");
        assert!((0.0..=1.0).contains(&number(row, "late_400ms")?), "{row}");
        number(row, "audio_concealed_ms")?;
        assert!(row["sizes"].as_array().is_some_and(|sizes| !sizes.is_empty()), "{row}");
        let started = row["started_at"].as_str().context("a time")?;
        assert!(started.ends_with('Z') && started < row["ended_at"].as_str().context("a time")?, "{row}");
    }
    // The list of calls is what it was.
    let (code, rows) = ada.ctl(&["calls"])?;
    assert_eq!((code, rows.len(), &rows[0]["state"]), (0, 1, &"ended".into()));
    Ok(())
}

#[test]
fn missed_declined_and_failed_calls_are_told_apart() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let gone = Daemon::start("gone", &[])?;
    let (to_ben, nowhere) = (ben.ticket()?, gone.ticket()?);
    drop(gone);
    let place = |ticket: &str| ada.spawn(&[&["call", ticket][..], &SOUND].concat());
    let mut caller = place(&to_ben)?;
    stage(&mut caller, "ring")?;
    caller.signal(rustix::process::Signal::INT)?;
    ended(&mut caller)?;
    let missed = log(&ben, 1, &[])?.remove(0);
    assert_eq!((&missed["missed"], &missed["answered"]), (&true.into(), &false.into()), "{missed}");
    assert_eq!((&missed["media"], &missed["reason"]), (&"voice".into(), &"remote".into()), "{missed}");
    assert_eq!((&missed["peer"], &missed["duration_s"]), (&"ada".into(), &0.0.into()), "{missed}");
    assert_eq!(missed["path"], Value::Null);
    assert_eq!(log(&ada, 1, &[])?[0]["reason"], "local");

    let mut caller = place(&to_ben)?;
    stage(&mut caller, "ring")?;
    assert_eq!(ben.ctl(&["decline"])?.0, 0);
    ended(&mut caller)?;
    let rows = log(&ben, 2, &[])?;
    assert_eq!((&rows[0]["reason"], &rows[0]["missed"]), (&"local".into(), &false.into()), "{rows:?}");
    assert_eq!(log(&ada, 2, &[])?[0]["reason"], "declined");
    assert_eq!(log(&ben, 1, &["--missed"])?.len(), 1, "one was missed");

    let mut caller = place(&nowhere)?;
    ended(&mut caller)?;
    let failed = log(&ada, 3, &[])?.remove(0);
    assert_eq!((&failed["reason"], &failed["failed_stage"]), (&"unreachable".into(), &"dial".into()), "{failed}");
    assert!(failed["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{failed}");
    Ok(())
}

#[test]
fn somebody_who_calls_during_another_call_is_missed() -> Result<()> {
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    let (mut first, _answer) = call(&ada, &ben, &[&SOUND[..], &["--for", "6"]].concat(), &["--audio", "test"])?;
    stage(&mut first, "active")?;
    let mut second = cem.spawn(&[&["call", &ben.ticket()?][..], &SOUND].concat())?;
    assert_eq!(ended(&mut second)?["reason"], "busy");
    let missed = log(&ben, 1, &["--missed"])?.remove(0);
    assert_eq!((&missed["peer_id"], &missed["reason"]), (&cem.peer.as_str().into(), &"busy".into()), "{missed}");
    assert_eq!(ended(&mut first)?["reason"], "local");
    Ok(())
}

#[test]
fn the_log_is_there_after_a_restart_and_after_being_asked_to_end_in_a_call() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    let (ada, ben) = (Daemon::with("ada", options.clone())?, Daemon::start("ben", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    let (mut caller, mut callee) = call(&ada, &ben, &[&SOUND[..], &["--for", "1"]].concat(), &["--audio", "test"])?;
    ended(&mut caller)?;
    ended(&mut callee)?;
    let before = log(&ada, 1, &[])?;
    let (mut caller, _answer) = call(&ada, &ben, &SOUND, &["--audio", "test"])?;
    stage(&mut caller, "active")?;
    assert_eq!(ada.stop()?, 0);
    let ada = Daemon::with("ada", options)?;
    let rows = log(&ada, 2, &[])?;
    assert_eq!(rows[1..], before[..]);
    assert_eq!((&rows[0]["reason"], &rows[0]["answered"]), (&"local".into(), &true.into()), "{}", rows[0]);
    assert_eq!(ada.ctl(&["calls"])?.1, Vec::<Value>::new(), "those are of this run");
    Ok(())
}

#[test]
fn the_log_is_searched_paged_and_cleared() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let echo = Daemon::start("echo", &["--echo"])?;
    let (to_ben, to_echo) = (ben.ticket()?, echo.ticket()?);
    for target in [&to_echo, &to_ben, &to_echo] {
        let mut caller = ada.spawn(&[&["call", target][..], &SOUND, &["--for", "0.5"]].concat())?;
        if *target == to_ben {
            stage(&mut caller, "ring")?;
            caller.signal(rustix::process::Signal::INT)?;
        }
        ended(&mut caller)?;
    }
    let all = log(&ada, 3, &[])?;
    let ids = |rows: &[Value]| rows.iter().map(|row| row["call"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&log(&ada, 2, &["--search", "ECHO"])?), ids(&[all[0].clone(), all[2].clone()]));
    assert_eq!(ids(&log(&ada, 1, &["--peer", "Ben"])?), ids(&all[1..2]));
    assert_eq!(ids(&log(&ada, 1, &["--limit", "1"])?), ids(&all[..1]));
    let before = number(&all[0], "position")?.to_string();
    assert_eq!(ids(&log(&ada, 2, &["--before", &before])?), ids(&all[1..]));
    assert_eq!(log(&ada, 0, &["--before", "2001-01-01"])?, Vec::<Value>::new());
    assert_ne!(ada.ctl(&["calls", "log", "--peer", "nobody"])?.0, 0);

    // Nobody is there to be asked.
    assert_eq!(ada.ctl(&["calls", "log", "--clear"])?.0, 2);
    assert_eq!(log(&ada, 3, &[])?.len(), 3);
    assert_eq!(ada.ask(&["calls", "log", "--clear", "--peer", "Ben", "--yes"])?["removed"], 1);
    let first = all[0]["call"].as_str().context("an id")?;
    assert_eq!(ada.ask(&["calls", "log", "--forget", &first[..12]])?["call"], first);
    assert_eq!(ids(&log(&ada, 1, &[])?), ids(&all[2..]));
    assert_eq!(ada.ask(&["calls", "log", "--clear", "--yes"])?["removed"], 1);
    assert_eq!(log(&ada, 0, &[])?, Vec::<Value>::new());
    assert_eq!(log(&ben, 1, &[])?.len(), 1, "what others remember is theirs");
    Ok(())
}
