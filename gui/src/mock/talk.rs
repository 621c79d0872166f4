//! People and messages of the scripted daemon: a conversation with everything that one can have, an unread one, a group,
//! a request, and a conversation of a hundred thousand messages that are made as they are looked at.

use std::sync::OnceLock;

use kith_common::call::{Direction, Switch};
use kith_common::chat::{
    Attachment, Conversation, ConversationId, Draft, GroupChange, GroupId, Message, MessageId, MessageState, Reaction,
};
use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, ContactRequest, People, Presence, Right, SafetyNumber, Trust};
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::target::Target;

use super::peer_id;
use crate::link::{Event, HITS, News, PAGE, Span, Talk};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// Messages of the huge conversation; their positions are 1 and up.
pub const HUGE: u64 = 100_000;
/// The positions of all others are higher.
const OTHERS: u64 = 1_000_000;

/// The time is the same for everything that is made.
fn start() -> i64 {
    static START: OnceLock<i64> = OnceLock::new();
    *START.get_or_init(unix_ms)
}

pub fn huge() -> ConversationId {
    ConversationId::Peer(peer_id(3))
}

pub fn group() -> ConversationId {
    ConversationId::Group(GroupId::from_bytes([7; 16]))
}

fn id_of(position: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&position.to_be_bytes());
    MessageId::from_bytes(bytes)
}

/// A message as the daemon tells it: from somebody, or one's own.
pub fn message(conversation: ConversationId, position: u64, author: PeerId, text: &str, ago_ms: i64) -> Message {
    let own = author == peer_id(0);
    let at = start() - ago_ms;
    Message {
        cursor: position,
        id: id_of(position),
        conversation,
        author,
        direction: if own { Direction::Outgoing } else { Direction::Incoming },
        text: text.into(),
        sent_unix_ms: at,
        stored_unix_ms: at,
        state: MessageState::Read,
        error: String::new(),
        edited: false,
        deleted: false,
        reply_to: None,
        reply_text: String::new(),
        reactions: Vec::new(),
        attachments: Vec::new(),
        position,
    }
}

const SAYINGS: [&str; 9] = [
    "Yes.",
    "The trajectory is fine, I checked it twice by hand.",
    "Did you get the numbers for the launch window? They moved it by eleven minutes, so everything after re-entry has to be \
     computed again, and somebody has to tell the ships.",
    "Tomorrow then.",
    "🙂",
    "See https://example.org/orbits/table-7 for the rest.",
    "I'll be at the desk until six.",
    "No, the other sign. It is always the other sign.",
    "Two lines:\none for the angle,\none for the speed.",
];

fn huge_message(position: u64) -> Message {
    let author = if (position / 3).is_multiple_of(2) { peer_id(3) } else { peer_id(0) };
    let saying = SAYINGS[usize::try_from(position * 7 % 9).unwrap_or(0)];
    let ago = i64::try_from(HUGE - position).unwrap_or(0) * 11 * MINUTE_MS + 3 * 60 * MINUTE_MS;
    message(huge(), position, author, &format!("{saying} ({position})"), ago)
}

/// A page of the huge conversation.
pub fn huge_page(span: Span) -> Vec<Message> {
    let page = u64::from(PAGE);
    let end = match span {
        Span::End => HUGE + 1,
        Span::Before(position) => position,
        Span::UpTo(position) => position + 1,
        Span::After(position) => position + 1 + page,
    };
    let end = end.min(HUGE + 1);
    let begin = match span {
        Span::After(position) => position + 1,
        _ => end.saturating_sub(page).max(1),
    };
    (begin..end).map(huge_message).collect()
}

fn contact(number: u8, name: &str, presence: Presence) -> Contact {
    Contact {
        own_name: name.split_whitespace().next().unwrap_or_default().to_lowercase(),
        presence,
        last_seen_unix_ms: start() - i64::from(number) * 47 * MINUTE_MS,
        relay: Trust::Never,
        verified: number == 1,
        added_unix_ms: start() - 40 * DAY_MS,
        mutual: number != 5,
        ..Contact::new(peer_id(number), name)
    }
}

pub fn people() -> People {
    People {
        contacts: vec![
            contact(1, "Ada Lovelace", Presence::Online),
            contact(2, "Alan Turing", Presence::InCall),
            contact(4, "Dennis Ritchie", Presence::Offline),
            contact(3, "Katherine Johnson", Presence::Away),
            contact(5, "Margaret Hamilton", Presence::Offline),
        ],
        requests: vec![ContactRequest {
            peer_id: peer_id(6),
            name: "Barbara Liskov".into(),
            text: "We met at the conference. May I write to you?".into(),
            received_unix_ms: start() - 9 * MINUTE_MS,
        }],
        own: Presence::Online,
    }
}

