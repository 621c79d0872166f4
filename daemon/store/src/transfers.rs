//! What this node fetches, what others have offered it, and who has lied.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use kith_common::failure::Failure;
use kith_common::file::{FileHash, FileKind, MAX_TRANSFERS};
use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::shares::{hash, kind, kind_number, path};
use crate::store::{from_json, int, json, peer, uint};
use crate::{Result, Store};

const COLUMNS: &str = "key, hash, place, name, kind, size, list_size, files, folder, wanted, state, sealed, done, twice, spent_ms, trouble, \
                       saved, started_ms, finished_ms, boot, synced, sources";

/// How a transfer stands over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Going,
    Paused,
    Done,
    Failed,
}

impl Phase {
    const fn number(self) -> i64 {
        match self {
            Self::Going => 1,
            Self::Paused => 2,
            Self::Done => 3,
            Self::Failed => 4,
        }
    }

    const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Going,
            3 => Self::Done,
            4 => Self::Failed,
            _ => Self::Paused,
        }
    }
}

/// One transfer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRow {
    pub id: u32,
    pub hash: FileHash,
    /// Those with the lower go first.
    pub place: i64,
    pub name: String,
    pub kind: FileKind,
    /// 0: not known yet.
    pub size_bytes: u64,
    pub list_bytes: u64,
    pub files: u32,
    pub folder: PathBuf,
    /// Where to ask, and how: JSON of its owner's making, as are `sources`.
    pub wanted: String,
    pub standing: Phase,
    /// What is fetched is a sealed copy, of which this is the hash as the keepers say it.
    pub sealed: bool,
    pub done_bytes: u64,
    pub twice_bytes: u64,
    pub spent_ms: u64,
    /// Why it does not go on.
    pub trouble: Option<Failure>,
    /// Where it is, when it is done.
    pub saved: PathBuf,
    pub started_unix_ms: i64,
    pub finished_unix_ms: i64,
    /// The start of the machine that `synced` is of.
    pub boot: String,
    /// One bit a unit: on the disk for certain.
    pub synced: Vec<u8>,
    pub sources: String,
}

/// Something that a peer would like this node to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferRow {
    pub id: u32,
    pub peer: PeerId,
    pub hash: FileHash,
    pub ticket: String,
    pub files: u32,
    pub received_unix_ms: i64,
}

impl Store {
    /// Those that are not done in their order, then the others, the newest first.
    pub fn transfers(&self) -> Result<Vec<TransferRow>> {
        self.rows(
            &format!(
                "SELECT {COLUMNS} FROM transfer ORDER BY state IN (3, 4), CASE WHEN state IN (3, 4) THEN -finished_ms ELSE place END, key"
            ),
            [],
            transfer,
        )
    }

