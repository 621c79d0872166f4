//! The picture decoder of one call: a thread that decodes what the session brings, holds pictures back for the sound's sake
//! and spaces those that come out together, and hands them to the hub.
//!
//! Nothing is shown that refers to what is missing: after a gap or an error it asks once for a key frame and waits for it.
//! On a good link it adds no delay beyond decoding.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size};
use kith_core::pace::Pacer;
use kith_core::stats::Percentiles;
use kith_core::sync::LipSync;
use tokio::sync::Notify;

use super::hub::Hub;
use super::queue::Queue;
use kith_codec::dav1d::{Decoded, Decoder};
use kith_codec::{MAX_UNIT_BYTES, TEMPORAL_DELIMITER, starts_sequence};

/// Coded pictures that wait for the decoder: two thirds of a second, more than the longest hold. Behind that they are late
/// anyway, and only a key frame helps.
const MAX_WAITING: usize = 20;
const IDLE: Duration = Duration::from_millis(500);
/// A request for a key frame, or the key frame, may get lost: then it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(700);
/// A bound of its own for the hold, whatever lip sync says.
const MAX_HOLD: Duration = Duration::from_millis(200);

/// Shared by the picture and the sound receiver of a call.
pub type SharedLipSync = Arc<Mutex<LipSync>>;

/// One temporal unit from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedIn {
    pub data: Vec<u8>,
    /// On the local clock.
    pub capture: MonoTime,
    /// Nothing is missing between this and the one before.
    pub contiguous: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct VideoRxStats {
    /// Temporal units that came.
    pub received: u64,
    pub decoded: u64,
    /// Not shown: undecodable, without their reference, or too many waiting.
    pub dropped: u64,
    pub errors: u64,
    pub key_requests: u64,
    pub decode_ms_p95: Option<f64>,
    /// Of the newest picture.
    pub size: Option<Size>,
}

#[derive(Default)]
struct Figures {
    received: u64,
    decoded: u64,
    dropped: u64,
    errors: u64,
    key_requests: u64,
    decode: Percentiles,
    size: Option<Size>,
}

