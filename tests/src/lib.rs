//! Starts real daemons and drives them by the real command line, for the tests and the bench.
//!
//! Nothing here sleeps to let things happen: every wait is for an event and has a deadline, after which it fails and
//! shows what the programs printed.

pub mod clips;
pub mod daemon;
pub mod forwarder;
pub mod lines;
pub mod manager;
pub mod namespaces;
pub mod people;
pub mod proc;

pub use daemon::{Daemon, Options};
pub use lines::Lines;

use std::path::PathBuf;

/// A program of this build: `kithd`, `kithctl`, `kith`.
pub fn program(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().expect("a running program has a path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir.join(name)
}

/// Says that a test did not run, and why. `scripts/test` collects and counts these lines: it names a file for them in
/// `KITH_SKIPPED`, since the output of tests that pass is not shown.
pub fn skip(reason: &str) {
    use std::io::Write as _;
    // One line each, or they could not be counted.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
    let Some(file) = std::env::var_os("KITH_SKIPPED") else { return };
    if let Ok(mut file) = std::fs::File::options().append(true).create(true).open(file) {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // One write, so that lines of tests that run at once stay whole.
        let _ = file.write_all(format!("{test}: {reason}\n").as_bytes());
    }
}

/// Shows what a test has measured, to whoever runs it with `--no-capture`.
pub fn note(measured: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{measured}");
}

/// Whether a program can be run on this machine.
pub fn have(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}
