//! The Files screen as it is drawn: what can be typed or dropped above, and the lines below, of which those in sight are
//! built.

use iced::widget::{button, column, container, opaque, row, space, stack, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::clock::unix_ms;
use kith_common::contact::{Contact, People};
use kith_common::file::{Share, ShareScope};
use kith_common::ids::PeerId;
use kith_common::node::ServiceState;
use lucide_icons::Icon;

use super::cursor::Led;
use super::lines::{self, Line, Section};
use super::people::Choice;
use super::shares::HELD;
use super::typed::{Typed, typed};
use super::{Files, Filter, Message, SEARCH, TARGET};
use crate::desktop::What;
use crate::screen::sidebar::Node;
use crate::theme;
use crate::widget::parts::{compact, icon, labelled, muted, notice, small};
use crate::widget::rows::{Aim, Wanted, rows};
use crate::words;
use crate::words::files as say;

/// What the lines are drawn with.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub people: &'a People,
    pub copied: Option<&'a str>,
    pub now: i64,
}

impl Around<'_> {
    /// What to call somebody: as the user named them, else as is known besides.
    pub fn name(&self, peer: PeerId, otherwise: &str) -> String {
        let contact = self.people.contacts.iter().find(|contact| contact.peer_id == peer);
        let given = contact.map_or(otherwise, |contact| match contact.name.trim() {
            "" => contact.own_name.as_str(),
            name => name,
        });
        words::name(&words::chat::one_line(given), Some(peer))
    }
}

impl Files {
    pub fn view<'a>(&'a self, node: &'a Node, people: &'a People, copied: Option<&'a str>) -> Element<'a, Message> {
        let around = Around { people, copied, now: unix_ms() };
        let up = matches!(node, Node::Up { .. });
        let mut head = column![self.title(), self.field(up)].spacing(12);
        head = head.push(self.with_whom(around));
        for told in self.told(node) {
            head = head.push(told);
        }
        if let Some(trouble) = &self.trouble {
            let (sentence, advice) = words::node::failure(trouble);
            let told = notice(Icon::CircleAlert, theme::POOR, sentence, advice);
            head = head
                .push(row![told, small(Icon::X, "Dismiss", Message::Dismiss)].spacing(4).align_y(Alignment::Center));
        }
        if let Some(share) = &self.shared {
            head = head.push(just_shared(share, around));
        }
        head = head.push(self.search());
        let page = column![container(head).padding(iced::padding::all(18).bottom(8)), self.list(node, around)];
        let mut layers = stack![container(page).width(Fill).height(Fill).style(theme::panel)];
        if self.hovered {
            layers = layers.push(hovered(say::get_it(self.scope)));
        }
        if let Some(dialog) = self.settings_view(copied) {
            layers = layers.push(dialog);
        }
        layers.into()
    }

