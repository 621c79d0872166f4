//! Messages and conversations, as clients see them; the meanings stand in `schema/chat.capnp`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call::Direction;
use crate::hex::hex_id;
use crate::ids::PeerId;

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Attachments of one message.
pub const MAX_ATTACHMENTS: usize = 16;
/// Members of a group, its author included.
pub const MAX_MEMBERS: usize = 32;
/// The longest title of a group, in characters.
pub const MAX_TITLE_CHARS: usize = 64;
/// The longest reaction, in bytes: one emoji with all its joiners.
pub const MAX_EMOJI_BYTES: usize = 64;
/// Messages in one answer or report.
pub const MAX_PAGE: u32 = 500;

hex_id! {
    /// One message, the same on all machines; drawn by its author.
    MessageId, 16, ParseIdError
}
hex_id! {
    /// One group, the same on all machines; drawn by the member that made it.
    GroupId, 16, ParseIdError
}

/// Why a text or byte string is not such an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 hexadecimal digits")]
pub struct ParseIdError;

/// Where messages belong: the two of us, or a group. As text the peer id or the group's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConversationId {
    Peer(PeerId),
    Group(GroupId),
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

impl FromStr for ConversationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.parse() {
            Ok(peer) => Ok(Self::Peer(peer)),
            Err(_) => text.parse().map(Self::Group),
        }
    }
}

impl Serialize for ConversationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    Queued,
    Sent,
    Delivered,
    Read,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub ticket: String,
    pub name: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reaction {
    pub emoji: String,
    pub peers: Vec<PeerId>,
}

/// One message; the names are part of the promise in the command line's JSON (which adds `sent_at`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Raised with every change of any message.
    pub cursor: u64,
    pub id: MessageId,
    pub conversation: ConversationId,
    /// Who wrote it; of outgoing ones this node.
    pub author: PeerId,
    pub direction: Direction,
    pub text: String,
    /// By the author's clock: for showing. The order is that of `position`.
    pub sent_unix_ms: i64,
    /// By this machine's clock.
    pub stored_unix_ms: i64,
    pub state: MessageState,
    pub error: String,
    pub edited: bool,
    /// The text is gone, the place stays.
    pub deleted: bool,
    pub reply_to: Option<MessageId>,
    /// The beginning of that message, as far as it is known here.
    pub reply_text: String,
    pub reactions: Vec<Reaction>,
    pub attachments: Vec<Attachment>,
    /// Rises by arrival at this node.
    pub position: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conversation {
    pub id: ConversationId,
    pub title: String,
    pub members: Vec<PeerId>,
    pub unread: u32,
    pub last: Option<Message>,
    /// Older messages are deleted here; 0: kept.
    pub retention_days: u32,
    /// A group that this node has left or was removed from.
    pub left: bool,
    pub cursor: u64,
}

/// What a user has typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    pub text: String,
    pub reply_to: Option<MessageId>,
    pub attachments: Vec<Attachment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    Title(String),
    Add(Vec<String>),
    Remove(Vec<String>),
    Leave,
}

/// Which messages of a conversation a page holds: the newest before that position and time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    /// 0: the end.
    pub position: u64,
    /// 0: any.
    pub unix_ms: i64,
}
