//! Recordings as files: `.y4m` for pictures, `.wav` for sound.
//!
//! Readers stream and take whatever a disk may hold: a file that is cut short ends cleanly after its last whole picture
//! or sample, a damaged one is a typed error. Writers leave a file that plays up to the last moment, also when the
//! process is killed. Used by the command line; never does any network or device work.

mod wav;
mod y4m;

use std::path::{Path, PathBuf};

pub use wav::{WavReader, WavWriter};
pub use y4m::{FrameRate, Y4mReader, Y4mWriter};

/// Why a clip cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} cannot be played: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("{} has no {what}", path.display())]
    Empty { path: PathBuf, what: &'static str },
    #[error("a picture of {got} does not fit a recording of {expected}")]
    Size { expected: crate::media::Size, got: crate::media::Size },
    #[error("{} has reached 4 GB, the most that a WAV file holds", path.display())]
    Full { path: PathBuf },
}

impl ClipError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    fn unusable(path: &Path, why: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), why: why.into() }
    }
}
