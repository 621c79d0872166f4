use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::error::ContentError;
use crate::{Entry, FolderProgress, Manifest, Walked, add_folder, hash_bytes, walk};

fn all(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn any(_: FolderProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A folder with one of everything.
fn rich() -> TempDir {
    let dir = folder();
    write(&dir.path().join("b/deep/er/file.bin"), &content(100_000, 1));
    write(&dir.path().join("b/script.sh"), b"#!/bin/sh\n");
    write(&dir.path().join("a.txt"), b"text");
    write(&dir.path().join(".hidden"), b"");
    write(&dir.path().join("größe/東京 🙂"), &content(3 * MIB, 2));
    write(&dir.path().join(".kith-partial/00/data"), b"half");
    fs::create_dir_all(dir.path().join("empty/within")).expect("folders can be made");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path().join("b/script.sh"), executable).expect("permissions can be set");
    symlink("/etc/passwd", dir.path().join("b/link")).expect("links can be made");
    symlink("/etc", dir.path().join("link-to-folder")).expect("links can be made");
    symlink("nowhere", dir.path().join("dangling")).expect("links can be made");
    UnixListener::bind(dir.path().join("socket")).expect("sockets can be made");
    dir
}

#[test]
fn a_walk_finds_files_and_empty_folders_and_follows_no_link() {
    let dir = rich();
    let walk = walk(dir.path(), &mut all).expect("all can be read");
    let files: Vec<(&str, u64, bool)> = walk
        .files
        .iter()
        .map(|Walked { relative, size, executable }| (relative.as_str(), *size, *executable))
        .collect();
    assert_eq!(
        files,
        [
            (".hidden", 0, false),
            ("a.txt", 4, false),
            ("b/deep/er/file.bin", 100_000, false),
            ("b/script.sh", 10, true),
            ("größe/東京 🙂", 3 * MIB, false),
        ]
    );
    assert_eq!(walk.empty_folders, ["empty/within"]);
    assert_eq!(walk.skipped, 4);
}

#[test]
fn a_folder_has_one_hash_however_it_is_read() {
    let dir = rich();
    let outboards = folder();
    let (mut last, mut hashed) = (None, Vec::new());
    let mut follow = |progress: FolderProgress| {
        last = Some(progress);
        hashed.extend(progress.hashed);
        ControlFlow::Continue(())
    };
    let added = add_folder(dir.path(), outboards.path(), &mut follow).expect("it can be added");
    let total = 100_000 + 10 + 4 + 3 * MIB;
    assert_eq!(last, Some(FolderProgress { done_bytes: total, total_bytes: total, files: 5, hashed: None }));
    assert_eq!(hashed, added.manifest.entries.iter().map(|entry| entry.hash).collect::<Vec<_>>());
    assert_eq!(added.manifest.total_bytes(), total);
    assert_eq!(added.hash, hash_bytes(&added.manifest.encode()));
    assert_eq!(Manifest::decode(&added.manifest.encode()).ok(), Some(added.manifest.clone()));
    for (entry, stat) in added.manifest.entries.iter().zip(&added.stats) {
        let path = dir.path().join(&entry.path);
        assert_eq!(entry.hash, hash_bytes(&fs::read(&path).expect("the file is there")), "{path:?}");
        let outboard = outboard_path(outboards.path(), entry.hash);
        assert!(Served::open(&path, Some(&outboard), entry.hash, Some(*stat)).is_ok(), "{path:?}");
    }
    let again = add_folder(dir.path(), outboards.path(), &mut any).expect("it can be added again");
    assert_eq!(again.hash, added.hash);
}

#[test]
fn a_folder_is_fetched_with_all_that_is_in_it() {
    let (dir, outboards, target, kept) = (rich(), folder(), folder(), folder());
    let added = add_folder(dir.path(), outboards.path(), &mut any).expect("it can be added");
    let layout = Layout::folder(&added.manifest).expect("the list keeps the rules");
    let (partial, bits) = Partial::create_or_open(target.path(), added.hash, layout).expect("it can be begun");
    assert_eq!((bits.len(), partial.files_done()), (1 + 1 + 1 + 3, 1), "an empty file is there from the beginning");
    partial.allocate().expect("there is room");
    for (entry, blob) in added.manifest.entries.iter().zip(&partial.layout().blobs.clone()) {
        let outboard = outboard_path(outboards.path(), entry.hash);
        let from = Served::open(&dir.path().join(&entry.path), Some(&outboard), entry.hash, None).expect("it is there");
        blob.unit_range().for_each(|unit| fetch(&partial, unit, &from));
    }
    assert_eq!((partial.files_done(), partial.done_bytes()), (5, added.manifest.total_bytes()));
    partial.keep_outboards(kept.path()).expect("they can be kept");
    let saved = partial.finish("folder.d").expect("it is whole");
    assert_eq!(saved, target.path().join("folder.d"));
    let again = add_folder(&saved, kept.path(), &mut any).expect("it can be shared on");
    assert_eq!((again.hash, again.skipped), (added.hash, 0));
    for entry in &added.manifest.entries {
        let (a, b) = (outboard_path(outboards.path(), entry.hash), outboard_path(kept.path(), entry.hash));
        assert_eq!(fs::read(a).ok(), fs::read(b).ok(), "{}", entry.path);
    }
    // A second one beside it.
    fs::create_dir(target.path().join("other")).expect("folders can be made");
    let (second, _) =
        Partial::create_or_open(target.path(), hash_bytes(b"x"), Layout::default_folder()).expect("begun");
    assert_eq!(second.finish("folder.d").ok(), Some(target.path().join("folder.d (1)")));
}

impl Layout {
    /// Of a folder with nothing in it.
    fn default_folder() -> Self {
        Self::folder(&Manifest::default()).expect("an empty list keeps the rules")
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may read everything");
        return;
    }
    let dir = rich();
    let secret = dir.path().join("b/deep");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("permissions can be set");
    let outcome = walk(dir.path(), &mut all);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).expect("permissions can be set");
    assert!(matches!(outcome, Err(ContentError::NotPermitted(path)) if path == secret));
}

