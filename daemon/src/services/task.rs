//! The task that owns the rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::node::{ServiceInfo, ServiceState};
use kith_core::listener::{Order, Status};
use tokio::sync::{mpsc, watch};

use super::rows::{Since, absent, row};
use super::{Name, Ordered, Settings};
use crate::media::{Media, MediaListeners};
use crate::net::Net;

/// How often a row is renewed that counts down to its next try.
const COUNT_DOWN: Duration = Duration::from_secs(1);

pub struct Task {
    net: Net,
    media: Media,
    settings: Settings,
    node: watch::Receiver<Status>,
    sockets: watch::Receiver<MediaListeners>,
    since: [Since; Name::ALL.len()],
    rows: watch::Sender<Arc<Vec<ServiceInfo>>>,
    offered: watch::Sender<Vec<String>>,
}

impl Task {
    pub fn new(
        net: Net,
        media: Media,
        settings: Settings,
        offered: watch::Sender<Vec<String>>,
        rows: watch::Sender<Arc<Vec<ServiceInfo>>>,
    ) -> Self {
        let (node, sockets) = (net.listener(), media.listeners());
        let mut task = Self { net, media, settings, node, sockets, since: Default::default(), rows, offered };
        task.publish();
        task
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Ordered>) {
        loop {
            let counting = self.rows.borrow().iter().any(|row| row.next_try_s > 0);
            tokio::select! {
                ordered = inbox.recv() => match ordered {
                    Some(Ordered { name, order, reply }) => {
                        let outcome = self.order(name, order).await;
                        // Whoever asked may have gone.
                        let _ = reply.send(outcome);
                    }
                    None => return,
                },
                // The areas below outlive this one; when they are gone, so is the daemon.
                changed = self.node.changed() => if changed.is_err() { return },
                changed = self.sockets.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(COUNT_DOWN), if counting => {}
            }
            self.publish();
        }
    }

    async fn order(&mut self, name: Name, order: Order) -> Result<ServiceInfo, Failure> {
        tracing::info!(service = name.text(), ?order, "a service is to change");
        let status = match name.calls() {
            Some(kind) => self.media.order(kind, order).await?,
            None => self.net.order_listener(order).await?,
        };
        let mut row = row(name, &status, &mut self.since[name as usize], Instant::now());
        // Done it is; that it will not be so after a restart is worth a word.
        if let Err(error) = self.settings.remember(name.text(), order) {
            tracing::warn!(%error, "a change of the services will be forgotten at the next start");
            row.suggestion = format!("this lasts until the next start only: {error}");
        }
        Ok(row)
    }

    fn publish(&mut self) {
        let now = Instant::now();
        let (node, sockets) = (self.node.borrow_and_update().clone(), self.sockets.borrow_and_update().clone());
        let rows: Vec<ServiceInfo> = Name::ALL
            .into_iter()
            .map(|name| {
                let since = &mut self.since[name as usize];
                match name {
                    Name::Node => row(name, &node, since, now),
                    Name::Video => row(name, &sockets.video, since, now),
                    Name::Audio => row(name, &sockets.audio, since, now),
                    Name::Chat | Name::Files | Name::Broadcast => absent(name),
                }
            })
            .collect();
        // The node's own port is no offer: whoever hears of this is connected already.
        let offers = |row: &&ServiceInfo| row.state == ServiceState::Listening && row.name != Name::Node.text();
        let offered: Vec<String> = rows.iter().filter(offers).map(|row| row.name.clone()).collect();
        self.offered.send_if_modified(|before| {
            let changed = *before != offered;
            *before = offered;
            changed
        });
        self.rows.send_if_modified(|before| {
            let changed = **before != rows;
            *before = Arc::new(rows);
            changed
        });
    }
}
