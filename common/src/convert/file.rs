//! Files, by content: shares, transfers, offers and sealed copies.

use std::path::PathBuf;

use bytes::Bytes;
use capnp::{Error, struct_list, text_list};

use super::node::peer_id;
use super::{Enumeration, buffers, enumeration, length, read_failure, read_texts, text, write_failure, write_texts};
use crate::failure::{Failure, FailureKind};
use crate::file::{
    AddOptions, AddProgress, ContentKind, CopyState, FileHash, FileKind, FileSettings, FilesState, GetOptions, Kept,
    MAX_PIECE_BYTES, Offer, SealedCopy, Share, ShareScope, ShareState, Source, SourceState, Transfer, TransferState,
    Upload,
};
use crate::file_capnp::{
    self as wire, add_observer, add_options, file_settings, files_state, get_options, kept, offer, sealed_copy, share,
    share_outcome, source, transfer, transfer_outcome, upload,
};
use crate::ids::PeerId;
use crate::node::Path;
use crate::{peer_capnp, types_capnp};

enumeration!(FileKind, wire::FileKind: File, Folder);
enumeration!(ShareScope, wire::ShareScope: Anyone, Contacts, Peers);
enumeration!(ShareState, wire::ShareState: Available, Changed, Missing);
enumeration!(CopyState, wire::CopyState: Asked, Sending, Kept, Refused);
enumeration!(
    TransferState,
    wire::TransferState: Queued, Searching, Fetching, Waiting, Paused, Finishing, Done, Failed
);
enumeration!(SourceState, wire::SourceState: Connecting, Active, Stalled, Busy, Dropped, Lied);

fn read_hash(from: capnp::text::Reader<'_>) -> capnp::Result<FileHash> {
    from.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
}

/// What is neither one to this version is shown as a file.
fn read_kind(from: Result<wire::FileKind, capnp::NotInSchema>) -> FileKind {
    FileKind::from_wire(from).unwrap_or(FileKind::File)
}

fn wire_path(path: Option<Path>) -> peer_capnp::Path {
    path.map_or(peer_capnp::Path::Unspecified, Path::to_wire)
}

/// A path as text. What is no Unicode is replaced: it can be shown, but not opened.
fn path_text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn write_peer_ids(peers: &[PeerId], mut to: text_list::Builder<'_>) {
    for (index, peer) in (0..).zip(peers) {
        to.set(index, peer.to_string());
    }
}

fn write_copies(copies: &[SealedCopy], mut to: struct_list::Builder<'_, sealed_copy::Owned>) {
    for (index, copy) in (0..).zip(copies) {
        let mut to = to.reborrow().get(index);
        to.set_peer(copy.peer.to_string());
        to.set_name(copy.name.as_str());
        to.set_held_bytes(copy.held_bytes);
        to.set_state(copy.state.to_wire());
        to.set_reason(copy.reason.as_str());
    }
}

fn read_copy(from: sealed_copy::Reader<'_>) -> capnp::Result<SealedCopy> {
    Ok(SealedCopy {
        peer: peer_id(from.get_peer()?)?,
        name: text(from.get_name()?)?,
        held_bytes: from.get_held_bytes(),
        // What this version does not know is no copy that can be counted on.
        state: CopyState::from_wire(from.get_state()).unwrap_or(CopyState::Asked),
        reason: text(from.get_reason()?)?,
    })
}

pub fn write_share(share: &Share, mut to: share::Builder<'_>) {
    to.set_hash(share.hash.to_string());
    to.set_ticket(share.ticket.as_str());
    to.set_name(share.name.as_str());
    to.set_kind(share.kind.to_wire());
    to.set_size_bytes(share.size_bytes);
    to.set_files(share.files);
    to.set_scope(share.scope.to_wire());
    to.set_state(share.state.to_wire());
    to.set_path(share.path.as_str());
    to.set_added_unix_ms(share.added_unix_ms);
    to.set_sent_bytes(share.sent_bytes);
    to.set_position(share.position);
    write_peer_ids(&share.peers, to.reborrow().init_peers(length(&share.peers)));
    write_copies(&share.copies, to.init_copies(length(&share.copies)));
}

