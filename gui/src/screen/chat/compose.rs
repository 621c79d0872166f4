//! What one is about to say: kept for each conversation until it is sent, with what it answers or changes and the files
//! that go with it.

use iced::keyboard::Key;
use iced::keyboard::key::Named;
use iced::widget::text_editor::{Action, Binding, Content, Edit, KeyPress};
use iced::widget::{button, column, container, row, text, text_editor};
use iced::{Alignment, Element, Fill};
use kith_common::chat::{Attachment, Draft, MAX_ATTACHMENTS, MAX_TEXT_BYTES, MessageId};
use kith_common::file::FileTicket;
use lucide_icons::Icon;

use super::Message;
use crate::link::Talk;
use crate::theme;
use crate::widget::parts::{icon, muted, small};

pub const COMPOSER: &str = "chat-composer";

/// Emoji that can be picked; any other can be typed or pasted.
pub const PICKS: [&str; 32] = [
    "👍", "👎", "❤️", "😂", "😀", "😉", "😊", "😍", "🤔", "😮", "😢", "😭", "😡", "🙏", "👏", "💪", "🎉", "🔥", "✨",
    "✅", "❌", "❓", "👀", "🚀", "☕", "🍰", "🐛", "📎", "📷", "🎵", "🌍", "🌈",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Purpose {
    #[default]
    Say,
    /// Whom and what.
    Reply(MessageId, String, String),
    Edit(MessageId),
}

#[derive(Debug, Default)]
pub struct Composer {
    pub content: Content,
    pub purpose: Purpose,
    pub attachments: Vec<Attachment>,
    pub picking: Picking,
}

/// Whether files of the message are still being shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    Going,
    Ready,
}

/// Whether emoji are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Picking {
    Yes,
    #[default]
    No,
}

impl Composer {
    pub fn text(&self) -> String {
        self.content.text().trim().to_owned()
    }

    pub fn set(&mut self, text: &str) {
        self.content = Content::with_text(text);
        self.content.perform(Action::Move(text_editor::Motion::DocumentEnd));
    }

    pub fn insert(&mut self, text: &str) {
        self.content.perform(Action::Edit(Edit::Paste(std::sync::Arc::new(text.to_owned()))));
    }

    /// A pasted ticket of a file becomes a file of the message.
    pub fn perform(&mut self, action: Action) {
        if let Action::Edit(Edit::Paste(pasted)) = &action
            && let Some(file) = attachment(pasted)
            && self.attachments.len() < MAX_ATTACHMENTS
        {
            if self.attachments.iter().all(|known| known.ticket != file.ticket) {
                self.attachments.push(file);
            }
            return;
        }
        self.content.perform(action);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.text().is_empty() && self.attachments.is_empty()
    }

    pub fn is_begun(&self) -> bool {
        !self.is_empty() && !matches!(self.purpose, Purpose::Edit(_))
    }

    /// What is to be done with what was written; the composer is empty after that.
    pub fn take(&mut self, to: kith_common::chat::ConversationId) -> Option<Talk> {
        let text = self.text();
        if self.is_empty() || text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let taken = std::mem::take(self);
        Some(match taken.purpose {
            Purpose::Edit(id) => Talk::Edit(id, text),
            Purpose::Reply(id, ..) => {
                Talk::Send(to, Draft { text, reply_to: Some(id), attachments: taken.attachments })
            }
            Purpose::Say => Talk::Send(to, Draft { text, reply_to: None, attachments: taken.attachments }),
        })
    }

    /// Gives back what could not be sent, unless something else has been written since.
    pub fn restore(&mut self, talk: &Talk) {
        if !self.is_empty() {
            return;
        }
        match talk {
            Talk::Send(_, draft) => {
                self.set(&draft.text);
                self.attachments.clone_from(&draft.attachments);
            }
            Talk::Edit(id, text) => {
                self.set(text);
                self.purpose = Purpose::Edit(*id);
            }
            _ => {}
        }
    }

    /// The last thing that was begun is left.
    pub fn escape(&mut self) -> bool {
        if self.picking == Picking::Yes {
            self.picking = Picking::No;
            return true;
        }
        match std::mem::take(&mut self.purpose) {
            Purpose::Say => false,
            Purpose::Reply(..) => true,
            Purpose::Edit(_) => {
                self.content = Content::new();
                true
            }
        }
    }

    pub fn view<'a>(&'a self, to: &str, has_emoji: bool, files: Files) -> Element<'a, Message> {
        let mut page = column![].spacing(8);
        match &self.purpose {
            Purpose::Say => {}
            Purpose::Reply(_, who, what) => {
                page = page.push(purpose(Icon::Reply, format!("Answering {who}"), what.clone()));
            }
            Purpose::Edit(_) => {
                page =
                    page.push(purpose(Icon::Pencil, "Changing your message".into(), "Esc leaves it as it is".into()));
            }
        }
        for (at, file) in self.attachments.iter().enumerate() {
            let line = row![
                icon(Icon::Paperclip, 14.0).color(theme::ACCENT),
                container(text(file.name.as_str()).size(13).wrapping(text::Wrapping::None)).clip(true).width(Fill),
                small(Icon::X, "Take it off", Message::Detach(at))
            ];
            page =
                page.push(container(line.spacing(9).align_y(Alignment::Center)).padding([2, 10]).style(theme::raised));
        }
        if self.picking == Picking::Yes {
            page = page.push(picker(has_emoji));
        }
        let long = self.text().len() > MAX_TEXT_BYTES;
        if long {
            page = page.push(
                text(format!("Too long: a message holds {} KiB. Send it in parts.", MAX_TEXT_BYTES / 1024))
                    .size(theme::SMALL)
                    .color(theme::FAIR),
            );
        }
        let editor = text_editor(&self.content)
            .id(COMPOSER)
            .placeholder(format!("Message {to}"))
            .on_action(Message::Type)
            .key_binding(binding)
            .padding([10, 12])
            .size(theme::BODY)
            .min_height(22.0)
            .max_height(140.0)
            .style(theme::editor);
        let ready = (files == Files::Going || !self.is_empty()) && !long;
        let send = button(container(icon(Icon::SendHorizontal, 18.0)).center(42.0))
            .padding(0)
            .on_press_maybe(ready.then_some(Message::Send))
            .style(theme::filled_button(theme::ACCENT, 10.0));
        let attach = small(Icon::Paperclip, "Attach files (Ctrl+O)", Message::Attach);
        let line = row![attach, small(Icon::Smile, "Emoji", Message::Pick), editor, send];
        page.push(line.spacing(8).align_y(Alignment::End)).into()
    }
}

