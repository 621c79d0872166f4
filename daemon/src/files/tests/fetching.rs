//! How transfers begin, go on after what can happen to a machine, and make room for each other.

use std::os::unix::fs::FileExt as _;

use kith_common::contact::Trust;
use kith_common::failure::FailureKind;
use kith_common::file::{CopyKey, FileHash, FileKind, FileTicket, GetOptions, TransferState};
use kith_common::ids::PeerId;

use super::rig::{Begun, Exchange, MIB, Node, bytes, peer, two};
use crate::files::talk::Talk;
use crate::files::task::offers::MAX_UNASKED_OF_PEER;
use crate::files::transfers::turns::MAX_RUNNING;
use crate::files::wire::Verdict;

/// What is on the disk of a content that is being fetched.
fn partial(folder: &std::path::Path, hash: kith_common::file::FileHash, name: &str) -> std::fs::File {
    let path = folder.join(".kith-partial").join(hash.to_string()).join(name);
    std::fs::File::options().read(true).write(true).open(path).expect("something was fetched")
}

#[tokio::test]
async fn after_a_power_cut_all_is_looked_at_even_when_that_was_interrupted() {
    let (_, ada, ben) = two().await;
    let begun = Begun::new(&ada, &ben, 8 * MIB, 4 * MIB, 2 * MIB).await;
    let id = begun.transfer.id;
    let mut held = None;
    let ben = ben
        .power_cut(|home| {
            let downloads = home.join("downloads");
            // The first unit is on record, and its bytes are not there.
            partial(&downloads, begun.share.hash, "data").write_all_at(&[0; 1000], 5000).expect("writable");
            let bits = partial(&downloads, begun.share.hash, "bits");
            bits.lock().expect("nobody has it open");
            held = Some(bits);
        })
        .await;
    // The check does not get far, and the next start must not take it for done.
    let stuck = ben.until_transfer(id, "it is stuck", |one| one.state == TransferState::Paused).await;
    assert_eq!(stuck.error_kind, Some(FailureKind::Busy), "{stuck:#?}");
    drop(held);
    ada.send_at_most(0).await;
    ben.files.resume(id).await.expect("it is there");
    begun.until_done(&ben).await;
}

#[tokio::test]
async fn what_a_ticket_promises_is_kept_or_nothing_is_fetched() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    let file = ada.share(&ada.write("large.bin", &bytes(1, 3 * MIB))).await;
    ada.write("things/a", &bytes(2, 1000));
    ada.write("things/b", &bytes(3, MIB));
    let folder = ada.share(&ada.path("things")).await;
    ben.trust(&[1], Trust::Always);
    for (share, kind, size_bytes, is) in [
        (&file, FileKind::File, 100, "a file of 3145728 bytes"),
        (&folder, FileKind::Folder, 100, "a folder of 1049576 bytes"),
        (&folder, FileKind::File, 100, "a folder of 1049576 bytes"),
    ] {
        let ticket: FileTicket = share.ticket.parse().expect("a ticket");
        let ticket = FileTicket { kind, size_bytes, name: "small.png".into(), ..ticket };
        let begun = ben.get(&ticket.to_string()).await;
        let failed = ben.until_transfer(begun.id, "it has failed", |one| one.state == TransferState::Failed).await;
        assert_eq!((failed.error_kind, failed.done_bytes), (Some(FailureKind::VerificationFailed), 0), "{failed:#?}");
        assert!(failed.error.contains("of 100 bytes") && failed.error.contains(is), "{}", failed.error);
        assert!(failed.advice.contains("files get"), "{}", failed.advice);
        // Nobody is called a liar for it: the right ticket takes its place.
        let again = ben.get(&share.ticket).await;
        assert_eq!(again.id, begun.id);
        ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
        ben.files.cancel(begun.id).await.expect("it is there");
    }
}

fn ticket(of: PeerId, n: u8) -> FileTicket {
    FileTicket {
        hash: FileHash::from_bytes([n; 32]),
        kind: FileKind::File,
        size_bytes: 10,
        key: CopyKey([n; 32]),
        peer: of,
        name: format!("{n}.png"),
        addresses: Vec::new(),
    }
}

#[tokio::test]
async fn a_trusted_contact_begins_so_many_transfers_and_what_comes_beyond_is_an_offer() {
    let exchange = Exchange::default();
    let ben = Node::new(&exchange, 2, &[5]).await;
    ben.trust(&[5], Trust::Always);
    let (eve, _incoming) = exchange.join(peer(5));
    exchange.connect(eve.me, ben.me);
    let mut talk = Talk::open(&eve, ben.me).await.expect("he is there");
    let many = u8::try_from(MAX_UNASKED_OF_PEER).expect("few");
    for n in 0..many {
        let verdict = talk.offer(ticket(eve.me, n).to_string(), 1).await.expect("an answer");
        assert_eq!(verdict, Verdict::Agreed { held_bytes: 0 }, "{n}");
    }
    let beyond = ticket(eve.me, many).to_string();
    assert_eq!(talk.offer(beyond.clone(), 1).await.expect("an answer"), Verdict::Noted { held_bytes: 0 });
    let id = ben.until("the offer", |state| state.offers.first().map(|offer| offer.id)).await;
    // What its user asks for is not counted, and what is off the list makes room.
    ben.files.accept_offer(id, GetOptions::default()).await.expect("it is there");
    let first = ben.files.state().borrow().transfers.first().map(|one| one.id).expect("many");
    ben.files.cancel(first).await.expect("it is there");
    let verdict = talk.offer(ticket(eve.me, many + 1).to_string(), 1).await.expect("an answer");
    assert_eq!(verdict, Verdict::Agreed { held_bytes: 0 });
}

