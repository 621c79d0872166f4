//! What there is to know about somebody or a group, and what can be set: names, a note, a colour, what they may do, how
//! long messages are kept, and the ways to part.

use iced::widget::{button, column, container, row, space, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::chat::{Conversation, ConversationId, GroupChange, MAX_TITLE_CHARS};
use kith_common::contact::{Contact, ContactChange, MAX_NAME_CHARS, MAX_NOTE_CHARS, Right, Trust};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use lucide_icons::Icon;

use super::{Asked, Chat, Message as Whole, dialog};
use crate::link::{Errand, Job, News, Talk};
use crate::screen::Wish;
use crate::theme;
use crate::widget::parts::{compact, muted, notice, scroll, small};
use crate::words;
use crate::words::chat as say;

/// For how many days messages can be kept; 0: for ever.
const KEPT: [(u32, &str); 4] = [(0, "Kept"), (365, "1 year"), (30, "30 days"), (7, "7 days")];

#[derive(Debug, Clone)]
pub enum AboutMessage {
    Name(String),
    Note(String),
    Save,
    Colour(u32),
    Trust(Right, Trust),
    Keep(u32),
    Verify,
    Add(PeerId),
    Remove(PeerId),
    Ask(Part),
    Surely(Part),
    Stay,
    Unblock,
}

/// Ways to part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Contact,
    Block,
    Conversation,
    Group,
}

#[derive(Debug)]
pub struct About {
    id: ConversationId,
    name: String,
    note: String,
    asked: Option<Part>,
    saved: bool,
    pub failure: Option<Failure>,
}

impl About {
    pub fn new(id: ConversationId, contact: Option<&Contact>, conversation: Option<&Conversation>) -> Self {
        let name = match (contact, conversation) {
            (Some(contact), _) => contact.name.clone(),
            (None, Some(conversation)) => conversation.title.clone(),
            (None, None) => String::new(),
        };
        let note = contact.map(|contact| contact.note.clone()).unwrap_or_default();
        Self { id, name, note, asked: None, saved: false, failure: None }
    }

    pub fn done(&mut self, news: &News) {
        self.failure = None;
        self.saved = matches!(news, News::Contact(_) | News::Conversation(_));
    }
}

fn limited(text: String, limit: usize) -> String {
    text.chars().take(limit).collect()
}

impl Chat {
    pub(super) fn in_about(&mut self, message: AboutMessage) -> Wish {
        let Some(dialog::Dialog::About(about)) = &mut self.dialog else { return Wish::Nothing };
        let id = about.id;
        about.saved = false;
        let talk = match (message, id) {
            (AboutMessage::Name(name), _) => {
                about.name = limited(name, MAX_NAME_CHARS.min(MAX_TITLE_CHARS));
                return Wish::Nothing;
            }
            (AboutMessage::Note(note), _) => {
                about.note = limited(note, MAX_NOTE_CHARS);
                return Wish::Nothing;
            }
            (AboutMessage::Ask(part), _) => {
                about.asked = Some(part);
                return Wish::Nothing;
            }
            (AboutMessage::Stay, _) => {
                about.asked = None;
                return Wish::Nothing;
            }
            (AboutMessage::Surely(part), _) => return self.part(id, part),
            (AboutMessage::Verify, ConversationId::Peer(peer)) => return self.update(Whole::ShowVerify(peer)),
            (AboutMessage::Unblock, ConversationId::Peer(peer)) => {
                let job = Job::next();
                self.jobs.insert(job, Asked::Dialog);
                return Wish::Start(job, Errand::Unblock(peer));
            }
            (AboutMessage::Save, ConversationId::Peer(peer)) => {
                let (name, note) = (about.name.trim().to_owned(), about.note.clone());
                Talk::Change(peer, ContactChange { name: Some(name), note: Some(note), ..ContactChange::default() })
            }
            (AboutMessage::Save, ConversationId::Group(_)) => {
                Talk::Group(id, GroupChange::Title(about.name.trim().to_owned()))
            }
            (AboutMessage::Colour(colour), ConversationId::Peer(peer)) => {
                Talk::Change(peer, ContactChange { colour: Some(colour), ..ContactChange::default() })
            }
            (AboutMessage::Trust(right, trust), ConversationId::Peer(peer)) => Talk::Trust(peer, right, trust),
            (AboutMessage::Keep(days), _) => Talk::Retention(id, days),
            (AboutMessage::Add(peer), _) => Talk::Group(id, GroupChange::Add(vec![peer.to_string()])),
            (AboutMessage::Remove(peer), _) => Talk::Group(id, GroupChange::Remove(vec![peer.to_string()])),
            _ => return Wish::Nothing,
        };
        self.start(Job::next(), Asked::Dialog, talk)
    }

