//! Calls that are over: who, when, how long and how they ended. A click calls again; a search finds by name, and what is
//! further back is loaded as one gets there. Only the lines in sight are drawn.

mod cursor;

use iced::widget::{button, column, container, responsive, row, scrollable, space, text, text_input, tooltip};
use iced::{Alignment, Color, Element, Fill, Size};
use kith_common::call::{CallKind, CallRecord, Direction, LogQuery, MAX_LOG_NEWEST};
use kith_common::chat::Before;
use kith_common::clock::unix_ms;
use kith_common::failure::Failure;
use kith_common::ids::CallId;
use lucide_icons::Icon;

use super::Wish;
use super::chat::Chat;
use crate::link::{Errand, Job, Log, News};
use crate::theme;
use crate::widget::parts::{compact, heading, icon, muted, notice, small};
use crate::words;

pub const SEARCH: &str = "call-search";
const LIST: &str = "call-list";
/// Every line is as high as the others, so that its place follows from its number.
const LINE: f32 = 52.0;
/// Lines that are drawn above and below what can be seen: a fast wheel finds them there.
const MARGIN: usize = 4;
/// Calls that are asked for at once.
const PAGE: u32 = 100;
/// The next page is asked for when the end is so many lines away.
const AHEAD: usize = 20;
/// From so many calls on there is something to search in.
const MANY: usize = 6;
const SYMBOL: f32 = 32.0;

#[derive(Debug, Clone)]
pub enum Message {
    Search(String),
    /// Only those that were missed, or all again.
    Missed,
    /// How far down, and how high what is seen is.
    Scrolled(f32, f32),
    Call(String, CallKind),
    Forget(CallId),
    /// Asks whether to.
    Clear,
    ClearSurely,
    Keep,
}

/// Which calls are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Only {
    #[default]
    All,
    Missed,
}

/// Calls as they came, the newest first, and whether there are more.
#[derive(Debug, Default)]
struct Pages {
    calls: Vec<CallRecord>,
    whole: bool,
}

impl Pages {
    fn take(&mut self, page: Vec<CallRecord>) {
        self.whole = page.is_empty();
        self.calls.extend(page);
    }

    /// The newest have changed; what is further back stays as far as it goes on from them.
    fn renew(&mut self, newest: Vec<CallRecord>) {
        let last = newest.last().map(|record| record.position).filter(|_| newest.len() >= MAX_LOG_NEWEST as usize);
        match last {
            None => self.whole = true,
            Some(_) if self.calls.len() <= newest.len() => self.whole = false,
            Some(_) => {}
        }
        let older = std::mem::take(&mut self.calls).into_iter();
        let older = older.filter(|record| last.is_some_and(|last| record.position < last));
        self.calls = newest.into_iter().chain(older).collect();
    }
}

/// What the daemon has been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Older,
    /// The first of a search.
    Found,
    FoundOlder,
}

#[derive(Debug, Default)]
pub struct Recent {
    all: Pages,
    /// Of the search.
    found: Pages,
    search: String,
    only: Only,
    asked: Option<(Job, Asked)>,
    /// Taking calls out of the log.
    work: Option<Job>,
    clearing: bool,
    /// The call on which one stands with the keys.
    cursor: Option<CallId>,
    /// Why the daemon does not tell.
    refused: Option<Failure>,
    trouble: Option<Failure>,
    scrolled: f32,
    height: f32,
}

impl Recent {
    pub fn hear(&mut self, told: Result<Vec<CallRecord>, Failure>) -> Wish {
        match told {
            Ok(newest) => {
                self.refused = None;
                self.all.renew(newest);
                if self.all.calls.is_empty() {
                    self.clearing = false;
                }
                if self.sought().is_empty() { self.more() } else { self.ask(Asked::Found, 0) }
            }
            Err(failure) => {
                self.refused = Some(failure);
                Wish::Nothing
            }
        }
    }

    /// The daemon is gone, and with it everything that it was asked.
    pub fn lost(&mut self) {
        (self.asked, self.work, self.clearing) = (None, None, false);
    }

    pub fn news(&mut self, job: Job, news: &News) -> Wish {
        if self.work == Some(job) {
            self.work = None;
            // What is left is told by the feed.
            if let News::Failed(failure) = news {
                self.trouble = Some(failure.clone());
            }
            return Wish::Nothing;
        }
        let Some((_, asked)) = self.asked.take_if(|(asked, _)| *asked == job) else { return Wish::Nothing };
        match news {
            News::Calls(page) => {
                if asked == Asked::Found {
                    self.found = Pages::default();
                }
                let pages = if asked == Asked::Older { &mut self.all } else { &mut self.found };
                pages.take(page.clone());
                self.more()
            }
            News::Failed(failure) => {
                self.trouble = Some(failure.clone());
                Wish::Nothing
            }
            _ => Wish::Nothing,
        }
    }

