//! Why an action did not happen, in a form that people read and scripts branch on.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    InvalidArgument,
    NotFound,
    Unreachable,
    TimedOut,
    Declined,
    Busy,
    Blocked,
    NotPermitted,
    Unsupported,
    Internal,
    /// What arrived is not what was asked for.
    VerificationFailed,
    /// The client has lost its daemon, or never had one.
    NoDaemon,
}

/// A failed action: one sentence on what failed and why, one on what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// Empty when there is nothing to try.
    pub advice: String,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: String::new() }
    }

    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}