    fn part(&mut self, id: ConversationId, part: Part) -> Wish {
        self.dialog = None;
        match (part, id) {
            (Part::Contact, ConversationId::Peer(peer)) => self.ask(Talk::Remove(peer)),
            (Part::Block, ConversationId::Peer(peer)) => {
                let job = Job::next();
                self.jobs.insert(job, Asked::Other);
                Wish::Start(job, Errand::Block(peer))
            }
            (Part::Group, ConversationId::Group(_)) => self.ask(Talk::Group(id, GroupChange::Leave)),
            (Part::Conversation, _) => {
                self.thread = None;
                self.drafts.remove(&id);
                self.ask(Talk::DeleteConversation(id))
            }
            _ => Wish::Nothing,
        }
    }

    pub(super) fn about<'a>(&'a self, about: &'a About) -> Element<'a, Whole> {
        let conversation = self.conversation(about.id);
        let mut page = column![].spacing(14).width(Fill);
        if let Some(failure) = &about.failure {
            let (sentence, advice) = words::node::failure(failure);
            page = page.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        page = match about.id {
            ConversationId::Peer(peer) => match self.contact(peer) {
                Some(contact) => page.push(self.of_contact(about, contact)),
                None => page.push(muted("They are not among your contacts.")),
            },
            ConversationId::Group(_) => page.push(self.of_group(about, conversation)),
        };
        if let Some(conversation) = conversation {
            let kept =
                KEPT.map(|(days, name)| choice(name, conversation.retention_days == days, AboutMessage::Keep(days)));
            page = page.push(line("Messages here are", row(kept).spacing(4).into()));
        }
        page = page.push(parting(about, conversation.is_some(), self.contact_of(about.id)));
        let page: Element<'a, AboutMessage> =
            container(scroll(container(page).padding(iced::padding::right(14)))).max_height(540.0).into();
        page.map(|message| Whole::Dialog(dialog::Message::About(message)))
    }

    fn contact_of(&self, id: ConversationId) -> Option<&Contact> {
        match id {
            ConversationId::Peer(peer) => self.contact(peer),
            ConversationId::Group(_) => None,
        }
    }

    fn of_contact<'a>(&'a self, about: &'a About, contact: &'a Contact) -> Element<'a, AboutMessage> {
        let key = contact.peer_id.to_string();
        let name = self.name_of(contact.peer_id);
        let calls_itself = match contact.own_name.trim() {
            "" => String::new(),
            own => format!("Calls itself {}", say::one_line(own)),
        };
        let who = row![
            super::face(&name, &key, contact.colour, 52.0, Some(contact.presence)),
            column![
                text(name).size(theme::HEAD).font(theme::STRONG),
                muted(calls_itself),
                muted(say::presence(contact, kith_common::clock::unix_ms())),
            ]
            .spacing(2)
        ]
        .spacing(14)
        .align_y(Alignment::Center);
        let id = muted(key).size(theme::TINY).wrapping(text::Wrapping::Glyph);
        let colours = theme::FACES.map(|colour| {
            let chosen = (contact.colour == colour).into();
            button(container(space()).width(20).height(20).style(theme::disc(theme::own_colour(colour, ""), 20.0)))
                .padding(4)
                .on_press(AboutMessage::Colour(colour))
                .style(theme::chosen_button(chosen))
                .into()
        });
        let verified = match contact.verified {
            true => compact(Icon::ShieldCheck, "Verified", theme::GOOD, Some(AboutMessage::Verify)),
            false => compact(Icon::Shield, "Verify", theme::ACCENT, Some(AboutMessage::Verify)),
        };
        let trust = |right, now| {
            let offered: &[Trust] = match right {
                Right::Relay => &[Trust::Never, Trust::Always],
                Right::Calls | Right::Files => &[Trust::Never, Trust::Ask, Trust::Always],
            };
            let choices = offered.iter().map(|trust| {
                let chosen = *trust == now || (right == Right::Relay && *trust == Trust::Never && now == Trust::Ask);
                choice(say::trust(*trust), chosen, AboutMessage::Trust(right, *trust))
            });
            row(choices).spacing(4).into()
        };
        column![
            who,
            id,
            named("Your name for them", &about.name),
            text_input("A note for yourself", &about.note)
                .on_input(AboutMessage::Note)
                .on_submit(AboutMessage::Save)
                .padding([9, 12])
                .size(13)
                .style(theme::input),
            save(about),
            line("Colour", row(colours).spacing(2).into()),
            line("Safety number", verified.into()),
            line("They may call you", trust(Right::Calls, contact.calls)),
            line("They may send you files", trust(Right::Files, contact.files)),
            line("You relay and hold messages for them", trust(Right::Relay, contact.relay)),
        ]
        .spacing(11)
        .into()
    }

    fn of_group<'a>(&'a self, about: &'a About, group: Option<&'a Conversation>) -> Element<'a, AboutMessage> {
        let members = group.map_or(&[][..], |group| &group.members);
        let mut page = column![named("What the group is called", &about.name), save(about)].spacing(11);
        page = page.push(muted(format!("{} members", members.len())));
        for peer in members {
            let name = self.name_of(*peer);
            let mut member = row![
                super::face(
                    &name,
                    &peer.to_string(),
                    self.contact(*peer).map_or(0, |contact| contact.colour),
                    28.0,
                    None
                ),
                text(name).size(theme::BODY).width(Fill)
            ]
            .spacing(10)
            .align_y(Alignment::Center);
            if self.own != Some(*peer) {
                member = member.push(small(Icon::UserMinus, "Remove from the group", AboutMessage::Remove(*peer)));
            }
            page = page.push(member);
        }
        for contact in self.people.contacts.iter().filter(|contact| !members.contains(&contact.peer_id)) {
            let add = row![
                container(muted(self.name_of(contact.peer_id)).size(theme::BODY)).padding([0, 2]).width(Fill),
                small(Icon::UserPlus, "Add to the group", AboutMessage::Add(contact.peer_id))
            ];
            page = page.push(add.align_y(Alignment::Center));
        }
        page.into()
    }
}

