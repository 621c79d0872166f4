//! What the daemon tells of files, and what comes of what it was asked for.

use std::sync::Arc;

use kith_common::failure::{Failure, FailureKind};
use kith_common::file::FilesState;

use super::lines::Filter;
use super::shares::Order;
use super::{Ask, Asked, Files, carry};
use crate::link::{Job, News};
use crate::screen::Wish;

impl Files {
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
}
