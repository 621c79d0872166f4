//! What the rest of the daemon holds: [`Contacts`]. Finds whom a person means, and passes on what is to be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_common::contact::{
    Contact, ContactChange, MAX_NOTE_CHARS, MAX_REQUEST_CHARS, People, Presence, Right, SafetyNumber, Trust,
};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_common::target::{Target, Ticket};
use kith_store::Database;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use super::ports::Network;
use super::strangers::Knock;
use super::task::{Command, Task, Whom};
use super::{names, safety};
use crate::net::{Multiaddr, Net, Stream};

/// Commands that wait for the task; persons give them, so few.
const COMMANDS: usize = 32;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;
/// Where contacts were reachable when they were added, as far as their tickets said it.
pub(super) type Addresses = Arc<BTreeMap<PeerId, Vec<Multiaddr>>>;

/// A cheap handle to the contacts. The task ends with [`Contacts::shutdown`], or with the last handle.
#[derive(Clone)]
pub struct Contacts {
    own: PeerId,
    commands: mpsc::Sender<Command>,
    people: watch::Receiver<Arc<People>>,
    addresses: watch::Receiver<Addresses>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
}

impl Contacts {
    /// Reads the contacts from the database and follows them from now on. `incoming`: the streams that `net` hands over
    /// (without, nobody can ask). `in_call`: whether this node is in a call, which its contacts are told; who owns the
    /// calls is above and says so there, and in `knocks` which strangers called and were not let ring.
    pub async fn start(
        net: Net,
        incoming: Option<mpsc::Receiver<(PeerId, Stream)>>,
        database: Database,
        in_call: watch::Receiver<bool>,
        knocks: Option<mpsc::Receiver<Knock>>,
    ) -> Result<Self, Failure> {
        Self::start_with(net, incoming, database, in_call, knocks).await
    }

    pub(super) async fn start_with<N: Network>(
        net: N,
        incoming: Option<mpsc::Receiver<(PeerId, Stream)>>,
        database: Database,
        in_call: watch::Receiver<bool>,
        knocks: Option<mpsc::Receiver<Knock>>,
    ) -> Result<Self, Failure> {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (people, addresses) = (watch::Sender::default(), watch::Sender::default());
        let (own, peers) = (net.peer_id(), net.peers());
        let handle = Self { own, commands, people: people.subscribe(), addresses: addresses.subscribe(), peers };
        let task = Task::load(net, database, in_call, people, addresses).await?;
        tokio::spawn(task.run(inbox, incoming, knocks).instrument(tracing::info_span!("contacts")));
        Ok(handle)
    }

    /// All contacts and requests, and how this node shows itself; changes with them.
    pub fn people(&self) -> watch::Receiver<Arc<People>> {
        self.people.clone()
    }

    /// The contact that this peer is, if it is one.
    pub fn get(&self, peer: PeerId) -> Option<Contact> {
        self.people.borrow().contacts.iter().find(|contact| contact.peer_id == peer).cloned()
    }

    /// What this node's user calls that peer; `None`: it is no contact.
    pub fn name_of(&self, peer: PeerId) -> Option<String> {
        self.get(peer).map(|contact| contact.name)
    }

    /// Whom a person means: the contact of that name, whatever the case, or anything that names a node. Kind
    /// `InvalidArgument`: nobody is called so; the advice has the names that are near.
    pub fn resolve(&self, text: &str) -> Result<Target, Failure> {
        let people = Arc::clone(&self.people.borrow());
        if let Some(contact) = names::named(&people.contacts, text) {
            return Ok(self.target(contact.peer_id));
        }
        text.parse().map_err(|error| names::unknown(&people.contacts, text, &error))
    }

    /// A contact is reached where its ticket said, if it came with one; others where the network knows them.
    fn target(&self, peer: PeerId) -> Target {
        let addresses = self.addresses.borrow().get(&peer).cloned();
        match addresses {
            Some(addresses) => Target::Ticket(Ticket { peer, addresses }),
            None => Target::Peer(peer),
        }
    }

    /// Adds whoever is meant: by a ticket, a peer id, an address (that of a connected peer, or one to connect to), or
    /// what a connected peer calls itself. The peer is asked for the same as soon as it is reachable; `text` goes with
    /// that. An empty name takes what the peer calls itself. One that is there already gets the name, if one is given,
    /// and is asked again if it has not added this node.
    pub async fn add(&self, target: &str, name: &str, text: &str) -> Result<Contact, Failure> {
        let name = optional(name)?;
        let text = text.trim().to_owned();
        within("the text of a request", &text, MAX_REQUEST_CHARS)?;
        let whom = self.newcomer(target)?;
        self.ask(|reply| Command::Add { whom, name, text, reply }).await
    }

    /// The conversation with it stays. A peer that is connected is told.
    pub async fn remove(&self, target: &str) -> Result<(), Failure> {
        let peer = self.peer(target)?;
        self.ask(|reply| Command::Remove { peer, reply }).await
    }

