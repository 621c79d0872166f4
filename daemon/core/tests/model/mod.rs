//! A call in virtual time: encoder, pacer, bandwidth estimate, loss repair, jitter buffer and lip sync of two ends, over
//! two emulated links. The decisions are the crate's own; what str0m and the codecs do is modelled after what was
//! measured with them (see [`estimator`] and [`sender`]).

pub mod estimator;
pub mod receiver;
pub mod sender;

use std::time::{Duration, Instant};

use kith_common::media::Size;
use kith_core::link::{Link, LinkConfig};
use kith_core::stats::Percentiles;

use receiver::Receiver;
use sender::Sender;

/// IP, UDP, SRTP with its extensions: what a packet costs beside its payload.
pub const OVERHEAD: usize = 68;

/// What passes between the ends.
#[derive(Debug, Clone)]
pub enum Wire {
    Video(VideoPacket),
    /// Carries the packet before it too (RED).
    Sound {
        index: u64,
    },
    Nack(Vec<u64>),
    KeyPlease,
    Report {
        growth: Duration,
        received_bps: u64,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct VideoPacket {
    pub sequence: u64,
    pub frame: u64,
    pub count: u64,
    pub key: bool,
    pub capture: Instant,
    pub bytes: usize,
    pub size: Size,
}

pub struct Scenario {
    pub name: &'static str,
    pub link: LinkConfig,
    pub seconds: u64,
    pub source: Size,
    /// When the rate falls, for the figures of a drop.
    pub drop_at: Option<f64>,
    /// The way back, when it is not the same.
    pub back: Option<LinkConfig>,
}

/// Figures of one direction.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub delivered: u64,
    pub late_share: f64,
    pub p50: f64,
    pub p95: f64,
    pub sound_p95: f64,
    pub sound_buffer_ms: f64,
    pub concealed_share: f64,
    pub skew_p95: f64,
    pub kbps: f64,
    pub keys: u64,
    pub worst_ms: f64,
    pub clear_s: f64,
    pub frozen_ms: f64,
    pub sizes: Vec<(Size, f64)>,
}

pub struct Call {
    pub start: Instant,
    senders: [Sender; 2],
    receivers: [Receiver; 2],
    links: [Link<Wire>; 2],
}

impl Call {
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let start = Instant::now();
        let round_trip = scenario.link.delay * 2 + scenario.link.jitter;
        let link = |side: u64| {
            let config = if side == 0 { &scenario.link } else { scenario.back.as_ref().unwrap_or(&scenario.link) };
            Link::new(LinkConfig { seed: seed * 2 + side, ..config.clone() }, start)
        };
        Self {
            start,
            senders: [Sender::new(scenario.source, seed * 7, start), Sender::new(scenario.source, seed * 7 + 3, start)],
            receivers: [Receiver::new(round_trip, start), Receiver::new(round_trip, start)],
            links: [link(0), link(1)],
        }
    }

    pub fn run(&mut self, scenario: &Scenario) -> Figures {
        for ms in 0..scenario.seconds * 1000 {
            self.step(ms);
        }
        self.figures(scenario)
    }

    /// One millisecond.
    fn step(&mut self, ms: u64) {
        let now = self.start + Duration::from_millis(ms);
        for side in 0..2 {
            while let Some(wire) = self.links[1 - side].pop(now) {
                match wire {
                    Wire::Nack(sequences) => self.senders[side].handle_nack(&sequences),
                    Wire::KeyPlease => self.senders[side].handle_key_please(now),
                    Wire::Report { growth, received_bps } => {
                        self.senders[side].handle_report(growth, received_bps, now);
                    }
                    media => self.receivers[side].handle(media, now),
                }
            }
            let growth = self.receivers[side].growth;
            self.senders[side].rate.handle_incoming_growth(growth, now);
            let rate = self.links[side].rate_bps(now);
            let link = &mut self.links[side];
            let mut send = |wire, bytes| {
                link.send(now, wire, bytes + OVERHEAD);
            };
            // Neither end's packets always find the queue as the other has left it.
            if ms.is_multiple_of(2) {
                self.senders[side].tick(rate, now, &mut send);
                self.receivers[side].tick(now, &mut send);
            } else {
                self.receivers[side].tick(now, &mut send);
                self.senders[side].tick(rate, now, &mut send);
            }
        }
    }

    fn figures(&self, scenario: &Scenario) -> Figures {
        let (sender, receiver) = (&self.senders[0], &self.receivers[1]);
        let mut delays = Percentiles::new();
        for (_, delay) in &receiver.delivered {
            delays.record(*delay);
        }
        let on_time =
            receiver.delivered.iter().filter(|(_, delay)| *delay <= Duration::from_millis(400)).count() as u64;
        let jitter = receiver.buffer.stats();
        let polls = jitter.played + jitter.fec + jitter.concealed + jitter.silence;
        // The last pictures are still on their way.
        let due = sender.due.saturating_sub(15).max(receiver.delivered.len() as u64);
        let (worst_ms, clear_s) = scenario.drop_at.map_or((0.0, 0.0), |at| self.after_drop(at));
        let now = self.start + Duration::from_secs(scenario.seconds);
        Figures {
            delivered: receiver.delivered.len() as u64,
            late_share: (due - on_time) as f64 / due as f64,
            p50: delays.p50_ms().unwrap_or_default(),
            p95: delays.p95_ms().unwrap_or_default(),
            sound_p95: receiver.sound_delays.p95_ms().unwrap_or_default(),
            sound_buffer_ms: receiver.buffer.delay().as_secs_f64() * 1000.0,
            concealed_share: jitter.concealed as f64 / polls.max(1) as f64,
            skew_p95: receiver.sync.skew_ms_p95().unwrap_or_default(),
            kbps: sender.video_bytes as f64 * 8.0 / 1000.0 / scenario.seconds as f64,
            keys: sender.keys,
            worst_ms,
            clear_s,
            frozen_ms: receiver.frozen.frozen(now).as_secs_f64() * 1000.0,
            sizes: receiver.sizes.seconds(now),
        }
    }

    /// The worst picture after the drop, and the time from the drop to the beginning of the first second in which every
    /// picture came within 200 ms.
    fn after_drop(&self, at: f64) -> (f64, f64) {
        let after = self.receivers[1]
            .delivered
            .iter()
            .map(|(capture, delay)| ((*capture - self.start).as_secs_f64() - at, *delay));
        let after: Vec<_> = after.filter(|(since, _)| (0.0..15.0).contains(since)).collect();
        let worst = after.iter().map(|(_, delay)| delay.as_secs_f64() * 1000.0).fold(0.0, f64::max);
        let late: Vec<f64> =
            after.iter().filter(|(_, delay)| delay.as_millis() > 200).map(|(since, _)| *since).collect();
        let Some(first) = late.first() else { return (worst, 0.0) };
        let mut clear = *first;
        for since in late {
            if since - clear > 1.0 {
                break;
            }
            clear = since;
        }
        (worst, clear)
    }
}
