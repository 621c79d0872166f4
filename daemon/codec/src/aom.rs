//! libaom's real-time encoder: one picture in, its coded form out, the bitrate changed in place.
//!
//! The settings are WebRTC's for AV1 calls, with the figures of `facts/codecs.md` 4 behind them. All use of the C library is in
//! this file; the type it exports is safe.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use kith_common::media::{Picture, Size};
use libaom_sys as sys;

use super::{CodecError, Frame, Target, Unit, VideoEncoder};

const NAME: &str = "aom";
/// Ticks a second of the time-stamps given to the encoder.
const TICKS: f64 = 90_000.0;
/// Two tiles on two threads from here on: 720p takes 4 ms instead of 6, smaller pictures gain nothing.
const TILES_FROM_PIXELS: usize = 1280 * 720;
/// Below 360p a slower, better setting still takes less than a millisecond.
const FAST_FROM_PIXELS: usize = 640 * 360;
/// libaom takes whole kilobits; below this its rate control has nothing to work with.
const MIN_KBPS: u32 = 20;

pub struct Encoder {
    /// Boxed because libaom keeps its address; freed by `Drop`.
    context: Box<sys::aom_codec_ctx_t>,
    config: sys::aom_codec_enc_cfg_t,
    size: Size,
    fps: f64,
    pts: i64,
    last: Option<kith_common::clock::MonoTime>,
}

fn kbps(bps: u64) -> u32 {
    u32::try_from(bps / 1000).unwrap_or(u32::MAX).max(MIN_KBPS)
}

fn check(code: sys::aom_codec_err_t, error: impl Fn(String) -> CodecError) -> Result<(), CodecError> {
    if code == sys::AOM_CODEC_OK {
        return Ok(());
    }
    // SAFETY: libaom returns a static, zero-ended string for every code.
    let text = unsafe { CStr::from_ptr(sys::aom_codec_err_to_string(code)) };
    Err(error(text.to_string_lossy().into_owned()))
}

fn start_error(why: String) -> CodecError {
    CodecError::Start { codec: NAME, part: "encoder", why }
}

fn encode_error(why: String) -> CodecError {
    CodecError::Encode { codec: NAME, why }
}

impl Encoder {
    pub fn new(size: Size, target: Target) -> Result<Self, CodecError> {
        let threads = super::threads_for(size, TILES_FROM_PIXELS);
        // SAFETY: returns a pointer to a static description of the AV1 encoder.
        let interface = unsafe { sys::aom_codec_av1_cx() };
        let mut config = MaybeUninit::<sys::aom_codec_enc_cfg_t>::zeroed();
        // SAFETY: `interface` is valid and `config` is writable memory of the right type.
        let code =
            unsafe { sys::aom_codec_enc_config_default(interface, config.as_mut_ptr(), sys::AOM_USAGE_REALTIME) };
        check(code, start_error)?;
        // SAFETY: filled by the call above, and a struct of integers is valid from zeros anyhow.
        let mut config = unsafe { config.assume_init() };
        config.g_w = size.width() as u32;
        config.g_h = size.height() as u32;
        config.g_threads = threads as u32;
        config.g_timebase.num = 1;
        config.g_timebase.den = TICKS as i32;
        config.g_lag_in_frames = 0;
        config.g_pass = sys::AOM_RC_ONE_PASS;
        config.g_error_resilient = 0;
        config.kf_mode = sys::AOM_KF_DISABLED;
        config.rc_end_usage = sys::AOM_CBR;
        config.rc_target_bitrate = kbps(target.bps);
        config.rc_min_quantizer = 2;
        config.rc_max_quantizer = 56;
        config.rc_undershoot_pct = 50;
        config.rc_overshoot_pct = 50;
        config.rc_buf_initial_sz = 600;
        config.rc_buf_optimal_sz = 600;
        config.rc_buf_sz = 1000;
        config.rc_dropframe_thresh = 0;

        // SAFETY: a context is plain memory before it is initialised; libaom zeroes it itself.
        let mut context: Box<sys::aom_codec_ctx_t> = Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
        // SAFETY: all pointers are valid for the call; the context is boxed and so keeps its address.
        let code = unsafe {
            let version = sys::AOM_ENCODER_ABI_VERSION as i32;
            sys::aom_codec_enc_init_ver(&raw mut *context, interface, &raw const config, 0, version)
        };
        check(code, start_error)?;
        // From here on `Drop` frees the context.
        let mut encoder = Self { context, config, size, fps: target.fps, pts: 0, last: None };
        for (control, value) in controls(size, threads) {
            encoder.control(control, value)?;
        }
        Ok(encoder)
    }

