//! The daemon and what starts it: readiness, watchdog, reload, the socket it is handed, the units, the journal.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::manager::{NotifySocket, UserManager};
use kith_tests::{Daemon, Lines, have, program, skip};
use rustix::process::Signal;
use serde_json::Value;

use crate::calls::SOON;

/// A daemon may take this long to be ready on a loaded machine.
const READY: Duration = Duration::from_secs(20);
/// Loopback, any port, nobody else: as a settings file, for daemons whose name is not fixed by a flag.
const SETTINGS: &str =
    "bind = \"127.0.0.1\"\nnode_port = 0\nvideo_port = 0\naudio_port = 0\nmdns = false\nupnp = false\n";

/// `kithd` on everything in `dir`, with `settings`.
fn kithd(dir: &Path, settings: &str) -> Result<Command> {
    write_settings(dir, settings)?;
    let mut command = Command::new(program("kithd"));
    command.arg("--data-dir").arg(dir.join("data")).arg("--config").arg(dir.join("kithd.toml"));
    command.arg("--socket").arg(dir.join("kithd.sock"));
    Ok(command)
}

fn write_settings(dir: &Path, settings: &str) -> Result<()> {
    Ok(std::fs::write(dir.join("kithd.toml"), format!("{SETTINGS}{settings}"))?)
}

/// The one JSON line of a command that must succeed.
fn ask(command: &mut Command) -> Result<Value> {
    let mut run = Lines::start(command)?;
    let (code, mut lines) = run.finish(Duration::from_secs(60))?;
    ensure!(code == 0, "ended with {code}: {}", run.errors());
    lines.pop().context("it printed nothing")
}

fn kithctl(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("kithctl"));
    command.arg("--socket").arg(socket).arg("--json").args(arguments);
    command
}

fn wait_ready(daemon: &mut Lines) -> Result<String> {
    daemon.wait_for("ready line", READY, |line| line.starts_with("ready peer=").then(|| line.to_owned()))
}

/// Repeats a question until the answer is as expected.
fn until(what: &str, mut answer: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + READY;
    while !answer()? {
        ensure!(Instant::now() < end, "not within {READY:?}: {what}");
    }
    Ok(())
}

#[test]
fn the_service_manager_hears_ready_status_watchdog_and_stopping() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut manager = NotifySocket::bind(dir.path())?;
    let mut command = kithd(dir.path(), "")?;
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "2000000");
    let mut daemon = Lines::start(&mut command)?;
    manager.wait_for("READY=1", READY)?;
    let status = manager.wait_for("STATUS=", SOON)?;
    ensure!(status.concat().contains("node, video, audio, chat, files listening; no peer connected"), "{status:?}");
    manager.wait_for("WATCHDOG=1", SOON)?;
    manager.wait_for("WATCHDOG=1", SOON)?;
    daemon.signal(Signal::TERM)?;
    manager.wait_for("STOPPING=1", SOON)?;
    assert_eq!(daemon.finish(Duration::from_secs(5))?.0, 0);
    Ok(())
}

#[test]
fn a_daemon_that_cannot_start_tells_the_service_manager_why() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut manager = NotifySocket::bind(dir.path())?;
    let mut command = kithd(dir.path(), "log = \"kithd=loudly\"\n")?;
    let mut daemon = Lines::start(command.env("NOTIFY_SOCKET", &manager.path))?;
    let status = manager.wait_for("STATUS=", READY)?;
    ensure!(status.concat().contains("kithd=loudly"), "{status:?}");
    assert_eq!(daemon.finish(SOON)?.0, 1);
    Ok(())
}

