//! People meet: requests, presence, trust, and names that work wherever a peer is named.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::people::{befriend, contact, two_friends, watched};
use kith_tests::{Daemon, Lines, Options, program};
use rustix::process::Signal;
use serde_json::Value;

use crate::calls::{SOON, ended, stage};

const SOUND: [&str; 3] = ["--voice", "--audio", "test"];

#[test]
fn a_stranger_asks_to_be_a_contact_and_is_one_once_that_is_accepted() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let added = ada.ask(&["contacts", "add", &ben.ticket()?, "--message", "We met in Oslo."])?;
    assert_eq!((&added["peer_id"], &added["mutual"]), (&ben.peer.as_str().into(), &false.into()), "{added}");
    let request = contact(&ben, &ada.peer, "a request", |row| row["request"] == true)?;
    assert_eq!((&request["name"], &request["text"]), (&"ada".into(), &"We met in Oslo.".into()), "{request}");
    assert_eq!(ben.ctl(&["contacts"])?.1, Vec::<Value>::new(), "a request is no contact yet");
    // By what the stranger calls itself, as it stands in the list.
    let accepted = ben.ask(&["contacts", "accept", "ada"])?;
    assert_eq!((&accepted["name"], &accepted["trust"]), (&"ada".into(), &"ask".into()), "{accepted}");
    assert_eq!(ben.ctl(&["contacts", "requests"])?.1, Vec::<Value>::new());
    for (daemon, other) in [(&ada, &ben), (&ben, &ada)] {
        contact(daemon, &other.peer, "a mutual contact", |row| row["mutual"] == true)?;
    }
    Ok(())
}

#[test]
fn a_refused_stranger_hears_nothing_and_cannot_ask_again() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    ada.ask(&["contacts", "add", &ben.ticket()?])?;
    contact(&ben, &ada.peer, "a request", |row| row["request"] == true)?;
    let refused = ben.ask(&["contacts", "refuse", "ada"])?;
    assert_eq!((&refused["peer_id"], &refused["removed"]), (&ada.peer.as_str().into(), &true.into()), "{refused}");
    ada.ask(&["contacts", "remove", &ben.peer])?;
    ada.ask(&["contacts", "add", &ben.ticket()?, "--message", "Please!"])?;
    // A second stranger comes through after it, so the first one had its time.
    let cem = Daemon::start("cem", &[])?;
    cem.ask(&["contacts", "add", &ben.ticket()?])?;
    contact(&ben, &cem.peer, "another's request", |row| row["request"] == true)?;
    let requests = ben.ctl(&["contacts", "requests"])?.1;
    assert!(requests.iter().all(|row| row["peer_id"] != ada.peer.as_str()), "{requests:?}");
    assert_eq!(ada.ask(&["contacts"])?["mutual"], false);
    Ok(())
}

#[test]
fn contacts_see_who_is_there_away_in_a_call_and_gone() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let (mut at_ada, mut at_ben) = (ada.spawn(&["contacts", "--watch"])?, ben.spawn(&["contacts", "--watch"])?);
    watched(&mut at_ada, &ben.peer, "ben online", |row| row["presence"] == "online")?;
    watched(&mut at_ben, &ada.peer, "ada online", |row| row["presence"] == "online")?;
    ben.ask(&["contacts", "away"])?;
    watched(&mut at_ada, &ben.peer, "ben away", |row| row["presence"] == "away")?;
    ben.ask(&["contacts", "online"])?;
    watched(&mut at_ada, &ben.peer, "ben online", |row| row["presence"] == "online")?;

    let _answer = ben.spawn(&["answer", "--wait", "20", "--audio", "test"])?;
    let mut call = ada.spawn(&[&["call", "ben"][..], &SOUND].concat())?;
    stage(&mut call, "active")?;
    watched(&mut at_ada, &ben.peer, "ben in a call", |row| row["presence"] == "in_call")?;
    watched(&mut at_ben, &ada.peer, "ada in a call", |row| row["presence"] == "in_call")?;
    call.signal(Signal::INT)?;
    watched(&mut at_ada, &ben.peer, "ben online", |row| row["presence"] == "online")?;

    let peer = ben.peer.clone();
    assert_eq!(ben.stop()?, 0);
    let gone = watched(&mut at_ada, &peer, "ben offline", |row| row["presence"] == "offline")?;
    assert!(gone["last_seen"].is_string(), "{gone}");
    Ok(())
}

