//! What the window asks of the desktop that it stands on: its dialog for choosing files, and its program for folders.
//! Where a desktop has neither it is said in a sentence, and everything can be typed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use kith_common::failure::{Failure, FailureKind};
use zbus::{OwnedObjectPath, OwnedVariant, Proxy, Variant};

use crate::words::files as say;

/// The desktop portal (xdg-desktop-portal): GNOME, KDE and others show their own dialogs for it.
const PORTAL: &str = "org.freedesktop.portal.Desktop";
const OBJECT: &str = "/org/freedesktop/portal/desktop";
const CHOOSER: &str = "org.freedesktop.portal.FileChooser";
const REQUEST: &str = "org.freedesktop.portal.Request";

/// What a person is to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Files,
    Folder,
}

/// What was chosen; nothing when the dialog was closed.
pub async fn choose(what: What) -> Result<Vec<PathBuf>, Failure> {
    ask(what).await.map_err(|error| {
        tracing::info!(%error, "the desktop shows no dialog");
        Failure::new(FailureKind::Unsupported, "this desktop has no dialog for choosing files")
            .advise("Drop the file on this screen, or type its full path.")
    })
}

async fn ask(what: What) -> zbus::Result<Vec<PathBuf>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let bus = zbus::Connection::session().await?;
    let chooser = Proxy::new(&bus, PORTAL, OBJECT, CHOOSER).await?;
    // Starts the portal where it does not run yet; it must run before one can listen to it.
    let _: u32 = chooser.get_property("version").await?;
    let token = format!("kith{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let sender =
        bus.unique_name().map(|name| name.as_str().trim_start_matches(':').replace('.', "_")).unwrap_or_default();
    // The answer may come before the call returns, so it is listened to where it is going to be.
    let request = Proxy::new(&bus, PORTAL, format!("{OBJECT}/request/{sender}/{token}"), REQUEST).await?;
    let mut responses = request.receive_signal("Response").await?;
    let (title, directory) = match what {
        What::Files => ("Files to share", false),
        What::Folder => ("Folder to share", true),
    };
    let options: HashMap<&str, Variant<'_>> = HashMap::from([
        ("handle_token", token.into()),
        ("multiple", (!directory).into()),
        ("directory", directory.into()),
        ("accept_label", "Share".into()),
    ]);
    let _: OwnedObjectPath = chooser.call("OpenFile", &("", title, options)).await?;
    let Some(response) = responses.next().await else { return Ok(Vec::new()) };
    let body = response.body();
    let (_, mut results): (u32, HashMap<String, OwnedVariant>) = body.deserialize()?;
    // Whoever closes the dialog has chosen nothing.
    let links: Vec<String> = results.remove("uris").map_or_else(|| Ok(Vec::new()), Vec::<String>::try_from)?;
    Ok(links.iter().filter_map(|link| path_of(link)).collect())
}

/// The path of a `file://` link, as desktops put it on the clipboard and in the answers of their dialogs.
pub fn path_of(link: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let encoded = link.strip_prefix("file://").filter(|path| path.starts_with('/'))?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<2>().filter(|_| first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// Opens a folder with the program that the desktop has for it.
pub async fn reveal(folder: PathBuf) -> Result<(), Failure> {
    let shown = say::path(&folder.to_string_lossy());
    let there = tokio::fs::metadata(&folder).await;
    if !there.is_ok_and(|there| there.is_dir()) {
        return Err(Failure::new(FailureKind::NotFound, format!("the folder {shown} is not there any more"))
            .advise("It was moved or deleted since."));
    }
    let failed = |why: String| {
        Failure::new(FailureKind::Internal, format!("the folder could not be opened: {why}"))
            .advise(format!("Open it yourself: it is {shown}"))
    };
    let mut opener = tokio::process::Command::new("xdg-open");
    opener.arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match opener.status().await {
        Ok(status) if status.success() => Ok(()),
        // The number is that of xdg-open(1).
        Ok(status) if status.code() == Some(3) => Err(failed("this machine has no program for folders".to_owned())),
        Ok(status) => Err(failed(format!("xdg-open ended with {status}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("xdg-open is not installed (package xdg-utils)".to_owned()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_paths() {
        let path = |link: &str| path_of(link).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(path("file:///srv/x%20y%C3%A4").as_deref(), Some("/srv/x yä"));
        assert_eq!(path("file:///srv/50%").as_deref(), Some("/srv/50%"));
        assert_eq!(path("file:///srv/%zz").as_deref(), Some("/srv/%zz"));
        for none in ["https://example.org/x", "file://elsewhere/x", "/srv/x", ""] {
            assert_eq!(path(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_a_sentence() {
        let told = reveal("/nonexistent/kith".into()).await;
        assert!(told.is_err_and(|failure| failure.message.contains("/nonexistent/kith is not there any more")));
    }
}
