//! Names of files that others chose: made safe to save, and refused where they would have to be changed in a folder.

use kith_common::file::{ContentKind, MAX_FILE_NAME_BYTES};
use kith_common::text::acts;

/// What a file without a usable name is called.
const NAMELESS: &str = "file";
/// An ending that is kept when a name is cut.
const MAX_ENDING_BYTES: usize = 20;
/// NAME_MAX of Linux.
const MAX_COMPONENT_BYTES: usize = 255;
const JOINER: char = '\u{200d}';
/// Names that open a device on Windows, whatever ending they have; with a digit, 1 to 9 in superscript among them.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];

/// The name that a file is saved by: the last part of what was sent, without what acts, hides the file, or means something to a file
/// system. At most [`MAX_FILE_NAME_BYTES`], never empty, never with a separator. To make it safe twice is to make it safe once.
pub fn safe_name(raw: &str) -> String {
    let last = raw.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    let seen: Vec<char> = last.chars().filter(|c| !acts(*c) && !is_unseen(*c)).collect();
    let mut name = String::with_capacity(last.len());
    for (at, c) in seen.iter().enumerate() {
        match c {
            // A joiner is unseen; it stays where it makes one picture of two.
            &JOINER => {
                let before = at.checked_sub(1).and_then(|before| seen.get(before));
                if before.is_some_and(is_pictured) && seen.get(at + 1).is_some_and(is_pictured) {
                    name.push(JOINER);
                }
            }
            '<' | '>' | ':' | '"' | '|' | '?' | '*' => name.push('_'),
            c => name.push(*c),
        }
    }
    let name = trimmed(&name);
    let name = if is_device(name) { format!("_{name}") } else { name.to_owned() };
    let name = shortened(&name, MAX_FILE_NAME_BYTES);
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

/// Splits off an ending with its dot, `.tar.gz` as a whole. Empty when the name has none.
pub(crate) fn split_ending(name: &str) -> (&str, &str) {
    let Some(dot) = name.rfind('.').filter(|dot| *dot > 0 && name.len() - dot <= MAX_ENDING_BYTES) else {
        return (name, "");
    };
    let dot = name[..dot].strip_suffix(".tar").filter(|stem| !stem.is_empty()).map_or(dot, str::len);
    name.split_at(dot)
}

/// Why a name inside a folder cannot be kept as it is. Names there are never changed: what is saved is what was shared.
pub(crate) fn component_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("a name in a path is empty or leads out of the folder");
    }
    if name.len() > MAX_COMPONENT_BYTES {
        return Some("a name has more than 255 bytes");
    }
    if name.contains(['/', '\\']) {
        return Some("a name has a separator of paths in it");
    }
    name.chars().any(acts).then_some("a name has characters that are not seen")
}

/// What kind of content a name promises. What can run, or carry something that runs, is [`ContentKind::Other`].
pub fn content_kind(name: &str) -> ContentKind {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "jpg" | "jpeg" | "png" | "gif" | "webp" | "avif" | "heic" | "heif" | "bmp" | "tif" | "tiff" | "jxl" | "ico"
        | "raw" | "dng" | "cr2" | "nef" | "arw" => ContentKind::Image,
        "mp4" | "m4v" | "mkv" | "webm" | "mov" | "avi" | "mpg" | "mpeg" | "ogv" | "wmv" | "flv" | "3gp" | "mts"
        | "m2ts" => ContentKind::Video,
        "mp3" | "m4a" | "aac" | "ogg" | "oga" | "opus" | "flac" | "wav" | "wma" | "aif" | "aiff" | "mid" | "midi" => {
            ContentKind::Audio
        }
        "pdf" | "txt" | "md" | "rtf" | "odt" | "ods" | "odp" | "odg" | "doc" | "docx" | "xls" | "xlsx" | "ppt"
        | "pptx" | "epub" | "csv" | "tex" | "log" => ContentKind::Document,
        "zip" | "tar" | "gz" | "tgz" | "xz" | "txz" | "bz2" | "tbz" | "zst" | "7z" | "rar" | "lz4" | "br" => {
            ContentKind::Archive
        }
        _ => ContentKind::Other,
    }
}

/// Without width and without meaning in a file's name, beyond what acts: zero-width space, non-joiner, marks of direction, tags.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{ad}' | '\u{2060}'..='\u{2064}'
        | '\u{180e}' | '\u{e0000}'..='\u{e007f}')
}

/// Emoji and what changes their look: what a joiner joins.
fn is_pictured(c: &char) -> bool {
    matches!(*c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{fe0f}' | '\u{3030}' | '\u{303d}')
}

/// Without dots and spaces at the ends: the former hide a file, the latter are lost on Windows.
fn trimmed(name: &str) -> &str {
    name.trim_matches(|c: char| c == '.' || c == JOINER || c.is_whitespace())
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |device: &&str| {
        let mut digits = stem.strip_prefix(*device).unwrap_or_default().chars();
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED_DEVICES.iter().any(numbered)
}

/// Cut between characters, with its ending. `max_bytes` is more than an ending may have.
pub(crate) fn shortened(name: &str, max_bytes: usize) -> String {
    if name.len() <= max_bytes {
        return name.to_owned();
    }
    let (stem, ending) = split_ending(name);
    let stem = trimmed(&stem[..stem.floor_char_boundary(max_bytes.saturating_sub(ending.len()))]);
    format!("{stem}{ending}")
}
