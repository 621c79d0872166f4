//! The receiving end: requests for what is missing (a round trip apart, five at most), pictures put together and decoded in
//! order, requests for key frames, the jitter buffer with an output queue, lip sync, reports to the sender.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kith_common::clock::MonoTime;
use kith_core::jitter::{JitterBuffer, Playout, SoundPacket, Stretch};
use kith_core::stats::{FrozenMeter, Percentiles, SizeMeter};
use kith_core::sync::LipSync;

use super::{VideoPacket, Wire};

/// Beside the round trip, as str0m has it.
const NACK_MARGIN: Duration = Duration::from_millis(5);
const MAX_NACKS: u32 = 5;
const PLI_INTERVAL: Duration = Duration::from_millis(300);
/// An incomplete picture is given up when this many newer ones are complete (the reordering size given to str0m).
const HOLD_BACK: usize = 12;
const GROWTH_WINDOW: Duration = Duration::from_millis(60);
const REPORT_MS: u64 = 100;
const DECODING: Duration = Duration::from_millis(3);

struct Missing {
    asked: u32,
    last: Option<Instant>,
}

struct Frame {
    got: u64,
    first: VideoPacket,
}

pub struct Receiver {
    pub delivered: Vec<(Instant, Duration)>,
    pub buffer: JitterBuffer,
    pub sync: LipSync,
    pub sound_delays: Percentiles,
    pub frozen: FrozenMeter,
    pub sizes: SizeMeter,
    /// Of the delay of what comes in.
    pub growth: Duration,
    round_trip: Duration,
    start: Instant,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    got: BTreeMap<u64, ()>,
    frames: BTreeMap<u64, Frame>,
    next_frame: u64,
    decoding: bool,
    asked_for_key: Option<Instant>,
    shown: VecDeque<(Instant, VideoPacket)>,
    sounds: BTreeMap<u64, ()>,
    queue: i64,
    next_tick: u64,
    transits: VecDeque<(Instant, i64)>,
    least: i64,
    received: VecDeque<(Instant, usize)>,
    reported: Option<Instant>,
}

impl Receiver {
    pub fn new(round_trip: Duration, now: Instant) -> Self {
        Self {
            round_trip,
            delivered: vec![],
            buffer: JitterBuffer::new(now),
            sync: LipSync::new(),
            sound_delays: Percentiles::new(),
            frozen: FrozenMeter::new(),
            sizes: SizeMeter::new(),
            growth: Duration::ZERO,
            start: now,
            highest: None,
            missing: BTreeMap::new(),
            got: BTreeMap::new(),
            frames: BTreeMap::new(),
            next_frame: 0,
            decoding: false,
            asked_for_key: None,
            shown: VecDeque::new(),
            sounds: BTreeMap::new(),
            queue: 0,
            next_tick: 7,
            transits: VecDeque::new(),
            least: i64::MAX,
            received: VecDeque::new(),
            reported: None,
        }
    }

    fn mono(&self, at: Instant) -> MonoTime {
        // Virtual time begins at 1 s.
        MonoTime(1_000_000 + (at - self.start).as_micros() as u64)
    }

    pub fn handle(&mut self, wire: Wire, now: Instant) {
        match wire {
            Wire::Video(packet) => {
                self.received.push_back((now, packet.bytes + super::OVERHEAD));
                self.video(packet, now);
            }
            Wire::Sound { index } => {
                self.received.push_back((now, 164 + super::OVERHEAD));
                let transit = (now - self.start).as_micros() as i64 - index as i64 * 20_000;
                self.least = self.least.min(transit);
                self.transits.push_back((now, transit));
                self.sound(index, now);
                if index > 0 && !self.sounds.contains_key(&(index - 1)) {
                    self.sound(index - 1, now);
                }
            }
            _ => {}
        }
    }

    fn sound(&mut self, index: u64, now: Instant) {
        self.sounds.insert(index, ());
        let payload = Bytes::from_static(&[0; 80]);
        let time = 48_000 + index * 960;
        self.buffer.insert(SoundPacket { sequence_time: time, arrived: now, payload, duration_samples: 960 });
    }

    fn video(&mut self, packet: VideoPacket, now: Instant) {
        if self.got.insert(packet.sequence, ()).is_some() {
            return;
        }
        self.missing.remove(&packet.sequence);
        let expected = self.highest.map_or(0, |highest| highest + 1);
        for sequence in expected..packet.sequence {
            self.missing.insert(sequence, Missing { asked: 0, last: None });
        }
        self.highest = self.highest.max(Some(packet.sequence));
        if packet.frame < self.next_frame {
            return;
        }
        let frame = self.frames.entry(packet.frame).or_insert(Frame { got: 0, first: packet });
        frame.got += 1;
        self.decode(now);
    }

