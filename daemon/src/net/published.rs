//! What the task tells the rest of the daemon: who is connected and how, the rows that people see, what lookups cost.
//!
//! Who is connected is told at once, peer by peer. Rows and standing are made of all peers together, known ones included,
//! which takes its time where there are hundreds; so they are made anew once after many changes, and what only measures
//! has changed is changed in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::ids::PeerId as KithId;
use kith_common::node::{Identity, PeerInfo};
use libp2p::PeerId;
use tokio::sync::watch;

use super::peers::Peer;
use super::standing::Standing;
use super::task::Task;
use super::{Lookups, PeerLink, address, ways};

/// Round trips change all the time, and so does what is heard of absent peers: rows are renewed at most this often for them.
const ROWS_INTERVAL: Duration = Duration::from_millis(500);
/// Making rows anew takes no more than this share of the time, however many peers come and go: one in so many.
const ROWS_SHARE: u32 = 50;
const MAX_REST: Duration = Duration::from_secs(1);

/// Where what the task knows is read.
pub(super) struct Published {
    pub identity: watch::Sender<Arc<Identity>>,
    pub rows: watch::Sender<Arc<Vec<PeerInfo>>>,
    pub links: watch::Sender<Links>,
    pub lookups: watch::Sender<Lookups>,
    pub standing: watch::Sender<Arc<Standing>>,
}

/// What [`super::Net`] answers from without asking the task.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub by_peer: BTreeMap<KithId, PeerLink>,
    /// Where each of them is connected from.
    from: BTreeMap<KithId, BTreeSet<IpAddr>>,
    /// How many are connected from each address.
    ips: BTreeMap<IpAddr, usize>,
}

impl Links {
    /// Is somebody connected from there?
    pub fn come_from(&self, ip: &IpAddr) -> bool {
        self.ips.contains_key(ip)
    }

    /// A peer's connections, or what it says of itself, have changed; `None`: it has gone.
    fn update(&mut self, id: KithId, peer: Option<&Peer>) {
        for ip in self.from.remove(&id).unwrap_or_default() {
            if let Some(others) = self.ips.get_mut(&ip).map(|count| *count - 1).filter(|others| *others > 0) {
                self.ips.insert(ip, others);
            } else {
                self.ips.remove(&ip);
            }
        }
        let Some((peer, link)) = peer.and_then(|peer| Some((peer, peer.link(id)?))) else {
            self.by_peer.remove(&id);
            return;
        };
        self.by_peer.insert(id, link);
        let remotes = peer.connections.iter().filter_map(|connection| address::socket(&connection.address));
        let from: BTreeSet<IpAddr> = remotes.map(|remote| remote.ip()).collect();
        for ip in &from {
            *self.ips.entry(*ip).or_default() += 1;
        }
        self.from.insert(id, from);
    }
}

/// How soon the rows must be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    /// What was measured of connected peers is old.
    Figures(Instant),
    /// All is, though nobody waits for it.
    Later(Instant),
    /// Somebody has come or gone.
    Now,
}

/// How old the rows are.
pub(super) struct Stale {
    due: Due,
    /// They are not made anew before.
    rested: Instant,
}

impl Stale {
    /// What was known before is shown from the first moment on.
    pub fn new() -> Self {
        Self { due: Due::Now, rested: Instant::now() }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.due {
            Due::No => None,
            Due::Figures(at) => Some(at),
            Due::Later(at) => Some(at.max(self.rested)),
            Due::Now => Some(self.rested),
        }
    }
}

impl Task {
    /// A connection to this peer has come or gone, or it has said hello.
    pub fn link_changed(&mut self, peer: &PeerId) {
        if let Some(id) = address::from_libp2p(peer) {
            self.published.links.send_modify(|links| links.update(id, self.table.get(peer)));
        }
        self.rows_changed();
    }

    /// Who is connected, dialed or blocked has changed.
    pub fn rows_changed(&mut self) {
        self.stale.due = Due::Now;
    }

    /// Something else in the rows, or this node's standing; it follows in a while.
    pub fn details_changed(&mut self) {
        self.stale.due = match self.stale.due {
            Due::No => Due::Later(Instant::now() + ROWS_INTERVAL),
            Due::Figures(at) => Due::Later(at),
            due => due,
        };
    }

    /// Something has been measured.
    pub fn figures_changed(&mut self) {
        if self.stale.due == Due::No {
            self.stale.due = Due::Figures(Instant::now() + ROWS_INTERVAL);
        }
    }

    /// Publishes what is due.
    pub fn publish(&mut self) {
        if self.stale.deadline().is_none_or(|at| Instant::now() < at) {
            return;
        }
        match self.stale.due {
            Due::Figures(_) => self.publish_figures(),
            _ => self.publish_rows(),
        }
    }

    /// Whoever gets an answer now finds in the rows what it is about.
    pub fn publish_now(&mut self) {
        if self.stale.due == Due::Now {
            self.publish_rows();
        }
    }

    fn publish_rows(&mut self) {
        let begun = Instant::now();
        let mut rows = self.rows();
        ways::merge(&mut rows, &self.datagrams.borrow());
        self.published.rows.send_replace(Arc::new(rows));
        self.publish_standing();
        let rest = (begun.elapsed() * ROWS_SHARE).min(MAX_REST);
        self.stale = Stale { due: Due::No, rested: Instant::now() + rest };
    }

    fn publish_figures(&mut self) {
        self.stale.due = Due::No;
        let measured = Arc::clone(&self.datagrams.borrow());
        self.published.rows.send_modify(|rows| {
            let rows = Arc::make_mut(rows);
            for row in rows.iter_mut().take_while(|row| row.connected) {
                if let Some(peer) = self.table.get(&address::to_libp2p(row.peer_id)) {
                    peer.put_figures(row);
                }
            }
            ways::merge(rows, &measured);
        });
    }

    /// A query about a peer is over, after so many requests.
    pub fn query_over(&self, requests: u32) {
        self.published.lookups.send_modify(|lookups| {
            lookups.queries += 1;
            lookups.requests += u64::from(requests);
        });
    }

    /// The record of a peer that was looked for is there, after so many requests.
    pub fn peer_found(&self, requests: u32) {
        self.published.lookups.send_modify(|lookups| {
            lookups.found += 1;
            lookups.requests_until_found += u64::from(requests);
        });
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::ConnectionId;

    use super::super::limits::Limits;
    use super::super::peers::Table;
    use super::*;

    #[test]
    fn an_address_is_known_as_long_as_somebody_is_connected_from_there() {
        let mut table = Table::new(Limits::default());
        let mut links = Links::default();
        let peers = [PeerId::random(), PeerId::random()];
        let ids = [1, 2].map(|n| KithId::from_public_key([n; 32]));
        let office: IpAddr = [192, 0, 2, 1].into();
        for (n, peer) in peers.iter().enumerate() {
            let address = format!("/ip4/192.0.2.1/tcp/{}", 1000 + n).parse().expect("a valid address");
            table.opened(*peer, ConnectionId::new_unchecked(n), address, Instant::now());
            links.update(ids[n], table.get(peer));
            links.update(ids[n], table.get(peer));
        }
        for (n, peer) in peers.iter().enumerate() {
            assert!(links.come_from(&office) && links.by_peer.contains_key(&ids[n]));
            table.closed(peer, ConnectionId::new_unchecked(n));
            links.update(ids[n], table.get(peer));
        }
        assert!(!links.come_from(&office) && links.by_peer.is_empty() && links.from.is_empty());
    }
}
