//! Clips for the tests: made here, read back by code of its own, compared picture by picture and sound by sound.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// An uncompressed clip: 8 bit 4:2:0.
pub struct Y4m {
    pub width: usize,
    pub height: usize,
    pub fps: f64,
    pub pictures: Vec<Vec<u8>>,
}

impl Y4m {
    /// Reads a YUV4MPEG2 file; a picture that is cut short is left out.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let end = bytes.iter().position(|&byte| byte == b'\n').context("a y4m file begins with a line")?;
        let header = std::str::from_utf8(&bytes[..end])?;
        ensure!(header.starts_with("YUV4MPEG2"), "no y4m file: {header:.40}");
        let field = |letter: char| header.split(' ').skip(1).find_map(|word| word.strip_prefix(letter));
        let width: usize = field('W').context("width")?.parse()?;
        let height: usize = field('H').context("height")?.parse()?;
        let (rate, scale) = field('F').context("rate")?.split_once(':').context("a rate is a fraction")?;
        let fps = rate.parse::<f64>()? / scale.parse::<f64>()?;
        let length = width * height * 3 / 2;
        let mut pictures = Vec::new();
        let mut at = end + 1;
        while let Some(line) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n')) {
            let start = at + line + 1;
            let Some(picture) = bytes.get(start..start + length) else { break };
            pictures.push(picture.to_vec());
            at = start + length;
        }
        Ok(Self { width, height, fps, pictures })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
        let rate = (self.fps * 1000.0).round();
        writeln!(out, "YUV4MPEG2 W{} H{} F{rate}:1000 Ip A1:1 C420jpeg", self.width, self.height)?;
        for picture in &self.pictures {
            out.write_all(b"FRAME\n")?;
            out.write_all(picture)?;
        }
        Ok(out.flush()?)
    }

    fn luma(&self, index: usize) -> &[u8] {
        &self.pictures[index][..self.width * self.height]
    }

    /// For each picture of `self`, the best PSNR of its luma against any picture of `source`, in dB. Looking among all
    /// of them keeps this independent of how the clip was looped, delayed or thinned.
    pub fn psnr_against(&self, source: &Self) -> Result<Vec<f64>> {
        ensure!((self.width, self.height) == (source.width, source.height), "clips of one size are compared");
        // A coarse look at every 64th pixel finds the candidate, the whole picture gives the figure.
        let coarse = |a: &[u8], b: &[u8]| -> u64 {
            a.iter().step_by(64).zip(b.iter().step_by(64)).map(|(x, y)| u64::from(x.abs_diff(*y)).pow(2)).sum()
        };
        Ok((0..self.pictures.len())
            .map(|i| {
                let best =
                    (0..source.pictures.len()).min_by_key(|&j| coarse(self.luma(i), source.luma(j))).unwrap_or(0);
                psnr(self.luma(i), source.luma(best))
            })
            .collect())
    }
}

/// Peak signal-to-noise ratio of 8 bit samples in dB; 100 for equal pictures.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(x, y)| u64::from(x.abs_diff(*y)).pow(2)).sum();
    if sum == 0 {
        return 100.0;
    }
    10.0 * (255.0_f64.powi(2) * a.len() as f64 / sum as f64).log10()
}

/// A 16 bit PCM WAV file with one channel.
pub struct Wav {
    pub rate: u32,
    pub samples: Vec<i16>,
}

