//! What the rest of the daemon holds: [`Files`]. Cheap to clone; the task ends with [`Files::shutdown`] or the last handle.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, AddProgress, FileHash, FileKind, FileSettings, FileTarget, FileTicket, FilesState, GetOptions, Kept,
    MAX_FILE_TICKET_ADDRESSES, SealedCopy, Share, ShareState, Transfer,
};
use kith_common::ids::PeerId;
use kith_common::node::Identity;
use kith_common::target::Target;
use kith_content::{ContentError, FileStat, FolderProgress};
use kith_store::{Database, PieceRow, ShareRow, ShareWord};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

use super::adding::{Desk, GiveUp};
use super::check::{self, absolute, name_of, no_share, stopped};
use super::clients::{self, Sink};
use super::fetch::Origin;
use super::library::{Places, blocking, stand};
use super::ports::Network;
use super::serve::Serving;
use super::task::{Command, Task};
use super::wanted::{NewTransfer, Wanted};
use super::wire::Status;
use super::{FilesParts, settings};
use crate::net::Net;

/// Commands that wait for the task; persons give them, so few.
const COMMANDS: usize = 32;

/// All files of this node.
#[derive(Clone)]
pub struct Files {
    own: PeerId,
    db: Database,
    people: watch::Receiver<Arc<People>>,
    identity: watch::Receiver<Arc<Identity>>,
    pub(super) desk: Arc<Desk>,
    serving: Arc<Serving>,
    settings: watch::Receiver<FileSettings>,
    downloads: PathBuf,
    state: watch::Receiver<Arc<FilesState>>,
    commands: mpsc::Sender<Command>,
}

impl Files {
    /// Goes on with what was under way.
    pub async fn start(net: Net, parts: FilesParts) -> Result<Self, Failure> {
        Self::start_with(net, parts).await
    }

    pub(super) async fn start_with<N: Network>(net: N, parts: FilesParts) -> Result<Self, Failure> {
        let places = Arc::new(Places::new(&parts.data_dir));
        prepare(&places).await?;
        let downloads = parts.downloads.clone().unwrap_or_else(settings::downloads);
        let fixed = parts.downloads.clone().filter(|_| parts.downloads_fixed);
        let chosen = settings::load(&parts.db, &downloads, fixed).await?;
        let (settings, chosen) = watch::channel(chosen);
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (publish, state) = watch::channel(Arc::default());
        let desk = Arc::new(Desk::new(parts.db.clone(), Arc::clone(&places), parts.data_dir.clone()));
        let (own, identity) = (net.peer_id(), net.identity());
        let (db, people) = (parts.db.clone(), parts.people.clone());
        let (task, serving) = Task::load(net, parts, places, Arc::clone(&desk), settings, publish).await?;
        tokio::spawn(task.run(inbox).instrument(tracing::info_span!("files")));
        Ok(Self { own, db, people, identity, desk, serving, settings: chosen, downloads, state, commands })
    }

    /// Transfers, offers and uploads; changes at most four times a second.
    pub fn state(&self) -> watch::Receiver<Arc<FilesState>> {
        self.state.clone()
    }

    /// Hashes a file or folder and shares it. Dropping this gives up, and leaves nothing.
    pub async fn add(
        &self,
        path: PathBuf,
        options: AddOptions,
        progress: watch::Sender<AddProgress>,
    ) -> Result<Share, Failure> {
        let path = absolute(path)?;
        let peers = self.named(&options.peers)?;
        let settings = self.settings.borrow().clone();
        let row = self.desk.add(path, &options, peers, &settings, progress).await?;
        self.shared(row).await
    }

    /// Shares what is written. Dropped before its end, nothing of it stays.
    pub async fn receive(&self, name: &str, options: AddOptions) -> Result<Receiving, Failure> {
        let peers = self.named(&options.peers)?;
        let settings = self.settings.borrow().clone();
        let name = if options.name.is_empty() { name } else { &options.name };
        let sink = Sink::new(&self.desk, name, settings).await?;
        Ok(Receiving { files: self.clone(), sink, options, peers })
    }

