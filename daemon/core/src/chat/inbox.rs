//! Which of a peer's entries are taken from one stream: those that are next, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Entries in a row at full speed; somebody who comes back after months may have as many. Beyond that, a peer is read at
/// the pace below: it waits, and nothing is lost.
const BURST: u32 = 20_000;
/// One entry in this time then: more than people write, and little enough that a peer does not keep the disk to itself.
const INTERVAL: Duration = Duration::from_millis(2);
/// Places of which something was refused on one stream: more groups than two people share.
const MAX_REFUSED: usize = 1024;

/// Nobody says more. What an author may begin with in a place is open, and behind it must be room to count on.
const MAX_NUMBER: u64 = 1 << 62;

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// To be stored, after those taken before it.
    Next,
    /// Here already, or behind one that was refused.
    Skip,
    /// One before it is missing: the stream is of no use; a new one begins with what is here.
    Gap,
}

/// By how much the numbers of a place may rise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    One,
    Any,
}

/// One stream's part; see the module.
#[derive(Debug)]
pub struct Inbox<P> {
    /// On the disk up to here.
    stored: BTreeMap<P, u64>,
    /// Taken from the first to the last, not yet stored.
    taken: BTreeMap<P, (u64, u64)>,
    /// What was refused first of a place: the peer begins there again, later.
    refused: BTreeMap<P, u64>,
    /// Marks to be said.
    say: BTreeSet<P>,
    /// When all entries so far would have been used up at the slow pace.
    spent_until: Option<Instant>,
}

impl<P: Copy + Ord> Inbox<P> {
    /// `stored`: what the disk has of the peer's entries, which is what our hello says.
    pub fn new(stored: impl IntoIterator<Item = (P, u64)>) -> Self {
        Self {
            stored: stored.into_iter().collect(),
            taken: BTreeMap::new(),
            refused: BTreeMap::new(),
            say: BTreeSet::new(),
            spent_until: None,
        }
    }

    pub fn handle_entry(&mut self, place: P, number: u64, now: Instant) -> Taken {
        self.take(place, number, Step::One, now)
    }

    /// An entry with which the author's numbers begin for this node, or begin again: those before it are for others.
    pub fn handle_begin(&mut self, place: P, number: u64, now: Instant) -> Taken {
        self.take(place, number, Step::Any, now)
    }

    fn take(&mut self, place: P, number: u64, step: Step, now: Instant) -> Taken {
        self.spent_until = Some(self.spent_until.unwrap_or(now).max(now) + INTERVAL);
        if let Some(from) = self.refused.get(&place) {
            if number > *from {
                return Taken::Skip;
            }
            self.refused.remove(&place);
        }
        // Of a place that is new here the first number is for the store to judge: in a group it need not be 1.
        let taken = self.taken.get(&place).map(|(_, last)| *last);
        let last = taken.or_else(|| self.stored.get(&place).copied());
        match last {
            Some(last) if number <= last => {
                self.say.insert(place);
                Taken::Skip
            }
            Some(last) if number > last + 1 && step == Step::One => Taken::Gap,
            _ if number == 0 || number > MAX_NUMBER => Taken::Gap,
            _ => {
                self.taken.entry(place).or_insert((number, number)).1 = number;
                Taken::Next
            }
        }
    }

    /// Does not take an entry that [`Self::handle_entry`] has let through. `false`: the peer has been refused too much.
    #[must_use]
    pub fn handle_refused(&mut self, place: P, number: u64) -> bool {
        if let Some((first, last)) = self.taken.get_mut(&place) {
            *last = (*last).min(number.saturating_sub(1));
            if last < first {
                self.taken.remove(&place);
            }
        }
        self.refused.insert(place, number);
        self.refused.len() <= MAX_REFUSED
    }

    /// What was taken has been stored up to these marks. `false`: something that was taken is neither there nor refused,
    /// which is a gap that only the disk could see.
    #[must_use]
    pub fn handle_stored(&mut self, marks: impl IntoIterator<Item = (P, u64)>) -> bool {
        for (place, mark) in marks {
            let known = self.stored.entry(place).or_insert(0);
            *known = (*known).max(mark);
            self.say.insert(place);
        }
        let stored = &self.stored;
        let whole = self.taken.iter().all(|(place, (_, last))| stored.get(place).is_some_and(|mark| mark >= last));
        self.taken.clear();
        whole
    }

    /// What was refused may be welcome now: the peer hears so by the marks of those places.
    pub fn remind(&mut self) {
        self.say.extend(std::mem::take(&mut self.refused).into_keys());
    }

    /// The next mark to say.
    pub fn poll_say(&mut self) -> Option<(P, u64)> {
        let place = self.say.pop_first()?;
        Some((place, self.stored.get(&place).copied().unwrap_or(0)))
    }

    /// When more may be read; `None`: at once.
    pub fn poll_pace(&self, now: Instant) -> Option<Instant> {
        let free = self.spent_until?.checked_sub(INTERVAL * BURST)?;
        (free > now).then_some(free)
    }
}
