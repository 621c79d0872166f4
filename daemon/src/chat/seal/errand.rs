//! The author's side: what is owed to contacts that are away is sealed, a few messages at a time, and holders are asked.
//!
//! Nobody says who knows the recipient; a holder shows it by keeping the first message. Those that have kept one for this
//! recipient are asked first, those that were silent not again for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_core::hold::{Asking, WINDOW};
use kith_store::{Entry, Place, Sealed};

use super::KEPT_FOR_MS;
use super::task::Task;
use crate::chat::SealFrame;
use crate::chat::wire::{self, MAX_ENTRY_BYTES};

/// Holders of one message: one of them is likely to meet the recipient.
const HOLDERS: usize = 3;
/// A contact that was silent is not asked for the same recipient again for so long, unless it comes anew.
const SILENT_FOR: Duration = Duration::from_secs(3600);
/// Contacts that hear of one recipient within that time without keeping anything for it: each learns who writes to whom.
const MAX_SILENT: usize = 16;

/// One sealed message that waits for answers, or for holders.
struct Item {
    sealed: Sealed,
    place: Place,
    sequence: u64,
    /// Who has been asked and may still answer.
    asked: BTreeSet<PeerId>,
    /// How many keep it.
    kept: usize,
}

/// What is to be done for one recipient.
struct Errand {
    since: Instant,
    items: Vec<Item>,
    /// Up to where entries have been sealed since this began.
    sealed: BTreeMap<Place, u64>,
    /// The last that somebody keeps.
    top: BTreeMap<Place, u64>,
    keepers: BTreeSet<PeerId>,
    silent: BTreeMap<PeerId, Instant>,
    /// Something has changed since it was last seen that there was nothing to do.
    stirred: bool,
}

impl Errand {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            items: Vec::new(),
            sealed: BTreeMap::new(),
            top: BTreeMap::new(),
            keepers: BTreeSet::new(),
            silent: BTreeMap::new(),
            stirred: true,
        }
    }

    /// Up to where everything of a place is kept, as far as this errand knows.
    fn mark(&self, place: Place) -> Option<u64> {
        let top = self.top.get(&place).copied()?;
        let missing = self.items.iter().filter(|item| item.place == place && item.kept == 0).map(|item| item.sequence);
        Some(missing.min().map_or(top, |first| top.min(first.saturating_sub(1))))
    }

    /// Items for which nobody is waited any more, and that somebody keeps.
    fn clear(&mut self) {
        self.items.retain(|item| item.kept == 0 || !item.asked.is_empty());
        self.stirred = true;
    }
}

#[derive(Default)]
pub(super) struct Errands {
    of: BTreeMap<PeerId, Errand>,
    /// What each holder was asked.
    asking: BTreeMap<PeerId, Asking<[u8; 16]>>,
}

impl Errands {
    /// The recipient is there.
    pub fn handle_met(&mut self, recipient: PeerId) {
        self.of.remove(&recipient);
        self.stir();
    }

    /// A holder has gone, or has come anew.
    pub fn handle_unlinked(&mut self, holder: PeerId) {
        self.asking.remove(&holder);
        for errand in self.of.values_mut() {
            errand.silent.remove(&holder);
            for item in &mut errand.items {
                item.asked.remove(&holder);
            }
            errand.clear();
        }
    }

    fn stir(&mut self) {
        self.of.values_mut().for_each(|errand| errand.stirred = true);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let silent =
            self.of.values().filter(|errand| !errand.items.is_empty()).flat_map(|errand| errand.silent.values());
        let asked = self.asking.values().filter_map(Asking::poll_timeout);
        asked.chain(silent.map(|since| *since + SILENT_FOR)).min()
    }
}

impl Task {
    /// Who is away and lacks something.
    pub async fn look(&mut self, now: Instant) -> Result<(), Failure> {
        self.forget_strangers().await?;
        let owed = self.db.read(|store| store.owed_peers()).await?;
        let away: BTreeSet<PeerId> =
            owed.into_iter().filter(|peer| !self.links.contains_key(peer) && self.contact(*peer).is_some()).collect();
        self.errands.of.retain(|recipient, _| away.contains(recipient));
        for recipient in away {
            self.errands.of.entry(recipient).or_insert_with(|| Errand::new(now));
        }
        self.errands.stir();
        Ok(())
    }

