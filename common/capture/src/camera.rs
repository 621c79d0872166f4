//! One camera on a thread of its own. The thread blocks in the driver; nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size, VideoFormat};
use nokhwa::pixel_format::RgbFormat;
use nokhwa::utils::{CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType};

use crate::convert::to_i420;
use crate::devices::{CameraId, cameras};
use crate::error::{CaptureError, clause};

/// What the camera's thread reports, on that thread: take it and return.
#[derive(Debug, Clone)]
pub enum CameraEvent {
    Opened {
        name: String,
        format: VideoFormat,
    },
    Picture(Picture),
    /// The camera did not open, or stopped. The last event.
    Failed(CaptureError),
}

/// An open (or opening) camera; dropping it closes the camera as soon as the driver lets go.
#[derive(Debug)]
pub struct Camera {
    stop: Arc<AtomicBool>,
}

/// A camera that fails this often in a row is gone. Single damaged pictures happen with every USB camera.
const FAILURES_IN_A_ROW: u32 = 10;

impl Camera {
    /// Opens a camera, the first one unless another is named, as near to the wanted format as it can do. Returns at
    /// once.
    pub fn open(
        device: Option<CameraId>,
        wanted: VideoFormat,
        mut sink: impl FnMut(CameraEvent) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spawned = std::thread::Builder::new().name("kith-camera".into()).spawn(move || {
            if let Err(error) = run(device, wanted, &stopped, &mut sink) {
                sink(CameraEvent::Failed(error));
            }
        });
        if let Err(error) = spawned {
            // The sink went with the thread that never started.
            tracing::error!(%error, "no thread for the camera");
        }
        Self { stop }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(
    device: Option<CameraId>,
    wanted: VideoFormat,
    stop: &AtomicBool,
    sink: &mut impl FnMut(CameraEvent),
) -> Result<(), CaptureError> {
    let found = cameras();
    let device = match device {
        Some(id) => found.into_iter().find(|camera| camera.id == id),
        None => found.into_iter().next(),
    }
    .ok_or(CaptureError::NoCamera)?;
    let name = device.name;
    let refused = |error: nokhwa::NokhwaError| CaptureError::CameraOpen { name: name.clone(), why: clause(error) };

    let any = RequestedFormat::new::<RgbFormat>(RequestedFormatType::None);
    let mut camera = nokhwa::Camera::new(CameraIndex::Index(device.id.0), any).map_err(refused)?;
    let formats = camera.compatible_camera_formats().map_err(refused)?;
    let format = choose(&formats, wanted).ok_or_else(|| CaptureError::CameraFormat { name: name.clone() })?;
    let exact = RequestedFormat::new::<RgbFormat>(RequestedFormatType::Exact(format));
    camera.set_camera_requset(exact).map_err(refused)?;
    camera.open_stream().map_err(refused)?;

    let format = camera.camera_format();
    let size = Size::new(format.resolution().width(), format.resolution().height())
        .map_err(|_| CaptureError::CameraFormat { name: name.clone() })?;
    let opened = VideoFormat { size, fps_milli: format.frame_rate() * 1000 };
    tracing::info!(%name, %size, fps = format.frame_rate(), pixels = ?format.format(), "camera open");
    sink(CameraEvent::Opened { name: name.clone(), format: opened });

    let mut sequence = 0;
    let mut failures = 0;
    while !stop.load(Ordering::Relaxed) {
        let picture = camera.frame().map_err(|error| error.to_string()).and_then(|buffer| {
            let capture = captured_at(buffer.capture_timestamp());
            let data = to_i420(buffer.source_frame_format(), size, buffer.buffer())?;
            Picture::new(size, capture, sequence, data).map_err(|error| error.to_string())
        });
        match picture {
            Ok(picture) => {
                failures = 0;
                sequence += 1;
                sink(CameraEvent::Picture(picture));
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, failures, "a picture of the camera was lost");
                if failures >= FAILURES_IN_A_ROW {
                    return Err(CaptureError::CameraStopped { name, why: clause(error) });
                }
            }
        }
    }
    Ok(())
}

/// The driver's time-stamp, which arrives as wall-clock time, on the monotonic clock. Drivers that stamp nonsense are
/// not believed: a picture is at most a second old when it gets here.
fn captured_at(stamp: Option<Duration>) -> MonoTime {
    let now = MonoTime::now();
    let age = stamp.and_then(|stamp| SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(stamp));
    match age {
        Some(age) if age < Duration::from_secs(1) => now.offset(-i64::try_from(age.as_micros()).unwrap_or(0)),
        _ => now,
    }
}

/// The camera's format that suits the wanted one best: size first, then rate, then the cheapest to convert. Cameras
/// that are slow at a large size because the cable is (raw 720p at 10 pictures a second) lose to compressed ones.
fn choose(formats: &[CameraFormat], wanted: VideoFormat) -> Option<CameraFormat> {
    let score = |format: &CameraFormat| {
        let size = Size::new(format.resolution().width(), format.resolution().height()).ok()?;
        if format.frame_rate() == 0 {
            return None;
        }
        let ratio = |a: usize, b: usize| (a as f64 / b as f64).ln();
        let pixels = ratio(size.pixels(), wanted.size.pixels());
        // Larger is scaled down later at a small cost, smaller loses for good.
        let size_cost = if pixels < 0.0 { -3.0 * pixels } else { pixels };
        let shape = ratio(size.width() * wanted.size.height(), size.height() * wanted.size.width()).abs();
        let slow = (wanted.fps() / f64::from(format.frame_rate())).ln();
        let rate_cost = if slow > 0.0 { 4.0 * slow } else { -0.5 * slow };
        let convert = match format.format() {
            FrameFormat::NV12 | FrameFormat::YUYV => 0.0,
            FrameFormat::RAWRGB | FrameFormat::RAWBGR => 0.1,
            FrameFormat::MJPEG => 0.2,
            FrameFormat::GRAY => 2.0,
        };
        Some(size_cost + shape + rate_cost + convert)
    };
    formats
        .iter()
        .filter_map(|format| Some((score(format)?, *format)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nokhwa::utils::Resolution;

    fn wanted(width: u32, height: u32) -> VideoFormat {
        VideoFormat { size: Size::new(width, height).expect("an even size"), fps_milli: 30_000 }
    }

    fn offer(width: u32, height: u32, format: FrameFormat, fps: u32) -> CameraFormat {
        CameraFormat::new(Resolution::new(width, height), format, fps)
    }

    #[test]
    fn a_slow_raw_format_loses_to_a_fast_compressed_one() {
        let formats = [
            offer(1280, 720, FrameFormat::YUYV, 10),
            offer(1280, 720, FrameFormat::MJPEG, 30),
            offer(640, 480, FrameFormat::YUYV, 30),
        ];
        assert_eq!(choose(&formats, wanted(1280, 720)), Some(formats[1]));
    }

    #[test]
    fn raw_wins_where_both_are_fast_enough() {
        let formats = [offer(640, 360, FrameFormat::MJPEG, 30), offer(640, 360, FrameFormat::YUYV, 30)];
        assert_eq!(choose(&formats, wanted(640, 360)), Some(formats[1]));
    }

    #[test]
    fn sizes_that_no_call_can_carry_are_never_chosen() {
        assert_eq!(choose(&[offer(3840, 2160, FrameFormat::MJPEG, 30)], wanted(1280, 720)), None);
        assert_eq!(choose(&[], wanted(1280, 720)), None);
    }
}