    pub fn update(&mut self, message: Message) -> Wish {
        self.trouble = None;
        match message {
            Message::Search(search) => {
                self.search = search;
                self.cursor = None;
                self.scrolled = 0.0;
                self.clearing = false;
                return if self.sought().is_empty() { self.all_again() } else { self.find() };
            }
            Message::Missed => {
                self.cursor = None;
                self.only = if self.only == Only::All { Only::Missed } else { Only::All };
                self.scrolled = 0.0;
                return self.more();
            }
            Message::Scrolled(offset, height) => {
                (self.scrolled, self.height) = (offset, height);
                return self.more();
            }
            Message::Call(target, kind) => return Wish::Dial(target, kind),
            Message::Forget(call) => {
                let gone = |record: &CallRecord| record.id != call;
                self.all.calls.retain(gone);
                self.found.calls.retain(gone);
                return self.work(Log::Forget(call));
            }
            Message::Clear => self.clearing = true,
            Message::Keep => self.clearing = false,
            Message::ClearSurely => {
                self.clearing = false;
                return self.work(Log::Clear);
            }
        }
        Wish::Nothing
    }

    fn sought(&self) -> &str {
        self.search.trim()
    }

    fn pages(&self) -> &Pages {
        if self.sought().is_empty() { &self.all } else { &self.found }
    }

    /// The calls that fit what is wanted, the newest first.
    fn shown(&self) -> Vec<&CallRecord> {
        let fits = |record: &&CallRecord| self.only == Only::All || record.is_missed();
        self.pages().calls.iter().filter(fits).collect()
    }

    fn ask(&mut self, asked: Asked, before: u64) -> Wish {
        let cancel = self.asked.take().map(|(job, _)| Wish::Cancel(job));
        let job = Job::next();
        self.asked = Some((job, asked));
        let text = if asked == Asked::Older { String::new() } else { self.sought().to_owned() };
        let query =
            LogQuery { text, before: Before { position: before, unix_ms: 0 }, limit: PAGE, ..LogQuery::default() };
        let start = Wish::Start(job, Errand::Log(Log::Page(query)));
        cancel.map_or(start.clone(), |cancel| Wish::All(vec![cancel, start]))
    }

    /// What fits of those that are here is shown at once, and all that do as soon as the daemon has found them.
    fn find(&mut self) -> Wish {
        let sought = self.sought().to_lowercase();
        let fits = |record: &&CallRecord| {
            let about = [&record.peer_name, &record.target].map(|text| text.to_lowercase());
            sought.split_whitespace().all(|word| about.iter().any(|text| text.contains(word)))
        };
        let calls = self.all.calls.iter().filter(fits).cloned().collect();
        self.found = Pages { calls, whole: false };
        self.ask(Asked::Found, 0)
    }

    /// Nothing is sought any more.
    fn all_again(&mut self) -> Wish {
        self.found = Pages::default();
        match self.asked.take_if(|(_, asked)| *asked != Asked::Older) {
            Some((job, _)) => Wish::All(vec![Wish::Cancel(job), self.more()]),
            None => self.more(),
        }
    }

    /// Asks for the next page where the end of what is there comes into sight.
    fn more(&mut self) -> Wish {
        let seen = ((self.scrolled + self.height) / LINE) as usize;
        let pages = self.pages();
        if pages.whole || self.asked.is_some() || self.shown().len() > seen + AHEAD {
            return Wish::Nothing;
        }
        let Some(oldest) = pages.calls.last().map(|record| record.position) else { return Wish::Nothing };
        self.ask(if self.sought().is_empty() { Asked::Older } else { Asked::FoundOlder }, oldest)
    }

    fn work(&mut self, log: Log) -> Wish {
        let job = Job::next();
        self.work = Some(job);
        Wish::Start(job, Errand::Log(log))
    }

