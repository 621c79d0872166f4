//! The codecs of one session, as the session's task sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kith_common::call::{CallKind, EncoderChoice, Medium, Switch};
use kith_common::clock::MonoTime;
use kith_core::keyframe::KeyReason;
use kith_core::sync::LipSync;
use tokio::sync::{Notify, mpsc};

use super::audio_rx::{AudioRx, SoundPacket};
use super::audio_tx::{AudioTx, EncodedSound};
use super::hub::Hub;
use super::video_rx::{EncodedIn, VideoRx};
use super::video_tx::{EncodedPicture, VideoTx, VideoTxConfig};

/// The session takes pictures at once; two wait only when the machine is overloaded, and then the encoder should wait.
const PICTURES: usize = 2;
/// A fifth of a second: the session takes them at once.
const SOUNDS: usize = 10;
/// The transport leaves temporal delimiters out; decoders want one before each unit (AV1 specification 7.5).
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0x00];

/// What comes out of the codecs.
pub enum Unit {
    Picture(EncodedPicture),
    Sound(EncodedSound),
    /// The decoder cannot go on without a key frame.
    KeyWanted,
}

pub struct Pipeline {
    pub video_tx: VideoTx,
    pub audio_tx: AudioTx,
    pub video_rx: VideoRx,
    pub audio_rx: AudioRx,
    pictures: mpsc::Receiver<EncodedPicture>,
    sounds: mpsc::Receiver<EncodedSound>,
    key_wanted: Arc<Notify>,
}

impl Pipeline {
    /// Starts the threads with camera and microphone off.
    pub fn spawn(hub: &Hub, encoder: EncoderChoice, start_bps: u64) -> Self {
        let (picture_queue, pictures) = mpsc::channel(PICTURES);
        let (sound_queue, sounds) = mpsc::channel(SOUNDS);
        let sync = Arc::new(Mutex::new(LipSync::new()));
        let video_rx = VideoRx::spawn(hub.clone(), Arc::clone(&sync));
        let config = VideoTxConfig { encoder, camera: Switch::Off, start_bps };
        Self {
            video_tx: VideoTx::spawn(hub.clone(), config, picture_queue),
            audio_tx: AudioTx::spawn(hub.clone(), Switch::Off, sound_queue),
            audio_rx: AudioRx::spawn(hub.clone(), sync),
            key_wanted: video_rx.key_wanted(),
            video_rx,
            pictures,
            sounds,
        }
    }

    pub async fn next(&mut self) -> Unit {
        tokio::select! {
            biased;
            Some(sound) = self.sounds.recv() => Unit::Sound(sound),
            Some(picture) = self.pictures.recv() => Unit::Picture(picture),
            () = self.key_wanted.notified() => Unit::KeyWanted,
        }
    }

    pub fn set_switch(&self, medium: Medium, switch: Switch) {
        match medium {
            Medium::Audio => self.audio_tx.set_microphone(switch),
            Medium::Video => self.video_tx.set_camera(switch),
        }
    }

    pub fn set_target(&self, bps: u64) {
        self.video_tx.set_target(bps);
    }

    pub fn set_queue_age(&self, age: Option<Duration>) {
        self.video_tx.set_queue_age(age);
    }

    pub fn set_loss(&self, loss: f64) {
        self.audio_tx.set_loss(loss);
    }

    pub fn request_key(&self, reason: KeyReason) {
        self.video_tx.request_key(reason);
    }

    pub fn push_picture(&self, unit: &[u8], capture: MonoTime, contiguous: bool) {
        let mut data = Vec::with_capacity(unit.len() + TEMPORAL_DELIMITER.len());
        data.extend_from_slice(&TEMPORAL_DELIMITER);
        data.extend_from_slice(unit);
        self.video_rx.push(EncodedIn { data, capture, contiguous });
    }

    pub fn push_sound(&self, data: &[u8], rtp_time: u64, capture: MonoTime, arrived: MonoTime) {
        self.audio_rx.push(SoundPacket { data: data.to_vec(), rtp_time, capture, arrived });
    }

    /// Whether there has been anything for clients: a picture, or sound where no pictures come.
    pub fn has_output(&self, kind: CallKind, connected: Duration) -> bool {
        // A peer without a camera in a video call: then sound is what there is.
        let sound_counts = kind == CallKind::Voice || connected > Duration::from_millis(1500);
        self.video_rx.stats().decoded > 0 || (sound_counts && self.audio_rx.stats().received > 0)
    }
}
