//! Hashes a content unit by unit, on one thread or two, and writes its outboard.
//!
//! A unit is a subtree of its own, so units can be hashed in any order; their pairs stand together in the outboard. What is above the
//! units is joined at the end.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use kith_common::file::FileHash;

use crate::Progress;
use crate::error::{ContentError, Result};
use crate::tree::{Cv, Node, PAIR_BYTES};

/// What a thread reads and hashes at a time: measured best of 1 to 16 MiB, with two threads at 12.7 GB/s from the page cache.
const UNIT_BYTES: u64 = 4 * 1024 * 1024;
/// Below this a second thread takes longer to start than it saves.
const ALONE_BYTES: u64 = 4 * UNIT_BYTES;

/// Fills a buffer with the content from an offset on.
pub(crate) type ReadAt<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<()>;

/// Buffers that are used again for the next file of a folder.
#[derive(Default)]
pub(crate) struct Scratch {
    data: Vec<u8>,
    pairs: Vec<u8>,
}

/// The content to hash, and the outboard that its pairs are written to, of which files up to a group have none.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub size: u64,
    pub outboard: Option<&'a File>,
}

impl Job<'_> {
    fn units(self) -> u64 {
        self.size.div_ceil(UNIT_BYTES).max(1)
    }

    fn hash_unit(self, unit: u64, read: ReadAt<'_>, scratch: &mut Scratch) -> Result<Cv> {
        let node = Node::find(self.size, unit * UNIT_BYTES, UNIT_BYTES);
        let length = usize::try_from(node.bytes).map_err(|_| ContentError::TooLarge)?;
        if scratch.data.len() < length {
            scratch.data.resize(length, 0);
        }
        let data = &mut scratch.data[..length];
        read(node.offset, data)?;
        scratch.pairs.clear();
        let cv = hash_subtree(node, data, &mut scratch.pairs);
        self.write_pairs(node, &scratch.pairs)?;
        Ok(cv)
    }

    fn write_pairs(self, node: Node, pairs: &[u8]) -> Result<()> {
        let Some(file) = self.outboard.filter(|_| !pairs.is_empty()) else { return Ok(()) };
        file.write_all_at(pairs, node.pair * PAIR_BYTES as u64).map_err(not_written)
    }

    /// The hash of a node above units.
    fn join(self, node: Node, cvs: &[Cv]) -> Result<Cv> {
        if node.bytes <= UNIT_BYTES {
            let unit = usize::try_from(node.offset / UNIT_BYTES).ok();
            return Ok(*unit.and_then(|unit| cvs.get(unit)).expect("every unit has been hashed"));
        }
        let (left, right) = node.children();
        let (left, right) = (self.join(left, cvs)?, self.join(right, cvs)?);
        let mut pair = [0; PAIR_BYTES];
        pair[..32].copy_from_slice(&left);
        pair[32..].copy_from_slice(&right);
        self.write_pairs(node, &pair)?;
        Ok(node.merge(&left, &right))
    }

    fn finish(self, cvs: &[Cv]) -> Result<FileHash> {
        self.join(Node::root(self.size), cvs).map(FileHash::from_bytes)
    }

    /// On this thread, in the order of the content.
    pub fn hash_in_order(self, read: ReadAt<'_>, scratch: &mut Scratch, progress: Progress<'_>) -> Result<FileHash> {
        let mut cvs = Vec::new();
        for unit in 0..self.units() {
            cvs.push(self.hash_unit(unit, read, scratch)?);
            report(progress, ((unit + 1) * UNIT_BYTES).min(self.size))?;
        }
        self.finish(&cvs)
    }

    /// With a second thread where that helps.
    pub fn hash_file(self, file: &File, scratch: &mut Scratch, progress: Progress<'_>) -> Result<FileHash> {
        // The size first: to count the processors takes as long as to hash a small file.
        if self.size <= ALONE_BYTES || thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
            return self.hash_in_order(&mut |offset, to| read_unit(file, offset, to), scratch, progress);
        }
        let shared = Shared::default();
        let outcome = thread::scope(|scope| {
            let help = || shared.work(self, file, &mut Scratch::default(), &mut quietly);
            let helper = thread::Builder::new().name("kith-hash".into()).spawn_scoped(scope, help);
            let own = shared.work(self, file, scratch, &mut *progress);
            // Without a helper this thread has done it all.
            let helped = helper.map_or(Ok(()), |helper| helper.join().unwrap_or(Err(ContentError::Cancelled)));
            own.and(helped)
        });
        outcome?;
        report(progress, self.size)?;
        let mut hashed = shared.hashed.into_inner().unwrap_or_else(PoisonError::into_inner);
        hashed.sort_unstable_by_key(|(unit, _)| *unit);
        let cvs: Vec<Cv> = hashed.into_iter().map(|(_, cv)| cv).collect();
        self.finish(&cvs)
    }
}

/// What two threads that hash one file have in common.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    done_bytes: AtomicU64,
    stop: AtomicBool,
    hashed: Mutex<Vec<(u64, Cv)>>,
}

impl Shared {
    /// Until no unit is left, or either thread fails.
    fn work(&self, job: Job<'_>, file: &File, scratch: &mut Scratch, progress: Progress<'_>) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            if unit >= job.units() {
                break;
            }
            let outcome = job.hash_unit(unit, &mut |offset, to| read_unit(file, offset, to), scratch).and_then(|cv| {
                self.hashed.lock().unwrap_or_else(PoisonError::into_inner).push((unit, cv));
                let bytes = UNIT_BYTES.min(job.size - unit * UNIT_BYTES);
                report(progress, self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes)
            });
            if outcome.is_err() {
                self.stop.store(true, Ordering::Relaxed);
                return outcome;
            }
        }
        Ok(())
    }
}

/// Appends the pairs of a subtree in pre-order.
pub(crate) fn hash_subtree(node: Node, data: &[u8], pairs: &mut Vec<u8>) -> Cv {
    if node.is_group() {
        return node.hash_group(data);
    }
    let at = pairs.len();
    pairs.resize(at + PAIR_BYTES, 0);
    let (left, right) = node.children();
    let (left_data, right_data) = data.split_at(data.len().min(usize::try_from(left.bytes).unwrap_or(usize::MAX)));
    let left = hash_subtree(left, left_data, pairs);
    let right = hash_subtree(right, right_data, pairs);
    pairs[at..at + 32].copy_from_slice(&left);
    pairs[at + 32..at + PAIR_BYTES].copy_from_slice(&right);
    node.merge(&left, &right)
}

/// A progress that nobody follows.
pub(crate) const fn quietly(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(crate) fn report(progress: Progress<'_>, done: u64) -> Result<()> {
    match progress(done) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ContentError::Cancelled),
    }
}

/// A file that ends too early has been changed since its size was read.
fn read_unit(file: &File, offset: u64, to: &mut [u8]) -> Result<()> {
    file.read_exact_at(to, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ContentError::Changed,
        _ => ContentError::Io { what: "cannot read the file".into(), error },
    })
}

fn not_written(error: io::Error) -> ContentError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ContentError::Full,
        _ => ContentError::Io { what: "cannot write the hashes of the file".into(), error },
    }
}
