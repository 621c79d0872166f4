//! All calls of a node: which offer rings, which hears busy, which meets a call of ours half-way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use kith_common::call::{CallKind, CallOptions, Direction, EncoderChoice, EndReason, Medium, Stage, Switch};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::{CallId, PeerId};
use kith_common::media::VideoFormat;

use super::limiter::{RingLimiter, StrangerLimiter};
use super::machine::{Actions, Call, Offer, Phase};
use super::{
    Action, Closed, LinkId, MediaEvent, MediaState, NOTED_AS_REQUEST, REMEMBERED_IDS, Signal, UNKNOWN_CALL, endings,
};

#[derive(Debug, Clone, Copy)]
pub struct BookConfig {
    /// This node.
    pub local: PeerId,
    /// Calls at once, in both directions together.
    pub max_calls: usize,
    /// For calls whose options say `Auto`.
    pub encoder: EncoderChoice,
}

/// How a caller is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Blocked,
    /// A person decides.
    Ring,
    /// A person decides, who is no contact of the caller's: as often as strangers may ring, and what is more becomes requests.
    Stranger,
    /// It does not ring: it becomes a request to be a contact.
    Request,
    /// Accepted without a person.
    AutoAnswer,
}

/// All calls of a node that have not ended.
#[derive(Debug)]
pub struct CallBook {
    config: BookConfig,
    calls: BTreeMap<CallId, Call>,
    /// Ids between the machines of calls that have ended or were given up in a collision, oldest first.
    remembered: VecDeque<(PeerId, CallId)>,
    limiter: RingLimiter,
    /// How often one peer that hears busy is told of: those who wait are not to ring less often when they may again.
    turned_away: RingLimiter,
    strangers: StrangerLimiter,
    closed_voice: Option<Closed>,
    closed_video: Option<Closed>,
    actions: Actions,
}

