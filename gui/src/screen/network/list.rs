//! The list of peers: in order, searched, and drawn only where it can be seen, so that a thousand rows cost no more than
//! ten.

use iced::widget::{button, column, container, responsive, row, scrollable, space, text};
use iced::{Alignment, Color, Element, Fill, Length, Size};
use kith_common::call::CallKind;
use kith_common::clock::unix_ms;
use kith_common::ids::PeerId;
use kith_common::node::{PeerInfo, PeerStatus};
use lucide_icons::Icon;

use super::Message;
use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{dot, icon, muted, small};
use crate::words;

/// Every line is as high as the others, so that its place follows from its number.
const LINE: f32 = 48.0;
/// Lines that are drawn above and below what can be seen: a fast wheel finds them there.
const MARGIN: usize = 4;
/// Below this width the columns that say least are left out.
const WIDE: f32 = 620.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Heading(&'static str, usize),
    /// Its place among the peers.
    Peer(usize),
}

#[derive(Debug, Default)]
pub struct List {
    /// Connected first, then those that are being dialed, the known, and the blocked.
    peers: Vec<PeerInfo>,
    search: String,
    /// What is found, with headings.
    lines: Vec<Line>,
    pub scrolled: f32,
}

fn section(peer: &PeerInfo) -> (u8, &'static str) {
    match peer.status {
        _ if peer.connected => (0, "Connected"),
        PeerStatus::Connected => (0, "Connected"),
        PeerStatus::Dialing => (1, "Connecting"),
        PeerStatus::Known => (2, "Routing table and address book"),
        PeerStatus::Blocked => (3, "Blocked"),
    }
}

impl List {
    pub fn take(&mut self, mut peers: Vec<PeerInfo>) {
        // By name where there is one; what was seen last before what was seen long ago.
        peers.sort_by_cached_key(|peer| {
            let name = peer.name.trim().to_lowercase();
            let seen = if peer.connected { 0 } else { -peer.last_seen_unix_ms };
            (section(peer).0, name.is_empty(), seen, name, peer.peer_id)
        });
        self.peers = peers;
        self.find();
    }

    pub fn search(&mut self, search: String) {
        self.search = search;
        self.find();
    }

    pub fn searched(&self) -> &str {
        &self.search
    }

    fn find(&mut self) {
        let sought = self.search.trim().to_lowercase();
        let words: Vec<&str> = sought.split_whitespace().collect();
        self.lines.clear();
        let mut heading: Option<usize> = None;
        let mut current = None;
        for (place, peer) in self.peers.iter().enumerate() {
            if !words.is_empty() && !fulfils(peer, &words) {
                continue;
            }
            let (number, name) = section(peer);
            if current != Some(number) {
                current = Some(number);
                heading = Some(self.lines.len());
                self.lines.push(Line::Heading(name, 0));
            }
            if let Some(Line::Heading(_, count)) = heading.and_then(|at| self.lines.get_mut(at)) {
                *count += 1;
            }
            self.lines.push(Line::Peer(place));
        }
    }

    pub fn get(&self, peer: PeerId) -> Option<&PeerInfo> {
        self.peers.iter().find(|info| info.peer_id == peer)
    }

    /// `3 connected, 37 known`
    pub fn counted(&self) -> String {
        let connected = self.peers.iter().filter(|peer| peer.connected).count();
        format!("{connected} connected, {} known", self.peers.len() - connected)
    }

    /// The peer that is `by` rows from `from`; the first when nothing is chosen yet.
    pub fn beside(&self, from: Option<PeerId>, by: isize) -> Option<PeerId> {
        let rows: Vec<PeerId> = self.lines.iter().filter_map(|line| self.peer(line)).map(|peer| peer.peer_id).collect();
        let at = from.and_then(|from| rows.iter().position(|peer| *peer == from));
        let next = at.map_or(0, |at| at.saturating_add_signed(by).min(rows.len().saturating_sub(1)));
        rows.get(next).copied()
    }

    fn peer(&self, line: &Line) -> Option<&PeerInfo> {
        match line {
            Line::Peer(place) => self.peers.get(*place),
            Line::Heading(..) => None,
        }
    }