#[test]
fn who_is_away_is_away_after_a_restart_until_that_is_changed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    let (ada, ben) = (Daemon::with("ada", options.clone())?, Daemon::start("ben", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    ada.ask(&["contacts", "away"])?;
    contact(&ben, &ada.peer, "ada away", |row| row["presence"] == "away")?;
    let peer = ada.peer.clone();
    assert_eq!(ada.stop()?, 0);
    contact(&ben, &peer, "ada offline", |row| row["presence"] == "offline")?;
    let ada = Daemon::with("ada", options)?;
    contact(&ben, &peer, "ada away again", |row| row["presence"] == "away")?;
    ada.ask(&["contacts", "online"])?;
    contact(&ben, &peer, "ada online", |row| row["presence"] == "online")?;
    Ok(())
}

#[test]
fn a_stranger_that_may_not_ring_becomes_a_request_is_told_so_and_rings_once_it_is_accepted() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &["--calls-from-strangers", "request"])?, Daemon::start("ben", &[])?);
    let ticket = ada.ticket()?;
    let mut call = ben.spawn(&[&["call", &ticket][..], &SOUND].concat())?;
    let end = ended(&mut call)?;
    assert_eq!(end["reason"], "declined", "{end}");
    ensure!(end["advice"].as_str().is_some_and(|advice| advice.contains("accept")), "{end}");
    assert_eq!(call.finish(SOON)?.0, 5);
    ensure!(call.errors().contains("request"), "{}", call.errors());
    // What it is called is heard with its greeting, which may come a moment later.
    let request = contact(&ada, &ben.peer, "a request", |row| row["request"] == true && row["name"] == "ben")?;
    assert_eq!(request["text"], "tried to call you", "{request}");
    ada.ask(&["contacts", "accept", "ben", "--name", "Ben"])?;
    let _answer = ada.spawn(&["answer", "--from", "Ben", "--wait", "20", "--audio", "test"])?;
    let mut call = ben.spawn(&[&["call", &ticket][..], &SOUND, &["--for", "1"]].concat())?;
    assert_eq!(ended(&mut call)?["reason"], "local");
    Ok(())
}

#[test]
fn a_ticket_in_a_picture_adds_a_contact() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let written = ben.ask(&["id", "qr", "--to", &path("ben.png")])?;
    assert_eq!(written["ticket"], ben.ticket()?.as_str());
    assert_eq!(ben.ctl(&["id", "qr", "--to", &path("ben.png")])?.0, 1, "nothing is overwritten");
    let added = ada.ask(&["contacts", "add", &path("ben.png"), "--name", "Ben"])?;
    assert_eq!((&added["peer_id"], &added["name"]), (&ben.peer.as_str().into(), &"Ben".into()), "{added}");
    contact(&ben, &ada.peer, "a request", |row| row["request"] == true)?;
    // And by any other name, if it is said what it is.
    std::fs::rename(path("ben.png"), path("photo"))?;
    assert_eq!(ada.ask(&["contacts", "add", "--qr", &path("photo")])?["peer_id"], ben.peer.as_str());
    std::fs::write(path("cat.png"), b"a cat")?;
    for (picture, word) in [("cat.png", "neither a PNG nor a JPEG"), ("none.png", "cannot be read")] {
        let mut run = ada.spawn(&["contacts", "add", &path(picture)])?;
        assert_ne!(run.finish(SOON)?.0, 0);
        ensure!(run.errors().contains(word), "{}", run.errors());
    }
    Ok(())
}

#[test]
fn a_stranger_does_not_see_who_is_there() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    ada.ask(&["contacts", "add", &ben.ticket()?])?;
    contact(&ben, &ada.peer, "a request", |row| row["request"] == true)?;
    // They are connected, and ada has asked.
    let row = ada.ask(&["contacts"])?;
    assert_eq!((&row["presence"], &row["mutual"]), (&"offline".into(), &false.into()), "{row}");
    Ok(())
}

#[test]
fn trust_never_refuses_a_call_and_ask_lets_it_ring_again() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let row = ada.ask(&["contacts", "trust", "Ben", "never"])?;
    assert_eq!((&row["trust"], &row["name"]), (&"never".into(), &"Ben".into()), "{row}");
    let mut call = ben.spawn(&[&["call", "Ada"][..], &SOUND].concat())?;
    assert_eq!(ended(&mut call)?["reason"], "blocked");
    assert_eq!(call.finish(SOON)?.0, 5, "{}", call.errors());
    ada.ask(&["contacts", "trust", "ben", "ask"])?;
    let _answer = ada.spawn(&["answer", "--from", "Ben", "--wait", "20", "--audio", "test"])?;
    let mut call = ben.spawn(&[&["call", "Ada"][..], &SOUND, &["--for", "1"]].concat())?;
    assert_eq!(ended(&mut call)?["reason"], "local");
    Ok(())
}

