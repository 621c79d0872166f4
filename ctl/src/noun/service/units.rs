//! The unit files: the ones of `packaging/`, with the path of this machine's kithd, and a first line by which they are
//! known again. What others have written is never touched.

use std::io;
use std::path::{Path, PathBuf};

use crate::stop::Stop;

pub const SERVICE: &str = "kithd.service";
pub const SOCKET: &str = "kithd.socket";
const PAUSES: &str = "kithd.service.d/growing-pauses.conf";

const MARK: &str = "# Written by `kithctl service install`; `kithctl service remove` takes it away. For changes of your \
                    own: systemctl --user edit kithd";
/// What the packaged unit starts.
const PACKAGED: &str = "ExecStart=/usr/bin/kithd\n";
/// The first version that knows `RestartSteps=`.
const KNOWS_PAUSES: u32 = 254;

/// A file and what belongs in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    pub path: PathBuf,
    text: String,
}

/// Everything that `install` writes for this daemon and this version of systemd.
pub fn all(kithd: &Path, systemd: u32) -> Result<Vec<Unit>, Stop> {
    let service = include_str!("../../../../packaging/systemd/user/kithd.service");
    let socket = include_str!("../../../../packaging/systemd/user/kithd.socket");
    let pauses = include_str!("../../../../packaging/systemd/growing-pauses.conf");
    let start = format!("ExecStart={}\n", quoted(kithd)?);
    let mut units = vec![unit(SERVICE, &service.replace(PACKAGED, &start)), unit(SOCKET, socket)];
    if systemd >= KNOWS_PAUSES {
        units.push(unit(PAUSES, pauses));
    }
    Ok(units)
}

fn unit(name: &str, text: &str) -> Unit {
    Unit { path: path(name), text: format!("{MARK}\n{text}") }
}

/// Where a unit of the user belongs.
pub fn path(name: &str) -> PathBuf {
    let config = kith_common::paths::config_file();
    // …/kith/kithd.toml
    let home = config.ancestors().nth(2).unwrap_or(Path::new("/"));
    home.join("systemd/user").join(name)
}

/// Files that `install` has written, by whichever version.
pub fn written() -> Vec<PathBuf> {
    let ours = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| is_marked(&text));
    [SERVICE, SOCKET, PAUSES].map(path).into_iter().filter(ours).collect()
}

pub fn delete(files: &[PathBuf]) -> Result<(), Stop> {
    for file in files {
        std::fs::remove_file(file).map_err(|error| cannot("remove", file, &error))?;
    }
    // The user's own drop-ins keep it.
    let _ = std::fs::remove_dir(path(PAUSES).with_file_name(""));
    Ok(())
}

impl Unit {
    /// There, and not from here.
    pub fn is_foreign(&self) -> bool {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => !is_marked(&text),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    pub fn differs(&self) -> bool {
        std::fs::read_to_string(&self.path).ok().is_none_or(|text| text != self.text)
    }

    pub fn write(&self) -> Result<(), Stop> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&self.path, &self.text));
        written.map_err(|error| cannot("write", &self.path, &error))
    }
}

fn is_marked(text: &str) -> bool {
    text.starts_with("# Written by `kithctl service install`")
}

fn cannot(action: &str, file: &Path, error: &io::Error) -> Stop {
    Stop::failed(format!("cannot {action} {}: {error}", file.display()))
}

/// A path as systemd.service(5) wants it: `%` begins a specifier everywhere, quotes and backslashes end or escape.
fn quoted(path: &Path) -> Result<String, Stop> {
    let text = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    let text = text.filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Stop::failed(format!("cannot install the service: a unit cannot name {}", path.display()))
            .advise("Put kithd where the path has plain characters only.")
    })?;
    let escaped = text.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    Ok(if plain { text } else { format!("\"{escaped}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_unit_starts_the_daemon_that_was_found() {
        let units = all(Path::new("/home/ada/my bin/kithd"), 252).expect("a plain path");
        assert_eq!(units.len(), 2, "252 does not know the keys of the third file");
        let service = &units[0].text;
        assert!(service.contains("\nExecStart=\"/home/ada/my bin/kithd\"\n"), "{service}");
        assert!(!service.contains("/usr/bin/kithd") && is_marked(service), "{service}");
        assert_eq!(all(Path::new("/usr/bin/kithd"), 254).expect("a plain path").len(), 3);
    }

    #[test]
    fn strange_paths_are_quoted_or_refused() {
        assert_eq!(quoted(Path::new("/opt/kith-0.1/kithd")).expect("plain"), "/opt/kith-0.1/kithd");
        assert_eq!(quoted(Path::new("/a%b\"c")).expect("quotable"), "\"/a%%b\\\"c\"");
        assert!(quoted(Path::new("/a\nExecStartPre=/bin/evil")).is_err());
    }
}
