//! Why the database did not do something, and how people are told.

use kith_common::failure::{Failure, FailureKind};
use rusqlite::ErrorCode;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the disk is full: nothing was stored")]
    Full,
    #[error("the database cannot be written to")]
    ReadOnly,
    #[error("the database is of version {found}, and this program knows versions up to {known}")]
    Newer { found: u32, known: u32 },
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("the database is locked by another process")]
    Locked,
    #[error("the database is closed")]
    Closed,
    /// Not the database's fault: what was asked cannot be.
    #[error("{0}")]
    Refused(#[from] Failure),
    #[error("the database failed: {0}")]
    Sqlite(rusqlite::Error),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

impl StoreError {
    pub fn refused(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Refused(Failure::new(kind, message))
    }

    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Io { what, error },
        }
    }

    /// What happened to one job of several that shared a transaction, said to each of them.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::ReadOnly => Self::ReadOnly,
            Self::Newer { found, known } => Self::Newer { found: *found, known: *known },
            Self::Damaged(text) => Self::Damaged(text.clone()),
            Self::Locked => Self::Locked,
            Self::Closed => Self::Closed,
            other => Self::refused(FailureKind::Internal, other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Self::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ if unreadable(&error) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}

/// A value that this program has not written.
fn unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (kind, advice) = match &error {
            StoreError::Refused(failure) => return failure.clone(),
            StoreError::Full => (FailureKind::NotPermitted, "free some space on that disk and try again"),
            StoreError::ReadOnly => {
                (FailureKind::NotPermitted, "look at the owner, the permissions and the mount of the data directory")
            }
            StoreError::Newer { .. } => (
                FailureKind::Unsupported,
                "start the newer version of Kith that has made it, or another data directory",
            ),
            StoreError::Damaged(_) => (
                FailureKind::Internal,
                "restart the daemon: it moves the damaged file aside and saves what can be read",
            ),
            StoreError::Locked => (FailureKind::Busy, "close the other program that has kith.db open"),
            StoreError::Closed => (FailureKind::Internal, "restart the daemon"),
            StoreError::Sqlite(_) | StoreError::Io { .. } => {
                (FailureKind::Internal, "look into the log, and at the health of the disk")
            }
        };
        Self::new(kind, error.to_string()).advise(advice)
    }
}
