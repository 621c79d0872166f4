//! The diagnostics screen: plots that move, tools that measure, and the report.

use kith::screen::{diagnostics, network};
use kith_common::call::Transport;
use kith_common::diagnostics::{BandwidthProgress, BandwidthResult, Hop, LinkSample, PingReply};
use kith_common::node::Path;

use super::*;

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
    assert!(window.shows("Pinging: 4 of 10") && window.shows("Cancel"));
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