    /// `people`: what the user calls them. `up`: whether there is a daemon to call with.
    pub fn view<'a>(&'a self, people: &'a Chat, up: bool) -> Element<'a, Message> {
        let mut page = column![self.head()].spacing(10).height(Fill);
        if self.is_searched() {
            page = page.push(self.bar());
        }
        if self.clearing {
            page = page.push(self.question());
        }
        if let Some(refused) = &self.refused {
            let (sentence, advice) = words::node::refusal(refused, "of calls that are over");
            page = page.push(notice(Icon::CircleAlert, theme::FAIR, sentence, advice));
        } else if let Some(failure) = &self.trouble {
            let (sentence, advice) = words::node::failure(failure);
            page = page.push(notice(Icon::CircleAlert, theme::POOR, sentence, advice));
        }
        let shown = self.shown();
        let list: Element<'_, Message> = match shown.is_empty() {
            true => self.nothing(),
            false => responsive(move |size| self.lines(people, up, size)).into(),
        };
        container(page.push(list)).padding([16, 12]).height(Fill).style(theme::panel).into()
    }

    fn head(&self) -> Element<'_, Message> {
        let mut head =
            row![heading("Recent calls"), space::horizontal()].spacing(4).align_y(Alignment::Center).height(32);
        if !self.all.calls.is_empty() {
            head = head.push(small(Icon::Trash2, "Clear the list", Message::Clear));
        }
        container(head).padding([0, 4]).into()
    }

    fn bar(&self) -> Element<'_, Message> {
        let search = text_input("Search calls", &self.search)
            .id(SEARCH)
            .on_input(Message::Search)
            .padding([8, 11])
            .size(13)
            .style(theme::input);
        let colour = if self.only == Only::Missed { theme::POOR } else { theme::CONTROL };
        row![search, compact(Icon::PhoneMissed, "Missed", colour, Some(Message::Missed))]
            .spacing(8)
            .align_y(Alignment::Center)
            .into()
    }

    fn question(&self) -> Element<'_, Message> {
        let answers = row![
            compact(Icon::Trash2, "Clear", theme::POOR, Some(Message::ClearSurely)),
            compact(Icon::X, "Keep", theme::CONTROL, Some(Message::Keep))
        ]
        .spacing(8);
        let words = muted("All calls go from this list, here only. This cannot be undone.");
        container(column![words, answers].spacing(9))
            .padding([10, 12])
            .width(Fill)
            .style(theme::notice(theme::POOR))
            .into()
    }

    fn nothing(&self) -> Element<'_, Message> {
        let (symbol, title, about) = match (self.sought().is_empty(), self.only, self.asked) {
            (_, _, Some(_)) => (Icon::Search, "Looking further back…", ""),
            (false, ..) => (Icon::Search, "No such calls", "Names, ids and addresses are searched."),
            (true, Only::Missed, _) => (Icon::PhoneMissed, "None was missed", ""),
            (true, Only::All, _) => (Icon::History, "No calls yet", "Calls that are over are listed here."),
        };
        let empty = column![
            icon(symbol, 28.0).color(theme::OFF),
            text(title).size(theme::BODY),
            muted(about).align_x(Alignment::Center)
        ];
        container(empty.spacing(9).align_x(Alignment::Center)).center(Fill).padding([0, 14]).into()
    }

    /// Which of so many lines are drawn when `height` of the list can be seen.
    fn window(&self, total: usize, height: f32) -> std::ops::Range<usize> {
        let past = (total as f32 * LINE - height).max(0.0);
        let top = (self.scrolled.clamp(0.0, past) / LINE) as usize;
        let shown = (height / LINE) as usize + 2;
        top.saturating_sub(MARGIN)..(top + shown + MARGIN).min(total)
    }

    fn lines<'a>(&'a self, people: &'a Chat, up: bool, size: Size) -> Element<'a, Message> {
        let shown = self.shown();
        let window = self.window(shown.len(), size.height);
        let above = window.start as f32 * LINE;
        let below = (shown.len() - window.end) as f32 * LINE;
        let now = unix_ms();
        let lines = shown[window].iter().map(|record| {
            let contact = record.peer.and_then(|peer| people.contact(peer));
            let title = words::calls::title(record, contact.map(|contact| contact.name.as_str()));
            line(record, title, now, up, (self.cursor == Some(record.id)).into())
        });
        let content = column![space().height(above), column(lines), space().height(below)];
        let bar = scrollable::Scrollbar::new().width(4).scroller_width(4).margin(1);
        scrollable(content)
            .direction(scrollable::Direction::Vertical(bar))
            .id(LIST)
            .on_scroll(|view| Message::Scrolled(view.absolute_offset().y, view.bounds().height))
            .height(Fill)
            .style(theme::list)
            .into()
    }
}

/// Its picture and the colour of it: what was missed stands out.
fn sign(record: &CallRecord) -> (Icon, Color) {
    match record.direction {
        _ if record.is_missed() => (Icon::PhoneMissed, theme::POOR),
        Direction::Incoming => (Icon::PhoneIncoming, theme::MUTED),
        Direction::Outgoing => (Icon::PhoneOutgoing, theme::MUTED),
    }
}

