//! The frames of a files stream, as `schema/wire.capnp` defines them: to bytes and back.
//!
//! The peer is authenticated and may still be hostile: what it sends is bounded before it is read, names lose what acts
//! instead of being seen, and what makes no sense is an error, never a panic.

use capnp::message::{Builder, HeapAllocator};
use kith_common::file::{FileHash, FileKind, MAX_FILE_NAME_BYTES, MAX_SIZE_BYTES};
use kith_common::text::clean_line;
use kith_common::wire_capnp as wire;
use kith_content::GROUP_BYTES;
use kith_store::PartRow;

use crate::net::frames::{self, FrameError};

/// The longest frame (wire.capnp).
pub(super) const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Questions in one `have`.
pub(super) const MAX_QUESTIONS: usize = 32;
/// The most that one `get` asks for.
pub(super) const MAX_GET_BYTES: u64 = 4 * 1024 * 1024;
/// Parts of a copy in one frame: 80 bytes each, and the tables of the format.
pub(super) const MAX_PARTS: usize = 400;
/// The largest list of a folder's files (see `kith_content::Manifest`).
pub(super) const MAX_LIST_BYTES: u64 = 32 * 1024 * 1024;
/// A ticket has at most 4096 characters.
const MAX_TICKET_CHARS: usize = 4200;
/// A sentence.
const MAX_REASON_CHARS: usize = 300;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    NotFound,
    NotAllowed,
    Busy {
        retry_ms: u32,
    },
    /// This range is not there.
    Missing,
    /// What was shared is another file now.
    Changed,
    Cancelled,
}

impl Status {
    const fn number(self) -> u16 {
        match self {
            Self::Ok => 1,
            Self::NotFound => 2,
            Self::NotAllowed => 3,
            Self::Busy { .. } => 4,
            Self::Missing => 5,
            Self::Changed => 6,
            Self::Cancelled => 7,
        }
    }