#[test]
fn trust_always_answers_where_contacts_are_answered() -> Result<()> {
    let (ada, ben) = (Daemon::start("ada", &["--auto-answer", "contacts"])?, Daemon::start("ben", &[])?);
    befriend(&ben, "Ada", &ada, "Ben")?;
    ada.ask(&["contacts", "trust", "Ben", "always"])?;
    let mut call = ben.spawn(&[&["call", "Ada"][..], &SOUND, &["--for", "1"]].concat())?;
    assert_eq!(ended(&mut call)?["reason"], "local", "{}", ada.log());
    Ok(())
}

#[test]
fn a_contacts_name_is_a_peer_everywhere() -> Result<()> {
    let (ada, ben) = two_friends()?;
    ada.ask(&["contacts", "rename", "Ben", "Benjamin F."])?;
    let name = "benjamin f.";
    assert_eq!(ada.ask(&["peers", "show", name])?["peer_id"], ben.peer.as_str());
    assert_eq!(ada.ask(&["peers", "connect", name])?["peer_id"], ben.peer.as_str());
    assert_eq!(ada.ctl(&["diag", "ping", name, "--count", "1"])?.0, 0);
    assert_eq!(ada.ask(&["contacts", "note", name, "plays chess"])?["note"], "plays chess");
    assert_eq!(ada.ask(&["chat", "send", name, "hello"])?["peer"], ben.peer.as_str());
    let _answer = ben.spawn(&["answer", "--from", "Ada", "--wait", "20", "--audio", "test"])?;
    let mut call = ada.spawn(&[&["call", name][..], &SOUND, &["--for", "1"]].concat())?;
    assert_eq!(ended(&mut call)?["reason"], "local");
    assert_eq!(ada.ask(&["peers", "block", name])?["status"], "blocked");
    assert_eq!(ada.ask(&["contacts"])?["blocked"], true);
    assert_eq!(ada.ctl(&["peers", "unblock", name])?.0, 0);
    Ok(())
}

#[test]
fn a_name_that_nobody_has_is_refused_with_the_one_that_was_meant() -> Result<()> {
    let (ada, _ben) = two_friends()?;
    let mut call = ada.spawn(&["call", "Bne", "--voice", "--audio", "test"])?;
    assert_ne!(call.finish(SOON)?.0, 0);
    assert!(call.errors().contains("Ben"), "{}", call.errors());
    Ok(())
}

#[test]
fn both_sides_see_the_same_safety_number_and_a_third_sees_another() -> Result<()> {
    let (ada, ben) = two_friends()?;
    let cem = Daemon::start("cem", &[])?;
    cem.ask(&["contacts", "add", &ben.ticket()?, "--name", "Ben"])?;
    let number = |daemon: &Daemon, name: &str| -> Result<Value> { daemon.ask(&["contacts", "verify", name]) };
    let (here, there) = (number(&ada, "Ben")?, number(&ben, "Ada")?);
    assert_eq!(here, there);
    assert_ne!(here, number(&cem, "Ben")?);
    let digits = here["digits"].as_str().context("digits")?;
    assert_eq!(digits.chars().filter(char::is_ascii_digit).count(), 60, "{digits}");
    assert_eq!(here["emoji"].as_array().map(Vec::len), Some(8), "{here}");
    assert_eq!(ada.ask(&["contacts"])?["verified"], false);
    assert_eq!(ada.ask(&["contacts", "verify", "Ben", "--yes"])?["contact"]["verified"], true);
    assert_eq!(ada.ask(&["contacts"])?["verified"], true);
    Ok(())
}

#[test]
fn contacts_are_there_after_a_restart_and_come_back_to_each_other() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: Some(dir.path().join("data")), ..Options::default() };
    let (ada, ben) = (Daemon::with("ada", options.clone())?, Daemon::start("ben", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    ada.ask(&["contacts", "note", "Ben", "plays chess"])?;
    ada.ask(&["contacts", "trust", "Ben", "always", "--for", "relay"])?;
    assert_eq!(ada.stop()?, 0);
    let ada = Daemon::with("ada", options)?;
    let row = contact(&ada, &ben.peer, "ben online", |row| row["presence"] == "online")?;
    assert_eq!((&row["name"], &row["note"]), (&"Ben".into(), &"plays chess".into()), "{row}");
    assert_eq!((&row["trust"], &row["trust_relay"]), (&"ask".into(), &"always".into()), "{row}");
    contact(&ben, &ada.peer, "ada online", |row| row["presence"] == "online")?;
    Ok(())
}

#[test]
fn what_cannot_be_a_contact_is_said() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    for (arguments, word) in [
        (&["contacts", "add", ada.peer.as_str()][..], "own"),
        (&["contacts", "add", "kith:0OIl"], "damaged"),
        (&["contacts", "accept", "nobody"], "nobody"),
        (&["contacts", "rename", "nobody", "somebody"], "nobody"),
    ] {
        let mut run = ada.spawn(arguments)?;
        let code = run.finish(SOON)?.0;
        ensure!(code == 1 || code == 2, "{arguments:?} ended with {code}");
        assert!(run.errors().contains(word), "{arguments:?}: {}", run.errors());
    }
    Ok(())
}

