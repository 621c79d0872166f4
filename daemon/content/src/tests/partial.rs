use std::os::unix::fs::FileExt;
use std::thread;

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::error::ContentError;
use crate::{Bits, ServedBytes, check_proof, hash_bytes, proof_range, unit_bytes};

fn begin(shared: &Shared, target: &Path) -> (Partial, Bits) {
    Partial::create_or_open(target, shared.hash(), shared.layout()).expect("it can be begun")
}

fn file_in(target: &Path, hash: FileHash, name: &str) -> PathBuf {
    target.join(".kith-partial").join(hash.to_string()).join(name)
}

#[test]
fn a_file_of_any_size_is_fetched_and_put_into_place() {
    for size in SIZES {
        let (shared, target, kept) = (Shared::new(size, 41), folder(), folder());
        let (partial, bits) = begin(&shared, target.path());
        assert_eq!((bits.len(), bits.count()), (u32::try_from(size.div_ceil(MIB)).expect("few"), 0));
        check_proof(shared.hash(), size, &shared.encode(proof_range(size))).expect("the size is proven");
        partial.allocate().expect("there is room");
        fetch_all(&partial, &shared.served());
        assert!(partial.bits().is_full());
        assert_eq!((partial.done_bytes(), partial.files_done()), (size, 1));
        partial.keep_outboards(kept.path()).expect("it can be kept");
        let saved = partial.finish("some/where/name.txt").expect("it is whole");
        assert_eq!(saved, target.path().join("name.txt"));
        assert!(fs::read(&saved).expect("it is there") == shared.bytes, "{size}");
        let ours = fs::read(outboard_path(kept.path(), shared.hash())).ok();
        assert!(ours == fs::read(shared.outboard()).ok(), "{size}: the outboard is that of the sharer");
        assert_eq!(Partial::placed(target.path(), shared.hash()), Some(saved.clone()));
        Partial::discard_at(target.path(), shared.hash()).expect("the note can go");
        assert_eq!(fs::read_dir(target.path()).expect("it is there").count(), 1, "nothing but the file is left");
        assert_eq!(Partial::placed(target.path(), shared.hash()), None);
    }
}

#[test]
fn nothing_of_a_lie_is_written() {
    let (shared, target) = (Shared::new(3 * MIB, 42), folder());
    let (partial, _) = begin(&shared, target.path());
    let right = shared.encode(MIB..2 * MIB);
    // The last group is wrong; all before it would verify.
    let mut wrong = right.clone();
    *wrong.last_mut().expect("it is not empty") ^= 1;
    for lie in [&wrong[..], &right[..right.len() - 1], &[], &shared.encode(0..MIB)] {
        assert!(matches!(partial.store(1, lie), Err(ContentError::Lie(_))), "{} bytes", lie.len());
    }
    assert!(matches!(partial.store(3, &right), Err(ContentError::BadRange)), "there is no such unit");
    assert!(!partial.data_path(0).exists(), "there is no data yet");
    assert_eq!(fs::metadata(file_in(target.path(), shared.hash(), "outboard")).map(|it| it.len()).ok(), Some(0));
    assert_eq!(partial.bits().count(), 0);
    partial.store(1, &right).expect("what is right is kept");
    partial.store(1, &right).expect("twice as well");
    assert_eq!((partial.bits().count(), partial.done_bytes()), (1, MIB));
}

#[test]
fn another_daemon_goes_on_with_what_is_on_record() {
    let (shared, target) = (Shared::new(10 * MIB + 7, 43), folder());
    let (partial, _) = begin(&shared, target.path());
    for unit in [0, 3, 10] {
        fetch(&partial, unit, &shared.served());
    }
    let second = Partial::create_or_open(target.path(), shared.hash(), shared.layout());
    assert!(matches!(second, Err(ContentError::InUse(_))), "one at a time");
    assert!(matches!(Partial::discard_at(target.path(), shared.hash()), Err(ContentError::InUse(_))));
    // As a kill does: nothing is synced, nothing is told.
    drop(partial);
    let (partial, bits) = begin(&shared, target.path());
    assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 3, 10]);
    assert_eq!((partial.done_bytes(), partial.files_done()), (2 * MIB + 7, 0));
    let early = Partial::create_or_open(target.path(), hash_bytes(b"x"), shared.layout()).expect("another content").0;
    assert!(matches!(early.finish("x"), Err(ContentError::Incomplete { missing_units: 11 })));
    fetch_all(&partial, &shared.served());
    let saved = partial.finish("whole").expect("it is whole");
    assert!(fs::read(saved).expect("it is there") == shared.bytes);
}

