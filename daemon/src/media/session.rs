//! The handle of one call's media: what `calls` holds. The work is done by the task in `driver`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kith_common::call::{CallStats, Medium, Switch};
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::Path;
use str0m::Rtc;
use str0m::bwe::Bitrate;
use str0m::config::DtlsVersion;
use str0m::rtp::Extension;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use super::addresses;
use super::candidates::Candidates;
use super::driver::{Command, Driver, Setup};
use super::hub::Hub;
use super::params::{
    Candidate, CandidateKind, ClockOffset, MAX_CANDIDATES, SessionEvent, SessionSpec, TransportParams,
};
use super::pipeline::MakeCodecs;
use super::socket::{Lease, Port, SESSION_QUEUE};
use super::tunnel::Tunnel;

/// Commands come from signalling, a few a second; candidates are counted separately.
const COMMANDS: usize = 64;
/// Events are few; a caller that never reads loses the newest.
const EVENTS: usize = 128;
/// The extension of the capture time, the same on both sides.
const CAPTURE_TIME_ID: u8 = 9;
/// The bandwidth estimate to begin with. In one's own network the first picture should not wait for a cautious pacer;
/// reports of growing delay correct a wrong guess within a quarter of a second.
const START_NEAR_BPS: u64 = 2_000_000;
const START_FAR_BPS: u64 = 800_000;

/// After this long an unanswered ICE check is repeated, then after twice the time, and so on.
const FIRST_CHECK_AGAIN: Duration = Duration::from_millis(80);

/// The handle of a session. Dropping it ends the session and all its threads.
pub struct Session {
    local: TransportParams,
    /// Found since.
    observed: Arc<Mutex<Vec<Candidate>>>,
    commands: mpsc::Sender<Command>,
    events: Option<mpsc::Receiver<SessionEvent>>,
    stats: watch::Receiver<CallStats>,
    candidates: AtomicUsize,
    hub: Hub,
    /// What the source had captured before the session was connected; `u64::MAX`: not connected yet.
    captured_before: Arc<AtomicU64>,
}

