//! Files: what is shared from here, what is on its way, what has arrived and where it is, and what others offer. What is
//! asked of the daemon leaves as errands; what it tells comes in through [`hear`].

pub mod adding;
mod cursor;
mod deeds;
mod hear;
mod lines;
mod page;
mod people;
pub mod settings;
mod share;
pub mod shares;
mod transfer;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kith_common::failure::Failure;
use kith_common::file::{FileHash, FilesState, GetOptions, Share, ShareScope, Transfer};
use kith_common::ids::PeerId;

use super::Wish;
use crate::desktop::What;
use crate::link::{Errand, Filing, Job};
use crate::widget::rows::Sight;
use adding::Queue;
use cursor::{Led, Spot};
use lines::{Line, Wanted};
use settings::Settings;
use shares::{Order, Shares};
use typed::{Typed, typed};

pub use lines::Filter;

pub const TARGET: &str = "files-target";
pub const SEARCH: &str = "files-search";
/// So many rows before the last share in memory, more are loaded.
const AHEAD: usize = 20;

#[derive(Debug, Clone)]
pub enum Message {
    Target(String),
    Paste,
    Pasted(Option<String>),
    /// Shares or fetches what is typed.
    Submit,
    Choose(What),
    /// What was chosen in the desktop's dialog, or why there is none.
    Chosen(Result<Vec<PathBuf>, Failure>),
    Scope(ShareScope),
    /// Among those who get what is shared next, or not any more.
    With(PeerId),
    /// Looks among the contacts who could get it, and among those who could keep a copy.
    Find(String),
    FindKeeper(String),
    Search(String),
    Show(Filter),
    Sight(Sight),
    Pause(u32),
    Resume(u32),
    First(u32),
    /// Asks whether to, where something would be deleted.
    Cancel(u32),
    CancelSurely(u32),
    Accept(u32),
    Refuse(u32),
    GiveUp(PathBuf),
    Select(FileHash),
    Withdraw(FileHash),
    WithdrawSurely(FileHash),
    /// Nothing of what was asked is to happen.
    Keep,
    /// What was changed on the disk is shared as it is now.
    Again(FileHash),
    /// A contact keeps a sealed copy, or not any more.
    Copies(FileHash, PeerId),
    /// The folder with this path, in the desktop's own program.
    Reveal(PathBuf),
    Copy(String),
    ShowSettings,
    Settings(settings::Message),
    Dismiss,
}

/// What was asked for, by its job.
#[derive(Debug)]
enum Asked {
    Get,
    Settings,
    /// What the feed tells of when it is done.
    Other,
}

/// What is done only when it was pressed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Cancel(u32),
    Withdraw(FileHash),
}

#[derive(Debug, Default)]
pub struct Files {
    /// Of the feed; `None` until the daemon has said.
    pub state: Option<Result<Arc<FilesState>, Failure>>,
    pub target: String,
    pub scope: ShareScope,
    /// Who gets what is shared next, when it is for chosen people.
    with: BTreeSet<PeerId>,
    find: String,
    find_keeper: String,
    adding: Queue<()>,
    /// Of what was added together, what could not be shared.
    unshared: usize,
    pub shares: Shares,
    filter: Filter,
    lines: Vec<Line>,
    /// How often the list was led somewhere, and where the last time.
    tops: u64,
    led: Led,
    cursor: Option<Spot>,
    asked: Option<Ask>,
    pub selected: Option<FileHash>,
    /// What was shared last, whose ticket one is about to need.
    shared: Option<Box<Share>>,
    pub trouble: Option<Failure>,
    pub settings: Option<Settings>,
    jobs: BTreeMap<Job, Asked>,
    /// Something is held over the window.
    pub hovered: bool,
}

impl Files {
    pub fn state(&self) -> Option<&FilesState> {
        self.state.as_ref()?.as_ref().ok().map(Arc::as_ref)
    }

    pub fn transfer(&self, id: u32) -> Option<&Transfer> {
        self.state()?.transfers.iter().find(|transfer| transfer.id == id)
    }

    /// What waits for an answer.
    pub fn offers(&self) -> usize {
        self.state().map_or(0, |state| state.offers.len())
    }

    /// Puts the lines together anew.
    fn arrange(&mut self) {
        let nothing = FilesState::default();
        let state = self.state().unwrap_or(&nothing);
        let (shares, cut) = (self.shares.list.len(), self.shares.cut());
        let (filter, search) = (self.filter, self.shares.search.as_str());
        self.lines = lines::lines(Wanted { state, adding: self.adding.len(), shares, cut, filter, search });
    }

    fn start(&mut self, asked: Asked, filing: Filing) -> Wish {
        self.start_as(Job::next(), asked, filing)
    }

