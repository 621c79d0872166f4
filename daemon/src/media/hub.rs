//! Where a call's sources and sinks meet: one hub a call, made by `calls` when the call is made, alive until it ends.
//!
//! `rpc` puts in what clients capture and takes out what they show; the codec threads of the session stand on the
//! other side. A medium has one source: the newest that asks takes over and the old one is told. Pictures pass through
//! slots where the newest wins, sound through short queues where the oldest gives way, so nobody waits for anybody:
//! a client that never reads costs one picture and a few chunks of sound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kith_common::call::Switch;
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, Sound, VideoFormat};
pub use kith_common::slot::Closed;
use kith_core::stats::Due;
use tokio::sync::watch;

use super::delivery::{Delivered, Delivery};
use super::queue::Queue;

/// Chunks that wait for the sound encoder, which needs 0.2 ms for each: more only pile up when the machine stalls.
const SOURCE_CHUNKS: usize = 8;
/// Sound that waits for a client: 300 ms. A client that stalls longer hears what is new, not what is old.
const SINK_CHUNKS: usize = 15;
/// A source whose numbers jump further than this began anew; it did not drop that many pictures.
const MAX_SEQUENCE_STEP: u64 = 1000;
/// Clients of one call; a local program that opens more than this is broken.
const MAX_OUTPUTS: usize = 64;

/// Why a picture or a sound was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("another client sends now")]
    Taken,
    #[error("the call has ended")]
    Ended,
}

/// The handle; clones share the hub.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    delivery: Mutex<Delivery>,
    format: watch::Sender<Option<VideoFormat>>,
    pictures: Queue<Picture>,
    sounds: Queue<Sound>,
}

struct State {
    closed: bool,
    next_id: u64,
    video: Option<Source>,
    audio: Option<Source>,
    picture_sinks: Vec<(u64, Queue<Picture>)>,
    sound_sinks: Vec<(u64, Queue<Sound>)>,
    /// Pictures are wanted: the camera is on and the encoder is there.
    camera: Switch,
    microphone: Switch,
    captured: u64,
    last_sequence: Option<u64>,
    wanted: VideoFormat,
}

struct Source {
    id: u64,
    ending: watch::Sender<Option<InputError>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    pub fn new() -> Self {
        let size = Size::new(1280, 720).expect("a usual size");
        let state = State {
            closed: false,
            next_id: 0,
            video: None,
            audio: None,
            picture_sinks: Vec::new(),
            sound_sinks: Vec::new(),
            camera: Switch::Off,
            microphone: Switch::Off,
            captured: 0,
            last_sequence: None,
            wanted: VideoFormat { size, fps_milli: 30_000 },
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            delivery: Mutex::new(Delivery::new(Instant::now())),
            format: watch::Sender::new(None),
            pictures: Queue::new(1),
            sounds: Queue::new(SOURCE_CHUNKS),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is a single step, so a panic elsewhere leaves it whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.0.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the camera's place; the old source is told `Taken`. Dropping the input ends the source.
    pub fn send_video(&self, format: VideoFormat) -> VideoInput {
        let mut state = self.lock();
        let (id, ending) = state.enter(|state| &mut state.video);
        state.last_sequence = None;
        if !state.closed {
            self.0.format.send_replace(Some(format));
        }
        VideoInput { hub: self.clone(), id, ending }
    }

    /// Takes the microphone's place, likewise.
    pub fn send_audio(&self) -> AudioInput {
        let (id, ending) = self.lock().enter(|state| &mut state.audio);
        self.0.sounds.clear();
        AudioInput { hub: self.clone(), id, ending }
    }

    /// A place to take the peer's pictures from; the newest wins.
    pub fn receive_video(&self) -> PictureOutput {
        let queue = Queue::new(1);
        let id = self.lock().attach(|state| &mut state.picture_sinks, &queue);
        PictureOutput { hub: self.clone(), id, queue }
    }

    /// A place to take the peer's sound from, in chunks of 20 ms.
    pub fn receive_audio(&self) -> SoundOutput {
        let queue = Queue::new(SINK_CHUNKS);
        let id = self.lock().attach(|state| &mut state.sound_sinks, &queue);
        SoundOutput { hub: self.clone(), id, queue }
    }

    pub fn has_video_source(&self) -> bool {
        self.lock().video.is_some()
    }

    pub fn has_audio_source(&self) -> bool {
        self.lock().audio.is_some()
    }

    /// What the present picture source delivers; `calls` signals it to the peer.
    pub fn video_format(&self) -> watch::Receiver<Option<VideoFormat>> {
        self.0.format.subscribe()
    }

    /// What the encoder makes now: larger or more pictures would only be scaled down or dropped.
    pub fn wanted(&self) -> VideoFormat {
        self.lock().wanted
    }

    /// Pictures that the source has captured while the camera was on, those too that it dropped itself.
    pub fn video_captured(&self) -> u64 {
        self.lock().captured
    }

    /// Whether the peer sends pictures now: only then is a gap between them frozen time.
    pub fn set_video_due(&self, due: Due) {
        self.delivery().set_due(due, Instant::now());
    }

    /// What reached the clients so far.
    pub fn delivered(&self) -> Delivered {
        self.delivery().figures(Instant::now())
    }

    /// Ends everything: inputs fail, outputs end, the codec threads stop.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for source in [state.video.take(), state.audio.take()].into_iter().flatten() {
            source.ending.send_replace(Some(InputError::Ended));
        }
        state.picture_sinks.drain(..).for_each(|(_, queue)| queue.close());
        state.sound_sinks.drain(..).for_each(|(_, queue)| queue.close());
        self.0.format.send_replace(None);
        self.0.pictures.close();
        self.0.sounds.close();
    }

