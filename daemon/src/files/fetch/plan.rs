//! From somebody's word that it has the content to what is to be fetched: a folder's list, the proof of a file's size, and
//! the parts of a sealed copy. Nothing is allocated by what a peer says before this has come through.

use std::path::{Path, PathBuf};

use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{CopyKey, FileHash, FileKind, MAX_SIZE_BYTES};
use kith_content::{
    Blob, ContentError, GROUP_BYTES, Layout, Manifest, Plain, SEALED_SEGMENT_BYTES, copy_key, lookup_id, opens_start,
    sealed_bytes,
};
use kith_store::PartRow;

use super::finder::Found;
use super::live::Known;
use crate::files::check::failure;
use crate::files::library::{blocking, read_list};
use crate::files::talk::{Got, Talk};
use crate::files::wire::{Get, MAX_GET_BYTES, MAX_LIST_BYTES, MAX_QUESTIONS, Question, Status};
use crate::net::frames::FrameError;

/// Ranges are asked for in whole mebibytes: a liar in a list costs one at most.
const LIST_RANGE: u64 = 1024 * 1024;
const _: () = assert!(LIST_RANGE <= MAX_GET_BYTES);

/// What is fetched, blob by blob.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub known: Known,
    /// What the partial file is called by.
    pub hash: FileHash,
    pub layout: Layout,
    /// Of sealed copies: by which id each blob is asked for, and how it is opened.
    pub sealed: Option<Seals>,
}

#[derive(Debug, Clone)]
pub(super) struct Seals {
    pub ids: Vec<FileHash>,
    /// `None`: it stays as it is.
    pub plain: Option<Vec<Plain>>,
}

impl Plan {
    /// The question for a unit; `None`: there is no such unit.
    pub fn get(&self, unit: u32) -> Option<Get> {
        let unit = self.layout.unit(unit)?;
        let (hash, copy) = match &self.sealed {
            Some(seals) => (*seals.ids.get(unit.blob)?, true),
            None => (unit.hash, false),
        };
        let (start, length) = (unit.range.start, unit.range.end - unit.range.start);
        Some(Get { id: 0, hash, copy, size_bytes: unit.size, start, length })
    }

    /// What whoever keeps it has to have; nothing, where the content itself is fetched.
    pub fn copies(&self) -> Vec<CopyPart> {
        let ids = self.sealed.iter().flat_map(|seals| &seals.ids);
        ids.zip(&self.layout.blobs).map(|(id, blob)| CopyPart { id: *id, bytes: (blob.hash, blob.size) }).collect()
    }
}

/// A sealed copy, as its keepers find it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyPart {
    id: FileHash,
    /// The encrypted bytes: their hash and how many.
    pub bytes: (FileHash, u64),
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum NoPlan {
    /// This peer cannot help, for now.
    Gone(String),
    Not(Status),
    /// What it said is not the content.
    Lied(String),
    /// Whoever made this content or its ticket is to blame: nobody can help.
    Never(Failure),
    /// This machine is in the way.
    Here(ContentError),
}

impl From<FrameError> for NoPlan {
    fn from(error: FrameError) -> Self {
        if error.is_nonsense() { Self::Lied(error.to_string()) } else { Self::Gone(error.to_string()) }
    }
}

impl NoPlan {
    fn verifying(error: ContentError) -> Self {
        match error {
            ContentError::Lie(why) => Self::Lied(why.to_owned()),
            error @ (ContentError::BadManifest(_) | ContentError::TooLarge | ContentError::TooManyFiles) => {
                Self::Never(failure(&error))
            }
            error => Self::Here(error),
        }
    }
}

/// Where the list of a folder is kept while its files are fetched, and what is known of the parts of sealed copies.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    list: PathBuf,
    parts: PathBuf,
}

impl Notes {
    pub fn new(incoming: &Path, hash: FileHash) -> Self {
        Self { list: incoming.join(format!("{hash}.list")), parts: incoming.join(format!("{hash}.parts")) }
    }

    /// The files of a folder that is being fetched, and the hash of each.
    async fn manifest(&self) -> Option<Manifest> {
        let path = self.list.clone();
        blocking(move || Manifest::decode(&read_list(&path)?)).await.ok()
    }

    async fn parts(&self) -> Option<Vec<FileHash>> {
        let bytes = tokio::fs::read(&self.parts).await.ok()?;
        bytes.chunks_exact(32).map(|hash| FileHash::from_slice(hash).ok()).collect()
    }

