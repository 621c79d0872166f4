//! People and messages, as clients meet them.

use std::cell::RefCell;
use std::rc::Rc;

use kith_common::chat::{Before, ConversationId, Draft, MAX_PAGE, MAX_TEXT_BYTES, Message, MessageId};
use kith_common::chat_capnp::{chat, messages_observer};
use kith_common::contact::{ContactChange, Presence, Right, Trust};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use kith_common::rpc::MAX_MESSAGE_BYTES;
use kith_store::{Body, Entry, Place};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::streaming::raw;
use super::{Stage, soon};

fn ada() -> PeerId {
    PeerId::from_public_key([7; 32])
}

fn id(number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(bytes)
}

/// The peer has said these, by number.
async fn hears(stage: &Stage, numbers: impl IntoIterator<Item = u64>, text: &str) {
    let entry = |sequence| {
        let body = Body::Text { text: format!("{text} {sequence}"), reply_to: None, attachments: Vec::new() };
        Entry { place: Place::Direct, sequence, id: id(sequence), sent_unix_ms: 1, body }
    };
    let entries: Vec<_> = numbers.into_iter().map(entry).collect();
    soon(stage.database.write(move |store| store.hear(ada(), entries, 2))).await.expect("they are stored");
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id).collect()
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<MessageId> {
    numbers.into_iter().map(id).collect()
}

#[tokio::test]
async fn a_contact_is_added_trusted_changed_found_by_name_and_removed() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let mut watch = soon(client.watch_people()).await.expect("they can be watched");
    let none = soon(watch.next()).await.expect("now").expect("the daemon is there");
    assert!(none.contacts.is_empty() && none.requests.is_empty() && none.own == Presence::Online);
    let peer = ada().to_string();
    let added = soon(client.add_contact(&peer, "Ada", "Hello")).await.expect("a stranger");
    assert_eq!((added.peer_id, added.name.as_str(), added.mutual), (ada(), "Ada", false));
    soon(client.set_trust("ada", Right::Calls, Trust::Always)).await.expect("a contact");
    let change = ContactChange { name: Some("Grandma".into()), verified: Some(true), ..ContactChange::default() };
    let changed = soon(client.change_contact("Ada", change)).await.expect("a contact");
    assert_eq!((changed.calls, changed.verified), (Trust::Always, true));
    soon(async { while watch.next().await.expect("goes on").expect("is there").contacts != [changed.clone()] {} })
        .await;
    let safety = soon(client.safety("grandma")).await.expect("a contact");
    assert_eq!((safety.digits.split(' ').count(), safety.emoji.len()), (12, 8), "{safety:?}");
    // A name in place of an address.
    soon(client.block_peer("grandma")).await.expect("a contact");
    soon(client.unblock_peer("GRANDMA")).await.expect("a contact");
    let failure = soon(client.connect_peer("grandmother")).await.expect_err("nobody is called so");
    assert!(failure.kind == FailureKind::InvalidArgument && failure.advice.contains("Grandma"), "{failure:?}");
    soon(client.remove_contact("grandma")).await.expect("a contact");
    assert!(soon(client.people()).await.expect("it answers").contacts.is_empty());
    let failure = soon(client.set_presence(Presence::InCall)).await.expect_err("comes by itself");
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
}

