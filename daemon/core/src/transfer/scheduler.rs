//! The state of one transfer and what happens to it; what comes of it is decided in [`super::choose`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::gentle::Gentle;
use super::meter::Meter;
use super::search::Searches;
use super::source::{Ask, Rest, SHOW_OVER, Source};
use super::{
    Allowance, Bits, Event, Have, MOST_SOURCES, MOST_STALLS, Mode, Progress, Refusal, SourceFigures, Standing, Terms,
    Units, Why,
};

/// How long a source that was silent is left alone, the first time; then twice as long each time.
const FIRST_REST: Duration = Duration::from_secs(5);
/// What a source that is busy may ask for.
const SHORTEST_BUSY: Duration = Duration::from_millis(100);
const LONGEST_BUSY: Duration = Duration::from_secs(60);
/// Units that a source may lack although it said that it had them: a file is being cleaned away under it.
const MOST_MISSING: u32 = 64;

/// One transfer's part; see the module. `S` names a source: a peer, or a stream to one.
#[derive(Debug)]
pub struct Transfer<S> {
    pub(super) units: Units,
    done: Bits,
    done_bytes: u64,
    /// Neither done nor asked of anybody.
    pub(super) open: Bits,
    /// Asked of two sources.
    pub(super) doubled: BTreeSet<u32>,
    pub(super) begin: u32,
    pub(super) sources: BTreeMap<S, Source>,
    joined: u64,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) events: VecDeque<Event<S>>,
    pub(super) searches: Searches,
    /// When it was last decided which sources are asked; `None`: they have changed.
    pub(super) ranked: Option<Instant>,
    pub(super) told_finished: bool,
    twice_bytes: u64,
    shown: Meter,
}

impl<S: Copy + Ord> Transfer<S> {
    /// `done`: the units that are on the disk. `begin`: any number; sources that have only parts are asked from that unit
    /// on, so that not everybody has the same part of what is new to all. For tests 0, else random.
    pub fn new(units: Units, done: &Bits, begin: u32) -> Self {
        let mut known = Bits::none(units.count());
        let mut done_bytes = 0;
        for unit in done.iter().filter(|unit| *unit < units.count()) {
            known.insert(unit);
            done_bytes += units.bytes(unit);
        }
        Self {
            open: known.inverted(),
            done: known,
            done_bytes,
            doubled: BTreeSet::new(),
            begin: begin % units.count().max(1),
            units,
            sources: BTreeMap::new(),
            joined: 0,
            mode: Mode::Full,
            paused: false,
            events: VecDeque::new(),
            searches: Searches::default(),
            ranked: None,
            told_finished: false,
            twice_bytes: 0,
            shown: Meter::new(SHOW_OVER),
        }
    }

    /// A source is there. One that is known already has new terms. `false`: there are [`MOST_SOURCES`].
    pub fn handle_source(&mut self, source: S, terms: Terms, now: Instant) -> bool {
        if let Some(known) = self.sources.get_mut(&source) {
            known.have = terms.have;
            known.allowance.set_rate(terms.bytes_per_second);
            known.look_again(self.begin);
        } else {
            if self.sources.len() >= MOST_SOURCES {
                return false;
            }
            let mut new = Source::new(self.joined, terms, self.begin, now);
            new.gentle = (self.mode == Mode::Gentle).then(|| Gentle::new(0.0, now));
            self.sources.insert(source, new);
            self.joined += 1;
            self.searches.handle_found();
        }
        self.ranked = None;
        true
    }

