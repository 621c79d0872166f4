//! Identifiers, in the forms that users, scripts and the wire see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex::hex_id;

/// Multihash prefix of an Ed25519 peer id (libp2p specs, peer-ids: identity multihash of the protobuf public key).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A node's name for itself: its Ed25519 public key. Shown and parsed as the libp2p base58 form, `12D3Koo…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; 32]);

/// Why a text is not a peer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id: expected the 52 characters that start with 12D3Koo")]
pub struct ParsePeerIdError;

impl PeerId {
    /// From the 32 bytes of an Ed25519 public key.
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 38 bytes of the libp2p multihash.
    pub fn to_bytes(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// From the 38 bytes of the libp2p multihash.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParsePeerIdError> {
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or(ParsePeerIdError)?;
        Ok(Self(key.try_into().map_err(|_| ParsePeerIdError)?))
    }

    /// The last eight characters, which is how a peer without a name is shown.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, ParsePeerIdError> {
        // Longer texts are refused before decoding: base58 costs quadratic time.
        if text.len() > 64 {
            return Err(ParsePeerIdError);
        }
        Self::from_bytes(&bs58::decode(text).into_vec().map_err(|_| ParsePeerIdError)?)
    }
}

impl Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

hex_id! {
    /// One call, the same 16 bytes on both machines; chosen at random by the caller.
    CallId, 16, ParseCallIdError
}

/// Why a text or byte string is not a call id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a call id: expected 32 hexadecimal digits")]
pub struct ParseCallIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_id_text_is_the_libp2p_form() {
        let id = PeerId::from_public_key([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3Koo"), "{text}");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "12D3Koo", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", &"1".repeat(10_000)] {
            assert!(text.parse::<PeerId>().is_err(), "{text:.20}");
        }
        assert!("xyz".parse::<CallId>().is_err());
        assert_eq!("000102030405060708090a0b0c0d0eff".parse::<CallId>().map(|id| id.as_bytes()[15]), Ok(255));
    }
}
