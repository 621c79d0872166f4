//! SIGHUP: the settings are read again; what a running daemon can change changes, and the log names what cannot.

use std::time::Duration;

use crate::config::Config;
use crate::log::Log;
use crate::supervisor;

use super::Node;

/// A network that does not answer must not keep the daemon from hearing SIGTERM.
const RELOAD_WITHIN: Duration = Duration::from_secs(2);

/// Settings that are not valid change nothing.
pub(super) async fn reload(running: &mut Config, log: &Log, node: &Node) {
    supervisor::reloading();
    // A settings file on a disk that hangs must not hold up the network.
    let reading = async {
        match tokio::task::spawn_blocking(Config::load).await {
            Ok(Ok(new)) => apply(running, &new, log, node).await,
            Ok(Err(error)) => tracing::error!("the settings were not read again, the old ones stay: {error}"),
            Err(error) => tracing::error!(%error, "the settings could not be read again, the old ones stay"),
        }
    };
    if tokio::time::timeout(RELOAD_WITHIN, reading).await.is_err() {
        tracing::error!("the settings could not all be taken over within {RELOAD_WITHIN:?}: restart kithd");
    }
    supervisor::ready();
}

async fn apply(running: &mut Config, new: &Config, log: &Log, node: &Node) {
    // First, because it can be wrong: then nothing has changed.
    if running.log != new.log
        && let Err(error) = log.set_filter(&new.log)
    {
        tracing::error!("the settings were not taken over, the old ones stay: {error}");
        return;
    }
    let changes = running.changes(new);
    if running.name != new.name {
        node.net.set_name(&new.name).await;
    }
    if running.bootstrap != new.bootstrap {
        node.net.set_bootstrap(&new.bootstrap).await;
    }
    if running.auto_answer != new.auto_answer {
        node.calls.set_auto_answer(new.auto_answer).await;
    }
    if running.calls_from_strangers != new.calls_from_strangers {
        node.calls.set_strangers(new.calls_from_strangers).await;
    }
    if changes.at_once.is_empty() && changes.at_restart.is_empty() {
        tracing::info!(file = %new.config_file.display(), "the settings were read again: nothing has changed");
    }
    if !changes.at_once.is_empty() {
        tracing::info!(changed = %changes.at_once.join(", "), "the settings were read again and are in force");
    }
    if !changes.at_restart.is_empty() {
        tracing::warn!(changed = %changes.at_restart.join(", "), "settings that wait for kithd to be restarted");
    }
    running.take_over(new);
}
