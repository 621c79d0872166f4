//! Groups that move with an identity and without their messages. An author's numbers in a group are the same for all members, so a
//! node that has lost count must not use one again: after a move it goes on far behind the last that it knows of, and tells each
//! member where. What others have said is taken from where the backup was made.

use kith_common::chat::{ConversationId, GroupId, MAX_MEMBERS};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::{HERE, LEFT, REMOVED};
use crate::store::{int, peer, uint};
use crate::{Body, GroupPeer, GroupRow, Result, Standing, Store, StoreError};

/// More than anybody says in one group between a backup and its use.
const SAID_SINCE: i64 = 1_000_000;
/// No group has so many that are or were in it; what a file says is not to fill the disk.
const MAX_PEERS: usize = 64 * MAX_MEMBERS;

impl Store {
    /// All groups, those that this node has left among them: it may be asked back.
    pub fn group_rows(&self) -> Result<Vec<GroupRow>> {
        self.snapshot(|store| {
            let groups = store.rows(
                "SELECT key, grp, maker, title, gone, retention_days, hidden, said FROM conversation WHERE grp IS NOT NULL ORDER BY key",
                [],
                |row| {
                    let group = GroupRow {
                        id: GroupId::from_bytes(row.get(1)?),
                        maker: row.get::<_, Option<[u8; 32]>>(2)?.map(PeerId::from_public_key),
                        title: row.get(3)?,
                        standing: match row.get(4)? {
                            HERE => Standing::Member,
                            LEFT => Standing::Left,
                            _ => Standing::Removed,
                        },
                        retention_days: row.get(5)?,
                        hidden: row.get(6)?,
                        said: uint(row.get(7)?),
                        peers: Vec::new(),
                    };
                    Ok((row.get::<_, i64>(0)?, group))
                },
            )?;
            let with_peers = groups.into_iter().map(|(key, group)| {
                let peers = store.rows(
                    "SELECT peer, member, heard FROM link WHERE conversation = ? ORDER BY peer",
                    [key],
                    |row| Ok(GroupPeer { peer: peer(row, 0)?, member: row.get(1)?, heard: uint(row.get(2)?) }),
                )?;
                Ok(GroupRow { peers, ..group })
            });
            with_peers.collect()
        })
    }

    /// Puts a group of a backup into a database that does not have it. Whoever is in it hears at the next meeting where this node's
    /// numbers go on.
    pub fn put_group(&mut self, row: &GroupRow, now_unix_ms: i64) -> Result<()> {
        if row.peers.len() > MAX_PEERS || row.said > uint(i64::MAX / 2) {
            return Err(StoreError::refused(
                FailureKind::InvalidArgument,
                "a group in it is larger than groups can be",
            ));
        }
        self.atomically(|store| {
            if store.talk(ConversationId::Group(row.id))?.is_some() {
                return Err(StoreError::refused(FailureKind::InvalidArgument, "that group is there already"));
            }
            let gone = match row.standing {
                Standing::Member => HERE,
                Standing::Removed => REMOVED,
                Standing::Left => LEFT,
            };
            let cursor = store.next_cursor()?;
            let said = int(row.said) + SAID_SINCE;
            let key: i64 = store.value(
                "INSERT INTO conversation (grp, maker, title, gone, retention_days, hidden, said, sent_to, delivered_to, read_to, cursor)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?7, ?7, ?8) RETURNING key",
                params![
                    row.id.as_bytes(),
                    row.maker.as_ref().map(PeerId::public_key),
                    row.title,
                    gone,
                    row.retention_days,
                    row.hidden,
                    said,
                    cursor
                ],
            )?;
            let mut told = Vec::new();
            for other in row.peers.iter().filter(|other| other.peer != store.own) {
                // Who is no member gets nothing, neither what was said before nor what comes. In a group that this node is not in
                // nobody is: should it be asked back, all of them are new to it, and are told where its numbers go on.
                let member = other.member && gone == HERE;
                store.change(
                    "INSERT OR IGNORE INTO link (conversation, peer, member, first, last, handed, stored, read, heard)
                     VALUES (?1, ?2, ?3, ?4 + 1, iif(?3, NULL, ?4), ?4, ?4, ?4, ?5)",
                    params![key, other.peer.public_key(), member, said, int(other.heard)],
                )?;
                if member {
                    told.push((other.peer, uint(said + 1)));
                }
            }
            // Without this node among the members, so that it says where its numbers go on and nothing of who is in the group: that may
            // have changed since.
            if !told.is_empty() {
                store.append(key, now_unix_ms, &Body::Group { title: String::new(), members: told })?;
            }
            Ok(())
        })
    }
}
