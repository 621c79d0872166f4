//! The decisions of messages: what goes to a peer next and what is waited for ([`Outbox`]), which of a peer's entries
//! are taken ([`Inbox`]), and to whom a stream is opened or a connection dialled ([`Book`]).
//!
//! An author numbers what it says in a place (the two of us, or a group) from 1 without gaps. Of a peer's entries a node
//! knows one number a place: up to there they are on its disk. Both say these numbers when a stream begins, and each goes
//! on from there; so whatever was lost with a stream or a process is said again, and what arrives twice is recognised.
//! Used by the daemon's `chat`. It never sees a text, a stream or the disk.

mod book;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use book::{Act, Book, Ended, LinkId};
pub use inbox::{Inbox, Taken};
pub use outbox::{Load, Outbox, Refusal, Verdict};

/// Entries that may be on their way to a peer without having been acknowledged: a tenth of a second at the rate that one
/// disk stores them, so that a transaction of the peer always has work.
pub const WINDOW_ENTRIES: usize = 256;
/// And their bytes.
pub const WINDOW_BYTES: usize = 1024 * 1024;
/// Entries that are read from the disk at a time.
pub const MAX_LOAD: usize = 64;
/// A peer that has been silent for so long about what it was sent is stuck.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Doubles from the first to the last.
fn longer(pause: Duration, last: Duration) -> Duration {
    (pause * 2).min(last)
}
