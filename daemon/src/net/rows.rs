//! The list of peers that people see: connected ones first, then those that are known, dialed or blocked.

use std::collections::BTreeMap;

use kith_common::node::{PeerInfo, PeerStatus};
use libp2p::{Multiaddr, PeerId};

use super::address;
use super::book::{Known, MAX_ADDRESSES};
use super::task::Task;

impl Task {
    /// Connected peers, longest connected first; then the others, as the routing table, the book and the block list
    /// have them, last seen first.
    pub(super) fn rows(&mut self) -> Vec<PeerInfo> {
        let connected = self.table.iter().filter_map(|(id, peer)| {
            let mut row = peer.row(address::from_libp2p(id)?)?;
            if self.blocks.contains(id) {
                row.status = PeerStatus::Blocked;
            }
            Some(row)
        });
        let mut rows: Vec<PeerInfo> = connected.collect();
        rows.sort_by_key(|row| (row.connected_since_unix_ms, row.peer_id));
        let mut others = self.routing_table();
        for peer in self.book.peers().chain(self.blocks.peers()) {
            others.entry(*peer).or_default();
        }
        let own = *self.swarm.local_peer_id();
        let absent = others.into_iter().filter(|(id, _)| self.table.get(id).is_none() && *id != own);
        let mut absent: Vec<PeerInfo> = absent.filter_map(|(id, routed)| self.absent_row(&id, routed)).collect();
        absent.sort_by_key(|row| (std::cmp::Reverse(row.last_seen_unix_ms), row.peer_id));
        rows.extend(absent);
        rows
    }

    fn absent_row(&self, id: &PeerId, routed: Vec<Multiaddr>) -> Option<PeerInfo> {
        let Known { mut name, last_seen_unix_ms, addresses } = self.book.get(id).unwrap_or_default();
        let status = match self.blocks.name(id) {
            Some(blocked_as) => {
                if name.is_empty() {
                    blocked_as.clone_into(&mut name);
                }
                PeerStatus::Blocked
            }
            None if self.is_dialing(id) => PeerStatus::Dialing,
            None => PeerStatus::Known,
        };
        let mut shown: Vec<String> = Vec::new();
        for address in addresses.into_iter().chain(routed) {
            let text = address::without_peer(address).to_string();
            if shown.len() < MAX_ADDRESSES && !shown.contains(&text) {
                shown.push(text);
            }
        }
        let row = PeerInfo::new(address::from_libp2p(id)?, status);
        Some(PeerInfo { name, addresses: shown, last_seen_unix_ms, ..row })
    }

    fn routing_table(&mut self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut known = BTreeMap::new();
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            for entry in bucket.iter() {
                known.insert(*entry.node.key.preimage(), entry.node.value.iter().cloned().collect());
            }
        }
        known
    }
}
