//! The ends of picture and sound that a client holds.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_local;

use super::call::Wanted;
use super::link::{Remote, Session};
use super::recent::Recent;
use crate::call::CallState;
use crate::call_capnp::{audio_source, call, video_source};
use crate::convert::{Enumeration, read_picture, read_sound, write_picture, write_sound};
use crate::failure::Failure;
use crate::media::{Picture, Size, Sound};
use crate::media_capnp::{audio_sink, video_sink};
use crate::rpc::pump;
use crate::slot::{Closed, Latest};

/// Two pictures on their way keep the pipe full; more would only be older when they arrive.
const PICTURES_UNANSWERED: usize = 2;
/// 80 ms of sound on its way, and 200 ms that wait when the daemon is busy for a moment.
const SOUNDS_UNANSWERED: usize = 4;
const SOUNDS_WAITING: usize = 10;
/// Sound that waits for whoever plays it: 300 ms. Who is slower hears what is new, not what is old.
const SOUNDS_RECEIVED: usize = 15;
/// A second of pictures, 40 MB at 720p: for those who want every picture and may be held up for a moment.
const MAX_PICTURES_WAITING: usize = 30;
/// A daemon that does not take a picture for so long is stuck.
const STALL: Duration = Duration::from_secs(30);

/// Why a source or a receiver has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    #[error("the call has ended")]
    CallEnded,
    #[error("another client sends this now")]
    Taken,
    #[error("the connection to the daemon was lost")]
    DaemonLost,
}

struct Sending<Q: Closing> {
    queue: Arc<Q>,
    ended: watch::Receiver<Option<Gone>>,
    _session: Arc<Session>,
}

trait Closing {
    fn finish(&self);
}

impl Closing for Latest<Picture> {
    fn finish(&self) {
        self.close();
    }
}

impl Closing for Recent<Sound> {
    fn finish(&self) {
        self.close();
    }
}

impl<Q: Closing> Drop for Sending<Q> {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

impl<Q: Closing> Sending<Q> {
    fn check(&self) -> Result<(), Gone> {
        let ended = *self.ended.borrow();
        match ended {
            Some(gone) => Err(gone),
            None if self.ended.has_changed().is_err() => Err(Gone::DaemonLost),
            None => Ok(()),
        }
    }

    async fn ended(&self) -> Gone {
        let mut ended = self.ended.clone();
        let gone = ended.wait_for(Option::is_some).await.ok().and_then(|gone| *gone);
        gone.unwrap_or(Gone::DaemonLost)
    }
}

/// Sends pictures into a call. Dropping every clone stops sending.
#[derive(Clone)]
pub struct VideoSender {
    sending: Arc<Sending<Latest<Picture>>>,
    source: Remote<video_source::Client>,
}

impl VideoSender {
    /// Hands over the newest picture; one that still waits is replaced. Never waits.
    pub fn put(&self, picture: Picture) -> Result<(), Gone> {
        self.sending.check()?;
        self.sending.queue.put(picture);
        Ok(())
    }

    /// Waits until sending is over. A takeover is noticed when a picture is put.
    pub async fn ended(&self) -> Gone {
        self.sending.ended().await
    }

    /// The size and rate that the call can use now.
    pub async fn wanted(&self) -> Result<Wanted, Failure> {
        let wanted = self.source.ask(|source, _| async move {
            let response = source.wanted_request().send().promise.await?;
            let (response, bad) = (response.get()?, |error| capnp::Error::failed(format!("{error}")));
            let size = response.get_size()?;
            let size = Size::new(size.get_width().into(), size.get_height().into()).map_err(bad)?;
            Ok(Wanted { size, fps: response.get_frames_per_second() })
        });
        wanted.await
    }

    /// Pictures that were replaced before they could be handed to the daemon.
    pub fn replaced(&self) -> u64 {
        self.sending.queue.replaced()
    }

