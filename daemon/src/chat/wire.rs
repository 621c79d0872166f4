//! The frames of a chat stream, as `schema/wire.capnp` defines them: to bytes and back.
//!
//! The peer is authenticated and may still be hostile: what it sends is bounded before it is read, texts lose what acts
//! instead of being seen, and what makes no sense is an error or left out, never a panic.

use capnp::message::{Builder, HeapAllocator};
use kith_common::chat::{Attachment, GroupId, MAX_TITLE_CHARS, MessageId};
use kith_common::ids::PeerId;
use kith_common::text::{clean_line, clean_text};
use kith_common::wire_capnp as wire;
use kith_core::chat::Refusal;
use kith_store::{Body, Entry, Place, Sealed};

use super::check;
use crate::net::frames::{self, FrameError};

/// Of the frames and of what they mean.
pub(super) const VERSION: u16 = 1;
/// The longest entry (wire.capnp), sealed or not.
pub(super) const MAX_ENTRY_BYTES: usize = 64 * 1024;
/// Sealed entries are filled up to a multiple of this.
const SEALED_STEP_BYTES: usize = 256;
/// What a frame has around it: ids, lengths, the tables of the format.
const ENVELOPE_BYTES: usize = 1024;
pub(super) const MAX_FRAME_BYTES: usize = MAX_ENTRY_BYTES + ENVELOPE_BYTES;
/// Places that a hello names: more groups than two people share, in half a frame. What it does not name is said from the
/// beginning, and recognised.
pub(super) const MAX_MARKS: usize = 512;
/// One-time keys in one frame.
const MAX_KEYS: usize = 256;
/// Public keys have 32 bytes; anything longer is none.
const MAX_KEY_BYTES: usize = 64;
/// The end of the year 9999: what lies beyond is no time that anybody could read.
const LAST_UNIX_MS: i64 = 253_402_300_799_999;

/// What the peer says about messages that others hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealFrame {
    /// One-time public keys of the sender's.
    Keys(Vec<Vec<u8>>),
    /// Please keep this for somebody.
    Hold(Sealed),
    /// The sender keeps, or has delivered, the message with this id.
    Held([u8; 16]),
    /// Kept for you.
    Sealed(Sealed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub stored: Vec<(Place, u64)>,
    pub identity_key: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Hello(Hello),
    Entry(Entry),
    /// An entry that is not taken, whatever is in it.
    Unfit {
        place: Place,
        sequence: u64,
        why: Refusal,
    },
    Stored(Place, u64),
    Read(Place, u64),
    Refused {
        place: Place,
        from: u64,
        why: Refusal,
    },
    Seal(SealFrame),
    /// Of a newer version.
    Unknown,
}

// ---- to bytes

/// A frame with its length before it.
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new().first_segment_words(256));
    let mut root: wire::chat_frame::Builder<'_> = builder.init_root();
    match frame {
        Frame::Hello(hello) => write_hello(root.init_hello(), hello),
        Frame::Entry(entry) => write_entry(root.init_entry(), entry),
        Frame::Stored(place, mark) => write_mark(root.init_stored(), *place, *mark),
        Frame::Read(place, mark) => write_mark(root.init_read(), *place, *mark),
        Frame::Refused { place, from, why } => {
            let mut refused = root.init_refused();
            refused.set_conversation(place_bytes(place));
            refused.set_sequence(*from);
            refused.set_reason(why.number());
        }
        Frame::Seal(SealFrame::Keys(keys)) => {
            let mut list = root.init_keys(u32::try_from(keys.len().min(MAX_KEYS)).unwrap_or(0));
            for (index, key) in (0..).zip(keys.iter().take(MAX_KEYS)) {
                list.set(index, key);
            }
        }
        Frame::Seal(SealFrame::Hold(sealed)) => write_sealed(root.init_hold(), sealed),
        Frame::Seal(SealFrame::Held(id)) => root.set_held(id),
        Frame::Seal(SealFrame::Sealed(sealed)) => write_sealed(root.init_sealed(), sealed),
        Frame::Unfit { .. } | Frame::Unknown => root.set_unspecified(()),
    }
    frames::encode(&builder)
}

/// An entry by itself, as it is sealed. Its length says little about what is in it.
pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new().first_segment_words(256));
    write_entry(builder.init_root(), entry);
    let mut bytes = capnp::serialize::write_message_to_words(&builder);
    bytes.resize(bytes.len().next_multiple_of(SEALED_STEP_BYTES), 0);
    bytes
}

fn place_bytes(place: &Place) -> &[u8] {
    match place {
        Place::Direct => &[],
        Place::Group(group) => group.as_bytes(),
    }
}

fn write_mark(mut to: wire::chat_mark::Builder<'_>, place: Place, mark: u64) {
    to.set_conversation(place_bytes(&place));
    to.set_sequence(mark);
}

