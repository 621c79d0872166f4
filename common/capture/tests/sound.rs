//! Speaker and microphone against a private PulseAudio without a sound card: what the one plays the other hears.
//!
//! The sound server is found by environment variables, which a running test cannot set for itself, so the test starts
//! itself again with them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kith_capture::{Devices, EchoReference, Microphone, MicrophoneEvent, Processing, Speaker, SpeakerEvent};
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, Sound};

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

#[test]
fn what_the_speaker_plays_the_microphone_hears() -> std::io::Result<()> {
    if Command::new("pulseaudio").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "skipped: pulseaudio is not installed, so there is no sound without a card")?;
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let _server = server(directory.path())?;
    let status = Command::new(std::env::current_exe()?)
        .args(["--exact", "inside", "--ignored", "--nocapture"])
        .env("PULSE_SERVER", format!("unix:{}", directory.path().join("native").display()))
        .env("XDG_RUNTIME_DIR", directory.path())
        .status()?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// A tone of 1 kHz.
fn tone(at: usize) -> i16 {
    ((at as f32 * 1000.0 / 48_000.0 * std::f32::consts::TAU).sin() * 8000.0) as i16
}

/// The share of the energy that lies at 1 kHz.
fn purity(samples: &[i16]) -> f32 {
    let (mut sine, mut cosine, mut energy) = (0.0_f32, 0.0_f32, 1.0_f32);
    for (at, sample) in samples.iter().enumerate() {
        let phase = at as f32 * 1000.0 / 48_000.0 * std::f32::consts::TAU;
        let value = f32::from(*sample);
        sine += value * phase.sin();
        cosine += value * phase.cos();
        energy += value * value;
    }
    (sine * sine + cosine * cosine) * 2.0 / (energy * samples.len() as f32)
}

#[test]
#[ignore = "started by the test above, with a sound server"]
fn inside() {
    let devices = Devices::list();
    assert_eq!(devices.microphones.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["Loop"]);
    assert_eq!(devices.speakers.len(), 1, "{devices:?}");

    let (heard, hears) = mpsc::channel();
    let reference = EchoReference::default();
    let (ready, opened) = mpsc::channel();
    let speaker = Speaker::open(None, reference.clone(), move |event| {
        if let SpeakerEvent::Opened { name } = event {
            let _ = ready.send(name);
        }
    });
    let _microphone = Microphone::open(None, Processing::Off, reference, move |event| {
        if let MicrophoneEvent::Sound(sound) = event {
            let _ = heard.send(sound);
        }
    });
    opened.recv_timeout(SOON).expect("the speaker opens");
    // The microphone's own pace tells when the next chunk is due: both run on the server's clock.
    let (mut played, mut pure, mut last) = (0, 0, None::<Sound>);
    let mut delays = Vec::new();
    for _ in 0..150 {
        let sound = hears.recv_timeout(SOON).expect("the microphone delivers");
        assert_eq!(sound.samples.len(), FRAME_SAMPLES);
        if let Some(last) = last {
            let step = sound.capture.micros_since(last.capture);
            assert!(sound.sequence == last.sequence + 1 && step > 0, "a step of {step} us");
        }
        delays.push(MonoTime::now().since(sound.capture));
        pure += usize::from(purity(&sound.samples) > 0.95);
        last = Some(sound);
        let samples = (played..played + FRAME_SAMPLES).map(tone).collect();
        speaker.play(&Sound { capture: MonoTime::now(), sequence: 0, samples });
        played += FRAME_SAMPLES;
    }
    assert!(pure > 60, "the tone was heard in {pure} of 150 chunks");
    delays.sort();
    assert!(delays[75] < Duration::from_millis(150), "half of the chunks come {:?} after their capture", delays[75]);
}
