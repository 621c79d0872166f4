//! The jitter buffer for sound: what to play each 20 ms, from packets that come late, twice, in the wrong order or never.
//!
//! The caller (the sound thread of a call) inserts packets as they come and polls whenever its output needs more
//! samples. It decodes, rebuilds, conceals and stretches as told; every decision is made here. [`Stretch`]
//! changes the length of what a packet gives, so the caller keeps its output in a queue and polls while less than a
//! chunk is in it ([`stretch`] has the signal work).
//!
//! Delay is counted from the moment at which the fastest recent packet would have come. It is aimed at the
//! worst of the last two seconds, with FEC counting as being there. An empty buffer does not advance: what is
//! late is still played and the delay grows by the wait, so one stall is heard once and not twice. A buffer with newer
//! packets advances over what is missing.
//!
//! Holds at most [`MAX_PACKETS`] and aims for at most [`MAX_DELAY`]. Hostile time-stamps cost a restart, nothing more.

mod arrivals;
pub mod stretch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::stats::Due;
use arrivals::Arrivals;

/// More than a second of 20 ms packets: what comes on top is not played any more.
pub const MAX_PACKETS: usize = 60;
/// The largest delay the buffer aims for.
pub const MAX_DELAY: Duration = Duration::from_millis(400);
/// The smallest: threads of a busy machine wake this much late without any help from the network.
pub const MIN_DELAY: Duration = Duration::from_millis(30);
/// Aimed for until arrivals tell more.
pub const START_DELAY: Duration = Duration::from_millis(40);
/// The usual length of a packet, in samples: 20 ms.
const PACKET: u64 = 960;
/// Opus packets last 2.5 to 120 ms (RFC 6716); anything else a peer claims is brought into these bounds.
const DURATIONS: std::ops::RangeInclusive<u32> = 120..=5760;
/// A time-stamp this far away (5 s) means that the sender began anew.
const JUMP: u64 = 48_000 * 5;
/// Senders whose time-stamps follow a clock overlap their packets by a little: so much is played all the same. Less than
/// half of the shortest packet, so that nothing is played twice.
const OVERLAP: u64 = 59;
/// Two hundred years of samples: a time-stamp beyond is nonsense, and refusing it keeps the arithmetic whole.
const MAX_TIME: u64 = 1 << 48;
/// Packets of a new beginning must agree within a second: one stray packet does not end the sound.
const AGREE: u64 = 48_000;
/// An Opus packet this short is a DTX frame: the sender is silent until the next packet, however far away.
const DTX_BYTES: usize = 2;
/// Polls closer together than this come from a poller that catches up after a stall. What it does not find has most
/// likely not been inserted yet either, so nothing is made up for it.
const CATCH_UP: Duration = Duration::from_millis(8);
/// The delay in use is the least of this many polls: a single late poll does not count.
const LEVEL_POLLS: usize = 10;
/// The delay may be this much above or below what is aimed for. Together more than the 20 ms that a stretched packet
/// may move it, or it would swing.
const ABOVE_MICROS: i64 = 25_000;
const BELOW_MICROS: i64 = 8_000;
/// Polls between two stretched packets: one in five is hardly heard ..
const STRETCH_POLLS: u32 = 5;
/// .. every second when the delay is this far off ..
const HURRY_POLLS: u32 = 2;
const HURRY_MICROS: i64 = 60_000;
/// .. and each one when it is so far off that nobody can talk like that.
const HASTE_MICROS: i64 = 150_000;
/// This far above the aim sound is skipped instead.
const SKIP_MICROS: i64 = 300_000;
/// A lost stretch longer than this (half a second) is jumped over.
const LONGEST_GAP: u64 = 24_000;
/// After two seconds with nothing the stream counts as ended and starts afresh with the next packet.
const STALLED_POLLS: u32 = 100;

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
    /// No stream yet, or not any more: silence that counts for nothing.
    Wait,
    /// Decode this.
    Packet { payload: Bytes, time: u64, stretch: Stretch },
    /// The packet is lost and the next one is here: rebuild it from that one's FEC. The next one comes with the next poll.
    Fec { next: Bytes, time: u64 },
    /// Nothing is there: let the decoder make up 20 ms.
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
    /// Packets never played because the buffer was full or the delay too large.
    pub dropped: u64,
    pub accelerated: u64,
    pub expanded: u64,
    pub restarts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Playing {
    Yes,
    /// Waiting for packets, or for the first one to have waited long enough.
    No,
}

