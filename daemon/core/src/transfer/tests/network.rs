//! Providers and lines between, in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::super::*;

/// What a read returns at the most.
const PIECE: u64 = 64 * 1024;
/// Verifying and writing a unit.
const STORE: Duration = Duration::from_millis(1);
/// Polls at one moment, at the most: all that can be asked, and a good deal more.
const MOST_POLLS: usize = 100_000;

pub const MB: f64 = 1e6;
pub const MIB: u64 = 1024 * 1024;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Each unit with this remainder by 20 is not what it should be.
    Lies,
    /// Sends so many bytes, and then nothing more.
    Hangs(u64),
    /// Sends so many bytes, and is gone.
    Dies(u64),
    /// Sends so many bytes, and says that its file has changed.
    Changes(u64),
    /// Answers every third question with "busy".
    Busy,
    /// Sends as fast as it can, whatever it is told.
    Deaf,
}

#[derive(Debug, Clone)]
pub struct Provider {
    manner: Manner,
    /// In bytes a second.
    rate: f64,
    rtt: Duration,
    terms: Terms,
    queue: VecDeque<(u32, u64)>,
    sent: u64,
    asked: u64,
    pace: Option<u64>,
    sending: bool,
    gone: bool,
}

impl Provider {
    pub fn new(rate: f64, rtt: Duration) -> Self {
        Self {
            manner: Manner::Honest,
            rate,
            rtt,
            terms: Terms { have: Have::All, bytes_per_second: None },
            queue: VecDeque::new(),
            sent: 0,
            asked: 0,
            pace: None,
            sending: false,
            gone: false,
        }
    }

