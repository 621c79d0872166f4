//! Who has the content: asks those that were named, contacts, peers that are connected, and the DHT, each from time to time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_common::target::{Target, Ticket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::live::Origin;
use crate::files::ports::Network;
use crate::files::talk::Talk;
use crate::files::wire::{Answer, Question, Status};
use crate::net::ProviderKey;

/// Peers that are asked at a time.
const MAX_ASKING: usize = 8;
/// Peers that are known for one content; beyond this nobody new is asked.
const MAX_KNOWN: usize = 512;
/// Whoever did not have it is asked again: at first after this, then after longer and longer.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_secs(600);
/// Who was lost in the middle is likely to be back soon.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// Somebody has it.
pub(super) struct Found {
    pub talk: Talk,
    pub answer: Answer,
}

/// Why a peer is of no use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// It does not have it.
    NotFound,
    NotAllowed,
    Changed,
    /// It could not be asked.
    Unreachable(String),
    /// It has lied about this content.
    Lied,
}

pub(super) enum Hint {
    Found(Box<Found>),
    /// A peer that was named has nothing for us.
    Lacks(PeerId, Lack),
    /// Everybody who is there was asked, and there is nobody else.
    Nobody,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Have(Question),
    /// Whoever was named has it.
    Nothing,
}

struct Known {
    due: Instant,
    pause: Duration,
    busy: bool,
    /// It gave us a stream, which is in use.
    has: bool,
    /// It is connected, could not be asked all the same, and is asked once more without a pause.
    once_more: bool,
    lack: Option<Lack>,
}

/// One transfer's part; see the module.
pub(super) struct Finder<N> {
    net: N,
    ask: Ask,
    /// What the DHT is asked by.
    keys: Vec<ProviderKey>,
    origins: Vec<Origin>,
    only_origins: bool,
    /// Whoever is connected is asked, not contacts alone.
    strangers: bool,
    people: watch::Receiver<Arc<People>>,
    peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    known: BTreeMap<PeerId, Known>,
    /// Who was connected, and exchanged files, when that was last looked at.
    there: BTreeSet<PeerId>,
    waiting: VecDeque<(PeerId, Target)>,
    asking: JoinSet<(PeerId, Result<Box<Found>, Lack>)>,
    searching: JoinSet<Vec<PeerId>>,
    search_at: Instant,
    search_pause: Duration,
    told_nobody: bool,
    /// Somebody may have become reachable.
    look: bool,
}

impl<N: Network> Finder<N> {
    pub fn new(
        net: N,
        ask: Ask,
        keys: Vec<ProviderKey>,
        origins: Vec<Origin>,
        only_origins: bool,
        people: watch::Receiver<Arc<People>>,
    ) -> Self {
        let peers = net.peers();
        // A ticket names somebody; without one, whoever is there may have it.
        let strangers = matches!(ask, Ask::Have(Question { copy: None, .. }));
        Self {
            net,
            ask,
            keys,
            origins,
            only_origins,
            strangers,
            people,
            peers,
            known: BTreeMap::new(),
            there: BTreeSet::new(),
            waiting: VecDeque::new(),
            asking: JoinSet::new(),
            searching: JoinSet::new(),
            search_at: Instant::now(),
            search_pause: FIRST_PAUSE,
            told_nobody: false,
            look: true,
        }
    }

    /// These lied before.
    pub fn ban(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        for peer in peers {
            let known = self.entry(peer);
            (known.lack, known.has) = (Some(Lack::Lied), false);
        }
    }

    /// A source is of no more use. Without a lack it was lost, and is asked again soon.
    pub fn lost(&mut self, peer: PeerId, lack: Option<Lack>) {
        let now = Instant::now();
        let known = self.entry(peer);
        known.has = false;
        known.due = now + if lack.is_some() { known.pause } else { LOST_PAUSE };
        known.lack = lack;
        self.told_nobody = false;
        self.look = true;
    }

