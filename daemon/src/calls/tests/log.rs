//! What the log says of calls that are over.

use kith_common::call::{CallKind, CallOptions, CallState, Direction, EndReason, LogQuery, Stage, Switch};
use kith_common::contact::Trust;
use kith_common::ids::PeerId;
use kith_common::target::Target;

use super::fakes::{Exchange, until};
use super::{CallPolicy, always, ending, is, pair};

#[tokio::test]
async fn a_call_is_in_the_log_of_both_with_how_long_it_was_and_what_it_was_like() {
    let (ada, ben) = pair(always());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    until(&call, is(CallState::Active)).await;
    call.hang_up().await;
    let (here, there) = (ada.logged(1).await.remove(0), ben.logged(1).await.remove(0));
    assert_eq!((here.id, there.id), (call.id(), call.id()));
    assert_eq!((here.peer, there.peer), (Some(ben.net.me), Some(ada.net.me)));
    assert_eq!((here.peer_name.as_str(), there.peer_name.as_str()), ("node 2", "node 1"));
    assert_eq!((here.direction, there.direction), (Direction::Outgoing, Direction::Incoming));
    assert_eq!((here.reason, there.reason), (EndReason::Local, EndReason::Remote));
    for record in [&here, &there] {
        assert!(record.answered && record.duration_s > 0.0 && !record.is_missed(), "{record:?}");
        assert!(record.started_unix_ms > 0 && record.ended_unix_ms >= record.started_unix_ms, "{record:?}");
        assert_eq!((record.kind, record.failed_stage), (CallKind::Video, None));
        assert_eq!(record.stats.as_ref().map(|stats| stats.duration_s), Some(42.0), "the session's last figures");
    }
    let ben_is = &here.again().expect("the peer is known");
    assert_eq!(*ben_is, ben.net.me.to_string());
}

#[tokio::test]
async fn what_nobody_answered_is_missed_and_what_was_declined_is_not() {
    let (ada, ben) = pair(CallPolicy::default());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    until(&call, is(CallState::Ringing)).await;
    call.hang_up().await;
    let missed = ben.logged(1).await.remove(0);
    assert!(missed.is_missed() && missed.duration_s == 0.0, "{missed:?}");
    assert_eq!((missed.reason, missed.answered, missed.stats), (EndReason::Remote, false, None));
    assert!(!ada.logged(1).await[0].is_missed());

    let call = ada.calls.dial(ben.target(), CallOptions::default());
    ben.call(is(CallState::Ringing)).await.decline().await;
    until(&call, ending(EndReason::Declined)).await;
    let declined = ben.logged(2).await.remove(0);
    assert!(!declined.is_missed(), "{declined:?}");
    assert_eq!(declined.reason, EndReason::Local);
    assert_eq!(ada.logged(2).await[0].reason, EndReason::Declined);
}

#[tokio::test]
async fn who_calls_while_another_call_goes_on_is_missed_there() {
    let exchange = Exchange::default();
    let (ada, ben) = (exchange.node(1, CallPolicy::default()), exchange.node(2, always()));
    let cem = exchange.node(3, CallPolicy::default());
    let first = ada.calls.dial(ben.target(), CallOptions::default());
    until(&first, is(CallState::Active)).await;
    let voice = CallOptions { kind: Some(CallKind::Voice), ..CallOptions::default() };
    until(&cem.calls.dial(ben.target(), voice), ending(EndReason::Busy)).await;
    let missed = ben.logged(1).await.remove(0);
    assert!(missed.is_missed(), "{missed:?}");
    assert_eq!((missed.peer, missed.kind, missed.reason), (Some(cem.net.me), CallKind::Voice, EndReason::Busy));
    assert_eq!(missed.peer_name, "node 3");
    assert_eq!(cem.logged(1).await[0].reason, EndReason::Busy);
    assert_eq!(first.info().borrow().state, CallState::Active);
}

