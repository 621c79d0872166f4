//! The AV1 decoder: dav1d, its C source bundled.
//!
//! What goes in comes from a peer. dav1d checks it; this file limits the picture size before memory is taken, copies
//! only what is inside dav1d's own buffers, and refuses pictures that are not 8 bit 4:2:0 with even sides.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use bytes::Bytes;
use kith_common::media::{MAX_HEIGHT, MAX_WIDTH, Size};
use libdav1d_sys as sys;

use super::{CodecError, MAX_UNIT_BYTES};

const NAME: &str = "dav1d";
/// A unit of a call shows one picture; one that shows more than this is an attack on the CPU.
const MAX_PICTURES: usize = 8;

/// A decoded picture: I420 without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    pub size: Size,
    pub data: Bytes,
}

pub struct Decoder {
    context: NonNull<sys::Dav1dContext>,
}

// SAFETY: a dav1d context may be used from any thread, one at a time, which `&mut self` grants.
unsafe impl Send for Decoder {}

fn decode_error(code: i32) -> CodecError {
    let why = match -code {
        22 => "it is not valid AV1".to_owned(),
        34 => "the picture is too large".to_owned(),
        12 => "no memory".to_owned(),
        92 => "it uses what this decoder does not know".to_owned(),
        2 => "it has no sequence header".to_owned(),
        other => format!("error {other}"),
    };
    CodecError::Decode { codec: NAME, why }
}

/// A picture that dav1d handed out; gives it back when dropped.
struct Held(sys::Dav1dPicture);

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: filled by `dav1d_get_picture`, given back only here.
        unsafe { sys::dav1d_picture_unref(&raw mut self.0) };
    }
}

impl Decoder {
    pub fn new() -> Result<Self, CodecError> {
        let mut settings = MaybeUninit::<sys::Dav1dSettings>::zeroed();
        // SAFETY: fills the whole struct.
        let mut settings = unsafe {
            sys::dav1d_default_settings(settings.as_mut_ptr());
            settings.assume_init()
        };
        settings.n_threads = 1;
        // One unit in, its picture out.
        settings.max_frame_delay = 1;
        settings.frame_size_limit = u32::from(MAX_WIDTH) * u32::from(MAX_HEIGHT);
        // Of a scalable stream only the best layer, not each.
        settings.all_layers = 0;
        // dav1d writes its complaints about broken streams to standard error otherwise.
        settings.logger.callback = None;
        let mut context = std::ptr::null_mut();
        // SAFETY: both pointers are valid; on success `context` is one that `Drop` closes.
        let code = unsafe { sys::dav1d_open(&raw mut context, &raw const settings) };
        let start = || CodecError::Start { codec: NAME, part: "decoder", why: format!("error {}", -code) };
        if code < 0 {
            return Err(start());
        }
        Ok(Self { context: NonNull::new(context).ok_or_else(start)? })
    }

    /// Decodes one temporal unit and returns the newest picture that it shows. After an error the decoder waits for the
    /// next sequence header: it shows nothing that refers to what is missing.
    pub fn decode(&mut self, unit: &[u8]) -> Result<Option<Decoded>, CodecError> {
        let decoded = self.run(unit);
        if decoded.is_err() {
            // SAFETY: the context is open.
            unsafe { sys::dav1d_flush(self.context.as_ptr()) };
        }
        decoded
    }

    fn run(&mut self, unit: &[u8]) -> Result<Option<Decoded>, CodecError> {
        if unit.is_empty() || unit.len() > MAX_UNIT_BYTES {
            return Err(CodecError::Unusable(format!("a unit of {} bytes", unit.len())));
        }
        let mut data = Data::copy(unit)?;
        let mut newest = None;
        let mut pictures = 0;
        while data.0.sz > 0 {
            let before = data.0.sz;
            // SAFETY: context and data are valid; dav1d takes what it consumes out of `data`.
            let code = unsafe { sys::dav1d_send_data(self.context.as_ptr(), &raw mut data.0) };
            if code < 0 && code != sys::DAV1D_ERR_AGAIN {
                return Err(decode_error(code));
            }
            let mut progress = data.0.sz != before;
            while let Some(picture) = self.picture()? {
                progress = true;
                pictures += 1;
                if pictures > MAX_PICTURES {
                    return Err(CodecError::Unusable("a unit with too many pictures".into()));
                }
                newest = Some(copy(&picture.0)?);
            }
            if !progress {
                return Err(CodecError::Unusable("a unit that leads nowhere".into()));
            }
        }
        Ok(newest)
    }

    fn picture(&mut self) -> Result<Option<Held>, CodecError> {
        // SAFETY: all zeros is a picture that holds nothing: null pointers, numbers, and layout 0 (I400).
        let mut picture: sys::Dav1dPicture = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the context is open; on success the picture is ours to give back.
        let code = unsafe { sys::dav1d_get_picture(self.context.as_ptr(), &raw mut picture) };
        match code {
            0 => Ok(Some(Held(picture))),
            sys::DAV1D_ERR_AGAIN => Ok(None),
            code => Err(decode_error(code)),
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let mut context = self.context.as_ptr();
        // SAFETY: opened by `new`, closed only here.
        unsafe { sys::dav1d_close(&raw mut context) };
    }
}

/// Input memory of dav1d's; gives back what was not consumed.
struct Data(sys::Dav1dData);

impl Data {
    fn copy(unit: &[u8]) -> Result<Self, CodecError> {
        // SAFETY: all zeros is data that holds nothing.
        let mut data = Self(unsafe { MaybeUninit::zeroed().assume_init() });
        // SAFETY: returns memory of that many bytes, or null.
        let memory = unsafe { sys::dav1d_data_create(&raw mut data.0, unit.len()) };
        if memory.is_null() {
            return Err(decode_error(-12));
        }
        // SAFETY: fresh memory of exactly this length.
        unsafe { std::ptr::copy_nonoverlapping(unit.as_ptr(), memory, unit.len()) };
        Ok(data)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if self.0.sz > 0 {
            // SAFETY: dav1d has not taken it over: then its size would be 0.
            unsafe { sys::dav1d_data_unref(&raw mut self.0) };
        }
    }
}

fn copy(picture: &sys::Dav1dPicture) -> Result<Decoded, CodecError> {
    let (width, height) = (picture.p.w.unsigned_abs(), picture.p.h.unsigned_abs());
    let size = Size::new(width, height).map_err(|error| CodecError::Unusable(error.to_string()))?;
    if picture.p.bpc != 8 || picture.p.layout != sys::Dav1dPixelLayout::DAV1D_PIXEL_LAYOUT_I420 {
        return Err(CodecError::Unusable("it is not 8 bit 4:2:0".into()));
    }
    let mut data = Vec::with_capacity(size.i420_bytes());
    let planes = [(0, 0, 1), (1, 1, 2), (2, 1, 2)];
    for (plane, stride, divisor) in planes {
        let start = picture.data[plane].cast::<u8>().cast_const();
        if start.is_null() {
            return Err(CodecError::Unusable("a plane is missing".into()));
        }
        let (width, height) = (size.width() / divisor, size.height() / divisor);
        for row in 0..height {
            // SAFETY: dav1d allocates whole rows of `stride` bytes, at least as wide and as many as the picture says; the
            // picture is held while this runs.
            let row = unsafe { std::slice::from_raw_parts(start.offset(picture.stride[stride] * row as isize), width) };
            data.extend_from_slice(row);
        }
    }
    Ok(Decoded { size, data: data.into() })
}
