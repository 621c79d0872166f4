//! The addresses of one session: what the peer names, and what reflectors see this side's socket at.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Rtc;

use super::params::{Candidate, CandidateKind, MAX_CANDIDATES};
use super::setup::is_usable;
use super::socket::{Port, Registration};
use super::stun::{self, TransactionId};

/// When a question to the reflectors is repeated.
const ASK_AGAIN: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(500), Duration::from_millis(1500)];

pub struct Candidates {
    /// This machine's own.
    hosts: Vec<SocketAddr>,
    reflectors: Vec<SocketAddr>,
    remote: HashSet<Candidate>,
    queries: HashSet<TransactionId>,
    observed: HashSet<SocketAddr>,
    asked: usize,
    answered: bool,
    since: Instant,
}

impl Candidates {
    pub fn new(hosts: Vec<SocketAddr>, reflectors: Vec<SocketAddr>, now: Instant) -> Self {
        Self {
            hosts,
            reflectors,
            remote: HashSet::new(),
            queries: HashSet::new(),
            observed: HashSet::new(),
            asked: 0,
            answered: false,
            since: now,
        }
    }

    /// The peer may be reached there.
    pub fn add_remote(&mut self, candidate: Candidate, rtc: &mut Rtc, port: &Port, registration: &mut Registration) {
        let address = candidate.address;
        let usable = is_usable(address.ip(), &self.hosts) && address.port() != 0 && port.carries(address.ip());
        let room = self.remote.len() < 2 * MAX_CANDIDATES;
        let made = match candidate.kind {
            CandidateKind::Host => str0m::Candidate::host(address, "udp"),
            CandidateKind::Observed => str0m::Candidate::server_reflexive(address, address, "udp"),
            // The tunnel is the only relay, and both sides know its address.
            CandidateKind::Relayed => return,
        };
        if usable
            && room
            && self.remote.insert(candidate)
            && let Ok(made) = made
        {
            registration.add_source(address);
            rtc.add_remote_candidate(made);
        }
    }

    /// This machine may be seen at another address by now: the reflectors are asked anew.
    pub fn ask_anew(&mut self, registration: &mut Registration, now: Instant) {
        self.queries.clear();
        registration.forget_queries();
        (self.asked, self.answered, self.since) = (0, false, now);
    }

    /// Asks the reflectors when it is time to, until one has answered.
    pub fn ask(&mut self, port: &Port, registration: &mut Registration, now: Instant) {
        let due = ASK_AGAIN.get(self.asked).is_some_and(|after| now >= self.since + *after);
        if !due || self.answered {
            return;
        }
        self.asked += 1;
        for reflector in &self.reflectors {
            let id: TransactionId = rand::random();
            if registration.add_query(id) {
                self.queries.insert(id);
                port.send(&stun::binding_request(&id), *reflector);
            }
        }
    }

    /// An answer: `None` when it is none to a question of this session. `Some(Some(_))` is a candidate that is new.
    pub fn handle_answer(&mut self, id: TransactionId, mapped: Option<SocketAddr>) -> Option<Option<Candidate>> {
        if !self.queries.remove(&id) {
            return None;
        }
        let seen = mapped.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        let outside = seen.filter(|address| !self.hosts.contains(address));
        self.answered |= outside.is_some();
        let new = outside.filter(|address| {
            self.observed.len() < MAX_CANDIDATES
                && is_usable(address.ip(), &self.hosts)
                && self.observed.insert(*address)
        });
        Some(new.map(|address| Candidate { kind: CandidateKind::Observed, address }))
    }
}
