//! What is to be fetched, by the wish of a user or the offer of a contact: which content, where to ask for it, and where to
//! save it.

use std::path::PathBuf;

use kith_common::file::{CopyKey, FileHash, FileKind, FileTicket};
use kith_common::ids::PeerId;
use serde::{Deserialize, Serialize};

use super::fetch::{Known, Origin};

/// A transfer that is to begin.
pub(super) struct NewTransfer {
    pub hash: FileHash,
    pub kind: FileKind,
    pub name: String,
    pub folder: PathBuf,
    /// Its user has said into which folder, and under which name; otherwise what is there already does as well.
    pub folder_chosen: bool,
    pub name_chosen: bool,
    pub wanted: Wanted,
}

/// Where to ask for the content, and how: kept as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// Of the sealed copies, in base 58.
    #[serde(default)]
    key: Option<String>,
    /// What the ticket says the size is.
    #[serde(default)]
    size_bytes: u64,
    /// What the ticket says that it is.
    #[serde(default)]
    kind: Option<FileKind>,
    #[serde(default)]
    origins: Vec<Origin>,
    #[serde(default)]
    only_origins: bool,
    /// Its first origin has offered it, and nobody here was asked.
    #[serde(default)]
    unasked: bool,
}

impl Wanted {
    pub fn new(ticket: Option<&FileTicket>, mut origins: Vec<Origin>, only_origins: bool) -> Self {
        if let Some(ticket) = ticket.filter(|_| !only_origins) {
            let known = origins.iter_mut().find(|origin| origin.peer == ticket.peer);
            match known {
                Some(origin) => origin.addresses.clone_from(&ticket.addresses),
                None => origins.push(Origin { peer: ticket.peer, addresses: ticket.addresses.clone() }),
            }
        }
        let key = ticket.map(|ticket| bs58::encode(ticket.key.0).into_string());
        let size_bytes = ticket.map_or(0, |ticket| ticket.size_bytes);
        Self { key, size_bytes, kind: ticket.map(|ticket| ticket.kind), origins, only_origins, unasked: false }
    }

    /// Of a contact's offer, which is taken without asking.
    pub fn unasked(ticket: &FileTicket) -> Self {
        Self { unasked: true, ..Self::new(Some(ticket), Vec::new(), false) }
    }

    /// The key of the sealed copies, and what the ticket says of the content; `kind` as long as it says nothing of that.
    pub fn sealed(&self, kind: FileKind) -> Option<(CopyKey, Known)> {
        let bytes = bs58::decode(self.key.as_ref()?).into_vec().ok()?;
        let key = bytes.try_into().ok().map(CopyKey)?;
        let kind = self.kind.unwrap_or(kind);
        Some((key, Known { kind, size_bytes: self.size_bytes, list_bytes: 0, files: 1 }))
    }

    /// What the ticket says the size is; without one, 0.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whom to ask, and whether nobody else.
    pub fn origins(&self) -> (&[Origin], bool) {
        (&self.origins, self.only_origins)
    }

    /// That peer has offered it, and nobody here was asked.
    pub fn is_unasked_of(&self, peer: PeerId) -> bool {
        self.unasked && self.origins.first().is_some_and(|origin| origin.peer == peer)
    }

    /// `true`: there is more to it than there was.
    pub fn join(&mut self, other: Self) -> bool {
        let mut more = false;
        let promises = |wanted: &Self| (wanted.kind, wanted.size_bytes);
        // Another ticket may be right where the first was not.
        if other.key.is_some() && (self.key.is_none() || promises(self) != promises(&other)) {
            (self.kind, self.size_bytes) = promises(&other);
            (self.key, more) = (other.key, true);
        }
        // Whoever asks for it has been asked.
        self.unasked &= other.unasked;
        for origin in other.origins {
            match self.origins.iter_mut().find(|known| known.peer == origin.peer) {
                Some(known) if known.addresses == origin.addresses || origin.addresses.is_empty() => {}
                Some(known) => (known.addresses, more) = (origin.addresses, true),
                None => {
                    self.origins.push(origin);
                    more = true;
                }
            }
        }
        more |= self.only_origins != other.only_origins;
        self.only_origins = other.only_origins;
        more
    }
}
