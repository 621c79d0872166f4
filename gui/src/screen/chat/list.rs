//! Whom one can talk with: requests first, then conversations with the newest message first, then contacts with whom
//! nothing has been said yet. A search finds people by name and messages by their words.

use iced::widget::{button, column, container, row, space, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::chat::{ConversationId, Message as Said};
use kith_common::contact::{ContactRequest, Presence};
use lucide_icons::Icon;

use super::{Chat, Message, SEARCH, face, presence_colour};
use crate::screen::sidebar::Node;
use crate::theme;
use crate::widget::parts::{compact, dot, icon, muted, notice, scroll, small};
use crate::words;
use crate::words::chat as say;

/// Rows that are drawn; whoever has more people searches.
const ROWS: usize = 150;
const FACE: f32 = 38.0;
/// Requests that are shown at once.
const REQUESTS: usize = 4;

/// Somebody to talk with.
pub struct Entry<'a> {
    pub id: ConversationId,
    pub name: String,
    unread: u32,
    last: Option<&'a Said>,
    colour: u32,
    here: Option<Presence>,
    about: String,
}

impl Chat {
    /// Everybody who fits the search.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        let sought = self.search.trim().to_lowercase();
        let fits = |name: &str| sought.is_empty() || name.to_lowercase().contains(&sought);
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for conversation in &self.conversations {
            let name = self.title_of(conversation.id);
            if fits(&name) {
                let (colour, here) = self.look_of(conversation.id);
                let (unread, last) = (conversation.unread, conversation.last.as_ref());
                entries.push(Entry { id: conversation.id, name, unread, last, colour, here, about: String::new() });
            }
        }
        for contact in &self.people.contacts {
            let id = ConversationId::Peer(contact.peer_id);
            let name = self.name_of(contact.peer_id);
            if self.conversation(id).is_none() && fits(&name) {
                let (colour, here) = self.look_of(id);
                let about = say::presence(contact, kith_common::clock::unix_ms());
                entries.push(Entry { id, name, unread: 0, last: None, colour, here, about });
            }
        }
        entries
    }

    fn look_of(&self, id: ConversationId) -> (u32, Option<Presence>) {
        match id {
            ConversationId::Peer(peer) => {
                self.contact(peer).map_or((0, None), |contact| (contact.colour, Some(contact.presence)))
            }
            ConversationId::Group(_) => (0, None),
        }
    }

    pub(super) fn list<'a>(&'a self, node: &'a Node, now: i64) -> Element<'a, Message> {
        let own = self.people.own;
        let about = match own {
            Presence::Away => "You are away. Press to be online",
            Presence::InCall => "You are in a call",
            _ => "You are online. Press to be away",
        };
        let here = iced::widget::tooltip(
            button(dot(presence_colour(own))).padding(9).on_press(Message::Presence).style(theme::quiet_button),
            container(text(about).size(theme::SMALL)).padding([5, 9]).style(theme::raised),
            iced::widget::tooltip::Position::Bottom,
        );
        let (bell, meaning) = self.telling.sign();
        let head = row![
            text("Chat").size(theme::TITLE).font(theme::STRONG),
            here,
            space::horizontal(),
            small(bell, meaning, Message::Telling),
            small(Icon::UsersRound, "New group", Message::ShowGroup),
            small(Icon::UserPlus, "Add a contact", Message::ShowAdd)
        ]
        .align_y(Alignment::Center);
        let search = text_input("Search people and messages", &self.search)
            .id(SEARCH)
            .on_input(Message::Search)
            .on_submit(Message::Submit)
            .padding([9, 12])
            .size(13)
            .style(theme::input);
        let mut page = column![head, search].spacing(10);
        if let Node::Lost(failure) = node {
            let (sentence, advice) = words::node::failure(failure);
            page = page.push(notice(Icon::Unplug, theme::POOR, sentence, advice));
        } else if let Some(refused) = &self.refused {
            let (sentence, advice) = words::node::refusal(refused, "of contacts and messages");
            page = page.push(notice(Icon::CircleAlert, theme::FAIR, sentence, advice));
        }
        for request in self.people.requests.iter().take(REQUESTS) {
            page = page.push(asks(request));
        }
        if self.people.requests.len() > REQUESTS {
            page = page.push(muted(format!("{} more requests", self.people.requests.len() - REQUESTS)));
        }
        container(page.push(self.everybody(now)).height(Fill)).padding([14, 12]).into()
    }

    fn everybody(&self, now: i64) -> Element<'_, Message> {
        let entries = self.entries();
        if entries.is_empty() && self.hits.is_empty() {
            return self.nobody();
        }
        let open = self.thread.as_ref().map(|thread| thread.id);
        let more = entries.len().saturating_sub(ROWS);
        let drafts = |id| open != Some(id) && self.drafts.get(&id).is_some_and(super::Composer::is_begun);
        let rows = entries.into_iter().take(ROWS).map(|entry| {
            let draft = drafts(entry.id);
            line(entry, open, now, draft)
        });
        let mut rows = column(rows).spacing(2);
        if more > 0 {
            rows = rows.push(container(muted(format!("{more} more: search for them"))).padding([6, 8]));
        }
        if !self.hits.is_empty() {
            rows = rows.push(container(muted("Messages").font(theme::STRONG)).padding([8, 8]));
            rows = rows.extend(self.hits.iter().map(|hit| self.hit(hit, now)));
        }
        scroll(rows)
    }

    fn nobody(&self) -> Element<'_, Message> {
        let (symbol, title, about) = match self.search.trim().is_empty() {
            true => (
                Icon::MessageCircle,
                "Nobody yet",
                "Add somebody by the ticket that they sent you. They appear here with what is said.",
            ),
            false => (Icon::Search, "Nothing is like that", "Names are searched, and the words of messages."),
        };
        let empty = column![
            icon(symbol, 30.0).color(theme::OFF),
            text(title).size(theme::BODY),
            muted(about).align_x(Alignment::Center)
        ];
        container(empty.spacing(9).align_x(Alignment::Center)).center(Fill).padding([0, 14]).into()
    }

    fn hit<'a>(&'a self, hit: &'a Said, now: i64) -> Element<'a, Message> {
        let head = row![
            container(text(self.title_of(hit.conversation)).size(13).wrapping(text::Wrapping::None))
                .clip(true)
                .width(Fill),
            muted(say::when(hit.stored_unix_ms, now)).size(theme::TINY)
        ]
        .spacing(8);
        let words = container(muted(say::last(hit)).wrapping(text::Wrapping::None)).clip(true).width(Fill);
        button(column![head, words].spacing(3))
            .padding([7, 8])
            .width(Fill)
            .on_press(Message::Hit(hit.conversation, hit.position))
            .style(theme::row_button)
            .into()
    }
}

