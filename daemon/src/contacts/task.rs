//! The task that owns the contacts: follows the peers, keeps the streams to those that are contacts, dials those that
//! are away, and publishes it all. What persons ask is in `commands.rs`, what peers say in `heard.rs`, the streams in
//! `streams.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, ContactChange, ContactRequest, People, Presence, Right, Trust};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::{Identity, PeerInfo, PeerStatus};
use kith_common::target::{MAX_TICKET_ADDRESSES, Target, Ticket};
use kith_store::{ContactRow, Database};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::commands::{AWAY, PRESENCE};
use super::handle::{Addresses, Reply};
use super::names;
use super::ports::Network;
use super::reach::{Dialer, FIRST_PAUSE};
use super::strangers::{Door, Knock};
use super::streams::Link;
use super::wire::Request;
use crate::net::{Multiaddr, Stream};

/// What the tasks around report; a peer that floods is read no faster than this drains.
const EVENTS: usize = 64;
/// How often it is noted that a contact is still there, for a daemon that is killed.
const SEEN_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Who is to be added.
#[derive(Debug)]
pub(super) enum Whom {
    /// With addresses that are known of it.
    Peer(PeerId, Vec<Multiaddr>),
    /// Whoever answers there.
    Somewhere(Target),
}

pub(super) enum Command {
    Add { whom: Whom, name: Option<String>, text: String, reply: Reply<Contact> },
    Remove { peer: PeerId, reply: Reply<()> },
    Change { peer: PeerId, change: ContactChange, reply: Reply<Contact> },
    SetTrust { peer: PeerId, right: Right, trust: Trust, reply: Reply<Contact> },
    Accept { peer: PeerId, name: Option<String>, reply: Reply<Contact> },
    Refuse { peer: PeerId, reply: Reply<()> },
    SetPresence { presence: Presence, reply: Reply<()> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// What comes back from the tasks that this one starts.
pub(super) enum Event {
    /// The answer: whether the peer is a contact here. Dropped: not now.
    Request {
        peer: PeerId,
        request: Request,
        answer: oneshot::Sender<bool>,
    },
    Presence {
        peer: PeerId,
        presence: Presence,
    },
    Removed {
        peer: PeerId,
    },
    /// The peer has read our request, and has us among its contacts or not.
    Heard {
        peer: PeerId,
        link: u64,
        contact: bool,
    },
    /// The stream that we speak on.
    Ended {
        peer: PeerId,
        link: u64,
    },
    /// A last word is said, or could not be.
    Left {
        peer: PeerId,
    },
    Dialed {
        peer: PeerId,
    },
    /// Somebody who is to be added was looked for.
    Found {
        found: Result<PeerId, Failure>,
        name: Option<String>,
        text: String,
        reply: Reply<Contact>,
    },
}

/// A contact, with what is known of it only while it is connected.
pub(super) struct Entry {
    pub row: ContactRow,
    pub connected: bool,
    pub blocked: bool,
    /// What it has said; nothing since it is connected: `None`.
    pub told: Option<Presence>,
    /// The newest stream of ours that there was when the peer last said that it has us; 0: it has not.
    pub claimed: u64,
}

impl Entry {
    pub fn new(row: ContactRow) -> Self {
        Self { row, connected: false, blocked: false, told: None, claimed: 0 }
    }

    pub fn shown(&self) -> Contact {
        let row = &self.row;
        let presence = match self.told {
            _ if !self.connected || !row.mutual => Presence::Offline,
            Some(told) => told,
            None => Presence::Online,
        };
        Contact {
            peer_id: row.peer,
            name: row.name.clone(),
            own_name: row.own_name.clone(),
            note: row.note.clone(),
            colour: row.colour,
            presence,
            last_seen_unix_ms: row.last_seen_unix_ms,
            calls: row.calls,
            files: row.files,
            relay: row.relay,
            verified: row.verified,
            blocked: self.blocked,
            added_unix_ms: row.added_unix_ms,
            mutual: row.mutual,
        }
    }
}

pub(super) struct Task<N: Network> {
    pub net: N,
    pub database: Database,
    pub contacts: BTreeMap<PeerId, Entry>,
    pub requests: Vec<ContactRequest>,
    /// What the user has chosen.
    pub chosen: Presence,
    pub door: Door,
    /// Being told that they are contacts no longer; nothing else is said to them before.
    pub leaving: BTreeSet<PeerId>,
    pub finding: JoinSet<()>,
    pub events: mpsc::Sender<Event>,
    news: Option<mpsc::Receiver<Event>>,
    in_call: watch::Receiver<bool>,
    pub identity: watch::Receiver<Arc<Identity>>,
    /// The addresses that this node had when it looked last.
    addresses: BTreeSet<String>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    anybody_connected: bool,
    pub links: BTreeMap<PeerId, Link>,
    pub next_link: u64,
    dialer: Dialer,
    pub listening: JoinSet<()>,
    seen_at: Instant,
    people: watch::Sender<Arc<People>>,
    places: watch::Sender<Addresses>,
    /// The addresses of a contact are others than those published.
    pub moved: bool,
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<N: Network> Task<N> {
    pub async fn load(
        net: N,
        database: Database,
        in_call: watch::Receiver<bool>,
        people: watch::Sender<Arc<People>>,
        places: watch::Sender<Addresses>,
    ) -> Result<Self, Failure> {
        let known = database.read(|store| Ok((store.contacts()?, store.requests()?, store.setting(PRESENCE)?)));
        let (rows, requests, chosen) = known.await?;
        let (events, news) = mpsc::channel(EVENTS);
        let mut task = Self {
            identity: net.identity(),
            peers: net.peers(),
            net,
            database,
            contacts: rows.into_iter().map(|row| (row.peer, Entry::new(row))).collect(),
            requests,
            chosen: if chosen.as_deref() == Some(AWAY) { Presence::Away } else { Presence::Online },
            door: Door::new(now()),
            leaving: BTreeSet::new(),
            finding: JoinSet::new(),
            events,
            news: Some(news),
            in_call,
            addresses: BTreeSet::new(),
            anybody_connected: false,
            links: BTreeMap::new(),
            next_link: 0,
            dialer: Dialer::default(),
            listening: JoinSet::new(),
            seen_at: now() + SEEN_INTERVAL,
            people,
            places,
            moved: true,
        };
        task.publish();
        task.look_at_identity();
        task.look_at_peers().await;
        Ok(task)
    }

    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut incoming: Option<mpsc::Receiver<(PeerId, Stream)>>,
        mut knocks: Option<mpsc::Receiver<Knock>>,
    ) {
        let Some(mut news) = self.news.take() else { return };
        let mut calls_gone = false;
        // All of them at once, few at a time: this node has just come back.
        self.look_after(Duration::ZERO);
        loop {
            let wake = self.next_wake().map(tokio::time::Instant::from_std);
            let mut delay = FIRST_PAUSE;
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Shutdown { reply }) => {
                        self.note_seen().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => {
                        self.handle_command(command).await;
                        delay = Duration::ZERO;
                    }
                    None => return,
                },
                Some(event) = news.recv() => {
                    // Somebody who was added.
                    if matches!(event, Event::Found { .. }) {
                        delay = Duration::ZERO;
                    }
                    self.handle_event(event).await;
                }
                knock = next(&mut knocks) => match knock {
                    Some(knock) => self.handle_knock(knock).await,
                    None => knocks = None,
                },
                stream = next(&mut incoming) => match stream {
                    Some((peer, stream)) => self.listen(peer, stream),
                    None => incoming = None,
                },
                // `net` outlives this; when it is gone, so is the daemon.
                changed = self.peers.changed() => match changed {
                    Ok(()) => {
                        self.look_at_peers().await;
                        self.name_requests().await;
                    }
                    Err(_) => return,
                },
                changed = self.identity.changed() => match changed {
                    Ok(()) => self.look_at_identity(),
                    Err(_) => return,
                },
                changed = self.in_call.changed(), if !calls_gone => calls_gone = changed.is_err(),
                Some(_) = self.listening.join_next() => {}
                Some(_) = self.finding.join_next() => {}
                () = tokio::time::sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {}
            }
            if now() >= self.seen_at {
                self.note_seen().await;
            }
            self.look_after(delay);
            self.publish();
        }
    }

