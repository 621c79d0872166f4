//! Starting daemons: the user's own, when none is running, and finding the program to start.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kith_common::failure::{Failure, FailureKind};
use kith_common::paths;
use tokio::process::{Child, Command};

/// A daemon that has not said anything by then is not going to.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// `kithd` beside this program, else the one in the search path.
pub fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("kithd")));
    match beside {
        Some(path) if path.is_file() => path,
        _ => PathBuf::from("kithd"),
    }
}

pub fn cannot_start(program: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::NoDaemon, format!("The daemon could not be started: {} ({error}).", program.display()))
        .advise("Install kithd beside this program, or start it yourself; the window connects by itself.")
}

/// Starts the user's daemon, which outlives the window, and returns when it listens or has failed.
pub async fn start(socket: Option<&Path>) -> Result<(), Failure> {
    let program = program();
    let log = paths::data_dir().join("kithd.log");
    let output = std::fs::create_dir_all(paths::data_dir()).and_then(|()| std::fs::File::create(&log));
    let output = output.map_or_else(|_| Stdio::null(), Stdio::from);
    let mut command = Command::new(&program);
    if let Some(socket) = socket {
        command.arg("--socket").arg(socket);
    }
    // A group of its own: Ctrl-C in the terminal that started the window must not end the daemon.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0);
    let mut child = command.spawn().map_err(|error| cannot_start(&program, &error))?;
    let listens = wait_for_socket(socket.map_or_else(paths::socket, Path::to_owned));
    tokio::select! {
        status = child.wait() => Err(ended(status, &log)),
        () = tokio::time::sleep(START_TIMEOUT) => Err(Failure::new(
            FailureKind::NoDaemon,
            format!("The daemon was started but does not listen after {} seconds.", START_TIMEOUT.as_secs()),
        )
        .advise(format!("Its log is in {}.", log.display()))),
        () = listens => {
            reap(child);
            Ok(())
        }
    }
}

async fn wait_for_socket(socket: PathBuf) {
    while tokio::net::UnixStream::connect(&socket).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for the child in the background so that no zombie stays when the daemon ends before the window.
fn reap(mut child: Child) {
    tokio::spawn(async move {
        let _ = child.wait().await;
    });
}

fn ended(status: std::io::Result<std::process::ExitStatus>, log: &Path) -> Failure {
    let last = std::fs::read_to_string(log).unwrap_or_default();
    let last = last.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned();
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure::new(FailureKind::NoDaemon, format!("The daemon ended at once ({how}): {last}"))
        .advise(format!("Its log is in {}.", log.display()))
}
