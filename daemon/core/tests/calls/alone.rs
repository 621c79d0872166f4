//! One node, and a peer that says what the test wants: out of place, too much, too late.

use std::time::{Duration, Instant};

use kith_common::call::{CallKind, CallOptions, CallState, EncoderChoice, EndReason, Stage, Switch, Transport};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::Path;
use kith_core::call::{
    Action, BookConfig, CONNECT_TIMEOUT, Call, CallBook, Closed, LinkId, MediaEvent, MediaState, NOTED_AS_REQUEST,
    RING_TIMEOUT, Signal, Standing,
};

use crate::rig::{id, peer};

const MEDIA: MediaState = MediaState { microphone: Switch::On, camera: Switch::On, format: None };
const SECOND: Duration = Duration::from_secs(1);

fn book() -> CallBook {
    CallBook::new(BookConfig { local: peer(1), max_calls: 1, encoder: EncoderChoice::Auto })
}

fn drain(book: &mut CallBook) -> Vec<Action> {
    std::iter::from_fn(|| book.poll_action()).collect()
}

fn offer() -> Signal {
    Signal::Offer { kind: CallKind::Video, media: MEDIA }
}

fn sent(actions: &[Action]) -> Vec<&Signal> {
    let signals = actions.iter().filter_map(|action| match action {
        Action::Send { signal, .. } => Some(signal),
        _ => None,
    });
    signals.collect()
}

fn endings(actions: &[Action]) -> Vec<(EndReason, Option<Stage>)> {
    let endings = actions.iter().filter_map(|action| match action {
        Action::Ended { call } => call.ending.as_ref().map(|ending| (ending.reason, ending.failed_stage)),
        _ => None,
    });
    endings.collect()
}

/// Rings, is answered, and waits for media.
fn connecting(now: Instant) -> CallBook {
    let mut book = book();
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    book.handle_media_open(id(1), now);
    book.answer(id(1), CallOptions::default(), now).expect("it rings");
    drain(&mut book);
    book
}

#[test]
fn nothing_of_camera_or_microphone_starts_before_the_answer() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    book.handle_media_open(id(1), now);
    let actions = drain(&mut book);
    assert!(!actions.iter().any(|action| matches!(action, Action::ConnectMedia { .. })), "{actions:?}");
    assert_eq!(sent(&actions), [&Signal::Ringing]);
    book.answer(id(1), CallOptions::default(), now).expect("it rings");
    assert!(drain(&mut book).iter().any(|action| matches!(action, Action::ConnectMedia { .. })));
}

fn closed() -> Closed {
    let here = Failure::new(FailureKind::NotPermitted, "The service is stopped.").advise("Start it.");
    Closed { here, told: "its service is stopped".into() }
}

#[test]
fn while_a_service_is_stopped_its_calls_are_refused_with_the_reason_and_others_are_not() {
    let (mut book, now) = (book(), Instant::now());
    book.set_closed(CallKind::Voice, Some(closed()));
    let voice = Signal::Offer { kind: CallKind::Voice, media: MEDIA };
    book.handle_signal(LinkId(1), peer(2), id(1), voice.clone(), Standing::AutoAnswer, now);
    let actions = drain(&mut book);
    assert_eq!(sent(&actions), [&Signal::Failed("its service is stopped".into())]);
    assert!(matches!(actions.last(), Some(Action::CloseLink { link: LinkId(1) })), "{actions:?}");
    book.handle_signal(LinkId(2), peer(2), id(2), voice.clone(), Standing::Blocked, now);
    assert_eq!(sent(&drain(&mut book)), [&Signal::Blocked], "a blocked peer hears nothing of it");
    let options = CallOptions { kind: Some(CallKind::Voice), ..CallOptions::default() };
    book.dial(id(3), Some(peer(2)), options, now);
    let actions = drain(&mut book);
    assert_eq!(endings(&actions), [(EndReason::Failed, Some(Stage::Resolve))]);
    assert!(!actions.iter().any(|action| matches!(action, Action::Connect { .. })), "{actions:?}");
    book.handle_signal(LinkId(4), peer(2), id(4), offer(), Standing::Ring, now);
    assert_eq!(sent(&drain(&mut book)), [&Signal::Ringing]);
    book.hang_up_all(now);
    drain(&mut book);
    book.set_closed(CallKind::Voice, None);
    book.handle_signal(LinkId(5), peer(2), id(5), voice, Standing::Ring, now);
    assert_eq!(sent(&drain(&mut book)), [&Signal::Ringing]);
}

