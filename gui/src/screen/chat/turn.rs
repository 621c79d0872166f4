//! What a person does in the open conversation.

use kith_common::chat::ConversationId;

use super::compose::{COMPOSER, Picking, Purpose};
use super::thread::Find;
use super::{Asked, Chat, FIND, Message, SEARCHED};
use crate::link::{Job, Talk};
use crate::screen::Wish;
use crate::words;

impl Chat {
    /// What belongs to the open conversation.
    pub(super) fn in_thread(&mut self, message: Message) -> Wish {
        let Some(thread) = &mut self.thread else { return Wish::Nothing };
        let id = thread.id;
        match message {
            Message::Select(message) => {
                self.deleting = None;
                thread.selected = (thread.selected != Some(message)).then_some(message);
            }
            Message::CopyChosen => {
                let chosen = thread.selected.and_then(|chosen| thread.get(chosen));
                let text = chosen.map(|said| said.text.clone()).filter(|text| !text.is_empty());
                return text.map_or(Wish::Nothing, Wish::Copy);
            }
            Message::GoTo(position) => {
                let wanted = thread.go(position);
                return self.load(wanted);
            }
            Message::End => {
                let wanted = thread.end();
                return self.load(wanted);
            }
            Message::Type(action) => self.drafts.entry(id).or_default().perform(action),
            Message::Send => return self.send(id),
            Message::Escape => return self.escape(),
            Message::EditLast => {
                let last = thread.own_last().map(|message| message.id);
                return last.map_or(Wish::Nothing, |last| self.update(Message::Change(last)));
            }
            Message::Pick => {
                let composer = self.drafts.entry(id).or_default();
                composer.picking = if composer.picking == Picking::Yes { Picking::No } else { Picking::Yes };
            }
            Message::Picked(emoji) => {
                self.drafts.entry(id).or_default().insert(emoji);
                return Wish::Focus(COMPOSER);
            }
            Message::LeavePurpose => {
                self.drafts.entry(id).or_default().escape();
            }
            Message::Detach(at) => {
                let files = &mut self.drafts.entry(id).or_default().attachments;
                if at < files.len() {
                    files.remove(at);
                }
            }
            Message::React(message, emoji, turn) => {
                thread.selected = None;
                return self.ask(Talk::React(message, emoji, turn));
            }
            Message::Reply(message) => {
                let Some(said) = thread.get(message).cloned() else { return Wish::Nothing };
                thread.selected = None;
                let who = self.name_of(said.author);
                let composer = self.drafts.entry(id).or_default();
                composer.purpose = Purpose::Reply(message, who, words::chat::one_line(&said.text));
                return Wish::Focus(COMPOSER);
            }
            Message::Change(message) => {
                let Some(said) = thread.get(message) else { return Wish::Nothing };
                let composer = self.drafts.entry(id).or_default();
                composer.purpose = Purpose::Edit(message);
                composer.set(&said.text);
                thread.selected = None;
                return Wish::Focus(COMPOSER);
            }
            Message::Delete(message) => self.deleting = Some(message),
            Message::Keep => self.deleting = None,
            Message::DeleteSurely(message) => {
                self.deleting = None;
                return self.ask(Talk::Delete(message));
            }
            Message::Find => {
                thread.find = Some(Find::default());
                return Wish::Focus(FIND);
            }
            Message::FindText(text) => {
                let Some(find) = &mut thread.find else { return Wish::Nothing };
                find.text = text;
                let sought = find.text.trim().to_owned();
                if sought.chars().count() < SEARCHED {
                    find.hits.clear();
                    find.found = None;
                    find.job = None;
                    return Wish::Nothing;
                }
                let job = Job::next();
                let late = find.job.replace(job).inspect(|late| drop(self.jobs.remove(late)));
                let look = self.start(job, Asked::Finds, Talk::Search(sought, Some(id)));
                return Wish::All(vec![late.map_or(Wish::Nothing, Wish::Cancel), look]);
            }
            Message::FindStep(by) => {
                let wanted = thread.step(by).and_then(|hit| thread.go(hit));
                return self.load(wanted);
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn send(&mut self, id: ConversationId) -> Wish {
        if self.is_adding(id) {
            self.sending.insert(id);
            return Wish::Nothing;
        }
        let Some(talk) = self.composer().and_then(|composer| composer.take(id)) else { return Wish::Nothing };
        self.trouble = None;
        let end = match (&talk, &mut self.thread) {
            (Talk::Send(..), Some(thread)) => thread.end(),
            _ => None,
        };
        let say = self.start(Job::next(), Asked::Sent(id, talk.clone()), talk);
        Wish::All(vec![say, self.load(end)])
    }
}
