//! One call: its phase, its deadlines, and what each event does to it. The book asks; everything that needs to know of
//! other calls is decided there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kith_common::call::{
    CallKind, CallState, Direction, EncoderChoice, EndReason, Ending, Medium, Stage, StageReport, Switch, Transport,
};
use kith_common::ids::{CallId, PeerId};
use kith_common::node::Path;

use super::{
    ACTIVE_GRACE, Action, CALLER_RING_TIMEOUT, CONNECT_TIMEOUT, DIAL_TIMEOUT, LINK_GRACE, LinkId, MEDIA_FRESH,
    MEDIA_LOST_LIMIT, MediaEvent, MediaState, OFFER_TIMEOUT, REOPEN_AFTER, REOPEN_LIMIT, RING_TIMEOUT, SIGNAL_TIMEOUT,
    SILENT_AFTER, SILENT_WHILE_CONNECTING, Signal, WireRole, endings,
};

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Outgoing: finding and connecting.
    Dialing,
    /// Outgoing: opening the signalling stream and the media session.
    Opening,
    /// Outgoing: the offer is out, the peer has not said yet that it rings.
    Offered,
    /// Outgoing: the peer's machine rings.
    Ringing,
    /// Incoming: this machine rings.
    Alerting,
    /// Accepted; media is being set up.
    Connecting,
    Active,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    None,
    Opening,
    Ready,
    Connected,
}

pub(super) type Actions = VecDeque<Action>;

/// A call of this node. The fields are what clients are shown; only the book changes them.
#[derive(Debug)]
pub struct Call {
    pub id: CallId,
    /// The id that the two machines use between them: the call's own but after a collision.
    pub wire: CallId,
    /// `None` until the target is resolved.
    pub peer: Option<PeerId>,
    pub direction: Direction,
    pub kind: CallKind,
    /// The daemon's choice where nobody chose.
    pub encoder: EncoderChoice,
    pub phase: Phase,
    /// When what clients see as the state began.
    pub since: Instant,
    /// When it was placed or first rang.
    pub started: Instant,
    pub path: Option<Path>,
    pub transport: Transport,
    pub local: MediaState,
    /// `None` until the peer has said.
    pub remote: Option<MediaState>,
    pub stages: Vec<StageReport>,
    pub ending: Option<Ending>,
    /// The person called back while it rang: it goes on as this one, and was no call of its own.
    pub joined: Option<CallId>,
    pub link: Option<LinkId>,
    pub(super) role: WireRole,
    phase_since: Instant,
    session: Session,
    session_since: Instant,
    /// A person, the policy or a collision has accepted; the accept has not been sent yet.
    answered: bool,
    link_lost: Option<Instant>,
    /// When to open a new stream in place of the lost one, and the pause after that.
    reopen_at: Option<Instant>,
    reopen_pause: Duration,
    reopening: bool,
    /// When the peer last said anything.
    heard: Instant,
    path_at: Option<Instant>,
    got_packet: bool,
    got_frame: bool,
    stalled: bool,
    media_lost: Option<Instant>,
}

impl Call {
    pub(super) fn new(id: CallId, direction: Direction, kind: CallKind, local: MediaState, now: Instant) -> Self {
        let outgoing = direction == Direction::Outgoing;
        Self {
            id,
            wire: id,
            peer: None,
            direction,
            kind,
            encoder: EncoderChoice::Auto,
            phase: if outgoing { Phase::Dialing } else { Phase::Alerting },
            since: now,
            started: now,
            path: None,
            transport: Transport::default(),
            local,
            remote: None,
            stages: Vec::new(),
            ending: None,
            joined: None,
            link: None,
            role: if outgoing { WireRole::Caller } else { WireRole::Callee },
            phase_since: now,
            session: Session::None,
            session_since: now,
            answered: false,
            link_lost: None,
            reopen_at: None,
            reopen_pause: REOPEN_AFTER,
            reopening: false,
            heard: now,
            path_at: None,
            got_packet: false,
            got_frame: false,
            stalled: false,
            media_lost: None,
        }
    }

    /// What clients see of the phase.
    pub const fn state(&self) -> CallState {
        match self.phase {
            Phase::Dialing | Phase::Opening | Phase::Offered => CallState::Dialing,
            Phase::Ringing | Phase::Alerting => CallState::Ringing,
            Phase::Connecting => CallState::Connecting,
            Phase::Active => CallState::Active,
            Phase::Ended => CallState::Ended,
        }
    }

