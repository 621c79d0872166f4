//! What two nodes say to each other about being contacts (`/kith/contact/1`, `ContactMessage` in wire.capnp): to bytes
//! and back, each message with its length before it.
//!
//! The peer is authenticated and may still be hostile: what it sends is bounded before it is read, and made presentable
//! before anybody sees it.

use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;
use kith_common::contact::{MAX_NAME_CHARS, MAX_REQUEST_CHARS, Presence};
use kith_common::wire_capnp::contact_message as schema;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u16 = 1;
/// A request with the longest text, four bytes a character, and its name; a longer message is none.
const MAX_BYTES: u32 = 4096;

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

#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("it announces {0} bytes")]
    TooLong(u32),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it does not parse: {0}")]
    Malformed(#[from] capnp::Error),
    #[error("it does not parse: {0}")]
    Text(#[from] std::str::Utf8Error),
}

/// Marks that turn the direction of what follows (Unicode, UAX #9): a name could look like another one with them.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What people may see of a text that a stranger wrote: one line, no control characters, not too long.
pub(super) fn tidy(text: &str, max_chars: usize) -> String {
    let line = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    let shown: String = line.filter(|c| !c.is_control() && !turns(*c)).collect();
    shown.trim().chars().take(max_chars).collect::<String>().trim_end().to_owned()
}

pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), WireError> {
    let body = encode(message);
    let length = u32::try_from(body.len()).expect("messages of this node are short: every part is bounded");
    to.write_all(&[&length.to_be_bytes()[..], &body].concat()).await?;
    Ok(to.flush().await?)
}

pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Message, WireError> {
    let length = from.read_u32().await?;
    if length > MAX_BYTES {
        return Err(WireError::TooLong(length));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await?;
    decode(&body)
}

fn encode(message: &Message) -> Vec<u8> {
    let mut builder = Builder::new_default();
    let mut root = builder.init_root::<schema::Builder<'_>>();
    match message {
        Message::Request(request) => {
            let mut to = root.init_request();
            to.set_version(VERSION);
            to.set_name(tidy(&request.name, MAX_NAME_CHARS));
            to.set_text(tidy(&request.text, MAX_REQUEST_CHARS));
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
    serialize::write_message_to_words(&builder)
}

fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    use kith_common::wire_capnp::contact_message::Which;
    // A copy: the bytes of a stream have no alignment.
    let message = serialize::read_message(bytes, ReaderOptions::new())?;
    let root = message.get_root::<schema::Reader<'_>>()?;
    let Ok(which) = root.which() else { return Ok(Message::Unknown) };
    Ok(match which {
        Which::Unspecified(()) => Message::Unknown,
        Which::Request(request) => {
            let request = request?;
            Message::Request(Request {
                name: tidy(request.get_name()?.to_str()?, MAX_NAME_CHARS),
                text: tidy(request.get_text()?.to_str()?, MAX_REQUEST_CHARS),
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

    #[tokio::test]
    async fn every_message_survives_the_wire_and_several_follow_one_another() {
        let mut bytes = Vec::new();
        for message in examples() {
            send(&mut bytes, &message).await.expect("a vector takes everything");
        }
        let mut stream = bytes.as_slice();
        for message in examples() {
            assert_eq!(receive(&mut stream).await.expect("well formed"), message);
        }
        assert!(matches!(receive(&mut stream).await, Err(WireError::Io(_))));
    }

    #[tokio::test]
    async fn nonsense_is_refused_or_another_message_and_never_a_panic() {
        for message in examples() {
            let mut bytes = Vec::new();
            send(&mut bytes, &message).await.expect("a vector takes everything");
            for length in 0..bytes.len() {
                assert!(receive(&mut &bytes[..length]).await.is_err(), "{message:?} {length}");
            }
            for seed in 0..=u8::MAX {
                let mut noise = bytes.clone();
                let at = 4 + usize::from(seed) % (noise.len() - 4);
                noise[at] ^= seed;
                let _ = receive(&mut noise.as_slice()).await;
            }
        }
        assert!(matches!(receive(&mut [0xff; 64].as_slice()).await, Err(WireError::TooLong(u32::MAX))));
    }

    #[test]
    fn what_strangers_write_is_made_presentable() {
        assert_eq!(tidy("\u{1b}[31m Eve\nhere ", 64), "[31m Eve here");
        assert_eq!(tidy("\u{202e}evE", 64), "evE");
        assert_eq!(tidy(&"ä".repeat(1000), 280).chars().count(), 280);
    }

    #[test]
    fn the_longest_request_fits_a_message() {
        let long = |chars| "\u{10ffff}".repeat(chars);
        let request = Request { name: long(MAX_NAME_CHARS), text: long(MAX_REQUEST_CHARS), again: false };
        let bytes = encode(&Message::Request(request.clone()));
        assert!(bytes.len() < MAX_BYTES as usize);
        assert_eq!(decode(&bytes).expect("well formed"), Message::Request(request));
    }
}
