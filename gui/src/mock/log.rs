//! Calls of the scripted daemon that are over: of each kind one and then many, so that there is something to scroll and to
//! search in.

use kith_common::call::{
    CallInfo, CallKind, CallRecord, CallStats, Direction, EndReason, Ending, MAX_LOG_NEWEST, Stage, Transport,
};
use kith_common::clock::unix_ms;
use kith_common::ids::CallId;
use kith_common::node::Path;

use super::peer_id;
use crate::link::{self, Event, News};

const MINUTE_MS: i64 = 60_000;
/// Calls when the daemon has just started.
const PAST: usize = 240;
const NAMES: [&str; 4] = ["Ada Lovelace", "Alan Turing", "Katherine Johnson", "Dennis Ritchie"];

/// How such a call went: direction, answered, seconds, reason, stage, what is said.
type Course = (Direction, bool, f64, EndReason, Option<Stage>, &'static str);

const COURSES: [Course; 9] = [
    (Direction::Outgoing, true, 754.0, EndReason::Local, None, ""),
    (Direction::Incoming, false, 0.0, EndReason::Timeout, Some(Stage::Accept), "It rang here, and nobody answered."),
    (Direction::Incoming, true, 3_725.0, EndReason::Remote, None, ""),
    (Direction::Outgoing, false, 0.0, EndReason::Busy, None, "The other side is busy with another call."),
    (Direction::Incoming, false, 0.0, EndReason::Local, None, ""),
    (
        Direction::Outgoing,
        true,
        95.0,
        EndReason::Timeout,
        Some(Stage::Active),
        "The other side vanished: nothing has come from it for a while.",
    ),
    (
        Direction::Outgoing,
        false,
        0.0,
        EndReason::Unreachable,
        Some(Stage::Dial),
        "nobody answered at any of the 3 addresses that are known",
    ),
    (Direction::Incoming, false, 0.0, EndReason::Busy, None, "This node was in another call."),
    (Direction::Outgoing, false, 0.0, EndReason::Declined, None, "The call was declined."),
];

fn stats(number: usize, seconds: f64) -> CallStats {
    CallStats {
        path: Some([Path::Lan, Path::Direct, Path::Relayed][number % 3]),
        transport: if number.is_multiple_of(5) { Transport::Tcp } else { Transport::Udp },
        audio_concealed_ms: (number as u64 % 4) * 340,
        frozen_ms: (number as u64 % 3) * 900,
        ..super::stats(seconds)
    }
}

/// So many calls, the newest first.
pub fn calls(count: usize) -> Vec<CallRecord> {
    let now = unix_ms();
    let call = |number: usize| {
        let (direction, answered, duration_s, reason, failed_stage, detail) = COURSES[number % COURSES.len()];
        let who = number * 7 % NAMES.len();
        let position = (count - number) as u64;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&position.to_be_bytes());
        let started = now - (number as i64 * 7 + 3) * 41 * MINUTE_MS;
        CallRecord {
            position,
            id: CallId::from_bytes(id),
            peer: Some(peer_id(who as u8 + 1)),
            peer_name: NAMES[who].into(),
            target: String::new(),
            direction,
            kind: if number % 3 == 1 { CallKind::Voice } else { CallKind::Video },
            started_unix_ms: started,
            ended_unix_ms: started + (duration_s * 1000.0) as i64 + 9_000,
            answered,
            duration_s,
            reason,
            failed_stage,
            detail: detail.into(),
            stats: (duration_s > 0.0).then(|| stats(number, duration_s)),
        }
    };
    (0..count).map(call).collect()
}

/// The log of the scripted daemon.
pub struct Calls {
    /// The newest first.
    all: Vec<CallRecord>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { all: calls(PAST) }
    }
}

impl Calls {
    pub fn told(&self) -> Event {
        Event::CallLog(Ok(self.all.iter().take(MAX_LOG_NEWEST as usize).cloned().collect()))
    }

    /// A call is over. `seconds`: for how long it was active.
    pub fn add(&mut self, info: &CallInfo, ending: &Ending, seconds: f64) {
        let now = unix_ms();
        let position = self.all.first().map_or(1, |newest| newest.position + 1);
        let record = CallRecord {
            position,
            id: info.id,
            peer: info.peer,
            peer_name: info.peer_name.clone(),
            target: String::new(),
            direction: info.direction,
            kind: info.kind,
            started_unix_ms: now - (seconds * 1000.0) as i64,
            ended_unix_ms: now,
            answered: seconds > 0.0,
            duration_s: seconds,
            reason: ending.reason,
            failed_stage: ending.failed_stage,
            detail: ending.detail.clone(),
            stats: (seconds > 0.0).then(|| stats(1, seconds)),
        };
        self.all.insert(0, record);
    }

    /// What comes of it, and what the feed tells.
    pub fn obey(&mut self, log: &link::Log) -> (News, Vec<Event>) {
        match log {
            link::Log::Page(query) => {
                let words: Vec<String> = query.text.split_whitespace().map(str::to_lowercase).collect();
                let fits = |record: &&CallRecord| {
                    let name = record.peer_name.to_lowercase();
                    let before = query.before.position == 0 || record.position < query.before.position;
                    before && words.iter().all(|word| name.contains(word))
                };
                (News::Calls(self.all.iter().filter(fits).take(query.limit as usize).cloned().collect()), Vec::new())
            }
            link::Log::Forget(call) => {
                self.all.retain(|record| record.id != *call);
                (News::Done, vec![self.told()])
            }
            link::Log::Clear => {
                self.all.clear();
                (News::Done, vec![self.told()])
            }
        }
    }
}
