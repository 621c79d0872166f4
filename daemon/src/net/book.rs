//! The address book: where peers may be found that are not connected now, kept over restarts, so that a node comes
//! back without bootstrap nodes.
//!
//! Peers that this node has met are written to the data directory; addresses that are only heard of stay in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::ids::PeerId as KithId;
use kith_common::text::clean_line;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{address, saved};

/// Peers that are remembered (the DHT's routing table comes on top).
const MAX_PEERS: usize = 512;
/// Addresses kept for one peer; a machine with more interfaces is reachable at one of these.
pub(super) const MAX_ADDRESSES: usize = 16;
/// An address longer than this is none that a person's machine has.
const MAX_ADDRESS_CHARS: usize = 512;
/// Whom nobody has met for so long has moved.
const FORGET_AFTER_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// A change is on the disk after this time; sooner after a quiet time, so that a node that is killed has lost little.
const SAVE_SOON: Duration = Duration::from_secs(1);
const SAVE_LATER: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(10);
/// A disk that is full is seldom full for a moment only.
const SAVE_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default)]
struct Entry {
    name: String,
    /// A person has asked for this peer: forgotten last.
    asked: bool,
    /// 0: only heard of.
    last_seen_unix_ms: i64,
    /// With the time that a connection to it was last made (0: never); what has worked first, the newest heard of next.
    addresses: Vec<(Multiaddr, i64)>,
    /// One of the two has closed the connection on purpose; this node does not dial it by itself any more.
    left: bool,
}

/// An entry in the file.
#[derive(Serialize, Deserialize)]
struct Line {
    peer: KithId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    asked: bool,
    last_seen_unix_ms: i64,
    addresses: Vec<(String, i64)>,
}

/// What is known of a peer that is not connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub name: String,
    pub last_seen_unix_ms: i64,
    pub addresses: Vec<Multiaddr>,
}

pub(super) struct Book {
    entries: BTreeMap<PeerId, Entry>,
    file: Option<(PathBuf, saved::Writer)>,
    save_at: Option<Instant>,
    saved_at: Option<Instant>,
    saving: Option<oneshot::Receiver<io::Result<()>>>,
    /// The disk's refusal has been said in the log.
    refused: bool,
}

impl Book {
    /// Reads the book; without a file it is kept in memory only.
    pub fn open(file: Option<(PathBuf, saved::Writer)>) -> Self {
        let lines: Vec<Line> = file.as_ref().map(|(path, _)| saved::read(path, MAX_PEERS)).unwrap_or_default();
        let now = unix_ms();
        let fresh = lines.into_iter().filter(|line| now.saturating_sub(line.last_seen_unix_ms) < FORGET_AFTER_MS);
        let entries = fresh.map(|line| (address::to_libp2p(line.peer), Entry::from(line))).collect();
        Self { entries, file, save_at: None, saved_at: None, saving: None, refused: false }
    }

    /// Notes where a peer may be found.
    pub fn remember(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) {
        self.make_room(&peer);
        let entry = self.entries.entry(peer).or_default();
        let mut news = false;
        for address in addresses {
            let address = address::without_peer(address);
            if !entry.addresses.iter().any(|(known, _)| *known == address) {
                entry.addresses.insert(0, (address, 0));
                news = true;
            }
        }
        entry.tidy();
        if news && entry.last_seen_unix_ms > 0 {
            self.changed();
        }
    }

    /// The peer is connected, or was until now.
    pub fn met(&mut self, peer: PeerId) {
        self.make_room(&peer);
        let entry = self.entries.entry(peer).or_default();
        entry.last_seen_unix_ms = unix_ms();
        self.changed();
    }

