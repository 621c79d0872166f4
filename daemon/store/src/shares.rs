//! What this node shares: files and folders by their hash, what they consist of, for whom, and who is to be told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use kith_common::file::{CopyKey, CopyState, FileHash, FileKind, MAX_SHARES_PAGE, ShareScope, ShareState};
use kith_common::ids::PeerId;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use crate::store::{int, peer, uint};
use crate::{Result, Store};

const COLUMNS: &str =
    "key, hash, name, kind, size, list_size, files, scope, state, path, own, copy_key, added_ms, sent";

/// Words of a search that are looked at.
const MAX_WORDS: usize = 16;

/// A word that is looked for: in the name or the path of a share, as its hash, or as one of those whom it was shared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareWord {
    pub text: String,
    /// Who is called so.
    pub peers: Vec<PeerId>,
}

/// One share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// Rises with each share.
    pub position: u64,
    pub hash: FileHash,
    pub name: String,
    pub kind: FileKind,
    pub size_bytes: u64,
    /// Of a folder's list of files, which the hash is of; 0 for a file.
    pub list_bytes: u64,
    pub files: u32,
    pub scope: ShareScope,
    /// Who was named when it was added: who alone gets it, of scope `Peers`.
    pub peers: Vec<PeerId>,
    pub state: ShareState,
    pub path: PathBuf,
    /// The daemon has a copy of its own there, which goes with the share.
    pub own_copy: bool,
    pub key: CopyKey,
    pub added_unix_ms: i64,
    pub sent_bytes: u64,
    pub copies: Vec<CopyRow>,
}

/// A sealed copy at a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRow {
    pub peer: PeerId,
    pub state: CopyState,
    pub held_bytes: u64,
    pub reason: String,
}

/// A file, or a folder's list, as it was when it was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceRow {
    pub hash: FileHash,
    /// From the path of the share on; empty: that path.
    pub path: PathBuf,
    pub size_bytes: u64,
    pub dev: u64,
    pub ino: u64,
    pub mtime_ns: i64,
}

/// A piece, with what decides who gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub piece: i64,
    pub share: FileHash,
    pub name: String,
    pub kind: FileKind,
    pub size_bytes: u64,
    pub list_bytes: u64,
    pub files: u32,
    pub scope: ShareScope,
    pub peers: Vec<PeerId>,
    pub state: ShareState,
    pub key: CopyKey,
    /// With the whole path.
    pub of: PieceRow,
    /// Of the sealed copy, if one is wanted.
    pub copy_hash: Option<FileHash>,
}

/// What is told to a peer that a share is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    NotYet,
    Told,
    Refused,
}

impl Told {
    const fn number(self) -> i64 {
        match self {
            Self::NotYet => 1,
            Self::Told => 2,
            Self::Refused => 3,
        }
    }
}

impl Store {
    /// A new share, with its pieces. One of the same content takes over the new place and name, and is for all whom either
    /// was for: what was promised to somebody stays so. `row.position` and `row.copies` are not looked at; a key that there
    /// is already stays.
    pub fn put_share(&mut self, row: &ShareRow, pieces: &[PieceRow]) -> Result<ShareRow> {
        self.atomically(|store| {
            let (position, old, sealed) = match store.share(row.hash)? {
                Some(old) => {
                    let sealed = store.sealed_of(old.position)?;
                    store.change("DELETE FROM piece WHERE share = ?", [int(old.position)])?;
                    (int(old.position), Some(old), sealed)
                }
                None => (store.value("SELECT coalesce(max(key), 0) + 1 FROM share", [])?, None, BTreeMap::new()),
            };
            let scope = old.as_ref().map_or(row.scope, |old| wider(old.scope, row.scope));
            let key = old.as_ref().map_or(&row.key, |old| &old.key);
            store.change(
                "INSERT INTO share (key, hash, name, kind, size, list_size, files, scope, state, path, own, copy_key, added_ms)
                 VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET name = excluded.name, scope = excluded.scope,
                   state = excluded.state, path = excluded.path, own = excluded.own, added_ms = excluded.added_ms",
                params![
                    position,
                    row.hash.as_bytes(),
                    row.name,
                    kind_number(row.kind),
                    int(row.size_bytes),
                    int(row.list_bytes),
                    row.files,
                    scope_number(scope),
                    state_number(row.state),
                    row.path.as_os_str().as_bytes(),
                    row.own_copy,
                    key.0,
                    row.added_unix_ms,
                ],
            )?;
            for piece in pieces {
                // The key is what it was, and so are the copies that are out there.
                let (copy_id, copy_hash) = sealed.get(&piece.hash).copied().unzip();
                store.change(
                    "INSERT INTO piece (share, hash, path, size, dev, ino, mtime_ns, copy_id, copy_hash)
                     VALUES (?,?,?,?,?,?,?,?,?)",
                    params![
                        position,
                        piece.hash.as_bytes(),
                        piece.path.as_os_str().as_bytes(),
                        int(piece.size_bytes),
                        piece.dev.cast_signed(),
                        piece.ino.cast_signed(),
                        piece.mtime_ns,
                        copy_id,
                        copy_hash,
                    ],
                )?;
            }
            for peer in &row.peers {
                store.change(
                    "INSERT INTO share_peer (share, peer, offer) VALUES (?, ?, ?)
                     ON CONFLICT (share, peer) DO UPDATE SET offer = excluded.offer",
                    params![position, peer.public_key(), Told::NotYet.number()],
                )?;
            }
            let put = store.share(row.hash)?;
            put.ok_or_else(|| crate::StoreError::Damaged("a share that was written is not there".into()))
        })
    }