#[test]
fn stopping_a_service_ends_its_calls_politely_and_leaves_the_others_alone() {
    let now = Instant::now();
    let mut book = connecting(now);
    book.set_closed(CallKind::Voice, Some(closed()));
    book.handle_stopped(CallKind::Voice, now);
    assert!(drain(&mut book).is_empty(), "a video call is not its business");
    book.set_closed(CallKind::Video, Some(closed()));
    book.handle_stopped(CallKind::Video, now);
    let actions = drain(&mut book);
    assert_eq!(sent(&actions), [&Signal::HangUp { reason: "its service is stopped".into() }]);
    assert_eq!(endings(&actions), [(EndReason::Local, None)]);
    // A caller who has not been answered hears why not.
    book.set_closed(CallKind::Video, None);
    book.handle_signal(LinkId(7), peer(3), id(7), offer(), Standing::Ring, now);
    drain(&mut book);
    book.set_closed(CallKind::Video, Some(closed()));
    book.handle_stopped(CallKind::Video, now);
    assert_eq!(sent(&drain(&mut book)), [&Signal::Failed("its service is stopped".into())]);
}

#[test]
fn a_second_caller_hears_busy_and_the_first_call_goes_on() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    drain(&mut book);
    book.handle_signal(LinkId(2), peer(3), id(2), offer(), Standing::Ring, now);
    let actions = drain(&mut book);
    assert_eq!(sent(&actions), [&Signal::Busy]);
    assert!(matches!(actions.last(), Some(Action::CloseLink { link: LinkId(2) })));
    assert_eq!(book.iter().count(), 1);
    // The person here hears of it, and not without end.
    assert_eq!(turned_away(&actions), 1);
    let mut told = 0;
    for n in 3..100 {
        book.handle_signal(LinkId(n), peer(3), id(n as u8), offer(), Standing::Ring, now);
        told += turned_away(&drain(&mut book));
    }
    assert_eq!(told, 9);
    book.hang_up_all(now);
    drain(&mut book);
    book.handle_signal(LinkId(100), peer(3), id(100), offer(), Standing::Ring, now);
    assert_eq!(book.iter().count(), 1, "and may ring once there is room");
}

#[test]
fn strangers_who_hear_busy_share_what_one_peer_may_have_told() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    drain(&mut book);
    let mut told = 0;
    for n in 3..100 {
        book.handle_signal(LinkId(n), peer(n as u8), id(n as u8), offer(), Standing::Stranger, now);
        told += turned_away(&drain(&mut book));
    }
    assert_eq!(told, 10);
    book.handle_signal(LinkId(100), peer(100), id(100), offer(), Standing::Ring, now);
    assert_eq!(turned_away(&drain(&mut book)), 1, "a contact is told of all the same");
}

fn turned_away(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::TurnedAway { .. })).count()
}

#[test]
fn a_peer_that_rings_a_thousand_times_is_heard_ten_times() {
    let (mut book, now) = (book(), Instant::now());
    let mut rang = 0;
    for n in 0..1000_u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        let call = kith_common::ids::CallId::from_bytes(bytes);
        book.handle_signal(LinkId(n), peer(2), call, offer(), Standing::Ring, now);
        book.handle_signal(LinkId(n), peer(2), call, Signal::Cancel, Standing::Ring, now);
        let actions = drain(&mut book);
        rang += actions.iter().filter(|action| matches!(action, Action::New { .. })).count();
        assert_eq!(book.iter().count(), 0);
    }
    assert_eq!(rang, 10);
    // Others are not affected, and the peer may ring again later.
    book.handle_signal(LinkId(5000), peer(3), id(1), offer(), Standing::Ring, now);
    assert_eq!(book.iter().count(), 1);
    book.hang_up_all(now);
    book.handle_signal(LinkId(5001), peer(2), id(2), offer(), Standing::Ring, now + SECOND * 7);
    assert_eq!(book.iter().count(), 1);
}

