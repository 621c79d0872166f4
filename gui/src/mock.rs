//! A scripted daemon: it speaks the link's events and commands without any network. Dialing rings and connects, the
//! test picture stands in for the peer; the peer that is not connected cannot be reached.
//! Half a minute after the start somebody calls.

pub mod files;
pub mod log;
pub mod node;
pub mod talk;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use kith_common::call::{
    CallInfo, CallKind, CallOptions, CallState, CallStats, Direction, EndReason, Ending, Stage, StageReport, Switch,
    Transport,
};
use kith_common::clock::{MonoTime, unix_ms};
use kith_common::ids::{CallId, PeerId};
use kith_common::media::{Size, VideoFormat};
use kith_common::node::{Identity, NodeStatus, Path, PeerInfo, ServiceInfo, ServiceState};
use kith_common::testsource::TestPicture;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::link::{Command, Errand, Event, Job, Test, merge};
use crate::widget::video::VideoSlot;

/// How long after the start somebody calls.
const FIRST_CALL: Duration = Duration::from_secs(30);
/// Between two stages of a call.
const STEP: Duration = Duration::from_millis(350);

/// As [`crate::link::link`], with pictures of the peer straight into the window's slot.
pub fn link(commands: mpsc::Receiver<Command>, remote: VideoSlot) -> BoxStream<'static, Event> {
    let (events, receiver) = mpsc::channel(64);
    let script = Script {
        commands,
        events,
        remote,
        calls: 0,
        pictures: 0,
        node: node::Scripted::default(),
        talks: talk::Talks::default(),
        shelf: files::Shelf::default(),
        log: log::Calls::default(),
        links: Switch::Off,
        work: JoinSet::new(),
        jobs: BTreeMap::new(),
    };
    merge(script.run(), receiver)
}

pub fn peer_id(number: u8) -> PeerId {
    PeerId::from_public_key([number.wrapping_mul(37).wrapping_add(11); 32])
}

pub fn identity() -> Identity {
    Identity {
        peer_id: peer_id(0),
        name: "Grace Hopper".into(),
        ticket: "kith:2mock4ticket6that8leads9nowhere".into(),
        addresses: vec!["/ip4/192.0.2.7/udp/9999/quic-v1".into()],
    }
}

pub fn status() -> NodeStatus {
    let service = |name: &str, port| ServiceInfo {
        name: name.into(),
        state: ServiceState::Listening,
        port,
        wanted_port: port,
        since_unix_ms: unix_ms(),
        error: String::new(),
        next_try_s: 0,
        suggestion: String::new(),
    };
    NodeStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: 7,
        process_id: std::process::id(),
        services: vec![service("node", 9999), service("video", 9996), service("audio", 9998)],
        peers_connected: 3,
    }
}

pub fn peers() -> Vec<PeerInfo> {
    node::peers_at(0, &[])
}

/// A call as the daemon would describe it.
pub fn call(number: u8, direction: Direction, kind: CallKind, state: CallState) -> CallInfo {
    CallInfo {
        id: CallId::from_bytes([number; 16]),
        peer: Some(peer_id(1)),
        peer_name: "Ada Lovelace".into(),
        direction,
        kind,
        state,
        since_unix_ms: unix_ms(),
        path: (state == CallState::Active).then_some(Path::Direct),
        transport: Transport::Udp,
        microphone: Switch::On,
        camera: if kind == CallKind::Video { Switch::On } else { Switch::Off },
        peer_microphone: Switch::On,
        peer_camera: if kind == CallKind::Video { Switch::On } else { Switch::Off },
        peer_format: Some(VideoFormat { size: size(), fps_milli: 30_000 }),
        ending: None,
    }
}

pub fn stats(seconds: f64) -> CallStats {
    CallStats {
        duration_s: seconds,
        path: Some(Path::Direct),
        rtt_ms: 23.4,
        loss: 0.002,
        video_received: (seconds * 30.0) as u64,
        delay_ms_p50: Some(47.0),
        delay_ms_p95: Some(64.0),
        video_kbps_in: 1_380.0 + (seconds * 1.7).sin() * 60.0,
        video_kbps_out: 912.0,
        audio_kbps_in: 31.0,
        audio_kbps_out: 30.0,
        width: 640,
        height: 360,
        width_out: 640,
        height_out: 360,
        video_fps: 30.0,
        encoder: "aom".into(),
        ..CallStats::default()
    }
}