    /// Whether the two sides talk about media: state and counters are told every second.
    pub const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Active)
    }

    /// Whether the peer knows this side's end of the media path: the offer or the accept is out.
    pub const fn has_told_transport(&self) -> bool {
        self.has_offered() || matches!(self.session, Session::Connected)
    }

    /// Which side of the offer this one is.
    pub const fn wire_role(&self) -> WireRole {
        self.role
    }

    /// Whether nothing has come from the peer's media for a second or longer.
    pub const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Outgoing and not answered yet, so that an offer from the same peer is a collision.
    pub(super) const fn may_collide(&self) -> bool {
        matches!(self.phase, Phase::Dialing | Phase::Opening | Phase::Offered | Phase::Ringing)
    }

    pub(super) const fn has_offered(&self) -> bool {
        matches!(self.phase, Phase::Offered | Phase::Ringing)
    }

    fn enter(&mut self, phase: Phase, now: Instant, actions: &mut Actions) {
        let before = self.state();
        self.phase = phase;
        self.phase_since = now;
        if self.state() != before {
            self.since = now;
        }
        actions.push_back(Action::Changed { call: self.id });
    }

    pub(super) fn report(&mut self, stage: Stage, detail: impl Into<String>, now: Instant, actions: &mut Actions) {
        // In order and each once: what comes late says nothing new.
        if self.stages.last().is_some_and(|last| last.stage >= stage) {
            return;
        }
        let at_us = u64::try_from(now.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        let report = StageReport { stage, at_us, detail: detail.into() };
        self.stages.push(report.clone());
        actions.push_back(Action::Stage { call: self.id, report });
    }

    pub(super) fn send(&self, signal: Signal, actions: &mut Actions) {
        if let Some(peer) = self.peer {
            actions.push_back(Action::Send { link: self.link, peer, wire: self.wire, signal });
        }
    }

    // ---- getting through

    pub(super) fn handle_connected(&mut self, peer: PeerId, detail: String, now: Instant, actions: &mut Actions) {
        self.peer = Some(peer);
        self.report(Stage::Resolve, "", now, actions);
        self.report(Stage::Dial, detail, now, actions);
        self.enter(Phase::Opening, now, actions);
        actions.push_back(Action::OpenLink { call: self.id, peer });
        self.open_session(now, actions);
    }

    pub(super) fn open_session(&mut self, now: Instant, actions: &mut Actions) {
        self.session = Session::Opening;
        self.session_since = now;
        let Self { id: call, wire, kind, role, encoder, .. } = *self;
        actions.push_back(Action::OpenMedia { call, wire, kind, role, encoder });
    }

    /// A stream for this call is open, by this side's doing or because the peer speaks on a new one.
    pub(super) fn take_link(&mut self, link: LinkId, now: Instant, actions: &mut Actions) {
        if let Some(old) = self.link.replace(link)
            && old != link
        {
            actions.push_back(Action::CloseLink { link: old });
        }
        let reopened = self.link_lost.take().is_some();
        self.reopen_at = None;
        self.reopen_pause = REOPEN_AFTER;
        self.reopening = false;
        self.heard = now;
        if self.phase == Phase::Opening {
            self.report(Stage::Signal, "", now, actions);
        }
        if reopened {
            // Says which call the new stream belongs to, and what the peer missed.
            self.send(Signal::Media(self.local), actions);
        }
        self.proceed(now, actions);
    }

    pub(super) fn handle_media_open(&mut self, now: Instant, actions: &mut Actions) {
        if self.session == Session::Opening {
            self.session = Session::Ready;
            self.proceed(now, actions);
        }
    }

    /// Sends the offer or the accept once everything for it is there.
    fn proceed(&mut self, now: Instant, actions: &mut Actions) {
        if self.session != Session::Ready || self.link.is_none() {
            return;
        }
        if self.phase == Phase::Opening {
            self.send(Signal::Offer { kind: self.kind, media: self.local }, actions);
            self.enter(Phase::Offered, now, actions);
        } else if self.answered && self.phase == Phase::Connecting {
            self.answered = false;
            self.send(Signal::Accept { media: self.local }, actions);
            self.connect_session(actions);
        }
    }

    fn connect_session(&mut self, actions: &mut Actions) {
        self.session = Session::Connected;
        actions.push_back(Action::ConnectMedia { call: self.id });
    }

    // ---- being answered and answering

    /// The peer's offer becomes this call: the incoming call itself, or an outgoing one that met it half-way.
    pub(super) fn take_offer(&mut self, offer: Offer, now: Instant, actions: &mut Actions) {
        self.wire = offer.wire;
        self.peer = Some(offer.peer);
        self.role = WireRole::Callee;
        self.remote = Some(offer.media);
        // Whoever pressed "voice" has not agreed to show a picture.
        if self.direction == Direction::Outgoing && self.kind == CallKind::Voice && offer.kind == CallKind::Video {
            self.local.camera = Switch::Off;
        }
        self.kind = offer.kind;
        // Whatever session there is has the other role; nothing may be sent with it.
        self.session = Session::None;
        self.take_link(offer.link, now, actions);
        self.open_session(now, actions);
    }

    /// Another encoder than the session was opened with: it is opened anew.
    pub(super) fn choose_encoder(&mut self, encoder: EncoderChoice, now: Instant, actions: &mut Actions) {
        if std::mem::replace(&mut self.encoder, encoder) != encoder && self.session != Session::None {
            self.open_session(now, actions);
        }
    }

    /// A person, the policy or a collision accepts.
    pub(super) fn answer(&mut self, now: Instant, actions: &mut Actions) {
        self.report(Stage::Accept, "", now, actions);
        self.answered = true;
        self.heard = now;
        self.enter(Phase::Connecting, now, actions);
        if matches!(self.session, Session::Ready) && now.saturating_duration_since(self.session_since) > MEDIA_FRESH {
            self.open_session(now, actions);
        }
        self.proceed(now, actions);
    }

    pub(super) fn handle_signal(&mut self, signal: Signal, now: Instant, actions: &mut Actions) {
        self.heard = now;
        match signal {
            Signal::Ringing if self.phase == Phase::Offered => {
                self.report(Stage::Ring, "", now, actions);
                self.enter(Phase::Ringing, now, actions);
            }
            Signal::Accept { media } if self.has_offered() => {
                self.report(Stage::Ring, "", now, actions);
                self.report(Stage::Accept, "", now, actions);
                self.remote = Some(media);
                self.enter(Phase::Connecting, now, actions);
                self.connect_session(actions);
            }
            Signal::Decline if self.has_offered() => self.end(endings::declined(), now, actions),
            Signal::Busy if self.has_offered() => self.end(endings::peer_busy(), now, actions),
            Signal::Blocked if self.has_offered() => self.end(endings::blocked(), now, actions),
            Signal::TimedOut if self.has_offered() => self.end(endings::nobody_answered(), now, actions),
            Signal::Cancel => self.end(Ending::by(EndReason::Remote), now, actions),
            Signal::HangUp { reason } if reason == super::UNKNOWN_CALL => {
                self.end(endings::forgotten(self.stage()), now, actions);
            }
            Signal::HangUp { reason } if reason == super::NOTED_AS_REQUEST && self.has_offered() => {
                self.end(endings::noted(), now, actions);
            }
            Signal::HangUp { .. } => self.end(Ending::by(EndReason::Remote), now, actions),
            Signal::Failed(text) => self.end(endings::peer_failed(self.stage(), &text), now, actions),
            Signal::Media(media) => self.handle_media_state(media, actions),
            // Out of place: repeated, late, or nonsense.
            _ => {}
        }
    }

    fn handle_media_state(&mut self, media: MediaState, actions: &mut Actions) {
        if self.remote != Some(media) {
            self.remote = Some(media);
            actions.push_back(Action::Changed { call: self.id });
        }
    }

    pub(super) fn handle_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    // ---- ending

    /// A person on this side ends it, wherever it stands.
    pub(super) fn hang_up(&mut self, now: Instant, actions: &mut Actions) {
        match self.phase {
            Phase::Dialing | Phase::Opening | Phase::Ended => {}
            Phase::Offered | Phase::Ringing => self.send(Signal::Cancel, actions),
            Phase::Alerting => self.send(Signal::Decline, actions),
            Phase::Connecting | Phase::Active => self.send(Signal::HangUp { reason: String::new() }, actions),
        }
        self.end(Ending::by(EndReason::Local), now, actions);
    }

    /// The service that carries the call was stopped here.
    pub(super) fn handle_stopped(&mut self, told: &str, now: Instant, actions: &mut Actions) {
        let signal = match self.phase {
            Phase::Dialing | Phase::Opening | Phase::Ended => None,
            Phase::Offered | Phase::Ringing => Some(Signal::Cancel),
            // The caller has not been answered, and hears why not.
            Phase::Alerting => Some(Signal::Failed(told.to_owned())),
            Phase::Connecting | Phase::Active => Some(Signal::HangUp { reason: told.to_owned() }),
        };
        if let Some(signal) = signal {
            self.send(signal, actions);
        }
        self.end(endings::stopped_here(self.kind), now, actions);
    }

    pub(super) fn end(&mut self, ending: Ending, now: Instant, actions: &mut Actions) {
        if self.phase == Phase::Ended {
            return;
        }
        self.ending = Some(ending);
        self.enter(Phase::Ended, now, actions);
        if let Some(link) = self.link.take() {
            actions.push_back(Action::CloseLink { link });
        }
    }

    /// Ends by this side's failing; the peer is told why if it can be.
    pub(super) fn fail(&mut self, ending: Ending, now: Instant, actions: &mut Actions) {
        if self.link.is_some() && !matches!(self.phase, Phase::Dialing | Phase::Opening) {
            self.send(Signal::Failed(ending.detail.clone()), actions);
        }
        self.end(ending, now, actions);
    }

    /// The stage that the call is trying to reach.
    pub(super) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Dialing if self.stages.is_empty() => Stage::Resolve,
            Phase::Dialing => Stage::Dial,
            Phase::Opening => Stage::Signal,
            Phase::Offered => Stage::Ring,
            Phase::Ringing | Phase::Alerting => Stage::Accept,
            Phase::Connecting if self.path_at.is_none() => Stage::Path,
            Phase::Connecting if !self.got_packet => Stage::FirstPacket,
            Phase::Connecting => Stage::FirstFrame,
            Phase::Active | Phase::Ended => Stage::Active,
        }
    }

    // ---- media

    pub(super) fn handle_media(&mut self, event: MediaEvent, now: Instant, actions: &mut Actions) {
        if !self.is_connected() {
            if let MediaEvent::Failed(failure) = event {
                self.fail(endings::media_failed(self.stage().max(Stage::Path), &failure), now, actions);
            }
            return;
        }
        match event {
            MediaEvent::Path { path, transport } => {
                (self.path, self.transport) = (Some(path), transport);
                self.path_at.get_or_insert(now);
                self.report(Stage::Path, endings::path_detail(path, transport), now, actions);
                actions.push_back(Action::Changed { call: self.id });
            }
            MediaEvent::FirstPacket => {
                self.got_packet = true;
                self.report(Stage::FirstPacket, "", now, actions);
            }
            MediaEvent::FirstFrame => {
                self.got_frame = true;
                self.report(Stage::FirstFrame, "", now, actions);
            }
            MediaEvent::Stalled => self.stalled = true,
            MediaEvent::Resumed => (self.stalled, self.media_lost) = (false, None),
            MediaEvent::Lost => {
                self.stalled = true;
                self.media_lost.get_or_insert(now);
                self.check_vanished(now, actions);
            }
            MediaEvent::Failed(failure) => self.fail(endings::media_failed(self.stage(), &failure), now, actions),
        }
        self.try_activate(now, actions);
    }

    fn expects_picture(&self) -> bool {
        self.kind == CallKind::Video && self.remote.is_some_and(|media| media.camera == Switch::On)
    }

    /// A sign of life of the kind that the call is for has come, or a path stands and nothing seems to be sent.
    fn try_activate(&mut self, now: Instant, actions: &mut Actions) {
        let Some(path_at) = self.path_at.filter(|_| self.phase == Phase::Connecting) else { return };
        let sound_only = self.kind == CallKind::Video && !self.expects_picture();
        if self.got_frame || (self.got_packet && sound_only) || now >= path_at + ACTIVE_GRACE {
            self.report(Stage::Active, "", now, actions);
            self.enter(Phase::Active, now, actions);
        }
    }

    pub(super) fn set_switch(&mut self, medium: Medium, state: Switch, actions: &mut Actions) {
        let switch = match medium {
            Medium::Audio => &mut self.local.microphone,
            Medium::Video => &mut self.local.camera,
        };
        if *switch == state {
            return;
        }
        *switch = state;
        actions.push_back(Action::Switch { call: self.id, medium, state });
        self.tell_media(actions);
    }

    /// The peer hears at once of a change here.
    pub(super) fn tell_media(&mut self, actions: &mut Actions) {
        actions.push_back(Action::Changed { call: self.id });
        if self.link.is_some() && (self.is_connected() || self.has_offered()) && !self.answered {
            self.send(Signal::Media(self.local), actions);
        }
    }

    // ---- the stream, and time

    pub(super) fn handle_link_lost(&mut self, now: Instant, actions: &mut Actions) {
        self.link = None;
        self.link_lost.get_or_insert(now);
        // One side opens the new stream, so that the two do not replace each other's.
        if self.role == WireRole::Caller {
            self.reopen_at = Some(now + self.reopen_pause);
        }
        self.check_vanished(now, actions);
    }

    /// Whether a stream that was asked for is still of use.
    pub(super) const fn wants_link(&self) -> bool {
        matches!(self.phase, Phase::Opening) || self.reopening
    }

    pub(super) fn handle_reopen_failed(&mut self, now: Instant) {
        if self.link.is_none() {
            self.reopening = false;
            self.reopen_pause = (self.reopen_pause * 2).min(REOPEN_LIMIT);
            self.reopen_at = Some(now + self.reopen_pause);
        }
    }

    /// When a silent peer is given up, if things stay as they are.
    fn vanish_deadline(&self) -> Option<Instant> {
        let link_deadline = self.link_lost.map(|lost| lost + LINK_GRACE);
        match self.phase {
            Phase::Offered | Phase::Ringing | Phase::Alerting => link_deadline,
            Phase::Connecting => Some(self.heard + SILENT_WHILE_CONNECTING),
            Phase::Active => {
                let lost = self.media_lost?;
                Some(if self.link.is_none() { lost } else { lost.max(self.heard + SILENT_AFTER) })
            }
            Phase::Dialing | Phase::Opening | Phase::Ended => None,
        }
    }

    fn check_vanished(&mut self, now: Instant, actions: &mut Actions) {
        if self.vanish_deadline().is_some_and(|deadline| now >= deadline) {
            // The peer may only be deaf on this way: a word costs nothing.
            let ending = endings::vanished(self.stage());
            self.fail(ending, now, actions);
        }
    }

    /// How long the phase may last, and what it means when it does.
    fn phase_deadline(&self) -> Option<Instant> {
        let limit = match self.phase {
            Phase::Dialing => DIAL_TIMEOUT,
            Phase::Opening => SIGNAL_TIMEOUT,
            Phase::Offered => OFFER_TIMEOUT,
            Phase::Ringing => CALLER_RING_TIMEOUT,
            Phase::Alerting => RING_TIMEOUT,
            Phase::Connecting if self.path_at.is_none() => CONNECT_TIMEOUT,
            Phase::Active => return self.media_lost.map(|lost| lost + MEDIA_LOST_LIMIT),
            Phase::Connecting | Phase::Ended => return None,
        };
        Some(self.phase_since + limit)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let grace = self.path_at.filter(|_| self.phase == Phase::Connecting).map(|at| at + ACTIVE_GRACE);
        let reopen = self.reopen_at.filter(|_| !self.reopening);
        [self.phase_deadline(), self.vanish_deadline(), grace, reopen].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, actions: &mut Actions) {
        self.try_activate(now, actions);
        self.check_vanished(now, actions);
        if self.phase_deadline().is_some_and(|deadline| now >= deadline) {
            match self.phase {
                Phase::Dialing => self.end(endings::dial_timed_out(self.stage()), now, actions),
                Phase::Opening => self.end(endings::signal_timed_out(self.session == Session::Opening), now, actions),
                Phase::Offered => {
                    self.send(Signal::Cancel, actions);
                    self.end(endings::offer_unanswered(), now, actions);
                }
                Phase::Ringing => {
                    self.send(Signal::Cancel, actions);
                    self.end(endings::nobody_answered(), now, actions);
                }
                Phase::Alerting => {
                    self.send(Signal::TimedOut, actions);
                    self.end(endings::missed(), now, actions);
                }
                Phase::Connecting => self.fail(endings::no_path(), now, actions),
                Phase::Active => self.fail(endings::media_lost(), now, actions),
                Phase::Ended => {}
            }
        }
        if let (Some(peer), Some(at)) = (self.peer, self.reopen_at)
            && self.phase != Phase::Ended
            && !self.reopening
            && now >= at
        {
            self.reopening = true;
            actions.push_back(Action::OpenLink { call: self.id, peer });
        }
    }
}

/// An offer that came.
pub(super) struct Offer {
    pub wire: CallId,
    pub peer: PeerId,
    pub link: LinkId,
    pub kind: CallKind,
    pub media: MediaState,
}
