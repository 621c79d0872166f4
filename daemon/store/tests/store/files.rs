//! What happens to the file: a newer program, damage, a full disk, a kill.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use kith_common::failure::FailureKind;
use kith_store::{Database, Repair};

use crate::{NOW, id, peer, said, text, with};

const CHILD: &str = "KITH_STORE_TEST_DIR";

async fn open(dir: &Path) -> (Database, Option<Repair>) {
    Database::open(dir, peer(1)).await.unwrap()
}

async fn filled(dir: &Path, messages: u64) {
    let (database, _) = open(dir).await;
    database.write(move |store| store.fill(messages, NOW)).await.unwrap();
    database.write(|store| store.say(with(2), id(1), text("the last words"), NOW)).await.unwrap();
    database.close().await;
}

fn damage(dir: &Path, at: impl Fn(usize) -> bool) {
    let path = dir.join("kith.db");
    let mut bytes = std::fs::read(&path).unwrap();
    for (page, bytes) in bytes.chunks_mut(4096).enumerate() {
        if at(page) {
            bytes.fill(0xa5);
        }
    }
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(dir.join("kith.db.suspect"), b"").unwrap();
}

async fn messages(database: &Database) -> usize {
    database
        .read(|store| {
            let (mut cursor, mut count) = (0, 0);
            loop {
                let (page, next) = store.changed_after(cursor, 500)?;
                count += page.len();
                if page.is_empty() {
                    return Ok(count);
                }
                cursor = next;
            }
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_newer_version_is_refused_in_words_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 10).await;
    let path = dir.path().join("kith.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let Err(failure) = Database::open(dir.path(), peer(1)).await else { panic!("opened") };
    assert_eq!(failure.kind, FailureKind::Unsupported);
    assert!(failure.message.contains("version 99") && !failure.advice.is_empty(), "{failure:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn overwritten_pages_lose_their_rows_only_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5_000).await;
    damage(dir.path(), |page| page > 60 && page % 50 == 0);
    let (database, repair) = open(dir.path()).await;
    let repair = repair.expect("the damage is found");
    assert!(repair.moved_to.exists() && repair.sentence().contains("damaged"), "{}", repair.sentence());
    let left = messages(&database).await;
    assert!((4_000..=5_001).contains(&left) && repair.messages() as usize == left, "{left}: {}", repair.sentence());
    // It is a database like another.
    database.write(|store| store.say(with(2), id(7), text("goes on"), NOW)).await.unwrap();
    assert_eq!(database.read(|store| store.search("goes on", None, 0, 5)).await.unwrap().len(), 1);
    assert!(!database.read(|store| store.search("ka", None, 0, 5)).await.unwrap().is_empty());
    database.close().await;
    assert!(open(dir.path()).await.1.is_none());
}

#[tokio::test]
async fn a_file_that_was_cut_off_gives_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5_000).await;
    let path = dir.path().join("kith.db");
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 4).unwrap();
    let (database, repair) = open(dir.path()).await;
    let repair = repair.expect("a shorter file is noticed without a full check");
    assert!(repair.incomplete.contains(&"message".to_owned()), "{}", repair.sentence());
    assert!(messages(&database).await > 500, "{}", repair.sentence());
}

#[tokio::test]
async fn a_file_of_something_else_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kith.db"), b"this is no database at all, but a letter").unwrap();
    let (database, repair) = open(dir.path()).await;
    let repair = repair.unwrap();
    assert_eq!(std::fs::read(&repair.moved_to).unwrap(), b"this is no database at all, but a letter");
    assert_eq!((repair.messages(), messages(&database).await), (0, 0));
}

