//! Keepers of sealed copies that lie, among such that do not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use kith_common::contact::Trust;
use kith_common::file::{FileHash, FileTicket, Source, SourceState, Transfer, TransferState};
use kith_common::ids::PeerId;
use kith_content::{Provide as _, ServedBytes, copy_key, lookup_id, seal_bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};

use super::rig::{Exchange, MIB, Node, bytes, for_contacts, peer, three};
use crate::files::pipe;
use crate::files::wire::{self, Answer, Data, Frame, Status};
use crate::net::Stream;

const EVE: u8 = 5;

/// What a false keeper says that it keeps, by the id.
type Copies = Arc<BTreeMap<FileHash, ServedBytes>>;

/// Serves that; nothing of `late` before it is told to.
fn keeper(mut incoming: mpsc::Receiver<(PeerId, Stream)>, copies: Copies, late: FileHash, open: watch::Receiver<bool>) {
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.recv().await {
            tokio::spawn(serve(stream, Arc::clone(&copies), late, open.clone()));
        }
    });
}

async fn serve(mut stream: Stream, copies: Copies, late: FileHash, mut open: watch::Receiver<bool>) {
    while let Ok(frame) = pipe::read(&mut stream).await {
        let answer = match frame {
            Frame::Have(questions) => {
                let copy = |id: Option<FileHash>| copies.get(&id?).map(|copy| (copy.hash(), copy.size()));
                let answer = |copy| Answer { copy, ..Answer::none(Status::NotFound) };
                wire::encode(&Frame::HaveReply(questions.iter().map(|one| answer(copy(one.copy))).collect()))
            }
            Frame::Get(get) => {
                if get.hash == late && open.wait_for(|open| *open).await.is_err() {
                    return;
                }
                let mut body = Vec::new();
                copies[&get.hash].encode(get.range(), &mut body).expect("a range that there is");
                let encoded_bytes = u32::try_from(body.len()).expect("short");
                let data = Data { id: get.id, status: Status::Ok, encoded_bytes, calling: false };
                [wire::encode(&Frame::Data(data)), body].concat()
            }
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn source(transfer: &Transfer, of: PeerId) -> Option<&Source> {
    transfer.sources.iter().find(|source| source.peer == of)
}

/// Ben, who keeps the album of Ada, and is as little to be reached as she is; and Cem who wants it.
async fn album() -> (Exchange, Node, Node, FileTicket, Copies) {
    let (exchange, ada, ben, cem) = three().await;
    cem.trust(&[1, 2, EVE], Trust::Ask);
    ada.write("album/large.jpg", &bytes(2, MIB));
    ada.write("album/small.jpg", &bytes(3, 40_000));
    let share = ada.share_with(&ada.path("album"), for_contacts()).await;
    ada.have_kept(&share, "Ben").await;
    // What the ticket gives away is enough to make the copies, and false ones.
    let ticket: FileTicket = share.ticket.parse().expect("a ticket");
    let outboards = ada.path("outboards");
    std::fs::create_dir_all(&outboards).expect("writable");
    let added = kith_content::add_folder(&ada.path("album"), &outboards, &mut |_| ControlFlow::Continue(()));
    let list = added.expect("it can be read").manifest.encode();
    let seal = |hash: FileHash, content: &[u8]| {
        let sealed = seal_bytes(&copy_key(&ticket.key, hash), content);
        (lookup_id(&ticket.key, hash), ServedBytes::new(sealed))
    };
    let of = |content: Vec<u8>| seal(kith_content::hash_bytes(&content), &content);
    let copies = Arc::new(BTreeMap::from([seal(share.hash, &list), of(bytes(2, MIB)), of(bytes(3, 40_000))]));
    ada.off().await;
    exchange.leave(ben.me);
    (exchange, ben, cem, ticket, copies)
}

fn id_of(ticket: &FileTicket, content: &[u8]) -> FileHash {
    lookup_id(&ticket.key, kith_content::hash_bytes(content))
}

/// With other bytes in the place of one copy.
fn falsified(copies: &Copies, id: FileHash) -> Copies {
    let lie = |(of, copy): (&FileHash, &ServedBytes)| {
        let mut whole = Vec::new();
        copy.read(0..copy.size(), &mut whole).expect("all of it");
        if *of == id {
            whole.reverse();
        }
        (*of, ServedBytes::new(whole))
    };
    Arc::new(copies.iter().map(lie).collect())
}

#[tokio::test]
async fn a_lying_keeper_that_is_found_first_has_no_honest_one_banned() {
    let (exchange, ben, cem, ticket, copies) = album().await;
    let (eve, incoming) = exchange.join(peer(EVE));
    let late = id_of(&ticket, &bytes(3, 40_000));
    let open = watch::Sender::new(false);
    keeper(incoming, falsified(&copies, late), late, open.subscribe());
    exchange.connect(eve.me, cem.me);
    let begun = cem.get(&ticket.to_string()).await;
    cem.until_transfer(begun.id, "Eve sends", |one| source(one, eve.me).is_some_and(|eve| eve.received_bytes > 0))
        .await;
    let ben = ben.restart().await;
    exchange.connect(ben.me, cem.me);
    let judged = |one: &Transfer| source(one, ben.me).is_some_and(|ben| ben.state != SourceState::Active);
    let met = cem.until_transfer(begun.id, "Ben is met", judged).await;
    assert_ne!(source(&met, ben.me).map(|ben| ben.state), Some(SourceState::Lied), "{met:#?}");
    open.send_replace(true);
    let done = cem.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
    let saved = std::path::PathBuf::from(&done.saved_path);
    assert!(std::fs::read(saved.join("large.jpg")).expect("it is there") == bytes(2, MIB));
    assert!(std::fs::read(saved.join("small.jpg")).expect("it is there") == bytes(3, 40_000));
    assert_eq!(source(&done, eve.me).map(|eve| eve.state), Some(SourceState::Lied), "{done:#?}");
    assert!(source(&done, ben.me).is_some_and(|ben| ben.received_bytes > 0), "{done:#?}");
}

#[tokio::test]
async fn a_copy_that_does_not_open_where_it_begins_is_not_fetched() {
    let (exchange, ben, cem, ticket, copies) = album().await;
    let (eve, incoming) = exchange.join(peer(EVE));
    let false_one = id_of(&ticket, &bytes(2, MIB));
    let open = watch::Sender::new(true);
    keeper(incoming, falsified(&copies, false_one), false_one, open.subscribe());
    exchange.connect(eve.me, cem.me);
    let begun = cem.get(&ticket.to_string()).await;
    let lied = |one: &Transfer| source(one, eve.me).is_some_and(|eve| eve.state == SourceState::Lied);
    let lied = cem.until_transfer(begun.id, "she is found out", lied).await;
    assert_eq!((lied.done_bytes, lied.fetched_twice_bytes), (0, 0), "{lied:#?}");
    let ben = ben.restart().await;
    exchange.connect(ben.me, cem.me);
    cem.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
}

#[tokio::test]
async fn what_was_begun_in_another_form_leaves_nothing_behind() {
    let (exchange, ada, ben, cem) = three().await;
    let content = bytes(1, 6 * MIB);
    let share = ada.share_with(&ada.write("x", &content), for_contacts()).await;
    ada.have_kept(&share, "Ben").await;
    ada.send_at_most(2 * MIB).await;
    exchange.leave(ben.me);
    let begun = cem.get(&share.ticket).await;
    cem.until_transfer(begun.id, "a part of it", |one| one.done_bytes >= MIB as u64).await;
    let ben = ben.restart().await;
    exchange.connect(ben.me, cem.me);
    ada.off().await;
    let done = cem.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
    assert!(std::fs::read(&done.saved_path).expect("it is there") == content);
    assert!(source(&done, ben.me).is_some_and(|ben| ben.received_bytes > 0 && ben.sealed), "{done:#?}");
    let left = cem.path("downloads/.kith-partial");
    let _home = Arc::clone(&cem.home);
    cem.off().await;
    assert!(!left.exists(), "{:?}", std::fs::read_dir(&left).map(|all| all.flatten().collect::<Vec<_>>()));
}
