//! For tests: codecs that cost nothing. Pictures are syntactically valid AV1 units of the size that the target allows, and
//! what arrives is written down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kith_common::call::{Medium, Switch};
use kith_common::clock::MonoTime;
use kith_common::media::Size;
use kith_core::keyframe::KeyReason;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::audio_rx::SoundPacket;
use super::audio_tx::EncodedSound;
use super::pipeline::{CodecFigures, Codecs, MakeCodecs};
use super::video_rx::EncodedIn;
use super::video_tx::EncodedPicture;

/// One picture or sound that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub delay: Duration,
    pub at: Instant,
    /// Of a picture: nothing is missing since the last key frame.
    pub decodable: bool,
}

#[derive(Default)]
pub struct Ends {
    target: AtomicU64,
    age_us: AtomicU64,
    key: AtomicBool,
    camera: AtomicBool,
    microphone: AtomicBool,
    pub made: AtomicU64,
    pub pictures: Mutex<Vec<Arrival>>,
    pub sounds: Mutex<Vec<Arrival>>,
    pub counts: watch::Sender<(usize, usize)>,
}

impl Ends {
    pub fn target(&self) -> u64 {
        self.target.load(Ordering::Relaxed)
    }
}

struct Fake {
    ends: Arc<Ends>,
    task: AbortHandle,
    key_wanted: Arc<Notify>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn leb128(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A temporal unit of about this size.
fn unit(key: bool, bytes: usize) -> Vec<u8> {
    let mut out = vec![0x12, 0x00];
    if key {
        out.extend_from_slice(&[0x0A, 10]);
        out.extend_from_slice(&[7; 10]);
    }
    let length = bytes.max(32);
    out.push(0x32);
    leb128(length, &mut out);
    out.resize(out.len() + length, 0x55);
    out
}

/// Whether what arrived is a key frame, if it is a unit that was sent.
fn read_unit(data: &[u8]) -> Option<bool> {
    let rest = data.strip_prefix(&[0x12, 0x00])?;
    match rest.strip_prefix(&[0x0A, 10]) {
        Some(rest) => (*rest.get(10)? == 0x32).then_some(true),
        None => (*rest.first()? == 0x32).then_some(false),
    }
}

/// The codecs, and where to see what they did.
pub fn codecs() -> (MakeCodecs, Arc<Ends>) {
    let ends = Arc::new(Ends::default());
    let shown = Arc::clone(&ends);
    let make: MakeCodecs = Box::new(move |pictures, sounds, start_bps| {
        ends.target.store(start_bps, Ordering::Relaxed);
        let key_wanted = Arc::new(Notify::new());
        let source = Arc::clone(&ends);
        let task = tokio::spawn(async move {
            let mut picture_clock = tokio::time::interval(Duration::from_micros(33_333));
            let mut sound_clock = tokio::time::interval(Duration::from_millis(20));
            let (mut debt, mut last, mut last_key) = (0.0, Instant::now(), None::<Instant>);
            let started = MonoTime::now();
            loop {
                tokio::select! {
                    _ = picture_clock.tick() => {
                        let on = source.camera.load(Ordering::Relaxed);
                        let full = source.age_us.load(Ordering::Relaxed) > 120_000;
                        if !on || (full && last.elapsed() < Duration::from_millis(200)) {
                            continue;
                        }
                        last = Instant::now();
                        let share = source.target() as f64 / 30.0 / 8.0;
                        let may_key = last_key.is_none_or(|at| at.elapsed() > Duration::from_millis(500));
                        let key = may_key && source.key.swap(false, Ordering::Relaxed);
                        let bytes = if key {
                            last_key = Some(last);
                            debt += share * 3.0;
                            share * 4.0
                        } else {
                            let paid = f64::min(debt, share * 0.4);
                            debt -= paid;
                            share - paid
                        };
                        let picture = EncodedPicture {
                            data: unit(key, bytes as usize),
                            key,
                            capture: MonoTime::now(),
                            size: Size::new(640, 360).expect("a usual size"),
                            encode_time: Duration::ZERO,
                        };
                        source.made.fetch_add(1, Ordering::Relaxed);
                        let _ = pictures.try_send(picture);
                    }
                    _ = sound_clock.tick() => {
                        if source.microphone.load(Ordering::Relaxed) {
                            let capture = MonoTime::now();
                            let samples_at = capture.since(started).as_micros() as u64 * 48 / 1000;
                            let _ = sounds.try_send(EncodedSound { data: vec![0x78; 80], capture, samples_at });
                        }
                    }
                }
            }
        });
        (Box::new(Fake { ends, task: task.abort_handle(), key_wanted: Arc::clone(&key_wanted) }), key_wanted)
    });
    (make, shown)
}

impl Codecs for Fake {
    fn set_switch(&self, medium: Medium, switch: Switch) {
        let flag = match medium {
            Medium::Audio => &self.ends.microphone,
            Medium::Video => &self.ends.camera,
        };
        flag.store(switch == Switch::On, Ordering::Relaxed);
    }

    fn set_target(&self, bps: u64) {
        self.ends.target.store(bps, Ordering::Relaxed);
    }

    fn set_queue_age(&self, age: Option<Duration>) {
        self.ends.age_us.store(age.map_or(0, |age| age.as_micros() as u64), Ordering::Relaxed);
    }

    fn set_loss(&self, _loss: f64) {}

    fn request_key(&self, _reason: KeyReason) {
        self.ends.key.store(true, Ordering::Relaxed);
    }

    fn push_picture(&self, unit: EncodedIn) {
        let at = MonoTime::now();
        let key = read_unit(&unit.data).expect("the unit that was sent");
        let mut pictures = self.ends.pictures.lock().expect("no panic holds it");
        let decodable = key || (unit.contiguous && pictures.last().is_some_and(|last| last.decodable));
        pictures.push(Arrival { delay: at.since(unit.capture), at: Instant::now(), decodable });
        if !decodable {
            self.key_wanted.notify_one();
        }
        self.ends.counts.send_modify(|counts| counts.0 += 1);
    }

    fn push_sound(&self, packet: SoundPacket) {
        let at = MonoTime::now();
        assert!(packet.arrived <= at);
        let arrival = Arrival { delay: at.since(packet.capture), at: Instant::now(), decodable: true };
        self.ends.sounds.lock().expect("no panic holds it").push(arrival);
        self.ends.counts.send_modify(|counts| counts.1 += 1);
    }

    fn figures(&self) -> CodecFigures {
        let mut figures = CodecFigures::default();
        let pictures = self.ends.pictures.lock().expect("no panic holds it");
        figures.video_rx.decoded = pictures.iter().filter(|arrival| arrival.decodable).count() as u64;
        figures.audio_rx.received = self.ends.sounds.lock().expect("no panic holds it").len() as u64;
        figures
    }
}
