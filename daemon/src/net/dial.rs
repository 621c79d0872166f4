//! Attempts to connect to a peer that somebody asked for: known addresses first, then the DHT, then relays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId as KithId;
use kith_common::target::Target;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, kad};
use tokio::sync::oneshot;

use super::gate::Refusal;
use super::task::Task;
use super::{address, blocks, publish};

/// From the question to the answer, whatever happens (INTERFACE.md).
const DEADLINE: Duration = Duration::from_secs(30);
/// When known addresses have not answered by then, the DHT is asked besides.
const LOOKUP_AFTER: Duration = Duration::from_secs(2);
/// How long a connected peer may take to say hello. Kith nodes do so within a round trip.
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// A node that has just started learns its neighbours within this time; until then "not found" is asked again.
const KEEP_LOOKING: Duration = Duration::from_secs(3);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Attempts at a time; more are refused.
const MAX_ATTEMPTS: usize = 64;
/// Addresses one attempt tries: tickets hold 16, and the DHT may add as many.
const MAX_TRIED: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    At(Instant),
    /// Nothing was found so soon after a start; once more then.
    Again(Instant),
    /// Who is near it, and what it says of itself; each until its end.
    Running {
        near: Option<kad::QueryId>,
        record: Option<kad::QueryId>,
    },
    Done,
}

/// One of them.
pub(super) struct Attempt {
    peer: Option<PeerId>,
    /// How people named it.
    what: String,
    reply: oneshot::Sender<Result<KithId, Failure>>,
    give_up: Instant,
    dials: BTreeSet<ConnectionId>,
    tried: BTreeSet<Multiaddr>,
    /// Circuits over QUIC to relays that TCP may lead to as well.
    held_back: Vec<Multiaddr>,
    troubles: BTreeMap<Trouble, Option<SocketAddr>>,
    lookup: Lookup,
    relays: Relays,
    /// Connected; waiting for its hello.
    greeting: Option<(PeerId, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relays {
    NotTried,
    Tried,
}

/// Why an address did not work, the more telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Itself,
    Blocked,
    AnotherNode,
    TooMany,
    Refused,
    NotKith,
    NoName,
    NoRoute,
    NoReservation,
    HungUp,
    NoAnswer,
    Other,
}

fn trouble(error: &DialError, address_error: &str) -> Trouble {
    match error {
        DialError::LocalPeerId { .. } => return Trouble::Itself,
        DialError::WrongPeerId { .. } => return Trouble::AnotherNode,
        DialError::Denied { cause } => {
            let blocked = cause.downcast_ref() == Some(&Refusal::Blocked);
            return if blocked { Trouble::Blocked } else { Trouble::TooMany };
        }
        _ => {}
    }
    // libp2p hides the reason behind boxes whose Display is empty; Debug has it.
    let says = |words: &[&str]| words.iter().any(|word| address_error.contains(word));
    if says(&["ConnectionRefused"]) {
        Trouble::Refused
    } else if says(&["NetworkUnreachable", "HostUnreachable", "AddrNotAvailable"]) {
        Trouble::NoRoute
    } else if says(&["NoReservation", "ResourceLimitExceeded", "ConnectionFailed"]) {
        Trouble::NoReservation
    } else if says(&["ResolveError", "ResolveMultipleErrors", "Dns"]) {
        Trouble::NoName
    } else if says(&["Timeout", "TimedOut"]) {
        Trouble::NoAnswer
    } else if says(&["Upgrade", "Select", "Noise", "InvalidData", "UnexpectedEof"]) {
        Trouble::NotKith
    } else {
        Trouble::Other
    }
}

impl Attempt {
    fn failure(&self) -> Failure {
        use FailureKind::{InvalidArgument, NotFound, Unreachable};
        let what = &self.what;
        let Some((trouble, at)) = self.troubles.first_key_value() else {
            return Failure::new(NotFound, format!("no address of {what} is known"))
                .advise("ask for its ticket, or check that both nodes use the same bootstrap node");
        };
        let at = at.map_or_else(|| what.clone(), |at| at.to_string());
        match trouble {
            Trouble::Itself => Failure::new(InvalidArgument, format!("{what} is this node itself"))
                .advise("to try a call on your own, use: kithctl test-call"),
            Trouble::Blocked => blocks::is_blocked(what, "PEER"),
            Trouble::HungUp => Failure::new(Unreachable, format!("{what} closes the connection at once"))
                .advise("it may have blocked this node, or be full; ask the person in another way"),
            Trouble::AnotherNode => Failure::new(Unreachable, format!("another node answers at {at}, not {what}"))
                .advise("the address is out of date: ask for a new ticket"),
            Trouble::TooMany => Failure::new(Unreachable, format!("{what} was not dialed: too many connections"))
                .advise("try again in a moment"),
            Trouble::Refused => Failure::new(Unreachable, format!("nothing listens at {at}"))
                .advise("check that Kith runs there and on which port"),
            Trouble::NotKith => Failure::new(Unreachable, format!("what answers at {at} is not Kith"))
                .advise("check the port: Kith's is 9999 unless changed"),
            Trouble::NoName => Failure::new(Unreachable, format!("the host name of {what} could not be resolved"))
                .advise("check the name and this machine's name server"),
            Trouble::NoRoute => Failure::new(Unreachable, format!("this machine has no route to {at}"))
                .advise("check the network connection and the address"),
            Trouble::NoReservation => Failure::new(Unreachable, format!("the relay cannot reach {what} now"))
                .advise("the other node seems to be off; try again when it is back"),
            Trouble::NoAnswer | Trouble::Other => Failure::new(Unreachable, format!("no answer from {at}"))
                .advise("the machine is off, has moved, or a firewall is in the way; a new ticket may help"),
        }
    }

