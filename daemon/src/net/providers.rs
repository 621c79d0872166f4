//! Who has what: tells the DHT what this node has and goes on telling it, asks it who has something, and keeps for others
//! what they have ([`super::shelf`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use kith_common::ids::PeerId as KithId;
use libp2p::{PeerId, kad};
use tokio::sync::oneshot;

use super::shelf::{provider_key, record_key};
use super::task::{Command, Task};
use super::{Net, address};

/// What something is looked for by. Whoever is near it in the DHT learns it, so what gives access must not follow from it:
/// not a hash, but something derived from the hash.
pub type ProviderKey = [u8; 32];

/// Keys of this node's own. Telling each once takes seven hours, less than [`RENEW_AFTER`].
pub const MAX_PROVIDED: usize = 100_000;
/// Peers that a search comes back with.
pub const MAX_FOUND: usize = 32;
/// The longest search: Kademlia's rounds in a large network, with nodes that do not answer among those asked.
pub const FIND_WITHIN: Duration = Duration::from_secs(10);

/// What others say holds for so long. A node that was off when it should have renewed has time to come back.
pub(super) const VALID: Duration = Duration::from_secs(26 * 60 * 60);
const RENEW_AFTER: Duration = Duration::from_secs(12 * 60 * 60);
/// Nobody took it.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Each key costs its nearest nodes a request: at first some at once, then so many a second.
pub(super) const TELL_BURST: u32 = 64;
pub(super) const TELL_PER_SECOND: u32 = 4;
const TELL_INTERVAL: Duration = Duration::from_millis(1000 / TELL_PER_SECOND as u64);
/// Keys that are being told at a time.
const MAX_TELLING: usize = 8;
/// Searches at a time.
const MAX_SEARCHES: usize = 32;
/// Once somebody was found, so much longer for others: who is found first is not who is near.
const GATHER: Duration = Duration::from_millis(500);

/// What is wanted of the task.
pub(super) enum Wanted {
    Provide(ProviderKey),
    Stop(ProviderKey),
    Find(ProviderKey, oneshot::Sender<Vec<KithId>>),
}

/// When an own key is told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It was never told.
    Fresh,
    At(Instant),
    Telling,
}

struct Search {
    query: kad::QueryId,
    found: BTreeSet<KithId>,
    until: Instant,
    reply: oneshot::Sender<Vec<KithId>>,
}

#[derive(Default)]
pub(super) struct Providers {
    own: BTreeMap<ProviderKey, Turn>,
    /// The newest last, and told first: somebody may wait for it.
    fresh: Vec<ProviderKey>,
    again: BTreeSet<(Instant, ProviderKey)>,
    telling: HashMap<kad::QueryId, ProviderKey>,
    /// When all keys told so far would have been told at the steady rate.
    spent_until: Option<Instant>,
    /// Nobody is known who could be told.
    lonely: bool,
    searches: Vec<Search>,
}

impl Providers {
    /// `false`: it is one of them already.
    fn add(&mut self, key: ProviderKey) -> bool {
        let new = !self.own.contains_key(&key);
        if new {
            self.own.insert(key, Turn::Fresh);
            self.fresh.push(key);
        }
        new
    }

    fn remove(&mut self, key: &ProviderKey) {
        match self.own.remove(key) {
            Some(Turn::Fresh) => self.fresh.retain(|fresh| fresh != key),
            Some(Turn::At(at)) => _ = self.again.remove(&(at, *key)),
            Some(Turn::Telling) | None => {}
        }
    }

    /// The next key to tell.
    fn poll(&mut self, now: Instant) -> Option<ProviderKey> {
        if self.lonely || self.telling.len() >= MAX_TELLING || self.free_at().is_some_and(|at| at > now) {
            return None;
        }
        let key = match self.fresh.pop() {
            Some(key) => key,
            None => {
                let (at, key) = self.again.first().copied().filter(|(at, _)| *at <= now)?;
                self.again.remove(&(at, key));
                key
            }
        };
        self.own.insert(key, Turn::Telling);
        self.spent_until = Some(self.spent_until.unwrap_or(now).max(now) + TELL_INTERVAL);
        Some(key)
    }

    fn free_at(&self) -> Option<Instant> {
        self.spent_until?.checked_sub(TELL_INTERVAL * (TELL_BURST - 1))
    }

