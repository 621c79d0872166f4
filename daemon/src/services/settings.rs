//! What was chosen for the services while the daemon ran, in a small file of its own in the data directory.
//!
//! A port that was chosen so stands in for the configured one. A port named on the command line or in the environment
//! wins over it, and so does one that was written into `kithd.toml` afterwards: the newest choice counts. A file that
//! cannot be understood is set aside and said so; the services are too important to stay away for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kith_core::listener::{Begin, Order};
use serde::{Deserialize, Serialize};

const FILE: &str = "services.toml";
const HEADING: &str = "# Written by kithd: what `kithctl services` or the window has set. Change it there.\n\n";
/// Six services of three lines each; a larger file is something else.
const MAX_BYTES: u64 = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("could not put the settings of the services into words: {0}")]
    Format(#[from] toml::ser::Error),
}

/// How a service is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub port: u16,
    pub begin: Begin,
}

/// What was chosen for one service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// What was configured then, to see a change of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configured_port: Option<u16>,
    #[serde(default)]
    stopped: bool,
}

/// The file and what it says.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    chosen: BTreeMap<String, Chosen>,
    /// As the flags, the environment and `kithd.toml` have it.
    configured: BTreeMap<&'static str, u16>,
}

impl Settings {
    /// Never fails: what cannot be read is set aside.
    pub fn load(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let chosen = match read(&path) {
            Ok(chosen) => chosen,
            Err(error) => {
                let aside = data_dir.join(format!("{FILE}.damaged"));
                let kept = fs::rename(&path, &aside).map(|()| aside.display().to_string());
                let kept = kept.unwrap_or_else(|error| format!("nowhere: {error}"));
                tracing::warn!(path = %path.display(), error, kept, "the settings of the services cannot be read: \
                               ports are as configured and all services start; the file is kept under another name");
                BTreeMap::new()
            }
        };
        Self { path, chosen, configured: BTreeMap::new() }
    }

    /// How a service is to begin, with the port that is configured for it. `fixed`: the services whose port was named on
    /// the command line or in the environment.
    pub fn wanted(&mut self, service: &'static str, configured: u16, fixed: &BTreeSet<&'static str>) -> Wanted {
        self.configured.insert(service, configured);
        let chosen = self.chosen.get(service).copied().unwrap_or_default();
        let port = match chosen.port {
            Some(port) if !fixed.contains(service) && chosen.configured_port == Some(configured) => port,
            _ => configured,
        };
        Wanted { port, begin: if chosen.stopped { Begin::Stopped } else { Begin::Running } }
    }

    /// Keeps a change for the next start.
    pub fn remember(&mut self, service: &str, order: Order) -> Result<(), SettingsError> {
        let before = self.chosen.get(service).copied().unwrap_or_default();
        let after = match order {
            Order::Start => Chosen { stopped: false, ..before },
            Order::Stop => Chosen { stopped: true, ..before },
            Order::SetPort(port) => {
                Chosen { port: Some(port), configured_port: self.configured.get(service).copied(), ..before }
            }
        };
        if after == before {
            return Ok(());
        }
        self.chosen.insert(service.to_owned(), after);
        self.write()
    }

    fn write(&self) -> Result<(), SettingsError> {
        let text = format!("{HEADING}{}", toml::to_string(&self.chosen)?);
        let new = self.path.with_extension("toml.new");
        let failed = |source| SettingsError::Write { path: self.path.clone(), source };
        replace(&self.path, &new, &text).map_err(|error| {
            // What is left of it is of no use.
            let _ = fs::remove_file(&new);
            failed(error)
        })
    }
}

/// The old content or the new, whatever happens meanwhile.
fn replace(path: &Path, new: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn read(path: &Path) -> Result<BTreeMap<String, Chosen>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err("it is too large".to_owned());
    }
    toml::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: BTreeSet<&str> = BTreeSet::new();
    const fn wanted(port: u16, begin: Begin) -> Wanted {
        Wanted { port, begin }
    }

    #[test]
    fn what_was_chosen_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::load(folder.path());
        assert_eq!(settings.wanted("video", 9996, &NONE), wanted(9996, Begin::Running));
        settings.remember("video", Order::SetPort(7000)).expect("room for a small file");
        settings.remember("video", Order::Stop).expect("room for a small file");
        settings.remember("audio", Order::Stop).expect("room for a small file");
        settings.remember("audio", Order::Start).expect("room for a small file");
        let mut again = Settings::load(folder.path());
        assert_eq!(again.wanted("video", 9996, &NONE), wanted(7000, Begin::Stopped));
        assert_eq!(again.wanted("audio", 9998, &NONE), wanted(9998, Begin::Running));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_flag_wins_and_so_does_a_port_that_is_configured_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::load(folder.path());
        settings.wanted("video", 9996, &NONE);
        settings.remember("video", Order::SetPort(7000)).expect("room for a small file");
        let port = |configured, fixed: &BTreeSet<&'static str>| {
            Settings::load(folder.path()).wanted("video", configured, fixed).port
        };
        assert_eq!(port(9996, &NONE), 7000);
        assert_eq!(port(9996, &BTreeSet::from(["video"])), 9996);
        assert_eq!(port(9996, &BTreeSet::from(["audio"])), 7000);
        assert_eq!(port(8000, &NONE), 8000);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_services_start() {
        for damage in [&b"[video]\nport = 70000"[..], b"nonsense", &[0xff; 40], &[b'#'; 20_000]] {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join(FILE), damage).expect("our own file");
            let mut settings = Settings::load(folder.path());
            assert_eq!(settings.wanted("video", 9996, &NONE), wanted(9996, Begin::Running));
            let aside = fs::read(folder.path().join("services.toml.damaged")).expect("it is kept");
            assert_eq!(aside, damage);
            settings.remember("video", Order::Stop).expect("room for a small file");
            assert_eq!(Settings::load(folder.path()).wanted("video", 9996, &NONE).begin, Begin::Stopped);
        }
    }

    #[test]
    fn what_cannot_be_written_is_said_and_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::load(folder.path());
        settings.remember("video", Order::Stop).expect("room for a small file");
        // A folder in the way of the new file, which root cannot write over either.
        fs::create_dir(folder.path().join("services.toml.new")).expect("our own folder");
        let error = settings.remember("video", Order::Start).expect_err("in the way").to_string();
        assert!(error.contains(FILE), "{error}");
        assert_eq!(Settings::load(folder.path()).wanted("video", 9996, &NONE).begin, Begin::Stopped);
    }
}
