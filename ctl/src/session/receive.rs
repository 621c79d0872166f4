//! Takes the pictures and the sound of the other side, as soon as they are delivered, on a thread each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kith_common::client::ClientCall;
use kith_common::clock::MonoTime;
use tokio::sync::mpsc;

use super::SharedFigures;
use super::device::Playback;
use super::record::Recorder;

/// How often the threads look whether they should end.
const LOOK: Duration = Duration::from_millis(250);

/// Pictures for a recording that may wait while the thread is held up; otherwise only the newest counts.
const PICTURES: usize = 30;

pub struct Receiving {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Receiving {
    /// Returns when nothing more is handed to the recorder.
    pub fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic there has been printed; the call's end is to be reported all the same.
            let _panicked = thread.join();
        }
    }
}

pub async fn start(
    call: &ClientCall,
    figures: &SharedFigures,
    recorder: Option<&Recorder>,
    playback: &Playback,
    notices: &mpsc::Sender<String>,
) -> Receiving {
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let tell = |what: &str, why: &dyn std::fmt::Display| {
        let _full = notices.try_send(format!("kithctl: cannot receive {what}: {why}"));
    };
    let video = async {
        match recorder {
            Some(_) => call.receive_every_picture(PICTURES).await,
            None => call.receive_video().await,
        }
    };
    let (video, audio) = tokio::join!(video, call.receive_audio());
    match video {
        Ok(video) => {
            let (over, figures, recorder) = (Arc::clone(&over), figures.clone(), recorder.cloned());
            let spawned = spawn("kithctl-video-in", move || {
                while let (false, Ok(arrived)) = (over.load(Ordering::Relaxed), video.next_blocking(LOOK)) {
                    let Some(picture) = arrived else { continue };
                    figures.lock().picture(&picture, MonoTime::now());
                    if let Some(recorder) = &recorder {
                        recorder.picture(picture);
                    }
                }
            });
            spawned.map_or_else(|error| tell("pictures", &error), |thread| threads.push(thread));
        }
        Err(failure) => tell("pictures", &failure),
    }
    match audio {
        Ok(audio) => {
            let (over, figures, recorder) = (Arc::clone(&over), figures.clone(), recorder.cloned());
            let playback = Arc::clone(playback);
            let spawned = spawn("kithctl-audio-in", move || {
                while let (false, Ok(arrived)) = (over.load(Ordering::Relaxed), audio.next_blocking(LOOK)) {
                    let Some(sound) = arrived else { continue };
                    figures.lock().sound(&sound, MonoTime::now());
                    if let Some(speaker) = playback.get() {
                        speaker.play(&sound);
                    }
                    if let Some(recorder) = &recorder {
                        recorder.sound(sound);
                    }
                }
            });
            spawned.map_or_else(|error| tell("sound", &error), |thread| threads.push(thread));
        }
        Err(failure) => tell("sound", &failure),
    }
    Receiving { over, threads }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
