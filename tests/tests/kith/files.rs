//! Files: fetched by hash and ticket, from several, after a kill, onto a full disk, from a sealed copy; and what is refused.

mod killed;
mod sealed;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_tests::people::{befriend, two_friends};
use kith_tests::{Daemon, Options, skip};
use serde_json::Value;
use tempfile::TempDir;

use crate::calls::SOON;

const MB: usize = 1_000_000;

/// xorshift64 (Marsaglia 2003): bytes that nothing repeats.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all
}

/// A place for files, and a daemon's own folder for what it fetches.
pub struct Home(pub TempDir);

impl Home {
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("kith-files-").tempdir()?))
    }

    pub fn write(&self, name: &str, content: &[u8]) -> Result<String> {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().context("below home")?)?;
        std::fs::write(&path, content)?;
        text(&path)
    }

    pub fn downloads(&self) -> PathBuf {
        self.0.path().join("downloads")
    }

    pub fn options(&self) -> Result<Options> {
        let flags = vec!["--downloads".to_owned(), text(&self.downloads())?];
        Ok(Options { flags, ..Options::default() })
    }

    pub fn start(&self, name: &str) -> Result<Daemon> {
        Daemon::with(name, self.options()?)
    }

    /// One that can be started again as the same node.
    pub fn lasting(&self) -> Result<Options> {
        let (data_dir, socket) = (Some(self.0.path().join("data")), Some(self.0.path().join("sock")));
        Ok(Options { data_dir, socket, ..self.options()? })
    }
}

pub fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("plain text")?.to_owned())
}

pub fn field<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    row[name].as_str().with_context(|| format!("no text {name} in {row}"))
}

/// Shares it; the row.
pub fn add(daemon: &Daemon, path: &str, more: &[&str]) -> Result<Value> {
    daemon.ask(&[&["files", "add", path], more].concat())
}

/// Fetches it; the last row.
pub fn get(daemon: &Daemon, target: &str, more: &[&str]) -> Result<Value> {
    let mut run = daemon.spawn(&[&["files", "get", target], more].concat())?;
    let (code, mut rows) = run.finish(Duration::from_secs(120))?;
    ensure!(code == 0, "files get ended with {code}: {}", run.errors());
    rows.pop().context("files get prints a row")
}

/// The exit code of a command that cannot succeed, and what it says.
fn refused(daemon: &Daemon, arguments: &[&str]) -> Result<(i32, String)> {
    let mut run = daemon.spawn(arguments)?;
    let code = run.finish(Duration::from_secs(60))?.0;
    Ok((code, run.errors()))
}

/// The row of something in `files watch` or a list, once it is as wanted.
fn watched(daemon: &Daemon, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut watch = daemon.spawn(&["files", "watch"])?;
    watch.wait_for(what, SOON, |line| serde_json::from_str::<Value>(line).ok().filter(|row| wanted(row)))
}

#[test]
fn a_file_is_fetched_by_ticket_and_by_hash_and_its_full_path_is_the_last_thing_said() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    let content = bytes(1, 20 * MB + 77);
    let share = add(&ada, &here.write("holiday film.mkv", &content)?, &[])?;
    assert_eq!((field(&share, "hash")?.len(), &share["size"]), (64, &content.len().into()), "{share}");
    assert_eq!(field(&share, "name")?, "holiday film.mkv");

    let done = get(&ben, field(&share, "ticket")?, &[])?;
    let path = PathBuf::from(field(&done, "path")?);
    assert_eq!(path, there.downloads().join("holiday film.mkv"));
    ensure!(std::fs::read(&path)? == content, "the bytes are those");
    assert_eq!((&done["hash"], &done["size"]), (&share["hash"], &share["size"]), "{done}");
    let providers = done["providers"].as_array().context("providers")?;
    ensure!(providers.iter().any(|one| one["peer"] == ada.peer.as_str()), "{done}");
    ensure!(done["seconds"].as_f64().is_some_and(|seconds| seconds < 30.0), "{done}");

    // They are connected by now, so the bare hash will do; another folder, which is made; and text for people.
    let other = there.0.path().join("else/where");
    let mut plain = Command::new(kith_tests::program("kithctl"));
    plain.arg("--socket").arg(&ben.socket).args(["files", "get", field(&share, "hash")?, "--to"]).arg(&other);
    let output = plain.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    let last = said.trim_end().lines().last().context("it says something")?;
    assert_eq!(last, text(&other.join("holiday film.mkv"))?);
    ensure!(std::fs::read(last)? == content, "the bytes are those");
    // What is there already is not said to have been fetched now.
    let again = plain.args(["--name", "another.mkv"]).output()?;
    let said_again = String::from_utf8(again.stdout)?;
    ensure!(said_again.contains("is here already") && said_again.contains("keeps the name"), "{said_again}");
    assert_eq!(said_again.trim_end().lines().last(), Some(last));
    // What is shared is where it was, and nothing beside it was changed.
    let names: Vec<_> = std::fs::read_dir(here.0.path())?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(names.iter().all(|name| name != ".kith-partial"), "{names:?}");
    Ok(())
}

