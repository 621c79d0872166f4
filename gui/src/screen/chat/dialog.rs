//! What is asked in front of the conversations: adding a contact, making a group, comparing safety numbers, and what
//! there is to know and set about somebody.

use std::collections::BTreeSet;
use std::path::PathBuf;

use iced::widget::{button, checkbox, column, container, image, opaque, row, space, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_capture::qr;
use kith_common::chat::{Conversation, ConversationId, MAX_MEMBERS, MAX_TITLE_CHARS};
use kith_common::contact::{Contact, ContactChange, MAX_NAME_CHARS, MAX_REQUEST_CHARS, SafetyNumber};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::target::Target;
use lucide_icons::Icon;

use super::about::{About, AboutMessage};
use super::{Asked, Chat, Message as Whole, compose};
use crate::link::{Job, News, Talk};
use crate::screen::Wish;
use crate::theme;
use crate::widget::parts::{copy, icon, labelled, muted, notice, scroll, small};
use crate::words;

pub const TARGET: &str = "contact-target";
/// Peers of this network that are offered.
const OFFERED: usize = 6;
/// Pixels of one module of a QR picture, and the white around it in modules (ISO 18004 asks for four).
const MODULE: usize = 4;
const QUIET: usize = 4;

#[derive(Debug, Clone)]
pub enum Message {
    Close,
    Target(String),
    Name(String),
    Text(String),
    Paste,
    Pasted(Option<String>),
    /// A picture with a ticket was dropped.
    Picture(PathBuf),
    /// What is in it.
    Read(Result<String, Failure>),
    /// A peer of this network.
    Near(PeerId, String),
    Add,
    Title(String),
    Member(PeerId, bool),
    Make,
    /// The safety numbers are the same, or are not any more.
    Verified(PeerId, bool),
    About(AboutMessage),
    Copy(String),
}

#[derive(Debug, Default)]
pub struct Add {
    pub target: String,
    pub name: String,
    pub text: String,
    working: bool,
    /// A picture is looked at, and then its ticket stands in place of what was typed.
    reading: Reading,
    failure: Option<Failure>,
    picture: Option<image::Handle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reading {
    #[default]
    Nothing,
    /// For somebody to look at.
    ToShow,
    /// To be added at once: that was asked for.
    ToAdd,
}

#[derive(Debug, Default)]
pub struct NewGroup {
    title: String,
    members: BTreeSet<PeerId>,
    working: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
pub struct Verify {
    peer: PeerId,
    safety: Option<SafetyNumber>,
    failure: Option<Failure>,
}

#[derive(Debug)]
pub enum Dialog {
    Add(Add),
    Group(NewGroup),
    Verify(Verify),
    About(About),
}

impl Dialog {
    pub fn add(ticket: &str) -> Self {
        Self::Add(Add { picture: picture(ticket), ..Add::default() })
    }

    pub fn group() -> Self {
        Self::Group(NewGroup::default())
    }

    pub fn verify(peer: PeerId) -> Self {
        Self::Verify(Verify { peer, safety: None, failure: None })
    }

    pub fn about(id: ConversationId, contact: Option<&Contact>, conversation: Option<&Conversation>) -> Self {
        Self::About(About::new(id, contact, conversation))
    }

    /// What was asked is void.
    pub fn lost(&mut self) {
        let failure = Failure::new(FailureKind::NoDaemon, "your node stopped before it was done")
            .advise("Wait until it runs again and try again.");
        self.failed(&failure);
    }

    fn failed(&mut self, why: &Failure) {
        match self {
            Self::Add(Add { working, failure, .. }) | Self::Group(NewGroup { working, failure, .. }) => {
                if std::mem::take(working) {
                    *failure = Some(why.clone());
                }
            }
            Self::Verify(Verify { failure, .. }) | Self::About(About { failure, .. }) => *failure = Some(why.clone()),
        }
    }
}

/// A ticket as cameras read it.
fn picture(ticket: &str) -> Option<image::Handle> {
    let code = qrcode::QrCode::new(ticket.as_bytes()).ok().filter(|_| !ticket.is_empty())?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * MODULE;
    let mut pixels = vec![255; side * side * 4];
    let dark = code.to_colors().into_iter().enumerate().filter(|(_, colour)| *colour == qrcode::Color::Dark);
    for (at, _) in dark {
        let (x, y) = ((at % modules + QUIET) * MODULE, (at / modules + QUIET) * MODULE);
        for line in y..y + MODULE {
            for pixel in x..x + MODULE {
                let at = (line * side + pixel) * 4;
                pixels[at..at + 3].fill(0);
            }
        }
    }
    let side = u32::try_from(side).ok()?;
    Some(image::Handle::from_rgba(side, side, pixels))
}

fn shortened(text: String, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

impl Chat {
    pub(super) fn dialog_news(&mut self, news: &News) -> Wish {
        match (&mut self.dialog, news) {
            (Some(dialog), News::Failed(failure)) => dialog.failed(failure),
            (Some(Dialog::Verify(verify)), News::Safety(safety)) => verify.safety = Some(safety.clone()),
            (Some(Dialog::Add(_)), News::Contact(contact)) => {
                let peer = contact.peer_id;
                if self.contact(peer).is_none() {
                    // The feed tells it in a moment; what is shown now needs its name.
                    self.people.contacts.push((**contact).clone());
                }
                self.dialog = None;
                return self.show(ConversationId::Peer(peer), None);
            }
            (Some(Dialog::Group(_)), News::Conversation(conversation)) => {
                if self.conversation(conversation.id).is_none() {
                    self.conversations.insert(0, (**conversation).clone());
                }
                self.dialog = None;
                return self.show(conversation.id, None);
            }
            (Some(Dialog::About(about)), news) => about.done(news),
            (None, News::Failed(failure)) => self.trouble = Some(failure.clone()),
            _ => {}
        }
        Wish::Nothing
    }

    pub(super) fn in_dialog(&mut self, message: Message) -> Wish {
        let Some(dialog) = &mut self.dialog else { return Wish::Nothing };
        match (dialog, message) {
            (_, Message::Close) => self.dialog = None,
            (_, Message::Copy(content)) => return Wish::Copy(content),
            (Dialog::Add(add), Message::Target(target)) => {
                add.target = target;
                add.failure = None;
            }
            (Dialog::Add(add), Message::Name(name)) => add.name = shortened(name, MAX_NAME_CHARS),
            (Dialog::Add(add), Message::Text(text)) => add.text = shortened(text, MAX_REQUEST_CHARS),
            (Dialog::Add(_), Message::Paste) => return Wish::PasteContact,
            (Dialog::Add(add), Message::Pasted(Some(content))) => {
                content.trim().clone_into(&mut add.target);
                add.failure = None;
            }
            (Dialog::Add(add), Message::Near(peer, name)) => {
                add.target = peer.to_string();
                add.name = shortened(name, MAX_NAME_CHARS);
                add.failure = None;
            }
            (Dialog::Add(add), Message::Picture(path)) => {
                add.reading = Reading::ToShow;
                add.failure = None;
                return Wish::ReadPicture(path);
            }
            (Dialog::Add(add), Message::Read(Ok(ticket))) => {
                add.target = ticket;
                if std::mem::take(&mut add.reading) == Reading::ToAdd {
                    return self.in_dialog(Message::Add);
                }
            }
            (Dialog::Add(add), Message::Read(Err(failure))) => {
                add.reading = Reading::Nothing;
                add.failure = Some(failure);
            }
            (Dialog::Add(add), Message::Add) => {
                if let Some(path) = qr::named(&add.target) {
                    add.reading = Reading::ToAdd;
                    add.failure = None;
                    return Wish::ReadPicture(path);
                }
                let target = add.target.trim().to_owned();
                if let Err(error) = target.parse::<Target>() {
                    let failure = Failure::new(FailureKind::InvalidArgument, error.to_string());
                    add.failure = Some(failure.advise("Ask them to press “Copy my ticket” and to send you that."));
                    return Wish::Nothing;
                }
                add.working = true;
                let talk = Talk::Add { target, name: add.name.trim().to_owned(), text: add.text.trim().to_owned() };
                return self.start(Job::next(), Asked::Dialog, talk);
            }
            (Dialog::Group(group), Message::Title(title)) => group.title = shortened(title, MAX_TITLE_CHARS),
            (Dialog::Group(group), Message::Member(peer, true)) if group.members.len() + 1 < MAX_MEMBERS => {
                group.members.insert(peer);
            }
            (Dialog::Group(group), Message::Member(peer, _)) => {
                group.members.remove(&peer);
            }
            (Dialog::Group(group), Message::Make) => {
                group.working = true;
                group.failure = None;
                let talk = Talk::NewGroup(group.title.trim().to_owned(), group.members.iter().copied().collect());
                return self.start(Job::next(), Asked::Dialog, talk);
            }
            (Dialog::Verify(_), Message::Verified(peer, verified)) => {
                self.dialog = None;
                let change = ContactChange { verified: Some(verified), ..ContactChange::default() };
                return self.ask(Talk::Change(peer, change));
            }
            (Dialog::About(_), Message::About(message)) => return self.in_about(message),
            _ => {}
        }
        Wish::Nothing
    }

    pub(super) fn dialog_view<'a>(&'a self, copied: Option<&'a str>) -> Option<Element<'a, Whole>> {
        let (title, content, width) = match self.dialog.as_ref()? {
            Dialog::Add(add) => ("Add a contact", self.adding(add, copied), 720.0),
            Dialog::Group(group) => ("New group", self.grouping(group), 440.0),
            Dialog::Verify(verify) => ("Is it really them?", self.verifying(verify), 480.0),
            Dialog::About(about) => ("About", self.about(about), 480.0),
        };
        let head = row![
            text(title).size(20).font(theme::STRONG),
            space::horizontal(),
            small(Icon::X, "Close (Esc)", Message::Close).map(Whole::Dialog)
        ]
        .align_y(Alignment::Center);
        let dialog = container(column![head, content].spacing(14))
            .padding([18, 22])
            .width(width)
            .max_height(640.0)
            .style(theme::dialog);
        Some(opaque(container(dialog).center(Fill).style(theme::shade)))
    }

    fn adding<'a>(&'a self, add: &'a Add, copied: Option<&'a str>) -> Element<'a, Whole> {
        let field = |hint, value: &str, message: fn(String) -> Message| {
            text_input(hint, value).on_input(message).padding([10, 12]).size(theme::BODY).style(theme::input)
        };
        let ready = !add.target.trim().is_empty() && !add.working && add.reading == Reading::Nothing;
        let doing = match add.reading {
            Reading::ToShow | Reading::ToAdd => "Looking at the picture…",
            Reading::Nothing if add.working => "Adding…",
            Reading::Nothing => "Add",
        };
        let go = labelled(Icon::UserPlus, doing, theme::ACCENT, ready.then_some(Message::Add));
        let mut left = column![
            muted("Their ticket, their peer id, or their address if you are connected to it. A picture of their QR code does \
                   too: drop it here, or give its path."),
            row![
                field("Ticket, peer id, address or picture", &add.target, Message::Target)
                    .id(TARGET)
                    .on_submit_maybe(ready.then_some(Message::Add)),
                small(Icon::ClipboardPaste, "Paste", Message::Paste)
            ]
            .spacing(6)
            .align_y(Alignment::Center),
            field("A name for them (empty: what they call themselves)", &add.name, Message::Name),
            field("A word with your request", &add.text, Message::Text),
        ]
        .spacing(10)
        .width(Fill);
        if let Some(failure) = &add.failure {
            let (sentence, advice) = words::node::failure(failure);
            left = left.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        left = left.push(go.width(Fill));
        let near: Vec<_> =
            self.lan.iter().filter(|(peer, _)| self.contact(*peer).is_none() && self.own != Some(*peer)).collect();
        if !near.is_empty() {
            left = left.push(muted("In your network"));
            left = left.extend(near.into_iter().take(OFFERED).map(|(peer, name)| {
                let line = row![
                    super::face(name, &peer.to_string(), 0, 28.0, None),
                    text(name.as_str()).size(theme::BODY).wrapping(text::Wrapping::None).width(Fill),
                    muted(words::short_id(peer)).size(theme::TINY)
                ];
                button(line.spacing(10).align_y(Alignment::Center))
                    .padding([5, 8])
                    .width(Fill)
                    .on_press(Message::Near(*peer, name.clone()))
                    .style(theme::row_button)
                    .into()
            }));
        }
        let left: Element<'a, Message> = left.into();
        let mut page = row![left.map(Whole::Dialog)].spacing(22);
        if let Some(picture) = &add.picture {
            let code = image(picture.clone()).filter_method(image::FilterMethod::Nearest).width(220).height(220);
            let ticket = row![muted("Your ticket"), copy(&self.ticket, copied, Message::Copy)]
                .spacing(6)
                .align_y(Alignment::Center);
            let right: Element<'a, Message> = column![
                container(code).padding(6).style(theme::paper),
                ticket,
                muted("Show or send it to somebody: whoever has it can ask to be your contact.")
                    .size(theme::TINY)
                    .align_x(Alignment::Center)
            ]
            .spacing(8)
            .width(232)
            .align_x(Alignment::Center)
            .into();
            page = page.push(right.map(Whole::Dialog));
        }
        page.into()
    }

    fn grouping<'a>(&'a self, group: &'a NewGroup) -> Element<'a, Whole> {
        let title = text_input("What the group is called", &group.title)
            .on_input(Message::Title)
            .padding([10, 12])
            .size(theme::BODY)
            .style(theme::input);
        let mut page = column![title].spacing(12);
        if self.people.contacts.is_empty() {
            page = page.push(muted("A group is made of contacts: add some first."));
        } else {
            let members = self.people.contacts.iter().map(|contact| {
                let peer = contact.peer_id;
                checkbox(group.members.contains(&peer))
                    .label(self.name_of(peer))
                    .on_toggle(move |on| Message::Member(peer, on))
                    .size(17)
                    .text_size(theme::BODY)
                    .spacing(10)
                    .into()
            });
            page = page.push(container(scroll(column(members).spacing(9).width(Fill))).height(240));
        }
        if let Some(failure) = &group.failure {
            let (sentence, advice) = words::node::failure(failure);
            page = page.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        let ready = !group.title.trim().is_empty() && !group.members.is_empty() && !group.working;
        let count = format!("{} of at most {} members, you with them", group.members.len() + 1, MAX_MEMBERS);
        page = page.push(muted(count));
        let make = labelled(Icon::UsersRound, "Make the group", theme::ACCENT, ready.then_some(Message::Make));
        let page: Element<'a, Message> = page.push(make.width(Fill)).into();
        page.map(Whole::Dialog)
    }

    fn verifying<'a>(&'a self, verify: &'a Verify) -> Element<'a, Whole> {
        let name = self.name_of(verify.peer);
        let mut page = column![
            muted(format!(
                "Compare these with what {name} sees, in a call where you know the voice or face, or side by side. \
                 If they are the same, nobody stands between you."
            ))
            .size(13)
        ]
        .spacing(14);
        if let Some(failure) = &verify.failure {
            let (sentence, advice) = words::node::failure(failure);
            page = page.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        match &verify.safety {
            Some(safety) => {
                let emoji = safety
                    .emoji
                    .iter()
                    .map(|emoji| text(emoji.as_str()).size(30).shaping(text::Shaping::Advanced).into());
                let emoji = container(row(emoji).spacing(12)).center_x(Fill).padding([12, 0]).style(theme::raised);
                page = page.push(emoji);
                if !self.has_emoji {
                    page = page.push(muted(compose::NO_EMOJI).size(theme::TINY));
                }
                let groups: Vec<&str> = safety.digits.split_whitespace().collect();
                let lines = groups.chunks(4).map(|line| {
                    row(line.iter().map(|group| container(text(*group).size(19)).center_x(Fill).into())).into()
                });
                page = page.push(container(column(lines).spacing(8)).padding([12, 18]).style(theme::raised));
            }
            None if verify.failure.is_none() => page = page.push(muted("Asking your node…")),
            None => {}
        }
        let verified = self.contact(verify.peer).is_some_and(|contact| contact.verified);
        let known = verify.safety.is_some();
        let peer = verify.peer;
        let deed = match verified {
            true => labelled(
                Icon::ShieldOff,
                "They differ: not verified",
                theme::CONTROL,
                known.then_some(Message::Verified(peer, false)),
            ),
            false => labelled(
                Icon::ShieldCheck,
                "They are the same: verified",
                theme::GOOD,
                known.then_some(Message::Verified(peer, true)),
            ),
        };
        if verified {
            let line = row![icon(Icon::ShieldCheck, 15.0).color(theme::GOOD), muted("You have verified this contact.")];
            page = page.push(line.spacing(8).align_y(Alignment::Center));
        }
        let page: Element<'a, Message> = page.push(deed.width(Fill)).into();
        page.map(Whole::Dialog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_a_picture_and_nothing_has_none() {
        assert!(picture("").is_none());
        assert!(matches!(picture("kith:abc"), Some(image::Handle::Rgba { width, height, .. }) if width == height));
    }
}
