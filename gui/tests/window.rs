//! The window without a display: what is clicked and typed becomes the right command, and what the daemon reports is
//! shown in words.

#[path = "window/chat.rs"]
mod chat;
#[path = "window/files.rs"]
mod files;
#[path = "window/node.rs"]
mod node;
#[path = "window/recent.rs"]
mod recent;

use std::time::Instant;

use iced::{Event as Happening, Point};
use iced_test::{Error, Simulator};
use kith::app::{App, Message, Parts, Screen};
use kith::capture::{Hardware, Notice};
use kith::link::{Command, Commander, Doing, Event, Test};
use kith::mock;
use kith::notify::Notifier;
use kith::session::Memory;
use kith::{theme, words};
use kith_common::call::{
    CallInfo, CallKind, CallState, Direction, EndReason, Ending, Medium, Stage, StageReport, Switch,
};
use kith_common::failure::{Failure, FailureKind};
use lucide_icons::Icon;
use tokio::sync::mpsc;

struct Window {
    app: App,
    commands: mpsc::Receiver<Command>,
    notices: mpsc::Receiver<Notice>,
    /// Where the mouse is, if it is over the window.
    mouse: Option<Point>,
}

impl Window {
    /// Connected to a daemon, without devices.
    fn new() -> Self {
        let (commander, commands) = Commander::new();
        let (hardware, memory) = (Hardware::None, Memory::none());
        let parts = Parts { commander, hardware, memory, notifier: Notifier::default(), choices: None };
        let (app, notices, _bell) = App::new(parts);
        let mut window = Self { app, commands, notices, mouse: None };
        window.hear(Event::Connected { identity: mock::identity(), status: mock::status() });
        window.hear(Event::Peers(mock::peers()));
        window
    }

    fn hear(&mut self, event: Event) {
        let _ = self.app.update(Message::Link(Box::new(event)));
        self.devices();
    }

