//! Cameras, microphones and speakers of this machine, and pictures with tickets ([`qr`]): used by the window and by
//! `kithctl`.
//!
//! Opening a device never blocks the caller: each device lives on a thread of its own, which reports through the sink
//! that it was given ([`CameraEvent`], [`MicrophoneEvent`], [`SpeakerEvent`]) that it opened, what it captured, and what
//! went wrong, in sentences. Dropping the handle closes the device. Pictures leave as I420, sound as 48 kHz mono with
//! the echo of the speaker and steady noise taken out. Nothing here knows of calls or of the daemon.

mod audio;
mod camera;
mod convert;
mod devices;
mod echo;
mod error;
mod microphone;
pub mod qr;
mod speaker;

pub use camera::{Camera, CameraEvent};
pub use devices::{CameraId, Device, Devices, SoundDeviceId};
pub use echo::{AudioProcessor, EchoReference, FRAME, Processing};
pub use error::CaptureError;
pub use microphone::{Microphone, MicrophoneEvent};
pub use speaker::{Speaker, SpeakerEvent, SpeakerInput};
