use kith_common::file::{ContentKind, MAX_FILE_NAME_BYTES};
use proptest::prelude::*;

use crate::name::{component_fault, split_ending};
use crate::{content_kind, safe_name};

#[test]
fn names_that_others_send_are_made_safe() {
    for (sent, kept) in [
        ("report.pdf", "report.pdf"),
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        (r"C:\Windows\evil.exe", "evil.exe"),
        ("folder/", "folder"),
        ("", "file"),
        (" ", "file"),
        (".", "file"),
        ("..", "file"),
        ("///", "file"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("NUL.tar.gz", "_NUL.tar.gz"),
        ("Aux ", "_Aux"),
        ("COM1", "_COM1"),
        ("LPT¹.txt", "_LPT¹.txt"),
        ("CONIN$", "_CONIN$"),
        ("COMMON.txt", "COMMON.txt"),
        ("COM12", "COM12"),
        ("a\0b.txt", "ab.txt"),
        ("new\nline.txt", "newline.txt"),
        ("bell\u{7}\u{1b}[31m.txt", "bell[31m.txt"),
        ("photo\u{202e}gpj.exe", "photogpj.exe"),
        ("zero\u{200b}width\u{feff}.txt", "zerowidth.txt"),
        (".bashrc", "bashrc"),
        ("...hidden", "hidden"),
        (". . .x", "x"),
        ("dots...", "dots"),
        ("a:b*c?.txt", "a_b_c_.txt"),
        ("-rf", "-rf"),
        ("~root", "~root"),
        ("👩\u{200d}👩\u{200d}👧.png", "👩\u{200d}👩\u{200d}👧.png"),
        ("❤\u{fe0f}\u{200d}🔥.png", "❤\u{fe0f}\u{200d}🔥.png"),
        ("ex\u{200d}e.txt", "exe.txt"),
        ("\u{200d}🔥\u{200d}", "🔥"),
        ("Größe – 東京.txt", "Größe – 東京.txt"),
        ("שלום.txt", "שלום.txt"),
    ] {
        assert_eq!(safe_name(sent), kept, "{sent:?}");
    }
}

#[test]
fn long_names_are_cut_between_characters_and_keep_their_ending() {
    for (sent, ending) in [
        ("é".repeat(400) + ".tar.gz", ".tar.gz"),
        ("x".repeat(4000), ""),
        ("x".repeat(300) + &"y".repeat(300) + ".a-very-long-ending-that-is-none", ""),
        ("🙂".repeat(100) + ".jpeg", ".jpeg"),
        ("a".repeat(180) + &" ".repeat(100) + ".txt", ".txt"),
    ] {
        let kept = safe_name(&sent);
        assert!(kept.len() <= MAX_FILE_NAME_BYTES && kept.len() > 150, "{kept}");
        assert!(kept.ends_with(ending), "{kept}");
    }
}

#[test]
fn endings_are_split_where_people_expect_it() {
    for (name, split) in [
        ("a.txt", ("a", ".txt")),
        ("a.tar.gz", ("a", ".tar.gz")),
        ("a.b.c", ("a.b", ".c")),
        ("none", ("none", "")),
        (".tar.gz", (".tar", ".gz")),
        ("v1. A name that goes on and on", ("v1. A name that goes on and on", "")),
    ] {
        assert_eq!(split_ending(name), split, "{name}");
    }
}

#[test]
fn names_in_folders_are_kept_or_refused() {
    for name in ["a", ".git", "12:30 <x>.log", "CON", "שלום", "می\u{200c}خواهم", "👩\u{200d}👧", " x ", "..."]
    {
        assert_eq!(component_fault(name), None, "{name:?}");
    }
    let long = "x".repeat(256);
    for name in ["", ".", "..", "a/b", r"a\b", "a\0", "a\n", "\u{1b}[2J", "photo\u{202e}gpj.exe", "\u{2066}a", &long] {
        assert!(component_fault(name).is_some(), "{name:?}");
    }
}

#[test]
fn what_can_run_is_no_document() {
    for (name, kind) in [
        ("a.JPG", ContentKind::Image),
        ("a.mkv", ContentKind::Video),
        ("a.opus", ContentKind::Audio),
        ("a.b.pdf", ContentKind::Document),
        ("a.tar.zst", ContentKind::Archive),
        ("a.pdf.exe", ContentKind::Other),
        ("a.sh", ContentKind::Other),
        ("a.html", ContentKind::Other),
        ("a.svg", ContentKind::Other),
        ("a.docm", ContentKind::Other),
        ("a.jar", ContentKind::Other),
        ("a.desktop", ContentKind::Other),
        ("pdf", ContentKind::Other),
        ("", ContentKind::Other),
    ] {
        assert_eq!(content_kind(name), kind, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_name_is_safe_once_and_for_all(
        raw in prop_oneof![
            proptest::string::string_regex("[./\\\\ a-cA-C\u{200d}🔥\u{202e}\u{0}:]{0,40}").expect("a valid expression"),
            any::<String>(),
            proptest::string::string_regex(".{150,300}").expect("a valid expression"),
        ]
    ) {
        let name = safe_name(&raw);
        prop_assert!(!name.is_empty() && name.len() <= MAX_FILE_NAME_BYTES);
        prop_assert!(component_fault(&name).is_none(), "{:?}", name);
        prop_assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{:?}", name);
        prop_assert_eq!(safe_name(&name), name);
    }
}
