//! What the rest of the daemon holds: [`Chat`]. Cheap to clone; the task ends with [`Chat::shutdown`] or the last handle.

use std::sync::Arc;

use kith_common::chat::{
    Before, Conversation, ConversationId, Draft, GroupChange, GroupId, MAX_MEMBERS, MAX_PAGE, Message, MessageId,
};
use kith_common::clock::unix_ms;
use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::target::Target;
use kith_store::{Body, Database, StoreGroupChange};
use tokio::sync::{mpsc, oneshot, watch};

use super::ports::Network;
use super::task::{Command, Task};
use super::{ChatParts, check};
use crate::net::Net;

/// Commands are few: they come from the daemon itself.
const COMMAND_QUEUE: usize = 8;

/// All messages of this node.
#[derive(Clone)]
pub struct Chat {
    own: PeerId,
    db: Database,
    people: watch::Receiver<Arc<People>>,
    commands: mpsc::Sender<Command>,
}

impl Chat {
    /// Carries messages from now on.
    pub fn start(net: Net, parts: ChatParts) -> Self {
        Self::start_with(net, parts)
    }

    pub(super) fn start_with<N: Network>(net: N, parts: ChatParts) -> Self {
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let chat = Self { own: net.peer_id(), db: parts.db.clone(), people: parts.people.clone(), commands };
        tokio::spawn(Task::new(net, parts).run(inbox));
        chat
    }

