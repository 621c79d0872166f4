//! How this node is reached: what it means first, then the addresses that it is concluded from.

use iced::widget::{column, container, row, text};
use iced::{Alignment, Color, Element, Fill};
use kith_common::call::Transport;
use kith_common::diagnostics::{NetworkState, Reachability};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use lucide_icons::Icon;

use super::Message;
use super::list::List;
use crate::screen::sidebar::Node;
use crate::theme;
use crate::widget::parts::{copy, icon, muted, notice, pill, scroll};
use crate::words;

fn colour(state: Reachability) -> Color {
    match state {
        Reachability::Public => theme::GOOD,
        Reachability::Relayed => theme::FAIR,
        Reachability::Local | Reachability::Outgoing => theme::FAIR,
        Reachability::Offline => theme::POOR,
        Reachability::Unknown => theme::OFF,
    }
}

pub fn view<'a>(
    node: &'a Node,
    state: Option<&'a Result<NetworkState, Failure>>,
    peers: &'a List,
    copied: Option<&'a str>,
) -> Element<'a, Message> {
    let mut page = column![title()].spacing(16).padding([18, 18]);
    page = match (state, node) {
        (Some(Ok(state)), _) => page.extend(told(state, peers, copied)),
        (Some(Err(failure)), Node::Up { .. }) => {
            let (sentence, advice) = words::node::refusal(failure, "how it is reached");
            page.push(notice(Icon::Info, theme::FAIR, sentence, advice))
        }
        (_, Node::Up { .. }) => page.push(muted("Asking your node how it is reached…").size(13)),
        (_, _) => page.push(muted("Your node is not running, so it has no addresses.").size(13)),
    };
    if let Node::Up { identity, .. } = node {
        page = page.push(section("Peer id", vec![line(identity.peer_id.to_string(), String::new(), copied)]));
    }
    scroll(page)
}

fn title<'a>() -> Element<'a, Message> {
    row![icon(Icon::Globe, 16.0).color(theme::MUTED), text("This node").size(theme::HEAD).font(theme::STRONG)]
        .spacing(8)
        .align_y(Alignment::Center)
        .into()
}

fn told<'a>(state: &'a NetworkState, peers: &'a List, copied: Option<&'a str>) -> Vec<Element<'a, Message>> {
    let meaning = match state.meaning.trim() {
        "" => words::node::meaning(state.reachability).to_owned(),
        said => words::sentence_of(said),
    };
    let about = column![
        pill(colour(state.reachability), words::node::reachability(state.reachability)),
        text(meaning).size(17).line_height(1.35)
    ];
    let mut list = vec![about.spacing(12).into()];
    let seen = state.observed.iter().map(|seen| {
        let transport = match seen.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let socket = words::node::service(&seen.service).0;
        line(seen.address.clone(), format!("{socket}, {transport} · {}", words::node::agreement(seen.peers)), copied)
    });
    list.push(section_or("Seen from outside", seen.collect(), "No peer outside has said yet how it sees this node."));
    let local = state.local.iter().map(|local| {
        line(local.ip.clone(), format!("{} · {}", local.interface, words::node::scope(&local.scope)), copied)
    });
    list.push(section_or("On this machine", local.collect(), "This machine has no address but its own."));
    if !state.relay.is_empty() {
        let relays = state.relay.iter().map(|relay| {
            let known = relay.relay.parse::<PeerId>().ok();
            let name = known.and_then(|id| peers.get(id)).map_or("", |peer| &peer.name);
            line(relay.address.clone(), format!("through {}", words::name(name, known)), copied)
        });
        list.push(section("Through relays", relays.collect()));
    }
    let mapped = state.mappings.iter().map(|mapping| {
        let about = format!("to {} · {}", mapping.internal, mapping.protocol.to_uppercase());
        line(mapping.external.clone(), about, copied)
    });
    list.push(section_or("Opened at the router", mapped.collect(), "The router has not opened any port for Kith."));
    let dht = if state.dht_server { "Answers the questions of others" } else { "Asks, and answers nobody" };
    let figures = column![told_line("Router (NAT)", words::node::nat(state.nat)), told_line("Directory (DHT)", dht)];
    list.push(figures.spacing(10).into());
    list
}

fn told_line<'a>(name: &'a str, value: &'a str) -> Element<'a, Message> {
    column![muted(name).size(theme::TINY), text(value).size(13)].spacing(3).into()
}

fn section_or<'a>(name: &'a str, lines: Vec<Element<'a, Message>>, empty: &'a str) -> Element<'a, Message> {
    if lines.is_empty() { section(name, vec![muted(empty).into()]) } else { section(name, lines) }
}

pub fn section<'a>(name: &'a str, lines: Vec<Element<'a, Message>>) -> Element<'a, Message> {
    column![muted(name).size(theme::TINY), column(lines).spacing(6)].spacing(6).into()
}

/// Something that can be copied, and what it is. As long as it may be, it stays on its line.
pub fn line<'a>(content: String, about: String, copied: Option<&str>) -> Element<'a, Message> {
    let press = copy(&content, copied, Message::Copy);
    let mut words = column![text(content).size(13).wrapping(text::Wrapping::Glyph)].spacing(2);
    if !about.is_empty() {
        words = words.push(muted(about).size(theme::TINY));
    }
    let content = row![container(words).width(Fill).clip(true), press].spacing(6).align_y(Alignment::Center);
    container(content).padding([6, 10]).style(theme::raised).into()
}
