//! One peer that has been chosen in the list: everything that is known, and everything that can be done.

use iced::widget::{column, container, row, space, text};
use iced::{Alignment, Element, Fill};
use kith_common::call::CallKind;
use kith_common::clock::unix_ms;
use kith_common::node::{PeerInfo, PeerStatus};
use lucide_icons::Icon;

use super::card::{line, section};
use super::{Message, Network, age, list};
use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{compact, figure, icon, labelled, muted, pill, scroll, small};
use crate::words;

impl Network {
    pub(super) fn peer<'a>(&'a self, peer: &'a PeerInfo, up: bool, copied: Option<&'a str>) -> Element<'a, Message> {
        let name = words::name(&peer.name, Some(peer.peer_id));
        let who = column![
            text(name.clone()).size(17).font(theme::STRONG).wrapping(text::Wrapping::None),
            pill(list::colour(peer), words::node::status(peer.status))
        ];
        let head = row![
            avatar(&name, &peer.peer_id.to_string(), 46.0),
            container(who.spacing(5)).width(Fill).clip(true),
            small(Icon::X, "Back to this node", Message::Unselect)
        ];
        let mut page = column![head.spacing(12).align_y(Alignment::Start)].spacing(16).padding([18, 18]);
        page = page.push(self.doing(peer, up));
        page = page.push(figures(peer));
        page = page.push(section("Offers", vec![offers(peer)]));
        page = page.push(section("Peer id", vec![line(peer.peer_id.to_string(), String::new(), copied)]));
        let addresses: Vec<_> =
            peer.addresses.iter().map(|address| line(address.clone(), String::new(), copied)).collect();
        page = page.push(match addresses.is_empty() {
            true => section("Addresses", vec![muted("None is known: it is looked up by its peer id.").into()]),
            false => section("Addresses", addresses),
        });
        scroll(page)
    }

    fn doing<'a>(&'a self, peer: &'a PeerInfo, up: bool) -> Element<'a, Message> {
        let id = peer.peer_id;
        if let Some(working) = self.working() {
            return working;
        }
        if self.blocking == Some(id) {
            let name = words::name(&peer.name, Some(id));
            let question = column![
                text(format!("Block {name}?")).size(theme::BODY).font(theme::STRONG),
                muted("Its connections and calls end, and it cannot connect again until you unblock it."),
                row![
                    compact(Icon::Ban, "Block", theme::POOR, up.then_some(Message::BlockSurely(id))),
                    compact(Icon::X, "Keep", theme::CONTROL, Some(Message::KeepPeer))
                ]
                .spacing(8)
            ];
            return container(question.spacing(9)).padding([11, 13]).style(theme::notice(theme::POOR)).into();
        }
        if peer.status == PeerStatus::Blocked {
            let words = muted("It cannot connect or call until you unblock it.");
            let unblock = compact(Icon::ShieldCheck, "Unblock", theme::CONTROL, up.then_some(Message::Unblock(id)));
            return column![words, unblock].spacing(9).into();
        }
        let calls = row![
            labelled(Icon::Video, "Video", theme::ACCENT, up.then_some(Message::Call(id, CallKind::Video))).width(Fill),
            labelled(Icon::Phone, "Voice", theme::CONTROL, up.then_some(Message::Call(id, CallKind::Voice)))
                .width(Fill)
        ];
        let connection = match peer.connected {
            true => compact(Icon::Unplug, "Disconnect", theme::CONTROL, up.then_some(Message::Disconnect(id))),
            false => {
                let may = up && self.connecting.is_none();
                compact(Icon::Link, "Connect", theme::CONTROL, may.then_some(Message::ConnectTo(id)))
            }
        };
        let block = compact(Icon::Ban, "Block", theme::CONTROL, up.then_some(Message::Block(id)));
        let mut more = row![connection, block].spacing(8);
        if peer.connected {
            more = more.push(compact(Icon::Gauge, "Test", theme::CONTROL, Some(Message::Measure(id))));
        }
        column![calls.spacing(8), more.wrap().vertical_spacing(8)].spacing(9).into()
    }
}

fn figures(peer: &PeerInfo) -> Element<'_, Message> {
    let mut list = column![].spacing(8);
    if peer.connected {
        let path = peer.path.map_or("not known yet", words::node::path);
        list = list
            .push(figure("Path", path))
            .push(figure("Latency, there and back", words::node::latency(peer.rtt_ms)))
            .push(figure("Jitter", words::node::latency(peer.jitter_ms)))
            .push(figure("Loss", words::node::loss(peer.loss)))
            .push(figure("Connected for", age(peer.connected_since_unix_ms)));
    } else {
        list = list.push(figure("Last seen", words::node::ago(peer.last_seen_unix_ms, unix_ms())));
    }
    let agent = if peer.agent.is_empty() { "not known yet" } else { peer.agent.as_str() };
    container(list.push(figure("Program", agent))).padding([12, 13]).style(theme::raised).into()
}

fn offers(peer: &PeerInfo) -> Element<'_, Message> {
    if peer.services.is_empty() {
        return muted("It has not said what it offers.").into();
    }
    let names = peer.services.iter().map(|service| {
        let words = row![
            icon(super::super::services::symbol(service), 13.0).color(theme::MUTED),
            text(words::node::service(service).0).size(theme::SMALL)
        ];
        container(words.spacing(6).align_y(Alignment::Center)).padding([4, 9]).style(theme::raised).into()
    });
    row(names).push(space()).spacing(6).wrap().vertical_spacing(6).into()
}
