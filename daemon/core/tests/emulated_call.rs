//! Rate control, size steps, key frames, jitter buffer and lip sync together, in virtual time over emulated links.
//! `cargo test -p kith-core --test emulated_call -- --nocapture` prints the table.

#![allow(clippy::print_stdout)] // The table is what this is for.

mod model;

use std::time::Duration;

use kith_common::media::Size;
use kith_core::link::LinkConfig;
use model::{Call, Figures, Scenario};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn link(kbps: u64, rtt_ms: u64, loss: f64) -> LinkConfig {
    LinkConfig {
        rate_bps: Some(kbps * 1000),
        delay: Duration::from_micros(rtt_ms * 500),
        jitter: Duration::from_millis(5),
        loss,
        ..LinkConfig::default()
    }
}

fn scenario(name: &'static str, link: LinkConfig) -> Scenario {
    Scenario { name, link, seconds: 60, source: size("1280x720"), drop_at: None, back: None }
}

fn falling(rtt_ms: u64) -> LinkConfig {
    let schedule = vec![(Duration::from_secs(20), Some(500_000)), (Duration::from_secs(40), Some(2_000_000))];
    LinkConfig { schedule, ..link(2000, rtt_ms, 0.0) }
}

/// Runs all seeds and prints the row of the table: means, and the worst of the drop.
fn run(scenario: &Scenario) -> Vec<Figures> {
    let figures: Vec<Figures> = SEEDS.iter().map(|seed| Call::new(scenario, *seed).run(scenario)).collect();
    let n = figures.len() as f64;
    let mean = |f: &dyn Fn(&Figures) -> f64| figures.iter().map(f).sum::<f64>() / n;
    let most = |f: &dyn Fn(&Figures) -> f64| figures.iter().map(f).fold(0.0, f64::max);
    let drop = match scenario.drop_at {
        Some(_) => format!("{:.0} / {:.2}", most(&|f| f.worst_ms), most(&|f| f.clear_s)),
        None => "-".into(),
    };
    println!(
        "| {:<20} | {:>5.0} | {:>3.0} / {:>3.0} | {:>5.2} | {:>5.2} | {:>3.0} | {:>3.0} | {:>3.0} | {:>4.1} | {:>4.1} | {:>5.0} | {} |",
        scenario.name,
        mean(&|f| f.kbps),
        mean(&|f| f.p50),
        mean(&|f| f.p95),
        mean(&|f| f.late_share) * 100.0,
        mean(&|f| f.concealed_share) * 100.0,
        mean(&|f| f.sound_p95),
        mean(&|f| f.sound_buffer_ms),
        mean(&|f| f.skew_p95),
        mean(&|f| f.delivered as f64 / scenario.seconds as f64),
        mean(&|f| f.keys as f64),
        mean(&|f| f.frozen_ms),
        drop,
    );
    figures
}

fn size(text: &str) -> Size {
    text.parse().expect("a size")
}

#[test]
fn table() {
    println!("seeds {SEEDS:?}, 60 s each, both ways");
    println!(
        "| link | video kb/s | picture p50/p95 ms | late@400 % | concealed % | sound p95 ms | jitter buffer ms | skew p95 ms \
         | fps | key frames | frozen ms | worst ms / clear s after the drop |"
    );
    for (name, config, drop_at) in [
        ("20M RTT 50", link(20_000, 50, 0.0), None),
        ("20M RTT 50 loss 1 %", link(20_000, 50, 0.01), None),
        ("20M RTT 50 loss 5 %", link(20_000, 50, 0.05), None),
        ("20M RTT 50 loss 10 %", link(20_000, 50, 0.10), None),
        ("20M RTT 100 loss 5 %", link(20_000, 100, 0.05), None),
        ("1M RTT 50", link(1_000, 50, 0.0), None),
        ("1M RTT 50 loss 2 %", link(1_000, 50, 0.02), None),
        ("500k RTT 50", link(500, 50, 0.0), None),
        ("300k RTT 50", link(300, 50, 0.0), None),
        ("2M>500k>2M RTT 50", falling(50), Some(20.0)),
        ("2M>500k>2M RTT 200", falling(200), Some(20.0)),
    ] {
        run(&Scenario { drop_at, ..scenario(name, config) });
    }
    let back = Some(link(2000, 50, 0.0));
    run(&Scenario { drop_at: Some(20.0), back, ..scenario("the same, one way", falling(50)) });
}

#[test]
fn a_good_link_carries_every_picture_at_full_size_and_no_sound_is_made_up() {
    for source in ["640x360", "1280x720"] {
        let scenario = Scenario { source: size(source), seconds: 30, ..scenario(source, link(20_000, 2, 0.0)) };
        for figures in run(&scenario) {
            let full =
                figures.sizes.iter().find(|(shown, _)| *shown == size(source)).map_or(0.0, |(_, seconds)| *seconds);
            assert!(full > if source == "640x360" { 28.0 } else { 22.0 }, "{:?}", figures.sizes);
            assert!(figures.p95 <= 80.0 && figures.skew_p95 <= 80.0, "{figures:?}");
            assert!(figures.delivered as f64 / 30.0 > 29.0 && figures.concealed_share == 0.0, "{figures:?}");
        }
    }
}

#[test]
fn five_percent_loss_at_25_ms_each_way_is_repaired_in_time() {
    for figures in run(&scenario("20M RTT 50 loss 5 %", link(20_000, 50, 0.05))) {
        assert!(figures.late_share <= 0.05 && figures.concealed_share <= 0.01, "{figures:?}");
        assert!(figures.skew_p95 <= 80.0, "{figures:?}");
        assert!(figures.keys <= 10, "loss that is repaired needs no key frames: {figures:?}");
    }
}

#[test]
fn one_megabit_keeps_pictures_under_200_ms_and_in_step() {
    for (name, config) in [("1M RTT 50", link(1000, 50, 0.0)), ("500k RTT 50", link(500, 50, 0.0))] {
        for figures in run(&scenario(name, config)) {
            assert!(figures.p95 <= 200.0 && figures.skew_p95 <= 80.0, "{figures:?}");
            assert!(figures.concealed_share <= 0.01 && figures.late_share <= 0.01, "{figures:?}");
        }
    }
}

#[test]
fn two_megabits_falling_to_half_a_one_are_clear_again_sooner_than_the_stack_alone() {
    // str0m alone: the worst picture 2.1 s late, clear after 2.8 s.
    for back in [None, Some(link(2000, 50, 0.0))] {
        for figures in run(&Scenario { drop_at: Some(20.0), back, ..scenario("2M>500k>2M", falling(50)) }) {
            assert!(figures.worst_ms <= 1300.0 && figures.clear_s <= 2.3, "{figures:?}");
            assert!(figures.concealed_share <= 0.01, "{figures:?}");
        }
    }
}
