//! Files and transfers, as clients see them; the units and meanings stand in `schema/file.capnp`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use multiaddr::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::failure::FailureKind;
use crate::hex::hex_id;
use crate::ids::PeerId;
use crate::node::Path;
use crate::text::{clean_line, shorten};
use crate::ticket::{self, SHORT, TicketError};

/// The longest name of a file, in bytes.
pub const MAX_FILE_NAME_BYTES: usize = 200;
/// The largest file or folder, in bytes: 16 TiB.
pub const MAX_SIZE_BYTES: u64 = 1 << 44;
/// Files in one folder that is shared.
pub const MAX_FOLDER_FILES: u32 = 100_000;
/// Shares in one answer.
pub const MAX_SHARES_PAGE: u32 = 200;
/// Transfers that are reported, finished ones included.
pub const MAX_TRANSFERS: usize = 500;
/// Peers that a share is for, or that are asked for something.
pub const MAX_FILE_PEERS: usize = 32;
/// Addresses in a file's ticket.
pub const MAX_FILE_TICKET_ADDRESSES: usize = 4;
/// The most that a client writes or gets at once.
pub const MAX_PIECE_BYTES: usize = 1024 * 1024;

const SCHEME: &str = "kithfile:";
const TICKET_VERSION: u8 = 1;

hex_id! {
    /// What a file is: the BLAKE3 hash of its bytes; of a folder, that of its list of files. 64 hexadecimal digits.
    FileHash, 32, ParseFileHashError
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file's hash: expected 64 hexadecimal digits")]
pub struct ParseFileHashError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Folder,
}

/// The key that a file's sealed copies are encrypted with. Whoever has the ticket has it.
#[derive(Clone, PartialEq, Eq)]
pub struct CopyKey(pub [u8; 32]);

impl fmt::Debug for CopyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CopyKey(..)")
    }
}

/// Everything needed to fetch a file: what it is, and who has it.
///
/// Text form: `kithfile:` and the base58 of one version byte, the 32 byte hash, one byte for the kind (1 file, 2 folder), the size as
/// eight bytes (big endian), the 32 byte key of the sealed copies, the 32 byte public key of the node that shares it, the name as a
/// length byte and UTF-8, and each address of that node as a length byte and the binary multiaddr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTicket {
    pub hash: FileHash,
    pub kind: FileKind,
    pub size_bytes: u64,
    pub key: CopyKey,
    pub peer: PeerId,
    pub name: String,
    pub addresses: Vec<Multiaddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileTargetError {
    #[error("no file is named: give a hash (64 hexadecimal digits) or a ticket (kithfile:…)")]
    Empty,
    #[error("{0:?} is no file's hash and no ticket: a hash has 64 hexadecimal digits, a ticket begins with kithfile:")]
    Unknown(String),
    /// Of a ticket that lacks its end all bytes are others, that of the version too.
    #[error("this ticket is damaged or incomplete, or of a newer version of Kith")]
    Unreadable,
    #[error(transparent)]
    Ticket(#[from] TicketError),
}

impl fmt::Display for FileTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![TICKET_VERSION];
        bytes.extend_from_slice(self.hash.as_bytes());
        bytes.push(match self.kind {
            FileKind::File => 1,
            FileKind::Folder => 2,
        });
        bytes.extend_from_slice(&self.size_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.key.0);
        bytes.extend_from_slice(self.peer.public_key());
        let name = &self.name[..self.name.floor_char_boundary(MAX_FILE_NAME_BYTES)];
        // MAX_FILE_NAME_BYTES fits a byte.
        bytes.push(u8::try_from(name.len()).unwrap_or(0));
        bytes.extend_from_slice(name.as_bytes());
        let addresses = &self.addresses[..self.addresses.len().min(MAX_FILE_TICKET_ADDRESSES)];
        f.write_str(&ticket::write(SCHEME, bytes, addresses))
    }
}

impl FromStr for FileTicket {
    type Err = FileTargetError;

