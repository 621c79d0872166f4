//! Where files are saved, how fast, what may come unasked, and what this node keeps for others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use iced::widget::{button, column, container, opaque, row, space, text, text_input};
use iced::{Alignment, Element, Fill};
use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{ContentKind, FileHash, FileSettings, Kept};
use lucide_icons::Icon;

use super::{Asked, Files, Message as Whole};
use crate::link::{Filing, Job, News};
use crate::screen::Wish;
use crate::theme;
use crate::widget::parts::{compact, copy, labelled, muted, notice, scroll, small};
use crate::words;
use crate::words::files as say;

pub const FOLDER: &str = "files-folder";
/// A figure has no more characters than this.
const DIGITS: usize = 12;
/// More copies are kept than a dialog shows only where somebody made a server of a node.
const KEPT: usize = 200;
const MEGA: f64 = 1e6;
const GIGA: f64 = 1e9;

/// What may come unasked, in the order in which it is offered.
const KINDS: [ContentKind; 7] = [
    ContentKind::Image,
    ContentKind::Video,
    ContentKind::Audio,
    ContentKind::Document,
    ContentKind::Archive,
    ContentKind::Folder,
    ContentKind::Other,
];

/// The figures that are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Download,
    Upload,
    AtOnce,
    Unasked,
    PerContact,
    Store,
}

#[derive(Debug, Clone)]
pub enum Message {
    Close,
    Folder(String),
    Typed(Field, String),
    Kind(ContentKind),
    Save,
    /// Asks whether to: it is not this node's to be had again.
    Drop(FileHash),
    DropSurely(FileHash),
    Keep,
    Copy(String),
}

/// The dialog.
#[derive(Debug, Default)]
pub struct Settings {
    /// As the daemon has them; `None` until it has said.
    known: Option<FileSettings>,
    pub folder: String,
    figures: [String; 6],
    kinds: BTreeSet<ContentKind>,
    kept: Option<Vec<Kept>>,
    dropping: Option<FileHash>,
    saving: Option<Job>,
    saved: bool,
    failure: Option<Failure>,
}

/// A figure as it is typed: nothing stands for none.
fn figure(typed: &str, unit: f64) -> Result<u64, Failure> {
    let typed = typed.trim().replace(',', ".");
    if typed.is_empty() {
        return Ok(0);
    }
    match typed.parse::<f64>() {
        // 16 TiB, the largest file, is far below what a u64 holds.
        Ok(figure) if figure.is_finite() && (0.0..=1e9).contains(&figure) => Ok((figure * unit).round() as u64),
        _ => {
            let message = format!("“{typed}” is no figure");
            Err(Failure::new(FailureKind::InvalidArgument, message).advise("Type a number such as 2.5, or nothing."))
        }
    }
}

fn typed(value: u64, unit: f64) -> String {
    if value == 0 {
        return String::new();
    }
    let figure = format!("{:.2}", value as f64 / unit);
    figure.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Field {
    const ALL: [Self; 6] = [Self::Download, Self::Upload, Self::AtOnce, Self::Unasked, Self::PerContact, Self::Store];

    fn place(self) -> usize {
        Self::ALL.iter().position(|field| *field == self).unwrap_or(0)
    }

    /// What it is, its unit in words, and what nothing stands for.
    fn about(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Download => ("Fetch at most", "MB/s", "no limit"),
            Self::Upload => ("Send at most", "MB/s", "no limit"),
            Self::AtOnce => ("Transfers at the same time", "", "1"),
            Self::Unasked => ("Largest file that may come unasked", "MB", "none"),
            Self::PerContact => ("Sealed copies of one contact", "GB", "none"),
            Self::Store => ("All that your node keeps itself", "GB", "none"),
        }
    }
}

