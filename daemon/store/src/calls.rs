//! The log of calls.

use kith_common::call::{CallRecord, CallStats, MAX_LOG_PAGE};
use kith_common::ids::{CallId, PeerId};
use rusqlite::{Row, params};

use crate::store::{from_json, int, json, name, named, uint};
use crate::{CallsWanted, Result, Store};

/// Calls that are remembered; the oldest make room.
pub const MAX_CALLS: i64 = 10_000;
/// Calls with one peer, so that nobody who calls again and again puts out those of everybody else.
pub const MAX_CALLS_OF_ONE: i64 = 2_500;

const COLUMNS: &str = "key, id, peer, peer_name, target, direction, kind, started_ms, ended_ms, answered, active_ms, reason, \
                       failed_stage, detail, quality";

impl Store {
    /// The newest from now on. Its position is given here, whatever the record says.
    pub fn log_call(&mut self, record: &CallRecord) -> Result<()> {
        self.atomically(|store| {
            store.change(
                "INSERT INTO call (id, peer, peer_name, target, direction, kind, started_ms, ended_ms, answered, active_ms, reason,
                   failed_stage, detail, quality) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                params![
                    record.id.as_bytes(),
                    record.peer.as_ref().map(PeerId::public_key),
                    record.peer_name,
                    record.target,
                    name(&record.direction),
                    name(&record.kind),
                    record.started_unix_ms,
                    record.ended_unix_ms,
                    record.answered,
                    active_ms(record.duration_s),
                    name(&record.reason),
                    record.failed_stage.as_ref().map(name).unwrap_or_default(),
                    record.detail,
                    record.stats.as_ref().map(json).unwrap_or_default(),
                ],
            )?;
            if let Some(peer) = record.peer {
                store.change(
                    "DELETE FROM call WHERE peer = ?1 AND key <=
                       (SELECT key FROM call WHERE peer = ?1 ORDER BY key DESC LIMIT 1 OFFSET ?2)",
                    params![peer.public_key(), MAX_CALLS_OF_ONE],
                )?;
            }
            store.change(
                "DELETE FROM call WHERE key <= (SELECT key FROM call ORDER BY key DESC LIMIT 1 OFFSET ?)",
                [MAX_CALLS],
            )?;
            store.calls_changed();
            Ok(())
        })
    }

    /// Those that are wanted, the newest first, at most 500. `sieve` is shown each that would do, without its figures; it may
    /// name it anew, and says whether it is wanted.
    pub fn call_log(
        &self,
        wanted: &CallsWanted,
        mut sieve: impl FnMut(&mut CallRecord) -> bool,
    ) -> Result<Vec<CallRecord>> {
        let before = if wanted.before.position == 0 { i64::MAX } else { int(wanted.before.position) };
        let began_before = if wanted.before.unix_ms == 0 { i64::MAX } else { wanted.before.unix_ms };
        let limit = wanted.limit.min(MAX_LOG_PAGE) as usize;
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM call WHERE key < ? AND started_ms < ? AND (?3 IS NULL OR peer = ?3) ORDER BY key DESC"
        ))?;
        let peer = wanted.peer.as_ref().map(PeerId::public_key);
        let mut rows = statement.query(params![before, began_before, peer])?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let mut record = call(row)?;
            if sieve(&mut record) {
                record.stats = stats(row)?;
                found.push(record);
            }
        }
        Ok(found)
    }

    /// False: it is not there.
    pub fn forget_call(&mut self, id: CallId) -> Result<bool> {
        Ok(self.take_out("DELETE FROM call WHERE id = ?", [id.as_bytes()])? > 0)
    }

    /// Those with one peer, or all. How many there were.
    pub fn clear_calls(&mut self, peer: Option<PeerId>) -> Result<u64> {
        let peer = peer.as_ref().map(PeerId::public_key);
        self.take_out("DELETE FROM call WHERE ?1 IS NULL OR peer = ?1", [peer])
    }

    /// Those that are older than the messages with their peer are kept. How many there were.
    pub(crate) fn expire_calls(&self, now_unix_ms: i64, day_ms: i64) -> Result<u64> {
        self.take_out(
            "DELETE FROM call WHERE EXISTS (SELECT 1 FROM conversation c
               WHERE c.peer = call.peer AND c.retention_days > 0 AND call.ended_ms < ?1 - c.retention_days * ?2)",
            [now_unix_ms, day_ms],
        )
    }

    /// Deleted for good, as soon as there is time for it.
    fn take_out(&self, sql: &str, params: impl rusqlite::Params) -> Result<u64> {
        let gone = self.change(sql, params)?;
        if gone > 0 {
            self.calls_changed();
            self.scrub.set(true);
        }
        Ok(gone as u64)
    }

    fn calls_changed(&self) {
        self.calls.set(self.calls.get() + 1);
    }
}

fn active_ms(duration_s: f64) -> i64 {
    // Whatever is no number is 0; what is too large for one is the largest.
    (duration_s * 1000.0).round() as i64
}

/// Without its figures.
fn call(row: &Row) -> rusqlite::Result<CallRecord> {
    let stage: String = row.get(12)?;
    let active_ms: i64 = row.get(10)?;
    Ok(CallRecord {
        position: uint(row.get(0)?),
        id: CallId::from_bytes(row.get(1)?),
        peer: row.get::<_, Option<[u8; 32]>>(2)?.map(PeerId::from_public_key),
        peer_name: row.get(3)?,
        target: row.get(4)?,
        direction: named(row.get(5)?)?,
        kind: named(row.get(6)?)?,
        started_unix_ms: row.get(7)?,
        ended_unix_ms: row.get(8)?,
        answered: row.get(9)?,
        duration_s: active_ms as f64 / 1000.0,
        reason: named(row.get(11)?)?,
        failed_stage: if stage.is_empty() { None } else { Some(named(stage)?) },
        detail: row.get(13)?,
        stats: None,
    })
}

/// Figures that cannot be read are none: the call is shown all the same.
fn stats(row: &Row) -> rusqlite::Result<Option<CallStats>> {
    let text = row.get_ref(14)?.as_str()?;
    Ok(if text.is_empty() { None } else { from_json(text).ok() })
}
