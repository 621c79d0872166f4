//! Messages: sent while nobody is there, in groups, changed afterwards, found again, and none lost.

mod database;
mod groups;
mod held;
mod killed;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_common::chat::Draft;
use kith_common::client::Client;
use kith_common::failure::{Failure, FailureKind};
use kith_tests::people::{befriend, contact, two_friends};
use kith_tests::{Daemon, Lines, Options, program};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::calls::SOON;

fn field<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    row[name].as_str().with_context(|| format!("no text {name} in {row}"))
}

/// Sends a text; its id.
fn send(from: &Daemon, to: &str, text: &str) -> Result<String> {
    Ok(field(&from.ask(&["chat", "send", to, text])?, "id")?.to_owned())
}

/// The message with that id, once it is as wanted.
fn message(daemon: &Daemon, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut watch = daemon.spawn(&["chat", "watch", "--after", "0"])?;
    watch.wait_for(what, SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["id"] == id && wanted(&row)).then_some(row)
    })
}

fn in_state(daemon: &Daemon, id: &str, state: &str) -> Result<Value> {
    message(daemon, id, &format!("message {state}"), |row| row["state"] == state)
}

fn history(daemon: &Daemon, with: &str) -> Result<Vec<Value>> {
    let (code, rows) = daemon.ctl(&["chat", "history", with, "--limit", "2000"])?;
    ensure!(code == 0, "chat history {with} ended with {code}");
    Ok(rows)
}

/// What must be the same for everybody.
fn shared(rows: &[Value]) -> Vec<[Value; 5]> {
    let fields = ["id", "author", "text", "sent_at", "reply_to"];
    rows.iter().map(|row| fields.map(|field| row[field].clone())).collect()
}

fn texts(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["text"].as_str()).collect()
}

/// A daemon that can be started again as the same node.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn start(&self, name: &str) -> Result<Daemon> {
        let (data_dir, socket) = (Some(self.dir.path().join("data")), Some(self.dir.path().join("sock")));
        Daemon::with(name, Options { data_dir, socket, ..Options::default() })
    }
}

#[test]
fn what_is_sent_to_somebody_who_is_off_is_delivered_and_read_and_the_history_is_the_same_on_both() -> Result<()> {
    let home = Home::new()?;
    let (ada, ben) = (Daemon::start("ada", &[])?, home.start("ben")?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    let first = send(&ben, "Ada", "I am off.")?;
    in_state(&ben, &first, "delivered")?;
    let peer = ben.peer.clone();
    assert_eq!(ben.stop()?, 0);
    contact(&ada, &peer, "ben offline", |row| row["presence"] == "offline")?;

    let sent = ada.ask(&["chat", "send", "Ben", "Read this when you are back."])?;
    assert_eq!((&sent["state"], &sent["direction"]), (&"queued".into(), &"outgoing".into()), "{sent}");
    assert_eq!((&sent["peer"], &sent["author"]), (&peer.as_str().into(), &ada.peer.as_str().into()), "{sent}");
    let id = field(&sent, "id")?.to_owned();

    let ben = home.start("ben")?;
    let arrived = in_state(&ben, &id, "delivered")?;
    assert_eq!((&arrived["direction"], &arrived["peer"]), (&"incoming".into(), &ada.peer.as_str().into()), "{arrived}");
    assert_eq!(arrived["sent_at"], sent["sent_at"]);
    in_state(&ada, &id, "delivered")?;
    assert_eq!(ben.ask(&["chat"])?["unread"], 1);
    ben.ask(&["chat", "read", "Ada"])?;
    assert_eq!(ben.ask(&["chat"])?["unread"], 0);
    in_state(&ada, &id, "read")?;

    let (here, there) = (history(&ada, "Ben")?, history(&ben, "Ada")?);
    assert_eq!(texts(&here), ["I am off.", "Read this when you are back."]);
    assert_eq!(shared(&here), shared(&there));
    Ok(())
}

#[test]
fn messages_keep_their_order_both_ways() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let mut last = (String::new(), String::new());
    for n in 0..20 {
        last = (send(&ada, "Ben", &format!("ada {n}"))?, send(&ben, "Ada", &format!("ben {n}"))?);
    }
    in_state(&ada, &last.0, "delivered")?;
    in_state(&ben, &last.1, "delivered")?;
    for (daemon, with) in [(&ada, "Ben"), (&ben, "Ada")] {
        let rows = history(daemon, with)?;
        for author in ["ada", "ben"] {
            let of: Vec<&str> = texts(&rows).into_iter().filter(|text| text.starts_with(author)).collect();
            assert_eq!(of, (0..20).map(|n| format!("{author} {n}")).collect::<Vec<_>>());
        }
    }
    Ok(())
}

