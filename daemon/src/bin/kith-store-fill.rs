//! Fills the database of a node with messages, for measuring what many of them cost.
//!
//! `kith-store-fill DATA_DIR PEER_ID MESSAGES`: as if twenty others had written to the node with that peer id. The words
//! are as frequent as in a language: a few are everywhere, most are rare.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use kith_common::chat::MessageId;
use kith_common::clock::unix_ms;
use kith_common::ids::PeerId;
use kith_store::{Body, Database, Entry, Place};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AUTHORS: u64 = 20;
/// Entries of one author that are stored at once.
const AT_ONCE: u64 = 2000;
const WORDS: u64 = 20_000;
const WORDS_A_MESSAGE: u64 = 8;
/// Every so many messages have the rarest word.
const RARE: u64 = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, own, messages] = arguments.as_slice() else {
        bail!("kith-store-fill DATA_DIR PEER_ID MESSAGES");
    };
    let messages: u64 = messages.parse().context("MESSAGES is a number")?;
    let (database, _) = Database::open(Path::new(data_dir), own.parse()?).await?;
    let (begun, mut dice) = (Instant::now(), Dice(1));
    let (mut stored, mut sequences) = (0, [0; AUTHORS as usize]);
    while stored < messages {
        let turn = stored / AT_ONCE % AUTHORS;
        let author = PeerId::from_public_key([turn as u8 + 1; 32]);
        let count = AT_ONCE.min(messages - stored);
        let sequence = &mut sequences[turn as usize];
        let entries = (0..count).map(|n| entry(&mut dice, stored + n, *sequence + n + 1)).collect();
        database.write(move |store| store.hear(author, entries, unix_ms())).await?;
        *sequence += count;
        stored += count;
    }
    database.close().await;
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("{messages} messages in {:.0} s\n", begun.elapsed().as_secs_f64()),
    );
    Ok(())
}

fn entry(dice: &mut Dice, number: u64, sequence: u64) -> Entry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id[8..].copy_from_slice(&dice.next().to_be_bytes());
    let mut text = format!("the message {number} through");
    for _ in 0..WORDS_A_MESSAGE {
        text += &format!(" w{}", dice.word());
    }
    if number % RARE == RARE / 2 {
        text += " zebra";
    }
    let body = Body::Text { text, reply_to: None, attachments: Vec::new() };
    Entry { place: Place::Direct, sequence, id: MessageId::from_bytes(id), sent_unix_ms: unix_ms(), body }
}

/// xorshift64 (Marsaglia 2003): the same messages every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The number of a word, by Zipf's law: the logarithm of its rank is even.
    fn word(&mut self) -> u64 {
        let even = self.next() as f64 / u64::MAX as f64;
        (WORDS as f64).powf(even) as u64
    }
}
