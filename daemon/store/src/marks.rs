//! How far each peer is with this node's entries, and what that makes of the messages' states. Marks and states only rise, but for
//! what a peer hands back (`meet`).

use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::{Talk, at};
use crate::store::{DELIVERED, FAILED, QUEUED, READ, SENT, int, peer, uint};
use crate::{Place, Result, Store};

/// How many entries this node may find that it has lost, when a peer has more of them than it remembers having said.
const MAX_FORGOTTEN: i64 = 1_000_000;

/// Up to where an entry of ours goes for one link: `l` and `c` are its row and its conversation's.
const THERE_IS: &str = "min(coalesce(l.last, c.said), c.said)";

impl Store {
    /// Where the peer lacks entries of this node: up to where it has them, and up to where there are any for it.
    pub fn owed(&self, peer: PeerId) -> Result<Vec<(Place, u64, u64)>> {
        self.rows(
            &format!(
                "SELECT c.peer, c.grp, max(l.stored, l.first - 1), {THERE_IS} FROM link l JOIN conversation c ON c.key = l.conversation
                 WHERE l.peer = ? AND max(l.stored, l.first - 1) < {THERE_IS} ORDER BY c.key"
            ),
            [peer.public_key()],
            |row| Ok((place(row)?, uint(row.get(2)?), uint(row.get(3)?))),
        )
    }

    /// The peers that lack entries and have not been given up.
    pub fn owed_peers(&self) -> Result<Vec<PeerId>> {
        self.rows(
            &format!(
                "SELECT DISTINCT l.peer FROM link l JOIN conversation c ON c.key = l.conversation
                 WHERE max(l.stored, l.first - 1, l.given_up) < {THERE_IS} ORDER BY l.peer"
            ),
            [],
            |row| peer(row, 0),
        )
    }

