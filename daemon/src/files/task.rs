//! The task that owns the transfers, the offers and the copies: one loop that hears users, peers and whatever of its own
//! has ended, and hands each to the part that it concerns.

pub(super) mod offers;
mod shared;
mod shown;
mod visits;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::failure::Failure;
use kith_common::file::{FileHash, FileSettings, FilesState, Kept, ShareState, Transfer};
use kith_common::ids::PeerId;
use kith_core::transfer::Allowance;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::Instrument as _;

use super::FilesParts;
use super::adding::Desk;
use super::fetch::{Context, Outcome};
use super::keeper::Keeper;
use super::library::{Library, Noticed, Places};
use super::ports::Network;
use super::serve::{self, Serving, Wish};
use super::source::Bench;
use super::transfers::Transfers;
use super::wanted::NewTransfer;
use super::wire::Verdict;
use crate::net::FilesStream;
use offers::Offers;
use visits::Visits;

/// Streams of peers that are served at a time: each may hold a few units.
const MAX_SERVED: usize = 128;
/// What is noticed of shares, and wishes of peers, which wait for this task.
const QUEUE: usize = 64;
/// All transfers write down how far they are within this.
const CLOSE_WITHIN: Duration = Duration::from_millis(1500);

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

pub(super) enum Command {
    Get {
        new: NewTransfer,
        reply: Reply<Transfer>,
    },
    Shown {
        id: u32,
        reply: Reply<Transfer>,
    },
    Pause {
        id: u32,
        reply: Reply<Transfer>,
    },
    Resume {
        id: u32,
        reply: Reply<Transfer>,
    },
    First {
        id: u32,
        reply: Reply<Transfer>,
    },
    Cancel {
        id: u32,
        reply: Reply<()>,
    },
    ForgetOffer {
        id: u32,
        reply: Reply<()>,
    },
    Kept {
        reply: Reply<Vec<Kept>>,
    },
    DropKept {
        hash: FileHash,
        reply: Reply<()>,
    },
    Settings {
        new: FileSettings,
        reply: Reply<()>,
    },
    /// It was shared, withdrawn, or is to be kept by others.
    ShareChanged {
        hash: FileHash,
    },
    /// How a share is on the disk.
    Stands {
        share: FileHash,
        state: ShareState,
    },
    Alive {
        reply: Reply<()>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

pub(super) struct Task<N> {
    context: Context<N>,
    serving: Arc<Serving>,
    desk: Arc<Desk>,
    transfers: Transfers<N>,
    keeper: Keeper<N>,
    offers: Offers,
    settings: watch::Sender<FileSettings>,
    incoming: Option<mpsc::Receiver<FilesStream>>,
    wishes: mpsc::Receiver<(PeerId, Wish)>,
    noticed: mpsc::Receiver<Noticed>,
    served: JoinSet<()>,
    visits: Visits,
    /// What the DHT has been told.
    provided: BTreeSet<FileHash>,
    state: watch::Sender<Arc<FilesState>>,
    shares: u32,
    revision: u64,
    /// Something has changed that clients have not seen.
    dirty: bool,
    shown_at: Instant,
}

impl<N: Network> Task<N> {
    pub async fn load(
        net: N,
        parts: FilesParts,
        places: Arc<Places>,
        desk: Arc<Desk>,
        settings: watch::Sender<FileSettings>,
        state: watch::Sender<Arc<FilesState>>,
    ) -> Result<(Self, Arc<Serving>), Failure> {
        let FilesParts { db, people, incoming, service, in_call, .. } = parts;
        let (wish, wishes) = mpsc::channel(QUEUE);
        let (notice, noticed) = mpsc::channel(QUEUE);
        let library = Library::new(db.clone(), people.clone(), (*places).clone(), notice);
        let serving = Arc::new(Serving::new(library, wish, service, in_call.clone()));
        let chosen = settings.borrow().clone();
        let limit = Arc::new(Mutex::new(Allowance::new(None)));
        let context = Context { net, db, people, in_call, places, bench: Bench::default(), limit };
        let shares = context.db.read(|store| store.count_shares()).await?;
        let task = Self {
            transfers: Transfers::load(context.clone(), chosen.at_once).await?,
            keeper: Keeper::load(context.clone()).await?,
            offers: Offers::load(context.db.clone()).await?,
            context,
            serving: Arc::clone(&serving),
            desk,
            settings,
            incoming,
            wishes,
            noticed,
            served: JoinSet::new(),
            visits: Visits::default(),
            provided: BTreeSet::new(),
            state,
            shares,
            revision: 0,
            dirty: true,
            shown_at: Instant::now(),
        };
        task.limit(&chosen);
        Ok((task, serving))
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut peers = self.context.net.peers();
        peers.mark_changed();
        self.transfers.start_some();
        self.keeper.start_some();
        self.load_shares().await;
        loop {
            if self.show_at().is_some_and(|at| at <= Instant::now()) {
                self.show().await;
            }
            self.visits.start_some(&self.context.net, &self.desk);
            let wake = self.wake();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Shutdown { reply }) => {
                        self.close().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.handle(command).await,
                    None => return self.close().await,
                },
                Some((peer, wish)) = self.wishes.recv() => self.grant(peer, wish).await,
                Some(noticed) = self.noticed.recv() => match noticed {
                    Noticed::Share { share, state } => self.stands(share, state).await,
                    Noticed::Kept(id) => self.lost(id).await,
                },
                stream = next(&mut self.incoming) => match stream {
                    Some(stream) => self.serve(stream),
                    None => self.incoming = None,
                },
                (id, outcome) = self.transfers.ended() => self.ended(id, outcome).await,
                (id, ended) = self.keeper.ended() => {
                    if let Some(whole) = self.keeper.handle_ended(id, ended).await {
                        self.provide(whole).await;
                    }
                    self.dirty = true;
                }
                visited = self.visits.ended() => if let Some((peer, how)) = visited {
                    self.visits.handle_ended(peer, how, &self.context.db).await;
                    self.revision += 1;
                    self.dirty = true;
                },
                Some(served) = self.served.join_next() => if let Err(error) = served {
                    tracing::error!(%error, "a stream of files has ended in a panic");
                },
                Ok(()) = peers.changed() => {
                    let rows = Arc::clone(&peers.borrow_and_update());
                    let there = rows.iter().filter(|row| row.connected && row.services.iter().any(|name| name == "files"));
                    self.visits.set_offering(there.map(|row| row.peer_id).collect(), &self.context.db).await;
                }
                () = at(wake) => {}
            }
        }
    }

