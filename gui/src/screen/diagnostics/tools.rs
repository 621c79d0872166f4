//! The tools beside the plots: ping, trace and bandwidth to the chosen peer, and the report.

use std::collections::BTreeSet;
use std::time::Instant;

use iced::widget::{column, container, progress_bar, row, scrollable, space, text};
use iced::{Alignment, Element, Fill};
use kith_common::diagnostics::{BandwidthProgress, Hop, PingReply};
use kith_common::failure::Failure;
use kith_common::ids::PeerId;
use lucide_icons::Icon;

use super::{Diagnostics, Message};
use crate::chart;
use crate::link::{Errand, Job, News};
use crate::screen::sidebar::Node;
use crate::theme;
use crate::widget::parts::{compact, heading, icon, labelled, muted, notice};
use crate::words;

/// Over each way there is.
const PINGS: u32 = 10;
/// Long enough for a rate to settle, short enough to wait for.
const BANDWIDTH_S: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Ping,
    Trace,
    Bandwidth,
}

impl Tool {
    pub fn errand(self, peer: PeerId) -> Errand {
        match self {
            Self::Ping => Errand::Ping { peer, count: PINGS },
            Self::Trace => Errand::Trace(peer),
            Self::Bandwidth => Errand::Bandwidth { peer, seconds: BANDWIDTH_S },
        }
    }
}

/// One use of a tool, while it goes on and after it.
#[derive(Debug)]
pub struct Run {
    pub job: Job,
    tool: Tool,
    who: String,
    since: Instant,
    replies: Vec<PingReply>,
    hops: Vec<Hop>,
    progress: Option<BandwidthProgress>,
    /// What came of it, in a sentence, or why nothing did.
    result: Option<Result<String, Failure>>,
}

impl Run {
    pub fn new(tool: Tool, who: String) -> Self {
        Self {
            job: Job::next(),
            tool,
            who,
            since: Instant::now(),
            replies: Vec::new(),
            hops: Vec::new(),
            progress: None,
            result: None,
        }
    }

    pub fn goes_on(&self) -> bool {
        self.result.is_none()
    }

    pub fn end_with(&mut self, failure: &Failure) {
        self.result.get_or_insert_with(|| Err(failure.clone()));
    }

    pub fn news(&mut self, news: &News) {
        match news {
            News::Ping(reply) => self.replies.push(reply.clone()),
            News::Hop(hop) => {
                // A hop that is told again is told better.
                self.hops.retain(|known| known.ttl != hop.ttl);
                self.hops.push(hop.clone());
                self.hops.sort_by_key(|hop| hop.ttl);
            }
            News::Bandwidth(progress) => self.progress = Some(*progress),
            News::Measured(result) => self.result = Some(Ok(words::node::measured(&self.who, result))),
            News::Failed(failure) => self.end_with(failure),
            News::Done => {
                self.result = Some(Ok(match self.tool {
                    Tool::Ping => words::node::pinged(&self.who, &self.replies),
                    Tool::Trace => words::node::traced(&self.who, &self.hops),
                    Tool::Bandwidth => "It ended without a result.".into(),
                }));
            }
            _ => {}
        }
    }

    /// How far it is, from 0 to 1, where that is known, and what it does.
    fn progress(&self) -> (Option<f32>, String) {
        match self.tool {
            Tool::Ping => {
                let answered = self.replies.iter().map(|reply| reply.sequence).collect::<BTreeSet<_>>().len();
                (Some(answered as f32 / PINGS as f32), format!("Pinging: {answered} of {PINGS}"))
            }
            Tool::Trace => (None, "Asking the routers on the way".to_owned()),
            Tool::Bandwidth => match self.progress {
                Some(progress) if progress.total > 0 => {
                    let share = progress.done as f32 / progress.total as f32;
                    (Some(share), format!("Measuring: {}", chart::bits(progress.bps as f64)))
                }
                Some(progress) => (None, format!("Measuring: {}", chart::bits(progress.bps as f64))),
                None => (None, format!("Asking {} for consent", self.who)),
            },
        }
    }

    fn view(&self) -> Element<'_, Message> {
        let mut card = column![].spacing(11);
        match &self.result {
            None => {
                let (share, doing) = self.progress();
                let line = row![
                    icon(Icon::LoaderCircle, 15.0).color(theme::ACCENT),
                    text(doing).size(13).width(Fill),
                    muted(words::node::waited(self.since.elapsed()))
                ];
                card = card.push(line.spacing(9).align_y(Alignment::Center));
                if let Some(share) = share {
                    card = card.push(progress_bar(0.0..=1.0, share).girth(6).style(theme::progress));
                }
                card = card.push(compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelRun)));
            }
            Some(Ok(sentence)) => card = card.push(text(sentence.as_str()).size(theme::BODY).line_height(1.35)),
            Some(Err(failure)) => {
                let (sentence, advice) = words::node::failure(failure);
                card = card.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
            }
        }
        let rows: Vec<Element<'_, Message>> = match self.tool {
            Tool::Ping => words::node::ways(&self.replies).into_iter().map(way).collect(),
            Tool::Trace => self.hops.iter().map(hop).collect(),
            Tool::Bandwidth => Vec::new(),
        };
        if !rows.is_empty() {
            card = card.push(column(rows).spacing(9));
        }
        container(card).padding([13, 14]).width(Fill).style(theme::raised).into()
    }
}

