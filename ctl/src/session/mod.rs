//! One call as the command line takes part in it: sources in, pictures and sound out, the timeline, and a clean end.

mod cpu;
mod device;
mod figures;
pub mod interrupt;
mod play;
mod receive;
mod record;
pub mod source;
mod timeline;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_common::call::{CallInfo, CallOptions, CallState, CallStats, EndReason, Ending, Stage, Switch};
use kith_common::client::{CallEvent, ClientCall, Feed};
use kith_common::clip::FrameRate;
use kith_common::clock::MonoTime;
use kith_common::failure::{Failure, FailureKind};
use kith_common::media::Size;
use tokio::sync::mpsc;
use tokio::time::Instant;

use cpu::CpuMeter;
use device::{Playback, Sources};
use figures::Figures;
use interrupt::Interrupt;
use play::Gate;
pub use play::SendTimes;
use record::{Recorder, Writing};
use source::{AudioSource, Pictures, Sounds, VideoSource};
use timeline::Timeline;

use crate::output::Output;
use crate::stop::{Exit, Stop, of_ending};

/// How long a call may take to end after it was told to.
const ENDING: Duration = Duration::from_secs(5);
/// Things to tell that wait to be printed; more at once would be the same trouble again and again.
const NOTICES: usize = 16;

/// What this side sends as pictures.
pub enum Video {
    None,
    Made(Pictures),
    Camera { number: Option<u32>, or_test: OrTest },
}

/// What this side sends as sound.
pub enum Audio {
    None,
    Made(Sounds),
    Microphone { name: Option<String>, or_test: OrTest },
}

/// Whether the test source stands in for a device that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OrTest {
    Yes,
    No,
}

/// How to change the link in the middle of a call.
pub struct LinkChange {
    pub after: Duration,
    pub change: Box<dyn FnOnce() -> Result<(), Stop>>,
}

/// Everything that is known before the call.
pub struct Plan {
    pub video: Video,
    pub audio: Audio,
    pub recording: Option<(Recorder, Writing)>,
    /// Counted from when the call is active.
    pub limit: Option<Duration>,
    /// For a call to an echo node: measures the way there and back.
    pub sent: Option<Arc<SendTimes>>,
    /// Processes whose CPU time is measured.
    pub processes: Vec<u32>,
    pub link_change: Option<LinkChange>,
}

/// The picture that people without a camera send.
fn usual_test() -> Pictures {
    let size = Size::new(640, 360).expect("a legal size");
    Pictures::test(size, FrameRate::new(30, 1).expect("a usable rate"))
}

impl Plan {
    /// Opens what can fail before anybody is called.
    pub fn new(
        video: Option<&VideoSource>,
        audio: Option<&AudioSource>,
        record: Option<&Path>,
        limit: Option<Duration>,
    ) -> Result<Self, Stop> {
        let video = match video {
            None => Video::Camera { number: None, or_test: OrTest::Yes },
            Some(VideoSource::Camera(number)) => Video::Camera { number: *number, or_test: OrTest::No },
            Some(VideoSource::Test) => Video::Made(usual_test()),
            Some(VideoSource::None) => Video::None,
            Some(VideoSource::File(path)) => Video::Made(Pictures::file(path)?),
        };
        let audio = match audio {
            None => Audio::Microphone { name: None, or_test: OrTest::Yes },
            Some(AudioSource::Microphone(name)) => Audio::Microphone { name: name.clone(), or_test: OrTest::No },
            Some(AudioSource::Test) => Audio::Made(Sounds::test()),
            Some(AudioSource::None) => Audio::None,
            Some(AudioSource::File(path)) => Audio::Made(Sounds::file(path)?),
        };
        let recording = record.map(Recorder::start).transpose()?;
        let (sent, processes, link_change) = (None, Vec::new(), None);
        Ok(Self { video, audio, recording, limit, sent, processes, link_change })
    }

    /// The switches that go with the sources.
    pub fn switches(&self) -> CallOptions {
        let switch = |none: bool| if none { Switch::Off } else { Switch::On };
        CallOptions {
            microphone: switch(matches!(self.audio, Audio::None)),
            camera: switch(matches!(self.video, Video::None)),
            ..CallOptions::default()
        }
    }
}

