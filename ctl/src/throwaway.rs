//! Throw-away daemons: own data, own socket, any ports, loopback only, gone when this process goes, however it goes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::stop::Stop;

/// A first start makes a key and opens sockets: well under a second on an idle machine.
const READY: Duration = Duration::from_secs(20);
/// What the interface grants a daemon to end.
const END: Duration = Duration::from_secs(5);
/// The rest of a long log would hide the reason.
const LOG_LINES: usize = 4;

pub struct ThrowAway {
    child: Child,
    dir: TempDir,
    pub socket: PathBuf,
}

impl ThrowAway {
    /// Starts a daemon with further flags, and waits until it is ready.
    pub async fn start(name: &str, flags: &[String]) -> Result<Self, Stop> {
        let program = find_daemon()?;
        let cannot = |error: std::io::Error| {
            Stop::failed(format!("cannot start a throw-away daemon ({}): {error}", program.display()))
        };
        let dir = tempfile::Builder::new().prefix("kith-test-call-").tempdir().map_err(cannot)?;
        let at = |file: &str| dir.path().join(file);
        let log = std::fs::File::create(at("log")).map_err(cannot)?;
        let socket = at("kithd.sock");
        let mut command = dying_with_us(&program);
        command.args(["--name", name, "--bind", "127.0.0.1", "--no-mdns"]);
        command.args(["--node-port", "0", "--video-port", "0", "--audio-port", "0"]);
        command.arg("--data-dir").arg(at("data")).arg("--config").arg(at("kithd.toml"));
        command.arg("--socket").arg(&socket).args(flags);
        // The user's settings are for the user's daemon.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("KITH_")) {
            command.env_remove(key);
        }
        command.env_remove("NOTIFY_SOCKET");
        // Ctrl-C at a terminal is for this process alone, which then ends the call and its daemons in order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().map_err(cannot)?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("ready ") {
                    return true;
                }
            }
            false
        };
        let this = Self { child, dir, socket };
        match tokio::time::timeout(READY, ready).await {
            Ok(true) => {}
            Ok(false) => return Err(this.stop_with("ended before it was ready").await),
            Err(_) => return Err(this.stop_with("was not ready within 20 s").await),
        }
        // Whatever it prints later must not find a closed pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(this)
    }

    /// `None` when it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end, waits, and makes it end.
    pub async fn stop(mut self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            if let Err(error) = kill_process(id, Signal::TERM) {
                tracing::warn!(%error, "asking a throw-away daemon to end");
            }
            if tokio::time::timeout(END, self.child.wait()).await.is_ok() {
                return;
            }
        }
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "ending a throw-away daemon");
        }
    }

    async fn stop_with(self, what: &str) -> Stop {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join(" · ");
        self.stop().await;
        let because = if last.is_empty() { String::new() } else { format!(": {last}") };
        Stop::failed(format!("the throw-away daemon {what}{because}"))
    }
}

/// Makes a throw-away daemon go over to the network of its `--impair-next`.
pub fn next_impairment(id: u32) -> Result<(), Stop> {
    let id = Pid::from_raw(id.cast_signed()).ok_or_else(|| Stop::failed("the echo node has no process id"))?;
    kill_process(id, Signal::USR1).map_err(|error| Stop::failed(format!("cannot change the emulated network: {error}")))
}

/// The daemon dies with the thread that starts it, also when that is killed. `setpriv` is part of util-linux, which
/// every Debian has; without it a killed kithctl leaves its daemons behind.
fn dying_with_us(program: &Path) -> Command {
    match in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// `$KITHD`, the one beside this program, or the one in the path.
pub fn find_daemon() -> Result<PathBuf, Stop> {
    if let Some(named) = std::env::var_os("KITHD").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("kithd")).filter(|path| path.is_file());
    beside.or_else(|| in_path("kithd")).ok_or_else(|| {
        Stop::failed("cannot find kithd, neither beside kithctl nor in the path")
            .advise("Build it (cargo build -p kithd), or name it with the environment variable KITHD.")
    })
}

pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
