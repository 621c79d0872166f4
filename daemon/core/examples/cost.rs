//! What one event costs: the jitter buffer, the emulated link and the rate decisions, in nanoseconds.
//! `cargo run -p kith-core --example cost`, with `--json` for a machine.

#![allow(clippy::print_stdout)] // Printing is what it is for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kith_core::jitter::{JitterBuffer, SoundPacket};
use kith_core::ladder::Ladder;
use kith_core::link::{Link, LinkConfig, Rng};
use kith_core::rate::{RateConfig, RateController};
use kith_core::stats::Percentiles;

const EVENTS: u64 = 200_000;

/// Nanoseconds an event: the best of five rounds, because others use the machine too.
fn measure(mut round: impl FnMut()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / EVENTS as f64
    });
    times.fold(f64::MAX, f64::min)
}

/// One packet in and one poll, with jitter, loss and reordering.
fn jitter_buffer() {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new(start);
    let mut rng = Rng::new(1);
    let payload = Bytes::from_static(&[0; 80]);
    for index in 0..EVENTS {
        let now = start + Duration::from_millis(index * 20);
        if !rng.chance(0.05) {
            let arrived = now + Duration::from_micros(rng.next_u64() % 30_000);
            let time = 48_000 + index * 960;
            buffer.insert(SoundPacket {
                sequence_time: time,
                arrived,
                payload: payload.clone(),
                duration_samples: 960,
            });
        }
        std::hint::black_box(buffer.poll(now));
    }
}

fn link() {
    let start = Instant::now();
    let config =
        LinkConfig { loss: 0.05, rate_bps: Some(5_000_000), delay: Duration::from_millis(25), ..LinkConfig::default() };
    let mut link = Link::new(config, start);
    for index in 0..EVENTS {
        let now = start + Duration::from_millis(index * 2);
        link.send(now, index, 1200);
        std::hint::black_box(link.pop(now));
    }
}

/// An estimate, a report and the question whether to encode.
fn rate() {
    let start = Instant::now();
    let mut rate = RateController::new(RateConfig::default());
    for index in 0..EVENTS {
        let now = start + Duration::from_millis(index * 33);
        rate.handle_estimate(900_000 + index % 100_000, now);
        rate.handle_report(Duration::from_millis(index % 130), 800_000, now);
        std::hint::black_box(rate.should_encode(now));
    }
}

/// A target and an encode time.
fn ladder() {
    let start = Instant::now();
    let mut ladder = Ladder::new("1280x720".parse().expect("a size"), 30.0);
    for index in 0..EVENTS {
        let now = start + Duration::from_millis(index * 33);
        ladder.handle_target(500_000 + index % 700_000, now);
        ladder.handle_encode_time(Duration::from_micros(2_000 + index % 20_000), now);
        std::hint::black_box(ladder.current());
    }
}

fn percentiles() {
    let mut percentiles = Percentiles::new();
    for index in 0..EVENTS {
        percentiles.record_ms(std::hint::black_box((index % 400) as f64));
    }
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let rows: [(&str, fn()); 5] = [
        ("jitter_buffer_packet_and_poll", jitter_buffer),
        ("link_send_and_pop", link),
        ("rate_estimate_report_and_question", rate),
        ("ladder_target_and_encode_time", ladder),
        ("percentiles_record", percentiles),
    ];
    for (name, round) in rows {
        let nanoseconds = measure(round);
        if json {
            println!("{{\"name\":\"{name}\",\"ns\":{nanoseconds:.0}}}");
        } else {
            println!("{name:<36} {nanoseconds:>6.0} ns");
        }
    }
}
