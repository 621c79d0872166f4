//! Messages between nodes whose network is in memory.

mod hostile;
pub(super) mod rig;

use std::sync::{Arc, Mutex, PoisonError};

use kith_common::chat::{Draft, GroupChange, Message, MessageState};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use kith_core::listener::Begin;
use tokio::sync::mpsc;

use super::{SealFrame, Sealer};
use rig::{Exchange, Node, all, peer, texts, with};

async fn two() -> (Exchange, Node, Node) {
    let exchange = Exchange::default();
    let (ada, ben) = (Node::new(&exchange, 1, &[2]).await, Node::new(&exchange, 2, &[1]).await);
    (exchange, ada, ben)
}

#[tokio::test]
async fn what_is_said_to_somebody_who_is_away_waits_and_is_delivered_and_read() {
    let (exchange, ada, ben) = two().await;
    for text in ["one", "two", "three"] {
        assert_eq!(ada.say("ben", text).await.state, MessageState::Queued);
    }
    exchange.connect(ada.me, ben.me);
    let arrived = ben.until(with(1), "three messages", |messages| messages.len() == 3).await;
    assert_eq!(texts(&arrived), ["one", "two", "three"]);
    ada.until(with(2), "delivered", all(MessageState::Delivered)).await;
    ben.chat.mark_read("Ada", arrived[2].position).await.expect("they are there");
    ada.until(with(2), "read", all(MessageState::Read)).await;
    // And the other way, over the same stream.
    ben.say("Ada", "four").await;
    let both = ada.until(with(2), "an answer", |messages| messages.len() == 4).await;
    ben.until(with(1), "the answer is delivered", |messages| messages[3].state == MessageState::Delivered).await;
    assert_eq!(texts(&both), texts(&ben.history(with(1)).await));
}

#[tokio::test]
async fn the_side_with_the_larger_id_opens_when_only_it_has_something() {
    let (exchange, ada, ben) = two().await;
    // Ada does not know Ben yet, and so opens nothing.
    ada.befriend(&[]);
    ben.say("Ada", "hello").await;
    exchange.connect(ada.me, ben.me);
    ada.befriend(&[2]);
    ada.until(with(2), "the message", |messages| messages.len() == 1).await;
}

#[tokio::test]
async fn hundreds_of_messages_both_ways_arrive_once_and_in_order_over_a_stream_that_breaks() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    let shaking = async {
        for round in 1..=5 {
            ben.until(with(1), "some more", |messages| messages.len() >= round * 30).await;
            exchange.shake(ada.me, ben.me);
        }
    };
    let speaking = async {
        for n in 0..200 {
            ada.say("Ben", &format!("a{n}")).await;
            ben.say("Ada", &format!("b{n}")).await;
        }
    };
    tokio::join!(shaking, speaking);
    for (node, other, own) in [(&ada, 2, 'a'), (&ben, 1, 'b')] {
        let done = |messages: &[Message]| {
            messages.iter().filter(|message| message.state >= MessageState::Delivered).count() == 400
        };
        let history = node.until(with(other), "all of it", done).await;
        for author in ['a', 'b'] {
            let of: Vec<_> = texts(&history).into_iter().filter(|text| text.starts_with(author)).collect();
            let wanted: Vec<_> = (0..200).map(|n| format!("{author}{n}")).collect();
            assert_eq!(of, wanted, "{author} at {own}");
        }
    }
}

#[tokio::test]
async fn a_node_that_ends_and_starts_again_goes_on_where_it_was() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    ada.say("Ben", "before").await;
    ben.until(with(1), "the first", |messages| messages.len() == 1).await;
    let ben = ben.restart(&[1]).await;
    ada.say("Ben", "meanwhile").await;
    ben.say("Ada", "offline").await;
    let ada = ada.restart(&[2]).await;
    exchange.connect(ada.me, ben.me);
    let at_ben = ben.until(with(1), "both of hers", |messages| messages.len() == 3).await;
    assert_eq!(texts(&at_ben), ["before", "offline", "meanwhile"]);
    let at_ada = ada.until(with(2), "his", |messages| messages.len() == 3).await;
    assert_eq!(texts(&at_ada), ["before", "meanwhile", "offline"]);
    ada.until(with(2), "all delivered", all(MessageState::Delivered)).await;
}

