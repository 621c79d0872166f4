//! The screens about the node: what is pressed becomes the right errand, and what the daemon tells is said in words.

use iced::keyboard::key::Named;
use kith::app::{Key, Place};
use kith::link::{Errand, Job, News};
use kith::screen::{diagnostics, network, services};
use kith_common::call::Transport;
use kith_common::diagnostics::{BandwidthProgress, BandwidthResult, Hop, LinkSample, PingReply};
use kith_common::ids::PeerId;
use kith_common::node::{Path, PeerInfo, PeerStatus, ServiceInfo, ServiceState};

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

    fn network(&mut self, message: network::Message) {
        let _ = self.app.update(Message::Network(message));
    }

    fn services(&mut self, message: services::Message) {
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
    assert_eq!(window.app.place, Place::Network);
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

// Network.

#[test]
fn connected_peers_are_listed_with_what_their_way_is_like() {
    let window = Window::at(Place::Network);
    for seen in ["3 connected, 38 known", "Ada Lovelace", "Alan Turing", "Relayed", "LAN", "Latency", "Jitter"] {
        assert!(window.shows(seen), "{seen}");
    }
}

#[test]
fn how_this_node_is_reached_is_said_first_and_its_addresses_with_it() {
    let window = Window::at(Place::Network);
    let state = mock::node::network();
    for seen in [
        state.meaning.as_str(),
        "Reachable from anywhere",
        "203.0.113.7:9999",
        "Node, UDP · 3 peers agree",
        "192.168.1.20",
        "wlan0 · private network",
        "through Katherine Johnson",
        "to 192.168.1.20:9999 · UPNP",
        "Cone: direct connections can be made",
    ] {
        assert!(window.shows(seen), "{seen}");
    }
}

#[test]
fn an_address_is_copied_where_it_stands() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Copy("203.0.113.7:9999".into()));
    assert!(
        window.simulator().find(char::from(Icon::Check).to_string().as_str()).is_ok(),
        "it is said that it is copied"
    );
    Ok(())
}

#[test]
fn a_node_that_nobody_has_seen_yet_says_so() {
    let mut window = Window::at(Place::Network);
    window.hear(Event::Network(Ok(kith_common::diagnostics::NetworkState::default())));
    window.hear(Event::Peers(Vec::new()));
    assert!(window.shows("Nobody yet") && window.shows("No peer outside has said yet how it sees this node."));
    assert!(window.shows(words::node::meaning(kith_common::diagnostics::Reachability::Unknown)));
}

#[test]
fn an_older_daemon_is_a_sentence_on_each_screen() {
    let mut window = Window::at(Place::Network);
    window.hear(Event::Network(Err(unsupported())));
    assert!(window.shows("Your node is older than this window and does not tell how it is reached."));
    window.hear(Event::Services(Err(unsupported())));
    window.go(Place::Services);
    assert!(window.shows("Your node is older than this window and does not tell of changes to its services."));
    assert!(window.shows("Voice calls"), "what the status says is shown all the same");
    window.hear(Event::Links(Err(unsupported())));
    window.go(Place::Diagnostics);
    assert!(window.shows("Your node is older than this window and does not tell how its links do."));
}

#[test]
fn searching_finds_by_address_and_says_when_there_is_nobody() {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Search("203.0.113.82".into()));
    assert!(window.shows("Alan Turing") && !window.shows("Ada Lovelace"));
    window.network(network::Message::Search("nobody at all".into()));
    assert!(window.shows("Nobody is like that"));
}

