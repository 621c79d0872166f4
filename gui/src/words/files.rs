//! What the screens say in words of files: sizes, rates, how a transfer goes, who has what, and who gets it. Names come
//! from others: they are shown without what acts in a text.

use std::path::Path;
use std::time::Duration;

use kith_common::file::{
    ContentKind, CopyState, FileKind, SealedCopy, Share, ShareScope, ShareState, Source, SourceState, Transfer,
    TransferState,
};
pub use kith_common::size::{bytes, rate};

use super::chat::{one_line, plain};

/// Who is named of those that a file came from.
const NAMED: usize = 3;

/// `1 min 20 s`
pub fn span(seconds: u32) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 if !seconds.is_multiple_of(60) => format!("{} min {} s", seconds / 60, seconds % 60),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How much of it is there, 0 to 1.
pub fn part(done: u64, total: u64) -> f32 {
    if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) as f32 }
}

/// `1.2 GB of 5.0 GB · 24 %`; before the size is known what has come.
fn so_far(transfer: &Transfer) -> String {
    let (done, size) = (transfer.done_bytes, transfer.size_bytes);
    match (size, done, transfer.state) {
        (0, 0, _) => return String::new(),
        (0, done, _) => return bytes(done),
        (size, 0, TransferState::Queued | TransferState::Searching | TransferState::Waiting) => return bytes(size),
        _ => {}
    }
    // Not a hundred while something is missing.
    let percent = (u128::from(done.min(size)) * 100 / u128::from(size)).min(if done < size { 99 } else { 100 });
    format!("{} of {} · {percent} %", bytes(done), bytes(size))
}

fn joined(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// How a transfer goes, in one line.
pub fn doing(transfer: &Transfer) -> String {
    let so_far = || so_far(transfer);
    match transfer.state {
        TransferState::Queued => joined(["Waits for those before it".to_owned(), so_far()]),
        TransferState::Searching => joined(["Asking who has it…".to_owned(), so_far()]),
        TransferState::Fetching => {
            let left = match transfer.remaining_seconds {
                0 => String::new(),
                seconds => format!("{} left", span(seconds)),
            };
            joined([so_far(), rate(transfer.bytes_per_second), left])
        }
        TransferState::Waiting => {
            let next = match transfer.next_try_seconds {
                0 => "Nobody who has it is there now; it goes on by itself".to_owned(),
                seconds => format!("Nobody who has it is there now; tried again within {}", span(seconds)),
            };
            joined([next, so_far()])
        }
        TransferState::Paused => joined(["Paused".to_owned(), so_far()]),
        TransferState::Finishing => "All is here; checking and saving it…".to_owned(),
        TransferState::Done => done(transfer),
        TransferState::Failed => joined(["Failed".to_owned(), so_far()]),
    }
}

/// `5.0 GB in 1:52, 44.6 MB/s · from Ada Lovelace and Alan Turing`
fn done(transfer: &Transfer) -> String {
    let size = bytes(transfer.size_bytes);
    let took = match transfer.seconds {
        seconds if seconds >= 1.0 => {
            let rate = (transfer.size_bytes as f64 / seconds) as u64;
            format!("{size} in {}, {}", super::duration(Duration::from_secs_f64(seconds.min(1e9))), self::rate(rate))
        }
        _ => size,
    };
    joined([took, from(&transfer.sources)])
}

/// Who has given something of it.
fn from(sources: &[Source]) -> String {
    let mut givers: Vec<&Source> =
        sources.iter().filter(|source| source.received_bytes > 0 && source.state != SourceState::Lied).collect();
    givers.sort_by_key(|source| std::cmp::Reverse(source.received_bytes));
    let names: Vec<String> = givers.iter().map(|source| name_of(source)).collect();
    if names.is_empty() { String::new() } else { format!("from {}", listed(&names)) }
}

/// `Ada, Alan and Grace`, and of more how many.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if names.len() <= NAMED => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more", names[..NAMED].join(", "), names.len() - NAMED),
    }
}

pub fn name_of(source: &Source) -> String {
    super::name(&one_line(&source.name), Some(source.peer))
}

/// What one who has it does for the transfer.
pub fn source(source: &Source) -> String {
    let reason = |general: &str| match source.reason.trim() {
        "" => general.to_owned(),
        reason => one_line(reason),
    };
    match source.state {
        SourceState::Connecting => "connecting…".to_owned(),
        SourceState::Active => rate(source.bytes_per_second),
        SourceState::Stalled => reason("nothing comes; tried again later"),
        SourceState::Busy => reason("busy; tried again later"),
        SourceState::Dropped => reason("does not give it any more"),
        SourceState::Lied => reason("sent something else; nothing of that was kept"),
    }
}

pub fn kind(kind: FileKind, files: u32) -> String {
    match (kind, files) {
        (FileKind::File, _) => "File".to_owned(),
        (FileKind::Folder, 0) => "Folder".to_owned(),
        (FileKind::Folder, 1) => "Folder with 1 file".to_owned(),
        (FileKind::Folder, files) => format!("Folder with {files} files"),
    }
}

/// Who gets a share.
pub fn scope(scope: ShareScope) -> &'static str {
    match scope {
        ShareScope::Anyone => "Anyone with the ticket",
        ShareScope::Contacts => "My contacts",
        ShareScope::Peers => "Chosen people",
    }
}

/// That they get what is let go over the window.
pub fn get_it(scope: ShareScope) -> &'static str {
    match scope {
        ShareScope::Anyone => "Anyone who has its ticket gets it.",
        ShareScope::Contacts => "Your contacts get it when they ask for it.",
        ShareScope::Peers => "The people whom you have chosen get it.",
    }
}

