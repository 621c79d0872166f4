//! Plays a tone and listens for it: whether speaker and microphone of a machine whose microphone hears its speaker (the
//! only devices there are, called "Loop") work, keep their pace and their time-stamps. Panics with what does not.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use kith_capture::{Devices, EchoReference, Microphone, MicrophoneEvent, Processing, Speaker, SpeakerEvent};
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, Sound};

const SOON: Duration = Duration::from_secs(15);

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

fn main() {
    // A sound server that has just started, on a busy machine, may not have told of them yet.
    let start = Instant::now();
    let devices = loop {
        let devices = Devices::list();
        if !devices.microphones.is_empty() || start.elapsed() > SOON {
            break devices;
        }
    };
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
