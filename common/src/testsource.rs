//! Pictures and sound for when there is no camera and no microphone, and for measuring.
//!
//! The picture moves, shows a running clock, and carries the number of the picture as a barcode along its lower edge
//! that survives scaling and strong compression; the sound is a tone and bursts like speech with pauses between them.
//! Both are deterministic: the same number and time give the same bytes. Used by the daemon (auto-answer with no client),
//! the window and the command line. Never reads the clock: times are handed in.

use bytes::Bytes;

use crate::clock::MonoTime;
use crate::media::{FRAME_SAMPLES, Picture, SAMPLE_RATE, Size, Sound};

/// The barcode: two rows of 16 cells, most significant bit first; 24 bit number in Gray code, 8 bit check value.
const BAR_ROWS: usize = 2;
const BAR_COLUMNS: usize = 16;
/// The picture's width holds the cells and a margin of one cell on each side.
const BAR_GRID_COLUMNS: usize = BAR_COLUMNS + 2;
/// A cell's height is this part of the picture's: 10 lines at 180p.
const BAR_GRID_ROWS: usize = 18;
const BAR_DARK: u8 = 40;
const BAR_LIGHT: u8 = 210;
const BAR_MIDDLE: u32 = 125;
/// Numbers beyond 24 bit wrap: at 30 pictures a second after six days.
const SEQUENCE_MASK: u32 = 0x00ff_ffff;
/// CRC-8/SMBUS, so that a blurred cell makes the number unreadable and not wrong.
const CRC_POLYNOMIAL: u8 = 0x07;

/// Draws the test picture at one size.
#[derive(Clone)]
pub struct TestPicture {
    size: Size,
    /// What never changes, drawn once: the gradient.
    background: Vec<u8>,
}

/// A rectangle in pixels, kept inside the picture when it is made.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

#[derive(Clone, Copy)]
struct Colour {
    y: u8,
    u: u8,
    v: u8,
}

const PAPER: Colour = Colour { y: 222, u: 126, v: 131 };
const SUN: Colour = Colour { y: 188, u: 74, v: 170 };
const MOON: Colour = Colour { y: 140, u: 168, v: 92 };

impl TestPicture {
    pub fn new(size: Size) -> Self {
        let (width, height) = (size.width(), size.height());
        let mut background = vec![0; size.i420_bytes()];
        let (luma, chroma) = background.split_at_mut(size.pixels());
        let (u, v) = chroma.split_at_mut(size.pixels() / 4);
        for (row, line) in luma.chunks_exact_mut(width).enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = blend(52, 112, row * 2 * width + column * height, 3 * width * height);
            }
        }
        let half = width / 2;
        for (index, (u, v)) in u.iter_mut().zip(v.iter_mut()).enumerate() {
            let (row, column) = (index / half, index % half);
            *u = blend(158, 142, row, height / 2);
            *v = blend(112, 148, column + row, half + height / 2);
        }
        Self { size, background }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// The picture of that number; the clock in it shows `capture`.
    pub fn draw(&self, sequence: u64, capture: MonoTime) -> Picture {
        let mut canvas = Canvas { size: self.size, data: self.background.clone() };
        let seconds = capture.0 % 3_600_000_000;
        let turn = |period_us: u64| (capture.0 % period_us) as f32 / period_us as f32 * std::f32::consts::TAU;
        let (width, height) = (self.size.width() as f32, self.size.height() as f32);
        let short = width.min(height);
        let sun = (width * (0.5 + 0.36 * turn(7_000_000).sin()), height * (0.36 + 0.2 * turn(5_000_000).cos()));
        let moon = (width * (0.5 - 0.38 * turn(11_000_000).cos()), height * (0.4 - 0.2 * turn(9_000_000).sin()));
        canvas.disc(moon, short * 0.07, MOON);
        canvas.disc(sun, short * 0.13, SUN);
        canvas.clock(seconds);
        canvas.barcode(sequence);
        Picture::new(self.size, capture, sequence, Bytes::from(canvas.data)).expect("the canvas has the picture's size")
    }

    /// The number of a test picture, also after scaling and compression; `None` when it is not readable.
    pub fn read_sequence(picture: &Picture) -> Option<u32> {
        let mut bits = 0_u32;
        for cell in 0..BAR_ROWS * BAR_COLUMNS {
            let area = bar_cell(picture.size, cell);
            // The inner half: scaling and transform coding blur the edges.
            let (dx, dy) = ((area.right - area.left) / 4, (area.bottom - area.top) / 4);
            let (mut sum, mut count) = (0, 0);
            for row in area.top + dy..area.bottom - dy {
                let start = row * picture.size.width();
                let line = picture.y().get(start + area.left + dx..start + area.right - dx)?;
                sum += line.iter().map(|&pixel| u32::from(pixel)).sum::<u32>();
                count += u32::try_from(line.len()).ok()?;
            }
            bits = bits << 1 | u32::from(sum.checked_div(count)? > BAR_MIDDLE);
        }
        let gray = bits >> 8;
        if crc8(gray) != bits.to_be_bytes()[3] {
            return None;
        }
        let mut number = gray;
        for shift in [1, 2, 4, 8, 16] {
            number ^= number >> shift;
        }
        Some(number)
    }
}

