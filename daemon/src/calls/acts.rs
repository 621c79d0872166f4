//! Doing what the [`CallBook`](kith_core::call::CallBook) says: streams, sessions, messages, and what clients are shown.

use std::time::Duration;

use kith_common::call::{CallKind, CallRecord, CallState, EncoderChoice, Medium, StageReport, Switch};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::{CallId, PeerId};
use kith_core::call::{Action, Call, LinkId, Signal, WireRole};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::fallback::Fallback;
use super::live::{self, Live};
use super::log::{self, Beside};
use super::ports::{Engine, MediaSession, Network};
use super::task::{Event, KEPT_ENDED, Task, forget, now};
use super::wire::{self, Body, Message};
use super::{Echo, sources};
use crate::contacts::Knock;
use crate::media::{Role, SessionSpec};

/// Opening a signalling stream on a connection that stands.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A last word on a stream of its own.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);
/// Last words and notes under way; a node has no more to say at once.
const MAX_LAST_WORDS: usize = 32;
/// A session that does not close by then is dropped as it is.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl<N: Network, E: Engine> Task<N, E> {
    /// Does all that the book has to say.
    pub fn act(&mut self) {
        while let Some(action) = self.book.poll_action() {
            match action {
                Action::Connect { call } => self.connect(call),
                Action::OpenLink { call, peer } => self.open_link(call, peer),
                Action::OpenMedia { call, wire, kind, role, encoder } => {
                    self.open_media(call, wire, kind, role, encoder);
                }
                Action::Send { link, peer, wire, signal } => self.send(link, peer, wire, signal),
                // The writer closes the stream when all is written.
                Action::CloseLink { link } => drop(self.links.remove(&link)),
                Action::ConnectMedia { call } => self.connect_media(call),
                Action::Switch { call, medium, state } => self.switch(call, medium, state),
                Action::New { call } => self.enter_incoming(call),
                Action::TurnedAway { peer, wire, kind } => self.note_turned_away(wire, peer, kind),
                Action::Noted { peer, kind } => self.knock(peer, kind),
                Action::Stage { call, report } => self.show_stage(call, report),
                Action::Changed { call } => self.show(call),
                Action::Ended { call } => self.finish(*call),
            }
        }
    }

    fn connect(&mut self, id: CallId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(target) = live.target.take() else { return };
        let (net, events) = (self.net.clone(), self.events.clone());
        live.keep(tokio::spawn(async move {
            let outcome = net.connect(target).await;
            let _ = events.send(Event::Connected { call: id, outcome }).await;
        }));
    }

    fn open_link(&mut self, id: CallId, peer: PeerId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let (net, events) = (self.net.clone(), self.events.clone());
        live.keep(tokio::spawn(async move {
            let late = || Failure::new(FailureKind::TimedOut, "the other machine did not open the signalling stream");
            let outcome = timeout(OPEN_TIMEOUT, net.open_signal(peer)).await.unwrap_or_else(|_| Err(late()));
            let _ = events.send(Event::LinkOpened { call: id, peer, outcome }).await;
        }));
    }

    fn open_media(&mut self, id: CallId, wire: CallId, kind: CallKind, role: WireRole, encoder: EncoderChoice) {
        let peer = self.book.get(id).and_then(|call| call.peer);
        let lan_peer = peer.and_then(|peer| self.net.facts(peer).ip);
        let Some(live) = self.live.get_mut(&id) else { return };
        if let Some((_, _, transport)) = self.offered.take_if(|(by, of, _)| Some(*by) == peer && *of == wire) {
            live.remote = Some(transport);
        }
        if let Some(old) = live.next_attempt() {
            self.closing.spawn(async move {
                let _ = timeout(CLOSE_TIMEOUT, old.close()).await;
            });
        }
        let role = match role {
            WireRole::Caller => Role::Caller,
            WireRole::Callee => Role::Callee,
        };
        let spec = SessionSpec { call: wire, kind, role, hub: live.hub.clone(), encoder, lan_peer };
        let (engine, events, attempt) = (self.engine.clone(), self.events.clone(), live.attempt);
        live.keep_with_session(tokio::spawn(async move {
            let outcome = engine.open(spec).await;
            let _ = events.send(Event::MediaOpened { call: id, attempt, outcome }).await;
        }));
    }

    fn send(&mut self, link: Option<LinkId>, peer: PeerId, wire: CallId, signal: Signal) {
        let live = self.book.find(peer, wire).and_then(|id| self.live.get(&id));
        let session = live.and_then(|live| live.session.as_ref());
        let with_transport = matches!(signal, Signal::Offer { .. } | Signal::Accept { .. });
        let transport = live.filter(|_| with_transport).and_then(Live::transport);
        if with_transport && transport.is_none() {
            // The session ended in this very moment, and its call with it.
            return;
        }
        let video_due = session.map(|session| session.video_due());
        let message = Message { wire, body: Body::Signal { signal: signal.clone(), transport, video_due } };
        match link {
            Some(link) => self.say(link, &message),
            None if is_last_word(&signal) => self.say_last(peer, message),
            // The stream is being opened again; the state is told then.
            None => {}
        }
    }

    /// An end must get through also when the call's stream is lost.
    fn say_last(&mut self, peer: PeerId, message: Message) {
        if self.closing.len() >= MAX_LAST_WORDS {
            return;
        }
        let net = self.net.clone();
        self.closing.spawn(async move {
            let saying = async {
                let mut stream = net.open_signal(peer).await.ok()?;
                stream.write_all(&wire::encode(&message)).await.ok()?;
                stream.shutdown().await.ok()
            };
            let _ = timeout(LAST_WORD_TIMEOUT, saying).await;
        });
    }

    fn connect_media(&mut self, id: CallId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some((session, remote)) = live.connect(now()) else {
            let lost = Failure::new(FailureKind::Internal, "the media session of the call is gone")
                .advise("Call again; if it happens again, look at the daemon's log.");
            self.book.handle_broken(id, &lost, now());
            return;
        };
        let Some((call, peer)) = self.book.get(id).and_then(|call| Some((call, call.peer?))) else { return };
        if call.wire_role() == WireRole::Caller && remote.tunnel && session.local().tunnel {
            self.keep_tunnel(id, peer);
        }
        self.start_sources(id);
    }

    /// Keeps a reliable stream to the peer beside the call, for when UDP does not pass.
    fn keep_tunnel(&mut self, id: CallId, peer: PeerId) {
        let (Some(live), Some(call)) = (self.live.get_mut(&id), self.book.get(id)) else { return };
        let fallback = Fallback {
            net: self.net.clone(),
            peer,
            call: id,
            wire: call.wire,
            attempt: live.attempt,
            stalled: live.stalled.subscribe(),
            events: self.events.clone(),
        };
        live.keep_with_session(tokio::spawn(fallback.keep()));
    }

    /// A call that no person answered has nobody to send anything: the daemon does.
    fn start_sources(&mut self, id: CallId) {
        let (Some(call), Some(live)) = (self.book.get(id), self.live.get_mut(&id)) else { return };
        if !live.unattended || std::mem::replace(&mut live.sources_started, true) {
            return;
        }
        let hub = live.hub.clone();
        match self.policy.echo {
            Echo::On => {
                let info = live.publish.info.subscribe();
                live.keep(tokio::spawn(sources::echo_sound(hub.clone())));
                live.keep(tokio::spawn(sources::echo_pictures(hub, info)));
            }
            Echo::Off => {
                live.keep(tokio::spawn(sources::test_sound(hub.clone())));
                if call.kind == CallKind::Video {
                    live.keep(tokio::spawn(sources::test_pictures(hub)));
                }
            }
        }
    }

    fn switch(&mut self, id: CallId, medium: Medium, state: Switch) {
        if let Some(session) = self.live.get(&id).and_then(|live| live.session.as_ref()) {
            session.set_switch(medium, state);
        }
    }

    // ---- what clients are shown

    fn show_stage(&mut self, id: CallId, report: StageReport) {
        if let Some(live) = self.live.get(&id) {
            live.span
                .in_scope(|| tracing::info!(stage = ?report.stage, at_ms = report.at_us / 1000, "a stage is reached"));
            live.publish.stages.send_modify(|stages| stages.push(report));
        }
    }

    fn show(&mut self, id: CallId) {
        let name = self.book.get(id).and_then(|call| call.peer).map(|peer| self.name_of(peer)).unwrap_or_default();
        let (Some(call), Some(live)) = (self.book.get(id), self.live.get_mut(&id)) else { return };
        live.show(call, &name, now());
        if call.state() == CallState::Active && !std::mem::replace(&mut live.stats_started, true) {
            start_stats(live);
        }
    }

    /// Frees all that the call held; its last figures are shown before its end is.
    fn finish(&mut self, call: Call) {
        let Some(mut live) = self.live.remove(&call.id) else { return };
        if let Some(ending) = &call.ending {
            let (reason, stage) = (ending.reason, ending.failed_stage);
            live.span.in_scope(|| {
                tracing::info!(?reason, ?stage, "the call ends");
                tracing::debug!("because: {}", ending.detail);
            });
        }
        // An incoming call that ends because the person called back hands its media path on.
        if call.joined.is_some()
            && let (Some(peer), Some(transport)) = (call.peer, live.remote.take())
        {
            self.offered = Some((peer, call.wire, transport));
        }
        let name = call.peer.map(|peer| self.name_of(peer)).unwrap_or_default();
        let age = live.age;
        let record = self.record(&call, &mut live, &name);
        live.tasks.clear();
        live.session_tasks.clear();
        let (session, hub, connected) = (live.session.take(), live.hub.clone(), live.beat.is_some());
        let (info, stats) = (live.publish.info.clone(), live.stats_sender());
        let (at, log) = (now(), self.log.clone());
        self.closing.spawn(async move {
            if let Some(session) = session
                && let Ok(last) = timeout(CLOSE_TIMEOUT, session.close()).await
                && connected
            {
                stats.send_replace(Some(last));
            }
            hub.close();
            live::show(&info, &call, &name, at);
            if let Some(record) = record {
                let figures = stats.borrow().clone();
                log.keep(CallRecord { stats: figures, ..record }).await;
            }
        });
        self.ended.push_back((age, live.publish));
        if self.ended.len() > KEPT_ENDED
            && let Some((age, _)) = self.ended.pop_front()
        {
            forget(&self.directory, age);
        }
    }
}

