//! Follows the database and the contacts: who may write to us, who is in a group with us, and whom we owe something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kith_common::chat::GroupId;
use kith_common::clock::unix_ms;
use kith_common::contact::People;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_store::Database;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Streams follow the database themselves; this is for opening and closing them, which is no matter of milliseconds.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// After a failure of the database.
const RETRY: Duration = Duration::from_secs(1);
/// How often messages are looked for that are older than their conversation keeps them.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// What is known of peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub contacts: BTreeSet<PeerId>,
    /// Contacts that have us among theirs.
    pub mutual: BTreeSet<PeerId>,
    /// Groups that this node is in, with the other members.
    pub groups: BTreeMap<GroupId, BTreeSet<PeerId>>,
    /// Who lacks something of ours.
    pub owed: BTreeSet<PeerId>,
}

impl Ledger {
    /// A contact, or in a group with us.
    pub fn knows(&self, peer: PeerId) -> bool {
        self.contacts.contains(&peer) || self.groups.values().any(|members| members.contains(&peer))
    }

    pub fn members(&self) -> BTreeSet<PeerId> {
        self.groups.values().flatten().copied().collect()
    }
}

/// Keeps the ledger until nobody reads it any more.
pub(super) async fn keep(db: Database, mut people: watch::Receiver<Arc<People>>, ledger: watch::Sender<Arc<Ledger>>) {
    let mut changes = db.changes();
    let mut expire_at = Instant::now();
    let mut first = true;
    loop {
        let now = Instant::now();
        let mut again = None;
        if expire_at <= now {
            expire_at = now + EXPIRE_EVERY;
            match db.write(|store| store.expire(unix_ms())).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "messages have reached the end of their time and were deleted"),
                Err(failure) => tracing::warn!(%failure, "old messages were not deleted"),
            }
        }
        changes.mark_unchanged();
        let known = Arc::clone(&people.borrow_and_update());
        match read(&db, &known).await {
            Ok(new) => {
                ledger.send_if_modified(|before| {
                    // The first is told whatever it is: until then nobody can be said to be a stranger.
                    let changed = first || **before != new;
                    *before = Arc::new(new);
                    changed
                });
                first = false;
            }
            Err(failure) => {
                tracing::warn!(%failure, "could not look into the database for messages to send");
                again = Some(now + RETRY);
            }
        }
        tokio::select! {
            biased;
            () = ledger.closed() => return,
            () = sleep_until(now + AT_MOST_EVERY) => {}
        }
        tokio::select! {
            () = ledger.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
            changed = people.changed() => if changed.is_err() { return },
            () = sleep_until(again.unwrap_or(expire_at)) => {}
        }
    }
}

async fn read(db: &Database, people: &People) -> Result<Ledger, Failure> {
    // Not what a user sees: members of a group that was deleted here are no strangers.
    let (groups, owed) = db.read(|store| Ok((store.groups()?, store.owed_peers()?))).await?;
    let contacts = people.contacts.iter().filter(|contact| !contact.blocked);
    Ok(Ledger {
        mutual: contacts.clone().filter(|contact| contact.mutual).map(|contact| contact.peer_id).collect(),
        contacts: contacts.map(|contact| contact.peer_id).collect(),
        groups: groups.into_iter().map(|(id, members)| (id, members.into_iter().collect())).collect(),
        owed: owed.into_iter().collect(),
    })
}