    /// On the RPC thread.
    pub(super) fn start(source: video_source::Client, call: call::Client, session: &Arc<Session>) -> Self {
        let slot = Arc::new(Latest::new());
        let (report, ended) = watch::channel(None);
        let (sink, from) = (source.clone().cast_to::<video_sink::Client>(), Arc::clone(&slot));
        let send = move |picture: Picture| {
            let mut request = sink.picture_request();
            write_picture(&picture, request.get().init_picture());
            let promise = request.send().promise;
            async move { one_refusal_is_no_end(promise.await.map(drop)) }
        };
        let lost = session.lost.clone();
        spawn_local(async move {
            let pumping = pump(PICTURES_UNANSWERED, STALL, async || from.take().await.ok(), send);
            let result = tokio::select! {
                () = lost.cancelled() => Err(capnp::Error::disconnected("lost".into())),
                result = pumping => result,
            };
            if let Err(error) = result {
                tracing::debug!(%error, "sending pictures has ended");
                report.send_replace(Some(why(&lost, &call).await));
            }
        });
        let sending = Arc::new(Sending { queue: slot, ended, _session: Arc::clone(session) });
        Self { sending, source: Remote::host(source, session) }
    }
}

/// Sends sound into a call. Dropping every clone stops sending.
#[derive(Clone)]
pub struct AudioSender {
    sending: Arc<Sending<Recent<Sound>>>,
}

impl AudioSender {
    /// Hands over a chunk; when the daemon is behind, the oldest that wait are dropped. Never waits.
    pub fn put(&self, sound: Sound) -> Result<(), Gone> {
        self.sending.check()?;
        self.sending.queue.push(sound);
        Ok(())
    }

    /// Waits until sending is over. A takeover is noticed when sound is put.
    pub async fn ended(&self) -> Gone {
        self.sending.ended().await
    }

    /// On the RPC thread.
    pub(super) fn start(source: audio_source::Client, call: call::Client, session: &Arc<Session>) -> Self {
        let queue = Arc::new(Recent::new(SOUNDS_WAITING));
        let (report, ended) = watch::channel(None);
        let from = Arc::clone(&queue);
        let sink = source.cast_to::<audio_sink::Client>();
        let send = move |sound: Sound| {
            let mut request = sink.sound_request();
            write_sound(&sound, request.get().init_sound());
            let promise = request.send().promise;
            async move { one_refusal_is_no_end(promise.await.map(drop)) }
        };
        let lost = session.lost.clone();
        spawn_local(async move {
            let pumping = pump(SOUNDS_UNANSWERED, STALL, async || from.take().await.ok(), send);
            let result = tokio::select! {
                () = lost.cancelled() => Err(capnp::Error::disconnected("lost".into())),
                result = pumping => result,
            };
            if let Err(error) = result {
                tracing::debug!(%error, "sending sound has ended");
                report.send_replace(Some(why(&lost, &call).await));
            }
        });
        Self { sending: Arc::new(Sending { queue, ended, _session: Arc::clone(session) }) }
    }
}

/// `failed` refuses one picture or chunk; the sink takes the next.
fn one_refusal_is_no_end(answer: capnp::Result<()>) -> capnp::Result<()> {
    match answer {
        Err(error) if error.kind == capnp::ErrorKind::Failed => {
            tracing::warn!(%error, "the daemon refused a picture or a sound");
            Ok(())
        }
        answer => answer,
    }
}

/// A source that was refused as `disconnected`: has the call ended, or does another client send now?
async fn why(lost: &tokio_util::sync::CancellationToken, call: &call::Client) -> Gone {
    if lost.is_cancelled() {
        return Gone::DaemonLost;
    }
    let state = async {
        let response = call.info_request().send().promise.await?;
        capnp::Result::Ok(CallState::from_wire(response.get()?.get_info()?.get_state()))
    };
    match state.await {
        Ok(Some(CallState::Ended)) => Gone::CallEnded,
        Ok(_) => Gone::Taken,
        Err(_) if lost.is_cancelled() => Gone::DaemonLost,
        Err(_) => Gone::CallEnded,
    }
}

/// What ends a reception: the session tells whether the daemon is gone, `_hold` lets go of its handle.
struct Hold {
    session: Arc<Session>,
    _hold: oneshot::Sender<()>,
}

impl Hold {
    fn gone(&self, _: Closed) -> Gone {
        if self.session.lost.is_cancelled() { Gone::DaemonLost } else { Gone::CallEnded }
    }
}

/// Receives the peer's pictures. Dropping every clone ends it.
#[derive(Clone)]
pub struct VideoReceiver {
    /// Of one: the newest wins.
    queue: Arc<Recent<Picture>>,
    hold: Arc<Hold>,
}

impl VideoReceiver {
    /// The newest picture that has not been taken yet, or the oldest of those that wait; waits for one. For one waiting task at a time.
    pub async fn next(&self) -> Result<Picture, Gone> {
        self.queue.take().await.map_err(|closed| self.hold.gone(closed))
    }

