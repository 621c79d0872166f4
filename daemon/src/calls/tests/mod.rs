//! Calls between nodes whose network and media are in memory.

mod fakes;
mod hostile;
mod log;

use kith_common::call::{CallKind, CallOptions, CallState, EndReason, Medium, Stage, Switch};
use kith_common::contact::Trust;
use kith_common::media::{Size, VideoFormat};
use kith_common::node::ServiceState;

use super::{AutoAnswer, CallPolicy, Strangers};
use crate::contacts::Knock;
use crate::media::CandidateKind;
use fakes::{Exchange, Node, candidate, eventually, until};

fn ending(reason: EndReason) -> impl Fn(&kith_common::call::CallInfo) -> bool {
    move |info| info.ending.as_ref().is_some_and(|ending| ending.reason == reason)
}

fn is(state: CallState) -> impl Fn(&kith_common::call::CallInfo) -> bool {
    move |info| info.state == state
}

fn pair(policy: CallPolicy) -> (Node, Node) {
    let exchange = Exchange::default();
    (exchange.node(1, CallPolicy::default()), exchange.node(2, policy))
}

fn always() -> CallPolicy {
    CallPolicy { auto_answer: AutoAnswer::Always, ..CallPolicy::default() }
}

#[tokio::test]
async fn a_call_is_placed_answered_and_ended_with_its_timeline_and_last_figures() {
    let (ada, ben) = pair(CallPolicy::default());
    let outgoing = ada.calls.dial(ben.target(), CallOptions::default());
    let incoming = ben.call(is(CallState::Ringing)).await;
    assert_eq!(incoming.id(), outgoing.id());
    // Consent: the session may be prepared, nothing is connected.
    assert!(ben.engine.last(|session| session.connected.is_none()).unwrap_or(true));
    until(&outgoing, is(CallState::Ringing)).await;
    incoming.answer(CallOptions::default()).await.expect("it rings");
    until(&outgoing, is(CallState::Active)).await;
    let info = until(&incoming, is(CallState::Active)).await;
    assert_eq!((info.peer, info.peer_name.as_str()), (Some(ada.net.me), "node 1"));
    assert!(incoming.answer(CallOptions::default()).await.is_err());
    let stages: Vec<Stage> = outgoing.stages().borrow().iter().map(|report| report.stage).collect();
    assert_eq!((stages.first(), stages.last(), stages.len()), (Some(&Stage::Resolve), Some(&Stage::Active), 9));

    incoming.hang_up().await;
    until(&incoming, ending(EndReason::Local)).await;
    until(&outgoing, ending(EndReason::Remote)).await;
    assert_eq!(outgoing.stats().borrow().as_ref().map(|stats| stats.duration_s), Some(42.0));
    assert_eq!(ada.engine.last(|session| session.closed), Some(1));
    assert!(outgoing.hub().receive_video().next().await.is_err(), "the hub is closed");
    assert_eq!(ada.calls.list().len(), 1);
}

#[tokio::test]
async fn a_stopped_service_refuses_and_ends_its_own_calls_only() {
    let exchange = Exchange::default();
    let (ada, ben) = (exchange.node(1, CallPolicy::default()), exchange.node(2, always()));
    let video = ada.calls.dial(ben.target(), CallOptions::default());
    until(&video, is(CallState::Active)).await;
    ben.engine.listeners.send_modify(|listeners| listeners.audio.state = ServiceState::Stopped);
    let voice = || CallOptions { kind: Some(CallKind::Voice), ..CallOptions::default() };
    let cem = exchange.node(3, CallPolicy::default());
    for (from, to, word) in [(&ben, &cem, "of this node is stopped"), (&cem, &ben, "its service audio is stopped")] {
        let refused = until(&from.calls.dial(to.target(), voice()), ending(EndReason::Failed)).await;
        assert!(refused.ending.as_ref().is_some_and(|ending| ending.detail.contains(word)), "{refused:?}");
    }
    assert_eq!(video.info().borrow().state, CallState::Active);
    ben.engine.listeners.send_modify(|listeners| listeners.video.state = ServiceState::Stopped);
    until(&video, ending(EndReason::Remote)).await;
}

#[tokio::test]
async fn the_clock_offset_of_one_machine_to_itself_is_next_to_nothing() {
    let (ada, ben) = pair(always());
    ada.calls.dial(ben.target(), CallOptions::default());
    for node in [&ada, &ben] {
        eventually("a clock offset", || node.engine.last(|session| session.offset.is_some()) == Some(true)).await;
        let offset = node.engine.last(|session| session.offset).flatten().expect("just seen");
        assert!(offset.micros.unsigned_abs() <= offset.uncertainty_micros + 1000, "{offset:?}");
    }
}

