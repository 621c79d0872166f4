//! The look: colours, type, and the styles of the widgets that screens are made of. Nothing outside names a colour by
//! its numbers.

use iced::widget::{button, container, pick_list, progress_bar, scrollable, text_editor, text_input};
use iced::{Background, Border, Color, Font, Shadow, Theme, border, font, overlay};

const fn rgb(r: u8, g: u8, b: u8) -> Color {
    Color::from_rgb8(r, g, b)
}

pub const BACKGROUND: Color = rgb(17, 19, 24);
pub const PANEL: Color = rgb(25, 28, 35);
pub const RAISED: Color = rgb(36, 40, 50);
pub const CONTROL: Color = rgb(48, 53, 65);
pub const LINE: Color = rgb(44, 48, 58);
pub const STAGE: Color = rgb(8, 9, 12);
pub const TEXT: Color = rgb(232, 235, 241);
pub const MUTED: Color = rgb(150, 158, 173);
pub const ACCENT: Color = rgb(66, 116, 235);
/// What one has written oneself, and what stands small on it.
pub const OWN: Color = rgb(41, 68, 140);
pub const OWN_MUTED: Color = rgb(186, 199, 232);
/// A link, on every ground that text stands on.
pub const LINK: Color = rgb(142, 184, 255);
pub const GOOD: Color = rgb(62, 190, 120);
pub const FAIR: Color = rgb(235, 178, 60);
pub const POOR: Color = rgb(222, 72, 76);
pub const OFF: Color = rgb(90, 96, 108);

/// Sizes of type.
pub const TINY: f32 = 11.0;
pub const SMALL: f32 = 12.0;
pub const BODY: f32 = 14.0;
pub const HEAD: f32 = 16.0;
pub const TITLE: f32 = 26.0;

pub const INTER_REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
pub const INTER_SEMIBOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");
pub const FONT: Font = Font::with_name("Inter");
pub const STRONG: Font = Font { weight: font::Weight::Semibold, ..FONT };

pub fn theme() -> Theme {
    let palette = iced::theme::Palette {
        background: BACKGROUND,
        text: TEXT,
        primary: ACCENT,
        success: GOOD,
        warning: FAIR,
        danger: POOR,
    };
    Theme::custom("Kith", palette)
}

/// Everything that the window and its tests start with.
pub fn settings() -> iced::Settings {
    iced::Settings {
        id: Some("kith".into()),
        fonts: vec![INTER_REGULAR.into(), INTER_SEMIBOLD.into(), lucide_icons::LUCIDE_FONT_BYTES.into()],
        default_font: FONT,
        default_text_size: iced::Pixels(BODY),
        antialiasing: true,
        ..iced::Settings::default()
    }
}

fn filled(colour: Color, radius: f32) -> container::Style {
    container::Style { background: Some(colour.into()), border: border::rounded(radius), ..container::Style::default() }
}

pub fn window(_: &Theme) -> container::Style {
    container::Style { text_color: Some(TEXT), ..filled(BACKGROUND, 0.0) }
}

pub fn panel(_: &Theme) -> container::Style {
    filled(PANEL, 14.0)
}

pub fn raised(_: &Theme) -> container::Style {
    filled(RAISED, 10.0)
}

/// Where pictures are shown.
pub fn stage(_: &Theme) -> container::Style {
    filled(STAGE, 14.0)
}

/// On top of pictures.
pub fn glass(_: &Theme) -> container::Style {
    container::Style { text_color: Some(TEXT), ..filled(Color { a: 0.78, ..rgb(12, 14, 18) }, 10.0) }
}

/// Over the whole window, behind a dialog.
pub fn shade(_: &Theme) -> container::Style {
    filled(Color { a: 0.66, ..STAGE }, 0.0)
}

pub fn dialog(_: &Theme) -> container::Style {
    container::Style { border: Border { color: LINE, width: 1.0, radius: 18.0.into() }, ..filled(PANEL, 18.0) }
}

/// A message with a coloured edge.
pub fn notice(colour: Color) -> impl Fn(&Theme) -> container::Style {
    move |_| container::Style {
        background: Some(Color { a: 0.10, ..colour }.into()),
        border: Border { color: Color { a: 0.45, ..colour }, width: 1.0, radius: 10.0.into() },
        ..container::Style::default()
    }
}

