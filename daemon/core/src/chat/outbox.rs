//! What one stream still owes a peer: own entries in order, a bounded number of them on their way.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{MAX_LOAD, STALLED_AFTER, WINDOW_BYTES, WINDOW_ENTRIES, longer};

/// How long what was refused for a reason that may pass is kept back, before the first and at most before each further try.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Why a peer does not take entries (wire.capnp, `ChatRefusal`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotContact,
    Blocked,
    TooLarge,
    NotMember,
    NoRoom,
    Stopped,
    /// Of a kind that the peer's version does not know.
    NotUnderstood,
}

impl Refusal {
    const ALL: [(Self, u16); 7] = [
        (Self::NotContact, 1),
        (Self::Blocked, 2),
        (Self::TooLarge, 3),
        (Self::NotMember, 4),
        (Self::NoRoom, 5),
        (Self::Stopped, 6),
        (Self::NotUnderstood, 7),
    ];

    pub fn number(self) -> u16 {
        Self::ALL.into_iter().find(|(reason, _)| *reason == self).map_or(0, |(_, number)| number)
    }

    /// `None`: of a newer version; as good as [`Refusal::NotUnderstood`].
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == number).map(|(reason, _)| reason)
    }

    /// Whether the same entry may be taken later.
    pub fn passes(self) -> bool {
        !matches!(self, Self::TooLarge | Self::NotUnderstood)
    }
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They stay queued, and are tried again later.
    Wait,
    /// Given up.
    GiveUp,
    /// The peer ends the stream.
    Over,
    /// Nothing of it was sent here.
    Nothing,
}

/// Entries to be read from the disk: those after `after`, at most `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load<P> {
    pub place: P,
    pub after: u64,
    pub limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    /// There are own entries up to here.
    end: u64,
    /// Handed to the stream up to here.
    sent: u64,
    /// Stored at the peer up to here.
    stored: u64,
    until: Option<Instant>,
    pause: Duration,
    /// Refused for good: nothing more on this stream.
    over: bool,
}

impl Progress {
    fn waits(&self, now: Instant) -> bool {
        self.over || self.until.is_some_and(|until| until > now)
    }
}

/// One stream's part; see the module. A new stream has a new one.
#[derive(Debug)]
pub struct Outbox<P> {
    places: BTreeMap<P, Progress>,
    greeted: bool,
    /// In the order of sending: place, number, bytes.
    flight: VecDeque<(P, u64, usize)>,
    flight_bytes: usize,
    loading: Option<Load<P>>,
    /// The place that was served last: the others come first.
    last: Option<P>,
    /// When the peer has last acknowledged something, or was first sent something.
    progress: Option<Instant>,
}

impl<P: Copy + Ord> Default for Outbox<P> {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            greeted: false,
            flight: VecDeque::new(),
            flight_bytes: 0,
            loading: None,
            last: None,
            progress: None,
        }
    }
}

impl<P: Copy + Ord> Outbox<P> {
    /// The peer has said what it has. A place that it does not name begins at the beginning.
    pub fn handle_hello(&mut self, marks: impl IntoIterator<Item = (P, u64)>) {
        if std::mem::replace(&mut self.greeted, true) {
            return;
        }
        for (place, mark) in marks {
            let known = self.place(place);
            known.stored = mark;
            known.sent = mark;
        }
    }

    /// Up to which number there are own entries for the peer, of all places where it lacks some.
    pub fn handle_owed(&mut self, owed: impl IntoIterator<Item = (P, u64)>) {
        for (place, end) in owed {
            let known = self.place(place);
            known.end = known.end.max(end);
        }
    }

    /// What to read from the disk next; [`Self::handle_loaded`] is to follow.
    pub fn poll_load(&mut self, now: Instant) -> Option<Load<P>> {
        let free = WINDOW_ENTRIES.saturating_sub(self.flight.len());
        if !self.greeted || self.loading.is_some() || free == 0 || self.flight_bytes >= WINDOW_BYTES {
            return None;
        }
        let lacks = |(_, known): &(&P, &Progress)| known.sent < known.end && !known.waits(now);
        let after = self.places.iter().filter(|(place, _)| Some(**place) > self.last);
        let (place, known) = after.chain(self.places.iter()).find(lacks)?;
        let load = Load { place: *place, after: known.sent, limit: free.min(MAX_LOAD) };
        self.last = Some(load.place);
        self.loading = Some(load);
        Some(load)
    }

