//! The log of calls: what comes back, what makes room, what is taken out, and what an earlier version has left.

use std::time::Duration;

use kith_common::call::{
    CallKind, CallRecord, CallStats, Direction, EndReason, MAX_LOG_PAGE, SizeSeconds, Stage, Transport,
};
use kith_common::chat::Before;
use kith_common::ids::{CallId, PeerId};
use kith_common::node::Path;
use kith_store::{CallsWanted, Database, MAX_CALLS, MAX_CALLS_OF_ONE, Store};

use crate::{NOW, id, peer, store, text, with};

const DAY_MS: i64 = 86_400_000;

/// A call that nobody took, with an id of its own.
fn missed(number: u64, with: u8) -> CallRecord {
    CallRecord {
        position: number,
        id: call(number),
        peer: Some(peer(with)),
        peer_name: format!("caller {with}"),
        target: String::new(),
        direction: Direction::Incoming,
        kind: CallKind::Voice,
        started_unix_ms: NOW + number as i64,
        ended_unix_ms: NOW + number as i64 + 5,
        answered: false,
        duration_s: 0.0,
        reason: EndReason::Timeout,
        failed_stage: Some(Stage::Accept),
        detail: "It rang here, and nobody answered.".into(),
        stats: None,
    }
}

fn call(number: u64) -> CallId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    CallId::from_bytes(bytes)
}

fn talked(number: u64, with: u8) -> CallRecord {
    let stats = CallStats {
        duration_s: 245.125,
        path: Some(Path::Relayed),
        transport: Transport::Tcp,
        delay_ms_p95: Some(64.5),
        audio_concealed_ms: 340,
        sizes: vec![SizeSeconds { width: 640, height: 360, seconds: 200.0 }],
        encoder: "aom".into(),
        ..CallStats::default()
    };
    CallRecord {
        direction: Direction::Outgoing,
        kind: CallKind::Video,
        answered: true,
        duration_s: 245.125,
        reason: EndReason::Remote,
        failed_stage: None,
        detail: String::new(),
        stats: Some(stats),
        ..missed(number, with)
    }
}

fn nobody(number: u64) -> CallRecord {
    let target = "192.0.2.7:9999".into();
    CallRecord { peer: None, peer_name: String::new(), target, direction: Direction::Outgoing, ..missed(number, 0) }
}

fn log(store: &Store, wanted: &CallsWanted) -> Vec<u64> {
    store.call_log(wanted, |_| true).unwrap().iter().map(|record| record.position).collect()
}

fn all() -> CallsWanted {
    CallsWanted { limit: MAX_LOG_PAGE, ..CallsWanted::default() }
}

fn of(with: PeerId) -> CallsWanted {
    CallsWanted { peer: Some(with), ..all() }
}

