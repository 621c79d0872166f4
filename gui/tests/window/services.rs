//! The services screen: how each does and why, and starting, stopping and moving it.

use kith::screen::services;
use kith_common::node::{ServiceInfo, ServiceState};

use super::*;

#[test]
fn every_service_says_how_it_does_and_why() {
    let window = Window::at(Place::Services);
    for seen in [
        "4 of 5 listening, 1 failed",
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
    assert!(window.shows("5 of 5 listening") && window.shows("UDP 9997") && !window.shows("Use 9997"));
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
