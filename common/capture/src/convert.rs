//! What cameras deliver, as I420. Raw formats are copied plane by plane; only compressed pictures pass through RGB,
//! because the JPEG decoder has no 4:2:0 output and its RGB is faster than its YCbCr.

use bytes::Bytes;
use kith_common::media::Size;
use nokhwa::utils::FrameFormat;
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvPackedImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix, bgr_to_yuv420,
    rgb_to_yuv420, yuyv422_to_yuv420,
};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// One picture of a camera as I420, or why it is unusable.
pub fn to_i420(format: FrameFormat, size: Size, raw: &[u8]) -> Result<Bytes, String> {
    let (width, height) = (size.width(), size.height());
    let need = |bytes: usize| {
        raw.get(..bytes).ok_or_else(|| format!("a picture of {} bytes where {bytes} were due", raw.len()))
    };
    match format {
        FrameFormat::YUYV => {
            let packed = YuvPackedImage {
                yuy: need(width * height * 2)?,
                yuy_stride: stride(width * 2),
                width: stride(width),
                height: stride(height),
            };
            planes(size, |image| yuyv422_to_yuv420(image, &packed).map_err(|error| error.to_string()))
        }
        FrameFormat::NV12 => Ok(nv12(size, need(size.i420_bytes())?)),
        FrameFormat::GRAY => Ok(gray(size, need(width * height)?)),
        FrameFormat::RAWRGB => from_rgb(size, need(width * height * 3)?),
        FrameFormat::RAWBGR => {
            let bgr = need(width * height * 3)?;
            planes(size, |image| {
                bgr_to_yuv420(image, bgr, stride(width * 3), YuvRange::Limited, YuvStandardMatrix::Bt601, MODE)
                    .map_err(|error| error.to_string())
            })
        }
        FrameFormat::MJPEG => {
            let options = DecoderOptions::default()
                .jpeg_set_out_colorspace(ColorSpace::RGB)
                .set_max_width(width)
                .set_max_height(height);
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(raw), options);
            let rgb = decoder.decode().map_err(|error| error.to_string())?;
            let decoded = decoder.info().map(|info| (usize::from(info.width), usize::from(info.height)));
            if decoded != Some((width, height)) {
                return Err(format!("a JPEG of {decoded:?} where {size} was due"));
            }
            from_rgb(size, &rgb)
        }
    }
}

/// The SIMD path; half the time of the exact one, and no eye sees the difference.
const MODE: YuvConversionMode = YuvConversionMode::Fast;

fn stride(samples: usize) -> u32 {
    // Sides are at most 1920 (kith_common::media), so three bytes a pixel fit.
    u32::try_from(samples).unwrap_or(u32::MAX)
}

fn from_rgb(size: Size, rgb: &[u8]) -> Result<Bytes, String> {
    planes(size, |image| {
        rgb_to_yuv420(image, rgb, stride(size.width() * 3), YuvRange::Limited, YuvStandardMatrix::Bt601, MODE)
            .map_err(|error| error.to_string())
    })
}

fn planes(
    size: Size,
    fill: impl FnOnce(&mut YuvPlanarImageMut<'_, u8>) -> Result<(), String>,
) -> Result<Bytes, String> {
    let mut data = vec![0; size.i420_bytes()];
    let (y, chroma) = data.split_at_mut(size.pixels());
    let (u, v) = chroma.split_at_mut(size.pixels() / 4);
    let mut image = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(y),
        y_stride: stride(size.width()),
        u_plane: BufferStoreMut::Borrowed(u),
        u_stride: stride(size.width() / 2),
        v_plane: BufferStoreMut::Borrowed(v),
        v_stride: stride(size.width() / 2),
        width: stride(size.width()),
        height: stride(size.height()),
    };
    fill(&mut image)?;
    Ok(Bytes::from(data))
}

fn nv12(size: Size, raw: &[u8]) -> Bytes {
    let mut data = vec![0; size.i420_bytes()];
    let (y, chroma) = data.split_at_mut(size.pixels());
    let (u, v) = chroma.split_at_mut(size.pixels() / 4);
    y.copy_from_slice(&raw[..size.pixels()]);
    for ((pair, u), v) in raw[size.pixels()..].chunks_exact(2).zip(u).zip(v) {
        *u = pair[0];
        *v = pair[1];
    }
    Bytes::from(data)
}

fn gray(size: Size, raw: &[u8]) -> Bytes {
    let mut data = vec![128; size.i420_bytes()];
    for (to, from) in data.iter_mut().zip(raw) {
        // Full range to limited: 0..255 to 16..235.
        *to = u8::try_from(16 + u16::from(*from) * 219 / 255).unwrap_or(235);
    }
    Bytes::from(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> Size {
        Size::new(64, 32).expect("an even size")
    }

    #[test]
    fn red_stays_red_from_every_raw_format() {
        let (w, h) = (64 * 32, 64 * 32 / 4);
        // BT.601 limited range: Y 82, U 90, V 240.
        let yuyv: Vec<u8> = [82, 90, 82, 240].repeat(w / 2);
        let nv12: Vec<u8> = [vec![82; w], [90, 240].repeat(h)].concat();
        let rgb: Vec<u8> = [255, 0, 0].repeat(w);
        let bgr: Vec<u8> = [0, 0, 255].repeat(w);
        for (format, raw) in [
            (FrameFormat::YUYV, yuyv),
            (FrameFormat::NV12, nv12),
            (FrameFormat::RAWRGB, rgb),
            (FrameFormat::RAWBGR, bgr),
        ] {
            let picture = to_i420(format, size(), &raw).expect("a whole picture");
            for (at, wanted) in [(0, 82), (w, 90), (w + h, 240)] {
                assert!(picture[at].abs_diff(wanted) <= 2, "{format:?}: {} at {at}, not {wanted}", picture[at]);
            }
        }
    }

    #[test]
    fn a_picture_cut_short_is_an_error() {
        for format in [FrameFormat::YUYV, FrameFormat::NV12, FrameFormat::GRAY, FrameFormat::RAWRGB, FrameFormat::MJPEG]
        {
            assert!(to_i420(format, size(), &[0xff; 100]).is_err(), "{format:?}");
        }
    }
}