    /// It has other units than it had.
    pub fn handle_have(&mut self, source: S, have: Have) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.have = have;
            known.look_again(self.begin);
        }
    }

    /// Its stream has ended.
    pub fn handle_gone(&mut self, source: S) {
        self.forget(source);
    }

    /// So many more bytes of the answer for this unit have come.
    pub fn handle_bytes(&mut self, source: S, unit: u32, bytes: u64, now: Instant) {
        let Some(known) = self.sources.get_mut(&source) else { return };
        self.shown.handle(bytes, now);
        if !known.bytes(unit, bytes, now) {
            self.twice_bytes += bytes;
        }
    }

    /// Whether what the source sends is left unread, because others fill the room that there is: that is no silence of its own.
    pub fn handle_held(&mut self, source: S, held: bool, now: Instant) {
        if let Some(known) = self.sources.get_mut(&source) {
            (known.held, known.heard) = (held, now);
        }
    }

    /// The whole answer is here; it is being verified and written, which is no time of the source's.
    pub fn handle_received(&mut self, source: S, unit: u32, now: Instant) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.received(unit, now);
        }
    }

    /// The unit is verified and on the disk.
    pub fn handle_stored(&mut self, source: S, unit: u32, now: Instant) {
        let bytes = self.units.bytes(unit);
        let ask = self.sources.get_mut(&source).and_then(|known| {
            known.heard = now;
            known.verified_bytes += bytes;
            if known.stalls > 0 {
                known.stalls = 0;
                self.ranked = None;
            }
            known.take(unit)
        });
        if !self.done.insert(unit) {
            // Without an ask it was counted when it came.
            self.twice_bytes += if ask.is_some() { bytes } else { 0 };
            return;
        }
        self.done_bytes += bytes;
        if ask.is_none() {
            // It was taken back, and counted as thrown away; it is of use after all.
            self.twice_bytes = self.twice_bytes.saturating_sub(bytes);
        }
        let doubled = self.doubled.remove(&unit);
        if !self.open.remove(unit) && (doubled || ask.is_none()) {
            self.cancel(unit);
        }
    }

    /// What came does not have the hash, or is no answer at all.
    pub fn handle_wrong(&mut self, source: S) {
        self.give_up(source, Why::Lied);
    }

    pub fn handle_refused(&mut self, source: S, unit: u32, refusal: Refusal, now: Instant) {
        let Some(known) = self.sources.get_mut(&source) else { return };
        known.heard = now;
        let ask = known.take(unit);
        match refusal {
            Refusal::Busy(pause) => {
                known.rest = Some(Rest::Busy(now + pause.clamp(SHORTEST_BUSY, LONGEST_BUSY)));
                self.ranked = None;
            }
            Refusal::Missing => {
                known.missing += 1;
                if let Have::All = known.have {
                    known.have = Have::Some(Bits::all(self.units.count()));
                }
                if let Have::Some(bits) = &mut known.have {
                    bits.remove(unit);
                }
            }
            Refusal::NotFound | Refusal::NotAllowed | Refusal::Changed => {}
        }
        let missing = known.missing;
        if let Some(ask) = ask {
            self.requeue(ask);
        }
        match refusal {
            Refusal::NotFound => self.give_up(source, Why::NotFound),
            Refusal::NotAllowed => self.give_up(source, Why::NotAllowed),
            Refusal::Changed => self.give_up(source, Why::Changed),
            Refusal::Missing if missing > MOST_MISSING => self.give_up(source, Why::Missing),
            Refusal::Missing | Refusal::Busy(_) => {}
        }
    }

    pub fn set_mode(&mut self, mode: Mode, now: Instant) {
        if self.mode == mode {
            return;
        }
        self.mode = mode;
        for source in self.sources.values_mut() {
            source.gentle = (mode == Mode::Gentle).then(|| Gentle::new(source.pace.rate(now), now));
        }
    }

    /// Takes back all that was asked, and asks nothing more until [`Self::resume`]. Sources are kept.
    pub fn pause(&mut self) {
        self.paused = true;
        let sources: Vec<S> = self.sources.keys().copied().collect();
        for source in sources {
            self.take_back(source);
        }
    }

    pub fn resume(&mut self, now: Instant) {
        self.paused = false;
        for source in self.sources.values_mut() {
            source.heard = now;
        }
    }

    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    pub const fn done(&self) -> &Bits {
        &self.done
    }

    pub const fn is_finished(&self) -> bool {
        self.done.is_full()
    }

    pub fn progress(&self, now: Instant) -> Progress {
        let rate = self.shown.rate(now);
        let left = self.units.total_bytes() - self.done_bytes;
        // Less than a kilobyte a second is nothing: years would be said to remain.
        let remaining = (rate >= 1024.0).then(|| Duration::from_secs_f64(left as f64 / rate));
        let alone = !self.paused && !self.is_finished() && self.live() == 0;
        Progress {
            done_bytes: self.done_bytes,
            total_bytes: self.units.total_bytes(),
            twice_bytes: self.twice_bytes,
            bytes_per_second: rate as u64,
            remaining,
            next_search: alone.then(|| self.searches.next(0)).flatten(),
        }
    }

    /// All of them, for display.
    pub fn sources(&self, now: Instant) -> impl Iterator<Item = (S, SourceFigures)> {
        self.sources.iter().map(move |(source, known)| {
            let standing = match known.rest {
                Some(Rest::Stalled(_)) => Standing::Stalled,
                Some(Rest::Busy(_)) => Standing::Busy,
                None if known.active => Standing::Active,
                None => Standing::Spare,
            };
            let figures = SourceFigures {
                standing,
                received_bytes: known.verified_bytes,
                bytes_per_second: known.shown.rate(now) as u64,
            };
            (*source, figures)
        })
    }

    /// What to do next. `limit`: the download limit, which all transfers share.
    pub fn poll_event(&mut self, limit: &mut Allowance, now: Instant) -> Option<Event<S>> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.is_finished() {
            return (!std::mem::replace(&mut self.told_finished, true)).then_some(Event::Finished);
        }
        self.rest_over(now);
        self.stalled(now);
        self.rank(now);
        self.paces(limit, now);
        if !self.paused && self.searches.poll(self.live(), now) {
            return Some(Event::Search);
        }
        self.events.pop_front().or_else(|| self.next_ask(limit, now))
    }

    /// When to poll again without anything having happened.
    pub fn poll_timeout(&self, limit: &Allowance, now: Instant) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(now);
        }
        if self.is_finished() || self.paused {
            return None;
        }
        let rests = self.sources.values().filter_map(|known| known.rest).map(Rest::until);
        let stalls = self.sources.values().filter_map(Source::stalls_at);
        let gentle = self.sources.values().filter_map(|known| known.gentle.as_ref()).map(Gentle::deadline);
        rests.chain(stalls).chain(gentle).chain(self.searches.next(self.live())).chain(self.looks(limit, now)).min()
    }

    /// Sources that are not resting.
    pub(super) fn live(&self) -> usize {
        self.sources.values().filter(|known| known.rest.is_none()).count()
    }

    fn rest_over(&mut self, now: Instant) {
        for known in self.sources.values_mut() {
            if known.rest.is_some_and(|rest| rest.until() <= now) {
                known.rest = None;
                self.ranked = None;
            }
        }
    }

    fn stalled(&mut self, now: Instant) {
        let stuck = |known: &Source| known.stalls_at().is_some_and(|at| at <= now);
        while let Some(source) = self.sources.iter().find(|(_, known)| stuck(known)).map(|(source, _)| *source) {
            self.take_back(source);
            let Some(known) = self.sources.get_mut(&source) else { return };
            known.stalls += 1;
            if known.stalls >= MOST_STALLS {
                self.give_up(source, Why::Stalled);
            } else {
                known.rest = Some(Rest::Stalled(now + FIRST_REST * (1 << (known.stalls - 1))));
                self.ranked = None;
            }
        }
    }

    /// Another may be asked for it; what has come of it is thrown away.
    fn requeue(&mut self, ask: Ask) {
        self.twice_bytes += ask.received;
        if self.doubled.remove(&ask.unit) || self.done.get(ask.unit) {
            return;
        }
        self.open.insert(ask.unit);
        for source in self.sources.values_mut() {
            source.look_again(self.begin);
        }
    }

    /// Somebody else has it now.
    fn cancel(&mut self, unit: u32) {
        for (source, known) in &mut self.sources {
            if let Some(ask) = known.take(unit) {
                self.twice_bytes += ask.received;
                self.events.push_back(Event::Cancel { source: *source, unit });
            }
        }
    }

    /// All that the source was asked.
    fn take_back(&mut self, source: S) {
        while let Some(unit) = self.sources.get(&source).and_then(|known| known.asks.front()).map(|ask| ask.unit) {
            let Some(ask) = self.sources.get_mut(&source).and_then(|known| known.take(unit)) else { return };
            self.requeue(ask);
            self.events.push_back(Event::Cancel { source, unit });
        }
    }

    fn forget(&mut self, source: S) {
        let Some(known) = self.sources.remove(&source) else { return };
        for ask in known.asks {
            self.requeue(ask);
        }
        // What was decided about it is of no use any more.
        self.events.retain(|event| !event.is_about(source));
        self.ranked = None;
    }

    fn give_up(&mut self, source: S, why: Why) {
        if self.sources.contains_key(&source) {
            self.forget(source);
            self.events.push_back(Event::Drop { source, why });
        }
    }
}
