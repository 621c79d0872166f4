//! Starts the sources of a call: what this process makes at once, so that the other side is told its format with the
//! offer or the answer, and devices after it, because they take their time to open and nobody's camera or microphone
//! starts before somebody has accepted.

use std::sync::{Arc, OnceLock};

use kith_capture::{
    Camera, CameraEvent, CameraId, CaptureError, Devices, EchoReference, Microphone, MicrophoneEvent, Processing,
    SoundDeviceId, Speaker, SpeakerEvent, SpeakerInput,
};
use kith_common::client::{AudioSender, ClientCall};
use kith_common::clip::ClipError;
use kith_common::media::{Picture, Size, VideoFormat};
use kith_common::slot::Latest;
use tokio::sync::mpsc;

use super::play::{self, Gate, SendTimes};
use super::source::{Pictures, Sounds};
use super::{Audio, OrTest, Video, usual_test};

pub type Notices = mpsc::Sender<String>;
/// Where the other side's sound is played, once a speaker is open. A call with a microphone has one.
pub type Playback = Arc<OnceLock<SpeakerInput>>;

/// A device opens and fails, rarely more.
const DEVICE_EVENTS: usize = 4;

fn tell(notices: &Notices, text: String) {
    // When so much is to be told already, this is more of the same.
    let _full = notices.try_send(text);
}

/// What sources need to know of the call.
#[derive(Clone)]
pub struct Sources {
    pub call: ClientCall,
    pub gate: Gate,
    pub sent: Option<Arc<SendTimes>>,
    pub notices: Notices,
    pub playback: Playback,
}

/// A camera as asked for.
pub struct WantedCamera {
    number: Option<u32>,
    or_test: OrTest,
}

/// A microphone as asked for.
pub struct WantedMicrophone {
    name: Option<String>,
    or_test: OrTest,
}

impl Sources {
    /// Starts what needs no device; the rest is for [`Self::open_devices`].
    pub async fn start_made(&self, video: Video, audio: Audio) -> (Option<WantedCamera>, Option<WantedMicrophone>) {
        let camera = match video {
            Video::None => None,
            Video::Made(pictures) => {
                self.send_pictures(pictures).await;
                None
            }
            Video::Camera { number, or_test } => Some(WantedCamera { number, or_test }),
        };
        let microphone = match audio {
            Audio::None => None,
            Audio::Made(sounds) => {
                self.send_sounds(sounds).await;
                None
            }
            Audio::Microphone { name, or_test } => Some(WantedMicrophone { name, or_test }),
        };
        (camera, microphone)
    }

    /// Opens devices on the side. They close when the call takes no more from them.
    pub fn open_devices(self, camera: Option<WantedCamera>, microphone: Option<WantedMicrophone>) {
        if let Some(camera) = camera {
            let sources = self.clone();
            tokio::spawn(async move { sources.send_camera(camera).await });
        }
        if let Some(microphone) = microphone {
            tokio::spawn(async move { self.send_microphone(microphone).await });
        }
    }

    async fn send_camera(&self, wanted: WantedCamera) {
        let (report, mut events) = mpsc::channel(DEVICE_EVENTS);
        let newest: Latest<Picture> = Latest::new();
        let slot = newest.clone();
        // The daemon scales it down to what the call can use.
        let size = Size::new(1280, 720).expect("a legal size");
        let camera =
            Camera::open(
                wanted.number.map(CameraId),
                VideoFormat { size, fps_milli: 30_000 },
                move |event| match event {
                    CameraEvent::Picture(picture) => drop(slot.put(picture)),
                    event => drop(report.try_send(event)),
                },
            );
        let (name, format) = match events.recv().await {
            Some(CameraEvent::Opened { name, format }) => (name, format),
            Some(CameraEvent::Failed(error)) => return self.no_camera(wanted.or_test, &error).await,
            Some(CameraEvent::Picture(_)) | None => return,
        };
        let sender = match self.call.send_video(format).await {
            Ok(sender) => sender,
            Err(failure) => return self.tell_failed("pictures", &failure),
        };
        tell(&self.notices, format!("Sending pictures of {name}, {}.", format.size));
        loop {
            tokio::select! {
                picture = newest.take() => match picture {
                    Ok(picture) if sender.put(picture.clone()).is_ok() => {}
                    _ => break,
                },
                event = events.recv() => {
                    if let Some(CameraEvent::Failed(error)) = event {
                        tell(&self.notices, format!("kithctl: {error} {}", error.advice()));
                    }
                    break;
                }
                _ = sender.ended() => break,
            }
        }
        drop(camera);
    }

