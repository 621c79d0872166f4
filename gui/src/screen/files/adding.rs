//! Files on their way to be shared: a few are read at a time, however many were dropped; the others wait for them.

use std::path::PathBuf;

use iced::widget::{column, container, progress_bar, row, text};
use iced::{Alignment, Element, Fill};
use kith_common::file::{AddOptions, AddProgress};
use lucide_icons::Icon;

use crate::link::{Filing, Job};
use crate::theme;
use crate::widget::parts::{icon, muted, small};
use crate::words::files as say;

/// Read at the same time: two keep a disk and a processor busy.
const AT_ONCE: usize = 2;

/// One of them; `to` says what it is shared for.
#[derive(Debug)]
pub struct Adding<T> {
    pub to: T,
    pub path: PathBuf,
    options: AddOptions,
    /// `None` while it waits.
    job: Option<Job>,
    progress: AddProgress,
}

#[derive(Debug)]
pub struct Queue<T>(Vec<Adding<T>>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Queue<T> {
    /// The same file for the same purpose waits once.
    pub fn push(&mut self, to: T, path: PathBuf, options: AddOptions) {
        if self.0.iter().all(|adding| adding.to != to || adding.path != path) {
            self.0.push(Adding { to, path, options, job: None, progress: AddProgress::default() });
        }
    }

    /// What can be begun now.
    pub fn begin(&mut self) -> Vec<(Job, Filing)> {
        let room = AT_ONCE.saturating_sub(self.0.iter().filter(|adding| adding.job.is_some()).count());
        let waiting = self.0.iter_mut().filter(|adding| adding.job.is_none()).take(room);
        let begun = waiting.map(|adding| {
            let job = Job::next();
            adding.job = Some(job);
            (job, Filing::Add(adding.path.clone(), adding.options.clone()))
        });
        begun.collect()
    }

    /// Whether it is one of these that has come further.
    pub fn progress(&mut self, job: Job, progress: AddProgress) -> bool {
        let adding = self.0.iter_mut().find(|adding| adding.job == Some(job));
        adding.map(|adding| adding.progress = progress).is_some()
    }

    /// One that is over.
    pub fn take(&mut self, job: Job) -> Option<Adding<T>> {
        let at = self.0.iter().position(|adding| adding.job == Some(job))?;
        Some(self.0.remove(at))
    }

    /// Gives one up; the job to cancel when it has begun.
    pub fn give_up(&mut self, to: &T, path: &std::path::Path) -> Option<Job> {
        let at = self.0.iter().position(|adding| adding.to == *to && adding.path == path)?;
        self.0.remove(at).job
    }

    /// The daemon is gone: everything waits for the next one.
    pub fn lost(&mut self) {
        for adding in &mut self.0 {
            adding.job = None;
            adding.progress = AddProgress::default();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Adding<T>> {
        self.0.iter()
    }

    pub fn get(&self, at: usize) -> Option<&Adding<T>> {
        self.0.get(at)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Adding<T> {
    pub fn name(&self) -> String {
        say::last_part(&self.path)
    }

    pub fn view<'a, Message: Clone + 'a>(&self, give_up: Message) -> Element<'a, Message> {
        let AddProgress { done_bytes, total_bytes, files } = self.progress;
        let about = match (self.job, total_bytes) {
            (None, _) => "Waits for those before it".to_owned(),
            (Some(_), 0) => "Reading…".to_owned(),
            (Some(_), total) if files > 1 => {
                format!("{} of {}, {files} files", say::bytes(done_bytes), say::bytes(total))
            }
            (Some(_), total) => format!("{} of {}", say::bytes(done_bytes), say::bytes(total)),
        };
        let name = container(text(self.name()).size(13).wrapping(text::Wrapping::None)).clip(true).width(Fill);
        let line = row![
            icon(Icon::Paperclip, 14.0).color(theme::ACCENT),
            name,
            muted(about).wrapping(text::Wrapping::None),
            small(Icon::X, "Give it up", give_up)
        ];
        let bar = progress_bar(0.0..=1.0, say::part(done_bytes, total_bytes)).girth(4).style(theme::progress);
        let card = column![line.spacing(9).align_y(Alignment::Center), bar].spacing(2);
        container(card).padding(iced::padding::all(10).top(2).bottom(8)).style(theme::raised).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(count: usize) -> Queue<()> {
        let mut queue = Queue::default();
        (0..count).for_each(|at| queue.push((), format!("/x/{at}").into(), AddOptions::default()));
        queue
    }

    #[test]
    fn however_many_are_dropped_a_few_are_read_at_a_time_and_all_in_the_end() {
        let mut queue = queue(100);
        let mut read = 0;
        let mut begun = queue.begin();
        while let Some((job, _)) = begun.pop() {
            assert!(queue.iter().filter(|adding| adding.job.is_some()).count() <= AT_ONCE);
            assert!(queue.take(job).is_some());
            read += 1;
            begun.extend(queue.begin());
        }
        assert_eq!((read, queue.len()), (100, 0));
    }

    #[test]
    fn the_same_file_waits_once_for_each_purpose() {
        let mut queue = Queue::default();
        for to in [1, 1, 2] {
            queue.push(to, "/x".into(), AddOptions::default());
        }
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn what_was_being_read_when_the_daemon_went_is_read_again() {
        let mut queue = queue(3);
        let first = queue.begin();
        queue.lost();
        assert!(!queue.progress(first[0].0, AddProgress::default()) && queue.take(first[0].0).is_none());
        assert_eq!(queue.begin().len(), AT_ONCE);
    }
}
