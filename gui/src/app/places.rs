//! The screens about the node: what they wish is done here, and what the daemon tells is handed to them.

use iced::widget::{column, container, responsive, row};
use iced::{Element, Task};
use kith_common::failure::FailureKind;

use super::{App, Message, Place};
use crate::link::{Command, Event};
use crate::screen::sidebar::Node;
use crate::screen::{Wish, devices, network};

/// From this width on the calls that are over stand beside the form; below it they stand under it.
const BESIDE: f32 = 700.0;
const RECENT_WIDTH: f32 = 300.0;
const RECENT_HEIGHT: f32 = 250.0;

impl App {
    pub(super) fn grant(&mut self, wish: Wish) -> Task<Message> {
        match wish {
            Wish::Nothing => {}
            Wish::Start(job, errand) => self.commander.send(Command::Start(job, errand)),
            Wish::Cancel(job) => self.commander.send(Command::Cancel(job)),
            Wish::Copy(content) => return self.copy(content),
            Wish::Paste => {
                return iced::clipboard::read().map(|content| Message::Network(network::Message::Pasted(content)));
            }
            Wish::Call(peer, kind) => self.dial(peer.to_string(), kind),
            Wish::Dial(target, kind) => self.dial(target, kind),
            Wish::Measure(peer) => {
                self.diagnostics.choose(Some(peer));
                return self.go(Place::Diagnostics);
            }
            wish => return self.grant_talk(wish),
        }
        Task::none()
    }

    pub(super) fn copy(&mut self, content: String) -> Task<Message> {
        self.copied = Some((std::time::Instant::now(), content.clone()));
        iced::clipboard::write(content)
    }

    /// Whether the place that is shown has clocks that go on.
    pub(super) fn clocks(&self) -> bool {
        match self.place {
            Place::Calls | Place::Chat | Place::Files => false,
            Place::Network => self.network.busy(),
            Place::Services => true,
            Place::Diagnostics => self.diagnostics.busy(),
        }
    }

    pub(super) fn place_view(&self) -> Element<'_, Message> {
        let node = &self.sidebar.node;
        let copied = self.copied.as_ref().map(|(_, content)| content.as_str());
        match self.place {
            Place::Calls => responsive(move |size| self.calls_view(size.width)).into(),
            Place::Chat => self.chat.view(node, copied).map(Message::Chat),
            Place::Files => self.files.view(node, &self.chat.people, copied).map(Message::Files),
            Place::Network => self.network.view(node, copied).map(Message::Network),
            Place::Services => self.services.view(node).map(Message::Services),
            Place::Diagnostics => self.diagnostics.view(node, copied).map(Message::Diagnostics),
        }
    }

    /// Whom to call, and who has called.
    fn calls_view(&self, width: f32) -> Element<'_, Message> {
        let node = &self.sidebar.node;
        let recent = self.recent.view(&self.chat, matches!(node, Node::Up { .. })).map(Message::Recent);
        if width < BESIDE {
            let home = self.home.view(node, &self.studio, devices::Layout::Wide).map(Message::Home);
            return column![home, container(recent).height(RECENT_HEIGHT)].spacing(12).into();
        }
        let home = self.home.view(node, &self.studio, devices::Layout::Tall).map(Message::Home);
        row![home, container(recent).width(RECENT_WIDTH)].spacing(12).into()
    }

    /// What the daemon tells about itself.
    pub(super) fn heard_of_node(&mut self, event: Event) -> Task<Message> {
        match event {
            Event::Peers(peers) => {
                self.diagnostics.hear_peers(&peers);
                self.chat.hear_peers(&peers);
                self.sidebar.hear(&peers);
                self.network.hear_peers(peers);
            }
            Event::Services(told) => {
                if lost(&told) {
                    return Task::none();
                }
                // The same rows are in the status, where the rest of the window looks; these are newer.
                if let (Ok(rows), Node::Up { status, .. }) = (&told, &mut self.sidebar.node) {
                    status.services.clone_from(rows);
                }
                self.services.hear(told);
            }
            Event::Network(told) if !lost(&told) => self.network.state = Some(told),
            Event::Links(told) if !lost(&told) => self.diagnostics.hear_links(told),
            Event::News(job, news) => {
                self.network.news(job, &news);
                self.services.news(job, &news);
                let (files, chat) = (self.files.news(job, &news), self.chat.news(job, &news));
                let wishes = vec![files, chat, self.diagnostics.news(job, &news), self.recent.news(job, &news)];
                return self.grant(Wish::All(wishes));
            }
            _ => {}
        }
        Task::none()
    }

    /// A daemon is there: what is looked at is asked for again.
    pub(super) fn node_is_back(&mut self) -> Task<Message> {
        if self.place == Place::Diagnostics {
            self.commander.send(Command::FollowLinks(kith_common::call::Switch::On));
        }
        let wishes = vec![self.chat.back(), self.files.back()];
        self.grant(Wish::All(wishes))
    }

    pub(super) fn node_is_lost(&mut self) {
        self.chat.lost();
        self.files.lost();
        self.recent.lost();
        self.network.lost();
        self.services.lost();
        self.diagnostics.lost();
    }
}

/// The loss of the daemon is told once, by the link itself.
fn lost<T>(told: &Result<T, kith_common::failure::Failure>) -> bool {
    told.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoDaemon)
}
