//! Contacts to choose from: who is chosen stands first, and of many a field finds the others.

use iced::Element;
use iced::widget::text_input;
use kith_common::contact::{Contact, People};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{AddOptions, MAX_FILE_PEERS, ShareScope};
use kith_common::ids::PeerId;

use super::page::{Around, chip};
use super::{Files, Message};
use crate::theme;
use crate::widget::parts::muted;

/// Contacts that are offered at once.
const OFFERED: usize = 40;

/// Which of the contacts.
pub(super) struct Choice<'a, F, C> {
    pub fits: F,
    pub chosen: C,
    pub sought: &'a str,
    /// What is looked for is typed.
    pub find: fn(String) -> Message,
}

impl<F: Fn(&Contact) -> bool, C: Fn(PeerId) -> bool> Choice<'_, F, C> {
    /// Those that are offered, and how many are not.
    fn offered<'p>(&self, around: Around<'p>) -> (Vec<(PeerId, String)>, usize) {
        let sought = self.sought.trim().to_lowercase();
        let fitting = around.people.contacts.iter().filter(|contact| (self.fits)(contact));
        let named = fitting.map(|contact| (contact.peer_id, around.name(contact.peer_id, "")));
        let (mut offered, others): (Vec<_>, Vec<_>) = named.partition(|(peer, _)| (self.chosen)(*peer));
        let mut others = others.into_iter().filter(|(_, name)| name.to_lowercase().contains(&sought));
        offered.extend(others.by_ref().take(OFFERED));
        (offered, others.count())
    }

    pub fn view<'a>(&self, around: Around<'_>, choose: impl Fn(PeerId) -> Message) -> Vec<Element<'a, Message>> {
        let mut list: Vec<Element<'a, Message>> = Vec::new();
        if around.people.contacts.iter().filter(|contact| (self.fits)(contact)).count() > OFFERED {
            let find = text_input("Find a contact", self.sought)
                .on_input(self.find)
                .padding([4, 10])
                .size(theme::SMALL)
                .width(170)
                .style(theme::input);
            list.push(find.into());
        }
        let (offered, more) = self.offered(around);
        list.extend(offered.into_iter().map(|(peer, name)| chip(name, (self.chosen)(peer), choose(peer))));
        if more > 0 {
            list.push(muted(format!("and {more} more")).into());
        }
        list
    }
}

impl Files {
    /// Who is a contact no longer is chosen no longer.
    pub fn hear_people(&mut self, people: &People) {
        let may = |peer: &PeerId| people.contacts.iter().any(|contact| contact.peer_id == *peer && !contact.blocked);
        self.with.retain(may);
    }

    /// Who gets what is shared next; why it cannot be shared so.
    pub(super) fn options(&self) -> Result<AddOptions, Failure> {
        let peers: Vec<String> = match self.scope {
            ShareScope::Peers => self.with.iter().map(PeerId::to_string).collect(),
            ShareScope::Anyone | ShareScope::Contacts => Vec::new(),
        };
        if self.scope == ShareScope::Peers && peers.is_empty() {
            return Err(Failure::new(FailureKind::InvalidArgument, "nobody is chosen who would get it")
                .advise("Choose some of your contacts, or share with anyone who has the ticket."));
        }
        Ok(AddOptions { scope: self.scope, peers, ..AddOptions::default() })
    }

    /// Among those who get what is shared next, or not any more.
    pub(super) fn choose(&mut self, peer: PeerId) {
        self.trouble = None;
        if self.with.remove(&peer) {
            return;
        }
        if self.with.len() < MAX_FILE_PEERS {
            self.with.insert(peer);
            return;
        }
        let message = format!("at most {MAX_FILE_PEERS} people can be chosen");
        let advice = "Take somebody off, or share it with all of your contacts.";
        self.trouble = Some(Failure::new(FailureKind::InvalidArgument, message).advise(advice));
    }
}
