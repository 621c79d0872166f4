//! What this node keeps of the DHT: address records, in libp2p's own store, and who has what.
//!
//! libp2p's store keeps room for twenty providers of every key, and so takes kilobytes for one; and it lets go of what has
//! expired only when somebody asks for it. This one takes about a hundred bytes a record, keeps those that belong here most
//! (under keys near this node) when it is full, and no more of one peer than its share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Empty;
use std::time::{Duration, Instant};

use kith_common::ids::PeerId as KithId;
use libp2p::kad::store::{Error, MemoryStore, MemoryStoreConfig, RecordStore, Result};
use libp2p::kad::{KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::providers::{MAX_PROVIDED, ProviderKey, VALID};

/// Of others, all together: some ten megabytes.
const MAX_KEPT: usize = 65_536;
/// Of one peer. In a network of a few nodes everybody keeps all that everybody has.
const MAX_OF_ONE: usize = 8_192;
/// Peers that are kept under one key, and told to who asks (Kademlia's k).
const MAX_UNDER_KEY: usize = 20;
/// Looking for what has expired reads everything: not for every record that comes to a full shelf.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// What is kept under one key.
struct Row {
    key: ProviderKey,
    providers: Vec<(KithId, Instant)>,
}

/// The store; see the module.
pub(super) struct Shelf {
    pub records: MemoryStore,
    local: PeerId,
    /// What this node has itself.
    own: BTreeSet<ProviderKey>,
    /// By how far the key is from this node.
    kept: BTreeMap<KBucketDistance, Row>,
    /// How many records are kept of each peer.
    by_peer: BTreeMap<KithId, usize>,
    count: usize,
    swept: Option<Instant>,
}

impl Shelf {
    pub fn new(local: PeerId, config: MemoryStoreConfig) -> Self {
        Self {
            records: MemoryStore::with_config(local, config),
            local,
            own: BTreeSet::new(),
            kept: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            count: 0,
            swept: None,
        }
    }

    /// `false`: there are too many.
    pub fn provide(&mut self, key: ProviderKey) -> bool {
        let fits = self.own.len() < MAX_PROVIDED || self.own.contains(&key);
        if fits {
            self.own.insert(key);
        }
        fits
    }

    /// Somebody else has it. `false`: there is no room for that.
    pub fn keep(&mut self, key: ProviderKey, provider: KithId, now: Instant) -> bool {
        let (at, until) = (self.distance(&key), now + VALID);
        if let Some(row) = self.kept.get_mut(&at) {
            if let Some(known) = row.providers.iter_mut().find(|(peer, _)| *peer == provider) {
                known.1 = until;
                return true;
            }
            if row.providers.len() >= MAX_UNDER_KEY {
                self.drop_expired(at, now);
            }
        }
        if self.count >= MAX_KEPT || self.of(provider) >= MAX_OF_ONE {
            self.sweep(now);
        }
        let under_key = self.kept.get(&at).map_or(0, |row| row.providers.len());
        if self.of(provider) >= MAX_OF_ONE || under_key >= MAX_UNDER_KEY {
            return false;
        }
        if self.count >= MAX_KEPT {
            match self.kept.last_key_value() {
                Some((farthest, _)) if at < *farthest => _ = self.kept.pop_last().map(|(_, row)| self.forget(&row)),
                _ => return false,
            }
        }
        self.kept.entry(at).or_insert(Row { key, providers: Vec::new() }).providers.push((provider, until));
        *self.by_peer.entry(provider).or_default() += 1;
        self.count += 1;
        true
    }

    fn of(&self, provider: KithId) -> usize {
        self.by_peer.get(&provider).copied().unwrap_or(0)
    }

    fn distance(&self, key: &ProviderKey) -> KBucketDistance {
        KBucketKey::from(self.local).distance(&KBucketKey::new(record_key(key)))
    }

    /// These are on the shelf no longer.
    fn forget(&mut self, row: &Row) {
        for (peer, _) in &row.providers {
            self.count -= 1;
            if let Some(of_peer) = self.by_peer.get_mut(peer) {
                *of_peer -= 1;
                if *of_peer == 0 {
                    self.by_peer.remove(peer);
                }
            }
        }
    }

    fn drop_expired(&mut self, at: KBucketDistance, now: Instant) {
        self.retain(at, |(_, until)| *until > now);
    }

    fn retain(&mut self, at: KBucketDistance, stays: impl Fn(&(KithId, Instant)) -> bool) {
        let Some(mut row) = self.kept.remove(&at) else { return };
        let (stay, go): (Vec<_>, Vec<_>) = row.providers.into_iter().partition(stays);
        row.providers = go;
        self.forget(&row);
        if !stay.is_empty() {
            self.kept.insert(at, Row { key: row.key, providers: stay });
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_PAUSE) {
            return;
        }
        self.swept = Some(now);
        let stale = |row: &Row| row.providers.iter().any(|(_, until)| *until <= now);
        let rows: Vec<KBucketDistance> =
            self.kept.iter().filter(|(_, row)| stale(row)).map(|(distance, _)| *distance).collect();
        for at in rows {
            self.drop_expired(at, now);
        }
    }
}

pub(super) fn record_key(key: &ProviderKey) -> RecordKey {
    RecordKey::new(key)
}

pub(super) fn provider_key(key: &RecordKey) -> Option<ProviderKey> {
    key.as_ref().try_into().ok()
}

/// libp2p tells of nobody without an address. This one leads nowhere: how a provider is reached, its own signed record says,
/// and nobody is sent to knock at the addresses of others.
fn nowhere(peer: PeerId) -> Multiaddr {
    Multiaddr::empty().with(Protocol::P2p(peer))
}

impl RecordStore for Shelf {
    type RecordsIter<'a> = <MemoryStore as RecordStore>::RecordsIter<'a>;
    type ProvidedIter<'a> = Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        self.records.put(record)
    }

    fn remove(&mut self, key: &RecordKey) {
        self.records.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.records.records()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let key = provider_key(&record.key).ok_or(Error::ValueTooLarge)?;
        let kept = if record.provider == self.local {
            self.provide(key)
        } else {
            let provider = address::from_libp2p(&record.provider).ok_or(Error::ValueTooLarge)?;
            self.keep(key, provider, Instant::now())
        };
        kept.then_some(()).ok_or(Error::MaxProvidedKeys)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let Some(wanted) = provider_key(key) else { return Vec::new() };
        let now = Instant::now();
        let record = |peer: PeerId| ProviderRecord::new(key.clone(), peer, vec![nowhere(peer)]);
        let kept = self.kept.get(&self.distance(&wanted)).map_or(&[][..], |row| &row.providers);
        let others = kept.iter().filter(|(_, until)| *until > now).map(|(peer, _)| address::to_libp2p(*peer));
        let own = self.own.contains(&wanted).then_some(self.local);
        own.into_iter().chain(others).map(record).collect()
    }

    /// For libp2p's own renewing, which this node does itself.
    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Some(key) = provider_key(key) else { return };
        if *provider == self.local {
            self.own.remove(&key);
        } else if let Some(provider) = address::from_libp2p(provider) {
            self.retain(self.distance(&key), |(peer, _)| *peer != provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (Shelf, Instant) {
        (Shelf::new(address::to_libp2p(peer(u32::MAX)), MemoryStoreConfig::default()), Instant::now())
    }

    fn key(n: u32) -> ProviderKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn peer(n: u32) -> KithId {
        KithId::from_public_key(key(n))
    }

    fn told(shelf: &Shelf, n: u32) -> Vec<KithId> {
        let records = shelf.providers(&record_key(&key(n)));
        assert!(records.iter().all(|record| !record.addresses.is_empty()), "libp2p would keep it to itself");
        records.iter().filter_map(|record| address::from_libp2p(&record.provider)).collect()
    }

    #[test]
    fn who_has_something_is_told_until_it_expires_or_is_taken_back() {
        let (mut shelf, now) = shelf();
        assert!(shelf.keep(key(1), peer(7), now) && shelf.keep(key(1), peer(7), now) && shelf.provide(key(1)));
        assert_eq!(told(&shelf, 1).len(), 2, "the other one, and this node");
        let local = shelf.local;
        shelf.remove_provider(&record_key(&key(1)), &local);
        assert_eq!(told(&shelf, 1), [peer(7)]);
        shelf.remove_provider(&record_key(&key(1)), &address::to_libp2p(peer(7)));
        assert_eq!((told(&shelf, 1).len(), shelf.count, shelf.by_peer.len(), shelf.kept.len()), (0, 0, 0, 0));
        let long_ago = now.checked_sub(VALID).expect("this machine is up for longer, or time begins before");
        shelf.keep(key(2), peer(7), long_ago);
        assert!(told(&shelf, 2).is_empty());
    }

    #[test]
    fn one_peer_gets_no_more_than_its_share_and_gets_it_back_with_time() {
        let (mut shelf, now) = shelf();
        let flood = u32::try_from(MAX_OF_ONE).expect("it is small") + 100;
        assert_eq!((0..flood).filter(|n| shelf.keep(key(*n), peer(1), now)).count(), MAX_OF_ONE);
        assert!(shelf.keep(key(flood), peer(2), now), "another has room");
        assert!(!shelf.keep(key(flood), peer(1), now));
        let later = now + VALID;
        assert!(shelf.keep(key(flood), peer(1), later) && shelf.count == 1, "{}", shelf.count);
    }

    #[test]
    fn a_full_shelf_keeps_what_is_near() {
        let (mut shelf, now) = shelf();
        let total = u32::try_from(MAX_KEPT).expect("it is small") + 1_000;
        let kept = (0..total).filter(|n| shelf.keep(key(*n), peer(n / 1_000), now)).count();
        assert!(kept > MAX_KEPT, "nearer ones have come since");
        assert_eq!((shelf.count, shelf.kept.len()), (MAX_KEPT, MAX_KEPT));
        let nearest = (0..total).min_by_key(|n| shelf.distance(&key(*n))).expect("there are some");
        assert_eq!(told(&shelf, nearest).len(), 1);
        assert_eq!(shelf.by_peer.values().sum::<usize>(), MAX_KEPT);
    }

    #[test]
    fn one_key_has_a_bounded_number_of_providers() {
        let (mut shelf, now) = shelf();
        assert_eq!((0..100).filter(|n| shelf.keep(key(1), peer(*n), now)).count(), MAX_UNDER_KEY);
        assert!(shelf.keep(key(1), peer(100), now + VALID), "those before have expired");
    }

    #[test]
    fn a_key_that_is_none_is_not_kept() {
        let (mut shelf, _) = shelf();
        let record = ProviderRecord::new(RecordKey::new(b"short"), PeerId::random(), Vec::new());
        assert!(shelf.add_provider(record).is_err() && shelf.providers(&RecordKey::new(b"short")).is_empty());
    }
}
