//! Sealed copies that get lost, and shares that change while one is made.

use std::path::{Path, PathBuf};

use kith_common::file::{CopyState, FileHash, FileTicket, Share};
use tokio::time::timeout;

use super::rig::{DEADLINE, MIB, Node, bytes, peer, three};
use crate::files::talk::{Got, Talk};
use crate::files::wire::{Get, Status};

/// By which a copy of the share is asked for.
fn copy_id(share: &Share) -> FileHash {
    let ticket: FileTicket = share.ticket.parse().expect("a ticket");
    kith_content::lookup_id(&ticket.key, ticket.hash)
}

fn kept_at(node: &Node, share: &Share) -> PathBuf {
    node.path("data/files/kept").join(copy_id(share).to_string())
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let waiting = async {
        while !wanted() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "never: {what}");
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

#[tokio::test]
async fn the_owner_of_a_copy_hears_that_it_was_dropped_when_its_keeper_is_back() {
    let (exchange, ada, ben, _) = three().await;
    let [kept, dropped] = [1, 2].map(|n| ada.write(&format!("file{n}"), &bytes(n, 1000)));
    let (kept, dropped) = (ada.share(&kept).await, ada.share(&dropped).await);
    ada.have_kept(&kept, "Ben").await;
    let first = ben.files.kept().await.expect("one")[0].hash;
    ada.have_kept(&dropped, "Ben").await;
    exchange.cut(ada.me, ben.me);
    let second = ben.files.kept().await.expect("two").into_iter().find(|kept| kept.hash != first).expect("the other");
    ben.files.drop_kept(second.hash).await.expect("it is there");
    exchange.connect(ada.me, ben.me);
    let refused = ada.until_copy(&dropped, CopyState::Refused).await;
    assert_eq!(refused.copies[0].reason, "It was dropped there.");
    ada.until_copy(&kept, CopyState::Kept).await;
    // And it can be asked again.
    ada.have_kept(&dropped, "Ben").await;
}

#[tokio::test]
async fn a_copy_whose_bytes_are_lost_is_fetched_again() {
    let (exchange, ada, ben, _) = three().await;
    let share = ada.share(&ada.write("large", &bytes(1, MIB))).await;
    ada.have_kept(&share, "Ben").await;
    let place = kept_at(&ben, &share);
    let size = length(&place).expect("it is there");
    let (eve, _incoming) = exchange.join(peer(5));
    exchange.connect(eve.me, ben.me);
    let get = Get { id: 0, hash: copy_id(&share), copy: true, size_bytes: size, start: 0, length: 16 * 1024 };
    let damages: [fn(&Path) -> std::io::Result<()>; 2] =
        [|place| std::fs::remove_file(place), |place| std::fs::write(place, b"cut off")];
    for damage in damages {
        damage(&place).expect("writable");
        let mut talk = Talk::open(&eve, ben.me).await.expect("he is there");
        match talk.get(get).await.expect("an answer") {
            Got::Not(status) => assert_eq!(status, Status::Missing),
            Got::Bytes(_) => panic!("there are none"),
        }
        until("it is there again", || length(&place) == Some(size)).await;
        ben.until("it is whole", |state| (state.kept_bytes == size).then_some(())).await;
        let again = async {
            while matches!(talk.get(get).await.expect("an answer"), Got::Not(_)) {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, again).await.expect("it is served again");
    }
}

#[tokio::test]
async fn what_an_earlier_daemon_has_left_in_the_place_of_a_copy_does_not_stay_in_its_way() {
    let (exchange, ada, ben, _) = three().await;
    let share = ada.share(&ada.write("large", &bytes(1, MIB))).await;
    let (place, other) = (kept_at(&ben, &share), ben.path(&format!("data/files/kept/{}", "7".repeat(64))));
    for left in [&place, &other] {
        std::fs::write(left, b"left").expect("writable");
    }
    ada.ask_to_keep(&share, "Ben").await;
    let refused = ada.until_copy(&share, CopyState::Refused).await;
    assert_eq!(refused.copies[0].reason, "Its place was taken.");
    // Asked again, it is fetched, and kept under its own name.
    ada.have_kept(&share, "Ben").await;
    assert!(length(&place).is_some_and(|bytes| bytes > MIB as u64) && other.exists());
    let ben = ben.restart().await;
    exchange.connect(ada.me, ben.me);
    assert!(place.exists() && !other.exists(), "what is of no copy goes at the start");
}

#[tokio::test]
async fn a_share_that_is_withdrawn_while_it_is_sealed_is_kept_by_nobody() {
    let (_, ada, ben, _) = three().await;
    let share = ada.share(&ada.write("large", &bytes(1, MIB))).await;
    let (free, held) = tokio::sync::oneshot::channel::<()>();
    let (hash, desk) = (share.hash, ada.files.desk.clone());
    let (began, begun) = tokio::sync::oneshot::channel();
    let sealing = tokio::spawn(async move {
        let work = async {
            began.send(()).expect("somebody waits");
            held.await
        };
        desk.sealing(hash, work).await
    });
    begun.await.expect("it begins");
    ada.ask_to_keep(&share, "Ben").await;
    ada.files.remove(share.hash).await.expect("it is shared");
    free.send(()).expect("it waits");
    sealing.await.expect("it ends").expect("it was freed");
    let other = ada.share(&ada.write("other", b"x")).await;
    ada.have_kept(&other, "Ben").await;
    let kept = ben.files.kept().await.expect("one");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept_at(&ben, &other).exists() && !kept_at(&ben, &share).exists());
}

#[tokio::test]
async fn a_share_that_is_missing_is_kept_by_nobody_until_it_is_back_and_its_owner_reads_why() {
    let (_, ada, ben, _) = three().await;
    ada.write("disk/folder/a", &bytes(1, 30_000));
    let file = ada.share(&ada.write("disk/file", &bytes(2, 30_000))).await;
    let folder = ada.share(&ada.path("disk/folder")).await;
    let unplugged = ada.path("unplugged");
    std::fs::rename(ada.path("disk"), &unplugged).expect("writable");
    for (share, what) in [(&file, "The file is not there any more"), (&folder, "the folder is not there any more")] {
        ada.ask_to_keep(share, "Ben").await;
        let refused = ada.until_copy(share, CopyState::Refused).await;
        let reason = &refused.copies[0].reason;
        assert!(reason.contains(what) && reason.contains("put it back"), "{reason}");
    }
    assert!(ben.files.kept().await.expect("none").is_empty());
    std::fs::rename(&unplugged, ada.path("disk")).expect("writable");
    for share in [&file, &folder] {
        ada.have_kept(share, "Ben").await;
    }
}