#[test]
fn of_a_thousand_peers_those_in_sight_are_drawn() {
    let mut window = Window::at(Place::Network);
    window.hear(Event::Peers(many(1_000)));
    assert!(window.shows("3 connected, 997 known"));
    let names: std::collections::BTreeSet<_> = (0..900).map(|number| words::name("", Some(many_id(number)))).collect();
    let drawn = |window: &Window| {
        let mut ui = window.simulator();
        names.iter().filter(|name| ui.find(name.as_str()).is_ok()).cloned().collect::<Vec<_>>()
    };
    let first = drawn(&window);
    assert!((1..40).contains(&first.len()), "{} rows are drawn", first.len());
    window.network(network::Message::Scrolled(20_000.0));
    let further = drawn(&window);
    assert!((1..40).contains(&further.len()) && !further.contains(&first[0]), "{} rows are drawn", further.len());
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

#[test]
fn connecting_shows_its_progress_and_what_came_of_it() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Target("192.0.2.9".into()));
    window.click("Connect")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Connect("192.0.2.9".into()));
    assert!(window.shows("Connecting to 192.0.2.9…") && window.shows("Cancel"));
    let peer = mock::peers().into_iter().find(|peer| peer.name == "Ada Lovelace").expect("she is there");
    window.hear(Event::News(job, News::Peer(peer)));
    assert!(window.shows("Connected to Ada Lovelace: LAN, 0.6 ms."));
    Ok(())
}

#[test]
fn connecting_can_be_cancelled_and_its_late_news_is_ignored() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Target("192.0.2.9".into()));
    window.network(network::Message::Connect);
    let (job, _) = window.errand();
    window.click("Cancel")?;
    assert!(matches!(&window.asked()[..], [Command::Cancel(cancelled)] if *cancelled == job));
    window.fails(job, FailureKind::TimedOut, "nobody answered", "");
    assert!(!window.shows("Nobody answered.") && !window.shows("Connecting to 192.0.2.9…"));
    Ok(())
}

#[test]
fn a_failed_connection_says_why_and_what_to_try() {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Target("my friend".into()));
    window.network(network::Message::Connect);
    assert!(window.asked().is_empty(), "nonsense is not tried");
    assert!(window.shows("Ask them to press “Copy my ticket” and to send you what is copied."));
    window.network(network::Message::Target("192.0.2.9".into()));
    window.network(network::Message::Connect);
    let (job, _) = window.errand();
    window.fails(job, FailureKind::Unreachable, "nobody answered at 192.0.2.9", "ask for a fresh ticket");
    assert!(window.shows("Nobody answered at 192.0.2.9.") && window.shows("Ask for a fresh ticket."));
}

#[test]
fn a_peer_that_is_chosen_tells_everything_and_can_be_called() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.click("Alan Turing")?;
    for seen in ["Connected", "Latency, there and back", "Program", "/ip4/203.0.113.82/tcp/9999", "Files"] {
        assert!(window.shows(seen), "{seen}");
    }
    window.click("Voice")?;
    let asked = window.asked();
    assert!(
        has(&asked, |command| matches!(command, Command::Dial { target, options }
            if *target == mock::peer_id(2).to_string() && options.kind == Some(CallKind::Voice))),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn a_refused_call_from_the_list_is_told_in_the_list() {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Call(mock::peer_id(2), CallKind::Video));
    let failure = Failure::new(FailureKind::Busy, "a call is going on already").advise("Hang up first.");
    window.hear(Event::Failed { doing: Doing::Dialing, failure });
    assert_eq!(window.app.place, Place::Network);
    assert!(window.shows("A call is going on already.") && window.shows("Hang up first."));
}

#[test]
fn blocking_is_asked_before_it_is_done() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Select(mock::peer_id(2)));
    window.click("Block")?;
    assert!(window.asked().is_empty() && window.shows("Block Alan Turing?"));
    window.click("Keep")?;
    assert!(!window.shows("Block Alan Turing?"));
    window.click("Block")?;
    window.click("Block")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Block(mock::peer_id(2)));
    assert!(window.shows("Blocking…"));
    window.hear(Event::News(job, News::Done));
    assert!(window.shows("Alan Turing is blocked until you unblock it."));
    Ok(())
}

#[test]
fn a_blocked_peer_can_be_unblocked_and_not_called() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Select(mock::peer_id(41)));
    assert!(window.shows("Blocked") && !window.shows("Voice"));
    window.click("Unblock")?;
    assert_eq!(window.errand().1, Errand::Unblock(mock::peer_id(41)));
    Ok(())
}

