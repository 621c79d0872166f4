//! Why the command ends other than well: the exit code that scripts read and the line that people read.

use kith_common::call::{EndReason, Ending};
use kith_common::failure::{Failure, FailureKind};

/// The exit codes; a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NoDaemon = 3,
    /// Or timed out.
    Unreachable = 4,
    /// Declined, busy or blocked.
    Refused = 5,
    /// What arrived is not what was asked for.
    NotVerified = 6,
    /// By policy or permission.
    NotPermitted = 7,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub exit: Exit,
    pub message: String,
    pub advice: String,
}

impl Stop {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: String::new() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// What, why and what to try in one line; `None` when everything has been said already.
    pub fn line(&self) -> Option<String> {
        let join = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (message, advice) = (join(&self.message), join(&self.advice));
        if message.is_empty() {
            return None;
        }
        let end = if advice.is_empty() || message.ends_with(['.', '!', '?']) { "" } else { "." };
        Some(format!("{message}{end} {advice}").trim_end().to_owned())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let exit = match failure.kind {
            FailureKind::InvalidArgument => Exit::Usage,
            FailureKind::NoDaemon => Exit::NoDaemon,
            FailureKind::Unreachable | FailureKind::TimedOut => Exit::Unreachable,
            FailureKind::Declined | FailureKind::Busy | FailureKind::Blocked => Exit::Refused,
            FailureKind::VerificationFailed => Exit::NotVerified,
            FailureKind::NotPermitted => Exit::NotPermitted,
            FailureKind::NotFound | FailureKind::Unsupported | FailureKind::Internal => Exit::Failed,
        };
        Self { exit, message: failure.message, advice: failure.advice }
    }
}

impl From<kith_common::clip::ClipError> for Stop {
    fn from(error: kith_common::clip::ClipError) -> Self {
        Self::failed(error.to_string())
    }
}

/// The exit code of a call that ended this way.
pub fn exit_of(reason: EndReason) -> Exit {
    match reason {
        EndReason::Local | EndReason::Remote => Exit::Done,
        EndReason::Declined | EndReason::Busy | EndReason::Blocked => Exit::Refused,
        EndReason::Unreachable | EndReason::Timeout => Exit::Unreachable,
        EndReason::Failed => Exit::Failed,
    }
}

/// The end of a call as the end of the command.
pub fn of_ending(ending: &Ending) -> Result<(), Stop> {
    let exit = exit_of(ending.reason);
    if exit == Exit::Done {
        return Ok(());
    }
    let fallback = match ending.reason {
        EndReason::Declined => "the call was declined",
        EndReason::Busy => "the other side is in another call",
        EndReason::Blocked => "the other side does not take calls from this node",
        EndReason::Unreachable => "the other side could not be reached",
        EndReason::Timeout => "nobody answered, or the other side vanished",
        _ => "the call failed",
    };
    let detail = if ending.detail.is_empty() { fallback } else { &ending.detail };
    Err(Stop::new(exit, detail).advise(&ending.advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_interface() {
        let code = |kind| Stop::from(Failure::new(kind, "x")).exit as u8;
        assert_eq!(code(FailureKind::Internal), 1);
        assert_eq!(code(FailureKind::NotFound), 1);
        assert_eq!(code(FailureKind::InvalidArgument), 2);
        assert_eq!(code(FailureKind::NoDaemon), 3);
        assert_eq!(code(FailureKind::Unreachable), 4);
        assert_eq!(code(FailureKind::TimedOut), 4);
        assert_eq!(code(FailureKind::Declined), 5);
        assert_eq!(code(FailureKind::Busy), 5);
        assert_eq!(code(FailureKind::Blocked), 5);
        assert_eq!(code(FailureKind::VerificationFailed), 6);
        assert_eq!(code(FailureKind::NotPermitted), 7);
        let reason = |reason| exit_of(reason) as u8;
        assert_eq!(reason(EndReason::Local), 0);
        assert_eq!(reason(EndReason::Remote), 0);
        assert_eq!(reason(EndReason::Failed), 1);
        assert_eq!(reason(EndReason::Unreachable), 4);
        assert_eq!(reason(EndReason::Timeout), 4);
        assert_eq!(reason(EndReason::Declined), 5);
    }

    #[test]
    fn an_error_is_one_line() {
        let stop = Stop::failed("cannot open\nthe file").advise("Check the path.");
        assert_eq!(stop.line().as_deref(), Some("cannot open the file. Check the path."));
        assert_eq!(Stop::failed("").line(), None);
        assert_eq!(Stop::failed("It is late.").advise("Go.").line().as_deref(), Some("It is late. Go."));
    }
}
