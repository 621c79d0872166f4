//! What is typed or pasted into the field: something of this machine, to be shared, or something of others, to be fetched.

use std::path::PathBuf;

use kith_common::failure::{Failure, FailureKind};
use kith_common::file::FileTarget;

use crate::desktop::path_of;

/// What the field holds.
#[derive(Debug, PartialEq)]
pub(super) enum Typed {
    Nothing,
    /// Something of this machine, to share.
    Path(PathBuf),
    /// A hash or ticket, to fetch.
    Content(String),
    Neither(Failure),
}

/// What a text is: a path, a file's ticket or hash, or neither.
pub(super) fn typed(text: &str) -> Typed {
    let text = text.trim();
    let bare = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
    if bare.is_empty() {
        return Typed::Nothing;
    }
    if bare.starts_with('/') {
        return Typed::Path(bare.into());
    }
    if let Some(path) = path_of(bare) {
        return Typed::Path(path);
    }
    if (bare == "~" || bare.starts_with("~/"))
        && let Some(home) = std::env::home_dir()
    {
        return Typed::Path(home.join(bare.trim_start_matches(['~', '/'])));
    }
    match bare.parse::<FileTarget>() {
        Ok(_) => Typed::Content(bare.to_owned()),
        Err(error) => Typed::Neither(
            Failure::new(FailureKind::InvalidArgument, error.to_string())
                .advise("To share something of this machine, type its full path: it begins with a slash."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::files;

    #[test]
    fn a_path_is_shared_and_a_ticket_or_hash_fetched() {
        let ticket = files::ticket(1);
        let hash = files::hash(1).to_string();
        assert_eq!(typed("  "), Typed::Nothing);
        assert_eq!(typed(" /srv/x y \n"), Typed::Path("/srv/x y".into()));
        assert_eq!(typed("'/srv/it is'"), Typed::Path("/srv/it is".into()));
        assert_eq!(typed("file:///srv/x%20y%C3%A4"), Typed::Path("/srv/x yä".into()));
        assert_eq!(typed(&hash), Typed::Content(hash.clone()));
        assert_eq!(typed(&ticket), Typed::Content(ticket.clone()));
        for neither in ["report.pdf", "kith:2abc", "kithfile:2abc", "é".repeat(32).as_str()] {
            assert!(matches!(typed(neither), Typed::Neither(_)), "{neither}");
        }
    }
}
