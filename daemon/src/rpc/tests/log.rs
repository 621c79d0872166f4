//! The log of calls, as clients meet it.

use kith_common::call::{
    CallKind, CallRecord, CallStats, Direction, EndReason, LogQuery, MAX_LOG_NEWEST, MAX_LOG_PAGE, SizeSeconds,
};
use kith_common::call_capnp;
use kith_common::chat::Before;
use kith_common::convert::write_records;
use kith_common::failure::FailureKind;
use kith_common::ids::{CallId, PeerId};
use kith_common::rpc::MAX_MESSAGE_BYTES;

use super::{Stage, soon};
use crate::rpc::room;

fn ada() -> PeerId {
    PeerId::from_public_key([7; 32])
}

fn id(number: u64) -> CallId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    CallId::from_bytes(bytes)
}

fn record(number: u64, peer: PeerId) -> CallRecord {
    CallRecord {
        position: 0,
        id: id(number),
        peer: Some(peer),
        peer_name: format!("caller {number}"),
        target: String::new(),
        direction: Direction::Incoming,
        kind: CallKind::Voice,
        started_unix_ms: 1_000 * number as i64,
        ended_unix_ms: 1_000 * number as i64,
        answered: true,
        duration_s: 1.5,
        reason: EndReason::Remote,
        failed_stage: None,
        detail: String::new(),
        stats: Some(CallStats::default()),
    }
}

async fn are_over(stage: &Stage, numbers: impl IntoIterator<Item = u64>, peer: PeerId) {
    for number in numbers {
        let record = record(number, peer);
        soon(stage.database.write(move |store| store.log_call(&record))).await.expect("it is stored");
    }
}

fn ids(records: &[CallRecord]) -> Vec<CallId> {
    records.iter().map(|record| record.id).collect()
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<CallId> {
    numbers.into_iter().map(id).collect()
}

#[tokio::test]
async fn the_log_is_read_in_pages_by_peer_by_words_and_by_time() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    are_over(&stage, 1..=120, ada()).await;
    are_over(&stage, 121..=125, PeerId::from_public_key([8; 32])).await;
    soon(client.add_contact(&ada().to_string(), "Ada", "")).await.expect("a stranger");
    let ask = async |query: LogQuery| soon(client.call_log(query)).await.expect("it can be read");
    let all = ask(LogQuery::default()).await;
    assert_eq!(ids(&all), numbered((1..=125).rev()));
    assert_eq!((all[0].peer_name.as_str(), all[5].peer_name.as_str()), ("caller 125", "Ada"));
    let before = Before { position: all[4].position, unix_ms: 0 };
    let page = ask(LogQuery { target: "ada".into(), before, limit: 3, ..LogQuery::default() }).await;
    assert_eq!(ids(&page), numbered([120, 119, 118]));
    let found = ask(LogQuery { text: "CALLER 12".into(), ..LogQuery::default() }).await;
    assert_eq!(ids(&found), numbered((121..=125).rev()));
    let before = Before { position: 0, unix_ms: 3_000 };
    assert_eq!(ids(&ask(LogQuery { before, ..LogQuery::default() }).await), numbered([2, 1]));
    let query = LogQuery { target: "nobody".into(), ..LogQuery::default() };
    let failure = soon(client.call_log(query)).await.expect_err("nobody is called so");
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
}

#[tokio::test]
async fn whoever_watches_the_log_hears_of_what_comes_and_goes() {
    let stage = Stage::set().await;
    let client = stage.client().await;
    are_over(&stage, 1..=150, ada()).await;
    let mut watch = soon(client.watch_call_log()).await.expect("it can be watched");
    // What was there before may be told twice.
    let mut told = async |wanted: Vec<CallId>| {
        let waiting = async {
            loop {
                let newest = watch.next().await.expect("goes on").expect("the daemon is there");
                if ids(&newest).starts_with(&wanted) && newest.is_empty() == wanted.is_empty() {
                    return newest.len();
                }
            }
        };
        soon(waiting).await
    };
    assert_eq!(told(numbered((51..=150).rev())).await, MAX_LOG_NEWEST as usize);
    are_over(&stage, [151], ada()).await;
    told(numbered([151, 150])).await;
    soon(client.forget_call(id(150))).await.expect("it is there");
    told(numbered([151, 149])).await;
    let failure = soon(client.forget_call(id(150))).await.expect_err("it is gone");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    assert_eq!(soon(client.clear_call_log(Some(&ada().to_string()))).await.ok(), Some(150));
    told(Vec::new()).await;
    assert_eq!(soon(client.clear_call_log(None)).await.ok(), Some(0));
}

#[test]
fn the_largest_page_fits_a_message() {
    let stats = CallStats {
        encoder: "rav1e".into(),
        sizes: vec![SizeSeconds { width: 640, height: 360, seconds: 1.0 }; 32],
        ..CallStats::default()
    };
    let largest = CallRecord {
        peer_name: "ü".repeat(64),
        target: "x".repeat(256),
        detail: "ü".repeat(500),
        stats: Some(stats),
        ..record(1, ada())
    };
    let all = vec![largest; MAX_LOG_PAGE as usize];
    let page = room::calls(&all);
    assert!(page.len() > 200, "{}", page.len());
    let mut wire = capnp::message::Builder::new_default();
    let to = wire.initn_root::<capnp::struct_list::Builder<'_, call_capnp::call_record::Owned>>(page.len() as u32);
    write_records(page, to);
    let written: usize = wire.get_segments_for_output().iter().map(|segment| segment.len()).sum();
    assert!(written < MAX_MESSAGE_BYTES, "{written}");
}