    async fn no_camera(&self, or_test: OrTest, error: &CaptureError) {
        match or_test {
            OrTest::Yes => {
                tell(&self.notices, format!("{error} The test picture is sent."));
                self.send_pictures(usual_test()).await;
            }
            OrTest::No => tell(&self.notices, format!("kithctl: {error} {}", error.advice())),
        }
    }

    async fn send_microphone(&self, wanted: WantedMicrophone) {
        let sender = match self.call.send_audio().await {
            Ok(sender) => sender,
            Err(failure) => return self.tell_failed("sound", &failure),
        };
        let device = match &wanted.name {
            Some(name) => match find_microphone(name).await {
                Some(device) => Some(device),
                None => return tell(&self.notices, format!("kithctl: there is no microphone called {name}.")),
            },
            None => None,
        };
        let (report, mut events) = mpsc::channel(DEVICE_EVENTS);
        let (reference, input) = (EchoReference::default(), sender.clone());
        let microphone = Microphone::open(device, Processing::On, reference.clone(), move |event| match event {
            // It ends with the sender, which is waited for below.
            MicrophoneEvent::Sound(sound) => drop(input.put(sound)),
            event => drop(report.try_send(event)),
        });
        let mut speaker = None;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = sender.ended() => break,
            };
            match event {
                Some(MicrophoneEvent::Opened { name }) => {
                    tell(&self.notices, format!("Sending sound of {name}."));
                    speaker.get_or_insert_with(|| self.open_speaker(reference.clone()));
                }
                Some(MicrophoneEvent::Failed(error)) if speaker.is_none() && wanted.or_test == OrTest::Yes => {
                    drop(microphone);
                    tell(&self.notices, format!("{error} The test sound is sent."));
                    return self.play_sounds(sender, Sounds::test());
                }
                Some(MicrophoneEvent::Failed(error)) => {
                    tell(&self.notices, format!("kithctl: {error} {}", error.advice()));
                }
                Some(MicrophoneEvent::Sound(_)) => {}
                None => break,
            }
        }
        drop(speaker);
    }

    fn open_speaker(&self, reference: EchoReference) -> Speaker {
        let notices = self.notices.clone();
        let speaker = Speaker::open(None, reference, move |event| {
            if let SpeakerEvent::Failed(error) = event {
                tell(&notices, format!("kithctl: {error} {}", error.advice()));
            }
        });
        // Set once: a call opens one speaker.
        let _set_before = self.playback.set(speaker.input());
        speaker
    }

    async fn send_pictures(&self, pictures: Pictures) {
        match self.call.send_video(pictures.format()).await {
            Ok(sender) => {
                let (gate, sent) = (self.gate.clone(), self.sent.clone());
                let play = move || play::pictures(pictures, |picture| sender.put(picture), &gate, sent.as_deref());
                spawn("kithctl-video-out", &self.notices, play);
            }
            Err(failure) => self.tell_failed("pictures", &failure),
        }
    }

    async fn send_sounds(&self, sounds: Sounds) {
        match self.call.send_audio().await {
            Ok(sender) => self.play_sounds(sender, sounds),
            Err(failure) => self.tell_failed("sound", &failure),
        }
    }

    fn play_sounds(&self, sender: AudioSender, sounds: Sounds) {
        let gate = self.gate.clone();
        spawn("kithctl-audio-out", &self.notices, move || play::sounds(sounds, |sound| sender.put(sound), &gate));
    }

    fn tell_failed(&self, what: &str, failure: &kith_common::failure::Failure) {
        tell(&self.notices, format!("kithctl: cannot send {what}: {failure}"));
    }
}

/// By its id, or by a part of the name that its maker gave it. Asking the sound system takes seconds sometimes.
async fn find_microphone(name: &str) -> Option<SoundDeviceId> {
    let devices = tokio::task::spawn_blocking(Devices::list).await.ok()?;
    let wanted = name.to_lowercase();
    let fits = |device: &kith_capture::Device<SoundDeviceId>| {
        device.id.0 == name || device.name.to_lowercase().contains(&wanted) || device.id.0.ends_with(name)
    };
    devices.microphones.into_iter().find(fits).map(|device| device.id)
}

fn spawn(name: &str, notices: &Notices, play: impl FnOnce() -> Result<(), ClipError> + Send + 'static) {
    let told = notices.clone();
    let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = play() {
            tell(&told, format!("kithctl: {error}; nothing more of it is sent."));
        }
    });
    if let Err(error) = spawned {
        tell(notices, format!("kithctl: cannot send: {error}"));
    }
}
