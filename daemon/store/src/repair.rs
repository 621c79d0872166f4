//! A damaged database: found, moved aside, and what can be read of it copied row by row into a new one.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kith_common::ids::PeerId;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};

use crate::files::{beside, create, remove};
use crate::schema::TABLES;
use crate::store::Access;
use crate::{Repair, Result, Store, StoreError};

/// The tables behind the index of words.
const INDEX_TABLES: [&str; 3] = ["words_data", "words_idx", "words_config"];
/// Where a row cannot be read, its neighbours on the page cannot either: the first step over it.
const FIRST_STEP: i64 = 4;
/// When the counter is lost: clients hold cursors that must stay below the new ones.
const LOST_CURSORS: i64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    Checked,
    Unchecked,
}

impl Store {
    /// Whether every page is sound. As slow as reading the whole file; the index is a half of it, and can be made anew at any time, so
    /// it is looked at when there is a reason to.
    pub(crate) fn check(&self, index: Index) -> Result<()> {
        let index: &[&str] = if index == Index::Checked { &INDEX_TABLES } else { &[] };
        for table in TABLES.iter().chain(index) {
            let found: String = self.conn.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get(0))?;
            if found != "ok" {
                return Err(StoreError::Damaged(found.lines().last().unwrap_or_default().to_owned()));
            }
        }
        Ok(())
    }

    /// Whether the tables are there and their ends can be read. Takes no time.
    pub(crate) fn probe(&self) -> Result<()> {
        for table in TABLES {
            let read =
                self.conn.query_row(&format!("SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1"), [], |_| Ok(()));
            missing(read)?;
        }
        missing(self.conn.query_row("SELECT rowid FROM words WHERE words MATCH '\"a\"' LIMIT 1", [], |_| Ok(())))?;
        missing(self.conn.query_row("SELECT 1 FROM counter", [], |_| Ok(())))
            .and_then(|counter| counter.ok_or_else(|| StoreError::Damaged("the counter is missing".into())))
    }
}

