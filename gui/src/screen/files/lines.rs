//! The lines of the Files screen: what is offered, on its way, fetched from here, finished and shared, searched and under
//! headings. Only those in sight are drawn.

use kith_common::file::{FilesState, Offer, Transfer, TransferState, Upload};

/// Finished transfers that stand among all others; the rest has a place of its own.
const NEWEST: usize = 3;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    #[default]
    All,
    Going,
    Finished,
    Shared,
}

impl Filter {
    pub const ALL: [Self; 4] = [Self::All, Self::Going, Self::Finished, Self::Shared];

    pub fn name(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Going => "Transfers",
            Self::Finished => "Finished",
            Self::Shared => "Shared",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Offers,
    Adding,
    Transfers,
    Uploads,
    Finished,
    Shares,
}

impl Section {
    pub fn name(self) -> &'static str {
        match self {
            Self::Offers => "Offered to you",
            Self::Adding => "Being read, to be shared",
            Self::Transfers => "On the way to you",
            Self::Uploads => "On the way to others",
            Self::Finished => "Arrived",
            Self::Shares => "Shared by you",
        }
    }
}

/// One line; the numbers are places in the lists that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Heading(Section, usize),
    Offer(usize),
    Adding(usize),
    Transfer(usize),
    Upload(usize),
    Finished(usize),
    /// So many more have arrived.
    Older(usize),
    Share(usize),
    /// There are more shares than are held.
    Cut,
}

/// What is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub state: &'a FilesState,
    pub adding: usize,
    pub shares: usize,
    pub cut: bool,
    pub filter: Filter,
    pub search: &'a str,
}

pub fn lines(wanted: Wanted<'_>) -> Vec<Line> {
    let Wanted { state, adding, shares, cut, filter, search } = wanted;
    let sought = search.trim().to_lowercase();
    let words: Vec<&str> = sought.split_whitespace().collect();
    let mut lines = Vec::new();
    let mut section = |section, places: Vec<usize>, line: fn(usize) -> Line| {
        if !places.is_empty() {
            lines.push(Line::Heading(section, places.len()));
            lines.extend(places.into_iter().map(line));
        }
    };
    if matches!(filter, Filter::All | Filter::Going) {
        section(Section::Offers, places(&state.offers, |offer| offer_fits(offer, &words)), Line::Offer);
        let adding = if words.is_empty() { (0..adding).collect() } else { Vec::new() };
        section(Section::Adding, adding, Line::Adding);
        let going = |transfer: &Transfer| transfer.state != TransferState::Done && transfer_fits(transfer, &words);
        section(Section::Transfers, places(&state.transfers, going), Line::Transfer);
        section(Section::Uploads, places(&state.uploads, |upload| upload_fits(upload, &words)), Line::Upload);
    }
    if matches!(filter, Filter::All | Filter::Finished) {
        let over = |transfer: &Transfer| transfer.state == TransferState::Done && transfer_fits(transfer, &words);
        let mut over = places(&state.transfers, over);
        let count = over.len();
        if filter == Filter::All && words.is_empty() {
            over.truncate(NEWEST);
        }
        let older = count - over.len();
        section(Section::Finished, over, Line::Finished);
        if older > 0 {
            section_end(&mut lines, Line::Older(older), count);
        }
    }
    if matches!(filter, Filter::All | Filter::Shared) && shares > 0 {
        // They were searched by the daemon.
        let count = if words.is_empty() { state.shares as usize } else { shares };
        lines.push(Line::Heading(Section::Shares, count.max(shares)));
        lines.extend((0..shares).map(Line::Share));
        if cut {
            lines.push(Line::Cut);
        }
    }
    lines
}

/// Ends a section that does not show everything with a line that says so.
fn section_end(lines: &mut Vec<Line>, end: Line, count: usize) {
    if let Some(Line::Heading(_, shown)) = lines.iter_mut().rev().find(|line| matches!(line, Line::Heading(..))) {
        *shown = count;
    }
    lines.push(end);
}

