//! The task: who is linked, whose state is where, and when something is due.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, People};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_store::Database;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, AccountPickle};
use zeroize::Zeroizing;

use super::bond::Bond;
use super::desk::{Desk, News};
use super::errand::Errands;
use super::round::Round;
use super::vault::Vault;
use crate::chat::SealFrame;

/// Frames in a row before times are looked at again.
const AT_ONCE: usize = 32;
/// What is owed is looked at so often at most: it is no matter of milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What has been kept for long enough goes.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// Where the identity keys are kept.
const ACCOUNT: &str = "olm";

/// The Olm state on the disk.
pub(super) struct Bonds {
    db: Database,
    vault: Vault,
    pub base: Account,
}

impl Bonds {
    /// Makes an identity key when there is none, or none that can be read under this identity.
    pub async fn open(db: Database, identity: &[u8]) -> Result<Self, Failure> {
        let vault = Vault::new(identity);
        let kept = db.read(|store| store.secret(ACCOUNT)).await?;
        let known = kept.as_ref().and_then(|kept| {
            let plain = vault.open(ACCOUNT, kept)?;
            serde_json::from_slice::<AccountPickle>(&plain).ok().map(Account::from_pickle)
        });
        if known.is_none() && kept.is_some() {
            tracing::warn!(
                "the keys for sealed messages cannot be read: new ones were made, and what was sealed with the old ones comes from its author"
            );
        }
        let base = match known {
            Some(account) => account,
            None => {
                let account = Account::new();
                let plain = json(&account.pickle())?;
                let locked = vault.lock(ACCOUNT, &plain);
                db.write(move |store| store.set_secret(ACCOUNT, &locked)).await?;
                account
            }
        };
        Ok(Self { db, vault, base })
    }

    pub fn identity_key(&self) -> Vec<u8> {
        self.base.curve25519_key().to_vec()
    }

    pub fn name(peer: PeerId) -> String {
        format!("{ACCOUNT} {peer}")
    }

    pub async fn load(&self, peer: PeerId) -> Result<Bond, Failure> {
        let name = Self::name(peer);
        let kept = self.db.read({
            let name = name.clone();
            move |store| store.secret(&name)
        });
        let kept = kept.await?.unwrap_or_default();
        let bond = self.vault.open(&name, &kept).and_then(|plain| serde_json::from_slice(&plain).ok());
        Ok(bond.unwrap_or_default())
    }

    pub fn lock(&self, peer: PeerId, bond: &Bond) -> Result<Vec<u8>, Failure> {
        Ok(self.vault.lock(&Self::name(peer), &json(bond)?))
    }

    pub async fn save(&self, peer: PeerId, bond: &Bond) -> Result<(), Failure> {
        let (name, locked) = (Self::name(peer), self.lock(peer, bond)?);
        self.db.write(move |store| store.set_secret(&name, &locked)).await
    }
}

fn json(state: &impl serde::Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    serde_json::to_vec(state).map(Zeroizing::new).map_err(|error| {
        Failure::new(kith_common::failure::FailureKind::Internal, format!("could not write down Olm state: {error}"))
    })
}

/// A contact that has a stream with us.
pub(super) struct Linked {
    pub outlet: mpsc::Sender<SealFrame>,
    /// It deals with sealed messages, and so may keep some.
    pub seals: bool,
    /// Which of its streams.
    number: u64,
}

pub(super) struct Task {
    pub own: PeerId,
    pub db: Database,
    people: watch::Receiver<Arc<People>>,
    pub bonds: Bonds,
    desk: Arc<Desk>,
    pub away_after: Duration,
    began: Instant,
    /// Contacts that are there.
    pub links: BTreeMap<PeerId, Linked>,
    /// When the others were there last.
    away: BTreeMap<PeerId, Instant>,
    streams: u64,
    endings: JoinSet<(PeerId, u64)>,
    pub errands: Errands,
    pub rounds: BTreeMap<PeerId, Round>,
    /// Contacts, blocked ones too, when that was last looked at.
    pub known: BTreeSet<PeerId>,
}

