//! Two nodes that call each other.

use std::time::Duration;

use kith_common::call::{CallOptions, CallState, EndReason, Medium, Stage, Switch};
use kith_common::ids::PeerId;
use kith_core::call::{RING_TIMEOUT, Standing};

use crate::rig::{World, id};

const SECOND: Duration = Duration::from_secs(1);

/// A call that has been answered and is active.
fn active() -> World {
    let mut world = World::new(1);
    world.dial(0, id(7));
    world.run(SECOND);
    world.answer(1);
    world.run(SECOND);
    assert_eq!((world.states(0), world.states(1)), (vec![CallState::Active], vec![CallState::Active]));
    world
}

#[test]
fn a_call_passes_all_stages_in_order_on_the_caller_and_its_share_on_the_callee() {
    let world = active();
    assert_eq!(world.stages(0), Stage::ALL);
    assert_eq!(world.stages(1), Stage::ALL[3..]);
}

#[test]
fn hanging_up_ends_both_sides_each_with_its_own_reason() {
    for node in 0..2 {
        let mut world = active();
        world.hang_up(node);
        world.run(SECOND);
        assert_eq!(world.reasons(node), [EndReason::Local]);
        assert_eq!(world.reasons(1 - node), [EndReason::Remote]);
    }
}

#[test]
fn callee_declining_while_ringing_ends_both_sides() {
    let mut world = World::new(1);
    world.dial(0, id(1));
    world.run(SECOND);
    assert_eq!(world.states(1), [CallState::Ringing]);
    world.hang_up(1);
    world.run(SECOND);
    assert_eq!((world.reasons(0), world.reasons(1)), (vec![EndReason::Declined], vec![EndReason::Local]));
}

#[test]
fn caller_giving_up_stops_the_ringing() {
    let mut world = World::new(1);
    world.dial(0, id(1));
    world.run(SECOND);
    world.hang_up(0);
    world.run(SECOND);
    assert_eq!((world.reasons(0), world.reasons(1)), (vec![EndReason::Local], vec![EndReason::Remote]));
}

#[test]
fn hanging_up_at_any_moment_ends_both_sides_and_leaves_them_ready_for_the_next_call() {
    for ms in (0..600).step_by(5) {
        for node in 0..2 {
            let mut world = World::new(1);
            world.nodes[1].standing = Standing::AutoAnswer;
            world.dial(0, id(1));
            world.run(Duration::from_millis(ms));
            world.hang_up(node);
            world.run(SECOND * 2);
            if node == 1 && world.nodes[1].ended.is_empty() {
                // It had not come there yet: the call goes on.
                assert_eq!(world.states(0), [CallState::Active]);
                continue;
            }
            assert_eq!((world.states(0), world.states(1)), (vec![], vec![]), "{ms} ms, node {node}");
            world.dial(1, id(2));
            world.run(SECOND);
            assert_eq!(world.states(0), [CallState::Ringing], "{ms} ms, node {node}");
        }
    }
}

#[test]
fn nobody_answering_ends_both_sides_after_45_seconds_of_ringing() {
    let mut world = World::new(1);
    world.dial(0, id(1));
    world.run(RING_TIMEOUT);
    assert_eq!(world.states(0), [CallState::Ringing]);
    world.run(SECOND);
    assert_eq!((world.reasons(0), world.reasons(1)), (vec![EndReason::Timeout], vec![EndReason::Timeout]));
    let ending = world.nodes[0].ended[0].ending.clone().expect("it has ended");
    assert_eq!(ending.failed_stage, Some(Stage::Accept));
    assert!(!ending.detail.is_empty() && !ending.advice.is_empty());
}

#[test]
fn an_unreachable_peer_is_named_as_such_with_the_stage() {
    let mut world = World::new(1);
    world.reachable = false;
    world.dial(0, id(1));
    world.nodes[0].book.handle_resolved(id(1), "", world.now);
    world.run(SECOND);
    let ending = world.nodes[0].ended[0].ending.clone().expect("it has ended");
    assert_eq!((ending.reason, ending.failed_stage), (EndReason::Unreachable, Some(Stage::Dial)));
    assert_eq!(ending.advice, "Check the network.");
}

#[test]
fn calling_each_other_at_once_becomes_one_call_whoever_was_first() {
    for ms in 0..120 {
        for first in 0..2 {
            let mut world = World::new(1);
            world.dial(first, id(1));
            world.run(Duration::from_millis(ms));
            world.dial(1 - first, id(2));
            world.run(SECOND * 3);
            for node in 0..2 {
                assert_eq!(world.states(node), [CallState::Active], "{ms} ms apart, {first} first, node {node}");
            }
            let wire = |node: usize| world.nodes[node].book.iter().map(|call| call.wire).next();
            assert_eq!(wire(0), wire(1), "{ms} ms apart, {first} first");
            world.hang_up(0);
            world.run(SECOND);
            assert_eq!(world.states(1), [], "{ms} ms apart, {first} first");
        }
    }
}

