//! Sealed copies: what a contact keeps for somebody without being able to read it.
//!
//! A copy is the content in segments of 64 KiB, each encrypted with ChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar,
//! Rogaway, Vizár: nonce of a prefix, the number of the segment, and whether it is the last), so that segments can be made and opened
//! in any order, and a missing, moved or cut one is noticed. The key is made of the share's key and the hash of the content. It is used
//! for that content alone, so the prefix is zero, and everybody makes the same copy with the same hash.
//!
//! For the same reason nothing may leave under a key but the content that it was made for: encrypting two contents with one key would
//! give away how they differ. [`add_sealed`] checks the plain hash in the same pass, and [`crate::SealedServed`] verifies each range
//! against what was made then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use chacha20poly1305::aead::stream::{NewStream, StreamBE32, StreamPrimitive};
use chacha20poly1305::{ChaCha20Poly1305, aead};
use kith_common::file::{CopyKey, FileHash, MAX_SIZE_BYTES};
use zeroize::Zeroizing;

use crate::Progress;
use crate::add::{FileStat, Temporary, USER_MODE, open_regular, with_outboard};
use crate::error::{ContentError, Result};
use crate::hash::{Scratch, report};
use crate::tree::hash_bytes;

/// Of the content, in a segment; the last has what is left.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024;
/// Poly1305's.
const TAG_BYTES: u64 = 16;
/// A whole segment of a copy.
pub const SEALED_SEGMENT_BYTES: u64 = SEGMENT_BYTES + TAG_BYTES;
/// Segments that are decrypted before they are written: 1 MiB.
const SEGMENTS_A_WRITE: u64 = 16;

const KEY_CONTEXT: &str = "kith sealed copy key 1";
const ID_CONTEXT: &str = "kith sealed copy id 1";

const WRONG_LENGTH: ContentError = ContentError::Lie("the sealed copy has another length than the file would give it");
const NOT_OPENED: ContentError = ContentError::Lie("the sealed copy does not open with the key of the ticket");

/// What one content is sealed with.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// The key of one content of a share: each file of a folder has its own.
pub fn copy_key(share_key: &CopyKey, hash: FileHash) -> SealKey {
    SealKey(Zeroizing::new(derive(KEY_CONTEXT, share_key, hash)))
}

/// What holders are asked for a copy by. Who does not have the ticket learns nothing of the content from it.
pub fn lookup_id(share_key: &CopyKey, hash: FileHash) -> FileHash {
    FileHash::from_bytes(derive(ID_CONTEXT, share_key, hash))
}

fn derive(context: &str, share_key: &CopyKey, hash: FileHash) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&share_key.0).update(hash.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The bytes of a sealed copy: 16 more for each segment, of which an empty content has one.
pub const fn sealed_bytes(size: u64) -> u64 {
    size + segments(size) * TAG_BYTES
}

const fn segments(size: u64) -> u64 {
    let count = size.div_ceil(SEGMENT_BYTES);
    if count == 0 { 1 } else { count }
}

/// A sealed copy, as others find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Of the encrypted bytes.
    pub hash: FileHash,
    pub size: u64,
}

/// Encrypts and decrypts the segments of one content.
pub(crate) struct Cipher {
    stream: StreamBE32<ChaCha20Poly1305>,
    last: u64,
}

impl Cipher {
    /// `size` is that of the content.
    pub fn new(key: &SealKey, size: u64) -> Self {
        let stream = StreamBE32::new(key.0.as_slice().into(), &Default::default());
        Self { stream, last: segments(size) - 1 }
    }

    /// Appends the tag to a segment.
    pub fn seal(&self, segment: u64, data: &mut Vec<u8>) -> Result<()> {
        let number = u32::try_from(segment).map_err(|_| ContentError::TooLarge)?;
        let sealed = self.stream.encrypt_in_place(number, segment == self.last, b"", data);
        sealed.map_err(|aead::Error| ContentError::TooLarge)
    }

    /// Checks the tag of a segment and takes it off.
    pub fn open(&self, segment: u64, data: &mut Vec<u8>) -> Result<()> {
        let number = u32::try_from(segment).map_err(|_| NOT_OPENED)?;
        let opened = self.stream.decrypt_in_place(number, segment == self.last, b"", data);
        opened.map_err(|aead::Error| NOT_OPENED)
    }
}