#[tokio::test]
async fn lost_conversations_are_found_again_from_their_messages() {
    let dir = tempfile::tempdir().unwrap();
    let (database, _) = open(dir.path()).await;
    database.write(|store| store.hear(peer(2), (1..=20).map(said).collect(), NOW)).await.unwrap();
    database.write(|store| store.say(with(2), id(100), text("mine"), NOW)).await.unwrap();
    database.write(|store| store.peer_stored(peer(2), kith_store::Place::Direct, 1)).await.unwrap();
    database.close().await;
    // The page with the row of the conversation, found by what only it can have: a table with one row, and that the peer's.
    let bytes = std::fs::read(dir.path().join("kith.db")).unwrap();
    let rows_of = |page: &[u8]| page.windows(32).filter(|at| *at == [2; 32]).count();
    let pages: Vec<usize> = bytes
        .chunks(4096)
        .enumerate()
        .filter(|(_, page)| page[0] == 0x0d && rows_of(page) == 1)
        .map(|(page, _)| page)
        .collect();
    damage(dir.path(), |page| pages.contains(&page));
    let (database, repair) = open(dir.path()).await;
    let repair = repair.unwrap();
    assert!(repair.incomplete.contains(&"conversation".to_owned()), "{}", repair.sentence());
    let conversations = database.read(|store| store.conversations()).await.unwrap();
    assert_eq!((conversations[0].id, conversations[0].unread), (with(2), 20));
    let marks = database.read(|store| store.heard_marks(peer(2))).await.unwrap();
    assert_eq!(marks, [(kith_store::Place::Direct, 20)]);
    let (entry, _) = database.write(|store| store.say(with(2), id(101), text("more"), NOW)).await.unwrap();
    assert_eq!(entry.sequence, 2);
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_was_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (database, _) = open(dir.path()).await;
    database.write(|store| store.set_quota(120)).await.unwrap();
    let mut acknowledged: Vec<u64> = (601..610).collect();
    for number in acknowledged.clone() {
        database.write(move |store| store.say(with(2), id(number), text("there was room"), NOW)).await.unwrap();
    }
    let mut refused = 0;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=600 {
        let database = database.clone();
        tasks.spawn(async move {
            let body = text(&format!("{number} {}", "words ".repeat(100)));
            (number, database.write(move |store| store.say(with(2), id(number), body, NOW)).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (number, Ok(_)) => acknowledged.push(number),
            (_, Err(failure)) => {
                assert!(failure.message.contains("disk is full") && failure.advice.contains("space"), "{failure:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "{refused} of 600");
    // More than the file may have altogether: not acknowledged to the peer either, and no part of it stored.
    let large = (1..=40).map(|sequence| crate::entry(sequence, text(&"x ".repeat(8_000)))).collect();
    assert!(database.write(|store| store.hear(peer(3), large, NOW)).await.is_err());
    assert_eq!(database.read(|store| store.heard_marks(peer(3))).await.unwrap(), []);
    database.write(|store| store.set_quota(100_000)).await.unwrap();
    let (entry, _) = database.write(|store| store.say(with(2), id(9_999), text("room again"), NOW)).await.unwrap();
    assert_eq!(entry.sequence, acknowledged.len() as u64 + 1);
    database.close().await;
    let (database, repair) = open(dir.path()).await;
    assert!(repair.is_none());
    for number in acknowledged {
        assert!(database.read(move |store| store.message(id(number))).await.unwrap().is_some());
    }
}

/// The other half of the test below: says what is stored, one a line, until it is killed.
#[tokio::test]
async fn child_that_stores_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (database, _) = open(Path::new(&dir)).await;
    let first =
        database.read(|store| Ok(store.heard_marks(peer(2))?.first().map_or(0, |(_, mark)| *mark))).await.unwrap();
    for number in first + 1.. {
        let said = database.write(move |store| store.say(with(2), id(1_000_000 + number), text("mine"), NOW));
        let heard = database.write(move |store| store.hear(peer(2), vec![said_at(number)], NOW));
        let (said, heard) = tokio::join!(said, heard);
        said.unwrap();
        heard.unwrap();
        writeln!(std::io::stdout(), "stored {number}").unwrap();
    }
}

fn said_at(number: u64) -> kith_store::Entry {
    said(number)
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = 0;
    for round in 1..=5u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::child_that_stores_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let until = stored + 20 * round;
        for line in lines.by_ref() {
            // The harness writes on the first line as well.
            if let Some((_, number)) = line.split_once("stored ") {
                stored = number.parse().unwrap();
                if stored >= until {
                    break;
                }
            }
        }
        child.kill().unwrap();
        for line in lines {
            if let Some((_, number)) = line.split_once("stored ") {
                stored = number.parse().unwrap_or(stored);
            }
        }
        child.wait().unwrap();
        let (database, repair) = open(dir.path()).await;
        assert!(repair.is_none(), "a kill damages nothing");
        let marks = database.read(|store| store.heard_marks(peer(2))).await.unwrap();
        let mark = marks[0].1;
        assert!(mark >= stored, "{mark} of {stored}");
        let mut sequences = Vec::new();
        for number in 1..=mark {
            let message = database.read(move |store| store.message(id(number))).await.unwrap();
            assert_eq!(message.unwrap().text, format!("message {number}"));
            sequences.push(number);
        }
        let (_, _, said) = database.read(|store| store.owed(peer(2))).await.unwrap()[0];
        let entries =
            database.read(move |store| store.entries_for(peer(2), kith_store::Place::Direct, 0, 1_000)).await.unwrap();
        assert!(entries.len() as u64 == said && said >= stored, "{said} of {stored}");
        let unread = database.read(|store| store.conversation(with(2))).await.unwrap().unwrap().unread;
        assert_eq!(u64::from(unread), mark);
        stored = mark;
        // A say that was stored and not acknowledged stays; the child's numbers go on behind what was heard.
        for number in 1_000_000 + mark + 1..1_000_000 + mark + 3 {
            let left = database.read(move |store| store.message(id(number))).await.unwrap();
            if left.is_some() {
                database.write(move |store| store.hear(peer(2), vec![said_at(number - 1_000_000)], NOW)).await.unwrap();
                stored = number - 1_000_000;
            }
        }
        database.close().await;
    }
}
