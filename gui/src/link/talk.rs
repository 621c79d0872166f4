//! What is asked of the daemon about people and messages, and the feeds that tell of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kith_common::call::Switch;
use kith_common::chat::{Before, ConversationId, Draft, GroupChange, Message, MessageId};
use kith_common::client::Client;
use kith_common::contact::{ContactChange, Presence, Right, Trust};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use tokio::sync::mpsc;

use super::{Event, News};

/// Messages of one page: a few screens of them.
pub const PAGE: u32 = 60;
/// Hits of a search that are shown.
pub const HITS: u32 = 50;

/// Which messages of a conversation are wanted. Positions are those of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last ones.
    End,
    /// Those before this one.
    Before(u64),
    /// Those after this one.
    After(u64),
    /// Those up to and with this one.
    UpTo(u64),
}

#[derive(Clone, PartialEq, Eq)]
pub enum Talk {
    /// As a person types it: ticket, peer id or address; a name for it, and a word with the request.
    Add {
        target: String,
        name: String,
        text: String,
    },
    Remove(PeerId),
    Change(PeerId, ContactChange),
    Trust(PeerId, Right, Trust),
    Accept(PeerId, String),
    Refuse(PeerId),
    Safety(PeerId),
    Presence(Presence),
    Send(ConversationId, Draft),
    Edit(MessageId, String),
    Delete(MessageId),
    React(MessageId, String, Switch),
    MarkRead(ConversationId, u64),
    History(ConversationId, Span),
    /// Within one conversation, or everywhere.
    Search(String, Option<ConversationId>),
    NewGroup(String, Vec<PeerId>),
    Group(ConversationId, GroupChange),
    Retention(ConversationId, u32),
    DeleteConversation(ConversationId),
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither persons nor what they say have a place in a log.
        f.write_str(match self {
            Self::Add { .. } => "Add",
            Self::Remove(_) => "Remove",
            Self::Change(..) => "Change",
            Self::Trust(_, right, trust) => return write!(f, "Trust({right:?}, {trust:?})"),
            Self::Accept(..) => "Accept",
            Self::Refuse(_) => "Refuse",
            Self::Safety(_) => "Safety",
            Self::Presence(presence) => return write!(f, "Presence({presence:?})"),
            Self::Send(_, draft) => return write!(f, "Send({} bytes)", draft.text.len()),
            Self::Edit(..) => "Edit",
            Self::Delete(_) => "Delete",
            Self::React(..) => "React",
            Self::MarkRead(_, position) => return write!(f, "MarkRead({position})"),
            Self::History(_, span) => return write!(f, "History({span:?})"),
            Self::Search(text, _) => return write!(f, "Search({} bytes)", text.len()),
            Self::NewGroup(_, members) => return write!(f, "NewGroup({} members)", members.len()),
            Self::Group(..) => "Group",
            Self::Retention(_, days) => return write!(f, "Retention({days})"),
            Self::DeleteConversation(_) => "DeleteConversation",
        })
    }
}

pub(super) async fn obey(client: &Client, talk: Talk) -> Result<News, Failure> {
    let said = |message: Message| News::Message(Box::new(message));
    let met = |contact| News::Contact(Box::new(contact));
    Ok(match talk {
        Talk::Add { target, name, text } => met(client.add_contact(&target, &name, &text).await?),
        Talk::Remove(peer) => client.remove_contact(&peer.to_string()).await.map(|()| News::Done)?,
        Talk::Change(peer, change) => met(client.change_contact(&peer.to_string(), change).await?),
        Talk::Trust(peer, right, trust) => met(client.set_trust(&peer.to_string(), right, trust).await?),
        Talk::Accept(peer, name) => met(client.accept_contact(&peer.to_string(), &name).await?),
        Talk::Refuse(peer) => client.refuse_contact(&peer.to_string()).await.map(|()| News::Done)?,
        Talk::Safety(peer) => News::Safety(client.safety(&peer.to_string()).await?),
        Talk::Presence(presence) => client.set_presence(presence).await.map(|()| News::Done)?,
        Talk::Send(to, draft) => said(client.send_message(&to.to_string(), draft).await?),
        Talk::Edit(id, text) => said(client.edit_message(id, &text).await?),
        Talk::Delete(id) => said(client.delete_message(id).await?),
        Talk::React(id, emoji, state) => said(client.react(id, &emoji, state == Switch::On).await?),
        Talk::MarkRead(id, position) => client.mark_read(&id.to_string(), position).await.map(|()| News::Done)?,
        Talk::History(id, span) => News::Page(history(client, &id.to_string(), span).await?),
        Talk::Search(text, within) => {
            let within = within.map(|id| id.to_string());
            News::Page(client.search_messages(&text, within.as_deref(), 0, HITS).await?)
        }
        Talk::NewGroup(title, members) => {
            let members = members.iter().map(PeerId::to_string).collect();
            News::Conversation(Box::new(client.new_group(&title, members).await?))
        }
        Talk::Group(id, change) => News::Conversation(Box::new(client.change_group(&id.to_string(), change).await?)),
        Talk::Retention(id, days) => News::Conversation(Box::new(client.set_retention(&id.to_string(), days).await?)),
        Talk::DeleteConversation(id) => client.delete_conversation(&id.to_string()).await.map(|()| News::Done)?,
    })
}

