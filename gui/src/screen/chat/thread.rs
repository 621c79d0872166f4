//! The open conversation: the part of its messages that is in memory, what is loaded when, and what is marked in it.
//! However long the conversation, a few pages are held.

use kith_common::call::Direction;
use kith_common::chat::{Conversation, ConversationId, Message, MessageId, MessageState};

use crate::link::{Job, PAGE, Span};
use crate::widget::rows::{self, Aim, AtEnd, Sight, Wanted};

/// Messages in memory.
pub const HELD: usize = 5 * PAGE as usize;
/// So many rows before the first or last in memory, more are loaded.
const AHEAD: usize = 20;

/// What lies beyond the first or last message in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    Nothing,
    /// Something, or nobody has looked.
    More,
    Loading(Job),
}

/// A search in this conversation.
#[derive(Debug, Default)]
pub struct Find {
    pub text: String,
    /// Newest first.
    pub hits: Vec<u64>,
    pub at: usize,
    pub job: Option<Job>,
    /// Which text the hits are for.
    pub found: Option<String>,
}

#[derive(Debug)]
pub struct Thread {
    pub id: ConversationId,
    /// By position, which rises.
    pub messages: Vec<Message>,
    pub older: Beyond,
    pub newer: Beyond,
    pub wanted: Wanted,
    pub sight: Option<Sight>,
    /// The first message that nobody here had seen when it came.
    pub new_from: Option<u64>,
    /// How many of the newest incoming ones are unread, until the page is there that they stand on.
    unread: u32,
    marked: u64,
    pub selected: Option<MessageId>,
    /// The hit that was jumped to.
    pub sought: Option<u64>,
    pub find: Option<Find>,
    /// What was asked for in place of all that is in memory, and the hit in it.
    jump: Option<(Job, Option<u64>)>,
    /// What was told while that was on its way: the page may be older.
    late: Vec<Message>,
}

impl Thread {
    /// With the errand that brings its end, or what is around a hit.
    pub fn open(id: ConversationId, unread: u32, hit: Option<u64>) -> (Self, Job, Span) {
        let job = Job::next();
        let thread = Self {
            id,
            messages: Vec::new(),
            older: Beyond::More,
            newer: Beyond::More,
            wanted: Wanted { number: next_number(), aim: Aim::End },
            sight: None,
            new_from: None,
            unread: if hit.is_some() { 0 } else { unread },
            marked: 0,
            selected: None,
            sought: hit,
            find: None,
            jump: Some((job, hit)),
            late: Vec::new(),
        };
        (thread, job, hit.map_or(Span::End, Span::UpTo))
    }

    pub fn loading(&self) -> bool {
        self.jump.is_some()
    }