impl<N: Network, E: Engine> Task<N, E> {
    /// The row of the log for a call that has ended; `None`: it is not for the log, or it goes on as another.
    fn record(&self, call: &Call, live: &mut Live<E::Session>, name: &str) -> Option<CallRecord> {
        if live.logged == Switch::Off || call.joined.is_some() {
            return None;
        }
        // A peer that has gone may have said its name before.
        let shown = if name.is_empty() { live.publish.info.borrow().peer_name.clone() } else { name.to_owned() };
        let beside = Beside { name: shown, dialed: live.dialed.take(), began_unix_ms: live.began_unix_ms };
        Some(log::record(call, beside, now()))
    }

    /// Somebody has called while this node had no time.
    fn note_turned_away(&mut self, wire: CallId, peer: PeerId, kind: CallKind) {
        if self.closing.len() >= MAX_LAST_WORDS {
            return;
        }
        let (log, record) = (self.log.clone(), log::turned_away(wire, peer, &self.name_of(peer), kind));
        self.closing.spawn(async move { log.keep(record).await });
    }
}

impl<N: Network, E: Engine> Task<N, E> {
    /// A stranger has called and was not let ring. Requests are limited where they are kept; what does not even get there
    /// would be dropped there.
    fn knock(&self, peer: PeerId, kind: CallKind) {
        tracing::debug!(%peer, "a stranger calls, and does not ring");
        let _ = self.knocks.try_send(Knock { peer, kind });
    }
}

/// Publishes the session's figures every second, from the moment the call is active.
fn start_stats<S: MediaSession>(live: &mut Live<S>) {
    let Some(session) = &live.session else { return };
    let (mut from, to) = (session.stats(), live.stats_sender());
    from.mark_unchanged();
    live.keep_with_session(tokio::spawn(async move {
        while from.changed().await.is_ok() {
            let figures = from.borrow_and_update().clone();
            to.send_replace(Some(figures));
        }
    }));
}

fn is_last_word(signal: &Signal) -> bool {
    matches!(signal, Signal::HangUp { .. } | Signal::Cancel | Signal::Decline | Signal::TimedOut | Signal::Failed(_))
}
