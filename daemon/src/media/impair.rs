//! A worse network than the real one, for `kithctl test-call` and for tests: everything that enters or leaves one media
//! socket passes two emulated links, with loss, delay, rate and queue.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kith_core::link::{Link, LinkConfig};
use tokio::sync::{mpsc, watch};

use super::params::Impairment;

/// Packets on their way to the task that owns the links; more than a socket's buffer holds would only add delay.
const QUEUE: usize = 1024;
/// Of IPv4 and UDP, which use the emulated bottleneck too.
const HEADERS: usize = 28;

/// A packet at the socket.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub data: Vec<u8>,
    /// The other end.
    pub address: SocketAddr,
    /// When it was received, or handed over for sending.
    pub at: Instant,
}

/// The socket's side of the emulated links.
pub struct Impairer {
    active: AtomicBool,
    config: watch::Sender<Option<Impairment>>,
    outward: mpsc::Sender<Datagram>,
    inward: mpsc::Sender<Datagram>,
}

fn link_config(impairment: Impairment, seed: u64) -> LinkConfig {
    LinkConfig {
        delay: impairment.delay,
        loss: impairment.loss,
        rate_bps: impairment.rate_bps,
        queue: Duration::from_millis(300),
        seed,
        ..LinkConfig::default()
    }
}

impl Impairer {
    /// `send` and `deliver` are where packets go that have passed; the task ends with the `Impairer`.
    pub fn spawn(
        initial: Option<Impairment>,
        send: impl Fn(Datagram) + Send + 'static,
        deliver: impl Fn(Datagram) + Send + 'static,
    ) -> Self {
        let (config, changes) = watch::channel(initial);
        let (outward, out_queue) = mpsc::channel(QUEUE);
        let (inward, in_queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(changes, out_queue, in_queue, send, deliver));
        Self { active: AtomicBool::new(initial.is_some()), config, outward, inward }
    }

    pub fn set(&self, impairment: Option<Impairment>) {
        self.active.store(impairment.is_some(), Ordering::Release);
        self.config.send_replace(impairment);
    }

    /// Takes a packet that would leave; gives it back when the network is not to be made worse.
    pub fn outward(&self, packet: Datagram) -> Option<Datagram> {
        self.pass(&self.outward, packet)
    }

    /// The same for a packet that has come.
    pub fn inward(&self, packet: Datagram) -> Option<Datagram> {
        self.pass(&self.inward, packet)
    }

    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    fn pass(&self, queue: &mpsc::Sender<Datagram>, packet: Datagram) -> Option<Datagram> {
        if !self.is_active() {
            return Some(packet);
        }
        // A full queue loses the packet, as a socket's would.
        let _ = queue.try_send(packet);
        None
    }
}

async fn run(
    mut changes: watch::Receiver<Option<Impairment>>,
    mut outward: mpsc::Receiver<Datagram>,
    mut inward: mpsc::Receiver<Datagram>,
    send: impl Fn(Datagram),
    deliver: impl Fn(Datagram),
) {
    let initial = changes.borrow_and_update().unwrap_or_default();
    let mut out_link = Link::new(link_config(initial, 1), Instant::now());
    let mut in_link = Link::new(link_config(initial, 2), Instant::now());
    loop {
        let next = [out_link.poll_timeout(), in_link.poll_timeout()].into_iter().flatten().min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let config = changes.borrow_and_update().unwrap_or_default();
                out_link.set_config(link_config(config, 1), Instant::now());
                in_link.set_config(link_config(config, 2), Instant::now());
            }
            Some(packet) = outward.recv() => {
                let bytes = packet.data.len() + HEADERS;
                out_link.send(packet.at, packet, bytes);
            }
            Some(packet) = inward.recv() => {
                let bytes = packet.data.len() + HEADERS;
                in_link.send(packet.at, packet, bytes);
            }
            () = timer => {}
        }
        let now = Instant::now();
        while let Some(packet) = out_link.pop(now) {
            send(Datagram { at: now, ..packet });
        }
        while let Some(packet) = in_link.pop(now) {
            deliver(Datagram { at: now, ..packet });
        }
    }
}