    /// The entries that were asked for, by number and bytes, in order: how many of them go out now. None at all: there
    /// are none for this peer.
    pub fn handle_loaded(&mut self, load: Load<P>, entries: &[(u64, usize)], now: Instant) -> usize {
        // What was refused or acknowledged meanwhile may have changed the place.
        if self.loading.take() != Some(load) {
            return 0;
        }
        let Some(known) = self.places.get_mut(&load.place) else { return 0 };
        if known.sent != load.after || known.waits(now) {
            return 0;
        }
        if entries.is_empty() {
            known.sent = known.end;
            return 0;
        }
        let mut taken = 0;
        for (number, bytes) in entries.iter().take(load.limit) {
            // One goes out in any case: the longest is shorter than the window.
            if *number <= known.sent || (self.flight_bytes > 0 && self.flight_bytes + bytes > WINDOW_BYTES) {
                break;
            }
            known.sent = *number;
            self.flight.push_back((load.place, *number, *bytes));
            self.flight_bytes += bytes;
            taken += 1;
        }
        if taken > 0 {
            self.progress.get_or_insert(now);
        }
        taken
    }

    /// The peer has them up to there; what to note of it. What was never sent is not believed. A place that was kept back
    /// is tried again: the peer speaks of it.
    pub fn handle_stored(&mut self, place: P, mark: u64, now: Instant) -> Option<u64> {
        let known = self.places.get_mut(&place)?;
        if !known.over {
            known.until = None;
        }
        let mark = mark.min(known.sent);
        if mark <= known.stored {
            return None;
        }
        known.stored = mark;
        known.pause = FIRST_PAUSE;
        self.forget(|at, number| at == place && number <= mark);
        self.progress = (!self.flight.is_empty()).then_some(now);
        Some(mark)
    }

    /// How far the peer's reader can have come.
    pub fn readable(&self, place: P, mark: u64) -> u64 {
        self.places.get(&place).map_or(0, |known| mark.min(known.stored))
    }

    /// The peer does not take what begins at this number.
    pub fn handle_refused(&mut self, place: P, from: u64, why: Refusal, now: Instant) -> Verdict {
        if why == Refusal::Stopped {
            return Verdict::Over;
        }
        let Some(known) = self.places.get_mut(&place) else { return Verdict::Nothing };
        if from > known.sent || from <= known.stored {
            return Verdict::Nothing;
        }
        // What went out before it is acknowledged still, or said again.
        known.sent = known.stored;
        known.over = !why.passes();
        known.until = Some(now + known.pause);
        known.pause = longer(known.pause, LAST_PAUSE);
        self.forget(|at, _| at == place);
        self.progress = (!self.flight.is_empty()).then_some(now);
        if why.passes() { Verdict::Wait } else { Verdict::GiveUp }
    }

    /// The peer has been silent for too long about what it was sent.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.progress.is_some_and(|since| now.saturating_duration_since(since) >= STALLED_AFTER)
    }

    /// When to ask again without anything having happened.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let waiting = self.places.values().filter(|known| !known.over && known.sent < known.end);
        let tried = waiting.filter_map(|known| known.until).filter(|until| *until > now);
        tried.chain(self.progress.map(|since| since + STALLED_AFTER)).min()
    }

    fn place(&mut self, place: P) -> &mut Progress {
        let new = Progress { end: 0, sent: 0, stored: 0, until: None, pause: FIRST_PAUSE, over: false };
        self.places.entry(place).or_insert(new)
    }

    fn forget(&mut self, gone: impl Fn(P, u64) -> bool) {
        self.flight.retain(|(place, number, bytes)| {
            let gone = gone(*place, *number);
            if gone {
                self.flight_bytes -= bytes;
            }
            !gone
        });
    }
}