    pub fn share(&self, hash: FileHash) -> Result<Option<ShareRow>> {
        let row = self.row(&format!("SELECT {COLUMNS} FROM share WHERE hash = ?"), [hash.as_bytes()], share)?;
        row.map(|row| self.with_people(row)).transpose()
    }

    /// The newest first, before that position (0: the newest), that have all of the words.
    pub fn shares(&self, words: &[ShareWord], before: u64, limit: u32) -> Result<Vec<ShareRow>> {
        let before = if before == 0 { i64::MAX } else { int(before) };
        let mut sql = format!("SELECT {COLUMNS} FROM share WHERE key < ?");
        let mut values = vec![Value::from(before)];
        for word in words.iter().take(MAX_WORDS) {
            // SQLite knows the capitals of ASCII only; others are found as they are written.
            sql.push_str(
                " AND (instr(lower(name), ?) > 0 OR instr(lower(CAST(path AS TEXT)), ?) > 0 OR instr(name, ?) > 0
                   OR instr(CAST(path AS TEXT), ?) > 0",
            );
            let small = word.text.to_lowercase();
            values.extend([&small, &small, &word.text, &word.text].map(|text| Value::from(text.clone())));
            if let Ok(hash) = word.text.parse::<FileHash>() {
                sql.push_str(" OR hash = ?");
                values.push(hash.as_bytes().to_vec().into());
            }
            if !word.peers.is_empty() {
                let peers = vec!["?"; word.peers.len()].join(", ");
                sql.push_str(&format!(
                    " OR EXISTS (SELECT 1 FROM share_peer WHERE share = share.key AND peer IN ({peers}))"
                ));
                values.extend(word.peers.iter().map(|peer| Value::from(peer.public_key().to_vec())));
            }
            sql.push(')');
        }
        sql.push_str(" ORDER BY key DESC LIMIT ?");
        values.push(limit.min(MAX_SHARES_PAGE).into());
        let rows = self.rows(&sql, params_from_iter(values), share)?;
        rows.into_iter().map(|row| self.with_people(row)).collect()
    }

    pub fn count_shares(&self) -> Result<u32> {
        self.value("SELECT count(*) FROM share", [])
    }

    /// Content that anyone gets, the newest first.
    pub fn public_shares(&self, limit: u32) -> Result<Vec<FileHash>> {
        self.rows(
            "SELECT hash FROM share WHERE scope = ? AND state = ? ORDER BY key DESC LIMIT ?",
            params![scope_number(ShareScope::Anyone), state_number(ShareState::Available), limit],
            |row| hash(row, 0),
        )
    }

    /// What was shared, if it was. Those who keep copies of it are to hear that they need not.
    pub fn remove_share(&mut self, of: FileHash) -> Result<Option<ShareRow>> {
        self.atomically(|store| {
            let Some(row) = store.share(of)? else { return Ok(None) };
            store.unwant_copies(int(row.position), &row.copies.iter().map(|copy| copy.peer).collect::<Vec<_>>())?;
            store.change("DELETE FROM share WHERE key = ?", [int(row.position)])?;
            Ok(Some(row))
        })
    }

    pub fn set_share_state(&mut self, of: FileHash, state: ShareState) -> Result<()> {
        self.change("UPDATE share SET state = ? WHERE hash = ?", params![state_number(state), of.as_bytes()])?;
        Ok(())
    }

