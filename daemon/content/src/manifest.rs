//! The list of a folder's files: what the hash of a folder is the hash of.
//!
//! ```text
//! "kithfold"  version u32  files u32  empty folders u32          big endian, as everything here
//! a file:          path length u16, path, hash 32 bytes, size u64, 1 if it is executable else 0
//! an empty folder: path length u16, path
//! ```
//! One folder has one list: files and empty folders are sorted by the bytes of their paths. A list that breaks a rule is refused whole;
//! it comes from strangers, and what it names is made on the disk.

use std::collections::BTreeSet;

use kith_common::file::{FileHash, MAX_FOLDER_FILES, MAX_SIZE_BYTES};

use crate::error::{ContentError, Result};
use crate::name::component_fault;
use crate::tree::hash_bytes;

/// What a list may be in all, encoded.
pub const MAX_MANIFEST_BYTES: u64 = 32 * 1024 * 1024;
/// Folders within folders.
pub const MAX_DEPTH: usize = 32;
/// The longest path: with the folder that it is saved into it stays below the 4,096 of PATH_MAX.
pub const MAX_PATH_BYTES: usize = 3000;

const MAGIC: &[u8; 8] = b"kithfold";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 3 * size_of::<u32>();
/// Of a file, beside its path.
const ENTRY_BYTES: usize = size_of::<u16>() + 32 + size_of::<u64>() + 1;

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the folder, names separated by `/`.
    pub path: String,
    pub hash: FileHash,
    /// In bytes.
    pub size: u64,
    /// The only permission that travels.
    pub executable: bool,
}

/// The files of a folder. Only lists that keep all rules can be had from [`Manifest::new`] and [`Manifest::decode`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Sorted by path; no two paths differ only in case.
    pub entries: Vec<Entry>,
    /// Paths of folders with nothing in them, sorted.
    pub empty_folders: Vec<String>,
}

impl Manifest {
    /// Sorts, and checks all rules.
    ///
    /// # Errors
    /// [`ContentError::TooManyFiles`], [`ContentError::TooLarge`], [`ContentError::BadManifest`] for paths that cannot be.
    pub fn new(mut entries: Vec<Entry>, mut empty_folders: Vec<String>) -> Result<Self> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        empty_folders.sort_unstable();
        let manifest = Self { entries, empty_folders };
        manifest.check()?;
        Ok(manifest)
    }

    /// Of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// The bytes that the hash of the folder is of.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_length());
        bytes.extend_from_slice(MAGIC);
        for number in [VERSION, count(&self.entries), count(&self.empty_folders)] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for entry in &self.entries {
            put_path(&mut bytes, &entry.path);
            bytes.extend_from_slice(entry.hash.as_bytes());
            bytes.extend_from_slice(&entry.size.to_be_bytes());
            bytes.push(u8::from(entry.executable));
        }
        for folder in &self.empty_folders {
            put_path(&mut bytes, folder);
        }
        bytes
    }

    /// # Errors
    /// [`ContentError::BadManifest`] for whatever is no list, or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ContentError::BadManifest("it has more than 32 MiB"));
        }
        let mut reader = Reader(bytes);
        if reader.take::<8>()? != MAGIC {
            return Err(ContentError::BadManifest("it is no list of files"));
        }
        if reader.number()? != VERSION {
            return Err(ContentError::BadManifest("it was made by a newer version of Kith"));
        }
        let (files, folders) = (reader.number()?, reader.number()?);
        if files.saturating_add(folders) > MAX_FOLDER_FILES {
            return Err(ContentError::BadManifest("it has more than 100,000 files"));
        }
        let entries = (0..files).map(|_| reader.entry()).collect::<Result<_>>()?;
        let empty_folders = (0..folders).map(|_| reader.path()).collect::<Result<_>>()?;
        if !reader.0.is_empty() {
            return Err(ContentError::BadManifest("something stands behind its end"));
        }
        let manifest = Self { entries, empty_folders };
        manifest.check().map_err(|error| match error {
            ContentError::TooLarge => ContentError::BadManifest("its files are larger than 16 TiB"),
            ContentError::TooManyFiles => ContentError::BadManifest("it is too long"),
            error => error,
        })?;
        Ok(manifest)
    }

    fn encoded_length(&self) -> usize {
        let files: usize = self.entries.iter().map(|entry| ENTRY_BYTES + entry.path.len()).sum();
        let folders: usize = self.empty_folders.iter().map(|folder| size_of::<u16>() + folder.len()).sum();
        HEAD_BYTES + files + folders
    }

    fn check(&self) -> Result<()> {
        const UNSORTED: ContentError = ContentError::BadManifest("its paths are not in order, or one is there twice");
        let count = self.entries.len() + self.empty_folders.len();
        if count > MAX_FOLDER_FILES as usize || self.encoded_length() as u64 > MAX_MANIFEST_BYTES {
            return Err(ContentError::TooManyFiles);
        }
        if self.total_bytes() > MAX_SIZE_BYTES {
            return Err(ContentError::TooLarge);
        }
        if !self.entries.is_sorted_by(|a, b| a.path < b.path) || !self.empty_folders.is_sorted_by(|a, b| a < b) {
            return Err(UNSORTED);
        }
        let empty = hash_bytes(b"");
        if self.entries.iter().any(|entry| (entry.size == 0) != (entry.hash == empty)) {
            return Err(ContentError::BadManifest(
                "it says of an empty file that it has content, or the other way round",
            ));
        }
        self.check_paths()
    }

    /// Each path can be made, and none is in the way of another one, on file systems that ignore case as well.
    fn check_paths(&self) -> Result<()> {
        let mut leaves = BTreeSet::new();
        for path in self.entries.iter().map(|entry| &entry.path).chain(&self.empty_folders) {
            check_path(path).map_err(ContentError::BadManifest)?;
            if !leaves.insert(path.to_lowercase()) {
                return Err(ContentError::BadManifest("two of its paths differ only in case"));
            }
        }
        let covered = |path: &String| {
            let mut above = path.as_str();
            while let Some((folder, _)) = above.rsplit_once('/') {
                if leaves.contains(folder) {
                    return true;
                }
                above = folder;
            }
            false
        };
        if leaves.iter().any(covered) {
            return Err(ContentError::BadManifest("something is a file, or empty, and a folder with files as well"));
        }
        Ok(())
    }
}

/// Why a relative path cannot be part of a folder.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH_BYTES {
        return Err("a path is too long");
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err("it is nested too deep");
    }
    path.split('/').find_map(component_fault).map_or(Ok(()), Err)
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

fn put_path(bytes: &mut Vec<u8>, path: &str) {
    // MAX_PATH_BYTES fits.
    bytes.extend_from_slice(&u16::try_from(path.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(path.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    const SHORT: ContentError = ContentError::BadManifest("it is cut short");

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32> {
        self.take().copied().map(u32::from_be_bytes)
    }

    fn path(&mut self) -> Result<String> {
        let length = u16::from_be_bytes(*self.take()?);
        let (path, rest) = self.0.split_at_checked(length.into()).ok_or(Self::SHORT)?;
        self.0 = rest;
        str::from_utf8(path).map(str::to_owned).map_err(|_| ContentError::BadManifest("a path is no text"))
    }

    fn entry(&mut self) -> Result<Entry> {
        let path = self.path()?;
        let hash = FileHash::from_bytes(*self.take()?);
        let size = u64::from_be_bytes(*self.take()?);
        let executable = match self.take::<1>()? {
            [0] => false,
            [1] => true,
            _ => return Err(ContentError::BadManifest("a file is neither executable nor not")),
        };
        Ok(Entry { path, hash, size, executable })
    }
}
