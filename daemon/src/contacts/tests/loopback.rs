//! Two nodes on a real network.

use kith_common::contact::{Contact, People, Presence};
use kith_store::Database;
use tokio::sync::watch;
use tokio::time::timeout;

use super::fakes::DEADLINE;
use crate::contacts::Contacts;
use crate::net::{DhtMode, Incoming, Net, NetConfig, SecretKey};

struct Node {
    net: Net,
    contacts: Contacts,
    calling: watch::Sender<bool>,
    _incoming: Incoming,
}

async fn node(name: &str) -> Node {
    let config = NetConfig { dht: DhtMode::Client, name: name.to_owned(), ..NetConfig::local(SecretKey::generate()) };
    let (net, mut incoming) = Net::start(config).await.expect("a network on loopback starts");
    let calling = watch::Sender::new(false);
    let database = Database::in_memory(net.peer_id()).await;
    let streams = incoming.contacts.take();
    let contacts = Contacts::start(net.clone(), streams, database, calling.subscribe(), None).await;
    Node { net, contacts: contacts.expect("an empty database"), calling, _incoming: incoming }
}

impl Node {
    async fn until(&self, what: &str, wanted: impl Fn(&People) -> bool) {
        let mut people = self.contacts.people();
        let found = timeout(DEADLINE, people.wait_for(|people| wanted(people))).await;
        found.unwrap_or_else(|_| panic!("never: {what}")).expect("the contacts go on");
    }

    async fn until_contact(&self, what: &str, wanted: impl Fn(&Contact) -> bool) {
        self.until(what, |people| people.contacts.iter().any(&wanted)).await;
    }
}

#[tokio::test]
async fn a_ticket_is_enough_to_become_contacts_and_see_each_other_come_and_go() {
    let (ada, ben) = (node("Ada").await, node("Ben").await);
    let ticket = ben.net.identity().borrow().ticket.clone();
    ada.contacts.add(&ticket, "", "It is me.").await.expect("a ticket");
    ben.until("the request", |people| people.requests.iter().any(|request| request.text == "It is me.")).await;
    ben.contacts.accept("ada", "").await.expect("she has asked");
    ada.until_contact("Ben, who is there", |ben| ben.name == "Ben" && ben.mutual && ben.presence == Presence::Online)
        .await;
    ben.until_contact("Ada, who is there", |ada| ada.presence == Presence::Online).await;
    ada.calling.send_replace(true);
    ben.until_contact("Ada in a call", |ada| ada.presence == Presence::InCall).await;
    ada.contacts.shutdown().await;
    ada.net.shutdown().await;
    ben.until_contact("Ada, who is gone", |ada| ada.presence == Presence::Offline && ada.last_seen_unix_ms > 0).await;
}