#[test]
fn what_is_there_can_be_served_on() {
    let (shared, target) = (Shared::new(5 * MIB + 3, 44), folder());
    let (partial, _) = begin(&shared, target.path());
    assert!(matches!(partial.serve(0), Err(ContentError::Missing)));
    for unit in [1, 5] {
        fetch(&partial, unit, &shared.served());
    }
    let served = partial.serve(0).expect("something is there");
    assert!(encode(&served, MIB..2 * MIB) == shared.encode(MIB..2 * MIB));
    assert!(encode(&served, 5 * MIB..5 * MIB + 3) == shared.encode(5 * MIB..5 * MIB + 3));
    let mut encoded = Vec::new();
    for missing in [0..MIB, MIB..3 * MIB, 4 * MIB..5 * MIB] {
        assert!(matches!(served.encode(missing.clone(), &mut encoded), Err(ContentError::NotHere)), "{missing:?}");
    }
    // From one partial into another.
    let other = folder();
    let (second, _) = begin(&shared, other.path());
    fetch(&second, 1, &served);
}

#[test]
fn damage_is_found_by_the_recheck_and_only_that_is_fetched_again() {
    let (shared, target) = (Shared::new(20 * MIB, 45), folder());
    let (partial, _) = begin(&shared, target.path());
    fetch_all(&partial, &shared.served());
    let safe = partial.sync().expect("it can be synced");
    assert!(safe.is_full());
    let data = fs::OpenOptions::new().write(true).open(partial.data_path(0)).expect("it is there");
    for place in [0, 7 * MIB + 1, 20 * MIB - 1] {
        let wrong = shared.bytes[place as usize] ^ 1;
        data.write_all_at(&[wrong], place).expect("it can be damaged");
    }
    let mut trusted = safe.clone();
    trusted.clear(7);
    let mut looked = 0;
    let mut follow = |done| {
        looked = done;
        ControlFlow::Continue(())
    };
    assert_eq!(partial.recheck(Some(&trusted), &mut follow).map(|bits| bits.count()).ok(), Some(19));
    assert_eq!(looked, MIB, "what is trusted is not read");
    let bits = partial.recheck(None, &mut quietly).expect("it can be read");
    assert_eq!((0..20).filter(|unit| !bits.get(*unit)).collect::<Vec<_>>(), [0, 7, 19]);
    drop(partial);
    let (partial, again) = begin(&shared, target.path());
    assert_eq!(again, bits, "it is on record");
    for unit in [0, 7, 19] {
        fetch(&partial, unit, &shared.served());
    }
    assert!(fs::read(partial.finish("x").expect("it is whole")).expect("it is there") == shared.bytes);
}

#[test]
fn a_lost_record_is_made_anew_from_what_is_there() {
    let (shared, target) = (Shared::new(6 * MIB, 46), folder());
    let (partial, _) = begin(&shared, target.path());
    for unit in [2, 4] {
        fetch(&partial, unit, &shared.served());
    }
    drop(partial);
    let bits = file_in(target.path(), shared.hash(), "bits");
    for damage in [&b""[..], b"rubbish", &[0xff; 100]] {
        write(&bits, damage);
        let (partial, found) = begin(&shared, target.path());
        assert_eq!(found.count(), 0);
        let found = partial.recheck(None, &mut quietly).expect("it can be read");
        assert_eq!(found.iter().collect::<Vec<_>>(), [2, 4]);
        assert_eq!(partial.done_bytes(), 2 * MIB);
    }
}