/// A sealed copy in memory, of a folder's list for one: [`crate::ServedBytes`] serves it.
pub fn seal_bytes(key: &SealKey, plain: &[u8]) -> Vec<u8> {
    let size = plain.len() as u64;
    let cipher = Cipher::new(key, size);
    let mut sealed = Vec::with_capacity(length(sealed_bytes(size)));
    let mut segment = Vec::with_capacity(length(SEALED_SEGMENT_BYTES));
    for number in 0..segments(size) {
        let from = length(number * SEGMENT_BYTES);
        segment.clear();
        segment.extend_from_slice(&plain[from..plain.len().min(from + length(SEGMENT_BYTES))]);
        cipher.seal(number, &mut segment).expect("memory holds less than 2^32 segments");
        sealed.extend_from_slice(&segment);
    }
    sealed
}

/// The content of a sealed copy in memory.
///
/// # Errors
/// [`ContentError::Lie`] when it does not open, or is not the content that was expected.
pub fn open_bytes(key: &SealKey, expected: FileHash, sealed: &[u8]) -> Result<Vec<u8>> {
    let size = opened_bytes(sealed.len() as u64).ok_or(WRONG_LENGTH)?;
    let cipher = Cipher::new(key, size);
    let mut plain = Vec::with_capacity(length(size));
    let mut segment = Vec::with_capacity(length(SEALED_SEGMENT_BYTES));
    for (number, piece) in (0..).zip(sealed.chunks(length(SEALED_SEGMENT_BYTES))) {
        segment.clear();
        segment.extend_from_slice(piece);
        cipher.open(number, &mut segment)?;
        plain.extend_from_slice(&segment);
    }
    if hash_bytes(&plain) == expected { Ok(plain) } else { Err(other_content()) }
}

/// The size of the content of a copy of so many bytes.
const fn opened_bytes(sealed: u64) -> Option<u64> {
    match sealed.checked_sub(sealed.div_ceil(SEALED_SEGMENT_BYTES) * TAG_BYTES) {
        Some(size) if sealed_bytes(size) == sealed => Some(size),
        _ => None,
    }
}

/// Whether a holder's copy begins as it must: for a check of the first part, before all of it is fetched in vain. `size` is that of
/// the content, `start` at least the first [`SEALED_SEGMENT_BYTES`] of the copy, or all of it.
pub fn opens_start(key: &SealKey, size: u64, start: &[u8]) -> bool {
    let first = length(SEALED_SEGMENT_BYTES.min(sealed_bytes(size)));
    let Some(start) = start.get(..first) else { return false };
    Cipher::new(key, size).open(0, &mut start.to_vec()).is_ok()
}

/// Finds out the hash of the sealed copy of a file, and keeps the outboard of the copy. The copy itself is kept nowhere.
///
/// # Errors
/// [`ContentError::Changed`] when the file is not `expected` any more; otherwise as [`crate::add_file`].
pub fn add_sealed(
    path: &Path,
    key: &SealKey,
    expected: FileHash,
    outboards: &Path,
    progress: Progress<'_>,
) -> Result<Sealed> {
    let file = open_regular(path)?;
    let plain_size = FileStat::of(&file)?.size;
    if plain_size > MAX_SIZE_BYTES {
        return Err(ContentError::TooLarge);
    }
    let size = sealed_bytes(plain_size);
    let mut sealing = Sealing::new(key, file, plain_size);
    let hash = with_outboard(size, outboards, |job| {
        let hash = job.hash_in_order(&mut |_, to| sealing.fill(to), &mut Scratch::default(), progress)?;
        if sealing.plain_hash() == expected { Ok(hash) } else { Err(ContentError::Changed) }
    })?;
    Ok(Sealed { hash, size })
}

/// A file that is encrypted and hashed while it is read.
struct Sealing {
    cipher: Cipher,
    file: File,
    plain: blake3::Hasher,
    size: u64,
    next: u64,
    segment: Vec<u8>,
    /// What has been taken of the segment.
    taken: usize,
}

