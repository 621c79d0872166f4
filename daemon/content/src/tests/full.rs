//! A disk that is full: a small one of its own, which needs a mount that others do not see.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::error::ContentError;
use crate::{Bits, FileStat};

/// Set for the run of this test binary that has the small disk.
const DISK: &str = "KITH_TEST_SMALL_DISK";
/// Megabytes.
const DISK_SIZE: &str = "32";

/// Runs the named test of this binary again, with a disk of its own. `None`: this is that run, or it cannot be had.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let apart = Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|it| it.status.success());
    if !rustix::process::geteuid().is_root() || !apart {
        println!("skipped: a small disk of its own needs root, and mounts that others do not see");
        return None;
    }
    let dir = folder();
    let program = std::env::current_exe().expect("the test has a path");
    let script = format!("mount -t tmpfs -o size={DISK_SIZE}m none \"${DISK}\" && exec \"$0\" \"$@\"");
    let run = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(program)
        .args(["--exact", &format!("tests::full::{test}"), "--nocapture"])
        .env(DISK, dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    None
}

#[test]
fn a_disk_without_room_is_said_before_anything_is_written() {
    let Some(disk) = small_disk("a_disk_without_room_is_said_before_anything_is_written") else { return };
    let shared = Shared::new(40 * MIB, 61);
    let (partial, _) =
        Partial::create_or_open(&disk, shared.hash(), shared.layout()).expect("there is room for the record");
    let outcome = partial.allocate().expect_err("it does not fit");
    assert!(matches!(outcome, ContentError::NoRoom { .. }), "{outcome}");
    // A file that leaves no reserve does not fit either.
    let brim = Shared::new(31 * MIB, 62);
    let (partial, _) =
        Partial::create_or_open(&disk, brim.hash(), brim.layout()).expect("there is room for the record");
    assert!(partial.allocate().is_err_and(|error| error.is_full()));
    let fits = Shared::new(20 * MIB, 63);
    let (partial, _) =
        Partial::create_or_open(&disk, fits.hash(), fits.layout()).expect("there is room for the record");
    partial.allocate().expect("it fits");
    partial.allocate().expect("what is set aside is not counted again");
    assert!(crate::free_bytes(&disk).expect("it can be asked") < 12 * MIB, "it is set aside");
}

#[test]
fn a_disk_that_fills_up_on_the_way_blames_nobody_and_goes_on_later() {
    let Some(disk) = small_disk("a_disk_that_fills_up_on_the_way_blames_nobody_and_goes_on_later") else { return };
    let shared = Shared::new(20 * MIB, 64);
    let (partial, _) =
        Partial::create_or_open(&disk, shared.hash(), shared.layout()).expect("there is room for the record");
    fetch(&partial, 0, &shared.served());
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).expect("it can be made");
    while file.write_all(&[1; 65_536]).is_ok() {}
    let mut stored = vec![0];
    let failed = loop {
        let unit = u32::try_from(stored.len()).expect("few");
        let range = partial.layout().unit(unit).expect("the disk is smaller than the file").range;
        match partial.store(unit, &shared.encode(range)) {
            Ok(()) => stored.push(unit),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, ContentError::Full), "{failed}");
    assert_eq!(partial.bits().iter().collect::<Vec<_>>(), stored, "what is on record was written");
    drop(partial);
    let (partial, bits) =
        Partial::create_or_open(&disk, shared.hash(), shared.layout()).expect("opening needs no room");
    assert_eq!(bits.iter().collect::<Vec<_>>(), stored);
    let checked: Bits = partial.recheck(None, &mut quietly).expect("reading needs no room");
    assert_eq!(checked, bits);
    drop(file);
    fs::remove_file(&ballast).expect("it can be removed");
    fetch_all(&partial, &shared.served());
    assert!(fs::read(partial.finish("x").expect("it is whole")).expect("it is there") == shared.bytes);
}

#[test]
fn adding_with_a_full_disk_leaves_nothing_behind() {
    let Some(disk) = small_disk("adding_with_a_full_disk_leaves_nothing_behind") else { return };
    let dir = folder();
    let path = write(&dir.path().join("file"), &content(40 * MIB, 65));
    let mut file = fs::File::create(disk.join("ballast")).expect("it can be made");
    while file.write_all(&[1; 4096]).is_ok() {}
    let before = FileStat::at(&disk.join("ballast")).expect("it is there").size;
    let outcome = add_file(&path, &disk, &mut quietly);
    assert!(matches!(outcome, Err(ContentError::Full)), "{outcome:?}");
    assert!(before > 0 && fs::read_dir(&disk).expect("it can be listed").count() == 1);
    let copied = crate::add_copy(&path, &disk.join("blobs"), &disk, &mut quietly);
    assert!(copied.is_err_and(|error| error.is_full()));
}