fn blend(from: u8, to: u8, part: usize, whole: usize) -> u8 {
    let (from, to) = (i64::from(from), i64::from(to));
    let (part, whole) = (i64::try_from(part).unwrap_or(0), i64::try_from(whole.max(1)).unwrap_or(1));
    u8::try_from(from + (to - from) * part / whole).unwrap_or(128)
}

/// Check value of the 24 bits; its complement of zero keeps an all-dark picture from reading as number 0.
fn crc8(value: u32) -> u8 {
    let crc = value.to_be_bytes()[1..].iter().fold(0, |crc: u8, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ CRC_POLYNOMIAL })
    });
    crc ^ 0x55
}

fn bar_cell(size: Size, cell: usize) -> Area {
    let (row, column) = (cell / BAR_COLUMNS, cell % BAR_COLUMNS);
    let x = |column: usize| column * size.width() / BAR_GRID_COLUMNS;
    let y = |row: usize| row * size.height() / BAR_GRID_ROWS;
    // Half a row of margin below.
    let lift = size.height() / BAR_GRID_ROWS / 2;
    let top = BAR_GRID_ROWS - BAR_ROWS + row;
    Area { left: x(column + 1), right: x(column + 2), top: y(top) - lift, bottom: y(top + 1) - lift }
}

struct Canvas {
    size: Size,
    data: Vec<u8>,
}

impl Canvas {
    fn planes(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let pixels = self.size.pixels();
        let (y, chroma) = self.data.split_at_mut(pixels);
        let (u, v) = chroma.split_at_mut(pixels / 4);
        (y, u, v)
    }

    fn luma_rectangle(&mut self, area: Area, luma: u8) {
        let width = self.size.width();
        let (left, right) = (area.left.min(width), area.right.min(width));
        for row in area.top..area.bottom.min(self.size.height()) {
            self.data[row * width + left..row * width + right.max(left)].fill(luma);
        }
    }

    /// Luma and chroma; chroma is half as fine, so edges are moved to even pixels by rounding down.
    fn rectangle(&mut self, area: Area, colour: Colour) {
        self.luma_rectangle(area, colour.y);
        let half = self.size.width() / 2;
        let rows = area.top / 2..(area.bottom / 2).min(self.size.height() / 2);
        let (left, right) = ((area.left / 2).min(half), (area.right / 2).min(half));
        let (_, u, v) = self.planes();
        for row in rows {
            u[row * half + left..row * half + right.max(left)].fill(colour.u);
            v[row * half + left..row * half + right.max(left)].fill(colour.v);
        }
    }

