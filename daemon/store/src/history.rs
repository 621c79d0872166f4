//! Messages as they are read: one, a page, what has changed, what has these words.

use kith_common::call::Direction;
use kith_common::chat::{Before, ConversationId, MAX_PAGE, Message, MessageId, Reaction};
use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::conversation::id;
use crate::store::{from_json, int, peer, state, uint};
use crate::{Result, Store};

/// Characters of a message that its answers show.
const REPLY_CHARS: usize = 120;
/// A search has at most so many words, and each at most so many characters; what is beyond is not looked at.
const MAX_WORDS: usize = 16;
const MAX_WORD_CHARS: usize = 64;
/// From so many characters on the last word may be a beginning. The index has the beginnings of two to six characters ready; those of
/// one would be a tenth of all words each, which are too many to be found fast.
const MIN_BEGINNING: usize = 2;
/// Scripts from here on (Thai, Chinese, Japanese and their neighbours) have no spaces between words, which are short: one character is
/// much there, and what people mean is hardly ever the whole of what the index takes for a word.
const WITHOUT_SPACES: char = '\u{0e00}';
/// Goes before a conversation's number in the index of words (see the schema). People's texts may have it too, so hits are checked.
const PLACE_MARK: char = '\u{e000}';

const MESSAGE: &str = "SELECT m.position, m.cursor, m.id, m.author, m.text, m.sent_ms, m.stored_ms, m.state, m.error, m.edited, m.deleted, \
                       m.reply_to, m.attachments, c.peer, c.grp, m.conversation \
                       FROM message m JOIN conversation c ON c.key = m.conversation WHERE m.position > c.erased_to";

impl Store {
    /// A message as the table has it, without what other rows know of it, and the key of its conversation.
    fn bare(&self, row: &Row) -> rusqlite::Result<(Message, i64)> {
        let author = row.get::<_, Option<[u8; 32]>>(3)?.map(PeerId::from_public_key);
        let attachments = match row.get_ref(12)?.as_str_or_null()? {
            Some(text) => from_json(text)?,
            None => Vec::new(),
        };
        let message = Message {
            cursor: uint(row.get(1)?),
            id: MessageId::from_bytes(row.get(2)?),
            conversation: id(row, 13, 14)?,
            author: author.unwrap_or(self.own),
            direction: if author.is_none() { Direction::Outgoing } else { Direction::Incoming },
            text: row.get(4)?,
            sent_unix_ms: row.get(5)?,
            stored_unix_ms: row.get(6)?,
            state: state(row.get(7)?),
            error: row.get(8)?,
            edited: row.get(9)?,
            deleted: row.get(10)?,
            reply_to: row.get::<_, Option<[u8; 16]>>(11)?.map(MessageId::from_bytes),
            reply_text: String::new(),
            reactions: Vec::new(),
            attachments,
            position: uint(row.get(0)?),
        };
        Ok((message, row.get(15)?))
    }

    fn complete(&self, (mut message, conversation): (Message, i64)) -> Result<Message> {
        if let Some(reply_to) = message.reply_to {
            let text: Option<String> = self.row(
                "SELECT text FROM message WHERE id = ? AND +conversation = ? ORDER BY position LIMIT 1",
                params![reply_to.as_bytes(), conversation],
                |row| row.get(0),
            )?;
            message.reply_text = text.map(|text| text.chars().take(REPLY_CHARS).collect()).unwrap_or_default();
        }
        let reactions = self.rows(
            "SELECT emoji, peer FROM reaction WHERE position = ? ORDER BY key",
            [int(message.position)],
            |row| Ok((row.get::<_, String>(0)?, peer(row, 1)?)),
        )?;
        for (emoji, peer) in reactions {
            match message.reactions.iter_mut().find(|reaction| reaction.emoji == emoji) {
                Some(reaction) => reaction.peers.push(peer),
                None => message.reactions.push(Reaction { emoji, peers: vec![peer] }),
            }
        }
        Ok(message)
    }

    fn messages(&self, which: &str, params: impl rusqlite::Params) -> Result<Vec<Message>> {
        let bare = self.rows(&format!("{MESSAGE} AND {which}"), params, |row| self.bare(row))?;
        bare.into_iter().map(|message| self.complete(message)).collect()
    }

    pub(crate) fn read_message(&self, position: i64) -> Result<Option<Message>> {
        Ok(self.messages("m.position = ?", [position])?.pop())
    }

    /// One that this node wrote is meant before one of the same id by another.
    pub fn message(&self, id: MessageId) -> Result<Option<Message>> {
        self.snapshot(|store| {
            let found = store.messages("m.id = ? ORDER BY m.author IS NOT NULL, m.position LIMIT 1", [id.as_bytes()]);
            Ok(found?.pop())
        })
    }

