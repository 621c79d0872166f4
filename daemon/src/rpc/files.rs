//! Files: what is shared, what is fetched, and bytes in both directions for clients that have no disk in common with
//! the daemon.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capnp::Error;
use kith_common::convert::{
    read_add_options, read_file_settings, read_get_options, read_piece, read_texts, text, write_add_progress,
    write_file_settings, write_files_state, write_kept, write_outcome, write_share_outcome, write_shares,
    write_transfer_outcome,
};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{AddOptions, AddProgress, FileHash, FilesState, MAX_SHARES_PAGE};
use kith_common::file_capnp::{add_observer, byte_sink, content_sink, files, files_observer};
use tokio::sync::watch;

use super::connection::{Connection, Place};
use super::room;
use super::watch::heard;
use crate::files::{Files, Reading, Receiving};

/// Between two reports of how far the hashing of a file has come: a thousand a second would be told to nobody's use.
const PROGRESS: Duration = Duration::from_millis(100);
/// Of what is read for a client, in one message. Two of these are on their way, so that neither side waits.
const PIECE_BYTES: usize = 256 << 10;

pub struct FilesServer(pub Rc<Connection>);

impl FilesServer {
    fn files(&self) -> &Files {
        &self.0.daemon.files
    }
}

impl files::Server for FilesServer {
    async fn add(self: Rc<Self>, params: files::AddParams, mut results: files::AddResults) -> capnp::Result<()> {
        let params = params.get()?;
        let path = PathBuf::from(text(params.get_path()?)?);
        let options = read_add_options(params.get_options()?)?;
        let adding = add(self.files().clone(), path, options, params.get_observer()?);
        results.get().set_handle(self.0.subscribe("adding a file", adding)?);
        Ok(())
    }

    async fn receive(
        self: Rc<Self>,
        params: files::ReceiveParams,
        mut results: files::ReceiveResults,
    ) -> capnp::Result<()> {
        let place = self.0.stream()?;
        let params = params.get()?;
        let options = read_add_options(params.get_options()?)?;
        let receiving = self.files().receive(params.get_name()?.to_str()?, options).await.map_err(refused)?;
        let sink = Content { receiving: Cell::new(Some(receiving)), failed: Cell::default(), _place: place };
        results.get().set_sink(capnp_rpc::new_client(sink));
        Ok(())
    }

    async fn read(self: Rc<Self>, params: files::ReadParams, mut results: files::ReadResults) -> capnp::Result<()> {
        let _place = self.0.stream()?;
        let params = params.get()?;
        let reading = match hash(params.get_hash()?) {
            Ok(hash) => self.files().read(hash, params.get_offset(), params.get_length_bytes()).await,
            Err(failure) => Err(failure),
        };
        let outcome = match reading {
            Ok(reading) => send(reading, &params.get_sink()?).await?,
            Err(failure) => Err(failure),
        };
        write_outcome(outcome, results.get().init_outcome());
        Ok(())
    }

    async fn shares(
        self: Rc<Self>,
        params: files::SharesParams,
        mut results: files::SharesResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let limit = match params.get_limit() {
            0 => MAX_SHARES_PAGE,
            limit => limit.min(MAX_SHARES_PAGE),
        };
        let found = self.files().shares(params.get_search()?.to_str()?, params.get_before(), limit).await;
        let found = found.map_err(refused)?;
        let page = room::shares(&found);
        write_shares(page, results.get().init_shares(page.len() as u32));
        Ok(())
    }

    async fn remove(
        self: Rc<Self>,
        params: files::RemoveParams,
        mut results: files::RemoveResults,
    ) -> capnp::Result<()> {
        let removed = match hash(params.get()?.get_hash()?) {
            Ok(hash) => self.files().remove(hash).await,
            Err(failure) => Err(failure),
        };
        write_outcome(removed, results.get().init_outcome());
        Ok(())
    }