    fn disc(&mut self, (cx, cy): (f32, f32), radius: f32, colour: Colour) {
        let (width, height) = (self.size.width(), self.size.height());
        let (y, u, v) = self.planes();
        soft_disc(y, width, height, (cx, cy), radius, colour.y);
        let centre = (cx / 2.0, cy / 2.0);
        soft_disc(u, width / 2, height / 2, centre, radius / 2.0, colour.u);
        soft_disc(v, width / 2, height / 2, centre, radius / 2.0, colour.v);
    }

    /// Minutes, seconds and hundredths in seven-segment digits.
    fn clock(&mut self, micros: u64) {
        let (minutes, seconds, hundredths) = (micros / 60_000_000, micros / 1_000_000 % 60, micros / 10_000 % 100);
        let digits = [minutes / 10, minutes % 10, seconds / 10, seconds % 10, hundredths / 10, hundredths % 10];
        let unit = (self.size.height() / 60).min(self.size.width() / 60).max(1);
        // A digit is 4 units wide and 7 high; gaps of one, and of three (with dots) between the pairs.
        let total = unit * (6 * 4 + 3 + 2 * 3);
        let mut left = self.size.width().saturating_sub(total) / 2;
        let top = self.size.height() * 13 / 20 - unit;
        for (index, digit) in digits.into_iter().enumerate() {
            self.digit(left, top, unit, digit);
            left += 4 * unit;
            match index {
                1 => {
                    for dot in [2, 4] {
                        self.block(left + unit, top + dot * unit, unit, unit);
                    }
                    left += 3 * unit;
                }
                3 => {
                    self.block(left + unit, top + 6 * unit, unit, unit);
                    left += 3 * unit;
                }
                _ => left += unit,
            }
        }
    }

    fn digit(&mut self, left: usize, top: usize, unit: usize, digit: u64) {
        /// Segments a to g as bits 0 to 6.
        const SEGMENTS: [u8; 10] = [0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f];
        /// Left, top, width, height of each segment, in units.
        const PLACES: [(usize, usize, usize, usize); 7] =
            [(0, 0, 4, 1), (3, 0, 1, 4), (3, 3, 1, 4), (0, 6, 4, 1), (0, 3, 1, 4), (0, 0, 1, 4), (0, 3, 4, 1)];
        let lit = SEGMENTS[usize::try_from(digit % 10).unwrap_or(0)];
        for (bit, (x, y, w, h)) in PLACES.into_iter().enumerate() {
            if lit >> bit & 1 == 1 {
                self.block(left + x * unit, top + y * unit, w * unit, h * unit);
            }
        }
    }

    fn block(&mut self, left: usize, top: usize, width: usize, height: usize) {
        self.rectangle(Area { left, top, right: left + width, bottom: top + height }, PAPER);
    }

    fn barcode(&mut self, sequence: u64) {
        let number = u32::try_from(sequence & u64::from(SEQUENCE_MASK)).unwrap_or(0);
        // In Gray code one cell changes from picture to picture, which costs the encoder least.
        let gray = number ^ number >> 1;
        let bits = gray << 8 | u32::from(crc8(gray));
        for cell in 0..BAR_ROWS * BAR_COLUMNS {
            let light = bits >> (BAR_ROWS * BAR_COLUMNS - 1 - cell) & 1 == 1;
            self.luma_rectangle(bar_cell(self.size, cell), if light { BAR_LIGHT } else { BAR_DARK });
        }
    }
}

/// A filled disc with an edge one pixel soft.
fn soft_disc(plane: &mut [u8], width: usize, height: usize, (cx, cy): (f32, f32), radius: f32, value: u8) {
    let bounds = |centre: f32, limit: usize| {
        let low = (centre - radius - 1.0).max(0.0) as usize;
        (low.min(limit), ((centre + radius + 2.0).max(0.0) as usize).min(limit))
    };
    let ((left, right), (top, bottom)) = (bounds(cx, width), bounds(cy, height));
    for row in top..bottom {
        let dy = row as f32 + 0.5 - cy;
        for (column, pixel) in plane[row * width..][left..right].iter_mut().enumerate() {
            let dx = (left + column) as f32 + 0.5 - cx;
            let inside = (radius - (dx * dx + dy * dy).sqrt() + 0.5).clamp(0.0, 1.0);
            *pixel = (f32::from(*pixel) * (1.0 - inside) + f32::from(value) * inside) as u8;
        }
    }
}

