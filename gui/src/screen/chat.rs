//! People and what is said with them: contacts, groups and requests on the left, one conversation on the right. What is
//! asked of the daemon leaves as errands; what it tells comes in through `hear_*` and `news`.

mod about;
mod bubble;
pub mod card;
pub mod compose;
pub mod dialog;
mod hear;
mod list;
mod open;
pub mod thread;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use iced::widget::{container, row, stack, text, text_editor};
use iced::{Element, Fill};
use kith_capture::qr;
use kith_common::call::{CallKind, Switch};
use kith_common::chat::{Conversation, ConversationId, Message as Said, MessageId};
use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, People, Presence};
use kith_common::failure::Failure;
use kith_common::file::FilesState;
use kith_common::ids::PeerId;

use super::Wish;
use super::files::adding::Queue;
use super::sidebar::Node;
use crate::link::{Errand, Job, Span, Talk};
use crate::notify::Telling;
use crate::theme;
use crate::widget::rows::Sight;
use crate::words;
use compose::{COMPOSER, Composer};
use dialog::Dialog;
use thread::{Seen, Thread};

pub const SEARCH: &str = "chat-search";
pub const FIND: &str = "chat-find";
/// From this many letters on messages are searched too.
const SEARCHED: usize = 2;

#[derive(Debug, Clone)]
pub enum Message {
    Search(String),
    /// The first that is found.
    Submit,
    Show(ConversationId),
    /// A hit in a conversation.
    Hit(ConversationId, u64),
    Accept(PeerId),
    Refuse(PeerId),
    ShowAdd,
    ShowGroup,
    ShowAbout,
    ShowVerify(PeerId),
    Dialog(dialog::Message),
    Telling,
    Presence,
    Sight(Sight),
    Select(MessageId),
    /// The text of the message that is chosen.
    CopyChosen,
    GoTo(u64),
    End,
    Type(text_editor::Action),
    Send,
    Escape,
    EditLast,
    Pick,
    Picked(&'static str),
    LeavePurpose,
    /// Files to go with the message are chosen.
    Attach,
    /// What was chosen in the desktop's dialog, or why there is none.
    Chosen(ConversationId, Result<Vec<PathBuf>, Failure>),
    Detach(usize),
    React(MessageId, String, Switch),
    Reply(MessageId),
    Change(MessageId),
    /// Asks whether to.
    Delete(MessageId),
    DeleteSurely(MessageId),
    Keep,
    Copy(String),
    Open(String),
    Find,
    FindText(String),
    FindStep(isize),
    Call(PeerId, CallKind),
    /// About a file of a message.
    File(card::Message),
    Dismiss,
}

/// What was asked for, by its job.
#[derive(Debug)]
enum Asked {
    Page,
    Hits,
    Finds,
    Sent(ConversationId, Talk),
    Dialog,
    Other,
}

/// Looked at or not, and what is not of the daemon's making.
#[derive(Debug)]
pub struct Chat {
    pub own: Option<PeerId>,
    ticket: String,
    pub people: People,
    pub conversations: Vec<Conversation>,
    /// Why the daemon does not tell.
    refused: Option<Failure>,
    /// Peers of this network, and what they call themselves.
    lan: Vec<(PeerId, String)>,
    /// What those who are no contacts call themselves.
    names: BTreeMap<PeerId, String>,
    pub search: String,
    hits: Vec<Said>,
    pub thread: Option<Thread>,
    drafts: BTreeMap<ConversationId, Composer>,
    pub dialog: Option<Dialog>,
    pub trouble: Option<Failure>,
    jobs: BTreeMap<Job, Asked>,
    deleting: Option<MessageId>,
    /// Transfers and offers: messages have files.
    files: Arc<FilesState>,
    /// What was dropped and is being shared, by the conversation that it goes to.
    pub adding: Queue<ConversationId>,
    /// Where the message is sent as soon as its files are shared.
    sending: BTreeSet<ConversationId>,
    pub telling: Telling,
    has_emoji: bool,
    /// Whether a person looks at this screen.
    pub seen: Seen,
    nothing_typed: Composer,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            own: None,
            ticket: String::new(),
            people: People::default(),
            conversations: Vec::new(),
            refused: None,
            lan: Vec::new(),
            names: BTreeMap::new(),
            search: String::new(),
            hits: Vec::new(),
            thread: None,
            drafts: BTreeMap::new(),
            dialog: None,
            trouble: None,
            jobs: BTreeMap::new(),
            deleting: None,
            files: Arc::default(),
            adding: Queue::default(),
            sending: BTreeSet::new(),
            telling: Telling::default(),
            has_emoji: crate::notify::emoji_font(),
            seen: Seen::No,
            nothing_typed: Composer::default(),
        }
    }
}

