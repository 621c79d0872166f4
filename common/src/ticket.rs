//! What tickets have in common: a scheme, and after it the base58 of one version byte, what the ticket is about, and
//! addresses, each as a length byte and the binary multiaddr.

use multiaddr::Multiaddr;

/// The longest ticket, without its scheme: base58 costs quadratic time.
const MAX_CHARS: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("this ticket is damaged: {0}")]
    Damaged(&'static str),
    #[error("this ticket has version {0}, which this version of Kith does not know")]
    Version(u8),
}

pub(crate) const SHORT: TicketError = TicketError::Damaged("it is cut short");

/// The text of a ticket.
pub(crate) fn write(scheme: &str, mut bytes: Vec<u8>, addresses: &[Multiaddr]) -> String {
    for address in addresses {
        let address = address.to_vec();
        // Longer than any address that this node makes; a ticket without it still works.
        let Ok(length) = u8::try_from(address.len()) else { continue };
        bytes.push(length);
        bytes.extend_from_slice(&address);
    }
    format!("{scheme}{}", bs58::encode(bytes).into_string())
}

/// The bytes after the version of a ticket without its scheme.
pub(crate) fn read(body: &str, version: u8) -> Result<Vec<u8>, TicketError> {
    if body.len() > MAX_CHARS {
        return Err(TicketError::Damaged("it is too long"));
    }
    let bytes = bs58::decode(body).into_vec();
    let mut bytes = bytes.map_err(|_| TicketError::Damaged("it has characters that no ticket has"))?;
    match bytes.first() {
        Some(first) if *first == version => Ok(bytes.split_off(1)),
        Some(other) => Err(TicketError::Version(*other)),
        None => Err(TicketError::Damaged("it is empty")),
    }
}

/// All that is left of a ticket.
pub(crate) fn read_addresses(mut rest: &[u8], most: usize) -> Result<Vec<Multiaddr>, TicketError> {
    let mut addresses = Vec::new();
    while let Some((&length, tail)) = rest.split_first() {
        let (address, tail) = tail.split_at_checked(length.into()).ok_or(SHORT)?;
        rest = tail;
        if addresses.len() == most {
            return Err(TicketError::Damaged("it has too many addresses"));
        }
        let address = Multiaddr::try_from(address.to_vec());
        addresses.push(address.map_err(|_| TicketError::Damaged("one of its addresses is none"))?);
    }
    Ok(addresses)
}
