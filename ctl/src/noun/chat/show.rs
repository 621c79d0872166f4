//! How messages and conversations look: as promised JSON rows, in a table, in blocks and on one line.

use std::collections::BTreeMap;

use kith_common::call::Direction;
use kith_common::chat::{Conversation, ConversationId, Message, MessageState};
use kith_common::client::Client;
use kith_common::clock::unix_ms;
use kith_common::ids::PeerId;
use serde_json::{Value, json};

use super::moment;
use crate::harmless::line;
use crate::output::{cells, name, table};
use crate::stop::Stop;
use crate::when::{ago, rfc3339};

/// Characters of a message in a table or of the one that it answers.
const BEGINNING: usize = 60;

/// What people are called here.
#[derive(Default)]
pub struct Names(BTreeMap<PeerId, String>);

impl Names {
    pub async fn load(client: &Client) -> Result<Self, Stop> {
        let (people, own) = tokio::try_join!(client.people(), client.identity())?;
        let contacts = people.contacts.into_iter().map(|contact| (contact.peer_id, line(&contact.name)));
        Ok(Self(contacts.chain([(own.peer_id, "you".to_owned())]).collect()))
    }

    /// A name, or the end of the peer id.
    pub fn of(&self, peer: &PeerId) -> String {
        self.0.get(peer).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| format!("…{}", peer.short()))
    }

    pub fn knows(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }
}

/// A message with the promised fields. `peer` is the other one: in a group the author, and nobody for one's own.
pub fn row(message: &Message) -> Value {
    let mut row = json!(message);
    row["peer"] = match (message.conversation, message.direction) {
        (ConversationId::Peer(peer), _) => json!(peer),
        (ConversationId::Group(_), Direction::Incoming) => json!(message.author),
        (ConversationId::Group(_), Direction::Outgoing) => Value::Null,
    };
    row["sent_at"] = rfc3339(message.sent_unix_ms).into();
    row["stored_at"] = moment(message.stored_unix_ms);
    row
}

pub fn conversation_row(conversation: &Conversation) -> Value {
    let mut row = json!(conversation);
    row["group"] = matches!(conversation.id, ConversationId::Group(_)).into();
    row["last"] = conversation.last.as_ref().map_or(Value::Null, self::row);
    row
}

/// What became of a message that was just sent.
pub fn sent(message: &Message, names: &Names) -> String {
    let whom = match message.conversation {
        ConversationId::Peer(peer) => names.of(&peer),
        ConversationId::Group(_) => "the group".to_owned(),
    };
    match message.state {
        MessageState::Queued => format!("Stored; it goes out as soon as {whom} is reachable."),
        MessageState::Sent => format!("On its way to {whom}."),
        MessageState::Delivered | MessageState::Read => format!("Delivered to {whom}."),
        MessageState::Failed => format!("Given up: {}.", line(&message.error)),
    }
}

pub fn conversations(conversations: &[Conversation], names: &Names) -> String {
    if conversations.is_empty() {
        return "No conversations yet. `kithctl chat send PEER TEXT` begins one.".to_owned();
    }
    let mut rows = vec![cells(["WITH", "UNREAD", "WHEN", "LAST"])];
    let now = unix_ms();
    for conversation in conversations {
        let members = match conversation.id {
            ConversationId::Peer(_) => String::new(),
            ConversationId::Group(_) if conversation.left => " (left)".to_owned(),
            ConversationId::Group(_) => format!(" ({})", conversation.members.len()),
        };
        let unread = if conversation.unread == 0 { "–".to_owned() } else { conversation.unread.to_string() };
        let last = conversation.last.as_ref();
        let when = last.map_or_else(|| "–".to_owned(), |last| ago(last.stored_unix_ms, now));
        let said = last
            .map_or_else(String::new, |last| format!("{}: {}", names.of(&last.author), beginning(&what_it_says(last))));
        rows.push(cells([&(line(&conversation.title) + &members), &unread, &when, &said]));
    }
    table(&rows)
}

/// Messages one below the other, with all that there is to know of each.
pub fn blocks(messages: &[Message], names: &Names) -> String {
    messages.iter().map(|message| block(message, names)).collect::<Vec<_>>().join("\n\n")
}

fn block(message: &Message, names: &Names) -> String {
    let mut lines = vec![format!(
        "{} · {}{} · {} · {}",
        names.of(&message.author),
        rfc3339(message.sent_unix_ms),
        if message.edited { " · edited" } else { "" },
        state(message),
        message.id
    )];
    if message.reply_to.is_some() {
        let what = if message.reply_text.is_empty() { "a message" } else { &message.reply_text };
        lines.push(format!("  > {}", beginning(what)));
    }
    if message.deleted {
        lines.push("  (deleted)".to_owned());
    } else if !message.text.is_empty() {
        lines.extend(message.text.lines().map(|text| format!("  {text}")));
    }
    for attachment in &message.attachments {
        lines.push(format!("  [{}] {}", file_name(&attachment.name), line(&attachment.ticket)));
    }
    if !message.reactions.is_empty() {
        lines.push(format!("  {}", reactions(message, names)));
    }
    lines.join("\n")
}

/// One message on one line.
pub fn one_line(message: &Message, names: &Names) -> String {
    let to = match (message.conversation, message.direction) {
        (ConversationId::Peer(peer), Direction::Outgoing) => format!(" to {}", names.of(&peer)),
        (ConversationId::Peer(_), Direction::Incoming) => String::new(),
        (ConversationId::Group(group), _) => format!(" in {}", &group.to_string()[..8]),
    };
    let mut text = format!(
        "{}  {}{to}: {}  ({}{})",
        rfc3339(message.sent_unix_ms),
        names.of(&message.author),
        what_it_says(message),
        if message.edited { "edited, " } else { "" },
        state(message)
    );
    if !message.reactions.is_empty() {
        text += &format!("  {}", reactions(message, names));
    }
    text
}

