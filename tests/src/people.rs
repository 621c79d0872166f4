//! Daemons whose users know each other.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::{Daemon, Lines};

const SOON: Duration = Duration::from_secs(20);

/// The row of a contact, or of a request, once it is as wanted.
pub fn contact(daemon: &Daemon, peer: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    watched(&mut daemon.spawn(&["contacts", "--watch"])?, peer, what, wanted)
}

/// The same, of a `contacts --watch` that goes on: the next such row.
pub fn watched(watch: &mut Lines, peer: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    watch.wait_for(what, SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["peer_id"] == peer && row["removed"] != true && wanted(&row)).then_some(row)
    })
}

/// `asking` asks for it and calls the other `name`; the other agrees. Each then knows that it is among the other's.
pub fn befriend(asking: &Daemon, name: &str, asked: &Daemon, its_name: &str) -> Result<()> {
    asking.ask(&["contacts", "add", &asked.ticket()?, "--name", name])?;
    contact(asked, &asking.peer, "a request", |row| row["request"] == true)?;
    asked.ask(&["contacts", "accept", &asking.peer, "--name", its_name])?;
    for (daemon, other) in [(asking, asked), (asked, asking)] {
        contact(daemon, &other.peer, "a mutual contact", |row| row["mutual"] == true)?;
    }
    Ok(())
}

/// Two that are contacts of each other, called `Ada` and `Ben` by the other.
pub fn two_friends() -> Result<(Daemon, Daemon)> {
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    Ok((ada, ben))
}
