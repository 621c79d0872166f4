//! What a user may type to name another node, and the ticket that one user hands to another.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use multiaddr::Multiaddr;

use crate::ids::PeerId;
use crate::text::shorten;
use crate::ticket::{self, TicketError};

/// The node's port when an address comes without one.
pub const NODE_PORT: u16 = 9999;
/// A ticket names at most this many addresses; more would not fit a QR code.
pub const MAX_TICKET_ADDRESSES: usize = 16;
const MAX_TARGET_CHARS: usize = 4096;
const SCHEME: &str = "kith:";
const TICKET_VERSION: u8 = 1;

/// Everything needed to call somebody: the peer id and the addresses it was last reachable at.
///
/// Text form: `kith:` and the base58 of one version byte, the 32 byte public key, and each address as a length byte
/// and the binary multiaddr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub peer: PeerId,
    pub addresses: Vec<Multiaddr>,
}

/// Another node, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Ticket(Ticket),
    Peer(PeerId),
    /// May or may not end in `/p2p/<peer id>`.
    Address(Multiaddr),
    Ip {
        ip: IpAddr,
        port: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("nobody is named: give a ticket (kith:…), a peer id (12D3Koo…), an address (/ip4/…) or an IP address")]
    Empty,
    #[error("{0:?} is no ticket, peer id, multiaddr or IP address")]
    Unknown(String),
    #[error(transparent)]
    Ticket(#[from] TicketError),
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[TICKET_VERSION][..], self.peer.public_key()].concat();
        let addresses = &self.addresses[..self.addresses.len().min(MAX_TICKET_ADDRESSES)];
        f.write_str(&ticket::write(SCHEME, bytes, addresses))
    }
}

impl FromStr for Ticket {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let body = text.strip_prefix(SCHEME).ok_or_else(|| TargetError::Unknown(shorten(text)))?;
        let bytes = ticket::read(body, TICKET_VERSION)?;
        let (key, rest) = bytes.split_first_chunk().ok_or(ticket::SHORT)?;
        let addresses = ticket::read_addresses(rest, MAX_TICKET_ADDRESSES)?;
        Ok(Self { peer: PeerId::from_public_key(*key), addresses })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.len() > MAX_TARGET_CHARS {
            return Err(TargetError::Unknown(shorten(text)));
        }
        if text.starts_with(SCHEME) {
            return text.parse().map(Self::Ticket);
        }
        if let Ok(peer) = text.parse() {
            return Ok(Self::Peer(peer));
        }
        if text.starts_with('/') {
            return text.parse().map(Self::Address).map_err(|_| TargetError::Unknown(shorten(text)));
        }
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self::Ip { ip: socket.ip(), port: socket.port() });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(|ip| Self::Ip { ip, port: NODE_PORT }).map_err(|_| TargetError::Unknown(shorten(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let addresses = ["/ip4/203.0.113.10/udp/9999/quic-v1", "/ip6/2001:db8::1/tcp/9999"];
        Ticket {
            peer: PeerId::from_public_key([3; 32]),
            addresses: addresses.iter().map(|text| text.parse().expect("a valid address")).collect(),
        }
    }

    #[test]
    fn a_ticket_survives_its_text_form() {
        assert_eq!(ticket().to_string().parse::<Target>(), Ok(Target::Ticket(ticket())));
    }

    #[test]
    fn a_damaged_ticket_is_refused_at_every_length() {
        let text = ticket().to_string();
        for length in 0..text.len() {
            assert_ne!(text[..length].parse::<Target>(), Ok(Target::Ticket(ticket())), "{length}");
        }
    }

    #[test]
    fn people_may_type_addresses_in_the_usual_forms() {
        let port = |text: &str| match text.parse() {
            Ok(Target::Ip { port, .. }) => Some(port),
            _ => None,
        };
        assert_eq!(port("192.0.2.7"), Some(NODE_PORT));
        assert_eq!(port(" 192.0.2.7:4000 "), Some(4000));
        assert_eq!(port("[2001:db8::1]:4000"), Some(4000));
        assert_eq!(port("2001:db8::1"), Some(NODE_PORT));
        assert!(matches!("/ip4/192.0.2.7/tcp/9999".parse(), Ok(Target::Address(_))));
        for text in ["", "  ", "server", "http://x", "/nonsense/1", &"9".repeat(100_000)] {
            assert!(text.parse::<Target>().is_err(), "{text:.20}");
        }
    }
}