fn noted(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Noted { .. })).count()
}

/// A call that nobody takes, from a peer of that number. Whether it rang; if not, it is a request.
fn rings(book: &mut CallBook, number: u8, call: u8, standing: Standing, now: Instant) -> bool {
    let link = LinkId(u64::from(call));
    book.handle_signal(link, peer(number), id(call), offer(), standing, now);
    book.handle_signal(link, peer(number), id(call), Signal::Cancel, standing, now);
    let actions = drain(book);
    let rang = actions.iter().any(|action| matches!(action, Action::New { .. }));
    if !rang {
        assert_eq!((noted(&actions), endings(&actions).len()), (1, 0), "{actions:?}");
        assert_eq!(sent(&actions), [&Signal::HangUp { reason: NOTED_AS_REQUEST.into() }]);
    }
    assert_eq!(book.iter().count(), 0);
    rang
}

#[test]
fn a_stranger_rings_a_few_times_an_hour_and_is_noted_as_a_request_after_that() {
    let (mut book, now) = (book(), Instant::now());
    let all = |book: &mut CallBook, calls: std::ops::Range<u8>, now| {
        calls.filter(|call| rings(book, 2, *call, Standing::Stranger, now)).count()
    };
    assert_eq!(all(&mut book, 1..10, now), 6);
    assert!(rings(&mut book, 3, 10, Standing::Stranger, now), "another one may");
    assert!(rings(&mut book, 2, 11, Standing::Ring, now), "and so may the same one as a contact");
    assert_eq!(all(&mut book, 12..22, now + SECOND * 3600), 6, "an hour later it begins anew");
}

#[test]
fn strangers_together_ring_no_more_often_than_a_person_bears() {
    let (mut book, now) = (book(), Instant::now());
    let rang = (1..100).filter(|n| rings(&mut book, 100 + n, *n, Standing::Stranger, now)).count();
    assert_eq!(rang, 20);
    assert!(rings(&mut book, 2, 100, Standing::Ring, now), "contacts are not held up by it");
}

#[test]
fn a_stranger_whose_calls_are_taken_may_go_on_calling() {
    let (mut book, now) = (book(), Instant::now());
    for call in 1..30 {
        book.handle_signal(LinkId(u64::from(call)), peer(2), id(call), offer(), Standing::Stranger, now);
        assert_eq!(book.answer(id(call), CallOptions::default(), now), Ok(()), "{call}");
        book.hang_up_all(now);
        drain(&mut book);
    }
}

#[test]
fn where_strangers_do_not_ring_one_hears_what_became_of_its_call_and_may_be_called_back() {
    let (mut book, now) = (book(), Instant::now());
    assert!(!rings(&mut book, 2, 1, Standing::Request, now));
    // Both press the button: this one has called it, and so means it.
    book.dial(id(5), Some(peer(2)), CallOptions::default(), now);
    book.handle_signal(LinkId(7), peer(2), id(6), offer(), Standing::Request, now);
    assert_eq!(noted(&drain(&mut book)), 0);
    assert_eq!(book.get(id(5)).map(Call::state), Some(CallState::Connecting));
}

#[test]
fn a_caller_that_was_noted_is_told_what_to_do() {
    let (mut book, now) = (book(), Instant::now());
    book.dial(id(1), Some(peer(2)), CallOptions::default(), now);
    book.handle_connected(id(1), peer(2), String::new(), now);
    book.handle_link_open(id(1), LinkId(1), now);
    book.handle_media_open(id(1), now);
    drain(&mut book);
    let told = Signal::HangUp { reason: NOTED_AS_REQUEST.into() };
    book.handle_signal(LinkId(1), peer(2), id(1), told, Standing::Ring, now);
    let ended = drain(&mut book).into_iter().find_map(|action| match action {
        Action::Ended { call } => call.ending,
        _ => None,
    });
    let ending = ended.expect("the call is over");
    assert_eq!(ending.reason, EndReason::Declined);
    assert!(ending.detail.contains("request") && ending.advice.contains("accept"), "{ending:?}");
}

