//! A network in memory, for the tests of those who talk over it: who is connected with whom, and what breaks when.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_common::contact::{Contact, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::{PeerInfo, PeerStatus};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{ProviderKey, Stream};

/// The names of the nodes of a test, by number.
const NAMES: [&str; 6] = ["Nobody", "Ada", "Ben", "Cem", "Dora", "Eve"];

pub fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

/// On both sides.
pub fn contact(n: u8) -> Contact {
    Contact { relay: Trust::Never, mutual: true, ..Contact::new(peer(n), NAMES[usize::from(n)]) }
}

struct Door {
    streams: mpsc::Sender<(PeerId, Stream)>,
    rows: watch::Sender<Arc<Vec<PeerInfo>>>,
}

#[derive(Default)]
pub struct Wires {
    doors: HashMap<PeerId, Door>,
    /// What breaks the streams of two nodes, the smaller first.
    wires: HashMap<(PeerId, PeerId), CancellationToken>,
    /// What is known of who has what.
    pub provided: HashMap<ProviderKey, BTreeSet<PeerId>>,
}

/// All nodes of a test.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<Wires>>);

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

impl Exchange {
    /// A node, and the streams that are opened to it.
    pub fn join(&self, me: PeerId) -> (FakeNet, mpsc::Receiver<(PeerId, Stream)>) {
        let (streams, incoming) = mpsc::channel(64);
        self.lock().doors.insert(me, Door { streams, rows: watch::Sender::default() });
        (FakeNet { me, exchange: self.clone() }, incoming)
    }

    pub fn lock(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn connect(&self, a: PeerId, b: PeerId) {
        let mut wires = self.lock();
        wires.wires.entry(pair(a, b)).or_default();
        wires.show(a);
        wires.show(b);
    }

    /// The connection is lost, and what was under way with it.
    pub fn cut(&self, a: PeerId, b: PeerId) {
        let mut wires = self.lock();
        if let Some(wire) = wires.wires.remove(&pair(a, b)) {
            wire.cancel();
        }
        wires.show(a);
        wires.show(b);
    }

    /// Breaks the streams and leaves the connection.
    pub fn shake(&self, a: PeerId, b: PeerId) {
        if let Some(wire) = self.lock().wires.insert(pair(a, b), CancellationToken::new()) {
            wire.cancel();
        }
    }

    /// Nobody reaches it any more.
    pub fn leave(&self, gone: PeerId) {
        let others: Vec<PeerId> = self.lock().doors.keys().copied().filter(|peer| *peer != gone).collect();
        for other in others {
            self.cut(gone, other);
        }
        self.lock().doors.remove(&gone);
    }

    /// Of how many things it is known that this node has them.
    pub fn provides(&self, peer: PeerId) -> usize {
        self.lock().provided.values().filter(|peers| peers.contains(&peer)).count()
    }
}

impl Wires {
    fn show(&self, of: PeerId) {
        let Some(door) = self.doors.get(&of) else { return };
        let other = |(a, b): &(PeerId, PeerId)| if *a == of { Some(*b) } else { (*b == of).then_some(*a) };
        let row = |peer| PeerInfo {
            services: vec!["chat".to_owned(), "files".to_owned()],
            ..PeerInfo::new(peer, PeerStatus::Connected)
        };
        door.rows.send_replace(Arc::new(self.wires.keys().filter_map(other).map(row).collect()));
    }
}

#[derive(Clone)]
pub struct FakeNet {
    pub me: PeerId,
    pub exchange: Exchange,
}

impl FakeNet {
    pub fn rows(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        let wires = self.exchange.lock();
        // Who has left sees nobody any more.
        wires.doors.get(&self.me).map_or_else(|| watch::channel(Arc::default()).1, |door| door.rows.subscribe())
    }

    pub fn reach(&self, peer: PeerId) -> Result<PeerId, Failure> {
        if !self.exchange.lock().doors.contains_key(&peer) {
            return Err(Failure::new(FailureKind::NotFound, "nobody knows an address"));
        }
        self.exchange.connect(self.me, peer);
        Ok(peer)
    }

    /// With room for so many bytes that are not read yet.
    pub async fn open(&self, peer: PeerId, room: usize) -> Result<Stream, Failure> {
        let gone = || Failure::new(FailureKind::Unreachable, "nobody is there");
        let (door, wire) = {
            let wires = self.exchange.lock();
            let door = wires.doors.get(&peer).ok_or_else(gone)?.streams.clone();
            (door, wires.wires.get(&pair(self.me, peer)).ok_or_else(gone)?.clone())
        };
        let ((near, mut left), (mut right, far)) = (tokio::io::duplex(room), tokio::io::duplex(room));
        tokio::spawn(
            async move { wire.run_until_cancelled(tokio::io::copy_bidirectional(&mut left, &mut right)).await },
        );
        door.send((self.me, Box::new(far))).await.map_err(|_| gone())?;
        Ok(Box::new(near))
    }
}
