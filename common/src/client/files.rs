//! Files: what this node shares, what it fetches, and what others offer it.
//!
//! Paths are the daemon's, and absolute. Where daemon and client have no disk in common, [`Client::send_content`] and
//! [`Client::read_content`] carry the bytes.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::call::outcome;
use super::link::{Remote, no_daemon};
use super::{Client, Feed, feed, keep, thrown};
use crate::convert::{
    read_add_progress, read_file_settings, read_files_state, read_kept, read_outcome, read_piece, read_share_outcome,
    read_shares, read_transfer_outcome, write_add_options, write_file_settings, write_get_options, write_texts,
};
use crate::failure::{Failure, FailureKind};
use crate::file::{
    AddOptions, AddProgress, FileHash, FileSettings, FilesState, GetOptions, Kept, MAX_PIECE_BYTES, Share, Transfer,
};
use crate::file_capnp::{add_observer, byte_sink, content_sink, files_observer};
use crate::kith_capnp::node;

/// What a request with an outcome in the domain's types gets.
macro_rules! answer {
    ($request:expr, $read:expr) => {{
        let response = $request.send().promise.await?;
        Ok($read(response.get()?.get_outcome()?)??)
    }};
}

fn gone<T>(_: T) -> capnp::Error {
    capnp::Error::disconnected("nobody listens any more".into())
}

/// Paths are text to the daemon, which would open another one than was meant.
fn path_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::new(FailureKind::InvalidArgument, format!("the path {} is no valid text", path.display()))
            .advise("Rename it to letters that are valid UTF-8.")
    })
}

fn files(node: &node::Client) -> crate::file_capnp::files::Client {
    node.files_request().send().pipeline.get_files()
}

impl Client {
    /// Hashes a file or folder and shares it; how far it has come goes to `progress`. Dropping the future gives up.
    pub async fn add_file(
        &self,
        path: &Path,
        options: AddOptions,
        progress: mpsc::Sender<AddProgress>,
    ) -> Result<Share, Failure> {
        let path = path_text(path)?;
        let add = self.node.ask(move |node, _| async move {
            let (finished, outcome) = oneshot::channel();
            let mut request = files(&node).add_request();
            request.get().set_path(path);
            write_add_options(&options, request.get().init_options());
            request.get().set_observer(capnp_rpc::new_client(Adding { progress, finished: Cell::new(Some(finished)) }));
            // It goes on for as long as the handle is held.
            let handle = request.send().promise.await?.get()?.get_handle()?;
            let share = outcome.await.map_err(|_| no_daemon())?;
            drop(handle);
            Ok(share?)
        });
        add.await
    }

    /// Shares what is written to the writer; it stands in the daemon's store.
    pub async fn send_content(&self, name: &str, options: AddOptions) -> Result<ContentWriter, Failure> {
        let name = name.to_owned();
        let send = self.node.ask(move |node, session| async move {
            let mut request = files(&node).receive_request();
            request.get().set_name(name);
            write_add_options(&options, request.get().init_options());
            let sink = request.send().promise.await?.get()?.get_sink()?;
            Ok(ContentWriter { sink: Remote::host(sink, &session.upgrade().ok_or_else(no_daemon)?) })
        });
        send.await.map_err(|failure| thrown(failure, FailureKind::InvalidArgument))
    }

    /// Verified bytes of what is shared from here or has been fetched, in order, to `pieces`; the future ends after the
    /// last. A length of 0: to the end. Dropping the future cancels.
    pub async fn read_content(
        &self,
        hash: FileHash,
        offset: u64,
        length_bytes: u64,
        pieces: mpsc::Sender<Bytes>,
    ) -> Result<(), Failure> {
        let read = self.node.ask(move |node, _| async move {
            let mut request = files(&node).read_request();
            request.get().set_hash(hash.to_string());
            request.get().set_offset(offset);
            request.get().set_length_bytes(length_bytes);
            request.get().set_sink(capnp_rpc::new_client(Pieces(pieces)));
            outcome!(request)
        });
        read.await
    }