impl Chat {
    pub fn contact(&self, peer: PeerId) -> Option<&Contact> {
        self.people.contacts.iter().find(|contact| contact.peer_id == peer)
    }

    pub fn conversation(&self, id: ConversationId) -> Option<&Conversation> {
        self.conversations.iter().find(|conversation| conversation.id == id)
    }

    /// What to call somebody: as the user named them, else as they do.
    pub fn name_of(&self, peer: PeerId) -> String {
        if self.own == Some(peer) {
            return "You".into();
        }
        let given = self.contact(peer).map(|contact| match contact.name.trim() {
            "" => contact.own_name.as_str(),
            name => name,
        });
        let given = given.or_else(|| self.names.get(&peer).map(String::as_str)).unwrap_or_default();
        words::name(&words::chat::one_line(given), Some(peer))
    }

    pub fn title_of(&self, id: ConversationId) -> String {
        match id {
            ConversationId::Peer(peer) => self.name_of(peer),
            ConversationId::Group(_) => self.conversation(id).map_or_else(|| "Group".to_owned(), words::chat::title),
        }
    }

    fn is_group(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| matches!(thread.id, ConversationId::Group(_)))
    }

    /// Messages that nobody has read, requests with them.
    pub fn unread(&self) -> usize {
        let messages: usize = self.conversations.iter().map(|conversation| conversation.unread as usize).sum();
        messages + self.people.requests.len()
    }

    fn start(&mut self, job: Job, asked: Asked, talk: Talk) -> Wish {
        self.jobs.insert(job, asked);
        Wish::Start(job, Errand::Talk(talk))
    }

    fn ask(&mut self, talk: Talk) -> Wish {
        self.start(Job::next(), Asked::Other, talk)
    }

    fn load(&mut self, wanted: Option<(Job, Span)>) -> Wish {
        let (Some((job, span)), Some(thread)) = (wanted, &self.thread) else { return Wish::Nothing };
        let id = thread.id;
        self.start(job, Asked::Page, Talk::History(id, span))
    }

    /// Opens a conversation, at a hit or where it ends.
    pub fn show(&mut self, id: ConversationId, hit: Option<u64>) -> Wish {
        self.trouble = None;
        self.deleting = None;
        if let Some(thread) = self.thread.as_mut().filter(|thread| thread.id == id) {
            let wanted = hit.map_or_else(|| None, |hit| thread.go(hit));
            return Wish::All(vec![self.load(wanted), Wish::Focus(COMPOSER)]);
        }
        let unread = self.conversation(id).map_or(0, |conversation| conversation.unread);
        let (thread, job, span) = Thread::open(id, unread, hit);
        self.thread = Some(thread);
        // Of those who are only looked at nothing is kept.
        self.drafts.retain(|_, draft| draft.is_begun());
        Wish::All(vec![self.load(Some((job, span))), Wish::Focus(COMPOSER)])
    }

    /// What is in sight has been read, if somebody looks.
    pub fn read(&mut self) -> Wish {
        if self.seen == Seen::No {
            return Wish::Nothing;
        }
        let Some(thread) = &mut self.thread else { return Wish::Nothing };
        let id = thread.id;
        let conversation = self.conversations.iter().find(|conversation| conversation.id == id);
        match thread.read(conversation) {
            Some(position) => self.ask(Talk::MarkRead(id, position)),
            None => Wish::Nothing,
        }
    }

    fn composer(&mut self) -> Option<&mut Composer> {
        let id = self.thread.as_ref()?.id;
        Some(self.drafts.entry(id).or_default())
    }

    fn draft(&self) -> &Composer {
        let typed = self.thread.as_ref().and_then(|thread| self.drafts.get(&thread.id));
        typed.unwrap_or(&self.nothing_typed)
    }

    /// Puts what is typed in the open conversation, for tests and dropped texts.
    pub fn write(&mut self, text: &str) {
        if let Some(composer) = self.composer() {
            composer.insert(text);
        }
    }

    /// A picture may have the ticket of somebody to add; everything else goes with the message.
    pub fn dropped(&mut self, path: PathBuf) -> Wish {
        let adding = matches!(self.dialog, Some(Dialog::Add(_)));
        if qr::is_picture(&path) && (adding || (self.dialog.is_none() && self.thread.is_none())) {
            if !adding {
                self.dialog = Some(Dialog::add(&self.ticket));
            }
            return self.in_dialog(dialog::Message::Picture(path));
        }
        self.share_file(path)
    }

    pub fn update(&mut self, message: Message) -> Wish {
        match message {
            Message::Search(search) => return self.look_for(search),
            Message::Submit => {
                let first = self.entries().first().map(|entry| entry.id);
                let hit = self.hits.first().map(|hit| (hit.conversation, hit.position));
                return match (first, hit) {
                    (Some(id), _) => self.show_found(id, None),
                    (None, Some((id, position))) => self.show_found(id, Some(position)),
                    (None, None) => Wish::Nothing,
                };
            }
            Message::Show(id) => return self.show(id, None),
            Message::Hit(id, position) => return self.show(id, Some(position)),
            Message::Accept(peer) => {
                let name = self.people.requests.iter().find(|request| request.peer_id == peer);
                let name = name.map(|request| words::chat::one_line(&request.name)).unwrap_or_default();
                return self.ask(Talk::Accept(peer, name));
            }
            Message::Refuse(peer) => return self.ask(Talk::Refuse(peer)),
            Message::ShowAdd => self.dialog = Some(Dialog::add(&self.ticket)),
            Message::ShowGroup => self.dialog = Some(Dialog::group()),
            Message::ShowAbout => {
                let Some(id) = self.thread.as_ref().map(|thread| thread.id) else { return Wish::Nothing };
                let contact = match id {
                    ConversationId::Peer(peer) => self.contact(peer),
                    ConversationId::Group(_) => None,
                };
                self.dialog = Some(Dialog::about(id, contact, self.conversation(id)));
            }
            Message::ShowVerify(peer) => {
                self.dialog = Some(Dialog::verify(peer));
                return self.start(Job::next(), Asked::Dialog, Talk::Safety(peer));
            }
            Message::Dialog(message) => return self.in_dialog(message),
            Message::Telling => {
                self.telling = self.telling.next();
                return Wish::Remember;
            }
            Message::Presence => {
                let presence = match self.people.own {
                    Presence::Away => Presence::Online,
                    _ => Presence::Away,
                };
                return self.ask(Talk::Presence(presence));
            }
            Message::Sight(sight) => {
                let Some(thread) = &mut self.thread else { return Wish::Nothing };
                let wanted = thread.seen(sight);
                return Wish::All(vec![self.load(wanted), self.read()]);
            }
            Message::Dismiss => self.trouble = None,
            Message::Copy(content) => return Wish::Copy(content),
            Message::Open(link) => return Wish::Open(link),
            Message::Call(peer, kind) => return Wish::Call(peer, kind),
            Message::File(message) => return self.in_file(message),
            Message::Attach => return self.choose_files(),
            Message::Chosen(id, Ok(paths)) => {
                return Wish::All(paths.into_iter().map(|path| self.share_with(id, path)).collect());
            }
            Message::Chosen(_, Err(failure)) => self.trouble = Some(failure),
            message => return self.in_thread(message),
        }
        Wish::Nothing
    }

    fn look_for(&mut self, search: String) -> Wish {
        self.search = search;
        let sought = self.search.trim().to_owned();
        let late: Vec<Job> =
            self.jobs.iter().filter(|(_, asked)| matches!(asked, Asked::Hits)).map(|(job, _)| *job).collect();
        let mut wishes: Vec<Wish> = late
            .into_iter()
            .map(|job| {
                self.jobs.remove(&job);
                Wish::Cancel(job)
            })
            .collect();
        if sought.chars().count() < SEARCHED {
            self.hits.clear();
        } else {
            wishes.push(self.start(Job::next(), Asked::Hits, Talk::Search(sought, None)));
        }
        Wish::All(wishes)
    }

    fn show_found(&mut self, id: ConversationId, hit: Option<u64>) -> Wish {
        self.search.clear();
        self.hits.clear();
        self.show(id, hit)
    }

    /// Leaves the last thing that was begun.
    pub fn escape(&mut self) -> Wish {
        if self.dialog.take().is_some() {
            return Wish::Focus(COMPOSER);
        }
        if self.deleting.take().is_some() || self.composer().is_some_and(Composer::escape) {
            return Wish::Nothing;
        }
        if let Some(thread) = &mut self.thread {
            if thread.find.take().is_some() {
                thread.sought = None;
                return Wish::Focus(COMPOSER);
            }
            if thread.selected.take().is_some() || thread.sought.take().is_some() {
                return Wish::Nothing;
            }
        }
        if !self.search.is_empty() {
            self.hits.clear();
            self.search.clear();
        }
        Wish::Nothing
    }

    /// Up and down in the list.
    pub fn step(&mut self, by: isize) -> Wish {
        let entries: Vec<ConversationId> = self.entries().iter().map(|entry| entry.id).collect();
        let open = self.thread.as_ref().map(|thread| thread.id);
        let at = open.and_then(|open| entries.iter().position(|id| *id == open));
        let next = at.map_or(0, |at| at.saturating_add_signed(by).min(entries.len().saturating_sub(1)));
        match entries.get(next).copied() {
            // The list keeps the keys: no field takes them.
            Some(id) if Some(id) != open => match self.show(id, None) {
                Wish::All(wishes) => {
                    Wish::All(wishes.into_iter().filter(|wish| !matches!(wish, Wish::Focus(_))).collect())
                }
                wish => wish,
            },
            _ => Wish::Nothing,
        }
    }

    pub fn view<'a>(&'a self, node: &'a Node, copied: Option<&'a str>) -> Element<'a, Message> {
        let now = unix_ms();
        let page = row![
            container(self.list(node, now)).width(304).height(Fill).style(theme::panel),
            container(self.opened(now)).width(Fill).height(Fill).style(theme::panel)
        ]
        .spacing(12);
        let mut layers = stack![page];
        if let Some(dialog) = self.dialog_view(copied) {
            layers = layers.push(dialog);
        }
        layers.into()
    }
}

/// A disc with initials in somebody's colour, and a dot for whether they are there.
pub fn face<'a, M: 'a>(name: &str, key: &str, colour: u32, diameter: f32, here: Option<Presence>) -> Element<'a, M> {
    let disc = container(text(words::initials(name)).size(diameter * 0.38).font(theme::STRONG))
        .center(diameter)
        .style(theme::disc(theme::own_colour(colour, key), diameter));
    let Some(here) = here else { return disc.into() };
    let dot =
        container(crate::widget::parts::dot(presence_colour(here))).padding(2).style(theme::disc(theme::PANEL, 12.0));
    stack![disc, container(dot).align_right(diameter).align_bottom(diameter)].into()
}

fn presence_colour(presence: Presence) -> iced::Color {
    match presence {
        Presence::Online => theme::GOOD,
        Presence::Away => theme::FAIR,
        Presence::InCall => theme::ACCENT,
        Presence::Offline => theme::OFF,
    }
}