    // ---- the codec threads' side

    pub(crate) fn source_pictures(&self) -> &Queue<Picture> {
        &self.0.pictures
    }

    pub(crate) fn source_sounds(&self) -> &Queue<Sound> {
        &self.0.sounds
    }

    /// Off: pictures are thrown away where they come in, and none is due.
    pub(crate) fn set_camera(&self, camera: Switch) {
        self.lock().camera = camera;
        self.0.pictures.clear();
    }

    pub(crate) fn set_microphone(&self, microphone: Switch) {
        self.lock().microphone = microphone;
        self.0.sounds.clear();
    }

    pub(super) fn set_wanted(&self, wanted: VideoFormat) {
        self.lock().wanted = wanted;
    }

    /// A picture of the peer. Without a client it counts as delivered now.
    pub(crate) fn deliver_picture(&self, picture: Picture) {
        let state = self.lock();
        if state.picture_sinks.is_empty() {
            drop(state);
            self.delivery().handle_picture(&picture, MonoTime::now(), Instant::now());
            return;
        }
        for (_, queue) in &state.picture_sinks {
            queue.push(picture.clone());
        }
    }

    pub(crate) fn deliver_sound(&self, sound: Sound) {
        let mut state = self.lock();
        if state.sound_sinks.is_empty() {
            drop(state);
            self.delivery().handle_sound(&sound, MonoTime::now());
            return;
        }
        // The usual call has one client: it gets the samples themselves, not a copy.
        let last = state.sound_sinks.pop();
        for (_, queue) in &state.sound_sinks {
            queue.push(sound.clone());
        }
        if let Some((id, queue)) = last {
            queue.push(sound);
            state.sound_sinks.push((id, queue));
        }
    }
}

impl State {
    fn enter(
        &mut self,
        place: impl Fn(&mut Self) -> &mut Option<Source>,
    ) -> (u64, watch::Receiver<Option<InputError>>) {
        self.next_id += 1;
        let id = self.next_id;
        let (ending, ended) = watch::channel(self.closed.then_some(InputError::Ended));
        if !self.closed
            && let Some(old) = place(self).replace(Source { id, ending })
        {
            old.ending.send_replace(Some(InputError::Taken));
        }
        (id, ended)
    }