    fn title(&self) -> Element<'_, Message> {
        let counted = self.state().map_or_else(String::new, |state| {
            let live = state.transfers.iter().filter(|transfer| transfer.state.is_live()).count();
            match live {
                0 => format!("{} shared", state.shares),
                1 => format!("1 transfer, {} shared", state.shares),
                live => format!("{live} transfers, {} shared", state.shares),
            }
        });
        row![
            text("Files").size(theme::TITLE).font(theme::STRONG),
            container(muted(counted).size(13)).padding(iced::padding::bottom(3)).width(Fill),
            compact(Icon::Settings2, "Settings", theme::CONTROL, Some(Message::ShowSettings))
        ]
        .spacing(12)
        .align_y(Alignment::End)
        .into()
    }

    /// One field for what is to be shared and what is to be fetched: each looks different.
    fn field(&self, up: bool) -> Element<'_, Message> {
        let (symbol, label, ready) = match typed(&self.target) {
            Typed::Path(_) => (Icon::Share2, "Share", true),
            Typed::Content(_) if self.asking() => (Icon::Loader, "Asking…", false),
            Typed::Content(_) => (Icon::Download, "Fetch", true),
            Typed::Nothing => (Icon::Share2, "Share or fetch", false),
            Typed::Neither(_) => (Icon::Share2, "Share or fetch", true),
        };
        let ready = (up && ready).then_some(Message::Submit);
        let input = text_input("A path to share, or a ticket or hash to fetch", &self.target)
            .id(TARGET)
            .on_input(Message::Target)
            .on_submit_maybe(ready.clone())
            .padding([11, 14])
            .size(theme::BODY)
            .style(theme::input);
        let choose = |symbol, meaning, what| small(symbol, meaning, Message::Choose(what));
        row![
            input,
            choose(Icon::FilePlus, "Choose files to share", What::Files),
            choose(Icon::FolderPlus, "Choose a folder to share", What::Folder),
            small(Icon::ClipboardPaste, "Paste", Message::Paste),
            labelled(symbol, label, theme::ACCENT, ready).width(176)
        ]
        .spacing(6)
        .align_y(Alignment::Center)
        .into()
    }

    fn with_whom(&self, around: Around<'_>) -> Element<'_, Message> {
        let scopes = [ShareScope::Anyone, ShareScope::Contacts, ShareScope::Peers];
        let choices = scopes.map(|scope| chip(say::scope(scope), self.scope == scope, Message::Scope(scope)));
        let mut line = row![muted("Share with")].spacing(5).align_y(Alignment::Center);
        line = line.extend(choices);
        if self.scope == ShareScope::Peers {
            let choice = Choice {
                fits: |contact: &Contact| !contact.blocked,
                chosen: |peer| self.with.contains(&peer),
                sought: &self.find,
                find: Message::Find,
            };
            line = line.push(icon(Icon::ChevronRight, 14.0).color(theme::MUTED));
            line = line.extend(choice.view(around, Message::With));
        }
        line.wrap().into()
    }

    /// What the node has to say before anything else.
    fn told<'a>(&'a self, node: &'a Node) -> Vec<Element<'a, Message>> {
        let mut list = Vec::new();
        match node {
            Node::Lost(failure) => {
                let (sentence, advice) = words::node::failure(failure);
                list.push(notice(Icon::Unplug, theme::POOR, sentence, advice));
            }
            Node::Connecting => {}
            Node::Trying(what) => list.push(notice(Icon::Loader, theme::FAIR, what.as_str(), "")),
            Node::Up { status, .. } => {
                let service = status.services.iter().find(|service| service.name == "files");
                if service.is_some_and(|service| service.state == ServiceState::Stopped) {
                    let advice = "Start it again under Services.";
                    let sentence = "The files service is stopped: nothing is sent or offered; what you fetch goes on.";
                    list.push(notice(Icon::Info, theme::FAIR, sentence, advice));
                }
                if let Some(Err(failure)) = &self.state {
                    let (sentence, advice) = words::node::refusal(failure, "of files");
                    list.push(notice(Icon::Info, theme::FAIR, sentence, advice));
                }
            }
        }
        list
    }

    fn search(&self) -> Element<'_, Message> {
        let filters = Filter::ALL.map(|filter| chip(filter.name(), self.filter == filter, Message::Show(filter)));
        let input = text_input("Search names, paths, people, hashes", &self.shares.search)
            .id(SEARCH)
            .on_input(Message::Search)
            .padding([8, 12])
            .size(13)
            .style(theme::input);
        row![row(filters).spacing(5), space().width(8), input].align_y(Alignment::Center).into()
    }

    fn list<'a>(&'a self, node: &'a Node, around: Around<'a>) -> Element<'a, Message> {
        if self.lines.is_empty() {
            return self.nothing(node);
        }
        let keys = lines::keys(&self.lines, |at| self.shares.list.get(at).map_or(0, |share| share.position));
        let here = self.here().filter(|_| self.led == Led::Cursor).and_then(|here| keys.get(here));
        let wanted = Wanted { number: self.tops, aim: here.map_or(Aim::Top, |key| Aim::Near(*key)) };
        let list = rows(keys, wanted, Message::Sight, move |at| self.line(at, around));
        container(list).height(Fill).into()
    }

    fn line<'a>(&'a self, at: usize, around: Around<'a>) -> Element<'a, Message> {
        let Some(line) = self.lines.get(at) else { return space().into() };
        let state = self.state();
        let drawn = match *line {
            Line::Heading(section, count) => Some(heading(section, count)),
            Line::Offer(at) => state.and_then(|state| Some(self.offer(state.offers.get(at)?, around))),
            Line::Adding(at) => self.adding.get(at).map(|adding| adding.view(Message::GiveUp(adding.path.clone()))),
            Line::Transfer(at) => state.and_then(|state| Some(self.going(state.transfers.get(at)?, around))),
            Line::Finished(at) => state.and_then(|state| Some(self.finished(state.transfers.get(at)?, around))),
            Line::Upload(at) => state.and_then(|state| Some(super::transfer::upload(state.uploads.get(at)?, around))),
            Line::Share(at) => self.shares.list.get(at).map(|share| self.share_line(share, around)),
            Line::Older(count) => {
                let label = format!("{count} more have arrived");
                Some(compact(Icon::ListStart, label, theme::CONTROL, Some(Message::Show(Filter::Finished))).into())
            }
            Line::Cut => Some(muted(format!("These are the newest {HELD}. Search for older ones.")).into()),
        };
        let drawn = drawn.unwrap_or_else(|| space().into());
        let drawn = match self.is_here(*line) {
            true => container(drawn).padding(2).style(theme::notice(theme::ACCENT)).into(),
            false => drawn,
        };
        container(drawn).padding([4, 18]).width(Fill).into()
    }

    fn nothing<'a>(&'a self, node: &'a Node) -> Element<'a, Message> {
        let searched = !self.shares.search.trim().is_empty();
        let (symbol, title, about) = match (node, &self.state) {
            (Node::Up { .. }, None) => (Icon::Loader, "Asking your node…", ""),
            (Node::Up { .. }, Some(Err(_))) => (Icon::Folder, "Nothing is known of files", ""),
            (Node::Up { .. }, Some(_)) if searched => {
                (Icon::Search, "Nothing is like that", "Names, paths, people and hashes are searched.")
            }
            (Node::Up { .. }, Some(_)) if self.filter == Filter::All => (
                Icon::HardDriveDownload,
                "Drop a file or folder here",
                "It is shared where it is, without a copy. What you fetch is checked as it arrives, goes on by itself \
                 after a break, and is saved where this screen tells you.",
            ),
            (Node::Up { .. }, Some(_)) => (Icon::Folder, "Nothing here", "Look under “All”."),
            _ => (Icon::Unplug, "Your node is not running", "Your files appear here as soon as it is."),
        };
        let empty = column![
            icon(symbol, 34.0).color(theme::OFF),
            text(title).size(theme::BODY),
            muted(about).align_x(Alignment::Center)
        ];
        container(empty.spacing(10).align_x(Alignment::Center).max_width(420)).center(Fill).into()
    }
}

