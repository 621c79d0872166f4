//! Many messages at once, for measuring.

use kith_common::chat::MessageId;
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::store::{DELIVERED, READ};
use crate::{Result, Store};

const PEERS: u8 = 20;
const WORDS: u64 = 20_000;
const SYLLABLES: [&str; 24] = [
    "ka", "mo", "ri", "ten", "sa", "lu", "ver", "no", "pa", "di", "gra", "sto", "be", "fin", "hu", "jo", "wel", "ze",
    "cha", "pri", "tum", "och", "ley", "am",
];

/// The word of that rank, the same each time: 0 is the most frequent one.
pub fn word(rank: u64) -> String {
    let mut rest = rank + 30;
    let mut word = String::new();
    while rest > 0 {
        word.push_str(SYLLABLES[(rest % 24) as usize]);
        rest /= 24;
    }
    word
}

pub fn peer(number: u8) -> PeerId {
    PeerId::from_public_key([number + 100; 32])
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Zipf's law: the word of rank r about 1/r as often as the first.
    fn rank(&mut self) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((WORDS as f64).powf(unit) - 1.0) as u64
    }
}

impl Store {
    /// Makes `n` messages of 4 to 20 words among twenty peers, half of them own, one a second from that time on, in one transaction.
    #[doc(hidden)]
    pub fn fill(&mut self, n: u64, from_unix_ms: i64) -> Result<()> {
        self.atomically(|store| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let mut talks = Vec::new();
            for number in 0..PEERS {
                talks.push((store.ensure_talk(kith_common::chat::ConversationId::Peer(peer(number)))?.key, peer(number), 0i64, 0i64));
            }
            let first: i64 = store.next_cursor()?;
            let mut insert = store.conn.prepare(
                "INSERT INTO message (position, cursor, conversation, id, author, sequence, sent_ms, stored_ms, state, text)
                 VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)",
            )?;
            let mut text = String::new();
            for number in 0..n {
                text.clear();
                for _ in 0..4 + random.next() % 17 {
                    text.push_str(&word(random.rank()));
                    text.push(' ');
                }
                let own = random.next().is_multiple_of(2);
                let who = (random.next() % talks.len() as u64) as usize;
                let (talk, peer, said, heard) = &mut talks[who];
                let sequence = if own { said } else { heard };
                *sequence += 1;
                let mut id = [0; 16];
                id[..8].copy_from_slice(&random.next().to_le_bytes());
                id[8..].copy_from_slice(&number.to_le_bytes());
                insert.execute(params![
                    first + number as i64,
                    *talk,
                    MessageId::from_bytes(id).as_bytes(),
                    (!own).then(|| peer.public_key()),
                    *sequence,
                    from_unix_ms + number as i64 * 1000,
                    if own { DELIVERED } else { READ },
                    text.trim_end(),
                ])?;
            }
            drop(insert);
            store.change("UPDATE counter SET cursor = ?", [first + n as i64])?;
            for (talk, _, said, heard) in talks {
                store.change(
                    "UPDATE conversation SET said = ?1, sent_to = ?1, delivered_to = ?1, hidden = 0, cursor = ?2, seen = ?2 WHERE key = ?3",
                    params![said, first + n as i64, talk],
                )?;
                store.change("UPDATE link SET handed = ?1, stored = ?1, heard = ?2, seen = ?2 WHERE conversation = ?3", [said, heard, talk])?;
            }
            store.index_new()?;
            store.merge_all()
        })
    }
}