#[test]
fn names_that_cannot_be_sent_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for (bad, part) in [
        (OsStr::from_bytes(b"latin-\xe9"), "no text"),
        (OsStr::new("line\nbreak"), "not seen"),
        (OsStr::new("photo\u{202e}gpj.exe"), "not seen"),
        (OsStr::new(r"a\b"), "separator"),
    ] {
        let dir = folder();
        write(&dir.path().join(bad), b"");
        let outcome = add_folder(dir.path(), dir.path(), &mut any).expect_err("it cannot be sent");
        assert!(matches!(outcome, ContentError::BadName { .. }) && outcome.to_string().contains(part), "{outcome}");
    }
    let dir = folder();
    write(&dir.path().join("Makefile"), b"");
    write(&dir.path().join("makefile"), b"");
    let outcome = add_folder(dir.path(), dir.path(), &mut any).expect_err("they differ only in case");
    assert!(outcome.to_string().contains("makefile"), "{outcome}");
}

#[test]
fn a_folder_that_is_too_deep_is_refused_at_the_right_depth() {
    let dir = folder();
    let deep: PathBuf = ["d"; 31].iter().collect();
    write(&dir.path().join(&deep).join("file"), b"");
    assert!(walk(dir.path(), &mut all).is_ok());
    assert!(add_folder(dir.path(), dir.path(), &mut any).is_ok());
    write(&dir.path().join(&deep).join("d/file"), b"");
    assert!(matches!(walk(dir.path(), &mut all), Err(ContentError::TooDeep(_))));
}

#[test]
fn a_file_that_becomes_a_link_meanwhile_is_not_followed() {
    let (dir, secret) = (folder(), folder());
    write(&secret.path().join("secret"), b"secret");
    let inside = write(&dir.path().join("sub/file"), b"shared");
    let held = crate::dir::Dir::open(dir.path()).expect("it can be opened");
    fs::remove_file(&inside).expect("it can be removed");
    symlink(secret.path().join("secret"), &inside).expect("links can be made");
    let outcome = held.file("sub/file", crate::dir::Open::Read);
    assert!(matches!(outcome, Err(ContentError::NotAFile(_))), "{outcome:?}");
    fs::remove_dir_all(dir.path().join("sub")).expect("it can be removed");
    symlink(secret.path(), dir.path().join("sub")).expect("links can be made");
    let outcome = held.file("sub/secret", crate::dir::Open::Read);
    assert!(matches!(outcome, Err(ContentError::NotAFile(_))), "{outcome:?}");
}

#[test]
fn twenty_thousand_small_files_take_no_more_than_their_list() {
    let (dir, outboards) = (folder(), folder());
    for number in 0..20_000_u32 {
        let path = dir.path().join(format!("{:02}/{number}", number % 50));
        if number < 50 {
            fs::create_dir(path.parent().expect("it is in a folder")).expect("folders can be made");
        }
        fs::write(path, number.to_be_bytes()).expect("files can be written");
    }
    let added = add_folder(dir.path(), outboards.path(), &mut any).expect("it can be added");
    assert_eq!(added.manifest.entries.len(), 20_000);
    assert!(added.manifest.encode().len() < 20_000 * 60);
    assert_eq!(fs::read_dir(outboards.path()).expect("the folder is there").count(), 0);
    let layout = Layout::folder(&added.manifest).expect("the list keeps the rules");
    assert_eq!(layout.units(), 20_000);
    let Entry { path, .. } = &added.manifest.entries[12_345];
    assert_eq!(layout.unit(12_345).map(|unit| unit.blob), Some(12_345), "{path}");
}