    /// All streams are closed but those to these: the others are asked anew, whatever comes next.
    pub fn lost_all_but(&mut self, kept: &BTreeSet<PeerId>) {
        let lost: Vec<PeerId> = self
            .known
            .iter()
            .filter(|(peer, known)| known.has && !kept.contains(peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in lost {
            self.lost(peer, None);
        }
    }

    /// More are needed: whoever is due is asked.
    pub fn search(&mut self) {
        self.told_nobody = false;
        self.look = true;
    }

    /// Whom there is to blame for having nobody.
    pub fn lacks(&self) -> impl Iterator<Item = (PeerId, &Lack)> {
        self.known.iter().filter_map(|(peer, known)| Some((*peer, known.lack.as_ref()?)))
    }

    /// Whether somebody is being asked, and may have it.
    pub fn is_asking(&self) -> bool {
        !self.asking.is_empty() || !self.waiting.is_empty() || !self.searching.is_empty()
    }

    /// When somebody is asked again.
    pub fn next_try(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = self.known.values().filter(|known| !known.has && !known.busy && known.lack != Some(Lack::Lied));
        let dht = (!self.only_origins && !self.keys.is_empty()).then_some(self.search_at);
        // What is over, and did not lead to a question, waits for somebody to appear.
        due.map(|known| known.due).chain(dht).filter(|at| *at > now).min()
    }

    fn entry(&mut self, peer: PeerId) -> &mut Known {
        let new =
            || Known { due: Instant::now(), pause: FIRST_PAUSE, busy: false, has: false, once_more: false, lack: None };
        self.known.entry(peer).or_insert_with(new)
    }

    /// The next news. May be dropped and called again.
    pub async fn next(&mut self) -> Hint {
        loop {
            if std::mem::take(&mut self.look) {
                self.enqueue();
            }
            while self.asking.len() < MAX_ASKING
                && let Some((peer, target)) = self.waiting.pop_front()
            {
                let (net, ask) = (self.net.clone(), self.ask);
                self.asking.spawn(async move { (peer, question(&net, peer, target, ask).await.map(Box::new)) });
            }
            if !self.is_asking() && !self.told_nobody {
                self.told_nobody = true;
                return Hint::Nobody;
            }
            let due = self.next_try();
            tokio::select! {
                Some(asked) = self.asking.join_next() => {
                    if let Ok((peer, outcome)) = asked && let Some(hint) = self.answered(peer, outcome) {
                        return hint;
                    }
                }
                Some(found) = self.searching.join_next() => {
                    for peer in found.unwrap_or_default() {
                        self.consider(peer, Target::Peer(peer));
                    }
                }
                Ok(()) = self.peers.changed() => self.look = true,
                () = at(due) => self.look = true,
            }
        }
    }

    fn answered(&mut self, peer: PeerId, outcome: Result<Box<Found>, Lack>) -> Option<Hint> {
        let named = self.origins.iter().any(|origin| origin.peer == peer);
        let connected = is_connected(&self.peers.borrow(), peer);
        let known = self.entry(peer);
        known.busy = false;
        match outcome {
            Ok(found) => {
                (known.has, known.lack, known.pause, known.once_more) = (true, None, FIRST_PAUSE, false);
                self.search_pause = FIRST_PAUSE;
                Some(Hint::Found(found))
            }
            // It may have been asked on a connection from before it was started anew.
            Err(Lack::Unreachable(why)) if connected && !known.once_more => {
                (known.due, known.once_more) = (Instant::now() + LOST_PAUSE, true);
                known.lack = Some(Lack::Unreachable(why));
                None
            }
            Err(lack) => {
                known.due = Instant::now() + known.pause;
                known.pause = (known.pause * 2).min(LAST_PAUSE);
                known.lack = Some(lack.clone());
                let telling = named || !matches!(lack, Lack::NotFound | Lack::Unreachable(_));
                telling.then_some(Hint::Lacks(peer, lack))
            }
        }
    }

    /// Those who are there, or were named, and are due.
    fn enqueue(&mut self) {
        let rows = Arc::clone(&self.peers.borrow_and_update());
        let exchanges = |row: &&PeerInfo| row.connected && row.services.iter().any(|service| service == "files");
        let there: BTreeSet<PeerId> = rows.iter().filter(exchanges).map(|row| row.peer_id).collect();
        // Whoever has come back may have it now.
        for new in there.difference(&self.there) {
            if let Some(known) = self.known.get_mut(new) {
                (known.due, known.pause, known.once_more) = (Instant::now(), FIRST_PAUSE, false);
            }
        }
        self.there.clone_from(&there);
        for origin in self.origins.clone() {
            let target = if origin.addresses.is_empty() {
                Target::Peer(origin.peer)
            } else {
                Target::Ticket(Ticket { peer: origin.peer, addresses: origin.addresses })
            };
            self.consider(origin.peer, target);
        }
        if self.only_origins {
            return;
        }
        let contacts: BTreeSet<PeerId> = {
            let people = Arc::clone(&self.people.borrow());
            people.contacts.iter().filter(|contact| !contact.blocked).map(|contact| contact.peer_id).collect()
        };
        let (known, others): (Vec<_>, Vec<_>) = there.into_iter().partition(|peer| contacts.contains(peer));
        let strangers = self.strangers;
        for peer in known.into_iter().chain(others.into_iter().filter(|_| strangers)) {
            self.consider(peer, Target::Peer(peer));
        }
        let now = Instant::now();
        if self.searching.is_empty() && self.search_at <= now && !self.keys.is_empty() {
            self.search_at = now + self.search_pause;
            self.search_pause = (self.search_pause * 2).min(LAST_PAUSE);
            for key in self.keys.clone() {
                let net = self.net.clone();
                self.searching.spawn(async move { net.find_providers(key).await });
            }
        }
    }

    fn consider(&mut self, peer: PeerId, target: Target) {
        if peer == self.net.peer_id() || (self.known.len() >= MAX_KNOWN && !self.known.contains_key(&peer)) {
            return;
        }
        // Whoever is new is due at once.
        let known = self.entry(peer);
        if known.busy || known.has || known.lack == Some(Lack::Lied) || known.due > Instant::now() {
            return;
        }
        known.busy = true;
        self.waiting.push_back((peer, target));
    }
}

async fn question(net: &impl Network, peer: PeerId, target: Target, ask: Ask) -> Result<Found, Lack> {
    let unreachable = |failure: Failure| Lack::Unreachable(failure.message);
    if !is_connected(&net.peers().borrow(), peer) {
        net.connect(target).await.map_err(unreachable)?;
    }
    let mut talk = Talk::open(net, peer).await.map_err(|failure| match failure.kind {
        FailureKind::Unsupported => Lack::Unreachable("it does not exchange files".to_owned()),
        _ => unreachable(failure),
    })?;
    let Ask::Have(question) = ask else {
        return Ok(Found { talk, answer: Answer::none(Status::Ok) });
    };
    let answers = talk.have(&[question]).await.map_err(|error| Lack::Unreachable(error.to_string()))?;
    let answer = answers.into_iter().next().ok_or(Lack::NotFound)?;
    match answer.status {
        Status::Ok => Ok(Found { talk, answer }),
        // A sealed copy is something as well.
        _ if answer.copy.is_some() => Ok(Found { talk, answer }),
        Status::NotAllowed => Err(Lack::NotAllowed),
        Status::Changed => Err(Lack::Changed),
        _ => Err(Lack::NotFound),
    }
}

fn is_connected(peers: &[PeerInfo], peer: PeerId) -> bool {
    peers.iter().any(|row| row.connected && row.peer_id == peer)
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}
