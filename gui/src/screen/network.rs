//! Who is there and how this node is reached: connected peers first, then the routing table; connecting, blocking and
//! calling from the list; and the addresses of this machine with what they mean.

mod card;
mod list;
mod peer;

use std::time::Instant;

use iced::widget::{column, container, responsive, row, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::call::CallKind;
use kith_common::diagnostics::NetworkState;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use kith_common::target::Target;
use lucide_icons::Icon;

use super::Wish;
use super::sidebar::Node;
use crate::link::{Errand, Job, News};
use crate::theme;
use crate::widget::parts::{compact, dot, icon, labelled, muted, notice, small};
use crate::words;
use list::List;

pub const TARGET: &str = "connect-target";
pub const SEARCH: &str = "peer-search";
/// From this width on there is room for a broad panel beside the list.
const WIDE: f32 = 940.0;

#[derive(Debug, Clone)]
pub enum Message {
    Search(String),
    Scrolled(f32),
    Target(String),
    Paste,
    Pasted(Option<String>),
    Connect,
    CancelConnect,
    /// Connects to a peer of the list.
    ConnectTo(PeerId),
    Dismiss,
    Select(PeerId),
    Unselect,
    Disconnect(PeerId),
    /// Asks whether to.
    Block(PeerId),
    BlockSurely(PeerId),
    KeepPeer,
    Unblock(PeerId),
    CancelWork,
    Call(PeerId, CallKind),
    Measure(PeerId),
    Copy(String),
}

/// What came of the last thing that was asked for here.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Good(String),
    Bad(Failure),
}

#[derive(Debug)]
struct Connecting {
    job: Job,
    name: String,
    since: Instant,
}

/// Something is being done to the peer that is looked at.
#[derive(Debug)]
struct Work {
    job: Job,
    doing: &'static str,
    done: String,
}

#[derive(Debug, Default)]
pub struct Network {
    list: List,
    /// How this node is reached; `None` until the daemon has said.
    pub state: Option<Result<NetworkState, Failure>>,
    pub target: String,
    pub outcome: Option<Outcome>,
    pub selected: Option<PeerId>,
    connecting: Option<Connecting>,
    work: Option<Work>,
    /// Blocking this one has been asked for, not confirmed.
    blocking: Option<PeerId>,
}

impl Network {
    pub fn hear_peers(&mut self, peers: Vec<PeerInfo>) {
        self.list.take(peers);
        if self.selected.is_some_and(|peer| self.list.get(peer).is_none()) {
            self.selected = None;
        }
    }

    /// The daemon is gone, and with it everything that it was asked.
    pub fn lost(&mut self) {
        self.list.take(Vec::new());
        self.state = None;
        self.selected = None;
        self.work = None;
        self.blocking = None;
        if self.connecting.take().is_some() {
            let failure = Failure::new(FailureKind::NoDaemon, "your node stopped before the connection was made");
            self.outcome = Some(Outcome::Bad(failure.advise("Wait until it runs again and try again.")));
        }
    }

    /// Whether something moves here by itself.
    pub fn busy(&self) -> bool {
        self.connecting.is_some() || self.work.is_some()
    }

    pub fn name_of(&self, peer: PeerId) -> String {
        words::name(self.list.get(peer).map_or("", |info| &info.name), Some(peer))
    }

    pub fn news(&mut self, job: Job, news: &News) {
        if self.connecting.as_ref().is_some_and(|connecting| connecting.job == job) {
            match news {
                News::Peer(peer) => {
                    self.outcome = Some(Outcome::Good(words::node::connected(peer)));
                    self.target.clear();
                }
                News::Failed(failure) => self.outcome = Some(Outcome::Bad(failure.clone())),
                _ => return,
            }
            self.connecting = None;
        } else if self.work.as_ref().is_some_and(|work| work.job == job) {
            let Some(work) = self.work.take() else { return };
            self.outcome = Some(match news {
                News::Failed(failure) => Outcome::Bad(failure.clone()),
                _ => Outcome::Good(work.done),
            });
        }
    }