    pub fn get(&self, id: MessageId) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id)
    }

    pub fn keys(&self) -> Vec<u64> {
        self.messages.iter().map(|message| message.position).collect()
    }

    /// What is not in memory, for the bar beside the list: a page, since nobody has counted.
    pub fn beyond(&self) -> rows::Beyond {
        let rows = |beyond| if beyond == Beyond::Nothing { 0 } else { PAGE as usize };
        rows::Beyond { above: rows(self.older), below: rows(self.newer) }
    }

    pub fn aim(&mut self, aim: Aim) {
        self.wanted = Wanted { number: next_number(), aim };
    }

    /// Goes to a message; what to load when it is not in memory.
    pub fn go(&mut self, position: u64) -> Option<(Job, Span)> {
        self.sought = Some(position);
        if self.messages.binary_search_by_key(&position, |message| message.position).is_ok() {
            self.aim(Aim::Row(position));
            return None;
        }
        let job = Job::next();
        self.jump = Some((job, Some(position)));
        Some((job, Span::UpTo(position)))
    }

    /// Goes to the end; what to load when that is not in memory.
    pub fn end(&mut self) -> Option<(Job, Span)> {
        self.sought = None;
        self.new_from = None;
        if self.newer == Beyond::Nothing {
            self.aim(Aim::End);
            return None;
        }
        let job = Job::next();
        self.jump = Some((job, None));
        Some((job, Span::End))
    }

    /// Whether the end is in sight.
    pub fn at_end(&self) -> bool {
        self.newer == Beyond::Nothing && self.sight.is_none_or(|sight| sight.at_end == AtEnd::Yes)
    }

    /// Takes in a page that was asked for. `false`: it was for somebody else.
    pub fn page(&mut self, job: Job, page: &[Message]) -> bool {
        if let Some((_, hit)) = self.jump.take_if(|(jump, _)| *jump == job) {
            self.messages = page.to_vec();
            self.older = if page.len() < PAGE as usize { Beyond::Nothing } else { Beyond::More };
            self.newer = if hit.is_some() { Beyond::More } else { Beyond::Nothing };
            self.sight = None;
            self.aim(hit.map_or(Aim::End, Aim::Row));
            self.draw_line();
            let late = std::mem::take(&mut self.late);
            self.hear(&late, Seen::No);
            return true;
        }
        if self.older == Beyond::Loading(job) {
            self.older = if page.len() < PAGE as usize { Beyond::Nothing } else { Beyond::More };
            let first = self.messages.first().map_or(u64::MAX, |message| message.position);
            self.messages.splice(..0, page.iter().filter(|message| message.position < first).cloned());
            if self.messages.len() > HELD {
                self.messages.truncate(HELD);
                self.newer = Beyond::More;
            }
            return true;
        }
        if self.newer == Beyond::Loading(job) {
            // Nothing more: what comes from now on is heard of.
            self.newer = if page.is_empty() { Beyond::Nothing } else { Beyond::More };
            let last = self.messages.last().map_or(0, |message| message.position);
            self.messages.extend(page.iter().filter(|message| message.position > last).cloned());
            self.forget_oldest();
            return true;
        }
        false
    }

    /// What was asked for does not come.
    pub fn failed(&mut self, job: Job) -> bool {
        if self.jump.take_if(|(jump, _)| *jump == job).is_some() {
            return true;
        }
        for beyond in [&mut self.older, &mut self.newer] {
            if *beyond == Beyond::Loading(job) {
                *beyond = Beyond::More;
                return true;
            }
        }
        false
    }

    fn forget_oldest(&mut self) {
        if let Some(surplus) = self.messages.len().checked_sub(HELD).filter(|surplus| *surplus > 0) {
            self.messages.drain(..surplus);
            self.older = Beyond::More;
        }
    }

    /// The line above the unread stands where they begin.
    fn draw_line(&mut self) {
        let unread = std::mem::take(&mut self.unread) as usize;
        if unread > 0 {
            let incoming = self.messages.iter().rev().filter(|message| message.direction == Direction::Incoming);
            self.new_from = incoming.take(unread).last().map(|message| message.position);
        }
    }

    /// Takes in what is new or has changed. `seen` says whether somebody looks at this conversation.
    pub fn hear(&mut self, messages: &[Message], seen: Seen) {
        let id = self.id;
        for message in messages.iter().filter(|message| message.conversation == id) {
            if self.jump.is_some() && self.late.len() < HELD {
                self.late.push(message.clone());
            }
            let at_end = self.at_end();
            match self.messages.binary_search_by_key(&message.position, |held| held.position) {
                Ok(at) => self.messages[at] = message.clone(),
                // While somebody reads further up, what they read stays; what is too much is loaded when they come.
                Err(_) if !at_end && self.messages.len() >= 2 * HELD => self.newer = Beyond::More,
                Err(at) if at == self.messages.len() && self.newer == Beyond::Nothing && self.jump.is_none() => {
                    if message.direction == Direction::Outgoing {
                        self.new_from = None;
                    } else if self.new_from.is_none() && (seen == Seen::No || !at_end) {
                        self.new_from = Some(message.position);
                    }
                    self.messages.push(message.clone());
                    if at_end {
                        self.forget_oldest();
                    }
                }
                // A page that is not in memory.
                Err(_) => {}
            }
        }
        if self.selected.is_some_and(|id| self.get(id).is_none_or(|message| message.deleted)) {
            self.selected = None;
        }
    }

    /// What is in sight now; what to load before the person gets there.
    pub fn seen(&mut self, sight: Sight) -> Option<(Job, Span)> {
        self.sight = Some(sight);
        if self.jump.is_some() {
            return None;
        }
        if sight.first < AHEAD && self.older == Beyond::More {
            let job = Job::next();
            let first = self.messages.first()?.position;
            self.older = Beyond::Loading(job);
            return Some((job, Span::Before(first)));
        }
        if sight.last + AHEAD >= self.messages.len() && self.newer == Beyond::More {
            let job = Job::next();
            let last = self.messages.last()?.position;
            self.newer = Beyond::Loading(job);
            return Some((job, Span::After(last)));
        }
        None
    }

    /// Up to where the person has read, when that is further than what was said before.
    pub fn read(&mut self, conversation: Option<&Conversation>) -> Option<u64> {
        let last = self.sight.and_then(|sight| self.messages.get(..=sight.last))?;
        let unread = conversation.is_some_and(|conversation| conversation.unread > 0);
        let position = last.iter().rev().find(|message| message.direction == Direction::Incoming)?;
        let fresh = position.position > self.marked && (unread || position.state != MessageState::Read);
        fresh.then(|| {
            self.marked = position.position;
            position.position
        })
    }

    /// A new daemon may lack what the old one was told.
    pub fn lost(&mut self) {
        self.marked = 0;
        self.jump = None;
        for beyond in [&mut self.older, &mut self.newer] {
            if matches!(beyond, Beyond::Loading(_)) {
                *beyond = Beyond::More;
            }
        }
    }

    /// The newest message of one's own that can still be changed.
    pub fn own_last(&self) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.direction == Direction::Outgoing && !message.deleted)
    }

    /// The hit that is `by` further, newer ones with a negative number.
    pub fn step(&mut self, by: isize) -> Option<u64> {
        let find = self.find.as_mut()?;
        let count = find.hits.len().cast_signed();
        if count == 0 {
            return None;
        }
        find.at = (find.at.cast_signed() + by).rem_euclid(count).unsigned_abs();
        find.hits.get(find.at).copied()
    }
}

