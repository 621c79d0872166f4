//! What is on its way, and what has arrived: how far it is, who gives it, and the full path of what is whole, last and
//! large.

use std::path::PathBuf;

use iced::widget::{column, container, progress_bar, row, text};
use iced::{Alignment, Color, Element, Fill};
use kith_common::file::{FileKind, Offer, Source, SourceState, Transfer, TransferState, Upload};
use lucide_icons::Icon;

use super::page::Around;
use super::{Ask, Files, Message};
use crate::theme;
use crate::widget::avatar::avatar;
use crate::widget::parts::{compact, dot, icon, muted, notice, small};
use crate::words;
use crate::words::files as say;

/// Sources that are shown; there are at most a few more.
const SOURCES: usize = 8;
const FACE: f32 = 36.0;

fn symbol(kind: FileKind) -> Icon {
    match kind {
        FileKind::File => Icon::File,
        FileKind::Folder => Icon::Folder,
    }
}

fn disc<'a>(symbol: Icon, colour: Color) -> Element<'a, Message> {
    container(icon(symbol, 17.0).color(colour)).center(FACE).style(theme::disc(theme::CONTROL, FACE)).into()
}

pub(super) fn kind_disc<'a>(kind: FileKind) -> Element<'a, Message> {
    disc(symbol(kind), theme::TEXT)
}

/// A name over what there is to say of it, and buttons beside it.
pub(super) fn titled<'a>(
    face: Element<'a, Message>,
    name: String,
    about: String,
    deeds: impl Into<Element<'a, Message>>,
) -> Element<'a, Message> {
    let words = column![text(name).size(15).font(theme::STRONG).wrapping(text::Wrapping::None), muted(about)];
    row![face, container(words.spacing(3)).clip(true).width(Fill), deeds.into()]
        .spacing(12)
        .align_y(Alignment::Center)
        .into()
}

pub(super) fn card<'a>(content: impl Into<Element<'a, Message>>) -> Element<'a, Message> {
    container(content).padding([12, 14]).width(Fill).style(theme::raised).into()
}

fn colour(state: TransferState) -> Color {
    match state {
        TransferState::Fetching | TransferState::Finishing => theme::ACCENT,
        TransferState::Searching | TransferState::Queued | TransferState::Waiting => theme::FAIR,
        TransferState::Paused => theme::OFF,
        TransferState::Done => theme::GOOD,
        TransferState::Failed => theme::POOR,
    }
}

impl Files {
    pub(super) fn offer<'a>(&'a self, offer: &'a Offer, around: Around<'a>) -> Element<'a, Message> {
        let who = around.name(offer.peer, &offer.name);
        let kind = say::kind(offer.kind, offer.files);
        let size = say::bytes(offer.size_bytes);
        let ago = words::node::ago(offer.received_unix_ms, around.now);
        let deeds = row![
            compact(Icon::Download, "Accept", theme::ACCENT, Some(Message::Accept(offer.id))),
            compact(Icon::X, "Refuse", theme::CONTROL, Some(Message::Refuse(offer.id)))
        ];
        let face = avatar(&who, &offer.peer.to_string(), FACE);
        card(titled(face, say::name(&offer.file_name), format!("{who} · {kind} · {size} · {ago}"), deeds.spacing(8)))
    }

    /// What is not whole yet.
    pub(super) fn going<'a>(&'a self, transfer: &'a Transfer, around: Around<'a>) -> Element<'a, Message> {
        let id = transfer.id;
        let mut deeds = row![].spacing(2).align_y(Alignment::Center);
        if transfer.state == TransferState::Queued {
            deeds = deeds.push(small(Icon::ArrowUpToLine, "Before all others", Message::First(id)));
        }
        deeds = deeds.push(match transfer.state {
            TransferState::Paused => compact(Icon::Play, "Resume", theme::ACCENT, Some(Message::Resume(id))).into(),
            TransferState::Failed => {
                compact(Icon::RotateCw, "Try again", theme::ACCENT, Some(Message::Resume(id))).into()
            }
            _ => small(Icon::Pause, "Pause", Message::Pause(id)),
        });
        deeds = deeds.push(small(Icon::X, "Cancel", Message::Cancel(id)));
        let face = disc(symbol(transfer.kind), colour(transfer.state));
        let mut page = column![titled(face, say::name(&transfer.name), say::doing(transfer), deeds)].spacing(9);
        let bar = progress_bar(0.0..=1.0, say::part(transfer.done_bytes, transfer.size_bytes)).girth(6);
        page = page.push(bar.style(theme::progress));
        if transfer.files > 1 {
            page = page.push(muted(format!("{} of {} files are whole", transfer.files_done, transfer.files)));
        }
        if !transfer.error.trim().is_empty() {
            let (sentence, advice) = (words::sentence_of(&transfer.error), words::sentence_of(&transfer.advice));
            page = page.push(notice(Icon::TriangleAlert, colour(transfer.state), sentence, advice));
        }
        page = page.extend(sources(&transfer.sources, around));
        page = page.push(muted(format!("Into {}", say::path(&transfer.folder))).wrapping(text::Wrapping::WordOrGlyph));
        if self.asked == Some(Ask::Cancel(id)) {
            let part = say::bytes(transfer.done_bytes);
            page = page.push(asked(
                format!("Cancel it and delete the {part} that are here?"),
                compact(Icon::Trash2, "Delete", theme::POOR, Some(Message::CancelSurely(id))).into(),
            ));
        }
        card(page)
    }

    /// What is whole: where it is stands last, and large.
    pub(super) fn finished<'a>(&'a self, transfer: &'a Transfer, around: Around<'a>) -> Element<'a, Message> {
        let path = transfer.saved_path.as_str();
        let mut deeds = row![].spacing(6).align_y(Alignment::Center);
        if let Some(folder) = say::folder_of(transfer.kind, path) {
            let open = Message::Reveal(PathBuf::from(folder));
            deeds = deeds.push(compact(Icon::FolderOpen, "Open folder", theme::ACCENT, Some(open)));
        }
        let copy = Some(Message::Copy(path.to_owned()));
        deeds = deeds.push(match around.copied == Some(path) && !path.is_empty() {
            true => compact(Icon::Check, "Copied", theme::GOOD, copy),
            false => compact(Icon::Copy, "Copy path", theme::CONTROL, copy),
        });
        deeds = deeds.push(small(Icon::X, "Off the list; the file stays", Message::Cancel(transfer.id)));
        let face = disc(symbol(transfer.kind), theme::GOOD);
        let mut page = column![titled(face, say::name(&transfer.name), say::doing(transfer), deeds)].spacing(9);
        let liars: Vec<Source> =
            transfer.sources.iter().filter(|source| source.state == SourceState::Lied).cloned().collect();
        page = page.extend(sources(&liars, around));
        let path = text(say::path(path)).size(theme::HEAD).wrapping(text::Wrapping::WordOrGlyph);
        card(page.push(path))
    }
}

