//! The Olm state between this node and one contact: sessions to it, made with its one-time keys, and sessions from it,
//! made with ours.
//!
//! A session goes one way: its author never hears an answer on it, so every message is a pre-key message. Each time both
//! have met, the next message begins a new session with a fresh one-time key. Our one-time keys are in an account of the
//! contact's own (all accounts have the same identity key), so that nobody else can use them, nor pass off what was sealed
//! with them as its own.

use kith_common::chat::GroupId;
use kith_store::Place;
use serde::{Deserialize, Serialize};
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, AccountPickle, OlmMessage, PreKeyMessage, Session, SessionConfig, SessionPickle};

/// One-time keys that a contact is given at once. It uses one each time we are away and it writes.
const BATCH: usize = 4;
/// A batch that was not seen in use is followed by another after this: those keys may have gone into messages that came
/// another way.
const NEW_BATCH_AFTER_MS: i64 = 3_600_000;
/// One-time keys of one account; then another begins, and the one before the last is forgotten, with the keys that are left.
const KEYS_OF_ACCOUNT: usize = 32;
const ACCOUNTS: usize = 2;
/// Keys of a contact's that are kept for later: it keeps its side of at least as many.
const MAX_UNUSED: usize = 16;
const MAX_USED: usize = 64;
/// Sessions from a contact: of as many times that it wrote while we were away.
const MAX_INBOUND: usize = 4;
/// Ids of sealed messages that are here, so that a second holder hears so.
const MAX_DONE: usize = 512;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Bond {
    /// The contact's identity key, as it says hello.
    theirs: Option<Curve25519PublicKey>,
    /// One-time keys of the contact's, the newest last.
    unused: Vec<Curve25519PublicKey>,
    used: Vec<Curve25519PublicKey>,
    out: Option<SessionPickle>,
    /// The two have met since the last message was sealed.
    renew: bool,
    /// Up to where holders keep what we have sealed, and until when they do.
    held: Vec<(Option<[u8; 16]>, u64)>,
    held_until_unix_ms: i64,
    /// With our one-time keys for this contact, the newest first.
    accounts: Vec<AccountPickle>,
    keys_made: usize,
    batch: Vec<Curve25519PublicKey>,
    batch_unix_ms: i64,
    inbound: Vec<SessionPickle>,
    done: Vec<[u8; 16]>,
}

fn name(place: Place) -> Option<[u8; 16]> {
    match place {
        Place::Direct => None,
        Place::Group(group) => Some(bytes(group)),
    }
}

fn bytes(group: GroupId) -> [u8; 16] {
    *group.as_bytes()
}

/// Keeps the newest.
fn trim<T>(list: &mut Vec<T>, max: usize) {
    list.drain(..list.len().saturating_sub(max));
}

impl Bond {
    /// The contact has a stream with us and says this key. Another than before: its old state is gone, and ours with it.
    pub fn meet(&mut self, theirs: Curve25519PublicKey) {
        if self.theirs != Some(theirs) {
            *self = Self { theirs: Some(theirs), ..Self::default() };
        }
        self.renew = true;
    }

    /// The one-time keys to say to the contact. The same ones are said again until they may be used up, because a stream
    /// can end before they arrive.
    pub fn give(&mut self, base: &Account, now_unix_ms: i64) -> Vec<Vec<u8>> {
        let age = now_unix_ms - self.batch_unix_ms;
        if self.batch.is_empty() || !(0..NEW_BATCH_AFTER_MS).contains(&age) {
            if self.accounts.is_empty() || self.keys_made + BATCH > KEYS_OF_ACCOUNT {
                self.accounts.insert(0, base.pickle());
                self.accounts.truncate(ACCOUNTS);
                self.keys_made = 0;
            }
            let mut account = Account::from_pickle(self.accounts.remove(0));
            self.batch = account.generate_one_time_keys(BATCH).created;
            account.mark_keys_as_published();
            self.accounts.insert(0, account.pickle());
            self.keys_made += BATCH;
            self.batch_unix_ms = now_unix_ms;
        }
        self.batch.iter().map(|key| key.to_vec()).collect()
    }

