//! A network in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::contact::{Contact, People};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::{Identity, PeerInfo, PeerStatus};
use kith_common::target::Target;
use kith_store::Database;
use tokio::sync::{mpsc, watch};

use crate::contacts::ports::Network;
use crate::contacts::{Contacts, KNOCKS, Knock};
use crate::net::Stream;

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn id(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

pub fn contact(n: u8, name: &str) -> Contact {
    Contact::new(id(n), name)
}

/// A connected peer.
pub fn row(n: u8, name: &str, address: &str) -> PeerInfo {
    let row = PeerInfo::new(id(n), PeerStatus::Connected);
    PeerInfo { name: name.into(), addresses: vec![address.into()], ..row }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Door {
    name: String,
    streams: mpsc::Sender<(PeerId, Stream)>,
    rows: watch::Sender<Arc<Vec<PeerInfo>>>,
    identity: watch::Sender<Arc<Identity>>,
    /// Whom it has tried to reach.
    dials: watch::Sender<Vec<PeerId>>,
    blocks: BTreeSet<PeerId>,
}

#[derive(Default)]
struct World {
    doors: BTreeMap<PeerId, Door>,
    connected: BTreeSet<(PeerId, PeerId)>,
}

impl World {
    fn are_connected(&self, one: PeerId, other: PeerId) -> bool {
        self.connected.contains(&(one.min(other), one.max(other)))
    }

    fn publish(&self) {
        for (own, door) in &self.doors {
            let mut rows = Vec::new();
            for (peer, other) in self.doors.iter().filter(|(peer, _)| *peer != own) {
                let mut row =
                    row(peer.public_key()[0], &other.name, &format!("/ip4/192.0.2.{}/tcp/1", peer.public_key()[0]));
                row.connected = self.are_connected(*own, *peer);
                row.status = match (row.connected, door.blocks.contains(peer)) {
                    (_, true) => PeerStatus::Blocked,
                    (true, _) => PeerStatus::Connected,
                    (false, _) => PeerStatus::Known,
                };
                rows.push(row);
            }
            door.rows.send_replace(Arc::new(rows));
        }
    }
}

/// All nodes of a test. Nobody is reachable that has not joined.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<World>>);

impl Exchange {
    pub async fn node(&self, n: u8, name: &str) -> Node {
        let database = Database::in_memory(id(n)).await;
        self.node_with(n, name, database).await
    }

    /// One that was there before.
    pub async fn node_with(&self, n: u8, name: &str, database: Database) -> Node {
        let (net, streams) = self.join(n, name);
        let calling = watch::Sender::new(false);
        let (knocks, knocked) = mpsc::channel(KNOCKS);
        let in_call = calling.subscribe();
        let started = Contacts::start_with(net.clone(), Some(streams), database.clone(), in_call, Some(knocked)).await;
        Node { net, contacts: started.expect("the database can be read"), calling, knocks, database }
    }

    /// A peer without contacts of its own: the test speaks for it.
    pub fn join(&self, n: u8, name: &str) -> (FakeNet, mpsc::Receiver<(PeerId, Stream)>) {
        let (streams, incoming) = mpsc::channel(64);
        let identity = Identity {
            peer_id: id(n),
            name: name.into(),
            ticket: String::new(),
            addresses: vec![format!("/ip4/192.0.2.{n}/tcp/1")],
        };
        let door = Door {
            name: name.into(),
            streams,
            rows: watch::Sender::default(),
            identity: watch::Sender::new(Arc::new(identity)),
            dials: watch::Sender::default(),
            blocks: BTreeSet::new(),
        };
        let mut world = lock(&self.0);
        world.doors.insert(id(n), door);
        world.publish();
        (FakeNet { me: id(n), exchange: self.clone() }, incoming)
    }

    pub fn disconnect(&self, one: u8, other: u8) {
        let (one, other) = (id(one), id(other));
        let mut world = lock(&self.0);
        world.connected.remove(&(one.min(other), one.max(other)));
        world.publish();
    }

    /// It is gone, without a word.
    pub fn leave(&self, n: u8) {
        let mut world = lock(&self.0);
        world.doors.remove(&id(n));
        world.connected.retain(|(one, other)| *one != id(n) && *other != id(n));
        world.publish();
    }
}

pub struct Node {
    pub net: FakeNet,
    pub contacts: Contacts,
    pub calling: watch::Sender<bool>,
    pub knocks: mpsc::Sender<Knock>,
    pub database: Database,
}

impl Node {
    /// As people type it.
    pub fn id(&self) -> String {
        self.net.me.to_string()
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&People) -> bool) -> Arc<People> {
        let mut people = self.contacts.people();
        let found = tokio::time::timeout(DEADLINE, people.wait_for(|people| wanted(people))).await;
        found
            .unwrap_or_else(|_| panic!("never: {what}; still {:?}", self.contacts.people().borrow()))
            .expect("the contacts go on")
            .clone()
    }

    pub async fn until_contact(&self, what: &str, other: &Self, wanted: impl Fn(&Contact) -> bool) -> Contact {
        let mine = |contact: &&Contact| contact.peer_id == other.net.me;
        let people = self.until(what, |people| people.contacts.iter().find(mine).is_some_and(&wanted)).await;
        people.contacts.iter().find(mine).expect("just seen").clone()
    }
}

#[derive(Clone)]
pub struct FakeNet {
    pub me: PeerId,
    exchange: Exchange,
}

impl FakeNet {
    pub fn connect_to(&self, peer: PeerId) -> Result<PeerId, Failure> {
        let mut world = lock(&self.exchange.0);
        if let Some(door) = world.doors.get(&self.me) {
            door.dials.send_modify(|dials| dials.push(peer));
        }
        let blocked = world.doors.values().any(|door| door.blocks.contains(&peer) || door.blocks.contains(&self.me));
        if blocked || !world.doors.contains_key(&peer) || !world.doors.contains_key(&self.me) {
            return Err(Failure::new(FailureKind::Unreachable, "nobody is there"));
        }
        let me = self.me;
        world.connected.insert((me.min(peer), me.max(peer)));
        world.publish();
        Ok(peer)
    }

    pub fn dials(&self) -> watch::Receiver<Vec<PeerId>> {
        lock(&self.exchange.0).doors[&self.me].dials.subscribe()
    }

    pub fn block(&self, peer: PeerId) {
        let mut world = lock(&self.exchange.0);
        let me = self.me;
        world.doors.get_mut(&me).expect("it has joined").blocks.insert(peer);
        world.connected.remove(&(me.min(peer), me.max(peer)));
        world.publish();
    }

    /// This machine gets another address.
    pub fn move_to(&self, address: &str) {
        let world = lock(&self.exchange.0);
        world.doors[&self.me].identity.send_modify(|identity| Arc::make_mut(identity).addresses = vec![address.into()]);
    }

    pub fn open(&self, peer: PeerId) -> Result<Stream, Failure> {
        let gone = || Failure::new(FailureKind::Unreachable, "it is not connected");
        let world = lock(&self.exchange.0);
        let door = world.doors.get(&peer).filter(|_| world.are_connected(self.me, peer)).ok_or_else(gone)?;
        let (near, far) = tokio::io::duplex(4096);
        door.streams.try_send((self.me, Box::new(far))).map_err(|_| gone())?;
        Ok(Box::new(near))
    }
}

impl Network for FakeNet {
    fn peer_id(&self) -> PeerId {
        self.me
    }

    fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        lock(&self.exchange.0).doors[&self.me].identity.subscribe()
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        lock(&self.exchange.0).doors[&self.me].rows.subscribe()
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        match target {
            Target::Ticket(ticket) => self.connect_to(ticket.peer),
            Target::Peer(peer) => self.connect_to(peer),
            // The last part of the IP says who it is.
            Target::Ip { ip: std::net::IpAddr::V4(ip), .. } => self.connect_to(id(ip.octets()[3])),
            Target::Ip { .. } | Target::Address(_) => Err(Failure::new(FailureKind::Unreachable, "not here")),
        }
    }

    async fn open_contact(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer)
    }
}