/// Who gets what was just shared, and what is left to do for that.
pub fn shared_with(scope: ShareScope, names: &[String]) -> String {
    match (scope, names) {
        (ShareScope::Anyone, _) => "Anyone who has its ticket gets it: send it to whoever is to have it.".to_owned(),
        (ShareScope::Contacts, _) => "Your contacts get it, and nobody else. Send them its ticket.".to_owned(),
        (ShareScope::Peers, [one]) => format!("{one} gets it, and nobody else. It is offered to them."),
        (ShareScope::Peers, names) => {
            format!("{} get it, and nobody else. It is offered to them.", listed(names))
        }
    }
}

/// The line under a share's name.
pub fn share(share: &Share) -> String {
    let who = match (share.scope, share.peers.len()) {
        (ShareScope::Peers, 1) => "one person".to_owned(),
        (ShareScope::Peers, count) => format!("{count} people"),
        (ShareScope::Contacts, _) => "my contacts".to_owned(),
        (ShareScope::Anyone, _) => "anyone with the ticket".to_owned(),
    };
    let sent = if share.sent_bytes == 0 { String::new() } else { format!("sent {}", bytes(share.sent_bytes)) };
    let files = match share.kind {
        FileKind::File => String::new(),
        FileKind::Folder => format!("{} files", share.files),
    };
    joined([bytes(share.size_bytes), files, who, sent, copies(&share.copies)])
}

fn copies(copies: &[SealedCopy]) -> String {
    let kept = copies.iter().filter(|copy| copy.state == CopyState::Kept).count();
    match (kept, copies.len()) {
        (_, 0) => String::new(),
        (1, 1) => "1 sealed copy".to_owned(),
        (kept, all) if kept == all => format!("{kept} sealed copies"),
        (kept, all) => format!("{kept} of {all} sealed copies"),
    }
}

/// How far a sealed copy has come.
pub fn copy(copy: &SealedCopy, size_bytes: u64) -> String {
    match copy.state {
        CopyState::Asked => "asked; they are away".to_owned(),
        CopyState::Sending => format!("{} of {}", bytes(copy.held_bytes.min(size_bytes)), bytes(size_bytes)),
        CopyState::Kept => "has all of it".to_owned(),
        CopyState::Refused => match copy.reason.trim() {
            "" => "does not keep it".to_owned(),
            reason => one_line(reason),
        },
    }
}

/// What is wrong with a share, and what to do; `None` when nothing is.
pub fn trouble(state: ShareState) -> Option<(&'static str, &'static str)> {
    match state {
        ShareState::Available => None,
        ShareState::Changed => Some((
            "It was changed after it was shared, so nothing of it is sent.",
            "Share it again to give the new content; it gets a new ticket.",
        )),
        ShareState::Missing => {
            Some(("It is not where it was, so nothing of it is sent.", "Put it back, or withdraw it here."))
        }
    }
}

pub fn content(kind: ContentKind) -> &'static str {
    match kind {
        ContentKind::Image => "Pictures",
        ContentKind::Video => "Videos",
        ContentKind::Audio => "Sound",
        ContentKind::Document => "Documents",
        ContentKind::Archive => "Archives",
        ContentKind::Other => "Programs and all else",
        ContentKind::Folder => "Folders",
    }
}

/// A file's name in one line.
pub fn name(raw: &str) -> String {
    match one_line(raw) {
        name if name.is_empty() => "File without a name".to_owned(),
        name => name,
    }
}

/// A path as it is, but for characters that act.
pub fn path(raw: &str) -> String {
    plain(raw).replace(['\n', '\t'], " ")
}

/// The folder to open for what was saved: a folder itself, the one that a file is in.
pub fn folder_of(kind: FileKind, saved: &str) -> Option<&Path> {
    let path = Path::new(saved);
    match kind {
        FileKind::Folder => Some(path),
        FileKind::File => path.parent(),
    }
    .filter(|folder| folder.is_absolute())
}

/// The last part of a path, or all of it where there is none.
pub fn last_part(path: &Path) -> String {
    let last = path.file_name().unwrap_or(path.as_os_str());
    name(&last.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock;

    #[test]
    fn a_transfer_is_not_at_a_hundred_while_something_is_missing() {
        let mut transfer = mock::files::fetching();
        transfer.size_bytes = 1_000_000;
        transfer.done_bytes = 999_999;
        assert!(doing(&transfer).contains(" · 99 % · "), "{}", doing(&transfer));
        transfer.done_bytes = u64::MAX;
        transfer.size_bytes = u64::MAX;
        assert!(doing(&transfer).contains(" · 100 % · "), "{}", doing(&transfer));
    }

    #[test]
    fn who_lied_is_not_among_those_it_came_from() {
        let transfer = mock::files::finished();
        let lied = transfer.sources.iter().find(|source| source.state == SourceState::Lied).expect("one did");
        let said = doing(&transfer);
        assert!(said.contains("from ") && !said.contains(&name_of(lied)), "{said}");
    }

    #[test]
    fn the_folder_of_a_file_is_the_one_it_is_in() {
        assert_eq!(folder_of(FileKind::File, "/home/ada/x.pdf"), Some(Path::new("/home/ada")));
        assert_eq!(folder_of(FileKind::Folder, "/home/ada/x"), Some(Path::new("/home/ada/x")));
        assert_eq!(folder_of(FileKind::File, "x.pdf"), None);
        assert_eq!(folder_of(FileKind::File, ""), None);
    }

    #[test]
    fn names_cannot_turn_what_stands_beside_them() {
        assert_eq!(name("photo\u{202e}gpj.exe"), "photogpj.exe");
        assert_eq!(name("\n"), "File without a name");
        assert_eq!(path("/home/a\nb\u{202e}/c"), "/home/a b/c");
    }
}