    /// One-time keys that the contact has said.
    pub fn take_keys(&mut self, keys: &[Vec<u8>]) {
        for key in keys.iter().filter_map(|key| Curve25519PublicKey::from_slice(key).ok()) {
            if !self.unused.contains(&key) && !self.used.contains(&key) {
                self.unused.push(key);
                trim(&mut self.unused, MAX_UNUSED);
            }
        }
    }

    /// Without a key of the recipient's nothing is sealed for it.
    pub fn can_seal(&self) -> bool {
        self.theirs.is_some() && (self.out.is_some() || !self.unused.is_empty())
    }

    /// The kind and the body. The bond must be on the disk before they leave.
    pub fn seal(&mut self, base: &Account, plain: &[u8]) -> Option<(u8, Vec<u8>)> {
        let theirs = self.theirs?;
        if self.renew || self.out.is_none() {
            while let Some(key) = self.unused.pop() {
                self.used.push(key);
                trim(&mut self.used, MAX_USED);
                // A key that a hostile contact has made up is left out.
                if let Ok(session) = base.create_outbound_session(SessionConfig::version_1(), theirs, key) {
                    self.out = Some(session.pickle());
                    self.renew = false;
                    break;
                }
            }
        }
        let mut session = Session::from_pickle(self.out.take()?);
        let sealed = session.encrypt(plain);
        self.out = Some(session.pickle());
        let (kind, body) = sealed.ok()?.to_parts();
        Some((u8::try_from(kind).ok()?, body))
    }

    /// What the contact has sealed; `None`: it can never be read. The bond must be on the disk together with what was in
    /// it, or be forgotten.
    pub fn open(&mut self, kind: u8, body: &[u8]) -> Option<Vec<u8>> {
        let OlmMessage::PreKey(message) = OlmMessage::from_parts(kind.into(), body).ok()? else { return None };
        let mut sessions: Vec<Session> = self.inbound.drain(..).map(Session::from_pickle).collect();
        let plain = match sessions.iter_mut().find(|session| session.session_keys() == message.session_keys()) {
            Some(session) => session.decrypt(&OlmMessage::PreKey(message)).ok(),
            None => self.begin(&message).map(|(session, plain)| {
                sessions.push(session);
                plain
            }),
        };
        trim(&mut sessions, MAX_INBOUND);
        self.inbound = sessions.iter().map(Session::pickle).collect();
        plain
    }

    fn begin(&mut self, message: &PreKeyMessage) -> Option<(Session, Vec<u8>)> {
        let theirs = self.theirs?;
        let mut begun = None;
        let accounts: Vec<Account> = self.accounts.drain(..).map(Account::from_pickle).collect();
        for mut account in accounts {
            if begun.is_none() {
                begun = account.create_inbound_session(SessionConfig::version_1(), theirs, message).ok();
            }
            self.accounts.push(account.pickle());
        }
        let begun = begun?;
        // A key is used up: new ones go out when the two meet.
        self.batch.clear();
        Some((begun.session, begun.plaintext))
    }

    pub fn is_done(&self, id: [u8; 16]) -> bool {
        self.done.contains(&id)
    }

    pub fn finish(&mut self, id: [u8; 16]) {
        self.done.push(id);
        trim(&mut self.done, MAX_DONE);
    }

    /// Up to where holders keep what is for the contact.
    pub fn held(&self, place: Place, now_unix_ms: i64) -> u64 {
        if self.held_until_unix_ms <= now_unix_ms {
            return 0;
        }
        self.held.iter().find(|(at, _)| *at == name(place)).map_or(0, |(_, mark)| *mark)
    }

