//! One stream with one peer from its hello to its end. What to send and what to take is decided by [`Outbox`] and
//! [`Inbox`]; here they meet the stream and the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::chat::GroupId;
use kith_common::clock::unix_ms;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_core::chat::{Ended, Inbox, Outbox, Refusal, Taken, Verdict};
use kith_core::listener::Begin;
use kith_store::{Body, Database, Entry, Heard, Place};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::Sealer;
use super::ledger::Ledger;
use super::link::{self, Link, Stuck, Written};
use super::wire::{self, Frame, Hello, SealFrame};
use crate::net::Stream;

/// Both ends say hello at once; who has not by then will not.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A stranger may say what it wants, is refused, and goes.
const STRANGERS_STAY: Duration = Duration::from_secs(10);
/// Frames that go into one transaction.
const BATCH: usize = 256;
/// Frames of the sealer's that wait for this stream.
const OUTLET: usize = 64;

/// What all sessions have.
#[derive(Clone)]
pub(super) struct Shared {
    pub own: PeerId,
    pub db: Database,
    pub ledger: watch::Receiver<Arc<Ledger>>,
    pub service: watch::Receiver<Begin>,
    pub sealer: Option<Arc<dyn Sealer>>,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("another stream has taken its place")]
    Replaced,
    #[error("the service is stopped")]
    Stopped,
    #[error("the service of the peer is stopped")]
    PeerStopped,
    #[error("the peer does not take messages of this node")]
    Unwelcome,
    #[error("a stranger was sent away")]
    Stranger,
    #[error("{0}")]
    Broken(&'static str),
    #[error("the database failed: {0}")]
    Disk(Failure),
}

impl From<Stuck> for End {
    fn from(_: Stuck) -> Self {
        Self::Broken("the peer does not read, or has gone")
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Disk(failure)
    }
}

/// Serves a stream until it ends, or the sender of `cut` goes.
pub(super) async fn run(shared: Shared, peer: PeerId, stream: Stream, cut: oneshot::Receiver<()>) -> Ended {
    let end = link::serve(stream, |link| async move {
        let mut session = Session::new(shared, peer, link);
        let Err(end) = session.talk(cut).await;
        match (end, session.unwelcome) {
            (End::Broken(_), true) => End::Unwelcome,
            (end, _) => end,
        }
    })
    .await;
    if let End::Disk(failure) = &end {
        tracing::warn!(%failure, "messages of a peer were not dealt with");
    } else {
        tracing::debug!("chat stream: {end}");
    }
    if matches!(end, End::Unwelcome | End::Stranger) { Ended::Unwelcome } else { Ended::Broken }
}

/// What a peer may do here.
#[derive(Debug, PartialEq, Eq)]
struct Access {
    contact: bool,
    groups: BTreeSet<GroupId>,
}

impl Access {
    fn of(peer: PeerId, ledger: &Ledger) -> Self {
        Self { contact: ledger.contacts.contains(&peer), groups: ledger.groups.keys().copied().collect() }
    }
}

struct Session {
    shared: Shared,
    peer: PeerId,
    link: Link,
    outbox: Outbox<Place>,
    inbox: Inbox<Place>,
    access: Access,
    /// When this began, to know who has taken too long.
    began: Instant,
    greeted: bool,
    /// Something may have changed on the disk.
    dirty: bool,
    /// The peer has refused what we said to it alone.
    unwelcome: bool,
    /// A stranger has been told that it is one.
    told_stranger: bool,
    /// What the peer has said that it has, and what it was told that a person has read.
    acked: Written,
    told_read: Written,
    /// The last own number at which the disk was told that the peer has more than was ever said here.
    forgotten: u64,
    /// What the peer has said for sealed messages; empty: nothing.
    identity_key: Vec<u8>,
    outlet: Option<mpsc::Receiver<SealFrame>>,
}

