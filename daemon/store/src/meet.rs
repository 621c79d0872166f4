//! What the beginning of a stream tells about those before, and what becomes of entries that a peer does not take yet.

use kith_common::chat::ConversationId;
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::at;
use crate::store::{QUEUED, SENT, int};
use crate::{Place, Result, Store};

impl Store {
    /// The peer says at the beginning of a stream that it has own entries up to there. More than it can have got from this database
    /// means that this is an old copy, or a new one after the identity has moved: what waits takes numbers behind those.
    pub fn peer_has(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> {
        if place != Place::Direct {
            return self.peer_stored(peer, place, up_to);
        }
        self.atomically(|store| {
            let Some(mut talk) = store.talk(ConversationId::Peer(peer))? else { return Ok(()) };
            let (stored, handed): (i64, i64) = store
                .row(
                    "SELECT stored, handed FROM link WHERE conversation = ? AND peer = ?",
                    params![talk.key, peer.public_key()],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
                .unwrap_or_default();
            // A peer that has acknowledged before has this database's numbers; so it may have the last ones, although the
            // stream broke before that was noted. Entries that come again under another number are known by their ids.
            if stored == 0 && int(up_to) > handed && int(up_to) <= talk.said {
                store.remember(&mut talk, peer, int(up_to))?;
            }
            store.peer_stored(peer, place, up_to)
        })
    }

    /// The peer does not take what was said to it alone from that number on; it stays queued, with the reason.
    pub fn not_taken(&mut self, peer: PeerId, from: u64, reason: &str) -> Result<()> {
        self.atomically(|store| {
            let Some(talk) = store.talk(at(peer, Place::Direct))? else { return Ok(()) };
            let waiting: Vec<i64> = store.rows(
                "SELECT position FROM message WHERE conversation = ? AND author IS NULL AND sequence >= ? AND state <= ?
                 AND (error <> ? OR state <> ?)",
                params![talk.key, int(from), SENT, reason, QUEUED],
                |row| row.get(0),
            )?;
            for position in waiting {
                store.change("UPDATE message SET state = ?, error = ? WHERE position = ?", params![QUEUED, reason, position])?;
                store.touch_row(talk.key, position)?;
            }
            store.change(
                "UPDATE link SET handed = min(handed, max(stored, ?)) WHERE conversation = ? AND peer = ?",
                params![int(from) - 1, talk.key, peer.public_key()],
            )?;
            store.change(
                "UPDATE conversation SET sent_to = min(sent_to, max(delivered_to, ?)) WHERE key = ?",
                [int(from) - 1, talk.key],
            )?;
            Ok(())
        })
    }
}