    pub fn view(&self, selected: Option<PeerId>, up: bool) -> Element<'_, Message> {
        if self.lines.is_empty() {
            return self.nothing(up);
        }
        responsive(move |size| self.visible(selected, size)).into()
    }

    fn nothing(&self, up: bool) -> Element<'_, Message> {
        let (symbol, title, about) = match (self.peers.is_empty(), up) {
            (false, _) => {
                (Icon::Search, "Nobody is like that", "Names, peer ids, addresses, programs and paths are searched.")
            }
            (true, true) => (
                Icon::Waypoints,
                "Nobody yet",
                "Nodes of your network appear by themselves. To reach others, paste a ticket above.",
            ),
            (true, false) => (Icon::Unplug, "Your node is not running", "Its peers appear here as soon as it is."),
        };
        let empty = column![
            icon(symbol, 30.0).color(theme::OFF),
            text(title).size(theme::BODY),
            muted(about).align_x(Alignment::Center)
        ];
        container(empty.spacing(9).align_x(Alignment::Center).max_width(340)).center(Fill).into()
    }

    /// Which lines are drawn when `height` of the list can be seen.
    fn window(&self, height: f32) -> std::ops::Range<usize> {
        let total = self.lines.len();
        let past = (total as f32 * LINE - height).max(0.0);
        let top = (self.scrolled.clamp(0.0, past) / LINE) as usize;
        let shown = (height / LINE) as usize + 2;
        top.saturating_sub(MARGIN)..(top + shown + MARGIN).min(total)
    }

    fn visible(&self, selected: Option<PeerId>, size: Size) -> Element<'_, Message> {
        let columns = if size.width >= WIDE { Columns::All } else { Columns::Few };
        let head = header(columns);
        let window = self.window(size.height);
        let above = window.start as f32 * LINE;
        let below = (self.lines.len() - window.end) as f32 * LINE;
        let now = unix_ms();
        let lines = self.lines[window].iter().map(|line| match line {
            Line::Heading(name, count) => heading(name, *count),
            Line::Peer(place) => peer(&self.peers[*place], selected, columns, now),
        });
        let content = column![space().height(above), column(lines), space().height(below)];
        let bar = scrollable::Scrollbar::new().width(4).scroller_width(4).margin(1);
        let rows = scrollable(content)
            .direction(scrollable::Direction::Vertical(bar))
            .on_scroll(|view| Message::Scrolled(view.absolute_offset().y))
            .height(Fill)
            .style(theme::list);
        column![head, rows].spacing(2).into()
    }
}

fn fulfils(peer: &PeerInfo, words: &[&str]) -> bool {
    let path = peer.path.map_or("", words::node::path);
    let status = words::node::status(peer.status);
    let id = peer.peer_id.to_string();
    let fields = [peer.name.as_str(), &id, &peer.agent, path, status];
    let fields: Vec<String> =
        fields.into_iter().chain(peer.addresses.iter().map(String::as_str)).map(str::to_lowercase).collect();
    words.iter().all(|word| fields.iter().any(|field| field.contains(word)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    All,
    Few,
}

const FACE: f32 = 32.0;
const PATH: f32 = 66.0;
const LATENCY: f32 = 66.0;
const JITTER: f32 = 60.0;
const LOSS: f32 = 56.0;
const SEEN: f32 = 80.0;
const ACTIONS: f32 = 66.0;

fn cell<'a>(content: impl Into<Element<'a, Message>>, width: impl Into<Length>) -> Element<'a, Message> {
    container(content).width(width).clip(true).into()
}

fn header<'a>(columns: Columns) -> Element<'a, Message> {
    let name = |name: &'a str, width| cell(muted(name).size(theme::TINY), width);
    let mut line = row![cell(muted("Name").size(theme::TINY), Fill), name("Path", PATH), name("Latency", LATENCY)];
    if columns == Columns::All {
        line = line.push(name("Jitter", JITTER)).push(name("Loss", LOSS)).push(name("Last seen", SEEN));
    }
    container(line.push(space().width(ACTIONS)).spacing(6)).padding([0, 10]).into()
}

fn heading<'a>(name: &'a str, count: usize) -> Element<'a, Message> {
    let words = row![text(name).size(13).font(theme::STRONG), muted(count.to_string())].spacing(8);
    container(words.align_y(Alignment::Center)).height(LINE).padding([8, 6]).align_y(Alignment::End).into()
}

fn symbol(status: PeerStatus) -> Icon {
    if status == PeerStatus::Blocked { Icon::Ban } else { Icon::Waypoints }
}

/// A colour for how well a peer is connected.
pub fn colour(peer: &PeerInfo) -> Color {
    match peer.status {
        PeerStatus::Blocked => theme::POOR,
        PeerStatus::Dialing => theme::ACCENT,
        _ if !peer.connected => theme::OFF,
        _ => match (peer.rtt_ms, peer.loss) {
            (_, Some(loss)) if loss > 0.03 => theme::FAIR,
            (Some(rtt), _) if rtt >= 80.0 => theme::FAIR,
            _ => theme::GOOD,
        },
    }
}

