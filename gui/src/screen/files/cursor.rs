//! A way through the lines for those who do not use a mouse: up and down, Enter for what stands first on a line, and Ctrl+C
//! for its path or ticket.

use kith_common::file::{FileHash, TransferState};

use super::lines::{Filter, Line};
use super::{Files, Message};
use crate::screen::Wish;
use crate::words::files as say;

/// Where one stands, whatever comes and goes around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Offer(u32),
    Transfer(u32),
    Older,
    Share(FileHash),
}

/// What the list was last led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Led {
    #[default]
    Top,
    Cursor,
}

impl Files {
    /// `None` for lines with which nothing can be done.
    fn spot(&self, line: Line) -> Option<Spot> {
        let state = self.state()?;
        match line {
            Line::Offer(at) => Some(Spot::Offer(state.offers.get(at)?.id)),
            Line::Transfer(at) | Line::Finished(at) => Some(Spot::Transfer(state.transfers.get(at)?.id)),
            Line::Older(_) => Some(Spot::Older),
            Line::Share(at) => Some(Spot::Share(self.shares.list.get(at)?.hash)),
            Line::Heading(..) | Line::Adding(_) | Line::Upload(_) | Line::Cut => None,
        }
    }

    pub(super) fn is_here(&self, line: Line) -> bool {
        self.cursor.is_some() && self.spot(line) == self.cursor
    }

    /// The line on which one stands.
    pub(super) fn here(&self) -> Option<usize> {
        self.lines.iter().position(|line| self.is_here(*line))
    }

    /// The list stands at its first line again, and one on none of them.
    pub(super) fn back_to_top(&mut self) {
        self.cursor = None;
        self.led = Led::Top;
        self.tops += 1;
    }

    pub fn step(&mut self, by: isize) {
        if self.settings.is_some() {
            return;
        }
        let spots: Vec<Spot> = self.lines.iter().filter_map(|line| self.spot(*line)).collect();
        let at = self.cursor.and_then(|cursor| spots.iter().position(|spot| *spot == cursor));
        let next = at.map_or(0, |at| at.saturating_add_signed(by).min(spots.len().saturating_sub(1)));
        if let Some(spot) = spots.get(next) {
            self.cursor = Some(*spot);
            self.led = Led::Cursor;
            self.tops += 1;
        }
    }

    /// Where one stands, unless something lies over it.
    fn standing(&self) -> Option<Spot> {
        self.cursor.filter(|_| self.settings.is_none() && self.here().is_some())
    }

    /// What stands first on the line.
    pub fn enter(&mut self) -> Wish {
        let deed = self.standing().and_then(|spot| match spot {
            Spot::Offer(id) => Some(Message::Accept(id)),
            Spot::Transfer(id) => self.transfer(id).and_then(|transfer| match transfer.state {
                TransferState::Done => {
                    let folder = say::folder_of(transfer.kind, &transfer.saved_path)?;
                    Some(Message::Reveal(folder.to_owned()))
                }
                TransferState::Paused | TransferState::Failed => Some(Message::Resume(id)),
                _ => Some(Message::Pause(id)),
            }),
            Spot::Older => Some(Message::Show(Filter::Finished)),
            Spot::Share(hash) => Some(Message::Select(hash)),
        });
        deed.map_or(Wish::Nothing, |deed| self.update(deed))
    }

    /// The path of what has arrived, the ticket of what is shared, and the hash of what is neither yet.
    pub fn copy(&self) -> Wish {
        let content = self.standing().and_then(|spot| match spot {
            Spot::Offer(id) => {
                let offer = self.state()?.offers.iter().find(|offer| offer.id == id)?;
                Some(offer.hash.to_string())
            }
            Spot::Transfer(id) => self.transfer(id).map(|transfer| match transfer.state {
                TransferState::Done if !transfer.saved_path.is_empty() => transfer.saved_path.clone(),
                _ => transfer.hash.to_string(),
            }),
            Spot::Older => None,
            Spot::Share(hash) => self.share(hash).map(|share| share.ticket.clone()),
        });
        content.map_or(Wish::Nothing, Wish::Copy)
    }
}
