//! A call, from dialing to the last second: the other side's picture, one's own in the corner, the controls, and what
//! goes on behind them.

mod details;

use iced::widget::{column, container, row, space, stack, text};
use iced::{Alignment, Element, Fill};
use kith_common::call::{CallInfo, CallKind, CallState, CallStats, Direction, Medium, StageReport, Switch};
use kith_common::clock::unix_ms;
use kith_common::failure::Failure;
use kith_common::ids::CallId;
use kith_common::node::Path;
use lucide_icons::Icon;

use super::devices;
use crate::capture::{Status, Studio};
use crate::link::Test;
use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{dot, icon, labelled, muted, notice, round, small};
use crate::widget::timeline;
use crate::widget::video::{Fit, Mirror, VideoSlot, video};
use crate::words;

/// Who sends this side's picture and sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This window: it placed or answered the call.
    Here,
    /// Another program, or nobody: this window watches.
    Elsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    Shown,
    Hidden,
}

#[derive(Debug, Clone)]
pub enum Message {
    Microphone,
    Camera,
    HangUp,
    Details,
    /// Send from here.
    TakeOver,
    Devices(devices::Message),
}

#[derive(Debug, Clone)]
pub enum Action {
    None,
    SetMicrophone(CallId, Switch),
    SetCamera(CallId, Switch),
    HangUp(CallId),
    TakeOver(CallId),
    Devices(devices::Message),
}

#[derive(Debug)]
pub struct Call {
    pub info: CallInfo,
    pub stages: Vec<StageReport>,
    pub stats: Option<CallStats>,
    pub test: Test,
    pub source: Source,
    pub panel: Panel,
    /// When this window first saw the call, in Unix milliseconds.
    pub seen_ms: i64,
    /// The medium that another program has taken over.
    pub taken: Option<Medium>,
    /// The last thing that was refused.
    pub trouble: Option<Failure>,
}

fn other(state: Switch) -> Switch {
    match state {
        Switch::On => Switch::Off,
        Switch::Off => Switch::On,
    }
}

impl Call {
    pub fn new(info: CallInfo, test: Test, source: Source) -> Self {
        Self {
            info,
            stages: Vec::new(),
            stats: None,
            test,
            source,
            panel: Panel::Shown,
            seen_ms: unix_ms(),
            taken: None,
            trouble: None,
        }
    }

    /// Adds a line to the timeline, or replaces it: a subscription repeats the past.
    pub fn stage(&mut self, report: StageReport) {
        match self.stages.iter_mut().find(|known| known.stage == report.stage) {
            Some(known) => *known = report,
            None => self.stages.push(report),
        }
        self.stages.sort_by_key(|report| (report.at_us, report.stage));
    }

    pub fn update(&mut self, message: Message) -> Action {
        let id = self.info.id;
        self.trouble = None;
        match message {
            // Shown at once; the daemon's report confirms it.
            Message::Microphone => {
                self.info.microphone = other(self.info.microphone);
                Action::SetMicrophone(id, self.info.microphone)
            }
            Message::Camera => {
                self.info.camera = other(self.info.camera);
                Action::SetCamera(id, self.info.camera)
            }
            Message::HangUp => Action::HangUp(id),
            Message::Details => {
                self.panel = if self.panel == Panel::Shown { Panel::Hidden } else { Panel::Shown };
                Action::None
            }
            Message::TakeOver => {
                self.taken = None;
                Action::TakeOver(id)
            }
            Message::Devices(message) => Action::Devices(message),
        }
    }