#[test]
fn a_group_of_three_has_the_same_messages_for_all_also_for_the_one_who_was_off() -> Result<()> {
    let home = Home::new()?;
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, home.start("cem")?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ada, "Cem", &cem, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    let peer = cem.peer.clone();
    assert_eq!(cem.stop()?, 0);
    contact(&ada, &peer, "cem offline", |row| row["presence"] == "offline")?;

    let group = ada.ask(&["chat", "group", "new", "Trip", "Ben", "Cem"])?;
    assert_eq!((&group["title"], &group["group"]), (&"Trip".into(), &true.into()), "{group}");
    assert_eq!(group["members"].as_array().map(Vec::len), Some(3), "{group}");
    let hello = send(&ada, "Trip", "Shall we?")?;
    in_state(&ben, &hello, "delivered")?;
    let yes = send(&ben, "Trip", "Yes!")?;
    message(&ada, &yes, "ben's answer", |row| row["direction"] == "incoming" && row["peer"] == ben.peer.as_str())?;
    let waiting = message(&ada, &hello, "ada's message", |_| true)?;
    assert!(["queued", "sent"].contains(&field(&waiting, "state")?), "not everybody has it: {waiting}");

    let cem = home.start("cem")?;
    in_state(&cem, &hello, "delivered")?;
    in_state(&cem, &yes, "delivered")?;
    in_state(&ada, &hello, "delivered")?;
    in_state(&ben, &yes, "delivered")?;
    let late = send(&cem, "Trip", "I was asleep.")?;
    in_state(&cem, &late, "delivered")?;
    let mut all = Vec::new();
    for daemon in [&ada, &ben, &cem] {
        let mut rows = shared(&history(daemon, "Trip")?);
        rows.sort_by_key(|row| row[0].to_string());
        all.push(rows);
    }
    assert!(all[0].len() == 3 && all[0] == all[1] && all[1] == all[2], "{all:?}");
    Ok(())
}

#[test]
fn a_group_changes_its_name_and_members_for_everybody() -> Result<()> {
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ada, "Cem", &cem, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    ada.ask(&["chat", "group", "new", "Trip", "Ben"])?;
    let before = send(&ada, "Trip", "Only for two.")?;
    in_state(&ben, &before, "delivered")?;
    ada.ask(&["chat", "group", "rename", "Trip", "Journey"])?;
    ada.ask(&["chat", "group", "add", "Journey", "Cem"])?;
    let after = send(&ada, "Journey", "For three.")?;
    in_state(&ben, &after, "delivered")?;
    in_state(&cem, &after, "delivered")?;
    assert_eq!(texts(&history(&cem, "Journey")?), ["For three."]);
    assert_eq!(texts(&history(&ben, "Journey")?), ["Only for two.", "For three."]);
    let left = cem.ask(&["chat", "group", "leave", "Journey"])?;
    assert_eq!(left["left"], true, "{left}");
    assert_ne!(cem.ctl(&["chat", "send", "Journey", "Still here?"])?.0, 0);
    ada.ask(&["chat", "group", "remove", "Journey", "Ben"])?;
    let alone = send(&ada, "Journey", "Anybody?")?;
    let direct = send(&ada, "Ben", "You are out.")?;
    in_state(&ben, &direct, "delivered")?;
    assert!(history(&ben, "Journey")?.iter().all(|row| row["id"] != alone.as_str()));
    Ok(())
}

