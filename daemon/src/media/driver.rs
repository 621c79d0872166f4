//! The task that owns one session: its str0m instance, its codecs, its paths. Everything of the session happens here, one
//! thing after another; what goes wrong ends this session and no other.

mod flow;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use kith_common::call::{CallStats, Medium, Switch};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::Path;
use kith_core::keyframe::KeyReason;
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::Mid;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Event, Input, Output, Rtc};
use tokio::sync::{mpsc, oneshot, watch};

use super::addresses::path_to;
use super::candidates::Candidates;
use super::control::Control;
use super::figures::Figures;
use super::impair::Datagram;
use super::params::{Candidate, ClockOffset, MAX_CANDIDATES, SessionEvent, SessionSpec, TransportParams};
use super::paths::{Paths, Way, is_relay, relay_address};
use super::pipeline::{MakeCodecs, Pipeline, Unit};
use super::pulse::Pulse;
use super::setup;
use super::socket::{Port, Registration};
use super::stun::{self, Message};
use super::tunnel::{Frame, HEARS_UDP, Tunnel};

/// How often queues, reports and paths are looked at.
const TICK: Duration = Duration::from_millis(25);
/// The same until the first picture is there, so that it is reported when it comes.
const FIRST_TICK: Duration = Duration::from_millis(5);
const STARTING: Duration = Duration::from_secs(2);
/// Packets handled before other tasks get a turn.
const BATCH: usize = 32;
/// A path that is not there by now will not come.
const CONNECT_DEADLINE: Duration = Duration::from_secs(25);
/// When ICE has given UDP up, it is offered again this often.
const RETRY_UDP: Duration = Duration::from_secs(4);
/// How often the tunnel carries a sign of life while UDP is dead.
const TUNNEL_WORD: Duration = Duration::from_millis(200);

pub enum Command {
    Connect(Box<TransportParams>),
    Candidate(Candidate),
    Tunnel(Tunnel),
    TunnelPath(Path),
    Offset(ClockOffset),
    Switch(Medium, Switch),
    PeerVideoDue(u64),
    Close(oneshot::Sender<Box<CallStats>>),
}

/// What a driver is made of.
pub struct Setup {
    pub spec: SessionSpec,
    pub make_codecs: Option<MakeCodecs>,
    pub rtc: Rtc,
    pub port: Arc<Port>,
    pub registration: Registration,
    pub bases: Vec<SocketAddr>,
    pub candidates: Candidates,
    pub start_bps: u64,
    pub packets: mpsc::Receiver<Datagram>,
    pub commands: mpsc::Receiver<Command>,
    pub events: mpsc::Sender<SessionEvent>,
    pub stats: watch::Sender<CallStats>,
    pub captured_before: Arc<AtomicU64>,
    /// Candidates found since `open`.
    pub found: Arc<Mutex<Vec<Candidate>>>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opened,
    Connecting { since: Instant },
    Connected { since: Instant },
    Over,
}

pub struct Driver {
    setup: Setup,
    phase: Phase,
    pulse: Pulse,
    timeout: Instant,
    happened: VecDeque<Event>,
    paths: Paths,
    reported_path: Option<(Path, kith_common::call::Transport)>,
    tunnel: Option<Tunnel>,
    tunnel_word: Option<Instant>,
    udp_retried: Option<Instant>,
    pipeline: Option<Pipeline>,
    control: Control,
    figures: Figures,
    offset: Option<ClockOffset>,
    switches: [Switch; 2],
    first_packet: bool,
    first_frame: bool,
    next_tick: Instant,
    next_figures: Instant,
}

/// Why the task woke.
enum Wake {
    Command(Option<Command>),
    Packet(Option<Datagram>),
    Frame(Option<Frame>),
    Unit(Unit),
    Timer,
    Tick,
}

pub fn mid(medium: Medium) -> Mid {
    match medium {
        Medium::Audio => "a".into(),
        Medium::Video => "v".into(),
    }
}