    async fn get(self: Rc<Self>, params: files::GetParams, mut results: files::GetResults) -> capnp::Result<()> {
        let params = params.get()?;
        let options = read_get_options(params.get_options()?)?;
        let got = self.files().get(params.get_target()?.to_str()?, options).await;
        write_transfer_outcome(&got, results.get().init_outcome());
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: files::WatchParams, mut results: files::WatchResults) -> capnp::Result<()> {
        let watching = watch_files(self.files().state(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("files", watching)?);
        Ok(())
    }

    async fn pause(self: Rc<Self>, params: files::PauseParams, mut results: files::PauseResults) -> capnp::Result<()> {
        let paused = self.files().pause(params.get()?.get_id()).await;
        write_transfer_outcome(&paused, results.get().init_outcome());
        Ok(())
    }

    async fn resume(
        self: Rc<Self>,
        params: files::ResumeParams,
        mut results: files::ResumeResults,
    ) -> capnp::Result<()> {
        let resumed = self.files().resume(params.get()?.get_id()).await;
        write_transfer_outcome(&resumed, results.get().init_outcome());
        Ok(())
    }

    async fn cancel(
        self: Rc<Self>,
        params: files::CancelParams,
        mut results: files::CancelResults,
    ) -> capnp::Result<()> {
        write_outcome(self.files().cancel(params.get()?.get_id()).await, results.get().init_outcome());
        Ok(())
    }

    async fn first(self: Rc<Self>, params: files::FirstParams, mut results: files::FirstResults) -> capnp::Result<()> {
        let first = self.files().first(params.get()?.get_id()).await;
        write_transfer_outcome(&first, results.get().init_outcome());
        Ok(())
    }

    async fn accept_offer(
        self: Rc<Self>,
        params: files::AcceptOfferParams,
        mut results: files::AcceptOfferResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let options = read_get_options(params.get_options()?)?;
        let accepted = self.files().accept_offer(params.get_id(), options).await;
        write_transfer_outcome(&accepted, results.get().init_outcome());
        Ok(())
    }

    async fn refuse_offer(
        self: Rc<Self>,
        params: files::RefuseOfferParams,
        mut results: files::RefuseOfferResults,
    ) -> capnp::Result<()> {
        write_outcome(self.files().refuse_offer(params.get()?.get_id()).await, results.get().init_outcome());
        Ok(())
    }

    async fn keep(self: Rc<Self>, params: files::KeepParams, mut results: files::KeepResults) -> capnp::Result<()> {
        let params = params.get()?;
        let contacts = read_texts(params.get_contacts()?)?;
        let kept = match hash(params.get_hash()?) {
            Ok(hash) => self.files().keep(hash, &contacts).await,
            Err(failure) => Err(failure),
        };
        write_share_outcome(&kept, results.get().init_outcome());
        Ok(())
    }

    async fn kept(self: Rc<Self>, _: files::KeptParams, mut results: files::KeptResults) -> capnp::Result<()> {
        let kept = self.files().kept().await.map_err(refused)?;
        let kept = room::kept(&kept);
        write_kept(kept, results.get().init_kept(kept.len() as u32));
        Ok(())
    }

    async fn drop_kept(
        self: Rc<Self>,
        params: files::DropKeptParams,
        mut results: files::DropKeptResults,
    ) -> capnp::Result<()> {
        let dropped = match hash(params.get()?.get_hash()?) {
            Ok(hash) => self.files().drop_kept(hash).await,
            Err(failure) => Err(failure),
        };
        write_outcome(dropped, results.get().init_outcome());
        Ok(())
    }

    async fn settings(
        self: Rc<Self>,
        _: files::SettingsParams,
        mut results: files::SettingsResults,
    ) -> capnp::Result<()> {
        let settings = self.files().settings().await.map_err(refused)?;
        write_file_settings(&settings, results.get().init_settings());
        Ok(())
    }

    async fn set_settings(
        self: Rc<Self>,
        params: files::SetSettingsParams,
        mut results: files::SetSettingsResults,
    ) -> capnp::Result<()> {
        let settings = read_file_settings(params.get()?.get_settings()?)?;
        write_outcome(self.files().set_settings(settings).await, results.get().init_outcome());
        Ok(())
    }
}

/// A method without an outcome says by an exception what was refused; its second line is what to try, its third the kind.
fn refused(failure: Failure) -> Error {
    Error::failed(format!("{}\n{}\n{}", failure.message, failure.advice, failure.kind.name()))
}

fn shutting_down() -> Error {
    Error::disconnected("the daemon is shutting down".into())
}

/// A hash that is none is refused in words, like one that is not known.
fn hash(text: capnp::text::Reader<'_>) -> Result<FileHash, Failure> {
    let parsed = text.to_str().map_err(|error| error.to_string());
    let parsed = parsed.and_then(|text| text.parse::<FileHash>().map_err(|error| error.to_string()));
    parsed.map_err(|message| {
        Failure::new(FailureKind::InvalidArgument, message).advise("The list of shares has the hash of each.")
    })
}

/// Hashes and shares, and tells how far that has come. Dropping this gives up.
async fn add(files: Files, path: PathBuf, options: AddOptions, observer: add_observer::Client) -> capnp::Result<()> {
    let (sender, progress) = watch::channel(AddProgress::default());
    let adding = pin!(files.add(path, options, sender));
    let outcome = tokio::select! {
        biased;
        outcome = adding => outcome,
        Err(gone) = tell(progress, &observer) => return Err(gone),
    };
    let mut request = observer.finished_request();
    write_share_outcome(&outcome, request.get().init_outcome());
    heard(request.send().promise.await)
}

/// The newest state, one call at a time. Only an observer that has gone ends it.
async fn tell(mut progress: watch::Receiver<AddProgress>, observer: &add_observer::Client) -> capnp::Result<()> {
    while progress.changed().await.is_ok() {
        let now = *progress.borrow_and_update();
        let mut request = observer.progress_request();
        write_add_progress(now, request.get());
        heard(request.send().promise.await)?;
        tokio::time::sleep(PROGRESS).await;
    }
    // The end is told as such.
    std::future::pending().await
}

/// Transfers, offers and uploads, now and after each change.
async fn watch_files(
    mut state: watch::Receiver<Arc<FilesState>>,
    observer: files_observer::Client,
) -> capnp::Result<()> {
    loop {
        let now = Arc::clone(&state.borrow_and_update());
        let mut request = observer.changed_request();
        write_files_state(&room::files(&now), request.get().init_state());
        request.send().promise.await?;
        state.changed().await.map_err(|_| shutting_down())?;
    }
}

/// Reads on when the client has taken what was read. A sink that fails ends it with that error.
async fn send(mut reading: Reading, sink: &byte_sink::Client) -> capnp::Result<Result<(), Failure>> {
    while let Some(bytes) = reading.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(failure) => return Ok(Err(failure)),
        };
        for piece in bytes.chunks(PIECE_BYTES) {
            let mut request = sink.write_request();
            request.get().set_bytes(piece);
            request.send().await?;
        }
    }
    Ok(Ok(()))
}

