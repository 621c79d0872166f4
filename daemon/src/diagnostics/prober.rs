//! Asks the media sockets of connected peers: numbered probes to each, and to a few also from every own socket what it is
//! seen at. Keeps the time and what was asked; `task` says when.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kith_common::call::CallKind;
use kith_common::ids::PeerId;
use kith_core::probe::{self, Figures};
use kith_core::reach::{Observation, Socket};
use tokio::sync::oneshot;

use crate::media::{Answer, Media, Probe};
use crate::net::{MediaPorts, Reflector};

/// Peers that are probed; one more costs some 600 bytes a second.
const MAX_PROBED: usize = 50;
/// With no more peers than this each is probed on every tick, else on every other.
const FEW: usize = 8;
/// Peers that are asked what they see: two could disagree, a few make it certain.
const MAX_LOOKED_AT: usize = 8;
/// When a new peer is asked what it sees, after it was first known; then every so often.
const FIRST_LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What was seen earlier may no longer be so.
const SEEN_FOR: Duration = Duration::from_secs(60);
/// A question that was not answered by then is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// A datagram ping that somebody wants.
pub struct Ask {
    pub peer: PeerId,
    /// Where it went, and when the answer is there how long it took. Dropped when there is no way or no answer.
    pub sent: oneshot::Sender<SocketAddr>,
    pub answered: oneshot::Sender<Duration>,
}

enum Purpose {
    Probe(u32),
    Look(Socket),
    Ping(oneshot::Sender<Duration>),
}

struct Pending {
    peer: PeerId,
    to: SocketAddr,
    at: Instant,
    purpose: Purpose,
}

struct Target {
    reflector: Reflector,
    /// Names this row of probes; another after a restart of either side.
    row: u32,
    prober: probe::Prober,
    since: Instant,
    looks: usize,
    looked_at: Instant,
    seen: BTreeMap<(Socket, SocketAddr), (SocketAddr, Instant)>,
}

impl Target {
    fn new(reflector: Reflector, now: Instant) -> Self {
        Self {
            reflector,
            row: rand::random(),
            prober: probe::Prober::default(),
            since: now,
            looks: 0,
            looked_at: now,
            seen: BTreeMap::new(),
        }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.reflector.ip.to_canonical(), port)
    }

    fn look_due(&self, now: Instant) -> bool {
        match FIRST_LOOKS.get(self.looks) {
            Some(after) => now >= self.since + *after,
            None => now >= self.looked_at + LOOK_EVERY,
        }
    }
}

pub struct Prober {
    media: Media,
    targets: BTreeMap<PeerId, Target>,
    pending: HashMap<u64, Pending>,
    ticks: usize,
}

fn socket(kind: CallKind) -> Socket {
    match kind {
        CallKind::Video => Socket::Video,
        CallKind::Voice => Socket::Audio,
    }
}

/// The two sockets that datagrams of media pass between; the same kind on both sides, as in a call.
fn lane(own: MediaPorts, theirs: MediaPorts) -> Option<(CallKind, u16)> {
    let kinds = [CallKind::Video, CallKind::Voice].into_iter();
    kinds.map(|kind| (kind, own.of(kind), theirs.of(kind))).find(|lane| lane.1 != 0 && lane.2 != 0).map(|l| (l.0, l.2))
}

impl Prober {
    pub fn new(media: Media) -> Self {
        Self { media, targets: BTreeMap::new(), pending: HashMap::new(), ticks: 0 }
    }

    /// Follows who is connected, and asks what is due.
    pub fn handle_tick(&mut self, reflectors: &[Reflector], now: Instant) {
        self.follow(reflectors, now);
        self.pending.retain(|_, pending| now.saturating_duration_since(pending.at) < FORGET_AFTER);
        self.ticks = self.ticks.wrapping_add(1);
        let own = *self.media.ports().borrow();
        let few = self.targets.len() <= FEW;
        let peers: Vec<PeerId> = self.targets.keys().copied().collect();
        for (index, peer) in peers.into_iter().enumerate() {
            if few || (index + self.ticks).is_multiple_of(2) {
                self.probe(peer, own, now);
            }
            if index < MAX_LOOKED_AT {
                self.look(peer, own, now);
            }
        }
    }

    fn follow(&mut self, reflectors: &[Reflector], now: Instant) {
        self.targets.retain(|peer, target| reflectors.iter().any(|one| one.peer == *peer && *one == target.reflector));
        for reflector in reflectors {
            if self.targets.len() < MAX_PROBED {
                self.targets.entry(reflector.peer).or_insert_with(|| Target::new(*reflector, now));
            }
        }
    }

