//! How late packets come: the fastest recent way through the network, how far behind it the others are, and the delay
//! that covers almost all of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The worst of this many last arrivals is covered: two seconds. By that measure one packet in a hundred comes late, and
/// what the delay varies by on top of it covers most of those.
const RECENT: usize = 100;
/// After a full queue has drained nobody wants to talk over its delay for two seconds more: half a second at less than a
/// third of a large delay is believed.
const DRAINED: usize = 25;
const LARGE_MICROS: i64 = 120_000;
/// Until so many have come, the delay is not below the one to start with.
const KNOWN: usize = 50;
/// What is added to what was seen.
const MARGIN_MICROS: i64 = 4_000;
/// The fastest packet is sought over this many seconds: shorter would follow a full queue, longer would lag behind a
/// changed route and drifting clocks.
const WINDOW_SECONDS: usize = 10;
/// The worst packet is remembered beyond that, fading by 2 ms a second: a machine or a radio that stalled once
/// stalls again. A single great stall is not worth paying for that long, so no more than this.
const MAX_PEAK_MICROS: i64 = 80_000;
const PEAK_FADE_MICROS: i64 = 40;
/// Media time in microseconds. [`super::MAX_TIME`] keeps it from overflowing.
pub(super) fn media_micros(sequence_time: u64) -> i64 {
    (sequence_time.min(super::MAX_TIME) * 1_000 / 48).cast_signed()
}

/// Learns from every arrival, late ones too.
#[derive(Debug)]
pub(super) struct Arrivals {
    epoch: Instant,
    /// The least transit of each of the last seconds, and which second that was.
    fastest: [(u64, i64); WINDOW_SECONDS],
    /// How far the last arrivals were behind the fastest, the newest last.
    recent: VecDeque<i64>,
    known: usize,
    needed_micros: i64,
    start_micros: i64,
    peak_micros: i64,
}

impl Arrivals {
    pub(super) fn new(now: Instant, start: Duration) -> Self {
        Self {
            epoch: now,
            fastest: [(u64::MAX, i64::MAX); WINDOW_SECONDS],
            recent: VecDeque::with_capacity(RECENT),
            known: 0,
            needed_micros: 0,
            start_micros: i64::try_from(start.as_micros()).unwrap_or(0),
            peak_micros: 0,
        }
    }

    /// The sender began anew: its time-stamps mean something else now, but the network is the same.
    pub(super) fn restart(&mut self) {
        self.fastest = [(u64::MAX, i64::MAX); WINDOW_SECONDS];
    }

    /// A packet of this media time came (or what could replace it came).
    pub(super) fn record(&mut self, sequence_time: u64, arrived: Instant) {
        let local = self.micros(arrived);
        let transit = local - media_micros(sequence_time);
        let second = (local / 1_000_000).unsigned_abs();
        let slot = &mut self.fastest[second as usize % WINDOW_SECONDS];
        if slot.0 == second {
            slot.1 = slot.1.min(transit);
        } else {
            *slot = (second, transit);
        }
        let behind = transit - self.base(local);
        self.peak_micros = (self.peak_micros - PEAK_FADE_MICROS).max(behind.min(MAX_PEAK_MICROS));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(behind);
        self.known = (self.known + 1).min(KNOWN);
        self.needed_micros = self.recent.iter().copied().max().unwrap_or(0) + MARGIN_MICROS;
        let calm = self.recent.iter().rev().take(DRAINED).copied().max().unwrap_or(0) + MARGIN_MICROS;
        if self.needed_micros > LARGE_MICROS && self.recent.len() > DRAINED && calm < self.needed_micros / 3 {
            self.recent.drain(..self.recent.len() - DRAINED);
            self.needed_micros = calm;
        }
    }

    /// The delay that covers the last arrivals, and the worst of the last while.
    pub(super) fn needed(&self) -> Duration {
        let start = if self.known < KNOWN { self.start_micros } else { 0 };
        Duration::from_micros(self.needed_micros.max(self.peak_micros).max(start).max(0).unsigned_abs())
    }

    /// How long after the moment at which the fastest way would have brought it this media time is at `now`, in
    /// microseconds; zero before the first packet.
    pub(super) fn delay_micros(&self, sequence_time: u64, now: Instant) -> i64 {
        let local = self.micros(now);
        match self.base(local) {
            i64::MAX => 0,
            base => local - media_micros(sequence_time) - base,
        }
    }

    fn base(&self, local: i64) -> i64 {
        let second = (local / 1_000_000).unsigned_abs();
        let recent = self.fastest.iter().filter(|(at, _)| at.saturating_add(WINDOW_SECONDS as u64) > second);
        // After a long silence nothing is recent: the newest knowledge there is must do.
        recent.map(|(_, transit)| *transit).min().unwrap_or_else(|| {
            self.fastest.iter().filter(|(at, _)| *at != u64::MAX).max().map_or(i64::MAX, |(_, transit)| *transit)
        })
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX / 4)
    }
}
