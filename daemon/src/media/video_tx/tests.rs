//! The encoder thread's work in virtual time.

use kith_common::testsource::TestPicture;

use super::super::hub::VideoInput;
use super::*;
use kith_codec::dav1d::Decoder;
use kith_codec::starts_sequence;

struct Rig {
    work: Work,
    out: mpsc::Sender<EncodedPicture>,
    coded: mpsc::Receiver<EncodedPicture>,
    source: TestPicture,
    _input: VideoInput,
    start: Instant,
    number: u64,
}

impl Rig {
    fn new(side: &str, bps: u64, room: usize) -> Self {
        let size: Size = side.parse().expect("a usual size");
        let hub = Hub::new();
        let input = hub.send_video(VideoFormat { size, fps_milli: 30_000 });
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            camera: AtomicBool::new(true),
            target_bps: AtomicU64::new(bps),
            queue_age: AtomicU64::new(0),
            requests: Mutex::new(Vec::new()),
            figures: Mutex::new(Figures::default()),
        });
        let start = Instant::now();
        let (out, coded) = mpsc::channel(room);
        let work = Work::new(hub, shared, EncoderChoice::Auto, start);
        Self { work, out, coded, source: TestPicture::new(size), _input: input, start, number: 0 }
    }

    /// Gives the next picture, 33 ms after the last; what comes out.
    fn picture(&mut self) -> Option<EncodedPicture> {
        let passed = Duration::from_micros(self.number * 33_333);
        let capture = MonoTime(1_000_000) + passed;
        let picture = self.source.draw(self.number, capture);
        self.work.handle_picture(&picture, &self.out, self.start + passed);
        self.number += 1;
        self.coded.try_recv().ok()
    }

    fn figures(&self) -> (u64, u64) {
        let figures = lock(&self.work.shared.figures);
        (figures.sent, figures.dropped)
    }
}

#[test]
fn every_picture_of_a_good_call_is_sent_at_its_size() {
    let mut rig = Rig::new("640x360", 800_000, 4);
    for number in 0..60 {
        let coded = rig.picture().expect("nothing is in the way");
        assert_eq!(coded.key, number == 0);
        assert_eq!(coded.capture, MonoTime(1_000_000 + number * 33_333));
        assert_eq!(coded.size.to_string(), "640x360");
    }
    assert_eq!(rig.figures(), (60, 0));
}

#[test]
fn a_large_source_is_scaled_to_its_step_and_steps_change_with_a_key_frame() {
    let mut rig = Rig::new("1280x720", 100_000, 4);
    let mut decoder = Decoder::new().expect("it starts");
    let mut sizes = Vec::new();
    for number in 0..240 {
        if number == 30 {
            rig.work.shared.target_bps.store(2_500_000, Ordering::Relaxed);
        }
        let Some(coded) = rig.picture() else { continue };
        let decoded = decoder.decode(&coded.data).expect("it decodes").expect("a picture");
        assert_eq!(decoded.size, coded.size);
        if sizes.last() != Some(&coded.size) {
            assert!(coded.key, "{} begins with a key frame", coded.size);
            sizes.push(coded.size);
        }
    }
    let (first, last) = (sizes.first().expect("some"), sizes.last().expect("some"));
    // It may step down again where the machine is busy: the encoder is a real one.
    assert!(first.height() <= 180 && sizes.iter().any(|size| size.height() > 180), "{sizes:?}");
    assert_eq!(rig.work.hub.wanted().size, *last);
}

#[test]
fn a_full_queue_drops_pictures_before_they_are_encoded() {
    let mut rig = Rig::new("320x180", 300_000, 1);
    let first = rig.picture().expect("the queue is empty");
    let waiting = |rig: &mut Rig| {
        let capture = MonoTime(1_000_000 + rig.number * 33_333);
        let picture = rig.source.draw(rig.number, capture);
        rig.work.handle_picture(&picture, &rig.out, rig.start + Duration::from_micros(rig.number * 33_333));
        rig.number += 1;
    };
    for _ in 0..5 {
        waiting(&mut rig);
    }
    let second = rig.coded.try_recv().expect("one found its place");
    let third = rig.picture().expect("there is room again");
    // All that was sent decodes in a row: nothing was lost between.
    let mut decoder = Decoder::new().expect("it starts");
    for coded in [first, second, third] {
        assert!(matches!(decoder.decode(&coded.data), Ok(Some(_))));
    }
    assert_eq!(rig.figures(), (3, 4));
}

#[test]
fn an_old_queue_holds_pictures_back_but_not_all() {
    let mut rig = Rig::new("320x180", 300_000, 4);
    let _first = rig.picture().expect("the first");
    rig.work.shared.queue_age.store(150_000, Ordering::Relaxed);
    let sent = (0..30).filter(|_| rig.picture().is_some()).count();
    assert!((4..=6).contains(&sent), "{sent} in a second");
    rig.work.shared.queue_age.store(90_000, Ordering::Relaxed);
    assert!(rig.picture().is_some());
}

#[test]
fn key_frames_on_request_keep_their_distance() {
    let mut rig = Rig::new("320x180", 300_000, 4);
    let mut keys = Vec::new();
    for number in 0..90 {
        lock(&rig.work.shared.requests).push(KeyReason::Requested);
        let coded = rig.picture().expect("nothing is in the way");
        assert_eq!(starts_sequence(&coded.data), coded.key);
        if coded.key {
            keys.push(number);
        }
    }
    assert!(keys.len() >= 2 && keys.len() <= 7, "{keys:?}");
    assert!(keys.windows(2).all(|pair| pair[1] - pair[0] >= 15), "{keys:?}");
}

#[test]
fn a_source_faster_than_it_says_is_thinned_out() {
    let mut rig = Rig::new("320x180", 300_000, 4);
    let due = (0..60u64)
        .filter(|number| {
            let jitter = [0, 4_000, 1_000][*number as usize % 3];
            rig.work.is_due(MonoTime(1_000_000 + number * 16_667 + jitter), 30.0)
        })
        .count();
    assert!((29..=32).contains(&due), "{due} in a second");
    let jittered = (0..60u64)
        .filter(|number| {
            let jitter = [0, 9_000, 3_000, 12_000][*number as usize % 4];
            rig.work.is_due(MonoTime(9_000_000 + number * 33_333 + jitter), 30.0)
        })
        .count();
    assert_eq!(jittered, 60);
}

#[test]
fn what_a_source_delivers_at_once_after_a_pause_is_sent() {
    let mut rig = Rig::new("320x180", 300_000, 4);
    let (before, burst) = ([0, 33, 67, 100], [250, 266, 282, 298]);
    let due = before.iter().chain(&burst).filter(|ms| rig.work.is_due(MonoTime(1_000_000 + *ms * 1000), 30.0)).count();
    assert_eq!(due, 8);
    // A pause of a minute is no reason for a minute's pictures.
    let late = (0..60u64).filter(|number| rig.work.is_due(MonoTime(61_000_000 + number * 8_333), 30.0)).count();
    assert!((15..=21).contains(&late), "{late} in half a second");
}
