//! How a file, or the files of a folder, are cut into the units that are fetched, and which of them are there.

use std::ops::Range;

use kith_common::file::{FileHash, FileKind, MAX_SIZE_BYTES};

use crate::error::{ContentError, Result};
use crate::manifest::{Manifest, check_path};
use crate::tree::outboard_bytes;

const SMALL_UNIT_BYTES: u64 = 1024 * 1024;
const LARGE_UNIT_BYTES: u64 = 4 * 1024 * 1024;
/// Above it units are large, so that there are not too many of them to keep account of.
const LARGE_ABOVE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// The unit of something that has so many bytes in all.
pub const fn unit_bytes(total: u64) -> u64 {
    if total > LARGE_ABOVE_BYTES { LARGE_UNIT_BYTES } else { SMALL_UNIT_BYTES }
}

/// A content that is fetched, as [`Layout::new`] gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub hash: FileHash,
    /// In bytes.
    pub size: u64,
    /// Its path in the folder; `None` for a file alone.
    pub relative: Option<String>,
    pub executable: bool,
}

/// A content, with its place among the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobLayout {
    pub hash: FileHash,
    /// In bytes.
    pub size: u64,
    pub first_unit: u32,
    /// None, of an empty file.
    pub units: u32,
    /// Its path in the folder; `None` for a file alone.
    pub relative: Option<String>,
    pub executable: bool,
    /// Where its pairs begin in the outboard of all.
    pub(crate) outboard_base: u64,
}

impl BlobLayout {
    /// Its units, as numbered in the layout.
    pub const fn unit_range(&self) -> Range<u32> {
        self.first_unit..self.first_unit + self.units
    }
}

/// What to ask for when a unit is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its number in [`Layout::blobs`].
    pub blob: usize,
    /// Of the blob.
    pub hash: FileHash,
    /// Of the blob, in bytes.
    pub size: u64,
    /// In the blob, in bytes.
    pub range: Range<u64>,
}

/// All units of a file or folder, numbered from 0 through all its blobs. Every node makes the same of the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub blobs: Vec<BlobLayout>,
    pub unit_bytes: u64,
    pub empty_folders: Vec<String>,
}

impl Layout {
    /// Of a file alone.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`].
    pub fn file(hash: FileHash, size: u64) -> Result<Self> {
        Self::new(vec![Blob { hash, size, relative: None, executable: false }], Vec::new())
    }

    /// Of a folder.
    ///
    /// # Errors
    /// As [`Layout::new`]; never for a list that was decoded.
    pub fn folder(manifest: &Manifest) -> Result<Self> {
        let blob = |entry: &crate::Entry| Blob {
            hash: entry.hash,
            size: entry.size,
            relative: Some(entry.path.clone()),
            executable: entry.executable,
        };
        Self::new(manifest.entries.iter().map(blob).collect(), manifest.empty_folders.clone())
    }

    /// Of a file alone, or of files that all have a path. For the sealed copies of a folder's files, with their own hashes and sizes.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] above 16 TiB; [`ContentError::BadManifest`] for paths that cannot be.
    pub fn new(blobs: Vec<Blob>, empty_folders: Vec<String>) -> Result<Self> {
        let total = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        if total > MAX_SIZE_BYTES {
            return Err(ContentError::TooLarge);
        }
        let alone = matches!(blobs.as_slice(), [Blob { relative: None, .. }]) && empty_folders.is_empty();
        if !alone && blobs.iter().any(|blob| blob.relative.is_none()) {
            return Err(ContentError::BadManifest("a file in a folder has no path"));
        }
        for path in blobs.iter().filter_map(|blob| blob.relative.as_ref()).chain(&empty_folders) {
            check_path(path).map_err(ContentError::BadManifest)?;
        }
        Self::cut(blobs, empty_folders, unit_bytes(total))
    }