#[test]
fn disconnecting_that_fails_is_told() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Select(mock::peer_id(2)));
    window.click("Disconnect")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Disconnect(mock::peer_id(2)));
    window.fails(job, FailureKind::NotFound, "it is not connected", "");
    assert!(window.shows("It is not connected."));
    Ok(())
}

#[test]
fn losing_the_daemon_while_connecting_is_told() {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Target("192.0.2.9".into()));
    window.network(network::Message::Connect);
    window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection to the daemon was lost.")));
    assert!(window.shows("Your node stopped before the connection was made."));
    assert!(window.shows("Your node is not running"));
}

// Services.

#[test]
fn every_service_says_how_it_does_and_why() {
    let window = Window::at(Place::Services);
    for seen in [
        "2 of 3 listening, 1 failed",
        "TCP and UDP 9999",
        "UDP 9998",
        "Failed",
        "Port 9996 is in use by obs (process 4121).",
        "Port 9997 is free: use it, or stop the program that uses 9996.",
        "Not in this version",
    ] {
        assert!(window.shows(seen), "{seen}");
    }
}

#[test]
fn the_suggested_port_is_taken_with_one_press() -> Result<(), Error> {
    let mut window = Window::at(Place::Services);
    window.click("Use 9997")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::MoveService("video".into(), 9997));
    assert!(window.shows("Moving…"));
    let row = mock::node::services().into_iter().find(|row| row.name == "video").expect("it is there");
    let moved = ServiceInfo {
        state: ServiceState::Listening,
        port: 9997,
        wanted_port: 9997,
        error: String::new(),
        suggestion: String::new(),
        next_try_s: 0,
        ..row
    };
    window.hear(Event::News(job, News::Service(moved)));
    assert!(window.shows("3 of 3 listening") && window.shows("UDP 9997") && !window.shows("Use 9997"));
    Ok(())
}

#[test]
fn stopping_and_starting_ask_for_that_service_alone() {
    let mut window = Window::at(Place::Services);
    window.services(services::Message::Stop("audio".into()));
    assert_eq!(window.errand().1, Errand::StopService("audio".into()));
    window.services(services::Message::Start("video".into()));
    assert_eq!(window.errand().1, Errand::StartService("video".into()));
}

#[test]
fn stopping_the_node_is_asked_before_it_is_done() -> Result<(), Error> {
    let mut window = Window::at(Place::Services);
    window.services(services::Message::Stop("node".into()));
    assert!(window.asked().is_empty() && window.shows("Stop the node service?"));
    window.click("Stop it")?;
    assert_eq!(window.errand().1, Errand::StopService("node".into()));
    Ok(())
}

#[test]
fn only_a_port_is_taken_as_a_port() -> Result<(), Error> {
    let mut window = Window::at(Place::Services);
    window.services(services::Message::Edit("audio".into()));
    for typed in ["0", "70000", "http"] {
        window.services(services::Message::Port(typed.into()));
        window.click("Set")?;
        assert!(window.asked().is_empty(), "{typed}");
        assert!(window.shows(&format!("A port is a number from 1 to 65535, not “{typed}”.")), "{typed}");
    }
    window.services(services::Message::Port("9990".into()));
    window.click("Set")?;
    assert_eq!(window.errand().1, Errand::MoveService("audio".into(), 9990));
    Ok(())
}

#[test]
fn a_refused_change_is_told_in_its_row() {
    let mut window = Window::at(Place::Services);
    window.services(services::Message::Stop("audio".into()));
    let (job, _) = window.errand();
    window.fails(job, FailureKind::NotPermitted, "voice calls may not be stopped", "ask who runs this node");
    assert!(window.shows("Voice calls may not be stopped.") && window.shows("Ask who runs this node."));
}

#[test]
fn a_service_that_waits_says_when_it_is_tried_again() {
    let window = Window::at(Place::Services);
    let said = |seconds: u32| format!("Tried again in {seconds} seconds.");
    assert!((8..=10).any(|seconds| window.shows(&said(seconds))));
}

