//! The end of what is fetched: whole and in its place, or gone.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kith_common::file::{FileHash, FileKind};

use super::{BITS, DATA, OUTBOARD, PARTIAL_FOLDER, Partial, open_blob};
use crate::add::{OWN_MODE, Temporary, outboard_path};
use crate::dir::{Dir, Open, at, only_ours};
use crate::error::{ContentError, Result};
use crate::place::place_in;
use crate::seal::{SealKey, decrypt};
use crate::tree::{GROUP_BYTES, outboard_bytes};
use crate::{Progress, disk};

/// What is being put into place: device, inode, and the name that is tried.
const PLACING: &str = "placing";
/// What has been decrypted, where `DATA` is sealed.
const OPENED: &str = "opened";
const COPY_BYTES: u64 = 1024 * 1024;
const READABLE_BITS: u32 = 0o444;

/// What a sealed blob is when it is opened.
#[derive(Debug, Clone)]
pub struct Plain {
    pub key: SealKey,
    pub hash: FileHash,
    /// In bytes.
    pub size: u64,
}

impl Partial {
    /// Puts what is whole into its folder, under the safe form of `name` or the next free one, and returns the full path.
    ///
    /// A note of that path stays until [`Partial::discard_at`]: call it when the path has been noted elsewhere. When the daemon is
    /// killed before, [`Partial::placed`] knows the path.
    ///
    /// # Errors
    /// [`ContentError::Incomplete`] when units are missing, because somebody has removed files of it for one;
    /// [`ContentError::NoFreeName`], [`ContentError::Full`], `Io`. All that was fetched is still there then.
    pub fn finish(self, name: &str) -> Result<PathBuf> {
        self.check_whole()?;
        for (number, blob) in self.layout.blobs.iter().enumerate() {
            let how = if blob.size == 0 { Open::Write } else { Open::Existing };
            self.complete(&self.data(number, how)?, number, blob.size)?;
        }
        self.put(DATA, name)
    }

    /// The same for a sealed copy: decrypts each blob, `plain` in the order of the layout, and puts the content into place. `progress`
    /// gets the bytes that are decrypted. For a while both need room.
    ///
    /// # Errors
    /// As [`Partial::finish`]; [`ContentError::Lie`] when a copy does not open or is of another content; [`ContentError::NoRoom`],
    /// [`ContentError::Cancelled`]. The copy is still there then.
    pub fn finish_sealed(self, name: &str, plain: &[Plain], progress: Progress<'_>) -> Result<PathBuf> {
        self.check_whole()?;
        if plain.len() != self.layout.blobs.len() {
            return Err(ContentError::Lie("the sealed copy has other files than the folder"));
        }
        self.remove(OPENED)?;
        disk::room(self.own.path(), plain.iter().fold(0, |sum, blob| sum.saturating_add(blob.size)))?;
        let mut before = 0;
        for (number, Plain { key, hash, size }) in plain.iter().enumerate() {
            if crate::seal::sealed_bytes(*size) != self.layout.blobs[number].size {
                return Err(ContentError::Lie("the sealed copy has another length than the file would give it"));
            }
            let sealed = self.data(number, Open::Read)?;
            let mut opened = open_blob(&self.own, OPENED, &self.layout, number, Open::New)?;
            let mut follow = |done: u64| progress(before + done);
            decrypt(&sealed, key, *hash, *size, &mut opened, &mut follow).map_err(|error| match error {
                ContentError::Io { error, .. } => ContentError::at("decrypt", &self.data_path(number))(error),
                error => error,
            })?;
            self.complete(&opened, number, *size)?;
            before += size;
        }
        self.put(OPENED, name)
    }

    /// What a finish that was killed has put into place: ask before [`Partial::create_or_open`], note the path, and then call
    /// [`Partial::discard_at`].
    pub fn placed(target_folder: &Path, hash: FileHash) -> Option<PathBuf> {
        let target = Dir::open(target_folder).ok()?;
        let all = target.sub(PARTIAL_FOLDER).ok().filter(|all| only_ours(all, &target).is_ok())?;
        let own = all.sub(&hash.to_string()).ok()?;
        let mut note = String::new();
        own.file(PLACING, Open::Read).ok()?.read_to_string(&mut note).ok()?;
        let mut lines = note.lines();
        let (dev, ino, name) = (lines.next()?, lines.next()?, lines.next()?);
        let path = target.join(name);
        let found = fs::symlink_metadata(&path).ok()?;
        // The name has no separator: it is a safe one. A file of that name that is not this one is another one.
        let same = dev.parse() == Ok(found.dev()) && ino.parse() == Ok(found.ino()) && !name.contains('/');
        same.then_some(path)
    }