    fn due(&self, recipient: PeerId, errand: &Errand) -> Instant {
        self.away_from(recipient).max(errand.since + self.away_after)
    }

    /// When the next errand begins.
    pub fn next_errand(&self, now: Instant) -> Option<Instant> {
        let due = self.errands.of.iter().map(|(recipient, errand)| self.due(*recipient, errand));
        due.filter(|due| *due > now).min()
    }

    pub async fn go_on_with_errands(&mut self, now: Instant) -> Result<(), Failure> {
        let holders: Vec<PeerId> = self.errands.asking.keys().copied().collect();
        for holder in holders {
            let asking = self.errands.asking.entry(holder).or_default();
            let late: Vec<[u8; 16]> = std::iter::from_fn(|| asking.poll_late(now)).collect();
            for id in late {
                self.handle_late(holder, id, now);
            }
        }
        for errand in self.errands.of.values_mut() {
            let before = errand.silent.len();
            errand.silent.retain(|_, since| *since + SILENT_FOR > now);
            errand.stirred |= errand.silent.len() < before;
        }
        let due: Vec<PeerId> = self
            .errands
            .of
            .iter()
            .filter(|(recipient, errand)| errand.stirred && self.due(**recipient, errand) <= now)
            .map(|(recipient, _)| *recipient)
            .collect();
        for recipient in due {
            self.go_on_for(recipient, now).await?;
        }
        Ok(())
    }

    fn handle_late(&mut self, holder: PeerId, id: [u8; 16], now: Instant) {
        for errand in self.errands.of.values_mut() {
            if let Some(item) = errand.items.iter_mut().find(|item| item.sealed.id == id) {
                item.asked.remove(&holder);
                errand.keepers.remove(&holder);
                errand.silent.insert(holder, now);
                errand.clear();
            }
        }
    }

    async fn go_on_for(&mut self, recipient: PeerId, now: Instant) -> Result<(), Failure> {
        let holders = self.holders(recipient);
        let Some(errand) = self.errands.of.get_mut(&recipient) else { return Ok(()) };
        errand.stirred = false;
        if holders.is_empty() {
            return Ok(());
        }
        let waiting: Vec<[u8; 16]> = errand
            .items
            .iter()
            .filter(|item| item.kept == 0 && item.asked.is_empty())
            .map(|item| item.sealed.id)
            .collect();
        for id in waiting {
            self.ask(recipient, id, &holders, now);
        }
        for id in self.seal_more(recipient).await? {
            self.ask(recipient, id, &holders, now);
        }
        Ok(())
    }

    /// Contacts that are there and may keep something for that recipient, the most promising first.
    fn holders(&self, recipient: PeerId) -> Vec<PeerId> {
        let Some(errand) = self.errands.of.get(&recipient) else { return Vec::new() };
        let there = |peer: &PeerId| *peer != recipient && self.contact(*peer).is_some();
        let (known, unknown): (Vec<PeerId>, Vec<PeerId>) = self
            .links
            .iter()
            .filter(|(_, linked)| linked.seals)
            .map(|(peer, _)| *peer)
            .filter(there)
            .filter(|peer| !errand.silent.contains_key(peer))
            .partition(|peer| errand.keepers.contains(peer));
        let room = MAX_SILENT.saturating_sub(errand.silent.len());
        known.into_iter().chain(unknown.into_iter().take(room)).collect()
    }

    fn ask(&mut self, recipient: PeerId, id: [u8; 16], holders: &[PeerId], now: Instant) {
        let free = |holder: &&PeerId| self.errands.asking.get(holder).is_none_or(Asking::has_room);
        let chosen: Vec<PeerId> = holders.iter().filter(free).take(HOLDERS).copied().collect();
        let find =
            |errand: &Errand| errand.items.iter().find(|item| item.sealed.id == id).map(|item| item.sealed.clone());
        let Some(sealed) = self.errands.of.get(&recipient).and_then(find) else { return };
        for holder in chosen {
            if !self.say(holder, SealFrame::Hold(sealed.clone())) {
                continue;
            }
            self.errands.asking.entry(holder).or_default().handle_asked(id, now);
            let errand = self.errands.of.get_mut(&recipient);
            if let Some(item) = errand.and_then(|errand| errand.items.iter_mut().find(|item| item.sealed.id == id)) {
                item.asked.insert(holder);
            }
        }
    }

