//! The sound decoder of one call: a thread that gives out 20 ms every 20 ms, whatever the network does.
//!
//! What to play is decided by the jitter buffer of `kith-core`; this thread decodes, rebuilds, conceals and stretches as it
//! says and hands the result to the hub. Before the first packet and after the stream has ended it sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kith_common::call::Switch;
use kith_common::clock::MonoTime;
use kith_common::media::{FRAME_SAMPLES, Sound};
use kith_core::jitter::{self, JitterBuffer, Playout, Stretch, stretch};
use kith_core::stats::Due;

use super::hub::Hub;
use super::queue::Queue;
use super::video_rx::SharedLipSync;
use kith_codec::opus::Decoder;

const TICK: Duration = Duration::from_millis(20);
const FRAME_MICROS: i64 = 20_000;
const IDLE: Duration = Duration::from_millis(500);
/// Packets between two ticks: one is usual; after a stall of this thread or a burst of the network a second's worth.
const MAX_ARRIVED: usize = 64;
/// After a stall longer than this the thread does not catch up: what it would play is late.
const MAX_BEHIND: Duration = Duration::from_millis(200);
/// Polls for one tick: one is usual, two after a shortened packet, more for strangely short packets of a peer.
const MAX_POLLS: usize = 10;
/// Ticks with nothing to play after which the thread sleeps until a packet comes.
const SLEEP_AFTER: u32 = 100;
/// The output never holds more than the longest packet and a stretch of it.
const MAX_OUT: usize = 4 * FRAME_SAMPLES;

/// One Opus packet from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundPacket {
    pub data: Vec<u8>,
    /// 48 kHz, without wrap-around.
    pub rtp_time: u64,
    /// On the local clock.
    pub capture: MonoTime,
    pub arrived: MonoTime,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioRxStats {
    pub received: u64,
    /// Sound made up: neither received, nor rebuilt from FEC or RED, nor silence by DTX.
    pub concealed_ms: u64,
    pub rebuilt_ms: u64,
    pub late: u64,
    /// How long sound waits in the jitter buffer.
    pub buffer_ms: f64,
}

