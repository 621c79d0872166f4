//! Files by content: hashing, verified ranges, partial files, names and sealed copies.
//!
//! Everything about bytes on disk, and nothing else: no network, no async, no database. `kithd::files` calls it from blocking threads;
//! every type is `Send + Sync` and every method takes `&self`, so that several threads may encode or store at once. Nothing here
//! prints, and nothing keeps a whole file in memory.
//!
//! A file is its BLAKE3 hash. The tree of hashes down to groups of 16 KiB (its *outboard*, 0.4 % of the file) is kept beside it in
//! pre-order, and a range of groups travels in the encoding of bao: pairs of hashes and groups of data in pre-order, from the root.
//! Both are byte for byte what the `bao-tree` crate makes with chunk groups of 2^4; the tests compare them. The code is our own
//! because hashing on several threads, one read of the outboard a range, and verifying without copying are not to be had there.
//!
//! What is refused comes back as a [`ContentError`], each with a sentence. Which of them is whose fault matters to the caller:
//! [`ContentError::Lie`] is a source's, [`ContentError::is_full`] and `Io` are this machine's, and must never be blamed on a source.
//!
//! # The API at a glance
//!
//! ```text
//! pub const GROUP_BYTES: u64 = 16 * 1024;
//! pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;           // bytes done; Break gives up: ContentError::Cancelled
//!
//! // error
//! enum ContentError { Changed, Missing, NotPermitted(PathBuf), NotAFile(PathBuf), BadName { path, why }, Unsteady(PathBuf), Full,
//!     NoRoom { needed_bytes, free_bytes }, Cancelled, TooLarge, TooManyFiles, TooDeep(PathBuf), Lie(&'static str), NotHere, BadRange,
//!     Damaged(&'static str), BadManifest(&'static str), InUse(PathBuf), Incomplete { missing_units }, NoFreeName(String), Io { what, error } }
//! ContentError::is_full(&self) -> bool                                          // Full, NoRoom
//!
//! // tree
//! fn outboard_bytes(size: u64) -> u64;
//! fn encoded_bytes(size: u64, range: Range<u64>) -> u64;                        // range is rounded outwards to groups and cut to the size
//! fn proof_range(size: u64) -> Range<u64>;                                      // the last group; empty (0..0) for size 0
//! fn decode(hash, size, range, encoded: &[u8]) -> Result<Vec<u8>, ContentError>;      // verified plain bytes of the range (a folder's list)
//! fn check_proof(hash, size, encoded: &[u8]) -> Result<(), ContentError>;       // answer to proof_range: proves the size
//! fn hash_bytes(bytes: &[u8]) -> FileHash;
//!
//! // add
//! struct FileStat { dev: u64, ino: u64, size: u64, mtime_ns: i64 }              // of(&File), at(&Path): Result<_, ContentError>
//! struct Added { hash: FileHash, stat: FileStat }
//! fn add_file(path: &Path, outboards: &Path, progress: Progress) -> Result<Added, ContentError>;       // follows a link at `path`
//! fn add_copy(path: &Path, blobs: &Path, outboards: &Path, progress: Progress) -> Result<Added, ContentError>; // to blob_path(blobs, hash); stat: the copy's
//! fn outboard_path(outboards: &Path, hash: FileHash) -> PathBuf;                // outboards/ab/<hash>.ob; none up to GROUP_BYTES
//! fn blob_path(blobs: &Path, hash: FileHash) -> PathBuf;                        // blobs/ab/<hash>
//! fn remove_outboard(outboards: &Path, hash: FileHash) -> Result<(), ContentError>;
//! fn remove_leftovers(folder: &Path) -> io::Result<u32>;                        // temporaries of a killed daemon, in outboards or blobs; at start
//!
//! // folder
//! struct Entry { path: String, hash: FileHash, size: u64, executable: bool }
//! struct Manifest { entries: Vec<Entry>, empty_folders: Vec<String> }
//! impl Manifest { fn new(entries, empty_folders) -> Result<Self, _>; fn encode(&self) -> Vec<u8>; fn decode(&[u8]) -> Result<Self, _>; fn total_bytes(&self) -> u64 }
//! struct Walked { relative: String, size: u64, executable: bool }
//! struct Walk { files: Vec<Walked>, empty_folders: Vec<String>, skipped: u32 }  // skipped: links, sockets, devices
//! fn walk(folder: &Path, progress: &mut dyn FnMut(u32 /* files found */) -> ControlFlow<()>) -> Result<Walk, ContentError>;
//! struct FolderProgress { done_bytes: u64, total_bytes: u64, files: u32 }
//! struct AddedFolder { manifest: Manifest, hash: FileHash, stats: Vec<FileStat> /* as manifest.entries */, skipped: u32 }
//! fn add_folder(folder: &Path, outboards: &Path, progress: &mut dyn FnMut(FolderProgress) -> ControlFlow<()>) -> Result<AddedFolder, ContentError>;
//!
//! // serve
//! trait Provide: Send + Sync { fn hash(&self) -> FileHash; fn size(&self) -> u64;
//!     fn encode(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<(), ContentError>; // appends exactly encoded_bytes(size, range), or nothing
//!     fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<(), ContentError>; } // verified plain bytes, any offset
//! struct Served; Served::open(path: &Path, outboard: Option<&Path>, hash: FileHash, stat: Option<FileStat>) -> Result<Self, ContentError>;
//!     // stat Some: a user's file, Changed instead of a lie; None: an own copy, Damaged instead of a lie. Always validated.
//! struct ServedBytes; ServedBytes::new(bytes: Vec<u8>) -> Self;                 // a manifest
//! struct SealedServed; SealedServed::open(path, outboard: Option<&Path> /* the ciphertext's */, key: SealKey, sealed: FileHash, stat: Option<FileStat>)
//!
//! // seal
//! struct SealKey;                                                               // Clone, zeroized
//! fn copy_key(share_key: &CopyKey, hash: FileHash) -> SealKey;
//! fn lookup_id(share_key: &CopyKey, hash: FileHash) -> FileHash;
//! fn sealed_bytes(size: u64) -> u64;
//! struct Sealed { hash: FileHash, size: u64 }                                   // of the ciphertext
//! fn add_sealed(path: &Path, key: &SealKey, expected: FileHash, outboards: &Path, progress: Progress) -> Result<Sealed, ContentError>;
//! fn open_sealed(sealed: &Path, key: &SealKey, expected: FileHash, size: u64, to: &Path, progress: Progress) -> Result<(), ContentError>;
//! fn seal_bytes(key: &SealKey, plain: &[u8]) -> Vec<u8>;                        // a manifest; serve it with ServedBytes
//! fn open_bytes(key: &SealKey, expected: FileHash, sealed: &[u8]) -> Result<Vec<u8>, ContentError>;
//! fn opens_start(key: &SealKey, size: u64 /* plain */, start: &[u8]) -> bool;   // early check of a holder: the first SEALED_SEGMENT_BYTES of the copy
//!
//! // partial
//! struct Blob { hash, size, relative: Option<String>, executable: bool }
//! struct BlobLayout { hash, size, first_unit: u32, units: u32, relative: Option<String>, executable: bool }
//! struct Layout { blobs: Vec<BlobLayout>, unit_bytes: u64, empty_folders: Vec<String> }
//! impl Layout { fn file(hash, size) -> Result<Self, _>; fn folder(&Manifest) -> Result<Self, _>; fn new(Vec<Blob>, empty_folders) -> Result<Self, _>;
//!     fn kind(&self) -> FileKind; fn units(&self) -> u32; fn total_bytes(&self) -> u64; fn unit(&self, unit: u32) -> Option<Unit>; fn blob_of(&self, unit) -> Option<usize> }
//! struct Unit { blob: usize, hash: FileHash, size: u64 /* of the blob */, range: Range<u64> /* in the blob */ }  // what to ask for
//! struct Bits; // Clone; new(units), from_bytes(&[u8], units) -> Option<Self>, as_bytes(), get(unit), set(unit), clear(unit), len(), count(), is_full(), iter()
//! struct Partial; impl Partial {
//!     fn create_or_open(target_folder: &Path, hash: FileHash, layout: Layout) -> Result<(Self, Bits), ContentError>;
//!     fn placed(target_folder: &Path, hash: FileHash) -> Option<PathBuf>;       // what a finish that was killed has put into place: ask before create_or_open
//!     fn layout(&self) -> &Layout; fn bits(&self) -> Bits; fn done_bytes(&self) -> u64; fn files_done(&self) -> u32;
//!     fn allocate(&self) -> Result<(), ContentError>;                           // after check_proof: room for all of it, or NoRoom
//!     fn store(&self, unit: u32, encoded: &[u8]) -> Result<(), ContentError>;
//!     fn sync(&self) -> Result<Bits, ContentError>;                             // what is safe on the disk now: keep it as `synced`
//!     fn recheck(&self, trusted: Option<&Bits>, progress: Progress) -> Result<Bits, ContentError>; // Some: the units on record that are not
//!         // trusted (`synced`, after another boot); None: every unit, on record or not
//!     fn serve(&self, blob: usize) -> Result<Served, ContentError>;             // NotHere for what is not there yet
//!     fn data_path(&self, blob: usize) -> PathBuf;
//!     fn keep_outboards(&self, outboards: &Path) -> Result<(), ContentError>;   // before finish: what was fetched can be shared without hashing it
//!     fn finish(self, name: &str) -> Result<PathBuf, ContentError>;             // name is made safe here too. A note of the path stays until
//!         // `discard_at`, which is called once the path is noted elsewhere (committed): that is what makes `placed` work
//!     fn finish_sealed(self, name: &str, plain: &[Plain], progress: Progress) -> Result<PathBuf, ContentError>; // decrypts each blob, then as finish
//!     fn discard(self) -> Result<(), ContentError>; fn discard_at(target_folder, hash) -> Result<(), ContentError>; }
//! struct Plain { key: SealKey, hash: FileHash, size: u64 }                      // of each blob of the layout, in its order
//! fn unit_bytes(total: u64) -> u64;                                             // 1 MiB, 4 MiB above 4 GiB
//!
//! // place, name, disk
//! fn place(from: &Path, folder: &Path, name: &str) -> Result<PathBuf, ContentError>;  // rename without overwriting, then fsync
//! fn safe_name(raw: &str) -> String;
//! fn content_kind(name: &str) -> ContentKind;
//! fn free_bytes(folder: &Path) -> io::Result<u64>;
//! fn room(folder: &Path, needed: u64) -> Result<(), ContentError>;              // NoRoom unless it fits and a reserve stays free
//! fn boot_id() -> Option<String>;                                               // another one: the machine went down, `.bits` may be ahead of the data
//! ```

