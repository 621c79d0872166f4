//! A message that a common contact keeps while its author and its recipient are never there together.

use std::time::Duration;

use anyhow::Result;
use kith_tests::people::{befriend, contact};
use kith_tests::{Daemon, note};
use serde_json::Value;

use super::{Home, field, history, in_state, send, texts};

/// Somebody counts as away after ten seconds.
const KEPT_WITHIN: Duration = Duration::from_secs(60);

/// The message once a holder has it, however long that takes.
fn kept(daemon: &Daemon, id: &str) -> Result<Value> {
    let mut watch = daemon.spawn(&["chat", "watch", "--after", "0"])?;
    watch.wait_for("a message that somebody keeps", KEPT_WITHIN, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["id"] == id && row["state"] == "sent").then_some(row)
    })
}

fn offline(daemon: &Daemon, peer: &str) -> Result<Value> {
    contact(daemon, peer, "a contact offline", |row| row["presence"] == "offline")
}

#[test]
fn a_message_reaches_somebody_by_a_common_contact_and_is_there_once_when_both_meet() -> Result<()> {
    let (ada_home, ben_home) = (Home::new()?, Home::new()?);
    let (ada, ben) = (ada_home.start("ada")?, ben_home.start("ben")?);
    let cem = Daemon::start("cem", &[])?;
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ada, "Cem", &cem, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    cem.ask(&["contacts", "trust", "Ada", "always", "--for", "relay"])?;
    // Once both have heard of each other they have keys of each other as well.
    for (from, to) in [(&ada, "Ben"), (&ben, "Ada"), (&ada, "Cem")] {
        let id = send(from, to, "hello")?;
        in_state(from, &id, "delivered")?;
    }
    let (ada_peer, ben_peer) = (ada.peer.clone(), ben.peer.clone());
    assert_eq!(ben.stop()?, 0);
    offline(&ada, &ben_peer)?;

    let id = send(&ada, "Ben", "Come on Sunday instead.")?;
    kept(&ada, &id)?;
    note("Cem keeps it");
    assert_eq!(ada.stop()?, 0);
    offline(&cem, &ada_peer)?;

    let ben = ben_home.start("ben")?;
    let arrived = in_state(&ben, &id, "delivered")?;
    assert_eq!((&arrived["text"], &arrived["author"]), (&"Come on Sunday instead.".into(), &ada_peer.as_str().into()));

    let ada = ada_home.start("ada")?;
    in_state(&ada, &id, "delivered")?;
    let (here, there) = (history(&ada, "Ben")?, history(&ben, "Ada")?);
    assert_eq!(texts(&here), ["hello", "hello", "Come on Sunday instead."]);
    assert_eq!(texts(&there), texts(&here));
    assert_eq!(field(&there[2], "id")?, id);
    Ok(())
}
