//! What is recorded on one side is what was played on the other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::clips::{Wav, Y4m, best_correlation, moving_clip, talking};
use kith_tests::{Daemon, have, skip};

use crate::calls::{SOON, call, ended, stage, stat};

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("temporary paths are UTF-8")
}

/// ffmpeg reads it to its end without complaint.
fn plays(path: &Path) -> Result<()> {
    if !have("ffmpeg") {
        skip("ffmpeg is not installed: whether other programs can play a recording is not tried");
        return Ok(());
    }
    let output = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(path).args(["-f", "null", "-"]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && errors.trim().is_empty(), "{}: {errors}", path.display());
    Ok(())
}

#[test]
fn recordings_of_both_sides_match_what_was_sent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let (clip_a, clip_b) = (moving_clip(640, 360, 30.0, 90), moving_clip(480, 270, 25.0, 75));
    let (talk_a, talk_b) = (talking(5.3), talking(7.1));
    clip_a.write(&at("a.y4m"))?;
    clip_b.write(&at("b.y4m"))?;
    talk_a.write(&at("a.wav"))?;
    talk_b.write(&at("b.wav"))?;
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (a_video, a_audio, a_record) = (at("a.y4m"), at("a.wav"), at("at-a"));
    let (b_video, b_audio, b_record) = (at("b.y4m"), at("b.wav"), at("at-b"));
    let (mut caller, mut callee) = call(
        &ada,
        &ben,
        &["--video", text(&a_video)?, "--audio", text(&a_audio)?, "--record", text(&a_record)?, "--for", "10"],
        &["--video", text(&b_video)?, "--audio", text(&b_audio)?, "--record", text(&b_record)?],
    )?;
    let (caller_end, callee_end) = (ended(&mut caller)?, ended(&mut callee)?);
    caller.wait_end(SOON)?;
    callee.wait_end(SOON)?;
    for (end, recorded, source, talk, fps) in
        [(&callee_end, &b_record, &clip_a, &talk_a, 30.0), (&caller_end, &a_record, &clip_b, &talk_b, 25.0)]
    {
        plays(&recorded.join("video.y4m"))?;
        plays(&recorded.join("audio.wav"))?;
        let video = Y4m::read(&recorded.join("video.y4m"))?;
        ensure!((video.width, video.height) == (source.width, source.height), "size {}x{}", video.width, video.height);
        ensure!((video.fps - fps).abs() < 0.1, "{} fps", video.fps);
        let due = stat(end, "video_due")?;
        let pictures = video.pictures.len() as f64;
        ensure!(pictures >= 0.95 * due.min(fps * 10.0), "{pictures} pictures of {due} due; {end}");
        let quality = video.psnr_against(source)?;
        // The first second runs in at the rate that the path is known to carry.
        let mut settled: Vec<f64> = quality.iter().skip(fps as usize).copied().collect();
        settled.sort_by(f64::total_cmp);
        ensure!(
            settled[settled.len() / 20] > 30.0,
            "PSNR p5 {:.1} dB, p50 {:.1} dB",
            settled[settled.len() / 20],
            settled[settled.len() / 2]
        );
        let sound = Wav::read(&recorded.join("audio.wav"))?;
        ensure!(sound.rate == 48_000 && sound.samples.len() > 48_000 * 8, "{} samples", sound.samples.len());
        let likeness = best_correlation(&sound.envelope()[50..], &talk.envelope());
        ensure!(likeness > 0.9, "sound correlates {likeness:.3}");
    }
    Ok(())
}

#[test]
fn a_recording_of_a_call_that_broke_plays_to_its_last_moment() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let record = dir.path().join("kept");
    let (ada, mut ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let test = ["--video", "test", "--audio", "test"];
    let (mut caller, _callee) = call(&ada, &ben, &[&test[..], &["--record", text(&record)?]].concat(), &test)?;
    stage(&mut caller, "active")?;
    caller.wait_json("event", "stats", SOON)?;
    caller.wait_json("event", "stats", SOON)?;
    ben.kill();
    // The recorder dies too, at its worst moment.
    caller.kill();
    plays(&record.join("video.y4m"))?;
    plays(&record.join("audio.wav"))?;
    let pictures = Y4m::read(&record.join("video.y4m"))?.pictures.len();
    ensure!(pictures >= 30, "{pictures} pictures");
    let samples = Wav::read(&record.join("audio.wav"))?.samples.len();
    ensure!(samples >= 48_000, "{samples} samples");
    Ok(())
}

#[test]
fn a_clip_that_is_cut_short_is_played_as_far_as_it_goes_and_an_impossible_one_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = dir.path().join("short.y4m");
    moving_clip(320, 180, 30.0, 10).write(&clip)?;
    let whole = std::fs::metadata(&clip)?.len();
    std::fs::File::options().write(true).open(&clip)?.set_len(whole - 1000)?;
    let (ada, echo) = (Daemon::start("ada", &[])?, Daemon::start("echo", &["--echo"])?);
    let ticket = echo.ticket()?;
    let mut call = ada.spawn(&["call", &ticket, "--video", text(&clip)?, "--audio", "none", "--for", "2"])?;
    let end = ended(&mut call)?;
    ensure!(end["reason"] == "local" && stat(&end, "video_received")? > 10.0, "{end}");

    let odd = dir.path().join("odd.y4m");
    std::fs::write(&odd, "YUV4MPEG2 W641 H361 F30:1 C420\nFRAME\n")?;
    let mut refused = ada.spawn(&["call", &ticket, "--video", text(&odd)?, "--audio", "none", "--for", "2"])?;
    let code = refused.wait_end(SOON)?.code();
    ensure!(code == Some(1), "{code:?}: {}", refused.errors());
    ensure!(refused.errors().contains("641"), "{}", refused.errors());
    Ok(())
}
