//! The database under a daemon: from a newer version, damaged, on a full disk.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kith_tests::{Daemon, Lines, Options, program, skip};
use serde_json::Value;

use super::{history, send, texts};
use crate::calls::SOON;

/// A node with a contact that is not there, whose messages wait therefore.
fn alone(options: Options) -> Result<Daemon> {
    let ada = Daemon::with("ada", options)?;
    let absent = Daemon::start("ben", &[])?;
    ada.ask(&["contacts", "add", &absent.peer, "--name", "Ben"])?;
    Ok(ada)
}

fn options(data: &Path) -> Options {
    Options { data_dir: Some(data.to_owned()), ..Options::default() }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone_and_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    assert_eq!(alone(options(&data))?.stop()?, 0);
    let database = data.join("kith.db");
    // The version that the application gives: sqlite.org/fileformat2.html, 1.3.15.
    OpenOptions::new().write(true).open(&database)?.write_all_at(&4711_u32.to_be_bytes(), 60)?;
    let before = std::fs::read(&database)?;
    let mut command = Command::new(program("kithd"));
    command.args(["--bind", "127.0.0.1", "--node-port", "0", "--video-port", "0", "--audio-port", "0", "--no-mdns"]);
    command.arg("--data-dir").arg(&data).arg("--socket").arg(dir.path().join("sock"));
    command.arg("--config").arg(dir.path().join("kithd.toml"));
    let mut run = Lines::start(&mut command)?;
    assert_eq!(run.finish(SOON)?.0, 1);
    let log = run.errors();
    assert!(log.contains("newer") && log.contains("4711"), "{log}");
    assert!(std::fs::read(&database)? == before, "the file is as it was");
    Ok(())
}

#[test]
fn a_damaged_database_is_set_aside_and_what_can_be_read_is_kept() -> Result<()> {
    const MESSAGES: usize = 300;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let ada = alone(options(&data))?;
    for n in 0..MESSAGES {
        send(&ada, "Ben", &format!("message {n} of those that were there before the disk went bad"))?;
    }
    assert_eq!(ada.stop()?, 0);
    let database = data.join("kith.db");
    let length = std::fs::metadata(&database)?.len();
    let file = OpenOptions::new().write(true).open(&database)?;
    // A page in the middle and what follows it.
    file.write_all_at(&[0xa5; 4096], length / 2 / 4096 * 4096)?;
    drop(file);
    let ada = Daemon::with("ada", options(&data))?;
    let rows = history(&ada, "Ben")?;
    let log = ada.log();
    let set_aside = std::fs::read_dir(&data)?
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("kith.db.damaged"));
    // A page that only the search index has can be made again from the messages, without setting the file aside.
    ensure!(set_aside && log.contains("damaged") || rows.len() == MESSAGES, "{} messages: {log}", rows.len());
    ensure!(rows.len() > MESSAGES / 3, "{} of {MESSAGES} messages were kept: {log}", rows.len());
    send(&ada, "Ben", "It goes on.")?;
    assert_eq!(texts(&history(&ada, "Ben")?).last(), Some(&"It goes on."));
    Ok(())
}

#[test]
fn a_file_that_is_no_database_is_set_aside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("kith.db"), "nonsense ".repeat(10_000))?;
    let ada = alone(options(&data))?;
    assert!(ada.log().contains("kith.db.damaged"), "{}", ada.log());
    send(&ada, "Ben", "It goes on.")?;
    Ok(())
}

#[test]
fn a_full_disk_is_said_and_nothing_that_was_stored_is_lost() -> Result<()> {
    let apart = Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|it| it.status.success());
    if !rustix::process::geteuid().is_root() || !apart {
        skip("a small disk of its own needs root, and mounts that others do not see");
        return Ok(());
    }
    let ada = alone(Options { disk_mb: Some(16), ..Options::default() })?;
    send(&ada, "Ben", "There is room.")?;
    // The disk is seen by the daemon alone.
    let ballast = Path::new("/proc")
        .join(ada.id().to_string())
        .join("root")
        .join(ada.dir().join("data/ballast").strip_prefix("/").context("temporary folders have absolute paths")?);
    let mut file = File::create(&ballast)?;
    while file.write_all(&[1; 65_536]).is_ok() {}
    while file.write_all(&[1; 512]).is_ok() {}
    // What the database has set aside for itself may still take some.
    let mut stored = 1;
    let failed = loop {
        let mut run = ada.spawn(&["chat", "send", "Ben", &"more ".repeat(2000)])?;
        if run.finish(SOON)?.0 != 0 {
            break run.errors();
        }
        stored += 1;
        ensure!(stored < 2000, "the disk does not become full");
    };
    assert!(failed.contains("full") || failed.contains("space"), "{failed}");
    assert_eq!(history(&ada, "Ben")?.len(), stored, "it still answers, with all that it has");
    drop(file);
    std::fs::remove_file(&ballast)?;
    send(&ada, "Ben", "There is room again.")?;
    let rows: Vec<Value> = history(&ada, "Ben")?;
    assert_eq!((rows.len(), texts(&rows).last()), (stored + 1, Some(&"There is room again.")));
    Ok(())
}
