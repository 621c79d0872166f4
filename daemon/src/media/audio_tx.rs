//! The sound encoder of one call: a thread that gathers 20 ms from the chunks of the hub's source, encodes them and hands the
//! packets to the session. Silence is not sent; that it begins is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kith_common::call::Switch;
use kith_common::clock::MonoTime;
use tokio::sync::mpsc;

use super::gather::Gather;
use super::hub::Hub;
use kith_codec::opus::{Encoder, SILENT_BYTES};

/// How often an idle thread looks whether it is still needed, when nobody wakes it.
const IDLE: Duration = Duration::from_millis(500);
/// A source that gives nothing for this long is not just late.
const STARVED: Duration = Duration::from_millis(200);
/// Packets that say "silence from here", since each may get lost.
const SILENCE_MARKS: u32 = 3;

/// One Opus packet of 20 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedSound {
    pub data: Vec<u8>,
    pub capture: MonoTime,
    /// RTP time of the first sample, 48 kHz, without wrap-around. Follows the capture time: silence that is not sent
    /// and pauses of the source leave gaps.
    pub samples_at: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioTxStats {
    pub sent: u64,
    /// Packets of silence that were not sent (DTX).
    pub silent: u64,
    /// Did not fit into the session's queue.
    pub dropped: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    microphone: AtomicBool,
    loss_per_mille: AtomicU64,
    sent: AtomicU64,
    silent: AtomicU64,
    dropped: AtomicU64,
}

/// The handle of the encoder thread. Dropping it ends the thread.
pub struct AudioTx {
    hub: Hub,
    shared: Arc<Shared>,
}

impl AudioTx {
    pub fn spawn(hub: Hub, microphone: Switch, out: mpsc::Sender<EncodedSound>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.microphone.store(microphone == Switch::On, Ordering::Relaxed);
        hub.set_microphone(microphone);
        let thread = std::thread::Builder::new().name("kith-enc-sound".into()).spawn({
            let (hub, shared, span) = (hub.clone(), Arc::clone(&shared), tracing::Span::current());
            move || {
                let _entered = span.entered();
                match Encoder::new() {
                    Ok(encoder) => {
                        Work { hub, shared, out, encoder, gather: Gather::new(), silence: Silence::new() }.run()
                    }
                    Err(error) => tracing::error!(%error, "this call sends no sound"),
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for the sound encoder: this call sends no sound");
        }
        Self { hub, shared }
    }

    /// The share of packets that the peer loses, for Opus' forward error correction.
    pub fn set_loss(&self, loss: f64) {
        self.shared.loss_per_mille.store((loss.clamp(0.0, 1.0) * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Off: nothing is sent.
    pub fn set_microphone(&self, microphone: Switch) {
        let on = microphone == Switch::On;
        if self.shared.microphone.swap(on, Ordering::Relaxed) != on {
            self.hub.set_microphone(microphone);
            self.hub.source_sounds().wake();
        }
    }

    pub fn stats(&self) -> AudioTxStats {
        AudioTxStats {
            sent: self.shared.sent.load(Ordering::Relaxed),
            silent: self.shared.silent.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed) + self.hub.source_sounds().dropped(),
        }
    }
}

impl Drop for AudioTx {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.hub.set_microphone(Switch::Off);
        self.hub.source_sounds().wake();
    }
}

/// What the peer knows of our being silent.
struct Silence {
    /// Silent packets sent since there was sound; `SILENCE_MARKS`: it knows, nothing need be sent.
    marks: u32,
    /// The first byte of the last packet with sound: what a mark begins with.
    kind: Option<u8>,
    last_sound: Instant,
}

impl Silence {
    fn new() -> Self {
        Self { marks: SILENCE_MARKS, kind: None, last_sound: Instant::now() }
    }
}

struct Work {
    hub: Hub,
    shared: Arc<Shared>,
    out: mpsc::Sender<EncodedSound>,
    encoder: Encoder,
    gather: Gather,
    silence: Silence,
}

impl Work {
    fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) && !self.out.is_closed() {
            let told = self.silence.marks >= SILENCE_MARKS;
            let taken = self.hub.source_sounds().take_blocking(if told { IDLE } else { STARVED });
            let on = self.shared.microphone.load(Ordering::Relaxed);
            match taken {
                Ok(Some(sound)) if on => {
                    self.silence.last_sound = Instant::now();
                    for frame in self.gather.push(&sound) {
                        self.encode(&frame.samples, frame.capture, frame.samples_at);
                    }
                }
                Ok(_) if !on || !self.hub.has_audio_source() || self.silence.last_sound.elapsed() >= STARVED => {
                    self.fall_silent();
                }
                Ok(_) => {}
                Err(_closed) => return,
            }
        }
    }

    fn encode(&mut self, samples: &[i16; 960], capture: MonoTime, samples_at: u64) {
        let loss = self.shared.loss_per_mille.load(Ordering::Relaxed) as f64 / 1000.0;
        let data = match self.encoder.set_loss(loss).and_then(|()| self.encoder.encode(samples)) {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(%error, "20 ms of sound are lost");
                return;
            }
        };
        if data.len() > SILENT_BYTES {
            self.silence.marks = 0;
            self.silence.kind = data.first().copied();
        } else if self.silence.marks >= SILENCE_MARKS {
            self.shared.silent.fetch_add(1, Ordering::Relaxed);
            return;
        } else {
            self.silence.marks += 1;
        }
        self.send(EncodedSound { data, capture, samples_at });
    }

    /// Tells the peer that nothing comes for a while, so that it does not make up what it misses.
    fn fall_silent(&mut self) {
        // An Opus packet without a frame: the kind of the last one, with code 0 (RFC 6716, 3.1 and 3.2.1).
        let Some(kind) = self.silence.kind else { return };
        while self.silence.marks < SILENCE_MARKS {
            self.silence.marks += 1;
            let Some((capture, samples_at)) = self.gather.skip() else { return };
            self.send(EncodedSound { data: vec![kind & !3], capture, samples_at });
        }
    }

    fn send(&self, sound: EncodedSound) {
        let sent = self.out.try_send(sound).is_ok();
        let counter = if sent { &self.shared.sent } else { &self.shared.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