/// Makes the test sound, 20 ms at a time.
#[derive(Clone, Default)]
pub struct TestSound {
    sequence: u64,
    /// Of the voice's fundamental, from 0 to 1; carried on so that its pitch can glide without clicks.
    phase: f32,
}

/// One round of the sound: a tone, a pause, two "sentences" of syllables with pauses after each.
const ROUND_SAMPLES: u64 = 5 * SAMPLE_RATE as u64;
/// Start and end within the round, in seconds.
const TONE: (f32, f32) = (0.1, 0.5);
const SENTENCES: [(f32, f32); 2] = [(0.9, 2.3), (2.9, 4.5)];
const TONE_HZ: f32 = 440.0;
const SYLLABLES_PER_SECOND: f32 = 4.5;
/// Relative strength of the first harmonics, roughly the vowel "a".
const VOWEL: [f32; 8] = [0.5, 0.7, 0.6, 0.8, 1.0, 0.7, 0.3, 0.2];

impl TestSound {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next 20 ms; `capture` is only written into it.
    pub fn next(&mut self, capture: MonoTime) -> Sound {
        let sequence = self.sequence;
        self.sequence += 1;
        let start = sequence * FRAME_SAMPLES as u64 % ROUND_SAMPLES;
        let samples = (start..).take(FRAME_SAMPLES).map(|at| self.sample(at as f32 / SAMPLE_RATE as f32)).collect();
        Sound { capture, sequence, samples }
    }

    fn sample(&mut self, seconds: f32) -> i16 {
        use std::f32::consts::TAU;
        if (TONE.0..TONE.1).contains(&seconds) {
            let level = edge(seconds, TONE, 0.01);
            return (level * 0.25 * 32767.0 * (TAU * TONE_HZ * seconds).sin()) as i16;
        }
        let Some(sentence) = SENTENCES.into_iter().find(|(from, to)| (*from..*to).contains(&seconds)) else {
            self.phase = 0.0;
            return 0;
        };
        let within = seconds - sentence.0;
        let pitch_hz = 135.0 + 25.0 * (TAU * 0.7 * within).sin() - 12.0 * within;
        self.phase = (self.phase + pitch_hz / SAMPLE_RATE as f32).fract();
        let syllable = (std::f32::consts::PI * SYLLABLES_PER_SECOND * within).sin().powi(2);
        let voice: f32 = (1_u8..)
            .zip(VOWEL)
            .map(|(harmonic, strength)| strength * (TAU * (self.phase * f32::from(harmonic)).fract()).sin())
            .sum();
        (edge(seconds, sentence, 0.03) * syllable * 0.09 * 32767.0 * voice) as i16
    }
}

