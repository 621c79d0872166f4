//! The sealed file.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{BackupError, Passphrase};

const MAGIC: &[u8; 8] = b"KITHBACK";
const VERSION: u8 = 1;
/// 8 of magic, 1 of version, 12 of cost, 16 of salt, 24 of nonce.
const HEADER_BYTES: usize = 61;
/// Four thousand contacts with the longest notes; a larger file is something else.
const MAX_FILE_BYTES: u64 = 128 * 1024 * 1024;

/// How dear trying a passphrase is: passes over so much memory, in so many lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

/// RFC 9106, section 4: the second recommended option.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
/// What a file may demand: one that wants more is made to hold up whoever opens it.
const MOST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

/// What stands before the sealed part; integers with the highest byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of Argon2id.
    pub cost: Cost,
    pub salt: [u8; 16],
    /// Of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let Self { cost, salt, nonce } = self;
        let mut bytes = [&MAGIC[..], &[VERSION]].concat();
        for figure in [cost.memory_kib, cost.passes, cost.lanes] {
            bytes.extend_from_slice(&figure.to_be_bytes());
        }
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&nonce);
        bytes
    }

    /// And the bytes that it took.
    fn read<'a>(bytes: &'a [u8], path: &Path) -> Result<(Self, &'a [u8], &'a [u8]), BackupError> {
        let no_backup = || BackupError::NoBackup { path: path.to_owned() };
        let version = *bytes.strip_prefix(MAGIC).and_then(<[u8]>::first).ok_or_else(no_backup)?;
        if version != VERSION {
            return Err(BackupError::Newer { path: path.to_owned(), version });
        }
        let (header, sealed) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(no_backup)?;
        let figure = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let cost = Cost { memory_kib: figure(9), passes: figure(13), lanes: figure(17) };
        let (mut salt, mut nonce) = ([0; 16], [0; 24]);
        salt.copy_from_slice(&header[21..37]);
        nonce.copy_from_slice(&header[37..]);
        let fits = cost.memory_kib <= MOST.memory_kib && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes;
        if fits { Ok((Self { cost, salt, nonce }, header, sealed)) } else { Err(no_backup()) }
    }

    /// `None`: no such cost.
    fn cipher(&self, passphrase: &Passphrase) -> Option<XChaCha20Poly1305> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(32)).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(passphrase.bytes(), &self.salt, &mut *key).ok()?;
        Some(XChaCha20Poly1305::new(key.as_slice().into()))
    }
}

pub(super) fn seal(content: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, BackupError> {
    let header = Header { cost: COST, salt: rand::random(), nonce: rand::random() };
    let bytes = header.to_bytes();
    let cipher = header.cipher(passphrase).ok_or(BackupError::Sealing)?;
    let payload = Payload { msg: content, aad: &bytes };
    let sealed = cipher.encrypt(XNonce::from_slice(&header.nonce), payload).map_err(|_| BackupError::Sealing)?;
    Ok([bytes, sealed].concat())
}

pub(super) fn open(path: &Path, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| BackupError::Io { action: "read", path: path.to_owned(), source })?;
    let (header, clear, sealed) = Header::read(&bytes, path)?;
    let cipher = header.cipher(passphrase).ok_or_else(|| BackupError::NoBackup { path: path.to_owned() })?;
    let opened = cipher.decrypt(XNonce::from_slice(&header.nonce), Payload { msg: sealed, aad: clear });
    opened.map(Zeroizing::new).map_err(|_| BackupError::Locked { path: path.to_owned() })
}

/// For its owner only, whole or not at all, and never over another file.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io { action: "write", path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a backup is none.
        let _ = std::fs::remove_file(path);
    }
    written.map_err(failed)
}
