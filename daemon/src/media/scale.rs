//! Scaling of I420 pictures, for the encoder's steps.

use bytes::Bytes;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use kith_common::media::{Picture, Size};

/// Keeps its working memory from picture to picture.
pub struct Scaler {
    resizer: Resizer,
    options: ResizeOptions,
}

impl Default for Scaler {
    fn default() -> Self {
        Self::new()
    }
}

impl Scaler {
    pub fn new() -> Self {
        // Bilinear convolution averages all source pixels under a target pixel: no shimmer, 0.6 ms from 720p to 360p.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Self { resizer: Resizer::new(), options }
    }

    /// The picture at another size; the same picture when it has that size.
    pub fn scale(&mut self, picture: &Picture, size: Size) -> Picture {
        if picture.size == size {
            return picture.clone();
        }
        let mut data = vec![0; size.i420_bytes()];
        let (y, chroma) = data.split_at_mut(size.pixels());
        let (u, v) = chroma.split_at_mut(size.pixels() / 4);
        let (from, half) = (picture.size, |length: usize| length / 2);
        let planes = [(picture.y(), y, false), (picture.u(), u, true), (picture.v(), v, true)];
        for (source, target, chroma) in planes {
            let side = |length: usize| if chroma { half(length) } else { length } as u32;
            let holds = "a plane of a picture has as many bytes as pixels";
            let source = ImageRef::new(side(from.width()), side(from.height()), source, PixelType::U8).expect(holds);
            let mut target =
                Image::from_slice_u8(side(size.width()), side(size.height()), target, PixelType::U8).expect(holds);
            self.resizer.resize(&source, &mut target, &self.options).expect("both planes have one byte a pixel");
        }
        Picture::new(size, picture.capture, picture.sequence, Bytes::from(data)).expect("made for this size")
    }
}

#[cfg(test)]
mod tests {
    use kith_common::clock::MonoTime;

    use super::*;

    fn picture(size: Size) -> Picture {
        let mut data = Vec::with_capacity(size.i420_bytes());
        for (width, height, base) in [
            (size.width(), size.height(), 16.0),
            (size.width() / 2, size.height() / 2, 90.0),
            (size.width() / 2, size.height() / 2, 140.0),
        ] {
            for row in 0..height {
                let slope = |column: usize| column as f64 / width as f64 * 60.0 + row as f64 / height as f64 * 40.0;
                data.extend((0..width).map(|column| (base + slope(column)) as u8));
            }
        }
        Picture::new(size, MonoTime(5), 7, data.into()).expect("made for this size")
    }

    fn size(text: &str) -> Size {
        text.parse().expect("a usual size")
    }

    #[test]
    fn scaling_keeps_what_the_picture_shows() {
        let mut scaler = Scaler::new();
        for (from, to) in
            [("1280x720", "640x360"), ("1280x720", "960x540"), ("640x480", "320x240"), ("642x362", "480x270")]
        {
            let scaled = scaler.scale(&picture(size(from)), size(to));
            let expected = picture(size(to));
            assert_eq!((scaled.size, scaled.capture, scaled.sequence), (size(to), MonoTime(5), 7));
            let worst = scaled.data().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(2), "{from} to {to}: off by {worst:?}");
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_copied() {
        let original = picture(size("640x360"));
        let same = Scaler::new().scale(&original, size("640x360"));
        assert_eq!(same.data().as_ptr(), original.data().as_ptr());
    }
}
