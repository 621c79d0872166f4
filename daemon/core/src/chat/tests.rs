//! Two ends over a link that breaks, with processes that die at any moment; and a peer that keeps to no rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;
use proptest::prelude::*;

use super::book::OTHER_OPENS_FIRST;
use super::*;

type Place = u8;
const PLACES: Place = 2;
/// What is long enough for a few to fill the window.
const BYTES: usize = WINDOW_BYTES / 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Entry(Place, u64),
    Stored(Place, u64),
}

/// What is on the disk of one end.
#[derive(Debug, Default)]
struct Disk {
    said: BTreeMap<Place, u64>,
    /// Of the other's entries, in the order in which they came.
    heard: Vec<(Place, u64)>,
}

impl Disk {
    fn marks(&self) -> BTreeMap<Place, u64> {
        self.heard.iter().copied().collect()
    }

    /// Appends what was taken; that it is next is what is tested.
    fn hear(&mut self, batch: &[(Place, u64)]) {
        for (place, number) in batch {
            assert_eq!(*number, self.marks().get(place).unwrap_or(&0) + 1, "once, and in order");
            self.heard.push((*place, *number));
        }
    }
}

/// What one end has in memory for a stream.
struct Memory {
    outbox: Outbox<Place>,
    inbox: Inbox<Place>,
    taken: Vec<(Place, u64)>,
    loading: Option<Load<Place>>,
}

struct World {
    now: Instant,
    disks: [Disk; 2],
    memories: Option<[Memory; 2]>,
    /// To end 0, to end 1.
    wires: [VecDeque<Frame>; 2],
}

#[derive(Debug, Clone)]
enum Step {
    Say(usize, Place),
    Connect,
    Cut,
    Load(usize),
    Deliver(usize),
    Store(usize),
    /// Dies between the transaction and the acknowledgement.
    StoreAndDie(usize),
    Later,
}

fn step() -> impl Strategy<Value = Step> {
    let end = 0..2usize;
    prop_oneof![
        4 => (end.clone(), 0..PLACES).prop_map(|(end, place)| Step::Say(end, place)),
        3 => Just(Step::Connect),
        1 => Just(Step::Cut),
        4 => end.clone().prop_map(Step::Load),
        8 => end.clone().prop_map(Step::Deliver),
        3 => end.clone().prop_map(Step::Store),
        1 => end.prop_map(Step::StoreAndDie),
        1 => Just(Step::Later),
    ]
}

impl World {
    fn new() -> Self {
        Self { now: Instant::now(), disks: Default::default(), memories: None, wires: Default::default() }
    }

    fn connect(&mut self) {
        if self.memories.is_some() {
            return;
        }
        let marks = [self.disks[0].marks(), self.disks[1].marks()];
        let memory = |own: usize| {
            let mut outbox = Outbox::default();
            outbox.handle_hello(marks[1 - own].clone());
            outbox.handle_owed(self.disks[own].said.clone());
            Memory { outbox, inbox: Inbox::new(marks[own].clone()), taken: Vec::new(), loading: None }
        };
        self.memories = Some([memory(0), memory(1)]);
    }

    /// Whoever dies, the stream goes with it, and on the other side as well.
    fn cut(&mut self) {
        self.memories = None;
        self.wires = Default::default();
    }

    fn say(&mut self, end: usize, place: Place) {
        *self.disks[end].said.entry(place).or_default() += 1;
        if let Some(memories) = &mut self.memories {
            memories[end].outbox.handle_owed(self.disks[end].said.clone());
        }
    }

    fn load(&mut self, end: usize) {
        let Some(memories) = &mut self.memories else { return };
        let memory = &mut memories[end];
        let Some(load) = memory.loading.take().or_else(|| memory.outbox.poll_load(self.now)) else { return };
        let last = self.disks[end].said.get(&load.place).copied().unwrap_or(0);
        let entries: Vec<_> = (load.after + 1..=last).take(load.limit).map(|number| (number, BYTES)).collect();
        let taken = memory.outbox.handle_loaded(load, &entries, self.now);
        self.wires[1 - end].extend(entries[..taken].iter().map(|(number, _)| Frame::Entry(load.place, *number)));
        let flying = self.wires[1 - end].iter().filter(|frame| matches!(frame, Frame::Entry(..))).count();
        assert!(flying * BYTES <= WINDOW_BYTES);
    }