    /// Verified bytes of a file that is shared from here or was fetched. A length of 0: to the end.
    pub async fn read(&self, hash: FileHash, offset: u64, length: u64) -> Result<Reading, Failure> {
        let is_folder = self.db.read(move |store| {
            let shared = store.share(hash)?.map(|share| share.kind);
            let kind = if shared.is_some() { shared } else { store.fetched(hash)?.map(|row| row.kind) };
            Ok(kind == Some(FileKind::Folder))
        });
        if is_folder.await? {
            return Err(check::invalid("that is a folder, and only a file can be read")
                .advise(format!("Fetch it, or read its files one by one: kithctl files get {hash}")));
        }
        let library = &self.serving.library;
        let item = match library.open_own(hash).await {
            Ok(Some(item)) => item,
            Ok(None) => library.open_fetched(hash).await?.ok_or_else(|| {
                Failure::new(FailureKind::NotFound, format!("no file with the hash {hash} is here"))
                    .advise("Fetch it first: kithctl files get HASH")
            })?,
            Err(Status::Changed) => return Err(check::failure(&ContentError::Changed)),
            Err(Status::NotFound) => return Err(check::failure(&ContentError::Missing)),
            Err(_) => {
                return Err(Failure::new(FailureKind::Internal, "the file cannot be read now")
                    .advise("The log says why. Try again."));
            }
        };
        Ok(Reading(clients::read(item, offset, length)?))
    }

    /// The newest first, before that position (0: the newest), with each word in the name, the path, or the name of somebody
    /// it is shared with, or with that hash.
    pub async fn shares(&self, search: &str, before: u64, limit: u32) -> Result<Vec<Share>, Failure> {
        let people = Arc::clone(&self.people.borrow());
        let word = |text: &str| {
            let wanted = text.to_lowercase();
            let called = people.contacts.iter().filter(|contact| contact.name.to_lowercase().contains(&wanted));
            ShareWord { text: text.to_owned(), peers: called.map(|contact| contact.peer_id).collect() }
        };
        let words: Vec<ShareWord> = search.split_whitespace().map(word).collect();
        let rows = self.db.read(move |store| store.shares(&words, before, limit)).await?;
        // Of folders those that were not there: all of their files are looked at.
        let quick = |row: &ShareRow| row.kind == FileKind::File || row.state == ShareState::Missing;
        let rows = self.looked_at(rows, quick).await;
        Ok(rows.into_iter().map(|row| self.share(row)).collect())
    }