/// The figures are added to by the receiving threads and read by the timeline.
#[derive(Clone)]
pub(crate) struct SharedFigures(Arc<Mutex<Figures>>);

impl SharedFigures {
    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes part in a call until it ends. `answer`: the options to answer it with, if it is one that rings here.
pub async fn run(call: ClientCall, plan: Plan, answer: Option<CallOptions>, output: &Output) -> Result<(), Stop> {
    let events = call.watch().await?;
    let info = call.info().await?;
    let mut interrupt = Interrupt::new()?;
    let (notices, mut told) = mpsc::channel(NOTICES);
    let figures = SharedFigures(Arc::new(Mutex::new(Figures::new(plan.sent.clone()))));
    let gate = Gate::default();
    let recorder = plan.recording.as_ref().map(|(recorder, _)| recorder.clone());
    let mut running = Running {
        call: call.clone(),
        info,
        stats: CallStats::default(),
        gate: gate.clone(),
        figures: figures.clone(),
        recorder: recorder.clone(),
        cpu: CpuMeter::new(plan.processes),
        limit: plan.limit,
        link_change: plan.link_change,
        wake: None,
        ending_by: None,
        timeline: Timeline::new(*output),
    };
    let playback = Playback::default();
    let receiving = receive::start(&call, &figures, recorder.as_ref(), &playback, &notices).await;
    drop(recorder);
    let sources = Sources { call: call.clone(), gate: gate.clone(), sent: plan.sent, notices, playback };
    let (camera, microphone) = sources.start_made(plan.video, plan.audio).await;
    if let Some(options) = answer {
        figures.lock().accepted(MonoTime::now());
        if let Err(failure) = call.answer(options).await {
            running.timeline.notice(&format!("kithctl: {failure}"));
        }
    }
    sources.open_devices(camera, microphone);
    let result = running.watch(events, &mut interrupt, &mut told).await;
    gate.close();
    receiving.stop();
    while let Ok(notice) = told.try_recv() {
        running.timeline.notice(&notice);
    }
    let recorded = finish_recording(&mut running, plan.recording);
    running.report_end(&result);
    recorded.and(match result {
        Ok(ending) => of_ending(&ending),
        Err(failure) => Err(failure.into()),
    })
}

fn finish_recording(running: &mut Running, recording: Option<(Recorder, Writing)>) -> Result<(), Stop> {
    running.recorder = None;
    let Some((recorder, writing)) = recording else { return Ok(()) };
    drop(recorder);
    match writing.join() {
        Ok(Ok(recorded)) => {
            let seconds = recorded.samples as f64 / f64::from(kith_common::media::SAMPLE_RATE);
            let said = format!("Recorded {} pictures and {seconds:.1} s of sound.", recorded.pictures);
            running.timeline.notice(&said);
            if recorded.lost > 0 {
                let lost = format!(
                    "kithctl: {} pictures or chunks of sound are missing: the disk was too slow.",
                    recorded.lost
                );
                running.timeline.notice(&lost);
            }
            Ok(())
        }
        Ok(Err(error)) => Err(Stop::failed(format!("the recording is not whole: {error}"))),
        Err(_) => Err(Stop::failed("the recording is not whole: its thread failed")),
    }
}

struct Running {
    call: ClientCall,
    info: CallInfo,
    stats: CallStats,
    gate: Gate,
    figures: SharedFigures,
    recorder: Option<Recorder>,
    cpu: CpuMeter,
    limit: Option<Duration>,
    link_change: Option<LinkChange>,
    /// Counted from when the call was active.
    wake: Option<Instant>,
    /// Set when the call was told to end.
    ending_by: Option<Instant>,
    timeline: Timeline,
}

impl Running {
    async fn watch(
        &mut self,
        mut events: Feed<CallEvent>,
        interrupt: &mut Interrupt,
        told: &mut mpsc::Receiver<String>,
    ) -> Result<Ending, Failure> {
        let lost = || Failure::new(FailureKind::NoDaemon, "the connection to the daemon was lost in the call");
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if let Some(ending) = self.event(event) {
                            return Ok(ending);
                        }
                    }
                    Some(Err(failure)) => return Err(failure),
                    None => return Err(lost()),
                },
                () = interrupt.asked() => {
                    if self.ending_by.is_some() {
                        return Ok(Ending::by(EndReason::Local));
                    }
                    self.hang_up();
                }
                Some(notice) = told.recv() => self.timeline.notice(&notice),
                () = at(self.wake) => self.woken(),
                () = at(self.ending_by) => {
                    let message = "the call was told to end, and did not";
                    return Err(Failure::new(FailureKind::Internal, message).advise("`kithctl calls` shows whether it goes on."));
                }
            }
        }
    }

    /// `Some` when the call is over.
    fn event(&mut self, event: CallEvent) -> Option<Ending> {
        let now = MonoTime::now();
        match event {
            CallEvent::Stage(report) => {
                if report.stage >= Stage::Accept {
                    self.accepted(now);
                }
                self.timeline.stage(&self.info, &report);
            }
            CallEvent::Stats(stats) => {
                self.figures.lock().stats(&stats);
                self.cpu.sample(now);
                self.timeline.stats(&self.info, &stats);
                self.stats = stats;
            }
            CallEvent::SourceTaken(medium) => self.timeline.source_taken(medium),
            CallEvent::Changed(info) => {
                if let (Some(recorder), Some(format)) = (&self.recorder, info.peer_format) {
                    recorder.format(format);
                }
                self.info = info;
                match self.info.state {
                    CallState::Dialing | CallState::Ringing => {}
                    CallState::Connecting => self.accepted(now),
                    CallState::Active => self.active(now),
                    CallState::Ended => {
                        self.figures.lock().over(now);
                        let unknown = || Ending::by(EndReason::Failed);
                        return Some(self.info.ending.clone().unwrap_or_else(unknown));
                    }
                }
            }
        }
        None
    }

    fn accepted(&mut self, now: MonoTime) {
        self.figures.lock().accepted(now);
        self.gate.open();
    }

    fn active(&mut self, now: MonoTime) {
        self.accepted(now);
        self.figures.lock().active(now);
        if self.cpu.start(now) {
            self.wake = self.next_wake();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let change = self.link_change.as_ref().map(|change| change.after);
        let next = change.into_iter().chain(self.limit).min()?;
        let done = self.figures.lock().active_for(MonoTime::now());
        Instant::now().checked_add(next.saturating_sub(done))
    }

    fn woken(&mut self) {
        let now = MonoTime::now();
        let done = self.figures.lock().active_for(now);
        if let Some(change) = self.link_change.take_if(|change| change.after <= done) {
            match (change.change)() {
                Ok(()) => self.figures.lock().dropped_rate(now),
                Err(stop) => self.timeline.notice(&format!("kithctl: {}", stop.line().unwrap_or_default())),
            }
        }
        if self.limit.take_if(|limit| *limit <= done).is_some() {
            self.hang_up();
        }
        self.wake = self.next_wake();
    }

    /// Tells the call to end; its end comes as an event.
    fn hang_up(&mut self) {
        let now = MonoTime::now();
        self.figures.lock().over(now);
        self.cpu.sample(now);
        self.cpu.stop();
        self.ending_by = Some(Instant::now() + ENDING);
        let call = self.call.clone();
        tokio::spawn(async move {
            if let Err(error) = call.hang_up().await {
                tracing::warn!(%error, "hanging up");
            }
        });
    }

    fn report_end(&mut self, result: &Result<Ending, Failure>) {
        let ending = match result {
            Ok(ending) => ending.clone(),
            Err(failure) => Ending {
                reason: EndReason::Failed,
                failed_stage: None,
                detail: failure.message.clone(),
                advice: failure.advice.clone(),
            },
        };
        let now = MonoTime::now();
        let mut extra = self.figures.lock().fields(&self.stats, now);
        self.cpu.add_to(&mut extra);
        self.timeline.ended(&self.info, &ending, &self.stats, extra);
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// For whoever waits for a call to come.
pub fn timed_out(message: &str) -> Stop {
    Stop::new(Exit::Unreachable, message)
}
