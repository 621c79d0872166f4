//! What is being fetched, in the file system of the folder that it will stand in:
//!
//! ```text
//! <target>/.kith-partial/<hash>/bits       which units are there: 16 bytes of head, then one bit a unit. Locked while it is open
//!                               outboard   the pairs of all files, one after the other
//!                               data       the file; of a folder, a folder with its files by their paths
//!                               placing    while it is finished: what was put into place, and under which name
//! ```
//!
//! A unit is verified as a whole in memory, then its data is written, then its pairs, then its bit. What is on record has been given to
//! the file system, so a daemon that is killed loses nothing of it. After a power cut only what [`Partial::sync`] has returned is
//! sure; [`Partial::recheck`] looks at the rest.

mod finish;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kith_common::file::{FileHash, FileKind};
use rustix::fs::{FallocateFlags, FlockOperation, Mode};
use rustix::io::Errno;

pub use self::finish::Plain;

use crate::Progress;
use crate::dir::{Dir, Open, only_ours};
use crate::disk;
use crate::error::{ContentError, Result};
use crate::hash::report;
use crate::layout::{Bits, Layout, Unit};
use crate::serve::{Provide, Served};
use crate::tree::{PAIR_BYTES, Pair, verify};

/// Where things are while they are fetched, in the folder that they will stand in. Never shared with it.
pub(crate) const PARTIAL_FOLDER: &str = ".kith-partial";

const BITS: &str = "bits";
const OUTBOARD: &str = "outboard";
const DATA: &str = "data";
/// Of the folder for what is fetched: what is in it is nobody else's business until it is whole.
const OWN_FOLDER: Mode = Mode::from_raw_mode(0o700);
const BITS_MAGIC: &[u8; 8] = b"kithbits";
/// Magic, bytes of a unit, number of units.
const BITS_HEAD_BYTES: u64 = 16;
/// Files that are synced one by one. If there are more, the whole file system is, which is faster.
const MAX_FILES_SYNCED: usize = 16;
/// Groups that are written at once. For longer writes a file system takes longer pieces of free memory, which a virtual machine has
/// to ask its host for: a whole mebibyte at once costs the receiver half as much CPU again there.
const WRITTEN_TOGETHER: usize = 4;
/// What `blocks` of a stat counts in.
const BLOCK_BYTES: u64 = 512;

/// A file or folder that is being fetched. Only one can be open for a content and a target folder.
#[derive(Debug)]
pub struct Partial {
    target: Dir,
    own: Dir,
    hash: FileHash,
    layout: Layout,
    /// Its lock is what keeps others out.
    bits_file: File,
    outboard: File,
    record: Mutex<Record>,
    /// Whoever writes. The file system lets only one write to a file at a time, and has others burn their time until then.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct Record {
    bits: Bits,
    done_bytes: u64,
    files_done: u32,
    /// Units that are missing of each blob.
    missing: Vec<u32>,
    /// Blobs that were written to since the last sync.
    dirty: BTreeSet<usize>,
}

impl Record {
    fn new(bits: &Bits, layout: &Layout) -> Self {
        let missing: Vec<u32> = layout.blobs.iter().map(|blob| blob.units).collect();
        let files_done = count(missing.iter().filter(|missing| **missing == 0).count());
        let none = Bits::new(bits.len());
        let mut record = Self { bits: none, done_bytes: 0, files_done, missing, dirty: BTreeSet::new() };
        for unit in bits.iter() {
            record.set(unit, layout);
        }
        record
    }

    /// Whether that is news.
    fn set(&mut self, unit: u32, layout: &Layout) -> bool {
        let Some(Unit { blob, range, .. }) = layout.unit(unit) else { return false };
        let news = self.bits.set(unit);
        if news {
            self.done_bytes += range.end - range.start;
            self.missing[blob] -= 1;
            self.files_done += u32::from(self.missing[blob] == 0);
        }
        news
    }