pub fn disc(colour: Color, diameter: f32) -> impl Fn(&Theme) -> container::Style {
    move |_| container::Style { text_color: Some(Color::WHITE), ..filled(colour, diameter / 2.0) }
}

/// Lighter under the pointer, darker when pressed, pale when it cannot be pressed.
fn state(colour: Color, status: button::Status) -> Color {
    let shift = |amount: f32| Color {
        r: (colour.r + amount).clamp(0.0, 1.0),
        g: (colour.g + amount).clamp(0.0, 1.0),
        b: (colour.b + amount).clamp(0.0, 1.0),
        a: colour.a,
    };
    match status {
        button::Status::Active => colour,
        button::Status::Hovered => shift(0.05),
        button::Status::Pressed => shift(-0.03),
        button::Status::Disabled => Color { a: 0.4, ..colour },
    }
}

pub fn filled_button(colour: Color, radius: f32) -> impl Fn(&Theme, button::Status) -> button::Style {
    move |_, status| button::Style {
        background: Some(state(colour, status).into()),
        text_color: if status == button::Status::Disabled { MUTED } else { Color::WHITE },
        border: border::rounded(radius),
        ..button::Style::default()
    }
}

/// A row of a list.
pub fn row_button(_: &Theme, status: button::Status) -> button::Style {
    let background = match status {
        button::Status::Hovered => Some(RAISED.into()),
        button::Status::Pressed => Some(CONTROL.into()),
        _ => None,
    };
    button::Style { background, text_color: TEXT, border: border::rounded(10), ..button::Style::default() }
}

/// Text or an icon that can be pressed.
pub fn quiet_button(_: &Theme, status: button::Status) -> button::Style {
    let background = match status {
        button::Status::Hovered => Some(RAISED.into()),
        button::Status::Pressed => Some(CONTROL.into()),
        _ => None,
    };
    let text_color = if status == button::Status::Hovered { TEXT } else { MUTED };
    button::Style { background, text_color, border: border::rounded(8), ..button::Style::default() }
}

/// Whether something is the one that is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    Yes,
    No,
}

impl From<bool> for Chosen {
    fn from(chosen: bool) -> Self {
        if chosen { Self::Yes } else { Self::No }
    }
}

/// A place in the navigation.
pub fn place_button(chosen: Chosen) -> impl Fn(&Theme, button::Status) -> button::Style {
    move |theme, status| match chosen {
        Chosen::Yes => button::Style {
            background: Some(RAISED.into()),
            text_color: TEXT,
            border: border::rounded(10),
            ..button::Style::default()
        },
        Chosen::No => button::Style { border: border::rounded(10), ..quiet_button(theme, status) },
    }
}

/// A row of a list of which one can be chosen.
pub fn chosen_button(chosen: Chosen) -> impl Fn(&Theme, button::Status) -> button::Style {
    move |theme, status| match chosen {
        Chosen::Yes => button::Style { background: Some(CONTROL.into()), ..row_button(theme, status) },
        Chosen::No => row_button(theme, status),
    }
}

/// A word about a thing, in the colour of its state.
pub fn pill(colour: Color) -> impl Fn(&Theme) -> container::Style {
    move |_| container::Style {
        background: Some(Color { a: 0.16, ..colour }.into()),
        border: border::rounded(9),
        ..container::Style::default()
    }
}

pub fn progress(_: &Theme) -> progress_bar::Style {
    progress_bar::Style { background: CONTROL.into(), bar: ACCENT.into(), border: border::rounded(3) }
}

/// The colours of a chart's lines, told apart on a dark ground.
pub fn line(hue: usize) -> Color {
    const LINES: [Color; 6] = [
        rgb(96, 142, 246),
        rgb(62, 190, 120),
        rgb(235, 178, 60),
        rgb(190, 128, 240),
        rgb(70, 196, 208),
        rgb(240, 120, 150),
    ];
    LINES[hue % LINES.len()]
}

pub fn input(_: &Theme, status: text_input::Status) -> text_input::Style {
    let edge = match status {
        text_input::Status::Focused { .. } => ACCENT,
        text_input::Status::Hovered => CONTROL,
        _ => LINE,
    };
    text_input::Style {
        background: BACKGROUND.into(),
        border: Border { color: edge, width: 1.0, radius: 10.0.into() },
        icon: MUTED,
        placeholder: OFF,
        value: TEXT,
        selection: Color { a: 0.5, ..ACCENT },
    }
}

