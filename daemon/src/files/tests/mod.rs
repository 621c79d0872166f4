//! Files between nodes whose network is in memory.

mod copies;
mod fetching;
mod hostile;
mod keepers;
mod making;
pub(super) mod rig;
mod sealed;
mod standing;

use kith_common::contact::Trust;
use kith_common::failure::FailureKind;
use kith_common::file::{
    AddOptions, ContentKind, FileTicket, GetOptions, ShareScope, ShareState, SourceState, TransferState,
};
use kith_core::listener::Begin;
use tokio::sync::watch;

use rig::{Begun, Exchange, MIB, Node, bytes, for_contacts, peer, two};

#[tokio::test]
async fn a_file_of_any_size_is_fetched_by_ticket_or_hash_and_saved_under_its_name() {
    let (exchange, ada, ben) = two().await;
    for (number, size) in [0, 1, 16 * 1024, 16 * 1024 + 1, MIB, 3 * MIB + 77].into_iter().enumerate() {
        let content = bytes(number as u64, size);
        let share = ada.share(&ada.write(&format!("file {number}.bin"), &content)).await;
        assert_eq!((share.size_bytes, share.files, share.state), (size as u64, 1, ShareState::Available));
        // A ticket names Ada; a bare hash has to find her among those who are connected.
        let target = if number % 2 == 0 { share.ticket.clone() } else { share.hash.to_string() };
        exchange.connect(ada.me, ben.me);
        let (done, saved) = ben.fetched(&target).await;
        assert!(saved == content, "{size}");
        assert_eq!(done.saved_path, ben.path(&format!("downloads/file {number}.bin")).display().to_string());
        assert_eq!((done.done_bytes, done.size_bytes, done.files_done), (size as u64, size as u64, 1));
        let from_ada = done.sources.iter().find(|source| source.peer == ada.me).expect("she is named");
        assert_eq!((from_ada.name.as_str(), from_ada.received_bytes), ("Ada", size as u64));
    }
    ada.until("all are told of", |state| (state.shares == 6).then_some(())).await;
    assert_eq!(exchange.provides(ada.me), 6);
    let partial = ben.path("downloads/.kith-partial");
    let _home = std::sync::Arc::clone(&ben.home);
    ben.off().await;
    assert!(!partial.exists(), "nothing is left beside the files");
}

#[tokio::test]
async fn a_folder_keeps_its_structure() {
    let (_, ada, ben) = two().await;
    let tree = [("a.txt", 10), ("deep/er/b.bin", 2 * MIB), ("deep/empty", 0), ("deep/c", 100_000)];
    for (number, (name, size)) in tree.iter().enumerate() {
        ada.write(&format!("things/{name}"), &bytes(number as u64, *size));
    }
    std::fs::create_dir(ada.path("things/nothing in it")).expect("writable");
    let share = ada.share(&ada.path("things")).await;
    assert_eq!((share.name.as_str(), share.files, share.size_bytes as usize), ("things", 4, 2 * MIB + 100_010));
    let begun = ben.get(&share.ticket).await;
    let done = ben.until_done(begun.id).await;
    assert_eq!((done.files, done.files_done), (4, 4));
    let saved = std::path::PathBuf::from(&done.saved_path);
    for (number, (name, size)) in tree.iter().enumerate() {
        assert!(std::fs::read(saved.join(name)).expect("it is there") == bytes(number as u64, *size), "{name}");
    }
    assert!(saved.join("nothing in it").is_dir());
    let again = ben.get(&share.ticket).await;
    assert_eq!((again.id, again.state, &again.saved_path), (done.id, TransferState::Done, &done.saved_path));
    std::fs::write(saved.join("deep/c"), bytes(9, 100_000)).expect("writable");
    let anew = ben.get(&share.ticket).await;
    assert_ne!(ben.until_done(anew.id).await.saved_path, done.saved_path, "it is not the same any more");
    // And one of its files by itself, by its own hash.
    let one = ada.share(&ada.path("things/deep/c")).await;
    ada.files.remove(one.hash).await.expect("it was shared");
    let options = GetOptions { from: vec!["Ada".into()], ..GetOptions::default() };
    let alone = ben.files.get(&one.hash.to_string(), options).await.expect("it begins");
    assert_eq!(ben.until_done(alone.id).await.name, "c");
}