    /// Streams and dials, as they have to be now. Contacts that were not away before are dialed after `delay`.
    fn look_after(&mut self, delay: Duration) {
        self.sync_links();
        let away = self.contacts.values().filter(|entry| !entry.connected && !entry.blocked);
        self.dialer.set_away(&away.map(|entry| entry.row.peer).collect(), now(), delay);
        while let Some(peer) = self.dialer.next(now()) {
            self.dial(peer);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let retries = self.links.values().filter_map(Link::due);
        retries.chain(self.dialer.deadline()).chain([self.seen_at]).min()
    }

    fn dial(&self, peer: PeerId) {
        let (net, events, target) = (self.net.clone(), self.events.clone(), self.target(peer));
        tokio::spawn(async move {
            if let Err(failure) = net.connect(target).await {
                tracing::debug!(%peer, %failure, "a contact is away");
            }
            let _ = events.send(Event::Dialed { peer }).await;
        });
    }

    /// The addresses of a ticket are given to the network with each dial: it may have forgotten them.
    fn target(&self, peer: PeerId) -> Target {
        let entry = self.contacts.get(&peer);
        let addresses = entry.map(|entry| parsed(&entry.row.addresses)).unwrap_or_default();
        if addresses.is_empty() { Target::Peer(peer) } else { Target::Ticket(Ticket { peer, addresses }) }
    }

    pub fn dialed(&mut self, peer: PeerId) {
        self.dialer.tried(&peer, now());
    }

    // ---- what the network tells

    /// An address that was not there before: another network, or the old one back.
    fn look_at_identity(&mut self) {
        let addresses: BTreeSet<String> = self.identity.borrow_and_update().addresses.iter().cloned().collect();
        if addresses.iter().any(|address| !self.addresses.contains(address)) {
            self.dialer.network_is_back(now());
        }
        self.addresses = addresses;
    }

    pub async fn look_at_peers(&mut self) {
        let rows = Arc::clone(&self.peers.borrow_and_update());
        let anybody = rows.iter().any(|row| row.connected);
        // The first peer opens the DHT, in which the others are found.
        if anybody && !self.anybody_connected {
            self.dialer.network_is_back(now());
        }
        self.anybody_connected = anybody;
        let mut changed = Vec::new();
        let mut seen: BTreeSet<PeerId> = BTreeSet::new();
        for row in rows.iter() {
            let Some(entry) = self.contacts.get_mut(&row.peer_id) else { continue };
            seen.insert(row.peer_id);
            entry.blocked = row.status == PeerStatus::Blocked;
            let (before, was_connected) = (entry.row.clone(), entry.connected);
            if row.connected != entry.connected {
                entry.connected = row.connected;
                entry.told = None;
                entry.row.last_seen_unix_ms = unix_ms();
            }
            // Where it was reached, for when the network has long forgotten it; at once where nothing is known, since this
            // node may be killed before the other goes.
            let first = row.connected && entry.row.addresses.is_empty() && !row.addresses.is_empty();
            if first || (entry.connected != was_connected && !row.connected) {
                remember(&mut entry.row.addresses, row.addresses.iter().cloned());
                self.moved = true;
            }
            if row.connected && !row.name.is_empty() {
                entry.row.own_name.clone_from(&row.name);
            }
            if entry.row != before {
                changed.push(row.peer_id);
            }
        }
        // The list may be too long for all that were once met.
        for (peer, entry) in &mut self.contacts {
            if !seen.contains(peer) {
                entry.blocked = false;
                if std::mem::take(&mut entry.connected) {
                    entry.told = None;
                    entry.row.last_seen_unix_ms = unix_ms();
                    changed.push(*peer);
                }
            }
        }
        for peer in &changed {
            self.name_by_itself(*peer);
        }
        self.keep(&changed).await;
    }

    /// What a peer calls itself, as far as the network knows.
    pub fn own_name(&self, peer: PeerId) -> String {
        let rows = Arc::clone(&self.peers.borrow());
        rows.iter().find(|row| row.peer_id == peer).map(|row| row.name.clone()).unwrap_or_default()
    }

    /// A contact that got no name takes its own as soon as it is known.
    pub fn name_by_itself(&mut self, peer: PeerId) {
        let Some(row) = self.contacts.get(&peer).map(|entry| &entry.row) else { return };
        if row.name != peer.short() || row.own_name.is_empty() {
            return;
        }
        let Ok(own) = names::checked(&row.own_name) else { return };
        let name = names::free(&own, |name| self.is_taken(name, peer));
        if let Some(entry) = self.contacts.get_mut(&peer) {
            entry.row.name = name;
        }
    }

    /// Does a contact other than that peer have this name?
    pub fn is_taken(&self, name: &str, except: PeerId) -> bool {
        let name = names::fold(name);
        self.contacts.values().any(|entry| entry.row.peer != except && names::fold(&entry.row.name) == name)
    }

    /// What changed by itself goes to the disk; if it cannot, it is still so until the next start.
    pub async fn keep(&self, peers: &[PeerId]) {
        let rows: Vec<ContactRow> =
            peers.iter().filter_map(|peer| self.contacts.get(peer)).map(|entry| entry.row.clone()).collect();
        if rows.is_empty() {
            return;
        }
        let written = self.database.write(move |store| rows.iter().try_for_each(|row| store.put_contact(row))).await;
        if let Err(failure) = written {
            tracing::warn!(%failure, "a change of a contact will be forgotten at the next start");
        }
    }

    async fn note_seen(&mut self) {
        self.seen_at = now() + SEEN_INTERVAL;
        let mut seen = Vec::new();
        for entry in self.contacts.values_mut().filter(|entry| entry.connected) {
            entry.row.last_seen_unix_ms = unix_ms();
            seen.push(entry.row.peer);
        }
        self.keep(&seen).await;
    }

    // ---- what others see

    pub fn own(&self) -> Presence {
        if *self.in_call.borrow() { Presence::InCall } else { self.chosen }
    }

    pub fn publish(&mut self) {
        let mut contacts: Vec<Contact> = self.contacts.values().map(Entry::shown).collect();
        contacts.sort_by_cached_key(|contact| names::fold(&contact.name));
        let mut requests = self.requests.clone();
        requests.sort_by_key(|request| std::cmp::Reverse(request.received_unix_ms));
        let new = People { contacts, requests, own: self.own() };
        // First: who looks up a name that has just appeared finds where it is.
        if std::mem::take(&mut self.moved) {
            let known = self.contacts.values().map(|entry| (entry.row.peer, parsed(&entry.row.addresses)));
            let known: BTreeMap<_, _> = known.filter(|(_, addresses)| !addresses.is_empty()).collect();
            self.places.send_replace(Arc::new(known));
        }
        self.people.send_if_modified(|before| {
            let changed = **before != new;
            if changed {
                *before = Arc::new(new);
            }
            changed
        });
    }
}

/// The newest first, each once.
pub(super) fn remember(known: &mut Vec<String>, newest: impl Iterator<Item = String>) {
    let before = std::mem::take(known);
    for address in newest.take(MAX_TICKET_ADDRESSES).chain(before) {
        if known.len() < MAX_TICKET_ADDRESSES && !known.contains(&address) {
            known.push(address);
        }
    }
}

/// Addresses in a database of a newer version may be of kinds that this one does not know.
fn parsed(addresses: &[String]) -> Vec<Multiaddr> {
    addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

async fn next<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(all) => all.recv().await,
        None => std::future::pending().await,
    }
}