/// A field of several lines.
pub fn editor(_: &Theme, status: text_editor::Status) -> text_editor::Style {
    let edge = match status {
        text_editor::Status::Focused { .. } => ACCENT,
        text_editor::Status::Hovered => CONTROL,
        _ => LINE,
    };
    text_editor::Style {
        background: BACKGROUND.into(),
        border: Border { color: edge, width: 1.0, radius: 10.0.into() },
        placeholder: OFF,
        value: TEXT,
        selection: Color { a: 0.5, ..ACCENT },
    }
}

/// A message; one that was looked for has an edge.
pub fn bubble(colour: Color, sought: Chosen) -> impl Fn(&Theme) -> container::Style {
    move |_| container::Style {
        border: Border { color: FAIR, width: if sought == Chosen::Yes { 1.5 } else { 0.0 }, radius: 13.0.into() },
        ..filled(colour, 13.0)
    }
}

/// What is answered, within a message.
pub fn quote(_: &Theme) -> container::Style {
    filled(Color { a: 0.22, ..Color::BLACK }, 8.0)
}

/// A line across.
pub fn rule(colour: Color) -> impl Fn(&Theme) -> container::Style {
    move |_| filled(colour, 0.0)
}

/// On white, whatever the theme: cameras read it.
pub fn paper(_: &Theme) -> container::Style {
    filled(Color::WHITE, 10.0)
}

/// A reaction; one's own has an edge.
pub fn reaction_button(own: Chosen) -> impl Fn(&Theme, button::Status) -> button::Style {
    move |_, status| button::Style {
        background: Some(state(CONTROL, status).into()),
        text_color: TEXT,
        border: Border { color: ACCENT, width: if own == Chosen::Yes { 1.0 } else { 0.0 }, radius: 10.0.into() },
        ..button::Style::default()
    }
}

/// A colour as its number says, or the one of the person when it has none.
pub fn own_colour(number: u32, key: &str) -> Color {
    match number & 0xff_ff_ff {
        0 => person(key),
        number => {
            let [_, r, g, b] = number.to_be_bytes();
            rgb(r, g, b)
        }
    }
}

/// The colours that a contact can be given.
pub const FACES: [u32; 8] = [0x506ed2, 0xc86446, 0x7850be, 0x1e8c78, 0xb24e82, 0x5a6e82, 0xb88a1e, 0x4a8c32];

pub fn choice(_: &Theme, status: pick_list::Status) -> pick_list::Style {
    let edge = if status == pick_list::Status::Hovered { CONTROL } else { LINE };
    pick_list::Style {
        text_color: TEXT,
        placeholder_color: MUTED,
        handle_color: MUTED,
        background: Background::Color(BACKGROUND),
        border: Border { color: edge, width: 1.0, radius: 8.0.into() },
    }
}

pub fn menu(_: &Theme) -> overlay::menu::Style {
    overlay::menu::Style {
        background: RAISED.into(),
        border: Border { color: LINE, width: 1.0, radius: 8.0.into() },
        text_color: TEXT,
        selected_text_color: Color::WHITE,
        selected_background: ACCENT.into(),
        // None anywhere: the software renderer draws a shadow past the part that it redraws, darker each time.
        shadow: Shadow::default(),
    }
}

pub fn list(theme: &Theme, status: scrollable::Status) -> scrollable::Style {
    let mut style = scrollable::default(theme, status);
    style.container = container::Style::default();
    style.vertical_rail.background = None;
    style.vertical_rail.scroller.background = CONTROL.into();
    style
}

/// A colour for somebody without a picture, always the same for the same person.
pub fn person(key: &str) -> Color {
    const COLOURS: [Color; 6] = [
        rgb(80, 110, 210),
        rgb(200, 100, 70),
        rgb(120, 80, 190),
        rgb(30, 140, 120),
        rgb(178, 78, 130),
        rgb(90, 110, 130),
    ];
    // FNV-1a; the upper bits mix best.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    COLOURS[usize::try_from((hash >> 33) % COLOURS.len() as u64).unwrap_or(0)]
}
