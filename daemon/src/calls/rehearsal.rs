//! Calls without a network or codecs, driven by hand: for the tests of what stands on top of calls, and for measuring
//! the hop between daemon and client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_common::call::{
    CallInfo, CallKind, CallState, CallStats, Direction, EndReason, Ending, Medium, Stage, StageReport, Switch,
};
use kith_common::clock::MonoTime;
use kith_common::ids::CallId;
use kith_common::media::{Picture, Sound};
use tokio::sync::{mpsc, watch};

use super::handle::{COMMAND_QUEUE, Command, Directory, Publish, first_info};
use super::{CallHandle, CallLog, Calls};

/// One call that does what it is told.
#[derive(Clone)]
pub struct Rehearsal {
    handle: CallHandle,
    publish: Arc<Publish>,
}

impl Rehearsal {
    /// An incoming video call that rings, as the only one of a node. Needs a runtime.
    pub fn start(log: CallLog) -> (Calls, Self) {
        let (commands, mut inbox) = mpsc::channel(COMMAND_QUEUE);
        let info = first_info(CallId::from_bytes(rand::random()), Direction::Incoming, CallKind::Video);
        let (handle, publish) = CallHandle::new(info, commands.clone());
        handle.hub().set_camera(Switch::On);
        handle.hub().set_microphone(Switch::On);
        let rehearsal = Self { handle: handle.clone(), publish: Arc::new(publish) };
        let (publish, directory) = watch::channel(Directory::new(BTreeMap::from([(0, handle)])));
        let played = rehearsal.clone();
        tokio::spawn(async move {
            let _directory = publish;
            while let Some(command) = inbox.recv().await {
                played.play(command);
            }
        });
        (Calls { commands, directory, log }, rehearsal)
    }

    /// Whoever asked may be gone, which is nothing to a rehearsal.
    fn play(&self, command: Command) {
        match command {
            Command::Answer { reply, .. } => {
                self.info(|info| info.state = CallState::Active);
                let _ = reply.send(Ok(()));
            }
            Command::Decline { reply, .. } | Command::HangUp { reply, .. } => {
                self.end();
                let _ = reply.send(());
            }
            Command::SetSwitch { medium, state, reply, .. } => {
                self.info(|info| match medium {
                    Medium::Audio => info.microphone = state,
                    Medium::Video => info.camera = state,
                });
                let _ = reply.send(());
            }
            Command::Shutdown { reply } => {
                let _ = reply.send(());
            }
            Command::Alive { reply } => _ = reply.send(()),
            Command::Dial { .. } | Command::SetAutoAnswer(_) | Command::SetStrangers(_) => {}
        }
    }

    pub fn handle(&self) -> &CallHandle {
        &self.handle
    }

    pub fn info(&self, change: impl FnOnce(&mut CallInfo)) {
        self.publish.info.send_modify(change);
    }

    pub fn stage(&self, stage: Stage, at_us: u64) {
        let report = StageReport { stage, at_us, detail: String::new() };
        self.publish.stages.send_modify(|stages| stages.push(report));
    }

    pub fn stats(&self, stats: CallStats) {
        self.publish.stats.send_replace(Some(stats));
    }

    pub fn end(&self) {
        self.info(|info| {
            info.state = CallState::Ended;
            info.ending = Some(Ending::by(EndReason::Local));
        });
        self.handle.hub().close();
    }

    /// As if the peer's picture had just been decoded.
    pub fn deliver_picture(&self, picture: Picture) {
        self.handle.hub().deliver_picture(picture);
    }

    pub fn deliver_sound(&self, sound: Sound) {
        self.handle.hub().deliver_sound(sound);
    }

    /// The next picture that a client has handed over for the encoder.
    pub async fn source_picture(&self) -> Option<Picture> {
        self.handle.hub().source_pictures().take().await.ok()
    }

    pub async fn source_sound(&self) -> Option<Sound> {
        self.handle.hub().source_sounds().take().await.ok()
    }

    /// Delivers every picture that a client hands over to all of them, stamped anew; returns the age that each had when
    /// it got here. Runs until the call ends.
    pub async fn loop_pictures(&self) -> Vec<Duration> {
        let mut ages = Vec::new();
        while let Some(mut picture) = self.source_picture().await {
            let now = MonoTime::now();
            ages.push(now.since(picture.capture));
            picture.capture = now;
            self.deliver_picture(picture);
        }
        ages
    }
}