    pub fn with(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    pub fn at(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Asked(u8, u32),
    Cancelled(u8, u32),
    Paced(u8, Option<u64>),
    Send(u8),
    Came { from: u8, unit: u32, bytes: u64, last: bool },
    Changed(u8, u32),
    IsBusy(u8, u32),
    Gone(u8),
    Stored(u8, u32),
    Wrong(u8),
    Call,
    Mode,
}

/// A line that all providers share with a call, first in, first out.
#[derive(Debug)]
pub struct Line {
    pub rate: f64,
    free_at: Instant,
    /// How long each packet of the call has waited.
    pub waits: Vec<Duration>,
    /// Bytes a second of the call, in a packet each 20 ms.
    pub call: f64,
}

impl Line {
    fn carry(&mut self, bytes: f64, now: Instant) -> Instant {
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(bytes / self.rate);
        self.free_at
    }
}

pub struct Network {
    pub now: Instant,
    pub start: Instant,
    pub transfer: Transfer<u8>,
    pub limit: Allowance,
    pub providers: BTreeMap<u8, Provider>,
    pub line: Option<Line>,
    pub dropped: Vec<(u8, Why, Duration)>,
    pub searches: Vec<Duration>,
    /// How often each unit was stored.
    pub stored: Vec<u32>,
    /// The most questions that were open at one source.
    pub most_asked: usize,
    pub asks: u64,
    open: BTreeSet<(u32, u8)>,
    largest: u64,
    events: BinaryHeap<Reverse<(Instant, u64, What)>>,
    number: u64,
    finished: Option<Instant>,
}

impl Network {
    pub fn new(units: Units, done: &Bits) -> Self {
        let now = Instant::now();
        let largest = (0..units.count()).map(|unit| units.bytes(unit)).max().unwrap_or(0);
        Self {
            now,
            start: now,
            stored: vec![0; units.count() as usize],
            transfer: Transfer::new(units, done, 0),
            limit: Allowance::new(None),
            providers: BTreeMap::new(),
            line: None,
            dropped: Vec::new(),
            searches: Vec::new(),
            most_asked: 0,
            asks: 0,
            open: BTreeSet::new(),
            largest,
            events: BinaryHeap::new(),
            number: 0,
            finished: None,
        }
    }

    pub fn file(size: u64, unit: u64) -> Self {
        let units = Units::new(unit, [size]).expect("it can be numbered");
        let none = Bits::none(units.count());
        Self::new(units, &none)
    }

    pub fn join(&mut self, id: u8, provider: Provider) {
        assert!(self.transfer.handle_source(id, provider.terms.clone(), self.now), "there are too many");
        self.providers.insert(id, provider);
    }

    /// From now on all goes through one line of so many bytes a second, of which a call takes `call`.
    pub fn share_line(&mut self, rate: f64, call: f64) {
        self.line = Some(Line { rate, free_at: self.now, waits: Vec::new(), call });
        self.at(self.now, What::Call);
    }

    /// The call begins in so long, for the transfer.
    pub fn call_in(&mut self, wait: Duration) {
        self.at(self.now + wait, What::Mode);
    }

    fn at(&mut self, at: Instant, what: What) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, what)));
    }

    /// Until it is finished or the time is over; how long it took.
    pub fn run(&mut self, most: Duration) -> Option<Duration> {
        let end = self.now + most;
        loop {
            self.poll();
            if let Some(at) = self.finished {
                return Some(at - self.start);
            }
            let timeout = self.transfer.poll_timeout(&self.limit, self.now);
            assert!(timeout.is_none_or(|at| at > self.now), "it would be polled without end");
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(at) = next.into_iter().chain(timeout).min().filter(|at| *at <= end) else {
                self.now = end;
                return None;
            };
            self.now = at.max(self.now);
            while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                if let Some(Reverse((_, _, what))) = self.events.pop() {
                    self.happen(what);
                }
            }
        }
    }

    /// So many megabytes a second, finished within the time.
    pub fn speed(&mut self, most: Duration) -> f64 {
        let took = self.run(most).unwrap_or_else(|| panic!("not finished: {:?}", self.transfer.progress(self.now)));
        self.transfer.progress(self.now).total_bytes as f64 / MB / took.as_secs_f64()
    }

    fn poll(&mut self) {
        for _ in 0..MOST_POLLS {
            let Some(event) = self.transfer.poll_event(&mut self.limit, self.now) else {
                if self.number.is_multiple_of(16) {
                    self.check();
                }
                return;
            };
            let way = |id: u8| self.providers.get(&id).map_or(Duration::ZERO, |known| known.rtt / 2);
            match event {
                Event::Ask { source, unit } => {
                    assert!(!self.transfer.done().get(unit), "{unit} is there already");
                    let holders = self.open.range((unit, 0)..=(unit, u8::MAX)).count();
                    assert!(holders < 2, "{unit} is asked for three times");
                    assert!(self.open.insert((unit, source)), "{unit} is asked of {source} twice");
                    self.asks += 1;
                    self.most_asked = self.most_asked.max(self.transfer.sources[&source].asks.len());
                    self.at(self.now + way(source), What::Asked(source, unit));
                }
                Event::Cancel { source, unit } => {
                    assert!(self.open.remove(&(unit, source)), "{unit} was not asked of {source}");
                    self.at(self.now + way(source), What::Cancelled(source, unit));
                }
                Event::Pace { source, bytes_per_second } => {
                    self.at(self.now + way(source), What::Paced(source, bytes_per_second));
                }
                Event::Drop { source, why } => {
                    self.leave(source);
                    self.dropped.push((source, why, self.now - self.start));
                }
                Event::Search => self.searches.push(self.now - self.start),
                Event::Finished => {
                    assert!(self.finished.is_none() && self.transfer.is_finished());
                    self.finished = Some(self.now);
                }
            }
        }
        panic!("there is no end to what is to be done");
    }

    fn check(&self) {
        let asked: u64 = self.transfer.sources.values().map(|known| known.in_flight).sum();
        let largest = self.largest;
        assert!(asked <= ALL_IN_FLIGHT + largest, "{asked} bytes in flight");
        for known in self.transfer.sources.values() {
            let flight: u64 = known.asks.iter().map(super::super::source::Ask::missing).sum();
            assert_eq!(known.in_flight, flight);
            assert!(flight <= MOST_IN_FLIGHT + largest && known.asks.len() <= MOST_ASKED);
        }
    }

    pub fn leave(&mut self, id: u8) {
        self.open.retain(|(_, from)| *from != id);
        if let Some(known) = self.providers.get_mut(&id) {
            known.gone = true;
            known.queue.clear();
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Asked(id, unit) => {
                let bytes = self.transfer.units.bytes(unit);
                let Some(known) = self.providers.get_mut(&id).filter(|known| !known.gone) else { return };
                known.asked += 1;
                if known.manner == Manner::Busy && known.asked.is_multiple_of(3) {
                    let at = self.now + known.rtt / 2;
                    self.at(at, What::IsBusy(id, unit));
                    return;
                }
                known.queue.push_back((unit, bytes));
                if !std::mem::replace(&mut known.sending, true) {
                    self.at(self.now, What::Send(id));
                }
            }
            What::Cancelled(id, unit) => {
                if let Some(known) = self.providers.get_mut(&id) {
                    known.queue.retain(|(queued, _)| *queued != unit);
                }
            }
            What::Paced(id, pace) => {
                if let Some(known) = self.providers.get_mut(&id).filter(|known| known.manner != Manner::Deaf) {
                    known.pace = pace;
                }
            }
            What::Send(id) => self.send(id),
            What::Came { from, unit, bytes, last } => self.came(from, unit, bytes, last),
            What::Changed(id, unit) => {
                self.open.remove(&(unit, id));
                self.transfer.handle_refused(id, unit, Refusal::Changed, self.now);
            }
            What::IsBusy(id, unit) => {
                if self.open.remove(&(unit, id)) {
                    self.transfer.handle_refused(id, unit, Refusal::Busy(ms(300)), self.now);
                }
            }
            What::Gone(id) => {
                self.leave(id);
                self.transfer.handle_gone(id);
            }
            What::Stored(id, unit) => {
                self.open.remove(&(unit, id));
                self.stored[unit as usize] += u32::from(!self.transfer.done().get(unit));
                self.transfer.handle_stored(id, unit, self.now);
            }
            What::Wrong(id) => self.transfer.handle_wrong(id),
            What::Call => {
                let Some(line) = &mut self.line else { return };
                let there = line.carry(line.call / 50.0, self.now);
                line.waits.push(there - self.now);
                self.at(self.now + ms(20), What::Call);
            }
            What::Mode => self.transfer.set_mode(Mode::Gentle, self.now),
        }
    }

    fn send(&mut self, id: u8) {
        let now = self.now;
        let Some(known) = self.providers.get_mut(&id).filter(|known| !known.gone) else { return };
        let half = known.rtt / 2;
        let over = match known.manner {
            Manner::Hangs(most) if known.sent >= most => return,
            Manner::Dies(most) if known.sent >= most => Some(What::Gone(id)),
            Manner::Changes(most) if known.sent >= most => {
                known.queue.front().map(|(unit, _)| What::Changed(id, *unit))
            }
            _ => None,
        };
        if let Some(over) = over {
            self.at(now + half, over);
            return;
        }
        let Some((unit, left)) = known.queue.pop_front() else {
            known.sending = false;
            return;
        };
        // As it is asked to be sent: a hundredth of a second at a time.
        let piece = known.pace.map_or(PIECE, |pace| (pace / 100).clamp(1024, PIECE)).min(left);
        if left > piece {
            known.queue.push_front((unit, left - piece));
        }
        known.sent += piece;
        let rate = known.pace.map_or(known.rate, |pace| known.rate.min(pace as f64));
        let gone = now + Duration::from_secs_f64(piece as f64 / rate);
        let there = match &mut self.line {
            Some(line) => line.carry(piece as f64, now),
            None => gone,
        };
        self.at(there + half, What::Came { from: id, unit, bytes: piece, last: left == piece });
        // A sender cannot be further ahead of a full line than its own buffer.
        let next = there.checked_sub(ms(500)).unwrap_or(gone).max(gone);
        self.at(next, What::Send(id));
    }

    fn came(&mut self, from: u8, unit: u32, bytes: u64, last: bool) {
        let Some(known) = self.providers.get(&from).filter(|known| !known.gone) else { return };
        self.transfer.handle_bytes(from, unit, bytes, self.now);
        if !last {
            return;
        }
        self.transfer.handle_received(from, unit, self.now);
        let lies = known.manner == Manner::Lies && unit % 20 == 7;
        self.at(self.now + STORE, if lies { What::Wrong(from) } else { What::Stored(from, unit) });
    }
}
