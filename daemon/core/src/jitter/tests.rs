use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::link::Rng;

const TICK: Duration = Duration::from_millis(20);

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

fn packet(start: Instant, index: u64, at_ms: f64) -> SoundPacket {
    // The payload says which packet it is, and is longer than a DTX frame.
    let payload = Bytes::from(index.to_be_bytes().to_vec());
    SoundPacket { sequence_time: 7_000 + index * 960, arrived: start + ms(at_ms), payload, duration_samples: 960 }
}

/// A caller with an output queue, in virtual time: polls on a 20 ms grid while less than a chunk is in the queue.
struct Sim {
    start: Instant,
    buffer: JitterBuffer,
    /// By arrival time in microseconds, and a counter to keep those of one instant apart.
    coming: BTreeMap<(u64, u64), SoundPacket>,
    tick: u64,
    queue: i64,
    log: Vec<(u64, Playout)>,
    /// Delay from send to playing of each packet played, in ms.
    delays: Vec<f64>,
}

impl Sim {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            buffer: JitterBuffer::new(start),
            coming: BTreeMap::new(),
            tick: 0,
            queue: 0,
            log: vec![],
            delays: vec![],
        }
    }

    fn send(&mut self, index: u64, network_ms: f64) {
        self.deliver(index, index as f64 * 20.0 + network_ms);
    }

    fn deliver(&mut self, index: u64, at_ms: f64) {
        let key = ((at_ms * 1000.0) as u64, self.coming.len() as u64);
        self.coming.insert(key, packet(self.start, index, at_ms));
    }

    /// Runs up to `until_ms`; the poller ticks 7 ms beside the sender.
    fn run(&mut self, until_ms: u64) {
        while self.tick * 20 + 7 <= until_ms {
            self.tick_at(self.tick * 20 + 7);
            self.tick += 1;
        }
    }

    fn insert_until(&mut self, at_ms: u64) {
        while let Some(entry) = self.coming.first_entry().filter(|entry| entry.key().0 <= at_ms * 1000) {
            self.buffer.insert(entry.remove());
        }
    }

    fn tick_at(&mut self, at_ms: u64) {
        self.insert_until(at_ms);
        let now = self.start + Duration::from_millis(at_ms);
        while self.queue < 960 {
            let Some(playout) = self.buffer.poll(now) else { break };
            self.queue += match &playout {
                Playout::Packet { stretch: Stretch::Accelerate, .. } => 960 - 480,
                Playout::Packet { stretch: Stretch::Expand, .. } => 960 + 480,
                _ => 960,
            };
            if let Playout::Packet { time, .. } = &playout {
                self.delays.push(at_ms as f64 - ((time - 7_000) / 48) as f64);
            }
            self.log.push((at_ms, playout));
        }
        if self.queue >= 960 {
            self.queue -= 960;
        }
    }

    fn concealed_since(&self, from_ms: u64) -> usize {
        self.log.iter().filter(|(at, playout)| *at >= from_ms && matches!(playout, Playout::Conceal { .. })).count()
    }
}

#[test]
fn a_steady_stream_is_played_whole_and_in_order_with_little_delay() {
    let mut sim = Sim::new();
    for i in 0..1000 {
        sim.send(i, 25.0);
    }
    sim.run(19_900);
    let played: Vec<u64> = sim
        .log
        .iter()
        .filter_map(|(_, playout)| match playout {
            Playout::Packet { time, .. } => Some((time - 7_000) / 960),
            _ => None,
        })
        .collect();
    assert!(played.iter().copied().eq(0..played.len() as u64), "in order, none missing");
    assert_eq!(sim.buffer.stats().concealed, 0);
    let last = sim.delays[sim.delays.len() - 1] - 25.0;
    assert!((20.0..=60.0).contains(&last), "delay {last} ms behind the network");
}