pub fn read_share(from: share::Reader<'_>) -> capnp::Result<Share> {
    Ok(Share {
        hash: read_hash(from.get_hash()?)?,
        ticket: text(from.get_ticket()?)?,
        name: text(from.get_name()?)?,
        kind: read_kind(from.get_kind()),
        size_bytes: from.get_size_bytes(),
        files: from.get_files(),
        scope: ShareScope::required(from.get_scope(), "who a share is for")?,
        peers: from.get_peers()?.iter().map(|peer| peer_id(peer?)).collect::<Result<_, _>>()?,
        state: ShareState::required(from.get_state(), "the state of a share")?,
        path: text(from.get_path()?)?,
        added_unix_ms: from.get_added_unix_ms(),
        sent_bytes: from.get_sent_bytes(),
        copies: from.get_copies()?.iter().map(read_copy).collect::<Result<_, _>>()?,
        position: from.get_position(),
    })
}

pub fn write_shares(shares: &[Share], mut to: struct_list::Builder<'_, share::Owned>) {
    for (index, share) in (0..).zip(shares) {
        write_share(share, to.reborrow().get(index));
    }
}

pub fn read_shares(from: struct_list::Reader<'_, share::Owned>) -> capnp::Result<Vec<Share>> {
    from.iter().map(read_share).collect()
}

pub fn write_share_outcome(outcome: &Result<Share, Failure>, to: share_outcome::Builder<'_>) {
    match outcome {
        Ok(share) => write_share(share, to.init_share()),
        Err(failure) => write_failure(failure, to.init_failed()),
    }
}

pub fn read_share_outcome(from: share_outcome::Reader<'_>) -> capnp::Result<Result<Share, Failure>> {
    match from.which() {
        Ok(share_outcome::Share(share)) => Ok(Ok(read_share(share?)?)),
        Ok(share_outcome::Failed(failure)) => Ok(Err(read_failure(failure?)?)),
        Ok(share_outcome::Unspecified(())) | Err(_) => Err(unknown_outcome()),
    }
}

fn unknown_outcome() -> Error {
    Error::failed("the outcome is not known to this version".into())
}

fn write_sources(sources: &[Source], mut to: struct_list::Builder<'_, source::Owned>) {
    for (index, source) in (0..).zip(sources) {
        let mut to = to.reborrow().get(index);
        to.set_peer(source.peer.to_string());
        to.set_name(source.name.as_str());
        to.set_state(source.state.to_wire());
        to.set_path(wire_path(source.path));
        to.set_received_bytes(source.received_bytes);
        to.set_bytes_per_second(source.bytes_per_second);
        to.set_reason(source.reason.as_str());
        to.set_sealed(source.sealed);
    }
}

fn read_source(from: source::Reader<'_>) -> capnp::Result<Source> {
    Ok(Source {
        peer: peer_id(from.get_peer()?)?,
        name: text(from.get_name()?)?,
        state: SourceState::from_wire(from.get_state()).unwrap_or(SourceState::Connecting),
        path: Path::from_wire(from.get_path()),
        received_bytes: from.get_received_bytes(),
        bytes_per_second: from.get_bytes_per_second(),
        reason: text(from.get_reason()?)?,
        sealed: from.get_sealed(),
    })
}

