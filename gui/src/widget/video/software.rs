//! Pictures for the software renderer: scaled, converted, mirrored and with rounded corners, ready to be copied.

use fast_image_resize::images::ImageRef;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
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

/// The part of a picture that is seen, in pixels: left, top, width, height.
fn seen(picture: &Picture, shape: Shape) -> (f64, f64, f64, f64) {
    let (width, height) = (picture.size.width() as f64, picture.size.height() as f64);
    if shape.fit == Fit::Contain {
        return (0.0, 0.0, width, height);
    }
    let wanted = f64::from(shape.width) / f64::from(shape.height);
    let (w, h) = if width / height > wanted { (height * wanted, height) } else { (width, width / wanted) };
    ((width - w) / 2.0, (height - h) / 2.0, w, h)
}

/// One plane, cut and scaled. `share` is 1 for Y and 2 for the planes of half the size.
fn scale(plane: &[u8], picture: &Picture, shape: Shape, share: u32) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX) / share;
    let (width, height) = (shape.width.div_ceil(share), shape.height.div_ceil(share));
    let source = ImageRef::new(side(picture.size.width()), side(picture.size.height()), plane, PixelType::U8)
        .map_err(|error| error.to_string())?;
    let mut target = fast_image_resize::images::Image::new(width, height, PixelType::U8);
    let (x, y, w, h) = seen(picture, shape);
    let by = f64::from(share);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        x / by,
        y / by,
        w / by,
        h / by,
    );
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
    Ok(target.into_vec())
}

/// Scaled plane by plane, then converted at the size that is shown.
pub fn prepare(picture: &Picture, shape: Shape) -> Prepared {
    let pixels = convert(picture, shape).unwrap_or_else(|error| {
        // A `Picture` holds what its size says, so this is a bug and not input; black is shown.
        tracing::error!(%error, "a picture could not be converted");
        [0, 0, 0, 255].repeat(shape.width as usize * shape.height as usize)
    });
    Prepared { shape, handle: Handle::from_rgba(shape.width, shape.height, pixels) }
}

fn convert(picture: &Picture, shape: Shape) -> Result<Vec<u8>, String> {
    let y = scale(picture.y(), picture, shape, 1)?;
    let u = scale(picture.u(), picture, shape, 2)?;
    let v = scale(picture.v(), picture, shape, 2)?;
    let planes = YuvPlanarImage {
        y_plane: &y,
        y_stride: shape.width,
        u_plane: &u,
        u_stride: shape.width.div_ceil(2),
        v_plane: &v,
        v_stride: shape.width.div_ceil(2),
        width: shape.width,
        height: shape.height,
    };
    let (width, height) = (shape.width as usize, shape.height as usize);
    let mut pixels = vec![0; width * height * 4];
    yuv420_to_rgba(&planes, &mut pixels, shape.width * 4, YuvRange::Limited, YuvStandardMatrix::Bt601)
        .map_err(|error| error.to_string())?;
    if shape.mirror == Mirror::On {
        for row in pixels.chunks_exact_mut(width * 4) {
            for x in 0..width / 2 {
                let (left, right) = row.split_at_mut((width - 1 - x) * 4);
                left[x * 4..x * 4 + 4].swap_with_slice(&mut right[..4]);
            }
        }
    }
    round_corners(&mut pixels, width, height, shape.radius as usize);
    Ok(pixels)
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
