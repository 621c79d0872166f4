//! The log of calls: a row for each that is over, written when it ends, and what clients ask of them. The database has the
//! rows; nothing is held here. A row that cannot be written costs its call nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::call::{CallKind, CallRecord, Direction, EndReason, LogQuery, MAX_LOG_PAGE, Stage};
use kith_common::clock::unix_ms;
use kith_common::contact::{MAX_NAME_CHARS, People};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::{CallId, PeerId};
use kith_common::target::Target;
use kith_common::text::clean_line;
use kith_core::call::Call;
use kith_store::{CallsWanted, Database};
use tokio::sync::watch;
use tokio::time::timeout;

/// A disk that has not taken a row by then may take it later, or not; nobody waits.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is kept of texts that others have chosen, or that say what went wrong.
const MAX_DETAIL_CHARS: usize = 500;
/// The longest address that is kept to be dialed again; what is longer is not kept at all.
const MAX_TARGET_CHARS: usize = 256;
/// Words of a search that are looked at, and characters of each.
const MAX_WORDS: usize = 8;
const MAX_WORD_CHARS: usize = 64;

/// A cheap handle.
#[derive(Clone)]
pub struct CallLog {
    db: Database,
    people: watch::Receiver<Arc<People>>,
}

impl CallLog {
    /// `people`: what the contacts are called now.
    pub fn new(db: Database, people: watch::Receiver<Arc<People>>) -> Self {
        Self { db, people }
    }

    /// Changes when rows have come or gone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.db.call_changes()
    }

    /// The newest first. `peer` in place of the query's target, which is a user's word for it.
    pub async fn page(&self, query: &LogQuery, peer: Option<PeerId>) -> Result<Vec<CallRecord>, Failure> {
        let limit = if query.limit == 0 { MAX_LOG_PAGE } else { query.limit };
        let wanted = CallsWanted { before: query.before, peer, limit };
        let (people, words) = (Arc::clone(&self.people.borrow()), words(&query.text));
        let sieve = move |record: &mut CallRecord| {
            let contact = people.contacts.iter().find(|contact| Some(contact.peer_id) == record.peer);
            if let Some(contact) = contact {
                record.peer_name.clone_from(&contact.name);
            }
            fits(record, &words)
        };
        self.db.read(move |store| store.call_log(&wanted, sieve)).await
    }

    /// Takes a call out of the log.
    pub async fn forget(&self, id: CallId) -> Result<(), Failure> {
        if self.db.write(move |store| store.forget_call(id)).await? {
            return Ok(());
        }
        Err(Failure::new(FailureKind::NotFound, format!("there is no call {id} in the log")))
    }

    /// Takes out all with a peer, or all there are. How many there were.
    pub async fn clear(&self, peer: Option<PeerId>) -> Result<u64, Failure> {
        self.db.write(move |store| store.clear_calls(peer)).await
    }

    /// Writes a row.
    pub(super) async fn keep(&self, record: CallRecord) {
        let id = record.id;
        match timeout(WRITE_TIMEOUT, self.db.write(move |store| store.log_call(&record))).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!(%id, %failure, "the call is not in the log"),
            Err(_) => tracing::warn!(%id, "the database is busy: the call may not be in the log"),
        }
    }
}

/// What the task knows of a call beside the book.
pub(super) struct Beside {
    /// What the peer is called, if it is known.
    pub name: String,
    /// What was dialed.
    pub dialed: Option<Target>,
    /// When it was placed or first rang.
    pub began_unix_ms: i64,
}

/// The row of a call that has just ended.
pub(super) fn record(call: &Call, beside: Beside, now: Instant) -> CallRecord {
    let reached = |stage| call.stages.iter().find(|report| report.stage == stage);
    let lasted = now.saturating_duration_since(call.started);
    let active = reached(Stage::Active).map(|report| lasted.saturating_sub(Duration::from_micros(report.at_us)));
    let (reason, failed_stage, detail) = match &call.ending {
        Some(ending) => (ending.reason, ending.failed_stage, ending.detail.as_str()),
        None => (EndReason::Failed, None, ""),
    };
    let dialed = beside.dialed.filter(|_| call.peer.is_none()).and_then(address).unwrap_or_default();
    CallRecord {
        answered: reached(Stage::Accept).is_some(),
        // The shortest there is was active all the same.
        duration_s: active.map_or(0.0, |active| active.as_millis().max(1) as f64 / 1000.0),
        // A clock that was set back in the meantime makes no call end before it began.
        ended_unix_ms: unix_ms().max(beside.began_unix_ms),
        failed_stage,
        detail: clean_line(detail, MAX_DETAIL_CHARS),
        target: dialed,
        ..row(call.id, call.peer, &beside.name, (call.direction, call.kind, reason), beside.began_unix_ms)
    }
}

