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

impl FailureKind {
    /// As it is written in JSON.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// `None`: there is no such kind, or a newer version has it.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_name() {
        assert_eq!(FailureKind::NotPermitted.name(), "not_permitted");
        for kind in [FailureKind::InvalidArgument, FailureKind::NotPermitted, FailureKind::NoDaemon] {
            assert_eq!(FailureKind::from_name(&kind.name()), Some(kind));
        }
        assert_eq!((FailureKind::from_name(""), FailureKind::from_name("of a newer version")), (None, None));
    }
}
