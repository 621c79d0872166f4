//! Groups that outlive what happens to one member's database.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use kith_tests::people::befriend;
use kith_tests::{Daemon, Lines, Options, program};

use super::{history, in_state, send, texts};
use crate::calls::SOON;

fn at(data: &Path) -> Options {
    Options { data_dir: Some(data.to_owned()), ..Options::default() }
}

/// `kithctl id export` or `import`.
fn moves(verb: &str, file: &Path, data: &Path) -> Result<()> {
    let mut command = Command::new(program("kithctl"));
    command
        .args(["--json", "id", verb])
        .arg(file)
        .arg("--data-dir")
        .arg(data)
        .arg("--config")
        .arg(file.with_extension("toml"));
    let mut run = Lines::start(command.env("KITH_PASSPHRASE", "five words that do not belong"))?;
    let (code, rows) = run.finish(SOON)?;
    ensure!(code == 0, "{verb}: {}", run.errors());
    assert_eq!(rows[0]["groups"], 1, "{rows:?}");
    Ok(())
}

#[test]
fn a_group_goes_on_for_a_member_that_has_moved_without_its_messages() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (old, new, file) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("ben.kith"));
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::with("ben", at(&old))?, Daemon::start("cem", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ada, "Cem", &cem, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    ada.ask(&["chat", "group", "new", "Trip", "Ben", "Cem"])?;
    let first = send(&ada, "Trip", "Shall we?")?;
    in_state(&ben, &first, "delivered")?;
    let answer = send(&ben, "Trip", "Yes!")?;
    in_state(&ben, &answer, "delivered")?;
    moves("export", &file, &old)?;
    // Said on the old machine after the backup was made: its number must not be used again.
    let last = send(&ben, "Trip", "I am packing.")?;
    in_state(&ben, &last, "delivered")?;
    assert_eq!(ben.stop()?, 0);

    moves("import", &file, &new)?;
    let ben = Daemon::with("ben", at(&new))?;
    let group = ben.ask(&["chat"])?;
    assert_eq!((&group["title"], group["members"].as_array().map(Vec::len)), (&"Trip".into(), Some(3)), "{group}");
    for from in [&ada, &cem] {
        let id = send(from, "Trip", "Have you arrived?")?;
        in_state(&ben, &id, "delivered")?;
        in_state(from, &id, "delivered")?;
    }
    let here = send(&ben, "Trip", "I have.")?;
    for daemon in [&ada, &cem, &ben] {
        in_state(daemon, &here, "delivered")?;
    }
    assert_eq!(texts(&history(&ben, "Trip")?), ["Have you arrived?", "Have you arrived?", "I have."]);
    Ok(())
}

#[test]
fn members_of_a_group_that_was_deleted_here_are_no_strangers() -> Result<()> {
    let (ada, ben, cem) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?, Daemon::start("cem", &[])?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    befriend(&ada, "Cem", &cem, "Ada")?;
    befriend(&ben, "Cem", &cem, "Ben")?;
    ada.ask(&["chat", "group", "new", "Trip", "Ben", "Cem"])?;
    let begin = send(&ada, "Trip", "Hello!")?;
    in_state(&cem, &begin, "delivered")?;
    let first = send(&cem, "Trip", "Hello!")?;
    in_state(&cem, &first, "delivered")?;
    // Ben knows Cem by the group only, and does not want to see what was said there.
    ben.ask(&["contacts", "remove", "Cem"])?;
    ben.ask(&["chat", "forget", "Trip"])?;
    let again = send(&cem, "Trip", "Are you coming?")?;
    in_state(&ben, &again, "delivered")?;
    assert_eq!(texts(&history(&ben, "Trip")?), ["Are you coming?"]);
    Ok(())
}