    /// The newest `limit` messages (at most 500) before that position and time, oldest first.
    pub fn history(&self, conversation: ConversationId, before: Before, limit: u32) -> Result<Vec<Message>> {
        self.snapshot(|store| {
            let Some(talk) = store.talk(conversation)? else { return Ok(Vec::new()) };
            let mut end = if before.position == 0 { i64::MAX } else { int(before.position) };
            let mut time = i64::MAX;
            if before.unix_ms != 0 {
                // Clocks are set: the newest of that time need not be the last in position, but none of that time is far behind it.
                time = before.unix_ms;
                let newest: Option<i64> = store.value(
                    "SELECT max(position) FROM (SELECT position FROM message WHERE conversation = ? AND stored_ms < ?
                       ORDER BY stored_ms DESC, position DESC LIMIT 1)",
                    [talk.key, time],
                )?;
                end = end.min(newest.map_or(0, |position| position + 1));
            }
            let mut page = store.messages(
                "m.conversation = ? AND m.position < ? AND +m.stored_ms < ? ORDER BY m.position DESC LIMIT ?",
                params![talk.key, end, time, limit.min(MAX_PAGE)],
            )?;
            page.reverse();
            Ok(page)
        })
    }

    /// Messages that have changed after that cursor, in the order of their changes, and the cursor to go on from.
    pub fn changed_after(&self, cursor: u64, limit: u32) -> Result<(Vec<Message>, u64)> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.snapshot(|store| {
            let page = store.messages("m.cursor > ? ORDER BY m.cursor LIMIT ?", params![int(cursor), limit])?;
            let last = match page.last() {
                Some(last) if page.len() == limit as usize => last.cursor,
                _ => store.cursor()?.max(cursor),
            };
            Ok((page, last))
        })
    }

    /// Messages with all these words, the last of which may be a beginning; newest first, at most 500. Position 0: the end.
    pub fn search(
        &self,
        text: &str,
        conversation: Option<ConversationId>,
        before_position: u64,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let Some(mut query) = query(text) else { return Ok(Vec::new()) };
        let before = if before_position == 0 { i64::MAX } else { int(before_position) };
        let limit = limit.min(MAX_PAGE) as usize;
        self.snapshot(|store| {
            let mut only = None;
            if let Some(conversation) = conversation {
                let Some(talk) = store.talk(conversation)? else { return Ok(Vec::new()) };
                query = format!("\"{PLACE_MARK}{}\" AND {query}", talk.key);
                only = Some(talk.id);
            }
            let mut statement = store
                .conn
                .prepare_cached("SELECT rowid FROM words WHERE words MATCH ? AND rowid < ? ORDER BY rowid DESC")?;
            let mut rows = statement.query(params![query, before])?;
            let mut hits = Vec::new();
            while hits.len() < limit
                && let Some(row) = rows.next()?
            {
                let hit = store.read_message(row.get(0)?)?;
                hits.extend(hit.filter(|hit| only.is_none_or(|only| hit.conversation == only)));
            }
            Ok(hits)
        })
    }
}

/// Every word quoted, so that nothing in it is syntax. `None`: there is no word in it.
fn query(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c == '"' || c.is_control())
        .map(|word| word.chars().filter(|&c| !is_private(c)).take(MAX_WORD_CHARS).collect::<String>())
        .filter(|word| word.contains(char::is_alphanumeric))
        .take(MAX_WORDS)
        .collect();
    let last = words.last()?;
    // A word and a space is a whole word.
    let short = last.chars().count() < MIN_BEGINNING && last.chars().all(|c| c < WITHOUT_SPACES);
    let whole = text.ends_with(char::is_whitespace) || short;
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("{}{}", quoted.join(" AND "), if whole { "" } else { "*" }))
}

/// Which people do not write, and the index would take for a letter.
fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_never_syntax() {
        assert_eq!(query("two words").as_deref(), Some(r#""two" AND "words"*"#));
        assert_eq!(
            query(r#"a"b OR NOT NEAR( text:x ^y"#).as_deref(),
            Some(r#""a" AND "b" AND "OR" AND "NOT" AND "NEAR(" AND "text:x" AND "^y"*"#)
        );
        assert_eq!(query("\u{e000}12 🙂 --- \0"), Some(r#""12"*"#.to_owned()));
        assert_eq!(query("whole word ").as_deref(), Some(r#""whole" AND "word""#));
        assert_eq!(query("a b").as_deref(), Some(r#""a" AND "b""#));
        assert_eq!(query("a \u{e9}").as_deref(), Some("\"a\" AND \"\u{e9}\""), "a letter, however many bytes it has");
        assert_eq!(query("a be").as_deref(), Some(r#""a" AND "be"*"#));
        assert_eq!(query("\u{5c71}").as_deref(), Some("\"\u{5c71}\"*"));
        assert_eq!(query(" \" * "), None);
    }
}