impl Session {
    fn new(shared: Shared, peer: PeerId, link: Link) -> Self {
        let access = Access::of(peer, &shared.ledger.borrow());
        Self {
            shared,
            peer,
            link,
            outbox: Outbox::default(),
            inbox: Inbox::new([]),
            access,
            began: Instant::now(),
            greeted: false,
            dirty: true,
            unwelcome: false,
            told_stranger: false,
            acked: Written::new(),
            told_read: Written::new(),
            forgotten: 0,
            identity_key: Vec::new(),
            outlet: None,
        }
    }

    async fn talk(&mut self, mut cut: oneshot::Receiver<()>) -> Result<std::convert::Infallible, End> {
        let mut changes = self.shared.db.changes();
        let mut ledger = self.shared.ledger.clone();
        let mut service = self.shared.service.clone();
        if *service.borrow_and_update() == Begin::Stopped {
            return Err(self.stop());
        }
        self.greet().await?;
        loop {
            if std::mem::take(&mut self.dirty) {
                // Before looking: what comes in between is looked at next time.
                changes.mark_unchanged();
                self.look().await?;
            }
            self.send().await?;
            let now = Instant::now();
            let wake = self.wake(now)?;
            let pace = self.inbox.poll_pace(now);
            let wake = [wake, pace].into_iter().flatten().min();
            tokio::select! {
                biased;
                _ = &mut cut => return Err(End::Replaced),
                Ok(()) = service.changed() => if *service.borrow_and_update() == Begin::Stopped {
                    return Err(self.stop());
                },
                Ok(()) = ledger.changed() => {
                    let access = Access::of(self.peer, &ledger.borrow_and_update());
                    let was_contact = self.access.contact;
                    if std::mem::replace(&mut self.access, access) != self.access {
                        self.inbox.remind();
                        self.say_marks()?;
                    }
                    if self.access.contact && !was_contact {
                        self.say_identity_key()?;
                    }
                }
                wrote = self.link.wrote.changed() => match wrote {
                    Ok(()) => self.note_written().await?,
                    Err(_) => return Err(Stuck.into()),
                },
                changed = changes.changed() => match changed {
                    Ok(()) => self.dirty = true,
                    Err(_) => return Err(End::Broken("the database is closed")),
                },
                Some(frame) = from(&mut self.outlet) => self.link.say(&Frame::Seal(frame))?,
                frame = self.link.frames.recv(), if pace.is_none() => match frame {
                    Some(frame) => self.hear(frame).await?,
                    None => return Err(End::Broken("the stream has ended")),
                },
                () = at(wake) => {}
            }
        }
    }

    /// When something is due without anything happening; an error when it is too late.
    fn wake(&self, now: Instant) -> Result<Option<Instant>, End> {
        if self.outbox.is_stalled(now) {
            return Err(End::Broken("the peer has not said for long whether it has what it was sent"));
        }
        let hello = (!self.greeted).then_some(self.began + HELLO_WITHIN);
        if hello.is_some_and(|until| until <= now) {
            return Err(End::Broken("the peer has not said hello"));
        }
        let stranger = (!self.shared.ledger.borrow().knows(self.peer)).then_some(self.began + STRANGERS_STAY);
        if stranger.is_some_and(|until| until <= now) {
            // It has said nothing, and need not come again soon.
            self.link.say(&Frame::Refused { place: Place::Direct, from: 0, why: Refusal::NotContact })?;
            return Err(End::Stranger);
        }
        Ok([hello, stranger, self.outbox.poll_timeout(now)].into_iter().flatten().min())
    }

    fn stop(&self) -> End {
        let refused = Frame::Refused { place: Place::Direct, from: 0, why: Refusal::Stopped };
        self.link.say(&refused).map_or_else(End::from, |()| End::Stopped)
    }

    async fn greet(&mut self) -> Result<(), End> {
        let peer = self.peer;
        let stored = self.shared.db.read(move |store| store.heard_marks(peer)).await?;
        self.inbox = Inbox::new(stored.iter().copied());
        let identity_key = self.sealer().map_or_else(Vec::new, |sealer| sealer.identity_key());
        let hello = Hello { stored, identity_key };
        Ok(self.link.say(&Frame::Hello(hello))?)
    }

