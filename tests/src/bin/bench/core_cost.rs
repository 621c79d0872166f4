//! What a decision of `kith-core` costs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kith_common::call::{CallKind, CallOptions, EncoderChoice, Switch};
use kith_common::ids::{CallId, PeerId};
use kith_core::call::{BookConfig, CallBook, LinkId, MediaEvent, MediaState, Signal, Standing};
use kith_core::jitter::{JitterBuffer, SoundPacket};

use crate::figure::Figure;

const EVENTS: u32 = 200_000;

fn nanoseconds_each(events: u32, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / f64::from(events)
}

/// A packet in and a poll, with every twentieth packet lost.
pub fn jitter_buffer() -> Figure {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new(start);
    let payload = Bytes::from_static(&[7; 80]);
    let cost = nanoseconds_each(EVENTS * 2, || {
        for n in 0..EVENTS {
            let now = start + Duration::from_millis(20) * n;
            if n % 20 != 0 {
                buffer.insert(SoundPacket {
                    sequence_time: u64::from(n) * 960,
                    arrived: now,
                    payload: payload.clone(),
                    duration_samples: 960,
                });
            }
            std::hint::black_box(buffer.poll(now));
        }
    });
    Figure::new("jitter buffer, an insert or a poll", cost, "ns")
}

/// A peer's call from offer to hang up: five messages and events, the actions they cause, and the time-outs asked for.
pub fn call_machine() -> Figure {
    const CALLS: u32 = 20_000;
    const STEPS: u32 = 5;
    let local = PeerId::from_public_key([1; 32]);
    let start = Instant::now();
    let mut book = CallBook::new(BookConfig { local, max_calls: 4, encoder: EncoderChoice::Auto });
    let cost = nanoseconds_each(CALLS * STEPS, || {
        for n in 0..CALLS {
            // Another peer and another minute each time, or the limit on rings would answer.
            let mut key = [2; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            let peer = PeerId::from_public_key(key);
            let now = start + Duration::from_secs(60) * n;
            let mut wire = [0; 16];
            wire[..4].copy_from_slice(&n.to_le_bytes());
            let (link, wire) = (LinkId(u64::from(n)), CallId::from_bytes(wire));
            let media = MediaState { microphone: Switch::On, camera: Switch::On, format: None };
            let drain = |book: &mut CallBook| {
                while let Some(action) = book.poll_action() {
                    std::hint::black_box(action);
                }
                std::hint::black_box(book.poll_timeout());
            };
            book.handle_signal(link, peer, wire, Signal::Offer { kind: CallKind::Video, media }, Standing::Ring, now);
            drain(&mut book);
            let Some(id) = book.iter().next().map(|call| call.id) else { continue };
            let _ = book.answer(id, CallOptions::default(), now);
            drain(&mut book);
            book.handle_media(id, MediaEvent::FirstPacket, now);
            drain(&mut book);
            book.handle_signal(link, peer, wire, Signal::Media(media), Standing::Ring, now);
            drain(&mut book);
            book.handle_signal(link, peer, wire, Signal::HangUp { reason: String::new() }, Standing::Ring, now);
            drain(&mut book);
        }
    });
    Figure::new("call machine, a message or an event", cost, "ns")
}