fn size() -> Size {
    Size::new(640, 360).expect("360p is within the limits")
}

struct Script {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    remote: VideoSlot,
    calls: u8,
    pictures: u64,
    node: node::Scripted,
    talks: talk::Talks,
    shelf: files::Shelf,
    log: log::Calls,
    /// Whether somebody looks at the links.
    links: Switch,
    /// Errands that take their time.
    work: JoinSet<()>,
    jobs: BTreeMap<Job, AbortHandle>,
}

impl Script {
    async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    async fn run(mut self) {
        self.tell(Event::Trying("No daemon was running: starting yours.".into())).await;
        tokio::time::sleep(STEP).await;
        let status = NodeStatus { services: self.node.services.clone(), ..status() };
        self.tell(Event::Connected { identity: identity(), status }).await;
        self.tell(Event::Peers(self.node.peers())).await;
        self.tell(Event::Services(Ok(self.node.services.clone()))).await;
        self.tell(Event::Network(Ok(node::network()))).await;
        self.tell(Event::People(Ok(self.talks.people.clone()))).await;
        self.tell(Event::Conversations(Ok(self.talks.conversations()))).await;
        self.tell(self.shelf.told()).await;
        self.tell(self.log.told()).await;
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let caller = tokio::time::sleep(FIRST_CALL);
        tokio::pin!(caller);
        let mut called = false;
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Dial { target, options }) => self.dial(&target, options, Test::No).await,
                    Some(Command::TestCall { options }) => self.dial("", options, Test::Yes).await,
                    Some(command) => self.aside(command).await,
                    None => return,
                },
                _ = seconds.tick() => self.second().await,
                () = &mut caller, if !called => {
                    called = true;
                    self.ring().await;
                }
            }
        }
    }

    /// What is not about calls.
    async fn aside(&mut self, command: Command) {
        match command {
            Command::Start(job, errand) => self.start(job, errand).await,
            Command::Cancel(job) => {
                self.shelf.cancel(job);
                if let Some(handle) = self.jobs.remove(&job) {
                    handle.abort();
                }
            }
            Command::FollowLinks(state) => {
                self.links = state;
                if state == Switch::On {
                    self.tell(Event::Links(Ok(node::history(unix_ms())))).await;
                }
            }
            _ => {}
        }
    }

    async fn start(&mut self, job: Job, errand: Errand) {
        if let Errand::Talk(talk) = &errand {
            let (news, events) = self.talks.obey(talk);
            self.tell(Event::News(job, news)).await;
            for event in events {
                self.tell(event).await;
            }
            return;
        }
        if let Errand::Files(filing) = &errand {
            for event in self.shelf.obey(job, filing) {
                self.tell(event).await;
            }
            return;
        }
        if let Errand::Log(log) = &errand {
            let (news, events) = self.log.obey(log);
            self.tell(Event::News(job, news)).await;
            for event in events {
                self.tell(event).await;
            }
            return;
        }
        match self.node.obey(&errand) {
            Some(news) => {
                self.tell(Event::News(job, news)).await;
                self.tell(Event::Services(Ok(self.node.services.clone()))).await;
                self.tell(Event::Peers(self.node.peers())).await;
            }
            None => {
                let handle = self.work.spawn(node::work(job, errand, self.events.clone()));
                self.jobs.insert(job, handle);
            }
        }
    }

    async fn second(&mut self) {
        if self.node.tick() {
            self.tell(Event::Services(Ok(self.node.services.clone()))).await;
        }
        self.tell(Event::Peers(self.node.peers())).await;
        for event in self.talks.tick().into_iter().chain(self.shelf.tick()) {
            self.tell(event).await;
        }
        if self.links == Switch::On {
            self.tell(Event::Links(Ok(node::second(unix_ms() / 1000 * 1000)))).await;
        }
        while self.work.try_join_next().is_some() {}
    }

    fn next(&mut self, direction: Direction, kind: CallKind, state: CallState) -> CallInfo {
        self.calls = self.calls.wrapping_add(1);
        call(self.calls, direction, kind, state)
    }

    async fn stage(&self, id: CallId, stage: Stage, at_us: u64) {
        self.tell(Event::Stage(id, StageReport { stage, at_us, detail: String::new() })).await;
        tokio::time::sleep(STEP).await;
    }

    async fn dial(&mut self, target: &str, options: CallOptions, test: Test) {
        let mut info = self.next(Direction::Outgoing, options.kind.unwrap_or(CallKind::Video), CallState::Dialing);
        if test == Test::Yes {
            info.peer_name = "Echo test".into();
        } else if let Some(peer) = peers().into_iter().find(|peer| peer.peer_id.to_string() == target) {
            (info.peer, info.peer_name) = (Some(peer.peer_id), peer.name);
        }
        self.tell(Event::Placed { call: info.id, test }).await;
        self.tell(Event::Call(info.clone())).await;
        self.stage(info.id, Stage::Resolve, 400).await;
        self.stage(info.id, Stage::Dial, 1_900).await;
        if info.peer == Some(peer_id(4)) {
            let mut ending = Ending::by(EndReason::Unreachable);
            ending.failed_stage = Some(Stage::Dial);
            return self.end(info, ending, test).await;
        }
        self.stage(info.id, Stage::Signal, 24_000).await;
        info.state = CallState::Ringing;
        self.tell(Event::Call(info.clone())).await;
        self.stage(info.id, Stage::Ring, 51_000).await;
        self.talk(info, test).await;
    }

    async fn ring(&mut self) {
        let info = self.next(Direction::Incoming, CallKind::Video, CallState::Ringing);
        self.tell(Event::Call(info.clone())).await;
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Answer { options, .. } => {
                    let kind = options.kind.unwrap_or(info.kind);
                    return self.talk(CallInfo { kind, camera: options.camera, ..info }, Test::No).await;
                }
                Command::Decline(_) => return self.end(info, Ending::by(EndReason::Local), Test::No).await,
                _ => {}
            }
        }
    }

    /// From the answer to the end.
    async fn talk(&mut self, mut info: CallInfo, test: Test) {
        info.state = CallState::Connecting;
        self.tell(Event::Call(info.clone())).await;
        for (stage, at) in [(Stage::Accept, 2_210_000), (Stage::Path, 2_259_000), (Stage::FirstPacket, 2_281_000)] {
            self.stage(info.id, stage, at).await;
        }
        info.state = CallState::Active;
        info.since_unix_ms = unix_ms();
        info.path = Some(Path::Direct);
        self.stage(info.id, Stage::FirstFrame, 2_334_000).await;
        self.stage(info.id, Stage::Active, 2_334_000).await;
        self.tell(Event::Call(info.clone())).await;
        let source = TestPicture::new(size());
        let mut pictures = tokio::time::interval(Duration::from_millis(33));
        let mut figures = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = pictures.tick() => {
                    self.pictures += 1;
                    self.remote.put(source.draw(self.pictures, MonoTime::now()));
                }
                _ = figures.tick() => {
                    let seconds = (unix_ms() - info.since_unix_ms) as f64 / 1000.0;
                    self.tell(Event::Stats(info.id, stats(seconds))).await;
                }
                command = self.commands.recv() => match command {
                    None => return,
                    Some(Command::HangUp(_)) => return self.end(info, Ending::by(EndReason::Local), test).await,
                    Some(Command::SetMicrophone(_, state)) => {
                        info.microphone = state;
                        self.tell(Event::Call(info.clone())).await;
                    }
                    Some(Command::SetCamera(_, state)) => {
                        info.camera = state;
                        self.tell(Event::Call(info.clone())).await;
                    }
                    Some(_) => {}
                },
            }
        }
    }

    async fn end(&mut self, mut info: CallInfo, ending: Ending, test: Test) {
        let active = info.state == CallState::Active;
        let seconds = if active { (unix_ms() - info.since_unix_ms) as f64 / 1000.0 } else { 0.0 };
        if test == Test::No {
            self.log.add(&info, &ending, seconds);
        }
        info.state = CallState::Ended;
        info.ending = Some(ending);
        self.tell(Event::Call(info)).await;
        self.tell(self.log.told()).await;
    }
}
