//! Contacts, requests of strangers, settings.

use kith_common::contact::{ContactRequest, Trust};
use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::store::{from_json, int, json, peer};
use crate::{ContactRow, Result, Store};

const COLUMNS: &str = "peer, name, own_name, note, colour, calls, files, relay, verified, mutual, addresses, last_seen_ms, added_ms, \
                       asked, request_text";

impl Store {
    /// By name.
    pub fn contacts(&self) -> Result<Vec<ContactRow>> {
        self.rows(&format!("SELECT {COLUMNS} FROM contact ORDER BY name COLLATE NOCASE, peer"), [], contact)
    }

    pub fn contact(&self, peer: PeerId) -> Result<Option<ContactRow>> {
        self.row(&format!("SELECT {COLUMNS} FROM contact WHERE peer = ?"), [peer.public_key()], contact)
    }

    /// A new one, or all of what is known of an old one. Names that are taken are the caller's affair.
    pub fn put_contact(&mut self, row: &ContactRow) -> Result<()> {
        self.atomically(|store| {
            let named = store.contact(row.peer)?.map(|old| (old.name, old.own_name));
            store.change(
                &format!("INSERT OR REPLACE INTO contact ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
                params![
                    row.peer.public_key(),
                    row.name,
                    row.own_name,
                    row.note,
                    row.colour,
                    trust(row.calls),
                    trust(row.files),
                    trust(row.relay),
                    row.verified,
                    row.mutual,
                    json(&row.addresses),
                    row.last_seen_unix_ms,
                    row.added_unix_ms,
                    row.asked,
                    row.request_text,
                ],
            )?;
            // The title of the conversation with it may be another.
            if named != Some((row.name.clone(), row.own_name.clone())) {
                store.touch_peer(row.peer)?;
            }
            Ok(())
        })
    }

    /// The conversation stays. Whether it was one.
    pub fn remove_contact(&mut self, peer: PeerId) -> Result<bool> {
        self.atomically(|store| {
            let removed = store.change("DELETE FROM contact WHERE peer = ?", [peer.public_key()])? > 0;
            store.touch_peer(peer)?;
            Ok(removed)
        })
    }

    /// Newest first.
    pub fn requests(&self) -> Result<Vec<ContactRequest>> {
        self.rows("SELECT peer, name, text, received_ms FROM request ORDER BY received_ms DESC, key DESC", [], request)
    }

    /// A peer that asks again takes the place that it has. False: there is no room.
    pub fn put_request(&mut self, request: &ContactRequest, max: usize) -> Result<bool> {
        self.atomically(|store| {
            let others: i64 =
                store.value("SELECT count(*) FROM request WHERE peer <> ?", [request.peer_id.public_key()])?;
            if others >= int(max as u64) {
                return Ok(false);
            }
            store.change(
                "INSERT OR REPLACE INTO request (peer, name, text, received_ms) VALUES (?, ?, ?, ?)",
                params![request.peer_id.public_key(), request.name, request.text, request.received_unix_ms],
            )?;
            Ok(true)
        })
    }

    pub fn take_request(&mut self, peer: PeerId) -> Result<Option<ContactRequest>> {
        self.row(
            "DELETE FROM request WHERE peer = ? RETURNING peer, name, text, received_ms",
            [peer.public_key()],
            request,
        )
    }

    /// Requests of that peer are dropped until then.
    pub fn refuse(&mut self, peer: PeerId, until_unix_ms: i64) -> Result<()> {
        self.change(
            "INSERT OR REPLACE INTO refused (peer, until_ms) VALUES (?, ?)",
            params![peer.public_key(), until_unix_ms],
        )?;
        Ok(())
    }

    pub fn is_refused(&self, peer: PeerId, now_unix_ms: i64) -> Result<bool> {
        let until: Option<i64> =
            self.row("SELECT until_ms FROM refused WHERE peer = ?", [peer.public_key()], |row| row.get(0))?;
        Ok(until.is_some_and(|until| now_unix_ms < until))
    }

    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        self.row("SELECT value FROM setting WHERE name = ?", [key], |row| row.get(0))
    }

    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<()> {
        self.change("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)", [key, value])?;
        Ok(())
    }
}

fn contact(row: &Row) -> rusqlite::Result<ContactRow> {
    Ok(ContactRow {
        peer: peer(row, 0)?,
        name: row.get(1)?,
        own_name: row.get(2)?,
        note: row.get(3)?,
        colour: row.get(4)?,
        calls: trusted(row.get(5)?),
        files: trusted(row.get(6)?),
        relay: trusted(row.get(7)?),
        verified: row.get(8)?,
        mutual: row.get(9)?,
        addresses: from_json(row.get_ref(10)?.as_str()?)?,
        last_seen_unix_ms: row.get(11)?,
        added_unix_ms: row.get(12)?,
        asked: row.get(13)?,
        request_text: row.get(14)?,
    })
}

fn request(row: &Row) -> rusqlite::Result<ContactRequest> {
    Ok(ContactRequest { peer_id: peer(row, 0)?, name: row.get(1)?, text: row.get(2)?, received_unix_ms: row.get(3)? })
}

fn trust(trust: Trust) -> i64 {
    match trust {
        Trust::Never => 1,
        Trust::Ask => 2,
        Trust::Always => 3,
    }
}

fn trusted(value: i64) -> Trust {
    match value {
        1 => Trust::Never,
        3 => Trust::Always,
        _ => Trust::Ask,
    }
}
