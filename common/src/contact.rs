//! The people of a node, as clients see them; the units and meanings stand in `schema/contact.capnp`.

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;

/// The longest name of a contact, in characters.
pub const MAX_NAME_CHARS: usize = 64;
/// The longest text of a request, in characters.
pub const MAX_REQUEST_CHARS: usize = 280;
/// The longest note on a contact, in characters.
pub const MAX_NOTE_CHARS: usize = 4096;

/// What a contact may do unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    Never,
    Ask,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    Offline,
    Online,
    Away,
    InCall,
}

/// What trust is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    Calls,
    Files,
    Relay,
}

/// One contact; the names are part of the promise in the command line's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contact {
    pub peer_id: PeerId,
    /// Given by the user of this node.
    pub name: String,
    /// What the peer calls itself; not verified.
    pub own_name: String,
    pub note: String,
    /// 0xRRGGBB
    pub colour: u32,
    pub presence: Presence,
    /// 0: never.
    pub last_seen_unix_ms: i64,
    /// For calls; the two below for the rest.
    #[serde(rename = "trust")]
    pub calls: Trust,
    #[serde(rename = "trust_files")]
    pub files: Trust,
    #[serde(rename = "trust_relay")]
    pub relay: Trust,
    pub verified: bool,
    pub blocked: bool,
    pub added_unix_ms: i64,
    /// The peer has this node among its contacts as well.
    pub mutual: bool,
}

impl Contact {
    /// One that was never seen, and may do nothing without being asked about.
    pub fn new(peer_id: PeerId, name: impl Into<String>) -> Self {
        Self {
            peer_id,
            name: name.into(),
            own_name: String::new(),
            note: String::new(),
            colour: 0,
            presence: Presence::Offline,
            last_seen_unix_ms: 0,
            calls: Trust::Ask,
            files: Trust::Ask,
            relay: Trust::Ask,
            verified: false,
            blocked: false,
            added_unix_ms: 0,
            mutual: false,
        }
    }
}

/// A stranger who wants to be a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContactRequest {
    pub peer_id: PeerId,
    pub name: String,
    pub text: String,
    pub received_unix_ms: i64,
}

/// Contacts by name, requests with the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    pub contacts: Vec<Contact>,
    pub requests: Vec<ContactRequest>,
    pub own: Presence,
}

impl Default for People {
    fn default() -> Self {
        Self { contacts: Vec::new(), requests: Vec::new(), own: Presence::Online }
    }
}

/// What is to be another; `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactChange {
    pub name: Option<String>,
    pub note: Option<String>,
    pub colour: Option<u32>,
    pub verified: Option<bool>,
}

/// The same on both machines, made from both public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SafetyNumber {
    /// Sixty digits in twelve groups of five.
    pub digits: String,
    /// Eight.
    pub emoji: Vec<String>,
}