    pub fn raise_held(&mut self, place: Place, mark: u64, until_unix_ms: i64, now_unix_ms: i64) {
        if self.held_until_unix_ms <= now_unix_ms {
            self.held.clear();
            self.held_until_unix_ms = until_unix_ms;
        }
        match self.held.iter_mut().find(|(at, _)| *at == name(place)) {
            Some((_, known)) => *known = (*known).max(mark),
            None => self.held.push((name(place), mark)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that have met, as each sees the other.
    struct Pair {
        ada: Account,
        /// Ada's bond with Ben, and Ben's with Ada.
        to_ben: Bond,
        to_ada: Bond,
        ben: Account,
    }

    impl Pair {
        fn new() -> Self {
            let mut pair =
                Self { ada: Account::new(), ben: Account::new(), to_ben: Bond::default(), to_ada: Bond::default() };
            pair.meet(1);
            pair
        }

        fn meet(&mut self, now: i64) {
            self.to_ben.meet(self.ben.curve25519_key());
            self.to_ada.meet(self.ada.curve25519_key());
            let keys = self.to_ada.give(&self.ben, now);
            self.to_ben.take_keys(&keys);
        }

        fn seal(&mut self, text: &str) -> (u8, Vec<u8>) {
            self.to_ben.seal(&self.ada, text.as_bytes()).expect("Ben has given keys")
        }
    }

    fn again(bond: &Bond) -> Bond {
        serde_json::from_slice(&serde_json::to_vec(bond).expect("it has a form")).expect("it is whole")
    }

    #[test]
    fn sealed_texts_open_once_in_any_order_also_after_restarts() {
        let mut pair = Pair::new();
        let sealed: Vec<_> = ["one", "two", "three"].map(|text| pair.seal(text)).into();
        assert!(sealed.iter().all(|(_, body)| !body.windows(3).any(|part| part == b"one" || part == b"two")));
        for (index, text) in [(1, "two"), (0, "one"), (2, "three")] {
            pair.to_ada = again(&pair.to_ada);
            let (kind, body) = &sealed[index];
            assert_eq!(pair.to_ada.open(*kind, body).as_deref(), Some(text.as_bytes()));
            assert_eq!(pair.to_ada.open(*kind, body), None, "a second time");
        }
    }

    #[test]
    fn each_absence_takes_a_key_of_its_own_and_keys_do_not_run_out() {
        let mut pair = Pair::new();
        let mut sessions = std::collections::BTreeSet::new();
        for day in 0..50 {
            pair.meet(day * 86_400_000 + 1);
            let (kind, body) = pair.seal("hello");
            let OlmMessage::PreKey(message) = OlmMessage::from_parts(kind.into(), &body).expect("it is whole") else {
                panic!("the author has heard nothing on this session");
            };
            assert!(sessions.insert(message.session_id()), "a session twice");
            if day % 2 == 0 {
                assert_eq!(pair.to_ada.open(kind, &body).as_deref(), Some(&b"hello"[..]));
            }
        }
        assert!(pair.to_ada.accounts.len() == ACCOUNTS && pair.to_ada.inbound.len() <= MAX_INBOUND);
    }

    #[test]
    fn what_was_sealed_by_somebody_else_or_altered_does_not_open() {
        let mut pair = Pair::new();
        let (kind, body) = pair.seal("hello");
        // Mallory says that it has Ada's identity key, and hands on what Ada has sealed as its own.
        let mut to_mallory = Bond::default();
        to_mallory.meet(pair.ada.curve25519_key());
        to_mallory.give(&pair.ben, 1);
        assert_eq!(to_mallory.open(kind, &body), None);
        for at in 0..body.len() {
            let mut altered = body.clone();
            altered[at] ^= 1;
            let mut bond = again(&pair.to_ada);
            let opened = bond.open(kind, &altered);
            assert!(opened.is_none() || opened.as_deref() == Some(b"hello"), "byte {at}");
        }
        for cut in 0..body.len() {
            assert_eq!(again(&pair.to_ada).open(kind, &body[..cut]), None);
        }
        assert_eq!(pair.to_ada.open(1, &body), None);
        assert_eq!(pair.to_ada.open(kind, &body).as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn a_contact_with_another_identity_key_begins_anew_and_its_nonsense_keys_seal_nothing() {
        let mut pair = Pair::new();
        pair.seal("old");
        pair.to_ben.meet(Account::new().curve25519_key());
        assert!(!pair.to_ben.can_seal());
        pair.to_ben.take_keys(&[vec![1; 31], vec![0; 32], Vec::new()]);
        assert_eq!(pair.to_ben.seal(&pair.ada, b"x"), None);
        let many: Vec<Vec<u8>> = (1..=200).map(|n| vec![n; 32]).collect();
        pair.to_ben.take_keys(&many);
        assert_eq!(pair.to_ben.unused.len(), MAX_UNUSED);
    }
}
