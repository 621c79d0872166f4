//! The task that owns the streams: opens those that [`Book`] asks for, takes those that come, and ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_core::chat::{Act, Book, Ended, LinkId};
use kith_core::listener::Begin;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep_until, timeout};
use tracing::Instrument as _;

use super::ChatParts;
use super::ledger::{self, Ledger};
use super::ports::Network;
use super::session::{self, Shared};
use crate::net::Stream;

/// Streams of strangers at once, each for a few seconds: enough to tell them that they are.
const MAX_STRANGERS: usize = 16;
/// The last words of all streams.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

pub(super) enum Command {
    Alive { reply: oneshot::Sender<()> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// What a task of this one has come to.
enum Event {
    Opened { peer: PeerId, stream: Result<Stream, Failure> },
    Dialled { peer: PeerId },
    Ended { peer: PeerId, link: LinkId, how: Ended },
}

pub(super) struct Task<N> {
    net: N,
    shared: Shared,
    incoming: Option<mpsc::Receiver<(PeerId, Stream)>>,
    book: Book,
    /// Dropping one ends its session.
    links: BTreeMap<PeerId, (LinkId, oneshot::Sender<()>)>,
    /// Sessions, and what is being opened and dialled.
    tasks: JoinSet<Event>,
    /// Connected peers that say that their service runs.
    offering: BTreeSet<PeerId>,
    mutual: BTreeSet<PeerId>,
}

impl<N: Network> Task<N> {
    pub fn new(net: N, parts: ChatParts) -> Self {
        let ChatParts { db, people, incoming, service, sealer } = parts;
        let own = net.peer_id();
        let (publish, ledger) = watch::channel(Arc::<Ledger>::default());
        tokio::spawn(ledger::keep(db.clone(), people, publish));
        Self {
            book: Book::new(own),
            net,
            shared: Shared { own, db, ledger, service, sealer },
            incoming,
            links: BTreeMap::new(),
            tasks: JoinSet::new(),
            offering: BTreeSet::new(),
            mutual: BTreeSet::new(),
        }
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut peers = self.net.peers();
        let mut ledger = self.shared.ledger.clone();
        let mut service = self.shared.service.clone();
        service.mark_changed();
        peers.mark_changed();
        // Until it is known who is a contact, nobody is told that it is none.
        let mut ready = false;
        loop {
            let now = Instant::now();
            while ready && let Some(act) = self.book.poll_action(now) {
                self.act(act);
            }
            let wake = self.book.poll_timeout().filter(|_| ready);
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Alive { reply }) => { let _ = reply.send(()); }
                    Some(Command::Shutdown { reply }) => {
                        self.close().await;
                        let _ = reply.send(());
                        return;
                    }
                    None => return self.close().await,
                },
                Ok(()) = service.changed() => {
                    // The sessions see it for themselves, and say so.
                    let on = *service.borrow_and_update() == Begin::Running;
                    self.book.handle_switch(on, Instant::now());
                }
                Ok(()) = peers.changed() => {
                    let rows = Arc::clone(&peers.borrow_and_update());
                    self.peers_changed(&rows);
                }
                Ok(()) = ledger.changed() => {
                    let ledger = Arc::clone(&ledger.borrow_and_update());
                    self.ledger_changed(&ledger);
                    ready = true;
                }
                arrived = next(&mut self.incoming), if ready => match arrived {
                    Some((peer, stream)) => self.take(peer, stream),
                    None => self.incoming = None,
                },
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.handle(event),
                    Err(error) => tracing::error!(%error, "a chat stream ended in a panic"),
                },
                () = at(wake) => {}
            }
        }
    }

    fn act(&mut self, act: Act) {
        let net = self.net.clone();
        match act {
            Act::Open(peer) => {
                self.tasks.spawn(async move { Event::Opened { peer, stream: net.open_chat(peer).await } });
            }
            Act::Dial(peer) => {
                self.tasks.spawn(async move {
                    if let Err(failure) = net.connect(peer).await {
                        tracing::debug!(%peer, %failure, "a member of a group is not reachable");
                    }
                    Event::Dialled { peer }
                });
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Opened { peer, stream: Ok(stream) } => self.begin(peer, stream),
            Event::Opened { peer, stream: Err(failure) } => {
                tracing::debug!(%peer, %failure, "no chat stream");
                let unsupported = failure.kind == FailureKind::Unsupported;
                self.book.handle_not_opened(peer, if unsupported { Ended::Unwelcome } else { Ended::Broken }, now);
            }
            Event::Dialled { peer } => self.book.handle_dialled(peer, now),
            Event::Ended { peer, link, how } => {
                if self.links.get(&peer).is_some_and(|(standing, _)| *standing == link) {
                    self.links.remove(&peer);
                }
                self.book.handle_ended(peer, link, how, now);
            }
        }
    }

    /// A stream that a peer has opened.
    fn take(&mut self, peer: PeerId, stream: Stream) {
        let ledger = self.shared.ledger.borrow().clone();
        if !ledger.knows(peer) && self.links.keys().filter(|peer| !ledger.knows(**peer)).count() >= MAX_STRANGERS {
            tracing::debug!(%peer, "too many strangers want to write: this one was not heard");
            return;
        }
        self.begin(peer, stream);
    }

    /// The newer stream stands.
    fn begin(&mut self, peer: PeerId, stream: Stream) {
        let link = self.book.handle_link(peer, Instant::now());
        let (cut, until_cut) = oneshot::channel();
        self.links.insert(peer, (link, cut));
        let session = session::run(self.shared.clone(), peer, stream, until_cut);
        let session = async move { Event::Ended { peer, link, how: session.await } };
        self.tasks.spawn(session.instrument(tracing::debug_span!("chat", %peer)));
    }

    fn peers_changed(&mut self, rows: &[PeerInfo]) {
        let now = Instant::now();
        let connected = rows.iter().filter(|row| row.connected);
        self.book.handle_connected(&connected.clone().map(|row| row.peer_id).collect(), now);
        let offers = |row: &&PeerInfo| row.services.iter().any(|service| service == "chat");
        let offering: BTreeSet<PeerId> = connected.filter(offers).map(|row| row.peer_id).collect();
        for peer in offering.difference(&self.offering) {
            self.book.handle_welcome(*peer, now);
        }
        self.offering = offering;
    }

    fn ledger_changed(&mut self, ledger: &Ledger) {
        let now = Instant::now();
        self.book.handle_people(&ledger.contacts, &ledger.members(), now);
        self.book.handle_owed(&ledger.owed, now);
        for peer in ledger.mutual.difference(&self.mutual) {
            self.book.handle_welcome(*peer, now);
        }
        self.mutual.clone_from(&ledger.mutual);
    }

    async fn close(&mut self) {
        self.links.clear();
        let _ = timeout(CLOSE_WITHIN, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}

async fn next(incoming: &mut Option<mpsc::Receiver<(PeerId, Stream)>>) -> Option<(PeerId, Stream)> {
    match incoming {
        Some(streams) => streams.recv().await,
        None => pending().await,
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => pending().await,
    }
}
