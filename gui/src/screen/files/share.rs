//! What is shared from here: who gets it, who keeps a sealed copy of it, its ticket, and taking it back.

use std::path::PathBuf;

use iced::widget::{button, column, container, row, text};
use iced::{Alignment, Element, Fill};
use kith_common::contact::Contact;
use kith_common::file::{CopyState, Share, ShareState};
use lucide_icons::Icon;

use super::page::Around;
use super::people::Choice;
use super::transfer::{asked, card, kind_disc, titled};
use super::{Ask, Files, Message};
use crate::theme;
use crate::widget::parts::{compact, copy, dot, muted, notice, pill};
use crate::words::files as say;

impl Files {
    pub(super) fn share_line<'a>(&'a self, share: &'a Share, around: Around<'a>) -> Element<'a, Message> {
        let mut deeds = row![].spacing(8).align_y(Alignment::Center);
        match share.state {
            ShareState::Available => {}
            ShareState::Changed => deeds = deeds.push(pill(theme::FAIR, "Changed")),
            ShareState::Missing => deeds = deeds.push(pill(theme::POOR, "Missing")),
        }
        let ticket = Some(Message::Copy(share.ticket.clone()));
        deeds = deeds.push(match around.copied == Some(share.ticket.as_str()) {
            true => compact(Icon::Check, "Copied", theme::GOOD, ticket),
            false => compact(Icon::Ticket, "Copy ticket", theme::CONTROL, ticket),
        });
        let line = titled(kind_disc(share.kind), say::name(&share.name), say::share(share), deeds);
        let open = self.selected == Some(share.hash);
        let head = button(line)
            .padding([9, 12])
            .width(Fill)
            .on_press(Message::Select(share.hash))
            .style(theme::chosen_button(open.into()));
        match open {
            true => column![head, self.about(share, around)].spacing(4).into(),
            false => head.into(),
        }
    }

    fn about<'a>(&'a self, share: &'a Share, around: Around<'a>) -> Element<'a, Message> {
        let hash = share.hash.to_string();
        let path = text(say::path(&share.path)).size(theme::BODY).wrapping(text::Wrapping::WordOrGlyph);
        let mut page = column![path].spacing(10);
        let digits = muted(hash.clone()).size(theme::TINY).wrapping(text::Wrapping::Glyph);
        page = page.push(
            row![container(digits).width(Fill), copy(&hash, around.copied, Message::Copy)]
                .spacing(6)
                .align_y(Alignment::Center),
        );
        if let Some((sentence, advice)) = say::trouble(share.state) {
            page = page.push(notice(Icon::TriangleAlert, theme::FAIR, sentence, advice));
        }
        if !share.peers.is_empty() {
            let names: Vec<String> = share.peers.iter().map(|peer| around.name(*peer, "")).collect();
            page = page.push(muted(format!("For {}", names.join(", "))));
        }
        page = page.push(self.copies(share, around));
        let mut deeds = row![].spacing(8);
        if let Some(folder) = say::folder_of(share.kind, &share.path) {
            let open = Message::Reveal(PathBuf::from(folder));
            deeds = deeds.push(compact(Icon::FolderOpen, "Open folder", theme::CONTROL, Some(open)));
        }
        if share.state == ShareState::Changed {
            deeds = deeds.push(compact(
                Icon::RotateCw,
                "Share it as it is now",
                theme::ACCENT,
                Some(Message::Again(share.hash)),
            ));
        }
        deeds = deeds.push(compact(Icon::EyeOff, "Withdraw", theme::CONTROL, Some(Message::Withdraw(share.hash))));
        page = page.push(deeds);
        if self.asked == Some(Ask::Withdraw(share.hash)) {
            page = page.push(asked(
                "Withdraw it? Nobody gets it from here any more, and sealed copies are dropped. The file stays.".into(),
                compact(Icon::EyeOff, "Withdraw", theme::POOR, Some(Message::WithdrawSurely(share.hash))).into(),
            ));
        }
        card(page)
    }

    /// Who keeps a sealed copy, and who could.
    fn copies<'a>(&'a self, share: &'a Share, around: Around<'a>) -> Element<'a, Message> {
        let mut page = column![
            text("Sealed copies").size(13).font(theme::STRONG),
            muted("Contacts who keep one give it to others while your node is off. They cannot read it.")
        ]
        .spacing(6);
        for copy in &share.copies {
            let colour = match copy.state {
                CopyState::Kept => theme::GOOD,
                CopyState::Asked | CopyState::Sending => theme::FAIR,
                CopyState::Refused => theme::POOR,
            };
            let name = text(around.name(copy.peer, &copy.name)).size(theme::SMALL).wrapping(text::Wrapping::None);
            let line = row![
                dot(colour),
                container(name).width(170).clip(true),
                container(muted(say::copy(copy, share.size_bytes))).width(Fill)
            ];
            page = page.push(line.spacing(9).align_y(Alignment::Center));
        }
        let choice = Choice {
            fits: |contact: &Contact| contact.mutual && !contact.blocked,
            chosen: |peer| share.copies.iter().any(|copy| copy.peer == peer),
            sought: &self.find_keeper,
            find: Message::FindKeeper,
        };
        let offered = choice.view(around, |peer| Message::Copies(share.hash, peer));
        page.push(row(offered).spacing(5).align_y(Alignment::Center).wrap()).into()
    }
}
