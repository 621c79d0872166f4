//! What the ways to the peers are like: bandwidth, latency and loss over the last minutes, tools that measure one way now,
//! and a report to hand to somebody who knows more.

mod tools;

use iced::widget::{column, container, pick_list, responsive, row, space, text};
use iced::{Alignment, Element, Fill, Size};
use kith_common::diagnostics::LinkSample;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::PeerId;
use kith_common::node::PeerInfo;
use lucide_icons::Icon;

use super::Wish;
use super::sidebar::Node;
use crate::chart::{Chart, History, Series, Unit};
use crate::link::{Errand, Job, News};
use crate::theme;
use crate::widget::chart::{MIN_HEIGHT, Plot};
use crate::widget::parts::{muted, notice, scroll};
use crate::words;
use tools::{Report, Run};

pub use tools::Tool;

/// Peers that are drawn together; more colours nobody tells apart.
const TOGETHER: usize = 6;
/// From this width on the tools stand beside the plots.
const WIDE: f32 = 860.0;
const TOOLS: f32 = 330.0;

#[derive(Debug, Clone)]
pub enum Message {
    Choose(Choice),
    Run(Tool),
    CancelRun,
    Report,
    CancelReport,
}

/// Whose plots are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `None`: all together.
    pub peer: Option<PeerId>,
    name: String,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[derive(Debug)]
pub struct Diagnostics {
    history: History,
    /// Why the daemon does not tell how its links do.
    pub refused: Option<Failure>,
    /// Those that can be measured, by name.
    connected: Vec<Choice>,
    chosen: Option<PeerId>,
    /// Kept when its peer is gone: its line is still there.
    chosen_name: String,
    bandwidth: Plot,
    latency: Plot,
    loss: Plot,
    run: Option<Run>,
    report: Report,
}

impl Default for Diagnostics {
    fn default() -> Self {
        let plot = |unit| Plot::new(Chart::new(unit, &[], 0));
        Self {
            history: History::default(),
            refused: None,
            connected: Vec::new(),
            chosen: None,
            chosen_name: String::new(),
            bandwidth: plot(Unit::BitsPerSecond),
            latency: plot(Unit::Milliseconds),
            loss: plot(Unit::Share),
            run: None,
            report: Report::default(),
        }
    }
}

impl Diagnostics {
    pub fn hear_peers(&mut self, peers: &[PeerInfo]) {
        let connected = peers.iter().filter(|peer| peer.connected);
        let mut connected: Vec<Choice> = connected
            .map(|peer| Choice { peer: Some(peer.peer_id), name: words::name(&peer.name, Some(peer.peer_id)) })
            .collect();
        connected.sort_by_key(|choice| (choice.name.to_lowercase(), choice.peer));
        if self.connected != connected {
            self.connected = connected;
            self.draw();
        }
    }

    pub fn hear_links(&mut self, told: Result<Vec<LinkSample>, Failure>) {
        match told {
            Ok(samples) => {
                self.refused = None;
                self.history.add(samples);
                self.draw();
            }
            Err(failure) => self.refused = Some(failure),
        }
    }

    pub fn lost(&mut self) {
        self.history = History::default();
        self.refused = None;
        let failure = Failure::new(FailureKind::NoDaemon, "your node stopped in the middle of it");
        let failure = failure.advise("Wait until it runs again and try again.");
        if let Some(run) = &mut self.run {
            run.end_with(&failure);
        }
        if let Report::Making(_) = self.report {
            self.report = Report::Failed(failure);
        }
        self.draw();
    }

    /// Shows one peer.
    pub fn choose(&mut self, peer: Option<PeerId>) {
        if let Some(choice) = self.connected.iter().find(|choice| choice.peer == peer) {
            self.chosen_name.clone_from(&choice.name);
        }
        self.chosen = peer;
        self.draw();
    }

    pub fn chosen(&self) -> Option<PeerId> {
        self.chosen
    }

    /// Whether something moves here by itself besides the plots.
    pub fn busy(&self) -> bool {
        self.run.as_ref().is_some_and(Run::goes_on) || matches!(self.report, Report::Making(_))
    }

    pub fn news(&mut self, job: Job, news: &News) -> Wish {
        if let Some(run) = self.run.as_mut().filter(|run| run.job == job) {
            run.news(news);
        } else if matches!(self.report, Report::Making(making) if making == job) {
            match news {
                News::Report(report) => {
                    self.report = Report::Made(report.clone());
                    return Wish::Copy(report.clone());
                }
                News::Failed(failure) => self.report = Report::Failed(failure.clone()),
                _ => {}
            }
        }
        Wish::Nothing
    }

    pub fn update(&mut self, message: Message) -> Wish {
        match message {
            Message::Choose(choice) => {
                self.chosen_name.clone_from(&choice.name);
                self.chosen = choice.peer;
                self.draw();
                Wish::Nothing
            }
            Message::Run(tool) => {
                let Some(peer) = self.chosen else { return Wish::Nothing };
                if self.run.as_ref().is_some_and(Run::goes_on) {
                    return Wish::Nothing;
                }
                let run = Run::new(tool, self.chosen_name.clone());
                let wish = Wish::Start(run.job, tool.errand(peer));
                self.run = Some(run);
                wish
            }
            Message::CancelRun => match self.run.take_if(|run| run.goes_on()) {
                Some(run) => Wish::Cancel(run.job),
                None => Wish::Nothing,
            },
            Message::Report => {
                let job = Job::next();
                self.report = Report::Making(job);
                Wish::Start(job, Errand::Report)
            }
            Message::CancelReport => match std::mem::take(&mut self.report) {
                Report::Making(job) => Wish::Cancel(job),
                _ => Wish::Nothing,
            },
        }
    }