fn write_hello(mut to: wire::chat_hello::Builder<'_>, hello: &Hello) {
    to.set_version(VERSION);
    to.set_identity_key(&hello.identity_key);
    let marks = &hello.stored[..hello.stored.len().min(MAX_MARKS)];
    let mut list = to.init_stored(u32::try_from(marks.len()).unwrap_or(0));
    for (index, (place, mark)) in (0..).zip(marks) {
        write_mark(list.reborrow().get(index), *place, *mark);
    }
}

fn write_entry(mut to: wire::chat_entry::Builder<'_>, entry: &Entry) {
    to.set_conversation(place_bytes(&entry.place));
    to.set_sequence(entry.sequence);
    to.set_id(entry.id.as_bytes());
    to.set_sent_unix_ms(entry.sent_unix_ms);
    match &entry.body {
        Body::Text { text, reply_to, attachments } => {
            let mut to = to.init_text();
            to.set_text(text.as_str());
            if let Some(id) = reply_to {
                to.set_reply_to(id.as_bytes());
            }
            let mut list = to.init_attachments(u32::try_from(attachments.len()).unwrap_or(0));
            for (index, attachment) in (0..).zip(attachments) {
                let mut to = list.reborrow().get(index);
                to.set_ticket(attachment.ticket.as_str());
                to.set_name(attachment.name.as_str());
                to.set_size_bytes(attachment.size_bytes);
            }
        }
        Body::Edit(text) => to.set_edit(text.as_str()),
        Body::Delete => to.set_delete(()),
        Body::React { emoji, on } => {
            let mut to = to.init_react();
            to.set_emoji(emoji.as_str());
            to.set_on(*on);
        }
        Body::Group { title, members } => {
            let mut to = to.init_group();
            to.set_title(title.as_str());
            let mut list = to.init_members(u32::try_from(members.len()).unwrap_or(0));
            for (index, (peer, from)) in (0..).zip(members) {
                let mut to = list.reborrow().get(index);
                to.set_peer(&peer.to_bytes());
                to.set_from(*from);
            }
        }
        Body::Leave => to.set_leave(()),
    }
}

fn write_sealed(mut to: wire::sealed_message::Builder<'_>, sealed: &Sealed) {
    to.set_id(&sealed.id);
    to.set_author(&sealed.author.to_bytes());
    to.set_recipient(&sealed.recipient.to_bytes());
    to.set_expires_unix_ms(sealed.expires_unix_ms);
    to.set_kind(sealed.kind);
    to.set_body(&sealed.body);
}

// ---- from bytes

/// Reads a frame without its length.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    use wire::chat_frame::Which;
    let message = frames::open(bytes, MAX_FRAME_BYTES)?;
    let root: wire::chat_frame::Reader<'_> = message.get_root()?;
    let Ok(which) = root.which() else { return Ok(Frame::Unknown) };
    Ok(match which {
        Which::Unspecified(()) => Frame::Unknown,
        Which::Hello(hello) => Frame::Hello(read_hello(hello?)?),
        Which::Entry(entry) => read_entry(entry?, bytes.len())?,
        Which::Stored(mark) => read_mark(mark?).map(|(place, mark)| Frame::Stored(place, mark))?,
        Which::Read(mark) => read_mark(mark?).map(|(place, mark)| Frame::Read(place, mark))?,
        Which::Refused(refused) => {
            let refused = refused?;
            Frame::Refused {
                place: read_place(refused.get_conversation()?)?,
                from: refused.get_sequence(),
                why: Refusal::from_number(refused.get_reason()).unwrap_or(Refusal::NotUnderstood),
            }
        }
        Which::Keys(keys) => {
            let keys = keys?;
            let mut read = Vec::new();
            for key in keys.iter().take(MAX_KEYS) {
                read.extend(Some(key?).filter(|key| key.len() <= MAX_KEY_BYTES).map(<[u8]>::to_vec));
            }
            Frame::Seal(SealFrame::Keys(read))
        }
        Which::Hold(sealed) => Frame::Seal(SealFrame::Hold(read_sealed(sealed?)?)),
        Which::Held(id) => Frame::Seal(SealFrame::Held(id_bytes(id?)?)),
        Which::Sealed(sealed) => Frame::Seal(SealFrame::Sealed(read_sealed(sealed?)?)),
    })
}

/// What was sealed. `None`: it is of a newer version, or no entry that is taken.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Option<Entry>, FrameError> {
    let message = frames::open(bytes, MAX_FRAME_BYTES)?;
    Ok(match read_entry(message.get_root()?, bytes.len())? {
        Frame::Entry(entry) => Some(entry),
        _ => None,
    })
}

fn id_bytes(bytes: &[u8]) -> Result<[u8; 16], FrameError> {
    bytes.try_into().map_err(|_| FrameError::Nonsense("no id of 16 bytes"))
}