fn what_it_says(message: &Message) -> String {
    if message.deleted {
        return "(deleted)".to_owned();
    }
    let files = message.attachments.iter().map(|attachment| format!("[{}]", file_name(&attachment.name)));
    let text = line(&message.text);
    Some(text).filter(|text| !text.is_empty()).into_iter().chain(files).collect::<Vec<_>>().join(" ")
}

fn file_name(name: &str) -> String {
    if name.is_empty() { "a file".to_owned() } else { line(name) }
}

fn state(message: &Message) -> String {
    match (message.direction, message.state) {
        (Direction::Incoming, MessageState::Read) => "read".to_owned(),
        (Direction::Incoming, _) => "new".to_owned(),
        (Direction::Outgoing, MessageState::Failed) => format!("failed: {}", line(&message.error)),
        (Direction::Outgoing, MessageState::Queued) if !message.error.is_empty() => {
            format!("queued: {}", line(&message.error))
        }
        (Direction::Outgoing, state) => name(state),
    }
}

fn reactions(message: &Message, names: &Names) -> String {
    let one = |reaction: &kith_common::chat::Reaction| {
        let peers: Vec<String> = reaction.peers.iter().map(|peer| names.of(peer)).collect();
        format!("{} {}", line(&reaction.emoji), peers.join(", "))
    };
    message.reactions.iter().map(one).collect::<Vec<_>>().join("  ")
}

fn beginning(text: &str) -> String {
    let text = line(text);
    if text.chars().count() <= BEGINNING { text } else { text.chars().take(BEGINNING).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use kith_common::chat::{Attachment, GroupId, MessageId, Reaction};

    use super::*;

    const ADA: PeerId = PeerId::from_public_key([1; 32]);
    const BEN: PeerId = PeerId::from_public_key([2; 32]);

    fn names() -> Names {
        Names(BTreeMap::from([(ADA, "ada".to_owned()), (BEN, "you".to_owned())]))
    }

    fn message(direction: Direction, text: &str) -> Message {
        Message {
            cursor: 7,
            id: MessageId::from_bytes([3; 16]),
            conversation: ConversationId::Peer(ADA),
            author: if direction == Direction::Incoming { ADA } else { BEN },
            direction,
            text: text.into(),
            sent_unix_ms: 1000,
            stored_unix_ms: 2000,
            state: MessageState::Delivered,
            error: String::new(),
            edited: false,
            deleted: false,
            reply_to: None,
            reply_text: String::new(),
            reactions: Vec::new(),
            attachments: Vec::new(),
            position: 9,
        }
    }

    #[test]
    fn a_message_has_the_promised_fields() {
        let row = row(&message(Direction::Incoming, "hello"));
        for field in
            ["id", "peer", "direction", "text", "sent_at", "state", "conversation", "author", "cursor", "position"]
        {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert_eq!((&row["direction"], &row["state"]), (&"incoming".into(), &"delivered".into()));
        assert_eq!(row["sent_at"], "1970-01-01T00:00:01Z");
        assert_eq!(row["peer"], json!(ADA));
    }

    #[test]
    fn the_peer_is_always_the_other_one() {
        let group = ConversationId::Group(GroupId::from_bytes([5; 16]));
        assert_eq!(row(&message(Direction::Outgoing, "x"))["peer"], json!(ADA));
        let incoming = Message { conversation: group, ..message(Direction::Incoming, "x") };
        assert_eq!(row(&incoming)["peer"], json!(ADA));
        let own = Message { conversation: group, ..message(Direction::Outgoing, "x") };
        assert_eq!(row(&own)["peer"], Value::Null);
    }

    #[test]
    fn a_message_cannot_look_like_two() {
        let text = one_line(&message(Direction::Incoming, "hi\nyou to ada: I owe you"), &names());
        assert_eq!(text, "1970-01-01T00:00:01Z  ada: hi ⏎ you to ada: I owe you  (new)");
        let block = block(&message(Direction::Incoming, "hi\nthere"), &names());
        assert_eq!(block.lines().skip(1).collect::<Vec<_>>(), ["  hi", "  there"]);
    }

    #[test]
    fn a_block_tells_all_there_is() {
        let full = Message {
            edited: true,
            reply_to: Some(MessageId::from_bytes([1; 16])),
            reply_text: "shall we?".into(),
            reactions: vec![Reaction { emoji: "👍".into(), peers: vec![ADA] }],
            attachments: vec![Attachment { ticket: "abc".into(), name: "cat.png".into(), size_bytes: 1 }],
            ..message(Direction::Outgoing, "yes")
        };
        let block = block(&full, &names());
        for part in ["you · ", "edited", "delivered", "> shall we?", "  yes", "[cat.png] abc", "👍 ada"] {
            assert!(block.contains(part), "{part}: {block}");
        }
        let deleted = Message { deleted: true, text: String::new(), ..full };
        assert!(self::block(&deleted, &names()).contains("(deleted)"));
    }

    #[test]
    fn a_conversation_shows_what_was_said_last_and_what_is_unread() {
        let conversation = Conversation {
            id: ConversationId::Peer(ADA),
            title: "ada".into(),
            members: vec![ADA],
            unread: 2,
            last: Some(message(Direction::Incoming, &"long ".repeat(100))),
            retention_days: 0,
            left: false,
            cursor: 7,
        };
        let row = conversation_row(&conversation);
        assert_eq!((&row["unread"], &row["group"]), (&2.into(), &false.into()));
        assert!(row["last"]["sent_at"].is_string());
        let text = conversations(&[conversation], &names());
        assert!(text.contains("ada   2") && text.ends_with('…'), "{text}");
    }
}
