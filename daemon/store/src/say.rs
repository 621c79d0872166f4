//! What this node's user says, and what peers are to get of it. An entry that is a message is its row; the others wait in a table of
//! their own until everybody has them. What is gone from both (a deleted message, an old reaction) is told as the deletion of nothing, so
//! that numbers have no gaps even for a peer that has lost its database.

use kith_common::chat::{Attachment, ConversationId, MAX_ATTACHMENTS, MAX_EMOJI_BYTES, MAX_MEMBERS, MAX_TEXT_BYTES};
use kith_common::chat::{MAX_TITLE_CHARS, Message, MessageId};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::{HERE, Talk, at};
use crate::store::{QUEUED, from_json, int, json, uint};
use crate::{Body, Entry, Place, Result, Store, StoreError};

/// Reactions of one peer to one message; further ones are not shown.
const MAX_REACTIONS: i64 = 16;
/// Entries in one answer.
const MAX_ENTRIES: usize = 1_000;

/// The message that an entry has made or changed.
pub(crate) struct NewRow<'a> {
    pub talk: i64,
    pub id: MessageId,
    /// `None`: this node.
    pub author: Option<PeerId>,
    pub sequence: i64,
    pub sent_ms: i64,
    pub stored_ms: i64,
    pub state: i64,
    pub text: &'a str,
    pub reply_to: Option<MessageId>,
    pub attachments: &'a [Attachment],
}

/// Whether a body keeps to the limits.
pub(crate) fn fits(body: &Body) -> bool {
    match body {
        Body::Text { text, attachments, .. } => {
            text.len() <= MAX_TEXT_BYTES
                && attachments.len() <= MAX_ATTACHMENTS
                && attachments
                    .iter()
                    .all(|attachment| attachment.ticket.len() + attachment.name.len() <= MAX_TEXT_BYTES)
        }
        Body::Edit(text) => text.len() <= MAX_TEXT_BYTES,
        Body::React { emoji, .. } => emoji.len() <= MAX_EMOJI_BYTES && !emoji.is_empty(),
        Body::Group { title, members } => title.chars().count() <= MAX_TITLE_CHARS && members.len() <= MAX_MEMBERS,
        Body::Delete | Body::Leave => true,
    }
}

impl Store {
    /// Gives `body` the next number of the conversation and does what it says here. The message is the one that it makes or changes.
    pub fn say(
        &mut self,
        conversation: ConversationId,
        id: MessageId,
        body: Body,
        now_unix_ms: i64,
    ) -> Result<(Entry, Option<Message>)> {
        use FailureKind::{InvalidArgument, NotFound, NotPermitted};
        if !fits(&body) {
            return Err(StoreError::refused(InvalidArgument, "the message is too long"));
        }
        self.atomically(|store| {
            let talk = store.ensure_talk(conversation)?;
            if talk.gone != HERE {
                return Err(StoreError::refused(NotPermitted, "this node is not in that group any more"));
            }
            let own = store.own;
            let sequence = talk.said + 1;
            store.change("UPDATE conversation SET said = ? WHERE key = ?", [sequence, talk.key])?;
            let position = match &body {
                Body::Text { text, reply_to, attachments } => {
                    if store.find(talk.key, id, Some(None))?.is_some() {
                        return Err(StoreError::refused(InvalidArgument, "a message with that id is there already"));
                    }
                    store.add_row(&NewRow {
                        talk: talk.key,
                        id,
                        author: None,
                        sequence,
                        sent_ms: now_unix_ms,
                        stored_ms: now_unix_ms,
                        state: QUEUED,
                        text,
                        reply_to: *reply_to,
                        attachments,
                    })?
                }
                Body::Edit(_) | Body::Delete | Body::React { .. } => {
                    let Some((position, author)) = store.find(talk.key, id, None)? else {
                        return Err(StoreError::refused(NotFound, format!("there is no message {id}")));
                    };
                    match &body {
                        Body::React { emoji, on } => store.react(talk.key, position, own, emoji, *on)?,
                        _ if author.is_some() => {
                            return Err(StoreError::refused(NotPermitted, "only its author can change a message"));
                        }
                        Body::Edit(text) => store.edit_row(talk.key, position, text)?,
                        _ => store.clear_row(talk.key, position)?,
                    }
                    store.keep_entry(talk.key, sequence, id, now_unix_ms, &body)?;
                    position
                }
                Body::Group { .. } | Body::Leave => {
                    return Err(StoreError::refused(InvalidArgument, "groups are changed by other means"));
                }
            };
            let message = store.read_message(position)?;
            let sequence = uint(sequence);
            Ok((Entry { place: talk.place(), sequence, id, sent_unix_ms: now_unix_ms, body }, message))
        })
    }

