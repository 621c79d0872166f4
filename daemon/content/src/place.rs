//! Putting a file or folder into place under a name that nothing else has.

use std::fs;
use std::path::{Path, PathBuf};

use kith_common::file::FileKind;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::dir::{Dir, at};
use crate::error::{ContentError, Result};
use crate::name::{safe_name, shortened, split_ending};

/// `name (999).ext` is the last that is tried.
const MAX_NUMBER: u32 = 999;
/// What file systems take that encrypt names, and with them make them longer (143 of eCryptfs), with room for a number.
const SHORT_NAME_BYTES: usize = 120;

/// Moves a file or folder into a folder of the same file system, under its safe name or the next free `name (1).ext`. Nothing is ever
/// replaced, and no link that has the name is followed. The content has to be on the disk already; that it is there is made to last.
///
/// # Errors
/// [`ContentError::NoFreeName`], [`ContentError::NotPermitted`], [`ContentError::Missing`], [`ContentError::Full`].
pub fn place(from: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let metadata = fs::symlink_metadata(from).map_err(ContentError::at("look at", from))?;
    let kind = if metadata.is_dir() { FileKind::Folder } else { FileKind::File };
    let missing = || ContentError::NotAFile(from.to_owned());
    let above = Dir::open(from.parent().ok_or_else(missing)?)?;
    let own_name = from.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?;
    let folder = Dir::open(folder)?;
    let placed = place_in(&above, own_name, &folder, name, kind, &mut |_| Ok(()))?;
    Ok(folder.join(&placed))
}

/// The name that it has got. `before` is told of each that is tried, so that a finish that is killed can be found out about.
pub(crate) fn place_in(
    above: &Dir,
    own_name: &str,
    folder: &Dir,
    name: &str,
    kind: FileKind,
    before: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<String> {
    let mut name = safe_name(name);
    let mut number = 0;
    while number <= MAX_NUMBER {
        let tried = numbered(&name, number, kind);
        before(&tried)?;
        match rename(above, own_name, folder, &tried, kind) {
            Ok(()) => {
                folder.sync()?;
                return Ok(tried);
            }
            Err(Errno::EXIST) => number += 1,
            Err(Errno::NAMETOOLONG) if name.len() > SHORT_NAME_BYTES => name = shortened(&name, SHORT_NAME_BYTES),
            Err(error) => return Err(at("make", &folder.join(&tried))(error)),
        }
    }
    Err(ContentError::NoFreeName(name))
}

fn numbered(name: &str, number: u32, kind: FileKind) -> String {
    let (stem, ending) = match kind {
        FileKind::File => split_ending(name),
        FileKind::Folder => (name, ""),
    };
    if number == 0 { name.to_owned() } else { format!("{stem} ({number}){ending}") }
}

fn rename(above: &Dir, from: &str, folder: &Dir, to: &str, kind: FileKind) -> Result<(), Errno> {
    match rustix::fs::renameat_with(above, from, folder, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag: what is replaced then is an empty one of our own.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match kind {
                FileKind::File => {
                    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                    rustix::fs::openat(folder, to, new, Mode::from_raw_mode(0o600)).map(drop)?;
                }
                FileKind::Folder => rustix::fs::mkdirat(folder, to, Mode::from_raw_mode(0o700))?,
            }
            rustix::fs::renameat(above, from, folder, to).inspect_err(|_| remove_placeholder(folder, to, kind))
        }
        outcome => outcome,
    }
}

fn remove_placeholder(folder: &Dir, name: &str, kind: FileKind) {
    let flags = if kind == FileKind::Folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    if let Err(error) = rustix::fs::unlinkat(folder, name, flags) {
        tracing::warn!(%error, "an empty file stays behind");
    }
}
