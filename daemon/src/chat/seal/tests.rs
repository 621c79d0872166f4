//! Messages that come by way of somebody else, between nodes whose network is in memory.

use std::time::Duration;

use kith_common::chat::MessageState;
use kith_common::clock::unix_ms;
use kith_common::ids::PeerId;
use kith_store::Sealed;
use tokio::time::timeout;

use super::bond::Bond;
use super::vault::Vault;
use super::{KEPT_FOR_MS, LIMITS, task::Bonds};
use crate::chat::tests::rig::{DEADLINE, Exchange, Node, all, peer, texts, with};

const ADA: u8 = 1;
const BEN: u8 = 2;
const CEM: u8 = 3;
const DORA: u8 = 4;

/// Asks the disk again and again: nothing tells of what is neither a message nor a conversation.
async fn eventually(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !there().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, asking).await.is_ok(), "never: {what}");
}

async fn bond(node: &Node, with: PeerId) -> Bond {
    let name = Bonds::name(with);
    let kept = node.db.read({
        let name = name.clone();
        move |store| store.secret(&name)
    });
    let kept = kept.await.expect("the store answers").unwrap_or_default();
    let plain = Vault::new(node.me.public_key()).open(&name, &kept);
    plain.map_or_else(Bond::default, |plain| serde_json::from_slice(&plain).expect("it is whole"))
}

/// The two are together until each can seal for the other.
async fn meet(exchange: &Exchange, a: &Node, b: &Node) {
    exchange.connect(a.me, b.me);
    for (node, other) in [(a, b), (b, a)] {
        eventually("keys of the other", async || bond(node, other.me).await.can_seal()).await;
    }
}

async fn kept(holder: &Node, recipient: u8) -> Vec<Sealed> {
    holder.db.read(move |store| store.held_for(peer(recipient))).await.expect("the store answers")
}

async fn hands_over_all(holder: &Node, recipient: u8) {
    eventually("everything is handed over", async || kept(holder, recipient).await.is_empty()).await;
}

/// Three that know each other and have met; Ben has gone since.
async fn three() -> (Exchange, Node, Node, Node) {
    let exchange = Exchange::default();
    let ada = Node::sealing(&exchange, ADA, &[BEN, CEM]).await;
    let ben = Node::sealing(&exchange, BEN, &[ADA, CEM]).await;
    let cem = Node::sealing(&exchange, CEM, &[ADA, BEN]).await;
    meet(&exchange, &ada, &ben).await;
    meet(&exchange, &ada, &cem).await;
    meet(&exchange, &ben, &cem).await;
    exchange.cut(ada.me, ben.me);
    exchange.cut(cem.me, ben.me);
    (exchange, ada, ben, cem)
}

/// Until the holder keeps so many for Ben.
async fn say(ada: &Node, said: &[&str], holder: &Node, keeps: usize) {
    for text in said {
        ada.say("Ben", text).await;
    }
    eventually("the holder keeps it", async || kept(holder, BEN).await.len() == keeps).await;
    ada.until(with(BEN), "somebody keeps it", all(MessageState::Sent)).await;
}

#[tokio::test]
async fn what_a_common_contact_keeps_arrives_once_though_author_and_recipient_never_meet() {
    let (exchange, ada, ben, cem) = three().await;
    say(&ada, &["a secret walk", "at noon"], &cem, 2).await;
    let sealed = kept(&cem, BEN).await;
    assert_eq!(sealed.len(), 2);
    for one in &sealed {
        assert_eq!((one.author, one.recipient), (ada.me, ben.me));
        assert!(one.expires_unix_ms <= unix_ms() + KEPT_FOR_MS);
        assert!(!one.body.windows(6).any(|part| part == b"secret"), "the holder can read it");
    }
    // All of them end and start again in between; Ada stays away.
    let ada = ada.restart_sealing(&[BEN, CEM]).await;
    let cem = cem.restart_sealing(&[ADA, BEN]).await;
    let ben = ben.restart_sealing(&[ADA, CEM]).await;
    exchange.connect(ben.me, cem.me);
    let there = ben.until(with(ADA), "both", |messages| messages.len() == 2).await;
    assert_eq!(texts(&there), ["a secret walk", "at noon"]);
    assert!(there.iter().all(|message| message.author == ada.me));
    hands_over_all(&cem, BEN).await;
    let sent = ada.history(with(BEN)).await;
    assert!(all(MessageState::Sent)(&sent), "{sent:?}");
    exchange.connect(ada.me, ben.me);
    ada.until(with(BEN), "delivered", all(MessageState::Delivered)).await;
    ada.say("Ben", "see you").await;
    let there = ben.until(with(ADA), "the next", |messages| messages.len() >= 3).await;
    assert_eq!(texts(&there), ["a secret walk", "at noon", "see you"]);
}

#[tokio::test]
async fn each_time_that_somebody_is_away_works_like_the_first() {
    let (exchange, ada, ben, cem) = three().await;
    for (n, text) in ["one", "two", "three", "four", "five", "six"].into_iter().enumerate() {
        ada.say("Ben", text).await;
        eventually("Cem keeps it", async || kept(&cem, BEN).await.len() == 1).await;
        exchange.connect(ben.me, cem.me);
        ben.until(with(ADA), text, |messages| messages.len() == n + 1).await;
        hands_over_all(&cem, BEN).await;
        meet(&exchange, &ada, &ben).await;
        ada.until(with(BEN), "delivered", all(MessageState::Delivered)).await;
        exchange.cut(ada.me, ben.me);
        exchange.cut(cem.me, ben.me);
    }
}