/// See the module.
#[derive(Debug)]
pub struct JitterBuffer {
    packets: BTreeMap<u64, SoundPacket>,
    arrivals: Arrivals,
    /// The media time to play next: nothing before it is played any more. `None` before the first packet.
    next: Option<u64>,
    playing: Playing,
    /// The newest media time seen, to notice a single missing packet.
    newest: Option<u64>,
    /// The first packet of what may be a new beginning.
    stray: Option<SoundPacket>,
    /// Samples made up while the buffer was empty; if what they stood for turns out lost, they have covered it.
    held: u64,
    concealed_in_a_row: u32,
    /// The last packet played was a DTX frame.
    silent: bool,
    due: Due,
    minimum: Duration,
    levels: VecDeque<i64>,
    polls_since_stretch: u32,
    last_poll: Option<Instant>,
    accelerated_last: bool,
    stats: JitterStats,
}

impl JitterBuffer {
    pub fn new(now: Instant) -> Self {
        Self {
            packets: BTreeMap::new(),
            arrivals: Arrivals::new(now, START_DELAY),
            next: None,
            playing: Playing::No,
            newest: None,
            stray: None,
            held: 0,
            concealed_in_a_row: 0,
            silent: false,
            due: Due::Yes,
            minimum: Duration::ZERO,
            levels: VecDeque::with_capacity(LEVEL_POLLS),
            polls_since_stretch: 0,
            last_poll: None,
            accelerated_last: false,
            stats: JitterStats::default(),
        }
    }

    pub fn insert(&mut self, mut packet: SoundPacket) -> Inserted {
        packet.duration_samples = packet.duration_samples.clamp(*DURATIONS.start(), *DURATIONS.end());
        if packet.sequence_time > MAX_TIME {
            self.stats.late += 1;
            return Inserted::Late;
        }
        if self.is_elsewhere(packet.sequence_time) {
            return self.insert_stray(packet);
        }
        self.stray = None;
        self.insert_known(packet)
    }

    /// What to play now; asked whenever the output needs samples, usually each 20 ms. `None` only for polls that catch up
    /// after a stall of the poller: give out nothing for this one.
    pub fn poll(&mut self, now: Instant) -> Option<Playout> {
        let close = self.last_poll.is_some_and(|last| now.saturating_duration_since(last) < CATCH_UP);
        let catching_up = close && !self.accelerated_last;
        self.last_poll = Some(now);
        self.accelerated_last = false;
        let next = match (self.playing, self.next) {
            (Playing::Yes, Some(next)) => next,
            _ => match self.begin(now) {
                Some(first) => first,
                None => return Some(Playout::Wait),
            },
        };
        let level = self.arrivals.delay_micros(next, now);
        if self.levels.len() == LEVEL_POLLS {
            self.levels.pop_front();
        }
        self.levels.push_back(level);
        self.polls_since_stretch = self.polls_since_stretch.saturating_add(1);
        match self.packets.first_key_value().map(|(first, _)| *first) {
            None if catching_up => None,
            None => Some(self.empty(next)),
            Some(first) if first <= next => Some(self.play(first)),
            Some(first) => Some(self.gap(next, first, now)),
        }
    }

