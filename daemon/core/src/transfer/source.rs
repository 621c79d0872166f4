//! One source: what it has, what it was asked, how fast it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::gentle::Gentle;
use super::meter::Meter;
use super::{
    AHEAD, Allowance, Bits, Have, LEAST_IN_FLIGHT, MOST_AHEAD, MOST_ASKED, MOST_IN_FLIGHT, STALLED_AFTER, Terms,
};

/// How fast it is lately, for deciding.
const DECIDE_OVER: Duration = Duration::from_millis(400);
/// And for people to read.
pub(super) const SHOW_OVER: Duration = Duration::from_secs(3);

/// A unit that it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub unit: u32,
    pub bytes: u64,
    pub received: u64,
    pub at: Instant,
    /// All of it is here.
    pub whole: bool,
}

impl Ask {
    pub fn missing(&self) -> u64 {
        if self.whole { 0 } else { self.bytes.saturating_sub(self.received) }
    }
}

/// Why it is not asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Stalled(Instant),
    Busy(Instant),
}

impl Rest {
    pub const fn until(self) -> Instant {
        match self {
            Self::Stalled(until) | Self::Busy(until) => until,
        }
    }
}

#[derive(Debug)]
pub(super) struct Source {
    /// The first that came has 0.
    pub number: u64,
    pub have: Have,
    pub allowance: Allowance,
    /// One of those that are asked.
    pub active: bool,
    pub rest: Option<Rest>,
    /// In a row.
    pub stalls: u32,
    pub missing: u32,
    /// In the order of asking.
    pub asks: VecDeque<Ask>,
    pub in_flight: u64,
    /// How many of its asks are whole.
    pub whole: usize,
    /// When it was heard of last, or was asked while there was nothing to hear.
    pub heard: Instant,
    /// What it sends is not read: this machine has no room for it yet.
    pub held: bool,
    pub pace: Meter,
    pub shown: Meter,
    /// The shortest time from a question to the beginning of its answer: what waits in between comes and goes.
    rtt: Option<Duration>,
    pub verified_bytes: u64,
    pub gentle: Option<Gentle>,
    /// What it was told to send at the most.
    pub told: Option<u64>,
    /// Of the units from here on it was not found out yet whether there is one to ask it for.
    pub cursor: Cursor,
}

/// Where looking for a unit goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub from: u32,
    /// Up to the beginning of the file again.
    pub wrapped: bool,
}

impl Source {
    pub fn new(number: u64, terms: Terms, begin: u32, now: Instant) -> Self {
        let mut source = Self {
            number,
            have: terms.have,
            allowance: Allowance::new(terms.bytes_per_second),
            active: false,
            rest: None,
            stalls: 0,
            missing: 0,
            asks: VecDeque::new(),
            in_flight: 0,
            whole: 0,
            heard: now,
            held: false,
            pace: Meter::new(DECIDE_OVER),
            shown: Meter::new(SHOW_OVER),
            rtt: None,
            verified_bytes: 0,
            gentle: None,
            told: None,
            cursor: Cursor { from: 0, wrapped: false },
        };
        source.look_again(begin);
        source
    }

    /// There may be units for it that there were not before.
    pub fn look_again(&mut self, begin: u32) {
        let from = if matches!(self.have, Have::All) { 0 } else { begin };
        self.cursor = Cursor { from, wrapped: false };
    }

    pub fn has(&self, unit: u32) -> bool {
        match &self.have {
            Have::All => true,
            Have::Some(bits) => bits.get(unit),
        }
    }

    /// The next unit among `open` that it has.
    pub fn find(&mut self, open: &Bits, begin: u32) -> Option<u32> {
        if open.is_empty() {
            return None;
        }
        let (begin, also) = match &self.have {
            Have::All => (0, None),
            Have::Some(bits) => (begin, Some(bits)),
        };
        if !self.cursor.wrapped {
            if let Some(unit) = open.first_from(self.cursor.from, also) {
                self.cursor.from = unit;
                return Some(unit);
            }
            self.cursor = Cursor { from: 0, wrapped: true };
        }
        match open.first_from(self.cursor.from, also).filter(|unit| *unit < begin) {
            Some(unit) => {
                self.cursor.from = unit;
                Some(unit)
            }
            None => {
                self.cursor.from = open.len();
                None
            }
        }
    }

