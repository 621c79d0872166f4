//! Two nodes, a link that loses, doubles and reorders, and everything that users do, against what must be true in the end.

use std::collections::BTreeMap;

use kith_common::chat::{Message, MessageId, MessageState};
use kith_store::{Body, Entry, Place, Store};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{NOW, all, id, store, text, with};

#[derive(Debug, Clone)]
enum Op {
    Say(usize),
    Edit(usize, Index),
    Delete(usize, Index),
    React(usize, Index, bool),
    /// Entries as they may come: some left out, some twice, in that order.
    Carry {
        from: usize,
        picks: Vec<Index>,
        acknowledged: bool,
    },
    Handed(usize),
    Read(usize, Index, bool),
    GiveUp(usize),
    Watch(usize, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let side = 0..2usize;
    prop_oneof![
        4 => side.clone().prop_map(Op::Say),
        1 => (side.clone(), any::<Index>()).prop_map(|(side, which)| Op::Edit(side, which)),
        1 => (side.clone(), any::<Index>()).prop_map(|(side, which)| Op::Delete(side, which)),
        1 => (side.clone(), any::<Index>(), any::<bool>()).prop_map(|(side, which, on)| Op::React(side, which, on)),
        4 => (side.clone(), proptest::collection::vec(any::<Index>(), 1..12), any::<bool>())
            .prop_map(|(from, picks, acknowledged)| Op::Carry { from, picks, acknowledged }),
        1 => side.clone().prop_map(Op::Handed),
        1 => (side.clone(), any::<Index>(), any::<bool>()).prop_map(|(side, which, told)| Op::Read(side, which, told)),
        1 => side.clone().prop_map(Op::GiveUp),
        2 => (side, 1..6u32).prop_map(|(side, limit)| Op::Watch(side, limit)),
    ]
}

/// A client of one node, which knows only what it is told.
#[derive(Default)]
struct Watcher {
    cursor: u64,
    seen: BTreeMap<u64, Message>,
}

impl Watcher {
    fn watch(&mut self, store: &Store, limit: u32) -> bool {
        let (changed, cursor) = store.changed_after(self.cursor, limit).unwrap();
        assert!(cursor >= self.cursor);
        let any = !changed.is_empty();
        self.cursor = cursor;
        for message in changed {
            if let Some(old) = self.seen.get(&message.position) {
                // Failed is between the others: it may still be delivered.
                let rank = |state| match state {
                    MessageState::Queued => 0,
                    MessageState::Sent => 1,
                    MessageState::Failed => 2,
                    MessageState::Delivered => 3,
                    MessageState::Read => 4,
                };
                assert!(rank(message.state) >= rank(old.state), "{:?} after {:?}", message.state, old.state);
                assert!(message.cursor > old.cursor);
            }
            self.seen.insert(message.position, message);
        }
        any
    }
}

/// What its author wanted a message to be.
type Wanted = BTreeMap<MessageId, Option<String>>;

struct World {
    stores: [Store; 2],
    watchers: [Watcher; 2],
    /// By author, in the order of saying.
    said: [Vec<MessageId>; 2],
    wanted: Wanted,
    next: u64,
}

impl World {
    fn message(&self, which: Index) -> Option<(usize, MessageId)> {
        let all: Vec<_> =
            self.said.iter().enumerate().flat_map(|(side, ids)| ids.iter().map(move |id| (side, *id))).collect();
        (!all.is_empty()).then(|| *which.get(&all))
    }

