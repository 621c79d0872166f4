//! Choosing camera, microphone and speaker, and saying what is missing.

use iced::widget::{column, container, pick_list, row};
use iced::{Alignment, Element, Fill};
use lucide_icons::Icon;

use crate::capture::{CameraChoice, SoundChoice, Status, Studio};
use crate::theme;
use crate::widget::parts::{icon, muted, notice};

#[derive(Debug, Clone)]
pub enum Message {
    Camera(CameraChoice),
    Microphone(SoundChoice),
    Speaker(SoundChoice),
}

/// How the three choices stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Beside one another.
    Wide,
    /// Below one another.
    Tall,
}

/// Camera, microphone and speaker, label above choice.
pub fn choices(studio: &Studio, layout: Layout) -> Element<'_, Message> {
    let choices = [
        choice(Icon::Video, "Camera", studio.camera_choices(), &studio.camera_choice, Message::Camera),
        choice(Icon::Mic, "Microphone", studio.microphone_choices(), &studio.microphone_choice, Message::Microphone),
        choice(Icon::Volume2, "Speaker", studio.speaker_choices(), &studio.speaker_choice, Message::Speaker),
    ];
    match layout {
        Layout::Wide => row(choices).spacing(12).into(),
        Layout::Tall => column(choices).spacing(12).into(),
    }
}

fn choice<'a, T>(
    symbol: Icon,
    name: &'a str,
    options: Vec<T>,
    chosen: &T,
    message: fn(T) -> Message,
) -> Element<'a, Message>
where
    T: std::fmt::Display + PartialEq + Clone + 'a,
{
    let list = pick_list(options, Some(chosen.clone()), message)
        .width(Fill)
        .padding([8, 10])
        .text_size(13)
        .style(theme::choice)
        .menu_style(theme::menu);
    let label = row![icon(symbol, 13.0).color(theme::MUTED), muted(name)].spacing(7).align_y(Alignment::Center);
    container(column![label, list].spacing(5)).width(Fill).into()
}

/// What is missing before a call, in sentences. Empty when all is well.
pub fn missing(studio: &Studio) -> Vec<Element<'_, Message>> {
    let mut list = Vec::new();
    let none = |devices: usize, status: &Status| devices == 0 && *status == Status::Off;
    if let Some(devices) = &studio.devices {
        if none(devices.cameras.len(), &studio.camera_status) && studio.camera_choice == CameraChoice::Automatic {
            list.push(notice(
                Icon::VideoOff,
                theme::FAIR,
                "No camera was found.",
                "Calls show a moving test picture instead. Plug in a camera to be seen.",
            ));
        }
        if none(devices.microphones.len(), &studio.microphone_status)
            && studio.microphone_choice == SoundChoice::Automatic
        {
            list.push(notice(
                Icon::MicOff,
                theme::FAIR,
                "No microphone was found.",
                "Calls send a test sound instead. Plug in a microphone to be heard.",
            ));
        }
    }
    list
}

/// What turned out to be missing or broken in a call, in sentences.
pub fn troubles(studio: &Studio) -> Vec<Element<'_, Message>> {
    let mut list = Vec::new();
    let statuses = [
        (Icon::VideoOff, &studio.camera_status, "The test picture is sent instead."),
        (Icon::MicOff, &studio.microphone_status, "A test sound is sent instead."),
        (Icon::VolumeX, &studio.speaker_status, ""),
    ];
    for (symbol, status, instead) in statuses {
        match status {
            Status::Fallback(error) => {
                list.push(notice(symbol, theme::FAIR, error.to_string(), instead));
            }
            Status::Failed(error) => {
                list.push(notice(symbol, theme::POOR, error.to_string(), error.advice()));
            }
            _ => {}
        }
    }
    list
}