#[tokio::test]
async fn edits_reactions_replies_and_deletions_reach_the_other() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    let first = ada.say("Ben", "helo").await;
    ada.chat.edit(first.id, "hello").await.expect("it is hers");
    let seen = ben.until(with(1), "the edit", |messages| messages.first().is_some_and(|message| message.edited)).await;
    assert_eq!(seen[0].text, "hello");
    ben.chat.react(first.id, "👍", true).await.expect("it is there");
    let liked =
        |messages: &[Message]| messages[0].reactions.iter().any(|one| one.emoji == "👍" && one.peers == [peer(2)]);
    ada.until(with(2), "the reaction", liked).await;
    ben.chat.react(first.id, "👍", false).await.expect("it is there");
    ada.until(with(2), "no reaction", |messages| messages[0].reactions.is_empty()).await;
    let reply = Draft { text: "yes".into(), reply_to: Some(first.id), attachments: Vec::new() };
    ben.chat.send("Ada", reply).await.expect("it can be stored");
    let answered = ada.until(with(2), "the reply", |messages| messages.len() == 2).await;
    assert_eq!((answered[1].reply_to, answered[1].reply_text.as_str()), (Some(first.id), "hello"));
    let not_his = ben.chat.edit(first.id, "other").await.expect_err("it is hers");
    assert_eq!(not_his.kind, FailureKind::NotPermitted);
    assert_eq!(ben.chat.delete(first.id).await.expect_err("it is hers").kind, FailureKind::NotPermitted);
    ada.chat.delete(first.id).await.expect("it is hers");
    let gone = ben.until(with(1), "the deletion", |messages| messages[0].deleted).await;
    assert_eq!((gone[0].text.as_str(), gone.len()), ("", 2));
}

#[tokio::test]
async fn a_group_of_three_reaches_a_member_that_was_away_and_strangers_within_it() {
    let exchange = Exchange::default();
    // Ben and Cem know each other from the group only.
    let ada = Node::new(&exchange, 1, &[2, 3]).await;
    let ben = Node::new(&exchange, 2, &[1]).await;
    let cem = Node::new(&exchange, 3, &[1]).await;
    exchange.connect(ada.me, ben.me);
    let group = ada.chat.new_group("Walks", &["Ben".into(), "Cem".into()]).await.expect("both are contacts");
    assert_eq!((group.title.as_str(), group.members.len()), ("Walks", 3));
    ada.say("Walks", "on sunday?").await;
    ben.until(group.id, "the message", |messages| messages.len() == 1).await;
    ben.say("walks", "yes").await;
    ada.until(group.id, "the answer", |messages| messages.len() == 2).await;
    let waiting = ada.history(group.id).await;
    assert!(waiting[0].state < MessageState::Delivered, "Cem does not have it: {waiting:?}");
    exchange.connect(ada.me, cem.me);
    cem.until(group.id, "hers", |messages| messages.iter().any(|message| message.text == "on sunday?")).await;
    // Ben finds Cem by himself: he owes it an answer and it is no contact, so nobody else looks for it.
    cem.until(group.id, "both", |messages| messages.len() == 2).await;
    for (node, name) in [(&ada, "Ada"), (&ben, "Ben")] {
        let own = |messages: &[Message]| {
            messages.iter().filter(|message| message.author == node.me).all(|one| one.state == MessageState::Delivered)
        };
        node.until(group.id, &format!("{name}'s are delivered to all"), own).await;
    }
    cem.say("Walks", "me too").await;
    for node in [&ada, &ben] {
        node.until(group.id, "all three", |messages| messages.len() == 3).await;
    }
    // Who is in a group with somebody may not write to it alone for that.
    assert!(cem.chat.send(&ben.me.to_string(), Draft { text: "psst".into(), ..Draft::default() }).await.is_err());
    ada.chat.change_group("Walks", GroupChange::Title("Hikes".into())).await.expect("it is hers");
    cem.until_conversation("the new title", |conversation| conversation.title == "Hikes").await;
    ada.chat.change_group("Hikes", GroupChange::Remove(vec!["Ben".into()])).await.expect("it is hers");
    ben.until_conversation("he is out", |conversation| conversation.left).await;
    // What was said without him is not for him, and the numbers go on where he comes back.
    ada.say("Hikes", "without ben").await;
    ada.chat.change_group("Hikes", GroupChange::Add(vec!["Ben".into()])).await.expect("it is hers");
    ben.until_conversation("he is in again", |conversation| conversation.title == "Hikes" && !conversation.left).await;
    ada.say("Hikes", "welcome back").await;
    let seen = |messages: &[Message]| messages.iter().any(|message| message.text == "welcome back");
    let history = ben.until(group.id, "a message again", seen).await;
    assert!(!texts(&history).contains(&"without ben"));
}

#[tokio::test]
async fn a_stranger_is_refused_hears_why_and_is_heard_once_it_is_a_contact() {
    let (exchange, ada, ben) = two().await;
    ben.befriend(&[]);
    ada.say("Ben", "do you know me?").await;
    exchange.connect(ada.me, ben.me);
    let waiting = ada.until(with(2), "the reason", |messages| !messages[0].error.is_empty()).await;
    assert!(waiting[0].error.contains("accepted"), "{}", waiting[0].error);
    assert!(waiting[0].state < MessageState::Delivered);
    assert!(ben.history(with(1)).await.is_empty());
    ben.befriend(&[1]);
    ben.until(with(1), "the message", |messages| messages.len() == 1).await;
    let delivered = ada.until(with(2), "delivered", all(MessageState::Delivered)).await;
    assert_eq!(delivered[0].error, "");
}