#[test]
fn two_files_of_one_name_harm_neither_and_folders_keep_their_structure() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    for n in ["one", "two"] {
        let share = add(&ada, &here.write(&format!("{n}/report.pdf"), n.as_bytes())?, &[])?;
        get(&ben, field(&share, "ticket")?, &[])?;
    }
    assert_eq!(std::fs::read(there.downloads().join("report.pdf"))?, b"one");
    assert_eq!(std::fs::read(there.downloads().join("report (1).pdf"))?, b"two");

    let tree = [("a/b/c.txt", bytes(1, 3 * MB)), ("a/empty", Vec::new()), ("ünï çödé 🙂.txt", b"x".to_vec())];
    for (name, content) in &tree {
        here.write(&format!("project/{name}"), content)?;
    }
    std::os::unix::fs::symlink("/etc/passwd", here.0.path().join("project/leads out"))?;
    let share = add(&ada, &text(&here.0.path().join("project"))?, &[])?;
    let done = get(&ben, field(&share, "ticket")?, &[])?;
    let saved = PathBuf::from(field(&done, "path")?);
    assert_eq!(saved, there.downloads().join("project"));
    for (name, content) in &tree {
        ensure!(&std::fs::read(saved.join(name))? == content, "{name}");
    }
    ensure!(!saved.join("leads out").exists(), "a link that leads out is not followed");
    // Neither where it is shared from nor where it was fetched is its list of files taken for its content.
    let hash = field(&share, "hash")?;
    for daemon in [&ada, &ben] {
        let (code, said) = refused(daemon, &["files", "cat", hash])?;
        ensure!(code == 2 && said.contains(&format!("kithctl files get {hash}")), "{code} {said}");
    }
    Ok(())
}

#[test]
fn three_that_have_it_share_the_work_and_one_that_is_killed_harms_nothing() -> Result<()> {
    let homes = [Home::new()?, Home::new()?, Home::new()?];
    let content = bytes(3, 60 * MB);
    let mut providers = Vec::new();
    for (n, home) in homes.iter().enumerate() {
        let daemon = home.start(&format!("provider{n}"))?;
        daemon.ask(&["files", "settings", "--upload", if n == 2 { "2M" } else { "12M" }])?;
        add(&daemon, &home.write("film", &content)?, &[])?;
        providers.push(daemon);
    }
    let there = Home::new()?;
    let ben = there.start("ben")?;
    for provider in &providers {
        ben.ask(&["peers", "connect", &provider.ticket()?])?;
    }
    let hash = field(&providers[0].ask(&["files", "list"])?, "hash")?.to_owned();
    let mut run = ben.spawn(&["files", "get", &hash])?;
    run.wait_for("a third of it", Duration::from_secs(60), |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["event"] == "progress" && row["done"].as_u64()? > 20 * MB as u64).then_some(())
    })?;
    providers[1].kill();
    let (code, mut rows) = run.finish(Duration::from_secs(120))?;
    ensure!(code == 0, "{}", run.errors());
    let done = rows.pop().context("a row")?;
    ensure!(std::fs::read(field(&done, "path")?)? == content, "the bytes are those");
    let sources = done["providers"].as_array().context("providers")?;
    ensure!(sources.len() == 3, "{done}");
    Ok(())
}