    /// The delay of the sound now played behind the fastest packets.
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.level().unwrap_or(0).max(0).unsigned_abs())
    }

    /// The delay that is aimed for.
    pub fn target(&self) -> Duration {
        self.arrivals.needed().max(self.minimum).clamp(MIN_DELAY, MAX_DELAY)
    }

    /// Lip sync: never aim for less than this. Followed by stretching, so it is heard as little as any other change.
    pub fn set_minimum_delay(&mut self, minimum: Duration) {
        self.minimum = minimum.min(MAX_DELAY);
    }

    /// Whether sound is to be expected: while the peer has its microphone switched off what still comes is played, and
    /// nothing is made up for what does not.
    pub const fn set_due(&mut self, due: Due) {
        self.due = due;
    }

    pub const fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Packets waiting.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    // ---- inserting

    fn is_elsewhere(&self, time: u64) -> bool {
        let known = self.next.or_else(|| self.packets.first_key_value().map(|(first, _)| *first));
        known.is_some_and(|known| time.abs_diff(known) > JUMP)
    }

    /// A packet from another time: the second of its kind begins a new stream.
    fn insert_stray(&mut self, packet: SoundPacket) -> Inserted {
        match self.stray.take() {
            Some(first) if first.sequence_time.abs_diff(packet.sequence_time) <= AGREE => {
                self.packets.clear();
                self.stop();
                self.arrivals.restart();
                (self.next, self.newest) = (None, None);
                self.stats.restarts += 1;
                self.insert_known(first);
                self.insert_known(packet)
            }
            _ => {
                self.stray = Some(packet);
                Inserted::Ok
            }
        }
    }

    fn insert_known(&mut self, packet: SoundPacket) -> Inserted {
        let time = packet.sequence_time;
        if self.packets.contains_key(&time) {
            self.stats.duplicates += 1;
            return Inserted::Duplicate;
        }
        self.arrivals.record(time, packet.arrived);
        // Exactly one is missing before this one: this is when its FEC came, and the delay should cover that too.
        if self.newest.is_some_and(|newest| time == newest + 2 * PACKET) && packet.payload.len() > DTX_BYTES {
            self.arrivals.record(time - PACKET, packet.arrived);
        }
        self.newest = self.newest.max(Some(time));
        if self.next.is_some_and(|next| time + OVERLAP < next) {
            self.stats.late += 1;
            return Inserted::Late;
        }
        self.packets.insert(time, packet);
        if self.packets.len() <= MAX_PACKETS {
            return Inserted::Ok;
        }
        self.packets.pop_first();
        self.stats.dropped += 1;
        if let (Some(next), Some((first, _))) = (self.next, self.packets.first_key_value()) {
            self.advance(next.max(*first));
        }
        Inserted::Full
    }

    // ---- playing

    /// Starts once the first packet has waited long enough.
    fn begin(&mut self, now: Instant) -> Option<u64> {
        let (&first, packet) = self.packets.first_key_value()?;
        let due = self.arrivals.delay_micros(first, now) >= micros(self.target()) - BELOW_MICROS;
        if !due && now.saturating_duration_since(packet.arrived) < MAX_DELAY {
            return None;
        }
        self.next = Some(first);
        self.playing = Playing::Yes;
        self.levels.clear();
        self.polls_since_stretch = 0;
        Some(first)
    }

    fn play(&mut self, first: u64) -> Playout {
        let surplus = self.level().unwrap_or(0) - micros(self.target());
        if surplus > SKIP_MICROS {
            self.skip(surplus);
        }
        let first = self.packets.first_key_value().map_or(first, |(first, _)| *first);
        let Some(packet) = self.packets.remove(&first) else { return self.empty(first) };
        let end = first + u64::from(packet.duration_samples);
        let silent = packet.payload.len() <= DTX_BYTES;
        if silent && surplus > ABOVE_MICROS && self.packets.contains_key(&end) {
            // Silence can be shortened unheard.
            self.advance(end);
            return self.play(end);
        }
        let stretch = self.stretch(end);
        self.advance(end);
        self.silent = silent;
        self.held = 0;
        self.concealed_in_a_row = 0;
        self.stats.played += 1;
        Playout::Packet { payload: packet.payload, time: first, stretch }
    }

    /// `next` is missing and `first` is the oldest there is.
    fn gap(&mut self, next: u64, first: u64, now: Instant) -> Playout {
        // What was made up while nothing was here stood for what is now known to be lost.
        let covered = self.held.min(first - next);
        self.held = 0;
        let next = next + covered;
        self.advance(next);
        let aim = micros(self.target());
        let first_due = self.arrivals.delay_micros(first, now) >= aim - BELOW_MICROS;
        if self.silent {
            if first_due || first <= next {
                self.advance(first);
                return self.play(first);
            }
            self.advance(next + PACKET.min(first - next));
            self.stats.silence += 1;
            return Playout::Silence { time: next };
        }
        let gap = first - next;
        if gap < u64::from(*DURATIONS.start()) || gap > LONGEST_GAP {
            self.advance(first);
            return self.play(first);
        }
        if gap <= PACKET {
            self.advance(first);
            self.stats.fec += 1;
            self.concealed_in_a_row = 0;
            let next_payload = self.packets.get(&first).map(|packet| packet.payload.clone()).unwrap_or_default();
            return Playout::Fec { next: next_payload, time: next };
        }
        // A delay that is too large anyway shrinks by what is lost anyway.
        let surplus = self.level().unwrap_or(0) - aim;
        let skip = if surplus > ABOVE_MICROS { PACKET.min(gap - PACKET) } else { 0 };
        self.advance(next + skip + PACKET.min(gap - skip));
        self.conceal(next + skip)
    }

    fn empty(&mut self, next: u64) -> Playout {
        if self.due == Due::No {
            self.stop();
            return Playout::Wait;
        }
        if self.silent {
            self.stats.silence += 1;
            return Playout::Silence { time: next };
        }
        self.held += PACKET;
        let playout = self.conceal(next);
        if self.concealed_in_a_row >= STALLED_POLLS {
            self.stop();
        }
        playout
    }

    fn conceal(&mut self, time: u64) -> Playout {
        self.stats.concealed += 1;
        self.concealed_in_a_row += 1;
        Playout::Conceal { time }
    }

    /// The packet that ends at `end` is about to be played: at which length?
    fn stretch(&mut self, end: u64) -> Stretch {
        let Some(level) = self.level() else { return Stretch::None };
        let off = level - micros(self.target());
        let wait = match off.abs() {
            HASTE_MICROS.. => 1,
            HURRY_MICROS.. => HURRY_POLLS,
            _ => STRETCH_POLLS,
        };
        if self.polls_since_stretch < wait {
            return Stretch::None;
        }
        // A shortened packet makes the caller poll again at once: the next one must be here.
        let stretch = if off > ABOVE_MICROS && self.packets.contains_key(&end) {
            self.stats.accelerated += 1;
            self.accelerated_last = true;
            Stretch::Accelerate
        } else if off < -BELOW_MICROS {
            self.stats.expanded += 1;
            Stretch::Expand
        } else {
            return Stretch::None;
        };
        self.polls_since_stretch = 0;
        self.levels.clear();
        stretch
    }

    /// Far too much is waiting: the oldest goes unheard, but never the last packet.
    fn skip(&mut self, surplus: i64) {
        let skip_to = self.next.unwrap_or_default() + u64::try_from(surplus.max(0) / 1_000).unwrap_or(0) * 48;
        while self.packets.len() > 1 && self.packets.first_key_value().is_some_and(|(first, _)| *first < skip_to) {
            self.packets.pop_first();
            self.stats.dropped += 1;
        }
        self.levels.clear();
    }

    fn advance(&mut self, next: u64) {
        self.next = Some(next);
        // Overlapping packets of a strange sender.
        while self.packets.first_key_value().is_some_and(|(first, _)| *first + OVERLAP < next) {
            self.packets.pop_first();
            self.stats.late += 1;
        }
    }

    fn stop(&mut self) {
        self.playing = Playing::No;
        self.held = 0;
        self.concealed_in_a_row = 0;
        self.silent = false;
        self.levels.clear();
    }

    /// The least of the recent polls' delays, in microseconds.
    fn level(&self) -> Option<i64> {
        self.levels.iter().min().copied()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