    /// A new one, with the next id (that of `row` or a higher one; none is used again) and the last place; the oldest finished ones
    /// make room.
    pub fn new_transfer(&mut self, row: &TransferRow) -> Result<TransferRow> {
        self.atomically(|store| {
            let id: u32 = store.value(
                "SELECT max((SELECT coalesce(max(key), 0) + 1 FROM transfer), transfers + 1, ?) FROM counter",
                [row.id],
            )?;
            store.change("UPDATE counter SET transfers = ?", [id])?;
            let place: i64 = store.value("SELECT coalesce(max(place), 0) + 1 FROM transfer", [])?;
            let row = TransferRow { id, place, ..row.clone() };
            store.put_transfer(&row)?;
            store.change(
                "DELETE FROM transfer WHERE key IN (SELECT key FROM transfer WHERE state IN (3, 4)
                   ORDER BY finished_ms DESC, key DESC LIMIT -1 OFFSET ?)",
                [int(MAX_TRANSFERS as u64)],
            )?;
            Ok(row)
        })
    }

    /// All of what is known of one that there is.
    pub fn put_transfer(&mut self, row: &TransferRow) -> Result<()> {
        self.change(
            &format!(
                "INSERT OR REPLACE INTO transfer ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            ),
            params![
                row.id,
                row.hash.as_bytes(),
                row.place,
                row.name,
                kind_number(row.kind),
                int(row.size_bytes),
                int(row.list_bytes),
                row.files,
                row.folder.as_os_str().as_bytes(),
                row.wanted,
                row.standing.number(),
                row.sealed,
                int(row.done_bytes),
                int(row.twice_bytes),
                int(row.spent_ms),
                row.trouble.as_ref().map(json),
                row.saved.as_os_str().as_bytes(),
                row.started_unix_ms,
                row.finished_unix_ms,
                row.boot,
                row.synced,
                row.sources,
            ],
        )?;
        Ok(())
    }

    pub fn remove_transfer(&mut self, id: u32) -> Result<()> {
        self.change("DELETE FROM transfer WHERE key = ?", [id])?;
        Ok(())
    }

    /// Where the content was saved, if it was fetched here.
    pub fn fetched(&self, of: FileHash) -> Result<Option<TransferRow>> {
        self.row(&format!("SELECT {COLUMNS} FROM transfer WHERE hash = ? AND state = 3"), [of.as_bytes()], transfer)
    }

    /// Not asked for that content until then.
    pub fn ban(&mut self, peer: PeerId, of: FileHash, until_unix_ms: i64) -> Result<()> {
        self.change(
            "INSERT OR REPLACE INTO liar (peer, hash, until_ms) VALUES (?, ?, ?)",
            params![peer.public_key(), of.as_bytes(), until_unix_ms],
        )?;
        Ok(())
    }

    pub fn banned(&mut self, of: FileHash, now_unix_ms: i64) -> Result<Vec<PeerId>> {
        self.atomically(|store| {
            store.change("DELETE FROM liar WHERE until_ms <= ?", [now_unix_ms])?;
            store.rows("SELECT peer FROM liar WHERE hash = ?", [of.as_bytes()], |row| peer(row, 0))
        })
    }

    /// The newest first.
    pub fn offers(&self) -> Result<Vec<OfferRow>> {
        self.rows("SELECT key, peer, hash, ticket, files, received_ms FROM file_offer ORDER BY key DESC", [], offer)
    }

    /// The same again keeps its id. `None`: there is no room.
    pub fn put_offer(&mut self, row: &OfferRow, most: u32, most_of_peer: u32) -> Result<Option<OfferRow>> {
        self.atomically(|store| {
            let known = store.row(
                "SELECT key, peer, hash, ticket, files, received_ms FROM file_offer WHERE peer = ? AND hash = ?",
                params![row.peer.public_key(), row.hash.as_bytes()],
                offer,
            )?;
            if let Some(known) = known {
                store.change("UPDATE file_offer SET ticket = ? WHERE key = ?", params![row.ticket, known.id])?;
                return Ok(Some(OfferRow { ticket: row.ticket.clone(), ..known }));
            }
            let (all, of_peer): (u32, u32) = (
                store.value("SELECT count(*) FROM file_offer", [])?,
                store.value("SELECT count(*) FROM file_offer WHERE peer = ?", [row.peer.public_key()])?,
            );
            if all >= most || of_peer >= most_of_peer {
                return Ok(None);
            }
            let id: u32 = store.value("SELECT coalesce(max(key), 0) + 1 FROM file_offer", [])?;
            store.change(
                "INSERT INTO file_offer (key, peer, hash, ticket, files, received_ms) VALUES (?,?,?,?,?,?)",
                params![id, row.peer.public_key(), row.hash.as_bytes(), row.ticket, row.files, row.received_unix_ms],
            )?;
            Ok(Some(OfferRow { id, ..row.clone() }))
        })
    }

    pub fn take_offer(&mut self, id: u32) -> Result<Option<OfferRow>> {
        self.row(
            "DELETE FROM file_offer WHERE key = ? RETURNING key, peer, hash, ticket, files, received_ms",
            [id],
            offer,
        )
    }
}

fn transfer(row: &Row) -> rusqlite::Result<TransferRow> {
    Ok(TransferRow {
        id: row.get(0)?,
        hash: hash(row, 1)?,
        place: row.get(2)?,
        name: row.get(3)?,
        kind: kind(row.get(4)?),
        size_bytes: uint(row.get(5)?),
        list_bytes: uint(row.get(6)?),
        files: row.get(7)?,
        folder: path(row, 8)?,
        wanted: row.get(9)?,
        standing: Phase::from_number(row.get(10)?),
        sealed: row.get(11)?,
        done_bytes: uint(row.get(12)?),
        twice_bytes: uint(row.get(13)?),
        spent_ms: uint(row.get(14)?),
        trouble: row.get_ref(15)?.as_str_or_null()?.map(from_json).transpose()?,
        saved: path(row, 16)?,
        started_unix_ms: row.get(17)?,
        finished_unix_ms: row.get(18)?,
        boot: row.get(19)?,
        synced: row.get(20)?,
        sources: row.get(21)?,
    })
}

fn offer(row: &Row) -> rusqlite::Result<OfferRow> {
    Ok(OfferRow {
        id: row.get(0)?,
        peer: peer(row, 1)?,
        hash: hash(row, 2)?,
        ticket: row.get(3)?,
        files: row.get(4)?,
        received_unix_ms: row.get(5)?,
    })
}
