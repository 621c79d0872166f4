//! `calls log`: the calls that are over, and taking them out of the log.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use kith_common::call::{CallRecord, CallStats, Direction, EndReason, LogQuery, MAX_LOG_PAGE};
use kith_common::client::Client;
use kith_common::ids::CallId;
use serde_json::{Value, json};

use crate::cli::LogArguments;
use crate::harmless::line;
use crate::output::{Output, cells, name, or_dash, table};
use crate::stop::{Exit, Stop};
use crate::when::rfc3339;

pub async fn run(client: &Client, arguments: LogArguments, output: &Output) -> Result<(), Stop> {
    if arguments.clear {
        return clear(client, &arguments, output).await;
    }
    if let Some(call) = &arguments.forget {
        return forget(client, call, output).await;
    }
    let query = LogQuery {
        target: arguments.peer.unwrap_or_default(),
        text: arguments.search.unwrap_or_default(),
        before: arguments.before.unwrap_or_default(),
        limit: 0,
    };
    let wanted = |record: &CallRecord| !arguments.missed || record.is_missed();
    let found = find(client, query, arguments.limit, wanted).await?;
    let _gone = found.iter().try_for_each(|record| output.row(&row(record)));
    let _gone = output.text(&text(&found));
    Ok(())
}

/// The newest `limit` that are wanted. The daemon answers in pages.
async fn find(
    client: &Client,
    mut query: LogQuery,
    limit: u32,
    wanted: impl Fn(&CallRecord) -> bool,
) -> Result<Vec<CallRecord>, Stop> {
    let mut found = Vec::new();
    loop {
        let missing = (limit as usize).saturating_sub(found.len());
        if missing == 0 {
            return Ok(found);
        }
        query.limit = MAX_LOG_PAGE;
        let page = client.call_log(query.clone()).await?;
        let Some(oldest) = page.last() else { return Ok(found) };
        query.before.position = oldest.position;
        found.extend(page.into_iter().filter(&wanted).take(missing));
    }
}

/// A call of the log with the promised fields; what was measured is null where nothing was.
fn row(record: &CallRecord) -> Value {
    let stats = record.stats.as_ref();
    let figure = |figure: fn(&CallStats) -> Option<f64>| stats.and_then(figure);
    json!({
        "call": record.id,
        "position": record.position,
        "peer_id": record.peer,
        "peer": title(record),
        "target": record.target,
        "direction": record.direction,
        "media": record.kind,
        "started_at": rfc3339(record.started_unix_ms),
        "ended_at": rfc3339(record.ended_unix_ms),
        "answered": record.answered,
        "missed": record.is_missed(),
        "duration_s": record.duration_s,
        "reason": record.reason,
        "failed_stage": record.failed_stage,
        "detail": record.detail,
        "path": stats.and_then(|stats| stats.path),
        "transport": stats.map(|stats| stats.transport),
        "delay_ms_p50": figure(|stats| stats.delay_ms_p50),
        "delay_ms_p95": figure(|stats| stats.delay_ms_p95),
        "late_400ms": figure(|stats| Some(stats.late_400ms)),
        "loss": figure(|stats| Some(stats.loss)),
        "audio_concealed_ms": stats.map(|stats| stats.audio_concealed_ms),
        "frozen_ms": stats.map(|stats| stats.frozen_ms),
        "sizes": stats.map(|stats| &stats.sizes),
        "stats": stats,
    })
}

/// Who the other side was, as far as it is known.
fn title(record: &CallRecord) -> String {
    match (record.peer, record.peer_name.as_str(), record.target.as_str()) {
        (_, name, _) if !name.is_empty() => name.to_owned(),
        (Some(peer), ..) => peer.short(),
        (None, _, "") => "somebody".to_owned(),
        (None, _, target) => target.to_owned(),
    }
}

fn text(records: &[CallRecord]) -> String {
    if records.is_empty() {
        return "No such calls.".to_owned();
    }
    let mut rows = vec![cells(["WHEN", "PEER", "DIRECTION", "MEDIA", "LENGTH", "END", "PATH", "DELAY", "CALL"])];
    for record in records {
        let stats = record.stats.as_ref().filter(|_| record.duration_s > 0.0);
        let delay = stats.and_then(|stats| stats.delay_ms_p95.or(stats.audio_delay_ms_p95));
        rows.push(cells([
            &rfc3339(record.started_unix_ms),
            &line(&title(record)),
            &name(record.direction),
            &name(record.kind),
            &length(record.duration_s),
            &end(record),
            &stats.and_then(|stats| stats.path).map_or_else(|| "–".to_owned(), name),
            &or_dash(delay, " ms"),
            &record.id.to_string()[..8],
        ]));
    }
    table(&rows)
}