/// The row of a call that was turned away because of others: it never rang here.
pub(super) fn turned_away(id: CallId, peer: PeerId, name: &str, kind: CallKind) -> CallRecord {
    let detail = "This node was in another call.".to_owned();
    CallRecord { detail, ..row(id, Some(peer), name, (Direction::Incoming, kind, EndReason::Busy), unix_ms()) }
}

/// One that never came to anything.
fn row(
    id: CallId,
    peer: Option<PeerId>,
    name: &str,
    (direction, kind, reason): (Direction, CallKind, EndReason),
    at_unix_ms: i64,
) -> CallRecord {
    CallRecord {
        position: 0,
        id,
        peer,
        peer_name: clean_line(name, MAX_NAME_CHARS),
        target: String::new(),
        direction,
        kind,
        started_unix_ms: at_unix_ms,
        ended_unix_ms: at_unix_ms,
        answered: false,
        duration_s: 0.0,
        reason,
        failed_stage: None,
        detail: String::new(),
        stats: None,
    }
}

/// What can be dialed again where no peer is known.
fn address(target: Target) -> Option<String> {
    let text = match target {
        Target::Address(address) => address.to_string(),
        Target::Ip { ip, port } => std::net::SocketAddr::new(ip, port).to_string(),
        // They name their peer.
        Target::Ticket(_) | Target::Peer(_) => return None,
    };
    (text.len() <= MAX_TARGET_CHARS).then_some(text)
}

fn words(text: &str) -> Vec<String> {
    let short = |word: &str| word.chars().take(MAX_WORD_CHARS).collect::<String>();
    text.split_whitespace().take(MAX_WORDS).map(|word| short(&word.to_lowercase())).collect()
}

/// Whether all the words are in the peer's name, its id, or the address that was dialed.
fn fits(record: &CallRecord, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let id = record.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let about = [&record.peer_name, &id, &record.target].map(|text| text.to_lowercase());
    words.iter().all(|word| about.iter().any(|text| text.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_looks_at_names_ids_and_addresses_for_all_its_words() {
        let peer = PeerId::from_public_key([7; 32]);
        let id = CallId::from_bytes([1; 16]);
        let ada = turned_away(id, peer, "Ada Lovelace", CallKind::Voice);
        let end = &peer.to_string()[46..];
        for text in ["", "ada", "LOVE ada", end, &format!("ada {end}")] {
            assert!(fits(&ada, &words(text)), "{text}");
        }
        for text in ["alan", "ada alan", "192.0.2.7"] {
            assert!(!fits(&ada, &words(text)), "{text}");
        }
        let nobody = CallRecord { peer: None, target: "192.0.2.7:9999".into(), ..ada };
        assert!(fits(&nobody, &words("192.0.2")));
        assert_eq!(words(&"x ".repeat(10_000)).len(), MAX_WORDS);
    }

    #[test]
    fn what_a_peer_calls_itself_is_one_line_and_short() {
        let (id, peer) = (CallId::from_bytes([1; 16]), PeerId::from_public_key([7; 32]));
        let name = turned_away(id, peer, &format!("A\n\u{1b}[31m{}", "x".repeat(10_000)), CallKind::Voice).peer_name;
        assert!(name.starts_with("A [31mx") && name.chars().count() == MAX_NAME_CHARS, "{name:?}");
    }

    #[test]
    fn addresses_are_kept_to_be_dialed_again_and_long_ones_are_not() {
        for text in ["192.0.2.7:9999", "[2001:db8::7]:9999", "/ip4/192.0.2.7/udp/9999/quic-v1"] {
            let target: Target = text.parse().expect("an address");
            assert_eq!(address(target.clone()).map(|text| text.parse::<Target>()), Some(Ok(target)));
        }
        let long = "/dns4/a.example/tcp/1".repeat(40).parse::<Target>().map(address);
        assert_eq!(long, Ok(None));
        assert_eq!(address(Target::Peer(PeerId::from_public_key([7; 32]))), None);
    }
}