#[test]
fn a_reload_takes_over_the_name_and_names_what_waits_for_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("kithd.sock");
    let mut manager = NotifySocket::bind(dir.path())?;
    let mut command = kithd(dir.path(), "name = \"ada\"\n")?;
    let mut daemon = Lines::start(command.env("NOTIFY_SOCKET", &manager.path))?;
    manager.wait_for("READY=1", READY)?;
    let ben = Daemon::start("ben", &[])?;
    let ticket = ask(&mut kithctl(&socket, &["id"]))?["ticket"].as_str().context("id has a ticket")?.to_owned();
    ben.ask(&["peers", "connect", &ticket])?;

    write_settings(dir.path(), "name = \"grace\"\nlog = \"info\"\nrelay = true\n")?;
    daemon.signal(Signal::HUP)?;
    let reloading = manager.wait_for("RELOADING=1", SOON)?;
    ensure!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.wait_for("READY=1", SOON)?;
    assert_eq!(ask(&mut kithctl(&socket, &["id"]))?["name"], "grace");
    let log = daemon.errors();
    ensure!(log.contains("in force") && log.contains("name, log"), "{log}");
    ensure!(log.contains("wait for kithd to be restarted") && log.contains("relay"), "{log}");
    let mut peers = ben.spawn(&["peers", "--watch"])?;
    peers.wait_json("name", "grace", SOON)?;

    write_settings(dir.path(), "nmae = \"eve\"\n")?;
    daemon.signal(Signal::HUP)?;
    manager.wait_for("READY=1", SOON)?;
    assert_eq!(ask(&mut kithctl(&socket, &["id"]))?["name"], "grace");
    let log = daemon.errors();
    ensure!(log.contains("the old ones stay") && log.contains("nmae"), "{log}");

    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.finish(Duration::from_secs(5))?.0, 0);
    Ok(())
}

#[test]
fn the_first_client_starts_the_daemon_and_the_socket_outlives_it() -> Result<()> {
    if !have("systemd-socket-activate") {
        skip("systemd-socket-activate is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let given = dir.path().join("given.sock");
    let daemon = kithd(dir.path(), "name = \"ada\"\n")?;
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg("--listen").arg(&given).arg(daemon.get_program()).args(daemon.get_args());
    let mut activated = Lines::start(&mut activate)?;
    until("systemd-socket-activate listens", || Ok(given.exists()))?;
    ensure!(!dir.path().join("data").exists(), "nobody has asked for the daemon yet");
    assert_eq!(ask(&mut kithctl(&given, &["id"]))?["name"], "ada");
    let ready = wait_ready(&mut activated)?;
    ensure!(ready.ends_with(&format!("socket={}", given.display())), "{ready}");
    ensure!(!dir.path().join("kithd.sock").exists(), "one socket is enough");
    activated.signal(Signal::TERM)?;
    assert_eq!(activated.finish(Duration::from_secs(5))?.0, 0);
    ensure!(given.exists(), "the socket belongs to the service manager");
    Ok(())
}

#[test]
fn a_handed_socket_that_is_not_for_clients_is_refused_with_advice() -> Result<()> {
    if !have("systemd-socket-activate") {
        skip("systemd-socket-activate is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (first, second) = (dir.path().join("1.sock"), dir.path().join("2.sock"));
    let activate = |listen: &[&std::ffi::OsStr]| -> Result<Lines> {
        let daemon = kithd(dir.path(), "")?;
        let mut activate = Command::new("systemd-socket-activate");
        activate.args(listen).arg(daemon.get_program()).args(daemon.get_args());
        Lines::start(&mut activate)
    };
    // Each client is gone again before the daemon looks, as an impatient one is.
    let mut two = activate(&["--listen".as_ref(), first.as_ref(), "--listen".as_ref(), second.as_ref()])?;
    until("a connection", || Ok(UnixStream::connect(&first).is_ok()))?;
    assert_eq!(two.finish(READY)?.0, 1);
    ensure!(two.errors().contains("one ListenStream="), "{}", two.errors());

    std::fs::remove_file(&first)?;
    let mut datagrams = activate(&["--datagram".as_ref(), "--listen".as_ref(), first.as_ref()])?;
    let client = UnixDatagram::unbound()?;
    until("a message", || Ok(client.send_to(b"x", &first).is_ok()))?;
    assert_eq!(datagrams.finish(READY)?.0, 1);
    ensure!(datagrams.errors().contains("unix stream"), "{}", datagrams.errors());
    Ok(())
}

#[test]
fn the_journal_gets_priorities_and_no_time() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("log");
    let file = std::fs::metadata(std::fs::File::create(&log).map(|_| &log)?)?;
    let daemon = kithd(dir.path(), "auto_answer = \"contacts\"\n")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "log=$1; shift; exec \"$@\" 2>>\"$log\"", "sh"]).arg(&log);
    shell.arg(daemon.get_program()).args(daemon.get_args());
    shell.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    let mut run = Lines::start(&mut shell)?;
    wait_ready(&mut run)?;
    run.signal(Signal::TERM)?;
    run.finish(Duration::from_secs(5))?;
    let log = std::fs::read_to_string(&log)?;
    ensure!(!log.is_empty() && log.lines().all(|line| ["<3>", "<4>", "<6>"].contains(&&line[..3])), "{log}");
    ensure!(!log.contains("WARN") && !log.contains("INFO"), "the journal knows the level: {log}");
    Ok(())
}

/// The units as an installation has them, starting the daemon of this build.
fn installed_units(dir: &Path) -> Result<()> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let ours = format!("ExecStart={}", program("kithd").display());
    for unit in ["user/kithd.service", "user/kithd.socket", "system/kithd.service"] {
        let text = std::fs::read_to_string(packaging.join(unit))?;
        let to = dir.join(unit);
        std::fs::create_dir_all(to.parent().context("units are in folders")?)?;
        std::fs::write(to, text.replace("ExecStart=/usr/bin/kithd", &ours))?;
    }
    Ok(())
}