impl Sealing {
    fn new(key: &SealKey, file: File, size: u64) -> Self {
        let cipher = Cipher::new(key, size);
        Self { cipher, file, plain: blake3::Hasher::new(), size, next: 0, segment: Vec::new(), taken: 0 }
    }

    /// Fills `to` with what comes next of the copy.
    fn fill(&mut self, mut to: &mut [u8]) -> Result<()> {
        while !to.is_empty() {
            if self.taken == self.segment.len() {
                self.read_segment()?;
            }
            let count = to.len().min(self.segment.len() - self.taken);
            let (now, later) = to.split_at_mut(count);
            now.copy_from_slice(&self.segment[self.taken..self.taken + count]);
            self.taken += count;
            to = later;
        }
        Ok(())
    }

    fn read_segment(&mut self) -> Result<()> {
        let left = self.size.checked_sub(self.next * SEGMENT_BYTES).ok_or(ContentError::Changed)?;
        self.segment.clear();
        self.segment.resize(length(left.min(SEGMENT_BYTES)), 0);
        self.file.read_exact(&mut self.segment).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ContentError::Changed,
            _ => ContentError::Io { what: "cannot read the file".into(), error },
        })?;
        self.plain.update(&self.segment);
        self.cipher.seal(self.next, &mut self.segment)?;
        self.next += 1;
        self.taken = 0;
        Ok(())
    }

    fn plain_hash(&self) -> FileHash {
        FileHash::from_bytes(*self.plain.finalize().as_bytes())
    }
}

/// Decrypts a sealed copy into a file, which is put into place when all of it is what was expected; until then, and on any error,
/// nothing stands there. `size` is that of the content. `progress` gets the bytes of it that are decrypted.
///
/// # Errors
/// [`ContentError::Lie`] when the copy does not open or is of another content, which is the fault of who gave its hash;
/// [`ContentError::Full`], [`ContentError::Cancelled`].
pub fn open_sealed(
    sealed: &Path,
    key: &SealKey,
    expected: FileHash,
    size: u64,
    to: &Path,
    progress: Progress<'_>,
) -> Result<()> {
    let file = open_regular(sealed)?;
    if size > MAX_SIZE_BYTES || FileStat::of(&file)?.size != sealed_bytes(size) {
        return Err(WRONG_LENGTH);
    }
    let target = Temporary::create(to.parent().unwrap_or(Path::new(".")), USER_MODE)?;
    decrypt(&file, key, expected, size, &mut target.file(), progress).map_err(|error| match error {
        ContentError::Io { error, .. } => ContentError::at("decrypt to", to)(error),
        error => error,
    })?;
    target.sync()?;
    target.keep(to)
}

/// Decrypts all of a copy from where the file is read, and compares the hash.
pub(crate) fn decrypt(
    mut sealed: impl Read,
    key: &SealKey,
    expected: FileHash,
    size: u64,
    to: &mut impl Write,
    progress: Progress<'_>,
) -> Result<()> {
    let failed = |error| ContentError::Io { what: "cannot decrypt".into(), error };
    let cipher = Cipher::new(key, size);
    let mut hasher = blake3::Hasher::new();
    let mut segment = Vec::with_capacity(length(SEALED_SEGMENT_BYTES));
    let mut opened = Vec::with_capacity(length(SEGMENTS_A_WRITE * SEGMENT_BYTES));
    let mut done = 0;
    for number in 0..segments(size) {
        let left = sealed_bytes(size) - number * SEALED_SEGMENT_BYTES;
        segment.clear();
        segment.resize(length(left.min(SEALED_SEGMENT_BYTES)), 0);
        sealed.read_exact(&mut segment).map_err(failed)?;
        cipher.open(number, &mut segment)?;
        opened.extend_from_slice(&segment);
        if (number + 1).is_multiple_of(SEGMENTS_A_WRITE) || number + 1 == segments(size) {
            hasher.update(&opened);
            to.write_all(&opened).map_err(failed)?;
            done += opened.len() as u64;
            opened.clear();
            report(progress, done)?;
        }
    }
    if hasher.finalize().as_bytes() == expected.as_bytes() { Ok(()) } else { Err(other_content()) }
}

const fn other_content() -> ContentError {
    ContentError::Lie("the sealed copy is of another file")
}

/// Of pieces of what is in memory.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