    async fn write(path: PathBuf, bytes: Vec<u8>) -> Result<(), NoPlan> {
        let written = blocking(move || {
            let io = |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ContentError::Full,
                _ => ContentError::Io { what: format!("cannot write {}", path.display()), error },
            };
            let beside = path.with_extension("new");
            std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, &path)).map_err(io)
        });
        written.await.map_err(NoPlan::Here)
    }

    pub fn forget(&self) {
        for path in [&self.list, &self.parts] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(%error, path = %path.display(), "a note on a transfer was not removed");
                }
                _ => {}
            }
        }
    }
}

/// What an earlier start has found out already.
pub(super) async fn remembered(hash: FileHash, known: Known, sealed: Option<&CopyKey>, notes: &Notes) -> Option<Plan> {
    let manifest = match known.kind {
        FileKind::Folder => Some(notes.manifest().await?),
        FileKind::File => None,
    };
    let Some(key) = sealed else {
        let layout = match &manifest {
            Some(manifest) => Layout::folder(manifest).ok()?,
            None => Layout::file(hash, known.size_bytes).ok()?,
        };
        return Some(Plan { known, hash, layout, sealed: None });
    };
    let parts = notes.parts().await?;
    sealed_plan(hash, known, key, manifest.as_ref(), &parts).ok()
}

/// A copy that is kept for a contact, part by part as the contact has said it.
pub(super) fn of_copy(id: FileHash, parts: &[PartRow]) -> Result<Plan, ContentError> {
    let relative = |number: usize| (parts.len() > 1).then(|| number.to_string());
    let blobs = parts.iter().enumerate().map(|(number, part)| Blob {
        hash: part.hash,
        size: part.size_bytes,
        relative: relative(number),
        executable: false,
    });
    let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
    let files = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let kind = if parts.len() > 1 { FileKind::Folder } else { FileKind::File };
    Ok(Plan {
        known: Known { kind, size_bytes, list_bytes: 0, files },
        hash: id,
        layout: Layout::new(blobs.collect(), Vec::new())?,
        sealed: Some(Seals { ids: parts.iter().map(|part| part.id).collect(), plain: None }),
    })
}

/// What a ticket says of the content must be so: users decide by it, and so does what comes unasked.
fn keeps(hash: FileHash, promised: &Known, found: &Known) -> Result<(), NoPlan> {
    // The bytes that the hash is of, which are proven.
    let whole = |known: &Known| if known.kind == FileKind::File { known.size_bytes } else { known.list_bytes };
    match (promised.kind, found.kind) {
        (promised_kind, kind) if promised_kind == kind && promised.size_bytes == found.size_bytes => return Ok(()),
        // The list of a folder is a file as well: the ticket may be right, and this peer takes it for the other.
        (FileKind::Folder, FileKind::File) => return Err(NoPlan::Not(Status::NotFound)),
        (FileKind::File, FileKind::Folder) if promised.size_bytes == whole(found) => {
            return Err(NoPlan::Not(Status::NotFound));
        }
        _ => {}
    }
    let named = |known: &Known| match known.kind {
        FileKind::File => format!("a file of {} bytes", known.size_bytes),
        FileKind::Folder => format!("a folder of {} bytes", known.size_bytes),
    };
    let message = format!("the ticket promises {}, and the content is {}", named(promised), named(found));
    let advice = format!("Ask for the right ticket; or cancel this, and take what it is: kithctl files get {hash}");
    Err(NoPlan::Never(Failure::new(FailureKind::VerificationFailed, message).advise(advice)))
}

/// From somebody who has the content itself. `promised`: what the ticket says.
pub(super) async fn plain(
    hash: FileHash,
    promised: Option<&Known>,
    found: &mut Found,
    notes: &Notes,
) -> Result<Plan, NoPlan> {
    let keeps = |known: &Known| promised.map_or(Ok(()), |promised| keeps(hash, promised, known));
    let answer = &found.answer;
    let talk = &mut found.talk;
    let whole = |kind, size_bytes, list_bytes, files, layout| Plan {
        known: Known { kind, size_bytes, list_bytes, files },
        hash,
        layout,
        sealed: None,
    };
    match answer.kind {
        FileKind::File => {
            prove(talk, hash, hash, false, answer.size_bytes).await?;
            let layout = Layout::file(hash, answer.size_bytes).map_err(NoPlan::verifying)?;
            let plan = whole(FileKind::File, answer.size_bytes, 0, 1, layout);
            keeps(&plan.known)?;
            Ok(plan)
        }
        FileKind::Folder => {
            let list_bytes = answer.list_bytes;
            let list = fetch_all(talk, hash, hash, false, list_bytes).await?;
            let manifest = Manifest::decode(&list).map_err(NoPlan::verifying)?;
            let files = u32::try_from(manifest.entries.len()).unwrap_or(u32::MAX);
            let layout = Layout::folder(&manifest).map_err(NoPlan::verifying)?;
            let plan = whole(FileKind::Folder, manifest.total_bytes(), list_bytes, files, layout);
            keeps(&plan.known)?;
            Notes::write(notes.list.clone(), list).await?;
            Ok(plan)
        }
    }
}

