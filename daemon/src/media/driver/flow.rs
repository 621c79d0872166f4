//! Pictures and sound between the codecs and str0m, with the times of their capture.

use std::time::{Duration, Instant};

use kith_common::call::Medium;
use kith_common::clock::MonoTime;
use kith_common::failure::Failure;
use str0m::Input;
use str0m::media::{Frequency, MediaData, MediaTime, Pt};
use str0m::rtp::AbsCaptureTime;

use super::super::audio_tx::EncodedSound;
use super::super::params::SessionEvent;
use super::super::video_tx::EncodedPicture;
use super::{Driver, Phase, mid};

fn mono(at: Instant) -> MonoTime {
    let ago = i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX);
    MonoTime::now().offset(-ago)
}

impl Driver {
    /// Arrival minus capture in microseconds, each on its own machine's clock.
    fn transit(data: &MediaData, arrived: MonoTime) -> Option<i64> {
        let stamp = data.ext_vals.abs_capture_time?.capture_time;
        let since = stamp.duration_since(std::time::UNIX_EPOCH).ok()?;
        let peer = i64::try_from(since.as_micros()).ok()?;
        Some(arrived.micros().cast_signed().saturating_sub(peer))
    }

    pub(super) fn handle_media(&mut self, data: MediaData) {
        if !self.first_packet {
            self.first_packet = true;
            self.emit(SessionEvent::FirstPacket);
        }
        let medium = if data.mid == mid(Medium::Video) { Medium::Video } else { Medium::Audio };
        let arrived = mono(data.network_time);
        let transit = Self::transit(&data, arrived);
        let key = data.is_keyframe();
        self.figures.handle_received(medium, data.data.len(), Instant::now());
        let transit = self.control.handle_media(medium, transit, arrived, &data, key);
        let Some(pipeline) = &mut self.pipeline else { return };
        let capture = match (self.offset, transit) {
            (Some(offset), Some(transit)) => offset.to_local(arrived.offset(transit.saturating_neg())),
            // Until the clocks are compared, the quickest packet is taken to have needed no time.
            (None, Some(transit)) => arrived.offset(self.control.least_transit(medium).saturating_sub(transit)),
            (_, None) => arrived,
        };
        match medium {
            Medium::Video => pipeline.push_picture(&data.data, capture, data.contiguous),
            Medium::Audio => pipeline.push_sound(&data.data, data.time.numer(), capture, arrived),
        }
    }

    pub(super) fn send_picture(&mut self, picture: EncodedPicture) -> Result<(), Failure> {
        let Phase::Connected { .. } = self.phase else { return Ok(()) };
        self.figures.handle_sent(Medium::Video, picture.data.len(), Instant::now());
        // 90 kHz from the microseconds of the capture clock.
        let time = MediaTime::from_90khz(picture.capture.micros() / 100 * 9);
        let pt = self.control.video_pt(&self.setup.rtc);
        self.write(Medium::Video, pt, time, picture.capture, picture.data)
    }

    pub(super) fn send_sound(&mut self, sound: EncodedSound) -> Result<(), Failure> {
        let Phase::Connected { .. } = self.phase else { return Ok(()) };
        self.figures.handle_sent(Medium::Audio, sound.data.len(), Instant::now());
        let time = MediaTime::new(sound.samples_at, Frequency::FORTY_EIGHT_KHZ);
        let pt = self.control.audio_pt(&self.setup.rtc);
        self.write(Medium::Audio, pt, time, sound.capture, sound.data)
    }

    fn write(
        &mut self,
        medium: Medium,
        pt: Option<Pt>,
        time: MediaTime,
        capture: MonoTime,
        data: Vec<u8>,
    ) -> Result<(), Failure> {
        let stamp = std::time::UNIX_EPOCH + Duration::from_micros(capture.micros());
        let (Some(writer), Some(pt)) = (self.setup.rtc.writer(mid(medium)), pt) else { return Ok(()) };
        let written = writer.abs_capture_time(AbsCaptureTime { capture_time: stamp, clock_offset: None }).write(
            pt,
            Instant::now(),
            time,
            data,
        );
        if let Err(error) = written {
            tracing::debug!(%error, ?medium, "not written");
        }
        self.pump()?;
        // The packetizer works on the next time-out; waiting for the timer would add up to a millisecond to each picture.
        self.input(Input::Timeout(Instant::now()))
    }
}
