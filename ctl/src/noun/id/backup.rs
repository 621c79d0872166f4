//! `id export` and `id import`: kithd seals the identity, contacts, groups and settings into a file and makes a node of such a
//! file again; here a person is asked for the passphrase.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cli::Backup;
use crate::output::Output;
use crate::session::interrupt::Interrupt;
use crate::stop::{Exit, Stop};
use crate::throwaway::find_daemon;

/// Where kithd looks for it first.
const VARIABLE: &str = "KITH_PASSPHRASE";

pub async fn export(backup: &Backup, output: &Output) -> Result<(), Stop> {
    let passphrase = match asks() {
        true => {
            output.note("Whoever has the file and the passphrase is you. Choose one of several words.");
            let Some(first) = typed("Passphrase:", output).await? else { return Ok(()) };
            let Some(second) = typed("The same again:", output).await? else { return Ok(()) };
            if first != second {
                return Err(
                    Stop::new(Exit::Usage, "the two passphrases are not the same").advise("Nothing was written.")
                );
            }
            Some(first)
        }
        false => None,
    };
    let done = run("--export-identity", backup, passphrase)?;
    let _gone = output.row(&done.row(backup));
    let _gone = output.text(&format!(
        "{} holds the identity …{}, {} contacts, {} groups and the settings. Messages are not in it: `kithctl chat export \
         --all`.",
        backup.file.display(),
        end(&done.peer),
        done.contacts,
        done.groups
    ));
    Ok(())
}

pub async fn import(backup: &Backup, output: &Output) -> Result<(), Stop> {
    let passphrase = match asks() {
        true => match typed("Passphrase:", output).await? {
            Some(passphrase) => Some(passphrase),
            None => return Ok(()),
        },
        false => None,
    };
    let done = run("--import-identity", backup, passphrase)?;
    let _gone = output.row(&done.row(backup));
    let _gone = output.text(&format!(
        "The identity …{}, {} contacts and {} groups are here. Start kithd here, and on the old machine never again.",
        end(&done.peer),
        done.contacts,
        done.groups
    ));
    Ok(())
}

fn end(peer: &str) -> &str {
    &peer[peer.len().saturating_sub(8)..]
}

/// Whether there is a person to ask, and need to.
fn asks() -> bool {
    std::env::var_os(VARIABLE).is_none_or(|given| given.is_empty()) && std::io::stdin().is_terminal()
}

/// What kithd says it has done.
struct Done {
    peer: String,
    contacts: u64,
    groups: u64,
}

impl Done {
    fn row(&self, backup: &Backup) -> Value {
        let Self { peer, contacts, groups } = self;
        json!({ "peer_id": peer, "contacts": contacts, "groups": groups, "file": backup.file })
    }
}

/// Without a passphrase kithd finds it in its environment, or on our standard input.
fn run(errand: &str, backup: &Backup, passphrase: Option<String>) -> Result<Done, Stop> {
    let program = find_daemon()?;
    let cannot = |error: std::io::Error| Stop::failed(format!("cannot run {}: {error}", program.display()));
    let mut command = Command::new(&program);
    command.arg(errand).arg(&backup.file).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (flag, value) in [("--data-dir", &backup.data_dir), ("--config", &backup.config)] {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    command.stdin(if passphrase.is_some() { Stdio::piped() } else { Stdio::inherit() });
    let mut child = command.spawn().map_err(cannot)?;
    if let (Some(passphrase), Some(mut stdin)) = (passphrase, child.stdin.take()) {
        writeln!(stdin, "{passphrase}").map_err(cannot)?;
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("kithd gave no reason");
        return Err(Stop::failed(last.trim_start_matches("kithd: ")));
    }
    said(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Stop::failed("kithd did not say what it has done"))
}

/// `exported peer=12D3Koo… contacts=7 groups=2 file=FILE`
fn said(line: &str) -> Option<Done> {
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let count = |name| field(name)?.parse().ok();
    Some(Done { peer: field("peer")?.to_owned(), contacts: count("contacts")?, groups: count("groups")? })
}

/// A line that is not shown while it is typed. `None`: somebody wants to end this.
async fn typed(prompt: &str, output: &Output) -> Result<Option<String>, Stop> {
    let mut interrupt = Interrupt::new()?;
    let hidden = Hidden::new()?;
    output.note(prompt);
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = reading => line,
        () = interrupt.asked() => return Ok(None),
    };
    drop(hidden);
    let line = line.map_err(|error| Stop::failed(format!("cannot read the passphrase: {error}")))?;
    let line = line.map_err(|error| Stop::failed(format!("cannot read the passphrase: {error}")))?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// While it is there, the terminal does not show what is typed.
struct Hidden;

impl Hidden {
    fn new() -> Result<Self, Stop> {
        if stty("-echo") {
            return Ok(Self);
        }
        Err(Stop::failed("cannot hide what is typed on this terminal")
            .advise(format!("Put the passphrase into {VARIABLE}, or on standard input.")))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(setting: &str) -> bool {
    Command::new("stty").arg(setting).stdin(Stdio::inherit()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kithd_says_is_understood() {
        let done = said("exported peer=12D3KooWx contacts=7 groups=2 file=/tmp/a b=c\n").expect("a line");
        assert_eq!((done.peer.as_str(), done.contacts, done.groups), ("12D3KooWx", 7, 2));
        assert!(said("something else").is_none());
    }
}
