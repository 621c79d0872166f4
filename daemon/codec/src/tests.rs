//! Encoders and decoder against each other, and against nonsense.

use bytes::Bytes;
use kith_common::media::FRAME_SAMPLES;
use proptest::prelude::*;

use super::dav1d::{Decoded, Decoder};
use super::*;

const FPS: f64 = 30.0;

fn size(text: &str) -> Size {
    text.parse().expect("a usual size")
}

/// A moving picture with flat areas, slopes, edges and some texture, as cameras see.
fn picture(size: Size, number: u64) -> Picture {
    let (width, height) = (size.width(), size.height());
    let mut data = Vec::with_capacity(size.i420_bytes());
    let shift = number as usize * 3;
    for row in 0..height {
        for column in 0..width {
            let slope = column * 60 / width + row * 40 / height;
            let (x, y) = ((column + shift) % width, (row + shift / 2) % height);
            let inside = x > width / 4 && x < width / 2 && y > height / 4 && y < height * 3 / 4;
            let texture = (x * 7 + y * 13) % 16;
            data.push((40 + slope + if inside { 70 + texture } else { texture / 4 }) as u8);
        }
    }
    for base in [100, 150] {
        for row in 0..height / 2 {
            data.extend((0..width / 2).map(|column| (base + (column + shift) * 30 / width + row % 3) as u8));
        }
    }
    let capture = MonoTime(1_000_000 + number * 33_333);
    Picture::new(size, capture, number, Bytes::from(data)).expect("made for this size")
}

fn psnr_y(picture: &Picture, decoded: &Decoded) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let error: f64 = picture.y().iter().zip(decoded.data.iter()).map(square).sum();
    10.0 * (255.0 * 255.0 * picture.size.pixels() as f64 / error.max(1.0)).log10()
}

fn encoder(choice: EncoderChoice, size: Size, bps: u64) -> Box<dyn VideoEncoder> {
    video_encoder(choice, size, Target { bps, fps: FPS }).expect("the encoder starts")
}

/// CPU time of this thread, which other work on the machine does not change.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Encodes and decodes `numbers` and returns bytes, mean PSNR, and CPU milliseconds a picture for both.
fn round_trip(
    encoder: &mut dyn VideoEncoder,
    decoder: &mut Decoder,
    numbers: std::ops::Range<u64>,
) -> (usize, f64, f64, f64) {
    let pictures: Vec<Picture> = numbers.map(|number| picture(encoder.size(), number)).collect();
    let (mut bytes, mut psnr, mut shown, mut encode, mut decode) = (0, 0.0, 0, 0.0, 0.0);
    for source in &pictures {
        let start = cpu_ms();
        let units = encoder.encode(source, Frame::Inter).expect("it encodes");
        encode += cpu_ms() - start;
        for unit in units {
            bytes += unit.data.len();
            let start = cpu_ms();
            let decoded = decoder.decode(&unit.data).expect("it decodes").expect("each unit shows a picture");
            decode += cpu_ms() - start;
            let original = pictures.iter().find(|picture| picture.capture == unit.capture);
            let original = original.expect("the capture time is one that went in");
            assert_eq!(decoded.size, original.size);
            psnr += psnr_y(original, &decoded);
            shown += 1;
        }
    }
    let count = pictures.len() as f64;
    assert!(shown > 0);
    (bytes, psnr / f64::from(shown), encode / count, decode / count)
}

fn choices() -> Vec<EncoderChoice> {
    let mut choices = vec![EncoderChoice::Rav1e];
    if cfg!(feature = "aom") {
        choices.push(EncoderChoice::Aom);
    }
    choices
}

#[test]
fn pictures_survive_both_encoders() {
    for choice in choices() {
        let mut encoder = encoder(choice, size("640x360"), 600_000);
        let mut decoder = Decoder::new().expect("it starts");
        let (_, psnr, encode, decode) = round_trip(&mut *encoder, &mut decoder, 0..30);
        println!("{} 360p: {psnr:.1} dB, encode {encode:.2} ms, decode {decode:.2} ms", encoder.name());
        assert!(psnr > 30.0, "{}: {psnr}", encoder.name());
    }
}

/// The build scripts of both C codecs make unoptimised code unless `.cargo/config.toml` tells the compilers otherwise.
#[cfg(feature = "aom")]
#[test]
fn the_c_codecs_are_built_with_optimisation() {
    let mut encoder = encoder(EncoderChoice::Aom, size("640x360"), 600_000);
    let mut decoder = Decoder::new().expect("it starts");
    round_trip(&mut *encoder, &mut decoder, 0..5);
    let (_, _, encode, decode) = round_trip(&mut *encoder, &mut decoder, 5..65);
    println!("libaom 360p: encode {encode:.2} ms, decode {decode:.2} ms of CPU");
    assert!(encode < 9.0 && decode < 4.0, "{encode} ms and {decode} ms: is .cargo/config.toml there?");
}

