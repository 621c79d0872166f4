//! A way through the calls for those who do not use a mouse: up and down, Enter calls again, Ctrl+C takes whom.

use kith_common::call::CallRecord;

use super::{LINE, LIST, MANY, Message, Recent};
use crate::screen::Wish;

impl Recent {
    /// Whether there is something to search in.
    pub fn is_searched(&self) -> bool {
        self.all.calls.len() >= MANY || !self.search.is_empty()
    }

    pub fn step(&mut self, by: isize) -> Wish {
        let shown = self.shown();
        let at = self.cursor.and_then(|cursor| shown.iter().position(|record| record.id == cursor));
        let next = at.map_or(0, |at| at.saturating_add_signed(by).min(shown.len().saturating_sub(1)));
        let Some(record) = shown.get(next) else { return Wish::Nothing };
        self.cursor = Some(record.id);
        let top = next as f32 * LINE;
        // Until somebody has scrolled nothing is known of the height; the line then stands at the top.
        let lowest = (top + LINE - self.height.max(LINE)).max(0.0);
        let scrolled = self.scrolled.clamp(lowest, top);
        if (scrolled - self.scrolled).abs() < 1.0 {
            return Wish::Nothing;
        }
        self.scrolled = scrolled;
        Wish::All(vec![Wish::Scroll(LIST, scrolled.ceil() as u32), self.more()])
    }

    fn standing(&self) -> Option<&CallRecord> {
        let cursor = self.cursor?;
        self.shown().into_iter().find(|record| record.id == cursor)
    }

    /// Calls again.
    pub fn enter(&self) -> Wish {
        let again = self.standing().and_then(|record| Some((record.again()?, record.kind)));
        again.map_or(Wish::Nothing, |(target, kind)| Wish::Dial(target, kind))
    }

    pub fn copy(&self) -> Wish {
        self.standing().and_then(CallRecord::again).map_or(Wish::Nothing, Wish::Copy)
    }

    /// Something else is being done.
    pub fn leave(&mut self) {
        self.cursor = None;
    }

    /// Leaves the last thing that was begun.
    pub fn escape(&mut self) -> Wish {
        if std::mem::take(&mut self.clearing) || self.trouble.take().is_some() || self.cursor.take().is_some() {
            return Wish::Nothing;
        }
        if self.search.is_empty() {
            return Wish::Nothing;
        }
        self.update(Message::Search(String::new()))
    }
}