/// Runs `systemd-analyze`; what it prints.
fn analyze(dir: &Path, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).current_dir(dir).env("XDG_RUNTIME_DIR", dir).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_little_exposed() -> Result<()> {
    if !have("systemd-analyze") {
        skip("systemd-analyze is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    installed_units(dir.path())?;
    for arguments in
        [&["verify", "--user", "user/kithd.service", "user/kithd.socket"][..], &["verify", "system/kithd.service"]]
    {
        let (fine, said) = analyze(dir.path(), arguments)?;
        // Other units of the machine are none of ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("kith")).collect();
        ensure!(ours.is_empty() && (fine || !said.is_empty()), "{arguments:?}: {said}");
    }
    // Exposure in tenths: 2.5 at most.
    let (fine, said) = analyze(dir.path(), &["security", "--offline=true", "--threshold=25", "system/kithd.service"])?;
    ensure!(fine, "{said}");
    Ok(())
}

/// A `systemctl` that remembers what it was told.
const SYSTEMCTL: &str = r#"#!/bin/sh
shift
echo "$*" >>"$FAKE/calls"
case "$1" in
  show-environment) [ ! -e "$FAKE/dead" ] || { echo "Failed to connect to bus: No medium found" >&2; exit 1; } ;;
  --version) echo "systemd 254 (254.1-1)" ;;
  enable|disable) rm -f "$FAKE/enabled" "$FAKE/active"; [ "$1" = disable ] || touch "$FAKE/enabled" ;;
  start) touch "$FAKE/active" ;;
  show)
    unit=$XDG_CONFIG_HOME/systemd/user/kithd.service
    [ -e "$unit" ] && printf 'LoadState=loaded\nFragmentPath=%s\n' "$unit" || printf 'LoadState=not-found\nFragmentPath=\n'
    [ -e "$FAKE/active" ] && echo ActiveState=active || echo ActiveState=inactive
    [ -e "$FAKE/enabled" ] && echo UnitFileState=enabled || echo UnitFileState=
    ;;
esac
"#;

/// `kithctl service` for a user with that systemctl.
fn service(home: &Path, verb: &str) -> Result<Command> {
    let fake = home.join("bin/systemctl");
    std::fs::create_dir_all(home.join("bin"))?;
    if !fake.exists() {
        std::fs::write(&fake, SYSTEMCTL)?;
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(program("kithctl"));
    command.args(["--json", "service", verb]).env_remove("KITHD");
    command.env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display())).env("FAKE", home);
    command.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_RUNTIME_DIR", home.join("run"));
    Ok(command)
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn install_and_remove_undo_each_other() -> Result<()> {
    let home = tempfile::tempdir()?;
    let units = home.path().join("config/systemd/user");
    let unit = units.join("kithd.service");
    let installed = ask(&mut service(home.path(), "install")?)?;
    assert_eq!(installed["unit"], unit.display().to_string());
    for field in ["installed", "active", "enabled"] {
        assert_eq!(installed[field], true, "{field}: {installed}");
    }
    let text = std::fs::read_to_string(&unit)?;
    ensure!(text.contains(&format!("\nExecStart={}\n", program("kithd").display())), "{text}");
    assert_eq!(files(&units).len(), 3, "service, socket, and the pauses that 254 knows");
    assert_eq!(ask(&mut service(home.path(), "status")?)?, installed);
    assert_eq!(ask(&mut service(home.path(), "install")?)?, installed, "once more changes nothing");

    // What the user adds stays.
    let own = units.join("kithd.service.d/override.conf");
    std::fs::write(&own, "[Service]\nNice=5\n")?;
    let removed = ask(&mut service(home.path(), "remove")?)?;
    for field in ["installed", "active", "enabled"] {
        assert_eq!(removed[field], false, "{field}: {removed}");
    }
    assert_eq!(files(&units), [own.display().to_string()]);
    let calls = std::fs::read_to_string(home.path().join("calls"))?;
    for call in ["daemon-reload", "enable kithd.socket kithd.service", "disable --now kithd.socket kithd.service"] {
        ensure!(calls.lines().any(|line| line == call), "{call}: {calls}");
    }
    assert_eq!(ask(&mut service(home.path(), "remove")?)?["installed"], false, "nothing left to remove");
    Ok(())
}