#[test]
fn a_change_of_size_in_mid_stream_goes_through_one_decoder() {
    for choice in choices() {
        let mut decoder = Decoder::new().expect("it starts");
        for (turn, side) in ["320x180", "640x360", "480x270", "160x120", "642x362"].into_iter().enumerate() {
            let first = turn as u64 * 8;
            let mut encoder = encoder(choice, size(side), 500_000);
            let (_, psnr, ..) = round_trip(&mut *encoder, &mut decoder, first..first + 8);
            assert!(psnr > 30.0, "{side}: {psnr}");
        }
    }
}

#[test]
fn a_key_frame_comes_when_forced_and_only_then() {
    for choice in choices() {
        let mut encoder = encoder(choice, size("320x180"), 300_000);
        let mut frames = Vec::new();
        let mut decoder = Decoder::new().expect("it starts");
        for number in 0..30 {
            let frame = if number == 12 { Frame::Key } else { Frame::Inter };
            let units = encoder.encode(&picture(size("320x180"), number), frame).expect("it encodes");
            frames.extend(units);
        }
        frames.extend(encoder.finish());
        assert_eq!(frames.len(), 30);
        let keys: Vec<usize> = (0..30).filter(|index| frames[*index].frame == Frame::Key).collect();
        assert_eq!(keys, [0, 12], "{}", encoder.name());
        for unit in &frames {
            assert_eq!(starts_sequence(&unit.data), unit.frame == Frame::Key);
            assert_eq!(unit.data[..2], TEMPORAL_DELIMITER);
        }
        // A receiver that comes late begins there, and shows nothing before.
        for unit in &frames[5..12] {
            assert!(!matches!(decoder.decode(&unit.data), Ok(Some(_))));
        }
        assert!(frames[12..].iter().all(|unit| matches!(decoder.decode(&unit.data), Ok(Some(_)))));
    }
}

#[test]
fn the_bitrate_follows_its_target() {
    for choice in choices() {
        let mut encoder = encoder(choice, size("640x360"), 1_500_000);
        let mut decoder = Decoder::new().expect("it starts");
        // Noise, so that there is always something to spend bits on.
        let mut seed = 1u32;
        let mut spent = |encoder: &mut dyn VideoEncoder, numbers: std::ops::Range<u64>| {
            let mut bytes = 0;
            for number in numbers {
                let mut data = picture(encoder.size(), number).data().to_vec();
                for byte in &mut data {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *byte = byte.wrapping_add((seed >> 30) as u8);
                }
                let capture = MonoTime(1_000_000 + number * 33_333);
                let noisy = Picture::new(encoder.size(), capture, number, data.into()).expect("the same size");
                for unit in encoder.encode(&noisy, Frame::Inter).expect("it encodes") {
                    bytes += unit.data.len();
                    assert!(decoder.decode(&unit.data).is_ok());
                }
            }
            bytes
        };
        let _ramp = spent(&mut *encoder, 0..30);
        let high = spent(&mut *encoder, 30..60);
        encoder.set_target(Target { bps: 400_000, fps: FPS }).expect("a usual bitrate");
        let _ramp = spent(&mut *encoder, 60..90);
        let low = spent(&mut *encoder, 90..120);
        assert!(low * 2 < high, "{}: {high} bytes, then {low}", encoder.name());
    }
}

#[test]
fn a_picture_of_another_size_is_refused() {
    for choice in choices() {
        let mut encoder = encoder(choice, size("320x180"), 300_000);
        let refused = encoder.encode(&picture(size("640x360"), 0), Frame::Inter);
        assert!(matches!(refused, Err(CodecError::Size { .. })));
    }
}

#[test]
fn a_damaged_stream_is_an_error_until_the_next_key_frame() {
    let mut encoder = encoder(EncoderChoice::Auto, size("320x180"), 300_000);
    let mut decoder = Decoder::new().expect("it starts");
    let mut unit = |number, frame| {
        let mut units = encoder.encode(&picture(size("320x180"), number), frame).expect("it encodes");
        units.pop().expect("auto holds nothing back").data
    };
    if cfg!(not(feature = "aom")) {
        return;
    }
    assert!(matches!(decoder.decode(&unit(0, Frame::Key)), Ok(Some(_))));
    let mut broken = unit(1, Frame::Inter);
    broken.truncate(broken.len() / 2);
    assert!(!matches!(decoder.decode(&broken), Ok(Some(_))));
    assert!(!matches!(decoder.decode(&unit(2, Frame::Inter)), Ok(Some(_))));
    assert!(matches!(decoder.decode(&unit(3, Frame::Key)), Ok(Some(_))));
}

