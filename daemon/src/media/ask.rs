//! Questions to media sockets of other nodes outside of calls: what do you see this socket at, and which of my numbered
//! probes have reached you? They are STUN Binding requests, which connected peers answer anyway; the numbers travel in an
//! attribute of our own that others ignore.
//!
//! Whoever asks keeps the time and knows what was asked; here questions leave, and answers find their way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kith_core::probe::{Report, Witness};
use tokio::sync::mpsc;

use super::stun::{self, TransactionId};

/// Answers that wait to be looked at: those of a second from 50 peers, and bursts.
const ANSWERS: usize = 256;
/// Peers whose probes are remembered; the longest silent one is forgotten for a new one.
const MAX_WITNESSED: usize = 256;
/// Tells answers to these questions from those to the questions of sessions.
const PREFIX: usize = 4;

/// The number of a probe, within a row that the asking side has named at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub row: u32,
    pub number: u32,
}

/// What a media socket has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub from: SocketAddr,
    /// What the question was sent with; whoever answers knows it, and nobody else.
    pub tag: u64,
    /// Where the question came from, as it saw it.
    pub seen: Option<SocketAddr>,
    /// Which probes of the row have arrived.
    pub report: Option<(u32, Report)>,
    pub at: Instant,
}

/// The asking side, shared by both sockets.
pub struct Questions {
    prefix: [u8; PREFIX],
    listener: Mutex<Option<mpsc::Sender<Answer>>>,
}

impl Questions {
    pub fn new() -> Self {
        Self { prefix: rand::random(), listener: Mutex::default() }
    }

    fn listener(&self) -> MutexGuard<'_, Option<mpsc::Sender<Answer>>> {
        // Replaced whole, so a panic elsewhere leaves it usable.
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers go there from now on, and nowhere else.
    pub fn listen(&self) -> mpsc::Receiver<Answer> {
        let (sender, receiver) = mpsc::channel(ANSWERS);
        *self.listener() = Some(sender);
        receiver
    }

    /// The question as a datagram.
    pub fn request(&self, tag: u64, probe: Option<Probe>) -> Vec<u8> {
        let mut id: TransactionId = [0; 12];
        id[..PREFIX].copy_from_slice(&self.prefix);
        id[PREFIX..].copy_from_slice(&tag.to_be_bytes());
        match probe {
            Some(Probe { row, number }) => stun::probe_request(&id, row, number),
            None => stun::binding_request(&id),
        }
    }

    /// False when this answers a question of somebody else.
    pub fn handle_answer(
        &self,
        id: TransactionId,
        seen: Option<SocketAddr>,
        data: &[u8],
        from: SocketAddr,
        at: Instant,
    ) -> bool {
        let Some((prefix, tag)) = id.split_first_chunk::<PREFIX>() else { return false };
        let Ok(tag) = tag.try_into().map(u64::from_be_bytes) else { return false };
        if *prefix != self.prefix {
            return false;
        }
        let seen = seen.map(|seen| SocketAddr::new(seen.ip().to_canonical(), seen.port()));
        if let Some(listener) = self.listener().as_ref() {
            // Whoever is too slow loses an answer, as the network would.
            let _ = listener.try_send(Answer { from, tag, seen, report: stun::probe_report(data), at });
        }
        true
    }
}

/// The answering side of one socket.
#[derive(Default)]
pub struct Witnesses {
    by_source: HashMap<SocketAddr, Witnessed>,
}

struct Witnessed {
    row: u32,
    witness: Witness,
    last: Instant,
}

impl Witnesses {
    /// What to tell whoever sent this probe.
    pub fn handle_probe(&mut self, source: SocketAddr, probe: Probe, now: Instant) -> Report {
        if !self.by_source.contains_key(&source)
            && self.by_source.len() >= MAX_WITNESSED
            && let Some(oldest) = self.by_source.iter().min_by_key(|(_, seen)| seen.last).map(|(source, _)| *source)
        {
            self.by_source.remove(&oldest);
        }
        let fresh = || Witnessed { row: probe.row, witness: Witness::default(), last: now };
        let entry = self.by_source.entry(source).or_insert_with(fresh);
        if entry.row != probe.row {
            *entry = fresh();
        }
        entry.last = now;
        entry.witness.handle_probe(probe.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u16) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), number)
    }

    #[test]
    fn an_answer_comes_back_with_its_tag_and_a_report() {
        let (questions, mut witnesses) = (Questions::new(), Witnesses::default());
        let mut answers = questions.listen();
        let now = Instant::now();
        for number in [0, 1, 3] {
            let request = questions.request(77, Some(Probe { row: 9, number }));
            let (row, number) = stun::probe_number(&request).expect("a probe");
            let report = witnesses.handle_probe(source(1), Probe { row, number }, now);
            let Some(stun::Message::Request { id, username: None }) = stun::parse(&request) else {
                panic!("a plain question")
            };
            let answer = stun::probe_success(&id, source(1), row, report);
            let Some(stun::Message::Success { id, mapped }) = stun::parse(&answer) else { panic!("an answer") };
            assert!(questions.handle_answer(id, mapped, &answer, source(2), now));
            let heard = answers.try_recv().expect("passed on");
            assert_eq!((heard.tag, heard.from, heard.seen), (77, source(2), Some(source(1))));
            assert_eq!(heard.report, Some((9, report)));
        }
        assert!(!questions.handle_answer([0; 12], None, &[], source(2), now) || questions.prefix == [0; PREFIX]);
    }

    #[test]
    fn a_plain_question_is_the_one_that_every_node_answers() {
        let questions = Questions::new();
        assert_eq!(stun::probe_number(&questions.request(1, None)), None);
        assert!(matches!(
            stun::parse(&questions.request(1, None)),
            Some(stun::Message::Request { username: None, .. })
        ));
    }

    #[test]
    fn a_flood_of_sources_is_forgotten_oldest_first() {
        let mut witnesses = Witnesses::default();
        let start = Instant::now();
        for number in 0..2000 {
            let now = start + std::time::Duration::from_millis(number.into());
            witnesses.handle_probe(source(number), Probe { row: 1, number: 0 }, now);
        }
        assert_eq!(witnesses.by_source.len(), MAX_WITNESSED);
        let late = witnesses.handle_probe(source(1999), Probe { row: 1, number: 1 }, start);
        assert_eq!(late.mask, 0b11);
        // Another row begins anew.
        assert_eq!(witnesses.handle_probe(source(1999), Probe { row: 2, number: 1 }, start).mask, 0b1);
    }
}
