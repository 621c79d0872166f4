//! The sound thread's work in virtual time.

use super::*;
use kith_codec::opus::Encoder;

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        arrived: Queue::new(MAX_ARRIVED),
        stop: AtomicBool::new(false),
        due: AtomicBool::new(true),
        stats: Mutex::new(AudioRxStats::default()),
    })
}

fn packets(count: usize) -> Vec<SoundPacket> {
    let mut encoder = Encoder::new().expect("it starts");
    encoder.set_loss(0.2).expect("a usual loss");
    let packet = |index: usize| {
        let sample = |at: usize| {
            let time = (index * FRAME_SAMPLES + at) as f64 / 48_000.0;
            let loud = 0.6 + 0.4 * (time * 7.0).sin();
            ((time * 220.0 * std::f64::consts::TAU).sin() * loud * 9000.0) as i16
        };
        let data = encoder.encode(&std::array::from_fn(sample)).expect("it encodes");
        let capture = MonoTime(10_000_000 + index as u64 * 20_000);
        SoundPacket { data, rtp_time: 48_000 + (index * FRAME_SAMPLES) as u64, capture, arrived: capture }
    };
    (0..count).map(packet).collect()
}

/// Plays packets, each arriving 5 ms after its capture, unless `lost`.
fn play(packets: Vec<SoundPacket>, lost: impl Fn(usize) -> bool) -> (Vec<Played>, AudioRxStats) {
    let (start, mono) = (Instant::now(), MonoTime(10_000_000));
    let sync = SharedLipSync::default();
    let decoder = Decoder::new().expect("it starts");
    let mut work = Work::new(Hub::new(), sync, shared(), decoder, start, mono);
    let mut played = Vec::new();
    for (index, mut packet) in packets.into_iter().enumerate() {
        let now = start + Duration::from_millis(index as u64 * 20 + 7);
        packet.arrived = packet.capture + Duration::from_millis(5);
        if !lost(index) {
            work.insert(packet);
        }
        played.push(work.tick(now));
    }
    let stats = lock(&work.shared.stats).clone();
    (played, stats)
}

#[test]
fn sound_comes_out_soon_and_whole() {
    let (played, stats) = play(packets(100), |_| false);
    let silent = played.iter().take_while(|played| **played == Played::Nothing).count();
    assert!(silent <= 3, "{silent} ticks before the first sound");
    assert!(played[silent..].iter().all(|played| matches!(played, Played::Received(_))));
    assert_eq!(stats.concealed_ms, 0);
    for (tick, played) in played.iter().enumerate().skip(silent) {
        let Played::Received(sound) = played else { continue };
        let delay = 10_007_000 + tick as i64 * 20_000 - sound.capture.micros() as i64;
        assert!((0..80_000).contains(&delay), "tick {tick}: {delay} us after its capture");
    }
}

#[test]
fn single_losses_are_rebuilt_and_not_counted_as_made_up() {
    let (played, stats) = play(packets(200), |index| index > 20 && index % 10 == 0);
    assert!(stats.rebuilt_ms >= 300, "{stats:?}");
    assert!(stats.concealed_ms <= 20, "{stats:?}");
    assert!(played[5..].iter().filter(|played| **played == Played::Nothing).count() <= 2);
}

#[test]
fn a_hole_is_made_up_and_counted() {
    let (_, stats) = play(packets(200), |index| (100..110).contains(&index));
    assert!((100..=220).contains(&stats.concealed_ms), "{stats:?}");
}

#[test]
fn silence_that_was_told_is_not_made_up() {
    let mut sound = packets(200);
    for packet in &mut sound[60..63] {
        packet.data.truncate(1);
        packet.data[0] &= !3;
    }
    let (_, stats) = play(sound, |index| (63..150).contains(&index));
    assert_eq!(stats.concealed_ms, 0, "{stats:?}");
}

#[test]
fn nonsense_is_left_out() {
    let mut sound = packets(100);
    for (index, packet) in sound.iter_mut().enumerate().skip(10).step_by(7) {
        packet.data = vec![0xff; index * 40];
        packet.rtp_time = u64::MAX - index as u64;
    }
    let (played, _) = play(sound, |_| false);
    assert!(played.iter().filter(|played| matches!(played, Played::Received(_))).count() > 80);
}
