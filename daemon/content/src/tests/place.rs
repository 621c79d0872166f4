use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::thread;

use super::*;
use crate::error::ContentError;
use crate::{free_bytes, place};

#[test]
fn eight_threads_place_one_name_and_none_is_lost() {
    let (from, to) = (folder(), folder());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (from, to) = (from.path(), to.path());
            scope.spawn(move || {
                for number in 0..100 {
                    let text = format!("{worker} {number}");
                    let path = write(&from.join(&text), text.as_bytes());
                    let placed = place(&path, to, "name.ext").expect("it can be placed");
                    assert_eq!(fs::read(placed).ok(), Some(text.into_bytes()));
                }
            });
        }
    });
    let contents: BTreeSet<Vec<u8>> = fs::read_dir(to.path())
        .expect("the folder is there")
        .map(|entry| fs::read(entry.expect("it can be listed").path()).expect("it can be read"))
        .collect();
    assert_eq!(contents.len(), 800);
    assert!(to.path().join("name (799).ext").exists());
}

#[test]
fn a_name_that_a_link_has_is_taken() {
    let (from, to) = (folder(), folder());
    let victim = write(&from.path().join("victim"), b"precious");
    symlink(&victim, to.path().join("a.tar.gz")).expect("links can be made");
    symlink("nowhere", to.path().join("a (1).tar.gz")).expect("links can be made");
    fs::create_dir(to.path().join("a (2).tar.gz")).expect("folders can be made");
    let file = write(&from.path().join("file"), b"new");
    let placed = place(&file, to.path(), "a.tar.gz").expect("it can be placed");
    assert_eq!(placed, to.path().join("a (3).tar.gz"));
    assert_eq!(fs::read(victim).ok().as_deref(), Some(&b"precious"[..]));
    assert!(!file.exists() && !to.path().join("nowhere").exists());
}

#[test]
fn folders_are_placed_whole_and_beside_each_other() {
    let (from, to) = (folder(), folder());
    for expected in ["v1.2", "v1.2 (1)"] {
        write(&from.path().join("made/inner/file"), b"x");
        let placed = place(&from.path().join("made"), to.path(), "v1.2").expect("it can be placed");
        assert_eq!(placed, to.path().join(expected));
        assert!(placed.join("inner/file").exists());
    }
}

#[test]
fn names_are_made_safe_before_they_are_used() {
    let (from, to) = (folder(), folder());
    for (sent, kept) in [("../../x", "x"), ("/etc/passwd", "passwd"), ("", "file"), (".bashrc", "bashrc")] {
        let file = write(&from.path().join("file"), b"x");
        assert_eq!(place(&file, to.path(), sent).ok(), Some(to.path().join(kept)), "{sent:?}");
    }
    let file = write(&from.path().join("file"), b"x");
    let long = place(&file, to.path(), &"é".repeat(4000)).expect("it can be placed");
    assert!(long.exists());
    assert!(matches!(place(&from.path().join("nothing"), to.path(), "x"), Err(ContentError::Missing)));
    write(&file, b"x");
    assert!(matches!(place(&file, &to.path().join("nowhere"), "x"), Err(ContentError::Missing)));
}

#[test]
fn there_is_room_for_little_and_none_for_too_much() {
    let dir = folder();
    assert!(free_bytes(dir.path()).expect("it can be asked") > 0);
    assert!(free_bytes(&dir.path().join("nowhere")).is_err());
    assert!(crate::room(&dir.path().join("will/be/made"), 1).is_ok());
    let outcome = crate::room(dir.path(), 1 << 44).expect_err("no machine has so much");
    assert!(outcome.is_full() && outcome.to_string().contains("17592186044416"), "{outcome}");
}