    /// In order, as str0m hands them out: over a hole only when enough newer pictures wait behind it. What comes after a
    /// hole is of no use before the next key frame.
    fn decode(&mut self, now: Instant) {
        loop {
            let complete = |frame: &Frame| frame.got == frame.first.count;
            if !self.frames.get(&self.next_frame).is_some_and(complete) {
                let mut behind = self.frames.iter().filter(|(_, frame)| complete(frame)).map(|(frame, _)| *frame);
                let Some(first) = behind.next() else { return };
                if behind.count() + 1 < HOLD_BACK {
                    return;
                }
                self.next_frame = first;
                self.decoding = false;
            }
            self.frames = self.frames.split_off(&self.next_frame);
            let Some(Frame { first, .. }) = self.frames.remove(&self.next_frame) else { return };
            self.next_frame += 1;
            self.decoding |= first.key;
            if !self.decoding {
                continue;
            }
            let ready = now + DECODING;
            let hold = self.sync.handle_picture(self.mono(first.capture), self.mono(ready));
            // Pictures stay in order.
            let at = (ready + hold).max(self.shown.back().map_or(ready, |(at, _)| *at));
            self.shown.push_back((at, first));
        }
    }

    pub fn tick(&mut self, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        while let Some((at, picture)) = self.shown.front().copied().filter(|(at, _)| *at <= now) {
            self.shown.pop_front();
            self.delivered.push((picture.capture, at - picture.capture));
            self.sync.handle_shown(self.mono(picture.capture), self.mono(at));
            self.frozen.handle_picture(at);
            self.sizes.handle_picture(picture.size, at);
        }
        self.nack(now, send);
        self.ask_for_key(now, send);
        self.report(now, send);
        if (now - self.start).as_millis() as u64 >= self.next_tick {
            self.next_tick += 20;
            self.play(now);
        }
    }

    fn play(&mut self, now: Instant) {
        while self.queue < 960 {
            let Some(playout) = self.buffer.poll(now) else { break };
            self.queue += match playout {
                Playout::Packet { stretch: Stretch::Accelerate, .. } => 480,
                Playout::Packet { stretch: Stretch::Expand, .. } => 1440,
                _ => 960,
            };
            if let Playout::Packet { time, .. } = playout {
                let capture = self.start + Duration::from_micros((time - 48_000) / 48 * 1000);
                self.sync.handle_sound(self.mono(capture), self.mono(now));
                self.sound_delays.record(now - capture);
            }
        }
        self.queue = (self.queue - 960).max(0);
        self.buffer.set_minimum_delay(self.sync.sound_minimum_delay());
    }

    fn nack(&mut self, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        let again = self.round_trip + NACK_MARGIN;
        let mut ask = vec![];
        for (sequence, missing) in &mut self.missing {
            if missing.last.is_none_or(|last| now - last >= again) {
                missing.asked += 1;
                missing.last = Some(now);
                ask.push(*sequence);
            }
        }
        self.missing.retain(|_, missing| missing.asked <= MAX_NACKS);
        if !ask.is_empty() {
            send(Wire::Nack(ask), 20);
        }
    }

    fn ask_for_key(&mut self, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        if self.decoding || self.next_frame == 0 {
            return;
        }
        if self.asked_for_key.is_none_or(|last| now - last >= PLI_INTERVAL) {
            self.asked_for_key = Some(now);
            send(Wire::KeyPlease, 12);
        }
    }

    /// As the daemon's sessions do: the least growth of the last packets, regularly or each 50 while it grows.
    fn report(&mut self, now: Instant, send: &mut dyn FnMut(Wire, usize)) {
        while self.transits.front().is_some_and(|(at, _)| now - *at > GROWTH_WINDOW) {
            self.transits.pop_front();
        }
        while self.received.front().is_some_and(|(at, _)| now - *at > Duration::from_millis(250)) {
            self.received.pop_front();
        }
        let growth = self.transits.iter().map(|(_, transit)| *transit).min().map_or(0, |least| least - self.least);
        self.growth = Duration::from_micros(growth.unsigned_abs());
        let interval = if growth >= 40_000 { 50 } else { REPORT_MS };
        if self.reported.is_some_and(|last| now - last < Duration::from_millis(interval)) {
            return;
        }
        self.reported = Some(now);
        let received_bps = self.received.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>() * 8 * 4;
        send(Wire::Report { growth: self.growth, received_bps }, 30);
    }
}
