//! The places of the window and the ways between them: the rail on the left, and keys for those who do not use a mouse.

use iced::keyboard::key::Named;
use iced::keyboard::{self, Key as Pressed, Modifiers};
use iced::widget::{button, column, container, operation, row, space, text, tooltip};
use iced::{Alignment, Element, Fill, Subscription, Task};
use kith_common::call::Switch;
use kith_common::node::ServiceState;
use lucide_icons::Icon;

use super::{App, Message, Screen};
use crate::link::Command;
use crate::screen::sidebar::Node;
use crate::screen::{Wish, chat, files, home, network, recent};
use crate::theme;
use crate::widget::parts::{dot, icon};

/// Where one can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Calls,
    Chat,
    Files,
    Network,
    Services,
    Diagnostics,
}

impl Place {
    const ALL: [Self; 6] = [Self::Calls, Self::Chat, Self::Files, Self::Network, Self::Services, Self::Diagnostics];

    /// Its picture, its name, and the keys that lead there.
    fn sign(self) -> (Icon, &'static str, &'static str) {
        match self {
            Self::Calls => (Icon::Video, "Calls", "Ctrl+1"),
            Self::Chat => (Icon::MessageCircle, "Chat", "Ctrl+2"),
            Self::Files => (Icon::Folder, "Files", "Ctrl+3"),
            Self::Network => (Icon::Waypoints, "Network", "Ctrl+4"),
            Self::Services => (Icon::Server, "Services", "Ctrl+5"),
            Self::Diagnostics => (Icon::Activity, "Diagnostics", "Ctrl+6"),
        }
    }

    fn beside(self, by: isize) -> Self {
        let count = Self::ALL.len().cast_signed();
        let at = Self::ALL.iter().position(|place| *place == self).unwrap_or(0).cast_signed();
        Self::ALL[(at + by).rem_euclid(count).unsigned_abs()]
    }
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Go(Place),
    /// To the next place, or the one before.
    Turn(isize),
    /// To the next field, or the one before.
    Field(isize),
    Search,
    /// To a conversation, by its name or what was said in it.
    Jump,
    /// Up and down in a list.
    Step(isize),
    /// What is chosen goes to the clipboard.
    Copy,
    /// What stands first on the line that is chosen.
    Enter,
    /// Files to go with a message.
    Attach,
    Escape,
}

/// `None` for keys that mean nothing here.
pub fn key(pressed: &Pressed, modifiers: Modifiers) -> Option<Key> {
    let back = modifiers.shift();
    match pressed.as_ref() {
        Pressed::Character("1") if modifiers.command() => Some(Key::Go(Place::Calls)),
        Pressed::Character("2") if modifiers.command() => Some(Key::Go(Place::Chat)),
        Pressed::Character("3") if modifiers.command() => Some(Key::Go(Place::Files)),
        Pressed::Character("4") if modifiers.command() => Some(Key::Go(Place::Network)),
        Pressed::Character("5") if modifiers.command() => Some(Key::Go(Place::Services)),
        Pressed::Character("6") if modifiers.command() => Some(Key::Go(Place::Diagnostics)),
        Pressed::Character("k") if modifiers.command() => Some(Key::Jump),
        Pressed::Character("f") if modifiers.command() => Some(Key::Search),
        Pressed::Character("c") if modifiers.command() => Some(Key::Copy),
        Pressed::Character("o") if modifiers.command() => Some(Key::Attach),
        Pressed::Named(Named::Enter) if modifiers.is_empty() => Some(Key::Enter),
        Pressed::Named(Named::Tab) if modifiers.control() => Some(Key::Turn(if back { -1 } else { 1 })),
        Pressed::Named(Named::Tab) => Some(Key::Field(if back { -1 } else { 1 })),
        Pressed::Named(Named::ArrowDown) => Some(Key::Step(1)),
        Pressed::Named(Named::ArrowUp) => Some(Key::Step(-1)),
        Pressed::Named(Named::Escape) => Some(Key::Escape),
        _ => None,
    }
}

