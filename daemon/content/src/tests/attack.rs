//! Lists of files and planted links that mean harm.

use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::error::ContentError;
use crate::{Blob, Entry, Manifest, hash_bytes};

fn entry(path: &str) -> Entry {
    Entry { path: path.to_owned(), hash: hash_bytes(b"x"), size: 1, executable: false }
}

/// A list as somebody who keeps no rule would encode it.
fn forged(entries: &[Entry], empty_folders: &[&str]) -> Vec<u8> {
    Manifest { entries: entries.to_vec(), empty_folders: empty_folders.iter().map(|it| (*it).to_owned()).collect() }
        .encode()
}

#[test]
fn a_path_that_leads_out_or_cannot_be_is_refused() {
    let deep = vec!["d"; 33].join("/");
    let long = vec!["x".repeat(200); 20].join("/");
    for path in [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "a/",
        "",
        ".",
        "..",
        "a/./b",
        r"..\x",
        "a\0b",
        "a\nb",
        "a\u{202e}b",
        "C:\\x",
        &deep,
        &long,
        &"x".repeat(256),
    ] {
        let outcome = Manifest::decode(&forged(&[entry(path)], &[]));
        assert!(matches!(outcome, Err(ContentError::BadManifest(_))), "{path:?}");
        let outcome = Manifest::decode(&forged(&[], &[path]));
        assert!(matches!(outcome, Err(ContentError::BadManifest(_))), "{path:?} as a folder");
        let blob = Blob { hash: hash_bytes(b"x"), size: 1, relative: Some(path.to_owned()), executable: false };
        assert!(Layout::new(vec![blob], Vec::new()).is_err(), "{path:?} in a layout");
    }
}

#[test]
fn a_list_that_is_not_in_order_or_names_something_twice_is_refused() {
    for paths in [
        &["b", "a"][..],
        &["a", "a"],
        &["A", "a"],
        &["Straße", "straße"],
        &["a", "a/b"],
        &["A", "a/b"],
        &["a/b", "a/b/c"],
    ] {
        let entries: Vec<Entry> = paths.iter().map(|path| entry(path)).collect();
        assert!(matches!(Manifest::decode(&forged(&entries, &[])), Err(ContentError::BadManifest(_))), "{paths:?}");
    }
    for (file, folder) in [("a", "a"), ("a/b", "a"), ("a", "a/b"), ("A", "a")] {
        assert!(Manifest::decode(&forged(&[entry(file)], &[folder])).is_err(), "{file} and {folder}");
    }
    assert!(Manifest::decode(&forged(&[entry("a/b"), entry("ab")], &["a/c"])).is_ok());
}

#[test]
fn a_list_that_claims_what_cannot_be_is_refused() {
    let empty = hash_bytes(b"");
    for wrong in [
        Entry { size: 0, ..entry("a") },
        Entry { hash: empty, ..entry("a") },
        Entry { size: u64::MAX, ..entry("a") },
        Entry { size: (1 << 44) + 1, ..entry("a") },
    ] {
        assert!(matches!(Manifest::decode(&forged(&[wrong], &[])), Err(ContentError::BadManifest(_))));
    }
    let half = |path| Entry { size: 1 << 43, ..entry(path) };
    assert!(Manifest::decode(&forged(&[half("a"), half("b")], &[])).is_ok());
    assert!(Manifest::decode(&forged(&[half("a"), half("b"), entry("c")], &[])).is_err());
    // Two that overflow to a small sum.
    let most = |path| Entry { size: u64::MAX / 2 + 1, ..entry(path) };
    assert!(Manifest::decode(&forged(&[most("a"), most("b")], &[])).is_err());
}

#[test]
fn a_damaged_list_is_refused_at_every_length_and_allocates_nothing_by_what_it_says() {
    let right = Manifest::new(vec![entry("a"), entry("b/c")], vec!["d".into()]).expect("it keeps the rules").encode();
    assert!(Manifest::decode(&right).is_ok());
    for length in 0..right.len() {
        assert!(Manifest::decode(&right[..length]).is_err(), "{length}");
    }
    assert!(Manifest::decode(&[&right[..], &[0]].concat()).is_err());
    for place in 8..20 {
        let mut wrong = right.clone();
        wrong[place] = 0xff;
        assert!(Manifest::decode(&wrong).is_err(), "{place}");
    }
    // 100,000 files are announced in 20 bytes.
    let mut short = right[..12].to_vec();
    short.extend_from_slice(&100_000_u32.to_be_bytes());
    short.extend_from_slice(&0_u32.to_be_bytes());
    assert!(Manifest::decode(&short).is_err());
    assert!(Manifest::decode(&vec![0; 33 * MIB as usize]).is_err());
}