    /// When something has to be done if nothing happens before.
    fn deadline(&self) -> Instant {
        let lookup = match self.lookup {
            Lookup::At(at) if self.peer.is_some() => Some(at),
            Lookup::Again(at) => Some(at),
            _ => None,
        };
        let greeting = self.greeting.map(|(_, until)| until);
        [lookup, greeting].into_iter().flatten().fold(self.give_up, Instant::min)
    }
}

/// Who a target is, if it says so, and where.
fn read(target: &Target) -> (Option<PeerId>, Vec<Multiaddr>, String) {
    let short = |peer: &KithId| format!("…{}", peer.short());
    match target {
        Target::Ticket(ticket) => {
            (Some(address::to_libp2p(ticket.peer)), ticket.addresses.clone(), short(&ticket.peer))
        }
        Target::Peer(peer) => (Some(address::to_libp2p(*peer)), Vec::new(), short(peer)),
        Target::Address(multiaddr) => (address::last_peer(multiaddr), vec![multiaddr.clone()], multiaddr.to_string()),
        Target::Ip { ip, port } => {
            let socket = SocketAddr::new(*ip, *port);
            (None, address::of_socket(socket).to_vec(), socket.to_string())
        }
    }
}

impl Task {
    pub(super) fn connect(&mut self, target: &Target, reply: oneshot::Sender<Result<KithId, Failure>>) {
        let now = Instant::now();
        self.attempts.retain(|attempt| !attempt.reply.is_closed());
        let (peer, mut addresses, what) = read(target);
        if peer.as_ref() == Some(self.swarm.local_peer_id()) || self.is_own(target) {
            let _ = reply.send(Err(itself(&what)));
            return;
        }
        if let Some(blocked) = peer.filter(|peer| self.blocks.contains(peer)) {
            let _ = reply.send(Err(blocks::is_blocked(&what, &blocked.to_string())));
            return;
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            let failure = Failure::new(FailureKind::Busy, format!("{what} was not dialed: too many attempts go on"));
            let _ = reply.send(Err(failure.advise("try again in a moment")));
            return;
        }
        let connected = match (peer, target) {
            (Some(peer), _) => Some(peer),
            (None, Target::Ip { ip, port }) => self.table.at_exactly(*ip, *port),
            _ => None,
        };
        let mut attempt = Attempt {
            peer,
            what,
            reply,
            give_up: now + DEADLINE,
            dials: BTreeSet::new(),
            tried: BTreeSet::new(),
            held_back: Vec::new(),
            troubles: BTreeMap::new(),
            lookup: Lookup::At(now + LOOKUP_AFTER),
            relays: Relays::NotTried,
            greeting: None,
        };
        if let Some(peer) = connected
            && let Some(entry) = self.table.get_mut(&peer)
        {
            entry.wanted = true;
            self.book.asked(&peer);
            attempt.greeting = Some((peer, now + HELLO_WITHIN));
        } else {
            if let Some(peer) = peer {
                addresses.extend(self.book.addresses(&peer));
                addresses.extend(self.routing_table_addresses(&peer));
            }
            self.dial(&mut attempt, addresses);
        }
        self.advance(attempt);
    }