impl Driver {
    pub fn new(setup: Setup) -> Self {
        let now = Instant::now();
        Self {
            control: Control::new(setup.start_bps, setup.spec.call, setup.spec.role),
            figures: Figures::new(now),
            phase: Phase::Opened,
            pulse: Pulse::default(),
            timeout: now,
            happened: VecDeque::new(),
            // The tunnel runs over the connection that signalling uses: a direct one when it has an address.
            paths: Paths::new(setup.spec.lan_peer.map_or(Path::Relayed, path_to)),
            reported_path: None,
            tunnel: None,
            tunnel_word: None,
            udp_retried: None,
            pipeline: None,
            offset: None,
            switches: [Switch::On; 2],
            first_packet: false,
            first_frame: false,
            next_tick: now,
            next_figures: now + Duration::from_secs(1),
            setup,
        }
    }

    /// Runs until the session is closed or its handle is dropped.
    pub fn spawn(self) {
        let (events, stats) = (self.setup.events.clone(), self.setup.stats.clone());
        let span = tracing::info_span!("media", call = %self.setup.spec.call);
        tokio::spawn(tracing::Instrument::instrument(
            async move {
                // str0m's README advises this: a panic over hostile input must end one session only.
                if AssertUnwindSafe(self.run()).catch_unwind().await.is_err() {
                    tracing::error!("the media session panicked");
                    let failure = Failure::new(FailureKind::Internal, "The media session broke.")
                        .advise("Call again; the log has the details.");
                    let _ = events.try_send(SessionEvent::Failed(failure));
                }
                drop(stats);
            },
            span,
        ));
    }

    async fn run(mut self) {
        loop {
            if let Err(failure) = self.pump() {
                self.fail(failure);
            }
            let reply = match self.wait().await {
                Wake::Command(None) => None,
                Wake::Command(Some(Command::Close(reply))) => Some(reply),
                wake => {
                    if let Err(failure) = self.handle(wake) {
                        self.fail(failure);
                    }
                    continue;
                }
            };
            self.say_goodbye();
            self.publish_figures(Instant::now());
            if let Some(reply) = reply {
                let _ = reply.send(Box::new(self.setup.stats.borrow().clone()));
            }
            return;
        }
    }