#[test]
fn data_that_somebody_removed_is_fetched_again_and_never_made_up() {
    let (shared, target) = (Shared::new(3 * MIB, 47), folder());
    let (partial, _) = begin(&shared, target.path());
    fetch(&partial, 0, &shared.served());
    let data = partial.data_path(0);
    fs::remove_file(&data).expect("it can be removed");
    assert!(matches!(partial.store(1, &shared.encode(MIB..2 * MIB)), Err(ContentError::Missing)));
    assert!(!data.exists());
    drop(partial);
    let (partial, bits) = begin(&shared, target.path());
    assert_eq!(bits.count(), 0);
    fetch_all(&partial, &shared.served());
    // Cut short at the very end.
    let file = fs::OpenOptions::new().write(true).open(&data).expect("it is there");
    file.set_len(2 * MIB + 1).expect("it can be cut");
    assert!(matches!(partial.finish("x"), Err(ContentError::Incomplete { missing_units: 3 })));
    let (partial, bits) = begin(&shared, target.path());
    assert_eq!(bits.count(), 0);
    fetch_all(&partial, &shared.served());
    assert!(partial.finish("x").is_ok());
}

#[test]
fn a_finish_that_is_killed_after_the_rename_is_found_out_about() {
    let (shared, target) = (Shared::new(2 * MIB, 48), folder());
    write(&target.path().join("taken.bin"), b"somebody else's");
    let (partial, _) = begin(&shared, target.path());
    fetch_all(&partial, &shared.served());
    assert_eq!(Partial::placed(target.path(), shared.hash()), None);
    let saved = partial.finish("taken.bin").expect("it is whole");
    assert_eq!(saved, target.path().join("taken (1).bin"));
    // The caller is killed before it has noted the path.
    assert_eq!(Partial::placed(target.path(), shared.hash()), Some(saved.clone()));
    fs::rename(&saved, target.path().join("moved")).expect("it can be moved");
    write(&saved, b"another file of that name");
    assert_eq!(Partial::placed(target.path(), shared.hash()), None, "it is not taken for another one");
}

#[test]
fn discarding_leaves_nothing() {
    let (shared, target) = (Shared::new(2 * MIB, 49), folder());
    let (partial, _) = begin(&shared, target.path());
    fetch(&partial, 0, &shared.served());
    let (other, _) =
        Partial::create_or_open(target.path(), hash_bytes(b"x"), shared.layout()).expect("another content");
    partial.discard().expect("it can go");
    assert_eq!(
        fs::read_dir(target.path().join(".kith-partial")).expect("it is there").count(),
        1,
        "the other one stays"
    );
    other.discard().expect("it can go");
    assert_eq!(fs::read_dir(target.path()).expect("it is there").count(), 0);
    Partial::discard_at(target.path(), shared.hash()).expect("nothing is there, and that is fine");
    Partial::discard_at(&target.path().join("nowhere"), shared.hash()).expect("that as well");
}

#[test]
fn several_threads_store_at_once() {
    let (shared, target) = (Shared::new(24 * MIB + 1, 50), folder());
    let (partial, _) = begin(&shared, target.path());
    let served = shared.served();
    thread::scope(|scope| {
        for first in 0..6 {
            let (partial, served) = (&partial, &served);
            // Each unit by two threads, as at the end of a transfer.
            scope.spawn(move || {
                (0..25).filter(|unit| unit % 3 == first % 3).for_each(|unit| fetch(partial, unit, served))
            });
        }
    });
    assert_eq!(partial.done_bytes(), shared.size());
    drop(partial);
    let (partial, bits) = begin(&shared, target.path());
    assert!(bits.is_full());
    assert!(fs::read(partial.finish("x").expect("it is whole")).expect("it is there") == shared.bytes);
}

#[test]
fn units_are_numbered_through_all_files() {
    let hash = |number: u64| hash_bytes(&number.to_be_bytes());
    let sizes = [0, 1, MIB, 0, 3 * MIB + 1, 0];
    let blob = |(number, size)| crate::Blob {
        hash: hash(number),
        size,
        relative: Some(format!("{number}")),
        executable: false,
    };
    let layout = Layout::new((0..).zip(sizes).map(blob).collect(), Vec::new()).expect("it is not too large");
    assert_eq!((layout.units(), layout.total_bytes()), (6, 4 * MIB + 2));
    let units: Vec<(usize, Range<u64>)> =
        (0..6).filter_map(|unit| layout.unit(unit)).map(|unit| (unit.blob, unit.range)).collect();
    let last = 3 * MIB..3 * MIB + 1;
    assert_eq!(units, [(1, 0..1), (2, 0..MIB), (4, 0..MIB), (4, MIB..2 * MIB), (4, 2 * MIB..3 * MIB), (4, last)]);
    assert_eq!((layout.unit(6), layout.blob_of(6), layout.unit_length(6)), (None, None, 0));
    assert_eq!((unit_bytes(65536 * MIB), unit_bytes(65536 * MIB + 1)), (MIB, 4 * MIB));
    let largest = Layout::file(hash(0), 1 << 44).expect("it is not too large");
    assert_eq!(largest.units(), 1 << 22);
    assert!(matches!(Layout::file(hash(0), (1 << 44) + 1), Err(ContentError::TooLarge)));
    let alone = crate::Blob { relative: None, ..blob((1, 1)) };
    assert!(Layout::new(vec![alone, blob((2, 2))], Vec::new()).is_err());
}

