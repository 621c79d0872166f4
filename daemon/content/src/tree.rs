//! The hash tree of a content: its shape, and ranges of it encoded and verified.
//!
//! BLAKE3 (section 2.1 of its paper) hashes chunks of 1 KiB and merges them pairwise, the left subtree being the largest power of two
//! of chunks that leaves something to the right. The tree is cut off at groups of 16 KiB; the nodes above have a pair of hashes each,
//! numbered in pre-order, which is their order in an outboard. A range of groups is sent as bao does it: in pre-order, the pair of
//! each node above the range, and the groups' bytes. The root hash proves the first pair, each pair what is below it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use blake3::hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use kith_common::file::{FileHash, MAX_SIZE_BYTES};

use crate::error::{ContentError, Result};

/// What is verified as a whole: 16 chunks, one batch of the widest SIMD of BLAKE3. Fixed in the protocol.
pub const GROUP_BYTES: u64 = 16 * 1024;
/// The longest range that is encoded at once: what one request may ask for.
pub const MAX_RANGE_BYTES: u64 = 4 * 1024 * 1024;
/// What is read of a file at once to be encoded.
const READ_AHEAD_BYTES: u64 = 16 * GROUP_BYTES;
/// The two hashes below a node.
pub(crate) const PAIR_BYTES: usize = 64;
/// Pairs of the outboard that are read at once: those of a range of [`MAX_RANGE_BYTES`].
const MAX_WINDOW_PAIRS: u64 = MAX_RANGE_BYTES / GROUP_BYTES;

pub(crate) type Cv = [u8; 32];
pub(crate) type Pair = [u8; PAIR_BYTES];

/// The bytes of an outboard: 64 for each group but one.
pub const fn outboard_bytes(size: u64) -> u64 {
    pairs_below(size) * PAIR_BYTES as u64
}

/// The bytes of the encoding of a range, which is rounded outwards to groups and cut to the size (and that to 16 TiB).
pub fn encoded_bytes(size: u64, range: Range<u64>) -> u64 {
    let size = size.min(MAX_SIZE_BYTES);
    let range = whole_groups(size, &range);
    if range.is_empty() { 0 } else { encoded_below(Node::root(size), &range) }
}

/// The range that proves the size: the last group. Empty for an empty content, whose hash alone is the proof.
pub const fn proof_range(size: u64) -> Range<u64> {
    match size.checked_sub(1) {
        Some(last) => last / GROUP_BYTES * GROUP_BYTES..size,
        None => 0..0,
    }
}

/// The hash of bytes in memory.
pub fn hash_bytes(bytes: &[u8]) -> FileHash {
    FileHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// The plain bytes of a range, when `encoded` is what the hash says.
///
/// # Errors
/// [`ContentError::BadRange`] for a range that nobody may ask for, [`ContentError::Lie`] for anything but the content.
pub fn decode(hash: FileHash, size: u64, range: Range<u64>, encoded: &[u8]) -> Result<Vec<u8>> {
    Ok(verify(hash, size, range, encoded)?.groups.concat())
}

/// Whether `encoded`, the answer to [`proof_range`], proves that the content has this size.
///
/// # Errors
/// [`ContentError::Lie`] when it does not.
pub fn check_proof(hash: FileHash, size: u64, encoded: &[u8]) -> Result<()> {
    verify(hash, size, proof_range(size), encoded).map(drop)
}

/// A subtree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Where its bytes begin in the content.
    pub offset: u64,
    pub bytes: u64,
    /// The number of its pair in pre-order, when it is above a group. 0 for the root alone, a group or not.
    pub pair: u64,
}

impl Node {
    pub const fn root(size: u64) -> Self {
        Self { offset: 0, bytes: size, pair: 0 }
    }

    pub const fn is_group(&self) -> bool {
        self.bytes <= GROUP_BYTES
    }

    /// Left and right. Only of a node above groups.
    pub fn children(&self) -> (Self, Self) {
        let left = left_subtree_len(self.bytes);
        let pair = self.pair + 1;
        (
            Self { offset: self.offset, bytes: left, pair },
            Self { offset: self.offset + left, bytes: self.bytes - left, pair: pair + pairs_below(left) },
        )
    }

    /// The highest node that begins at `offset` and has at most `bytes`, both of them aligned to the same power of two.
    pub fn find(size: u64, offset: u64, bytes: u64) -> Self {
        let mut node = Self::root(size);
        while node.bytes > bytes {
            let (left, right) = node.children();
            node = if offset < right.offset { left } else { right };
        }
        node
    }

    const fn overlaps(&self, range: &Range<u64>) -> bool {
        self.offset < range.end && self.offset + self.bytes > range.start
    }

    const fn is_within(&self, range: &Range<u64>) -> bool {
        range.start <= self.offset && self.offset + self.bytes <= range.end
    }

    pub fn hash_group(&self, data: &[u8]) -> Cv {
        if self.pair == 0 {
            return *blake3::hash(data).as_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.offset);
        hasher.update(data);
        hasher.finalize_non_root()
    }

