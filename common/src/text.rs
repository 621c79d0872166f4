//! Texts of people, as they are kept and shown: without what acts instead of being seen.
//!
//! Control characters move a terminal's cursor and mean nothing in a message. The characters that embed, override or
//! isolate a direction (Unicode UAX 9, section 2) let a text be read otherwise than it was written, and reach beyond the
//! text into what stands after it. Right-to-left languages do without them: the bidirectional algorithm goes by the
//! letters, and the marks that are letters without a shape (U+200E, U+200F, U+061C) stay, as do the joiners that emoji and
//! many scripts are written with. What acts is taken out and not replaced, so that a text that is cleaned on both
//! sides of a link is the same on both.

/// Whether the character does something other than being seen; line ends and tabs among them.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // LRE, RLE, PDF, LRO, RLO; LRI, RLI, FSI, PDI.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Shaping and digit switches that Unicode deprecates, the byte order mark, ruby's anchors.
            | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{2028}' | '\u{2029}')
}

/// A text of several lines: line ends become `\n`, tabs stay, and nothing else acts.
pub fn clean_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            c if acts(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

/// A name or a title: one line, without spaces around it, of at most so many characters.
pub fn clean_line(text: &str, max_chars: usize) -> String {
    let space = |c: char| if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' | '\u{85}') { ' ' } else { c };
    let clean: String = text.chars().map(space).filter(|c| !acts(*c)).collect();
    clean.trim().chars().take(max_chars).collect::<String>().trim_end().to_owned()
}

/// The beginning of what somebody typed, for an error that repeats it.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_taken_out_and_lines_and_tabs_stay() {
        assert_eq!(clean_text("a\u{1b}[31mb\0\u{7}\u{9b}c"), "a[31mbc");
        assert_eq!(clean_text("one\r\ntwo\rthree\u{2028}four\n\tfive"), "one\ntwo\nthree\nfour\n\tfive");
        // "exe.gnp" that is shown as "exe.png".
        assert_eq!(clean_text("exe.\u{202e}gnp\u{202c}"), "exe.gnp");
        assert_eq!(clean_text("\u{2067}a\u{2066}b\u{2068}c\u{2069}\u{feff}"), "abc");
    }

    #[test]
    fn languages_from_right_to_left_and_emoji_are_left_alone() {
        for text in [
            "שלום, עולם (2026)!\u{200f}",
            "مرحبا بالعالم\u{61c} 12:30",
            "می\u{200c}خواهم",
            "क\u{200d}्ष",
            "👩\u{200d}👩\u{200d}👧 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} ❤\u{fe0f}",
            "e\u{301} Zürich 東京\u{a0}!",
        ] {
            assert_eq!(clean_text(text), text);
            assert_eq!(clean_line(text, 100), text);
        }
    }

    #[test]
    fn a_line_is_one_line_of_so_many_characters() {
        assert_eq!(clean_line("  Ada\r\nLovelace\u{202e}\t ", 64), "Ada  Lovelace");
        assert_eq!(clean_line("שלום עולם", 5), "שלום");
        assert_eq!(clean_line("\u{1b}\u{202e}\n", 64), "");
    }

    #[test]
    fn to_clean_twice_is_to_clean_once() {
        for text in ["a\r\r\nb\u{85}\u{202a}\n", "\u{feff}\t x\u{0}\r"] {
            let once = clean_text(text);
            assert_eq!(clean_text(&once), once);
        }
    }
}
