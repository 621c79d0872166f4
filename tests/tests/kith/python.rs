//! A program that nobody here compiled: the Python client answers a call, sees, hears, and is seen and heard.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, Lines, have, program, skip};

use crate::calls::{SOON, ended, stage, stat};

/// A Python with pycapnp, made once beside the build and kept.
fn python() -> Result<PathBuf> {
    let home = program("python-with-pycapnp");
    let python = home.join("bin/python");
    let works = |python: &Path| {
        Command::new(python).args(["-c", "import capnp"]).output().is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output()?;
        ensure!(made.status.success(), "venv: {}", String::from_utf8_lossy(&made.stdout));
        let installed = Command::new(&python).args(["-m", "pip", "install", "-q", "pycapnp>=2.2,<3"]).output()?;
        ensure!(installed.status.success(), "pip: {}", String::from_utf8_lossy(&installed.stderr));
        ensure!(works(&python), "pycapnp does not load");
    }
    Ok(python)
}

#[test]
fn a_python_program_answers_a_call_and_is_seen_and_heard() -> Result<()> {
    if !have("python3") {
        skip("python3 is not installed");
        return Ok(());
    }
    let python = match python() {
        Ok(python) => python,
        Err(error) => {
            skip(&format!("pycapnp cannot be installed here: {error:#}"));
            return Ok(());
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/python/answer.py");
    let lines = std::fs::read_to_string(&script)?.lines().count();
    ensure!(lines <= 100, "the example stays small: {lines} lines");
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let mut client = Lines::start(Command::new(python).arg("-u").arg(&script).arg("--socket").arg(&ben.socket))?;
    client.wait_for("sign that it waits", SOON, |line| line.contains("waiting").then_some(()))?;
    let mut caller = ada.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test", "--for", "5"])?;
    stage(&mut caller, "active")?;
    let end = ended(&mut caller)?;
    ensure!(stat(&end, "video_received")? > 30.0 && stat(&end, "audio_received")? > 100.0, "{end}");
    client.wait_end(Duration::from_secs(10))?;
    let report = client.seen().last().context("it prints a report")?;
    let report: serde_json::Value = serde_json::from_str(report)?;
    ensure!(report["pictures"].as_u64() > Some(30) && report["sounds"].as_u64() > Some(100), "{report}");
    Ok(())
}
