//! What is in a backup, and where it comes from and goes to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kith_common::contact::Trust;
use kith_common::ids::PeerId;
use kith_store::{ContactRow, GroupRow};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::BackupError;
use super::file::write_new;
use crate::net::SecretKey;

/// Small files of the data directory that go along: what was chosen for the services, who is blocked, and where peers
/// were last, so that the new machine finds them without help.
const FILES: [&str; 3] = ["services.toml", "blocked.jsonl", "peers.jsonl"];
/// The longest of these.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Settings that are about the machine.
const OF_THE_MACHINE: [&str; 3] = ["data_dir", "socket", "bind"];
/// Of the daemon that is importing: its lock on the directory.
const LOCK: &str = "lock";

#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    peer: PeerId,
    /// libp2p's protobuf form in base58.
    key: String,
    made_unix_ms: i64,
    contacts: Vec<Person>,
    /// Not in those of older versions.
    #[serde(default)]
    pub groups: Vec<GroupRow>,
    files: BTreeMap<String, String>,
    /// `kithd.toml`; empty: there was none.
    settings: String,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// A contact. What a newer version adds is left out by an older one.
#[derive(Serialize, Deserialize)]
struct Person {
    peer: PeerId,
    name: String,
    #[serde(default)]
    own_name: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    colour: u32,
    calls: Trust,
    files: Trust,
    relay: Trust,
    #[serde(default)]
    verified: bool,
    #[serde(default)]
    mutual: bool,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    last_seen_unix_ms: i64,
    #[serde(default)]
    added_unix_ms: i64,
    #[serde(default)]
    asked: bool,
    #[serde(default)]
    request_text: String,
}

impl Content {
    pub fn new(
        key: &SecretKey,
        made_unix_ms: i64,
        (contacts, groups): (Vec<ContactRow>, Vec<GroupRow>),
        files: BTreeMap<String, String>,
        settings: String,
    ) -> Self {
        let bytes = Zeroizing::new(key.to_bytes());
        let (peer, key) = (key.peer_id(), bs58::encode(&*bytes).into_string());
        let contacts = contacts.into_iter().map(Person::from).collect();
        Self { peer, key, made_unix_ms, contacts, groups, files, settings }
    }

    pub fn to_json(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, BackupError> {
        serde_json::to_vec(self).map(Zeroizing::new).map_err(|error| senseless(path, error))
    }

    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self, BackupError> {
        serde_json::from_slice(bytes).map_err(|error| senseless(path, error))
    }

    pub fn key(&self, path: &Path) -> Result<SecretKey, BackupError> {
        let bytes = bs58::decode(&self.key).into_vec().map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| SecretKey::from_bytes(&bytes));
        let key = key.ok_or_else(|| senseless(path, "it has no key of an identity"))?;
        if key.peer_id() == self.peer { Ok(key) } else { Err(senseless(path, "its key is that of another identity")) }
    }

    pub fn contacts(&self) -> Vec<ContactRow> {
        self.contacts.iter().map(Person::row).collect()
    }

    /// Only those that belong into a data directory, whatever the backup names.
    pub fn write_files(&self, folder: &Path) -> Result<(), BackupError> {
        FILES
            .iter()
            .filter_map(|name| Some((name, self.files.get(*name)?)))
            .try_for_each(|(name, text)| write_new(&folder.join(name), text.as_bytes()))
    }

    /// Settings that are there already are the new machine's, and stay.
    pub fn write_settings(&self, path: &Path) -> Result<(), BackupError> {
        if self.settings.is_empty() || path.exists() {
            return Ok(());
        }
        // One that does not parse did not start the old daemon either.
        let Ok(mut table) = self.settings.parse::<toml::Table>() else { return Ok(()) };
        OF_THE_MACHINE.iter().for_each(|key| _ = table.remove(*key));
        if let Some(folder) = path.parent() {
            let failed = |source| BackupError::Io { action: "make", path: folder.to_owned(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_new(path, table.to_string().as_bytes())
    }
}

impl From<ContactRow> for Person {
    fn from(row: ContactRow) -> Self {
        Self {
            peer: row.peer,
            name: row.name,
            own_name: row.own_name,
            note: row.note,
            colour: row.colour,
            calls: row.calls,
            files: row.files,
            relay: row.relay,
            verified: row.verified,
            mutual: row.mutual,
            addresses: row.addresses,
            last_seen_unix_ms: row.last_seen_unix_ms,
            added_unix_ms: row.added_unix_ms,
            asked: row.asked,
            request_text: row.request_text,
        }
    }
}

impl Person {
    fn row(&self) -> ContactRow {
        ContactRow {
            peer: self.peer,
            name: self.name.clone(),
            own_name: self.own_name.clone(),
            note: self.note.clone(),
            colour: self.colour,
            calls: self.calls,
            files: self.files,
            relay: self.relay,
            verified: self.verified,
            mutual: self.mutual,
            addresses: self.addresses.clone(),
            last_seen_unix_ms: self.last_seen_unix_ms,
            added_unix_ms: self.added_unix_ms,
            asked: self.asked,
            request_text: self.request_text.clone(),
        }
    }
}

fn senseless(path: &Path, reason: impl ToString) -> BackupError {
    BackupError::Content { path: path.to_owned(), reason: reason.to_string() }
}

/// What the directory has beside the lock that this process holds on it.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, BackupError> {
    let failed = |source| BackupError::Io { action: "look into", path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name != LOCK {
            names.push(name);
        }
    }
    Ok(names)
}

pub(super) fn files(folder: &Path) -> Result<BTreeMap<String, String>, BackupError> {
    let mut files = BTreeMap::new();
    for name in FILES {
        if let Some(text) = read(&folder.join(name))? {
            files.insert(name.to_owned(), text);
        }
    }
    Ok(files)
}

/// Empty when there are none.
pub(super) fn settings(path: &Path) -> Result<String, BackupError> {
    Ok(read(path)?.unwrap_or_default())
}

/// A file that is not there, or that the daemon itself would not take, is left out.
fn read(path: &Path) -> Result<Option<String>, BackupError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => Ok(None),
        Ok(_) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::Io { action: "read", path: path.to_owned(), source }),
    }
}