    async fn wait(&mut self) -> Wake {
        let Self { setup: Setup { commands, packets, .. }, tunnel, pipeline, next_tick, timeout, phase, .. } = self;
        if *phase == Phase::Over {
            return Wake::Command(commands.recv().await);
        }
        let frame = async {
            match tunnel {
                Some(tunnel) => tunnel.next().await,
                None => std::future::pending().await,
            }
        };
        let unit = async {
            match pipeline {
                Some(pipeline) => pipeline.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            packet = packets.recv() => Wake::Packet(packet),
            frame = frame => Wake::Frame(frame),
            unit = unit => Wake::Unit(unit),
            () = tokio::time::sleep_until((*timeout).into()) => Wake::Timer,
            () = tokio::time::sleep_until((*next_tick).into()) => Wake::Tick,
        }
    }

    fn handle(&mut self, wake: Wake) -> Result<(), Failure> {
        match wake {
            Wake::Command(Some(command)) => self.handle_command(command)?,
            Wake::Command(None) => {}
            Wake::Packet(first) => {
                let mut next = first;
                for _ in 0..BATCH {
                    let Some(packet) = next else { break };
                    self.handle_udp(&packet)?;
                    next = self.setup.packets.try_recv().ok();
                }
            }
            Wake::Frame(Some(frame)) => self.handle_frame(&frame)?,
            Wake::Frame(None) => {
                tracing::debug!("the tunnel has closed");
                self.tunnel = None;
                self.paths.set_tunnel(false);
            }
            Wake::Unit(Unit::Picture(picture)) => self.send_picture(picture)?,
            Wake::Unit(Unit::Sound(sound)) => self.send_sound(sound)?,
            Wake::Unit(Unit::KeyWanted) => self.control.want_key(),
            Wake::Timer => self.input(Input::Timeout(Instant::now()))?,
            Wake::Tick => self.handle_tick()?,
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        tracing::info!(%failure, "the media session has failed");
        self.phase = Phase::Over;
        self.pipeline = None;
        self.tunnel = None;
        self.emit(SessionEvent::Failed(failure));
    }

    fn emit(&self, event: SessionEvent) {
        let _ = self.setup.events.try_send(event);
    }

    fn input(&mut self, input: Input) -> Result<(), Failure> {
        self.setup.rtc.handle_input(input).map_err(|error| setup::failure(&error))?;
        self.pump()
    }

    /// Sends and handles everything that str0m has to say. After every change.
    fn pump(&mut self) -> Result<(), Failure> {
        if self.phase == Phase::Over {
            return Ok(());
        }
        loop {
            loop {
                match self.setup.rtc.poll_output().map_err(|error| setup::failure(&error))? {
                    Output::Timeout(at) => {
                        self.timeout = at;
                        break;
                    }
                    Output::Transmit(transmit) => self.transmit(&transmit),
                    Output::Event(event) => self.happened.push_back(event),
                }
            }
            let Some(event) = self.happened.pop_front() else { return Ok(()) };
            self.handle_event(event);
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let (data, to) = (&transmit.contents[..], transmit.destination);
        let now = Instant::now();
        if stun::is_stun(data) {
            return if is_relay(to) { self.by_tunnel(data, now) } else { self.setup.port.send(data, to) };
        }
        self.control.handle_sent(data.len(), now);
        let way = self.paths.way(to, now);
        if way != Way::Udp {
            self.by_tunnel(data, now);
        }
        if way != Way::Tunnel {
            self.setup.port.send(data, to);
        }
    }

    fn by_tunnel(&mut self, data: &[u8], now: Instant) {
        if let Some(tunnel) = &self.tunnel {
            self.tunnel_word = Some(now);
            tunnel.send(if self.paths.hears_udp(now) { HEARS_UDP } else { 0 }, data);
        }
    }

    fn handle_udp(&mut self, packet: &Datagram) -> Result<(), Failure> {
        if let Some(Message::Success { id, mapped }) = stun::parse(&packet.data)
            && let Some(answer) = self.setup.candidates.handle_answer(id, mapped)
        {
            if let Some(candidate) = answer {
                self.setup.found.lock().unwrap_or_else(PoisonError::into_inner).push(candidate);
                self.emit(SessionEvent::LocalCandidate(candidate));
            }
            return Ok(());
        }
        // Each address that a check reveals is kept by str0m for good, so there must be a limit to them.
        if !self.setup.registration.admits(packet.address) {
            return Ok(());
        }
        let base = self.setup.bases.iter().find(|base| base.is_ipv4() == packet.address.is_ipv4());
        let Some(&base) = base else { return Ok(()) };
        if self.receive(&packet.data, packet.address, base, packet.at)? {
            self.paths.handle_udp(packet.at);
            self.setup.registration.add_source(packet.address);
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        self.paths.handle_tunnel(frame.at);
        self.paths.handle_word(frame.flags & HEARS_UDP != 0, frame.at);
        if frame.packet.is_empty() {
            return Ok(());
        }
        let role = self.setup.spec.role;
        let peer = relay_address(setup::other(role));
        self.receive(&frame.packet, peer, relay_address(role), frame.at).map(|_| ())
    }

    /// Hands a packet to str0m; `false` when it is nothing of this session's.
    fn receive(&mut self, data: &[u8], from: SocketAddr, to: SocketAddr, at: Instant) -> Result<bool, Failure> {
        let Ok(receive) = Receive::new(Protocol::Udp, from, to, data) else { return Ok(false) };
        let input = Input::Receive(at, receive);
        // Checks are signed, so only they may reveal new addresses. The rest is authenticated where it is decrypted.
        if stun::is_stun(data) && !self.setup.rtc.accepts(&input) {
            return Ok(false);
        }
        self.control.handle_received(data.len(), at);
        self.input(input)?;
        Ok(true)
    }

    fn handle_command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Connect(remote) => self.connect(*remote)?,
            Command::Candidate(candidate) => self.add_candidate(candidate),
            Command::Tunnel(tunnel) => {
                self.tunnel = Some(tunnel);
                self.paths.set_tunnel(true);
                setup::add_relay(&mut self.setup.rtc, self.setup.spec.role);
                let now = Instant::now();
                if matches!(self.phase, Phase::Connected { .. }) && !self.paths.hears_udp(now) {
                    self.ask_anew(now);
                }
            }
            Command::TunnelPath(path) => self.paths.set_tunnel_path(path),
            Command::Offset(offset) => {
                self.offset = Some(offset);
                self.figures.set_uncertainty(offset.uncertainty_micros);
            }
            Command::Switch(medium, switch) => {
                self.switches[medium as usize] = switch;
                if let Some(pipeline) = &self.pipeline {
                    pipeline.codecs.set_switch(medium, self.effective(medium));
                }
            }
            Command::PeerVideoDue(pictures) => {
                let due = self.figures.set_peer_due(pictures);
                self.setup.spec.hub.set_video_due(due);
            }
            Command::Close(_) => {}
        }
        Ok(())
    }

    /// Nothing is encoded before it can be sent.
    fn effective(&self, medium: Medium) -> Switch {
        match self.phase {
            Phase::Connected { .. } => self.switches[medium as usize],
            _ => Switch::Off,
        }
    }

    fn connect(&mut self, remote: TransportParams) -> Result<(), Failure> {
        if self.phase != Phase::Opened {
            return Ok(());
        }
        setup::connect(&mut self.setup.rtc, self.setup.spec.call, self.setup.spec.role, &remote)?;
        self.phase = Phase::Connecting { since: Instant::now() };
        for candidate in remote.candidates.into_iter().take(MAX_CANDIDATES) {
            self.add_candidate(candidate);
        }
        let desired = Bitrate::bps(self.control.desired_bps());
        self.setup.rtc.bwe().set_bitrate(Bitrate::ZERO, desired);
        if let Some(make) = self.setup.make_codecs.take() {
            self.pipeline = Some(Pipeline::start(make, self.control.video_target_bps()));
        }
        Ok(())
    }

    fn add_candidate(&mut self, candidate: Candidate) {
        let Setup { rtc, port, registration, candidates, .. } = &mut self.setup;
        candidates.add_remote(candidate, rtc, port, registration);
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.handle_connected(),
            Event::MediaData(data) => self.handle_media(data),
            Event::KeyframeRequest(_) => {
                if let Some(pipeline) = &self.pipeline {
                    pipeline.codecs.request_key(KeyReason::Requested);
                }
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.control.handle_estimate(estimate.as_u64(), Instant::now());
            }
            Event::PeerStats(peer) => {
                let pair = peer.selected_candidate_pair.as_ref().and_then(|pair| pair.current_round_trip_time);
                // That of the checks first: reports wait for their turn, which RTCP's own figure contains in part.
                self.control.handle_rtt(pair.or(peer.rtt));
                self.figures.handle_peer(pair.or(peer.rtt), peer.egress_loss_fraction);
                let loss = f64::from(peer.egress_loss_fraction.unwrap_or(0.0));
                self.control.handle_loss(loss, Instant::now());
                if let Some(pipeline) = &self.pipeline {
                    pipeline.codecs.set_loss(self.figures.loss());
                }
            }
            Event::AppSpecificFeedback(feedback) => {
                let now = Instant::now();
                if let Some(hears) = self.control.handle_report(&feedback.payload, now) {
                    self.paths.handle_word(hears, now);
                }
            }
            other => tracing::trace!(?other, "event"),
        }
    }

    fn handle_connected(&mut self) {
        if matches!(self.phase, Phase::Connected { .. } | Phase::Over) {
            return;
        }
        self.phase = Phase::Connected { since: Instant::now() };
        self.udp_retried = Some(Instant::now());
        self.setup.captured_before.store(self.setup.spec.hub.video_captured(), Ordering::Release);
        self.figures.start(Instant::now());
        for medium in [Medium::Audio, Medium::Video] {
            if let Some(pipeline) = &self.pipeline {
                pipeline.codecs.set_switch(medium, self.effective(medium));
            }
        }
        if let Some(pipeline) = &self.pipeline {
            pipeline.codecs.request_key(KeyReason::Start);
        }
        self.report_path();
    }

    fn report_path(&mut self) {
        let Phase::Connected { .. } = self.phase else { return };
        let current = self.paths.current();
        if let Some((path, transport)) = current
            && current != self.reported_path
        {
            self.reported_path = current;
            tracing::info!(?path, ?transport, "media path");
            self.figures.set_path(path, transport);
            self.emit(SessionEvent::Path { path, transport });
        }
    }

    fn handle_tick(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let starting =
            matches!(self.phase, Phase::Connected { since } if now.saturating_duration_since(since) < STARTING);
        self.next_tick = now + if starting && !self.first_frame { FIRST_TICK } else { TICK };
        self.setup.candidates.ask(&self.setup.port, &mut self.setup.registration, now);
        if let Phase::Connecting { since } = self.phase
            && now.saturating_duration_since(since) > CONNECT_DEADLINE
        {
            return Err(Failure::new(
                FailureKind::Unreachable,
                "No way for sound and picture to the other side was found.",
            )
            .advise("Check that UDP is not blocked on either side, or call again when a relay is reachable."));
        }
        if let Phase::Connected { since } = self.phase {
            self.tick_connected(now, since)?;
        }
        if now >= self.next_figures {
            self.next_figures += Duration::from_secs(1);
            self.publish_figures(now);
        }
        Ok(())
    }

    fn tick_connected(&mut self, now: Instant, since: Instant) -> Result<(), Failure> {
        self.control.tick(&mut self.setup.rtc, self.paths.hears_udp(now), now);
        self.pump()?;
        if let Some(pipeline) = &self.pipeline {
            pipeline.codecs.set_target(self.control.video_target_bps());
            pipeline.codecs.set_queue_age(self.control.effective_age(now));
            if !self.first_frame && pipeline.has_output(self.setup.spec.kind, now.saturating_duration_since(since)) {
                self.first_frame = true;
                self.emit(SessionEvent::FirstFrame);
            }
        }
        let degraded = self.paths.using_tunnel() || !self.paths.hears_udp(now);
        let silent = self.tunnel_word.is_none_or(|at| now.saturating_duration_since(at) >= TUNNEL_WORD);
        if degraded && silent {
            self.by_tunnel(&[], now);
        }
        self.offer_udp_again(now);
        self.report_path();
        let heard = self.paths.heard_any().map_or(since, |at| at.max(since));
        if let Some(event) = self.pulse.handle(heard, now) {
            self.emit(event);
        }
        self.pump()
    }

    /// ICE drops the pairs of a path that was dead for long; when it has moved to the tunnel, UDP is offered afresh.
    fn offer_udp_again(&mut self, now: Instant) {
        let retried = self.udp_retried.is_some_and(|at| now.saturating_duration_since(at) < RETRY_UDP);
        let silent = self.paths.udp_silence(now).is_none_or(|silence| silence >= RETRY_UDP);
        if self.paths.nominated_is_relay() && silent && !retried {
            self.udp_retried = Some(now);
            setup::offer_again(&mut self.setup.rtc, &self.setup.bases);
            self.ask_anew(now);
        }
    }

    /// UDP may be gone because one of the two machines has another address than before.
    fn ask_anew(&mut self, now: Instant) {
        let Setup { candidates, registration, .. } = &mut self.setup;
        candidates.ask_anew(registration, now);
    }

    fn publish_figures(&mut self, now: Instant) {
        let Phase::Connected { .. } = self.phase else { return };
        let Some(pipeline) = &self.pipeline else { return };
        let stats = self.figures.assemble(&self.setup.spec.hub, pipeline, self.control.estimate_bps(), now);
        self.setup.stats.send_replace(stats);
    }

    fn say_goodbye(&mut self) {
        if !matches!(self.phase, Phase::Connected { .. }) {
            return;
        }
        if self.setup.rtc.close().is_ok() {
            // Best effort: the peer learns of the end by signalling.
            let _ = self.pump();
        }
    }
}