#[test]
fn large_units_are_stored_as_small_ones_are() {
    let (shared, target) = (Shared::new(9 * MIB + 1, 52), folder());
    let blob = crate::Blob { hash: shared.hash(), size: shared.size(), relative: None, executable: false };
    let layout = Layout::cut(vec![blob], Vec::new(), unit_bytes(1 << 40)).expect("it is not too large");
    assert_eq!((layout.units(), layout.unit_length(0), layout.unit_length(2)), (3, 4 * MIB, MIB + 1));
    let (partial, _) = Partial::create_or_open(target.path(), shared.hash(), layout).expect("it can be begun");
    fetch_all(&partial, &shared.served());
    drop(partial);
    // A record of other units is none.
    let (partial, bits) = begin(&shared, target.path());
    assert_eq!(bits.count(), 0);
    assert!(partial.recheck(None, &mut quietly).expect("it can be read").is_full());
    assert!(fs::read(partial.finish("x").expect("it is whole")).expect("it is there") == shared.bytes);
}

#[test]
fn bits_keep_to_their_number() {
    let mut bits = Bits::new(11);
    assert!(bits.set(0) && bits.set(10) && !bits.set(10) && !bits.set(11));
    assert_eq!((bits.as_bytes(), bits.count(), bits.get(11)), (&[1, 4][..], 2, false));
    assert_eq!(Bits::from_bytes(&[1, 0xfc], 11), Some(bits.clone()), "bits behind the last are none");
    assert_eq!(Bits::from_bytes(&[1], 11), None);
    assert!(bits.clear(0) && !bits.clear(0) && !bits.is_full());
    assert!(Bits::new(0).is_full() && Bits::new(0).is_empty());
    assert_eq!(format!("{bits:?}"), "Bits(1 of 11)");
}

#[test]
fn a_fetched_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let (target, bytes) = (folder(), content(10, 51));
    let from = ServedBytes::new(bytes);
    let layout = Layout::file(from.hash(), 10).expect("it is not too large");
    let (partial, _) = Partial::create_or_open(target.path(), from.hash(), layout).expect("it can be begun");
    fetch_all(&partial, &from);
    let saved = partial.finish("x").expect("it is whole");
    let other = write(&target.path().join("y"), b"");
    let mode = |path: &Path| fs::metadata(path).map(|it| it.permissions().mode()).ok();
    assert_eq!(mode(&saved), mode(&other));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_often_it_is_interrupted_it_becomes_the_file(size in 1_u64..6 * MIB, seed: u64) {
        let (shared, target) = (Shared::new(size, seed), folder());
        let served = shared.served();
        let mut random = StdRng::seed_from_u64(seed);
        loop {
            let (partial, bits) = begin(&shared, target.path());
            let missing: Vec<u32> = (0..bits.len()).filter(|unit| !bits.get(*unit)).collect();
            if missing.is_empty() {
                let saved = partial.finish("x").expect("it is whole");
                prop_assert!(fs::read(saved).expect("it is there") == shared.bytes);
                break;
            }
            for _ in 0..random.random_range(1..4) {
                let unit = missing[random.random_range(0..missing.len())];
                let range = partial.layout().unit(unit).expect("there is such a unit").range;
                let mut encoded = encode(&served, range);
                if random.random_bool(0.3) {
                    let place = random.random_range(0..encoded.len());
                    encoded[place] ^= 1 << random.random_range(0..8);
                    prop_assert!(matches!(partial.store(unit, &encoded), Err(ContentError::Lie(_))));
                } else {
                    partial.store(unit, &encoded).expect("what is right is kept");
                }
            }
        }
    }
}