    fn carry(&mut self, from: usize, picks: Option<&[Index]>, acknowledged: bool) {
        let [a, b] = &mut self.stores;
        let (from, to) = if from == 0 { (a, b) } else { (b, a) };
        let peer = to.own();
        let has = from.owed(peer).unwrap().first().map_or(0, |(_, has, _)| *has);
        // A few old ones as well.
        let entries = from.entries_for(peer, Place::Direct, has.saturating_sub(3), 50).unwrap();
        let picked: Vec<Entry> = match picks {
            Some(picks) if !entries.is_empty() => picks.iter().map(|pick| pick.get(&entries).clone()).collect(),
            _ => entries,
        };
        let heard = to.hear(from.own(), picked, NOW).unwrap();
        assert!(heard.refused.is_empty());
        if acknowledged {
            for (place, mark) in heard.stored {
                from.peer_stored(peer, place, mark).unwrap();
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Say(side) => {
                self.next += 1;
                let (id, words) = (id(self.next), format!("message {}", self.next));
                self.stores[side].say(with(2 - side as u8), id, text(&words), NOW).unwrap();
                self.said[side].push(id);
                self.wanted.insert(id, Some(words));
            }
            Op::Edit(side, which) => {
                let Some((author, id)) = self.message(which) else { return };
                self.next += 1;
                let words = format!("edited {}", self.next);
                let done = self.stores[side].say(with(2 - side as u8), id, Body::Edit(words.clone()), NOW).is_ok();
                assert_eq!(done, author == side && self.wanted[&id].is_some());
                if done {
                    self.wanted.insert(id, Some(words));
                }
            }
            Op::Delete(side, which) => {
                let Some((author, id)) = self.message(which) else { return };
                let done = self.stores[side].say(with(2 - side as u8), id, Body::Delete, NOW).is_ok();
                assert_eq!(done, author == side && self.wanted[&id].is_some());
                if done {
                    self.wanted.insert(id, None);
                }
            }
            Op::React(side, which, on) => {
                let Some((_, id)) = self.message(which) else { return };
                self.stores[side].say(with(2 - side as u8), id, Body::React { emoji: "👍".into(), on }, NOW).ok();
            }
            Op::Carry { from, picks, acknowledged } => self.carry(from, Some(&picks), acknowledged),
            Op::Handed(side) => {
                let peer = self.stores[1 - side].own();
                if let Some((place, _, to)) = self.stores[side].owed(peer).unwrap().first().copied() {
                    self.stores[side].handed(peer, place, to).unwrap();
                }
            }
            Op::Read(side, which, told) => {
                let messages = all(&self.stores[side], with(2 - side as u8));
                if messages.is_empty() {
                    return;
                }
                let position = which.get(&messages).position;
                let own = self.stores[side].own();
                for (_, place, mark) in self.stores[side].mark_read(with(2 - side as u8), position).unwrap() {
                    if told {
                        self.stores[1 - side].peer_read(own, place, mark).unwrap();
                    }
                }
            }
            Op::GiveUp(side) => {
                let peer = self.stores[1 - side].own();
                if let Some((place, has, _)) = self.stores[side].owed(peer).unwrap().first().copied() {
                    self.stores[side].give_up(peer, place, has + 1, "not now").unwrap();
                }
            }
            Op::Watch(side, limit) => drop(self.watchers[side].watch(&self.stores[side], limit)),
        }
    }

    fn check(&mut self) {
        for side in 0..2 {
            while !self.stores[1 - side].owed(self.stores[side].own()).unwrap().is_empty() {
                self.carry(1 - side, None, true);
            }
        }
        for side in 0..2 {
            let talk = with(2 - side as u8);
            let here = all(&self.stores[side], talk);
            for author in 0..2 {
                let ids: Vec<_> = here
                    .iter()
                    .filter(|message| message.author == self.stores[author].own())
                    .map(|message| message.id)
                    .collect();
                // What was deleted before the other heard of it never gets there.
                let missing: Vec<_> = self.said[author].iter().filter(|id| !ids.contains(id)).collect();
                assert!(missing.iter().all(|id| author != side && self.wanted[*id].is_none()), "{missing:?}");
                let in_order: Vec<_> = self.said[author].iter().filter(|id| ids.contains(id)).copied().collect();
                assert_eq!(ids, in_order, "each once, in order");
            }
            for message in &here {
                assert_eq!(self.wanted[&message.id].as_deref(), (!message.deleted).then_some(message.text.as_str()));
                if message.author == self.stores[side].own() {
                    assert!(matches!(message.state, MessageState::Delivered | MessageState::Read), "{message:?}");
                }
                let found = self.stores[side].search(&format!("{} ", message.text), None, 0, 50).unwrap();
                assert_eq!(found.iter().any(|hit| hit.id == message.id), !message.deleted);
            }
            let unread = here
                .iter()
                .filter(|m| m.author != self.stores[side].own() && m.state == MessageState::Delivered)
                .count();
            let counted = self.stores[side].conversation(talk).unwrap().map_or(0, |talk| talk.unread);
            assert_eq!(counted as usize, unread);
            while self.watchers[side].watch(&self.stores[side], 3) {}
            assert_eq!(self.watchers[side].seen.values().cloned().collect::<Vec<_>>(), here, "a watcher knows all");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_agree_whatever_the_link_does(ops in proptest::collection::vec(op(), 1..60)) {
        let mut world = World {
            stores: [store(1), store(2)],
            watchers: Default::default(),
            said: Default::default(),
            wanted: BTreeMap::new(),
            next: 0,
        };
        for op in ops {
            world.apply(op);
        }
        world.check();
    }
}