    fn control(&mut self, control: sys::aome_enc_control_id, value: i32) -> Result<(), CodecError> {
        // SAFETY: the context is initialised, and every control of `controls` takes one int.
        let code = unsafe { sys::aom_codec_control(&raw mut *self.context, control as i32, value) };
        check(code, |why| start_error(format!("control {control}: {why}")))
    }

    /// Time-stamps follow the capture times, so that the rate control knows of pictures that were left out, but a pause
    /// does not entitle the next picture to all the bits that were not used in it.
    fn next_pts(&mut self, picture: &Picture) -> i64 {
        let interval = TICKS / self.fps;
        if let Some(last) = self.last.replace(picture.capture) {
            let passed = picture.capture.micros_since(last) as f64 * TICKS / 1e6;
            self.pts += passed.clamp(interval * 0.5, interval * 3.0) as i64;
        }
        self.pts
    }
}

/// What WebRTC sets for real-time AV1, tools that cost more than they give switched off.
fn controls(size: Size, threads: usize) -> Vec<(sys::aome_enc_control_id, i32)> {
    let speed = if size.pixels() >= FAST_FROM_PIXELS { 10 } else { 8 };
    let mut controls = vec![
        (sys::AOME_SET_CPUUSED, speed),
        (sys::AV1E_SET_AQ_MODE, 3),
        (sys::AV1E_SET_ENABLE_CDEF, 1),
        (sys::AV1E_SET_COEFF_COST_UPD_FREQ, 3),
        (sys::AV1E_SET_MODE_COST_UPD_FREQ, 3),
        (sys::AV1E_SET_MV_COST_UPD_FREQ, 3),
        (sys::AV1E_SET_DV_COST_UPD_FREQ, 3),
        (sys::AV1E_SET_CDF_UPDATE_MODE, 1),
        // The logarithm of the number of tiles.
        (sys::AV1E_SET_TILE_COLUMNS, i32::from(threads > 1)),
        (sys::AV1E_SET_INTRA_DEFAULT_TX_ONLY, 1),
        (sys::AV1E_SET_DISABLE_TRELLIS_QUANT, 1),
        (sys::AV1E_SET_MAX_REFERENCE_FRAMES, 3),
        // A key frame may be as large as three usual pictures' share of a second: 20 kB at 720p instead of 49.
        (sys::AOME_SET_MAX_INTRA_BITRATE_PCT, 300),
    ];
    let off = [
        sys::AV1E_SET_ROW_MT,
        sys::AV1E_SET_ENABLE_RESTORATION,
        sys::AV1E_SET_ENABLE_TPL_MODEL,
        sys::AV1E_SET_DELTAQ_MODE,
        sys::AV1E_SET_ENABLE_ORDER_HINT,
        sys::AV1E_SET_ENABLE_OBMC,
        sys::AV1E_SET_ENABLE_WARPED_MOTION,
        sys::AV1E_SET_ENABLE_GLOBAL_MOTION,
        sys::AV1E_SET_ENABLE_REF_FRAME_MVS,
        sys::AV1E_SET_ENABLE_CFL_INTRA,
        sys::AV1E_SET_ENABLE_SMOOTH_INTRA,
        sys::AV1E_SET_ENABLE_ANGLE_DELTA,
        sys::AV1E_SET_ENABLE_FILTER_INTRA,
        sys::AV1E_SET_ENABLE_DIST_WTD_COMP,
        sys::AV1E_SET_ENABLE_DIFF_WTD_COMP,
        sys::AV1E_SET_ENABLE_DUAL_FILTER,
        sys::AV1E_SET_ENABLE_INTERINTRA_COMP,
        sys::AV1E_SET_ENABLE_INTERINTRA_WEDGE,
        sys::AV1E_SET_ENABLE_INTRA_EDGE_FILTER,
        sys::AV1E_SET_ENABLE_INTRABC,
        sys::AV1E_SET_ENABLE_MASKED_COMP,
        sys::AV1E_SET_ENABLE_PAETH_INTRA,
        sys::AV1E_SET_ENABLE_QM,
        sys::AV1E_SET_ENABLE_RECT_PARTITIONS,
        sys::AV1E_SET_ENABLE_SMOOTH_INTERINTRA,
        sys::AV1E_SET_ENABLE_TX64,
        sys::AV1E_SET_ENABLE_PALETTE,
        sys::AV1E_SET_NOISE_SENSITIVITY,
    ];
    controls.extend(off.into_iter().map(|control| (control, 0)));
    controls
}

