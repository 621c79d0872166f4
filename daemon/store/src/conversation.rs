//! Conversations: found, made, listed.

use kith_common::chat::{Conversation, ConversationId, GroupId};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use rusqlite::{Row, params};

use crate::store::{peer, uint};
use crate::{Place, Result, Store, StoreError};

/// This node is in the group.
pub(crate) const HERE: i64 = 0;
pub(crate) const REMOVED: i64 = 1;
pub(crate) const LEFT: i64 = 2;

/// A row of the table `conversation`, as far as the rules need it.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub key: i64,
    pub id: ConversationId,
    pub maker: Option<PeerId>,
    pub said: i64,
    pub gone: i64,
    pub seen: i64,
    pub erased_to: i64,
}

const TALK: &str = "key, peer, grp, maker, said, gone, seen, erased_to";

fn talk(row: &Row) -> rusqlite::Result<Talk> {
    Ok(Talk {
        key: row.get(0)?,
        id: id(row, 1, 2)?,
        maker: row.get::<_, Option<[u8; 32]>>(3)?.map(PeerId::from_public_key),
        said: row.get(4)?,
        gone: row.get(5)?,
        seen: row.get(6)?,
        erased_to: row.get(7)?,
    })
}

/// From the columns `peer` and `grp`.
pub(crate) fn id(row: &Row, peer_column: usize, group_column: usize) -> rusqlite::Result<ConversationId> {
    Ok(match row.get::<_, Option<[u8; 16]>>(group_column)? {
        Some(group) => ConversationId::Group(GroupId::from_bytes(group)),
        None => ConversationId::Peer(peer(row, peer_column)?),
    })
}

impl Talk {
    pub(crate) fn place(&self) -> Place {
        match self.id {
            ConversationId::Peer(_) => Place::Direct,
            ConversationId::Group(group) => Place::Group(group),
        }
    }
}

/// The conversation behind a place in the link with that peer.
pub(crate) fn at(peer: PeerId, place: Place) -> ConversationId {
    match place {
        Place::Direct => ConversationId::Peer(peer),
        Place::Group(group) => ConversationId::Group(group),
    }
}

pub(crate) fn not_found(id: ConversationId) -> StoreError {
    StoreError::refused(
        FailureKind::NotFound,
        match id {
            ConversationId::Peer(peer) => format!("there is no conversation with {}", peer.short()),
            ConversationId::Group(group) => format!("there is no group {group}"),
        },
    )
}

impl Store {
    pub(crate) fn talk(&self, id: ConversationId) -> Result<Option<Talk>> {
        match id {
            ConversationId::Peer(peer) => self.row(
                &format!("SELECT {TALK} FROM conversation WHERE peer = ?"),
                [peer.public_key().as_slice()],
                talk,
            ),
            ConversationId::Group(group) => {
                self.row(&format!("SELECT {TALK} FROM conversation WHERE grp = ?"), [group.as_bytes().as_slice()], talk)
            }
        }
    }

    /// A conversation with a peer is there as soon as it is needed; a group must be.
    pub(crate) fn ensure_talk(&self, id: ConversationId) -> Result<Talk> {
        if let Some(talk) = self.talk(id)? {
            return Ok(talk);
        }
        let ConversationId::Peer(peer) = id else { return Err(not_found(id)) };
        if peer == self.own {
            return Err(StoreError::refused(FailureKind::InvalidArgument, "that is this node itself"));
        }
        self.change("INSERT INTO conversation (peer, hidden) VALUES (?, 1)", [peer.public_key()])?;
        let talk = self.talk(id)?.ok_or_else(|| not_found(id))?;
        self.change("INSERT INTO link (conversation, peer) VALUES (?, ?)", params![talk.key, peer.public_key()])?;
        Ok(talk)
    }

    /// Something about it has changed. With a new message it is shown again after it was deleted.
    pub(crate) fn touch(&self, key: i64) -> Result<()> {
        let cursor = self.next_cursor()?;
        self.change("UPDATE conversation SET cursor = ? WHERE key = ?", [cursor, key])?;
        Ok(())
    }

    pub(crate) fn touch_peer(&self, peer: PeerId) -> Result<()> {
        match self.talk(ConversationId::Peer(peer))? {
            Some(talk) => self.touch(talk.key),
            None => Ok(()),
        }
    }

    /// The one with the newest message first.
    pub fn conversations(&self) -> Result<Vec<Conversation>> {
        self.snapshot(|store| {
            let keys: Vec<i64> = store.rows(
                "SELECT key FROM conversation WHERE hidden = 0 ORDER BY coalesce(
                   (SELECT max(position) FROM message WHERE conversation = conversation.key), cursor) DESC",
                [],
                |row| row.get(0),
            )?;
            keys.into_iter().map(|key| store.read_conversation(key)).collect()
        })
    }

    /// The groups that this node is in, those that are deleted here among them (a new message shows them again), with the other
    /// members.
    pub fn groups(&self) -> Result<Vec<(GroupId, Vec<PeerId>)>> {
        self.snapshot(|store| {
            let here = store.rows(
                "SELECT key, grp FROM conversation WHERE grp IS NOT NULL AND gone = ? ORDER BY grp",
                [HERE],
                |row| Ok((row.get::<_, i64>(0)?, GroupId::from_bytes(row.get(1)?))),
            )?;
            here.into_iter().map(|(key, id)| Ok((id, store.members(key)?))).collect()
        })
    }

    pub fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>> {
        self.snapshot(|store| {
            let key = store.talk(id)?.map(|talk| talk.key);
            let shown = match key {
                Some(key) => !store.value::<bool>("SELECT hidden FROM conversation WHERE key = ?", [key])?,
                None => false,
            };
            key.filter(|_| shown).map(|key| store.read_conversation(key)).transpose()
        })
    }

    pub(crate) fn read_conversation(&self, key: i64) -> Result<Conversation> {
        let (mut conversation, gone, erased_to) = self.conn.prepare_cached(
            "SELECT peer, grp, title, unread, retention_days, gone, cursor, erased_to FROM conversation WHERE key = ?",
        )?.query_row([key], |row| {
            let conversation = Conversation {
                id: id(row, 0, 1)?,
                title: row.get(2)?,
                members: Vec::new(),
                unread: row.get(3)?,
                last: None,
                retention_days: row.get(4)?,
                left: row.get::<_, i64>(5)? != HERE,
                cursor: uint(row.get(6)?),
            };
            Ok((conversation, row.get::<_, i64>(5)?, row.get::<_, i64>(7)?))
        })?;
        match conversation.id {
            ConversationId::Peer(peer) => {
                conversation.title = match self.contact(peer)? {
                    Some(contact) if !contact.name.is_empty() => contact.name,
                    Some(contact) if !contact.own_name.is_empty() => contact.own_name,
                    _ => peer.short(),
                };
                conversation.members = vec![peer];
            }
            ConversationId::Group(_) => {
                conversation.members = self.members(key)?;
                if gone == HERE {
                    conversation.members.push(self.own);
                }
                conversation.members.sort_unstable();
            }
        }
        let last: Option<i64> =
            self.value("SELECT max(position) FROM message WHERE conversation = ? AND position > ?", [key, erased_to])?;
        conversation.last = last.map(|position| self.read_message(position)).transpose()?.flatten();
        Ok(conversation)
    }

    /// The other members.
    pub(crate) fn members(&self, key: i64) -> Result<Vec<PeerId>> {
        self.rows("SELECT peer FROM link WHERE conversation = ? AND member = 1 ORDER BY peer", [key], |row| {
            peer(row, 0)
        })
    }
}
