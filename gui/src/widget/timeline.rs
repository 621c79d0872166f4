//! How far a call has come: a line for each stage, with the time at which it was reached.

use iced::widget::{column, container, row, space, text};
use iced::{Alignment, Element};
use kith_common::call::{CallKind, Direction, Stage, StageReport};
use lucide_icons::Icon;

use super::parts::{icon, muted};
use crate::{theme, words};

/// Whether the stage after the last one that was reached is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    On,
    Over,
}

pub fn timeline<'a, Message: 'a>(
    reports: &'a [StageReport],
    (kind, direction): (CallKind, Direction),
    failed: Option<Stage>,
    going: Going,
) -> Element<'a, Message> {
    let reached = |stage: Stage| reports.iter().rev().find(|report| report.stage == stage);
    let last = reports.iter().map(|report| report.stage).max();
    let first = reports.iter().map(|report| report.stage).min();
    let mut lines = column![].spacing(9);
    for stage in Stage::ALL {
        // Whoever is called sees neither the search nor the dialing.
        if direction == Direction::Incoming && first.is_none_or(|first| stage < first) {
            continue;
        }
        // A voice call has no first picture.
        if stage == Stage::FirstFrame && kind == CallKind::Voice && reached(stage).is_none() {
            continue;
        }
        let report = reached(stage);
        let passed = last.is_some_and(|last| stage < last);
        let (symbol, colour) = match (report, failed) {
            (_, Some(failed)) if failed == stage => (Icon::CircleX, theme::POOR),
            // The newest stage is where the call is now, unless it is complete.
            (Some(_), _) if Some(stage) == last && going == Going::On && stage != Stage::Active => {
                (Icon::LoaderCircle, theme::ACCENT)
            }
            (Some(_), _) => (Icon::CircleCheck, theme::GOOD),
            (None, _) if passed => (Icon::CircleCheck, theme::OFF),
            (None, _) => (Icon::Circle, theme::OFF),
        };
        let bright = report.is_some() || failed == Some(stage);
        let name = text(words::stage(stage)).size(13).color(if bright { theme::TEXT } else { theme::OFF });
        let time = report.map(|report| format_ms(report.at_us)).unwrap_or_default();
        let mut about = column![row![name, space::horizontal(), muted(time)].align_y(Alignment::Center)].spacing(2);
        if let Some(report) = report.filter(|report| !report.detail.is_empty() && Some(report.stage) == last) {
            about = about.push(container(muted(report.detail.as_str()).size(theme::TINY)).clip(true));
        }
        lines = lines.push(row![icon(symbol, 16.0).color(colour), about].spacing(10));
    }
    lines.into()
}

fn format_ms(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.1} ms", micros as f64 / 1000.0),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{:.1} s", micros as f64 / 1_000_000.0),
    }
}
