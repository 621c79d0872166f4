use kith_common::chat::{Attachment, Before, ConversationId};
use kith_store::{Body, Store};

use crate::{NOW, all, id, peer, said, store, text, texts, with};

fn found(store: &Store, query: &str) -> Vec<String> {
    store.search(query, None, 0, 50).unwrap().into_iter().map(|message| message.text).collect()
}

fn say(store: &mut Store, number: u64, words: &str) {
    store.say(with(2), id(number), text(words), NOW).unwrap();
}

#[test]
fn search_finds_words_without_accents_beginnings_and_the_newest_first() {
    let mut store = store(1);
    say(&mut store, 1, "Crème brûlée in Zürich");
    say(&mut store, 2, "creme again, said Łukasz");
    say(&mut store, 3, "Привет, мир! ünïcode");
    assert_eq!(found(&store, "CREME"), ["creme again, said Łukasz", "Crème brûlée in Zürich"]);
    assert_eq!(found(&store, "crème bru"), ["Crème brûlée in Zürich"]);
    assert_eq!(found(&store, "bru crème ").len(), 0, "a word and a space is a whole word");
    assert_eq!(found(&store, "прив"), ["Привет, мир! ünïcode"]);
    assert_eq!(
        found(&store, "cr"),
        ["creme again, said Łukasz", "Crème brûlée in Zürich"],
        "two letters are a beginning"
    );
    assert_eq!((found(&store, "мi").len(), found(&store, "ми").len()), (0, 1));
    assert_eq!(found(&store, "c").len() + found(&store, "п").len(), 0, "one would be that of too many words");
    assert_eq!(found(&store, "zurich"), ["Crème brûlée in Zürich"]);
    assert!(found(&store, "").is_empty() && found(&store, "🙂 !").is_empty());
}

