//! A peer that speaks nonsense, repeats itself, or says more than it may.

use kith_common::chat::{ConversationId, MessageState};
use kith_core::chat::Refusal;
use kith_store::{Entry, Place};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::rig::{DEADLINE, Exchange, FakeNet, Node, peer};
use crate::chat::ports::Network as _;
use crate::chat::wire::tests::text;
use crate::chat::wire::{Frame, Hello, MAX_FRAME_BYTES, decode, encode};
use crate::net::{Stream, frames};

const MALLORY: u8 = 4;

/// Ben, and a peer that is driven by hand.
async fn setting(contacts: &[u8]) -> (Exchange, Node, FakeNet) {
    let exchange = Exchange::default();
    let ben = Node::new(&exchange, 2, contacts).await;
    let (mallory, incoming) = exchange.join(peer(MALLORY));
    // Its own door stays shut: streams that Ben opens end at once.
    drop(incoming);
    exchange.connect(ben.me, peer(MALLORY));
    (exchange, ben, mallory)
}

fn hello() -> Vec<u8> {
    encode(&Frame::Hello(Hello { stored: Vec::new(), identity_key: Vec::new() }))
}

fn entry(entry: Entry) -> Vec<u8> {
    encode(&Frame::Entry(entry))
}

async fn read(stream: &mut Stream) -> Option<Frame> {
    let reading = frames::read(stream, MAX_FRAME_BYTES, DEADLINE);
    let bytes = timeout(DEADLINE, reading).await.expect("Ben answers, or closes").ok()?;
    decode(&bytes).ok()
}

async fn closed(stream: &mut Stream) {
    while read(stream).await.is_some() {}
}

#[tokio::test]
async fn nonsense_ends_the_stream_and_nothing_else() {
    let (_, ben, mallory) = setting(&[MALLORY]).await;
    let too_long = u32::try_from(MAX_FRAME_BYTES + 1).expect("short").to_be_bytes();
    let no_hello = entry(text(1, "x"));
    for junk in [&[0; 64][..], &[0xff; 64], &too_long, &[0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &no_hello] {
        let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
        let _ = stream.write_all(junk).await;
        closed(&mut stream).await;
    }
    assert!(ben.chat.is_alive().await);
    assert!(ben.chat.conversations().await.expect("the store answers").is_empty());
}

#[tokio::test]
async fn repeated_frames_count_once_and_a_gap_ends_the_stream() {
    let (_, ben, mallory) = setting(&[MALLORY]).await;
    for _ in 0..3 {
        let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
        let one = entry(text(1, "one"));
        let two = entry(text(2, "two"));
        let said =
            [hello(), one.clone(), one.clone(), two.clone(), one, two, entry(text(9, "nine")), entry(text(3, "three"))];
        stream.write_all(&said.concat()).await.expect("Ben reads");
        closed(&mut stream).await;
    }
    let conversation = ConversationId::Peer(peer(MALLORY));
    let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
    stream.write_all(&[hello(), entry(text(1, "other")), entry(text(9, "nine"))].concat()).await.expect("Ben reads");
    closed(&mut stream).await;
    let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
    let rest = [hello(), entry(text(1, "one")), entry(text(2, "two")), entry(text(3, "three"))];
    stream.write_all(&rest.concat()).await.expect("Ben reads");
    let heard = ben.until(conversation, "three", |messages| messages.len() >= 3).await;
    let texts: Vec<_> = heard.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    loop {
        let frame = read(&mut stream).await.expect("the stream stands");
        if frame == Frame::Stored(Place::Direct, 3) {
            break;
        }
    }
}

#[tokio::test]
async fn a_stranger_is_told_so_and_sent_away_and_what_is_too_large_is_named() {
    let (_, ben, mallory) = setting(&[]).await;
    let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
    stream.write_all(&[hello(), entry(text(1, "let me in"))].concat()).await.expect("Ben reads");
    assert!(matches!(read(&mut stream).await, Some(Frame::Hello(_))));
    let refused = Frame::Refused { place: Place::Direct, from: 1, why: Refusal::NotContact };
    assert_eq!(read(&mut stream).await, Some(refused));
    closed(&mut stream).await;
    assert!(ben.chat.conversations().await.expect("the store answers").is_empty());

    let (_, ben, mallory) = setting(&[MALLORY]).await;
    let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
    let huge = "x".repeat(20_000);
    stream.write_all(&[hello(), entry(text(1, &huge))].concat()).await.expect("Ben reads");
    assert!(matches!(read(&mut stream).await, Some(Frame::Hello(_))));
    let refused = Frame::Refused { place: Place::Direct, from: 1, why: Refusal::TooLarge };
    assert_eq!(read(&mut stream).await, Some(refused));
    // The same number with something that fits is welcome.
    stream.write_all(&entry(text(1, "short"))).await.expect("Ben reads");
    ben.until(ConversationId::Peer(peer(MALLORY)), "the short one", |messages| messages.len() == 1).await;
}

#[tokio::test]
async fn marks_that_a_peer_invents_deliver_nothing() {
    let (_, ben, mallory) = setting(&[MALLORY]).await;
    let mut stream = mallory.open_chat(ben.me).await.expect("Ben is there");
    let invented = [hello(), encode(&Frame::Stored(Place::Direct, 99)), encode(&Frame::Read(Place::Direct, u64::MAX))];
    stream.write_all(&invented.concat()).await.expect("Ben reads");
    let said = ben.say("Dora", "hello").await;
    loop {
        if let Frame::Entry(entry) = read(&mut stream).await.expect("the stream stands") {
            assert_eq!((entry.sequence, entry.id), (1, said.id));
            break;
        }
    }
    let now = ben.history(ConversationId::Peer(peer(MALLORY))).await;
    assert!(now[0].state < MessageState::Delivered, "{now:?}");
    stream.write_all(&encode(&Frame::Stored(Place::Direct, 1))).await.expect("Ben reads");
    let delivered = |messages: &[kith_common::chat::Message]| messages[0].state == MessageState::Delivered;
    ben.until(ConversationId::Peer(peer(MALLORY)), "delivered", delivered).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up_and_others_are_served() {
    let (exchange, ben, mallory) = setting(&[MALLORY, 1]).await;
    let mut stuck = mallory.open_chat(ben.me).await.expect("Ben is there");
    // Each repetition is answered; nobody takes the answers.
    let one = [hello(), entry(text(1, "one"))].concat();
    stuck.write_all(&one).await.expect("Ben reads");
    let again = entry(text(1, "one"));
    let flood = async { while stuck.write_all(&again).await.is_ok() {} };
    let ada = Node::new(&exchange, 1, &[2]).await;
    exchange.connect(ada.me, ben.me);
    ada.say("Ben", "hello").await;
    let served = ben.until(ConversationId::Peer(ada.me), "Ada's", |messages| messages.len() == 1);
    tokio::select! {
        // It may end before, once the queue of answers is full.
        () = async { flood.await; std::future::pending().await } => {}
        _ = served => {}
    }
}