    pub fn add_sent(&mut self, of: FileHash, bytes: u64) -> Result<()> {
        self.change("UPDATE share SET sent = sent + ? WHERE hash = ?", params![int(bytes), of.as_bytes()])?;
        Ok(())
    }

    /// Where these bytes are, in all shares that have them.
    pub fn holdings(&self, of: FileHash) -> Result<Vec<Holding>> {
        self.holdings_where("piece.hash = ?", of.as_bytes())
    }

    /// The same by the id of their sealed copy.
    pub fn holdings_by_copy(&self, id: FileHash) -> Result<Vec<Holding>> {
        self.holdings_where("piece.copy_id = ?", id.as_bytes())
    }

    fn holdings_where(&self, condition: &str, value: &[u8; 32]) -> Result<Vec<Holding>> {
        // Many shares may have an empty file, or the same licence; one that the asking peer may have is soon found.
        let sql = format!(
            "SELECT piece.key, share.hash, share.name, share.kind, share.size, share.list_size, share.files, share.scope, share.state,
               share.copy_key, share.path, piece.hash, piece.path, piece.size, piece.dev, piece.ino, piece.mtime_ns, piece.copy_hash,
               share.key
             FROM piece JOIN share ON share.key = piece.share WHERE {condition} ORDER BY share.scope, piece.key LIMIT 64"
        );
        let mut found = self.rows(&sql, [value], |row| Ok((holding(row)?, row.get::<_, i64>(18)?)))?;
        for (holding, position) in &mut found {
            holding.peers = self.share_peers(*position)?;
        }
        Ok(found.into_iter().map(|(holding, _)| holding).collect())
    }

    /// What a share consists of, with whole paths.
    pub fn pieces(&self, position: u64) -> Result<Vec<PieceRow>> {
        self.rows(
            "SELECT piece.hash, piece.path, piece.size, piece.dev, piece.ino, piece.mtime_ns, share.path
             FROM piece JOIN share ON share.key = piece.share WHERE share = ? ORDER BY piece.key",
            [int(position)],
            |row| Ok(PieceRow { path: whole(&path(row, 6)?, path(row, 1)?), ..piece(row, 0)? }),
        )
    }

    /// Of those hashes, which no share has, and no sealed copy of one.
    pub fn unused(&self, hashes: &[FileHash]) -> Result<Vec<FileHash>> {
        let mut unused = Vec::new();
        for hash in hashes {
            let used: bool = self.value(
                "SELECT EXISTS (SELECT 1 FROM piece WHERE hash = ?1) OR EXISTS (SELECT 1 FROM piece WHERE copy_hash = ?1)
                   OR EXISTS (SELECT 1 FROM kept_part WHERE hash = ?1)
                   OR EXISTS (SELECT 1 FROM transfer WHERE hash = ?1 AND state = 3)",
                [hash.as_bytes()],
            )?;
            if !used {
                unused.push(*hash);
            }
        }
        Ok(unused)
    }

    /// Bytes of own copies, which count for the quota.
    pub fn own_bytes(&self) -> Result<u64> {
        self.value("SELECT coalesce(sum(size), 0) FROM share WHERE own = 1", []).map(uint)
    }

    /// Shares that the peer has not been told of yet.
    pub fn untold(&self, peer: PeerId, limit: u32) -> Result<Vec<ShareRow>> {
        let columns = COLUMNS.split(", ").map(|column| format!("share.{column}")).collect::<Vec<_>>().join(", ");
        let rows = self.rows(
            &format!(
                "SELECT {columns} FROM share_peer JOIN share ON share.key = share_peer.share
                 WHERE share_peer.peer = ? AND offer = 1 AND state = ? ORDER BY share.key LIMIT ?"
            ),
            params![peer.public_key(), state_number(ShareState::Available), limit],
            share,
        )?;
        rows.into_iter().map(|row| self.with_people(row)).collect()
    }

    /// Peers that there is something for which they have not been told.
    pub fn to_be_told(&self) -> Result<Vec<PeerId>> {
        // The number as in the index.
        self.rows("SELECT DISTINCT peer FROM share_peer WHERE offer = 1", [], |row| peer(row, 0))
    }

    pub fn set_told(&mut self, of: FileHash, peer: PeerId, told: Told) -> Result<()> {
        self.change(
            "UPDATE share_peer SET offer = ? WHERE peer = ? AND share = (SELECT key FROM share WHERE hash = ?)",
            params![told.number(), peer.public_key(), of.as_bytes()],
        )?;
        Ok(())
    }

    fn share_peers(&self, position: i64) -> Result<Vec<PeerId>> {
        self.rows("SELECT peer FROM share_peer WHERE share = ? ORDER BY key", [position], |row| peer(row, 0))
    }

