//! Every way a call can end or not begin: each has its reason, its exit code, and leaves both nodes ready for the next.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kith_tests::Daemon;

use crate::calls::{SOON, call, ended, stage};

const TEST: [&str; 4] = ["--video", "test", "--audio", "test"];

#[test]
fn declining_ends_the_call_for_the_caller_with_exit_5() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let mut caller = ada.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test"])?;
    stage(&mut caller, "ring")?;
    assert_eq!(ben.ctl(&["decline"])?.0, 0);
    assert_eq!(ended(&mut caller)?["reason"], "declined");
    assert_eq!(caller.finish(SOON)?.0, 5);
    Ok(())
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let mut caller = ada.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test"])?;
    stage(&mut caller, "ring")?;
    caller.signal(rustix::process::Signal::INT)?;
    assert_eq!(ended(&mut caller)?["reason"], "local");
    let end = std::time::Instant::now() + SOON;
    loop {
        let row = ben.ask(&["calls"])?;
        if row["state"] == "ended" {
            break;
        }
        anyhow::ensure!(std::time::Instant::now() < end, "{row}");
    }
    Ok(())
}

#[test]
fn a_second_caller_hears_busy_and_the_first_call_goes_on() -> Result<()> {
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    let (mut first, _answer) = call(&ada, &ben, &[&TEST[..], &["--for", "6"]].concat(), &TEST)?;
    stage(&mut first, "active")?;
    let mut second = cem.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test"])?;
    assert_eq!(ended(&mut second)?["reason"], "busy");
    assert_eq!(second.finish(SOON)?.0, 5);
    assert_eq!(ended(&mut first)?["reason"], "local");
    Ok(())
}

#[test]
fn calling_each_other_at_once_becomes_one_call() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (to_ben, to_ada) = (ben.ticket()?, ada.ticket()?);
    let mut a = ada.spawn(&["call", &to_ben, "--video", "test", "--audio", "test"])?;
    let mut b = ben.spawn(&["call", &to_ada, "--video", "test", "--audio", "test"])?;
    let running = |daemon: &Daemon| -> Result<usize> {
        let (_, rows) = daemon.ctl(&["calls"])?;
        Ok(rows.iter().filter(|row| row["state"] == "active").count())
    };
    let end = std::time::Instant::now() + SOON;
    while running(&ada)? != 1 || running(&ben)? != 1 {
        anyhow::ensure!(
            std::time::Instant::now() < end,
            "no call: {:?} {:?}",
            ada.ctl(&["calls"]),
            ben.ctl(&["calls"])
        );
    }
    assert_eq!(ada.ctl(&["hangup"])?.0, 0);
    ended(&mut a)?;
    ended(&mut b)?;
    Ok(())
}

#[test]
fn calling_nobody_is_unreachable_with_exit_4_and_says_what_to_try() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    let gone = Daemon::start("gone", &[])?;
    let ticket = gone.ticket()?;
    drop(gone);
    let mut caller = ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test"])?;
    let end = ended(&mut caller)?;
    assert_eq!(end["reason"], "unreachable", "{end}");
    assert_eq!(end["failed_stage"], "dial", "{end}");
    assert!(end["advice"].as_str().is_some_and(|text| !text.is_empty()), "{end}");
    assert_eq!(caller.finish(SOON)?.0, 4);
    Ok(())
}

#[test]
fn a_killed_peer_ends_the_call_within_15_seconds_with_exit_4() -> Result<()> {
    let (ada, mut ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut caller, _answer) = call(&ada, &ben, &TEST, &TEST)?;
    stage(&mut caller, "active")?;
    ben.kill();
    let end = caller.wait_json("event", "ended", Duration::from_secs(17))?;
    assert_eq!(end["reason"], "timeout", "{end}");
    assert_eq!(caller.finish(SOON)?.0, 4);
    Ok(())
}

#[test]
fn a_daemon_that_is_stopped_hangs_up_politely() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut caller, _answer) = call(&ada, &ben, &TEST, &TEST)?;
    stage(&mut caller, "active")?;
    assert_eq!(ben.stop()?, 0);
    assert_eq!(ended(&mut caller)?["reason"], "remote");
    Ok(())
}

#[test]
fn a_client_that_is_killed_does_not_end_the_call_and_the_next_one_finds_it() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (mut caller, mut callee) = call(&ada, &ben, &TEST, &TEST)?;
    stage(&mut caller, "active")?;
    caller.kill();
    callee.wait_json("event", "stats", SOON)?;
    callee.wait_json("event", "stats", SOON)?;
    let row = ada.ask(&["calls"])?;
    assert_eq!(row["state"], "active", "{row}");
    assert_eq!(row["peer"], ben.peer.as_str(), "{row}");
    assert_eq!(ada.ctl(&["hangup"])?.0, 0);
    assert_eq!(ended(&mut callee)?["reason"], "remote");
    Ok(())
}

#[test]
fn ten_calls_one_after_another_leave_no_memory_behind() -> Result<()> {
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let ticket = echo.ticket()?;
    let one = || -> Result<()> {
        let mut call = ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test", "--for", "1"])?;
        assert_eq!(ended(&mut call)?["reason"], "local");
        Ok(())
    };
    // The first ones fill the pools and caches that stay.
    for _ in 0..4 {
        one()?;
    }
    let before = kith_tests::proc::resident_mb(ada.id())?;
    for _ in 0..10 {
        one()?;
    }
    // The allocator gives pages back a moment after they are free, and not all at once: what is there after a call varies by 12 MB.
    // A call that left its encoder or decoder behind would cost more than that each time.
    const VARIES_MB: f64 = 16.0;
    let deadline = Instant::now() + SOON;
    while kith_tests::proc::resident_mb(ada.id())? - before >= VARIES_MB {
        let after = kith_tests::proc::resident_mb(ada.id())?;
        ensure!(Instant::now() < deadline, "{before:.1} MB before, {after:.1} MB after");
    }
    Ok(())
}
