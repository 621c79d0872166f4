use kith_common::chat::{ConversationId, MAX_MEMBERS};
use kith_store::{Body, Entry, GroupRow, Place, Refusal, Standing, Store, StoreGroupChange};
use proptest::prelude::*;

use crate::{NOW, group, id, peer, store, tell, text, texts};

const TALK: fn() -> ConversationId = || ConversationId::Group(group(7));
const PLACE: fn() -> Place = || Place::Group(group(7));

fn say(store: &mut Store, number: u64) {
    store.say(TALK(), id(number), text(&number.to_string()), NOW).unwrap();
}

/// Everybody tells everybody until nothing changes.
fn settle(stores: &mut [Store]) {
    for _ in 0..20 {
        let before: Vec<_> = stores.iter().map(|store| store.cursor().unwrap()).collect();
        for from in 0..stores.len() {
            for to in 0..stores.len() {
                if from != to {
                    let [a, b] = stores.get_disjoint_mut([from, to]).unwrap();
                    tell(a, b);
                }
            }
        }
        if before == stores.iter().map(|store| store.cursor().unwrap()).collect::<Vec<_>>() {
            return;
        }
    }
    panic!("never at rest");
}

fn members(store: &Store) -> Vec<kith_common::ids::PeerId> {
    store.conversation(TALK()).unwrap().unwrap().members
}

#[test]
fn a_new_member_gets_what_is_said_from_then_on_by_everybody() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2)], NOW).unwrap();
    settle(&mut stores);
    say(&mut stores[0], 1);
    say(&mut stores[1], 2);
    settle(&mut stores);
    assert_eq!(texts(&stores[1], TALK()).len(), 2);
    stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(3)]), NOW).unwrap();
    settle(&mut stores);
    say(&mut stores[1], 3);
    say(&mut stores[2], 4);
    settle(&mut stores);
    assert_eq!(texts(&stores[2], TALK()).len(), 2, "{:?}", texts(&stores[2], TALK()));
    assert_eq!(texts(&stores[0], TALK()).len(), 4);
    assert!(stores.iter().all(|store| members(store) == [peer(1), peer(2), peer(3)]));
}

#[test]
fn a_new_member_takes_nothing_before_it_knows_where_an_author_begins() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2)], NOW).unwrap();
    settle(&mut stores);
    say(&mut stores[1], 2);
    stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(3)]), NOW).unwrap();
    let [a, b, c] = &mut stores;
    tell(a, b);
    say(b, 3);
    let entries = b.entries_for(peer(3), PLACE(), 0, 10).unwrap();
    let heard = c.hear(peer(2), entries.clone(), NOW).unwrap();
    assert_eq!(heard.refused, [(PLACE(), entries[0].sequence, Refusal::UnknownGroup)], "the maker has not told it yet");
    tell(a, c);
    let late = c.hear(peer(2), entries[1..].to_vec(), NOW).unwrap();
    assert_eq!((late.stored, late.new_messages.len()), (vec![(PLACE(), 0)], 0), "came by another way before the first");
    let heard = c.hear(peer(2), entries, NOW).unwrap();
    assert_eq!(heard.new_messages.len(), 1);
}

#[test]
fn only_the_maker_says_who_is_in_a_group() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    settle(&mut stores);
    assert!(stores[1].change_group(group(7), StoreGroupChange::Title("mine".into()), NOW).is_err());
    let members = vec![(peer(2), 1), (peer(3), 1)];
    let forged = Entry {
        place: PLACE(),
        sequence: 1,
        id: id(0),
        sent_unix_ms: NOW,
        body: Body::Group { title: "mine".into(), members },
    };
    stores[2].hear(peer(2), vec![forged], NOW).unwrap();
    let there = stores[2].conversation(TALK()).unwrap().unwrap();
    assert_eq!((there.title.as_str(), there.members.len()), ("we", 3));
    let stranger = Entry { place: PLACE(), sequence: 1, id: id(5), sent_unix_ms: NOW, body: text("let me in") };
    assert_eq!(stores[2].hear(peer(9), vec![stranger], NOW).unwrap().refused, [(PLACE(), 1, Refusal::NotMember)]);
    let many: Vec<_> = (10..10 + MAX_MEMBERS as u8).map(peer).collect();
    assert!(stores[0].change_group(group(7), StoreGroupChange::Add(many), NOW).is_err());
    assert_eq!(self::members(&stores[0]).len(), 3, "all or nothing");
}

