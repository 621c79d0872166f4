//! Measures the database: `cargo run -p kith-store --example figures [MESSAGES]`, on standard error.

use std::time::{Duration, Instant};

use kith_common::chat::{Before, ConversationId, MessageId};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_store::{Body, Database, Entry, Place, fill};

/// Acknowledged one by one, but many under way.
const UNDER_WAY: usize = 64;
const SAID: u64 = 10_000;

fn p95(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    format!("p50 {:.2} ms, p95 {:.2} ms, most {:.2} ms ({} queries)", at(50), at(95), at(100), times.len())
}

fn text(text: String) -> Body {
    Body::Text { text, reply_to: None, attachments: Vec::new() }
}

fn id(number: u64) -> MessageId {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    MessageId::from_bytes(bytes)
}

fn queries() -> Vec<(&'static str, Vec<String>)> {
    let w = fill::word;
    vec![
        ("frequent word", (0..10).map(|rank| format!("{} ", w(rank))).collect()),
        ("rare word", (0..10).map(|rank| w(15_000 + 37 * rank)).collect()),
        ("two frequent words", (0..10).map(|rank| format!("{} {}", w(rank), w(rank + 3))).collect()),
        ("frequent and rare word", (0..10).map(|rank| format!("{} {}", w(rank), w(12_000 + rank))).collect()),
        ("two rare words", (0..10).map(|rank| format!("{} {}", w(3_000 + rank), w(12_000 + rank))).collect()),
        (
            "four words",
            (0..10).map(|rank| format!("{} {} {} {}", w(rank), w(rank + 2), w(rank + 7), w(rank + 20))).collect(),
        ),
        (
            "beginnings",
            ["k", "ka", "kam", "kamo", "te", "ten", "tenk", "s", "ve", "verka", "ke", "zz"].map(String::from).to_vec(),
        ),
        ("no such word", (0..10).map(|rank| format!("q{rank}x")).collect()),
    ]
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(".").expect("a folder for the database");
    let own = PeerId::from_public_key([200; 32]);
    let open = async || Database::open(dir.path(), own).await.map(|(database, _)| database);

    let database = open().await?;
    let began = Instant::now();
    database.write(move |store| store.fill(count, 1_600_000_000_000)).await?;
    eprintln!("fill: {count} messages in {:.1} s", began.elapsed().as_secs_f64());
    database.close().await;
    let bytes = std::fs::metadata(dir.path().join("kith.db")).map_or(0, |file| file.len());
    eprintln!("file: {:.0} MB", bytes as f64 / 1e6);

    let began = Instant::now();
    let database = open().await?;
    let conversations = database.read(|store| store.conversations()).await?.len();
    eprintln!(
        "open after a clean end, and {conversations} conversations: {:.0} ms",
        began.elapsed().as_secs_f64() * 1000.0
    );

    let mut all = Vec::new();
    for (kind, queries) in queries() {
        let mut times = Vec::new();
        let mut hits = 0;
        for query in queries.iter().cycle().take(queries.len() * 3) {
            let query = query.clone();
            let began = Instant::now();
            hits += database.read(move |store| store.search(&query, None, 0, 50)).await?.len();
            times.push(began.elapsed());
        }
        eprintln!("search, {kind}: {}, {hits} hits", p95(times.clone()));
        all.extend(times);
    }
    eprintln!("search, all: {}", p95(all));
    let one = ConversationId::Peer(fill::peer(3));
    let mut times = Vec::new();
    for rank in 0..30 {
        let began = Instant::now();
        database.read(move |store| store.search(&fill::word(rank * rank), Some(one), 0, 50)).await?;
        times.push(began.elapsed());
    }
    eprintln!("search in one conversation: {}", p95(times));
    let mut times = Vec::new();
    let mut before = Before::default();
    for _ in 0..100 {
        let began = Instant::now();
        let page = database.read(move |store| store.history(one, before, 100)).await?;
        times.push(began.elapsed());
        before.position = page.first().map_or(0, |message| message.position);
    }
    eprintln!("history, pages of 100: {}", p95(times));

    let talk = ConversationId::Peer(fill::peer(0));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..SAID {
        if tasks.len() == UNDER_WAY {
            tasks.join_next().await;
        }
        let database = database.clone();
        tasks.spawn(async move {
            let body = text(format!("message {number} with some words in it"));
            database.write(move |store| store.say(talk, id(number), body, 1_700_000_000_000)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic")?;
    }
    eprintln!(
        "say, each acknowledged, {UNDER_WAY} under way: {:.0} a second",
        SAID as f64 / began.elapsed().as_secs_f64()
    );

    let author = PeerId::from_public_key([150; 32]);
    for batch in [1, 16, 64] {
        let began = Instant::now();
        let offset = database.read(move |store| store.heard_marks(author)).await?.first().map_or(0, |(_, mark)| *mark);
        for first in (0..SAID / 5).step_by(batch) {
            let entries: Vec<Entry> = (first..(first + batch as u64).min(SAID / 5))
                .map(|number| Entry {
                    place: Place::Direct,
                    sequence: offset + number + 1,
                    id: id((1 << 32) | (offset + number)),
                    sent_unix_ms: 1_700_000_000_000,
                    body: text(format!("answer {number} with some words in it")),
                })
                .collect();
            database.write(move |store| store.hear(author, entries, 1_700_000_000_000)).await?;
        }
        eprintln!(
            "hear, {batch} at once, one after the other: {:.0} a second",
            (SAID / 5) as f64 / began.elapsed().as_secs_f64()
        );
    }

    let mut times = Vec::new();
    for number in 0..200 {
        let began = Instant::now();
        let body = text("alone".into());
        database.write(move |store| store.say(talk, id((1 << 33) | number), body, 1_700_000_000_000)).await?;
        times.push(began.elapsed());
    }
    eprintln!("say, alone: {}", p95(times));

    // As after a kill: the write-ahead log is left over, so the whole file is looked at.
    let copy = tempfile::tempdir_in(".").expect("a folder for the copy");
    let (from, to) = (dir.path().to_owned(), copy.path().to_owned());
    // Nobody writes while this is looked after.
    let copied = database.write(move |_| {
        for name in ["kith.db", "kith.db-wal"] {
            std::fs::copy(from.join(name), to.join(name)).map_err(kith_store::StoreError::io("cannot copy"))?;
        }
        Ok(())
    });
    copied.await?;
    database.close().await;
    let began = Instant::now();
    let (_, repair) = Database::open(copy.path(), own).await?;
    eprintln!("open after a kill: {:.0} ms, repaired: {}", began.elapsed().as_secs_f64() * 1000.0, repair.is_some());
    Ok(())
}
