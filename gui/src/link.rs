//! The connection to the daemon: the only part of the window that talks RPC. The rest sends [`Command`]s and hears
//! [`Event`]s; a scripted daemon (`mock`) speaks the same two, so the whole window runs without one.

mod daemon;
mod echo;
mod errand;
mod files;
mod log;
mod run;
mod talk;

use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::BoxStream;
use kith_common::call::{CallInfo, CallOptions, CallRecord, CallStats, Medium, StageReport, Switch};
use kith_common::chat::{Conversation, Message};
use kith_common::client::{AudioReceiver, AudioSender, VideoReceiver, VideoSender};
use kith_common::contact::People;
use kith_common::diagnostics::{LinkSample, NetworkState};
use kith_common::failure::Failure;
use kith_common::file::FilesState;
use kith_common::ids::CallId;
use kith_common::media::VideoFormat;
use kith_common::node::{Identity, NodeStatus, PeerInfo, ServiceInfo};
use tokio::sync::mpsc;

pub use errand::{Errand, Job, News};
pub use files::{Filing, SHARES};
pub use log::Log;
pub use talk::{HITS, PAGE, Span, Talk};

/// A person cannot press more buttons than this before the first is taken up.
const COMMANDS: usize = 64;
/// Events wait for the window here; whoever produces more waits in turn.
const EVENTS: usize = 256;

/// What the window wants of the daemon.
#[derive(Clone)]
pub enum Command {
    Dial {
        target: String,
        options: CallOptions,
    },
    /// Calls a node of this machine that answers and sends everything back; made for the call and gone after it.
    TestCall {
        options: CallOptions,
    },
    Answer {
        call: CallId,
        options: CallOptions,
    },
    Decline(CallId),
    HangUp(CallId),
    SetMicrophone(CallId, Switch),
    SetCamera(CallId, Switch),
    SendVideo(CallId, VideoFormat),
    SendAudio(CallId),
    /// Subscribes to the peer's pictures and sound.
    Receive(CallId),
    Start(Job, Errand),
    /// Calls an errand off; nothing more is heard of it.
    Cancel(Job),
    /// What the links to the peers are like, second by second, for as long as somebody looks.
    FollowLinks(Switch),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A target names a person, which has no place in a log.
        match self {
            Self::Dial { target, options } => write!(f, "Dial({} characters, {:?})", target.len(), options.kind),
            Self::TestCall { .. } => f.write_str("TestCall"),
            Self::Answer { call, options } => write!(f, "Answer({call:?}, {:?})", options.kind),
            Self::Decline(call) => write!(f, "Decline({call:?})"),
            Self::HangUp(call) => write!(f, "HangUp({call:?})"),
            Self::SetMicrophone(call, state) => write!(f, "SetMicrophone({call:?}, {state:?})"),
            Self::SetCamera(call, state) => write!(f, "SetCamera({call:?}, {state:?})"),
            Self::SendVideo(call, format) => write!(f, "SendVideo({call:?}, {})", format.size),
            Self::SendAudio(call) => write!(f, "SendAudio({call:?})"),
            Self::Receive(call) => write!(f, "Receive({call:?})"),
            Self::Start(job, errand) => write!(f, "Start({job:?}, {errand:?})"),
            Self::Cancel(job) => write!(f, "Cancel({job:?})"),
            Self::FollowLinks(state) => write!(f, "FollowLinks({state:?})"),
        }
    }
}

