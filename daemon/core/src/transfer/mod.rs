//! The decisions of a transfer: which unit is asked of which source, how much is on its way, whom to give up, when to look
//! for more sources. Used by the daemon's `files`; it never sees a byte of a file, a stream or the disk.
//!
//! A file is fetched in units of a mebibyte or four, a folder in the units of its files, one after the other ([`Units`]).
//! All units that are missing stand in one queue, which every source takes from as fast as it delivers, so none of them
//! sets the pace of the others. How much a source is asked for ahead follows its rate and round trip. When the queue is
//! empty, a source that has nothing to do takes over what would take others longest; whoever has it first wins.
//!
//! The caller's part, for every source a stream:
//!
//! ```text
//! Event::Ask        ->  `get` on the stream
//! answer begins     ->  handle_bytes for what has come of it, as it comes: what each read returns, not more at once
//! it is not read    ->  handle_held, for as long as there is no room for it
//! answer is whole   ->  handle_received, then verify and write, off the task
//!   it is on disk   ->  handle_stored
//!   it is wrong     ->  handle_wrong: the source is dropped, and named
//!   the disk is full, or fails: pause. No source is to blame, and what was received is asked for again after resume
//! `busy`, `changed`, .. ->  handle_refused
//! Event::Cancel     ->  `cancel` on the stream; an answer that comes all the same may be handed in or thrown away
//! Event::Pace       ->  `pace` on the stream: the source sends no faster from then on, what it was asked before included
//! Event::Drop       ->  close the stream
//! the stream ends   ->  handle_gone; a new stream to the same peer is a new handle_source
//! Event::Search     ->  ask the ticket's peer, contacts, connected peers, the DHT; handle_source for whoever has it
//! ```
//!
//! After every `handle_*`, and at [`Transfer::poll_timeout`], [`Transfer::poll_event`] is called until it says `None`.

mod allowance;
mod bits;
mod choose;
mod gentle;
mod meter;
mod scheduler;
mod search;
mod source;
#[cfg(test)]
mod tests;
mod units;

use std::time::Duration;

pub use allowance::Allowance;
pub use bits::Bits;
pub use scheduler::Transfer;
pub use units::Units;

/// Bytes on their way from one source at the least, where it is not to be gentle, and at the most.
pub const LEAST_IN_FLIGHT: u64 = 2 * 1024 * 1024;
pub const MOST_IN_FLIGHT: u64 = 32 * 1024 * 1024;
/// From all sources of a transfer.
pub const ALL_IN_FLIGHT: u64 = 64 * 1024 * 1024;
/// Beyond its round trip a source is asked for so much ahead: a hiccup of either side does not leave the line idle.
pub const AHEAD: Duration = Duration::from_millis(100);
/// But no more than so many bytes: while the disk of the receiver pauses they wait in its memory.
pub const MOST_AHEAD: u64 = 8 * 1024 * 1024;
/// Questions that may be open at a source: the units of small files are few bytes each.
pub const MOST_ASKED: usize = 256;
/// Sources that are asked at a time; the others are spares. More do not make a transfer faster, and each takes memory.
pub const MOST_ACTIVE: usize = 8;
/// Sources in all; more are refused.
pub const MOST_SOURCES: usize = 40;
/// A source that was asked and has been silent for so long is stuck.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);
/// So many times in a row, with nothing that verified in between: it is given up.
pub const MOST_STALLS: u32 = 3;
/// What a relay is asked to carry, in bytes a second: enough for eight calls, and somebody gives it away.
pub const RELAY_FILE_RATE: u64 = 1024 * 1024;

/// What happens next; see the module for what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<S> {
    Ask {
        source: S,
        unit: u32,
    },
    /// Somebody else had it first, or the source is stuck, or the transfer is paused.
    Cancel {
        source: S,
        unit: u32,
    },
    /// From now on the source sends no more bytes a second than that, in writes of a hundredth of a second's worth (and 1 KiB
    /// at least); `None`: as fast as it can.
    Pace {
        source: S,
        bytes_per_second: Option<u64>,
    },
    /// It is forgotten here: nothing more of it is expected.
    Drop {
        source: S,
        why: Why,
    },
    /// There are no sources, or few.
    Search,
    /// All units are on the disk. Comes once.
    Finished,
}

impl<S: PartialEq> Event<S> {
    fn is_about(&self, one: S) -> bool {
        match self {
            Self::Ask { source, .. }
            | Self::Cancel { source, .. }
            | Self::Pace { source, .. }
            | Self::Drop { source, .. } => *source == one,
            Self::Search | Self::Finished => false,
        }
    }
}

/// Why a source is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// What it sent does not have the hash: no other transfer of the same file should ask it for a day.
    Lied,
    /// Silent [`MOST_STALLS`] times in a row.
    Stalled,
    /// Its file has been edited since it was shared.
    Changed,
    NotFound,
    NotAllowed,
    /// It lacks most of what it said it had.
    Missing,
}

/// A source's answer when it is not the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    NotAllowed,
    Changed,
    /// It does not have this unit.
    Missing,
    /// It asks to be left alone for a while.
    Busy(Duration),
}

/// Which units a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Have {
    All,
    Some(Bits),
}

/// How a source can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub have: Have,
    /// What it may be asked for at the most: [`RELAY_FILE_RATE`] where a relay is in between.
    pub bytes_per_second: Option<u64>,
}

/// How much the transfer may be felt by what else uses the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Full,
    /// There is a call: sources are asked to send more slowly than the line carries, so that no queue builds up in it.
    Gentle,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Active,
    /// Waits until one of the active ones is gone.
    Spare,
    /// Was silent; it is tried again in a while.
    Stalled,
    /// Asked to be left alone for a while.
    Busy,
}

/// Of one source, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFigures {
    pub standing: Standing,
    /// Verified and on the disk.
    pub received_bytes: u64,
    pub bytes_per_second: u64,
}

/// Of the transfer, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Verified and on the disk, in bytes of the content.
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// Since this [`Transfer`] was made: units that came twice, and parts of units that were thrown away.
    pub twice_bytes: u64,
    pub bytes_per_second: u64,
    /// At that rate; `None` when nothing comes.
    pub remaining: Option<Duration>,
    /// When sources are looked for again, if there are none.
    pub next_search: Option<std::time::Instant>,
}
