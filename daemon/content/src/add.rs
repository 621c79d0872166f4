//! Adding files: hashed while they are read, shared where they stand, with an outboard as the only thing that is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kith_common::file::{FileHash, MAX_SIZE_BYTES};
use rustix::fs::OFlags;

use crate::Progress;
use crate::dir::regular;
use crate::error::{ContentError, Result};
use crate::hash::{Job, Scratch, report};
use crate::tree::{GROUP_BYTES, outboard_bytes};

/// What files that are being written are named; those that are found at start were left by a daemon that was killed.
const TEMPORARY: &str = ".tmp-";
/// What is copied at once into the store, between two looks at whether to go on.
const COPY_BYTES: u64 = 16 * 1024 * 1024;
/// Of files that only the daemon reads.
pub(crate) const OWN_MODE: u32 = 0o600;
/// Of files that become the user's; their mask takes away what it should.
pub(crate) const USER_MODE: u32 = 0o666;
const SECOND_NS: i64 = 1_000_000_000;

/// What tells that a file has been changed or replaced, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    pub dev: u64,
    pub ino: u64,
    /// In bytes.
    pub size: u64,
    /// Since 1970; saturates in the year 2262.
    pub mtime_ns: i64,
}

impl FileStat {
    /// # Errors
    /// Those of fstat.
    pub fn of(file: &File) -> Result<Self> {
        let error = |error| ContentError::Io { what: "cannot look at the file".into(), error };
        file.metadata().map(|metadata| Self::new(&metadata)).map_err(error)
    }

    /// Of what a path leads to, links followed.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::NotPermitted`].
    pub fn at(path: &Path) -> Result<Self> {
        fs::metadata(path).map(|metadata| Self::new(&metadata)).map_err(ContentError::at("look at", path))
    }

    pub(crate) fn new(metadata: &fs::Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(SECOND_NS).saturating_add(metadata.mtime_nsec());
        Self { dev: metadata.dev(), ino: metadata.ino(), size: metadata.len(), mtime_ns }
    }
}

/// A file that has been hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    pub hash: FileHash,
    /// As it was read.
    pub stat: FileStat,
}

/// Where the outboard of a content is kept: `outboards/ab/<hash>.ob`. Up to [`GROUP_BYTES`] there is none.
pub fn outboard_path(outboards: &Path, hash: FileHash) -> PathBuf {
    let name = hash.to_string();
    outboards.join(&name[..2]).join(format!("{name}.ob"))
}

/// Where an own copy is kept: `blobs/ab/<hash>`.
pub fn blob_path(blobs: &Path, hash: FileHash) -> PathBuf {
    let name = hash.to_string();
    blobs.join(&name[..2]).join(name)
}