#[test]
fn the_removed_and_those_who_leave_are_out_everywhere_and_may_come_back() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    settle(&mut stores);
    stores[0].change_group(group(7), StoreGroupChange::Remove(vec![peer(2)]), NOW).unwrap();
    settle(&mut stores);
    assert!(stores[1].conversation(TALK()).unwrap().unwrap().left);
    assert!(stores[1].say(TALK(), id(1), text("hello?"), NOW).is_err());
    say(&mut stores[2], 2);
    settle(&mut stores);
    assert!(texts(&stores[1], TALK()).is_empty());
    stores[2].change_group(group(7), StoreGroupChange::Leave, NOW).unwrap();
    settle(&mut stores);
    assert_eq!(members(&stores[0]), [peer(1)]);
    stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(2), peer(3)]), NOW).unwrap();
    settle(&mut stores);
    for (number, store) in (10..).zip(&mut stores) {
        say(store, number);
    }
    settle(&mut stores);
    for store in &stores {
        assert!(!store.conversation(TALK()).unwrap().unwrap().left);
        let texts = texts(store, TALK());
        assert!(["10", "11", "12"].iter().all(|text| texts.contains(&(*text).to_owned())), "{texts:?}");
    }
}

#[test]
fn an_old_word_of_leaving_does_not_put_out_who_was_added_anew() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    let told = |stores: &mut [Store; 3], from: usize, to: usize| {
        let [from, to] = stores.get_disjoint_mut([from, to]).unwrap();
        tell(from, to);
    };
    told(&mut stores, 0, 1);
    stores[1].change_group(group(7), StoreGroupChange::Leave, NOW).unwrap();
    told(&mut stores, 1, 0);
    stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(2)]), NOW).unwrap();
    // The third hears that the second is in again before it hears from the second, who does not know it yet.
    told(&mut stores, 0, 2);
    told(&mut stores, 1, 2);
    settle(&mut stores);
    assert!(stores.iter().all(|store| members(store) == [peer(1), peer(2), peer(3)]));
    // Whoever leaves after that is out all the same.
    stores[1].change_group(group(7), StoreGroupChange::Leave, NOW).unwrap();
    settle(&mut stores);
    assert!([0, 2].iter().all(|still| members(&stores[*still]) == [peer(1), peer(3)]));
}

/// The identity goes to a new database, with what a backup has of the group.
fn moved(from: &Store, rows: &[GroupRow]) -> Store {
    let mut new = Store::in_memory(from.own()).unwrap();
    for row in rows {
        new.put_group(row, NOW).unwrap();
        assert!(new.put_group(row, NOW).is_err(), "it is there");
    }
    new
}

#[test]
fn whoever_moves_without_messages_hears_the_others_and_is_heard() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    settle(&mut stores);
    for (number, store) in (1..).zip(&mut stores) {
        say(store, number);
    }
    settle(&mut stores);
    for mover in 0..3 {
        let rows = stores[mover].group_rows().unwrap();
        // Said on the old machine, after the backup.
        say(&mut stores[mover], 10 + mover as u64);
        settle(&mut stores);
        stores[mover] = moved(&stores[mover], &rows);
        assert_eq!(members(&stores[mover]), [peer(1), peer(2), peer(3)]);
        assert!(texts(&stores[mover], TALK()).is_empty(), "messages stay where they are");
        let first = 100 + 10 * mover as u64;
        for (number, store) in (first..).zip(&mut stores) {
            say(store, number);
        }
        settle(&mut stores);
        for store in &stores {
            let texts = texts(store, TALK());
            for number in first..first + 3 {
                assert_eq!(texts.iter().filter(|text| **text == number.to_string()).count(), 1, "{number}: {texts:?}");
            }
            assert!((1..=3).all(|other| store.owed(peer(other)).unwrap().is_empty()), "nobody waits for anything");
        }
    }
    // And the one who made it can still change it.
    stores[0].change_group(group(7), StoreGroupChange::Title("us".into()), NOW).unwrap();
    settle(&mut stores);
    assert!(stores.iter().all(|store| store.conversation(TALK()).unwrap().unwrap().title == "us"));
}

