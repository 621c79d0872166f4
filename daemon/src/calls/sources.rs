//! What an unattended call sends: the test picture and tone, or in echo mode what arrives. Both yield to a client.

use std::time::Duration;

use kith_common::call::CallInfo;
use kith_common::clock::MonoTime;
use kith_common::media::{Size, VideoFormat};
use kith_common::testsource::{TestPicture, TestSound};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::media::hub::Hub;

/// A client that answered the same call has attached its source by then.
const CLIENT_GRACE: Duration = Duration::from_millis(300);
/// The test source: the size that calls are measured at.
const TEST_SIZE: (u32, u32) = (640, 360);
const TEST_FPS: u32 = 30;
const SOUND_INTERVAL: Duration = Duration::from_millis(20);

/// Sends test pictures until a client takes over or the call ends.
pub(super) async fn test_pictures(hub: Hub) {
    sleep(CLIENT_GRACE).await;
    if hub.has_video_source() {
        return;
    }
    let Ok(size) = Size::new(TEST_SIZE.0, TEST_SIZE.1) else { return };
    let input = hub.send_video(VideoFormat { size, fps_milli: TEST_FPS * 1000 });
    let source = TestPicture::new(size);
    let mut clock = interval(Duration::from_secs(1) / TEST_FPS);
    // A stalled machine loses pictures; it does not send old ones in a hurry.
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for sequence in 0.. {
        clock.tick().await;
        if input.put(source.draw(sequence, MonoTime::now())).is_err() {
            return;
        }
    }
}

/// Sends test sound, likewise.
pub(super) async fn test_sound(hub: Hub) {
    sleep(CLIENT_GRACE).await;
    if hub.has_audio_source() {
        return;
    }
    let input = hub.send_audio();
    let mut source = TestSound::new();
    let mut clock = interval(SOUND_INTERVAL);
    loop {
        clock.tick().await;
        if input.put(source.next(MonoTime::now())).is_err() {
            return;
        }
    }
}

/// Sends the peer's pictures back, as if each were taken at the moment it came. The format is the peer's.
pub(super) async fn echo_pictures(hub: Hub, info: watch::Receiver<CallInfo>) {
    let output = hub.receive_video();
    let mut input = None;
    let mut sequence = 0;
    while let Ok(mut picture) = output.next().await {
        let now = MonoTime::now();
        output.delivered(&picture, now);
        let announced = info.borrow().peer_format;
        let format = announced.unwrap_or(VideoFormat { size: picture.size, fps_milli: TEST_FPS * 1000 });
        if input.as_ref().is_none_or(|(current, _)| *current != format) {
            input = Some((format, hub.send_video(format)));
        }
        (picture.capture, picture.sequence) = (now, sequence);
        sequence += 1;
        if input.as_ref().is_some_and(|(_, input)| input.put(picture).is_err()) {
            return;
        }
    }
}

/// Sends the peer's sound back, likewise.
pub(super) async fn echo_sound(hub: Hub) {
    let output = hub.receive_audio();
    let input = hub.send_audio();
    let mut sequence = 0;
    while let Ok(mut sound) = output.next().await {
        let now = MonoTime::now();
        output.delivered(&sound, now);
        (sound.capture, sound.sequence) = (now, sequence);
        sequence += 1;
        if input.put(sound).is_err() {
            return;
        }
    }
}
