//! The picture encoder of one call: a thread that takes the newest picture of the hub's source, decides whether, how large
//! and as what it is coded, and hands the result to the session.
//!
//! What is stale or too much is dropped before it is encoded, never after: a picture that has been encoded is one that
//! later ones refer to. Idle it costs nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::call::{EncoderChoice, Switch};
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, VideoFormat};
use kith_core::keyframe::{KeyFrameBudget, KeyReason};
use kith_core::ladder::{Ladder, Step, Thrift};
use kith_core::stats::Percentiles;
use tokio::sync::mpsc;

use super::hub::Hub;
use super::scale::Scaler;
use kith_codec::{Frame, Target, Unit, VideoEncoder, video_encoder};

/// How often an idle thread looks whether it is still needed, when nobody wakes it.
const IDLE: Duration = Duration::from_millis(500);
/// While packets wait longer than this, encoding more only makes all of them later ..
const SKIP_AGE: Duration = Duration::from_millis(120);
/// .. but the peer sees a picture at least this often.
const AT_LEAST_EVERY: Duration = Duration::from_millis(200);
/// Between tries to start an encoder that does not start.
const RETRY: Duration = Duration::from_secs(2);
/// Assumed of a source that does not say.
const USUAL_FPS: f64 = 30.0;
/// The least bitrate that an encoder is asked for.
const MIN_BPS: u64 = 30_000;
/// Pictures that may be made up for after a pause of the source: as many as one packet sent again holds back.
const CREDIT: u32 = 4;
/// A thread that waits this much longer than it works is short of a core, not of a smaller picture.
const WAITING_FACTOR: u32 = 4;

/// How to begin.
#[derive(Debug, Clone, Copy)]
pub struct VideoTxConfig {
    pub encoder: EncoderChoice,
    /// `Off` until [`VideoTx::set_camera`] says otherwise.
    pub camera: Switch,
    /// Until [`VideoTx::set_target`] says otherwise.
    pub start_bps: u64,
}

/// One AV1 temporal unit, ready for the packetizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPicture {
    pub data: Vec<u8>,
    pub key: bool,
    pub capture: MonoTime,
    pub size: Size,
    pub encode_time: Duration,
}

/// Figures so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoTxStats {
    pub sent: u64,
    /// Captured and not sent: replaced by newer ones, beyond the frame rate, or held back because of the queue.
    pub dropped: u64,
    pub key_frames: u64,
    pub encode_ms_p50: Option<f64>,
    pub encode_ms_p95: Option<f64>,
    pub size: Option<Size>,
    /// Empty before the first picture.
    pub encoder: String,
}

/// What the handle and the thread share.
struct Shared {
    stop: AtomicBool,
    camera: AtomicBool,
    target_bps: AtomicU64,
    /// In microseconds.
    queue_age: AtomicU64,
    requests: Mutex<Vec<KeyReason>>,
    figures: Mutex<Figures>,
}

#[derive(Default)]
struct Figures {
    sent: u64,
    dropped: u64,
    key_frames: u64,
    encode: Percentiles,
    size: Option<Size>,
    encoder: &'static str,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Figures and requests are whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle of the encoder thread. Dropping it ends the thread.
pub struct VideoTx {
    hub: Hub,
    shared: Arc<Shared>,
}

impl VideoTx {
    /// Starts the thread. Coded pictures go to `out`, whose capacity is the bound of what waits there: while it is full
    /// nothing is encoded.
    pub fn spawn(hub: Hub, config: VideoTxConfig, out: mpsc::Sender<EncodedPicture>) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            camera: AtomicBool::new(config.camera == Switch::On),
            target_bps: AtomicU64::new(config.start_bps),
            queue_age: AtomicU64::new(0),
            requests: Mutex::new(Vec::new()),
            figures: Mutex::new(Figures::default()),
        });
        hub.set_camera(config.camera);
        let thread = std::thread::Builder::new().name("kith-enc-video".into()).spawn({
            let (hub, shared, span) = (hub.clone(), Arc::clone(&shared), tracing::Span::current());
            move || {
                let _entered = span.entered();
                Work::new(hub, shared, config.encoder, Instant::now()).run(&out);
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for the picture encoder: this call sends no pictures");
        }
        Self { hub, shared }
    }

    /// The bitrate for pictures.
    pub fn set_target(&self, bps: u64) {
        self.shared.target_bps.store(bps, Ordering::Relaxed);
    }

    /// The age of the oldest packet of pictures that has not left yet.
    pub fn set_queue_age(&self, age: Option<Duration>) {
        let micros = age.map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        self.shared.queue_age.store(micros, Ordering::Relaxed);
    }

    /// Asks for a key frame; requests are merged and budgeted.
    pub fn request_key(&self, reason: KeyReason) {
        let mut requests = lock(&self.shared.requests);
        if !requests.contains(&reason) {
            requests.push(reason);
        }
    }

    /// Off: nothing is encoded. On again starts with a key frame.
    pub fn set_camera(&self, camera: Switch) {
        let on = camera == Switch::On;
        if self.shared.camera.swap(on, Ordering::Relaxed) == on {
            return;
        }
        if on {
            self.request_key(KeyReason::Start);
        }
        self.hub.set_camera(camera);
    }

    pub fn stats(&self) -> VideoTxStats {
        let figures = lock(&self.shared.figures);
        VideoTxStats {
            sent: figures.sent,
            dropped: figures.dropped + self.hub.source_pictures().dropped(),
            key_frames: figures.key_frames,
            encode_ms_p50: figures.encode.p50_ms(),
            encode_ms_p95: figures.encode.p95_ms(),
            size: figures.size,
            encoder: figures.encoder.into(),
        }
    }
}

