//! The decoder thread's work, picture by picture.

use kith_common::call::EncoderChoice;
use kith_common::testsource::TestPicture;

use super::*;
use kith_codec::{Frame, Target, VideoEncoder, video_encoder};

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        units: Queue::new(MAX_WAITING),
        stop: AtomicBool::new(false),
        lost: AtomicBool::new(false),
        key_wanted: Arc::new(Notify::new()),
        figures: Mutex::new(Figures::default()),
    })
}

fn work() -> Work {
    let decoder = Decoder::new().expect("it starts");
    Work::new(Hub::new(), SharedLipSync::default(), shared(), decoder)
}

struct Sender {
    encoder: Box<dyn VideoEncoder>,
    source: TestPicture,
    number: u64,
}

impl Sender {
    fn new() -> Self {
        let size = "320x180".parse().expect("a usual size");
        let target = Target { bps: 300_000, fps: 30.0 };
        let encoder = video_encoder(EncoderChoice::Auto, size, target).expect("it starts");
        Self { encoder, source: TestPicture::new(size), number: 0 }
    }

    fn unit(&mut self, frame: Frame) -> EncodedIn {
        loop {
            let capture = MonoTime(1_000_000 + self.number * 33_333);
            let picture = self.source.draw(self.number, capture);
            self.number += 1;
            let mut units = self.encoder.encode(&picture, frame).expect("it encodes");
            // As it comes from the packetizer, without the delimiter.
            if let Some(unit) = units.pop() {
                return EncodedIn { data: unit.data[2..].to_vec(), capture: unit.capture, contiguous: true };
            }
        }
    }
}

#[test]
fn pictures_come_out_with_their_capture_times_and_numbers() {
    let (mut sender, mut work) = (Sender::new(), work());
    for number in 1..=10 {
        let unit = sender.unit(Frame::Inter);
        let picture = work.decode(&unit, Instant::now()).expect("it decodes");
        assert_eq!((picture.sequence, picture.capture), (number, unit.capture));
        let read = TestPicture::read_sequence(&picture);
        assert_eq!(read, Some(number as u32 - 1));
    }
    assert_eq!(lock(&work.shared.figures).key_requests, 0);
}

#[test]
fn after_a_gap_nothing_is_shown_until_a_key_frame_and_it_is_asked_for_once() {
    let (mut sender, mut work) = (Sender::new(), work());
    let now = Instant::now();
    assert!(work.decode(&sender.unit(Frame::Key), now).is_some());
    let _lost = sender.unit(Frame::Inter);
    for number in 0..10 {
        let unit = EncodedIn { contiguous: number > 0, ..sender.unit(Frame::Inter) };
        assert!(work.decode(&unit, now + Duration::from_millis(number * 33)).is_none());
    }
    assert_eq!(lock(&work.shared.figures).key_requests, 1);
    // The request may have been lost.
    assert!(work.decode(&sender.unit(Frame::Inter), now + ASK_AGAIN * 2).is_none());
    assert_eq!(lock(&work.shared.figures).key_requests, 2);
    assert!(work.decode(&sender.unit(Frame::Key), now).is_some());
    assert!(work.decode(&sender.unit(Frame::Inter), now).is_some());
}

#[test]
fn a_damaged_unit_leads_to_a_key_request() {
    let (mut sender, mut work) = (Sender::new(), work());
    let now = Instant::now();
    assert!(work.decode(&sender.unit(Frame::Key), now).is_some());
    let mut broken = sender.unit(Frame::Inter);
    broken.data.truncate(3);
    assert!(work.decode(&broken, now).is_none());
    assert!(work.decode(&sender.unit(Frame::Inter), now).is_none());
    assert!(lock(&work.shared.figures).key_requests >= 1);
    assert!(work.decode(&sender.unit(Frame::Key), now).is_some());
}

#[test]
fn a_decoder_that_falls_behind_goes_on_at_the_newest_key_frame() {
    let (mut sender, mut work) = (Sender::new(), work());
    let receiver = VideoRx(Arc::clone(&work.shared));
    for number in 0..MAX_WAITING + 1 {
        receiver.push(sender.unit(if number == 12 { Frame::Key } else { Frame::Inter }));
    }
    let mut shown = Vec::new();
    while let Ok(Some(unit)) = work.shared.units.take_blocking(Duration::ZERO) {
        shown.push(work.decode(&unit, Instant::now()).is_some());
    }
    assert_eq!(shown, vec![true; MAX_WAITING + 1 - 12]);
    assert_eq!(receiver.stats().dropped, 12);
}
