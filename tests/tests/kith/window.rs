//! The real window in a real X server, looked at as a picture.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, Lines, have, program, skip};

use crate::calls::{SOON, stage};

/// An X server without a screen. It chooses its own display number.
struct Display {
    _server: Lines,
    name: String,
}

impl Display {
    fn new() -> Result<Self> {
        // The shell hands the number, which the server writes to descriptor 3, to standard output.
        let mut command = Command::new("sh");
        command.args(["-c", "exec Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp 3>&1"]);
        let mut server = Lines::start(&mut command)?;
        let number = server.wait_for("display number", SOON, |line| line.trim().parse::<u32>().ok())?;
        Ok(Self { _server: server, name: format!(":{number}") })
    }

    /// The screen as RGB bytes, 1280x800.
    fn look(&self) -> Result<Vec<u8>> {
        let output = Command::new("import")
            .args(["-silent", "-window", "root", "-depth", "8", "rgb:-"])
            .env("DISPLAY", &self.name)
            .stderr(Stdio::null())
            .output()?;
        ensure!(output.stdout.len() == 1280 * 800 * 3, "a screenshot of {} bytes", output.stdout.len());
        Ok(output.stdout)
    }

    /// Waits until what is seen fulfils `accept`.
    fn wait(&self, what: &str, accept: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let end = Instant::now() + Duration::from_secs(40);
        loop {
            let picture = self.look()?;
            if accept(&picture) {
                return Ok(picture);
            }
            if Instant::now() > end {
                let file = std::env::temp_dir().join("kith-window-test.rgb");
                std::fs::write(&file, &picture)?;
                anyhow::bail!("{what}: not seen; the last look is in {}", file.display());
            }
        }
    }
}

fn window(display: &Display, daemon: &Daemon) -> Result<Lines> {
    let mut command = Command::new(program("kith"));
    command.arg("--socket").arg(&daemon.socket).env("DISPLAY", &display.name).env("ICED_BACKEND", "tiny-skia");
    Lines::start(command.env_remove("WAYLAND_DISPLAY"))
}

/// How many pixels differ clearly.
fn difference(a: &[u8], b: &[u8]) -> usize {
    a.chunks_exact(3).zip(b.chunks_exact(3)).filter(|(x, y)| x.iter().zip(*y).any(|(p, q)| p.abs_diff(*q) > 24)).count()
}

fn colours(picture: &[u8]) -> usize {
    picture
        .chunks_exact(3)
        .map(|pixel| (pixel[0] >> 4, pixel[1] >> 4, pixel[2] >> 4))
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}

#[test]
fn the_window_comes_up_and_shows_a_moving_picture_in_a_call() -> Result<()> {
    if !have("Xvfb") || !have("import") {
        skip("Xvfb and imagemagick are not installed: the window is not looked at");
        return Ok(());
    }
    let display = Display::new()?;
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let mut shown = window(&display, &ada)?;
    display.wait("the window", |picture| colours(picture) > 12)?;
    let _answer = ben.spawn(&["answer", "--wait", "30", "--video", "test", "--audio", "test"])?;
    // Placed by the command line, the same call appears in the window.
    let mut caller = ada.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test"])?;
    stage(&mut caller, "active")?;
    let before = display.wait("the peer's picture", |picture| colours(picture) > 40)?;
    display.wait("the picture moving", |picture| difference(picture, &before) > 2_000)?;
    ensure!(ada.ctl(&["hangup"])?.0 == 0);
    shown.signal(rustix::process::Signal::TERM)?;
    shown.wait_end(SOON).context("the window closes when asked")?;
    Ok(())
}

#[test]
fn without_a_display_the_window_says_so() -> Result<()> {
    let mut command = Command::new(program("kith"));
    let mut run = Lines::start(command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY"))?;
    let code = run.wait_end(SOON)?.code();
    ensure!(code == Some(1), "{code:?}");
    ensure!(run.errors().contains("display") && !run.errors().contains("panicked"), "{}", run.errors());
    Ok(())
}