#[test]
fn an_offer_that_comes_twice_rings_once() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    drain(&mut book);
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    book.handle_signal(LinkId(1), peer(2), id(2), offer(), Standing::Ring, now);
    assert!(sent(&drain(&mut book)).is_empty());
    book.hang_up_all(now);
    drain(&mut book);
    book.handle_signal(LinkId(2), peer(2), id(1), offer(), Standing::Ring, now);
    assert!(!drain(&mut book).iter().any(|action| matches!(action, Action::New { .. })));
}

#[test]
fn a_stranger_cannot_touch_somebody_elses_call() {
    let now = Instant::now();
    let mut book = connecting(now);
    for signal in [Signal::HangUp { reason: String::new() }, Signal::Cancel, Signal::Media(MEDIA), offer()] {
        book.handle_signal(LinkId(9), peer(3), id(1), signal, Standing::Ring, now);
        assert_eq!(book.get(id(1)).map(kith_core::call::Call::state), Some(CallState::Connecting));
        assert_eq!(book.get(id(1)).and_then(|call| call.link), Some(LinkId(1)));
    }
}

#[test]
fn messages_out_of_place_change_nothing() {
    let now = Instant::now();
    let mut book = connecting(now);
    for signal in [
        offer(),
        Signal::Ringing,
        Signal::Accept { media: MEDIA },
        Signal::Busy,
        Signal::Blocked,
        Signal::Decline,
        Signal::TimedOut,
    ] {
        book.handle_signal(LinkId(1), peer(2), id(1), signal, Standing::Ring, now);
        assert_eq!(book.get(id(1)).map(kith_core::call::Call::state), Some(CallState::Connecting));
    }
    assert!(endings(&drain(&mut book)).is_empty());
}

#[test]
fn without_a_path_the_call_fails_after_the_connect_time_out_and_says_so() {
    let start = Instant::now();
    let mut book = connecting(start);
    let mut now = start;
    while now < start + CONNECT_TIMEOUT {
        book.handle_heard(id(1), now);
        book.handle_timeout(now);
        assert!(endings(&drain(&mut book)).is_empty());
        now += SECOND;
    }
    book.handle_timeout(now);
    let actions = drain(&mut book);
    assert_eq!(endings(&actions), [(EndReason::Failed, Some(Stage::Path))]);
    assert!(matches!(sent(&actions)[..], [Signal::Failed(_)]));
}

#[test]
fn a_media_session_that_fails_ends_the_call_with_its_stage_and_advice() {
    let now = Instant::now();
    let mut book = connecting(now);
    book.handle_media(id(1), MediaEvent::Path { path: Path::Lan, transport: Transport::Udp }, now);
    let failure = Failure::new(FailureKind::Internal, "The decoder died.").advise("Call again.");
    book.handle_media(id(1), MediaEvent::Failed(failure), now);
    assert_eq!(endings(&drain(&mut book)), [(EndReason::Failed, Some(Stage::FirstPacket))]);
}

#[test]
fn a_path_without_pictures_is_active_after_a_moment() {
    let now = Instant::now();
    let mut book = connecting(now);
    book.handle_media(id(1), MediaEvent::Path { path: Path::Lan, transport: Transport::Udp }, now);
    book.handle_timeout(now + SECOND);
    assert_eq!(book.get(id(1)).map(kith_core::call::Call::state), Some(CallState::Connecting));
    book.handle_timeout(now + SECOND * 2);
    assert_eq!(book.get(id(1)).map(kith_core::call::Call::state), Some(CallState::Active));
}