    /// Keys are for contacts.
    fn sealer(&self) -> Option<&Arc<dyn Sealer>> {
        self.shared.sealer.as_ref().filter(|_| self.access.contact)
    }

    /// The peer has become a contact on this stream: it has not heard the key yet.
    fn say_identity_key(&mut self) -> Result<(), End> {
        if let Some(sealer) = self.sealer() {
            let hello = Hello { stored: Vec::new(), identity_key: sealer.identity_key() };
            self.link.say(&Frame::Hello(hello))?;
        }
        if self.greeted {
            self.link_sealer();
        }
        Ok(())
    }

    fn link_sealer(&mut self) {
        if let Some(sealer) = self.sealer() {
            let (outlet, frames) = mpsc::channel(OUTLET);
            sealer.linked(self.peer, &self.identity_key, outlet);
            self.outlet = Some(frames);
        }
    }

    /// What there is to say, according to the disk.
    async fn look(&mut self) -> Result<(), End> {
        let peer = self.peer;
        let (owed, read) = self.shared.db.read(move |store| Ok((store.owed(peer)?, store.read_marks(peer)?))).await?;
        let direct = owed.iter().find(|(place, ..)| *place == Place::Direct);
        if let (Some((_, has, end)), Some(acked)) = (direct, self.acked.get(&Place::Direct).copied())
            && acked > *has
            && self.forgotten != *end
        {
            // Said for the first time to a peer that remembers more of us than this disk does.
            self.forgotten = *end;
            self.shared.db.write(move |store| store.peer_has(peer, Place::Direct, acked)).await?;
            self.dirty = true;
        }
        self.outbox.handle_owed(owed.into_iter().map(|(place, _, end)| (place, end)));
        for (place, mark) in read {
            if self.told_read.get(&place).is_none_or(|told| *told < mark) {
                self.told_read.insert(place, mark);
                self.link.say(&Frame::Read(place, mark))?;
            }
        }
        Ok(())
    }

