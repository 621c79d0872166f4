//! Shares that come and go with their disks, and are looked for.

use kith_common::file::{ShareState, TransferState};

use super::rig::{Exchange, MIB, Node, bytes, two};

async fn state(node: &Node, search: &str) -> ShareState {
    node.files.shares(search, 0, 1).await.expect("one")[0].state
}

#[tokio::test]
async fn what_is_missing_is_not_there_and_is_shared_again_when_it_is_back() {
    let (exchange, ada, ben) = two().await;
    for n in 0..3 {
        ada.write(&format!("disk/folder/{n}"), &bytes(n, 30_000));
    }
    ada.write("disk/file", &bytes(7, MIB));
    let (file, folder) = (ada.share(&ada.path("disk/file")).await, ada.share(&ada.path("disk/folder")).await);
    let unplugged = ada.path("unplugged");
    std::fs::rename(ada.path("disk"), &unplugged).expect("writable");
    exchange.connect(ada.me, ben.me);
    for share in [&file, &folder] {
        let begun = ben.get(&share.ticket).await;
        let waiting = ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
        assert!(!waiting.error.contains("changed"), "{waiting:#?}");
        ben.files.cancel(begun.id).await.expect("it is there");
    }
    std::fs::rename(&unplugged, ada.path("disk")).expect("writable");
    // Nobody has to do anything about it but to ask.
    for share in [&file, &folder] {
        let begun = ben.get(&share.ticket).await;
        ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
        assert_eq!(state(&ada, &share.hash.to_string()).await, ShareState::Available);
    }
}

#[tokio::test]
async fn whoever_looks_at_a_folder_that_is_back_sees_that_it_is() {
    let (exchange, ada, ben) = two().await;
    ada.write("disk/folder/a", &bytes(1, 30_000));
    let folder = ada.share(&ada.path("disk/folder")).await;
    let unplugged = ada.path("unplugged");
    std::fs::rename(ada.path("disk"), &unplugged).expect("writable");
    exchange.connect(ada.me, ben.me);
    let begun = ben.get(&folder.ticket).await;
    ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
    ben.files.cancel(begun.id).await.expect("it is there");
    let looking = async {
        while state(&ada, "folder").await != ShareState::Missing {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::rig::DEADLINE, looking).await.expect("it is noticed");
    std::fs::rename(&unplugged, ada.path("disk")).expect("writable");
    assert_eq!(state(&ada, "folder").await, ShareState::Available);
}

#[tokio::test]
async fn shares_are_found_by_words_of_their_names_and_by_whom_they_are_for() {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[2, 3]).await;
    let report = ada.share_to(&ada.write("work/Annual report 2024.pdf", b"a"), &["Ben"]).await;
    let letter = ada.share_to(&ada.write("work/letter 2024.pdf", b"b"), &["Ben", "Cem"]).await;
    let photo = ada.share(&ada.write("photos/photo.jpg", b"c")).await;
    for (search, wanted) in [
        ("", vec![photo.hash, letter.hash, report.hash]),
        ("2024 work", vec![letter.hash, report.hash]),
        ("report annual", vec![report.hash]),
        ("  ben  ", vec![letter.hash, report.hash]),
        ("cem 2024", vec![letter.hash]),
        ("cem report", vec![]),
        (photo.hash.to_string().as_str(), vec![photo.hash]),
    ] {
        let found = ada.files.shares(search, 0, 10).await.expect("it searches");
        assert_eq!(found.iter().map(|share| share.hash).collect::<Vec<_>>(), wanted, "{search}");
    }
}