#[tokio::test]
async fn candidates_found_before_the_offer_go_with_it_and_both_sides_get_the_tunnel() {
    let (ada, ben) = pair(always());
    ada.calls.dial(ben.target(), CallOptions::default());
    for node in [&ada, &ben] {
        eventually("connected", || node.engine.last(|session| session.connected.is_some()) == Some(true)).await;
        eventually("both candidates", || {
            let found = node.engine.last(|session| {
                let mut all = session.connected.as_ref().map(|remote| remote.candidates.clone()).unwrap_or_default();
                all.extend(&session.candidates);
                all
            });
            let found = found.unwrap_or_default();
            [CandidateKind::Host, CandidateKind::Observed].iter().all(|kind| found.contains(&candidate(*kind)))
        })
        .await;
        eventually("a tunnel", || node.engine.last(|session| session.tunnels > 0) == Some(true)).await;
    }
}

#[tokio::test]
async fn both_calling_at_once_are_in_one_call() {
    let (ada, ben) = pair(CallPolicy::default());
    let a = ada.calls.dial(ben.target(), CallOptions::default());
    let b = ben.calls.dial(ada.target(), CallOptions::default());
    until(&a, is(CallState::Active)).await;
    until(&b, is(CallState::Active)).await;
    for node in [&ada, &ben] {
        assert_eq!(node.calls.list().iter().filter(|call| call.state != CallState::Ended).count(), 1);
    }
    a.hang_up().await;
    until(&b, ending(EndReason::Remote)).await;
}

#[tokio::test]
async fn switches_reach_the_session_and_the_other_side() {
    let (ada, ben) = pair(always());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    until(&call, is(CallState::Active)).await;
    call.set_microphone(Switch::Off).await;
    call.set_camera(Switch::Off).await;
    ben.call(|info| info.peer_microphone == Switch::Off && info.peer_camera == Switch::Off).await;
    let last = ada.engine.last(|session| session.switches.clone()).unwrap_or_default();
    assert!(last.ends_with(&[(Medium::Audio, Switch::Off), (Medium::Video, Switch::Off)]), "{last:?}");
}

#[tokio::test]
async fn a_call_starts_with_the_switches_that_were_asked_for() {
    let (ada, ben) = pair(always());
    let muted = CallOptions { microphone: Switch::Off, ..CallOptions::default() };
    ada.calls.dial(ben.target(), muted);
    let call = ben.call(is(CallState::Active)).await;
    assert_eq!(call.info().borrow().peer_microphone, Switch::Off);
    let first = ada.engine.last(|session| session.switches.clone()).unwrap_or_default();
    assert!(first.contains(&(Medium::Audio, Switch::Off)), "{first:?}");
}

#[tokio::test]
async fn an_unattended_call_sends_the_test_source_and_yields_to_a_client() {
    let (ada, ben) = pair(always());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    let answered = ben.call(is(CallState::Active)).await;
    eventually("test pictures", || answered.hub().has_video_source() && answered.hub().has_audio_source()).await;
    let format = until(&call, |info| info.peer_format.is_some()).await.peer_format;
    assert_eq!(format.map(|format| format.size.to_string()), Some("640x360".to_owned()));
    let size = Size::new(320, 240).expect("a usual size");
    let _client = answered.hub().send_video(VideoFormat { size, fps_milli: 15_000 });
    until(&call, |info| info.peer_format.is_some_and(|format| format.size == size)).await;
}

#[tokio::test]
async fn a_camera_in_a_voice_call_comes_on_with_its_source() {
    let (ada, ben) = pair(CallPolicy::default());
    let voice = CallOptions { kind: Some(CallKind::Voice), ..CallOptions::default() };
    let call = ada.calls.dial(ben.target(), voice);
    ben.call(is(CallState::Ringing)).await.answer(CallOptions::default()).await.expect("it rings");
    let info = until(&call, is(CallState::Active)).await;
    assert_eq!((info.kind, info.camera, info.peer_camera), (CallKind::Voice, Switch::Off, Switch::Off));
    let size = Size::new(640, 360).expect("a usual size");
    let camera = call.hub().send_video(VideoFormat { size, fps_milli: 30_000 });
    ben.call(|info| info.peer_camera == Switch::On && info.peer_format.is_some()).await;
    drop(camera);
    ben.call(|info| info.peer_format.is_none()).await;
}