fn with_ada() -> Vec<Message> {
    let (me, ada) = (peer_id(0), peer_id(1));
    let id = ConversationId::Peer(ada);
    let mut at = OTHERS;
    let mut say = |author, text: &str, ago| {
        at += 1;
        message(id, at, author, text, ago)
    };
    let mut list = vec![
        say(ada, "Good morning! Did the note about the engine arrive?", DAY_MS + 95 * MINUTE_MS),
        say(me, "It did. I read it on the train 🚂 and I have questions.", DAY_MS + 91 * MINUTE_MS),
        say(ada, "Ask away.", DAY_MS + 90 * MINUTE_MS),
        say(
            ada,
            "The table of Bernoulli numbers is here: https://example.org/notes/g.html (look at step 21, that is where \
             the sign goes wrong).",
            74 * MINUTE_MS,
        ),
        say(me, "Step 21 divides the wrong way round: v4 / v5 should be v5 / v4.", 70 * MINUTE_MS),
        say(ada, "", 52 * MINUTE_MS),
        say(ada, "Oh no. You are right, and it has been printed.", 51 * MINUTE_MS),
        say(me, "Nobody will notice for a hundred years.", 49 * MINUTE_MS),
        say(ada, "🎉🎉", 48 * MINUTE_MS),
        say(me, "Shall we talk it through this evening?", 12 * MINUTE_MS),
        say(me, "I have time from seven.", 6 * MINUTE_MS),
        say(me, "And I will bring the cards.", MINUTE_MS),
    ];
    list[3].edited = true;
    list[4].reply_to = Some(list[3].id);
    list[4].reply_text = list[3].text.chars().take(90).collect();
    list[4].reactions = vec![Reaction { emoji: "👍".into(), peers: vec![ada] }];
    list[3].attachments = vec![attachment(3)];
    list[5].attachments = vec![attachment(2), attachment(1)];
    list[7].reactions = vec![Reaction { emoji: "😂".into(), peers: vec![ada, me] }];
    list[9].state = MessageState::Delivered;
    list[10].state = MessageState::Sent;
    list[11].state = MessageState::Queued;
    list
}

/// A file of the scripted daemon, in a message.
fn attachment(number: u16) -> Attachment {
    let ticket = super::files::ticket_of(number);
    Attachment { ticket: ticket.to_string(), name: ticket.name, size_bytes: ticket.size_bytes }
}

/// Id, title, members, messages, how many are unread.
type Made = (ConversationId, String, Vec<PeerId>, Vec<Message>, u32);

fn others() -> Vec<Made> {
    let (me, ada, alan, dennis) = (peer_id(0), peer_id(1), peer_id(2), peer_id(4));
    let with = |peer| ConversationId::Peer(peer);
    let mut failed = message(with(dennis), OTHERS + 103, me, "Is the manual ready?", 3 * DAY_MS);
    failed.state = MessageState::Failed;
    failed.error = "they did not appear within 30 days".into();
    let mut unread = vec![
        message(with(alan), OTHERS + 110, me, "How long will it run?", 2 * DAY_MS),
        message(with(alan), OTHERS + 111, alan, "That is the question, isn't it.", 40 * MINUTE_MS),
        message(with(alan), OTHERS + 112, alan, "It may halt any minute now", 39 * MINUTE_MS),
        message(with(alan), OTHERS + 113, alan, "or never 🤔", 38 * MINUTE_MS),
    ];
    unread.iter_mut().skip(1).for_each(|message| message.state = MessageState::Delivered);
    let circle = vec![
        message(group(), OTHERS + 120, ada, "Who writes the minutes this time?", 200 * MINUTE_MS),
        message(group(), OTHERS + 121, alan, "A machine should.", 190 * MINUTE_MS),
        message(group(), OTHERS + 122, me, "Then I will ask one.", 180 * MINUTE_MS),
    ];
    vec![
        (with(ada), "Ada Lovelace".into(), vec![ada], with_ada(), 0),
        (with(alan), "Alan Turing".into(), vec![alan], unread, 3),
        (group(), "Analytical circle".into(), vec![me, ada, alan], circle, 0),
        (with(dennis), "Dennis Ritchie".into(), vec![dennis], vec![failed], 0),
    ]
}

/// The conversations when the daemon has just started.
pub fn conversations() -> Vec<Conversation> {
    Talks::default().conversations()
}

struct Held {
    conversation: Conversation,
    messages: Vec<Message>,
}

