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

    /// The peer does not take what was said to it alone from that number on: nobody has it, so it is queued, with the reason, and
    /// stays so through further tries until the peer has stored it.
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
                store.change(
                    "UPDATE message SET state = ?, error = ? WHERE position = ?",
                    params![QUEUED, reason, position],
                )?;
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

#[cfg(test)]
mod tests {
    use kith_common::chat::{Before, Message, MessageId, MessageState};
    use kith_common::contact::Trust;

    use super::*;
    use crate::{Body, ContactRow};

    const OTHER: PeerId = PeerId::from_public_key([2; 32]);
    const WITH: ConversationId = ConversationId::Peer(OTHER);

    fn said(messages: u8) -> Store {
        let mut store = Store::in_memory(PeerId::from_public_key([1; 32])).expect("memory has room");
        for n in 1..=messages {
            let body = Body::Text { text: n.to_string(), reply_to: None, attachments: Vec::new() };
            store.say(WITH, MessageId::from_bytes([n; 16]), body, 1).expect("memory has room");
        }
        store
    }

    fn numbers(store: &Store, after: u64) -> Vec<(u64, u8)> {
        let entries = store.entries_for(OTHER, Place::Direct, after, 200).expect("it can be read");
        entries.iter().map(|entry| (entry.sequence, entry.id.as_bytes()[0])).collect()
    }

    fn history(store: &Store) -> Vec<Message> {
        store.history(WITH, Before::default(), 200).expect("it can be read")
    }

    #[test]
    fn what_waits_goes_behind_what_the_peer_has_of_a_database_that_is_lost() {
        // Fewer than the peer has, and more.
        for waiting in [3, 60] {
            let mut store = said(waiting);
            store.peer_has(OTHER, Place::Direct, 50).expect("memory has room");
            let wanted: Vec<(u64, u8)> = (1..=waiting).map(|n| (50 + u64::from(n), n)).collect();
            assert_eq!(numbers(&store, 50), wanted);
            assert!(history(&store).iter().all(|message| message.state == MessageState::Queued));
            assert_eq!(store.owed(OTHER).expect("it can be read"), [(Place::Direct, 50, 50 + u64::from(waiting))]);
            store.peer_stored(OTHER, Place::Direct, 50 + u64::from(waiting)).expect("memory has room");
            assert!(history(&store).iter().all(|message| message.state == MessageState::Delivered));
        }
    }

    #[test]
    fn a_peer_that_has_what_it_was_handed_changes_no_numbers() {
        let mut store = said(5);
        store.handed(OTHER, Place::Direct, 4).expect("memory has room");
        store.peer_has(OTHER, Place::Direct, 3).expect("memory has room");
        assert_eq!(numbers(&store, 3), [(4, 4), (5, 5)]);
        store.peer_has(OTHER, Place::Direct, 5).expect("memory has room");
        assert_eq!(numbers(&store, 5), []);
        assert!(history(&store).iter().all(|message| message.state == MessageState::Delivered));
    }

    #[test]
    fn what_is_not_taken_is_queued_with_the_reason_until_it_is() {
        let mut store = said(3);
        store.handed(OTHER, Place::Direct, 3).expect("memory has room");
        store.peer_stored(OTHER, Place::Direct, 1).expect("memory has room");
        store.not_taken(OTHER, 2, "not accepted yet").expect("memory has room");
        let states = |store: &Store| -> Vec<(MessageState, String)> {
            history(store).into_iter().map(|message| (message.state, message.error)).collect()
        };
        let waiting = (MessageState::Queued, "not accepted yet".to_owned());
        assert_eq!(states(&store), [(MessageState::Delivered, String::new()), waiting.clone(), waiting.clone()]);
        // Tried again, and refused again: those who watch see nothing of it.
        let cursor = store.cursor().expect("it can be read");
        for _ in 0..3 {
            store.handed(OTHER, Place::Direct, 3).expect("memory has room");
            assert_eq!(states(&store)[1..], [waiting.clone(), waiting.clone()]);
            store.not_taken(OTHER, 2, "not accepted yet").expect("memory has room");
        }
        assert_eq!(store.cursor().expect("it can be read"), cursor);
        // A contact of both keeps one of them, which is then under way.
        store.kept(OTHER, Place::Direct, 2).expect("memory has room");
        assert_eq!(states(&store)[1..], [(MessageState::Sent, String::new()), waiting]);
        store.peer_stored(OTHER, Place::Direct, 3).expect("memory has room");
        let delivered = (MessageState::Delivered, String::new());
        assert_eq!(states(&store), [delivered.clone(), delivered.clone(), delivered]);
    }

    #[test]
    fn what_was_handed_to_somebody_who_has_not_accepted_is_not_sent() {
        let mut store = said(2);
        let mut other = ContactRow {
            peer: OTHER,
            name: "Ben".into(),
            own_name: String::new(),
            note: String::new(),
            colour: 0,
            calls: Trust::Ask,
            files: Trust::Ask,
            relay: Trust::Ask,
            verified: false,
            mutual: false,
            addresses: Vec::new(),
            last_seen_unix_ms: 0,
            added_unix_ms: 0,
            asked: true,
            request_text: String::new(),
        };
        store.put_contact(&other).expect("memory has room");
        store.handed(OTHER, Place::Direct, 1).expect("memory has room");
        assert!(history(&store).iter().all(|message| message.state == MessageState::Queued));
        other.mutual = true;
        store.put_contact(&other).expect("memory has room");
        store.handed(OTHER, Place::Direct, 2).expect("memory has room");
        assert!(history(&store).iter().all(|message| message.state == MessageState::Sent));
    }
}
