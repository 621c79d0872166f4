//! Sealed copies at contacts: fetched from them, refused by them, dropped by either side.

use kith_common::contact::Trust;
use kith_common::failure::FailureKind;
use kith_common::file::{CopyState, SourceState, TransferState};

use super::rig::{MIB, Node, bytes, files_below, for_contacts, peer, three};

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
        let kept = ada.have_kept(share, "Ben").await;
        assert_eq!((kept.copies[0].name.as_str(), kept.copies[0].held_bytes), ("Ben", share.size_bytes));
    }
    let kept = ben.files.kept().await.expect("two");
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|kept| kept.name == "Ada" && kept.held_bytes == kept.size_bytes), "{kept:?}");
    // What is on Ben's disk has nothing of it.
    let stored = files_below(&ben.path("data/files/kept"));
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

#[tokio::test]
async fn a_contact_keeps_what_it_allows_and_either_side_can_end_it() {
    let (_, ada, ben, _) = three().await;
    ben.change_settings(|settings| settings.copy_bytes_per_contact = 1000).await;
    let share = ada.share(&ada.write("large", &bytes(1, 2000))).await;
    ada.ask_to_keep(&share, "Ben").await;
    let refused = ada.until_copy(&share, CopyState::Refused).await;
    assert!(refused.copies[0].reason.contains("1000"), "{:?}", refused.copies);
    ben.change_settings(|settings| settings.copy_bytes_per_contact = 1 << 30).await;
    ada.files.keep(share.hash, &["ben".into()]).await.expect("asked again");
    ada.until_copy(&share, CopyState::Kept).await;
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
    ada.ask_to_keep(&other, "Ben").await;
    ada.until_copy(&other, CopyState::Refused).await;
    let stranger = ada.files.keep(other.hash, &[peer(5).to_string()]).await.expect_err("no contact");
    assert_eq!(stranger.kind, FailureKind::NotPermitted);
}

#[tokio::test]
async fn a_copy_on_its_way_goes_on_after_the_keeper_was_started_again() {
    let (exchange, ada, ben, _) = three().await;
    ada.send_at_most(4 * MIB).await;
    let share = ada.share(&ada.write("large", &bytes(1, 8 * MIB))).await;
    ada.ask_to_keep(&share, "Ben").await;
    ben.until("a part of it", |state| (state.kept_bytes > MIB as u64).then_some(())).await;
    let ben = ben.restart().await;
    exchange.connect(ada.me, ben.me);
    let kept = ada.until_copy(&share, CopyState::Kept).await;
    assert_eq!(kept.copies[0].held_bytes, share.size_bytes);
    assert!(ben.files.kept().await.expect("one")[0].held_bytes > 0);
    assert!(kept.copies.iter().all(|copy| copy.state != CopyState::Refused));
    let _ = SourceState::Active;
}
