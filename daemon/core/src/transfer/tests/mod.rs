//! Whole transfers in virtual time.

mod chance;
mod network;

use std::time::{Duration, Instant};

use network::{MB, MIB, Manner, Network, Provider, ms};

use super::*;

const HALF_GIB: u64 = 512 * MIB;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn fast() -> Provider {
    Provider::new(100.0 * MB, ms(1))
}

/// Everything is there, and nothing was stored twice.
fn whole(network: &Network) {
    assert!(network.stored.iter().all(|times| *times == 1));
    let progress = network.transfer.progress(network.now);
    assert_eq!(progress.done_bytes, progress.total_bytes);
}

#[test]
fn three_providers_of_100_100_and_10_come_within_a_tenth_of_their_sum() {
    for unit in [MIB, 4 * MIB] {
        let mut network = Network::file(HALF_GIB, unit);
        network.join(1, fast());
        network.join(2, fast());
        network.join(3, Provider::new(10.0 * MB, ms(1)));
        let speed = network.speed(secs(60));
        assert!(speed > 0.9 * 210.0, "{speed} MB/s with units of {unit}");
        let twice = network.transfer.progress(network.now).twice_bytes;
        assert!(twice < 8 * MIB, "{twice} bytes for nothing");
        whole(&network);
    }
}

#[test]
fn what_is_in_flight_follows_the_round_trip() {
    for (rtt, rate, least) in [(0, 1000.0, 900.0), (50, 500.0, 300.0), (200, 100.0, 80.0), (300, 1.0, 0.8)] {
        let mut network = Network::file((rate * 10.0 * MB) as u64, MIB);
        network.join(1, Provider::new(rate * MB, ms(rtt)));
        let speed = network.speed(secs(600));
        assert!(speed > least, "{speed} MB/s of {rate} over {rtt} ms");
        whole(&network);
    }
}

#[test]
fn a_slow_source_does_not_keep_the_end_waiting() {
    let mut network = Network::file(HALF_GIB, 4 * MIB);
    network.join(1, fast());
    network.join(2, fast());
    network.join(3, Provider::new(1.0 * MB, ms(1)));
    let speed = network.speed(secs(60));
    assert!(speed > 0.9 * 200.0, "{speed} MB/s");
    whole(&network);
}

#[test]
fn a_liar_is_dropped_at_its_first_lie_and_nothing_else_is_lost() {
    let mut network = Network::file(HALF_GIB, MIB);
    network.join(1, fast());
    network.join(2, fast());
    network.join(3, fast().with(Manner::Lies));
    let speed = network.speed(secs(60));
    let [(3, Why::Lied, at)] = network.dropped[..] else { panic!("{:?}", network.dropped) };
    assert!(at < ms(500) && speed > 180.0, "{at:?}, {speed} MB/s");
    whole(&network);
}

#[test]
fn one_that_dies_or_changes_costs_what_it_had_begun() {
    for manner in [Manner::Dies(64 * MIB), Manner::Changes(64 * MIB)] {
        let mut network = Network::file(HALF_GIB, MIB);
        network.join(1, fast());
        network.join(2, fast());
        network.join(3, fast().with(manner));
        let speed = network.speed(secs(60));
        assert!(speed > 190.0, "{manner:?}: {speed} MB/s");
        assert!(network.transfer.progress(network.now).twice_bytes < 4 * MIB);
        assert!(network.dropped.iter().all(|(id, why, _)| (*id, *why) == (3, Why::Changed)));
        whole(&network);
    }
}

#[test]
fn one_that_hangs_loses_its_units_to_others_and_is_given_up_after_three_tries() {
    let mut network = Network::file(HALF_GIB, MIB);
    network.join(1, fast());
    network.join(2, fast());
    network.join(3, fast().with(Manner::Hangs(64 * MIB)));
    let speed = network.speed(secs(60));
    assert!(speed > 190.0, "{speed} MB/s");
    whole(&network);

    let mut network = Network::file(4096 * MIB, MIB);
    network.join(1, Provider::new(20.0 * MB, ms(20)));
    network.join(3, fast().with(Manner::Hangs(0)));
    assert_eq!(network.run(secs(20)), None);
    assert!(network.dropped.is_empty(), "{:?}", network.dropped);
    network.run(secs(40));
    let [(3, Why::Stalled, at)] = network.dropped[..] else { panic!("{:?}", network.dropped) };
    assert!((secs(30)..secs(32)).contains(&at), "{at:?}");
}