// Diagnostics.

#[test]
fn links_are_followed_only_while_they_are_looked_at() {
    let mut window = Window::new();
    window.go(Place::Diagnostics);
    assert!(matches!(&window.asked()[..], [Command::FollowLinks(Switch::On)]));
    window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection to the daemon was lost.")));
    window.hear(Event::Connected { identity: mock::identity(), status: mock::status() });
    assert!(matches!(&window.asked()[..], [Command::FollowLinks(Switch::On)]), "a new daemon is asked again");
    window.go(Place::Calls);
    assert!(matches!(&window.asked()[..], [Command::FollowLinks(Switch::Off)]));
}

#[test]
fn the_plots_show_all_together_and_each_peer_and_move_each_second() {
    let mut window = Window::at(Place::Diagnostics);
    assert!(window.shows("Nothing has been sent or received yet."));
    let now = 1_800_000_000_000;
    window.hear(Event::Links(Ok(mock::node::history(now))));
    let [bandwidth, latency, _] = window.app.diagnostics.charts();
    let names: Vec<_> = latency.lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["Ada Lovelace", "Alan Turing", "Katherine Johnson"]);
    assert_eq!(bandwidth.lines.len(), 2);
    assert!(bandwidth.lines[0].pieces.len() > 1, "the time in which nothing was measured is a gap");
    let before = bandwidth.clone();
    window.hear(Event::Links(Ok(mock::node::second(now + 1_000))));
    assert_ne!(*window.app.diagnostics.charts()[0], before, "a second later it has moved");
    assert!(window.shows("Received") && window.shows("Loss"));
}

#[test]
fn choosing_a_peer_shows_that_peer_alone() {
    let window = Window::measuring(2);
    let [bandwidth, latency, loss] = window.app.diagnostics.charts();
    assert_eq!((bandwidth.lines.len(), latency.lines.len(), loss.lines.len()), (2, 1, 1));
    assert_eq!(latency.lines[0].name, "Alan Turing");
}

#[test]
fn a_peer_is_measured_from_the_list() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Select(mock::peer_id(3)));
    window.click("Test")?;
    assert_eq!((window.app.place, window.app.diagnostics.chosen()), (Place::Diagnostics, Some(mock::peer_id(3))));
    assert!(window.shows("The way to Katherine Johnson, measured now."));
    Ok(())
}

#[test]
fn a_ping_tells_how_far_it_is_and_what_it_has_found() -> Result<(), Error> {
    let mut window = Window::measuring(2);
    window.click("Ping")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Ping { peer: mock::peer_id(2), count: 10 });
    for sequence in 0..4 {
        window.hear(Event::News(
            job,
            News::Ping(PingReply {
                sequence,
                way: "udp 203.0.113.82:9996".into(),
                path: Some(Path::Direct),
                transport: Transport::Udp,
                rtt_ms: (sequence != 2).then_some(24.0),
            }),
        ));
    }
    assert!(window.shows("Pinging Alan Turing: 4 of 10") && window.shows("Cancel"));
    window.hear(Event::News(job, News::Done));
    assert!(window.shows("Alan Turing answered 3 of 4 pings; the fastest way takes 24 ms there and back."));
    assert!(window.shows("1 of 4 lost") && window.shows("udp 203.0.113.82:9996"));
    Ok(())
}

#[test]
fn a_trace_lists_the_routers_as_they_answer() -> Result<(), Error> {
    let mut window = Window::measuring(2);
    window.click("Trace")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Trace(mock::peer_id(2)));
    let hop = |ttl, address: Option<&str>| Hop { ttl, address: address.map(str::to_owned), rtt_ms: Some(7.0) };
    window.hear(Event::News(job, News::Hop(hop(1, Some("192.168.1.1")))));
    window.hear(Event::News(job, News::Hop(hop(2, None))));
    assert!(window.shows("192.168.1.1") && window.shows("no answer"));
    window.fails(job, FailureKind::Unsupported, "this system does not let programs trace", "use traceroute as root");
    assert!(window.shows("This system does not let programs trace.") && window.shows("Use traceroute as root."));
    Ok(())
}

