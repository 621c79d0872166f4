//! One message as it stands in its conversation: the day when it changes, the line above what is new, who says it, what
//! it answers, its text and files, its time and state, reactions, and what can be done with it.

use iced::widget::{button, column, container, mouse_area, rich_text, row, space, span, text};
use iced::{Alignment, Color, Element, Fill};
use kith_common::call::{Direction, Switch};
use kith_common::chat::{Message as Said, MessageState};
use lucide_icons::Icon;

use super::card::Whose;
use super::compose::PICKS;
use super::{Chat, Message, face};
use crate::theme;
use crate::widget::parts::{icon, muted, small};
use crate::words::chat as say;

/// The widest that a message gets.
const WIDTH: f32 = 540.0;
const FACE: f32 = 30.0;
/// Who goes on within this time is not named again.
const SAME_BREATH_MS: i64 = 5 * 60 * 1000;
/// Of a quoted text.
const QUOTED: f32 = 360.0;
/// The reactions that are offered at once.
const REACTIONS: usize = 8;

fn goes_on(before: &Said, message: &Said) -> bool {
    before.author == message.author && message.stored_unix_ms - before.stored_unix_ms < SAME_BREATH_MS
}

impl Chat {
    /// The message at a place of the open conversation.
    pub(super) fn row_of(&self, at: usize, now: i64) -> Element<'_, Message> {
        let Some(thread) = &self.thread else { return space().into() };
        let Some(message) = thread.messages.get(at) else { return space().into() };
        let before = at.checked_sub(1).and_then(|at| thread.messages.get(at));
        let new_day = before.is_none_or(|before| say::date(before.stored_unix_ms) != say::date(message.stored_unix_ms));
        let new_line = thread.new_from == Some(message.position);
        let first = new_day || new_line || before.is_none_or(|before| !goes_on(before, message));
        let mut page = column![].padding([if first { 7 } else { 1 }, 18]).spacing(5).width(Fill);
        if new_day {
            let day = muted(say::day(message.stored_unix_ms, now)).size(theme::TINY);
            page = page
                .push(container(container(day).padding([4, 12]).style(theme::raised)).center_x(Fill).padding([6, 0]));
        }
        if new_line {
            page = page.push(new_messages());
        }
        page.push(self.said(message, first)).into()
    }

    fn said<'a>(&'a self, message: &'a Said, first: bool) -> Element<'a, Message> {
        let own = message.direction == Direction::Outgoing;
        let mut whole = column![].spacing(4);
        let named = !own && first && self.is_group();
        if named {
            whole = whole.push(text(self.name_of(message.author)).size(theme::SMALL).color(theme::LINK));
        }
        let chosen = Message::Select(message.id);
        whole = whole.push(mouse_area(self.bubble(message, own)).on_press(chosen.clone()).on_right_press(chosen));
        if let Some(reactions) = self.reactions(message) {
            whole = whole.push(reactions);
        }
        let colour = match message.state {
            MessageState::Failed => Some(theme::POOR),
            // It waits for something.
            MessageState::Queued if !message.error.trim().is_empty() => Some(theme::FAIR),
            _ => None,
        };
        if let Some(colour) = colour {
            let why = match message.error.trim() {
                "" => say::state(message.state).to_owned(),
                why => crate::words::sentence_of(&say::one_line(why)),
            };
            whole = whole.push(text(why).size(theme::SMALL).color(colour));
        }
        if self.thread.as_ref().is_some_and(|thread| thread.selected == Some(message.id)) {
            whole = whole.push(self.deeds(message, own));
        }
        let whole = whole.align_x(if own { Alignment::End } else { Alignment::Start });
        let whole = container(whole).max_width(WIDTH + 40.0);
        if own {
            return row![space::horizontal(), whole].into();
        }
        let author: Element<'a, Message> = match first {
            true => {
                let colour = self.contact(message.author).map_or(0, |contact| contact.colour);
                face(&self.name_of(message.author), &message.author.to_string(), colour, FACE, None)
            }
            false => space().width(FACE).into(),
        };
        row![author, whole].spacing(9).into()
    }

    fn bubble<'a>(&'a self, message: &'a Said, own: bool) -> Element<'a, Message> {
        let (ground, pale) = if own { (theme::OWN, theme::OWN_MUTED) } else { (theme::RAISED, theme::MUTED) };
        let mut inside = column![].spacing(5);
        if message.reply_to.is_some() && !message.deleted {
            inside = inside.push(self.quoted(message, pale));
        }
        if message.deleted {
            let gone = row![icon(Icon::Ban, 13.0).color(pale), text("Message deleted").size(theme::BODY).color(pale)];
            inside = inside.push(gone.spacing(7).align_y(Alignment::Center));
        } else if !message.text.is_empty() {
            inside = inside.push(body(&message.text));
        }
        if !message.deleted {
            for file in &message.attachments {
                let whose = if own { Whose::Mine } else { Whose::Theirs };
                inside = inside.push(self.file_card(file, whose, pale));
            }
        }
        let mut foot = row![].spacing(5).align_y(Alignment::Center);
        if message.edited && !message.deleted {
            foot = foot.push(text("edited").size(theme::TINY).color(pale));
        }
        foot = foot.push(text(say::written(message)).size(theme::TINY).color(pale));
        if own && !message.deleted {
            foot = foot.push(mark(message.state, pale));
        }
        let inside = container(inside.push(foot).align_x(if own { Alignment::End } else { Alignment::Start }))
            .padding([7, 12])
            .max_width(WIDTH);
        let sought = self.thread.as_ref().is_some_and(|thread| thread.sought == Some(message.position));
        inside.style(theme::bubble(ground, sought.into())).into()
    }

    fn quoted<'a>(&'a self, message: &'a Said, pale: Color) -> Element<'a, Message> {
        let original = message.reply_to.and_then(|id| self.thread.as_ref()?.get(id));
        let who = original.map_or_else(|| "Answer".to_owned(), |original| self.name_of(original.author));
        let what = match say::one_line(&message.reply_text) {
            what if what.is_empty() => "A message that is not here".to_owned(),
            what => what,
        };
        let words = column![
            text(who).size(theme::TINY).color(theme::LINK),
            text(what).size(theme::SMALL).color(pale).wrapping(text::Wrapping::None)
        ];
        let quote = container(words.spacing(2)).max_width(QUOTED).clip(true).padding([5, 9]).style(theme::quote);
        match original {
            Some(original) => mouse_area(quote).on_press(Message::GoTo(original.position)).into(),
            None => quote.into(),
        }
    }

    fn reactions<'a>(&'a self, message: &'a Said) -> Option<Element<'a, Message>> {
        if message.reactions.is_empty() || message.deleted {
            return None;
        }
        let pills = message.reactions.iter().map(|reaction| {
            let mine = self.own.is_some_and(|own| reaction.peers.contains(&own));
            let mut face = row![text(reaction.emoji.as_str()).size(13).shaping(text::Shaping::Advanced)].spacing(5);
            if reaction.peers.len() > 1 {
                face = face.push(text(reaction.peers.len().to_string()).size(theme::SMALL));
            }
            let turn = if mine { Switch::Off } else { Switch::On };
            button(face.align_y(Alignment::Center))
                .padding([3, 9])
                .on_press(Message::React(message.id, reaction.emoji.clone(), turn))
                .style(theme::reaction_button(mine.into()))
                .into()
        });
        Some(row(pills).spacing(4).into())
    }

    /// What can be done with the message that is chosen.
    fn deeds<'a>(&'a self, message: &'a Said, own: bool) -> Element<'a, Message> {
        let id = message.id;
        let mut deeds = row![].spacing(1).align_y(Alignment::Center);
        if message.deleted {
            return space().into();
        }
        for emoji in PICKS.iter().take(REACTIONS) {
            let pick = button(text(*emoji).size(15).shaping(text::Shaping::Advanced)).padding([5, 6]);
            deeds = deeds
                .push(pick.on_press(Message::React(id, (*emoji).to_owned(), Switch::On)).style(theme::quiet_button));
        }
        deeds = deeds.push(small(Icon::Reply, "Answer", Message::Reply(id)));
        if !message.text.is_empty() {
            let copy = row![icon(Icon::Copy, 14.0), text("Copy text").size(theme::SMALL)].spacing(5);
            let copy = button(copy.align_y(Alignment::Center)).padding([6, 7]);
            deeds = deeds.push(copy.on_press(Message::Copy(message.text.clone())).style(theme::quiet_button));
        }
        if own {
            deeds = deeds.push(small(Icon::Pencil, "Change it", Message::Change(id)));
            deeds = deeds.push(small(Icon::Trash2, "Delete it, for everybody", Message::Delete(id)));
        }
        container(deeds).padding([1, 6]).style(theme::raised).into()
    }
}