#[test]
fn as_many_files_as_are_allowed_are_and_not_one_more() {
    let entries = |count: u32| (0..count).map(|number| entry(&format!("{number:06}"))).collect::<Vec<_>>();
    let most = Manifest::new(entries(100_000), Vec::new()).expect("so many are allowed");
    assert!(Manifest::decode(&most.encode()).is_ok());
    assert!(matches!(Manifest::new(entries(100_001), Vec::new()), Err(ContentError::TooManyFiles)));
    assert!(matches!(Manifest::new(entries(100_000), vec!["folder".into()]), Err(ContentError::TooManyFiles)));
}

#[test]
fn planted_links_are_not_followed() {
    let shared = Shared::new(2 * MIB, 31);
    let elsewhere = folder();
    let hash = shared.hash().to_string();
    let begin = |target: &Path| Partial::create_or_open(target, shared.hash(), shared.layout());
    // In the place of the folder, of the content's folder, and of each file in it.
    let target = folder();
    symlink(elsewhere.path(), target.path().join(".kith-partial")).expect("links can be made");
    assert!(matches!(begin(target.path()), Err(ContentError::NotAFile(_))));
    let target = folder();
    let all = target.path().join(".kith-partial");
    fs::create_dir(&all).expect("folders can be made");
    fs::set_permissions(&all, fs::Permissions::from_mode(0o700)).expect("permissions can be set");
    symlink(elsewhere.path(), all.join(&hash)).expect("links can be made");
    assert!(matches!(begin(target.path()), Err(ContentError::NotAFile(_))));
    for name in ["bits", "outboard", "data"] {
        let target = folder();
        drop(begin(target.path()).expect("it can be begun"));
        let victim = write(&elsewhere.path().join(name), b"precious");
        let planted = target.path().join(".kith-partial").join(&hash).join(name);
        let _ = fs::remove_file(&planted);
        symlink(&victim, &planted).expect("links can be made");
        let outcome = begin(target.path()).and_then(|(partial, _)| partial.store(0, &shared.encode(0..MIB)));
        assert!(matches!(outcome, Err(ContentError::NotAFile(_))), "{name}: {outcome:?}");
        assert_eq!(fs::read(&victim).ok().as_deref(), Some(&b"precious"[..]), "{name}");
    }
}

#[test]
fn a_folder_that_somebody_else_has_made_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a folder away");
        return;
    }
    let shared = Shared::new(10, 32);
    let target = folder();
    let all = target.path().join(".kith-partial");
    fs::create_dir(&all).expect("folders can be made");
    std::os::unix::fs::chown(&all, Some(12_345), None).expect("it can be given away");
    let begin = || Partial::create_or_open(target.path(), shared.hash(), shared.layout());
    assert!(matches!(begin(), Err(ContentError::NotPermitted(path)) if path == all));
    assert!(Partial::discard_at(target.path(), shared.hash()).is_err());
    // Unless all there is theirs.
    std::os::unix::fs::chown(target.path(), Some(12_345), None).expect("it can be given away");
    assert!(begin().is_ok());
}

#[test]
fn a_note_that_names_something_else_is_not_believed() {
    let target = folder();
    let hash = hash_bytes(b"content");
    let layout = Layout::file(hash, 7).expect("it is not too large");
    drop(Partial::create_or_open(target.path(), hash, layout).expect("it can be begun"));
    write(&target.path().join("other"), b"content");
    let note = target.path().join(".kith-partial").join(hash.to_string()).join("placing");
    for text in ["", "1\n2\nother\n", "x\ny\nother\n", "1\n2\n../other\n", "1\n2\n"] {
        write(&note, text.as_bytes());
        assert_eq!(Partial::placed(target.path(), hash), None, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_is_no_list(mut rubbish: Vec<u8>, begin: bool) {
        if begin {
            rubbish.splice(0..0, forged(&[], &[])[..12].to_vec());
        }
        if let Ok(manifest) = Manifest::decode(&rubbish) {
            prop_assert_eq!(manifest.encode(), rubbish);
        }
    }

    #[test]
    fn a_list_survives_being_sent(paths in proptest::collection::btree_set("[a-d]{1,3}(/[e-h]{1,3}){0,3}", 0..30)) {
        let entries: Vec<Entry> = paths.iter().map(|path| entry(path)).collect();
        if let Ok(manifest) = Manifest::new(entries, Vec::new()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()).ok(), Some(manifest));
        }
    }
}