#[test]
fn a_unit_of_somebody_else_is_left_alone() -> Result<()> {
    let home = tempfile::tempdir()?;
    let unit = home.path().join("config/systemd/user/kithd.service");
    std::fs::create_dir_all(unit.parent().context("it is in a folder")?)?;
    std::fs::write(&unit, "[Service]\nExecStart=/opt/kithd\n")?;
    for verb in ["install", "remove"] {
        let mut run = Lines::start(&mut service(home.path(), verb)?)?;
        assert_eq!(run.finish(SOON)?.0, 1, "{verb}");
        ensure!(run.errors().contains("not from kithctl"), "{}", run.errors());
    }
    assert_eq!(std::fs::read_to_string(&unit)?, "[Service]\nExecStart=/opt/kithd\n");
    Ok(())
}

#[test]
fn without_systemd_nothing_is_written_and_the_way_out_is_named() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("dead"), "")?;
    let mut run = Lines::start(&mut service(home.path(), "install")?)?;
    assert_eq!(run.finish(SOON)?.0, 1);
    let said = run.errors();
    ensure!(said.contains("No medium found") && said.contains("Start `kithd`"), "{said}");
    assert_eq!(files(&home.path().join("config")), Vec::<String>::new());
    let status = ask(&mut service(home.path(), "status")?)?;
    ensure!(status["active"] == false && status["reason"].as_str().is_some_and(|why| why.contains("bus")), "{status}");
    Ok(())
}

#[test]
fn a_real_service_manager_starts_reloads_and_restarts_the_daemon() -> Result<()> {
    let manager = match UserManager::start()? {
        Ok(manager) => manager,
        Err(reason) => {
            skip(&reason);
            return Ok(());
        }
    };
    let settings = manager.config().join("kith");
    std::fs::create_dir(&settings)?;
    write_settings(&settings, "name = \"ada\"\n")?;
    let installed = ask(manager.kithctl().args(["service", "install"]))?;
    ensure!(installed["active"] == true && installed["enabled"] == true, "{installed}");
    let name = || -> Result<Value> { Ok(ask(manager.kithctl().arg("id"))?["name"].take()) };
    assert_eq!(name()?, "ada");
    until("the sentence of how it does", || {
        Ok(manager
            .systemctl(&["show", "-p", "StatusText", "kithd"])?
            .contains("node, video, audio, chat, files listening"))
    })?;

    write_settings(&settings, "name = \"grace\"\n")?;
    manager.systemctl(&["reload", "kithd"])?;
    until("the new name", || Ok(name()? == "grace"))?;

    let process = || manager.systemctl(&["show", "-p", "MainPID", "--value", "kithd"]);
    let first = process()?;
    manager.systemctl(&["kill", "--signal=KILL", "kithd.service"])?;
    until("another process", || Ok(![first.as_str(), "0\n"].contains(&process()?.as_str())))?;
    assert_eq!(name()?, "grace");

    manager.systemctl(&["stop", "kithd.service"])?;
    assert_eq!(name()?, "grace", "a client starts it again, through the socket");

    let removed = ask(manager.kithctl().args(["service", "remove"]))?;
    ensure!(removed["installed"] == false && removed["active"] == false, "{removed}");
    assert_eq!(files(&manager.config().join("systemd")), Vec::<String>::new());
    let (code, _) = Lines::start(manager.kithctl().arg("id"))?.finish(SOON)?;
    assert_eq!(code, 3, "nobody listens any more");
    Ok(())
}
