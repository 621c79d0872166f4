//! What the screens about people and messages say in words: times and days, states, presence, and what of a text is a
//! link. What others wrote is shown without the characters that turn its direction or hide in it.

use std::borrow::Cow;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use kith_common::call::Direction;
use kith_common::chat::{Conversation, Message, MessageState};
use kith_common::contact::{Contact, Presence, Trust};

/// The longest text that stands in one line of a list.
const LINE: usize = 120;

fn local(unix_ms: i64) -> Zoned {
    Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system())
}

/// The day of somebody who sits here.
pub fn date(unix_ms: i64) -> Date {
    local(unix_ms).date()
}

/// `14:05`
pub fn clock(unix_ms: i64) -> String {
    local(unix_ms).strftime("%H:%M").to_string()
}

fn days_ago(date: Date, today: Date) -> i32 {
    (today - date).get_days()
}

/// `Today`, `Yesterday`, `Monday, 3 November`, with the year when it is another.
pub fn day(unix_ms: i64, now_unix_ms: i64) -> String {
    let (then, today) = (date(unix_ms), date(now_unix_ms));
    match days_ago(then, today) {
        0 => "Today".into(),
        1 => "Yesterday".into(),
        _ if then.year() == today.year() => then.strftime("%A, %-d %B").to_string(),
        _ => then.strftime("%A, %-d %B %Y").to_string(),
    }
}

/// For a narrow column: the hour of today, the day otherwise.
pub fn when(unix_ms: i64, now_unix_ms: i64) -> String {
    let (then, today) = (date(unix_ms), date(now_unix_ms));
    match days_ago(then, today) {
        0 => clock(unix_ms),
        1 => "Yesterday".into(),
        2..=6 => then.strftime("%A").to_string(),
        _ if then.year() == today.year() => then.strftime("%-d %b").to_string(),
        _ => then.strftime("%-d %b %Y").to_string(),
    }
}

/// `3 Nov 2026, 14:05`
pub fn moment(unix_ms: i64) -> String {
    local(unix_ms).strftime("%-d %b %Y, %H:%M").to_string()
}

/// When it was written: the day too, where that is not the day on which it arrived.
pub fn written(message: &Message) -> String {
    let (sent, stored) = (message.sent_unix_ms, message.stored_unix_ms);
    if date(sent) == date(stored) { clock(sent) } else { moment(sent) }
}

pub fn state(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "Waits on this machine until they can be reached",
        MessageState::Sent => "On its way",
        MessageState::Delivered => "Delivered",
        MessageState::Read => "Read",
        MessageState::Failed => "Not delivered",
    }
}

pub fn presence(contact: &Contact, now_unix_ms: i64) -> String {
    match contact.presence {
        _ if contact.blocked => "blocked".into(),
        Presence::Online => "online".into(),
        Presence::Away => "away".into(),
        Presence::InCall => "in a call".into(),
        Presence::Offline if !contact.mutual => "has not accepted you yet".into(),
        Presence::Offline if contact.last_seen_unix_ms > 0 => {
            format!("seen {}", super::node::ago(contact.last_seen_unix_ms, now_unix_ms))
        }
        Presence::Offline => "offline".into(),
    }
}

pub fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Never => "Never",
        Trust::Ask => "Ask",
        Trust::Always => "Always",
    }
}

/// The last message in one line.
pub fn last(message: &Message) -> String {
    let text = match (&message.text, message.attachments.first()) {
        _ if message.deleted => return "Message deleted".into(),
        (text, Some(file)) if text.trim().is_empty() => file.name.as_str(),
        (text, _) => text,
    };
    let who = if message.direction == Direction::Outgoing { "You: " } else { "" };
    format!("{who}{}", one_line(text))
}

/// The beginning, in one line.
pub fn one_line(text: &str) -> String {
    let plain = plain(text);
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LINE) {
        line.truncate(end);
        line.push('…');
    }
    line
}

pub fn title(conversation: &Conversation) -> String {
    let title = one_line(&conversation.title);
    match conversation.id {
        _ if !title.is_empty() => title,
        kith_common::chat::ConversationId::Peer(peer) => super::name("", Some(peer)),
        kith_common::chat::ConversationId::Group(_) => "Group without a name".into(),
    }
}

/// Without control characters and those that turn the direction of what follows: they can make a text look like another.
pub fn plain(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(hidden) { text.replace(hidden, "").into() } else { text.into() }
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    Words(&'a str),
    Link(&'a str),
}

/// Web addresses, and what stands between them.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        let (before, link) = rest.split_at(at);
        let end = link.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"')).unwrap_or(link.len());
        let link = link[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'', '…']);
        if !before.is_empty() {
            pieces.push(Piece::Words(before));
        }
        let bare = link.ends_with("//");
        pieces.push(if bare { Piece::Words(link) } else { Piece::Link(link) });
        rest = &rest[at + link.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Words(rest));
    }
    pieces
}

/// Whether a text is a few emoji and nothing else, which are shown larger.
pub fn only_emoji(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text.chars().count() <= 8
        && text.chars().all(|c| matches!(u32::from(c), 0x200d | 0xfe0f | 0x2600..=0x27bf | 0x1f000..=0x1faff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_end_where_the_sentence_goes_on() {
        let text = "Look (https://example.org/a?b=1), or http://x.test. Bare https:// is none";
        assert_eq!(
            pieces(text),
            [
                Piece::Words("Look ("),
                Piece::Link("https://example.org/a?b=1"),
                Piece::Words("), or "),
                Piece::Link("http://x.test"),
                Piece::Words(". Bare "),
                Piece::Words("https://"),
                Piece::Words(" is none"),
            ]
        );
    }

    #[test]
    fn what_turns_or_hides_text_is_not_shown() {
        assert_eq!(plain("gpj.\u{202e}exe\u{7}"), "gpj.exe");
        assert_eq!(plain("two\nlines"), "two\nlines");
        assert_eq!(one_line("two\n lines"), "two lines");
    }

    #[test]
    fn a_few_emoji_alone_are_emoji() {
        assert!(only_emoji("🎉👍") && only_emoji("❤️"));
        assert!(!only_emoji("ok 👍") && !only_emoji("") && !only_emoji("123"));
    }

    #[test]
    fn days_are_said_as_people_say_them() {
        const DAY: i64 = 86_400_000;
        let now = 1_800_000_000_000;
        assert_eq!(day(now, now), "Today");
        assert_eq!(day(now - DAY, now), "Yesterday");
        assert!(day(now - 400 * DAY, now).ends_with("2025"), "{}", day(now - 400 * DAY, now));
    }
}
