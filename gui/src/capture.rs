//! This side's camera, microphone and speaker, and the test sources that stand in for them.
//!
//! The [`Studio`] belongs to the application. Devices report on threads of their own through [`Notice`]s; pictures and
//! sound go straight from those threads to the daemon and never pass the application's `update`.

mod outlet;
mod test_source;

use kith_capture::{
    Camera, CameraEvent, CameraId, CaptureError, Devices, EchoReference, Microphone, MicrophoneEvent, Processing,
    SoundDeviceId, Speaker, SpeakerEvent, SpeakerInput,
};
use kith_common::call::{Medium, Switch};
use kith_common::client::{AudioSender, Gone, VideoSender};
use kith_common::media::{Size, VideoFormat};
use tokio::sync::mpsc;

use crate::widget::video::{Bell, Role, VideoSlot};
use outlet::Outlet;
use test_source::TestSource;

/// Devices report rarely; this outlasts any pause of the window.
const NOTICES: usize = 64;

/// Which device to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice<Id> {
    /// What the system prefers; the test source where there is none.
    #[default]
    Automatic,
    Device {
        id: Id,
        name: String,
    },
    /// The moving test picture, or the test tone.
    Test,
}

impl<Id> std::fmt::Display for Choice<Id> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Automatic => "System default",
            Self::Device { name, .. } => name,
            Self::Test => "Test source",
        })
    }
}

pub type CameraChoice = Choice<CameraId>;
pub type SoundChoice = Choice<SoundDeviceId>;

/// What a device's thread reports. The number tells which opening of the device it belongs to.
#[derive(Debug, Clone)]
pub enum Notice {
    Devices(Devices),
    Camera(u64, Result<(String, VideoFormat), CaptureError>),
    Microphone(u64, Result<String, CaptureError>),
    Speaker(u64, Result<String, CaptureError>),
    SourceGone(Medium, Gone),
}

/// What follows from a notice for a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that concerns a call.
    None,
    /// The camera delivers pictures of this format from now on.
    VideoReady(VideoFormat),
    SoundReady,
    SourceGone(Medium, Gone),
}

/// How a device does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    #[default]
    Off,
    Opening,
    On {
        name: String,
    },
    /// The test source, because it was chosen.
    Test,
    /// The test source, because of this.
    Fallback(CaptureError),
    /// Nothing, because of this.
    Failed(CaptureError),
}

/// Whether there are devices to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    Real,
    /// Test sources only, for looking and for tests.
    None,
}

enum CameraSource {
    Device { _camera: Camera },
    Test { _source: TestSource },
}

enum SoundSource {
    Device { _microphone: Microphone },
    Test { _source: TestSource },
}

pub struct Studio {
    hardware: Hardware,
    notices: mpsc::Sender<Notice>,
    reference: EchoReference,
    /// One's own picture.
    pub own: VideoSlot,
    /// `None` until the system has answered.
    pub devices: Option<Devices>,
    pub camera_choice: CameraChoice,
    pub microphone_choice: SoundChoice,
    pub speaker_choice: SoundChoice,
    pub camera_status: Status,
    pub microphone_status: Status,
    pub speaker_status: Status,
    camera: Option<CameraSource>,
    microphone: Option<SoundSource>,
    speaker: Option<Speaker>,
    video_out: Outlet<VideoSender>,
    audio_out: Outlet<AudioSender>,
    /// Counts openings, so that what a closed device still says is not believed.
    opening: [u64; 3],
}

const CAMERA: usize = 0;
const MICROPHONE: usize = 1;
const SPEAKER: usize = 2;

/// What a camera is asked for: the largest picture that a call carries.
fn wanted() -> VideoFormat {
    VideoFormat { size: Size::new(1280, 720).expect("720p is within the limits"), fps_milli: 30_000 }
}

fn test_format() -> VideoFormat {
    VideoFormat { size: Size::new(640, 360).expect("360p is within the limits"), fps_milli: 30_000 }
}

