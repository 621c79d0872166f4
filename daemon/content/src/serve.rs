//! What others are given: ranges of a file that stands somewhere, of bytes in memory, or of a sealed copy that is made on the way.
//!
//! Everything is verified before it is handed out. It costs 0.13 s of CPU a GB, and it is what lets a node say "this has changed"
//! where it would look like a liar otherwise.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kith_common::file::FileHash;

use crate::add::{FileStat, open_outboard, open_regular};
use crate::error::{ContentError, Result};
use crate::hash::hash_subtree;
use crate::tree::{Encoder, Fault, Form, GROUP_BYTES, MAX_RANGE_BYTES, Node, Pairs, check_range, hash_bytes};

/// Something that ranges can be had of.
pub trait Provide: Send + Sync {
    fn hash(&self) -> FileHash;

    /// In bytes.
    fn size(&self) -> u64;

    /// Appends the verified encoding of a range: as many bytes as [`crate::encoded_bytes`] says, or none and an error.
    ///
    /// # Errors
    /// [`ContentError::BadRange`] for a range that is not of whole groups, or of more than [`MAX_RANGE_BYTES`];
    /// [`ContentError::Changed`], [`ContentError::Damaged`], [`ContentError::NotHere`], `Io`.
    fn encode(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()>;

    /// Appends the verified bytes of a range that may begin and end anywhere, and is cut to the size.
    ///
    /// # Errors
    /// As [`Provide::encode`].
    fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()>;
}

/// Whose file it is: what it means that it does not verify.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// A user's, shared where it stands, as it was when it was added.
    User(FileStat),
    /// The daemon's own copy.
    Store,
    /// Being fetched: it is there in parts.
    Partial,
}

/// A file with its outboard. Both are read where a range needs it; nothing of the whole is in memory.
#[derive(Debug)]
pub struct Served {
    file: File,
    outboard: Option<File>,
    /// Where its pairs begin in the outboard.
    base: u64,
    hash: FileHash,
    size: u64,
    owner: Owner,
}

impl Served {
    /// With a stat it is a user's file, which is [`ContentError::Changed`] when it is not what it was; without it is an own copy.
    /// `outboard` is needed above [`GROUP_BYTES`].
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::Changed`], [`ContentError::NotPermitted`]; [`ContentError::Damaged`] when the
    /// outboard is missing or has another length.
    pub fn open(path: &Path, outboard: Option<&Path>, hash: FileHash, stat: Option<FileStat>) -> Result<Self> {
        let file = open_regular(path)?;
        let found = FileStat::of(&file)?;
        let owner = match stat {
            Some(stat) if stat != found => return Err(ContentError::Changed),
            Some(stat) => Owner::User(stat),
            None => Owner::Store,
        };
        let outboard = open_outboard(outboard, found.size)?;
        Ok(Self { file, outboard, base: 0, hash, size: found.size, owner })
    }

    /// Of what is being fetched: a file, and the place of its pairs in the outboard of all.
    pub(crate) const fn partial(file: File, outboard: Option<File>, base: u64, hash: FileHash, size: u64) -> Self {
        Self { file, outboard, base, hash, size, owner: Owner::Partial }
    }

    fn run(&self, range: Range<u64>, form: Form, to: &mut Vec<u8>) -> Result<()> {
        if let Owner::User(stat) = self.owner
            && FileStat::of(&self.file)? != stat
        {
            return Err(ContentError::Changed);
        }
        let pairs = self.outboard.as_ref().map_or(Pairs::Memory(&[]), |file| Pairs::file(file, self.base));
        let mut read = |offset, to: &mut [u8]| self.file.read_exact_at(to, offset);
        let encoder = Encoder { hash: self.hash, size: self.size, range, form, pairs, read: &mut read };
        encoder.run(to).map_err(|fault| self.owner.blame(fault))
    }
}

impl Owner {
    pub fn blame(self, fault: Fault) -> ContentError {
        match (fault, self) {
            (Fault::Io(error), _) => ContentError::Io { what: "cannot read the file".into(), error },
            (_, Self::Partial) => ContentError::NotHere,
            (Fault::Data, Self::User(_)) => ContentError::Changed,
            (Fault::Data, Self::Store) => ContentError::Damaged("the copy of the file"),
            (Fault::Pairs, _) => ContentError::Damaged("what the file is verified with"),
        }
    }
}

impl Provide for Served {
    fn hash(&self) -> FileHash {
        self.hash
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn encode(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        self.run(short_range(self.size, &range)?, Form::Encoded, to)
    }

    fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        read_within(self.size, &range, to, |groups, to| self.run(groups, Form::Plain, to))
    }
}

/// Bytes in memory, such as the list of a folder's files.
#[derive(Debug)]
pub struct ServedBytes {
    bytes: Vec<u8>,
    outboard: Vec<u8>,
    hash: FileHash,
}

impl ServedBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut outboard = Vec::new();
        let hash = FileHash::from_bytes(hash_subtree(Node::root(bytes.len() as u64), &bytes, &mut outboard));
        debug_assert_eq!(hash, hash_bytes(&bytes), "both are BLAKE3");
        Self { bytes, outboard, hash }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn run(&self, range: Range<u64>, form: Form, to: &mut Vec<u8>) -> Result<()> {
        let mut read = |offset, to: &mut [u8]| copy_from(&self.bytes, offset, to);
        let pairs = Pairs::Memory(&self.outboard);
        let encoder = Encoder { hash: self.hash, size: self.size(), range, form, pairs, read: &mut read };
        encoder.run(to).map_err(|fault| Owner::Store.blame(fault))
    }
}

impl Provide for ServedBytes {
    fn hash(&self) -> FileHash {
        self.hash
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn encode(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        self.run(short_range(self.size(), &range)?, Form::Encoded, to)
    }

    fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        read_within(self.size(), &range, to, |groups, to| self.run(groups, Form::Plain, to))
    }
}

/// Fills `to` from bytes in memory.
pub(crate) fn copy_from(bytes: &[u8], offset: u64, to: &mut [u8]) -> io::Result<()> {
    let found = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..to.len()));
    to.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// A range that a peer may ask for at once.
pub(crate) fn short_range(size: u64, range: &Range<u64>) -> Result<Range<u64>> {
    let range = check_range(size, range)?;
    if range.end - range.start > MAX_RANGE_BYTES { Err(ContentError::BadRange) } else { Ok(range) }
}

/// Reads the whole groups around a range, and takes off what is too much.
pub(crate) fn read_within(
    size: u64,
    range: &Range<u64>,
    to: &mut Vec<u8>,
    read: impl FnOnce(Range<u64>, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let range = range.start.min(size)..range.end.min(size);
    if range.is_empty() {
        return Ok(());
    }
    let first = range.start / GROUP_BYTES * GROUP_BYTES;
    let groups = first..(range.end.div_ceil(GROUP_BYTES) * GROUP_BYTES).min(size);
    if groups.end - groups.start > MAX_RANGE_BYTES {
        return Err(ContentError::BadRange);
    }
    let before = to.len();
    read(groups.clone(), to)?;
    to.truncate(to.len() - length(groups.end - range.end));
    to.drain(before..before + length(range.start - first));
    Ok(())
}

/// Of less than a group.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a group fits into memory")
}