impl Settings {
    pub fn hear(&mut self, settings: FileSettings) {
        self.folder = settings.folder.to_string_lossy().into_owned();
        self.figures = [
            typed(settings.download_bytes_per_second, MEGA),
            typed(settings.upload_bytes_per_second, MEGA),
            typed(settings.at_once.into(), 1.0),
            typed(settings.unasked_bytes, MEGA),
            typed(settings.copy_bytes_per_contact, GIGA),
            typed(settings.store_bytes, GIGA),
        ];
        self.kinds = settings.unasked_kinds.iter().copied().collect();
        self.known = Some(settings);
    }

    /// What was typed, as the daemon takes it.
    fn wanted(&self, known: &FileSettings) -> Result<FileSettings, Failure> {
        // What is shown is rounded: where nobody typed, what is known stays.
        let figure = |field: Field, unit, known| match &self.figures[field.place()] {
            shown if *shown == typed(known, unit) => Ok(known),
            shown => figure(shown, unit),
        };
        let folder = match self.folder.trim() {
            shown if shown == known.folder.to_string_lossy() => known.folder.clone(),
            shown => PathBuf::from(shown),
        };
        if folder.is_relative() && !folder.as_os_str().is_empty() {
            let message = format!("“{}” is not a full path", say::path(&folder.to_string_lossy()));
            return Err(Failure::new(FailureKind::InvalidArgument, message)
                .advise("Begin it with a slash, or leave it empty for your Downloads folder."));
        }
        let at_once = figure(Field::AtOnce, 1.0, known.at_once.into())?.max(1);
        Ok(FileSettings {
            folder,
            download_bytes_per_second: figure(Field::Download, MEGA, known.download_bytes_per_second)?,
            upload_bytes_per_second: figure(Field::Upload, MEGA, known.upload_bytes_per_second)?,
            unasked_bytes: figure(Field::Unasked, MEGA, known.unasked_bytes)?,
            unasked_kinds: self.kinds.iter().copied().collect(),
            copy_bytes_per_contact: figure(Field::PerContact, GIGA, known.copy_bytes_per_contact)?,
            store_bytes: figure(Field::Store, GIGA, known.store_bytes)?,
            at_once: u32::try_from(at_once).unwrap_or(u32::MAX),
        })
    }

    pub fn failed(&mut self, failure: &Failure) {
        self.saving = None;
        self.failure = Some(failure.clone());
    }
}

impl Files {
    pub(super) fn open_settings(&mut self) -> Wish {
        self.settings = Some(Settings::default());
        Wish::All(vec![self.start(Asked::Settings, Filing::Settings), self.start(Asked::Settings, Filing::Kept)])
    }

    pub(super) fn settings_news(&mut self, job: Job, news: &News) -> Wish {
        let Some(dialog) = &mut self.settings else { return Wish::Nothing };
        match news {
            News::FileSettings(settings) => dialog.hear((**settings).clone()),
            News::Kept(kept) => dialog.kept = Some(kept.clone()),
            News::Failed(failure) => dialog.failed(failure),
            News::Done if dialog.saving == Some(job) => {
                dialog.saving = None;
                dialog.saved = true;
                // The daemon may have made something else of it: an empty folder becomes the user's Downloads.
                return self.start(Asked::Settings, Filing::Settings);
            }
            News::Done => return self.start(Asked::Settings, Filing::Kept),
            _ => {}
        }
        Wish::Nothing
    }