    /// An entry of this node that is no message.
    pub(crate) fn keep_entry(&self, talk: i64, sequence: i64, id: MessageId, now: i64, body: &Body) -> Result<()> {
        self.change(
            "INSERT OR REPLACE INTO entry (conversation, sequence, id, sent_ms, body) VALUES (?, ?, ?, ?, ?)",
            params![talk, sequence, id.as_bytes(), now, json(body)],
        )?;
        Ok(())
    }

    /// Takes the next number for an entry that is of no message.
    pub(crate) fn append(&self, talk: i64, now: i64, body: &Body) -> Result<i64> {
        let sequence = self.value("UPDATE conversation SET said = said + 1 WHERE key = ? RETURNING said", [talk])?;
        self.keep_entry(talk, sequence, MessageId::from_bytes([0; 16]), now, body)?;
        Ok(sequence)
    }

    /// A message that is not deleted: its position and author. `Some(None)`: of this node only.
    pub(crate) fn find(
        &self,
        talk: i64,
        id: MessageId,
        author: Option<Option<PeerId>>,
    ) -> Result<Option<(i64, Option<PeerId>)>> {
        let found = self.rows(
            "SELECT position, author FROM message WHERE id = ? AND +conversation = ? AND deleted = 0
             ORDER BY author IS NOT NULL, position",
            params![id.as_bytes(), talk],
            |row| Ok((row.get(0)?, row.get::<_, Option<[u8; 32]>>(1)?.map(PeerId::from_public_key))),
        )?;
        Ok(found.into_iter().find(|(_, found)| author.is_none_or(|author| author == *found)))
    }

