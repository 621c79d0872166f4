//! Buttons, labels and lines that more than one screen uses.

use iced::widget::{button, column, container, row, scrollable, space, text, tooltip};
use iced::{Alignment, Color, Element, Fill, Theme};
use lucide_icons::Icon;

use crate::theme;

/// An icon of the bundled icon font.
pub fn icon<'a>(icon: Icon, size: f32) -> text::Text<'a, Theme> {
    text(char::from(icon).to_string()).font(iced::Font::with_name("lucide")).size(size).line_height(1.0)
}

/// What may be taller than its place, with a thin bar beside it.
pub fn scroll<'a, Message: 'a>(content: impl Into<Element<'a, Message>>) -> Element<'a, Message> {
    let bar = scrollable::Scrollbar::new().width(4).scroller_width(4).margin(3);
    scrollable(content).direction(scrollable::Direction::Vertical(bar)).height(Fill).style(theme::list).into()
}

/// A small coloured disc that says how something does.
pub fn dot<'a, Message: 'a>(colour: Color) -> Element<'a, Message> {
    container(space().width(8).height(8)).style(theme::disc(colour, 8.0)).into()
}

pub fn muted<'a>(words: impl text::IntoFragment<'a>) -> text::Text<'a, Theme> {
    text(words).size(theme::SMALL).color(theme::MUTED)
}

pub fn heading<'a>(words: impl text::IntoFragment<'a>) -> text::Text<'a, Theme> {
    text(words).size(theme::HEAD).font(theme::STRONG)
}

/// A button with an icon and a word, in a colour. Without a message it cannot be pressed.
pub fn labelled<'a, Message: Clone + 'a>(
    symbol: Icon,
    label: &'a str,
    colour: Color,
    message: Option<Message>,
) -> button::Button<'a, Message> {
    let content = row![icon(symbol, 17.0), text(label).size(theme::BODY).font(theme::STRONG)]
        .spacing(9)
        .align_y(Alignment::Center);
    button(container(content).center_x(Fill))
        .padding([11, 18])
        .on_press_maybe(message)
        .style(theme::filled_button(colour, 10.0))
}

/// A round button of the call's control bar with its name below.
pub fn round<'a, Message: Clone + 'a>(
    symbol: Icon,
    label: &'a str,
    colour: Color,
    message: Option<Message>,
) -> Element<'a, Message> {
    let disc = button(container(icon(symbol, 22.0)).center(Fill))
        .width(54)
        .height(54)
        .padding(0)
        .on_press_maybe(message)
        .style(theme::filled_button(colour, 27.0));
    container(column![disc, muted(label).size(theme::TINY)].spacing(6).align_x(Alignment::Center)).center_x(78).into()
}

/// A smaller button with an icon and a word, for a place inside a card. Without a message it cannot be pressed.
pub fn compact<'a, Message: Clone + 'a>(
    symbol: Icon,
    label: impl text::IntoFragment<'a>,
    colour: Color,
    message: Option<Message>,
) -> button::Button<'a, Message> {
    let content = row![icon(symbol, 14.0), text(label).size(13).wrapping(text::Wrapping::None)]
        .spacing(7)
        .align_y(Alignment::Center);
    button(content).padding([7, 12]).on_press_maybe(message).style(theme::filled_button(colour, 8.0))
}

/// A word about a thing, in the colour of its state.
pub fn pill<'a, Message: 'a>(colour: Color, word: impl text::IntoFragment<'a>) -> Element<'a, Message> {
    let content = row![dot(colour), text(word).size(theme::SMALL).wrapping(text::Wrapping::None)]
        .spacing(7)
        .align_y(Alignment::Center);
    container(content).padding([4, 10]).style(theme::pill(colour)).into()
}

/// Copies `content`; for a moment after that it says so. `copied` is what was copied last.
pub fn copy<'a, Message: Clone + 'a>(
    content: &str,
    copied: Option<&str>,
    message: fn(String) -> Message,
) -> Element<'a, Message> {
    if copied == Some(content) {
        return container(icon(Icon::Check, 14.0).color(theme::GOOD)).padding(6).into();
    }
    let press = button(icon(Icon::Copy, 14.0)).padding(6).on_press(message(content.to_owned()));
    press.style(theme::quiet_button).into()
}

/// A bare icon that can be pressed, with its meaning under the pointer.
pub fn small<'a, Message: Clone + 'a>(symbol: Icon, meaning: &'a str, message: Message) -> Element<'a, Message> {
    let press = button(icon(symbol, 16.0)).padding(8).on_press(message).style(theme::quiet_button);
    tooltip(
        press,
        container(text(meaning).size(theme::SMALL)).padding([5, 9]).style(theme::raised),
        tooltip::Position::Top,
    )
    .gap(4)
    .into()
}

/// A name on the left, a value on the right.
pub fn figure<'a, Message: 'a>(name: &'a str, value: impl text::IntoFragment<'a>) -> Element<'a, Message> {
    row![muted(name), space::horizontal(), text(value).size(theme::SMALL)].spacing(8).into()
}

/// A message that stays until what it says is over.
pub fn notice<'a, Message: 'a>(
    symbol: Icon,
    colour: Color,
    sentence: impl text::IntoFragment<'a>,
    advice: impl text::IntoFragment<'a>,
) -> Element<'a, Message> {
    let advice = advice.into_fragment();
    let mut words = column![text(sentence).size(theme::BODY)].spacing(3).width(Fill);
    if !advice.is_empty() {
        words = words.push(muted(advice));
    }
    container(row![icon(symbol, 18.0).color(colour), words].spacing(11))
        .padding([11, 13])
        .width(Fill)
        .style(theme::notice(colour))
        .into()
}