#[tokio::test]
async fn files_of_one_name_stand_beside_each_other_and_what_is_there_already_is_not_fetched_again() {
    let (_, ada, ben) = two().await;
    let (first, second) =
        (ada.share(&ada.write("one/x.txt", b"one")).await, ada.share(&ada.write("two/x.txt", b"two")).await);
    let (one, bytes) = ben.fetched(&first.ticket).await;
    assert_eq!(bytes, b"one");
    let (two, bytes) = ben.fetched(&second.ticket).await;
    assert_eq!(
        (two.saved_path.as_str(), bytes.as_slice()),
        (ben.path("downloads/x (1).txt").to_str().expect("plain"), &b"two"[..])
    );
    let again = ben.get(&first.ticket).await;
    assert_eq!((again.id, again.state, &again.saved_path), (one.id, TransferState::Done, &one.saved_path));
    // What is not there any more, or is something else by now, is fetched again and harms nothing.
    std::fs::write(&one.saved_path, b"mine").expect("writable");
    let (third, bytes) = ben.fetched(&first.ticket).await;
    assert_eq!(bytes, b"one");
    assert_ne!(third.saved_path, one.saved_path);
    assert_eq!(std::fs::read(&one.saved_path).expect("it is there"), b"mine");
}

#[tokio::test]
async fn several_sources_share_the_work_and_one_that_goes_away_harms_nothing() {
    let exchange = Exchange::default();
    let ben = Node::new(&exchange, 2, &[1, 3, 4]).await;
    let content = bytes(7, 24 * MIB);
    let mut sources = Vec::new();
    for n in [1, 3, 4] {
        let node = Node::new(&exchange, n, &[2]).await;
        node.send_at_most(20 * MIB).await;
        node.share(&node.write("movie.mkv", &content)).await;
        exchange.connect(node.me, ben.me);
        sources.push(node);
    }
    let hash = sources[0].files.shares("", 0, 1).await.expect("one")[0].hash.to_string();
    let begun = ben.get(&hash).await;
    ben.until_transfer(begun.id, "a part of it", |one| one.done_bytes > 4 * MIB as u64).await;
    sources.pop().expect("three").off().await;
    let done = ben.until_done(begun.id).await;
    assert!(std::fs::read(&done.saved_path).expect("it is there") == content);
    let gave = |n| done.sources.iter().find(|source| source.peer == peer(n)).map_or(0, |source| source.received_bytes);
    assert!(gave(1) > 0 && gave(3) > 0, "{:#?}", done.sources);
}

#[tokio::test]
async fn a_transfer_goes_on_after_its_node_was_started_again_and_fetches_little_twice() {
    let (_, ada, ben) = two().await;
    let begun = Begun::new(&ada, &ben, 16 * MIB, 8 * MIB, 3 * MIB).await;
    let (part, size) = (&begun.transfer, begun.share.size_bytes);
    let ben = ben.restart().await;
    let again = ben.until_transfer(part.id, "more", |one| one.done_bytes >= part.done_bytes).await;
    assert_eq!((again.name.as_str(), again.size_bytes), ("large", size));
    begun.until_done(&ben).await;
    let sent = ada.files.shares("", 0, 1).await.expect("one")[0].sent_bytes;
    // What was under way when it ended, and the hash tree.
    assert!(sent < size + 6 * MIB as u64, "{sent}");
}

#[tokio::test]
async fn who_has_it_later_is_found_when_it_appears_or_by_what_the_dht_knows() {
    let (exchange, ada, ben) = two().await;
    let share = ada.share(&ada.write("x", b"xyz")).await;
    exchange.leave(ada.me);
    let begun = ben.get(&share.ticket).await;
    let waiting = ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
    assert_eq!(waiting.error_kind, Some(FailureKind::Unreachable));
    assert!(waiting.next_try_seconds > 0 && waiting.error.contains("Ada"), "{waiting:#?}");
    let ada = ada.restart().await;
    exchange.connect(ada.me, ben.me);
    ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;

    // A stranger, whom nobody has named and who is not connected.
    let cem = Node::new(&exchange, 3, &[]).await;
    let (done, saved) = cem.fetched(&share.hash.to_string()).await;
    assert_eq!((saved.as_slice(), done.sources[0].peer), (&b"xyz"[..], ada.me));
}

