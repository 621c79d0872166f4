//! Sealed copies: those of this node's shares at contacts, and those that are kept here for others. All of them are opaque here.

use std::collections::BTreeMap;

use kith_common::file::{CopyKey, CopyState, FileHash};
use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::shares::{copy_state, copy_state_number, hash};
use crate::store::{int, peer, uint};
use crate::{CopyRow, Result, Store};

/// Copies kept here in one answer (file.capnp).
const MAX_KEPT: u32 = 2000;
const KEPT: &str = "id, peer, hash, size, count, whole, since_ms";

/// One part of a sealed copy: of a file, of a folder's list, of a file in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRow {
    /// What it is asked by.
    pub id: FileHash,
    /// Of the encrypted bytes.
    pub hash: FileHash,
    pub size_bytes: u64,
}

/// A copy that is kept here for a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// That of its first part.
    pub id: FileHash,
    pub peer: PeerId,
    /// The same, of the encrypted bytes.
    pub hash: FileHash,
    pub size_bytes: u64,
    pub parts: u32,
    pub whole: bool,
    pub since_unix_ms: i64,
}

/// The id of a sealed copy, and its hash.
pub(crate) type SealedPiece = ([u8; 32], [u8; 32]);

impl Store {
    pub(crate) fn copies(&self, position: u64) -> Result<Vec<CopyRow>> {
        self.rows(
            "SELECT peer, state, held, reason FROM sealed_copy WHERE share = ? ORDER BY key",
            [int(position)],
            |row| {
                Ok(CopyRow {
                    peer: peer(row, 0)?,
                    state: copy_state(row.get(1)?),
                    held_bytes: uint(row.get(2)?),
                    reason: row.get(3)?,
                })
            },
        )
    }

    /// What the sealed copies of a share's pieces are, in the order of `pieces`. False: the share is gone, or another one by now,
    /// or nobody is to keep it any more.
    pub fn set_sealed_pieces(&mut self, of: FileHash, key: &CopyKey, parts: &[PartRow]) -> Result<bool> {
        self.atomically(|store| {
            let share = store.share(of)?.filter(|share| share.key == *key && !share.copies.is_empty());
            let Some(share) = share else { return Ok(false) };
            let position = int(share.position);
            let keys: Vec<i64> =
                store.rows("SELECT key FROM piece WHERE share = ? ORDER BY key", [position], |row| row.get(0))?;
            for (key, part) in keys.into_iter().zip(parts) {
                store.change(
                    "UPDATE piece SET copy_id = ?, copy_hash = ? WHERE key = ?",
                    params![part.id.as_bytes(), part.hash.as_bytes(), key],
                )?;
            }
            Ok(true)
        })
    }

    /// By the hash of the piece, the id and the hash of its sealed copy.
    pub(crate) fn sealed_of(&self, position: u64) -> Result<BTreeMap<FileHash, SealedPiece>> {
        let sealed = self.rows(
            "SELECT hash, copy_id, copy_hash FROM piece
             WHERE share = ? AND copy_id IS NOT NULL AND copy_hash IS NOT NULL",
            [int(position)],
            |row| Ok((hash(row, 0)?, (row.get(1)?, row.get(2)?))),
        )?;
        Ok(sealed.into_iter().collect())
    }

    /// What is sealed of a share, in the order of its pieces; `None`: not all of it is yet. Sizes are those of the pieces.
    pub fn sealed_pieces(&self, position: u64) -> Result<Option<Vec<PartRow>>> {
        let rows = self.rows(
            "SELECT copy_id, copy_hash, size FROM piece WHERE share = ? ORDER BY key",
            [int(position)],
            |row| Ok((row.get::<_, Option<[u8; 32]>>(0)?, row.get::<_, Option<[u8; 32]>>(1)?, row.get(2)?)),
        )?;
        let part = |(id, hash, size): (Option<[u8; 32]>, Option<[u8; 32]>, i64)| {
            Some(PartRow { id: FileHash::from_bytes(id?), hash: FileHash::from_bytes(hash?), size_bytes: uint(size) })
        };
        Ok(rows.into_iter().map(part).collect())
    }

