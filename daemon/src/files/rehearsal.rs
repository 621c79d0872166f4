//! Providers that do not keep to the rules, for tests and for measuring what becomes of a transfer that has one.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use kith_content::{ContentError, Provide, Served};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::pipe;
use super::wire::{self, Answer, Data, Frame, Get, Status};
use crate::net::{FilesStream, Stream};

/// A liar is honest about so much of the file, as a fraction of one: until it is trusted.
const TRUE_PART: u64 = 10;

/// A provider of a file that sends other bytes in its place from a tenth of it on.
pub struct Liar(Arc<Served>);

impl Liar {
    /// `folder` is where what the file is verified with is kept.
    ///
    /// # Errors
    /// When the file cannot be read, or the folder not be written.
    pub fn new(file: &Path, folder: &Path) -> Result<Self, ContentError> {
        let added = kith_content::add_file(file, folder, &mut |_| ControlFlow::Continue(()))?;
        let outboard = kith_content::outboard_path(folder, added.hash);
        Ok(Self(Arc::new(Served::open(file, Some(&outboard), added.hash, None)?)))
    }

    /// Until nobody can open streams any more.
    pub async fn serve(self, mut streams: mpsc::Receiver<FilesStream>) {
        let from = self.0.size() / TRUE_PART;
        while let Some(stream) = streams.recv().await {
            tokio::spawn(cheat(stream.stream, Arc::clone(&self.0), Trick::Lie { from }));
        }
    }
}

/// What a false provider does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// One byte of each answer is another, from that byte of the content on.
    Lie { from: u64 },
    /// It says that the file is longer.
    Size(i64),
    /// More bytes than were asked for.
    More,
    /// Fewer.
    Less,
    /// Bytes that are no frame.
    Garbage,
    /// Nothing, for ever.
    Silence,
    /// An answer that nobody has asked for.
    Unasked,
}

/// Says on a stream that it has whatever it is asked for, and does not keep to the rules, until the stream ends.
pub async fn cheat(mut stream: Stream, served: Arc<impl Provide>, trick: Trick) {
    while let Ok(frame) = pipe::read(&mut stream).await {
        let answer = match frame {
            Frame::Have(questions) => {
                let size_bytes = match trick {
                    Trick::Size(more) => served.size().wrapping_add_signed(more),
                    _ => served.size(),
                };
                let answer =
                    Answer { size_bytes, files: 1, name: "../../etc/passwd".into(), ..Answer::none(Status::Ok) };
                wire::encode(&Frame::HaveReply(vec![answer; questions.len()]))
            }
            Frame::Get(_) if trick == Trick::Silence => continue,
            Frame::Get(get) => answer(&get, &*served, trick),
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn answer(get: &Get, served: &impl Provide, trick: Trick) -> Vec<u8> {
    let mut body = Vec::new();
    let range = get.start..(get.start + get.length).min(served.size());
    if range.is_empty() || served.encode(range, &mut body).is_err() {
        body = vec![0; 1000];
    }
    match trick {
        Trick::Lie { from } if get.start >= from => {
            if let Some(last) = body.last_mut() {
                *last ^= 1;
            }
        }
        Trick::More => body.push(0),
        Trick::Less => _ = body.pop(),
        Trick::Garbage => return vec![0xff; 10_000],
        _ => {}
    }
    let id = if trick == Trick::Unasked { get.id + 1 } else { get.id };
    let encoded_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let data = Frame::Data(Data { id, status: Status::Ok, encoded_bytes, calling: false });
    [wire::encode(&data), body].concat()
}
