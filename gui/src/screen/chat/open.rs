//! The conversation on the right: whose it is and whether they are there, its messages, and what one writes.

use iced::widget::{button, column, container, row, space, stack, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::call::CallKind;
use kith_common::chat::ConversationId;
use kith_common::contact::Contact;
use lucide_icons::Icon;

use super::compose::Files;
use super::thread::{Beyond, Thread};
use super::{Chat, FIND, Message, face};
use crate::theme;
use crate::widget::parts::{compact, icon, muted, notice, small};
use crate::widget::rows::rows;
use crate::words;
use crate::words::chat as say;

impl Chat {
    pub(super) fn opened(&self, now: i64) -> Element<'_, Message> {
        let Some(thread) = &self.thread else { return nothing() };
        let mut page = column![self.header(thread, now)];
        if let Some(find) = self.finding(thread) {
            page = page.push(find);
        }
        page = page.push(container(space().width(Fill).height(1)).style(theme::rule(theme::LINE)));
        page = page.push(self.messages(thread, now));
        let mut below = column![].spacing(8).padding([10, 14]);
        if let Some(trouble) = &self.trouble {
            let (sentence, advice) = words::node::failure(trouble);
            let told = notice(Icon::CircleAlert, theme::POOR, sentence, advice);
            below = below
                .push(row![told, small(Icon::X, "Dismiss", Message::Dismiss)].spacing(4).align_y(Alignment::Center));
        }
        if let Some(id) = self.deleting {
            let ask = row![
                text("Delete this message for everybody?").size(theme::BODY).width(Fill),
                compact(Icon::Trash2, "Delete", theme::POOR, Some(Message::DeleteSurely(id))),
                compact(Icon::X, "Keep", theme::CONTROL, Some(Message::Keep))
            ];
            below = below.push(
                container(ask.spacing(8).align_y(Alignment::Center)).padding([8, 12]).style(theme::notice(theme::POOR)),
            );
        }
        page.push(below.push(self.writing(thread))).into()
    }

    /// Why one cannot write there.
    pub(super) fn closed(&self, id: ConversationId) -> Option<&'static str> {
        let left = self.conversation(id).is_some_and(|conversation| conversation.left);
        match id {
            ConversationId::Group(_) if left => Some("You are not a member of this group any more."),
            ConversationId::Peer(peer) => match self.contact(peer) {
                Some(contact) if contact.blocked => Some("You have blocked this contact."),
                Some(_) => None,
                None => Some("They are not among your contacts: add them to write to them."),
            },
            ConversationId::Group(_) => None,
        }
    }

    /// Where one writes, or why one cannot.
    fn writing(&self, thread: &Thread) -> Element<'_, Message> {
        if let Some(why) = self.closed(thread.id) {
            return container(muted(why)).center_x(Fill).padding([10, 0]).into();
        }
        let going = self.adding_view(thread.id);
        let files = if going.is_empty() { Files::Ready } else { Files::Going };
        let mut page = column(going).spacing(8);
        if self.sending.contains(&thread.id) {
            page = page.push(muted("It is sent as soon as the files are shared."));
        }
        page.push(self.draft().view(&self.title_of(thread.id), self.has_emoji, files)).into()
    }

    fn header(&self, thread: &Thread, now: i64) -> Element<'_, Message> {
        let name = self.title_of(thread.id);
        let key = thread.id.to_string();
        let mut deeds = row![].align_y(Alignment::Center);
        let (face, about): (Element<'_, Message>, Element<'_, Message>) = match thread.id {
            ConversationId::Peer(peer) => {
                let contact = self.contact(peer);
                deeds = deeds.push(small(Icon::Phone, "Voice call", Message::Call(peer, CallKind::Voice))).push(small(
                    Icon::Video,
                    "Video call",
                    Message::Call(peer, CallKind::Video),
                ));
                let here = contact.map(|contact| contact.presence);
                let colour = contact.map_or(0, |contact| contact.colour);
                let face = face(&name, &key, colour, 40.0, here);
                (face, person(contact, now))
            }
            ConversationId::Group(_) => {
                let members = self.conversation(thread.id).map_or(&[][..], |conversation| &conversation.members);
                let mut names: Vec<String> = members.iter().map(|peer| self.name_of(*peer)).collect();
                names.sort();
                let face =
                    container(icon(Icon::UsersRound, 18.0)).center(40).style(theme::disc(theme::person(&key), 40.0));
                (face.into(), muted(names.join(", ")).wrapping(text::Wrapping::None).into())
            }
        };
        deeds = deeds.push(small(Icon::Search, "Search here (Ctrl+F)", Message::Find)).push(small(
            Icon::EllipsisVertical,
            "About, trust and settings",
            Message::ShowAbout,
        ));
        let who = column![text(name).size(theme::HEAD).font(theme::STRONG).wrapping(text::Wrapping::None), about];
        row![face, container(who.spacing(2)).clip(true).width(Fill), deeds]
            .spacing(12)
            .padding([10, 16])
            .align_y(Alignment::Center)
            .into()
    }

    fn finding<'a>(&'a self, thread: &'a Thread) -> Option<Element<'a, Message>> {
        let find = thread.find.as_ref()?;
        let count = match (&find.found, find.hits.len()) {
            (None, _) => String::new(),
            (Some(_), 0) => "Nothing found".into(),
            (Some(_), hits) => format!("{} of {hits}", find.at + 1),
        };
        let input = text_input("Search in this conversation", &find.text)
            .id(FIND)
            .on_input(Message::FindText)
            .on_submit(Message::FindStep(1))
            .padding([8, 12])
            .size(13)
            .style(theme::input);
        let line = row![
            input,
            muted(count),
            small(Icon::ChevronUp, "Older", Message::FindStep(1)),
            small(Icon::ChevronDown, "Newer", Message::FindStep(-1)),
            small(Icon::X, "Close (Esc)", Message::Escape)
        ];
        Some(
            container(line.spacing(6).align_y(Alignment::Center))
                .padding(iced::padding::all(10).top(0).left(16))
                .into(),
        )
    }

    fn messages<'a>(&'a self, thread: &'a Thread, now: i64) -> Element<'a, Message> {
        if thread.messages.is_empty() {
            let words = if thread.loading() {
                "Loading…".to_owned()
            } else {
                format!(
                    "Nothing has been said yet. What you write waits here until {} can be reached.",
                    self.title_of(thread.id)
                )
            };
            return container(muted(words).align_x(Alignment::Center)).center(Fill).padding(30).into();
        }
        let list = rows(thread.keys(), thread.wanted, Message::Sight, move |at| self.row_of(at, now));
        let list = list.beyond(thread.beyond());
        let mut layers = stack![list];
        if matches!(thread.older, Beyond::Loading(_)) && thread.sight.is_some_and(|sight| sight.first == 0) {
            layers = layers.push(
                container(container(muted("Loading…").size(theme::TINY)).padding([4, 12]).style(theme::raised))
                    .center_x(Fill)
                    .padding(8),
            );
        }
        if !thread.at_end() {
            let unread = self.conversation(thread.id).map_or(0, |conversation| conversation.unread);
            let mut down = row![icon(Icon::ArrowDown, 16.0)].spacing(8).align_y(Alignment::Center);
            if unread > 0 {
                down = down.push(text(format!("{unread} new")).size(theme::SMALL));
            }
            let down = button(down).padding([9, 11]).on_press(Message::End);
            layers = layers.push(
                container(down.style(theme::filled_button(theme::CONTROL, 18.0)))
                    .align_right(Fill)
                    .align_bottom(Fill)
                    .padding(14),
            );
        }
        container(layers).height(Fill).into()
    }
}

fn person(contact: Option<&Contact>, now: i64) -> Element<'_, Message> {
    let Some(contact) = contact else { return muted("not among your contacts").into() };
    let mut line = row![muted(say::presence(contact, now)).wrapping(text::Wrapping::None)].spacing(10);
    let verify = match contact.verified {
        true => row![icon(Icon::ShieldCheck, 13.0).color(theme::GOOD), muted("verified")],
        false => row![icon(Icon::Shield, 13.0).color(theme::LINK), muted("verify").color(theme::LINK)],
    };
    let verify = button(verify.spacing(4).align_y(Alignment::Center))
        .padding(0)
        .on_press(Message::ShowVerify(contact.peer_id))
        .style(theme::quiet_button);
    line = line.push(verify);
    line.align_y(Alignment::Center).into()
}

fn nothing<'a>() -> Element<'a, Message> {
    let empty =
        column![
        icon(Icon::MessagesSquare, 34.0).color(theme::OFF),
        text("Choose a conversation").size(theme::BODY),
        muted("Ctrl+K finds people and messages. What you write goes from your machine to theirs, and is kept on both.")
            .align_x(Alignment::Center)
    ];
    container(empty.spacing(10).align_x(Alignment::Center).max_width(360)).center(Fill).into()
}