#[tokio::test]
async fn only_those_get_it_whom_it_is_for_and_the_others_learn_nothing_without_the_ticket() {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[2, 3]).await;
    let (ben, cem, dora) =
        (Node::new(&exchange, 2, &[1]).await, Node::new(&exchange, 3, &[1]).await, Node::new(&exchange, 4, &[1]).await);
    for node in [&ben, &cem, &dora] {
        exchange.connect(ada.me, node.me);
    }
    let for_contacts = ada.share_with(&ada.write("c", b"for contacts"), for_contacts()).await;
    let for_ben = ada.share_to(&ada.write("b", b"for ben"), &["Ben"]).await;
    assert_eq!(exchange.provides(ada.me), 0, "the DHT hears of neither");
    assert_eq!(cem.fetched(&for_contacts.ticket).await.1, b"for contacts");
    assert_eq!(ben.fetched(&for_ben.ticket).await.1, b"for ben");
    for (node, ticket) in [(&dora, &for_contacts.ticket), (&cem, &for_ben.ticket)] {
        let begun = node.get(ticket).await;
        let refused = node.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
        assert_eq!(refused.error_kind, Some(FailureKind::NotPermitted), "{refused:#?}");
        assert!(refused.error.contains("Ada"), "{}", refused.error);
        node.files.cancel(begun.id).await.expect("it is there");
        // By a guessed hash alone nobody learns that it is there.
        let guessed = node.get(&ticket.parse::<FileTicket>().expect("a ticket").hash.to_string()).await;
        let unknown = node.until_transfer(guessed.id, "it waits", |one| one.state == TransferState::Waiting).await;
        assert_eq!(unknown.error_kind, Some(FailureKind::Unreachable), "{unknown:#?}");
    }
    // Sharing it again with more people takes nothing from those who had it.
    ada.share_to(&ada.path("b"), &["Cem"]).await;
    let (_, now) = (
        ben.files.cancel(1).await,
        cem.until("cem's transfer", |state| state.transfers.first().map(|one| one.id)).await,
    );
    cem.files.cancel(now).await.expect("it is there");
    assert_eq!(cem.fetched(&for_ben.ticket).await.1, b"for ben");
    assert_eq!(ben.fetched(&for_ben.ticket).await.1, b"for ben");
}

#[tokio::test]
async fn a_file_that_changed_is_not_sent_and_everybody_hears_why() {
    let (_, ada, ben) = two().await;
    let share = ada.share(&ada.write("x", &bytes(1, 3 * MIB))).await;
    ada.write("x", &bytes(2, 3 * MIB));
    let begun = ben.get(&share.ticket).await;
    let waiting = ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
    assert!(waiting.error.contains("changed"), "{waiting:#?}");
    assert_ne!(waiting.sources[0].state, SourceState::Lied);
    let state = ada.files.shares("x", 0, 1).await.expect("one")[0].state;
    assert_eq!(state, ShareState::Changed);
    // The new content is another file, which can be shared as well; one that is gone is missing.
    let other = ada.share(&ada.path("x")).await;
    assert_ne!(other.hash, share.hash);
    std::fs::remove_file(ada.path("x")).expect("it is there");
    assert_eq!(ada.files.shares("", 0, 1).await.expect("one")[0].state, ShareState::Missing);
}

#[tokio::test]
async fn what_is_withdrawn_is_not_to_be_had_any_more() {
    let (exchange, ada, ben) = two().await;
    let share = ada.share(&ada.write("x", &bytes(1, MIB))).await;
    ada.until("it is told of", |state| (state.shares == 1).then_some(())).await;
    assert_eq!(exchange.provides(ada.me), 1);
    ada.files.remove(share.hash).await.expect("it is shared");
    assert!(ada.path("x").exists());
    assert_eq!(ada.files.remove(share.hash).await.expect_err("it is not").kind, FailureKind::NotFound);
    let begun = ben.get(&share.ticket).await;
    let waiting = ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
    assert_eq!(waiting.error_kind, Some(FailureKind::Unreachable));
    ada.until("nothing is shared", |state| (state.shares == 0).then_some(())).await;
    assert_eq!(exchange.provides(ada.me), 0);
}

