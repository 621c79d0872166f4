//! Keeps the Olm state on the disk so that the database alone does not give it away: XChaCha20-Poly1305 under a key made
//! from the node's identity key, which is in a file of its own.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Separates this use of the identity key from every other.
const CONTEXT: &[u8] = b"kith: Olm state on the disk, version 1\0";
/// Long enough to be chosen at random each time.
const NONCE_BYTES: usize = 24;

pub(super) struct Vault {
    cipher: XChaCha20Poly1305,
}

impl Vault {
    /// One hash is enough to make a key of a key: the identity's 32 bytes are random, and have one length.
    pub fn new(identity: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(CONTEXT);
        hash.update(identity);
        let key = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        Self { cipher: XChaCha20Poly1305::new(key.as_slice().into()) }
    }

    /// `name`: where it is kept. It opens there only.
    pub fn lock(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: name.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("the state is far below 256 GiB");
        [&nonce[..], &sealed].concat()
    }

    /// `None`: it is damaged, from elsewhere, or of another identity.
    pub fn open(&self, name: &str, locked: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = locked.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_opens_in_its_place_under_its_identity_only() {
        let (vault, other) = (Vault::new(&[1; 32]), Vault::new(&[2; 32]));
        let locked = vault.lock("here", b"state");
        assert_eq!(vault.open("here", &locked).expect("it is whole").as_slice(), b"state");
        assert!(vault.open("there", &locked).is_none() && other.open("here", &locked).is_none());
        assert!(vault.open("here", &locked[..NONCE_BYTES - 1]).is_none() && vault.open("here", &[]).is_none());
        let mut damaged = locked;
        damaged[30] ^= 1;
        assert!(vault.open("here", &damaged).is_none());
    }
}