#[test]
fn empty_and_huge_units_are_refused() {
    let mut decoder = Decoder::new().expect("it starts");
    assert!(decoder.decode(&[]).is_err());
    assert!(decoder.decode(&vec![0x12; MAX_UNIT_BYTES + 1]).is_err());
}

/// A key frame of 160x120 to damage.
fn key_unit() -> &'static [u8] {
    static UNIT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    UNIT.get_or_init(|| {
        let mut encoder = encoder(EncoderChoice::Auto, size("160x120"), 100_000);
        let mut units = encoder.encode(&picture(size("160x120"), 0), Frame::Key).expect("it encodes");
        units.extend(encoder.finish());
        units.swap_remove(0).data
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_brings_the_decoder_down(units in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..8)) {
        let mut decoder = Decoder::new().expect("it starts");
        for unit in &units {
            let _ = decoder.decode(unit);
            let _ = starts_sequence(unit);
        }
        prop_assert!(matches!(decoder.decode(key_unit()), Ok(Some(_))));
    }

    #[test]
    fn a_damaged_key_frame_never_brings_the_decoder_down(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut unit = key_unit().to_vec();
        for (place, byte) in places {
            let place = place.index(unit.len());
            unit[place] = byte;
        }
        let mut decoder = Decoder::new().expect("it starts");
        let _ = decoder.decode(&unit);
        prop_assert!(matches!(decoder.decode(key_unit()), Ok(Some(_))));
    }

    #[test]
    fn garbage_never_brings_opus_down(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut decoder = opus::Decoder::new().expect("it starts");
        for packet in &packets {
            let _ = decoder.decode(packet);
            let _ = decoder.rebuild(packet);
            let _ = decoder.conceal();
        }
    }
}

fn tone(frame: usize) -> [i16; FRAME_SAMPLES] {
    std::array::from_fn(|index| {
        let time = (frame * FRAME_SAMPLES + index) as f64 / 48_000.0;
        // A voice-like tone whose loudness changes.
        let loud = 0.6 + 0.4 * (time * 7.0).sin();
        ((time * 220.0 * std::f64::consts::TAU).sin() * loud * 9000.0) as i16
    })
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}

#[test]
fn a_lost_packet_is_rebuilt_from_the_next_one() {
    let mut encoder = opus::Encoder::new().expect("it starts");
    encoder.set_loss(0.2).expect("a usual loss");
    let packets: Vec<Vec<u8>> = (0..50).map(|frame| encoder.encode(&tone(frame)).expect("it encodes")).collect();
    let mut decoder = opus::Decoder::new().expect("it starts");
    for packet in &packets[..40] {
        assert_eq!(decoder.decode(packet).expect("it decodes").len(), FRAME_SAMPLES);
    }
    let rebuilt = decoder.rebuild(&packets[41]).expect("packet 41 carries 40");
    assert_eq!(rebuilt.len(), FRAME_SAMPLES);
    assert!(energy(&rebuilt) > energy(&tone(40)) * 0.2);
    assert_eq!(decoder.decode(&packets[41]).expect("it decodes").len(), FRAME_SAMPLES);
    assert_eq!(decoder.conceal().expect("it makes something up").len(), FRAME_SAMPLES);
}

#[test]
fn a_tone_is_never_taken_for_silence_and_silence_costs_nothing() {
    let mut encoder = opus::Encoder::new().expect("it starts");
    let steady = |frame: usize| -> [i16; FRAME_SAMPLES] {
        std::array::from_fn(|index| {
            let time = (frame * FRAME_SAMPLES + index) as f64 / 48_000.0;
            ((time * 440.0 * std::f64::consts::TAU).sin() * 3000.0) as i16
        })
    };
    for frame in 0..250 {
        let packet = encoder.encode(&steady(frame)).expect("it encodes");
        assert!(packet.len() > opus::SILENT_BYTES, "frame {frame}");
    }
    let mut silent = 0;
    for _ in 0..100 {
        let packet = encoder.encode(&[0; FRAME_SAMPLES]).expect("it encodes");
        silent += u32::from(packet.len() <= opus::SILENT_BYTES);
    }
    assert!(silent > 70, "{silent} of 100");
}
