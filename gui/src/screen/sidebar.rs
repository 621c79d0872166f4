//! Who I am, how my node does, and the people I can call.

use std::collections::BTreeSet;

use iced::widget::{button, column, container, row, space, text};
use iced::{Alignment, Color, Element, Fill};
use kith_common::call::CallKind;
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use kith_common::node::{Identity, NodeStatus, Path, PeerInfo, PeerStatus, ServiceState};
use lucide_icons::Icon;

use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{dot, heading, icon, labelled, muted, scroll, small};
use crate::words;

/// Rows that are drawn here; whoever knows more people searches for them in the network screen.
const PEOPLE: usize = 60;

/// How the daemon does, as far as the window knows.
#[derive(Debug, Clone, Default)]
pub enum Node {
    #[default]
    Connecting,
    Trying(String),
    Up {
        identity: Identity,
        status: NodeStatus,
    },
    Lost(Failure),
}

impl Node {
    /// A colour and a few words.
    pub fn health(&self) -> (Color, String) {
        match self {
            Self::Connecting => (theme::FAIR, "Connecting".into()),
            Self::Trying(_) => (theme::FAIR, "Starting your node".into()),
            Self::Lost(_) => (theme::POOR, "Node not running".into()),
            Self::Up { status, .. } => {
                let failed = status.services.iter().find(|service| service.state == ServiceState::Failed);
                match failed {
                    Some(service) => (theme::POOR, format!("Port {} is in trouble", service.wanted_port)),
                    None if status.services.iter().any(|service| service.state == ServiceState::Starting) => {
                        (theme::FAIR, "Starting".into())
                    }
                    None => (theme::GOOD, "Ready for calls".into()),
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
pub enum Message {
    CopyTicket,
    /// More than fit here.
    Everybody,
    Call(PeerId, CallKind),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    None,
    Copy(String),
    Everybody,
    Place { target: String, kind: CallKind },
}

/// Whether the ticket has just been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copied {
    Yes,
    #[default]
    No,
}

#[derive(Debug, Default)]
pub struct Sidebar {
    pub node: Node,
    /// People: who is connected, or has said a name. The rest of a routing table stands in the network screen.
    pub peers: Vec<PeerInfo>,
    /// How many are known besides.
    others: usize,
    /// Nodes that are no people: the echoes of test calls.
    pub hidden: BTreeSet<PeerId>,
    pub copied: Copied,
}

/// Whether a call may be placed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free {
    Yes,
    No,
}

impl Sidebar {
    pub fn update(&mut self, message: Message) -> Action {
        match message {
            Message::CopyTicket => match &self.node {
                Node::Up { identity, .. } => {
                    self.copied = Copied::Yes;
                    Action::Copy(identity.ticket.clone())
                }
                _ => Action::None,
            },
            Message::Everybody => Action::Everybody,
            Message::Call(peer, kind) => Action::Place { target: peer.to_string(), kind },
        }
    }

    /// Takes in who is there.
    pub fn hear(&mut self, peers: &[PeerInfo]) {
        let person =
            |peer: &&PeerInfo| peer.connected || (!peer.name.trim().is_empty() && peer.status != PeerStatus::Blocked);
        self.peers = peers.iter().filter(person).take(PEOPLE).cloned().collect();
        self.others = peers.len() - self.peers.len();
    }

    pub fn view(&self, free: Free) -> Element<'_, Message> {
        let brand = row![
            icon(Icon::Webcam, 20.0).color(theme::ACCENT),
            text("Kith").size(18).font(theme::STRONG),
            space::horizontal(),
            icon(Icon::Lock, 12.0).color(theme::GOOD),
            muted("end-to-end encrypted").size(theme::TINY),
        ]
        .spacing(7)
        .align_y(Alignment::Center)
        .padding([2, 4]);
        let people = row![heading("People"), space::horizontal(), muted(self.connected())]
            .align_y(Alignment::Center)
            .padding([0, 4]);
        let content = column![brand, self.me(), people, self.people(free)].spacing(14).height(Fill);
        container(content).padding(14).width(290).height(Fill).style(theme::panel).into()
    }

    fn shown(&self) -> impl Iterator<Item = &PeerInfo> {
        self.peers.iter().filter(|peer| !self.hidden.contains(&peer.peer_id))
    }

    fn connected(&self) -> String {
        match self.shown().filter(|peer| peer.connected).count() {
            0 => String::new(),
            count => format!("{count} connected"),
        }
    }

    fn me(&self) -> Element<'_, Message> {
        let (colour, health) = self.node.health();
        let state = row![dot(colour), muted(health)].spacing(7).align_y(Alignment::Center);
        let who: Element<'_, Message> = match &self.node {
            Node::Up { identity, .. } => {
                let name = words::name(&identity.name, Some(identity.peer_id));
                let about = column![
                    text(name.clone()).size(15).font(theme::STRONG).wrapping(text::Wrapping::None),
                    muted(words::short_id(&identity.peer_id)).size(theme::TINY),
                    state
                ]
                .spacing(3);
                row![avatar(&name, &identity.peer_id.to_string(), 46.0), container(about).clip(true).width(Fill)]
                    .spacing(12)
                    .align_y(Alignment::Center)
                    .into()
            }
            _ => row![
                container(icon(Icon::User, 20.0).color(theme::MUTED))
                    .center(46)
                    .style(theme::disc(theme::CONTROL, 46.0)),
                column![text("This machine").size(15).font(theme::STRONG), state].spacing(3)
            ]
            .spacing(12)
            .align_y(Alignment::Center)
            .into(),
        };
        let (symbol, label, colour) = match self.copied {
            Copied::Yes => (Icon::Check, "Copied", theme::GOOD),
            Copied::No => (Icon::Copy, "Copy my ticket", theme::CONTROL),
        };
        let up = matches!(self.node, Node::Up { .. });
        let copy = labelled(symbol, label, colour, up.then_some(Message::CopyTicket)).width(Fill);
        container(column![who, copy].spacing(13)).padding(13).style(theme::raised).into()
    }