    /// Keeps the outboards of all blobs, so that what was fetched can be shared without hashing it again. Before [`Partial::finish`],
    /// when all is there.
    ///
    /// # Errors
    /// [`ContentError::Incomplete`], [`ContentError::Full`], `Io`.
    pub fn keep_outboards(&self, outboards: &Path) -> Result<()> {
        self.check_whole()?;
        let mut buffer = Vec::new();
        for blob in self.layout.blobs.iter().filter(|blob| blob.size > GROUP_BYTES) {
            let temporary = Temporary::create(outboards, OWN_MODE)?;
            let (mut at, end) = (blob.outboard_base, blob.outboard_base + outboard_bytes(blob.size));
            while at < end {
                buffer.resize(usize::try_from(COPY_BYTES.min(end - at)).unwrap_or_default(), 0);
                self.outboard
                    .read_exact_at(&mut buffer, at)
                    .map_err(ContentError::at("read", &self.own.join(OUTBOARD)))?;
                let written = temporary.file().write_all(&buffer);
                written.map_err(ContentError::at("write", temporary.path()))?;
                at += buffer.len() as u64;
            }
            temporary.keep(&outboard_path(outboards, blob.hash))?;
        }
        Ok(())
    }

    /// Deletes all that was fetched.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn discard(self) -> Result<()> {
        let (target, hash) = (self.target.path().to_owned(), self.hash);
        drop(self);
        Self::discard_at(&target, hash)
    }

    /// Deletes what there is of a content that is not open: what was fetched, or the note that a finish has left. What is in place
    /// stays. That there is nothing is no error.
    ///
    /// # Errors
    /// [`ContentError::InUse`] when it is open; those of the file system.
    pub fn discard_at(target_folder: &Path, hash: FileHash) -> Result<()> {
        let gone = |outcome: Result<Dir>| match outcome {
            Err(ContentError::Missing | ContentError::NotAFile(_)) => Ok(None),
            outcome => outcome.map(Some),
        };
        let Some(target) = gone(Dir::open(target_folder))? else { return Ok(()) };
        let Some(all) = gone(target.sub(PARTIAL_FOLDER))? else { return Ok(()) };
        only_ours(&all, &target)?;
        let name = hash.to_string();
        if let Some(own) = gone(all.sub(&name))? {
            match own.file(BITS, Open::Read) {
                Ok(bits) => super::lock(&bits, own.path())?,
                Err(ContentError::Missing) => {}
                Err(error) => return Err(error),
            }
            fs::remove_dir_all(own.path()).map_err(ContentError::at("remove", own.path()))?;
        }
        target.remove_empty(PARTIAL_FOLDER);
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        self.forget_what_is_gone()?;
        let bits = self.bits();
        match bits.len() - bits.count() {
            0 => Ok(()),
            missing_units => Err(ContentError::Incomplete { missing_units }),
        }
    }

    /// As long as it has to be, as executable as it has to be, and on the disk.
    fn complete(&self, file: &File, blob: usize, size: u64) -> Result<()> {
        let path = self.data_path(blob);
        let metadata = file.metadata().map_err(ContentError::at("look at", &path))?;
        if metadata.len() != size {
            return Err(ContentError::Damaged("what was fetched"));
        }
        if self.layout.blobs[blob].executable {
            // For whoever may read it.
            let mode = metadata.mode() | ((metadata.mode() & READABLE_BITS) >> 2);
            file.set_permissions(Permissions::from_mode(mode)).map_err(ContentError::at("change", &path))?;
        }
        if self.layout.kind() == FileKind::File {
            file.sync_all().map_err(ContentError::at("sync", &path))?;
        }
        Ok(())
    }

    fn put(self, from: &str, name: &str) -> Result<PathBuf> {
        let kind = self.layout.kind();
        if kind == FileKind::Folder {
            self.own.make_all(from)?;
            for folder in &self.layout.empty_folders {
                self.own.make_all(&format!("{from}/{folder}"))?;
            }
            rustix::fs::syncfs(&self.outboard).map_err(at("sync", self.own.path()))?;
        }
        let path = self.own.join(from);
        let metadata = fs::symlink_metadata(&path).map_err(ContentError::at("look at", &path))?;
        let mut note = |name: &str| {
            let text = format!("{}\n{}\n{name}\n", metadata.dev(), metadata.ino());
            let path = self.own.join(PLACING);
            let file = self.own.file(PLACING, Open::Write)?;
            let written = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
            written.map_err(ContentError::at("write", &path))
        };
        let placed = place_in(&self.own, from, &self.target, name, kind, &mut note)?;
        let path = self.target.join(&placed);
        // It is in place: what cannot be removed is removed with the note.
        for rest in [DATA, OUTBOARD, BITS] {
            if let Err(error) = self.remove(rest) {
                tracing::warn!(%error, "something stays behind");
            }
        }
        Ok(path)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.own.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContentError::at("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}