    fn is_own(&self, target: &Target) -> bool {
        let Target::Ip { ip, port } = target else { return false };
        self.swarm.listeners().filter_map(address::socket).any(|own| own == SocketAddr::new(*ip, *port))
    }

    fn dial(&mut self, attempt: &mut Attempt, addresses: Vec<Multiaddr>) {
        let room = MAX_TRIED.saturating_sub(attempt.tried.len());
        let mut new = Vec::new();
        for address in addresses {
            let address = address::without_peer(address);
            if new.len() < room && attempt.tried.insert(address.clone()) {
                new.push(address);
            }
        }
        // A circuit stays on the connection that it began on, and one over QUIC ends with UDP: TCP goes first.
        let by_tcp = |relay| new.iter().any(|a| address::relay(a) == Some(relay) && !address::is_udp(a));
        let (later, now): (Vec<_>, Vec<_>) =
            new.iter().cloned().partition(|a| address::is_udp(a) && address::relay(a).is_some_and(by_tcp));
        attempt.held_back.extend(later);
        self.dial_all(attempt, now);
    }

    fn dial_all(&mut self, attempt: &mut Attempt, new: Vec<Multiaddr>) {
        let dials: Vec<DialOpts> = match attempt.peer {
            Some(_) if new.is_empty() => Vec::new(),
            Some(peer) => vec![DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(new).build()],
            // A dial without a peer id takes one address.
            None => new.into_iter().map(|address| DialOpts::unknown_peer_id().address(address).build()).collect(),
        };
        for options in dials {
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => _ = attempt.dials.insert(id),
                Err(error) => note(attempt, &error),
            }
        }
    }

    /// Does what comes next for an attempt with nothing under way, and keeps it unless it is over.
    fn advance(&mut self, mut attempt: Attempt) {
        if let Some((peer, _)) = attempt.greeting
            && self.table.get(&peer).is_some_and(|entry| entry.hello.is_some())
        {
            self.succeed(attempt, &peer);
            return;
        }
        while attempt.greeting.is_none() && attempt.dials.is_empty() {
            if !attempt.held_back.is_empty() {
                let circuits = std::mem::take(&mut attempt.held_back);
                self.dial_all(&mut attempt, circuits);
                continue;
            }
            match (attempt.peer, attempt.lookup) {
                (Some(_), Lookup::Running { .. } | Lookup::Again(_)) => break,
                (Some(peer), Lookup::At(_)) => attempt.lookup = self.look_up(peer),
                (Some(peer), Lookup::Done) if attempt.relays == Relays::NotTried => {
                    attempt.relays = Relays::Tried;
                    let circuits = self.circuits_to(&peer);
                    self.dial(&mut attempt, circuits);
                }
                (Some(_), Lookup::Done) if self.may_learn_more(&attempt) => {
                    attempt.tried.retain(|address| !address::is_relayed(address));
                    attempt.relays = Relays::NotTried;
                    attempt.lookup = Lookup::Again(Instant::now() + LOOK_AGAIN_AFTER);
                }
                _ => {
                    let failure = attempt.failure();
                    let _ = attempt.reply.send(Err(failure));
                    return;
                }
            }
        }
        self.attempts.push(attempt);
    }