/// One of several that can be chosen.
pub(super) fn chip<'a>(name: impl text::IntoFragment<'a>, chosen: bool, message: Message) -> Element<'a, Message> {
    let colour = if chosen { theme::ACCENT } else { theme::CONTROL };
    button(text(name).size(theme::SMALL).wrapping(text::Wrapping::None))
        .padding([5, 10])
        .on_press(message)
        .style(theme::filled_button(colour, 8.0))
        .into()
}

fn heading<'a>(section: Section, count: usize) -> Element<'a, Message> {
    let words = row![text(section.name()).size(13).font(theme::STRONG), muted(count.to_string())].spacing(8);
    container(words.align_y(Alignment::Center)).padding(iced::padding::top(8)).into()
}

/// What was shared last: its ticket is what one wants next.
fn just_shared<'a>(share: &'a Share, around: Around<'_>) -> Element<'a, Message> {
    let name = say::name(&share.name);
    let names: Vec<String> = share.peers.iter().map(|peer| around.name(*peer, "")).collect();
    let words =
        column![text(format!("{name} is shared.")).size(theme::BODY), muted(say::shared_with(share.scope, &names))];
    let copy = match around.copied == Some(share.ticket.as_str()) {
        true => compact(Icon::Check, "Copied", theme::GOOD, Some(Message::Copy(share.ticket.clone()))),
        false => compact(Icon::Copy, "Copy the ticket", theme::ACCENT, Some(Message::Copy(share.ticket.clone()))),
    };
    let line = row![
        icon(Icon::CircleCheck, 18.0).color(theme::GOOD),
        words.spacing(3).width(Fill),
        copy,
        small(Icon::X, "Dismiss", Message::Dismiss)
    ];
    container(line.spacing(11).align_y(Alignment::Center))
        .padding([8, 13])
        .width(Fill)
        .style(theme::notice(theme::GOOD))
        .into()
}

fn hovered<'a>(who: &'a str) -> Element<'a, Message> {
    let words = column![
        icon(Icon::HardDriveDownload, 40.0).color(theme::ACCENT),
        text("Let go to share it").size(20).font(theme::STRONG),
        muted(who).size(13)
    ];
    let words =
        container(words.spacing(12).align_x(Alignment::Center)).center(Fill).style(theme::notice(theme::ACCENT));
    opaque(container(words).padding(14).width(Fill).height(Fill).style(theme::shade))
}
