//! Files of messages: dropped ones are shared with who is in the conversation and go with the message; those that came
//! with one are fetched where they stand, and lead to where they were saved.

use std::path::PathBuf;
use std::sync::Arc;

use iced::widget::{column, container, progress_bar, row, space, text};
use iced::{Alignment, Color, Element};
use kith_common::chat::{Attachment, ConversationId, MAX_ATTACHMENTS};
use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, FileHash, FileKind, FileTicket, FilesState, GetOptions, Share, ShareScope, Transfer, TransferState,
};
use kith_common::ids::PeerId;
use lucide_icons::Icon;

use super::thread::Thread;
use super::{Asked, Chat, Message as Whole};
use crate::link::{Errand, Filing, Job, News};
use crate::screen::Wish;
use crate::screen::files::begun;
use crate::theme;
use crate::widget::parts::{compact, icon, small};
use crate::words::files as say;

/// The widest that a card's words get.
const WIDTH: f32 = 240.0;

#[derive(Debug, Clone)]
pub enum Message {
    /// Accepts what is offered, or asks whoever has it.
    Fetch(FileHash, String),
    Pause(u32),
    Resume(u32),
    Reveal(PathBuf),
    Copy(String),
    GiveUp(PathBuf),
}

/// Whose message a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Mine,
    Theirs,
}

impl Chat {
    pub fn hear_files(&mut self, state: Arc<FilesState>) {
        self.files = state;
    }

    /// Who is to get what is dropped on a conversation.
    fn members(&self, id: ConversationId) -> Vec<PeerId> {
        match id {
            ConversationId::Peer(peer) => vec![peer],
            ConversationId::Group(_) => {
                let members = self.conversation(id).map_or(&[][..], |conversation| &conversation.members);
                members.iter().copied().filter(|peer| self.own != Some(*peer)).collect()
            }
        }
    }

    /// A dropped file is shared with the conversation, to go with the message.
    pub(super) fn share_file(&mut self, path: PathBuf) -> Wish {
        match self.open_to_files() {
            Some(id) => self.share_with(id, path),
            None => Wish::Nothing,
        }
    }

    /// The conversation that files can go to now.
    fn open_to_files(&self) -> Option<ConversationId> {
        let id = self.thread.as_ref().filter(|_| self.dialog.is_none())?.id;
        self.closed(id).is_none().then_some(id)
    }

    pub(super) fn choose_files(&self) -> Wish {
        self.open_to_files().map_or(Wish::Nothing, Wish::Attach)
    }

    pub(super) fn share_with(&mut self, id: ConversationId, path: PathBuf) -> Wish {
        let written = self.drafts.get(&id).map_or(0, |draft| draft.attachments.len());
        let going = self.adding.iter().filter(|adding| adding.to == id).count();
        if written + going >= MAX_ATTACHMENTS {
            let message = format!("a message holds at most {MAX_ATTACHMENTS} files");
            self.trouble = Some(
                Failure::new(FailureKind::InvalidArgument, message)
                    .advise("Send the others with the next one, or put them into a folder and drop that."),
            );
            return Wish::Nothing;
        }
        let peers = self.members(id).iter().map(PeerId::to_string).collect();
        self.trouble = None;
        self.adding.push(id, path, AddOptions { scope: ShareScope::Peers, peers, ..AddOptions::default() });
        begun(&mut self.adding)
    }

    pub(super) fn is_adding(&self, id: ConversationId) -> bool {
        self.adding.iter().any(|adding| adding.to == id)
    }

    /// What comes of a file that was dropped; `None` when it was none of these.
    pub(super) fn file_news(&mut self, job: Job, news: &News) -> Option<Wish> {
        if let News::Adding(progress) = news {
            return self.adding.progress(job, *progress).then_some(Wish::Nothing);
        }
        let id = self.adding.take(job)?.to;
        match news {
            News::Share(share) => self.attach(id, share),
            News::Failed(failure) => {
                // What was to go with it is not sent without it.
                self.sending.remove(&id);
                self.trouble = Some(failure.clone());
            }
            _ => {}
        }
        let next = begun(&mut self.adding);
        if self.is_adding(id) || !self.sending.remove(&id) {
            return Some(next);
        }
        Some(Wish::All(vec![next, self.send_late(id)]))
    }

    /// What waited for its files is sent, wherever one is by now.
    fn send_late(&mut self, id: ConversationId) -> Wish {
        let talk = self.drafts.get_mut(&id).and_then(|draft| draft.take(id));
        let Some(talk) = talk else { return Wish::Nothing };
        let end = self.thread.as_mut().filter(|thread| thread.id == id).and_then(Thread::end);
        let say = self.start(Job::next(), Asked::Sent(id, talk.clone()), talk);
        Wish::All(vec![say, self.load(end)])
    }

    fn attach(&mut self, id: ConversationId, share: &Share) {
        let files = &mut self.drafts.entry(id).or_default().attachments;
        if files.len() < MAX_ATTACHMENTS && files.iter().all(|file| file.ticket != share.ticket) {
            files.push(Attachment {
                ticket: share.ticket.clone(),
                name: share.name.clone(),
                size_bytes: share.size_bytes,
            });
        }
    }

