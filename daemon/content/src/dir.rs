//! Folders that are held open, and files below them that are reached without following a link.
//!
//! Others may have write access to the folder that a user saves into or shares. A path is checked once and used later; what is opened
//! name by name from a folder that is held cannot be led elsewhere in between.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{ContentError, Result};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Files in a folder that only its owner can enter; the user's mask takes away what it should.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// What to do with the last name of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Read,
    /// Read and write what is there.
    Existing,
    /// Read and write, made where it is not there.
    Write,
    /// The same, and nothing may be there.
    New,
}

/// A folder that is held open.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// The folder that a user has named, through links if there are any.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(path, FOLDER, Mode::empty()).map_err(at("open", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// A folder directly below, no link.
    pub fn sub(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        let fd = rustix::fs::openat(&self.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        Ok(Self { fd: fd.map_err(at("open", &path))?, path })
    }

    /// The same, made where it is not there.
    pub fn make_sub(&self, name: &str, mode: Mode) -> Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) | Err(Errno::EXIST) => self.sub(name),
            Err(error) => Err(at("make", &self.path.join(name))(error)),
        }
    }

    /// The folder that a relative path's last name is in, and that name.
    fn parent<'a>(&self, relative: &'a str, missing: Open) -> Result<(Option<Self>, &'a str)> {
        let Some((folders, name)) = relative.rsplit_once('/') else { return Ok((None, relative)) };
        let mut current: Option<Self> = None;
        for folder in folders.split('/') {
            let above = current.as_ref().unwrap_or(self);
            current = Some(match missing {
                Open::Read | Open::Existing => above.sub(folder)?,
                Open::Write | Open::New => above.make_sub(folder, Mode::from_raw_mode(0o777))?,
            });
        }
        Ok((current, name))
    }

    /// Makes a folder and those above it.
    pub fn make_all(&self, relative: &str) -> Result<()> {
        let (parent, name) = self.parent(relative, Open::Write)?;
        parent.as_ref().unwrap_or(self).make_sub(name, Mode::from_raw_mode(0o777)).map(drop)
    }

    /// A regular file somewhere below. No link on the way is followed, no device or pipe is opened.
    pub fn file(&self, relative: &str, how: Open) -> Result<File> {
        let (parent, name) = self.parent(relative, how)?;
        let parent = parent.as_ref().unwrap_or(self);
        let flags = match how {
            Open::Read => OFlags::RDONLY,
            Open::Existing => OFlags::RDWR,
            Open::Write => OFlags::RDWR | OFlags::CREATE,
            Open::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let path = self.path.join(relative);
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(parent, name, flags, FILE_MODE).map_err(at("open", &path))?.into();
        regular(&file, &path)?;
        Ok(file)
    }

    /// Removes a folder directly below, when it is empty.
    pub fn remove_empty(&self, name: &str) {
        if let Err(error) = rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            tracing::debug!(name, %error, "the folder stays");
        }
    }

    /// Makes the names in it last through a power cut.
    pub fn sync(&self) -> Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // Some file systems cannot do it for folders.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(at("sync", &self.path)(error)),
        }
    }
}

/// Refuses what is no file.
pub(crate) fn regular(file: &File, path: &Path) -> Result<std::fs::Metadata> {
    let metadata = file.metadata().map_err(ContentError::at("look at", path))?;
    if metadata.is_file() { Ok(metadata) } else { Err(ContentError::NotAFile(path.to_owned())) }
}

/// Refuses a folder that another user has made in the place of the daemon's own, below `above`. Where the file system has no owners of
/// its own (a stick, a folder of the host), all belongs to who owns what is above.
pub(crate) fn only_ours(dir: &Dir, above: &Dir) -> Result<()> {
    let owner = |dir: &Dir| rustix::fs::fstat(&dir.fd).map(|stat| stat.st_uid).map_err(at("look at", &dir.path));
    let found = owner(dir)?;
    if found == rustix::process::geteuid().as_raw() || found == owner(above)? {
        return Ok(());
    }
    Err(ContentError::NotPermitted(dir.path.clone()))
}

pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> ContentError {
    move |error| ContentError::at(doing, path)(io::Error::from(error))
}