    fn with_people(&self, mut row: ShareRow) -> Result<ShareRow> {
        row.peers = self.share_peers(int(row.position))?;
        row.copies = self.copies(row.position)?;
        Ok(row)
    }
}

fn share(row: &Row) -> rusqlite::Result<ShareRow> {
    Ok(ShareRow {
        position: uint(row.get(0)?),
        hash: hash(row, 1)?,
        name: row.get(2)?,
        kind: kind(row.get(3)?),
        size_bytes: uint(row.get(4)?),
        list_bytes: uint(row.get(5)?),
        files: row.get(6)?,
        scope: scope(row.get(7)?),
        peers: Vec::new(),
        state: state(row.get(8)?),
        path: path(row, 9)?,
        own_copy: row.get(10)?,
        key: CopyKey(row.get(11)?),
        added_unix_ms: row.get(12)?,
        sent_bytes: uint(row.get(13)?),
        copies: Vec::new(),
    })
}

fn holding(row: &Row) -> rusqlite::Result<Holding> {
    let of = piece(row, 11)?;
    Ok(Holding {
        piece: row.get(0)?,
        share: hash(row, 1)?,
        name: row.get(2)?,
        kind: kind(row.get(3)?),
        size_bytes: uint(row.get(4)?),
        list_bytes: uint(row.get(5)?),
        files: row.get(6)?,
        scope: scope(row.get(7)?),
        peers: Vec::new(),
        state: state(row.get(8)?),
        key: CopyKey(row.get(9)?),
        of: PieceRow { path: whole(&path(row, 10)?, of.path), ..of },
        copy_hash: row.get::<_, Option<[u8; 32]>>(17)?.map(FileHash::from_bytes),
    })
}

/// Six columns from that one on.
fn piece(row: &Row, first: usize) -> rusqlite::Result<PieceRow> {
    Ok(PieceRow {
        hash: hash(row, first)?,
        path: path(row, first + 1)?,
        size_bytes: uint(row.get(first + 2)?),
        dev: row.get::<_, i64>(first + 3)?.cast_unsigned(),
        ino: row.get::<_, i64>(first + 4)?.cast_unsigned(),
        mtime_ns: row.get(first + 5)?,
    })
}

fn whole(share: &Path, piece: PathBuf) -> PathBuf {
    if piece.as_os_str().is_empty() { share.to_owned() } else { share.join(piece) }
}

pub(crate) fn hash(row: &Row, column: usize) -> rusqlite::Result<FileHash> {
    row.get(column).map(FileHash::from_bytes)
}

pub(crate) fn path(row: &Row, column: usize) -> rusqlite::Result<PathBuf> {
    Ok(OsString::from_vec(row.get(column)?).into())
}

/// What was promised to more people.
fn wider(a: ShareScope, b: ShareScope) -> ShareScope {
    if scope_number(a) <= scope_number(b) { a } else { b }
}

pub(crate) const fn kind_number(kind: FileKind) -> i64 {
    match kind {
        FileKind::File => 1,
        FileKind::Folder => 2,
    }
}

pub(crate) const fn kind(number: i64) -> FileKind {
    if number == 2 { FileKind::Folder } else { FileKind::File }
}

const fn scope_number(scope: ShareScope) -> i64 {
    match scope {
        ShareScope::Anyone => 1,
        ShareScope::Contacts => 2,
        ShareScope::Peers => 3,
    }
}

/// What is not understood is for the fewest.
const fn scope(number: i64) -> ShareScope {
    match number {
        1 => ShareScope::Anyone,
        2 => ShareScope::Contacts,
        _ => ShareScope::Peers,
    }
}

const fn state_number(state: ShareState) -> i64 {
    match state {
        ShareState::Available => 1,
        ShareState::Changed => 2,
        ShareState::Missing => 3,
    }
}

const fn state(number: i64) -> ShareState {
    match number {
        1 => ShareState::Available,
        3 => ShareState::Missing,
        _ => ShareState::Changed,
    }
}

pub(crate) const fn copy_state_number(state: CopyState) -> i64 {
    match state {
        CopyState::Asked => 1,
        CopyState::Sending => 2,
        CopyState::Kept => 3,
        CopyState::Refused => 4,
    }
}

pub(crate) const fn copy_state(number: i64) -> CopyState {
    match number {
        2 => CopyState::Sending,
        3 => CopyState::Kept,
        4 => CopyState::Refused,
        _ => CopyState::Asked,
    }
}
