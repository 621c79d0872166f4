//! The call log.

use kith_common::ids::CallId;
use rusqlite::{Row, params};

use crate::store::{name, named, peer};
use crate::{CallRecord, Result, Store};

/// Calls that are remembered; the oldest make room.
pub const MAX_CALLS: i64 = 10_000;
/// Calls in one answer.
const MAX_CALLS_PAGE: u32 = 500;

const COLUMNS: &str = "id, peer, direction, kind, started_ms, ended_ms, reason, failed_stage, detail, quality";

impl Store {
    /// A call that is there already is replaced.
    pub fn log_call(&mut self, record: &CallRecord) -> Result<()> {
        self.atomically(|store| {
            store.change(
                &format!("INSERT OR REPLACE INTO call ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)"),
                params![
                    record.id.as_bytes(),
                    record.peer.public_key(),
                    name(&record.direction),
                    name(&record.kind),
                    record.started_unix_ms,
                    record.ended_unix_ms,
                    name(&record.reason),
                    record.failed_stage.as_ref().map(name).unwrap_or_default(),
                    record.detail,
                    record.quality,
                ],
            )?;
            store.change(
                "DELETE FROM call WHERE key <= (SELECT key FROM call ORDER BY key DESC LIMIT 1 OFFSET ?)",
                [MAX_CALLS],
            )?;
            Ok(())
        })
    }

    /// Those that began before that time (0: all), newest first, at most 500.
    pub fn call_log(&self, before_unix_ms: i64, limit: u32) -> Result<Vec<CallRecord>> {
        let before = if before_unix_ms == 0 { i64::MAX } else { before_unix_ms };
        self.rows(
            &format!("SELECT {COLUMNS} FROM call WHERE started_ms < ? ORDER BY started_ms DESC, key DESC LIMIT ?"),
            params![before, limit.min(MAX_CALLS_PAGE)],
            call,
        )
    }
}

fn call(row: &Row) -> rusqlite::Result<CallRecord> {
    let stage: String = row.get(7)?;
    Ok(CallRecord {
        id: CallId::from_bytes(row.get(0)?),
        peer: peer(row, 1)?,
        direction: named(row.get(2)?)?,
        kind: named(row.get(3)?)?,
        started_unix_ms: row.get(4)?,
        ended_unix_ms: row.get(5)?,
        reason: named(row.get(6)?)?,
        failed_stage: if stage.is_empty() { None } else { Some(named(stage)?) },
        detail: row.get(8)?,
        quality: row.get(9)?,
    })
}