    /// From those contacts a copy is wanted, and from no others.
    pub fn want_copies(&mut self, of: FileHash, peers: &[PeerId]) -> Result<()> {
        self.atomically(|store| {
            let Some(share) = store.share(of)? else { return Ok(()) };
            let position = int(share.position);
            let old = share.copies.iter().map(|copy| copy.peer).filter(|peer| !peers.contains(peer));
            store.unwant_copies(position, &old.collect::<Vec<_>>())?;
            for peer in peers {
                // Who has refused, or may have dropped it, is asked again.
                store.change(
                    "INSERT INTO sealed_copy (share, peer, state) VALUES (?1, ?2, ?3) ON CONFLICT (share, peer) DO UPDATE SET
                       state = CASE WHEN state = ?4 THEN state ELSE ?3 END, reason = ''",
                    params![
                        position,
                        peer.public_key(),
                        copy_state_number(CopyState::Asked),
                        copy_state_number(CopyState::Sending)
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// They are told when they are reachable.
    pub(crate) fn unwant_copies(&self, position: i64, peers: &[PeerId]) -> Result<()> {
        let id: Option<[u8; 32]> = self
            .row("SELECT copy_id FROM piece WHERE share = ? ORDER BY key LIMIT 1", [position], |row| {
                row.get::<_, Option<[u8; 32]>>(0)
            })?
            .flatten();
        for peer in peers {
            self.change("DELETE FROM sealed_copy WHERE share = ? AND peer = ?", params![position, peer.public_key()])?;
            if let Some(id) = id {
                self.change(
                    "INSERT OR IGNORE INTO unwanted_copy (peer, id) VALUES (?, ?)",
                    params![peer.public_key(), id],
                )?;
            }
        }
        Ok(())
    }

    /// How far a copy is; nothing happens when it is wanted no longer.
    pub fn set_copy(&mut self, of: FileHash, copy: &CopyRow) -> Result<()> {
        self.change(
            "UPDATE sealed_copy SET state = ?, held = ?, reason = ? WHERE peer = ? AND share = (SELECT key FROM share WHERE hash = ?)",
            params![
                copy_state_number(copy.state),
                int(copy.held_bytes),
                copy.reason,
                copy.peer.public_key(),
                of.as_bytes()
            ],
        )?;
        Ok(())
    }

    /// Copies that are not whole yet, and whom to speak to about them.
    pub fn unfinished_copies(&self) -> Result<Vec<(PeerId, FileHash)>> {
        self.rows(
            "SELECT sealed_copy.peer, share.hash FROM sealed_copy JOIN share ON share.key = sealed_copy.share
             WHERE sealed_copy.state IN (?, ?) ORDER BY sealed_copy.key",
            [copy_state_number(CopyState::Asked), copy_state_number(CopyState::Sending)],
            |row| Ok((peer(row, 0)?, hash(row, 1)?)),
        )
    }

    /// Who keeps whole copies, as far as is known.
    pub fn keepers(&self) -> Result<Vec<PeerId>> {
        let kept = copy_state_number(CopyState::Kept);
        self.rows("SELECT DISTINCT peer FROM sealed_copy WHERE state = ?", [kept], |row| peer(row, 0))
    }

    /// The shares of which the peer keeps a whole copy.
    pub fn kept_by(&self, keeper: PeerId) -> Result<Vec<FileHash>> {
        self.rows(
            "SELECT share.hash FROM sealed_copy JOIN share ON share.key = sealed_copy.share
             WHERE sealed_copy.peer = ? AND sealed_copy.state = ? ORDER BY sealed_copy.key",
            params![keeper.public_key(), copy_state_number(CopyState::Kept)],
            |row| hash(row, 0),
        )
    }

    /// Whether a copy of that share is wanted from the peer.
    pub fn is_keeper(&self, of: FileHash, peer: PeerId) -> Result<bool> {
        self.value(
            "SELECT EXISTS (SELECT 1 FROM sealed_copy JOIN share ON share.key = sealed_copy.share
               WHERE share.hash = ? AND sealed_copy.peer = ?)",
            params![of.as_bytes(), peer.public_key()],
        )
    }

    pub fn unwanted_copies(&self) -> Result<Vec<(PeerId, FileHash)>> {
        self.rows("SELECT peer, id FROM unwanted_copy ORDER BY key", [], |row| Ok((peer(row, 0)?, hash(row, 1)?)))
    }

    pub fn forget_unwanted(&mut self, peer: PeerId, id: FileHash) -> Result<()> {
        self.change("DELETE FROM unwanted_copy WHERE peer = ? AND id = ?", params![peer.public_key(), id.as_bytes()])?;
        Ok(())
    }

    /// A copy that is to be kept here. One of that id that is here already stays as it is: false.
    pub fn put_kept(&mut self, row: &KeptRow, parts: &[PartRow]) -> Result<bool> {
        self.atomically(|store| {
            let put = store.change(
                &format!("INSERT OR IGNORE INTO kept ({KEPT}) VALUES (?,?,?,?,?,?,?)"),
                params![
                    row.id.as_bytes(),
                    row.peer.public_key(),
                    row.hash.as_bytes(),
                    int(row.size_bytes),
                    row.parts,
                    row.whole,
                    row.since_unix_ms
                ],
            )?;
            if put == 0 {
                return Ok(false);
            }
            let key: i64 = store.value("SELECT key FROM kept WHERE id = ?", [row.id.as_bytes()])?;
            for (number, part) in parts.iter().enumerate() {
                store.change(
                    "INSERT INTO kept_part (kept, number, id, hash, size) VALUES (?,?,?,?,?)",
                    params![key, int(number as u64), part.id.as_bytes(), part.hash.as_bytes(), int(part.size_bytes)],
                )?;
            }
            Ok(true)
        })
    }

    /// The newest first, at most 2000.
    pub fn kept_copies(&self) -> Result<Vec<KeptRow>> {
        self.rows(&format!("SELECT {KEPT} FROM kept ORDER BY key DESC LIMIT ?"), [MAX_KEPT], kept)
    }

    pub fn kept_copy(&self, id: FileHash) -> Result<Option<KeptRow>> {
        self.row(&format!("SELECT {KEPT} FROM kept WHERE id = ?"), [id.as_bytes()], kept)
    }

    pub fn kept_parts(&self, id: FileHash) -> Result<Vec<PartRow>> {
        self.rows(
            "SELECT kept_part.id, kept_part.hash, kept_part.size FROM kept_part JOIN kept ON kept.key = kept_part.kept
             WHERE kept.id = ? ORDER BY number",
            [id.as_bytes()],
            |row| Ok(PartRow { id: hash(row, 0)?, hash: hash(row, 1)?, size_bytes: uint(row.get(2)?) }),
        )
    }

    /// A part that is here, with the copy that it is of and its number in that. Of several one that is whole.
    pub fn kept_part(&self, id: FileHash) -> Result<Option<(KeptRow, u32, PartRow)>> {
        let columns = KEPT.split(", ").map(|column| format!("kept.{column}")).collect::<Vec<_>>().join(", ");
        self.row(
            &format!(
                "SELECT {columns}, number, kept_part.id, kept_part.hash, kept_part.size FROM kept_part
                 JOIN kept ON kept.key = kept_part.kept WHERE kept_part.id = ? ORDER BY whole DESC LIMIT 1"
            ),
            [id.as_bytes()],
            |row| {
                let part = PartRow { id: hash(row, 8)?, hash: hash(row, 9)?, size_bytes: uint(row.get(10)?) };
                Ok((kept(row)?, row.get(7)?, part))
            },
        )
    }

    /// Bytes that are promised to that contact.
    pub fn kept_bytes(&self, peer: PeerId) -> Result<u64> {
        self.value("SELECT coalesce(sum(size), 0) FROM kept WHERE peer = ?", [peer.public_key()]).map(uint)
    }

    /// And to all contacts together.
    pub fn all_kept_bytes(&self) -> Result<u64> {
        self.value("SELECT coalesce(sum(size), 0) FROM kept", []).map(uint)
    }

    pub fn set_kept_whole(&mut self, id: FileHash) -> Result<()> {
        self.change("UPDATE kept SET whole = 1 WHERE id = ?", [id.as_bytes()])?;
        Ok(())
    }

    /// Something of it cannot be read any more.
    pub fn set_kept_lost(&mut self, id: FileHash) -> Result<()> {
        self.change("UPDATE kept SET whole = 0 WHERE id = ?", [id.as_bytes()])?;
        Ok(())
    }

    /// Of all copies that are kept here.
    pub fn kept_ids(&self) -> Result<Vec<FileHash>> {
        self.rows("SELECT id FROM kept", [], |row| hash(row, 0))
    }

    /// Whether it was there.
    pub fn drop_kept(&mut self, id: FileHash) -> Result<bool> {
        Ok(self.change("DELETE FROM kept WHERE id = ?", [id.as_bytes()])? > 0)
    }
}

fn kept(row: &Row) -> rusqlite::Result<KeptRow> {
    Ok(KeptRow {
        id: hash(row, 0)?,
        peer: peer(row, 1)?,
        hash: hash(row, 2)?,
        size_bytes: uint(row.get(3)?),
        parts: row.get(4)?,
        whole: row.get(5)?,
        since_unix_ms: row.get(6)?,
    })
}
