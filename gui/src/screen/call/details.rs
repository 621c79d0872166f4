//! Beside the picture: the figures, the timeline, and the devices.

use iced::widget::{column, container};
use iced::{Element, Fill};
use kith_common::call::{CallState, CallStats};

use super::{Call, Message, Source};
use crate::capture::Studio;
use crate::screen::devices;
use crate::theme;
use crate::widget::parts::{figure, heading, muted, scroll};
use crate::words;

pub fn panel<'a>(call: &'a Call, studio: &'a Studio) -> Element<'a, Message> {
    let mut page = column![].spacing(20);
    if call.info.state == CallState::Active {
        page = page.push(section("Connection", figures(call)));
    }
    page = page.push(section("Timeline", call.line()));
    if call.source == Source::Here {
        let mut own = column![].spacing(12);
        for notice in devices::troubles(studio) {
            own = own.push(notice.map(Message::Devices));
        }
        own = own.push(devices::choices(studio, devices::Layout::Tall).map(Message::Devices));
        page = page.push(section("Camera and sound", own.into()));
    }
    let page = scroll(container(page).padding(16));
    container(page).width(270).height(Fill).style(theme::panel).into()
}

fn section<'a>(name: &'a str, content: Element<'a, Message>) -> Element<'a, Message> {
    column![heading(name), content].spacing(11).into()
}

fn figures(call: &Call) -> Element<'_, Message> {
    let Some(stats) = &call.stats else {
        return muted("Figures come with the first second.").into();
    };
    let mut list = column![
        figure("Path", words::path(call.info.path, call.info.transport)),
        figure("Delay", words::milliseconds(stats.delay_ms_p50.or(stats.audio_delay_ms_p50))),
        figure("Round trip", words::milliseconds((stats.rtt_ms > 0.0).then_some(stats.rtt_ms))),
        figure("Lost", format!("{:.1} %", stats.loss * 100.0)),
        figure("Receiving", received(stats)),
        figure("Sending", sent(stats)),
    ]
    .spacing(8);
    if !stats.encoder.is_empty() {
        list = list.push(figure("Encoder", stats.encoder.clone()));
    }
    list.into()
}

fn received(stats: &CallStats) -> String {
    let rate = words::bitrate(stats.video_kbps_in + stats.audio_kbps_in);
    if stats.width == 0 { rate } else { format!("{}×{} · {rate}", stats.width, stats.height) }
}

fn sent(stats: &CallStats) -> String {
    let rate = words::bitrate(stats.video_kbps_out + stats.audio_kbps_out);
    if stats.width_out == 0 { rate } else { format!("{}×{} · {rate}", stats.width_out, stats.height_out) }
}
