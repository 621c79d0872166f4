//! What each encoder needs for a picture of the test source, by size: `cargo run -p kith-codec --example speed`.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::time::Instant;

use kith_codec::{Frame, Target, video_encoder};
use kith_common::call::EncoderChoice;
use kith_common::clock::MonoTime;
use kith_common::media::Size;
use kith_common::testsource::TestPicture;

const PICTURES: u64 = 90;

fn main() {
    println!("| encoder | size | kb/s | ms a picture p50 | p95 | got kb/s |\n|---|---|---|---|---|---|");
    for (choice, name) in [(EncoderChoice::Auto, "auto"), (EncoderChoice::Rav1e, "rav1e")] {
        for (size, kbps) in [
            ("320x180", 150),
            ("320x180", 400),
            ("480x270", 300),
            ("640x360", 500),
            ("960x540", 900),
            ("1280x720", 1500),
        ] {
            let size: Size = size.parse().expect("a usual size");
            let target = Target { bps: kbps * 1000, fps: 30.0 };
            let mut encoder = video_encoder(choice, size, target).expect("it starts");
            let source = TestPicture::new(size);
            let (mut times, mut bytes) = (Vec::new(), 0);
            for number in 0..PICTURES {
                let picture = source.draw(number, MonoTime(1_000_000 + number * 33_333));
                let frame = if number == 0 { Frame::Key } else { Frame::Inter };
                let start = Instant::now();
                let units = encoder.encode(&picture, frame).expect("it encodes");
                times.push(start.elapsed().as_secs_f64() * 1000.0);
                bytes += units.iter().map(|unit| unit.data.len()).sum::<usize>();
            }
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[(times.len() as f64 * share) as usize];
            let got = bytes as f64 * 8.0 * 30.0 / PICTURES as f64 / 1000.0;
            println!("| {name} | {size} | {kbps} | {:.1} | {:.1} | {got:.0} |", at(0.5), at(0.95));
        }
    }
}
