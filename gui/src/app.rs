//! The application: one daemon, at most one call on the screen, and what the person at it does. Screens turn messages
//! into actions, this carries them out; what the daemon reports is taken in by `events`.

mod calling;
mod events;
mod filing;
mod navigate;
mod places;
mod talking;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use iced::widget::{container, row, stack};
use iced::{Element, Fill, Subscription, Task, Theme, window};
use kith_common::call::{CallInfo, StageReport};
use kith_common::failure::Failure;
use kith_common::ids::CallId;
use kith_common::media::VideoFormat;
use tokio::sync::mpsc;

pub use navigate::{Key, Place, key};
pub use talking::Around;

use crate::capture::{Hardware, Notice, Studio};
use crate::link::{Command, Commander, Event, Test};
use crate::notify::Notifier;
use crate::playback::{Playback, Ring};
use crate::screen::{call, chat, diagnostics, ended, files, home, incoming, network, recent, services, sidebar};
use crate::session::Memory;
use crate::theme;
use crate::widget::video::{Bell, Role, VideoSlot};

/// Pictures are drawn at most this often: no screen or eye follows more.
const REDRAW: Duration = Duration::from_millis(15);
/// For this long after copying it is said that it was done.
const COPIED: Duration = Duration::from_secs(2);
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
    Recent(recent::Message),
    Call(call::Message),
    Chat(chat::Message),
    Files(files::Message),
    /// A folder was to be opened; whether it was.
    Revealed(Result<(), Failure>),
    Incoming(incoming::Message),
    Ended(ended::Message),
    Network(network::Message),
    Services(services::Message),
    Diagnostics(diagnostics::Message),
    Go(Place),
    Key(Key),
    Around(Around),
    Dropped(PathBuf),
    /// Something is held over the window, or not any more.
    Hovered(bool),
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
    pub recent: recent::Recent,
    pub screen: Screen,
    /// Where one is when there is no call to show.
    pub place: Place,
    pub chat: chat::Chat,
    pub files: files::Files,
    pub network: network::Network,
    pub services: services::Services,
    pub diagnostics: diagnostics::Diagnostics,
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
    /// What was copied last, for a moment.
    copied: Option<(Instant, String)>,
    cancelled_test: Option<()>,
    /// The test calls of late.
    tests: Vec<CallId>,
    /// A call has been asked for and is not there yet.
    placing: Option<()>,
    /// Stages of a call that is not on the screen yet.
    early: Vec<(CallId, StageReport)>,
    /// The newest end: a call may be over before it is known to be this window's.
    last_ended: Option<CallInfo>,
    notifier: Notifier,
    /// Where choices are kept.
    choices: Option<PathBuf>,
    focus: Around,
    /// The newest message that the desktop has been told of, or that was there before.
    told_to: Option<u64>,
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
    pub notifier: Notifier,
    /// Where choices are kept; `None`: nowhere.
    pub choices: Option<PathBuf>,
}

impl App {
    /// The application, and what its devices and pictures report through.
    pub fn new(parts: Parts) -> (Self, mpsc::Receiver<Notice>, Bell) {
        let bell = Bell::default();
        let (studio, notices) = Studio::new(parts.hardware, bell.clone());
        studio.look_around();
        let mut app = Self {
            commander: parts.commander,
            sidebar: sidebar::Sidebar::default(),
            home: home::Home::default(),
            recent: recent::Recent::default(),
            screen: Screen::Home,
            place: Place::Calls,
            chat: chat::Chat::default(),
            files: files::Files::default(),
            network: network::Network::default(),
            services: services::Services::default(),
            diagnostics: diagnostics::Diagnostics::default(),
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
            notifier: parts.notifier,
            choices: parts.choices,
            focus: Around::Focused,
            told_to: None,
        };
        app.recall_choices();
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
        let mut list = vec![window::close_requests().map(|_| Message::Close), self.keys(), talking::around()];
        if matches!(self.screen, Screen::Call(_)) || self.copied.is_some() || self.clocks() {
            list.push(iced::time::every(Duration::from_millis(500)).map(|_| Message::Tick));
        }
        Subscription::batch(list)
    }

    pub fn update(&mut self, message: Message) -> Task<Message> {
        self.look();
        match message {
            Message::Picture => {}
            Message::Tick => {
                if self.copied.as_ref().is_some_and(|(at, _)| at.elapsed() > COPIED) {
                    self.copied = None;
                    self.sidebar.copied = sidebar::Copied::No;
                }
            }
            Message::Link(event) => return self.heard(*event),
            Message::Studio(notice) => self.device(notice),
            Message::Sidebar(message) => match self.sidebar.update(message) {
                sidebar::Action::Copy(ticket) => return self.copy(ticket),
                sidebar::Action::Everybody => return self.go(Place::Network),
                sidebar::Action::Place { target, kind } => self.dial(target, kind),
                sidebar::Action::None => {}
            },
            Message::Home(message) => match self.typed_at_home(message) {
                home::Action::Paste => {
                    return iced::clipboard::read().map(|content| Message::Home(home::Message::Pasted(content)));
                }
                home::Action::Place { target, kind } => self.dial(target, kind),
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
                        ended::Action::Again { target: Some(target), kind, .. } => self.dial(target, kind),
                        ended::Action::Again { .. } | ended::Action::Close => {}
                    }
                }
            }
            Message::Recent(message) => {
                let wish = self.recent.update(message);
                return self.grant(wish);
            }
            Message::Chat(message) => {
                let wish = self.chat.update(message);
                return self.grant(wish);
            }
            Message::Files(message) => {
                let wish = self.files.update(message);
                return self.grant(wish);
            }
            Message::Revealed(told) => self.revealed(told),
            Message::Network(message) => {
                let wish = self.network.update(message);
                return self.grant(wish);
            }
            Message::Services(message) => {
                let wish = self.services.update(message);
                return self.grant(wish);
            }
            Message::Diagnostics(message) => {
                let wish = self.diagnostics.update(message);
                return self.grant(wish);
            }
            Message::Go(place) => return self.go(place),
            Message::Key(key) => return self.key(key),
            Message::Around(around) => return self.around(around),
            Message::Dropped(path) => return self.dropped(path),
            Message::Hovered(over) => self.hovered(over),
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
        let mut page = row![].spacing(12).padding(12);
        // In a call the room belongs to the picture.
        if !matches!(self.screen, Screen::Call(_)) {
            page = page.push(self.rail());
            if self.place == Place::Calls {
                page = page.push(self.sidebar.view(sidebar::Free::Yes).map(Message::Sidebar));
            }
        }
        let main = match &self.screen {
            Screen::Home => self.place_view(),
            Screen::Call(call) => call.view(&self.remote, &self.studio).map(Message::Call),
            Screen::Ended(ended) => ended.view().map(Message::Ended),
        };
        let page = container(page.push(main)).width(Fill).height(Fill).style(theme::window);
        let mut layers = stack![page];
        if let Some(incoming) = &self.incoming {
            layers = layers.push(incoming.view().map(Message::Incoming));
        }
        layers.into()
    }
}
