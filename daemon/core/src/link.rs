//! An emulated network link, one direction of it: a serialising bottleneck with a drop-tail queue measured in time,
//! delay, jitter without reordering, random or bursty loss, and a schedule of rate changes.
//!
//! The tests of this crate run media over two of these in virtual time; the daemon runs its media sockets through them
//! for `test-call`. Everything random comes from the seed, so a run can be repeated. Holds at most [`MAX_PACKETS`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More than 300 ms of 1,200 byte packets at 100 Mb/s: a sender that overruns this is dropping anyway.
pub const MAX_PACKETS: usize = 4096;

/// A small generator of pseudo-random numbers (splitmix64), for links and tests: never for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, and never, 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// What the link does to packets.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkConfig {
    /// One way, without the queue.
    pub delay: Duration,
    /// Added to the delay, uniform from zero to this; packets stay in order.
    pub jitter: Duration,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean number of packets lost in a row (Gilbert's model); 1.0 and less is independent loss.
    pub burst: f64,
    /// Of the bottleneck; `None` is no bottleneck.
    pub rate_bps: Option<u64>,
    /// What the queue of the bottleneck holds, in time at its rate; packets that find it full are dropped.
    pub queue: Duration,
    /// Rate changes to come, by time since [`Link::new`] (or the last [`Link::set_config`]), in order.
    pub schedule: Vec<(Duration, Option<u64>)>,
    pub seed: u64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 1.0,
            rate_bps: None,
            queue: Duration::from_millis(300),
            schedule: Vec::new(),
            seed: 1,
        }
    }
}

/// What became of a packet that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Accepted,
    /// The queue of the bottleneck was full.
    Dropped,
    /// Lost on the way, at random.
    Lost,
}

/// Counters since the link was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    pub accepted: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub lost: u64,
}

/// One direction of a link, carrying packets of any type in order.
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    started: Instant,
    /// When the bottleneck has sent what it holds.
    free_at: Instant,
    last_arrival: Instant,
    rate_bps: Option<u64>,
    next_change: usize,
    in_burst: bool,
    rng: Rng,
    packets: VecDeque<(Instant, T)>,
    stats: LinkStats,
}

impl<T> Link<T> {
    pub fn new(config: LinkConfig, now: Instant) -> Self {
        Self {
            started: now,
            free_at: now,
            last_arrival: now,
            rate_bps: config.rate_bps,
            next_change: 0,
            in_burst: false,
            rng: Rng::new(config.seed),
            packets: VecDeque::new(),
            stats: LinkStats::default(),
            config,
        }
    }

    /// Changes the link under way; what is inside already keeps its arrival time, and the generator goes on.
    pub fn set_config(&mut self, config: LinkConfig, now: Instant) {
        self.started = now;
        self.rate_bps = config.rate_bps;
        self.next_change = 0;
        self.config = config;
    }

    /// The rate of the bottleneck at `now`.
    pub fn rate_bps(&mut self, now: Instant) -> Option<u64> {
        self.follow_schedule(now);
        self.rate_bps
    }

