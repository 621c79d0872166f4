//! Messages and conversations.

use std::rc::Rc;
use std::time::Duration;

use capnp::Error;
use kith_common::chat::{Before, Conversation, ConversationId, MAX_PAGE, Message};
use kith_common::chat_capnp::{
    chat, conversation_outcome, conversations_observer, export_sink, message_outcome, messages_observer,
    messages_outcome,
};
use kith_common::convert::{
    read_draft, read_group_change, read_message_id, read_texts, write_conversation, write_conversations, write_failure,
    write_message, write_messages, write_outcome,
};
use kith_common::failure::Failure;

use super::connection::Connection;
use super::room;
use crate::chat::Chat;

/// Messages of one report to a watcher, and of one piece of an export.
const BATCH: u32 = 200;
/// Until the store is asked again for what it could not read.
const AGAIN: Duration = Duration::from_secs(1);

pub struct ChatServer(pub Rc<Connection>);

impl ChatServer {
    fn chat(&self) -> &Chat {
        &self.0.daemon.chat
    }
}

impl chat::Server for ChatServer {
    async fn conversations(
        self: Rc<Self>,
        _: chat::ConversationsParams,
        mut results: chat::ConversationsResults,
    ) -> capnp::Result<()> {
        let list = room::conversations(self.chat().conversations().await.map_err(thrown)?);
        write_conversations(&list, results.get().init_conversations(list.len() as u32));
        Ok(())
    }

