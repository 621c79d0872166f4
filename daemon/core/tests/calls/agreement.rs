//! Whatever happens, and whatever the network loses, repeats or reorders: nothing panics, nothing hangs, and in the end
//! both sides are in the same call or in none.

use std::time::Duration;

use kith_common::call::{CallOptions, CallState, EncoderChoice, Medium, Switch};
use kith_core::call::{CallBook, LinkId, MediaEvent, MediaState, Signal, Standing};
use proptest::prelude::*;

use crate::rig::{LATENCY, World, id, peer};

#[derive(Debug, Clone)]
enum Step {
    Dial(usize),
    Answer(usize),
    HangUp(usize),
    Mute(usize),
    BreakStreams,
    Cut,
    Mend,
    Kill(usize),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_usize).prop_map(Step::Dial),
        3 => (0..2_usize).prop_map(Step::Answer),
        1 => (0..2_usize).prop_map(Step::HangUp),
        1 => (0..2_usize).prop_map(Step::Mute),
        1 => Just(Step::BreakStreams),
        1 => Just(Step::Cut),
        2 => Just(Step::Mend),
        1 => (0..2_usize).prop_map(Step::Kill),
        6 => (0..3000_u16).prop_map(Step::Wait),
    ]
}

fn apply(world: &mut World, step: &Step, next_id: &mut u8) {
    let now = world.now;
    match *step {
        Step::Dial(node) => {
            *next_id += 1;
            world.dial(node, id(*next_id));
        }
        Step::Answer(node) => {
            let calls: Vec<_> = world.nodes[node].book.iter().map(|call| call.id).collect();
            for call in calls {
                let _ = world.nodes[node].book.answer(call, CallOptions::default(), now);
            }
        }
        Step::HangUp(node) => world.hang_up(node),
        Step::Mute(node) => {
            let calls: Vec<_> = world.nodes[node].book.iter().map(|call| call.id).collect();
            for call in calls {
                world.nodes[node].book.set_switch(call, Medium::Audio, Switch::Off);
            }
        }
        Step::BreakStreams => world.break_streams(),
        Step::Cut => world.cut = true,
        Step::Mend => world.cut = false,
        Step::Kill(node) => world.kill(node),
        Step::Wait(ms) => world.run(Duration::from_millis(ms.into())),
    }
    world.act();
}

/// A generator of its own for what becomes of each message, so that a failure replays.
fn fate(mut seed: u64, loss: u64) -> impl FnMut() -> Vec<Duration> {
    let mut roll = move |sides: u64| {
        // xorshift64 (Marsaglia 2003).
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % sides
    };
    move || {
        if roll(100) < loss {
            return Vec::new();
        }
        let copies = if roll(10) == 0 { 2 } else { 1 };
        (0..copies).map(|_| LATENCY + Duration::from_millis(roll(200))).collect()
    }
}

/// The longest that a call without a future may last: a ring, and the time to notice that nobody is there.
const ALL_DECIDED: Duration = Duration::from_secs(100);

fn settled(world: &World) -> Result<(), TestCaseError> {
    let wires = |node: usize| -> Vec<_> { world.nodes[node].book.iter().map(|call| call.wire).collect() };
    for node in 0..2 {
        for call in world.nodes[node].book.iter() {
            prop_assert_eq!(call.state(), CallState::Active);
        }
        for call in &world.nodes[node].ended {
            let ending = call.ending.as_ref().expect("it has ended");
            prop_assert!(call.stages.windows(2).all(|pair| pair[0].stage < pair[1].stage));
            let by_person =
                matches!(ending.reason, kith_common::call::EndReason::Local | kith_common::call::EndReason::Remote);
            prop_assert!(by_person || (!ending.detail.is_empty() && !ending.advice.is_empty()), "{:?}", ending);
        }
    }
    prop_assert_eq!(wires(0), wires(1));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_agree_in_the_end(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new(1);
        let mut next_id = 0;
        for step in &steps {
            apply(&mut world, step, &mut next_id);
        }
        world.cut = false;
        world.run(ALL_DECIDED);
        settled(&world)?;
    }

    #[test]
    fn both_sides_agree_in_the_end_though_messages_are_lost_repeated_and_reordered(
        steps in prop::collection::vec(step(), 1..40),
        seed in 1..u64::MAX,
        loss in 0..60_u64,
    ) {
        let mut world = World::new(1);
        world.fate = Some(Box::new(fate(seed, loss)));
        let mut next_id = 0;
        for step in &steps {
            apply(&mut world, step, &mut next_id);
        }
        world.cut = false;
        world.fate = None;
        world.run(ALL_DECIDED);
        settled(&world)?;
    }

    #[test]
    fn nonsense_from_peers_never_panics_and_never_outgrows_the_limits(
        said in prop::collection::vec((0..4_u64, 2..5_u8, 0..6_u8, 0..13_u8, 0..5000_u64), 1..200),
    ) {
        let world = World::new(2);
        let mut book = CallBook::new(kith_core::call::BookConfig { local: peer(1), max_calls: 2, encoder: EncoderChoice::Auto });
        let mut now = world.now;
        let media = MediaState { microphone: Switch::On, camera: Switch::Off, format: None };
        for (link, from, wire, what, wait) in said {
            now += Duration::from_millis(wait);
            let signal = match what {
                0 | 1 => Signal::Offer { kind: kith_common::call::CallKind::Video, media },
                2 => Signal::Ringing,
                3 => Signal::Accept { media },
                4 => Signal::Decline,
                5 => Signal::Busy,
                6 => Signal::Cancel,
                7 => Signal::HangUp { reason: "x".into() },
                8 => Signal::Media(media),
                9 => Signal::TimedOut,
                10 => { book.handle_link_lost(LinkId(link), now); Signal::Ringing }
                11 => { book.handle_media(id(wire), MediaEvent::Lost, now); Signal::Failed(String::new()) }
                _ => { book.dial(id(wire + 100 + what), Some(peer(from)), CallOptions::default(), now); Signal::Blocked }
            };
            book.handle_signal(LinkId(link), peer(from), id(wire), signal, Standing::Ring, now);
            book.handle_timeout(now);
            while book.poll_action().is_some() {}
            prop_assert!(book.iter().count() <= 2);
        }
        for _ in 0..1000 {
            let Some(at) = book.poll_timeout() else { break };
            now = now.max(at);
            book.handle_timeout(now);
            while book.poll_action().is_some() {}
        }
        prop_assert_eq!(book.iter().count(), 0);
    }
}