impl VideoEncoder for Encoder {
    fn encode(&mut self, picture: &Picture, frame: Frame) -> Result<Vec<Unit>, CodecError> {
        if picture.size != self.size {
            return Err(CodecError::Size { want: self.size, got: picture.size });
        }
        let pts = self.next_pts(picture);
        let (width, height) = (self.size.width() as u32, self.size.height() as u32);
        let mut image = MaybeUninit::<sys::aom_image_t>::zeroed();
        // SAFETY: the picture holds a whole I420 image of this size (its constructor checks that) and outlives both
        // calls; the encoder only reads it, though the C signature cannot say so.
        let code = unsafe {
            let data = picture.data().as_ptr().cast_mut();
            let wrapped = sys::aom_img_wrap(image.as_mut_ptr(), sys::AOM_IMG_FMT_I420, width, height, 1, data);
            if wrapped.is_null() {
                return Err(encode_error("the picture was refused".into()));
            }
            let flags = if frame == Frame::Key { sys::AOM_EFLAG_FORCE_KF as sys::aom_enc_frame_flags_t } else { 0 };
            let duration = (TICKS / self.fps) as std::ffi::c_ulong;
            sys::aom_codec_encode(&raw mut *self.context, image.as_ptr(), pts, duration, flags)
        };
        check(code, encode_error)?;
        let mut units = Vec::with_capacity(1);
        let mut iterator: sys::aom_codec_iter_t = std::ptr::null();
        loop {
            // SAFETY: context and iterator are valid; the packet stays so until the next call with this context.
            let packet = unsafe { sys::aom_codec_get_cx_data(&raw mut *self.context, &raw mut iterator) };
            // SAFETY: not null means a valid packet, and the kind tells which field of the union is set.
            let Some(packet) = (unsafe { packet.as_ref() }) else { break };
            if packet.kind != sys::AOM_CODEC_CX_FRAME_PKT {
                continue;
            }
            // SAFETY: the kind says that this is a frame, whose buffer has `sz` bytes.
            let (data, flags) = unsafe {
                let frame = &packet.data.frame;
                (std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz).to_vec(), frame.flags)
            };
            let frame = if flags & sys::AOM_FRAME_IS_KEY != 0 { Frame::Key } else { Frame::Inter };
            units.push(Unit { data, frame, capture: picture.capture });
        }
        Ok(units)
    }

    fn finish(&mut self) -> Vec<Unit> {
        Vec::new()
    }

    fn set_target(&mut self, target: Target) -> Result<(), CodecError> {
        self.fps = target.fps;
        let kbps = kbps(target.bps);
        if kbps == self.config.rc_target_bitrate {
            return Ok(());
        }
        self.config.rc_target_bitrate = kbps;
        // SAFETY: the context is initialised and the configuration valid; 6 microseconds, no key frame.
        let code = unsafe { sys::aom_codec_enc_config_set(&raw mut *self.context, &raw const self.config) };
        check(code, encode_error)
    }

    fn size(&self) -> Size {
        self.size
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn delay_pictures(&self) -> usize {
        0
    }

    fn works_on_this_thread(&self) -> bool {
        self.config.g_threads == 1
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed only here. There is nothing to do about an error.
        unsafe { sys::aom_codec_destroy(&raw mut *self.context) };
    }
}