fn body(words: &str) -> Element<'_, Message> {
    let plain = say::plain(words);
    let pieces = say::pieces(&plain);
    if !pieces.iter().any(|piece| matches!(piece, say::Piece::Link(_))) {
        let size = if say::only_emoji(&plain) { 30.0 } else { theme::BODY };
        return text(plain.into_owned())
            .size(size)
            .wrapping(text::Wrapping::WordOrGlyph)
            .shaping(text::Shaping::Advanced)
            .into();
    }
    let spans: Vec<text::Span<'static, String>> = pieces
        .iter()
        .map(|piece| match piece {
            say::Piece::Words(words) => span((*words).to_owned()),
            say::Piece::Link(link) => {
                span((*link).to_owned()).color(theme::LINK).underline(true).link((*link).to_owned())
            }
        })
        .collect();
    rich_text(spans).on_link_click(Message::Open).size(theme::BODY).wrapping(text::Wrapping::WordOrGlyph).into()
}

/// How far it has come.
fn mark<'a>(state: MessageState, pale: Color) -> Element<'a, Message> {
    let (symbol, colour) = match state {
        MessageState::Queued => (Icon::Clock, pale),
        MessageState::Sent => (Icon::Check, pale),
        MessageState::Delivered => (Icon::CheckCheck, pale),
        MessageState::Read => (Icon::CheckCheck, theme::GOOD),
        MessageState::Failed => (Icon::CircleAlert, theme::POOR),
    };
    iced::widget::tooltip(
        icon(symbol, 13.0).color(colour),
        container(text(say::state(state)).size(theme::SMALL)).padding([5, 9]).style(theme::raised),
        iced::widget::tooltip::Position::Top,
    )
    .into()
}

fn new_messages<'a>() -> Element<'a, Message> {
    let line = || container(space().width(Fill).height(1)).style(theme::rule(theme::ACCENT));
    row![line(), text("New messages").size(theme::TINY).color(theme::LINK), line()]
        .spacing(10)
        .align_y(Alignment::Center)
        .padding([4, 0])
        .into()
}
