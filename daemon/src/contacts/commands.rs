//! What persons ask of the contacts. Everything is on the disk before it is so.

use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, ContactChange, Presence, Right, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_store::ContactRow;

use super::handle::{Reply, itself};
use super::ports::Network;
use super::strangers::{REFUSED_MS, has_only_called};
use super::task::{Command, Entry, Event, Task, Whom, remember};
use super::{link, names};
use crate::net::Multiaddr;

/// Far more people than one knows.
const MAX_CONTACTS: usize = 4096;
/// Addresses that are being looked at for who answers there, because somebody is to be added.
const MAX_FINDING: usize = 8;
/// The setting in which it is kept what the user has chosen to be.
pub(super) const PRESENCE: &str = "presence";
pub(super) const AWAY: &str = "away";
const ONLINE: &str = "online";
/// To tell contacts apart at a glance; the user may choose another.
const COLOURS: [u32; 8] = [0xc0392b, 0xd35400, 0xb7950b, 0x27ae60, 0x16a085, 0x2980b9, 0x8e44ad, 0xc2185b];

impl<N: Network> Task<N> {
    pub async fn handle_command(&mut self, command: Command) {
        match command {
            Command::Add { whom: Whom::Peer(peer, addresses), name, text, reply } => {
                let outcome = self.add(peer, &addresses, name, text).await;
                self.answer(reply, outcome);
            }
            Command::Add { whom: Whom::Somewhere(target), name, text, reply } => {
                if self.finding.len() >= MAX_FINDING {
                    let failure = Failure::new(FailureKind::Busy, "too many addresses are being looked at");
                    self.answer(reply, Err(failure.advise("Try again in a moment.")));
                    return;
                }
                let (net, events) = (self.net.clone(), self.events.clone());
                self.finding.spawn(async move {
                    let found = net.connect(target).await;
                    let _ = events.send(Event::Found { found, name, text, reply }).await;
                });
            }
            Command::Remove { peer, reply } => {
                let outcome = self.remove(peer).await;
                self.answer(reply, outcome);
            }
            Command::Change { peer, change, reply } => {
                let outcome = self.change(peer, change).await;
                self.answer(reply, outcome);
            }
            Command::SetTrust { peer, right, trust, reply } => {
                let outcome = self.set_trust(peer, right, trust).await;
                self.answer(reply, outcome);
            }
            Command::Accept { peer, name, reply } => {
                let outcome = self.accept(peer, name).await;
                self.answer(reply, outcome);
            }
            Command::Refuse { peer, reply } => {
                let outcome = self.refuse(peer).await;
                self.answer(reply, outcome);
            }
            Command::SetPresence { presence, reply } => {
                let outcome = self.set_presence(presence).await;
                self.answer(reply, outcome);
            }
            Command::Shutdown { .. } => {}
        }
    }

    /// Who asked sees what became of it in the list as well.
    pub fn answer<T>(&mut self, reply: Reply<T>, outcome: Result<T, Failure>) {
        self.publish();
        // Whoever asked may have gone.
        let _ = reply.send(outcome);
    }

    pub async fn add(
        &mut self,
        peer: PeerId,
        addresses: &[Multiaddr],
        name: Option<String>,
        text: String,
    ) -> Result<Contact, Failure> {
        if peer == self.net.peer_id() {
            return Err(itself());
        }
        let request = self.requests.iter().find(|request| request.peer_id == peer).cloned();
        let mut row = match self.contacts.get(&peer) {
            Some(entry) => entry.row.clone(),
            None if self.contacts.len() >= MAX_CONTACTS => {
                let failure =
                    Failure::new(FailureKind::NotPermitted, format!("{MAX_CONTACTS} contacts are all there can be"));
                return Err(failure.advise("Remove one: kithctl contacts remove NAME"));
            }
            None => self.new_row(peer),
        };
        if let Some(request) = &request {
            // It wants what we want; whoever has only called is asked.
            row.mutual |= !has_only_called(&request.text);
            if row.own_name.is_empty() {
                row.own_name.clone_from(&request.name);
            }
        }
        if !row.mutual {
            row.asked = false;
            row.request_text = text;
        }
        self.set_name(&mut row, name)?;
        remember(&mut row.addresses, addresses.iter().map(ToString::to_string));
        let written = row.clone();
        self.database
            .write(move |store| {
                store.take_request(peer)?;
                store.put_contact(&written)
            })
            .await?;
        tracing::debug!(%peer, "a contact is added");
        self.requests.retain(|request| request.peer_id != peer);
        self.moved = true;
        let entry = match self.contacts.get_mut(&peer) {
            Some(entry) => {
                entry.row = row;
                entry
            }
            None => self.contacts.entry(peer).or_insert(Entry::new(row)),
        };
        let (contact, asks) = (entry.shown(), !entry.row.asked);
        if asks {
            self.link_anew(peer);
        }
        self.look_at_peers().await;
        Ok(self.contacts.get(&peer).map_or(contact, Entry::shown))
    }

