//! A throw-away daemon on loopback, with its own data directory, any free ports, and no way out of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Lines, program};

/// How long a daemon may take to be ready, on a loaded machine.
const READY: Duration = Duration::from_secs(20);

/// What differs from the usual test daemon.
#[derive(Default, Clone)]
pub struct Options {
    /// Further flags.
    pub flags: Vec<String>,
    /// Reuse a data directory.
    pub data_dir: Option<PathBuf>,
    /// Where clients come in, for those that outlive a daemon [default: in a directory of its own].
    pub socket: Option<PathBuf>,
    /// What `kithd.toml` says. The ports are then as it has them, and not any free ones by flags.
    pub config: Option<String>,
    /// Put the data directory on a disk of its own with so much room, which only the daemon sees. Needs root.
    pub disk_mb: Option<u32>,
    /// Run inside this network namespace, and do not bind to loopback.
    pub namespace: Option<String>,
}

pub struct Daemon {
    process: Lines,
    pub peer: String,
    pub socket: PathBuf,
    dir: TempDir,
}

impl Daemon {
    /// A daemon with the name `name` and further flags.
    pub fn start(name: &str, flags: &[&str]) -> Result<Self> {
        Self::with(name, Options { flags: flags.iter().map(|&flag| flag.to_owned()).collect(), ..Options::default() })
    }

    pub fn with(name: &str, options: Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("kith-test-").tempdir()?;
        let socket = options.socket.unwrap_or_else(|| dir.path().join("kithd.sock"));
        let data = options.data_dir.unwrap_or_else(|| dir.path().join("data"));
        let mut command = match &options.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program("kithd"));
                command
            }
            None => {
                let mut command = match options.disk_mb {
                    Some(mb) => on_small_disk(&data, mb)?,
                    None => Command::new(program("kithd")),
                };
                command.args(["--bind", "127.0.0.1"]);
                if options.config.is_none() {
                    command.args(["--node-port", "0", "--video-port", "0", "--audio-port", "0"]);
                }
                command
            }
        };
        if let Some(text) = &options.config {
            std::fs::write(dir.path().join("kithd.toml"), text)?;
        }
        command.args(["--no-mdns", "--name", name, "--data-dir"]).arg(data).arg("--socket").arg(&socket);
        command.arg("--config").arg(dir.path().join("kithd.toml")).args(&options.flags);
        let mut process = Lines::start(&mut command)?;
        let peer = process.wait_for("ready line", READY, |line| {
            let rest = line.strip_prefix("ready peer=")?;
            Some(rest.split(' ').next()?.to_owned())
        })?;
        Ok(Self { process, peer, socket, dir })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        self.process.errors()
    }

    /// `kithctl --json` against this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("kithctl"));
        command.arg("--socket").arg(&self.socket).arg("--json").args(arguments);
        command
    }

    /// Starts `kithctl --json` against this daemon.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Lines> {
        Lines::start(&mut self.command(arguments))
    }

    /// Runs `kithctl --json` to its end: exit code and JSON lines.
    pub fn ctl(&self, arguments: &[&str]) -> Result<(i32, Vec<Value>)> {
        self.spawn(arguments)?.finish(Duration::from_secs(60))
    }

    /// The one JSON line of a command that must succeed.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let (code, mut lines) = self.ctl(arguments)?;
        ensure!(code == 0, "kithctl {arguments:?} ended with {code}");
        lines.pop().with_context(|| format!("kithctl {arguments:?} printed nothing"))
    }

    pub fn ticket(&self) -> Result<String> {
        Ok(self.ask(&["id"])?["ticket"].as_str().context("id has a ticket")?.to_owned())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end, and returns how it did.
    pub fn stop(mut self) -> Result<i32> {
        self.process.signal(Signal::TERM)?;
        Ok(self.process.finish(Duration::from_secs(5))?.0)
    }
}

/// `kithd`, after mounting a small disk that no other process has.
fn on_small_disk(data: &Path, mb: u32) -> Result<Command> {
    std::fs::create_dir_all(data)?;
    let mut command = Command::new("unshare");
    let mount = format!("mount -t tmpfs -o size={mb}m,mode=700 tmpfs \"$1\" && shift && exec \"$@\"");
    command.args(["--mount", "sh", "-c", &mount, "sh"]).arg(data).arg(program("kithd"));
    Ok(command)
}