    fn tell_at(&mut self, key: ProviderKey, at: Instant) {
        if let Some(turn) = self.own.get_mut(&key) {
            *turn = Turn::At(at);
            self.again.insert((at, key));
        }
    }

    /// The routing table has a new peer; one of few should have all that there is.
    pub fn newcomer(&mut self, one_of_few: bool, at: Instant) {
        self.lonely = false;
        if one_of_few {
            for (due, key) in std::mem::take(&mut self.again) {
                self.tell_at(key, due.min(at));
            }
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let tell = if self.lonely || self.telling.len() >= MAX_TELLING {
            None
        } else if self.fresh.is_empty() {
            self.again.first().map(|(at, _)| self.free_at().map_or(*at, |free| free.max(*at)))
        } else {
            // At once, when there is no pace to keep.
            Some(self.free_at().unwrap_or_else(Instant::now))
        };
        self.searches.iter().map(|search| search.until).chain(tell).min()
    }
}

impl Net {
    /// Says in the DHT that this node has something, and renews that until [`Self::stop_providing`] or the end. Returns
    /// before anybody has heard of it: many keys take their turn, the newest first. Of more than [`MAX_PROVIDED`], those
    /// that come last are not told.
    pub async fn provide(&self, key: ProviderKey) {
        // A network that is shut down tells nobody.
        let _ = self.commands.send(Command::Provider(Wanted::Provide(key))).await;
    }

    /// What others have been told they forget when it expires, after a day.
    pub async fn stop_providing(&self, key: ProviderKey) {
        let _ = self.commands.send(Command::Provider(Wanted::Stop(key))).await;
    }

    /// Peers that say they have it, at most [`MAX_FOUND`], this node not among them. They need not be connected, and need
    /// not have it. Ends soon after the first was found, and within [`FIND_WITHIN`]; empty when nobody was, or too many
    /// searches go on.
    pub async fn find_providers(&self, key: ProviderKey) -> Vec<KithId> {
        let (reply, found) = oneshot::channel();
        if self.commands.send(Command::Provider(Wanted::Find(key, reply))).await.is_err() {
            return Vec::new();
        }
        found.await.unwrap_or_default()
    }
}

impl Task {
    pub(super) fn provider_wanted(&mut self, wanted: Wanted) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        match wanted {
            Wanted::Provide(key) => {
                // Who asks this node finds it at once.
                if kad.store_mut().provide(key) {
                    self.providers.add(key);
                }
            }
            Wanted::Stop(key) => {
                kad.stop_providing(&record_key(&key));
                self.providers.remove(&key);
            }
            Wanted::Find(key, reply) => {
                self.providers.searches.retain(|search| !search.reply.is_closed());
                if self.providers.searches.len() >= MAX_SEARCHES {
                    return;
                }
                let query = kad.get_providers(record_key(&key));
                let until = Instant::now() + FIND_WITHIN;
                self.providers.searches.push(Search { query, found: BTreeSet::new(), until, reply });
            }
        }
    }

    pub(super) fn providers_due(&mut self, now: Instant) {
        let (over, wait): (Vec<_>, _) =
            std::mem::take(&mut self.providers.searches).into_iter().partition(|search| now >= search.until);
        self.providers.searches = wait;
        for search in over {
            self.end_search(search);
        }
        while let Some(key) = self.providers.poll(now) {
            let kad = &mut self.swarm.behaviour_mut().kad;
            if kad.kbuckets().next().is_none() {
                self.providers.lonely = true;
                self.providers.tell_at(key, now);
                return;
            }
            match kad.start_providing(record_key(&key)) {
                Ok(query) => _ = self.providers.telling.insert(query, key),
                Err(error) => {
                    tracing::debug!(%error, "the DHT is not told of something that this node has");
                    self.providers.tell_at(key, now + RENEW_AFTER);
                }
            }
        }
    }

    /// The DHT knows of it, or nobody took it.
    pub(super) fn provided_told(&mut self, query: kad::QueryId, taken: bool) {
        let Some(key) = self.providers.telling.remove(&query) else { return };
        self.providers.tell_at(key, Instant::now() + if taken { RENEW_AFTER } else { RETRY_AFTER });
    }

