//! How fast a source may send while there is a call: as fast as no queue builds up.
//!
//! A source that was told a pace keeps to it, so what has not come although it should have is in a queue on the way, and by
//! how much it is late is how long that queue is. No clock of the other side is needed. A call over the same line feels
//! that queue as delay; so at a fraction of what it may grow by, the source is told to send less, until it has drained.

use std::time::{Duration, Instant};

use super::AHEAD;

/// A queue of this length is too long: half of what a call's delay may grow by.
const QUEUE: Duration = Duration::from_millis(25);
/// Pieces come in writes and reads of some size, which is no queue.
const PIECE_BYTES: f64 = 2048.0;
/// What is left of the pace then, and of what has really come.
const CUT: f64 = 0.85;
const CUT_TO_ARRIVED: f64 = 0.9;
/// A cut is felt after a round trip, and the queue is empty some time later; until then nothing is judged.
const DRAIN: Duration = Duration::from_millis(200);
/// The pace rises by a little at a time, once there was no queue for a while.
const RISE: f64 = 1.04;
const RISE_EVERY: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(2);
/// Where a source begins of which nothing is known, and what is always asked of it.
const FIRST_RATE: f64 = 128.0 * 1024.0;
const LEAST_RATE: f64 = 16.0 * 1024.0;
/// From all sources. A fast network would carry more, but the machine also encodes and decodes pictures.
pub(super) const MOST_RATE: f64 = 32.0 * 1024.0 * 1024.0;

#[derive(Debug, Clone)]
pub(super) struct Gentle {
    rate: f64,
    /// What should have come by now and has not.
    late_bytes: f64,
    /// Up to when that is known; `None` while the source has nothing to send.
    at: Option<Instant>,
    judge_after: Instant,
    rise_at: Instant,
}

impl Gentle {
    /// `measured`: what the source has delivered so far, in bytes a second. Half of that cannot be too much for long.
    pub fn new(measured: f64, now: Instant) -> Self {
        let rate = if measured > 0.0 { (measured / 2.0).clamp(LEAST_RATE, MOST_RATE) } else { FIRST_RATE };
        Self { rate, late_bytes: 0.0, at: None, judge_after: now + DRAIN, rise_at: now + CALM }
    }

    /// In bytes a second.
    pub const fn rate(&self) -> u64 {
        self.rate as u64
    }

    /// Has been asked for nothing more, or has not been told yet.
    pub fn handle_idle(&mut self) {
        self.at = None;
        self.late_bytes = 0.0;
    }

    /// So much has come; `arriving`: at which rate lately.
    pub fn handle_bytes(&mut self, bytes: u64, arriving: f64, rtt: Duration, now: Instant) {
        let Some(at) = self.at.replace(now) else { return };
        let should = self.rate * now.saturating_duration_since(at).as_secs_f64();
        self.late_bytes = (self.late_bytes + should - bytes as f64).max(0.0);
        if now < self.judge_after {
            self.late_bytes = 0.0;
        } else if self.late_bytes > self.rate * QUEUE.as_secs_f64() + PIECE_BYTES {
            self.rate = (self.rate * CUT).min(arriving * CUT_TO_ARRIVED).max(LEAST_RATE);
            self.late_bytes = 0.0;
            self.judge_after = now + rtt + DRAIN;
            self.rise_at = now + CALM;
        }
    }

    /// `most`: what it may be told at the most.
    pub fn poll(&mut self, most: f64, now: Instant) {
        if now >= self.rise_at {
            self.rise_at = now + RISE_EVERY;
            // Somebody who is asked for nothing does not show what the line carries.
            if self.at.is_some() {
                self.rate *= RISE;
            }
        }
        // What it does not send because it was told so is not in a queue.
        self.rate = self.rate.min(most);
    }

    pub const fn deadline(&self) -> Instant {
        self.rise_at
    }

    /// Bytes to ask ahead for.
    pub fn window(&self, rtt: Duration) -> u64 {
        (self.rate * (rtt + AHEAD).as_secs_f64()) as u64
    }
}