/// Forgets the outboard of a content. That there is none is no error.
///
/// # Errors
/// Those of the file system.
pub fn remove_outboard(outboards: &Path, hash: FileHash) -> Result<()> {
    let path = outboard_path(outboards, hash);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContentError::at("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// Removes what a daemon that was killed while adding has left in a folder of outboards or blobs. For the start only: what another
/// thread is writing goes as well.
///
/// # Errors
/// Those of the file system; that the folder is not there is none.
pub fn remove_leftovers(folder: &Path) -> io::Result<u32> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Hashes a file, on two threads where that is faster, and keeps its outboard. `path` may be a link; the file stays where it is and
/// nothing is written to it. `progress` gets the bytes that have been hashed.
///
/// # Errors
/// [`ContentError::Changed`] when the file is written to meanwhile; [`ContentError::Cancelled`]; [`ContentError::TooLarge`];
/// [`ContentError::Missing`], [`ContentError::NotPermitted`], [`ContentError::NotAFile`]; [`ContentError::Full`] for the outboard.
pub fn add_file(path: &Path, outboards: &Path, progress: Progress<'_>) -> Result<Added> {
    add_opened(&open_regular(path)?, outboards, &mut Scratch::default(), progress)
}

/// Copies a file to [`blob_path`], so that the original may be changed or removed. The stat is that of the copy. `progress` gets the
/// bytes that have been copied, and then those that have been hashed.
///
/// # Errors
/// As [`add_file`].
pub fn add_copy(path: &Path, blobs: &Path, outboards: &Path, progress: Progress<'_>) -> Result<Added> {
    let from = open_regular(path)?;
    let before = FileStat::of(&from)?;
    crate::disk::room(Temporary::folder(blobs)?, before.size)?;
    let temporary = Temporary::create(blobs, OWN_MODE)?;
    copy(&from, &temporary, path, progress)?;
    if FileStat::of(&from)? != before {
        return Err(ContentError::Changed);
    }
    let added = add_opened(temporary.file(), outboards, &mut Scratch::default(), progress)?;
    temporary.sync()?;
    temporary.keep(&blob_path(blobs, added.hash))?;
    Ok(added)
}

/// Shares blocks with the original where the file system can.
fn copy(from: &File, to: &Temporary, path: &Path, progress: Progress<'_>) -> Result<()> {
    let mut done = 0;
    loop {
        let piece = io::copy(&mut io::Read::take(from, COPY_BYTES), &mut to.file());
        let piece = piece.map_err(ContentError::at("copy", path))?;
        if piece == 0 {
            return Ok(());
        }
        done += piece;
        report(progress, done)?;
    }
}

pub(crate) fn add_opened(
    file: &File,
    outboards: &Path,
    scratch: &mut Scratch,
    progress: Progress<'_>,
) -> Result<Added> {
    let stat = FileStat::of(file)?;
    if stat.size > MAX_SIZE_BYTES {
        return Err(ContentError::TooLarge);
    }
    let hash = with_outboard(stat.size, outboards, |job| job.hash_file(file, scratch, progress))?;
    if FileStat::of(file)? != stat {
        return Err(ContentError::Changed);
    }
    Ok(Added { hash, stat })
}

/// Runs a job with a file for its outboard, which is put into place when the hash is known.
pub(crate) fn with_outboard(
    size: u64,
    outboards: &Path,
    hash: impl FnOnce(Job<'_>) -> Result<FileHash>,
) -> Result<FileHash> {
    if size <= GROUP_BYTES {
        return hash(Job { size, outboard: None });
    }
    let temporary = Temporary::create(outboards, OWN_MODE)?;
    let known = hash(Job { size, outboard: Some(temporary.file()) })?;
    temporary.keep(&outboard_path(outboards, known))?;
    Ok(known)
}

/// A regular file that a user has named, links followed. Pipes and devices are refused without waiting for anybody.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(ContentError::at("open", path))?;
    regular(&file, path)?;
    Ok(file)
}

/// Opens what was kept for a content, when it is as long as it has to be.
pub(crate) fn open_outboard(path: Option<&Path>, size: u64) -> Result<Option<File>> {
    const GONE: ContentError = ContentError::Damaged("what the file is verified with");
    if size <= GROUP_BYTES {
        return Ok(None);
    }
    let file = match path.map(open_regular) {
        None | Some(Err(ContentError::Missing | ContentError::NotAFile(_))) => return Err(GONE),
        Some(file) => file?,
    };
    if FileStat::of(&file)?.size == outboard_bytes(size) { Ok(Some(file)) } else { Err(GONE) }
}

/// A file that is removed again unless it is kept.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    /// Empty: it has been kept.
    path: PathBuf,
}

impl Temporary {
    /// Made where it is not there.
    fn folder(folder: &Path) -> Result<&Path> {
        fs::create_dir_all(folder).map_err(ContentError::at("make", folder))?;
        Ok(folder)
    }

    pub fn create(folder: &Path, mode: u32) -> Result<Self> {
        /// Names are of this process and of no other one that uses the folder.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::folder(folder)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => return Ok(Self { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ContentError::at("make", &path)(error)),
            }
        }
    }

    pub const fn file(&self) -> &File {
        &self.file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(ContentError::at("sync", &self.path))
    }

    /// Gives it its name, in the place of a file that has it.
    pub fn keep(mut self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            Self::folder(folder)?;
        }
        fs::rename(&self.path, path).map_err(ContentError::at("make", path))?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file stays");
        }
    }
}