    pub fn update(&mut self, message: Message) -> Wish {
        match message {
            Message::Search(search) => self.list.search(search),
            Message::Scrolled(offset) => self.list.scrolled = offset,
            Message::Target(target) => {
                self.target = target;
                self.outcome = None;
            }
            Message::Paste => return Wish::Paste,
            Message::Pasted(content) => {
                if let Some(content) = content {
                    self.target = content.trim().to_owned();
                    self.outcome = None;
                }
            }
            Message::Connect => return self.connect(),
            Message::ConnectTo(peer) => return self.begin(peer.to_string(), self.name_of(peer)),
            Message::CancelConnect => {
                if let Some(connecting) = self.connecting.take() {
                    return Wish::Cancel(connecting.job);
                }
            }
            Message::Dismiss => self.outcome = None,
            Message::Select(peer) => {
                self.selected = (self.selected != Some(peer)).then_some(peer);
                self.blocking = None;
            }
            Message::Unselect => {
                self.selected = None;
                self.blocking = None;
            }
            Message::Disconnect(peer) => {
                let done = format!("Disconnected from {}.", self.name_of(peer));
                return self.work(Errand::Disconnect(peer), "Disconnecting", done);
            }
            Message::Block(peer) => self.blocking = Some(peer),
            Message::KeepPeer => self.blocking = None,
            Message::BlockSurely(peer) => {
                self.blocking = None;
                let done = format!("{} is blocked until you unblock it.", self.name_of(peer));
                return self.work(Errand::Block(peer), "Blocking", done);
            }
            Message::Unblock(peer) => {
                let done = format!("{} may connect again.", self.name_of(peer));
                return self.work(Errand::Unblock(peer), "Unblocking", done);
            }
            Message::CancelWork => {
                if let Some(work) = self.work.take() {
                    return Wish::Cancel(work.job);
                }
            }
            Message::Call(peer, kind) => {
                self.outcome = None;
                return Wish::Call(peer, kind);
            }
            Message::Measure(peer) => return Wish::Measure(peer),
            Message::Copy(content) => return Wish::Copy(content),
        }
        Wish::Nothing
    }

    /// Up and down in the list.
    pub fn step(&mut self, by: isize) {
        if let Some(peer) = self.list.beside(self.selected, by) {
            self.selected = Some(peer);
            self.blocking = None;
        }
    }

    fn connect(&mut self) -> Wish {
        let target = self.target.trim().to_owned();
        if let Err(error) = target.parse::<Target>() {
            let failure = Failure::new(FailureKind::InvalidArgument, error.to_string())
                .advise("Ask them to press “Copy my ticket” and to send you what is copied.");
            self.outcome = Some(Outcome::Bad(failure));
            return Wish::Nothing;
        }
        let name = shortened(&target);
        self.begin(target, name)
    }

    fn begin(&mut self, target: String, name: String) -> Wish {
        if self.connecting.is_some() {
            return Wish::Nothing;
        }
        let job = Job::next();
        self.outcome = None;
        self.connecting = Some(Connecting { job, name, since: Instant::now() });
        Wish::Start(job, Errand::Connect(target))
    }

    fn work(&mut self, errand: Errand, doing: &'static str, done: String) -> Wish {
        if self.work.is_some() {
            return Wish::Nothing;
        }
        let job = Job::next();
        self.outcome = None;
        self.work = Some(Work { job, doing, done });
        Wish::Start(job, errand)
    }