    pub async fn change(&self, target: &str, change: ContactChange) -> Result<Contact, Failure> {
        let name = change.name.as_deref().map(names::checked).transpose()?;
        within("a note", change.note.as_deref().unwrap_or_default(), MAX_NOTE_CHARS)?;
        if change.colour.is_some_and(|colour| colour > 0xff_ffff) {
            let failure = Failure::new(FailureKind::InvalidArgument, "there is no such colour");
            return Err(failure.advise("A colour is 0xRRGGBB, at most 0xFFFFFF."));
        }
        let peer = self.peer(target)?;
        self.ask(|reply| Command::Change { peer, change: ContactChange { name, ..change }, reply }).await
    }

    /// What the contact may do unasked. Trust in relaying is kept for those who ask for it: whoever carries connections or
    /// holds messages for others looks at [`Contact::relay`], and takes `Ask` for `Never`, since there is no asking.
    pub async fn set_trust(&self, target: &str, right: Right, trust: Trust) -> Result<Contact, Failure> {
        let peer = self.peer(target)?;
        self.ask(|reply| Command::SetTrust { peer, right, trust, reply }).await
    }

    /// A stranger who has asked becomes a contact, on both sides, and is told when it is reachable. Named by peer id,
    /// ticket, or what it calls itself.
    pub async fn accept(&self, target: &str, name: &str) -> Result<Contact, Failure> {
        let name = optional(name)?;
        let peer = self.stranger(target)?;
        self.ask(|reply| Command::Accept { peer, name, reply }).await
    }

    /// The request goes; the stranger is told nothing, and what it asks within a week is dropped.
    pub async fn refuse(&self, target: &str) -> Result<(), Failure> {
        let peer = self.stranger(target)?;
        self.ask(|reply| Command::Refuse { peer, reply }).await
    }

    /// The number that both users see when nobody stands between their nodes. Any peer will do, a contact or not.
    pub async fn safety(&self, target: &str) -> Result<SafetyNumber, Failure> {
        let (own, peer) = (self.own, self.peer(target)?);
        if peer == own {
            return Err(itself());
        }
        // Some 10,000 rounds of SHA-512: milliseconds, which others need not wait for.
        let made = tokio::task::spawn_blocking(move || safety::safety_number(own, peer)).await;
        made.map_err(|error| Failure::new(FailureKind::Internal, format!("the number could not be made: {error}")))
    }

    /// `Online` or `Away`, until something else is chosen; the others come by themselves.
    pub async fn set_presence(&self, presence: Presence) -> Result<(), Failure> {
        if !matches!(presence, Presence::Online | Presence::Away) {
            let failure = Failure::new(FailureKind::InvalidArgument, "only online and away can be chosen");
            return Err(failure.advise("In a call and offline come by themselves."));
        }
        self.ask(|reply| Command::SetPresence { presence, reply }).await
    }

    /// Notes who was there until now, and ends.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Who is meant, where it has to be a peer id.
    pub fn peer(&self, text: &str) -> Result<PeerId, Failure> {
        let target = self.resolve(text)?;
        names::peer_of(&target, &self.peers.borrow()).ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("nobody is connected from {}", text.trim()))
                .advise("Give the contact's name or the peer id: kithctl contacts list")
        })
    }

    fn stranger(&self, text: &str) -> Result<PeerId, Failure> {
        let people = Arc::clone(&self.people.borrow());
        match names::request_of(&people.requests, text)? {
            Some(peer) => Ok(peer),
            None => {
                drop(people);
                self.peer(text)
            }
        }
    }

    fn newcomer(&self, text: &str) -> Result<Whom, Failure> {
        let people = Arc::clone(&self.people.borrow());
        if let Some(contact) = names::named(&people.contacts, text) {
            return Ok(Whom::Peer(contact.peer_id, Vec::new()));
        }
        let rows = Arc::clone(&self.peers.borrow());
        match text.parse::<Target>() {
            Ok(Target::Ticket(ticket)) => Ok(Whom::Peer(ticket.peer, ticket.addresses)),
            Ok(target) => Ok(match names::peer_of(&target, &rows) {
                Some(peer) => Whom::Peer(peer, names::address_of(&target)),
                None => Whom::Somewhere(target),
            }),
            Err(error) => match (names::request_of(&people.requests, text)?, names::peer_called(&rows, text)?) {
                (Some(peer), _) | (None, Some(peer)) => Ok(Whom::Peer(peer, Vec::new())),
                (None, None) => Err(names::unknown(&people.contacts, text, &error)),
            },
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Failure::new(FailureKind::Internal, "the daemon is shutting down");
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// An empty name is none.
fn optional(name: &str) -> Result<Option<String>, Failure> {
    if name.trim().is_empty() { Ok(None) } else { names::checked(name).map(Some) }
}

fn within(what: &str, text: &str, most: usize) -> Result<(), Failure> {
    let chars = text.chars().count();
    if chars <= most {
        return Ok(());
    }
    let message = format!("{what} has at most {most} characters, and this one has {chars}");
    Err(Failure::new(FailureKind::InvalidArgument, message).advise("Make it shorter."))
}

pub(super) fn itself() -> Failure {
    Failure::new(FailureKind::InvalidArgument, "that is this node's own identity").advise("Name another node.")
}