#[test]
fn what_a_contact_offers_is_asked_about_and_accepted_or_refused() -> Result<()> {
    let here = Home::new()?;
    let (ada, ben) = two_friends()?;
    let share = add(&ada, &here.write("for ben.txt", b"hello")?, &["--to", "Ben"])?;
    let offer = watched(&ben, "an offer", |row| row["hash"] == share["hash"])?;
    let offers = ben.ask(&["files", "offers"])?;
    assert_eq!((&offers["name"], &offers["hash"]), (&"for ben.txt".into(), &share["hash"]), "{offer} {offers}");
    let id = offers["id"].to_string();
    ben.ask(&["files", "refuse", &id])?;
    ensure!(refused(&ben, &["files", "accept", &id])?.0 == 1, "it is gone");

    let share = add(&ada, &here.write("second.txt", b"hello again")?, &["--to", "Ben"])?;
    watched(&ben, "the second offer", |row| row["hash"] == share["hash"])?;
    let id = ben.ask(&["files", "offers"])?["id"].to_string();
    let to = text(&here.0.path().join("in"))?;
    ben.ask(&["files", "accept", &id, "--to", &to])?;
    let done = get(&ben, field(&share, "hash")?, &["--to", &to])?;
    assert_eq!(std::fs::read(field(&done, "path")?)?, b"hello again");

    // Nobody else gets what is for Ben, whoever has the ticket.
    let there = Home::new()?;
    let cem = there.start("cem")?;
    let (code, said) = refused(&cem, &["files", "get", field(&share, "ticket")?])?;
    ensure!(code == 7 && said.contains("not share"), "{code} {said}");
    Ok(())
}

#[test]
fn who_is_named_by_an_address_is_found_there() -> Result<()> {
    let here = Home::new()?;
    let there = Home::new()?;
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    let share = add(&ada, &here.write("x", b"for whoever asks here")?, &[])?;
    let address = |daemon: &Daemon| -> Result<String> {
        Ok(daemon.ask(&["id"])?["addresses"][0].as_str().context("it listens somewhere")?.to_owned())
    };
    let done = get(&ben, field(&share, "hash")?, &["--from", &address(&ada)?, "--only-from"])?;
    assert_eq!(std::fs::read(field(&done, "path")?)?, b"for whoever asks here");
    let share = add(&ada, &here.write("y", b"for Ben")?, &["--to", &address(&ben)?])?;
    assert_eq!(share["peers"], serde_json::json!([ben.peer]), "{share}");
    let (code, said) = refused(&ben, &["files", "get", field(&share, "hash")?, "--from", "/ip4/127.0.0.1/tcp/1"])?;
    ensure!(code == 4 && !said.trim().is_empty(), "{code} {said}");
    Ok(())
}

#[test]
fn bad_input_is_refused_with_its_exit_code_and_a_sentence() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    let unknown = "0".repeat(64);
    for (daemon, arguments, code) in [
        (&ben, &["files", "get", "abc"][..], 2),
        (&ben, &["files", "get", "kithfile:nonsense"], 2),
        (&ben, &["files", "get", &unknown, "--wait", "1"], 4),
        (&ben, &["files", "get", &unknown, "--to", "/proc/nothing"], 1),
        (&ada, &["files", "add", "/does/not/exist"], 1),
        (&ada, &["files", "add", "/dev/zero"], 2),
        (&ada, &["files", "remove", &unknown], 1),
        (&ada, &["files", "pause", "77"], 1),
        (&ada, &["files", "accept", "77"], 1),
    ] {
        let (ended, said) = refused(daemon, arguments)?;
        ensure!(ended != 0 && !said.trim().is_empty(), "{arguments:?}: {ended} {said}");
        ensure!(ended == code, "{arguments:?}: {ended}, expected {code}: {said}");
    }
    // A file that changed after it was shared.
    let path = here.write("x", &bytes(1, 2 * MB))?;
    let share = add(&ada, &path, &[])?;
    std::fs::write(&path, bytes(2, 2 * MB))?;
    let (code, said) = refused(&ben, &["files", "get", field(&share, "ticket")?, "--wait", "2"])?;
    ensure!(code == 4 && said.contains("changed"), "{code} {said}");
    // Names that are none.
    for (name, kept) in [("../../x", "x"), ("CON", "_CON"), ("a\u{202e}gpj.exe", "agpj.exe"), (&"n".repeat(4000), "")] {
        let share = add(&ada, &here.write("plain", name.as_bytes())?, &["--name", name])?;
        let done = get(&ben, field(&share, "ticket")?, &[])?;
        let saved = PathBuf::from(field(&done, "path")?);
        assert_eq!(saved.parent(), Some(there.downloads().as_path()), "{name}");
        ensure!(kept.is_empty() || saved.ends_with(kept), "{name}: {}", saved.display());
    }
    Ok(())
}