#[test]
fn the_delay_follows_the_jitter_up_and_down_again() {
    let mut sim = Sim::new();
    let mut rng = Rng::new(5);
    for i in 0..3000 {
        let jitter = if (500..1500).contains(&i) { 90.0 } else { 4.0 };
        sim.send(i, 20.0 + rng.unit() * jitter);
    }
    sim.run(9_900);
    assert!(sim.buffer.delay() < ms(70.0), "calm: {:?}", sim.buffer.delay());
    sim.run(29_900);
    assert!(sim.buffer.delay() > ms(70.0), "jittery: {:?}", sim.buffer.delay());
    let concealed = sim.concealed_since(0);
    assert!(concealed <= 15, "{concealed} of 1000 while it grew");
    sim.run(59_900);
    assert!(sim.buffer.delay() < ms(75.0), "calm again: {:?}", sim.buffer.delay());
    assert_eq!(sim.concealed_since(35_000), 0);
}

#[test]
fn a_single_lost_packet_is_rebuilt_from_the_next_one() {
    let mut sim = Sim::new();
    for i in (0..500).filter(|i| i % 20 != 10) {
        sim.send(i, 25.0);
    }
    sim.run(9_900);
    let stats = sim.buffer.stats();
    assert_eq!((stats.fec, stats.concealed), (25, 0));
    let (_, fec) = sim.log.iter().find(|(_, p)| matches!(p, Playout::Fec { .. })).expect("one was lost");
    assert_eq!(*fec, Playout::Fec { next: Bytes::from(11u64.to_be_bytes().to_vec()), time: 7_000 + 10 * 960 });
}

#[test]
fn of_three_lost_packets_two_are_made_up_and_one_rebuilt() {
    let mut sim = Sim::new();
    for i in (0..400).filter(|i| !(200..203).contains(i)) {
        // A little jitter first, so that the delay covers the packet after the gap.
        sim.send(i, 25.0 + if i % 25 < 2 { 19.0 } else { 0.0 });
    }
    sim.run(7_900);
    let stats = sim.buffer.stats();
    assert_eq!((stats.concealed, stats.fec, stats.late), (2, 1, 0));
}

#[test]
fn reordered_and_repeated_packets_are_played_once_in_order() {
    let mut sim = Sim::new();
    for i in 0..500 {
        sim.send(i, 20.0 + if i % 3 == 0 { 32.0 } else { 0.0 });
        sim.send(i, 24.0);
        sim.send(i, 24.0);
    }
    sim.run(9_900);
    let times: Vec<u64> = sim
        .log
        .iter()
        .filter_map(|(_, p)| if let Playout::Packet { time, .. } = p { Some(*time) } else { None })
        .collect();
    assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 960));
    assert_eq!(sim.buffer.stats().concealed, 0);
    assert!(sim.buffer.stats().duplicates + sim.buffer.stats().late >= 900);
}

#[test]
fn time_stamps_that_follow_a_clock_lose_no_packet() {
    let mut sim = Sim::new();
    let mut rng = Rng::new(9);
    for i in 0..500u64 {
        let mut packet = packet(sim.start, i, i as f64 * 20.0 + 25.0);
        packet.sequence_time += rng.next_u64() % 48;
        sim.coming.insert((i * 20_000 + 25_000, i), packet);
    }
    sim.run(9_900);
    let stats = sim.buffer.stats();
    assert_eq!((stats.late, stats.concealed, stats.fec), (0, 0, 0), "seed 9: {stats:?}");
}

#[test]
fn silence_of_the_sender_is_not_concealed() {
    let mut sim = Sim::new();
    for i in (0..100).chain(150..250) {
        sim.send(i, 25.0);
    }
    // The encoder says that it falls silent.
    let mut dtx = packet(sim.start, 100, 2_025.0);
    dtx.payload = Bytes::from_static(&[0]);
    sim.coming.insert((2_025_000, 9_999), dtx);
    sim.run(4_900);
    let stats = sim.buffer.stats();
    assert_eq!(stats.concealed, 0);
    assert!((45..=52).contains(&stats.silence), "{stats:?}");
    assert!(stats.played > 190, "{stats:?}");
}