/// From somebody who keeps a sealed copy. `known`: what the ticket says, which is proven when the copy is opened.
pub(super) async fn sealed(
    hash: FileHash,
    known: Known,
    key: &CopyKey,
    found: &mut Found,
    notes: &Notes,
) -> Result<Plan, NoPlan> {
    let Some((copy, copy_bytes)) = found.answer.copy else { return Err(NoPlan::Not(Status::NotFound)) };
    let talk = &mut found.talk;
    let id = lookup_id(key, hash);
    let (manifest, parts) = match known.kind {
        FileKind::File => {
            if copy_bytes != sealed_bytes(known.size_bytes) {
                return Err(NoPlan::Lied("its copy has another size".to_owned()));
            }
            prove(talk, id, copy, true, copy_bytes).await?;
            begins(talk, key, hash, known.size_bytes, copy).await?;
            (None, vec![copy])
        }
        FileKind::Folder => {
            if copy_bytes > sealed_bytes(MAX_LIST_BYTES) {
                return Err(NoPlan::Lied("its copy has another size".to_owned()));
            }
            let sealed = fetch_all(talk, id, copy, true, copy_bytes).await?;
            let secret = copy_key(key, hash);
            let list = kith_content::open_bytes(&secret, hash, &sealed).map_err(NoPlan::verifying)?;
            let manifest = Manifest::decode(&list).map_err(NoPlan::verifying)?;
            keeps(hash, &known, &Known { size_bytes: manifest.total_bytes(), ..known })?;
            let parts = copies(talk, key, &manifest).await?;
            // Of the part that it would be worst to fetch in vain.
            if let Some((entry, copy)) = manifest.entries.iter().zip(&parts).max_by_key(|(entry, _)| entry.size) {
                begins(talk, key, entry.hash, entry.size, *copy).await?;
            }
            Notes::write(notes.list.clone(), list).await?;
            (Some(manifest), parts)
        }
    };
    let bytes: Vec<u8> = parts.iter().flat_map(|hash| *hash.as_bytes()).collect();
    let known = match &manifest {
        Some(manifest) => Known {
            size_bytes: manifest.total_bytes(),
            files: u32::try_from(manifest.entries.len()).unwrap_or(u32::MAX),
            ..known
        },
        None => known,
    };
    let plan = sealed_plan(hash, known, key, manifest.as_ref(), &parts)?;
    Notes::write(notes.parts.clone(), bytes).await?;
    Ok(plan)
}

/// That a copy opens where it begins: which bytes it has is the keeper's word alone until all of it is there.
async fn begins(talk: &mut Talk, key: &CopyKey, hash: FileHash, size: u64, copy: FileHash) -> Result<(), NoPlan> {
    let copy_bytes = sealed_bytes(size);
    let length = SEALED_SEGMENT_BYTES.next_multiple_of(GROUP_BYTES).min(copy_bytes);
    let id = lookup_id(key, hash);
    let get = Get { id: 0, hash: id, copy: true, size_bytes: copy_bytes, start: 0, length };
    let encoded = answer(talk.get(get).await?)?;
    let start = kith_content::decode(copy, copy_bytes, 0..length, &encoded).map_err(NoPlan::verifying)?;
    if opens_start(&copy_key(key, hash), size, &start) {
        return Ok(());
    }
    Err(NoPlan::Lied("its copy does not open with the key of the ticket".to_owned()))
}

