//! A throw-away node that answers every call and sends back what it receives: the other end of a test call. It is
//! bound to loopback, lives in a temporary directory and ends with the value that stands for it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kith_common::client::Client;
use kith_common::failure::{Failure, FailureKind};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::daemon::{cannot_start, program};

const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// A daemon says goodbye within 5 s of being asked.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(6);

pub struct EchoNode {
    child: Option<Child>,
    directory: PathBuf,
    pub ticket: String,
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, format!("The test call could not start its echo node: {why}."))
        .advise("Try again; if it fails again, run kithctl test-call in a terminal to see more.")
}

impl EchoNode {
    pub async fn start() -> Result<Self, Failure> {
        let program = program();
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = base.join(format!("kith-echo-{}-{}", std::process::id(), kith_common::clock::unix_ms()));
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let socket = directory.join("echo.sock");
        let mut node = Self { child: None, directory, ticket: String::new() };
        let mut command = Command::new(&program);
        command
            .args(["--bind", "127.0.0.1", "--node-port", "0", "--video-port", "0", "--audio-port", "0"])
            .args(["--no-mdns", "--echo", "--name", "Echo test"])
            .arg("--data-dir")
            .arg(&node.directory)
            .arg("--config")
            .arg(node.directory.join("kithd.toml"))
            .arg("--socket")
            .arg(&socket)
            // It must not take over what the user has set for their own node.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        std::fs::write(node.directory.join("kithd.toml"), "").map_err(failed)?;
        let child = node.child.insert(command.spawn().map_err(|error| cannot_start(&program, &error))?);
        let Some(output) = child.stdout.take() else { return Err(failed("it has no output")) };
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.map_err(failed)? {
                if line.starts_with("ready ") {
                    return Ok(());
                }
            }
            Err(failed("it ended before it was ready"))
        };
        tokio::time::timeout(READY_TIMEOUT, ready).await.map_err(|_| failed("it is not ready after 20 s"))??;
        node.ticket = ticket(&socket).await?;
        Ok(node)
    }

    /// Asks it to end, waits for that, and removes its directory.
    pub async fn stop(mut self) {
        if let Some(mut child) = self.child.take() {
            let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
            if let Some(id) = id {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            }
            if tokio::time::timeout(GOODBYE_TIMEOUT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

impl Drop for EchoNode {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn ticket(socket: &Path) -> Result<String, Failure> {
    Ok(Client::connect(socket).await?.identity().await?.ticket)
}