#[test]
fn a_voice_call_that_meets_a_video_call_shows_no_picture_of_its_side() {
    let mut world = World::new(1);
    let voice = CallOptions { kind: Some(kith_common::call::CallKind::Voice), ..CallOptions::default() };
    let (to, now) = (world.nodes[0].me, world.now);
    world.nodes[1].book.dial(id(2), Some(to), voice, now);
    world.dial(0, id(1));
    world.run(SECOND * 3);
    assert_eq!(world.states(1), [CallState::Active]);
    assert!(world.nodes[1].book.iter().all(|call| call.local.camera == Switch::Off));
}

#[test]
fn a_running_call_survives_the_loss_of_its_stream_and_gets_a_new_one() {
    let mut world = active();
    world.break_streams();
    world.run(SECOND * 30);
    assert_eq!((world.states(0), world.states(1)), (vec![CallState::Active], vec![CallState::Active]));
    world.hang_up(1);
    world.run(SECOND);
    assert_eq!(world.reasons(0), [EndReason::Remote]);
}

#[test]
fn a_ringing_call_survives_the_loss_of_its_stream() {
    let mut world = World::new(1);
    world.dial(0, id(1));
    world.run(SECOND);
    world.break_streams();
    world.run(SECOND * 3);
    world.answer(1);
    world.run(SECOND);
    assert_eq!((world.states(0), world.states(1)), (vec![CallState::Active], vec![CallState::Active]));
}

#[test]
fn a_silent_network_ends_both_sides_within_15_seconds_as_a_timeout() {
    let mut world = active();
    world.cut = true;
    world.run(SECOND * 15);
    assert_eq!((world.reasons(0), world.reasons(1)), (vec![EndReason::Timeout], vec![EndReason::Timeout]));
}

#[test]
fn a_killed_peer_ends_the_call_within_15_seconds_as_a_timeout() {
    let mut world = active();
    world.kill(1);
    world.reachable = false;
    world.run(SECOND * 15);
    assert_eq!(world.reasons(0), [EndReason::Timeout]);
}

#[test]
fn a_peer_that_restarted_does_not_know_the_call_and_that_ends_it_at_once() {
    let mut world = active();
    world.kill(1);
    world.run(SECOND * 3);
    assert_eq!(world.reasons(0), [EndReason::Timeout]);
}

#[test]
fn a_short_break_of_the_network_ends_nothing() {
    let mut world = active();
    world.cut = true;
    world.run(SECOND * 8);
    world.cut = false;
    world.run(SECOND * 30);
    assert_eq!((world.states(0), world.states(1)), (vec![CallState::Active], vec![CallState::Active]));
}

#[test]
fn the_other_side_sees_switches() {
    let mut world = active();
    world.nodes[0].book.set_switch(id(7), Medium::Audio, Switch::Off);
    world.act();
    world.run(SECOND / 2);
    let seen = world.nodes[1].book.get(id(7)).and_then(|call| call.remote).expect("the peer has said");
    assert_eq!((seen.microphone, seen.camera), (Switch::Off, Switch::On));
}

#[test]
fn an_auto_answered_call_is_active_without_anybody() {
    let mut world = World::new(1);
    world.nodes[1].standing = Standing::AutoAnswer;
    world.dial(0, id(1));
    world.run(SECOND);
    assert_eq!((world.states(0), world.states(1)), (vec![CallState::Active], vec![CallState::Active]));
}

#[test]
fn a_blocked_caller_hears_so_and_nothing_rings() {
    let mut world = World::new(1);
    world.nodes[1].standing = Standing::Blocked;
    world.dial(0, id(1));
    world.run(SECOND);
    assert_eq!(world.reasons(0), [EndReason::Blocked]);
    assert!(world.nodes[1].rang.is_empty());
}

#[test]
fn calling_oneself_is_refused_with_a_sentence() {
    let mut world = World::new(1);
    let (me, now): (PeerId, _) = (world.nodes[0].me, world.now);
    world.nodes[0].book.dial(id(1), Some(me), CallOptions::default(), now);
    world.act();
    assert_eq!(world.reasons(0), [EndReason::Failed]);
}

#[test]
fn twenty_calls_in_a_row_that_are_answered_all_get_through() {
    let mut world = World::new(1);
    world.nodes[1].standing = Standing::AutoAnswer;
    for n in 0..20 {
        world.dial(0, id(n));
        world.run(SECOND);
        assert_eq!(world.states(0), [CallState::Active], "call {n}");
        world.hang_up(0);
        world.run(SECOND / 2);
    }
}