/// A page, oldest first.
async fn history(client: &Client, target: &str, span: Span) -> Result<Vec<Message>, Failure> {
    let before = |position| client.history(target, Before { position, unix_ms: 0 }, PAGE);
    match span {
        Span::End => before(0).await,
        Span::Before(position) => before(position).await,
        Span::UpTo(position) => before(position.saturating_add(1)).await,
        Span::After(position) => {
            let last = client.history(target, Before::default(), 1).await?;
            let Some(last) = last.last().map(|message| message.position).filter(|last| *last > position) else {
                return Ok(Vec::new());
            };
            let mut step = Step::default();
            loop {
                let end = position.saturating_add(step.size());
                let page = before(if end > last { 0 } else { end }).await?;
                let joins = page.len() < PAGE as usize || page.first().is_none_or(|first| first.position <= position);
                let fresh: Vec<Message> = page.into_iter().filter(|message| message.position > position).collect();
                match (fresh.is_empty(), joins) {
                    (true, _) => step.too_short(),
                    (false, false) => step.too_long(),
                    (false, true) => return Ok(fresh),
                }
            }
        }
    }
}

/// How far ahead to ask: pages are cut by their end, and the positions of one conversation have gaps where others spoke.
/// A step of one page or less always joins on; the search between what was too short and too long ends, because each
/// position holds at most one message.
#[derive(Debug, Default)]
struct Step {
    short: u64,
    long: Option<u64>,
}

impl Step {
    fn size(&self) -> u64 {
        match self.long {
            Some(long) => self.short.midpoint(long).max(self.short + 1),
            None => (self.short * 8).max(u64::from(PAGE)),
        }
    }

    fn too_short(&mut self) {
        self.short = self.size();
    }

    fn too_long(&mut self) {
        self.long = Some(self.size());
    }
}

/// The last change of a message that this window has seen: a new connection goes on from there.
pub(super) type Seen = Arc<AtomicU64>;

/// Follows contacts and requests; a refusal is told once.
pub(super) async fn people(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_people().await?;
        while let Some(people) = feed.next().await {
            let _ = events.send(Event::People(Ok(people?))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::People(Err(failure))).await;
    }
}

/// Follows the conversations; a refusal is told once.
pub(super) async fn conversations(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_conversations().await?;
        while let Some(conversations) = feed.next().await {
            let _ = events.send(Event::Conversations(Ok(conversations?))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::Conversations(Err(failure))).await;
    }
}

/// Follows each change of a message. The first connection begins with what is new from now on: pages that are looked at
/// later have what was before.
pub(super) async fn messages(client: Client, events: mpsc::Sender<Event>, seen: Seen) {
    let followed = async {
        if seen.load(Ordering::Relaxed) == 0 {
            let newest = client.conversations().await?.iter().map(|conversation| conversation.cursor).max();
            seen.store(newest.unwrap_or(0), Ordering::Relaxed);
        }
        let mut feed = client.watch_messages(seen.load(Ordering::Relaxed)).await?;
        while let Some(report) = feed.next().await {
            let (messages, cursor) = report?;
            if events.send(Event::Messages(messages)).await.is_err() {
                return Ok(());
            }
            seen.store(cursor, Ordering::Relaxed);
        }
        Ok::<(), Failure>(())
    };
    if let Err(failure) = followed.await {
        // The conversations' feed says so to the person.
        tracing::debug!(%failure, "messages are not followed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests it takes to join on, when the conversation's messages stand at these positions.
    fn asked(positions: &[u64], after: u64) -> usize {
        let mut step = Step::default();
        for count in 1.. {
            let end = after + step.size();
            let page: Vec<u64> = positions.iter().rev().filter(|at| **at < end).take(PAGE as usize).copied().collect();
            let joins = page.len() < PAGE as usize || page.last().is_none_or(|first| *first <= after);
            match (page.iter().all(|at| *at <= after), joins) {
                (true, _) => step.too_short(),
                (false, false) => step.too_long(),
                (false, true) => return count,
            }
            assert!(count < 40, "it does not end");
        }
        0
    }

    #[test]
    fn the_next_page_is_found_in_dense_and_in_sparse_conversations() {
        let dense: Vec<u64> = (1..5_000).collect();
        assert_eq!(asked(&dense, 100), 1);
        let sparse: Vec<u64> = (1..5_000).map(|at| at * 1_000).collect();
        assert!(asked(&sparse, 10_000) < 12);
        let mut burst: Vec<u64> = (1..200).collect();
        burst.extend(1_000_000..1_002_000);
        assert!(asked(&burst, 199) < 30, "after a long silence");
    }
}