    fn deliver(&mut self, end: usize) {
        let Some(memories) = &mut self.memories else { return };
        let memory = &mut memories[end];
        match self.wires[end].pop_front() {
            Some(Frame::Entry(place, number)) => match memory.inbox.handle_entry(place, number, self.now) {
                Taken::Next => memory.taken.push((place, number)),
                Taken::Skip => {}
                Taken::Gap => panic!("two honest ends leave no gap"),
            },
            Some(Frame::Stored(place, mark)) => {
                memory.outbox.handle_stored(place, mark, self.now);
            }
            None => {}
        }
    }

    fn store(&mut self, end: usize) {
        let Some(memories) = &mut self.memories else { return };
        let memory = &mut memories[end];
        self.disks[end].hear(&std::mem::take(&mut memory.taken));
        assert!(memory.inbox.handle_stored(self.disks[end].marks()));
        while let Some((place, mark)) = memory.inbox.poll_say() {
            self.wires[1 - end].push_back(Frame::Stored(place, mark));
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Say(end, place) => self.say(end, place),
            Step::Connect => self.connect(),
            Step::Cut => self.cut(),
            Step::Load(end) => self.load(end),
            Step::Deliver(end) => self.deliver(end),
            Step::Store(end) => self.store(end),
            Step::StoreAndDie(end) => {
                self.store(end);
                self.cut();
            }
            Step::Later => self.now += Duration::from_secs(1),
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            for end in 0..2 {
                self.load(end);
                self.deliver(end);
                self.store(end);
            }
            let said = |end: usize| self.disks[end].said.values().sum::<u64>() as usize;
            if self.wires.iter().all(VecDeque::is_empty)
                && (0..2).all(|end| self.disks[1 - end].heard.len() >= said(end))
            {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_entry_arrives_once_and_in_order_however_links_break_and_processes_die(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        for end in 0..2 {
            prop_assert_eq!(&world.disks[end].said, &world.disks[1 - end].marks());
        }
    }

    #[test]
    fn a_peer_that_repeats_reorders_and_invents_gets_in_what_is_next_only(
        frames in prop::collection::vec((0..PLACES, 0..12u64, 0..8u8), 1..300)
    ) {
        let now = Instant::now();
        let mut disk = Disk::default();
        let mut inbox = Inbox::new([]);
        let mut batch = Vec::new();
        for (place, number, what) in frames {
            match inbox.handle_entry(place, number, now) {
                // Refused by a rule of the owner's.
                Taken::Next if what == 0 => prop_assert!(inbox.handle_refused(place, number)),
                Taken::Next => batch.push((place, number)),
                Taken::Skip => {}
                Taken::Gap => {
                    batch.clear();
                    inbox = Inbox::new(disk.marks());
                }
            }
            if what > 5 {
                // As the store does it: those that are next; a place begins with 1 here.
                for (place, number) in std::mem::take(&mut batch) {
                    if number == disk.marks().get(&place).unwrap_or(&0) + 1 {
                        disk.hear(&[(place, number)]);
                    }
                }
                if !inbox.handle_stored(disk.marks()) {
                    inbox = Inbox::new(disk.marks());
                }
            }
        }
    }

    #[test]
    fn marks_that_a_peer_invents_move_nothing_beyond_what_was_sent(
        frames in prop::collection::vec((0..PLACES, 0..u64::MAX, 0..3u8), 1..100)
    ) {
        let mut now = Instant::now();
        let mut outbox = Outbox::default();
        outbox.handle_hello([(0, 3)]);
        outbox.handle_owed([(0, 5), (1, 9)]);
        for (place, number, what) in frames {
            match what {
                0 => {
                    let mark = outbox.handle_stored(place, number, now);
                    prop_assert!(mark.is_none_or(|mark| mark <= 9));
                }
                1 => { outbox.handle_refused(place, number % 12, Refusal::NoRoom, now); }
                _ => now += Duration::from_secs(number % 100),
            }
            prop_assert!(outbox.readable(place, number) <= 9);
            if let Some(load) = outbox.poll_load(now) {
                let end = if load.place == 0 { 5 } else { 9 };
                let entries: Vec<_> = (load.after + 1..=end).map(|number| (number, 10)).collect();
                outbox.handle_loaded(load, &entries, now);
            }
        }
    }
}

#[test]
fn what_is_refused_for_now_is_tried_again_after_a_pause_or_at_a_word() {
    let now = Instant::now();
    let mut outbox = Outbox::default();
    outbox.handle_hello([]);
    outbox.handle_owed([(0, 3), (1, 1)]);
    let load = outbox.poll_load(now).expect("there is something to send");
    assert_eq!(load, Load { place: 0, after: 0, limit: MAX_LOAD });
    assert_eq!(outbox.handle_loaded(load, &[(1, 9), (2, 9), (3, 9)], now), 3);
    assert_eq!(outbox.handle_refused(0, 1, Refusal::NotContact, now), Verdict::Wait);
    // The other place goes on.
    let other = outbox.poll_load(now).expect("there is more to send");
    assert_eq!(other.place, 1);
    assert_eq!(outbox.handle_loaded(other, &[(1, 9)], now), 1);
    assert_eq!(outbox.poll_load(now), None);
    let again = outbox.poll_timeout(now).expect("it is tried again");
    assert_eq!(outbox.poll_load(again).map(|load| (load.place, load.after)), Some((0, 0)));

    let mut reminded = Outbox::default();
    reminded.handle_hello([]);
    reminded.handle_owed([(0, 1)]);
    let load = reminded.poll_load(now).expect("there is something to send");
    reminded.handle_loaded(load, &[(1, 9)], now);
    assert_eq!(reminded.handle_refused(0, 1, Refusal::NotContact, now), Verdict::Wait);
    assert_eq!(reminded.poll_load(now), None);
    assert_eq!(reminded.handle_stored(0, 0, now), None);
    assert!(reminded.poll_load(now).is_some());
    // For good is for good, and nothing else.
    let load = Load { place: 0, after: 0, limit: MAX_LOAD };
    reminded.handle_loaded(load, &[(1, 9)], now);
    assert_eq!(reminded.handle_refused(0, 1, Refusal::TooLarge, now), Verdict::GiveUp);
    reminded.handle_stored(0, 0, now);
    assert_eq!(reminded.poll_load(now + LONG), None);
    assert_eq!(reminded.handle_refused(7, 1, Refusal::TooLarge, now), Verdict::Nothing);
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_peer_that_is_silent_about_what_it_was_sent_is_stalled_and_one_that_answers_is_not() {
    let now = Instant::now();
    let mut outbox = Outbox::default();
    outbox.handle_hello([]);
    outbox.handle_owed([(0, 2)]);
    assert!(!outbox.is_stalled(now + LONG), "nothing was sent");
    let load = outbox.poll_load(now).expect("there is something to send");
    outbox.handle_loaded(load, &[(1, 9), (2, 9)], now);
    assert_eq!(outbox.poll_timeout(now), Some(now + STALLED_AFTER));
    let later = now + STALLED_AFTER / 2;
    assert_eq!(outbox.handle_stored(0, 1, later), Some(1));
    assert!(!outbox.is_stalled(now + STALLED_AFTER));
    assert!(outbox.is_stalled(later + STALLED_AFTER));
    assert_eq!(outbox.handle_stored(0, 2, later), Some(2));
    assert!(!outbox.is_stalled(later + LONG));
}

#[test]
fn a_peer_that_sends_without_end_is_read_at_a_pace() {
    let now = Instant::now() + LONG;
    let mut inbox = Inbox::new([]);
    let mut number = 0;
    while inbox.poll_pace(now).is_none() {
        number += 1;
        assert_eq!(inbox.handle_entry(0u8, number, now), Taken::Next);
        assert!(number <= 30_000);
    }
    assert!(number > 10_000, "somebody who was away for long is heard at once");
    let next = inbox.poll_pace(now).expect("it waits");
    assert!(next - now < Duration::from_millis(50));
    assert_eq!(inbox.poll_pace(next), None);
}

#[test]
fn numbers_that_begin_again_for_a_member_leave_no_gap_and_nothing_else_does() {
    let now = Instant::now();
    let mut inbox = Inbox::new([(0u8, 10)]);
    assert_eq!(inbox.handle_entry(0, 15, now), Taken::Gap);
    assert_eq!(inbox.handle_begin(0, 15, now), Taken::Next);
    assert_eq!(inbox.handle_entry(0, 16, now), Taken::Next);
    assert_eq!(inbox.handle_begin(0, 12, now), Taken::Skip);
    assert!(inbox.handle_stored([(0, 16)]));
    assert_eq!((inbox.poll_say(), inbox.poll_say()), (Some((0, 16)), None));
    assert_eq!(inbox.handle_begin(1, u64::MAX, now), Taken::Gap, "there must be room to count on");
}

// ---- who opens

fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

fn set(peers: &[u8]) -> BTreeSet<PeerId> {
    peers.iter().map(|n| peer(*n)).collect()
}

fn book(own: u8, contacts: &[u8], now: Instant) -> Book {
    let mut book = Book::new(peer(own));
    book.handle_people(&set(contacts), &BTreeSet::new(), now);
    book
}

#[test]
fn the_smaller_id_opens_and_the_other_after_a_second_if_it_has_something() {
    let now = Instant::now();
    let mut small = book(1, &[2], now);
    small.handle_connected(&set(&[2, 3]), now);
    assert_eq!(small.poll_action(now), Some(Act::Open(peer(2))));
    assert_eq!(small.poll_action(now), None, "once, and strangers not at all");
    let mut large = book(9, &[2], now);
    large.handle_connected(&set(&[2]), now);
    let first = large.handle_link(peer(2), now);
    large.handle_ended(peer(2), first, Ended::Broken, now + LONG);
    assert_eq!(large.poll_action(now + 2 * LONG), None, "it has nothing to say");
    large.handle_owed(&set(&[2]), now + LONG);
    assert_eq!(large.poll_action(now + LONG), None);
    assert_eq!(large.poll_timeout(), Some(now + LONG + OTHER_OPENS_FIRST));
    assert_eq!(large.poll_action(now + LONG + OTHER_OPENS_FIRST), Some(Act::Open(peer(2))));
}

#[test]
fn the_newer_of_two_streams_stands_and_a_broken_one_is_followed_after_growing_pauses() {
    let mut now = Instant::now();
    let mut book = book(1, &[2], now);
    book.handle_connected(&set(&[2]), now);
    assert_eq!(book.poll_action(now), Some(Act::Open(peer(2))));
    let older = book.handle_link(peer(2), now);
    let newer = book.handle_link(peer(2), now);
    assert!(newer > older);
    book.handle_ended(peer(2), older, Ended::Broken, now);
    assert_eq!((book.link(peer(2)), book.poll_action(now + LONG)), (Some(newer), None));
    book.handle_ended(peer(2), newer, Ended::Broken, now);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let at = book.poll_timeout().expect("it is opened again");
        pauses.push(at - now);
        now = at;
        assert_eq!(book.poll_action(now), Some(Act::Open(peer(2))));
        book.handle_not_opened(peer(2), Ended::Broken, now);
    }
    assert!(pauses.is_sorted() && pauses[11] == Duration::from_secs(60), "{pauses:?}");
    // A word of the peer's ends the pause.
    book.handle_welcome(peer(2), now);
    assert_eq!(book.poll_action(now), Some(Act::Open(peer(2))));
}

#[test]
fn members_of_groups_are_dialled_a_few_at_once_and_contacts_are_left_to_others() {
    let now = Instant::now();
    let mut book = book(1, &[2], now);
    let members = set(&[3, 4, 5, 6, 7, 8]);
    book.handle_people(&set(&[2]), &members, now);
    book.handle_owed(&set(&[2, 3, 4, 5, 6, 7, 8]), now);
    let mut dialled = BTreeSet::new();
    while let Some(act) = book.poll_action(now) {
        let Act::Dial(peer) = act else { panic!("{act:?}") };
        dialled.insert(peer);
    }
    assert_eq!(dialled, set(&[3, 4, 5, 6]));
    book.handle_dialled(peer(3), now);
    assert_eq!(book.poll_action(now), Some(Act::Dial(peer(7))));
    book.handle_dialled(peer(4), now);
    assert_eq!(book.poll_action(now), Some(Act::Dial(peer(8))));
    book.handle_dialled(peer(5), now);
    assert_eq!(book.poll_action(now), None);
    assert_eq!(book.poll_action(now + LONG), Some(Act::Dial(peer(3))));
}

#[test]
fn a_stopped_service_opens_nothing_and_a_started_one_says_that_it_is_there() {
    let now = Instant::now();
    let mut book = book(9, &[2], now);
    book.handle_switch(false, now);
    book.handle_connected(&set(&[2]), now);
    book.handle_owed(&set(&[2]), now);
    assert_eq!((book.poll_action(now + LONG), book.poll_timeout()), (None, None));
    book.handle_owed(&BTreeSet::new(), now);
    book.handle_switch(true, now + LONG);
    assert_eq!(book.poll_action(now + LONG + OTHER_OPENS_FIRST), Some(Act::Open(peer(2))));
}