    /// It has parts, and none that is to be asked for.
    pub fn is_exhausted(&self) -> bool {
        matches!(&self.have, Have::Some(bits) if self.cursor.wrapped && self.cursor.from >= bits.len())
    }

    /// What is known of its round trip.
    pub fn rtt(&self) -> Duration {
        self.rtt.unwrap_or_default()
    }

    /// Bytes that may be on their way from it.
    pub fn window(&self, now: Instant) -> u64 {
        if self.stalls > 0 {
            // Tried with one unit at a time.
            return 1;
        }
        match &self.gentle {
            Some(gentle) => gentle.window(self.rtt()).clamp(1, MOST_IN_FLIGHT),
            None => {
                let rate = self.pace.rate(now);
                let ahead = (rate * AHEAD.as_secs_f64()).min(MOST_AHEAD as f64);
                ((rate * self.rtt().as_secs_f64() + ahead) as u64).clamp(LEAST_IN_FLIGHT, MOST_IN_FLIGHT)
            }
        }
    }

    pub fn has_room(&self, now: Instant) -> bool {
        self.active
            && self.asks.len() < MOST_ASKED
            && self.in_flight < self.window(now)
            && (self.stalls == 0 || self.asks.is_empty())
            && self.allowance.is_ready(now)
    }

    pub fn ask(&mut self, unit: u32, bytes: u64, now: Instant) {
        if self.asks.len() == self.whole {
            self.heard = now;
        }
        self.allowance.take(bytes, now);
        self.in_flight += bytes;
        self.asks.push_back(Ask { unit, bytes, received: 0, at: now, whole: false });
    }

    /// Takes an ask back, or ends it.
    pub fn take(&mut self, unit: u32) -> Option<Ask> {
        let at = self.asks.iter().position(|ask| ask.unit == unit)?;
        let ask = self.asks.remove(at)?;
        self.in_flight -= ask.missing();
        self.whole -= usize::from(ask.whole);
        if self.asks.len() == self.whole
            && let Some(gentle) = &mut self.gentle
        {
            gentle.handle_idle();
        }
        Some(ask)
    }

    /// `false`: it was not asked for this.
    pub fn bytes(&mut self, unit: u32, bytes: u64, now: Instant) -> bool {
        self.heard = now;
        self.pace.handle(bytes, now);
        self.shown.handle(bytes, now);
        let (arriving, rtt) = (self.pace.rate(now), self.rtt());
        if let Some(gentle) = &mut self.gentle {
            gentle.handle_bytes(bytes, arriving, rtt, now);
        }
        let Some(ask) = self.asks.iter_mut().find(|ask| ask.unit == unit) else { return false };
        if ask.received == 0 {
            let took = now.saturating_duration_since(ask.at);
            self.rtt = Some(self.rtt.map_or(took, |least| least.min(took)));
        }
        let before = ask.missing();
        ask.received += bytes;
        self.in_flight -= before - ask.missing();
        true
    }

    /// All of this unit is here.
    pub fn received(&mut self, unit: u32, now: Instant) {
        self.heard = now;
        if let Some(ask) = self.asks.iter_mut().find(|ask| ask.unit == unit && !ask.whole) {
            self.in_flight -= ask.missing();
            ask.whole = true;
            self.whole += 1;
        }
    }

    /// When it counts as stuck. While something of it is being written, or waits for room, nobody reads what it sends.
    pub fn stalls_at(&self) -> Option<Instant> {
        (!self.held && !self.asks.is_empty() && self.whole == 0).then(|| self.heard + STALLED_AFTER)
    }
}
