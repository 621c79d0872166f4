//! What the rest of the daemon holds: [`Calls`], one [`CallHandle`] a call, and the [`CallsFeed`] of changes. All are
//! cheap to clone and none keeps a call alive or ends it when dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kith_common::call::{
    CallInfo, CallKind, CallOptions, CallState, CallStats, Direction, EndReason, Ending, Medium, Stage, StageReport,
    Switch, Transport,
};
use kith_common::clock::unix_ms;
use kith_common::contact::People;
use kith_common::failure::{Failure, FailureKind};
use kith_common::ids::CallId;
use kith_common::target::Target;
use kith_store::Database;
use tokio::sync::{mpsc, oneshot, watch};

use super::log::CallLog;
use super::ports::{Engine, Network};
use super::task::Task;
use super::{AutoAnswer, CallPolicy, Strangers};
use crate::contacts::Knock;
use crate::media::Media;
use crate::media::hub::Hub;
use crate::net::{Incoming, Net};

/// Commands that wait for the task; clients that send more wait in turn.
pub(super) const COMMAND_QUEUE: usize = 64;

/// What clients ask of the task that owns the calls.
pub(super) enum Command {
    Dial { handle: CallHandle, publish: Publish, target: Target, options: CallOptions },
    Answer { id: CallId, options: CallOptions, reply: oneshot::Sender<Result<(), Failure>> },
    Decline { id: CallId, reply: oneshot::Sender<()> },
    HangUp { id: CallId, reply: oneshot::Sender<()> },
    SetSwitch { id: CallId, medium: Medium, state: Switch, reply: oneshot::Sender<()> },
    SetAutoAnswer(AutoAnswer),
    SetStrangers(Strangers),
    Alive { reply: oneshot::Sender<()> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// The writing ends of a call's watch channels, held by the task.
pub(super) struct Publish {
    pub info: watch::Sender<CallInfo>,
    pub stages: watch::Sender<Vec<StageReport>>,
    pub stats: watch::Sender<Option<CallStats>>,
}

/// A call before anything is known of it.
pub(super) fn first_info(id: CallId, direction: Direction, kind: CallKind) -> CallInfo {
    CallInfo {
        id,
        peer: None,
        peer_name: String::new(),
        direction,
        kind,
        state: if direction == Direction::Outgoing { CallState::Dialing } else { CallState::Ringing },
        since_unix_ms: unix_ms(),
        path: None,
        transport: Transport::default(),
        microphone: Switch::On,
        camera: Switch::On,
        peer_microphone: Switch::Off,
        peer_camera: Switch::Off,
        peer_format: None,
        ending: None,
    }
}

/// Every call that clients can see, by age: those going on and the last few that ended.
pub(super) type Directory = Arc<BTreeMap<u64, CallHandle>>;

/// All calls of this node.
#[derive(Clone)]
pub struct Calls {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) directory: watch::Receiver<Directory>,
    pub(super) log: CallLog,
}

impl Calls {
    /// Starts the task that owns the calls. It runs until [`Calls::shutdown`]. `people`: who the contacts are, what they are
    /// called and may do. `knocks`: who hears of strangers that were not let ring. `database`: where calls that are over are
    /// written.
    pub fn start(
        net: Net,
        incoming: Incoming,
        media: Media,
        policy: CallPolicy,
        people: watch::Receiver<Arc<People>>,
        knocks: mpsc::Sender<Knock>,
        database: Database,
    ) -> Self {
        Self::start_with(net, incoming, media, policy, people, knocks, database)
    }

    pub(super) fn start_with<N: Network, E: Engine>(
        net: N,
        incoming: Incoming,
        engine: E,
        policy: CallPolicy,
        people: watch::Receiver<Arc<People>>,
        knocks: mpsc::Sender<Knock>,
        database: Database,
    ) -> Self {
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let (publish, directory) = watch::channel(Directory::default());
        let log = CallLog::new(database, people.clone());
        let known = (policy, people, knocks, log.clone());
        tokio::spawn(Task::start(net, incoming, engine, known, (commands.downgrade(), inbox), publish));
        Self { commands, directory, log }
    }

    /// The calls that are over.
    pub fn log(&self) -> &CallLog {
        &self.log
    }

    /// Places a call. Returns at once; the handle tells how it goes.
    pub fn dial(&self, target: Target, options: CallOptions) -> CallHandle {
        let id = CallId::from_bytes(rand::random());
        let kind = options.kind.unwrap_or(CallKind::Video);
        let (handle, publish) = CallHandle::new(first_info(id, Direction::Outgoing, kind), self.commands.clone());
        let dial = Command::Dial { handle: handle.clone(), publish, target, options };
        if let Err(refused) = self.commands.try_send(dial)
            && let Command::Dial { publish, .. } = refused.into_inner()
        {
            let detail = "the call was not placed: the daemon is shutting down, or too busy to take it";
            publish.info.send_modify(|info| {
                info.state = CallState::Ended;
                info.ending = Some(Ending {
                    failed_stage: Some(Stage::Resolve),
                    detail: detail.to_owned(),
                    advice: "Try again in a moment.".to_owned(),
                    ..Ending::by(EndReason::Failed)
                });
            });
        }
        handle
    }

    /// All calls, those going on and the last few that ended, newest first.
    pub fn list(&self) -> Vec<CallInfo> {
        self.directory.borrow().values().rev().map(|call| call.info.borrow().clone()).collect()
    }

    pub fn get(&self, id: CallId) -> Option<CallHandle> {
        self.directory.borrow().values().find(|call| call.id == id).cloned()
    }

