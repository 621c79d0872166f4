//! Messages to somebody who is away: sealed for the one they are for, and kept by contacts of both until that one is met.
//!
//! An entry that has waited for a while is encrypted with Olm for its recipient (`bond`) and handed to connected contacts,
//! of whom those that let its author relay and know the recipient keep it (`errand`: the author's side, `round`: the
//! holder's and the recipient's). What comes out of it goes the way of every entry, through `Store::hear`: numbers make it
//! exactly once, whether it comes sealed, directly, or both. One task owns all of it; the streams are chat's, which carries
//! the frames (`desk`). Nothing leaves before the state that it was sealed with is on the disk, and what was opened goes to
//! the disk together with the state that it was opened with.

mod bond;
mod desk;
mod errand;
mod round;
mod task;
#[cfg(test)]
mod tests;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use kith_common::contact::People;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_store::{Database, HoldLimits};
use tokio::sync::{mpsc, watch};

use self::desk::Desk;
use self::task::{Bonds, Task};
use super::{SealFrame, Sealer};

/// A contact that is away for less than this gets its messages itself.
const AWAY_AFTER: Duration = Duration::from_secs(10);
/// At most a fortnight is kept for anybody.
const KEPT_FOR_MS: i64 = 14 * 24 * 3600 * 1000;
/// What this node keeps for others: of one author at most a quarter of the room, and 256 is what one answer of the
/// database has.
const LIMITS: HoldLimits = HoldLimits { per_author: 256, per_recipient: 256, total_bytes: 64 * 1024 * 1024 };

/// Seals, keeps and opens, for as long as somebody has this.
pub struct Seal {
    identity_key: Vec<u8>,
    desk: Arc<Desk>,
    /// Wakes the task, and ends it when dropped.
    wake: mpsc::Sender<()>,
}

impl Seal {
    /// `identity`: the secret half of the node's identity, under which the Olm state is kept.
    pub async fn start(
        own: PeerId,
        identity: &[u8],
        db: Database,
        people: watch::Receiver<Arc<People>>,
    ) -> Result<Arc<Self>, Failure> {
        Self::start_with(own, identity, db, people, AWAY_AFTER).await
    }

    pub(super) async fn start_with(
        own: PeerId,
        identity: &[u8],
        db: Database,
        people: watch::Receiver<Arc<People>>,
        away_after: Duration,
    ) -> Result<Arc<Self>, Failure> {
        let bonds = Bonds::open(db.clone(), identity).await?;
        let identity_key = bonds.identity_key();
        let desk = Arc::new(Desk::default());
        let (wake, woken) = mpsc::channel(1);
        tokio::spawn(Task::new(own, db, people, bonds, Arc::clone(&desk), away_after).run(woken));
        Ok(Arc::new(Self { identity_key, desk, wake }))
    }

    fn wake(&self) {
        // One that waits already wakes it as well.
        let _ = self.wake.try_send(());
    }
}

impl Sealer for Seal {
    fn identity_key(&self) -> Vec<u8> {
        self.identity_key.clone()
    }

    fn linked(&self, peer: PeerId, identity_key: &[u8], outlet: mpsc::Sender<SealFrame>) {
        self.desk.put_link(peer, identity_key.to_vec(), outlet);
        self.wake();
    }

    fn arrived(&self, peer: PeerId, frame: SealFrame) {
        self.desk.put_frame(peer, frame);
        self.wake();
    }
}
