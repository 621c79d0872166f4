//! The node's own port: does what [`kith_core::listener`] decides about it.
//!
//! Closing it ends the QUIC connections on it, because a QUIC connection is packets of that very socket; connections over
//! TCP stay (facts/network.md 8).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kith_common::node::ServiceState;
use kith_core::listener::{Action, Listener as Core, Order, Refusal, Status, Why};
use libp2p::Swarm;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::{Multiaddr, Protocol};
use tokio::sync::watch;

use super::holder::Holder;
use super::ports::{self, PortError};
use super::swarm::Node;
use super::{Carrier, NetConfig, address};

/// How the services call it.
const NAME: &str = "node";
/// How long after closing a QUIC listener its port may still be ours: some 0.6 s were measured (facts/network.md 8).
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// What stopping costs, for the row.
const STOPPED: &str = "connections over QUIC were closed with the port, those over TCP go on; nobody can connect to this \
                       node, and it can still call: kithctl services start node";

pub(super) struct Listener {
    carrier: Carrier,
    bind: Option<IpAddr>,
    core: Core,
    listening: Vec<ListenerId>,
    /// Ports that were closed a moment ago.
    released: Vec<(u16, Instant)>,
    /// What is wrong although it listens, and what to do.
    warning: Option<(String, String)>,
    row: watch::Sender<Status>,
}

impl Listener {
    pub fn new(config: &NetConfig, now: Instant) -> Self {
        let core = Core::new(config.port, config.begin, config.taken_port, now);
        let row = watch::Sender::new(core.status().clone());
        let mut listener = Self {
            carrier: config.carrier,
            bind: config.bind,
            core,
            listening: Vec::new(),
            released: Vec::new(),
            warning: None,
            row,
        };
        listener.report();
        listener
    }

    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.row.subscribe()
    }

    pub fn retry_at(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    pub fn owns(&self, id: ListenerId) -> bool {
        self.listening.contains(&id)
    }

    pub fn is_stopped(&self) -> bool {
        self.core.status().state == ServiceState::Stopped
    }

    /// Does what is due.
    pub fn poll(&mut self, swarm: &mut Swarm<Node>, now: Instant) {
        self.core.handle_timeout(now);
        self.act(swarm, now);
    }

    /// What a person asks for; the row as it is then.
    pub fn handle_order(&mut self, swarm: &mut Swarm<Node>, order: Order, now: Instant) -> Status {
        self.core.handle_order(order, now);
        self.act(swarm, now);
        self.row.borrow().clone()
    }

    /// One of the listeners is gone, against our will: all are closed and opened again.
    pub fn lost(&mut self, swarm: &mut Swarm<Node>, reason: &str, now: Instant) {
        tracing::warn!(reason, "the listener closed");
        self.core.handle_lost(reason, now);
        self.act(swarm, now);
    }

    pub fn close(&mut self, swarm: &mut Swarm<Node>) {
        for id in std::mem::take(&mut self.listening) {
            swarm.remove_listener(id);
        }
    }

    fn act(&mut self, swarm: &mut Swarm<Node>, now: Instant) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Close => {
                    self.released.retain(|(_, at)| now < *at + RELEASED_WITHIN);
                    self.released.push((self.row.borrow().port, now));
                    self.close(swarm);
                }
                Action::Bind { port } => match self.open(swarm, port) {
                    Ok(port) => {
                        tracing::info!(port, "listening");
                        self.core.handle_bound(port, now);
                    }
                    Err(error) => self.refused(&error, now),
                },
            }
        }
        self.report();
    }

    fn open(&mut self, swarm: &mut Swarm<Node>, wanted: u16) -> Result<u16, PortError> {
        let (port, addresses) = match self.carrier {
            Carrier::Sockets => {
                let binds = ports::binds(self.bind);
                let port = ports::probe(&binds, wanted)?;
                (port, binds.iter().flat_map(|ip| address::of_socket((*ip, port).into())).collect())
            }
            // 0: any that is free.
            Carrier::Memory => (wanted, vec![Multiaddr::from(Protocol::Memory(0))]),
        };
        for address in addresses {
            match swarm.listen_on(address) {
                Ok(id) => self.listening.push(id),
                Err(error) => {
                    self.close(swarm);
                    return Err(PortError::Other { port, source: std::io::Error::other(format!("{error:?}")) });
                }
            }
        }
        Ok(port)
    }

    fn refused(&mut self, error: &PortError, now: Instant) {
        let closing = |(released, at): &(u16, Instant)| {
            let own = matches!(error, PortError::Taken { port, holder: Holder::Ourselves, .. } if port == released);
            own && now < *at + RELEASED_WITHIN
        };
        let refusal = if self.released.iter().any(closing) {
            Refusal { why: Why::Closing, error: error.to_string(), suggestion: String::new() }
        } else {
            error.refusal(NAME, &ports::binds(self.bind), &ports::BOTH)
        };
        tracing::debug!(%error, refusal.suggestion, "the port cannot be had");
        self.core.handle_refused(refusal, now);
    }

    /// It listens, and something is wrong all the same.
    pub fn warn(&mut self, error: &str, suggestion: &str) {
        self.warning = (!error.is_empty()).then(|| (error.to_owned(), suggestion.to_owned()));
        self.report();
    }

    fn report(&mut self) {
        let mut new = self.core.status().clone();
        if new.state == ServiceState::Stopped {
            STOPPED.clone_into(&mut new.suggestion);
        }
        if let Some((error, suggestion)) = self.warning.clone()
            && new.state == ServiceState::Listening
        {
            (new.error, new.suggestion) = (error, suggestion);
        }
        self.row.send_if_modified(|row| {
            if new.state == ServiceState::Failed && new.error != row.error {
                tracing::warn!(error = new.error, suggestion = new.suggestion, "not listening");
            }
            let changed = *row != new;
            *row = new;
            changed
        });
    }
}