#[test]
fn replies_edits_deletions_and_reactions_arrive() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let (plan, typo) = (send(&ada, "Ben", "Let us go to Oslo tomorrow.")?, send(&ada, "Ben", "At nien.")?);
    in_state(&ben, &typo, "delivered")?;
    let reply = ben.ask(&["chat", "send", "Ada", "Gladly.", "--reply", &plan])?;
    let reply = message(&ada, field(&reply, "id")?, "the reply", |_| true)?;
    assert_eq!(reply["reply_to"], plan.as_str());
    assert!(field(&reply, "reply_text")?.starts_with("Let us go"), "{reply}");

    ada.ask(&["chat", "edit", &typo, "At nine."])?;
    let edited = message(&ben, &typo, "the edit", |row| row["edited"] == true)?;
    assert_eq!(edited["text"], "At nine.");

    ben.ask(&["chat", "react", &plan, "👍"])?;
    let liked = message(&ada, &plan, "the reaction", |row| row["reactions"] != Value::Array(Vec::new()))?;
    assert_eq!(liked["reactions"][0]["emoji"], "👍");
    assert_eq!(liked["reactions"][0]["peers"][0], ben.peer.as_str());
    ben.ask(&["chat", "react", &plan, "👍", "--off"])?;
    message(&ada, &plan, "no reaction", |row| row["reactions"] == Value::Array(Vec::new()))?;

    ada.ask(&["chat", "delete", &plan])?;
    let deleted = message(&ben, &plan, "the deletion", |row| row["deleted"] == true)?;
    assert_eq!(deleted["text"], "");
    assert_eq!(history(&ben, "Ada")?.len(), 3, "its place stays");

    // What is somebody else's stays as it is.
    assert_ne!(ben.ctl(&["chat", "edit", &typo, "At ten."])?.0, 0);
    assert_ne!(ben.ctl(&["chat", "delete", &typo])?.0, 0);
    assert_eq!(history(&ada, "Ben")?[1]["text"], "At nine.");
    Ok(())
}

#[test]
fn messages_are_found_by_their_words() -> Result<()> {
    let (ada, ben) = two_friends()?;
    for text in ["The ferry to Ærø leaves at noon.", "Noon is too early for me.", "Then the evening ferry.", "Café?"]
    {
        send(&ada, "Ben", text)?;
    }
    let last = send(&ada, "Ben", "Done.")?;
    in_state(&ben, &last, "delivered")?;
    for daemon in [&ada, &ben] {
        let found = |arguments: &[&str]| -> Result<Vec<String>> {
            let (code, rows) = daemon.ctl(&[&["chat", "search"][..], arguments].concat())?;
            ensure!(code == 0, "search {arguments:?} ended with {code}");
            rows.iter().map(|row| Ok(field(row, "text")?.to_owned())).collect()
        };
        assert_eq!(found(&["ferry"])?, ["Then the evening ferry.", "The ferry to Ærø leaves at noon."]);
        assert_eq!(found(&["NOON fer"])?, ["The ferry to Ærø leaves at noon."], "all words, the last a beginning");
        assert_eq!(found(&["fe"])?.len(), 2, "two letters are a beginning");
        assert_eq!(found(&["cafe"])?, ["Café?"], "whatever the accents");
        assert_eq!(found(&["ferry", "--limit", "1"])?, ["Then the evening ferry."]);
        assert!(found(&["\"* OR ferry NEAR( -"])?.is_empty(), "no query language to trip over");
        assert!(found(&["zebra"])?.is_empty());
    }
    assert_eq!(ada.ctl(&["chat", "search", "ferry", "--in", "Ben"])?.1.len(), 2);
    Ok(())
}

#[test]
fn history_comes_in_pages_and_by_time() -> Result<()> {
    let (ada, _ben) = two_friends()?;
    for n in 0..10 {
        send(&ada, "Ben", &n.to_string())?;
    }
    let (_, newest) = ada.ctl(&["chat", "history", "Ben", "--limit", "3"])?;
    assert_eq!(texts(&newest), ["7", "8", "9"]);
    let position = newest[0]["position"].to_string();
    let (_, older) = ada.ctl(&["chat", "history", "Ben", "--limit", "3", "--before", &position])?;
    assert_eq!(texts(&older), ["4", "5", "6"]);
    let (_, none) = ada.ctl(&["chat", "history", "Ben", "--before", "2000-01-01"])?;
    assert!(none.is_empty(), "{none:?}");
    Ok(())
}

