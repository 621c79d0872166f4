//! What goes: messages beyond their retention, with the calls of that time, and conversations that a user deletes. Messages go bit by
//! bit, because taking a message's words out of the index costs time, and what is said meanwhile must not wait for it.

use kith_common::chat::{Conversation, ConversationId, MessageId};
use rusqlite::params;

use crate::conversation::not_found;
use crate::store::{DELIVERED, FAILED, from_json};
use crate::{Body, Result, Store};

/// Messages in one go: a fraction of a second.
pub(crate) const ERASE_AT_ONCE: i64 = 500;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Store {
    /// Messages of the conversation are deleted here after so many days. 0: never.
    pub fn set_retention(&mut self, conversation: ConversationId, days: u32) -> Result<Conversation> {
        self.atomically(|store| {
            let talk = store.talk(conversation)?.ok_or_else(|| not_found(conversation))?;
            store.change("UPDATE conversation SET retention_days = ? WHERE key = ?", params![days, talk.key])?;
            store.touch(talk.key)?;
            store.read_conversation(talk.key)
        })
    }

    /// Deletes some of the messages that are older than their conversation keeps them, and of those in deleted conversations. How many; the
    /// others go while nothing else is to be done. Own messages that still wait for their receivers stay. Calls with the same peer that
    /// are older than that go with them.
    pub fn expire(&mut self, now_unix_ms: i64) -> Result<u64> {
        self.atomically(|store| {
            let kept: Vec<(i64, i64)> = store.rows(
                "SELECT key, retention_days FROM conversation WHERE retention_days > 0",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if !kept.is_empty() {
                store.expire_calls(now_unix_ms, DAY_MS)?;
            }
            let mut gone = 0;
            for (talk, days) in kept {
                let before = now_unix_ms.saturating_sub(days.saturating_mul(DAY_MS));
                let old: Vec<i64> = store.rows(
                    "SELECT position FROM message WHERE conversation = ? AND stored_ms < ? AND (author IS NOT NULL OR state >= ?)
                     ORDER BY stored_ms LIMIT ?",
                    params![talk, before, FAILED, ERASE_AT_ONCE - gone],
                    |row| row.get(0),
                )?;
                if !old.is_empty() {
                    store.erase(talk, &old)?;
                    store.touch(talk)?;
                }
                gone += old.len() as i64;
            }
            if gone < ERASE_AT_ONCE {
                gone += store.erase_some(ERASE_AT_ONCE - gone)?;
            }
            // Whoever asks is not kept waiting for all of them: see `Database`.
            store.expiring.set((gone >= ERASE_AT_ONCE).then_some(now_unix_ms));
            Ok(gone as u64)
        })
    }

    /// Here only. What this node has said there and not everybody has goes out all the same. False: there was none.
    pub fn delete_conversation(&mut self, conversation: ConversationId) -> Result<bool> {
        self.atomically(|store| {
            let Some(talk) = store.talk(conversation)? else { return Ok(false) };
            if store.value("SELECT hidden FROM conversation WHERE key = ?", [talk.key])? {
                return Ok(false);
            }
            let waiting = store.rows(
                "SELECT sequence, id, sent_ms, text, reply_to, attachments FROM message
                 WHERE conversation = ? AND author IS NULL AND sequence > (SELECT min(stored) FROM link
                   WHERE conversation = ?1 AND (member = 1 OR stored < last)) AND deleted = 0 AND position > ?",
                [talk.key, talk.erased_to],
                |row| {
                    let attachments = match row.get_ref(5)?.as_str_or_null()? {
                        Some(text) => from_json(text)?,
                        None => Vec::new(),
                    };
                    let reply_to = row.get::<_, Option<[u8; 16]>>(4)?.map(MessageId::from_bytes);
                    let body = Body::Text { text: row.get(3)?, reply_to, attachments };
                    Ok((row.get(0)?, MessageId::from_bytes(row.get(1)?), row.get(2)?, body))
                },
            )?;
            for (sequence, id, sent_ms, body) in waiting {
                store.keep_entry(talk.key, sequence, id, sent_ms, &body)?;
            }
            store.change(
                "UPDATE conversation SET hidden = 1, unread = 0, erased_to = newest, seen = max(seen, newest)
                 FROM (SELECT coalesce(max(position), 0) AS newest FROM message WHERE conversation = ?1) WHERE key = ?1",
                [talk.key],
            )?;
            store.touch(talk.key)?;
            store.erase_some(ERASE_AT_ONCE)?;
            Ok(true)
        })
    }

    /// Rows of deleted conversations, until none is left.
    pub(crate) fn erase_some(&self, limit: i64) -> Result<i64> {
        let Some((talk, to)) =
            self.row("SELECT key, erased_to FROM conversation WHERE erased_to > 0 LIMIT 1", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?
        else {
            return Ok(0);
        };
        let rows: Vec<i64> = self.rows(
            "SELECT position FROM message WHERE conversation = ? AND position <= ? ORDER BY position LIMIT ?",
            [talk, to, limit],
            |row| row.get(0),
        )?;
        self.erase(talk, &rows)?;
        if (rows.len() as i64) < limit {
            self.change("UPDATE conversation SET erased_to = 0 WHERE key = ?", [talk])?;
        }
        Ok(rows.len() as i64)
    }

    /// Whether rows of deleted conversations are left.
    pub(crate) fn has_erased(&self) -> Result<bool> {
        self.value("SELECT EXISTS (SELECT 1 FROM conversation WHERE erased_to > 0)", [])
    }

    fn erase(&self, talk: i64, positions: &[i64]) -> Result<()> {
        for position in positions {
            self.unindex(*position)?;
            self.change(
                "UPDATE conversation SET unread = max(unread - 1, 0) WHERE key = ?1 AND unread > 0 AND EXISTS
                   (SELECT 1 FROM message WHERE position = ?2 AND position > seen AND author IS NOT NULL AND state = ?3)",
                [talk, *position, DELIVERED],
            )?;
            self.change("DELETE FROM message WHERE position = ?", [*position])?;
        }
        if !positions.is_empty() {
            self.scrub.set(true);
        }
        Ok(())
    }
}
