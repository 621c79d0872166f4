//! The peer's pictures to the screen and its sound to the speaker: a thread each, from the RPC client's hands straight
//! to the widget's slot and the speaker's ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kith_capture::SpeakerInput;
use kith_common::client::{AudioReceiver, VideoReceiver};
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, SAMPLE_RATE, Sound};

use crate::widget::video::VideoSlot;

/// How long a thread waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// What is being received; dropping it ends it.
#[derive(Default)]
pub struct Playback {
    pictures: Option<Running>,
    sound: Option<Running>,
    /// Kept so that another speaker can take over in mid-call.
    receiver: Option<AudioReceiver>,
}

struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Running {
    fn start(name: &str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        match std::thread::Builder::new().name(name.into()).spawn(move || work(&stopped)) {
            Ok(_) => Some(Self(stop)),
            Err(error) => {
                tracing::error!(%error, "no thread to play what is received");
                None
            }
        }
    }
}

impl Playback {
    pub fn show(&mut self, receiver: VideoReceiver, slot: VideoSlot) {
        self.pictures = Running::start("kith-pictures", move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match receiver.next_blocking(LOOK) {
                    Ok(Some(picture)) => slot.put(picture),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        });
    }

    /// Plays the peer's sound, on the speaker if there is one already.
    pub fn play(&mut self, receiver: AudioReceiver, speaker: Option<SpeakerInput>) {
        self.receiver = Some(receiver);
        self.use_speaker(speaker);
    }

    /// Another speaker plays from now on.
    pub fn use_speaker(&mut self, speaker: Option<SpeakerInput>) {
        self.sound = None;
        let (Some(receiver), Some(speaker)) = (self.receiver.clone(), speaker) else { return };
        self.sound = Running::start("kith-sound", move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match receiver.next_blocking(LOOK) {
                    Ok(Some(sound)) => speaker.play(&sound),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        });
    }
}

/// A soft ring, as long as it lives.
pub struct Ring {
    _running: Option<Running>,
}

impl Ring {
    /// Two tones for a second, two seconds of silence, and so on.
    pub fn start(speaker: SpeakerInput) -> Self {
        let running = Running::start("kith-ring", move |stop| {
            let mut at = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let samples = (0..FRAME_SAMPLES as u64).map(|offset| ring_sample(at + offset)).collect();
                speaker.play(&Sound { capture: MonoTime::now(), sequence: 0, samples });
                at += FRAME_SAMPLES as u64;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { _running: running }
    }
}

fn ring_sample(at: u64) -> i16 {
    let rate = u64::from(SAMPLE_RATE);
    let within = at % (rate * 3);
    if within >= rate {
        return 0;
    }
    let time = within as f32 / SAMPLE_RATE as f32;
    // Rises and falls over 20 ms so that it does not click.
    let edge = (time.min(1.0 - time) / 0.02).min(1.0);
    let tone = |hertz: f32| (time * hertz * std::f32::consts::TAU).sin();
    (edge * (tone(523.25) + tone(659.25)) * 2_600.0) as i16
}