    fn probe(&mut self, peer: PeerId, own: MediaPorts, now: Instant) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        let Some((kind, port)) = lane(own, target.reflector.ports) else { return };
        let number = target.prober.handle_sent(now);
        let (row, to) = (target.row, target.at(port));
        self.ask(peer, kind, to, Some(Probe { row, number }), Purpose::Probe(number), now);
    }

    /// From each open socket to both ports of the peer, which are two destinations for a router.
    fn look(&mut self, peer: PeerId, own: MediaPorts, now: Instant) {
        let Some(target) = self.targets.get_mut(&peer).filter(|target| target.look_due(now)) else { return };
        target.looks += 1;
        target.looked_at = now;
        let ports = target.reflector.ports;
        let destinations: Vec<_> =
            [ports.video, ports.audio].into_iter().filter(|port| *port != 0).map(|port| target.at(port)).collect();
        for kind in [CallKind::Video, CallKind::Voice].into_iter().filter(|kind| own.of(*kind) != 0) {
            for to in &destinations {
                self.ask(peer, kind, *to, None, Purpose::Look(socket(kind)), now);
            }
        }
    }

    /// One ping for somebody.
    pub fn handle_ask(&mut self, ask: Ask, now: Instant) {
        let own = *self.media.ports().borrow();
        let Some(target) = self.targets.get(&ask.peer) else { return };
        let Some((kind, port)) = lane(own, target.reflector.ports) else { return };
        let to = target.at(port);
        let _ = ask.sent.send(to);
        self.ask(ask.peer, kind, to, None, Purpose::Ping(ask.answered), now);
    }

    fn ask(
        &mut self,
        peer: PeerId,
        kind: CallKind,
        to: SocketAddr,
        probe: Option<Probe>,
        purpose: Purpose,
        now: Instant,
    ) {
        let tag = rand::random();
        if self.media.ask(kind, to, tag, probe) {
            self.pending.insert(tag, Pending { peer, to, at: now, purpose });
        }
    }

    pub fn handle_answer(&mut self, answer: Answer) {
        // Only whoever was asked knows the tag, and only from there it counts.
        if self.pending.get(&answer.tag).is_none_or(|pending| pending.to != answer.from) {
            return;
        }
        let Some(Pending { peer, to, at, purpose }) = self.pending.remove(&answer.tag) else { return };
        let Some(target) = self.targets.get_mut(&peer) else { return };
        match purpose {
            Purpose::Probe(number) => {
                if let Some((row, report)) = answer.report
                    && row == target.row
                {
                    target.prober.handle_answer(number, report, answer.at);
                }
            }
            Purpose::Look(socket) => {
                if let Some(seen) = answer.seen {
                    target.seen.insert((socket, to), (seen, answer.at));
                }
            }
            Purpose::Ping(reply) => _ = reply.send(answer.at.saturating_duration_since(at)),
        }
    }

    /// What each path is like; peers that no datagram reaches are not among them.
    pub fn figures(&self, now: Instant) -> BTreeMap<PeerId, Figures> {
        let figures = self.targets.iter().map(|(peer, target)| (*peer, target.prober.figures(now)));
        figures.filter(|(_, figures)| *figures != Figures::default()).collect()
    }

    /// What peers see the media sockets at.
    pub fn observations(&self, now: Instant) -> Vec<(PeerId, Observation)> {
        let fresh = |at: Instant| now.saturating_duration_since(at) < SEEN_FOR;
        let of = |(peer, target): (&PeerId, &Target)| {
            let seen = target.seen.iter().filter(|(_, (_, at))| fresh(*at));
            let of = |((socket, observer), (seen, _)): (&(Socket, SocketAddr), &(SocketAddr, Instant))| {
                (*peer, Observation { socket: *socket, observer: *observer, seen: *seen })
            };
            seen.map(of).collect::<Vec<_>>()
        };
        self.targets.iter().flat_map(of).collect()
    }

    /// Peers that were asked for so long, and never answered.
    pub fn silent(&self, for_long: Duration, now: Instant) -> impl Iterator<Item = PeerId> {
        let silent = move |target: &Target| {
            target.seen.is_empty()
                && target.prober.figures(now) == Figures::default()
                && now.saturating_duration_since(target.since) >= for_long
        };
        self.targets.iter().filter(move |(_, target)| silent(target)).map(|(peer, _)| *peer)
    }
}