    pub fn view<'a>(&'a self, remote: &VideoSlot, studio: &'a Studio) -> Element<'a, Message> {
        let main: Element<'_, Message> = match self.info.state {
            CallState::Active => self.stage_view(remote, studio),
            _ => self.connecting(studio),
        };
        let main = column![container(main).height(Fill), self.controls()].spacing(12).width(Fill);
        let mut screen = row![main].spacing(12);
        if self.panel == Panel::Shown {
            screen = screen.push(details::panel(self, studio));
        }
        screen.into()
    }

    /// While nothing can be seen yet: who it is and how far it has come.
    fn connecting(&self, studio: &Studio) -> Element<'_, Message> {
        let name = words::peer(&self.info);
        let key = self.info.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let now = match (self.info.state, self.info.direction) {
            (CallState::Dialing, _) => "Connecting to their machine…",
            (CallState::Ringing, Direction::Outgoing) => "Ringing…",
            (CallState::Ringing, Direction::Incoming) => "Somebody else may answer…",
            (CallState::Connecting, _) => "Answered. Setting up sound and picture…",
            (CallState::Active | CallState::Ended, _) => "",
        };
        let time = std::time::Duration::from_millis((unix_ms() - self.seen_ms).max(0).unsigned_abs());
        let mut page = column![
            avatar(&name, &key, 96.0),
            text(name).size(theme::TITLE).font(theme::STRONG),
            row![
                icon(Icon::LoaderCircle, 15.0).color(theme::ACCENT),
                text(now).size(15),
                muted(words::duration(time)).size(15)
            ]
            .spacing(9)
            .align_y(Alignment::Center),
        ]
        .spacing(14)
        .align_x(Alignment::Center);
        if self.info.camera == Switch::On && self.info.kind == CallKind::Video && !studio.own.is_empty() {
            let own = video(&studio.own).size(288, 162).fit(Fit::Cover).mirror(Mirror::On).radius(12.0);
            page = page.push(container(own).padding([10, 0]));
        }
        container(page).center(Fill).style(theme::stage).into()
    }

    fn stage_view<'a>(&'a self, remote: &VideoSlot, studio: &'a Studio) -> Element<'a, Message> {
        let name = words::peer(&self.info);
        let picture: Element<'_, Message> = if self.info.peer_camera == Switch::On && !remote.is_empty() {
            video(remote).radius(12.0).into()
        } else {
            let key = self.info.peer.map(|peer| peer.to_string()).unwrap_or_default();
            let why = match (self.info.peer_camera, self.info.kind) {
                (_, CallKind::Voice) => "Voice call",
                (Switch::Off, CallKind::Video) => "Their camera is off",
                (Switch::On, CallKind::Video) => "Waiting for their picture…",
            };
            let face = column![avatar(&name, &key, 128.0), text(name.clone()).size(20).font(theme::STRONG), muted(why)]
                .spacing(13)
                .align_x(Alignment::Center);
            container(face).center(Fill).into()
        };
        let mut top = column![self.tag(&name)].spacing(8);
        for warning in self.warnings(studio) {
            top = top.push(container(warning).max_width(460).style(theme::glass));
        }
        let mut layers =
            stack![container(picture).center(Fill).padding(1).style(theme::stage), container(top).padding(14)]
                .width(Fill)
                .height(Fill);
        if let Some(own) = self.own_view(studio) {
            layers = layers.push(container(own).align_right(Fill).align_bottom(Fill).padding(14));
        }
        layers.into()
    }

    /// Name, quality and path, over the picture.
    fn tag(&self, name: &str) -> Element<'_, Message> {
        let colour = match &self.stats {
            Some(stats) if stats.loss > 0.08 || stats.delay_ms_p50.is_some_and(|delay| delay > 400.0) => theme::POOR,
            Some(stats) if stats.loss > 0.03 || stats.delay_ms_p50.is_some_and(|delay| delay > 200.0) => theme::FAIR,
            _ => theme::GOOD,
        };
        let mut line =
            row![text(name.to_owned()).size(13).font(theme::STRONG), dot(colour)].spacing(9).align_y(Alignment::Center);
        if let Some(stats) = &self.stats {
            line = line.push(muted(words::quality(stats)));
        }
        if self.info.peer_microphone == Switch::Off {
            line = line.push(icon(Icon::MicOff, 13.0).color(theme::POOR));
        }
        let path = words::path(self.info.path, self.info.transport);
        let symbol = match self.info.path {
            Some(Path::Relayed | Path::Tor) => Icon::Waypoints,
            _ => Icon::ArrowLeftRight,
        };
        let pill = row![icon(symbol, 13.0).color(theme::MUTED), muted(path)].spacing(7).align_y(Alignment::Center);
        row![container(line).padding([7, 12]).style(theme::glass), container(pill).padding([7, 12]).style(theme::glass)]
            .spacing(8)
            .into()
    }

    fn warnings<'a>(&'a self, studio: &'a Studio) -> Vec<Element<'a, Message>> {
        let mut list = Vec::new();
        if let Some(medium) = self.taken {
            let what = match medium {
                Medium::Video => "Another program sends your picture now.",
                Medium::Audio => "Another program sends your sound now.",
            };
            list.push(notice(Icon::Replace, theme::FAIR, what, "Press “Send from here” to take it back."));
        }
        if let Some(failure) = &self.trouble {
            let sentence = words::sentence_of(&failure.message);
            list.push(notice(Icon::CircleAlert, theme::POOR, sentence, words::sentence_of(&failure.advice)));
        }
        // The panel tells of devices, when it is there.
        if self.panel == Panel::Shown {
            return list;
        }
        if let Status::Failed(error) = &studio.microphone_status {
            list.push(notice(Icon::MicOff, theme::POOR, error.to_string(), error.advice()));
        }
        if let Status::Failed(error) = &studio.speaker_status {
            list.push(notice(Icon::VolumeX, theme::POOR, error.to_string(), error.advice()));
        }
        list
    }

    fn own_view<'a>(&'a self, studio: &'a Studio) -> Option<Element<'a, Message>> {
        if self.source == Source::Elsewhere {
            return None;
        }
        if self.info.camera == Switch::Off {
            // A voice call has no place for a picture that nobody switched on.
            return (self.info.kind == CallKind::Video).then(|| {
                container(icon(Icon::VideoOff, 22.0).color(theme::MUTED))
                    .center_x(208)
                    .center_y(117)
                    .style(theme::glass)
                    .into()
            });
        }
        if studio.own.is_empty() {
            return None;
        }
        let own = video(&studio.own).size(208, 117).fit(Fit::Cover).mirror(Mirror::On).radius(10.0);
        let note = match &studio.camera_status {
            Status::Fallback(_) => Some("No camera: test picture"),
            Status::Test => Some("Test picture"),
            _ => None,
        };
        Some(match note {
            Some(note) => {
                let note = container(text(note).size(theme::TINY)).padding([3, 7]).style(theme::glass);
                stack![own, container(note).align_bottom(117).padding(6)].into()
            }
            None => own.into(),
        })
    }

    fn controls(&self) -> Element<'_, Message> {
        let going = self.info.state != CallState::Ended;
        let on = |state: Switch| state == Switch::On;
        let cancel = matches!(self.info.state, CallState::Dialing | CallState::Ringing);
        let hang_up = if cancel { "Cancel" } else { "Hang up" };
        let mut bar = row![].spacing(8);
        match self.source {
            Source::Here => {
                let (symbol, label, colour) = if on(self.info.microphone) {
                    (Icon::Mic, "Mute", theme::CONTROL)
                } else {
                    (Icon::MicOff, "Unmute", theme::POOR)
                };
                bar = bar.push(round(symbol, label, colour, going.then_some(Message::Microphone)));
                let (symbol, label, colour) = if on(self.info.camera) {
                    (Icon::Video, "Camera off", theme::CONTROL)
                } else {
                    (Icon::VideoOff, "Camera on", theme::POOR)
                };
                let colour = if self.info.kind == CallKind::Voice { theme::CONTROL } else { colour };
                bar = bar.push(round(symbol, label, colour, going.then_some(Message::Camera)));
            }
            Source::Elsewhere => {
                bar = bar.push(
                    container(
                        labelled(Icon::Cast, "Send from here", theme::CONTROL, Some(Message::TakeOver)).width(190),
                    )
                    .center_y(76),
                );
            }
        }
        bar = bar.push(round(Icon::PhoneOff, hang_up, theme::POOR, going.then_some(Message::HangUp)));
        let details = match self.panel {
            Panel::Shown => small(Icon::PanelRightClose, "Hide details", Message::Details),
            Panel::Hidden => small(Icon::PanelRightOpen, "Show details", Message::Details),
        };
        row![
            container(self.clock()).width(120).padding([0, 6]),
            container(bar).center_x(Fill),
            container(details).width(120).align_x(Alignment::End).padding([0, 6])
        ]
        .align_y(Alignment::Center)
        .into()
    }

    fn clock(&self) -> Element<'_, Message> {
        if self.info.state != CallState::Active {
            return space().into();
        }
        let time = std::time::Duration::from_millis((unix_ms() - self.info.since_unix_ms).max(0).unsigned_abs());
        row![icon(Icon::Timer, 14.0).color(theme::MUTED), text(words::duration(time)).size(theme::BODY)]
            .spacing(7)
            .align_y(Alignment::Center)
            .into()
    }

    /// The timeline, for the panel.
    fn line(&self) -> Element<'_, Message> {
        let going = if self.info.state == CallState::Active { timeline::Going::Over } else { timeline::Going::On };
        timeline::timeline(&self.stages, (self.info.kind, self.info.direction), None, going)
    }
}