    pub(crate) fn add_row(&self, new: &NewRow) -> Result<i64> {
        let position = self.next_cursor()?;
        self.change(
            "INSERT INTO message (position, cursor, conversation, id, author, sequence, sent_ms, stored_ms, state, text, reply_to,
               attachments) VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                position,
                new.talk,
                new.id.as_bytes(),
                new.author.as_ref().map(PeerId::public_key),
                new.sequence,
                new.sent_ms,
                new.stored_ms,
                new.state,
                new.text,
                new.reply_to.as_ref().map(MessageId::as_bytes),
                (!new.attachments.is_empty()).then(|| json(&new.attachments)),
            ],
        )?;
        self.change(
            "UPDATE conversation SET cursor = ?1, hidden = 0, unread = unread + ?2 WHERE key = ?3",
            params![position, new.author.is_some(), new.talk],
        )?;
        Ok(position)
    }

    pub(crate) fn edit_row(&self, talk: i64, position: i64, text: &str) -> Result<()> {
        self.unindex(position)?;
        self.change("UPDATE message SET text = ?, edited = 1 WHERE position = ?", params![text, position])?;
        self.change(
            "INSERT INTO words (rowid, text) SELECT position, text FROM message_words WHERE position = ?
             AND position <= (SELECT indexed FROM counter)",
            [position],
        )?;
        self.scrub.set(true);
        self.touch_row(talk, position)
    }

    /// The text is gone, the place stays.
    pub(crate) fn clear_row(&self, talk: i64, position: i64) -> Result<()> {
        self.unindex(position)?;
        self.change(
            "UPDATE message SET text = '', attachments = NULL, deleted = 1, edited = 0 WHERE position = ?",
            [position],
        )?;
        self.change("DELETE FROM reaction WHERE position = ?", [position])?;
        self.scrub.set(true);
        self.touch_row(talk, position)
    }

    /// Takes the words of a message out of the index, while the row still has them.
    pub(crate) fn unindex(&self, position: i64) -> Result<()> {
        self.change(
            "INSERT INTO words (words, rowid, text) SELECT 'delete', position, text FROM message_words
             WHERE position = ? AND text <> '' AND position <= (SELECT indexed FROM counter)",
            [position],
        )?;
        Ok(())
    }

    pub(crate) fn react(&self, talk: i64, position: i64, peer: PeerId, emoji: &str, on: bool) -> Result<()> {
        let key = peer.public_key();
        let changed = if on {
            let has: i64 =
                self.value("SELECT count(*) FROM reaction WHERE position = ? AND peer = ?", params![position, key])?;
            has < MAX_REACTIONS
                && self.change(
                    "INSERT OR IGNORE INTO reaction (position, peer, emoji) VALUES (?, ?, ?)",
                    params![position, key, emoji],
                )? > 0
        } else {
            self.change(
                "DELETE FROM reaction WHERE position = ? AND peer = ? AND emoji = ?",
                params![position, key, emoji],
            )? > 0
        };
        if changed { self.touch_row(talk, position) } else { Ok(()) }
    }

    pub(crate) fn touch_row(&self, talk: i64, position: i64) -> Result<()> {
        let cursor = self.next_cursor()?;
        self.change("UPDATE message SET cursor = ? WHERE position = ?", [cursor, position])?;
        self.change("UPDATE conversation SET cursor = ? WHERE key = ?", [cursor, talk])?;
        Ok(())
    }

    /// This node's entries after that number which the peer is to get, in order, without gaps.
    pub fn entries_for(&self, peer: PeerId, place: Place, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.snapshot(|store| {
            let Some(talk) = store.talk(at(peer, place))? else { return Ok(Vec::new()) };
            let Some((first, last)) = store.row(
                "SELECT first, last FROM link WHERE conversation = ? AND peer = ?",
                params![talk.key, peer.public_key()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)),
            )?
            else {
                return Ok(Vec::new());
            };
            let from = int(after).saturating_add(1).max(first);
            let to = last
                .unwrap_or(talk.said)
                .min(talk.said)
                .min(from.saturating_add(int(limit.min(MAX_ENTRIES) as u64)) - 1);
            (from..=to).map(|sequence| store.entry(&talk, peer, first, sequence)).collect()
        })
    }

    fn entry(&self, talk: &Talk, peer: PeerId, first: i64, sequence: i64) -> Result<Entry> {
        let place = talk.place();
        let of = |(id, sent_unix_ms, body)| Entry {
            place,
            sequence: uint(sequence),
            id: MessageId::from_bytes(id),
            sent_unix_ms,
            body,
        };
        let kept = self.row(
            "SELECT id, sent_ms, body FROM entry WHERE conversation = ? AND sequence = ?",
            [talk.key, sequence],
            |row| Ok((row.get(0)?, row.get(1)?, from_json(row.get_ref(2)?.as_str()?)?)),
        )?;
        if let Some(kept) = kept {
            return Ok(of(kept));
        }
        let message = self.row(
            "SELECT id, sent_ms, text, reply_to, attachments FROM message WHERE conversation = ? AND sequence = ?
             AND author IS NULL AND deleted = 0 AND position > ?",
            [talk.key, sequence, talk.erased_to],
            |row| {
                let attachments = match row.get_ref(4)?.as_str_or_null()? {
                    Some(text) => from_json(text)?,
                    None => Vec::new(),
                };
                let reply_to = row.get::<_, Option<[u8; 16]>>(3)?.map(MessageId::from_bytes);
                Ok((row.get(0)?, row.get(1)?, Body::Text { text: row.get(2)?, reply_to, attachments }))
            },
        )?;
        if let Some(message) = message {
            return Ok(of(message));
        }
        // Gone from here. The one with which a member's numbers begin says so.
        let begins = sequence == first && matches!(place, Place::Group(_));
        let body = match talk.maker {
            Some(maker) if begins && maker == self.own => self.group_body(talk)?,
            Some(_) if begins && first > 1 => Body::Group { title: String::new(), members: vec![(peer, uint(first))] },
            _ => Body::Delete,
        };
        Ok(of(([0; 16], 0, body)))
    }
}
