use kith_common::chat::MessageState;
use kith_store::{Place, Store};

use crate::{NOW, group, id, peer, said, store, text, with};
use MessageState::{Delivered, Failed, Queued, Read, Sent};

fn states(store: &Store, ids: std::ops::RangeInclusive<u64>) -> Vec<MessageState> {
    ids.map(|number| store.message(id(number)).unwrap().unwrap().state).collect()
}

#[test]
fn states_rise_and_never_fall() {
    let mut store = store(1);
    for number in 1..=4 {
        store.say(with(2), id(number), text("words"), NOW).unwrap();
    }
    assert_eq!(store.owed(peer(2)).unwrap(), [(Place::Direct, 0, 4)]);
    assert_eq!(store.owed_peers().unwrap(), [peer(2)]);
    store.handed(peer(2), Place::Direct, 3).unwrap();
    store.peer_stored(peer(2), Place::Direct, 2).unwrap();
    store.peer_read(peer(2), Place::Direct, 1).unwrap();
    assert_eq!(states(&store, 1..=4), [Read, Delivered, Sent, Queued]);
    store.handed(peer(2), Place::Direct, 1).unwrap();
    store.peer_stored(peer(2), Place::Direct, 1).unwrap();
    assert_eq!(states(&store, 1..=4), [Read, Delivered, Sent, Queued]);
    assert_eq!(store.owed(peer(2)).unwrap(), [(Place::Direct, 2, 4)]);
    store.peer_read(peer(2), Place::Direct, 4).unwrap();
    assert_eq!(states(&store, 1..=4), [Read; 4]);
    assert!(store.owed(peer(2)).unwrap().is_empty() && store.owed_peers().unwrap().is_empty());
}

#[test]
fn what_was_given_up_has_failed_until_the_peer_takes_it_after_all() {
    let mut store = store(1);
    for number in 1..=3 {
        store.say(with(2), id(number), text("words"), NOW).unwrap();
    }
    store.peer_stored(peer(2), Place::Direct, 1).unwrap();
    store.give_up(peer(2), Place::Direct, 2, "it does not know this node").unwrap();
    assert_eq!(states(&store, 1..=3), [Delivered, Failed, Failed]);
    assert_eq!(store.message(id(2)).unwrap().unwrap().error, "it does not know this node");
    assert!(store.owed_peers().unwrap().is_empty(), "nobody dials for it");
    assert_eq!(store.owed(peer(2)).unwrap(), [(Place::Direct, 1, 3)], "but a peer that comes may have it");
    store.say(with(2), id(4), text("again"), NOW).unwrap();
    assert_eq!(store.owed_peers().unwrap(), [peer(2)]);
    store.handed(peer(2), Place::Direct, 4).unwrap();
    assert_eq!(states(&store, 1..=4), [Delivered, Failed, Failed, Sent]);
    store.peer_stored(peer(2), Place::Direct, 4).unwrap();
    assert_eq!(states(&store, 1..=4), [Delivered; 4]);
    assert_eq!(store.message(id(2)).unwrap().unwrap().error, "");
}

#[test]
fn a_group_has_it_when_all_members_have_it() {
    let mut store = store(1);
    let place = Place::Group(group(7));
    let talk = kith_common::chat::ConversationId::Group(group(7));
    store.new_group(group(7), "we", &[peer(2), peer(3)], NOW).unwrap();
    store.say(talk, id(1), text("words"), NOW).unwrap();
    store.handed(peer(2), place, 2).unwrap();
    assert_eq!(states(&store, 1..=1), [Sent], "with somebody");
    store.peer_read(peer(2), place, 2).unwrap();
    assert_eq!(states(&store, 1..=1), [Sent]);
    store.peer_stored(peer(3), place, 2).unwrap();
    assert_eq!(states(&store, 1..=1), [Delivered]);
    store.peer_read(peer(3), place, 2).unwrap();
    assert_eq!(states(&store, 1..=1), [Read]);
    store.say(talk, id(2), text("words"), NOW).unwrap();
    store.peer_stored(peer(2), place, 3).unwrap();
    store.give_up(peer(3), place, 3, "gone").unwrap();
    assert_eq!(states(&store, 2..=2), [Failed]);
    store.change_group(group(7), kith_store::StoreGroupChange::Remove(vec![peer(3)]), NOW).unwrap();
    assert_eq!(states(&store, 2..=2), [Delivered], "the one who lacks it is no member any more");
}

#[test]
fn reading_counts_down_and_says_whom_to_tell() {
    let mut store = store(1);
    let heard = store.hear(peer(2), (1..=3).map(said).collect(), NOW).unwrap();
    store.say(with(2), id(100), text("mine"), NOW).unwrap();
    let second = heard.new_messages[1].position;
    assert_eq!(store.mark_read(with(2), second).unwrap(), [(peer(2), Place::Direct, 2)]);
    assert_eq!(store.conversation(with(2)).unwrap().unwrap().unread, 1);
    assert_eq!(states(&store, 1..=3), [Read, Read, Delivered]);
    assert!(store.mark_read(with(2), second).unwrap().is_empty());
    assert_eq!(store.mark_read(with(2), u64::MAX).unwrap(), [(peer(2), Place::Direct, 3)]);
    assert_eq!(store.conversation(with(2)).unwrap().unwrap().unread, 0);
    assert_eq!(store.read_marks(peer(2)).unwrap(), [(Place::Direct, 3)]);
    store.hear(peer(2), vec![said(4)], NOW).unwrap();
    assert_eq!(store.conversation(with(2)).unwrap().unwrap().unread, 1);
}
