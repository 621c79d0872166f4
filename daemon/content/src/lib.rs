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
//! # Who calls what
//!
//! - **Sharing**: [`add_file`], [`add_copy`] and [`add_folder`] hash, and keep an outboard. A folder's hash is that of its [`Manifest`].
//! - **Serving**: [`Served`] for a file, [`ServedBytes`] for a manifest, [`SealedServed`] for a sealed copy that is made on the way;
//!   all are [`Provide`], and verify what they hand out.
//! - **Fetching**: an answer to [`proof_range`] proves the size ([`check_proof`]); a manifest comes by [`decode`]; [`Layout`] numbers the
//!   units; [`Partial`] verifies and keeps them, survives anything, and puts the whole into place under a [`safe_name`].
//! - **Sealed copies**: [`copy_key`], [`lookup_id`], [`add_sealed`]; fetched into a [`Partial`] and opened by [`Partial::finish_sealed`].
//!
//! # After a kill or a power cut
//!
//! [`Partial::placed`] first: it may have been finished already. Then [`Partial::create_or_open`]; its bits are right when
//! [`boot_id`] is what it was, otherwise [`Partial::recheck`] looks at all that [`Partial::sync`] had not returned. When the final path
//! is noted (committed), [`Partial::discard_at`] removes the last trace.

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
