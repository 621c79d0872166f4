//! Messages and conversations.
//!
//! `target` everywhere: a conversation's id or title, a contact's name, a peer id, or a ticket.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::call::outcome;
use super::link::no_daemon;
use super::{Client, Feed, feed, keep};
use crate::chat::{Before, Conversation, Draft, GroupChange, MAX_TEXT_BYTES, Message, MessageId};
use crate::chat_capnp::{
    conversation_outcome, conversations_observer, export_sink, message_outcome, messages_observer, messages_outcome,
};
use crate::convert::{
    read_conversation, read_conversations, read_failure, read_message, read_messages, read_outcome, write_draft,
    write_group_change, write_texts,
};
use crate::failure::{Failure, FailureKind};
use crate::rpc::MAX_MESSAGE_BYTES;

/// What the sender of a request with such an outcome gets.
macro_rules! answer {
    ($request:expr, $outcome:ident::$found:ident, $read:expr) => {{
        let response = $request.send().promise.await?;
        match response.get()?.get_outcome()?.which() {
            Ok($outcome::$found(found)) => Ok($read(found?)?),
            Ok($outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
            Ok($outcome::Unspecified(())) | Err(_) => {
                Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
            }
        }
    }};
}

macro_rules! message {
    ($request:expr) => {
        answer!($request, message_outcome::Message, read_message)
    };
}

macro_rules! messages {
    ($request:expr) => {
        answer!($request, messages_outcome::Messages, read_messages)
    };
}

macro_rules! conversation {
    ($request:expr) => {
        answer!($request, conversation_outcome::Conversation, read_conversation)
    };
}

fn gone<T>(_: T) -> capnp::Error {
    capnp::Error::disconnected("nobody listens any more".into())
}

/// The daemon says what is too long for a message. What is too long for the connection would end that, without a word.
fn fits(text: &str) -> Result<(), Failure> {
    if text.len() <= MAX_MESSAGE_BYTES / 2 {
        return Ok(());
    }
    let message = format!("the message has {} bytes, and at most {MAX_TEXT_BYTES} are sent", text.len());
    Err(Failure::new(FailureKind::InvalidArgument, message).advise("Send it as a file, or in several messages."))
}

impl Client {
    /// The one with the newest message first.
    pub async fn conversations(&self) -> Result<Vec<Conversation>, Failure> {
        let conversations = self.node.ask(|node, _| async move {
            let chat = node.chat_request().send().pipeline.get_chat();
            let response = chat.conversations_request().send().promise.await?;
            Ok(read_conversations(response.get()?.get_conversations()?)?)
        });
        conversations.await
    }

    /// All of them now and after each change; whoever is slow misses states in between, never the newest.
    pub async fn watch_conversations(&self) -> Result<Feed<Vec<Conversation>>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.chat_request().send().pipeline.get_chat().watch_conversations_request();
            request.get().set_observer(capnp_rpc::new_client(ConversationsObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// Returns when the message is stored here; it is sent when the other side appears.
    pub async fn send_message(&self, target: &str, draft: Draft) -> Result<Message, Failure> {
        fits(&draft.text)?;
        let target = target.to_owned();
        let send = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().send_request();
            request.get().set_target(target);
            write_draft(&draft, request.get().init_draft());
            message!(request)
        });
        send.await
    }

    /// One of one's own, for everybody.
    pub async fn edit_message(&self, id: MessageId, text: &str) -> Result<Message, Failure> {
        fits(text)?;
        let text = text.to_owned();
        let edit = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().edit_request();
            request.get().set_id(id.to_string());
            request.get().set_text(text);
            message!(request)
        });
        edit.await
    }

    /// One of one's own, for everybody.
    pub async fn delete_message(&self, id: MessageId) -> Result<Message, Failure> {
        let delete = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().delete_request();
            request.get().set_id(id.to_string());
            message!(request)
        });
        delete.await
    }

    pub async fn react(&self, id: MessageId, emoji: &str, on: bool) -> Result<Message, Failure> {
        let emoji = emoji.to_owned();
        let react = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().react_request();
            request.get().set_id(id.to_string());
            request.get().set_emoji(emoji);
            request.get().set_on(on);
            message!(request)
        });
        react.await
    }

    /// Everything up to that position; the authors are told.
    pub async fn mark_read(&self, target: &str, position: u64) -> Result<(), Failure> {
        let target = target.to_owned();
        let mark = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().mark_read_request();
            request.get().set_target(target);
            request.get().set_position(position);
            outcome!(request)
        });
        mark.await
    }

    /// The newest `limit` messages before that point, oldest first. Fewer, when they are so long that they would not fit
    /// an answer: ask again before the first of them.
    pub async fn history(&self, target: &str, before: Before, limit: u32) -> Result<Vec<Message>, Failure> {
        let target = target.to_owned();
        let history = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().history_request();
            request.get().set_target(target);
            request.get().set_before(before.position);
            request.get().set_before_unix_ms(before.unix_ms);
            request.get().set_limit(limit);
            messages!(request)
        });
        history.await
    }

    /// Messages with all these words, the last of which may be a beginning; newest first. Without a target everywhere.
    pub async fn search_messages(
        &self,
        text: &str,
        target: Option<&str>,
        before_position: u64,
        limit: u32,
    ) -> Result<Vec<Message>, Failure> {
        let (text, target) = (text.to_owned(), target.unwrap_or_default().to_owned());
        let search = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().search_request();
            request.get().set_text(text);
            request.get().set_target(target);
            request.get().set_before(before_position);
            request.get().set_limit(limit);
            messages!(request)
        });
        search.await
    }

    /// Every message that has changed after that cursor, then each further change, and the cursor to ask again with once
    /// the batch is dealt with: who starts again from there misses nothing.
    pub async fn watch_messages(&self, after: u64) -> Result<Feed<(Vec<Message>, u64)>, Failure> {
        let watch = self.node.ask(move |node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.chat_request().send().pipeline.get_chat().watch_request();
            request.get().set_after(after);
            request.get().set_observer(capnp_rpc::new_client(MessagesObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// `members`: contacts, as a user names them.
    pub async fn new_group(&self, title: &str, members: Vec<String>) -> Result<Conversation, Failure> {
        let title = title.to_owned();
        let new = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().new_group_request();
            request.get().set_title(title);
            write_texts(members.iter(), request.get().init_members(u32::try_from(members.len()).unwrap_or(u32::MAX)));
            conversation!(request)
        });
        new.await
    }

    pub async fn change_group(&self, target: &str, change: GroupChange) -> Result<Conversation, Failure> {
        let target = target.to_owned();
        let changing = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().change_group_request();
            request.get().set_target(target);
            write_group_change(&change, request.get().init_change());
            conversation!(request)
        });
        changing.await
    }

    /// Older messages are deleted here; 0: kept.
    pub async fn set_retention(&self, target: &str, days: u32) -> Result<Conversation, Failure> {
        let target = target.to_owned();
        let set = self.node.ask(move |node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().set_retention_request();
            request.get().set_target(target);
            request.get().set_days(days);
            conversation!(request)
        });
        set.await
    }

    /// Here only.
    pub async fn delete_conversation(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let delete = self.node.ask(|node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().delete_conversation_request();
            request.get().set_target(target);
            outcome!(request)
        });
        delete.await
    }

    /// The whole conversation, oldest first, or without a target every one: to `batches` as they are read; the future
    /// ends after the last. Dropping the future cancels.
    pub async fn export_messages(
        &self,
        target: Option<&str>,
        batches: mpsc::Sender<Vec<Message>>,
    ) -> Result<(), Failure> {
        let target = target.unwrap_or_default().to_owned();
        let export = self.node.ask(|node, _| async move {
            let mut request = node.chat_request().send().pipeline.get_chat().export_request();
            request.get().set_target(target);
            request.get().set_sink(capnp_rpc::new_client(ExportSink(batches)));
            outcome!(request)
        });
        export.await
    }
}