    /// Takes in what the (test) devices report.
    fn devices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            let _ = self.app.update(Message::Studio(notice));
        }
    }

    fn simulator(&self) -> Simulator<'_, Message> {
        Simulator::with_size(theme::settings(), (1180.0, 760.0), self.app.view())
    }

    fn click(&mut self, text: &str) -> Result<(), Error> {
        let mut ui = self.simulator();
        ui.click(text)?;
        let messages: Vec<_> = ui.into_messages().collect();
        assert!(!messages.is_empty(), "{text:?} does nothing");
        messages.into_iter().for_each(|message| drop(self.app.update(message)));
        self.devices();
        Ok(())
    }

    fn press(&mut self, icon: Icon) -> Result<(), Error> {
        self.click(&char::from(icon).to_string())
    }

    fn shows(&self, text: &str) -> bool {
        self.simulator().find(text).is_ok()
    }

    /// Everything that was asked of the daemon since the last time.
    fn asked(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.commands.try_recv().ok()).collect()
    }

    fn happens<const N: usize>(&mut self, events: [Happening; N]) {
        let mut ui = self.simulator();
        if let Some(mouse) = self.mouse {
            ui.point_at(mouse);
        }
        let _ = ui.simulate(events);
        let messages: Vec<_> = ui.into_messages().collect();
        messages.into_iter().for_each(|message| drop(self.app.update(message)));
    }

    /// Lets the daemon answer everything that was asked, and the window look at what came, as it does before it draws.
    fn settle(&mut self, mut answer: impl FnMut(Command) -> Vec<Event>) {
        for round in 0..60 {
            let asked = self.asked();
            let rests = asked.is_empty() && round > 0;
            asked.into_iter().flat_map(&mut answer).for_each(|event| self.hear(event));
            self.happens([Happening::Window(iced::window::Event::RedrawRequested(Instant::now()))]);
            if rests {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn in_call(kind: CallKind) -> (Self, CallInfo) {
        let mut window = Self::new();
        let info = mock::call(1, Direction::Outgoing, kind, CallState::Active);
        window.hear(Event::Placed { call: info.id, test: Test::No });
        window.hear(Event::Call(info.clone()));
        window.hear(Event::Stats(info.id, mock::stats(3.0)));
        window.asked();
        (window, info)
    }
}

fn type_target(window: &mut Window, text: &str) -> Result<(), Error> {
    let mut ui = window.simulator();
    ui.click(iced::widget::Id::new(kith::screen::home::TARGET))?;
    ui.typewrite(text);
    let messages: Vec<_> = ui.into_messages().collect();
    // The simulator's view does not follow: the first letter of each message is enough to see that typing arrives.
    assert!(!messages.is_empty());
    let _ = window.app.update(Message::Home(kith::screen::home::Message::Target(text.to_owned())));
    Ok(())
}

#[test]
fn typing_an_address_and_pressing_video_call_dials_it() -> Result<(), Error> {
    let mut window = Window::new();
    type_target(&mut window, "192.0.2.9")?;
    window.click("Video call")?;
    let asked = window.asked();
    assert!(
        matches!(&asked[..], [Command::Dial { target, options }]
            if target == "192.0.2.9" && options.kind == Some(CallKind::Video) && options.camera == Switch::On),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn a_voice_call_opens_no_camera() -> Result<(), Error> {
    let mut window = Window::new();
    type_target(&mut window, "192.0.2.9")?;
    window.click("Voice call")?;
    assert!(matches!(&window.asked()[..], [Command::Dial { options, .. }] if options.camera == Switch::Off));
    assert_eq!(window.app.studio.camera_status, kith::capture::Status::Off);
    Ok(())
}

#[test]
fn nonsense_is_answered_in_a_sentence_and_not_dialed() -> Result<(), Error> {
    let mut window = Window::new();
    type_target(&mut window, "my friend ada")?;
    window.click("Video call")?;
    assert!(window.asked().is_empty());
    let failure = window.app.home.failure.clone().expect("it was refused");
    assert!(window.shows(&words::sentence_of(&failure.message)), "{failure:?}");
    Ok(())
}

#[test]
fn a_known_peer_is_called_by_clicking_the_row() -> Result<(), Error> {
    let mut window = Window::new();
    window.click("Alan Turing")?;
    let asked = window.asked();
    assert!(
        matches!(&asked[..], [Command::Dial { target, .. }] if *target == mock::peer_id(2).to_string()),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn who_i_am_is_shown_and_the_ticket_can_be_copied() -> Result<(), Error> {
    let mut window = Window::new();
    assert!(window.shows("Grace Hopper") && window.shows("Ready for calls"));
    window.click("Copy my ticket")?;
    assert!(window.shows("Copied"));
    Ok(())
}

#[test]
fn an_incoming_call_can_be_answered_with_video() -> Result<(), Error> {
    let mut window = Window::new();
    let info = mock::call(9, Direction::Incoming, CallKind::Video, CallState::Ringing);
    window.hear(Event::Call(info.clone()));
    assert!(window.shows("Ada Lovelace") && window.shows("wants a video call"));
    assert!(window.shows(&mock::peer_id(1).to_string()), "the caller's id is shown");
    // Nothing is captured before a person accepts.
    assert_eq!(window.app.studio.camera_status, kith::capture::Status::Off);
    assert_eq!(window.app.studio.microphone_status, kith::capture::Status::Off);
    window.press_in_dialog(Icon::Video)?;
    let asked = window.asked();
    assert!(
        asked.iter().any(|command| matches!(command, Command::Answer { call, options }
            if *call == info.id && options.kind == Some(CallKind::Video))),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|command| matches!(command, Command::SendVideo(call, _) if *call == info.id)),
        "{asked:?}"
    );
    Ok(())
}

impl Window {
    /// Clicks an answer of the dialog, whose icons also stand elsewhere in the window.
    fn press_in_dialog(&mut self, icon: Icon) -> Result<(), Error> {
        let incoming = self.app.incoming.as_ref().expect("somebody calls");
        let mut ui = Simulator::with_size(theme::settings(), (1180.0, 760.0), incoming.view());
        ui.click(char::from(icon).to_string().as_str())?;
        let messages: Vec<_> = ui.into_messages().collect();
        messages.into_iter().for_each(|message| drop(self.app.update(Message::Incoming(message))));
        self.devices();
        Ok(())
    }
}

#[test]
fn an_incoming_call_can_be_answered_with_voice_alone() -> Result<(), Error> {
    let mut window = Window::new();
    window.hear(Event::Call(mock::call(9, Direction::Incoming, CallKind::Video, CallState::Ringing)));
    window.press_in_dialog(Icon::Phone)?;
    let asked = window.asked();
    assert!(
        asked.iter().any(|command| matches!(command, Command::Answer { options, .. }
            if options.kind == Some(CallKind::Voice) && options.camera == Switch::Off)),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|command| matches!(command, Command::SendVideo(..))), "{asked:?}");
    Ok(())
}

#[test]
fn declining_opens_no_device() -> Result<(), Error> {
    let mut window = Window::new();
    window.hear(Event::Call(mock::call(9, Direction::Incoming, CallKind::Video, CallState::Ringing)));
    window.press_in_dialog(Icon::PhoneOff)?;
    assert!(matches!(&window.asked()[..], [Command::Decline(_)]));
    assert!(window.app.incoming.is_none());
    assert_eq!(window.app.studio.microphone_status, kith::capture::Status::Off);
    Ok(())
}

#[test]
fn muting_tells_the_daemon_and_can_be_undone() -> Result<(), Error> {
    let (mut window, info) = Window::in_call(CallKind::Video);
    window.press(Icon::Mic)?;
    assert!(matches!(&window.asked()[..], [Command::SetMicrophone(call, Switch::Off)] if *call == info.id));
    assert!(window.shows("Unmute"));
    window.press(Icon::MicOff)?;
    assert!(matches!(&window.asked()[..], [Command::SetMicrophone(_, Switch::On)]));
    Ok(())
}

#[test]
fn switching_the_camera_off_closes_it() -> Result<(), Error> {
    let (mut window, info) = Window::in_call(CallKind::Video);
    let _ = window.app.update(Message::Call(kith::screen::call::Message::Camera));
    assert!(matches!(&window.asked()[..], [Command::SetCamera(call, Switch::Off)] if *call == info.id));
    assert_eq!(window.app.studio.camera_status, kith::capture::Status::Off);
    assert!(window.shows("Camera on"));
    Ok(())
}

#[test]
fn hanging_up_ends_the_call_and_tells_what_it_was_like() -> Result<(), Error> {
    let (mut window, info) = Window::in_call(CallKind::Video);
    window.press(Icon::PhoneOff)?;
    assert!(matches!(&window.asked()[..], [Command::HangUp(call)] if *call == info.id));
    window.hear(Event::Call(ended(&info, Ending::by(EndReason::Local))));
    assert!(window.shows("Call ended") && window.shows("You hung up.") && window.shows("Duration"));
    assert_eq!(window.app.studio.microphone_status, kith::capture::Status::Off, "nothing listens after the call");
    window.click("Close")?;
    assert!(window.shows("Call someone"));
    Ok(())
}

fn ended(info: &CallInfo, ending: Ending) -> CallInfo {
    CallInfo { state: CallState::Ended, ending: Some(ending), ..info.clone() }
}

#[test]
fn an_unreachable_peer_is_told_with_the_stage_and_advice() {
    let mut window = Window::new();
    let info = mock::call(1, Direction::Outgoing, CallKind::Video, CallState::Dialing);
    window.hear(Event::Placed { call: info.id, test: Test::No });
    window.hear(Event::Call(info.clone()));
    window.hear(Event::Stage(info.id, StageReport { stage: Stage::Dial, at_us: 1_500, detail: String::new() }));
    assert!(window.shows("Connecting to their machine…") && window.shows("Cancel"));
    let mut ending = Ending::by(EndReason::Unreachable);
    ending.failed_stage = Some(Stage::Dial);
    window.hear(Event::Call(ended(&info, ending.clone())));
    let told = words::ending(&ending, "Ada Lovelace", words::Talked::No);
    assert!(window.shows(&told.heading) && window.shows(&told.sentence) && window.shows(&told.advice));
    assert!(window.shows("Connecting to the machine"), "the timeline stays");
}

#[test]
fn without_camera_and_microphone_the_window_says_what_is_sent_instead() {
    let window = Window::new();
    assert!(window.shows("No camera was found."));
    assert!(window.shows("No microphone was found."));
    let (window, _) = {
        let (mut window, info) = Window::in_call(CallKind::Video);
        window.app.studio.start_camera();
        window.devices();
        (window, info)
    };
    assert!(window.shows("The test picture is sent instead."));
}

#[test]
fn a_refused_dial_is_shown_where_it_was_made() {
    let mut window = Window::new();
    let failure = Failure::new(FailureKind::Busy, "a call is going on already").advise("Hang up first.");
    window.hear(Event::Failed { doing: Doing::Dialing, failure });
    assert!(window.shows("A call is going on already.") && window.shows("Hang up first."));
}

#[test]
fn a_call_placed_elsewhere_is_shown_and_its_source_is_left_alone() -> Result<(), Error> {
    let mut window = Window::new();
    let info = mock::call(4, Direction::Outgoing, CallKind::Video, CallState::Active);
    window.hear(Event::Call(info.clone()));
    let asked = window.asked();
    assert!(matches!(&asked[..], [Command::Receive(call)] if *call == info.id), "{asked:?}");
    window.click("Send from here")?;
    let asked = window.asked();
    assert!(asked.iter().any(|command| matches!(command, Command::SendVideo(..))), "{asked:?}");
    assert!(asked.iter().any(|command| matches!(command, Command::SendAudio(..))), "{asked:?}");
    Ok(())
}

#[test]
fn a_source_taken_by_another_program_is_said() {
    let (mut window, info) = Window::in_call(CallKind::Video);
    window.hear(Event::SourceTaken(info.id, Medium::Video));
    assert!(window.shows("Another program sends your picture now."));
}

#[test]
fn losing_the_daemon_ends_the_call_in_words_and_coming_back_is_seen() {
    let (mut window, _) = Window::in_call(CallKind::Voice);
    window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection to the daemon was lost.")));
    assert!(window.shows("Your node stopped, and the call with it.") && window.shows("Node not running"));
    window.hear(Event::Connected { identity: mock::identity(), status: mock::status() });
    assert!(window.shows("Ready for calls"));
}

#[test]
fn late_news_of_an_ended_call_does_not_bring_it_back() {
    let (mut window, info) = Window::in_call(CallKind::Video);
    window.hear(Event::Call(ended(&info, Ending::by(EndReason::Remote))));
    window.hear(Event::Stats(info.id, mock::stats(4.0)));
    assert!(matches!(window.app.screen, Screen::Ended(_)));
    assert!(window.shows("Ada Lovelace hung up."));
}

#[test]
fn a_cancelled_test_call_is_hung_up_when_it_comes() -> Result<(), Error> {
    let mut window = Window::new();
    window.click("Test call")?;
    assert!(matches!(&window.asked()[..], [Command::TestCall { .. }]));
    window.click("Cancel")?;
    let id = mock::call(7, Direction::Outgoing, CallKind::Video, CallState::Dialing).id;
    window.hear(Event::Placed { call: id, test: Test::Yes });
    assert!(matches!(&window.asked()[..], [Command::HangUp(call)] if *call == id));
    Ok(())
}

#[test]
fn a_call_that_ends_before_it_is_known_is_told_all_the_same() {
    let mut window = Window::new();
    let info = mock::call(5, Direction::Outgoing, CallKind::Video, CallState::Dialing);
    window.hear(Event::Call(ended(&info, Ending::by(EndReason::Busy))));
    window.hear(Event::Placed { call: info.id, test: Test::No });
    assert!(window.shows("Busy") && window.shows("Ada Lovelace is in another call."));
    assert_eq!(window.app.studio.microphone_status, kith::capture::Status::Off);
}

#[test]
fn pressing_twice_dials_once() -> Result<(), Error> {
    let mut window = Window::new();
    window.click("Alan Turing")?;
    window.click("Alan Turing")?;
    assert_eq!(window.asked().len(), 1);
    Ok(())
}
