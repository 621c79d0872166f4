//! The task that owns the calls: it tells the [`CallBook`] what happens and does what the book says (`acts.rs`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::call::{CallKind, CallOptions, Direction, Medium, Switch};
use kith_common::clock::MonoTime;
use kith_common::contact::{Contact, People, Trust};
use kith_common::failure::Failure;
use kith_common::ids::{CallId, PeerId};
use kith_common::media::VideoFormat;
use kith_common::node::Path;
use kith_common::target::Target;
use kith_core::call::{BookConfig, CallBook, LinkId, MediaEvent, Signal, Standing};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::handle::{CallHandle, Command, Directory, Publish, first_info};
use super::link::{self, Link};
use super::live::Live;
use super::log::CallLog;
use super::ports::{Engine, MediaSession, Network};
use super::wire::{Body, Message};
use super::{AutoAnswer, CallPolicy, Echo, Strangers};
use crate::contacts::Knock;
use crate::media::{Candidate, MediaListeners, SessionEvent, TransportParams};
use crate::net::{Incoming, Stream};

/// What the tasks around report; a peer that floods is read no faster than this drains.
const EVENT_QUEUE: usize = 256;
/// Signalling streams at once: those of 16 calls, and as many again that are being refused or replaced.
const MAX_LINKS: usize = 64;
/// Ended calls that clients can still look at.
pub(super) const KEPT_ENDED: usize = 32;
/// A tunnel says at once which call it is for.
const TUNNEL_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that have not said it yet.
const MAX_TUNNELS_WAITING: usize = 16;
/// How long shutting down waits for peers to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// What comes back from the tasks that this one starts.
pub(super) enum Event<S> {
    Connected { call: CallId, outcome: Result<PeerId, Failure> },
    LinkOpened { call: CallId, peer: PeerId, outcome: Result<Stream, Failure> },
    LinkLost { link: LinkId },
    Message { link: LinkId, peer: PeerId, message: Message, received: MonoTime },
    MediaOpened { call: CallId, attempt: u64, outcome: Result<S, Failure> },
    Media { call: CallId, attempt: u64, event: SessionEvent },
    Format { call: CallId, format: Option<VideoFormat> },
    Tunnel { peer: PeerId, wire: CallId, stream: Stream },
    TunnelOpened { call: CallId, attempt: u64, stream: Stream },
}

/// Somebody waits for the end.
struct Stopping {
    reply: oneshot::Sender<()>,
    deadline: Instant,
}

pub(super) struct Task<N: Network, E: Engine> {
    pub net: N,
    pub engine: E,
    pub listeners: watch::Receiver<MediaListeners>,
    pub policy: CallPolicy,
    /// Who calls, and what they may do.
    pub people: watch::Receiver<Arc<People>>,
    /// Who hears of strangers that were not let ring.
    pub knocks: mpsc::Sender<Knock>,
    pub log: CallLog,
    pub book: CallBook,
    pub live: HashMap<CallId, Live<E::Session>>,
    /// The publishers of calls that have ended, so that their last state stays to be seen.
    pub ended: VecDeque<(u64, Publish)>,
    pub links: HashMap<LinkId, Link>,
    pub link_tasks: JoinSet<()>,
    /// Closing sessions, last words on streams of their own, and rows on their way into the log.
    pub closing: JoinSet<()>,
    pub events: mpsc::Sender<Event<E::Session>>,
    pub commands: mpsc::WeakSender<Command>,
    pub directory: watch::Sender<Directory>,
    /// The media path of the newest offer, until the call it belongs to asks for it.
    pub offered: Option<(PeerId, CallId, TransportParams)>,
    /// Counts calls.
    next_age: u64,
    /// Counts streams.
    next_link: u64,
    tunnels_waiting: JoinSet<()>,
    stopping: Option<Stopping>,
}