impl Wav {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(bytes.len() >= 12 && &bytes[..4] == b"RIFF" && &bytes[8..12] == b"WAVE", "no WAV file");
        let mut at = 12;
        let mut rate = 0;
        while let Some(header) = bytes.get(at..at + 8) {
            let length = u32::from_le_bytes(header[4..8].try_into()?) as usize;
            let body = &bytes[at + 8..(at + 8 + length).min(bytes.len())];
            match &header[..4] {
                b"fmt " => {
                    ensure!(body[2] == 1 && body[14] == 16, "one channel of 16 bit");
                    rate = u32::from_le_bytes(body[4..8].try_into()?);
                }
                b"data" => {
                    let samples = body.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                    return Ok(Self { rate, samples });
                }
                _ => {}
            }
            at += 8 + length + length % 2;
        }
        anyhow::bail!("a WAV file without sound")
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let length = u32::try_from(self.samples.len() * 2)?;
        let mut out = Vec::with_capacity(self.samples.len() * 2 + 44);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&(length + 36).to_le_bytes());
        out.extend_from_slice(b"WAVEfmt ");
        out.extend_from_slice(&16_u32.to_le_bytes());
        out.extend_from_slice(&[1, 0, 1, 0]);
        out.extend_from_slice(&self.rate.to_le_bytes());
        out.extend_from_slice(&(self.rate * 2).to_le_bytes());
        out.extend_from_slice(&[2, 0, 16, 0]);
        out.extend_from_slice(b"data");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        Ok(std::fs::write(path, out)?)
    }

    /// The loudness of each 20 ms in the recording, as root mean square.
    pub fn envelope(&self) -> Vec<f64> {
        let step = self.rate as usize / 50;
        self.samples
            .chunks_exact(step.max(1))
            .map(|chunk| {
                (chunk.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / chunk.len() as f64).sqrt()
            })
            .collect()
    }
}

/// The highest correlation of two loudness curves over all shifts in which the shorter lies within the longer, the
/// longer being repeated without end. A codec keeps the loudness curve and not the wave form.
pub fn best_correlation(recorded: &[f64], source: &[f64]) -> f64 {
    if recorded.is_empty() || source.is_empty() {
        return 0.0;
    }
    let correlate = |shift: usize| {
        let other: Vec<f64> = (0..recorded.len()).map(|i| source[(i + shift) % source.len()]).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (a, b) = (mean(recorded), mean(&other));
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for (x, y) in recorded.iter().zip(&other) {
            ab += (x - a) * (y - b);
            aa += (x - a).powi(2);
            bb += (y - b).powi(2);
        }
        if aa == 0.0 || bb == 0.0 { 0.0 } else { ab / (aa * bb).sqrt() }
    };
    (0..source.len()).map(correlate).fold(0.0, f64::max)
}

/// A moving picture with texture, different in every frame: rolling waves and a drifting square.
pub fn moving_clip(width: usize, height: usize, fps: f64, pictures: usize) -> Y4m {
    let make = |n: usize| {
        let mut data = Vec::with_capacity(width * height * 3 / 2);
        let phase = n as f64 * 0.11;
        for y in 0..height {
            for x in 0..width {
                let (u, v) = (x as f64 / 37.0, y as f64 / 23.0);
                let wave =
                    ((u + phase).sin() + (v - phase * 0.7).cos() + ((u * 0.3 + v * 0.4) + phase * 0.5).sin()) * 28.0;
                let inside = x.abs_diff((n * 5) % width) < height / 8 && y.abs_diff(height / 2) < height / 8;
                data.push((if inside { 210.0 } else { 118.0 + wave }) as u8);
            }
        }
        for plane in 0..2 {
            for y in 0..height / 2 {
                for x in 0..width / 2 {
                    let (u, v) = (x as f64 / 50.0, y as f64 / 40.0);
                    data.push((128.0 + ((u + v + phase * 0.3 + f64::from(plane)).sin() * 30.0)) as u8);
                }
            }
        }
        data
    };
    Y4m { width, height, fps, pictures: (0..pictures).map(make).collect() }
}

/// Speech-like sound: bursts of a wavering tone between pauses, `seconds` long, 48 kHz.
pub fn talking(seconds: f64) -> Wav {
    let rate = 48_000;
    let samples = (0..(seconds * f64::from(rate)) as usize)
        .map(|i| {
            let t = i as f64 / f64::from(rate);
            // Syllables of irregular loudness, so that no shift but the right one fits.
            let loud = ((t * 7.0).sin() * 0.5 + (t * 3.1).sin() * 0.5 + (t * 1.7).cos() * 0.4).max(0.0);
            let tone = (t * std::f64::consts::TAU * (180.0 + 40.0 * (t * 2.0).sin())).sin()
                + 0.4 * (t * std::f64::consts::TAU * 610.0).sin();
            (tone * loud * 7000.0) as i16
        })
        .collect();
    Wav { rate, samples }
}
