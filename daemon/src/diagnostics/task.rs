//! The task that probes, and publishes what came of it each second.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::call::{CallState, Transport};
use kith_common::clock::unix_ms;
use kith_common::diagnostics::{LinkSample, NetworkState};
use kith_common::ids::PeerId;
use kith_core::probe::{Figures, SILENT_AFTER};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::history::{History, Second};
use super::prober::{Ask, Prober};
use super::state::{Asked, State};
use crate::calls::Calls;
use crate::media::Media;
use crate::net::{Bytes, DatagramFigures, Net};

/// How often something may be asked.
const TICK: Duration = Duration::from_millis(250);
/// Ticks of a second.
const SECOND: u32 = 4;

pub struct Published {
    pub network: watch::Sender<Arc<NetworkState>>,
    pub second: watch::Sender<Arc<Vec<LinkSample>>>,
    pub history: Arc<Mutex<History>>,
}

pub struct Task {
    net: Net,
    calls: Calls,
    media: Media,
    prober: Prober,
    state: State,
    published: Published,
}

fn figures(figures: Figures) -> DatagramFigures {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    DatagramFigures {
        rtt_ms: figures.rtt.map(milliseconds),
        jitter_ms: figures.jitter.map(milliseconds),
        loss: figures.loss.map(|loss| loss.worst()),
    }
}

impl Task {
    pub fn new(bind: Option<IpAddr>, net: Net, media: Media, calls: Calls, published: Published) -> Self {
        Self { net, calls, prober: Prober::new(media.clone()), media, state: State::new(bind), published }
    }

    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut answers = self.media.answers();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0_u32;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.prober.handle_tick(&self.net.reflectors(), Instant::now());
                    if count.is_multiple_of(SECOND) {
                        self.second();
                    }
                    count = count.wrapping_add(1);
                }
                Some(answer) = answers.recv() => self.prober.handle_answer(answer),
                ask = asks.recv() => match ask {
                    Some(ask) => self.prober.handle_ask(ask, Instant::now()),
                    // All handles are gone: nobody can look any more.
                    None => return,
                },
            }
        }
    }

    fn second(&mut self) {
        let now = Instant::now();
        let measured = self.prober.figures(now).into_iter().map(|(peer, one)| (peer, figures(one))).collect();
        self.net.set_datagram_figures(measured);
        let peers = Arc::clone(&self.net.peers().borrow());
        let standing = Arc::clone(&self.net.standing().borrow());
        let asked = Asked {
            observations: self.prober.observations(now),
            silent: self.prober.silent(SILENT_AFTER, now).collect(),
        };
        let state = self.state.assemble(&standing, &peers, &asked, now);
        self.published.network.send_if_modified(|published| {
            let changed = **published != state;
            if changed {
                *published = Arc::new(state);
            }
            changed
        });
        let traffic = self.net.traffic();
        let second = Second {
            at_unix_ms: unix_ms(),
            all: traffic.all(),
            by_peer: traffic.by_peer(),
            media: self.media_bytes(),
            peers: &peers,
        };
        let rows = self.published.history.lock().unwrap_or_else(PoisonError::into_inner).handle_second(second);
        self.published.second.send_replace(Arc::new(rows));
    }

    /// What calls carry by UDP. What goes through a tunnel is a stream, and counted as one.
    fn media_bytes(&self) -> BTreeMap<PeerId, Bytes> {
        let mut by_peer: BTreeMap<PeerId, Bytes> = BTreeMap::new();
        for call in self.calls.list() {
            let (CallState::Active, Transport::Udp, Some(peer)) = (call.state, call.transport, call.peer) else {
                continue;
            };
            let Some(handle) = self.calls.get(call.id) else { continue };
            let stats = handle.stats();
            let Some(stats) = stats.borrow().clone() else { continue };
            // Rates are never negative; `as` saturates.
            let bytes = |kbps: f64| (kbps * 125.0) as u64;
            let sum = by_peer.entry(peer).or_default();
            sum.sent += bytes(stats.video_kbps_out + stats.audio_kbps_out);
            sum.received += bytes(stats.video_kbps_in + stats.audio_kbps_in);
        }
        by_peer
    }
}