mod add;
mod dir;
mod disk;
mod error;
mod folder;
mod hash;
mod layout;
mod manifest;
mod name;
mod partial;
mod place;
mod seal;
mod sealed;
mod serve;
mod tree;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

pub use add::{Added, FileStat, add_copy, add_file, blob_path, outboard_path, remove_leftovers, remove_outboard};
pub use disk::{boot_id, free_bytes, room};
pub use error::ContentError;
pub use folder::{AddedFolder, FolderProgress, Walk, Walked, add_folder, walk};
pub use layout::{Bits, Blob, BlobLayout, Layout, Unit, unit_bytes};
pub use manifest::{Entry, MAX_DEPTH, MAX_MANIFEST_BYTES, MAX_PATH_BYTES, Manifest};
pub use name::{content_kind, safe_name};
pub use partial::{Partial, Plain};
pub use place::place;
pub use seal::{
    SEALED_SEGMENT_BYTES, SealKey, Sealed, add_sealed, copy_key, lookup_id, open_bytes, open_sealed, opens_start,
    seal_bytes, sealed_bytes,
};
pub use sealed::SealedServed;
pub use serve::{Provide, Served, ServedBytes};
pub use tree::{
    GROUP_BYTES, MAX_RANGE_BYTES, check_proof, decode, encoded_bytes, hash_bytes, outboard_bytes, proof_range,
};

/// Told how many bytes are done, a few times a second at the most for what is large; [`ControlFlow::Break`] gives up with
/// [`ContentError::Cancelled`].
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;
