//! `chat`: conversations and the messages in them.

mod export;
mod show;
mod watch;

use std::io::Read as _;
use std::path::Path;

use kith_common::chat::{Attachment, Before, ConversationId, Draft, GroupChange, MAX_PAGE, MAX_TEXT_BYTES, Message};
use kith_common::client::Client;
use serde_json::{Value, json};

use crate::cli::{ChatArguments, ChatVerb, GroupVerb};
use crate::harmless::line;
use crate::output::Output;
use crate::stop::{Exit, Stop};
use show::{Names, conversation_row, row};

pub async fn run(client: &Client, socket: &Path, arguments: ChatArguments, output: &Output) -> Result<(), Stop> {
    let (message, said) = match arguments.verb.unwrap_or(ChatVerb::List) {
        ChatVerb::List => return list(client, output).await,
        ChatVerb::Send { place, text, reply, attach } => {
            let attachments = attach.iter().map(|text| attachment(text)).collect();
            let draft = Draft { text: typed(text)?, reply_to: reply, attachments };
            let message = client.send_message(&place.place, draft).await?;
            let said = show::sent(&message, &Names::load(client).await?);
            (message, said)
        }
        ChatVerb::Edit { id, text } => (client.edit_message(id, &typed(text)?).await?, "It says that now.".to_owned()),
        ChatVerb::Delete { id } => (client.delete_message(id).await?, "Deleted, for everybody.".to_owned()),
        ChatVerb::React { id, emoji, off } => {
            let message = client.react(id, &emoji, !off).await?;
            let said = if off { "Taken away.".to_owned() } else { format!("{} {}", emoji, line(&message.text)) };
            (message, said)
        }
        ChatVerb::History { place, limit, before } => {
            let messages = history(client, &place.place, before.unwrap_or_default(), limit).await?;
            return listed(client, &messages, "No messages.", output).await;
        }
        ChatVerb::Search { text, place, limit } => {
            let messages = search(client, &text, place.as_deref(), limit).await?;
            return listed(client, &messages, "No message has all these words.", output).await;
        }
        ChatVerb::Watch { after } => return watch::run(client, socket, after, output).await,
        ChatVerb::Read(place) => return read(client, &place.place, output).await,
        ChatVerb::Group(verb) => return group(client, verb, output).await,
        ChatVerb::Retention { place, days } => {
            let conversation = client.set_retention(&place.place, days).await?;
            let _gone = output.row(&conversation_row(&conversation));
            let title = line(&conversation.title);
            let _gone = output.text(&match days {
                0 => format!("{title}: messages are kept."),
                1 => format!("{title}: messages are deleted here after a day."),
                days => format!("{title}: messages are deleted here after {days} days."),
            });
            return Ok(());
        }
        ChatVerb::Export { place, to, .. } => {
            return export::run(client, place.as_deref(), to.as_deref(), output).await;
        }
        ChatVerb::Forget(place) => {
            client.delete_conversation(&place.place).await?;
            let _gone = output.row(&json!({ "conversation": place.place, "removed": true }));
            let _gone = output.text("The conversation is deleted, here only.");
            return Ok(());
        }
    };
    let _gone = output.row(&row(&message));
    let _gone = output.text(&said);
    Ok(())
}

/// What was typed, or what standard input says in place of `-`.
fn typed(text: String) -> Result<String, Stop> {
    if text != "-" {
        return Ok(text);
    }
    // One more than there is room for tells what is too long from what just fits; its line end is none of the message.
    let room = MAX_TEXT_BYTES as u64 + 2;
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(room).read_to_end(&mut bytes);
    read.map_err(|error| Stop::failed(format!("cannot read the message from standard input: {error}")))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > MAX_TEXT_BYTES {
        let message =
            format!("the text is longer than {} KiB, which is the most that a message holds", MAX_TEXT_BYTES / 1024);
        return Err(Stop::new(Exit::Usage, message).advise("Send it as a file, or in parts."));
    }
    String::from_utf8(bytes)
        .map_err(|_| Stop::new(Exit::Usage, "standard input is no text").advise("Send it as a file."))
}