    fn attach<T>(&mut self, place: impl Fn(&mut Self) -> &mut Vec<(u64, Queue<T>)>, queue: &Queue<T>) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        if self.closed || place(self).len() >= MAX_OUTPUTS {
            queue.close();
        } else {
            place(self).push((id, queue.clone()));
        }
        id
    }
}

/// Waits until an input is of no use any more.
async fn ending(ending: &watch::Receiver<Option<InputError>>) -> InputError {
    let mut ending = ending.clone();
    let ended = ending.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
    ended.unwrap_or(InputError::Ended)
}

/// The camera of a call. Dropping it ends the source, if it has not been taken over.
pub struct VideoInput {
    hub: Hub,
    id: u64,
    ending: watch::Receiver<Option<InputError>>,
}

impl VideoInput {
    /// Hands over the newest picture; one that still waits for the encoder gives way.
    pub fn put(&self, picture: Picture) -> Result<(), InputError> {
        let mut state = self.hub.lock();
        if state.video.as_ref().is_none_or(|source| source.id != self.id) {
            return Err((*self.ending.borrow()).unwrap_or(InputError::Ended));
        }
        if state.camera == Switch::Off {
            state.last_sequence = None;
            return Ok(());
        }
        let step = state.last_sequence.and_then(|last| picture.sequence.checked_sub(last));
        state.captured += step.filter(|step| (1..=MAX_SEQUENCE_STEP).contains(step)).unwrap_or(1);
        state.last_sequence = Some(picture.sequence);
        self.hub.0.pictures.push(picture);
        Ok(())
    }

    /// Waits until another client sends or the call ends.
    pub async fn taken(&self) -> InputError {
        ending(&self.ending).await
    }
}

impl Drop for VideoInput {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if state.video.as_ref().is_some_and(|source| source.id == self.id) {
            state.video = None;
            self.hub.0.format.send_replace(None);
        }
    }
}

/// The microphone of a call, likewise.
pub struct AudioInput {
    hub: Hub,
    id: u64,
    ending: watch::Receiver<Option<InputError>>,
}

impl AudioInput {
    pub fn put(&self, sound: Sound) -> Result<(), InputError> {
        let state = self.hub.lock();
        if state.audio.as_ref().is_none_or(|source| source.id != self.id) {
            return Err((*self.ending.borrow()).unwrap_or(InputError::Ended));
        }
        if state.microphone == Switch::On {
            self.hub.0.sounds.push(sound);
        }
        Ok(())
    }

    /// Waits until another client sends or the call ends.
    pub async fn taken(&self) -> InputError {
        ending(&self.ending).await
    }
}

impl Drop for AudioInput {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if state.audio.as_ref().is_some_and(|source| source.id == self.id) {
            state.audio = None;
            drop(state);
            // The peer is told that nothing more comes, before it begins to make things up.
            self.hub.0.sounds.wake();
        }
    }
}

/// Where one client takes the peer's pictures from.
pub struct PictureOutput {
    hub: Hub,
    id: u64,
    queue: Queue<Picture>,
}

impl PictureOutput {
    /// The newest picture not yet taken; waits for one.
    pub async fn next(&self) -> Result<Picture, Closed> {
        self.queue.take().await
    }

    /// The client has the picture. Of several clients the first report counts.
    pub fn delivered(&self, picture: &Picture, at: MonoTime) {
        self.hub.delivery().handle_picture(picture, at, Instant::now());
    }
}

impl Drop for PictureOutput {
    fn drop(&mut self) {
        self.hub.lock().picture_sinks.retain(|(id, _)| *id != self.id);
    }
}

/// Where one client takes the peer's sound from.
pub struct SoundOutput {
    hub: Hub,
    id: u64,
    queue: Queue<Sound>,
}

impl SoundOutput {
    pub async fn next(&self) -> Result<Sound, Closed> {
        self.queue.take().await
    }

    /// The client has the sound.
    pub fn delivered(&self, sound: &Sound, at: MonoTime) {
        self.hub.delivery().handle_sound(sound, at);
    }
}

impl Drop for SoundOutput {
    fn drop(&mut self) {
        self.hub.lock().sound_sinks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests;
