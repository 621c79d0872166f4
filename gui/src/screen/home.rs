//! Between calls: whom to call, and whether camera and microphone are ready.

use iced::widget::{column, container, row, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::call::CallKind;
use kith_common::failure::Failure;
use kith_common::target::Target;
use lucide_icons::Icon;

use super::devices;
use super::sidebar::Node;
use crate::capture::Studio;
use crate::theme;
use crate::widget::parts::{heading, icon, labelled, muted, notice, scroll};
use crate::words;

pub const TARGET: &str = "target";

#[derive(Debug, Clone)]
pub enum Message {
    Target(String),
    Paste,
    Pasted(Option<String>),
    Place(CallKind),
    TestCall,
    CancelTest,
    Devices(devices::Message),
}

#[derive(Debug, Clone)]
pub enum Action {
    None,
    Paste,
    Place { target: String, kind: CallKind },
    TestCall,
    CancelTest,
    Devices(devices::Message),
}

#[derive(Debug, Default)]
pub struct Home {
    pub target: String,
    /// Why the last attempt did not become a call.
    pub failure: Option<Failure>,
    /// What a test call is waiting for.
    pub testing: Option<String>,
}

impl Home {
    pub fn update(&mut self, message: Message) -> Action {
        match message {
            Message::Target(target) => {
                self.target = target;
                self.failure = None;
                Action::None
            }
            Message::Paste => Action::Paste,
            Message::Pasted(content) => {
                if let Some(content) = content {
                    self.target = content.trim().to_owned();
                    self.failure = None;
                }
                Action::None
            }
            Message::Place(kind) => {
                let target = self.target.trim().to_owned();
                if let Err(error) = target.parse::<Target>() {
                    self.failure = Some(
                        Failure::new(
                            kith_common::failure::FailureKind::InvalidArgument,
                            words::sentence_of(&error.to_string()),
                        )
                        .advise("Ask them to press “Copy my ticket” and to send you what is copied."),
                    );
                    return Action::None;
                }
                self.failure = None;
                Action::Place { target, kind }
            }
            Message::TestCall => {
                self.failure = None;
                Action::TestCall
            }
            Message::CancelTest => Action::CancelTest,
            Message::Devices(message) => Action::Devices(message),
        }
    }

    pub fn view<'a>(&'a self, node: &'a Node, studio: &'a Studio, layout: devices::Layout) -> Element<'a, Message> {
        let up = matches!(node, Node::Up { .. });
        let mut page = column![].spacing(14).max_width(640);
        match node {
            Node::Lost(failure) => {
                page = page.push(notice(
                    Icon::Unplug,
                    theme::POOR,
                    words::sentence_of(&failure.message),
                    words::sentence_of(&failure.advice),
                ));
            }
            Node::Trying(what) => page = page.push(notice(Icon::Loader, theme::FAIR, what.as_str(), "")),
            Node::Up { status, .. } => {
                for service in status.services.iter().filter(|service| !service.error.is_empty()) {
                    page = page.push(notice(
                        Icon::TriangleAlert,
                        theme::FAIR,
                        words::sentence_of(&service.error),
                        words::sentence_of(&service.suggestion),
                    ));
                }
            }
            Node::Connecting => {}
        }
        page = page.push(self.place(up)).push(self.test(up)).push(equipment(studio, layout));
        let page = container(page).center_x(Fill).padding([28, 24]);
        let page = scroll(page);
        container(page).center_x(Fill).height(Fill).style(theme::panel).into()
    }

    fn place(&self, up: bool) -> Element<'_, Message> {
        let ready = up && !self.target.trim().is_empty();
        let input = text_input("Ticket, peer id or address", &self.target)
            .id(TARGET)
            .on_input(Message::Target)
            .on_submit_maybe(ready.then_some(Message::Place(CallKind::Video)))
            .padding([12, 14])
            .size(theme::BODY)
            .style(theme::input);
        let paste = labelled(Icon::ClipboardPaste, "Paste", theme::CONTROL, Some(Message::Paste)).width(116);
        let buttons = row![
            labelled(Icon::Video, "Video call", theme::ACCENT, ready.then_some(Message::Place(CallKind::Video)))
                .width(Fill),
            labelled(Icon::Phone, "Voice call", theme::CONTROL, ready.then_some(Message::Place(CallKind::Voice)))
                .width(Fill),
        ]
        .spacing(10);
        let mut card = column![
            text("Call someone").size(theme::TITLE).font(theme::STRONG),
            muted("Paste the ticket that they sent you. Nobody in between can listen, and there is no account.")
                .size(13),
            row![input, paste].spacing(10).align_y(Alignment::Center),
            buttons
        ]
        .spacing(14);
        if let Some(failure) = &self.failure {
            card = card.push(notice(
                Icon::CircleAlert,
                theme::POOR,
                words::sentence_of(&failure.message),
                words::sentence_of(&failure.advice),
            ));
        }
        card.padding([6, 0]).into()
    }

    fn test(&self, up: bool) -> Element<'_, Message> {
        let (about, press) = match &self.testing {
            Some(what) => {
                (what.as_str(), labelled(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelTest)).width(150))
            }
            None => (
                "Calls an echo on this machine: you see and hear yourself as others would.",
                labelled(Icon::Repeat, "Test call", theme::CONTROL, up.then_some(Message::TestCall)).width(150),
            ),
        };
        let words = column![heading("Try it alone"), muted(about)].spacing(4).width(Fill);
        container(row![words, press].spacing(16).align_y(Alignment::Center))
            .padding([15, 18])
            .width(Fill)
            .style(theme::raised)
            .into()
    }
}

fn equipment(studio: &Studio, layout: devices::Layout) -> Element<'_, Message> {
    let mut card = column![
        row![icon(Icon::Settings2, 16.0).color(theme::MUTED), heading("Camera and sound")]
            .spacing(8)
            .align_y(Alignment::Center),
    ]
    .spacing(13);
    for notice in devices::missing(studio) {
        card = card.push(notice.map(Message::Devices));
    }
    card = match &studio.devices {
        Some(_) => card.push(devices::choices(studio, layout).map(Message::Devices)),
        None => card.push(muted("Looking for cameras, microphones and speakers…")),
    };
    container(card).padding([15, 18]).width(Fill).style(theme::raised).into()
}
