//! Pictures for the software renderer: scaled, converted, mirrored and with rounded corners, ready to be copied.

use iced::Size;
use iced::advanced::image::{FilterMethod, Handle, Image};
use kith_common::media::Picture;
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv420_to_rgba};

use super::{Fit, Mirror};

/// The pixels that are to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    width: u32,
    height: u32,
    fit: Fit,
    mirror: Mirror,
    radius: u32,
}

impl Shape {
    pub fn new(size: Size, fit: Fit, mirror: Mirror, radius: f32) -> Self {
        // Sizes of a window are small and positive.
        let pixels = |length: f32| (length.round() as u32).clamp(2, 8192);
        Self { width: pixels(size.width), height: pixels(size.height), fit, mirror, radius: radius.round() as u32 }
    }
}

pub struct Prepared {
    pub shape: Shape,
    handle: Handle,
}

impl Prepared {
    pub fn image(&self) -> Image {
        Image { filter_method: FilterMethod::Nearest, snap: true, ..Image::new(self.handle.clone()) }
    }
}

/// Conversion first, at the picture's own size (0.1 ms for 720p), then one pass that scales by nearest neighbour.
pub fn prepare(picture: &Picture, shape: Shape) -> Prepared {
    let (width, height) = (picture.size.width(), picture.size.height());
    let narrow = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let planes = YuvPlanarImage {
        y_plane: picture.y(),
        y_stride: narrow(width),
        u_plane: picture.u(),
        u_stride: narrow(width / 2),
        v_plane: picture.v(),
        v_stride: narrow(width / 2),
        width: narrow(width),
        height: narrow(height),
    };
    let mut source = vec![0; width * height * 4];
    if let Err(error) =
        yuv420_to_rgba(&planes, &mut source, narrow(width * 4), YuvRange::Limited, YuvStandardMatrix::Bt601)
    {
        // A `Picture` holds what its size says, so this is a bug and not input; black is shown.
        tracing::error!(%error, "a picture could not be converted");
    }
    let (out_width, out_height) = (shape.width as usize, shape.height as usize);
    // The part of the source that is seen, in pixels.
    let (mut seen_width, mut seen_height) = (width as f64, height as f64);
    if shape.fit == Fit::Cover {
        let wanted = f64::from(shape.width) / f64::from(shape.height);
        if seen_width / seen_height > wanted {
            seen_width = seen_height * wanted;
        } else {
            seen_height = seen_width / wanted;
        }
    }
    let at = |out: usize, outs: usize, seen: f64, all: usize| {
        let position = (all as f64 - seen) / 2.0 + (out as f64 + 0.5) * seen / outs as f64;
        (position as usize).min(all - 1)
    };
    let columns: Vec<usize> = (0..out_width)
        .map(|x| {
            let x = if shape.mirror == Mirror::On { out_width - 1 - x } else { x };
            at(x, out_width, seen_width, width) * 4
        })
        .collect();
    let mut pixels = vec![0; out_width * out_height * 4];
    for (y, row) in pixels.chunks_exact_mut(out_width * 4).enumerate() {
        let from = at(y, out_height, seen_height, height) * width * 4;
        let line = &source[from..from + width * 4];
        for (pixel, column) in row.chunks_exact_mut(4).zip(&columns) {
            pixel.copy_from_slice(&line[*column..*column + 4]);
        }
    }
    round_corners(&mut pixels, out_width, out_height, shape.radius as usize);
    Prepared { shape, handle: Handle::from_rgba(shape.width, shape.height, pixels) }
}

/// Makes what lies outside the quarter circles of the corners transparent.
fn round_corners(pixels: &mut [u8], width: usize, height: usize, radius: usize) {
    let radius = radius.min(width / 2).min(height / 2);
    for y in 0..radius {
        for x in 0..radius {
            let (dx, dy) = ((radius - x) as f32 - 0.5, (radius - y) as f32 - 0.5);
            let cover = (radius as f32 - dx.hypot(dy) + 0.5).clamp(0.0, 1.0);
            if cover >= 1.0 {
                continue;
            }
            let alpha = (cover * 255.0) as u8;
            for (x, y) in [(x, y), (width - 1 - x, y), (x, height - 1 - y), (width - 1 - x, height - 1 - y)] {
                pixels[(y * width + x) * 4 + 3] = alpha;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kith_common::clock::MonoTime;

    /// Left half black, right half white.
    fn halves() -> Picture {
        let size = kith_common::media::Size::new(64, 32).expect("an even size");
        let mut data = vec![128; size.i420_bytes()];
        for (at, y) in data[..size.pixels()].iter_mut().enumerate() {
            *y = if at % 64 < 32 { 16 } else { 235 };
        }
        Picture::new(size, MonoTime(0), 0, Bytes::from(data)).expect("the bytes fit the size")
    }

    fn pixels(prepared: &Prepared) -> Vec<u8> {
        match &prepared.handle {
            Handle::Rgba { pixels, .. } => pixels.to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn one_s_own_picture_is_mirrored() {
        let shape = |mirror| Shape::new(Size::new(16.0, 8.0), Fit::Contain, mirror, 0.0);
        let plain = pixels(&prepare(&halves(), shape(Mirror::Off)));
        let mirrored = pixels(&prepare(&halves(), shape(Mirror::On)));
        assert!(plain[0] < 10 && plain[15 * 4] > 245);
        assert!(mirrored[0] > 245 && mirrored[15 * 4] < 10);
    }

    #[test]
    fn corners_are_cut_and_the_middle_is_not() {
        let pixels = pixels(&prepare(&halves(), Shape::new(Size::new(40.0, 20.0), Fit::Cover, Mirror::Off, 8.0)));
        assert_eq!(pixels[3], 0);
        assert_eq!(pixels[(10 * 40 + 20) * 4 + 3], 255);
    }
}
