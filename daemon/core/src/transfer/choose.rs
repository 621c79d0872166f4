//! Who is asked what: which sources are active, at which pace they send, whose turn it is, and which unit.

use std::time::{Duration, Instant};

use super::gentle::MOST_RATE;
use super::source::Source;
use super::{ALL_IN_FLIGHT, Allowance, Event, MOST_ACTIVE, Mode, Transfer};

/// The order of sources changes with their rates, not quickly.
const RANK_EVERY: Duration = Duration::from_millis(200);
/// In the end, who has nothing to do looks so often whether another one has become slow.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A unit is asked for a second time if that promises to take less than half the time, and to be worth the trouble.
const TWICE_AS_FAST: f64 = 2.0;
const WORTH_SECONDS: f64 = 0.02;
/// Somebody of whom nothing has come yet is taken to be no faster than this.
const UNTRIED_SECONDS: f64 = 0.5;

impl<S: Copy + Ord> Transfer<S> {
    /// Decides which sources are asked. Those that were silent come last, and those behind a relay are asked only as long
    /// as all the others together deliver less than a relay carries: somebody gives that away.
    pub(super) fn rank(&mut self, now: Instant) {
        if self.ranked.is_some_and(|at| now.saturating_duration_since(at) < RANK_EVERY) {
            return;
        }
        self.ranked = Some(now);
        let direct = self.sources.values().filter(|known| known.allowance.rate().is_none());
        let direct_rate: f64 = direct.map(|known| known.pace.rate(now)).sum();
        let mut order: Vec<&mut Source> = self.sources.values_mut().collect();
        order.sort_by_key(|known| (known.allowance.rate().is_some(), known.stalls, known.number));
        let mut active = 0;
        for known in order {
            let spared = known.allowance.rate().is_some_and(|rate| direct_rate > rate as f64);
            known.active = known.rest.is_none() && !spared && active < MOST_ACTIVE;
            active += usize::from(known.active && !known.is_exhausted());
        }
    }

    /// Says what each source may send.
    pub(super) fn paces(&mut self, limit: &Allowance, now: Instant) {
        let active = self.sources.values().filter(|known| known.active).count();
        for (source, known) in &mut self.sources {
            let told = [known.allowance.rate(), limit.rate()].into_iter().flatten().min();
            let pace = match &mut known.gentle {
                Some(gentle) => {
                    let share = MOST_RATE / active.max(1) as f64;
                    gentle.poll(told.map_or(share, |told| share.min(told as f64)), now);
                    Some(gentle.rate())
                }
                None => told,
            };
            if pace != known.told {
                known.told = pace;
                self.events.push_back(Event::Pace { source: *source, bytes_per_second: pace });
            }
        }
    }

    /// The next unit for the source that has least on its way, of what it may have.
    pub(super) fn next_ask(&mut self, limit: &mut Allowance, now: Instant) -> Option<Event<S>> {
        if self.paused || !limit.is_ready(now) {
            return None;
        }
        let all: u64 = self.sources.values().map(|known| known.in_flight).sum();
        if all >= ALL_IN_FLIGHT {
            return None;
        }
        let filled = |known: &Source| known.in_flight as f64 / known.window(now) as f64;
        let mut ready: Vec<(f64, S)> = self
            .sources
            .iter()
            .filter(|(_, known)| known.has_room(now))
            .map(|(source, known)| (filled(known), *source))
            .collect();
        ready.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        for (_, source) in ready {
            let known = self.sources.get_mut(&source)?;
            let unit = match known.find(&self.open, self.begin) {
                Some(unit) => {
                    self.open.remove(unit);
                    Some(unit)
                }
                None => self.find_slow(source, now).inspect(|unit| _ = self.doubled.insert(*unit)),
            };
            if let Some(unit) = unit {
                let bytes = self.units.bytes(unit);
                limit.take(bytes, now);
                self.sources.get_mut(&source)?.ask(unit, bytes, now);
                return Some(Event::Ask { source, unit });
            }
        }
        None
    }

    /// Of the units that others were asked for, the one that this source would save most time with.
    fn find_slow(&self, own: S, now: Instant) -> Option<u32> {
        let source = self.sources.get(&own)?;
        // While there is a call nothing is sent twice; what is stuck is asked of others when it counts as that.
        if self.mode == Mode::Gentle || source.stalls > 0 {
            return None;
        }
        let mut best: Option<(f64, u32)> = None;
        for (_, other) in self.sources.iter().filter(|(other, _)| **other != own) {
            let mut before = 0;
            for ask in &other.asks {
                before += ask.missing();
                if ask.whole || self.doubled.contains(&ask.unit) || !source.has(ask.unit) {
                    continue;
                }
                // Of whom nothing has come, nobody knows more than that.
                let waited = now.saturating_duration_since(ask.at).as_secs_f64();
                let theirs = seconds(other, before, now).unwrap_or(waited);
                let ours = seconds(source, source.in_flight + ask.bytes, now);
                let ours = ours.map_or(UNTRIED_SECONDS, |ours| ours + source.rtt().as_secs_f64());
                if theirs > TWICE_AS_FAST * ours + WORTH_SECONDS && best.is_none_or(|(saved, _)| theirs - ours > saved)
                {
                    best = Some((theirs - ours, ask.unit));
                }
            }
        }
        best.map(|(_, unit)| unit)
    }

    /// When asking may become possible without anything having happened.
    pub(super) fn looks(&self, limit: &Allowance, now: Instant) -> impl Iterator<Item = Instant> {
        let allowances = self.sources.values().filter(|known| known.active).map(|known| known.allowance.ready_at());
        let allowed = allowances.chain([limit.ready_at()]).flatten().filter(move |at| *at > now);
        let asked = self.sources.values().any(|known| known.asks.len() > known.whole);
        let idle = self.sources.values().any(|known| known.has_room(now));
        let ending = (asked && idle && self.open.is_empty()).then(|| now + LOOK_EVERY);
        let relayed = self.sources.values().any(|known| known.allowance.rate().is_some());
        let ranking = relayed.then(|| self.ranked.unwrap_or(now) + RANK_EVERY);
        allowed.chain(ending).chain(ranking)
    }
}

/// How long so many bytes from there take, at its rate of late.
fn seconds(source: &Source, bytes: u64, now: Instant) -> Option<f64> {
    (!source.pace.is_new()).then(|| bytes as f64 / source.pace.rate(now).max(1.0))
}