    /// Nobody gets it from here any more; the file itself stays.
    pub async fn remove(&self, hash: FileHash) -> Result<(), Failure> {
        let removed = self.db.write(move |store| {
            let Some(share) = store.share(hash)? else { return Ok(None) };
            let pieces = store.pieces(share.position)?;
            let sealed = store.sealed_pieces(share.position)?.unwrap_or_default();
            store.remove_share(hash)?;
            let hashes = pieces.iter().map(|piece| piece.hash).chain(sealed.iter().map(|part| part.hash));
            Ok(Some(hashes.collect::<Vec<_>>()))
        });
        let Some(hashes) = removed.await? else { return Err(no_share(hash)) };
        self.serving.library.forget_open();
        self.tell(Command::ShareChanged { hash }).await?;
        // A folder has many: nobody waits for it.
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move { desk.tidy_away(hashes).await });
        Ok(())
    }

    /// Begins a transfer, or goes on with the one that there is of this content.
    pub async fn get(&self, target: &str, options: GetOptions) -> Result<Transfer, Failure> {
        let target: FileTarget = target.parse().map_err(|error: kith_common::file::FileTargetError| {
            check::invalid(error.to_string()).advise("kithctl files add prints the hash and the ticket of a file.")
        })?;
        let ticket = match target {
            FileTarget::Ticket(ticket) => return self.fetch(ticket.hash, Some(*ticket), options).await,
            FileTarget::Hash(hash) => hash,
        };
        self.fetch(ticket, None, options).await
    }

    async fn fetch(
        &self,
        hash: FileHash,
        ticket: Option<FileTicket>,
        options: GetOptions,
    ) -> Result<Transfer, Failure> {
        let new = self.new_transfer(hash, ticket, options).await?;
        if let Some(done) = self.there_already(&new).await? {
            return Ok(done);
        }
        self.ask(|reply| Command::Get { new, reply }).await
    }

    async fn new_transfer(
        &self,
        hash: FileHash,
        ticket: Option<FileTicket>,
        options: GetOptions,
    ) -> Result<NewTransfer, Failure> {
        let from = check::peers(self.own, &self.people.borrow(), &options.from)?;
        if options.only_from && from.is_empty() {
            return Err(check::invalid("from certain peers only, and none is named").advise("Name one with --from."));
        }
        let (folder_chosen, name_chosen) = (options.folder.is_some(), !options.name.trim().is_empty());
        let folder = match options.folder {
            Some(folder) => absolute(folder)?,
            None => self.settings.borrow().folder.clone(),
        };
        check::folder(&folder).await?;
        let name = match (options.name.trim(), &ticket) {
            ("", Some(ticket)) if !ticket.name.is_empty() => kith_content::safe_name(&ticket.name),
            ("", _) => String::new(),
            (name, _) => kith_content::safe_name(name),
        };
        let kind = ticket.as_ref().map_or(FileKind::File, |ticket| ticket.kind);
        let wanted = Wanted::new(ticket.as_ref(), from, options.only_from);
        Ok(NewTransfer { hash, kind, name, folder, folder_chosen, name_chosen, wanted })
    }

    /// What was fetched into that folder before and is as it was. Dropping this gives up.
    async fn there_already(&self, new: &NewTransfer) -> Result<Option<Transfer>, Failure> {
        let hash = new.hash;
        let Some(row) = self.db.read(move |store| store.fetched(hash)).await? else { return Ok(None) };
        if row.saved.parent() != Some(new.folder.as_path()) {
            return Ok(None);
        }
        let (outboards, saved) = (self.desk.places.outboards.clone(), row.saved.clone());
        let _turn = self.desk.checking().await;
        let (_give_up, go_on) = GiveUp::new();
        // What is something else by now is verified by nobody.
        let making = self.desk.making().await;
        let same = blocking(move || {
            let found = match row.kind {
                FileKind::File if FileStat::at(&saved)?.size == row.size_bytes => {
                    let found = kith_content::add_file(&saved, &outboards, &mut |_| go_on())?.hash;
                    making.note(found);
                    found
                }
                FileKind::Folder => {
                    let mut follow = |progress: FolderProgress| {
                        progress.hashed.into_iter().for_each(|hash| making.note(hash));
                        // Known before the first file is hashed; until then it is 0.
                        match [0, row.size_bytes].contains(&progress.total_bytes) {
                            true => go_on(),
                            false => ControlFlow::Break(()),
                        }
                    };
                    kith_content::add_folder(&saved, &outboards, &mut follow)?.hash
                }
                FileKind::File => return Ok(false),
            };
            Ok(found == hash)
        });
        if !same.await.unwrap_or(false) {
            return Ok(None);
        }
        self.ask(|reply| Command::Shown { id: row.id, reply }).await.map(Some)
    }

    pub async fn pause(&self, id: u32) -> Result<Transfer, Failure> {
        self.ask(|reply| Command::Pause { id, reply }).await
    }

    pub async fn resume(&self, id: u32) -> Result<Transfer, Failure> {
        self.ask(|reply| Command::Resume { id, reply }).await
    }

    /// Before all others.
    pub async fn first(&self, id: u32) -> Result<Transfer, Failure> {
        self.ask(|reply| Command::First { id, reply }).await
    }

    /// Leaves the list. What is saved stays; what is not whole is deleted.
    pub async fn cancel(&self, id: u32) -> Result<(), Failure> {
        self.ask(|reply| Command::Cancel { id, reply }).await
    }

    pub async fn accept_offer(&self, id: u32, options: GetOptions) -> Result<Transfer, Failure> {
        let offers = self.db.read(|store| store.offers()).await?;
        let offer = offers.into_iter().find(|offer| offer.id == id).ok_or_else(|| check::no_offer(id))?;
        let ticket = offer.ticket.parse::<FileTicket>();
        let ticket = ticket.map_err(|error| check::invalid(format!("the offer cannot be used: {error}")))?;
        let transfer = self.fetch(offer.hash, Some(ticket), options).await?;
        self.ask(|reply| Command::ForgetOffer { id, reply }).await?;
        Ok(transfer)
    }

    pub async fn refuse_offer(&self, id: u32) -> Result<(), Failure> {
        self.ask(|reply| Command::ForgetOffer { id, reply }).await
    }

    /// Asks those contacts to keep a sealed copy, and no others.
    pub async fn keep(&self, hash: FileHash, contacts: &[String]) -> Result<Share, Failure> {
        let peers = self.named(contacts)?;
        let people = Arc::clone(&self.people.borrow());
        let is_contact = |peer: &PeerId| people.contacts.iter().any(|contact| contact.peer_id == *peer);
        if let Some(stranger) = peers.iter().find(|peer| !is_contact(peer)) {
            return Err(Failure::new(
                FailureKind::NotPermitted,
                format!("…{} is not among your contacts", stranger.short()),
            )
            .advise("Add it first: kithctl contacts add TICKET --name NAME"));
        }
        let known = self.db.read(move |store| store.share(hash)).await?;
        // It may be gone, or back where it was: whoever asks again has seen to that.
        let Some(now) = self.looked_at(known.into_iter().collect(), |_| true).await.pop() else {
            return Err(no_share(hash));
        };
        let wanted = self.db.write(move |store| {
            store.want_copies(hash, &peers)?;
            store.share(hash)
        });
        let Some(row) = wanted.await? else { return Err(no_share(hash)) };
        self.tell(Command::ShareChanged { hash }).await?;
        Ok(self.share(ShareRow { state: now.state, ..row }))
    }

    /// What this node keeps for others.
    pub async fn kept(&self) -> Result<Vec<Kept>, Failure> {
        self.ask(|reply| Command::Kept { reply }).await
    }

    pub async fn drop_kept(&self, hash: FileHash) -> Result<(), Failure> {
        self.ask(|reply| Command::DropKept { hash, reply }).await
    }

    #[allow(clippy::unused_async, reason = "asked like the others")]
    pub async fn settings(&self) -> Result<FileSettings, Failure> {
        Ok(self.settings.borrow().clone())
    }

    pub async fn set_settings(&self, new: FileSettings) -> Result<(), Failure> {
        let new = settings::save(&self.db, &self.downloads, new).await?;
        self.ask(|reply| Command::Settings { new, reply }).await
    }

    /// Does the task still answer? For the service manager's watchdog.
    pub async fn is_alive(&self) -> bool {
        self.ask(|reply| Command::Alive { reply }).await.is_ok()
    }

    /// Stops the transfers, and notes how far they are: they go on at the next start.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn tell(&self, command: Command) -> Result<(), Failure> {
        self.commands.send(command).await.map_err(|_| stopped())
    }

    fn named(&self, names: &[String]) -> Result<Vec<PeerId>, Failure> {
        let found = check::peers(self.own, &self.people.borrow(), names)?;
        Ok(found.into_iter().map(|origin: Origin| origin.peer).collect())
    }

    async fn shared(&self, row: ShareRow) -> Result<Share, Failure> {
        // One that was shared before may have been opened as it was.
        self.serving.library.forget_open();
        self.tell(Command::ShareChanged { hash: row.hash }).await?;
        Ok(self.share(row))
    }

    fn share(&self, row: ShareRow) -> Share {
        let ticket = ticket(&row, &self.identity.borrow());
        let people = Arc::clone(&self.people.borrow());
        Share {
            hash: row.hash,
            ticket,
            name: row.name,
            kind: row.kind,
            size_bytes: row.size_bytes,
            files: row.files,
            scope: row.scope,
            peers: row.peers,
            state: row.state,
            path: row.path.display().to_string(),
            added_unix_ms: row.added_unix_ms,
            sent_bytes: row.sent_bytes,
            copies: row
                .copies
                .into_iter()
                .map(|copy| SealedCopy {
                    peer: copy.peer,
                    name: name_of(&people, copy.peer),
                    held_bytes: copy.held_bytes,
                    state: copy.state,
                    reason: copy.reason,
                })
                .collect(),
            position: row.position,
        }
    }

    /// How some of them stand on the disk now. What has changed is noted, and nobody has to ask for it to find out.
    async fn looked_at(&self, mut rows: Vec<ShareRow>, which: impl Fn(&ShareRow) -> bool) -> Vec<ShareRow> {
        let files: Vec<u64> = rows.iter().filter(|row| !row.own_copy && which(row)).map(|row| row.position).collect();
        let pieces = self.db.read(move |store| {
            files.into_iter().map(|position| Ok((position, store.pieces(position)?))).collect::<Result<Vec<_>, _>>()
        });
        let Ok(pieces) = pieces.await else { return rows };
        let blobs = self.desk.places.blobs.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let state = |(position, pieces): (u64, Vec<PieceRow>)| (position, stand(&pieces, &blobs));
            pieces.into_iter().map(state).collect::<Vec<_>>()
        });
        let Ok(states) = looking.await else { return rows };
        for (position, state) in states {
            // What has changed stays so: it may be the content alone, which this does not look at.
            let differs = |row: &&mut ShareRow| {
                row.position == position && row.state != state && row.state != ShareState::Changed
            };
            let Some(row) = rows.iter_mut().find(differs) else {
                continue;
            };
            row.state = state;
            let _ = self.tell(Command::Stands { share: row.hash, state }).await;
        }
        rows
    }
}