    fn clear(&mut self, unit: u32, layout: &Layout) {
        let Some(Unit { blob, range, .. }) = layout.unit(unit) else { return };
        if self.bits.clear(unit) {
            self.done_bytes -= range.end - range.start;
            self.files_done -= u32::from(self.missing[blob] == 0);
            self.missing[blob] += 1;
        }
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Partial {
    /// Goes on with what is there of the content in that folder, or begins. Both folders are made where they are not there; nothing is
    /// allocated. The bits are those on record: see [`crate::boot_id`] and [`Partial::recheck`] for how far they can be trusted.
    ///
    /// # Errors
    /// [`ContentError::InUse`] when it is open already, here or in another process; [`ContentError::NotPermitted`], also when the
    /// folder for what is fetched could be changed by others; [`ContentError::NotAFile`] for links in its place.
    pub fn create_or_open(target_folder: &Path, hash: FileHash, layout: Layout) -> Result<(Self, Bits)> {
        fs::create_dir_all(target_folder).map_err(ContentError::at("make", target_folder))?;
        let target = Dir::open(target_folder)?;
        let all = target.make_sub(PARTIAL_FOLDER, OWN_FOLDER)?;
        only_ours(&all, &target)?;
        let own = all.make_sub(&hash.to_string(), OWN_FOLDER)?;
        only_ours(&own, &target)?;
        let bits_file = own.file(BITS, Open::Write)?;
        lock(&bits_file, own.path())?;
        let bits = read_bits(&bits_file, &layout, &own.join(BITS))?;
        let outboard = own.file(OUTBOARD, Open::Write)?;
        let record = Mutex::new(Record::new(&bits, &layout));
        let partial = Self { target, own, hash, layout, bits_file, outboard, record, writing: Mutex::default() };
        partial.forget_what_is_gone()?;
        let bits = partial.bits();
        Ok((partial, bits))
    }

    pub const fn hash(&self) -> FileHash {
        self.hash
    }

    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which units are there.
    pub fn bits(&self) -> Bits {
        self.record().bits.clone()
    }

    /// Of the units that are there.
    pub fn done_bytes(&self) -> u64 {
        self.record().done_bytes
    }

    /// Files that are whole, empty ones among them.
    pub fn files_done(&self) -> u32 {
        self.record().files_done
    }

    /// A transfer that has panicked while storing leaves the record as it was before or after one unit: both are right.
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure of the room for all that is missing, and sets it aside. For when the size has been proven ([`crate::check_proof`]).
    ///
    /// # Errors
    /// [`ContentError::NoRoom`], [`ContentError::Full`].
    pub fn allocate(&self) -> Result<()> {
        let had = match self.layout.kind() {
            FileKind::File => self.data(0, self.how(0))?.metadata().map_or(0, |data| data.blocks() * BLOCK_BYTES),
            FileKind::Folder => self.done_bytes(),
        };
        let data = self.layout.total_bytes().saturating_sub(had);
        let pairs = self.outboard.metadata().map_or(0, |outboard| outboard.blocks() * BLOCK_BYTES);
        disk::room(self.own.path(), data + self.layout.outboard_bytes().saturating_sub(pairs))?;
        // A file of one unit is written at once.
        for (number, blob) in self.layout.blobs.iter().enumerate().filter(|(_, blob)| blob.units > 1) {
            let file = self.data(number, self.how(number))?;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, blob.size) {
                Ok(()) => {}
                // Not every file system can.
                Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => break,
                Err(error) => return Err(crate::dir::at("allocate", &self.data_path(number))(error)),
            }
        }
        Ok(())
    }

    /// Verifies the answer for a unit, and keeps it. Several threads may store at once, even the same unit.
    ///
    /// # Errors
    /// [`ContentError::Lie`] when it is not the content: then nothing of it is written. [`ContentError::Full`] and `Io` are the fault
    /// of this machine; [`ContentError::Missing`] when somebody has removed what was there already.
    pub fn store(&self, unit: u32, encoded: &[u8]) -> Result<()> {
        let Unit { blob, hash, size, range } = self.layout.unit(unit).ok_or(ContentError::BadRange)?;
        let verified = verify(hash, size, range.clone(), encoded)?;
        let file = self.data(blob, self.how(blob))?;
        let path = || self.data_path(blob);
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        write_groups(&file, range.start, &verified.groups)
            .map_err(|error| ContentError::at("write", &path())(error))?;
        write_pairs(&self.outboard, self.layout.blobs[blob].outboard_base, &verified.pairs)
            .map_err(ContentError::at("write", &self.own.join(OUTBOARD)))?;
        let mut record = self.record();
        record.dirty.insert(blob);
        if record.set(unit, &self.layout) {
            self.write_bits(&record.bits, unit..unit + 1)?;
        }
        Ok(())
    }

    /// Brings what has been stored to the disk, and returns the units that are safe there now.
    ///
    /// # Errors
    /// [`ContentError::Full`] and `Io`: nothing new is safe.
    pub fn sync(&self) -> Result<Bits> {
        let (bits, dirty) = {
            let mut record = self.record();
            (record.bits.clone(), std::mem::take(&mut record.dirty))
        };
        let synced = self.sync_files(&dirty);
        if synced.is_err() {
            self.record().dirty.extend(dirty);
        }
        synced.map(|()| bits)
    }

    fn sync_files(&self, dirty: &BTreeSet<usize>) -> Result<()> {
        if dirty.len() > MAX_FILES_SYNCED {
            return rustix::fs::syncfs(&self.outboard).map_err(crate::dir::at("sync", self.own.path()));
        }
        for blob in dirty {
            self.data(*blob, Open::Read)?.sync_data().map_err(ContentError::at("sync", &self.data_path(*blob)))?;
        }
        let rest = self.outboard.sync_data().and_then(|()| self.bits_file.sync_data());
        rest.map_err(ContentError::at("sync", self.own.path()))
    }

    /// Verifies what is on the disk, and takes the units off the record that are not what they should be. With `trusted` only the
    /// units on record that are not among them; without, every unit, on record or not. `progress` gets the bytes that were looked at.
    ///
    /// # Errors
    /// [`ContentError::Cancelled`]; `Io` when the disk cannot be read.
    pub fn recheck(&self, trusted: Option<&Bits>, progress: Progress<'_>) -> Result<Bits> {
        let before = self.bits();
        let mut buffer = Vec::new();
        let mut done = 0;
        for unit in 0..self.layout.units() {
            if trusted.is_some_and(|trusted| trusted.get(unit) || !before.get(unit)) {
                continue;
            }
            let Some(Unit { blob, range, .. }) = self.layout.unit(unit) else { break };
            buffer.clear();
            let right = match self.serve(blob).and_then(|served| served.read(range.clone(), &mut buffer)) {
                Ok(()) => true,
                Err(ContentError::NotHere | ContentError::Missing | ContentError::NotAFile(_)) => false,
                Err(error) => return Err(error),
            };
            let mut record = self.record();
            if right {
                record.set(unit, &self.layout);
            } else {
                record.clear(unit, &self.layout);
            }
            self.write_bits(&record.bits, unit..unit + 1)?;
            drop(record);
            done += range.end - range.start;
            report(progress, done)?;
        }
        Ok(self.bits())
    }

    /// What is there of a blob can be given to others; the rest is [`ContentError::NotHere`].
    ///
    /// # Errors
    /// [`ContentError::Missing`] when nothing of it is there.
    pub fn serve(&self, blob: usize) -> Result<Served> {
        let layout = self.layout.blobs.get(blob).ok_or(ContentError::BadRange)?;
        let file = self.data(blob, Open::Read)?;
        let outboard = self.outboard.try_clone().map_err(ContentError::at("open", &self.own.join(OUTBOARD)))?;
        Ok(Served::partial(file, Some(outboard), layout.outboard_base, layout.hash, layout.size))
    }

    /// Where the data of a blob is; of a folder without blobs, where the folder is.
    pub fn data_path(&self, blob: usize) -> PathBuf {
        let data = self.own.join(DATA);
        match self.layout.blobs.get(blob).and_then(|blob| blob.relative.as_ref()) {
            Some(relative) => data.join(relative),
            None => data,
        }
    }

    /// What was there already is not made anew: it would be a file of zeros.
    fn how(&self, blob: usize) -> Open {
        let begun = self.record().missing[blob] < self.layout.blobs[blob].units;
        if begun { Open::Existing } else { Open::Write }
    }

    fn data(&self, blob: usize, how: Open) -> Result<File> {
        open_blob(&self.own, DATA, &self.layout, blob, how)
    }

    fn write_bits(&self, bits: &Bits, units: Range<u32>) -> Result<()> {
        let bytes = units.start as usize / 8..Bits::length(units.end);
        let at = BITS_HEAD_BYTES + bytes.start as u64;
        let written = self.bits_file.write_all_at(&bits.as_bytes()[bytes], at);
        written.map_err(ContentError::at("write", &self.own.join(BITS)))
    }

    /// A blob that is not there, or shorter than what is on record of it, was removed by somebody or lost in a power cut.
    fn forget_what_is_gone(&self) -> Result<()> {
        let mut record = self.record();
        let mut lost = false;
        for (number, blob) in self.layout.blobs.iter().enumerate() {
            let Some(last) = record.bits.last_in(blob.unit_range()) else { continue };
            let end = self.layout.unit(last).map_or(0, |unit| unit.range.end);
            let length = match self.data(number, Open::Read) {
                Ok(file) => file.metadata().map_err(ContentError::at("look at", &self.data_path(number)))?.len(),
                Err(ContentError::Missing | ContentError::NotAFile(_)) => 0,
                Err(error) => return Err(error),
            };
            if length < end {
                tracing::warn!(blob = number, "data that was fetched is gone");
                blob.unit_range().for_each(|unit| record.clear(unit, &self.layout));
                lost = true;
            }
        }
        if lost { self.write_bits(&record.bits, 0..record.bits.len()) } else { Ok(()) }
    }
}

/// The file of a blob: `name` itself for a file alone, its path below the folder `name` otherwise.
fn open_blob(own: &Dir, name: &str, layout: &Layout, blob: usize, how: Open) -> Result<File> {
    match layout.blobs.get(blob).and_then(|blob| blob.relative.as_deref()) {
        None => own.file(name, how),
        Some(relative) => own.file(&format!("{name}/{relative}"), how),
    }
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        // Without locks, as on some network file systems, the daemon's own care has to do.
        Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(ContentError::InUse(path.to_owned())),
        Err(error) => Err(crate::dir::at("lock", path)(error)),
    }
}

