//! Whole calls.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, Lines, program};
use serde_json::Value;

use crate::figure::{Figure, percentile};

/// The final statistics of a test call between two throw-away nodes.
fn test_call(arguments: &[&str]) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(program("kithctl"));
    command.arg("--socket").arg(dir.path().join("none.sock")).args(["--json", "test-call"]).args(arguments);
    let mut run = Lines::start(&mut command)?;
    let (code, lines) = run.finish(Duration::from_secs(120))?;
    let end = lines.into_iter().next_back().context("a test call prints its end")?;
    ensure!(code == 0 && end["reason"] == "local", "{end}\n{}", run.errors());
    Ok(end["stats"].clone())
}

fn number(stats: &Value, name: &str) -> Result<f64> {
    name.split('.').fold(stats, |value, key| &value[key]).as_f64().with_context(|| format!("no {name} in {stats}"))
}

pub fn call_360p() -> Result<Vec<Figure>> {
    let stats = test_call(&["--size", "640x360", "--for", "30"])?;
    Ok(vec![
        Figure::new("pictures delivered", number(&stats, "steady.fps")?, "a second").at_least(29.0),
        Figure::new("delay p50", number(&stats, "steady.delay_ms_p50")?, "ms"),
        Figure::new("delay p95", number(&stats, "steady.delay_ms_p95")?, "ms").at_most(80.0),
        Figure::new("there and back p95", number(&stats, "loop_delay_ms_p95")?, "ms"),
        Figure::new("sound concealed after the first second", number(&stats, "steady.audio_concealed_ms")?, "ms")
            .at_most(0.0),
        Figure::new("skew p95", number(&stats, "steady.skew_ms_p95")?, "ms").at_most(80.0),
        Figure::new("CPU of both daemons", number(&stats, "cpu_daemons")? * 100.0, "% of a core").at_most(45.0),
    ])
}

pub fn call_720p() -> Result<Vec<Figure>> {
    let stats = test_call(&["--size", "1280x720", "--for", "30"])?;
    Ok(vec![
        Figure::text(
            "encoder, size",
            format!("{}, {}x{}", stats["encoder"].as_str().unwrap_or("?"), stats["width"], stats["height"]),
        ),
        Figure::new("pictures delivered", number(&stats, "steady.fps")?, "a second").at_least(29.0),
        Figure::new("delay p95", number(&stats, "steady.delay_ms_p95")?, "ms"),
        Figure::new("CPU of both daemons", number(&stats, "cpu_daemons")? * 100.0, "% of a core"),
    ])
}

pub fn call_rav1e() -> Result<Vec<Figure>> {
    for size in ["1280x720", "960x540", "640x360", "480x270", "320x180"] {
        let stats = test_call(&["--encoder", "rav1e", "--size", size, "--for", "20"])?;
        let fps = number(&stats, "steady.fps")?;
        let got = format!("{}x{}", stats["width"], stats["height"]);
        if fps >= 29.0 && got == size {
            return Ok(vec![
                Figure::text("largest size at 30 a second", size),
                Figure::new("pictures delivered", fps, "a second").at_least(29.0),
                Figure::new("delay p50", number(&stats, "steady.delay_ms_p50")?, "ms"),
                Figure::new("delay p95", number(&stats, "steady.delay_ms_p95")?, "ms"),
            ]);
        }
    }
    Ok(vec![Figure::text("largest size at 30 a second", "none")])
}

pub fn call_loss() -> Result<Vec<Figure>> {
    let stats = test_call(&["--loss", "5", "--delay", "25", "--for", "30"])?;
    let seconds = number(&stats, "duration_s")?;
    Ok(vec![
        Figure::new("pictures later than 400 ms", number(&stats, "late_400ms")?, "of those due").at_most(0.05),
        Figure::new("sound concealed", number(&stats, "audio_concealed_ms")? / seconds / 10.0, "%").at_most(1.0),
        Figure::new("delay p95", number(&stats, "delay_ms_p95")?, "ms"),
        Figure::new("pictures received", number(&stats, "video_received")? / seconds, "a second"),
    ])
}

pub fn call_1mbit() -> Result<Vec<Figure>> {
    let stats = test_call(&["--rate", "1000", "--for", "30"])?;
    Ok(vec![
        Figure::new("delay p95", number(&stats, "delay_ms_p95")?, "ms").at_most(200.0),
        Figure::new("video", number(&stats, "video_kbps_in")?, "kb/s"),
        Figure::new("pictures received", number(&stats, "video_received")? / number(&stats, "duration_s")?, "a second"),
    ])
}

pub fn call_drop() -> Result<Vec<Figure>> {
    let stats = test_call(&["--rate", "2000", "--rate-after", "15:500", "--for", "30"])?;
    Ok(vec![
        Figure::new("worst picture after the drop", number(&stats, "drop.worst_ms")?, "ms"),
        Figure::new("until pictures are clear again", number(&stats, "drop.clear_after_ms")?, "ms"),
    ])
}

/// Twenty calls to an echo node that answers at once.
pub fn start() -> Result<Vec<Figure>> {
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let ticket = echo.ticket()?;
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut call = ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test", "--for", "1"])?;
        let end = call.wait_json("event", "ended", Duration::from_secs(30))?;
        ensure!(end["reason"] == "local", "{end}");
        pictures.push(number(&end["stats"], "first_frame_ms")?);
        sounds.push(number(&end["stats"], "first_sound_ms")?);
        call.wait_end(Duration::from_secs(10))?;
    }
    Ok(vec![
        Figure::new("accept to first picture p50", percentile(&mut pictures, 0.5), "ms"),
        Figure::new("accept to first picture p95", percentile(&mut pictures, 0.95), "ms").at_most(250.0),
        Figure::new("accept to first sound p50", percentile(&mut sounds, 0.5), "ms"),
        Figure::new("accept to first sound p95", percentile(&mut sounds, 0.95), "ms").at_most(150.0),
    ])
}