fn peer(peer: &PeerInfo, selected: Option<PeerId>, columns: Columns, now: i64) -> Element<'_, Message> {
    let id = peer.peer_id;
    let name = words::name(&peer.name, Some(id));
    let about = match (peer.status, peer.agent.as_str()) {
        (PeerStatus::Blocked, _) => "blocked".to_owned(),
        (PeerStatus::Dialing, _) => "connecting…".to_owned(),
        (_, "") => words::short_id(&id),
        (_, agent) => format!("{} · {agent}", id.short()),
    };
    let who = column![
        text(name.clone()).size(theme::BODY).wrapping(text::Wrapping::None),
        row![dot(colour(peer)), muted(about).size(theme::TINY).wrapping(text::Wrapping::None)]
            .spacing(6)
            .align_y(Alignment::Center)
    ]
    .spacing(2);
    let figure = |words: String, width| {
        let colour = if peer.connected { theme::TEXT } else { theme::OFF };
        cell(text(words).size(13).color(colour).wrapping(text::Wrapping::None), width)
    };
    let path = peer.path.map_or("–", words::node::path).to_owned();
    // Initials of a number say nothing.
    let face: Element<'_, Message> = match peer.name.trim().is_empty() {
        true => container(icon(symbol(peer.status), 15.0).color(theme::MUTED))
            .center(FACE)
            .style(theme::disc(theme::CONTROL, FACE))
            .into(),
        false => avatar(&name, &id.to_string(), FACE),
    };
    let name = row![face, container(who).width(Fill).clip(true)].spacing(10).width(Fill);
    let mut line =
        row![name.align_y(Alignment::Center), figure(path, PATH), figure(words::node::latency(peer.rtt_ms), LATENCY)];
    if columns == Columns::All {
        let seen = if peer.connected { "now".to_owned() } else { words::node::ago(peer.last_seen_unix_ms, now) };
        line = line
            .push(figure(words::node::latency(peer.jitter_ms.filter(|_| peer.connected)), JITTER))
            .push(figure(words::node::loss(peer.loss), LOSS))
            .push(figure(seen, SEEN));
    }
    let actions: Element<'_, Message> = match peer.status {
        PeerStatus::Blocked => space().width(ACTIONS).into(),
        _ => container(row![
            small(Icon::Phone, "Voice call", Message::Call(id, CallKind::Voice)),
            small(Icon::Video, "Video call", Message::Call(id, CallKind::Video)),
        ])
        .width(ACTIONS)
        .into(),
    };
    button(line.push(actions).spacing(6).align_y(Alignment::Center).height(Fill))
        .padding([0, 10])
        .width(Fill)
        .height(LINE)
        .on_press(Message::Select(id))
        .style(theme::chosen_button((selected == Some(id)).into()))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(key: u16, name: &str, status: PeerStatus) -> PeerInfo {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&key.to_be_bytes());
        let addresses = vec![format!("/ip4/192.0.2.{}/udp/9999/quic-v1", key % 250)];
        PeerInfo { name: name.into(), addresses, ..PeerInfo::new(PeerId::from_public_key(bytes), status) }
    }

    fn names(list: &List) -> Vec<&str> {
        list.lines.iter().map(|line| list.peer(line).map_or("-", |peer| peer.name.as_str())).collect()
    }

    #[test]
    fn the_connected_stand_first_and_the_blocked_last() {
        let mut list = List::default();
        list.take(vec![
            peer(1, "Zoe", PeerStatus::Blocked),
            peer(2, "Ben", PeerStatus::Known),
            peer(3, "Cleo", PeerStatus::Connected),
            peer(4, "Ada", PeerStatus::Connected),
        ]);
        assert_eq!(names(&list), ["-", "Ada", "Cleo", "-", "Ben", "-", "Zoe"]);
        assert_eq!(list.lines[0], Line::Heading("Connected", 2));
    }

    #[test]
    fn every_word_of_a_search_must_be_found_somewhere() {
        let mut list = List::default();
        list.take((0..50).map(|key| peer(key, &format!("Node number {key}"), PeerStatus::Known)).collect());
        list.search("number 192.0.2.17".into());
        assert_eq!(names(&list), ["-", "Node number 17"]);
        list.search("nobody".into());
        assert!(list.lines.is_empty());
    }

    #[test]
    fn of_a_thousand_rows_only_those_in_sight_are_drawn() {
        let mut list = List::default();
        list.take((0..1000).map(|key| peer(key, "", PeerStatus::Known)).collect());
        for scrolled in [0.0, 5_000.0, 1e9] {
            list.scrolled = scrolled;
            let window = list.window(600.0);
            assert!(window.len() <= 600 / LINE as usize + 2 + 2 * MARGIN, "{scrolled}: {window:?}");
            assert!(window.end <= list.lines.len());
        }
        assert_eq!(list.window(600.0).end, 1001, "the end can be reached");
    }

    #[test]
    fn keys_move_the_choice_within_the_list() {
        let mut list = List::default();
        list.take(vec![peer(1, "Ada", PeerStatus::Connected), peer(2, "Ben", PeerStatus::Known)]);
        let (ada, ben) = (list.peers[0].peer_id, list.peers[1].peer_id);
        assert_eq!(list.beside(None, 1), Some(ada));
        assert_eq!(list.beside(Some(ada), 1), Some(ben));
        assert_eq!(list.beside(Some(ben), 1), Some(ben));
        assert_eq!(list.beside(Some(ada), -1), Some(ada));
    }
}
