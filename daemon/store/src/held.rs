//! Sealed messages that are kept for others, and secrets. Both are opaque here: their owner has encrypted them.

use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::store::{int, peer};
use crate::{HoldLimits, Result, Sealed, Store};

/// Sealed messages in one answer: at 64 KiB each that is 16 MiB.
const MAX_HELD_PAGE: u32 = 256;

impl Store {
    /// False: there is no room for it. One that is here already is taken for kept.
    pub fn hold(&mut self, sealed: &Sealed, limits: HoldLimits) -> Result<bool> {
        self.atomically(|store| {
            if store.value("SELECT count(*) FROM held WHERE id = ?", [sealed.id])? {
                return Ok(true);
            }
            let of = |column: &str, peer: PeerId| -> Result<i64> {
                store.value(&format!("SELECT count(*) FROM held WHERE {column} = ?"), [peer.public_key()])
            };
            let bytes: i64 = store.value("SELECT coalesce(sum(length(body)), 0) FROM held", [])?;
            if of("author", sealed.author)? >= int(limits.per_author)
                || of("recipient", sealed.recipient)? >= int(limits.per_recipient)
                || bytes + int(sealed.body.len() as u64) > int(limits.total_bytes)
            {
                return Ok(false);
            }
            store.change(
                "INSERT INTO held (id, author, recipient, expires_ms, kind, body) VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    sealed.id,
                    sealed.author.public_key(),
                    sealed.recipient.public_key(),
                    sealed.expires_unix_ms,
                    sealed.kind,
                    sealed.body
                ],
            )?;
            Ok(true)
        })
    }

    /// The oldest first, at most 256: those that were delivered are dropped before asking for more.
    pub fn held_for(&self, recipient: PeerId) -> Result<Vec<Sealed>> {
        self.rows(
            "SELECT id, author, recipient, expires_ms, kind, body FROM held WHERE recipient = ? ORDER BY key LIMIT ?",
            params![recipient.public_key(), MAX_HELD_PAGE],
            sealed,
        )
    }

    pub fn drop_held(&mut self, id: [u8; 16]) -> Result<()> {
        self.change("DELETE FROM held WHERE id = ?", [id])?;
        Ok(())
    }

    /// How many there were.
    pub fn expire_held(&mut self, now_unix_ms: i64) -> Result<u64> {
        Ok(self.change("DELETE FROM held WHERE expires_ms <= ?", [now_unix_ms])? as u64)
    }

    pub fn secret(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.row("SELECT value FROM secret WHERE name = ?", [key], |row| row.get(0))
    }

    pub fn set_secret(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.change("INSERT OR REPLACE INTO secret (name, value) VALUES (?, ?)", params![key, value])?;
        Ok(())
    }
}

fn sealed(row: &Row) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        id: row.get(0)?,
        author: peer(row, 1)?,
        recipient: peer(row, 2)?,
        expires_unix_ms: row.get(3)?,
        kind: row.get(4)?,
        body: row.get(5)?,
    })
}