#[tokio::test]
async fn what_is_sent_is_stored_shown_changed_and_found() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    soon(client.add_contact(&ada().to_string(), "Ada", "")).await.expect("a stranger");
    let mut lists = soon(client.watch_conversations()).await.expect("they can be watched");
    let draft = Draft { text: "Grüße aus Zürich".into(), ..Draft::default() };
    let sent = soon(client.send_message("ada", draft)).await.expect("it is stored");
    assert_eq!((sent.conversation, sent.text.as_str()), (ConversationId::Peer(ada()), "Grüße aus Zürich"));
    let listed = soon(async {
        loop {
            let list = lists.next().await.expect("goes on").expect("is there");
            if let Some(conversation) = list.into_iter().next() {
                return conversation;
            }
        }
    });
    let conversation = listed.await;
    assert_eq!((conversation.title.as_str(), conversation.last.map(|last| last.id)), ("Ada", Some(sent.id)));
    let edited = soon(client.edit_message(sent.id, "Viele Grüße")).await.expect("one's own");
    assert!(edited.edited && edited.cursor > sent.cursor && edited.position == sent.position, "{edited:?}");
    let reacted = soon(client.react(sent.id, "👍", true)).await.expect("it is there");
    assert_eq!(reacted.reactions.len(), 1, "{reacted:?}");
    let found = soon(client.search_messages("viele gru", Some("Ada"), 0, 10)).await.expect("it searches");
    assert_eq!(ids(&found), [sent.id]);
    let deleted = soon(client.delete_message(sent.id)).await.expect("one's own");
    assert!(deleted.deleted && deleted.text.is_empty(), "{deleted:?}");
    let failure = soon(client.delete_message(id(99))).await.expect_err("there is none");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    let failure = soon(client.send_message("nonsense", Draft::default())).await.expect_err("nobody");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}

#[tokio::test]
async fn a_contact_that_is_renamed_has_its_new_name_in_the_list_of_conversations_at_once() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    let peer = ada().to_string();
    soon(client.add_contact(&peer, "Ada", "")).await.expect("a stranger");
    soon(client.send_message(&peer, Draft { text: "hello".into(), ..Draft::default() })).await.expect("it is stored");
    let mut lists = soon(client.watch_conversations()).await.expect("they can be watched");
    // Many times: what is read a moment too early has the old name, and nothing tells of the new one any more.
    for number in 0..50 {
        let name = format!("Ada {number}");
        let change = ContactChange { name: Some(name.clone()), ..ContactChange::default() };
        soon(client.change_contact(&peer, change)).await.expect("a contact");
        let renamed = async {
            loop {
                let list = lists.next().await.expect("goes on").expect("is there");
                if list.iter().any(|conversation| conversation.title == name) {
                    return;
                }
            }
        };
        soon(renamed).await;
    }
}

#[tokio::test]
async fn whoever_watches_from_a_cursor_has_every_message_once_and_in_order() {
    let stage = Stage::set().await;
    hears(&stage, 1..=450, "Number").await;
    let (mut cursor, mut seen) = (0, Vec::new());
    // A client that comes and goes: it keeps the cursor of what it has taken, and nothing else.
    for round in 0..4_u64 {
        let client = stage.client().await;
        let mut watch = soon(client.watch_messages(cursor)).await.expect("it can be watched");
        hears(&stage, 451 + round * 50..=500 + round * 50, "Number").await;
        let (batch, next) = soon(watch.next()).await.expect("more").expect("the daemon is there");
        assert!((1..=200).contains(&batch.len()), "{}", batch.len());
        seen.extend(ids(&batch));
        cursor = next;
    }
    let client = stage.client().await;
    let mut watch = soon(client.watch_messages(cursor)).await.expect("it can be watched");
    while seen.len() < 650 {
        let (batch, _) = soon(watch.next()).await.expect("more").expect("the daemon is there");
        seen.extend(ids(&batch));
    }
    assert_eq!(seen, numbered(1..=650));
    // What changes comes again.
    soon(client.add_contact(&ada().to_string(), "Ada", "")).await.expect("a stranger");
    soon(client.react(id(3), "👍", true)).await.expect("it is there");
    let (batch, _) = soon(watch.next()).await.expect("more").expect("the daemon is there");
    assert_eq!(ids(&batch), [id(3)]);
}

#[tokio::test]
async fn a_cursor_of_another_database_begins_anew() {
    let stage = Stage::set().await;
    hears(&stage, 1..=3, "Number").await;
    let mut watch = soon(stage.client().await.watch_messages(1 << 40)).await.expect("it can be watched");
    let (batch, cursor) = soon(watch.next()).await.expect("more").expect("the daemon is there");
    assert_eq!((ids(&batch), cursor < 1 << 40), (numbered(1..=3), true));
}

