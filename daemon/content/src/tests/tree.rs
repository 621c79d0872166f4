use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::encode_ranges_validated;
use bao_tree::{BlockSize, ChunkNum, ChunkRanges};
use proptest::prelude::*;

use super::*;
use crate::error::ContentError;
use crate::serve::ServedBytes;
use crate::tree::{check_proof, check_range, decode, hash_bytes, outboard_bytes, proof_range};

const BAO_GROUPS: BlockSize = BlockSize::from_chunk_log(4);

/// What bao-tree makes of a range.
fn bao(bytes: &[u8], range: &Range<u64>) -> Vec<u8> {
    let outboard = PreOrderMemOutboard::create(bytes, BAO_GROUPS);
    let chunks = ChunkRanges::from(ChunkNum(range.start / KIB)..ChunkNum(range.end.div_ceil(KIB)));
    let mut encoded = Vec::new();
    encode_ranges_validated(bytes, &outboard, &chunks, &mut encoded).expect("bao-tree encodes it");
    encoded
}

fn whole(bytes: &[u8]) -> Range<u64> {
    0..bytes.len() as u64
}

#[test]
fn a_range_is_encoded_as_bao_does_it() {
    for size in SIZES {
        let bytes = content(size, size);
        let served = ServedBytes::new(bytes.clone());
        let count = size.div_ceil(GROUP_BYTES);
        for range in [0..1, 0..2, 1..2, 1..4, count / 2..count, count.saturating_sub(1)..count, 3..17] {
            let range = range.start * GROUP_BYTES..(range.end * GROUP_BYTES).min(size);
            if range.is_empty() || range.end - range.start > 4 * MIB {
                continue;
            }
            assert_eq!(encode(&served, range.clone()), bao(&bytes, &range), "{range:?} of {size}");
        }
    }
}

#[test]
fn what_was_encoded_is_decoded_at_every_size() {
    for size in SIZES {
        let bytes = content(size, size + 1);
        let served = ServedBytes::new(bytes.clone());
        let mut decoded = Vec::new();
        let mut start = 0;
        loop {
            let range = start..(start + MIB).min(size);
            let encoded = encode(&served, range.clone());
            decoded.extend(decode(served.hash(), size, range.clone(), &encoded).expect("it is the content"));
            start = range.end;
            if start == size {
                break;
            }
        }
        assert!(decoded == bytes, "{size}");
    }
}

#[test]
fn an_empty_content_has_nothing_to_fetch_and_its_hash_is_its_proof() {
    let empty = hash_bytes(b"");
    assert_eq!(encoded_bytes(0, 0..0), 0);
    assert_eq!(proof_range(0), 0..0);
    assert!(check_proof(empty, 0, b"").is_ok());
    assert!(matches!(check_proof(hash_bytes(b"a"), 0, b""), Err(ContentError::Lie(_))));
    assert!(matches!(check_proof(empty, 0, b"a"), Err(ContentError::Lie(_))));
}

#[test]
fn another_size_is_never_proven() {
    for size in SIZES {
        let bytes = content(size, 7);
        let hash = hash_bytes(&bytes);
        let served = ServedBytes::new(bytes);
        let encoded = encode(&served, proof_range(size));
        assert!(check_proof(hash, size, &encoded).is_ok(), "{size}");
        for claimed in [size.wrapping_sub(1), size + 1, size + 1024, size + GROUP_BYTES, size * 2 + 1, 1 << 40] {
            let claimed_proof = check_proof(hash, claimed, &encoded);
            assert!(claimed_proof.is_err(), "{claimed} instead of {size}");
            // Of the length that the claim would have, too.
            let mut padded = encoded.clone();
            padded.resize(usize::try_from(encoded_bytes(claimed, proof_range(claimed))).unwrap_or(0), 0);
            assert!(check_proof(hash, claimed, &padded).is_err(), "{claimed} instead of {size}, padded");
        }
    }
}

#[test]
fn a_lie_at_any_place_is_found() {
    let bytes = content(200_000, 3);
    let hash = hash_bytes(&bytes);
    let range = GROUP_BYTES..5 * GROUP_BYTES;
    let right = encode(&ServedBytes::new(bytes.clone()), range.clone());
    for place in (0..right.len()).step_by(101).chain([right.len() - 1]) {
        let mut wrong = right.clone();
        wrong[place] ^= 1;
        let found = decode(hash, 200_000, range.clone(), &wrong);
        assert!(matches!(found, Err(ContentError::Lie(_))), "a bit at {place} of {}", right.len());
    }
    for length in [0, 1, 63, 64, right.len() - 1, right.len() + 1, right.len() + GROUP_BYTES as usize] {
        let mut wrong = right.clone();
        wrong.resize(length, 0);
        assert!(matches!(decode(hash, 200_000, range.clone(), &wrong), Err(ContentError::Lie(_))), "{length} bytes");
    }
    // The right bytes of another place, and of another content.
    let other_place = encode(&ServedBytes::new(bytes), 5 * GROUP_BYTES..9 * GROUP_BYTES);
    let other = encode(&ServedBytes::new(content(200_000, 4)), range.clone());
    for wrong in [other_place, other] {
        assert!(decode(hash, 200_000, range.clone(), &wrong).is_err());
    }
}

