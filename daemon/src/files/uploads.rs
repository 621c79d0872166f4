//! What peers are fetching from here, as users see it, and how much of each share has been sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kith_common::file::{FileHash, Upload};
use kith_common::ids::PeerId;
use kith_common::node::Path;

use super::library::Item;

/// An upload is shown for so long after its last byte.
const SHOWN: Duration = Duration::from_secs(4);
/// Uploads that are shown.
const MAX_SHOWN: usize = 256;
/// The rate is that of so long.
const RATE_OVER: Duration = Duration::from_secs(3);

/// What peers are fetching now, for display.
#[derive(Default)]
pub(super) struct Uploads {
    rows: BTreeMap<(PeerId, Option<FileHash>, bool), Row>,
    /// By share, since they were last taken.
    sent: BTreeMap<FileHash, u64>,
}

struct Row {
    hash: FileHash,
    file_name: String,
    path: Path,
    sent: u64,
    last: Instant,
    /// When and how much, over the last seconds.
    recent: VecDeque<(Instant, u64)>,
}

impl Uploads {
    pub fn note(&mut self, peer: PeerId, path: Path, asked: FileHash, item: &Item, bytes: u64, now: Instant) {
        if let Some(share) = item.share.filter(|_| !item.sealed) {
            *self.sent.entry(share).or_default() += bytes;
        }
        let key = (peer, item.share, item.sealed);
        if self.rows.len() >= MAX_SHOWN && !self.rows.contains_key(&key) {
            return;
        }
        let row = self.rows.entry(key).or_insert_with(|| Row {
            hash: item.share.unwrap_or(asked),
            file_name: item.name.clone(),
            path,
            sent: 0,
            last: now,
            recent: VecDeque::new(),
        });
        (row.path, row.last, row.sent) = (path, now, row.sent + bytes);
        row.recent.push_back((now, bytes));
        while row.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_OVER) {
            row.recent.pop_front();
        }
    }

    /// Names are the caller's to fill in.
    pub fn rows(&mut self, now: Instant) -> Vec<Upload> {
        self.rows.retain(|_, row| now.saturating_duration_since(row.last) < SHOWN);
        let rate = |row: &Row| {
            let since = row.recent.front().map_or(now, |(at, _)| *at);
            let recent = row.recent.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= RATE_OVER);
            let seconds = now.saturating_duration_since(since).as_secs_f64().clamp(0.25, RATE_OVER.as_secs_f64());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rate = (recent.map(|(_, bytes)| *bytes).sum::<u64>() as f64 / seconds) as u64;
            rate
        };
        let shown = self.rows.iter().map(|((peer, _, sealed), row)| Upload {
            peer: *peer,
            name: String::new(),
            hash: row.hash,
            file_name: row.file_name.clone(),
            sent_bytes: row.sent,
            bytes_per_second: rate(row),
            path: Some(row.path),
            sealed: *sealed,
        });
        shown.collect()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// By share, since this was last asked.
    pub fn take_sent(&mut self) -> BTreeMap<FileHash, u64> {
        std::mem::take(&mut self.sent)
    }
}