fn purpose<'a>(symbol: Icon, title: String, what: String) -> Element<'a, Message> {
    let words = column![text(title).size(theme::SMALL).color(theme::LINK), muted(what).wrapping(text::Wrapping::None)]
        .spacing(2);
    let line = row![
        icon(symbol, 15.0).color(theme::LINK),
        container(words).clip(true).width(Fill),
        small(Icon::X, "Leave it", Message::LeavePurpose)
    ];
    container(line.spacing(10).align_y(Alignment::Center)).padding([4, 10]).style(theme::raised).into()
}

fn picker<'a>(has_emoji: bool) -> Element<'a, Message> {
    let picks = PICKS.map(|emoji| {
        button(container(text(emoji).size(19).shaping(text::Shaping::Advanced)).center(34))
            .padding(0)
            .on_press(Message::Picked(emoji))
            .style(theme::quiet_button)
            .into()
    });
    let mut page = column![row(picks).spacing(2).wrap()].spacing(6);
    if !has_emoji {
        page = page.push(muted(NO_EMOJI).size(theme::TINY));
    }
    container(page).padding([8, 10]).width(Fill).style(theme::raised).into()
}

/// What is said on a machine that cannot draw them.
pub const NO_EMOJI: &str = "This machine has no emoji font, so they are drawn as boxes here; others see them. \
    Installing one (Noto Color Emoji) mends it.";

/// Enter sends, Shift+Enter begins a line. Keys with Ctrl that do nothing in a text are left to the window.
fn binding(press: KeyPress) -> Option<Binding<Message>> {
    let command = press.modifiers.command();
    match press.key.as_ref() {
        Key::Named(Named::Enter) if press.modifiers.shift() => Some(Binding::Enter),
        Key::Named(Named::Enter) if matches!(press.status, text_editor::Status::Focused { .. }) => {
            Some(Binding::Custom(Message::Send))
        }
        Key::Named(Named::Escape) if matches!(press.status, text_editor::Status::Focused { .. }) => {
            Some(Binding::Custom(Message::Escape))
        }
        Key::Named(Named::PageUp | Named::PageDown) => None,
        Key::Named(Named::ArrowUp) if matches!(press.status, text_editor::Status::Focused { .. }) && command => {
            Some(Binding::Custom(Message::EditLast))
        }
        Key::Character(_)
            if command && !matches!(press.key.to_latin(press.physical_key), Some('c' | 'x' | 'v' | 'a')) =>
        {
            None
        }
        _ => Binding::from_key_press(press),
    }
}

/// A ticket of a file and nothing else.
fn attachment(pasted: &str) -> Option<Attachment> {
    let ticket: FileTicket = pasted.trim().parse().ok()?;
    let name = crate::words::files::name(&ticket.name);
    Some(Attachment { ticket: pasted.trim().to_owned(), name, size_bytes: ticket.size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paste(composer: &mut Composer, text: &str) {
        composer.perform(Action::Edit(Edit::Paste(std::sync::Arc::new(text.to_owned()))));
    }

    #[test]
    fn a_pasted_file_ticket_becomes_a_file_and_other_text_stays_text() {
        let mut composer = Composer::default();
        let ticket = crate::mock::files::ticket(1);
        paste(&mut composer, &ticket);
        paste(&mut composer, &ticket);
        assert_eq!((composer.attachments.len(), composer.text()), (1, String::new()));
        assert_eq!(composer.attachments[0].size_bytes, crate::mock::files::ticket_of(1).size_bytes);
        for text in [format!("see {ticket}"), "kithfile:2abcdef".to_owned()] {
            let mut composer = Composer::default();
            paste(&mut composer, &text);
            assert_eq!((composer.attachments.len(), composer.text()), (0, text));
        }
    }

    #[test]
    fn what_could_not_be_sent_comes_back_unless_one_wrote_on() {
        let to = kith_common::chat::ConversationId::Peer(crate::mock::peer_id(1));
        let mut composer = Composer::default();
        composer.set("hello\n");
        let talk = composer.take(to).expect("there is something to say");
        assert!(matches!(&talk, Talk::Send(_, draft) if draft.text == "hello") && composer.is_empty());
        composer.restore(&talk);
        assert_eq!(composer.text(), "hello");
        composer.set("else");
        composer.restore(&talk);
        assert_eq!(composer.text(), "else");
    }
}
