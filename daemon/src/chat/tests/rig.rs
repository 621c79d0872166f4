//! Nodes with messages, on a network in memory.

use std::sync::Arc;
use std::time::Duration;

use kith_common::chat::{Before, Conversation, ConversationId, Draft, Message, MessageState};
use kith_common::contact::{Contact, People, Trust};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_core::listener::Begin;
use kith_store::Database;
use tokio::sync::watch;

use crate::chat::ports::Network;
use crate::chat::{Chat, ChatParts, Seal, Sealer};
use crate::net::Stream;
use crate::net::exchange::contact;
pub use crate::net::exchange::{Exchange, FakeNet, peer};

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Nobody waits long for somebody who is away.
const AWAY_AFTER: Duration = Duration::from_millis(50);

impl Network for FakeNet {
    fn peer_id(&self) -> PeerId {
        self.me
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        self.rows()
    }

    async fn connect(&self, peer: PeerId) -> Result<PeerId, Failure> {
        self.reach(peer)
    }

    async fn open_chat(&self, peer: PeerId) -> Result<Stream, Failure> {
        self.open(peer, 16 * 1024).await
    }
}

/// The conversation of two.
pub fn with(n: u8) -> ConversationId {
    ConversationId::Peer(peer(n))
}

pub fn all(state: MessageState) -> impl Fn(&[Message]) -> bool {
    move |messages| !messages.is_empty() && messages.iter().all(|message| message.state == state)
}

pub fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

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
        let known =
            |n: &u8| Contact { relay: if relayed.contains(n) { Trust::Always } else { Trust::Never }, ..contact(*n) };
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
