//! A coloured disc with initials, for somebody whose picture is not there.

use iced::Element;
use iced::widget::{container, text};

use crate::{theme, words};

pub fn avatar<'a, Message: 'a>(name: &str, key: &str, diameter: f32) -> Element<'a, Message> {
    container(text(words::initials(name)).size(diameter * 0.38).font(theme::STRONG))
        .center(diameter)
        .style(theme::disc(theme::person(key), diameter))
        .into()
}
