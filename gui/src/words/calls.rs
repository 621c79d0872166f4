//! What is said of calls that are over.

use std::time::Duration;

use kith_common::call::{CallRecord, Direction, EndReason, Ending};

use super::chat::one_line;
use super::{Talked, ending, milliseconds, name, path};

/// What to call the other side: `given` is what the user calls it, if it is a contact.
pub fn title(record: &CallRecord, given: Option<&str>) -> String {
    let told = if record.peer_name.trim().is_empty() { &record.target } else { &record.peer_name };
    name(&one_line(given.unwrap_or(told)), record.peer)
}

/// How it went, in few words.
pub fn outcome(record: &CallRecord) -> String {
    let length = super::duration(Duration::try_from_secs_f64(record.duration_s).unwrap_or_default());
    let talked = record.duration_s > 0.0;
    let few = match (record.direction, record.reason) {
        (_, EndReason::Local | EndReason::Remote) if talked => return length,
        (_, EndReason::Timeout) if talked => return format!("{length} · connection lost"),
        _ if talked => return format!("{length} · broke off"),
        (_, EndReason::Busy) if record.is_missed() => "Missed: you were in a call",
        _ if record.is_missed() => "Missed",
        (_, EndReason::Timeout | EndReason::Failed) if record.answered => "Answered, not connected",
        (Direction::Incoming, EndReason::Local) if !record.answered => "Declined",
        (_, EndReason::Local) => "Cancelled",
        (_, EndReason::Remote) => "Hung up before it began",
        (_, EndReason::Declined) => "Was declined",
        (_, EndReason::Busy) => "Was busy",
        (_, EndReason::Blocked) => "Not accepted",
        (_, EndReason::Unreachable) => "Not reachable",
        (_, EndReason::Timeout) => "No answer",
        (_, EndReason::Failed) => "Failed",
    };
    few.to_owned()
}

/// The same in a sentence, and what was measured.
pub fn details(record: &CallRecord, who: &str) -> Vec<String> {
    let talked = if record.duration_s > 0.0 { Talked::Yes } else { Talked::No };
    let declined = record.direction == Direction::Incoming && !record.answered && record.reason == EndReason::Local;
    let told = Ending { failed_stage: record.failed_stage, detail: record.detail.clone(), ..Ending::by(record.reason) };
    let sentence = match declined && record.detail.is_empty() {
        true => "You declined the call.".to_owned(),
        false => ending(&told, who, talked).sentence,
    };
    let mut lines = vec![sentence];
    if let (Some(stats), Talked::Yes) = (&record.stats, talked) {
        let way = path(stats.path, stats.transport);
        lines.push(match stats.delay_ms_p95.or(stats.audio_delay_ms_p95) {
            Some(delay) => format!("{way} · delay nearly always under {}", milliseconds(Some(delay))),
            None => way.to_owned(),
        });
        if stats.audio_concealed_ms > 0 || stats.frozen_ms > 0 {
            let seconds = |ms: u64| ms as f64 / 1000.0;
            let (made_up, still) = (seconds(stats.audio_concealed_ms), seconds(stats.frozen_ms));
            lines.push(format!("{made_up:.1} s of sound made up, picture stood still for {still:.1} s"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use kith_common::call::{CallKind, CallStats};
    use kith_common::ids::{CallId, PeerId};

    use super::*;

    fn record(direction: Direction, answered: bool, duration_s: f64, reason: EndReason) -> CallRecord {
        CallRecord {
            position: 1,
            id: CallId::from_bytes([1; 16]),
            peer: Some(PeerId::from_public_key([7; 32])),
            peer_name: "Ada".into(),
            target: String::new(),
            direction,
            kind: CallKind::Voice,
            started_unix_ms: 0,
            ended_unix_ms: 0,
            answered,
            duration_s,
            reason,
            failed_stage: None,
            detail: String::new(),
            stats: (duration_s > 0.0).then(CallStats::default),
        }
    }

    #[test]
    fn every_end_has_its_few_words_and_its_sentence() {
        for direction in [Direction::Incoming, Direction::Outgoing] {
            for reason in EndReason::ALL {
                for (answered, duration_s) in [(false, 0.0), (true, 0.0), (true, 245.0)] {
                    let record = record(direction, answered, duration_s, reason);
                    let few = outcome(&record);
                    assert!(!few.is_empty() && few.chars().count() < 30, "{few}");
                    assert_eq!(few.contains("Missed"), record.is_missed(), "{record:?}: {few}");
                    assert_eq!(few.contains("4:05"), duration_s > 0.0, "{few}");
                    assert!(details(&record, "Ada")[0].ends_with('.'), "{record:?}");
                }
            }
        }
    }

    #[test]
    fn who_it_was_is_said_as_well_as_it_is_known() {
        let mut record = record(Direction::Outgoing, false, 0.0, EndReason::Unreachable);
        assert_eq!(title(&record, Some("Grandma")), "Grandma");
        assert_eq!(title(&record, None), "Ada");
        record.peer_name.clear();
        assert!(title(&record, None).starts_with("Node "));
        (record.peer, record.target) = (None, "192.0.2.7:9999".into());
        assert_eq!(title(&record, None), "192.0.2.7:9999");
    }
}