/// What a client writes, on its way into the store. A write that is cut short, or fails, leaves nothing of it.
struct Content {
    receiving: Cell<Option<Receiving>>,
    /// Why it has ended: whatever the client asks for next is refused for the same reason.
    failed: Cell<Option<Failure>>,
    _place: Place,
}

impl Content {
    fn take(&self) -> capnp::Result<Receiving> {
        self.receiving.take().ok_or_else(|| match self.failed.take() {
            Some(failure) => self.fail(failure),
            None => Error::failed("nothing more can be written: this has ended".into()),
        })
    }

    fn fail(&self, failure: Failure) -> Error {
        self.failed.set(Some(failure.clone()));
        refused(failure)
    }
}

impl content_sink::Server for Content {
    async fn write(self: Rc<Self>, params: content_sink::WriteParams) -> capnp::Result<()> {
        let piece = read_piece(params.get()?.get_bytes()?)?;
        let mut receiving = self.take()?;
        receiving.write(piece).await.map_err(|failure| self.fail(failure))?;
        self.receiving.set(Some(receiving));
        Ok(())
    }

    async fn done(
        self: Rc<Self>,
        _: content_sink::DoneParams,
        mut results: content_sink::DoneResults,
    ) -> capnp::Result<()> {
        let shared = self.take()?.done().await;
        write_share_outcome(&shared, results.get().init_outcome());
        Ok(())
    }
}
