//! What the database keeps, in the form that the rooms above handle it.

use std::path::PathBuf;

use kith_common::chat::{Attachment, Before, GroupId, Message, MessageId};
use kith_common::contact::Trust;
use kith_common::ids::PeerId;
use serde::{Deserialize, Serialize};

/// One contact as it is kept; presence and blocking are others' affairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRow {
    pub peer: PeerId,
    /// Given by the user of this node.
    pub name: String,
    /// What the peer calls itself.
    pub own_name: String,
    pub note: String,
    /// 0xRRGGBB
    pub colour: u32,
    pub calls: Trust,
    pub files: Trust,
    pub relay: Trust,
    pub verified: bool,
    /// The peer has this node among its contacts as well.
    pub mutual: bool,
    /// Multiaddrs that have worked, as text.
    pub addresses: Vec<String>,
    /// 0: never.
    pub last_seen_unix_ms: i64,
    pub added_unix_ms: i64,
    /// Our request has reached the peer.
    pub asked: bool,
    /// What goes with our request.
    pub request_text: String,
}

/// A group without what was said in it, as a backup has it: enough to take what is said there after a move, and to be heard. Its
/// JSON form is in backups of all versions: fields are only added, with defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    pub id: GroupId,
    /// Who alone can change it; `None`: lost with a damaged database.
    pub maker: Option<PeerId>,
    pub title: String,
    pub standing: Standing,
    #[serde(default)]
    pub retention_days: u32,
    /// Deleted here; a new message shows it again.
    #[serde(default)]
    pub hidden: bool,
    /// The number of this node's newest entry.
    pub said: u64,
    /// The others that are in it, or were.
    pub peers: Vec<GroupPeer>,
}

/// Whether this node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Member,
    Removed,
    Left,
}

/// Another in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPeer {
    pub peer: PeerId,
    pub member: bool,
    /// Its entries were stored up to there.
    pub heard: u64,
}

/// Where an entry belongs within the link of two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Direct,
    Group(GroupId),
}

/// What an author says in a place: numbered from 1 without gaps, the same for all members of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub sequence: u64,
    /// Of the message that this makes or changes.
    pub id: MessageId,
    /// By the author's clock.
    pub sent_unix_ms: i64,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Text {
        text: String,
        reply_to: Option<MessageId>,
        attachments: Vec<Attachment>,
    },
    Edit(String),
    Delete,
    React {
        emoji: String,
        on: bool,
    },
    /// The group as its maker wants it from here on: its members, the maker among them, each with the first number of the
    /// author's entries that it gets. Without the author among the members: a note to new members on where the author's
    /// numbers begin for them, which makes and changes nothing else.
    Group {
        title: String,
        members: Vec<(PeerId, u64)>,
    },
    Leave,
}

/// Why an entry was not stored. All but `TooLarge` may be another answer later, when the group's own news has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    UnknownGroup,
    /// The author is not, or this node is no longer, in that group.
    NotMember,
    TooLarge,
}

/// What came of a peer's entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// For each place that was spoken of: up to where the author's entries are stored now.
    pub stored: Vec<(Place, u64)>,
    /// From that number on nothing was taken.
    pub refused: Vec<(Place, u64, Refusal)>,
    pub new_messages: Vec<Message>,
}

/// As `kith_common::chat::GroupChange`, with the peers found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreGroupChange {
    Title(String),
    Add(Vec<PeerId>),
    Remove(Vec<PeerId>),
    Leave,
}

/// A message that is kept for somebody else, readable by the recipient only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub id: [u8; 16],
    pub author: PeerId,
    pub recipient: PeerId,
    pub expires_unix_ms: i64,
    /// Olm: 0 pre-key message, 1 message.
    pub kind: u8,
    pub body: Vec<u8>,
}

/// How much is kept for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Messages of one author.
    pub per_author: u64,
    /// Messages for one recipient.
    pub per_recipient: u64,
    /// Bytes of all bodies.
    pub total_bytes: u64,
}

/// Which calls of the log are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallsWanted {
    /// Positions and times as in the log: its end is the newest call.
    pub before: Before,
    pub peer: Option<PeerId>,
    pub limit: u32,
}

/// What was done about a damaged database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong with it.
    pub reason: String,
    /// Where the damaged file is now.
    pub moved_to: PathBuf,
    /// Rows by table that were read and copied.
    pub kept: Vec<(String, u64)>,
    /// Tables of which a part could not be read.
    pub incomplete: Vec<String>,
}

impl Repair {
    pub fn messages(&self) -> u64 {
        self.kept.iter().find(|(table, _)| table == "message").map_or(0, |(_, rows)| *rows)
    }

    /// The whole of it, for the log and the user.
    pub fn sentence(&self) -> String {
        let rows = |table: &str| self.kept.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| *rows);
        let lost = match self.incomplete.as_slice() {
            [] => "everything in it could be read".to_owned(),
            tables => format!("a part could not be read ({})", tables.join(", ")),
        };
        format!(
            "the database was damaged ({}): it is kept as {}; {} messages and {} contacts were copied to a new one, {lost}",
            self.reason,
            self.moved_to.display(),
            rows("message"),
            rows("contact"),
        )
    }
}
