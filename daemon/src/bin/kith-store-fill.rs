//! Fills the database of a node with messages, for measuring what many of them cost.
//!
//! `kith-store-fill DATA_DIR PEER_ID MESSAGES`: as if twenty others and the node with that peer id had written to each
//! other. Prints one JSON line, with queries for words from the most frequent ones to none that is there.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use kith_common::clock::unix_ms;
use kith_store::{Database, fill};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, own, messages] = arguments.as_slice() else {
        bail!("kith-store-fill DATA_DIR PEER_ID MESSAGES");
    };
    let messages: u64 = messages.parse().context("MESSAGES is a number")?;
    let begun = Instant::now();
    let (database, _) = Database::open(Path::new(data_dir), own.parse()?).await?;
    let from = unix_ms() - i64::try_from(messages)? * 1000;
    database.write(move |store| store.fill(messages, from)).await?;
    database.close().await;
    println!(
        "{}",
        serde_json::json!({ "messages": messages, "seconds": begun.elapsed().as_secs_f64(), "queries": queries() })
    );
    Ok(())
}

/// One word of each frequency, two and three together, and beginnings, of which one letter is the most there is to find.
fn queries() -> Vec<String> {
    let (often, sometimes, seldom) = (fill::word(0), fill::word(200), fill::word(15_000));
    let beginning = |word: &str, chars: usize| word.chars().take(chars).collect::<String>();
    vec![
        often.clone(),
        fill::word(20),
        sometimes.clone(),
        fill::word(2000),
        seldom.clone(),
        format!("{often} {}", fill::word(1)),
        format!("{often} {sometimes}"),
        format!("{often} {} {}", fill::word(5), beginning(&sometimes, 3)),
        beginning(&often, 1),
        beginning(&often, 2),
        beginning(&seldom, 4),
        "zebra".to_owned(),
    ]
}
