//! Whom a person means: by the name of a contact, or by anything that names a node.

use std::net::IpAddr;

use kith_common::contact::{Contact, ContactRequest, MAX_NAME_CHARS};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_common::target::{NODE_PORT, Target, TargetError};

use crate::net::Multiaddr;

/// Names that are like the one that was typed: more would be a list.
const MAX_NEAR: usize = 3;
/// By Jaro and Winkler; below this a name is another one.
const LIKE: f64 = 0.75;
/// As like as a name of one slip is taken for.
const SLIPPED: f64 = 0.95;

/// Two names that differ in case only would be taken for one another.
pub(super) fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A name as it is kept. One that could be read as an address would name two.
pub(super) fn checked(name: &str) -> Result<String, Failure> {
    let name = name.trim();
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !fits {
        let message = format!("{name:.80?} cannot be a contact's name");
        let advice = format!("A name has 1 to {MAX_NAME_CHARS} printable characters.");
        return Err(Failure::new(FailureKind::InvalidArgument, message).advise(advice));
    }
    if name.parse::<Target>().is_ok() || name.starts_with('/') || name.starts_with("kith:") {
        let message = format!("{name:?} cannot be a contact's name: it is an address");
        return Err(Failure::new(FailureKind::InvalidArgument, message).advise("Give the contact a name of words."));
    }
    Ok(name.to_owned())
}

/// `wanted`, or `wanted 2` and so on while others have that.
pub(super) fn free(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = |n: u32| {
        let ending = format!(" {n}");
        let short: String = wanted.chars().take(MAX_NAME_CHARS - ending.len()).collect();
        format!("{}{ending}", short.trim_end())
    };
    let mut names = std::iter::once(wanted.to_owned()).chain((2..).map(numbered));
    names.find(|name| !taken(name)).unwrap_or_else(|| wanted.to_owned())
}

pub(super) fn named<'a>(contacts: &'a [Contact], name: &str) -> Option<&'a Contact> {
    let name = fold(name);
    contacts.iter().find(|contact| fold(&contact.name) == name)
}

/// Nobody is called so, and it is no address.
pub(super) fn unknown(contacts: &[Contact], text: &str, error: &TargetError) -> Failure {
    let wrong = |message: String| Failure::new(FailureKind::InvalidArgument, message);
    let TargetError::Unknown(short) = error else { return wrong(error.to_string()) };
    let near = near(contacts.iter().map(|contact| contact.name.as_str()), text);
    let failure = wrong(format!("{short:?} is no contact's name, and no ticket, peer id, multiaddr or IP address"));
    failure.advise(if near.is_empty() {
        "Your contacts: kithctl contacts list. To add one: kithctl contacts add TICKET".to_owned()
    } else {
        format!("Did you mean {}?", near.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or "))
    })
}

/// The likest first.
fn near<'a>(names: impl Iterator<Item = &'a str>, text: &str) -> Vec<&'a str> {
    let typed = fold(text);
    let likeness = |name: &str| {
        let name = fold(name);
        // "ada" is how one writes "Ada Lovelace" when one forgets that there are two of them; and in a short name one
        // letter too few, or two in the wrong order, is already a great part of it.
        let slipped = name.chars().count() > 2 && strsim::osa_distance(&typed, &name) <= 1;
        match name.split_whitespace().any(|word| word == typed) {
            true => 1.0,
            false if slipped => SLIPPED,
            false => strsim::jaro_winkler(&typed, &name),
        }
    };
    let mut near: Vec<(f64, &str)> =
        names.map(|name| (likeness(name), name)).filter(|(like, _)| *like > LIKE).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.into_iter().take(MAX_NEAR).map(|(_, name)| name).collect()
}

/// The peer id that a target carries in itself, or has by being connected from there.
pub(super) fn peer_of(target: &Target, rows: &[PeerInfo]) -> Option<PeerId> {
    match target {
        Target::Ticket(ticket) => Some(ticket.peer),
        Target::Peer(peer) => Some(*peer),
        Target::Address(address) => {
            let text = address.to_string();
            let named = text.rsplit_once("/p2p/").and_then(|(_, id)| id.parse().ok());
            named.or_else(|| connected(rows).find(|row| row.addresses.contains(&text)).map(|row| row.peer_id))
        }
        Target::Ip { ip, port } => at(rows, *ip, *port),
    }
}

/// Where a target says that its peer is, without who it is.
pub(super) fn address_of(target: &Target) -> Vec<Multiaddr> {
    let Target::Address(address) = target else { return Vec::new() };
    let text = address.to_string();
    let bare = match text.rsplit_once("/p2p/") {
        Some((bare, id)) if id.parse::<PeerId>().is_ok() => bare,
        _ => &text,
    };
    bare.parse().ok().into_iter().collect()
}

fn connected(rows: &[PeerInfo]) -> impl Iterator<Item = &PeerInfo> {
    rows.iter().filter(|row| row.connected)
}