    /// When something is due without anything happening.
    fn wake(&self) -> Option<Instant> {
        self.visits.due().into_iter().chain(self.show_at()).min()
    }

    async fn handle(&mut self, command: Command) {
        self.dirty = true;
        match command {
            Command::Get { new, reply } => {
                let begun = self.transfers.begin(new).await;
                self.answer_shown(reply, begun);
            }
            Command::Shown { id, reply } => {
                let shown = self.transfers.shown_of(id);
                self.answer_shown(reply, shown);
            }
            Command::Pause { id, reply } => {
                let paused = self.transfers.pause(id).await;
                self.answer_shown(reply, paused);
            }
            Command::Resume { id, reply } => {
                let resumed = self.transfers.resume(id).await;
                self.answer_shown(reply, resumed);
            }
            Command::First { id, reply } => {
                let first = self.transfers.first(id).await;
                self.answer_shown(reply, first);
            }
            Command::Cancel { id, reply } => {
                let cancelled = self.transfers.cancel(id).await;
                if let Ok(Some(hash)) = &cancelled {
                    let (desk, hash) = (Arc::clone(&self.desk), *hash);
                    tokio::spawn(async move { desk.tidy_away(vec![hash]).await });
                }
                self.answer_shown(reply, cancelled.map(|_| ()));
            }
            Command::ForgetOffer { id, reply } => {
                let forgotten = self.offers.forget(id).await;
                self.answer_shown(reply, forgotten);
            }
            Command::Kept { reply } => answer(reply, Ok(self.keeper.list())),
            Command::DropKept { hash, reply } => {
                let dropped = self.keeper.drop_kept(hash).await;
                if let Ok(id) = &dropped {
                    self.stop_providing(*id).await;
                }
                self.serving.library.forget_open();
                answer(reply, dropped.map(|_| ()));
            }
            Command::Settings { new, reply } => {
                self.limit(&new);
                self.transfers.set_at_once(new.at_once);
                self.settings.send_replace(new);
                answer(reply, Ok(()));
            }
            Command::ShareChanged { hash } => self.share_changed(hash).await,
            Command::Stands { share, state } => self.stands(share, state).await,
            Command::Alive { reply } => answer(reply, Ok(())),
            // The caller's.
            Command::Shutdown { .. } => {}
        }
        self.show_soon().await;
    }

    fn limit(&self, settings: &FileSettings) {
        let rate = |bytes: u64| Some(bytes).filter(|bytes| *bytes > 0);
        let set = |limit: &Mutex<Allowance>, bytes| {
            limit.lock().unwrap_or_else(PoisonError::into_inner).set_rate(rate(bytes));
        };
        set(&self.context.limit, settings.download_bytes_per_second);
        set(&self.serving.limit, settings.upload_bytes_per_second);
    }

    async fn ended(&mut self, id: u32, outcome: Outcome) {
        self.transfers.handle_ended(id, outcome).await;
        self.dirty = true;
    }

    fn serve(&mut self, stream: FilesStream) {
        if self.served.len() >= MAX_SERVED {
            tracing::debug!(peer = %stream.peer, "too many streams of files: this one was not heard");
            return;
        }
        let span = tracing::debug_span!("serve", peer = %stream.peer);
        self.served.spawn(serve::run(Arc::clone(&self.serving), stream).instrument(span));
    }

    async fn grant(&mut self, peer: PeerId, wish: Wish) {
        self.dirty = true;
        match wish {
            Wish::Offer { ticket, files, reply } => {
                let verdict = self.offered(peer, &ticket, files).await;
                let verdict = verdict.unwrap_or_else(|failure| {
                    tracing::warn!(%failure, "an offer was not noted");
                    Verdict::Refused("It could not be noted.".to_owned())
                });
                let _ = reply.send(verdict);
            }
            Wish::Keep { keep, reply } => {
                let settings = self.settings.borrow().clone();
                let _ = reply.send(self.keeper.handle_wish(peer, keep, &settings).await);
            }
            Wish::Drop { id, reply } => {
                if let Some(id) = self.keeper.handle_drop(peer, id).await {
                    self.stop_providing(id).await;
                    self.serving.library.forget_open();
                }
                let _ = reply.send(());
            }
        }
    }

    async fn close(&mut self) {
        self.visits.close();
        self.served.abort_all();
        let closing = async { tokio::join!(self.transfers.close(), self.keeper.close()) };
        if timeout(CLOSE_WITHIN, closing).await.is_err() {
            tracing::warn!("transfers did not end in time: a little is fetched again after the next start");
        }
        self.save_sent().await;
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: Reply<T>, outcome: Result<T, Failure>) {
    let _ = reply.send(outcome);
}

async fn next(incoming: &mut Option<mpsc::Receiver<FilesStream>>) -> Option<FilesStream> {
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
