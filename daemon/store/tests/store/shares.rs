//! Shares and their sealed copies: what stays of them when a share is added again, or goes while something is made of it.

use kith_common::file::{CopyKey, CopyState, FileHash, FileKind, ShareScope, ShareState};
use kith_store::{CopyRow, PartRow, PieceRow, ShareRow, ShareWord, Store};

use crate::{NOW, peer, store};

fn hash(n: u8) -> FileHash {
    FileHash::from_bytes([n; 32])
}

fn row(n: u8, name: &str) -> ShareRow {
    ShareRow {
        position: 0,
        hash: hash(n),
        name: name.into(),
        kind: FileKind::Folder,
        size_bytes: 30,
        list_bytes: 10,
        files: 2,
        scope: ShareScope::Contacts,
        peers: Vec::new(),
        state: ShareState::Available,
        path: format!("/home/ada/{name}").into(),
        own_copy: false,
        key: CopyKey([n; 32]),
        added_unix_ms: NOW,
        sent_bytes: 0,
        copies: Vec::new(),
    }
}

/// A list, and two files.
fn pieces(n: u8) -> Vec<PieceRow> {
    let piece = |number: u8| PieceRow {
        hash: hash(n + number),
        path: number.to_string().into(),
        size_bytes: 10,
        dev: 1,
        ino: u64::from(number),
        mtime_ns: 0,
    };
    (0..3).map(piece).collect()
}

fn parts(n: u8) -> Vec<PartRow> {
    (0..3).map(|number| PartRow { id: hash(n + 100 + number), hash: hash(n + 150 + number), size_bytes: 10 }).collect()
}

fn shared(store: &mut Store, n: u8, name: &str) -> ShareRow {
    store.put_share(&row(n, name), &pieces(n)).unwrap()
}

#[test]
fn a_share_that_is_added_again_keeps_its_copies_and_can_take_them_back() {
    let mut store = store(1);
    let share = shared(&mut store, 10, "album");
    store.want_copies(share.hash, &[peer(2), peer(3)]).unwrap();
    assert!(store.set_sealed_pieces(share.hash, &share.key, &parts(10)).unwrap());
    let kept = CopyRow { peer: peer(2), state: CopyState::Kept, held_bytes: 30, reason: String::new() };
    store.set_copy(share.hash, &kept).unwrap();
    assert_eq!((store.keepers().unwrap(), store.kept_by(peer(2)).unwrap()), (vec![peer(2)], vec![share.hash]));

    // From another place, and by another key: that is looked at no more.
    let moved = ShareRow { path: "/mnt/album".into(), key: CopyKey([99; 32]), ..row(10, "album") };
    let again = store.put_share(&moved, &pieces(10)).unwrap();
    assert_eq!((again.position, &again.key, again.copies.len()), (share.position, &share.key, 2));
    assert_eq!(store.sealed_pieces(again.position).unwrap(), Some(parts(10)));
    assert_eq!(store.holdings_by_copy(hash(111)).unwrap()[0].copy_hash, Some(hash(161)));

    store.want_copies(share.hash, &[peer(3)]).unwrap();
    assert_eq!(store.unwanted_copies().unwrap(), [(peer(2), hash(110))]);
    store.remove_share(share.hash).unwrap();
    assert_eq!(store.unwanted_copies().unwrap(), [(peer(2), hash(110)), (peer(3), hash(110))]);
}

#[test]
fn what_was_sealed_of_a_share_that_is_gone_is_noted_nowhere() {
    let mut store = store(1);
    let share = shared(&mut store, 10, "album");
    store.want_copies(share.hash, &[peer(2)]).unwrap();
    store.remove_share(share.hash).unwrap();
    assert!(!store.set_sealed_pieces(share.hash, &share.key, &parts(10)).unwrap());
    // Another one that has its place, and the same by another key.
    let other = shared(&mut store, 50, "other");
    assert_eq!(other.position, share.position);
    store.want_copies(other.hash, &[peer(2)]).unwrap();
    assert!(!store.set_sealed_pieces(share.hash, &share.key, &parts(10)).unwrap());
    let again = store.put_share(&ShareRow { key: CopyKey([7; 32]), ..row(10, "album") }, &pieces(10)).unwrap();
    store.want_copies(again.hash, &[peer(2)]).unwrap();
    assert!(!store.set_sealed_pieces(share.hash, &share.key, &parts(10)).unwrap());
    assert!(store.set_sealed_pieces(again.hash, &again.key, &parts(10)).unwrap());
    assert_eq!(store.sealed_pieces(other.position).unwrap(), None);
    // And of one that nobody is to keep.
    store.want_copies(again.hash, &[]).unwrap();
    assert!(!store.set_sealed_pieces(again.hash, &again.key, &parts(10)).unwrap());
}

#[test]
fn a_search_finds_what_has_all_of_its_words() {
    let mut store = store(1);
    shared(&mut store, 10, "Annual report 2024.pdf");
    store.put_share(&ShareRow { peers: vec![peer(3)], ..row(50, "letter 2024.pdf") }, &pieces(50)).unwrap();
    let found = |words: &[(&str, &[u8])]| {
        let word = |(text, peers): &(&str, &[u8])| ShareWord {
            text: (*text).to_owned(),
            peers: peers.iter().map(|n| peer(*n)).collect(),
        };
        let words: Vec<ShareWord> = words.iter().map(word).collect();
        store.shares(&words, 0, 10).unwrap().into_iter().map(|row| row.hash).collect::<Vec<_>>()
    };
    assert_eq!(found(&[]), [hash(50), hash(10)]);
    assert_eq!(found(&[("2024", &[]), ("ada", &[])]), [hash(50), hash(10)]);
    assert_eq!(found(&[("REPORT", &[]), ("annual", &[])]), [hash(10)]);
    assert_eq!(found(&[("report", &[]), ("letter", &[])]), []);
    assert_eq!(found(&[("cem", &[2, 3])]), [hash(50)]);
    assert_eq!(found(&[(&hash(10).to_string(), &[])]), [hash(10)]);
    assert_eq!(found(&[("2024", &[2])]), [hash(50), hash(10)]);
}