impl Studio {
    pub fn new(hardware: Hardware, bell: Bell) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, receiver) = mpsc::channel(NOTICES);
        let studio = Self {
            hardware,
            notices: notices.clone(),
            reference: EchoReference::default(),
            own: VideoSlot::new(bell, Role::Follows),
            devices: (hardware == Hardware::None).then(Devices::default),
            camera_choice: Choice::Automatic,
            microphone_choice: Choice::Automatic,
            speaker_choice: Choice::Automatic,
            camera_status: Status::Off,
            microphone_status: Status::Off,
            speaker_status: Status::Off,
            camera: None,
            microphone: None,
            speaker: None,
            video_out: Outlet::new(Medium::Video, notices.clone()),
            audio_out: Outlet::new(Medium::Audio, notices),
            opening: [0; 3],
        };
        (studio, receiver)
    }

    /// Asks the system what there is; the answer comes as a notice.
    pub fn look_around(&self) {
        if self.hardware == Hardware::Real {
            let notices = self.notices.clone();
            Devices::list_then(move |devices| report(&notices, Notice::Devices(devices)));
        }
    }

    fn next_opening(&mut self, device: usize) -> u64 {
        self.opening[device] += 1;
        self.opening[device]
    }

    /// Opens the chosen camera, unless one is open.
    pub fn start_camera(&mut self) {
        if self.camera.is_some() {
            return;
        }
        let opening = self.next_opening(CAMERA);
        let device = match &self.camera_choice {
            Choice::Device { id, .. } => Some(*id),
            Choice::Automatic => None,
            Choice::Test => return self.start_test_camera(Status::Test),
        };
        if self.hardware == Hardware::None {
            return self.start_test_camera(Status::Fallback(CaptureError::NoCamera));
        }
        let (own, outlet, notices) = (self.own.clone(), self.video_out.clone(), self.notices.clone());
        let camera = Camera::open(device, wanted(), move |event| match event {
            CameraEvent::Picture(picture) => {
                outlet.with(|sender| sender.put(picture.clone()));
                own.put(picture);
            }
            CameraEvent::Opened { name, format } => report(&notices, Notice::Camera(opening, Ok((name, format)))),
            CameraEvent::Failed(error) => report(&notices, Notice::Camera(opening, Err(error))),
        });
        self.camera_status = Status::Opening;
        self.camera = Some(CameraSource::Device { _camera: camera });
    }

    fn start_test_camera(&mut self, status: Status) {
        let opening = self.opening[CAMERA];
        let (own, outlet) = (self.own.clone(), self.video_out.clone());
        let source = TestSource::pictures(test_format(), move |picture| {
            outlet.with(|sender| sender.put(picture.clone()));
            own.put(picture);
        });
        self.camera = Some(CameraSource::Test { _source: source });
        self.camera_status = status;
        report(&self.notices, Notice::Camera(opening, Ok((String::new(), test_format()))));
    }

    /// Closes the camera: its light goes out.
    pub fn stop_camera(&mut self) {
        self.next_opening(CAMERA);
        self.camera = None;
        self.camera_status = Status::Off;
        self.video_out.detach();
        self.own.clear();
    }

    pub fn start_microphone(&mut self) {
        if self.microphone.is_some() {
            return;
        }
        let opening = self.next_opening(MICROPHONE);
        let device = match &self.microphone_choice {
            Choice::Device { id, .. } => Some(id.clone()),
            Choice::Automatic => None,
            Choice::Test => return self.start_test_sound(Status::Test),
        };
        if self.hardware == Hardware::None {
            return self.start_test_sound(Status::Fallback(CaptureError::NoMicrophone));
        }
        let (outlet, notices) = (self.audio_out.clone(), self.notices.clone());
        let sink = move |event| match event {
            MicrophoneEvent::Sound(sound) => outlet.with(|sender| sender.put(sound)),
            MicrophoneEvent::Opened { name } => report(&notices, Notice::Microphone(opening, Ok(name))),
            MicrophoneEvent::Failed(error) => report(&notices, Notice::Microphone(opening, Err(error))),
        };
        let microphone = Microphone::open(device, Processing::On, self.reference.clone(), sink);
        self.microphone_status = Status::Opening;
        self.microphone = Some(SoundSource::Device { _microphone: microphone });
    }

    fn start_test_sound(&mut self, status: Status) {
        let opening = self.opening[MICROPHONE];
        let outlet = self.audio_out.clone();
        let source = TestSource::sound(move |sound| outlet.with(|sender| sender.put(sound)));
        self.microphone = Some(SoundSource::Test { _source: source });
        self.microphone_status = status;
        report(&self.notices, Notice::Microphone(opening, Ok(String::new())));
    }

    pub fn stop_microphone(&mut self) {
        self.next_opening(MICROPHONE);
        self.microphone = None;
        self.microphone_status = Status::Off;
        self.audio_out.detach();
    }

    pub fn start_speaker(&mut self) {
        if self.speaker.is_some() || self.hardware == Hardware::None {
            return;
        }
        let opening = self.next_opening(SPEAKER);
        let device = match &self.speaker_choice {
            Choice::Device { id, .. } => Some(id.clone()),
            _ => None,
        };
        let notices = self.notices.clone();
        self.speaker_status = Status::Opening;
        self.speaker = Some(Speaker::open(device, self.reference.clone(), move |event| {
            let result = match event {
                SpeakerEvent::Opened { name } => Ok(name),
                SpeakerEvent::Failed(error) => Err(error),
            };
            report(&notices, Notice::Speaker(opening, result));
        }));
    }

    /// Where the peer's sound goes.
    pub fn speaker_input(&self) -> Option<SpeakerInput> {
        self.speaker.as_ref().map(Speaker::input)
    }

    pub fn stop_speaker(&mut self) {
        self.next_opening(SPEAKER);
        self.speaker = None;
        self.speaker_status = Status::Off;
    }

    pub fn stop_all(&mut self) {
        self.stop_camera();
        self.stop_microphone();
        self.stop_speaker();
        self.audio_out.set(Switch::On);
    }

    /// Takes a report in and says what it means for a call.
    pub fn handle(&mut self, notice: Notice) -> Change {
        match notice {
            Notice::Devices(devices) => self.devices = Some(devices),
            Notice::Camera(opening, result) if opening == self.opening[CAMERA] => match result {
                Ok((name, format)) => {
                    if !name.is_empty() {
                        self.camera_status = Status::On { name };
                    }
                    return Change::VideoReady(format);
                }
                Err(error) => {
                    tracing::info!(%error, "the test picture stands in for the camera");
                    self.start_test_camera(Status::Fallback(error));
                }
            },
            Notice::Microphone(opening, result) if opening == self.opening[MICROPHONE] => match result {
                Ok(name) => {
                    if !name.is_empty() {
                        self.microphone_status = Status::On { name };
                    }
                    return Change::SoundReady;
                }
                // A microphone that worked is tried again by its thread; one that never opened is replaced.
                Err(error) if matches!(self.microphone_status, Status::On { .. }) => {
                    self.microphone_status = Status::Failed(error);
                }
                Err(error) => {
                    tracing::info!(%error, "the test sound stands in for the microphone");
                    self.next_opening(MICROPHONE);
                    self.start_test_sound(Status::Fallback(error));
                }
            },
            Notice::Speaker(opening, result) if opening == self.opening[SPEAKER] => {
                self.speaker_status = match result {
                    Ok(name) => Status::On { name },
                    Err(error) => Status::Failed(error),
                };
            }
            Notice::SourceGone(medium, gone) => return Change::SourceGone(medium, gone),
            Notice::Camera(..) | Notice::Microphone(..) | Notice::Speaker(..) => {}
        }
        Change::None
    }

    /// Pictures go to this call from now on.
    pub fn attach_video(&self, sender: VideoSender) {
        self.video_out.attach(sender);
    }

    pub fn attach_audio(&self, sender: AudioSender) {
        self.audio_out.attach(sender);
    }

    /// Off: not even the daemon hears the microphone.
    pub fn set_microphone(&self, state: Switch) {
        self.audio_out.set(state);
    }

    pub fn video_attached(&self) -> bool {
        self.video_out.is_attached()
    }

    /// The cameras to choose from.
    pub fn camera_choices(&self) -> Vec<CameraChoice> {
        choices(
            self.devices.iter().flat_map(|devices| &devices.cameras).map(|device| (device.id, &device.name)),
            Choice::Test,
        )
    }

    pub fn microphone_choices(&self) -> Vec<SoundChoice> {
        choices(
            self.devices
                .iter()
                .flat_map(|devices| &devices.microphones)
                .map(|device| (device.id.clone(), &device.name)),
            Choice::Test,
        )
    }

    pub fn speaker_choices(&self) -> Vec<SoundChoice> {
        choices(
            self.devices.iter().flat_map(|devices| &devices.speakers).map(|device| (device.id.clone(), &device.name)),
            None,
        )
    }
}

fn choices<'a, Id>(
    devices: impl Iterator<Item = (Id, &'a String)>,
    last: impl Into<Option<Choice<Id>>>,
) -> Vec<Choice<Id>> {
    let named = devices.map(|(id, name)| Choice::Device { id, name: name.clone() });
    std::iter::once(Choice::Automatic).chain(named).chain(last.into()).collect()
}

/// From a device's thread: never waits. A window that takes nothing for so long is not looking either.
fn report(notices: &mpsc::Sender<Notice>, notice: Notice) {
    if let Err(error) = notices.try_send(notice) {
        tracing::debug!(%error, "a device's report is lost");
    }
}