#[test]
fn a_ticket_is_shown_as_a_picture() -> Result<()> {
    let ada = Daemon::start("ada", &[])?;
    let shown = ada.ask(&["id", "qr"])?;
    assert_eq!(shown["ticket"], ada.ticket()?.as_str());
    let picture = shown["qr"].as_str().context("a picture")?;
    ensure!(picture.contains('█') && picture.lines().count() > 15, "{picture}");
    Ok(())
}

#[test]
fn an_identity_moves_with_its_contacts_and_opens_with_its_passphrase_only() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let (old, new) = (at("old"), at("new"));
    let ada = Daemon::with("ada", Options { data_dir: Some(old.clone()), ..Options::default() })?;
    let ben = Daemon::start("ben", &[])?;
    befriend(&ada, "Ben", &ben, "Ada")?;
    let ctl = |verb: &str, data: &Path, passphrase: &str| -> Result<(i32, Vec<Value>, String)> {
        let mut command = Command::new(program("kithctl"));
        command.args(["--json", "id", verb]).arg(at("me.kith")).arg("--data-dir").arg(data);
        command.arg("--config").arg(at("none.toml")).env("KITH_PASSPHRASE", passphrase);
        let mut run = Lines::start(&mut command)?;
        let (code, rows) = run.finish(SOON)?;
        Ok((code, rows, run.errors()))
    };
    let (code, _, errors) = ctl("export", &old, "short")?;
    assert!(code == 1 && errors.contains("passphrase"), "{errors}");
    let (code, rows, errors) = ctl("export", &old, "five words that do not belong")?;
    assert_eq!((code, rows.len()), (0, 1), "{errors}");
    assert_eq!((&rows[0]["peer_id"], &rows[0]["contacts"]), (&ada.peer.as_str().into(), &1.into()), "{rows:?}");
    let sealed = std::fs::read(at("me.kith"))?;
    ensure!(!sealed.windows(ben.peer.len()).any(|bytes| bytes == ben.peer.as_bytes()), "contacts are sealed");
    let peer = ada.peer.clone();
    assert_eq!(ada.stop()?, 0);

    let (code, _, errors) = ctl("import", &new, "another passphrase")?;
    assert!(code == 1 && errors.contains("passphrase"), "{errors}");
    let (code, _, errors) = ctl("import", &old, "five words that do not belong")?;
    assert!(code == 1 && errors.contains("in use"), "{errors}");
    let (code, _, errors) = ctl("import", &new, "five words that do not belong")?;
    assert_eq!(code, 0, "{errors}");
    let ada = Daemon::with("ada", Options { data_dir: Some(new), ..Options::default() })?;
    assert_eq!(ada.peer, peer);
    contact(&ada, &ben.peer, "ben online", |row| row["presence"] == "online" && row["name"] == "Ben")?;
    Ok(())
}

/// Whatever a peer calls itself, it cannot act on the terminal of somebody who lists it.
#[test]
fn a_request_with_control_characters_does_nothing_to_a_terminal() -> Result<()> {
    let (ada, eve) = (Daemon::start("ada", &[])?, Daemon::start("eve", &[])?);
    eve.ask(&["contacts", "add", &ada.ticket()?, "--message", "hi\u{1b}]0;pwned\u{7}\nAccepted."])?;
    contact(&ada, &eve.peer, "a request", |row| row["request"] == true)?;
    let mut command = Command::new(program("kithctl"));
    command.arg("--socket").arg(&ada.socket).args(["contacts", "requests"]);
    let mut run = Lines::start(&mut command)?;
    run.wait_end(Duration::from_secs(20))?;
    let shown = run.seen().join("\n");
    ensure!(shown.contains(&eve.peer), "{shown}");
    ensure!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
    Ok(())
}