impl Task {
    pub fn new(
        own: PeerId,
        db: Database,
        people: watch::Receiver<Arc<People>>,
        bonds: Bonds,
        desk: Arc<Desk>,
        away_after: Duration,
    ) -> Self {
        Self {
            own,
            db,
            people,
            bonds,
            desk,
            away_after,
            began: Instant::now(),
            links: BTreeMap::new(),
            away: BTreeMap::new(),
            streams: 0,
            endings: JoinSet::new(),
            errands: Errands::default(),
            rounds: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    pub async fn run(mut self, mut wakes: mpsc::Receiver<()>) {
        let mut changes = self.db.changes();
        let mut people = self.people.clone();
        let (mut dirty, mut look_at, mut expire_at) = (true, Instant::now(), Instant::now());
        loop {
            let mut more = true;
            for _ in 0..AT_ONCE {
                let Some(news) = self.desk.next() else {
                    more = false;
                    break;
                };
                let dealt = self.handle(news).await;
                note(dealt);
            }
            let now = Instant::now();
            if expire_at <= now {
                expire_at = now + EXPIRE_EVERY;
                note(self.db.write(|store| store.expire_held(unix_ms())).await.map(drop));
            }
            if dirty && look_at <= now {
                look_at = now + LOOK_EVERY;
                changes.mark_unchanged();
                dirty = false;
                note(self.look(now).await);
            }
            let done = self.work(now).await;
            note(done);
            let look = dirty.then_some(look_at);
            let wake = [Some(expire_at), look, more.then_some(now), self.poll_timeout(now)].into_iter().flatten().min();
            tokio::select! {
                woken = wakes.recv() => if woken.is_none() { return },
                changed = changes.changed() => if changed.is_err() { return } else { dirty = true },
                Ok(()) = people.changed() => dirty = true,
                Some(ended) = self.endings.join_next() => if let Ok((peer, number)) = ended {
                    self.handle_ended(peer, number);
                },
                () = at(wake) => {}
            }
        }
    }

    /// Who that is, unless it is no contact, or blocked.
    pub fn contact(&self, peer: PeerId) -> Option<Contact> {
        let people = Arc::clone(&self.people.borrow());
        people.contacts.iter().find(|contact| contact.peer_id == peer && !contact.blocked).cloned()
    }

    pub fn contacts(&self) -> BTreeSet<PeerId> {
        self.people.borrow().contacts.iter().map(|contact| contact.peer_id).collect()
    }

    async fn handle(&mut self, news: News) -> Result<(), Failure> {
        match news {
            News::Linked { peer, identity_key, outlet } => self.handle_linked(peer, &identity_key, outlet).await,
            News::Frame { peer, frame } if self.links.contains_key(&peer) => match frame {
                SealFrame::Keys(keys) => {
                    let mut bond = self.bonds.load(peer).await?;
                    bond.take_keys(&keys);
                    self.bonds.save(peer, &bond).await
                }
                SealFrame::Hold(sealed) => self.handle_hold(peer, sealed).await,
                SealFrame::Held(id) => {
                    if !self.handle_taken(peer, id).await? {
                        self.handle_held(peer, id).await?;
                    }
                    Ok(())
                }
                SealFrame::Sealed(sealed) => self.handle_sealed(peer, sealed).await,
            },
            // Of a stream that has ended, or of a contact that does not deal with sealed messages.
            News::Frame { .. } => Ok(()),
        }
    }

    async fn handle_linked(
        &mut self,
        peer: PeerId,
        identity_key: &[u8],
        outlet: mpsc::Sender<SealFrame>,
    ) -> Result<(), Failure> {
        // What was asked on a stream before is asked anew.
        self.links.remove(&peer);
        self.errands.handle_unlinked(peer);
        self.rounds.remove(&peer);
        // It is there, and so gets its messages itself.
        self.errands.handle_met(peer);
        self.streams += 1;
        let number = self.streams;
        let ending = outlet.clone();
        self.endings.spawn(async move {
            ending.closed().await;
            (peer, number)
        });
        self.away.remove(&peer);
        let theirs = Curve25519PublicKey::from_slice(identity_key).ok();
        self.links.insert(peer, Linked { outlet, seals: theirs.is_some(), number });
        let Some(theirs) = theirs else { return Ok(()) };
        let mut bond = self.bonds.load(peer).await?;
        bond.meet(theirs);
        let keys = bond.give(&self.bonds.base, unix_ms());
        self.bonds.save(peer, &bond).await?;
        self.say(peer, SealFrame::Keys(keys));
        self.begin_round(peer).await
    }

    fn handle_ended(&mut self, peer: PeerId, number: u64) {
        if self.links.get(&peer).is_some_and(|linked| linked.number == number) {
            self.links.remove(&peer);
            self.away.insert(peer, Instant::now());
            self.errands.handle_unlinked(peer);
            self.rounds.remove(&peer);
        }
    }

    /// When that contact counts as away.
    pub fn away_from(&self, peer: PeerId) -> Instant {
        self.away.get(&peer).copied().unwrap_or(self.began) + self.away_after
    }

    /// `false`: the stream is full, or has ended.
    pub fn say(&self, peer: PeerId, frame: SealFrame) -> bool {
        self.links.get(&peer).is_some_and(|linked| linked.outlet.try_send(frame).is_ok())
    }

    async fn work(&mut self, now: Instant) -> Result<(), Failure> {
        self.go_on_with_rounds(now).await?;
        self.go_on_with_errands(now).await
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let rounds = self.rounds.values().filter_map(|round| round.open.poll_timeout());
        let errands = self.errands.poll_timeout().into_iter().chain(self.next_errand(now));
        rounds.chain(errands).min()
    }
}

fn note(done: Result<(), Failure>) {
    if let Err(failure) = done {
        tracing::warn!(%failure, "sealed messages were not dealt with");
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => pending().await,
    }
}