    /// The peer's machine was given them. Those that wait for a reason which the peer has said go on waiting until it has stored
    /// them: else each further try would look like success for a moment.
    pub fn handed(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> {
        self.raise(peer, place, up_to, "handed = max(handed, ?1)")
    }

    /// Somebody keeps them sealed for the peer: they are on their way, whatever the peer has said before.
    pub fn kept(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> {
        self.atomically(|store| {
            store.handed(peer, place, up_to)?;
            let Some(talk) = store.talk(at(peer, place))? else { return Ok(()) };
            let waiting: Vec<i64> = store.rows(
                "SELECT position FROM message WHERE conversation = ?1 AND author IS NULL AND sequence <= ?2 AND state = ?3
                 AND sequence > (SELECT stored FROM link WHERE conversation = ?1 AND peer = ?4)",
                params![talk.key, int(up_to), QUEUED, peer.public_key()],
                |row| row.get(0),
            )?;
            for position in waiting {
                store.change("UPDATE message SET state = ?, error = '' WHERE position = ?", [SENT, position])?;
                store.touch_row(talk.key, position)?;
            }
            Ok(())
        })
    }

    /// The peer has stored them.
    pub fn peer_stored(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> {
        self.raise(peer, place, up_to, "handed = max(handed, ?1), stored = max(stored, ?1)")
    }

    /// A person there has read them.
    pub fn peer_read(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> {
        self.raise(peer, place, up_to, "handed = max(handed, ?1), stored = max(stored, ?1), read = max(read, ?1)")
    }

    /// The peer does not take them from that number on. They go out again when something new is said.
    pub fn give_up(&mut self, peer: PeerId, place: Place, from: u64, error: &str) -> Result<()> {
        self.atomically(|store| {
            let Some(talk) = store.talk(at(peer, place))? else { return Ok(()) };
            store.change(
                "UPDATE link SET given_up = max(given_up, ?1) WHERE conversation = ?2 AND peer = ?3 AND stored < ?1",
                params![talk.said, talk.key, peer.public_key()],
            )?;
            // In a group a message has failed when nobody is left that might still take it.
            let (waiting, least): (i64, Option<i64>) = store.conn.prepare_cached(
                "SELECT count(*) FILTER (WHERE max(stored, given_up) < ?2), min(stored) FROM link WHERE conversation = ?1 AND member = 1",
            )?.query_row([talk.key, talk.said], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if waiting > 0 {
                return Ok(());
            }
            let from = int(from).max(least.unwrap_or(0) + 1);
            let failed: Vec<i64> = store.rows(
                "SELECT position FROM message WHERE conversation = ? AND author IS NULL AND sequence >= ? AND state < ?",
                [talk.key, from, FAILED],
                |row| row.get(0),
            )?;
            for position in failed {
                store.change("UPDATE message SET state = ?, error = ? WHERE position = ?", params![FAILED, error, position])?;
                store.touch_row(talk.key, position)?;
            }
            Ok(())
        })
    }

    fn raise(&mut self, peer: PeerId, place: Place, up_to: u64, set: &str) -> Result<()> {
        self.atomically(|store| {
            let Some(mut talk) = store.talk(at(peer, place))? else { return Ok(()) };
            let up_to = int(up_to);
            if place == Place::Direct && up_to > talk.said {
                store.remember(&mut talk, peer, up_to)?;
            }
            let changed = store.change(
                &format!(
                    "UPDATE link SET {set} WHERE conversation = ?2 AND peer = ?3 AND min(handed, stored, read) < ?1"
                ),
                params![up_to.min(talk.said), talk.key, peer.public_key()],
            )?;
            if changed > 0 { store.update_states(talk.key) } else { Ok(()) }
        })
    }

    /// The peer has entries that this node does not remember having said: its database was lost or is an old copy. What waits to be
    /// sent takes numbers behind those, else the peer would take it for what it has.
    pub(crate) fn remember(&self, talk: &mut Talk, peer: PeerId, up_to: i64) -> Result<()> {
        if up_to - talk.said > MAX_FORGOTTEN {
            return Ok(());
        }
        let stored: i64 = self.value(
            "SELECT stored FROM link WHERE conversation = ? AND peer = ?",
            params![talk.key, peer.public_key()],
        )?;
        let shift = up_to - stored;
        for table in ["message", "entry"] {
            let own = if table == "message" { "AND author IS NULL" } else { "" };
            // Through negative numbers, because rows are moved one by one and no two may have the same.
            self.change(
                &format!(
                    "UPDATE {table} SET sequence = -(sequence + ?1) WHERE conversation = ?2 AND sequence > ?3 {own}"
                ),
                [shift, talk.key, stored],
            )?;
            self.change(
                &format!("UPDATE {table} SET sequence = -sequence WHERE conversation = ?1 AND sequence < 0 {own}"),
                [talk.key],
            )?;
        }
        talk.said += shift;
        self.change("UPDATE conversation SET said = ?1 WHERE key = ?2", [talk.said, talk.key])?;
        Ok(())
    }

    /// Gives own messages the states that the members' marks allow: sent when anybody was given it, delivered and read when all are
    /// that far.
    pub(crate) fn update_states(&self, talk: i64) -> Result<()> {
        let (members, sent, delivered, read): (i64, i64, i64, i64) = self
            .conn
            .prepare_cached(
                "SELECT count(*), coalesce(max(handed), 0), coalesce(min(stored), 0), coalesce(min(read), 0) FROM link
                 WHERE conversation = ? AND member = 1",
            )?
            .query_row([talk], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let was: [i64; 3] = self
            .conn
            .prepare_cached("SELECT sent_to, delivered_to, read_to FROM conversation WHERE key = ?")?
            .query_row([talk], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        if members == 0 {
            return Ok(());
        }
        // Whoever has not accepted this node as a contact takes nothing: that its machine was given something means nothing yet.
        let accepted: bool = self.value(
            "SELECT NOT EXISTS (SELECT 1 FROM conversation JOIN contact USING (peer) WHERE conversation.key = ? AND mutual = 0)",
            [talk],
        )?;
        let sent = if accepted { sent } else { 0 };
        let now = [sent.max(was[0]), delivered.max(was[1]), read.max(was[2])];
        if now == was {
            return Ok(());
        }
        let steps = [(READ, was[2], now[2]), (DELIVERED, was[1], now[1]), (SENT, was[0], now[0])];
        for (state, after, to) in steps {
            // A message that was given up, or waits for a reason, is not on its way again until somebody has it.
            let from = if state == SENT { QUEUED } else { state - 1 };
            let changed: Vec<i64> = self.rows(
                "SELECT position FROM message WHERE conversation = ?1 AND author IS NULL AND sequence > ?2 AND sequence <= ?3
                 AND state <= ?4 AND (?4 > ?5 OR error = '')",
                [talk, after, to, from, QUEUED],
                |row| row.get(0),
            )?;
            for position in changed {
                self.change("UPDATE message SET state = ?, error = '' WHERE position = ?", [state, position])?;
                self.touch_row(talk, position)?;
            }
        }
        self.change(
            "UPDATE conversation SET sent_to = ?, delivered_to = ?, read_to = ? WHERE key = ?",
            [now[0], now[1], now[2], talk],
        )?;
        // Entries that everybody has, those who were removed among them, are needed no more.
        self.change(
            "DELETE FROM entry WHERE conversation = ?1 AND sequence <= (SELECT min(stored) FROM link
               WHERE conversation = ?1 AND (member = 1 OR stored < last))",
            [talk],
        )?;
        Ok(())
    }

    /// A person here has read everything up to that position: who is to be told, of which place, up to which of its numbers.
    pub fn mark_read(
        &mut self,
        conversation: kith_common::chat::ConversationId,
        position: u64,
    ) -> Result<Vec<(PeerId, Place, u64)>> {
        self.atomically(|store| {
            let Some(talk) = store.talk(conversation)? else { return Ok(Vec::new()) };
            let newest: Option<i64> =
                store.value("SELECT max(position) FROM message WHERE conversation = ?", [talk.key])?;
            let to = int(position).min(newest.unwrap_or(0));
            if to <= talk.seen {
                return Ok(Vec::new());
            }
            let read = store.rows(
                "SELECT position, author, sequence FROM message WHERE conversation = ? AND position > ? AND position <= ?
                 AND author IS NOT NULL AND state = ?",
                [talk.key, talk.seen.max(talk.erased_to), to, DELIVERED],
                |row| Ok((row.get::<_, i64>(0)?, peer(row, 1)?, row.get::<_, i64>(2)?)),
            )?;
            let mut marks = std::collections::BTreeMap::new();
            for (position, author, sequence) in &read {
                let cursor = store.next_cursor()?;
                store.change("UPDATE message SET state = ?, cursor = ? WHERE position = ?", [READ, cursor, *position])?;
                let mark = marks.entry(*author).or_insert(0);
                *mark = (*sequence).max(*mark);
            }
            store.change(
                "UPDATE conversation SET seen = ?, unread = max(unread - ?, 0) WHERE key = ?",
                params![to, int(read.len() as u64), talk.key],
            )?;
            store.touch(talk.key)?;
            let mut told = Vec::new();
            for (author, mark) in marks {
                store.change(
                    "UPDATE link SET seen = max(seen, ?) WHERE conversation = ? AND peer = ?",
                    params![mark, talk.key, author.public_key()],
                )?;
                told.push((author, talk.place(), uint(mark)));
            }
            Ok(told)
        })
    }

    pub(crate) fn link_marks(&self, column: &str, peer: PeerId) -> Result<Vec<(Place, u64)>> {
        self.rows(
            &format!(
                "SELECT c.peer, c.grp, l.{column} FROM link l JOIN conversation c ON c.key = l.conversation
                 WHERE l.peer = ? AND l.{column} > 0 ORDER BY c.key"
            ),
            [peer.public_key()],
            |row| Ok((place(row)?, uint(row.get(2)?))),
        )
    }
}

fn place(row: &rusqlite::Row) -> rusqlite::Result<Place> {
    Ok(match crate::conversation::id(row, 0, 1)? {
        kith_common::chat::ConversationId::Peer(_) => Place::Direct,
        kith_common::chat::ConversationId::Group(group) => Place::Group(group),
    })
}
