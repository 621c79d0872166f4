//! What is recorded on one side is what was played on the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::clips::{Wav, Y4m, best_correlation, moving_clip, talking};
use kith_tests::{Daemon, have, note, skip};

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

/// What one side plays: the clips, and where they are.
struct Side {
    video: Y4m,
    audio: Wav,
    video_file: PathBuf,
    audio_file: PathBuf,
}

impl Side {
    fn write(dir: &Path, name: &str, video: Y4m, audio: Wav) -> Result<Self> {
        let (video_file, audio_file) = (dir.join(format!("{name}.y4m")), dir.join(format!("{name}.wav")));
        video.write(&video_file)?;
        audio.write(&audio_file)?;
        Ok(Self { video, audio, video_file, audio_file })
    }
}

/// How like the sound is: the mean over pieces of two seconds, each where it fits best, because the jitter buffer moves the
/// sound by some packets in the course of a call.
fn likeness(recorded: &[f64], source: &[f64]) -> f64 {
    const PIECE: usize = 100;
    let pieces: Vec<f64> = recorded.chunks_exact(PIECE).map(|piece| best_correlation(piece, source)).collect();
    pieces.iter().sum::<f64>() / pieces.len().max(1) as f64
}

/// A call of ten seconds in which both sides play their clips and record the other's, and what the recordings must be.
fn play_to_each_other(dir: &Path, a: &Side, b: &Side) -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (a_record, b_record) = (dir.join("at-a"), dir.join("at-b"));
    let (mut caller, mut callee) = call(
        &ada,
        &ben,
        &[
            "--video",
            text(&a.video_file)?,
            "--audio",
            text(&a.audio_file)?,
            "--record",
            text(&a_record)?,
            "--for",
            "10",
        ],
        &["--video", text(&b.video_file)?, "--audio", text(&b.audio_file)?, "--record", text(&b_record)?],
    )?;
    let (caller_end, callee_end) = (ended(&mut caller)?, ended(&mut callee)?);
    caller.wait_end(SOON)?;
    callee.wait_end(SOON)?;
    for (end, recorded, source) in [(&callee_end, &b_record, a), (&caller_end, &a_record, b)] {
        plays(&recorded.join("video.y4m"))?;
        plays(&recorded.join("audio.wav"))?;
        let video = Y4m::read(&recorded.join("video.y4m"))?;
        let (clip, fps) = (&source.video, source.video.fps);
        ensure!((video.width, video.height) == (clip.width, clip.height), "size {}x{}", video.width, video.height);
        ensure!((video.fps - fps).abs() < 0.1, "{} fps", video.fps);
        let due = stat(end, "video_due")?;
        let pictures = video.pictures.len() as f64;
        ensure!(pictures >= 0.95 * due.min(fps * 10.0), "{pictures} pictures of {due} due; {end}");
        // The first second runs in at the rate that the path is known to carry.
        let mut settled: Vec<f64> = video.psnr_against(clip)?.into_iter().skip(fps as usize).collect();
        settled.sort_by(f64::total_cmp);
        let sound = Wav::read(&recorded.join("audio.wav"))?;
        ensure!(sound.rate == 48_000 && sound.samples.len() > 48_000 * 8, "{} samples", sound.samples.len());
        let likeness = likeness(&sound.envelope()[50..], &source.audio.envelope());
        let (p5, p50) = (settled[settled.len() / 20], settled[settled.len() / 2]);
        note(&format!(
            "{}: {pictures} pictures of {due} due, PSNR p5 {p5:.1} dB p50 {p50:.1} dB, sound correlates {likeness:.3}",
            source.video_file.file_name().unwrap_or_default().display()
        ));
        ensure!(p5 > 30.0, "PSNR p5 {p5:.1} dB, p50 {p50:.1} dB");
        ensure!(likeness > 0.9, "sound correlates {likeness:.3}");
    }
    Ok(())
}

#[test]
fn recordings_of_both_sides_match_what_was_sent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let a = Side::write(dir.path(), "a", moving_clip(640, 360, 30.0, 90), talking(5.3))?;
    let b = Side::write(dir.path(), "b", moving_clip(480, 270, 25.0, 75), talking(7.1))?;
    play_to_each_other(dir.path(), &a, &b)
}

/// The environment variable `KITH_CLIP` names a film with sound; the project ships none.
#[test]
fn recordings_match_a_film_that_was_played() -> Result<()> {
    let Some(film) = std::env::var_os("KITH_CLIP").map(PathBuf::from) else {
        skip("KITH_CLIP names no film: only clips made by the tests are played");
        return Ok(());
    };
    if !have("ffmpeg") {
        skip("ffmpeg is not installed: the film cannot be unpacked");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (video, audio) = (dir.path().join("film.y4m"), dir.path().join("film.wav"));
    let unpack = |output: &Path, arguments: &[&str]| -> Result<()> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i"]).arg(&film).args(arguments).arg(output);
        ensure!(command.status()?.success(), "ffmpeg could not make {}", output.display());
        Ok(())
    };
    unpack(&video, &["-vf", "scale=640:360", "-pix_fmt", "yuv420p"])?;
    unpack(&audio, &["-ac", "1", "-ar", "48000", "-c:a", "pcm_s16le"])?;
    let (video, mut audio) = (Y4m::read(&video)?, Wav::read(&audio)?);
    // Loudness is compared in steps of 20 ms, which must begin at the same places each time the film repeats.
    audio.samples.truncate(audio.samples.len() / 960 * 960);
    let a = Side::write(dir.path(), "a", video, audio)?;
    let b = Side::write(dir.path(), "b", moving_clip(480, 270, 30.0, 90), talking(7.1))?;
    play_to_each_other(dir.path(), &a, &b)
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