#[test]
fn a_stall_of_the_network_is_heard_once_and_nothing_is_thrown_away() {
    let mut sim = Sim::new();
    for i in 0..600 {
        // Everything sent between 4.0 and 4.2 s comes at 4.2 s.
        let at = i as f64 * 20.0;
        sim.send(i, if (4_000.0..4_200.0).contains(&at) { 4_225.0 - at } else { 25.0 });
    }
    sim.run(11_900);
    let stats = sim.buffer.stats();
    assert_eq!((stats.late, stats.dropped, stats.fec), (0, 0, 0), "{stats:?}");
    assert!((5..=10).contains(&stats.concealed), "{stats:?}");
    assert!(stats.accelerated > 0 && sim.buffer.delay() < ms(300.0), "{stats:?}");
}

#[test]
fn a_late_poller_makes_nothing_up() {
    let mut sim = Sim::new();
    for i in 0..1000 {
        sim.send(i, 25.0);
    }
    sim.run(3_000);
    // The whole process stands still for 150 ms; then the poller runs first, eight times in a row, before the network
    // thread gets to insert what has come meanwhile.
    for _ in 0..8 {
        let now = sim.start + Duration::from_millis(3_150);
        if sim.buffer.poll(now).is_none() {
            break;
        }
    }
    sim.tick = 3_160 / 20;
    sim.run(19_900);
    let stats = sim.buffer.stats();
    assert!(stats.concealed <= 1, "{stats:?}");
    assert_eq!(stats.late, 0, "{stats:?}");
    assert!(sim.buffer.delay() < ms(120.0), "{:?}", sim.buffer.delay());
}

#[test]
fn a_poller_that_skips_its_late_ticks_gets_the_delay_back_by_acceleration() {
    let mut sim = Sim::new();
    for i in 0..1500 {
        sim.send(i, 25.0);
    }
    sim.run(3_000);
    sim.tick += 10;
    sim.run(29_900);
    let stats = sim.buffer.stats();
    assert_eq!((stats.concealed, stats.late), (0, 0), "{stats:?}");
    assert!(sim.buffer.delay() < ms(80.0), "{:?}", sim.buffer.delay());
}

#[test]
fn a_sender_that_begins_anew_is_followed_and_one_stray_packet_is_not() {
    let mut sim = Sim::new();
    for i in 0..200 {
        sim.send(i, 25.0);
    }
    sim.deliver(1 << 40, 1_000.0);
    sim.deliver(1 << 20, 1_500.0);
    sim.run(3_900);
    assert_eq!(sim.buffer.stats().restarts, 0);
    assert_eq!(sim.buffer.stats().concealed, 0);
    for i in 0..200 {
        sim.deliver((1 << 30) + i, 4_000.0 + i as f64 * 20.0 + 25.0);
    }
    sim.run(7_900);
    let stats = sim.buffer.stats();
    assert_eq!(stats.restarts, 1);
    assert!(stats.played > 380, "{stats:?}");
}

#[test]
fn lip_sync_moves_the_delay_smoothly() {
    let mut sim = Sim::new();
    for i in 0..2000 {
        sim.send(i, 25.0);
    }
    sim.run(5_000);
    sim.buffer.set_minimum_delay(ms(150.0));
    sim.run(15_000);
    let held = sim.buffer.delay();
    assert!((ms(140.0)..ms(180.0)).contains(&held), "{held:?}");
    sim.buffer.set_minimum_delay(Duration::ZERO);
    sim.run(35_000);
    assert!(sim.buffer.delay() < ms(70.0), "{:?}", sim.buffer.delay());
    assert_eq!(sim.buffer.stats().concealed, 0);
}

