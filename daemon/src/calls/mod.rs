//! Calls between this node and others: places them, answers them, ends them, and tells clients how they go.
//!
//! What to do is decided by [`kith_core::call::CallBook`]; one task here owns it and does what it says: opens signalling
//! streams and media sessions, carries messages, keeps the clock offset, publishes every call on watch channels, and has
//! each that is over written into the log.
//! Used by `rpc` and `main`. Never touches packets or codecs (that is `media`) or libp2p (that is `net`).

mod acts;
mod closed;
mod fallback;
mod handle;
mod link;
mod live;
mod log;
mod ports;
#[doc(hidden)]
pub mod rehearsal;
mod sources;
mod task;
mod watched;
mod wire;

#[cfg(test)]
mod tests;

pub use handle::{CallHandle, Calls, CallsFeed};
pub use log::CallLog;

use kith_common::call::EncoderChoice;

/// Calls at once when nothing else is said: a person talks to one other.
pub const DEFAULT_MAX_CALLS: usize = 1;
/// Calls at once of an echo node, which several people may test against.
pub const ECHO_MAX_CALLS: usize = 16;

/// Which calls are accepted without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoAnswer {
    #[default]
    Never,
    /// Those of contacts whom this node's user trusts with calls always.
    Contacts,
    Always,
}

impl std::str::FromStr for AutoAnswer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "contacts" => Ok(Self::Contacts),
            "always" => Ok(Self::Always),
            other => Err(format!("unknown choice {other:?}: expected never, contacts or always")),
        }
    }
}

/// What becomes of the calls of those who are no contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strangers {
    /// They ring like others, so that a ticket is enough for a first call, but only so often an hour; what is more becomes a
    /// request.
    #[default]
    Ring,
    /// They never ring: they become requests to be a contact.
    Request,
}

impl std::str::FromStr for Strangers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ring" => Ok(Self::Ring),
            "request" => Ok(Self::Request),
            other => Err(format!("unknown choice {other:?}: expected ring or request")),
        }
    }
}

/// Whether what arrives is sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Echo {
    On,
    #[default]
    Off,
}

/// How this node behaves towards callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallPolicy {
    pub auto_answer: AutoAnswer,
    pub strangers: Strangers,
    pub echo: Echo,
    /// For calls whose options say `auto`.
    pub encoder: EncoderChoice,
    pub max_calls: usize,
}

impl Default for CallPolicy {
    fn default() -> Self {
        Self {
            auto_answer: AutoAnswer::Never,
            strangers: Strangers::Ring,
            echo: Echo::Off,
            encoder: EncoderChoice::Auto,
            max_calls: DEFAULT_MAX_CALLS,
        }
    }
}

impl CallPolicy {
    /// Answers everybody and sends back what comes.
    pub fn echo() -> Self {
        Self { auto_answer: AutoAnswer::Always, echo: Echo::On, max_calls: ECHO_MAX_CALLS, ..Self::default() }
    }
}
