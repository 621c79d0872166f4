//! Puts this node's address record into the DHT and keeps it there, keeps those of others, and notices when a second
//! node has the same identity.

use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::ids::PeerId as KithId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, KBucketKey, QueryId};
use libp2p::{Multiaddr, PeerId};

use super::record::{self, Record};
use super::task::Task;
use super::{address, table};

/// Addresses appear in groups.
const AFTER_CHANGE: Duration = Duration::from_secs(1);
/// A record is renewed long before it expires.
const RENEW_AFTER: Duration = Duration::from_secs(60 * 60);
/// Nobody took it.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// New nodes in a small network should have it too, but not one by one.
const AFTER_NEWCOMER: Duration = Duration::from_secs(1);
/// When the own record is looked up again: soon after it was published, then seldom.
const FIRST_CHECK: Duration = Duration::from_secs(3);
const LAST_CHECK: Duration = Duration::from_secs(10 * 60);
/// A second node with this identity is said in the log this often.
const SAY_AGAIN: Duration = Duration::from_secs(10 * 60);
/// And is taken to be gone when it has not renewed its record twice.
const FORGET_TWIN: Duration = Duration::from_secs(2 * 60 * 60);

pub(super) struct Publisher {
    /// This run of the node, among all of its identity.
    instance: u64,
    started_unix_ms: i64,
    published: Vec<Multiaddr>,
    publish_at: Option<Instant>,
    putting: Option<QueryId>,
    check: Option<(Instant, Duration)>,
    checking: Option<QueryId>,
    twin_seen: Option<Instant>,
    twin_said: Option<Instant>,
}

impl Publisher {
    pub fn new() -> Self {
        Self {
            instance: rand::random(),
            started_unix_ms: unix_ms(),
            published: Vec::new(),
            publish_at: None,
            putting: None,
            check: None,
            checking: None,
            twin_seen: None,
            twin_said: None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let check = self.check.map(|(at, _)| at);
        [self.publish_at, check].into_iter().flatten().min()
    }

    fn publish_within(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.publish_at = Some(self.publish_at.map_or(at, |before| before.min(at)));
    }
}

/// Under the peer id itself, so that a record lies where the routing tables know the peer best.
pub(super) fn key(peer: &PeerId) -> kad::RecordKey {
    kad::RecordKey::new(&peer.to_bytes())
}

/// Whom a record is about.
fn subject(key: &kad::RecordKey) -> Option<KithId> {
    KithId::from_bytes(key.as_ref()).ok()
}

impl Task {
    /// Where others may reach this node, as far as they can be told: in a network that reaches beyond the house, its
    /// private addresses are of no use to them.
    fn record_addresses(&self) -> Vec<Multiaddr> {
        let near = self.is_private_network();
        let told = |a: &&Multiaddr| near || address::is_relayed(a) || address::is_global(a);
        self.own_addresses().iter().filter(told).take(record::MAX_ADDRESSES).cloned().collect()
    }

    /// Own addresses have come or gone, or the network has become another.
    pub(super) fn addresses_changed(&mut self) {
        if self.record_addresses() != self.publisher.published {
            self.publisher.publish_within(AFTER_CHANGE);
        }
    }

    /// The routing table has a new peer.
    pub(super) fn newcomer(&mut self) {
        let known: usize = self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        self.published.lookups.send_modify(|lookups| lookups.known = known);
        // A network as small as this gives every record to every node.
        if known <= table::K {
            self.publisher.publish_within(AFTER_NEWCOMER);
        }
        self.providers.newcomer(known <= table::K, Instant::now() + AFTER_NEWCOMER);
    }

    pub(super) fn publish_due(&mut self, now: Instant) {
        if self.publisher.publish_at.is_some_and(|at| now >= at) {
            self.publisher.publish_at = None;
            self.publish_record();
        }
        if let Some((at, wait)) = self.publisher.check
            && now >= at
        {
            let own = key(self.swarm.local_peer_id());
            self.publisher.checking = Some(self.swarm.behaviour_mut().kad.get_record(own));
            let wait = (wait * 2).min(LAST_CHECK);
            self.publisher.check = Some((now + wait, wait));
        }
    }

    fn publish_record(&mut self) {
        let addresses = self.record_addresses();
        if addresses.is_empty() {
            self.publisher.published.clear();
            return;
        }
        if let Some(seen) = self.publisher.twin_seen
            && seen.elapsed() > FORGET_TWIN
        {
            self.publisher.twin_seen = None;
            self.listener.warn("", "");
        }
        let own = *self.swarm.local_peer_id();
        let new = Record::new(self.publisher.instance, addresses.clone(), unix_ms());
        let value = new.sign(&self.key);
        let value = kad::Record { expires: Some(expiry(&new)), ..kad::Record::new(key(&own), value) };
        match self.swarm.behaviour_mut().kad.put_record(value, kad::Quorum::One) {
            Ok(query) => {
                self.publisher.putting = Some(query);
                self.publisher.published = addresses;
            }
            Err(error) => {
                tracing::debug!(%error, "the address record was not published");
                self.publisher.publish_within(RETRY_AFTER);
            }
        }
    }

    /// True when this was the query that publishes the own record.
    pub(super) fn record_put(&mut self, query: QueryId, taken: bool) {
        if self.publisher.putting != Some(query) {
            return;
        }
        self.publisher.putting = None;
        if !taken {
            // A node without peers has nobody to give it to; the first newcomer makes it try again at once.
            self.publisher.publish_within(RETRY_AFTER);
            return;
        }
        tracing::debug!(addresses = self.publisher.published.len(), "the address record is in the DHT");
        self.published.lookups.send_modify(|lookups| lookups.published += 1);
        self.publisher.publish_within(RENEW_AFTER);
        self.publisher.check = Some((Instant::now() + FIRST_CHECK, FIRST_CHECK));
    }