    /// Brings the plots up to what is known. Costs little: a few thousand points at most.
    fn draw(&mut self) {
        let end = self.history.newest_ms();
        let one = |name: &str, hue, figure: fn(&LinkSample) -> Option<f64>| Series {
            name: name.to_owned(),
            hue,
            points: self.history.points(self.chosen, figure),
        };
        let bandwidth = [
            one("Received", 0, |sample| Some(sample.received_bps as f64)),
            one("Sent", 1, |sample| Some(sample.sent_bps as f64)),
        ];
        let bandwidth = Chart::new(Unit::BitsPerSecond, &bandwidth, end);
        let latency = Chart::new(Unit::Milliseconds, &self.by_peer(|sample| sample.rtt_ms), end);
        let loss = Chart::new(Unit::Share, &self.by_peer(|sample| sample.loss), end);
        self.bandwidth.show(bandwidth);
        self.latency.show(latency);
        self.loss.show(loss);
    }

    /// The chosen peer's line, or one for each of the first few.
    fn by_peer(&self, figure: fn(&LinkSample) -> Option<f64>) -> Vec<Series> {
        if let Some(peer) = self.chosen {
            let points = self.history.points(Some(peer), figure);
            return vec![Series { name: self.chosen_name.clone(), hue: 0, points }];
        }
        let measured: Vec<PeerId> = self.history.peers().collect();
        let present = self.connected.iter().filter(|choice| choice.peer.is_some_and(|peer| measured.contains(&peer)));
        let series = present.take(TOGETHER).enumerate().map(|(hue, choice)| Series {
            name: choice.name.clone(),
            hue,
            points: self.history.points(choice.peer, figure),
        });
        series.collect()
    }

    /// What the plots show now, for those who look without eyes.
    pub fn charts(&self) -> [&Chart; 3] {
        [self.bandwidth.chart(), self.latency.chart(), self.loss.chart()]
    }

    fn choices(&self) -> Vec<Choice> {
        let all = Choice { peer: None, name: "All together".into() };
        let mut choices: Vec<Choice> = std::iter::once(all).chain(self.connected.iter().cloned()).collect();
        if !choices.iter().any(|choice| choice.peer == self.chosen) {
            choices.push(Choice { peer: self.chosen, name: self.chosen_name.clone() });
        }
        choices
    }

    pub fn view<'a>(&'a self, node: &'a Node, copied: Option<&'a str>) -> Element<'a, Message> {
        responsive(move |size| self.laid_out(node, copied, size)).into()
    }

    fn laid_out<'a>(&'a self, node: &'a Node, copied: Option<&'a str>, size: Size) -> Element<'a, Message> {
        let wide = size.width >= WIDE;
        let choices = self.choices();
        let chosen = choices.iter().find(|choice| choice.peer == self.chosen).cloned();
        let choose = pick_list(choices, chosen, Message::Choose)
            .width(220)
            .padding([8, 11])
            .text_size(13)
            .style(theme::choice)
            .menu_style(theme::menu);
        let head = row![
            text("Diagnostics").size(theme::TITLE).font(theme::STRONG),
            muted("the last ten minutes").size(13),
            space::horizontal(),
            choose
        ];
        let head = head.spacing(12).align_y(Alignment::Center);
        let told = self.told(node);
        // What the title, the notice, the frames and the gaps between them take.
        let taken = if told.is_some() { 334.0 } else { 262.0 };
        let height = if wide { ((size.height - taken) / 3.0).max(MIN_HEIGHT) } else { MIN_HEIGHT };
        let plots = column![
            self.bandwidth.view("Bandwidth", "Nothing has been sent or received yet.", height),
            self.latency.view("Latency, there and back", "No peer is connected whose answers could be timed.", height),
            self.loss.view("Loss", "Known only where datagrams have been exchanged.", height)
        ];
        let left = column![head].push(told).push(plots.spacing(10)).spacing(14).padding([18, 18]);
        let tools = self.tools(node, copied);
        match wide {
            true => row![
                container(scroll(left)).width(Fill).height(Fill).style(theme::panel),
                container(scroll(container(tools).padding([18, 18]))).width(TOOLS).height(Fill).style(theme::panel)
            ]
            .spacing(12)
            .into(),
            false => {
                let page = column![left, container(tools).padding(iced::Padding::new(18.0).top(0))];
                container(scroll(page)).width(Fill).height(Fill).style(theme::panel).into()
            }
        }
    }

    /// Why there may be nothing to see.
    fn told<'a>(&'a self, node: &'a Node) -> Option<Element<'a, Message>> {
        match (node, &self.refused) {
            (Node::Lost(failure), _) => {
                let (sentence, advice) = words::node::failure(failure);
                Some(notice(Icon::Unplug, theme::POOR, sentence, advice))
            }
            (Node::Up { .. }, Some(failure)) => {
                let (sentence, advice) = words::node::refusal(failure, "how its links do");
                Some(notice(Icon::Info, theme::FAIR, sentence, advice))
            }
            (Node::Trying(what), _) => Some(notice(Icon::Loader, theme::FAIR, what.as_str(), "")),
            _ => None,
        }
    }
}