#[test]
fn only_whole_groups_can_be_asked_for() {
    let size = 100_000;
    for bad in [1..GROUP_BYTES, 0..GROUP_BYTES - 1, GROUP_BYTES..GROUP_BYTES, 100_000..100_001, 114_688..131_072] {
        assert!(matches!(check_range(size, &bad), Err(ContentError::BadRange)), "{bad:?}");
    }
    for (start, end) in [(GROUP_BYTES, 0), (u64::MAX - 3, 5)] {
        let bad = Range { start, end };
        assert!(matches!(check_range(size, &bad), Err(ContentError::BadRange)), "{bad:?}");
    }
    assert!(matches!(check_range(u64::MAX, &(0..GROUP_BYTES)), Err(ContentError::BadRange)));
    // The last group may be asked for by its full length.
    assert_eq!(check_range(size, &(98_304..114_688)).ok(), Some(98_304..100_000));
    assert_eq!(check_range(0, &(0..GROUP_BYTES)).ok(), Some(0..0));
    assert!(check_range(0, &(GROUP_BYTES..2 * GROUP_BYTES)).is_err());
}

#[test]
fn lengths_are_those_of_the_facts() {
    // 2 GiB: 0.39 % for the outboard, 0.45 % on the wire at 1 MiB, 0.40 % at 4 MiB.
    let size = 2 * 1024 * MIB;
    assert_eq!(outboard_bytes(size), 8_388_544);
    assert_eq!(outboard_bytes(GROUP_BYTES), 0);
    let overhead = |unit: u64| (encoded_bytes(size, 0..unit) - unit) as f64 / unit as f64;
    assert!((0.0044..0.0046).contains(&overhead(MIB)), "{}", overhead(MIB));
    assert!((0.0039..0.0041).contains(&overhead(4 * MIB)), "{}", overhead(4 * MIB));
    // Of the largest file there is, without walking through it.
    assert_eq!(encoded_bytes(1 << 44, 0..1 << 44), (1 << 44) + outboard_bytes(1 << 44));
}

#[test]
fn the_whole_of_a_content_can_be_read_in_odd_pieces() {
    let bytes = content(3 * MIB + 5, 9);
    let served = ServedBytes::new(bytes.clone());
    for range in [0..1, 5..6, 16_383..16_385, 0..MIB, MIB + 3..3 * MIB, 3 * MIB..3 * MIB + 5, 3 * MIB + 4..u64::MAX] {
        let mut read = vec![1, 2, 3];
        served.read(range.clone(), &mut read).expect("it can be read");
        let end = range.end.min(bytes.len() as u64);
        assert!(read[3..] == bytes[range.start as usize..end as usize], "{range:?}");
    }
    let mut none = Vec::new();
    served.read(4 * MIB..5 * MIB, &mut none).expect("there is nothing behind the end");
    assert_eq!(none, b"");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_range_of_any_size_is_that_of_bao(size in 1_u64..600_000, start in 0_u64..40, count in 1_u64..40, seed: u64) {
        let bytes = content(size, seed);
        let served = ServedBytes::new(bytes.clone());
        prop_assert_eq!(served.hash(), hash_bytes(&bytes));
        let range = start * GROUP_BYTES..((start + count) * GROUP_BYTES).min(size);
        if range.is_empty() {
            prop_assert!(check_range(size, &range).is_err());
        } else {
            let encoded = encode(&served, range.clone());
            prop_assert_eq!(&encoded, &bao(&bytes, &range));
            let decoded = decode(served.hash(), size, range.clone(), &encoded).expect("it is the content");
            prop_assert_eq!(&decoded[..], &bytes[range.start as usize..range.end as usize]);
        }
        let whole = whole(&bytes);
        prop_assert_eq!(encoded_bytes(size, whole.clone()), bao(&bytes, &whole).len() as u64);
    }

    #[test]
    fn rubbish_is_refused_and_never_panics(size in 0_u64..1 << 45, start: u64, length: u64, rubbish: Vec<u8>) {
        let range = start..start.saturating_add(length);
        let _ = encoded_bytes(size, range.clone());
        let decoded = decode(hash_bytes(b"something else"), size, range, &rubbish);
        prop_assert!(decoded.is_err());
    }
}
