//! Backup and move of a node: its identity key, its contacts, the groups that it is in and its settings in one file, sealed
//! with a passphrase. Messages stay where they are; connections and their addresses are found again.
//!
//! ```text
//! kithd [--data-dir DIR] [--config FILE] --export-identity FILE
//! kithd [--data-dir DIR] [--config FILE] --import-identity FILE
//! ```
//!
//! Both read the passphrase from `KITH_PASSPHRASE`, or else from the first line of standard input (nothing is asked and
//! nothing echoed: whoever starts them asks), do their work, write one line to standard output, and end with 0; or with
//! 1 and the reason on standard error. The lines are
//!
//! ```text
//! exported peer=12D3Koo… contacts=7 groups=2 file=FILE
//! imported peer=12D3Koo… contacts=7 groups=2 data=DIR
//! ```
//!
//! Exporting may be done while the daemon runs, and never overwrites a file. Importing wants a data directory that is
//! not there or has nothing in it, and never touches another; settings are written only where there is no `kithd.toml`
//! yet, without those that are about the old machine (`data_dir`, `socket`, `bind`).
//!
//! The file: the header of [`Header`], 61 bytes, in the clear and authenticated, then XChaCha20-Poly1305 of a JSON object.
//! The key is Argon2id of the passphrase, with what RFC 9106, section 4 recommends where memory is not plenty: three
//! passes over 64 MiB in four lanes. Nothing of what is sealed, nor the passphrase, is ever logged.

mod content;
mod file;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use kith_common::clock::unix_ms;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_store::Database;
use zeroize::Zeroizing;

use crate::data_dir::DataDir;
use crate::net::{self, IdentityError, SecretKey};

use content::Content;
pub use file::Header;

/// The shortest passphrase that a file is sealed with: whoever has the file can try as many as a machine computes.
const MIN_PASSPHRASE_CHARS: usize = 8;
/// A line that is longer is something else.
const MAX_PASSPHRASE_BYTES: u64 = 1024;
const PASSPHRASE_VARIABLE: &str = "KITH_PASSPHRASE";

/// What the daemon is started for, when it is not to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    Export(PathBuf),
    Import(PathBuf),
}

/// Why there is no backup, or nothing was made of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("no passphrase was given: put it into ${PASSPHRASE_VARIABLE}, or on the first line of standard input")]
    NoPassphrase,
    #[error(
        "the passphrase is too weak to protect an identity: use at least {MIN_PASSPHRASE_CHARS} characters, better five \
         words that do not belong together"
    )]
    Weak,
    #[error("could not {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is no backup of a Kith identity")]
    NoBackup { path: PathBuf },
    #[error("{path} was made by a newer version of Kith (format {version}): import it with that version")]
    Newer { path: PathBuf, version: u8 },
    #[error("{path} was not opened: the passphrase is another, or the file is damaged")]
    Locked { path: PathBuf },
    #[error("{path} was opened, and what is in it makes no sense: {reason}")]
    Content { path: PathBuf, reason: String },
    #[error(
        "the data directory {path} is in use ({found} is in it): import into a new one, with --data-dir; an identity is \
         never overwritten"
    )]
    NotEmpty { path: PathBuf, found: String },
    #[error("the file could not be sealed")]
    Sealing,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Database(#[from] Failure),
}

