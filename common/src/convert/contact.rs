//! The people of a node.

use capnp::struct_list;

use super::node::peer_id;
use super::{Enumeration, enumeration, length, read_texts, text, write_texts};
use crate::contact::{Contact, ContactChange, ContactRequest, People, Presence, Right, SafetyNumber, Trust};
use crate::contact_capnp::{self as wire, contact, contact_change, contact_request, people, safety_number};

enumeration!(Trust, wire::Trust: Never, Ask, Always);
enumeration!(Presence, wire::Presence: Offline, Online, Away, InCall);
enumeration!(Right, wire::Right: Calls, Files, Relay);

pub fn write_contact(contact: &Contact, mut to: contact::Builder<'_>) {
    to.set_peer_id(contact.peer_id.to_string());
    to.set_name(contact.name.as_str());
    to.set_own_name(contact.own_name.as_str());
    to.set_note(contact.note.as_str());
    to.set_colour(contact.colour);
    to.set_presence(contact.presence.to_wire());
    to.set_last_seen_unix_ms(contact.last_seen_unix_ms);
    to.set_calls(contact.calls.to_wire());
    to.set_files(contact.files.to_wire());
    to.set_relay(contact.relay.to_wire());
    to.set_verified(contact.verified);
    to.set_blocked(contact.blocked);
    to.set_added_unix_ms(contact.added_unix_ms);
    to.set_mutual(contact.mutual);
}

pub fn read_contact(from: contact::Reader<'_>) -> capnp::Result<Contact> {
    // A degree of trust that this version does not know: nothing without asking.
    let trust = |wire| Trust::from_wire(wire).unwrap_or(Trust::Ask);
    Ok(Contact {
        peer_id: peer_id(from.get_peer_id()?)?,
        name: text(from.get_name()?)?,
        own_name: text(from.get_own_name()?)?,
        note: text(from.get_note()?)?,
        colour: from.get_colour(),
        presence: Presence::from_wire(from.get_presence()).unwrap_or(Presence::Offline),
        last_seen_unix_ms: from.get_last_seen_unix_ms(),
        calls: trust(from.get_calls()),
        files: trust(from.get_files()),
        relay: trust(from.get_relay()),
        verified: from.get_verified(),
        blocked: from.get_blocked(),
        added_unix_ms: from.get_added_unix_ms(),
        mutual: from.get_mutual(),
    })
}

fn write_requests(requests: &[ContactRequest], mut to: struct_list::Builder<'_, contact_request::Owned>) {
    for (index, request) in (0..).zip(requests) {
        let mut to = to.reborrow().get(index);
        to.set_peer_id(request.peer_id.to_string());
        to.set_name(request.name.as_str());
        to.set_text(request.text.as_str());
        to.set_received_unix_ms(request.received_unix_ms);
    }
}

fn read_request(from: contact_request::Reader<'_>) -> capnp::Result<ContactRequest> {
    Ok(ContactRequest {
        peer_id: peer_id(from.get_peer_id()?)?,
        name: text(from.get_name()?)?,
        text: text(from.get_text()?)?,
        received_unix_ms: from.get_received_unix_ms(),
    })
}

pub fn write_people(people: &People, mut to: people::Builder<'_>) {
    let mut contacts = to.reborrow().init_contacts(length(&people.contacts));
    for (index, contact) in (0..).zip(&people.contacts) {
        write_contact(contact, contacts.reborrow().get(index));
    }
    write_requests(&people.requests, to.reborrow().init_requests(length(&people.requests)));
    to.set_own(people.own.to_wire());
}

pub fn read_people(from: people::Reader<'_>) -> capnp::Result<People> {
    Ok(People {
        contacts: from.get_contacts()?.iter().map(read_contact).collect::<Result<_, _>>()?,
        requests: from.get_requests()?.iter().map(read_request).collect::<Result<_, _>>()?,
        own: Presence::from_wire(from.get_own()).unwrap_or(Presence::Online),
    })
}

pub fn write_contact_change(change: &ContactChange, mut to: contact_change::Builder<'_>) {
    if let Some(name) = &change.name {
        to.reborrow().init_name().set_set(name.as_str());
    }
    if let Some(note) = &change.note {
        to.reborrow().init_note().set_set(note.as_str());
    }
    if let Some(colour) = change.colour {
        to.reborrow().init_colour().set_set(colour);
    }
    if let Some(verified) = change.verified {
        to.reborrow().init_verified().set_set(verified);
    }
}

pub fn read_contact_change(from: contact_change::Reader<'_>) -> capnp::Result<ContactChange> {
    use contact_change::{colour, name, note, verified};
    Ok(ContactChange {
        name: match from.get_name().which()? {
            name::Keep(()) => None,
            name::Set(name) => Some(text(name?)?),
        },
        note: match from.get_note().which()? {
            note::Keep(()) => None,
            note::Set(note) => Some(text(note?)?),
        },
        colour: match from.get_colour().which()? {
            colour::Keep(()) => None,
            colour::Set(colour) => Some(colour),
        },
        verified: match from.get_verified().which()? {
            verified::Keep(()) => None,
            verified::Set(verified) => Some(verified),
        },
    })
}

pub fn write_safety(safety: &SafetyNumber, mut to: safety_number::Builder<'_>) {
    to.set_digits(safety.digits.as_str());
    write_texts(safety.emoji.iter(), to.init_emoji(length(&safety.emoji)));
}

pub fn read_safety(from: safety_number::Reader<'_>) -> capnp::Result<SafetyNumber> {
    Ok(SafetyNumber { digits: text(from.get_digits()?)?, emoji: read_texts(from.get_emoji()?)? })
}
