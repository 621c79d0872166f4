//! The people of a node: contacts, requests of strangers, who is there.
//!
//! `target` everywhere: a contact's name, a peer id, a ticket, or an address of a connected peer.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::call::outcome;
use super::link::no_daemon;
use super::{Client, Feed, feed, keep};
use crate::contact::{Contact, ContactChange, People, Presence, Right, SafetyNumber, Trust};
use crate::contact_capnp::{contact_outcome, people_observer, safety_outcome};
use crate::convert::{
    Enumeration, read_contact, read_failure, read_outcome, read_people, read_safety, write_contact_change,
};
use crate::failure::Failure;

macro_rules! contact {
    ($request:expr) => {{
        let response = $request.send().promise.await?;
        match response.get()?.get_outcome()?.which() {
            Ok(contact_outcome::Contact(contact)) => Ok(read_contact(contact?)?),
            Ok(contact_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
            Ok(contact_outcome::Unspecified(())) | Err(_) => {
                Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
            }
        }
    }};
}

impl Client {
    pub async fn people(&self) -> Result<People, Failure> {
        let people = self.node.ask(|node, _| async move {
            let contacts = node.contacts_request().send().pipeline.get_contacts();
            let response = contacts.list_request().send().promise.await?;
            Ok(read_people(response.get()?.get_people()?)?)
        });
        people.await
    }

    /// Everybody now and after each change; whoever is slow misses states in between, never the newest.
    pub async fn watch_people(&self) -> Result<Feed<People>, Failure> {
        let watch = self.node.ask(|node, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, |_| false);
            let mut request = node.contacts_request().send().pipeline.get_contacts().watch_request();
            request.get().set_observer(capnp_rpc::new_client(PeopleObserver(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    /// Adds it at once and asks the peer for the same as soon as it is reachable; `text` goes with the request. An
    /// empty name takes what the peer calls itself.
    pub async fn add_contact(&self, target: &str, name: &str, text: &str) -> Result<Contact, Failure> {
        let (target, name, text) = (target.to_owned(), name.to_owned(), text.to_owned());
        let add = self.node.ask(|node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().add_request();
            request.get().set_target(target);
            request.get().set_name(name);
            request.get().set_text(text);
            contact!(request)
        });
        add.await
    }

    /// The conversation stays.
    pub async fn remove_contact(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let remove = self.node.ask(|node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().remove_request();
            request.get().set_target(target);
            outcome!(request)
        });
        remove.await
    }

    pub async fn change_contact(&self, target: &str, change: ContactChange) -> Result<Contact, Failure> {
        let target = target.to_owned();
        let changing = self.node.ask(move |node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().change_request();
            request.get().set_target(target);
            write_contact_change(&change, request.get().init_change());
            contact!(request)
        });
        changing.await
    }

    pub async fn set_trust(&self, target: &str, right: Right, trust: Trust) -> Result<Contact, Failure> {
        let target = target.to_owned();
        let set = self.node.ask(move |node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().set_trust_request();
            request.get().set_target(target);
            request.get().set_right(right.to_wire());
            request.get().set_trust(trust.to_wire());
            contact!(request)
        });
        set.await
    }

    /// A stranger's request: it becomes a contact and is told. An empty name takes what the peer calls itself.
    pub async fn accept_contact(&self, target: &str, name: &str) -> Result<Contact, Failure> {
        let (target, name) = (target.to_owned(), name.to_owned());
        let accept = self.node.ask(|node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().accept_request();
            request.get().set_target(target);
            request.get().set_name(name);
            contact!(request)
        });
        accept.await
    }

    /// The request goes and the stranger is told nothing.
    pub async fn refuse_contact(&self, target: &str) -> Result<(), Failure> {
        let target = target.to_owned();
        let refuse = self.node.ask(|node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().refuse_request();
            request.get().set_target(target);
            outcome!(request)
        });
        refuse.await
    }

    /// To compare with the peer: equal numbers mean that nobody stands between.
    pub async fn safety(&self, target: &str) -> Result<SafetyNumber, Failure> {
        let target = target.to_owned();
        let safety = self.node.ask(|node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().safety_request();
            request.get().set_target(target);
            let response = request.send().promise.await?;
            match response.get()?.get_outcome()?.which() {
                Ok(safety_outcome::Safety(safety)) => Ok(read_safety(safety?)?),
                Ok(safety_outcome::Failed(failure)) => Err(read_failure(failure?)?.into()),
                Ok(safety_outcome::Unspecified(())) | Err(_) => {
                    Err(capnp::Error::failed("the outcome is not known to this version".into()).into())
                }
            }
        });
        safety.await
    }

    /// `Online` or `Away`; the others come by themselves.
    pub async fn set_presence(&self, presence: Presence) -> Result<(), Failure> {
        let set = self.node.ask(move |node, _| async move {
            let mut request = node.contacts_request().send().pipeline.get_contacts().set_presence_request();
            request.get().set_presence(presence.to_wire());
            outcome!(request)
        });
        set.await
    }
}

struct PeopleObserver(mpsc::Sender<People>);

impl people_observer::Server for PeopleObserver {
    async fn changed(
        self: Rc<Self>,
        params: people_observer::ChangedParams,
        _: people_observer::ChangedResults,
    ) -> capnp::Result<()> {
        let gone = |_| capnp::Error::disconnected("nobody follows the contacts any more".into());
        self.0.send(read_people(params.get()?.get_people()?)?).await.map_err(gone)
    }
}
