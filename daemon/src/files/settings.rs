//! What a user has chosen about files: kept in the database, with defaults for what was never chosen.

use std::path::{Path, PathBuf};

use kith_common::failure::Failure;
use kith_common::file::{ContentKind, FileSettings};
use kith_store::Database;

use super::check::{absolute, folder, invalid};

const KEY: &str = "files";
/// Transfers at the same time, at most: each has sources with streams and memory of their own.
const MAX_AT_ONCE: u32 = 16;
const GIB: u64 = 1024 * 1024 * 1024;

/// Until a user says otherwise.
fn defaults(downloads: &Path) -> FileSettings {
    FileSettings {
        folder: downloads.to_owned(),
        download_bytes_per_second: 0,
        upload_bytes_per_second: 0,
        unasked_bytes: GIB,
        unasked_kinds: vec![ContentKind::Image, ContentKind::Video, ContentKind::Audio, ContentKind::Document],
        copy_bytes_per_contact: GIB,
        store_bytes: 10 * GIB,
        at_once: 3,
    }
}

/// `fixed`: the folder was named on the command line, and stands before what was chosen earlier.
pub(super) async fn load(db: &Database, downloads: &Path, fixed: Option<PathBuf>) -> Result<FileSettings, Failure> {
    let kept = db.read(|store| store.setting(KEY)).await?;
    let mut settings = match kept.as_deref().map(serde_json::from_str::<FileSettings>) {
        Some(Ok(settings)) => settings,
        None => defaults(downloads),
        Some(Err(error)) => {
            tracing::warn!(%error, "the settings for files are not understood: the defaults are in force");
            defaults(downloads)
        }
    };
    if settings.folder.as_os_str().is_empty() {
        settings.folder = downloads.to_owned();
    }
    if let Some(folder) = fixed {
        settings.folder = folder;
    }
    Ok(settings)
}

/// Checks and keeps them. An empty folder is the usual one.
pub(super) async fn save(db: &Database, downloads: &Path, new: FileSettings) -> Result<FileSettings, Failure> {
    if !(1..=MAX_AT_ONCE).contains(&new.at_once) {
        return Err(invalid(format!("1 to {MAX_AT_ONCE} transfers can go on at the same time, not {}", new.at_once)));
    }
    let usual = new.folder.as_os_str().is_empty();
    let mut unasked_kinds = new.unasked_kinds.clone();
    unasked_kinds.sort_unstable();
    unasked_kinds.dedup();
    let chosen = if usual { downloads.to_owned() } else { absolute(new.folder.clone())? };
    folder(&chosen).await?;
    let kept = FileSettings { folder: if usual { PathBuf::new() } else { chosen.clone() }, unasked_kinds, ..new };
    let text = serde_json::to_string(&kept).map_err(|error| invalid(error.to_string()))?;
    db.write(move |store| store.set_setting(KEY, &text)).await?;
    Ok(FileSettings { folder: chosen, ..kept })
}

/// Where a browser would put it: `XDG_DOWNLOAD_DIR` of the user's `user-dirs.dirs`, else `Downloads` at home.
pub(super) fn downloads() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let file = config.unwrap_or_else(|| home.join(".config")).join("user-dirs.dirs");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    user_dir(&text, &home).unwrap_or_else(|| home.join("Downloads"))
}

/// The format of xdg-user-dirs: shell assignments with quoted paths, at home or absolute.
fn user_dir(text: &str, home: &Path) -> Option<PathBuf> {
    let value = text.lines().rev().find_map(|line| line.trim().strip_prefix("XDG_DOWNLOAD_DIR="))?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let path = match value.strip_prefix("$HOME/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(value),
    };
    // At home itself: it was switched off.
    (path.is_absolute() && path != home).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_folder_for_downloads_is_found() {
        let home = Path::new("/home/ada");
        let of = |text: &str| user_dir(text, home);
        assert_eq!(of("# x\nXDG_DOWNLOAD_DIR=\"$HOME/Geladenes\"\n"), Some("/home/ada/Geladenes".into()));
        assert_eq!(of("XDG_DOWNLOAD_DIR=\"/data/in\""), Some("/data/in".into()));
        for none in ["", "XDG_DOWNLOAD_DIR=\"$HOME/\"", "XDG_DOWNLOAD_DIR=Downloads", "XDG_MUSIC_DIR=\"$HOME/m\""] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
