//! Somebody calls: who it is, and the answers that can be given. Nothing is opened before one is.

use iced::widget::{column, container, opaque, row, text};
use iced::{Alignment, Element, Fill};
use kith_common::call::{CallInfo, CallKind};
use kith_common::ids::CallId;
use lucide_icons::Icon;

use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{muted, round};
use crate::words;

#[derive(Debug, Clone)]
pub enum Message {
    AnswerVideo,
    AnswerVoice,
    Decline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Answer(CallId, CallKind),
    Decline(CallId),
}

#[derive(Debug)]
pub struct Incoming {
    pub info: CallInfo,
}

impl Incoming {
    pub fn update(&self, message: &Message) -> Action {
        match message {
            Message::AnswerVideo => Action::Answer(self.info.id, CallKind::Video),
            Message::AnswerVoice => Action::Answer(self.info.id, CallKind::Voice),
            Message::Decline => Action::Decline(self.info.id),
        }
    }

    pub fn view(&self) -> Element<'_, Message> {
        let name = words::peer(&self.info);
        let key = self.info.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let what = match self.info.kind {
            CallKind::Video => "wants a video call",
            CallKind::Voice => "wants a voice call",
        };
        let mut answers = row![round(Icon::PhoneOff, "Decline", theme::POOR, Some(Message::Decline))].spacing(14);
        answers = answers.push(round(Icon::Phone, "Answer voice", theme::GOOD, Some(Message::AnswerVoice)));
        if self.info.kind == CallKind::Video {
            answers = answers.push(round(Icon::Video, "Answer video", theme::GOOD, Some(Message::AnswerVideo)));
        }
        let dialog = column![
            avatar(&name, &key, 84.0),
            column![
                text(name).size(22).font(theme::STRONG),
                text(what).size(theme::BODY).color(theme::MUTED),
                muted(key).size(theme::TINY).align_x(Alignment::Center),
            ]
            .spacing(6)
            .align_x(Alignment::Center),
            answers,
            muted("Camera and microphone stay off until you answer.").size(theme::TINY),
        ]
        .spacing(22)
        .align_x(Alignment::Center);
        let dialog = container(dialog).padding([30, 36]).width(460).align_x(Alignment::Center).style(theme::dialog);
        opaque(container(dialog).center(Fill).style(theme::shade))
    }
}
