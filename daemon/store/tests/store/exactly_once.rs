use kith_common::chat::MAX_TEXT_BYTES;
use kith_store::{Body, Place, Refusal};

use crate::{NOW, all, entry, id, peer, said, store, tell, text, texts, with};

#[test]
fn entries_are_stored_in_order_each_once() {
    let mut store = store(1);
    let heard = store.hear(peer(2), vec![said(2), said(1), said(1), said(4)], NOW).unwrap();
    assert_eq!(heard.stored, [(Place::Direct, 2)], "the fourth waits for the third");
    assert_eq!(heard.new_messages.len(), 2);
    let heard = store.hear(peer(2), vec![said(1), said(2), said(3), said(4)], NOW).unwrap();
    assert_eq!((heard.stored, heard.new_messages.len()), (vec![(Place::Direct, 4)], 2));
    assert_eq!(texts(&store, with(2)), ["message 1", "message 2", "message 3", "message 4"]);
    let heard = store.hear(peer(2), vec![said(3)], NOW).unwrap();
    assert_eq!(
        (heard.stored, heard.new_messages.len()),
        (vec![(Place::Direct, 4)], 0),
        "a replay is acknowledged again"
    );
    assert_eq!(store.heard_marks(peer(2)).unwrap(), [(Place::Direct, 4)]);
    assert_eq!(store.conversation(with(2)).unwrap().unwrap().unread, 4);
}

#[test]
fn only_its_author_changes_a_message() {
    let mut store = store(1);
    store.say(with(2), id(100), text("mine"), NOW).unwrap();
    store.hear(peer(2), vec![said(1)], NOW).unwrap();
    let foreign = |sequence, body| kith_store::Entry { id: id(100), ..entry(sequence, body) };
    let heard =
        store.hear(peer(2), vec![foreign(2, Body::Edit("theirs".into())), foreign(3, Body::Delete)], NOW).unwrap();
    assert_eq!(heard.stored, [(Place::Direct, 3)], "heard, so that numbers have no gaps");
    assert_eq!(texts(&store, with(2)), ["mine", "message 1"]);
    assert!(store.say(with(2), id(1), Body::Edit("ours".into()), NOW).is_err());
    let own = |sequence, body| kith_store::Entry { id: id(1), ..entry(sequence, body) };
    store.hear(peer(2), vec![own(4, Body::Edit("new".into()))], NOW).unwrap();
    assert!(all(&store, with(2))[1].edited);
    store.hear(peer(2), vec![own(5, Body::Delete), own(6, Body::Edit("back again".into()))], NOW).unwrap();
    let deleted = &all(&store, with(2))[1];
    assert!(deleted.deleted && deleted.text.is_empty(), "{deleted:?}");
}

#[test]
fn what_is_too_large_is_refused_and_stops_there() {
    let mut store = store(1);
    let large = entry(2, text(&"x".repeat(MAX_TEXT_BYTES + 1)));
    let heard = store.hear(peer(2), vec![said(1), large, said(3)], NOW).unwrap();
    assert_eq!(heard.stored, [(Place::Direct, 1)]);
    assert_eq!(heard.refused, [(Place::Direct, 2, Refusal::TooLarge)]);
    assert!(store.say(with(2), id(9), text(&"x".repeat(MAX_TEXT_BYTES + 1)), NOW).is_err());
    assert!(store.conversation(with(3)).unwrap().is_none());
}

#[test]
fn a_failed_say_uses_no_number() {
    let mut store = store(1);
    store.say(with(2), id(1), text("one"), NOW).unwrap();
    assert!(store.say(with(2), id(77), Body::Delete, NOW).is_err());
    assert!(store.say(with(2), id(1), text("the same id"), NOW).is_err());
    let (entry, _) = store.say(with(2), id(2), text("two"), NOW).unwrap();
    assert_eq!(entry.sequence, 2);
}

#[test]
fn a_peer_that_has_lost_its_database_gets_everything_again() {
    let mut a = store(1);
    let mut b = store(2);
    a.say(with(2), id(1), text("one"), NOW).unwrap();
    a.say(with(2), id(2), text("secret"), NOW).unwrap();
    a.say(with(2), id(2), Body::Delete, NOW).unwrap();
    a.say(with(2), id(3), text("three"), NOW).unwrap();
    tell(&mut a, &mut b);
    assert_eq!(
        texts(&b, with(1)),
        ["one", "", "three"][..1].iter().chain(&["three"]).map(|s| s.to_string()).collect::<Vec<_>>(),
        "what was deleted before is never told"
    );
    let mut b = store(2);
    let heard = b.hear(a.own(), a.entries_for(b.own(), Place::Direct, 0, 100).unwrap(), NOW).unwrap();
    assert_eq!(heard.stored, [(Place::Direct, 4)]);
    assert_eq!(texts(&b, with(1)), ["one", "three"]);
}

#[test]
fn a_node_that_has_lost_its_numbers_is_still_heard() {
    let mut a = store(1);
    let mut b = store(2);
    for number in 1..=5 {
        a.say(with(2), id(number), text("before"), NOW).unwrap();
    }
    tell(&mut a, &mut b);
    let mut a = store(1);
    a.say(with(2), id(50), text("after"), NOW).unwrap();
    // As the peer's hello says.
    for (place, mark) in b.heard_marks(a.own()).unwrap() {
        a.peer_stored(b.own(), place, mark).unwrap();
    }
    tell(&mut a, &mut b);
    assert_eq!(texts(&b, with(1)).last().map(String::as_str), Some("after"));
    assert_eq!(a.message(id(50)).unwrap().unwrap().state, kith_common::chat::MessageState::Delivered);
}

#[test]
fn deleting_a_conversation_breaks_no_numbers_and_loses_nothing_that_waits() {
    let mut a = store(1);
    let mut b = store(2);
    a.say(with(2), id(1), text("one"), NOW).unwrap();
    tell(&mut a, &mut b);
    a.say(with(2), id(2), text("two"), NOW).unwrap();
    assert!(a.delete_conversation(with(2)).unwrap());
    assert!(!a.delete_conversation(with(2)).unwrap());
    assert!(a.conversations().unwrap().is_empty() && all(&a, with(2)).is_empty());
    assert!(a.search("one", None, 0, 10).unwrap().is_empty() && a.message(id(1)).unwrap().is_none());
    a.say(with(2), id(3), text("three"), NOW).unwrap();
    tell(&mut a, &mut b);
    assert_eq!(texts(&b, with(1)), ["one", "two", "three"]);
    assert_eq!(texts(&a, with(2)), ["three"]);
    b.delete_conversation(with(1)).unwrap();
    a.say(with(2), id(4), text("four"), NOW).unwrap();
    tell(&mut a, &mut b);
    assert_eq!(texts(&b, with(1)), ["four"]);
    assert_eq!(b.conversation(with(1)).unwrap().unwrap().unread, 1);
}