/// `4:05`, `1:02:05`
fn length(seconds: f64) -> String {
    if seconds <= 0.0 {
        return "–".to_owned();
    }
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

fn end(record: &CallRecord) -> String {
    let reason = name(record.reason);
    match (record.direction, record.answered, record.reason) {
        _ if record.is_missed() && record.reason == EndReason::Busy => "missed (in another call)".to_owned(),
        _ if record.is_missed() => "missed".to_owned(),
        (Direction::Incoming, false, EndReason::Local) => "declined here".to_owned(),
        (Direction::Outgoing, false, EndReason::Local) => "cancelled".to_owned(),
        (_, true, EndReason::Local) => "ended here".to_owned(),
        (_, true, EndReason::Remote) => "ended there".to_owned(),
        _ => record.failed_stage.map_or_else(|| reason.clone(), |stage| format!("{reason} at {}", name(stage))),
    }
}

async fn clear(client: &Client, arguments: &LogArguments, output: &Output) -> Result<(), Stop> {
    let what = match &arguments.peer {
        Some(peer) => format!("all calls with {peer:.80}"),
        None => "all calls".to_owned(),
    };
    if !arguments.yes && !agreed(&what, output)? {
        output.note("Nothing was taken out.");
        return Ok(());
    }
    let removed = client.clear_call_log(arguments.peer.as_deref()).await?;
    let _gone = output.row(&json!({ "removed": removed }));
    let _gone = output.text(&match removed {
        1 => "One call was taken out of the log, here only.".to_owned(),
        count => format!("{count} calls were taken out of the log, here only."),
    });
    Ok(())
}

/// Asks whoever sits here. Where nobody does, it has to be said beforehand.
fn agreed(what: &str, output: &Output) -> Result<bool, Stop> {
    if output.is_json() || !std::io::stdin().is_terminal() {
        return Err(Stop::new(Exit::Usage, format!("{what} would be taken out of the log for good"))
            .advise("Add --yes if that is meant."));
    }
    output.note(&format!("Take {what} out of the log? It cannot be undone. Type yes:"));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Stop::failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn forget(client: &Client, call: &str, output: &Output) -> Result<(), Stop> {
    let id = named(client, call).await?;
    client.forget_call(id).await?;
    let _gone = output.row(&json!({ "call": id, "removed": true }));
    let _gone = output.text("The call was taken out of the log, here only.");
    Ok(())
}

/// By its whole id, or by the first digits of it where only one begins so.
async fn named(client: &Client, text: &str) -> Result<CallId, Stop> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let begins = text.to_ascii_lowercase();
    let fits = |record: &CallRecord| !begins.is_empty() && record.id.to_string().starts_with(&begins);
    let found = find(client, LogQuery::default(), 2, fits).await?;
    match &found[..] {
        [one] => Ok(one.id),
        [] => {
            Err(Stop::failed(format!("there is no call {text:.40} in the log"))
                .advise("`kithctl calls log` lists them."))
        }
        _ => Err(Stop::failed(format!("several calls begin with {text:.40}")).advise("Give more digits of its id.")),
    }
}

#[cfg(test)]
mod tests {
    use kith_common::call::{CallKind, Stage, Transport};
    use kith_common::ids::PeerId;
    use kith_common::node::Path;

    use super::*;

    fn record() -> CallRecord {
        let stats = CallStats {
            path: Some(Path::Direct),
            transport: Transport::Udp,
            delay_ms_p95: Some(64.0),
            ..CallStats::default()
        };
        CallRecord {
            position: 7,
            id: CallId::from_bytes([1; 16]),
            peer: Some(PeerId::from_public_key([7; 32])),
            peer_name: "ada".into(),
            target: String::new(),
            direction: Direction::Incoming,
            kind: CallKind::Video,
            started_unix_ms: 0,
            ended_unix_ms: 250_000,
            answered: true,
            duration_s: 245.0,
            reason: EndReason::Remote,
            failed_stage: None,
            detail: String::new(),
            stats: Some(stats),
        }
    }

    #[test]
    fn a_call_of_the_log_has_the_promised_fields() {
        let row = row(&record());
        for field in [
            "call",
            "peer_id",
            "peer",
            "direction",
            "media",
            "started_at",
            "duration_s",
            "reason",
            "failed_stage",
            "path",
            "delay_ms_p50",
            "delay_ms_p95",
            "late_400ms",
            "audio_concealed_ms",
            "transport",
            "sizes",
            "missed",
        ] {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!((&row["peer"], &row["media"], &row["path"]), (&"ada".into(), &"video".into(), &"direct".into()));
        assert_eq!((&row["started_at"], &row["duration_s"]), (&"1970-01-01T00:00:00Z".into(), &245.0.into()));
        assert_eq!(row["delay_ms_p95"], 64.0);
        let unmeasured = self::row(&CallRecord { stats: None, ..record() });
        assert_eq!((&unmeasured["path"], &unmeasured["stats"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn how_a_call_ended_is_said_from_this_side() {
        let end = |direction, answered, reason, failed_stage| {
            super::end(&CallRecord { direction, answered, reason, failed_stage, ..record() })
        };
        use Direction::{Incoming, Outgoing};
        use EndReason::{Busy, Declined, Local, Remote, Timeout, Unreachable};
        for (told, wanted) in [
            (end(Incoming, true, Remote, None), "ended there"),
            (end(Outgoing, true, Local, None), "ended here"),
            (end(Incoming, false, Timeout, Some(Stage::Accept)), "missed"),
            (end(Incoming, false, Busy, None), "missed (in another call)"),
            (end(Incoming, false, Local, None), "declined here"),
            (end(Outgoing, false, Local, None), "cancelled"),
            (end(Outgoing, false, Declined, None), "declined"),
            (end(Outgoing, false, Unreachable, Some(Stage::Dial)), "unreachable at dial"),
        ] {
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_table_says_who_how_long_and_how_well() {
        let nobody = CallRecord {
            peer: None,
            peer_name: String::new(),
            target: "192.0.2.7:9999".into(),
            duration_s: 0.0,
            ..record()
        };
        let text = text(&[record(), nobody]);
        for part in ["ada", "4:05", "ended there", "direct", "64 ms", "01010101", "192.0.2.7:9999"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(length(3725.9), "1:02:05");
    }
}
