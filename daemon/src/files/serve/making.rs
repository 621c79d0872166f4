//! The answers to what a peer asks on a stream, one after the other: words from the database and the node's task, ranges
//! from the disk, as far as there is memory for them.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{FileHash, ShareState};
use kith_common::ids::PeerId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::{COUNTED, Job, KeepList, OfPeer, Serving, Told, Wish, Word, lock};
use crate::files::MAX_COPY_PARTS;
use crate::files::buffers::Buffer;
use crate::files::library::{Item, blocking};
use crate::files::wire::{self, Data, Frame, Get, Keep, Status, Verdict};
use crate::net::frames::FrameError;

/// What has this node write something down costs as much as so many questions.
const WISH_LOOKUPS: usize = 5;
/// Who finds no room in this time is told to ask again.
const ROOM_WITHIN: Duration = Duration::from_secs(5);
const ROOM_RETRY_MS: u32 = 1000;

/// An answer that is ready to be written.
pub(super) struct Ready {
    pub frame: Vec<u8>,
    pub body: Option<Buffer>,
    pub of: Option<(FileHash, Arc<Item>)>,
    _memory: Option<Memory>,
}

type Memory = (OwnedSemaphorePermit, OwnedSemaphorePermit);

pub(super) struct Maker<'a> {
    serving: &'a Serving,
    peer: PeerId,
    of_peer: Arc<OfPeer>,
    /// A list that comes in several frames.
    keep: Option<KeepList>,
}

impl<'a> Maker<'a> {
    pub fn new(serving: &'a Serving, peer: PeerId, of_peer: Arc<OfPeer>) -> Self {
        Self { serving, peer, of_peer, keep: None }
    }

