//! What kithd tells the service manager that started it: that it is ready, alive, reloading or ending, and in a sentence
//! how it does. Used by `node` and `main`. Without a service manager nothing here does anything.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use kith_common::node::{PeerInfo, ServiceInfo, ServiceState};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::calls::Calls;
use crate::chat::Chat;
use crate::files::Files;
use crate::net::Net;
use crate::rpc;
use crate::services::Services;

/// Peers come and go in crowds: a new sentence at most this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// `systemctl status` shows one line.
const MAX_STATUS_CHARS: usize = 400;

pub fn ready() {
    notify(&[NotifyState::Ready]);
}

pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("saying goodbye")]);
}

/// Reading the settings again; `ready` ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock"),
    }
}

/// The reason that the manager shows beside the exit code.
pub fn failed(error: &anyhow::Error) {
    notify(&[NotifyState::Status(&one_line(&format!("{error:#}")))]);
}

/// What must answer before the watchdog is fed: the tasks of the network, the calls, the messages and the files, and the
/// thread that serves clients.
pub struct Pulse {
    pub net: Net,
    pub calls: Calls,
    pub chat: Chat,
    pub files: Files,
    pub rpc: rpc::Pulse,
}

impl Pulse {
    async fn silent(&self, within: Duration) -> Vec<&'static str> {
        let parts = [
            ("network", self.net.is_alive().boxed()),
            ("calls", self.calls.is_alive().boxed()),
            ("messages", self.chat.is_alive().boxed()),
            ("files", self.files.is_alive().boxed()),
            ("clients", self.rpc.is_alive().boxed()),
        ];
        silent(parts, within).await
    }
}

/// Who does not answer within the time, or answers that it has ended.
async fn silent<const N: usize>(
    parts: [(&'static str, BoxFuture<'_, bool>); N],
    within: Duration,
) -> Vec<&'static str> {
    let asked = parts.map(|(name, alive)| async move { (name, timeout(within, alive).await.unwrap_or(false)) });
    join_all(asked).await.into_iter().filter(|(_, alive)| !alive).map(|(name, _)| name).collect()
}

/// Tasks that go on until this is dropped.
pub struct Reports(Vec<JoinHandle<()>>);

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Feeds the watchdog and keeps the sentence current.
pub fn report(pulse: Pulse, services: &Services) -> Reports {
    let mut tasks = Vec::new();
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        tasks.push(tokio::spawn(tell_status(pulse.net.clone(), services.rows())));
    }
    if let Some(every) = sd_notify::watchdog_enabled() {
        tasks.push(tokio::spawn(feed_watchdog(pulse, every)));
    }
    Reports(tasks)
}

/// Twice as often as the manager wants to hear, as sd_watchdog_enabled(3) advises; an answer may take a quarter.
async fn feed_watchdog(pulse: Pulse, every: Duration) {
    let mut beats = tokio::time::interval(every / 2);
    loop {
        beats.tick().await;
        let silent = pulse.silent(every / 4).await;
        if silent.is_empty() {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(?silent, "parts of the daemon do not answer: the watchdog is not fed");
        }
    }
}

async fn tell_status(net: Net, mut services: watch::Receiver<Arc<Vec<ServiceInfo>>>) {
    let mut peers = net.peers();
    let mut told = String::new();
    loop {
        let now = status(services.borrow_and_update().iter(), &peers.borrow_and_update());
        if now != told {
            notify(&[NotifyState::Status(&now)]);
            told = now;
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
        let changed = tokio::select! {
            changed = services.changed() => changed,
            changed = peers.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// `node, video, audio listening; 3 peers connected`, and first what is wrong.
fn status<'a>(services: impl Iterator<Item = &'a ServiceInfo>, peers: &[PeerInfo]) -> String {
    let (mut listening, mut text) = (Vec::new(), String::new());
    for service in services {
        match service.state {
            ServiceState::Listening => listening.push(service.name.as_str()),
            ServiceState::Failed => _ = write!(text, "{} failed: {}; ", service.name, service.error),
            ServiceState::Starting => _ = write!(text, "{} starting; ", service.name),
            ServiceState::Stopped => _ = write!(text, "{} stopped; ", service.name),
            ServiceState::Absent => {}
        }
    }
    if !listening.is_empty() {
        _ = write!(text, "{} listening; ", listening.join(", "));
    }
    match peers.iter().filter(|peer| peer.connected).count() {
        0 => text.push_str("no peer connected"),
        1 => text.push_str("1 peer connected"),
        several => _ = write!(text, "{several} peers connected"),
    }
    one_line(&text)
}

/// A line end would begin another message.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_STATUS_CHARS).collect()
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, state: ServiceState, error: &str) -> ServiceInfo {
        ServiceInfo {
            name: name.to_owned(),
            state,
            port: 0,
            wanted_port: 0,
            since_unix_ms: 0,
            error: error.to_owned(),
            next_try_s: 0,
            suggestion: String::new(),
        }
    }

    #[test]
    fn the_sentence_begins_with_what_is_wrong() {
        let rows = [
            service("node", ServiceState::Listening, ""),
            service("video", ServiceState::Failed, "port 9996 is taken"),
            service("audio", ServiceState::Listening, ""),
            service("chat", ServiceState::Absent, ""),
        ];
        let text = status(rows.iter(), &[]);
        assert_eq!(text, "video failed: port 9996 is taken; node, audio listening; no peer connected");
    }

    #[tokio::test]
    async fn the_part_that_is_stuck_is_named() {
        let parts = [
            ("network", std::future::ready(true).boxed()),
            ("calls", std::future::pending().boxed()),
            ("clients", std::future::ready(false).boxed()),
        ];
        assert_eq!(silent(parts, Duration::from_millis(1)).await, ["calls", "clients"]);
    }

    #[test]
    fn an_error_of_several_lines_is_one_message() {
        assert_eq!(one_line("bad\nREADY=1"), "bad READY=1");
        assert_eq!(one_line(&"x".repeat(1000)).len(), MAX_STATUS_CHARS);
    }
}