    /// The newest first, before that position (0: the newest), with the text in name or path, or that hash. Fewer than
    /// `limit` when they would not fit an answer: ask again before the last of them.
    pub async fn shares(&self, search: &str, before: u64, limit: u32) -> Result<Vec<Share>, Failure> {
        let search = search.to_owned();
        let shares = self.node.ask(move |node, _| async move {
            let mut request = files(&node).shares_request();
            request.get().set_search(search);
            request.get().set_before(before);
            request.get().set_limit(limit);
            let response = request.send().promise.await?;
            Ok(read_shares(response.get()?.get_shares()?)?)
        });
        shares.await.map_err(|failure| thrown(failure, FailureKind::Internal))
    }

    /// Nobody gets it from here any more; the file itself stays.
    pub async fn remove_share(&self, hash: FileHash) -> Result<(), Failure> {
        let remove = self.node.ask(move |node, _| async move {
            let mut request = files(&node).remove_request();
            request.get().set_hash(hash.to_string());
            outcome!(request)
        });
        remove.await
    }

    /// A hash or a ticket. Begins a transfer, or goes on with the one that there is of this content; what becomes of it
    /// comes through [`Client::watch_files`].
    pub async fn get_file(&self, target: &str, options: GetOptions) -> Result<Transfer, Failure> {
        let target = target.to_owned();
        check_folder(&options)?;
        let get = self.node.ask(move |node, _| async move {
            let mut request = files(&node).get_request();
            request.get().set_target(target);
            write_get_options(&options, request.get().init_options());
            answer!(request, read_transfer_outcome)
        });
        get.await
    }

    /// Transfers, offers and uploads now and after each change; whoever is slow misses states in between, never the
    /// newest.
    pub async fn watch_files(&self) -> Result<Feed<FilesState>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = files(&node).watch_request();
            request.get().set_observer(capnp_rpc::new_client(FilesObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    pub async fn pause_transfer(&self, id: u32) -> Result<Transfer, Failure> {
        let pause = self.node.ask(move |node, _| async move {
            let mut request = files(&node).pause_request();
            request.get().set_id(id);
            answer!(request, read_transfer_outcome)
        });
        pause.await
    }

    pub async fn resume_transfer(&self, id: u32) -> Result<Transfer, Failure> {
        let resume = self.node.ask(move |node, _| async move {
            let mut request = files(&node).resume_request();
            request.get().set_id(id);
            answer!(request, read_transfer_outcome)
        });
        resume.await
    }

    /// Before all others.
    pub async fn first_transfer(&self, id: u32) -> Result<Transfer, Failure> {
        let first = self.node.ask(move |node, _| async move {
            let mut request = files(&node).first_request();
            request.get().set_id(id);
            answer!(request, read_transfer_outcome)
        });
        first.await
    }

    /// It leaves the list. What is saved stays; what is not whole is deleted.
    pub async fn cancel_transfer(&self, id: u32) -> Result<(), Failure> {
        let cancel = self.node.ask(move |node, _| async move {
            let mut request = files(&node).cancel_request();
            request.get().set_id(id);
            outcome!(request)
        });
        cancel.await
    }

    /// What a peer has offered becomes a transfer.
    pub async fn accept_offer(&self, id: u32, options: GetOptions) -> Result<Transfer, Failure> {
        check_folder(&options)?;
        let accept = self.node.ask(move |node, _| async move {
            let mut request = files(&node).accept_offer_request();
            request.get().set_id(id);
            write_get_options(&options, request.get().init_options());
            answer!(request, read_transfer_outcome)
        });
        accept.await
    }

    pub async fn refuse_offer(&self, id: u32) -> Result<(), Failure> {
        let refuse = self.node.ask(move |node, _| async move {
            let mut request = files(&node).refuse_offer_request();
            request.get().set_id(id);
            outcome!(request)
        });
        refuse.await
    }

    /// Asks contacts to keep a sealed copy of a share. Without contacts: none any more.
    pub async fn keep_share(&self, hash: FileHash, contacts: Vec<String>) -> Result<Share, Failure> {
        let keep = self.node.ask(move |node, _| async move {
            let mut request = files(&node).keep_request();
            request.get().set_hash(hash.to_string());
            let count = u32::try_from(contacts.len()).unwrap_or(u32::MAX);
            write_texts(contacts.iter(), request.get().init_contacts(count));
            answer!(request, read_share_outcome)
        });
        keep.await
    }

    /// The sealed copies that this node keeps for others.
    pub async fn kept(&self) -> Result<Vec<Kept>, Failure> {
        let kept = self.node.ask(|node, _| async move {
            let response = files(&node).kept_request().send().promise.await?;
            Ok(read_kept(response.get()?.get_kept()?)?)
        });
        kept.await.map_err(|failure| thrown(failure, FailureKind::Internal))
    }

    /// One of those is deleted here.
    pub async fn drop_kept(&self, hash: FileHash) -> Result<(), Failure> {
        let drop = self.node.ask(move |node, _| async move {
            let mut request = files(&node).drop_kept_request();
            request.get().set_hash(hash.to_string());
            outcome!(request)
        });
        drop.await
    }

    pub async fn file_settings(&self) -> Result<FileSettings, Failure> {
        let settings = self.node.ask(|node, _| async move {
            let response = files(&node).settings_request().send().promise.await?;
            Ok(read_file_settings(response.get()?.get_settings()?)?)
        });
        settings.await.map_err(|failure| thrown(failure, FailureKind::Internal))
    }

    /// All of them; an empty folder stands for the user's Downloads.
    pub async fn set_file_settings(&self, settings: FileSettings) -> Result<(), Failure> {
        path_text(&settings.folder)?;
        let set = self.node.ask(move |node, _| async move {
            let mut request = files(&node).set_settings_request();
            write_file_settings(&settings, request.get().init_settings());
            outcome!(request)
        });
        set.await
    }
}

fn check_folder(options: &GetOptions) -> Result<(), Failure> {
    options.folder.as_deref().map_or(Ok(()), |folder| path_text(folder).map(drop))
}

/// Content on its way into the daemon's store. Dropping it before [`ContentWriter::done`] gives up, and nothing stays.
pub struct ContentWriter {
    sink: Remote<content_sink::Client>,
}

impl ContentWriter {
    /// Returns when there is room for more.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        let mut rest = bytes.into();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_PIECE_BYTES));
            let write = self.sink.ask(move |sink, _| async move {
                let mut request = sink.write_request();
                request.get().set_bytes(&piece);
                Ok(request.send().await?)
            });
            write.await.map_err(|failure| thrown(failure, FailureKind::Internal))?;
        }
        Ok(())
    }

