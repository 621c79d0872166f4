//! The receiver is killed again and again, and the file is whole in the end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, note};
use serde_json::Value;

use super::{Home, MB, add, bytes, field, get};

const KILLS: usize = 20;

#[test]
fn a_receiver_that_is_killed_twenty_times_goes_on_from_what_it_had() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let ada = here.start("ada")?;
    let content = bytes(5, 120 * MB);
    let share = add(&ada, &here.write("large.bin", &content)?, &[])?;
    ada.ask(&["files", "settings", "--upload", "40M"])?;
    let ticket = field(&share, "ticket")?.to_owned();
    let options = there.lasting()?;
    let mut ben = Daemon::with("ben", options.clone())?;
    let mut step = content.len() as u64 / (KILLS as u64 + 1);
    ensure!(step > 0, "there is something between two kills");
    let mut next = step;
    for kill in 0..KILLS {
        let mut run = ben.spawn(&["files", "get", &ticket])?;
        let reached = run.wait_for("more of it", Duration::from_secs(60), |line| {
            let row: Value = serde_json::from_str(line).ok()?;
            let done = if row["event"] == "progress" { row["done"].as_u64()? } else { content.len() as u64 };
            (done >= next).then_some(done)
        })?;
        ben.kill();
        drop(run);
        ben = Daemon::with("ben", options.clone()).with_context(|| format!("after kill {kill}"))?;
        next = reached + step;
        if reached >= content.len() as u64 {
            break;
        }
        step = (content.len() as u64 - reached) / (KILLS as u64 - kill as u64).max(1);
    }
    // It has gone on by itself since the last start; this follows it.
    let done = get(&ben, &ticket, &[])?;
    ensure!(std::fs::read(field(&done, "path")?)? == content, "the bytes are those");
    let sent = ada.ask(&["files", "list"])?["sent_bytes"].as_u64().context("what was sent")?;
    let twice = sent.saturating_sub(content.len() as u64);
    note(&format!(
        "{} MB, killed {KILLS} times: {:.1} MB were sent twice",
        content.len() / MB,
        twice as f64 / MB as f64
    ));
    ensure!(twice <= KILLS as u64 * 5 * 1024 * 1024, "{twice} bytes were sent twice");
    Ok(())
}

/// What was connected twice, by TCP and by QUIC, is not taken for being there because QUIC falls silent without a word.
#[test]
fn a_provider_that_is_killed_goes_on_giving_as_soon_as_it_is_back() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let mut options = here.lasting()?;
    let mut ada = Daemon::with("ada", options.clone())?;
    let ben = there.start("ben")?;
    let content = bytes(6, 60 * MB);
    let share = add(&ada, &here.write("large.bin", &content)?, &[])?;
    let services = ada.ctl(&["services"])?.1;
    let node = services.iter().find(|row| row["name"] == "node").context("a node service")?;
    options.flags.extend(["--node-port".into(), node["port"].to_string()]);
    ben.ask(&["files", "settings", "--download", "10M"])?;
    let mut run = ben.spawn(&["files", "get", field(&share, "ticket")?, "--wait", "60"])?;
    let more_than = |line: &str, bytes: u64| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["event"] == "progress" && row["done"].as_u64()? > bytes).then(|| row["done"].as_u64()).flatten()
    };
    let had = run.wait_for("a part of it", Duration::from_secs(30), |line| more_than(line, 5 * MB as u64))?;
    ada.kill();
    // Long enough for whoever asks at once to have asked in vain.
    let mut watch = ben.spawn(&["files", "watch"])?;
    watch.wait_for("that nobody has it", Duration::from_secs(30), |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["hash"] == share["hash"] && row["state"] == "waiting").then_some(())
    })?;
    let _ada = Daemon::with("ada", options)?;
    let begun = Instant::now();
    run.wait_for("more of it", Duration::from_secs(30), |line| more_than(line, had + MB as u64))?;
    note(&format!("goes on {:.1} s after its provider is back", begun.elapsed().as_secs_f64()));
    // A connection that is dead has two seconds for a sign of life; who failed to answer is otherwise asked after ten.
    ensure!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    ben.ask(&["files", "settings", "--download", "0"])?;
    let (code, mut rows) = run.finish(Duration::from_secs(60))?;
    ensure!(code == 0, "{}", run.errors());
    ensure!(std::fs::read(field(&rows.pop().context("a row")?, "path")?)? == content, "the bytes are those");
    Ok(())
}