    /// The newest cursor of messages and conversations.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.db.changes()
    }

    /// All, the one with the newest message first.
    pub async fn conversations(&self) -> Result<Vec<Conversation>, Failure> {
        // Titles are the store's, like the cursor that tells of a new one: what is published beside it may be a moment older.
        self.db.read(|store| store.conversations()).await
    }

    /// Whom or what a user names: a conversation's id or title, a contact's name, a peer id, or a ticket.
    pub async fn resolve(&self, target: &str) -> Result<ConversationId, Failure> {
        let target = target.trim();
        if target.is_empty() {
            return Err(Failure::new(FailureKind::InvalidArgument, "no conversation is named")
                .advise("Give a contact's name, a peer id, a ticket, or the title or id of a group."));
        }
        if let Ok(id) = target.parse() {
            return self.not_own(id);
        }
        if let Ok(Target::Ticket(ticket)) = target.parse() {
            return self.not_own(ConversationId::Peer(ticket.peer));
        }
        if let Some(peer) = self.contact_named(target) {
            return Ok(ConversationId::Peer(peer));
        }
        let wanted = target.to_lowercase();
        let titled: Vec<_> =
            self.conversations().await?.into_iter().filter(|found| found.title.to_lowercase() == wanted).collect();
        match titled.as_slice() {
            [one] => Ok(one.id),
            [] => Err(Failure::new(
                FailureKind::NotFound,
                format!("no contact and no conversation is called {target:.80?}"),
            )
            .advise("`kithctl contacts list` shows the contacts, `kithctl chat list` the conversations.")),
            several => {
                let ids: Vec<_> = several.iter().map(|conversation| conversation.id.to_string()).collect();
                Err(Failure::new(
                    FailureKind::InvalidArgument,
                    format!("{} conversations are called {target:.80?}", ids.len()),
                )
                .advise(format!("Name one by its id: {}.", ids.join(", "))))
            }
        }
    }

    /// Returns when the message is stored here.
    pub async fn send(&self, target: &str, draft: Draft) -> Result<Message, Failure> {
        let conversation = self.resolve(target).await?;
        self.may_write(conversation)?;
        let body = check::draft(draft)?;
        self.say(conversation, MessageId::from_bytes(rand::random()), body).await
    }

    pub async fn edit(&self, id: MessageId, text: &str) -> Result<Message, Failure> {
        let body = check::edit(text)?;
        self.change(id, Whose::Own, body).await
    }

    /// Of one's own, for everybody.
    pub async fn delete(&self, id: MessageId) -> Result<Message, Failure> {
        self.change(id, Whose::Own, Body::Delete).await
    }

    pub async fn react(&self, id: MessageId, emoji: &str, on: bool) -> Result<Message, Failure> {
        let body = check::reaction(emoji, on)?;
        self.change(id, Whose::Anybody, body).await
    }

    /// A person has read everything of the conversation up to there; its authors are told.
    pub async fn mark_read(&self, target: &str, position: u64) -> Result<(), Failure> {
        let conversation = self.resolve(target).await?;
        // Each stream sees for itself what there is to tell.
        self.db.write(move |store| store.mark_read(conversation, position)).await.map(drop)
    }

    /// The newest before that position and time, oldest first.
    pub async fn history(&self, target: &str, before: Before, limit: u32) -> Result<Vec<Message>, Failure> {
        let conversation = self.resolve(target).await?;
        self.history_of(conversation, before, limit).await
    }

    pub async fn history_of(
        &self,
        conversation: ConversationId,
        before: Before,
        limit: u32,
    ) -> Result<Vec<Message>, Failure> {
        self.db.read(move |store| store.history(conversation, before, limit.min(MAX_PAGE))).await
    }

    /// Messages with all these words, newest first; without a target those of all conversations.
    pub async fn search(
        &self,
        text: &str,
        target: Option<&str>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Message>, Failure> {
        let conversation = match target {
            Some(target) => Some(self.resolve(target).await?),
            None => None,
        };
        let text = text.to_owned();
        self.db.read(move |store| store.search(&text, conversation, before, limit.min(MAX_PAGE))).await
    }

    /// What has changed after that cursor, in the order of the changes, and the cursor to go on from.
    pub async fn changed_after(&self, cursor: u64, limit: u32) -> Result<(Vec<Message>, u64), Failure> {
        self.db.read(move |store| store.changed_after(cursor, limit.min(MAX_PAGE))).await
    }

    pub async fn new_group(&self, title: &str, members: &[String]) -> Result<Conversation, Failure> {
        let title = check::title(title)?;
        let members = self.contacts_named(members)?;
        if members.is_empty() || members.len() >= MAX_MEMBERS {
            let message = format!("a group has 2 to {MAX_MEMBERS} members, you among them");
            return Err(Failure::new(FailureKind::InvalidArgument, message));
        }
        let id = GroupId::from_bytes(rand::random());
        self.db.write(move |store| store.new_group(id, &title, &members, unix_ms())).await
    }

    pub async fn change_group(&self, target: &str, change: GroupChange) -> Result<Conversation, Failure> {
        let ConversationId::Group(id) = self.resolve(target).await? else {
            return Err(Failure::new(FailureKind::InvalidArgument, "this is a conversation with one person, no group")
                .advise("`kithctl chat group new TITLE NAME…` makes a group."));
        };
        let change = match change {
            GroupChange::Title(title) => StoreGroupChange::Title(check::title(&title)?),
            GroupChange::Add(names) => StoreGroupChange::Add(self.contacts_named(&names)?),
            GroupChange::Remove(names) => StoreGroupChange::Remove(self.peers_named(&names)?),
            GroupChange::Leave => StoreGroupChange::Leave,
        };
        self.db.write(move |store| store.change_group(id, change, unix_ms())).await
    }

    /// Older messages are deleted here, at once and from then on; 0: kept.
    pub async fn set_retention(&self, target: &str, days: u32) -> Result<Conversation, Failure> {
        let conversation = self.resolve(target).await?;
        let changed = self.db.write(move |store| {
            let changed = store.set_retention(conversation, days)?;
            store.expire(unix_ms())?;
            Ok(changed)
        });
        changed.await
    }

    /// Here only.
    pub async fn delete_conversation(&self, target: &str) -> Result<(), Failure> {
        let conversation = self.resolve(target).await?;
        if self.db.write(move |store| store.delete_conversation(conversation)).await? {
            return Ok(());
        }
        Err(Failure::new(FailureKind::NotFound, "there are no messages in this conversation"))
    }

    /// Does the task still answer? For the service manager's watchdog.
    pub async fn is_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Alive { reply }).await.is_ok() && answer.await.is_ok()
    }

    /// Ends the streams. What is on the disk is sent after the next start.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    fn not_own(&self, id: ConversationId) -> Result<ConversationId, Failure> {
        if id == ConversationId::Peer(self.own) {
            return Err(Failure::new(FailureKind::InvalidArgument, "this is your own peer id")
                .advise("Give that of the person to write to."));
        }
        Ok(id)
    }

    fn contact_named(&self, name: &str) -> Option<PeerId> {
        let wanted = name.to_lowercase();
        let people = Arc::clone(&self.people.borrow());
        people.contacts.iter().find(|contact| contact.name.to_lowercase() == wanted).map(|contact| contact.peer_id)
    }

    fn is_contact(&self, peer: PeerId) -> bool {
        self.people.borrow().contacts.iter().any(|contact| contact.peer_id == peer)
    }

    fn peers_named(&self, names: &[String]) -> Result<Vec<PeerId>, Failure> {
        let peer = |name: &String| {
            let name = name.trim();
            let by_id = name.parse().ok().or_else(|| match name.parse() {
                Ok(Target::Ticket(ticket)) => Some(ticket.peer),
                _ => None,
            });
            by_id.or_else(|| self.contact_named(name)).ok_or_else(|| {
                Failure::new(FailureKind::NotFound, format!("no contact is called {name:.80?}"))
                    .advise("`kithctl contacts list` shows the contacts.")
            })
        };
        let mut peers = names.iter().map(peer).collect::<Result<Vec<_>, _>>()?;
        peers.retain(|peer| *peer != self.own);
        peers.sort_unstable();
        peers.dedup();
        Ok(peers)
    }

    fn contacts_named(&self, names: &[String]) -> Result<Vec<PeerId>, Failure> {
        let peers = self.peers_named(names)?;
        match peers.iter().find(|peer| !self.is_contact(**peer)) {
            Some(stranger) => Err(no_contact(*stranger)),
            None => Ok(peers),
        }
    }

    /// Messages are taken from contacts only, so an answer of anybody else would not arrive.
    fn may_write(&self, conversation: ConversationId) -> Result<(), Failure> {
        match conversation {
            ConversationId::Peer(peer) if !self.is_contact(peer) => Err(no_contact(peer)),
            _ => Ok(()),
        }
    }

    async fn change(&self, id: MessageId, whose: Whose, body: Body) -> Result<Message, Failure> {
        let Some(message) = self.db.read(move |store| store.message(id)).await? else {
            return Err(Failure::new(FailureKind::NotFound, format!("there is no message {id}")));
        };
        if whose == Whose::Own && message.author != self.own {
            return Err(Failure::new(FailureKind::NotPermitted, "this message was written by somebody else")
                .advise("Only its author can change or delete a message."));
        }
        if message.deleted {
            return Err(Failure::new(FailureKind::NotPermitted, "this message has been deleted"));
        }
        self.may_write(message.conversation)?;
        self.say(message.conversation, id, body).await
    }

    async fn say(&self, conversation: ConversationId, id: MessageId, body: Body) -> Result<Message, Failure> {
        let said = self.db.write(move |store| Ok(store.say(conversation, id, body, unix_ms())?.1)).await?;
        said.ok_or_else(|| Failure::new(FailureKind::NotFound, "the message is no longer there"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Anybody,
}

fn no_contact(peer: PeerId) -> Failure {
    Failure::new(FailureKind::NotPermitted, format!("…{} is not among your contacts", peer.short()))
        .advise("Add it first: kithctl contacts add TICKET --name NAME")
}