    pub(crate) fn cut(blobs: Vec<Blob>, empty_folders: Vec<String>, unit_bytes: u64) -> Result<Self> {
        let (mut first_unit, mut outboard_base) = (0_u32, 0);
        let mut placed = Vec::with_capacity(blobs.len());
        for Blob { hash, size, relative, executable } in blobs {
            let units = u32::try_from(size.div_ceil(unit_bytes)).map_err(|_| ContentError::TooLarge)?;
            placed.push(BlobLayout { hash, size, first_unit, units, relative, executable, outboard_base });
            first_unit = first_unit.checked_add(units).ok_or(ContentError::TooLarge)?;
            outboard_base += outboard_bytes(size);
        }
        Ok(Self { blobs: placed, unit_bytes, empty_folders })
    }

    pub fn kind(&self) -> FileKind {
        match self.blobs.as_slice() {
            [BlobLayout { relative: None, .. }] => FileKind::File,
            _ => FileKind::Folder,
        }
    }

    /// How many there are.
    pub fn units(&self) -> u32 {
        self.blobs.last().map_or(0, |blob| blob.unit_range().end)
    }

    pub fn total_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Of all outboards together.
    pub(crate) fn outboard_bytes(&self) -> u64 {
        self.blobs.last().map_or(0, |blob| blob.outboard_base + outboard_bytes(blob.size))
    }

    /// The number of the blob that a unit is of.
    pub fn blob_of(&self, unit: u32) -> Option<usize> {
        let blob = self.blobs.partition_point(|blob| blob.unit_range().end <= unit);
        (blob < self.blobs.len()).then_some(blob)
    }

    /// `None` behind the last.
    pub fn unit(&self, unit: u32) -> Option<Unit> {
        let blob = self.blob_of(unit)?;
        let BlobLayout { hash, size, first_unit, .. } = self.blobs[blob];
        let start = u64::from(unit - first_unit) * self.unit_bytes;
        Some(Unit { blob, hash, size, range: start..(start + self.unit_bytes).min(size) })
    }

    /// The bytes of a unit; 0 behind the last.
    pub fn unit_length(&self, unit: u32) -> u64 {
        self.unit(unit).map_or(0, |unit| unit.range.end - unit.range.start)
    }
}

/// One bit a unit: whether it is there. The first unit is the lowest bit of the first byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Bits {
    bytes: Vec<u8>,
    units: u32,
}

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bits({} of {})", self.count(), self.units)
    }
}

impl Bits {
    /// None is there.
    pub fn new(units: u32) -> Self {
        Self { bytes: vec![0; Self::length(units)], units }
    }

    /// What [`Bits::as_bytes`] has given; `None` when it is not of so many units.
    pub fn from_bytes(bytes: &[u8], units: u32) -> Option<Self> {
        let mut bits = Self { bytes: bytes.to_owned(), units };
        if bytes.len() != Self::length(units) {
            return None;
        }
        if let Some(last) = bits.bytes.last_mut()
            && !units.is_multiple_of(8)
        {
            *last &= (1 << (units % 8)) - 1;
        }
        Some(bits)
    }

    /// Bytes of so many bits.
    pub(crate) const fn length(units: u32) -> usize {
        units.div_ceil(8) as usize
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many units there could be.
    pub const fn len(&self) -> u32 {
        self.units
    }

    pub const fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// False behind the last.
    pub fn get(&self, unit: u32) -> bool {
        unit < self.units && self.bytes[unit as usize / 8] & Self::mask(unit) != 0
    }

    /// Whether that is news. Nothing happens behind the last.
    pub fn set(&mut self, unit: u32) -> bool {
        let news = unit < self.units && !self.get(unit);
        if news {
            self.bytes[unit as usize / 8] |= Self::mask(unit);
        }
        news
    }

    /// Whether that is news.
    pub fn clear(&mut self, unit: u32) -> bool {
        let news = self.get(unit);
        if news {
            self.bytes[unit as usize / 8] &= !Self::mask(unit);
        }
        news
    }

    /// How many are there.
    pub fn count(&self) -> u32 {
        self.bytes.iter().map(|byte| byte.count_ones()).sum()
    }

    pub fn is_full(&self) -> bool {
        self.count() == self.units
    }

    /// Those that are there, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.units).filter(|unit| self.get(*unit))
    }

    /// The highest of a range that is there.
    pub(crate) fn last_in(&self, range: Range<u32>) -> Option<u32> {
        range.rev().find(|unit| self.get(*unit))
    }

    const fn mask(unit: u32) -> u8 {
        1 << (unit % 8)
    }
}