impl Drop for VideoTx {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.hub.set_camera(Switch::Off);
        self.hub.source_pictures().wake();
    }
}

/// The thread's own state.
struct Work {
    hub: Hub,
    shared: Arc<Shared>,
    choice: EncoderChoice,
    encoder: Option<Box<dyn VideoEncoder>>,
    no_encoder_before: Option<Instant>,
    scaler: Scaler,
    source: Option<(Size, f64)>,
    ladder: Option<Ladder>,
    budget: KeyFrameBudget,
    /// Capture time from which on the next picture is due at the step's frame rate.
    due: MonoTime,
    last_encoded: Option<Instant>,
}

impl Work {
    fn new(hub: Hub, shared: Arc<Shared>, choice: EncoderChoice, now: Instant) -> Self {
        Self {
            hub,
            shared,
            choice,
            encoder: None,
            no_encoder_before: None,
            scaler: Scaler::new(),
            source: None,
            ladder: None,
            budget: KeyFrameBudget::new(now),
            due: MonoTime::default(),
            last_encoded: None,
        }
    }

    fn run(&mut self, out: &mpsc::Sender<EncodedPicture>) {
        while !self.shared.stop.load(Ordering::Relaxed) && !out.is_closed() {
            match self.hub.source_pictures().take_blocking(IDLE) {
                Ok(Some(picture)) => self.handle_picture(&picture, out, Instant::now()),
                Ok(None) => {}
                Err(_closed) => return,
            }
        }
    }

    fn handle_picture(&mut self, picture: &Picture, out: &mpsc::Sender<EncodedPicture>, now: Instant) {
        if !self.shared.camera.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.code(picture, out, now);
        if sent.is_none() {
            lock(&self.shared.figures).dropped += 1;
        }
    }

    /// `None`: the picture is dropped.
    fn code(&mut self, picture: &Picture, out: &mpsc::Sender<EncodedPicture>, now: Instant) -> Option<()> {
        let step = self.step(picture, now);
        for reason in std::mem::take(&mut *lock(&self.shared.requests)) {
            self.budget.request(reason, now);
        }
        if !self.is_due(picture.capture, step.fps) || !self.queue_allows(now) {
            return None;
        }
        // The place in the session's queue comes first: what is encoded must also be sent.
        let place = out.try_reserve().ok()?;
        let thrift = self.thrift();
        // Within 30 Mb/s for any size; a negative need does not exist.
        let enough = step.enough_bps(thrift) as u64;
        let target = Target { bps: self.target().min(enough.max(MIN_BPS)), fps: step.fps };
        let mut held = Vec::new();
        if self.encoder.as_ref().is_none_or(|encoder| encoder.size() != step.size) {
            held = self.renew(step.size, target, now)?;
        }
        let encoder = self.encoder.as_mut().expect("made above when there was none");
        let key = self.budget.take(now);
        if let Some(reason) = key {
            tracing::debug!(?reason, size = %step.size, "key frame");
        }
        let (wall, cpu) = (Instant::now(), thread_cpu());
        let scaled = self.scaler.scale(picture, step.size);
        let frame = if key.is_some() { Frame::Key } else { Frame::Inter };
        let coded = encoder.set_target(target).and_then(|()| encoder.encode(&scaled, frame));
        let (wall, cpu) = (wall.elapsed(), thread_cpu().saturating_sub(cpu));
        let own = encoder.works_on_this_thread();
        let (name, size) = (encoder.name(), encoder.size());
        let units = match coded {
            Ok(units) => units,
            Err(error) => {
                tracing::warn!(%error, "the picture encoder is started anew");
                self.encoder = None;
                self.no_encoder_before = Some(now + RETRY);
                self.budget.request(KeyReason::Start, now);
                return None;
            }
        };
        self.last_encoded = Some(now);
        let made_key = units.iter().find(|unit| unit.frame == Frame::Key);
        if let Some(unit) = made_key {
            self.budget.handle_made(unit.data.len(), now);
        } else if let Some(ladder) = &mut self.ladder {
            // Waiting for a core says nothing of the size, unless the encoder's own threads do the work.
            let took = if own { wall.min(cpu * WAITING_FACTOR) } else { wall };
            ladder.handle_encode_time(took, now);
        }
        {
            let mut figures = lock(&self.shared.figures);
            figures.encode.record(wall);
            figures.encoder = name;
            figures.size = Some(size);
            figures.key_frames += u64::from(made_key.is_some());
        }
        held.extend(units.into_iter().map(|unit| (unit, size)));
        self.send(held, place, out, wall, now);
        Some(())
    }