pub fn write_transfer(transfer: &Transfer, mut to: transfer::Builder<'_>) {
    to.set_id(transfer.id);
    to.set_hash(transfer.hash.to_string());
    to.set_name(transfer.name.as_str());
    to.set_kind(transfer.kind.to_wire());
    to.set_size_bytes(transfer.size_bytes);
    to.set_done_bytes(transfer.done_bytes);
    to.set_state(transfer.state.to_wire());
    to.set_bytes_per_second(transfer.bytes_per_second);
    to.set_remaining_seconds(transfer.remaining_seconds);
    to.set_folder(transfer.folder.as_str());
    to.set_saved_path(transfer.saved_path.as_str());
    to.set_error(transfer.error.as_str());
    to.set_advice(transfer.advice.as_str());
    to.set_started_unix_ms(transfer.started_unix_ms);
    to.set_finished_unix_ms(transfer.finished_unix_ms);
    to.set_seconds(transfer.seconds);
    to.set_fetched_twice_bytes(transfer.fetched_twice_bytes);
    to.set_next_try_seconds(transfer.next_try_seconds);
    to.set_files(transfer.files);
    to.set_files_done(transfer.files_done);
    to.set_error_kind(transfer.error_kind.map_or(types_capnp::FailureKind::Unspecified, FailureKind::to_wire));
    write_sources(&transfer.sources, to.init_sources(length(&transfer.sources)));
}

pub fn read_transfer(from: transfer::Reader<'_>) -> capnp::Result<Transfer> {
    Ok(Transfer {
        id: from.get_id(),
        hash: read_hash(from.get_hash()?)?,
        name: text(from.get_name()?)?,
        kind: read_kind(from.get_kind()),
        size_bytes: from.get_size_bytes(),
        done_bytes: from.get_done_bytes(),
        state: TransferState::required(from.get_state(), "the state of a transfer")?,
        bytes_per_second: from.get_bytes_per_second(),
        remaining_seconds: from.get_remaining_seconds(),
        sources: from.get_sources()?.iter().map(read_source).collect::<Result<_, _>>()?,
        folder: text(from.get_folder()?)?,
        saved_path: text(from.get_saved_path()?)?,
        error: text(from.get_error()?)?,
        advice: text(from.get_advice()?)?,
        started_unix_ms: from.get_started_unix_ms(),
        finished_unix_ms: from.get_finished_unix_ms(),
        seconds: from.get_seconds(),
        fetched_twice_bytes: from.get_fetched_twice_bytes(),
        next_try_seconds: from.get_next_try_seconds(),
        files: from.get_files(),
        files_done: from.get_files_done(),
        error_kind: FailureKind::from_wire(from.get_error_kind()),
    })
}

pub fn write_transfer_outcome(outcome: &Result<Transfer, Failure>, to: transfer_outcome::Builder<'_>) {
    match outcome {
        Ok(transfer) => write_transfer(transfer, to.init_transfer()),
        Err(failure) => write_failure(failure, to.init_failed()),
    }
}

pub fn read_transfer_outcome(from: transfer_outcome::Reader<'_>) -> capnp::Result<Result<Transfer, Failure>> {
    match from.which() {
        Ok(transfer_outcome::Transfer(transfer)) => Ok(Ok(read_transfer(transfer?)?)),
        Ok(transfer_outcome::Failed(failure)) => Ok(Err(read_failure(failure?)?)),
        Ok(transfer_outcome::Unspecified(())) | Err(_) => Err(unknown_outcome()),
    }
}

fn write_upload(upload: &Upload, mut to: upload::Builder<'_>) {
    to.set_peer(upload.peer.to_string());
    to.set_name(upload.name.as_str());
    to.set_hash(upload.hash.to_string());
    to.set_file_name(upload.file_name.as_str());
    to.set_sent_bytes(upload.sent_bytes);
    to.set_bytes_per_second(upload.bytes_per_second);
    to.set_path(wire_path(upload.path));
    to.set_sealed(upload.sealed);
}

fn read_upload(from: upload::Reader<'_>) -> capnp::Result<Upload> {
    Ok(Upload {
        peer: peer_id(from.get_peer()?)?,
        name: text(from.get_name()?)?,
        hash: read_hash(from.get_hash()?)?,
        file_name: text(from.get_file_name()?)?,
        sent_bytes: from.get_sent_bytes(),
        bytes_per_second: from.get_bytes_per_second(),
        path: Path::from_wire(from.get_path()),
        sealed: from.get_sealed(),
    })
}

