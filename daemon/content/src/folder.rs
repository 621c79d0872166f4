//! Adding folders: what is in them, and the hash of each file.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kith_common::file::{FileHash, MAX_FOLDER_FILES, MAX_SIZE_BYTES};
use rustix::fs::Access;

use crate::add::{FileStat, add_opened};
use crate::dir::{Dir, Open, at};
use crate::error::{ContentError, Result};
use crate::hash::Scratch;
use crate::manifest::{Entry, MAX_DEPTH, Manifest};
use crate::name::component_fault;
use crate::partial::PARTIAL_FOLDER;
use crate::tree::hash_bytes;

const EXECUTABLE_BITS: u32 = 0o111;
/// Files that are found between two looks at whether to go on.
const FILES_A_LOOK: usize = 256;

/// A file that is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Names separated by `/`.
    pub relative: String,
    /// In bytes, when it was seen.
    pub size: u64,
    pub executable: bool,
}

/// What is in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Sorted by path.
    pub files: Vec<Walked>,
    /// Sorted.
    pub empty_folders: Vec<String>,
    /// Links, sockets, pipes and devices, which are not shared.
    pub skipped: u32,
}

impl Walk {
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// How far [`add_folder`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderProgress {
    pub done_bytes: u64,
    /// 0 while it is still being looked at what there is.
    pub total_bytes: u64,
    /// Found, then hashed.
    pub files: u32,
    /// The file that was hashed just now: its outboard is there, whatever becomes of the folder.
    pub hashed: Option<FileHash>,
}

/// A folder that has been hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFolder {
    pub manifest: Manifest,
    /// Of the encoded manifest.
    pub hash: FileHash,
    /// Of each file as it was read, in the order of the entries.
    pub stats: Vec<FileStat>,
    pub skipped: u32,
}

/// Lists a folder with all that is below it. No link is followed. `progress` gets the number of files that have been found.
///
/// # Errors
/// [`ContentError::NotPermitted`] with the path of the first thing that cannot be read, [`ContentError::BadName`],
/// [`ContentError::TooManyFiles`], [`ContentError::TooDeep`], [`ContentError::TooLarge`], [`ContentError::Cancelled`].
pub fn walk(folder: &Path, progress: &mut dyn FnMut(u32) -> ControlFlow<()>) -> Result<Walk> {
    let mut walk = Walk::default();
    // Relative paths, and how many names they have.
    let mut waiting = vec![(String::new(), 0)];
    while let Some((relative, depth)) = waiting.pop() {
        let path = folder.join(&relative);
        let mut empty = true;
        for entry in fs::read_dir(&path).map_err(ContentError::at("read", &path))? {
            let entry = entry.map_err(ContentError::at("read", &path))?;
            let kind = entry.file_type().map_err(ContentError::at("look at", &entry.path()))?;
            if depth == 0 && entry.file_name() == PARTIAL_FOLDER {
                continue;
            }
            empty = false;
            if !kind.is_dir() && !kind.is_file() {
                walk.skipped = walk.skipped.saturating_add(1);
                continue;
            }
            if depth >= MAX_DEPTH {
                return Err(ContentError::TooDeep(entry.path()));
            }
            let relative = joined(&relative, &entry)?;
            if kind.is_dir() {
                waiting.push((relative, depth + 1));
            } else {
                walk.files.push(walked(relative, &entry)?);
                look(&walk, &waiting, progress)?;
            }
        }
        if empty && depth > 0 {
            walk.empty_folders.push(relative);
            look(&walk, &waiting, progress)?;
        }
    }
    if walk.total_bytes() > MAX_SIZE_BYTES {
        return Err(ContentError::TooLarge);
    }
    walk.files.sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    walk.empty_folders.sort_unstable();
    Ok(walk)
}

fn look(walk: &Walk, waiting: &[(String, usize)], progress: &mut dyn FnMut(u32) -> ControlFlow<()>) -> Result<()> {
    let found = walk.files.len() + walk.empty_folders.len();
    if found > MAX_FOLDER_FILES as usize || waiting.len() > MAX_FOLDER_FILES as usize {
        return Err(ContentError::TooManyFiles);
    }
    if found.is_multiple_of(FILES_A_LOOK) && progress(u32::try_from(found).unwrap_or(u32::MAX)).is_break() {
        return Err(ContentError::Cancelled);
    }
    Ok(())
}

