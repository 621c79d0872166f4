//! Pictures and sound between a call's hub and a client's sinks, in both directions.

use std::rc::Rc;
use std::time::Duration;

use capnp::Error;
use kith_common::call::Medium;
use kith_common::call_capnp::{audio_source, video_source};
use kith_common::clock::MonoTime;
use kith_common::convert::{read_picture, read_sound, write_picture, write_sound};
use kith_common::media::VideoFormat;
use kith_common::media_capnp::{audio_sink, video_sink};
use kith_common::rpc::pump;

use super::connection::{Connection, Subscription};
use crate::calls::CallHandle;
use crate::media::hub::{AudioInput, InputError, PictureOutput, SoundOutput, VideoInput};

/// Two pictures on their way to a client; while it is slower than that, the newest replaces the one that waits.
const PICTURES_UNANSWERED: usize = 2;
/// 200 ms of sound on its way; a client that is further behind loses the oldest (see the hub's queue).
const SOUNDS_UNANSWERED: usize = 10;
/// A sink that does not answer for so long is given up. The client can attach another.
const STALL: Duration = Duration::from_secs(10);
/// No source delivers more pictures a second.
const MAX_FPS_MILLI: u32 = 240_000;
/// Capture times older than this are not believed: a source holds nothing back that long.
const OLDEST_CAPTURE: Duration = Duration::from_secs(2);

/// Sends the peer's pictures to a client until the call ends or the client fails.
pub async fn send_pictures(output: PictureOutput, sink: video_sink::Client) -> capnp::Result<()> {
    let output = &output;
    let send = |picture: kith_common::media::Picture| {
        let mut request = sink.picture_request();
        write_picture(&picture, request.get().init_picture());
        let answer = request.send().promise;
        async move {
            answer.await?;
            output.delivered(&picture, MonoTime::now());
            Ok(())
        }
    };
    pump(PICTURES_UNANSWERED, STALL, async || output.next().await.ok(), send).await
}

/// Sends the peer's sound to a client until the call ends or the client fails.
pub async fn send_sounds(output: SoundOutput, sink: audio_sink::Client) -> capnp::Result<()> {
    let output = &output;
    let send = |sound: kith_common::media::Sound| {
        let mut request = sink.sound_request();
        write_sound(&sound, request.get().init_sound());
        let answer = request.send().promise;
        async move {
            answer.await?;
            output.delivered(&sound, MonoTime::now());
            Ok(())
        }
    };
    pump(SOUNDS_UNANSWERED, STALL, async || output.next().await.ok(), send).await
}

/// A client's picture source. Dropping it ends the source.
pub struct VideoSource {
    call: CallHandle,
    input: Rc<VideoInput>,
    /// Tells the client's observers when another client takes over.
    _watch: Subscription,
}

impl VideoSource {
    pub fn client(
        connection: &Rc<Connection>,
        call: CallHandle,
        format: Option<VideoFormat>,
    ) -> capnp::Result<video_source::Client> {
        let format = format.filter(|format| (1..=MAX_FPS_MILLI).contains(&format.fps_milli));
        let format = format.ok_or_else(|| Error::failed("a source has a picture size and a frame rate".into()))?;
        let input = Rc::new(call.hub().send_video(format));
        let (watched, id, taken) = (Rc::clone(&input), call.id(), connection.taken.clone());
        let watch = async move {
            if watched.taken().await == InputError::Taken {
                // No observer, nobody to tell.
                let _ = taken.send((id, Medium::Video));
            }
            Ok(())
        };
        let watch = connection.run("a picture source", watch)?;
        Ok(capnp_rpc::new_client(Self { call, input, _watch: watch }))
    }
}

impl video_sink::Server for VideoSource {
    async fn picture(
        self: Rc<Self>,
        params: video_sink::PictureParams,
        _: video_sink::PictureResults,
    ) -> capnp::Result<()> {
        let mut picture = read_picture(params.get()?.get_picture()?)?;
        picture.capture = believable(picture.capture);
        self.input.put(picture).map_err(|error| ended(&error))
    }
}

impl video_source::Server for VideoSource {
    async fn wanted(
        self: Rc<Self>,
        _: video_source::WantedParams,
        mut results: video_source::WantedResults,
    ) -> capnp::Result<()> {
        let wanted = self.call.hub().wanted();
        let mut size = results.get().init_size();
        size.set_width(wanted.size.width() as u16);
        size.set_height(wanted.size.height() as u16);
        results.get().set_frames_per_second(wanted.fps());
        Ok(())
    }
}

/// A client's sound source, likewise.
pub struct AudioSource {
    input: Rc<AudioInput>,
    _watch: Subscription,
}

impl AudioSource {
    pub fn client(connection: &Rc<Connection>, call: &CallHandle) -> capnp::Result<audio_source::Client> {
        let input = Rc::new(call.hub().send_audio());
        let (watched, id, taken) = (Rc::clone(&input), call.id(), connection.taken.clone());
        let watch = async move {
            if watched.taken().await == InputError::Taken {
                let _ = taken.send((id, Medium::Audio));
            }
            Ok(())
        };
        let watch = connection.run("a sound source", watch)?;
        Ok(capnp_rpc::new_client(Self { input, _watch: watch }))
    }
}

impl audio_sink::Server for AudioSource {
    async fn sound(self: Rc<Self>, params: audio_sink::SoundParams, _: audio_sink::SoundResults) -> capnp::Result<()> {
        let mut sound = read_sound(params.get()?.get_sound()?)?;
        sound.capture = believable(sound.capture);
        self.input.put(sound).map_err(|error| ended(&error))
    }
}

impl audio_source::Server for AudioSource {}

/// A capture time of this machine's clock that is not in the future and not long past.
fn believable(capture: MonoTime) -> MonoTime {
    let now = MonoTime::now();
    if capture > now || now.since(capture) > OLDEST_CAPTURE { now } else { capture }
}

fn ended(error: &InputError) -> Error {
    Error::disconnected(error.to_string())
}
