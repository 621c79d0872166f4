//! To whom there is a stream: which side opens it and when, what follows when it breaks, and who is dialled.
//!
//! Of two nodes the one with the smaller peer id opens; the other does so when it has something to say and no stream has
//! come. Of two streams the newer stands. The owner does what [`Book::poll_action`] says and tells how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kith_common::ids::PeerId;

use super::longer;

/// The side with the larger peer id lets the other come first for so long.
pub const OTHER_OPENS_FIRST: Duration = Duration::from_secs(1);
/// Between a stream that broke and the next, first and last.
const FIRST_REOPEN: Duration = Duration::from_millis(500);
const LAST_REOPEN: Duration = Duration::from_secs(60);
/// A peer that does not know the protocol, or us, will say so when that changes, or has to be restarted for it.
const UNWELCOME_REOPEN: Duration = Duration::from_secs(10 * 60);
/// A stream that lasted for so long was a good one.
const GOOD_LINK: Duration = Duration::from_secs(10);
/// Looking for a peer in the DHT costs others something: members of a group that are away are looked for seldom.
const FIRST_DIAL: Duration = Duration::from_secs(15);
const LAST_DIAL: Duration = Duration::from_secs(30 * 60);
const MAX_DIALS: usize = 4;

/// One stream. Later ones have larger numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// How a stream ended, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Broken,
    /// The peer knows no such protocol, or does not want to hear from us.
    Unwelcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Open a stream, then say `handle_link` or `handle_not_opened`.
    Open(PeerId),
    /// Connect, then say `handle_dialled`.
    Dial(PeerId),
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    connected: bool,
    /// A contact, or in a group with us.
    known: bool,
    /// A contact: others keep looking for it.
    contact: bool,
    owed: bool,
    /// Something other than entries is to be said: that we are there again, or that it is welcome now.
    eager: bool,
    opening: bool,
    link: Option<(LinkId, Instant)>,
    /// Not before.
    open_at: Option<Instant>,
    reopen: Duration,
    dialling: bool,
    dial_at: Option<Instant>,
    redial: Duration,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            connected: false,
            known: false,
            contact: false,
            owed: false,
            eager: false,
            opening: false,
            link: None,
            open_at: None,
            reopen: FIRST_REOPEN,
            dialling: false,
            dial_at: None,
            redial: FIRST_DIAL,
        }
    }
}

/// All peers; see the module.
#[derive(Debug)]
pub struct Book {
    own: PeerId,
    on: bool,
    next_link: u64,
    peers: BTreeMap<PeerId, Peer>,
}

impl Book {
    pub fn new(own: PeerId) -> Self {
        Self { own, on: true, next_link: 0, peers: BTreeMap::new() }
    }

    /// The service has been stopped or started. The owner ends the streams.
    pub fn handle_switch(&mut self, on: bool, now: Instant) {
        if std::mem::replace(&mut self.on, on) == on {
            return;
        }
        let own = self.own;
        for (id, peer) in &mut self.peers {
            peer.eager = on && peer.known;
            peer.open_at = None;
            peer.hurry(now, own < *id);
        }
    }

    /// Who is connected now.
    pub fn handle_connected(&mut self, connected: &BTreeSet<PeerId>, now: Instant) {
        let own = self.own;
        for id in connected {
            let peer = self.peers.entry(*id).or_default();
            if !std::mem::replace(&mut peer.connected, true) {
                peer.reopen = FIRST_REOPEN;
                peer.redial = FIRST_DIAL;
                peer.open_at = Some(if own < *id { now } else { now + OTHER_OPENS_FIRST });
            }
        }
        for (id, peer) in &mut self.peers {
            if !connected.contains(id) {
                peer.connected = false;
            }
        }
        self.tidy();
    }

    /// Who is a contact, and who shares a group with us.
    pub fn handle_people(&mut self, contacts: &BTreeSet<PeerId>, members: &BTreeSet<PeerId>, now: Instant) {
        for id in contacts.union(members) {
            let peer = self.peers.entry(*id).or_default();
            let new = !std::mem::replace(&mut peer.known, true);
            let befriended = contacts.contains(id) && !std::mem::replace(&mut peer.contact, true);
            if new || befriended {
                peer.eager = true;
                peer.hurry(now, self.own < *id);
            }
        }
        for (id, peer) in &mut self.peers {
            peer.contact = contacts.contains(id);
            peer.known = peer.contact || members.contains(id);
        }
        self.tidy();
    }

