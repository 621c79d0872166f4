//! After a call: why it ended, what to try, and what it was like.

use iced::widget::{column, container, row, text};
use iced::{Alignment, Element, Fill};
use kith_common::call::{CallInfo, CallKind, CallStats, StageReport};
use lucide_icons::Icon;

use crate::link::Test;
use crate::theme;
use crate::widget::parts::{figure, icon, labelled, muted};
use crate::widget::timeline;
use crate::words::{self, Talked};

#[derive(Debug, Clone)]
pub enum Message {
    Again,
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Calls the same peer again, or makes another test call.
    Again {
        target: Option<String>,
        kind: CallKind,
        test: Test,
    },
    Close,
}

#[derive(Debug)]
pub struct Ended {
    pub info: CallInfo,
    pub stages: Vec<StageReport>,
    pub stats: Option<CallStats>,
    pub test: Test,
}

impl Ended {
    pub fn update(&self, message: &Message) -> Action {
        match message {
            Message::Again => Action::Again {
                target: self.info.peer.map(|peer| peer.to_string()),
                kind: self.info.kind,
                test: self.test,
            },
            Message::Close => Action::Close,
        }
    }

    /// A line of the timeline that comes late.
    pub fn stage(&mut self, report: StageReport) {
        if !self.stages.iter().any(|known| known.stage == report.stage) {
            self.stages.push(report);
        }
    }

    fn talked(&self) -> Talked {
        let active = self.stages.iter().any(|report| report.stage == kith_common::call::Stage::Active);
        if active || self.stats.is_some() { Talked::Yes } else { Talked::No }
    }

    pub fn view(&self) -> Element<'_, Message> {
        let who = words::peer(&self.info);
        let talked = self.talked();
        let ending = self
            .info
            .ending
            .clone()
            .unwrap_or_else(|| kith_common::call::Ending::by(kith_common::call::EndReason::Failed));
        let told = words::ending(&ending, &who, talked);
        let (symbol, colour) = match talked {
            Talked::Yes if ending.failed_stage.is_none() && ending.detail.is_empty() => (Icon::Phone, theme::CONTROL),
            _ => (Icon::PhoneOff, theme::POOR),
        };
        let with = format!("with {who}");
        let mut page = column![
            container(icon(symbol, 28.0)).center(72).style(theme::disc(colour, 72.0)),
            column![text(told.heading).size(theme::TITLE).font(theme::STRONG), muted(with).size(13)]
                .spacing(4)
                .align_x(Alignment::Center),
            text(told.sentence).size(15).align_x(Alignment::Center),
        ]
        .spacing(13)
        .align_x(Alignment::Center)
        .max_width(460);
        if !told.advice.is_empty() {
            page = page.push(text(told.advice).size(theme::BODY).color(theme::MUTED).align_x(Alignment::Center));
        }
        match (&self.stats, talked) {
            (Some(stats), Talked::Yes) => page = page.push(summary(stats)),
            _ if !self.stages.is_empty() => {
                let line = timeline::timeline(
                    &self.stages,
                    (self.info.kind, self.info.direction),
                    ending.failed_stage,
                    timeline::Going::Over,
                );
                page = page.push(container(line).padding([15, 18]).width(Fill).style(theme::raised));
            }
            _ => {}
        }
        let again = if self.test == Test::Yes { "Test again" } else { "Call again" };
        let possible = self.info.peer.is_some() || self.test == Test::Yes;
        let mut buttons = row![].spacing(10);
        if possible {
            buttons = buttons.push(labelled(Icon::RotateCcw, again, theme::ACCENT, Some(Message::Again)).width(180));
        }
        buttons = buttons.push(labelled(Icon::X, "Close", theme::CONTROL, Some(Message::Close)).width(180));
        page = page.push(buttons);
        container(page).center(Fill).padding(20).style(theme::panel).into()
    }
}

fn summary(stats: &CallStats) -> Element<'_, Message> {
    let mut list = column![
        figure("Duration", words::duration(std::time::Duration::from_secs_f64(stats.duration_s.max(0.0)))),
        figure("Path", words::path(stats.path, stats.transport)),
        figure("Delay, half of the time under", words::milliseconds(stats.delay_ms_p50)),
        figure("Delay, nearly always under", words::milliseconds(stats.delay_ms_p95)),
        figure("Lost on the way", format!("{:.1} %", stats.loss * 100.0)),
    ]
    .spacing(8);
    if stats.video_received > 0 {
        list = list.push(figure("Pictures received", stats.video_received.to_string()));
    }
    if stats.frozen_ms > 0 {
        list = list.push(figure("Picture stood still for", format!("{:.1} s", stats.frozen_ms as f64 / 1000.0)));
    }
    if stats.audio_concealed_ms > 0 {
        list = list.push(figure("Sound made up", format!("{} ms", stats.audio_concealed_ms)));
    }
    let title = muted("What it was like");
    container(column![title, list].spacing(10)).padding([15, 18]).width(Fill).style(theme::raised).into()
}
