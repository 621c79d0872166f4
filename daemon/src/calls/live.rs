//! What the daemon keeps of a call that goes on, beside the decisions: its media session, its clock, its publishers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kith_common::call::{CallInfo, CallState, Switch};
use kith_common::clock::{MonoTime, unix_ms};
use kith_common::target::Target;
use kith_core::call::Call;
use kith_core::clock_offset::OffsetEstimator;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::handle::Publish;
use super::ports::MediaSession;
use crate::media::hub::Hub;
use crate::media::{Candidate, ClockOffset, MAX_CANDIDATES, TransportParams};

/// Pings in quick succession when media starts: the smallest round trip of a few is close to the true one.
const BURST: u32 = 5;
const BURST_INTERVAL: Duration = Duration::from_millis(40);
/// Then as often as clocks drift and networks change.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How often the peer hears how many pictures were due, and that this side is there.
const MEDIA_INTERVAL: Duration = Duration::from_secs(1);
/// How often what others say of themselves (a name) is looked at again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// When the regular messages of a connected call are due.
#[derive(Debug)]
pub(super) struct Beat {
    burst: u32,
    next_ping: Instant,
    next_media: Instant,
}

/// What is due now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DueNow {
    pub ping: bool,
    pub media: bool,
}

impl Beat {
    pub fn new(now: Instant) -> Self {
        Self { burst: BURST, next_ping: now, next_media: now + MEDIA_INTERVAL }
    }

    pub fn next(&self) -> Instant {
        self.next_ping.min(self.next_media)
    }

    pub fn take_due(&mut self, now: Instant) -> DueNow {
        let due = DueNow { ping: now >= self.next_ping, media: now >= self.next_media };
        if due.ping {
            self.burst = self.burst.saturating_sub(1);
            self.next_ping = now + if self.burst > 0 { BURST_INTERVAL } else { PING_INTERVAL };
        }
        if due.media {
            self.next_media = now + MEDIA_INTERVAL;
        }
        due
    }
}

/// One call that goes on. Dropping it stops everything that was started for it but the media session's closing.
pub(super) struct Live<S> {
    /// Calls are counted from the start of the daemon.
    pub age: u64,
    pub hub: Hub,
    pub publish: Publish,
    /// To be connected to.
    pub target: Option<Target>,
    /// The same, for the log, which this call goes into or not.
    pub dialed: Option<Target>,
    pub logged: Switch,
    /// When it was placed or first rang; a machine that sleeps in the meantime counts it.
    pub began_unix_ms: i64,
    pub session: Option<Arc<S>>,
    /// Counts the sessions opened for this call: what an earlier one reports is not its business any more.
    pub attempt: u64,
    pub remote: Option<TransportParams>,
    /// Candidates of the peer that came before the session was connected.
    early: Vec<Candidate>,
    /// Candidates of this side that were found after the session was opened.
    found: Vec<Candidate>,
    pub peer_video_due: u64,
    /// Whether nothing arrives from the peer's media, by no way.
    pub stalled: watch::Sender<bool>,
    clock: OffsetEstimator,
    /// Set once media has been connected.
    pub beat: Option<Beat>,
    next_refresh: Instant,
    /// Accepted by the policy: a source of the daemon's own stands in for a client.
    pub unattended: bool,
    pub sources_started: bool,
    pub stats_started: bool,
    /// A person has used the camera switch.
    pub camera_chosen: bool,
    pub span: tracing::Span,
    /// Ended with the call.
    pub tasks: Vec<AbortOnDropHandle<()>>,
    /// Of the session: ended with it.
    pub session_tasks: Vec<AbortOnDropHandle<()>>,
}

impl<S: MediaSession> Live<S> {
    pub fn new(age: u64, hub: Hub, publish: Publish, span: tracing::Span, now: Instant) -> Self {
        Self {
            age,
            hub,
            publish,
            target: None,
            dialed: None,
            logged: Switch::On,
            began_unix_ms: unix_ms(),
            session: None,
            attempt: 0,
            remote: None,
            early: Vec::new(),
            found: Vec::new(),
            peer_video_due: 0,
            stalled: watch::Sender::new(false),
            clock: OffsetEstimator::new(),
            beat: None,
            next_refresh: now + REFRESH_INTERVAL,
            unattended: false,
            sources_started: false,
            stats_started: false,
            camera_chosen: false,
            span,
            tasks: Vec::new(),
            session_tasks: Vec::new(),
        }
    }