#[test]
fn a_watch_goes_on_when_the_daemon_restarts_and_misses_nothing() -> Result<()> {
    let home = Home::new()?;
    let (ada, mut ben) = (Daemon::start("ada", &[])?, home.start("ben")?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    let mut watch = ben.spawn(&["chat", "watch", "--after", "0"])?;
    let mut next = |text: &str| {
        watch.wait_for(text, SOON, |line| {
            let row: Value = serde_json::from_str(line).ok()?;
            (row["direction"] == "incoming" && row["state"] == "delivered").then_some(row)
        })
    };
    let (mut cursors, mut sent) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for n in 0..3 {
            sent.push(format!("round {round}, {n}"));
            send(&ada, "Ben", sent.last().context("just pushed")?)?;
        }
        // Some have been seen, some are on their way.
        for _ in cursors.len()..sent.len() - 1 {
            let row = next("a message")?;
            assert_eq!(row["text"], sent[cursors.len()].as_str());
            cursors.push(row["cursor"].as_u64().context("a cursor")?);
        }
        ben.kill();
        sent.push(format!("while it was dead {round}"));
        send(&ada, "Ben", sent.last().context("just pushed")?)?;
        drop(ben);
        ben = home.start("ben")?;
    }
    while cursors.len() < sent.len() {
        let row = next("a message")?;
        assert_eq!(row["text"], sent[cursors.len()].as_str());
        cursors.push(row["cursor"].as_u64().context("a cursor")?);
    }
    assert!(cursors.is_sorted_by(|a, b| a < b), "{cursors:?}");
    assert!(watch.errors().contains("this goes on when it is back"), "{}", watch.errors());
    // Somebody who had seen five asks for the rest.
    let mut rest = ben.spawn(&["chat", "watch", "--after", &cursors[4].to_string()])?;
    let row = rest.wait_json("direction", "incoming", SOON)?;
    assert_eq!(row["text"], sent[5].as_str());
    Ok(())
}

#[test]
fn a_stranger_is_told_that_messages_are_taken_from_contacts_only() -> Result<()> {
    let (ada, eve) = (Daemon::start("ada", &[])?, Daemon::start("eve", &[])?);
    eve.ask(&["contacts", "add", &ada.ticket()?, "--name", "Ada"])?;
    contact(&ada, &eve.peer, "a request", |row| row["request"] == true)?;
    let mut watch = eve.spawn(&["chat", "watch", "--after", "0"])?;
    let id = send(&eve, "Ada", "It is me, from the train!")?;
    let refused = message(&eve, &id, "a message with a reason", |row| row["error"] != "")?;
    assert!(field(&refused, "error")?.contains("contact"), "{refused}");
    assert_eq!(refused["state"], "queued");
    assert_eq!(ada.ctl(&["chat"])?.1, Vec::<Value>::new(), "nothing of it is here");
    // Once it is no stranger any more, it comes.
    ada.ask(&["contacts", "accept", "eve"])?;
    in_state(&ada, &id, "delivered")?;
    let delivered = in_state(&eve, &id, "delivered")?;
    assert_eq!(delivered["error"], "");
    // However often it was tried: nobody had it before.
    watch.wait_for("the end", SOON, |line| line.contains("\"delivered\"").then_some(()))?;
    let rows: Vec<Value> = watch.seen().iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let mut states: Vec<&str> = rows.iter().filter_map(|row| row["state"].as_str()).collect();
    states.dedup();
    assert_eq!(states, ["queued", "delivered"]);
    Ok(())
}