fn write_offer(offer: &Offer, mut to: offer::Builder<'_>) {
    to.set_id(offer.id);
    to.set_peer(offer.peer.to_string());
    to.set_name(offer.name.as_str());
    to.set_hash(offer.hash.to_string());
    to.set_file_name(offer.file_name.as_str());
    to.set_kind(offer.kind.to_wire());
    to.set_size_bytes(offer.size_bytes);
    to.set_files(offer.files);
    to.set_received_unix_ms(offer.received_unix_ms);
}

fn read_offer(from: offer::Reader<'_>) -> capnp::Result<Offer> {
    Ok(Offer {
        id: from.get_id(),
        peer: peer_id(from.get_peer()?)?,
        name: text(from.get_name()?)?,
        hash: read_hash(from.get_hash()?)?,
        file_name: text(from.get_file_name()?)?,
        kind: read_kind(from.get_kind()),
        size_bytes: from.get_size_bytes(),
        files: from.get_files(),
        received_unix_ms: from.get_received_unix_ms(),
    })
}

pub fn write_files_state(state: &FilesState, mut to: files_state::Builder<'_>) {
    let mut transfers = to.reborrow().init_transfers(length(&state.transfers));
    for (index, transfer) in (0..).zip(&state.transfers) {
        write_transfer(transfer, transfers.reborrow().get(index));
    }
    let mut offers = to.reborrow().init_offers(length(&state.offers));
    for (index, offer) in (0..).zip(&state.offers) {
        write_offer(offer, offers.reborrow().get(index));
    }
    let mut uploads = to.reborrow().init_uploads(length(&state.uploads));
    for (index, upload) in (0..).zip(&state.uploads) {
        write_upload(upload, uploads.reborrow().get(index));
    }
    to.set_shares_revision(state.shares_revision);
    to.set_shares(state.shares);
    to.set_kept_bytes(state.kept_bytes);
}

pub fn read_files_state(from: files_state::Reader<'_>) -> capnp::Result<FilesState> {
    Ok(FilesState {
        transfers: from.get_transfers()?.iter().map(read_transfer).collect::<Result<_, _>>()?,
        offers: from.get_offers()?.iter().map(read_offer).collect::<Result<_, _>>()?,
        uploads: from.get_uploads()?.iter().map(read_upload).collect::<Result<_, _>>()?,
        shares_revision: from.get_shares_revision(),
        shares: from.get_shares(),
        kept_bytes: from.get_kept_bytes(),
    })
}

pub fn write_kept(kept: &[Kept], mut to: struct_list::Builder<'_, kept::Owned>) {
    for (index, kept) in (0..).zip(kept) {
        let mut to = to.reborrow().get(index);
        to.set_peer(kept.peer.to_string());
        to.set_name(kept.name.as_str());
        to.set_hash(kept.hash.to_string());
        to.set_size_bytes(kept.size_bytes);
        to.set_held_bytes(kept.held_bytes);
        to.set_since_unix_ms(kept.since_unix_ms);
    }
}

pub fn read_kept(from: struct_list::Reader<'_, kept::Owned>) -> capnp::Result<Vec<Kept>> {
    let kept = |from: kept::Reader<'_>| {
        Ok(Kept {
            peer: peer_id(from.get_peer()?)?,
            name: text(from.get_name()?)?,
            hash: read_hash(from.get_hash()?)?,
            size_bytes: from.get_size_bytes(),
            held_bytes: from.get_held_bytes(),
            since_unix_ms: from.get_since_unix_ms(),
        })
    };
    from.iter().map(kept).collect()
}