pub(super) fn asked<'a>(question: String, surely: Element<'a, Message>) -> Element<'a, Message> {
    let line = row![
        text(question).size(theme::BODY).width(Fill),
        surely,
        compact(Icon::X, "Keep", theme::CONTROL, Some(Message::Keep))
    ];
    container(line.spacing(8).align_y(Alignment::Center)).padding([8, 12]).style(theme::notice(theme::POOR)).into()
}

fn sources<'a>(sources: &[Source], around: Around<'_>) -> Vec<Element<'a, Message>> {
    let mut list: Vec<Element<'a, Message>> =
        sources.iter().take(SOURCES).map(|source| one_source(source, around)).collect();
    if sources.len() > SOURCES {
        list.push(muted(format!("and {} more", sources.len() - SOURCES)).into());
    }
    list
}

fn one_source<'a>(source: &Source, around: Around<'_>) -> Element<'a, Message> {
    let colour = match source.state {
        SourceState::Active => theme::GOOD,
        SourceState::Connecting | SourceState::Stalled | SourceState::Busy => theme::FAIR,
        SourceState::Dropped => theme::OFF,
        SourceState::Lied => theme::POOR,
    };
    let told = if source.state == SourceState::Lied { theme::POOR } else { theme::MUTED };
    let way = source.path.map_or("", words::node::path);
    let sealed = if source.sealed { "sealed copy" } else { "" };
    let way: Vec<&str> = [way, sealed].into_iter().filter(|part| !part.is_empty()).collect();
    let got = if source.received_bytes == 0 { String::new() } else { say::bytes(source.received_bytes) };
    let words =
        |words: String, width: f32| container(muted(words).wrapping(text::Wrapping::None)).width(width).clip(true);
    let name = text(around.name(source.peer, &source.name)).size(theme::SMALL).wrapping(text::Wrapping::None);
    row![
        dot(colour),
        container(name).width(150).clip(true),
        words(way.join(", "), 110.0),
        container(muted(say::source(source)).color(told)).width(Fill),
        words(got, 70.0)
    ]
    .spacing(9)
    .align_y(Alignment::Center)
    .into()
}

/// What somebody fetches from here now.
pub(super) fn upload<'a>(upload: &'a Upload, around: Around<'a>) -> Element<'a, Message> {
    let who = around.name(upload.peer, &upload.name);
    let way = upload.path.map_or("", words::node::path);
    let what = if upload.sealed { "a sealed copy of " } else { "" };
    let line = row![
        icon(Icon::CloudUpload, 16.0).color(theme::ACCENT),
        container(
            text(format!("{who} fetches {what}{}", say::name(&upload.file_name)))
                .size(13)
                .wrapping(text::Wrapping::None)
        )
        .clip(true)
        .width(Fill),
        muted(way),
        muted(say::rate(upload.bytes_per_second)),
        muted(format!("{} sent", say::bytes(upload.sent_bytes)))
    ];
    container(line.spacing(12).align_y(Alignment::Center)).padding([8, 14]).width(Fill).style(theme::raised).into()
}
