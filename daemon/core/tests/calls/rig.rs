//! Two nodes and the network between them, in virtual time. The rig does what the daemon does: it opens streams and
//! sessions, carries messages, and speaks every second; media flows when both sides have connected it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kith_common::call::{CallOptions, CallState, EncoderChoice, EndReason, Stage, Transport};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::{CallId, PeerId};
use kith_common::node::Path;
use kith_core::call::{Action, BookConfig, Call, CallBook, LinkId, MediaEvent, Signal, Standing};

pub const LATENCY: Duration = Duration::from_millis(20);

pub fn id(n: u8) -> CallId {
    CallId::from_bytes([n; 16])
}

pub fn peer(n: u8) -> PeerId {
    PeerId::from_public_key([n; 32])
}

pub struct Node {
    pub book: CallBook,
    pub me: PeerId,
    pub standing: Standing,
    pub ended: Vec<Call>,
    /// Ids of calls that rang here, in order.
    pub rang: Vec<CallId>,
    /// Our end of each stream, with the stream's number.
    links: BTreeMap<LinkId, u64>,
    connected: BTreeSet<CallId>,
}

enum News {
    Connected { call: CallId },
    Opened { call: CallId },
    MediaOpen { call: CallId },
    Message { stream: u64, wire: CallId, signal: Signal },
    Closed { stream: u64 },
    Media { wire: CallId, event: MediaEvent },
}

/// What happens to the next message: the tests that lose messages decide by their own dice.
pub type Fate = Box<dyn FnMut() -> Vec<Duration>>;

pub struct World {
    pub now: Instant,
    pub nodes: [Node; 2],
    queue: BTreeMap<(Instant, u64), (usize, News)>,
    counter: u64,
    next_beat: Instant,
    /// Calls whose media reaches both sides, and since when it has not.
    flowing: BTreeMap<CallId, Option<Instant>>,
    /// Nothing passes at all.
    pub cut: bool,
    pub reachable: bool,
    pub fate: Option<Fate>,
}

impl World {
    pub fn new(max_calls: usize) -> Self {
        let now = Instant::now();
        let node = |n: u8| Node {
            book: CallBook::new(BookConfig { local: peer(n), max_calls, encoder: EncoderChoice::Auto }),
            me: peer(n),
            standing: Standing::Ring,
            ended: Vec::new(),
            rang: Vec::new(),
            links: BTreeMap::new(),
            connected: BTreeSet::new(),
        };
        Self {
            now,
            nodes: [node(1), node(2)],
            queue: BTreeMap::new(),
            counter: 0,
            next_beat: now,
            flowing: BTreeMap::new(),
            cut: false,
            reachable: true,
            fate: None,
        }
    }

    pub fn dial(&mut self, from: usize, call: CallId) {
        let to = self.nodes[1 - from].me;
        let now = self.now;
        self.nodes[from].book.dial(call, Some(to), CallOptions::default(), now);
        self.act();
    }

    pub fn answer(&mut self, node: usize) -> CallId {
        let call = *self.nodes[node].rang.last().expect("a call has rung");
        let now = self.now;
        self.nodes[node].book.answer(call, CallOptions::default(), now).expect("it rings");
        self.act();
        call
    }