    async fn watch_conversations(
        self: Rc<Self>,
        params: chat::WatchConversationsParams,
        mut results: chat::WatchConversationsResults,
    ) -> capnp::Result<()> {
        let watching = watch_conversations(self.chat().clone(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("conversations", watching)?);
        Ok(())
    }

    async fn send(self: Rc<Self>, params: chat::SendParams, mut results: chat::SendResults) -> capnp::Result<()> {
        let params = params.get()?;
        let draft = read_draft(params.get_draft()?)?;
        let sent = self.chat().send(params.get_target()?.to_str()?, draft).await;
        write_message_outcome(sent, results.get().init_outcome());
        Ok(())
    }

    async fn edit(self: Rc<Self>, params: chat::EditParams, mut results: chat::EditResults) -> capnp::Result<()> {
        let params = params.get()?;
        let edited = self.chat().edit(read_message_id(params.get_id()?)?, params.get_text()?.to_str()?).await;
        write_message_outcome(edited, results.get().init_outcome());
        Ok(())
    }

    async fn delete(self: Rc<Self>, params: chat::DeleteParams, mut results: chat::DeleteResults) -> capnp::Result<()> {
        let deleted = self.chat().delete(read_message_id(params.get()?.get_id()?)?).await;
        write_message_outcome(deleted, results.get().init_outcome());
        Ok(())
    }

    async fn react(self: Rc<Self>, params: chat::ReactParams, mut results: chat::ReactResults) -> capnp::Result<()> {
        let params = params.get()?;
        let (id, emoji) = (read_message_id(params.get_id()?)?, params.get_emoji()?.to_str()?);
        let reacted = self.chat().react(id, emoji, params.get_on()).await;
        write_message_outcome(reacted, results.get().init_outcome());
        Ok(())
    }

    async fn mark_read(
        self: Rc<Self>,
        params: chat::MarkReadParams,
        mut results: chat::MarkReadResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let marked = self.chat().mark_read(params.get_target()?.to_str()?, params.get_position()).await;
        write_outcome(marked, results.get().init_outcome());
        Ok(())
    }

    async fn history(
        self: Rc<Self>,
        params: chat::HistoryParams,
        mut results: chat::HistoryResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let before = Before { position: params.get_before(), unix_ms: params.get_before_unix_ms() };
        let page = self.chat().history(params.get_target()?.to_str()?, before, limit(params.get_limit())).await;
        write_page(page.as_deref().map(room::last), results.get().init_outcome());
        Ok(())
    }

    async fn search(self: Rc<Self>, params: chat::SearchParams, mut results: chat::SearchResults) -> capnp::Result<()> {
        let params = params.get()?;
        let (text, target) = (params.get_text()?.to_str()?, params.get_target()?.to_str()?);
        let target = (!target.is_empty()).then_some(target);
        let found = self.chat().search(text, target, params.get_before(), limit(params.get_limit())).await;
        write_page(found.as_deref().map(room::first), results.get().init_outcome());
        Ok(())
    }

    async fn watch(self: Rc<Self>, params: chat::WatchParams, mut results: chat::WatchResults) -> capnp::Result<()> {
        let params = params.get()?;
        let watching = watch_messages(self.chat().clone(), params.get_after(), params.get_observer()?);
        results.get().set_handle(self.0.subscribe("messages", watching)?);
        Ok(())
    }

    async fn new_group(
        self: Rc<Self>,
        params: chat::NewGroupParams,
        mut results: chat::NewGroupResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let members = read_texts(params.get_members()?)?;
        let group = self.chat().new_group(params.get_title()?.to_str()?, &members).await;
        write_conversation_outcome(group, results.get().init_outcome());
        Ok(())
    }

    async fn change_group(
        self: Rc<Self>,
        params: chat::ChangeGroupParams,
        mut results: chat::ChangeGroupResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let change = read_group_change(params.get_change()?)?;
        let changed = self.chat().change_group(params.get_target()?.to_str()?, change).await;
        write_conversation_outcome(changed, results.get().init_outcome());
        Ok(())
    }

    async fn set_retention(
        self: Rc<Self>,
        params: chat::SetRetentionParams,
        mut results: chat::SetRetentionResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let changed = self.chat().set_retention(params.get_target()?.to_str()?, params.get_days()).await;
        write_conversation_outcome(changed, results.get().init_outcome());
        Ok(())
    }

    async fn delete_conversation(
        self: Rc<Self>,
        params: chat::DeleteConversationParams,
        mut results: chat::DeleteConversationResults,
    ) -> capnp::Result<()> {
        let deleted = self.chat().delete_conversation(params.get()?.get_target()?.to_str()?).await;
        write_outcome(deleted, results.get().init_outcome());
        Ok(())
    }

    async fn export(self: Rc<Self>, params: chat::ExportParams, mut results: chat::ExportResults) -> capnp::Result<()> {
        let params = params.get()?;
        let sink = params.get_sink()?;
        let outcome = match exported(self.chat(), params.get_target()?.to_str()?).await {
            Ok(conversations) => export(self.chat(), conversations, &sink).await?,
            Err(failure) => Err(failure),
        };
        write_outcome(outcome, results.get().init_outcome());
        Ok(())
    }
}

/// A method without an outcome says by an exception what the store could not do.
fn thrown(failure: Failure) -> Error {
    Error::failed(failure.message)
}

fn shutting_down() -> Error {
    Error::disconnected("the daemon is shutting down".into())
}

/// 0: as many as there may be.
fn limit(asked: u32) -> u32 {
    if asked == 0 { MAX_PAGE } else { asked.min(MAX_PAGE) }
}

/// What cannot be read now is tried again: whoever watches would wait for ever, and not hear why.
pub(super) async fn read<T>(read: impl AsyncFn() -> Result<T, Failure>) -> T {
    loop {
        match read().await {
            Ok(found) => return found,
            Err(failure) => tracing::warn!(%failure, "the database could not be read for a client"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The list now and after each change. While the client thinks, changes add up to one.
async fn watch_conversations(chat: Chat, observer: conversations_observer::Client) -> capnp::Result<()> {
    let mut changes = chat.changes();
    loop {
        changes.mark_unchanged();
        let list = room::conversations(read(async || chat.conversations().await).await);
        let mut request = observer.changed_request();
        write_conversations(&list, request.get().init_conversations(list.len() as u32));
        request.send().promise.await?;
        changes.changed().await.map_err(|_| shutting_down())?;
    }
}

/// What changed after the cursor, batch by batch. The next is read when the client has answered for the last, so that a
/// client that is slow, or stuck, costs one batch; where it is lies in its cursor, not here.
async fn watch_messages(chat: Chat, after: u64, observer: messages_observer::Client) -> capnp::Result<()> {
    let mut changes = chat.changes();
    // A cursor that was never given is one of another database: this one is new to the client.
    let mut cursor = if after > *changes.borrow() { 0 } else { after };
    loop {
        // Before reading: what comes in between is read at once, or told of again.
        changes.mark_unchanged();
        let (messages, next) = read(async || chat.changed_after(cursor, BATCH).await).await;
        let Some(newest) = messages.last() else {
            changes.changed().await.map_err(|_| shutting_down())?;
            continue;
        };
        let batch = room::first(&messages);
        let next = batch.last().filter(|last| last.cursor < newest.cursor).map_or(next, |last| last.cursor);
        let mut request = observer.messages_request();
        write_messages(batch, request.get().init_messages(batch.len() as u32));
        request.get().set_cursor(next);
        request.send().promise.await?;
        cursor = next;
    }
}

/// Which conversations are to be exported. An empty target: all.
async fn exported(chat: &Chat, target: &str) -> Result<Vec<ConversationId>, Failure> {
    if target.is_empty() {
        return Ok(chat.conversations().await?.into_iter().map(|conversation| conversation.id).collect());
    }
    Ok(vec![chat.resolve(target).await?])
}

/// A sink that fails ends it with that error.
async fn export(
    chat: &Chat,
    conversations: Vec<ConversationId>,
    sink: &export_sink::Client,
) -> capnp::Result<Result<(), Failure>> {
    for conversation in conversations {
        // The store reads pages from the end: where they end is noted first, then they are read from the oldest on.
        let (mut ends, mut before) = (Vec::new(), Before::default());
        loop {
            let page = match chat.history_of(conversation, before, BATCH).await {
                Ok(page) => page,
                Err(failure) => return Ok(Err(failure)),
            };
            let (Some(first), Some(last)) = (page.first(), page.last()) else { break };
            ends.push(last.position + 1);
            before.position = first.position;
        }
        let mut told = 0;
        for position in ends.into_iter().rev() {
            let mut page = match chat.history_of(conversation, Before { position, unix_ms: 0 }, BATCH).await {
                Ok(page) => page,
                Err(failure) => return Ok(Err(failure)),
            };
            // Where some have gone in the meantime, a page reaches back into the one before.
            page.retain(|message| message.position > told);
            let mut rest = page.as_slice();
            while let Some(last) = room::first(rest).last() {
                let (piece, after) = rest.split_at(room::first(rest).len());
                let mut request = sink.messages_request();
                write_messages(piece, request.get().init_messages(piece.len() as u32));
                request.send().await?;
                (rest, told) = (after, last.position);
            }
        }
    }
    sink.done_request().send().promise.await?;
    Ok(Ok(()))
}

fn write_message_outcome(outcome: Result<Message, Failure>, to: message_outcome::Builder<'_>) {
    match outcome {
        Ok(message) => write_message(&message, to.init_message()),
        Err(failure) => write_failure(&failure, to.init_failed()),
    }
}

fn write_page(outcome: Result<&[Message], &Failure>, to: messages_outcome::Builder<'_>) {
    match outcome {
        Ok(messages) => write_messages(messages, to.init_messages(messages.len() as u32)),
        Err(failure) => write_failure(failure, to.init_failed()),
    }
}

fn write_conversation_outcome(outcome: Result<Conversation, Failure>, to: conversation_outcome::Builder<'_>) {
    match outcome {
        Ok(conversation) => write_conversation(&conversation, to.init_conversation()),
        Err(failure) => write_failure(&failure, to.init_failed()),
    }
}
