use std::os::unix::fs::{FileExt, symlink};
use std::thread;

use super::*;
use crate::error::ContentError;
use crate::{FileStat, MAX_RANGE_BYTES, ServedBytes, blob_path};

#[test]
fn a_file_is_served_as_its_bytes_would_be() {
    for size in SIZES {
        let shared = Shared::new(size, 11);
        let bytes = ServedBytes::new(shared.bytes.clone());
        assert_eq!(bytes.hash(), shared.hash());
        let unit = 0..size.min(MAX_RANGE_BYTES);
        assert!(shared.encode(unit.clone()) == encode(&bytes, unit), "{size}");
    }
}

#[test]
fn more_than_may_be_asked_for_at_once_is_refused() {
    let shared = Shared::new(9 * MIB, 12);
    let mut encoded = Vec::new();
    for range in [0..9 * MIB, 0..MAX_RANGE_BYTES + GROUP_BYTES, 1..GROUP_BYTES, 9 * MIB..10 * MIB] {
        assert!(
            matches!(shared.served().encode(range.clone(), &mut encoded), Err(ContentError::BadRange)),
            "{range:?}"
        );
    }
    assert!(matches!(shared.served().read(0..9 * MIB, &mut encoded), Err(ContentError::BadRange)));
    assert_eq!(encoded, b"");
}

#[test]
fn a_file_that_was_changed_says_so_and_gives_nothing_away() {
    let shared = Shared::new(5 * MIB, 13);
    let served = shared.served();
    let mut encoded = Vec::new();
    fs::OpenOptions::new()
        .write(true)
        .open(&shared.path)
        .and_then(|file| file.write_all_at(b"changed", 3 * MIB))
        .expect("it can be changed");
    // Whoever has it open, and whoever opens it.
    assert!(matches!(served.encode(0..MIB, &mut encoded), Err(ContentError::Changed)));
    let stat = Some(shared.added.stat);
    let opened = Served::open(&shared.path, Some(&shared.outboard()), shared.hash(), stat);
    assert!(matches!(opened, Err(ContentError::Changed)));
    assert_eq!(encoded, b"");
}

#[test]
fn a_change_that_does_not_show_is_found_where_it_is() {
    let shared = Shared::new(5 * MIB, 14);
    let file = fs::OpenOptions::new().write(true).open(&shared.path).expect("it can be opened");
    file.write_all_at(b"changed", 3 * MIB).expect("it can be changed");
    // A tool that puts the time back.
    let stat = Some(FileStat::at(&shared.path).expect("it is there"));
    let served =
        Served::open(&shared.path, Some(&shared.outboard()), shared.hash(), stat).expect("it looks like what it was");
    assert!(shared.bytes[..MIB as usize] == decoded(&served, 0..MIB));
    let mut encoded = b"before".to_vec();
    assert!(matches!(served.encode(3 * MIB..4 * MIB, &mut encoded), Err(ContentError::Changed)));
    assert_eq!(encoded, b"before", "what was begun is taken back");
}

fn decoded(served: &Served, range: Range<u64>) -> Vec<u8> {
    crate::decode(served.hash(), served.size(), range.clone(), &encode(served, range)).expect("it is the content")
}

#[test]
fn a_file_that_is_gone_or_replaced_says_so() {
    let shared = Shared::new(100_000, 15);
    let open = || Served::open(&shared.path, Some(&shared.outboard()), shared.hash(), Some(shared.added.stat));
    let other = write(&shared.dir.path().join("other"), &shared.bytes);
    fs::rename(&other, &shared.path).expect("it can be replaced");
    assert!(matches!(open(), Err(ContentError::Changed)), "another file with the same bytes is another file");
    fs::remove_file(&shared.path).expect("it can be removed");
    assert!(matches!(open(), Err(ContentError::Missing)));
    symlink("nowhere", &shared.path).expect("links can be made");
    assert!(matches!(open(), Err(ContentError::Missing)));
}

#[test]
fn damage_to_what_is_kept_is_told_from_a_change_of_the_file() {
    let shared = Shared::new(5 * MIB, 16);
    let mut encoded = Vec::new();
    let ob = fs::OpenOptions::new().write(true).open(shared.outboard()).expect("there is an outboard");
    ob.write_all_at(&[0; 64], 64).expect("it can be damaged");
    assert!(matches!(shared.served().encode(0..MIB, &mut encoded), Err(ContentError::Damaged(_))));
    ob.set_len(1000).expect("it can be cut");
    let open = |path: Option<&Path>| Served::open(&shared.path, path, shared.hash(), Some(shared.added.stat));
    assert!(matches!(open(Some(&shared.outboard())), Err(ContentError::Damaged(_))));
    assert!(matches!(open(Some(Path::new("/nowhere"))), Err(ContentError::Damaged(_))));
    assert!(matches!(open(None), Err(ContentError::Damaged(_))));
    // An own copy that has rotted.
    let blob = write(&blob_path(shared.dir.path(), shared.hash()), &content(20_000, 1));
    let small = Shared::new(20_000, 2);
    let rotten = Served::open(&blob, Some(&small.outboard()), small.hash(), None).expect("the lengths are right");
    assert!(matches!(rotten.encode(0..20_000, &mut encoded), Err(ContentError::Damaged(_))));
}

#[test]
fn many_threads_read_one_file() {
    let shared = Shared::new(8 * MIB, 17);
    let served = shared.served();
    thread::scope(|scope| {
        for start in 0..8 {
            let (served, bytes) = (&served, &shared.bytes);
            scope.spawn(move || {
                let range = start * MIB..(start + 1) * MIB;
                let expected = &bytes[range.start as usize..range.end as usize];
                (0..8).for_each(|_| assert!(decoded(served, range.clone()) == expected));
            });
        }
    });
}
