//! The application: one daemon, at most one call on the screen, and what the person at it does. Screens turn messages
//! into actions, this carries them out; what the daemon reports is taken in by `events`.

mod events;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use iced::widget::{container, row, stack};
use iced::{Element, Fill, Subscription, Task, Theme, window};
use kith_common::call::{CallInfo, CallKind, CallOptions, CallState, StageReport, Switch};
use kith_common::ids::CallId;
use kith_common::media::VideoFormat;
use tokio::sync::mpsc;

use crate::capture::{Change, Hardware, Notice, Studio};
use crate::link::{Command, Commander, Event, Test};
use crate::playback::{Playback, Ring};
use crate::screen::{call, devices, ended, home, incoming, sidebar};
use crate::session::Memory;
use crate::theme;
use crate::widget::video::{Bell, Role, VideoSlot};

/// Pictures are drawn at most this often: no screen or eye follows more.
const REDRAW: Duration = Duration::from_millis(15);
/// A closing window gives the hang-up this long to leave.
const GOODBYE: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
pub enum Message {
    Link(Box<Event>),
    Studio(Notice),
    /// A slot has a new picture: draw again.
    Picture,
    /// Time passes: clocks on the screen go on.
    Tick,
    Sidebar(sidebar::Message),
    Home(home::Message),
    Call(call::Message),
    Incoming(incoming::Message),
    Ended(ended::Message),
    Close,
    Exit,
}

#[derive(Debug)]
pub enum Screen {
    Home,
    Call(Box<call::Call>),
    Ended(Box<ended::Ended>),
}

pub struct App {
    commander: Commander,
    pub sidebar: sidebar::Sidebar,
    pub home: home::Home,
    pub screen: Screen,
    pub incoming: Option<incoming::Incoming>,
    pub studio: Studio,
    /// The peer's picture.
    pub remote: VideoSlot,
    playback: Playback,
    ring: Option<Ring>,
    memory: Memory,
    /// The call that this window sends for.
    own: Option<CallId>,
    /// The call whose pictures and sound have been asked for.
    receiving: Option<CallId>,
    /// What the open camera delivers.
    format: Option<VideoFormat>,
    sound: Option<()>,
    /// When this window last asked to be a call's source.
    asked: Option<Instant>,
    copied: Option<Instant>,
    cancelled_test: Option<()>,
    /// The test calls of late.
    tests: Vec<CallId>,
    /// A call has been asked for and is not there yet.
    placing: Option<()>,
    /// Stages of a call that is not on the screen yet.
    early: Vec<(CallId, StageReport)>,
    /// The newest end: a call may be over before it is known to be this window's.
    last_ended: Option<CallInfo>,
}

/// What a new application listens to besides its widgets.
pub struct Streams {
    pub events: BoxStream<'static, Event>,
    pub notices: mpsc::Receiver<Notice>,
    pub bell: Bell,
}

fn stream<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

impl Streams {
    /// Everything as one task that runs as long as the application.
    pub fn into_task(self) -> Task<Message> {
        let bell = self.bell;
        let pictures = futures::stream::unfold(bell, async |bell| {
            tokio::time::sleep(REDRAW).await;
            bell.rung().await;
            Some(((), bell))
        });
        Task::batch([
            Task::run(self.events, |event| Message::Link(Box::new(event))),
            Task::run(stream(self.notices), Message::Studio),
            Task::run(pictures.boxed(), |()| Message::Picture),
            Task::run(signals().boxed(), |()| Message::Close),
        ])
    }
}

/// Being asked to end by the system.
fn signals() -> impl futures::Stream<Item = ()> + Send + 'static {
    futures::stream::once(async {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            }
            _ => std::future::pending().await,
        }
    })
}

/// The parts that an application is made of.
pub struct Parts {
    pub commander: Commander,
    pub hardware: Hardware,
    pub memory: Memory,
}

impl App {
    /// The application, and what its devices and pictures report through.
    pub fn new(parts: Parts) -> (Self, mpsc::Receiver<Notice>, Bell) {
        let bell = Bell::default();
        let (studio, notices) = Studio::new(parts.hardware, bell.clone());
        studio.look_around();
        let app = Self {
            commander: parts.commander,
            sidebar: sidebar::Sidebar::default(),
            home: home::Home::default(),
            screen: Screen::Home,
            incoming: None,
            studio,
            remote: VideoSlot::new(bell.clone(), Role::Leads),
            playback: Playback::default(),
            ring: None,
            memory: parts.memory,
            own: None,
            receiving: None,
            format: None,
            sound: None,
            asked: None,
            copied: None,
            cancelled_test: None,
            tests: Vec::new(),
            placing: None,
            early: Vec::new(),
            last_ended: None,
        };
        (app, notices, bell)
    }

    pub fn title(&self) -> String {
        match &self.screen {
            Screen::Call(call) => format!("{} · Kith", crate::words::peer(&call.info)),
            _ => "Kith".into(),
        }
    }

    pub fn theme(&self) -> Theme {
        theme::theme()
    }

    pub fn subscription(&self) -> Subscription<Message> {
        let mut list = vec![window::close_requests().map(|_| Message::Close)];
        if matches!(self.screen, Screen::Call(_)) || self.copied.is_some() {
            list.push(iced::time::every(Duration::from_millis(500)).map(|_| Message::Tick));
        }
        Subscription::batch(list)
    }