    /// Is this query the look at the own record?
    pub(super) fn is_own_check(&self, query: QueryId) -> bool {
        self.publisher.checking == Some(query)
    }

    /// A record has been found, of an attempt or of the look at the own one; the query's first, after so many requests.
    pub(super) fn record_found(&mut self, query: QueryId, found: &kad::Record, first_after: Option<u32>) {
        let Some(peer) = subject(&found.key) else { return };
        let new = match Record::verify(peer, &found.value, unix_ms()) {
            Ok(new) => new,
            Err(error) => {
                tracing::debug!(%peer, %error, "a record of the DHT is not believed");
                return;
            }
        };
        if self.is_own_check(query) {
            self.own_record_seen(&new);
            return;
        }
        if let Some(requests) = first_after {
            self.peer_found(requests);
        }
        let addresses = self.usable(&new.addresses, &address::to_libp2p(peer));
        self.attempt_learned(query, addresses);
    }

    /// Addresses of a record that this node may dial: nobody far away makes it knock on doors of its own network.
    fn usable(&self, addresses: &[Multiaddr], peer: &PeerId) -> Vec<Multiaddr> {
        let near = self.is_private_network();
        let fit = |a: &&Multiaddr| {
            address::is_shareable(a, self.loopback_node)
                && (near || address::is_relayed(a) || address::is_global(a))
                && address::last_peer(a).is_none_or(|last| last == *peer)
        };
        addresses.iter().filter(fit).cloned().collect()
    }

    /// A peer wants a record kept here.
    pub(super) fn keep_record(&mut self, source: PeerId, offered: kad::Record) {
        let now = Instant::now();
        if self.table.get_mut(&source).is_none_or(|peer| !peer.admit_record(now)) {
            tracing::debug!(%source, "too many records: refused");
            return;
        }
        let checked = subject(&offered.key).map(|peer| (peer, Record::verify(peer, &offered.value, unix_ms())));
        let (peer, new) = match checked {
            Some((peer, Ok(new))) => (peer, new),
            Some((peer, Err(error))) => {
                tracing::debug!(%source, %peer, %error, "a record is not kept");
                return;
            }
            None => {
                tracing::debug!(%source, "a record that is no address record is not kept");
                return;
            }
        };
        if address::to_libp2p(peer) == *self.swarm.local_peer_id() {
            self.own_record_seen(&new);
            return;
        }
        let most = self.dht_records;
        let local = KBucketKey::from(*self.swarm.local_peer_id());
        let store = &mut self.swarm.behaviour_mut().kad.store_mut().records;
        let kept = store.get(&offered.key).and_then(|kept| Record::verify(peer, &kept.value, unix_ms()).ok());
        if kept.as_ref().is_some_and(|kept| kept.issued_unix_ms >= new.issued_unix_ms) {
            return;
        }
        if kept.is_none() && !make_room(store, &local, &offered.key, most) {
            return;
        }
        // The publisher is whom it is about, whoever passed it on.
        let value = kad::Record { publisher: None, expires: Some(expiry(&new)), ..offered };
        if let Err(error) = store.put(value) {
            tracing::debug!(%peer, %error, "a record is not kept");
        }
    }

    fn own_record_seen(&mut self, seen: &Record) {
        let publisher = &mut self.publisher;
        // An earlier run's record, from before this one started, is nothing to speak of.
        if seen.instance == publisher.instance || seen.issued_unix_ms <= publisher.started_unix_ms {
            return;
        }
        let at = seen.addresses.iter().find_map(address::socket);
        // The other one shall hear of it too: the newest record is what it finds.
        publisher.publish_within(AFTER_CHANGE);
        self.twin_seen(at.map(|at| at.to_string()));
    }

    /// Another node has this node's key.
    pub(super) fn twin_seen(&mut self, at: Option<String>) {
        let now = Instant::now();
        let place = at.map_or_else(String::new, |at| format!(", at {at}"));
        let error = format!("another node uses this identity{place}: peers reach now one, now the other");
        let advice = "stop one of the two, or give it an own identity by moving its identity.key away";
        self.listener.warn(&error, advice);
        self.publisher.twin_seen = Some(now);
        if self.publisher.twin_said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN) {
            self.publisher.twin_said = Some(now);
            tracing::warn!("{error}; {advice}");
        }
    }
}

/// By the clock that the DHT goes by.
fn expiry(record: &Record) -> Instant {
    let left = record.expires_unix_ms.saturating_sub(unix_ms());
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// False when the store is full of records that belong here more than this one: those under keys nearer to this node.
fn make_room(
    store: &mut kad::store::MemoryStore,
    local: &KBucketKey<PeerId>,
    newcomer: &kad::RecordKey,
    most: usize,
) -> bool {
    if store.records().count() < most {
        return true;
    }
    let now = Instant::now();
    store.retain(|_, kept| !kept.is_expired(now));
    let far = |key: &kad::RecordKey| local.distance(&KBucketKey::new(key.clone()));
    let kept = store.records().count();
    if kept < most {
        return true;
    }
    let farthest = store.records().map(|kept| kept.key.clone()).max_by_key(|key| far(key));
    match farthest.filter(|farthest| far(newcomer) < far(farthest)) {
        Some(farthest) => {
            store.remove(&farthest);
            true
        }
        None => false,
    }
}