    /// Who lacks own entries.
    pub fn handle_owed(&mut self, owed: &BTreeSet<PeerId>, now: Instant) {
        for id in owed {
            let peer = self.peers.entry(*id).or_default();
            if !std::mem::replace(&mut peer.owed, true) {
                peer.hurry(now, self.own < *id);
                peer.dial_at = Some(now);
            }
        }
        for (id, peer) in &mut self.peers {
            peer.owed = owed.contains(id);
        }
        self.tidy();
    }

    /// The peer may take now what it did not take before: it has started its service, or made us its contact.
    pub fn handle_welcome(&mut self, id: PeerId, now: Instant) {
        let first = self.own < id;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.hurry(now, first);
        }
    }

    /// There is a stream, opened by either side: the newer stands.
    pub fn handle_link(&mut self, id: PeerId, now: Instant) -> LinkId {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let peer = self.peers.entry(id).or_default();
        peer.link = Some((link, now));
        peer.opening = false;
        peer.eager = false;
        link
    }

    pub fn handle_not_opened(&mut self, id: PeerId, why: Ended, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.opening = false;
        if peer.link.is_none() {
            peer.pause(why, now);
        }
    }

    /// A stream has ended. Nothing follows when a newer one stands.
    pub fn handle_ended(&mut self, id: PeerId, link: LinkId, how: Ended, now: Instant) {
        let first = self.own < id;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some((current, since)) = peer.link else { return };
        if current != link {
            return;
        }
        peer.link = None;
        if now.saturating_duration_since(since) >= GOOD_LINK {
            peer.reopen = FIRST_REOPEN;
        }
        peer.pause(how, now);
        if !first {
            peer.open_at = peer.open_at.map(|at| at + OTHER_OPENS_FIRST);
        }
        self.tidy();
    }

    pub fn handle_dialled(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.dialling = false;
        peer.dial_at = Some(now + peer.redial);
        peer.redial = longer(peer.redial, LAST_DIAL);
    }

    /// The stream that stands.
    pub fn link(&self, id: PeerId) -> Option<LinkId> {
        self.peers.get(&id)?.link.map(|(link, _)| link)
    }

    pub fn poll_action(&mut self, now: Instant) -> Option<Act> {
        if !self.on {
            return None;
        }
        let own = self.own;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for (id, peer) in &mut self.peers {
            if peer.may_open(own < *id) && due(peer.open_at) {
                peer.opening = true;
                return Some(Act::Open(*id));
            }
        }
        if self.peers.values().filter(|peer| peer.dialling).count() >= MAX_DIALS {
            return None;
        }
        let (id, peer) = self.peers.iter_mut().find(|(_, peer)| peer.may_dial() && due(peer.dial_at))?;
        peer.dialling = true;
        Some(Act::Dial(*id))
    }

    /// When to ask again without anything having happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.on {
            return None;
        }
        let own = self.own;
        let opens =
            self.peers.iter().filter(|(id, peer)| peer.may_open(own < **id)).filter_map(|(_, peer)| peer.open_at);
        let full = self.peers.values().filter(|peer| peer.dialling).count() >= MAX_DIALS;
        let dials = self.peers.values().filter(|peer| !full && peer.may_dial()).filter_map(|peer| peer.dial_at);
        opens.chain(dials).min()
    }

    /// Forgets who is nothing to us.
    fn tidy(&mut self) {
        self.peers.retain(|_, peer| {
            peer.connected || peer.known || peer.owed || peer.link.is_some() || peer.opening || peer.dialling
        });
    }
}

impl Peer {
    fn may_open(&self, first: bool) -> bool {
        let something = self.owed || self.eager;
        self.connected && self.link.is_none() && !self.opening && (something || (first && self.known))
    }

    fn may_dial(&self) -> bool {
        self.owed && !self.connected && !self.contact && !self.dialling
    }

    fn pause(&mut self, why: Ended, now: Instant) {
        self.open_at = Some(match why {
            Ended::Broken => now + self.reopen,
            Ended::Unwelcome => now + UNWELCOME_REOPEN,
        });
        self.reopen = longer(self.reopen, LAST_REOPEN);
    }

    /// Opens soon, whatever pause there was.
    fn hurry(&mut self, now: Instant, first: bool) {
        self.reopen = FIRST_REOPEN;
        self.redial = FIRST_DIAL;
        let at = if first { now } else { now + OTHER_OPENS_FIRST };
        self.open_at = Some(self.open_at.map_or(at, |before| before.min(at)));
    }
}
