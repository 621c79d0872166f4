//! Service managers for the tests: a socket that takes what a daemon tells its manager, and a real systemd of one user,
//! alone in namespaces of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::{have, program};

/// A status line and a handful of assignments.
const MAX_MESSAGE_BYTES: usize = 4096;
/// systemd and the units that come with the machine.
const READY: Duration = Duration::from_secs(20);
/// Units of systemd that remove old files.
const TIDYING: [&str; 3] =
    ["systemd-tmpfiles-setup.service", "systemd-tmpfiles-clean.service", "systemd-tmpfiles-clean.timer"];
const SYSTEMD: &str = "/lib/systemd/systemd";

/// What `NOTIFY_SOCKET` leads to.
pub struct NotifySocket {
    socket: UnixDatagram,
    pub path: PathBuf,
    /// Assignments that came so far.
    pub heard: Vec<String>,
}

impl NotifySocket {
    pub fn bind(dir: &Path) -> Result<Self> {
        let path = dir.join("notify");
        Ok(Self { socket: UnixDatagram::bind(&path)?, path, heard: Vec::new() })
    }

    /// Waits for the next message with an assignment that begins so, and returns the message.
    pub fn wait_for(&mut self, beginning: &str, deadline: Duration) -> Result<Vec<String>> {
        let end = Instant::now() + deadline;
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no {beginning} within {deadline:?}; heard {:?}", self.heard);
            self.socket.set_read_timeout(Some(left))?;
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let message: Vec<String> = std::str::from_utf8(&buffer[..length])?.lines().map(str::to_owned).collect();
            self.heard.extend(message.iter().cloned());
            if message.iter().any(|assignment| assignment.starts_with(beginning)) {
                return Ok(message);
            }
        }
    }
}

/// A systemd of one user, with directories of its own. Everything it has started goes with it.
pub struct UserManager {
    child: Child,
    /// The first process inside.
    inside: u32,
    dir: TempDir,
}

impl UserManager {
    /// The inner error is the reason why this machine cannot have one.
    pub fn start() -> Result<Result<Self, String>> {
        if Path::new("/run/systemd/system").exists() {
            return Ok(Err("systemd runs this machine, and its own service managers are left alone".to_owned()));
        }
        if !rustix::process::geteuid().is_root() {
            return Ok(Err("namespaces need root".to_owned()));
        }
        if !Path::new(SYSTEMD).exists() || !have("unshare") || !have("nsenter") {
            return Ok(Err("systemd, or util-linux, is not installed".to_owned()));
        }
        let dir = tempfile::Builder::new().prefix("kith-test-").tempdir()?;
        for name in ["run", "config", "data"] {
            std::fs::create_dir(dir.path().join(name))?;
        }
        std::fs::set_permissions(dir.path().join("run"), std::fs::Permissions::from_mode(0o700))?;
        // The machine's files are shared with everybody: nothing inside may tidy them up.
        let masked = dir.path().join("run/systemd/user");
        std::fs::create_dir_all(&masked)?;
        for unit in TIDYING {
            std::os::unix::fs::symlink("/dev/null", masked.join(unit))?;
        }
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
        // systemctl takes the directory for the sign that systemd has been booted.
        command.arg(format!("mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && {SYSTEMD} --user & wait"));
        environment(&mut command, dir.path());
        command.env("SYSTEMD_LOG_TARGET", "console");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut this = Self { child, inside: 0, dir };
        Ok(if this.wait_until_ready()? { Ok(this) } else { Err(this.why()) })
    }

    fn wait_until_ready(&mut self) -> Result<bool> {
        let outside = self.child.id();
        let end = Instant::now() + READY;
        while self.child.try_wait()?.is_none() && Instant::now() < end {
            let children = std::fs::read_to_string(format!("/proc/{outside}/task/{outside}/children"))?;
            let Some(inside) = children.split_whitespace().next() else { continue };
            self.inside = inside.parse()?;
            let mut asked = self.command(Path::new("systemctl"));
            if asked.args(["--user", "show-environment"]).output()?.status.success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn why(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        format!("systemd --user does not run here: {}", log.lines().last().unwrap_or("it gave no reason"))
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// A program that sees this manager.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.inside.to_string(), "--mount", "--pid", "--"]).arg(program);
        environment(&mut command, self.dir.path());
        command
    }

    pub fn kithctl(&self) -> Command {
        let mut command = self.command(&program("kithctl"));
        command.arg("--json");
        command
    }

    /// Output of `systemctl --user`, which must succeed.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(Path::new("systemctl")).arg("--user").args(arguments).output()?;
        if !output.status.success() {
            bail!("systemctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("systemctl writes text")
    }
}

/// The directories of this user, and none of another's settings.
fn environment(command: &mut Command, dir: &Path) {
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("KITH")) {
        command.env_remove(key);
    }
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").env("HOME", dir);
    command.env("XDG_RUNTIME_DIR", dir.join("run")).env("XDG_CONFIG_HOME", dir.join("config"));
    command.env("XDG_DATA_HOME", dir.join("data"));
}

impl Drop for UserManager {
    fn drop(&mut self) {
        // In order, so that it takes its control groups along; the namespace ends with the process in any case.
        let asked = self.systemctl(&["exit"]);
        let end = Instant::now() + READY;
        while asked.is_ok() && Instant::now() < end && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::yield_now();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