#[tokio::test]
async fn contacts_offer_and_are_asked_about_or_trusted_or_refused() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    let share = ada.share_to(&ada.write("picture.png", b"not really"), &["Ben"]).await;
    let offer = ben.until("the offer", |state| state.offers.first().cloned()).await;
    assert_eq!((offer.name.as_str(), offer.file_name.as_str(), offer.hash), ("Ada", "picture.png", share.hash));
    ben.files.refuse_offer(offer.id).await.expect("it is there");
    assert_eq!(ben.files.refuse_offer(offer.id).await.expect_err("it is gone").kind, FailureKind::NotFound);
    ben.until("no offer", |state| state.offers.is_empty().then_some(())).await;

    ada.share_to(&ada.write("two.png", b"the second"), &["Ben"]).await;
    let offer = ben.until("the second", |state| state.offers.first().cloned()).await;
    let begun = ben.files.accept_offer(offer.id, GetOptions::default()).await.expect("it is there");
    ben.until_done(begun.id).await;
    ben.until("no offer", |state| state.offers.is_empty().then_some(())).await;

    // Trusted: pictures come by themselves, what is too large or of another kind is asked about.
    ben.trust(&[1], Trust::Always);
    ben.change_settings(|settings| {
        (settings.unasked_bytes, settings.unasked_kinds) = (100, vec![ContentKind::Image]);
    })
    .await;
    ada.share_to(&ada.write("three.png", b"the third"), &["Ben"]).await;
    let by_itself = |state: &kith_common::file::FilesState| {
        state.transfers.iter().find(|one| one.name == "three.png").map(|one| one.id)
    };
    let id = ben.until("the third", by_itself).await;
    ben.until_done(id).await;
    ada.share_to(&ada.write("large.png", &[0; 200]), &["Ben"]).await;
    ada.share_to(&ada.write("run.sh", b"x"), &["Ben"]).await;
    ben.until("two offers", |state| (state.offers.len() == 2).then_some(())).await;

    ben.trust(&[1], Trust::Never);
    ada.share_to(&ada.write("four.png", b"the fourth"), &["Ben"]).await;
    let known = ada.until("it was said", |state| (state.shares >= 6).then_some(())).await;
    let () = known;
    assert_eq!(ben.files.state().borrow().offers.len(), 2);
}

#[tokio::test]
async fn transfers_are_paused_resumed_moved_to_the_front_and_cancelled() {
    let (_, ada, ben) = two().await;
    ada.send_at_most(2 * MIB).await;
    ben.change_settings(|settings| settings.at_once = 1).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let share = ada.share(&ada.write(&format!("file{n}"), &bytes(n, 12 * MIB))).await;
        ids.push(ben.get(&share.ticket).await.id);
    }
    ben.until_transfer(ids[0], "it goes on", |one| one.done_bytes > 0).await;
    ben.until_transfer(ids[1], "it is queued", |one| one.state == TransferState::Queued).await;
    ben.files.first(ids[2]).await.expect("it is there");
    ben.until_transfer(ids[2], "it goes on", |one| one.done_bytes > 0).await;
    ben.until_transfer(ids[0], "it is queued", |one| one.state == TransferState::Queued).await;
    let paused = ben.files.pause(ids[2]).await.expect("it is there");
    assert_eq!(paused.state, TransferState::Paused);
    ben.until_transfer(ids[2], "it is paused", |one| one.state == TransferState::Paused && one.done_bytes > 0).await;
    ben.until_transfer(ids[0], "it goes on", |one| one.state == TransferState::Fetching).await;
    ada.send_at_most(0).await;
    ben.files.cancel(ids[1]).await.expect("it is there");
    ben.files.resume(ids[2]).await.expect("it is there");
    for (n, id) in [(0, ids[0]), (2, ids[2])] {
        let done = ben.until_done(id).await;
        assert!(std::fs::read(&done.saved_path).expect("it is there") == bytes(n, 12 * MIB));
    }
    ben.until("it is gone", |state| (state.transfers.len() == 2).then_some(())).await;
    ben.files.cancel(ids[0]).await.expect("it is there");
    assert!(ben.path("downloads/file0").exists(), "what is saved stays");
    assert_eq!(ben.files.pause(99).await.expect_err("none").kind, FailureKind::NotFound);
}