    /// Hands over one unit by the reserved place and what an encoder held back besides as far as there is room.
    fn send(
        &mut self,
        units: Vec<(Unit, Size)>,
        place: mpsc::Permit<'_, EncodedPicture>,
        out: &mpsc::Sender<EncodedPicture>,
        encode_time: Duration,
        now: Instant,
    ) {
        let mut place = Some(place);
        let mut sent = 0;
        for (unit, size) in units {
            let key = unit.frame == Frame::Key;
            let coded = EncodedPicture { data: unit.data, key, capture: unit.capture, size, encode_time };
            match place.take() {
                Some(place) => place.send(coded),
                None if out.try_send(coded).is_ok() => {}
                None => {
                    // Later pictures refer to this one.
                    self.budget.request(KeyReason::Loss, now);
                    break;
                }
            }
            sent += 1;
        }
        lock(&self.shared.figures).sent += sent;
    }

    /// An encoder with threads of its own is one that needs them.
    fn thrift(&self) -> Thrift {
        match &self.encoder {
            Some(encoder) if !encoder.works_on_this_thread() => Thrift::Cpu,
            None if self.choice == EncoderChoice::Rav1e => Thrift::Cpu,
            _ => Thrift::Link,
        }
    }

    fn target(&self) -> u64 {
        self.shared.target_bps.load(Ordering::Relaxed).max(MIN_BPS)
    }

    /// What the picture is to become, by the source's format, the bitrate and the encode times.
    fn step(&mut self, picture: &Picture, now: Instant) -> Step {
        let format = *self.hub.video_format().borrow();
        let fps = format.map_or(USUAL_FPS, |format| format.fps());
        if self.source != Some((picture.size, fps)) || self.ladder.is_none() {
            self.source = Some((picture.size, fps));
            self.ladder = Some(Ladder::new(picture.size, fps));
        }
        let ladder = self.ladder.as_mut().expect("made above");
        let before = ladder.current();
        let target = self.shared.target_bps.load(Ordering::Relaxed).max(MIN_BPS);
        ladder.handle_target(target, now);
        self.budget.set_target(target);
        let step = ladder.current();
        if step != before || self.last_encoded.is_none() {
            let fps_milli = (step.fps * 1000.0).round() as u32;
            self.hub.set_wanted(VideoFormat { size: step.size, fps_milli });
            tracing::debug!(size = %step.size, fps = step.fps, target, "picture step");
        }
        step
    }

    /// Keeps the step's frame rate, whatever the source's; captures may come a little early or late, and what a source
    /// held up for a moment delivers at once is not lost.
    fn is_due(&mut self, capture: MonoTime, fps: f64) -> bool {
        let interval = Duration::from_secs_f64(1.0 / fps.max(1.0));
        // The first picture, and one after the clock jumped back, begin a new rhythm.
        let begins = self.due == MonoTime::default() || self.due.since(capture) >= CREDIT * interval;
        let rhythm = if begins { capture } else { self.due };
        if capture + interval / 2 < rhythm {
            return false;
        }
        let earliest = MonoTime(capture.micros().saturating_sub((CREDIT * interval).as_micros() as u64));
        self.due = rhythm.max(earliest) + interval;
        true
    }

    fn queue_allows(&self, now: Instant) -> bool {
        let age = Duration::from_micros(self.shared.queue_age.load(Ordering::Relaxed));
        age <= SKIP_AGE || self.last_encoded.is_none_or(|last| now.saturating_duration_since(last) >= AT_LEAST_EVERY)
    }

    /// Starts an encoder for another size; returns what the old one still held back.
    fn renew(&mut self, size: Size, target: Target, now: Instant) -> Option<Vec<(Unit, Size)>> {
        if self.no_encoder_before.is_some_and(|before| now < before) {
            return None;
        }
        match video_encoder(self.choice, size, target) {
            Ok(encoder) => {
                let (name, held_back) = (encoder.name(), encoder.delay_pictures());
                tracing::info!(encoder = name, %size, held_back, "picture encoder");
                let old = self.encoder.replace(encoder);
                let held = old.map_or_else(Vec::new, |mut old| {
                    let size = old.size();
                    old.finish().into_iter().map(|unit| (unit, size)).collect()
                });
                Some(held)
            }
            Err(error) => {
                tracing::warn!(%error, %size, "no picture is sent");
                self.no_encoder_before = Some(now + RETRY);
                None
            }
        }
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
