//! Facts about content, each checked with real files below a temporary folder.

mod add;
mod attack;
mod folder;
mod full;
mod name;
mod partial;
mod place;
mod seal;
mod serve;
mod tree;

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use kith_common::file::FileHash;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::hash::quietly;
use crate::layout::Layout;
use crate::partial::Partial;
use crate::serve::{Provide, Served};
use crate::tree::{GROUP_BYTES, encoded_bytes};
use crate::{add_file, outboard_path};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Every size around which the tree has another shape, and some in between.
const SIZES: [u64; 22] = [
    0,
    1,
    63,
    64,
    65,
    1023,
    1024,
    1025,
    16_383,
    16_384,
    16_385,
    32_767,
    32_768,
    32_769,
    65_537,
    100_000,
    131_072,
    131_073,
    MIB - 1,
    MIB,
    MIB + 1,
    5 * MIB + 12_345,
];

fn content(size: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).expect("test content fits into memory")];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn write(path: &Path, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().expect("test files are in folders")).expect("folders can be made");
    fs::write(path, bytes).expect("test files can be written");
    path.to_owned()
}

/// A shared file.
struct Shared {
    dir: TempDir,
    bytes: Vec<u8>,
    path: PathBuf,
    added: crate::Added,
}

impl Shared {
    fn new(size: u64, seed: u64) -> Self {
        let dir = folder();
        let bytes = content(size, seed);
        let path = write(&dir.path().join("shared"), &bytes);
        let added = add_file(&path, &dir.path().join("ob"), &mut quietly).expect("the file can be added");
        Self { dir, bytes, path, added }
    }

    fn hash(&self) -> FileHash {
        self.added.hash
    }

    fn size(&self) -> u64 {
        self.added.stat.size
    }

    fn outboard(&self) -> PathBuf {
        outboard_path(&self.dir.path().join("ob"), self.hash())
    }

    fn served(&self) -> Served {
        Served::open(&self.path, Some(&self.outboard()), self.hash(), Some(self.added.stat)).expect("it can be served")
    }

    fn encode(&self, range: Range<u64>) -> Vec<u8> {
        encode(&self.served(), range)
    }

    fn layout(&self) -> Layout {
        Layout::file(self.hash(), self.size()).expect("it is not too large")
    }
}

fn encode(from: &dyn Provide, range: Range<u64>) -> Vec<u8> {
    let mut encoded = Vec::new();
    from.encode(range.clone(), &mut encoded).expect("the range can be encoded");
    assert_eq!(encoded.len() as u64, encoded_bytes(from.size(), range));
    encoded
}

/// Fetches a unit of a layout from who has its blob.
fn fetch(partial: &Partial, unit: u32, from: &dyn Provide) {
    let wanted = partial.layout().unit(unit).expect("there is such a unit");
    assert_eq!((wanted.hash, wanted.size), (from.hash(), from.size()));
    partial.store(unit, &encode(from, wanted.range)).expect("what is right is kept");
}

fn fetch_all(partial: &Partial, from: &dyn Provide) {
    (0..partial.layout().units()).for_each(|unit| fetch(partial, unit, from));
}

fn stop(_: u64) -> ControlFlow<()> {
    ControlFlow::Break(())
}

fn groups(range: Range<u64>) -> Range<u64> {
    range.start * GROUP_BYTES..range.end * GROUP_BYTES
}