/// One way of a ping: what it is, its times, and what was lost on it.
fn way<'a>(way: words::node::Way) -> Element<'a, Message> {
    let times = way.times().map_or_else(
        || "no answer".to_owned(),
        |(least, mean, most)| {
            let say = |ms| words::node::latency(Some(ms));
            format!("{} (from {} to {})", say(mean), say(least), say(most))
        },
    );
    let lost = match way.lost() {
        0 => String::new(),
        lost => format!("{lost} of {} lost", way.sent),
    };
    column![
        row![text(words::node::way(way.path, way.transport)).size(13), space::horizontal(), text(times).size(13)],
        row![
            container(muted(way.name).size(theme::TINY).wrapping(text::Wrapping::Glyph)).width(Fill),
            muted(lost).size(theme::TINY).color(theme::FAIR)
        ]
        .spacing(8)
    ]
    .spacing(3)
    .into()
}

fn hop(hop: &Hop) -> Element<'_, Message> {
    let (address, colour) = match &hop.address {
        Some(address) => (address.as_str(), theme::TEXT),
        None => ("no answer", theme::OFF),
    };
    row![
        container(muted(hop.ttl.to_string())).width(22),
        container(text(address).size(13).color(colour).wrapping(text::Wrapping::Glyph)).width(Fill),
        muted(hop.address.as_ref().map(|_| words::node::latency(hop.rtt_ms)).unwrap_or_default())
    ]
    .spacing(8)
    .align_y(Alignment::Center)
    .into()
}

#[derive(Debug, Default)]
pub enum Report {
    #[default]
    None,
    Making(Job),
    Made(String),
    Failed(Failure),
}

impl Diagnostics {
    pub(super) fn tools<'a>(&'a self, node: &'a Node, copied: Option<&'a str>) -> Element<'a, Message> {
        let up = matches!(node, Node::Up { .. });
        let idle = up && self.run.as_ref().is_none_or(|run| !run.goes_on());
        let about = match self.chosen {
            Some(_) => format!("The way to {}, measured now.", self.chosen_name),
            None if self.connected.is_empty() => "Nobody is connected whose way could be measured.".to_owned(),
            None => "Choose a peer above the plots to measure the way to it.".to_owned(),
        };
        let tool = |symbol, name, tool| {
            let press = (idle && self.chosen.is_some()).then_some(Message::Run(tool));
            compact(symbol, name, theme::CONTROL, press)
        };
        let buttons = row![
            tool(Icon::Activity, "Ping", Tool::Ping),
            tool(Icon::Route, "Trace", Tool::Trace),
            tool(Icon::Gauge, "Bandwidth", Tool::Bandwidth)
        ];
        let mut page = column![
            column![heading("Measure"), muted(about)].spacing(5),
            buttons.spacing(8),
            muted("Bandwidth fills the way for 5 seconds in each direction, if the other side allows it.")
                .size(theme::TINY)
        ]
        .spacing(12);
        page = page.push(self.run.as_ref().map(Run::view));
        page = page.push(space().height(6)).push(self.reporting(up, copied));
        page.into()
    }

    fn reporting<'a>(&'a self, up: bool, copied: Option<&'a str>) -> Element<'a, Message> {
        let about = "One text about this node to paste into a question. Names and addresses in it are masked.";
        let mut card = column![column![heading("Report"), muted(about)].spacing(5)].spacing(12);
        if let Report::Making(_) = self.report {
            let line = row![
                icon(Icon::LoaderCircle, 15.0).color(theme::ACCENT),
                text("Your node writes it…").size(13).width(Fill),
                compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelReport))
            ];
            return card.push(line.spacing(9).align_y(Alignment::Center)).into();
        }
        let fresh = matches!(&self.report, Report::Made(report) if copied == Some(report));
        let (symbol, label, colour) = if fresh {
            (Icon::Check, "Copied", theme::GOOD)
        } else {
            (Icon::ClipboardCopy, "Copy report", theme::CONTROL)
        };
        card = card.push(labelled(symbol, label, colour, up.then_some(Message::Report)).width(Fill));
        match &self.report {
            Report::Made(report) => {
                let words = text(report.as_str()).size(theme::TINY).color(theme::MUTED).wrapping(text::Wrapping::Glyph);
                let bar = scrollable::Scrollbar::new().width(4).scroller_width(4).margin(2);
                let shown = scrollable(container(words).padding([10, 12]).width(Fill))
                    .direction(scrollable::Direction::Vertical(bar))
                    .style(theme::list);
                card = card.push(container(shown).max_height(220).style(theme::raised));
            }
            Report::Failed(failure) => {
                let (sentence, advice) = words::node::failure(failure);
                card = card.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
            }
            Report::None | Report::Making(_) => {}
        }
        card.into()
    }
}
