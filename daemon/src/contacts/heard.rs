//! What peers say about being contacts, and what follows from it.

use kith_common::clock::unix_ms;
use kith_common::contact::{ContactRequest, MAX_NAME_CHARS};
use kith_common::ids::PeerId;
use kith_common::text::clean_line;

use super::ports::Network;
use super::strangers::{Knock, MAX_REQUESTS};
use super::task::{Event, Task, now};
use super::wire::Request;

/// What became of a stranger's request.
enum Kept {
    Yes,
    /// The user has refused this stranger not long ago.
    Refused,
    NoRoom,
}

impl<N: Network> Task<N> {
    pub async fn handle_event(&mut self, event: Event) {
        match event {
            Event::Request { peer, request, answer } => {
                // Without an answer the stream closes, and the peer asks again later.
                if let Some(contact) = self.handle_request(peer, request).await {
                    let _ = answer.send(contact);
                }
            }
            Event::Presence { peer, presence } => {
                if let Some(entry) = self.contacts.get_mut(&peer).filter(|entry| entry.row.mutual && entry.connected) {
                    entry.told = Some(presence);
                }
            }
            Event::Removed { peer } => self.handle_removed(peer).await,
            Event::Heard { peer, link, contact } => {
                if self.link_heard(peer, link) {
                    self.handle_heard(peer, link, contact).await;
                }
            }
            Event::Ended { peer, link } => self.link_ended(peer, link),
            Event::Left { peer } => _ = self.leaving.remove(&peer),
            Event::Dialed { peer } => self.dialed(peer),
            Event::Found { found, name, text, reply } => {
                let outcome = match found {
                    Ok(peer) => self.add(peer, &[], name, text).await,
                    Err(failure) => Err(failure),
                };
                self.answer(reply, outcome);
            }
        }
    }

    /// Whether the peer is a contact here; `None`: it cannot be taken now.
    async fn handle_request(&mut self, peer: PeerId, request: Request) -> Option<bool> {
        let link = self.next_link;
        let Some(entry) = self.contacts.get_mut(&peer) else { return self.handle_stranger(peer, request).await };
        entry.claimed = link;
        let before = entry.row.clone();
        entry.row.mutual = true;
        // What it says to everybody (`Hello`) is newer, and not said as often as it likes.
        if entry.row.own_name.is_empty() {
            entry.row.own_name = request.name;
        }
        if entry.row != before {
            self.name_by_itself(peer);
            self.keep(&[peer]).await;
        }
        self.link_now(peer);
        Some(true)
    }

    async fn handle_stranger(&mut self, peer: PeerId, request: Request) -> Option<bool> {
        // It takes itself for a contact: it was removed, or this node has forgotten it.
        if request.again {
            return Some(false);
        }
        let waits = |known: &ContactRequest| known.peer_id == peer && known.text == request.text;
        if self.requests.iter().any(waits) {
            return Some(false);
        }
        if !self.door.admit(now()) {
            tracing::debug!(%peer, "too many strangers ask at once: one has to ask again");
            return None;
        }
        let received_unix_ms = unix_ms();
        let new = ContactRequest { peer_id: peer, name: request.name, text: request.text, received_unix_ms };
        let written = new.clone();
        let kept = self.database.write(move |store| {
            if store.is_refused(peer, received_unix_ms)? {
                return Ok(Kept::Refused);
            }
            Ok(if store.put_request(&written, MAX_REQUESTS)? { Kept::Yes } else { Kept::NoRoom })
        });
        match kept.await {
            Ok(Kept::Yes) => {
                tracing::debug!(%peer, "a stranger asks to be a contact");
                self.requests.retain(|known| known.peer_id != peer);
                self.requests.push(new);
                Some(false)
            }
            // Who is refused is told nothing, also not by silence.
            Ok(Kept::Refused) => Some(false),
            Ok(Kept::NoRoom) => {
                tracing::debug!(%peer, "a stranger asks, and {MAX_REQUESTS} requests wait already");
                None
            }
            Err(failure) => {
                tracing::warn!(%failure, "the request of a stranger could not be kept");
                None
            }
        }
    }

    /// A stranger has called and was not let ring: that is a request like others, unless it has asked already.
    pub async fn handle_knock(&mut self, knock: Knock) {
        let Knock { peer, .. } = knock;
        let asked = self.requests.iter().any(|request| request.peer_id == peer);
        if asked || self.contacts.contains_key(&peer) {
            return;
        }
        let name = clean_line(&self.own_name(peer), MAX_NAME_CHARS);
        // The caller has heard what there is to hear, whether there was room or not.
        let _ = self.handle_stranger(peer, Request { name, text: knock.text().to_owned(), again: false }).await;
    }

    /// A stranger may have called before its greeting was read, in which it says its name.
    pub async fn name_requests(&mut self) {
        let mut named: Vec<ContactRequest> =
            self.requests.iter().filter(|request| request.name.is_empty()).cloned().collect();
        for request in &mut named {
            request.name = clean_line(&self.own_name(request.peer_id), MAX_NAME_CHARS);
        }
        named.retain(|request| !request.name.is_empty());
        if named.is_empty() {
            return;
        }
        self.requests.retain(|known| named.iter().all(|request| request.peer_id != known.peer_id));
        self.requests.extend(named.iter().cloned());
        let written = self.database.write(move |store| {
            named.iter().try_for_each(|request| store.put_request(request, MAX_REQUESTS).map(drop))
        });
        if let Err(failure) = written.await {
            tracing::warn!(%failure, "the name of a stranger will be forgotten at the next start");
        }
    }

    /// Our own request has been read.
    async fn handle_heard(&mut self, peer: PeerId, link: u64, contact: bool) {
        let Some(entry) = self.contacts.get_mut(&peer) else { return };
        let before = entry.row.clone();
        entry.row.asked = true;
        // What it has said for itself meanwhile, on its own stream, is newer than its answer.
        entry.row.mutual = contact || entry.claimed >= link;
        if entry.row != before {
            if !entry.row.mutual {
                entry.told = None;
            }
            self.keep(&[peer]).await;
        }
    }

    async fn handle_removed(&mut self, peer: PeerId) {
        if self.requests.iter().any(|request| request.peer_id == peer) {
            self.requests.retain(|request| request.peer_id != peer);
            if let Err(failure) = self.database.write(move |store| store.take_request(peer)).await {
                tracing::warn!(%failure, "a request that was taken back is there again at the next start");
            }
        }
        let Some(entry) = self.contacts.get_mut(&peer).filter(|entry| entry.row.mutual) else { return };
        entry.claimed = 0;
        entry.row.mutual = false;
        // Nobody is asked again unless the user wants it.
        entry.row.asked = true;
        entry.told = None;
        self.keep(&[peer]).await;
    }
}
