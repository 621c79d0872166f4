//! Why something was not done, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What can go wrong with content. Each says what failed in a sentence; what to do about it is the caller's to add.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file that is shared where it stands is another one now.
    #[error("the file is not what it was when it was shared")]
    Changed,
    #[error("the file is not there")]
    Missing,
    /// Also a file system that is mounted read-only.
    #[error("{} cannot be opened: this user may not do that", .0.display())]
    NotPermitted(PathBuf),
    /// Or a link, where none is followed.
    #[error("{} is neither a file nor a folder", .0.display())]
    NotAFile(PathBuf),
    /// A file or folder inside a shared folder whose name cannot be sent.
    #[error("{} cannot be shared by this name: {why}", .path.display())]
    BadName { path: PathBuf, why: &'static str },
    /// A file in a folder that is being added.
    #[error("{} was changed or removed while it was being added", .0.display())]
    Unsteady(PathBuf),
    /// The file system has said so, while writing.
    #[error("the disk is full")]
    Full,
    /// Known before writing.
    #[error("there is not enough room on the disk: {needed_bytes} bytes are needed, {free_bytes} can be had")]
    NoRoom { needed_bytes: u64, free_bytes: u64 },
    #[error("it was given up")]
    Cancelled,
    #[error("it is larger than 16 TiB")]
    TooLarge,
    #[error("the folder has more than 100,000 files, or names of more than 32 MiB together")]
    TooManyFiles,
    #[error("{} is nested more than 32 folders deep", .0.display())]
    TooDeep(PathBuf),
    /// What a source sent is not the content. Nothing of it was kept.
    #[error("what was sent is not the content: {0}")]
    Lie(&'static str),
    /// The range has not been fetched yet.
    #[error("this part is not here")]
    NotHere,
    /// A range that begins or ends within a group, is empty, lies behind the end or is too long.
    #[error("there is no such range of this content")]
    BadRange,
    /// An own copy, or what is kept to verify it, has been damaged on this disk. Adding the file again mends it.
    #[error("{0} is damaged on this disk")]
    Damaged(&'static str),
    /// The list of files that a folder's hash is of breaks a rule: who made it is to blame, not who sent it.
    #[error("the list of the folder's files cannot be used: {0}")]
    BadManifest(&'static str),
    #[error("{} is in use by another program", .0.display())]
    InUse(PathBuf),
    #[error("{missing_units} parts have not been fetched yet")]
    Incomplete { missing_units: u32 },
    #[error("there are too many files named {0} in that folder")]
    NoFreeName(String),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
}

pub type Result<T, E = ContentError> = std::result::Result<T, E>;

impl ContentError {
    /// This machine has no room left: a transfer waits for the user, and no source is to blame.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full | Self::NoRoom { .. })
    }

    /// For `map_err`: `doing` is a verb, as in "cannot read /path".
    pub(crate) fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotPermitted(path.to_owned()),
            // Something else stands where a file or folder should: O_DIRECTORY, O_NOFOLLOW, or a socket that is opened.
            io::ErrorKind::NotADirectory => Self::NotAFile(path.to_owned()),
            _ if [Errno::LOOP, Errno::NXIO].iter().any(|it| error.raw_os_error() == Some(it.raw_os_error())) => {
                Self::NotAFile(path.to_owned())
            }
            _ => Self::Io { what: format!("cannot {doing} {}", path.display()), error },
        }
    }
}
