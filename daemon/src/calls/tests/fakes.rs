//! A network and a media engine in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kith_common::call::{CallInfo, CallRecord, CallStats, LogQuery, Medium, Switch, Transport};
use kith_common::contact::{Contact, People, Presence, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::{Path, ServiceState};
use kith_common::target::Target;
use kith_core::listener::Status;
use kith_store::Database;
use tokio::sync::{mpsc, watch};

use crate::calls::ports::{Engine, MediaSession, Network, PeerFacts};
use crate::calls::{CallHandle, CallPolicy, Calls};
use crate::contacts::Knock;
use crate::media::{Candidate, CandidateKind, ClockOffset, MediaListeners, SessionEvent, SessionSpec, TransportParams};
use crate::net::{Incoming, Stream};

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Door {
    signals: mpsc::Sender<(PeerId, Stream)>,
    tunnels: mpsc::Sender<(PeerId, Stream)>,
}

/// All nodes of a test.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<HashMap<PeerId, Door>>>);

impl Exchange {
    pub fn join(&self, n: u8) -> (FakeNet, Incoming) {
        let me = PeerId::from_public_key([n; 32]);
        let (signals, tunnels) = (mpsc::channel(64), mpsc::channel(64));
        lock(&self.0).insert(me, Door { signals: signals.0, tunnels: tunnels.0 });
        (
            FakeNet { me, exchange: self.clone() },
            Incoming {
                signals: signals.1,
                tunnels: tunnels.1,
                measurements: None,
                contacts: None,
                chats: None,
                files: None,
            },
        )
    }

    /// A node with calls.
    pub fn node(&self, n: u8, policy: CallPolicy) -> Node {
        let (net, incoming) = self.join(n);
        let engine = FakeEngine::default();
        let people = watch::Sender::default();
        let database = Database::in_memory(net.me).now_or_never().expect("memory is there at once");
        let (knocks, knocked) = mpsc::channel(8);
        let calls =
            Calls::start_with(net.clone(), incoming, engine.clone(), policy, people.subscribe(), knocks, database);
        Node { net, engine, calls, people, knocked: tokio::sync::Mutex::new(knocked) }
    }
}

pub struct Node {
    pub net: FakeNet,
    pub engine: FakeEngine,
    pub calls: Calls,
    pub people: watch::Sender<Arc<People>>,
    knocked: tokio::sync::Mutex<mpsc::Receiver<Knock>>,
}

impl Node {
    /// That node becomes a contact.
    pub fn trusts(&self, other: &Self, calls: Trust) {
        let friend = Contact::new(other.net.me, "a friend");
        let contact = Contact { presence: Presence::Online, calls, mutual: true, ..friend };
        self.people.send_replace(Arc::new(People { contacts: vec![contact], ..People::default() }));
    }

    /// A stranger that was not let ring.
    pub async fn knock(&self) -> Knock {
        let knock = async { self.knocked.lock().await.recv().await };
        tokio::time::timeout(DEADLINE, knock).await.expect("somebody knocks").expect("the calls go on")
    }

    pub fn target(&self) -> Target {
        Target::Peer(self.net.me)
    }

    /// The log, once it has so many calls.
    pub async fn logged(&self, count: usize) -> Vec<CallRecord> {
        let mut changes = self.calls.log().changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let log = self.calls.log().page(&LogQuery::default(), None).await.expect("it can be read");
                if log.len() >= count {
                    return log;
                }
                changes.changed().await.expect("the calls go on");
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("they are written")
    }

    /// Waits for the newest call to be as wanted.
    pub async fn call(&self, wanted: impl Fn(&CallInfo) -> bool) -> CallHandle {
        let mut feed = self.calls.subscribe();
        let waiting = async {
            loop {
                let (info, handle) = feed.next().await.expect("the calls go on");
                if wanted(&info) {
                    return handle;
                }
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("the call comes to that")
    }
}

pub async fn until(call: &CallHandle, wanted: impl Fn(&CallInfo) -> bool) -> CallInfo {
    let mut info = call.info();
    let found = tokio::time::timeout(DEADLINE, info.wait_for(|info| wanted(info))).await;
    found.unwrap_or_else(|_| panic!("still {:?}", call.info().borrow())).expect("the calls go on").clone()
}

/// Waits for something that no channel tells.
pub async fn eventually(what: &str, wanted: impl Fn() -> bool) {
    let waiting = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[derive(Clone)]
pub struct FakeNet {
    pub me: PeerId,
    exchange: Exchange,
}

impl FakeNet {
    fn door(&self, peer: PeerId) -> Result<Door, Failure> {
        let gone = || Failure::new(FailureKind::Unreachable, "nobody is there").advise("Ask for a ticket.");
        lock(&self.exchange.0).get(&peer).cloned().ok_or_else(gone)
    }
}

impl Network for FakeNet {
    fn peer_id(&self) -> PeerId {
        self.me
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        let Target::Peer(peer) = target else {
            return Err(Failure::new(FailureKind::InvalidArgument, "only peer ids here"));
        };
        self.door(peer).map(|_| peer)
    }

    async fn open_signal(&self, peer: PeerId) -> Result<Stream, Failure> {
        let (near, far) = tokio::io::duplex(4096);
        let sent = self.door(peer)?.signals.send((self.me, Box::new(far))).await;
        sent.map_err(|_| Failure::new(FailureKind::Unreachable, "it has gone"))?;
        Ok(Box::new(near))
    }

    async fn open_tunnel(&self, peer: PeerId) -> Result<Stream, Failure> {
        let (near, far) = tokio::io::duplex(4096);
        let sent = self.door(peer)?.tunnels.send((self.me, Box::new(far))).await;
        sent.map_err(|_| Failure::new(FailureKind::Unreachable, "it has gone"))?;
        Ok(Box::new(near))
    }

    fn doubt(&self, _peer: PeerId) {}

    fn facts(&self, peer: PeerId) -> PeerFacts {
        PeerFacts {
            name: format!("node {}", peer.public_key()[0]),
            tunnel_path: Some(Path::Lan),
            ..PeerFacts::default()
        }
    }
}

/// What happened to a session.
#[derive(Default)]
pub struct Record {
    pub connected: Option<TransportParams>,
    pub candidates: Vec<Candidate>,
    pub offset: Option<ClockOffset>,
    pub switches: Vec<(Medium, Switch)>,
    pub tunnels: usize,
    pub closed: usize,
}

#[derive(Clone)]
pub struct FakeEngine {
    pub sessions: Arc<Mutex<Vec<Arc<Mutex<Record>>>>>,
    pub listeners: watch::Sender<MediaListeners>,
}

impl Default for FakeEngine {
    fn default() -> Self {
        let status = Status {
            state: ServiceState::Listening,
            port: 1,
            wanted_port: 1,
            since: Instant::now(),
            error: String::new(),
            suggestion: String::new(),
            next_try: None,
        };
        let listeners = watch::Sender::new(MediaListeners { video: status.clone(), audio: status });
        Self { sessions: Arc::default(), listeners }
    }
}

impl FakeEngine {
    /// Looks at the newest session.
    pub fn last<T>(&self, look: impl FnOnce(&Record) -> T) -> Option<T> {
        let last = lock(&self.sessions).last().cloned()?;
        let record = lock(&last);
        Some(look(&record))
    }
}

pub struct FakeSession {
    record: Arc<Mutex<Record>>,
    events: mpsc::Sender<SessionEvent>,
    news: Option<mpsc::Receiver<SessionEvent>>,
    stats: watch::Sender<CallStats>,
}

/// The candidates that each session has at once and finds later.
pub fn candidate(kind: CandidateKind) -> Candidate {
    Candidate { kind, address: ([192, 0, 2, 1], 9996).into() }
}

impl Engine for FakeEngine {
    type Session = FakeSession;

    fn listeners(&self) -> watch::Receiver<MediaListeners> {
        self.listeners.subscribe()
    }

    async fn open(&self, spec: SessionSpec) -> Result<FakeSession, Failure> {
        drop(spec);
        let record = Arc::new(Mutex::new(Record::default()));
        lock(&self.sessions).push(Arc::clone(&record));
        let (events, news) = mpsc::channel(16);
        // Found at once, and so before the offer or the accept is sent.
        let _ = events.try_send(SessionEvent::LocalCandidate(candidate(CandidateKind::Observed)));
        Ok(FakeSession { record, events, news: Some(news), stats: watch::Sender::new(CallStats::default()) })
    }
}

impl MediaSession for FakeSession {
    fn local(&self) -> TransportParams {
        TransportParams {
            ice_ufrag: "user".into(),
            ice_pwd: "password".into(),
            fingerprint_algorithm: "sha-256".into(),
            fingerprint: vec![1; 32],
            candidates: vec![candidate(CandidateKind::Host)],
            tunnel: true,
        }
    }

    fn connect(&self, remote: TransportParams) {
        lock(&self.record).connected = Some(remote);
        for event in [
            SessionEvent::Path { path: Path::Lan, transport: Transport::Udp },
            SessionEvent::FirstPacket,
            SessionEvent::FirstFrame,
        ] {
            let _ = self.events.try_send(event);
        }
    }

    fn add_candidate(&self, candidate: Candidate) {
        lock(&self.record).candidates.push(candidate);
    }

    fn attach_tunnel(&self, stream: Stream) {
        drop(stream);
        lock(&self.record).tunnels += 1;
    }

    fn set_tunnel_path(&self, _path: Path) {}

    fn set_clock_offset(&self, offset: ClockOffset) {
        lock(&self.record).offset = Some(offset);
    }

    fn set_switch(&self, medium: Medium, state: Switch) {
        lock(&self.record).switches.push((medium, state));
    }

    fn set_peer_video_due(&self, pictures: u64) {
        self.stats.send_modify(|stats| stats.video_due = pictures);
    }

    fn video_due(&self) -> u64 {
        7
    }

    fn events(&mut self) -> mpsc::Receiver<SessionEvent> {
        self.news.take().expect("asked for once")
    }

    fn stats(&self) -> watch::Receiver<CallStats> {
        self.stats.subscribe()
    }

    async fn close(&self) -> CallStats {
        lock(&self.record).closed += 1;
        CallStats { duration_s: 42.0, ..CallStats::default() }
    }
}