    pub fn hang_up(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].book.hang_up_all(now);
        self.act();
    }

    pub fn states(&self, node: usize) -> Vec<CallState> {
        self.nodes[node].book.iter().map(Call::state).collect()
    }

    pub fn reasons(&self, node: usize) -> Vec<EndReason> {
        self.nodes[node].ended.iter().map(|call| call.ending.as_ref().expect("it has ended").reason).collect()
    }

    pub fn stages(&self, node: usize) -> Vec<Stage> {
        let call = self.nodes[node].book.iter().next().or(self.nodes[node].ended.last()).expect("there is a call");
        call.stages.iter().map(|report| report.stage).collect()
    }

    /// Ends every stream, as when a connection breaks.
    pub fn break_streams(&mut self) {
        for node in &mut self.nodes {
            for (link, _) in std::mem::take(&mut node.links) {
                node.book.handle_link_lost(link, self.now);
            }
        }
        self.act();
    }

    /// Node's process is gone from one moment to the next.
    pub fn kill(&mut self, node: usize) {
        let me = self.nodes[node].me;
        let max_calls = 1;
        self.nodes[node].book = CallBook::new(BookConfig { local: me, max_calls, encoder: EncoderChoice::Auto });
        self.nodes[node].connected.clear();
        self.nodes[node].links.clear();
        self.queue.retain(|_, (to, _)| *to != node);
        let (other, now) = (&mut self.nodes[1 - node], self.now);
        for (link, _) in std::mem::take(&mut other.links) {
            other.book.handle_link_lost(link, now);
        }
        self.act();
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self.nodes.iter().filter_map(|node| node.book.poll_timeout());
            let news = self.queue.keys().next().map(|(at, _)| *at);
            let next = timers.chain(news).chain([self.next_beat]).min().unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= next) {
                let (node, news) = entry.remove();
                self.deliver(node, news);
                self.act();
            }
            for node in &mut self.nodes {
                if node.book.poll_timeout().is_some_and(|at| at <= next) {
                    node.book.handle_timeout(next);
                    let again = node.book.poll_timeout();
                    assert!(again.is_none_or(|at| at > next), "a time-out asks for itself again: {:?}", node.book);
                }
            }
            self.act();
            if next >= self.next_beat {
                self.next_beat = next + Duration::from_secs(1);
                self.beat();
                self.act();
            }
        }
    }

    fn post(&mut self, to: usize, after: Duration, news: News) {
        self.counter += 1;
        self.queue.insert((self.now + after, self.counter), (to, news));
    }

    fn deliver(&mut self, to: usize, news: News) {
        let (now, from) = (self.now, self.nodes[1 - to].me);
        let node = &mut self.nodes[to];
        match news {
            News::Connected { call } if self.reachable => node.book.handle_connected(call, from, String::new(), now),
            News::Connected { call } => {
                let failure = Failure::new(FailureKind::Unreachable, "No route.").advise("Check the network.");
                node.book.handle_connect_failed(call, &failure, now);
            }
            News::Opened { call } if self.reachable && !self.cut => {
                self.counter += 1;
                // Numbers of streams and of ends come from one counter, so none is used twice.
                let (stream, link) = (self.counter, LinkId(self.counter));
                node.links.insert(link, stream);
                node.book.handle_link_open(call, link, now);
            }
            News::Opened { call } => {
                node.book.handle_link_failed(call, &Failure::new(FailureKind::Unreachable, "No route."), now);
            }
            News::MediaOpen { call } => node.book.handle_media_open(call, now),
            News::Message { stream, wire, signal } => {
                let known = node.links.iter().find(|(_, number)| **number == stream).map(|(link, _)| *link);
                let link = known.unwrap_or(LinkId(stream + 1_000_000));
                node.links.insert(link, stream);
                let standing = node.standing;
                node.book.handle_signal(link, from, wire, signal, standing, now);
            }
            News::Closed { stream } => {
                let lost = node.links.iter().find(|(_, number)| **number == stream).map(|(link, _)| *link);
                if let Some(link) = lost {
                    node.links.remove(&link);
                    node.book.handle_link_lost(link, now);
                }
            }
            News::Media { wire, event } => {
                if let Some(call) = node.book.find(from, wire) {
                    node.book.handle_media(call, event, now);
                }
            }
        }
    }

    /// Does what both books say.
    pub fn act(&mut self) {
        for at in 0..2 {
            while let Some(action) = self.nodes[at].book.poll_action() {
                self.act_one(at, action);
            }
        }
        self.watch_media();
    }

    fn act_one(&mut self, at: usize, action: Action) {
        match action {
            Action::Connect { call } => self.post(at, LATENCY * 2, News::Connected { call }),
            Action::OpenLink { call, .. } => self.post(at, LATENCY, News::Opened { call }),
            Action::OpenMedia { call, .. } => self.post(at, Duration::from_millis(1), News::MediaOpen { call }),
            Action::Send { link: Some(link), wire, signal, .. } => {
                let Some(stream) = self.nodes[at].links.get(&link).copied() else { return };
                let copies = self.fate.as_mut().map_or(vec![LATENCY], |fate| fate());
                for after in if self.cut { Vec::new() } else { copies } {
                    self.post(1 - at, after, News::Message { stream, wire, signal: signal.clone() });
                }
            }
            Action::CloseLink { link } => {
                if let Some(stream) = self.nodes[at].links.remove(&link)
                    && !self.cut
                {
                    self.post(1 - at, LATENCY * 3, News::Closed { stream });
                }
            }
            Action::ConnectMedia { call } => {
                let call = self.nodes[at].book.get(call).map(|call| call.wire);
                self.nodes[at].connected.extend(call);
            }
            Action::New { call } => self.nodes[at].rang.push(call),
            Action::Ended { call } => {
                self.nodes[at].connected.remove(&call.wire);
                self.nodes[at].ended.push(*call);
            }
            Action::Send { link: None, .. }
            | Action::Switch { .. }
            | Action::Stage { .. }
            | Action::TurnedAway { .. }
            | Action::Noted { .. }
            | Action::Changed { .. } => {}
        }
    }

    fn watch_media(&mut self) {
        let both: Vec<CallId> = self.nodes[0].connected.intersection(&self.nodes[1].connected).copied().collect();
        for wire in both {
            if !self.cut && !self.flowing.contains_key(&wire) {
                self.flowing.insert(wire, None);
                for node in 0..2 {
                    let path = MediaEvent::Path { path: Path::Direct, transport: Transport::Udp };
                    self.post(node, LATENCY * 2, News::Media { wire, event: path });
                    self.post(node, LATENCY * 3, News::Media { wire, event: MediaEvent::FirstPacket });
                    self.post(node, LATENCY * 4, News::Media { wire, event: MediaEvent::FirstFrame });
                }
            }
        }
    }

    /// Once a second: state messages, and the silence of media where it has stopped.
    fn beat(&mut self) {
        for at in 0..2 {
            let talking = self.nodes[at].book.iter().filter(|call| call.is_connected());
            let said: Vec<_> = talking.filter_map(|call| Some((call.link?, call.wire, call.local))).collect();
            for (link, wire, media) in said {
                let to = self.nodes[1 - at].me;
                self.act_one(at, Action::Send { link: Some(link), peer: to, wire, signal: Signal::Media(media) });
            }
        }
        let ends =
            |world: &Self, wire: &CallId| world.nodes.iter().filter(|node| node.connected.contains(wire)).count();
        let wires: Vec<CallId> = self.flowing.keys().copied().collect();
        for wire in wires {
            let broken = self.cut || ends(self, &wire) < 2;
            let Some(since) = self.flowing.get_mut(&wire) else { continue };
            let event = match (broken, *since) {
                (true, None) => {
                    *since = Some(self.now);
                    MediaEvent::Stalled
                }
                (true, Some(at)) if self.now >= at + Duration::from_secs(9) => MediaEvent::Lost,
                (false, Some(_)) => {
                    *since = None;
                    MediaEvent::Resumed
                }
                _ => continue,
            };
            for node in 0..2 {
                self.post(node, Duration::ZERO, News::Media { wire, event: event.clone() });
            }
            if ends(self, &wire) == 0 {
                self.flowing.remove(&wire);
            }
        }
    }
}
