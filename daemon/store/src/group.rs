//! Groups. The one who made a group says who is in it; everybody else follows that, and may leave. A new member gets nothing that was
//! said before: each author begins a new link with it at the author's next number, and an author that has spoken already says
//! so in an entry of its own, by which the new member knows where to start.

use kith_common::chat::{Conversation, ConversationId, GroupId, MAX_MEMBERS, MAX_TITLE_CHARS};
use kith_common::failure::FailureKind;
use kith_common::ids::PeerId;
use rusqlite::params;

use crate::conversation::{HERE, LEFT, REMOVED, Talk, not_found};
use crate::store::{int, json, peer, uint};
use crate::{Body, Result, Store, StoreError, StoreGroupChange};

impl Store {
    /// Made by this node, which is a member and need not be named.
    pub fn new_group(
        &mut self,
        id: GroupId,
        title: &str,
        members: &[PeerId],
        now_unix_ms: i64,
    ) -> Result<Conversation> {
        check_title(title)?;
        self.atomically(|store| {
            if store.talk(ConversationId::Group(id))?.is_some() {
                return Err(StoreError::refused(FailureKind::InvalidArgument, "that group is there already"));
            }
            let talk = store.meet_group(id, store.own)?;
            store.change("UPDATE conversation SET title = ? WHERE key = ?", params![title, talk.key])?;
            for member in members {
                store.join(talk.key, *member)?;
            }
            store.tell_group(&talk, now_unix_ms)?;
            store.read_conversation(talk.key)
        })
    }

    /// All but leaving is for the one who made the group.
    pub fn change_group(&mut self, id: GroupId, change: StoreGroupChange, now_unix_ms: i64) -> Result<Conversation> {
        self.atomically(|store| {
            let id = ConversationId::Group(id);
            let talk = store.talk(id)?.ok_or_else(|| not_found(id))?;
            if talk.gone != HERE {
                return Err(StoreError::refused(FailureKind::NotPermitted, "this node is not in that group any more"));
            }
            if change != StoreGroupChange::Leave && talk.maker != Some(store.own) {
                let message = "only the one who made a group can change it";
                return Err(StoreError::refused(FailureKind::NotPermitted, message));
            }
            match change {
                StoreGroupChange::Title(title) => {
                    check_title(&title)?;
                    store.change("UPDATE conversation SET title = ? WHERE key = ?", params![title, talk.key])?;
                    store.tell_group(&talk, now_unix_ms)?;
                }
                StoreGroupChange::Add(peers) => {
                    for peer in peers {
                        store.join(talk.key, peer)?;
                    }
                    store.tell_group(&talk, now_unix_ms)?;
                }
                StoreGroupChange::Remove(peers) => {
                    // The removed are told as well: the next entry is their last.
                    for peer in peers {
                        if peer == store.own {
                            let failure =
                                StoreError::refused(FailureKind::InvalidArgument, "to go oneself is to leave");
                            return Err(failure);
                        }
                        store.part(talk.key, peer, talk.said + 1)?;
                    }
                    store.tell_group(&talk, now_unix_ms)?;
                }
                StoreGroupChange::Leave => {
                    store.append(talk.key, now_unix_ms, &Body::Leave)?;
                    store.change("UPDATE conversation SET gone = ? WHERE key = ?", [LEFT, talk.key])?;
                    store.touch(talk.key)?;
                }
            }
            store.read_conversation(talk.key)
        })
    }

    pub(crate) fn meet_group(&self, id: GroupId, maker: PeerId) -> Result<Talk> {
        self.change("INSERT INTO conversation (grp, maker) VALUES (?, ?)", params![id.as_bytes(), maker.public_key()])?;
        let id = ConversationId::Group(id);
        let talk = self.talk(id)?.ok_or_else(|| not_found(id))?;
        self.join(talk.key, maker)?;
        Ok(talk)
    }

    /// The group as its maker, this node, has it, to all members.
    fn tell_group(&self, talk: &Talk, now: i64) -> Result<()> {
        let others: i64 = self.value("SELECT count(*) FROM link WHERE conversation = ? AND member = 1", [talk.key])?;
        if others + 1 > int(MAX_MEMBERS as u64) {
            let message = format!("a group has at most {MAX_MEMBERS} members");
            return Err(StoreError::refused(FailureKind::InvalidArgument, message));
        }
        self.append(talk.key, now, &self.group_body(talk)?)?;
        self.update_states(talk.key)?;
        self.touch(talk.key)
    }

