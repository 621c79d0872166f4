//! Nodes with files, on a network in memory.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::contact::{Contact, People, Presence, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{AddOptions, FileSettings, FilesState, GetOptions, Share, ShareScope, Transfer, TransferState};
use kith_common::ids::PeerId;
use kith_common::node::{Identity, Path as Way, PeerInfo, PeerStatus};
use kith_common::target::{Target, Ticket};
use kith_core::listener::Begin;
use kith_store::Database;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::files::ports::Network;
use crate::files::{Files, FilesParts};
use crate::net::{FilesStream, ProviderKey};

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

struct Door {
    files: mpsc::Sender<FilesStream>,
    rows: watch::Sender<Arc<Vec<PeerInfo>>>,
}

#[derive(Default)]
struct Wires {
    doors: HashMap<PeerId, Door>,
    /// What breaks the streams of two nodes, the smaller first.
    wires: HashMap<(PeerId, PeerId), CancellationToken>,
    /// What is known of who has what.
    provided: HashMap<ProviderKey, BTreeSet<PeerId>>,
}

/// All nodes of a test.
#[derive(Clone, Default)]
pub struct Exchange(Arc<Mutex<Wires>>);

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

fn row(peer: PeerId) -> PeerInfo {
    PeerInfo {
        peer_id: peer,
        name: String::new(),
        connected: true,
        status: PeerStatus::Connected,
        path: None,
        addresses: Vec::new(),
        rtt_ms: None,
        jitter_ms: None,
        loss: None,
        agent: String::new(),
        connected_since_unix_ms: 0,
        services: vec!["files".to_owned()],
        last_seen_unix_ms: 0,
    }
}

impl Exchange {
    pub fn join(&self, me: PeerId) -> (FakeNet, mpsc::Receiver<FilesStream>) {
        let (files, incoming) = mpsc::channel(64);
        lock(&self.0).doors.insert(me, Door { files, rows: watch::Sender::default() });
        (FakeNet { me, exchange: self.clone() }, incoming)
    }

    pub fn connect(&self, a: PeerId, b: PeerId) {
        let mut wires = lock(&self.0);
        wires.wires.entry(pair(a, b)).or_default();
        wires.show(a);
        wires.show(b);
    }

    /// The connection is lost, and what was under way with it.
    pub fn cut(&self, a: PeerId, b: PeerId) {
        let mut wires = lock(&self.0);
        if let Some(wire) = wires.wires.remove(&pair(a, b)) {
            wire.cancel();
        }
        wires.show(a);
        wires.show(b);
    }

    /// Nobody reaches it any more.
    pub fn leave(&self, gone: PeerId) {
        let others: Vec<PeerId> = lock(&self.0).doors.keys().copied().filter(|peer| *peer != gone).collect();
        for other in others {
            self.cut(gone, other);
        }
        lock(&self.0).doors.remove(&gone);
    }

    pub fn provides(&self, peer: PeerId) -> usize {
        lock(&self.0).provided.values().filter(|peers| peers.contains(&peer)).count()
    }
}

impl Wires {
    fn show(&self, of: PeerId) {
        let Some(door) = self.doors.get(&of) else { return };
        let other = |(a, b): &(PeerId, PeerId)| if *a == of { Some(*b) } else { (*b == of).then_some(*a) };
        let rows: Vec<PeerInfo> = self.wires.keys().filter_map(other).map(row).collect();
        door.rows.send_replace(Arc::new(rows));
    }
}

#[derive(Clone)]
pub struct FakeNet {
    pub me: PeerId,
    exchange: Exchange,
}

impl Network for FakeNet {
    fn peer_id(&self) -> PeerId {
        self.me
    }

    fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        let ticket = Ticket { peer: self.me, addresses: Vec::new() }.to_string();
        let own = Identity { peer_id: self.me, name: "me".to_owned(), ticket, addresses: Vec::new() };
        watch::channel(Arc::new(own)).1
    }

    fn peers(&self) -> watch::Receiver<Arc<Vec<PeerInfo>>> {
        // Who has left sees nobody any more.
        lock(&self.exchange.0)
            .doors
            .get(&self.me)
            .map_or_else(|| watch::channel(Arc::default()).1, |door| door.rows.subscribe())
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        let peer = match target {
            Target::Peer(peer) => peer,
            Target::Ticket(ticket) => ticket.peer,
            _ => return Err(Failure::new(FailureKind::NotFound, "nobody is there")),
        };
        if !lock(&self.exchange.0).doors.contains_key(&peer) {
            return Err(Failure::new(FailureKind::NotFound, "nobody knows an address"));
        }
        self.exchange.connect(self.me, peer);
        Ok(peer)
    }

    async fn open_files(&self, peer: PeerId) -> Result<FilesStream, Failure> {
        let gone = || Failure::new(FailureKind::Unreachable, "nobody is there");
        let (door, wire) = {
            let wires = lock(&self.exchange.0);
            let door = wires.doors.get(&peer).ok_or_else(gone)?.files.clone();
            (door, wires.wires.get(&pair(self.me, peer)).ok_or_else(gone)?.clone())
        };
        let ((near, mut left), (mut right, far)) = (tokio::io::duplex(256 * 1024), tokio::io::duplex(256 * 1024));
        tokio::spawn(
            async move { wire.run_until_cancelled(tokio::io::copy_bidirectional(&mut left, &mut right)).await },
        );
        let far = FilesStream { peer: self.me, stream: Box::new(far), path: Way::Lan };
        door.send(far).await.map_err(|_| gone())?;
        Ok(FilesStream { peer, stream: Box::new(near), path: Way::Lan })
    }

    async fn provide(&self, key: ProviderKey) {
        lock(&self.exchange.0).provided.entry(key).or_default().insert(self.me);
    }

    async fn stop_providing(&self, key: ProviderKey) {
        lock(&self.exchange.0).provided.entry(key).or_default().remove(&self.me);
    }

    async fn find_providers(&self, key: ProviderKey) -> Vec<PeerId> {
        let found = lock(&self.exchange.0).provided.get(&key).cloned().unwrap_or_default();
        found.into_iter().filter(|peer| *peer != self.me).collect()
    }
}

/// The names of the nodes of a test, by number.
pub const NAMES: [&str; 6] = ["Nobody", "Ada", "Ben", "Cem", "Dora", "Eve"];

fn contact(n: u8, files: Trust, relay: Trust) -> Contact {
    Contact {
        peer_id: peer(n),
        name: NAMES[usize::from(n)].to_owned(),
        own_name: String::new(),
        note: String::new(),
        colour: 0,
        presence: Presence::Offline,
        last_seen_unix_ms: 0,
        calls: Trust::Ask,
        files,
        relay,
        verified: false,
        blocked: false,
        added_unix_ms: 0,
        mutual: true,
    }
}

pub struct Node {
    pub me: PeerId,
    pub files: Files,
    pub service: watch::Sender<Begin>,
    pub in_call: watch::Sender<bool>,
    db: Database,
    people: watch::Sender<Arc<People>>,
    exchange: Exchange,
    pub home: Arc<TempDir>,
}

impl Node {
    /// A node that has these others as contacts, who are asked before they send anything.
    pub async fn new(exchange: &Exchange, n: u8, contacts: &[u8]) -> Self {
        let me = peer(n);
        let db = Database::in_memory(me).await;
        let home = Arc::new(tempfile::tempdir().expect("a folder"));
        let people = watch::Sender::default();
        let node = Self::on(exchange, me, db, people, home).await;
        node.trust(contacts, Trust::Ask);
        node
    }

