//! The identity key: an Ed25519 key made on first start and kept in one file that nobody else may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kith_common::ids::PeerId;
use libp2p::identity::{self, Keypair};

/// libp2p's protobuf form of an Ed25519 key pair has 68 bytes; a file that is much longer is something else.
const MAX_KEY_BYTES: u64 = 256;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("could not {action} the identity key {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the identity key {path} may be read by others (mode {mode:04o}); if it is yours alone, run: chmod 600 {path}"
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "the identity key {path} is damaged; restore it from a backup, or move it away to start with a new identity \
         (people then need your new ticket)"
    )]
    Damaged { path: PathBuf },
}

/// The private half of a node's identity. `Debug` shows the peer id only.
#[derive(Clone)]
pub struct SecretKey(pub(super) Keypair);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.peer_id())
    }
}

impl SecretKey {
    /// A new key that is stored nowhere: for tests and throw-away nodes.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    pub fn peer_id(&self) -> PeerId {
        let public = self.0.public().try_into_ed25519().expect("keys are made and accepted as Ed25519 only");
        PeerId::from_public_key(public.to_bytes())
    }

    /// Reads the key at `path`; makes one when there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let io = |action| move |source| IdentityError::Io { action, path: path.to_owned(), source };
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate();
                key.write(path).map_err(io("write"))?;
                Ok(key)
            }
            Err(error) => Err(io("open")(error)),
        }
    }

    /// Reads the key at `path`, which must be there.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let open = File::open(path);
        Self::read(path, open.map_err(|source| IdentityError::Io { action: "open", path: path.to_owned(), source })?)
    }

    /// Writes it where there is none yet.
    pub fn create(&self, path: &Path) -> Result<(), IdentityError> {
        self.write(path).map_err(|source| IdentityError::Io { action: "write", path: path.to_owned(), source })
    }

    /// For a backup, which has to be sealed: whoever has these bytes is this node.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_protobuf_encoding().expect("an Ed25519 key has an encoding")
    }

    /// From a backup.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = Keypair::from_protobuf_encoding(bytes).ok()?;
        (key.key_type() == identity::KeyType::Ed25519).then_some(Self(key))
    }

    fn read(path: &Path, file: File) -> Result<Self, IdentityError> {
        let io = |action| move |source| IdentityError::Io { action, path: path.to_owned(), source };
        let mode = file.metadata().map_err(io("look at"))?.permissions().mode() & 0o7777;
        if mode & !0o600 != 0 {
            return Err(IdentityError::TooOpen { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(MAX_KEY_BYTES).read_to_end(&mut bytes).map_err(io("read"))?;
        let damaged = || IdentityError::Damaged { path: path.to_owned() };
        Self::from_bytes(&bytes).ok_or_else(damaged)
    }

    /// Written under another name first and then linked: a key file is there whole or not at all, and an existing one
    /// is never replaced.
    fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = self.to_bytes();
        let draft = path.with_extension(format!("new.{}", std::process::id()));
        let result = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::hard_link(&draft, path)?;
            path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        })();
        let _ = std::fs::remove_file(&draft);
        result
    }
}
