//! Texts of other people, before a terminal gets them: control characters would move the cursor, set the title or
//! answer for the user, and the bidirectional overrides let a line say another thing than it is (Unicode TR 36, 3.2).

use std::borrow::Cow;
use std::fmt::Write as _;

use kith_common::text::{acts, clean_text};

/// For a terminal: line ends stay, a tab is a space, and nothing else that acts is left.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.contains(|c: char| c != '\n' && acts(c)) {
        Cow::Owned(clean_text(text).replace('\t', " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// Within a line: what has several becomes one.
pub fn line(of: &str) -> String {
    text(of).split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ⏎ ")
}

/// One line of JSON says the same with everything that acts escaped: such characters are in its strings only.
pub fn json(line: String) -> String {
    if !line.contains(acts) {
        return line;
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if acts(c) {
            // All of them are below U+10000.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: &str = "a\x1b]0;title\x07\u{9b}2J\u{202e}b\r";

    #[test]
    fn nothing_that_acts_reaches_a_terminal_and_languages_stay_whole() {
        let shown = text(BAD);
        assert_eq!(shown.replace('\n', " "), "a]0;title2Jb ");
        assert_eq!(text("two\nlines"), "two\nlines");
        for fine in ["naïve", "שלום\u{200f}!", "👩\u{200d}🚀", "日本語"] {
            assert_eq!(text(fine), fine);
        }
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("one\n\n two\tthree\n"), "one ⏎ two three");
    }

    #[test]
    fn json_says_the_same_in_harmless_characters() -> Result<(), serde_json::Error> {
        let escaped = json(serde_json::json!({ "text": BAD }).to_string());
        assert!(!escaped.contains(acts), "{escaped:?}");
        let back: serde_json::Value = serde_json::from_str(&escaped)?;
        assert_eq!(back["text"], BAD);
        Ok(())
    }
}