/// `TICKET` or `TICKET=NAME`; no ticket has an equals sign.
fn attachment(text: &str) -> Attachment {
    let (ticket, name) = text.split_once('=').unwrap_or((text, ""));
    Attachment { ticket: ticket.to_owned(), name: name.to_owned(), size_bytes: 0 }
}

async fn list(client: &Client, output: &Output) -> Result<(), Stop> {
    let conversations = client.conversations().await?;
    let _gone = conversations.iter().try_for_each(|conversation| output.row(&conversation_row(conversation)));
    if !output.is_json() {
        let _gone = output.text(&show::conversations(&conversations, &Names::load(client).await?));
    }
    Ok(())
}

async fn listed(client: &Client, messages: &[Message], none: &str, output: &Output) -> Result<(), Stop> {
    let _gone = messages.iter().try_for_each(|message| output.row(&row(message)));
    if output.is_json() {
        return Ok(());
    }
    let text = if messages.is_empty() { none.to_owned() } else { show::blocks(messages, &Names::load(client).await?) };
    let _gone = output.text(&text);
    Ok(())
}

/// The newest `limit` messages before that point, the oldest first. The daemon answers in pages.
async fn history(client: &Client, place: &str, mut before: Before, limit: u32) -> Result<Vec<Message>, Stop> {
    let mut pages = Vec::new();
    let mut missing = limit;
    while missing > 0 {
        let page = client.history(place, before, missing.min(MAX_PAGE)).await?;
        let Some(oldest) = page.first() else { break };
        before.position = oldest.position;
        missing = missing.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        pages.push(page);
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// The newest first.
async fn search(client: &Client, text: &str, place: Option<&str>, limit: u32) -> Result<Vec<Message>, Stop> {
    let mut found: Vec<Message> = Vec::new();
    while let Some(missing) = limit.checked_sub(u32::try_from(found.len()).unwrap_or(u32::MAX)).filter(|&n| n > 0) {
        let before = found.last().map_or(0, |oldest| oldest.position);
        let page = client.search_messages(text, place, before, missing.min(MAX_PAGE)).await?;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    Ok(found)
}

async fn read(client: &Client, place: &str, output: &Output) -> Result<(), Stop> {
    let newest = client.history(place, Before::default(), 1).await?;
    if let Some(newest) = newest.last() {
        client.mark_read(place, newest.position).await?;
    }
    let position = newest.last().map(|newest| newest.position);
    let _gone =
        output.row(&json!({ "conversation": newest.last().map(|newest| newest.conversation), "read_to": position }));
    let _gone = output.text(if newest.is_empty() { "There is nothing to read." } else { "Everything there is read." });
    Ok(())
}

async fn group(client: &Client, verb: GroupVerb, output: &Output) -> Result<(), Stop> {
    let (conversation, said) = match verb {
        GroupVerb::New { name, peers } => (client.new_group(&name, peers).await?, "is a group now"),
        GroupVerb::Add { group, peers } => {
            (client.change_group(&group.group, GroupChange::Add(peers)).await?, "has more members")
        }
        GroupVerb::Remove { group, peers } => {
            (client.change_group(&group.group, GroupChange::Remove(peers)).await?, "has fewer members")
        }
        GroupVerb::Leave(group) => {
            (client.change_group(&group.group, GroupChange::Leave).await?, "goes on without you")
        }
        GroupVerb::Rename { group, name } => {
            (client.change_group(&group.group, GroupChange::Title(name)).await?, "is its name now")
        }
    };
    let _gone = output.row(&conversation_row(&conversation));
    let id = match conversation.id {
        ConversationId::Group(id) => id.to_string(),
        ConversationId::Peer(peer) => peer.to_string(),
    };
    let _gone = output.text(&format!("{} {said} ({id}).", line(&conversation.title)));
    Ok(())
}

/// For scripts: a moment, or nothing.
fn moment(unix_ms: i64) -> Value {
    if unix_ms > 0 { crate::when::rfc3339(unix_ms).into() } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_may_have_a_name() {
        let with = attachment("abc=cat = dog.png");
        assert_eq!((with.ticket.as_str(), with.name.as_str()), ("abc", "cat = dog.png"));
        assert_eq!(attachment("abc").name, "");
    }
}