/// What has been said to the scripted daemon, and what it says.
pub struct Talks {
    pub people: People,
    held: Vec<Held>,
    next: u64,
    /// What was sent and is on its way.
    going: Vec<MessageId>,
}

impl Default for Talks {
    fn default() -> Self {
        let mut held: Vec<Held> = others()
            .into_iter()
            .map(|(id, title, members, messages, unread)| {
                let last = messages.last().cloned();
                let cursor = OTHERS;
                let conversation =
                    Conversation { id, title, members, unread, last, retention_days: 0, left: false, cursor };
                Held { conversation, messages }
            })
            .collect();
        held.push(Held {
            conversation: Conversation {
                id: huge(),
                title: "Katherine Johnson".into(),
                members: vec![peer_id(3)],
                unread: 0,
                last: Some(huge_message(HUGE)),
                retention_days: 0,
                left: false,
                cursor: OTHERS,
            },
            messages: Vec::new(),
        });
        Self { people: people(), held, next: OTHERS + 1_000, going: Vec::new() }
    }
}

impl Talks {
    /// The one with the newest message first.
    pub fn conversations(&self) -> Vec<Conversation> {
        let mut list: Vec<Conversation> = self.held.iter().map(|held| held.conversation.clone()).collect();
        let newest = |conversation: &Conversation| conversation.last.as_ref().map_or(0, |last| last.stored_unix_ms);
        list.sort_by_key(|conversation| std::cmp::Reverse(newest(conversation)));
        list
    }

    fn told(&self) -> Event {
        Event::Conversations(Ok(self.conversations()))
    }

    fn raise(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn held(&mut self, id: ConversationId) -> &mut Held {
        let at = self.held.iter().position(|held| held.conversation.id == id).unwrap_or_else(|| {
            let members = match id {
                ConversationId::Peer(peer) => vec![peer],
                ConversationId::Group(_) => vec![peer_id(0)],
            };
            let contact = self.people.contacts.iter().find(|contact| members.contains(&contact.peer_id));
            let title = contact.map(|contact| contact.name.clone()).unwrap_or_default();
            let conversation = Conversation {
                id,
                title,
                members,
                unread: 0,
                last: None,
                retention_days: 0,
                left: false,
                cursor: self.next,
            };
            self.held.push(Held { conversation, messages: Vec::new() });
            self.held.len() - 1
        });
        &mut self.held[at]
    }

    fn change(&mut self, id: MessageId, change: impl FnOnce(&mut Message)) -> Option<Message> {
        let cursor = self.raise();
        let held = self.held.iter_mut().find(|held| held.messages.iter().any(|message| message.id == id))?;
        let message = held.messages.iter_mut().find(|message| message.id == id)?;
        message.cursor = cursor;
        change(message);
        let changed = message.clone();
        if held.conversation.last.as_ref().is_some_and(|last| last.id == id) {
            held.conversation.last = Some(changed.clone());
        }
        Some(changed)
    }

    fn add(&mut self, message: Message) {
        let held = self.held(message.conversation);
        held.conversation.last = Some(message.clone());
        if message.direction == Direction::Incoming {
            held.conversation.unread += 1;
        }
        held.messages.push(message);
    }

    fn send(&mut self, to: ConversationId, draft: &Draft) -> Message {
        let position = self.raise();
        let now = unix_ms() - start();
        let mut said = message(to, position, peer_id(0), &draft.text, -now);
        said.state = MessageState::Queued;
        said.reply_to = draft.reply_to;
        said.attachments.clone_from(&draft.attachments);
        if let Some(answered) = draft.reply_to {
            let known = self.held.iter().flat_map(|held| &held.messages).find(|message| message.id == answered);
            said.reply_text = known.map(|known| known.text.chars().take(90).collect()).unwrap_or_default();
        }
        self.add(said.clone());
        let offline = matches!(to, ConversationId::Peer(peer) if self.people.contacts.iter()
            .any(|contact| contact.peer_id == peer && contact.presence == Presence::Offline));
        if !offline {
            self.going.push(said.id);
        }
        said
    }

    /// A second has passed: what was sent comes further, and who has read it answers.
    pub fn tick(&mut self) -> Vec<Event> {
        let mut changed = Vec::new();
        let mut answers = Vec::new();
        for id in std::mem::take(&mut self.going) {
            let Some(message) = self.change(id, |message| {
                message.state = match message.state {
                    MessageState::Queued => MessageState::Sent,
                    MessageState::Sent => MessageState::Delivered,
                    _ => MessageState::Read,
                };
            }) else {
                continue;
            };
            match (message.state, message.conversation) {
                (MessageState::Read, ConversationId::Peer(peer)) => answers.push((peer, message.conversation)),
                (MessageState::Read, ConversationId::Group(_)) => {}
                _ => self.going.push(id),
            }
            changed.push(message);
        }
        for (peer, conversation) in answers {
            let position = self.raise();
            let now = unix_ms() - start();
            let mut answer = message(conversation, position, peer, "I see. Tell me more 🙂", -now);
            answer.state = MessageState::Delivered;
            self.add(answer.clone());
            changed.push(answer);
        }
        if changed.is_empty() { Vec::new() } else { vec![Event::Messages(changed), self.told()] }
    }

    fn page(&self, id: ConversationId, span: Span) -> Vec<Message> {
        let page = PAGE as usize;
        let held = self.held.iter().find(|held| held.conversation.id == id);
        let mut messages: Vec<Message> = held.map(|held| held.messages.clone()).unwrap_or_default();
        if id == huge() {
            let old = match span {
                Span::End => huge_page(Span::End),
                Span::Before(at) | Span::UpTo(at) if at > HUGE => huge_page(Span::End),
                Span::After(at) if at >= HUGE => Vec::new(),
                span => huge_page(span),
            };
            messages.splice(..0, old);
        }
        let count = messages.len();
        match span {
            Span::End => messages.split_off(count.saturating_sub(page)),
            Span::Before(at) => last(messages.into_iter().filter(|message| message.position < at).collect(), page),
            Span::UpTo(at) => last(messages.into_iter().filter(|message| message.position <= at).collect(), page),
            Span::After(at) => messages.into_iter().filter(|message| message.position > at).take(page).collect(),
        }
    }

    fn search(&self, text: &str, within: Option<ConversationId>) -> Vec<Message> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let fits = |message: &Message| {
            let text = message.text.to_lowercase();
            words.iter().all(|word| text.contains(word.as_str()))
        };
        let held = self.held.iter().filter(|held| within.is_none_or(|id| held.conversation.id == id));
        let mut hits: Vec<Message> = held.flat_map(|held| &held.messages).filter(|m| fits(m)).cloned().collect();
        hits.sort_by_key(|message| std::cmp::Reverse(message.position));
        if within.is_none_or(|id| id == huge()) {
            hits.extend((1..=HUGE).rev().map(huge_message).filter(|m| fits(m)).take(HITS as usize));
        }
        hits.truncate(HITS as usize);
        hits
    }

