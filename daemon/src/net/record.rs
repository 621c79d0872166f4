//! Address records: where a node is reached, signed by itself, for a few hours, in the DHT under its peer id
//! (`AddressRecord` in wire.capnp). With them a peer id alone is enough to call a node that is in nobody's routing table,
//! because it sits behind a router and has a relay's address only.

use capnp::message::Builder;
use capnp::serialize;
use kith_common::ids::PeerId;
use kith_common::wire_capnp::{address_record, address_record_body};
use libp2p::Multiaddr;
use libp2p::identity::ed25519;

use super::{SecretKey, frames};

/// The longest record; one with all addresses has half of it.
pub(super) const MAX_BYTES: usize = 4096;
pub(super) const MAX_ADDRESSES: usize = 16;
/// What this node signs is good for so long: nodes that go away are forgotten within the evening.
pub(super) const VALID_MS: i64 = 3 * 60 * 60 * 1000;
/// What others sign may be good for so long.
const MAX_VALID_MS: i64 = 24 * 60 * 60 * 1000;
/// Clocks of people's machines differ.
const SKEW_MS: i64 = 10 * 60 * 1000;
/// Keeps the signature from meaning anything else.
const DOMAIN: &[u8] = b"kith-address-record-1:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub issued_unix_ms: i64,
    pub expires_unix_ms: i64,
    pub instance: u64,
    pub addresses: Vec<Multiaddr>,
}

/// Why a value of the DHT is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it does not parse: {0}")]
    Format(#[from] capnp::Error),
    #[error("the signature is not that of the peer it is about")]
    Forged,
    #[error("it has expired")]
    Expired,
    #[error("it was issued in the future, or for too long")]
    Untimely,
    #[error("it has too many addresses, or one that is none")]
    Addresses,
}

fn signed(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

impl Record {
    /// Valid from now on.
    pub fn new(instance: u64, addresses: Vec<Multiaddr>, now_unix_ms: i64) -> Self {
        let mut addresses = addresses;
        addresses.truncate(MAX_ADDRESSES);
        Self { issued_unix_ms: now_unix_ms, expires_unix_ms: now_unix_ms + VALID_MS, instance, addresses }
    }

    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let mut message = Builder::new_default();
        let mut root = message.init_root::<address_record_body::Builder<'_>>();
        root.set_issued_unix_ms(self.issued_unix_ms);
        root.set_expires_unix_ms(self.expires_unix_ms);
        root.set_instance(self.instance);
        let mut list = root.init_addresses(u32::try_from(self.addresses.len()).unwrap_or(0));
        for (index, address) in (0..).zip(&self.addresses) {
            list.set(index, address.as_ref());
        }
        let body = serialize::write_message_to_words(&message);
        let signature = key.0.sign(&signed(&body)).expect("an Ed25519 key signs anything");
        let mut message = Builder::new_default();
        let mut root = message.init_root::<address_record::Builder<'_>>();
        root.set_body(&body);
        root.set_signature(&signature);
        serialize::write_message_to_words(&message)
    }

    /// A record about `peer`, if it is one, is by that peer, and is in force.
    pub fn verify(peer: PeerId, bytes: &[u8], now_unix_ms: i64) -> Result<Self, RecordError> {
        if bytes.len() > MAX_BYTES {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let message = frames::open(bytes, MAX_BYTES)?;
        let root = message.get_root::<address_record::Reader<'_>>()?;
        let body = root.get_body()?;
        let key = ed25519::PublicKey::try_from_bytes(peer.public_key()).map_err(|_| RecordError::Forged)?;
        if !key.verify(&signed(body), root.get_signature()?) {
            return Err(RecordError::Forged);
        }
        let message = frames::open(body, MAX_BYTES)?;
        let root = message.get_root::<address_record_body::Reader<'_>>()?;
        let (issued, expires) = (root.get_issued_unix_ms(), root.get_expires_unix_ms());
        if expires <= now_unix_ms {
            return Err(RecordError::Expired);
        }
        if issued > now_unix_ms.saturating_add(SKEW_MS) || expires.saturating_sub(issued) > MAX_VALID_MS {
            return Err(RecordError::Untimely);
        }
        let list = root.get_addresses()?;
        if list.len() as usize > MAX_ADDRESSES {
            return Err(RecordError::Addresses);
        }
        let mut addresses = Vec::new();
        for address in list {
            addresses.push(Multiaddr::try_from(address?.to_vec()).map_err(|_| RecordError::Addresses)?);
        }
        Ok(Self { issued_unix_ms: issued, expires_unix_ms: expires, instance: root.get_instance(), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn record() -> Record {
        let addresses = ["/ip4/203.0.113.7/udp/9999/quic-v1", "/ip6/2001:db8::1/tcp/9999"];
        Record::new(7, addresses.iter().map(|text| text.parse().expect("a valid address")).collect(), NOW)
    }

    #[test]
    fn a_record_is_believed_as_it_was_signed_and_until_it_expires() {
        let key = SecretKey::generate();
        let bytes = record().sign(&key);
        assert_eq!(Record::verify(key.peer_id(), &bytes, NOW).expect("in force"), record());
        let late = NOW + VALID_MS;
        assert!(matches!(Record::verify(key.peer_id(), &bytes, late), Err(RecordError::Expired)));
        let early = NOW - 2 * SKEW_MS;
        assert!(matches!(Record::verify(key.peer_id(), &bytes, early), Err(RecordError::Untimely)));
        let endless = Record { expires_unix_ms: i64::MAX, ..record() }.sign(&key);
        assert!(matches!(Record::verify(key.peer_id(), &endless, NOW), Err(RecordError::Untimely)));
    }

    #[test]
    fn a_record_about_somebody_else_is_forged() {
        let bytes = record().sign(&SecretKey::generate());
        let other = SecretKey::generate().peer_id();
        assert!(matches!(Record::verify(other, &bytes, NOW), Err(RecordError::Forged)));
    }

    #[test]
    fn no_damage_is_believed_and_none_panics() {
        let key = SecretKey::generate();
        let bytes = record().sign(&key);
        for length in 0..bytes.len() {
            assert!(Record::verify(key.peer_id(), &bytes[..length], NOW).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut noise = bytes.clone();
            noise[at] ^= 0x41;
            // Padding between the parts may differ; what is said may not.
            if let Ok(read) = Record::verify(key.peer_id(), &noise, NOW) {
                assert_eq!(read, record());
            }
        }
        let long = vec![0; MAX_BYTES + 1];
        assert!(matches!(Record::verify(key.peer_id(), &long, NOW), Err(RecordError::TooLong(_))));
    }

    #[test]
    fn a_record_with_more_addresses_than_allowed_is_refused() {
        let key = SecretKey::generate();
        let many = (1..=17).map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse().expect("valid")).collect();
        let bytes = Record { addresses: many, ..record() }.sign(&key);
        assert!(matches!(Record::verify(key.peer_id(), &bytes, NOW), Err(RecordError::Addresses)));
    }
}