    pub fn update(&mut self, message: Message) -> Task<Message> {
        match message {
            Message::Picture => {}
            Message::Tick => {
                if self.copied.is_some_and(|at| at.elapsed() > Duration::from_secs(2)) {
                    self.copied = None;
                    self.sidebar.copied = sidebar::Copied::No;
                }
            }
            Message::Link(event) => return self.heard(*event),
            Message::Studio(notice) => self.device(notice),
            Message::Sidebar(message) => match self.sidebar.update(message) {
                sidebar::Action::Copy(ticket) => {
                    self.copied = Some(Instant::now());
                    return iced::clipboard::write(ticket);
                }
                sidebar::Action::Place { target, kind } => self.place(target, kind),
                sidebar::Action::None => {}
            },
            Message::Home(message) => match self.home.update(message) {
                home::Action::Paste => {
                    return iced::clipboard::read().map(|content| Message::Home(home::Message::Pasted(content)));
                }
                home::Action::Place { target, kind } => self.place(target, kind),
                home::Action::TestCall => self.place_test(),
                home::Action::CancelTest => {
                    self.cancelled_test = Some(());
                    self.home.testing = None;
                    self.studio.stop_all();
                }
                home::Action::Devices(message) => self.choose(message),
                home::Action::None => {}
            },
            Message::Incoming(message) => {
                if let Some(incoming) = &self.incoming {
                    let action = incoming.update(&message);
                    self.answer(action);
                }
            }
            Message::Call(message) => {
                if let Screen::Call(call) = &mut self.screen {
                    let action = call.update(message);
                    self.in_call(action);
                }
            }
            Message::Ended(message) => {
                if let Screen::Ended(ended) = &self.screen {
                    let action = ended.update(&message);
                    self.screen = Screen::Home;
                    match action {
                        ended::Action::Again { test: Test::Yes, .. } => self.place_test(),
                        ended::Action::Again { target: Some(target), kind, .. } => self.place(target, kind),
                        ended::Action::Again { .. } | ended::Action::Close => {}
                    }
                }
            }
            Message::Close => {
                let Some(call) = self.own else { return iced::exit() };
                self.commander.send(Command::HangUp(call));
                return Task::future(tokio::time::sleep(GOODBYE)).map(|()| Message::Exit);
            }
            Message::Exit => return iced::exit(),
        }
        Task::none()
    }

    pub fn view(&self) -> Element<'_, Message> {
        let free = if matches!(self.screen, Screen::Call(_)) { sidebar::Free::No } else { sidebar::Free::Yes };
        let main = match &self.screen {
            Screen::Home => self.home.view(&self.sidebar.node, &self.studio).map(Message::Home),
            Screen::Call(call) => call.view(&self.remote, &self.studio).map(Message::Call),
            Screen::Ended(ended) => ended.view().map(Message::Ended),
        };
        let mut page = row![].spacing(12).padding(12);
        // In a call the room belongs to the picture.
        if free == sidebar::Free::Yes {
            page = page.push(self.sidebar.view(free).map(Message::Sidebar));
        }
        let page = container(page.push(main)).width(Fill).height(Fill).style(theme::window);
        let mut layers = stack![page];
        if let Some(incoming) = &self.incoming {
            layers = layers.push(incoming.view().map(Message::Incoming));
        }
        layers.into()
    }

    fn busy(&self) -> bool {
        self.placing.is_some() || matches!(&self.screen, Screen::Call(call) if call.info.state != CallState::Ended)
    }

    fn place(&mut self, target: String, kind: CallKind) {
        if self.busy() {
            return;
        }
        self.screen = Screen::Home;
        self.home.failure = None;
        self.placing = Some(());
        self.open_devices(kind);
        self.commander.send(Command::Dial { target, options: options(kind) });
    }

    fn place_test(&mut self) {
        if self.busy() || self.home.testing.is_some() {
            return;
        }
        self.cancelled_test = None;
        self.home.testing = Some("Starting an echo on this machine…".into());
        self.open_devices(CallKind::Video);
        self.commander.send(Command::TestCall { options: options(CallKind::Video) });
    }

    /// Opens what a call of this kind sends. Takes no time: devices open on their own threads.
    fn open_devices(&mut self, kind: CallKind) {
        self.studio.set_microphone(Switch::On);
        if kind == CallKind::Video {
            self.studio.start_camera();
        }
        self.studio.start_microphone();
        self.studio.start_speaker();
    }

    fn answer(&mut self, action: incoming::Action) {
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

    fn in_call(&mut self, action: call::Action) {
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
    fn choose(&mut self, message: devices::Message) {
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
    fn adopt(&mut self, call: CallId) {
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

    fn send_video(&mut self, call: CallId, format: VideoFormat) {
        self.asked = Some(Instant::now());
        self.commander.send(Command::SendVideo(call, format));
    }

    fn send_audio(&mut self, call: CallId) {
        self.asked = Some(Instant::now());
        self.commander.send(Command::SendAudio(call));
    }

    fn device(&mut self, notice: Notice) {
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
    fn quiet(&mut self) {
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