fn named<'a>(hint: &'a str, name: &str) -> Element<'a, AboutMessage> {
    text_input(hint, name)
        .on_input(AboutMessage::Name)
        .on_submit(AboutMessage::Save)
        .padding([9, 12])
        .size(theme::BODY)
        .style(theme::input)
        .into()
}

fn save(about: &About) -> Element<'_, AboutMessage> {
    let (symbol, label, colour) = match about.saved {
        true => (Icon::Check, "Saved", theme::GOOD),
        false => (Icon::Save, "Save", theme::CONTROL),
    };
    compact(symbol, label, colour, Some(AboutMessage::Save)).into()
}

fn line<'a>(name: &'a str, what: Element<'a, AboutMessage>) -> Element<'a, AboutMessage> {
    row![text(name).size(13).width(Fill), what].spacing(8).align_y(Alignment::Center).into()
}

fn choice<'a>(name: &'a str, chosen: bool, message: AboutMessage) -> Element<'a, AboutMessage> {
    let colour = if chosen { theme::ACCENT } else { theme::CONTROL };
    button(text(name).size(theme::SMALL))
        .padding([5, 10])
        .on_press(message)
        .style(theme::filled_button(colour, 8.0))
        .into()
}

fn parting<'a>(about: &'a About, has_messages: bool, contact: Option<&'a Contact>) -> Element<'a, AboutMessage> {
    if let Some(part) = about.asked {
        let (question, label) = match part {
            Part::Contact => ("Remove this contact? Your messages stay until you delete them.", "Remove"),
            Part::Block => ("Block them? Calls and messages from them are refused.", "Block"),
            Part::Conversation => ("Delete all messages of this conversation on this machine?", "Delete"),
            Part::Group => ("Leave this group? You get no more of its messages.", "Leave"),
        };
        let answers = row![
            compact(Icon::Check, label, theme::POOR, Some(AboutMessage::Surely(part))),
            compact(Icon::X, "Cancel", theme::CONTROL, Some(AboutMessage::Stay))
        ]
        .spacing(8);
        return container(column![text(question).size(theme::BODY), answers].spacing(9))
            .padding([10, 12])
            .width(Fill)
            .style(theme::notice(theme::POOR))
            .into();
    }
    let mut ways = row![].spacing(8);
    let ask = |symbol, label, part| compact(symbol, label, theme::CONTROL, Some(AboutMessage::Ask(part)));
    match about.id {
        ConversationId::Peer(_) => {
            if let Some(contact) = contact {
                ways = ways.push(ask(Icon::UserMinus, "Remove", Part::Contact));
                ways = ways.push(match contact.blocked {
                    true => compact(Icon::CircleCheck, "Unblock", theme::CONTROL, Some(AboutMessage::Unblock)),
                    false => ask(Icon::Ban, "Block", Part::Block),
                });
            }
        }
        ConversationId::Group(_) => ways = ways.push(ask(Icon::LogOut, "Leave", Part::Group)),
    }
    if has_messages {
        ways = ways.push(ask(Icon::Trash2, "Delete messages", Part::Conversation));
    }
    ways.into()
}