#[tokio::test]
async fn failures_are_in_the_log_with_their_stage_and_whom_to_call_again() {
    let ada = Exchange::default().node(1, CallPolicy::default());
    let gone = PeerId::from_public_key([9; 32]);
    let call = ada.calls.dial(Target::Peer(gone), CallOptions::default());
    until(&call, ending(EndReason::Unreachable)).await;
    let record = ada.logged(1).await.remove(0);
    assert_eq!((record.peer, record.failed_stage), (Some(gone), Some(Stage::Dial)));
    assert_eq!(record.detail, "nobody is there");
    // This network knows no addresses; whoever is there stays unknown.
    let address: Target = "192.0.2.7".parse().expect("an address");
    let call = ada.calls.dial(address, CallOptions::default());
    until(&call, is(CallState::Ended)).await;
    let record = ada.logged(2).await.remove(0);
    assert_eq!((record.peer, record.again().as_deref()), (None, Some("192.0.2.7:9999")));
    assert_eq!(record.failed_stage, Some(Stage::Resolve));
}

#[tokio::test]
async fn two_who_call_each_other_have_one_row_each() {
    let (ada, ben) = pair(CallPolicy::default());
    let a = ada.calls.dial(ben.target(), CallOptions::default());
    let rung = ben.call(is(CallState::Ringing)).await;
    let b = ben.calls.dial(ada.target(), CallOptions::default());
    until(&a, is(CallState::Active)).await;
    until(&b, is(CallState::Active)).await;
    until(&rung, is(CallState::Ended)).await;
    b.hang_up().await;
    until(&a, ending(EndReason::Remote)).await;
    for node in [&ada, &ben] {
        let log = node.logged(1).await;
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].answered && log[0].direction == Direction::Outgoing, "{log:?}");
    }
}

#[tokio::test]
async fn a_trial_is_not_in_the_log_of_whoever_made_it() {
    let (ada, ben) = pair(always());
    let trial = CallOptions { log: Switch::Off, ..CallOptions::default() };
    for options in [trial, CallOptions::default()] {
        let call = ada.calls.dial(ben.target(), options);
        until(&call, is(CallState::Active)).await;
        call.hang_up().await;
        until(&call, is(CallState::Ended)).await;
        until(&ben.calls.get(call.id()).expect("it is in the list"), is(CallState::Ended)).await;
    }
    assert_eq!(ben.logged(2).await.len(), 2);
    assert_eq!(ada.logged(1).await.len(), 1);
}

#[tokio::test]
async fn the_log_is_searched_by_the_names_of_today_and_rows_can_be_taken_out() {
    let (ada, ben) = pair(always());
    for _ in 0..3 {
        let call = ada.calls.dial(ben.target(), CallOptions::default());
        until(&call, is(CallState::Active)).await;
        call.hang_up().await;
        until(&ben.calls.get(call.id()).expect("it is in the list"), is(CallState::Ended)).await;
    }
    let log = ben.logged(3).await;
    assert_eq!(log[0].peer_name, "node 1");
    ben.trusts(&ada, Trust::Ask);
    let find = async |text: &str| {
        let query = LogQuery { text: text.into(), limit: 2, ..LogQuery::default() };
        ben.calls.log().page(&query, None).await.expect("it can be read")
    };
    assert_eq!(find("FRIEND").await, ben.logged(3).await[..2]);
    assert!(find("node").await.is_empty(), "it is called something else now");
    let mut changes = ben.calls.log().changes();
    changes.mark_unchanged();
    ben.calls.log().forget(log[1].id).await.expect("it is there");
    assert!(ben.calls.log().forget(log[1].id).await.is_err());
    changes.changed().await.expect("it is told");
    assert_eq!(ben.calls.log().clear(Some(ben.net.me)).await.ok(), Some(0), "no calls with oneself");
    assert_eq!(ben.calls.log().clear(Some(ada.net.me)).await.ok(), Some(2));
    assert!(find("").await.is_empty());
    assert_eq!(ada.calls.log().clear(None).await.ok(), Some(3));
}

#[tokio::test]
async fn shutting_down_writes_the_calls_that_it_ends() {
    let (ada, ben) = pair(always());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    until(&call, is(CallState::Active)).await;
    let log = ben.calls.log().clone();
    ben.calls.shutdown().await;
    let rows = log.page(&LogQuery::default(), None).await.expect("it can be read");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [call.id()]);
}