    /// The same, waiting on a thread; `Ok(None)` when nothing came within `timeout`.
    pub fn next_blocking(&self, timeout: Duration) -> Result<Option<Picture>, Gone> {
        self.queue.take_blocking(timeout).map_err(|closed| self.hold.gone(closed))
    }

    /// The newest picture, if one has come since the last was taken.
    pub fn try_next(&self) -> Option<Picture> {
        self.queue.try_take()
    }

    /// Pictures that a newer one replaced before they were taken here.
    pub fn replaced(&self) -> u64 {
        self.queue.dropped()
    }

    /// On the RPC thread.
    pub(super) fn start(session: Arc<Session>, waiting: usize) -> (Self, video_sink::Client, oneshot::Receiver<()>) {
        let queue = Arc::new(Recent::new(waiting.clamp(1, MAX_PICTURES_WAITING)));
        let (hold, released) = oneshot::channel();
        let sink = capnp_rpc::new_client(PictureSink(Arc::clone(&queue)));
        (Self { queue, hold: Arc::new(Hold { session, _hold: hold }) }, sink, released)
    }
}

/// Receives the peer's sound, 20 ms at a time. Dropping every clone ends it.
#[derive(Clone)]
pub struct AudioReceiver {
    queue: Arc<Recent<Sound>>,
    hold: Arc<Hold>,
}

impl AudioReceiver {
    /// The oldest chunk that waits; whoever does not take them loses the oldest. For one waiting task at a time.
    pub async fn next(&self) -> Result<Sound, Gone> {
        self.queue.take().await.map_err(|closed| self.hold.gone(closed))
    }

    /// The same, waiting on a thread; `Ok(None)` when nothing came within `timeout`.
    pub fn next_blocking(&self, timeout: Duration) -> Result<Option<Sound>, Gone> {
        self.queue.take_blocking(timeout).map_err(|closed| self.hold.gone(closed))
    }

    pub fn try_next(&self) -> Option<Sound> {
        self.queue.try_take()
    }

    /// On the RPC thread.
    pub(super) fn start(session: Arc<Session>) -> (Self, audio_sink::Client, oneshot::Receiver<()>) {
        let queue = Arc::new(Recent::new(SOUNDS_RECEIVED));
        let (hold, released) = oneshot::channel();
        let sink = capnp_rpc::new_client(SoundSink(Arc::clone(&queue)));
        (Self { queue, hold: Arc::new(Hold { session, _hold: hold }) }, sink, released)
    }
}

/// Takes pictures from the daemon. Its answer is the moment of delivery, so it does nothing but put them down.
struct PictureSink(Arc<Recent<Picture>>);

impl video_sink::Server for PictureSink {
    async fn picture(
        self: Rc<Self>,
        params: video_sink::PictureParams,
        _: video_sink::PictureResults,
    ) -> capnp::Result<()> {
        self.0.push(read_picture(params.get()?.get_picture()?)?);
        Ok(())
    }
}

impl Drop for PictureSink {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct SoundSink(Arc<Recent<Sound>>);

impl audio_sink::Server for SoundSink {
    async fn sound(self: Rc<Self>, params: audio_sink::SoundParams, _: audio_sink::SoundResults) -> capnp::Result<()> {
        self.0.push(read_sound(params.get()?.get_sound()?)?);
        Ok(())
    }
}

impl Drop for SoundSink {
    fn drop(&mut self) {
        self.0.close();
    }
}
