//! The task that owns the rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::node::{ServiceInfo, ServiceState};
use kith_core::listener::{Begin, Order, Status};
use tokio::sync::{mpsc, watch};

use super::rows::{Since, absent, row};
use super::{Carried, Name, Ordered, Settings};
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
    chat: OnOff,
    files: OnOff,
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
        carried: Carried,
        rows: watch::Sender<Arc<Vec<ServiceInfo>>>,
    ) -> Self {
        let (node, sockets) = (net.listener(), media.listeners());
        let (chat, files) = (OnOff::new(carried.chat), OnOff::new(carried.files));
        let since = Default::default();
        let mut task = Self { net, media, settings, node, sockets, chat, files, since, rows, offered };
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
            None if name == Name::Chat => self.chat.order(order),
            None if name == Name::Files => self.files.order(order),
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
                    Name::Chat => row(name, &self.chat.status, since, now),
                    Name::Files => row(name, &self.files.status, since, now),
                    Name::Broadcast => absent(name),
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

/// A service that the node's port carries. There is nothing that could be taken: it runs or does not.
struct OnOff {
    begin: watch::Sender<Begin>,
    status: Status,
}

impl OnOff {
    fn new(begin: watch::Sender<Begin>) -> Self {
        let status = without_port(*begin.borrow());
        Self { begin, status }
    }

    fn order(&mut self, order: Order) -> Status {
        let begin = if order == Order::Stop { Begin::Stopped } else { Begin::Running };
        if self.begin.send_replace(begin) != begin {
            self.status = without_port(begin);
        }
        self.status.clone()
    }
}

/// How it stands.
fn without_port(begin: Begin) -> Status {
    Status {
        state: match begin {
            Begin::Running => ServiceState::Listening,
            Begin::Stopped => ServiceState::Stopped,
        },
        port: 0,
        wanted_port: 0,
        since: Instant::now(),
        error: String::new(),
        suggestion: String::new(),
        next_try: None,
    }
}
