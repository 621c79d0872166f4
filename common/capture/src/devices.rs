//! What is plugged in. Listing asks drivers and sound servers and can take seconds: call it off the user's path.

use std::fmt;
use std::str::FromStr;

use cpal::traits::{DeviceTrait, HostTrait};

/// A camera by its number, `0` for `/dev/video0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CameraId(pub u32);

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A microphone or speaker, as the sound system names it (`pulseaudio:alsa_input.usb…`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SoundDeviceId(pub String);

impl fmt::Display for SoundDeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SoundDeviceId {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// One device that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device<Id> {
    pub id: Id,
    /// What the maker calls it.
    pub name: String,
}

impl<Id> fmt::Display for Device<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Everything that can be chosen now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    pub cameras: Vec<Device<CameraId>>,
    pub microphones: Vec<Device<SoundDeviceId>>,
    pub speakers: Vec<Device<SoundDeviceId>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Capture,
    Playback,
}

impl Devices {
    /// Asks the system. Blocks, sometimes for seconds.
    pub fn list() -> Self {
        Self { cameras: cameras(), microphones: sound(Side::Capture), speakers: sound(Side::Playback) }
    }

    /// Asks the system on a thread of its own and hands the answer to `then`.
    pub fn list_then(then: impl FnOnce(Self) + Send + 'static) {
        let spawned = std::thread::Builder::new().name("kith-devices".into()).spawn(move || then(Self::list()));
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot list devices");
        }
    }
}

/// The cameras alone: quick, unlike asking the sound system.
pub(crate) fn cameras() -> Vec<Device<CameraId>> {
    let found = match nokhwa::query(nokhwa::utils::ApiBackend::Auto) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot list cameras");
            return Vec::new();
        }
    };
    let mut cameras: Vec<_> = found
        .iter()
        .filter_map(|info| Some(Device { id: CameraId(info.index().as_index().ok()?), name: info.human_name() }))
        .collect();
    cameras.sort_by_key(|camera| camera.id);
    // One camera often shows several nodes of the same name, of which the first delivers pictures.
    let mut seen = std::collections::BTreeSet::new();
    cameras.retain(|camera| seen.insert(camera.name.clone()));
    cameras
}

fn sound(side: Side) -> Vec<Device<SoundDeviceId>> {
    let host = cpal::default_host();
    let devices = match host.devices() {
        Ok(devices) => devices,
        Err(error) => {
            tracing::warn!(%error, "cannot list sound devices");
            return Vec::new();
        }
    };
    let mut list = Vec::new();
    for device in devices {
        let Ok(id) = device.id() else { continue };
        if !is_choice(&id) {
            continue;
        }
        let usable = match side {
            Side::Capture => device.supports_input(),
            Side::Playback => device.supports_output(),
        };
        // What a speaker plays is no microphone.
        if !usable || (side == Side::Capture && id.id().ends_with(".monitor")) {
            continue;
        }
        list.push(Device { id: SoundDeviceId(id.to_string()), name: name_of(&device) });
    }
    list
}

/// ALSA lists each card a dozen times under names that only its plugins understand; `plughw` is the one that converts
/// rates and formats and mixes nothing.
fn is_choice(id: &cpal::DeviceId) -> bool {
    id.host() != cpal::HostId::Alsa || id.id().starts_with("plughw:")
}

pub(crate) fn name_of(device: &cpal::Device) -> String {
    match device.description() {
        Ok(description) => description.name().to_owned(),
        Err(_) => "without a name".to_owned(),
    }
}

/// The device with this id, or the system's default. `None` when there is none.
pub(crate) fn find(side: Side, id: Option<&SoundDeviceId>) -> Option<cpal::Device> {
    let host = cpal::default_host();
    if let Some(id) = id {
        return host.device_by_id(&id.0.parse().ok()?);
    }
    if host.id() == cpal::HostId::Alsa && !has_card() {
        // ALSA names a default device even where there is no card behind it, and opening it takes seconds to fail.
        return None;
    }
    match side {
        Side::Capture => host.default_input_device(),
        Side::Playback => host.default_output_device(),
    }
}

fn has_card() -> bool {
    // A configured default (`.asoundrc`) may lead elsewhere than to a card, to a sound server for example.
    let configured = std::env::home_dir().is_some_and(|home| home.join(".asoundrc").exists());
    configured
        || std::path::Path::new("/etc/asound.conf").exists()
        || std::fs::read_dir("/proc/asound")
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("card")))
}