    async fn on(
        exchange: &Exchange,
        me: PeerId,
        db: Database,
        people: watch::Sender<Arc<People>>,
        home: Arc<TempDir>,
    ) -> Self {
        let (service, running) = watch::channel(Begin::Running);
        let (in_call, calling) = watch::channel(false);
        let (net, incoming) = exchange.join(me);
        let parts = FilesParts {
            db: db.clone(),
            people: people.subscribe(),
            incoming: Some(incoming),
            service: running,
            in_call: calling,
            data_dir: home.path().join("data"),
            downloads: Some(home.path().join("downloads")),
            downloads_fixed: true,
        };
        let files = Files::start_with(net, parts).await.expect("the folders can be made");
        Self { me, files, service, in_call, db, people, exchange: exchange.clone(), home }
    }

    /// Ends the process and starts another on the same disk, with nobody connected.
    pub async fn restart(self) -> Self {
        let Self { me, files, db, people, exchange, home, .. } = self;
        exchange.leave(me);
        files.shutdown().await;
        drop(files);
        Self::on(&exchange, me, db, people, home).await
    }

    /// It is off.
    pub async fn off(self) {
        self.exchange.leave(self.me);
        self.files.shutdown().await;
    }

    pub fn trust(&self, contacts: &[u8], files: Trust) {
        self.trust_with(contacts, files, Trust::Never);
    }

    /// What they may send unasked, and whether copies are kept for them.
    pub fn trust_with(&self, contacts: &[u8], files: Trust, relay: Trust) {
        let contacts = contacts.iter().map(|n| contact(*n, files, relay)).collect();
        self.people.send_replace(Arc::new(People { contacts, ..People::default() }));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below home")).expect("writable");
        std::fs::write(&path, bytes).expect("writable");
        path
    }

    pub async fn share(&self, path: &Path) -> Share {
        self.share_with(path, AddOptions::default()).await
    }

    pub async fn share_with(&self, path: &Path, options: AddOptions) -> Share {
        let progress = watch::Sender::default();
        self.files.add(path.to_owned(), options, progress).await.expect("it can be shared")
    }

    pub async fn share_to(&self, path: &Path, peers: &[&str]) -> Share {
        let peers = peers.iter().map(|name| (*name).to_owned()).collect();
        self.share_with(path, AddOptions { scope: ShareScope::Peers, peers, ..AddOptions::default() }).await
    }

    pub async fn get(&self, target: &str) -> Transfer {
        self.files.get(target, GetOptions::default()).await.expect("it can begin")
    }

    /// Waits until something is as wanted.
    pub async fn until<T>(&self, what: &str, wanted: impl Fn(&FilesState) -> Option<T>) -> T {
        let mut state = self.files.state();
        let waiting = async {
            loop {
                if let Some(found) = wanted(&state.borrow_and_update()) {
                    return found;
                }
                state.changed().await.expect("the task goes on");
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("never: {what}; {:#?}", self.files.state().borrow()),
        }
    }

    pub async fn until_transfer(&self, id: u32, what: &str, wanted: impl Fn(&Transfer) -> bool) -> Transfer {
        self.until(what, |state| state.transfers.iter().find(|one| one.id == id && wanted(one)).cloned()).await
    }

    pub async fn until_done(&self, id: u32) -> Transfer {
        let over = |one: &Transfer| !one.state.is_live() || one.state == TransferState::Waiting;
        let over = self.until_transfer(id, "the end", over).await;
        assert_eq!(over.state, TransferState::Done, "{over:#?}");
        over
    }

    /// Fetches and reads what was saved.
    pub async fn fetched(&self, target: &str) -> (Transfer, Vec<u8>) {
        let begun = self.get(target).await;
        let done = self.until_done(begun.id).await;
        let bytes = std::fs::read(&done.saved_path).expect("it is there");
        (done, bytes)
    }

    pub async fn change_settings(&self, change: impl FnOnce(&mut FileSettings)) {
        let mut settings = self.files.settings().await.expect("there are some");
        change(&mut settings);
        self.files.set_settings(settings).await.expect("they make sense");
    }
}

/// xorshift64 (Marsaglia 2003): bytes that nothing repeats.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut all: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    all.truncate(length);
    all
}