    /// A connection to this address was made.
    pub fn worked(&mut self, peer: PeerId, address: Multiaddr) {
        self.met(peer);
        let address = address::without_peer(address);
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.left = false;
            entry.addresses.retain(|(known, _)| *known != address);
            entry.addresses.insert(0, (address, unix_ms()));
            entry.tidy();
        }
    }

    pub fn named(&mut self, peer: &PeerId, name: &str) {
        if let Some(entry) = self.entries.get_mut(peer)
            && entry.name != name
        {
            name.clone_into(&mut entry.name);
            self.changed();
        }
    }

    /// A person asked for this peer.
    pub fn asked(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.left = false;
            if !entry.asked {
                entry.asked = true;
                self.changed();
            }
        }
    }

    /// The connection ended on purpose.
    pub fn left(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.left = true;
        }
    }

    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = |entry: &Entry| entry.addresses.iter().map(|(address, _)| address.clone()).collect();
        self.entries.get(peer).map(known).unwrap_or_default()
    }

    pub fn get(&self, peer: &PeerId) -> Option<Known> {
        self.entries.get(peer).map(|entry| Known {
            name: entry.name.clone(),
            last_seen_unix_ms: entry.last_seen_unix_ms,
            addresses: entry.addresses.iter().map(|(address, _)| address.clone()).collect(),
        })
    }

    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.entries.keys()
    }

    /// Whom this node has met, most recently first: those to dial when it comes back.
    pub fn acquaintances(&self, most: usize) -> Vec<PeerId> {
        let met = |entry: &Entry| entry.last_seen_unix_ms > 0 && !entry.left && !entry.addresses.is_empty();
        let mut peers: Vec<(&PeerId, &Entry)> = self.entries.iter().filter(|(_, entry)| met(entry)).collect();
        peers.sort_by_key(|(_, entry)| std::cmp::Reverse((entry.last_seen_unix_ms, entry.asked)));
        peers.into_iter().take(most).map(|(peer, _)| *peer).collect()
    }

    fn make_room(&mut self, newcomer: &PeerId) {
        if self.entries.contains_key(newcomer) || self.entries.len() < MAX_PEERS {
            return;
        }
        let least = self.entries.iter().min_by_key(|(_, entry)| (entry.asked, entry.last_seen_unix_ms));
        if let Some(peer) = least.map(|(peer, _)| *peer) {
            self.entries.remove(&peer);
        }
    }

    // ---- on the disk

    fn changed(&mut self) {
        if self.file.is_none() || self.save_at.is_some() {
            return;
        }
        let now = Instant::now();
        let quiet = self.saved_at.is_none_or(|at| now.saturating_duration_since(at) > QUIET);
        self.save_at = Some(now + if quiet { SAVE_SOON } else { SAVE_LATER });
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.save_at
    }

    pub fn save_due(&mut self, now: Instant) {
        if self.save_at.is_none_or(|at| now < at) {
            return;
        }
        if self.saving.is_some() {
            self.save_at = Some(now + SAVE_LATER);
            return;
        }
        self.save(now);
    }

    fn save(&mut self, now: Instant) {
        let Some((path, writer)) = &self.file else { return };
        self.saving = writer.write(path, saved::lines(self.lines()));
        self.saved_at = Some(now);
        self.save_at = None;
    }

    /// A refusal is said once, until it is over.
    fn wrote(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.refused = false,
            Err(error) => {
                if !self.refused {
                    tracing::warn!(
                        %error,
                        "the address book could not be written; this node goes on, and tries again"
                    );
                }
                self.refused = true;
                self.save_at = Some(Instant::now() + SAVE_AGAIN);
            }
        }
    }

    /// What becomes of a save under way; never, when there is none.
    pub async fn saved(&mut self) {
        match &mut self.saving {
            Some(saving) => {
                let outcome = saving.await.unwrap_or_else(|_| Err(io::Error::other("the writing was given up")));
                self.saving = None;
                self.wrote(outcome);
            }
            None => std::future::pending().await,
        }
    }

    /// At the end: what has changed goes to the disk.
    pub async fn close(&mut self) {
        if self.saving.is_some() {
            self.saved().await;
        }
        if self.save_at.is_some() {
            self.save(Instant::now());
            if self.saving.is_some() {
                self.saved().await;
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        self.entries.iter().filter(|(_, entry)| entry.last_seen_unix_ms > 0).filter_map(|(peer, entry)| {
            Some(Line {
                peer: address::from_libp2p(peer)?,
                name: entry.name.clone(),
                asked: entry.asked,
                last_seen_unix_ms: entry.last_seen_unix_ms,
                addresses: entry.addresses.iter().map(|(address, at)| (address.to_string(), *at)).collect(),
            })
        })
    }
}

impl Entry {
    fn tidy(&mut self) {
        // Stable: what was heard of last stays before what was heard of earlier.
        self.addresses.sort_by_key(|(_, worked)| std::cmp::Reverse(*worked));
        self.addresses.truncate(MAX_ADDRESSES);
    }
}

impl From<Line> for Entry {
    fn from(line: Line) -> Self {
        let readable = line.addresses.into_iter().filter(|(text, _)| text.len() <= MAX_ADDRESS_CHARS);
        let mut entry = Self {
            name: clean_line(&line.name, super::hello::MAX_NAME_CHARS),
            asked: line.asked,
            last_seen_unix_ms: line.last_seen_unix_ms.min(unix_ms()),
            addresses: readable.filter_map(|(text, at)| Some((text.parse().ok()?, at))).collect(),
            left: false,
        };
        entry.tidy();
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SecretKey;

    fn stranger() -> PeerId {
        address::to_libp2p(SecretKey::generate().peer_id())
    }

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/udp/{port}/quic-v1").parse().expect("a valid address")
    }

    #[tokio::test]
    async fn a_book_comes_back_with_what_worked_first_and_without_hearsay() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Some((folder.path().join("peers"), saved::Writer::start()));
        let (met, heard) = (stranger(), stranger());
        let mut book = Book::open(file.clone());
        book.remember(met, [at(1), at(2)]);
        book.remember(heard, [at(3)]);
        assert!(book.deadline().is_none(), "hearsay is not worth writing");
        book.worked(met, at(1));
        book.named(&met, "Ada");
        assert!(book.deadline().is_some());
        book.close().await;
        let again = Book::open(file);
        assert_eq!(again.acquaintances(9), [met]);
        assert_eq!(again.addresses(&met), [at(1), at(2)]);
        assert_eq!(again.get(&met).map(|known| known.name), Some("Ada".to_owned()));
        assert!(again.get(&heard).is_none());
    }

    #[tokio::test]
    async fn a_book_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, b"").expect("own folder");
        let mut book = Book::open(Some((blocked.join("peers"), saved::Writer::start())));
        book.met(stranger());
        book.close().await;
        assert!(book.refused && book.deadline().is_some());
    }

    #[test]
    fn a_flood_of_peers_does_not_displace_those_that_people_asked_for() {
        let mut book = Book::open(None);
        let friend = stranger();
        book.worked(friend, at(1));
        book.asked(&friend);
        for _ in 0..2 * MAX_PEERS {
            book.met(stranger());
        }
        assert_eq!(book.entries.len(), MAX_PEERS);
        assert_eq!(book.addresses(&friend), [at(1)]);
    }

    #[test]
    fn whom_somebody_left_on_purpose_is_not_dialed_by_itself() {
        let mut book = Book::open(None);
        let peer = stranger();
        book.worked(peer, at(1));
        book.left(&peer);
        assert!(book.acquaintances(9).is_empty());
        book.asked(&peer);
        assert_eq!(book.acquaintances(9), [peer]);
    }
}