#[tokio::test]
async fn a_stopped_service_lets_messages_wait_on_either_side() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    ada.say("Ben", "one").await;
    ben.until(with(1), "the first", |messages| messages.len() == 1).await;
    ada.until(with(2), "delivered", all(MessageState::Delivered)).await;
    for (stopped, n) in [(&ben, 2), (&ada, 3)] {
        stopped.service.send_replace(Begin::Stopped);
        ada.say("Ben", "more").await;
        ben.say("Ada", "more").await;
        exchange.shake(ada.me, ben.me);
        exchange.cut(ada.me, ben.me);
        exchange.connect(ada.me, ben.me);
        stopped.service.send_replace(Begin::Running);
        for (node, other) in [(&ada, 2), (&ben, 1)] {
            node.until(with(other), "all of it", |messages| messages.len() == 2 * n - 1).await;
        }
    }
}

#[tokio::test]
async fn names_titles_and_ids_lead_to_a_conversation_and_nonsense_to_advice() {
    let (_, ada, ben) = two().await;
    for target in ["ben", " Ben ", &ben.me.to_string()] {
        assert_eq!(ada.chat.resolve(target).await, Ok(with(2)));
    }
    let group = ada.chat.new_group("Walks", &["ben".into()]).await.expect("a contact");
    for target in ["walks", &group.id.to_string()] {
        assert_eq!(ada.chat.resolve(target).await, Ok(group.id));
    }
    ada.chat.new_group("walks", &["ben".into()]).await.expect("a contact");
    for (target, kind) in [
        ("walks", FailureKind::InvalidArgument),
        ("", FailureKind::InvalidArgument),
        ("nobody", FailureKind::NotFound),
        (&ada.me.to_string(), FailureKind::InvalidArgument),
    ] {
        let failure = ada.chat.resolve(target).await.expect_err("no one conversation");
        assert!(failure.kind == kind && !failure.advice.is_empty(), "{target}: {failure:?}");
    }
    let stranger = ada.chat.send(&peer(9).to_string(), Draft { text: "x".into(), ..Draft::default() }).await;
    assert_eq!(stranger.expect_err("no contact").kind, FailureKind::NotPermitted);
    assert!(ada.chat.new_group("x", &[peer(9).to_string()]).await.is_err(), "members are contacts");
    assert!(ada.chat.new_group("x", &[]).await.is_err(), "alone");
}

/// The peer, its identity key, and where frames for it go.
type Linked = (PeerId, Vec<u8>, mpsc::Sender<SealFrame>);

/// Keeps what it gets.
#[derive(Default)]
struct Noted {
    arrived: Mutex<Vec<(PeerId, SealFrame)>>,
    outlets: Mutex<Vec<Linked>>,
    told: tokio::sync::Notify,
}

impl Sealer for Noted {
    fn identity_key(&self) -> Vec<u8> {
        vec![7; 32]
    }

    fn linked(&self, peer: PeerId, identity_key: &[u8], outlet: mpsc::Sender<SealFrame>) {
        let linked = (peer, identity_key.to_vec(), outlet);
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner).push(linked);
        self.told.notify_one();
    }

    fn arrived(&self, peer: PeerId, frame: SealFrame) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push((peer, frame));
        self.told.notify_one();
    }
}

#[tokio::test]
async fn frames_of_sealed_messages_are_carried_between_the_sealers_of_contacts() {
    let exchange = Exchange::default();
    let (one, two) = (Arc::new(Noted::default()), Arc::new(Noted::default()));
    let ada = Node::with(&exchange, 1, &[2], Some(one.clone())).await;
    let ben = Node::with(&exchange, 2, &[1], Some(two.clone())).await;
    exchange.connect(ada.me, ben.me);
    let outlet = loop {
        tokio::time::timeout(rig::DEADLINE, one.told.notified()).await.expect("a stream");
        let linked = one.outlets.lock().unwrap_or_else(PoisonError::into_inner).last().cloned();
        if let Some((peer, key, outlet)) = linked {
            assert_eq!((peer, key), (ben.me, vec![7; 32]));
            break outlet;
        }
    };
    let frame = SealFrame::Keys(vec![vec![1; 32]]);
    outlet.send(frame.clone()).await.expect("the stream stands");
    loop {
        tokio::time::timeout(rig::DEADLINE, two.told.notified()).await.expect("the frame");
        let arrived = two.arrived.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        if let Some(arrived) = arrived {
            assert_eq!(arrived, (ada.me, frame));
            break;
        }
    }
}