    pub(super) fn in_settings(&mut self, message: Message) -> Wish {
        let Some(dialog) = &mut self.settings else { return Wish::Nothing };
        dialog.saved = false;
        match message {
            Message::Close => self.settings = None,
            Message::Copy(content) => return Wish::Copy(content),
            Message::Folder(folder) => {
                dialog.folder = folder;
                dialog.failure = None;
            }
            Message::Typed(field, typed) => {
                let figure = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ',');
                dialog.figures[field.place()] = typed.chars().filter(figure).take(DIGITS).collect();
                dialog.failure = None;
            }
            Message::Kind(kind) => {
                if !dialog.kinds.remove(&kind) {
                    dialog.kinds.insert(kind);
                }
            }
            Message::Save => match dialog.known.as_ref().map(|known| dialog.wanted(known)) {
                Some(Ok(wanted)) if dialog.saving.is_none() => {
                    dialog.failure = None;
                    let job = Job::next();
                    dialog.saving = Some(job);
                    return self.start_as(job, Asked::Settings, Filing::Set(wanted));
                }
                Some(Err(failure)) => dialog.failure = Some(failure),
                Some(Ok(_)) | None => {}
            },
            Message::Drop(hash) => dialog.dropping = Some(hash),
            Message::Keep => dialog.dropping = None,
            Message::DropSurely(hash) => {
                dialog.dropping = None;
                return self.start(Asked::Settings, Filing::DropKept(hash));
            }
        }
        Wish::Nothing
    }

    pub(super) fn settings_view<'a>(&'a self, copied: Option<&'a str>) -> Option<Element<'a, Whole>> {
        let dialog = self.settings.as_ref()?;
        let head = row![
            text("Files: settings").size(20).font(theme::STRONG),
            space::horizontal(),
            small(Icon::X, "Close (Esc)", Message::Close)
        ];
        let mut page = column![].spacing(16).width(Fill);
        page = match &dialog.known {
            Some(_) => page.push(dialog.fields()),
            None if dialog.failure.is_none() => page.push(muted("Asking your node…")),
            None => page,
        };
        page = page.push(dialog.kept(copied));
        let mut below = column![].spacing(10);
        if let Some(failure) = &dialog.failure {
            let (sentence, advice) = words::node::failure(failure);
            below = below.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        let (symbol, label, colour) = match (dialog.saving, dialog.saved) {
            (Some(_), _) => (Icon::Loader, "Saving…", theme::CONTROL),
            (None, true) => (Icon::Check, "Saved", theme::GOOD),
            (None, false) => (Icon::Save, "Save", theme::ACCENT),
        };
        let ready = dialog.known.is_some() && dialog.saving.is_none();
        below = below.push(labelled(symbol, label, colour, ready.then_some(Message::Save)).width(Fill));
        let middle = container(scroll(container(page).padding(iced::padding::right(14)))).max_height(470.0);
        let content = column![head.align_y(Alignment::Center), middle, below].spacing(14);
        let dialog = container(content).padding([18, 22]).width(560).max_height(660.0).style(theme::dialog);
        let dialog: Element<'a, Message> = opaque(container(dialog).center(Fill).style(theme::shade));
        Some(dialog.map(Whole::Settings))
    }
}

