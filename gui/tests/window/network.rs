//! The network screen: who is there, how this node is reached, and what can be done about it.

use kith::screen::network;

use super::*;

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

#[test]
fn connecting_shows_its_progress_and_what_came_of_it() -> Result<(), Error> {
    let mut window = Window::at(Place::Network);
    window.network(network::Message::Target("192.0.2.9".into()));
    window.click("Connect")?;
    let (job, errand) = window.errand();
    assert_eq!(errand, Errand::Connect("192.0.2.9".into()));
    assert!(window.shows("Connecting to 192.0.2.9…") && window.shows("Cancel"));
    let peer = mock::peers().into_iter().find(|peer| peer.name == "Ada Lovelace").expect("she is there");
    window.hear(Event::News(job, News::Peer(peer.clone())));
    let told = words::node::connected(&peer);
    assert!(told.starts_with("Connected to Ada Lovelace: LAN, ") && window.shows(&told), "{told}");
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