/// Whether somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Yes,
    No,
}

/// Wishes of all conversations have different numbers: the list is the same widget for each.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::talk;

    fn sight(first: usize, last: usize, at_end: AtEnd) -> Sight {
        Sight { first, last, built: last - first + 1, at_end }
    }

    /// The huge conversation, opened at its end.
    fn opened() -> Thread {
        let id = talk::huge();
        let (mut thread, job, span) = Thread::open(id, 0, None);
        assert!(thread.page(job, &talk::huge_page(span)));
        thread
    }

    #[test]
    fn a_hundred_thousand_messages_can_be_gone_through_with_a_few_pages_in_memory() {
        let mut thread = opened();
        let newest = thread.messages.last().expect("there are some").position;
        for _ in 0..40 {
            if let Some((job, span)) = thread.seen(sight(0, 10, AtEnd::No)) {
                assert!(thread.page(job, &talk::huge_page(span)));
            }
            assert!(thread.messages.len() <= HELD);
            assert!(thread.messages.is_sorted_by_key(|message| message.position));
        }
        assert!(thread.messages[0].position < newest - 1_000);
        assert_eq!(thread.newer, Beyond::More, "the newest were let go");
        for _ in 0..60 {
            let last = thread.messages.len() - 1;
            if let Some((job, span)) = thread.seen(sight(last - 10, last, AtEnd::Yes)) {
                assert!(thread.page(job, &talk::huge_page(span)));
            }
            assert!(thread.messages.len() <= HELD);
        }
        assert_eq!(thread.messages.last().map(|message| message.position), Some(newest), "and come back");
        assert_eq!(thread.newer, Beyond::Nothing);
    }

    #[test]
    fn a_hit_far_away_is_loaded_and_gone_to() {
        let mut thread = opened();
        let far = thread.messages[0].position - 50_000;
        let (job, span) = thread.go(far).expect("it is not in memory");
        assert!(thread.page(job, &talk::huge_page(span)));
        assert_eq!(thread.wanted.aim, Aim::Row(far));
        let (job, span) = thread.end().expect("the end is not in memory");
        assert!(thread.page(job, &talk::huge_page(span)));
        assert_eq!((thread.wanted.aim, thread.newer), (Aim::End, Beyond::Nothing));
    }

    #[test]
    fn a_page_for_what_was_left_is_void() {
        let mut thread = opened();
        let (late, span) = thread.seen(sight(0, 10, AtEnd::No)).expect("more is wanted");
        let (job, jump) = thread.go(5).expect("it is not in memory");
        assert!(thread.page(job, &talk::huge_page(jump)));
        let before = thread.messages.clone();
        assert!(!thread.page(late, &talk::huge_page(span)));
        assert_eq!(thread.messages, before);
    }

    #[test]
    fn what_comes_while_nobody_looks_is_under_a_line_until_one_writes() {
        let mut thread = opened();
        let mut new = thread.messages.last().expect("there are some").clone();
        new.position += 1;
        new.direction = Direction::Incoming;
        thread.hear(std::slice::from_ref(&new), Seen::No);
        assert_eq!(thread.new_from, Some(new.position));
        let mut own = new.clone();
        (own.position, own.direction) = (new.position + 1, Direction::Outgoing);
        thread.hear(std::slice::from_ref(&own), Seen::Yes);
        assert_eq!(thread.new_from, None);
        assert_eq!(thread.messages.last(), Some(&own));
    }
}