/// The book's time; in tests it is the test's.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<N: Network, E: Engine> Task<N, E> {
    pub fn start(
        net: N,
        incoming: Incoming,
        engine: E,
        (policy, people, knocks, log): (CallPolicy, watch::Receiver<Arc<People>>, mpsc::Sender<Knock>, CallLog),
        (commands, inbox): (mpsc::WeakSender<Command>, mpsc::Receiver<Command>),
        directory: watch::Sender<Directory>,
    ) -> impl Future<Output = ()> + Send {
        let (events, news) = mpsc::channel(EVENT_QUEUE);
        let task = Self {
            book: CallBook::new(BookConfig {
                local: net.peer_id(),
                max_calls: policy.max_calls,
                encoder: policy.encoder,
            }),
            net,
            listeners: engine.listeners(),
            engine,
            policy,
            people,
            knocks,
            log,
            live: HashMap::new(),
            ended: VecDeque::new(),
            links: HashMap::new(),
            link_tasks: JoinSet::new(),
            closing: JoinSet::new(),
            events,
            commands,
            directory,
            offered: None,
            next_age: 0,
            next_link: 0,
            tunnels_waiting: JoinSet::new(),
            stopping: None,
        };
        task.run(inbox, news, incoming)
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<Event<E::Session>>,
        mut incoming: Incoming,
    ) {
        self.services_changed();
        let (mut network_gone, mut media_gone) = (false, false);
        loop {
            let wake = self.next_wake().map(tokio::time::Instant::from_std);
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    // Nobody is left who could ask for anything.
                    None => return,
                },
                Some(event) = events.recv() => self.handle_event(event),
                signal = incoming.signals.recv(), if !network_gone => match signal {
                    Some((peer, stream)) => { self.take_stream(peer, stream); }
                    None => network_gone = true,
                },
                Some((peer, stream)) = incoming.tunnels.recv(), if !network_gone => self.take_tunnel(peer, stream),
                changed = self.listeners.changed(), if !media_gone => {
                    media_gone = changed.is_err();
                    self.services_changed();
                }
                Some(_) = self.link_tasks.join_next() => {}
                Some(_) = self.closing.join_next() => {}
                Some(_) = self.tunnels_waiting.join_next() => {}
                () = sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {}
            }
            let now = now();
            if self.book.poll_timeout().is_some_and(|at| at <= now) {
                self.book.handle_timeout(now);
            }
            self.beat(now);
            self.act();
            if let Some(stopping) = self
                .stopping
                .take_if(|stopping| now >= stopping.deadline || (self.link_tasks.is_empty() && self.closing.is_empty()))
            {
                let _ = stopping.reply.send(());
                return;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let beats = self.live.values().map(Live::next_due).min();
        let stopping = self.stopping.as_ref().map(|stopping| stopping.deadline);
        [self.book.poll_timeout(), beats, stopping].into_iter().flatten().min()
    }

    // ---- what clients ask

    fn handle_command(&mut self, command: Command) {
        // Who stopped a service and then calls means what is so now.
        if self.listeners.has_changed().unwrap_or(false) {
            self.services_changed();
        }
        match command {
            Command::Dial { handle, publish, target, options } => self.dial(handle, publish, target, options),
            Command::Answer { id, options, reply } => {
                let _ = reply.send(self.book.answer(id, options, now()));
            }
            Command::Decline { id, reply } | Command::HangUp { id, reply } => {
                self.book.hang_up(id, now());
                let _ = reply.send(());
            }
            Command::SetSwitch { id, medium, state, reply } => {
                if let Some(live) = self.live.get_mut(&id) {
                    live.camera_chosen |= medium == Medium::Video;
                }
                self.book.set_switch(id, medium, state);
                let _ = reply.send(());
            }
            Command::SetAutoAnswer(whose) => self.policy.auto_answer = whose,
            Command::SetStrangers(strangers) => self.policy.strangers = strangers,
            Command::Alive { reply } => _ = reply.send(()),
            Command::Shutdown { reply } => {
                self.book.hang_up_all(now());
                self.stopping = Some(Stopping { reply, deadline: now() + FAREWELL });
            }
        }
    }

    fn dial(&mut self, handle: CallHandle, publish: Publish, target: Target, options: CallOptions) {
        let (id, now) = (handle.id, now());
        let (peer, known) = match &target {
            Target::Ticket(ticket) => (Some(ticket.peer), "from the ticket"),
            Target::Peer(peer) => (Some(*peer), ""),
            Target::Address(_) | Target::Ip { .. } => (None, "an address"),
        };
        self.enter(handle, publish);
        if let Some(live) = self.live.get_mut(&id) {
            live.dialed = Some(target.clone());
            live.target = Some(target);
            live.logged = options.log;
        }
        self.book.dial(id, peer, options, now);
        if !known.is_empty() {
            self.book.handle_resolved(id, known, now);
        }
    }

    /// A call begins: clients can see it from now on.
    fn enter(&mut self, handle: CallHandle, publish: Publish) {
        let (id, hub, age) = (handle.id, handle.hub.clone(), self.next_age);
        self.next_age += 1;
        self.directory.send_modify(|directory| {
            Arc::make_mut(directory).insert(age, handle);
        });
        let span = tracing::info_span!("call", %id);
        let mut live = Live::new(age, hub.clone(), publish, span, now());
        let events = self.events.clone();
        live.keep(tokio::spawn(async move {
            let mut formats = hub.video_format();
            while formats.changed().await.is_ok() {
                let format = *formats.borrow_and_update();
                if events.send(Event::Format { call: id, format }).await.is_err() {
                    return;
                }
            }
        }));
        self.live.insert(id, live);
    }

    /// Somebody calls.
    pub fn enter_incoming(&mut self, id: CallId) {
        let Some((kind, peer)) = self.book.get(id).map(|call| (call.kind, call.peer)) else { return };
        // Without a sender every handle is gone, and with them whoever could see the call.
        let Some(commands) = self.commands.upgrade() else { return };
        let (handle, publish) = CallHandle::new(first_info(id, Direction::Incoming, kind), commands);
        self.enter(handle, publish);
        let unattended = peer.is_some_and(|peer| self.standing(peer) == Standing::AutoAnswer);
        if let Some(live) = self.live.get_mut(&id) {
            live.unattended = unattended;
            live.span.in_scope(|| tracing::info!(?kind, "a call comes in"));
        }
    }

    fn standing(&self, peer: PeerId) -> Standing {
        let trust = self.contact(peer, |contact| contact.calls);
        let by_a_person = match (trust, self.policy.strangers) {
            (Some(_), _) => Standing::Ring,
            (None, Strangers::Ring) => Standing::Stranger,
            (None, Strangers::Request) => Standing::Request,
        };
        match (self.policy.echo, self.policy.auto_answer, trust) {
            (_, _, Some(Trust::Never)) => Standing::Blocked,
            (Echo::On, _, _) | (_, AutoAnswer::Always, _) | (_, AutoAnswer::Contacts, Some(Trust::Always)) => {
                Standing::AutoAnswer
            }
            (Echo::Off, AutoAnswer::Never | AutoAnswer::Contacts, _) => by_a_person,
        }
    }

    fn contact<T>(&self, peer: PeerId, look: impl FnOnce(&Contact) -> T) -> Option<T> {
        self.people.borrow().contacts.iter().find(|contact| contact.peer_id == peer).map(look)
    }

    /// What this node's user calls the peer, or what it calls itself.
    pub fn name_of(&self, peer: PeerId) -> String {
        self.contact(peer, |contact| contact.name.clone()).unwrap_or_else(|| self.net.facts(peer).name)
    }

    // ---- what the tasks around report

    fn handle_event(&mut self, event: Event<E::Session>) {
        let now = now();
        match event {
            Event::Connected { call, outcome: Ok(peer) } => {
                let detail = self.net.facts(peer).detail;
                self.book.handle_connected(call, peer, detail, now);
            }
            Event::Connected { call, outcome: Err(failure) } => self.book.handle_connect_failed(call, &failure, now),
            Event::LinkOpened { call, peer, outcome: Ok(stream) } => {
                if let Some(link) = self.take_stream(peer, stream) {
                    self.book.handle_link_open(call, link, now);
                }
            }
            Event::LinkOpened { call, outcome: Err(failure), .. } => self.book.handle_link_failed(call, &failure, now),
            Event::LinkLost { link } => {
                self.links.remove(&link);
                self.book.handle_link_lost(link, now);
            }
            Event::Message { link, peer, message, received } => {
                self.handle_message(link, peer, message, received);
                self.act();
                // A stream that belongs to no call by now was opened for nothing.
                if !self.book.iter().any(|call| call.link == Some(link)) {
                    self.links.remove(&link);
                }
            }
            Event::MediaOpened { call, attempt, outcome } => self.handle_media_opened(call, attempt, outcome),
            Event::Media { call, attempt, event } => {
                if self.live.get(&call).is_some_and(|live| live.attempt == attempt) {
                    self.handle_media(call, event);
                }
            }
            Event::Format { call, format } => self.handle_format(call, format),
            Event::Tunnel { peer, wire, stream } => {
                let call = self.book.find(peer, wire).and_then(|id| self.live.get(&id));
                if let Some(session) = call.filter(|live| live.beat.is_some()).and_then(|live| live.session.as_ref()) {
                    attach_tunnel(&**session, stream, self.net.facts(peer).tunnel_path);
                }
            }
            Event::TunnelOpened { call, attempt, stream } => {
                let peer = self.book.get(call).and_then(|call| call.peer);
                let path = peer.and_then(|peer| self.net.facts(peer).tunnel_path);
                let live = self.live.get(&call).filter(|live| live.attempt == attempt);
                if let Some(session) = live.and_then(|live| live.session.as_ref()) {
                    attach_tunnel(&**session, stream, path);
                }
            }
        }
    }

    fn take_stream(&mut self, peer: PeerId, stream: Stream) -> Option<LinkId> {
        if self.links.len() >= MAX_LINKS || self.link_tasks.len() >= 2 * MAX_LINKS {
            tracing::warn!("too many signalling streams at once: one is refused");
            return None;
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let (link, serving) = link::serve(id, peer, stream, self.events.clone());
        self.links.insert(id, link);
        self.link_tasks.spawn(serving);
        Some(id)
    }

    fn take_tunnel(&mut self, peer: PeerId, mut stream: Stream) {
        if self.tunnels_waiting.len() >= MAX_TUNNELS_WAITING {
            return;
        }
        let events = self.events.clone();
        self.tunnels_waiting.spawn(async move {
            let mut id = [0; 16];
            if let Ok(Ok(_)) = timeout(TUNNEL_HELLO_TIMEOUT, stream.read_exact(&mut id)).await {
                let _ = events.send(Event::Tunnel { peer, wire: CallId::from_bytes(id), stream }).await;
            }
        });
    }

    fn handle_message(&mut self, link: LinkId, peer: PeerId, message: Message, received: MonoTime) {
        let Message { wire, body } = message;
        let id = self.book.find(peer, wire);
        let (signal, transport, video_due) = match body {
            Body::Signal { signal, transport, video_due } => (signal, transport, video_due),
            other => {
                if let Some(id) = id {
                    self.book.handle_heard(id, now());
                    self.handle_beside(id, link, wire, other, received);
                }
                return;
            }
        };
        match (id.and_then(|id| self.live.get_mut(&id)), transport) {
            (Some(live), Some(transport)) if matches!(signal, Signal::Accept { .. }) => live.remote = Some(transport),
            (None, Some(transport)) if matches!(signal, Signal::Offer { .. }) => {
                self.offered = Some((peer, wire, transport));
            }
            _ => {}
        }
        if let (Some(live), Some(pictures)) = (id.and_then(|id| self.live.get_mut(&id)), video_due) {
            live.handle_video_due(pictures);
        }
        let standing = self.standing(peer);
        self.book.handle_signal(link, peer, wire, signal, standing, now());
    }

    /// Messages that decide nothing.
    fn handle_beside(&mut self, id: CallId, link: LinkId, wire: CallId, body: Body, received: MonoTime) {
        let Some(live) = self.live.get_mut(&id) else { return };
        match body {
            Body::Candidate(candidate) => live.add_candidate(candidate),
            Body::Ping { sent } => {
                let pong = Body::Pong { ping_sent: sent, received, sent: MonoTime::now() };
                self.say(link, &Message { wire, body: pong });
            }
            Body::Pong { ping_sent, received: there, sent } => live.handle_pong(ping_sent, there, sent, received),
            Body::Signal { .. } | Body::Unknown => {}
        }
    }

    fn handle_media_opened(&mut self, id: CallId, attempt: u64, outcome: Result<E::Session, Failure>) {
        let Some(live) = self.live.get_mut(&id).filter(|live| live.attempt == attempt) else { return };
        match outcome {
            Ok(mut session) => {
                let mut news = session.events();
                let events = self.events.clone();
                live.keep_with_session(tokio::spawn(async move {
                    while let Some(event) = news.recv().await {
                        if events.send(Event::Media { call: id, attempt, event }).await.is_err() {
                            return;
                        }
                    }
                }));
                if let Some(call) = self.book.get(id) {
                    session.set_switch(Medium::Audio, call.local.microphone);
                    session.set_switch(Medium::Video, call.local.camera);
                }
                live.session = Some(Arc::new(session));
                self.book.handle_media_open(id, now());
            }
            Err(failure) => self.book.handle_media_failed(id, &failure, now()),
        }
    }

    fn handle_media(&mut self, id: CallId, event: SessionEvent) {
        match event {
            SessionEvent::Stalled => self.media_stalled(id, true),
            SessionEvent::Resumed => self.media_stalled(id, false),
            _ => {}
        }
        let event = match event {
            SessionEvent::Path { path, transport } => MediaEvent::Path { path, transport },
            SessionEvent::FirstPacket => MediaEvent::FirstPacket,
            SessionEvent::FirstFrame => MediaEvent::FirstFrame,
            SessionEvent::Stalled => MediaEvent::Stalled,
            SessionEvent::Resumed => MediaEvent::Resumed,
            SessionEvent::Lost => MediaEvent::Lost,
            SessionEvent::Failed(failure) => MediaEvent::Failed(failure),
            SessionEvent::LocalCandidate(candidate) => {
                self.tell_candidate(id, candidate);
                return;
            }
        };
        self.book.handle_media(id, event, now());
    }

    /// The peer hears of an address that was found late; before the offer or the accept it goes along with that.
    fn tell_candidate(&mut self, id: CallId, candidate: Candidate) {
        let (Some(call), Some(live)) = (self.book.get(id), self.live.get_mut(&id)) else { return };
        live.keep_candidate(candidate);
        if let Some(link) = call.link.filter(|_| call.has_told_transport()) {
            let wire = call.wire;
            self.say(link, &Message { wire, body: Body::Candidate(candidate) });
        }
    }

    fn handle_format(&mut self, id: CallId, format: Option<VideoFormat>) {
        self.book.set_local_format(id, format);
        // In a voice call a picture source is how a camera is switched on, until somebody uses the switch itself.
        let voice = self.book.get(id).is_some_and(|call| call.kind == CallKind::Voice);
        if voice && format.is_some() && self.live.get(&id).is_some_and(|live| !live.camera_chosen) {
            self.book.set_switch(id, Medium::Video, Switch::On);
        }
    }

    // ---- what happens by itself

    fn beat(&mut self, now: Instant) {
        let ids: Vec<CallId> = self.live.iter().filter(|(_, live)| live.next_due() <= now).map(|(id, _)| *id).collect();
        for id in ids {
            self.beat_one(id, now);
        }
    }

    fn beat_one(&mut self, id: CallId, now: Instant) {
        let name = self.book.get(id).and_then(|call| call.peer).map(|peer| self.name_of(peer));
        let (Some(call), Some(live)) = (self.book.get(id), self.live.get_mut(&id)) else { return };
        if live.take_refresh(now)
            && let Some(name) = name
        {
            live.show(call, &name, now);
        }
        let Some(beat) = &mut live.beat else { return };
        let due = beat.take_due(now);
        let pictures = live.session.as_ref().map(|session| session.video_due());
        if due.media {
            self.doubt(id);
        }
        let (Some(link), wire) = (call.link, call.wire) else { return };
        let state = Signal::Media(call.local);
        if due.ping {
            self.say(link, &Message { wire, body: Body::Ping { sent: MonoTime::now() } });
        }
        if due.media {
            let body = Body::Signal { signal: state, transport: None, video_due: pictures };
            self.say(link, &Message { wire, body });
        }
    }

    /// Writes on a stream. One whose peer does not read is given up.
    pub fn say(&mut self, link: LinkId, message: &Message) {
        if let Some(writer) = self.links.get(&link)
            && writer.send(message).is_err()
        {
            self.links.remove(&link);
            self.book.handle_link_lost(link, now());
        }
    }
}

/// Media over the tunnel goes the way of the connection that carries it.
fn attach_tunnel(session: &impl MediaSession, stream: Stream, path: Option<Path>) {
    if let Some(path) = path {
        session.set_tunnel_path(path);
    }
    session.attach_tunnel(stream);
}

/// For [`Task::directory`].
pub(super) fn forget(directory: &watch::Sender<Directory>, age: u64) {
    directory.send_modify(|directory: &mut Arc<BTreeMap<u64, CallHandle>>| {
        Arc::make_mut(directory).remove(&age);
    });
}
