//! What is done to one of the lines: to a transfer, an offer, or a share.

use std::path::PathBuf;

use kith_common::file::{AddOptions, FileHash, GetOptions, Share, Transfer, TransferState};
use kith_common::ids::PeerId;

use super::{Ask, Files, Message};
use crate::link::Filing;
use crate::screen::Wish;

impl Files {
    pub(super) fn deed(&mut self, message: Message) -> Wish {
        match message {
            Message::Pause(id) => return self.ask(Filing::Pause(id)),
            Message::Resume(id) => return self.ask(Filing::Resume(id)),
            Message::First(id) => return self.ask(Filing::First(id)),
            Message::Cancel(id) => {
                let deletes = |transfer: &Transfer| transfer.state != TransferState::Done && transfer.done_bytes > 0;
                if self.transfer(id).is_some_and(deletes) {
                    self.asked = Some(Ask::Cancel(id));
                } else {
                    return self.ask(Filing::Cancel(id));
                }
            }
            Message::CancelSurely(id) => return self.ask(Filing::Cancel(id)),
            Message::Accept(id) => return self.ask(Filing::Accept(id, GetOptions::default())),
            Message::Refuse(id) => return self.ask(Filing::Refuse(id)),
            Message::GiveUp(path) => {
                let cancel = self.adding.give_up(&(), &path).map_or(Wish::Nothing, Wish::Cancel);
                let next = self.begin();
                self.arrange();
                return Wish::All(vec![cancel, next]);
            }
            Message::Select(hash) => {
                self.selected = (self.selected != Some(hash)).then_some(hash);
                self.asked = None;
            }
            Message::Withdraw(hash) => self.asked = Some(Ask::Withdraw(hash)),
            Message::WithdrawSurely(hash) => {
                if self.shared.as_ref().is_some_and(|share| share.hash == hash) {
                    self.shared = None;
                }
                return self.ask(Filing::Remove(hash));
            }
            Message::Keep => self.asked = None,
            Message::Again(hash) => {
                let Some(share) = self.share(hash) else { return Wish::Nothing };
                let peers = share.peers.iter().map(PeerId::to_string).collect();
                let options = AddOptions { scope: share.scope, peers, ..AddOptions::default() };
                let path = PathBuf::from(&share.path);
                self.adding.push((), path, options);
                let wish = self.begin();
                self.arrange();
                return wish;
            }
            Message::Copies(hash, peer) => {
                let Some(share) = self.share(hash) else { return Wish::Nothing };
                let mut holders: Vec<PeerId> = share.copies.iter().map(|copy| copy.peer).collect();
                match holders.iter().position(|holder| *holder == peer) {
                    Some(at) => drop(holders.remove(at)),
                    None => holders.push(peer),
                }
                return self.ask(Filing::Keep(hash, holders));
            }
            _ => {}
        }
        Wish::Nothing
    }

    pub(super) fn share(&self, hash: FileHash) -> Option<&Share> {
        self.shares.list.iter().find(|share| share.hash == hash)
    }
}