#[test]
fn nothing_that_people_type_is_syntax() {
    let mut store = store(1);
    say(&mut store, 1, r#"he said "hello" AND left (text:x) NEAR*"#);
    for query in [
        r#""hello""#,
        r#"hello" OR "x"#,
        "AND",
        "OR NOT",
        "text:x",
        "NEAR(a b)",
        "(",
        "^he",
        "he*",
        "-he",
        "{text}: he",
        "'",
        "\0he",
        "a\"\"b",
        "he said*",
    ] {
        store.search(query, None, 0, 50).unwrap();
        store.search(query, Some(with(2)), 0, 50).unwrap();
    }
    assert_eq!(found(&store, r#""hello" AND (text:x)"#).len(), 1);
    assert_eq!(found(&store, "OR").len(), 0, "a word like another");
    assert_eq!(found(&store, &"word ".repeat(10_000)).len(), 0);
}

#[test]
fn search_in_one_conversation_stays_there_whatever_people_write() {
    let mut store = store(1);
    store.say(with(2), id(1), text("here words"), NOW).unwrap();
    let key_of_the_other = "\u{e000}1 \u{e000}2 \u{e000}3";
    store.say(with(3), id(2), text(&format!("there words {key_of_the_other}")), NOW).unwrap();
    let hits = store.search("words", Some(with(2)), 0, 50).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [id(1)]);
    assert!(store.search("\u{e000}1", None, 0, 50).unwrap().is_empty());
    assert!(store.search("words", Some(with(9)), 0, 50).unwrap().is_empty());
}

#[test]
fn search_pages_by_position_and_follows_edits_and_deletions() {
    let mut store = store(1);
    for number in 1..=9 {
        say(&mut store, number, &format!("common number{number}"));
    }
    let first = store.search("common", None, 0, 4).unwrap();
    let second = store.search("common", None, first[3].position, 50).unwrap();
    assert_eq!((first.len(), second.len()), (4, 5));
    store.say(with(2), id(3), Body::Edit("changed entirely".into()), NOW).unwrap();
    store.say(with(2), id(4), Body::Delete, NOW).unwrap();
    assert_eq!(found(&store, "common").len(), 7);
    assert_eq!(found(&store, "entirely"), ["changed entirely"]);
    assert!(found(&store, "number3").is_empty() && found(&store, "number4").is_empty());
}

#[test]
fn attachments_are_kept_and_found_by_name() {
    let mut store = store(1);
    let attachments = vec![Attachment { ticket: "kith:abc".into(), name: "holiday-2024.jpeg".into(), size_bytes: 7 }];
    let body = Body::Text { text: String::new(), reply_to: Some(id(9)), attachments: attachments.clone() };
    store.say(with(2), id(1), body.clone(), NOW).unwrap();
    assert_eq!(store.search("holiday", None, 0, 5).unwrap()[0].attachments, attachments);
    assert_eq!(store.entries_for(peer(2), kith_store::Place::Direct, 0, 5).unwrap()[0].body, body);
}

#[test]
fn pages_are_cut_by_position_and_time() {
    let mut store = store(1);
    for number in 1..=20u64 {
        store.say(with(2), id(number), text(&number.to_string()), NOW + number as i64).unwrap();
        store.say(with(3), id(100 + number), text("other"), NOW + number as i64).unwrap();
    }
    assert_eq!(texts(&store, with(2)), (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
    let page = |before| {
        let page = store.history(with(2), before, 3).unwrap();
        page.into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!(page(Before::default()), ["18", "19", "20"]);
    assert_eq!(page(Before { position: 0, unix_ms: NOW + 6 }), ["3", "4", "5"]);
    assert_eq!(page(Before { position: 0, unix_ms: NOW }), [""; 0]);
    assert!(store.history(with(9), Before::default(), 3).unwrap().is_empty());
}

#[test]
fn replies_show_what_they_answer_and_reactions_who_gave_them() {
    let mut store = store(1);
    store.hear(peer(2), vec![said(1)], NOW).unwrap();
    let reply = Body::Text { text: "yes".into(), reply_to: Some(id(1)), attachments: Vec::new() };
    store.say(with(2), id(50), reply, NOW).unwrap();
    store.say(with(2), id(1), Body::React { emoji: "👍".into(), on: true }, NOW).unwrap();
    let theirs = crate::entry(2, Body::React { emoji: "👍".into(), on: true });
    store.hear(peer(2), vec![kith_store::Entry { id: id(1), ..theirs }], NOW).unwrap();
    let messages = all(&store, with(2));
    assert_eq!(messages[1].reply_text, "message 1");
    assert_eq!(messages[0].reactions[0].peers, [peer(1), peer(2)]);
    store.say(with(2), id(1), Body::React { emoji: "👍".into(), on: false }, NOW).unwrap();
    assert_eq!(all(&store, with(2))[0].reactions[0].peers, [peer(2)]);
}

#[test]
fn a_watcher_that_goes_on_from_its_cursor_misses_nothing() {
    let mut store = store(1);
    for number in 1..=10 {
        say(&mut store, number, "words");
    }
    let (page, cursor) = store.changed_after(0, 4).unwrap();
    assert_eq!(page.len(), 4);
    store.say(with(2), id(1), Body::Edit("other".into()), NOW).unwrap();
    store.handed(peer(2), kith_store::Place::Direct, 2).unwrap();
    let (rest, cursor) = store.changed_after(cursor, 100).unwrap();
    let ids: Vec<_> = rest.iter().map(|message| message.id).collect();
    let expected: Vec<_> = [5, 6, 7, 8, 9, 10, 1, 2].map(id).to_vec();
    assert_eq!(ids.len(), expected.len());
    assert!(expected.iter().all(|id| ids.contains(id)), "{ids:?}");
    assert_eq!(store.changed_after(cursor, 100).unwrap(), (Vec::new(), cursor));
    assert_eq!(cursor, store.cursor().unwrap());
}

#[test]
fn old_messages_go_and_what_waits_stays() {
    let mut store = store(1);
    let day = 24 * 60 * 60 * 1000;
    store.hear(peer(2), vec![said(1)], NOW - 10 * day).unwrap();
    store.say(with(2), id(50), text("waits"), NOW - 10 * day).unwrap();
    store.hear(peer(2), vec![said(2)], NOW).unwrap();
    assert_eq!(store.expire(NOW).unwrap(), 0, "kept for ever unless said otherwise");
    assert_eq!(store.set_retention(with(2), 3).unwrap().retention_days, 3);
    assert_eq!(store.expire(NOW).unwrap(), 1);
    assert_eq!(store.expire(NOW).unwrap(), 0);
    assert_eq!(texts(&store, with(2)), ["waits", "message 2"]);
    assert_eq!(store.conversation(with(2)).unwrap().unwrap().unread, 1);
    assert!(store.search("message", None, 0, 5).unwrap().len() == 1);
    assert!(store.set_retention(ConversationId::Group(crate::group(1)), 3).is_err());
}
