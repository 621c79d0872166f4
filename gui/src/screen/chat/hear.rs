//! What the daemon tells of people and messages, and what it answers.

use std::sync::Arc;

use kith_common::chat::{Conversation, Message as Said};
use kith_common::contact::People;
use kith_common::failure::Failure;
use kith_common::node::{Identity, Path, PeerInfo};

use super::{Asked, Chat};
use crate::link::{Job, News};
use crate::screen::{Wish, files};
use crate::words;

impl Chat {
    pub fn me(&mut self, identity: &Identity) {
        self.own = Some(identity.peer_id);
        self.ticket.clone_from(&identity.ticket);
    }

    pub fn hear_peers(&mut self, peers: &[PeerInfo]) {
        self.lan.clear();
        for peer in peers.iter().filter(|peer| !peer.name.trim().is_empty()) {
            self.names.insert(peer.peer_id, peer.name.clone());
        }
        let near = peers.iter().filter(|peer| peer.connected && peer.path == Some(Path::Lan));
        self.lan.extend(near.map(|peer| (peer.peer_id, words::name(&peer.name, Some(peer.peer_id)))));
    }

    pub fn hear_people(&mut self, told: Result<People, Failure>) {
        match told {
            Ok(people) => self.people = people,
            Err(failure) => self.refused = Some(failure),
        }
    }

    pub fn hear_conversations(&mut self, told: Result<Vec<Conversation>, Failure>) -> Wish {
        match told {
            Ok(conversations) => {
                self.refused = None;
                self.conversations = conversations;
            }
            Err(failure) => self.refused = Some(failure),
        }
        self.read()
    }

    pub fn hear_messages(&mut self, messages: &[Said]) -> Wish {
        if let Some(thread) = &mut self.thread {
            thread.hear(messages, self.seen);
        }
        Wish::Nothing
    }

    /// The daemon is gone; what was asked of it is void, what is typed and seen stays.
    pub fn lost(&mut self) {
        self.files = Arc::default();
        self.adding.lost();
        for asked in std::mem::take(&mut self.jobs).into_values() {
            if let Asked::Sent(id, talk) = asked {
                self.drafts.entry(id).or_default().restore(&talk);
            }
        }
        if let Some(thread) = &mut self.thread {
            thread.lost();
        }
        if let Some(dialog) = &mut self.dialog {
            dialog.lost();
        }
    }

    /// A daemon is there again: what was being loaded is asked for again.
    pub fn back(&mut self) -> Wish {
        self.refused = None;
        let files = files::begun(&mut self.adding);
        let Some(thread) = self.thread.as_mut().filter(|thread| thread.messages.is_empty()) else {
            return files;
        };
        let id = thread.id;
        self.thread = None;
        Wish::All(vec![files, self.show(id, None)])
    }

    pub fn news(&mut self, job: Job, news: &News) -> Wish {
        if let Some(wish) = self.file_news(job, news) {
            return wish;
        }
        let Some(asked) = self.jobs.remove(&job) else { return Wish::Nothing };
        match (asked, news) {
            (Asked::Dialog, news) => return self.dialog_news(news),
            (Asked::Page, News::Page(page)) => {
                if let Some(thread) = &mut self.thread {
                    thread.page(job, page);
                }
            }
            (Asked::Hits, News::Page(page)) => self.hits.clone_from(page),
            (Asked::Finds, News::Page(page)) => return self.found(job, page),
            (_, News::Message(message)) => {
                if let Some(thread) = &mut self.thread {
                    thread.hear(std::slice::from_ref(message), self.seen);
                }
            }
            (_, News::Conversation(conversation)) => {
                return self.show(conversation.id, None);
            }
            (asked, News::Failed(failure)) => {
                if let Asked::Sent(id, talk) = &asked {
                    self.drafts.entry(*id).or_default().restore(talk);
                }
                if let (Asked::Page, Some(thread)) = (&asked, &mut self.thread) {
                    thread.failed(job);
                }
                self.trouble = Some(failure.clone());
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn found(&mut self, job: Job, page: &[Said]) -> Wish {
        let Some(thread) = &mut self.thread else { return Wish::Nothing };
        let Some(find) = thread.find.as_mut().filter(|find| find.job == Some(job)) else { return Wish::Nothing };
        find.job = None;
        find.hits = page.iter().map(|message| message.position).collect();
        find.at = 0;
        find.found = Some(find.text.clone());
        let wanted = find.hits.first().copied().and_then(|hit| thread.go(hit));
        self.load(wanted)
    }
}