    pub fn view<'a>(&'a self, node: &'a Node, copied: Option<&'a str>) -> Element<'a, Message> {
        responsive(move |size| self.laid_out(node, copied, size.width)).into()
    }

    fn laid_out<'a>(&'a self, node: &'a Node, copied: Option<&'a str>, width: f32) -> Element<'a, Message> {
        let up = matches!(node, Node::Up { .. });
        let head = row![text("Network").size(theme::TITLE).font(theme::STRONG), muted(self.list.counted()).size(13)]
            .spacing(12)
            .align_y(Alignment::End);
        let mut left = column![head, self.connect_bar(up)].spacing(14).width(Fill).height(Fill);
        if let Some(about) = self.about(node) {
            left = left.push(about);
        }
        let search = text_input("Search by name, id, address or program", self.list.searched())
            .id(SEARCH)
            .on_input(Message::Search)
            .padding([9, 12])
            .size(13)
            .style(theme::input);
        left = left.push(search).push(self.list.view(self.selected, up));
        let right = match self.selected.and_then(|peer| self.list.get(peer)) {
            Some(peer) => self.peer(peer, up, copied),
            None => card::view(node, self.state.as_ref(), &self.list, copied),
        };
        let side = if width >= WIDE { 346 } else { 282 };
        row![
            container(left).padding([18, 18]).width(Fill).height(Fill).style(theme::panel),
            container(right).width(side).height(Fill).style(theme::panel)
        ]
        .spacing(12)
        .into()
    }

    fn connect_bar(&self, up: bool) -> Element<'_, Message> {
        let ready = up && !self.target.trim().is_empty() && self.connecting.is_none();
        let input = text_input("Ticket, peer id or address", &self.target)
            .id(TARGET)
            .on_input(Message::Target)
            .on_submit_maybe(ready.then_some(Message::Connect))
            .padding([11, 13])
            .size(theme::BODY)
            .style(theme::input);
        row![
            input,
            small(Icon::ClipboardPaste, "Paste", Message::Paste),
            labelled(Icon::Link, "Connect", theme::ACCENT, ready.then_some(Message::Connect)).width(132)
        ]
        .spacing(8)
        .align_y(Alignment::Center)
        .into()
    }

    /// What is going on, or has come of it.
    fn about(&self, node: &Node) -> Option<Element<'_, Message>> {
        if let Some(connecting) = &self.connecting {
            let words = format!("Connecting to {}…", connecting.name);
            let time = words::node::waited(connecting.since.elapsed());
            let line = row![
                icon(Icon::LoaderCircle, 16.0).color(theme::ACCENT),
                container(text(words).size(theme::BODY).wrapping(text::Wrapping::None)).clip(true).width(Fill),
                muted(time),
                compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelConnect))
            ]
            .spacing(11)
            .align_y(Alignment::Center);
            return Some(container(line).padding([7, 9]).style(theme::notice(theme::ACCENT)).into());
        }
        if let (Node::Lost(failure), None) = (node, &self.outcome) {
            let (sentence, advice) = words::node::failure(failure);
            return Some(notice(Icon::Unplug, theme::POOR, sentence, advice));
        }
        let told: Element<'_, Message> = match self.outcome.as_ref()? {
            Outcome::Good(sentence) => notice(Icon::CircleCheck, theme::GOOD, sentence.as_str(), ""),
            Outcome::Bad(failure) => {
                let (sentence, advice) = words::node::failure(failure);
                notice(Icon::CircleAlert, theme::POOR, sentence, advice)
            }
        };
        Some(row![told, small(Icon::X, "Dismiss", Message::Dismiss)].spacing(4).align_y(Alignment::Center).into())
    }

    /// What is being done to the peer that is looked at, with the way to call it off.
    fn working(&self) -> Option<Element<'_, Message>> {
        let work = self.work.as_ref()?;
        let line = row![
            dot(theme::ACCENT),
            text(format!("{}…", work.doing)).size(theme::BODY).width(Fill),
            compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelWork))
        ];
        Some(line.spacing(10).align_y(Alignment::Center).into())
    }
}

/// A ticket is longer than its reader's patience.
fn shortened(target: &str) -> String {
    const SHOWN: usize = 34;
    match target.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &target[..end]),
        None => target.to_owned(),
    }
}

/// How long a peer's connection has been there.
fn age(then_unix_ms: i64) -> String {
    words::node::since(then_unix_ms, kith_common::clock::unix_ms())
}
