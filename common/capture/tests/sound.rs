//! Speaker and microphone against a private PulseAudio without a sound card: what the one plays the other hears.
//!
//! The sound server is found by environment variables, which a running test cannot set for itself, so it starts the
//! example `loopback` with them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(15);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with one null sink, whose monitor is the only source.
fn server(directory: &Path) -> std::io::Result<Server> {
    let socket = directory.join("native");
    let script = directory.join("script.pa");
    std::fs::write(
        &script,
        format!(
            // The socket comes last: who can connect finds the devices there.
            "load-module module-null-sink sink_name=spk rate=48000 format=s16le channels=2\n\
             load-module module-remap-source master=spk.monitor source_name=mic \
             source_properties=device.description=Loop\n\
             set-default-sink spk\nset-default-source mic\n\
             load-module module-native-protocol-unix socket={} auth-anonymous=1\n",
            socket.display()
        ),
    )?;
    let child = Command::new("pulseaudio")
        .arg("-n")
        .arg("-F")
        .arg(&script)
        .args(["--daemonize=no", "--exit-idle-time=-1", "--disallow-exit=yes", "--use-pid-file=no", "--realtime=no"])
        .env("XDG_RUNTIME_DIR", directory)
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let server = Server(child);
    let end = Instant::now() + SOON;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() && Instant::now() < end {
        std::thread::yield_now();
    }
    Ok(server)
}

/// Says so where `scripts/test` collects it.
fn skip(reason: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "SKIPPED: {reason}")?;
    let Some(file) = std::env::var_os("KITH_SKIPPED") else { return Ok(()) };
    let mut file = std::fs::File::options().append(true).create(true).open(file)?;
    file.write_all(format!("what_the_speaker_plays_the_microphone_hears: {reason}\n").as_bytes())
}

#[test]
fn what_the_speaker_plays_the_microphone_hears() -> std::io::Result<()> {
    if Command::new("pulseaudio").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return skip("pulseaudio is not installed, so there is no sound without a card");
    }
    let directory = tempfile::tempdir()?;
    let _server = server(directory.path())?;
    // Cargo puts examples beside the folder of the tests.
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).expect("tests are built in target/debug/deps");
    let status = Command::new(built.join("examples/loopback"))
        .env("PULSE_SERVER", format!("unix:{}", directory.path().join("native").display()))
        .env("XDG_RUNTIME_DIR", directory.path())
        .status()?;
    assert!(status.success(), "{status}");
    Ok(())
}