#[tokio::test]
async fn clients_without_the_daemons_disk_send_and_read() {
    let (_, ada, ben) = two().await;
    let content = bytes(3, 3 * MIB + 5);
    let mut sink = ada.files.receive("../../sent", AddOptions::default()).await.expect("there is room");
    for piece in content.chunks(MIB) {
        sink.write(piece.to_vec().into()).await.expect("there is room");
    }
    let share = sink.done().await.expect("it is shared");
    assert_eq!((share.name.as_str(), share.size_bytes), ("sent", content.len() as u64));
    let given_up = ada.files.receive("other", AddOptions::default()).await.expect("there is room");
    drop(given_up);
    let (done, saved) = ben.fetched(&share.ticket).await;
    assert!(saved == content);
    for (node, name) in [(&ada, "hers"), (&ben, "his")] {
        for (offset, length, wanted) in
            [(0, 0, &content[..]), (5, 10, &content[5..15]), (MIB as u64, 1, &content[MIB..=MIB])]
        {
            let mut reading = node.files.read(share.hash, offset, length).await.expect(name);
            let mut read = Vec::new();
            while let Some(piece) = reading.next().await {
                read.extend_from_slice(&piece.expect("it is verified"));
            }
            assert!(read == wanted, "{name} {offset} {length}");
        }
    }
    assert_eq!(done.hash, share.hash);
    let failure = ada.files.read(share.hash, u64::MAX, 1).await.err().expect("beyond its end");
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    // Its own copy goes with the share.
    ada.files.remove(share.hash).await.expect("it is shared");
    assert_eq!(ada.files.read(share.hash, 0, 0).await.err().expect("gone").kind, FailureKind::NotFound);
    ada.change_settings(|settings| settings.store_bytes = 10).await;
    let mut sink = ada.files.receive("more", AddOptions::default()).await.expect("a little");
    assert_eq!(sink.write(vec![0; 11].into()).await.expect_err("the quota").kind, FailureKind::NotPermitted);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let (_, ada, ben) = two().await;
    let progress = watch::Sender::default;
    for (path, kind) in [
        ("relative/path".into(), FailureKind::InvalidArgument),
        (ada.path("not there"), FailureKind::NotFound),
        ("/dev/null".into(), FailureKind::InvalidArgument),
        (ada.path("data"), FailureKind::NotPermitted),
        (ada.home.path().to_owned(), FailureKind::NotPermitted),
    ] {
        let failure = ada.files.add(path.clone(), AddOptions::default(), progress()).await.expect_err("no file");
        assert_eq!(failure.kind, kind, "{path:?}: {failure:?}");
        assert!(!failure.advice.is_empty(), "{failure:?}");
    }
    for target in ["", "abc", "kithfile:zzz", &"g".repeat(64), &ada.me.to_string()] {
        let failure = ben.files.get(target, GetOptions::default()).await.expect_err("no file");
        assert!(failure.kind == FailureKind::InvalidArgument && !failure.advice.is_empty(), "{target}: {failure:?}");
    }
    let hash = "a".repeat(64);
    let nowhere = GetOptions { folder: Some("/dev/null/x".into()), ..GetOptions::default() };
    assert!(ben.files.get(&hash, nowhere).await.is_err());
    let nobody = GetOptions { only_from: true, ..GetOptions::default() };
    assert!(ben.files.get(&hash, nobody).await.is_err());
    let unknown = GetOptions { from: vec!["Zoe".into()], ..GetOptions::default() };
    assert_eq!(ben.files.get(&hash, unknown).await.expect_err("nobody").kind, FailureKind::NotFound);
    let alone = AddOptions { scope: ShareScope::Peers, ..AddOptions::default() };
    assert!(ada.files.add(ada.write("x", b"x"), alone, progress()).await.is_err());
    assert_eq!(
        ada.files.keep("b".repeat(64).parse().expect("a hash"), &["Ben".into()]).await.expect_err("none").kind,
        FailureKind::NotFound
    );
    assert!(ada.files.is_alive().await && ben.files.is_alive().await);
}

#[tokio::test]
async fn a_stopped_service_serves_nobody_and_fetches_all_the_same() {
    let (exchange, ada, ben) = two().await;
    exchange.connect(ada.me, ben.me);
    let (hers, his) = (ada.share(&ada.write("hers", b"hers")).await, ben.share(&ben.write("his", b"his")).await);
    ada.service.send_replace(Begin::Stopped);
    assert_eq!(ada.fetched(&his.ticket).await.1, b"his");
    let begun = ben.get(&hers.ticket).await;
    ben.until_transfer(begun.id, "it waits", |one| one.state == TransferState::Waiting).await;
    ada.service.send_replace(Begin::Running);
    exchange.cut(ada.me, ben.me);
    exchange.connect(ada.me, ben.me);
    ben.until_transfer(begun.id, "it is done", |one| one.state == TransferState::Done).await;
}

#[tokio::test]
async fn during_a_call_a_transfer_goes_on_and_a_limit_is_kept() {
    let (_, ada, ben) = two().await;
    let content = bytes(5, MIB);
    let share = ada.share(&ada.write("x", &content)).await;
    ada.in_call.send_replace(true);
    assert!(ben.fetched(&share.ticket).await.1 == content);
    ada.in_call.send_replace(false);
    ben.change_settings(|settings| settings.download_bytes_per_second = MIB as u64).await;
    let other = ada.share(&ada.write("y", &bytes(6, 3 * MIB))).await;
    let done = ben.fetched(&other.ticket).await.0;
    assert!(done.seconds > 1.0, "{}", done.seconds);
}
