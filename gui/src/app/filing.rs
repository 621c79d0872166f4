//! Files in the application: what is dropped on the window, what the desktop is told of, and what it is asked for.

use std::path::PathBuf;
use std::sync::Arc;

use iced::Task;
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{FilesState, TransferState};

use super::{App, Around, Message, Place, Screen};
use crate::desktop::{self, What};
use crate::notify::Note;
use crate::screen::Wish;
use crate::screen::{chat, files};
use crate::words;
use crate::words::files as say;

impl App {
    pub(super) fn heard_of_files(&mut self, told: Result<Arc<FilesState>, Failure>) -> Task<Message> {
        match &told {
            Ok(state) => {
                self.tell_of_files(state);
                self.chat.hear_files(Arc::clone(state));
            }
            // The loss of the daemon is told once, by the link itself.
            Err(failure) if failure.kind == FailureKind::NoDaemon => return Task::none(),
            Err(_) => {}
        }
        let wish = self.files.hear(told);
        self.grant(wish)
    }

    /// Tells the desktop of what has arrived or is offered while nobody looks.
    fn tell_of_files(&self, now: &FilesState) {
        let Some(before) = self.files.state().filter(|_| self.focus != Around::Focused) else { return };
        let known = |id| before.offers.iter().any(|offer| offer.id == id);
        let offered = now.offers.iter().filter(|offer| !known(offer.id)).map(|offer| {
            let who = words::name(&words::chat::one_line(&offer.name), Some(offer.peer));
            let size = say::bytes(offer.size_bytes);
            Note {
                title: who,
                text: format!("offers {}, {size}", say::name(&offer.file_name)),
                hidden: "A file is offered",
            }
        });
        let was_going = |id| before.transfers.iter().any(|was| was.id == id && was.state != TransferState::Done);
        let arrived = now.transfers.iter().filter(|transfer| transfer.state == TransferState::Done);
        let arrived = arrived.filter(|transfer| was_going(transfer.id)).map(|transfer| Note {
            title: say::name(&transfer.name),
            text: format!("has arrived: {}", say::path(&transfer.saved_path)),
            hidden: "A file has arrived",
        });
        for note in offered.chain(arrived).collect::<Vec<_>>() {
            self.notifier.tell(note, self.chat.telling);
        }
    }

    /// Something is held over the window, or not any more.
    pub(super) fn hovered(&mut self, over: bool) {
        self.files.hovered = over && self.place == Place::Files && matches!(self.screen, Screen::Home);
    }

    /// In a conversation it goes with the message, on the Files screen it is shared; anywhere else it was a slip.
    pub(super) fn dropped(&mut self, path: PathBuf) -> Task<Message> {
        self.files.hovered = false;
        if !matches!(self.screen, Screen::Home) {
            return Task::none();
        }
        let wish = match self.place {
            Place::Chat => self.chat.dropped(path),
            Place::Files => self.files.dropped(path),
            _ => Wish::Nothing,
        };
        self.grant(wish)
    }

    pub(super) fn grant_filing(&mut self, wish: Wish) -> Task<Message> {
        match wish {
            Wish::PasteFile => iced::clipboard::read().map(|content| Message::Files(files::Message::Pasted(content))),
            Wish::Choose(what) => {
                Task::future(desktop::choose(what)).map(|chosen| Message::Files(files::Message::Chosen(chosen)))
            }
            Wish::Attach(id) => Task::future(desktop::choose(What::Files)).map(move |chosen| {
                let chosen = chosen.map_err(|failure| failure.advise("Drop the file on the conversation."));
                Message::Chat(chat::Message::Chosen(id, chosen))
            }),
            Wish::Reveal(folder) => Task::future(desktop::reveal(folder)).map(Message::Revealed),
            _ => Task::none(),
        }
    }

    /// Why a folder was not opened is said where it was asked.
    pub(super) fn revealed(&mut self, told: Result<(), Failure>) {
        let trouble = match self.place {
            Place::Chat => &mut self.chat.trouble,
            _ => &mut self.files.trouble,
        };
        if let Err(failure) = told {
            *trouble = Some(failure);
        }
    }
}
