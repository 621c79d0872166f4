//! One call, as a client drives it.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::feed::{Feed, feed, keep};
use super::link::{Fault, Remote, Session, no_daemon};
use super::media::{AudioReceiver, AudioSender, VideoReceiver, VideoSender};
use crate::call::{CallInfo, CallOptions, CallState, CallStats, Medium, StageReport, Switch};
use crate::call_capnp::{call, call_observer};
use crate::convert::{Enumeration, read_call_info, read_outcome, read_stage, read_stats, write_format, write_options};
use crate::failure::Failure;
use crate::ids::CallId;
use crate::media::{Size, VideoFormat};

/// What happens in a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallEvent {
    /// The state or a property changed. The last event of a call is one whose state is `Ended`.
    Changed(CallInfo),
    /// A line of the timeline; those of the past come first.
    Stage(StageReport),
    /// Every second while the call is active, and once more before it ends.
    Stats(CallStats),
    /// Another client sends this medium now.
    SourceTaken(Medium),
}

/// What the encoder can use now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    pub size: Size,
    pub fps: f64,
}

/// A call at the daemon. Dropping every clone leaves the call going on.
#[derive(Clone)]
pub struct ClientCall {
    id: CallId,
    remote: Remote<call::Client>,
}

/// Sends a request that answers with an `Outcome`.
macro_rules! outcome {
    ($request:expr) => {{
        let response = $request.send().promise.await?;
        Ok(read_outcome(response.get()?.get_outcome()?)??)
    }};
}
pub(super) use outcome;

impl ClientCall {
    /// On the RPC thread.
    pub(super) fn host(id: CallId, call: call::Client, session: &Arc<Session>) -> Self {
        Self { id, remote: Remote::host(call, session) }
    }

    pub fn id(&self) -> CallId {
        self.id
    }

    pub async fn info(&self) -> Result<CallInfo, Failure> {
        self.remote.ask(|call, _| async move { info(&call).await }).await
    }

    /// Every stage so far, then the present state, then what follows.
    pub async fn watch(&self) -> Result<Feed<CallEvent>, Failure> {
        let ended = |event: &CallEvent| matches!(event, CallEvent::Changed(info) if info.state == CallState::Ended);
        let watch = self.remote.ask(move |call, session| async move {
            let (reporter, feed, released) = feed(session.upgrade().ok_or_else(no_daemon)?, ended);
            let mut request = call.watch_request();
            request.get().set_observer(capnp_rpc::new_client(Observer(reporter)));
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(feed)
        });
        watch.await
    }

    pub async fn answer(&self, options: CallOptions) -> Result<(), Failure> {
        let answer = self.remote.ask(move |call, _| async move {
            let mut request = call.answer_request();
            write_options(&options, request.get().init_options());
            outcome!(request)
        });
        answer.await
    }

    pub async fn decline(&self) -> Result<(), Failure> {
        self.remote.ask(|call, _| async move { outcome!(call.decline_request()) }).await
    }

    /// Ends the call for both sides, whatever its state.
    pub async fn hang_up(&self) -> Result<(), Failure> {
        self.remote.ask(|call, _| async move { outcome!(call.hang_up_request()) }).await
    }

    pub async fn set_microphone(&self, state: Switch) -> Result<(), Failure> {
        let set = self.remote.ask(move |call, _| async move {
            let mut request = call.set_microphone_request();
            request.get().set_state(state.to_wire());
            outcome!(request)
        });
        set.await
    }

    pub async fn set_camera(&self, state: Switch) -> Result<(), Failure> {
        let set = self.remote.ask(move |call, _| async move {
            let mut request = call.set_camera_request();
            request.get().set_state(state.to_wire());
            outcome!(request)
        });
        set.await
    }

    /// Becomes the call's picture source; the client that was it is told.
    pub async fn send_video(&self, format: VideoFormat) -> Result<VideoSender, Failure> {
        let send = self.remote.ask(move |call, session| async move {
            let session = session.upgrade().ok_or_else(no_daemon)?;
            let mut request = call.send_video_request();
            write_format(&format, request.get().init_format());
            let source = request.send().promise.await?.get()?.get_sink()?;
            Ok(VideoSender::start(source, call, &session))
        });
        send.await
    }

    /// Becomes the call's sound source; the client that was it is told.
    pub async fn send_audio(&self) -> Result<AudioSender, Failure> {
        let send = self.remote.ask(|call, session| async move {
            let session = session.upgrade().ok_or_else(no_daemon)?;
            let source = call.send_audio_request().send().promise.await?.get()?.get_sink()?;
            Ok(AudioSender::start(source, call, &session))
        });
        send.await
    }

    pub async fn receive_video(&self) -> Result<VideoReceiver, Failure> {
        self.receive_pictures(1).await
    }

    /// For recording: as many pictures as that may wait to be taken (30 at most) before the oldest gives way.
    pub async fn receive_every_picture(&self, waiting: usize) -> Result<VideoReceiver, Failure> {
        self.receive_pictures(waiting).await
    }

    async fn receive_pictures(&self, waiting: usize) -> Result<VideoReceiver, Failure> {
        let receive = self.remote.ask(move |call, session| async move {
            let session = session.upgrade().ok_or_else(no_daemon)?;
            let (receiver, sink, released) = VideoReceiver::start(session, waiting);
            let mut request = call.receive_video_request();
            request.get().set_sink(sink);
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(receiver)
        });
        receive.await
    }

    pub async fn receive_audio(&self) -> Result<AudioReceiver, Failure> {
        let receive = self.remote.ask(|call, session| async move {
            let (receiver, sink, released) = AudioReceiver::start(session.upgrade().ok_or_else(no_daemon)?);
            let mut request = call.receive_audio_request();
            request.get().set_sink(sink);
            keep(request.send().promise.await?.get()?.get_handle()?, released);
            Ok(receiver)
        });
        receive.await
    }
}

/// What a call is now.
pub(super) async fn info(call: &call::Client) -> Result<CallInfo, Fault> {
    let response = call.info_request().send().promise.await?;
    Ok(read_call_info(response.get()?.get_info()?)?)
}

/// Passes on what the daemon reports; it answers when there is room, so that the daemon waits for whoever is slow.
struct Observer(mpsc::Sender<CallEvent>);

impl Observer {
    async fn report(&self, event: CallEvent) -> capnp::Result<()> {
        self.0.send(event).await.map_err(|_| capnp::Error::disconnected("nobody follows this call any more".into()))
    }
}

impl call_observer::Server for Observer {
    async fn changed(
        self: Rc<Self>,
        params: call_observer::ChangedParams,
        _: call_observer::ChangedResults,
    ) -> capnp::Result<()> {
        self.report(CallEvent::Changed(read_call_info(params.get()?.get_info()?)?)).await
    }

    async fn stage(
        self: Rc<Self>,
        params: call_observer::StageParams,
        _: call_observer::StageResults,
    ) -> capnp::Result<()> {
        self.report(CallEvent::Stage(read_stage(params.get()?.get_report()?)?)).await
    }

    async fn stats(
        self: Rc<Self>,
        params: call_observer::StatsParams,
        _: call_observer::StatsResults,
    ) -> capnp::Result<()> {
        self.report(CallEvent::Stats(read_stats(params.get()?.get_stats()?)?)).await
    }

    async fn source_taken(
        self: Rc<Self>,
        params: call_observer::SourceTakenParams,
        _: call_observer::SourceTakenResults,
    ) -> capnp::Result<()> {
        let medium = Medium::required(params.get()?.get_medium(), "the medium that was taken over")?;
        self.report(CallEvent::SourceTaken(medium)).await
    }
}