    /// That was all: it is shared.
    pub async fn done(self) -> Result<Share, Failure> {
        let done = self.sink.ask(|sink, _| async move { answer!(sink.done_request(), read_share_outcome) });
        // What failed last in the stream fails here.
        done.await.map_err(|failure| thrown(failure, FailureKind::Internal))
    }
}

/// Takes progress when there is room, so that the daemon tells the newest then.
struct Adding {
    progress: mpsc::Sender<AddProgress>,
    finished: Cell<Option<oneshot::Sender<Result<Share, Failure>>>>,
}

impl add_observer::Server for Adding {
    async fn progress(
        self: Rc<Self>,
        params: add_observer::ProgressParams,
        _: add_observer::ProgressResults,
    ) -> capnp::Result<()> {
        // Who does not look at the progress still wants the file to be shared.
        let _ = self.progress.send(read_add_progress(params.get()?)).await;
        Ok(())
    }

    async fn finished(
        self: Rc<Self>,
        params: add_observer::FinishedParams,
        _: add_observer::FinishedResults,
    ) -> capnp::Result<()> {
        let outcome = read_share_outcome(params.get()?.get_outcome()?)?;
        let finished = self.finished.take().ok_or_else(|| gone(()))?;
        finished.send(outcome).map_err(gone)
    }
}

struct FilesObserver(mpsc::Sender<FilesState>);

impl files_observer::Server for FilesObserver {
    async fn changed(
        self: Rc<Self>,
        params: files_observer::ChangedParams,
        _: files_observer::ChangedResults,
    ) -> capnp::Result<()> {
        self.0.send(read_files_state(params.get()?.get_state()?)?).await.map_err(gone)
    }
}

struct Pieces(mpsc::Sender<Bytes>);

impl byte_sink::Server for Pieces {
    async fn write(self: Rc<Self>, params: byte_sink::WriteParams) -> capnp::Result<()> {
        self.0.send(read_piece(params.get()?.get_bytes()?)?).await.map_err(gone)
    }
}
