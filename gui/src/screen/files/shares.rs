//! The shares that are in memory: pages are loaded as one comes near their end, and all of them anew when the daemon says
//! that something has changed, while the old ones stay in sight.

use kith_common::file::Share;

use crate::link::{Filing, Job};

/// Shares in memory; older ones are found by searching.
pub const HELD: usize = 2_000;

#[derive(Debug)]
enum Loading {
    Next(Job),
    /// In place of all that are here.
    Anew {
        job: Job,
        fresh: Vec<Share>,
        /// What is being loaded has changed meanwhile.
        stale: bool,
    },
}

#[derive(Debug, Default)]
pub struct Shares {
    /// The newest first.
    pub list: Vec<Share>,
    pub search: String,
    loading: Option<Loading>,
    /// Nothing comes after the last.
    whole: bool,
    revision: Option<u64>,
}

/// What to ask the daemon for, and what not to wait for any more.
#[derive(Debug, Default)]
pub struct Order {
    pub start: Option<(Job, Filing)>,
    pub cancel: Option<Job>,
}

impl Shares {
    fn ask(&self, before: u64) -> (Job, Filing) {
        (Job::next(), Filing::Shares { search: self.search.trim().to_owned(), before })
    }

    pub fn loading(&self) -> bool {
        self.loading.is_some()
    }

    /// There are older ones that only a search finds.
    pub fn cut(&self) -> bool {
        !self.whole && self.list.len() >= HELD
    }

    /// The daemon's list has this number now.
    pub fn revised(&mut self, revision: u64) -> Order {
        if self.revision == Some(revision) {
            return Order::default();
        }
        self.revision = Some(revision);
        if let Some(Loading::Anew { stale, .. }) = &mut self.loading {
            *stale = true;
            return Order::default();
        }
        self.anew()
    }

    pub fn look_for(&mut self, search: String) -> Order {
        self.search = search;
        self.anew()
    }

    fn anew(&mut self) -> Order {
        let cancel = self.loading.take().map(|loading| match loading {
            Loading::Next(job) | Loading::Anew { job, .. } => job,
        });
        let start = self.ask(0);
        self.loading = Some(Loading::Anew { job: start.0, fresh: Vec::new(), stale: false });
        Order { start: Some(start), cancel }
    }

    /// One looks at the last ones.
    pub fn near_end(&mut self) -> Order {
        let Some(last) = self.list.last().map(|share| share.position) else { return Order::default() };
        if self.loading.is_some() || self.whole || self.list.len() >= HELD {
            return Order::default();
        }
        let start = self.ask(last);
        self.loading = Some(Loading::Next(start.0));
        Order { start: Some(start), cancel: None }
    }

    /// A page that was asked for; `None` when it was not.
    pub fn take(&mut self, job: Job, page: &[Share]) -> Option<Order> {
        match self.loading.as_mut()? {
            Loading::Next(asked) if *asked == job => {
                self.list.extend_from_slice(page);
                self.whole = page.is_empty();
                self.loading = None;
            }
            Loading::Anew { job: asked, fresh, stale } if *asked == job => {
                fresh.extend_from_slice(page);
                let stale = *stale;
                // As much as one had scrolled through, so that nothing moves away under the eyes.
                let enough = page.is_empty() || fresh.len() >= self.list.len().min(HELD);
                if let Some(last) = fresh.last().map(|share| share.position)
                    && !enough
                {
                    let start = (Job::next(), Filing::Shares { search: self.search.trim().to_owned(), before: last });
                    *asked = start.0;
                    return Some(Order { start: Some(start), cancel: None });
                }
                self.list = std::mem::take(fresh);
                self.whole = page.is_empty();
                self.loading = None;
                if stale {
                    return Some(self.anew());
                }
            }
            _ => return None,
        }
        Some(Order::default())
    }

    /// It was refused; it is asked again when something changes.
    pub fn failed(&mut self, job: Job) -> bool {
        let asked = match &self.loading {
            Some(Loading::Next(asked) | Loading::Anew { job: asked, .. }) => *asked == job,
            None => false,
        };
        if asked {
            self.loading = None;
            self.whole = true;
        }
        asked
    }

    /// One that has changed by an order of this window; the feed tells it too.
    pub fn put(&mut self, share: &Share) {
        if let Some(known) = self.list.iter_mut().find(|known| known.hash == share.hash) {
            known.clone_from(share);
        }
    }

    pub fn lost(&mut self) {
        *self = Self { search: std::mem::take(&mut self.search), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::files::{self, SHARED};

    /// Answers as the daemon does, until nothing is asked any more.
    fn settle(shares: &mut Shares, mut order: Order) -> usize {
        let mut asked = 0;
        while let Some((job, Filing::Shares { before, .. })) = order.start {
            asked += 1;
            order = shares.take(job, &files::page(before)).expect("it was asked for");
        }
        asked
    }

    #[test]
    fn pages_join_on_until_there_is_nothing_more() {
        let mut shares = Shares::default();
        let first = shares.revised(1);
        assert_eq!(settle(&mut shares, first), 1, "one page at first");
        for _ in 0..100 {
            let order = shares.near_end();
            settle(&mut shares, order);
        }
        assert!(shares.list.is_sorted_by(|a, b| a.position > b.position), "the newest first, none twice");
        assert!(shares.list.len() >= HELD && shares.list.len() < SHARED, "{}", shares.list.len());
        assert!(shares.cut());
    }

    #[test]
    fn a_change_loads_what_one_had_seen_and_the_same_number_nothing() {
        let mut shares = Shares::default();
        let first = shares.revised(1);
        settle(&mut shares, first);
        let more = shares.near_end();
        settle(&mut shares, more);
        let seen = shares.list.len();
        assert!(shares.revised(1).start.is_none());
        let anew = shares.revised(2);
        assert_eq!(shares.list.len(), seen, "the old ones stay in sight");
        assert_eq!(settle(&mut shares, anew), 2);
        assert_eq!(shares.list.len(), seen);
    }

    #[test]
    fn a_change_while_loading_is_looked_at_after_that() {
        let mut shares = Shares::default();
        let (job, _) = shares.revised(1).start.expect("it is asked");
        assert!(shares.revised(2).start.is_none(), "not twice at once");
        let again = shares.take(job, &files::page(0)).expect("its page");
        assert!(!shares.list.is_empty() && again.start.is_some(), "shown, and asked for again");
        settle(&mut shares, again);
        assert!(!shares.loading());
    }

    #[test]
    fn a_page_that_nobody_asked_for_changes_nothing() {
        let mut shares = Shares::default();
        assert!(shares.take(Job::next(), &files::page(0)).is_none() && shares.list.is_empty());
    }
}
