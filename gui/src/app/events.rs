//! What the daemon reports, taken into the application.

use std::time::Duration;

use iced::{Task, window};
use kith_common::call::{CallInfo, CallState, Direction, EndReason, Ending, StageReport};
use kith_common::failure::FailureKind;
use kith_common::ids::CallId;

use super::{App, Message, Place, Screen};
use crate::link::{Command, Doing, Event, Test};
use crate::playback::Ring;
use crate::screen::sidebar::Node;
use crate::screen::{call, ended, incoming, network};

/// The stages of two calls; older ones belong to calls that nobody answered.
const EARLY: usize = 18;
/// A source that this window took over itself is not reported as taken by another.
const OWN_TAKEOVER: Duration = Duration::from_secs(3);

impl App {
    pub(super) fn heard(&mut self, event: Event) -> Task<Message> {
        match event {
            Event::Trying(what) => self.sidebar.node = Node::Trying(what),
            Event::Connected { identity, status } => {
                self.chat.me(&identity);
                self.sidebar.node = Node::Up { identity, status };
                return self.node_is_back();
            }
            Event::Node { identity, status } => {
                self.chat.me(&identity);
                self.sidebar.node = Node::Up { identity, status };
            }
            Event::Lost(failure) => self.lost(failure),
            Event::Peers(_) | Event::Services(_) | Event::Network(_) | Event::Links(_) | Event::News(..) => {
                return self.heard_of_node(event);
            }
            Event::Files(told) => return self.heard_of_files(told),
            Event::People(_) | Event::Conversations(_) | Event::Messages(_) => return self.heard_of_people(event),
            Event::CallLog(told) => {
                // The loss of the daemon is told once, by the link itself.
                if told.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoDaemon) {
                    return Task::none();
                }
                let wish = self.recent.hear(told);
                return self.grant(wish);
            }
            Event::Call(info) => return self.call_changed(info),
            Event::Stage(id, report) => match &mut self.screen {
                Screen::Call(call) if call.info.id == id => call.stage(report),
                Screen::Ended(ended) if ended.info.id == id => ended.stage(report),
                // The call itself is told in a moment.
                _ => {
                    if self.early.len() >= EARLY {
                        self.early.remove(0);
                    }
                    self.early.push((id, report));
                }
            },
            Event::Stats(id, stats) => match &mut self.screen {
                Screen::Call(call) if call.info.id == id => call.stats = Some(stats),
                Screen::Ended(ended) if ended.info.id == id => ended.stats = Some(stats),
                _ => {}
            },
            Event::SourceTaken(id, medium) => {
                let own = self.asked.is_some_and(|at| at.elapsed() < OWN_TAKEOVER);
                if let Screen::Call(call) = &mut self.screen
                    && call.info.id == id
                    && self.own == Some(id)
                    && !own
                {
                    call.taken = Some(medium);
                    call.source = call::Source::Elsewhere;
                }
            }
            Event::Placed { call, test } => self.placed(call, test),
            Event::TestCall(what) => {
                if self.home.testing.is_some() {
                    self.home.testing = Some(what);
                }
            }
            Event::VideoOut(id, sender) if self.own == Some(id) => self.studio.attach_video(sender),
            Event::AudioOut(id, sender) if self.own == Some(id) => self.studio.attach_audio(sender),
            Event::VideoIn(id, receiver) if self.receiving == Some(id) => {
                self.playback.show(receiver, self.remote.clone());
            }
            Event::AudioIn(id, receiver) if self.receiving == Some(id) => {
                self.playback.play(receiver, self.studio.speaker_input());
            }
            // They belong to a call that is over.
            Event::VideoOut(..) | Event::AudioOut(..) | Event::VideoIn(..) | Event::AudioIn(..) => {}
            Event::Failed { doing, failure } => self.failed(doing, failure),
        }
        Task::none()
    }

    fn failed(&mut self, doing: Doing, failure: kith_common::failure::Failure) {
        tracing::info!(?doing, %failure);
        if doing == Doing::Dialing {
            self.placing = None;
        }
        if doing == Doing::Testing {
            self.home.testing = None;
            if self.cancelled_test.take().is_some() {
                return;
            }
        }
        match (&mut self.screen, doing) {
            (Screen::Call(call), _) => call.trouble = Some(failure),
            (_, Doing::Other) => {}
            // It is said where it was asked.
            (_, Doing::Dialing) if self.place == Place::Network => {
                self.screen = Screen::Home;
                self.network.outcome = Some(network::Outcome::Bad(failure));
                self.quiet();
            }
            _ => {
                self.place = Place::Calls;
                self.screen = Screen::Home;
                self.home.failure = Some(failure);
                self.quiet();
            }
        }
    }

    fn placed(&mut self, id: CallId, test: Test) {
        self.placing = None;
        if test == Test::Yes {
            self.home.testing = None;
            if self.cancelled_test.take().is_some() {
                self.commander.send(Command::HangUp(id));
                return;
            }
        }
        self.tests.retain(|known| *known != id);
        if test == Test::Yes {
            self.tests.push(id);
        }
        if let Screen::Ended(ended) = &mut self.screen
            && ended.info.id == id
        {
            // It failed faster than it was placed.
            ended.test = test;
            return;
        }
        if self.last_ended.as_ref().is_some_and(|info| info.id == id)
            && let Some(info) = self.last_ended.take()
        {
            return self.finish(info);
        }
        self.adopt(id);
        if let Screen::Call(call) = &mut self.screen
            && call.info.id == id
        {
            call.test = test;
        }
        self.receive(id);
    }

    /// Asks for the peer's pictures and sound, once a call.
    fn receive(&mut self, id: CallId) {
        if self.receiving != Some(id) {
            self.receiving = Some(id);
            self.commander.send(Command::Receive(id));
        }
    }

    fn lost(&mut self, failure: kith_common::failure::Failure) {
        self.incoming = None;
        self.ring = None;
        self.placing = None;
        self.home.testing = None;
        self.sidebar.hear(&[]);
        self.node_is_lost();
        if let Screen::Call(call) = &self.screen {
            let mut info = call.info.clone();
            info.state = CallState::Ended;
            let mut ending = Ending::by(EndReason::Failed);
            ending.detail = "Your node stopped, and the call with it.".into();
            ending.advice = "It is started again by itself; then call again.".into();
            info.ending = Some(ending);
            self.finish(info);
        }
        self.sidebar.node = Node::Lost(failure);
    }

    fn call_changed(&mut self, info: CallInfo) -> Task<Message> {
        if self.tests.contains(&info.id) {
            self.sidebar.hidden.extend(info.peer);
        }
        let asked = self.incoming.as_ref().is_some_and(|incoming| incoming.info.id == info.id);
        if info.state == CallState::Ended {
            if asked {
                self.incoming = None;
                self.ring = None;
            }
            let shown = matches!(&self.screen, Screen::Call(call) if call.info.id == info.id);
            let missed = asked && matches!(self.screen, Screen::Home | Screen::Ended(_));
            let own = self.own == Some(info.id);
            let declined_here = info.direction == Direction::Incoming
                && info.ending.as_ref().is_some_and(|end| end.reason == EndReason::Local);
            if shown || own || (missed && !declined_here) {
                self.finish(info);
            } else {
                self.last_ended = Some(info);
            }
            return Task::none();
        }
        if info.direction == Direction::Incoming && info.state == CallState::Ringing {
            // Answered here already: the daemon is a moment behind.
            if self.own == Some(info.id) || self.busy() {
                return Task::none();
            }
            if !asked {
                self.tell_of_call(&info);
            }
            self.incoming = Some(incoming::Incoming { info });
            if asked {
                return Task::none();
            }
            self.studio.start_speaker();
            self.ring = self.studio.speaker_input().map(Ring::start);
            return window::latest()
                .and_then(|id| window::request_user_attention(id, Some(window::UserAttention::Critical)));
        }
        if asked {
            self.incoming = None;
            self.ring = None;
        }
        self.going_on(info);
        Task::none()
    }

    /// A call that is neither over nor waiting for an answer.
    fn going_on(&mut self, info: CallInfo) {
        let id = info.id;
        match &mut self.screen {
            Screen::Call(call) if call.info.id == id => call.info = info,
            // One call on the screen; a daemon that has more is no person's.
            Screen::Call(_) => return,
            _ => {
                let resumed = self.own.is_none() && self.memory.recall() == Some(id);
                let source = if self.own == Some(id) || resumed { call::Source::Here } else { call::Source::Elsewhere };
                let test = if self.tests.contains(&id) { Test::Yes } else { Test::No };
                let camera = info.camera;
                let mut call = call::Call::new(info, test, source);
                for report in self.early_stages(id) {
                    call.stage(report);
                }
                self.screen = Screen::Call(Box::new(call));
                if resumed {
                    let kind = if camera == kith_common::call::Switch::On {
                        kith_common::call::CallKind::Video
                    } else {
                        kith_common::call::CallKind::Voice
                    };
                    self.open_devices(kind);
                    self.adopt(id);
                }
            }
        }
        self.studio.start_speaker();
        self.receive(id);
    }

    /// What was told of a call before it came to the screen.
    fn early_stages(&mut self, id: CallId) -> Vec<StageReport> {
        self.early.drain(..).filter(|(early, _)| *early == id).map(|(_, report)| report).collect()
    }

    fn finish(&mut self, info: CallInfo) {
        let (stages, stats, test) = match std::mem::replace(&mut self.screen, Screen::Home) {
            Screen::Call(call) if call.info.id == info.id => (call.stages, call.stats, call.test),
            _ => (self.early_stages(info.id), None, if self.tests.contains(&info.id) { Test::Yes } else { Test::No }),
        };
        self.quiet();
        self.screen = Screen::Ended(Box::new(ended::Ended { info, stages, stats, test }));
    }
}