    /// Seals the next entries of a recipient, as far as there is room for them. The state that they were sealed with is on
    /// the disk before anybody is given one.
    async fn seal_more(&mut self, recipient: PeerId) -> Result<Vec<[u8; 16]>, Failure> {
        let Some(errand) = self.errands.of.get(&recipient) else { return Ok(Vec::new()) };
        let mut room = WINDOW.saturating_sub(errand.items.len());
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut bond = self.bonds.load(recipient).await?;
        if !bond.can_seal() {
            return Ok(Vec::new());
        }
        let now = unix_ms();
        let mut entries: Vec<Entry> = Vec::new();
        for (place, has, end) in self.db.read(move |store| store.owed(recipient)).await? {
            let sealed = errand.sealed.get(&place).copied().unwrap_or(0);
            let after = has.max(bond.held(place, now)).max(sealed);
            if after >= end || room == 0 {
                continue;
            }
            let reading = move |store: &kith_store::Store| store.entries_for(recipient, place, after, room);
            let more = self.db.read(reading).await?;
            room = room.saturating_sub(more.len());
            entries.extend(more);
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        for entry in entries {
            let Some((kind, body)) = bond.seal(&self.bonds.base, &wire::encode_entry(&entry)) else { break };
            if body.len() > MAX_ENTRY_BYTES {
                tracing::debug!(%recipient, "a message is too long to be sealed: it waits for its recipient");
                break;
            }
            let sealed = Sealed {
                id: rand::random(),
                author: self.own,
                recipient,
                expires_unix_ms: now + KEPT_FOR_MS,
                kind,
                body,
            };
            let (place, sequence) = (entry.place, entry.sequence);
            items.push(Item { sealed, place, sequence, asked: BTreeSet::new(), kept: 0 });
        }
        self.bonds.save(recipient, &bond).await?;
        let ids = items.iter().map(|item| item.sealed.id).collect();
        if let Some(errand) = self.errands.of.get_mut(&recipient) {
            for item in items {
                errand.sealed.insert(item.place, item.sequence);
                errand.items.push(item);
            }
        }
        Ok(ids)
    }

    /// A holder keeps a message of ours.
    pub async fn handle_held(&mut self, holder: PeerId, id: [u8; 16]) -> Result<(), Failure> {
        if !self.errands.asking.get_mut(&holder).is_some_and(|asking| asking.handle_answer(id)) {
            return Ok(());
        }
        let find = |(_, errand): &(&PeerId, &mut Errand)| errand.items.iter().any(|item| item.sealed.id == id);
        let Some((recipient, errand)) = self.errands.of.iter_mut().find(find) else { return Ok(()) };
        let recipient = *recipient;
        let Some(item) = errand.items.iter_mut().find(|item| item.sealed.id == id) else { return Ok(()) };
        item.asked.remove(&holder);
        item.kept += 1;
        let (place, first, until) = (item.place, item.kept == 1, item.sealed.expires_unix_ms);
        let top = errand.top.entry(place).or_insert(0);
        *top = (*top).max(item.sequence);
        errand.keepers.insert(holder);
        let mark = errand.mark(place).filter(|mark| first && *mark > 0);
        errand.clear();
        let Some(mark) = mark else { return Ok(()) };
        let mut bond = self.bonds.load(recipient).await?;
        bond.raise_held(place, mark, until, unix_ms());
        let (name, locked) = (super::task::Bonds::name(recipient), self.bonds.lock(recipient, &bond)?);
        let writing = move |store: &mut kith_store::Store| {
            store.kept(recipient, place, mark)?;
            store.set_secret(&name, &locked)
        };
        self.db.write(writing).await
    }
}