#[test]
fn a_peer_without_a_camera_is_active_with_its_first_sound() {
    let now = Instant::now();
    let mut book = connecting(now);
    let quiet = MediaState { camera: Switch::Off, ..MEDIA };
    book.handle_signal(LinkId(1), peer(2), id(1), Signal::Media(quiet), Standing::Ring, now);
    book.handle_media(id(1), MediaEvent::Path { path: Path::Lan, transport: Transport::Udp }, now);
    book.handle_media(id(1), MediaEvent::FirstPacket, now);
    assert_eq!(book.get(id(1)).map(kith_core::call::Call::state), Some(CallState::Active));
}

#[test]
fn a_missed_call_tells_the_caller_and_has_a_sentence() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    drain(&mut book);
    book.handle_timeout(now + RING_TIMEOUT);
    let actions = drain(&mut book);
    assert_eq!(sent(&actions), [&Signal::TimedOut]);
    assert_eq!(endings(&actions), [(EndReason::Timeout, Some(Stage::Accept))]);
}

#[test]
fn calling_the_peer_that_rings_here_answers_it() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    book.handle_media_open(id(1), now);
    drain(&mut book);
    book.dial(id(5), Some(peer(2)), CallOptions::default(), now);
    book.handle_media_open(id(5), now);
    let actions = drain(&mut book);
    assert!(sent(&actions).iter().any(|signal| matches!(signal, Signal::Accept { .. })), "{actions:?}");
    assert_eq!(endings(&actions), [(EndReason::Local, None)]);
    let joins = |action: &Action| matches!(action, Action::Ended { call } if call.joined == Some(id(5)));
    assert!(actions.iter().any(joins), "no call of its own: {actions:?}");
    assert_eq!(book.get(id(5)).map(|call| (call.wire, call.state())), Some((id(1), CallState::Connecting)));
}

#[test]
fn a_second_call_of_ones_own_is_refused_while_one_goes_on() {
    let now = Instant::now();
    let mut book = connecting(now);
    book.dial(id(5), Some(peer(3)), CallOptions::default(), now);
    assert_eq!(endings(&drain(&mut book)), [(EndReason::Busy, None)]);
    assert_eq!(book.iter().count(), 1);
}

#[test]
fn answering_by_voice_leaves_the_camera_off() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    let voice = CallOptions { kind: Some(CallKind::Voice), ..CallOptions::default() };
    book.answer(id(1), voice, now).expect("it rings");
    assert_eq!(book.get(id(1)).map(|call| call.local.camera), Some(Switch::Off));
    assert!(book.answer(id(1), voice, now).is_err());
}

#[test]
fn answering_with_another_encoder_opens_the_session_anew() {
    let (mut book, now) = (book(), Instant::now());
    book.handle_signal(LinkId(1), peer(2), id(1), offer(), Standing::Ring, now);
    book.handle_media_open(id(1), now);
    drain(&mut book);
    let rav1e = CallOptions { encoder: EncoderChoice::Rav1e, ..CallOptions::default() };
    book.answer(id(1), rav1e, now).expect("it rings");
    let actions = drain(&mut book);
    assert!(actions.iter().any(|action| matches!(action, Action::OpenMedia { encoder: EncoderChoice::Rav1e, .. })));
    assert!(sent(&actions).is_empty(), "the accept waits for the new session: {actions:?}");
    book.handle_media_open(id(1), now);
    assert!(matches!(sent(&drain(&mut book))[..], [Signal::Accept { .. }]));
}

#[test]
fn what_a_peer_gives_as_its_reason_is_shown_in_one_short_line() {
    let now = Instant::now();
    let mut book = connecting(now);
    let text = format!("bad\nnews {}", "x".repeat(60_000));
    book.handle_signal(LinkId(1), peer(2), id(1), Signal::Failed(text), Standing::Ring, now);
    let actions = drain(&mut book);
    let Some(Action::Ended { call }) = actions.last() else { panic!("{actions:?}") };
    let detail = call.ending.as_ref().map(|ending| ending.detail.clone()).expect("it has ended");
    assert!(detail.len() < 300 && !detail.contains('\n'), "{detail}");
}
