//! Programs that nobody here compiled: one Python client answers a call, sees, hears, and is seen and heard; another
//! follows the messages and misses none, whatever happens to it; a third fetches a file.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kith_common::chat::Draft;
use kith_common::client::Client;
use kith_tests::{Daemon, Lines, have, program, skip};
use serde_json::Value;

use crate::calls::{SOON, ended, stage, stat};

/// A Python with pycapnp, made once beside the build and kept.
fn python() -> Result<PathBuf> {
    let home = program("python-with-pycapnp");
    let python = home.join("bin/python");
    let works = |python: &Path| {
        Command::new(python).args(["-c", "import capnp"]).output().is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&home).output()?;
        ensure!(made.status.success(), "venv: {}", String::from_utf8_lossy(&made.stdout));
        let installed = Command::new(&python).args(["-m", "pip", "install", "-q", "pycapnp>=2.2,<3"]).output()?;
        ensure!(installed.status.success(), "pip: {}", String::from_utf8_lossy(&installed.stderr));
        ensure!(works(&python), "pycapnp does not load");
    }
    Ok(python)
}

/// The Python to run a client with, and the client; `None`, and said so, where there is none.
fn client(name: &str) -> Result<Option<(PathBuf, PathBuf)>> {
    if !have("python3") {
        skip("python3 is not installed");
        return Ok(None);
    }
    let python = match python() {
        Ok(python) => python,
        Err(error) => {
            skip(&format!("pycapnp cannot be installed here: {error:#}"));
            return Ok(None);
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/python").join(name);
    let lines = std::fs::read_to_string(&script)?.lines().count();
    ensure!(lines <= 100, "the example stays small: {lines} lines");
    Ok(Some((python, script)))
}

#[test]
fn a_python_program_looks_for_the_daemon_where_that_listens() -> Result<()> {
    let Some((python, module)) = client("kithd.py")? else { return Ok(()) };
    let socket = |runtime: Option<&str>, data: Option<&str>| -> Result<String> {
        let mut command = Command::new(&python);
        command.args(["-c", "import kithd; print(kithd.socket())"]).current_dir(module.parent().context("a folder")?);
        command.env("HOME", "/home/ada").env_remove("XDG_RUNTIME_DIR").env_remove("XDG_DATA_HOME");
        command.envs(runtime.map(|runtime| ("XDG_RUNTIME_DIR", runtime)));
        command.envs(data.map(|data| ("XDG_DATA_HOME", data)));
        Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
    };
    // As `kith_common::paths::socket` has it: a relative path counts for nothing.
    assert_eq!(socket(Some("/run/user/1000"), Some("/data"))?, "/run/user/1000/kith/kithd.sock");
    assert_eq!(socket(Some("run"), Some("/data"))?, "/data/kith/run/kithd.sock");
    assert_eq!(socket(Some(""), Some("data"))?, "/home/ada/.local/share/kith/run/kithd.sock");
    assert_eq!(socket(None, None)?, "/home/ada/.local/share/kith/run/kithd.sock");
    Ok(())
}

#[test]
fn a_python_program_answers_a_call_and_is_seen_and_heard() -> Result<()> {
    let Some((python, script)) = client("answer.py")? else { return Ok(()) };
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let mut client = Lines::start(Command::new(python).arg("-u").arg(&script).arg("--socket").arg(&ben.socket))?;
    client.wait_for("sign that it waits", SOON, |line| line.contains("waiting").then_some(()))?;
    let mut caller = ada.spawn(&["call", &ben.ticket()?, "--video", "test", "--audio", "test", "--for", "5"])?;
    stage(&mut caller, "active")?;
    let end = ended(&mut caller)?;
    ensure!(stat(&end, "video_received")? > 30.0 && stat(&end, "audio_received")? > 100.0, "{end}");
    client.wait_end(Duration::from_secs(10))?;
    let report = client.seen().last().context("it prints a report")?;
    let report: serde_json::Value = serde_json::from_str(report)?;
    ensure!(report["pictures"].as_u64() > Some(30) && report["sounds"].as_u64() > Some(100), "{report}");
    Ok(())
}

#[test]
fn a_python_program_fetches_a_file_and_says_where_it_is() -> Result<()> {
    let Some((python, script)) = client("fetch.py")? else { return Ok(()) };
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (shared, folder) = (ada.dir().join("Grüße.bin"), ben.dir().join("fetched"));
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&shared, &content)?;
    std::fs::create_dir(&folder)?;
    let ticket = ada.ask(&["files", "add", &shared.to_string_lossy()])?["ticket"].clone();
    let mut command = Command::new(python);
    command.arg("-u").arg(&script).arg("--socket").arg(&ben.socket).arg("--to").arg(&folder);
    let mut fetching = Lines::start(command.arg(ticket.as_str().context("a share has a ticket")?))?;
    let ended = fetching.wait_end(SOON)?;
    ensure!(ended.success(), "{}", fetching.errors());
    let path = fetching.seen().last().context("it says where the file is")?;
    assert_eq!(Path::new(path), folder.join("Grüße.bin"));
    ensure!(std::fs::read(path)? == content, "it is the same");
    Ok(())
}

#[test]
fn a_python_program_that_fetches_says_why_it_waits_and_ends_when_the_transfer_is_cancelled() -> Result<()> {
    let Some((python, script)) = client("fetch.py")? else { return Ok(()) };
    let ben = Daemon::start("ben", &[])?;
    let mut command = Command::new(python);
    command.arg("-u").arg(&script).arg("--socket").arg(&ben.socket).arg("0".repeat(64));
    let mut fetching = Lines::start(&mut command)?;
    let mut watch = ben.spawn(&["files", "watch"])?;
    let id = watch.wait_for("a transfer that waits", SOON, |line| {
        let row: Value = serde_json::from_str(line).ok()?;
        (row["state"] == "waiting").then(|| row["id"].to_string())
    })?;
    ben.ask(&["files", "cancel", &id])?;
    ensure!(!fetching.wait_end(SOON)?.success(), "nothing was fetched");
    let said = fetching.errors();
    ensure!(said.contains("Nobody who has it is there.") && said.contains("It was cancelled."), "{said}");
    Ok(())
}

/// Messages that are sent; the program is killed in their middle.
const MESSAGES: u32 = 120;
/// Bytes after which a connection is cut, on its way to the program: after the first few batches, and in the middle of
/// one.
const CUTS: [u64; 5] = [1_200, 3_001, 7_777, 5_003, 11_111];

/// Listens on `path` in place of a daemon's socket and passes everything on, and cuts the first connections off.
/// How many there were is counted.
fn cutting(path: &Path, daemon: PathBuf) -> Result<Arc<AtomicUsize>> {
    let listener = UnixListener::bind(path)?;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || -> std::io::Result<()> {
        for cut in CUTS.into_iter().chain(std::iter::repeat(u64::MAX)) {
            let (mut program, _) = listener.accept()?;
            counted.fetch_add(1, Ordering::Relaxed);
            let daemon = UnixStream::connect(&daemon)?;
            let (mut from, mut to) = (program.try_clone()?, daemon.try_clone()?);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                // The program has gone.
                let _ = to.shutdown(Shutdown::Both);
            });
            let _ = std::io::copy(&mut (&daemon).take(cut), &mut program);
            let _ = (program.shutdown(Shutdown::Both), daemon.shutdown(Shutdown::Both));
        }
        Ok(())
    });
    Ok(connections)
}

