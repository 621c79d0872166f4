//! The versions of the database. A new one is a further file, never a change of one that has been released.

use std::path::Path;

use rusqlite::Connection;

use crate::{Result, StoreError};

/// Each brings the database one version on, in one transaction.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];
/// "Kith", for `file` and for ourselves.
const APPLICATION_ID: i32 = 0x4b69_7468;
/// Where SQLite keeps `user_version` in the file.
const VERSION_OFFSET: usize = 60;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// All tables with rows of their own, in an order in which they can be filled.
pub(crate) const TABLES: [&str; 23] = [
    "counter",
    "setting",
    "secret",
    "contact",
    "request",
    "refused",
    "conversation",
    "link",
    "message",
    "reaction",
    "entry",
    "held",
    "call",
    "share",
    "piece",
    "share_peer",
    "sealed_copy",
    "unwanted_copy",
    "transfer",
    "liar",
    "file_offer",
    "kept",
    "kept_part",
];

pub(crate) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("few versions")
}

fn version(conn: &Connection) -> Result<u32> {
    Ok(conn.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Before SQLite sees the file: even opening a database can write to it.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    use std::io::Read;
    let mut header = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(StoreError::io(format!("cannot read {}", path.display())))?;
    match header.get(VERSION_OFFSET..VERSION_OFFSET + 4) {
        Some(&[a, b, c, d]) if header.starts_with(MAGIC) => newer(u32::from_be_bytes([a, b, c, d])),
        _ => Ok(()),
    }
}

pub(crate) fn check_version(conn: &Connection) -> Result<()> {
    newer(version(conn)?)
}

fn newer(found: u32) -> Result<()> {
    if found > known() { Err(StoreError::Newer { found, known: known() }) } else { Ok(()) }
}

pub(crate) fn migrate(conn: &Connection) -> Result<()> {
    let from = version(conn)?;
    newer(from)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(from as usize) {
        conn.execute_batch(sql)?;
        conn.execute_batch(&format!("PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION_ID};", step + 1))?;
    }
    Ok(())
}
