//! Placing, answering and leaving calls, and the devices that they need.

use std::time::Instant;

use kith_common::call::{CallKind, CallOptions, CallState, Switch};
use kith_common::ids::CallId;
use kith_common::media::VideoFormat;

use super::{App, Screen};
use crate::capture::{Change, Notice};
use crate::link::Command;
use crate::playback::Playback;
use crate::screen::{call, devices, incoming};

impl App {
    pub(super) fn busy(&self) -> bool {
        self.placing.is_some() || matches!(&self.screen, Screen::Call(call) if call.info.state != CallState::Ended)
    }

    pub(super) fn dial(&mut self, target: String, kind: CallKind) {
        if self.busy() {
            return;
        }
        self.screen = Screen::Home;
        self.home.failure = None;
        self.placing = Some(());
        self.open_devices(kind);
        self.commander.send(Command::Dial { target, options: options(kind) });
    }

    pub(super) fn place_test(&mut self) {
        if self.busy() || self.home.testing.is_some() {
            return;
        }
        self.cancelled_test = None;
        self.home.testing = Some("Starting an echo on this machine…".into());
        self.open_devices(CallKind::Video);
        // One's own echo has nothing to do in the list of calls.
        let options = CallOptions { log: Switch::Off, ..options(CallKind::Video) };
        self.commander.send(Command::TestCall { options });
    }

    /// Opens what a call of this kind sends. Takes no time: devices open on their own threads.
    pub(super) fn open_devices(&mut self, kind: CallKind) {
        self.studio.set_microphone(Switch::On);
        if kind == CallKind::Video {
            self.studio.start_camera();
        }
        self.studio.start_microphone();
        self.studio.start_speaker();
    }

    pub(super) fn answer(&mut self, action: incoming::Action) {
        self.incoming = None;
        self.ring = None;
        match action {
            incoming::Action::Answer(call, kind) => {
                self.home.failure = None;
                self.open_devices(kind);
                self.commander.send(Command::Answer { call, options: options(kind) });
                self.adopt(call);
            }
            incoming::Action::Decline(call) => {
                self.studio.stop_speaker();
                self.commander.send(Command::Decline(call));
            }
        }
    }

    pub(super) fn in_call(&mut self, action: call::Action) {
        match action {
            call::Action::SetMicrophone(call, state) => {
                self.studio.set_microphone(state);
                self.commander.send(Command::SetMicrophone(call, state));
            }
            call::Action::SetCamera(call, state) => {
                match state {
                    Switch::On => self.studio.start_camera(),
                    Switch::Off => {
                        self.studio.stop_camera();
                        self.format = None;
                    }
                }
                self.commander.send(Command::SetCamera(call, state));
            }
            call::Action::HangUp(call) => self.commander.send(Command::HangUp(call)),
            call::Action::TakeOver(call) => {
                let Screen::Call(screen) = &mut self.screen else { return };
                screen.source = call::Source::Here;
                let kind = if screen.info.camera == Switch::On { CallKind::Video } else { CallKind::Voice };
                self.open_devices(kind);
                self.adopt(call);
            }
            call::Action::Devices(message) => self.choose(message),
            call::Action::None => {}
        }
    }

    /// Changes a device; one that is open is replaced at once.
    pub(super) fn choose(&mut self, message: devices::Message) {
        match message {
            devices::Message::Camera(choice) => {
                let open = self.studio.camera_status != crate::capture::Status::Off;
                self.studio.camera_choice = choice;
                if open {
                    self.studio.stop_camera();
                    self.studio.start_camera();
                }
            }
            devices::Message::Microphone(choice) => {
                let open = self.studio.microphone_status != crate::capture::Status::Off;
                self.studio.microphone_choice = choice;
                if open {
                    self.studio.stop_microphone();
                    self.studio.start_microphone();
                }
            }
            devices::Message::Speaker(choice) => {
                let open = self.studio.speaker_status != crate::capture::Status::Off;
                self.studio.speaker_choice = choice;
                if open {
                    self.studio.stop_speaker();
                    self.studio.start_speaker();
                    self.playback.use_speaker(self.studio.speaker_input());
                }
            }
        }
    }

    /// This window sends for a call from now on.
    pub(super) fn adopt(&mut self, call: CallId) {
        self.own = Some(call);
        self.memory.remember(call);
        if let Screen::Call(screen) = &mut self.screen
            && screen.info.id == call
        {
            screen.source = call::Source::Here;
        }
        if let Some(format) = self.format {
            self.send_video(call, format);
        }
        if self.sound.is_some() {
            self.send_audio(call);
        }
    }

    pub(super) fn send_video(&mut self, call: CallId, format: VideoFormat) {
        self.asked = Some(Instant::now());
        self.commander.send(Command::SendVideo(call, format));
    }

    pub(super) fn send_audio(&mut self, call: CallId) {
        self.asked = Some(Instant::now());
        self.commander.send(Command::SendAudio(call));
    }

    pub(super) fn device(&mut self, notice: Notice) {
        match (self.studio.handle(notice), self.own) {
            (Change::VideoReady(format), own) => {
                self.format = Some(format);
                if let Some(call) = own {
                    self.send_video(call, format);
                }
            }
            (Change::SoundReady, own) => {
                self.sound = Some(());
                if let Some(call) = own {
                    self.send_audio(call);
                }
            }
            (Change::SourceGone(medium, gone), _) => tracing::debug!(?medium, %gone, "sending has ended"),
            (Change::None, _) => {}
        }
    }

    /// The call is over for this window: nothing is captured or played any more.
    pub(super) fn quiet(&mut self) {
        self.studio.stop_all();
        self.playback = Playback::default();
        self.remote.clear();
        self.memory.forget();
        self.own = None;
        self.receiving = None;
        self.format = None;
        self.sound = None;
    }
}

fn options(kind: CallKind) -> CallOptions {
    let camera = if kind == CallKind::Video { Switch::On } else { Switch::Off };
    CallOptions { kind: Some(kind), camera, ..CallOptions::default() }
}