    fn people(&self, free: Free) -> Element<'_, Message> {
        if self.shown().next().is_none() {
            let empty = column![
                icon(Icon::UsersRound, 30.0).color(theme::OFF),
                text("Nobody yet").size(theme::BODY),
                muted("Send your ticket to somebody, or paste theirs on the right. Nodes of your network appear here.")
                    .align_x(Alignment::Center)
            ]
            .spacing(9)
            .align_x(Alignment::Center);
            return container(empty).center_x(Fill).padding([26, 14]).into();
        }
        let mut rows = column(self.shown().map(|peer| person(peer, free))).spacing(2);
        if self.others > 0 {
            let more =
                row![icon(Icon::Waypoints, 13.0), text(format!("{} more nodes", self.others)).size(theme::SMALL)];
            let more = button(more.spacing(9).align_y(Alignment::Center)).padding([9, 12]).width(Fill);
            rows = rows.push(more.on_press(Message::Everybody).style(theme::quiet_button));
        }
        scroll(rows)
    }
}

fn person(peer: &PeerInfo, free: Free) -> Element<'_, Message> {
    let name = words::name(&peer.name, Some(peer.peer_id));
    let path = match peer.path {
        Some(Path::Lan) => "LAN",
        Some(Path::Direct) => "direct",
        Some(Path::Relayed) => "relayed",
        Some(Path::Tor) => "over Tor",
        None => "",
    };
    let (colour, about) = match (peer.connected, peer.rtt_ms) {
        (false, _) => (theme::OFF, "not connected".to_owned()),
        (true, None) => (theme::GOOD, path.to_owned()),
        (true, Some(rtt)) => {
            let colour = if rtt < 80.0 { theme::GOOD } else { theme::FAIR };
            let rtt = if rtt < 1.0 { "< 1 ms".to_owned() } else { format!("{rtt:.0} ms") };
            (colour, if path.is_empty() { rtt } else { format!("{rtt} · {path}") })
        }
    };
    let who = column![
        text(name.clone()).size(theme::BODY).wrapping(text::Wrapping::None),
        row![dot(colour), muted(about).size(theme::TINY).wrapping(text::Wrapping::None)]
            .spacing(6)
            .align_y(Alignment::Center)
    ]
    .spacing(3);
    let mut line = row![avatar(&name, &peer.peer_id.to_string(), 36.0), container(who).clip(true).width(Fill)]
        .spacing(11)
        .align_y(Alignment::Center);
    if free == Free::Yes {
        line = line.push(
            row![
                small(Icon::Phone, "Voice call", Message::Call(peer.peer_id, CallKind::Voice)),
                small(Icon::Video, "Video call", Message::Call(peer.peer_id, CallKind::Video)),
            ]
            .spacing(0),
        );
        return button(line)
            .padding([7, 6])
            .width(Fill)
            .on_press(Message::Call(peer.peer_id, CallKind::Video))
            .style(theme::row_button)
            .into();
    }
    container(line).padding([7, 6]).width(Fill).into()
}