impl App {
    pub(super) fn keys(&self) -> Subscription<Message> {
        keyboard::listen().filter_map(|event| match event {
            keyboard::Event::KeyPressed { key: pressed, modifiers, .. } => key(&pressed, modifiers).map(Message::Key),
            _ => None,
        })
    }

    pub(super) fn key(&mut self, key: Key) -> Task<Message> {
        if matches!(self.screen, Screen::Call(_)) {
            return Task::none();
        }
        match key {
            Key::Go(place) => return self.go(place),
            Key::Turn(by) => return self.go(self.place.beside(by)),
            Key::Field(by) if by < 0 => return operation::focus_previous(),
            Key::Field(_) => return operation::focus_next(),
            Key::Jump => {
                let go = self.go(Place::Chat);
                return go.chain(operation::focus(chat::SEARCH));
            }
            Key::Search if self.place == Place::Chat && self.chat.thread.is_some() => {
                let wish = self.chat.update(chat::Message::Find);
                return self.grant(wish);
            }
            Key::Search if self.place == Place::Files => return operation::focus(files::SEARCH),
            Key::Search if self.looks_at(Place::Calls) && self.recent.is_searched() => {
                return operation::focus(recent::SEARCH);
            }
            Key::Search => {
                let go = self.go(Place::Network);
                return go.chain(operation::focus(network::SEARCH));
            }
            Key::Step(by) if self.place == Place::Network => self.network.step(by),
            Key::Step(by) if self.looks_at(Place::Files) => self.files.step(by),
            Key::Step(by) if self.looks_at(Place::Calls) => {
                let wish = self.recent.step(by);
                return self.grant(wish);
            }
            Key::Step(by) if self.place == Place::Chat => {
                let wish = self.chat.step(by);
                return self.grant(wish);
            }
            Key::Escape if self.place == Place::Chat => {
                let wish = self.chat.escape();
                return self.grant(wish);
            }
            Key::Escape if self.place == Place::Files => {
                let wish = self.files.escape();
                return self.grant(wish);
            }
            Key::Escape if self.looks_at(Place::Calls) => {
                let wish = self.recent.escape();
                return self.grant(wish);
            }
            Key::Escape if self.place == Place::Services => self.services.escape(),
            Key::Escape if self.place == Place::Network => {
                let wish = self.network.update(network::Message::Unselect);
                return self.grant(wish);
            }
            Key::Copy if self.place == Place::Chat => {
                let wish = self.chat.update(chat::Message::CopyChosen);
                return self.grant(wish);
            }
            Key::Copy if self.looks_at(Place::Files) => return self.grant(self.files.copy()),
            Key::Copy if self.looks_at(Place::Calls) => return self.grant(self.recent.copy()),
            Key::Enter if self.incoming.is_none() && matches!(self.sidebar.node, Node::Up { .. }) => {
                let wish = match self.place {
                    _ if !self.looks_at(self.place) => Wish::Nothing,
                    Place::Files => self.files.enter(),
                    Place::Calls => self.recent.enter(),
                    _ => Wish::Nothing,
                };
                return self.grant(wish);
            }
            Key::Attach if self.looks_at(Place::Chat) => {
                let wish = self.chat.update(chat::Message::Attach);
                return self.grant(wish);
            }
            Key::Step(_) | Key::Copy | Key::Escape | Key::Enter | Key::Attach => {}
        }
        Task::none()
    }

    /// Nothing lies over that place.
    fn looks_at(&self, place: Place) -> bool {
        self.place == place && matches!(self.screen, Screen::Home)
    }

    /// Whoever does something there does not stand in the list of calls any more.
    pub(super) fn typed_at_home(&mut self, message: home::Message) -> home::Action {
        self.recent.leave();
        self.home.update(message)
    }