struct ConversationsObserver(mpsc::Sender<Vec<Conversation>>);

impl conversations_observer::Server for ConversationsObserver {
    async fn changed(
        self: Rc<Self>,
        params: conversations_observer::ChangedParams,
        _: conversations_observer::ChangedResults,
    ) -> capnp::Result<()> {
        self.0.send(read_conversations(params.get()?.get_conversations()?)?).await.map_err(gone)
    }
}

/// Answers when there is room, so that the daemon waits and reads no further. What waits in the room when this client
/// goes comes again: the cursor to ask with comes with the batch.
struct MessagesObserver(mpsc::Sender<(Vec<Message>, u64)>);

impl messages_observer::Server for MessagesObserver {
    async fn messages(
        self: Rc<Self>,
        params: messages_observer::MessagesParams,
        _: messages_observer::MessagesResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let batch = (read_messages(params.get_messages()?)?, params.get_cursor());
        self.0.send(batch).await.map_err(gone)
    }
}

struct ExportSink(mpsc::Sender<Vec<Message>>);

impl export_sink::Server for ExportSink {
    async fn messages(self: Rc<Self>, params: export_sink::MessagesParams) -> capnp::Result<()> {
        self.0.send(read_messages(params.get()?.get_messages()?)?).await.map_err(gone)
    }

    async fn done(self: Rc<Self>, _: export_sink::DoneParams, _: export_sink::DoneResults) -> capnp::Result<()> {
        Ok(())
    }
}
