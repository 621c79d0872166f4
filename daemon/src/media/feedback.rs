//! What a receiver tells the sender faster than the bandwidth estimate can: how much the one-way delay has grown, and how
//! much arrives. It travels as application feedback in RTCP (RFC 4585 section 6.4), encrypted like the rest, and is the
//! session's heartbeat in both directions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MAGIC: [u8; 4] = *b"KTH1";
const LENGTH: usize = 12;
const HEARS_UDP: u8 = 1;

/// Growth within this time counts: the least of it, because a queue holds every packet and jitter only some.
const WINDOW: Duration = Duration::from_millis(45);
/// After this long without a packet nothing is known.
const LIFE: Duration = Duration::from_millis(200);
/// The least delay is looked for within one to two of these: long enough to have seen an empty queue, short enough for
/// clocks that drift apart.
const BASE_WINDOW: Duration = Duration::from_secs(15);
/// Two media at 100 packets a second, with room.
const MAX_SAMPLES: usize = 64;

/// One report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Of the one-way delay over its recent least.
    pub growth: Duration,
    /// Of everything that arrived in the last quarter of a second.
    pub received_bps: u64,
    /// Our packets arrive by UDP.
    pub hears_udp: bool,
}

impl Report {
    pub fn to_bytes(self) -> Vec<u8> {
        let growth = u16::try_from(self.growth.as_millis()).unwrap_or(u16::MAX);
        let kbps = u32::try_from(self.received_bps / 1000).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&growth.to_be_bytes());
        bytes.extend_from_slice(&[if self.hears_udp { HEARS_UDP } else { 0 }, 0]);
        bytes.extend_from_slice(&kbps.to_be_bytes());
        bytes
    }

    /// `None`: not a report. Later versions may append to it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (&[g1, g0, flags, _, k3, k2, k1, k0], _) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then(|| Self {
            growth: Duration::from_millis(u16::from_be_bytes([g1, g0]).into()),
            received_bps: u64::from(u32::from_be_bytes([k3, k2, k1, k0])) * 1000,
            hears_udp: flags & HEARS_UDP != 0,
        })
    }
}

/// The growth of the delay of one medium. The clocks need not agree: only differences count.
#[derive(Debug, Default)]
pub struct DelayMeter {
    samples: VecDeque<(Instant, i64)>,
    least: Option<i64>,
    least_before: Option<i64>,
    window_start: Option<Instant>,
}

impl DelayMeter {
    /// `transit`: arrival minus capture in microseconds, on whatever clocks.
    pub fn record(&mut self, transit: i64, now: Instant) {
        if self.window_start.is_none_or(|start| now.saturating_duration_since(start) >= BASE_WINDOW) {
            self.window_start = Some(now);
            self.least_before = self.least.take();
        }
        self.least = Some(self.least.map_or(transit, |least| least.min(transit)));
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, transit));
    }

    /// `None` when nothing came lately.
    pub fn growth(&mut self, now: Instant) -> Option<Duration> {
        while self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > LIFE) {
            self.samples.pop_front();
        }
        // Packets come in bursts behind those of a picture, so the newest counts even when it is older than the window.
        let (newest, _) = *self.samples.back()?;
        let fresh = self.samples.iter().rev().take_while(|(at, _)| newest.saturating_duration_since(*at) <= WINDOW);
        let recent = fresh.map(|(_, transit)| *transit).min()?;
        let base = self.least.into_iter().chain(self.least_before).min()?;
        Some(Duration::from_micros(u64::try_from(recent.saturating_sub(base)).unwrap_or(0)))
    }
}

/// Bits a second over the last quarter of a second, in steps of a twentieth.
#[derive(Debug, Default)]
pub struct Throughput {
    steps: VecDeque<(Instant, u64)>,
}

const STEP: Duration = Duration::from_millis(50);
const STEPS: usize = 5;

impl Throughput {
    pub fn record(&mut self, bytes: usize, now: Instant) {
        match self.steps.back_mut() {
            Some((start, sum)) if now.saturating_duration_since(*start) < STEP => *sum += bytes as u64,
            _ => {
                if self.steps.len() > STEPS {
                    self.steps.pop_front();
                }
                self.steps.push_back((now, bytes as u64));
            }
        }
    }

    pub fn bps(&mut self, now: Instant) -> u64 {
        let whole = STEP * STEPS as u32;
        while self.steps.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > whole) {
            self.steps.pop_front();
        }
        let bytes: u64 = self.steps.iter().map(|(_, bytes)| bytes).sum();
        bytes * 8_000 / whole.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_wire_and_other_feedback_is_none() {
        let report = Report { growth: Duration::from_millis(137), received_bps: 480_000, hears_udp: true };
        assert_eq!(Report::parse(&report.to_bytes()), Some(report));
        assert_eq!(Report::parse(b"REMB00000000"), None);
        for cut in 0..LENGTH {
            assert_eq!(Report::parse(&report.to_bytes()[..cut]), None);
        }
    }

    #[test]
    fn a_queue_shows_as_growth_and_a_single_late_packet_does_not() {
        let start = Instant::now();
        let mut meter = DelayMeter::default();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for packet in 0..50 {
            meter.record(-5_000_000 + if packet == 30 { 80_000 } else { 1000 }, at(packet * 20));
            assert!(meter.growth(at(packet * 20)) < Some(Duration::from_millis(1)), "{packet}");
        }
        for packet in 50..60 {
            meter.record(-5_000_000 + 1000 + 20_000 * (packet as i64 - 49), at(packet * 20));
        }
        let growth = meter.growth(at(59 * 20)).expect("packets came");
        assert!(growth >= Duration::from_millis(100), "{growth:?}");
    }
}