#[test]
fn a_bandwidth_measurement_shows_its_rate_and_can_be_cancelled() -> Result<(), Error> {
    let mut window = Window::measuring(2);
    // The plot has that name too.
    let _ = window.app.update(Message::Diagnostics(diagnostics::Message::Run(diagnostics::Tool::Bandwidth)));
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Bandwidth { peer: mock::peer_id(2), seconds: 5 });
    assert!(window.shows("Asking Alan Turing for consent"));
    window.hear(Event::News(job, News::Bandwidth(BandwidthProgress { done: 10, total: 40, bps: 48_000_000 })));
    assert!(window.shows("Measuring: 48 Mbit/s"));
    window.click("Cancel")?;
    assert!(matches!(&window.asked()[..], [Command::Cancel(cancelled)] if *cancelled == job));
    let _ = window.app.update(Message::Diagnostics(diagnostics::Message::Run(diagnostics::Tool::Bandwidth)));
    let (job, _) = window.errand();
    window.hear(Event::News(
        job,
        News::Measured(BandwidthResult {
            sent_bps: 48_000_000,
            received_bps: 92_000_000,
            seconds: 10.0,
            path: Some(Path::Direct),
            transport: Transport::Udp,
        }),
    ));
    assert!(window.shows("To Alan Turing 48 Mbit/s, from there 92 Mbit/s (Direct, UDP), measured for 10 s."));
    Ok(())
}

#[test]
fn a_peer_that_does_not_consent_is_told() -> Result<(), Error> {
    let mut window = Window::measuring(2);
    let _ = window.app.update(Message::Diagnostics(diagnostics::Message::Run(diagnostics::Tool::Bandwidth)));
    let (job, _) = window.errand();
    window.fails(job, FailureKind::NotPermitted, "the other side does not allow it", "ask them to allow it");
    assert!(window.shows("The other side does not allow it.") && window.shows("Ask them to allow it."));
    Ok(())
}

#[test]
fn without_a_chosen_peer_nothing_is_measured() -> Result<(), Error> {
    let mut window = Window::at(Place::Diagnostics);
    assert!(window.shows("Choose a peer above the plots to measure the way to it."));
    let mut ui = window.simulator();
    ui.click("Ping")?;
    assert_eq!(ui.into_messages().count(), 0);
    assert!(window.asked().is_empty());
    Ok(())
}

#[test]
fn the_report_is_copied_and_shown_and_what_is_masked_is_said() -> Result<(), Error> {
    let mut window = Window::at(Place::Diagnostics);
    assert!(window.shows("One text about this node to paste into a question. Names and addresses in it are masked."));
    window.click("Copy report")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Report);
    assert!(window.shows("Your node writes it…"));
    window.hear(Event::News(job, News::Report(mock::node::REPORT.into())));
    assert!(window.shows("Copied") && window.shows(mock::node::REPORT));
    Ok(())
}

#[test]
fn losing_the_daemon_ends_what_was_being_measured() -> Result<(), Error> {
    let mut window = Window::measuring(2);
    window.click("Ping")?;
    window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection to the daemon was lost.")));
    assert!(window.shows("Your node stopped in the middle of it."));
    Ok(())
}

#[test]
fn loss_that_was_never_measured_is_not_drawn_as_none() {
    let mut window = Window::at(Place::Diagnostics);
    let sample = |second: i64| LinkSample {
        at_unix_ms: second * 1000,
        peer: Some(mock::peer_id(1)),
        sent_bps: 0,
        received_bps: 0,
        rtt_ms: Some(1.0),
        loss: None,
    };
    window.hear(Event::Links(Ok((1..30).map(sample).collect())));
    assert!(window.app.diagnostics.charts()[2].is_empty());
    assert!(window.shows("Known only where datagrams have been exchanged."));
}