/// Whether a further keeper has the copies of the plan, file by file, as it says itself.
pub(super) async fn has_copies(talk: &mut Talk, copies: &[CopyPart]) -> Result<bool, FrameError> {
    for some in copies.chunks(MAX_QUESTIONS) {
        let questions: Vec<Question> = some.iter().map(|copy| Question { hash: None, copy: Some(copy.id) }).collect();
        let answers = talk.have(&questions).await?;
        if answers.iter().zip(some).any(|(answer, copy)| answer.copy != Some(copy.bytes)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of each file in the folder, the hash of its sealed copy, as the keeper says it.
async fn copies(talk: &mut Talk, key: &CopyKey, manifest: &Manifest) -> Result<Vec<FileHash>, NoPlan> {
    let mut parts = Vec::with_capacity(manifest.entries.len());
    for entries in manifest.entries.chunks(MAX_QUESTIONS) {
        let questions: Vec<Question> =
            entries.iter().map(|entry| Question { hash: None, copy: Some(lookup_id(key, entry.hash)) }).collect();
        for (answer, entry) in talk.have(&questions).await?.into_iter().zip(entries) {
            match answer.copy {
                Some((hash, bytes)) if bytes == sealed_bytes(entry.size) => parts.push(hash),
                Some(_) => return Err(NoPlan::Lied("its copy has another size".to_owned())),
                None => return Err(NoPlan::Not(Status::Missing)),
            }
        }
    }
    Ok(parts)
}

fn sealed_plan(
    hash: FileHash,
    known: Known,
    key: &CopyKey,
    manifest: Option<&Manifest>,
    parts: &[FileHash],
) -> Result<Plan, NoPlan> {
    let Some(manifest) = manifest else {
        let copy = *parts.first().ok_or(NoPlan::Not(Status::NotFound))?;
        let plain = Plain { key: copy_key(key, hash), hash, size: known.size_bytes };
        let seals = Seals { ids: vec![lookup_id(key, hash)], plain: Some(vec![plain]) };
        let layout = Layout::file(copy, sealed_bytes(known.size_bytes)).map_err(NoPlan::verifying)?;
        return Ok(Plan { known, hash: copy, layout, sealed: Some(seals) });
    };
    if parts.len() != manifest.entries.len() {
        return Err(NoPlan::Not(Status::Missing));
    }
    let blobs = manifest.entries.iter().zip(parts).map(|(entry, copy)| Blob {
        hash: *copy,
        size: sealed_bytes(entry.size),
        relative: Some(entry.path.clone()),
        executable: entry.executable,
    });
    let layout = Layout::new(blobs.collect(), manifest.empty_folders.clone()).map_err(NoPlan::verifying)?;
    let plain =
        |entry: &kith_content::Entry| Plain { key: copy_key(key, entry.hash), hash: entry.hash, size: entry.size };
    let seals = Seals {
        ids: manifest.entries.iter().map(|entry| lookup_id(key, entry.hash)).collect(),
        plain: Some(manifest.entries.iter().map(plain).collect()),
    };
    Ok(Plan { known, hash: sealed_name(hash), layout, sealed: Some(seals) })
}

/// The partial of a folder's sealed files. Not called by the folder's own hash: both may be there.
fn sealed_name(hash: FileHash) -> FileHash {
    kith_content::hash_bytes(&[b"kith sealed".as_slice(), hash.as_bytes()].concat())
}

/// What the partials of this content may be called by.
pub(super) async fn names(hash: FileHash, notes: &Notes) -> Vec<FileHash> {
    let copy = notes.parts().await.and_then(|parts| parts.first().copied());
    [hash, sealed_name(hash)].into_iter().chain(copy).collect()
}

/// That content of this hash has this size: its last group says so.
async fn prove(talk: &mut Talk, ask: FileHash, hash: FileHash, copy: bool, size: u64) -> Result<(), NoPlan> {
    if size > MAX_SIZE_BYTES {
        return Err(NoPlan::Lied("it claims a size that no file has".to_owned()));
    }
    let range = kith_content::proof_range(size);
    let encoded = if range.is_empty() {
        Vec::new()
    } else {
        let (start, length) = (range.start, range.end - range.start);
        answer(talk.get(Get { id: 0, hash: ask, copy, size_bytes: size, start, length }).await?)?
    };
    kith_content::check_proof(hash, size, &encoded).map_err(NoPlan::verifying)
}

/// All of something short.
async fn fetch_all(talk: &mut Talk, ask: FileHash, hash: FileHash, copy: bool, size: u64) -> Result<Vec<u8>, NoPlan> {
    prove(talk, ask, hash, copy, size).await?;
    let mut all = Vec::new();
    let mut start = 0;
    while start < size {
        let length = LIST_RANGE.min(size - start);
        let encoded = answer(talk.get(Get { id: 0, hash: ask, copy, size_bytes: size, start, length }).await?)?;
        all.extend(kith_content::decode(hash, size, start..start + length, &encoded).map_err(NoPlan::verifying)?);
        start += length;
    }
    Ok(all)
}

fn answer(got: Got) -> Result<Vec<u8>, NoPlan> {
    match got {
        Got::Bytes(bytes) => Ok(bytes),
        Got::Not(status) => Err(NoPlan::Not(status)),
    }
}
