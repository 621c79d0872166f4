//! The codecs of one session, as the session's task sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kith_common::call::{CallKind, EncoderChoice, Medium, Switch};
use kith_common::clock::MonoTime;
use kith_core::keyframe::KeyReason;
use kith_core::sync::LipSync;
use tokio::sync::{Notify, mpsc};

use super::audio_rx::{AudioRx, AudioRxStats, SoundPacket};
use super::audio_tx::{AudioTx, EncodedSound};
use super::hub::Hub;
use super::video_rx::{EncodedIn, VideoRx, VideoRxStats};
use super::video_tx::{EncodedPicture, VideoTx, VideoTxConfig, VideoTxStats};

/// The session takes pictures at once. Room for one, and for the four that an encoder holds back and gives out together
/// when it is replaced; more wait only when the machine is overloaded, and then the encoder should wait.
const PICTURES: usize = 6;
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

/// The codec threads. A trait, so that the transport can be tested with pictures that cost nothing.
pub trait Codecs: Send {
    fn set_switch(&self, medium: Medium, switch: Switch);
    /// The bitrate for pictures.
    fn set_target(&self, bps: u64);
    /// How long a picture made now would wait before it can leave.
    fn set_queue_age(&self, age: Option<Duration>);
    /// The share of sound packets that the peer loses.
    fn set_loss(&self, loss: f64);
    fn request_key(&self, reason: KeyReason);
    fn push_picture(&self, unit: EncodedIn);
    fn push_sound(&self, packet: SoundPacket);
    fn figures(&self) -> CodecFigures;
}

/// What the codecs have done so far.
#[derive(Debug, Default)]
pub struct CodecFigures {
    pub video_tx: VideoTxStats,
    pub video_rx: VideoRxStats,
    pub audio_rx: AudioRxStats,
}

/// Makes the codecs when the session connects: pictures and sound go into the queues, `Notify` rings for a key frame.
pub type MakeCodecs = Box<
    dyn FnOnce(mpsc::Sender<EncodedPicture>, mpsc::Sender<EncodedSound>, u64) -> (Box<dyn Codecs>, Arc<Notify>) + Send,
>;

struct Threads {
    video_tx: VideoTx,
    audio_tx: AudioTx,
    video_rx: VideoRx,
    audio_rx: AudioRx,
}

/// The real codecs, with camera and microphone off.
pub fn threads(hub: Hub, encoder: EncoderChoice) -> MakeCodecs {
    Box::new(move |pictures, sounds, start_bps| {
        let sync = Arc::new(Mutex::new(LipSync::new()));
        let video_rx = VideoRx::spawn(hub.clone(), Arc::clone(&sync));
        let key_wanted = video_rx.key_wanted();
        let config = VideoTxConfig { encoder, camera: Switch::Off, start_bps };
        let threads = Threads {
            video_tx: VideoTx::spawn(hub.clone(), config, pictures),
            audio_tx: AudioTx::spawn(hub.clone(), Switch::Off, sounds),
            audio_rx: AudioRx::spawn(hub, sync),
            video_rx,
        };
        (Box::new(threads), key_wanted)
    })
}

impl Codecs for Threads {
    fn set_switch(&self, medium: Medium, switch: Switch) {
        match medium {
            Medium::Audio => self.audio_tx.set_microphone(switch),
            Medium::Video => self.video_tx.set_camera(switch),
        }
    }

    fn set_target(&self, bps: u64) {
        self.video_tx.set_target(bps);
    }

    fn set_queue_age(&self, age: Option<Duration>) {
        self.video_tx.set_queue_age(age);
    }

    fn set_loss(&self, loss: f64) {
        self.audio_tx.set_loss(loss);
    }

    fn request_key(&self, reason: KeyReason) {
        self.video_tx.request_key(reason);
    }

    fn push_picture(&self, unit: EncodedIn) {
        self.video_rx.push(unit);
    }

    fn push_sound(&self, packet: SoundPacket) {
        self.audio_rx.push(packet);
    }

    fn figures(&self) -> CodecFigures {
        CodecFigures {
            video_tx: self.video_tx.stats(),
            video_rx: self.video_rx.stats(),
            audio_rx: self.audio_rx.stats(),
        }
    }
}

pub struct Pipeline {
    pub codecs: Box<dyn Codecs>,
    pictures: mpsc::Receiver<EncodedPicture>,
    sounds: mpsc::Receiver<EncodedSound>,
    key_wanted: Arc<Notify>,
}

impl Pipeline {
    pub fn start(make: MakeCodecs, start_bps: u64) -> Self {
        let (picture_queue, pictures) = mpsc::channel(PICTURES);
        let (sound_queue, sounds) = mpsc::channel(SOUNDS);
        let (codecs, key_wanted) = make(picture_queue, sound_queue, start_bps);
        Self { codecs, pictures, sounds, key_wanted }
    }

    pub async fn next(&mut self) -> Unit {
        tokio::select! {
            biased;
            Some(sound) = self.sounds.recv() => Unit::Sound(sound),
            Some(picture) = self.pictures.recv() => Unit::Picture(picture),
            () = self.key_wanted.notified() => Unit::KeyWanted,
        }
    }

    pub fn push_picture(&self, unit: &[u8], capture: MonoTime, contiguous: bool) {
        let mut data = Vec::with_capacity(unit.len() + TEMPORAL_DELIMITER.len());
        data.extend_from_slice(&TEMPORAL_DELIMITER);
        data.extend_from_slice(unit);
        self.codecs.push_picture(EncodedIn { data, capture, contiguous });
    }

    pub fn push_sound(&self, data: &[u8], rtp_time: u64, capture: MonoTime, arrived: MonoTime) {
        self.codecs.push_sound(SoundPacket { data: data.to_vec(), rtp_time, capture, arrived });
    }

    /// Whether there has been anything for clients: a picture, or sound where no pictures come.
    pub fn has_output(&self, kind: CallKind, connected: Duration) -> bool {
        // A peer without a camera in a video call: then sound is what there is.
        let sound_counts = kind == CallKind::Voice || connected > Duration::from_millis(1500);
        let figures = self.codecs.figures();
        figures.video_rx.decoded > 0 || (sound_counts && figures.audio_rx.received > 0)
    }
}
