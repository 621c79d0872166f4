//! What a transfer is to be, how it stands, and how it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{CopyKey, FileHash, FileKind, SourceState, TransferState};
use kith_common::ids::PeerId;
use kith_common::node::Path;
use kith_store::PartRow;
use serde::{Deserialize, Serialize};

use crate::net::Multiaddr;

/// Somebody who is asked first, and where it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::files) struct Origin {
    pub peer: PeerId,
    #[serde(default)]
    pub addresses: Vec<Multiaddr>,
}

/// What is known of the content, and proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::files) struct Known {
    pub kind: FileKind,
    pub size_bytes: u64,
    pub list_bytes: u64,
    pub files: u32,
}

/// What is fetched.
#[derive(Debug, Clone)]
pub(in crate::files) enum What {
    /// A file or a folder, by its hash.
    Content {
        hash: FileHash,
        /// From the ticket: for sealed copies, and what it promises. What is another content is not fetched.
        key: Option<(CopyKey, Known)>,
    },
    /// A copy that is kept for a contact: its parts, as they are.
    Copy { id: FileHash, parts: Vec<PartRow> },
}

/// Everything that a transfer is started with.
#[derive(Debug, Clone)]
pub(in crate::files) struct Job {
    pub what: What,
    pub folder: PathBuf,
    /// Empty: that of who has it.
    pub name: String,
    pub origins: Vec<Origin>,
    pub only_origins: bool,
    /// From an earlier start.
    pub known: Option<Known>,
    /// What was fetched so far is a sealed copy.
    pub sealed: bool,
    pub boot: String,
    pub synced: Vec<u8>,
}

/// One who has the content, or says so.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::files) struct Supplier {
    pub state: SourceState,
    pub path: Option<Path>,
    /// Since the transfer began, over all its starts.
    pub received_bytes: u64,
    pub bytes_per_second: u64,
    pub reason: String,
    pub sealed: bool,
}

/// How a transfer stands.
#[derive(Debug, Clone)]
pub(in crate::files) struct Live {
    pub state: TransferState,
    pub name: String,
    pub known: Option<Known>,
    pub sealed: bool,
    pub done_bytes: u64,
    pub files_done: u32,
    /// Since this start.
    pub twice_bytes: u64,
    pub spent: Duration,
    pub bytes_per_second: u64,
    pub remaining: Option<Duration>,
    pub suppliers: BTreeMap<PeerId, Supplier>,
    /// Why it does not go on.
    pub trouble: Option<Failure>,
    pub next_try: Option<Instant>,
    /// What is on the disk for certain.
    pub synced: Arc<Synced>,
}

/// What may be relied on after the machine has gone down.
#[derive(Debug, Clone, Default)]
pub(in crate::files) struct Synced {
    /// Up to which run of the machine all that is on record was looked at. Empty: nothing is known yet, and what was noted
    /// earlier stands.
    pub boot: String,
    /// Units, as bits.
    pub bits: Vec<u8>,
}

/// How a transfer's task ends.
#[derive(Debug)]
pub(in crate::files) enum Outcome {
    /// It is here. Once that is noted, the partial of that name is to be discarded: until then it knows the path.
    Done { path: PathBuf, partial: FileHash },
    /// It can never be had.
    Failed(Failure),
    /// Something on this machine is in the way.
    Stuck(Failure),
    /// It was told to stop. What was fetched is on the disk.
    Stopped,
}