    /// What comes of it, and what the feeds tell.
    pub fn obey(&mut self, talk: &Talk) -> (News, Vec<Event>) {
        let missing = || {
            News::Failed(
                Failure::new(FailureKind::NotFound, "there is no such message").advise("It may have been deleted."),
            )
        };
        let said = |message: Option<Message>| message.map_or_else(missing, |message| News::Message(Box::new(message)));
        match talk {
            Talk::Send(to, draft) => {
                let message = self.send(*to, draft);
                let events = vec![Event::Messages(vec![message.clone()]), self.told()];
                (News::Message(Box::new(message)), events)
            }
            Talk::Edit(id, text) => {
                let changed = self.change(*id, |message| {
                    message.text.clone_from(text);
                    message.edited = true;
                });
                (said(changed), vec![self.told()])
            }
            Talk::Delete(id) => {
                let changed = self.change(*id, |message| {
                    message.text.clear();
                    message.deleted = true;
                });
                (said(changed), vec![self.told()])
            }
            Talk::React(id, emoji, turn) => {
                (said(self.change(*id, |message| react(message, emoji, *turn))), Vec::new())
            }
            Talk::MarkRead(id, _) => {
                self.held(*id).conversation.unread = 0;
                (News::Done, vec![self.told()])
            }
            Talk::History(id, span) => (News::Page(self.page(*id, *span)), Vec::new()),
            Talk::Search(text, within) => (News::Page(self.search(text, *within)), Vec::new()),
            Talk::NewGroup(title, members) => {
                let position = self.raise();
                let id = ConversationId::Group(GroupId::from_bytes(*id_of(position).as_bytes()));
                let conversation = &mut self.held(id).conversation;
                conversation.title.clone_from(title);
                conversation.members.extend(members);
                let made = conversation.clone();
                (News::Conversation(Box::new(made)), vec![self.told()])
            }
            Talk::Group(id, change) => {
                let conversation = &mut self.held(*id).conversation;
                let peers = |texts: &[String]| -> Vec<PeerId> { texts.iter().filter_map(|t| t.parse().ok()).collect() };
                match change {
                    GroupChange::Title(title) => conversation.title.clone_from(title),
                    GroupChange::Add(new) => conversation.members.extend(peers(new)),
                    GroupChange::Remove(gone) => {
                        let gone = peers(gone);
                        conversation.members.retain(|member| !gone.contains(member));
                    }
                    GroupChange::Leave => conversation.left = true,
                }
                let changed = conversation.clone();
                (News::Conversation(Box::new(changed)), vec![self.told()])
            }
            Talk::Retention(id, days) => {
                let conversation = &mut self.held(*id).conversation;
                conversation.retention_days = *days;
                let changed = conversation.clone();
                (News::Conversation(Box::new(changed)), vec![self.told()])
            }
            Talk::DeleteConversation(id) => {
                self.held.retain(|held| held.conversation.id != *id);
                (News::Done, vec![self.told()])
            }
            talk => {
                let news = self.meet(talk);
                (news, vec![Event::People(Ok(self.people.clone()))])
            }
        }
    }

