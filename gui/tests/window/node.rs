//! The screens about the node, and the ways between them.

mod diagnostics;
mod network;
mod services;

use iced::keyboard::key::Named;
use kith::app::{Key, Place};
use kith::link::{Errand, Job, News};
use kith::screen::{network as network_screen, services as services_screen};
use kith_common::ids::PeerId;
use kith_common::node::{PeerInfo, PeerStatus};

use super::*;

impl Window {
    /// Looking at a place of a node that tells everything.
    fn at(place: Place) -> Self {
        let mut window = Self::new();
        window.hear(Event::Services(Ok(mock::node::services())));
        window.hear(Event::Network(Ok(mock::node::network())));
        window.go(place);
        window.asked();
        window
    }

    fn go(&mut self, place: Place) {
        let _ = self.app.update(Message::Go(place));
    }

    fn network(&mut self, message: network_screen::Message) {
        let _ = self.app.update(Message::Network(message));
    }

    fn services(&mut self, message: services_screen::Message) {
        let _ = self.app.update(Message::Services(message));
    }

    /// The one errand that was asked since the last time.
    fn errand(&mut self) -> (Job, Errand) {
        let asked = self.asked();
        let [Command::Start(job, errand)] = &asked[..] else { panic!("not one errand: {asked:?}") };
        (*job, errand.clone())
    }

    fn fails(&mut self, job: Job, kind: FailureKind, message: &str, advice: &str) {
        let failure = Failure::new(kind, message).advise(advice);
        self.hear(Event::News(job, News::Failed(failure)));
    }

    /// Chooses a peer and looks at what can be measured.
    fn measuring(number: u8) -> Self {
        let mut window = Self::at(Place::Diagnostics);
        window.hear(Event::Links(Ok(mock::node::history(1_800_000_000_000))));
        window.app.diagnostics.choose(Some(mock::peer_id(number)));
        window
    }
}

fn unsupported() -> Failure {
    Failure::new(FailureKind::Unsupported, "the running daemon does not know this action")
        .advise("It is older than this program: restart it.")
}

fn has(commands: &[Command], accept: impl Fn(&Command) -> bool) -> bool {
    commands.iter().any(accept)
}

fn many_id(number: u16) -> PeerId {
    let mut key = [9; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    PeerId::from_public_key(key)
}

fn many(count: u16) -> Vec<PeerInfo> {
    let known = mock::peers().into_iter().find(|peer| peer.status == PeerStatus::Known).expect("one is known");
    let mut peers: Vec<PeerInfo> = mock::peers().into_iter().filter(|peer| peer.connected).collect();
    let rest = count - u16::try_from(peers.len()).expect("few");
    peers.extend((0..rest).map(|number| PeerInfo { peer_id: many_id(number), name: String::new(), ..known.clone() }));
    peers
}

// The ways between the places.

#[test]
fn the_rail_leads_to_every_place_and_is_not_there_in_a_call() -> Result<(), Error> {
    let mut window = Window::new();
    window.click("Network")?;
    assert!(window.shows("Connect") && !window.shows("Call someone"));
    window.click("Services")?;
    assert!(window.shows("Voice calls"));
    window.click("Diagnostics")?;
    assert!(window.shows("Bandwidth"));
    window.click("Calls")?;
    assert!(window.shows("Call someone"));
    let (window, _) = Window::in_call(CallKind::Video);
    assert!(!window.shows("Services"));
    Ok(())
}

#[test]
fn keys_lead_to_places_but_not_out_of_a_call() {
    let mut window = Window::new();
    let ctrl = iced::keyboard::Modifiers::CTRL;
    let key = kith::app::key(&iced::keyboard::Key::Named(Named::Tab), ctrl).expect("it means something");
    let _ = window.app.update(Message::Key(key));
    assert_eq!(window.app.place, Place::Chat);
    let _ = window.app.update(Message::Key(Key::Go(Place::Diagnostics)));
    assert_eq!(window.app.place, Place::Diagnostics);
    let (mut window, _) = Window::in_call(CallKind::Video);
    let _ = window.app.update(Message::Key(Key::Go(Place::Network)));
    assert!(matches!(window.app.screen, Screen::Call(_)));
}

#[test]
fn a_call_from_another_place_comes_to_the_front_and_leads_back() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    let info = mock::call(3, Direction::Incoming, CallKind::Video, CallState::Ringing);
    window.hear(Event::Call(info.clone()));
    window.press_in_dialog(Icon::Video)?;
    window.hear(Event::Call(CallInfo { state: CallState::Active, ..info.clone() }));
    assert!(matches!(window.app.screen, Screen::Call(_)));
    window.hear(Event::Call(ended(&info, Ending::by(EndReason::Remote))));
    window.click("Close")?;
    assert!(window.shows("Seen from outside"), "back where one was");
    Ok(())
}

#[test]
fn a_failed_service_is_seen_from_every_place() {
    let window = Window::at(Place::Calls);
    assert!(window.shows("Port 9996 is in trouble"));
    assert!(window.shows("Port 9996 is in use by obs (process 4121)."), "the home screen says it too");
}

#[test]
fn a_large_routing_table_does_not_flood_the_people() {
    let mut window = Window::new();
    window.hear(Event::Peers(many(1_000)));
    assert!(window.shows("997 more nodes") && window.shows("3 connected"));
}
