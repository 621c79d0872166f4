//! One transfer: what is on record of it, what its task has come to when it has one, and how it is shown and kept.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kith_common::contact::People;
use kith_common::file::{Source, SourceState, Transfer, TransferState};
use kith_common::ids::PeerId;
use kith_store::{Phase, TransferRow};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::files::check::name_of;
use crate::files::fetch::{Job, Known, Live, Supplier, What};
use crate::files::wanted::Wanted;

/// Of all sources that a transfer has had.
const MAX_SOURCES_SHOWN: usize = 64;

/// A source as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    peer: PeerId,
    received: u64,
    state: SourceState,
    reason: String,
    sealed: bool,
}

pub(super) struct Running {
    pub live: watch::Receiver<Live>,
    pub stop: CancellationToken,
    pub since: Instant,
}

impl Running {
    pub fn waits(&self) -> bool {
        self.live.borrow().state == TransferState::Waiting
    }
}

pub(super) struct Entry {
    pub row: TransferRow,
    pub wanted: Wanted,
    pub suppliers: BTreeMap<PeerId, Supplier>,
    pub running: Option<Running>,
    /// It has waited in vain, and made room for another one.
    pub rest_until: Option<Instant>,
    /// What was written down last: bytes and state.
    pub saved: (u64, Phase),
}

impl Entry {
    pub fn new(row: TransferRow) -> Self {
        let wanted = serde_json::from_str(&row.wanted).unwrap_or_default();
        let sources: Vec<Kept> = serde_json::from_str(&row.sources).unwrap_or_default();
        let supplier = |kept: Kept| {
            let supplier = Supplier {
                // Whoever was active then is not known to be so now.
                state: if kept.state == SourceState::Lied { SourceState::Lied } else { SourceState::Dropped },
                path: None,
                received_bytes: kept.received,
                bytes_per_second: 0,
                reason: kept.reason,
                sealed: kept.sealed,
            };
            (kept.peer, supplier)
        };
        let saved = (row.done_bytes, row.standing);
        let suppliers = sources.into_iter().map(supplier).collect();
        Self { wanted, suppliers, running: None, rest_until: None, saved, row }
    }

    pub fn state(&self) -> TransferState {
        match &self.running {
            // One that is paused may have a task that still ends.
            Some(running) if self.row.standing == Phase::Going => running.live.borrow().state,
            _ => match self.row.standing {
                Phase::Going => TransferState::Queued,
                Phase::Paused => TransferState::Paused,
                Phase::Done => TransferState::Done,
                Phase::Failed => TransferState::Failed,
            },
        }
    }

    /// Takes a place among those that go on at the same time.
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.waits())
    }

    /// With what its task has come to, as it is kept.
    pub fn kept(&self) -> TransferRow {
        let (mut row, suppliers) = self.current();
        let kept = suppliers.iter().take(MAX_SOURCES_SHOWN).map(|(peer, supplier)| Kept {
            peer: *peer,
            received: supplier.received_bytes,
            state: supplier.state,
            reason: supplier.reason.clone(),
            sealed: supplier.sealed,
        });
        row.sources = serde_json::to_string(&kept.collect::<Vec<_>>()).unwrap_or_default();
        row.wanted = serde_json::to_string(&self.wanted).unwrap_or_default();
        row
    }

    pub fn current(&self) -> (TransferRow, BTreeMap<PeerId, Supplier>) {
        let mut row = self.row.clone();
        let mut suppliers = self.suppliers.clone();
        if let Some(running) = &self.running {
            let live = running.live.borrow().clone();
            if row.name.is_empty() {
                row.name.clone_from(&live.name);
            }
            if let Some(known) = live.known {
                (row.kind, row.size_bytes) = (known.kind, known.size_bytes);
                (row.list_bytes, row.files) = (known.list_bytes, known.files);
            }
            (row.sealed, row.done_bytes) = (live.sealed, live.done_bytes);
            row.twice_bytes += live.twice_bytes;
            row.spent_ms += u64::try_from(live.spent.as_millis()).unwrap_or(0);
            // Until what is on record was looked at, what an earlier run has noted is all that is certain.
            if !live.synced.boot.is_empty() {
                row.boot.clone_from(&live.synced.boot);
                row.synced.clone_from(&live.synced.bits);
            }
            suppliers.clone_from(&live.suppliers);
        }
        (row, suppliers)
    }

    pub fn show(&self, people: &People, now: Instant) -> Transfer {
        let (row, suppliers) = self.current();
        let live = self.running.as_ref().map(|running| running.live.borrow().clone());
        let state = self.state();
        let trouble = live.as_ref().map_or(row.trouble.as_ref(), |live| live.trouble.as_ref());
        let seconds_left = |at: Instant| u32::try_from(at.saturating_duration_since(now).as_secs()).unwrap_or(0) + 1;
        let source = |(peer, supplier): (&PeerId, &Supplier)| Source {
            peer: *peer,
            name: name_of(people, *peer),
            state: supplier.state,
            path: supplier.path,
            received_bytes: supplier.received_bytes,
            bytes_per_second: supplier.bytes_per_second,
            reason: supplier.reason.clone(),
            sealed: supplier.sealed,
        };
        // Those who have sent something, or lied, before those who had nothing.
        let mut sources: Vec<Source> = suppliers.iter().map(source).collect();
        sources.sort_by_key(|source| {
            (source.state == SourceState::Dropped, std::cmp::Reverse(source.received_bytes), source.peer)
        });
        sources.truncate(MAX_SOURCES_SHOWN);
        let done = row.standing == Phase::Done;
        Transfer {
            id: row.id,
            hash: row.hash,
            name: row.name.clone(),
            kind: row.kind,
            size_bytes: if row.size_bytes == 0 { self.wanted.size_bytes() } else { row.size_bytes },
            done_bytes: row.done_bytes,
            state,
            bytes_per_second: live.as_ref().map_or(0, |live| live.bytes_per_second),
            remaining_seconds: live
                .as_ref()
                .and_then(|live| live.remaining)
                .map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1)),
            sources,
            folder: row.folder.display().to_string(),
            saved_path: row.saved.display().to_string(),
            error: trouble.map(|trouble| trouble.message.clone()).unwrap_or_default(),
            advice: trouble
                .map(|trouble| trouble.advice.replace("files resume ID", &format!("files resume {}", row.id)))
                .unwrap_or_default(),
            started_unix_ms: row.started_unix_ms,
            finished_unix_ms: row.finished_unix_ms,
            seconds: Duration::from_millis(row.spent_ms).as_secs_f64(),
            fetched_twice_bytes: row.twice_bytes,
            next_try_seconds: live.as_ref().and_then(|live| live.next_try).map_or(0, seconds_left),
            files: row.files,
            files_done: if done { row.files } else { live.as_ref().map_or(0, |live| live.files_done) },
            error_kind: trouble.map(|trouble| trouble.kind),
        }
    }

    pub fn job(&self) -> Job {
        let row = &self.row;
        let (origins, only_origins) = self.wanted.origins();
        let known = Known { kind: row.kind, size_bytes: row.size_bytes, list_bytes: row.list_bytes, files: row.files };
        Job {
            what: What::Content { hash: row.hash, key: self.wanted.sealed(row.kind) },
            folder: row.folder.clone(),
            name: row.name.clone(),
            origins: origins.to_vec(),
            only_origins,
            known: (row.files > 0).then_some(known),
            sealed: row.sealed,
            boot: row.boot.clone(),
            synced: row.synced.clone(),
        }
    }
}