#[test]
fn whoever_had_left_before_the_move_is_heard_when_it_is_asked_back() {
    let mut stores = [1, 2, 3].map(store);
    stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    settle(&mut stores);
    say(&mut stores[2], 1);
    stores[2].change_group(group(7), StoreGroupChange::Leave, NOW).unwrap();
    settle(&mut stores);
    let rows = stores[2].group_rows().unwrap();
    assert_eq!(rows[0].standing, Standing::Left);
    stores[2] = moved(&stores[2], &rows);
    assert!(stores[2].say(TALK(), id(2), text("no"), NOW).is_err() && stores[2].groups().unwrap().is_empty());
    stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(3)]), NOW).unwrap();
    settle(&mut stores);
    say(&mut stores[2], 3);
    settle(&mut stores);
    assert!(stores.iter().all(|store| texts(store, TALK()).contains(&"3".to_owned())));
}

#[test]
fn a_group_that_is_deleted_here_is_still_one_that_this_node_is_in() {
    let mut store = store(1);
    store.new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    assert!(store.delete_conversation(TALK()).unwrap() && store.conversations().unwrap().is_empty());
    assert_eq!(store.groups().unwrap(), [(group(7), vec![peer(2), peer(3)])]);
    store.change_group(group(7), StoreGroupChange::Leave, NOW).unwrap();
    assert!(store.groups().unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Op {
    Say(usize),
    Add(usize),
    Remove(usize),
    Leave(usize),
    Tell(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4usize).prop_map(Op::Say),
        1 => (1..4usize).prop_map(Op::Add),
        1 => (1..4usize).prop_map(Op::Remove),
        1 => (1..4usize).prop_map(Op::Leave),
        8 => (0..4usize, 0..4usize).prop_map(|(from, to)| Op::Tell(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, in the end all members agree on who they are, and nobody waits for anything.
    #[test]
    fn members_agree_in_the_end(ops in proptest::collection::vec(op(), 1..60)) {
        let mut stores = [1, 2, 3, 4].map(store);
        stores[0].new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
        let mut number = 0;
        for op in ops {
            match op {
                Op::Say(who) => {
                    number += 1;
                    // Refused to those who are out.
                    stores[who].say(TALK(), id(number), text(&number.to_string()), NOW).ok();
                }
                Op::Add(who) => drop(stores[0].change_group(group(7), StoreGroupChange::Add(vec![peer(who as u8 + 1)]), NOW).unwrap()),
                Op::Remove(who) => drop(stores[0].change_group(group(7), StoreGroupChange::Remove(vec![peer(who as u8 + 1)]), NOW).unwrap()),
                Op::Leave(who) => drop(stores[who].change_group(group(7), StoreGroupChange::Leave, NOW)),
                Op::Tell(from, to) if from != to => {
                    let [a, b] = stores.get_disjoint_mut([from, to]).unwrap();
                    tell(a, b);
                }
                Op::Tell(..) => {}
            }
        }
        settle(&mut stores);
        let agreed = members(&stores[0]);
        for store in &stores {
            let here = store.conversation(TALK()).unwrap().filter(|here| !here.left);
            prop_assert_eq!(here.is_some(), agreed.contains(&store.own()), "{:?} of {:?}", store.own(), agreed);
            let Some(here) = here else { continue };
            prop_assert_eq!(&here.members, &agreed);
            for other in &agreed {
                prop_assert_eq!(store.owed(*other).unwrap(), vec![], "{:?} to {:?}", store.own(), other);
            }
            let mut texts = texts(store, TALK());
            let all = texts.len();
            texts.sort_unstable();
            texts.dedup();
            prop_assert_eq!(texts.len(), all);
        }
    }
}