/// What the window hears of the daemon.
#[derive(Clone)]
pub enum Event {
    /// Looking for the daemon, or starting it; a sentence says which.
    Trying(String),
    Connected {
        identity: Identity,
        status: NodeStatus,
    },
    /// Who this node is or how it does has changed.
    Node {
        identity: Identity,
        status: NodeStatus,
    },
    /// No daemon; tried again by itself.
    Lost(Failure),
    Peers(Vec<PeerInfo>),
    /// The listeners as they are now, or why the daemon does not tell.
    Services(Result<Vec<ServiceInfo>, Failure>),
    /// How this node is reached, or why the daemon does not tell.
    Network(Result<NetworkState, Failure>),
    /// Seconds of what the links are like, oldest first; the first are of the past.
    Links(Result<Vec<LinkSample>, Failure>),
    /// Contacts and requests, or why the daemon does not tell.
    People(Result<People, Failure>),
    /// All conversations, the one with the newest message first.
    Conversations(Result<Vec<Conversation>, Failure>),
    /// Messages that are new or have changed.
    Messages(Vec<Message>),
    /// Transfers and offers, or why the daemon does not tell.
    Files(Result<Arc<FilesState>, Failure>),
    /// The newest calls that are over, or why the daemon does not tell.
    CallLog(Result<Vec<CallRecord>, Failure>),
    News(Job, News),
    /// A call is new or has changed.
    Call(CallInfo),
    Stage(CallId, StageReport),
    Stats(CallId, CallStats),
    SourceTaken(CallId, Medium),
    /// A `Dial` or `TestCall` has become this call.
    Placed {
        call: CallId,
        test: Test,
    },
    /// Something on the way to a test call.
    TestCall(String),
    VideoOut(CallId, VideoSender),
    AudioOut(CallId, AudioSender),
    VideoIn(CallId, VideoReceiver),
    AudioIn(CallId, AudioReceiver),
    /// A command was refused.
    Failed {
        doing: Doing,
        failure: Failure,
    },
}

/// Whether a call is a test call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Yes,
    No,
}

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Dialing,
    Testing,
    Answering(CallId),
    Other,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Trying(_) => "Trying",
            Self::Connected { .. } => "Connected",
            Self::Node { .. } => "Node",
            Self::Lost(_) => "Lost",
            Self::Peers(_) => "Peers",
            Self::Services(_) => "Services",
            Self::Network(_) => "Network",
            Self::Links(_) => "Links",
            Self::People(_) => "People",
            Self::Conversations(_) => "Conversations",
            Self::Messages(_) => "Messages",
            Self::Files(_) => "Files",
            Self::CallLog(_) => "CallLog",
            Self::News(job, _) => return write!(f, "News({job:?})"),
            Self::Call(info) => return write!(f, "Call({:?}, {:?})", info.id, info.state),
            Self::Stage(call, report) => return write!(f, "Stage({call:?}, {:?})", report.stage),
            Self::Stats(..) => "Stats",
            Self::SourceTaken(..) => "SourceTaken",
            Self::Placed { .. } => "Placed",
            Self::TestCall(_) => "TestCall",
            Self::VideoOut(..) => "VideoOut",
            Self::AudioOut(..) => "AudioOut",
            Self::VideoIn(..) => "VideoIn",
            Self::AudioIn(..) => "AudioIn",
            Self::Failed { failure, .. } => return write!(f, "Failed({failure:?})"),
        };
        f.write_str(name)
    }
}

/// Where commands go. Clones share it.
#[derive(Debug, Clone)]
pub struct Commander(mpsc::Sender<Command>);

impl Commander {
    /// A commander and where its commands come out.
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(COMMANDS);
        (Self(sender), receiver)
    }

    pub fn send(&self, command: Command) {
        tracing::debug!(?command);
        if let Err(error) = self.0.try_send(command) {
            tracing::error!(%error, "a command to the daemon is lost");
        }
    }
}

/// Where the daemon is expected.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    pub socket: PathBuf,
    /// Given when it is not the user's own daemon that is wanted.
    pub given: bool,
}

/// Connects, keeps connecting, carries commands out and reports events until the window closes. Drop the stream to end it.
pub fn link(config: LinkConfig, commands: mpsc::Receiver<Command>) -> BoxStream<'static, Event> {
    let (events, receiver) = mpsc::channel(EVENTS);
    let task = run::run(config, commands, events);
    merge(task, receiver)
}

/// The events of a task that runs as long as the stream is read.
pub fn merge(
    task: impl Future<Output = ()> + Send + 'static,
    receiver: mpsc::Receiver<Event>,
) -> BoxStream<'static, Event> {
    use futures::StreamExt as _;
    let events =
        futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).map(Some);
    let work = futures::stream::once(task).map(|()| None);
    futures::stream::select(events, work).filter_map(std::future::ready).boxed()
}
