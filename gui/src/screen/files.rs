//! Files: what is shared from here, what is on its way, what has arrived and where it is, and what others offer. What is
//! asked of the daemon leaves as errands; what it tells comes in through `hear` and `news`.

pub mod adding;
mod cursor;
mod lines;
mod page;
mod people;
pub mod settings;
mod share;
pub mod shares;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kith_common::failure::{Failure, FailureKind};
use kith_common::file::{
    AddOptions, FileHash, FileTarget, FilesState, GetOptions, Share, ShareScope, Transfer, TransferState,
};
use kith_common::ids::PeerId;

use super::Wish;
use crate::desktop::{What, path_of};
use crate::link::{Errand, Filing, Job, News};
use crate::widget::rows::Sight;
use adding::Queue;
use cursor::{Led, Spot};
use lines::{Line, Wanted};
use settings::Settings;
use shares::{Order, Shares};

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

/// What the field holds.
#[derive(Debug, PartialEq)]
enum Typed {
    Nothing,
    /// Something of this machine, to share.
    Path(PathBuf),
    /// A hash or ticket, to fetch.
    Content(String),
    Neither(Failure),
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

/// What a text is: a path, a file's ticket or hash, or neither.
fn typed(text: &str) -> Typed {
    let text = text.trim();
    let bare = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    if bare.is_empty() {
        return Typed::Nothing;
    }
    if bare.starts_with('/') {
        return Typed::Path(bare.into());
    }
    if let Some(path) = path_of(bare) {
        return Typed::Path(path);
    }
    if (bare == "~" || bare.starts_with("~/"))
        && let Some(home) = std::env::home_dir()
    {
        return Typed::Path(home.join(bare.trim_start_matches(['~', '/'])));
    }
    match bare.parse::<FileTarget>() {
        Ok(_) => Typed::Content(bare.to_owned()),
        Err(error) => Typed::Neither(
            Failure::new(FailureKind::InvalidArgument, error.to_string())
                .advise("To share something of this machine, type its full path: it begins with a slash."),
        ),
    }
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

    pub fn hear(&mut self, told: Result<Arc<FilesState>, Failure>) -> Wish {
        let revision = told.as_ref().ok().map(|state| state.shares_revision);
        self.state = Some(told);
        let gone = |ask: &Ask| matches!(ask, Ask::Cancel(id) if self.transfer(*id).is_none());
        if self.asked.as_ref().is_some_and(gone) {
            self.asked = None;
        }
        let order = revision.map_or_else(Order::default, |revision| self.shares.revised(revision));
        self.arrange();
        carry(order)
    }

    /// A daemon is there again: what was to be shared is read.
    pub fn back(&mut self) -> Wish {
        self.begin()
    }

    /// The daemon is gone; what is typed and was to be shared stays.
    pub fn lost(&mut self) {
        self.state = None;
        self.jobs.clear();
        self.asked = None;
        self.shares.lost();
        self.adding.lost();
        if let Some(dialog) = &mut self.settings {
            let failure = Failure::new(FailureKind::NoDaemon, "your node stopped before it was done");
            dialog.failed(&failure.advise("Wait until it runs again and try again."));
        }
        self.arrange();
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

    /// Of many that cannot be shared one is told, and how many there are.
    fn not_shared(&mut self, failure: &Failure) {
        self.unshared = if self.trouble.is_some() { self.unshared + 1 } else { 1 };
        self.trouble = Some(match self.unshared {
            1 => failure.clone(),
            count => {
                let message = format!("{count} were not shared; of the last: {}", failure.message);
                Failure { message, ..failure.clone() }
            }
        });
    }

    /// What is typed has been asked for, and not been answered yet.
    fn asking(&self) -> bool {
        self.jobs.values().any(|asked| matches!(asked, Asked::Get))
    }

    pub fn news(&mut self, job: Job, news: &News) -> Wish {
        if let News::Adding(progress) = news {
            self.adding.progress(job, *progress);
            return Wish::Nothing;
        }
        if self.adding.take(job).is_some() {
            match news {
                News::Share(share) => self.shared = Some(share.clone()),
                News::Failed(failure) => self.not_shared(failure),
                _ => {}
            }
            let wish = self.begin();
            self.arrange();
            return wish;
        }
        if let News::Shares(page) = news {
            let order = self.shares.take(job, page);
            self.arrange();
            return order.map_or(Wish::Nothing, carry);
        }
        if let News::Failed(failure) = news
            && self.shares.failed(job)
        {
            self.trouble = Some(failure.clone());
            return Wish::Nothing;
        }
        let Some(asked) = self.jobs.remove(&job) else { return Wish::Nothing };
        match (asked, news) {
            (Asked::Settings, news) => return self.settings_news(job, news),
            (Asked::Get, News::Transfer(_)) => {
                self.target.clear();
                if self.filter != Filter::All {
                    self.filter = Filter::Going;
                }
                self.arrange();
            }
            (_, News::Share(share)) => self.shares.put(share),
            (_, News::Failed(failure)) => self.trouble = Some(failure.clone()),
            _ => {}
        }
        Wish::Nothing
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

    /// What is done to one of the lines.
    fn deed(&mut self, message: Message) -> Wish {
        match message {
            Message::Pause(id) => return self.ask(Filing::Pause(id)),
            Message::Resume(id) => return self.ask(Filing::Resume(id)),
            Message::First(id) => return self.ask(Filing::First(id)),
            Message::Cancel(id) => {
                let deletes = |transfer: &Transfer| transfer.state != TransferState::Done && transfer.done_bytes > 0;
                if self.transfer(id).is_some_and(deletes) {
                    self.asked = Some(Ask::Cancel(id));
                } else {
                    return self.ask(Filing::Cancel(id));
                }
            }
            Message::CancelSurely(id) => return self.ask(Filing::Cancel(id)),
            Message::Accept(id) => return self.ask(Filing::Accept(id, GetOptions::default())),
            Message::Refuse(id) => return self.ask(Filing::Refuse(id)),
            Message::GiveUp(path) => {
                let cancel = self.adding.give_up(&(), &path).map_or(Wish::Nothing, Wish::Cancel);
                let next = self.begin();
                self.arrange();
                return Wish::All(vec![cancel, next]);
            }
            Message::Select(hash) => {
                self.selected = (self.selected != Some(hash)).then_some(hash);
                self.asked = None;
            }
            Message::Withdraw(hash) => self.asked = Some(Ask::Withdraw(hash)),
            Message::WithdrawSurely(hash) => {
                if self.shared.as_ref().is_some_and(|share| share.hash == hash) {
                    self.shared = None;
                }
                return self.ask(Filing::Remove(hash));
            }
            Message::Keep => self.asked = None,
            Message::Again(hash) => {
                let Some(share) = self.share(hash) else { return Wish::Nothing };
                let peers = share.peers.iter().map(PeerId::to_string).collect();
                let options = AddOptions { scope: share.scope, peers, ..AddOptions::default() };
                let path = PathBuf::from(&share.path);
                self.adding.push((), path, options);
                let wish = self.begin();
                self.arrange();
                return wish;
            }
            Message::Copies(hash, peer) => {
                let Some(share) = self.share(hash) else { return Wish::Nothing };
                let mut holders: Vec<PeerId> = share.copies.iter().map(|copy| copy.peer).collect();
                match holders.iter().position(|holder| *holder == peer) {
                    Some(at) => drop(holders.remove(at)),
                    None => holders.push(peer),
                }
                return self.ask(Filing::Keep(hash, holders));
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn share(&self, hash: FileHash) -> Option<&Share> {
        self.shares.list.iter().find(|share| share.hash == hash)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::files;

    #[test]
    fn a_path_is_shared_and_a_ticket_or_hash_fetched() {
        let ticket = files::ticket(1);
        let hash = files::hash(1).to_string();
        assert_eq!(typed("  "), Typed::Nothing);
        assert_eq!(typed(" /srv/x y \n"), Typed::Path("/srv/x y".into()));
        assert_eq!(typed("'/srv/it is'"), Typed::Path("/srv/it is".into()));
        assert_eq!(typed("file:///srv/x%20y%C3%A4"), Typed::Path("/srv/x yä".into()));
        assert_eq!(typed(&hash), Typed::Content(hash.clone()));
        assert_eq!(typed(&ticket), Typed::Content(ticket.clone()));
        for neither in ["report.pdf", "kith:2abc", "kithfile:2abc", "é".repeat(32).as_str()] {
            assert!(matches!(typed(neither), Typed::Neither(_)), "{neither}");
        }
    }
}
