//! The database as those see it who use it: exactly once, nothing forgotten, nothing lost silently.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod calls;
mod database;
mod exactly_once;
mod files;
mod groups;
mod model;
mod reading;
mod shares;
mod states;

use kith_common::chat::{Before, ConversationId, GroupId, Message, MessageId};
use kith_common::ids::PeerId;
use kith_store::{Body, Entry, Heard, Place, Store};

pub const NOW: i64 = 1_700_000_000_000;

pub fn peer(number: u8) -> PeerId {
    PeerId::from_public_key([number; 32])
}

pub fn with(number: u8) -> ConversationId {
    ConversationId::Peer(peer(number))
}

pub fn id(number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(bytes)
}

pub fn group(number: u8) -> GroupId {
    GroupId::from_bytes([number; 16])
}

pub fn text(text: &str) -> Body {
    Body::Text { text: text.into(), reply_to: None, attachments: Vec::new() }
}

pub fn store(number: u8) -> Store {
    Store::in_memory(peer(number)).unwrap()
}

pub fn entry(sequence: u64, body: Body) -> Entry {
    Entry { place: Place::Direct, sequence, id: id(sequence), sent_unix_ms: NOW, body }
}

pub fn said(sequence: u64) -> Entry {
    entry(sequence, text(&format!("message {sequence}")))
}

pub fn all(store: &Store, conversation: ConversationId) -> Vec<Message> {
    let mut pages = Vec::new();
    let mut before = Before::default();
    loop {
        let page = store.history(conversation, before, 7).unwrap();
        let Some(first) = page.first() else { break };
        before.position = first.position;
        pages.push(page);
    }
    pages.into_iter().rev().flatten().collect()
}

pub fn texts(store: &Store, conversation: ConversationId) -> Vec<String> {
    all(store, conversation).into_iter().map(|message| message.text).collect()
}

/// What one has for the other is told and acknowledged, once in each place.
pub fn tell(from: &mut Store, to: &mut Store) -> Vec<Heard> {
    let mut told = Vec::new();
    for (place, has, _) in from.owed(to.own()).unwrap() {
        let entries = from.entries_for(to.own(), place, has, 1_000).unwrap();
        let heard = to.hear(from.own(), entries, NOW).unwrap();
        for (place, mark) in &heard.stored {
            from.peer_stored(to.own(), *place, *mark).unwrap();
        }
        told.push(heard);
    }
    told
}
