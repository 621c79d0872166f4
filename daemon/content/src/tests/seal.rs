use std::os::unix::fs::FileExt;

use kith_common::file::CopyKey;

use super::*;
use crate::error::ContentError;
use crate::partial::Plain;
use crate::{
    Blob, SEALED_SEGMENT_BYTES, SealKey, Sealed, SealedServed, ServedBytes, add_sealed, copy_key, hash_bytes,
    lookup_id, open_bytes, open_sealed, opens_start, seal_bytes, sealed_bytes,
};

const SEGMENT: u64 = SEALED_SEGMENT_BYTES - 16;

struct Kept {
    shared: Shared,
    key: SealKey,
    sealed: Sealed,
    outboards: PathBuf,
}

impl Kept {
    fn new(size: u64, seed: u64) -> Self {
        let shared = Shared::new(size, seed);
        let key = copy_key(&CopyKey([7; 32]), shared.hash());
        let outboards = shared.dir.path().join("sealed");
        let sealed = add_sealed(&shared.path, &key, shared.hash(), &outboards, &mut quietly).expect("it can be sealed");
        Self { shared, key, sealed, outboards }
    }

    fn served(&self) -> SealedServed {
        let outboard = outboard_path(&self.outboards, self.sealed.hash);
        let stat = Some(self.shared.added.stat);
        SealedServed::open(&self.shared.path, Some(&outboard), self.key.clone(), self.sealed.hash, stat)
            .expect("it is there")
    }

    fn open(&self, sealed: &Path, to: &Path) -> Result<(), ContentError> {
        open_sealed(sealed, &self.key, self.shared.hash(), self.shared.size(), to, &mut quietly)
    }
}

#[test]
fn a_copy_that_is_made_on_the_way_is_the_one_that_was_hashed() {
    let edges = [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 10 * MIB + 3];
    for size in SIZES.into_iter().chain(edges) {
        let kept = Kept::new(size, 21);
        let sealed = seal_bytes(&kept.key, &kept.shared.bytes);
        assert_eq!(sealed.len() as u64, sealed_bytes(size), "{size}");
        assert_eq!(kept.sealed, Sealed { hash: hash_bytes(&sealed), size: sealed_bytes(size) }, "{size}");
        let served = kept.served();
        let mut read = Vec::new();
        for start in (0..sealed_bytes(size)).step_by(MIB as usize) {
            served.read(start..start + MIB, &mut read).expect("it can be read");
        }
        assert!(read == sealed, "{size}");
        assert_eq!(open_bytes(&kept.key, kept.shared.hash(), &sealed).ok(), Some(kept.shared.bytes), "{size}");
    }
}

#[test]
fn a_holder_sees_nothing_and_each_content_has_its_own_key() {
    let share = CopyKey([1; 32]);
    let (a, b) = (hash_bytes(b"a"), hash_bytes(b"b"));
    let zeros = vec![0; 100_000];
    let sealed = |key: &SealKey| seal_bytes(key, &zeros);
    assert_ne!(sealed(&copy_key(&share, a)), sealed(&copy_key(&share, b)));
    assert_ne!(sealed(&copy_key(&share, a)), sealed(&copy_key(&CopyKey([2; 32]), a)));
    assert_eq!(sealed(&copy_key(&share, a)), sealed(&copy_key(&share, a)), "all make the same copy");
    let ids = [lookup_id(&share, a), lookup_id(&share, b), lookup_id(&CopyKey([2; 32]), a)];
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && !ids.contains(&a));
    assert_eq!(format!("{:?}", copy_key(&share, a)), "SealKey(..)");
    // Two equal segments do not look equal.
    let copy = sealed(&copy_key(&share, a));
    assert_ne!(copy[..1000], copy[SEALED_SEGMENT_BYTES as usize..][..1000]);
}

#[test]
fn a_copy_that_was_changed_cut_or_moved_does_not_open() {
    let plain = content(3 * SEGMENT + 100, 22);
    let hash = hash_bytes(&plain);
    let key = copy_key(&CopyKey([3; 32]), hash);
    let sealed = seal_bytes(&key, &plain);
    let segment = SEALED_SEGMENT_BYTES as usize;
    let mut swapped = sealed.clone();
    let (first, second) = swapped.split_at_mut(segment);
    first.swap_with_slice(&mut second[..segment]);
    let mut flipped = sealed.clone();
    flipped[2 * segment + 5] ^= 1;
    let longer = [&sealed[..], &sealed[..segment]].concat();
    let wrong = [swapped, flipped, longer, sealed[..segment].to_vec(), sealed[..sealed.len() - 1].to_vec(), Vec::new()];
    for (number, wrong) in wrong.iter().enumerate() {
        assert!(matches!(open_bytes(&key, hash, wrong), Err(ContentError::Lie(_))), "{number}");
    }
    assert!(open_bytes(&copy_key(&CopyKey([4; 32]), hash), hash, &sealed).is_err());
    assert!(matches!(open_bytes(&key, hash_bytes(b"other"), &sealed), Err(ContentError::Lie(_))));
    assert!(opens_start(&key, plain.len() as u64, &sealed[..segment]));
    assert!(!opens_start(&key, plain.len() as u64, &sealed[..segment - 1]));
    assert!(!opens_start(&copy_key(&CopyKey([4; 32]), hash), plain.len() as u64, &sealed));
}