    pub async fn make(
        &mut self,
        mut jobs: mpsc::Receiver<Job>,
        made: mpsc::Sender<Ready>,
        told: &Told,
    ) -> Result<(), FrameError> {
        while let Some(job) = jobs.recv().await {
            let ready = match job {
                Job::Get(get) => self.get(get, told).await,
                Job::Word(word, _place) => plain(&self.frame(word).await?),
            };
            if made.send(ready).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Keeps a peer from having the database to itself.
    async fn wait_for_turn(&self, questions: usize) {
        let now = Instant::now();
        let questions = u32::try_from(questions).unwrap_or(u32::MAX);
        let at = lock(&self.of_peer.turns).take(questions, now);
        if at > now {
            sleep_until(at.into()).await;
        }
    }

    async fn frame(&mut self, word: Word) -> Result<Frame, FrameError> {
        let stopping = || FrameError::Ended(std::io::ErrorKind::BrokenPipe.into());
        self.wait_for_turn(match &word {
            Word::Have(questions) => questions.len(),
            Word::Offer { .. } | Word::Keep(_) | Word::Drop(_) => WISH_LOOKUPS,
        })
        .await;
        Ok(match word {
            Word::Have(questions) => {
                let mut answers = Vec::with_capacity(questions.len());
                for question in &questions {
                    let answer = self.serving.library.answer(self.peer, question).await;
                    answers.push(answer.unwrap_or_else(|failure: Failure| {
                        tracing::warn!(%failure, "could not look up what a peer asks for");
                        wire::Answer::none(Status::NotFound)
                    }));
                }
                Frame::HaveReply(answers)
            }
            Word::Offer { ticket, files } => {
                Frame::OfferReply(self.wish(|reply| Wish::Offer { ticket, files, reply }).await.ok_or_else(stopping)?)
            }
            Word::Keep(keep) => match self.listed(keep)? {
                Some(keep) => {
                    Frame::KeepReply(self.wish(|reply| Wish::Keep { keep, reply }).await.ok_or_else(stopping)?)
                }
                // More of the list is to come.
                None => Frame::KeepReply(Verdict::Noted { held_bytes: 0 }),
            },
            Word::Drop(id) => {
                self.wish(|reply| Wish::Drop { id, reply }).await.ok_or_else(stopping)?;
                Frame::Dropped
            }
        })
    }

    async fn wish<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.serving.wishes.send((self.peer, wish(reply))).await.ok()?;
        answer.await.ok()
    }

    /// The list once it is whole, or the question without one.
    fn listed(&mut self, keep: Keep) -> Result<Option<KeepList>, FrameError> {
        let Keep { id, total_bytes, count, first, parts } = keep;
        if parts.is_empty() {
            self.keep = None;
            return Ok(Some(KeepList { id, total_bytes, count, parts }));
        }
        if first == 0 {
            self.keep = Some(KeepList { id, total_bytes, count, parts: Vec::new() });
        }
        let fits = |list: &KeepList| {
            list.id == id && list.count == count && list.parts.len() == first as usize && count <= MAX_COPY_PARTS
        };
        let Some(mut list) = self.keep.take().filter(fits) else {
            return Err(FrameError::Nonsense("a list of parts out of order"));
        };
        list.parts.extend(parts);
        match list.parts.len().cmp(&(count as usize)) {
            Ordering::Less => {
                self.keep = Some(list);
                Ok(None)
            }
            Ordering::Equal => Ok(Some(list)),
            Ordering::Greater => Err(FrameError::Nonsense("a list of more parts than it says")),
        }
    }

    async fn get(&mut self, get: Get, told: &Told) -> Ready {
        if lock(&told.cancelled).remove(&get.id) {
            return self.not(get.id, Status::Cancelled);
        }
        let item = match self.serving.library.open(self.peer, &get).await {
            Ok(item) => item,
            Err(status) => {
                // Who guesses hashes is slowed down.
                self.wait_for_turn(1).await;
                return self.not(get.id, status);
            }
        };
        let length = kith_content::encoded_bytes(get.size_bytes, get.range());
        let (Ok(encoded_bytes), Ok(capacity)) = (u32::try_from(length), usize::try_from(length)) else {
            return self.not(get.id, Status::Missing);
        };
        let Some(memory) = self.memory(capacity).await else {
            return self.not(get.id, Status::Busy { retry_ms: ROOM_RETRY_MS });
        };
        // It is never closed.
        let _reader = self.serving.readers.acquire().await;
        let (reading, range, mut body) = (Arc::clone(&item), get.range(), self.serving.buffers.take(capacity));
        let encoded = blocking(move || {
            body.clear();
            reading.provide.encode(range, &mut body)?;
            Ok(body)
        });
        match encoded.await {
            Ok(body) if body.len() == capacity => {
                let calling = *self.serving.in_call.borrow();
                let data = Data { id: get.id, status: Status::Ok, encoded_bytes, calling };
                let of = Some((get.hash, item));
                Ready { frame: wire::encode(&Frame::Data(data)), body: Some(body), of, _memory: Some(memory) }
            }
            Ok(_) => self.not(get.id, Status::Missing),
            Err(error) => {
                let status = match item.share {
                    Some(share) => self.serving.library.note(share, ShareState::Available, &error),
                    None => self.serving.library.note_kept(item.kept, &error),
                };
                self.not(get.id, status)
            }
        }
    }

    fn not(&self, id: u32, status: Status) -> Ready {
        let calling = *self.serving.in_call.borrow();
        plain(&Frame::Data(Data { id, status, encoded_bytes: 0, calling }))
    }

    async fn memory(&self, bytes: usize) -> Option<Memory> {
        let count = u32::try_from(bytes.div_ceil(COUNTED)).ok()?;
        let of_peer = Arc::clone(&self.of_peer.memory).acquire_many_owned(count).await.ok()?;
        let of_all = || timeout(ROOM_WITHIN, Arc::clone(&self.serving.memory).acquire_many_owned(count));
        let of_all = match of_all().await {
            // Somebody may have it to no use.
            Err(_) if self.serving.takers.end_slowest(Instant::now()) => of_all().await,
            waited => waited,
        };
        Some((of_peer, of_all.ok()?.ok()?))
    }
}

fn plain(frame: &Frame) -> Ready {
    Ready { frame: wire::encode(frame), body: None, of: None, _memory: None }
}
