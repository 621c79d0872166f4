//! The database as one thread sees it: the connection, transactions, the counter, and the columns' types. What is asked of it stands in
//! the modules beside this one.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kith_common::chat::MessageState;
use kith_common::ids::PeerId;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::{Result, StoreError, files, schema};

/// Another process that has the database open (a backup, an `sqlite3` prompt) may hold it for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept ready: all there are.
const STATEMENTS: usize = 160;
/// Pages kept in memory by each connection, in KiB.
const CACHE_KIB: u32 = 16 * 1024;
/// What the write-ahead log is cut to after a checkpoint.
const LOG_BYTES: u32 = 8 * 1024 * 1024;
/// More changes than can be written without a flush (`Database::note`) between two of `Database::write`.
const CURSORS_SKIPPED: i64 = 1_000_000;
/// Pages of the index that are merged at once: a millisecond or two.
const MERGED_PAGES: i64 = 32;

/// The database as one thread sees it.
pub struct Store {
    pub(crate) conn: Connection,
    pub(crate) own: PeerId,
    /// Text was deleted: the write-ahead log still has it until the next checkpoint.
    pub(crate) scrub: Cell<bool>,
    /// More messages are too old at this time than went at once.
    pub(crate) expiring: Cell<Option<i64>>,
    /// Counts the changes of the log of calls, one that was undone with them.
    pub(crate) calls: Cell<u64>,
    /// Why the transaction that is open for others as well was undone.
    pub(crate) undone: Cell<Option<StoreError>>,
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
}

impl Store {
    /// Opens the file, which must exist, and brings it to the newest version.
    pub(crate) fn open(path: &Path, own: PeerId, access: Access) -> Result<Self> {
        // The reader shares the log's index with the writer, and so has to be able to write.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut store = Self::prepare(Connection::open_with_flags(path, flags)?, own)?;
        store.path = Some(path.to_owned());
        match access {
            Access::Write => {
                schema::check_version(&store.conn)?;
                let mode: String = store.conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
                if mode != "wal" {
                    return Err(StoreError::ReadOnly);
                }
                store.atomically(|store| schema::migrate(&store.conn))?;
            }
            Access::Read => store.conn.execute_batch("PRAGMA query_only = ON")?,
        }
        Ok(store)
    }

    /// No more than so many pages for the file: what a full disk is like.
    #[doc(hidden)]
    pub fn set_quota(&mut self, pages: u32) -> Result<()> {
        self.conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        Ok(())
    }

    /// One that ends with the process, for tests.
    pub fn in_memory(own: PeerId) -> Result<Self> {
        let mut store = Self::prepare(Connection::open_in_memory()?, own)?;
        store.atomically(|store| schema::migrate(&store.conn))?;
        Ok(store)
    }