struct Shared {
    units: Queue<EncodedIn>,
    stop: AtomicBool,
    /// A unit gave way in the queue, so the next one does not follow its predecessor.
    lost: AtomicBool,
    key_wanted: Arc<Notify>,
    figures: Mutex<Figures>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Figures and lip sync are whole after each call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle of the decoder thread. Dropping it ends the thread.
pub struct VideoRx(Arc<Shared>);

impl VideoRx {
    pub fn spawn(hub: Hub, sync: SharedLipSync) -> Self {
        let shared = Arc::new(Shared {
            units: Queue::new(MAX_WAITING),
            stop: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            key_wanted: Arc::new(Notify::new()),
            figures: Mutex::new(Figures::default()),
        });
        let thread = std::thread::Builder::new().name("kith-dec-video".into()).spawn({
            let (shared, span) = (Arc::clone(&shared), tracing::Span::current());
            move || {
                let _entered = span.entered();
                match Decoder::new() {
                    Ok(decoder) => Work::new(hub, sync, shared, decoder).run(),
                    Err(error) => tracing::error!(%error, "this call shows no pictures"),
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for the picture decoder: this call shows no pictures");
        }
        Self(shared)
    }

    /// Takes the next temporal unit, in decoding order. When the decoder cannot keep up the oldest give way.
    pub fn push(&self, unit: EncodedIn) {
        let mut figures = lock(&self.0.figures);
        figures.received += 1;
        if unit.data.is_empty() || unit.data.len() > MAX_UNIT_BYTES {
            figures.dropped += 1;
            self.0.lost.store(true, Ordering::Relaxed);
            return;
        }
        if self.0.units.push(unit).is_some() {
            let skipped = self.0.units.skip_to(|unit| starts_sequence(&unit.data)) as u64;
            figures.dropped += 1 + skipped;
            self.0.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Rings when only a key frame helps; the session then sends a PLI.
    pub fn key_wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.0.key_wanted)
    }

    pub fn stats(&self) -> VideoRxStats {
        let figures = lock(&self.0.figures);
        VideoRxStats {
            received: figures.received,
            decoded: figures.decoded,
            dropped: figures.dropped,
            errors: figures.errors,
            key_requests: figures.key_requests,
            decode_ms_p95: figures.decode.p95_ms(),
            size: figures.size,
        }
    }
}

impl Drop for VideoRx {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.units.close();
    }
}

/// Whether the decoder has all that the next picture refers to.
enum Waiting {
    No,
    /// A key frame is needed, and was asked for then.
    ForKey {
        asked: Option<Instant>,
    },
}

impl Waiting {
    /// The first picture of a call is a key frame: there is no need to ask before something else comes.
    const fn start() -> Self {
        Self::ForKey { asked: None }
    }
}

struct Work {
    hub: Hub,
    sync: SharedLipSync,
    shared: Arc<Shared>,
    decoder: Decoder,
    state: Waiting,
    pacer: Pacer,
    next: u64,
}

impl Work {
    const fn new(hub: Hub, sync: SharedLipSync, shared: Arc<Shared>, decoder: Decoder) -> Self {
        Self { hub, sync, shared, decoder, state: Waiting::start(), pacer: Pacer::new(), next: 0 }
    }

    fn run(&mut self) {
        loop {
            match self.shared.units.take_blocking(IDLE) {
                Ok(Some(unit)) if !self.shared.stop.load(Ordering::Relaxed) => {
                    if let Some(picture) = self.decode(&unit, Instant::now()) {
                        self.show(picture);
                    }
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }

    fn decode(&mut self, unit: &EncodedIn, now: Instant) -> Option<Picture> {
        let lost = self.shared.lost.swap(false, Ordering::Relaxed);
        let key = starts_sequence(&unit.data);
        if (lost || !unit.contiguous) && !key && matches!(self.state, Waiting::No) {
            self.state = Waiting::start();
        }
        if matches!(self.state, Waiting::ForKey { .. }) && !key {
            self.ask(now);
            lock(&self.shared.figures).dropped += 1;
            return None;
        }
        let start = Instant::now();
        let decoded = if unit.data.starts_with(&TEMPORAL_DELIMITER) {
            self.decoder.decode(&unit.data)
        } else {
            self.decoder.decode(&[&TEMPORAL_DELIMITER, unit.data.as_slice()].concat())
        };
        let took = start.elapsed();
        match decoded {
            Ok(Some(Decoded { size, data })) => {
                self.state = Waiting::No;
                let mut figures = lock(&self.shared.figures);
                figures.decoded += 1;
                figures.decode.record(took);
                figures.size = Some(size);
                self.next += 1;
                Picture::new(size, unit.capture, self.next, data).ok()
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, bytes = unit.data.len(), "a picture is lost");
                {
                    let mut figures = lock(&self.shared.figures);
                    figures.errors += 1;
                    figures.dropped += 1;
                }
                self.state = Waiting::start();
                self.ask(now);
                None
            }
        }
    }

    /// Asks for a key frame, once a gap, and again when none has come for long.
    fn ask(&mut self, now: Instant) {
        let Waiting::ForKey { asked } = &mut self.state else { return };
        if asked.is_some_and(|asked| now.saturating_duration_since(asked) < ASK_AGAIN) {
            return;
        }
        *asked = Some(now);
        lock(&self.shared.figures).key_requests += 1;
        self.shared.key_wanted.notify_one();
    }

    fn show(&mut self, picture: Picture) {
        let ready = MonoTime::now();
        let hold = lock(&self.sync).handle_picture(picture.capture, ready);
        let hold = hold.max(self.pacer.handle_picture(picture.capture, ready));
        if !hold.is_zero() {
            std::thread::sleep(hold.min(MAX_HOLD));
        }
        let shown = MonoTime::now();
        self.pacer.handle_shown(picture.capture, shown);
        lock(&self.sync).handle_shown(picture.capture, shown);
        self.hub.deliver_picture(picture);
    }
}

#[cfg(test)]
mod tests;
