//! The jitter buffer for sound: what to play each 20 ms, from packets that come late, twice, in the wrong order or never.
//!
//! The caller (the sound thread of a call) inserts packets as they come and polls whenever its output needs more
//! samples. It decodes, rebuilds, conceals and stretches as told; every decision is made here. `Accelerate` and `Expand`
//! change the length of what a packet gives, so the caller keeps its output in a queue and polls while less than a
//! chunk is in it.
//!
//! The buffer holds at most [`MAX_PACKETS`] and delays by at most [`MAX_DELAY`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// More than a second of 20 ms packets: what comes on top is not played any more.
pub const MAX_PACKETS: usize = 60;
/// The largest delay the buffer aims for.
pub const MAX_DELAY: Duration = Duration::from_millis(400);
/// The smallest.
pub const MIN_DELAY: Duration = Duration::from_millis(20);
/// Aimed for until arrivals tell more.
pub const START_DELAY: Duration = Duration::from_millis(40);
/// The usual length of a packet, in samples.
const PACKET: u64 = 960;
/// A time-stamp this far away (5 s) means that the sender began anew.
const JUMP: u64 = 48_000 * 5;

/// A packet of sound as it came from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundPacket {
    /// Of the first sample, in samples of 48 kHz, without wrap-around.
    pub sequence_time: u64,
    pub arrived: Instant,
    pub payload: Bytes,
    pub duration_samples: u32,
}

/// What became of an inserted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    Ok,
    /// Its time has passed; something else was played for it.
    Late,
    Duplicate,
    /// The oldest packet was dropped for it.
    Full,
}

/// How to change the length of decoded sound, without changing its pitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    None,
    /// Shorter by about a pitch period: the delay shrinks.
    Accelerate,
    /// Longer by about a pitch period: the delay grows.
    Expand,
}

/// What to play next. `time` is the `sequence_time` of the first sample that is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Playout {
    /// Nothing has come yet: silence that counts for nothing.
    Wait,
    /// Decode this.
    Packet { payload: Bytes, time: u64, stretch: Stretch },
    /// The packet is lost and the next one is here: rebuild it from that one's FEC. The next one comes with the next poll.
    Fec { next: Bytes, time: u64 },
    /// The packet is lost: let the decoder make something up.
    Conceal { time: u64 },
    /// The sender is silent (DTX): comfort noise, not counted as concealed.
    Silence { time: u64 },
}

/// Counters, in polls of 20 ms and packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JitterStats {
    pub played: u64,
    pub fec: u64,
    pub concealed: u64,
    pub silence: u64,
    pub late: u64,
    pub duplicates: u64,
    pub dropped: u64,
    pub accelerated: u64,
    pub expanded: u64,
    pub restarts: u64,
}

/// See the module.
#[derive(Debug)]
pub struct JitterBuffer {
    packets: BTreeMap<u64, SoundPacket>,
    next: Option<u64>,
    started: bool,
    minimum: Duration,
    stats: JitterStats,
}

impl JitterBuffer {
    pub const fn new(_now: Instant) -> Self {
        Self {
            packets: BTreeMap::new(),
            next: None,
            started: false,
            minimum: Duration::ZERO,
            stats: JitterStats {
                played: 0,
                fec: 0,
                concealed: 0,
                silence: 0,
                late: 0,
                duplicates: 0,
                dropped: 0,
                accelerated: 0,
                expanded: 0,
                restarts: 0,
            },
        }
    }

    pub fn insert(&mut self, packet: SoundPacket) -> Inserted {
        if let Some(next) = self.next {
            if packet.sequence_time.abs_diff(next) > JUMP {
                self.packets.clear();
                self.next = None;
                self.started = false;
                self.stats.restarts += 1;
            } else if packet.sequence_time < next {
                self.stats.late += 1;
                return Inserted::Late;
            }
        }
        if self.packets.contains_key(&packet.sequence_time) {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        self.packets.insert(packet.sequence_time, packet);
        if self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
            self.stats.dropped += 1;
            return Inserted::Full;
        }
        Inserted::Ok
    }

    /// What to play now. Called whenever the output needs samples, usually each 20 ms.
    pub fn poll(&mut self, now: Instant) -> Option<Playout> {
        if !self.started {
            let Some((&first, packet)) = self.packets.first_key_value() else { return Some(Playout::Wait) };
            if now.saturating_duration_since(packet.arrived) < START_DELAY.max(self.minimum) {
                return Some(Playout::Wait);
            }
            self.started = true;
            self.next = Some(first);
        }
        let time = self.next.unwrap_or_default();
        if let Some(packet) = self.packets.remove(&time) {
            self.next = Some(time + u64::from(packet.duration_samples.max(1)));
            self.stats.played += 1;
            return Some(Playout::Packet { payload: packet.payload, time, stretch: Stretch::None });
        }
        self.next = Some(time + PACKET);
        if let Some(next) = self.packets.get(&(time + PACKET)) {
            self.stats.fec += 1;
            return Some(Playout::Fec { next: next.payload.clone(), time });
        }
        self.stats.concealed += 1;
        Some(Playout::Conceal { time })
    }

    /// How long sound waits in the buffer.
    pub fn delay(&self) -> Duration {
        START_DELAY.max(self.minimum)
    }

    /// Lip sync: never aim for less than this.
    pub fn set_minimum_delay(&mut self, minimum: Duration) {
        self.minimum = minimum.min(MAX_DELAY);
    }

    pub const fn stats(&self) -> JitterStats {
        self.stats
    }
}