/// The ticket of a share, with where this node is now.
pub(super) fn ticket(row: &ShareRow, identity: &Identity) -> String {
    let addresses = match identity.ticket.parse() {
        Ok(Target::Ticket(ticket)) => ticket.addresses,
        _ => Vec::new(),
    };
    let ticket = FileTicket {
        hash: row.hash,
        kind: row.kind,
        size_bytes: row.size_bytes,
        key: row.key.clone(),
        peer: identity.peer_id,
        name: row.name.clone(),
        addresses: addresses.into_iter().take(MAX_FILE_TICKET_ADDRESSES).collect(),
    };
    ticket.to_string()
}

/// Makes the folders, and removes what an earlier daemon has left half done.
async fn prepare(places: &Arc<Places>) -> Result<(), Failure> {
    let places = Arc::clone(places);
    let prepared = tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::DirBuilderExt as _;
        for folder in [&places.outboards, &places.blobs, &places.kept, &places.incoming] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        for folder in [&places.outboards, &places.blobs] {
            kith_content::remove_leftovers(folder)?;
        }
        for entry in std::fs::read_dir(&places.incoming)?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "client" || extension == "new") {
                std::fs::remove_file(path)?;
            }
        }
        std::io::Result::Ok(())
    });
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Internal, format!("the folders for files could not be made: {error}"))
            .advise("Look at the owner, the permissions and the room of the data directory.")
    };
    prepared.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// What a client writes, on its way into the store. Dropped before its end, nothing of it stays.
pub struct Receiving {
    files: Files,
    sink: Sink,
    options: AddOptions,
    peers: Vec<PeerId>,
}

impl Receiving {
    /// At most 1 MiB at once. Returns when there is room for more.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Failure> {
        self.sink.write(piece).await
    }

    /// That was all: it is shared.
    pub async fn done(self) -> Result<Share, Failure> {
        let Self { files, sink, options, peers } = self;
        let row = sink.done(&options, peers).await?;
        files.shared(row).await
    }
}

/// Verified bytes of a file, in order.
pub struct Reading(mpsc::Receiver<Result<Bytes, Failure>>);

impl Reading {
    /// `None`: that was all.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        self.0.recv().await
    }
}