#[test]
fn a_text_of_ten_megabytes_is_refused_in_words() -> Result<()> {
    let (ada, ben) = two_friends()?;
    // Through standard input, as a person would.
    let send = ada.command(&["chat", "send", "Ben", "-"]);
    let mut command = Command::new("sh");
    command.args(["-c", "head -c 10000000 /dev/zero | tr '\\0' x | exec \"$@\"", "sh"]);
    command.arg(send.get_program()).args(send.get_args());
    let mut run = Lines::start(&mut command)?;
    assert_eq!(run.finish(SOON)?.0, 2);
    assert!(run.errors().contains("16 KiB"), "{}", run.errors());
    // And straight at the daemon.
    let runtime = Runtime::new()?;
    let refused = runtime.block_on(async {
        let client = Client::connect(&ada.socket).await?;
        client.send_message("Ben", Draft { text: "x".repeat(10_000_000), ..Draft::default() }).await
    });
    let failure = refused.err().context("ten megabytes are refused")?;
    assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure:?}");
    assert!(failure.message.contains("16"), "{failure:?}");
    assert_eq!(ada.ctl(&["chat"])?.1.len() + ben.ctl(&["chat"])?.1.len(), 0, "nothing of it is stored");
    // The most that fits, fits.
    let most = "y".repeat(16 * 1024);
    let id = self::send(&ada, "Ben", &most)?;
    assert_eq!(in_state(&ben, &id, "delivered")?["text"], most.as_str());
    Ok(())
}

#[test]
fn a_message_cannot_act_on_a_terminal_or_look_like_two() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let id = send(&ada, "Ben", "a\u{1b}[2J\u{9b}1mb\u{202e}c\nyou: I owe ada 100")?;
    in_state(&ben, &id, "delivered")?;
    let shown = |arguments: &[&str]| -> Result<Vec<String>> {
        let mut command = Command::new(program("kithctl"));
        command.arg("--socket").arg(&ben.socket).args(arguments);
        let mut run = Lines::start(&mut command)?;
        ensure!(run.wait_end(SOON)?.success(), "{}", run.errors());
        Ok(run.seen().to_vec())
    };
    for arguments in
        [&["chat"][..], &["chat", "history", "Ada"], &["chat", "search", "owe"], &["chat", "export", "Ada"]]
    {
        for line in shown(arguments)? {
            ensure!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{arguments:?}: {line:?}");
            ensure!(!line.starts_with("you"), "{arguments:?}: {line:?}");
        }
    }
    Ok(())
}

#[test]
fn an_export_is_complete_private_and_overwrites_nothing() -> Result<()> {
    const MANY: usize = 600;
    let (ada, _ben) = two_friends()?;
    // More than fits one answer of the daemon.
    Runtime::new()?.block_on(async {
        let client = Client::connect(&ada.socket).await?;
        for n in 0..MANY {
            client.send_message("Ben", Draft { text: format!("message {n}"), ..Draft::default() }).await?;
        }
        Ok::<_, Failure>(())
    })?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("ben.jsonl");
    let path = file.to_str().context("a path of text")?;
    let last = ada.ask(&["chat", "export", "Ben", "--to", path])?;
    assert_eq!(last["messages"], MANY, "{last}");
    let text = std::fs::read_to_string(&file)?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(shared(&rows), shared(&history(&ada, "Ben")?));
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert_ne!(ada.ctl(&["chat", "export", "Ben", "--to", path])?.0, 0);
    assert_eq!(std::fs::read_to_string(&file)?, text);
    let (code, everything) = ada.ctl(&["chat", "export", "--all"])?;
    assert_eq!((code, everything.len()), (0, MANY));
    Ok(())
}

#[test]
fn a_forgotten_conversation_is_gone_here_and_stays_there() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let id = send(&ada, "Ben", "Remember me.")?;
    in_state(&ben, &id, "delivered")?;
    in_state(&ada, &id, "delivered")?;
    assert_eq!(ada.ask(&["chat", "retention", "Ben", "30"])?["retention_days"], 30);
    ada.ask(&["chat", "forget", "Ben"])?;
    assert!(ada.ctl(&["chat"])?.1.is_empty());
    assert!(ada.ctl(&["chat", "search", "remember"])?.1.is_empty());
    assert_eq!(texts(&history(&ben, "Ada")?), ["Remember me."]);
    // It begins anew, and nothing comes twice.
    let again = send(&ben, "Ada", "Hello?")?;
    in_state(&ada, &again, "delivered")?;
    assert_eq!(texts(&history(&ada, "Ben")?), ["Hello?"]);
    Ok(())
}
