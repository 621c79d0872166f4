//! The signal work of [`super::Stretch`]: sound made shorter or longer by one pitch period, pitch unchanged (WSOLA).
//!
//! The place where the sound repeats itself best is sought, and the two periods are cross-faded there. Sound that does
//! not repeat itself and is not quiet is left as it is: stretching it would be heard, and there will be a better packet.

/// The highest and the lowest pitch sought: 400 Hz and 100 Hz at 48 kHz.
const MIN_LAG: usize = 120;
const MAX_LAG: usize = 480;
/// How alike the two periods must be.
const ALIKE: f64 = 0.8;
/// Below this mean power nobody hears the seam (about -50 dB full scale).
const QUIET: f64 = 10_000.0;
/// Every fourth sample is enough to find the pitch.
const STRIDE: usize = 4;

/// Shorter by one period, if it can be done without being heard.
pub fn accelerate(samples: &mut Vec<i16>) -> usize {
    let Some(lag) = period(samples) else { return 0 };
    // The first period fades into the second, the rest follows.
    for i in 0..lag {
        samples[i] = mix(samples[i], samples[i + lag], i, lag);
    }
    samples.drain(lag..2 * lag);
    lag
}

/// Longer by one period, if it can be done without being heard.
pub fn expand(samples: &mut Vec<i16>) -> usize {
    let Some(lag) = period(samples) else { return 0 };
    // After the second period comes the first one's end again: [0, lag) [seam] [lag, ..), the seam fading from what would
    // follow, back to what came before.
    let seam: Vec<i16> = (0..lag).map(|i| mix(samples[i + lag], samples[i], i, lag)).collect();
    samples.splice(lag..lag, seam);
    lag
}

fn mix(from: i16, to: i16, at: usize, length: usize) -> i16 {
    let (at, length) = (at as i32, length as i32);
    let mixed = (i32::from(from) * (length - at) + i32::from(to) * at) / length;
    // Between two i16, so it is one.
    mixed as i16
}

/// The lag at which the beginning repeats itself best.
fn period(samples: &[i16]) -> Option<usize> {
    if samples.len() < 2 * MAX_LAG {
        return None;
    }
    let window = MAX_LAG;
    let power = |from: usize| {
        samples[from..from + window].iter().step_by(STRIDE).map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>()
    };
    let first = power(0);
    let n = (window / STRIDE) as f64;
    let mut best = (f64::MIN, MIN_LAG);
    for lag in (MIN_LAG..=MAX_LAG).step_by(2) {
        let pairs = samples[..window].iter().step_by(STRIDE).zip(samples[lag..lag + window].iter().step_by(STRIDE));
        let product: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let norm = (first * power(lag)).sqrt();
        let alike = if norm > 0.0 { product / norm } else { 1.0 };
        if alike > best.0 {
            best = (alike, lag);
        }
    }
    let quiet = first / n < QUIET && power(samples.len() - window) / n < QUIET;
    // In silence any lag will do; the largest gains most.
    if quiet {
        return Some(MAX_LAG);
    }
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64) -> Vec<i16> {
        (0..960)
            .map(|i| (f64::from(i) * hertz * std::f64::consts::TAU / 48_000.0).sin() * 8_000.0)
            .map(|s| s as i16)
            .collect()
    }

    fn steepest(samples: &[i16]) -> i32 {
        samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap_or(0)
    }

    #[test]
    fn a_tone_changes_length_without_a_click() {
        for hertz in [110.0, 200.0, 333.0] {
            let before = tone(hertz);
            let limit = steepest(&before) * 2;
            let (mut short, mut long) = (before.clone(), before.clone());
            let (gone, more) = (accelerate(&mut short), expand(&mut long));
            assert!(gone >= MIN_LAG && more >= MIN_LAG, "{hertz}: {gone} {more}");
            assert_eq!((short.len(), long.len()), (960 - gone, 960 + more));
            assert!(steepest(&short) <= limit && steepest(&long) <= limit, "{hertz} Hz clicks");
        }
    }

    #[test]
    fn silence_gives_ten_milliseconds_and_loud_noise_none() {
        assert_eq!(accelerate(&mut vec![0; 960]), MAX_LAG);
        let mut rng = crate::link::Rng::new(3);
        let mut noise: Vec<i16> = (0..960).map(|_| ((rng.unit() - 0.5) * 20_000.0) as i16).collect();
        assert_eq!(accelerate(&mut noise), 0);
        assert_eq!(accelerate(&mut vec![1; 100]), 0, "too short to judge");
    }
}