    fn look_up(&mut self, peer: PeerId) -> Lookup {
        let kad = &mut self.swarm.behaviour_mut().kad;
        Lookup::Running { near: Some(kad.get_closest_peers(peer)), record: Some(kad.get_record(publish::key(&peer))) }
    }

    /// Both nodes may just have started, and be about to ask a relay for a place.
    fn may_learn_more(&self, attempt: &Attempt) -> bool {
        if attempt.troubles.keys().any(|trouble| *trouble != Trouble::NoReservation) {
            return false;
        }
        let began = attempt.give_up - DEADLINE;
        began.elapsed() < KEEP_LOOKING && (self.table.len() > 0 || self.reach.has_bootstrap())
    }

    fn succeed(&mut self, attempt: Attempt, peer: &PeerId) {
        self.publish_now();
        let outcome = address::from_libp2p(peer)
            .ok_or_else(|| Failure::new(FailureKind::Unsupported, format!("{} is not a Kith node", attempt.what)));
        let _ = attempt.reply.send(outcome);
    }

    fn each_attempt(&mut self, mut change: impl FnMut(&mut Self, &mut Attempt)) {
        for mut attempt in std::mem::take(&mut self.attempts) {
            change(self, &mut attempt);
            self.advance(attempt);
        }
    }

    pub(super) fn attempt_connected(&mut self, id: ConnectionId, peer: PeerId) {
        let until = Instant::now() + HELLO_WITHIN;
        self.each_attempt(|task, attempt| {
            let ours = attempt.dials.remove(&id);
            if ours || attempt.peer == Some(peer) {
                attempt.greeting.get_or_insert((peer, until));
                if let Some(entry) = task.table.get_mut(&peer) {
                    entry.wanted = true;
                    task.book.asked(&peer);
                }
            }
        });
    }

    pub(super) fn attempt_failed(&mut self, id: ConnectionId, error: &DialError) {
        if !self.attempts.iter().any(|attempt| attempt.dials.contains(&id)) {
            return;
        }
        self.each_attempt(|_, attempt| {
            if attempt.dials.remove(&id) {
                note(attempt, error);
            }
        });
    }

    /// The peer said hello, or is gone.
    pub(super) fn attempt_news(&mut self, peer: &PeerId) {
        self.each_attempt(|task, attempt| {
            if attempt.greeting.is_some_and(|(greeting, _)| greeting == *peer) && task.table.get(peer).is_none() {
                attempt.greeting = None;
                attempt.troubles.insert(Trouble::HungUp, None);
            }
        });
    }

    pub(super) fn attempt_found(&mut self, query: kad::QueryId, found: &[kad::PeerInfo]) {
        self.each_attempt(|task, attempt| {
            let Lookup::Running { near: Some(near), .. } = attempt.lookup else { return };
            let Some(peer) = attempt.peer.filter(|_| near == query && attempt.greeting.is_none()) else { return };
            let addresses = found.iter().filter(|info| info.peer_id == peer).flat_map(|info| info.addrs.clone());
            task.dial(attempt, addresses.collect());
        });
    }

    /// A record says where the peer is. There may be a newer one to come.
    pub(super) fn attempt_learned(&mut self, query: kad::QueryId, addresses: Vec<Multiaddr>) {
        self.each_attempt(|task, attempt| {
            let Lookup::Running { record: Some(record), .. } = attempt.lookup else { return };
            if record == query && attempt.greeting.is_none() {
                task.dial(attempt, addresses.clone());
            }
        });
    }

    pub(super) fn attempt_query_done(&mut self, query: kad::QueryId) {
        self.each_attempt(|_, attempt| {
            let Lookup::Running { near, record } = attempt.lookup else { return };
            let (near, record) = (near.filter(|near| *near != query), record.filter(|record| *record != query));
            attempt.lookup =
                if near.is_none() && record.is_none() { Lookup::Done } else { Lookup::Running { near, record } };
        });
    }