impl Settings {
    fn fields(&self) -> Element<'_, Message> {
        let folder = text_input("Your Downloads folder", &self.folder)
            .id(FOLDER)
            .on_input(Message::Folder)
            .on_submit(Message::Save)
            .padding([9, 12])
            .size(13)
            .style(theme::input);
        let mut page = column![heading("What arrives is saved in"), folder].spacing(9);
        page = page.push(self.field(Field::Download)).push(self.field(Field::Upload)).push(self.field(Field::AtOnce));
        page = page
            .push(heading("Unasked"))
            .push(muted("From contacts who may always send you files. Everything else is offered, and you decide."))
            .push(self.field(Field::Unasked));
        let kinds = KINDS.map(|kind| {
            let chosen = self.kinds.contains(&kind);
            let colour = if chosen { theme::ACCENT } else { theme::CONTROL };
            button(text(say::content(kind)).size(theme::SMALL))
                .padding([5, 10])
                .on_press(Message::Kind(kind))
                .style(theme::filled_button(colour, 8.0))
                .into()
        });
        page = page.push(row(kinds).spacing(5).wrap());
        page.push(heading("Kept for others"))
            .push(muted(
                "Contacts whom you relay for may ask you to keep sealed copies, so that their files can be had while \
                 they are away. You cannot read them.",
            ))
            .push(self.field(Field::PerContact))
            .push(self.field(Field::Store))
            .into()
    }

    fn field(&self, field: Field) -> Element<'_, Message> {
        let (name, unit, nothing) = field.about();
        let input = text_input(nothing, &self.figures[field.place()])
            .on_input(move |typed| Message::Typed(field, typed))
            .on_submit(Message::Save)
            .padding([6, 10])
            .size(13)
            .width(110)
            .style(theme::input);
        row![text(name).size(13).width(Fill), input, container(muted(unit)).width(34)]
            .spacing(8)
            .align_y(Alignment::Center)
            .into()
    }

    fn kept<'a>(&'a self, copied: Option<&'a str>) -> Element<'a, Message> {
        let Some(kept) = self.kept.as_ref().filter(|kept| !kept.is_empty()) else {
            return muted("You keep no sealed copies at the moment.").into();
        };
        let now = unix_ms();
        let mut page = column![].spacing(4);
        for copy_of in kept.iter().take(KEPT) {
            let name = words::name(&words::chat::one_line(&copy_of.name), Some(copy_of.peer));
            let size = match copy_of.held_bytes >= copy_of.size_bytes {
                true => say::bytes(copy_of.size_bytes),
                false => format!("{} of {}", say::bytes(copy_of.held_bytes), say::bytes(copy_of.size_bytes)),
            };
            let about = format!("{size} · for {}", words::node::since(copy_of.since_unix_ms, now));
            let words = column![text(name).size(13).wrapping(text::Wrapping::None), muted(about).size(theme::TINY)];
            let line = row![
                container(words.spacing(1)).clip(true).width(Fill),
                copy(&copy_of.hash.to_string(), copied, Message::Copy),
                compact(Icon::Trash2, "Drop it", theme::CONTROL, Some(Message::Drop(copy_of.hash)))
            ];
            page =
                page.push(container(line.spacing(8).align_y(Alignment::Center)).padding([6, 10]).style(theme::raised));
            if self.dropping == Some(copy_of.hash) {
                let words = "Drop it? Their file cannot be had from here any more.";
                let answers = row![
                    text(words).size(13).width(Fill),
                    compact(Icon::Trash2, "Drop", theme::POOR, Some(Message::DropSurely(copy_of.hash))),
                    compact(Icon::X, "Keep", theme::CONTROL, Some(Message::Keep))
                ];
                let answers = answers.spacing(8).align_y(Alignment::Center);
                page = page.push(container(answers).padding([6, 10]).style(theme::notice(theme::POOR)));
            }
        }
        if kept.len() > KEPT {
            page = page.push(muted(format!("And {} more: kithctl files kept lists them.", kept.len() - KEPT)));
        }
        page.into()
    }
}

fn heading<'a>(words: &'a str) -> Element<'a, Message> {
    container(text(words).size(theme::BODY).font(theme::STRONG)).padding(iced::padding::top(6)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::files;

    #[test]
    fn what_the_daemon_said_goes_back_as_it_came() {
        let mut settings = Settings::default();
        settings.hear(files::settings());
        assert_eq!(settings.wanted(&files::settings()), Ok(files::settings()));
    }

    #[test]
    fn figures_are_numbers_and_nothing_is_none() {
        assert_eq!(figure("", MEGA), Ok(0));
        assert_eq!(figure(" 2.5 ", MEGA), Ok(2_500_000));
        assert_eq!(figure("0,5", GIGA), Ok(500_000_000));
        for wrong in ["much", "1e400", "-1", "1.2.3", "NaN", "99999999999"] {
            assert!(figure(wrong, MEGA).is_err(), "{wrong}");
        }
        assert_eq!(typed(2_500_000, MEGA), "2.5");
        assert_eq!(typed(10_000_000_000, GIGA), "10");
    }

    #[test]
    fn only_a_full_path_is_a_folder() {
        let mut settings = Settings::default();
        settings.hear(files::settings());
        settings.folder = "Downloads".into();
        let known = files::settings();
        assert!(settings.wanted(&known).is_err_and(|failure| failure.message.contains("not a full path")));
        settings.folder = String::new();
        assert_eq!(settings.wanted(&known).expect("the usual one").folder, PathBuf::new());
    }
}
