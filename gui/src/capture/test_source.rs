//! The moving test picture and the test sound, at the pace of real devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Sound, VideoFormat};
use kith_common::testsource::{TestPicture, TestSound};

/// A running source; dropping it stops it.
pub struct TestSource {
    stop: Arc<AtomicBool>,
}

impl Drop for TestSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl TestSource {
    pub fn pictures(format: VideoFormat, mut sink: impl FnMut(Picture) + Send + 'static) -> Self {
        let interval = Duration::from_secs_f64(1.0 / format.fps().max(1.0));
        let source = TestPicture::new(format.size);
        let mut sequence = 0;
        Self::every("kith-test-cam", interval, move || {
            sink(source.draw(sequence, MonoTime::now()));
            sequence += 1;
        })
    }

    pub fn sound(mut sink: impl FnMut(Sound) + Send + 'static) -> Self {
        let mut source = TestSound::new();
        Self::every("kith-test-mic", Duration::from_millis(20), move || sink(source.next(MonoTime::now())))
    }

    fn every(name: &str, interval: Duration, mut work: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                work();
                due += interval;
                match due.checked_duration_since(Instant::now()) {
                    Some(rest) => std::thread::sleep(rest),
                    // A machine that was asleep does not make up for it.
                    None => due = Instant::now(),
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the test source");
        }
        Self { stop }
    }
}
