//! What peers say: stored in order, each entry exactly once.

use kith_common::chat::{ConversationId, MessageId};
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::{HERE, LEFT, Talk, at};
use crate::say::{NewRow, fits};
use crate::store::{DELIVERED, int, uint};
use crate::{Body, Entry, Heard, Place, Refusal, Result, Store};

/// Why an entry changes nothing further: it is refused, or is not the next one.
enum Stop {
    Refused(Refusal),
    Gap,
}

impl Store {
    /// Stores those of a peer's entries that are next in their places. The others were stored before, or come again after those
    /// between them.
    pub fn hear(&mut self, author: PeerId, mut entries: Vec<Entry>, now_unix_ms: i64) -> Result<Heard> {
        entries.sort_by_key(|entry| (entry.place, entry.sequence));
        self.atomically(|store| {
            let mut heard = Heard::default();
            let mut positions = Vec::new();
            for entries in entries.chunk_by(|a, b| a.place == b.place) {
                store.hear_place(author, entries, now_unix_ms, &mut heard, &mut positions)?;
            }
            for position in positions {
                heard.new_messages.extend(store.read_message(position)?);
            }
            Ok(heard)
        })
    }

    fn hear_place(
        &self,
        author: PeerId,
        entries: &[Entry],
        now: i64,
        heard: &mut Heard,
        positions: &mut Vec<i64>,
    ) -> Result<()> {
        let place = entries[0].place;
        let mut talk = match place {
            Place::Direct => Some(self.ensure_talk(ConversationId::Peer(author))?),
            Place::Group(_) => self.talk(at(author, place))?,
        };
        let mut mark = match &talk {
            Some(talk) => self.heard_up_to(talk.key, author)?,
            None => 0,
        };
        for entry in entries {
            let sequence = int(entry.sequence);
            if sequence <= mark {
                continue;
            }
            match self.hear_entry(&mut talk, author, mark, entry, now)? {
                Ok(position) => {
                    positions.extend(position);
                    mark = sequence;
                }
                Err(Stop::Gap) => break,
                Err(Stop::Refused(refusal)) => {
                    heard.refused.push((place, entry.sequence, refusal));
                    break;
                }
            }
        }
        if let Some(talk) = talk {
            self.change(
                "UPDATE link SET heard = max(heard, ?) WHERE conversation = ? AND peer = ?",
                params![mark, talk.key, author.public_key()],
            )?;
        }
        heard.stored.push((place, uint(mark)));
        Ok(())
    }

    fn heard_up_to(&self, talk: i64, author: PeerId) -> Result<i64> {
        let heard = self.row(
            "SELECT heard FROM link WHERE conversation = ? AND peer = ?",
            params![talk, author.public_key()],
            |row| row.get(0),
        )?;
        Ok(heard.unwrap_or(0))
    }

    /// The position of the message that it makes.
    fn hear_entry(
        &self,
        talk: &mut Option<Talk>,
        author: PeerId,
        mark: i64,
        entry: &Entry,
        now: i64,
    ) -> Result<Result<Option<i64>, Stop>> {
        let sequence = int(entry.sequence);
        if !fits(&entry.body) {
            return Ok(Err(Stop::Refused(Refusal::TooLarge)));
        }
        // The numbers of a member's author begin where the author says: what was before is not for this node.
        let begins = entry.place != Place::Direct
            && matches!(&entry.body, Body::Group { members, .. } if members.contains(&(self.own, entry.sequence)));
        if sequence != mark + 1 && !begins {
            return Ok(Err(if talk.is_none() { Stop::Refused(Refusal::UnknownGroup) } else { Stop::Gap }));
        }
        if let Place::Group(group) = entry.place {
            let whole = match &entry.body {
                Body::Group { members, .. } => members.iter().any(|(peer, _)| *peer == author),
                _ => false,
            };
            match talk {
                None => {
                    let for_us = matches!(&entry.body, Body::Group { members, .. } if members.iter().any(|(peer, _)| *peer == self.own));
                    if !whole || !for_us {
                        return Ok(Err(Stop::Refused(Refusal::UnknownGroup)));
                    }
                    *talk = Some(self.meet_group(group, author)?);
                }
                Some(known) => {
                    let from_maker = whole && known.maker == Some(author);
                    if !from_maker && (known.gone != HERE || !self.is_member(known.key, author)?) {
                        return Ok(Err(Stop::Refused(Refusal::NotMember)));
                    }
                }
            }
        }
        let Some(talk) = talk else { return Ok(Err(Stop::Refused(Refusal::UnknownGroup))) };
        let mut position = None;
        match &entry.body {
            Body::Text { text, reply_to, attachments } => {
                if !self.knows(entry.id, author)? {
                    position = Some(self.add_row(&NewRow {
                        talk: talk.key,
                        id: entry.id,
                        author: Some(author),
                        sequence,
                        sent_ms: entry.sent_unix_ms,
                        stored_ms: now,
                        state: DELIVERED,
                        text,
                        reply_to: *reply_to,
                        attachments,
                    })?);
                }
            }
            Body::Edit(text) => {
                if let Some((position, _)) = self.find(talk.key, entry.id, Some(Some(author)))? {
                    self.edit_row(talk.key, position, text)?;
                }
            }
            Body::Delete => {
                if let Some((position, _)) = self.find(talk.key, entry.id, Some(Some(author)))? {
                    self.clear_row(talk.key, position)?;
                }
            }
            Body::React { emoji, on } => {
                if let Some((position, _)) = self.find(talk.key, entry.id, None)? {
                    self.react(talk.key, position, author, emoji, *on)?;
                }
            }
            Body::Group { title, members } => {
                if talk.maker == Some(author) && members.iter().any(|(peer, _)| *peer == author) {
                    let rejoins = talk.gone != LEFT || begins;
                    if rejoins {
                        self.apply_group(talk, title, members, now)?;
                        talk.gone = self.value("SELECT gone FROM conversation WHERE key = ?", [talk.key])?;
                    }
                }
            }
            Body::Leave => {
                if matches!(entry.place, Place::Group(_)) {
                    self.member_left(talk, author, now)?;
                }
            }
        }
        Ok(Ok(position))
    }

    /// A message of that author, deleted ones too: it may come again from an author that has lost its numbers.
    fn knows(&self, id: MessageId, author: PeerId) -> Result<bool> {
        self.value(
            "SELECT EXISTS (SELECT 1 FROM message WHERE id = ? AND author = ?)",
            params![id.as_bytes(), author.public_key()],
        )
    }

    pub(crate) fn is_member(&self, talk: i64, peer: PeerId) -> Result<bool> {
        self.value(
            "SELECT EXISTS (SELECT 1 FROM link WHERE conversation = ? AND peer = ? AND member = 1)",
            params![talk, peer.public_key()],
        )
    }

    /// What is stored here of that peer's entries.
    pub fn heard_marks(&self, peer: PeerId) -> Result<Vec<(Place, u64)>> {
        self.link_marks("heard", peer)
    }

    /// What a person here has read of that peer's entries.
    pub fn read_marks(&self, peer: PeerId) -> Result<Vec<(Place, u64)>> {
        self.link_marks("seen", peer)
    }
}