#[tokio::test]
async fn an_echo_node_answers_sixteen_at_once_and_the_seventeenth_hears_busy() {
    let exchange = Exchange::default();
    let echo = exchange.node(100, CallPolicy::echo());
    let mut callers = Vec::new();
    for n in 0..17 {
        let caller = exchange.node(n, CallPolicy::default());
        let call = caller.calls.dial(echo.target(), CallOptions::default());
        if n == 16 {
            until(&call, ending(EndReason::Busy)).await;
        } else {
            until(&call, is(CallState::Active)).await;
        }
        callers.push((caller, call));
    }
    let answered = echo.call(is(CallState::Active)).await;
    eventually("the echo", || answered.hub().has_audio_source()).await;
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_advice_is_given() {
    let exchange = Exchange::default();
    let ada = exchange.node(1, CallPolicy::default());
    let gone = kith_common::target::Target::Peer(kith_common::ids::PeerId::from_public_key([9; 32]));
    let call = ada.calls.dial(gone, CallOptions::default());
    let info = until(&call, ending(EndReason::Unreachable)).await;
    let ending = info.ending.expect("it has ended");
    assert_eq!((ending.failed_stage, ending.advice.as_str()), (Some(Stage::Dial), "Ask for a ticket."));
}

#[tokio::test]
async fn shutting_down_hangs_up_politely_and_ends_every_feed() {
    let (ada, ben) = pair(always());
    let call = ada.calls.dial(ben.target(), CallOptions::default());
    until(&call, is(CallState::Active)).await;
    let mut feed = ben.calls.subscribe();
    ben.calls.shutdown().await;
    until(&call, ending(EndReason::Remote)).await;
    while feed.next().await.is_some() {}
}

#[tokio::test]
async fn ended_calls_are_kept_in_a_short_list() {
    let (ada, ben) = pair(always());
    for _ in 0..40 {
        let call = ada.calls.dial(ben.target(), CallOptions::default());
        until(&call, is(CallState::Active)).await;
        call.hang_up().await;
        until(&call, is(CallState::Ended)).await;
        let of_ben = ben.calls.get(call.id()).expect("it is in the list");
        until(&of_ben, is(CallState::Ended)).await;
    }
    assert_eq!((ada.calls.list().len(), ben.calls.list().len()), (32, 32));
}

#[tokio::test]
async fn a_contact_that_may_never_call_does_not_ring_not_even_an_echo_node() {
    for policy in [CallPolicy::default(), always(), CallPolicy::echo()] {
        let (ada, ben) = pair(policy);
        ben.trusts(&ada, Trust::Never);
        let refused = until(&ada.calls.dial(ben.target(), CallOptions::default()), is(CallState::Ended)).await;
        assert_eq!(refused.ending.map(|ending| ending.reason), Some(EndReason::Blocked));
        assert!(ben.calls.list().is_empty(), "nobody here hears of it");
    }
}

#[tokio::test]
async fn where_strangers_do_not_ring_they_knock_and_hear_so_and_contacts_ring() {
    let (ada, ben) = pair(CallPolicy { strangers: Strangers::Request, ..CallPolicy::default() });
    let refused = until(&ada.calls.dial(ben.target(), CallOptions::default()), is(CallState::Ended)).await;
    let ending = refused.ending.expect("it has ended");
    assert_eq!(ending.reason, EndReason::Declined);
    assert!(ending.detail.contains("request") && !ending.advice.is_empty(), "{ending:?}");
    assert_eq!(ben.knock().await, Knock { peer: ada.net.me, kind: CallKind::Video });
    assert!(ben.calls.list().is_empty(), "nothing has rung");
    ben.trusts(&ada, Trust::Ask);
    ada.calls.dial(ben.target(), CallOptions::default());
    ben.call(is(CallState::Ringing)).await;
}

#[tokio::test]
async fn a_stranger_that_rings_too_often_knocks_from_then_on() {
    let (ada, ben) = pair(CallPolicy::default());
    let mut rang = 0;
    loop {
        let call = ada.calls.dial(ben.target(), CallOptions::default());
        let info = until(&call, |info| info.state == CallState::Ringing || info.ending.is_some()).await;
        if info.ending.is_some() {
            break;
        }
        rang += 1;
        assert!(rang < 10, "it goes on ringing");
        call.hang_up().await;
        until(&ben.calls.get(call.id()).expect("it rang"), is(CallState::Ended)).await;
    }
    assert!(rang > 2, "{rang}: a few are let ring");
    assert_eq!(ben.knock().await.peer, ada.net.me);
}

#[tokio::test]
async fn calls_of_contacts_are_answered_where_they_may_always_call_and_shown_by_their_name() {
    let contacts = CallPolicy { auto_answer: AutoAnswer::Contacts, ..CallPolicy::default() };
    for (trust, state) in
        [(Some(Trust::Always), CallState::Active), (Some(Trust::Ask), CallState::Ringing), (None, CallState::Ringing)]
    {
        let (ada, ben) = pair(contacts);
        if let Some(trust) = trust {
            ben.trusts(&ada, trust);
        }
        ada.calls.dial(ben.target(), CallOptions::default());
        let call = ben.call(is(state)).await;
        let name = if trust.is_some() { "a friend" } else { "node 1" };
        until(&call, |info| info.peer_name == name).await;
    }
}