struct Shared {
    arrived: Queue<SoundPacket>,
    stop: AtomicBool,
    /// The peer's microphone is on.
    due: AtomicBool,
    stats: Mutex<AudioRxStats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Figures and lip sync are whole after each call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle of the decoder thread. Dropping it ends the thread.
pub struct AudioRx(Arc<Shared>);

impl AudioRx {
    pub fn spawn(hub: Hub, sync: SharedLipSync) -> Self {
        let shared = Arc::new(Shared {
            arrived: Queue::new(MAX_ARRIVED),
            stop: AtomicBool::new(false),
            due: AtomicBool::new(true),
            stats: Mutex::new(AudioRxStats::default()),
        });
        let thread = std::thread::Builder::new().name("kith-dec-sound".into()).spawn({
            let (shared, span) = (Arc::clone(&shared), tracing::Span::current());
            move || {
                let _entered = span.entered();
                match Decoder::new() {
                    Ok(decoder) => Work::new(hub, sync, shared, decoder, Instant::now(), MonoTime::now()).run(),
                    Err(error) => tracing::error!(%error, "this call plays no sound"),
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for the sound decoder: this call plays no sound");
        }
        Self(shared)
    }

    pub fn push(&self, packet: SoundPacket) {
        lock(&self.0.stats).received += 1;
        self.0.arrived.push(packet);
    }

    /// Whether the peer's microphone is on, as it signals: while it is off nothing is made up for what does not come.
    pub fn set_peer_microphone(&self, microphone: Switch) {
        self.0.due.store(microphone == Switch::On, Ordering::Relaxed);
    }

    pub fn stats(&self) -> AudioRxStats {
        lock(&self.0.stats).clone()
    }
}

impl Drop for AudioRx {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.arrived.close();
    }
}

/// What a tick gave out.
#[derive(Debug, PartialEq, Eq)]
enum Played {
    /// From what the peer sent.
    Received(Sound),
    MadeUp(Sound),
    Nothing,
}

struct Work {
    hub: Hub,
    sync: SharedLipSync,
    shared: Arc<Shared>,
    jitter: JitterBuffer,
    decoder: Decoder,
    /// Decoded and not given out.
    out: Vec<i16>,
    /// Capture time of the end of `out`.
    out_end: MonoTime,
    /// RTP and capture time of the newest packet: they turn one into the other.
    anchor: Option<(u64, MonoTime)>,
    sequence: u64,
    concealed: u64,
    /// The same moment on both clocks.
    epoch: (Instant, MonoTime),
}

impl Work {
    fn new(hub: Hub, sync: SharedLipSync, shared: Arc<Shared>, decoder: Decoder, now: Instant, mono: MonoTime) -> Self {
        Self {
            hub,
            sync,
            shared,
            jitter: JitterBuffer::new(now),
            decoder,
            out: Vec::with_capacity(MAX_OUT),
            out_end: MonoTime::default(),
            anchor: None,
            sequence: 0,
            concealed: 0,
            epoch: (now, mono),
        }
    }

    fn run(&mut self) {
        loop {
            match self.shared.arrived.take_blocking(IDLE) {
                Ok(Some(packet)) => {
                    self.insert(packet);
                    self.play_stream();
                }
                Ok(None) => {}
                Err(_closed) => return,
            }
            if self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Ticks until the stream has ended.
    fn play_stream(&mut self) {
        let mut tick = Instant::now();
        let mut idle = 0;
        while idle < SLEEP_AFTER && !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < tick {
                std::thread::sleep(tick - now);
            }
            let now = Instant::now();
            while let Ok(Some(packet)) = self.shared.arrived.take_blocking(Duration::ZERO) {
                self.insert(packet);
            }
            match self.tick(now) {
                Played::Nothing => idle += 1,
                Played::Received(sound) => {
                    idle = 0;
                    lock(&self.sync).handle_sound(sound.capture, MonoTime::now());
                    self.hub.deliver_sound(sound);
                }
                Played::MadeUp(sound) => {
                    idle = 0;
                    self.hub.deliver_sound(sound);
                }
            }
            tick += TICK;
            if now.saturating_duration_since(tick) > MAX_BEHIND {
                tick = now + TICK;
            }
        }
    }

    fn insert(&mut self, packet: SoundPacket) {
        // What is no packet of a call is not worth a place in the buffer.
        let Some(samples) = Decoder::duration(&packet.data) else { return };
        if self.anchor.is_none_or(|(newest, _)| packet.rtp_time > newest || newest - packet.rtp_time > 480_000) {
            self.anchor = Some((packet.rtp_time, packet.capture));
        }
        let since = packet.arrived.micros_since(self.epoch.1);
        let arrived = u64::try_from(since).map_or(self.epoch.0, |since| self.epoch.0 + Duration::from_micros(since));
        self.jitter.insert(jitter::SoundPacket {
            sequence_time: packet.rtp_time,
            arrived,
            payload: Bytes::from(packet.data),
            duration_samples: samples as u32,
        });
    }

    /// 20 ms, if there is a stream.
    fn tick(&mut self, now: Instant) -> Played {
        let due = if self.shared.due.load(Ordering::Relaxed) { Due::Yes } else { Due::No };
        self.jitter.set_due(due);
        self.jitter.set_minimum_delay(lock(&self.sync).sound_minimum_delay());
        let mut received = true;
        for _ in 0..MAX_POLLS {
            if self.out.len() >= FRAME_SAMPLES {
                break;
            }
            match self.jitter.poll(now) {
                None | Some(Playout::Wait) => break,
                Some(playout) => received &= self.decode(playout),
            }
        }
        self.report();
        if self.out.len() < FRAME_SAMPLES {
            return Played::Nothing;
        }
        let capture = self.out_end.offset(-(self.out.len() as i64 * 1000 / 48));
        let samples = self.out.drain(..FRAME_SAMPLES).collect();
        self.sequence += 1;
        let sound = Sound { capture, sequence: self.sequence, samples };
        if received { Played::Received(sound) } else { Played::MadeUp(sound) }
    }

    /// Adds what is to be played to the output; whether it comes from the peer.
    fn decode(&mut self, playout: Playout) -> bool {
        let mut time = None;
        let decoded = match playout {
            Playout::Packet { payload, time: at, stretch } => {
                time = Some(at);
                self.decoder.decode(&payload).map(|mut samples| {
                    match stretch {
                        Stretch::None => 0,
                        Stretch::Accelerate => stretch::accelerate(&mut samples),
                        Stretch::Expand => stretch::expand(&mut samples),
                    };
                    samples
                })
            }
            Playout::Fec { next, time: at } => {
                time = Some(at);
                self.decoder.rebuild(&next)
            }
            Playout::Conceal { .. } => {
                self.concealed += 1;
                self.decoder.conceal()
            }
            Playout::Silence { .. } | Playout::Wait => self.decoder.conceal(),
        };
        let (samples, received) = match decoded {
            Ok(samples) => (samples, time.is_some()),
            Err(error) => {
                tracing::debug!(%error, "20 ms of sound are made up");
                self.concealed += 1;
                (self.decoder.conceal().unwrap_or_else(|_| vec![0; FRAME_SAMPLES]), false)
            }
        };
        // Made-up sound follows on what was before it: its own time stands still while nothing comes.
        self.out_end = match (time, self.anchor) {
            (Some(time), Some((rtp, capture))) if received => {
                let off = time.wrapping_sub(rtp).cast_signed() + samples.len() as i64;
                capture.offset(off.saturating_mul(1000) / 48)
            }
            _ => self.out_end.offset(FRAME_MICROS),
        };
        if self.out.len() < MAX_OUT {
            self.out.extend(samples);
        }
        received
    }

    fn report(&self) {
        let played = self.jitter.stats();
        let mut stats = lock(&self.shared.stats);
        stats.concealed_ms = self.concealed * 20;
        stats.rebuilt_ms = played.fec * 20;
        stats.late = played.late;
        stats.buffer_ms = self.jitter.delay().as_secs_f64() * 1000.0;
    }
}

#[cfg(test)]
mod tests;