    pub(super) fn providers_found(&mut self, query: kad::QueryId, found: &HashSet<PeerId>) {
        let own = *self.swarm.local_peer_id();
        let Some(search) = self.providers.searches.iter_mut().find(|search| search.query == query) else { return };
        let usable = found.iter().filter(|peer| **peer != own && !self.blocks.contains(peer));
        search.found.extend(usable.filter_map(address::from_libp2p));
        if search.found.len() >= MAX_FOUND {
            search.until = Instant::now();
        } else if !search.found.is_empty() {
            search.until = search.until.min(Instant::now() + GATHER);
        }
    }

    /// A query has ended, perhaps that of a search.
    pub(super) fn search_over(&mut self, query: kad::QueryId) {
        if let Some(at) = self.providers.searches.iter().position(|search| search.query == query) {
            let search = self.providers.searches.swap_remove(at);
            self.end_search(search);
        }
    }

    fn end_search(&mut self, search: Search) {
        if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&search.query) {
            query.finish();
        }
        let _ = search.reply.send(search.found.into_iter().take(MAX_FOUND).collect());
    }

    /// A peer says that it has something. That it is the peer itself who says so, libp2p has checked.
    pub(super) fn keep_provided(&mut self, offered: &kad::ProviderRecord) {
        let now = Instant::now();
        let source = offered.provider;
        let (Some(peer), Some(key)) = (address::from_libp2p(&source), provider_key(&offered.key)) else {
            tracing::debug!(%source, "a provider record that is none is not kept");
            return;
        };
        if self.table.get_mut(&source).is_none_or(|entry| !entry.admit_provided(now)) {
            tracing::debug!(%source, "too many provider records: refused");
        } else if !self.swarm.behaviour_mut().kad.store_mut().keep(key, peer, now) {
            tracing::debug!(%source, "there is no room for a provider record");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> ProviderKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    /// Tells what is due, and says it was taken.
    fn tell(providers: &mut Providers, now: Instant) -> Vec<ProviderKey> {
        let mut told = Vec::new();
        while let Some(key) = providers.poll(now) {
            providers.tell_at(key, now + RENEW_AFTER);
            told.push(key);
        }
        told
    }

    #[test]
    fn many_keys_take_their_turn_and_the_newest_does_not_wait_for_the_others() {
        let (mut providers, start) = (Providers::default(), Instant::now());
        for n in 0..MAX_PROVIDED {
            assert!(providers.add(key(n)) && !providers.add(key(n)));
        }
        let mut now = start;
        let first = tell(&mut providers, now);
        assert_eq!((first.len(), first[0]), (TELL_BURST as usize, key(MAX_PROVIDED - 1)));
        now += Duration::from_secs(1);
        providers.add(key(MAX_PROVIDED));
        assert_eq!(tell(&mut providers, now)[0], key(MAX_PROVIDED), "just added");
        while !providers.fresh.is_empty() {
            now = providers.deadline().expect("there is more to tell");
            assert!(!tell(&mut providers, now).is_empty());
        }
        let took = now - start;
        assert!(took < RENEW_AFTER * 2 / 3, "{took:?}");
        assert!(tell(&mut providers, now + Duration::from_secs(60)).is_empty(), "all is told");
        assert_eq!(tell(&mut providers, start + RENEW_AFTER).len(), TELL_BURST as usize, "and renewed");
    }

    #[test]
    fn what_is_taken_back_is_told_no_more() {
        let (mut providers, now) = (Providers::default(), Instant::now());
        for n in 0..3 {
            providers.add(key(n));
        }
        providers.remove(&key(2));
        assert_eq!(tell(&mut providers, now), [key(1), key(0)]);
        providers.remove(&key(0));
        assert_eq!(tell(&mut providers, now + RENEW_AFTER), [key(1)]);
        providers.remove(&key(1));
        assert_eq!((providers.deadline(), providers.own.len()), (None, 0));
    }

    #[test]
    fn a_newcomer_among_few_is_told_soon_and_a_node_alone_waits_for_one() {
        let (mut providers, now) = (Providers::default(), Instant::now());
        providers.add(key(1));
        providers.lonely = true;
        assert_eq!((providers.poll(now), providers.deadline()), (None, None));
        let soon = now + Duration::from_secs(1);
        providers.newcomer(true, soon);
        assert_eq!(tell(&mut providers, now), [key(1)]);
        providers.newcomer(true, soon);
        assert_eq!(providers.deadline(), Some(soon));
        assert_eq!(tell(&mut providers, soon), [key(1)]);
        providers.newcomer(false, soon);
        assert!(tell(&mut providers, soon).is_empty(), "in a large network a few have it, and they have");
    }
}