    pub fn hash_pair(&self, pair: &Pair) -> Cv {
        let (left, right) = halves(pair);
        self.merge(&left, &right)
    }

    /// Its own hash, of those below it.
    pub fn merge(&self, left: &Cv, right: &Cv) -> Cv {
        if self.pair == 0 {
            *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
        } else {
            merge_subtrees_non_root(left, right, Mode::Hash)
        }
    }
}

/// Pairs of a subtree of so many bytes.
pub(crate) const fn pairs_below(bytes: u64) -> u64 {
    bytes.div_ceil(GROUP_BYTES).saturating_sub(1)
}

fn halves(pair: &Pair) -> (Cv, Cv) {
    let mut halves = ([0; 32], [0; 32]);
    halves.0.copy_from_slice(&pair[..32]);
    halves.1.copy_from_slice(&pair[32..]);
    halves
}

fn encoded_below(node: Node, range: &Range<u64>) -> u64 {
    if !node.overlaps(range) {
        return 0;
    }
    if node.is_within(range) {
        return pairs_below(node.bytes) * PAIR_BYTES as u64 + node.bytes;
    }
    // Ranges are whole groups: a node that is partly within has a pair.
    let (left, right) = node.children();
    PAIR_BYTES as u64 + encoded_below(left, range) + encoded_below(right, range)
}

fn whole_groups(size: u64, range: &Range<u64>) -> Range<u64> {
    let end = range.end.div_ceil(GROUP_BYTES).saturating_mul(GROUP_BYTES).min(size);
    let start = (range.start / GROUP_BYTES * GROUP_BYTES).min(end);
    // An inverted range is an empty one.
    if range.is_empty() { start..start } else { start..end }
}

/// A range as a peer may ask for it: of whole groups (the last may be named beyond its end), not empty unless the content is.
///
/// # Errors
/// [`ContentError::BadRange`].
pub(crate) fn check_range(size: u64, range: &Range<u64>) -> Result<Range<u64>> {
    let end = range.end.min(size);
    let aligned = range.start.is_multiple_of(GROUP_BYTES) && (end == size || end.is_multiple_of(GROUP_BYTES));
    if size > MAX_SIZE_BYTES || !aligned || (range.start >= end && size > 0) || range.start > end {
        return Err(ContentError::BadRange);
    }
    Ok(range.start..end)
}

/// Where the pairs of an outboard are read from.
pub(crate) enum Pairs<'a> {
    Memory(&'a [u8]),
    /// Of a file, from a byte on. What is read ahead: all pairs of the subtree that is being encoded.
    File {
        file: &'a File,
        base: u64,
        window: Vec<u8>,
        first: u64,
    },
}

impl<'a> Pairs<'a> {
    pub const fn file(file: &'a File, base: u64) -> Self {
        Self::File { file, base, window: Vec::new(), first: 0 }
    }

    /// The pair of a node, all zeros behind the end of the outboard: that never verifies.
    fn load(&mut self, node: &Node, range: &Range<u64>) -> io::Result<Pair> {
        let mut pair = [0; PAIR_BYTES];
        match self {
            Self::Memory(bytes) => {
                let at = usize::try_from(node.pair).unwrap_or(usize::MAX).saturating_mul(PAIR_BYTES);
                if let Some(found) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
                    pair = *found;
                }
            }
            Self::File { file, base, window, first } => {
                let known = node.pair.checked_sub(*first).and_then(|at| usize::try_from(at).ok());
                let known = known.and_then(|at| window.get(at.saturating_mul(PAIR_BYTES)..)?.first_chunk());
                if let Some(found) = known {
                    return Ok(*found);
                }
                let at = *base + node.pair * PAIR_BYTES as u64;
                let ahead = pairs_below(node.bytes).min(MAX_WINDOW_PAIRS);
                if ahead < 2 || !node.is_within(range) {
                    read_or_zero(file, at, &mut pair)?;
                } else {
                    window.clear();
                    window.resize(usize::try_from(ahead).unwrap_or(1) * PAIR_BYTES, 0);
                    *first = node.pair;
                    read_or_zero(file, at, window)?;
                    pair.copy_from_slice(&window[..PAIR_BYTES]);
                }
            }
        }
        Ok(pair)
    }
}