    fn start_as(&mut self, job: Job, asked: Asked, filing: Filing) -> Wish {
        self.jobs.insert(job, asked);
        Wish::Start(job, Errand::Files(filing))
    }

    fn ask(&mut self, filing: Filing) -> Wish {
        self.trouble = None;
        self.asked = None;
        self.start(Asked::Other, filing)
    }

    fn begin(&mut self) -> Wish {
        begun(&mut self.adding)
    }

    /// Shares something of this machine with those who are chosen.
    fn add(&mut self, paths: impl IntoIterator<Item = PathBuf>) -> Wish {
        match self.options() {
            Ok(options) => paths.into_iter().for_each(|path| self.adding.push((), path, options.clone())),
            Err(failure) => {
                self.trouble = Some(failure);
                return Wish::Nothing;
            }
        }
        self.trouble = None;
        self.unshared = 0;
        let wish = self.begin();
        self.arrange();
        wish
    }

    /// Something was let go over this screen.
    pub fn dropped(&mut self, path: PathBuf) -> Wish {
        self.add([path])
    }

    fn submit(&mut self) -> Wish {
        match typed(&self.target) {
            Typed::Nothing => Wish::Nothing,
            Typed::Path(path) => {
                let wish = self.add([path]);
                if self.trouble.is_none() {
                    self.target.clear();
                }
                wish
            }
            Typed::Content(target) => {
                self.trouble = None;
                self.start(Asked::Get, Filing::Get(target, GetOptions::default()))
            }
            Typed::Neither(failure) => {
                self.trouble = Some(failure);
                Wish::Nothing
            }
        }
    }

    /// What is typed has been asked for, and not been answered yet.
    fn asking(&self) -> bool {
        self.jobs.values().any(|asked| matches!(asked, Asked::Get))
    }

    pub fn update(&mut self, message: Message) -> Wish {
        match message {
            Message::Target(target) => {
                self.target = target;
                self.cursor = None;
                self.trouble = None;
            }
            Message::Paste => return Wish::PasteFile,
            Message::Pasted(content) => {
                if let Some(content) = content {
                    content.trim().clone_into(&mut self.target);
                    self.trouble = None;
                }
            }
            Message::Submit => return self.submit(),
            Message::Choose(what) => return Wish::Choose(what),
            Message::Chosen(Ok(paths)) => return self.add(paths),
            Message::Chosen(Err(failure)) => self.trouble = Some(failure),
            Message::Scope(scope) => {
                self.scope = scope;
                self.trouble = None;
            }
            Message::With(peer) => self.choose(peer),
            Message::Find(sought) => self.find = sought,
            Message::FindKeeper(sought) => self.find_keeper = sought,
            Message::Search(search) => {
                let order = self.shares.look_for(search);
                self.back_to_top();
                self.arrange();
                return carry(order);
            }
            Message::Show(filter) => {
                self.filter = filter;
                self.back_to_top();
                self.arrange();
            }
            Message::Sight(sight) => {
                let shares = self.lines.iter().rposition(|line| matches!(line, Line::Share(_)));
                if shares.is_some_and(|last| sight.last + AHEAD >= last) {
                    return carry(self.shares.near_end());
                }
            }
            Message::Reveal(folder) => return Wish::Reveal(folder),
            Message::Copy(content) => return Wish::Copy(content),
            Message::ShowSettings => return self.open_settings(),
            Message::Settings(message) => return self.in_settings(message),
            Message::Dismiss => {
                self.trouble = None;
                self.shared = None;
            }
            message => return self.deed(message),
        }
        Wish::Nothing
    }

    /// Leaves the last thing that was begun.
    pub fn escape(&mut self) -> Wish {
        if self.settings.take().is_some() || self.asked.take().is_some() || self.trouble.take().is_some() {
            return Wish::Nothing;
        }
        if self.selected.take().is_some() || self.shared.take().is_some() || self.cursor.take().is_some() {
            return Wish::Nothing;
        }
        if self.shares.search.is_empty() {
            return Wish::Nothing;
        }
        self.update(Message::Search(String::new()))
    }
}

/// What can be begun of those that wait.
pub fn begun<T: PartialEq>(queue: &mut Queue<T>) -> Wish {
    let begin = queue.begin().into_iter().map(|(job, filing)| Wish::Start(job, Errand::Files(filing)));
    Wish::All(begin.collect())
}

fn carry(order: Order) -> Wish {
    let cancel = order.cancel.map(Wish::Cancel);
    let start = order.start.map(|(job, filing)| Wish::Start(job, Errand::Files(filing)));
    Wish::All(cancel.into_iter().chain(start).collect())
}
