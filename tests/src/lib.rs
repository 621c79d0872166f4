//! Starts real daemons and drives them by the real command line, for the tests and the bench.
//!
//! Nothing here sleeps to let things happen: every wait is for an event and has a deadline, after which it fails and
//! shows what the programs printed.

pub mod clips;
pub mod daemon;
pub mod lines;
pub mod manager;
pub mod namespaces;
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

/// Says that a test did not run, and why; the test suite counts these lines.
pub fn skip(reason: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Whether a program can be run on this machine.
pub fn have(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}
