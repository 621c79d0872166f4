//! What contacts would like this node to have: it begins by itself, waits for its user, or is refused.

use std::sync::Arc;

use kith_common::clock::unix_ms;
use kith_common::contact::{People, Trust};
use kith_common::failure::Failure;
use kith_common::file::{ContentKind, FileKind, FileTicket, Offer};
use kith_common::ids::PeerId;
use kith_store::{Database, OfferRow};
use tokio::time::timeout;

use super::Task;
use crate::files::check::{self, name_of};
use crate::files::keeper::DISK_WITHIN;
use crate::files::ports::Network;
use crate::files::wanted::{NewTransfer, Wanted};
use crate::files::wire::Verdict;

/// Offers that wait for their user, in all and of one contact.
const MAX_OFFERS: u32 = 500;
const MAX_OFFERS_OF_PEER: u32 = 50;
/// Transfers of one contact that began without asking, and are not done: what comes beyond them is an offer. Each may take
/// what is allowed for one.
pub(in crate::files) const MAX_UNASKED_OF_PEER: usize = 32;

/// Those that wait for their user, the newest first.
pub(super) struct Offers {
    db: Database,
    rows: Vec<OfferRow>,
}

impl Offers {
    pub async fn load(db: Database) -> Result<Self, Failure> {
        let rows = db.read(|store| store.offers()).await?;
        Ok(Self { db, rows })
    }

    pub fn list(&self, people: &People) -> Vec<Offer> {
        let offer = |row: &OfferRow| {
            let ticket: FileTicket = row.ticket.parse().ok()?;
            Some(Offer {
                id: row.id,
                peer: row.peer,
                name: name_of(people, row.peer),
                hash: row.hash,
                file_name: ticket.name,
                kind: ticket.kind,
                size_bytes: ticket.size_bytes,
                files: row.files,
                received_unix_ms: row.received_unix_ms,
            })
        };
        self.rows.iter().filter_map(offer).collect()
    }

    /// `false`: too many wait already.
    async fn put(&mut self, row: OfferRow) -> Result<bool, Failure> {
        let put = self.db.write(move |store| store.put_offer(&row, MAX_OFFERS, MAX_OFFERS_OF_PEER)).await?;
        let Some(row) = put else { return Ok(false) };
        self.rows.retain(|offer| offer.id != row.id);
        self.rows.insert(0, row);
        Ok(true)
    }

    /// Its user has decided.
    pub async fn forget(&mut self, id: u32) -> Result<(), Failure> {
        let taken = self.db.write(move |store| store.take_offer(id)).await;
        self.rows.retain(|offer| offer.id != id);
        taken?.map(|_| ()).ok_or_else(|| check::no_offer(id))
    }
}

impl<N: Network> Task<N> {
    /// A contact would like this node to have something.
    pub(super) async fn offered(&mut self, peer: PeerId, text: &str, files: u32) -> Result<Verdict, Failure> {
        let refused = |why: &str| Ok(Verdict::Refused(why.to_owned()));
        let contact = {
            let people = Arc::clone(&self.context.people.borrow());
            people.contacts.iter().find(|contact| contact.peer_id == peer && !contact.blocked).cloned()
        };
        let Some(contact) = contact else { return refused("This node takes offers of its contacts only.") };
        if contact.files == Trust::Never {
            return refused("This node takes no files of yours.");
        }
        let Ok(ticket) = text.parse::<FileTicket>() else { return refused("The ticket makes no sense.") };
        if ticket.peer != peer {
            return refused("The ticket is somebody else's.");
        }
        let hash = ticket.hash;
        let shared = self.context.db.read(move |store| store.share(hash)).await?.is_some();
        if shared || self.transfers.has(hash).is_some() {
            return Ok(Verdict::Agreed { held_bytes: 0 });
        }
        let many = self.transfers.unasked_of(peer) >= MAX_UNASKED_OF_PEER;
        if contact.files == Trust::Always && !many && self.wants_unasked(&ticket) {
            let folder = self.settings.borrow().folder.clone();
            // A folder that cannot be written to is a matter for the user, as a disk is that does not answer: then it is an offer.
            if matches!(timeout(DISK_WITHIN, check::folder(&folder)).await, Ok(Ok(()))) {
                let new = NewTransfer {
                    hash,
                    kind: ticket.kind,
                    name: kith_content::safe_name(&ticket.name),
                    folder,
                    folder_chosen: false,
                    name_chosen: false,
                    wanted: Wanted::unasked(&ticket),
                };
                self.transfers.begin(new).await?;
                return Ok(Verdict::Agreed { held_bytes: 0 });
            }
        }
        let row = OfferRow { id: 0, peer, hash, ticket: text.to_owned(), files, received_unix_ms: unix_ms() };
        if !self.offers.put(row).await? {
            return refused("Too many offers wait there already.");
        }
        Ok(Verdict::Noted { held_bytes: 0 })
    }

    fn wants_unasked(&self, ticket: &FileTicket) -> bool {
        let settings = self.settings.borrow().clone();
        let kind = match ticket.kind {
            FileKind::File => kith_content::content_kind(&ticket.name),
            FileKind::Folder => ContentKind::Folder,
        };
        ticket.size_bytes <= settings.unasked_bytes && settings.unasked_kinds.contains(&kind)
    }
}