#[tokio::test]
async fn replayed_and_altered_messages_change_nothing_and_are_not_kept() {
    let (exchange, ada, ben, cem) = three().await;
    say(&ada, &["one", "two"], &cem, 2).await;
    let sealed = kept(&cem, BEN).await;
    exchange.connect(ben.me, cem.me);
    ben.until(with(ADA), "both", |messages| messages.len() == 2).await;
    hands_over_all(&cem, BEN).await;
    exchange.cut(ben.me, cem.me);
    let mut again = Vec::new();
    for (n, one) in (0..).zip(&sealed) {
        // As it was, under another id, altered, cut, and as if somebody else had written it.
        let with_id = |id: u8, sealed: Sealed| Sealed { id: [id; 16], ..sealed };
        again.push(one.clone());
        again.push(with_id(10 + n, one.clone()));
        let mut body = one.body.clone();
        let middle = body.len() / 2;
        body[middle] ^= 1;
        again.push(with_id(20 + n, Sealed { body, ..one.clone() }));
        again.push(with_id(30 + n, Sealed { body: one.body[..middle].to_vec(), ..one.clone() }));
        again.push(with_id(40 + n, Sealed { author: cem.me, ..one.clone() }));
        again.push(with_id(50 + n, Sealed { kind: 1, ..one.clone() }));
    }
    let keeping = move |store: &mut kith_store::Store| {
        again.iter().try_for_each(|one| store.hold(one, LIMITS).map(|room| assert!(room)))
    };
    cem.db.write(keeping).await.expect("the store answers");
    exchange.connect(ben.me, cem.me);
    hands_over_all(&cem, BEN).await;
    assert_eq!(texts(&ben.history(with(ADA)).await), ["one", "two"]);
    assert!(ben.history(with(CEM)).await.is_empty());
    ada.say("Ben", "three").await;
    let there = ben.until(with(ADA), "the third", |messages| messages.len() == 3).await;
    assert_eq!(texts(&there), ["one", "two", "three"]);
}

#[tokio::test]
async fn what_comes_before_its_time_stays_with_its_holder() {
    let (exchange, ada, ben, cem) = three().await;
    say(&ada, &["one", "two"], &cem, 2).await;
    // A holder that leaves out the first.
    let first = kept(&cem, BEN).await[0].clone();
    cem.db.write(move |store| store.drop_held(first.id)).await.expect("the store answers");
    exchange.connect(ben.me, cem.me);
    meet(&exchange, &ada, &ben).await;
    let there = ben.until(with(ADA), "both", |messages| messages.len() == 2).await;
    assert_eq!(texts(&there), ["one", "two"]);
    ada.until(with(BEN), "delivered", all(MessageState::Delivered)).await;
    exchange.cut(ben.me, cem.me);
    exchange.connect(ben.me, cem.me);
    hands_over_all(&cem, BEN).await;
    assert_eq!(ben.history(with(ADA)).await.len(), 2);
}

#[tokio::test]
async fn only_who_lets_the_author_relay_knows_the_recipient_and_has_room_keeps_anything() {
    let (exchange, ada, ben, cem) = three().await;
    ada.trust(&[BEN, CEM, DORA], &[]);
    let dora = Node::sealing(&exchange, DORA, &[ADA, BEN]).await;
    // Cem does not let Ada relay, then does not know Ben, then has no room: Dora keeps it each time.
    cem.trust(&[ADA, BEN], &[BEN]);
    meet(&exchange, &ada, &dora).await;
    say(&ada, &["one"], &dora, 1).await;
    assert!(kept(&cem, BEN).await.is_empty());
    cem.trust(&[ADA], &[ADA]);
    exchange.shake(ada.me, cem.me);
    say(&ada, &["two"], &dora, 2).await;
    assert!(kept(&cem, BEN).await.is_empty());
    cem.trust(&[ADA, BEN], &[ADA]);
    let filling = |store: &mut kith_store::Store| {
        (0..LIMITS.per_author).try_for_each(|n| {
            let id = u128::from(n).to_be_bytes();
            let (author, recipient) = (peer(ADA), peer(9));
            let sealed = Sealed { id, author, recipient, expires_unix_ms: i64::MAX, kind: 0, body: vec![0; 8] };
            store.hold(&sealed, LIMITS).map(drop)
        })
    };
    cem.db.write(filling).await.expect("the store answers");
    exchange.shake(ada.me, cem.me);
    say(&ada, &["three"], &dora, 3).await;
    assert!(kept(&cem, BEN).await.is_empty());
    assert_eq!(kept(&dora, BEN).await.len(), 3);
    // A fortnight later there is nothing.
    let later = unix_ms() + KEPT_FOR_MS + 1;
    assert_eq!(dora.db.write(move |store| store.expire_held(later)).await, Ok(3));
    drop(ben);
}

#[tokio::test]
async fn messages_of_a_group_are_kept_for_the_member_that_is_away() {
    let (exchange, ada, ben, cem) = three().await;
    exchange.connect(ada.me, ben.me);
    let group = ada.chat.new_group("Walks", &["Ben".into(), "Cem".into()]).await.expect("both are contacts").id;
    ada.say("Walks", "sunday?").await;
    for node in [&ben, &cem] {
        node.until(group, "the first", |messages| messages.len() == 1).await;
    }
    ada.until(group, "delivered", all(MessageState::Delivered)).await;
    exchange.cut(ada.me, ben.me);
    ada.say("Walks", "or saturday").await;
    eventually("Cem keeps Ben's", async || kept(&cem, BEN).await.len() == 1).await;
    let ada = ada.restart_sealing(&[BEN, CEM]).await;
    exchange.connect(ben.me, cem.me);
    let there = ben.until(group, "the second", |messages| messages.len() == 2).await;
    assert_eq!(texts(&there), ["sunday?", "or saturday"]);
    hands_over_all(&cem, BEN).await;
    drop(ada);
}