fn places<T>(list: &[T], fits: impl Fn(&T) -> bool) -> Vec<usize> {
    list.iter().enumerate().filter(|(_, item)| fits(item)).map(|(place, _)| place).collect()
}

fn all_in(words: &[&str], fields: &[&str]) -> bool {
    words.iter().all(|word| fields.iter().any(|field| field.to_lowercase().contains(word)))
}

fn transfer_fits(transfer: &Transfer, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let hash = transfer.hash.to_string();
    let mut fields = vec![transfer.name.as_str(), &transfer.saved_path, &transfer.folder, &hash];
    fields.extend(transfer.sources.iter().map(|source| source.name.as_str()));
    all_in(words, &fields)
}

fn offer_fits(offer: &Offer, words: &[&str]) -> bool {
    words.is_empty() || all_in(words, &[&offer.file_name, &offer.name, &offer.hash.to_string()])
}

fn upload_fits(upload: &Upload, words: &[&str]) -> bool {
    words.is_empty() || all_in(words, &[&upload.file_name, &upload.name, &upload.hash.to_string()])
}

/// Keys of lines rise: the list of rows finds them by that.
pub fn keys(lines: &[Line], positions: impl Fn(usize) -> u64) -> Vec<u64> {
    const SECTION: u32 = 58;
    const LAST: u64 = (1 << SECTION) - 1;
    let key = |section: Section, within: u64| ((section as u64) << SECTION) | within.min(LAST);
    let place = |place: usize| place as u64 + 1;
    lines
        .iter()
        .map(|line| match line {
            Line::Heading(section, _) => key(*section, 0),
            Line::Offer(at) => key(Section::Offers, place(*at)),
            Line::Adding(at) => key(Section::Adding, place(*at)),
            Line::Transfer(at) => key(Section::Transfers, place(*at)),
            Line::Upload(at) => key(Section::Uploads, place(*at)),
            Line::Finished(at) => key(Section::Finished, place(*at)),
            Line::Older(_) => key(Section::Finished, LAST),
            // The newest has the highest position and stands first.
            Line::Share(at) => key(Section::Shares, (LAST - 1).saturating_sub(positions(*at))),
            Line::Cut => key(Section::Shares, LAST),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::files;

    fn of<'a>(state: &'a FilesState, filter: Filter, search: &'a str) -> Wanted<'a> {
        Wanted { state, adding: 1, shares: 5, cut: true, filter, search }
    }

    #[test]
    fn keys_rise_whatever_is_shown() {
        let state = files::state();
        let shares = files::page(0);
        for filter in Filter::ALL {
            let lines = lines(of(&state, filter, ""));
            let keys = keys(&lines, |at| shares[at].position);
            assert!(!lines.is_empty() && keys.is_sorted_by(|a, b| a < b), "{filter:?} {keys:?}");
        }
    }

    #[test]
    fn every_word_must_be_found_in_what_is_shown() {
        let state = files::state();
        let found = lines(Wanted { shares: 0, ..of(&state, Filter::All, "apollo ADA") });
        let [Line::Heading(Section::Transfers, 1), Line::Transfer(at)] = found[..] else { panic!("{found:?}") };
        assert!(state.transfers[at].name.contains("apollo"));
        assert!(lines(Wanted { shares: 0, ..of(&state, Filter::All, "apollo nobody") }).is_empty());
    }

    #[test]
    fn of_what_has_arrived_the_newest_stand_among_the_others_and_all_by_themselves() {
        let mut state = files::state();
        state.transfers = vec![files::finished(); 10];
        let all = lines(of(&state, Filter::All, ""));
        assert!(all.contains(&Line::Older(10 - NEWEST)) && all.contains(&Line::Heading(Section::Finished, 10)));
        let finished = lines(of(&state, Filter::Finished, ""));
        assert_eq!(finished.len(), 11);
    }
}
