use std::time::Duration;

use kith_common::contact::{ContactRequest, Trust};
use kith_common::failure::FailureKind;
use kith_store::{ContactRow, Database, HoldLimits, Sealed, StoreError};

use crate::{NOW, id, peer, said, text, with};

#[tokio::test]
async fn writes_that_wait_together_are_all_stored_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (database, repair) = Database::open(dir.path(), peer(1)).await.unwrap();
    assert!(repair.is_none());
    let mut changes = database.changes();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let database = database.clone();
        tasks.spawn(async move {
            database
                .write(move |store| {
                    let said = store.say(with(2), id(number), text("words"), NOW)?;
                    // Every fifth changes its mind.
                    if number % 5 == 0 {
                        Err(StoreError::refused(FailureKind::Declined, "no"))
                    } else {
                        Ok(said.0.sequence)
                    }
                })
                .await
        });
    }
    let mut sequences = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(sequence) => sequences.push(sequence),
            Err(failure) => assert_eq!(failure.kind, FailureKind::Declined),
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=160).collect::<Vec<_>>(), "the undone ones used no number");
    let count = database.read(|store| Ok(store.history(with(2), Default::default(), 500)?.len())).await.unwrap();
    assert_eq!(count, 160);
    let newest = database.read(|store| store.cursor()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), changes.wait_for(|cursor| *cursor == newest)).await.unwrap().unwrap();
    let found = database.read(|store| store.search("words", None, 0, 500)).await.unwrap();
    assert_eq!(found.len(), 160);
    database.close().await;
    assert!(database.write(|_| Ok(())).await.is_err());
    let (database, repair) = Database::open(dir.path(), peer(1)).await.unwrap();
    assert!(repair.is_none());
    assert_eq!(database.read(|store| store.cursor()).await.unwrap(), newest);
}

#[tokio::test]
async fn one_that_panics_takes_nobody_with_it() {
    let database = Database::in_memory(peer(1)).await;
    let panicked = database.write(|_| -> Result<(), StoreError> { panic!("of the test's own making") }).await;
    assert_eq!(panicked.unwrap_err().kind, FailureKind::Internal);
    let panicked = database.read(|_| -> Result<(), StoreError> { panic!("of the test's own making") }).await;
    assert!(panicked.is_err());
    database.write(|store| store.hear(peer(2), vec![said(1)], NOW)).await.unwrap();
    assert_eq!(database.read(|store| store.conversations()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn deleted_text_is_nowhere_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (database, _) = Database::open(dir.path(), peer(1)).await.unwrap();
    let found = || {
        ["kith.db", "kith.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(dir.path().join(name)).unwrap_or_default();
            [b"unmistakable".as_slice(), b"indiscretion", b"regretted"]
                .iter()
                .any(|word| bytes.windows(word.len()).any(|at| at == *word))
        })
    };
    for number in 0..50 {
        database
            .write(move |store| store.say(with(2), id(number), text(&format!("other text {number}")), NOW))
            .await
            .unwrap();
    }
    database.write(|store| store.say(with(2), id(90), text("unmistakable"), NOW)).await.unwrap();
    database.write(|store| store.say(with(3), id(91), text("indiscretion"), NOW)).await.unwrap();
    database.write(|store| store.say(with(2), id(92), text("regretted"), NOW)).await.unwrap();
    database.write(|store| store.handed(peer(3), kith_store::Place::Direct, 1)).await.unwrap();
    database.write(|store| store.peer_stored(peer(3), kith_store::Place::Direct, 1)).await.unwrap();
    assert!(found());
    database.write(|store| store.say(with(2), id(90), kith_store::Body::Delete, NOW)).await.unwrap();
    database.write(|store| store.say(with(2), id(92), kith_store::Body::Edit("better".into()), NOW)).await.unwrap();
    database.write(|store| store.delete_conversation(with(3))).await.unwrap();
    database.close().await;
    assert!(!found());
}

#[tokio::test]
async fn contacts_requests_and_settings_come_back_as_they_were() {
    let database = Database::in_memory(peer(1)).await;
    let row = ContactRow {
        peer: peer(2),
        name: "Ann".into(),
        own_name: "ann@home".into(),
        note: "from school".into(),
        colour: 0x12_34_56,
        calls: Trust::Always,
        files: Trust::Ask,
        relay: Trust::Never,
        verified: true,
        mutual: false,
        addresses: vec!["/ip4/127.0.0.1/udp/9999/quic-v1".into()],
        last_seen_unix_ms: NOW,
        added_unix_ms: NOW - 1,
        asked: true,
        request_text: "it is me".into(),
    };
    let request = |number| ContactRequest {
        peer_id: peer(number),
        name: "x".into(),
        text: "y".into(),
        received_unix_ms: NOW + number as i64,
    };
    database
        .write(move |store| {
            store.put_contact(&row)?;
            assert_eq!(store.contacts()?, std::slice::from_ref(&row));
            store.say(with(2), id(1), text("hello"), NOW)?;
            assert_eq!(store.conversations()?[0].title, "Ann");
            assert!(store.remove_contact(peer(2))? && !store.remove_contact(peer(2))?);
            assert_eq!(store.conversations()?[0].title, peer(2).short());
            assert!(store.put_request(&request(3), 2)? && store.put_request(&request(4), 2)?);
            assert!(!store.put_request(&request(5), 2)?, "no room");
            assert!(store.put_request(&request(4), 2)?);
            assert_eq!(store.requests()?, [request(4), request(3)]);
            assert_eq!(store.take_request(peer(3))?, Some(request(3)));
            assert_eq!(store.take_request(peer(3))?, None);
            store.refuse(peer(3), NOW + 10)?;
            assert!(store.is_refused(peer(3), NOW + 9)? && !store.is_refused(peer(3), NOW + 10)?);
            store.set_setting("presence", "away")?;
            store.set_setting("presence", "online")?;
            assert_eq!(store.setting("presence")?.as_deref(), Some("online"));
            store.set_secret("olm", b"pickle")?;
            assert_eq!(store.secret("olm")?.as_deref(), Some(b"pickle".as_slice()));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_held_for_others_has_limits_and_an_end() {
    let database = Database::in_memory(peer(1)).await;
    let sealed = |number: u8, author: u8, recipient: u8| Sealed {
        id: [number; 16],
        author: peer(author),
        recipient: peer(recipient),
        expires_unix_ms: NOW + number as i64,
        kind: 1,
        body: vec![number; 100],
    };
    let limits = HoldLimits { per_author: 2, per_recipient: 2, total_bytes: 350 };
    database
        .write(move |store| {
            assert!(store.hold(&sealed(1, 2, 8), limits)? && store.hold(&sealed(1, 2, 8), limits)?);
            assert!(store.hold(&sealed(2, 2, 9), limits)?);
            assert!(!store.hold(&sealed(3, 2, 10), limits)?, "one author's share");
            assert!(store.hold(&sealed(4, 3, 8), limits)?);
            assert!(!store.hold(&sealed(5, 4, 8), limits)?, "one recipient's share");
            assert!(!store.hold(&sealed(6, 4, 11), limits)?, "the room for all");
            assert_eq!(store.held_for(peer(8))?, [sealed(1, 2, 8), sealed(4, 3, 8)]);
            store.drop_held([1; 16])?;
            assert_eq!(store.expire_held(NOW + 2)?, 1);
            assert_eq!(store.held_for(peer(8))?, [sealed(4, 3, 8)]);
            Ok(())
        })
        .await
        .unwrap();
}