/// Fades in and out at the ends of a span, over `fade` seconds.
fn edge(seconds: f32, (from, to): (f32, f32), fade: f32) -> f32 {
    ((seconds - from) / fade).min((to - seconds) / fade).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        text.parse().expect("a legal size")
    }

    /// Nearest-neighbour on the way up, box average on the way down: worse than what the daemon does.
    fn scaled(picture: &Picture, to: Size) -> Picture {
        let from = picture.size;
        let mut data = vec![128; to.i420_bytes()];
        for row in 0..to.height() {
            for column in 0..to.width() {
                let span = |at: usize, to: usize, from: usize| {
                    let start = at * from / to;
                    start..((at + 1) * from / to).max(start + 1)
                };
                let (rows, columns) = (span(row, to.height(), from.height()), span(column, to.width(), from.width()));
                let count = rows.len() * columns.len();
                let sum: usize = rows
                    .flat_map(|row| columns.clone().map(move |column| row * from.width() + column))
                    .map(|at| usize::from(picture.y()[at]))
                    .sum();
                data[row * to.width() + column] = u8::try_from(sum / count).expect("an average of bytes");
            }
        }
        Picture::new(to, picture.capture, picture.sequence, data.into()).expect("the data has this size")
    }

    /// What quantisation does at its worst, roughly: noise, lower contrast, and an offset.
    fn worn(picture: &Picture, seed: u64) -> Picture {
        let mut state = seed | 1;
        let data = picture.data().iter().map(|&byte| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = i32::try_from(state >> 58).expect("six bits") - 32;
            u8::try_from(((i32::from(byte) - 125) * 6 / 10 + 125 + 8 + noise).clamp(0, 255)).expect("clamped")
        });
        let data: Vec<u8> = data.collect();
        Picture::new(picture.size, picture.capture, picture.sequence, data.into()).expect("the same size")
    }

    #[test]
    fn the_number_is_read_at_every_usual_size() {
        for text in ["320x180", "480x270", "640x360", "640x480", "960x540", "1280x720", "1920x1080", "360x640"] {
            let source = TestPicture::new(size(text));
            for number in [0, 1, 2, 255, 256, 0x0055_5555, 0x00ff_ffff, 0x0100_0000] {
                let read = TestPicture::read_sequence(&source.draw(number, MonoTime(number * 33_333)));
                assert_eq!(read.map(u64::from), Some(number & 0x00ff_ffff), "{text}");
            }
        }
    }

    #[test]
    fn the_number_survives_scaling_down_and_up_and_strong_compression() {
        for number in 0..60_u64 {
            let number = number * 7919;
            let picture = TestPicture::new(size("1280x720")).draw(number, MonoTime(number));
            let small = worn(&scaled(&picture, size("320x180")), number);
            assert_eq!(TestPicture::read_sequence(&small).map(u64::from), Some(number));
            let large = scaled(&small, size("640x360"));
            assert_eq!(TestPicture::read_sequence(&large).map(u64::from), Some(number));
        }
    }

    #[test]
    fn a_picture_without_a_number_has_none() {
        let size = size("640x360");
        for luma in [0, 16, 128, 235, 255] {
            let flat = Picture::new(size, MonoTime(0), 0, vec![luma; size.i420_bytes()].into()).expect("right size");
            assert_eq!(TestPicture::read_sequence(&flat), None, "{luma}");
        }
    }

    #[test]
    fn every_legal_size_can_be_drawn_and_read_without_harm() {
        for width in [16, 18, 34, 100, 1920] {
            for height in [16, 18, 50, 1088] {
                let size = Size::new(width, height).expect("a legal size");
                let picture = TestPicture::new(size).draw(5, MonoTime(3_599_999_999));
                let read = TestPicture::read_sequence(&picture);
                assert!(read.is_none() || read == Some(5), "{size}");
            }
        }
    }

    #[test]
    fn the_picture_moves_and_repeats_exactly() {
        let source = TestPicture::new(size("640x360"));
        assert_eq!(source.draw(7, MonoTime(1_000_000)), source.draw(7, MonoTime(1_000_000)));
        let still = source.draw(7, MonoTime(1_000_000));
        let moved = source.draw(7, MonoTime(1_033_333));
        assert!(still.y().iter().zip(moved.y()).filter(|(a, b)| a != b).count() > 200);
    }

    #[test]
    fn the_sound_is_deterministic_has_pauses_and_never_clips() {
        let make = || {
            let mut sound = TestSound::new();
            (0..500).map(|_| sound.next(MonoTime(0))).collect::<Vec<_>>()
        };
        let chunks = make();
        assert_eq!(chunks, make());
        assert!(chunks.iter().all(|chunk| chunk.samples.len() == FRAME_SAMPLES));
        let loud = chunks.iter().flat_map(|chunk| &chunk.samples).map(|sample| sample.unsigned_abs()).max();
        assert!(loud.is_some_and(|loud| (6_000..30_000).contains(&loud)), "{loud:?}");
        let silent = chunks.iter().filter(|chunk| chunk.samples.iter().all(|sample| *sample == 0)).count();
        assert!((50..300).contains(&silent), "{silent} of 500 chunks are silent");
    }
}