    /// Fills the window.
    async fn send(&mut self) -> Result<(), End> {
        while let Some(load) = self.outbox.poll_load(Instant::now()) {
            let peer = self.peer;
            let reading = move |store: &kith_store::Store| store.entries_for(peer, load.place, load.after, load.limit);
            let entries = self.shared.db.read(reading).await?;
            let frames: Vec<(u64, Vec<u8>)> =
                entries.into_iter().map(|entry| (entry.sequence, wire::encode(&Frame::Entry(entry)))).collect();
            let sizes: Vec<(u64, usize)> = frames.iter().map(|(number, bytes)| (*number, bytes.len())).collect();
            let going = self.outbox.handle_loaded(load, &sizes, Instant::now());
            for (number, bytes) in frames.into_iter().take(going) {
                self.link.say_encoded(bytes, Some((load.place, number)))?;
            }
            if going == 0 && !sizes.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Queued has become sent, unless the peer was faster in saying that it has it.
    async fn note_written(&mut self) -> Result<(), End> {
        let faster = |(place, number): &(Place, u64)| self.acked.get(place).is_some_and(|mark| mark >= number);
        let new: Vec<(Place, u64)> = self.link.take_written().into_iter().filter(|entry| !faster(entry)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let peer = self.peer;
        let writing = move |store: &mut kith_store::Store| {
            new.into_iter().try_for_each(|(place, number)| store.handed(peer, place, number))
        };
        // Forgotten in a power cut it is sent again, and refused as known.
        Ok(self.shared.db.note(writing).await?)
    }

    /// Deals with a frame and all that have come with it.
    async fn hear(&mut self, first: Frame) -> Result<(), End> {
        let mut news = News::default();
        let mut taken = self.take(first, &mut news);
        for _ in 1..BATCH {
            let Ok(frame) = self.link.frames.try_recv() else { break };
            if taken.is_ok() {
                taken = self.take(frame, &mut news);
            }
        }
        // What came in order before something that ends the stream has come.
        self.keep(news).await?;
        self.say_marks()?;
        taken?;
        if self.told_stranger && !self.shared.ledger.borrow().knows(self.peer) {
            return Err(End::Stranger);
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame, news: &mut News) -> Result<(), End> {
        let now = Instant::now();
        match frame {
            Frame::Refused { why: Refusal::Stopped, .. } => return Err(End::PeerStopped),
            Frame::Hello(hello) if !self.greeted => self.handle_hello(hello, news),
            // The second hello of a stream says the key that the first could not, and nothing else.
            Frame::Hello(hello) if self.identity_key.is_empty() && !hello.identity_key.is_empty() => {
                self.identity_key = hello.identity_key;
                self.link_sealer();
            }
            Frame::Hello(_) | Frame::Unknown => {}
            _ if !self.greeted => return Err(End::Broken("the peer did not say hello first")),
            Frame::Entry(entry) => match self.place(&entry, now) {
                Taken::Next => match self.refusal(&entry) {
                    None => news.entries.push(entry),
                    Some(why) => self.refuse(entry.place, entry.sequence, why)?,
                },
                Taken::Skip => {}
                Taken::Gap => return Err(End::Broken("the peer has left out an entry")),
            },
            Frame::Unfit { place, sequence, why } => match self.inbox.handle_entry(place, sequence, now) {
                Taken::Next => self.refuse(place, sequence, why)?,
                Taken::Skip => {}
                Taken::Gap => return Err(End::Broken("the peer has left out an entry")),
            },
            Frame::Stored(place, mark) => {
                if let Some(mark) = self.outbox.handle_stored(place, mark, now) {
                    news.stored.insert(place, mark);
                    self.acked.insert(place, mark);
                    if place == Place::Direct {
                        self.unwelcome = false;
                    }
                }
            }
            Frame::Read(place, mark) => {
                let mark = self.outbox.readable(place, mark);
                if mark > 0 {
                    news.read.insert(place, mark);
                }
            }
            Frame::Refused { place: Place::Direct, from: 0, why: Refusal::NotContact } => self.unwelcome = true,
            Frame::Refused { place, from, why } => match self.outbox.handle_refused(place, from, why, now) {
                Verdict::Nothing => {}
                Verdict::Over => return Err(End::PeerStopped),
                Verdict::GiveUp => news.failed.push((place, from, sentence(why))),
                Verdict::Wait => {
                    tracing::debug!(?place, ?why, "a peer does not take messages now: they stay queued");
                    self.unwelcome |= place == Place::Direct && matches!(why, Refusal::NotContact | Refusal::Blocked);
                    if place == Place::Direct {
                        news.waiting = Some((from, reason(why)));
                    }
                }
            },
            Frame::Seal(frame) => {
                if let Some(sealer) = self.sealer() {
                    sealer.arrived(self.peer, frame);
                }
            }
        }
        Ok(())
    }

    fn handle_hello(&mut self, hello: Hello, news: &mut News) {
        self.greeted = true;
        self.dirty = true;
        // The disk learns what the last stream could not tell any more, before anything is said on this one.
        news.has.extend(hello.stored.iter().copied());
        self.acked.extend(hello.stored.iter().copied());
        self.outbox.handle_hello(hello.stored);
        self.identity_key = hello.identity_key;
        self.link_sealer();
    }

    fn place(&mut self, entry: &Entry, now: Instant) -> Taken {
        let begin = (self.shared.own, entry.sequence);
        match (entry.place, &entry.body) {
            (Place::Group(_), Body::Group { members, .. }) if members.contains(&begin) => {
                self.inbox.handle_begin(entry.place, entry.sequence, now)
            }
            _ => self.inbox.handle_entry(entry.place, entry.sequence, now),
        }
    }

    /// Why this entry is not for us; the disk knows who is in which group.
    fn refusal(&self, entry: &Entry) -> Option<Refusal> {
        match (entry.place, &entry.body) {
            _ if self.access.contact => None,
            (Place::Direct, _) => Some(Refusal::NotContact),
            // Groups are made by contacts.
            (Place::Group(group), Body::Group { .. }) if !self.access.groups.contains(&group) => {
                Some(Refusal::NotContact)
            }
            (Place::Group(_), _) => None,
        }
    }

    fn refuse(&mut self, place: Place, from: u64, why: Refusal) -> Result<(), End> {
        self.told_stranger |= why == Refusal::NotContact;
        self.link.say(&Frame::Refused { place, from, why })?;
        if self.inbox.handle_refused(place, from) { Ok(()) } else { Err(End::Broken("the peer was refused too often")) }
    }

    /// Everything that frames have brought goes to the disk at once; only then is it acknowledged.
    async fn keep(&mut self, news: News) -> Result<(), End> {
        if news.is_empty() {
            return Ok(());
        }
        let mut begins: BTreeMap<Place, u64> = BTreeMap::new();
        for entry in &news.entries {
            begins.entry(entry.place).or_insert(entry.sequence);
        }
        let peer = self.peer;
        // Marks are said again at the next hello; only what was said to us is answered for.
        let heard = if news.entries.is_empty() && news.failed.is_empty() {
            self.shared.db.note(move |store| news.keep(peer, store)).await
        } else {
            self.shared.db.write(move |store| news.keep(peer, store)).await
        };
        let heard = match heard {
            Ok(heard) => heard,
            Err(failure) => {
                for (place, from) in begins {
                    self.link.say(&Frame::Refused { place, from, why: Refusal::NoRoom })?;
                }
                return Err(failure.into());
            }
        };
        for (place, from, why) in heard.refused {
            self.refuse(
                place,
                from,
                match why {
                    kith_store::Refusal::UnknownGroup | kith_store::Refusal::NotMember => Refusal::NotMember,
                    kith_store::Refusal::TooLarge => Refusal::TooLarge,
                },
            )?;
        }
        if self.inbox.handle_stored(heard.stored) { Ok(()) } else { Err(End::Broken("the peer has left out an entry")) }
    }

    fn say_marks(&mut self) -> Result<(), End> {
        while let Some((place, mark)) = self.inbox.poll_say() {
            self.link.say(&Frame::Stored(place, mark))?;
        }
        Ok(())
    }
}

/// What several frames have brought.
#[derive(Default)]
struct News {
    /// By its hello.
    has: Written,
    entries: Vec<Entry>,
    stored: Written,
    read: Written,
    /// What the two of us say from that number on is not taken now.
    waiting: Option<(u64, &'static str)>,
    failed: Vec<(Place, u64, &'static str)>,
}

impl News {
    fn is_empty(&self) -> bool {
        let marks = [&self.has, &self.stored, &self.read];
        marks.iter().all(|marks| marks.is_empty())
            && self.entries.is_empty()
            && self.waiting.is_none()
            && self.failed.is_empty()
    }

    fn keep(self, peer: PeerId, store: &mut kith_store::Store) -> kith_store::Result<Heard> {
        for (place, mark) in self.has {
            store.peer_has(peer, place, mark)?;
        }
        for (place, mark) in self.stored {
            store.peer_stored(peer, place, mark)?;
        }
        for (place, mark) in self.read {
            store.peer_read(peer, place, mark)?;
        }
        if let Some((from, error)) = self.waiting {
            store.not_taken(peer, from, error)?;
        }
        for (place, from, error) in self.failed {
            store.give_up(peer, place, from, error)?;
        }
        if self.entries.is_empty() { Ok(Heard::default()) } else { store.hear(peer, self.entries, unix_ms()) }
    }
}

/// Why messages wait.
fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::NotContact => "the other has not accepted you as a contact yet; it is sent when that happens",
        Refusal::Blocked => "the other does not take messages of yours now",
        Refusal::NoRoom => "the other node has no room on its disk; it is sent again later",
        _ => "the other node does not take it now; it is sent again later",
    }
}

/// Why messages were given up.
fn sentence(why: Refusal) -> &'static str {
    match why {
        Refusal::TooLarge => "the other node does not take messages as large as this one",
        _ => "the other node runs a version of Kith that does not understand this message",
    }
}

async fn from(outlet: &mut Option<mpsc::Receiver<SealFrame>>) -> Option<SealFrame> {
    match outlet {
        Some(frames) => frames.recv().await,
        None => None,
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => pending().await,
    }
}
