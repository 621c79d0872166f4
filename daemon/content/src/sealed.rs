//! Sealed copies that are served without being kept: made of the plain file, range by range, as they are asked for.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kith_common::file::FileHash;

use crate::add::{FileStat, open_outboard, open_regular};
use crate::error::{ContentError, Result};
use crate::seal::{Cipher, SEALED_SEGMENT_BYTES, SEGMENT_BYTES, SealKey, sealed_bytes};
use crate::serve::{Owner, Provide, copy_from, read_within, short_range};
use crate::tree::{Encoder, Form, Pairs};

/// The sealed copy of a plain file. Its hash and its outboard come from [`crate::add_sealed`].
///
/// Each range is verified against them, so nothing leaves that is encrypted of anything but the content the key was made for.
pub struct SealedServed {
    file: File,
    plain_size: u64,
    cipher: Cipher,
    outboard: Option<File>,
    hash: FileHash,
    owner: Owner,
}

impl SealedServed {
    /// `path` and `stat` are those of the plain file, `outboard` and `sealed` (the hash) those of the copy.
    ///
    /// # Errors
    /// As [`crate::Served::open`].
    pub fn open(
        path: &Path,
        outboard: Option<&Path>,
        key: SealKey,
        sealed: FileHash,
        stat: Option<FileStat>,
    ) -> Result<Self> {
        let file = open_regular(path)?;
        let found = FileStat::of(&file)?;
        let owner = match stat {
            Some(stat) if stat != found => return Err(ContentError::Changed),
            Some(stat) => Owner::User(stat),
            None => Owner::Store,
        };
        let outboard = open_outboard(outboard, sealed_bytes(found.size))?;
        Ok(Self { file, plain_size: found.size, cipher: Cipher::new(&key, found.size), outboard, hash: sealed, owner })
    }

    fn run(&self, range: Range<u64>, form: Form, to: &mut Vec<u8>) -> Result<()> {
        if let Owner::User(stat) = self.owner
            && FileStat::of(&self.file)? != stat
        {
            return Err(ContentError::Changed);
        }
        let first = range.start / SEALED_SEGMENT_BYTES;
        let copy = self.seal(first..range.end.div_ceil(SEALED_SEGMENT_BYTES))?;
        let start = first * SEALED_SEGMENT_BYTES;
        let mut read = |offset: u64, to: &mut [u8]| copy_from(&copy, offset - start, to);
        let pairs = self.outboard.as_ref().map_or(Pairs::Memory(&[]), |file| Pairs::file(file, 0));
        let encoder = Encoder { hash: self.hash, size: self.size(), range, form, pairs, read: &mut read };
        encoder.run(to).map_err(|fault| self.owner.blame(fault))
    }

    /// Segments of the copy.
    fn seal(&self, segments: Range<u64>) -> Result<Vec<u8>> {
        let failed = |error| ContentError::Io { what: "cannot read the file".into(), error };
        let mut copy = Vec::new();
        let mut segment = Vec::new();
        for number in segments {
            let offset = number * SEGMENT_BYTES;
            let left = self.plain_size.saturating_sub(offset).min(SEGMENT_BYTES);
            segment.clear();
            segment.resize(usize::try_from(left).unwrap_or_default(), 0);
            self.file.read_exact_at(&mut segment, offset).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => ContentError::Changed,
                _ => failed(error),
            })?;
            self.cipher.seal(number, &mut segment)?;
            copy.extend_from_slice(&segment);
        }
        Ok(copy)
    }
}

impl Provide for SealedServed {
    fn hash(&self) -> FileHash {
        self.hash
    }

    fn size(&self) -> u64 {
        sealed_bytes(self.plain_size)
    }

    fn encode(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        self.run(short_range(self.size(), &range)?, Form::Encoded, to)
    }

    fn read(&self, range: Range<u64>, to: &mut Vec<u8>) -> Result<()> {
        read_within(self.size(), &range, to, |groups, to| self.run(groups, Form::Plain, to))
    }
}