    /// The calls that are going on now, then every new one and every change.
    pub fn subscribe(&self) -> CallsFeed {
        CallsFeed::new(self.directory.clone())
    }

    /// Whose calls are accepted without a person, from the next one on.
    pub async fn set_auto_answer(&self, whose: AutoAnswer) {
        // A daemon that is shutting down answers nobody.
        let _ = self.commands.send(Command::SetAutoAnswer(whose)).await;
    }

    /// What becomes of the calls of strangers, from the next one on.
    pub async fn set_strangers(&self, strangers: Strangers) {
        let _ = self.commands.send(Command::SetStrangers(strangers)).await;
    }

    /// Does the task still answer? For the service manager's watchdog.
    pub async fn is_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Alive { reply }).await.is_ok() && answer.await.is_ok()
    }

    /// Hangs up politely. Returns when the peers have been told or could not be.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }
}

/// One call.
#[derive(Clone)]
pub struct CallHandle {
    pub(super) id: CallId,
    pub(super) info: watch::Receiver<CallInfo>,
    pub(super) stages: watch::Receiver<Vec<StageReport>>,
    pub(super) stats: watch::Receiver<Option<CallStats>>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) hub: Hub,
}

impl CallHandle {
    pub(super) fn new(info: CallInfo, commands: mpsc::Sender<Command>) -> (Self, Publish) {
        let id = info.id;
        let (info, stages, stats) = (watch::channel(info), watch::channel(Vec::new()), watch::channel(None));
        let publish = Publish { info: info.0, stages: stages.0, stats: stats.0 };
        (Self { id, info: info.1, stages: stages.1, stats: stats.1, commands, hub: Hub::new() }, publish)
    }

    pub fn id(&self) -> CallId {
        self.id
    }

    /// Where clients put pictures and sound in and take them out. Lives from the call's creation to its end.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub fn info(&self) -> watch::Receiver<CallInfo> {
        self.info.clone()
    }

    /// The timeline so far, in order.
    pub fn stages(&self) -> watch::Receiver<Vec<StageReport>> {
        self.stages.clone()
    }

    /// Renewed every second while the call is active, and once more, final, before it is `Ended`.
    pub fn stats(&self) -> watch::Receiver<Option<CallStats>> {
        self.stats.clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Takes an incoming call that rings. Fails when it does not.
    pub async fn answer(&self, options: CallOptions) -> Result<(), Failure> {
        let outcome = self.ask(|reply| Command::Answer { id: self.id, options, reply }).await;
        outcome.unwrap_or_else(|| Err(Failure::new(FailureKind::NotFound, "the daemon is shutting down")))
    }

    /// Refuses an incoming call; hangs up any other.
    pub async fn decline(&self) {
        self.ask(|reply| Command::Decline { id: self.id, reply }).await;
    }

    /// Ends the call whatever its state. Nothing happens to a call that has ended.
    pub async fn hang_up(&self) {
        self.ask(|reply| Command::HangUp { id: self.id, reply }).await;
    }

    pub async fn set_microphone(&self, state: Switch) {
        self.ask(|reply| Command::SetSwitch { id: self.id, medium: Medium::Audio, state, reply }).await;
    }

    pub async fn set_camera(&self, state: Switch) {
        self.ask(|reply| Command::SetSwitch { id: self.id, medium: Medium::Video, state, reply }).await;
    }
}

/// Waits for a change. A call that is forgotten changes no more; the directory says when it goes.
async fn changed(info: &mut watch::Receiver<CallInfo>) {
    if info.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Follows all calls. Changes of one call that come faster than they are taken become one.
pub struct CallsFeed {
    directory: watch::Receiver<Directory>,
    /// What has been reported of each call, by age; to wait for a change is not to have reported it.
    seen: HashMap<u64, (CallInfo, watch::Receiver<CallInfo>)>,
    first: bool,
}

impl CallsFeed {
    fn new(directory: watch::Receiver<Directory>) -> Self {
        Self { directory, seen: HashMap::new(), first: true }
    }

    /// The next call that is new or has changed; `None` when the daemon shuts down.
    pub async fn next(&mut self) -> Option<(CallInfo, CallHandle)> {
        loop {
            if let Some(found) = self.pending() {
                return Some(found);
            }
            let changes = self.seen.values_mut().map(|(_, info)| Box::pin(changed(info)));
            let open = changes.collect::<Vec<_>>();
            if open.is_empty() {
                self.directory.changed().await.ok()?;
                continue;
            }
            tokio::select! {
                _ = futures::future::select_all(open) => {}
                changed = self.directory.changed() => changed.ok()?,
            }
        }
    }

    fn pending(&mut self) -> Option<(CallInfo, CallHandle)> {
        let directory = Arc::clone(&self.directory.borrow_and_update());
        self.seen.retain(|age, _| directory.contains_key(age));
        let first = std::mem::replace(&mut self.first, false);
        for (age, handle) in directory.iter() {
            let Some((reported, info)) = self.seen.get_mut(age) else {
                let mut info = handle.info();
                let now = info.borrow_and_update().clone();
                let old = first && now.state == CallState::Ended;
                self.seen.insert(*age, (now.clone(), info));
                if old {
                    continue;
                }
                // Others may be old as well: the next look still is the first at them.
                self.first = first;
                return Some((now, handle.clone()));
            };
            let now = info.borrow_and_update().clone();
            if now != *reported {
                *reported = now;
                return Some((reported.clone(), handle.clone()));
            }
        }
        None
    }
}
