//! The people of the node.

use std::rc::Rc;

use kith_common::contact::{Contact, Presence, Right, Trust};
use kith_common::contact_capnp::{contact_outcome, contacts};
use kith_common::convert::{
    Enumeration, read_contact_change, write_contact, write_failure, write_outcome, write_people, write_safety,
};
use kith_common::failure::Failure;

use super::connection::Connection;
use super::{room, watch};

pub struct ContactsServer(pub Rc<Connection>);

impl contacts::Server for ContactsServer {
    async fn list(self: Rc<Self>, _: contacts::ListParams, mut results: contacts::ListResults) -> capnp::Result<()> {
        let people = self.0.daemon.contacts.people().borrow().clone();
        write_people(&room::people(&people), results.get().init_people());
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        params: contacts::WatchParams,
        mut results: contacts::WatchResults,
    ) -> capnp::Result<()> {
        let watching = watch::people(self.0.daemon.contacts.people(), params.get()?.get_observer()?);
        results.get().set_handle(self.0.subscribe("people", watching)?);
        Ok(())
    }

    async fn add(self: Rc<Self>, params: contacts::AddParams, mut results: contacts::AddResults) -> capnp::Result<()> {
        let params = params.get()?;
        let (name, text) = (params.get_name()?.to_str()?, params.get_text()?.to_str()?);
        let added = self.0.daemon.contacts.add(params.get_target()?.to_str()?, name, text).await;
        write_contact_outcome(added, results.get().init_outcome());
        Ok(())
    }

    async fn remove(
        self: Rc<Self>,
        params: contacts::RemoveParams,
        mut results: contacts::RemoveResults,
    ) -> capnp::Result<()> {
        let removed = self.0.daemon.contacts.remove(params.get()?.get_target()?.to_str()?).await;
        write_outcome(removed, results.get().init_outcome());
        Ok(())
    }

    async fn change(
        self: Rc<Self>,
        params: contacts::ChangeParams,
        mut results: contacts::ChangeResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let change = read_contact_change(params.get_change()?)?;
        let changed = self.0.daemon.contacts.change(params.get_target()?.to_str()?, change).await;
        write_contact_outcome(changed, results.get().init_outcome());
        Ok(())
    }

    async fn set_trust(
        self: Rc<Self>,
        params: contacts::SetTrustParams,
        mut results: contacts::SetTrustResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let right = Right::required(params.get_right(), "what the contact is trusted with")?;
        let trust = Trust::required(params.get_trust(), "how far the contact is trusted")?;
        let changed = self.0.daemon.contacts.set_trust(params.get_target()?.to_str()?, right, trust).await;
        write_contact_outcome(changed, results.get().init_outcome());
        Ok(())
    }

    async fn accept(
        self: Rc<Self>,
        params: contacts::AcceptParams,
        mut results: contacts::AcceptResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let accepted =
            self.0.daemon.contacts.accept(params.get_target()?.to_str()?, params.get_name()?.to_str()?).await;
        write_contact_outcome(accepted, results.get().init_outcome());
        Ok(())
    }

    async fn refuse(
        self: Rc<Self>,
        params: contacts::RefuseParams,
        mut results: contacts::RefuseResults,
    ) -> capnp::Result<()> {
        let refused = self.0.daemon.contacts.refuse(params.get()?.get_target()?.to_str()?).await;
        write_outcome(refused, results.get().init_outcome());
        Ok(())
    }

    async fn safety(
        self: Rc<Self>,
        params: contacts::SafetyParams,
        mut results: contacts::SafetyResults,
    ) -> capnp::Result<()> {
        let safety = self.0.daemon.contacts.safety(params.get()?.get_target()?.to_str()?).await;
        let to = results.get().init_outcome();
        match safety {
            Ok(safety) => write_safety(&safety, to.init_safety()),
            Err(failure) => write_failure(&failure, to.init_failed()),
        }
        Ok(())
    }

    async fn set_presence(
        self: Rc<Self>,
        params: contacts::SetPresenceParams,
        mut results: contacts::SetPresenceResults,
    ) -> capnp::Result<()> {
        let presence = Presence::required(params.get()?.get_presence(), "the presence")?;
        let set = self.0.daemon.contacts.set_presence(presence).await;
        write_outcome(set, results.get().init_outcome());
        Ok(())
    }
}

fn write_contact_outcome(outcome: Result<Contact, Failure>, to: contact_outcome::Builder<'_>) {
    match outcome {
        Ok(contact) => write_contact(&contact, to.init_contact()),
        Err(failure) => write_failure(&failure, to.init_failed()),
    }
}