    fn prepare(conn: Connection, own: PeerId) -> Result<Self> {
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        // FULL: what has been acknowledged survives a power cut, not only a kill.
        conn.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA journal_size_limit = {LOG_BYTES}; PRAGMA trusted_schema = OFF;"
        ))?;
        let (scrub, expiring, calls, undone) = (Cell::new(false), Cell::new(None), Cell::new(0), Cell::new(None));
        Ok(Self { conn, own, scrub, expiring, calls, undone, path: None })
    }

    pub fn own(&self) -> PeerId {
        self.own
    }

    /// All of `f` or nothing of it: a transaction, or a savepoint in the one that is open.
    pub(crate) fn atomically<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outermost = self.conn.is_autocommit();
        self.run(if outermost { "BEGIN IMMEDIATE" } else { "SAVEPOINT step" })?;
        let done = f(self).and_then(|value| {
            if outermost {
                self.index_new()?;
            }
            self.run(if outermost { "COMMIT" } else { "RELEASE step" })?;
            Ok(value)
        });
        // After some errors (a full disk) SQLite has ended the whole transaction itself.
        if done.is_err() && !self.conn.is_autocommit() {
            let undo: &[&str] = if outermost { &["ROLLBACK"] } else { &["ROLLBACK TO step", "RELEASE step"] };
            for statement in undo {
                if let Err(error) = self.run(statement) {
                    tracing::error!(%error, "cannot undo a part of a transaction");
                }
            }
        }
        done
    }

    /// Runs `f` on one state of the database, whatever is written meanwhile.
    pub(crate) fn snapshot<T>(&self, f: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if !self.conn.is_autocommit() {
            return f(self);
        }
        self.run("BEGIN")?;
        let done = f(self);
        self.run("COMMIT")?;
        done
    }

    pub(crate) fn run(&self, statement: &str) -> Result<()> {
        self.conn.prepare_cached(statement)?.execute([])?;
        Ok(())
    }

    /// What came of a piece of work. Damage is remembered on the disk, so that the next start looks at the whole file.
    pub(crate) fn note<T>(&self, done: Result<T>) -> Result<T> {
        let Err(error) = &done else { return done };
        if self.conn.is_autocommit() {
            self.undone.set(Some(error.again()));
        }
        if let (StoreError::Damaged(reason), Some(path)) = (error, &self.path) {
            tracing::error!(reason, "the database is damaged; it will be repaired at the next start");
            if let Err(error) = files::mark_suspect(path) {
                tracing::error!(%error, "cannot leave a note for the next start");
            }
        }
        done
    }

    /// The newest cursor.
    pub fn cursor(&self) -> Result<u64> {
        self.value("SELECT cursor FROM counter", []).map(uint)
    }

    pub(crate) fn next_cursor(&self) -> Result<i64> {
        self.value("UPDATE counter SET cursor = cursor + 1 RETURNING cursor", [])
    }

    /// After an end without goodbye: a power cut has taken back changes whose cursors clients may have. None is given again.
    pub(crate) fn skip_cursors(&self) -> Result<()> {
        self.change("UPDATE counter SET cursor = cursor + ?", [CURSORS_SKIPPED]).map(drop)
    }

    /// Puts the messages that are new since the last time into the index of words. Once a transaction, because the index writes a
    /// piece of its own each time.
    pub(crate) fn index_new(&self) -> Result<()> {
        let (cursor, indexed): (i64, i64) = self
            .conn
            .prepare_cached("SELECT cursor, indexed FROM counter")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if cursor == indexed {
            return Ok(());
        }
        let added = self.change(
            "INSERT INTO words (rowid, text) SELECT position, text FROM message_words WHERE position > ? AND text <> ''",
            [indexed],
        )?;
        if added > 0 {
            self.change("UPDATE counter SET indexed = cursor", [])?;
        }
        Ok(())
    }

    /// After many messages at once: pieces as large as those are not to be merged while somebody waits.
    pub(crate) fn merge_all(&self) -> Result<()> {
        self.run("INSERT INTO words (words) VALUES ('optimize')")
    }

    /// Whether the end of a transaction waits for the disk. Not within one.
    pub(crate) fn set_flushes(&self, on: bool) -> Result<()> {
        Ok(self.conn.execute_batch(if on { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?)
    }

    /// Merges some of the index's pieces. False: there is nothing to merge.
    pub(crate) fn merge_some(&self) -> Result<bool> {
        // It is lost by a power cut at worst, and done again; so it does not wait for the disk.
        self.set_flushes(false)?;
        let before = self.conn.total_changes();
        let merged = self.change("INSERT INTO words (words, rank) VALUES ('merge', ?)", [MERGED_PAGES]);
        self.set_flushes(true)?;
        merged?;
        // The command itself counts as one.
        Ok(self.conn.total_changes() - before >= 2)
    }

    /// Writes what is in the write-ahead log into the file and empties the log, so that deleted text is nowhere.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.scrub.set(false);
        Ok(())
    }

    /// The one value of a statement that always has one.
    pub(crate) fn value<T: rusqlite::types::FromSql>(&self, sql: &str, params: impl rusqlite::Params) -> Result<T> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
    }

    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        f: impl FnOnce(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, f).optional()?)
    }

    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        f: impl FnMut(&rusqlite::Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        Ok(self.conn.prepare_cached(sql)?.query_map(params, f)?.collect::<rusqlite::Result<_>>()?)
    }

    /// How many rows it has changed.
    pub(crate) fn change(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        Ok(self.conn.prepare_cached(sql)?.execute(params)?)
    }
}

/// SQLite's integers are signed.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn peer(row: &rusqlite::Row, column: usize) -> rusqlite::Result<PeerId> {
    row.get(column).map(PeerId::from_public_key)
}

pub(crate) const QUEUED: i64 = 1;
pub(crate) const SENT: i64 = 2;
pub(crate) const FAILED: i64 = 3;
pub(crate) const DELIVERED: i64 = 4;
pub(crate) const READ: i64 = 5;

pub(crate) fn state(value: i64) -> MessageState {
    match value {
        QUEUED => MessageState::Queued,
        SENT => MessageState::Sent,
        FAILED => MessageState::Failed,
        DELIVERED => MessageState::Delivered,
        _ => MessageState::Read,
    }
}

/// As JSON without the quotes: the names that the command line promises.
pub(crate) fn name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

pub(crate) fn named<T: serde::de::DeserializeOwned>(name: String) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::String(name)).map_err(unreadable)
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data has a JSON form")
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