fn read_or_zero(file: &File, offset: u64, to: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < to.len() {
        match file.read_at(&mut to[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a range was not encoded.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The outboard is not that of the hash.
    Pairs,
    /// The data is not that of the outboard.
    Data,
    Io(io::Error),
}

/// What goes into the buffer beside the groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The pairs, as a receiver needs them.
    Encoded,
    /// Nothing.
    Plain,
}

/// A range that is to be encoded.
pub(crate) struct Encoder<'a> {
    pub hash: FileHash,
    pub size: u64,
    /// As [`check_range`] allows it.
    pub range: Range<u64>,
    pub form: Form,
    pub pairs: Pairs<'a>,
    /// Fills the buffer with the content from an offset on; an `UnexpectedEof` says that it is shorter.
    pub read: &'a mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
}

impl Encoder<'_> {
    /// Reads the range and its pairs, verifies them, and appends them. On an error what was appended is taken back.
    pub fn run(self, to: &mut Vec<u8>) -> Result<(), Fault> {
        let before = to.len();
        to.reserve(usize::try_from(encoded_bytes(self.size, self.range.clone())).unwrap_or(0));
        let (root, node) = (*self.hash.as_bytes(), Node::root(self.size));
        let mut encoding = Encoding { encoder: self, ahead: Vec::new(), ahead_at: 0 };
        let outcome = encoding.visit(node, &root, to);
        if outcome.is_err() {
            to.truncate(before);
        }
        outcome
    }
}

struct Encoding<'a> {
    encoder: Encoder<'a>,
    /// What has been read of the range, from an offset in the content on. Small enough to stay in the cache.
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl Encoding<'_> {
    /// The data of a group. Groups are asked for in their order.
    fn group(&mut self, node: &Node) -> Result<&[u8], Fault> {
        let read = self.ahead_at + self.ahead.len() as u64;
        if node.offset >= read || node.offset < self.ahead_at {
            let length = (self.encoder.range.end - node.offset).min(READ_AHEAD_BYTES);
            self.ahead.resize(usize::try_from(length).unwrap_or(0), 0);
            self.ahead_at = node.offset;
            (self.encoder.read)(node.offset, &mut self.ahead).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Fault::Data,
                _ => Fault::Io(error),
            })?;
        }
        let at = usize::try_from(node.offset - self.ahead_at).unwrap_or(usize::MAX);
        let length = usize::try_from(node.bytes).unwrap_or(usize::MAX);
        self.ahead.get(at..).and_then(|rest| rest.get(..length)).ok_or(Fault::Data)
    }

    fn visit(&mut self, node: Node, expected: &Cv, to: &mut Vec<u8>) -> Result<(), Fault> {
        if node.is_group() {
            let group = self.group(&node)?;
            if node.hash_group(group) != *expected {
                return Err(Fault::Data);
            }
            to.extend_from_slice(group);
            return Ok(());
        }
        let pair = self.encoder.pairs.load(&node, &self.encoder.range).map_err(Fault::Io)?;
        if node.hash_pair(&pair) != *expected {
            return Err(Fault::Pairs);
        }
        if self.encoder.form == Form::Encoded {
            to.extend_from_slice(&pair);
        }
        let (left, right) = node.children();
        let (left_hash, right_hash) = halves(&pair);
        for (child, hash) in [(left, left_hash), (right, right_hash)] {
            if child.overlaps(&self.encoder.range) {
                self.visit(child, &hash, to)?;
            }
        }
        Ok(())
    }
}

/// What an encoding holds, verified and not copied.
#[derive(Debug, Default)]
pub(crate) struct Verified<'a> {
    /// One after the other, from the beginning of the range.
    pub groups: Vec<&'a [u8]>,
    /// With their numbers in pre-order, rising.
    pub pairs: Vec<(u64, &'a Pair)>,
}

/// Verifies the encoding of a range.
///
/// # Errors
/// As [`decode`].
pub(crate) fn verify(hash: FileHash, size: u64, range: Range<u64>, encoded: &[u8]) -> Result<Verified<'_>> {
    let range = check_range(size, &range)?;
    if encoded.len() as u64 != encoded_bytes(size, range.clone()) {
        return Err(ContentError::Lie("it has another length than the part that was asked for"));
    }
    let mut verifier = Verifier { range, rest: encoded, found: Verified::default() };
    verifier.visit(Node::root(size), hash.as_bytes())?;
    Ok(verifier.found)
}

struct Verifier<'a> {
    range: Range<u64>,
    rest: &'a [u8],
    found: Verified<'a>,
}

impl Verifier<'_> {
    fn visit(&mut self, node: Node, expected: &Cv) -> Result<()> {
        const SHORT: ContentError = ContentError::Lie("it is cut short");
        if node.is_group() {
            let length = usize::try_from(node.bytes).map_err(|_| SHORT)?;
            let (group, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
            if node.hash_group(group) != *expected {
                return Err(ContentError::Lie("its bytes have another hash"));
            }
            self.rest = rest;
            self.found.groups.push(group);
            return Ok(());
        }
        let (pair, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        if node.hash_pair(pair) != *expected {
            return Err(ContentError::Lie("its proof has another hash"));
        }
        self.rest = rest;
        self.found.pairs.push((node.pair, pair));
        let (left, right) = node.children();
        let (left_hash, right_hash) = halves(pair);
        for (child, hash) in [(left, left_hash), (right, right_hash)] {
            if child.overlaps(&self.range) {
                self.visit(child, &hash)?;
            }
        }
        Ok(())
    }
}