    const fn from_number(number: u16, retry_ms: u32) -> Self {
        match number {
            1 => Self::Ok,
            3 => Self::NotAllowed,
            4 => Self::Busy { retry_ms },
            5 => Self::Missing,
            6 => Self::Changed,
            7 => Self::Cancelled,
            // What a newer version says is not here for us.
            _ => Self::NotFound,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// `None`: only copies are asked for.
    pub hash: Option<FileHash>,
    /// `None`: the key is not known.
    pub copy: Option<FileHash>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: Status,
    pub kind: FileKind,
    pub size_bytes: u64,
    pub list_bytes: u64,
    pub files: u32,
    pub name: String,
    /// The encrypted bytes: their hash and how many.
    pub copy: Option<(FileHash, u64)>,
}

impl Answer {
    /// Nothing of it.
    pub fn none(status: Status) -> Self {
        let (kind, name) = (FileKind::File, String::new());
        Self { status, kind, size_bytes: 0, list_bytes: 0, files: 0, name, copy: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Get {
    pub id: u32,
    pub hash: FileHash,
    /// `hash` is the id of a sealed copy.
    pub copy: bool,
    pub size_bytes: u64,
    pub start: u64,
    pub length: u64,
}

impl Get {
    pub fn range(&self) -> std::ops::Range<u64> {
        self.start..self.start + self.length
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    pub id: u32,
    pub status: Status,
    pub encoded_bytes: u32,
    /// The sender is in a call.
    pub calling: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Noted { held_bytes: u64 },
    Agreed { held_bytes: u64 },
    Refused(String),
    SendList,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keep {
    pub id: FileHash,
    pub total_bytes: u64,
    pub count: u32,
    pub first: u32,
    pub parts: Vec<PartRow>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Have(Vec<Question>),
    HaveReply(Vec<Answer>),
    Get(Get),
    /// Followed by so many bytes.
    Data(Data),
    Cancel(u32),
    Offer {
        ticket: String,
        files: u32,
    },
    OfferReply(Verdict),
    Keep(Keep),
    KeepReply(Verdict),
    Drop(FileHash),
    Dropped,
    /// Bytes a second at the most; `None`: as fast as it goes.
    Pace(Option<u64>),
    /// Of a newer version.
    Unknown,
}

// ---- to bytes

/// A frame with its length before it.
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new().first_segment_words(64));
    let mut root: wire::file_frame::Builder<'_> = builder.init_root();
    match frame {
        Frame::Have(questions) => {
            let questions = &questions[..questions.len().min(MAX_QUESTIONS)];
            let mut list = root.init_have(length(questions));
            for (index, question) in (0..).zip(questions) {
                let mut to = list.reborrow().get(index);
                to.set_hash(bytes(&question.hash));
                to.set_copy(bytes(&question.copy));
            }
        }
        Frame::HaveReply(answers) => {
            let answers = &answers[..answers.len().min(MAX_QUESTIONS)];
            let mut list = root.init_have_reply(length(answers));
            for (index, answer) in (0..).zip(answers) {
                write_answer(list.reborrow().get(index), answer);
            }
        }
        Frame::Get(get) => {
            let mut to = root.init_get();
            to.set_id(get.id);
            to.set_hash(get.hash.as_bytes());
            to.set_copy(get.copy);
            to.set_size_bytes(get.size_bytes);
            to.set_start(get.start);
            to.set_length_bytes(u32::try_from(get.length).unwrap_or(u32::MAX));
        }
        Frame::Data(data) => {
            let mut to = root.init_data();
            to.set_id(data.id);
            to.set_status(data.status.number());
            if let Status::Busy { retry_ms } = data.status {
                to.set_retry_ms(retry_ms);
            }
            to.set_encoded_bytes(data.encoded_bytes);
            to.set_calling(data.calling);
        }
        Frame::Cancel(id) => root.set_cancel(*id),
        Frame::Offer { ticket, files } => {
            let mut to = root.init_offer();
            to.set_ticket(ticket.as_str());
            to.set_files(*files);
        }
        Frame::OfferReply(verdict) => write_verdict(root.init_offer_reply(), verdict),
        Frame::Keep(keep) => {
            let mut to = root.init_keep();
            to.set_id(keep.id.as_bytes());
            to.set_total_bytes(keep.total_bytes);
            to.set_count(keep.count);
            to.set_first(keep.first);
            let parts = &keep.parts[..keep.parts.len().min(MAX_PARTS)];
            let mut list = to.init_parts(length(parts));
            for (index, part) in (0..).zip(parts) {
                let mut to = list.reborrow().get(index);
                to.set_id(part.id.as_bytes());
                to.set_hash(part.hash.as_bytes());
                to.set_size_bytes(part.size_bytes);
            }
        }
        Frame::KeepReply(verdict) => write_verdict(root.init_keep_reply(), verdict),
        Frame::Drop(id) => root.set_drop(id.as_bytes()),
        Frame::Dropped => root.set_dropped(()),
        Frame::Pace(rate) => root.set_pace(rate.unwrap_or(0)),
        Frame::Unknown => root.set_unspecified(()),
    }
    frames::encode(&builder)
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(0)
}

fn bytes(hash: &Option<FileHash>) -> &[u8] {
    hash.as_ref().map_or(&[], |hash| hash.as_bytes())
}

fn write_answer(mut to: wire::file_answer::Builder<'_>, answer: &Answer) {
    to.set_status(answer.status.number());
    to.set_kind(match answer.kind {
        FileKind::File => 1,
        FileKind::Folder => 2,
    });
    to.set_size_bytes(answer.size_bytes);
    to.set_list_bytes(answer.list_bytes);
    to.set_files(answer.files);
    to.set_name(answer.name.as_str());
    if let Some((hash, size)) = &answer.copy {
        to.set_copy_hash(hash.as_bytes());
        to.set_copy_bytes(*size);
    }
}

fn write_verdict(mut to: wire::file_verdict::Builder<'_>, verdict: &Verdict) {
    match verdict {
        Verdict::Noted { held_bytes } => {
            to.set_status(1);
            to.set_held_bytes(*held_bytes);
        }
        Verdict::Agreed { held_bytes } => {
            to.set_status(2);
            to.set_held_bytes(*held_bytes);
        }
        Verdict::Refused(reason) => {
            to.set_status(3);
            to.set_reason(reason.as_str());
        }
        Verdict::SendList => to.set_status(4),
    }
}

// ---- from bytes

/// Of a frame without its length.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    use wire::file_frame::Which;
    let message = frames::open(bytes, MAX_FRAME_BYTES)?;
    let root: wire::file_frame::Reader<'_> = message.get_root()?;
    // A kind that this version does not know is no error: the stream goes on.
    let Ok(which) = root.which() else { return Ok(Frame::Unknown) };
    Ok(match which {
        Which::Unspecified(()) => Frame::Unknown,
        Which::Have(list) => {
            let list = list?;
            if list.len() as usize > MAX_QUESTIONS {
                return Err(FrameError::Nonsense("too many questions"));
            }
            let question = |question: wire::file_question::Reader<'_>| {
                Ok::<_, FrameError>(Question {
                    hash: optional(question.get_hash()?)?,
                    copy: optional(question.get_copy()?)?,
                })
            };
            Frame::Have(list.iter().map(question).collect::<Result<_, _>>()?)
        }
        Which::HaveReply(list) => {
            let list = list?;
            if list.len() as usize > MAX_QUESTIONS {
                return Err(FrameError::Nonsense("too many answers"));
            }
            Frame::HaveReply(list.iter().map(read_answer).collect::<Result<_, _>>()?)
        }
        Which::Get(get) => Frame::Get(read_get(get?)?),
        Which::Data(data) => {
            let data = data?;
            Frame::Data(Data {
                id: data.get_id(),
                status: Status::from_number(data.get_status(), data.get_retry_ms()),
                encoded_bytes: data.get_encoded_bytes(),
                calling: data.get_calling(),
            })
        }
        Which::Cancel(id) => Frame::Cancel(id),
        Which::Offer(offer) => {
            let offer = offer?;
            Frame::Offer { ticket: line(offer.get_ticket()?, MAX_TICKET_CHARS)?, files: offer.get_files() }
        }
        Which::OfferReply(verdict) => Frame::OfferReply(read_verdict(verdict?)?),
        Which::Keep(keep) => {
            let keep = keep?;
            let list = keep.get_parts()?;
            if list.len() as usize > MAX_PARTS {
                return Err(FrameError::Nonsense("too many parts"));
            }
            let part = |part: wire::file_copy_part::Reader<'_>| {
                Ok::<_, FrameError>(PartRow {
                    id: hash(part.get_id()?)?,
                    hash: hash(part.get_hash()?)?,
                    size_bytes: size(part.get_size_bytes())?,
                })
            };
            Frame::Keep(Keep {
                id: hash(keep.get_id()?)?,
                total_bytes: size(keep.get_total_bytes())?,
                count: keep.get_count(),
                first: keep.get_first(),
                parts: list.iter().map(part).collect::<Result<_, _>>()?,
            })
        }
        Which::KeepReply(verdict) => Frame::KeepReply(read_verdict(verdict?)?),
        Which::Drop(id) => Frame::Drop(hash(id?)?),
        Which::Dropped(()) => Frame::Dropped,
        Which::Pace(rate) => Frame::Pace(Some(rate).filter(|rate| *rate > 0)),
    })
}

fn hash(bytes: &[u8]) -> Result<FileHash, FrameError> {
    FileHash::from_slice(bytes).map_err(|_| FrameError::Nonsense("a hash that is none"))
}

fn optional(bytes: &[u8]) -> Result<Option<FileHash>, FrameError> {
    if bytes.is_empty() { Ok(None) } else { hash(bytes).map(Some) }
}

fn size(bytes: u64) -> Result<u64, FrameError> {
    // What is encrypted is a little longer.
    if bytes <= 2 * MAX_SIZE_BYTES { Ok(bytes) } else { Err(FrameError::Nonsense("a size that no file has")) }
}

fn line(text: capnp::text::Reader<'_>, max_chars: usize) -> Result<String, FrameError> {
    Ok(clean_line(text.to_str()?, max_chars))
}

fn read_answer(answer: wire::file_answer::Reader<'_>) -> Result<Answer, FrameError> {
    let copy = optional(answer.get_copy_hash()?)?;
    let list_bytes = answer.get_list_bytes();
    if list_bytes > MAX_LIST_BYTES {
        return Err(FrameError::Nonsense("a folder with too many files"));
    }
    Ok(Answer {
        status: Status::from_number(answer.get_status(), 0),
        kind: if answer.get_kind() == 2 { FileKind::Folder } else { FileKind::File },
        size_bytes: size(answer.get_size_bytes())?,
        list_bytes,
        files: answer.get_files(),
        name: line(answer.get_name()?, MAX_FILE_NAME_BYTES)?,
        copy: copy.map(|hash| Ok::<_, FrameError>((hash, size(answer.get_copy_bytes())?))).transpose()?,
    })
}

fn read_get(get: wire::file_get::Reader<'_>) -> Result<Get, FrameError> {
    let get = Get {
        id: get.get_id(),
        hash: hash(get.get_hash()?)?,
        copy: get.get_copy(),
        size_bytes: size(get.get_size_bytes())?,
        start: get.get_start(),
        length: u64::from(get.get_length_bytes()),
    };
    let fits = get.length <= MAX_GET_BYTES
        && get.start.is_multiple_of(GROUP_BYTES)
        && get.start.checked_add(get.length).is_some_and(|end| end <= get.size_bytes);
    if fits { Ok(get) } else { Err(FrameError::Nonsense("a range that is none")) }
}

fn read_verdict(verdict: wire::file_verdict::Reader<'_>) -> Result<Verdict, FrameError> {
    let held_bytes = verdict.get_held_bytes();
    Ok(match verdict.get_status() {
        1 => Verdict::Noted { held_bytes },
        2 => Verdict::Agreed { held_bytes },
        4 => Verdict::SendList,
        _ => Verdict::Refused(line(verdict.get_reason()?, MAX_REASON_CHARS)?),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::frames::harm;

    fn n(n: u8) -> FileHash {
        FileHash::from_bytes([n; 32])
    }

    pub fn examples() -> Vec<Frame> {
        let answer = Answer {
            status: Status::Ok,
            kind: FileKind::Folder,
            size_bytes: 5_000_000_000,
            list_bytes: 77,
            files: 12,
            name: "Größe 🙂".into(),
            copy: Some((n(8), 99)),
        };
        let part = PartRow { id: n(1), hash: n(2), size_bytes: 3 };
        let get = Get { id: 7, hash: n(3), copy: true, size_bytes: 1 << 21, start: 1 << 20, length: 1 << 20 };
        let data = |status| Frame::Data(Data { id: 7, status, encoded_bytes: 1000, calling: true });
        vec![
            Frame::Have(vec![Question { hash: Some(n(1)), copy: None }; 32]),
            Frame::HaveReply(vec![answer; 32]),
            Frame::HaveReply(vec![Answer::none(Status::NotFound)]),
            Frame::Get(get),
            data(Status::Ok),
            data(Status::Busy { retry_ms: 500 }),
            data(Status::Changed),
            Frame::Cancel(9),
            Frame::Offer { ticket: "kithfile:abc".into(), files: 3 },
            Frame::OfferReply(Verdict::Noted { held_bytes: 0 }),
            Frame::OfferReply(Verdict::Refused("No.".into())),
            Frame::Keep(Keep { id: n(1), total_bytes: 1 << 43, count: 400, first: 0, parts: vec![part; MAX_PARTS] }),
            Frame::KeepReply(Verdict::Agreed { held_bytes: 5 }),
            Frame::KeepReply(Verdict::SendList),
            Frame::Drop(n(9)),
            Frame::Dropped,
            Frame::Pace(Some(1)),
            Frame::Pace(None),
            Frame::Unknown,
        ]
    }

    #[test]
    fn every_frame_survives_the_wire_and_fits() {
        for frame in examples() {
            let bytes = encode(&frame);
            let bytes = harm::message(&bytes);
            assert!(bytes.len() <= MAX_FRAME_BYTES, "{}", bytes.len());
            assert_eq!(decode(bytes).expect("it parses"), frame);
        }
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        let get = |start, length, size_bytes| {
            let get = Get { id: 1, hash: n(1), copy: false, size_bytes, start, length };
            decode(harm::message(&encode(&Frame::Get(get))))
        };
        assert!(get(0, 0, 0).is_ok() && get(GROUP_BYTES, 1, GROUP_BYTES + 1).is_ok());
        for (start, length, size) in [
            (1, 5, 100),
            (0, 101, 100),
            (u64::MAX - u64::MAX % GROUP_BYTES, 1 << 20, MAX_SIZE_BYTES),
            (0, MAX_GET_BYTES + 1, MAX_SIZE_BYTES),
            (0, 1, u64::MAX),
        ] {
            assert!(get(start, length, size).is_err(), "{start} {length} {size}");
        }
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_frame_and_never_a_panic() {
        harm::is_withstood(examples().iter().map(encode), decode);
    }
}