impl CallBook {
    pub fn new(config: BookConfig) -> Self {
        Self {
            config,
            calls: BTreeMap::new(),
            remembered: VecDeque::new(),
            limiter: RingLimiter::default(),
            turned_away: RingLimiter::default(),
            strangers: StrangerLimiter::default(),
            closed_voice: None,
            closed_video: None,
            actions: Actions::new(),
        }
    }

    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// The call that the two machines call `wire`, if it is one with `peer`.
    pub fn find(&self, peer: PeerId, wire: CallId) -> Option<CallId> {
        self.calls.values().find(|call| call.wire == wire && call.peer == Some(peer)).map(|call| call.id)
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`CallBook::handle_timeout`] wants to be called next, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.calls.values().filter_map(Call::next_timeout).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.each(|call, actions| call.handle_timeout(now, actions));
    }

    fn each(&mut self, mut act: impl FnMut(&mut Call, &mut Actions)) {
        for call in self.calls.values_mut() {
            act(call, &mut self.actions);
        }
        self.sweep();
    }

    fn with(&mut self, id: CallId, act: impl FnOnce(&mut Call, &mut Actions)) {
        if let Some(call) = self.calls.get_mut(&id) {
            act(call, &mut self.actions);
            self.sweep();
        }
    }

    /// Takes calls that have ended out of the book.
    fn sweep(&mut self) {
        for (_, call) in self.calls.extract_if(.., |_, call| call.phase == Phase::Ended) {
            if let Some(peer) = call.peer {
                remember(&mut self.remembered, peer, call.wire);
            }
            self.actions.push_back(Action::Ended { call: Box::new(call) });
        }
    }

    // ---- what the services do

    /// Whether calls of this kind can be had from now on. Those that go on are left alone.
    pub fn set_closed(&mut self, kind: CallKind, closed: Option<Closed>) {
        match kind {
            CallKind::Voice => self.closed_voice = closed,
            CallKind::Video => self.closed_video = closed,
        }
    }

    fn closed(&self, kind: CallKind) -> Option<&Closed> {
        match kind {
            CallKind::Voice => self.closed_voice.as_ref(),
            CallKind::Video => self.closed_video.as_ref(),
        }
    }

    /// A person has stopped the service that carries calls of this kind: they end, and the peers hear of it.
    pub fn handle_stopped(&mut self, kind: CallKind, now: Instant) {
        let told = self.closed(kind).map(|closed| closed.told.clone()).unwrap_or_default();
        self.each(|call, actions| {
            if call.kind == kind {
                call.handle_stopped(&told, now, actions);
            }
        });
    }

    // ---- what persons do

    /// A person calls. `peer` as far as the target names it. The id must be new.
    pub fn dial(&mut self, id: CallId, peer: Option<PeerId>, options: CallOptions, now: Instant) {
        let kind = options.kind.unwrap_or(CallKind::Video);
        let camera = if kind == CallKind::Voice { Switch::Off } else { options.camera };
        let local = MediaState { microphone: options.microphone, camera, format: None };
        let mut call = Call::new(id, Direction::Outgoing, kind, local, now);
        (call.peer, call.encoder) = (peer, self.encoder(options.encoder));
        let meets = peer.and_then(|peer| self.ringing_from(peer));
        if peer == Some(self.config.local) {
            call.end(endings::own_id(), now, &mut self.actions);
        } else if let Some(closed) = self.closed(kind).cloned().filter(|_| meets.is_none()) {
            call.end(endings::because(EndReason::Failed, Stage::Resolve, &closed.here), now, &mut self.actions);
        } else if meets.is_none() && self.calls.len() >= self.config.max_calls {
            call.end(endings::busy_here(), now, &mut self.actions);
        } else {
            self.actions.push_back(Action::Changed { call: id });
            if meets.is_none() {
                self.actions.push_back(Action::Connect { call: id });
            }
        }
        self.calls.insert(id, call);
        if let Some(incoming) = meets {
            self.answer_by_calling(id, incoming, now);
        }
        self.sweep();
    }

    /// The person's choice, or the daemon's where there is none.
    fn encoder(&self, wanted: EncoderChoice) -> EncoderChoice {
        if wanted == EncoderChoice::Auto { self.config.encoder } else { wanted }
    }

    fn ringing_from(&self, peer: PeerId) -> Option<CallId> {
        // One whose stream is lost cannot be answered now.
        let alerting = |call: &&Call| call.peer == Some(peer) && call.phase == Phase::Alerting && call.link.is_some();
        self.calls.values().find(alerting).map(|call| call.id)
    }

    /// Somebody calls the peer whose call rings here: the two become the outgoing one.
    fn answer_by_calling(&mut self, outgoing: CallId, incoming: CallId, now: Instant) {
        let Some(mut rung) = self.calls.remove(&incoming) else { return };
        let offer = rung.peer.zip(rung.link.take()).zip(rung.remote);
        let ((peer, link), media) = offer.expect("a call that rings here has a peer, a stream and what its offer said");
        let offer = Offer { wire: rung.wire, peer, link, kind: rung.kind, media };
        rung.joined = Some(outgoing);
        rung.end(endings::answered_by_calling(), now, &mut self.actions);
        self.actions.push_back(Action::Ended { call: Box::new(rung) });
        self.adopt(outgoing, offer, now);
    }

    /// Takes an incoming call that rings, or says why not.
    pub fn answer(&mut self, id: CallId, options: CallOptions, now: Instant) -> Result<(), Failure> {
        let Some(call) = self.calls.get_mut(&id) else {
            return Err(Failure::new(FailureKind::NotFound, "the call cannot be answered: it has ended"));
        };
        if call.phase != Phase::Alerting {
            return Err(Failure::new(
                FailureKind::InvalidArgument,
                "the call cannot be answered: it does not ring here",
            ));
        }
        call.local.microphone = options.microphone;
        call.local.camera = match options.kind.unwrap_or(call.kind) {
            CallKind::Voice => Switch::Off,
            CallKind::Video if call.kind == CallKind::Voice => Switch::Off,
            CallKind::Video => options.camera,
        };
        if let Some(peer) = call.peer {
            self.limiter.refund(peer);
            self.strangers.refund(peer);
        }
        let encoder = self.encoder(options.encoder);
        self.with(id, |call, actions| {
            call.choose_encoder(encoder, now, actions);
            call.answer(now, actions);
        });
        Ok(())
    }

    /// Ends a call wherever it stands: cancels, declines or hangs up.
    pub fn hang_up(&mut self, id: CallId, now: Instant) {
        self.with(id, |call, actions| call.hang_up(now, actions));
    }

    pub fn hang_up_all(&mut self, now: Instant) {
        self.each(|call, actions| call.hang_up(now, actions));
    }

    pub fn set_switch(&mut self, id: CallId, medium: Medium, state: Switch) {
        self.with(id, |call, actions| call.set_switch(medium, state, actions));
    }

    /// The picture source of this side delivers this now.
    pub fn set_local_format(&mut self, id: CallId, format: Option<VideoFormat>) {
        self.with(id, |call, actions| {
            if call.local.format != format {
                call.local.format = format;
                call.tell_media(actions);
            }
        });
    }

    // ---- how an outgoing call gets through

    /// The target is known without asking the network.
    pub fn handle_resolved(&mut self, id: CallId, detail: &str, now: Instant) {
        self.with(id, |call, actions| {
            if call.phase == Phase::Dialing {
                call.report(Stage::Resolve, detail, now, actions);
            }
        });
    }

    pub fn handle_connected(&mut self, id: CallId, peer: PeerId, detail: String, now: Instant) {
        if self.calls.get(&id).is_none_or(|call| call.phase != Phase::Dialing) {
            return;
        }
        if peer == self.config.local {
            self.with(id, |call, actions| call.end(endings::own_id(), now, actions));
            return;
        }
        // The target was an address, and its owner has called meanwhile.
        if let Some(incoming) = self.ringing_from(peer) {
            self.answer_by_calling(id, incoming, now);
            self.sweep();
            return;
        }
        self.with(id, |call, actions| call.handle_connected(peer, detail, now, actions));
    }

    pub fn handle_connect_failed(&mut self, id: CallId, failure: &Failure, now: Instant) {
        self.with(id, |call, actions| {
            if call.phase == Phase::Dialing {
                let unknown = matches!(failure.kind, FailureKind::NotFound | FailureKind::InvalidArgument);
                let stage = if unknown { Stage::Resolve } else { Stage::Dial };
                call.end(endings::because(endings::dial_reason(failure.kind), stage, failure), now, actions);
            }
        });
    }

    /// The stream that `OpenLink` asked for.
    pub fn handle_link_open(&mut self, id: CallId, link: LinkId, now: Instant) {
        match self.calls.get(&id) {
            Some(call) if call.link.is_none() && call.wants_link() => {
                self.with(id, |call, actions| call.take_link(link, now, actions));
            }
            _ => self.actions.push_back(Action::CloseLink { link }),
        }
    }

    pub fn handle_link_failed(&mut self, id: CallId, failure: &Failure, now: Instant) {
        self.with(id, |call, actions| {
            if call.phase == Phase::Opening {
                let reason = endings::dial_reason(failure.kind);
                call.end(endings::because(reason, Stage::Signal, failure), now, actions);
            } else {
                call.handle_reopen_failed(now);
            }
        });
    }

    /// A stream has ended, without anybody's wish or by the peer's.
    pub fn handle_link_lost(&mut self, link: LinkId, now: Instant) {
        if let Some(id) = self.by_link(link) {
            self.with(id, |call, actions| call.handle_link_lost(now, actions));
        }
    }

    fn by_link(&self, link: LinkId) -> Option<CallId> {
        self.calls.values().find(|call| call.link == Some(link)).map(|call| call.id)
    }

    /// Something came that this machine need not see (a clock ping, a candidate).
    pub fn handle_heard(&mut self, id: CallId, now: Instant) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.handle_heard(now);
        }
    }

    // ---- media

    pub fn handle_media_open(&mut self, id: CallId, now: Instant) {
        self.with(id, |call, actions| call.handle_media_open(now, actions));
    }

    pub fn handle_media_failed(&mut self, id: CallId, failure: &Failure, now: Instant) {
        self.handle_media(id, MediaEvent::Failed(failure.clone()), now);
    }

    pub fn handle_media(&mut self, id: CallId, event: MediaEvent, now: Instant) {
        self.with(id, |call, actions| call.handle_media(event, now, actions));
    }

    /// The daemon itself cannot go on with a call.
    pub fn handle_broken(&mut self, id: CallId, failure: &Failure, now: Instant) {
        self.with(id, |call, actions| {
            let stage = call.stage();
            call.fail(endings::because(EndReason::Failed, stage, failure), now, actions);
        });
    }

    // ---- what peers say

    /// A message from `peer` on `link` about the call that the machines name `wire`. `standing` is how the peer would be
    /// received if this were an offer.
    pub fn handle_signal(
        &mut self,
        link: LinkId,
        peer: PeerId,
        wire: CallId,
        signal: Signal,
        standing: Standing,
        now: Instant,
    ) {
        if let Some(id) = self.find(peer, wire) {
            // On a new stream: the peer has opened it in place of one that was lost.
            let adopt = self.calls.get(&id).is_some_and(|call| call.link != Some(link));
            self.with(id, |call, actions| {
                if adopt {
                    call.take_link(link, now, actions);
                }
                call.handle_signal(signal, now, actions);
            });
            return;
        }
        if let Signal::Offer { kind, media } = signal {
            let offer = Offer { wire, peer, link, kind, media };
            self.handle_offer(offer, standing, now);
            self.sweep();
            return;
        }
        // Nothing is known of this call. Whoever still believes in it is told; an end needs no answer.
        let believes = matches!(signal, Signal::Ringing | Signal::Accept { .. } | Signal::Media(_));
        if believes && self.by_link(link).is_none() {
            self.refuse(link, peer, wire, Signal::HangUp { reason: UNKNOWN_CALL.to_owned() });
        }
    }

    fn refuse(&mut self, link: LinkId, peer: PeerId, wire: CallId, signal: Signal) {
        self.actions.push_back(Action::Send { link: Some(link), peer, wire, signal });
        self.close_stranger(link);
    }

    /// Closes a stream unless a call stands on it.
    fn close_stranger(&mut self, link: LinkId) {
        if self.by_link(link).is_none() {
            self.actions.push_back(Action::CloseLink { link });
        }
    }

    fn handle_offer(&mut self, offer: Offer, standing: Standing, now: Instant) {
        let (peer, wire, link) = (offer.peer, offer.wire, offer.link);
        if self.remembered.contains(&(peer, wire)) || peer == self.config.local || self.by_link(link).is_some() {
            self.close_stranger(link);
            return;
        }
        if standing == Standing::Blocked {
            self.refuse(link, peer, wire, Signal::Blocked);
            return;
        }
        if let Some(closed) = self.closed(offer.kind).cloned() {
            self.refuse(link, peer, wire, Signal::Failed(closed.told));
            return;
        }
        let collides = |call: &&Call| call.peer == Some(peer) && call.may_collide();
        if let Some(ours) = self.calls.values().find(collides) {
            // Both have pressed the button. Of two offers the smaller peer id's stands; one that was never sent yields.
            if ours.has_offered() && self.config.local < peer {
                remember(&mut self.remembered, peer, wire);
                self.close_stranger(link);
            } else {
                let id = ours.id;
                self.adopt(id, offer, now);
            }
            return;
        }
        // A call with this peer whose signalling is dead stands in the way of the peer's new try.
        let stale = |call: &&Call| call.peer == Some(peer) && call.link.is_none() && call.is_stalled();
        if let Some(id) = self.calls.values().find(stale).map(|call| call.id) {
            self.with(id, |call, actions| call.end(endings::vanished(call.stage()), now, actions));
        }
        if standing == Standing::Request {
            self.note(&offer);
            return;
        }
        // The local id of a new incoming call is the wire's; a second peer may not take one that exists.
        let taken = self.calls.contains_key(&wire);
        let full = self.calls.len() >= self.config.max_calls;
        // Strangers share what one peer may: each can be another every time.
        let who = if standing == Standing::Stranger { self.config.local } else { peer };
        if full && !taken && self.turned_away.admit(who, now) {
            self.actions.push_back(Action::TurnedAway { peer, wire, kind: offer.kind });
        }
        if taken || full || !self.limiter.admit(peer, now) {
            self.refuse(link, peer, wire, Signal::Busy);
            return;
        }
        if standing == Standing::Stranger && !self.strangers.admit(peer, now) {
            self.note(&offer);
            return;
        }
        self.ring(offer, standing, now);
    }

    /// A stranger's call does not ring. It hears what became of it, and no more than that.
    fn note(&mut self, offer: &Offer) {
        self.actions.push_back(Action::Noted { peer: offer.peer, kind: offer.kind });
        let signal = Signal::HangUp { reason: NOTED_AS_REQUEST.to_owned() };
        self.refuse(offer.link, offer.peer, offer.wire, signal);
    }

    fn ring(&mut self, offer: Offer, standing: Standing, now: Instant) {
        let (id, peer) = (offer.wire, offer.peer);
        let local = MediaState {
            microphone: Switch::On,
            camera: if offer.kind == CallKind::Video { Switch::On } else { Switch::Off },
            format: None,
        };
        let mut call = Call::new(id, Direction::Incoming, offer.kind, local, now);
        call.encoder = self.config.encoder;
        self.actions.push_back(Action::New { call: id });
        call.take_offer(offer, now, &mut self.actions);
        call.send(Signal::Ringing, &mut self.actions);
        call.report(Stage::Ring, "", now, &mut self.actions);
        if standing == Standing::AutoAnswer {
            self.limiter.refund(peer);
            call.answer(now, &mut self.actions);
        }
        self.calls.insert(id, call);
    }

    /// An outgoing call goes on as the answer to the peer's offer: a person pressed the button on both sides, so both
    /// consent.
    fn adopt(&mut self, id: CallId, offer: Offer, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(peer) = call.peer.filter(|_| call.has_offered()) {
            remember(&mut self.remembered, peer, call.wire);
        }
        let actions = &mut self.actions;
        call.report(Stage::Resolve, "", now, actions);
        call.report(Stage::Dial, "", now, actions);
        call.report(Stage::Signal, "", now, actions);
        call.take_offer(offer, now, actions);
        call.report(Stage::Ring, "both called at once", now, actions);
        call.answer(now, actions);
    }
}

fn remember(remembered: &mut VecDeque<(PeerId, CallId)>, peer: PeerId, wire: CallId) {
    if remembered.len() == REMEMBERED_IDS {
        remembered.pop_front();
    }
    remembered.push_back((peer, wire));
}
