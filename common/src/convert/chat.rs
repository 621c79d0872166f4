//! Messages and conversations.

use capnp::{Error, struct_list, text_list};

use super::node::peer_id;
use super::{Enumeration, enumeration, length, read_texts, text, write_texts};
use crate::call::Direction;
use crate::chat::{
    Attachment, Conversation, ConversationId, Draft, GroupChange, Message, MessageId, MessageState, Reaction,
};
use crate::chat_capnp::{self as wire, attachment, conversation, draft, group_change, message, reaction};
use crate::ids::PeerId;

enumeration!(MessageState, wire::MessageState: Queued, Sent, Delivered, Read, Failed);

/// An id of a message as a client gives it.
pub fn read_message_id(from: capnp::text::Reader<'_>) -> capnp::Result<MessageId> {
    from.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
}

fn read_conversation_id(from: capnp::text::Reader<'_>) -> capnp::Result<ConversationId> {
    from.to_str()?.parse().map_err(|error| Error::failed(format!("{error}")))
}

/// Empty: none.
fn read_reply_to(from: capnp::text::Reader<'_>) -> capnp::Result<Option<MessageId>> {
    if from.is_empty() { Ok(None) } else { read_message_id(from).map(Some) }
}

fn write_peer_ids(peers: &[PeerId], mut to: text_list::Builder<'_>) {
    for (index, peer) in (0..).zip(peers) {
        to.set(index, peer.to_string());
    }
}

fn read_peer_ids(from: text_list::Reader<'_>) -> capnp::Result<Vec<PeerId>> {
    from.iter().map(|peer| peer_id(peer?)).collect()
}

fn write_attachments(attachments: &[Attachment], mut to: struct_list::Builder<'_, attachment::Owned>) {
    for (index, attachment) in (0..).zip(attachments) {
        let mut to = to.reborrow().get(index);
        to.set_ticket(attachment.ticket.as_str());
        to.set_name(attachment.name.as_str());
        to.set_size_bytes(attachment.size_bytes);
    }
}

fn read_attachments(from: struct_list::Reader<'_, attachment::Owned>) -> capnp::Result<Vec<Attachment>> {
    let attachment = |from: attachment::Reader<'_>| {
        Ok(Attachment {
            ticket: text(from.get_ticket()?)?,
            name: text(from.get_name()?)?,
            size_bytes: from.get_size_bytes(),
        })
    };
    from.iter().map(attachment).collect()
}

fn write_reactions(reactions: &[Reaction], mut to: struct_list::Builder<'_, reaction::Owned>) {
    for (index, reaction) in (0..).zip(reactions) {
        let mut to = to.reborrow().get(index);
        to.set_emoji(reaction.emoji.as_str());
        write_peer_ids(&reaction.peers, to.init_peers(length(&reaction.peers)));
    }
}

fn read_reactions(from: struct_list::Reader<'_, reaction::Owned>) -> capnp::Result<Vec<Reaction>> {
    let reaction = |from: reaction::Reader<'_>| {
        Ok(Reaction { emoji: text(from.get_emoji()?)?, peers: read_peer_ids(from.get_peers()?)? })
    };
    from.iter().map(reaction).collect()
}

pub fn write_message(message: &Message, mut to: message::Builder<'_>) {
    to.set_cursor(message.cursor);
    to.set_id(message.id.to_string());
    to.set_conversation(message.conversation.to_string());
    to.set_author(message.author.to_string());
    to.set_direction(message.direction.to_wire());
    to.set_text(message.text.as_str());
    to.set_sent_unix_ms(message.sent_unix_ms);
    to.set_stored_unix_ms(message.stored_unix_ms);
    to.set_state(message.state.to_wire());
    to.set_error(message.error.as_str());
    to.set_edited(message.edited);
    to.set_deleted(message.deleted);
    if let Some(id) = message.reply_to {
        to.set_reply_to(id.to_string());
    }
    to.set_reply_text(message.reply_text.as_str());
    to.set_position(message.position);
    write_reactions(&message.reactions, to.reborrow().init_reactions(length(&message.reactions)));
    write_attachments(&message.attachments, to.init_attachments(length(&message.attachments)));
}