    fn with(&mut self, peer: PeerId, change: impl FnOnce(&mut Contact)) -> News {
        match self.people.contacts.iter_mut().find(|contact| contact.peer_id == peer) {
            Some(contact) => {
                change(contact);
                News::Contact(Box::new(contact.clone()))
            }
            None => News::Failed(Failure::new(FailureKind::NotFound, "there is no such contact")),
        }
    }

    /// What is about people.
    fn meet(&mut self, talk: &Talk) -> News {
        match talk {
            Talk::Add { target, name, .. } => {
                let peer = match target.parse() {
                    Ok(Target::Peer(peer)) => peer,
                    Ok(Target::Ticket(ticket)) => ticket.peer,
                    _ => peer_id(42),
                };
                let known = self.people.contacts.iter().any(|contact| contact.peer_id == peer);
                if !known {
                    let name = if name.is_empty() { "Newcomer" } else { name };
                    let new = Contact { peer_id: peer, mutual: false, ..contact(42, name, Presence::Offline) };
                    self.people.contacts.push(new);
                    self.people.contacts.sort_by_key(|contact| contact.name.to_lowercase());
                }
                self.with(peer, |_| {})
            }
            Talk::Remove(peer) => {
                self.people.contacts.retain(|contact| contact.peer_id != *peer);
                News::Done
            }
            Talk::Change(peer, change) => self.with(*peer, |contact| {
                contact.name = change.name.clone().unwrap_or_else(|| contact.name.clone());
                contact.note = change.note.clone().unwrap_or_else(|| contact.note.clone());
                contact.colour = change.colour.unwrap_or(contact.colour);
                contact.verified = change.verified.unwrap_or(contact.verified);
            }),
            Talk::Trust(peer, right, trust) => self.with(*peer, |contact| match right {
                Right::Calls => contact.calls = *trust,
                Right::Files => contact.files = *trust,
                Right::Relay => contact.relay = *trust,
            }),
            Talk::Accept(peer, name) => {
                self.people.requests.retain(|request| request.peer_id != *peer);
                self.people.contacts.push(Contact { peer_id: *peer, ..contact(6, name, Presence::Online) });
                self.with(*peer, |_| {})
            }
            Talk::Refuse(peer) => {
                self.people.requests.retain(|request| request.peer_id != *peer);
                News::Done
            }
            Talk::Safety(_) => News::Safety(safety()),
            Talk::Presence(presence) => {
                self.people.own = *presence;
                News::Done
            }
            _ => News::Done,
        }
    }
}

pub fn safety() -> SafetyNumber {
    SafetyNumber {
        digits: "04712 98833 10265 77120 45518 90034 61277 08391 55602 71948 23385 60917".into(),
        emoji: ["🐢", "🌙", "🔑", "🍋", "🚲", "🎈", "🐝", "⚓"].map(str::to_owned).to_vec(),
    }
}

fn last(mut messages: Vec<Message>, count: usize) -> Vec<Message> {
    messages.split_off(messages.len().saturating_sub(count))
}

fn react(message: &mut Message, emoji: &str, turn: Switch) {
    let me = peer_id(0);
    message.reactions.iter_mut().for_each(|reaction| {
        if reaction.emoji == emoji {
            reaction.peers.retain(|peer| *peer != me);
        }
    });
    if turn == Switch::On {
        match message.reactions.iter_mut().find(|reaction| reaction.emoji == emoji) {
            Some(reaction) => reaction.peers.push(me),
            None => message.reactions.push(Reaction { emoji: emoji.into(), peers: vec![me] }),
        }
    }
    message.reactions.retain(|reaction| !reaction.peers.is_empty());
}