    fn from_str(text: &str) -> Result<Self, FileTargetError> {
        let damaged = |why| FileTargetError::Ticket(TicketError::Damaged(why));
        let body = text.strip_prefix(SCHEME).ok_or_else(|| FileTargetError::Unknown(shorten(text)))?;
        let bytes = ticket::read(body, TICKET_VERSION).map_err(|error| match error {
            TicketError::Version(_) => FileTargetError::Unreadable,
            TicketError::Damaged(_) => error.into(),
        })?;
        let (hash, rest) = bytes.split_first_chunk::<32>().ok_or(SHORT)?;
        let (&kind, rest) = rest.split_first().ok_or(SHORT)?;
        let kind = match kind {
            1 => FileKind::File,
            2 => FileKind::Folder,
            _ => return Err(damaged("it is for something that is neither a file nor a folder")),
        };
        let (size, rest) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let size_bytes = u64::from_be_bytes(*size);
        if size_bytes > MAX_SIZE_BYTES {
            return Err(damaged("it is for a file larger than 16 TiB"));
        }
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(SHORT)?;
        let (peer, rest) = rest.split_first_chunk::<32>().ok_or(SHORT)?;
        let (&length, rest) = rest.split_first().ok_or(SHORT)?;
        let (name, rest) = rest.split_at_checked(length.into()).ok_or(SHORT)?;
        let name = str::from_utf8(name).map_err(|_| damaged("its name is no text"))?;
        Ok(Self {
            hash: FileHash(*hash),
            kind,
            size_bytes,
            key: CopyKey(*key),
            peer: PeerId::from_public_key(*peer),
            name: clean_line(name, MAX_FILE_NAME_BYTES),
            addresses: ticket::read_addresses(rest, MAX_FILE_TICKET_ADDRESSES)?,
        })
    }
}

/// A file, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileTarget {
    Ticket(Box<FileTicket>),
    Hash(FileHash),
}

impl FromStr for FileTarget {
    type Err = FileTargetError;

    fn from_str(text: &str) -> Result<Self, FileTargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(FileTargetError::Empty);
        }
        if text.starts_with(SCHEME) {
            return text.parse().map(|ticket| Self::Ticket(Box::new(ticket)));
        }
        text.parse().map(Self::Hash).map_err(|_| FileTargetError::Unknown(shorten(text)))
    }
}

/// Who gets the content on asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareScope {
    /// Whoever has the hash.
    #[default]
    Anyone,
    Contacts,
    Peers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareState {
    Available,
    Changed,
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    Asked,
    Sending,
    Kept,
    Refused,
}

/// At a contact that has been asked to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealedCopy {
    pub peer: PeerId,
    pub name: String,
    pub held_bytes: u64,
    pub state: CopyState,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    pub hash: FileHash,
    pub ticket: String,
    pub name: String,
    pub kind: FileKind,
    #[serde(rename = "size")]
    pub size_bytes: u64,
    pub files: u32,
    pub scope: ShareScope,
    pub peers: Vec<PeerId>,
    pub state: ShareState,
    pub path: String,
    pub added_unix_ms: i64,
    pub sent_bytes: u64,
    pub copies: Vec<SealedCopy>,
    pub position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    Queued,
    Searching,
    Fetching,
    Waiting,
    Paused,
    Finishing,
    Done,
    Failed,
}

impl TransferState {
    /// It goes on by itself, or will.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Queued | Self::Searching | Self::Fetching | Self::Waiting | Self::Finishing)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    Connecting,
    Active,
    Stalled,
    Busy,
    Dropped,
    Lied,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    pub peer: PeerId,
    pub name: String,
    pub state: SourceState,
    pub path: Option<Path>,
    pub received_bytes: u64,
    pub bytes_per_second: u64,
    pub reason: String,
    pub sealed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transfer {
    pub id: u32,
    pub hash: FileHash,
    pub name: String,
    pub kind: FileKind,
    #[serde(rename = "size")]
    pub size_bytes: u64,
    #[serde(rename = "done")]
    pub done_bytes: u64,
    pub state: TransferState,
    #[serde(rename = "rate")]
    pub bytes_per_second: u64,
    pub remaining_seconds: u32,
    #[serde(rename = "providers")]
    pub sources: Vec<Source>,
    pub folder: String,
    #[serde(rename = "path")]
    pub saved_path: String,
    pub error: String,
    pub advice: String,
    pub started_unix_ms: i64,
    pub finished_unix_ms: i64,
    pub seconds: f64,
    pub fetched_twice_bytes: u64,
    pub next_try_seconds: u32,
    pub files: u32,
    pub files_done: u32,
    /// Of `error`; `None` without one, and where a daemon does not say.
    pub error_kind: Option<FailureKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upload {
    pub peer: PeerId,
    pub name: String,
    pub hash: FileHash,
    pub file_name: String,
    pub sent_bytes: u64,
    pub bytes_per_second: u64,
    pub path: Option<Path>,
    pub sealed: bool,
}

/// A file that a peer would like this node to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub id: u32,
    pub peer: PeerId,
    pub name: String,
    pub hash: FileHash,
    pub file_name: String,
    pub kind: FileKind,
    #[serde(rename = "size")]
    pub size_bytes: u64,
    pub files: u32,
    pub received_unix_ms: i64,
}

/// A sealed copy that this node keeps for a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub peer: PeerId,
    pub name: String,
    pub hash: FileHash,
    #[serde(rename = "size")]
    pub size_bytes: u64,
    pub held_bytes: u64,
    pub since_unix_ms: i64,
}