#[test]
fn a_switched_off_microphone_is_silence_and_a_dead_peer_is_not_made_up_for_ever() {
    let mut sim = Sim::new();
    for i in 0..100 {
        sim.send(i, 25.0);
    }
    sim.run(1_900);
    sim.buffer.set_due(Due::No);
    sim.run(9_900);
    assert_eq!(sim.buffer.stats().concealed, 0);
    let mut dead = Sim::new();
    for i in 0..100 {
        dead.send(i, 25.0);
    }
    dead.run(20_000);
    assert_eq!(dead.buffer.stats().concealed, u64::from(STALLED_POLLS));
}

#[test]
fn five_percent_loss_with_redundancy_conceals_less_than_one_percent() {
    for seed in 1..=5 {
        let mut rng = Rng::new(seed);
        let mut sim = Sim::new();
        let lost: Vec<bool> = (0..3000).map(|_| rng.chance(0.05)).collect();
        for i in 0..3000u64 {
            let network = 25.0 + rng.unit() * 5.0;
            if !lost[i as usize] {
                sim.send(i, network);
            } else if lost.get(i as usize + 1) == Some(&false) {
                // RED: the next packet carries this one too.
                sim.send(i, network + 20.0);
            }
        }
        sim.run(59_900);
        let stats = sim.buffer.stats();
        assert!(stats.concealed * 100 <= stats.played, "seed {seed}: {stats:?}");
        assert!(sim.buffer.delay() < ms(100.0), "seed {seed}: {:?}", sim.buffer.delay());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert { index: u64, duration: u32, bytes: usize },
    Poll { after_ms: u64 },
    Minimum { ms: u64 },
    Due(Due),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..200, Just(960u32), 0usize..6).prop_map(|(index, duration, bytes)| Step::Insert { index, duration, bytes }),
        1 => (any::<u64>(), any::<u32>(), 0usize..6).prop_map(|(index, duration, bytes)| Step::Insert { index, duration, bytes }),
        6 => (0u64..60).prop_map(|after_ms| Step::Poll { after_ms }),
        1 => (0u64..10_000).prop_map(|ms| Step::Minimum { ms }),
        1 => Just(Step::Due(Due::No)),
        1 => Just(Step::Due(Due::Yes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_buffer_stays_bounded_and_plays_forward(steps in prop::collection::vec(step(), 1..400)) {
        let start = Instant::now();
        let mut now = start;
        let mut buffer = JitterBuffer::new(start);
        let mut last: Option<(u64, u64)> = None;
        for step in steps {
            match step {
                Step::Insert { index, duration, bytes } => {
                    let sequence_time = if index < 200 { 7_000 + index * 960 } else { index };
                    let payload = Bytes::from(vec![1; bytes]);
                    buffer.insert(SoundPacket { sequence_time, arrived: now, payload, duration_samples: duration });
                }
                Step::Poll { after_ms } => {
                    now += Duration::from_millis(after_ms);
                    if let Some(Playout::Packet { time, .. }) = buffer.poll(now) {
                        let stream = buffer.stats().restarts;
                        // Within one stream nothing is played twice.
                        if let Some((before, time_before)) = last {
                            prop_assert!(before != stream || time > time_before);
                        }
                        last = Some((stream, time));
                    }
                }
                Step::Minimum { ms } => buffer.set_minimum_delay(Duration::from_millis(ms)),
                Step::Due(due) => buffer.set_due(due),
            }
            prop_assert!(buffer.len() <= MAX_PACKETS);
            prop_assert!(buffer.target() >= MIN_DELAY && buffer.target() <= MAX_DELAY);
        }
    }

    #[test]
    fn any_jitter_within_the_bounds_is_played_without_losing_order(seed in any::<u64>(), jitter in 0.0f64..120.0) {
        let mut rng = Rng::new(seed);
        let mut sim = Sim::new();
        for i in 0..300 {
            sim.send(i, 10.0 + rng.unit() * jitter);
        }
        sim.run(7_000);
        let times: Vec<u64> = sim.log.iter().filter_map(|(_, p)| if let Playout::Packet { time, .. } = p { Some(*time) } else { None }).collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(times.len() + TICK.as_millis() as usize >= 290, "{} of 300 played", times.len());
    }
}