fn read_place(bytes: &[u8]) -> Result<Place, FrameError> {
    if bytes.is_empty() {
        return Ok(Place::Direct);
    }
    GroupId::from_slice(bytes).map(Place::Group).map_err(|_| FrameError::Nonsense("no conversation"))
}

fn read_mark(mark: wire::chat_mark::Reader<'_>) -> Result<(Place, u64), FrameError> {
    Ok((read_place(mark.get_conversation()?)?, mark.get_sequence()))
}

fn read_hello(hello: wire::chat_hello::Reader<'_>) -> Result<Hello, FrameError> {
    let short = |bytes: &[u8]| if bytes.len() <= MAX_KEY_BYTES { bytes.to_vec() } else { Vec::new() };
    Ok(Hello {
        stored: hello.get_stored()?.iter().take(MAX_MARKS).map(read_mark).collect::<Result<_, _>>()?,
        identity_key: short(hello.get_identity_key()?),
    })
}

fn read_entry(from: wire::chat_entry::Reader<'_>, bytes: usize) -> Result<Frame, FrameError> {
    let (place, sequence) = (read_place(from.get_conversation()?)?, from.get_sequence());
    let unfit = |why| Ok(Frame::Unfit { place, sequence, why });
    if bytes > MAX_ENTRY_BYTES {
        return unfit(Refusal::TooLarge);
    }
    let id = MessageId::from_bytes(id_bytes(from.get_id()?)?);
    let body = match read_body(from)? {
        Ok(body) => body,
        Err(why) => return unfit(why),
    };
    // Clocks may be wrong by years; what is beyond all years is shown as the last.
    let sent_unix_ms = from.get_sent_unix_ms().clamp(0, LAST_UNIX_MS);
    Ok(Frame::Entry(Entry { place, sequence, id, sent_unix_ms, body }))
}

fn read_body(from: wire::chat_entry::Reader<'_>) -> Result<Result<Body, Refusal>, FrameError> {
    use wire::chat_entry::Which;
    let Ok(which) = from.which() else { return Ok(Err(Refusal::NotUnderstood)) };
    // What is no UTF-8 is no text of a Kith node.
    let text = |text: capnp::text::Reader<'_>| text.to_str().map(clean_text);
    let line = |text: capnp::text::Reader<'_>, max: usize| text.to_str().map(|text| clean_line(text, max));
    let body = match which {
        Which::Unspecified(()) => return Ok(Err(Refusal::NotUnderstood)),
        Which::Text(from) => {
            let from = from?;
            let (listed, reply) = (from.get_attachments()?, from.get_reply_to()?);
            if !check::attachments_fit(listed.len() as usize) {
                return Ok(Err(Refusal::TooLarge));
            }
            let mut attachments = Vec::new();
            for attachment in listed {
                attachments.push(Attachment {
                    ticket: line(attachment.get_ticket()?, usize::MAX)?,
                    name: line(attachment.get_name()?, check::MAX_FILE_NAME_CHARS)?,
                    size_bytes: attachment.get_size_bytes(),
                });
            }
            let reply_to = if reply.is_empty() { None } else { Some(MessageId::from_bytes(id_bytes(reply)?)) };
            Body::Text { text: text(from.get_text()?)?, reply_to, attachments }
        }
        Which::Edit(edit) => Body::Edit(text(edit?)?),
        Which::Delete(()) => Body::Delete,
        Which::React(react) => {
            let react = react?;
            Body::React { emoji: line(react.get_emoji()?, usize::MAX)?, on: react.get_on() }
        }
        Which::Group(group) => {
            let group = group?;
            let mut members = Vec::new();
            let listed = group.get_members()?;
            if !check::members_fit(listed.len() as usize) {
                return Ok(Err(Refusal::TooLarge));
            }
            for member in listed {
                let peer = PeerId::from_bytes(member.get_peer()?).map_err(|_| FrameError::Nonsense("no peer id"))?;
                members.push((peer, member.get_from()));
            }
            Body::Group { title: line(group.get_title()?, MAX_TITLE_CHARS)?, members }
        }
        Which::Leave(()) => Body::Leave,
    };
    Ok(if check::fits(&body) { Ok(body) } else { Err(Refusal::TooLarge) })
}