    pub(crate) fn group_body(&self, talk: &Talk) -> Result<Body> {
        let title = self.value("SELECT title FROM conversation WHERE key = ?", [talk.key])?;
        let mut members = self.rows(
            "SELECT peer, first FROM link WHERE conversation = ? AND member = 1 ORDER BY peer",
            [talk.key],
            |row| Ok((peer(row, 0)?, uint(row.get(1)?))),
        )?;
        members.push((self.own, 1));
        members.sort_unstable();
        Ok(Body::Group { title, members })
    }

    /// Makes a peer a member: it gets what is said from here on. Whether it was none.
    fn join(&self, talk: i64, peer: PeerId) -> Result<bool> {
        if peer == self.own {
            return Ok(false);
        }
        let key = peer.public_key();
        if self.is_member(talk, peer)? {
            return Ok(false);
        }
        let new = self.change("INSERT OR IGNORE INTO link (conversation, peer) VALUES (?, ?)", params![talk, key])?;
        self.change(
            "UPDATE link SET member = 1, again = ?3, last = NULL, given_up = 0, first = said + 1, handed = max(handed, said),
               stored = max(stored, said), read = max(read, said)
             FROM (SELECT said FROM conversation WHERE key = ?1) WHERE conversation = ?1 AND peer = ?2",
            params![talk, key, new == 0],
        )?;
        Ok(true)
    }

    /// A member no longer, which gets this node's entries up to that number.
    fn part(&self, talk: i64, peer: PeerId, last: i64) -> Result<()> {
        self.change(
            "UPDATE link SET member = 0, last = ? WHERE conversation = ? AND peer = ? AND member = 1",
            params![last, talk, peer.public_key()],
        )?;
        Ok(())
    }

    /// The maker, another node, has said who is in the group.
    pub(crate) fn apply_group(&self, talk: &Talk, title: &str, members: &[(PeerId, u64)], now: i64) -> Result<()> {
        let gone = if members.iter().any(|(peer, _)| *peer == self.own) { HERE } else { REMOVED };
        self.change("UPDATE conversation SET title = ?, gone = ? WHERE key = ?", params![title, gone, talk.key])?;
        self.touch(talk.key)?;
        if gone != HERE {
            return Ok(());
        }
        if talk.gone == LEFT {
            // Who has not heard yet that this node had left must not hear it after its return.
            self.change(
                "DELETE FROM entry WHERE conversation = ? AND body = ?",
                params![talk.key, json(&Body::Leave)],
            )?;
        }
        let said: i64 = self.value("SELECT said FROM conversation WHERE key = ?", [talk.key])?;
        for peer in self.members(talk.key)? {
            if !members.iter().any(|(member, _)| *member == peer) {
                self.part(talk.key, peer, said)?;
            }
        }
        let mut new = Vec::new();
        for (peer, _) in members {
            if self.join(talk.key, *peer)? {
                new.push((*peer, uint(said + 1)));
            }
        }
        if said > 0 && !new.is_empty() {
            self.append(talk.key, now, &Body::Group { title: String::new(), members: new })?;
        }
        self.update_states(talk.key)
    }

    pub(crate) fn member_left(&self, talk: &Talk, peer: PeerId, now: i64) -> Result<()> {
        let said: i64 = self.value("SELECT said FROM conversation WHERE key = ?", [talk.key])?;
        if talk.maker == Some(self.own) && talk.gone == HERE {
            // Whoever hears an older word of ours only now must not take the peer for a member; it itself might, if it was added anew
            // before this.
            self.part(talk.key, peer, said + 1)?;
            return self.tell_group(talk, now);
        }
        let old = self.change(
            "UPDATE link SET again = 0 WHERE conversation = ? AND peer = ? AND again = 1",
            params![talk.key, peer.public_key()],
        )?;
        if old > 0 {
            // Perhaps from before it was added anew. If it has left since, the maker will say so.
            return Ok(());
        }
        self.part(talk.key, peer, said)?;
        self.update_states(talk.key)?;
        self.touch(talk.key)
    }
}

fn check_title(title: &str) -> Result<()> {
    if title.chars().count() > MAX_TITLE_CHARS {
        let message = format!("a title has at most {MAX_TITLE_CHARS} characters");
        return Err(StoreError::refused(FailureKind::InvalidArgument, message));
    }
    Ok(())
}
