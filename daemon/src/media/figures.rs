//! The figures of one session, as the call's clients see them each second.

use std::time::{Duration, Instant};

use kith_common::call::{CallStats, Medium, Transport};
use kith_common::media::Size;
use kith_common::node::Path;
use kith_core::stats::{Due, RateMeter};

use super::hub::Hub;
use super::pipeline::{CodecFigures, Pipeline};

/// Weight of the newest second in the shown loss.
const SMOOTH: f64 = 0.2;

pub struct Figures {
    started: Instant,
    path: Option<Path>,
    transport: Transport,
    round_trip: Duration,
    loss: Option<f64>,
    uncertainty: Option<u64>,
    /// By medium: out, in.
    rates: [[RateMeter; 2]; 2],
    sent: [u64; 2],
    received: [u64; 2],
    peer_due: u64,
}

impl Figures {
    pub fn new(now: Instant) -> Self {
        let meter = || RateMeter::new(now);
        Self {
            started: now,
            path: None,
            transport: Transport::Udp,
            round_trip: Duration::ZERO,
            loss: None,
            uncertainty: None,
            rates: [[meter(), meter()], [meter(), meter()]],
            sent: [0; 2],
            received: [0; 2],
            peer_due: 0,
        }
    }

    /// The call counts from here.
    pub fn start(&mut self, now: Instant) {
        self.started = now;
    }

    pub fn set_path(&mut self, path: Path, transport: Transport) {
        self.path = Some(path);
        self.transport = transport;
    }

    pub fn set_uncertainty(&mut self, micros: u64) {
        self.uncertainty = Some(micros);
    }

    /// Says whether pictures are due now: the count of what the peer's camera took has moved.
    pub fn set_peer_due(&mut self, pictures: u64) -> Due {
        let due = if pictures > self.peer_due { Due::Yes } else { Due::No };
        self.peer_due = self.peer_due.max(pictures);
        due
    }

    pub fn handle_peer(&mut self, round_trip: Option<Duration>, lost: Option<f32>) {
        self.round_trip = round_trip.unwrap_or(self.round_trip);
        if let Some(lost) = lost.map(f64::from) {
            self.loss = Some(self.loss.map_or(lost, |loss| loss + (lost - loss) * SMOOTH));
        }
    }

    /// The share of our packets that the peer misses, smoothed over some seconds.
    pub fn loss(&self) -> f64 {
        self.loss.unwrap_or(0.0)
    }

    pub fn handle_sent(&mut self, medium: Medium, bytes: usize, now: Instant) {
        self.sent[medium as usize] += 1;
        self.rates[medium as usize][0].record(bytes, now);
    }

    pub fn handle_received(&mut self, medium: Medium, bytes: usize, now: Instant) {
        self.received[medium as usize] += 1;
        self.rates[medium as usize][1].record(bytes, now);
    }

    pub fn assemble(&self, hub: &Hub, pipeline: &Pipeline, estimate_bps: u64, now: Instant) -> CallStats {
        let delivered = hub.delivered();
        let CodecFigures { video_tx, video_rx, audio_rx } = pipeline.codecs.figures();
        let (audio, video) = (Medium::Audio as usize, Medium::Video as usize);
        let side = |size: Option<Size>| size.map_or((0, 0), |size| (size.width() as u16, size.height() as u16));
        let (width, height) = side(delivered.size.or(video_rx.size));
        let (width_out, height_out) = side(video_tx.size);
        // What is signalled once a second is behind what has come.
        let due = self.peer_due.max(self.received[video]);
        CallStats {
            duration_s: now.saturating_duration_since(self.started).as_secs_f64(),
            path: self.path,
            transport: self.transport,
            rtt_ms: self.round_trip.as_secs_f64() * 1000.0,
            loss: self.loss(),
            video_due: due,
            video_sent: self.sent[video],
            video_received: self.received[video],
            video_dropped: video_tx.dropped,
            late_400ms: delivered.late_400ms(due),
            audio_sent: self.sent[audio],
            audio_received: self.received[audio],
            audio_concealed_ms: audio_rx.concealed_ms,
            frozen_ms: delivered.frozen_ms,
            skew_ms_p95: delivered.skew_ms_p95,
            delay_ms_p50: delivered.delay_ms_p50,
            delay_ms_p95: delivered.delay_ms_p95,
            delay_uncertainty_ms: self.uncertainty.map(|micros| micros as f64 / 1000.0),
            audio_delay_ms_p50: delivered.audio_delay_ms_p50,
            audio_delay_ms_p95: delivered.audio_delay_ms_p95,
            jitter_buffer_ms: audio_rx.buffer_ms,
            video_kbps_out: self.rates[video][0].kbps(now),
            video_kbps_in: self.rates[video][1].kbps(now),
            audio_kbps_out: self.rates[audio][0].kbps(now),
            audio_kbps_in: self.rates[audio][1].kbps(now),
            estimate_kbps: estimate_bps as f64 / 1000.0,
            width,
            height,
            width_out,
            height_out,
            video_fps: delivered.video_fps,
            encoder: video_tx.encoder,
            encode_ms_p95: video_tx.encode_ms_p95.unwrap_or(0.0),
            sizes: delivered.sizes,
        }
    }
}
