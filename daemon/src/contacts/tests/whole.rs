//! What happens between nodes.

use kith_common::call::CallKind;
use kith_common::contact::{Contact, ContactChange, People, Presence, Right, Trust};
use kith_common::failure::FailureKind;
use kith_common::target::{Target, Ticket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::fakes::{DEADLINE, Exchange, FakeNet, Node, id};
use crate::contacts::Knock;
use crate::contacts::strangers::MAX_REQUESTS;
use crate::contacts::wire::{self, MAX_BYTES, Message, Request};
use crate::net::frames::{self, FrameError};

async fn pair() -> (Exchange, Node, Node) {
    let exchange = Exchange::default();
    let (ada, ben) = (exchange.node(1, "Ada").await, exchange.node(2, "Ben").await);
    (exchange, ada, ben)
}

/// Contacts on both sides.
async fn friends() -> (Exchange, Node, Node) {
    let (exchange, ada, ben) = pair().await;
    ada.contacts.add(&ben.id(), "", "").await.expect("a peer id");
    ben.contacts.add(&ada.id(), "", "").await.expect("a peer id");
    ada.until_contact("friends", &ben, |contact| contact.mutual).await;
    ben.until_contact("friends", &ada, |contact| contact.mutual).await;
    (exchange, ada, ben)
}

fn asks(people: &People, n: u8) -> bool {
    people.requests.iter().any(|request| request.peer_id == id(n))
}

fn is(presence: Presence) -> impl Fn(&Contact) -> bool {
    move |contact| contact.presence == presence
}

/// What a peer that speaks for itself hears on a request.
async fn asked(net: &FakeNet, peer: u8, request: Request) -> Option<Message> {
    let mut stream = net.open(id(peer)).expect("connected");
    stream.write_all(&wire::encode(&Message::Request(request))).await.expect("it is read");
    match frames::read_soon(&mut stream, MAX_BYTES, DEADLINE).await {
        Err(FrameError::Slow(_)) => panic!("neither an answer nor the end"),
        answer => answer.and_then(|bytes| wire::decode(&bytes)).ok(),
    }
}

fn request(text: &str) -> Request {
    Request { name: "Eve".into(), text: text.into(), again: false }
}

#[tokio::test]
async fn who_is_added_is_asked_and_accepting_makes_both_contacts() {
    let (_exchange, ada, ben) = pair().await;
    let added = ada.contacts.add(&ben.id(), "", "We met in London.").await.expect("a peer id");
    assert_eq!((added.name.as_str(), added.mutual, added.presence), ("Ben", false, Presence::Offline));
    let people = ben.until("the request", |people| asks(people, 1)).await;
    let request = &people.requests[0];
    assert_eq!((request.name.as_str(), request.text.as_str()), ("Ada", "We met in London."));
    assert!(people.contacts.is_empty(), "nobody is added by being asked");
    assert!(ada.contacts.get(ben.net.me).is_some_and(|ben| !ben.mutual && ben.presence == Presence::Offline));
    let accepted = ben.contacts.accept("ada", "Countess").await.expect("she has asked");
    assert_eq!((accepted.name.as_str(), accepted.own_name.as_str(), accepted.mutual), ("Countess", "Ada", true));
    ada.until_contact("accepted", &ben, |contact| contact.mutual && contact.presence == Presence::Online).await;
    ben.until_contact("presence", &ada, is(Presence::Online)).await;
    assert!(ben.contacts.people().borrow().requests.is_empty());
    let again = ben.contacts.accept(&ada.id(), "").await.expect_err("there is no request any more");
    assert_eq!(again.kind, FailureKind::NotFound);
}

#[tokio::test]
async fn who_add_each_other_are_contacts_and_nobody_is_asked() {
    let (_exchange, ada, ben) = friends().await;
    for node in [&ada, &ben] {
        assert!(node.contacts.people().borrow().requests.is_empty());
    }
}

#[tokio::test]
async fn presence_is_told_to_contacts_on_both_sides_and_to_nobody_else() {
    let (exchange, ada, ben) = friends().await;
    let cem = exchange.node(3, "Cem").await;
    cem.contacts.add(&ada.id(), "", "").await.expect("a peer id");
    ada.until("Cem asks", |people| asks(people, 3)).await;
    ada.contacts.set_presence(Presence::Away).await.expect("it can be chosen");
    ben.until_contact("away", &ada, is(Presence::Away)).await;
    ada.calling.send_replace(true);
    ben.until_contact("in a call", &ada, is(Presence::InCall)).await;
    ada.until("own", |people| people.own == Presence::InCall).await;
    ada.calling.send_replace(false);
    ben.until_contact("away again", &ada, is(Presence::Away)).await;
    assert!(cem.contacts.get(ada.net.me).is_some_and(|ada| ada.presence == Presence::Offline));
    let own = ada.contacts.set_presence(Presence::InCall).await.expect_err("it comes by itself");
    assert_eq!(own.kind, FailureKind::InvalidArgument);
    exchange.leave(1);
    let gone = ben.until_contact("offline", &ada, is(Presence::Offline)).await;
    assert!(gone.mutual && gone.last_seen_unix_ms > 0);
}

#[tokio::test]
async fn who_is_refused_is_told_nothing_and_not_heard_again_for_a_while() {
    let exchange = Exchange::default();
    let ada = exchange.node(1, "Ada").await;
    let (eve, _streams) = exchange.join(5, "Eve");
    eve.connect_to(id(1)).expect("she is there");
    assert_eq!(asked(&eve, 1, request("hello")).await, Some(Message::Heard(false)));
    ada.until("the request", |people| asks(people, 5)).await;
    assert_eq!(asked(&eve, 1, request("hello?")).await, Some(Message::Heard(false)));
    let people = ada.until("the newer text", |people| people.requests[0].text == "hello?").await;
    assert_eq!(people.requests.len(), 1, "each is there once");
    ada.contacts.refuse("eve").await.expect("she has asked");
    assert_eq!(asked(&eve, 1, request("please")).await, Some(Message::Heard(false)), "as if it had been taken");
    assert!(ada.contacts.people().borrow().requests.is_empty());
    assert_eq!(ada.contacts.refuse("eve").await.expect_err("gone").kind, FailureKind::InvalidArgument);
    // The user may still want her.
    ada.contacts.add(&eve.me.to_string(), "", "").await.expect("a peer id");
    assert_eq!(asked(&eve, 1, request("thanks")).await, Some(Message::Heard(true)));
}

#[tokio::test]
async fn strangers_are_let_in_few_at_a_time_and_only_so_many_wait() {
    let exchange = Exchange::default();
    let ada = exchange.node(1, "Ada").await;
    let mut heard = 0;
    for n in 100..200 {
        let (stranger, _streams) = exchange.join(n, "Nobody");
        stranger.connect_to(id(1)).expect("she is there");
        heard += usize::from(asked(&stranger, 1, request("")).await.is_some());
    }
    assert!((1..=MAX_REQUESTS).contains(&heard), "{heard}");
    assert_eq!(ada.contacts.people().borrow().requests.len(), heard);
}

#[tokio::test]
async fn who_is_removed_learns_it_at_once_or_at_the_next_meeting_and_does_not_ask_again() {
    let (exchange, ada, ben) = friends().await;
    ben.contacts.remove("ADA").await.expect("a contact, whatever the case");
    let seen = ada.until_contact("removed", &ben, |contact| !contact.mutual).await;
    assert_eq!(seen.presence, Presence::Offline);
    assert!(ben.contacts.people().borrow().requests.is_empty());
    // Asked for once more, and away when it is taken back.
    ada.contacts.add("ben", "", "Sorry.").await.expect("still a contact here");
    ben.until("the request", |people| asks(people, 1)).await;
    ben.contacts.accept("Ada", "").await.expect("she has asked");
    ada.until_contact("mutual again", &ben, |contact| contact.mutual).await;
    exchange.disconnect(1, 2);
    ben.until_contact("away", &ada, is(Presence::Offline)).await;
    ben.contacts.remove("ada").await.expect("a contact");
    ada.net.connect_to(ben.net.me).expect("he is there");
    ada.until_contact("removed", &ben, |contact| !contact.mutual).await;
    assert!(ben.contacts.people().borrow().requests.is_empty(), "it is no new request");
}

#[tokio::test]
async fn a_peer_that_has_forgotten_us_is_no_contact_on_both_sides_any_more() {
    let (exchange, ada, ben) = friends().await;
    exchange.leave(2);
    ada.until_contact("away", &ben, is(Presence::Offline)).await;
    drop(ben);
    let ben = exchange.node(2, "Ben").await;
    ada.net.connect_to(ben.net.me).expect("he is there");
    ada.until_contact("forgotten", &ben, |contact| !contact.mutual).await;
    // And the other way round: who remembers is believed.
    ben.contacts.add(&ada.id(), "", "").await.expect("a peer id");
    ada.until_contact("added anew", &ben, |contact| contact.mutual).await;
    ben.until_contact("she has him still", &ada, |contact| contact.mutual).await;
}

#[tokio::test]
async fn contacts_are_there_after_a_restart_and_are_dialed() {
    let (exchange, ada, ben) = friends().await;
    let (peer, database) = (ada.net.me, ada.database.clone());
    ada.contacts.set_trust("ben", Right::Calls, Trust::Always).await.expect("a contact");
    let change = ContactChange { note: Some("plays chess".into()), verified: Some(true), ..ContactChange::default() };
    ada.contacts.change("ben", change).await.expect("a contact");
    ada.contacts.shutdown().await;
    exchange.leave(1);
    ben.until_contact("away", &ada, is(Presence::Offline)).await;
    let ada = exchange.node_with(1, "Ada", database).await;
    assert_eq!(ada.net.me, peer);
    let seen = ada.until_contact("back", &ben, is(Presence::Online)).await;
    assert_eq!((seen.name.as_str(), seen.note.as_str(), seen.calls), ("Ben", "plays chess", Trust::Always));
    assert!(seen.verified && seen.mutual && seen.last_seen_unix_ms > 0);
}

#[tokio::test]
async fn what_was_chosen_to_be_is_so_after_a_restart_too() {
    let (exchange, mut ada, ben) = friends().await;
    for chosen in [Presence::Away, Presence::Online] {
        ada.contacts.set_presence(chosen).await.expect("it can be chosen");
        ben.until_contact("what she has chosen", &ada, is(chosen)).await;
        let database = ada.database.clone();
        ada.contacts.shutdown().await;
        exchange.leave(1);
        ben.until_contact("gone", &ada, is(Presence::Offline)).await;
        ada = exchange.node_with(1, "Ada", database).await;
        assert_eq!(ada.contacts.people().borrow().own, chosen);
        ben.until_contact("the same again", &ada, is(chosen)).await;
    }
}

/// Somebody has called and was not let ring, and after that a last one, whose request shows that all were looked at.
async fn knocks(ada: &Node, knocks: &[Knock], last: u8) {
    let last_one = Knock { peer: id(last), kind: CallKind::Voice };
    for knock in knocks.iter().chain([&last_one]) {
        ada.knocks.send(*knock).await.expect("she goes on");
    }
    ada.until("the last request", |people| asks(people, last)).await;
}

#[tokio::test]
async fn a_stranger_that_was_not_let_ring_is_a_request_and_is_asked_when_it_is_accepted() {
    let (_exchange, ada, ben) = pair().await;
    ada.net.connect_to(ben.net.me).expect("he is there");
    let knock = |kind| Knock { peer: ben.net.me, kind };
    knocks(&ada, &[knock(CallKind::Voice), knock(CallKind::Video)], 7).await;
    let people = ada.contacts.people().borrow().clone();
    let of_ben: Vec<_> = people.requests.iter().filter(|request| request.peer_id == ben.net.me).collect();
    assert_eq!(of_ben.len(), 1, "however often he calls");
    assert_eq!((of_ben[0].name.as_str(), of_ben[0].text.as_str()), ("Ben", "tried to call you"));
    // He has not asked her, so he is no contact on both sides by that.
    let accepted = ada.contacts.accept("ben", "").await.expect("he has called");
    assert!(!accepted.mutual);
    ben.until("her request", |people| asks(people, 1)).await;
    ben.contacts.accept("ada", "").await.expect("she has asked");
    ada.until_contact("mutual", &ben, |contact| contact.mutual).await;
    knocks(&ada, &[knock(CallKind::Voice)], 8).await;
    assert!(!asks(&ada.contacts.people().borrow(), 2), "a contact is no stranger");
}

#[tokio::test]
async fn what_a_stranger_says_stands_before_that_it_called_and_who_was_refused_stays_so() {
    let exchange = Exchange::default();
    let ada = exchange.node(1, "Ada").await;
    let (eve, _streams) = exchange.join(5, "Eve");
    eve.connect_to(id(1)).expect("she is there");
    let knock = Knock { peer: id(5), kind: CallKind::Voice };
    assert_eq!(asked(&eve, 1, request("It is me.")).await, Some(Message::Heard(false)));
    knocks(&ada, &[knock], 7).await;
    let people = ada.contacts.people().borrow().clone();
    assert!(
        people.requests.iter().any(|request| request.peer_id == id(5) && request.text == "It is me."),
        "{people:?}"
    );
    ada.contacts.refuse("eve").await.expect("she has asked");
    knocks(&ada, &[knock], 8).await;
    assert!(!asks(&ada.contacts.people().borrow(), 5));
}

#[tokio::test]
async fn a_contact_that_is_away_is_dialed_when_the_network_changes() {
    let (exchange, ada, ben) = pair().await;
    exchange.leave(2);
    ada.contacts.add(&ben.id(), "Ben", "").await.expect("a peer id");
    let mut dials = ada.net.dials();
    timeout(DEADLINE, dials.wait_for(|dials| !dials.is_empty())).await.expect("at once").expect("the network is there");
    let ben = exchange.node(2, "Ben").await;
    ada.net.move_to("/ip4/192.0.2.77/tcp/1");
    ben.until("the request", |people| asks(people, 1)).await;
}

#[tokio::test]
async fn a_blocked_contact_is_shown_as_that_and_left_alone() {
    let (_exchange, ada, ben) = friends().await;
    ada.net.block(ben.net.me);
    let seen = ada.until_contact("blocked", &ben, |contact| contact.blocked).await;
    assert_eq!(seen.presence, Presence::Offline);
    let before = ada.net.dials().borrow().len();
    ada.net.move_to("/ip4/192.0.2.77/tcp/1");
    ada.contacts.set_presence(Presence::Away).await.expect("the task has looked at all that");
    assert_eq!(ada.net.dials().borrow().len(), before);
}

#[tokio::test]
async fn names_are_unique_and_found_whatever_the_case() {
    let (exchange, ada, ben) = pair().await;
    let ticket = Ticket { peer: id(9), addresses: vec!["/ip4/192.0.2.9/tcp/1".parse().expect("an address")] };
    ada.contacts.add(&ticket.to_string(), "Ben", "").await.expect("a ticket");
    assert_eq!(ada.contacts.resolve(" bEN "), Ok(Target::Ticket(ticket)));
    // The name is taken: he gets a number.
    assert_eq!(ada.contacts.add(&ben.id(), "", "").await.expect("a peer id").name, "Ben 2");
    // With the address that he is connected from, once that is known.
    let found = ada.contacts.resolve("ben 2").expect("his name");
    let (Target::Peer(peer) | Target::Ticket(Ticket { peer, .. })) = found else { panic!("{found:?}") };
    assert_eq!(peer, ben.net.me);
    let taken = ada.contacts.change("ben 2", ContactChange { name: Some("BEN".into()), ..ContactChange::default() });
    assert_eq!(taken.await.expect_err("taken").kind, FailureKind::InvalidArgument);
    let renamed = ContactChange { name: Some("Benjamin".into()), ..ContactChange::default() };
    ada.contacts.change("ben 2", renamed).await.expect("free");
    assert_eq!(ada.contacts.name_of(ben.net.me).as_deref(), Some("Benjamin"));
    let unknown = ada.contacts.resolve("benjamim").expect_err("nobody");
    assert!(unknown.advice.contains("\"Benjamin\""), "{unknown:?}");
    assert_eq!(ada.contacts.remove(&id(77).to_string()).await.expect_err("nobody").kind, FailureKind::NotFound);
    let own = ada.contacts.add(&ada.id(), "", "").await.expect_err("itself");
    assert_eq!(own.kind, FailureKind::InvalidArgument);
    // Who is connected is found by what it calls itself, and by where it is.
    let cem = exchange.node(3, "Cem").await;
    ada.net.connect_to(cem.net.me).expect("he is there");
    assert_eq!(ada.contacts.add("cem", "", "").await.map(|cem| cem.peer_id), Ok(id(3)));
    exchange.node(4, "Dee").await;
    assert_eq!(ada.contacts.add("192.0.2.4", "", "").await.map(|dee| dee.peer_id), Ok(id(4)), "by going there");
    assert!(ada.contacts.add("192.0.2.44", "", "").await.is_err(), "nobody is there");
}

#[tokio::test]
async fn a_contact_without_a_name_takes_its_own_as_soon_as_it_is_known() {
    let (exchange, ada, ben) = pair().await;
    exchange.leave(2);
    ada.until("Ben is unknown", |_| true).await;
    let added = ada.contacts.add(&ben.id(), "", "").await.expect("a peer id");
    assert_eq!(added.name, ben.net.me.short());
    let ben = exchange.node(2, "Ben").await;
    ada.net.connect_to(ben.net.me).expect("he is there");
    ada.until_contact("his name", &ben, |contact| contact.name == "Ben").await;
}

#[tokio::test]
async fn both_see_the_same_safety_number() {
    let (_exchange, ada, ben) = pair().await;
    let number = ada.contacts.safety(&ben.id()).await.expect("a peer id");
    assert_eq!(ben.contacts.safety(&ada.id()).await, Ok(number));
    assert_eq!(ada.contacts.safety(&ada.id()).await.expect_err("itself").kind, FailureKind::InvalidArgument);
}

#[tokio::test]
async fn what_makes_no_sense_on_a_stream_ends_that_stream_only() {
    let (exchange, ada, ben) = friends().await;
    let (eve, _streams) = exchange.join(5, "Eve");
    eve.connect_to(id(1)).expect("she is there");
    for bytes in [&[0xff; 64][..], &[0, 0, 0, 4, 1, 2, 3, 4], &[0, 0, 0, 0], &[]] {
        let mut stream = eve.open(id(1)).expect("connected");
        stream.write_all(bytes).await.expect("it is read");
        stream.shutdown().await.expect("open");
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it ends");
        assert!(rest.is_empty());
    }
    // A stranger has no presence here, and cannot be removed.
    let mut stream = eve.open(id(1)).expect("connected");
    for message in [Message::Presence(Presence::Away), Message::Removed] {
        stream.write_all(&wire::encode(&message)).await.expect("it is read");
    }
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it ends");
    ada.contacts.set_presence(Presence::Away).await.expect("she goes on");
    ben.until_contact("still there", &ada, is(Presence::Away)).await;
    assert_eq!(ada.contacts.people().borrow().contacts.len(), 1);
}