fn line<'a>(record: &'a CallRecord, name: String, now: i64, up: bool, here: theme::Chosen) -> Element<'a, Message> {
    let (symbol, colour) = sign(record);
    let missed = record.is_missed();
    let disc = container(icon(symbol, 15.0).color(colour)).center(SYMBOL).style(theme::disc(theme::CONTROL, SYMBOL));
    let mut about =
        column![text(words::chat::moment(record.started_unix_ms)).size(theme::SMALL)].spacing(3).max_width(300);
    about = about.extend(words::calls::details(record, &name).into_iter().map(|line| muted(line).into()));
    let disc = tooltip(disc, container(about).padding([7, 10]).style(theme::raised), tooltip::Position::Bottom);
    let kind = if record.kind == CallKind::Video { Icon::Video } else { Icon::Phone };
    let (ink, font) = if missed { (theme::POOR, theme::STRONG) } else { (theme::TEXT, theme::FONT) };
    let who = column![
        text(name).size(theme::BODY).font(font).color(ink).wrapping(text::Wrapping::None),
        row![
            icon(kind, 11.0).color(theme::MUTED),
            muted(words::calls::outcome(record)).size(theme::TINY).wrapping(text::Wrapping::None)
        ]
        .spacing(6)
        .align_y(Alignment::Center)
    ]
    .spacing(3);
    let when = muted(words::chat::when(record.started_unix_ms, now)).size(theme::TINY).wrapping(text::Wrapping::None);
    let line = row![
        disc,
        container(who).clip(true).width(Fill),
        when,
        small(Icon::X, "Take it out of the list", Message::Forget(record.id))
    ]
    .spacing(8)
    .align_y(Alignment::Center)
    .height(Fill);
    let again = record.again().filter(|_| up).map(|target| Message::Call(target, record.kind));
    button(line).padding([0, 4]).width(Fill).height(LINE).on_press_maybe(again).style(theme::chosen_button(here)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::log::calls;

    fn asks(wish: &Wish) -> Vec<(Job, LogQuery)> {
        match wish {
            Wish::Start(job, Errand::Log(Log::Page(query))) => vec![(*job, query.clone())],
            Wish::All(wishes) => wishes.iter().flat_map(asks).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_further_back_is_loaded_as_one_gets_there() {
        let all = calls(250);
        let mut recent = Recent::default();
        let wish = recent.hear(Ok(all[..100].to_vec()));
        assert!(asks(&wish).is_empty(), "nobody has looked so far");
        let wish = recent.update(Message::Scrolled(85.0 * LINE, 5.0 * LINE));
        let [(job, query)] = &asks(&wish)[..] else { panic!("{wish:?}") };
        assert_eq!((query.before.position, query.text.as_str()), (all[99].position, ""));
        let wish = recent.news(*job, &News::Calls(all[100..200].to_vec()));
        assert!(asks(&wish).is_empty());
        assert_eq!(recent.shown().len(), 200);
        // A new call, and the oldest of the newest is told no more: nothing is there twice, and nothing is missing.
        let mut newest = all[..99].to_vec();
        newest.insert(0, CallRecord { position: 1_000_000, ..all[0].clone() });
        let _ = recent.hear(Ok(newest));
        let positions: Vec<u64> = recent.shown().iter().map(|record| record.position).collect();
        assert_eq!(positions.len(), 201);
        assert!(positions.is_sorted_by(|a, b| a > b), "{positions:?}");
        // Few are all.
        let _ = recent.hear(Ok(all[..3].to_vec()));
        assert!(recent.shown().len() == 3 && asks(&recent.update(Message::Scrolled(0.0, 1e4))).is_empty());
    }

    #[test]
    fn missed_ones_are_looked_for_until_the_list_is_full_or_the_log_ends() {
        let all = calls(300);
        let mut recent = Recent::default();
        let _ = recent.hear(Ok(all[..100].to_vec()));
        let _ = recent.update(Message::Scrolled(0.0, 600.0));
        let mut wish = recent.update(Message::Missed);
        let mut asked = 0;
        while let [(job, query)] = &asks(&wish)[..] {
            asked += 1;
            let older = all.iter().filter(|record| record.position < query.before.position).take(100).cloned();
            wish = recent.news(*job, &News::Calls(older.collect()));
        }
        assert!((1..=4).contains(&asked), "{asked}");
        assert!(!recent.shown().is_empty() && recent.shown().iter().all(|record| record.is_missed()));
    }

    #[test]
    fn a_search_asks_for_the_newest_words_only() {
        let mut recent = Recent::default();
        let _ = recent.hear(Ok(calls(20)));
        let first = asks(&recent.update(Message::Search("ada".into())));
        assert!(!recent.shown().is_empty() && recent.shown().len() < 20, "what is here is shown at once");
        let wish = recent.update(Message::Search("ada of whom nobody knows".into()));
        let second = asks(&wish);
        assert!(matches!(&wish, Wish::All(wishes) if wishes[0] == Wish::Cancel(first[0].0)), "{wish:?}");
        let _ = recent.news(first[0].0, &News::Calls(calls(9)));
        assert!(recent.shown().is_empty(), "late news of what is not sought any more");
        let _ = recent.news(second[0].0, &News::Calls(calls(2)));
        assert_eq!(recent.shown().len(), 2);
        let _ = recent.update(Message::Search(String::new()));
        assert_eq!(recent.shown().len(), 20);
    }
}
