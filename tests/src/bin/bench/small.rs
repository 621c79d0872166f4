//! What is measured without looking at a call's pictures.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kith_tests::{Daemon, proc, program};

use crate::figure::Figure;

pub fn idle() -> Result<Vec<Figure>> {
    let ada = Daemon::start("ada", &[])?;
    ada.ask(&["status"])?;
    let before = proc::cpu_seconds(ada.id())?;
    let seconds = 20.0;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let used = proc::cpu_seconds(ada.id())? - before;
    Ok(vec![
        Figure::new("CPU", used / seconds * 100.0, "% of a core").at_most(1.0),
        Figure::new("resident memory", proc::resident_mb(ada.id())?, "MB").at_most(60.0),
    ])
}

pub fn ten_calls() -> Result<Vec<Figure>> {
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let ticket = echo.ticket()?;
    let one = || -> Result<()> {
        let mut call = ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test", "--for", "2"])?;
        call.wait_json("event", "ended", Duration::from_secs(30))?;
        call.wait_end(Duration::from_secs(10))?;
        Ok(())
    };
    // The first ones fill the pools and caches that stay.
    for _ in 0..4 {
        one()?;
    }
    let settled = || -> Result<f64> {
        std::thread::sleep(Duration::from_secs(1));
        proc::resident_mb(ada.id())
    };
    let before = settled()?;
    for _ in 0..10 {
        one()?;
    }
    let after = settled()?;
    Ok(vec![
        Figure::new("resident after four calls", before, "MB"),
        Figure::new("grown after ten more", after - before, "MB").at_most(10.0),
    ])
}

/// Runs a program of this build that prints one JSON object, and takes fields of it.
pub fn printed(name: &str, arguments: &[&str]) -> Result<serde_json::Value> {
    let output = std::process::Command::new(program(name)).args(arguments).output().with_context(|| name.to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().with_context(|| format!("{name} printed nothing"))?;
    serde_json::from_str(line).with_context(|| line.to_owned())
}

pub fn rpc() -> Result<Vec<Figure>> {
    let measured = printed("kith-rpc-bench", &[])?;
    let field = |name: &str| measured[name].as_f64().with_context(|| format!("no {name} in {measured}"));
    Ok(vec![
        Figure::new("delay p50", field("delay_ms_p50")?, "ms").at_most(1.5),
        Figure::new("delay p99", field("delay_ms_p99")?, "ms"),
        Figure::new("CPU, both processes", field("cpu_ms_per_picture")?, "ms a picture").at_most(1.0),
    ])
}

pub fn core() -> Result<Vec<Figure>> {
    Ok(vec![crate::core_cost::jitter_buffer(), crate::core_cost::call_machine()])
}
