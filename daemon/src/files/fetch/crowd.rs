//! The streams of one transfer, each to one peer that has the content.

use std::collections::BTreeMap;
use std::sync::Arc;

use kith_common::ids::PeerId;
use kith_content::Partial;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::files::source::{self, Bench, NEWS, News, ORDERS, Order};
use crate::files::talk::Talk;

/// Names a stream within its transfer.
pub(super) type SourceId = u32;

struct Member {
    peer: PeerId,
    orders: mpsc::Sender<Order>,
    /// The peer is in a call.
    calling: bool,
}

pub(super) struct Crowd {
    members: BTreeMap<SourceId, Member>,
    tasks: JoinSet<()>,
    next: SourceId,
    sender: mpsc::Sender<(SourceId, News)>,
    pub news: mpsc::Receiver<(SourceId, News)>,
}

impl Crowd {
    pub fn new() -> Self {
        let (sender, news) = mpsc::channel(NEWS);
        Self { members: BTreeMap::new(), tasks: JoinSet::new(), next: 0, sender, news }
    }

    pub fn has(&self, peer: PeerId) -> bool {
        self.members.values().any(|member| member.peer == peer)
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn peer(&self, source: SourceId) -> Option<PeerId> {
        self.members.get(&source).map(|member| member.peer)
    }

    pub fn join(&mut self, talk: Talk, partial: Arc<Partial>, bench: Bench) -> SourceId {
        let id = self.next;
        self.next += 1;
        let (orders, inbox) = mpsc::channel(ORDERS);
        self.members.insert(id, Member { peer: talk.peer, orders, calling: false });
        let news = self.sender.clone();
        self.tasks.spawn(source::run(id, talk.stream, talk.next_id, partial, bench, inbox, news));
        id
    }

    /// Closes its stream. What it is writing to the disk is written still.
    pub fn leave(&mut self, source: SourceId) -> Option<PeerId> {
        self.members.remove(&source).map(|member| member.peer)
    }

    /// `false`: the stream takes no more orders, and is as good as gone.
    pub fn order(&self, source: SourceId, order: Order) -> bool {
        self.members.get(&source).is_some_and(|member| member.orders.try_send(order).is_ok())
    }

    pub fn set_calling(&mut self, source: SourceId, calling: bool) {
        if let Some(member) = self.members.get_mut(&source) {
            member.calling = calling;
        }
    }

    pub fn is_calling(&self) -> bool {
        self.members.values().any(|member| member.calling)
    }

    /// Tasks that have ended make room.
    pub fn tidy(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    /// Closes all streams, and waits until nobody writes any more.
    pub async fn close(mut self) {
        self.members.clear();
        // Nobody waits for a place in the queue of news.
        self.news.close();
        while self.tasks.join_next().await.is_some() {}
    }
}