/// The connected peer at that address; with the usual port also the only one at that IP, since a peer that dialed shows
/// some other port.
fn at(rows: &[PeerInfo], ip: IpAddr, port: u16) -> Option<PeerId> {
    let ip = match ip.to_canonical() {
        IpAddr::V4(ip) => format!("/ip4/{ip}/"),
        IpAddr::V6(ip) => format!("/ip6/{ip}/"),
    };
    let here = |row: &&PeerInfo| row.addresses.iter().any(|address| address.starts_with(&ip));
    let there = |address: &String| {
        let ports = [format!("{ip}tcp/{port}"), format!("{ip}udp/{port}")];
        ports.iter().any(|socket| {
            address.strip_prefix(socket.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut exact = connected(rows).filter(|row| row.addresses.iter().any(there));
    if let Some(row) = exact.next() {
        return Some(row.peer_id);
    }
    let mut at_ip = connected(rows).filter(here);
    match (port, at_ip.next(), at_ip.next()) {
        (NODE_PORT, Some(row), None) => Some(row.peer_id),
        _ => None,
    }
}

/// A peer of the local network, or another that is connected, by what it calls itself.
pub(super) fn peer_called(rows: &[PeerInfo], name: &str) -> Result<Option<PeerId>, Failure> {
    let wanted = fold(name);
    let found = connected(rows).filter(|row| fold(&row.name) == wanted).map(|row| row.peer_id);
    one(found.collect(), name, "connected peers call themselves")
}

/// Whose request is meant.
pub(super) fn request_of(requests: &[ContactRequest], text: &str) -> Result<Option<PeerId>, Failure> {
    let wanted = fold(text);
    let found = requests.iter().filter(|request| fold(&request.name) == wanted).map(|request| request.peer_id);
    one(found.collect(), text, "strangers call themselves")
}

fn one(found: Vec<PeerId>, name: &str, who: &str) -> Result<Option<PeerId>, Failure> {
    match found.as_slice() {
        [] => Ok(None),
        [peer] => Ok(Some(*peer)),
        several => {
            let ids = several.iter().take(MAX_NEAR).map(PeerId::to_string).collect::<Vec<_>>().join(" or ");
            let message = format!("{} {who} {name:?}", several.len());
            Err(Failure::new(FailureKind::InvalidArgument, message).advise(format!("Give the peer id: {ids}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::tests::{contact, row};

    #[test]
    fn a_name_is_one_to_sixty_four_characters_and_no_address() {
        assert_eq!(checked("  Ada Lovelace ").as_deref(), Ok("Ada Lovelace"));
        for wrong in ["", "  ", "a\nb", &"x".repeat(65), "192.0.2.1", "/ip4/192.0.2.1/tcp/1", "kith:abc", "::1"] {
            assert_eq!(checked(wrong).expect_err(wrong).kind, FailureKind::InvalidArgument);
        }
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        assert_eq!(free("Ada", |_| false), "Ada");
        assert_eq!(free("Ada", |name| ["Ada", "Ada 2"].contains(&name)), "Ada 3");
        assert_eq!(
            free(&"x".repeat(64), |name| name.len() == 64 && !name.ends_with('2')),
            format!("{} 2", "x".repeat(62))
        );
    }

    #[test]
    fn a_mistyped_name_gets_the_near_ones_and_a_damaged_ticket_is_called_that() {
        let contacts = ["Ada Lovelace", "Grace", "Charles"].map(|name| contact(1, name));
        let fails = |text: &str| unknown(&contacts, text, &text.parse::<Target>().expect_err("no target"));
        assert!(unknown(&[contact(1, "Ben")], "Bne", &TargetError::Unknown("Bne".into())).advice.contains("\"Ben\""));
        assert!(fails("grcae").advice.contains("\"Grace\""));
        assert!(fails("ada").advice.contains("\"Ada Lovelace\""));
        assert!(fails("zzz").advice.contains("kithctl contacts"));
        assert!(fails("kith:0").message.contains("damaged"));
        assert_eq!(named(&contacts, " gRaCe ").map(|contact| contact.name.as_str()), Some("Grace"));
    }

    #[test]
    fn a_peer_is_named_by_where_it_is_connected_from() {
        let rows = [row(1, "Ada", "/ip4/192.0.2.1/udp/4000/quic-v1"), row(2, "Ben", "/ip4/192.0.2.2/tcp/55555")];
        let peer = |n: u8| Some(PeerId::from_public_key([n; 32]));
        let of = |text: &str| peer_of(&text.parse().expect("a target"), &rows);
        assert_eq!(of("192.0.2.1:4000"), peer(1));
        assert_eq!(of("192.0.2.1:400"), None);
        assert_eq!(of("192.0.2.2"), peer(2));
        assert_eq!(of("192.0.2.3"), None);
        assert_eq!(of("/ip4/192.0.2.2/tcp/55555"), peer(2));
        let id = PeerId::from_public_key([9; 32]);
        assert_eq!(of(&format!("/ip4/192.0.2.9/tcp/1/p2p/{id}")), peer(9));
    }

    #[test]
    fn one_of_two_of_the_same_name_is_asked_for_by_its_id() {
        let rows = [row(1, "Ada", "/ip4/192.0.2.1/tcp/1"), row(2, "ada", "/ip4/192.0.2.2/tcp/1"), row(3, "Ben", "")];
        assert!(peer_called(&rows, "ADA").expect_err("two").advice.contains("12D3Koo"));
        assert_eq!(peer_called(&rows, "ben"), Ok(Some(PeerId::from_public_key([3; 32]))));
        assert_eq!(peer_called(&rows, "cem"), Ok(None));
    }
}
