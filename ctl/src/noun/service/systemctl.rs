//! `systemctl --user`: the one way in which kithctl speaks to systemd.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::stop::Stop;
use crate::throwaway::in_path;

/// systemd itself gives a start 90 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service manager that answers.
#[derive(Debug)]
pub struct Systemctl {
    /// 0 when it does not say.
    pub version: u32,
}

/// What systemd knows of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    pub installed: bool,
    pub active: bool,
    pub enabled: bool,
    /// systemd's own word: `active`, `inactive`, `failed`, `activating`…
    pub word: String,
    pub unit: Option<PathBuf>,
}

impl Systemctl {
    /// Or why there is none.
    pub async fn find() -> Result<Self, String> {
        if in_path("systemctl").is_none() {
            return Err("this system does not run systemd".to_owned());
        }
        // Answered by the manager and by nothing else, and changes nothing.
        let reached = call(&["show-environment"]).await.map_err(|stop| stop.message)?;
        if !reached.status.success() {
            return Err(format!("systemd does not run for this user here ({})", last_line(&reached)));
        }
        let version = call(&["--version"]).await.map_or(0, |output| version(&String::from_utf8_lossy(&output.stdout)));
        Ok(Self { version })
    }

    /// Runs a command that must succeed.
    pub async fn run(&self, arguments: &[&str]) -> Result<(), Stop> {
        let output = call(arguments).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(Stop::failed(format!("systemctl --user {} failed: {}", arguments.join(" "), last_line(&output))))
    }

    pub async fn state(&self, unit: &str) -> Result<State, Stop> {
        let properties = "--property=LoadState,ActiveState,UnitFileState,FragmentPath";
        let output = call(&["show", properties, unit]).await?;
        if !output.status.success() {
            return Err(Stop::failed(format!("systemd does not say how {unit} is: {}", last_line(&output))));
        }
        Ok(State::read(&String::from_utf8_lossy(&output.stdout)))
    }
}

impl State {
    fn read(properties: &str) -> Self {
        let value = |key: &str| {
            let all = properties.lines().filter_map(|line| line.split_once('='));
            all.filter(|(name, _)| *name == key).map(|(_, value)| value).next().unwrap_or_default()
        };
        let word = value("ActiveState");
        Self {
            installed: value("LoadState") == "loaded",
            active: matches!(word, "active" | "reloading"),
            enabled: value("UnitFileState") == "enabled",
            word: word.to_owned(),
            unit: Some(PathBuf::from(value("FragmentPath"))).filter(|path| path.is_absolute()),
        }
    }
}

async fn call(arguments: &[&str]) -> Result<Output, Stop> {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Its words are read here.
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(Stop::failed(format!("systemctl could not be run: {error}"))),
        Err(_) => Err(Stop::failed(format!("systemctl {} did not end within {PATIENCE:?}", arguments.join(" ")))),
    }
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    line.trim().trim_end_matches('.').to_owned()
}

/// From `systemd 252 (252.38-1~deb12u1)`.
fn version(text: &str) -> u32 {
    let digits = |word: &str| word.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split_whitespace().nth(1).and_then(|word| digits(word).parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_in_every_spelling() {
        assert_eq!(version("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT"), 252);
        assert_eq!(version("systemd 257~rc1 (257)"), 257);
        assert_eq!(version(""), 0);
    }

    #[test]
    fn a_unit_that_systemd_does_not_know_is_not_installed() {
        let unknown = State::read("LoadState=not-found\nActiveState=inactive\nFragmentPath=\nUnitFileState=\n");
        assert_eq!(unknown, State { word: "inactive".to_owned(), ..State::default() });
        let known = "ActiveState=active\nLoadState=loaded\nFragmentPath=/x/kithd.service\nUnitFileState=enabled";
        let known = State::read(known);
        assert!(known.installed && known.active && known.enabled);
        assert_eq!(known.unit, Some(PathBuf::from("/x/kithd.service")));
    }
}