    /// How long a packet sent now would wait for the bottleneck.
    pub fn queued(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    pub const fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Puts a packet of `bytes` (with all headers) on the link.
    pub fn send(&mut self, now: Instant, packet: T, bytes: usize) -> Sent {
        self.follow_schedule(now);
        // Limited in bytes, as most queues are: a small packet still fits where a large one does not. An empty queue
        // takes anything, or a slow link would carry no large packet at all.
        let waiting = self.queued(now);
        let full = !waiting.is_zero() && waiting + self.transmission(bytes) > self.config.queue;
        if self.packets.len() >= MAX_PACKETS || full {
            self.stats.dropped += 1;
            return Sent::Dropped;
        }
        let start = self.free_at.max(now);
        self.free_at = start + self.transmission(bytes);
        // A packet that is lost behind the bottleneck has still used it.
        if self.is_lost() {
            self.stats.lost += 1;
            return Sent::Lost;
        }
        let jitter = self.config.jitter.mul_f64(self.rng.unit());
        let arrival = (self.free_at + self.config.delay + jitter).max(self.last_arrival);
        self.last_arrival = arrival;
        self.packets.push_back((arrival, packet));
        self.stats.accepted += 1;
        self.stats.bytes += bytes as u64;
        Sent::Accepted
    }

    /// The next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        if self.packets.front()?.0 > now {
            return None;
        }
        self.packets.pop_front().map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.packets.front().map(|(arrival, _)| *arrival)
    }

    /// Packets inside.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    fn transmission(&self, bytes: usize) -> Duration {
        match self.rate_bps {
            Some(rate) => Duration::from_secs_f64(bytes as f64 * 8.0 / rate.max(1) as f64),
            None => Duration::ZERO,
        }
    }

    fn is_lost(&mut self) -> bool {
        let loss = self.config.loss.clamp(0.0, 1.0);
        if loss <= 0.0 {
            return false;
        }
        if self.config.burst <= 1.0 {
            return self.rng.chance(loss);
        }
        // Gilbert: two states, the bad one loses everything. Leaving it at 1 / burst gives the mean length, and the
        // share of time spent in it must be `loss`.
        let mut leave = 1.0 / self.config.burst;
        let mut enter = leave * loss / (1.0 - loss);
        if enter > 1.0 {
            // So much loss takes longer bursts.
            (enter, leave) = (1.0, (1.0 - loss) / loss);
        }
        self.in_burst = if self.in_burst { !self.rng.chance(leave) } else { self.rng.chance(enter) };
        self.in_burst
    }

    /// Applies the rate changes that are due; what waits in the queue then leaves at the new rate.
    fn follow_schedule(&mut self, now: Instant) {
        while let Some((after, rate)) = self.config.schedule.get(self.next_change).copied() {
            let at = self.started + after;
            if at > now {
                return;
            }
            let waiting = self.free_at.saturating_duration_since(at);
            let scale = match (self.rate_bps, rate) {
                (Some(old), Some(new)) => old as f64 / new.max(1) as f64,
                (None, _) | (_, None) => 0.0,
            };
            self.free_at = at + waiting.mul_f64(scale);
            self.rate_bps = rate;
            self.next_change += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_packet_takes_its_transmission_and_the_delay() {
        let start = Instant::now();
        let config = LinkConfig { delay: ms(25), rate_bps: Some(1_000_000), ..LinkConfig::default() };
        let mut link = Link::new(config, start);
        assert_eq!(link.send(start, 'a', 1250), Sent::Accepted);
        assert_eq!(link.send(start, 'b', 1250), Sent::Accepted);
        assert_eq!(link.poll_timeout(), Some(start + ms(35)), "10 ms to send, 25 to arrive");
        assert_eq!(link.pop(start + ms(34)), None);
        assert_eq!(link.pop(start + ms(35)), Some('a'));
        assert_eq!(link.poll_timeout(), Some(start + ms(45)), "the second had to wait for the first");
    }

    #[test]
    fn a_full_queue_drops_what_does_not_fit_and_an_empty_one_takes_anything() {
        let start = Instant::now();
        let config = LinkConfig { rate_bps: Some(100_000), queue: ms(300), ..LinkConfig::default() };
        let mut link = Link::new(config.clone(), start);
        // 100 ms each.
        let sent: Vec<Sent> = (0..5).map(|packet| link.send(start, packet, 1250)).collect();
        assert_eq!(sent, [Sent::Accepted, Sent::Accepted, Sent::Accepted, Sent::Dropped, Sent::Dropped]);
        assert_eq!(link.send(start + ms(20), 5, 200), Sent::Accepted, "a small one still fits");
        let mut slow = Link::new(LinkConfig { rate_bps: Some(8_000), ..config }, start);
        assert_eq!(slow.send(start, 0, 1250), Sent::Accepted, "1.25 s on the line, and nothing before it");
        assert_eq!(slow.send(start, 1, 10), Sent::Dropped);
    }

    #[test]
    fn a_rate_that_falls_makes_what_waits_wait_longer() {
        let start = Instant::now();
        let schedule = vec![(ms(100), Some(250_000)), (ms(1000), None)];
        let config = LinkConfig { rate_bps: Some(1_000_000), schedule, ..LinkConfig::default() };
        let mut link = Link::new(config, start);
        for packet in 0..20 {
            link.send(start, packet, 1250);
        }
        assert_eq!(link.queued(start + ms(100)), ms(100));
        assert_eq!(link.rate_bps(start + ms(100)), Some(250_000));
        assert_eq!(link.queued(start + ms(100)), ms(400));
        assert_eq!(link.rate_bps(start + ms(1000)), None);
        link.send(start + ms(1000), 20, 125_000);
        assert_eq!(link.queued(start + ms(1000)), Duration::ZERO);
    }

    #[test]
    fn loss_is_as_frequent_and_as_bursty_as_configured() {
        let start = Instant::now();
        for (loss, burst) in [(0.05, 1.0), (0.2, 1.0), (0.05, 5.0), (0.9, 2.0), (1.0, 3.0)] {
            let mut link = Link::new(LinkConfig { loss, burst, seed: 7, ..LinkConfig::default() }, start);
            let lost: Vec<bool> = (0..40_000)
                .map(|n| {
                    let sent = link.send(start, n, 100) == Sent::Lost;
                    link.pop(start);
                    sent
                })
                .collect();
            let share = lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64;
            assert!((share - loss).abs() < 0.01, "seed 7: {share} instead of {loss}");
            if burst > 1.0 && loss < 0.5 {
                let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
                let mean = lost.iter().filter(|lost| **lost).count() as f64 / bursts as f64;
                assert!((mean / burst - 1.0).abs() < 0.1, "seed 7: bursts of {mean} instead of {burst}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn packets_come_in_order_bounded_and_each_at_most_once(
            seed in any::<u64>(),
            loss in 0.0f64..1.2,
            burst in 0.0f64..8.0,
            jitter in 0u64..200,
            rate in prop::option::of(0u64..3_000_000),
            sends in prop::collection::vec((0u64..50, 0usize..2000), 1..500),
        ) {
            let start = Instant::now();
            let config = LinkConfig { delay: ms(10), jitter: ms(jitter), loss, burst, rate_bps: rate, seed, ..LinkConfig::default() };
            let mut link = Link::new(config, start);
            let mut now = start;
            let mut got = vec![];
            for (index, (after, bytes)) in sends.iter().enumerate() {
                now += ms(*after);
                link.send(now, index, *bytes);
                got.extend(std::iter::from_fn(|| link.pop(now)));
                prop_assert!(link.len() <= MAX_PACKETS);
            }
            while let Some(at) = link.poll_timeout() {
                prop_assert!(at <= now + Duration::from_secs(3600 * 24 * 365));
                got.extend(std::iter::from_fn(|| link.pop(at)));
            }
            prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]));
            let stats = link.stats();
            prop_assert_eq!(stats.accepted as usize, got.len());
            prop_assert_eq!((stats.accepted + stats.dropped + stats.lost) as usize, sends.len());
        }
    }
}