fn read_sealed(from: wire::sealed_message::Reader<'_>) -> Result<Sealed, FrameError> {
    let peer = |bytes: &[u8]| PeerId::from_bytes(bytes).map_err(|_| FrameError::Nonsense("no peer id"));
    Ok(Sealed {
        id: id_bytes(from.get_id()?)?,
        author: peer(from.get_author()?)?,
        recipient: peer(from.get_recipient()?)?,
        expires_unix_ms: from.get_expires_unix_ms(),
        kind: from.get_kind(),
        body: Some(from.get_body()?).filter(|body| body.len() <= MAX_ENTRY_BYTES).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::frames::harm;

    fn group() -> Place {
        Place::Group(GroupId::from_bytes([7; 16]))
    }

    pub fn text(sequence: u64, text: &str) -> Entry {
        let body = Body::Text { text: text.to_owned(), reply_to: None, attachments: Vec::new() };
        Entry { place: Place::Direct, sequence, id: MessageId::from_bytes([sequence as u8; 16]), sent_unix_ms: 5, body }
    }

    fn examples() -> Vec<Frame> {
        let peer = PeerId::from_public_key([3; 32]);
        let sealed =
            Sealed { id: [1; 16], author: peer, recipient: peer, expires_unix_ms: 9, kind: 1, body: vec![5; 100] };
        let attachment = Attachment { ticket: "kith:file".into(), name: "picture.png".into(), size_bytes: 77 };
        let body = |body| Frame::Entry(Entry { place: group(), body, ..text(3, "") });
        vec![
            Frame::Hello(Hello { stored: vec![(Place::Direct, 3), (group(), u64::MAX)], identity_key: vec![9; 32] }),
            Frame::Entry(text(1, "hello\nworld")),
            body(Body::Text {
                text: "שלום".into(),
                reply_to: Some(MessageId::from_bytes([4; 16])),
                attachments: vec![attachment; 16],
            }),
            body(Body::Edit("other".into())),
            body(Body::Delete),
            body(Body::React { emoji: "👍🏽".into(), on: true }),
            body(Body::Group { title: "Family".into(), members: vec![(peer, 1); 32] }),
            body(Body::Leave),
            Frame::Stored(group(), 8),
            Frame::Read(Place::Direct, 9),
            Frame::Refused { place: Place::Direct, from: 1, why: Refusal::NotContact },
            Frame::Seal(SealFrame::Keys(vec![vec![1; 32], vec![2; 32]])),
            Frame::Seal(SealFrame::Hold(sealed.clone())),
            Frame::Seal(SealFrame::Held([6; 16])),
            Frame::Seal(SealFrame::Sealed(sealed)),
            Frame::Unknown,
        ]
    }

    fn through(frame: &Frame) -> Frame {
        decode(harm::message(&encode(frame))).expect("it parses")
    }

    #[test]
    fn every_frame_survives_the_wire() {
        for frame in examples() {
            assert_eq!(through(&frame), frame);
        }
    }

    #[test]
    fn an_entry_by_itself_survives_and_shows_its_length_in_steps_only() {
        for frame in examples() {
            let Frame::Entry(entry) = frame else { continue };
            let bytes = encode_entry(&entry);
            assert_eq!(bytes.len() % SEALED_STEP_BYTES, 0);
            assert_eq!(decode_entry(&bytes).expect("it parses"), Some(entry));
            for cut in 0..bytes.len() {
                let _ = decode_entry(&bytes[..cut]);
            }
        }
        assert_eq!(encode_entry(&text(1, "yes")).len(), encode_entry(&text(1, "certainly not")).len());
    }

    #[test]
    fn the_longest_message_fits_a_frame_and_a_longer_one_is_refused_by_its_number() {
        let text = |length: usize| Body::Text { text: "x".repeat(length), reply_to: None, attachments: Vec::new() };
        let entry = |body| Frame::Entry(Entry { body, ..self::text(3, "") });
        let longest = entry(text(16 * 1024));
        assert_eq!(through(&longest), longest);
        for length in [16 * 1024 + 1, 60_000, 65_400] {
            let refused = Frame::Unfit { place: Place::Direct, sequence: 3, why: Refusal::TooLarge };
            assert_eq!(through(&entry(text(length))), refused);
        }
        let many = Body::Group { title: "x".into(), members: vec![(PeerId::from_public_key([3; 32]), 1); 33] };
        assert!(matches!(through(&entry(many)), Frame::Unfit { why: Refusal::TooLarge, .. }));
    }

    #[test]
    fn texts_lose_what_acts_and_times_beyond_all_years_are_clamped() {
        let mut entry = text(1, "exe.\u{202e}gnp\u{1b}[2J");
        entry.sent_unix_ms = i64::MAX;
        let Frame::Entry(read) = through(&Frame::Entry(entry)) else { panic!("an entry") };
        let Body::Text { text, .. } = read.body else { panic!("a text") };
        assert_eq!((text.as_str(), read.sent_unix_ms), ("exe.gnp[2J", LAST_UNIX_MS));
        let old = Entry { sent_unix_ms: i64::MIN, ..self::text(1, "x") };
        assert!(matches!(through(&Frame::Entry(old)), Frame::Entry(Entry { sent_unix_ms: 0, .. })));
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_frame_and_never_a_panic() {
        harm::is_withstood(examples().iter().map(encode), decode);
    }
}
