//! rav1e: AV1 in Rust, always there. Holds four pictures back and cannot change its bitrate.
//!
//! A packet comes out when the picture four later goes in, low latency or not (`facts/codecs.md` 1), so outputs are
//! matched with the capture times of their inputs here. A bitrate far from the present one takes a new context, whose
//! first picture is a key frame; that is rationed.

use std::collections::VecDeque;
use std::time::Duration;

use ::rav1e::prelude as r;
use kith_common::clock::MonoTime;
use kith_common::media::{Picture, Size};

use super::{CodecError, Frame, Target, Unit, VideoEncoder};

const NAME: &str = "rav1e";
/// Targets within this factor of the present one are not worth a key frame.
const BITRATE_SLACK: f64 = 1.3;
/// Between two contexts that differ in bitrate only.
const RENEW_AFTER: Duration = Duration::from_secs(4);
/// The pictures that rav1e holds back, and a few for the surprise.
const MAX_HELD: usize = 16;
/// From here on two tiles on two threads where there are cores.
const TILES_FROM_PIXELS: usize = 640 * 360;

pub struct Encoder {
    context: r::Context<u8>,
    size: Size,
    made_for: Target,
    target: Target,
    /// Number and capture time of the pictures that have not come out.
    held: VecDeque<(u64, MonoTime)>,
    next: u64,
    renewed: Option<MonoTime>,
}

fn context(size: Size, target: Target) -> Result<r::Context<u8>, CodecError> {
    let mut speed = r::SpeedSettings::from_preset(10);
    speed.rdo_lookahead_frames = 1;
    speed.scene_detection_mode = r::SceneDetectionSpeed::None;
    let threads = super::threads_for(size, TILES_FROM_PIXELS);
    let mut config = r::EncoderConfig::with_speed_preset(10);
    config.speed_settings = speed;
    config.width = size.width();
    config.height = size.height();
    config.time_base = r::Rational::new(1, (target.fps.round() as u64).max(1));
    config.low_latency = true;
    config.min_key_frame_interval = 0;
    config.max_key_frame_interval = 1_000_000;
    config.bitrate = i32::try_from(target.bps).unwrap_or(i32::MAX).max(20_000);
    // The smallest reservoir gives the smallest key frame.
    config.reservoir_frame_delay = Some(12);
    config.tiles = threads;
    let start = |why: String| CodecError::Start { codec: NAME, part: "encoder", why };
    r::Config::new()
        .with_encoder_config(config)
        .with_threads(threads)
        .new_context()
        .map_err(|error| start(error.to_string()))
}

impl Encoder {
    pub fn new(size: Size, target: Target) -> Result<Self, CodecError> {
        let context = context(size, target)?;
        Ok(Self { context, size, made_for: target, target, held: VecDeque::new(), next: 0, renewed: None })
    }

    /// Whether the target has moved so far that a new context pays, and the last one is long enough ago.
    fn outdated(&self, now: MonoTime) -> bool {
        let ratio = self.target.bps as f64 / self.made_for.bps.max(1) as f64;
        let moved = !(1.0 / BITRATE_SLACK..=BITRATE_SLACK).contains(&ratio)
            || (self.target.fps - self.made_for.fps).abs() > 1.0;
        moved && self.renewed.is_none_or(|last| now.since(last) >= RENEW_AFTER)
    }

    fn drain(&mut self, units: &mut Vec<Unit>) -> Result<(), CodecError> {
        loop {
            match self.context.receive_packet() {
                Ok(packet) => {
                    while self.held.front().is_some_and(|(number, _)| *number < packet.input_frameno) {
                        self.held.pop_front();
                    }
                    let Some((_, capture)) = self.held.pop_front() else { continue };
                    let key = packet.frame_type == r::FrameType::KEY;
                    let frame = if key { Frame::Key } else { Frame::Inter };
                    units.push(Unit { data: packet.data, frame, capture });
                }
                Err(r::EncoderStatus::Encoded) => {}
                Err(r::EncoderStatus::NeedMoreData | r::EncoderStatus::LimitReached) => return Ok(()),
                Err(error) => return Err(CodecError::Encode { codec: NAME, why: error.to_string() }),
            }
        }
    }
}

impl VideoEncoder for Encoder {
    fn encode(&mut self, picture: &Picture, frame: Frame) -> Result<Vec<Unit>, CodecError> {
        if picture.size != self.size {
            return Err(CodecError::Size { want: self.size, got: picture.size });
        }
        let mut units = Vec::new();
        if self.outdated(picture.capture) {
            let context = context(self.size, self.target)?;
            units = self.finish();
            self.context = context;
            self.made_for = self.target;
            self.renewed = Some(picture.capture);
            self.held.clear();
            self.next = 0;
        }
        let mut input = self.context.new_frame();
        let width = self.size.width();
        input.planes[0].copy_from_raw_u8(picture.y(), width, 1);
        input.planes[1].copy_from_raw_u8(picture.u(), width / 2, 1);
        input.planes[2].copy_from_raw_u8(picture.v(), width / 2, 1);
        let kind = if frame == Frame::Key { r::FrameTypeOverride::Key } else { r::FrameTypeOverride::No };
        let parameters = r::FrameParameters { frame_type_override: kind, ..Default::default() };
        self.context
            .send_frame((input, parameters))
            .map_err(|error| CodecError::Encode { codec: NAME, why: error.to_string() })?;
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
        }
        self.held.push_back((self.next, picture.capture));
        self.next += 1;
        self.drain(&mut units)?;
        Ok(units)
    }

    fn finish(&mut self) -> Vec<Unit> {
        let mut units = Vec::new();
        self.context.flush();
        if let Err(error) = self.drain(&mut units) {
            tracing::debug!(%error, "pictures held back by rav1e are lost");
        }
        units
    }

    fn set_target(&mut self, target: Target) -> Result<(), CodecError> {
        self.target = target;
        Ok(())
    }

    fn size(&self) -> Size {
        self.size
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn delay_pictures(&self) -> usize {
        4
    }

    fn works_on_this_thread(&self) -> bool {
        false
    }
}
