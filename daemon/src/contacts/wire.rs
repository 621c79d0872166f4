//! What two nodes say to each other about being contacts (`/kith/contact/1`, `ContactMessage` in wire.capnp): to bytes
//! and back.
//!
//! The peer is authenticated and may still be hostile: what it sends is bounded before it is read, and made presentable
//! before anybody sees it.

use capnp::message::Builder;
use kith_common::contact::{MAX_NAME_CHARS, MAX_REQUEST_CHARS, Presence};
use kith_common::text::clean_line;
use kith_common::wire_capnp::contact_message as schema;

use crate::net::frames::{self, FrameError};

const VERSION: u16 = 1;
/// A request with the longest text, four bytes a character, and its name; a longer message is none.
pub(super) const MAX_BYTES: usize = 4096;

/// Asks to be a contact, or says that one is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub name: String,
    pub text: String,
    /// The sender takes the receiver for a contact on both sides.
    pub again: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Request(Request),
    Presence(Presence),
    Removed,
    /// The answer to a request: whether the sender of this has the other among its contacts.
    Heard(bool),
    /// Of a newer version.
    Unknown,
}

/// A message with its length before it.
pub(super) fn encode(message: &Message) -> Vec<u8> {
    let mut builder = Builder::new_default();
    let mut root = builder.init_root::<schema::Builder<'_>>();
    match message {
        Message::Request(request) => {
            let mut to = root.init_request();
            to.set_version(VERSION);
            to.set_name(clean_line(&request.name, MAX_NAME_CHARS));
            to.set_text(clean_line(&request.text, MAX_REQUEST_CHARS));
            to.set_again(request.again);
        }
        Message::Presence(presence) => root.init_presence().set_presence(match presence {
            Presence::Offline => 1,
            Presence::Online => 2,
            Presence::Away => 3,
            Presence::InCall => 4,
        }),
        Message::Removed => root.set_removed(()),
        Message::Heard(contact) => root.set_heard(*contact),
        Message::Unknown => root.set_unspecified(()),
    }
    frames::encode(&builder)
}

/// Reads a message without its length.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    use kith_common::wire_capnp::contact_message::Which;
    let message = frames::open(bytes, MAX_BYTES)?;
    let root = message.get_root::<schema::Reader<'_>>()?;
    let Ok(which) = root.which() else { return Ok(Message::Unknown) };
    Ok(match which {
        Which::Unspecified(()) => Message::Unknown,
        Which::Request(request) => {
            let request = request?;
            Message::Request(Request {
                name: clean_line(request.get_name()?.to_str()?, MAX_NAME_CHARS),
                text: clean_line(request.get_text()?.to_str()?, MAX_REQUEST_CHARS),
                again: request.get_again(),
            })
        }
        Which::Presence(presence) => match presence?.get_presence() {
            2 => Message::Presence(Presence::Online),
            3 => Message::Presence(Presence::Away),
            4 => Message::Presence(Presence::InCall),
            _ => Message::Unknown,
        },
        Which::Removed(()) => Message::Removed,
        Which::Heard(contact) => Message::Heard(contact),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frames::harm;

    fn examples() -> Vec<Message> {
        vec![
            Message::Request(Request { name: "Ada".into(), text: "We met in London.".into(), again: false }),
            Message::Request(Request { name: "Ada".into(), text: String::new(), again: true }),
            Message::Presence(Presence::Online),
            Message::Presence(Presence::Away),
            Message::Presence(Presence::InCall),
            Message::Removed,
            Message::Heard(true),
            Message::Heard(false),
            Message::Unknown,
        ]
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in examples() {
            assert_eq!(decode(harm::message(&encode(&message))).expect("it parses"), message);
        }
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message_and_never_a_panic() {
        harm::is_withstood(examples().iter().map(encode), decode);
    }

    #[test]
    fn what_strangers_write_is_made_presentable() {
        let request = Request { name: "\u{202e}evE".into(), text: "\u{1b}[31m Hello\nthere ".into(), again: false };
        let shown = Request { name: "evE".into(), text: "[31m Hello there".into(), again: false };
        let heard = decode(harm::message(&encode(&Message::Request(request)))).expect("well formed");
        assert_eq!(heard, Message::Request(shown));
    }

    #[test]
    fn the_longest_request_fits_a_message() {
        let long = |chars| "\u{10ffff}".repeat(chars);
        let request = Request { name: long(MAX_NAME_CHARS), text: long(MAX_REQUEST_CHARS), again: false };
        let bytes = encode(&Message::Request(request.clone()));
        assert!(harm::message(&bytes).len() < MAX_BYTES);
        assert_eq!(decode(harm::message(&bytes)).expect("well formed"), Message::Request(request));
    }
}