/// What kind of content a file's name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentKind {
    Image,
    Video,
    Audio,
    Document,
    Archive,
    Other,
    Folder,
}

impl ContentKind {
    pub const ALL: [Self; 7] =
        [Self::Image, Self::Video, Self::Audio, Self::Document, Self::Archive, Self::Other, Self::Folder];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Archive => "archive",
            Self::Other => "other",
            Self::Folder => "folder",
        }
    }
}

impl FromStr for ContentKind {
    type Err = ParseContentKindError;

    fn from_str(text: &str) -> Result<Self, ParseContentKindError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| ParseContentKindError(shorten(text)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of content: these are image, video, audio, document, archive, other and folder")]
pub struct ParseContentKindError(String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSettings {
    pub folder: PathBuf,
    /// 0: without limit.
    pub download_bytes_per_second: u64,
    pub upload_bytes_per_second: u64,
    pub unasked_bytes: u64,
    pub unasked_kinds: Vec<ContentKind>,
    pub copy_bytes_per_contact: u64,
    pub store_bytes: u64,
    pub at_once: u32,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilesState {
    pub transfers: Vec<Transfer>,
    pub offers: Vec<Offer>,
    pub uploads: Vec<Upload>,
    pub shares_revision: u64,
    pub shares: u32,
    pub kept_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddOptions {
    pub scope: ShareScope,
    /// Contacts' names, peer ids or tickets.
    pub peers: Vec<String>,
    /// Empty: as on the disk.
    pub name: String,
    pub copy: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// `None`: the folder of the settings.
    pub folder: Option<PathBuf>,
    /// Contacts' names, peer ids or tickets.
    pub from: Vec<String>,
    pub only_from: bool,
    /// Empty: that of the ticket, or of who has it.
    pub name: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddProgress {
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub files: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> FileTicket {
        FileTicket {
            hash: FileHash::from_bytes([9; 32]),
            kind: FileKind::Folder,
            size_bytes: 5_000_000_000,
            key: CopyKey([4; 32]),
            peer: PeerId::from_public_key([3; 32]),
            name: "Größe 🙂.tar".into(),
            addresses: vec!["/ip4/203.0.113.10/udp/9999/quic-v1".parse().expect("a valid address")],
        }
    }

    #[test]
    fn a_ticket_survives_its_text_form() {
        assert_eq!(ticket().to_string().parse(), Ok(FileTarget::Ticket(Box::new(ticket()))));
    }

    #[test]
    fn a_damaged_ticket_is_refused_at_every_length() {
        let text = ticket().to_string();
        for length in 0..text.len() {
            assert_ne!(text[..length].parse(), Ok(FileTarget::Ticket(Box::new(ticket()))), "{length}");
        }
    }

    #[test]
    fn a_ticket_that_lacks_its_end_is_not_said_to_be_of_another_version_alone() {
        let text = ticket().to_string();
        for damaged in ["kithfile:zzz", &text[..text.len() - 1], &text[..text.len() - 2], &text[..40]] {
            let said = damaged.parse::<FileTarget>().map_err(|error| error.to_string());
            assert!(said.as_ref().is_err_and(|said| said.contains("damaged")), "{damaged}: {said:?}");
        }
    }

    #[test]
    fn a_hash_has_64_digits_and_everything_else_is_named_in_the_error() {
        let hash = FileHash::from_bytes([0xab; 32]);
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(FileTarget::Hash(hash)));
        for text in ["", " ", "abc", &"g".repeat(64), &"é".repeat(32), "kith:2abc", &"9".repeat(100_000)] {
            assert!(text.parse::<FileTarget>().is_err(), "{text:.20}");
        }
    }

    #[test]
    fn a_ticket_that_claims_too_much_is_refused() {
        let huge = FileTicket { size_bytes: MAX_SIZE_BYTES + 1, ..ticket() };
        let refused = TicketError::Damaged("it is for a file larger than 16 TiB").into();
        assert_eq!(huge.to_string().parse::<FileTicket>(), Err(refused));
    }

    #[test]
    fn kinds_of_content_have_the_names_of_json() -> Result<(), serde_json::Error> {
        for kind in ContentKind::ALL {
            assert_eq!(serde_json::to_value(kind)?, kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("Image".parse::<ContentKind>().is_err() && "".parse::<ContentKind>().is_err());
        Ok(())
    }

    #[test]
    fn the_key_is_not_in_what_is_logged() {
        assert!(!format!("{:?}", ticket()).contains("4, 4"));
    }
}