#[test]
fn a_slow_source_alone_is_not_stalled() {
    let mut network = Network::file(20 * MIB, 4 * MIB);
    // Fifty seconds for a unit.
    network.join(1, Provider::new(0.08 * MB, ms(300)));
    network.run(secs(600)).expect("it goes on as long as something comes");
    assert!(network.dropped.is_empty(), "{:?}", network.dropped);
    assert_eq!(network.transfer.progress(network.now).twice_bytes, 0);
    whole(&network);
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let units = Units::new(MIB, [100 * MIB + 5]).expect("it can be numbered");
    let mut done = Bits::none(units.count());
    for unit in 0..60 {
        done.insert(unit);
    }
    done.insert(100);
    let mut network = Network::new(units, &done);
    let progress = network.transfer.progress(network.now);
    assert_eq!((progress.done_bytes, progress.total_bytes), (60 * MIB + 5, 100 * MIB + 5));
    network.join(1, fast());
    network.run(secs(10)).expect("one has it");
    assert_eq!(network.asks, 40);
    assert_eq!(network.stored.iter().sum::<u32>(), 40);
}

#[test]
fn an_empty_file_and_a_whole_one_are_finished_at_once() {
    for sizes in [vec![], vec![0, 0], vec![7]] {
        let units = Units::new(MIB, sizes).expect("it can be numbered");
        let all = Bits::all(units.count());
        let mut network = Network::new(units, &all);
        assert_eq!(network.run(secs(1)), Some(Duration::ZERO));
    }
}

#[test]
fn a_folder_of_small_files_is_asked_for_in_few_round_trips() {
    let units = Units::new(MIB, (0..100_000_u64).map(|n| n % 9 * 1000)).expect("they can be numbered");
    let none = Bits::none(units.count());
    let mut network = Network::new(units, &none);
    network.join(1, Provider::new(100.0 * MB, ms(10)));
    network.join(2, Provider::new(100.0 * MB, ms(10)));
    let took = network.run(secs(60)).expect("both have all of it");
    assert!(took < secs(6), "{took:?}");
    assert_eq!(network.most_asked, MOST_ASKED);
    whole(&network);
}

#[test]
fn sources_with_parts_are_asked_for_those() {
    let mut network = Network::file(100 * MIB, MIB);
    let mut halves = [Bits::none(100), Bits::none(100)];
    for unit in 0..100 {
        halves[usize::from(unit >= 50)].insert(unit);
    }
    for (id, half) in (1..).zip(halves) {
        let terms = Terms { have: Have::Some(half), bytes_per_second: None };
        network.join(id, fast().at(terms));
    }
    let speed = network.speed(secs(10));
    assert!(speed > 150.0, "{speed} MB/s");
    whole(&network);
}

#[test]
fn the_download_limit_is_kept_and_used() {
    let mut network = Network::file(100 * MIB, MIB);
    network.limit.set_rate(Some(5 * MIB));
    network.join(1, fast());
    network.join(2, fast().with(Manner::Deaf));
    let took = network.run(secs(60)).expect("both have it").as_secs_f64();
    assert!((19.0..20.5).contains(&took), "{took} s instead of 20");
    whole(&network);
}