    /// Goes somewhere. What is over is left behind; a call stays.
    pub fn go(&mut self, place: Place) -> Task<Message> {
        if matches!(self.screen, Screen::Call(_)) {
            return Task::none();
        }
        self.screen = Screen::Home;
        if self.place != place {
            // Measured by the second only for those who look.
            if self.place == Place::Diagnostics {
                self.commander.send(Command::FollowLinks(Switch::Off));
            }
            if place == Place::Diagnostics {
                self.commander.send(Command::FollowLinks(Switch::On));
            }
            self.place = place;
        }
        self.files.hovered = false;
        self.look();
        let wish = self.chat.read();
        self.grant(wish)
    }

    pub(super) fn rail(&self) -> Element<'_, Message> {
        let here = |place| (self.place == place && !matches!(self.screen, Screen::Ended(_))).into();
        let places = Place::ALL.map(|place| self.sign(place, here(place)));
        let (colour, health) = self.sidebar.node.health();
        let health = tooltip(
            container(dot(colour)).center_x(Fill).padding([10, 0]),
            container(text(health).size(theme::SMALL)).padding([5, 9]).style(theme::raised),
            tooltip::Position::Right,
        );
        let rail = column![column(places).spacing(6), space::vertical(), health].padding(6);
        container(rail).width(82).height(Fill).style(theme::panel).into()
    }

    fn sign(&self, place: Place, here: theme::Chosen) -> Element<'_, Message> {
        let (symbol, name, keys) = place.sign();
        let trouble = place == Place::Services && self.failed_services() > 0;
        let colour = match here {
            theme::Chosen::Yes => theme::ACCENT,
            theme::Chosen::No if trouble => theme::POOR,
            theme::Chosen::No => theme::MUTED,
        };
        let unread = match place {
            Place::Chat => self.chat.unread(),
            Place::Files => self.files.offers(),
            _ => 0,
        };
        let mut face = row![icon(symbol, 19.0).color(colour)].spacing(4).align_y(Alignment::Center);
        if unread > 0 {
            let count = if unread > 99 { "99+".to_owned() } else { unread.to_string() };
            face = face.push(
                container(text(count).size(10).font(theme::STRONG))
                    .padding([1, 5])
                    .style(theme::disc(theme::ACCENT, 16.0)),
            );
        }
        let content = column![face, text(name).size(theme::TINY)];
        let press = button(container(content.spacing(6).align_x(Alignment::Center)).center_x(Fill))
            .padding([10, 0])
            .width(Fill)
            .on_press(Message::Go(place))
            .style(theme::place_button(here));
        let meaning = if trouble { format!("A service has failed · {keys}") } else { keys.to_owned() };
        tooltip(
            press,
            container(text(meaning).size(theme::SMALL)).padding([5, 9]).style(theme::raised),
            tooltip::Position::Right,
        )
        .into()
    }

    fn failed_services(&self) -> usize {
        match &self.sidebar.node {
            Node::Up { status, .. } => {
                status.services.iter().filter(|service| service.state == ServiceState::Failed).count()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_can_be_reached_by_keys() {
        for place in Place::ALL {
            let digit = place.sign().2.trim_start_matches("Ctrl+");
            assert_eq!(key(&Pressed::Character(digit.into()), Modifiers::CTRL), Some(Key::Go(place)));
            assert_eq!(key(&Pressed::Character(digit.into()), Modifiers::empty()), None, "a digit alone is typed");
        }
        assert_eq!(key(&Pressed::Named(Named::Enter), Modifiers::empty()), Some(Key::Enter));
        assert_eq!(key(&Pressed::Named(Named::Enter), Modifiers::SHIFT), None, "a line is begun");
        assert_eq!(Place::Calls.beside(-1), Place::Diagnostics);
        assert_eq!(Place::Diagnostics.beside(1), Place::Calls);
    }
}