impl Session {
    /// Makes the certificate and the ICE credentials and starts the task; nothing is sent to the peer.
    pub(super) fn open(
        spec: SessionSpec,
        lease: Lease,
        reflectors: Vec<SocketAddr>,
        make_codecs: MakeCodecs,
    ) -> Result<Self, Failure> {
        let port = Arc::clone(lease.port());
        let hosts = addresses::hosts(&port, spec.lan_peer);
        let near = spec.lan_peer.is_some_and(|ip| addresses::path_to(ip) == Path::Lan);
        let start_bps = if near { START_NEAR_BPS } else { START_FAR_BPS };
        let mut rtc = build(start_bps);
        let credentials = rtc.direct_api().local_ice_credentials();
        let fingerprint = rtc.direct_api().local_dtls_fingerprint().clone();
        // The socket is one base a family whatever the interfaces: the kernel picks the source address.
        let bases: Vec<SocketAddr> = [false, true]
            .into_iter()
            .filter_map(|v6| hosts.iter().copied().find(|host| host.is_ipv6() == v6))
            .collect();
        for base in &bases {
            let host = str0m::Candidate::host(*base, "udp").map_err(|error| {
                Failure::new(FailureKind::Internal, format!("The address {base} cannot carry media: {error}."))
            })?;
            rtc.add_local_candidate(host);
        }
        let (inbox, packets) = mpsc::channel(SESSION_QUEUE);
        let registration = Port::register(lease, &credentials.ufrag, inbox);
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (event_queue, events) = mpsc::channel(EVENTS);
        let (stats_sender, stats) = watch::channel(CallStats::default());
        let hub = spec.hub.clone();
        let captured_before = Arc::new(AtomicU64::new(u64::MAX));
        let observed = Arc::new(Mutex::default());
        let local = TransportParams {
            ice_ufrag: credentials.ufrag,
            ice_pwd: credentials.pass,
            fingerprint_algorithm: fingerprint.hash_func,
            fingerprint: fingerprint.bytes,
            candidates: hosts.iter().map(|&address| Candidate { kind: CandidateKind::Host, address }).collect(),
            tunnel: true,
        };
        let driver = Driver::new(Setup {
            spec,
            make_codecs: Some(make_codecs),
            rtc,
            port,
            registration,
            bases,
            candidates: Candidates::new(hosts, reflectors, Instant::now()),
            start_bps,
            packets,
            commands: command_queue,
            events: event_queue,
            stats: stats_sender,
            captured_before: Arc::clone(&captured_before),
            found: Arc::clone(&observed),
        });
        driver.spawn();
        let (events, candidates) = (Some(events), AtomicUsize::new(0));
        Ok(Self { local, observed, commands, events, stats, candidates, hub, captured_before })
    }

    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::debug!("the session is over or overrun; a command is lost");
        }
    }

    /// What the peer must be told, with the candidates known so far; later ones come as events, which the caller may get
    /// before it has a way to tell the peer.
    pub fn local(&self) -> TransportParams {
        let mut local = self.local.clone();
        // A panic elsewhere leaves the list whole.
        local.candidates.extend_from_slice(&self.observed.lock().unwrap_or_else(PoisonError::into_inner));
        local
    }

    /// Starts ICE, DTLS and the codecs. Only the first call counts.
    pub fn connect(&self, remote: TransportParams) {
        self.command(Command::Connect(Box::new(remote)));
    }

    /// A candidate of the peer that came after its parameters. More than [`MAX_CANDIDATES`] are ignored.
    pub fn add_candidate(&self, candidate: Candidate) {
        if self.candidates.fetch_add(1, Ordering::Relaxed) < MAX_CANDIDATES {
            self.command(Command::Candidate(candidate));
        }
    }

    /// Gives the session a reliable stream to the peer to fall back on. A newer one replaces it.
    pub fn attach_tunnel(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.command(Command::Tunnel(Tunnel::new(stream)));
    }

    /// What to call the path when media runs over the tunnel. Until told: that to `lan_peer`, or `Relayed` without one.
    pub fn set_tunnel_path(&self, path: Path) {
        self.command(Command::TunnelPath(path));
    }

    pub fn set_clock_offset(&self, offset: ClockOffset) {
        self.command(Command::Offset(offset));
    }

    /// Off: nothing of it is sent.
    pub fn set_switch(&self, medium: Medium, state: Switch) {
        self.command(Command::Switch(medium, state));
    }

    /// Pictures that the peer's source has captured so far, as it signals.
    pub fn set_peer_video_due(&self, pictures: u64) {
        self.command(Command::PeerVideoDue(pictures));
    }

    /// Pictures that the source here has captured since the session was connected, to be signalled.
    pub fn video_due(&self) -> u64 {
        match self.captured_before.load(Ordering::Acquire) {
            u64::MAX => 0,
            before => self.hub.video_captured().saturating_sub(before),
        }
    }

    /// What happens; only the first caller gets it.
    pub fn events(&mut self) -> mpsc::Receiver<SessionEvent> {
        self.events.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Figures, renewed every second.
    pub fn stats(&self) -> watch::Receiver<CallStats> {
        self.stats.clone()
    }

    /// Ends the session and returns its final figures.
    pub async fn close(&self) -> CallStats {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok()
            && let Ok(stats) = done.await
        {
            return *stats;
        }
        self.stats.borrow().clone()
    }
}

fn build(start_bps: u64) -> Rtc {
    let mut config = Rtc::builder()
        .clear_codecs()
        .enable_av1(true)
        .enable_opus(true, true)
        .enable_bwe(Some(Bitrate::bps(start_bps)))
        // The default of 15 holds sound back 300 ms after each loss (facts/media.md 6).
        .set_reordering_size_audio(2)
        .set_dtls_version(DtlsVersion::Auto)
        .set_extension(CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime)
        .set_stats_interval(Some(Duration::from_secs(1)))
        .set_rtcp_report_interval_audio(Duration::from_secs(1));
    // Between two routers the first check of one side is always dropped; the second should not wait a quarter of a second.
    config.set_initial_stun_rto(FIRST_CHECK_AGAIN);
    config.build(Instant::now())
}