    /// Keeps a task for as long as the call lasts.
    pub fn keep(&mut self, task: tokio::task::JoinHandle<()>) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(AbortOnDropHandle::new(task));
    }

    pub fn keep_with_session(&mut self, task: tokio::task::JoinHandle<()>) {
        self.session_tasks.retain(|task| !task.is_finished());
        self.session_tasks.push(AbortOnDropHandle::new(task));
    }

    /// Starts media with what the peer's offer or accept said.
    pub fn connect(&mut self, now: Instant) -> Option<(Arc<S>, TransportParams)> {
        let session = self.session.clone()?;
        let remote = self.remote.clone()?;
        session.connect(remote.clone());
        for candidate in self.early.drain(..) {
            session.add_candidate(candidate);
        }
        session.set_peer_video_due(self.peer_video_due);
        self.beat = Some(Beat::new(now));
        Some((session, remote))
    }

    /// What the peer is to be told of this side's media path.
    pub fn transport(&self) -> Option<TransportParams> {
        let mut transport = self.session.as_ref()?.local();
        transport.candidates.extend(&self.found);
        Some(transport)
    }

    /// Remembers a candidate of this side for the offer or accept that is yet to be sent.
    pub fn keep_candidate(&mut self, candidate: Candidate) {
        if self.found.len() < MAX_CANDIDATES {
            self.found.push(candidate);
        }
    }

    /// The session is replaced: all that belonged to the old one goes.
    pub fn next_attempt(&mut self) -> Option<Arc<S>> {
        self.attempt += 1;
        self.stalled.send_replace(false);
        self.session_tasks.clear();
        self.found.clear();
        self.beat = None;
        self.session.take()
    }

    pub fn add_candidate(&mut self, candidate: Candidate) {
        match (&self.session, &self.beat) {
            (Some(session), Some(_)) => session.add_candidate(candidate),
            _ if self.early.len() < MAX_CANDIDATES => self.early.push(candidate),
            _ => {}
        }
    }

    pub fn handle_pong(&mut self, ping_sent: MonoTime, received: MonoTime, sent: MonoTime, now: MonoTime) {
        self.clock.handle_pong(ping_sent, received, sent, now);
        if let (Some(session), Some(offset)) = (&self.session, self.clock.offset()) {
            session
                .set_clock_offset(ClockOffset { micros: offset.micros, uncertainty_micros: offset.uncertainty_micros });
        }
    }

    pub fn handle_video_due(&mut self, pictures: u64) {
        self.peer_video_due = pictures;
        if let Some(session) = &self.session {
            session.set_peer_video_due(pictures);
        }
    }

    pub fn next_due(&self) -> Instant {
        self.beat.as_ref().map_or(self.next_refresh, |beat| beat.next().min(self.next_refresh))
    }

    /// Whether it is time to look at the peer's name again.
    pub fn take_refresh(&mut self, now: Instant) -> bool {
        let due = now >= self.next_refresh;
        if due {
            self.next_refresh = now + REFRESH_INTERVAL;
        }
        due
    }

    /// Shows clients how the call stands. An end is shown by whoever closes the session, after the last figures.
    pub fn show(&self, call: &Call, peer_name: &str, now: Instant) {
        show(&self.publish.info, call, peer_name, now);
    }

    pub fn stats_sender(&self) -> watch::Sender<Option<kith_common::call::CallStats>> {
        self.publish.stats.clone()
    }
}

pub(super) fn show(to: &watch::Sender<CallInfo>, call: &Call, peer_name: &str, now: Instant) {
    to.send_if_modified(|shown| {
        let info = describe(shown, call, peer_name, now);
        let changed = *shown != info;
        *shown = info;
        changed
    });
}

fn describe(shown: &CallInfo, call: &Call, peer_name: &str, now: Instant) -> CallInfo {
    let state = call.state();
    let for_ms = i64::try_from(now.saturating_duration_since(call.since).as_millis()).unwrap_or(0);
    CallInfo {
        id: call.id,
        peer: call.peer,
        peer_name: if peer_name.is_empty() { shown.peer_name.clone() } else { peer_name.to_owned() },
        direction: call.direction,
        kind: call.kind,
        state,
        // Computed once a state, so that it does not wander with the clocks.
        since_unix_ms: if shown.state == state && state != CallState::Dialing {
            shown.since_unix_ms
        } else if shown.state == state {
            shown.since_unix_ms.min(unix_ms() - for_ms)
        } else {
            unix_ms() - for_ms
        },
        path: call.path,
        transport: call.transport,
        microphone: call.local.microphone,
        camera: call.local.camera,
        peer_microphone: call.remote.map_or(Switch::Off, |remote| remote.microphone),
        peer_camera: call.remote.map_or(Switch::Off, |remote| remote.camera),
        peer_format: call.remote.and_then(|remote| remote.format),
        ending: call.ending.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_pings_go_out_quickly_and_then_one_every_two_seconds() {
        let start = Instant::now();
        let mut beat = Beat::new(start);
        let mut pings = Vec::new();
        for ms in 0..5000 {
            let now = start + Duration::from_millis(ms);
            if now >= beat.next() && beat.take_due(now).ping {
                pings.push(ms);
            }
        }
        assert_eq!(pings, [0, 40, 80, 120, 160, 2160, 4160]);
    }
}