    pub(super) fn attempts_due(&mut self, now: Instant) {
        if self.attempts_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        for mut attempt in std::mem::take(&mut self.attempts) {
            if attempt.reply.is_closed() {
                continue;
            }
            if let Some((peer, until)) = attempt.greeting
                && now >= until
            {
                if self.table.get(&peer).is_some_and(|entry| entry.is_kith == Some(false)) {
                    attempt.troubles.insert(Trouble::NotKith, None);
                    let failure = attempt.failure();
                    let _ = attempt.reply.send(Err(failure));
                } else {
                    self.succeed(attempt, &peer);
                }
                continue;
            }
            if now >= attempt.give_up {
                let mut failure = attempt.failure();
                failure.kind = FailureKind::TimedOut;
                let _ = attempt.reply.send(Err(failure));
                continue;
            }
            if let (Some(peer), Lookup::At(at) | Lookup::Again(at)) = (attempt.peer, attempt.lookup)
                && now >= at
            {
                let circuits = std::mem::take(&mut attempt.held_back);
                if attempt.greeting.is_none() {
                    self.dial_all(&mut attempt, circuits);
                }
                attempt.lookup = if attempt.greeting.is_some() { Lookup::Done } else { self.look_up(peer) };
            }
            self.advance(attempt);
        }
    }

    pub(super) fn attempts_deadline(&self) -> Option<Instant> {
        self.attempts.iter().map(Attempt::deadline).min()
    }

    pub(super) fn is_dialing(&self, peer: &PeerId) -> bool {
        self.attempts.iter().any(|attempt| attempt.peer.as_ref() == Some(peer))
    }

    /// The peer that a person means by a target, if it is connected.
    pub(super) fn connected(&self, target: &Target) -> Option<PeerId> {
        self.meant(target).filter(|peer| self.table.get(peer).is_some())
    }

    /// The peer that a person means by a target: named, or connected from there.
    pub(super) fn meant(&self, target: &Target) -> Option<PeerId> {
        match (read(target).0, target) {
            (Some(peer), _) => Some(peer),
            (None, Target::Ip { ip, port }) => self.table.at(*ip, *port),
            (None, Target::Address(multiaddr)) => {
                let socket = address::socket(multiaddr)?;
                self.table.at_exactly(socket.ip(), socket.port())
            }
            _ => None,
        }
    }

    /// Ways to a peer through the relays that this node is connected to.
    fn circuits_to(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let relays = self.table.iter().filter(|(id, entry)| entry.is_relay && *id != peer);
        relays
            .filter_map(|(id, entry)| {
                let connection =
                    entry.connections.iter().find(|connection| !address::is_relayed(&connection.address))?;
                let base = address::without_peer(connection.address.clone());
                Some(base.with(Protocol::P2p(*id)).with(Protocol::P2pCircuit))
            })
            .collect()
    }

    fn routing_table_addresses(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let Some(bucket) = kad.kbucket(*peer) else { return Vec::new() };
        bucket
            .iter()
            .filter(|entry| entry.node.key.preimage() == peer)
            .flat_map(|entry| entry.node.value.iter().cloned().collect::<Vec<_>>())
            .collect()
    }
}

fn note(attempt: &mut Attempt, error: &DialError) {
    match error {
        DialError::Transport(each) => {
            for (address, cause) in each {
                attempt.troubles.entry(trouble(error, &format!("{cause:?}"))).or_insert(address::socket(address));
            }
        }
        DialError::WrongPeerId { address, .. } => {
            attempt.troubles.entry(Trouble::AnotherNode).or_insert(address::socket(address));
        }
        DialError::NoAddresses => {}
        other => _ = attempt.troubles.entry(trouble(other, "")).or_insert(None),
    }
}

fn itself(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidArgument, format!("{what} is this node itself"))
        .advise("to try a call on your own, use: kithctl test-call")
}

impl super::peers::Table {
    fn at_exactly(&self, ip: IpAddr, port: u16) -> Option<PeerId> {
        self.at(ip, port).filter(|peer| {
            self.get(peer).is_some_and(|entry| {
                let mut remotes =
                    entry.connections.iter().filter_map(|connection| address::socket(&connection.address));
                remotes.any(|remote| remote == SocketAddr::new(ip, port))
            })
        })
    }
}
