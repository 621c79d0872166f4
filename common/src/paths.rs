//! Where Kith keeps things (XDG base directories), the same for the daemon and its clients.

use std::path::PathBuf;

fn xdg(variable: &str, fallback: &str) -> PathBuf {
    match std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => path,
        None => std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(fallback),
    }
}

/// `$XDG_DATA_HOME/kith`: the identity key and everything that must survive.
pub fn data_dir() -> PathBuf {
    xdg("XDG_DATA_HOME", ".local/share").join("kith")
}

/// `$XDG_CONFIG_HOME/kith/kithd.toml`.
pub fn config_file() -> PathBuf {
    xdg("XDG_CONFIG_HOME", ".config").join("kith/kithd.toml")
}

/// `$XDG_RUNTIME_DIR/kith/kithd.sock`; without a runtime directory, `run/kithd.sock` in the data directory.
pub fn socket() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => path.join("kith/kithd.sock"),
        None => data_dir().join("run/kithd.sock"),
    }
}
