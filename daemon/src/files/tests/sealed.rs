//! Sealed copies at contacts: fetched from them, refused by them, dropped by either side.

use kith_common::contact::Trust;
use kith_common::failure::FailureKind;
use kith_common::file::{CopyState, Share, SourceState, TransferState};

use super::rig::{Exchange, Node, bytes};
use super::{MIB, for_contacts};

/// Ada, Ben who keeps, and Cem who fetches.
pub(super) async fn three() -> (Exchange, Node, Node, Node) {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[2, 3]).await;
    let ben = Node::new(&exchange, 2, &[1]).await;
    let cem = Node::new(&exchange, 3, &[1, 2]).await;
    ben.trust_with(&[1], Trust::Ask, Trust::Always);
    exchange.connect(ada.me, ben.me);
    (exchange, ada, ben, cem)
}

pub(super) async fn until_copy(ada: &Node, share: &Share, wanted: CopyState) -> Share {
    let mut state = ada.files.state();
    loop {
        let now = ada.files.shares(&share.hash.to_string(), 0, 1).await.expect("the store answers");
        let found = now.first().expect("it is shared");
        if found.copies.iter().any(|copy| copy.state == wanted) {
            return found.clone();
        }
        let changed = tokio::time::timeout(super::rig::DEADLINE, state.changed()).await;
        changed.unwrap_or_else(|_| panic!("never {wanted:?}: {found:#?}")).expect("the task goes on");
    }
}

#[tokio::test]
async fn while_the_owner_is_off_a_contact_gives_a_sealed_copy_that_it_cannot_read() {
    let (exchange, ada, ben, cem) = three().await;
    let content = bytes(1, 3 * MIB + 9);
    let file = ada.share_with(&ada.write("letter.pdf", &content), for_contacts()).await;
    ada.write("album/one.jpg", &bytes(2, MIB));
    ada.write("album/more/two.jpg", &bytes(3, 40_000));
    ada.write("album/empty", b"");
    let folder = ada.share_with(&ada.path("album"), for_contacts()).await;
    for share in [&file, &folder] {
        ada.files.keep(share.hash, &["Ben".into()]).await.expect("a contact");
        let kept = until_copy(&ada, share, CopyState::Kept).await;
        assert_eq!((kept.copies[0].name.as_str(), kept.copies[0].held_bytes), ("Ben", share.size_bytes));
    }
    let kept = ben.files.kept().await.expect("two");
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|kept| kept.name == "Ada" && kept.held_bytes == kept.size_bytes), "{kept:?}");
    // What is on Ben's disk has nothing of it.
    let stored = walk(&ben.path("data/files/kept"));
    assert!(!stored.is_empty());
    for path in stored {
        let sealed = std::fs::read(&path).expect("readable");
        for part in [&content[100..164], &bytes(2, MIB)[..64]] {
            assert!(!sealed.windows(64).any(|window| window == part), "{}", path.display());
        }
    }
    ada.off().await;

    let (done, saved) = cem.fetched(&file.ticket).await;
    assert!(saved == content);
    assert_eq!((done.name.as_str(), done.size_bytes), ("letter.pdf", content.len() as u64));
    let from = done.sources.iter().find(|source| source.received_bytes > 0).expect("somebody");
    assert!(from.peer == ben.me && from.sealed, "{:#?}", done.sources);
    let begun = cem.get(&folder.ticket).await;
    let done = cem.until_done(begun.id).await;
    let saved = std::path::PathBuf::from(done.saved_path);
    assert!(std::fs::read(saved.join("one.jpg")).expect("it is there") == bytes(2, MIB));
    assert!(std::fs::read(saved.join("more/two.jpg")).expect("it is there") == bytes(3, 40_000));
    assert!(std::fs::read(saved.join("empty")).expect("it is there").is_empty());

    // Without the ticket there is no key, and no id to ask by.
    let dora = Node::new(&exchange, 4, &[2]).await;
    let begun = dora.get(&file.hash.to_string()).await;
    dora.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[tokio::test]
async fn a_contact_keeps_what_it_allows_and_either_side_can_end_it() {
    let (_, ada, ben, _) = three().await;
    ben.change_settings(|settings| settings.copy_bytes_per_contact = 1000).await;
    let share = ada.share(&ada.write("large", &bytes(1, 2000))).await;
    ada.files.keep(share.hash, &["Ben".into()]).await.expect("a contact");
    let refused = until_copy(&ada, &share, CopyState::Refused).await;
    assert!(refused.copies[0].reason.contains("1000"), "{:?}", refused.copies);
    ben.change_settings(|settings| settings.copy_bytes_per_contact = 1 << 30).await;
    ada.files.keep(share.hash, &["ben".into()]).await.expect("asked again");
    until_copy(&ada, &share, CopyState::Kept).await;
    assert_eq!(ben.files.kept().await.expect("one").len(), 1);

    // The owner wants it kept no longer.
    ada.files.keep(share.hash, &[]).await.expect("none");
    ben.until("it is dropped", |state| (state.kept_bytes == 0).then_some(())).await;
    assert!(ben.files.kept().await.expect("none").is_empty());
    // Or the keeper drops it.
    ada.files.keep(share.hash, &["Ben".into()]).await.expect("asked again");
    ben.until("it is kept", |state| (state.kept_bytes > 0).then_some(())).await;
    let hash = ben.files.kept().await.expect("one")[0].hash;
    ben.files.drop_kept(hash).await.expect("it is there");
    assert_eq!(ben.files.drop_kept(hash).await.expect_err("gone").kind, FailureKind::NotFound);

    ben.trust(&[1], Trust::Ask);
    let other = ada.share(&ada.write("other", b"x")).await;
    ada.files.keep(other.hash, &["Ben".into()]).await.expect("a contact");
    until_copy(&ada, &other, CopyState::Refused).await;
    let stranger = ada.files.keep(other.hash, &[super::peer(5).to_string()]).await.expect_err("no contact");
    assert_eq!(stranger.kind, FailureKind::NotPermitted);
}

#[tokio::test]
async fn a_copy_on_its_way_goes_on_after_the_keeper_was_started_again() {
    let (exchange, ada, ben, _) = three().await;
    ada.change_settings(|settings| settings.upload_bytes_per_second = 4 * MIB as u64).await;
    let share = ada.share(&ada.write("large", &bytes(1, 8 * MIB))).await;
    ada.files.keep(share.hash, &["Ben".into()]).await.expect("a contact");
    ben.until("a part of it", |state| (state.kept_bytes > MIB as u64).then_some(())).await;
    let ben = ben.restart().await;
    exchange.connect(ada.me, ben.me);
    let kept = until_copy(&ada, &share, CopyState::Kept).await;
    assert_eq!(kept.copies[0].held_bytes, share.size_bytes);
    assert!(ben.files.kept().await.expect("one")[0].held_bytes > 0);
    assert!(kept.copies.iter().all(|copy| copy.state != CopyState::Refused));
    let _ = SourceState::Active;
}