    pub(super) fn in_file(&mut self, message: Message) -> Wish {
        let filing = match message {
            Message::Fetch(hash, ticket) => {
                let offer = self.files.offers.iter().find(|offer| offer.hash == hash);
                match offer {
                    Some(offer) => Filing::Accept(offer.id, GetOptions::default()),
                    None => Filing::Get(ticket, GetOptions::default()),
                }
            }
            Message::Pause(id) => Filing::Pause(id),
            Message::Resume(id) => Filing::Resume(id),
            Message::Reveal(folder) => return Wish::Reveal(folder),
            Message::Copy(content) => return Wish::Copy(content),
            Message::GiveUp(path) => {
                let Some(id) = self.thread.as_ref().map(|thread| thread.id) else { return Wish::Nothing };
                self.sending.remove(&id);
                let cancel = self.adding.give_up(&id, &path).map_or(Wish::Nothing, Wish::Cancel);
                return Wish::All(vec![cancel, begun(&mut self.adding)]);
            }
        };
        self.trouble = None;
        let job = Job::next();
        self.jobs.insert(job, Asked::Other);
        Wish::Start(job, Errand::Files(filing))
    }

    /// Files that are being read, above what is written.
    pub(super) fn adding_view(&self, id: ConversationId) -> Vec<Element<'_, Whole>> {
        let these = self.adding.iter().filter(|adding| adding.to == id);
        these.map(|adding| adding.view(Whole::File(Message::GiveUp(adding.path.clone())))).collect()
    }

    /// A file as it stands in a message.
    pub(super) fn file_card<'a>(&'a self, file: &'a Attachment, whose: Whose, pale: Color) -> Element<'a, Whole> {
        let ticket: Option<FileTicket> = file.ticket.parse().ok();
        let transfer = ticket.as_ref().and_then(|ticket| {
            // Those that are not done stand first, then the newest.
            self.files.transfers.iter().find(|transfer| transfer.hash == ticket.hash)
        });
        let kind = ticket.as_ref().map_or(FileKind::File, |ticket| ticket.kind);
        let symbol = if kind == FileKind::Folder { Icon::Folder } else { Icon::File };
        let size = ticket.as_ref().map_or(file.size_bytes, |ticket| ticket.size_bytes);
        let about = match transfer {
            Some(transfer) => say::doing(transfer),
            None if size == 0 && ticket.is_none() => say::kind(kind, 0),
            None => format!("{} · {}", say::kind(kind, 0), say::bytes(size)),
        };
        let mut words = column![
            text(say::name(&file.name)).size(13).wrapping(text::Wrapping::None),
            text(about).size(theme::TINY).color(pale)
        ]
        .spacing(3);
        if let Some(transfer) = transfer {
            words = words.extend(standing(transfer, pale));
        }
        let mut deeds = row![].spacing(1).align_y(Alignment::Center);
        match (transfer, ticket) {
            (Some(transfer), _) => deeds = deeds.extend(deeds_of(transfer)),
            (None, Some(ticket)) if whose == Whose::Theirs => {
                let fetch = Message::Fetch(ticket.hash, file.ticket.clone());
                deeds = deeds.push(compact(Icon::Download, "Fetch", theme::ACCENT, Some(fetch)));
            }
            (None, _) => {}
        }
        deeds = deeds.push(small(Icon::Ticket, "Copy its ticket", Message::Copy(file.ticket.clone())));
        let line = row![
            icon(symbol, 22.0).color(theme::LINK),
            container(words).max_width(WIDTH).clip(true),
            space().width(2),
            deeds
        ];
        let card = container(line.spacing(10).align_y(Alignment::Center)).padding([6, 9]).style(theme::quote);
        Element::from(card).map(Whole::File)
    }
}

/// How far it is, why it does not go on, and at last where it is.
fn standing<'a>(transfer: &Transfer, pale: Color) -> Vec<Element<'a, Message>> {
    let mut list: Vec<Element<'a, Message>> = Vec::new();
    if transfer.state != TransferState::Done {
        let part = say::part(transfer.done_bytes, transfer.size_bytes);
        list.push(progress_bar(0.0..=1.0, part).girth(4).length(WIDTH - 30.0).style(theme::progress).into());
    }
    if !transfer.error.trim().is_empty() {
        let why =
            format!("{} {}", crate::words::sentence_of(&transfer.error), crate::words::sentence_of(&transfer.advice));
        list.push(text(why.trim_end().to_owned()).size(theme::TINY).color(theme::FAIR).into());
    }
    if transfer.state == TransferState::Done {
        let path = text(say::path(&transfer.saved_path)).size(theme::SMALL).color(pale);
        list.push(path.wrapping(text::Wrapping::WordOrGlyph).into());
    }
    list
}

fn deeds_of<'a>(transfer: &Transfer) -> Vec<Element<'a, Message>> {
    let id = transfer.id;
    match transfer.state {
        TransferState::Done => {
            let open = say::folder_of(transfer.kind, &transfer.saved_path).map(|folder| -> Element<'a, Message> {
                let open = Message::Reveal(folder.to_owned());
                compact(Icon::FolderOpen, "Open folder", theme::ACCENT, Some(open)).into()
            });
            let copy = small(Icon::Copy, "Copy its path", Message::Copy(transfer.saved_path.clone()));
            open.into_iter().chain([copy]).collect()
        }
        TransferState::Paused => vec![small(Icon::Play, "Resume", Message::Resume(id))],
        TransferState::Failed => vec![small(Icon::RotateCw, "Try again", Message::Resume(id))],
        _ => vec![small(Icon::Pause, "Pause", Message::Pause(id))],
    }
}
