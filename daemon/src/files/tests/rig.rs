//! Nodes with files, on a network in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kith_common::contact::{Contact, People, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, CopyState, FileSettings, FilesState, GetOptions, Share, ShareScope, Transfer, TransferState,
};
use kith_common::ids::PeerId;
use kith_common::node::{Identity, Path as Way, PeerInfo};
use kith_common::target::{Target, Ticket};
use kith_core::listener::Begin;
use kith_store::{Database, TransferRow};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::files::ports::Network;
use crate::files::{Files, FilesParts};
use crate::net::exchange::contact;
pub use crate::net::exchange::{Exchange, FakeNet, peer};
use crate::net::{FilesStream, ProviderKey, Stream};

/// Longer than anything here takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

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
        self.rows()
    }

    async fn connect(&self, target: Target) -> Result<PeerId, Failure> {
        match target {
            Target::Peer(peer) | Target::Ticket(Ticket { peer, .. }) => self.reach(peer),
            _ => Err(Failure::new(FailureKind::NotFound, "nobody is there")),
        }
    }

    async fn open_files(&self, peer: PeerId) -> Result<FilesStream, Failure> {
        Ok(FilesStream { peer, stream: self.open(peer, 256 * 1024).await?, path: Way::Lan })
    }

    async fn provide(&self, key: ProviderKey) {
        self.exchange.lock().provided.entry(key).or_default().insert(self.me);
    }

    async fn stop_providing(&self, key: ProviderKey) {
        self.exchange.lock().provided.entry(key).or_default().remove(&self.me);
    }

    async fn find_providers(&self, key: ProviderKey) -> Vec<PeerId> {
        let found = self.exchange.lock().provided.get(&key).cloned().unwrap_or_default();
        found.into_iter().filter(|peer| *peer != self.me).collect()
    }
}

/// The streams to a node, as the network hands them over.
fn handed_over(mut incoming: mpsc::Receiver<(PeerId, Stream)>) -> mpsc::Receiver<FilesStream> {
    let (files, handed) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some((peer, stream)) = incoming.recv().await {
            if files.send(FilesStream { peer, stream, path: Way::Lan }).await.is_err() {
                return;
            }
        }
    });
    handed
}

pub const MIB: usize = 1024 * 1024;

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
            incoming: Some(handed_over(incoming)),
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

    /// The power is gone and comes back: what was noted of transfers is of another run of the machine, nothing of it was certain, and
    /// the disk is as `lost` leaves it.
    pub async fn power_cut(self, lost: impl FnOnce(&Path)) -> Self {
        let Self { me, files, db, people, exchange, home, .. } = self;
        exchange.leave(me);
        files.shutdown().await;
        drop(files);
        let forgetting = db.write(|store| {
            for row in store.transfers()? {
                store.put_transfer(&TransferRow { boot: "an earlier run".to_owned(), synced: Vec::new(), ..row })?;
            }
            Ok(())
        });
        forgetting.await.expect("the store answers");
        lost(home.path());
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
        let contacts = contacts.iter().map(|n| Contact { files, relay, ..contact(*n) }).collect();
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

    /// Asks that contact to keep a copy.
    pub async fn ask_to_keep(&self, share: &Share, keeper: &str) {
        self.files.keep(share.hash, &[keeper.to_owned()]).await.expect("a contact");
    }

    /// The same, until it has one.
    pub async fn have_kept(&self, share: &Share, keeper: &str) -> Share {
        self.ask_to_keep(share, keeper).await;
        self.until_copy(share, CopyState::Kept).await
    }

    pub async fn until_copy(&self, share: &Share, wanted: CopyState) -> Share {
        let mut state = self.files.state();
        loop {
            let now = self.files.shares(&share.hash.to_string(), 0, 1).await.expect("the store answers");
            let found = now.first().expect("it is shared");
            if found.copies.iter().any(|copy| copy.state == wanted) {
                return found.clone();
            }
            let changed = tokio::time::timeout(DEADLINE, state.changed()).await;
            changed.unwrap_or_else(|_| panic!("never {wanted:?}: {found:#?}")).expect("the task goes on");
        }
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

    /// Sends no faster; 0: as fast as it can.
    pub async fn send_at_most(&self, bytes_per_second: usize) {
        self.change_settings(|settings| settings.upload_bytes_per_second = bytes_per_second as u64).await;
    }

    pub async fn change_settings(&self, change: impl FnOnce(&mut FileSettings)) {
        let mut settings = self.files.settings().await.expect("there are some");
        change(&mut settings);
        self.files.set_settings(settings).await.expect("they make sense");
    }
}

/// Ada and Ben, who are contacts.
pub async fn two() -> (Exchange, Node, Node) {
    let exchange = Exchange::default();
    let (ada, ben) = (Node::new(&exchange, 1, &[2]).await, Node::new(&exchange, 2, &[1]).await);
    (exchange, ada, ben)
}

/// Ada, Ben who keeps copies for her and is connected to her, and Cem who fetches.
pub async fn three() -> (Exchange, Node, Node, Node) {
    let exchange = Exchange::default();
    let ada = Node::new(&exchange, 1, &[2, 3]).await;
    let ben = Node::new(&exchange, 2, &[1]).await;
    let cem = Node::new(&exchange, 3, &[1, 2]).await;
    ben.trust_with(&[1], Trust::Ask, Trust::Always);
    exchange.connect(ada.me, ben.me);
    (exchange, ada, ben, cem)
}

pub fn for_contacts() -> AddOptions {
    AddOptions { scope: ShareScope::Contacts, ..AddOptions::default() }
}

/// Something of Ada's that Ben has begun to fetch, and that goes on slowly until she may send faster.
pub struct Begun {
    pub content: Vec<u8>,
    pub share: Share,
    pub transfer: Transfer,
}

impl Begun {
    /// At so many bytes a second, until so many are done.
    pub async fn new(ada: &Node, ben: &Node, size: usize, bytes_per_second: usize, done: usize) -> Self {
        let content = bytes(9, size);
        let share = ada.share(&ada.write("large", &content)).await;
        ada.send_at_most(bytes_per_second).await;
        let begun = ben.get(&share.ticket).await;
        let transfer = ben.until_transfer(begun.id, "a part of it", |one| one.done_bytes >= done as u64).await;
        Self { content, share, transfer }
    }

    /// Until it is done, and as it was.
    pub async fn until_done(&self, ben: &Node) {
        let done = ben.until_done(self.transfer.id).await;
        assert!(std::fs::read(&done.saved_path).expect("it is there") == self.content);
    }
}

/// Of all files below it.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect()
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