/// The ids of incoming messages in the program's journal, in its order. A line that is being written is left out.
fn received(journal: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let rows = whole.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let incoming = rows.into_iter().filter(|row| row["direction"] == "incoming");
    incoming.map(|row| Ok(row["id"].as_str().context("a message has an id")?.to_owned())).collect()
}

#[test]
fn a_python_program_that_is_cut_off_and_killed_has_every_message_once() -> Result<()> {
    let Some((python, script)) = client("chat_watch.py")? else { return Ok(()) };
    let (ada, ben) = (Daemon::start("ada", &[])?, Daemon::start("ben", &[])?);
    let (journal, socket) = (ben.dir().join("journal.jsonl"), ben.dir().join("cut.sock"));
    let connections = cutting(&socket, ben.socket.clone())?;
    let follow = || {
        let mut command = Command::new(&python);
        command.arg("-u").arg(&script).arg("--socket").arg(&socket).arg("--journal").arg(&journal);
        Lines::start(&mut command)
    };
    let mut program = follow()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(async {
        let (from, to) = (Client::connect(&ada.socket).await?, Client::connect(&ben.socket).await?);
        to.add_contact(&ada.ticket()?, "Ada", "").await?;
        from.add_contact(&ben.ticket()?, "Ben", "").await?;
        let mut sent = Vec::new();
        for number in 0..MESSAGES {
            if number == MESSAGES / 2 {
                // Whatever it does at the moment; by then it follows.
                program.wait_for("sign that it follows", SOON, |_| Some(()))?;
                program.kill();
                program = follow()?;
            }
            let draft = Draft { text: format!("Message {number}"), ..Draft::default() };
            sent.push(from.send_message("Ben", draft).await?.id.to_string());
        }
        anyhow::Ok(sent)
    })?;
    let all: BTreeSet<_> = sent.iter().collect();
    loop {
        let received = received(&journal)?;
        if all.iter().all(|&id| received.contains(id)) {
            break;
        }
        program.wait_for("further messages", SOON, |_| Some(()))?;
    }
    // Each once, and in the order in which they were sent.
    assert_eq!(received(&journal)?, sent);
    let connections = connections.load(Ordering::Relaxed);
    ensure!(connections > 2, "it was cut off in between: {connections} connections");
    Ok(())
}