#[test]
fn a_full_disk_pauses_a_transfer_with_a_sentence_and_blames_nobody() -> Result<()> {
    let apart = Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|it| it.status.success());
    if !rustix::process::geteuid().is_root() || !apart {
        skip("a small disk of its own needs root, and mounts that others do not see");
        return Ok(());
    }
    let here = Home::new()?;
    let ada = here.start("ada")?;
    let there = Home::new()?;
    // The folder for what is fetched is on the daemon's own small disk.
    let data = there.0.path().join("data");
    let downloads = text(&data.join("in"))?;
    let options = Options {
        data_dir: Some(data),
        disk_mb: Some(40),
        flags: vec!["--downloads".to_owned(), downloads],
        ..Options::default()
    };
    let ben = Daemon::with("ben", options)?;
    let share = add(&ada, &here.write("large", &bytes(1, 60 * MB))?, &[])?;
    let (code, said) = refused(&ben, &["files", "get", field(&share, "ticket")?])?;
    ensure!(code == 7 && said.contains("room"), "{code} {said}");
    let row = ben.ask(&["files", "transfers"])?;
    assert_eq!(field(&row, "state")?, "paused", "{row}");
    let blamed = row["providers"].as_array().context("providers")?.iter().any(|one| one["state"] == "lied");
    ensure!(!blamed, "{row}");
    let small = add(&ada, &here.write("small", &bytes(2, MB))?, &[])?;
    get(&ben, field(&small, "ticket")?, &[])?;
    Ok(())
}

#[test]
fn bytes_go_in_by_standard_input_and_out_by_standard_output() -> Result<()> {
    use std::io::Write as _;
    let (here, there) = (Home::new()?, Home::new()?);
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    let content = bytes(1, 3 * MB);
    let mut adding = ada.command(&["files", "add", "-", "--name", "piped.bin"]);
    let mut adding = adding.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    adding.stdin.take().context("piped")?.write_all(&content)?;
    let said = adding.wait_with_output()?;
    ensure!(said.status.success(), "files add - ends well");
    let last = String::from_utf8(said.stdout)?.lines().last().context("a row")?.to_owned();
    let share: Value = serde_json::from_str(&last)?;
    get(&ben, field(&share, "ticket")?, &[])?;
    for daemon in [&ada, &ben] {
        let read: Command = daemon.command(&["files", "cat", field(&share, "hash")?]);
        let output = { read }.output()?;
        ensure!(output.status.success() && output.stdout == content, "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn contacts_find_what_is_shared_with_contacts_by_its_hash_alone() -> Result<()> {
    let (here, there) = (Home::new()?, Home::new()?);
    let (ada, ben) = (here.start("ada")?, there.start("ben")?);
    befriend(&ada, "Ben", &ben, "Ada")?;
    let share = add(&ada, &here.write("x", b"for contacts")?, &["--scope", "contacts"])?;
    let done = get(&ben, field(&share, "hash")?, &["--from", "Ada", "--only-from"])?;
    assert_eq!(std::fs::read(field(&done, "path")?)?, b"for contacts");
    let listed = ada.ask(&["files", "list"])?;
    assert_eq!(listed["hash"], share["hash"], "{listed}");
    ada.ask(&["files", "remove", field(&share, "hash")?])?;
    ensure!(ada.ctl(&["files", "list"])?.1.is_empty(), "nothing is shared any more");
    Ok(())
}
