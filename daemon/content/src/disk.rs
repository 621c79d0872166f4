//! The room on a disk, and what the disk may have forgotten.

use std::fs;
use std::io;
use std::path::Path;

use crate::dir::at;
use crate::error::{ContentError, Result};

/// What stays free at least, or a twentieth of the file system where that is less: a disk that is full to the brim harms others.
const RESERVE_BYTES: u64 = 1024 * 1024 * 1024;
const RESERVE_PART: u64 = 20;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Free bytes of the file system that holds the folder, as this user may use them.
///
/// # Errors
/// Those of statvfs: the folder is not there, for one.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether `needed` more bytes fit, with the reserve staying free, into a folder that is there or will be made.
///
/// # Errors
/// [`ContentError::NoRoom`] when they do not.
pub fn room(folder: &Path, needed: u64) -> Result<()> {
    let there = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
    let disk = rustix::fs::statvfs(there).map_err(at("look at", there))?;
    let reserve = RESERVE_BYTES.min(disk.f_blocks.saturating_mul(disk.f_frsize) / RESERVE_PART);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(reserve);
    if needed > free { Err(ContentError::NoRoom { needed_bytes: needed, free_bytes: free }) } else { Ok(()) }
}

/// Names this run of the machine. After another one, data that was written but not synced may be gone although its bit is set.
pub fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned())
}