#[test]
fn a_relay_is_used_where_there_is_no_better_way() {
    let relayed = || {
        let terms = Terms { have: Have::All, bytes_per_second: Some(RELAY_FILE_RATE) };
        Provider::new(50.0 * MB, ms(80)).at(terms)
    };
    let mut network = Network::file(20 * MIB, MIB);
    network.join(1, relayed().with(Manner::Deaf));
    let took = network.run(secs(60)).expect("it has it").as_secs_f64();
    assert!((18.0..22.0).contains(&took), "{took} s instead of 20");

    let mut network = Network::file(HALF_GIB, MIB);
    network.join(1, relayed());
    network.join(2, fast());
    network.run(secs(60)).expect("both have it");
    let by_relay = network.transfer.sources(network.now).find(|(id, _)| *id == 1).map(|(_, it)| it.received_bytes);
    assert!(by_relay.expect("it is still there") <= 4 * MIB, "{by_relay:?}");
    whole(&network);
}

#[test]
fn a_call_on_the_same_line_keeps_its_delay_and_the_transfer_most_of_what_is_left() {
    for line in [0.25, 1.25, 12.5] {
        let mut network = Network::file((line * 120.0 * MB) as u64, MIB);
        network.share_line(line * MB, 0.1 * line * MB);
        network.call_in(secs(10));
        network.join(1, Provider::new(100.0 * MB, ms(40)));
        network.run(secs(14));
        let felt = network.line.as_mut().map(|line| std::mem::take(&mut line.waits)).expect("there is a line");
        assert!(felt.iter().any(|wait| *wait > ms(100)), "nothing to be gentle about");
        let before = network.transfer.progress(network.now).done_bytes;
        network.run(secs(60));
        let mut waits = network.line.take().expect("there is a line").waits;
        waits.sort_unstable();
        let p95 = waits[waits.len() * 95 / 100];
        let got = (network.transfer.progress(network.now).done_bytes - before) as f64 / 60.0 / (0.9 * line * MB);
        eprintln!("{line} MB/s: p95 {p95:?}, {:.0} % of what is left", got * 100.0);
        assert!(p95 < ms(50), "{p95:?} at {line} MB/s");
        assert!(got > 0.6, "{got} at {line} MB/s");
    }
}

#[test]
fn a_full_disk_pauses_and_blames_nobody() {
    let mut network = Network::file(HALF_GIB, MIB);
    network.join(1, fast());
    network.run(secs(1));
    network.transfer.pause();
    assert_eq!(network.run(secs(60)), None);
    assert!(network.dropped.is_empty(), "{:?}", network.dropped);
    let paused = network.transfer.progress(network.now);
    assert!((80 * MIB..120 * MIB).contains(&paused.done_bytes) && paused.bytes_per_second == 0, "{paused:?}");
    assert_eq!(network.transfer.poll_timeout(&network.limit, network.now), None);
    network.transfer.resume(network.now);
    network.run(secs(10)).expect("it goes on");
    whole(&network);
}

#[test]
fn a_busy_source_is_asked_again_later() {
    let mut network = Network::file(20 * MIB, MIB);
    network.join(1, fast().with(Manner::Busy));
    network.run(secs(60)).expect("it has it");
    assert!(network.dropped.is_empty(), "{:?}", network.dropped);
    whole(&network);
}

#[test]
fn the_ninth_source_is_a_spare_until_one_of_the_others_goes() {
    let mut network = Network::file(HALF_GIB, MIB);
    for id in 1..=9 {
        network.join(id, Provider::new(5.0 * MB, ms(1)));
    }
    network.run(secs(1));
    let standing =
        |network: &Network| network.transfer.sources(network.now).map(|(_, it)| it.standing).collect::<Vec<_>>();
    assert_eq!(standing(&network)[8], Standing::Spare);
    network.leave(1);
    network.transfer.handle_gone(1);
    network.run(secs(1));
    assert_eq!(standing(&network), [Standing::Active; 8]);
}

#[test]
fn without_sources_others_are_looked_for_less_and_less_often() {
    let mut network = Network::file(MIB, MIB);
    assert_eq!(network.run(secs(100)), None);
    let searches: Vec<u64> = network.searches.iter().map(Duration::as_secs).collect();
    assert_eq!(searches, [0, 10, 30, 70]);
    assert_eq!(network.transfer.progress(network.now).next_search, Some(network.start + secs(150)));
    network.join(1, fast());
    network.run(secs(1)).expect("it has it");
}