#[test]
fn calls_come_back_as_they_were_the_newest_first_in_pages() {
    let mut store = store(1);
    let calls = [missed(1, 2), talked(2, 3), nobody(3), missed(4, 2)];
    for call in &calls {
        // Whatever position it says.
        store.log_call(&CallRecord { position: 99, ..call.clone() }).unwrap();
    }
    let found = store.call_log(&all(), |_| true).unwrap();
    assert_eq!(found, calls.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(log(&store, &CallsWanted { limit: 2, ..all() }), [4, 3]);
    let before = Before { position: 3, unix_ms: 0 };
    assert_eq!(log(&store, &CallsWanted { before, ..all() }), [2, 1]);
    let before = Before { position: 0, unix_ms: NOW + 2 };
    assert_eq!(log(&store, &CallsWanted { before, ..all() }), [1]);
    assert_eq!(log(&store, &of(peer(2))), [4, 1]);
    assert!(log(&store, &CallsWanted { limit: 0, ..all() }).is_empty());
    // The sieve sees names, may change them, and the limit counts what it lets through.
    let named = store.call_log(&CallsWanted { limit: 1, ..all() }, |record| {
        record.peer_name.push('!');
        record.peer_name.contains('3')
    });
    let named = named.unwrap();
    assert_eq!((named.len(), named[0].peer_name.as_str(), named[0].stats.is_some()), (1, "caller 3!", true));
}

#[test]
fn an_id_that_comes_again_hides_no_other_call() {
    let mut store = store(1);
    store.log_call(&talked(1, 2)).unwrap();
    store.log_call(&CallRecord { id: call(1), ..missed(2, 3) }).unwrap();
    assert_eq!(log(&store, &all()), [2, 1]);
    assert!(store.forget_call(call(1)).unwrap() && !store.forget_call(call(1)).unwrap());
    assert!(log(&store, &all()).is_empty());
    // A position is never given twice.
    store.log_call(&missed(3, 2)).unwrap();
    assert_eq!(log(&store, &all()), [3]);
}

#[test]
fn the_oldest_make_room_and_nobody_puts_out_everybody_else() {
    let mut store = store(1);
    store.log_call(&talked(1, 9)).unwrap();
    for number in 0..MAX_CALLS_OF_ONE as u64 + 10 {
        store.log_call(&missed(number, 2)).unwrap();
    }
    let count = |store: &Store, wanted: &CallsWanted| {
        let (mut wanted, mut count) = (wanted.clone(), 0);
        loop {
            let page = log(store, &wanted);
            let Some(last) = page.last() else { return count };
            wanted.before.position = *last;
            count += page.len() as i64;
        }
    };
    assert_eq!(count(&store, &of(peer(2))), MAX_CALLS_OF_ONE);
    assert_eq!(count(&store, &of(peer(9))), 1);
    let more = MAX_CALLS - MAX_CALLS_OF_ONE;
    for number in 0..more {
        let with = 10 + u8::try_from(number / (MAX_CALLS_OF_ONE - 1)).unwrap();
        store.log_call(&missed(number as u64, with)).unwrap();
    }
    assert_eq!(count(&store, &all()), MAX_CALLS);
    assert_eq!(count(&store, &of(peer(9))), 0, "the oldest");
}

#[test]
fn calls_are_kept_no_longer_than_the_messages_with_their_peer() {
    let mut store = store(1);
    store.say(with(2), id(1), text("hello"), NOW).unwrap();
    store.set_retention(with(2), 2).unwrap();
    let at = |number: u64, with: u8, ago_days: i64| CallRecord {
        started_unix_ms: NOW - ago_days * DAY_MS,
        ended_unix_ms: NOW - ago_days * DAY_MS,
        ..missed(number, with)
    };
    for record in [at(1, 2, 3), at(2, 2, 1), at(3, 3, 300), CallRecord { peer: None, ..at(4, 0, 300) }] {
        store.log_call(&record).unwrap();
    }
    store.expire(NOW).unwrap();
    assert_eq!(log(&store, &all()), [4, 3, 2]);
    store.set_retention(with(2), 0).unwrap();
    store.expire(NOW + 30 * DAY_MS).unwrap();
    assert_eq!(log(&store, &all()), [4, 3, 2]);
}

#[tokio::test]
async fn changes_are_told_and_what_is_taken_out_is_nowhere_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (database, _) = Database::open(dir.path(), peer(1)).await.unwrap();
    let mut changes = database.call_changes();
    let mut told = async || {
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
        changes.mark_unchanged();
    };
    for number in 1..=5 {
        database.write(move |store| store.log_call(&missed(number, 2))).await.unwrap();
        told().await;
    }
    let secret = CallRecord { peer_name: "unmistakable".into(), ..missed(6, 7) };
    database.write(move |store| store.log_call(&secret)).await.unwrap();
    told().await;
    assert!(database.write(|store| store.forget_call(call(6))).await.unwrap());
    told().await;
    assert_eq!(database.write(|store| store.clear_calls(Some(peer(3)))).await.unwrap(), 0);
    assert_eq!(database.write(|store| store.clear_calls(Some(peer(2)))).await.unwrap(), 5);
    told().await;
    database.close().await;
    for name in ["kith.db", "kith.db-wal"] {
        let bytes = std::fs::read(dir.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(12).any(|at| at == b"unmistakable"), "{name}");
    }
}

#[tokio::test]
async fn a_database_of_the_version_before_opens_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kith.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../src/schema/1.sql")).unwrap();
    old.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 1265202280;").unwrap();
    old.execute(
        "INSERT INTO contact VALUES (1, ?, 'Ann', '', '', 0, 2, 2, 1, 0, 0, '[]', 0, 0, 0, '')",
        [peer(2).public_key()],
    )
    .unwrap();
    old.execute(
        "INSERT INTO call VALUES (7, ?, ?, 'incoming', 'video', 1000, 2000, 'failed', 'path', 'no path', '{}')",
        rusqlite::params![call(1).as_bytes(), peer(2).public_key()],
    )
    .unwrap();
    drop(old);
    let (database, repair) = Database::open(dir.path(), peer(1)).await.unwrap();
    assert!(repair.is_none());
    assert_eq!(database.read(|store| store.contacts()).await.unwrap()[0].name, "Ann");
    database.write(|store| store.log_call(&nobody(8))).await.unwrap();
    let found = database.read(|store| store.call_log(&all(), |_| true)).await.unwrap();
    assert_eq!(found.iter().map(|record| record.position).collect::<Vec<_>>(), [8, 7]);
    let old = &found[1];
    assert_eq!((old.id, old.peer, old.kind), (call(1), Some(peer(2)), CallKind::Video));
    assert_eq!((old.reason, old.failed_stage, old.started_unix_ms), (EndReason::Failed, Some(Stage::Path), 1000));
    assert_eq!((old.peer_name.as_str(), old.answered, old.duration_s), ("", false, 0.0));
    database.close().await;
    let (_, repair) = Database::open(dir.path(), peer(1)).await.unwrap();
    assert!(repair.is_none(), "and opens again");
}