/// Takes a batch for each permit, and answers for none without.
struct Slow {
    batches: RefCell<Vec<usize>>,
    go: Semaphore,
}

struct SlowObserver(Rc<Slow>);

impl messages_observer::Server for SlowObserver {
    async fn messages(
        self: Rc<Self>,
        params: messages_observer::MessagesParams,
        _: messages_observer::MessagesResults,
    ) -> capnp::Result<()> {
        self.0.batches.borrow_mut().push(params.get()?.get_messages()?.len() as usize);
        self.0.go.acquire().await.expect("it is never closed").forget();
        Ok(())
    }
}

fn raw_chat(kith: &kith_common::kith_capnp::kith::Client) -> chat::Client {
    kith.node_request().send().pipeline.get_node().chat_request().send().pipeline.get_chat()
}

#[tokio::test]
async fn a_stuck_watcher_holds_one_batch_and_harms_nobody() {
    let stage = Stage::set().await;
    hears(&stage, 1..=1000, "Number").await;
    let inside = async {
        let kith = raw(&stage).await;
        let slow = Rc::new(Slow { batches: RefCell::default(), go: Semaphore::new(0) });
        let mut request = raw_chat(&kith).watch_request();
        request.get().set_observer(capnp_rpc::new_client(SlowObserver(Rc::clone(&slow))));
        let _handle = soon(request.send().promise).await.expect("it is there");
        let mut watch = soon(stage.client().await.watch_messages(0)).await.expect("it can be watched");
        let mut seen = 0;
        while seen < 1000 {
            seen += soon(watch.next()).await.expect("more").expect("the daemon is there").0.len();
        }
        assert_eq!(*slow.batches.borrow(), [200]);
        slow.go.add_permits(10);
        let all = async {
            while slow.batches.borrow().iter().sum::<usize>() < 1000 {
                tokio::task::yield_now().await;
            }
        };
        soon(all).await;
        assert_eq!(*slow.batches.borrow(), [200; 5]);
    };
    LocalSet::new().run_until(inside).await;
}

#[tokio::test]
async fn the_longest_messages_are_read_watched_and_exported_in_pieces() {
    let stage = Stage::set().await;
    let text = "x".repeat(MAX_TEXT_BYTES - 10);
    const ALL: u64 = 450;
    // More than a message can carry twice over.
    assert!(ALL as usize * MAX_TEXT_BYTES > MAX_MESSAGE_BYTES + MAX_MESSAGE_BYTES / 2);
    for first in (1..=ALL).step_by(50) {
        hears(&stage, first..first + 50, &text).await;
    }
    let client = stage.client().await;
    let target = ada().to_string();
    let (mut before, mut pages) = (Before::default(), Vec::new());
    loop {
        let page = soon(client.history(&target, before, MAX_PAGE)).await.expect("it is there");
        let Some(first) = page.first() else { break };
        before.position = first.position;
        pages.push(ids(&page));
    }
    assert!(pages.len() > 3, "{}", pages.len());
    assert_eq!(pages.into_iter().rev().flatten().collect::<Vec<_>>(), numbered(1..=ALL));
    let mut watch = soon(client.watch_messages(0)).await.expect("it can be watched");
    let mut watched = Vec::new();
    while watched.len() < ALL as usize {
        watched.extend(ids(&soon(watch.next()).await.expect("more").expect("the daemon is there").0));
    }
    assert_eq!(watched, numbered(1..=ALL));
    for target in [Some(target.as_str()), None] {
        let (sender, mut batches) = mpsc::channel::<Vec<Message>>(1);
        let collect = async {
            let mut all = Vec::new();
            while let Some(batch) = batches.recv().await {
                all.extend(ids(&batch));
            }
            all
        };
        let (exported, all) = soon(async { tokio::join!(client.export_messages(target, sender), collect) }).await;
        exported.expect("it is there");
        assert_eq!(all, numbered(1..=ALL));
    }
    let (sender, _batches) = mpsc::channel::<Vec<Message>>(1);
    let failure = soon(client.export_messages(Some("nonsense"), sender)).await.expect_err("there is none");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}