fn asks(request: &ContactRequest) -> Element<'_, Message> {
    let peer = request.peer_id;
    let name = words::name(&say::one_line(&request.name), Some(peer));
    let mut about = column![
        row![
            face(&name, &peer.to_string(), 0, 30.0, None),
            column![
                text(name).size(theme::BODY).wrapping(text::Wrapping::None),
                muted(words::short_id(&peer)).size(theme::TINY)
            ]
            .spacing(2)
        ]
        .spacing(10)
        .align_y(Alignment::Center)
    ]
    .spacing(8);
    if !request.text.trim().is_empty() {
        about = about.push(text(say::one_line(&request.text)).size(13));
    }
    let answers = row![
        compact(Icon::Check, "Accept", theme::ACCENT, Some(Message::Accept(peer))),
        compact(Icon::X, "Refuse", theme::CONTROL, Some(Message::Refuse(peer)))
    ]
    .spacing(8);
    let about = column![muted("wants to be your contact").size(theme::TINY), about.push(answers)].spacing(6);
    container(about).padding([10, 12]).width(Fill).style(theme::notice(theme::ACCENT)).into()
}

fn line<'a>(entry: Entry<'a>, open: Option<ConversationId>, now: i64, draft: bool) -> Element<'a, Message> {
    let key = entry.id.to_string();
    let face: Element<'a, Message> = match entry.id {
        ConversationId::Group(_) => {
            container(icon(Icon::UsersRound, 17.0)).center(FACE).style(theme::disc(theme::person(&key), FACE)).into()
        }
        ConversationId::Peer(_) => face(&entry.name, &key, entry.colour, FACE, entry.here),
    };
    let when = entry.last.map(|last| say::when(last.stored_unix_ms, now)).unwrap_or_default();
    let strong = if entry.unread > 0 { theme::STRONG } else { theme::FONT };
    let head = row![
        container(text(entry.name).size(theme::BODY).font(strong).wrapping(text::Wrapping::None))
            .clip(true)
            .width(Fill),
        muted(when).size(theme::TINY)
    ]
    .spacing(8)
    .align_y(Alignment::Center);
    let last = entry.last.map_or(entry.about, say::last);
    let mut below = row![].spacing(6).align_y(Alignment::Center);
    if draft {
        below = below.push(icon(Icon::Pencil, 11.0).color(theme::FAIR));
    }
    below = below.push(container(muted(last).wrapping(text::Wrapping::None)).clip(true).width(Fill));
    if entry.unread > 0 {
        let count = if entry.unread > 999 { "999+".to_owned() } else { entry.unread.to_string() };
        below = below.push(
            container(text(count).size(theme::TINY).font(theme::STRONG))
                .padding([2, 7])
                .style(theme::disc(theme::ACCENT, 18.0)),
        );
    }
    button(row![face, column![head, below].spacing(3).width(Fill)].spacing(11).align_y(Alignment::Center))
        .padding([8, 8])
        .width(Fill)
        .on_press(Message::Show(entry.id))
        .style(theme::chosen_button((open == Some(entry.id)).into()))
        .into()
}