#[test]
fn opening_never_leaves_a_wrong_file() {
    let kept = Kept::new(2 * MIB + 5, 23);
    let dir = folder();
    let (copy, to) = (dir.path().join("copy"), dir.path().join("out/plain"));
    let sealed = seal_bytes(&kept.key, &kept.shared.bytes);
    for place in [0, 70_000, sealed.len() - 1] {
        let mut wrong = sealed.clone();
        wrong[place] ^= 1;
        write(&copy, &wrong);
        assert!(matches!(kept.open(&copy, &to), Err(ContentError::Lie(_))), "{place}");
        assert!(!to.exists());
    }
    write(&copy, &sealed[..sealed.len() - 1]);
    assert!(matches!(kept.open(&copy, &to), Err(ContentError::Lie(_))));
    write(&copy, &sealed);
    let stopped = open_sealed(&copy, &kept.key, kept.shared.hash(), kept.shared.size(), &to, &mut stop);
    assert!(matches!(stopped, Err(ContentError::Cancelled)));
    assert_eq!(fs::read_dir(dir.path().join("out")).expect("the folder is there").count(), 0);
    kept.open(&copy, &to).expect("the right one opens");
    assert!(fs::read(&to).expect("it is there") == kept.shared.bytes);
}

#[test]
fn nothing_is_sealed_but_what_the_key_is_for() {
    let kept = Kept::new(MIB, 24);
    let other = kept.shared.dir.path().join("other");
    let outcome = add_sealed(&kept.shared.path, &kept.key, hash_bytes(b"what it was"), &other, &mut quietly);
    assert!(matches!(outcome, Err(ContentError::Changed)));
    assert_eq!(fs::read_dir(&other).expect("the folder is there").count(), 0, "no outboard is kept");
    // A change that does not show in the stat: the range that has it is not encrypted for anybody.
    let served = kept.served();
    let file = fs::OpenOptions::new().write(true).open(&kept.shared.path).expect("it can be opened");
    file.write_all_at(b"secret", 1000).expect("it can be changed");
    let stat = crate::FileStat::at(&kept.shared.path).ok();
    let outboard = outboard_path(&kept.outboards, kept.sealed.hash);
    let later = SealedServed::open(&kept.shared.path, Some(&outboard), kept.key.clone(), kept.sealed.hash, stat)
        .expect("it looks like what it was");
    let mut encoded = Vec::new();
    assert!(matches!(served.encode(groups(0..4), &mut encoded), Err(ContentError::Changed)));
    assert!(matches!(later.encode(groups(0..4), &mut encoded), Err(ContentError::Changed)));
    assert_eq!(encoded, b"");
    assert_eq!(encode(&later, groups(8..12)).len() as u64, encoded_bytes(later.size(), groups(8..12)));
}

#[test]
fn a_sealed_folder_is_fetched_and_opened() {
    let (target, share) = (folder(), CopyKey([5; 32]));
    let files = [("a/one", content(0, 0)), ("b/two", content(100_000, 1)), ("three", content(3 * MIB, 2))];
    let plain: Vec<Plain> = files
        .iter()
        .map(|(_, bytes)| (hash_bytes(bytes), bytes.len() as u64))
        .map(|(hash, size)| Plain { key: copy_key(&share, hash), hash, size })
        .collect();
    let copies: Vec<ServedBytes> =
        files.iter().zip(&plain).map(|((_, bytes), plain)| ServedBytes::new(seal_bytes(&plain.key, bytes))).collect();
    let blob = |((path, _), copy): (&(&str, Vec<u8>), &ServedBytes)| Blob {
        hash: copy.hash(),
        size: copy.size(),
        relative: Some((*path).to_owned()),
        executable: *path == "three",
    };
    let blobs: Vec<Blob> = files.iter().zip(&copies).map(blob).collect();
    let hash = hash_bytes(b"the folder");
    let open = || {
        let layout = Layout::new(blobs.clone(), vec!["empty".to_owned()]).expect("the paths can be made");
        Partial::create_or_open(target.path(), hash, layout).expect("it can be begun").0
    };
    let partial = open();
    for unit in 0..partial.layout().units() {
        let number = partial.layout().blob_of(unit).expect("every unit is of a blob");
        fetch(&partial, unit, &copies[number]);
    }
    let mut wrong = plain.clone();
    wrong[2].key = copy_key(&CopyKey([6; 32]), wrong[2].hash);
    assert!(matches!(partial.finish_sealed("folder", &wrong, &mut quietly), Err(ContentError::Lie(_))));
    let saved = open().finish_sealed("folder", &plain, &mut quietly).expect("the right keys open it");
    assert_eq!(saved, target.path().join("folder"));
    for (path, bytes) in &files {
        assert!(fs::read(saved.join(path)).expect("the file is there") == *bytes, "{path}");
    }
    assert!(saved.join("empty").is_dir());
    Partial::discard_at(target.path(), hash).expect("the note can go");
    assert_eq!(fs::read_dir(target.path()).expect("the folder is there").count(), 1);
}