    fn new_row(&self, peer: PeerId) -> ContactRow {
        ContactRow {
            peer,
            name: String::new(),
            own_name: self.own_name(peer),
            note: String::new(),
            colour: COLOURS[usize::from(peer.public_key()[0]) % COLOURS.len()],
            calls: Trust::Ask,
            files: Trust::Ask,
            relay: Trust::Ask,
            verified: false,
            mutual: false,
            addresses: Vec::new(),
            last_seen_unix_ms: 0,
            added_unix_ms: unix_ms(),
            asked: false,
            request_text: String::new(),
        }
    }

    /// The name that the user gives; without one what the peer calls itself, as soon as that is known.
    fn set_name(&self, row: &mut ContactRow, name: Option<String>) -> Result<(), Failure> {
        match name {
            Some(name) if self.is_taken(&name, row.peer) => return Err(taken(&name)),
            Some(name) => row.name = name,
            None if row.name.is_empty() => {
                let own = names::checked(&row.own_name).unwrap_or_else(|_| row.peer.short());
                row.name = names::free(&own, |name| self.is_taken(name, row.peer));
            }
            None => {}
        }
        Ok(())
    }

    async fn remove(&mut self, peer: PeerId) -> Result<(), Failure> {
        let Some(entry) = self.contacts.get(&peer) else { return Err(no_contact(peer)) };
        let (connected, knows) = (entry.connected, entry.row.asked || entry.row.mutual);
        self.database.write(move |store| store.remove_contact(peer)).await?;
        tracing::debug!(%peer, "a contact is removed");
        self.contacts.remove(&peer);
        self.moved = true;
        self.link_anew(peer);
        // Who is away learns it when it asks again.
        if connected && knows && self.leaving.insert(peer) {
            tokio::spawn(link::take_leave(self.net.clone(), peer, self.events.clone()));
        }
        Ok(())
    }

    async fn change(&mut self, peer: PeerId, change: ContactChange) -> Result<Contact, Failure> {
        let mut row = self.row(peer)?;
        self.set_name(&mut row, change.name)?;
        row.note = change.note.unwrap_or(row.note);
        row.colour = change.colour.unwrap_or(row.colour);
        row.verified = change.verified.unwrap_or(row.verified);
        self.replace(row).await
    }

    async fn set_trust(&mut self, peer: PeerId, right: Right, trust: Trust) -> Result<Contact, Failure> {
        let mut row = self.row(peer)?;
        match right {
            Right::Calls => row.calls = trust,
            Right::Files => row.files = trust,
            Right::Relay => row.relay = trust,
        }
        self.replace(row).await
    }

    async fn accept(&mut self, peer: PeerId, name: Option<String>) -> Result<Contact, Failure> {
        if !self.requests.iter().any(|request| request.peer_id == peer) {
            return Err(no_request(peer));
        }
        self.add(peer, &[], name, String::new()).await
    }

    async fn refuse(&mut self, peer: PeerId) -> Result<(), Failure> {
        if !self.requests.iter().any(|request| request.peer_id == peer) {
            return Err(no_request(peer));
        }
        let until = unix_ms() + REFUSED_MS;
        self.database
            .write(move |store| {
                store.take_request(peer)?;
                store.refuse(peer, until)
            })
            .await?;
        self.requests.retain(|request| request.peer_id != peer);
        Ok(())
    }

    async fn set_presence(&mut self, presence: Presence) -> Result<(), Failure> {
        let kept = if presence == Presence::Away { AWAY } else { ONLINE };
        self.database.write(move |store| store.set_setting(PRESENCE, kept)).await?;
        self.chosen = presence;
        Ok(())
    }

    fn row(&self, peer: PeerId) -> Result<ContactRow, Failure> {
        self.contacts.get(&peer).map(|entry| entry.row.clone()).ok_or_else(|| no_contact(peer))
    }

    async fn replace(&mut self, row: ContactRow) -> Result<Contact, Failure> {
        let (peer, written) = (row.peer, row.clone());
        self.database.write(move |store| store.put_contact(&written)).await?;
        let entry = self.contacts.get_mut(&peer).ok_or_else(|| no_contact(peer))?;
        entry.row = row;
        Ok(entry.shown())
    }
}

fn taken(name: &str) -> Failure {
    Failure::new(FailureKind::InvalidArgument, format!("another contact is called {name:?} already"))
        .advise("Choose another name, or rename that one: kithctl contacts rename")
}

fn no_contact(peer: PeerId) -> Failure {
    Failure::new(FailureKind::NotFound, format!("…{} is none of your contacts", peer.short()))
        .advise(format!("To add it: kithctl contacts add {peer}"))
}

fn no_request(peer: PeerId) -> Failure {
    Failure::new(FailureKind::NotFound, format!("…{} has not asked to be a contact", peer.short()))
        .advise("Requests: kithctl contacts requests")
}
