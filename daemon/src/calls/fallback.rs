//! The way beside UDP: a reliable stream to the peer, kept as long as the call lasts, so that media can go on there.
//!
//! The caller opens it and the callee takes what comes; the newest counts on both sides. It may be dead without saying so,
//! as when one of the two has another address than before: so while nothing arrives at all, the connections to the peer
//! are asked for a sign of life, and another stream is opened every second, on whichever connection is the newest then.

use std::time::Duration;

use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::{CallId, PeerId};
use kith_common::target::Target;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ports::{Engine, Network};
use super::task::{Event, Task};
use super::watched::watched;
use crate::net::Stream;

/// First pause before a tunnel that failed or ended is opened again; doubled up to the limit.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_LIMIT: Duration = Duration::from_secs(2);
/// A tunnel carries something by then, or is as dead as the one before.
const PROVEN: Duration = Duration::from_secs(1);
/// Finding a peer that no connection leads to any more.
const FIND_WITHIN: Duration = Duration::from_secs(2);

/// What the tunnels of one call need.
pub(super) struct Fallback<N, S> {
    pub net: N,
    pub peer: PeerId,
    pub call: CallId,
    pub wire: CallId,
    pub attempt: u64,
    /// Whether nothing arrives, by no way.
    pub stalled: watch::Receiver<bool>,
    pub events: mpsc::Sender<Event<S>>,
}

impl<N: Network, S> Fallback<N, S> {
    /// Opens one tunnel after the other, until nobody wants them.
    pub async fn keep(mut self) {
        let mut pause = RETRY;
        loop {
            let began = Instant::now();
            let opened = tokio::select! {
                opened = open(&self.net, self.peer, self.wire) => opened,
                () = stalled(&mut self.stalled, began + PROVEN) => continue,
            };
            match opened {
                Ok(stream) => {
                    let (stream, gone) = watched(stream);
                    let opened = Event::TunnelOpened { call: self.call, attempt: self.attempt, stream };
                    if self.events.send(opened).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        () = gone => {}
                        () = stalled(&mut self.stalled, began + PROVEN) => continue,
                    }
                    if began.elapsed() > PROVEN {
                        pause = RETRY;
                    }
                }
                Err(failure) => {
                    tracing::debug!("no tunnel: {failure}");
                    if self.net.facts(self.peer).tunnel_path.is_none() {
                        // Whichever of the two finds the other first.
                        let _ = timeout(FIND_WITHIN, self.net.connect(Target::Peer(self.peer))).await;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_LIMIT);
        }
    }
}

/// A tunnel that says which call it is for.
async fn open(net: &impl Network, peer: PeerId, wire: CallId) -> Result<Stream, Failure> {
    let mut stream = net.open_tunnel(peer).await?;
    let hello = async {
        stream.write_all(wire.as_bytes()).await?;
        stream.flush().await
    };
    hello.await.map_err(|error: std::io::Error| {
        Failure::new(FailureKind::Unreachable, format!("the tunnel was lost at once: {error}"))
    })?;
    Ok(stream)
}

/// Ready when nothing arrives, from `since` on.
async fn stalled(stalled: &mut watch::Receiver<bool>, since: Instant) {
    sleep_until(since).await;
    if stalled.wait_for(|stalled| *stalled).await.is_err() {
        // The call is over, and ends this task too.
        std::future::pending().await
    }
}

impl<N: Network, E: Engine> Task<N, E> {
    /// Media of this call has begun or ceased to arrive.
    pub fn media_stalled(&self, id: CallId, stalled: bool) {
        if let Some(live) = self.live.get(&id) {
            live.stalled.send_replace(stalled);
        }
        if stalled {
            self.doubt(id);
        }
    }

    /// Asks what leads to the peer for a sign of life, if nothing arrives.
    pub fn doubt(&self, id: CallId) {
        let stalled = self.live.get(&id).is_some_and(|live| *live.stalled.borrow());
        if let Some(peer) = self.book.get(id).and_then(|call| call.peer).filter(|_| stalled) {
            self.net.doubt(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    use kith_common::node::Path;
    use tokio::io::DuplexStream;

    use super::super::ports::PeerFacts;
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// To one peer, which may be lost until it is looked for, and never says a word.
    #[derive(Clone, Default)]
    struct Silence {
        lost: Arc<AtomicBool>,
        far_ends: Arc<Mutex<Vec<DuplexStream>>>,
    }

    impl Network for Silence {
        fn peer_id(&self) -> PeerId {
            PeerId::from_public_key([1; 32])
        }

        async fn connect(&self, _: Target) -> Result<PeerId, Failure> {
            self.lost.store(false, Ordering::Relaxed);
            Ok(self.peer_id())
        }

        async fn open_signal(&self, peer: PeerId) -> Result<Stream, Failure> {
            self.open_tunnel(peer).await
        }

        async fn open_tunnel(&self, _: PeerId) -> Result<Stream, Failure> {
            if self.lost.load(Ordering::Relaxed) {
                return Err(Failure::new(FailureKind::NotFound, "this peer is not connected"));
            }
            let (near, far) = tokio::io::duplex(64);
            self.far_ends.lock().unwrap_or_else(PoisonError::into_inner).push(far);
            Ok(Box::new(near))
        }

        fn doubt(&self, _: PeerId) {}

        fn facts(&self, _: PeerId) -> PeerFacts {
            let connected = !self.lost.load(Ordering::Relaxed);
            PeerFacts { tunnel_path: connected.then_some(Path::Relayed), ..PeerFacts::default() }
        }
    }

    struct Kept {
        net: Silence,
        stalled: watch::Sender<bool>,
        events: mpsc::Receiver<Event<()>>,
        _task: tokio_util::task::AbortOnDropHandle<()>,
    }

    impl Kept {
        fn new() -> Self {
            let (net, stalled, (sender, events)) = (Silence::default(), watch::Sender::new(false), mpsc::channel(8));
            let (peer, call) = (PeerId::from_public_key([2; 32]), CallId::from_bytes([7; 16]));
            let fallback = Fallback {
                net: net.clone(),
                peer,
                call,
                wire: call,
                attempt: 1,
                stalled: stalled.subscribe(),
                events: sender,
            };
            let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(fallback.keep()));
            Self { net, stalled, events, _task: task }
        }

        async fn tunnel(&mut self) -> Stream {
            match timeout(SOON, self.events.recv()).await {
                Ok(Some(Event::TunnelOpened { stream, .. })) => stream,
                _ => panic!("no tunnel was opened"),
            }
        }
    }

    #[tokio::test]
    async fn while_nothing_arrives_other_tunnels_are_opened_though_the_last_seems_to_stand() {
        let mut kept = Kept::new();
        let first = kept.tunnel().await;
        assert!(kept.events.try_recv().is_err());
        kept.stalled.send_replace(true);
        let _held = (first, kept.tunnel().await, kept.tunnel().await);
    }

    #[tokio::test]
    async fn a_peer_that_is_lost_is_looked_for() {
        let mut kept = Kept::new();
        let first = kept.tunnel().await;
        kept.net.lost.store(true, Ordering::Relaxed);
        drop(first);
        kept.tunnel().await;
        assert!(!kept.net.lost.load(Ordering::Relaxed));
    }
}