/// What opens a backup. `Debug` shows nothing of it.
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Passphrase {
    /// From the environment or standard input.
    pub fn read() -> Result<Self, BackupError> {
        match std::env::var(PASSPHRASE_VARIABLE) {
            Ok(text) if !text.is_empty() => Self::new(text),
            _ => Self::from_line(io::stdin().lock()),
        }
    }

    /// As somebody has typed it.
    pub fn new(text: String) -> Result<Self, BackupError> {
        if text.is_empty() { Err(BackupError::NoPassphrase) } else { Ok(Self(Zeroizing::new(text))) }
    }

    fn from_line(input: impl io::BufRead) -> Result<Self, BackupError> {
        let mut line = Zeroizing::new(String::new());
        let mut bounded = input.take(MAX_PASSPHRASE_BYTES);
        io::BufRead::read_line(&mut bounded, &mut line).map_err(|_| BackupError::NoPassphrase)?;
        Self::new(line.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Good enough to protect an identity?
    fn check(&self) -> Result<(), BackupError> {
        let mut chars = self.0.chars();
        let first = chars.next();
        let all_the_same = chars.all(|c| Some(c) == first);
        let long = self.0.trim().chars().count() >= MIN_PASSPHRASE_CHARS;
        if long && !all_the_same { Ok(()) } else { Err(BackupError::Weak) }
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What was done, as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub errand: Errand,
    pub peer: PeerId,
    pub contacts: usize,
    pub groups: usize,
    /// Of an import.
    pub data_dir: PathBuf,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errand, peer, contacts, groups, data_dir } = self;
        let (done, place) = match errand {
            Errand::Export(file) => ("exported", format!("file={}", file.display())),
            Errand::Import(_) => ("imported", format!("data={}", data_dir.display())),
        };
        write!(f, "{done} peer={peer} contacts={contacts} groups={groups} {place}")
    }
}

/// Seals the identity of that data directory, with what belongs to it, into a new file.
pub async fn export(
    data_dir: &Path,
    config_file: &Path,
    file: &Path,
    passphrase: &Passphrase,
) -> Result<Done, BackupError> {
    passphrase.check()?;
    let key = SecretKey::load(&net::key_file(data_dir))?;
    let (database, repair) = Database::open(data_dir, key.peer_id()).await?;
    if let Some(repair) = repair {
        tracing::error!("{}", repair.sentence());
    }
    let known = database.read(|store| Ok((store.contacts()?, store.group_rows()?))).await;
    database.close().await;
    let known = known?;
    let (contacts, groups) = (known.0.len(), known.1.len());
    let content = Content::new(&key, unix_ms(), known, content::files(data_dir)?, content::settings(config_file)?);
    file::write_new(file, &file::seal(&content.to_json(file)?, passphrase)?)?;
    let (errand, data_dir) = (Errand::Export(file.to_owned()), data_dir.to_owned());
    Ok(Done { errand, peer: key.peer_id(), contacts, groups, data_dir })
}

/// Makes an empty data directory the home of the identity in that file. If anything fails, the directory is as empty as
/// before.
pub async fn import(
    data_dir: &DataDir,
    config_file: &Path,
    file: &Path,
    passphrase: &Passphrase,
) -> Result<Done, BackupError> {
    let folder = data_dir.path();
    if let Some(found) = content::entries(folder)?.into_iter().next() {
        return Err(BackupError::NotEmpty { path: folder.to_owned(), found });
    }
    let content = Content::from_json(&file::open(file, passphrase)?, file)?;
    let key = content.key(file)?;
    let done = fill(folder, config_file, &content, &key).await;
    if done.is_err() {
        for name in content::entries(folder).unwrap_or_default() {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }
    let (contacts, groups) = done?;
    let errand = Errand::Import(file.to_owned());
    Ok(Done { errand, peer: key.peer_id(), contacts, groups, data_dir: folder.to_owned() })
}

/// How many contacts and groups. The key last: without it there is no identity.
async fn fill(
    folder: &Path,
    config_file: &Path,
    content: &Content,
    key: &SecretKey,
) -> Result<(usize, usize), BackupError> {
    let (contacts, groups) = (content.contacts(), content.groups.clone());
    let counts = (contacts.len(), groups.len());
    let (database, _) = Database::open(folder, key.peer_id()).await?;
    let written = database.write(move |store| {
        contacts.iter().try_for_each(|contact| store.put_contact(contact))?;
        groups.iter().try_for_each(|group| store.put_group(group, unix_ms()))
    });
    let written = written.await;
    database.close().await;
    written?;
    content.write_files(folder)?;
    key.create(&net::key_file(folder))?;
    content.write_settings(config_file)?;
    Ok(counts)
}