#[test]
fn an_answer_that_comes_after_it_was_given_up_is_taken_all_the_same() {
    let units = Units::new(MIB, [2 * MIB]).expect("it can be numbered");
    let none = Bits::none(2);
    let mut transfer = Transfer::new(units, &none, 0);
    let (mut limit, mut now) = (Allowance::new(None), Instant::now());
    transfer.handle_source(1, Terms { have: Have::All, bytes_per_second: None }, now);
    let poll = |transfer: &mut Transfer<u8>, limit: &mut Allowance, now| {
        std::iter::from_fn(|| transfer.poll_event(limit, now)).collect::<Vec<_>>()
    };
    let (first, second) = (Event::Ask { source: 1, unit: 0 }, Event::Ask { source: 1, unit: 1 });
    assert_eq!(poll(&mut transfer, &mut limit, now), [Event::Search, first, second]);
    now += STALLED_AFTER;
    let cancelled = [Event::Cancel { source: 1, unit: 0 }, Event::Cancel { source: 1, unit: 1 }];
    assert_eq!(poll(&mut transfer, &mut limit, now)[..2], cancelled);
    transfer.handle_bytes(1, 0, MIB, now);
    transfer.handle_received(1, 0, now);
    transfer.handle_stored(1, 0, now);
    let progress = transfer.progress(now);
    assert_eq!((progress.done_bytes, progress.twice_bytes), (MIB, 0));
    // While a unit is being written, nobody is stuck, however long the disk takes.
    now += secs(5);
    assert_eq!(poll(&mut transfer, &mut limit, now), [second]);
    transfer.handle_received(1, 1, now);
    now += secs(60);
    assert!(!poll(&mut transfer, &mut limit, now).iter().any(|event| matches!(event, Event::Cancel { .. })));
    transfer.handle_stored(1, 1, now);
    assert_eq!(poll(&mut transfer, &mut limit, now), [Event::Finished]);
    assert!(poll(&mut transfer, &mut limit, now).is_empty());
}

#[test]
fn whoever_is_not_read_is_not_silent() {
    let units = Units::new(MIB, [MIB]).expect("it can be numbered");
    let mut transfer = Transfer::new(units, &Bits::none(1), 0);
    let (mut limit, mut now) = (Allowance::new(None), Instant::now());
    transfer.handle_source(1, Terms { have: Have::All, bytes_per_second: None }, now);
    let mut cancels = |transfer: &mut Transfer<u8>, now| {
        let events = std::iter::from_fn(|| transfer.poll_event(&mut limit, now));
        events.filter(|event| matches!(event, Event::Cancel { .. })).count()
    };
    assert_eq!(cancels(&mut transfer, now), 0);
    transfer.handle_held(1, true, now);
    now += secs(600);
    assert_eq!(cancels(&mut transfer, now), 0);
    // From then on it has as much time as others.
    transfer.handle_held(1, false, now);
    now += STALLED_AFTER - ms(1);
    assert_eq!(cancels(&mut transfer, now), 0);
    now += ms(1);
    assert_eq!(cancels(&mut transfer, now), 1);
    transfer.handle_held(2, true, now);
}

#[test]
fn news_of_strangers_and_units_that_are_none_are_passed_over() {
    let units = Units::new(MIB, [MIB]).expect("it can be numbered");
    let mut transfer = Transfer::new(units, &Bits::all(90), u32::MAX);
    let now = Instant::now();
    assert!(transfer.is_finished(), "what was on record of another size does no harm");
    for unit in [0, 5, u32::MAX] {
        transfer.handle_bytes(9, unit, 1, now);
        transfer.handle_received(9, unit, now);
        transfer.handle_stored(9, unit, now);
        transfer.handle_refused(9, unit, Refusal::Missing, now);
    }
    transfer.handle_gone(9);
    transfer.handle_wrong(9);
    assert_eq!(transfer.progress(now).done_bytes, MIB);
}
