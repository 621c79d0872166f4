use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;
use rustix::fs::{FileType, Mode};

use super::*;
use crate::error::ContentError;
use crate::{add_copy, blob_path, hash_bytes, remove_leftovers, remove_outboard};

#[test]
fn the_outboard_is_byte_for_byte_that_of_bao() {
    // Above 16 MiB two threads hash.
    for size in SIZES.into_iter().chain([4 * MIB, 4 * MIB + 1, 16 * MIB, 16 * MIB + 1, 37 * MIB + 777]) {
        let shared = Shared::new(size, size);
        assert_eq!(shared.hash(), hash_bytes(&shared.bytes), "{size}");
        let outboard = PreOrderMemOutboard::create(&shared.bytes, BlockSize::from_chunk_log(4));
        if size <= GROUP_BYTES {
            assert!(!shared.outboard().exists(), "{size}");
        } else {
            assert!(fs::read(shared.outboard()).expect("there is an outboard") == outboard.data, "{size}");
        }
    }
}

#[test]
fn adding_leaves_the_file_alone_and_nothing_but_an_outboard_behind() {
    let shared = Shared::new(100_000, 1);
    assert!(fs::read(&shared.path).expect("the file is there") == shared.bytes);
    let inside: Vec<_> = fs::read_dir(shared.dir.path().join("ob")).expect("the folder is there").collect();
    assert_eq!(inside.len(), 1, "{inside:?}");
    remove_outboard(&shared.dir.path().join("ob"), shared.hash()).expect("it can be removed");
    remove_outboard(&shared.dir.path().join("ob"), shared.hash()).expect("twice as well");
    assert!(!shared.outboard().exists());
}

#[test]
fn progress_rises_to_the_size_and_breaking_leaves_nothing() {
    let dir = folder();
    let path = write(&dir.path().join("big"), &content(40 * MIB, 2));
    let mut seen = Vec::new();
    let mut follow = |done| {
        seen.push(done);
        ControlFlow::Continue(())
    };
    add_file(&path, &dir.path().join("ob"), &mut follow).expect("it is added");
    assert_eq!(seen.last(), Some(&(40 * MIB)));
    assert!(seen.iter().all(|done| *done <= 40 * MIB));
    let empty = dir.path().join("other");
    assert!(matches!(add_file(&path, &empty, &mut stop), Err(ContentError::Cancelled)));
    assert_eq!(fs::read_dir(&empty).expect("the folder is there").count(), 0);
}

#[test]
fn a_file_that_is_written_to_while_it_is_hashed_is_not_shared() {
    let dir = folder();
    let path = write(&dir.path().join("growing"), &content(20 * MIB, 3));
    let grow = |by: &[u8]| {
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("it can be opened");
        file.write_all(by).expect("it can be written to");
    };
    let mut follow = |_| {
        grow(b"more");
        ControlFlow::Continue(())
    };
    assert!(matches!(add_file(&path, dir.path(), &mut follow), Err(ContentError::Changed)));
    let mut cut = |_| {
        fs::write(&path, b"short").expect("it can be written to");
        ControlFlow::Continue(())
    };
    assert!(matches!(add_file(&path, dir.path(), &mut cut), Err(ContentError::Changed)));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let dir = folder();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .expect("pipes can be made");
    for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
        let outcome = add_file(path, dir.path(), &mut quietly);
        assert!(matches!(outcome, Err(ContentError::NotAFile(_))), "{path:?}: {outcome:?}");
    }
    let missing = add_file(&dir.path().join("nothing"), dir.path(), &mut quietly);
    assert!(matches!(missing, Err(ContentError::Missing)));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may read everything");
        return;
    }
    let dir = folder();
    let path = write(&dir.path().join("secret"), b"secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions can be set");
    let outcome = add_file(&path, dir.path(), &mut quietly).expect_err("it may not be read");
    assert!(outcome.to_string().contains("secret"), "{outcome}");
}

#[test]
fn a_copy_outlives_its_original() {
    let dir = folder();
    let (blobs, outboards) = (dir.path().join("blobs"), dir.path().join("ob"));
    let bytes = content(3 * MIB + 1, 5);
    let path = write(&dir.path().join("original"), &bytes);
    let added = add_copy(&path, &blobs, &outboards, &mut quietly).expect("it can be copied");
    fs::remove_file(&path).expect("it can be removed");
    let copy = blob_path(&blobs, added.hash);
    let outboard = outboard_path(&outboards, added.hash);
    let served = Served::open(&copy, Some(&outboard), added.hash, None).expect("the copy can be served");
    let mut read = Vec::new();
    served.read(0..3 * MIB + 1, &mut read).expect("it can be read");
    assert!(read == bytes);
    // The same again takes the place of the first.
    let again = write(&path, &bytes);
    assert_eq!(add_copy(&again, &blobs, &outboards, &mut quietly).map(|added| added.hash).ok(), Some(added.hash));
    assert_eq!(fs::read_dir(&blobs).expect("the folder is there").count(), 1);
}

#[test]
fn what_a_killed_daemon_was_writing_is_removed_at_start() {
    let shared = Shared::new(100_000, 6);
    let outboards = shared.dir.path().join("ob");
    write(&outboards.join(".tmp-1-2"), b"half");
    assert_eq!(remove_leftovers(&outboards).ok(), Some(1));
    assert!(shared.outboard().exists());
    assert_eq!(remove_leftovers(&shared.dir.path().join("nowhere")).ok(), Some(0));
}

#[test]
fn a_sparse_file_is_what_it_reads_as() {
    let dir = folder();
    let path = dir.path().join("sparse");
    let mut file = fs::File::create(&path).expect("it can be made");
    file.seek(SeekFrom::Start(33 * MIB)).expect("it can be long");
    file.write_all(b"end").expect("it can be written to");
    let added = add_file(&path, dir.path(), &mut quietly).expect("it can be added");
    assert_eq!(added.hash, hash_bytes(&fs::read(&path).expect("it can be read")));
}
