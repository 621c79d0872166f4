//! Nodes with messages, on a network in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::chat::{Before, Conversation, ConversationId, Draft, Message};
use kith_common::contact::{Contact, People, Presence, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::{PeerInfo, PeerStatus};
use kith_core::listener::Begin;
use kith_store::Database;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::chat::ports::Network;
use crate::chat::{Chat, ChatParts, Seal, Sealer};
use crate::net::Stream;

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Nobody waits long for somebody who is away.
const AWAY_AFTER: Duration = Duration::from_millis(50);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

struct Door {
    chats: mpsc::Sender<(PeerId, Stream)>,
    rows: watch::Sender<Arc<Vec<PeerInfo>>>,
}

#[derive(Default)]
struct Wires {
    doors: HashMap<PeerId, Door>,
    /// What breaks the streams of two nodes, the smaller first.
    wires: HashMap<(PeerId, PeerId), CancellationToken>,
}

/// All nodes of a test.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<Wires>>);

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

fn row(peer: PeerId, services: &[&str]) -> PeerInfo {
    PeerInfo {
        peer_id: peer,
        name: String::new(),
        connected: true,
        status: PeerStatus::Connected,
        path: None,
        addresses: Vec::new(),
        rtt_ms: None,
        jitter_ms: None,
        loss: None,
        agent: String::new(),
        connected_since_unix_ms: 0,
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        last_seen_unix_ms: 0,
    }
}

impl Exchange {
    pub fn join(&self, me: PeerId) -> (FakeNet, mpsc::Receiver<(PeerId, Stream)>) {
        let (chats, incoming) = mpsc::channel(64);
        let rows = watch::Sender::default();
        lock(&self.0).doors.insert(me, Door { chats, rows });
        (FakeNet { me, exchange: self.clone() }, incoming)
    }

    pub fn connect(&self, a: PeerId, b: PeerId) {
        let mut wires = lock(&self.0);
        wires.wires.insert(pair(a, b), CancellationToken::new());
        wires.show(a);
        wires.show(b);
    }

    /// The connection is lost, and what was under way with it.
    pub fn cut(&self, a: PeerId, b: PeerId) {
        let mut wires = lock(&self.0);
        if let Some(wire) = wires.wires.remove(&pair(a, b)) {
            wire.cancel();
        }
        wires.show(a);
        wires.show(b);
    }

    /// Breaks the streams and leaves the connection.
    pub fn shake(&self, a: PeerId, b: PeerId) {
        if let Some(wire) = lock(&self.0).wires.insert(pair(a, b), CancellationToken::new()) {
            wire.cancel();
        }
    }
}

impl Wires {
    fn show(&self, of: PeerId) {
        let Some(door) = self.doors.get(&of) else { return };
        let other = |(a, b): &(PeerId, PeerId)| if *a == of { Some(*b) } else { (*b == of).then_some(*a) };
        let rows: Vec<PeerInfo> = self.wires.keys().filter_map(other).map(|peer| row(peer, &["chat"])).collect();
        door.rows.send_replace(Arc::new(rows));
    }
}

#[derive(Clone)]
pub struct FakeNet {
    me: PeerId,
    exchange: Exchange,
}

impl Network for FakeNet {
    fn peer_id(&self) -> PeerId {
        self.me
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        lock(&self.exchange.0).doors[&self.me].rows.subscribe()
    }

    async fn connect(&self, peer: PeerId) -> Result<PeerId, Failure> {
        if !lock(&self.exchange.0).doors.contains_key(&peer) {
            return Err(Failure::new(FailureKind::NotFound, "nobody knows an address"));
        }
        self.exchange.connect(self.me, peer);
        Ok(peer)
    }

    async fn open_chat(&self, peer: PeerId) -> Result<Stream, Failure> {
        let gone = || Failure::new(FailureKind::Unreachable, "nobody is there");
        let (door, wire) = {
            let wires = lock(&self.exchange.0);
            let door = wires.doors.get(&peer).ok_or_else(gone)?.chats.clone();
            (door, wires.wires.get(&pair(self.me, peer)).ok_or_else(gone)?.clone())
        };
        let ((near, mut left), (mut right, far)) = (tokio::io::duplex(16 * 1024), tokio::io::duplex(16 * 1024));
        tokio::spawn(
            async move { wire.run_until_cancelled(tokio::io::copy_bidirectional(&mut left, &mut right)).await },
        );
        door.send((self.me, Box::new(far))).await.map_err(|_| gone())?;
        Ok(Box::new(near))
    }
}

pub fn contact(peer: PeerId, name: &str) -> Contact {
    Contact {
        peer_id: peer,
        name: name.to_owned(),
        own_name: String::new(),
        note: String::new(),
        colour: 0,
        presence: Presence::Offline,
        last_seen_unix_ms: 0,
        calls: Trust::Ask,
        files: Trust::Ask,
        relay: Trust::Never,
        verified: false,
        blocked: false,
        added_unix_ms: 0,
        mutual: true,
    }
}

/// The names of the nodes of a test, by number.
pub const NAMES: [&str; 5] = ["Nobody", "Ada", "Ben", "Cem", "Dora"];

pub struct Node {
    pub me: PeerId,
    pub chat: Chat,
    pub db: Database,
    pub service: watch::Sender<Begin>,
    people: watch::Sender<Arc<People>>,
    exchange: Exchange,
}

impl Node {
    /// A node that has these others as contacts.
    pub async fn new(exchange: &Exchange, n: u8, contacts: &[u8]) -> Self {
        Self::with(exchange, n, contacts, None).await
    }

    pub async fn with(exchange: &Exchange, n: u8, contacts: &[u8], sealer: Option<Arc<dyn Sealer>>) -> Self {
        let me = peer(n);
        let db = Database::in_memory(me).await;
        Self::on(exchange, me, db, contacts, sealer)
    }

    fn on(exchange: &Exchange, me: PeerId, db: Database, contacts: &[u8], sealer: Option<Arc<dyn Sealer>>) -> Self {
        let people = watch::Sender::default();
        Self::knowing(exchange, me, db, people, sealer).befriended(contacts)
    }

    /// A node that seals what waits for those who are away, and keeps for all its contacts.
    pub async fn sealing(exchange: &Exchange, n: u8, contacts: &[u8]) -> Self {
        let me = peer(n);
        Self::sealing_on(exchange, me, Database::in_memory(me).await, contacts).await
    }

    async fn sealing_on(exchange: &Exchange, me: PeerId, db: Database, contacts: &[u8]) -> Self {
        let people = watch::Sender::default();
        let seal = Seal::start_with(me, me.public_key(), db.clone(), people.subscribe(), AWAY_AFTER).await;
        let node = Self::knowing(exchange, me, db, people, Some(seal.expect("the store answers")));
        node.trust(contacts, contacts);
        node
    }

    fn knowing(
        exchange: &Exchange,
        me: PeerId,
        db: Database,
        people: watch::Sender<Arc<People>>,
        sealer: Option<Arc<dyn Sealer>>,
    ) -> Self {
        let known = people.subscribe();
        let (service, running) = watch::channel(Begin::Running);
        let (net, incoming) = exchange.join(me);
        let parts = ChatParts { db: db.clone(), people: known, incoming: Some(incoming), service: running, sealer };
        let chat = Chat::start_with(net, parts);
        Self { me, chat, db, service, people, exchange: exchange.clone() }
    }

    fn befriended(self, contacts: &[u8]) -> Self {
        self.befriend(contacts);
        self
    }

    /// Ends the process and starts another on the same disk, with nobody connected.
    pub async fn restart(self, contacts: &[u8]) -> Self {
        let (exchange, me, db) = self.end().await;
        Self::on(&exchange, me, db, contacts, None)
    }

    /// The same of a node that seals.
    pub async fn restart_sealing(self, contacts: &[u8]) -> Self {
        let (exchange, me, db) = self.end().await;
        Self::sealing_on(&exchange, me, db, contacts).await
    }

    async fn end(self) -> (Exchange, PeerId, Database) {
        let Self { me, chat, db, exchange, .. } = self;
        for other in 1..5 {
            exchange.cut(me, peer(other));
        }
        chat.shutdown().await;
        (exchange, me, db)
    }

    pub fn befriend(&self, contacts: &[u8]) {
        self.trust(contacts, &[]);
    }

    /// Knows these, and lets some of them relay.
    pub fn trust(&self, contacts: &[u8], relayed: &[u8]) {
        let known = |n: &u8| Contact {
            relay: if relayed.contains(n) { Trust::Always } else { Trust::Never },
            ..contact(peer(*n), NAMES[usize::from(*n)])
        };
        let contacts = contacts.iter().map(known).collect();
        self.people.send_replace(Arc::new(People { contacts, ..People::default() }));
    }

    pub async fn say(&self, target: &str, text: &str) -> Message {
        let draft = Draft { text: text.to_owned(), ..Draft::default() };
        self.chat.send(target, draft).await.expect("it can be stored")
    }

    pub async fn history(&self, of: ConversationId) -> Vec<Message> {
        self.chat.history_of(of, Before::default(), 500).await.expect("the store answers")
    }

    /// Waits for a conversation to be as wanted.
    pub async fn until(&self, of: ConversationId, what: &str, wanted: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        let mut changes = self.chat.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let history = self.history(of).await;
                if wanted(&history) {
                    return history;
                }
                changes.changed().await.expect("the store goes on");
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(history) => history,
            Err(_) => panic!("never: {what}; {:#?}", self.history(of).await),
        }
    }

    pub async fn until_conversation(&self, what: &str, wanted: impl Fn(&Conversation) -> bool) -> Conversation {
        let mut changes = self.chat.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let all = self.chat.conversations().await.expect("the store answers");
                if let Some(found) = all.into_iter().find(|conversation| wanted(conversation)) {
                    return found;
                }
                changes.changed().await.expect("the store goes on");
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
    }
}
