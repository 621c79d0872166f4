//! Telling people of messages and calls while they look at something else: the desktop's notifications, from a thread of
//! their own, because their daemon may be slow, hang, or not be there.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use lucide_icons::Icon;

/// Notifications that wait; more at once say nothing to anybody.
const QUEUE: usize = 8;
/// What is told stays for this long.
const SHOWN_MS: i32 = 8_000;
/// Folders are looked through this deep for a font.
const DEPTH: usize = 4;

/// What notifications tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Telling {
    #[default]
    Everything,
    /// That there is something, neither from whom nor what.
    Hidden,
    Nothing,
}

impl Telling {
    pub fn next(self) -> Self {
        match self {
            Self::Everything => Self::Hidden,
            Self::Hidden => Self::Nothing,
            Self::Nothing => Self::Everything,
        }
    }

    pub fn sign(self) -> (Icon, &'static str) {
        match self {
            Self::Everything => (Icon::Bell, "Notifications say who and what. Press to hide it"),
            Self::Hidden => (Icon::BellDot, "Notifications hide who and what. Press for none"),
            Self::Nothing => (Icon::BellOff, "No notifications. Press to have them"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Hidden => "hidden",
            Self::Nothing => "nothing",
        }
    }

    /// As it was chosen last; `None` for a window that remembers nothing.
    pub fn recall(file: Option<&Path>) -> Self {
        let said = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        [Self::Hidden, Self::Nothing].into_iter().find(|telling| telling.word() == said.trim()).unwrap_or_default()
    }

    pub fn remember(self, file: Option<&Path>) {
        let Some(file) = file else { return };
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = written.and_then(|()| std::fs::write(file, self.word())) {
            tracing::warn!(%error, "the choice of notifications is not remembered");
        }
    }
}

/// What is told, in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub title: String,
    pub text: String,
    /// What is said when the rest is hidden.
    pub hidden: &'static str,
}

/// Where notifications go. Nowhere in tests.
#[derive(Debug, Default)]
pub struct Notifier(Option<SyncSender<Note>>);

impl Notifier {
    pub fn desktop() -> Self {
        let (sender, notes) = sync_channel::<Note>(QUEUE);
        let told = std::thread::Builder::new().name("kith-notify".into()).spawn(move || {
            let mut said = false;
            for note in notes {
                let shown = notify_rust::Notification::new()
                    .appname("Kith")
                    .icon("kith")
                    .summary(&note.title)
                    .body(&note.text)
                    .timeout(SHOWN_MS)
                    .show();
                if let Err(error) = shown
                    && !std::mem::replace(&mut said, true)
                {
                    tracing::warn!(%error, "this desktop shows no notifications");
                }
            }
        });
        if let Err(error) = told {
            tracing::warn!(%error, "no thread for notifications");
            return Self(None);
        }
        Self(Some(sender))
    }

    /// Never waits.
    pub fn tell(&self, note: Note, telling: Telling) {
        let Some(sender) = &self.0 else { return };
        let note = match telling {
            Telling::Everything => Note { text: escaped(&note.text), ..note },
            Telling::Hidden => Note { title: "Kith".into(), text: note.hidden.into(), ..note },
            Telling::Nothing => return,
        };
        match sender.try_send(note) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => tracing::debug!("notifications have ended"),
        }
    }
}

/// Notification daemons read the text as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Where the choice is kept.
pub fn memory() -> Option<PathBuf> {
    Some(kith_common::paths::config_file().parent()?.join("notifications"))
}

/// Whether this machine has a font with emoji in it.
pub fn emoji_font() -> bool {
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        let home = std::env::home_dir().unwrap_or_default();
        let data = std::env::var_os("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from);
        let folders =
            ["/usr/share/fonts".into(), "/usr/local/share/fonts".into(), data.join("fonts"), home.join(".fonts")];
        folders.iter().any(|folder| has_emoji(folder, DEPTH))
    })
}

fn has_emoji(folder: &Path, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_font = [".ttf", ".otf", ".ttc"].iter().any(|end| name.ends_with(end));
        (is_font && name.contains("emoji")) || (depth > 0 && !is_font && has_emoji(&entry.path(), depth - 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_goes_round_and_is_read_as_it_was_written() {
        let start = Telling::default();
        assert_eq!(start.next().next().next(), start);
        assert_eq!(Telling::recall(None), Telling::Everything);
    }

    #[test]
    fn what_others_write_is_no_markup() {
        assert_eq!(escaped("<b>1 & 2</b>"), "&lt;b&gt;1 &amp; 2&lt;/b&gt;");
    }
}