/// A table that is not there is damage as well.
fn missing(read: rusqlite::Result<()>) -> Result<Option<()>> {
    match read {
        Ok(()) => Ok(Some(())),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            Err(StoreError::Damaged(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The program ended between the last two steps of a repair: the new database is complete.
pub(crate) fn finish(path: &Path) -> Result<()> {
    let new = beside(path, ".new");
    if !path.exists() && new.exists() { rename(&new, path) } else { Ok(()) }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(StoreError::io(format!("cannot rename {}", from.display())))
}

pub(crate) fn repair(path: &Path, own: PeerId, reason: String) -> Result<Repair> {
    let new = beside(path, ".new");
    for ending in ["", "-wal", "-shm"] {
        remove(&beside(&new, ending))?;
    }
    create(&new)?;
    let mut repair = Repair { reason, moved_to: aside(path), kept: Vec::new(), incomplete: Vec::new() };
    let mut store = Store::open(&new, own, Access::Write)?;
    store.conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    let damaged = open_damaged(path);
    store.atomically(|store| {
        store.conn.execute_batch("DELETE FROM counter")?;
        for table in TABLES {
            let (rows, whole) = match &damaged {
                Ok(damaged) => copy(damaged, &store.conn, table)?,
                Err(_) => (0, false),
            };
            if !whole {
                repair.incomplete.push(table.to_owned());
            }
            repair.kept.push((table.to_owned(), rows));
        }
        mend(&store.conn)?;
        store.merge_all()
    })?;
    drop(damaged);
    store.checkpoint()?;
    drop(store);
    for ending in ["-wal", "-shm"] {
        if beside(path, ending).exists() {
            rename(&beside(path, ending), &beside(&repair.moved_to, ending))?;
        }
    }
    rename(path, &repair.moved_to)?;
    rename(&new, path)?;
    Ok(repair)
}

fn aside(path: &Path) -> PathBuf {
    let mut unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    loop {
        let name = beside(path, &format!(".damaged-{unix}"));
        if !name.exists() {
            return name;
        }
        unix += 1;
    }
}

fn open_damaged(path: &Path) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // It is evidence: nothing is written to it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Reads on where the file is shorter than it says.
    conn.execute_batch("PRAGMA writable_schema = ON; PRAGMA query_only = ON; PRAGMA cell_size_check = ON;")?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

fn columns_of(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    conn.prepare(&format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"))?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// How many rows were copied, and whether those are all.
fn copy(from: &Connection, to: &Connection, table: &str) -> Result<(u64, bool)> {
    let mut columns = columns_of(to, table)?;
    // A database of an earlier version lacks some, which have their defaults then.
    let theirs = columns_of(from, table).unwrap_or_default();
    if !theirs.is_empty() {
        columns.retain(|column| theirs.contains(column));
    }
    let names = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"))?;
    // Foreign keys and the like are looked at when everything is there.
    let mut copied = 0;
    let mut put = |row: Vec<Value>| -> Result<bool> {
        match insert.execute(params_from_iter(row)) {
            Ok(added) => {
                copied += added as u64;
                Ok(added > 0)
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    let scan = |order: &str, compare: &str| {
        format!("SELECT {names} FROM {table} NOT INDEXED WHERE rowid {compare} ? ORDER BY rowid {order}")
    };
    let (forward, backward) = (scan("ASC", ">"), scan("DESC", "<"));
    let mut whole = true;
    let mut after = i64::MIN;
    while !walk(from, &forward, columns.len(), &mut after, &mut put)? {
        whole = false;
        // Somewhere behind what cannot be read it may go on; from there also backwards.
        let Some(next) = next_readable(from, table, after) else { break };
        let mut before = next;
        walk(from, &backward, columns.len(), &mut before, &mut |row: Vec<Value>| match row.first() {
            Some(Value::Integer(key)) if *key <= after => Ok(false),
            _ => put(row),
        })?;
        after = next - 1;
    }
    Ok((copied, whole))
}

/// Takes rows until the end (true) or until one cannot be read (false); `key` is the last one that was.
fn walk(
    from: &Connection,
    sql: &str,
    columns: usize,
    key: &mut i64,
    put: &mut impl FnMut(Vec<Value>) -> Result<bool>,
) -> Result<bool> {
    let Ok(mut statement) = from.prepare_cached(sql) else { return Ok(false) };
    let Ok(mut rows) = statement.query([*key]) else { return Ok(false) };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let Ok(values) = (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>() else {
            // The key comes first and is sound when the row could be found: step over this one.
            match row.get(0) {
                Ok(this) => *key = this,
                Err(_) => return Ok(false),
            }
            return Ok(false);
        };
        if let Some(Value::Integer(this)) = values.first() {
            *key = *this;
        }
        put(values)?;
    }
}

fn next_readable(from: &Connection, table: &str, after: i64) -> Option<i64> {
    let sql = format!("SELECT rowid FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT 1");
    let mut step = FIRST_STEP;
    let mut probe = after.max(-1);
    loop {
        probe = probe.checked_add(step)?;
        match from.prepare_cached(&sql).and_then(|mut sql| sql.query_row([probe], |row| row.get(0))) {
            Ok(found) => return Some(found),
            Err(rusqlite::Error::QueryReturnedNoRows) => return None,
            // Growing slowly, so that little is jumped over, and for ever further, so that it ends.
            Err(_) => step += 1 + step / 16,
        }
    }
}

/// Makes whole again what refers to lost rows.
fn mend(conn: &Connection) -> Result<()> {
    conn.execute_batch(&format!(
        "-- Messages whose conversation is lost: with the one other who has spoken there, or else a group without a name.
         CREATE TEMP TABLE orphan AS SELECT conversation AS key, count(DISTINCT author) AS authors, min(author) AS author FROM message
           WHERE conversation NOT IN (SELECT key FROM conversation) GROUP BY conversation;
         UPDATE message SET conversation = (SELECT c.key FROM orphan o JOIN conversation c ON c.peer = o.author
             WHERE o.key = message.conversation)
           WHERE conversation IN (SELECT o.key FROM orphan o JOIN conversation c ON c.peer = o.author WHERE o.authors = 1);
         DELETE FROM orphan WHERE key NOT IN (SELECT conversation FROM message);
         INSERT OR IGNORE INTO conversation (key, peer) SELECT key, author FROM orphan WHERE authors = 1;
         INSERT INTO conversation (key, grp, title, gone) SELECT key, randomblob(16), 'Recovered messages', 1 FROM orphan
           WHERE key NOT IN (SELECT key FROM conversation);
         DROP TABLE orphan;
         DELETE FROM link WHERE conversation NOT IN (SELECT key FROM conversation);
         DELETE FROM entry WHERE conversation NOT IN (SELECT key FROM conversation);
         DELETE FROM reaction WHERE position NOT IN (SELECT position FROM message);
         DELETE FROM piece WHERE share NOT IN (SELECT key FROM share);
         -- What has lost a part of it would be asked for in vain.
         UPDATE share SET state = 2 WHERE files + (kind = 2) <> (SELECT count(*) FROM piece WHERE share = share.key);
         DELETE FROM share_peer WHERE share NOT IN (SELECT key FROM share);
         DELETE FROM sealed_copy WHERE share NOT IN (SELECT key FROM share);
         DELETE FROM kept WHERE count <> (SELECT count(*) FROM kept_part WHERE kept = kept.key);
         DELETE FROM kept_part WHERE kept NOT IN (SELECT key FROM kept);
         INSERT OR IGNORE INTO link (conversation, peer, stored)
           SELECT key, peer, coalesce((SELECT max(sequence) FROM message
             WHERE conversation = conversation.key AND author IS NULL AND state >= 4), 0)
           FROM conversation WHERE peer IS NOT NULL;
         UPDATE conversation SET said = max(said,
           coalesce((SELECT max(sequence) FROM message WHERE conversation = key AND author IS NULL), 0),
           coalesce((SELECT max(sequence) FROM entry WHERE conversation = conversation.key), 0),
           coalesce((SELECT max(stored) FROM link WHERE conversation = conversation.key), 0));
         CREATE TEMP TABLE told AS SELECT conversation, author, max(sequence) AS sequence FROM message
           WHERE author IS NOT NULL GROUP BY 1, 2;
         UPDATE link SET heard = max(heard, coalesce((SELECT sequence FROM told
           WHERE told.conversation = link.conversation AND told.author = link.peer), 0));
         DROP TABLE told;
         UPDATE conversation SET unread = (SELECT count(*) FROM message
           WHERE conversation = conversation.key AND author IS NOT NULL AND state = 4 AND position > seen AND position > erased_to);
         INSERT INTO words (rowid, text) SELECT position, text FROM message_words WHERE text <> '';
         INSERT OR IGNORE INTO counter (key, cursor, indexed) VALUES (0, {LOST_CURSORS}, 0);
         UPDATE counter SET cursor = max(cursor, coalesce((SELECT max(cursor) FROM message), 0),
           coalesce((SELECT max(cursor) FROM conversation), 0)) + 1;
         UPDATE counter SET indexed = cursor;"
    ))?;
    Ok(())
}