pub fn read_message(from: message::Reader<'_>) -> capnp::Result<Message> {
    Ok(Message {
        cursor: from.get_cursor(),
        id: read_message_id(from.get_id()?)?,
        conversation: read_conversation_id(from.get_conversation()?)?,
        author: peer_id(from.get_author()?)?,
        direction: Direction::required(from.get_direction(), "the direction of a message")?,
        text: text(from.get_text()?)?,
        sent_unix_ms: from.get_sent_unix_ms(),
        stored_unix_ms: from.get_stored_unix_ms(),
        state: MessageState::required(from.get_state(), "the state of a message")?,
        error: text(from.get_error()?)?,
        edited: from.get_edited(),
        deleted: from.get_deleted(),
        reply_to: read_reply_to(from.get_reply_to()?)?,
        reply_text: text(from.get_reply_text()?)?,
        reactions: read_reactions(from.get_reactions()?)?,
        attachments: read_attachments(from.get_attachments()?)?,
        position: from.get_position(),
    })
}

pub fn write_messages(messages: &[Message], mut to: struct_list::Builder<'_, message::Owned>) {
    for (index, message) in (0..).zip(messages) {
        write_message(message, to.reborrow().get(index));
    }
}

pub fn read_messages(from: struct_list::Reader<'_, message::Owned>) -> capnp::Result<Vec<Message>> {
    from.iter().map(read_message).collect()
}

pub fn write_conversation(conversation: &Conversation, mut to: conversation::Builder<'_>) {
    to.set_id(conversation.id.to_string());
    to.set_title(conversation.title.as_str());
    to.set_group(matches!(conversation.id, ConversationId::Group(_)));
    to.set_unread(conversation.unread);
    to.set_retention_days(conversation.retention_days);
    to.set_left(conversation.left);
    to.set_cursor(conversation.cursor);
    write_peer_ids(&conversation.members, to.reborrow().init_members(length(&conversation.members)));
    if let Some(message) = &conversation.last {
        write_message(message, to.init_last().init_message());
    }
}

pub fn read_conversation(from: conversation::Reader<'_>) -> capnp::Result<Conversation> {
    Ok(Conversation {
        id: read_conversation_id(from.get_id()?)?,
        title: text(from.get_title()?)?,
        members: read_peer_ids(from.get_members()?)?,
        unread: from.get_unread(),
        last: match from.get_last().which()? {
            conversation::last::None(()) => None,
            conversation::last::Message(message) => Some(read_message(message?)?),
        },
        retention_days: from.get_retention_days(),
        left: from.get_left(),
        cursor: from.get_cursor(),
    })
}

pub fn write_conversations(conversations: &[Conversation], mut to: struct_list::Builder<'_, conversation::Owned>) {
    for (index, conversation) in (0..).zip(conversations) {
        write_conversation(conversation, to.reborrow().get(index));
    }
}

pub fn read_conversations(from: struct_list::Reader<'_, conversation::Owned>) -> capnp::Result<Vec<Conversation>> {
    from.iter().map(read_conversation).collect()
}

pub fn write_draft(draft: &Draft, mut to: draft::Builder<'_>) {
    to.set_text(draft.text.as_str());
    if let Some(id) = draft.reply_to {
        to.set_reply_to(id.to_string());
    }
    write_attachments(&draft.attachments, to.init_attachments(length(&draft.attachments)));
}

pub fn read_draft(from: draft::Reader<'_>) -> capnp::Result<Draft> {
    Ok(Draft {
        text: text(from.get_text()?)?,
        reply_to: read_reply_to(from.get_reply_to()?)?,
        attachments: read_attachments(from.get_attachments()?)?,
    })
}

pub fn write_group_change(change: &GroupChange, mut to: group_change::Builder<'_>) {
    match change {
        GroupChange::Title(title) => to.set_title(title.as_str()),
        GroupChange::Add(members) => write_texts(members.iter(), to.init_add(length(members))),
        GroupChange::Remove(members) => write_texts(members.iter(), to.init_remove(length(members))),
        GroupChange::Leave => to.set_leave(()),
    }
}

pub fn read_group_change(from: group_change::Reader<'_>) -> capnp::Result<GroupChange> {
    match from.which() {
        Ok(group_change::Title(title)) => Ok(GroupChange::Title(text(title?)?)),
        Ok(group_change::Add(members)) => Ok(GroupChange::Add(read_texts(members?)?)),
        Ok(group_change::Remove(members)) => Ok(GroupChange::Remove(read_texts(members?)?)),
        Ok(group_change::Leave(())) => Ok(GroupChange::Leave),
        Ok(group_change::Unspecified(())) | Err(_) => {
            Err(Error::failed("the change of a group is missing or not known to this version".into()))
        }
    }
}
