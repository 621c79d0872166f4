//! Who is in the DHT's routing table, and who stays connected because of it.
//!
//! When somebody new belongs into a full bucket, libp2p dials whoever of it has been away longest, to see whether that one
//! can go. Among some hundred nodes, most of which are connected to most others and know a part of them, that dial brings
//! somebody new to the other end, who belongs into a full bucket, and so on without end. So newcomers displace others
//! seldom; and where connections become too many, those that no table needs go first.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId, kad};

use super::limits::Bucket;
use super::task::Task;

/// Nodes that a bucket holds: Kademlia's k.
pub(super) const K: usize = kad::K_VALUE.get();
/// How often somebody new may displace another from a full bucket. Who has gone for good is replaced in time: a table has
/// some hundred entries, and lookups pass over those that do not answer.
const DISPLACE_BURST: u32 = 4;
const DISPLACE_PAUSE: Duration = Duration::from_secs(15);
/// Peers that stay connected. Beyond this the longest connected that nobody asked for goes.
const MAX_KEPT: usize = 128;

/// How often others may still be displaced.
pub(super) fn displacements() -> Bucket {
    Bucket::every(DISPLACE_BURST, DISPLACE_PAUSE, Instant::now())
}

impl Task {
    /// A peer that serves the DHT may be reached there.
    pub(super) fn routable(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) {
        if self.blocks.contains(&peer) {
            return;
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        let Some(bucket) = kad.kbucket(peer) else { return };
        let is_in = bucket.iter().any(|entry| entry.node.key.preimage() == &peer);
        if !is_in && bucket.num_entries() >= K {
            let away = bucket.iter().any(|entry| entry.status == kad::NodeStatus::Disconnected);
            if !away || bucket.has_pending() || !self.displacements.take(Instant::now()) {
                return;
            }
        }
        for address in addresses {
            kad.add_address(&peer, address);
        }
    }

    /// Closes one connection too many, if there are.
    pub(super) fn trim(&mut self) {
        if self.table.len() <= MAX_KEPT {
            return;
        }
        let buckets = self.swarm.behaviour_mut().kad.kbuckets();
        let routed: BTreeSet<PeerId> = buckets
            .flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>())
            .collect();
        let idle = self.table.iter().filter(|(_, peer)| !peer.wanted && !peer.is_relay && !peer.has_open_streams());
        let longest = idle.min_by_key(|(id, peer)| (routed.contains(*id), peer.since));
        if let Some(peer) = longest.map(|(id, _)| *id) {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}
