//! The holder's side: keeps what authors ask for, and hands it to the recipient when that one comes. And the recipient's:
//! opens what it is handed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use kith_common::clock::unix_ms;
use kith_common::contact::Trust;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_core::hold::Asking;
use kith_store::{Refusal, Sealed};

use super::task::{Bonds, Task};
use super::{KEPT_FOR_MS, LIMITS};
use crate::chat::SealFrame;
use crate::chat::wire;

/// What is handed to one recipient that is there.
#[derive(Default)]
pub(super) struct Round {
    queue: VecDeque<Sealed>,
    pub open: Asking<[u8; 16]>,
    /// The recipient has taken something since the last reading: what it was silent about may be next now.
    progress: bool,
}

impl Task {
    /// An author asks us to keep something. Silence is a no.
    pub async fn handle_hold(&mut self, author: PeerId, mut sealed: Sealed) -> Result<(), Failure> {
        let allowed = sealed.author == author
            && ![self.own, author].contains(&sealed.recipient)
            && self.contact(author).is_some_and(|contact| contact.relay == Trust::Always)
            && self.contact(sealed.recipient).is_some();
        let now = unix_ms();
        if !allowed || sealed.body.is_empty() || sealed.expires_unix_ms <= now {
            tracing::debug!(%author, "a sealed message was not taken to keep");
            return Ok(());
        }
        sealed.expires_unix_ms = sealed.expires_unix_ms.min(now + KEPT_FOR_MS);
        let (id, recipient) = (sealed.id, sealed.recipient);
        let keeping = sealed.clone();
        if !self.db.write(move |store| store.hold(&keeping, LIMITS)).await? {
            tracing::debug!(%author, "no room for a sealed message");
            return Ok(());
        }
        self.say(author, SealFrame::Held(id));
        if let Some(round) = self.rounds.get_mut(&recipient)
            && round.queue.iter().all(|waiting| waiting.id != id)
        {
            round.queue.push_back(sealed);
        }
        Ok(())
    }

    /// A contact has come: it gets what is here for it.
    pub async fn begin_round(&mut self, recipient: PeerId) -> Result<(), Failure> {
        let now = unix_ms();
        let kept = self.db.read(move |store| store.held_for(recipient)).await?;
        let queue = kept.into_iter().filter(|sealed| sealed.expires_unix_ms > now).collect();
        self.rounds.insert(recipient, Round { queue, ..Round::default() });
        Ok(())
    }

    pub async fn go_on_with_rounds(&mut self, now: Instant) -> Result<(), Failure> {
        let recipients: Vec<PeerId> = self.rounds.keys().copied().collect();
        for recipient in recipients {
            let Some(round) = self.rounds.get_mut(&recipient) else { continue };
            while round.open.poll_late(now).is_some() {}
            if round.queue.is_empty() && round.open.is_empty() && round.progress {
                self.begin_round(recipient).await?;
            }
            self.hand_over(recipient, now);
        }
        Ok(())
    }

    fn hand_over(&mut self, recipient: PeerId, now: Instant) {
        let (Some(round), Some(linked)) = (self.rounds.get_mut(&recipient), self.links.get(&recipient)) else { return };
        while round.open.has_room()
            && let Some(sealed) = round.queue.pop_front()
        {
            let id = sealed.id;
            if linked.outlet.try_send(SealFrame::Sealed(sealed)).is_err() {
                return;
            }
            round.open.handle_asked(id, now);
        }
    }

    /// `false`: that peer was not handed any such message.
    pub async fn handle_taken(&mut self, recipient: PeerId, id: [u8; 16]) -> Result<bool, Failure> {
        let Some(round) = self.rounds.get_mut(&recipient) else { return Ok(false) };
        if !round.open.handle_answer(id) {
            return Ok(false);
        }
        round.progress = true;
        self.db.write(move |store| store.drop_held(id)).await?;
        Ok(true)
    }

    /// A holder hands us what an author has sealed. Silence: not now. What can never be read is answered like what is
    /// stored, so that nobody keeps it.
    pub async fn handle_sealed(&mut self, holder: PeerId, sealed: Sealed) -> Result<(), Failure> {
        let id = sealed.id;
        if self.open(sealed).await? {
            self.say(holder, SealFrame::Held(id));
        }
        Ok(())
    }

    async fn open(&mut self, sealed: Sealed) -> Result<bool, Failure> {
        let Sealed { id, author, recipient, kind, body, .. } = sealed;
        if recipient != self.own || author == self.own || self.contact(author).is_none() {
            return Ok(false);
        }
        let mut bond = self.bonds.load(author).await?;
        if bond.is_done(id) {
            return Ok(true);
        }
        let Some(plain) = bond.open(kind, &body) else {
            tracing::debug!(%author, "a sealed message cannot be opened, or was opened before");
            return Ok(true);
        };
        let entry = match wire::decode_entry(&plain) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(true),
            Err(error) => {
                tracing::debug!(%author, %error, "a sealed message makes no sense");
                return Ok(true);
            }
        };
        bond.finish(id);
        let (place, sequence) = (entry.place, entry.sequence);
        let (name, locked) = (Bonds::name(author), self.bonds.lock(author, &bond)?);
        let writing = move |store: &mut kith_store::Store| {
            let heard = store.hear(author, vec![entry], unix_ms())?;
            if heard.refused.iter().any(|(_, _, why)| *why == Refusal::TooLarge) {
                return Ok(true);
            }
            // Not the next one: its key stays unused, and its holder keeps it until those before it are here.
            let there = heard.stored.iter().any(|(at, mark)| *at == place && *mark >= sequence);
            if there {
                store.set_secret(&name, &locked)?;
            }
            Ok(there)
        };
        self.db.write(writing).await
    }

    /// What is kept for and of those that are no contacts any more goes.
    pub async fn forget_strangers(&mut self) -> Result<(), Failure> {
        let now: BTreeSet<PeerId> = self.contacts();
        let gone: Vec<PeerId> = self.known.difference(&now).copied().collect();
        self.known = now;
        for peer in gone {
            let name = Bonds::name(peer);
            let writing = move |store: &mut kith_store::Store| {
                for sealed in store.held_for(peer)? {
                    store.drop_held(sealed.id)?;
                }
                store.set_secret(&name, &[])
            };
            self.db.write(writing).await?;
        }
        Ok(())
    }
}