fn joined(relative: &str, entry: &fs::DirEntry) -> Result<String> {
    let name = entry.file_name();
    let bad = |why| ContentError::BadName { path: entry.path(), why };
    let name = name.to_str().ok_or_else(|| bad("its name is no text"))?;
    match component_fault(name) {
        Some(why) => Err(bad(why)),
        None if relative.is_empty() => Ok(name.to_owned()),
        None => Ok(format!("{relative}/{name}")),
    }
}

fn walked(relative: String, entry: &fs::DirEntry) -> Result<Walked> {
    let path = entry.path();
    let metadata = entry.metadata().map_err(ContentError::at("look at", &path))?;
    // Before hours of hashing, not after.
    rustix::fs::access(&path, Access::READ_OK).map_err(at("read", &path))?;
    Ok(Walked { relative, size: metadata.len(), executable: metadata.mode() & EXECUTABLE_BITS != 0 })
}

/// Lists a folder and hashes each file, keeping the outboards. Nothing is written to the folder, and no link in it is followed, not
/// even one that takes a file's place meanwhile.
///
/// # Errors
/// Those of [`walk`] and [`crate::add_file`], with [`ContentError::Unsteady`] for a file that changes; [`ContentError::BadName`] when two names differ only in case.
pub fn add_folder(
    folder: &Path,
    outboards: &Path,
    progress: &mut dyn FnMut(FolderProgress) -> ControlFlow<()>,
) -> Result<AddedFolder> {
    let mut state = FolderProgress { done_bytes: 0, total_bytes: 0, files: 0, hashed: None };
    let walk = walk(folder, &mut |files| progress(FolderProgress { files, ..state }))?;
    let dir = Dir::open(folder)?;
    let (mut entries, mut stats, mut scratch) = (Vec::new(), Vec::new(), Scratch::default());
    state.total_bytes = walk.total_bytes();
    check_case(folder, &walk)?;
    for file in walk.files {
        let path = dir.join(&file.relative);
        let opened = dir.file(&file.relative, Open::Read).map_err(|error| unsteady(error, &path))?;
        let before = state.done_bytes;
        let mut follow = |done: u64| progress(FolderProgress { done_bytes: before + done, ..state });
        let added =
            add_opened(&opened, outboards, &mut scratch, &mut follow).map_err(|error| unsteady(error, &path))?;
        state.done_bytes += added.stat.size;
        state.files += 1;
        if progress(FolderProgress { hashed: Some(added.hash), ..state }).is_break() {
            return Err(ContentError::Cancelled);
        }
        entries.push(Entry {
            path: file.relative,
            hash: added.hash,
            size: added.stat.size,
            executable: file.executable,
        });
        stats.push(added.stat);
    }
    if progress(state).is_break() {
        return Err(ContentError::Cancelled);
    }
    // Sorted already, so the stats stay in step.
    let manifest = Manifest::new(entries, walk.empty_folders)?;
    let hash = hash_bytes(&manifest.encode());
    Ok(AddedFolder { manifest, hash, stats, skipped: walk.skipped })
}

/// Says which of the files it was.
fn unsteady(error: ContentError, path: &Path) -> ContentError {
    match error {
        ContentError::Changed | ContentError::Missing => ContentError::Unsteady(path.to_owned()),
        error => error,
    }
}

/// The manifest refuses it as well, but cannot say where.
fn check_case(folder: &Path, walk: &Walk) -> Result<()> {
    let paths = || walk.files.iter().map(|file| &file.relative).chain(&walk.empty_folders);
    let mut folded: Vec<(String, &String)> = paths().map(|path| (path.to_lowercase(), path)).collect();
    folded.sort_unstable();
    match folded.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(ContentError::BadName {
            path: folder.join(pair[1].1),
            why: "another name differs from it only in case",
        }),
        None => Ok(()),
    }
}