pub fn write_file_settings(settings: &FileSettings, mut to: file_settings::Builder<'_>) {
    to.set_folder(path_text(&settings.folder));
    to.set_download_bytes_per_second(settings.download_bytes_per_second);
    to.set_upload_bytes_per_second(settings.upload_bytes_per_second);
    to.set_unasked_bytes(settings.unasked_bytes);
    to.set_copy_bytes_per_contact(settings.copy_bytes_per_contact);
    to.set_store_bytes(settings.store_bytes);
    to.set_at_once(settings.at_once);
    let mut kinds = to.init_unasked_kinds(length(&settings.unasked_kinds));
    for (index, kind) in (0..).zip(&settings.unasked_kinds) {
        kinds.set(index, kind.name());
    }
}

pub fn read_file_settings(from: file_settings::Reader<'_>) -> capnp::Result<FileSettings> {
    let kind = |from: capnp::Result<capnp::text::Reader<'_>>| -> capnp::Result<ContentKind> {
        from?.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
    };
    Ok(FileSettings {
        folder: PathBuf::from(text(from.get_folder()?)?),
        download_bytes_per_second: from.get_download_bytes_per_second(),
        upload_bytes_per_second: from.get_upload_bytes_per_second(),
        unasked_bytes: from.get_unasked_bytes(),
        unasked_kinds: from.get_unasked_kinds()?.iter().map(kind).collect::<Result<_, _>>()?,
        copy_bytes_per_contact: from.get_copy_bytes_per_contact(),
        store_bytes: from.get_store_bytes(),
        at_once: from.get_at_once(),
    })
}

pub fn write_add_options(options: &AddOptions, mut to: add_options::Builder<'_>) {
    to.set_scope(options.scope.to_wire());
    to.set_name(options.name.as_str());
    to.set_copy(options.copy);
    write_texts(options.peers.iter(), to.init_peers(length(&options.peers)));
}

pub fn read_add_options(from: add_options::Reader<'_>) -> capnp::Result<AddOptions> {
    let scope = match from.get_scope() {
        Ok(wire::ShareScope::Unspecified) => ShareScope::default(),
        // One that this version does not know may be a narrower one.
        scope => ShareScope::required(scope, "who a share is for")?,
    };
    Ok(AddOptions {
        scope,
        peers: read_texts(from.get_peers()?)?,
        name: text(from.get_name()?)?,
        copy: from.get_copy(),
    })
}

pub fn write_get_options(options: &GetOptions, mut to: get_options::Builder<'_>) {
    if let Some(folder) = &options.folder {
        to.set_folder(path_text(folder));
    }
    to.set_only_from(options.only_from);
    to.set_name(options.name.as_str());
    write_texts(options.from.iter(), to.init_from(length(&options.from)));
}

pub fn read_get_options(from: get_options::Reader<'_>) -> capnp::Result<GetOptions> {
    let folder = from.get_folder()?;
    Ok(GetOptions {
        folder: if folder.is_empty() { None } else { Some(PathBuf::from(text(folder)?)) },
        from: read_texts(from.get_from()?)?,
        only_from: from.get_only_from(),
        name: text(from.get_name()?)?,
    })
}

pub fn write_add_progress(progress: AddProgress, mut to: add_observer::progress_params::Builder<'_>) {
    to.set_done_bytes(progress.done_bytes);
    to.set_total_bytes(progress.total_bytes);
    to.set_files(progress.files);
}

pub fn read_add_progress(from: add_observer::progress_params::Reader<'_>) -> AddProgress {
    AddProgress { done_bytes: from.get_done_bytes(), total_bytes: from.get_total_bytes(), files: from.get_files() }
}

/// Content that comes in pieces, into a buffer of its own.
pub fn read_piece(from: capnp::data::Reader<'_>) -> capnp::Result<Bytes> {
    if from.len() > MAX_PIECE_BYTES {
        return Err(Error::failed(format!("a piece has at most {MAX_PIECE_BYTES} bytes, and this one {}", from.len())));
    }
    Ok(buffers::copy(from))
}