/// The record, or an empty one where there is none of this layout.
fn read_bits(file: &File, layout: &Layout, path: &Path) -> Result<Bits> {
    let units = layout.units();
    let mut head = BITS_MAGIC.to_vec();
    // A unit is at most 4 MiB.
    head.extend_from_slice(&u32::try_from(layout.unit_bytes).unwrap_or(u32::MAX).to_be_bytes());
    head.extend_from_slice(&units.to_be_bytes());
    let mut found = vec![0; head.len() + Bits::length(units)];
    let known = match file.read_exact_at(&mut found, 0) {
        Ok(()) => found.starts_with(&head).then(|| Bits::from_bytes(&found[head.len()..], units)).flatten(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(ContentError::at("read", path)(error)),
    };
    if let Some(bits) = known {
        return Ok(bits);
    }
    let bits = Bits::new(units);
    head.extend_from_slice(bits.as_bytes());
    file.set_len(0).and_then(|()| file.write_all_at(&head, 0)).map_err(ContentError::at("write", path))?;
    Ok(bits)
}

/// In as few writes as the file system takes, without copying.
fn write_groups(file: &File, mut offset: u64, groups: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = groups.iter().map(|group| IoSlice::new(group)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let together = rest.len().min(WRITTEN_TOGETHER);
        match rustix::io::pwritev(file, &rest[..together], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Neighbours in one write.
fn write_pairs(file: &File, base: u64, pairs: &[(u64, &Pair)]) -> io::Result<()> {
    for run in pairs.chunk_by(|a, b| a.0 + 1 == b.0) {
        let bytes: Vec<u8> = run.iter().flat_map(|(_, pair)| pair.iter().copied()).collect();
        file.write_all_at(&bytes, base + run[0].0 * PAIR_BYTES as u64)?;
    }
    Ok(())
}
