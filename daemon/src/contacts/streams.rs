//! Which streams there are: one that this node speaks on to each contact that has something to hear, and those that
//! peers speak on.

use std::time::{Duration, Instant};

use kith_common::contact::Presence;
use kith_common::ids::PeerId;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::link;
use super::ports::Network;
use super::task::{Entry, Task, now};
use super::wire::Request;
use crate::net::Stream;

/// Streams that peers have opened, all together; `net` holds each peer to a few.
const MAX_LISTENING: usize = 256;
/// Before a stream that ended, or was not taken, is opened again: soon, then seldom.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);
/// A stream that was answered so lately leads to the process that is there now. Without it two nodes would open streams
/// because the other one did, for ever.
const FRESH: Duration = Duration::from_secs(5);

/// The stream that this node speaks on to one contact.
pub(super) struct Link {
    number: u64,
    /// `None`: it has ended, and is opened again then.
    speaking: Option<AbortOnDropHandle<()>>,
    retry: Instant,
    pause: Duration,
    /// When the peer answered on it.
    heard: Option<Instant>,
    presence: watch::Sender<Option<Presence>>,
}

impl Link {
    /// When it is opened again; `None`: it is open.
    pub fn due(&self) -> Option<Instant> {
        self.speaking.is_none().then_some(self.retry)
    }
}

impl<N: Network> Task<N> {
    pub fn listen(&mut self, peer: PeerId, stream: Stream) {
        if self.listening.len() >= MAX_LISTENING {
            tracing::debug!(%peer, "too many streams about contacts: refused");
            return;
        }
        self.listening.spawn(link::listen(peer, stream, self.events.clone()));
    }

    /// Speaks to each contact that is there and has something to hear, and to nobody else.
    pub fn sync_links(&mut self) {
        let now = now();
        let own = self.own();
        let leaving = &self.leaving;
        // Who has been asked, and has not answered by adding this node, is left in peace.
        let wanted = |entry: &Entry| {
            entry.connected
                && !entry.blocked
                && (!entry.row.asked || entry.row.mutual)
                && !leaving.contains(&entry.row.peer)
        };
        let contacts = &self.contacts;
        self.links.retain(|peer, _| contacts.get(peer).is_some_and(wanted));
        let name = self.identity.borrow().name.clone();
        for entry in self.contacts.values().filter(|entry| wanted(entry)) {
            let row = &entry.row;
            let link = self.links.entry(row.peer).or_insert_with(|| Link {
                number: 0,
                speaking: None,
                retry: now,
                pause: FIRST_RETRY,
                heard: None,
                presence: watch::Sender::new(None),
            });
            // Presence is told to contacts on both sides only.
            let presence = row.mutual.then_some(own);
            link.presence.send_if_modified(|said| std::mem::replace(said, presence) != presence);
            if link.speaking.is_some() || link.retry > now {
                continue;
            }
            self.next_link += 1;
            link.number = self.next_link;
            let text = if row.mutual { String::new() } else { row.request_text.clone() };
            let request = Request { name: name.clone(), text, again: row.mutual };
            let (net, presence, events) = (self.net.clone(), link.presence.subscribe(), self.events.clone());
            let speaking = link::speak(net, row.peer, link.number, request, presence, events);
            link.speaking = Some(AbortOnDropHandle::new(tokio::spawn(speaking)));
        }
    }

    /// The stream that we speak on has ended; false when it was another.
    pub fn link_ended(&mut self, peer: PeerId, number: u64) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.number == number) else { return };
        link.speaking = None;
        link.retry = now() + link.pause;
        link.pause = (link.pause * 2).min(LAST_RETRY);
    }

    /// The peer has answered: the next pause is short again. False: that was not the stream we speak on now.
    pub fn link_heard(&mut self, peer: PeerId, number: u64) -> bool {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.number == number) else { return false };
        link.pause = FIRST_RETRY;
        link.heard = Some(now());
        true
    }

    /// The peer has just begun to speak: there is no need to wait any longer with what we have to say. A stream that has
    /// stood for a while may lead to a process that is no more; what is said twice does no harm.
    pub fn link_now(&mut self, peer: PeerId) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.retry = now();
        if link.heard.is_some_and(|heard| now().saturating_duration_since(heard) > FRESH) {
            self.links.remove(&peer);
        }
    }

    /// Says what is new to a contact at the next look, whatever was said before.
    pub fn link_anew(&mut self, peer: PeerId) {
        self.links.remove(&peer);
    }
}
