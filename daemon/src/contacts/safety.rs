//! The safety number of two nodes: what two people compare, over a call or side by side, to know that nobody stands
//! between them.
//!
//! Made as Signal makes its numeric fingerprints (libsignal, `rust/protocol/src/fingerprint.rs`; described in "Safety
//! number updates", signal.org/blog/safety-number-updates): of each key thirty digits from 5200 rounds of SHA-512, the
//! two halves in the order of their digits. 5200 rounds raise the cost of searching for a key with a similar number by
//! some twelve bits, which thirty digits (99.6 bits) need to be as strong as 112. The eight emoji are another, shorter
//! view (48 bits) of the same two hashes, with a table of 64 as Matrix has it (spec.matrix.org, Short Authentication
//! Strings, "SAS method: emoji"): good for a quick look, the digits are the proof.

use kith_common::contact::SafetyNumber;
use kith_common::ids::PeerId;
use sha2::{Digest, Sha512};

/// Hashed first: another way of making the number gives another number.
const VERSION: u16 = 1;
const ROUNDS: usize = 5200;
/// Six groups of five digits from each key, five bytes a group.
const GROUPS: usize = 6;
const EMOJI: usize = 8;
const EMOJI_DOMAIN: &[u8] = b"kith-safety-emoji-1:";

/// The same whichever of the two asks.
pub(super) fn safety_number(one: PeerId, other: PeerId) -> SafetyNumber {
    let (first, second) = (fingerprint(one), fingerprint(other));
    let (first, second) = if digits(&first) <= digits(&second) { (first, second) } else { (second, first) };
    SafetyNumber { digits: format!("{} {}", digits(&first), digits(&second)), emoji: emoji(&first, &second) }
}

fn fingerprint(peer: PeerId) -> [u8; 64] {
    let key = peer.public_key();
    let start = Sha512::new().chain_update(VERSION.to_be_bytes()).chain_update(key).chain_update(peer.to_bytes());
    let round = |hash: [u8; 64], _| Sha512::new().chain_update(hash).chain_update(key).finalize().into();
    (0..ROUNDS).fold(start.finalize().into(), round)
}

fn digits(fingerprint: &[u8; 64]) -> String {
    let group = |bytes: &[u8]| {
        let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{:05}", number % 100_000)
    };
    fingerprint.chunks_exact(5).take(GROUPS).map(group).collect::<Vec<_>>().join(" ")
}

fn emoji(first: &[u8; 64], second: &[u8; 64]) -> Vec<String> {
    let hash = Sha512::new().chain_update(EMOJI_DOMAIN).chain_update(first).chain_update(second).finalize();
    // Six bytes are eight times six bits.
    let bits = hash.iter().take(6).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let index = |place: usize| usize::try_from(bits >> (42 - 6 * place) & 63).unwrap_or(0);
    let shown = |place: usize| format!("{} {}", TABLE[index(place)].0, TABLE[index(place)].1);
    (0..EMOJI).map(shown).collect()
}

/// Things that look unlike one another, also small and in one colour, with the word to say.
const TABLE: [(&str, &str); 64] = [
    ("🐶", "dog"),
    ("🐱", "cat"),
    ("🦁", "lion"),
    ("🐎", "horse"),
    ("🦄", "unicorn"),
    ("🐷", "pig"),
    ("🐘", "elephant"),
    ("🐰", "rabbit"),
    ("🐼", "panda"),
    ("🐓", "rooster"),
    ("🐧", "penguin"),
    ("🐢", "turtle"),
    ("🐟", "fish"),
    ("🐙", "octopus"),
    ("🦋", "butterfly"),
    ("🌷", "flower"),
    ("🌳", "tree"),
    ("🌵", "cactus"),
    ("🍄", "mushroom"),
    ("🌏", "globe"),
    ("🌙", "moon"),
    ("☁", "cloud"),
    ("🔥", "fire"),
    ("🍌", "banana"),
    ("🍎", "apple"),
    ("🍓", "strawberry"),
    ("🌽", "corn"),
    ("🍕", "pizza"),
    ("🎂", "cake"),
    ("❤", "heart"),
    ("😀", "smiley"),
    ("🤖", "robot"),
    ("🎩", "hat"),
    ("👓", "glasses"),
    ("🔧", "spanner"),
    ("🎅", "Santa"),
    ("👍", "thumbs up"),
    ("☂", "umbrella"),
    ("⌛", "hourglass"),
    ("⏰", "clock"),
    ("🎁", "gift"),
    ("💡", "light bulb"),
    ("📕", "book"),
    ("✏", "pencil"),
    ("📎", "paperclip"),
    ("✂", "scissors"),
    ("🔒", "padlock"),
    ("🔑", "key"),
    ("🔨", "hammer"),
    ("☎", "telephone"),
    ("🏁", "flag"),
    ("🚂", "train"),
    ("🚲", "bicycle"),
    ("✈", "aeroplane"),
    ("🚀", "rocket"),
    ("🏆", "trophy"),
    ("⚽", "ball"),
    ("🎸", "guitar"),
    ("🎺", "trumpet"),
    ("🔔", "bell"),
    ("⚓", "anchor"),
    ("🎧", "headphones"),
    ("📁", "folder"),
    ("📌", "pin"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_public_key([n; 32])
    }

    #[test]
    fn both_sides_see_the_same_sixty_digits_and_eight_emoji() {
        let number = safety_number(peer(1), peer(2));
        assert_eq!(number, safety_number(peer(2), peer(1)));
        let groups: Vec<&str> = number.digits.split(' ').collect();
        assert_eq!(groups.len(), 12);
        assert!(groups.iter().all(|group| group.len() == 5 && group.bytes().all(|digit| digit.is_ascii_digit())));
        assert_eq!(number.emoji.len(), 8);
    }

    #[test]
    fn another_key_on_either_side_gives_another_number() {
        let numbers = [(1, 2), (1, 3), (3, 2), (4, 5)].map(|(one, other)| safety_number(peer(one), peer(other)));
        let digits: BTreeSet<&str> = numbers.iter().map(|number| number.digits.as_str()).collect();
        let emoji: BTreeSet<&[String]> = numbers.iter().map(|number| number.emoji.as_slice()).collect();
        assert_eq!((digits.len(), emoji.len()), (4, 4));
    }

    /// Numbers that people have compared stay as they are.
    #[test]
    fn each_half_is_the_iterated_hash_of_a_key() {
        let key = *peer(7).public_key();
        let mut hash = Sha512::digest([&[0, 1][..], &key, &peer(7).to_bytes()].concat());
        for _ in 0..5200 {
            hash = Sha512::digest([&hash[..], &key].concat());
        }
        assert_eq!(fingerprint(peer(7))[..], hash[..]);
        let first = u64::from_be_bytes([0, 0, 0, hash[0], hash[1], hash[2], hash[3], hash[4]]) % 100_000;
        let number = safety_number(peer(7), peer(8));
        assert!(number.digits.contains(&format!("{first:05}")), "{}", number.digits);
    }

    #[test]
    fn all_emoji_and_their_names_differ() {
        let (pictures, names): (BTreeSet<&str>, BTreeSet<&str>) = TABLE.into_iter().unzip();
        assert_eq!((pictures.len(), names.len()), (64, 64));
    }
}