#[tokio::test]
async fn what_was_cancelled_can_be_fetched_again_at_once_and_its_number_is_used_for_nothing_else() {
    let (_, ada, mut ben) = two().await;
    let content = bytes(1, 6 * MIB);
    let share = ada.share(&ada.write("x", &content)).await;
    ada.send_at_most(2 * MIB).await;
    let mut before = 0;
    for _ in 0..3 {
        let begun = ben.get(&share.ticket).await;
        assert!(begun.id > before);
        before = begun.id;
        let going =
            ben.until_transfer(begun.id, "a part of it", |one| one.done_bytes > 0 || !one.state.is_live()).await;
        assert_eq!(going.state, TransferState::Fetching, "{going:#?}");
        ben.files.cancel(begun.id).await.expect("it is there");
        // With none left there is nothing to count on from.
        ben = ben.restart().await;
    }
    ada.send_at_most(0).await;
    assert!(ben.fetched(&share.ticket).await.1 == content);
}

#[tokio::test]
async fn another_folder_or_name_is_taken_before_the_first_byte_and_refused_after_it() {
    let (_, ada, ben) = two().await;
    let content = bytes(1, 6 * MIB);
    let share = ada.share(&ada.write("x", &content)).await;
    let to = |folder: &str| GetOptions { folder: Some(ben.path(folder)), ..GetOptions::default() };
    ada.send_at_most(2 * MIB).await;
    // Nothing of it is there, and nothing runs.
    ben.change_settings(|settings| settings.at_once = 1).await;
    let other = ada.share(&ada.write("other", &bytes(2, 6 * MIB))).await;
    let first = ben.get(&other.ticket).await;
    ben.until_transfer(first.id, "it goes on", |one| one.done_bytes > 0).await;
    let begun = ben.get(&share.ticket).await;
    assert_eq!(begun.state, TransferState::Queued);
    let moved = ben.files.get(&share.ticket, GetOptions { name: "y".into(), ..to("two") }).await.expect("it is moved");
    assert_eq!((moved.id, moved.name.as_str()), (begun.id, "y"));
    assert_eq!(moved.folder, ben.path("two").display().to_string());
    ben.files.cancel(first.id).await.expect("it is there");
    ben.until_transfer(begun.id, "a part of it", |one| one.done_bytes > 0).await;
    for options in [to("three"), GetOptions { name: "z".into(), ..GetOptions::default() }] {
        let failure = ben.files.get(&share.ticket, options).await.expect_err("it is elsewhere");
        assert_eq!(failure.kind, FailureKind::Busy, "{failure:?}");
        assert!(failure.message.contains(&moved.folder) && failure.message.starts_with('y'), "{failure:?}");
        assert!(failure.advice.contains(&format!("files cancel {}", begun.id)), "{failure:?}");
    }
    // Whoever does not say where has nothing against it.
    assert_eq!(ben.get(&share.ticket).await.id, begun.id);
    ben.files.get(&share.ticket, to("two")).await.expect("it is there");
    ada.send_at_most(0).await;
    let done = ben.until_done(begun.id).await;
    assert_eq!(done.saved_path, ben.path("two/y").display().to_string());
    assert!(std::fs::read(&done.saved_path).expect("it is there") == content);
}

#[tokio::test]
async fn those_that_wait_make_room_for_one_that_can_go_on() {
    let (_, ada, ben) = two().await;
    for n in 0..MAX_RUNNING {
        let n = u8::try_from(n).expect("few");
        ben.get(&FileHash::from_bytes([n; 32]).to_string()).await;
    }
    let all_wait = |state: &kith_common::file::FilesState| {
        let waiting = state.transfers.iter().filter(|one| one.state == TransferState::Waiting);
        (waiting.count() == MAX_RUNNING).then_some(())
    };
    ben.until("all wait", all_wait).await;
    for n in 0..2 {
        let content = bytes(n, MIB);
        let share = ada.share(&ada.write(&format!("{n}"), &content)).await;
        let begun = ben.get(&share.ticket).await;
        let done = ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
        assert!(std::fs::read(&done.saved_path).expect("it is there") == content);
    }
    // And those that rested meanwhile go on as there is room.
    ben.until("all wait again", all_wait).await;
}
