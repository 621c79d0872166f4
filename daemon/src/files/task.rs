//! The task that owns the transfers, the offers and the copies: does what users and peers ask for, and tells both how it
//! stands.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::contact::Trust;
use kith_common::failure::Failure;
use kith_common::file::{
    ContentKind, FileHash, FileKind, FileSettings, FileTicket, FilesState, Kept, MAX_TRANSFERS, Offer, ShareScope,
    ShareState, Transfer,
};
use kith_common::ids::PeerId;
use kith_core::transfer::Allowance;
use kith_store::{OfferRow, ShareRow};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::Instrument as _;

use super::FilesParts;
use super::adding::Desk;
use super::check::{self, name_of, provider_key};
use super::errands::{self, About, Visit};
use super::fetch::{Context, Outcome};
use super::handle::ticket;
use super::keeper::{DISK_WITHIN, Keeper};
use super::library::{Library, Noticed, Places};
use super::ports::Network;
use super::serve::{self, Serving, Wish};
use super::source::Bench;
use super::transfers::{NewTransfer, Transfers, Wanted};
use super::wire::Verdict;
use crate::net::{FilesStream, MAX_PROVIDED};

/// What clients see is renewed this often while something moves, and this often while transfers wait or peers may ask.
const SHOW_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Streams of peers that are served at a time: each may hold a few units.
const MAX_SERVED: usize = 128;
/// What is noticed of shares, and wishes of peers, which wait for this task.
const QUEUE: usize = 64;
/// Offers that wait for their user, in all and of one contact.
const MAX_OFFERS: u32 = 500;
const MAX_OFFERS_OF_PEER: u32 = 50;
/// Transfers of one contact that began without asking, and are not done: what comes beyond them is an offer. Each may take
/// what is allowed for one.
pub(super) const MAX_UNASKED_OF_PEER: usize = 32;
/// A peer is visited again: when copies are on their way to it, when it could not be reached, when all was said.
const SOON: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(60);
/// Peers that are visited at a time.
const MAX_VISITS: usize = 8;
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
    offers: Vec<OfferRow>,
    settings: watch::Sender<FileSettings>,
    incoming: Option<mpsc::Receiver<FilesStream>>,
    wishes: mpsc::Receiver<(PeerId, Wish)>,
    noticed: mpsc::Receiver<Noticed>,
    served: JoinSet<()>,
    visits: JoinSet<(PeerId, Visit)>,
    /// Whom there is something to say to, and when they are to be visited.
    to_visit: BTreeMap<PeerId, Instant>,
    /// Of those who keep copies, who was away: to be asked whether they have them still.
    to_check: BTreeSet<PeerId>,
    /// Since when.
    visiting: BTreeMap<PeerId, Instant>,
    /// Connected peers that exchange files.
    offering: BTreeSet<PeerId>,
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
        let (offers, shares) = context.db.read(|store| Ok((store.offers()?, store.count_shares()?))).await?;
        let task = Self {
            transfers: Transfers::load(context.clone(), chosen.at_once).await?,
            keeper: Keeper::load(context.clone()).await?,
            context,
            serving: Arc::clone(&serving),
            desk,
            offers,
            settings,
            incoming,
            wishes,
            noticed,
            served: JoinSet::new(),
            visits: JoinSet::new(),
            to_visit: BTreeMap::new(),
            to_check: BTreeSet::new(),
            visiting: BTreeMap::new(),
            offering: BTreeSet::new(),
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
            self.visit_some();
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
                Some(visited) = self.visits.join_next() => match visited {
                    Ok((peer, how)) => self.visited(peer, how).await,
                    Err(error) => {
                        tracing::error!(%error, "a visit to a peer has ended in a panic");
                        self.visiting.clear();
                    }
                },
                Some(served) = self.served.join_next() => if let Err(error) = served {
                    tracing::error!(%error, "a stream of files has ended in a panic");
                },
                Ok(()) = peers.changed() => {
                    let rows = Arc::clone(&peers.borrow_and_update());
                    let there = rows.iter().filter(|row| row.connected && row.services.iter().any(|name| name == "files"));
                    let offering: BTreeSet<PeerId> = there.map(|row| row.peer_id).collect();
                    let new: BTreeSet<PeerId> = offering.difference(&self.offering).copied().collect();
                    self.offering = offering;
                    self.appeared(new).await;
                }
                () = at(wake) => {}
            }
        }
    }

    /// When something is due without anything happening.
    fn wake(&self) -> Option<Instant> {
        let free = self.visits.len() < MAX_VISITS;
        let due = self.to_visit.iter().filter(|(peer, _)| free && self.may_visit(peer)).map(|(_, due)| *due);
        due.chain(self.show_at()).min()
    }

    fn show_at(&self) -> Option<Instant> {
        let uploading = || !self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if self.dirty || self.transfers.is_moving() || self.keeper.is_moving() || uploading() {
            return Some(self.shown_at + SHOW_EVERY);
        }
        let waiting = self.transfers.is_waiting() || self.keeper.is_waiting() || !self.served.is_empty();
        waiting.then_some(self.shown_at + LOOK_EVERY)
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
                let taken = self.context.db.write(move |store| store.take_offer(id)).await;
                self.offers.retain(|offer| offer.id != id);
                self.answer_shown(reply, taken.and_then(|offer| offer.map(|_| ()).ok_or_else(|| check::no_offer(id))));
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
        // Nobody who has asked for something waits to see it.
        if self.shown_at.elapsed() >= SHOW_EVERY {
            self.show().await;
        }
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

    // ---- peers

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

    /// A contact would like this node to have something.
    async fn offered(&mut self, peer: PeerId, text: &str, files: u32) -> Result<Verdict, Failure> {
        let refused = |why: &str| Ok(Verdict::Refused(why.to_owned()));
        let contact = {
            let people = self.context.people.borrow();
            people.contacts.iter().find(|contact| contact.peer_id == peer && !contact.blocked).cloned()
        };
        let Some(contact) = contact else { return refused("This node takes offers of its contacts only.") };
        if contact.files == Trust::Never {
            return refused("This node takes no files of yours.");
        }
        let Ok(ticket) = text.parse::<FileTicket>() else { return refused("The ticket makes no sense.") };
        if ticket.peer != peer {
            return refused("The ticket is somebody else's.");
        }
        let hash = ticket.hash;
        let shared = self.context.db.read(move |store| store.share(hash)).await?.is_some();
        if shared || self.transfers.has(hash).is_some() {
            return Ok(Verdict::Agreed { held_bytes: 0 });
        }
        let many = self.transfers.unasked_of(peer) >= MAX_UNASKED_OF_PEER;
        if contact.files == Trust::Always && !many && self.wants_unasked(&ticket) {
            let folder = self.settings.borrow().folder.clone();
            // A folder that cannot be written to is a matter for the user, as a disk is that does not answer: then it is an offer.
            if matches!(timeout(DISK_WITHIN, check::folder(&folder)).await, Ok(Ok(()))) {
                let new = NewTransfer {
                    hash,
                    kind: ticket.kind,
                    name: kith_content::safe_name(&ticket.name),
                    folder,
                    folder_chosen: false,
                    name_chosen: false,
                    wanted: Wanted::unasked(&ticket),
                };
                self.transfers.begin(new).await?;
                return Ok(Verdict::Agreed { held_bytes: 0 });
            }
        }
        let row = OfferRow { id: 0, peer, hash, ticket: text.to_owned(), files, received_unix_ms: unix_ms() };
        let put = self.context.db.write(move |store| store.put_offer(&row, MAX_OFFERS, MAX_OFFERS_OF_PEER)).await?;
        let Some(row) = put else { return refused("Too many offers wait there already.") };
        self.offers.retain(|offer| offer.id != row.id);
        self.offers.insert(0, row);
        Ok(Verdict::Noted { held_bytes: 0 })
    }

    fn wants_unasked(&self, ticket: &FileTicket) -> bool {
        let settings = self.settings.borrow();
        let kind = match ticket.kind {
            FileKind::File => kith_content::content_kind(&ticket.name),
            FileKind::Folder => ContentKind::Folder,
        };
        ticket.size_bytes <= settings.unasked_bytes && settings.unasked_kinds.contains(&kind)
    }

    // ---- what is shared

    /// What was shared before this start.
    async fn load_shares(&mut self) {
        let most = u32::try_from(MAX_PROVIDED).unwrap_or(u32::MAX);
        match self.context.db.read(move |store| store.public_shares(most)).await {
            Ok(public) => {
                // The newest are told first, and so they come last.
                for hash in self.keeper.whole().chain(public.into_iter().rev()).collect::<Vec<_>>() {
                    self.provide(hash).await;
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up what is shared"),
        }
        self.look_whom_to_visit().await;
    }

    async fn share_changed(&mut self, hash: FileHash) {
        self.dirty = true;
        self.revision += 1;
        let looking = self.context.db.read(move |store| {
            let unwanted = !store.unwanted_copies()?.is_empty();
            Ok((store.count_shares()?, store.share(hash)?, unwanted))
        });
        match looking.await {
            Ok((shares, share, unwanted)) => {
                self.shares = shares;
                // What is for nobody in particular is no reason to visit anybody.
                let concerns = |share: &ShareRow| !share.peers.is_empty() || !share.copies.is_empty();
                let visits = unwanted || share.as_ref().is_some_and(concerns);
                let public =
                    |share: &ShareRow| share.scope == ShareScope::Anyone && share.state == ShareState::Available;
                if share.is_some_and(|share| public(&share)) {
                    self.provide(hash).await;
                } else {
                    self.stop_providing(hash).await;
                }
                if visits {
                    self.look_whom_to_visit().await;
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up what is shared"),
        }
    }

    async fn look_whom_to_visit(&mut self) {
        match errands::to_visit(&self.context.db).await {
            Ok(peers) => {
                let now = Instant::now();
                self.to_visit =
                    peers.into_iter().chain(self.to_check.iter().copied()).map(|peer| (peer, now)).collect();
            }
            Err(failure) => tracing::warn!(%failure, "could not look up whom to tell of files"),
        }
    }

    async fn provide(&mut self, hash: FileHash) {
        if self.provided.insert(hash) {
            self.context.net.provide(provider_key(hash)).await;
        }
    }

    async fn stop_providing(&mut self, hash: FileHash) {
        if self.provided.remove(&hash) {
            self.context.net.stop_providing(provider_key(hash)).await;
        }
    }

    async fn stands(&mut self, share: FileHash, state: ShareState) {
        let noting = self.context.db.write(move |store| {
            let other = store.share(share)?.is_some_and(|share| share.state != state);
            if other {
                store.set_share_state(share, state)?;
            }
            Ok(other)
        });
        match noting.await {
            Ok(true) => {
                tracing::info!(%share, ?state, "a shared file is another than it was");
                self.serving.library.forget_open();
                self.share_changed(share).await;
            }
            Ok(false) => {}
            Err(failure) => tracing::warn!(%failure, "that a shared file has changed was not noted"),
        }
    }

    /// A copy that is kept here cannot be read.
    async fn lost(&mut self, id: FileHash) {
        self.dirty = true;
        self.keeper.handle_lost(id).await;
        self.stop_providing(id).await;
        self.serving.library.forget_open();
    }

    // ---- visits

    fn may_visit(&self, peer: &PeerId) -> bool {
        self.offering.contains(peer) && !self.visiting.contains_key(peer)
    }

    /// Peers are there that were not, or not for files.
    async fn appeared(&mut self, new: BTreeSet<PeerId>) {
        if new.is_empty() {
            return;
        }
        match self.context.db.read(|store| store.keepers()).await {
            Ok(keepers) => {
                for keeper in keepers.into_iter().filter(|keeper| new.contains(keeper)) {
                    self.to_check.insert(keeper);
                    self.to_visit.insert(keeper, Instant::now());
                }
            }
            Err(failure) => tracing::warn!(%failure, "could not look up who keeps copies"),
        }
        for peer in new {
            if let Some(due) = self.to_visit.get_mut(&peer) {
                *due = Instant::now();
            }
        }
    }

    fn visit_some(&mut self) {
        let now = Instant::now();
        let due: Vec<PeerId> = self
            .to_visit
            .iter()
            .filter(|(peer, due)| **due <= now && self.may_visit(peer))
            .map(|(peer, _)| *peer)
            .take(MAX_VISITS.saturating_sub(self.visits.len()))
            .collect();
        for peer in due {
            self.visiting.insert(peer, Instant::now());
            let (net, desk) = (self.context.net.clone(), Arc::clone(&self.desk));
            let about = if self.to_check.contains(&peer) { About::Everything } else { About::News };
            let identity = net.identity();
            let ticket = move |share: &ShareRow| ticket(share, &identity.borrow());
            self.visits.spawn(async move { (peer, errands::visit(net, desk, peer, about, ticket).await) });
        }
    }

    async fn visited(&mut self, peer: PeerId, how: Visit) {
        let began = self.visiting.remove(&peer);
        self.revision += 1;
        self.dirty = true;
        if how != Visit::Failed {
            self.to_check.remove(&peer);
        }
        let left = errands::to_visit(&self.context.db).await.unwrap_or_default();
        if !left.contains(&peer) && !self.to_check.contains(&peer) {
            self.to_visit.remove(&peer);
            return;
        }
        // What has come up during the visit was not said in it.
        let more = how == Visit::Over && self.to_visit.get(&peer) > began.as_ref();
        let pause = match how {
            Visit::Over if more => Duration::ZERO,
            Visit::Again => SOON,
            Visit::Over | Visit::Failed => LATER,
        };
        self.to_visit.insert(peer, Instant::now() + pause);
    }

    // ---- what clients see

    async fn show(&mut self) {
        self.shown_at = Instant::now();
        self.transfers.start_some();
        self.keeper.start_some();
        self.transfers.save_some().await;
        self.save_sent().await;
        self.publish();
        self.dirty = false;
    }

    fn publish(&self) {
        let state = self.snapshot();
        self.state.send_if_modified(|before| {
            let changed = **before != state;
            *before = Arc::new(state);
            changed
        });
    }

    /// Whoever looks once it has the answer sees what it says: an older state would say that nothing had come of it.
    fn answer_shown<T>(&self, reply: Reply<T>, outcome: Result<T, Failure>) {
        if outcome.is_ok() {
            self.publish();
        }
        answer(reply, outcome);
    }

    async fn save_sent(&mut self) {
        let sent = self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).take_sent();
        if sent.is_empty() {
            return;
        }
        let written = self
            .context
            .db
            .write(move |store| sent.into_iter().try_for_each(|(share, bytes)| store.add_sent(share, bytes)));
        if let Err(failure) = written.await {
            tracing::warn!(%failure, "what was sent was not noted");
        }
    }

    fn snapshot(&self) -> FilesState {
        let people = self.context.people.borrow();
        let mut uploads = self.serving.uploads.lock().unwrap_or_else(PoisonError::into_inner).rows(Instant::now());
        for upload in &mut uploads {
            upload.name = name_of(&people, upload.peer);
        }
        let offer = |row: &OfferRow| {
            let ticket: FileTicket = row.ticket.parse().ok()?;
            Some(Offer {
                id: row.id,
                peer: row.peer,
                name: name_of(&people, row.peer),
                hash: row.hash,
                file_name: ticket.name,
                kind: ticket.kind,
                size_bytes: ticket.size_bytes,
                files: row.files,
                received_unix_ms: row.received_unix_ms,
            })
        };
        FilesState {
            transfers: self.transfers.all(MAX_TRANSFERS),
            offers: self.offers.iter().filter_map(offer).collect(),
            uploads,
            shares_revision: self.revision,
            shares: self.shares,
            kept_bytes: self.keeper.bytes(),
        }
    }

    async fn close(&mut self) {
        self.visits.abort_all();
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
