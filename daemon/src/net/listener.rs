//! The node's own port: probes it, listens on it, and keeps trying when another program has it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kith_common::clock::unix_ms;
use kith_common::node::{ServiceInfo, ServiceState};
use libp2p::Swarm;
use libp2p::core::transport::ListenerId;
use tokio::sync::watch;

use super::address;
use super::ports::{self, PortError};
use super::swarm::Node;

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A port that is taken for a minute is taken for a reason; half a minute is soon enough to notice that it is free.
const LAST_RETRY: Duration = Duration::from_secs(30);

pub(super) struct Listener {
    bind: Option<IpAddr>,
    wanted: u16,
    listening: Vec<ListenerId>,
    retry: Option<(Instant, Duration)>,
    row: watch::Sender<ServiceInfo>,
}

impl Listener {
    pub fn new(bind: Option<IpAddr>, wanted: u16) -> Self {
        let row = watch::Sender::new(ServiceInfo {
            name: "node".to_owned(),
            state: ServiceState::Starting,
            port: 0,
            wanted_port: wanted,
            since_unix_ms: unix_ms(),
            error: String::new(),
            next_try_s: 0,
            suggestion: String::new(),
        });
        Self { bind, wanted, listening: Vec::new(), retry: None, row }
    }

    pub fn subscribe(&self) -> watch::Receiver<ServiceInfo> {
        self.row.subscribe()
    }

    pub fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|(at, _)| at)
    }

    pub fn owns(&self, id: ListenerId) -> bool {
        self.listening.contains(&id)
    }

    /// Tries, unless it listens already or the next try is not due.
    pub fn poll(&mut self, swarm: &mut Swarm<Node>, now: Instant) {
        if !self.listening.is_empty() || self.retry.is_some_and(|(at, _)| now < at) {
            return;
        }
        let binds = ports::binds(self.bind);
        let outcome = ports::probe(&binds, self.wanted).and_then(|port| self.listen(swarm, &binds, port));
        match outcome {
            Ok(port) => {
                self.retry = None;
                tracing::info!(port, "listening");
                self.report(ServiceState::Listening, port, String::new(), String::new(), 0);
            }
            Err(error) => self.fail(&error, &binds, now),
        }
    }

    /// One of the listeners is gone, against our will: all are closed and opened again.
    pub fn lost(&mut self, swarm: &mut Swarm<Node>, reason: &str, now: Instant) {
        self.close(swarm);
        self.retry = Some((now + FIRST_RETRY, FIRST_RETRY));
        tracing::warn!(reason, "the listener closed");
        let error = format!("the listener closed: {reason}");
        self.report(ServiceState::Failed, 0, error, String::new(), retry_s(FIRST_RETRY));
    }

    pub fn close(&mut self, swarm: &mut Swarm<Node>) {
        for id in std::mem::take(&mut self.listening) {
            swarm.remove_listener(id);
        }
    }

    fn listen(&mut self, swarm: &mut Swarm<Node>, binds: &[IpAddr], port: u16) -> Result<u16, PortError> {
        for ip in binds {
            for address in address::of_socket((*ip, port).into()) {
                match swarm.listen_on(address) {
                    Ok(id) => self.listening.push(id),
                    Err(error) => {
                        self.close(swarm);
                        return Err(PortError::Other { port, source: std::io::Error::other(format!("{error:?}")) });
                    }
                }
            }
        }
        Ok(port)
    }

    fn fail(&mut self, error: &PortError, binds: &[IpAddr], now: Instant) {
        let wait = self.retry.map_or(FIRST_RETRY, |(_, last)| (last * 2).min(LAST_RETRY));
        self.retry = Some((now + wait, wait));
        let suggestion = match error {
            PortError::Taken(port) => ports::next_free(binds, *port).map_or_else(String::new, |free| {
                format!("port {free} is free: start with --node-port {free}, or stop the program that uses {port}")
            }),
            PortError::Forbidden(_) => "choose a port of 1024 or above with --node-port".to_owned(),
            PortError::NoSuchAddress(_) => {
                "choose one of this machine's addresses with --bind, or leave it out".to_owned()
            }
            PortError::Other { .. } => String::new(),
        };
        tracing::warn!(%error, suggestion, "not listening; trying again in {wait:?}");
        self.report(ServiceState::Failed, 0, error.to_string(), suggestion, retry_s(wait));
    }

    /// It listens, and something is wrong all the same.
    pub fn warn(&self, error: &str, suggestion: &str) {
        self.row.send_modify(|row| {
            error.clone_into(&mut row.error);
            suggestion.clone_into(&mut row.suggestion);
        });
    }

    fn report(&self, state: ServiceState, port: u16, error: String, suggestion: String, next_try_s: u32) {
        self.row.send_modify(|row| {
            if row.state != state {
                row.since_unix_ms = unix_ms();
            }
            row.state = state;
            row.port = port;
            row.error = error;
            row.suggestion = suggestion;
            row.next_try_s = next_try_s;
        });
    }
}

fn retry_s(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)
}
