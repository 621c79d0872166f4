//! One question after the other on a stream of our own, each answered within a time.

use std::time::Duration;

use kith_common::failure::Failure;
use kith_common::file::FileHash;
use kith_common::ids::PeerId;
use kith_common::node::Path;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::pipe;
use super::ports::Network;
use super::wire::{Answer, Frame, Get, Keep, Question, Status, Verdict};
use crate::net::Stream;
use crate::net::frames::FrameError;

/// Whoever is asked a short question looks into its database.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The first part of an answer of 4 MiB, through a relay.
const BYTES_WITHIN: Duration = Duration::from_secs(60);

/// An open stream on which nothing is under way.
pub(super) struct Talk {
    pub peer: PeerId,
    pub path: Path,
    pub stream: Stream,
    pub next_id: u32,
}

/// What came of asking for a range.
pub(super) enum Got {
    Bytes(Vec<u8>),
    Not(Status),
}

impl Talk {
    pub async fn open(net: &impl Network, peer: PeerId) -> Result<Self, Failure> {
        let opened = net.open_files(peer).await?;
        Ok(Self { peer, path: opened.path, stream: opened.stream, next_id: 0 })
    }

    async fn ask(&mut self, frame: &Frame) -> Result<Frame, FrameError> {
        let asking = async {
            pipe::write(&mut self.stream, frame).await?;
            loop {
                match pipe::read(&mut self.stream).await? {
                    Frame::Unknown => {}
                    answer => return Ok(answer),
                }
            }
        };
        timeout(ANSWER_WITHIN, asking).await?
    }

    /// As many answers as questions.
    pub async fn have(&mut self, questions: &[Question]) -> Result<Vec<Answer>, FrameError> {
        match self.ask(&Frame::Have(questions.to_vec())).await? {
            Frame::HaveReply(answers) if answers.len() == questions.len() => Ok(answers),
            _ => Err(FrameError::Nonsense("an answer to no question")),
        }
    }

    /// The encoded range; not verified. The id of `get` is chosen here.
    pub async fn get(&mut self, get: Get) -> Result<Got, FrameError> {
        let id = self.next_id;
        self.next_id += 1;
        let range = get.range();
        let expected = kith_content::encoded_bytes(get.size_bytes, range);
        let Frame::Data(data) = self.ask(&Frame::Get(Get { id, ..get })).await? else {
            return Err(FrameError::Nonsense("an answer to no question"));
        };
        if data.id != id {
            return Err(FrameError::Nonsense("an answer to no question"));
        }
        if data.status != Status::Ok {
            return Ok(Got::Not(data.status));
        }
        if u64::from(data.encoded_bytes) != expected {
            return Err(FrameError::Nonsense("an answer of another length than was asked for"));
        }
        // Within MAX_GET_BYTES and its part of the tree.
        let mut bytes = vec![0; data.encoded_bytes as usize];
        timeout(BYTES_WITHIN, self.stream.read_exact(&mut bytes)).await??;
        Ok(Got::Bytes(bytes))
    }

    pub async fn offer(&mut self, ticket: String, files: u32) -> Result<Verdict, FrameError> {
        match self.ask(&Frame::Offer { ticket, files }).await? {
            Frame::OfferReply(verdict) => Ok(verdict),
            _ => Err(FrameError::Nonsense("an answer to no question")),
        }
    }

    pub async fn keep(&mut self, keep: Keep) -> Result<Verdict, FrameError> {
        match self.ask(&Frame::Keep(keep)).await? {
            Frame::KeepReply(verdict) => Ok(verdict),
            _ => Err(FrameError::Nonsense("an answer to no question")),
        }
    }

    pub async fn drop_copy(&mut self, id: FileHash) -> Result<(), FrameError> {
        match self.ask(&Frame::Drop(id)).await? {
            Frame::Dropped => Ok(()),
            _ => Err(FrameError::Nonsense("an answer to no question")),
        }
    }
}
