//! People and messages in the application: who looks at them, what the desktop is told of, and what leaves the window.

use std::process::Stdio;

use iced::widget::{operation, scrollable};
use iced::{Subscription, Task, window};
use kith_capture::qr;
use kith_common::call::{CallInfo, CallKind, Direction};
use kith_common::chat::{Message as Said, MessageState};
use kith_common::failure::{Failure, FailureKind};

use super::{App, Message, Place, Screen};
use crate::link::Event;
use crate::notify::{self, Note};
use crate::screen::Wish;
use crate::screen::chat;
use crate::screen::chat::thread::Seen;
use crate::words;

/// So many new messages are told one by one; more are counted.
const SINGLY: usize = 3;

/// Whether the window has the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    Focused,
    Unfocused,
}

pub(super) fn around() -> Subscription<Message> {
    window::events().filter_map(|(_, event)| match event {
        window::Event::Focused => Some(Message::Around(Around::Focused)),
        window::Event::Unfocused => Some(Message::Around(Around::Unfocused)),
        window::Event::FileHovered(_) => Some(Message::Hovered(true)),
        window::Event::FilesHoveredLeft => Some(Message::Hovered(false)),
        window::Event::FileDropped(path) => Some(Message::Dropped(path)),
        _ => None,
    })
}

impl App {
    /// What is in sight counts as read only while somebody looks at it.
    pub(super) fn look(&mut self) {
        let looks = self.focus == Around::Focused
            && self.place == Place::Chat
            && matches!(self.screen, Screen::Home)
            && self.incoming.is_none();
        self.chat.seen = if looks { Seen::Yes } else { Seen::No };
    }

    pub(super) fn around(&mut self, around: Around) -> Task<Message> {
        self.focus = around;
        self.look();
        let wish = self.chat.read();
        self.grant(wish)
    }

    pub(super) fn heard_of_people(&mut self, event: Event) -> Task<Message> {
        match event {
            Event::People(told) => {
                if let Ok(people) = &told {
                    self.files.hear_people(people);
                }
                self.chat.hear_people(told);
            }
            Event::Conversations(told) => {
                if let Ok(conversations) = &told
                    && self.told_to.is_none()
                {
                    // What is there when the window opens is no news.
                    let newest = conversations.iter().filter_map(|conversation| conversation.last.as_ref());
                    self.told_to = Some(newest.map(|last| last.position).max().unwrap_or(0));
                }
                let wish = self.chat.hear_conversations(told);
                return self.grant(wish);
            }
            Event::Messages(messages) => {
                self.tell_of(&messages);
                let wish = self.chat.hear_messages(&messages);
                return self.grant(wish);
            }
            _ => {}
        }
        Task::none()
    }

    /// Tells the desktop of what is new while nobody looks.
    fn tell_of(&mut self, messages: &[Said]) {
        let Some(told_to) = self.told_to else { return };
        let looked_at = self.chat.thread.as_ref().filter(|_| self.chat.seen == Seen::Yes).map(|thread| thread.id);
        let new: Vec<&Said> = messages
            .iter()
            .filter(|message| message.position > told_to && message.direction == Direction::Incoming)
            .filter(|message| message.state != MessageState::Read && !message.deleted)
            .filter(|message| Some(message.conversation) != looked_at)
            .collect();
        self.told_to = messages.iter().map(|message| message.position).max().max(Some(told_to));
        let note = |title, text| Note { title, text, hidden: "A new message" };
        if self.focus == Around::Focused || new.is_empty() {
            return;
        }
        if new.len() > SINGLY {
            let text = format!("{} new messages", new.len());
            return self.notifier.tell(note("Kith".into(), text), self.chat.telling);
        }
        for message in new {
            let title = self.chat.title_of(message.conversation);
            self.notifier.tell(note(title, words::chat::last(message)), self.chat.telling);
        }
    }

    /// Somebody calls while one looks at something else.
    pub(super) fn tell_of_call(&self, info: &CallInfo) {
        if self.focus == Around::Focused {
            return;
        }
        let text = match info.kind {
            CallKind::Video => "wants a video call",
            CallKind::Voice => "wants a voice call",
        };
        let title = info.peer.map_or_else(
            || words::peer(info),
            |peer| match self.chat.contact(peer) {
                Some(_) => self.chat.name_of(peer),
                None => words::peer(info),
            },
        );
        self.notifier.tell(Note { title, text: text.into(), hidden: "Somebody calls" }, self.chat.telling);
    }

    pub(super) fn grant_talk(&mut self, wish: Wish) -> Task<Message> {
        match wish {
            Wish::All(wishes) => {
                let tasks: Vec<Task<Message>> = wishes.into_iter().map(|wish| self.grant(wish)).collect();
                return Task::batch(tasks);
            }
            Wish::Focus(id) => return operation::focus(id),
            Wish::Scroll(id, top) => {
                let offset = scrollable::AbsoluteOffset { x: None, y: Some(top as f32) };
                return operation::scroll_to(id, offset);
            }
            Wish::Open(link) => open(&link),
            wish @ (Wish::PasteFile | Wish::Choose(_) | Wish::Attach(_) | Wish::Reveal(_)) => {
                return self.grant_filing(wish);
            }
            Wish::Remember => self.chat.telling.remember(self.choices.as_deref()),
            Wish::PasteContact => {
                return iced::clipboard::read()
                    .map(|content| Message::Chat(chat::Message::Dialog(chat::dialog::Message::Pasted(content))));
            }
            Wish::ReadPicture(path) => {
                // A second or two of computing, which the window does not wait for.
                let reading = async move { tokio::task::spawn_blocking(move || qr::read(&path)).await };
                return Task::future(reading).map(|read| {
                    let lost = |error: tokio::task::JoinError| {
                        Failure::new(FailureKind::Internal, format!("the picture was not looked at: {error}"))
                    };
                    let read = read.map_err(lost).and_then(|read| read);
                    Message::Chat(chat::Message::Dialog(chat::dialog::Message::Read(read)))
                });
            }
            _ => {}
        }
        Task::none()
    }

    pub(super) fn recall_choices(&mut self) {
        self.chat.telling = notify::Telling::recall(self.choices.as_deref());
    }
}

/// Opens a link with the program that the system has for it. Only web addresses, whatever a message says.
fn open(link: &str) {
    if !link.starts_with("https://") && !link.starts_with("http://") {
        return;
    }
    let opener = std::process::Command::new("xdg-open")
        .arg(link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let waited = opener.and_then(|mut child| {
        // It is waited for so that it does not stay as a zombie.
        std::thread::Builder::new().name("kith-open".into()).spawn(move || child.wait())
    });
    if let Err(error) = waited {
        tracing::warn!(%error, "the link could not be opened");
    }
}
