//! Peers that speak nonsense, lie, claim, stall, or ask without end.

use std::sync::Arc;

use kith_common::failure::FailureKind;
use kith_common::file::{FileHash, SourceState, TransferState};
use kith_common::ids::PeerId;
use kith_content::ServedBytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::rig::{DEADLINE, Exchange, FakeNet, MIB, Node, bytes, peer};
use crate::files::ports::Network as _;
use crate::files::rehearsal::{Trick, cheat};
use crate::files::talk::Talk;
use crate::files::wire::{self, Frame, Get, Question, Status};
use crate::net::Stream;

const EVE: u8 = 5;

/// A peer that says it has the content, and does not keep to the rules.
fn impostor(mut incoming: mpsc::Receiver<(PeerId, Stream)>, content: Vec<u8>, trick: Trick) {
    let served = Arc::new(ServedBytes::new(content));
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.recv().await {
            tokio::spawn(cheat(stream, Arc::clone(&served), trick));
        }
    });
}

#[tokio::test]
async fn a_liar_among_honest_sources_is_named_and_nothing_of_it_is_kept() {
    let exchange = Exchange::default();
    let ben = Node::new(&exchange, 2, &[1, 3, EVE]).await;
    let content = bytes(4, 12 * MIB);
    let mut honest = Vec::new();
    for n in [1, 3] {
        let node = Node::new(&exchange, n, &[2]).await;
        node.send_at_most(8 * MIB).await;
        node.share(&node.write("movie", &content)).await;
        exchange.connect(node.me, ben.me);
        honest.push(node);
    }
    let (eve, incoming) = exchange.join(peer(EVE));
    impostor(incoming, content.clone(), Trick::Lie { from: 2 * MIB as u64 });
    exchange.connect(eve.me, ben.me);
    let hash = kith_content::hash_bytes(&content).to_string();
    let (done, saved) = ben.fetched(&hash).await;
    assert!(saved == content);
    let source = done.sources.iter().find(|source| source.peer == eve.me).expect("she is named");
    assert_eq!((source.state, source.name.as_str()), (SourceState::Lied, "Eve"), "{:#?}", done.sources);
    assert!(!source.reason.is_empty());
    // Nor is she asked for it again today.
    std::fs::remove_file(&done.saved_path).expect("it is there");
    for node in honest {
        node.off().await;
    }
    let again = ben.get(&hash).await;
    let waiting = ben.until_transfer(again.id, "it waits", |one| one.state == TransferState::Waiting).await;
    assert_eq!(waiting.error_kind, Some(FailureKind::VerificationFailed), "{waiting:#?}");
    assert_eq!(waiting.done_bytes, 0);
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_given_up_whatever_the_rule() {
    let content = bytes(4, 3 * MIB);
    let hash = kith_content::hash_bytes(&content).to_string();
    for trick in [
        Trick::Lie { from: 0 },
        Trick::Lie { from: MIB as u64 },
        Trick::Size(1),
        Trick::Size(-1),
        Trick::Size(1 << 40),
        Trick::Size(-(3 * MIB as i64)),
        Trick::More,
        Trick::Less,
        Trick::Garbage,
        Trick::Unasked,
    ] {
        let exchange = Exchange::default();
        let ben = Node::new(&exchange, 2, &[EVE]).await;
        let (eve, incoming) = exchange.join(peer(EVE));
        impostor(incoming, content.clone(), trick);
        exchange.connect(eve.me, ben.me);
        let begun = ben.get(&hash).await;
        let waiting = ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
        assert_eq!(waiting.error_kind, Some(FailureKind::VerificationFailed), "{waiting:#?}");
        assert_eq!(waiting.sources[0].state, SourceState::Lied, "{waiting:#?}");
        assert!(waiting.done_bytes < content.len() as u64 && waiting.saved_path.is_empty());
        // Somebody honest makes it whole.
        let ada = Node::new(&exchange, 1, &[2]).await;
        ada.share(&ada.write("x", &content)).await;
        exchange.connect(ada.me, ben.me);
        let done = ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
        assert!(std::fs::read(&done.saved_path).expect("it is there") == content);
        assert!(done.saved_path.starts_with(&ben.path("downloads").display().to_string()), "{}", done.saved_path);
    }
}

#[tokio::test]
async fn a_silent_source_does_not_keep_the_others_from_finishing() {
    let exchange = Exchange::default();
    let ben = Node::new(&exchange, 2, &[1, EVE]).await;
    let content = bytes(4, 6 * MIB);
    let (eve, incoming) = exchange.join(peer(EVE));
    impostor(incoming, content.clone(), Trick::Silence);
    let ada = Node::new(&exchange, 1, &[2]).await;
    ada.share(&ada.write("x", &content)).await;
    exchange.connect(ada.me, ben.me);
    let hash = kith_content::hash_bytes(&content).to_string();
    exchange.connect(eve.me, ben.me);
    assert!(ben.fetched(&hash).await.1 == content);
}

async fn open(eve: &FakeNet, to: &Node) -> Stream {
    eve.open_files(to.me).await.expect("it is there").stream
}

#[tokio::test]
async fn nonsense_ends_the_stream_and_nothing_else() {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[]).await;
    let share = ada.share(&ada.write("x", &bytes(1, MIB))).await;
    let (eve, _incoming) = exchange.join(peer(EVE));
    exchange.connect(eve.me, ada.me);
    let too_long = u32::try_from(wire::MAX_FRAME_BYTES + 1).expect("short").to_be_bytes();
    let out_of_order = wire::encode(&Frame::HaveReply(Vec::new()));
    let beyond = Get { id: 0, hash: share.hash, copy: false, size_bytes: u64::MAX >> 8, start: 0, length: 1 };
    let beyond = wire::encode(&Frame::Get(beyond));
    for junk in [&[0; 64][..], &[0xff; 64], &too_long, &[0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &out_of_order, &beyond] {
        let mut stream = open(&eve, &ada).await;
        let _ = stream.write_all(junk).await;
        let _ = stream.flush().await;
        let mut rest = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("Ada closes").ok();
    }
    assert!(ada.files.is_alive().await);
    let ben = Node::new(&exchange, 2, &[]).await;
    ben.fetched(&share.ticket).await;
}

#[tokio::test]
async fn ranges_of_what_is_not_there_are_refused_one_by_one() {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[]).await;
    let share = ada.share(&ada.write("x", &bytes(1, 100_000))).await;
    let (eve, _incoming) = exchange.join(peer(EVE));
    exchange.connect(eve.me, ada.me);
    let mut talk = Talk::open(&eve, ada.me).await.expect("she is there");
    let get = |hash, copy, size_bytes, start, length| Get { id: 0, hash, copy, size_bytes, start, length };
    let unknown = FileHash::from_bytes([9; 32]);
    for (get, wanted) in [
        (get(unknown, false, 100_000, 0, 1), Status::NotFound),
        (get(share.hash, true, 100_000, 0, 1), Status::NotFound),
        (get(share.hash, false, 99_999, 0, 1), Status::Missing),
        (get(share.hash, false, 1 << 40, 1 << 39, MIB as u64), Status::Missing),
    ] {
        match talk.get(get).await.expect("an answer") {
            crate::files::talk::Got::Not(status) => assert_eq!(status, wanted, "{get:?}"),
            crate::files::talk::Got::Bytes(_) => panic!("{get:?} has bytes"),
        }
    }
    assert!(matches!(
        talk.get(get(share.hash, false, 100_000, 0, 100_000)).await,
        Ok(crate::files::talk::Got::Bytes(_))
    ));
}

#[tokio::test]
async fn a_peer_that_asks_without_end_and_reads_nothing_does_not_keep_others_waiting() {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[]).await;
    let content = bytes(1, 8 * MIB);
    let share = ada.share(&ada.write("x", &content)).await;
    let (eve, _incoming) = exchange.join(peer(EVE));
    exchange.connect(eve.me, ada.me);
    let mut floods = Vec::new();
    for _ in 0..8 {
        let mut stream = open(&eve, &ada).await;
        let question = Question { hash: Some(FileHash::from_bytes([3; 32])), copy: None };
        let have = wire::encode(&Frame::Have(vec![question; 32]));
        let get = Get {
            id: 0,
            hash: share.hash,
            copy: false,
            size_bytes: share.size_bytes,
            start: 0,
            length: 4 * MIB as u64,
        };
        let get = wire::encode(&Frame::Get(get));
        floods.push(tokio::spawn(async move {
            loop {
                if stream.write_all(&[have.clone(), get.clone()].concat()).await.is_err() {
                    return;
                }
            }
        }));
    }
    let ben = Node::new(&exchange, 2, &[]).await;
    assert!(ben.fetched(&share.ticket).await.1 == content);
    for flood in floods {
        flood.abort();
    }
}
